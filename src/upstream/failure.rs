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
    /// The upstream broke the rules of HTTP/2, or of its answer over it.
    #[error("the upstream's HTTP/2 is not well-formed")]
    Http2(#[source] h2::Error),
    /// The answer has a status that HTTP does not know.
    #[error("the upstream's answer has no status that HTTP knows")]
    Status,
    /// The upstream gave the request up (RST_STREAM) before an answer began.
    #[error("the upstream gave the request up: {0}")]
    Reset(h2::Reason),
    /// The upstream says that it has not looked at the request (RFC 9113 §8.7), or never got it.
    #[error("the upstream did not take the request")]
    Unprocessed(#[source] h2::Error),
    /// Every connection to the upstream carries as many requests as it may.
    #[error("no stream got free on the connections to the upstream")]
    NoStream,
    /// The client wants to change to another protocol, and the upstream has no way to that over HTTP/2.
    #[error("the upstream takes no change of protocol over HTTP/2 (RFC 8441)")]
    NoTunnel,
    /// The request has a target that the encoding of HTTP/2 has no place for.
    #[error("the request target cannot be told over HTTP/2")]
    Target,
    /// The client did not deliver the body that it announced.
    #[error(transparent)]
    Body(BodyError),
}

impl Failure {
    /// Whether the upstream closed without a byte of an answer.
    pub(super) fn nothing_came(&self) -> bool {
        match self {
            Self::Closed { partial } => !partial,
            Self::Reset(reason) => *reason != h2::Reason::ENHANCE_YOUR_CALM,
            _ => self.is_unprocessed(),
        }
    }

    /// Whether it is certain that nobody has looked at the request.
    pub(super) const fn is_unprocessed(&self) -> bool {
        matches!(self, Self::Unprocessed(_))
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
            Self::Malformed(_) | Self::Http2(_) | Self::Status => {
                (StatusCode::BAD_GATEWAY, "upstream_malformed", Some("http_protocol_error"))
            }
            Self::Timeout => {
                (StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", Some("http_response_timeout"))
            }
            Self::UnaskedUpgrade => {
                (StatusCode::BAD_GATEWAY, "upstream_upgrade", Some("http_upgrade_failed"))
            }
            Self::Reset(_) => {
                (StatusCode::BAD_GATEWAY, "upstream_reset", Some("connection_terminated"))
            }
            Self::Unprocessed(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_unprocessed",
                Some("destination_unavailable"),
            ),
            Self::NoStream => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_streams",
                Some("connection_limit_reached"),
            ),
            Self::NoTunnel => {
                (StatusCode::BAD_GATEWAY, "upstream_no_tunnel", Some("http_upgrade_failed"))
            }
            Self::Target => (StatusCode::BAD_REQUEST, "target", None),
            Self::Body(BodyError::TooLarge) => {
                (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", None)
            }
            Self::Body(BodyError::Stalled) => (StatusCode::REQUEST_TIMEOUT, "body_stalled", None),
            Self::Body(BodyError::Malformed) => (StatusCode::BAD_REQUEST, "body_malformed", None),
            Self::Body(BodyError::Cut) => (StatusCode::BAD_REQUEST, "client_gone", None),
        }
    }
}
