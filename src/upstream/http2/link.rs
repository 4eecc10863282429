//! One HTTP/2 connection: a task of its own reads and writes frames, and notices when the peer is no longer there.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use super::Multiplex;
use super::exchange::failure_of;
use crate::clock::Clock;
use crate::http1::Deadline;
use crate::upstream::Failure;
use crate::upstream::gate::Place;

/// A connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Link {
    /// Opens streams. The last handle that is dropped lets the connection end when its last stream has.
    handle: SendRequest<Bytes>,
    state: Rc<State>,
    streams: Cell<usize>,
    idle_since: Cell<Instant>,
}

/// What the task of the connection and its requests tell each other.
#[derive(Debug)]
struct State {
    stream: RefCell<crate::net::Stream>,
    /// How many streams the peer allows at once; none before it has said so.
    allowed: Cell<Option<usize>>,
    told: Notify,
    /// Bytes have come since the last look.
    heard: Cell<bool>,
    /// Streams that are open, or about to be.
    busy: Cell<bool>,
    over: Cell<bool>,
    /// Why it ended.
    fault: RefCell<Option<h2::Error>>,
    /// Its place among the connections that the origin may have.
    _place: Option<Place>,
}

impl Link {
    /// Begins to speak HTTP/2, and waits until the peer has sent its SETTINGS.
    pub(super) async fn open(
        stream: crate::net::Stream,
        place: Option<Place>,
        pool: &Rc<Multiplex>,
        clock: &Clock,
    ) -> Result<Rc<Self>, Failure> {
        Self::open_watched(stream, place, pool, clock, KEEP_ALIVE).await
    }

    async fn open_watched(
        stream: crate::net::Stream,
        place: Option<Place>,
        pool: &Rc<Multiplex>,
        clock: &Clock,
        times: Times,
    ) -> Result<Rc<Self>, Failure> {
        let state = Rc::new(State {
            stream: RefCell::new(stream),
            allowed: Cell::new(None),
            told: Notify::new(),
            heard: Cell::new(false),
            busy: Cell::new(false),
            over: Cell::new(false),
            fault: RefCell::new(None),
            _place: place,
        });
        let (handle, connection) =
            builder().handshake(Wire(Rc::clone(&state))).await.map_err(failure_of)?;
        let link = Rc::new(Self {
            handle,
            state: Rc::clone(&state),
            streams: Cell::new(0),
            idle_since: Cell::new(clock.monotonic()),
        });
        let driver =
            Driver { state: Rc::clone(&state), watch: Watch::new(times), clock: clock.clone() };
        let (pool, of_link) = (Rc::downgrade(pool), Rc::downgrade(&link));
        tokio::task::spawn_local(driver.run(connection, pool, of_link));
        while state.allowed.get().is_none() {
            if state.over.get() {
                return Err(state
                    .fault
                    .take()
                    .map_or(Failure::Closed { partial: false }, failure_of));
            }
            state.told.notified().await;
        }
        Ok(link)
    }

    /// Opens streams.
    pub(super) fn handle(&self) -> SendRequest<Bytes> {
        self.handle.clone()
    }

    /// Whether one more stream can be opened now.
    pub(super) fn has_room(&self) -> bool {
        self.is_usable()
            && self.state.allowed.get().is_some_and(|allowed| self.streams.get() < allowed)
    }

    pub(super) fn is_usable(&self) -> bool {
        !self.state.over.get()
    }

    pub(super) fn takes_tunnels(&self) -> bool {
        self.handle.is_extended_connect_protocol_enabled()
    }

    /// One more request uses it.
    pub(super) fn begin(&self) {
        self.streams.set(self.streams.get() + 1);
        self.state.busy.set(true);
    }

    /// One request less.
    pub(super) fn end(&self, clock: &Clock) {
        self.streams.set(self.streams.get() - 1);
        if self.streams.get() == 0 {
            self.state.busy.set(false);
            self.idle_since.set(clock.monotonic());
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.streams.get() > 0
    }

    pub(super) fn is_idle_for(&self, limit: Duration, now: Instant) -> bool {
        !self.is_busy() && now.saturating_duration_since(self.idle_since.get()) >= limit
    }

    /// No new streams from now on.
    pub(super) fn close(&self) {
        self.state.over.set(true);
    }

    /// Whether the socket has bytes, an end or an error that nobody has read. One system call.
    pub(super) fn has_something_to_read(&self) -> bool {
        self.is_usable() && self.state.stream.borrow().is_stale()
    }
}

/// The task of a connection.
struct Driver {
    state: Rc<State>,
    watch: Watch,
    clock: Clock,
}

impl Driver {
    /// Reads and writes until the connection is over.
    async fn run(
        mut self,
        mut connection: Connection<Wire, Bytes>,
        pool: Weak<Multiplex>,
        link: Weak<Link>,
    ) {
        let mut pings = connection.ping_pong();
        let fault = poll_fn(|cx| {
            if let Poll::Ready(outcome) = Pin::new(&mut connection).poll(cx) {
                return Poll::Ready(outcome.err());
            }
            self.note_settings(connection.max_concurrent_send_streams(), &pool);
            match self.watch.poll_dead(&self.state, pings.as_mut(), &self.clock, cx) {
                true => Poll::Ready(None), // what still waits on it learns that it broke
                false => Poll::Pending,
            }
        })
        .await;
        if let Some(fault) = &fault {
            tracing::debug!(error = %fault, "HTTP/2 connection to an upstream ended");
        }
        self.state.over.set(true);
        self.state.fault.replace(fault);
        self.state.told.notify_one();
        drop(connection);
        if let (Some(pool), Some(link)) = (pool.upgrade(), link.upgrade()) {
            pool.retire(&link);
        }
    }

    fn note_settings(&self, streams: usize, pool: &Weak<Multiplex>) {
        if streams == UNTOLD {
            return;
        }
        let allowed = streams.min(MAX_STREAMS);
        let before = self.state.allowed.replace(Some(allowed));
        if before.is_none() {
            self.state.told.notify_one();
        }
        if let (true, Some(pool)) = (before < Some(allowed), pool.upgrade()) {
            pool.room.notify_waiters();
        }
    }
}

/// Notices a peer that is gone without a word: a PING after a long silence, and then not for long again, because some
/// servers take frequent ones for an attack.
struct Watch {
    times: Times,
    timer: Deadline,
    /// A PING is on its way.
    asked: bool,
    /// No PING before this.
    not_before: Option<Instant>,
}

/// When a peer is asked whether it is there.
#[derive(Clone, Copy)]
struct Times {
    /// Nothing came for so long while something was awaited.
    after: Duration,
    /// It has so long to say that it is.
    patience: Duration,
    /// It is not asked again before this, unless something else came.
    again: Duration,
}

impl Watch {
    fn new(times: Times) -> Self {
        Self { times, timer: Deadline::default(), asked: false, not_before: None }
    }

    fn poll_dead(
        &mut self,
        state: &State,
        pings: Option<&mut PingPong>,
        clock: &Clock,
        cx: &mut Context<'_>,
    ) -> bool {
        let Some(pings) = pings else { return false };
        if self.asked && pings.poll_pong(cx).is_ready() {
            self.asked = false;
            state.heard.set(false); // the answer says that it lives, not that it works
            self.timer.set(Some(clock.monotonic() + self.times.after));
        }
        if self.timer.is_unset() {
            if !state.busy.get() {
                return false;
            }
            state.heard.set(false);
            self.timer.set(Some(clock.monotonic() + self.times.after));
        }
        while self.timer.poll_passed(cx) {
            let now = clock.monotonic();
            if state.heard.replace(false) {
                (self.asked, self.not_before) = (false, None);
            } else if self.asked {
                return true;
            }
            if !state.busy.get() {
                self.timer.set(None); // set again by the next request
                return false;
            }
            let may_ask = !self.asked && self.not_before.is_none_or(|time| time <= now);
            let wait = match may_ask && pings.send_ping(Ping::opaque()).is_ok() {
                true => {
                    (self.asked, self.not_before) = (true, Some(now + self.times.again));
                    cx.waker().wake_by_ref(); // the connection has a frame to send
                    self.times.patience
                }
                false => self.times.after,
            };
            self.timer.set(Some(now + wait));
        }
        false
    }
}

/// The socket, which the requests may look at while the connection's task uses it.
struct Wire(Rc<State>);

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut *self.0.stream.borrow_mut()).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.0.heard.set(true);
        }
        outcome
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.stream.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.stream.borrow_mut()).poll_shutdown(cx)
    }
}

/// How we speak HTTP/2 as a client.
pub(super) fn builder() -> Builder {
    let mut builder = Builder::new();
    builder
        .enable_push(false)
        .initial_max_send_streams(UNTOLD)
        .initial_window_size(STREAM_WINDOW)
        // slow readers of some streams must not stop the others
        .initial_connection_window_size(STREAM_WINDOW * MAX_STREAMS as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEADER_LIST)
        .max_concurrent_reset_streams(MAX_STREAMS);
    builder
}

/// Stands for the number of streams that the peer allows, until it has told it. No number that it can tell.
const UNTOLD: usize = usize::MAX - 1;
/// Most streams of one connection, however many the peer allows.
const MAX_STREAMS: usize = 128;
/// What an upstream may send of one answer before we have passed it on, bytes.
const STREAM_WINDOW: u32 = 64 * 1024;
/// What of one request's body waits to be sent, bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// Longest head or trailers of an answer, bytes as RFC 9113 §6.5.2 counts them.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// Not asked again for long: gRPC servers close connections whose silence is broken by more than one PING in five
/// minutes.
const KEEP_ALIVE: Times = Times {
    after: Duration::from_secs(10),
    patience: Duration::from_secs(10),
    again: Duration::from_secs(310),
};

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;
    use std::time::Duration;

    use super::{Link, Times};
    use crate::clock::Clock;
    use crate::config::{Origin, OriginAddress};
    use crate::net::Stream;
    use crate::upstream::Failure;
    use crate::upstream::http2::Multiplex;
    use crate::upstream::http2::exchange::failure_of;

    const TIMES: Times = Times {
        after: Duration::from_millis(50),
        patience: Duration::from_millis(500),
        again: Duration::from_secs(60),
    };

    /// A peer that says its settings, and answers PINGs or is silent; it yields how many came.
    fn peer(mut socket: UnixStream, answers: bool) -> usize {
        let mut read = [0; 24];
        socket.read_exact(&mut read).unwrap();
        socket.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
        let (mut pings, mut head) = (0, [0; 9]);
        while socket.read_exact(&mut head).is_ok() {
            let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
            socket.read_exact(&mut payload).unwrap();
            let is_ping = head[3] == 6 && head[4] == 0;
            pings += usize::from(is_ping);
            if is_ping && answers {
                let answer = [&[0, 0, 8, 6, 1, 0, 0, 0, 0][..], &payload].concat();
                socket.write_all(&answer).unwrap();
            }
        }
        pings
    }

    /// What becomes of a request that the peer never answers, within this time; and how often the peer was asked.
    fn unanswered(answers: bool, limit: Duration) -> (Option<Failure>, usize) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let peer = std::thread::spawn(move || peer(theirs, answers));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let outcome = local.block_on(&runtime, async {
            let address = OriginAddress::Tcp("localhost".to_owned(), 80);
            let origin = Origin {
                https: false,
                h2c: true,
                address,
                authority: "localhost".to_owned(),
                base_path: String::new(),
            };
            let clock = Clock::system();
            let pool = Rc::new(Multiplex::new(&origin, Duration::from_secs(60), clock.clone()));
            let stream = Stream::Unix(tokio::net::UnixStream::from_std(ours).unwrap());
            let link = Link::open_watched(stream, None, &pool, &clock, TIMES).await.unwrap();
            link.begin();
            let request = http::Request::get("http://localhost/").body(()).unwrap();
            let (answer, _) = link.handle().send_request(request, true).unwrap();
            let outcome = tokio::time::timeout(limit, answer).await.ok();
            outcome.map(|answer| failure_of(answer.unwrap_err()))
        });
        drop((local, runtime));
        (outcome, peer.join().unwrap())
    }

    #[test]
    fn a_peer_that_is_gone_without_a_word_is_noticed() {
        let (failure, pings) = unanswered(false, Duration::from_secs(20));
        assert!(matches!(failure, Some(Failure::Closed { partial: false })), "{failure:?}");
        assert_eq!(pings, 1);
    }

    #[test]
    fn a_peer_that_is_slow_but_there_is_asked_once_and_waited_for() {
        let (failure, pings) = unanswered(true, Duration::from_secs(2));
        assert!(failure.is_none(), "{failure:?}");
        assert_eq!(pings, 1, "more would be taken for an attack");
    }
}
