//! Group D over HTTP/2: whoever floods is shown the door, and nobody else waits for that.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use support::http2::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, Http2, PING, PREFACE, PRIORITY,
    RST_STREAM, Raw, SETTINGS, WINDOW_UPDATE, block, frame, head, read, request, run,
};
use support::process::Process;
use support::{Client, Gateway, Upstream, eventually, get};

/// How much longer than another client's GET may take this machine is allowed to make it.
const SOON: Duration = Duration::from_secs(1);

/// Asks again and again on connections of their own, and keeps the longest time that an answer took.
struct Bystander {
    stop: Arc<AtomicBool>,
    worst: Arc<Mutex<Duration>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Bystander {
    fn beside(gateway: &Gateway) -> Self {
        let (stop, worst) = (Arc::new(AtomicBool::new(false)), Arc::<Mutex<Duration>>::default());
        let (address, stopped, kept) = (gateway.address, Arc::clone(&stop), Arc::clone(&worst));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::SeqCst) {
                let start = Instant::now();
                let mut client = Client::connect(address);
                client.send(get("/bystander"));
                assert_eq!(client.answer().status, 200);
                let mut worst = kept.lock().unwrap();
                *worst = start.elapsed().max(*worst);
            }
        });
        Self { stop, worst, thread: Some(thread) }
    }

    /// That no GET took long.
    fn was_served(mut self, what: &str) {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().unwrap();
        let worst = *self.worst.lock().unwrap();
        assert!(worst < SOON, "{what}: another client's GET took {worst:?}");
    }
}

/// Sends these bytes again and again, up to `count` times; whether the gateway ended the connection over it.
fn is_ended_by(gateway: &Gateway, first: &[u8], bytes: &[u8], count: usize) -> bool {
    use std::io::Write as _;
    let client = gateway.connect();
    let mut stream = client.stream;
    let mut reader = stream.try_clone().unwrap();
    let ended = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&ended);
    let reading = std::thread::spawn(move || {
        let mut piece = [0; 65536];
        loop {
            match reader.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        told.store(true, Ordering::SeqCst);
    });
    let start = [PREFACE, &frame(SETTINGS, 0, 0, &[]), first].concat();
    let mut failed = stream.write_all(&start).is_err();
    let many = bytes.repeat(50);
    for _ in 0..count / 50 {
        if failed || ended.load(Ordering::SeqCst) {
            failed = true;
            break;
        }
        failed = stream.write_all(&many).is_err();
    }
    let patience = Instant::now();
    while !failed && !ended.load(Ordering::SeqCst) && patience.elapsed() < Duration::from_secs(3) {
        std::thread::sleep(Duration::from_millis(5)); // until it is seen to close
    }
    let was_ended = failed || ended.load(Ordering::SeqCst);
    let _ = stream.shutdown(std::net::Shutdown::Both);
    reading.join().unwrap();
    was_ended
}

// D.153
#[test]
fn floods_of_frames_that_move_nothing_end_their_connection() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let post = block(&request("POST", "/auth/token", &[]));
    let open = frame(HEADERS, END_HEADERS, 1, &post);
    let begun = frame(HEADERS, 0, 1, &block(&request("GET", "/x", &[])));
    for (what, first, bytes) in [
        ("PING", vec![], frame(PING, 0, 0, b"12345678")),
        ("PING that answers nothing", vec![], frame(PING, 1, 0, b"12345678")),
        ("empty SETTINGS", vec![], frame(SETTINGS, 0, 0, &[])),
        ("SETTINGS", vec![], frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0])),
        ("PRIORITY", vec![], frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 16])),
        ("WINDOW_UPDATE of the connection", vec![], frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("WINDOW_UPDATE of a stream", open.clone(), frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("empty DATA", open.clone(), frame(DATA, 0, 1, &[])),
        ("padded DATA of nothing", open.clone(), frame(DATA, 8, 1, &[0])),
        ("CONTINUATION", begun.clone(), frame(CONTINUATION, 0, 1, &block(&[("x-a", "b")]))),
        ("empty CONTINUATION", begun, frame(CONTINUATION, 0, 1, &[])),
        ("unknown frames", vec![], frame(250, 0, 0, &[])),
        (
            "RST_STREAM of what is over",
            open.clone(),
            frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()),
        ),
        ("a closed stream's frames", open, frame(WINDOW_UPDATE, 0, 1, &[127, 255, 255, 255])),
    ] {
        let bystander = Bystander::beside(&gateway);
        assert!(is_ended_by(&gateway, &first, &bytes, 20_000), "{what}");
        bystander.was_served(what);
    }
    assert_eq!(gateway.totals().panics, 0);
}

#[test]
fn whoever_floods_is_told_to_calm_down() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let mut raw = Raw::connect(&gateway);
    let pings = frame(PING, 0, 0, b"12345678").repeat(100);
    let mut reader =
        Raw { client: Client::over(raw.client.stream.try_clone().unwrap()), goaway: None };
    let reading = std::thread::spawn(move || reader.end());
    for _ in 0..100 {
        raw.client.send(&pings);
    }
    assert!(matches!(reading.join().unwrap(), Some(11) | None)); // ENHANCE_YOUR_CALM, if it was not overtaken
}

// D.153: rapid reset, CVE-2023-44487
#[test]
fn rapid_reset_ends_the_connection_and_leaves_no_work_behind() {
    let open = Arc::new(AtomicUsize::new(0));
    let (counted, asked) = (Arc::clone(&open), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    let upstream = Upstream::scripted(move |mut connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        while let Some(seen) = connection.request() {
            if seen.line.contains("/bystander") {
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            count.fetch_add(1, Ordering::SeqCst);
            while connection.fill() {}
            break;
        }
        counted.fetch_sub(1, Ordering::SeqCst);
    });
    let gateway = Gateway::before(upstream.address);
    for at_once in [1, 10] {
        let bystander = Bystander::beside(&gateway);
        let mut raw = Raw::connect(&gateway);
        raw.client.stream.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
        let block = block(&request("GET", "/slow", &[]));
        let mut sent = 0;
        let mut reader =
            Raw { client: Client::over(raw.client.stream.try_clone().unwrap()), goaway: None };
        let reading = std::thread::spawn(move || reader.end());
        while sent < 2_000 && !reading.is_finished() {
            let mut pairs = Vec::new();
            for _ in 0..at_once {
                let stream = sent * 2 + 1;
                pairs.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
                pairs.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
                sent += 1;
            }
            raw.client.send(&pairs);
        }
        eventually("the connection ends", || reading.is_finished());
        bystander.was_served("rapid reset");
        reading.join().unwrap();
    }
    eventually("nothing of it runs upstream", || {
        asked.load(Ordering::SeqCst) == 0 || open.load(Ordering::SeqCst) <= 4
    });
    assert!(asked.load(Ordering::SeqCst) < 1_000, "{asked:?}");
    assert_eq!(gateway.totals().panics, 0);
}

// D.153: MadeYouReset, CVE-2025-8671
#[test]
fn made_you_reset_ends_the_connection_and_leaves_no_work_behind() {
    let open = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&open);
    let upstream = Upstream::scripted(move |mut connection| {
        counted.fetch_add(1, Ordering::SeqCst);
        while let Some(seen) = connection.request() {
            if seen.line.contains("/bystander") {
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                continue;
            }
            while connection.fill() {}
            break;
        }
        counted.fetch_sub(1, Ordering::SeqCst);
    });
    let gateway = Gateway::before(upstream.address);
    let block = block(&request("GET", "/slow", &[]));
    for (what, bad) in [
        ("a window that overflows", frame(WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255])),
        ("an increment of nothing", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 0])),
        ("a stream that depends on itself", frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1])),
        ("DATA behind the end", frame(DATA, 0, 0, b"x")),
        ("HEADERS behind the end", frame(HEADERS, END_HEADERS | END_STREAM, 0, &block)),
    ] {
        let bystander = Bystander::beside(&gateway);
        let mut raw = Raw::connect(&gateway);
        let mut reader =
            Raw { client: Client::over(raw.client.stream.try_clone().unwrap()), goaway: None };
        let reading = std::thread::spawn(move || reader.end());
        for number in 0..500_u32 {
            let stream = number * 2 + 1;
            let mut bad = bad.clone();
            bad[5..9].copy_from_slice(&stream.to_be_bytes());
            if bad[3] == PRIORITY {
                bad[9..13].copy_from_slice(&stream.to_be_bytes());
            }
            let head = frame(HEADERS, END_HEADERS | END_STREAM, stream, &block);
            raw.client.send([head, bad].concat());
            if reading.is_finished() {
                break;
            }
        }
        eventually(what, || reading.is_finished());
        bystander.was_served(what);
        reading.join().unwrap();
    }
    eventually("nothing of it runs upstream", || open.load(Ordering::SeqCst) <= 4);
}

// D.153: a long list, and one made long by references
#[test]
fn a_header_bomb_is_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let bystander = Bystander::beside(&gateway);
    let mut raw = Raw::connect(&gateway);
    let mut all = block(&request("GET", "/x", &[]));
    for number in 0..20_000 {
        all.extend(block(&[(&format!("x-{number}"), "0123456789012345678901234567890123456789")]));
    }
    let pieces: Vec<_> = all.chunks(16_000).collect();
    for (at, piece) in pieces.iter().enumerate() {
        let kind = if at == 0 { HEADERS } else { CONTINUATION };
        let flags = if at + 1 == pieces.len() { END_HEADERS } else { 0 };
        raw.send(kind, flags | if at == 0 { END_STREAM } else { 0 }, 1, piece);
    }
    assert!(raw.outcome(1).is_refusal());
    // 4 KiB in the table, named by one byte each
    let mut raw = Raw::connect(&gateway);
    let mut bomb = block(&request("GET", "/x", &[]));
    bomb.push(0x40);
    bomb.extend([3, b'x', b'-', b'a', 127]);
    bomb.extend([0x81, 0x1e]); // 127 + 3841 = 3968
    bomb.extend([b'v'; 3968]);
    bomb.extend([0x80 | 62; 12_000]);
    raw.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    assert!(raw.outcome(1).is_refusal());
    bystander.was_served("a header bomb");
    assert!(upstream.seen().iter().all(|seen| seen.line.starts_with("GET /bystander ")));
}

// D.154
#[test]
fn a_client_without_a_window_is_given_up_and_holds_little_meanwhile() {
    let body = vec![b'x'; 1 << 20];
    let answer =
        [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes(), body]
            .concat();
    let upstream = Upstream::scripted(move |mut connection| {
        while let Some(seen) = connection.request() {
            if seen.line.contains("/bystander") {
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            } else {
                connection.send(&answer);
            }
        }
    });
    let gateway = Process::start(&support::toml(
        &format!("http://{}", upstream.address),
        "idle_timeout = \"2s\"",
        "",
        "",
    ));
    let before = memory(&gateway);
    let mut raws = Vec::new();
    for window in [0_u32, 1, 1000] {
        let client = Client::connect(gateway.address);
        let mut raw = Raw { client, goaway: None };
        let settings = [&[0, 4][..], &window.to_be_bytes()].concat();
        raw.client.send([PREFACE, &frame(SETTINGS, 0, 0, &settings)].concat());
        for number in 0..100 {
            raw.headers(number * 2 + 1, END_STREAM, &request("GET", "/large", &[]));
        }
        raws.push(raw);
    }
    upstream.wait_for(300);
    std::thread::sleep(Duration::from_millis(500)); // what it would hold it holds by now
    let held = memory(&gateway).saturating_sub(before);
    assert!(held < 32 << 20, "three such clients held {held} bytes");
    for raw in &mut raws {
        let mut reset = 0;
        while reset < 100 {
            let frame = raw.frame().expect("each stream is reset");
            reset += usize::from(frame.kind == RST_STREAM);
            assert!(frame.kind != DATA || frame.flags & END_STREAM == 0);
        }
    }
}

// D.155
#[test]
fn a_hundred_bodies_that_never_end_hold_at_most_two_mebibytes() {
    let upstream = Upstream::scripted(move |mut connection| {
        let Some(seen) = connection.head() else { return };
        connection.note(seen);
        // reads nothing more, and does not close
        std::thread::sleep(support::PATIENCE);
    });
    let gateway = Process::start(&support::toml(
        &format!("http://{}", upstream.address),
        "",
        "",
        "[access]\nprotect = \"none\"",
    ));
    // once for what the first of everything costs
    let warm = fill_with_bodies(&gateway, &upstream, 0);
    let before = memory(&gateway);
    let clients: Vec<_> =
        (1..=4).map(|round| fill_with_bodies(&gateway, &upstream, round)).collect();
    let held = memory(&gateway).saturating_sub(before) / clients.len() as u64;
    println!("each such client holds {held} bytes");
    assert!(held < 2 << 20, "each such client holds {held} bytes");
    drop(warm);
}

/// What the program holds, bytes.
fn memory(gateway: &Process) -> u64 {
    gateway.memory("VmRSS") * 1024
}

/// A client with a hundred open bodies, each as full as the gateway lets it be.
fn fill_with_bodies(gateway: &Process, upstream: &Upstream, round: usize) -> Raw {
    let mut raw = Raw { client: Client::connect(gateway.address), goaway: None };
    raw.client.send([PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
    let (mut streams, mut connection) = (vec![65_535_i64; 100], 65_535_i64);
    for number in 0..100 {
        raw.headers(number * 2 + 1, 0, &request("POST", "/never", &[]));
    }
    upstream.wait_for((round + 1) * 100);
    raw.client.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // sends whatever the windows allow, until they open no more
    let piece = vec![b'x'; 4000];
    let mut head = [0; 9];
    loop {
        for (number, window) in streams.iter_mut().enumerate() {
            while *window >= 4000 && connection >= 4000 {
                raw.send(DATA, 0, u32::try_from(number).unwrap() * 2 + 1, &piece);
                *window -= 4000;
                connection -= 4000;
            }
        }
        if raw.client.stream.read_exact(&mut head).is_err() {
            return raw; // nothing more for a while
        }
        let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
        raw.client.stream.read_exact(&mut payload).unwrap();
        let stream = u32::from_be_bytes(head[5..9].try_into().unwrap());
        if head[3] == WINDOW_UPDATE {
            let more = i64::from(u32::from_be_bytes(payload[..4].try_into().unwrap()));
            match stream {
                0 => connection += more,
                stream => streams[usize::try_from(stream / 2).unwrap()] += more,
            }
        }
    }
}

// the other side of the same: who only looks busy
#[test]
fn a_client_that_acknowledges_every_piece_is_no_flood() {
    let upstream = Upstream::scripted(|mut connection| {
        while connection.request().is_some() {
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..5_000 {
                connection.send(b"5\r\nhello\r\n");
            }
            connection.send(b"0\r\n\r\n");
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut raw = Raw::connect(&gateway);
    raw.headers(1, END_STREAM, &request("GET", "/", &[]));
    let (mut bytes, mut frames) = (0, 0);
    loop {
        let Some(got) = raw.frame() else {
            panic!("ended after {frames} pieces: {:?}", raw.goaway)
        };
        if got.kind == DATA {
            bytes += got.payload.len();
            frames += 1;
            if got.flags & END_STREAM != 0 {
                break;
            }
            let more = u32::try_from(got.payload.len()).unwrap().to_be_bytes();
            raw.send(WINDOW_UPDATE, 0, 0, &more);
            raw.send(WINDOW_UPDATE, 0, 1, &more);
            raw.send(PING, 0, 0, b"how long");
        }
    }
    assert_eq!(bytes, 25_000);
}

#[test]
fn a_page_s_worth_of_requests_taken_back_is_no_flood() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.request() {
            if seen.line.contains("/slow") {
                while connection.fill() {}
                return;
            }
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::before(upstream.address);
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        let mut answers = Vec::new();
        for _ in 0..90 {
            answers.push(client.begin(head("GET", "/slow", &[]), true).await);
        }
        drop(answers);
        let (answer, _) = client.begin(head("GET", "/next", &[]), true).await;
        assert_eq!(read(answer).await.unwrap().status, 200);
    });
}
