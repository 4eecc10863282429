//! From accept to the first byte of HTTP: whose connection it is (the PROXY header), TLS, and which protocol comes next. All of it under
//! the one deadline that a connection has for its first head.

use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustls::server::{AcceptedAlert, Acceptor};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::proxy::{self, Told};
use super::worker::{Place, Worker};
use super::{connection, http2};
use crate::certificate::{Certificate, ClientCertificate};
use crate::gateway::Gateway;
use crate::http1::Deadline;
use crate::message::Peer;
use crate::net::{ServerTls, Stream};
use crate::observe::Counters;
use crate::tls::{Demand, H2, TlsServer};

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
    let counters = std::sync::Arc::clone(&worker.counters);
    let _counted = peer.https.then(|| counters.tls.enter());
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
    let gateway = worker.gateway();
    let tcp = match stream {
        Stream::Tcp(tcp) if gateway.tls().is_some() || gateway.server().proxy_protocol => tcp,
        stream => {
            let peer = Peer::new(address, gateway.server().trusts(address), false);
            return Some(Ready { stream, peer, protocol: Protocol::Http1 });
        }
    };
    let over_tls = gateway.tls().is_some();
    // boxed: what lasts for a moment is not in the size of what lasts for hours
    let mut arriving = Box::pin(arrive(tcp, address, gateway, worker));
    let mut deadline = Deadline::default();
    deadline.set(Some(first_head));
    poll_fn(|cx| {
        place.note(cx.waker());
        if let Poll::Ready(outcome) = arriving.as_mut().poll(cx) {
            return Poll::Ready(outcome.inspect_err(|fault| failed(address, fault)).ok());
        }
        if worker.draining.get() {
            deadline.bring_forward(worker.clock.monotonic() + connection::LAST_CALL);
        }
        let over = worker.ending.get() || deadline.poll_passed(cx);
        if over && over_tls {
            worker.counters.tls_failures.add_one();
        }
        if over { Poll::Ready(None) } else { Poll::Pending }
    })
    .await
}

/// The PROXY header and the handshake, where they are called for.
async fn arrive(
    mut tcp: TcpStream,
    mut address: Option<IpAddr>,
    gateway: Rc<Gateway>,
    worker: &Worker,
) -> io::Result<Ready> {
    let server = gateway.server();
    if server.proxy_protocol {
        if !server.trusts(address) {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, Untrusted));
        }
        if let Told::Client(client) = proxy::read(&mut tcp).await? {
            address = Some(client);
        }
    }
    // the client that a proxy spoke for is trusted as if it had come itself
    let mut peer = Peer::new(address, server.trusts(address), false);
    let Some(tls) = gateway.tls().cloned() else {
        return Ok(Ready { stream: Stream::Tcp(tcp), peer, protocol: Protocol::Http1 });
    };
    drop(gateway); // a slow handshake holds nothing but what it needs
    let attempt = Attempt(&worker.counters);
    let (stream, demand) = secure(tcp, &tls, worker).await?;
    attempt.succeeded();
    let session = stream.session();
    let is_h2 = session.alpn_protocol() == Some(H2);
    (peer.https, peer.demand) = (true, demand);
    if let Some(shown) = session.peer_certificates().and_then(<[_]>::first) {
        let certificate = Certificate::read(shown)
            .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
        // a resumed session was verified when it began
        if !certificate.is_valid_at(worker.clock.unix_seconds()) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, Expired));
        }
        peer.certificate = Some(Box::new(ClientCertificate::new(certificate)));
    }
    let protocol = if is_h2 { Protocol::Http2 } else { Protocol::Http1 };
    Ok(Ready { stream: Stream::TlsServer(Box::new(stream)), peer, protocol })
}

/// A handshake that is counted as failed unless it is said to have succeeded: one that is given up is dropped.
struct Attempt<'w>(&'w Counters);

impl Attempt<'_> {
    fn succeeded(self) {
        self.0.tls_handshakes.add_one();
        std::mem::forget(self);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.tls_failures.add_one();
    }
}

/// A PROXY header is to come, and would not be believed.
#[derive(Debug, thiserror::Error)]
#[error("the peer is none of server.trusted_proxies")]
struct Untrusted;

/// The certificate of a resumed session.
#[derive(Debug, thiserror::Error)]
#[error("the certificate of the client has expired")]
struct Expired;

/// Told to whoever looks for it: strangers cause it at will.
fn failed(address: Option<IpAddr>, fault: &io::Error) {
    tracing::debug!(client.ip = ?address, error = %fault, "no TLS with a client");
}

/// The handshake. What speaks HTTP in clear is told so; whatever else goes wrong ends the connection, after the alert
/// that TLS has for it.
async fn secure(
    mut io: TcpStream,
    tls: &TlsServer,
    worker: &Worker,
) -> io::Result<(ServerTls, Demand)> {
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
            Err((fault, alert)) => return Err(refuse_hello(io, fault, alert).await),
        }
    };
    drop(hello);
    let (config, demand) = tls.choose_for(&accepted.client_hello());
    // One at a time does the costly part, and one that would follow at once upon another stands behind whatever else is
    // ready: however many come at once, a request waits for one of them.
    let turn = worker.handshakes.acquire().await.map_err(io::Error::other)?;
    let last = worker.last_handshake.get();
    if last.is_some_and(|last| worker.clock.monotonic() < last + AT_ONCE) {
        yield_now().await;
    }
    let session = match accepted.into_connection(config) {
        Ok(session) => session,
        Err((fault, alert)) => return Err(refuse_hello(io, fault, alert).await),
    };
    let mut stream = ServerTls::new(io, session);
    let begun = poll_fn(|cx| Poll::Ready(stream.poll_handshake(cx))).await;
    worker.last_handshake.set(Some(worker.clock.monotonic()));
    drop(turn);
    match begun {
        Poll::Ready(outcome) => outcome?,
        Poll::Pending => poll_fn(|cx| stream.poll_handshake(cx)).await?,
    }
    Ok((stream, demand))
}

/// Sends the alert that TLS has for a first message that is none. Always an error.
async fn refuse_hello(
    mut io: TcpStream,
    fault: rustls::Error,
    mut alert: AcceptedAlert,
) -> io::Error {
    let mut bytes = Vec::new();
    let told = async {
        alert.write_all(&mut bytes)?;
        io.write_all(&bytes).await
    };
    told.await.err().unwrap_or_else(|| io::Error::new(io::ErrorKind::InvalidData, fault))
}

/// Tells a client that speaks HTTP in clear what it has come to. Always an error.
async fn refuse_clear(mut io: TcpStream) -> io::Error {
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

/// What comes so soon after something came with it.
const AT_ONCE: Duration = Duration::from_micros(50);
/// Room for a first message; one with a post-quantum key share has some 1.8 KiB.
const HELLO: usize = 4 * 1024;
/// Most pieces of a request in clear that are taken in.
const MAX_CLEAR_PIECES: usize = 16;
const CLEAR: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: 44\r\n\r\nThis port speaks TLS: use https:// for it.\r\n";
