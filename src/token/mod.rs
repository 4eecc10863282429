//! The token service: step 4 of the walk. `POST /auth/token` (RFC 6749 §4.4) ends here. Shared by all workers;
//! knows no bearer token and no route.
//!
//! The order of the answer is policy: what is malformed is told first, then the grant type, then the client,
//! then the scope; so nobody learns of clients by what they get wrong elsewhere.

mod client;
mod grant;
mod hashing;
mod issue;
mod throttle;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::Serialize;
use zeroize::Zeroizing;

pub use client::Disbelief;
pub use issue::{IssueError, mint};

use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::Scopes;
use crate::keys::KeyRing;
use crate::message::BodyError;
use client::{Clients, Presented};
use grant::{Format, Request};
use throttle::Throttle;

/// Answers at the token endpoint. One for all workers, and for one configuration.
#[derive(Debug)]
pub struct TokenService {
    path: String,
    issuer: String,
    keys: Arc<KeyRing>,
    clients: Clients,
    throttle: Throttle,
    clock: Clock,
}

/// Why there is no token service although there should be.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The random source failed.
    #[error("the random source failed")]
    Random(#[from] Unspecified),
    /// No threads for Argon2.
    #[error("no thread for hashing secrets could be started")]
    Threads(#[from] io::Error),
}

/// An answer of the token endpoint, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields; no `Content-Length`, no `Date`.
    pub headers: HeaderMap,
    /// JSON.
    pub body: Bytes,
    /// The client that asked, or said that it does, if there is such a client. For the log.
    pub client_id: Option<String>,
    /// What happened, from a closed set of names. For the log.
    pub code: &'static str,
}

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
    /// More than [`MAX_BODY`] bytes.
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
    /// The token could not be made.
    #[error("the token could not be made")]
    Issue(#[from] IssueError),
}

struct Granted {
    token: String,
    expires_in: u64,
    scopes: Scopes,
}

impl TokenService {
    /// The service of `[token]`; none without that table.
    ///
    /// # Errors
    /// [`StartError`] if the operating system denies randomness or threads.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Option<Arc<Self>>, StartError> {
        let Some(token) = &settings.token else { return Ok(None) };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Some(Arc::new(Self {
            path: token.path.clone(),
            issuer: token.issuer.clone(),
            keys: Arc::clone(&token.keys),
            clients: Clients::new(&settings.clients, token, key, &clock)?,
            throttle: Throttle::new(),
            clock,
        })))
    }

    /// Where it answers.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Answers one request at [`TokenService::path`] from the client at `address`. It cannot fail, and
    /// never waits longer for the body than [`BODY_TIMEOUT`]. Must run under tokio with its timer on.
    pub async fn answer<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: B,
        address: IpAddr,
    ) -> Answer {
        let mut client_id = None;
        match self.grant(method, headers, body, address, &mut client_id).await {
            Ok(granted) => granted.into_answer(client_id),
            Err(error) => error.into_answer(client_id),
        }
    }

    async fn grant<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        method: &Method,
        headers: &HeaderMap,
        body: B,
        address: IpAddr,
        client_id: &mut Option<String>,
    ) -> Result<Granted, TokenError> {
        if method != Method::POST {
            return Err(TokenError::Method);
        }
        let format = Format::of(headers)?;
        let body = tokio::time::timeout(BODY_TIMEOUT, read(headers, body));
        let body = body.await.map_err(|_| TokenError::BodyTooSlow)??;
        let request = Request::read(format, &body)?;
        let presented = Presented::read(headers, &request)?;
        request.check_grant_type()?;
        *client_id = self.clients.find(presented.id()).map(|client| client.id.clone());
        let client = self.believe(presented, address).await?;
        let scopes = request.scopes(&client.scopes)?;
        let (now, expires_in) = (self.clock.unix_seconds(), client.expires_in);
        let token =
            issue::issue(self.keys.signing(), &self.issuer, client, &scopes, now, expires_in)?;
        Ok(Granted { token, expires_in, scopes })
    }

    /// The client, unless it or its address failed too often.
    async fn believe(
        &self,
        presented: Presented,
        address: IpAddr,
    ) -> Result<&client::Record, TokenError> {
        if matches!(presented, Presented::Nothing) {
            return Err(TokenError::MissingClient);
        }
        let id = presented.id().to_owned();
        let check = || {
            let now = self.clock.monotonic();
            self.throttle.check(&id, address, now).map_err(TokenError::Throttled)
        };
        check()?;
        let result = match presented {
            Presented::Pairs(pairs) => {
                self.clients.authenticate(pairs, self.clock.unix_seconds()).await
            }
            Presented::Unusable | Presented::Nothing => {
                Err(TokenError::InvalidClient(Disbelief::Unreadable))
            }
        };
        // Attempts that were hashed at the same time are no way around the limit.
        check()?;
        if let Err(TokenError::InvalidClient(_)) = result {
            self.throttle.failed(&id, address, self.clock.monotonic());
        }
        result
    }
}

/// The whole body, wiped when dropped.
async fn read<B: Body<Data = Bytes, Error = BodyError>>(
    headers: &HeaderMap,
    body: B,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let expected: u64 = body.size_hint().lower().max(declared.unwrap_or(0));
    if expected > MAX_BODY as u64 {
        return Err(TokenError::BodyTooLong);
    }
    let mut body = pin!(body);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| match fault {
            BodyError::TooLarge => TokenError::BodyTooLong,
            BodyError::Stalled => TokenError::BodyTooSlow,
            BodyError::Cut | BodyError::Malformed => TokenError::BodyBroken,
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(TokenError::BodyTooLong);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

impl Granted {
    /// RFC 6749 §5.1.
    fn into_answer(self, client_id: Option<String>) -> Answer {
        #[derive(Serialize)]
        struct Success<'a> {
            access_token: &'a str,
            token_type: &'static str,
            expires_in: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            scope: Option<String>,
        }
        let scope = Some(self.scopes.to_string()).filter(|scope| !scope.is_empty());
        let (access_token, expires_in) = (self.token.as_str(), self.expires_in);
        let success = Success { access_token, token_type: "Bearer", expires_in, scope };
        Answer {
            status: StatusCode::OK,
            headers: common_headers(),
            body: json(&success),
            client_id,
            code: "issued",
        }
    }
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
            | Self::TwoClients => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::UnsupportedGrantType => (StatusCode::BAD_REQUEST, "unsupported_grant_type"),
            Self::InvalidClient(_) => (StatusCode::UNAUTHORIZED, "invalid_client"),
            Self::InvalidScope => (StatusCode::BAD_REQUEST, "invalid_scope"),
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
            Self::InvalidScope => "invalid_scope",
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
            Self::TwoMethods => "use the Authorization field or client_secret, not both",
            Self::TwoClients => "client_id is another than that of the Authorization field",
            Self::UnsupportedGrantType => "use grant_type client_credentials",
            Self::InvalidClient(_) => "the client is unknown or its secret is wrong",
            Self::InvalidScope => "the client may not have this scope",
            Self::Throttled(_) => "too many failed attempts, try again later",
            Self::Busy => "too many requests at once, try again later",
            Self::Issue(_) => "the token could not be made",
        }
    }

    /// Seconds after which the same request may do better.
    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Throttled(wait) => Some(wait.as_secs().saturating_add(1)),
            Self::Busy => Some(BUSY_SECONDS),
            _ => None,
        }
    }

    fn into_answer(self, client_id: Option<String>) -> Answer {
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
        Answer { status, headers, body: json(&failure), client_id, code: self.code() }
    }
}

/// Nothing that is said here may be kept (RFC 6749 §5.1).
fn common_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers alone: there is nothing that cannot be written.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

/// Longest body, bytes; a hundred times what a request needs.
pub const MAX_BODY: usize = 8 * 1024;
/// How long a body may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// RFC 7617: of the same realm as the Bearer challenge of the gateway.
const CHALLENGE: &str = "Basic realm=\"tollgate\"";
/// By then the queue of secrets to hash has emptied.
const BUSY_SECONDS: u64 = 1;

#[cfg(test)]
mod tests;
