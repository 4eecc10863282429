//! The access record: opened when a request's head has been read, closed when the last byte of its answer
//! has left. Never a token, a secret or a query.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Method, StatusCode, Version};

use super::audit::AuditLog;
use super::metrics::Meter;
use super::trace::Trace;
use super::{LogSink, Metrics};
use crate::clock::Clock;
use crate::config::Log;
use crate::message::text::write_number;
use crate::message::{Peer, Target};

/// What was decided about a request.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Decision {
    /// Forwarded without a token being needed.
    Open,
    /// Forwarded because its token was good.
    Allowed,
    /// Forwarded although it would have been refused, since its policy only reports.
    Reported,
    /// Answered with a refusal.
    Refused,
    /// Answered by an endpoint of the gateway itself.
    Own,
}

impl Decision {
    /// As the log says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Allowed => "allowed",
            Self::Reported => "reported",
            Self::Refused => "refused",
            Self::Own => "own",
        }
    }
}

/// The name of a rule.
#[derive(Clone, Debug)]
pub enum RouteName {
    /// Built in.
    Fixed(&'static str),
    /// From the configuration.
    Named(Rc<str>),
}

impl RouteName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Fixed(name) => name,
            Self::Named(name) => name,
        }
    }
}

/// Everything that one access line says.
#[derive(Debug)]
pub struct Record {
    /// When the head had been read.
    pub started: Instant,
    /// The method, by the letter; `None` where the head could not be read.
    pub method: Option<Method>,
    /// The path is logged, the query is not.
    pub target: Option<Target>,
    /// The client: the peer, or whom a trusted proxy names.
    pub client_address: Option<IpAddr>,
    /// The other end of the connection.
    pub peer: Rc<Peer>,
    /// The same id that the upstream and the client get.
    pub request_id: RequestId,
    /// Which rule decided.
    pub route: RouteName,
    /// What was decided.
    pub decision: Decision,
    /// Why: a stable code.
    pub reason: &'static str,
    /// The client of the token service, once it is known.
    pub client_id: Option<Rc<str>>,
    /// How a client of the token service proved itself, or tried to; empty where none did.
    pub client_authentication: &'static str,
    /// The version of HTTP that it came by; `None` where the head could not be read.
    pub version: Option<Version>,
    /// Whether it is a gRPC call.
    pub is_grpc: bool,
    /// The status that a refusal of a gRPC call stands for: it is told by 200.
    pub meaning: Option<StatusCode>,
    /// From sending the request to the head of the upstream's answer.
    pub upstream_time: Option<Duration>,
    /// Its part in a trace, where tracing is on.
    pub trace: Option<Box<Trace>>,
    /// Where it is told that it was refused.
    pub audit: Option<Arc<AuditLog>>,
}

impl Record {
    /// A record of a request that nothing is decided about yet.
    #[must_use]
    pub fn begin(started: Instant, request_id: RequestId, peer: Rc<Peer>) -> Self {
        Self {
            started,
            method: None,
            target: None,
            client_address: peer.address,
            peer,
            request_id,
            route: RouteName::Fixed("default"),
            decision: Decision::Refused,
            reason: "",
            client_id: None,
            client_authentication: "",
            version: None,
            is_grpc: false,
            meaning: None,
            upstream_time: None,
            trace: None,
            audit: None,
        }
    }
}

/// How a line is written.
#[derive(Clone, Copy, Debug)]
enum Form {
    Json,
    Text,
}

/// One worker's access log.
#[derive(Debug)]
pub struct AccessLog {
    sink: Option<LogSink>,
    /// Whether requests get lines, and in which form.
    form: Cell<Option<Form>>,
    clock: Clock,
    meter: Meter,
    block: RefCell<Vec<u8>>,
    /// The second that `stamp` spells.
    second: Cell<u64>,
    stamp: Cell<[u8; STAMP]>,
}

impl AccessLog {
    /// Lines go to `sink`; without one, requests are only counted.
    #[must_use]
    pub fn new(
        sink: Option<LogSink>,
        settings: &Log,
        clock: Clock,
        metrics: std::sync::Arc<Metrics>,
    ) -> Self {
        let block = RefCell::new(Vec::new());
        let log = Self {
            sink,
            form: Cell::new(None),
            clock,
            meter: Meter::new(metrics),
            block,
            second: Cell::new(u64::MAX),
            stamp: Cell::new([b'0'; STAMP]),
        };
        log.configure(settings);
        log
    }

    /// Writes as `settings` say from now on.
    pub fn configure(&self, settings: &Log) {
        let form = if settings.json { Form::Json } else { Form::Text };
        self.form.set(Some(form).filter(|_| settings.access && self.sink.is_some()));
    }

    /// Closes a record: `bytes` of body left for the client; `whole` unless the answer was cut.
    pub fn end(&self, record: &Record, status: StatusCode, bytes: u64, whole: bool) {
        if let Some(trace) = &record.trace {
            trace.end(record, status, whole);
        }
        if let Some(audit) = &record.audit {
            audit.end(record, status);
        }
        let took = self.clock.monotonic().saturating_duration_since(record.started);
        self.meter.end(record, record.meaning.unwrap_or(status), whole, took, || {
            self.clock.recent_unix_seconds()
        });
        let Some(form) = self.form.get() else { return };
        let mut block = self.block.borrow_mut();
        match form {
            Form::Json => self.json_line(&mut block, record, status, bytes, whole, took),
            Form::Text => self.text_line(&mut block, record, status, bytes, whole, took),
        }
        if block.len() >= FULL_BLOCK {
            self.hand_over(&mut block);
        }
    }

    /// Hands over what has gathered. Called now and then, and before the worker ends.
    pub fn flush(&self) {
        self.meter.publish();
        let mut block = self.block.borrow_mut();
        if !block.is_empty() {
            self.hand_over(&mut block);
        }
    }

    fn hand_over(&self, block: &mut Vec<u8>) {
        if let Some(sink) = &self.sink {
            sink.send(std::mem::replace(block, Vec::with_capacity(FULL_BLOCK + LONG_LINE)));
        }
    }

    fn json_line(
        &self,
        out: &mut Vec<u8>,
        record: &Record,
        status: StatusCode,
        bytes: u64,
        whole: bool,
        took: Duration,
    ) {
        out.extend_from_slice(b"{\"timestamp\":\"");
        self.write_time(out);
        out.extend_from_slice(b"\",\"level\":\"INFO\",\"message\":\"request\",\"request_id\":\"");
        write_escaped(out, record.request_id.as_bytes());
        out.extend_from_slice(b"\",\"client.ip\":");
        out.push(b'"');
        write_client(out, record);
        out.push(b'"');
        out.extend_from_slice(b",\"protocol\":\"");
        out.extend_from_slice(record.version.map_or(b"-", protocol_of));
        out.extend_from_slice(b"\",\"method\":\"");
        write_escaped(out, method_of(record).as_bytes());
        out.extend_from_slice(b"\",\"path\":\"");
        write_escaped(out, path_of(record).as_bytes());
        out.extend_from_slice(b"\",\"route\":\"");
        write_escaped(out, record.route.as_str().as_bytes());
        out.extend_from_slice(b"\",\"decision\":\"");
        out.extend_from_slice(record.decision.as_str().as_bytes());
        out.extend_from_slice(b"\",\"reason\":\"");
        out.extend_from_slice(record.reason.as_bytes());
        out.extend_from_slice(b"\",\"client_id\":");
        match &record.client_id {
            Some(client) => {
                out.push(b'"');
                write_escaped(out, client.as_bytes());
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"status\":");
        out.extend_from_slice(status.as_str().as_bytes());
        out.extend_from_slice(b",\"bytes\":");
        write_number(out, bytes);
        if let Some(trace) = &record.trace {
            out.extend_from_slice(b",\"trace_id\":\"");
            out.extend_from_slice(&trace.id());
            out.push(b'"');
        }
        out.extend_from_slice(b",\"upstream_us\":");
        match record.upstream_time {
            Some(time) => write_number(out, micros(time)),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"duration_us\":");
        write_number(out, micros(took));
        out.extend_from_slice(if whole {
            b",\"aborted\":false}\n"
        } else {
            b",\"aborted\":true}\n"
        });
    }

    fn text_line(
        &self,
        out: &mut Vec<u8>,
        record: &Record,
        status: StatusCode,
        bytes: u64,
        whole: bool,
        took: Duration,
    ) {
        self.write_time(out);
        out.extend_from_slice(b"  INFO ");
        write_escaped(out, method_of(record).as_bytes());
        out.push(b' ');
        write_escaped(out, path_of(record).as_bytes());
        out.push(b' ');
        out.extend_from_slice(status.as_str().as_bytes());
        out.push(b' ');
        out.extend_from_slice(record.decision.as_str().as_bytes());
        if !record.reason.is_empty() {
            out.extend_from_slice(b" reason=");
            out.extend_from_slice(record.reason.as_bytes());
        }
        out.extend_from_slice(b" route=");
        write_escaped(out, record.route.as_str().as_bytes());
        if let Some(client) = &record.client_id {
            out.extend_from_slice(b" client_id=\"");
            write_escaped(out, client.as_bytes());
            out.push(b'"');
        }
        out.extend_from_slice(b" client.ip=");
        write_client(out, record);
        if record.version == Some(Version::HTTP_2) {
            out.extend_from_slice(b" protocol=HTTP/2"); // where nothing is said, it is HTTP/1
        }
        out.extend_from_slice(b" bytes=");
        write_number(out, bytes);
        if let Some(time) = record.upstream_time {
            out.extend_from_slice(b" upstream_us=");
            write_number(out, micros(time));
        }
        out.extend_from_slice(b" duration_us=");
        write_number(out, micros(took));
        out.extend_from_slice(b" request_id=");
        write_escaped(out, record.request_id.as_bytes());
        if let Some(trace) = &record.trace {
            out.extend_from_slice(b" trace_id=");
            out.extend_from_slice(&trace.id());
        }
        out.extend_from_slice(if whole { b"\n" } else { b" aborted\n" });
    }

    /// RFC 3339 in UTC with milliseconds. The part before them is made once a second.
    fn write_time(&self, out: &mut Vec<u8>) {
        let now = self.clock.recent_unix();
        if self.second.replace(now.as_secs()) != now.as_secs() {
            self.stamp.set(stamp(now.as_secs()));
        }
        out.extend_from_slice(&self.stamp.get());
        let millis = now.subsec_millis();
        out.push(b'.');
        for digit in [millis / 100, millis / 10 % 10, millis % 10] {
            out.push(b'0' + (digit % 10) as u8);
        }
        out.push(b'Z');
    }
}

fn write_client(out: &mut Vec<u8>, record: &Record) {
    match record.client_address {
        Some(address) if record.peer.address != Some(address) => {
            let _ = write!(out, "{address}"); // a Vec takes everything
        }
        _ => out.extend_from_slice(record.peer.address_text.as_bytes()),
    }
}

/// The version as the log says it.
const fn protocol_of(version: Version) -> &'static [u8] {
    match version {
        Version::HTTP_10 => b"HTTP/1.0",
        Version::HTTP_2 => b"HTTP/2",
        _ => b"HTTP/1.1",
    }
}

fn method_of(record: &Record) -> &str {
    record.method.as_ref().map_or("-", Method::as_str)
}

fn path_of(record: &Record) -> &str {
    record.target.as_ref().map_or("-", Target::path)
}

/// `2026-11-21T20:15:30` (days to civil date after Howard Hinnant's public algorithm).
fn stamp(seconds: u64) -> [u8; STAMP] {
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, width: usize, mut number: u64| {
        for place in (at..at + width).rev() {
            text[place] = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, clock / 3_600);
    put(14, 2, clock / 60 % 60);
    put(17, 2, clock % 60);
    text
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Text as it may stand in a JSON string and on a terminal: no quote, control character or bare byte.
fn write_escaped(out: &mut Vec<u8>, bytes: &[u8]) {
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7E) & (*byte != b'"') & (*byte != b'\\');
    // without a way out of the loop it is done for many bytes at once
    if bytes.iter().fold(true, |all, byte| all & is_plain(byte)) {
        return out.extend_from_slice(bytes);
    }
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| !is_plain(byte)) {
        let (plain, odd) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((odd, after)) = odd.split_first() else { return };
        match odd {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *odd]),
            _ => {
                let _ = write!(out, "\\u{:04x}", odd); // a Vec takes everything
            }
        }
        rest = after;
    }
    out.extend_from_slice(rest);
}

/// The id of one request: what a client sent, where that is harmless, else one of ours.
#[derive(Clone, Debug)]
pub enum RequestId {
    /// Made here.
    Made([u8; MADE]),
    /// Given by the client.
    Given(HeaderValue),
}

impl RequestId {
    /// The id as it stands in headers and logs: visible ASCII, at most 128 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Made(id) => id,
            Self::Given(id) => id.as_bytes(),
        }
    }

    /// The same as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// Makes ids that no other worker or process makes: a random prefix and a counter.
#[derive(Debug)]
pub struct RequestIds {
    prefix: u64,
    next: Cell<u64>,
}

impl RequestIds {
    /// Ids that begin with these random bits.
    #[must_use]
    pub const fn new(prefix: u64) -> Self {
        Self { prefix, next: Cell::new(0) }
    }

    /// The random bits that they begin with.
    #[must_use]
    pub const fn prefix(&self) -> u64 {
        self.prefix
    }

    /// The client's own id if it is short and harmless, else the next of ours.
    #[must_use]
    pub fn take(&self, given: Option<&HeaderValue>) -> RequestId {
        let harmless = |id: &&HeaderValue| {
            (1..=128).contains(&id.len())
                && id
                    .as_bytes()
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~+/=:@".contains(byte))
        };
        match given.filter(harmless) {
            Some(id) => RequestId::Given(id.clone()),
            None => RequestId::Made(self.make()),
        }
    }

    fn make(&self) -> [u8; MADE] {
        let count = self.next.get();
        self.next.set(count.wrapping_add(1));
        let mut id = [0; MADE];
        let (front, back) = id.split_at_mut(12);
        write_hex(front, self.prefix);
        write_hex(back, count);
        id
    }
}

fn write_hex(out: &mut [u8], mut number: u64) {
    for place in out.iter_mut().rev() {
        *place = b"0123456789abcdef"[(number & 15) as usize];
        number >>= 4;
    }
}

/// Length of an id made here: 48 random bits and a 48-bit counter in hexadecimal.
const MADE: usize = 24;
/// Length of a time stamp without its milliseconds.
const STAMP: usize = 19;
/// A block is handed over once it has this many bytes.
pub(super) const FULL_BLOCK: usize = 32 * 1024;
/// Room for the line that fills a block.
const LONG_LINE: usize = 2 * 1024;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{RequestIds, stamp, write_escaped};

    #[test]
    fn times_are_civil() {
        assert_eq!(&stamp(0), b"1970-01-01T00:00:00");
        assert_eq!(&stamp(951_827_696), b"2000-02-29T12:34:56");
        assert_eq!(&stamp(4_294_967_295), b"2106-02-07T06:28:15");
    }

    #[test]
    fn a_clients_text_cannot_write_a_second_log_line() {
        let mut out = Vec::new();
        write_escaped(&mut out, b"a\"b\\c\nd\x1b[31m");
        assert_eq!(out, br#"a\"b\\c\u000ad\u001b[31m"#);
    }

    #[test]
    fn a_clients_request_id_is_taken_only_if_harmless() {
        let ids = RequestIds::new(0xABC);
        assert_eq!(ids.take(Some(&HeaderValue::from_static("trace-1"))).as_bytes(), b"trace-1");
        for bad in ["", "a b", "a\"b", &"x".repeat(129)] {
            let id = ids.take(Some(&HeaderValue::from_str(bad).unwrap()));
            assert_eq!(id.as_bytes().len(), 24);
        }
        assert_ne!(ids.take(None).as_bytes(), ids.take(None).as_bytes());
    }
}
