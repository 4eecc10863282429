//! The answer of an upstream: a whole gateway that asks over a real socket, and hyper's client.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::Full;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::SignalKind;
use tollgate::clock::Clock;
use tollgate::config::{Sources, load};
use tollgate::gateway::{Gateway, Generation};
use tollgate::message::headers::{connection_named, response_field_passes, trailer_passes};
use tollgate::message::{Body, BodyError, Fields, InterimSink, Peer, Request, Response, Target};
use tollgate::observe::Decision;
use tollgate::store::MemoryStore;

use super::script::{Script, cut, has_bare_line_feed, has_loose_chunk_size};

/// Has both read an answer, and compares what they took it for. The first byte of `input` chooses the request, the second
/// how the answer is cut into reads; the rest is the answer.
///
/// # Panics
/// Where ours takes what hyper's refuses, takes it for something else, or refuses it by a rule that is not in [`STRICTER`].
pub fn compare(input: &[u8]) {
    let [kind, seed, bytes @ ..] = input else { return };
    let asked = Asked::from(*kind);
    let reference = read_by_hyper(asked, bytes);
    let ours = WORLD.with(|world| world.read(asked, &cut(bytes, *seed)));
    if let Err(difference) = judge(asked, bytes, &ours, &reference) {
        panic!(
            "{difference}\n{asked:?}, cut by {seed}: {}\nours: {ours:#?}\nhyper's: {reference:#?}",
            bytes.escape_ascii()
        );
    }
}

/// Sets up what every comparison uses, so that a fuzzer does not take it for a part of the first one.
pub fn begin() {
    WORLD.with(|_| ());
}

/// What an answer is read to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Asked {
    Get,
    Head,
    Post,
    /// The rest of its body never comes.
    PostUnfinished,
    Upgrade,
}

impl Asked {
    const fn from(byte: u8) -> Self {
        match byte % 8 {
            0..=2 => Self::Get,
            3 => Self::Head,
            4 | 5 => Self::Post,
            6 => Self::PostUnfinished,
            _ => Self::Upgrade,
        }
    }

    const fn method(self) -> Method {
        match self {
            Self::Get | Self::Upgrade => Method::GET,
            Self::Head => Method::HEAD,
            Self::Post | Self::PostUnfinished => Method::POST,
        }
    }

    /// What stands at the end of the request as the upstream gets it.
    const fn end(self) -> &'static [u8] {
        match self {
            Self::Get | Self::Head | Self::PostUnfinished | Self::Upgrade => b"\r\n\r\n",
            Self::Post => b"\r\n\r\n0123456789",
        }
    }
}

/// What an answer was taken for.
#[derive(Debug, Default)]
struct Reading {
    interim: Vec<(StatusCode, HeaderMap)>,
    /// `None`: there was no answer that could be read.
    head: Option<(StatusCode, HeaderMap)>,
    body: Vec<u8>,
    trailers: HeaderMap,
    end: Option<End>,
    /// The end was known before the connection was closed.
    early: bool,
    /// A further request went over the same connection, or could have gone.
    kept: bool,
    /// What came through the tunnel.
    tunnel: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Whole,
    Broken,
}

/// Whether a difference is meant: by the bytes, and by what hyper has read of them.
type Meant = fn(&[u8], &Reading) -> bool;

/// Ours may refuse or break off where hyper goes on, for one of these reasons.
const STRICTER: &[(&str, Meant)] = &[
    // RFC 9112 §2.2 lets a recipient take LF for a line end; two readers in a row then see two messages
    ("a line ends with LF alone", |bytes, _| has_bare_line_feed(bytes)),
    // RFC 9112 §2.2 forgives empty lines before a request only; one is passed over all the same, as hyper does with any
    ("more than one empty line before a status line", |bytes, _| {
        bytes.windows(5).any(|window| window == b"\r\n\r\nH")
    }),
    // RFC 9110 §15: there are no classes above 5
    ("a status above 599", |_, read| read.statuses().any(|status| status.as_u16() > 599)),
    // RFC 9112 §6.3 rule 5; hyper takes the same number twice, and looks at it only where it frames a body
    ("Content-Length is not one plain number below 2^63", |_, read| {
        read.heads().any(|headers| {
            let mut given = headers.get_all(header::CONTENT_LENGTH).into_iter();
            given.next().is_some_and(|value| !is_plain(value)) || given.next().is_some()
        })
    }),
    // RFC 9112 §6.1: a coding nobody here can undo; hyper takes the connection's end for the body's
    ("a transfer coding other than chunked alone", |_, read| {
        read.heads().any(|headers| {
            let mut given = headers.get_all(header::TRANSFER_ENCODING).into_iter();
            given.next().is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"chunked"))
                || given.next().is_some()
        })
    }),
    // RFC 9112 §6.3 rule 3 and §6.1: what may be an attempt at response splitting; hyper lets the coding win
    ("Transfer-Encoding with Content-Length, or in HTTP/1.0", |bytes, read| {
        read.heads().any(|headers| {
            headers.contains_key(header::TRANSFER_ENCODING)
                && (headers.contains_key(header::CONTENT_LENGTH)
                    || bytes.windows(8).any(|window| window == b"HTTP/1.0"))
        })
    }),
    // RFC 9110 §15.2.2: the protocol of the rest of the connection is the one that was asked for
    ("101 that was not asked for, or names another protocol", |_, read| {
        read.statuses().any(|status| status == StatusCode::SWITCHING_PROTOCOLS)
    }),
    // RFC 9112 §7.1: hyper takes white space and any number of zeros
    ("a chunk size in a forgiving form", |bytes, _| has_loose_chunk_size(bytes)),
    ("more trailers than are taken", |_, read| read.trailers.len() > 64),
];

/// Whether `ours` is right, given what hyper made of the same bytes.
fn judge(
    asked: Asked,
    bytes: &[u8],
    ours: &Reading,
    reference: &Reading,
) -> Result<(), &'static str> {
    let is_meant = || STRICTER.iter().any(|(_, applies)| applies(bytes, reference));
    let Some((status, headers)) = &ours.head else {
        return match &reference.head {
            Some(_) if !is_meant() => Err("ours refuses what hyper takes, for no named reason"),
            _ => Ok(()),
        };
    };
    let Some((expected_status, expected_headers)) = &reference.head else {
        return Err("ours takes what hyper refuses");
    };
    let passed_on = reference.interim.iter().filter(|(status, _)| *status != StatusCode::CONTINUE);
    if !ours.interim.iter().eq(passed_on.take(MAX_INTERIM)) {
        return Err("other informational answers");
    }
    if status != expected_status {
        return Err("another status");
    }
    if *headers != passed_on_by_us(asked, *status, expected_headers) {
        return Err("other fields");
    }
    match (ours.end, reference.end) {
        (Some(End::Whole), Some(End::Whole)) => judge_whole(asked, ours, reference),
        (Some(End::Broken), Some(End::Whole)) if !is_meant() => {
            Err("ours breaks off what hyper takes, for no named reason")
        }
        (Some(End::Broken), Some(_)) => {
            let length = ours.body.len().min(reference.body.len());
            let agrees = ours.body[..length] == reference.body[..length];
            if agrees { Ok(()) } else { Err("another body, up to where it breaks off") }
        }
        (Some(End::Whole), _) => Err("ours takes for whole what hyper does not"),
        (None, _) | (_, None) => Err("no end"),
    }
}

fn judge_whole(asked: Asked, ours: &Reading, reference: &Reading) -> Result<(), &'static str> {
    let mut trailers = reference.trailers.clone();
    let gone: Vec<_> = trailers.keys().filter(|name| !trailer_passes(name, &[])).cloned().collect();
    for name in gone {
        trailers.remove(name);
    }
    if ours.body != reference.body {
        Err("another body")
    } else if ours.trailers != trailers {
        Err("other trailers")
    } else if ours.tunnel != reference.tunnel {
        Err("something else comes through the tunnel")
    } else if ours.tunnel.is_none() && ours.early != reference.early {
        Err("only one of the two waits for the end of the connection")
    } else if ours.kept && (!reference.kept || asked == Asked::PostUnfinished) {
        Err("ours goes on with a connection that is used up")
    } else {
        Ok(())
    }
}

/// The fields that go on to the client, of those that hyper has read.
fn passed_on_by_us(asked: Asked, status: StatusCode, read: &HeaderMap) -> HeaderMap {
    let named = match status {
        StatusCode::SWITCHING_PROTOCOLS => Vec::new(),
        _ => connection_named(&read.clone().into()),
    };
    let mut headers = HeaderMap::new();
    for (name, value) in read {
        if response_field_passes(name, &named) && name != header::LOCATION {
            headers.append(name, value.clone());
        }
    }
    let tells_length = status == StatusCode::NOT_MODIFIED
        || asked == Asked::Head
            && status != StatusCode::NO_CONTENT
            && status != StatusCode::SWITCHING_PROTOCOLS;
    let length = read.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if let (true, Some(length)) = (tells_length, length.and_then(|text| text.parse::<u64>().ok())) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers
}

fn is_plain(value: &HeaderValue) -> bool {
    let digits = value.as_bytes();
    digits.len() <= 19
        && digits.iter().all(u8::is_ascii_digit)
        && value.to_str().is_ok_and(|text| text.parse::<i64>().is_ok())
}

impl Reading {
    fn heads(&self) -> impl Iterator<Item = &HeaderMap> {
        self.interim.iter().chain(&self.head).map(|(_, headers)| headers)
    }

    fn statuses(&self) -> impl Iterator<Item = StatusCode> {
        self.interim.iter().chain(&self.head).map(|(status, _)| *status)
    }

    /// Takes what comes next of a body; whether that was the end.
    fn take<E>(&mut self, frame: Option<Result<Frame<Bytes>, E>>) -> bool {
        match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(piece) => self.body.extend_from_slice(&piece),
                Err(frame) => self.trailers.extend(frame.into_trailers().unwrap()),
            },
            Some(Err(_)) => self.end = Some(End::Broken),
            None => self.end = Some(End::Whole),
        }
        self.end.is_some()
    }

    /// How much has been read, to see whether more is coming.
    fn progress(&self) -> (usize, bool, usize, bool) {
        (self.interim.len(), self.head.is_some(), self.body.len(), self.end.is_some())
    }
}

/// What hyper's client makes of an answer.
fn read_by_hyper(asked: Asked, bytes: &[u8]) -> Reading {
    let script = Script::new([bytes.to_vec()], true);
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder.max_headers(tollgate::http1::head::MAX_FIELDS);
    let mut cx = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok((mut sender, connection))) =
        pin!(builder.handshake(script.clone())).poll(&mut cx)
    else {
        panic!("hyper waits for nothing here");
    };
    let mut request = http::Request::builder().method(asked.method()).uri("/x").header("host", "h");
    if asked == Asked::Upgrade {
        request = request.header("upgrade", PROTOCOL).header("connection", "upgrade");
    }
    let content = if asked.method() == Method::POST { CONTENT } else { b"" };
    let mut request = request.body(Full::new(Bytes::from_static(content))).unwrap();
    let interim = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&interim);
    hyper::ext::on_informational(&mut request, move |answer| {
        sink.lock().unwrap().push((answer.status(), answer.headers().clone()));
    });

    let read = RefCell::new(Reading::default());
    let mut connection = pin!(connection.with_upgrades());
    let mut over = false;
    let answer = sender.send_request(request);
    let mut client = pin!(async {
        let Ok(mut answer) = answer.await else { return };
        read.borrow_mut().head = Some((answer.status(), answer.headers().clone()));
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            let upgraded = hyper::upgrade::on(answer).await.unwrap();
            let parts = upgraded.downcast::<Script>().unwrap();
            let mut read = read.borrow_mut();
            read.tunnel = Some([&parts.read_buf[..], &parts.io.left()].concat());
            read.end = Some(End::Whole);
            return;
        }
        loop {
            let frame = poll_fn(|cx| Pin::new(answer.body_mut()).poll_frame(cx)).await;
            if read.borrow_mut().take(frame) {
                return;
            }
        }
    });
    // polled until nothing moves any more, twice: before the end of the connection and behind it
    let mut done = false;
    for closed in [false, true] {
        let mut idle = 0;
        while !done && idle < 4 {
            let before = (read.borrow().progress(), script.left().len());
            over = over || connection.as_mut().poll(&mut cx).is_ready();
            done = client.as_mut().poll(&mut cx).is_ready();
            let is_same = before == (read.borrow().progress(), script.left().len());
            idle = if is_same { idle + 1 } else { 0 };
        }
        if closed {
            break;
        }
        read.borrow_mut().early = done;
        if done {
            for _ in 0..4 {
                over = over || connection.as_mut().poll(&mut cx).is_ready();
            }
            let is_ready = matches!(sender.poll_ready(&mut cx), Poll::Ready(Ok(())));
            read.borrow_mut().kept = is_ready && !over;
            break;
        }
        script.end();
    }
    let mut read = read.take();
    read.interim = std::mem::take(&mut interim.lock().unwrap());
    read
}

/// A gateway, and the upstream that it asks.
struct World {
    runtime: tokio::runtime::Runtime,
    gateway: Gateway,
    clock: Clock,
    listener: UnixListener,
}

thread_local! {
    static WORLD: World = World::new();
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let folder = std::env::temp_dir().join(format!(
            "tollgate-differential-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&folder).unwrap();
        let (socket, file) = (folder.join("socket"), folder.join("gateway.toml"));
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        listener.set_nonblocking(true).unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\n[upstream]\nurl = \"unix:{}\"\nretries = 0\n\
             [access]\nprotect = \"none\"\n",
            socket.display()
        );
        std::fs::write(&file, text).unwrap();
        let clock = Clock::adjustable();
        let sources = Sources { file: Some(file), clock: clock.clone(), ..Sources::default() };
        let settings = match load(&sources) {
            Ok(loaded) => loaded.settings,
            Err(faults) => panic!("{}", faults.render(false)),
        };
        let store = Arc::new(MemoryStore::new(clock.clone()));
        let gateway = runtime.block_on(async {
            // a write to a peer that is gone must not be the end of a process that Rust's runtime has not set up
            let _ = tokio::signal::unix::signal(SignalKind::pipe()).unwrap();
            Gateway::new(Generation::first(settings, store, clock.clone()).unwrap(), 7)
        });
        Self { runtime, gateway, clock, listener }
    }

    /// What the gateway makes of an answer that arrives in these pieces.
    fn read(&self, asked: Asked, pieces: &[Vec<u8>]) -> Reading {
        self.runtime.block_on(async {
            let read = Rc::new(RefCell::new(Reading::default()));
            let mut client = Client::new(self.ask(asked, &read));
            let mut upstream = self.accept(&mut client).await;
            receive(&mut upstream, asked.end(), &mut client).await;
            for piece in pieces {
                if upstream.write_all(piece).is_err() {
                    break; // it has closed: it has seen enough
                }
                client.turn().await;
            }
            client.turns(3).await;
            read.borrow_mut().early = client.done;
            if !client.done {
                let _ = upstream.shutdown(Shutdown::Write);
                client.turns(100).await;
            }
            assert!(client.done, "the gateway waits for something: {read:#?}");
            drop(client);
            if is_open(&mut upstream) && asked != Asked::Upgrade {
                let kept = self.goes_on(&mut upstream).await;
                read.borrow_mut().kept = kept;
            }
            self.clock.skip(LONGER_THAN_IDLE); // whatever is still kept is not used again
            read.take()
        })
    }

    async fn accept(&self, client: &mut Client<'_>) -> UnixStream {
        for _ in 0..100 {
            client.turn().await;
            if let Ok((stream, _)) = self.listener.accept() {
                stream.set_nonblocking(true).unwrap();
                return stream;
            }
        }
        panic!("the gateway does not connect");
    }

    /// Asks once more, and has that answered wherever it is asked: over `upstream`, or a new connection. Whether it was
    /// the former. What was left over of the answer before must never be taken for this one.
    async fn goes_on(&self, upstream: &mut UnixStream) -> bool {
        let read = Rc::new(RefCell::new(Reading::default()));
        let mut client = Client::new(self.ask(Asked::Get, &read));
        let (mut kept, mut answered) = (false, false);
        for _ in 0..100 {
            client.turn().await;
            let mut another = self.listener.accept().ok().map(|(stream, _)| stream);
            kept =
                another.is_none() && upstream.read(&mut [0; 1024]).is_ok_and(|length| length > 0);
            if let Some(stream) = another.as_mut().or(kept.then_some(&mut *upstream)) {
                stream.write_all(SECOND).unwrap();
                client.turns(100).await;
                answered = true;
                break;
            }
            if client.done {
                break;
            }
        }
        assert!(answered && client.done, "a further request finds what was left of the first");
        let (status, headers) = read.borrow_mut().head.take().unwrap_or_default();
        assert!(
            status == StatusCode::NO_CONTENT && headers.contains_key("x-second"),
            "a further request is answered by what was left of the first: {status} {headers:?}"
        );
        kept
    }

    /// Sends a request and reads its answer to the end.
    async fn ask(&self, asked: Asked, read: &Rc<RefCell<Reading>>) {
        let request = request(asked, read);
        let mut record = self.gateway.record(self.clock.monotonic(), &request);
        let Response { status, mut headers, mut body, tunnel } =
            self.gateway.handle(Box::new(request), &mut record).await;
        if record.decision == Decision::Refused {
            return;
        }
        headers.remove(header::LOCATION); // rewritten, on purpose
        read.borrow_mut().head = Some((status, headers.into()));
        if let Some(mut tunnel) = tunnel {
            let mut through = tunnel.early.to_vec();
            while tunnel.stream.read_buf(&mut through).await.unwrap() > 0 {}
            let mut read = read.borrow_mut();
            (read.tunnel, read.end) = (Some(through), Some(End::Whole));
            return;
        }
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
            if read.borrow_mut().take(frame) {
                return;
            }
        }
    }
}

fn request(asked: Asked, read: &Rc<RefCell<Reading>>) -> Request {
    let body = match asked {
        Asked::Get | Asked::Head | Asked::Upgrade => Body::Empty,
        Asked::Post => Body::from(Bytes::from_static(CONTENT)),
        Asked::PostUnfinished => Body::Stream(Box::pin(Never)),
    };
    let upgrade = (asked == Asked::Upgrade).then(|| HeaderValue::from_static(PROTOCOL));
    Request {
        method: asked.method(),
        target: Target::parse(&Bytes::from_static(b"/x"), false).unwrap().0,
        version: Version::HTTP_11,
        headers: Fields::new(),
        host: Some(HeaderValue::from_static("h")),
        upgrade,
        expects_continue: false,
        body,
        peer: Rc::new(Peer::new(None, false, false)),
        interim: Some(Rc::new(Sink(Rc::clone(read)))),
    }
}

/// Content of which nothing ever comes.
struct Never;

impl HttpBody for Never {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Pending
    }
}

struct Sink(Rc<RefCell<Reading>>);

impl InterimSink for Sink {
    fn send(&self, status: StatusCode, headers: &Fields) {
        self.0.borrow_mut().interim.push((status, headers.clone().into()));
    }
}

/// A request that is made, and polled when its turn comes.
struct Client<'w> {
    future: Pin<Box<dyn Future<Output = ()> + 'w>>,
    done: bool,
}

impl<'w> Client<'w> {
    fn new(future: impl Future<Output = ()> + 'w) -> Self {
        Self { future: Box::pin(future), done: false }
    }

    /// Polls once, and has the runtime look at its sockets.
    async fn turn(&mut self) {
        tokio::task::yield_now().await;
        if !self.done {
            let polled = poll_fn(|cx| Poll::Ready(self.future.as_mut().poll(cx)));
            self.done = polled.await.is_ready();
        }
    }

    /// As many turns as are needed, and no more than that.
    async fn turns(&mut self, most: usize) {
        for _ in 0..most {
            if self.done {
                break;
            }
            self.turn().await;
        }
    }
}

/// Reads a request up to its end.
async fn receive(upstream: &mut UnixStream, end: &[u8], client: &mut Client<'_>) {
    let (mut request, mut buffer) = (Vec::new(), [0; 1024]);
    for _ in 0..100 {
        if let Ok(length) = upstream.read(&mut buffer) {
            request.extend_from_slice(&buffer[..length]);
            if request.ends_with(end) {
                return;
            }
        }
        client.turn().await;
    }
    panic!("the request does not come");
}

/// Whether the gateway has left its end of the connection open.
fn is_open(upstream: &mut UnixStream) -> bool {
    upstream.read(&mut [0; 1]).is_err_and(|fault| fault.kind() == ErrorKind::WouldBlock)
}

const CONTENT: &[u8] = b"0123456789";
const PROTOCOL: &str = "websocket";
/// The answer to a further request.
const SECOND: &[u8] = b"HTTP/1.1 204 No Content\r\nx-second: 1\r\nconnection: close\r\n\r\n";
/// Informational answers that are passed on for one request.
const MAX_INTERIM: usize = 32;
const LONGER_THAN_IDLE: Duration = Duration::from_secs(3600);
