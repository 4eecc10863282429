//! The connection beneath HTTP/2: gathers what is to be sent, so that many answers leave in one system call, and
//! watches what comes in.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::calm::{Calm, Watch};
use crate::clock::Clock;
use crate::net::Stream;

/// A socket, what waits to leave by it, and the state of its floods.
pub(super) struct Line {
    pub(super) stream: Stream,
    /// What was read before it was known to be HTTP/2.
    early: Bytes,
    output: Vec<u8>,
    sent: usize,
    watch: Watch,
    pub(super) calm: Calm,
    /// The client floods: nothing more is read of it.
    pub(super) is_flooded: bool,
    /// The client has closed its side.
    pub(super) at_end: bool,
    clock: Clock,
}

/// The line as the h2 crate sees it.
pub(super) struct Handle(pub(super) Rc<RefCell<Line>>);

impl Line {
    pub(super) fn new(stream: Stream, early: Bytes, clock: Clock) -> Self {
        let calm = Calm::new(clock.recent());
        let (output, watch) = (Vec::new(), Watch::new());
        let (is_flooded, at_end) = (false, false);
        Self { stream, early, output, sent: 0, watch, calm, is_flooded, at_end, clock }
    }

    /// Whether a header block has begun and its end has not come.
    pub(super) const fn is_in_block(&self) -> bool {
        self.watch.is_in_block()
    }

    /// Takes points of the client's; once there are none left, it is a flood.
    pub(super) fn spend(&mut self, cost: u32) {
        if cost > 0 && !self.calm.spend(cost, self.clock.recent()) {
            self.is_flooded = true;
        }
    }

    /// Hands what has gathered to the socket. `progress` counts what left.
    pub(super) fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        progress: &mut u64,
    ) -> Poll<io::Result<()>> {
        while self.sent < self.output.len() {
            let rest = self.output.get(self.sent..).unwrap_or_default();
            let length = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += length;
            *progress += length as u64;
        }
        self.sent = 0;
        self.output.clear();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Gives back what an idle connection does not need.
    pub(super) fn shrink(&mut self) {
        if self.output.is_empty() && self.output.capacity() > KEPT_OUTPUT {
            self.output = Vec::new();
        }
    }

    /// Reads and forgets. Ready at the end.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>, left: &mut usize) -> Poll<()> {
        let mut room = [0; 4096];
        loop {
            let mut piece = ReadBuf::new(&mut room);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut piece)) {
                Ok(()) if !piece.filled().is_empty() && piece.filled().len() < *left => {
                    *left -= piece.filled().len();
                }
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

impl AsyncRead for Handle {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        if line.is_flooded {
            return Poll::Pending; // whoever polls looks at the flag next
        }
        let before = buffer.filled().len();
        if line.early.is_empty() {
            ready!(Pin::new(&mut line.stream).poll_read(cx, buffer))?;
        } else {
            let length = line.early.len().min(buffer.remaining());
            buffer.put_slice(line.early.get(..length).unwrap_or_default());
            line.early.advance(length);
        }
        let new = buffer.filled().get(before..).unwrap_or_default();
        line.at_end = new.is_empty();
        let cost = line.watch.cost(new);
        line.spend(cost);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Handle {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let line = &mut *self.0.borrow_mut();
        if line.output.len() >= MAX_OUTPUT {
            ready!(line.poll_send(cx, &mut 0))?;
        }
        line.output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    /// The connection's task sends, once every stream that is ready has had its turn.
    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let line = &mut *self.0.borrow_mut();
        ready!(line.poll_send(cx, &mut 0))?;
        Pin::new(&mut line.stream).poll_shutdown(cx)
    }
}

/// Once so much waits, it is sent before more is taken; a frame more may come on top of it.
const MAX_OUTPUT: usize = 64 * 1024;
/// Room for output that an idle connection keeps.
const KEPT_OUTPUT: usize = 4 * 1024;
