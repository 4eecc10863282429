//! A gateway in this process, an upstream that sees everything, and a client that says anything: what the
//! tests of this folder are made of. Real sockets, all on port 0.

#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used)] // each test uses its part; time is real here

pub mod attack;
pub mod http2;
pub mod http2_upstream;
pub mod process;
pub mod provider;
pub mod tls;
pub mod tokens;
pub mod websocket;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use tollgate::clock::Clock;
use tollgate::config::{Settings, Sources, load};
use tollgate::server::{ReloadError, Running, Totals, start};

/// Longest that any single step of a test may take.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub const ISSUER: &str = "https://gateway.test";
pub const AUDIENCE: &str = "https://api.test";
pub const KEY: &str = "a key of forty-four random-looking bytes 9f3";
pub const CLIENT: &str = "foobarbaz";
/// The secret of the founding documents, special characters and all.
pub const SECRET: &str = "#!_7h3qu1ck8r0wnf0xjump50v3r7h3l42yd09=@42";

/// A gateway that serves in this process until it is dropped.
pub struct Gateway {
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    pub clock: Clock,
    running: Option<Running>,
}

impl Gateway {
    /// In front of `upstream`, with the configuration of [`toml`].
    pub fn before(upstream: SocketAddr) -> Self {
        Self::from_toml(&toml(&format!("http://{upstream}"), "", "", ""))
    }

    /// The same, with further keys in `[server]` and `[upstream]`.
    pub fn with(upstream: SocketAddr, server: &str, upstream_keys: &str) -> Self {
        Self::from_toml(&toml(&format!("http://{upstream}"), server, upstream_keys, ""))
    }

    /// By a whole file.
    pub fn from_toml(text: &str) -> Self {
        let clock = Clock::adjustable();
        let running = start(settings(text, &clock), clock.clone(), None).unwrap();
        let address =
            running.addresses().first().copied().unwrap_or_else(|| "127.0.0.1:0".parse().unwrap());
        Self { address, admin: running.admin_address(), clock, running: Some(running) }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends these bytes on a connection of their own and yields the first answer.
    pub fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// A fresh access token of [`CLIENT`].
    pub fn token(&self) -> String {
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", SECRET),
        ]);
        let answer = self.ask(post(
            "/auth/token",
            "Content-Type: application/x-www-form-urlencoded\r\n",
            body.as_bytes(),
        ));
        assert_eq!(answer.status, 200, "{answer:?}");
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    /// Goes on by another file.
    pub fn reload(&self, text: &str) -> Result<(), ReloadError> {
        self.running().reload(settings(text, &self.clock))
    }

    pub fn running(&self) -> &Running {
        self.running.as_ref().unwrap()
    }

    pub fn totals(&self) -> Totals {
        self.running().totals()
    }

    /// Drains, waits for the end, and yields the numbers.
    pub fn finish(mut self) -> Totals {
        let running = self.running.take().unwrap();
        running.drain();
        running.join()
    }
}

/// What a whole file says.
pub fn settings(text: &str, clock: &Clock) -> Settings {
    let file = scratch_file("gateway.toml", text);
    let sources = Sources { file: Some(file), clock: clock.clone(), ..Sources::default() };
    load(&sources).unwrap_or_else(|faults| panic!("{}", faults.render(false))).settings
}

/// A configuration in front of `url`, on a free port, with one client.
pub fn toml(url: &str, server: &str, upstream: &str, rest: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
workers = 2
{server}

[upstream]
url = "{url}"
{upstream}

[token]
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
key = "{KEY}"

[[clients]]
id = "{CLIENT}"
secret = "{SECRET}"
scopes = ["api:write"]
{rest}
"#
    )
}

/// A file of its own in a folder of its own, under the build's temporary folder.
pub fn scratch_file(name: &str, text: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!(
        "{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n\r\n").into_bytes()
}

/// `fields`: whole lines, each with its line end.
pub fn post(path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    with_body("POST", path, fields, body)
}

pub fn with_body(method: &str, path: &str, fields: &str, body: &[u8]) -> Vec<u8> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: api.test\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    request
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

pub fn form(pairs: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish()
}

/// A client connection that can say anything.
pub struct Client<S = TcpStream> {
    pub stream: S,
    read: Vec<u8>,
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body ended as its framing said.
    pub complete: bool,
}

impl Answer {
    /// The values of a field, joined; `None` where there is none.
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    pub fn close_sending(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }
}

impl<S: Read + Write> Client<S> {
    /// Over what is connected already, with time-outs of its own.
    pub fn of(stream: S) -> Self {
        Self { stream, read: Vec::new() }
    }

    /// Sends; a connection that the gateway has already closed is no fault of the test's.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// The next final answer (informational ones are skipped). Panics where none comes.
    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET").expect("the connection ended without an answer")
    }

    /// The next final answer to a request with this method; `None`: the connection ended before one began.
    pub fn answer_to(&mut self, method: &str) -> Option<Answer> {
        loop {
            let answer = self.any_answer(method)?;
            if answer.status >= 200 || answer.status == 101 {
                return Some(answer);
            }
        }
    }

    /// The next answer, informational or final.
    pub fn any_answer(&mut self, method: &str) -> Option<Answer> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if self.fill() == 0 {
                assert!(
                    self.read.is_empty(),
                    "part of a head: {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                return None;
            }
        };
        let head =
            String::from_utf8_lossy(&self.read.drain(..end).collect::<Vec<_>>()).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let fields: Vec<(String, String)> = lines
            .map(|line| {
                line.split_once(':')
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .unwrap()
            })
            .collect();
        let mut answer =
            Answer { status, head: head.clone(), fields, body: Vec::new(), complete: true };
        if method == "HEAD" || status < 200 || status == 204 || status == 304 {
            return Some(answer);
        }
        if answer.field("transfer-encoding").is_some() {
            answer.complete = self.read_chunks(&mut answer.body);
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.read.len() < length && self.fill() > 0 {}
            answer.complete = self.read.len() >= length;
            answer.body = self.read.drain(..length.min(self.read.len())).collect();
        } else {
            answer.complete = self.read_to_end();
            answer.body = std::mem::take(&mut self.read);
        }
        Some(answer)
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> bool {
        loop {
            let Some(line_end) = self.fill_until(b"\r\n") else { return false };
            let line = String::from_utf8_lossy(&self.read[..line_end]).into_owned();
            let size = usize::from_str_radix(line.trim(), 16)
                .unwrap_or_else(|_| panic!("bad chunk size {line:?}"));
            self.read.drain(..line_end + 2);
            if size == 0 {
                // trailers, until an empty line
                loop {
                    let Some(line_end) = self.fill_until(b"\r\n") else { return false };
                    self.read.drain(..line_end + 2);
                    if line_end == 0 {
                        return true;
                    }
                }
            }
            while self.read.len() < size + 2 {
                if self.fill() == 0 {
                    body.append(&mut self.read);
                    return false;
                }
            }
            body.extend(self.read.drain(..size));
            assert_eq!(self.read.drain(..2).collect::<Vec<_>>(), b"\r\n");
        }
    }

    fn fill_until(&mut self, mark: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = find(&self.read, mark) {
                return Some(at);
            }
            if self.fill() == 0 {
                return None;
            }
        }
    }

    /// Reads until the peer closes; whether it closed cleanly, not by a reset.
    pub fn read_to_end(&mut self) -> bool {
        let mut piece = [0; 65536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(length) => self.read.extend_from_slice(&piece[..length]),
                Err(fault) if fault.kind() == ErrorKind::Interrupted => {}
                Err(fault) => {
                    assert!(!is_timeout(&fault), "nothing came for {PATIENCE:?}");
                    return false;
                }
            }
        }
    }

    /// Reads the next head only.
    pub fn head(&mut self) -> Option<Answer> {
        self.any_answer("HEAD")
    }

    /// The next chunk of a chunked body; `None` at its end, or when it is cut.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line_end = self.fill_until(b"\r\n")?;
        let size = String::from_utf8_lossy(&self.read[..line_end]).into_owned();
        let size = usize::from_str_radix(&size, 16).unwrap();
        while self.read.len() < line_end + 2 + size + 2 {
            if self.fill() == 0 {
                return None;
            }
        }
        self.read.drain(..line_end + 2);
        let chunk = self.read.drain(..size).collect();
        self.read.drain(..2);
        (size > 0).then_some(chunk)
    }

    /// The next chunk; at the end, the trailers as text.
    pub fn chunk_or_trailers(&mut self) -> Result<Vec<u8>, String> {
        match self.fill_until(b"\r\n") {
            Some(1) if self.read.starts_with(b"0") => {
                self.fill_until(b"\r\n\r\n").expect("an end of the trailers");
                let end = find(&self.read, b"\r\n\r\n").unwrap();
                let block: Vec<_> = self.read.drain(..end + 4).collect();
                Err(String::from_utf8_lossy(&block[1..]).trim().to_owned())
            }
            _ => Ok(self.chunk().expect("a whole chunk")),
        }
    }

    /// Whether the gateway closes the connection, with nothing more to say.
    pub fn is_closed(&mut self) -> bool {
        self.read_to_end();
        self.read.is_empty()
    }

    /// What was read and not yet taken.
    pub fn left_over(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Reads once; zero at the end, or when the connection was reset.
    pub fn fill(&mut self) -> usize {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                length
            }
            Err(fault) => {
                assert!(
                    !is_timeout(&fault),
                    "nothing came for {PATIENCE:?}, only {:?}",
                    String::from_utf8_lossy(&self.read)
                );
                0
            }
        }
    }

    /// Reads until this has come.
    pub fn wait_for(&mut self, text: &str) {
        while find(&self.read, text.as_bytes()).is_none() {
            assert!(
                self.fill() > 0,
                "closed before {text:?}: {:?}",
                String::from_utf8_lossy(&self.read)
            );
        }
    }
}

fn is_timeout(fault: &std::io::Error) -> bool {
    matches!(fault.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

pub fn find(text: &[u8], mark: &[u8]) -> Option<usize> {
    text.windows(mark.len()).position(|window| window == mark)
}

/// One request as the upstream got it.
#[derive(Clone, Debug)]
pub struct Seen {
    pub connection: usize,
    pub line: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub complete: bool,
}

impl Seen {
    pub fn field(&self, name: &str) -> Option<String> {
        let values: Vec<_> = self
            .fields
            .iter()
            .filter(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect();
        if values.is_empty() { None } else { Some(values.join(", ")) }
    }
}

/// An upstream on a thread for each connection. It remembers what came.
pub struct Upstream {
    pub address: SocketAddr,
    seen: Arc<(Mutex<Vec<Seen>>, Condvar)>,
    connections: Arc<AtomicUsize>,
}

impl Upstream {
    /// Answers every request with 200 and `hello`.
    pub fn start() -> Self {
        Self::answering(|_| b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec())
    }

    /// Answers every request with what `answer` makes of it; an empty answer closes the connection. So does an
    /// answer that says `Connection: close`.
    pub fn answering(answer: impl Fn(&Seen) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::scripted(move |mut connection| {
            while let Some(seen) = connection.request() {
                let bytes = answer(&seen);
                let closes = bytes.is_empty() || find(&bytes, b"Connection: close").is_some();
                if connection.stream.write_all(&bytes).is_err() || closes {
                    return;
                }
            }
        })
    }

    /// Does with each connection whatever `script` does.
    pub fn scripted(script: impl Fn(Connection) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let connections = Arc::new(AtomicUsize::new(0));
        let (script, noted, counted) =
            (Arc::new(script), Arc::clone(&seen), Arc::clone(&connections));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                stream.set_nodelay(true).unwrap();
                let connection =
                    Connection { number, stream, read: Vec::new(), seen: Arc::clone(&noted) };
                let script = Arc::clone(&script);
                std::thread::spawn(move || script(connection));
            }
        });
        Self { address, seen, connections }
    }

    /// All requests so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.0.lock().unwrap().clone()
    }

    /// Waits until this many requests have come.
    pub fn wait_for(&self, count: usize) -> Vec<Seen> {
        let (seen, changed) = &*self.seen;
        let guard = seen.lock().unwrap();
        let (guard, outcome) =
            changed.wait_timeout_while(guard, PATIENCE, |seen| seen.len() < count).unwrap();
        assert!(!outcome.timed_out(), "only {} of {count} requests came", guard.len());
        guard.clone()
    }

    /// The only request so far.
    pub fn only(&self) -> Seen {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "{seen:?}");
        seen.remove(0)
    }

    /// How many connections were made.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// One connection of the gateway to the upstream.
pub struct Connection {
    /// Which, counted from 0.
    pub number: usize,
    pub stream: TcpStream,
    read: Vec<u8>,
    seen: Arc<(Mutex<Vec<Seen>>, Condvar)>,
}

impl Connection {
    /// Reads the next request, whole, and notes it; `None` when the connection ends first. A request whose body
    /// is cut is noted as incomplete.
    pub fn request(&mut self) -> Option<Seen> {
        let mut seen = self.head()?;
        seen.complete = self.body(&mut seen);
        self.note(seen.clone());
        seen.complete.then_some(seen)
    }

    pub fn note(&self, seen: Seen) {
        self.seen.0.lock().unwrap().push(seen);
        self.seen.1.notify_all();
    }

    /// Reads the next head only, and notes nothing.
    pub fn head(&mut self) -> Option<Seen> {
        let end = loop {
            if let Some(at) = find(&self.read, b"\r\n\r\n") {
                break at + 4;
            }
            if !self.fill() {
                return None;
            }
        };
        let head =
            String::from_utf8_lossy(&self.read.drain(..end).collect::<Vec<_>>()).into_owned();
        let mut lines = head.trim_end().split("\r\n");
        let line = lines.next().unwrap().to_owned();
        let fields = lines
            .map(|line| {
                line.split_once(':')
                    .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
                    .unwrap()
            })
            .collect();
        Some(Seen { connection: self.number, line, fields, body: Vec::new(), complete: true })
    }

    /// Reads the body behind a head; whether it came to its end.
    pub fn body(&mut self, seen: &mut Seen) -> bool {
        if seen.field("transfer-encoding").is_some() {
            loop {
                let Some(line_end) = self.fill_until(b"\r\n") else { return false };
                let size =
                    usize::from_str_radix(&String::from_utf8_lossy(&self.read[..line_end]), 16)
                        .unwrap();
                self.read.drain(..line_end + 2);
                if size == 0 {
                    loop {
                        let Some(line_end) = self.fill_until(b"\r\n") else { return false };
                        let line = String::from_utf8_lossy(&self.read[..line_end]).into_owned();
                        self.read.drain(..line_end + 2);
                        if line.is_empty() {
                            return true;
                        }
                        let (name, value) = line.split_once(':').unwrap();
                        seen.fields.push((format!("trailer {name}"), value.trim().to_owned()));
                    }
                }
                while self.read.len() < size + 2 {
                    if !self.fill() {
                        return false;
                    }
                }
                seen.body.extend(self.read.drain(..size));
                self.read.drain(..2);
            }
        }
        let length = seen.field("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            if !self.fill() {
                return false;
            }
        }
        seen.body = self.read.drain(..length).collect();
        true
    }

    fn fill_until(&mut self, mark: &[u8]) -> Option<usize> {
        loop {
            if let Some(at) = find(&self.read, mark) {
                return Some(at);
            }
            if !self.fill() {
                return None;
            }
        }
    }

    /// The next chunk of a chunked body; `None` at its end, or when it is cut.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let line_end = self.fill_until(b"\r\n")?;
        let size = String::from_utf8_lossy(&self.read[..line_end]).into_owned();
        let size = usize::from_str_radix(&size, 16).unwrap();
        while self.read.len() < line_end + 2 + size + 2 {
            if !self.fill() {
                return None;
            }
        }
        self.read.drain(..line_end + 2);
        let chunk = self.read.drain(..size).collect();
        self.read.drain(..2);
        (size > 0).then_some(chunk)
    }

    /// What was read and not yet taken.
    pub fn left_over(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.read)
    }

    /// Whether the peer closes within a second (and what a busy machine adds to that), or has; what comes before
    /// is thrown away.
    pub fn closes_soon(&mut self) -> bool {
        self.stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        let mut piece = [0; 65536];
        loop {
            match self.stream.read(&mut piece) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(fault) => return !is_timeout(&fault),
            }
        }
    }

    /// Reads once; false at the end.
    pub fn fill(&mut self) -> bool {
        let mut piece = [0; 65536];
        match self.stream.read(&mut piece) {
            Ok(0) | Err(_) => false,
            Ok(length) => {
                self.read.extend_from_slice(&piece[..length]);
                true
            }
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Closes with a reset, so that the peer cannot take it for an end.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
}

/// Waits until `condition` holds; panics with `what` where it does not come to hold.
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never: {what}");
        std::thread::sleep(Duration::from_millis(5)); // between two looks, not for luck
    }
}
