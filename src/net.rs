//! A byte stream to a peer, whatever carries it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

/// A connected socket, in clear or under TLS.
#[derive(Debug)]
pub enum Stream {
    /// TCP in clear.
    Tcp(TcpStream),
    /// A unix socket.
    Unix(UnixStream),
    /// TLS over TCP, we being the client.
    Tls(Box<TlsStream<TcpStream>>),
    /// TLS over a unix socket, we being the client.
    TlsUnix(Box<TlsStream<UnixStream>>),
}

macro_rules! on_each {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($io) => $call,
            Stream::Unix($io) => $call,
            Stream::Tls($io) => $call,
            Stream::TlsUnix($io) => $call,
        }
    };
}

impl Stream {
    /// The socket beneath, for options.
    fn socket(&self) -> SockRef<'_> {
        match self {
            Self::Tcp(io) => SockRef::from(io),
            Self::Unix(io) => SockRef::from(io),
            Self::Tls(io) => SockRef::from(io.get_ref().0),
            Self::TlsUnix(io) => SockRef::from(io.get_ref().0),
        }
    }

    /// Makes the coming close a reset: the peer cannot take what it has for the whole.
    pub fn reset_on_close(&self) {
        // A socket that refuses the option is already gone.
        let _ = self.socket().set_linger(Some(std::time::Duration::ZERO));
    }

    /// Whether the peer has closed, or has sent what nobody asked for. One system call.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit(); 1];
        match self.socket().peek(&mut byte) {
            Err(fault) => fault.kind() != io::ErrorKind::WouldBlock,
            Ok(_) => true,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        on_each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}
