//! Every way in which an endpoint of ours says no, and how it says so (RFC 6749 §5.2).

use std::time::Duration;

use http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use super::client::Disbelief;
use super::issue::IssueError;
use super::{Answer, common_headers, json};
use crate::store::StoreError;

/// Why no token was issued.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Another method than POST.
    #[error("not POST")]
    Method,
    /// No content type that is read here, or more than one.
    #[error("not a form and not JSON")]
    ContentType,
    /// A compressed body.
    #[error("the body is encoded")]
    ContentEncoding,
    /// More than [`super::MAX_BODY`] bytes.
    #[error("the body is too long")]
    BodyTooLong,
    /// It did not come in time.
    #[error("the body is too slow")]
    BodyTooSlow,
    /// It broke off.
    #[error("the body broke off")]
    BodyBroken,
    /// Bad percent-encoding, bad UTF-8, bad JSON.
    #[error("the body is malformed")]
    MalformedBody,
    /// A parameter twice.
    #[error("a parameter is there twice")]
    Repeated,
    /// No `grant_type`.
    #[error("grant_type is missing")]
    MissingGrantType,
    /// No `client_id` or no `client_secret`, and no `Authorization`.
    #[error("client_id or client_secret is missing")]
    MissingClient,
    /// Two `Authorization` fields.
    #[error("two Authorization fields")]
    TwoAuthorizations,
    /// `Authorization` and a `client_secret`.
    #[error("two ways of authentication")]
    TwoMethods,
    /// `Authorization` names another client than `client_id`.
    #[error("two clients")]
    TwoClients,
    /// Not client credentials.
    #[error("the grant type is not supported")]
    UnsupportedGrantType,
    /// Unknown, disabled, wrong secret.
    #[error("the client is not believed")]
    InvalidClient(Disbelief),
    /// A scope that is none, or not for this client.
    #[error("the scope is not for this client")]
    InvalidScope,
    /// Too many failures.
    #[error("too many failures")]
    Throttled(Duration),
    /// Too many secrets to hash.
    #[error("too many secrets to hash")]
    Busy,
    /// `client_assertion` without its type, or the type without it.
    #[error("half an assertion")]
    HalfAssertion,
    /// A resource that is none, or not for this client.
    #[error("the resource is not for this client")]
    InvalidTarget,
    /// No `token` where one is asked about.
    #[error("token is missing")]
    MissingToken,
    /// A token of another client is to be revoked.
    #[error("the token is another client's")]
    ForeignToken,
    /// A token that nothing can call back.
    #[error("the token cannot be revoked")]
    Irrevocable,
    /// The store did not do it.
    #[error("the store failed")]
    Store(#[from] StoreError),
    /// The token could not be made.
    #[error("the token could not be made")]
    Issue(#[from] IssueError),
}

impl TokenError {
    /// Status and `error` (RFC 6749 §5.2).
    #[must_use]
    pub const fn wire(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::BodyTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "invalid_request"),
            Self::ContentType
            | Self::ContentEncoding
            | Self::BodyBroken
            | Self::MalformedBody
            | Self::Repeated
            | Self::MissingGrantType
            | Self::MissingClient
            | Self::TwoAuthorizations
            | Self::TwoMethods
            | Self::TwoClients
            | Self::HalfAssertion
            | Self::MissingToken => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::InvalidClient(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
            // RFC 8707 §2
            Self::InvalidTarget => (StatusCode::BAD_REQUEST, "invalid_target"),
            // RFC 6749 §5.2: "or was issued to another client"
            Self::ForeignToken => (StatusCode::BAD_REQUEST, "invalid_grant"),
            // RFC 7009 §2.2.1
            Self::Irrevocable => (StatusCode::BAD_REQUEST, "unsupported_token_type"),
            Self::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Throttled(_) => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Issue(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        }
    }

    /// A stable name for the log, which may say more than the client learns.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Method => "method_not_allowed",
            Self::ContentType => "unsupported_content_type",
            Self::ContentEncoding => "content_encoding",
            Self::BodyTooLong => "body_too_long",
            Self::BodyTooSlow => "body_too_slow",
            Self::BodyBroken => "body_broken",
            Self::MalformedBody => "malformed_body",
            Self::Repeated => "repeated_parameter",
            Self::MissingGrantType => "missing_grant_type",
            Self::MissingClient => "missing_client",
            Self::TwoAuthorizations => "repeated_credential",
            Self::TwoMethods => "two_methods",
            Self::TwoClients => "two_clients",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::InvalidClient(Disbelief::Unreadable) => "malformed_credential",
            Self::InvalidClient(Disbelief::Unknown) => "unknown_client",
            Self::InvalidClient(Disbelief::Disabled) => "disabled_client",
            Self::InvalidClient(Disbelief::Secret) => "wrong_secret",
            Self::InvalidClient(Disbelief::Assertion) => "bad_assertion",
            Self::InvalidClient(Disbelief::Replay) => "replayed_assertion",
            Self::InvalidClient(Disbelief::Certificate) => "wrong_certificate",
            Self::InvalidScope => "invalid_scope",
            Self::HalfAssertion => "half_assertion",
            Self::InvalidTarget => "invalid_target",
            Self::MissingToken => "missing_token",
            Self::ForeignToken => "foreign_token",
            Self::Irrevocable => "irrevocable_token",
            Self::Store(_) => "store_unavailable",
            Self::Throttled(_) => "throttled",
            Self::Busy => "busy",
            Self::Issue(_) => "issue_failed",
        }
    }

    /// The `error_description`: a constant in the characters of RFC 6749 §5.2.
    const fn description(&self) -> &'static str {
        match self {
            Self::Method => "use POST",
            Self::ContentType => {
                "use one Content-Type, application/x-www-form-urlencoded or application/json, in UTF-8"
            }
            Self::ContentEncoding => "send the body without a Content-Encoding",
            Self::BodyTooLong => "the body is longer than 8 KiB",
            Self::BodyTooSlow => "the body took too long",
            Self::BodyBroken => "the body broke off",
            Self::MalformedBody => "the body is malformed",
            Self::Repeated => "a parameter is there more than once",
            Self::MissingGrantType => "grant_type is missing",
            Self::MissingClient => "client_id or client_secret is missing",
            Self::TwoAuthorizations => "there is more than one Authorization field",
            Self::TwoMethods => {
                "use one of the Authorization field, client_secret and client_assertion"
            }
            Self::TwoClients => "client_id is another than that of the Authorization field",
            Self::UnsupportedGrantType => "use grant_type client_credentials",
            Self::InvalidClient(_) => "the client is unknown or its secret is wrong",
            Self::InvalidScope => "the client may not have this scope",
            Self::HalfAssertion => "client_assertion or client_assertion_type is missing",
            Self::InvalidTarget => "the client may not have a token for this resource",
            Self::MissingToken => "token is missing",
            Self::ForeignToken => "the token was issued to another client",
            Self::Irrevocable => "the token cannot be revoked",
            Self::Store(_) => "this cannot be done now, try again later",
            Self::Throttled(_) => "too many failed attempts, try again later",
            Self::Busy => "too many requests at once, try again later",
            Self::Issue(_) => "the token could not be made",
        }
    }

    /// Seconds after which the same request may do better.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled(wait) => Some(wait.as_secs().saturating_add(1)),
            Self::Busy | Self::Store(_) => Some(BUSY_SECONDS),
            _ => None,
        }
    }

    pub(super) fn into_answer(self) -> Answer {
        #[derive(Serialize)]
        struct Failure {
            error: &'static str,
            error_description: &'static str,
        }
        let (status, error) = self.wire();
        let mut headers = common_headers();
        if matches!(self, Self::Method) {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        if matches!(self, Self::InvalidClient(_)) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE));
        }
        if let Some(seconds) = self.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        let failure = Failure { error, error_description: self.description() };
        Answer {
            status,
            headers,
            body: json(&failure),
            client_id: None,
            authentication: "",
            code: self.code(),
            deed: None,
        }
    }
}

/// RFC 7617: of the same realm as the Bearer challenge of the gateway.
const CHALLENGE: &str = "Basic realm=\"tollgate\"";
/// By then the queue of secrets to hash has emptied.
const BUSY_SECONDS: u64 = 1;
