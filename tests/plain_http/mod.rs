//! One HTTP/1.1 request over a fresh socket, written out and read as plainly as can be: what a test sends is what goes
//! over the wire.

#![allow(dead_code, reason = "each test file is a crate of its own and uses a part of this")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// What came back.
#[derive(Debug)]
pub(crate) struct Reply {
    /// The status code.
    pub(crate) status: u16,
    /// Names in lower case, in the order of the wire.
    pub(crate) headers: Vec<(String, String)>,
    /// The whole body, chunks joined.
    pub(crate) body: Vec<u8>,
}

impl Reply {
    /// The first value of `name`, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body of text")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|why| panic!("{why}: {}", self.text()))
    }
}

/// Sends `method path` with `Host`, `Content-Length` where there is a body, and `headers`; reads the whole answer.
pub(crate) fn send(
    to: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Reply {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {to}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    if !body.is_empty() {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    head += "\r\n";
    exchange(to, &[head.as_bytes(), body].concat(), method == "HEAD")
}

/// Sends these very bytes and reads one answer.
pub(crate) fn exchange(to: SocketAddr, bytes: &[u8], without_body: bool) -> Reply {
    let mut stream = TcpStream::connect(to).expect("a connection");
    stream.set_read_timeout(Some(LONGEST_WAIT)).expect("a time-out above zero");
    stream.set_write_timeout(Some(LONGEST_WAIT)).expect("a time-out above zero");
    // A server that has refused already may close before it has read everything.
    let _ = stream.write_all(bytes);
    let mut raw = Vec::new();
    if let Err(why) = stream.read_to_end(&mut raw) {
        assert!(!raw.is_empty(), "no answer: {why}");
    }
    parse(&raw, without_body)
}

fn parse(raw: &[u8], without_body: bool) -> Reply {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    let Ok(httparse::Status::Complete(length)) = response.parse(raw) else {
        panic!("not an answer: {:?}", String::from_utf8_lossy(raw));
    };
    let headers: Vec<(String, String)> = response
        .headers
        .iter()
        .map(|field| {
            let value = String::from_utf8_lossy(field.value).into_owned();
            (field.name.to_ascii_lowercase(), value)
        })
        .collect();
    let status = response.code.expect("a status");
    let mut reply = Reply { status, headers, body: raw[length..].to_vec() };
    if without_body {
        assert!(reply.body.is_empty(), "a body where none may be");
    } else if reply.header("transfer-encoding").is_some() {
        reply.body = joined(&reply.body);
    } else if let Some(length) = reply.header("content-length") {
        assert_eq!(length.parse(), Ok(reply.body.len()), "the whole body");
    }
    reply
}

fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let Ok(httparse::Status::Complete((start, length))) = httparse::parse_chunk_size(rest)
        else {
            panic!("a broken chunk");
        };
        let length = usize::try_from(length).expect("a chunk that fits");
        if length == 0 {
            return whole;
        }
        whole.extend_from_slice(&rest[start..start + length]);
        rest = &rest[start + length + 2..];
    }
}

const LONGEST_WAIT: Duration = Duration::from_secs(20);
