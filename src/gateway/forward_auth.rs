//! Judges requests that another proxy holds in its hands: nginx `auth_request`, Traefik ForwardAuth, Caddy `forward_auth`.
//! What they ask about is told in headers, and is read as strictly as a request on the wire; it goes through the same
//! routes, judges and limits.
//!
//! Invariant: only a trusted proxy is believed, only what can be told in one way is judged, and nothing is answered 2xx
//! but a request that would have been forwarded as it is. What the gateway would have taken out of a request before it
//! forwards it cannot be taken out here, and is refused.

use bytes::BytesMut;
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use crate::auth::Permitted;
use crate::config::Settings;
use crate::http1::parse_request;
use crate::limit::Quota;
use crate::message::headers::is_method_override;
use crate::message::{Body, Fields, Request, Response};

/// The endpoint that other proxies ask.
#[derive(Debug)]
pub(super) struct ForwardAuth {
    path: String,
    /// Names of the identity headers.
    reserved: Vec<HeaderName>,
    max_head: usize,
}

/// Why nothing can be said of a request that another proxy asks about, or why it may not go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unverifiable {
    /// The asking peer is no trusted proxy.
    #[error("only a proxy in server.trusted_proxies may ask this")]
    Untrusted,
    /// Method, target or host of the original request are not told, or not in one way.
    #[error("method, target and host of the original request must be told, each once")]
    Original,
    /// What is told is no request that anybody could read in one way.
    #[error("the original request is not well-formed, or can be read in more than one way")]
    Malformed,
    /// A request that is what it is by its method asks to be taken for another.
    #[error("the original request asks to be taken for another method")]
    Override,
    /// The original request says what only the gateway may say.
    #[error("the original request has a header that is the gateway's own")]
    Identity,
    /// The path is the gateway's own.
    #[error("the path is an endpoint of the gateway itself: send such requests there")]
    Own,
}

impl Unverifiable {
    /// Status and code.
    pub(super) const fn wire(self) -> (StatusCode, &'static str) {
        match self {
            Self::Untrusted => (StatusCode::FORBIDDEN, "untrusted_proxy"),
            Self::Original => (StatusCode::BAD_REQUEST, "no_original_request"),
            Self::Malformed => (StatusCode::BAD_REQUEST, "bad_original_request"),
            Self::Override => (StatusCode::BAD_REQUEST, "method_override"),
            Self::Identity => (StatusCode::BAD_REQUEST, "spoofed_identity"),
            Self::Own => (StatusCode::FORBIDDEN, "own_endpoint"),
        }
    }
}

impl ForwardAuth {
    /// None where it is off.
    pub(super) fn new(settings: &Settings) -> Option<Self> {
        let path = settings.forward_auth.clone()?;
        let sets = settings.identity_sets().into_iter().flatten();
        let reserved = sets.map(|(name, _)| name.clone()).collect();
        Some(Self { path, reserved, max_head: settings.server.max_header_size })
    }

    /// Where it is asked.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// The request that is asked about, without its body.
    pub(super) fn original(&self, asked: Box<Request>) -> Result<Box<Request>, Unverifiable> {
        if !asked.peer.trusted {
            return Err(Unverifiable::Untrusted);
        }
        let told = Told::read(&asked)?;
        if asked.headers.keys().any(|name| self.is_reserved(name)) {
            return Err(Unverifiable::Identity);
        }
        let mut head = BytesMut::new();
        for part in [told.method, b" ", told.target, b" HTTP/1.1\r\nhost: ", told.host, b"\r\n\r\n"]
        {
            head.extend_from_slice(part);
        }
        let head = match parse_request(&mut head, &mut 0, self.max_head) {
            Ok(Some(read)) if head.is_empty() => read,
            Ok(_) | Err(_) => return Err(Unverifiable::Malformed),
        };
        let upgrade = upgrade(&asked);
        let Request { version, peer, mut headers, .. } = *asked;
        for name in [header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::MAX_FORWARDS] {
            headers.remove(name);
        }
        headers.extend(head.host.clone().map(|host| (header::HOST, host)));
        Ok(Box::new(Request {
            method: head.method,
            target: head.target,
            version,
            headers,
            host: head.host,
            upgrade,
            expects_continue: false,
            body: Body::Empty,
            peer,
            interim: None,
        }))
    }

    /// Whether upstreams could take a client's header of this name for the gateway's.
    fn is_reserved(&self, name: &HeaderName) -> bool {
        let folded = name.as_str().replace(['_', '.'], "-");
        self.reserved.iter().any(|reserved| reserved.as_str() == folded)
    }

    /// What the asking proxy may pass on to its upstream.
    pub(super) fn allow(
        permitted: &Permitted,
        quota: Option<&Quota>,
        request_id: &str,
    ) -> Result<Response, Unverifiable> {
        let passage = permitted.passage();
        let overrides =
            |name: &HeaderName| is_method_override(&name.as_str().replace(['_', '.'], "-"));
        if passage.fixed_method && passage.request.headers.keys().any(overrides) {
            return Err(Unverifiable::Override);
        }
        let mut headers = Fields::new();
        for (name, value) in passage.identity() {
            headers.append(name.clone(), value.clone());
        }
        if let Some(quota) = quota {
            super::limit::tell(quota, &mut headers);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_REQUEST_ID, crate::message::headers::text_value(request_id));
        Ok(Response::new(StatusCode::OK, headers, Body::Empty))
    }
}

/// What a proxy tells of a request.
struct Told<'a> {
    method: &'a [u8],
    target: &'a [u8],
    host: &'a [u8],
}

impl<'a> Told<'a> {
    /// Each thing once, method and target in one dialect. A client behind the proxy can send fields of the other one
    /// along, which the proxy may pass on: they must say the same, and cannot fill in what it does not say.
    fn read(asked: &'a Request) -> Result<Self, Unverifiable> {
        let headers = &asked.headers;
        let original = (field(headers, ORIGINAL_METHOD)?, field(headers, ORIGINAL_URI)?);
        let forwarded = (field(headers, FORWARDED_METHOD)?, field(headers, FORWARDED_URI)?);
        let told = if speaks_nginx(headers) { original } else { forwarded };
        let (Some(method), Some(target)) = told else { return Err(Unverifiable::Original) };
        let agree = |(other_method, other_target): (Option<&[u8]>, Option<&[u8]>)| {
            other_method.is_none_or(|other| other == method)
                && other_target.is_none_or(|other| other == target)
        };
        let host = field(headers, FORWARDED_HOST)?;
        let Some(host) = host.filter(|_| agree(original) && agree(forwarded)) else {
            return Err(Unverifiable::Original);
        };
        let is_method = Method::from_bytes(method).is_ok();
        let is_plain = |text: &[u8]| text.iter().all(u8::is_ascii_graphic);
        let is_target = target.first() == Some(&b'/') || target == b"*";
        if !is_method || !is_target || !is_plain(target) || !is_plain(host) {
            return Err(Unverifiable::Malformed);
        }
        Ok(Self { method, target, host })
    }
}

/// Whether the asking proxy speaks as nginx is configured to: it takes 2xx, 401 and 403, and fails with anything else.
pub(super) fn speaks_nginx(headers: &Fields) -> bool {
    headers.contains_key(ORIGINAL_URI) || headers.contains_key(ORIGINAL_METHOD)
}

/// The one value of a field.
fn field<'a>(headers: &'a Fields, name: &str) -> Result<Option<&'a [u8]>, Unverifiable> {
    let mut values = headers.get_all(name);
    match (values.next(), values.next()) {
        (value, None) => Ok(value.map(HeaderValue::as_bytes)),
        (_, Some(_)) => Err(Unverifiable::Original),
    }
}

/// The protocol that the original request asks to change to. Proxies leave `Upgrade` out when they ask; what a
/// WebSocket handshake has besides stays.
fn upgrade(asked: &Request) -> Option<HeaderValue> {
    let headers = &asked.headers;
    let is_websocket = headers.keys().any(|name| name.as_str().starts_with("sec-websocket-"));
    let named = asked.upgrade.clone().or_else(|| headers.get(header::UPGRADE).cloned());
    named.or_else(|| is_websocket.then(|| HeaderValue::from_static("websocket")))
}

const ORIGINAL_METHOD: &str = "x-original-method";
const ORIGINAL_URI: &str = "x-original-uri";
const FORWARDED_METHOD: &str = "x-forwarded-method";
const FORWARDED_URI: &str = "x-forwarded-uri";
const FORWARDED_HOST: &str = "x-forwarded-host";
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
