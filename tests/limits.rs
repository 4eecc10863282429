//! Group D: nobody gets more of the gateway than a share: not its time, not its memory, not its connections.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use support::attack::{Site, rest};
use support::{Client, Gateway, PATIENCE, Upstream, bearer, eventually, get, post, tokens};

const SHORT: &str = "header_timeout = \"1s\"\nidle_timeout = \"1s\"";
const LIMIT: Duration = Duration::from_secs(1);
/// What a timer may be early.
const TICK: Duration = Duration::from_millis(20);
/// What a loaded machine may add to a limit; far below the defaults.
const SLACK: Duration = Duration::from_secs(5);

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// Sends `piece` again and again with a pause in between, until the gateway closes. Yields what it said, and when.
fn drip(
    client: &mut Client,
    piece: impl Fn(usize) -> Vec<u8>,
    pause: Duration,
) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    let mut said = Vec::new();
    client.stream.set_read_timeout(Some(pause)).unwrap();
    for number in 0.. {
        assert!(start.elapsed() < PATIENCE, "never closed");
        let _ = client.stream.write_all(&piece(number));
        let mut bytes = [0; 4096];
        match client.stream.read(&mut bytes) {
            Ok(0) => break,
            Ok(length) => said.extend_from_slice(&bytes[..length]),
            Err(fault)
                if matches!(
                    fault.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ) => {}
            Err(_) => break,
        }
    }
    (said, start.elapsed())
}

// D.147
#[test]
fn a_silent_connection_is_closed_at_the_header_deadline() {
    let site = Site::with(SHORT);
    let address = site.gateway.address;
    std::thread::scope(|scope| {
        for start in ["", "G", "GET /x HTTP/1.1", "GET /x HTTP/1.1\r\nHost: api.test\r\nX:"] {
            scope.spawn(move || {
                let begun = Instant::now();
                let mut client = Client::connect(address);
                client.send(start);
                let statuses: Vec<_> =
                    rest(&mut client).iter().map(|answer| answer.status).collect();
                let took = begun.elapsed();
                assert!(took + TICK >= LIMIT && took < LIMIT + SLACK, "{start:?}: {took:?}");
                assert_eq!(
                    statuses,
                    if start.is_empty() { vec![] } else { vec![408] },
                    "{start:?}"
                );
            });
        }
    });
    assert!(site.look().is_empty());
    eventually("all are closed", || site.gateway.running().open_connections() == 0);
}

// D.147
#[test]
fn a_head_that_drips_in_is_cut_at_the_deadline_from_the_accept() {
    let site = Site::with(SHORT);
    let address = site.gateway.address;
    type Piece = fn(usize) -> Vec<u8>;
    let endless: [(&str, Piece); 4] = [
        ("a byte at a time", |number| {
            let head = b"GET /x HTTP/1.1\r\nHost: api.test\r\nX-Long: yyyy";
            vec![head[number.min(head.len() - 1)]]
        }),
        ("a line at a time", |number| match number {
            0 => b"GET /x HTTP/1.1\r\n".to_vec(),
            _ => format!("X-{number}: y\r\n").into(),
        }),
        ("empty lines", |_| b"\r\n".to_vec()),
        ("a long target", |number| if number == 0 { b"GET /".to_vec() } else { b"x".to_vec() }),
    ];
    std::thread::scope(|scope| {
        for (what, piece) in endless {
            // as the first request, and as a later one on a connection that was good
            for later in [false, true] {
                scope.spawn(move || {
                    let mut client = Client::connect(address);
                    if later {
                        client.send(get("/first"));
                        assert_eq!(client.answer().status, 200);
                    }
                    let (said, took) = drip(&mut client, piece, Duration::from_millis(40));
                    let said = String::from_utf8_lossy(&said);
                    assert!(said.is_empty() || said.starts_with("HTTP/1.1 408 "), "{what}: {said}");
                    assert!(took < LIMIT + SLACK, "{what}: {took:?}");
                });
            }
        }
    });
    assert!(site.look().iter().all(|seen| seen.line.starts_with("GET /first ")));
}

// D.147
#[test]
fn an_idle_connection_is_closed_without_a_word() {
    let site = Site::with("idle_timeout = \"1s\"");
    let mut client = site.gateway.connect();
    client.send(get("/x"));
    assert_eq!(client.answer().status, 200);
    let begun = Instant::now();
    assert!(client.is_closed());
    let took = begun.elapsed();
    assert!(took + TICK >= LIMIT && took < LIMIT + SLACK, "{took:?}");
    assert_eq!(site.look().len(), 1);
}

// D.148
#[test]
fn a_body_that_stalls_is_not_waited_for() {
    let site = Site::with(SHORT);
    let address = site.gateway.address;
    let token = bearer(&tokens::good(&site.gateway));
    let head =
        |line: &str, fields: &str| format!("{line} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n");
    let by_length = head("POST /write", &format!("{token}Content-Length: 10\r\n"));
    let chunked = head("POST /write", &format!("{token}Transfer-Encoding: chunked\r\n"));
    std::thread::scope(|scope| {
        for (what, request) in [
            ("to the upstream, by length", format!("{by_length}12345")),
            ("to the upstream, none of it", by_length.clone()),
            ("to the upstream, within a chunk", format!("{chunked}5\r\n123")),
            ("to the upstream, between chunks", format!("{chunked}1\r\nx\r\n")),
            ("of a read", head("GET /read", "Content-Length: 10\r\n") + "12345"),
            (
                "to the token endpoint",
                head("POST /auth/token", &format!("{FORM}Content-Length: 100\r\n")) + "grant_type=",
            ),
        ] {
            scope.spawn(move || {
                let begun = Instant::now();
                let mut client = Client::connect(address);
                client.send(request);
                let answers = rest(&mut client);
                let took = begun.elapsed();
                assert!(took + TICK >= LIMIT && took < LIMIT + SLACK, "{what}: {took:?}");
                assert_eq!(answers.len(), 1, "{what}: {answers:?}");
                assert_eq!(answers[0].status, 408, "{what}: {answers:?}");
            });
        }
    });
    assert!(site.look().iter().all(|seen| !seen.complete));
}

// D.148
#[test]
fn a_body_that_drips_into_the_token_endpoint_has_ten_seconds() {
    let site = Site::new();
    let mut client = site.gateway.connect();
    client.send(format!(
        "POST /auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}Content-Length: 8000\r\n\r\n"
    ));
    let (said, took) = drip(&mut client, |_| b"x".to_vec(), Duration::from_millis(200));
    assert!(
        String::from_utf8_lossy(&said).starts_with("HTTP/1.1 408 "),
        "{}",
        String::from_utf8_lossy(&said)
    );
    assert!(took > Duration::from_secs(9) && took < Duration::from_secs(10) + SLACK, "{took:?}");
    assert!(site.look().is_empty());
}

/// Answers `/large` with as many bytes as anybody takes, and counts them.
fn pouring() -> (Upstream, Arc<AtomicUsize>, Arc<AtomicBool>) {
    let (poured, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let (counted, told) = (Arc::clone(&poured), Arc::clone(&ended));
    let upstream = Upstream::scripted(move |mut connection| {
        while let Some(seen) = connection.request() {
            if !seen.line.contains("/large") {
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                continue;
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
            let piece = vec![b'x'; 64 * 1024];
            while connection.stream.write_all(&piece).is_ok() {
                if counted.fetch_add(piece.len(), Ordering::SeqCst) + piece.len() >= LARGE {
                    break;
                }
            }
            told.store(true, Ordering::SeqCst);
        }
    });
    (upstream, poured, ended)
}

/// More than all the socket buffers on the way take in.
const LARGE: usize = 256 * 1024 * 1024;

// D.149
#[test]
fn a_client_that_does_not_read_is_cut_and_the_upstream_paused_meanwhile() {
    let (upstream, poured, ended) = pouring();
    let gateway = Gateway::with(upstream.address, SHORT, "");
    let mut client = gateway.connect();
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(16 * 1024).unwrap();
    client.send(get("/large"));
    eventually("the upstream is told", || ended.load(Ordering::SeqCst));
    eventually("the connection is closed", || gateway.running().open_connections() == 0);
    let poured = poured.load(Ordering::SeqCst);
    assert!(
        poured < LARGE / 2,
        "{poured} bytes were taken from the upstream for a client that took none"
    );
    // what the client finds is no whole answer
    let answer = client.answer();
    assert!(!answer.complete);
    eventually("it is counted", || gateway.totals().aborted == 1);
    assert_eq!(gateway.ask(get("/after")).status, 200);
    assert_eq!(gateway.totals().panics, 0);
}

// D.149: slow is not silent
#[test]
fn a_client_that_reads_slowly_gets_the_whole_answer() {
    let body = "x".repeat(3 * 1024 * 1024);
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let upstream = Upstream::answering(move |_| answer.clone().into_bytes());
    let gateway = Gateway::with(upstream.address, SHORT, "timeout = \"1s\"");
    let mut client = gateway.connect();
    socket2::SockRef::from(&client.stream).set_recv_buffer_size(16 * 1024).unwrap();
    client.send(get("/large"));
    let (mut read, mut piece) = (0, vec![0; 64 * 1024]);
    let begun = Instant::now();
    // for longer than a silent client would have
    while begun.elapsed() < 2 * LIMIT {
        read += client.stream.read(&mut piece).unwrap();
        sleep(Duration::from_millis(20)); // this is what slow means
    }
    while read < body.len() {
        let length = client.stream.read(&mut piece).unwrap();
        assert!(length > 0, "cut after {read}");
        read += length;
    }
    assert_eq!((gateway.totals().panics, gateway.totals().aborted), (0, 0));
}

// D.149
#[test]
fn a_client_that_only_asks_and_never_reads_is_cut() {
    let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n{}", "x".repeat(60_000));
    let upstream = Upstream::answering(move |_| answer.clone().into_bytes());
    let gateway = Gateway::with(upstream.address, SHORT, "");
    let site = Site::of(upstream, gateway);
    let mut client = site.gateway.connect();
    let requests = get("/x").repeat(1_000);
    let begun = Instant::now();
    while client.stream.write_all(&requests).is_ok() {
        assert!(begun.elapsed() < PATIENCE, "never cut");
    }
    drop(client);
    eventually("it is closed", || site.gateway.running().open_connections() == 0);
    site.look();
}

// D.148, S.132
#[test]
fn a_client_that_goes_on_sending_after_its_refusal_is_cut() {
    let site = Site::new();
    let mut client = site.gateway.connect();
    client.send("POST /write HTTP/1.1\r\nHost: api.test\r\nContent-Length: 9000000000\r\n\r\n");
    assert_eq!(client.answer().status, 401);
    let (mut sent, piece) = (0, vec![b'x'; 64 * 1024]);
    while client.stream.write_all(&piece).is_ok() {
        sent += piece.len();
        assert!(sent < 64 * 1024 * 1024, "the gateway takes it all in");
    }
    assert!(site.look().is_empty());
}

// D.150
#[test]
fn half_open_requests_do_not_slow_a_read_down() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    let half_body =
        format!("POST /x HTTP/1.1\r\nHost: api.test\r\n{token}Content-Length: 10\r\n\r\n12");
    let token_body = format!(
        "POST /auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}Content-Length: 10\r\n\r\n12"
    );
    let starts =
        ["", "G", "GET /x HTTP/1.1\r\nHost: api.test\r\n", half_body.as_str(), token_body.as_str()];
    let clients: Vec<_> = (0..1_500)
        .map(|number| {
            let mut client = site.gateway.connect();
            // few with a body, since the upstream here has a thread for each
            client.send(starts[if number % 50 == 0 { 3 + number / 50 % 2 } else { number % 3 }]);
            client
        })
        .collect();
    eventually("all are open", || site.gateway.running().open_connections() >= 1_500);
    let fastest = (0..30).map(|_| {
        let begun = Instant::now();
        assert_eq!(site.gateway.ask(get("/read")).status, 200);
        begun.elapsed()
    });
    let fastest = fastest.min().unwrap();
    assert!(fastest < Duration::from_millis(100), "{fastest:?}");
    drop(clients);
    eventually("all are closed", || site.gateway.running().open_connections() == 0);
    assert!(site.look().iter().all(|seen| !seen.complete || seen.line.starts_with("GET /read ")));
}

// D.151
#[test]
fn five_thousand_idle_connections_are_held_and_still_good() {
    let site = Site::new();
    let mut clients: Vec<_> = (0..5_000)
        .map(|_| {
            let mut client = site.gateway.connect();
            client.send(get("/once"));
            assert_eq!(client.answer().status, 200);
            client
        })
        .collect();
    assert!(site.gateway.running().open_connections() >= 5_000);
    for client in clients.iter_mut().step_by(50) {
        client.send(get("/again"));
        assert_eq!(client.answer().status, 200);
    }
    drop(clients);
    eventually("all are closed", || site.gateway.running().open_connections() == 0);
    assert_eq!(site.look().len(), 5_100);
}

// D.151
#[test]
fn beyond_max_connections_new_ones_wait_for_a_place() {
    let site = Site::with("max_connections = 4");
    let mut held: Vec<_> = (0..4)
        .map(|_| {
            let mut client = site.gateway.connect();
            client.send(get("/held"));
            assert_eq!(client.answer().status, 200);
            client
        })
        .collect();
    let mut waiting: Vec<_> = (0..8)
        .map(|_| {
            let mut client = site.gateway.connect();
            client.send("GET /waiting HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
            client
        })
        .collect();
    // those that have a place are served, and nobody else has one
    for client in &mut held {
        client.send(get("/held"));
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(site.gateway.running().open_connections(), 4);
    assert!(site.upstream.seen().iter().all(|seen| seen.line.starts_with("GET /held ")));
    drop(held);
    for client in &mut waiting {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(site.look().len(), 16);
}

// checklist §1; interface §2
#[test]
fn a_body_over_max_body_size_is_refused_declared_or_not() {
    let site = Site::with("max_body_size = \"1KiB\"");
    let token = bearer(&tokens::good(&site.gateway));
    let body = |length: usize| "x".repeat(length);
    let chunked = |length: usize| {
        let head = format!(
            "POST /write HTTP/1.1\r\nHost: api.test\r\n{token}Transfer-Encoding: chunked\r\n\r\n"
        );
        format!("{head}{:x}\r\n{}\r\n0\r\n\r\n", length, body(length))
    };
    assert_eq!(
        site.talk(post("/write", &token, body(1024).as_bytes())).only("declared").body.len(),
        1024
    );
    assert_eq!(site.talk(chunked(1024)).only("chunked").body.len(), 1024);
    site.talk(post("/write", &token, body(1025).as_bytes())).assert_refused(413, "declared");
    let talk = site.talk(chunked(1025));
    assert_eq!(talk.statuses(), [413], "chunked");
    assert!(talk.seen.iter().all(|seen| !seen.complete), "{:?}", talk.seen);
    for piece in [1, 100] {
        let head = format!(
            "PUT /write HTTP/1.1\r\nHost: api.test\r\n{token}Transfer-Encoding: chunked\r\n\r\n"
        );
        let pieces = format!("{piece:x}\r\n{}\r\n", body(piece)).repeat(1_100 / piece);
        let talk = site.talk(format!("{head}{pieces}0\r\n\r\n"));
        assert_eq!(talk.statuses(), [413], "chunks of {piece}");
        assert!(talk.seen.iter().all(|seen| !seen.complete), "{:?}", talk.seen);
    }
    // without sending any of it, and without being asked for it
    let mut client = site.gateway.connect();
    client.send(format!("POST /write HTTP/1.1\r\nHost: api.test\r\n{token}Expect: 100-continue\r\nContent-Length: 9000000000\r\n\r\n"));
    assert_eq!(client.any_answer("POST").unwrap().status, 413);
    // nor is a read an exception
    let talk = site.talk(support::with_body("GET", "/read", "", body(2_000).as_bytes()));
    talk.assert_refused(413, "GET");
}

// H.118, A.96
#[test]
fn a_head_over_max_header_size_is_refused() {
    let site = Site::with("max_header_size = \"8KiB\"");
    let with = |length: usize| {
        let start = "GET /x HTTP/1.1\r\nHost: api.test\r\nX: ";
        format!("{start}{}\r\n\r\n", "y".repeat(length - start.len() - 4))
    };
    assert_eq!(site.talk(with(8192)).only("8 KiB").line, "GET /x HTTP/1.1");
    site.talk(with(8193)).assert_refused(431, "a byte more");
    site.talk(with(40_000)).assert_refused(431, "ten times as much");
    site.talk(get(&format!("/{}", "x".repeat(9_000)))).assert_refused(414, "a long target");
    site.talk(format!("GET /{}", "x".repeat(9_000)))
        .assert_refused(414, "a long target without an end");
    for (what, start) in [
        ("a target", "GET /"),
        ("a value", "GET / HTTP/1.1\r\nHost: api.test\r\nX: "),
        ("a name", "GET / HTTP/1.1\r\nX"),
    ] {
        let talk = site.talk(format!("{start}{}", "x".repeat(2_000_000)));
        talk.assert_nothing_came(what);
        assert!(
            talk.statuses().iter().all(|status| [414, 431].contains(status)),
            "{what}: {:?}",
            talk.statuses()
        );
    }
}
