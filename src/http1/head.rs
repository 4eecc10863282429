//! Reads the head of a message: the strict reading that everything after it stands on.
//!
//! httparse does the lexing. What it leaves to its user is decided here: line ends, framing (RFC 9112 §6.3),
//! the authority (§3.2), the connection options. Two readings of one head do not get past this file.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{self, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};

use super::Decoder;
use crate::message::headers::{has_token, tokens};
use crate::message::target::is_authority;
use crate::message::{BadTarget, Fields, Target};

/// The head of a request, and what it says of the message and the connection.
#[derive(Debug)]
pub struct RequestHead {
    /// Case-sensitive.
    pub method: Method,
    /// Path and query.
    pub target: Target,
    /// 1.0 or 1.1.
    pub version: Version,
    /// All fields.
    pub headers: Fields,
    /// The authority: of an absolute target, else of `Host`.
    pub host: Option<HeaderValue>,
    /// Where the body ends.
    pub framing: Decoder,
    /// Whether the client wants to go on with this connection.
    pub keep_alive: bool,
    /// `Expect: 100-continue`.
    pub expects_continue: bool,
    /// The protocol that the client asks to change to; not HTTP/2, which nobody is offered.
    pub upgrade: Option<HeaderValue>,
}

/// The head of an answer.
#[derive(Debug)]
pub struct ResponseHead {
    /// 100 to 599.
    pub status: StatusCode,
    /// All fields.
    pub headers: Fields,
    /// Whether the connection may be used again after this answer.
    pub keep_alive: bool,
    /// The length that the answer declares, or would have to a GET.
    pub length: Option<u64>,
    /// `Transfer-Encoding: chunked`.
    pub chunked: bool,
}

/// Why a request head is refused. What follows it on the connection cannot be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadHead {
    /// Not HTTP, a bare CR or LF, a folded line, a control character, a space before a colon, …
    #[error("the request is not well-formed HTTP/1.1")]
    Syntax,
    /// Not HTTP/1.0 or HTTP/1.1.
    #[error("the HTTP version is not supported on this port")]
    Version,
    /// Longer than is accepted, or more fields than are accepted.
    #[error("the request head is larger than is accepted")]
    TooLarge,
    /// The request line alone is longer than is accepted.
    #[error("the request target is longer than is accepted")]
    TargetTooLong,
    /// The target is refused.
    #[error(transparent)]
    Target(#[from] BadTarget),
    /// `Host` is missing, there are two, or it is not an authority.
    #[error("exactly one valid Host field is needed")]
    Host,
    /// `Content-Length` is not one number, or there are two.
    #[error("Content-Length is not one plain number")]
    ContentLength,
    /// Both `Content-Length` and `Transfer-Encoding`, or the latter in HTTP/1.0, or `chunked` not last.
    #[error("the length of the body is told in more than one way")]
    Framing,
    /// A transfer coding other than `chunked`.
    #[error("the only transfer coding understood is chunked")]
    TransferCoding,
    /// An expectation other than `100-continue`.
    #[error("the only expectation understood is 100-continue")]
    Expectation,
    /// A request for an upgrade that has a body.
    #[error("a request for an upgrade cannot have a body")]
    UpgradeBody,
}

/// Looks for the empty line that ends a head, going on from `scanned`. Yields the length of the head with it.
///
/// # Errors
/// [`BadHead::Syntax`] as soon as a line ends with a bare LF.
pub fn find_end(input: &[u8], scanned: &mut usize) -> Result<Option<usize>, BadHead> {
    let from = *scanned;
    let rest = input.get(from..).unwrap_or_default();
    for at in memchr::memchr_iter(b'\n', rest) {
        let line_end = from + at;
        let before = input.get(..line_end).unwrap_or_default();
        let Some(line) = before.strip_suffix(b"\r") else { return Err(BadHead::Syntax) };
        if line.ends_with(b"\n") {
            return Ok(Some(line_end + 1));
        }
    }
    *scanned = input.len();
    Ok(None)
}

/// Takes a request head off `input`; `None` while it is incomplete. `scanned` remembers how far the search
/// got, and is zero again after a head.
///
/// # Errors
/// [`BadHead`]; the connection cannot go on.
pub fn parse_request(
    input: &mut BytesMut,
    scanned: &mut usize,
    max_size: usize,
) -> Result<Option<RequestHead>, BadHead> {
    // an empty line before a request line is forgiven (RFC 9112 §2.2), once
    if *scanned == 0 && input.starts_with(b"\r\n") {
        let _ = input.split_to(2);
    }
    let end = match find_end(input, scanned)? {
        Some(end) if end <= max_size => end,
        None if input.len() <= max_size => return Ok(None),
        _ => {
            let first_line = memchr::memchr(b'\n', input).unwrap_or(input.len());
            return Err(if first_line > max_size {
                BadHead::TargetTooLong
            } else {
                BadHead::TooLarge
            });
        }
    };
    *scanned = 0;
    let head = input.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(&head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Ok(_) => return Err(BadHead::Syntax),
        Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
        Err(httparse::Error::Version) if has_version(&head) => return Err(BadHead::Version),
        Err(_) => return Err(BadHead::Syntax),
    }
    let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| BadHead::Syntax)?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let raw_target = head.slice_ref(parsed.path.unwrap_or_default().as_bytes());
    let headers = field_map(&head, parsed.headers)?;
    if method == Method::CONNECT {
        // answered 405 whatever it names; its target has a form of its own (RFC 9112 §3.2.3)
        let target = Target::parse(&Bytes::from_static(b"/"), false)?.0;
        let framing = Decoder::empty();
        return Ok(Some(RequestHead {
            method,
            target,
            version,
            headers,
            host: None,
            framing,
            keep_alive: false,
            expects_continue: false,
            upgrade: None,
        }));
    }
    let (target, authority) = Target::parse(&raw_target, method == Method::OPTIONS)?;
    let host = host(&headers, version, authority)?;
    let framing = request_framing(&headers, version)?;
    let upgrade = upgrade(&headers, version);
    if upgrade.is_some() && !framing.is_done() {
        return Err(BadHead::UpgradeBody);
    }
    let keep_alive = keep_alive(&headers, version);
    let expects_continue = expects_continue(&headers, version)?;
    Ok(Some(RequestHead {
        method,
        target,
        version,
        headers,
        host,
        framing,
        keep_alive,
        expects_continue,
        upgrade,
    }))
}

/// Whether a request line that httparse finds no version it knows in ends with one all the same. A blank in the
/// target is a fault of the client's, and so is the preface of HTTP/2, whose line is made to be no request.
fn has_version(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let mut parts = line.split(|byte| *byte == b' ');
    let (method, version) = (parts.next(), parts.nth(1));
    let is_version = version.and_then(|version| version.strip_prefix(b"HTTP/")).is_some_and(
        |number| matches!(number, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit()),
    );
    is_version && parts.next().is_none() && method != Some(b"PRI")
}

/// Takes a response head off `input`; `None` while it is incomplete.
///
/// # Errors
/// [`BadHead`]: the upstream does not speak HTTP/1, or could be read in two ways.
pub fn parse_response(
    input: &mut BytesMut,
    scanned: &mut usize,
    max_size: usize,
) -> Result<Option<ResponseHead>, BadHead> {
    let end = match find_end(input, scanned)? {
        Some(end) if end <= max_size => end,
        None if input.len() <= max_size => return Ok(None),
        _ => return Err(BadHead::TooLarge),
    };
    *scanned = 0;
    let head = input.split_to(end).freeze();
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, &head, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(BadHead::TooLarge),
        _ => return Err(BadHead::Syntax),
    }
    let status =
        StatusCode::from_u16(parsed.code.unwrap_or_default()).map_err(|_| BadHead::Syntax)?;
    if status.as_u16() > 599 {
        return Err(BadHead::Syntax);
    }
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let headers = field_map(&head, parsed.headers)?;
    let length = content_length(&headers)?;
    let chunked = is_chunked(&headers, version)?;
    if chunked && length.is_some() {
        return Err(BadHead::Framing);
    }
    let keep_alive = keep_alive(&headers, version);
    Ok(Some(ResponseHead { status, headers, keep_alive, length, chunked }))
}

/// Reads a block of field lines that ends with an empty line: trailers.
pub(super) fn parse_fields(block: &Bytes) -> Result<Fields, BadHead> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_TRAILERS];
    match httparse::parse_headers(block, &mut fields) {
        Ok(httparse::Status::Complete((length, fields))) if length == block.len() => {
            field_map(block, fields)
        }
        _ => Err(BadHead::Syntax),
    }
}

fn field_map(head: &Bytes, fields: &[httparse::Header<'_>]) -> Result<Fields, BadHead> {
    let mut headers = Fields::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| BadHead::Syntax)?;
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value))
            .map_err(|_| BadHead::Syntax)?;
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112 §3.2: one `Host`, and that of an absolute target instead of it.
fn host(
    headers: &Fields,
    version: Version,
    authority: Option<Bytes>,
) -> Result<Option<HeaderValue>, BadHead> {
    let mut given = headers.get_all(header::HOST);
    let host = match (given.next(), given.next()) {
        (Some(host), None) if is_authority(host.as_bytes()) => Some(host.clone()),
        (None, None) if version == Version::HTTP_10 => None,
        _ => return Err(BadHead::Host),
    };
    match authority {
        Some(authority) => {
            HeaderValue::from_maybe_shared(authority).map(Some).map_err(|_| BadHead::Host)
        }
        None => Ok(host),
    }
}

/// RFC 9112 §6.3, with everything refused that it lets a server forgive.
fn request_framing(headers: &Fields, version: Version) -> Result<Decoder, BadHead> {
    let length = content_length(headers)?;
    if is_chunked(headers, version)? {
        return if length.is_some() { Err(BadHead::Framing) } else { Ok(Decoder::chunked()) };
    }
    Ok(length.map_or(Decoder::empty(), Decoder::length))
}

/// One plain decimal number below 2^63, or nothing.
///
/// # Errors
/// [`BadHead::ContentLength`] for anything else.
pub fn content_length(headers: &Fields) -> Result<Option<u64>, BadHead> {
    let mut given = headers.get_all(header::CONTENT_LENGTH);
    let Some(value) = given.next() else { return Ok(None) };
    let digits = value.as_bytes();
    if given.next().is_some()
        || digits.is_empty()
        || digits.len() > 19
        || !digits.iter().all(u8::is_ascii_digit)
    {
        return Err(BadHead::ContentLength);
    }
    let number = value.to_str().ok().and_then(|text| text.parse::<u64>().ok());
    number.filter(|number| i64::try_from(*number).is_ok()).map(Some).ok_or(BadHead::ContentLength)
}

/// Whether the body is chunked, and nothing but chunked.
fn is_chunked(headers: &Fields, version: Version) -> Result<bool, BadHead> {
    let mut given = headers.get_all(header::TRANSFER_ENCODING);
    let Some(value) = given.next() else { return Ok(false) };
    if version == Version::HTTP_10 || headers.contains_key(header::CONTENT_LENGTH) {
        return Err(BadHead::Framing);
    }
    if given.next().is_none() && value.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Ok(true);
    }
    // one coding too many that leaves the end clear is not implemented; all else leaves the end in doubt
    let codings: Vec<_> = tokens(headers, &header::TRANSFER_ENCODING).collect();
    let chunked: Vec<_> =
        codings.iter().map(|coding| coding.eq_ignore_ascii_case("chunked")).collect();
    let is_clear = match chunked.split_last() {
        None | Some((_, [])) => !chunked.contains(&true) && !chunked.is_empty(),
        Some((last, others)) => *last && !others.contains(&true) || !chunked.contains(&true),
    };
    Err(if is_clear { BadHead::TransferCoding } else { BadHead::Framing })
}

fn keep_alive(headers: &Fields, version: Version) -> bool {
    match (headers.get(header::CONNECTION), version) {
        (None, version) => version == Version::HTTP_11,
        (Some(_), Version::HTTP_11) => !has_token(headers, &header::CONNECTION, "close"),
        (Some(_), _) => {
            has_token(headers, &header::CONNECTION, "keep-alive")
                && !has_token(headers, &header::CONNECTION, "close")
        }
    }
}

/// Whether `Expect: 100-continue` is there; HTTP/1.0 does not know it.
///
/// # Errors
/// [`BadHead::Expectation`] for another expectation.
pub fn expects_continue(headers: &Fields, version: Version) -> Result<bool, BadHead> {
    if !headers.contains_key(header::EXPECT) || version == Version::HTTP_10 {
        return Ok(false);
    }
    if tokens(headers, &header::EXPECT).all(|token| token.eq_ignore_ascii_case("100-continue")) {
        return Ok(true);
    }
    Err(BadHead::Expectation)
}

/// The protocols asked for, less HTTP/2 in clear, which is not offered to the upstream (it would take the
/// connection out of our sight).
fn upgrade(headers: &Fields, version: Version) -> Option<HeaderValue> {
    headers.get(header::UPGRADE)?;
    if version == Version::HTTP_10 {
        return None;
    }
    let wanted: Vec<_> =
        tokens(headers, &header::UPGRADE).filter(|protocol| !is_http(protocol)).collect();
    if wanted.is_empty() { None } else { HeaderValue::from_str(&wanted.join(", ")).ok() }
}

/// `h2c`, `h2`, `HTTP/2.0` and the like.
fn is_http(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "h2", "h3", "http"].iter().any(|http| name.eq_ignore_ascii_case(http))
}

/// Most fields in one head.
pub const MAX_FIELDS: usize = 256;
/// Most fields in one trailer section.
const MAX_TRAILERS: usize = 64;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use http::Method;

    use super::{BadHead, RequestHead, parse_request, parse_response};
    use crate::message::BadTarget;

    fn request(text: &str) -> Result<Option<RequestHead>, BadHead> {
        parse_request(&mut BytesMut::from(text), &mut 0, 32 * 1024)
    }

    fn with(fields: &str) -> Result<RequestHead, BadHead> {
        request(&format!("POST /x HTTP/1.1\r\nHost: h\r\n{fields}\r\n\r\n")).map(Option::unwrap)
    }

    #[test]
    fn a_head_is_read_however_it_is_cut() {
        let text = "POST /a?b HTTP/1.1\r\nHost: h:80\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nabc";
        let (mut input, mut scanned) = (BytesMut::new(), 0);
        let mut found = None;
        for (at, byte) in text.bytes().enumerate() {
            input.extend_from_slice(&[byte]);
            if let Some(head) = parse_request(&mut input, &mut scanned, 1024).unwrap() {
                found = Some((at, head));
                break;
            }
        }
        let (at, head) = found.unwrap();
        assert_eq!(at, text.len() - 4);
        assert_eq!((head.method, head.target.as_str()), (Method::POST, "/a?b"));
        assert_eq!(
            (head.host.unwrap(), head.framing.remaining()),
            ("h:80".parse().unwrap(), Some(3))
        );
        assert!(head.keep_alive && input.is_empty() && scanned == 0);
    }

    #[test]
    fn lengths_that_two_parsers_could_read_differently_are_refused() {
        for bad in [
            "+5",
            "-5",
            "-0",
            "1 5",
            "0x5",
            "5, 0",
            "5, 5",
            "5a",
            "5.0",
            "",
            "1e1",
            "1_0",
            "\"5\"",
            "5;",
            "5\u{b}",
            "18446744073709551615",
            "18446744073709551616",
            "18446744073709551617",
            "9223372036854775808",
            "00000000000000000000005",
        ] {
            let outcome = with(&format!("Content-Length: {bad}")).unwrap_err();
            assert!(
                matches!(outcome, BadHead::ContentLength | BadHead::Syntax),
                "{bad:?}: {outcome:?}"
            );
        }
        assert_eq!(
            with("Content-Length: 5\r\nContent-Length: 6").unwrap_err(),
            BadHead::ContentLength
        );
        assert_eq!(
            with("Content-Length: 5\r\nContent-Length: 5").unwrap_err(),
            BadHead::ContentLength
        );
        assert_eq!(with("Content-Length: 5 ").unwrap().framing.remaining(), Some(5));
    }

    #[test]
    fn both_framings_at_once_are_refused_in_either_order() {
        for both in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Content-Length: 0\r\nTransfer-Encoding: x",
        ] {
            assert_eq!(with(both).unwrap_err(), BadHead::Framing);
        }
    }

    #[test]
    fn transfer_codings_other_than_chunked_alone_are_refused() {
        for (coding, expected) in [
            ("gzip, chunked", BadHead::TransferCoding),
            ("identity", BadHead::TransferCoding),
            ("xchunked", BadHead::TransferCoding),
            ("chunked, gzip", BadHead::Framing),
            ("chunked, chunked", BadHead::Framing),
            ("chunked\r\nTransfer-Encoding: chunked", BadHead::Framing),
            ("chunked,", BadHead::Framing),
            ("", BadHead::Framing),
            ("\"chunked\"", BadHead::TransferCoding),
        ] {
            assert_eq!(
                with(&format!("Transfer-Encoding: {coding}")).unwrap_err(),
                expected,
                "{coding}"
            );
        }
        assert!(with("Transfer-Encoding: Chunked").unwrap().framing.remaining().is_none());
        assert_eq!(
            request("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
                .unwrap_err(),
            BadHead::Framing
        );
    }

    #[test]
    fn lines_end_with_cr_lf_and_nothing_else() {
        for bad in [
            "GET / HTTP/1.1\nHost: h\n\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\rHost: h\r\r",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1 \r\nHost: h\r\n\r\n",
            "GET /\tHTTP/1.1\r\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX: \u{7f}\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
            "GET /\r\n\r\n",
            "\x16\x03\x01\x02\0\x01\0\r\n\r\n",
        ] {
            let outcome = request(bad);
            assert!(matches!(outcome, Err(BadHead::Syntax) | Ok(None)), "{bad:?}: {outcome:?}");
        }
        for version in ["HTTP/2.0", "HTTP/1.2", "HTTP/0.9"] {
            let line = format!("GET / {version}\r\nHost: h\r\n\r\n");
            assert_eq!(request(&line).unwrap_err(), BadHead::Version, "{version}");
        }
        for line in [
            "PRI * HTTP/2.0",
            "GET /a b HTTP/1.1",
            "G ET / HTTP/1.1",
            "GET / HTTP/11",
            "GET / http/1.1",
        ] {
            assert_eq!(request(&format!("{line}\r\n\r\n")).unwrap_err(), BadHead::Syntax, "{line}");
        }
    }

    #[test]
    fn exactly_one_valid_host_is_needed() {
        for bad in [
            "",
            "Host: a\r\nHost: b\r\n",
            "Host: a\r\nHost: a\r\n",
            "Host: a, b\r\n",
            "Host: a/b\r\n",
            "Host: u@h\r\n",
            "Host: \r\n",
            "Host: h:x\r\n",
            "Host: h:99999\r\n",
        ] {
            assert_eq!(
                request(&format!("GET / HTTP/1.1\r\n{bad}\r\n")).unwrap_err(),
                BadHead::Host,
                "{bad:?}"
            );
        }
        assert_eq!(request("GET / HTTP/1.0\r\n\r\n").unwrap().unwrap().host, None);
        let absolute =
            request("GET http://other:81/p HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap();
        assert_eq!(absolute.host.unwrap(), "other:81");
    }

    #[test]
    fn the_method_is_taken_by_the_letter() {
        assert_eq!(
            request("get / HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().unwrap().method.as_str(),
            "get"
        );
        assert_eq!(
            request("GET /a/../b HTTP/1.1\r\nHost: h\r\n\r\n").unwrap_err(),
            BadHead::Target(BadTarget::DotSegment)
        );
    }

    #[test]
    fn http2_in_clear_is_never_offered_but_other_upgrades_are() {
        for h2c in ["h2c", "H2C", "h2c, HTTP/2.0", "HTTP/2.0"] {
            assert!(
                with(&format!("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: {h2c}"))
                    .unwrap()
                    .upgrade
                    .is_none()
            );
        }
        assert_eq!(
            with("Connection: Upgrade\r\nUpgrade: h2c, websocket").unwrap().upgrade.unwrap(),
            "websocket"
        );
        assert_eq!(
            with("Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 1").unwrap_err(),
            BadHead::UpgradeBody
        );
    }

    #[test]
    fn heads_are_bounded() {
        let fields =
            |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count));
        assert!(request(&fields(200)).unwrap().is_some());
        assert_eq!(request(&fields(300)).unwrap_err(), BadHead::TooLarge);
        assert_eq!(request(&fields(20_000)).unwrap_err(), BadHead::TooLarge);
        assert_eq!(
            request(&format!("GET /{} HTTP/1.1\r\n", "a".repeat(40_000))).unwrap_err(),
            BadHead::TargetTooLong
        );
    }

    #[test]
    fn answers_that_could_be_read_in_two_ways_are_refused() {
        for bad in [
            "HTTP/1.1 9999 X\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 600 X\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
            "HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n",
            "HTTP/1.1 200 OK\nContent-Length: 5\n\n",
            "HTTP/1.1 200 OK\r\nX\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "junk\r\n\r\n",
        ] {
            assert!(parse_response(&mut BytesMut::from(bad), &mut 0, 4096).is_err(), "{bad:?}");
        }
        let head = parse_response(&mut BytesMut::from("HTTP/1.0 204\r\n\r\n"), &mut 0, 4096)
            .unwrap()
            .unwrap();
        assert!(!head.keep_alive);
    }
}
