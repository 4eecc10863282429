//! Reads the head of a request that came by HTTP/2 (RFC 9113 §8): as strictly as one of HTTP/1.1, and to the same words.
//!
//! The h2 crate has refused by now, with a reset of the stream, what the standard calls malformed: pseudo-fields that
//! are missing, doubled, late or unknown, names in upper case, fields of one connection, control characters, a
//! Content-Length that is not the body's. What is decided here is what two readers could take differently.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use http::request::Parts;
use http::{HeaderValue, Method, Uri, Version, header};

use crate::gateway::Refusal;
use crate::http1::BadHead;
use crate::http1::head::{MAX_FIELDS, content_length, expects_continue};
use crate::message::target::is_authority;
use crate::message::{BadTarget, Fields, Target};

/// What a head says.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: Fields,
    pub(super) host: Option<HeaderValue>,
    /// What extended CONNECT asks for, as `Upgrade` does.
    pub(super) upgrade: Option<HeaderValue>,
    pub(super) expects_continue: bool,
    /// The length that is declared.
    pub(super) length: Option<u64>,
}

impl Head {
    pub(super) fn read(parts: Parts) -> Result<Self, Refusal> {
        let Parts { method, uri, headers, extensions, .. } = parts;
        if headers.len() > MAX_FIELDS {
            return Err(BadHead::TooLarge.into());
        }
        // RFC 9113 §8.2.1: HTTP/1.1 would cut these blanks off, so that they were not what was judged
        if headers.values().any(|value| has_outer_blank(value.as_bytes())) {
            return Err(BadHead::Syntax.into());
        }
        let mut headers = Fields::from(headers);
        let length = content_length(&headers)?;
        let expects_continue = expects_continue(&headers, Version::HTTP_2)?;
        let (mut method, mut upgrade) = (method, None);
        if method == Method::CONNECT {
            let Some(protocol) = extensions.get::<Protocol>() else {
                // answered 405 whatever it names
                return Ok(Self::of_connect(headers));
            };
            if !protocol.as_str().eq_ignore_ascii_case(WEBSOCKET) {
                return Err(Refusal::Protocol);
            }
            // from here on it is what HTTP/1.1 knows: judged like every upgrade, and understood by every upstream
            method = Method::GET;
            upgrade = Some(HeaderValue::from_static(WEBSOCKET));
            begin_handshake(&mut headers)?;
        }
        let host = host(&uri, &headers)?;
        if !headers.contains_key(header::HOST) {
            headers.insert(header::HOST, host.clone()); // conditions may ask for it
        }
        let target = target(&uri, &method)?;
        join_cookies(&mut headers);
        Ok(Self { method, target, headers, host: Some(host), upgrade, expects_continue, length })
    }

    fn of_connect(headers: Fields) -> Self {
        let (method, target) = (Method::CONNECT, Target::root());
        let (host, upgrade, expects_continue, length) = (None, None, false, None);
        Self { method, target, headers, host, upgrade, expects_continue, length }
    }
}

fn has_outer_blank(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    is_blank(value.first()) || is_blank(value.last())
}

/// The path must be one: what HTTP/1.1 calls the absolute form has no place here (RFC 9113 §8.3.1).
fn target(uri: &Uri, method: &Method) -> Result<Target, Refusal> {
    let is_http = uri.scheme_str().is_none_or(|scheme| {
        scheme.eq_ignore_ascii_case("https") || scheme.eq_ignore_ascii_case("http")
    });
    let path = uri.path_and_query().map(|path| path.as_str()).unwrap_or_default();
    let is_options = *method == Method::OPTIONS;
    if !is_http || !(path.starts_with('/') || is_options && path == "*") {
        return Err(BadHead::Target(BadTarget::Form).into());
    }
    let (target, _) = Target::parse(&Bytes::copy_from_slice(path.as_bytes()), is_options)
        .map_err(BadHead::Target)?;
    Ok(target)
}

/// One authority, told once or twice the same.
fn host(uri: &Uri, headers: &Fields) -> Result<HeaderValue, BadHead> {
    let mut given = headers.get_all(header::HOST);
    let (given, second) = (given.next(), given.next());
    let host = match (uri.authority(), given, second) {
        (Some(authority), None, None) => {
            HeaderValue::from_str(authority.as_str()).map_err(|_| BadHead::Host)?
        }
        (Some(authority), Some(given), None)
            if given.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            given.clone()
        }
        (None, Some(given), None) => given.clone(),
        _ => return Err(BadHead::Host),
    };
    if is_authority(host.as_bytes()) { Ok(host) } else { Err(BadHead::Host) }
}

/// RFC 9113 §8.2.3: one field where it is not HTTP/2 any more.
fn join_cookies(headers: &mut Fields) {
    let crumbs: Vec<&[u8]> = headers.get_all(header::COOKIE).map(HeaderValue::as_bytes).collect();
    if crumbs.len() < 2 {
        return;
    }
    // made of values, so it is one
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// The fields by which RFC 6455 §4.1 begins, and which extended CONNECT leaves out (RFC 8441 §5).
fn begin_handshake(headers: &mut Fields) -> Result<(), Refusal> {
    let mut nonce = [0; 16];
    rand::fill(&mut nonce).map_err(|_| Refusal::Internal)?;
    let key = HeaderValue::from_str(&STANDARD.encode(nonce)).map_err(|_| Refusal::Internal)?;
    headers.insert(header::SEC_WEBSOCKET_KEY, key);
    if !headers.contains_key(header::SEC_WEBSOCKET_VERSION) {
        headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
    }
    Ok(())
}

/// The one protocol that extended CONNECT opens (RFC 8441 §5.1).
const WEBSOCKET: &str = "websocket";

#[cfg(test)]
mod tests {
    use h2::ext::Protocol;
    use http::{Method, Request};

    use super::Head;
    use crate::gateway::Refusal;
    use crate::http1::BadHead;
    use crate::message::BadTarget;

    fn read(method: &str, uri: &str, fields: &[(&str, &str)]) -> Result<Head, Refusal> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Head::read(request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn a_plain_head_is_kept_and_gets_a_host() {
        let head = read("POST", "https://h:8/a?b=%2F..", &[("content-length", "3")]).unwrap();
        assert_eq!((head.target.as_str(), head.length), ("/a?b=%2F..", Some(3)));
        assert_eq!(
            (&head.headers["host"], head.host.as_ref().unwrap()),
            (&"h:8".parse().unwrap(), &"h:8".parse().unwrap())
        );
        assert_eq!(read("OPTIONS", "*", &[("host", "h")]).unwrap().target.as_str(), "*");
    }

    #[test]
    fn an_authority_that_is_not_the_host_is_refused() {
        for (uri, fields) in [
            ("http://a/", &[("host", "b")][..]),
            ("http://a/", &[("host", "a"), ("host", "a")]),
            ("http://u@a/", &[]),
            ("http://a:0/", &[]),
            ("/", &[("host", "a,b")]),
            ("/", &[]),
        ] {
            let refusal = read("GET", uri, fields);
            assert!(matches!(refusal, Err(Refusal::Head(BadHead::Host))), "{uri} {fields:?}");
        }
        assert!(read("GET", "http://Api/", &[("host", "aPI")]).is_ok());
        assert!(read("GET", "/", &[("host", "a")]).is_ok());
    }

    #[test]
    fn paths_are_read_as_those_of_http_1_are() {
        for path in ["/a/../b", "/%2e%2e/b", "/a%2fb", "/%zz", "/a%00", "*"] {
            let refusal = read("GET", path, &[("host", "h")]);
            assert!(
                matches!(refusal, Err(Refusal::Head(BadHead::Target(_)))),
                "{path}: {refusal:?}"
            );
        }
        let refusal = read("GET", "ftp://h/", &[]);
        assert!(matches!(refusal, Err(Refusal::Head(BadHead::Target(BadTarget::Form)))));
    }

    #[test]
    fn cookie_crumbs_are_joined_and_outer_blanks_refused() {
        let head = read("GET", "http://h/", &[("cookie", "a=1"), ("cookie", "b=2")]).unwrap();
        let cookies: Vec<_> = head.headers.get_all("cookie").collect();
        assert_eq!(cookies, ["a=1; b=2"]);
        for value in [" x", "x ", "\tx"] {
            assert!(read("GET", "http://h/", &[("x-a", value)]).is_err(), "{value:?}");
        }
        assert!(read("POST", "http://h/", &[("content-length", "")]).is_err());
        assert!(
            read("POST", "http://h/", &[("content-length", "3"), ("content-length", "3")]).is_err()
        );
    }

    #[test]
    fn extended_connect_is_the_upgrade_that_it_stands_for() {
        let connect = |protocol: &'static str| {
            let request = Request::builder()
                .method(Method::CONNECT)
                .uri("https://h/chat")
                .extension(Protocol::from_static(protocol))
                .body(())
                .unwrap();
            Head::read(request.into_parts().0)
        };
        let head = connect("websocket").unwrap();
        assert_eq!(
            (&head.method, head.upgrade.unwrap().as_bytes()),
            (&Method::GET, &b"websocket"[..])
        );
        assert_eq!(head.headers["sec-websocket-key"].len(), 24);
        assert_eq!(head.headers["sec-websocket-version"], "13");
        assert!(matches!(connect("connect-udp"), Err(Refusal::Protocol)));
    }
}
