//! An upstream that is killed and started again, over and over, under load: no POST reaches it twice, no answer that
//! was cut looks whole, and it is used again within two seconds. `TOLLGATE_TEST_SCALE` makes it longer.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::{Client, Gateway, PATIENCE, bearer, find, post, scratch_file, toml};

/// How much longer than usual the tests run.
fn scale() -> u32 {
    std::env::var("TOLLGATE_TEST_SCALE").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// What an answer to GET holds: long enough to be cut in its midst.
fn content() -> String {
    (0..2_000).map(|number| format!("line {number}\n")).collect()
}

/// Not a test of its own: the upstream, as a process that can be killed. It notes the id of every POST in a file before
/// it answers.
#[test]
fn the_upstream_process() {
    let Ok(address) = std::env::var("TOLLGATE_TEST_UPSTREAM") else { return };
    let noted = std::env::var("TOLLGATE_TEST_NOTED").unwrap();
    let socket = reusable();
    socket.bind(&address.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(1024).unwrap();
    println!("\nlistening");
    let listener = std::net::TcpListener::from(socket);
    for stream in listener.incoming().map_while(Result::ok) {
        let file = OpenOptions::new().append(true).create(true).open(&noted).unwrap();
        std::thread::spawn(move || serve(stream, file));
    }
}

fn serve(mut stream: TcpStream, mut noted: std::fs::File) {
    let (content, mut read) = (content(), Vec::new());
    let mut piece = [0; 4096];
    loop {
        let Some(end) = find(&read, b"\r\n\r\n") else {
            match stream.read(&mut piece) {
                Ok(0) | Err(_) => return,
                Ok(length) => read.extend_from_slice(&piece[..length]),
            }
            continue;
        };
        let head = String::from_utf8(read.drain(..end + 4).collect()).unwrap();
        if head.starts_with("POST ") {
            let id = head.split_once("/post/").unwrap().1.split(' ').next().unwrap();
            noted.write_all(format!("{id}\n").as_bytes()).unwrap(); // one call: whole lines
            let length: usize = field(&head, "content-length").parse().unwrap();
            while read.len() < length {
                match stream.read(&mut piece) {
                    Ok(0) | Err(_) => return,
                    Ok(length) => read.extend_from_slice(&piece[..length]),
                }
            }
            read.drain(..length);
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
            continue;
        }
        let begun = if head.starts_with("GET /length") {
            stream.write_all(
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", content.len()).as_bytes(),
            )
        } else {
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        };
        let mut over = begun.is_err();
        for part in content.as_bytes().chunks(4_000) {
            let sent = if head.starts_with("GET /length") {
                stream.write_all(part)
            } else {
                let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
                stream.write_all(&chunk)
            };
            over |= sent.is_err();
            std::thread::sleep(Duration::from_millis(3)); // so that some are in their midst when it dies
        }
        if !head.starts_with("GET /length") {
            over |= stream.write_all(b"0\r\n\r\n").is_err();
        }
        if over {
            return;
        }
    }
}

fn field<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name)).unwrap();
    line.split_once(':').unwrap().1.trim()
}

fn reusable() -> socket2::Socket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket
}

/// An upstream process at an address that stays its own while it is down.
struct Killable {
    address: SocketAddr,
    _reserved: socket2::Socket,
    noted: PathBuf,
    child: Mutex<Option<Child>>,
}

impl Killable {
    fn start(noted: &Path) -> Self {
        let reserved = reusable();
        reserved.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let child = Mutex::new(None);
        let killable = Self { address, _reserved: reserved, noted: noted.to_owned(), child };
        killable.begin();
        killable
    }

    /// Returns when it listens.
    fn begin(&self) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_upstream_process", "--nocapture"])
            .env("TOLLGATE_TEST_UPSTREAM", self.address.to_string())
            .env("TOLLGATE_TEST_NOTED", &self.noted)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line == "listening"));
        *self.child.lock().unwrap() = Some(child);
    }

    fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

impl Drop for Killable {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What the load saw.
#[derive(Default)]
struct Tally {
    whole: AtomicUsize,
    cut: AtomicUsize,
    /// When other answers came than 200, and what they were.
    failed: Mutex<Vec<(Instant, u16)>>,
    /// Ids of POSTs that were answered with 200.
    posted: Mutex<Vec<String>>,
}

/// One client: so many requests a second, each third a POST.
fn load(
    gateway: &Gateway,
    token: &str,
    number: usize,
    pause: Duration,
    stop: &AtomicBool,
    tally: &Tally,
) {
    let (content, mut client, mut next) = (content(), gateway.connect(), Instant::now());
    for count in 0.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        next += pause;
        std::thread::sleep(next.saturating_duration_since(Instant::now())); // the rate
        let id = format!("{number}-{count}");
        let is_post = count % 3 == 0;
        let request = match count % 3 {
            0 => post(&format!("/post/{id}"), &bearer(token), b"some content"),
            1 => support::get("/length"),
            _ => support::get("/chunked"),
        };
        client.send(request);
        let Some(answer) = client.answer_to("GET") else {
            tally.cut.fetch_add(1, Ordering::SeqCst);
            client = gateway.connect();
            continue;
        };
        match (answer.status, answer.complete, is_post) {
            (200, true, true) => tally.posted.lock().unwrap().push(id),
            (200, true, false) => {
                assert!(answer.text() == content, "an answer that was cut looks whole");
                tally.whole.fetch_add(1, Ordering::SeqCst);
            }
            (200, false, _) => _ = tally.cut.fetch_add(1, Ordering::SeqCst),
            (502..=504, true, _) => {
                tally.failed.lock().unwrap().push((Instant::now(), answer.status))
            }
            _ => panic!("{answer:?}"),
        }
        if !answer.complete || answer.field("connection").as_deref() == Some("close") {
            client = Client::connect(gateway.address);
        }
    }
}

/// Each id that was noted, and how often.
fn noted(file: &Path) -> HashMap<String, usize> {
    let mut noted = HashMap::new();
    for line in std::fs::read_to_string(file).unwrap().lines() {
        *noted.entry(line.to_owned()).or_default() += 1;
    }
    noted
}

/// Kills and starts `upstream` so often under load, and yields when it was down and how long it then took until it was
/// used again.
fn cycles(
    gateway: &Gateway,
    upstream: &Killable,
    is_alone: bool,
) -> (Tally, Vec<(Instant, Instant)>, Vec<Duration>) {
    let cycles = (6 * scale()).min(54);
    let rate = (300 * scale()).min(1_000);
    let (tally, stop, token) = (Tally::default(), AtomicBool::new(false), gateway.token());
    let pause = Duration::from_secs(1) * CLIENTS / rate;
    let (mut down, mut took) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        for number in 0..CLIENTS as usize {
            let (token, tally, stop) = (&token, &tally, &stop);
            scope.spawn(move || load(gateway, token, number, pause, stop, tally));
        }
        let _stop = Stop(&stop);
        for _ in 0..cycles {
            std::thread::sleep(Duration::from_millis(600)); // up
            let killed = Instant::now();
            upstream.kill();
            std::thread::sleep(Duration::from_millis(300)); // down
            upstream.begin();
            let listening = Instant::now();
            while is_alone && gateway.ask(support::get("/length")).status != 200 {
                assert!(listening.elapsed() < PATIENCE, "it is not used again");
                std::thread::sleep(Duration::from_millis(5)); // between two looks
            }
            took.push(listening.elapsed());
            down.push((killed, Instant::now()));
        }
        std::thread::sleep(Duration::from_millis(600)); // and up at the end
    });
    (tally, down, took)
}

/// Ends the load, whatever happens.
struct Stop<'s>(&'s AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// No POST was doubled, and none that was answered is missing.
fn no_post_is_doubled_or_lost(file: &Path, tally: &Tally) -> usize {
    let noted = noted(file);
    let doubled: Vec<_> = noted.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
    let posted = tally.posted.lock().unwrap();
    let lost: Vec<_> = posted.iter().filter(|id| !noted.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{lost:?}");
    posted.len()
}

#[test]
fn u179_an_upstream_killed_and_restarted_gets_no_post_twice_and_is_used_again_within_two_seconds() {
    let file = scratch_file("noted", "");
    let upstream = Killable::start(&file);
    let keys = "health = { path = \"/length\", interval = \"200ms\", unhealthy_after = 2 }";
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::from_toml(&toml(&url, "", keys, ""));
    let (tally, down, took) = cycles(&gateway, &upstream, true);
    let posts = no_post_is_doubled_or_lost(&file, &tally);
    let failed = tally.failed.lock().unwrap();
    for (at, status) in failed.iter() {
        let slack = Duration::from_millis(500);
        let in_time = down.iter().any(|(from, until)| at >= from && *at <= *until + slack);
        assert!(in_time, "{status} while the upstream was up");
    }
    let slowest = took.iter().max().unwrap();
    println!(
        "{} cycles: {} GETs whole, {posts} POSTs, {} answers cut, {} failed; used again after {slowest:?} at most",
        took.len(),
        tally.whole.load(Ordering::SeqCst),
        tally.cut.load(Ordering::SeqCst),
        failed.len()
    );
    assert!(*slowest < Duration::from_secs(2), "{took:?}");
    assert!(tally.whole.load(Ordering::SeqCst) > 100 && posts > 50);
    assert_eq!(gateway.finish().panics, 0);
}

#[test]
fn while_one_of_two_origins_is_killed_and_restarted_the_other_answers() {
    let file = scratch_file("noted", "");
    let (one, other) = (Killable::start(&file), Killable::start(&file));
    let text = toml(
        "http://replaced",
        "",
        "slow_return = \"100ms\"\nejection = { duration = \"100ms\" }",
        "",
    );
    let urls = format!("urls = [\"http://{}\", \"http://{}\"]", one.address, other.address);
    let gateway = Gateway::from_toml(&text.replace("url = \"http://replaced\"", &urls));
    let (tally, down, _) = cycles(&gateway, &one, false);
    let posts = no_post_is_doubled_or_lost(&file, &tally);
    let (failed, cut) = (tally.failed.lock().unwrap().len(), tally.cut.load(Ordering::SeqCst));
    let whole = tally.whole.load(Ordering::SeqCst);
    println!(
        "{} cycles: {whole} GETs whole, {posts} POSTs, {cut} answers cut, {failed} failed",
        down.len()
    );
    // only what was on its way when the origin died
    let most = CLIENTS as usize * down.len();
    assert!(failed + cut <= most / 2, "{failed} failed, {cut} cut");
    assert!(whole > 100 && posts > 50);
    assert_eq!(gateway.finish().panics, 0);
}

/// Clients at once.
const CLIENTS: u32 = 32;
