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
    /// It has as many connections as it may have, and enough requests wait for one.
    #[error("the upstream has as many connections as it may have")]
    Saturated,
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

/// What can be held against an origin: how it failed a request or a health check.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Trouble {
    /// Its name does not resolve.
    Name,
    /// It took no connection.
    Refused,
    /// No TLS came about.
    Tls,
    /// No connection in time.
    ConnectTimeout,
    /// It closed before it answered.
    Closed,
    /// Its answer is not well-formed.
    Malformed,
    /// No answer in time.
    Timeout,
    /// It changed the protocol unasked.
    Upgrade,
    /// It gave the request up.
    Reset,
    /// Its answer broke off.
    Cut,
    /// It says of itself that it, or what is behind it, cannot answer: 502, 503 or 504.
    Gateway,
    /// A health check was answered with another status.
    CheckStatus,
}

impl Trouble {
    const ALL: [Self; 12] = [
        Self::Name,
        Self::Refused,
        Self::Tls,
        Self::ConnectTimeout,
        Self::Closed,
        Self::Malformed,
        Self::Timeout,
        Self::Upgrade,
        Self::Reset,
        Self::Cut,
        Self::Gateway,
        Self::CheckStatus,
    ];

    /// Not 0.
    pub(super) const fn number(self) -> u8 {
        self as u8 + 1
    }

    pub(super) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|trouble| trouble.number() == number)
    }

    /// Stable, for the log and the status document; the same as of the [`Failure`], where there is one.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Name => "upstream_name",
            Self::Refused => "upstream_refused",
            Self::Tls => "upstream_tls",
            Self::ConnectTimeout => "upstream_connect_timeout",
            Self::Closed => "upstream_closed",
            Self::Malformed => "upstream_malformed",
            Self::Timeout => "upstream_timeout",
            Self::Upgrade => "upstream_upgrade",
            Self::Reset => "upstream_reset",
            Self::Cut => "upstream_cut",
            Self::Gateway => "upstream_status",
            Self::CheckStatus => "check_status",
        }
    }
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

    /// What it says against the origin; nothing, where the fault is ours or the client's.
    pub(super) const fn trouble(&self) -> Option<Trouble> {
        match self {
            Self::Dial(DialError::Name { .. }) => Some(Trouble::Name),
            Self::Dial(DialError::Connect { .. }) => Some(Trouble::Refused),
            Self::Dial(DialError::Tls { .. }) => Some(Trouble::Tls),
            Self::Dial(DialError::Timeout { .. }) => Some(Trouble::ConnectTimeout),
            Self::Closed { .. } => Some(Trouble::Closed),
            Self::Malformed(_) | Self::Http2(_) | Self::Status => Some(Trouble::Malformed),
            Self::Reset(_) => Some(Trouble::Reset),
            Self::Timeout => Some(Trouble::Timeout),
            Self::UnaskedUpgrade => Some(Trouble::Upgrade),
            // one that goes away in good order has done nothing wrong
            Self::Unprocessed(_)
            | Self::NoTunnel
            | Self::Target
            | Self::Unhealthy
            | Self::Saturated
            | Self::Dial(DialError::Exhausted { .. })
            | Self::Body(_) => None,
        }
    }

    /// Whether trying again a little later may help, and the client should be told so.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unhealthy | Self::Saturated | Self::Unprocessed(_))
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
            Self::Saturated => (
                StatusCode::SERVICE_UNAVAILABLE,
                "upstream_saturated",
                Some("connection_limit_reached"),
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
