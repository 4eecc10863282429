//! One client connection over HTTP/2 (RFC 9113): one task that owns it and all its requests.
//!
//! In each turn every request that can go on does so first, and only then the connection: what they answered leaves
//! in one system call. The h2 crate keeps the protocol; this folder says what a client may ask of us and for how long.

mod answer;
mod calm;
mod exchange;
mod head;
mod line;
mod turns;
mod websocket;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::{Builder, Handshake, SendResponse};
use h2::{Reason, RecvStream};

use super::connection::{LAST_CALL, LINGER, MAX_LINGERED, seen_by};
use super::worker::{Place, Worker};
use crate::config::Server;
use crate::gateway::Gateway;
use crate::http1::Deadline;
use crate::message::Peer;
use crate::net::Stream;
use line::{Handle, Line};
use turns::{Bells, CONNECTION, Turns, Waits, bells_for};

/// What a client sends first (RFC 9113 §3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What every request of a connection shares with it.
struct Session {
    /// As the configuration sees it by which the latest request is judged.
    peer: RefCell<Rc<Peer>>,
    limits: RefCell<Rc<Server>>,
    worker: Rc<Worker>,
    line: Rc<RefCell<Line>>,
    waits: Waits,
    /// The connection is over: whoever has a turn ends.
    gone: Cell<bool>,
}

impl Session {
    /// How clients are let in, by the configuration in force when the latest request came.
    fn limits(&self) -> Rc<Server> {
        Rc::clone(&self.limits.borrow())
    }

    /// The peer, as `gateway` sees it; the connection goes on by its configuration.
    fn follow(&self, gateway: &Gateway) -> Rc<Peer> {
        if !Rc::ptr_eq(gateway.server(), &self.limits.borrow()) {
            self.limits.replace(Rc::clone(gateway.server()));
            let peer = seen_by(&self.peer.borrow(), gateway);
            self.peer.replace(peer);
        }
        Rc::clone(&self.peer.borrow())
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// Everything was said.
    Said,
    /// The peer is gone, or must not take what it has for the whole.
    Cut,
}

/// The connection, as far as it has come.
enum Phase {
    Beginning(Handshake<Handle, Bytes>),
    Open(h2::server::Connection<Handle, Bytes>),
}

/// Has a request answered: what [`answer::handle`] does.
type Handling<F> = fn(Rc<Session>, usize, http::Request<RecvStream>, SendResponse<Bytes>) -> F;

struct Connection<F> {
    phase: Phase,
    handle: Handling<F>,
    session: Rc<Session>,
    bells: Arc<Bells>,
    waker: Waker,
    turns: Turns<F>,
    /// There may be requests that there was no place for.
    owes_accept: bool,
    deadline: Deadline,
    /// Until when a client without a request is borne.
    idle_until: Option<Instant>,
    /// When what the requests needed is given back, if none has come by then.
    shrink_at: Option<Instant>,
    /// Until when a header block that has begun may take.
    block_until: Option<Instant>,
    /// Until when a client that takes nothing is borne.
    stall_until: Option<Instant>,
    /// Until when the end may take.
    close_until: Option<Instant>,
    /// The client was told to open no more streams.
    drains: bool,
}

/// Serves a connection until it ends. `early`: what was already read of it; `first`: until when the first request has
/// to have come.
pub(super) async fn serve(
    stream: Stream,
    early: Bytes,
    peer: Rc<Peer>,
    worker: Rc<Worker>,
    place: &Place,
    first: Instant,
) {
    let line = Rc::new(RefCell::new(Line::new(stream, early, worker.clock.clone())));
    let _counted = worker.counters.http2.enter();
    let session = Rc::new(Session {
        peer: RefCell::new(peer),
        limits: RefCell::new(worker.limits()),
        worker: Rc::clone(&worker),
        line: Rc::clone(&line),
        waits: Waits::default(),
        gone: Cell::new(false),
    });
    let mut connection = Connection::new(session, first, answer::handle);
    poll_fn(|cx| {
        place.note(cx.waker());
        Poll::Ready(())
    })
    .await;
    let end = poll_fn(|cx| connection.poll(cx)).await;
    drop(connection);
    match end {
        End::Said => linger(&line, &worker).await,
        End::Cut => line.borrow().stream.reset_on_close(),
    }
}

impl<F: Future<Output = ()>> Connection<F> {
    fn new(session: Rc<Session>, first: Instant, handle: Handling<F>) -> Self {
        let limits = session.limits();
        // a request that was taken back keeps its place until its turn
        let most = usize::try_from(limits.max_streams).unwrap_or(usize::MAX).saturating_mul(2);
        let bells = Bells::new(bells_for(most));
        bells.ring(CONNECTION);
        Self {
            phase: Phase::Beginning(builder(&limits).handshake(Handle(Rc::clone(&session.line)))),
            handle,
            waker: bells.waker(CONNECTION),
            turns: Turns::new(Arc::clone(&bells), most),
            bells,
            session,
            owes_accept: false,
            deadline: Deadline::default(),
            idle_until: Some(first),
            shrink_at: None,
            block_until: None,
            stall_until: None,
            close_until: None,
            drains: false,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.bells.wake_up(cx);
        let outcome = self.poll_turn(cx);
        if outcome.is_ready() {
            self.end_requests();
            self.bells.hang_up();
        } else {
            self.bells.rest();
        }
        outcome
    }

    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.session.worker.ending.get() {
            return Poll::Ready(End::Cut);
        }
        if self.session.worker.draining.get() && !self.drains {
            self.drain();
        }
        for _ in 0..MAX_ROUNDS {
            self.poll_requests();
            if self.bells.take_connection()
                && let Poll::Ready(end) = self.poll_connection()
            {
                return Poll::Ready(end);
            }
            if self.session.line.borrow().is_flooded && self.close_until.is_none() {
                self.close(Reason::ENHANCE_YOUR_CALM);
            }
            if self.bells.is_any_rung() {
                continue;
            }
            if self.poll_send().is_err() {
                return Poll::Ready(End::Cut);
            }
            self.note_waits();
            if !self.bells.is_any_rung() && !self.deadline.poll_passed(cx) {
                return Poll::Pending;
            }
            if let Some(end) = self.look_at_waits() {
                return Poll::Ready(end);
            }
        }
        // the others of this worker are waiting, too
        if self.poll_send().is_err() {
            return Poll::Ready(End::Cut);
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_requests(&mut self) {
        for _ in 0..self.turns.poll() {
            self.session.worker.counters.panics.add_one();
        }
        if self.owes_accept && !self.turns.is_full() {
            self.bells.ring(CONNECTION);
        }
    }

    /// Has the protocol go on, and takes new requests in.
    fn poll_connection(&mut self) -> Poll<End> {
        let mut cx = Context::from_waker(&self.waker);
        loop {
            match &mut self.phase {
                Phase::Beginning(handshake) => match Pin::new(handshake).poll(&mut cx) {
                    Poll::Ready(Ok(mut connection)) => {
                        if self.drains {
                            connection.graceful_shutdown(); // it began too late to be told before
                        }
                        self.phase = Phase::Open(connection);
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(End::Said),
                    Poll::Pending => return Poll::Pending,
                },
                Phase::Open(connection) => {
                    self.owes_accept = self.turns.is_full();
                    if self.owes_accept {
                        return connection
                            .poll_closed(&mut cx)
                            .map(|outcome| end_of(outcome.err()));
                    }
                    let (request, respond) = match connection.poll_accept(&mut cx) {
                        Poll::Ready(Some(Ok(taken))) => taken,
                        Poll::Ready(Some(Err(fault))) => return Poll::Ready(end_of(Some(fault))),
                        Poll::Ready(None) => return Poll::Ready(End::Said),
                        Poll::Pending => return Poll::Pending,
                    };
                    let (session, handle) = (Rc::clone(&self.session), self.handle);
                    self.turns.add(|number| handle(session, number, request, respond));
                }
            }
        }
    }

    fn poll_send(&mut self) -> Result<(), ()> {
        let mut cx = Context::from_waker(&self.waker);
        let (mut progress, worker) = (0, &self.session.worker);
        match self.session.line.borrow_mut().poll_send(&mut cx, &mut progress) {
            Poll::Ready(Ok(())) => self.stall_until = None,
            Poll::Ready(Err(_)) => return Err(()),
            Poll::Pending if progress > 0 || self.stall_until.is_none() => {
                self.stall_until =
                    Some(worker.clock.monotonic() + self.session.limits().idle_timeout);
            }
            Poll::Pending => {}
        }
        Ok(())
    }

    /// Sets the clock for whatever is waited for.
    fn note_waits(&mut self) {
        let worker = &self.session.worker;
        let is_in_block = self.session.line.borrow().is_in_block();
        match (is_in_block, self.block_until) {
            (true, None) => {
                self.block_until =
                    Some(worker.clock.monotonic() + self.session.limits().header_timeout);
            }
            (true, Some(_)) => {}
            (false, _) => self.block_until = None,
        }
        if !self.turns.is_empty() {
            (self.idle_until, self.shrink_at) = (None, None);
        } else if self.idle_until.is_none() {
            let patience = if self.drains { LAST_CALL } else { self.session.limits().idle_timeout };
            let now = worker.clock.monotonic();
            (self.idle_until, self.shrink_at) = (Some(now + patience), Some(now + KEPT_FOR));
        }
        let next = match self.close_until {
            Some(until) => Some(until), // nothing else counts any more
            None => {
                let (waits, shrink_at) = (self.session.waits.earliest(), self.shrink_at);
                [self.block_until, self.stall_until, self.idle_until, shrink_at, waits]
                    .into_iter()
                    .flatten()
                    .min()
            }
        };
        self.deadline.set(next);
    }

    /// Some wait may be over.
    fn look_at_waits(&mut self) -> Option<End> {
        let now = self.session.worker.clock.monotonic();
        let is_over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        if self.close_until.is_some() {
            return is_over(self.close_until).then_some(End::Cut);
        }
        if is_over(self.stall_until) {
            return Some(End::Cut);
        }
        if is_over(self.block_until) {
            self.close(Reason::ENHANCE_YOUR_CALM);
        } else if is_over(self.idle_until) {
            self.close(Reason::NO_ERROR);
        }
        if is_over(self.shrink_at) {
            self.shrink_at = None;
            self.session.line.borrow_mut().shrink();
            self.turns.shrink();
        }
        if is_over(self.session.waits.earliest()) {
            self.session.waits.look(now, &self.bells);
        }
        None
    }

    /// Tells the client to go, and gives it a moment to hear that.
    fn close(&mut self, reason: Reason) {
        self.close_until = Some(self.session.worker.clock.monotonic() + LINGER);
        match &mut self.phase {
            // it has not begun to listen
            Phase::Beginning(_) => self.close_until = Some(self.session.worker.clock.monotonic()),
            Phase::Open(connection) => connection.abrupt_shutdown(reason),
        }
        self.bells.ring(CONNECTION);
    }

    /// Tells the client to open no more streams. Those that are open finish.
    fn drain(&mut self) {
        self.drains = true;
        if let Phase::Open(connection) = &mut self.phase {
            connection.graceful_shutdown();
        }
        if let Some(until) = &mut self.idle_until {
            *until = (*until).min(self.session.worker.clock.monotonic() + LAST_CALL);
        }
        self.bells.ring(CONNECTION);
    }

    /// Gives every request that is left its last turn: it sees that its client is gone.
    fn end_requests(&mut self) {
        self.session.gone.set(true);
        for _ in 0..self.turns.poll_all() {
            self.session.worker.counters.panics.add_one();
        }
    }
}

fn end_of(fault: Option<h2::Error>) -> End {
    match fault {
        Some(fault) if fault.is_io() => End::Cut,
        Some(_) | None => End::Said,
    }
}

fn builder(limits: &Server) -> Builder {
    let mut builder = Builder::new();
    builder
        .max_concurrent_streams(limits.max_streams)
        .max_header_list_size(u32::try_from(limits.max_header_size).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_frame_size(FRAME_SIZE)
        .max_send_buffer_size(SEND_BUFFER)
        .max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .max_pending_accept_reset_streams(MAX_UNSEEN_RESETS)
        .max_local_error_reset_streams(Some(MAX_OUR_RESETS))
        .enable_connect_protocol();
    builder
}

/// Closes so that the peer can still read what was said last: a close with unread input would be a reset.
async fn linger(line: &RefCell<Line>, worker: &Worker) {
    if line.borrow().at_end {
        return;
    }
    let mut deadline = Deadline::default();
    deadline.set(Some(worker.clock.monotonic() + LINGER));
    let mut left = MAX_LINGERED;
    poll_fn(|cx| {
        let is_over = line.borrow_mut().poll_discard(cx, &mut left).is_ready();
        match is_over || worker.ending.get() || deadline.poll_passed(cx) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

/// What a client may send of one body before the upstream has taken it, bytes: as much as Envoy advises at an edge.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same over all bodies of a connection. With what a hundred open requests cost beside, one connection makes us hold
/// less than 2 MiB.
const CONNECTION_WINDOW: u32 = 384 * 1024;
/// Largest frame, bytes: the least that the protocol allows, so that streams take turns in small steps.
const FRAME_SIZE: u32 = 16 * 1024;
/// What waits of one answer for its turn on the connection, bytes: two frames, so that one is always ready.
const SEND_BUFFER: usize = 32 * 1024;
/// Streams that we reset and whose late frames are still known as theirs.
const MAX_REMEMBERED_RESETS: usize = 32;
/// Streams that the client opened and took back before we had seen them (rapid reset).
const MAX_UNSEEN_RESETS: usize = 100;
/// Streams that we had to reset for what the client did to them, over the life of a connection (MadeYouReset).
const MAX_OUR_RESETS: usize = 100;
/// How long the room that requests had is kept for the next ones.
const KEPT_FOR: Duration = Duration::from_secs(1);
/// Rounds of one turn; then the other connections of the worker have theirs.
const MAX_ROUNDS: usize = 32;
