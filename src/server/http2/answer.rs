//! One request of an HTTP/2 connection, from its head to the last byte of its answer.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Version, header};
use http_body::{Body as HttpBody, Frame};

use super::super::answer::Framing;
use super::super::connection::CLIENT_GONE;
use super::super::panics::{Panicked, poll_caught};
use super::super::tunnel;
use super::super::worker::Worker;
use super::calm::{COST_OF_TAKING_BACK, FOR_A_PIECE, FOR_AN_ANSWER};
use super::exchange::{self, Exchange};
use super::head::Head;
use super::turns::Wait;
use super::{Session, websocket};
use crate::gateway::Refusal;
use crate::http1::Wire;
use crate::message::{Body, InterimSink, Peer, Request, Response, Tunnel};
use crate::net::{Http2Stream, Stream};
use crate::observe::Record;

/// Has a request answered, to the last byte.
pub(super) async fn handle(
    session: Rc<Session>,
    number: usize,
    request: http::Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let worker = Rc::clone(&session.worker);
    let started = worker.clock.recent();
    let _counted = worker.counters.in_flight.enter();
    let gateway = worker.gateway(); // this request's, to its end
    let peer = session.follow(&gateway);
    let (parts, recv) = request.into_parts();
    let method = parts.method.clone();
    let exchange = Rc::new(Exchange {
        session,
        number,
        respond: RefCell::new(respond),
        answering: Cell::new(false),
        left: RefCell::new(None),
        owes_continue: Cell::new(false),
    });
    let head = match Head::read(parts) {
        Ok(head) => head,
        Err(refusal) => {
            let (mut record, response) = gateway.refuse_unread(started, &peer, &refusal);
            (record.method, record.version) = (Some(method.clone()), Some(Version::HTTP_2));
            exchange.left.replace(Some(recv));
            answer(&exchange, response, &method, &record, None).await;
            return;
        }
    };
    let handshake = head.upgrade.as_ref().and(head.headers.get(header::SEC_WEBSOCKET_KEY)).cloned();
    let method = head.method.clone();
    let (request, recv) = take_request(&exchange, peer, head, recv);
    let mut record = gateway.record(started, &request);
    let handled = {
        let mut handling = pin!(gateway.handle(request, &mut record));
        poll_fn(|cx| {
            if exchange.poll_gone(cx).is_ready() {
                return Poll::Ready(Err(Lost::Client));
            }
            match poll_caught(|| handling.as_mut().poll(cx)) {
                Poll::Ready(Ok(response)) => Poll::Ready(Ok(response)),
                Poll::Ready(Err(Panicked)) => Poll::Ready(Err(Lost::Panic)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    };
    let mut response = match handled {
        Ok(response) => response,
        Err(Lost::Panic) => {
            worker.counters.panics.add_one();
            gateway.refuse(&mut record, &Refusal::Internal)
        }
        Err(Lost::Client) => {
            record.reason = "client_gone";
            worker.log.end(&record, CLIENT_GONE, 0, false);
            exchange.session.line.borrow_mut().spend(COST_OF_TAKING_BACK);
            return;
        }
    };
    if response.tunnel.is_some()
        && let Err(failure) = websocket::agree(&mut response, handshake.as_ref())
    {
        response = gateway.refuse(&mut record, &failure.into());
    }
    drop(gateway); // it has decided; a long answer, or a tunnel, needs none
    answer(&exchange, response, &method, &record, recv).await;
}

/// Why there is no answer.
enum Lost {
    Client,
    Panic,
}

/// Makes a request of a head. The client's side of what may become a tunnel stays here.
fn take_request(
    exchange: &Rc<Exchange>,
    peer: Rc<Peer>,
    head: Head,
    recv: RecvStream,
) -> (Box<Request>, Option<RecvStream>) {
    let (body, recv) = match head.upgrade {
        Some(_) => (Body::Empty, Some(recv)),
        None => (exchange::body(recv, head.length, exchange), None),
    };
    let expects_continue = head.expects_continue && matches!(body, Body::Stream(_));
    exchange.owes_continue.set(expects_continue);
    let interim: Rc<dyn InterimSink> = Rc::<Exchange>::clone(exchange);
    let request = Box::new(Request {
        method: head.method,
        target: head.target,
        version: Version::HTTP_2,
        headers: head.headers,
        host: head.host,
        upgrade: head.upgrade,
        expects_continue,
        body,
        peer,
        interim: Some(interim),
    });
    (request, recv)
}

/// Sends an answer and closes its record. `recv`: what of the client's a tunnel takes over.
async fn answer(
    exchange: &Exchange,
    mut response: Response,
    method: &Method,
    record: &Record,
    recv: Option<RecvStream>,
) {
    let (session, worker) = (&exchange.session, &exchange.session.worker);
    let status = response.status;
    let body = std::mem::take(&mut response.body);
    let framing = match &response.tunnel {
        Some(_) => Framing::UntilClose,
        None => Framing::by(&body, status, method, Version::HTTP_2),
    };
    let ends = matches!(framing, Framing::None | Framing::Length(0));
    let mut head = http::Response::new(());
    *head.status_mut() = status;
    *head.headers_mut() = fields(response.headers.into(), framing, &body, worker);
    exchange.answering.set(true);
    exchange.owes_continue.set(false);
    let sent = exchange.respond.borrow_mut().send_response(head, ends);
    let Ok(send) = sent else {
        worker.log.end(record, CLIENT_GONE, 0, false); // the stream is over
        return;
    };
    if let (Some(tunnel), Some(recv)) = (response.tunnel, recv) {
        worker.log.end(record, status, 0, true);
        return carry(session, send, recv, tunnel).await;
    }
    let mut sender = Sender::new(exchange, send, body, ends);
    let whole = poll_fn(|cx| sender.poll(cx)).await;
    session.waits.end(exchange.number, Wait::Room);
    worker.log.end(record, status, sender.bytes, whole.is_ok());
    sender.body = Body::Empty; // it may still hold the request's
    match whole {
        Ok(()) => {
            session.line.borrow_mut().calm.earn(FOR_AN_ANSWER);
            let left = exchange.left.take();
            if let Some(left) = left.filter(|left| !left.is_end_stream()) {
                exchange::drain(exchange, left).await;
            }
        }
        Err(Unfinished::Client) => {}
        Err(Unfinished::Stalled) => sender.send.send_reset(Reason::CANCEL),
        Err(Unfinished::Upstream) => {
            yield_once().await; // what there is of it is sent, but never its end
            sender.send.send_reset(Reason::INTERNAL_ERROR);
        }
    }
}

/// After the change of protocol: bytes both ways, until either side is through.
async fn carry(session: &Session, send: SendStream<Bytes>, recv: RecvStream, tunnel: Tunnel) {
    let _counted = session.worker.counters.tunnels.enter();
    let client = Stream::Http2(Box::new(Http2Stream::new(send, recv, ())));
    tunnel::run(Wire::new(client), Bytes::new(), tunnel, &session.worker).await;
}

/// The fields of an answer: `headers` holds none of framing, unless there is no body to frame.
fn fields(mut headers: HeaderMap, framing: Framing, body: &Body, worker: &Worker) -> HeaderMap {
    headers.values_mut().for_each(own);
    headers.entry(header::DATE).or_insert_with(|| worker.http_date_value());
    let length = match framing {
        Framing::Length(length) => Some(length),
        // what HEAD is not sent has a length all the same
        Framing::None if !headers.contains_key(header::CONTENT_LENGTH) => {
            body.length().filter(|length| *length > 0)
        }
        Framing::None | Framing::Chunked | Framing::UntilClose => None,
    };
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers
}

/// Makes a value that stands for itself. What was read is a part of the buffer that it was read into, and the connection
/// remembers values for as long as it lives (RFC 7541 §2.3.2): each of them would keep some KiB that nobody counts.
fn own(value: &mut HeaderValue) {
    if let Ok(mut copy) = HeaderValue::from_bytes(value.as_bytes()) {
        copy.set_sensitive(value.is_sensitive());
        *value = copy;
    }
}

/// Why an answer that was begun is not finished.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Unfinished {
    /// The client wants no more of it.
    Client,
    /// The client takes no more of it.
    Stalled,
    /// It broke off.
    Upstream,
}

/// The content of an answer on its way into its stream, as far as the client gives it room.
struct Sender<'a> {
    session: &'a Session,
    number: usize,
    send: SendStream<Bytes>,
    body: Body,
    /// Waits for room.
    piece: Bytes,
    /// Nothing comes behind `piece`.
    is_last: bool,
    /// The end was told.
    ended: bool,
    /// Bytes that were taken.
    bytes: u64,
    /// How many there were when the wait for room began.
    waited_at: u64,
}

impl<'a> Sender<'a> {
    fn new(exchange: &'a Exchange, send: SendStream<Bytes>, body: Body, ended: bool) -> Self {
        let (session, number) = (&*exchange.session, exchange.number);
        let (piece, is_last, bytes, waited_at) = (Bytes::new(), false, 0, 0);
        Self { session, number, send, body, piece, is_last, ended, bytes, waited_at }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unfinished>> {
        loop {
            if self.session.gone.get() {
                return Poll::Ready(Err(Unfinished::Client));
            }
            if !self.piece.is_empty() {
                match self.poll_piece(cx) {
                    Poll::Ready(Ok(())) => continue,
                    unfinished => return unfinished,
                }
            }
            if self.ended {
                return Poll::Ready(Ok(()));
            }
            match poll_caught(|| Pin::new(&mut self.body).poll_frame(cx)) {
                Poll::Pending => {
                    // nothing to send: watch whether anybody still waits for it
                    return self.send.poll_reset(cx).map(|_| Err(Unfinished::Client));
                }
                Poll::Ready(Err(Panicked)) => {
                    self.session.worker.counters.panics.add_one();
                    return Poll::Ready(Err(Unfinished::Upstream));
                }
                Poll::Ready(Ok(Some(Ok(frame)))) => self.take(frame, cx)?,
                Poll::Ready(Ok(Some(Err(_)))) => return Poll::Ready(Err(Unfinished::Upstream)),
                Poll::Ready(Ok(None)) => self.end()?,
            }
        }
    }

    fn take(&mut self, frame: Frame<Bytes>, cx: &mut Context<'_>) -> Result<(), Unfinished> {
        match frame.into_data() {
            Ok(piece) => {
                self.piece = piece;
                // asked for its end, the body lets go of the upstream's connection
                self.is_last = self.body.is_end_stream()
                    && matches!(
                        poll_caught(|| Pin::new(&mut self.body).poll_frame(cx)),
                        Poll::Ready(Ok(None))
                    );
                if self.piece.is_empty() && self.is_last { self.end() } else { Ok(()) }
            }
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => {
                    self.ended = true;
                    self.send.send_trailers(trailers).map_err(|_| Unfinished::Client)
                }
                Err(_) => Ok(()),
            },
        }
    }

    fn end(&mut self) -> Result<(), Unfinished> {
        self.ended = true;
        self.send.send_data(Bytes::new(), true).map_err(|_| Unfinished::Client)
    }

    /// Sends as much of the piece as there is room for.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Unfinished>> {
        self.send.reserve_capacity(self.piece.len());
        let room = self.send.capacity();
        if room == 0 {
            return match self.send.poll_capacity(cx) {
                Poll::Ready(Some(Ok(_))) => Poll::Ready(Ok(())), // look again
                Poll::Ready(Some(Err(_)) | None) => Poll::Ready(Err(Unfinished::Client)),
                Poll::Pending => self.wait(),
            };
        }
        let length = room.min(self.piece.len());
        let is_whole = length == self.piece.len();
        self.ended = is_whole && self.is_last;
        let piece = self.piece.split_to(length);
        self.send.send_data(piece, self.ended).map_err(|_| Unfinished::Client)?;
        self.bytes += length as u64;
        if is_whole || self.bytes - self.waited_at >= LEAST_PROGRESS {
            self.session.waits.end(self.number, Wait::Room);
            self.session.line.borrow_mut().calm.earn(FOR_A_PIECE);
            self.waited_at = self.bytes;
        }
        Poll::Ready(Ok(()))
    }

    /// No room: the client has its time to make some.
    fn wait(&mut self) -> Poll<Result<(), Unfinished>> {
        let worker = &self.session.worker;
        let limit = self.session.limits().idle_timeout;
        self.session.waits.begin(self.number, Wait::Room, || worker.clock.recent() + limit);
        match self.session.waits.has_passed(self.number, Wait::Room, || worker.clock.recent()) {
            true => Poll::Ready(Err(Unfinished::Stalled)),
            false => Poll::Pending,
        }
    }
}

/// Lets the connection, and everybody else on it, have a turn.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A client that takes less than this within `idle_timeout` takes nothing: a window opened by a byte now and then does
/// not hold an answer for ever.
const LEAST_PROGRESS: u64 = 1024;
