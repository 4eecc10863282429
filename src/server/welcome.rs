//! From accept to the first byte of HTTP: whose connection it is, TLS, and which protocol comes next. All of it under
//! the one deadline that a connection has for its first head.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;
use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::{StartHandshake, TlsStream};

use super::worker::{Place, Worker};
use super::{connection, http2};
use crate::http1::Deadline;
use crate::message::Peer;
use crate::net::{Counted, Stream};
use crate::tls::{H2, TlsServer};

/// What a client speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or HTTP/2 with prior knowledge.
    Http1,
    /// HTTP/2, agreed on by ALPN.
    Http2,
}

/// A connection that is ready for its first request.
struct Ready {
    stream: Stream,
    peer: Peer,
    protocol: Protocol,
}

/// Serves a connection from its accept to its end.
pub(super) async fn serve(
    stream: Stream,
    address: Option<SocketAddr>,
    worker: Rc<Worker>,
    place: Place,
) {
    let first_head = worker.clock.monotonic() + worker.limits().header_timeout;
    let Some(ready) = under_deadline(stream, address, &worker, &place, first_head).await else {
        return;
    };
    let Ready { stream, peer, protocol } = ready;
    let peer = Rc::new(peer);
    match protocol {
        Protocol::Http1 => connection::serve(stream, peer, first_head, worker, place).await,
        Protocol::Http2 => {
            // boxed: what few connections become is not in the size of all
            let http2 = http2::serve(stream, Bytes::new(), peer, worker, &place, first_head);
            Box::pin(http2).await;
        }
    }
}

/// As far as the first byte of HTTP, unless that takes too long or everything ends; once draining has begun it is the
/// last call.
async fn under_deadline(
    stream: Stream,
    address: Option<SocketAddr>,
    worker: &Rc<Worker>,
    place: &Place,
    first_head: Instant,
) -> Option<Ready> {
    let address = address.map(|address| address.ip().to_canonical());
    let (gateway, trusted) = (worker.gateway(), worker.limits().trusts(address));
    let (tcp, tls) = match (stream, gateway.tls()) {
        (Stream::Tcp(tcp), Some(tls)) => (tcp, tls),
        (stream, _) => {
            let peer = Peer::new(address, trusted, false);
            return Some(Ready { stream, peer, protocol: Protocol::Http1 });
        }
    };
    let mut secured = pin!(secure(tcp, Arc::clone(tls), worker));
    let mut deadline = Deadline::default();
    deadline.set(Some(first_head));
    let stream = poll_fn(|cx| {
        place.note(cx.waker());
        if let Poll::Ready(outcome) = secured.as_mut().poll(cx) {
            return Poll::Ready(outcome.inspect_err(|fault| failed(address, fault)).ok());
        }
        if worker.draining.get() {
            deadline.bring_forward(worker.clock.monotonic() + connection::LAST_CALL);
        }
        let over = worker.ending.get() || deadline.poll_passed(cx);
        if over { Poll::Ready(None) } else { Poll::Pending }
    })
    .await?;
    let is_h2 = stream.get_ref().1.alpn_protocol() == Some(H2);
    let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
    let peer = Peer::new(address, trusted, true);
    Some(Ready { stream: Stream::TlsServer(Box::new(stream)), peer, protocol })
}

/// Told to whoever looks for it: strangers cause it at will.
fn failed(address: Option<IpAddr>, fault: &io::Error) {
    tracing::debug!(client.ip = ?address, error = %fault, "no TLS with a client");
}

/// The handshake. What speaks HTTP in clear is told so; whatever else goes wrong ends the connection, after the alert
/// that TLS has for it.
async fn secure(
    tcp: TcpStream,
    tls: Arc<TlsServer>,
    worker: &Worker,
) -> io::Result<TlsStream<Counted<TcpStream>>> {
    let mut io = Counted::new(tcp);
    let mut acceptor = Acceptor::default();
    let mut hello = Vec::with_capacity(HELLO);
    let accepted = loop {
        hello.clear();
        if io.read_buf(&mut hello).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if hello.first().is_some_and(u8::is_ascii_uppercase) {
            return Err(refuse_clear(io).await);
        }
        let mut rest = hello.as_slice();
        while !rest.is_empty() && acceptor.read_tls(&mut rest)? > 0 {}
        match acceptor.accept() {
            Ok(Some(accepted)) => break accepted,
            Ok(None) => {}
            Err((fault, mut alert)) => {
                let mut bytes = Vec::new();
                alert.write_all(&mut bytes)?;
                io.write_all(&bytes).await?;
                return Err(io::Error::new(io::ErrorKind::InvalidData, fault));
            }
        }
    };
    let config = tls.choose(accepted.client_hello().server_name());
    let mut handshake = pin!(StartHandshake::from_parts(accepted, io).into_stream(config));
    // One at a time does the costly part, and those who wait for it stand behind whatever else is ready: however many
    // come at once, a request waits for one of them.
    let turn = worker.handshakes.acquire().await.map_err(io::Error::other)?;
    let done = poll_fn(|cx| Poll::Ready(handshake.as_mut().poll(cx))).await;
    drop(turn);
    match done {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => handshake.await,
    }
}

/// Tells a client that speaks HTTP in clear what it has come to. Always an error.
async fn refuse_clear(mut io: Counted<TcpStream>) -> io::Error {
    let told = async {
        io.write_all(CLEAR).await?;
        io.shutdown().await?;
        // what it still sends is taken in for a moment, so that the close does not take the answer back
        let mut piece = vec![0; HELLO];
        for _ in 0..MAX_CLEAR_PIECES {
            if io.read(&mut piece).await? == 0 {
                break;
            }
        }
        Ok::<_, io::Error>(())
    };
    told.await.err().unwrap_or_else(|| io::ErrorKind::InvalidData.into())
}

/// Room for a first message; one with a post-quantum key share has some 1.8 KiB.
const HELLO: usize = 4 * 1024;
/// Most pieces of a request in clear that are taken in.
const MAX_CLEAR_PIECES: usize = 16;
const CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 44\r\n\r\nThis port speaks TLS: use https:// for it.\r\n";
