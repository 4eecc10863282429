//! Every way a request ends early, and its answer: step 8 of the walk.

use std::borrow::Cow;
use std::rc::Rc;

use http::{HeaderName, HeaderValue, StatusCode, header};

use super::forward_auth::Unverifiable;
use super::limit;
use crate::auth::{Denied, Policy};
use crate::http1::BadHead;
use crate::limit::Quota;
use crate::message::headers::text_value;
use crate::message::problem::problem;
use crate::message::{Body, Fields, Response};
use crate::route::Ambiguous;
use crate::upstream::Failure;

/// Why a request is not forwarded, or why its forwarding failed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The head cannot be read, or could be read in two ways.
    #[error(transparent)]
    Head(#[from] BadHead),
    /// The head did not come in time.
    #[error("the request did not arrive in time")]
    HeadTimeout,
    /// TRACE or CONNECT.
    #[error("this method is not available here")]
    Method,
    /// Extended CONNECT for anything but a WebSocket.
    #[error("the only protocol that extended CONNECT opens here is websocket")]
    Protocol,
    /// `Max-Forwards: 0` on OPTIONS: not a fault, but it ends here.
    #[error("answered here, as Max-Forwards asks")]
    Options,
    /// The request has been here before.
    #[error("the request goes round in circles: the upstream leads back to this gateway")]
    Loop,
    /// The handshake of this connection asked less of the client, or something else, than the host's would.
    #[error("this connection is for another host; connect anew for this one")]
    Misdirected,
    /// The declared body is larger than is accepted.
    #[error("the body is larger than is accepted")]
    BodyTooLarge,
    /// The caller is not let through.
    #[error("{}", .0.description())]
    Denied(Denied),
    /// The caller is known, and not let through here.
    #[error("{}", .denied.description())]
    Forbidden {
        /// Why.
        denied: Denied,
        /// The scopes that are needed.
        scope: Option<Rc<str>>,
    },
    /// The path could be read in ways that lead to different policies.
    #[error("the path can be read in more than one way, and the ways lead to different rules")]
    Ambiguous,
    /// The caller asks more often than it may.
    #[error("more requests than are allowed here in this time")]
    Limited(Quota),
    /// What another proxy asks about cannot be judged, or may not go on.
    #[error(transparent)]
    ForwardAuth(#[from] Unverifiable),
    /// The upstream failed.
    #[error(transparent)]
    Upstream(#[from] Failure),
    /// Something here is broken.
    #[error("the gateway failed")]
    Internal,
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Ambiguous> for Refusal {
    fn from(_: Ambiguous) -> Self {
        Self::Ambiguous
    }
}

impl Refusal {
    /// The refusal of a caller by `policy`.
    #[must_use]
    pub fn of(denied: Denied, policy: &Policy) -> Self {
        if denied.wire().0 != StatusCode::FORBIDDEN {
            return Self::Denied(denied);
        }
        Self::Forbidden { denied, scope: policy.scope().cloned() }
    }

    /// Stable, for the log and the problem type.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Head(BadHead::TooLarge) => "head_too_large",
            Self::Head(BadHead::TargetTooLong) => "target_too_long",
            Self::Head(BadHead::Version) => "http_version",
            Self::Head(BadHead::TransferCoding) => "transfer_coding",
            Self::Head(BadHead::Expectation) => "expectation",
            Self::Head(BadHead::Target(_)) => "ambiguous_target",
            Self::Head(BadHead::Host) => "bad_host",
            Self::Head(BadHead::ContentLength | BadHead::Framing) => "ambiguous_length",
            Self::Head(BadHead::Syntax | BadHead::UpgradeBody) => "malformed_request",
            Self::HeadTimeout => "request_timeout",
            Self::Method => "method_not_allowed",
            Self::Protocol => "protocol",
            Self::Options => "max_forwards",
            Self::Loop => "loop",
            Self::Misdirected => "misdirected",
            Self::BodyTooLarge => "body_too_large",
            Self::Denied(denied) | Self::Forbidden { denied, .. } => denied.code(),
            Self::Ambiguous => "ambiguous_target",
            Self::Limited(_) => "rate_limited",
            Self::ForwardAuth(fault) => fault.wire().1,
            Self::Upstream(failure) => failure.wire().1,
            Self::Internal => "internal",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Head(BadHead::TooLarge) => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Head(BadHead::TargetTooLong) => StatusCode::URI_TOO_LONG,
            Self::Head(BadHead::Version) => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            Self::Head(BadHead::TransferCoding) => StatusCode::NOT_IMPLEMENTED,
            Self::Head(BadHead::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Head(
                BadHead::Syntax
                | BadHead::Target(_)
                | BadHead::Host
                | BadHead::ContentLength
                | BadHead::Framing
                | BadHead::UpgradeBody,
            ) => StatusCode::BAD_REQUEST,
            Self::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Protocol => StatusCode::NOT_IMPLEMENTED,
            Self::Options => StatusCode::OK,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Denied(denied) | Self::Forbidden { denied, .. } => denied.wire().0,
            Self::Ambiguous => StatusCode::BAD_REQUEST,
            Self::Limited(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::ForwardAuth(fault) => fault.wire().0,
            Self::Upstream(failure) => failure.wire().0,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer; its challenge leads to `resource_metadata`, a URL (RFC 9728 §5.1).
    #[must_use]
    pub fn response(&self, request_id: &str, resource_metadata: Option<&str>) -> Response {
        let mut headers = Fields::new();
        match self {
            Self::Options => {
                headers.insert(header::ALLOW, ALLOWED);
                return Response::new(StatusCode::OK, headers, Body::Empty);
            }
            Self::Method => {
                headers.insert(header::ALLOW, ALLOWED);
            }
            // an outage is nobody's lack of credentials
            Self::Denied(denied) if denied.wire().0 == StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY);
            }
            Self::Denied(denied) => {
                headers
                    .insert(header::WWW_AUTHENTICATE, challenge(*denied, None, resource_metadata));
            }
            Self::Forbidden { denied, scope } => {
                if denied.wire().1.is_some() {
                    let value = challenge(*denied, scope.as_deref(), resource_metadata);
                    headers.insert(header::WWW_AUTHENTICATE, value);
                }
            }
            Self::Limited(quota) => limit::tell(quota, &mut headers),
            Self::Upstream(failure) => {
                if let Some(error) = failure.wire().2 {
                    headers.insert(PROXY_STATUS, text_value(&format!("tollgate; error={error}")));
                }
                if failure.is_passing() {
                    headers.insert(header::RETRY_AFTER, RETRY);
                }
            }
            Self::Head(_)
            | Self::HeadTimeout
            | Self::Protocol
            | Self::Loop
            | Self::Misdirected
            | Self::BodyTooLarge
            | Self::Ambiguous
            | Self::ForwardAuth(_)
            | Self::Internal => {}
        }
        problem(self.status(), self.code(), &self.detail(), request_id, headers)
    }

    /// As it is displayed; without a copy where that is a constant.
    fn detail(&self) -> Cow<'static, str> {
        match self {
            Self::Denied(denied) | Self::Forbidden { denied, .. } => denied.description().into(),
            other => other.to_string().into(),
        }
    }
}

/// RFC 6750 §3: a challenge with at least one parameter, and no `error` where there were no credentials.
fn challenge(denied: Denied, scope: Option<&str>, resource_metadata: Option<&str>) -> HeaderValue {
    let error = denied.wire().1;
    if error.is_none() && scope.is_none() && resource_metadata.is_none() {
        return HeaderValue::from_static("Bearer realm=\"tollgate\"");
    }
    let mut text = "Bearer realm=\"tollgate\"".to_owned();
    let mut add = |name: &str, value: &str| {
        text.push_str(", ");
        text.push_str(name);
        text.push_str("=\"");
        text.push_str(value);
        text.push('"');
    };
    if let Some(error) = error {
        add("error", error);
        add("error_description", denied.description());
    }
    if let Some(scope) = scope {
        add("scope", scope);
    }
    if let Some(url) = resource_metadata {
        add("resource_metadata", url);
    }
    text_value(&text)
}

/// Seconds: an issuer or a store that is up again is noticed within a few.
const RETRY: HeaderValue = HeaderValue::from_static("2");
const ALLOWED: HeaderValue =
    HeaderValue::from_static("GET, HEAD, OPTIONS, POST, PUT, PATCH, DELETE");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
