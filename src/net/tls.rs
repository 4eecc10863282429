//! TLS towards a client, over its socket. What is written gathers until it is flushed: what the handshake has left to
//! say, an answer, and the word that nothing more comes leave in one system call.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::{ProtocolVersion, ServerConnection};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connection of a client under TLS.
#[derive(Debug)]
pub struct ServerTls {
    pub(super) io: TcpStream,
    pub(super) session: ServerConnection,
    /// Bytes that the socket has taken: what TLS has taken says nothing of whether the peer still reads.
    pub(super) written: u64,
    /// What was read in one piece and is still to be deciphered. Holds nothing while the client is silent.
    ahead: Ahead,
    /// The end of what the client says was told.
    at_end: bool,
    /// The coming flush says that nothing more comes.
    is_last: bool,
}

/// Bytes of the socket that TLS has not taken yet.
#[derive(Debug, Default)]
struct Ahead {
    bytes: Vec<u8>,
    taken: usize,
    /// The client has more to say than TLS takes at once.
    is_busy: bool,
}

impl ServerTls {
    /// What the session has to say is said by [`ServerTls::poll_handshake`].
    #[must_use]
    pub fn new(io: TcpStream, session: ServerConnection) -> Self {
        let (ahead, at_end, is_last) = (Ahead::default(), false, false);
        Self { io, session, written: 0, ahead, at_end, is_last }
    }

    /// What was agreed on.
    #[must_use]
    pub const fn session(&self) -> &ServerConnection {
        &self.session
    }

    /// Ready once the client has proved itself. The tickets of TLS 1.3 wait for the first answer: nobody waits for them.
    ///
    /// # Errors
    /// Whatever the socket or the handshake says; the client was told.
    pub fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let is_over = !self.session.is_handshaking();
            if is_over && self.session.protocol_version() == Some(ProtocolVersion::TLSv1_3) {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_send(cx))?;
            if is_over {
                return Poll::Ready(Ok(()));
            }
            if ready!(self.poll_receive(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Has the coming flush say that nothing more comes (RFC 8446 §6.1). Call it only when everything was written.
    pub(super) const fn end_with_flush(&mut self) {
        self.is_last = true;
    }

    /// Whether that was said, and has left.
    pub(super) fn has_ended(&self) -> bool {
        self.is_last && !self.session.wants_write()
    }

    /// Reads once and deciphers what has come. Zero bytes: nothing more comes.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut source = Source { io: &mut self.io, ahead: &mut self.ahead, cx };
        let length = match self.session.read_tls(&mut source) {
            Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
            outcome => outcome?,
        };
        if let Err(fault) = self.session.process_new_packets() {
            let _ = self.poll_send(cx); // the alert that says so, if the socket takes it
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
        }
        Poll::Ready(Ok(length))
    }

    /// Sends all that has gathered.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.session.wants_write() {
            let mut sink = Sink { io: &mut self.io, cx };
            match self.session.write_tls(&mut sink) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(length) => self.written += length as u64,
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => return Poll::Pending,
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gathers what `write` gives the session, making room if there is none.
    fn poll_gather(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut dyn Write) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match write(&mut self.session.writer())? {
                0 if self.session.wants_write() => ready!(self.poll_send(cx))?,
                length => return Poll::Ready(Ok(length)),
            }
        }
    }
}

impl AsyncRead for ServerTls {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        while !this.at_end && buffer.remaining() > 0 {
            let mut reader = this.session.reader();
            match reader.fill_buf() {
                Ok([]) => this.at_end = true,
                Ok(piece) => {
                    let length = piece.len().min(buffer.remaining());
                    buffer.put_slice(piece.get(..length).unwrap_or_default());
                    reader.consume(length);
                }
                Err(_) if buffer.filled().len() > before => break, // first what there is
                Err(fault) if fault.kind() == io::ErrorKind::WouldBlock => {
                    ready!(this.poll_receive(cx))?;
                }
                Err(fault) => {
                    this.at_end = true;
                    return Poll::Ready(Err(fault));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ServerTls {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_gather(cx, |session| session.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_gather(cx, |session| session.write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.is_last {
            this.session.send_close_notify(); // once, however often it is called
        }
        this.poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.session.send_close_notify();
        ready!(this.poll_send(cx))?;
        match ready!(Pin::new(&mut this.io).poll_shutdown(cx)) {
            // the client was faster
            Err(fault) if fault.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            outcome => Poll::Ready(outcome),
        }
    }
}

/// The socket as TLS reads it: a little at a time, and from the socket in larger pieces where there is much.
struct Source<'a, 'b> {
    io: &'a mut TcpStream,
    ahead: &'a mut Ahead,
    cx: &'a mut Context<'b>,
}

impl Read for Source<'_, '_> {
    fn read(&mut self, room: &mut [u8]) -> io::Result<usize> {
        let ahead = &mut *self.ahead;
        if ahead.taken == ahead.bytes.len() {
            if !ahead.is_busy {
                let length = read_once(self.io, self.cx, &mut ReadBuf::new(room))?;
                ahead.is_busy = length == room.len();
                return Ok(length);
            }
            ahead.fill(self.io, self.cx)?;
        }
        let rest = ahead.bytes.get(ahead.taken..).unwrap_or_default();
        let length = rest.len().min(room.len());
        room[..length].copy_from_slice(&rest[..length]);
        ahead.taken += length;
        if ahead.taken == ahead.bytes.len() && !ahead.is_busy {
            *ahead = Ahead::default();
        }
        Ok(length)
    }
}

impl Ahead {
    /// Reads a large piece. One that is not filled is the last of its kind for now.
    fn fill(&mut self, io: &mut TcpStream, cx: &mut Context<'_>) -> io::Result<()> {
        self.bytes.resize(AHEAD, 0);
        let outcome = read_once(io, cx, &mut ReadBuf::new(&mut self.bytes));
        let length = *outcome.as_ref().unwrap_or(&0);
        self.bytes.truncate(length);
        (self.taken, self.is_busy) = (0, length == AHEAD);
        if length == 0 {
            *self = Self::default();
        }
        outcome.map(|_| ())
    }
}

fn read_once(
    io: &mut TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> io::Result<usize> {
    match Pin::new(io).poll_read(cx, buffer) {
        Poll::Ready(outcome) => outcome.map(|()| buffer.filled().len()),
        Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
    }
}

/// The socket as TLS writes to it.
struct Sink<'a, 'b> {
    io: &'a mut TcpStream,
    cx: &'a mut Context<'b>,
}

impl Sink<'_, '_> {
    fn now<T>(outcome: Poll<io::Result<T>>) -> io::Result<T> {
        match outcome {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl Write for Sink<'_, '_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::now(Pin::new(&mut *self.io).poll_write(self.cx, bytes))
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match slices {
            [one] => self.write(one), // the cheaper call
            several => Self::now(Pin::new(&mut *self.io).poll_write_vectored(self.cx, several)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Most bytes that are read from a busy client at once: two full records of TLS.
const AHEAD: usize = 32 * 1024;
