//! WebSockets over HTTP/2 (RFC 8441): guarded like every upgrade, and a tunnel only after the upstream's 101.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use h2::ext::Protocol;
use h2::{RecvStream, SendStream};
use http::{Method, Request};
use support::attack::Site;
use support::http2::{
    DATA, END_STREAM, Http2, Outcome, RST_STREAM, Raw, SETTINGS, piece, read, request, run,
};
use support::websocket::echo_server;
use support::{Gateway, PATIENCE, Upstream, eventually, find};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

fn connect(path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("http://api.test{path}"))
        .extension(Protocol::from_static("websocket"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap()
}

/// One stream as a socket that a WebSocket library can use; what it lacks comes over a channel.
struct Pipe {
    send: mpsc::Sender<Vec<u8>>,
    received: mpsc::Receiver<Vec<u8>>,
    left: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left.is_empty() {
            self.left = self.received.recv_timeout(PATIENCE).unwrap_or_default();
        }
        let length = self.left.len().min(into.len());
        into[..length].copy_from_slice(&self.left[..length]);
        self.left.drain(..length);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let _ = self.send.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Opens a WebSocket on a thread of its own, and yields it.
fn open(gateway: &Gateway, token: &str) -> WebSocket<Pipe> {
    let (address, token) = (gateway.address, format!("Bearer {token}"));
    let (send, to_send) = mpsc::channel::<Vec<u8>>();
    let (receive, received) = mpsc::channel();
    let (opened, is_open) = mpsc::channel();
    std::thread::spawn(move || {
        run(async move {
            let mut client = Http2::connect(address).await;
            let fields = [("authorization", token.as_str()), ("sec-websocket-version", "13")];
            let (answer, send) = client.begin(connect("/socket", &fields), false).await;
            let answer = answer.await.unwrap();
            opened.send(answer.status().as_u16()).unwrap();
            assert!(answer.headers().get("sec-websocket-accept").is_none());
            let recv = answer.into_body();
            tokio::join!(up(send, to_send), down(recv, receive));
        });
    });
    assert_eq!(is_open.recv_timeout(PATIENCE).unwrap(), 200);
    WebSocket::from_raw_socket(Pipe { send, received, left: Vec::new() }, Role::Client, None)
}

async fn up(mut send: SendStream<Bytes>, to_send: mpsc::Receiver<Vec<u8>>) {
    loop {
        match to_send.try_recv() {
            Ok(bytes) => {
                let mut rest = Bytes::from(bytes);
                while !rest.is_empty() {
                    send.reserve_capacity(rest.len());
                    let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await;
                    let Some(Ok(room)) = room else { return };
                    send.send_data(rest.split_to(room.min(rest.len())), false).unwrap();
                }
            }
            Err(mpsc::TryRecvError::Empty) => tokio::time::sleep(Duration::from_millis(1)).await,
            Err(mpsc::TryRecvError::Disconnected) => {
                let _ = send.send_data(Bytes::new(), true);
                return;
            }
        }
    }
}

async fn down(mut recv: RecvStream, receive: mpsc::Sender<Vec<u8>>) {
    while let Some(Ok(piece)) = piece(&mut recv).await {
        let _ = receive.send(piece.to_vec());
    }
}

#[test]
fn a_web_socket_with_a_token_echoes_whatever_its_size() {
    let gateway = Gateway::before(echo_server());
    let mut socket = open(&gateway, &gateway.token());
    for number in 0..50_u8 {
        let message = match number % 2 {
            0 => Message::text(format!("message {number}")),
            _ => Message::binary(vec![number; usize::from(number) * 1000]),
        };
        socket.send(message.clone()).unwrap();
        assert_eq!(socket.read().unwrap(), message);
    }
    let large = Message::binary((0..1 << 20).map(|at: u32| (at % 251) as u8).collect::<Vec<_>>());
    socket.send(large.clone()).unwrap();
    assert!(socket.read().unwrap() == large);
    socket.close(None).unwrap();
    assert!(socket.read().unwrap().is_close());
}

// A.90, G5: an upgrade is never open
#[test]
fn without_a_token_it_is_refused_and_nothing_reaches_the_upstream() {
    let site = Site::new();
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        for (fields, status) in [
            (&[][..], 401),
            (&[("authorization", "Bearer bad")], 401),
            (&[("authorization", "Bearer a"), ("authorization", "Bearer b")], 400),
        ] {
            let (answer, _send) = client.begin(connect("/socket", fields), false).await;
            assert_eq!(read(answer).await.unwrap().status, status);
        }
    });
    assert!(site.look().is_empty());
}

#[test]
fn the_upstream_is_asked_as_http_1_has_it_with_a_key_of_its_own() {
    let site = Site::new();
    let token = format!("Bearer {}", site.gateway.token());
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        let fields = [
            ("authorization", token.as_str()),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
            ("sec-websocket-protocol", "chat"),
            ("origin", "https://app.test"),
        ];
        // this upstream answers 200: it did not change the protocol, and that is an ordinary answer
        let (answer, _send) = client.begin(connect("/socket?a=b", &fields), false).await;
        let answer = read(answer).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
    });
    let seen = site.look();
    assert_eq!(seen[0].line, "GET /socket?a=b HTTP/1.1");
    assert_eq!(seen[0].field("connection").as_deref(), Some("upgrade"));
    assert_eq!(seen[0].field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(seen[0].field("sec-websocket-version").as_deref(), Some("13"));
    assert_eq!(seen[0].field("sec-websocket-protocol").as_deref(), Some("chat"));
    let key = seen[0].field("sec-websocket-key").unwrap();
    assert!(key.len() == 24 && key != "AAAAAAAAAAAAAAAAAAAAAA==", "{key}");
    assert!(
        seen[0].field("content-length").is_none() && seen[0].field("transfer-encoding").is_none()
    );
}

// pingora CVE-2026-2833: what the client sends before the change of protocol goes nowhere
#[test]
fn bytes_that_come_before_the_upstream_agrees_are_held_back() {
    let (told, early) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::scripted(move |mut connection| {
        let Some(seen) = connection.head() else { return };
        connection.note(seen);
        connection.stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut piece = [0; 100];
        let came = connection.stream.read(&mut piece);
        told.lock().unwrap().send(came.is_ok()).unwrap();
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let token = format!("Bearer {}", gateway.token());
    let mut raw = Raw::connect(&gateway);
    let fields = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "http"),
        (":path", "/socket"),
        (":authority", "api.test"),
        ("authorization", token.as_str()),
    ];
    raw.headers(1, 0, &fields);
    raw.send(DATA, 0, 1, b"GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n");
    let outcome = raw.outcome(1);
    assert_eq!(outcome.status(), Some(403), "{outcome:?}");
    assert!(!early.recv_timeout(PATIENCE).unwrap(), "early bytes were sent on");
    // the connection goes on
    raw.headers(3, END_STREAM, &request("POST", "/x", &[]));
    assert!(matches!(raw.outcome(3), Outcome::Answered(..)));
}

#[test]
fn an_upstream_that_answers_another_key_is_not_believed() {
    for accept in ["", "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"] {
        let upstream = Upstream::scripted(move |mut connection| {
            if connection.request().is_some() {
                connection.send(format!(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{accept}\r\n"
                ));
                while connection.fill() {}
            }
        });
        let gateway = Gateway::before(upstream.address);
        let token = format!("Bearer {}", gateway.token());
        run(async {
            let mut client = Http2::connect(gateway.address).await;
            let fields = [("authorization", token.as_str())];
            let (answer, _send) = client.begin(connect("/socket", &fields), false).await;
            assert_eq!(read(answer).await.unwrap().status, 502);
        });
    }
}

#[test]
fn other_protocols_and_plain_connect_are_refused() {
    let site = Site::new();
    let token = format!("Bearer {}", site.gateway.token());
    for (protocol, status) in [(Some("connect-udp"), 501), (Some("foo"), 501), (None, 405)] {
        let mut raw = Raw::connect(&site.gateway);
        let mut fields = vec![(":method", "CONNECT"), (":authority", "api.test")];
        if let Some(protocol) = protocol {
            fields.extend([(":protocol", protocol), (":scheme", "http"), (":path", "/x")]);
        }
        fields.push(("authorization", token.as_str()));
        raw.headers(1, 0, &fields);
        let outcome = raw.outcome(1);
        assert_eq!(outcome.status(), Some(status), "{protocol:?}: {outcome:?}");
    }
    assert!(site.look().is_empty());
}

#[test]
fn extended_connect_is_announced() {
    let site = Site::new();
    let mut raw = Raw::connect(&site.gateway);
    let settings = raw.frame().unwrap();
    assert_eq!(settings.kind, SETTINGS);
    assert!(find(&settings.payload, &[0, 8, 0, 0, 0, 1]).is_some(), "{settings:?}");
}

#[test]
fn either_end_of_a_tunnel_that_breaks_resets_the_other() {
    let (told, gone) = mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::scripted(move |mut connection| {
        let Some(seen) = connection.request() else { return };
        let key = seen.field("sec-websocket-key").unwrap();
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        connection.send(format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\nfirst"
        ));
        if seen.line.contains("/break") {
            return connection.reset();
        }
        if connection.closes_soon() {
            told.lock().unwrap().send(()).unwrap();
        }
    });
    let gateway = Gateway::before(upstream.address);
    let token = format!("Bearer {}", gateway.token());
    let fields = |path| {
        [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "api.test"),
            ("authorization", token.as_str()),
        ]
    };
    let mut raw = Raw::connect(&gateway);
    raw.headers(1, 0, &fields("/break"));
    let outcome = raw.outcome(1);
    assert!(matches!(outcome, Outcome::Reset(Some(200) | None, _)), "{outcome:?}");

    raw.headers(3, 0, &fields("/hold"));
    while raw.frame().unwrap().kind != DATA {}
    raw.send(RST_STREAM, 0, 3, &8_u32.to_be_bytes());
    gone.recv_timeout(PATIENCE).unwrap();
    eventually("nothing is left", || gateway.running().totals().requests == 3);
}
