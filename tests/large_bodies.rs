//! A gibibyte each way through the program, with flat memory and equal checksums.
//!
//! `LARGE_BODY_MIB` sets another size.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Instant;

use aws_lc_rs::digest::{Context, SHA256};
use support::process::Process;
use support::{Client, bearer, find, toml};

/// Peak memory of the program, KiB.
const MEMORY_LIMIT: u64 = 64 * 1024;

fn size() -> usize {
    let mebibytes = std::env::var("LARGE_BODY_MIB").ok();
    mebibytes.map_or(1024, |text| text.parse().unwrap()) << 20
}

/// Writes so many bytes, no two pieces alike, in chunks or bare; their digest.
fn produce(stream: &mut TcpStream, size: usize, chunked: bool) -> Vec<u8> {
    let mut digest = Context::new(&SHA256);
    let mut piece = vec![0_u8; 256 * 1024];
    aws_lc_rs::rand::fill(&mut piece).unwrap();
    for number in 0..size / piece.len() {
        piece[..8].copy_from_slice(&number.to_le_bytes());
        digest.update(&piece);
        if chunked {
            stream.write_all(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
        }
        stream.write_all(&piece).unwrap();
        if chunked {
            stream.write_all(b"\r\n").unwrap();
        }
    }
    if chunked {
        stream.write_all(b"0\r\n\r\n").unwrap();
    }
    digest.finish().as_ref().to_vec()
}

/// Bytes that have come, and more as they are asked for.
struct Incoming {
    stream: TcpStream,
    piece: Vec<u8>,
    at: usize,
    end: usize,
}

impl Incoming {
    fn new(stream: TcpStream, early: Vec<u8>) -> Self {
        let mut piece = early;
        let end = piece.len();
        piece.resize(end.max(256 * 1024), 0);
        Self { stream, piece, at: 0, end }
    }

    /// What is here, at least one byte, at most `most`.
    fn take(&mut self, most: usize) -> &[u8] {
        if self.at == self.end {
            self.at = 0;
            self.end = self.stream.read(&mut self.piece).unwrap();
            assert!(self.end > 0, "ended early");
        }
        let length = most.min(self.end - self.at);
        self.at += length;
        &self.piece[self.at - length..self.at]
    }

    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend_from_slice(self.take(1));
        }
        String::from_utf8(line).unwrap().trim_end().to_owned()
    }

    fn digest(&mut self, size: usize, digest: &mut Context) {
        let mut left = size;
        while left > 0 {
            let piece = self.take(left);
            digest.update(piece);
            left -= piece.len();
        }
    }

    /// The digest of a body, and its length.
    fn body(&mut self, length: Option<usize>) -> (usize, Vec<u8>) {
        let mut digest = Context::new(&SHA256);
        let mut total = 0;
        if let Some(length) = length {
            self.digest(length, &mut digest);
            total = length;
        } else {
            loop {
                let chunk = usize::from_str_radix(&self.line(), 16).unwrap();
                self.digest(chunk, &mut digest);
                total += chunk;
                assert_eq!(self.line(), "");
                if chunk == 0 {
                    break;
                }
            }
        }
        (total, digest.finish().as_ref().to_vec())
    }
}

/// Takes any upload and answers with its length and digest; answers a GET with a large body behind its digest.
fn upstream(size: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let mut digest = Vec::new();
                while serve(&mut stream, size, &mut digest).is_some() {}
            });
        }
    });
    address
}

/// One request; `last` is the digest of the body before it.
fn serve(stream: &mut TcpStream, size: usize, last: &mut Vec<u8>) -> Option<()> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(at) = find(&read, b"\r\n\r\n") {
            break at + 4;
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).unwrap() {
            0 => return None,
            length => read.extend_from_slice(&piece[..length]),
        }
    };
    let early = read.split_off(end);
    let head = String::from_utf8(read).unwrap().to_lowercase();
    if head.starts_with("get /digest") {
        answer(stream, size, last);
        return Some(());
    }
    if head.starts_with("get") {
        let chunked = head.contains("/chunked");
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {size}"),
        };
        stream.write_all(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n").as_bytes()).unwrap();
        // the client asks for it with a second request, which comes over this connection
        *last = produce(stream, size, chunked);
        return Some(());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let (total, digest) = Incoming::new(stream.try_clone().unwrap(), early).body(length);
    answer(stream, total, &digest);
    Some(())
}

fn answer(stream: &mut TcpStream, length: usize, digest: &[u8]) {
    let text = format!("{length} {digest:?}");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
    stream.write_all(head.as_bytes()).unwrap();
}

#[test]
fn a_gibibyte_goes_up_and_down_whole_in_flat_memory() {
    let size = size();
    let gateway = Process::start(&toml(&format!("http://{}", upstream(size)), "", "", ""));
    let token = gateway.token();
    for chunked in [false, true] {
        let started = Instant::now();
        let mut client = gateway.connect();
        let framing = match chunked {
            true => "Transfer-Encoding: chunked".to_owned(),
            false => format!("Content-Length: {size}"),
        };
        client.send(format!(
            "PUT / HTTP/1.1\r\nHost: api.test\r\n{}{framing}\r\n\r\n",
            bearer(&token)
        ));
        let digest = produce(&mut client.stream, size, chunked);
        assert_eq!(client.answer().text(), format!("{size} {digest:?}"));
        println!(
            "up, chunked {chunked}: {:?}, peak {} KiB",
            started.elapsed(),
            gateway.memory("VmHWM")
        );
    }
    for path in ["/length", "/chunked"] {
        let started = Instant::now();
        let mut client = Client::connect(gateway.address);
        client.send(support::get(path));
        let head = client.head().unwrap();
        let length = head.field("content-length").map(|length| length.parse().unwrap());
        let early = client.left_over();
        let (total, digest) = Incoming::new(client.stream.try_clone().unwrap(), early).body(length);
        client.send(support::get("/digest"));
        assert_eq!(client.answer().text(), format!("{total} {digest:?}"));
        assert_eq!(total, size);
        println!("down {path}: {:?}, peak {} KiB", started.elapsed(), gateway.memory("VmHWM"));
    }
    let peak = gateway.memory("VmHWM");
    assert!(peak < MEMORY_LIMIT, "the peak was {peak} KiB");
    assert_eq!(gateway.terminate().0, Some(0));
}
