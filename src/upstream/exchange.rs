//! One request and its answer on one connection, both directions polled in the request's own task.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode, Version};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::cluster::Flight;
use super::failure::Trouble;
use super::gate::Place;
use super::{Failure, after};
use crate::clock::Clock;
use crate::http1::wire::{queue_chunk, queue_last_chunk};
use crate::http1::{Deadline, Decoded, Decoder, ResponseHead, Wire, parse_response};
use crate::message::headers::trailer_passes;
use crate::message::{Body, BodyError, Request};
use crate::net::Stream;

/// A connection to an origin.
#[derive(Debug)]
pub(super) struct Connection {
    wire: Wire,
    scanned: usize,
    deadline: Deadline,
    /// Its place among those that the origin may have.
    place: Option<Place>,
}

/// How long an upstream may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From the whole request sent to the head of the answer, and between two pieces.
    pub(super) timeout: Option<Duration>,
}

impl Connection {
    pub(super) fn new(stream: Stream, place: Option<Place>) -> Box<Self> {
        let (wire, deadline) = (Wire::new(stream), Deadline::default());
        Box::new(Self { wire, scanned: 0, deadline, place })
    }

    /// Where the next head is written.
    pub(super) fn queue(&mut self) -> &mut Vec<u8> {
        self.wire.queue()
    }

    /// Whether nothing has come since the last answer, as far as the runtime has heard. Normally without a
    /// system call.
    pub(super) fn poll_is_quiet(&mut self, cx: &mut Context<'_>) -> bool {
        self.wire.poll_fill(cx).is_pending()
    }

    /// The same, asking the socket.
    pub(super) fn is_stale(&self) -> bool {
        self.wire.stream.is_stale()
    }

    /// Whether nothing is left over in either direction.
    pub(super) fn is_clean(&self) -> bool {
        self.wire.input.is_empty() && self.wire.is_flushed() && !self.wire.at_end
    }

    /// Gives up what an idle connection does not need.
    pub(super) fn begin_idle(&mut self) {
        self.deadline.set(None);
        self.wire.shrink();
    }

    /// The whole body, if all of it has already come.
    pub(super) fn take_whole(&mut self, decoder: &Decoder) -> Option<Bytes> {
        let length = usize::try_from(decoder.remaining()?).ok()?;
        (length <= self.wire.input.len()).then(|| self.wire.input.split_to(length).freeze())
    }

    /// Makes ready for a body that comes in more than one piece.
    pub(super) fn expect(&mut self, decoder: &Decoder) {
        let left = decoder.remaining().unwrap_or_default();
        self.wire.expect(left.saturating_sub(self.wire.input.len() as u64));
    }

    /// The socket, what has already come over it, and its place.
    pub(super) fn into_tunnel(self) -> (Stream, Bytes, Option<Place>) {
        (self.wire.stream, self.wire.input.freeze(), self.place)
    }
}

/// The request's body on its way up.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    /// Names of the identity headers, which no trailer may bear either.
    reserved: Rc<[HeaderName]>,
    chunked: bool,
    /// Kept back until the upstream asks for it, or takes too long to.
    held: bool,
    /// All of it is encoded.
    done: bool,
    /// All of it, and the head before it, has left.
    sent: bool,
    /// The upstream takes no more: what is left of the body stays where it is.
    broken: bool,
}

impl Upload {
    pub(super) fn new(body: Body, expects_continue: bool, reserved: &Rc<[HeaderName]>) -> Self {
        let (chunked, empty) = (body.length().is_none(), body.is_empty());
        let held = expects_continue && !empty;
        let reserved = Rc::clone(reserved);
        Self { body, reserved, chunked, held, done: empty, sent: false, broken: false }
    }

    /// The length to declare; `None`: chunked.
    pub(super) fn length(&self) -> Option<u64> {
        self.body.length()
    }

    pub(super) const fn is_held(&self) -> bool {
        self.held
    }

    /// Whether all of it was sent.
    pub(super) const fn is_done(&self) -> bool {
        self.sent && !self.broken
    }

    /// The body broke off: nothing more of it goes up, and the connection is good for this answer only.
    const fn give_up(&mut self) {
        (self.done, self.sent, self.broken) = (true, true, true);
    }

    /// Sends what there is. Ready when all of it, and all that was queued before, has left, or the upstream
    /// takes no more. `progress` counts bytes that left; `starved` says that the wait is for the client.
    fn poll(
        &mut self,
        wire: &mut Wire,
        cx: &mut Context<'_>,
        progress: &mut u64,
        starved: &mut bool,
    ) -> Poll<Result<(), BodyError>> {
        *starved = false;
        loop {
            while !self.done && !self.held && !wire.is_full() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.queue(wire, frame),
                    Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(fault)),
                    Poll::Ready(None) => {
                        if self.chunked {
                            queue_last_chunk(wire.queue(), None);
                        }
                        self.done = true;
                    }
                    Poll::Pending => {
                        *starved = true;
                        break;
                    }
                }
            }
            match wire.poll_flush(cx, progress) {
                Poll::Ready(Ok(())) if self.done => {
                    self.sent = true;
                    return Poll::Ready(Ok(()));
                }
                Poll::Ready(Ok(())) if self.held || *starved => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => {
                    // there may still be an answer that says why
                    self.give_up();
                    return Poll::Ready(Ok(()));
                }
                Poll::Pending => {
                    *starved = false;
                    return Poll::Pending;
                }
            }
        }
    }

    fn queue(&mut self, wire: &mut Wire, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(piece) if self.chunked => queue_chunk(wire, piece),
            Ok(piece) => wire.queue_bytes(piece),
            Err(frame) => {
                if let (true, Ok(mut trailers)) = (self.chunked, frame.into_trailers()) {
                    filter_trailers(&mut trailers, &self.reserved);
                    queue_last_chunk(wire.queue(), Some(&trailers));
                    self.done = true;
                }
            }
        }
    }
}

/// Sends the request whose head is queued, and waits for the head of the final answer. The body may still be
/// on its way when that comes.
pub(super) async fn exchange(
    connection: &mut Connection,
    upload: &mut Upload,
    request: &Request,
    limits: &Limits,
    clock: &Clock,
) -> Result<ResponseHead, Failure> {
    let mut interim = 0;
    connection.deadline.set(None);
    match request.version {
        // one client connection has many of these
        Version::HTTP_2 => connection.wire.narrow(),
        _ => connection.wire.widen(),
    }
    poll_fn(|cx| {
        let Connection { wire, scanned, deadline, place: _ } = &mut *connection;
        loop {
            let (mut progress, mut starved) = (0, false);
            if !upload.sent {
                if let Poll::Ready(Err(fault)) = upload.poll(wire, cx, &mut progress, &mut starved)
                {
                    return Poll::Ready(Err(Failure::Body(fault)));
                }
                if progress > 0 {
                    deadline.set(None);
                }
            }
            match read_head(wire, scanned, cx) {
                Poll::Ready(Ok(head)) if head.status == StatusCode::CONTINUE => {
                    if std::mem::take(&mut upload.held) {
                        deadline.set(None);
                    }
                    continue;
                }
                Poll::Ready(Ok(head))
                    if head.status.is_informational()
                        && head.status != StatusCode::SWITCHING_PROTOCOLS =>
                {
                    interim += 1;
                    if let (Some(sink), true) = (&request.interim, interim <= MAX_INTERIM) {
                        sink.send(head.status, &head.headers);
                    }
                    continue;
                }
                Poll::Ready(head) => return Poll::Ready(head),
                Poll::Pending => {}
            }
            if starved {
                deadline.set(None); // the wait is for the client, which has a deadline of its own
                return Poll::Pending;
            }
            if deadline.is_unset() {
                let patience = if upload.held { Some(WAIT_FOR_CONTINUE) } else { limits.timeout };
                deadline.set(after(clock, patience));
            }
            if !deadline.poll_passed(cx) {
                return Poll::Pending;
            }
            if !upload.held {
                return Poll::Ready(Err(Failure::Timeout));
            }
            // RFC 9110 §10.1.1: a client waits no unlimited time for 100
            upload.held = false;
            deadline.set(None);
        }
    })
    .await
}

fn read_head(
    wire: &mut Wire,
    scanned: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<ResponseHead, Failure>> {
    loop {
        if !wire.input.is_empty() {
            match parse_response(&mut wire.input, scanned, MAX_HEAD) {
                Ok(Some(head)) => return Poll::Ready(Ok(head)),
                Ok(None) => {}
                Err(fault) => return Poll::Ready(Err(Failure::Malformed(fault))),
            }
        }
        let partial = !wire.input.is_empty();
        match wire.poll_fill(cx) {
            Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Failure::Closed { partial })),
            Poll::Ready(Ok(_)) => {}
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// Takes out what may not stand behind a body.
pub(super) fn filter_trailers(trailers: &mut HeaderMap, reserved: &[HeaderName]) {
    let gone: Vec<_> =
        trailers.keys().filter(|name| !trailer_passes(name, reserved)).cloned().collect();
    for name in gone {
        trailers.remove(name);
    }
}

/// Where the answer's body ends (RFC 9112 §6.3).
pub(super) const fn response_framing(head: &ResponseHead, has_body: bool) -> Decoder {
    if !has_body {
        return Decoder::empty();
    }
    if head.chunked {
        return Decoder::chunked();
    }
    match head.length {
        Some(length) => Decoder::length(length),
        None => Decoder::until_close(),
    }
}

/// The answer's body on its way down, and what is left of the request's on its way up. Dropped early, it takes
/// the connection with it: the upstream learns that nobody waits any more.
#[derive(Debug)]
pub(super) struct Download {
    connection: Option<Box<Connection>>,
    decoder: Decoder,
    upload: Upload,
    keep_alive: bool,
    flight: Flight,
    limits: Limits,
    clock: Clock,
    /// Whether the deadline runs: only while the client waits for the upstream, not the other way round.
    waiting: bool,
}

impl Download {
    pub(super) const fn new(
        connection: Box<Connection>,
        decoder: Decoder,
        upload: Upload,
        keep_alive: bool,
        flight: Flight,
        limits: Limits,
        clock: Clock,
    ) -> Self {
        Self {
            connection: Some(connection),
            decoder,
            upload,
            keep_alive,
            flight,
            limits,
            clock,
            waiting: false,
        }
    }

    /// Keeps the connection if both directions are through and nothing is left over.
    fn finish(&mut self) {
        self.flight.succeeded();
        let reusable =
            self.keep_alive && self.upload.is_done() && !self.decoder.ends_with_connection();
        if let (Some(connection), true) = (self.connection.take(), reusable) {
            self.flight.way().pool.put(connection);
        }
    }
}

impl HttpBody for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let fault = loop {
            let Some(connection) = &mut this.connection else { return Poll::Ready(None) };
            match this.decoder.decode(&mut connection.wire.input) {
                Ok(Decoded::Data(piece)) => {
                    this.waiting = false;
                    return Poll::Ready(Some(Ok(Frame::data(piece))));
                }
                Ok(Decoded::Trailers(mut trailers)) => {
                    filter_trailers(&mut trailers, &[]);
                    if !trailers.is_empty() {
                        this.finish(); // they are the end: nobody asks for more
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                }
                Ok(Decoded::End) => {
                    this.finish();
                    return Poll::Ready(None);
                }
                Ok(Decoded::NeedMore) => {
                    let (mut progress, mut starved) = (0, false);
                    if !this.upload.sent {
                        let wire = &mut connection.wire;
                        // a body that breaks off now costs the connection, not the answer
                        if let Poll::Ready(Err(_)) =
                            this.upload.poll(wire, cx, &mut progress, &mut starved)
                        {
                            this.upload.give_up();
                        }
                    }
                    if progress > 0 || starved {
                        this.waiting = false; // it is not the upstream that is slow
                    }
                    match connection.wire.poll_fill(cx) {
                        Poll::Ready(Ok(0)) if this.decoder.ends_with_connection() => {
                            this.connection = None;
                            this.flight.succeeded();
                            return Poll::Ready(None);
                        }
                        Poll::Ready(Ok(0) | Err(_)) => break BodyError::Cut,
                        Poll::Ready(Ok(_)) => {}
                        Poll::Pending if starved => return Poll::Pending,
                        Poll::Pending => {
                            if !this.waiting {
                                this.waiting = true;
                                connection.deadline.set(after(&this.clock, this.limits.timeout));
                            }
                            if connection.deadline.poll_passed(cx) {
                                break BodyError::Stalled;
                            }
                            return Poll::Pending;
                        }
                    }
                }
                Err(_) => break BodyError::Malformed,
            }
        };
        this.connection = None;
        this.flight.failed(Trouble::Cut, this.clock.monotonic());
        Poll::Ready(Some(Err(fault)))
    }

    fn is_end_stream(&self) -> bool {
        self.decoder.is_done()
    }

    fn size_hint(&self) -> SizeHint {
        self.decoder.remaining().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

/// Longest head of an answer, bytes.
const MAX_HEAD: usize = 64 * 1024;
/// Most informational answers that are passed on for one request; further ones are dropped.
pub(super) const MAX_INTERIM: u32 = 32;
/// How long an upstream may leave `Expect: 100-continue` unanswered before the body is sent all the same.
const WAIT_FOR_CONTINUE: Duration = Duration::from_secs(1);
