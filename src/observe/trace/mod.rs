//! Spans: which requests become some, what they say, and the bounded queue to whoever exports them. Says never a token, a
//! query or a header's value but the host.
//!
//! A client's context is continued, whoever it is: that gives away nothing and binds us to nothing. Whether a span is
//! recorded follows the context only where a trusted proxy tells it; of all others our own dice decide, so that nobody
//! makes us record more than the configured share.

mod context;

use std::cell::Cell;
use std::hash::{BuildHasher, RandomState};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Version};

use tokio::sync::mpsc::{Receiver, Sender, channel, error::TrySendError};

pub use context::{SpanId, TraceId};

use super::access::Record;
use crate::clock::Clock;
use crate::message::{Fields, Request};
use context::{Context, RANDOM, SAMPLED, TRACEPARENT, TRACESTATE, write_hex};

/// One worker's part in tracing.
#[derive(Debug)]
pub struct Tracer {
    spans: SpanSink,
    /// Of 2^64 requests, so many become spans.
    share: u64,
    clock: Clock,
    /// Random keys: what it makes of a counter nobody can tell beforehand.
    dice: RandomState,
    throws: Cell<u64>,
}

/// What one request's record holds of its trace.
#[derive(Debug)]
pub struct Trace {
    tracer: Rc<Tracer>,
    parent: Option<Context>,
    trace: TraceId,
    /// Of this request here.
    server: SpanId,
    /// Of what is asked of the upstream for it.
    client: SpanId,
    flags: u8,
    host: Option<HeaderValue>,
    version: Version,
    /// The pattern of the route.
    pub route: Option<Rc<str>>,
    /// Which upstream is asked.
    pub asked: Option<AskedUpstream>,
}

/// An upstream that is asked.
#[derive(Debug)]
pub struct AskedUpstream {
    /// Its name.
    pub name: String,
    /// Its authority, where it has one origin alone.
    pub authority: Option<String>,
    /// Since when.
    pub since: Instant,
}

/// Something that took time. Times are since 1970.
#[derive(Clone, Debug)]
pub struct Span {
    /// What it belongs to.
    pub trace: TraceId,
    /// Its own id.
    pub id: SpanId,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// Whether that is another program's.
    pub parent_is_remote: bool,
    /// Whether it is a request that we made, not one that we answered.
    pub is_client: bool,
    /// What it is, from few names.
    pub name: String,
    /// When it began.
    pub start: Duration,
    /// When it ended.
    pub end: Duration,
    /// What there is to say of it.
    pub attributes: Vec<(&'static str, Said)>,
    /// Whether it failed for our sake or the upstream's.
    pub failed: bool,
}

/// A value of an attribute.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Said {
    /// Text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// The queue in front of whoever exports spans. Never waits: what does not fit is dropped and counted.
#[derive(Clone, Debug)]
pub struct SpanSink {
    queue: Sender<SpanMessage>,
    dropped: Arc<AtomicU64>,
}

/// What comes out of the queue.
#[derive(Debug)]
pub enum SpanMessage {
    /// A span.
    Span(Box<Span>),
    /// Everything before this is to be sent before it is answered.
    Flush(SyncSender<()>),
}

impl SpanSink {
    /// A queue, its other end, and the count of what was dropped.
    #[must_use]
    pub fn new() -> (Self, Receiver<SpanMessage>, Arc<AtomicU64>) {
        let (queue, messages) = channel(MAX_SPANS);
        let dropped = Arc::new(AtomicU64::new(0));
        (Self { queue, dropped: Arc::clone(&dropped) }, messages, dropped)
    }

    fn send(&self, span: Span) {
        if self.queue.try_send(SpanMessage::Span(Box::new(span))).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was handed over is sent or given up, at most for `limit`. For the end of the program.
    pub fn flush(&self, limit: Duration) {
        let (done, seen) = sync_channel(1);
        let mut message = SpanMessage::Flush(done);
        for _ in 0..limit.as_millis() / LOOK_EVERY.as_millis() {
            match self.queue.try_send(message) {
                Ok(()) => {
                    let _ = seen.recv_timeout(limit); // a collector that stands still is not waited for
                    return;
                }
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Closed(_)) => return,
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Tracer {
    /// Of all requests the share `ratio`, 0 to 1, becomes spans.
    #[must_use]
    pub fn new(spans: SpanSink, ratio: f64, clock: Clock) -> Self {
        // as in the SDKs: a float has no more than 53 bits of it, and 1.0 is everything
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss
        )]
        let share = if ratio >= 1.0 { u64::MAX } else { (ratio.max(0.0) * u64::MAX as f64) as u64 };
        Self { spans, share, clock, dice: RandomState::new(), throws: Cell::new(0) }
    }

    /// The part of a request in its trace.
    #[must_use]
    pub fn begin(self: &Rc<Self>, request: &Request) -> Trace {
        let parent = Context::read(&request.headers);
        let sampled = match parent {
            Some(parent) if request.peer.trusted => parent.is_sampled(),
            Some(_) | None => self.share == u64::MAX || self.throw() < self.share,
        };
        let random = parent.map_or(RANDOM, |parent| parent.flags & RANDOM);
        Trace {
            trace: parent.map_or_else(|| self.trace_id(), |parent| parent.trace),
            server: self.span_id(),
            client: self.span_id(),
            flags: random | if sampled { SAMPLED } else { 0 },
            parent,
            host: request.host.clone(),
            version: request.version,
            route: None,
            asked: None,
            tracer: Rc::clone(self),
        }
    }

    fn throw(&self) -> u64 {
        let throw = self.throws.get();
        self.throws.set(throw.wrapping_add(1));
        self.dice.hash_one(throw)
    }

    fn span_id(&self) -> SpanId {
        self.throw().max(1).to_be_bytes()
    }

    fn trace_id(&self) -> TraceId {
        let mut id = [0; 16];
        let (front, back) = id.split_at_mut(8);
        front.copy_from_slice(&self.span_id());
        back.copy_from_slice(&self.span_id());
        id
    }
}

impl Trace {
    /// The trace's id as it is written, in hexadecimal.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        let mut text = [0; 32];
        write_hex(&mut text, &self.trace);
        text
    }

    /// Whether the request becomes a span.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Has the upstream take part: it hears of the trace, and of the span that asks it. The state that vendors keep goes on
    /// with a context that was well-formed, and not without.
    pub fn tell(&self, headers: &mut Fields) {
        let Self { trace, client: span, flags, .. } = *self;
        headers.insert(TRACEPARENT, Context { trace, span, flags }.value());
        if self.parent.is_none() {
            headers.remove(TRACESTATE);
        }
    }

    /// Hands the spans of a request over that is answered, or given up.
    pub(super) fn end(&self, record: &Record, status: StatusCode, whole: bool) {
        if !self.is_sampled() {
            return;
        }
        let (now, wall) = (self.tracer.clock.monotonic(), self.tracer.clock.unix());
        let since_1970 = |then: Instant| wall.saturating_sub(now.saturating_duration_since(then));
        if let Some(asked) = &self.asked {
            let start = since_1970(asked.since);
            let end = record.upstream_time.map_or(wall, |took| start + took);
            self.tracer.spans.send(self.asking(record, asked, start, end));
        }
        self.tracer.spans.send(Span {
            trace: self.trace,
            id: self.server,
            parent: self.parent.map(|parent| parent.span),
            parent_is_remote: true,
            is_client: false,
            name: self.name(record),
            start: since_1970(record.started),
            end: wall,
            attributes: self.attributes(record, status, whole),
            failed: status.is_server_error(),
        });
    }

    fn asking(
        &self,
        record: &Record,
        asked: &AskedUpstream,
        start: Duration,
        end: Duration,
    ) -> Span {
        let failed = record.upstream_time.is_none();
        let mut attributes = vec![
            ("http.request.method", text(method(record))),
            ("tollgate.upstream", text(&asked.name)),
        ];
        if let Some(authority) = &asked.authority {
            address(authority.as_bytes(), &mut attributes);
        }
        if failed {
            attributes.push(("error.type", text(record.reason)));
        }
        Span {
            trace: self.trace,
            id: self.client,
            parent: Some(self.server),
            parent_is_remote: false,
            is_client: true,
            name: if method(record) == OTHER { "HTTP" } else { method(record) }.to_owned(),
            start,
            end,
            attributes,
            failed,
        }
    }

    /// `GET /players/{id}`: the method and the route, where there is one; paths are too many to be names.
    fn name(&self, record: &Record) -> String {
        let method = if method(record) == OTHER { "HTTP" } else { method(record) };
        self.route.as_ref().map_or_else(|| method.to_owned(), |route| format!("{method} {route}"))
    }

    /// By OpenTelemetry's conventions for HTTP servers, and what the gateway decided.
    fn attributes(
        &self,
        record: &Record,
        status: StatusCode,
        whole: bool,
    ) -> Vec<(&'static str, Said)> {
        let mut said = vec![
            ("http.request.method", text(method(record))),
            ("http.response.status_code", Said::Number(status.as_u16().into())),
            ("url.scheme", text(if record.peer.https { "https" } else { "http" })),
            ("network.protocol.version", text(version(self.version))),
            ("tollgate.decision", text(record.decision.as_str())),
            ("tollgate.route", text(record.route.as_str())),
            ("tollgate.request_id", text(record.request_id.as_str())),
        ];
        if let Some(given) = record.method.as_ref().filter(|_| method(record) == OTHER) {
            said.push(("http.request.method_original", text(given.as_str())));
        }
        if let Some(target) = &record.target {
            said.push(("url.path", text(target.path())));
        }
        if let Some(host) = &self.host {
            address(host.as_bytes(), &mut said);
        }
        if let Some(client) = record.client_address {
            said.push(("client.address", Said::Text(client.to_string())));
        }
        if let Some(route) = &self.route {
            said.push(("http.route", text(route)));
        }
        if !record.reason.is_empty() {
            said.push(("tollgate.reason", text(record.reason)));
        }
        if status.is_server_error() {
            said.push(("error.type", text(status.as_str())));
        } else if !whole {
            said.push(("error.type", text("aborted")));
        }
        said
    }
}

/// `server.address` and `server.port`, of an authority.
fn address(authority: &[u8], said: &mut Vec<(&'static str, Said)>) {
    let host = crate::message::host_part(authority);
    said.push(("server.address", Said::Text(String::from_utf8_lossy(host).into_owned())));
    let port = authority.get(host.len()..).unwrap_or_default();
    let port =
        port.strip_prefix(b":").and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
    if let Some(port) = port {
        said.push(("server.port", Said::Number(port)));
    }
}

/// One of the methods that are known, so that there are few.
fn method(record: &Record) -> &str {
    let known = |method: &&Method| {
        matches!(
            **method,
            Method::GET
                | Method::HEAD
                | Method::OPTIONS
                | Method::POST
                | Method::PUT
                | Method::PATCH
                | Method::DELETE
                | Method::TRACE
                | Method::CONNECT
        )
    };
    record.method.as_ref().filter(known).map_or(OTHER, Method::as_str)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_2 => "2",
        _ => "1.1",
    }
}

fn text(text: &str) -> Said {
    Said::Text(text.to_owned())
}

/// What the conventions call a method that they do not know.
const OTHER: &str = "_OTHER";
/// Most spans that wait to be exported; of a KiB or so each.
const MAX_SPANS: usize = 4096;
/// How often a full queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
