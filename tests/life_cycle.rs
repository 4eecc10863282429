//! From the start of the program to its end: signals, limits of the system, and what the log says of it all.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::process::{Process, try_get};
use support::{
    CLIENT, Client, KEY, PATIENCE, SECRET, Upstream, bearer, eventually, get, post, toml,
};

/// A door that upstreams wait at until a test opens it.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn wait(&self) {
        let guard = self.0.0.lock().unwrap();
        drop(self.0.1.wait_timeout_while(guard, PATIENCE, |open| !*open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

/// Answers when the door is open.
fn behind(door: &Door) -> Upstream {
    let door = door.clone();
    Upstream::answering(move |_| {
        door.wait();
        HELLO.to_vec()
    })
}

fn file(upstream: &Upstream, server: &str, rest: &str) -> String {
    toml(&format!("http://{}", upstream.address), server, "", rest)
}

#[test]
fn sigterm_under_load_truncates_nothing_and_exits_with_0() {
    // long answers in pieces, so that the signal falls into the middle of many
    let upstream = Upstream::scripted(|mut connection| {
        while connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let piece = format!("{:x}\r\n{}\r\n", 20_000, "x".repeat(20_000));
            for _ in 0..10 {
                connection.send(&piece);
                std::thread::sleep(Duration::from_millis(1)); // what takes its time
            }
            connection.send("0\r\n\r\n");
        }
    });
    let gateway = Process::start(&file(&upstream, "", ""));
    let address = gateway.address;
    let (answered, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let load: Vec<_> = (0..16)
        .map(|number| {
            let (answered, stop) = (Arc::clone(&answered), Arc::clone(&stop));
            std::thread::spawn(move || {
                let mut unanswered = 0;
                while !stop.load(Ordering::SeqCst) {
                    let Ok(stream) = std::net::TcpStream::connect(address) else { break };
                    let mut client = Client::over(stream);
                    // half of them a request each connection, half of them many
                    for _ in 0..if number % 2 == 0 { 1 } else { 1000 } {
                        client.send(get("/"));
                        let Some(answer) = client.answer_to("GET") else {
                            unanswered += 1;
                            break;
                        };
                        assert!(answer.complete, "truncated after {} bytes", answer.body.len());
                        assert_eq!((answer.status, answer.body.len()), (200, 200_000));
                        answered.fetch_add(1, Ordering::SeqCst);
                        if answer.field("connection").as_deref() == Some("close") {
                            break;
                        }
                    }
                }
                unanswered
            })
        })
        .collect();
    eventually("the load has begun", || answered.load(Ordering::SeqCst) > 100);
    let started = Instant::now();
    let (code, log) = gateway.terminate();
    let took = started.elapsed();
    stop.store(true, Ordering::SeqCst);
    let unanswered: usize = load.into_iter().map(|thread| thread.join().unwrap()).sum();
    println!(
        "drained in {took:?}; {} answered, {unanswered} never begun",
        answered.load(Ordering::SeqCst)
    );
    assert_eq!(code, Some(0), "{log}");
    assert!(!log.contains("aborted\n"), "an answer was cut");
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn while_draining_readiness_is_off_and_connections_end_with_their_answers() {
    let door = Door::default();
    let upstream = behind(&door);
    let mut gateway = Process::start(&file(&upstream, "", "[admin]\nlisten = \"127.0.0.1:0\"\n"));
    let admin = gateway.admin();
    assert_eq!(try_get(admin, "/health/ready").unwrap().status, 200);
    assert_eq!(try_get(admin, "/health/live").unwrap().status, 200);
    let mut idle = gateway.connect();
    idle.send("GET /auth/token HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(idle.answer().status, 405);
    let mut client = gateway.connect();
    client.send(get("/"));
    upstream.wait_for(1);
    gateway.signal(Signal::TERM);
    eventually("readiness is off", || {
        try_get(admin, "/health/ready").is_some_and(|answer| answer.status == 503)
    });
    assert_eq!(try_get(admin, "/health/live").unwrap().status, 200);
    assert!(idle.is_closed(), "who has nothing in flight is sent away");
    eventually("nobody is taken any more", || {
        std::net::TcpStream::connect(gateway.address).is_err()
    });
    door.open();
    let answer = client.answer();
    assert_eq!((answer.text().as_str(), answer.complete), ("hello", true));
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert!(client.is_closed());
    let started = Instant::now();
    assert_eq!(gateway.end().0, Some(0));
    assert!(started.elapsed() < Duration::from_secs(10), "it ends with its last request");
}

#[test]
fn a_second_signal_ends_at_once() {
    for (first, second) in [(Signal::TERM, Signal::TERM), (Signal::INT, Signal::TERM)] {
        let door = Door::default();
        let upstream = behind(&door);
        let gateway = Process::start(&file(&upstream, "", ""));
        let mut client = gateway.connect();
        client.send(get("/"));
        upstream.wait_for(1);
        gateway.signal(first);
        gateway.wait_for_log("draining");
        let started = Instant::now();
        gateway.signal(second);
        let (code, log) = gateway.end();
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(code, Some(0));
        assert!(log.contains("second signal"), "{log}");
        assert!(client.answer_to("GET").is_none(), "nothing that could be taken for an answer");
        door.open();
    }
}

#[test]
fn the_drain_timeout_cuts_what_is_left() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        while connection.fill() {}
    });
    let gateway = Process::start(&file(&upstream, "drain_timeout = \"400ms\"", ""));
    let mut clients: Vec<_> = ["1.1", "1.0"]
        .into_iter()
        .map(|version| {
            let mut client = gateway.connect();
            client.send(format!("GET / HTTP/{version}\r\nHost: api.test\r\n\r\n"));
            client.wait_for("hello");
            client
        })
        .collect();
    let started = Instant::now();
    let (code, log) = gateway.terminate();
    assert!(started.elapsed() >= Duration::from_millis(390), "{:?}", started.elapsed());
    assert_eq!(code, Some(0));
    assert!(log.contains("drain_timeout is over"), "{log}");
    for client in &mut clients {
        assert!(!client.read_to_end(), "a reset, so that nobody takes it for the whole");
    }
}

#[test]
fn a_hang_up_changes_nothing() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, "", ""));
    gateway.signal(Signal::HUP);
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    assert_eq!(gateway.terminate().0, Some(0));
}

#[test]
fn a_port_in_use_is_told_in_a_sentence_and_exits_with_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let upstream = Upstream::start();
    let text = file(&upstream, "", "").replace("127.0.0.1:0", &address);
    let failed = Process::fail(&text);
    assert_eq!(failed.code, Some(3), "{}", failed.stderr);
    assert_eq!(failed.stderr.trim_end().lines().count(), 1, "{}", failed.stderr);
    assert!(failed.stderr.contains(&address), "{}", failed.stderr);
    assert!(failed.stderr.contains("in use by another program"), "{}", failed.stderr);
    // another gateway is another program, too
    let first = Process::start(&file(&upstream, "", ""));
    let text = file(&upstream, "", "").replace("127.0.0.1:0", &first.address.to_string());
    assert_eq!(Process::fail(&text).code, Some(3));
    assert_eq!(first.ask(get("/")).text(), "hello");
}

/// A free port below those that the system gives away itself.
fn fixed_address() -> SocketAddr {
    let from = 20_000 + u16::try_from(std::process::id() % 5_000).unwrap();
    (from..32_000)
        .map(|port| SocketAddr::from(([127, 0, 0, 1], port)))
        .find(|address| TcpListener::bind(address).is_ok())
        .unwrap()
}

#[test]
fn a_gateway_that_was_killed_is_back_at_once_on_the_same_port() {
    let upstream = Upstream::start();
    // not one that the system could give to somebody's connection in between
    let address = fixed_address();
    let text = file(&upstream, "", "").replace("127.0.0.1:0", &address.to_string());
    let first = Process::start(&text);
    assert_eq!(first.address, address);
    let mut clients: Vec<_> = (0..50).map(|_| first.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
        client.answer();
    }
    first.signal(Signal::KILL);
    assert_eq!(first.end().0, None);
    let started = Instant::now();
    let second = Process::start(&text);
    assert_eq!(second.ask(get("/")).text(), "hello");
    println!("listening {:?} after it was started", started.elapsed());
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[test]
fn without_file_descriptors_it_waits_and_goes_on_when_there_are_some_again() {
    let door = Door::default();
    let upstream = behind(&door);
    let gateway = Process::limited(&file(&upstream, "", ""), "-n 256");
    // each of them needs two descriptors
    let mut clients: Vec<_> = (0..240).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(get("/"));
    }
    let log = gateway.wait_for_log("upstream failed");
    assert!(log.contains("as many as it can have"), "{log}");
    let before = gateway.processor_time();
    std::thread::sleep(Duration::from_millis(500)); // what is looked at is how it waits
    let spent = gateway.processor_time() - before;
    assert!(spent < Duration::from_millis(250), "{spent:?} of work while nothing could be done");
    door.open();
    let (mut good, mut refused) = (0, 0);
    for client in &mut clients {
        match client.answer().status {
            200 => good += 1,
            503 => refused += 1,
            other => panic!("{other}"),
        }
        // it goes, so that the next one can come
        let _ = client.stream.shutdown(std::net::Shutdown::Both);
    }
    assert!(good > 50 && refused > 0, "{good} good, {refused} refused");
    for _ in 0..20 {
        assert_eq!(gateway.ask(get("/")).text(), "hello");
    }
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert!(!log.contains("panic: "), "{log}");
    println!("{good} good, {refused} refused for want of descriptors, {spent:?} spent waiting");
}

#[test]
fn connections_beyond_the_limit_wait_their_turn() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, "max_connections = 10", ""));
    let mut clients: Vec<_> = (0..40).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.answer().text(), "hello");
    }
}

#[test]
fn two_thousand_slow_clients_keep_nobody_else_waiting() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.head() {
            let mut seen = seen;
            if seen.line.contains("/large") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
                let piece = vec![b'x'; 1 << 20];
                while connection.stream.write_all(&piece).is_ok() {}
                return;
            }
            if !connection.body(&mut seen) {
                return;
            }
            connection.send(HELLO);
        }
    });
    // all of them end at once, which is more than the backlog of this upstream takes without some waiting
    let text = file(&upstream, "header_timeout = \"60s\"", "")
        .replace("[upstream]", "[upstream]\nconnect_timeout = \"20s\"");
    let gateway = Process::start(&text);
    let fields = bearer(&gateway.token());
    let head = format!("POST /slow HTTP/1.1\r\nHost: api.test\r\n{fields}Content-Length: 10\r\n");
    let mut slow = Vec::new();
    for number in 0..2_000 {
        let mut client = gateway.connect();
        match number % 20 {
            0 => client.send(format!("{head}\r\nhalf ")), // in its body, which an upstream waits for
            1 if number < 1_000 => client.send(get("/large")), // never reads its answer
            _ => client.send(&head[..number % head.len()]),
        }
        slow.push(client);
    }
    let mut times: Vec<_> = (0..200)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(gateway.ask(get("/")).text(), "hello");
            started.elapsed()
        })
        .collect();
    times.sort();
    let (median, last) = (times[times.len() / 2], times[times.len() - 1]);
    let memory = gateway.memory("VmRSS");
    println!(
        "beside 2,000 slow clients: median {median:?}, longest {last:?}, {memory} KiB resident"
    );
    assert!(median < Duration::from_millis(250) && last < Duration::from_secs(3), "{times:?}");
    assert!(memory < 256 * 1024, "{memory} KiB");
    // and the slow ones are served when they come to it
    for (number, client) in slow.iter_mut().enumerate() {
        match number % 20 {
            0 => client.send(" done"),
            1 if number < 1_000 => continue,
            _ => client.send(format!("{}\r\nall of it!", &head[number % head.len()..])),
        }
    }
    for (number, client) in slow.iter_mut().enumerate() {
        if number % 20 != 1 || number >= 1_000 {
            assert_eq!(client.answer().text(), "hello", "{number}");
        }
    }
    drop(slow);
    assert_eq!(gateway.terminate().0, Some(0));
}

/// What each request is, and what its line has to say.
fn talk(gateway: &Process) -> Vec<(&'static str, &'static str, u16, &'static str)> {
    let token = gateway.token();
    let mut expected = vec![("POST", "/auth/token", 200, "own")];
    let mut ask = |request: Vec<u8>, line: (&'static str, &'static str, u16, &'static str)| {
        assert_eq!(gateway.ask(request).status, line.2, "{line:?}");
        expected.push(line);
    };
    ask(get("/open?password=query-secret"), ("GET", "/open", 200, "open"));
    ask(
        post("/items?api_token=query-secret", &bearer(&token), b"x=1"),
        ("POST", "/items", 200, "allowed"),
    );
    ask(post("/items", "", b"x=1"), ("POST", "/items", 401, "refused"));
    ask(post("/items", &bearer("forged.token.here"), b"x=1"), ("POST", "/items", 401, "refused"));
    ask(
        post("/items", &format!("{}Cookie: session=cookie-secret\r\n", bearer(&token)), b""),
        ("POST", "/items", 200, "allowed"),
    );
    ask(get("/down"), ("GET", "/down", 502, "refused"));
    ask(b"GET /\x01 HTTP/1.1\r\n\r\n".to_vec(), ("-", "-", 400, "refused"));
    let wrong = support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", "a-wrong-secret"),
    ]);
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    ask(post("/auth/token", form, wrong.as_bytes()), ("POST", "/auth/token", 401, "own"));
    // and one whose client leaves in the middle of the answer
    let mut client = gateway.connect();
    client.send(get("/endless"));
    client.wait_for("hello");
    drop(client);
    expected.push(("GET", "/endless", 200, "open"));
    let log = gateway.wait_for_log("/endless");
    for secret in
        ["query-secret", "cookie-secret", "a-wrong-secret", SECRET, KEY, "forged.token", &token]
    {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
    for part in token.split('.') {
        assert!(!log.contains(part), "part of a token is in the log:\n{log}");
    }
    expected
}

fn talkative() -> Upstream {
    Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.request() {
            if seen.line.contains("/down") {
                return;
            }
            if seen.line.contains("/endless") {
                connection
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
                while connection.fill() {}
                return;
            }
            connection.send(HELLO);
        }
    })
}

#[test]
fn the_log_has_a_line_for_each_request_in_json() {
    let upstream = talkative();
    let gateway =
        Process::start(&file(&upstream, "workers = 1", "[log]\nformat = \"json\"\n").replacen(
            "workers = 2\n",
            "",
            1,
        ));
    let expected = talk(&gateway);
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    let lines: Vec<serde_json::Value> = log
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .filter(|line: &serde_json::Value| line["message"] == "request")
        .collect();
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, (method, path, status, decision)) in lines.iter().zip(expected) {
        let context = format!("{line}");
        assert_eq!(line["method"], method, "{context}");
        assert_eq!(line["path"], path, "{context}");
        assert_eq!(line["status"], status, "{context}");
        assert_eq!(line["decision"], decision, "{context}");
        assert_eq!(line["aborted"], path == "/endless", "{context}");
        assert_eq!(line["client.ip"], "127.0.0.1", "{context}");
        let protocol = if method == "-" { "-" } else { "HTTP/1.1" };
        assert_eq!(line["protocol"], protocol, "{context}");
        assert!(line["duration_us"].as_u64().is_some_and(|time| time < 60_000_000), "{context}");
        assert!(line["bytes"].as_u64().is_some(), "{context}");
        assert!(line["reason"].is_string() && line["route"].is_string(), "{context}");
        assert!(line["request_id"].as_str().is_some_and(|id| !id.is_empty()), "{context}");
        let forwarded = matches!(decision, "open" | "allowed");
        assert_eq!(line["upstream_us"].is_u64(), forwarded, "{context}");
        if decision == "allowed" {
            assert_eq!(line["client_id"], CLIENT, "{context}");
            assert_eq!(line["reason"], "valid_token", "{context}");
        }
        let stamp = line["timestamp"].as_str().unwrap();
        assert!(stamp.len() == 24 && stamp.ends_with('Z'), "{context}");
    }
}

#[test]
fn the_log_has_a_line_for_each_request_in_text() {
    let upstream = talkative();
    let gateway =
        Process::start(&file(&upstream, "workers = 1", "").replacen("workers = 2\n", "", 1));
    let expected = talk(&gateway);
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    let lines: Vec<_> = log.lines().filter(|line| line.contains(" duration_us=")).collect();
    assert_eq!(lines.len(), expected.len(), "{log}");
    for (line, (method, path, status, decision)) in lines.iter().zip(expected) {
        assert!(line.contains(&format!(" INFO {method} {path} {status} {decision} ")), "{line}");
        for field in ["reason=", "route=", "client.ip=127.0.0.1", "bytes=", "request_id="] {
            assert!(line.contains(field), "{field} in {line}");
        }
        let forwarded = matches!(decision, "open" | "allowed");
        assert_eq!(line.contains(" upstream_us="), forwarded, "{line}");
        assert_eq!(line.ends_with(" aborted"), path == "/endless", "{line}");
        let names_client = matches!(decision, "allowed" | "own");
        assert_eq!(line.contains(&format!("client_id=\"{CLIENT}\"")), names_client, "{line}");
    }
}

#[test]
fn a_client_cannot_write_log_lines_of_its_own() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, "", ""));
    gateway.ask(get("/a%0a2026-01-01T00:00:00.000Z%20%20INFO%20GET%20/forged%20200"));
    gateway.ask(b"GET /b HTTP/1.1\r\nHost: api.test\r\nX-Request-Id: x\tINFO forged\r\n\r\n");
    let (_, log) = gateway.terminate();
    assert!(
        !log.lines().any(|line| line.contains(" INFO GET /forged") || line.contains("INFO forged")),
        "{log}"
    );
}

#[test]
fn a_log_that_nobody_reads_holds_no_request_up() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, "", ""));
    gateway.pause_log(true);
    let mut client = gateway.connect();
    let started = Instant::now();
    // far more than a pipe takes
    for number in 0..4_000 {
        client.send(get(&format!("/{number}/{}", "long".repeat(30))));
        assert_eq!(client.answer().status, 200, "{number}");
    }
    println!("4,000 requests in {:?} with nobody reading the log", started.elapsed());
    drop(client);
    let started = Instant::now();
    gateway.signal(Signal::TERM);
    let mut gateway = gateway;
    eventually("it ends all the same", || gateway.has_ended());
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
}
