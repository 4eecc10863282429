//! One request and its answer on one stream, both directions polled in the request's own task.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header,
};

use super::Lease;
use super::transfer::{Download, Rest, Upload};
use crate::clock::Clock;
use crate::http1::Deadline;
use crate::message::{self, Body};
use crate::net::{Http2Stream, Stream};
use crate::upstream::exchange::{Limits, MAX_INTERIM};
use crate::upstream::failure::Trouble;
use crate::upstream::{Failure, after, says_it_failed};

/// A request that is about to be sent over a stream.
pub(in crate::upstream) struct Exchange<'a> {
    pub(in crate::upstream) lease: Lease,
    /// What the upstream gets.
    pub(in crate::upstream) head: Request<()>,
    pub(in crate::upstream) body: Body,
    /// What the client asked.
    pub(in crate::upstream) request: &'a message::Request,
    /// Names of the identity headers.
    pub(in crate::upstream) reserved: &'a Rc<[HeaderName]>,
    pub(in crate::upstream) limits: Limits,
    pub(in crate::upstream) clock: &'a Clock,
}

/// An answer whose head has come.
#[derive(Debug)]
pub(in crate::upstream) struct Answered {
    pub(in crate::upstream) status: StatusCode,
    pub(in crate::upstream) headers: HeaderMap,
    pub(in crate::upstream) body: Body,
    /// The stream, where a tunnel was asked for and granted.
    pub(in crate::upstream) tunnel: Option<Stream>,
    /// What the answer declares, or would have to a GET.
    pub(in crate::upstream) length: Option<u64>,
}

/// Why there is none.
#[derive(Debug)]
pub(in crate::upstream) struct Failed {
    pub(in crate::upstream) failure: Failure,
    /// The request's body, if it is whole or can be made so.
    pub(in crate::upstream) body: Option<Body>,
    /// Not even the head was sent.
    pub(in crate::upstream) unsent: bool,
}

impl Exchange<'_> {
    /// Sends the request and waits for the head of the final answer. The body may still be on its way when it comes.
    pub(in crate::upstream) async fn run(self) -> Result<Answered, Failed> {
        let Self { lease, head, body, request, reserved, limits, clock } = self;
        let is_tunnel = head.method() == Method::CONNECT;
        let is_bare = body.is_empty() && !is_tunnel;
        let (future, send) = match lease.link.handle().send_request(head, is_bare) {
            Ok(sent) => sent,
            Err(fault) => {
                // the peer wants no more on this connection, or it is gone: nothing was sent
                lease.link.close();
                lease.pool.retire(&lease.link);
                let failure = if is_ours(&fault) {
                    Failure::Http2(fault)
                } else {
                    Failure::Unprocessed(fault)
                };
                return Err(Failed { failure, body: Some(body), unsent: true });
            }
        };
        let upload = match body {
            _ if is_bare || is_tunnel => Upload::finished(send, reserved),
            Body::Full(bytes) => {
                let mut send = send;
                let _ = send.send_data(bytes, true); // fails on a stream that is over: its answer says why
                Upload::finished(send, reserved)
            }
            body => Upload::new(body, send, reserved),
        };
        let timer = lease.pool.timer();
        let mut wait = Wait { future, upload, timer, interim: 0, request, limits, clock };
        let outcome = poll_fn(|cx| wait.poll(cx)).await;
        let Wait { mut upload, timer, .. } = wait;
        let (parts, recv) = match outcome {
            Ok(answer) => answer,
            Err(failure) => {
                lease.pool.keep_timer(timer);
                if matches!(failure, Failure::Timeout | Failure::Body(_) | Failure::Status) {
                    upload.cancel(); // the upstream does not know yet that nobody waits
                }
                return Err(Failed { failure, body: upload.into_whole(), unsent: false });
            }
        };
        if says_it_failed(parts.status) {
            lease.failed(Trouble::Gateway);
        }
        let length = declared_length(&parts.headers);
        let (status, headers) = (parts.status, parts.headers);
        if is_tunnel && status.is_success() {
            lease.pool.keep_timer(timer);
            let stream = Http2Stream::new(upload.into_stream(), recv, lease);
            let tunnel = Some(Stream::Http2(Box::new(stream)));
            return Ok(Answered { status, headers, body: Body::Empty, tunnel, length: None });
        }
        let has_body = request.method != Method::HEAD
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let body = match has_body {
            true => {
                let times = (limits, clock.clone());
                receive(recv, upload, length, request.version, timer, times, lease).await
            }
            false => {
                lease.succeeded();
                Body::Empty
            }
        };
        Ok(Answered { status, headers, body, tunnel: None, length })
    }
}

/// A request whose answer is awaited.
struct Wait<'a> {
    future: ResponseFuture,
    upload: Upload,
    timer: Deadline,
    /// Informational answers so far.
    interim: u32,
    request: &'a message::Request,
    limits: Limits,
    clock: &'a Clock,
}

type Head = (http::response::Parts, RecvStream);

impl Wait<'_> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        let mut progress = false;
        if !self.upload.is_done()
            && let Poll::Ready(Err(fault)) = self.upload.poll(cx, &mut progress)
        {
            return Poll::Ready(Err(Failure::Body(fault)));
        }
        if progress {
            self.timer.set(None);
        }
        loop {
            match self.future.poll_informational(cx) {
                Poll::Ready(Some(Ok(answer))) => self.pass_on(&answer)?,
                Poll::Ready(Some(Err(fault))) => return Poll::Ready(Err(failure_of(fault))),
                Poll::Ready(None) => break,
                Poll::Pending => return self.poll_late(cx),
            }
        }
        match Pin::new(&mut self.future).poll(cx) {
            Poll::Ready(Ok(answer)) if answer.status().as_u16() > LAST_STATUS => {
                Poll::Ready(Err(Failure::Status))
            }
            Poll::Ready(Ok(answer)) => Poll::Ready(Ok(answer.into_parts())),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(failure_of(fault))),
            Poll::Pending => self.poll_late(cx),
        }
    }

    /// Passes an informational answer on.
    fn pass_on(&mut self, answer: &Response<()>) -> Result<(), Failure> {
        self.interim += 1;
        match answer.status() {
            // has no meaning here, and to the client it would have one (RFC 9113 §8.6)
            StatusCode::SWITCHING_PROTOCOLS => return Err(Failure::UnaskedUpgrade),
            StatusCode::CONTINUE => {} // ours to send
            status => {
                if let (Some(sink), true) = (&self.request.interim, self.interim <= MAX_INTERIM) {
                    sink.send(status, &answer.headers().clone().into());
                }
            }
        }
        Ok(())
    }

    fn poll_late(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failure>> {
        if self.upload.starved {
            self.timer.set(None); // the wait is for the client, which has a deadline of its own
            return Poll::Pending;
        }
        if self.timer.is_unset() {
            self.timer.set(after(self.clock, self.limits.timeout));
        }
        match self.timer.poll_passed(cx) {
            true => Poll::Ready(Err(Failure::Timeout)),
            false => Poll::Pending,
        }
    }
}

/// The body of an answer: whole, if all of it has come with the head.
async fn receive(
    mut recv: RecvStream,
    mut upload: Upload,
    length: Option<u64>,
    version: Version,
    timer: Deadline,
    times: (Limits, Clock),
    lease: Lease,
) -> Body {
    if recv.is_end_stream() {
        lease.succeeded();
        lease.pool.keep_timer(timer);
        return Body::Empty;
    }
    let first = poll_fn(|cx| Poll::Ready(recv.poll_data(cx))).await;
    let first = match first {
        Poll::Ready(Some(Ok(piece))) => {
            let _ = recv.flow_control().release_capacity(piece.len());
            if recv.is_end_stream() {
                lease.succeeded();
                lease.pool.keep_timer(timer);
                return Body::from(piece);
            }
            Some(piece)
        }
        // an end, trailers or a fault: told again to whoever reads the body
        Poll::Ready(_) | Poll::Pending => None,
    };
    upload.forget_taken();
    let rest = match version {
        _ if upload.is_done() => Rest::None,
        // such a client may take nothing before it has sent all; one over HTTP/1 is read by whoever writes to it
        Version::HTTP_2 => Rest::spawn(upload),
        _ => {
            upload.starved = false;
            Rest::Beside(Box::new(upload))
        }
    };
    Body::Stream(Box::pin(Download::new(recv, first, length, rest, timer, times, lease)))
}

/// The length that a head declares. That it is one number, and true, was seen to where it was read.
fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What `Sec-WebSocket-Accept` has to be for a client's key (RFC 6455 §4.2.2).
pub(in crate::upstream) fn accept_of(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), WEB_SOCKET_GUID].concat();
    let hash = STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &text));
    HeaderValue::from_maybe_shared(Bytes::from(hash)).ok()
}

/// Whether the request cannot be told over HTTP/2 at all.
fn is_ours(fault: &h2::Error) -> bool {
    !fault.is_remote() && !fault.is_io() && !fault.is_library()
}

/// What a fault of the connection or of the stream says of a request whose answer has not begun.
pub(super) fn failure_of(fault: h2::Error) -> Failure {
    let reason = fault.reason();
    if fault.is_remote() && fault.is_go_away() {
        // only streams above the last one that the peer took hear of GOAWAY (RFC 9113 §6.8)
        return Failure::Unprocessed(fault);
    }
    match reason {
        Some(Reason::REFUSED_STREAM) if fault.is_remote() => Failure::Unprocessed(fault),
        Some(reason) if fault.is_remote() => Failure::Reset(reason),
        _ if fault.is_io() => Failure::Closed { partial: false },
        _ => Failure::Http2(fault),
    }
}

/// What is above is no status that HTTP knows.
const LAST_STATUS: u16 = 599;
/// RFC 6455 §1.3.
const WEB_SOCKET_GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
