//! TLS towards clients: certificates by name, protocols and versions, deadlines, ends, and what comes in clear.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use support::tls::{Authority, Identity, TlsClient, client, exchange, handshake};
use support::{Client, Gateway, PATIENCE, Upstream, bearer, eventually, get, post, toml};

const TLS12: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];
const TLS13: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// A gateway before `upstream` that speaks TLS with what `tls` says.
fn gateway(upstream: &Upstream, tls: &str, server: &str) -> Gateway {
    let server = format!("tls = {tls}\n{server}");
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), &server, "", ""))
}

#[test]
fn a_client_over_tls_is_served_and_the_upstream_is_told_so() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    let mut client = client(authority.client().connect(gateway.address, "api.test"));
    for _ in 0..3 {
        client.send(get("/a"));
        assert_eq!(client.answer().text(), "hello");
    }
    client.send(post("/a", "", b"x"));
    assert_eq!(client.answer().status, 401);
    let seen = upstream.seen();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].field("x-forwarded-proto").as_deref(), Some("https"));
    assert!(seen[0].field("forwarded").unwrap().ends_with(";proto=https"));
}

#[test]
fn http_in_clear_on_the_tls_port_is_told_so_and_closed() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    let answer = gateway.ask(get("/a"));
    assert_eq!(answer.status, 400);
    assert!(answer.complete && answer.text().contains("https://"), "{answer:?}");
    assert!(upstream.seen().is_empty());
    for garbage in [&b"\x16"[..], b"\x16\x03\x01\xff\xff", b"\x80\x2e\x01\x03\x01", b"garbage"] {
        let mut client = Client::connect(gateway.address);
        client.send(garbage);
        client.close_sending();
        client.read_to_end();
        assert!(!client.left_over().starts_with(b"HTTP"), "{garbage:?}");
    }
}

/// What a GET over `tls` brings, read to the end, and whether that was said by a `close_notify`.
fn get_once(gateway: &Gateway, client: &TlsClient, name: &str) -> (String, bool) {
    let tls = client.connect(gateway.address, name);
    let request = b"GET /a HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n";
    let (answer, clean) = exchange(tls, request);
    (String::from_utf8_lossy(&answer).into_owned(), clean)
}

#[test]
fn the_certificate_is_the_one_for_the_name_that_is_asked_for_else_the_first() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let first = authority.certify(&["first.test"]);
    let second = authority.certify(&["second.test", "*.wild.test"]);
    let third = authority.certify(&["exact.wild.test"]);
    let tls = format!("[{}, {}, {}]", first.toml(""), second.toml(""), third.toml(""));
    let gateway = gateway(&upstream, &tls, "");
    let shown = |name: &str| {
        let tls = authority.client().unchecked().connect(gateway.address, name);
        tls.conn.peer_certificates().unwrap()[0].clone()
    };
    assert_eq!(shown("first.test"), first.der);
    assert_eq!(shown("second.test"), second.der);
    assert_eq!(shown("SECOND.test"), second.der);
    assert_eq!(shown("a.wild.test"), second.der);
    assert_eq!(shown("exact.wild.test"), third.der, "the very name before a wildcard");
    assert_eq!(shown("a.b.wild.test"), first.der);
    assert_eq!(shown("wild.test"), first.der);
    assert_eq!(shown("unknown.test"), first.der);
    assert_eq!(shown("127.0.0.1"), first.der, "no name at all");
}

#[test]
fn http2_and_http1_are_agreed_on_and_what_is_neither_is_refused() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let certificate = authority.certify(&["api.test"]);
    let agreed = |gateway: &Gateway, offered: &[&str]| {
        let tls = authority.client().offering(offered).try_connect(gateway.address, "api.test");
        tls.ok().map(|tls| tls.conn.alpn_protocol().map(<[u8]>::to_vec))
    };
    let both = gateway(&upstream, &certificate.toml(""), "");
    assert_eq!(agreed(&both, &["http/1.1", "h2"]), Some(Some(b"h2".to_vec())));
    assert_eq!(agreed(&both, &["http/1.1"]), Some(Some(b"http/1.1".to_vec())));
    assert_eq!(agreed(&both, &[]), Some(None));
    assert_eq!(agreed(&both, &["spdy/3"]), None);
    let one = gateway(&upstream, &certificate.toml(""), "http2 = false");
    assert_eq!(agreed(&one, &["h2", "http/1.1"]), Some(Some(b"http/1.1".to_vec())));
    assert_eq!(agreed(&one, &["h2"]), None);
}

/// Runs `openssl s_client` with these arguments; whether there was a handshake.
fn s_client(gateway: &Gateway, arguments: &[&str]) -> (bool, String) {
    let address = gateway.address.to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-brief", "-connect", &address, "-servername", "api.test"])
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("openssl: bash tests/install.sh");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    (told.contains("CONNECTION ESTABLISHED"), told)
}

#[test]
fn tls_1_2_and_1_3_are_spoken_and_nothing_older() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    for version in ["-tls1_2", "-tls1_3"] {
        let (done, told) = s_client(&gateway, &[version]);
        assert!(done, "{version}: {told}");
    }
    for version in ["-tls1", "-tls1_1"] {
        let (done, told) = s_client(&gateway, &[version, "-cipher", "ALL:@SECLEVEL=0"]);
        assert!(!done, "{version}: {told}");
    }
    // nor what has no forward secrecy, or is broken
    for cipher in ["AES128-SHA", "AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA"] {
        let cipher = format!("{cipher}:@SECLEVEL=0");
        let (done, told) = s_client(&gateway, &["-tls1_2", "-cipher", &cipher]);
        assert!(!done, "{cipher}: {told}");
    }
    for versions in [TLS12, TLS13] {
        let client = authority.client().speaking(versions);
        assert!(get_once(&gateway, &client, "api.test").0.ends_with("hello"));
    }
}

#[test]
fn a_client_gets_aes_of_128_bits_only_where_its_keys_are_no_stronger_and_it_offers_that() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    let (light, strong) = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384");
    let chacha = "TLS_CHACHA20_POLY1305_SHA256";
    for (group, offered, chosen) in [
        ("X25519", vec![strong, chacha, light], light),
        ("P-256", vec![strong, light], light),
        // keys of more strength: the client's order counts
        ("P-384", vec![strong, light], strong),
        ("P-384", vec![light, strong], light),
        // as where it has no instructions for AES
        ("X25519", vec![chacha, light, strong], chacha),
        // and what is not offered is not chosen
        ("X25519", vec![strong], strong),
        ("X25519", vec![strong, chacha], strong),
    ] {
        let offered = offered.join(":");
        let arguments = ["-tls1_3", "-groups", group, "-ciphersuites", &offered];
        let (done, told) = s_client(&gateway, &arguments);
        assert!(done && told.contains(chosen), "{group} {offered}: {told}");
    }
}

#[test]
fn sessions_are_resumed_without_the_gateway_keeping_them() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    for versions in [TLS12, TLS13] {
        let config = authority.client().speaking(versions).resuming().config();
        let mut kinds = Vec::new();
        for _ in 0..3 {
            let socket = TcpStream::connect(gateway.address).unwrap();
            let tls = handshake(Arc::clone(&config), socket, "api.test").unwrap();
            let mut tls = client(tls);
            tls.send(get("/a"));
            assert_eq!(tls.answer().text(), "hello");
            kinds.push(tls.stream.conn.handshake_kind().unwrap());
        }
        use rustls::HandshakeKind::{Full, Resumed};
        assert_eq!(kinds, [Full, Resumed, Resumed]);
    }
}

#[test]
fn d147_a_handshake_that_stalls_is_closed_at_the_header_timeout() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let tls = authority.certify(&["api.test"]).toml("");
    let gateway = gateway(&upstream, &tls, "header_timeout = \"300ms\"");
    let hello = authority.client().hello("api.test");
    for (what, start) in [
        ("nothing", &hello[..0]),
        ("a byte", &hello[..1]),
        ("half a hello", &hello[..hello.len() / 2]),
        ("a hello and nothing behind it", &hello[..]),
    ] {
        let begun = Instant::now();
        let mut client = gateway.connect();
        client.send(start);
        client.read_to_end();
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(250) && took < PATIENCE, "{what}: {took:?}");
    }
    // the deadline of the first head runs from the accept on, and the handshake is within it
    let begun = Instant::now();
    let socket = TcpStream::connect(gateway.address).unwrap();
    std::thread::sleep(Duration::from_millis(200)); // a slow client
    let mut tls = handshake(authority.client().config(), socket, "api.test").unwrap();
    tls.write_all(b"GET / HTT").unwrap();
    let mut answer = Vec::new();
    let _ = tls.read_to_end(&mut answer);
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&answer));
    assert!(begun.elapsed() < Duration::from_millis(490), "{:?}", begun.elapsed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_whole_answer_ends_with_a_close_notify_and_a_cut_one_does_not() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.request() {
            let answer: &[u8] = match seen.line.split(' ').nth(1).unwrap() {
                "/length" => b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
                "/chunked" => {
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
                }
                "/cut-length" => b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
                _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
            };
            connection.send(answer);
            if seen.line.contains("/cut") {
                return;
            }
        }
    });
    let authority = Authority::new();
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    for version in ["1.0", "1.1"] {
        for (path, whole) in
            [("/length", true), ("/chunked", true), ("/cut-length", false), ("/cut-chunked", false)]
        {
            let tls = authority.client().connect(gateway.address, "api.test");
            let request =
                format!("GET {path} HTTP/{version}\r\nHost: api.test\r\nConnection: close\r\n\r\n");
            let (answer, clean) = exchange(tls, request.as_bytes());
            let text = String::from_utf8_lossy(&answer);
            assert_eq!(clean, whole, "HTTP/{version} {path}: {text:?}");
        }
    }
}

#[test]
fn head_and_small_body_leave_in_one_record() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    let mut tls = authority.client().connect(gateway.address, "api.test");
    // the first answer comes with what else the handshake had to say
    for _ in 0..3 {
        tls.write_all(&get("/a")).unwrap();
        let mut piece = vec![0; 65_536];
        let length = tls.read(&mut piece).unwrap();
        let text = String::from_utf8_lossy(&piece[..length]).into_owned();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("hello"), "{text:?}");
    }
}

#[test]
fn large_bodies_pass_both_ways_and_a_client_that_takes_nothing_is_given_up() {
    let upstream = Upstream::answering(|seen| {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
        [head.as_bytes(), &seen.body].concat()
    });
    let authority = Authority::new();
    let tls = authority.certify(&["api.test"]).toml("");
    let gateway = gateway(&upstream, &tls, "idle_timeout = \"500ms\"");
    let token = token(&authority, &gateway);
    let body: Vec<u8> = (0..2_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let mut client = client(authority.client().connect(gateway.address, "api.test"));
    client.send(post("/a", &bearer(&token), &body));
    assert!(client.answer().body == body);
    // many answers, each small enough that TLS takes all of it, whatever the socket does
    socket2::SockRef::from(&client.stream.sock).set_recv_buffer_size(8 * 1024).unwrap();
    let piece = post("/a", &bearer(&token), &body[..40_000]);
    client.stream.sock.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while client.stream.write_all(&piece).is_ok() {}
    eventually("the connection is given up", || gateway.running().open_connections() == 0);
}

fn token(authority: &Authority, gateway: &Gateway) -> String {
    let body = support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", support::CLIENT),
        ("client_secret", support::SECRET),
    ]);
    let mut client = client(authority.client().connect(gateway.address, "api.test"));
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    client.send(post("/auth/token", fields, body.as_bytes()));
    client.answer().json()["access_token"].as_str().unwrap().to_owned()
}

#[test]
fn a_new_certificate_is_shown_to_new_connections_and_open_ones_go_on() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let (old, new) = (authority.certify(&["api.test"]), authority.certify(&["api.test"]));
    let text = |identity: &Identity| {
        let server = format!("tls = {}", identity.toml(""));
        toml(&format!("http://{}", upstream.address), &server, "", "")
    };
    let gateway = Gateway::from_toml(&text(&old));
    let shown = || {
        let tls = authority.client().connect(gateway.address, "api.test");
        tls.conn.peer_certificates().unwrap()[0].clone()
    };
    let mut open = client(authority.client().connect(gateway.address, "api.test"));
    open.send(get("/a"));
    assert_eq!(open.answer().text(), "hello");
    assert_eq!(shown(), old.der);
    let file = support::scratch_file("gateway.toml", &text(&new));
    let sources = tollgate::config::Sources {
        file: Some(file),
        clock: gateway.clock.clone(),
        ..Default::default()
    };
    let settings = tollgate::config::load(&sources).unwrap().settings;
    gateway.running().reload(settings).unwrap();
    assert_eq!(shown(), new.der);
    open.send(get("/a"));
    assert_eq!(open.answer().text(), "hello");
    assert_eq!(gateway.totals().connections, 3);
}

#[test]
fn two_thousand_half_done_handshakes_keep_nobody_from_a_get() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let gateway = gateway(&upstream, &authority.certify(&["api.test"]).toml(""), "");
    let mut open = client(authority.client().connect(gateway.address, "api.test"));
    open.send(get("/a"));
    assert_eq!(open.answer().text(), "hello");
    let hello = authority.client().hello("api.test");
    let (mut crowd, mut slowest) = (Vec::new(), Duration::ZERO);
    for number in 0..2_000 {
        let mut client = Client::connect(gateway.address);
        client.send(&hello); // and never what has to follow
        crowd.push(client);
        if number % 50 == 0 {
            let begun = Instant::now();
            open.send(get("/a"));
            assert_eq!(open.answer().text(), "hello");
            slowest = slowest.max(begun.elapsed());
        }
    }
    assert!(slowest < Duration::from_secs(2), "a GET took {slowest:?}");
    // and a new connection is had as well
    let begun = Instant::now();
    assert!(get_once(&gateway, &authority.client(), "api.test").0.ends_with("hello"));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(crowd);
}
