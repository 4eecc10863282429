//! Requests of a client, one behind the other on a connection: our head and our framing, and hyper's server.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Waker};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use http_body::Body as _;
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::service::service_fn;
use tollgate::http1::head::MAX_FIELDS;
use tollgate::http1::{BadHead, Decoded, RequestHead, parse_request};
use tollgate::message::target::is_authority;

use super::script::{Script, cut, has_bare_line_feed, has_loose_chunk_size};

/// Has both read what a client sends, and compares what they took it for. The first byte of `input` chooses how it is
/// cut into reads.
///
/// # Panics
/// Where ours takes what hyper's refuses, takes it for something else, or refuses it by a rule that is not in [`is_meant`].
pub fn compare(input: &[u8]) {
    let [seed, bytes @ ..] = input else { return };
    let reference = read_by_hyper(bytes);
    let ours = read_by_us(cut(bytes, *seed));
    if let Err(difference) = judge(bytes, &ours, &reference) {
        panic!(
            "{difference}\ncut by {seed}: {}\nours: {ours:#?}\nhyper's: {reference:#?}",
            bytes.escape_ascii()
        );
    }
}

/// A request, as it was taken.
#[derive(Debug)]
struct Taken {
    method: Method,
    /// Path and query.
    target: String,
    /// The authority of an absolute target, else `Host`.
    host: Option<HeaderValue>,
    version: Version,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: HeaderMap,
    /// All of it has come.
    whole: bool,
}

/// A connection, as ours reads it.
#[derive(Debug, Default)]
struct Connection {
    requests: Vec<Taken>,
    /// Why it ended, where that was not its end, nor asked for.
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Head(BadHead),
    Body,
}

/// The one way in which ours is laxer: what browsers put into a path unencoded, and `http::Uri` has no place for, goes on as
/// it came. It says nothing of where a message ends.
fn judge(bytes: &[u8], ours: &Connection, reference: &[Taken]) -> Result<(), &'static str> {
    for (number, taken) in ours.requests.iter().enumerate() {
        if taken.method == Method::CONNECT {
            return Ok(()); // refused, whatever it names, and the connection is closed
        }
        let Some(expected) = reference.get(number) else {
            let is_laxer = taken.target.parse::<http::Uri>().is_ok();
            return if is_laxer { Err("ours takes what hyper refuses") } else { Ok(()) };
        };
        judge_head(taken, expected)?;
        let is_last = number + 1 == ours.requests.len();
        match (taken.whole, expected.whole) {
            (true, true) if taken.body != expected.body => return Err("another body"),
            (true, true) if taken.trailers != expected.trailers => return Err("other trailers"),
            (true, true) => {}
            (true, false) => return Err("ours takes for whole what hyper does not"),
            (false, true) if !is_last || !matches!(ours.fault, Some(Fault::Body)) => {
                return Err("ours waits for more than hyper");
            }
            (false, true)
                if !has_loose_chunk_size(bytes)
                    && !has_bare_line_feed(bytes)
                    && expected.trailers.len() <= MAX_TRAILERS =>
            {
                return Err("ours breaks off what hyper takes, for no named reason");
            }
            (false, _) => {
                let length = taken.body.len().min(expected.body.len());
                if taken.body[..length] != expected.body[..length] {
                    return Err("another body, up to where it breaks off");
                }
            }
        }
    }
    match (ours.fault, reference.get(ours.requests.len())) {
        (Some(Fault::Head(fault)), Some(taken)) if !is_meant(fault, bytes, taken) => {
            Err("ours refuses what hyper takes, for no named reason")
        }
        _ => Ok(()),
    }
}

fn judge_head(ours: &Taken, expected: &Taken) -> Result<(), &'static str> {
    if ours.method != expected.method {
        return Err("another method");
    }
    if ours.version != expected.version {
        Err("another version")
    } else if ours.headers != expected.headers {
        Err("other fields")
    } else if ours.target != expected.target {
        Err("another target")
    } else if ours.host != expected.host {
        Err("another host")
    } else {
        Ok(())
    }
}

/// Whether ours may refuse what hyper took for `taken`. Each of these is a rule of ours, with the reason for it.
fn is_meant(fault: BadHead, bytes: &[u8], taken: &Taken) -> bool {
    let headers = &taken.headers;
    let count = |name| headers.get_all(name).iter().count();
    let coding = headers.get(header::TRANSFER_ENCODING);
    match fault {
        // RFC 9112 §2.2: one empty line before a request is forgiven, and no bare LF
        BadHead::Syntax => {
            has_bare_line_feed(bytes) || bytes.windows(4).any(|window| window == b"\r\n\r\n")
        }
        // what Target refuses is a policy of its own, and stricter than any grammar
        BadHead::Target(_) => true,
        // RFC 9112 §3.2
        BadHead::Host => {
            count(header::HOST) != 1
                || headers.get(header::HOST).is_none_or(|host| !is_authority(host.as_bytes()))
        }
        // RFC 9112 §6.3: hyper takes the same number twice, and passes over those beside a transfer coding
        BadHead::ContentLength => {
            lengths(bytes) > 1
                || coding.is_some() && lengths(bytes) > 0
                || headers.get(header::CONTENT_LENGTH).is_some_and(|length| {
                    length.len() > 19
                        || length.to_str().is_ok_and(|text| text.parse::<i64>().is_err())
                })
        }
        // RFC 9112 §6.1: it ought to be handled as an error, and it is how requests are smuggled
        BadHead::Framing => {
            coding.is_some()
                && (lengths(bytes) > 0
                    || count(header::TRANSFER_ENCODING) > 1
                    || coding.is_some_and(|value| !is_chunked(value)))
        }
        // RFC 9112 §6.1: what is not understood is answered 501; hyper leaves it to its user
        BadHead::TransferCoding => {
            count(header::TRANSFER_ENCODING) > 1 || coding.is_some_and(|value| !is_chunked(value))
        }
        // RFC 9110 §10.1.1: hyper passes over other expectations
        BadHead::Expectation => headers.contains_key(header::EXPECT),
        // RFC 9110 §7.8: nothing behind the body could be told from the other protocol
        BadHead::UpgradeBody => headers.contains_key(header::UPGRADE),
        BadHead::Version | BadHead::TooLarge | BadHead::TargetTooLong => false,
    }
}

fn is_chunked(value: &HeaderValue) -> bool {
    value.as_bytes().eq_ignore_ascii_case(b"chunked")
}

/// How many lengths are told: hyper drops those that it does not need, so that only the bytes say it.
fn lengths(bytes: &[u8]) -> usize {
    bytes.windows(15).filter(|window| window.eq_ignore_ascii_case(b"content-length:")).count()
}

/// What ours makes of a connection: as the server does it, head by head and piece by piece.
fn read_by_us(pieces: Vec<Vec<u8>>) -> Connection {
    let mut pieces = VecDeque::from(pieces);
    let (mut input, mut scanned) = (BytesMut::new(), 0);
    let mut connection = Connection::default();
    loop {
        let parsed = match input.is_empty() {
            true => Ok(None),
            false => parse_request(&mut input, &mut scanned, MAX_HEAD),
        };
        match parsed {
            Ok(Some(head)) => {
                let goes_on = head.keep_alive;
                let read = read_body(head, &mut input, &mut pieces, &mut connection.fault);
                let is_whole = read.whole;
                connection.requests.push(read);
                if !goes_on || !is_whole {
                    return connection;
                }
            }
            Ok(None) => match pieces.pop_front() {
                Some(piece) => input.extend_from_slice(&piece),
                None => return connection,
            },
            Err(fault) => {
                connection.fault = Some(Fault::Head(fault));
                return connection;
            }
        }
    }
}

fn read_body(
    head: RequestHead,
    input: &mut BytesMut,
    pieces: &mut VecDeque<Vec<u8>>,
    fault: &mut Option<Fault>,
) -> Taken {
    let RequestHead { method, target, version, headers, host, mut framing, .. } = head;
    let mut taken = Taken {
        method,
        target: target.as_str().to_owned(),
        host,
        version,
        headers: headers.into(),
        body: Vec::new(),
        trailers: HeaderMap::new(),
        whole: false,
    };
    loop {
        match framing.decode(input) {
            Ok(Decoded::Data(piece)) => taken.body.extend_from_slice(&piece),
            Ok(Decoded::Trailers(trailers)) => taken.trailers = trailers,
            Ok(Decoded::End) => {
                taken.whole = true;
                return taken;
            }
            Ok(Decoded::NeedMore) => match pieces.pop_front() {
                Some(piece) => input.extend_from_slice(&piece),
                None => return taken,
            },
            Err(_) => {
                *fault = Some(Fault::Body);
                return taken;
            }
        }
    }
}

/// What hyper's server makes of a connection.
fn read_by_hyper(bytes: &[u8]) -> Vec<Taken> {
    let script = Script::new([bytes.to_vec()], false);
    let taken = Rc::new(RefCell::new(Vec::new()));
    let seen = Rc::clone(&taken);
    let service = service_fn(move |request| take(request, Rc::clone(&seen)));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.max_headers(MAX_FIELDS).half_close(true).auto_date_header(false);
    let mut connection = pin!(builder.serve_connection(script.clone(), service));
    let mut cx = Context::from_waker(Waker::noop());
    for closed in [false, true] {
        let (mut idle, mut done) = (0, false);
        while !done && idle < 4 {
            let progress = || {
                let taken = taken.borrow();
                let last =
                    taken.last().map_or((0, false), |last: &Taken| (last.body.len(), last.whole));
                (taken.len(), last, script.left().len(), script.written())
            };
            let before = progress();
            done = connection.as_mut().poll(&mut cx).is_ready();
            idle = if before == progress() { idle + 1 } else { 0 };
        }
        if done || closed {
            break;
        }
        script.end();
    }
    std::mem::take(&mut *taken.borrow_mut())
}

/// Reads a request to its end, and answers it.
async fn take(
    request: http::Request<Incoming>,
    seen: Rc<RefCell<Vec<Taken>>>,
) -> Result<http::Response<Empty<Bytes>>, Infallible> {
    let (parts, mut body) = request.into_parts();
    let host = match parts.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => parts.headers.get(header::HOST).cloned(),
    };
    let number = seen.borrow().len();
    seen.borrow_mut().push(Taken {
        method: parts.method,
        target: parts.uri.path_and_query().map_or_else(String::new, |target| target.to_string()),
        host,
        version: parts.version,
        headers: parts.headers,
        body: Vec::new(),
        trailers: HeaderMap::new(),
        whole: false,
    });
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        let mut seen = seen.borrow_mut();
        let taken = &mut seen[number];
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => taken.body.extend_from_slice(&piece),
                Err(frame) => taken.trailers = frame.into_trailers().unwrap(),
            },
            Some(Err(_)) => break,
            None => {
                taken.whole = true;
                break;
            }
        }
    }
    Ok(http::Response::new(Empty::new()))
}

/// Most trailers that are taken.
const MAX_TRAILERS: usize = 64;
/// Longest head that is taken.
const MAX_HEAD: usize = 32 * 1024;
