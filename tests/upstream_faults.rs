//! An upstream that fails in every way it can: each failure has its answer, and what was cut is never completed.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use support::{
    Answer, Connection, Gateway, PATIENCE, Seen, Upstream, bearer, eventually, get, post, toml,
    with_body,
};

/// An address where nobody listens.
fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A failure is told as a problem, and says to machines what it was (RFC 9209).
fn is_problem(answer: &Answer, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.field("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(answer.field("proxy-status"), Some(format!("tollgate; error={error}")));
    let problem = answer.json();
    assert_eq!(problem["status"], status);
    for member in ["type", "title", "detail", "request_id"] {
        assert!(
            problem[member].as_str().is_some_and(|text| !text.is_empty()),
            "{member}: {problem}"
        );
    }
}

fn note(connection: &Connection, line: impl Into<String>) {
    connection.note(Seen {
        connection: connection.number,
        line: line.into(),
        fields: Vec::new(),
        body: Vec::new(),
        complete: true,
    });
}

#[test]
fn nobody_there_is_502() {
    let gateway = Gateway::before(nobody());
    is_problem(&gateway.ask(get("/")), 502, "connection_refused");
    let answer = gateway.ask(post("/", &bearer(&gateway.token()), b"x"));
    is_problem(&answer, 502, "connection_refused");
    assert_eq!(gateway.finish().panics, 0);
}

#[test]
fn a_name_that_does_not_resolve_is_502() {
    let gateway = Gateway::from_toml(&toml(
        "http://nonexistent.invalid:9000",
        "",
        "connect_timeout = \"15s\"",
        "",
    ));
    let answer = gateway.ask(get("/"));
    match answer.status {
        502 => is_problem(&answer, 502, "dns_error"),
        // where there is no resolver at all, that is what shows
        _ => is_problem(&answer, 504, "connection_timeout"),
    }
}

#[test]
fn an_upstream_that_takes_no_connection_is_504_at_the_connect_timeout() {
    // a backlog that is full: the kernel drops every further SYN, as a black hole would
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let mut held = Vec::new();
    let full = (0..16).any(|_| {
        match std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            Ok(stream) => {
                held.push(stream);
                false
            }
            Err(_) => true,
        }
    });
    assert!(full, "the backlog of 0 never filled");
    let gateway = Gateway::with(address, "", "connect_timeout = \"300ms\"");
    let started = Instant::now();
    is_problem(&gateway.ask(get("/")), 504, "connection_timeout");
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[test]
fn an_upstream_that_closes_without_an_answer_is_502() {
    let upstream = Upstream::answering(|_| Vec::new());
    let gateway = Gateway::before(upstream.address);
    is_problem(&gateway.ask(get("/")), 502, "connection_terminated");
    assert_eq!(upstream.seen().len(), 2, "a GET is sent once more, and no more often");
    let answer = gateway.ask(post("/", &bearer(&gateway.token()), b"x"));
    is_problem(&answer, 502, "connection_terminated");
    assert_eq!(upstream.seen().len(), 3, "a POST is never sent twice");
}

#[test]
fn a_reset_before_an_answer_is_502() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.reset();
    });
    let gateway = Gateway::before(upstream.address);
    is_problem(&gateway.ask(get("/")), 502, "connection_terminated");
}

#[test]
fn half_a_head_is_502() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Le");
    });
    let gateway = Gateway::before(upstream.address);
    is_problem(&gateway.ask(get("/")), 502, "http_response_incomplete");
    assert_eq!(upstream.seen().len(), 1, "an answer that began is not asked for again");
}

#[test]
fn answers_that_are_malformed_or_could_be_read_in_two_ways_are_502() {
    let bad: Vec<String> = [
        "HTTP/1.1 9999 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 600 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 abc X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 20 X\r\nContent-Length: 0\r\n\r\n",
        "HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/3 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTP/1.1 200 OK\r\n\r\n",
        "hello there, this is not HTTP\r\n\r\n",
        "<html>it works</html>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\0b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\rb\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\nX-B: b\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\nContent-Length: 0\n\n",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A : a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: empty\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX-A: a\r\n folded\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX(A: a\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([
        format!("HTTP/1.1 200 OK\r\nX-A: {}\r\nContent-Length: 0\r\n\r\n", "x".repeat(2 << 20)),
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-A: a\r\n".repeat(20_000)),
        format!("HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n", "X-A: a\r\n".repeat(1_000)),
    ])
    .collect();
    let count = bad.len();
    let served = bad.clone();
    let upstream = Upstream::answering(move |seen| {
        let number: usize = seen.line.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
        served[number].clone().into_bytes()
    });
    let gateway = Gateway::before(upstream.address);
    for (number, text) in bad.iter().enumerate() {
        let answer = gateway.ask(get(&format!("/{number}")));
        assert_eq!(answer.status, 502, "{:?}: {answer:?}", &text[..text.len().min(120)]);
        is_problem(&answer, 502, "http_protocol_error");
    }
    assert_eq!(upstream.seen().len(), count, "none is asked for again");
    assert_eq!(upstream.connections(), count, "no such connection is used again");
    assert_eq!(gateway.finish().panics, 0);
}

/// What the upstream sends before it closes, or resets. None of it is a whole message.
const CUT: [&str; 11] = [
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nA\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\nrubbish",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\n\n",
];

#[test]
fn an_answer_that_is_cut_is_cut_for_the_client_too() {
    for resets in [false, true] {
        let upstream = Upstream::scripted(move |mut connection| {
            let seen = connection.request().unwrap();
            let number: usize = seen.line.split(['/', ' ']).nth(2).unwrap().parse().unwrap();
            connection.send(CUT[number]);
            if resets {
                connection.reset();
            }
        });
        let gateway = Gateway::before(upstream.address);
        for (number, text) in CUT.iter().enumerate() {
            for version in ["1.1", "1.0"] {
                let mut client = gateway.connect();
                client.send(format!("GET /{number} HTTP/{version}\r\nHost: api.test\r\n\r\n"));
                // a reset may even overtake the head; then there is nothing that could be taken for an answer
                if let Some(answer) = client.answer_to("GET") {
                    assert!(
                        !answer.complete || answer.status == 502,
                        "{text:?} (reset: {resets}) was completed for HTTP/{version}: {answer:?}"
                    );
                }
            }
        }
        eventually("all are counted", || gateway.totals().requests >= 2 * CUT.len() as u64);
        assert_eq!(gateway.finish().panics, 0);
    }
}

#[test]
fn a_body_until_close_that_ends_with_a_reset_is_cut_for_the_client_too() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello");
        connection.reset();
    });
    let gateway = Gateway::before(upstream.address);
    for version in ["1.1", "1.0"] {
        let mut client = gateway.connect();
        client.send(format!("GET / HTTP/{version}\r\nHost: api.test\r\n\r\n"));
        if let Some(answer) = client.answer_to("GET") {
            assert!(!answer.complete || answer.status == 502, "HTTP/{version}: {answer:?}");
        }
    }
}

#[test]
fn bytes_behind_an_answer_reach_nobody_and_the_connection_is_not_used_again() {
    const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (answer, method, expected) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "GET", "hello"),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "GET",
            "hello",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "GET", ""),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n", "GET", ""),
        ("HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n", "HEAD", ""),
    ] {
        let upstream = Upstream::answering(move |_| format!("{answer}{EVIL}").into_bytes());
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect();
        for round in 1..=3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: api.test\r\n\r\n"));
            assert_eq!(client.answer_to(method).unwrap().text(), expected, "{answer:?}");
            assert_eq!(upstream.connections(), round, "{answer:?}");
        }
        client.close_sending();
        assert!(client.is_closed(), "nothing follows {answer:?}");
    }
}

#[test]
fn bytes_that_come_while_a_connection_is_idle_end_it() {
    let (go, gone) = mpsc::channel::<()>();
    let (sent, was_sent) = mpsc::channel::<()>();
    let (gone, sent) = (Mutex::new(gone), Mutex::new(sent));
    let upstream = Upstream::scripted(move |mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        if connection.number == 0 {
            gone.lock().unwrap().recv().unwrap();
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
            sent.lock().unwrap().send(()).unwrap();
        }
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().text(), "hello");
    go.send(()).unwrap();
    was_sent.recv_timeout(PATIENCE).unwrap();
    client.send(post("/", &bearer(&token), b"x"));
    assert_eq!(client.answer().text(), "hello");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn a_change_of_protocol_that_nobody_asked_for_is_502() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nfrom the tunnel".to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    is_problem(&client.answer(), 502, "http_upgrade_failed");
    client.send(get("/"));
    is_problem(&client.answer(), 502, "http_upgrade_failed");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_hangs_before_its_head_is_504_at_the_deadline() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        note(
            &connection,
            format!("closed: {}", connection_closes(connection.stream.try_clone().unwrap())),
        );
    });
    let gateway = Gateway::with(upstream.address, "", "timeout = \"300ms\"");
    for request in [get("/"), post("/", &bearer(&gateway.token()), b"body")] {
        let started = Instant::now();
        is_problem(&gateway.ask(request), 504, "http_response_timeout");
        assert!(started.elapsed() >= Duration::from_millis(290));
    }
    let seen = upstream.wait_for(4);
    assert!(seen.iter().all(|seen| !seen.line.contains("false")), "{seen:?}");
}

/// Whether the gateway closes its connection within a second.
fn connection_closes(mut stream: std::net::TcpStream) -> bool {
    use std::io::Read as _;
    stream.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    match stream.read(&mut [0; 1]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(fault) => fault.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn an_upstream_that_hangs_in_its_body_is_cut_at_the_deadline() {
    let upstream = Upstream::scripted(|mut connection| {
        let seen = connection.request().unwrap();
        let head = match seen.line.contains("chunked") {
            true => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            false => "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        };
        connection.send(head);
        while connection.fill() {}
    });
    let gateway = Gateway::with(upstream.address, "", "timeout = \"300ms\"");
    for path in ["/length", "/chunked"] {
        let started = Instant::now();
        let answer = gateway.ask(get(path));
        assert_eq!((answer.status, answer.complete, answer.text().as_str()), (200, false, "hello"));
        assert!(started.elapsed() >= Duration::from_millis(290));
    }
}

#[test]
fn an_answer_that_comes_slowly_but_steadily_is_not_cut() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        for _ in 0..6 {
            std::thread::sleep(Duration::from_millis(100)); // what is tested is time
            connection.send("1\r\nx\r\n");
        }
        connection.send("0\r\n\r\n");
        while connection.fill() {}
    });
    let gateway = Gateway::with(upstream.address, "", "timeout = \"400ms\"");
    let answer = gateway.ask(get("/"));
    assert!(answer.complete);
    assert_eq!(answer.text(), "xxxxxx");
}

/// A gateway before an upstream whose script runs once the client's request is there; the script says when the
/// client may leave, and then whether the connection ended within a second.
fn client_leaves(
    request: impl FnOnce(&Gateway) -> Vec<u8>,
    script: impl Fn(&mut Connection) + Send + Sync + 'static,
    resets: bool,
) {
    let (leave, left) = mpsc::channel::<()>();
    let leave = Mutex::new(leave);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.head();
        script(&mut connection);
        leave.lock().unwrap().send(()).unwrap();
        let closed = connection.closes_soon();
        note(&connection, format!("closed: {closed}"));
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(request(&gateway));
    left.recv_timeout(PATIENCE).unwrap();
    if resets {
        socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }
    drop(client);
    assert_eq!(upstream.wait_for(1)[0].line, "closed: true");
    eventually("the request is counted as given up", || gateway.totals().aborted == 1);
}

#[test]
fn a_client_that_leaves_before_the_answer_ends_the_upstreams_request_within_a_second() {
    for resets in [false, true] {
        client_leaves(|_| get("/"), |_| {}, resets);
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_the_answer_ends_the_upstreams_request_within_a_second() {
    for resets in [false, true] {
        client_leaves(
            |_| get("/"),
            |connection| {
                connection
                    .send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            },
            resets,
        );
    }
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_body_ends_the_upstreams_request_within_a_second() {
    let begun = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&begun);
    let upstream = Upstream::scripted(move |mut connection| {
        let mut seen = connection.head().unwrap();
        counted.fetch_add(1, Ordering::SeqCst);
        seen.complete = connection.body(&mut seen);
        connection.note(seen);
    });
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        for resets in [false, true] {
            let before = upstream.seen().len();
            let gateway = Gateway::before(upstream.address);
            let mut client = gateway.connect();
            client.send(format!(
                "POST / HTTP/1.1\r\nHost: api.test\r\n{}{framing}\r\n\r\n5\r\nhe",
                bearer(&gateway.token())
            ));
            let connected = before + 1;
            eventually("the upload has begun", || begun.load(Ordering::SeqCst) >= connected);
            if resets {
                socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
            drop(client);
            let seen = upstream.wait_for(connected).remove(before);
            assert!(!seen.complete, "{framing}: the upstream must not take the body for whole");
        }
    }
}

#[test]
fn the_upstreams_own_refusals_and_challenges_pass_through() {
    let upstream = Upstream::answering(|seen| {
        let status = if seen.line.contains("401") { "401 Unauthorized" } else { "403 Forbidden" };
        format!(
            "HTTP/1.1 {status}\r\nWWW-Authenticate: Basic realm=\"theirs\"\r\nContent-Type: text/plain\r\n\
             Content-Length: 6\r\n\r\ntheirs"
        )
        .into_bytes()
    });
    let gateway = Gateway::before(upstream.address);
    for status in [401, 403] {
        let answer = gateway.ask(get(&format!("/{status}")));
        assert_eq!((answer.status, answer.text().as_str()), (status, "theirs"));
        assert_eq!(answer.field("www-authenticate").as_deref(), Some("Basic realm=\"theirs\""));
        assert_eq!(answer.field("content-type").as_deref(), Some("text/plain"));
        assert_eq!(answer.field("proxy-status"), None);
    }
}

/// Answers one request on each connection as if it could go on, and closes `after` that.
fn forgetful(after: Duration) -> Upstream {
    Upstream::scripted(move |mut connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
            std::thread::sleep(after);
        }
    })
}

#[test]
fn forty_gets_on_connections_that_the_upstream_has_closed_all_succeed() {
    for after in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(2)] {
        let upstream = forgetful(after);
        let gateway = Gateway::before(upstream.address);
        let mut client = gateway.connect();
        for number in 0..40 {
            client.send(get(&format!("/{number}")));
            assert_eq!(client.answer().status, 200, "{number}, closing after {after:?}");
        }
    }
}

#[test]
fn forty_posts_on_connections_that_the_upstream_has_closed_are_never_doubled() {
    for after in [Duration::ZERO, Duration::from_micros(300), Duration::from_millis(2)] {
        let upstream = forgetful(after);
        let gateway = Gateway::before(upstream.address);
        let token = gateway.token();
        let mut client = gateway.connect();
        let mut succeeded = Vec::new();
        for number in 0..40 {
            client.send(post(&format!("/{number}"), &bearer(&token), b"x=1"));
            let answer = client.answer();
            match answer.status {
                200 => succeeded.push(number),
                _ => is_problem(&answer, 502, "connection_terminated"),
            }
        }
        let seen = upstream.seen();
        for number in 0..40 {
            let line = format!("POST /{number} HTTP/1.1");
            let times = seen.iter().filter(|seen| seen.line == line).count();
            assert!(times <= 1, "{line} came {times} times");
            assert_eq!(times == 1, succeeded.contains(&number), "{line}");
        }
    }
}

#[test]
fn a_post_after_a_pause_never_meets_a_closed_connection() {
    let (closed, was_closed) = mpsc::channel::<()>();
    let closed = Mutex::new(closed);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        drop(connection);
        closed.lock().unwrap().send(()).unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    for number in 0..40 {
        client.send(post("/", &bearer(&token), b"x=1"));
        assert_eq!(client.answer().status, 200, "{number}");
        was_closed.recv_timeout(PATIENCE).unwrap();
        std::thread::sleep(Duration::from_millis(5)); // a pause, as the name says
    }
}

/// Closes the second request's connection as soon as the request is there, which looks to the gateway as if it
/// had closed just before.
fn closes_on_the_second_request() -> (Upstream, Arc<AtomicUsize>) {
    let received = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&received);
    let upstream = Upstream::scripted(move |mut connection| {
        if connection.request().is_none() {
            return;
        }
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        if connection.number == 0 && connection.head().is_some() {
            counted.fetch_add(1, Ordering::SeqCst);
        }
    });
    (upstream, received)
}

#[test]
fn what_is_sent_just_as_the_upstream_closes_is_sent_again_only_if_it_can_be() {
    for (method, is_again) in [
        ("GET", true),
        ("HEAD", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
        ("PURGE", false),
    ] {
        let (upstream, received) = closes_on_the_second_request();
        let gateway = Gateway::before(upstream.address);
        let fields = bearer(&gateway.token());
        let mut client = gateway.connect();
        client.send(get("/"));
        assert_eq!(client.answer().status, 200);
        client.send(with_body(method, "/", &fields, b"x=1"));
        let answer = client.answer_to(method).unwrap();
        assert_eq!(received.load(Ordering::SeqCst), 1, "{method}");
        if is_again {
            assert_eq!(answer.status, 200, "{method}");
            let seen = upstream.wait_for(2);
            assert_eq!(seen[1].body, b"x=1", "{method} is whole the second time, too");
        } else {
            is_problem(&answer, 502, "connection_terminated");
            assert_eq!(upstream.connections(), 1, "{method} is not sent again");
        }
    }
}

#[test]
fn a_put_whose_body_is_not_whole_any_more_is_not_sent_again() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        let mut seen = connection.head().unwrap();
        connection.body(&mut seen);
    });
    let gateway = Gateway::before(upstream.address);
    let fields = format!("{}Transfer-Encoding: chunked\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    client.send(format!("PUT / HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"));
    client.send("5\r\nhello\r\n");
    client.send("0\r\n\r\n");
    is_problem(&client.answer(), 502, "connection_terminated");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn with_retries_off_nothing_is_sent_again() {
    let (upstream, _) = closes_on_the_second_request();
    let gateway = Gateway::with(upstream.address, "", "retries = 0");
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    client.send(get("/"));
    is_problem(&client.answer(), 502, "connection_terminated");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_that_answers_early_and_closes_leaves_the_client_with_its_answer() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.head();
        connection
            .send("HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: api.test\r\n{}Content-Length: 1000000\r\n\r\n",
        bearer(&gateway.token())
    ));
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
}

#[test]
fn an_upstream_that_comes_back_is_used_at_once() {
    let address = nobody();
    let gateway = Gateway::before(address);
    assert_eq!(gateway.ask(get("/")).status, 502);
    let listener = TcpListener::bind(address).unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 4096]).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    server.join().unwrap();
}
