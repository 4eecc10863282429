//! One client connection over HTTP/1.1: read a head, have it answered, write the answer, go on or close.
//!
//! The request's body and the answer are on the same socket and in the same task, so the connection's state is
//! shared between this loop and the body that it handed out; it is borrowed only within a poll.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::answer::{Framing, write_head, write_status};
use super::http2::{self, PREFACE};
use super::panics::{Panicked, poll_caught};
use super::tunnel;
use super::worker::{Place, Worker};
use crate::config::Server;
use crate::gateway::{Gateway, Refusal};
use crate::http1::wire::{queue_chunk, queue_last_chunk, write_field};
use crate::http1::{BadHead, Deadline, Decoded, Decoder, RequestHead, Wire, parse_request};
use crate::message::headers::response_field_passes;
use crate::message::{Body, BodyError, Fields, InterimSink, Peer, Request, Response};
use crate::net::Stream;
use crate::observe::Record;

/// A connection's state.
struct State {
    wire: Wire,
    scanned: usize,
    /// The first byte of the awaited head has come.
    head_begun: bool,
    /// What has come so far may be the beginning of HTTP/2.
    may_be_http2: bool,
    /// How long the peer may be silent.
    deadline: Deadline,
    /// How long the peer may take nothing of an answer.
    stall: Deadline,
    /// The body of the current request.
    body: Decoder,
    /// `100 Continue` is owed as soon as the body is asked for.
    owes_continue: bool,
    /// Bytes of the body so far.
    received: u64,
    /// The final answer has begun: nothing informational may be sent any more.
    answering: bool,
    /// The framing is lost: nothing after it can be read.
    broken: bool,
    /// Those of the current request.
    limits: Rc<Server>,
    worker: Rc<Worker>,
}

type Shared = Rc<RefCell<State>>;

/// How the wait for a head ended.
enum Head {
    Request(Box<RequestHead>),
    Bad(BadHead),
    /// It is HTTP/2, and the client knew that we speak it.
    Http2,
    /// Part of a head, and then the deadline.
    TooSlow,
    /// Closed, idle for too long, or draining.
    Over,
}

/// What is to become of the connection after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Next {
    Another,
    /// Nothing more is to come, and nothing is left unread.
    Done,
    /// Nothing more is to come from us; the peer may still be sending.
    Close,
    /// The peer is gone, or must not take what it has for the whole.
    Cut,
}

/// Serves a connection until it ends. Its first head has to be there at `first_head`.
pub(super) async fn serve(
    stream: Stream,
    mut peer: Rc<Peer>,
    first_head: Instant,
    worker: Rc<Worker>,
    place: Place,
) {
    let state = Rc::new(RefCell::new(State::new(stream, first_head, Rc::clone(&worker))));
    poll_fn(|cx| {
        place.note(cx.waker());
        Poll::Ready(())
    })
    .await;
    let interim: Rc<dyn InterimSink> = Rc::new(Interim(Rc::clone(&state)));
    let counted = worker.counters.http1.enter();
    loop {
        let head = poll_fn(|cx| state.borrow_mut().poll_head(cx)).await;
        let next = match head {
            Head::Request(head) => {
                let gateway = worker.gateway(); // this request's, to its end
                if !Rc::ptr_eq(gateway.server(), &state.borrow().limits) {
                    peer = follow(&state, &peer, &gateway);
                }
                let request = take_request(&state, *head, &peer, &interim);
                answer(&state, gateway, request, &worker).await
            }
            Head::Bad(fault) => refuse(&state, &peer, &worker, Refusal::Head(fault)).await,
            Head::TooSlow => refuse(&state, &peer, &worker, Refusal::HeadTimeout).await,
            Head::Http2 => {
                drop(counted);
                let (wire, early) = state.borrow_mut().give_up_socket();
                // boxed: what few connections become is not in the size of all
                return Box::pin(http2::serve(
                    wire.stream,
                    early,
                    peer,
                    worker,
                    &place,
                    first_head,
                ))
                .await;
            }
            Head::Over => return leave(&state),
        };
        match next {
            Next::Another => {}
            Next::Done => return part(&state).await,
            Next::Close => return linger(&state).await,
            Next::Cut => {
                state.borrow().wire.stream.reset_on_close();
                return;
            }
        }
    }
}

/// Goes on by another configuration, and yields the peer as that sees it.
fn follow(state: &Shared, peer: &Rc<Peer>, gateway: &Gateway) -> Rc<Peer> {
    state.borrow_mut().limits = Rc::clone(gateway.server());
    seen_by(peer, gateway)
}

/// The peer as the configuration of `gateway` sees it.
pub(super) fn seen_by(peer: &Rc<Peer>, gateway: &Gateway) -> Rc<Peer> {
    let trusted = gateway.server().trusts(peer.address);
    if trusted == peer.trusted {
        return Rc::clone(peer);
    }
    Rc::new(Peer { trusted, ..Peer::clone(peer) })
}

/// Has a request answered, to the last byte.
async fn answer(
    state: &Shared,
    gateway: Rc<Gateway>,
    (request, keep_alive): (Box<Request>, bool),
    worker: &Rc<Worker>,
) -> Next {
    let started = worker.clock.recent();
    let _counted = worker.counters.in_flight.enter();
    let (method, version) = (request.method.clone(), request.version);
    let mut record = gateway.record(started, &request);
    let answered = {
        let mut handling = pin!(gateway.handle(request, &mut record));
        poll_fn(|cx| match poll_caught(|| handling.as_mut().poll(cx)) {
            Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
            Poll::Ready(Err(Panicked)) => Poll::Ready(Err(Lost::Panic)),
            Poll::Pending => state.borrow_mut().poll_gone(cx).map(|()| Err(Lost::Peer)),
        })
        .await
    };
    let response = match answered {
        Ok(response) => response,
        Err(Lost::Panic) => {
            worker.counters.panics.add_one();
            state.borrow_mut().broken = true; // nobody knows how far the body was read
            gateway.refuse(&mut record, &Refusal::Internal)
        }
        Err(Lost::Peer) => {
            record.reason = "client_gone";
            worker.log.end(&record, CLIENT_GONE, 0, false);
            return Next::Cut;
        }
    };
    drop(gateway); // it has decided; a long answer, or a tunnel, needs none
    respond(state, response, Asked { method, version, keep_alive }, &record, worker).await
}

/// Why there is no answer.
enum Lost {
    Peer,
    Panic,
}

/// Answers what is no request, and closes.
async fn refuse(state: &Shared, peer: &Rc<Peer>, worker: &Rc<Worker>, refusal: Refusal) -> Next {
    let now = worker.clock.recent();
    let (record, response) = worker.gateway().refuse_unread(now, peer, &refusal);
    state.borrow_mut().broken = true;
    let asked = Asked { method: Method::GET, version: Version::HTTP_11, keep_alive: false };
    respond(state, response, asked, &record, worker).await
}

/// Makes a request of a head, and says whether the client wants to go on after it. A body that has come with it is
/// taken whole.
fn take_request(
    state: &Shared,
    head: RequestHead,
    peer: &Rc<Peer>,
    interim: &Rc<dyn InterimSink>,
) -> (Box<Request>, bool) {
    let mut this = state.borrow_mut();
    this.body = head.framing;
    this.received = 0;
    this.answering = false;
    let whole = this
        .body
        .remaining()
        .and_then(|length| usize::try_from(length).ok())
        .filter(|length| *length <= this.wire.input.len());
    let body = match whole {
        Some(length) => {
            this.body = Decoder::empty();
            Body::from(this.wire.input.split_to(length).freeze())
        }
        None => Body::Stream(Box::pin(Incoming(Rc::clone(state)))),
    };
    this.owes_continue = head.expects_continue && whole.is_none();
    let can_wait = head.version == Version::HTTP_11;
    let request = Box::new(Request {
        method: head.method,
        target: head.target,
        version: head.version,
        headers: head.headers,
        host: head.host,
        upgrade: head.upgrade,
        expects_continue: this.owes_continue,
        body,
        peer: Rc::clone(peer),
        interim: can_wait.then(|| Rc::clone(interim)),
    });
    (request, head.keep_alive)
}

/// What the answer has to fit.
struct Asked {
    method: Method,
    version: Version,
    keep_alive: bool,
}

/// Writes an answer and closes its record.
async fn respond(
    state: &Shared,
    mut response: Response,
    asked: Asked,
    record: &Record,
    worker: &Rc<Worker>,
) -> Next {
    let framing = Framing::of(&response, &asked.method, asked.version);
    let keep_alive = {
        let mut this = state.borrow_mut();
        this.answering = true;
        let keep_alive = asked.keep_alive
            && response.status != StatusCode::REQUEST_TIMEOUT
            && response.status != StatusCode::MISDIRECTED_REQUEST
            && !worker.draining.get()
            && framing != Framing::UntilClose
            && !this.broken
            && this.body_can_be_drained(matches!(response.body, Body::Stream(_)));
        this.owes_continue = false;
        let date = worker.http_date();
        write_head(this.wire.queue(), &response, framing, asked.version, keep_alive, &date);
        keep_alive
    };
    let mut body = std::mem::take(&mut response.body);
    if framing == Framing::None {
        body = Body::Empty;
    }
    let mut bytes = 0;
    // the last answer under TLS takes the word along that it is the last
    let is_last = !keep_alive && response.tunnel.is_none();
    let whole = poll_fn(|cx| poll_write(state, &mut body, framing, is_last, &mut bytes, cx)).await;
    drop(body);
    worker.log.end(record, response.status, bytes, whole.is_ok());
    match (whole, response.tunnel) {
        (Err(()), _) => Next::Cut,
        (Ok(()), Some(upstream)) => {
            let (client, early) = state.borrow_mut().give_up_socket();
            let _counted = worker.counters.tunnels.enter();
            // boxed: what few connections become is not in the size of all
            Box::pin(tunnel::run(client, early, upstream, worker)).await;
            Next::Close
        }
        (Ok(()), None) if keep_alive => drain(state).await,
        (Ok(()), None) if !asked.keep_alive && state.borrow().is_read_up() => Next::Done,
        (Ok(()), None) => Next::Close,
    }
}

/// Sends the body behind the head. `Err`: the answer is cut.
fn poll_write(
    state: &Shared,
    body: &mut Body,
    framing: Framing,
    is_last: bool,
    bytes: &mut u64,
    cx: &mut Context<'_>,
) -> Poll<Result<(), ()>> {
    let mut done = false;
    loop {
        let mut waiting = false;
        while !done && !state.borrow().wire.is_full() {
            // not borrowed here: the body may be fed by the request's, which is on this connection
            let frame = poll_caught(|| Pin::new(&mut *body).poll_frame(cx));
            let State { wire, worker, .. } = &mut *state.borrow_mut();
            match frame {
                Poll::Pending => {
                    waiting = true;
                    break;
                }
                Poll::Ready(Err(Panicked)) => {
                    worker.counters.panics.add_one();
                    return Poll::Ready(Err(()));
                }
                Poll::Ready(Ok(Some(Ok(frame)))) => done = queue_frame(wire, frame, framing, bytes),
                Poll::Ready(Ok(Some(Err(_)))) => {
                    // what there is of it is sent, but never its end
                    let _ = wire.poll_flush(cx, &mut 0);
                    return Poll::Ready(Err(()));
                }
                Poll::Ready(Ok(None)) => {
                    if framing == Framing::Chunked {
                        queue_last_chunk(wire.queue(), None);
                    }
                    done = true;
                }
            }
        }
        let this = &mut *state.borrow_mut();
        let mut progress = 0;
        if done && is_last {
            this.wire.stream.end_with_flush();
        }
        let flushed = this.wire.poll_flush(cx, &mut progress);
        if progress > 0 || this.wire.is_flushed() {
            this.stall.set(None);
        }
        match flushed {
            Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
            Poll::Ready(Ok(())) if done => return Poll::Ready(Ok(())),
            Poll::Ready(Ok(())) if waiting => {
                // nothing to send: watch whether anybody still waits for it
                return this.poll_gone(cx).map(|()| Err(()));
            }
            Poll::Ready(Ok(())) => {}
            Poll::Pending => {
                if this.stall.is_unset() {
                    this.stall.set(Some(this.worker.clock.recent() + this.limits.idle_timeout));
                }
                let over = this.worker.ending.get() || this.stall.poll_passed(cx);
                return if over { Poll::Ready(Err(())) } else { Poll::Pending };
            }
        }
    }
}

/// Queues a frame; whether it was the last.
fn queue_frame(wire: &mut Wire, frame: Frame<Bytes>, framing: Framing, bytes: &mut u64) -> bool {
    match frame.into_data() {
        Ok(piece) => {
            *bytes += piece.len() as u64;
            match framing {
                Framing::Chunked => queue_chunk(wire, piece),
                Framing::Length(_) | Framing::UntilClose => wire.queue_bytes(piece),
                Framing::None => {}
            }
            false
        }
        Err(frame) => {
            if let (Framing::Chunked, Ok(trailers)) = (framing, frame.into_trailers()) {
                queue_last_chunk(wire.queue(), Some(&trailers));
                return true;
            }
            false
        }
    }
}

/// Reads what is left of the request's body, if that is little, so that the next request can be found.
async fn drain(state: &Shared) -> Next {
    let mut left = MAX_DRAINED;
    // over all of it: a body that drips in for nobody would hold the connection for hours
    let mut deadline = Deadline::default();
    poll_fn(|cx| {
        let this = &mut *state.borrow_mut();
        loop {
            match this.poll_piece(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                    if length > left {
                        return Poll::Ready(Next::Close);
                    }
                    left -= length;
                }
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Next::Close),
                Poll::Ready(None) => return Poll::Ready(Next::Another),
                Poll::Pending => {
                    if deadline.is_unset() {
                        let now = this.worker.clock.recent();
                        deadline.set(Some(now + this.limits.header_timeout));
                    }
                    let over = deadline.poll_passed(cx);
                    return if over { Poll::Ready(Next::Close) } else { Poll::Pending };
                }
            }
        }
    })
    .await
}

/// Ends what is under TLS by saying so; a connection in clear needs no words.
async fn part(state: &Shared) {
    let is_known = state.borrow().wire.stream.has_ended();
    if !is_known {
        part_from(state).await;
    }
}

/// The same for a connection on which nothing goes on: whoever takes nothing is not waited for.
fn leave(state: &Shared) {
    let mut this = state.borrow_mut();
    let is_waited_for = !this.wire.at_end && this.wire.is_flushed();
    if is_waited_for && this.wire.stream.taken_under_tls().is_some() {
        let mut context = Context::from_waker(std::task::Waker::noop());
        let _ = this.wire.poll_shutdown(&mut context);
    }
}

/// Says that nothing more comes; whether the peer was told.
async fn part_from(state: &Shared) -> bool {
    let mut deadline = Deadline::default();
    deadline.set({
        let worker = &state.borrow().worker;
        Some(worker.clock.recent() + worker.limits().idle_timeout)
    });
    poll_fn(|cx| {
        let this = &mut *state.borrow_mut();
        if let Poll::Ready(outcome) = this.wire.poll_shutdown(cx) {
            return Poll::Ready(outcome.is_ok());
        }
        let over = this.worker.ending.get() || deadline.poll_passed(cx);
        if over { Poll::Ready(false) } else { Poll::Pending }
    })
    .await
}

/// Closes so that the peer can still read the answer: says that nothing more comes, and takes in for a moment
/// what the peer had sent (RFC 9112 §9.6). A close with unread input would be a reset.
async fn linger(state: &Shared) {
    if !part_from(state).await {
        return;
    }
    let until = {
        let mut this = state.borrow_mut();
        let until = this.worker.clock.recent() + LINGER;
        this.deadline.set(Some(until));
        until
    };
    let mut left = MAX_LINGERED;
    poll_fn(|cx| {
        let this = &mut *state.borrow_mut();
        loop {
            this.wire.input.clear();
            match this.wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(length)) if length >= left => return Poll::Ready(()),
                Poll::Ready(Ok(length)) => left -= length,
                Poll::Pending => {
                    this.deadline.set(Some(until));
                    let over = this.worker.ending.get() || this.deadline.poll_passed(cx);
                    return if over { Poll::Ready(()) } else { Poll::Pending };
                }
            }
        }
    })
    .await;
}

impl State {
    fn new(stream: Stream, first_head: Instant, worker: Rc<Worker>) -> Self {
        let mut deadline = Deadline::default();
        deadline.set(Some(first_head));
        let limits = worker.limits();
        Self {
            wire: Wire::new(stream),
            scanned: 0,
            may_be_http2: limits.http2,
            head_begun: true, // the first head is waited for from the accept on
            deadline,
            stall: Deadline::default(),
            body: Decoder::empty(),
            owes_continue: false,
            received: 0,
            answering: false,
            broken: false,
            limits,
            worker,
        }
    }

    /// The next head. The deadline of the first has run since the connection was accepted; a further one may be
    /// waited for longer, but once begun it has to come as fast.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Head> {
        if !self.head_begun && self.deadline.is_unset() {
            self.wire.shrink();
            self.begin_wait();
        }
        loop {
            if !self.wire.input.is_empty() {
                if !self.head_begun {
                    self.head_begun = true;
                    let limit = self.worker.limits().header_timeout;
                    self.deadline.set(Some(self.worker.clock.recent() + limit));
                }
                let parsed = match self.begins_http2() {
                    Some(true) => return Poll::Ready(Head::Http2),
                    Some(false) => parse_request(
                        &mut self.wire.input,
                        &mut self.scanned,
                        self.worker.limits().max_header_size,
                    ),
                    None => Ok(None),
                };
                match parsed {
                    Ok(Some(head)) => {
                        self.head_begun = false;
                        self.deadline.set(None);
                        return Poll::Ready(Head::Request(Box::new(head)));
                    }
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Head::Bad(fault)),
                }
            }
            match self.wire.poll_fill(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Head::Over),
                Poll::Ready(Ok(_)) => {}
                Poll::Pending if self.worker.ending.get() => return Poll::Ready(Head::Over),
                Poll::Pending => {
                    if self.worker.draining.get() && self.wire.input.is_empty() {
                        // what is on its way is still answered, and that answer is the last
                        self.deadline.bring_forward(self.worker.clock.recent() + LAST_CALL);
                    }
                    if !self.deadline.poll_passed(cx) {
                        return Poll::Pending;
                    }
                    let is_idle = self.wire.input.is_empty();
                    return Poll::Ready(if is_idle { Head::Over } else { Head::TooSlow });
                }
            }
        }
    }

    /// Whether the connection begins with the preface of HTTP/2; `None` while too little has come to tell.
    fn begins_http2(&mut self) -> Option<bool> {
        if !self.may_be_http2 {
            return Some(false);
        }
        let input = &self.wire.input;
        let length = input.len().min(PREFACE.len());
        if input.get(..length) != PREFACE.get(..length) {
            self.may_be_http2 = false;
            return Some(false);
        }
        (length == PREFACE.len()).then_some(true)
    }

    /// Ready when the client has gone while its answer is awaited. Reads on, within bounds: what comes is the
    /// next request.
    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.worker.ending.get() {
            return Poll::Ready(());
        }
        while self.body.is_done() && self.wire.input.len() < MAX_READ_AHEAD {
            match ready!(self.wire.poll_fill(cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }

    /// The next piece of the request's body.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.broken {
            return Poll::Ready(Some(Err(BodyError::Malformed)));
        }
        if self.owes_continue && !self.answering {
            self.owes_continue = false;
            self.wire.queue().extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.answering && !self.wire.is_flushed() {
            let _ = self.wire.poll_flush(cx, &mut 0); // a peer that is gone shows when reading
        }
        let fault = loop {
            match self.body.decode(&mut self.wire.input) {
                Ok(Decoded::Data(piece)) => {
                    self.deadline.set(None);
                    self.received += piece.len() as u64;
                    if self.limits.max_body_size.is_some_and(|limit| self.received > limit) {
                        break BodyError::TooLarge;
                    }
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Ok(Decoded::Trailers(trailers)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                }
                Ok(Decoded::End) => {
                    self.deadline.set(None);
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => match self.wire.poll_fill(cx) {
                    Poll::Ready(Ok(1..)) => {}
                    Poll::Ready(Ok(0) | Err(_)) => break BodyError::Cut,
                    Poll::Pending => {
                        self.begin_wait();
                        if self.poll_too_late(cx) {
                            break BodyError::Stalled;
                        }
                        return Poll::Pending;
                    }
                },
                Err(_) => break BodyError::Malformed,
            }
        };
        self.broken = true;
        Poll::Ready(Some(Err(fault)))
    }

    /// Starts the clock on a silent peer, unless it runs.
    fn begin_wait(&mut self) {
        if self.deadline.is_unset() {
            self.deadline.set(Some(self.worker.clock.recent() + self.limits.idle_timeout));
        }
    }

    fn poll_too_late(&mut self, cx: &mut Context<'_>) -> bool {
        self.worker.ending.get() || self.deadline.poll_passed(cx)
    }

    /// Whether the connection can go on after the answer, given what is left of the request's body.
    fn body_can_be_drained(&self, still_flows: bool) -> bool {
        if self.body.is_done() {
            return true;
        }
        // a client that waits for 100 may or may not send the body now (RFC 9110 §10.1.1)
        !self.owes_continue
            && (still_flows || self.body.remaining().is_some_and(|left| left <= MAX_DRAINED))
    }

    /// Whether nothing that the peer has sent waits to be read, as far as we know.
    fn is_read_up(&self) -> bool {
        !self.broken && self.body.is_done() && self.wire.input.is_empty()
    }

    /// The socket for a tunnel, and what the client has already sent into it.
    fn give_up_socket(&mut self) -> (Wire, Bytes) {
        let early = self.wire.input.split().freeze();
        let wire = std::mem::replace(&mut self.wire, Wire::new(Stream::Gone));
        (wire, early)
    }
}

/// The body of the current request, fed from the connection.
struct Incoming(Shared);

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0.borrow_mut().poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.borrow().body.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.borrow().body.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Where informational answers go.
struct Interim(Shared);

impl InterimSink for Interim {
    fn send(&self, status: StatusCode, headers: &Fields) {
        let mut this = self.0.borrow_mut();
        if this.answering || this.wire.is_full() {
            return;
        }
        let out = this.wire.queue();
        write_status(out, status);
        for (name, value) in headers.iter().filter(|(name, _)| response_field_passes(name, &[])) {
            write_field(out, name, value);
        }
        out.extend_from_slice(b"\r\n");
        // sent at once if the socket takes it, else before the answer
        let _ = this.wire.poll_flush(&mut Context::from_waker(std::task::Waker::noop()), &mut 0);
    }
}

/// Logged for a request whose client left before an answer began, as nginx does; never sent.
pub(super) const CLIENT_GONE: StatusCode = match StatusCode::from_u16(499) {
    Ok(status) => status,
    Err(_) => StatusCode::BAD_REQUEST,
};
/// Most bytes of an unread request body that are read so that the connection can go on.
const MAX_DRAINED: u64 = 64 * 1024;
/// Most bytes that are taken in from a peer that still sends while its connection is closed.
pub(super) const MAX_LINGERED: usize = 512 * 1024;
/// How long a connection without a request is kept once draining has begun: long enough for a request that was sent
/// before its client could know.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
/// How long a closing connection waits for its peer to see that.
pub(super) const LINGER: Duration = Duration::from_secs(2);
/// Most bytes of further requests that are read while one is answered.
const MAX_READ_AHEAD: usize = 8 * 1024;
