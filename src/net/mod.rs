//! A byte stream to a peer, whatever carries it.

mod http2;
mod tls;

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream as ClientTls;

pub use http2::Http2Stream;
pub use tls::ServerTls;

/// A connected socket, in clear or under TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP, we being the client.
    Tls(Box<ClientTls<Counted<TcpStream>>>),
    /// TLS over a unix socket, we being the client.
    TlsUnix(Box<ClientTls<Counted<UnixStream>>>),
    /// TLS over TCP, we being the server.
    TlsServer(Box<ServerTls>),
    /// A stream of an HTTP/2 connection, opened by extended CONNECT.
    Http2(Box<Http2Stream>),
    /// None any more: it was handed on.
    Gone,
}

/// A socket beneath TLS, which counts what it takes: TLS buffers, so what it has accepted says nothing of whether the
/// peer still reads.
#[derive(Debug)]
pub struct Counted<S> {
    io: S,
    written: u64,
}

macro_rules! on_each {
    ($stream:expr, $io:ident => $call:expr, $gone:expr) => {
        match $stream {
            Stream::Tcp($io) => $call,
            Stream::Unix($io) => $call,
            Stream::Tls($io) => $call,
            Stream::TlsUnix($io) => $call,
            Stream::TlsServer($io) => $call,
            Stream::Http2($io) => $call,
            Stream::Gone => $gone,
        }
    };
}

impl Stream {
    /// The socket beneath, for options.
    fn socket(&self) -> Option<SockRef<'_>> {
        match self {
            Self::Tcp(io) => Some(SockRef::from(io)),
            Self::Unix(io) => Some(SockRef::from(io)),
            Self::Tls(io) => Some(SockRef::from(&io.get_ref().0.io)),
            Self::TlsUnix(io) => Some(SockRef::from(&io.get_ref().0.io)),
            Self::TlsServer(io) => Some(SockRef::from(&io.io)),
            Self::Http2(_) | Self::Gone => None,
        }
    }

    /// Whether the peer chose HTTP/2 in the handshake of TLS.
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        let chosen = match self {
            Self::Tls(io) => io.get_ref().1.alpn_protocol(),
            Self::TlsUnix(io) => io.get_ref().1.alpn_protocol(),
            Self::TlsServer(io) => io.session.alpn_protocol(),
            Self::Tcp(_) | Self::Unix(_) | Self::Http2(_) | Self::Gone => None,
        };
        chosen == Some(b"h2")
    }

    /// The certificate by which the peer proved itself, DER; none in clear.
    #[must_use]
    pub fn peer_certificate(&self) -> Option<&[u8]> {
        let certificates = match self {
            Self::Tls(io) => io.get_ref().1.peer_certificates(),
            Self::TlsUnix(io) => io.get_ref().1.peer_certificates(),
            Self::TlsServer(io) => io.session.peer_certificates(),
            Self::Tcp(_) | Self::Unix(_) | Self::Http2(_) | Self::Gone => None,
        };
        certificates?.first().map(AsRef::as_ref)
    }

    /// Makes the coming close a reset: the peer cannot take what it has for the whole.
    pub fn reset_on_close(&self) {
        if let Self::Http2(io) = self {
            io.reset_on_close();
        }
        if let Some(socket) = self.socket() {
            // a socket that refuses the option is already gone
            let _ = socket.set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Under TLS towards a client, has the coming flush also say that nothing more comes. Call it only when everything
    /// was written, and not more than flushed since.
    pub fn end_with_flush(&mut self) {
        match self {
            Self::TlsServer(io) => io.end_with_flush(),
            Self::Tcp(_)
            | Self::Unix(_)
            | Self::Tls(_)
            | Self::TlsUnix(_)
            | Self::Http2(_)
            | Self::Gone => {}
        }
    }

    /// Whether the peer knows that nothing more comes, or will know once the socket is closed.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        match self {
            Self::TlsServer(io) => io.has_ended(),
            // the end of the socket says so
            Self::Tcp(_) | Self::Unix(_) | Self::Gone => true,
            Self::Tls(_) | Self::TlsUnix(_) | Self::Http2(_) => false,
        }
    }

    /// Whether the peer has closed, or has sent what nobody asked for. One system call.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        match self.socket().map(|socket| socket.peek(&mut byte)) {
            Some(Err(fault)) => fault.kind() != io::ErrorKind::WouldBlock,
            Some(Ok(_)) | None => true,
        }
    }

    /// Under TLS, how many bytes the socket has taken so far; `None` in clear, where a write says so itself.
    #[must_use]
    pub fn taken_under_tls(&self) -> Option<u64> {
        match self {
            Self::Tls(io) => Some(io.get_ref().0.written),
            Self::TlsUnix(io) => Some(io.get_ref().0.written),
            Self::TlsServer(io) => Some(io.written),
            Self::Tcp(_) | Self::Unix(_) | Self::Http2(_) | Self::Gone => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buffer), Poll::Ready(Ok(())))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write(cx, bytes), Poll::Ready(Err(io::ErrorKind::NotConnected.into())))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, slices), Poll::Ready(Err(io::ErrorKind::NotConnected.into())))
    }

    fn is_write_vectored(&self) -> bool {
        on_each!(self, io => io.is_write_vectored(), false)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_flush(cx), Poll::Ready(Ok(())))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx), Poll::Ready(Ok(())))
    }
}

impl<S> Counted<S> {
    /// Nothing counted yet.
    pub const fn new(io: S) -> Self {
        Self { io, written: 0 }
    }

    fn count(&mut self, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(length)) = outcome {
            self.written += length as u64;
        }
        outcome
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write(cx, bytes);
        this.count(outcome)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let outcome = Pin::new(&mut this.io).poll_write_vectored(cx, slices);
        this.count(outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
