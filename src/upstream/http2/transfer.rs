//! Bodies over a stream: the request's on its way up, under the peer's flow control, and the answer's on its way down.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use http::HeaderName;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::AbortHandle;

use super::Lease;
use crate::clock::Clock;
use crate::http1::Deadline;
use crate::message::{Body, BodyError};
use crate::upstream::after;
use crate::upstream::exchange::{Limits, filter_trailers};
use crate::upstream::failure::Trouble;

/// The request's body on its way up.
#[derive(Debug)]
pub(super) struct Upload {
    body: Body,
    send: SendStream<Bytes>,
    /// What was taken of the body and not yet sent.
    piece: Bytes,
    /// Names of the identity headers, which no trailer may bear either.
    reserved: Rc<[HeaderName]>,
    /// All that was taken of the body, as long as that is little: with the rest it is whole again.
    taken: Option<Vec<Bytes>>,
    /// Nothing more goes up.
    done: bool,
    /// The wait is for the client.
    pub(super) starved: bool,
}

impl Upload {
    pub(super) fn new(body: Body, send: SendStream<Bytes>, reserved: &Rc<[HeaderName]>) -> Self {
        Self {
            body,
            send,
            piece: Bytes::new(),
            reserved: Rc::clone(reserved),
            taken: Some(Vec::new()),
            done: false,
            starved: false,
        }
    }

    /// A request without a body, or one that was sent with its head.
    pub(super) fn finished(send: SendStream<Bytes>, reserved: &Rc<[HeaderName]>) -> Self {
        Self { taken: None, done: true, ..Self::new(Body::Empty, send, reserved) }
    }

    pub(super) const fn is_done(&self) -> bool {
        self.done
    }

    /// The body as it was, if little of it was taken.
    pub(super) fn into_whole(self) -> Option<Body> {
        let taken = self.taken?;
        if taken.is_empty() {
            return Some(self.body);
        }
        Some(Body::Stream(Box::pin(Again { taken: taken.into(), rest: self.body })))
    }

    /// The stream, for a tunnel.
    pub(super) fn into_stream(self) -> SendStream<Bytes> {
        self.send
    }

    /// Sends what there is. Ready when all of it was handed over, or the peer takes no more. `progress`: something
    /// was.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut bool,
    ) -> Poll<Result<(), BodyError>> {
        self.starved = false;
        while !self.done {
            if !self.piece.is_empty() {
                match self.poll_send(cx) {
                    Poll::Ready(()) => *progress = true,
                    Poll::Pending => return Poll::Pending,
                }
                continue;
            }
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => self.take(frame),
                Poll::Ready(Some(Err(fault))) => {
                    self.give_up();
                    return Poll::Ready(Err(fault));
                }
                Poll::Ready(None) => self.end(Bytes::new()),
                Poll::Pending => {
                    self.starved = true;
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn take(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(piece) => {
                self.note(&piece);
                match piece.is_empty() && self.body.is_end_stream() {
                    true => self.end(piece),
                    false => self.piece = piece,
                }
            }
            Err(frame) => {
                self.taken = None; // trailers cannot be put back
                if let Ok(mut trailers) = frame.into_trailers() {
                    filter_trailers(&mut trailers, &self.reserved);
                    match trailers.is_empty() {
                        true => self.end(Bytes::new()),
                        false => {
                            // refused only on a stream that is over, and then there may still be an answer
                            let _ = self.send.send_trailers(trailers);
                            self.done = true;
                        }
                    }
                }
            }
        }
    }

    /// Keeps what was taken, while that is little.
    fn note(&mut self, piece: &Bytes) {
        let Some(taken) = &mut self.taken else { return };
        let length: usize = taken.iter().map(Bytes::len).sum();
        if taken.len() < MOST_TAKEN && length + piece.len() <= MOST_TAKEN_BYTES {
            taken.push(piece.clone());
        } else {
            self.taken = None;
        }
    }

    /// Sends as much of the piece as the peer takes now.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut room = self.send.capacity();
        if room == 0 {
            self.send.reserve_capacity(self.piece.len());
            room = match self.send.capacity() {
                0 => match self.send.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(Some(Err(_)) | None) => {
                        self.done = true; // there may still be an answer that says why
                        return Poll::Ready(());
                    }
                    Poll::Pending => return Poll::Pending,
                },
                room => room,
            };
        }
        let piece = self.piece.split_to(room.min(self.piece.len()));
        if self.piece.is_empty() && self.body.is_end_stream() {
            self.end(piece);
        } else if self.send.send_data(piece, false).is_err() {
            self.done = true;
        }
        Poll::Ready(())
    }

    fn end(&mut self, last: Bytes) {
        // refused only on a stream that is over, and then there may still be an answer
        let _ = self.send.send_data(last, true);
        (self.done, self.body) = (true, Body::Empty);
    }

    /// Nothing more goes up. The stream is not ended by this.
    pub(super) fn give_up(&mut self) {
        self.done = true;
        self.piece = Bytes::new();
        self.body = Body::Empty;
        self.taken = None;
    }

    /// The answer has begun: nothing is sent again.
    pub(super) fn forget_taken(&mut self) {
        self.taken = None;
    }

    /// Nobody waits for an answer any more.
    pub(super) fn cancel(&mut self) {
        self.give_up();
        self.send.send_reset(Reason::CANCEL);
    }
}

/// A body of which a part was taken, and put back.
struct Again {
    taken: VecDeque<Bytes>,
    rest: Body,
}

impl HttpBody for Again {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        match this.taken.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.taken.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let taken: u64 = self.taken.iter().map(|piece| piece.len() as u64).sum();
        let rest = self.rest.length();
        rest.map_or_else(SizeHint::default, |rest| SizeHint::with_exact(taken + rest))
    }
}

/// What is left of an upload when the answer has begun.
#[derive(Debug)]
pub(super) enum Rest {
    /// Nothing.
    None,
    /// Whoever takes the answer sends it.
    Beside(Box<Upload>),
    /// A task of its own sends it: the client takes and sends independently.
    Task(Rc<RefCell<Upload>>, AbortHandle),
}

impl Rest {
    /// A task for an upload.
    pub(super) fn spawn(upload: Upload) -> Self {
        let upload = Rc::new(RefCell::new(upload));
        let shared = Rc::clone(&upload);
        let task = tokio::task::spawn_local(std::future::poll_fn(move |cx| {
            shared.borrow_mut().poll(cx, &mut false).map(drop)
        }));
        Self::Task(upload, task.abort_handle())
    }

    /// Whether the wait is for the client rather than for the upstream.
    fn poll_is_clients_turn(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Self::None => false,
            Self::Beside(upload) => {
                let mut progress = false;
                // a body that breaks off now costs the stream, not the answer
                if upload.poll(cx, &mut progress).is_ready() {
                    *self = Self::None;
                    return progress;
                }
                progress || upload.starved
            }
            Self::Task(upload, _) => upload.borrow().starved,
        }
    }
}

impl Drop for Rest {
    fn drop(&mut self) {
        if let Self::Task(upload, task) = self {
            // at once: the body is fed from a connection that goes on to other things
            upload.borrow_mut().give_up();
            task.abort();
        }
    }
}

/// The answer's body on its way down. Dropped before its end, it takes the stream with it: the upstream learns that
/// nobody waits any more.
#[derive(Debug)]
pub(super) struct Download {
    recv: RecvStream,
    rest: Rest,
    /// A piece that came with the head.
    first: Option<Bytes>,
    /// How much is still to come, where that was declared.
    left: Option<u64>,
    done: bool,
    timer: Deadline,
    /// The timer runs: only while the client waits for the upstream.
    waiting: bool,
    limits: Limits,
    clock: Clock,
    lease: Lease,
}

impl Download {
    pub(super) fn new(
        recv: RecvStream,
        first: Option<Bytes>,
        left: Option<u64>,
        rest: Rest,
        timer: Deadline,
        (limits, clock): (Limits, Clock),
        lease: Lease,
    ) -> Self {
        Self { recv, rest, first, left, done: false, timer, waiting: false, limits, clock, lease }
    }

    fn piece(&mut self, piece: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.waiting = false;
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let trailers = match self.recv.poll_trailers(cx) {
            Poll::Ready(trailers) => trailers,
            Poll::Pending => return self.poll_wait(cx),
        };
        self.done = true;
        if trailers.is_ok() {
            self.lease.succeeded();
        }
        match trailers {
            Ok(Some(mut trailers)) => {
                filter_trailers(&mut trailers, &[]);
                match trailers.is_empty() {
                    true => Poll::Ready(None),
                    false => Poll::Ready(Some(Ok(Frame::trailers(trailers)))),
                }
            }
            Ok(None) => Poll::Ready(None),
            Err(fault) => self.broken(cut(&fault)),
        }
    }

    fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // while it is not the upstream that is slow, its time begins anew
        let is_clients_turn = self.rest.poll_is_clients_turn(cx);
        if is_clients_turn || !self.waiting {
            self.waiting = true;
            self.timer.set(after(&self.clock, self.limits.timeout));
        }
        if !self.timer.poll_passed(cx) {
            return Poll::Pending;
        }
        self.broken(BodyError::Stalled)
    }

    fn broken(&mut self, fault: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.done = true;
        self.lease.failed(Trouble::Cut);
        Poll::Ready(Some(Err(fault)))
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
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(piece) = this.first.take() {
            return this.piece(piece);
        }
        loop {
            match this.recv.poll_data(cx) {
                Poll::Ready(Some(Ok(piece))) => {
                    // whoever asks for more has room for it; a stream that is over has no use for the window
                    let _ = this.recv.flow_control().release_capacity(piece.len());
                    if !piece.is_empty() {
                        return this.piece(piece);
                    }
                }
                Poll::Ready(Some(Err(fault))) => {
                    return this.broken(cut(&fault));
                }
                Poll::Ready(None) => return this.poll_end(cx),
                Poll::Pending => return this.poll_wait(cx),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.done || (self.first.is_none() && self.recv.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.lease.pool.keep_timer(std::mem::take(&mut self.timer));
    }
}

/// Why a body ended before its end.
fn cut(fault: &h2::Error) -> BodyError {
    if fault.is_library() { BodyError::Malformed } else { BodyError::Cut }
}

/// What is kept of a body until its answer begins, bytes: enough for most calls of gRPC to go to another connection, should
/// the upstream have left this one alone.
const MOST_TAKEN_BYTES: usize = 64 * 1024;
/// Pieces of it: each may be small and hold a large buffer.
const MOST_TAKEN: usize = 16;
