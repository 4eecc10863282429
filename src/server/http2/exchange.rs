//! One request of an HTTP/2 connection as the gateway sees it: its body, its informational answers, its client's going.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::super::connection::{LINGER, MAX_LINGERED};
use super::Session;
use super::turns::Wait;
use crate::message::headers::response_field_passes;
use crate::message::{Body, BodyError, Fields, InterimSink};

/// A stream from its request to the head of its answer.
pub(super) struct Exchange {
    pub(super) session: Rc<Session>,
    /// Its place among the connection's requests.
    pub(super) number: usize,
    pub(super) respond: RefCell<SendResponse<Bytes>>,
    /// The final answer has begun: nothing informational may be sent any more.
    pub(super) answering: Cell<bool>,
    /// What is left of the request's body, once nobody reads it any more.
    pub(super) left: RefCell<Option<RecvStream>>,
    /// `100 Continue` is owed as soon as the body is asked for.
    pub(super) owes_continue: Cell<bool>,
}

impl Exchange {
    /// Ready when the client has taken its request back, or is gone.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.session.gone.get() {
            return Poll::Ready(());
        }
        self.respond.borrow_mut().poll_reset(cx).map(|_| ())
    }

    fn send_informational(&self, status: StatusCode, headers: HeaderMap) {
        let mut response = http::Response::new(());
        (*response.status_mut(), *response.headers_mut()) = (status, headers);
        // a stream that is over takes none, and nobody waits for it
        let _ = self.respond.borrow_mut().send_informational(response);
    }
}

impl InterimSink for Exchange {
    fn send(&self, status: StatusCode, headers: &Fields) {
        if self.answering.get() {
            return;
        }
        let passing = headers.iter().filter(|(name, _)| response_field_passes(name, &[]));
        let passing = passing.cloned().collect();
        self.send_informational(status, passing);
    }
}

/// The body of a request; what has come with its head is taken whole. `length`: what is declared.
pub(super) fn body(mut recv: RecvStream, length: Option<u64>, exchange: &Rc<Exchange>) -> Body {
    let cx = &mut Context::from_waker(Waker::noop()); // whoever wants more asks again
    if recv.is_end_stream() {
        return Body::Empty;
    }
    let mut front = Bytes::new();
    if let Poll::Ready(Some(Ok(piece))) = recv.poll_data(cx) {
        front = piece;
        if recv.is_end_stream() {
            let _ = recv.flow_control().release_capacity(front.len());
            return Body::from(front);
        }
    }
    // a length of zero is only as good as the end that follows: until then it could be a lie
    let left = length.filter(|length| *length > 0);
    Body::Stream(Box::pin(Incoming {
        recv: Some(recv),
        received: front.len() as u64,
        handed_on: 0,
        front,
        left,
        exchange: Rc::clone(exchange),
        state: State::Data,
    }))
}

/// Reads and forgets what is left of a request's body whose answer has been sent, within bounds: many clients look at the
/// answer only once they have sent all of it, and some take the reset for a failure that could come instead.
pub(super) async fn drain(exchange: &Exchange, mut recv: RecvStream) {
    let session = &exchange.session;
    let (number, clock) = (exchange.number, &session.worker.clock);
    session.waits.end(number, Wait::Body);
    session.waits.begin(number, Wait::Body, || clock.recent() + LINGER);
    let mut left = MAX_LINGERED;
    poll_fn(|cx| {
        while let Poll::Ready(piece) = recv.poll_data(cx) {
            let Some(Ok(piece)) = piece else { return Poll::Ready(()) };
            if piece.len() > left {
                return Poll::Ready(());
            }
            left -= piece.len();
            let _ = recv.flow_control().release_capacity(piece.len());
        }
        match session.gone.get() || session.waits.has_passed(number, Wait::Body, || clock.recent())
        {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    session.waits.end(number, Wait::Body);
}

/// A body that is still coming.
struct Incoming {
    /// There until this is dropped.
    recv: Option<RecvStream>,
    /// Came, and was not yet handed on.
    front: Bytes,
    received: u64,
    /// Bytes of the piece that was handed on last.
    handed_on: usize,
    /// Bytes of the declared length that are not yet handed on.
    left: Option<u64>,
    exchange: Rc<Exchange>,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Data,
    Trailers,
    Done,
    Broken,
}

impl Incoming {
    fn fail(&mut self, fault: BodyError) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.state = State::Broken;
        Poll::Ready(Some(Err(fault)))
    }

    /// Hands on what is at the front. The piece that completes a declared length waits for the end of the stream: if
    /// more came, the request would have been complete for the upstream before it turned out to be malformed.
    fn take_front(&mut self) -> Option<Bytes> {
        let length = self.front.len() as u64;
        let is_last = self.left.is_some_and(|left| left <= length);
        if self.front.is_empty()
            || is_last
                && self.state == State::Data
                && !self.recv.as_ref().is_some_and(RecvStream::is_end_stream)
        {
            return None;
        }
        self.handed_on = self.front.len();
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(length);
        }
        Some(std::mem::take(&mut self.front))
    }

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, h2::Error>>> {
        self.recv.as_mut().map_or(Poll::Ready(None), |recv| recv.poll_data(cx))
    }

    fn poll_trailers(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<HeaderMap>, h2::Error>> {
        self.recv.as_mut().map_or(Poll::Ready(Ok(None)), |recv| recv.poll_trailers(cx))
    }

    fn poll_too_late(&self, session: &Session) -> bool {
        let (number, clock) = (self.exchange.number, &session.worker.clock);
        let limit = session.limits().idle_timeout;
        session.waits.begin(number, Wait::Body, || clock.recent() + limit);
        session.gone.get() || session.waits.has_passed(number, Wait::Body, || clock.recent())
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if matches!(self.state, State::Data | State::Broken) {
            self.exchange.left.replace(self.recv.take());
        }
    }
}

impl HttpBody for Incoming {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let session = Rc::clone(&this.exchange.session);
        let Some(recv) = &mut this.recv else { return Poll::Ready(None) };
        // whoever asks for more has room for it: only now may the client send as much again (a stream that was reset
        // meanwhile has no use for that)
        let _ = recv.flow_control().release_capacity(std::mem::take(&mut this.handed_on));
        if this.exchange.owes_continue.take() && !this.exchange.answering.get() {
            this.exchange.send_informational(StatusCode::CONTINUE, HeaderMap::new());
        }
        loop {
            if session.limits.borrow().max_body_size.is_some_and(|limit| this.received > limit) {
                return this.fail(BodyError::TooLarge);
            }
            if let Some(piece) = this.take_front() {
                return Poll::Ready(Some(Ok(Frame::data(piece))));
            }
            match this.state {
                State::Data => match this.poll_data(cx) {
                    Poll::Ready(Some(Ok(piece))) => {
                        session.waits.end(this.exchange.number, Wait::Body);
                        this.received += piece.len() as u64;
                        this.add(piece);
                    }
                    Poll::Ready(Some(Err(fault))) => {
                        let is_theirs = fault.is_remote() || fault.is_io();
                        return this.fail(if is_theirs {
                            BodyError::Cut
                        } else {
                            BodyError::Malformed
                        });
                    }
                    Poll::Ready(None) => this.state = State::Trailers,
                    Poll::Pending if this.poll_too_late(&session) => {
                        return this.fail(BodyError::Stalled);
                    }
                    Poll::Pending => return Poll::Pending,
                },
                State::Trailers => {
                    session.waits.end(this.exchange.number, Wait::Body);
                    match this.poll_trailers(cx) {
                        Poll::Ready(Ok(Some(trailers))) => {
                            this.state = State::Done;
                            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                        }
                        Poll::Ready(Ok(None)) => this.state = State::Done,
                        Poll::Ready(Err(_)) => return this.fail(BodyError::Cut),
                        Poll::Pending => return Poll::Pending,
                    }
                }
                State::Done => return Poll::Ready(None),
                State::Broken => return Poll::Ready(Some(Err(BodyError::Malformed))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Done
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl Incoming {
    /// A piece came. Two are at the front only where the first waits for the end, which the second then is.
    fn add(&mut self, piece: Bytes) {
        if self.front.is_empty() {
            self.front = piece;
        } else if !piece.is_empty() {
            self.front = [&self.front[..], &piece[..]].concat().into();
        }
    }
}
