//! HTTP/2 for tests: a client that writes whatever frames it likes, and one that is well-behaved.

use std::io::Read;
use std::net::SocketAddr;

use bytes::Bytes;
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, StatusCode};

use super::{Client, Gateway};

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

pub const NO_ERROR: u32 = 0;
pub const PROTOCOL_ERROR: u32 = 1;
pub const INTERNAL_ERROR: u32 = 2;
pub const CANCEL: u32 = 8;
pub const ENHANCE_YOUR_CALM: u32 = 11;

/// One frame.
#[derive(Clone, Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// What became of one stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was answered to its end.
    Answered(u16, Vec<u8>),
    /// It was reset: whether an answer had begun, and the code.
    Reset(Option<u16>, u32),
    /// The connection ended before it did; with the code of GOAWAY, if there was one.
    Closed(Option<u32>),
}

impl Outcome {
    /// Refused without anything else having happened: 400, a reset, or the end of the connection.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Answered(status, _) => (400..500).contains(status) || *status == 501,
            Self::Reset(status, _) => status.is_none_or(|status| (400..500).contains(&status)),
            Self::Closed(_) => true,
        }
    }

    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Answered(status, _) => Some(*status),
            Self::Reset(status, _) => *status,
            Self::Closed(_) => None,
        }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header block without compression: literals that are not indexed.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name.as_bytes(), value.as_bytes()] {
            write_length(&mut block, text.len());
            block.extend_from_slice(text);
        }
    }
    block
}

fn write_length(out: &mut Vec<u8>, length: usize) {
    let Some(mut rest) = length.checked_sub(127) else {
        return out.push(u8::try_from(length).unwrap());
    };
    out.push(127);
    while rest >= 128 {
        out.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    out.push(u8::try_from(rest).unwrap());
}

/// The pseudo-fields of a request to the test's host, and more behind them.
pub fn request<'a>(
    method: &'a str,
    path: &'a str,
    fields: &[(&'a str, &'a str)],
) -> Vec<(&'a str, &'a str)> {
    let mut all =
        vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "api.test")];
    all.extend_from_slice(fields);
    all
}

/// A connection on which every frame is written by hand.
pub struct Raw {
    pub client: Client,
    /// Ends with the connection: the code of GOAWAY.
    pub goaway: Option<u32>,
}

impl Raw {
    /// Says the preface and the given settings.
    pub fn with_settings(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        let mut raw = Self { client: gateway.connect(), goaway: None };
        let mut payload = Vec::new();
        for (key, value) in settings {
            payload.extend_from_slice(&key.to_be_bytes());
            payload.extend_from_slice(&value.to_be_bytes());
        }
        raw.client.send([PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat());
        raw
    }

    pub fn connect(gateway: &Gateway) -> Self {
        Self::with_settings(gateway, &[])
    }

    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.client.send(frame(kind, flags, stream, payload));
    }

    pub fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.send(HEADERS, END_HEADERS | flags, stream, &block(fields));
    }

    /// The next frame; `None` at the end of the connection.
    pub fn frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.read(&mut head)?;
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)];
        self.read(&mut payload)?;
        let stream = u32::from_be_bytes([d & 127, e, f, g]);
        if kind == GOAWAY {
            self.goaway = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
        }
        Some(Frame { kind, flags, stream, payload })
    }

    fn read(&mut self, into: &mut [u8]) -> Option<()> {
        match self.client.stream.read_exact(into) {
            Ok(()) => Some(()),
            Err(fault) => {
                let is_timeout = matches!(
                    fault.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                );
                assert!(!is_timeout, "nothing came");
                None
            }
        }
    }

    /// Waits for the end of a stream.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        let (mut status, mut body) = (None, Vec::new());
        while let Some(frame) = self.frame() {
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS if status.is_none_or(|status| status < 200) => {
                    status = Some(status_of(&frame.payload));
                }
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => {
                    let code = u32::from_be_bytes(frame.payload[..4].try_into().unwrap());
                    return Outcome::Reset(status, code);
                }
                _ => {}
            }
            if matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Outcome::Answered(status.unwrap(), body);
            }
        }
        Outcome::Closed(self.goaway)
    }

    /// Reads to the end of the connection; the code of GOAWAY.
    pub fn end(&mut self) -> Option<u32> {
        while self.frame().is_some() {}
        self.goaway
    }
}

/// The status at the head of a block that was encoded with nothing before it.
fn status_of(block: &[u8]) -> u16 {
    match block {
        [0x88, ..] => 200,
        [0x89, ..] => 204,
        [0x8a, ..] => 206,
        [0x8b, ..] => 304,
        [0x8c, ..] => 400,
        [0x8d, ..] => 404,
        [0x8e, ..] => 500,
        [0x48..=0x4e, length, rest @ ..] if length & 128 != 0 => {
            digits(&rest[..usize::from(length & 127)])
        }
        [0x48..=0x4e, 3, rest @ ..] => std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap(),
        _ => 0, // by an index into what came before: some status
    }
}

/// Three digits in the code of RFC 7541 appendix B: five bits for 0 to 2, six for the others.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> =
        bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let value = |length: usize| {
            bits[at..at + length].iter().fold(0_u16, |value, bit| value << 1 | u16::from(*bit))
        };
        let (digit, length) = if value(5) < 3 { (value(5), 5) } else { (value(6) - 25 + 3, 6) };
        number = number * 10 + digit;
        at += length;
    }
    number
}

/// Runs something that waits.
pub fn run<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(super::PATIENCE, what).await.expect("it takes too long")
    })
}

/// A well-behaved client.
pub struct Http2 {
    pub send: SendRequest<Bytes>,
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    pub trailers: Option<HeaderMap>,
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        Self::with(address, &h2::client::Builder::new()).await
    }

    pub async fn with(address: SocketAddr, builder: &h2::client::Builder) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (send, connection) = builder.handshake(stream).await.unwrap();
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Self { send }
    }

    /// Sends a head.
    pub async fn begin(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> (ResponseFuture, SendStream<Bytes>) {
        std::future::poll_fn(|cx| self.send.poll_ready(cx)).await.unwrap();
        self.send.send_request(request, ends).unwrap()
    }

    /// Sends a request, and reads the answer whole.
    pub async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Result<Answer, h2::Error> {
        let (answer, mut send) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            send.send_data(Bytes::copy_from_slice(body), true)?;
        }
        read(answer).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(head("GET", path, &[]), b"").await.unwrap()
    }
}

pub fn head(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder().method(method).uri(format!("http://api.test{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// Reads an answer whole.
pub async fn read(answer: ResponseFuture) -> Result<Answer, h2::Error> {
    let (parts, mut recv) = answer.await?.into_parts();
    let mut body = Vec::new();
    while let Some(piece) = recv.data().await {
        let piece = piece?;
        let _ = recv.flow_control().release_capacity(piece.len());
        body.extend_from_slice(&piece);
    }
    let trailers = recv.trailers().await?;
    Ok(Answer { status: status(parts.status), headers: parts.headers, body, trailers })
}

fn status(status: StatusCode) -> u16 {
    status.as_u16()
}

/// The next piece of a body.
pub async fn piece(recv: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let piece = recv.data().await?;
    if let Ok(piece) = &piece {
        let _ = recv.flow_control().release_capacity(piece.len());
    }
    Some(piece)
}
