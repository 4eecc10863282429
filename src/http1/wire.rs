//! A socket with its two buffers, and the encoding of what is sent.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWrite};

use crate::net::Stream;

/// A socket and its buffers. Reading fills `input`; writing goes to `output` first and leaves with
/// [`Wire::poll_flush`], so that a head and the first piece of a body are one system call.
#[derive(Debug)]
pub struct Wire {
    /// The socket.
    pub stream: Stream,
    /// What was read and not yet used.
    pub input: BytesMut,
    /// Whether the peer has closed its side.
    pub at_end: bool,
    output: Vec<u8>,
    sent: usize,
    /// A large piece that is sent from where it lies, after `output`.
    tail: Bytes,
    /// What ends that piece.
    tail_end: &'static [u8],
    /// How much room the next read gets.
    room: usize,
    /// How much may be queued before it is sent.
    queue_room: usize,
    /// TLS has taken what the socket has not: it is not on its way yet.
    held_by_tls: bool,
    /// `input` lies in the room that others have parts of.
    is_shared: bool,
}

impl Wire {
    /// A fresh connection.
    #[must_use]
    pub fn new(stream: Stream) -> Self {
        Self {
            stream,
            input: BytesMut::new(),
            at_end: false,
            output: Vec::new(),
            sent: 0,
            tail: Bytes::new(),
            tail_end: b"",
            room: FIRST_READ,
            queue_room: MAX_QUEUED,
            held_by_tls: false,
            is_shared: false,
        }
    }

    /// From now on holds less before it is sent: for one of many that a single peer can have filled at once.
    pub fn narrow(&mut self) {
        self.queue_room = NARROW;
    }

    /// The opposite of [`Wire::narrow`].
    pub fn widen(&mut self) {
        self.queue_room = MAX_QUEUED;
    }

    /// Reads once. Zero bytes: the peer has closed its side.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.at_end {
            return Poll::Ready(Ok(0));
        }
        let (length, room) = match self.room {
            FIRST_READ => (ready!(self.poll_fill_little(cx))?, FIRST_READ),
            much => {
                if self.input.capacity() - self.input.len() < much / 2 {
                    self.input.reserve(much);
                    self.is_shared = false;
                }
                let room = self.input.capacity() - self.input.len();
                (ready!(pin!(self.stream.read_buf(&mut self.input)).poll(cx))?, room)
            }
        };
        if length >= room && self.room < LARGEST_READ {
            self.room *= 2; // a peer that has much to say is read in larger pieces
        }
        self.at_end = length == 0;
        Poll::Ready(Ok(length))
    }

    /// So much is to come, at the least: it is read in as few pieces as may be. Only for a peer that is believed; another
    /// could have room kept for what it never sends.
    pub fn expect(&mut self, length: u64) {
        let length = usize::try_from(length).unwrap_or(LARGEST_READ);
        if length > FIRST_READ {
            self.room = length.min(LARGEST_READ).next_power_of_two();
        }
    }

    /// Reads into the room that all connections of the thread share: a connection that waits holds none, and one that
    /// has got something holds it where it lies.
    fn poll_fill_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        ROOM.with_borrow_mut(|room| {
            if room.capacity() < FIRST_READ {
                *room = BytesMut::with_capacity(SHARED_ROOM);
            }
            let Poll::Ready(outcome) = pin!(self.stream.read_buf(room)).poll(cx) else {
                self.hold_alone();
                return Poll::Pending;
            };
            let length = outcome?;
            if self.input.is_empty() {
                (self.input, self.is_shared) = (room.split(), true);
            } else {
                self.input.extend_from_slice(&room.split());
                self.is_shared = false;
            }
            Poll::Ready(Ok(length))
        })
    }

    /// Keeps what was read so far in a place of its own: a peer that says no more for now must not hold up room that
    /// others have used, too.
    fn hold_alone(&mut self) {
        if std::mem::take(&mut self.is_shared) && !self.input.is_empty() {
            self.input = BytesMut::from(self.input.as_ref());
        }
    }

    /// Gives buffers back that have grown beyond what an ordinary message needs. For when nothing is going on.
    pub fn shrink(&mut self) {
        if self.input.is_empty() {
            self.input = BytesMut::new(); // even an empty piece holds on to the room that it was cut from
        }
        if self.output.is_empty() && self.output.capacity() > FIRST_READ * 2 {
            self.output = Vec::new();
        }
        self.room = FIRST_READ;
    }

    /// Whether everything queued has been handed to the socket.
    #[must_use]
    pub fn is_flushed(&self) -> bool {
        self.output.is_empty() && !self.has_tail() && !self.held_by_tls
    }

    /// Whether enough is queued that nothing should be added before it is sent.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.has_tail() || self.output.len() >= self.queue_room
    }

    fn has_tail(&self) -> bool {
        !self.tail.is_empty() || !self.tail_end.is_empty()
    }

    /// Where a head is encoded.
    pub fn queue(&mut self) -> &mut Vec<u8> {
        debug_assert!(!self.has_tail(), "a head is never queued behind a piece of body");
        &mut self.output
    }

    /// Queues a piece of a body. Call it only while [`Wire::is_full`] is false.
    pub fn queue_bytes(&mut self, piece: Bytes) {
        if piece.len() < self.copy_below() {
            self.output.extend_from_slice(&piece);
        } else {
            self.tail = piece;
        }
    }

    /// Pieces below this are copied behind what is queued, others are sent from where they lie.
    fn copy_below(&self) -> usize {
        COPY_BELOW.min(self.queue_room)
    }

    /// Sends all that is queued. Yields the number of bytes this call got rid of.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>, progress: &mut u64) -> Poll<io::Result<()>> {
        let Some(before) = self.stream.taken_under_tls() else {
            return self.poll_send(cx, progress);
        };
        let outcome = self.poll_send(cx, &mut 0);
        self.held_by_tls = outcome.is_pending();
        *progress += self.stream.taken_under_tls().unwrap_or(before) - before;
        outcome
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, progress: &mut u64) -> Poll<io::Result<()>> {
        while !self.output.is_empty() || self.has_tail() {
            let front = self.output.get(self.sent..).unwrap_or_default();
            let length = if self.has_tail() {
                let slices =
                    [IoSlice::new(front), IoSlice::new(&self.tail), IoSlice::new(self.tail_end)];
                ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, &slices))?
            } else {
                ready!(Pin::new(&mut self.stream).poll_write(cx, front))?
            };
            if length == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            *progress += length as u64;
            let of_front = length.min(front.len());
            self.sent += of_front;
            let of_tail = (length - of_front).min(self.tail.len());
            self.tail.advance(of_tail);
            self.tail_end = self.tail_end.get(length - of_front - of_tail..).unwrap_or_default();
            if self.sent == self.output.len() {
                self.output.clear();
                self.sent = 0;
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Tells the peer that nothing more will come.
    ///
    /// # Errors
    /// Whatever the socket says.
    pub fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

thread_local! {
    /// What is not used yet of the room that first reads go into.
    static ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// Writes one field line.
pub fn write_field(out: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) {
    write_line(out, name.as_str(), value.as_bytes());
}

/// Writes one field line.
pub fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Queues a piece of a chunked body (RFC 9112 §7.1).
pub fn queue_chunk(wire: &mut Wire, piece: Bytes) {
    if piece.is_empty() {
        return; // an empty chunk would end the body
    }
    let is_copied = piece.len() < wire.copy_below();
    let out = wire.queue();
    let mut digits = [0; 16];
    let (mut at, mut size) = (digits.len(), piece.len());
    while size > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[size & 15];
        size >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    if is_copied {
        out.extend_from_slice(&piece);
        out.extend_from_slice(b"\r\n");
    } else {
        wire.tail = piece;
        wire.tail_end = b"\r\n";
    }
}

/// Queues the end of a chunked body, and its trailers.
pub fn queue_last_chunk(out: &mut Vec<u8>, trailers: Option<&HeaderMap>) {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailers.into_iter().flatten() {
        write_field(out, name, value);
    }
    out.extend_from_slice(b"\r\n");
}

/// Room for the first read of a connection, bytes: a usual head and a small body.
const FIRST_READ: usize = 8 * 1024;
/// Room that first reads are cut from, bytes. A part of it that is still in use keeps all of it.
const SHARED_ROOM: usize = 2 * FIRST_READ;
/// Most room for one read, bytes. Larger gains little and costs memory for every slow peer.
const LARGEST_READ: usize = 64 * 1024;
/// A body is not polled while so many bytes wait to be sent.
const MAX_QUEUED: usize = 64 * 1024;
/// The same on a narrow wire.
const NARROW: usize = 2 * 1024;
/// Pieces below this are copied behind what is queued, others are sent from where they lie.
const COPY_BELOW: usize = 8 * 1024;
