//! Every way in which an upstream fails a request, and how that is told (RFC 9209).

use http::StatusCode;

use crate::dial::DialError;
use crate::http1::BadHead;
use crate::message::BodyError;

/// Why there is no answer from the upstream.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// No origin of the upstream can be used.
    #[error("no origin of the upstream is usable")]
    Unhealthy,
    /// No connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The connection ended before an answer began.
    #[error("the upstream closed the connection without an answer")]
    Closed {
        /// Whether part of a head had come.
        partial: bool,
    },
    /// The answer is not well-formed, or could be read in two ways.
    #[error("the upstream's answer is not well-formed")]
    Malformed(#[source] BadHead),
    /// No answer within the limit.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// 101 that nobody asked for.
    #[error("the upstream changed to a protocol that was not asked for")]
    UnaskedUpgrade,
    /// The client did not deliver the body that it announced.
    #[error(transparent)]
    Body(BodyError),
}

impl Failure {
    /// Whether the upstream closed without a byte of an answer.
    pub(super) const fn nothing_came(&self) -> bool {
        matches!(self, Self::Closed { partial: false })
    }

    /// Status, stable code for the log, and `error` parameter of `Proxy-Status` (RFC 9209 §2.3).
    #[must_use]
    pub const fn wire(&self) -> (StatusCode, &'static str, Option<&'static str>) {
        match self {
            Self::Unhealthy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_unhealthy",
                Some("destination_unavailable"),
            ),
            Self::Dial(DialError::Name { .. }) => {
                (StatusCode::BAD_GATEWAY, "upstream_name", Some("dns_error"))
            }
            Self::Dial(DialError::Connect { .. }) => {
                (StatusCode::BAD_GATEWAY, "upstream_refused", Some("connection_refused"))
            }
            Self::Dial(DialError::Exhausted { .. }) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_connections",
                Some("connection_limit_reached"),
            ),
            Self::Dial(DialError::Tls { .. }) => {
                (StatusCode::BAD_GATEWAY, "upstream_tls", Some("tls_protocol_error"))
            }
            Self::Dial(DialError::Timeout { .. }) => (
                StatusCode::GATEWAY_TIMEOUT,
                "upstream_connect_timeout",
                Some("connection_timeout"),
            ),
            Self::Closed { partial: false } => {
                (StatusCode::BAD_GATEWAY, "upstream_closed", Some("connection_terminated"))
            }
            Self::Closed { partial: true } => {
                (StatusCode::BAD_GATEWAY, "upstream_closed", Some("http_response_incomplete"))
            }
            Self::Malformed(_) => {
                (StatusCode::BAD_GATEWAY, "upstream_malformed", Some("http_protocol_error"))
            }
            Self::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Some("http_response_timeout"))
            }
            Self::UnaskedUpgrade => {
                (StatusCode::BAD_GATEWAY, "upstream_upgrade", Some("http_upgrade_failed"))
            }
            Self::Body(BodyError::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", None)
            }
            Self::Body(BodyError::Stalled) => (StatusCode::REQUEST_TIMEOUT, "body_stalled", None),
            Self::Body(BodyError::Malformed) => (StatusCode::BAD_REQUEST, "body_malformed", None),
            Self::Body(BodyError::Cut) => (StatusCode::BAD_REQUEST, "client_gone", None),
        }
    }
}
