//! Changes of protocol: a tunnel only after the upstream's 101, and only for who may. And what streams without one.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use support::websocket::echo_server;
use support::{Client, Gateway, PATIENCE, Upstream, bearer, eventually, get, toml};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocket};
use tokio_tungstenite::tungstenite::{Error, HandshakeError, Message, client};

type Refused = Box<HandshakeError<tokio_tungstenite::tungstenite::ClientHandshake<TcpStream>>>;

fn open(gateway: &Gateway, token: Option<&str>) -> Result<WebSocket<TcpStream>, Refused> {
    let mut request = format!("ws://{}/socket", gateway.address).into_client_request().unwrap();
    if let Some(token) = token {
        let value = format!("Bearer {token}").parse().unwrap();
        request.headers_mut().insert("authorization", value);
    }
    let stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    client(request, stream).map(|(socket, _)| socket).map_err(Box::new)
}

#[test]
fn a_web_socket_with_a_token_echoes_text_and_binary_and_closes_properly() {
    let gateway = Gateway::before(echo_server());
    let mut socket = open(&gateway, Some(&gateway.token())).unwrap();
    for number in 0..100 {
        let message = match number % 2 {
            0 => Message::text(format!("message {number}")),
            _ => Message::binary(vec![number; usize::from(number) * 100]),
        };
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    socket.send(Message::Ping("are you there".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("are you there".into()));
    let bye = CloseFrame { code: CloseCode::Normal, reason: "bye".into() };
    socket.close(Some(bye.clone())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Close(Some(bye)));
    assert!(matches!(socket.read(), Err(Error::ConnectionClosed)));
}

#[test]
fn messages_of_a_mebibyte_come_back_whole() {
    let gateway = Gateway::before(echo_server());
    let mut socket = open(&gateway, Some(&gateway.token())).unwrap();
    for round in 0..8_u8 {
        let message: Vec<u8> = (0..1 << 20).map(|at: u32| (at % 251) as u8 ^ round).collect();
        socket.send(Message::binary(message.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == message);
    }
}

#[test]
fn a_web_socket_without_a_token_is_401_though_it_is_a_get() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    for token in [None, Some("nonsense")] {
        match *open(&gateway, token).unwrap_err() {
            HandshakeError::Failure(Error::Http(answer)) => {
                assert_eq!(answer.status(), 401);
                let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
                assert!(challenge.starts_with("Bearer realm=\"tollgate\""));
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(upstream.seen().is_empty());
}

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: echo\r\n";
const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";

fn upgrade(gateway: &Gateway, token: &str) -> Vec<u8> {
    let _ = gateway;
    format!("GET /tunnel HTTP/1.1\r\nHost: api.test\r\n{}{UPGRADE}\r\n", bearer(token)).into_bytes()
}

/// An upstream that changes to a protocol in which everything comes back.
fn echo_tunnel() -> Upstream {
    Upstream::scripted(|mut connection| {
        let seen = connection.head().unwrap();
        connection.note(seen);
        connection.send(SWITCHED);
        loop {
            let bytes = connection.left_over();
            connection.send(bytes);
            if !connection.fill() {
                break;
            }
        }
        connection.send("the end");
    })
}

fn tunnel(gateway: &Gateway) -> Client {
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(upgrade(gateway, &token));
    let answer = client.head().unwrap();
    assert_eq!(answer.status, 101);
    assert_eq!(answer.field("upgrade").as_deref(), Some("echo"));
    assert_eq!(answer.field("connection").as_deref(), Some("upgrade"));
    client
}

#[test]
fn an_upgrade_reaches_the_upstream_as_one() {
    let upstream = echo_tunnel();
    let gateway = Gateway::before(upstream.address);
    tunnel(&gateway);
    let seen = upstream.only();
    assert_eq!(seen.field("connection").as_deref(), Some("upgrade"));
    assert_eq!(seen.field("upgrade").as_deref(), Some("echo"));
    assert_eq!(seen.field("x-auth-client").as_deref(), Some(support::CLIENT));
}

#[test]
fn a_refused_upgrade_is_an_ordinary_answer_and_what_follows_is_judged() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    let mut all = upgrade(&gateway, &token);
    all.extend(b"DELETE /players/1 HTTP/1.1\r\nHost: api.test\r\n\r\n");
    all.extend(get("/players"));
    client.send(all);
    let answers: Vec<_> = (0..3).map(|_| client.answer().status).collect();
    assert_eq!(answers, [200, 401, 200]);
    let lines: Vec<_> = upstream.seen().into_iter().map(|seen| seen.line).collect();
    assert_eq!(lines, ["GET /tunnel HTTP/1.1", "GET /players HTTP/1.1"]);
}

#[test]
fn bytes_sent_before_101_wait_for_it() {
    let (go, gone) = mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    let upstream = Upstream::scripted(move |mut connection| {
        let seen = connection.head().unwrap();
        connection.note(seen);
        gone.lock().unwrap().recv().unwrap();
        connection.stream.set_nonblocking(true).unwrap();
        let early = connection.stream.peek(&mut [0; 1]);
        connection.stream.set_nonblocking(false).unwrap();
        assert!(connection.left_over().is_empty() && early.is_err(), "bytes came before 101");
        connection.send(SWITCHED);
        connection.fill();
        let bytes = connection.left_over();
        connection.send(bytes);
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    let mut all = upgrade(&gateway, &token);
    all.extend(b"early");
    client.send(all);
    upstream.wait_for(1);
    go.send(()).unwrap();
    client.wait_for("\r\n\r\nearly");
}

#[test]
fn bytes_that_come_with_the_101_are_not_lost() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.head();
        connection.send(format!("{SWITCHED}{}", "y".repeat(20_000)));
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = tunnel(&gateway);
    client.wait_for(&"y".repeat(20_000));
}

#[test]
fn an_upgrade_to_another_protocol_than_asked_is_502() {
    let upstream = Upstream::answering(|_| SWITCHED.replace("echo", "other").into_bytes());
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let answer = gateway.ask(upgrade(&gateway, &token));
    assert_eq!(answer.status, 502);
    assert_eq!(
        answer.field("proxy-status").as_deref(),
        Some("tollgate; error=http_upgrade_failed")
    );
}

#[test]
fn either_side_of_a_tunnel_may_end_first_and_still_hear_the_other() {
    // the client ends first
    let upstream = echo_tunnel();
    let gateway = Gateway::before(upstream.address);
    let mut client = tunnel(&gateway);
    client.send("last words");
    client.close_sending();
    assert!(client.read_to_end(), "a proper end, no reset");
    assert_eq!(client.left_over(), b"last wordsthe end");
    // the upstream ends first
    let (heard, hears) = mpsc::channel();
    let heard = Mutex::new(heard);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.head();
        connection.send(SWITCHED);
        connection.stream.shutdown(Shutdown::Write).unwrap();
        while connection.fill() {}
        heard.lock().unwrap().send(connection.left_over()).unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = tunnel(&gateway);
    assert!(client.is_closed());
    client.send("are you still there?");
    client.close_sending();
    assert_eq!(hears.recv_timeout(PATIENCE).unwrap(), b"are you still there?");
}

#[test]
fn a_tunnel_that_breaks_on_one_side_breaks_on_the_other() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.head();
        connection.send(SWITCHED);
        connection.fill();
        connection.reset();
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = tunnel(&gateway);
    client.send("x");
    assert!(!client.read_to_end(), "a reset, no proper end");
}

#[test]
fn a_tunnel_whose_client_is_gone_ends_within_a_second() {
    let (said, says) = mpsc::channel();
    let said = Mutex::new(said);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.head();
        connection.send(SWITCHED);
        connection.fill();
        said.lock().unwrap().send(connection.closes_soon()).unwrap();
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = tunnel(&gateway);
    client.send("x");
    drop(client);
    assert!(says.recv_timeout(PATIENCE).unwrap());
    eventually("the connection is given up", || gateway.running().open_connections() == 0);
}

#[test]
fn a_tunnel_passes_much_both_ways_at_once() {
    const MUCH: usize = 16 << 20;
    let upstream = echo_tunnel();
    let gateway = Gateway::before(upstream.address);
    let client = tunnel(&gateway);
    let mut reader = client.stream.try_clone().unwrap();
    let mut writer = client.stream.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        let piece: Vec<u8> = (0..=255).cycle().take(65536).collect();
        for _ in 0..MUCH / piece.len() {
            writer.write_all(&piece).unwrap();
        }
    });
    let (mut piece, mut at) = (vec![0; 65536], 0_usize);
    while at < MUCH {
        let length = reader.read(&mut piece).unwrap();
        assert!(length > 0, "ended after {at}");
        assert!(
            piece[..length].iter().enumerate().all(|(i, byte)| *byte == ((at + i) % 256) as u8)
        );
        at += length;
    }
    sending.join().unwrap();
}

#[test]
fn a_tunnel_survives_draining_until_it_is_cut_at_the_end() {
    let gateway = Gateway::before(echo_server());
    let mut socket = open(&gateway, Some(&gateway.token())).unwrap();
    gateway.running().drain();
    eventually("nobody is taken any more", || TcpStream::connect(gateway.address).is_err());
    for number in 0..10 {
        let message = Message::text(format!("message {number}"));
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    assert!(!gateway.running().has_ended());
    gateway.running().end();
    assert!(matches!(socket.read(), Err(Error::Io(_) | Error::Protocol(_))), "cut, not closed");
    eventually("the gateway has ended", || gateway.running().has_ended());
}

#[test]
fn draining_ends_when_the_last_tunnel_has_closed() {
    let gateway = Gateway::before(echo_server());
    let mut socket = open(&gateway, Some(&gateway.token())).unwrap();
    gateway.running().drain();
    socket.send(Message::text("x")).unwrap();
    socket.read().unwrap();
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    eventually("the gateway has ended", || gateway.running().has_ended());
}

#[test]
fn an_upgrade_with_a_body_and_one_over_http_1_0_are_no_upgrades() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let fields = bearer(&gateway.token());
    let with_body =
        format!("GET / HTTP/1.1\r\nHost: api.test\r\n{fields}{UPGRADE}Content-Length: 1\r\n\r\nx");
    assert_eq!(gateway.ask(with_body).status, 400);
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.ask(format!("GET / HTTP/1.0\r\n{UPGRADE}\r\n")).status, 200);
    assert_eq!(upstream.only().field("upgrade"), None);
}

#[test]
fn server_sent_events_arrive_one_by_one() {
    let (next, nexts) = mpsc::channel::<()>();
    let nexts = Mutex::new(nexts);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.request();
        connection.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        let mut number = 0;
        while nexts.lock().unwrap().recv().is_ok() {
            let event = format!("id: {number}\ndata: event {number}\n\n");
            connection.send(format!("{:x}\r\n{event}\r\n", event.len()));
            number += 1;
        }
        connection.send("0\r\n\r\n");
        while connection.fill() {}
    });
    let gateway = Gateway::from_toml(&toml(
        &format!("http://{}", upstream.address),
        "",
        "timeout = \"5s\"",
        "",
    ));
    let mut client = gateway.connect();
    client.send(get("/events"));
    // the head comes though no event has
    let head = client.head().unwrap();
    assert_eq!(head.field("content-type").as_deref(), Some("text/event-stream"));
    let mut slowest = Duration::ZERO;
    for number in 0..50 {
        let started = Instant::now();
        next.send(()).unwrap(); // only now is there an event: what comes next can only be this one
        let event = client.chunk().unwrap();
        slowest = slowest.max(started.elapsed());
        assert_eq!(event, format!("id: {number}\ndata: event {number}\n\n").as_bytes());
    }
    drop(next);
    assert_eq!(client.chunk(), None);
    assert!(slowest < Duration::from_secs(5), "{slowest:?}");
}
