//! What is told to hyper: bytes in pieces, and an end that can be held back.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use hyper::rt::{Read, ReadBufCursor, Write};

/// One end of a connection whose other end says what it has been given to say. Clones are the same connection.
#[derive(Clone, Debug)]
pub struct Script(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    pieces: VecDeque<Vec<u8>>,
    /// Says nothing before it has been written to: an upstream answers, it does not begin.
    answers: bool,
    written: usize,
    ended: bool,
    given_up: bool,
}

impl Script {
    pub fn new(pieces: impl IntoIterator<Item = Vec<u8>>, answers: bool) -> Self {
        let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        Self(Arc::new(Mutex::new(State {
            pieces,
            answers,
            written: 0,
            ended: false,
            given_up: false,
        })))
    }

    /// From now on there is an end behind the last piece.
    pub fn end(&self) {
        self.state().ended = true;
    }

    /// What nobody has read so far.
    pub fn left(&self) -> Vec<u8> {
        self.state().pieces.iter().flatten().copied().collect()
    }

    /// Whether the other side has closed its direction.
    pub fn is_given_up(&self) -> bool {
        self.state().given_up
    }

    pub fn written(&self) -> usize {
        self.state().written
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Read for Script {
    fn poll_read(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.state();
        if state.answers && state.written == 0 {
            return Poll::Pending; // whoever drives this polls again anyhow
        }
        let Some(mut piece) = state.pieces.pop_front() else {
            return if state.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        let rest = piece.split_off(piece.len().min(buffer.remaining()));
        buffer.put_slice(&piece);
        if !rest.is_empty() {
            state.pieces.push_front(rest);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.state().written += bytes.len();
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.state().given_up = true;
        Poll::Ready(Ok(()))
    }
}

/// `bytes` in pieces whose lengths follow from `seed`: 0 is all at once, 1 byte by byte, others anything.
pub fn cut(bytes: &[u8], seed: u8) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    let (mut rest, mut state) = (bytes, u32::from(seed));
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let length = match seed {
            0 => rest.len(),
            // a piece is a turn of the event loop: very many of them only take time
            _ if pieces.len() >= MAX_PIECES => rest.len(),
            1 => 1,
            _ => (state >> 16) as usize % (4 << (seed % 8)) + 1 + rest.len() / 16,
        };
        let (piece, after) = rest.split_at(length.min(rest.len()));
        pieces.push(piece.to_vec());
        rest = after;
    }
    pieces
}

/// Most pieces that something is cut into.
const MAX_PIECES: usize = 100;

/// Whether a line of `bytes` ends with LF alone.
pub fn has_bare_line_feed(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().any(|(at, byte)| {
        *byte == b'\n' && at.checked_sub(1).is_none_or(|before| bytes[before] != b'\r')
    })
}

/// Whether a line of `bytes` could be a chunk size in a form that only a forgiving reader takes: white space behind the
/// digits, more than fifteen of them, a control character in an extension.
pub fn has_loose_chunk_size(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let rest = &line[digits..];
        let is_control = |byte: &u8| *byte < 0x20 && *byte != b'\t' || *byte == 0x7F;
        digits > 15
            || digits > 0 && matches!(rest.first(), Some(b' ' | b'\t'))
            || digits > 0 && rest.first() == Some(&b';') && rest.iter().any(is_control)
    })
}
