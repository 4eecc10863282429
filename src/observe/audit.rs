//! The audit log: who was given which token, who was refused, what was called back, and by which configuration. JSON, one
//! event a line, a stream of its own; never a token or a secret.
//!
//! Invariant: nothing is lost in silence. Each line has a number; what could not be written leaves a gap in the numbers
//! and a line of its own that says so. No event waits for the disk unless the configuration asks for that.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use http::StatusCode;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;

use super::access::{Decision, Record};
use crate::clock::Clock;
use crate::config::{Audit, AuditOutput};

/// Takes events and never waits, unless asked to. One for a process and an output.
#[derive(Debug)]
pub struct AuditLog {
    queue: SyncSender<Message>,
    /// Events that found no place in the queue, not yet told of.
    lost: Arc<AtomicU64>,
    clock: Clock,
    required: bool,
}

/// What is told.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent<'a> {
    /// The gateway serves.
    Started {
        /// Of the program.
        version: &'static str,
        /// The process.
        pid: u32,
        /// SHA-256 of the configuration file.
        configuration: Option<&'a str>,
    },
    /// The gateway has ended.
    Stopped {
        /// Requests that it answered.
        requests: u64,
    },
    /// A new configuration, applied or not.
    Reload {
        /// Whether it was applied.
        ok: bool,
        /// The number of the configuration in force since then.
        generation: u64,
        /// SHA-256 of the file in force.
        configuration: Option<&'a str>,
        /// What was wrong.
        #[serde(skip_serializing_if = "<[String]>::is_empty")]
        faults: &'a [String],
    },
    /// A token was issued.
    Issued {
        /// Who asked.
        #[serde(flatten)]
        asked: Asked<'a>,
        /// How the client proved itself.
        authentication: &'static str,
        /// What it may do.
        scope: &'a str,
        /// What it is for.
        audience: &'a Value,
        /// Its `jti`.
        jti: &'a str,
        /// Its end, seconds since 1970.
        expires_at: u64,
        /// jwt or opaque.
        format: &'static str,
    },
    /// A token was called back.
    Revoked {
        /// Who asked.
        #[serde(flatten)]
        asked: Asked<'a>,
        /// Its `jti`.
        jti: Option<&'a str>,
        /// When it would have ended, seconds since 1970.
        expires_at: u64,
    },
    /// A client asked about a token.
    Introspected {
        /// Who asked.
        #[serde(flatten)]
        asked: Asked<'a>,
        /// Whether it was told that the token is good.
        active: bool,
        /// The token's `jti`, where it was told.
        jti: Option<&'a str>,
    },
    /// A request was refused.
    Refused(Turned<'a>),
    /// A request would have been refused, had its rule not been in report mode.
    Reported(Turned<'a>),
    /// What could not be written.
    Gap {
        /// How many events.
        lost: u64,
    },
}

/// Who asked for what is told.
#[derive(Debug, Serialize)]
pub struct Asked<'a> {
    /// As in the access log.
    pub request_id: &'a str,
    /// Where from.
    pub client_address: Option<std::net::IpAddr>,
    /// Which client.
    pub client_id: Option<&'a str>,
}

/// A request that was not let through, or would not have been.
#[derive(Debug, Serialize)]
pub struct Turned<'a> {
    #[serde(flatten)]
    asked: Asked<'a>,
    method: Option<&'a str>,
    path: Option<&'a str>,
    route: &'a str,
    reason: &'a str,
    status: u16,
}

impl<'a> Asked<'a> {
    /// Who asked for what `record` tells of.
    #[must_use]
    pub fn of(record: &'a Record) -> Self {
        Self {
            request_id: record.request_id.as_str(),
            client_address: record.client_address,
            client_id: record.client_id.as_deref(),
        }
    }
}

#[derive(Debug)]
enum Message {
    /// The members of a line, and whom to tell whether it is written.
    Line(String, Option<oneshot::Sender<bool>>),
    /// The file may have been moved away.
    Reopen,
    /// Everything before this is written, or lost, once it is answered.
    Flush(SyncSender<()>),
}

impl AuditLog {
    /// Starts a thread that writes to the output of `settings`.
    ///
    /// # Errors
    /// When the file cannot be opened, or no thread started.
    pub fn start(settings: &Audit, clock: Clock) -> io::Result<Arc<Self>> {
        let out: Out = match &settings.output {
            AuditOutput::Stdout => Out::Stream(Box::new(io::stdout())),
            AuditOutput::Stderr => Out::Stream(Box::new(io::stderr())),
            AuditOutput::File(path) => Out::File(open(path)?, path.clone().into_boxed_path()),
        };
        Self::over(out, settings.required, clock)
    }

    fn over(out: Out, required: bool, clock: Clock) -> io::Result<Arc<Self>> {
        let (queue, messages) = sync_channel(MAX_EVENTS);
        let lost = Arc::<AtomicU64>::default();
        let writer =
            Writer { out, lost: Arc::clone(&lost), clock: clock.clone(), ..Writer::default() };
        std::thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || writer.run(&messages))?;
        Ok(Arc::new(Self { queue, lost, clock, required }))
    }

    /// Tells an event. It is lost, and that is told, when the writer is too far behind.
    pub fn tell(&self, event: &AuditEvent<'_>) {
        let message = Message::Line(members(event, &self.clock), None);
        if self.queue.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Tells an event that nothing may come of unless it is written, where the configuration says so: whether it may.
    pub async fn assure(&self, event: &AuditEvent<'_>) -> bool {
        if !self.required {
            self.tell(event);
            return true;
        }
        let (written, outcome) = oneshot::channel();
        let message = Message::Line(members(event, &self.clock), Some(written));
        if self.queue.try_send(message).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        matches!(tokio::time::timeout(PATIENCE, outcome).await, Ok(Ok(true)))
    }

    /// Closes an answered request: told if it was refused. What the upstream failed at is no refusal.
    pub(super) fn end(&self, record: &Record, status: StatusCode) {
        let is_own_refusal = record.decision == Decision::Own
            && status.as_u16() >= 400
            && matches!(record.route.as_str(), "token" | "introspect" | "revoke");
        let is_refusal =
            record.decision == Decision::Refused && !record.reason.starts_with("upstream");
        let is_reported = record.decision == Decision::Reported;
        if !(is_own_refusal || is_refusal || is_reported) {
            return;
        }
        let turned = Turned {
            asked: Asked::of(record),
            method: record.method.as_ref().map(http::Method::as_str),
            path: record.target.as_ref().map(crate::message::Target::path),
            route: record.route.as_str(),
            reason: record.reason,
            status: status.as_u16(),
        };
        let event =
            if is_reported { AuditEvent::Reported(turned) } else { AuditEvent::Refused(turned) };
        self.tell(&event);
    }

    /// Opens the file again, in case it was moved away.
    pub fn reopen(&self) {
        self.urge(Message::Reopen, LAST_WORDS);
    }

    /// Waits until everything told so far is written, at most for `limit`. For the end of the program.
    pub fn flush(&self, limit: Duration) {
        let (written, seen) = sync_channel(1);
        if self.urge(Message::Flush(written), limit) {
            let _ = seen.recv_timeout(limit); // a disk that stands still is not waited for
        }
    }

    /// Finds a place in the queue, even where it is full.
    fn urge(&self, mut message: Message, limit: Duration) -> bool {
        for _ in 0..limit.as_millis() / LOOK_EVERY.as_millis() {
            match self.queue.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) => message = back,
                Err(TrySendError::Disconnected(_)) => return false,
            }
            std::thread::sleep(LOOK_EVERY);
        }
        false
    }
}

/// Where lines go.
enum Out {
    Stream(Box<dyn Write + Send>),
    File(File, Box<Path>),
}

impl Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Stream(out) => out.write_all(bytes).and_then(|()| out.flush()),
            Self::File(file, _) => file.write_all(bytes),
        }
    }
}

/// What the thread has.
struct Writer {
    out: Out,
    lost: Arc<AtomicU64>,
    clock: Clock,
    /// Of the next line.
    sequence: u64,
    /// Events that could not be written, not yet told of.
    missed: u64,
    /// Part of a line may stand at the end.
    is_torn: bool,
    is_failing: bool,
}

impl Default for Writer {
    fn default() -> Self {
        Self {
            out: Out::Stream(Box::new(io::sink())),
            lost: Arc::default(),
            clock: Clock::system(),
            sequence: 1,
            missed: 0,
            is_torn: false,
            is_failing: false,
        }
    }
}

impl Writer {
    fn run(mut self, messages: &Receiver<Message>) {
        for message in messages {
            match message {
                Message::Line(members, waiting) => {
                    let is_written = self.line(&members);
                    if let Some(waiting) = waiting {
                        let _ = waiting.send(is_written); // it may have stopped waiting
                    }
                }
                Message::Reopen => self.reopen(),
                Message::Flush(done) => {
                    self.tell_gap();
                    let _ = done.send(());
                }
            }
        }
        self.tell_gap();
    }

    /// Writes a line, and first what is missing before it.
    fn line(&mut self, members: &str) -> bool {
        if self.tell_gap() && self.put(members) {
            return true;
        }
        self.missed += 1;
        false
    }

    /// Whether nothing is missing that was not told.
    fn tell_gap(&mut self) -> bool {
        self.missed += self.lost.swap(0, Ordering::Relaxed);
        if self.missed == 0 {
            return true;
        }
        let lost = self.missed;
        self.sequence += lost;
        if self.put(&members(&AuditEvent::Gap { lost }, &self.clock)) {
            tracing::warn!(lost, "audit events were lost; the audit log says so, too");
            self.missed = 0;
            return true;
        }
        self.sequence -= lost;
        false
    }

    fn put(&mut self, members: &str) -> bool {
        let torn = if self.is_torn { "\n" } else { "" };
        let line = format!("{torn}{{\"sequence\":{},{members}}}\n", self.sequence);
        match self.out.write(line.as_bytes()) {
            Ok(()) => {
                self.sequence += 1;
                (self.is_torn, self.is_failing) = (false, false);
                true
            }
            Err(error) => {
                self.is_torn = true;
                if !std::mem::replace(&mut self.is_failing, true) {
                    tracing::error!(%error, "the audit log cannot be written; events are lost");
                }
                false
            }
        }
    }

    fn reopen(&mut self) {
        let Out::File(file, path) = &mut self.out else { return };
        match open(path) {
            Ok(fresh) => {
                *file = fresh;
                self.is_torn = false;
            }
            Err(error) => {
                let file = path.display();
                tracing::error!(%file, %error, "the audit log cannot be opened again; it goes on where it was");
            }
        }
    }
}

/// For nobody else to read, and always at the end.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

/// The members of a line but its number. Nothing but printable ASCII: no text of a client can end a line, or move the
/// cursor of a terminal.
fn members(event: &AuditEvent<'_>, clock: &Clock) -> String {
    let now = clock.unix();
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(now.subsec_millis() * 1_000_000).unwrap_or(0);
    let time = jiff::Timestamp::new(seconds, nanos).unwrap_or_default();
    // strings, numbers and lists of them: nothing here can fail to be written
    let event = serde_json::to_string(event).unwrap_or_default();
    let event = event.strip_prefix('{').and_then(|event| event.strip_suffix('}'));
    let mut out = format!("\"timestamp\":\"{time:.3}\",");
    for letter in event.unwrap_or_default().chars() {
        if matches!(letter, ' '..='~') {
            out.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Most events that wait to be written; a few KiB each at most.
const MAX_EVENTS: usize = 8192;
/// How long somebody waits for a line that has to be written.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a full queue is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long a reload waits for a place in the queue.
const LAST_WORDS: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use serde_json::Value;

    use super::{AuditEvent, AuditLog, MAX_EVENTS, Out};
    use crate::clock::Clock;

    /// Writes when it is told to, and whatever it is told to.
    struct Gated(Receiver<io::Result<()>>, Arc<Mutex<Vec<u8>>>);

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.recv().unwrap_or(Ok(()))?;
            self.1.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A log whose writing is let go by a gate, and what was written.
    type GatedLog = (Arc<AuditLog>, Sender<io::Result<()>>, Arc<Mutex<Vec<u8>>>);

    fn gated(required: bool) -> GatedLog {
        let (gate, held) = channel();
        let written = Arc::<Mutex<Vec<u8>>>::default();
        let out = Out::Stream(Box::new(Gated(held, Arc::clone(&written))));
        (AuditLog::over(out, required, Clock::system()).unwrap(), gate, written)
    }

    fn lines(written: &Mutex<Vec<u8>>) -> Vec<Value> {
        let text = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        text.lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn full() -> io::Error {
        io::ErrorKind::StorageFull.into()
    }

    #[test]
    fn a_disk_that_is_full_leaves_a_gap_that_is_told() {
        let (log, gate, written) = gated(false);
        for outcome in [Ok(()), Err(full()), Err(full()), Err(full())] {
            gate.send(outcome).unwrap();
        }
        for requests in 0..4 {
            log.tell(&AuditEvent::Stopped { requests });
        }
        // one failed as itself, the next two as the gap that was to be told before them
        drop(gate);
        log.tell(&AuditEvent::Stopped { requests: 4 });
        log.flush(Duration::from_secs(20));
        let lines = lines(&written);
        let told: Vec<_> = lines
            .iter()
            .map(|line| (line["sequence"].as_u64().unwrap(), line["event"].as_str().unwrap()))
            .collect();
        assert_eq!(told, [(1, "stopped"), (5, "gap"), (6, "stopped")]);
        assert_eq!(lines[1]["lost"], 3);
        assert_eq!(lines[2]["requests"], 4);
    }

    #[test]
    fn a_writer_that_stands_still_costs_events_and_no_waiting_and_says_how_many() {
        let (log, gate, written) = gated(false);
        for requests in 0..MAX_EVENTS as u64 * 2 {
            log.tell(&AuditEvent::Stopped { requests }); // would hang here if it waited
        }
        drop(gate);
        log.flush(Duration::from_secs(20));
        let lines = lines(&written);
        let lost: u64 = lines.iter().filter_map(|line| line["lost"].as_u64()).sum();
        let events = lines.iter().filter(|line| line["event"] == "stopped").count() as u64;
        assert!(lost > 0);
        assert_eq!(lost + events, MAX_EVENTS as u64 * 2);
        let last = lines.last().unwrap()["sequence"].as_u64().unwrap();
        let gaps = lines.iter().filter(|line| line["event"] == "gap").count() as u64;
        assert_eq!(last, lost + events + gaps);
    }

    #[tokio::test]
    async fn what_is_required_to_be_written_is_not_taken_for_written() {
        let (log, gate, _) = gated(true);
        gate.send(Ok(())).unwrap();
        assert!(log.assure(&AuditEvent::Stopped { requests: 1 }).await);
        gate.send(Err(full())).unwrap();
        assert!(!log.assure(&AuditEvent::Stopped { requests: 2 }).await);
        gate.send(Err(full())).unwrap(); // the gap
        assert!(!log.assure(&AuditEvent::Stopped { requests: 3 }).await);
        drop(gate);
        assert!(log.assure(&AuditEvent::Stopped { requests: 4 }).await);
    }

    #[test]
    fn j59_no_text_can_write_a_second_line_or_move_a_cursor() {
        let (log, gate, written) = gated(false);
        drop(gate);
        let faults = ["a\r\nb\u{1b}[31m\u{9b}2J\u{2028}\u{7f}é😀\"}".to_owned()];
        log.tell(&AuditEvent::Reload {
            ok: false,
            generation: 1,
            configuration: None,
            faults: &faults,
        });
        log.flush(Duration::from_secs(20));
        let bytes = written.lock().unwrap().clone();
        assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
        assert_eq!(bytes.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert_eq!(lines(&written)[0]["faults"][0], faults[0]);
    }
}
