//! One HTTP/2 stream as a byte stream: what extended CONNECT opens (RFC 8441), on either side of the gateway.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both halves of a stream. Dropped before both have ended, the stream is reset.
#[derive(Debug)]
pub struct Http2Stream {
    send: SendStream<Bytes>,
    recv: RecvStream,
    /// What has come and was not yet read.
    piece: Bytes,
    /// The end was told.
    ended: bool,
    /// The stream must not end as if it were whole.
    reset: Cell<bool>,
    /// Whatever has to live as long as the stream.
    _keeper: Box<dyn std::any::Any>,
}

impl Http2Stream {
    /// A tunnel through these halves; `keeper` is dropped with it.
    pub fn new(send: SendStream<Bytes>, recv: RecvStream, keeper: impl std::any::Any) -> Self {
        let (piece, reset) = (Bytes::new(), Cell::new(false));
        Self { send, recv, piece, ended: false, reset, _keeper: Box::new(keeper) }
    }

    /// Makes the coming drop a reset, even if the end was told.
    pub(super) fn reset_on_close(&self) {
        self.reset.set(true);
    }
}

impl AsyncRead for Http2Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while this.piece.is_empty() {
            match ready!(this.recv.poll_data(cx)) {
                Some(Ok(piece)) => this.piece = piece,
                Some(Err(fault)) => return Poll::Ready(Err(broken(fault))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = this.piece.len().min(buffer.remaining());
        buffer.put_slice(this.piece.get(..length).unwrap_or_default());
        this.piece.advance(length);
        // the peer may send as much again; on a stream that is over it has no use for that
        let _ = this.recv.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Http2Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        this.send.reserve_capacity(bytes.len().min(LARGEST_WRITE));
        let room = match this.send.capacity() {
            0 => match ready!(this.send.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                Some(Err(fault)) => return Poll::Ready(Err(broken(fault))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let piece = bytes.get(..room.min(LARGEST_WRITE).min(bytes.len())).unwrap_or_default();
        this.send.send_data(Bytes::copy_from_slice(piece), false).map_err(broken)?;
        Poll::Ready(Ok(piece.len()))
    }

    /// Whoever drives the connection sends what is queued.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !std::mem::replace(&mut this.ended, true) {
            this.send.send_data(Bytes::new(), true).map_err(broken)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if self.reset.get() {
            self.send.send_reset(Reason::CANCEL);
        }
    }
}

fn broken(fault: h2::Error) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionReset, fault)
}

/// Most bytes that one write queues.
const LARGEST_WRITE: usize = 64 * 1024;
