//! Where a body ends: by length, by chunks, or with the connection (RFC 9112 §6 and §7).

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use super::head;

/// Reads one body off a buffer, piece by piece.
#[derive(Debug)]
pub struct Decoder {
    state: State,
    /// Bytes of chunk extensions seen so far.
    extensions: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Length(u64),
    /// Chunk size digits, how many so far.
    Size {
        size: u64,
        digits: u8,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data(u64),
    DataReturn,
    DataLineFeed,
    Trailers,
    UntilClose,
    Done,
}

/// What a step yielded.
#[derive(Debug)]
pub enum Decoded {
    /// More input is needed.
    NeedMore,
    /// A piece of the body.
    Data(Bytes),
    /// The trailers, not empty; the end comes next.
    Trailers(HeaderMap),
    /// The body is over.
    End,
}

/// The framing is broken; nothing after it can be trusted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the framing of the body is broken")]
pub struct FramingError;

impl Decoder {
    /// No body.
    #[must_use]
    pub const fn empty() -> Self {
        Self::length(0)
    }

    /// A body of so many bytes.
    #[must_use]
    pub const fn length(bytes: u64) -> Self {
        let state = if bytes == 0 { State::Done } else { State::Length(bytes) };
        Self { state, extensions: 0 }
    }

    /// A chunked body.
    #[must_use]
    pub const fn chunked() -> Self {
        Self { state: State::Size { size: 0, digits: 0 }, extensions: 0 }
    }

    /// A body that ends with the connection (answers only).
    #[must_use]
    pub const fn until_close() -> Self {
        Self { state: State::UntilClose, extensions: 0 }
    }

    /// Whether the end has been read.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the connection's end is the body's.
    #[must_use]
    pub fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// How many bytes are still to come, where that is known.
    #[must_use]
    pub const fn remaining(&self) -> Option<u64> {
        match self.state {
            State::Length(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Takes the next piece off `input`.
    ///
    /// # Errors
    /// [`FramingError`] for anything but exactly RFC 9112 §7.1: no white space around sizes, no bare CR or LF.
    pub fn decode(&mut self, input: &mut BytesMut) -> Result<Decoded, FramingError> {
        loop {
            match self.state {
                State::Done => return Ok(Decoded::End),
                State::UntilClose if input.is_empty() => return Ok(Decoded::NeedMore),
                State::UntilClose => return Ok(Decoded::Data(input.split().freeze())),
                State::Length(left) => {
                    let Some((piece, left)) = take(input, left) else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Ok(Decoded::Data(piece));
                }
                State::Data(left) => {
                    let Some((piece, left)) = take(input, left) else {
                        return Ok(Decoded::NeedMore);
                    };
                    self.state = if left == 0 { State::DataReturn } else { State::Data(left) };
                    return Ok(Decoded::Data(piece));
                }
                State::Extension { size } => {
                    let end = input.iter().position(|byte| is_control(*byte));
                    let length = end.unwrap_or(input.len());
                    self.extensions += length;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(FramingError);
                    }
                    let _ = input.split_to(length);
                    let Some(_) = end else { return Ok(Decoded::NeedMore) };
                    expect(input, b'\r')?;
                    self.state = State::SizeLineFeed { size };
                }
                State::Trailers => return self.trailers(input),
                State::Size { .. }
                | State::SizeLineFeed { .. }
                | State::DataReturn
                | State::DataLineFeed => {
                    let Some(byte) = input.first().copied() else { return Ok(Decoded::NeedMore) };
                    let _ = input.split_to(1);
                    self.state = self.step(byte)?;
                }
            }
        }
    }

    /// One byte between two pieces of data.
    fn step(&self, byte: u8) -> Result<State, FramingError> {
        match (self.state, byte) {
            (State::Size { size, digits }, digit) if digit.is_ascii_hexdigit() => {
                let value = char::from(digit).to_digit(16).map_or(0, u64::from);
                if digits >= MAX_SIZE_DIGITS {
                    return Err(FramingError);
                }
                Ok(State::Size { size: size << 4 | value, digits: digits + 1 })
            }
            (State::Size { size, digits: 1.. }, b'\r') => Ok(State::SizeLineFeed { size }),
            (State::Size { size, digits: 1.. }, b';') => Ok(State::Extension { size }),
            (State::SizeLineFeed { size: 0 }, b'\n') => Ok(State::Trailers),
            (State::SizeLineFeed { size }, b'\n') => Ok(State::Data(size)),
            (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size { size: 0, digits: 0 }),
            _ => Err(FramingError),
        }
    }

    fn trailers(&mut self, input: &mut BytesMut) -> Result<Decoded, FramingError> {
        match input.as_ref() {
            [] | [b'\r'] => return Ok(Decoded::NeedMore),
            [b'\r', b'\n', ..] => {
                let _ = input.split_to(2);
                self.state = State::Done;
                return Ok(Decoded::End);
            }
            _ => {}
        }
        let end = head::find_end(input, &mut 0).map_err(|_| FramingError)?;
        let Some(end) = end else {
            return if input.len() > MAX_TRAILERS {
                Err(FramingError)
            } else {
                Ok(Decoded::NeedMore)
            };
        };
        if end > MAX_TRAILERS {
            return Err(FramingError);
        }
        let block = input.split_to(end).freeze();
        let fields = head::parse_fields(&block).map_err(|_| FramingError)?;
        self.state = State::Done;
        Ok(Decoded::Trailers(fields.into()))
    }
}

/// Takes at most `left` bytes; what is then left comes second.
fn take(input: &mut BytesMut, left: u64) -> Option<(Bytes, u64)> {
    if input.is_empty() {
        return None;
    }
    let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
    Some((input.split_to(length).freeze(), left - length as u64))
}

fn expect(input: &mut BytesMut, wanted: u8) -> Result<(), FramingError> {
    let found = input.split_to(1);
    if found.first() == Some(&wanted) { Ok(()) } else { Err(FramingError) }
}

const fn is_control(byte: u8) -> bool {
    (byte < 0x20 && byte != b'\t') || byte == 0x7F
}

/// Hexadecimal digits of a chunk size: 60 bits, so that no reader overflows.
const MAX_SIZE_DIGITS: u8 = 15;
/// Bytes of chunk extensions in one body. They are dropped, and nobody is known to need them.
const MAX_EXTENSIONS: usize = 256 * 1024;
/// Bytes of a trailer section.
const MAX_TRAILERS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Decoded, Decoder, FramingError};

    /// Body, number of trailers, rest.
    type Whole = (Vec<u8>, usize, Vec<u8>);

    /// The whole body and what is left of the input; `None` while it is incomplete.
    fn decode(text: &[u8], step: usize) -> Result<Option<Whole>, FramingError> {
        let (mut decoder, mut input, mut body, mut trailers) =
            (Decoder::chunked(), BytesMut::new(), Vec::new(), 0);
        let mut rest = text.chunks(step);
        loop {
            match decoder.decode(&mut input)? {
                Decoded::Data(piece) => body.extend_from_slice(&piece),
                Decoded::Trailers(fields) => trailers = fields.len(),
                Decoded::End => {
                    let mut left = input.to_vec();
                    rest.for_each(|piece| left.extend_from_slice(piece));
                    return Ok(Some((body, trailers, left)));
                }
                Decoded::NeedMore => match rest.next() {
                    Some(piece) => input.extend_from_slice(piece),
                    None => return Ok(None),
                },
            }
        }
    }

    #[test]
    fn chunks_come_out_whole_however_they_arrive() {
        let text = b"3\r\nabc\r\nA;x=\"y z\";q\r\n0123456789\r\n0\r\nx-sum: 1\r\n\r\nGET";
        for step in 1..text.len() {
            let (body, trailers, left) = decode(text, step).unwrap().unwrap();
            assert_eq!(
                (body.as_slice(), trailers, left.as_slice()),
                (b"abc0123456789".as_slice(), 1, b"GET".as_slice())
            );
        }
    }

    #[test]
    fn broken_chunks_are_refused() {
        for bad in [
            "0x3\r\nabc\r\n0\r\n\r\n",
            "+3\r\nabc\r\n0\r\n\r\n",
            "-3\r\nabc\r\n",
            "0_3\r\nabc\r\n",
            " 3\r\nabc\r\n",
            "\r\nabc\r\n",
            "3 \r\nabc\r\n",
            "3 ;x\r\nabc\r\n",
            "10000000000000000\r\n",
            "FFFFFFFFFFFFFFFF\r\n",
            "g\r\n",
            "3\r\nabcd\r\n",
            "4\r\nabc\r\n0\r\n\r\n",
            "3\r\nabc0\r\n\r\n",
            "3\nabc\r\n",
            "3\rabc\r\n",
            "3\r\nabc\n0\r\n",
            "3\r\nabc\r0\r\n\r\n",
            "3;a\nb\r\nabc\r\n",
            "3;a\rb\r\nabc\r\n",
            "3;a\0b\r\nabc\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\nx: 1\n\r\n",
            "0\r\n x: 1\r\n\r\n",
            "0\r\n\n",
            "0\r\nx : 1\r\n\r\n",
        ] {
            for step in [1, 7, 1000] {
                let outcome = decode(bad.as_bytes(), step);
                assert_eq!(outcome, Err(FramingError), "{bad:?} by {step}");
            }
        }
    }

    #[test]
    fn a_cut_body_is_never_complete() {
        let text = b"3\r\nabc\r\n0\r\nx: y\r\n\r\n";
        for end in 0..text.len() {
            assert_eq!(decode(&text[..end], 4), Ok(None), "{end}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded() {
        let long = format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(64 * 1024));
        assert!(decode(long.as_bytes(), 4096).unwrap().is_some());
        let longer = format!("3;{}", "x".repeat(300 * 1024));
        assert_eq!(decode(longer.as_bytes(), 4096), Err(FramingError));
        let trailers = format!("0\r\n{}", "x: y\r\n".repeat(10_000));
        assert_eq!(decode(trailers.as_bytes(), 4096), Err(FramingError));
    }

    #[test]
    fn a_length_is_counted_to_the_byte() {
        let (mut decoder, mut input) = (Decoder::length(5), BytesMut::from(&b"abcdefg"[..]));
        assert!(matches!(decoder.decode(&mut input), Ok(Decoded::Data(piece)) if piece == "abcde"));
        assert!(matches!(decoder.decode(&mut input), Ok(Decoded::End)));
        assert_eq!(input.as_ref(), b"fg");
    }
}
