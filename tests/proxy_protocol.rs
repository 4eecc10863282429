//! The PROXY protocol in front of everything else: whose connection it is, and what ends it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::tls::{Authority, client, handshake};
use support::{Client, Gateway, Upstream, get, toml};

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\r\n";

/// A gateway that believes the PROXY header of this machine.
fn gateway(upstream: &Upstream, server: &str) -> Gateway {
    let server = format!("proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n{server}");
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), &server, "", ""))
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

fn seen_from(upstream: &Upstream) -> String {
    upstream.seen().pop().unwrap().field("x-forwarded-for").unwrap()
}

#[test]
fn the_address_of_a_proxy_header_is_the_clients() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let four = [192, 0, 2, 8, 192, 0, 2, 2, 0, 1, 0, 2];
    let mut six = [0; 36];
    six[15] = 9;
    for (header, expected) in [
        (V1.to_vec(), "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 1 2\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x11, &four), "192.0.2.8"),
        (v2(0x21, 0x11, &[&four[..], &[3, 0, 1, 9]].concat()), "192.0.2.8"),
        (v2(0x21, 0x21, &six), "::9"),
        (v2(0x20, 0x00, &[]), "127.0.0.1"),
        (v2(0x20, 0x11, &four), "127.0.0.1"),
    ] {
        // with the request behind it, and in pieces of one byte
        for pause in [None, Some(Duration::from_millis(1))] {
            let mut client = gateway.connect();
            match pause {
                None => client.send([&header[..], &get("/a")].concat()),
                Some(pause) => {
                    for byte in &header {
                        client.send([*byte]);
                        std::thread::sleep(pause); // so that it travels alone; nothing depends on that
                    }
                    client.send(get("/a"));
                }
            }
            assert_eq!(client.answer().text(), "hello", "{header:?}");
            assert_eq!(seen_from(&upstream), expected, "{header:?}");
            // the connection is that client's to its end
            client.send(get("/b"));
            assert_eq!(client.answer().text(), "hello");
            assert_eq!(seen_from(&upstream), expected);
        }
    }
}

#[test]
fn what_does_not_begin_with_a_whole_proxy_header_is_closed_and_nothing_goes_up() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let long = [&b"PROXY UNKNOWN "[..], &[b'x'; 200]].concat();
    let huge = [&v2(0x21, 0x11, &[0; 2049])[..], b""].concat();
    for bad in [
        &get("/a")[..],
        b"PROXY TCP4 192.0.2.7 192.0.2.2 56324 443\n",
        b"PROXY TCP4 ::1 ::1 1 1\r\n",
        b"PROXY  TCP4 192.0.2.7 192.0.2.2 1 1\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.2 1 99999\r\n",
        &long,
        &huge,
        &v2(0x21, 0x12, &[0; 12]),
        &v2(0x21, 0x11, &[0; 11]),
        &v2(0x22, 0x11, &[0; 12]),
        &v2(0x11, 0x11, &[0; 12]),
        b"\r\n\r\n\0\r\nQUIX\n\x21\x11\0\0",
        b"\x16\x03\x01\x02\x00\x01",
    ] {
        let mut client = gateway.connect();
        client.send([bad, &get("/bad")].concat());
        assert!(client.is_closed(), "{:?}", String::from_utf8_lossy(bad));
    }
    // two of them: the second one is no request
    let answer = gateway.ask([V1, V1, &get("/bad")].concat());
    assert_eq!(answer.status, 400);
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[test]
fn a_proxy_header_of_a_peer_that_is_no_trusted_proxy_is_not_believed() {
    let upstream = Upstream::start();
    let server = "proxy_protocol = true\ntrusted_proxies = [\"192.0.2.99\"]";
    let gateway =
        Gateway::from_toml(&toml(&format!("http://{}", upstream.address), server, "", ""));
    for request in [[V1, &get("/a")].concat(), get("/a")] {
        let mut client = gateway.connect();
        client.send(request);
        assert!(client.is_closed());
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn forwarding_headers_of_the_client_behind_the_proxy_are_believed_only_if_it_is_trusted_itself() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let request = b"GET /a HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n";
    for (from, expected) in [("192.0.2.7", "192.0.2.7"), ("127.0.0.1", "6.6.6.6, 127.0.0.1")] {
        let header = format!("PROXY TCP4 {from} 192.0.2.2 1 2\r\n");
        let answer = gateway.ask([header.as_bytes(), request].concat());
        assert_eq!(answer.text(), "hello");
        assert_eq!(seen_from(&upstream), expected);
    }
}

#[test]
fn d147_a_proxy_header_that_does_not_come_ends_at_the_header_timeout() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "header_timeout = \"300ms\"");
    for start in [&b""[..], b"PROXY TCP4 192.0.2.7", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01"] {
        let begun = Instant::now();
        let mut client = gateway.connect();
        client.send(start);
        assert!(client.is_closed(), "{start:?}");
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(250), "{took:?}");
    }
    // and what it has taken is taken off the request's
    let begun = Instant::now();
    let mut client = gateway.connect();
    std::thread::sleep(Duration::from_millis(200)); // a slow proxy
    client.send([V1, b"GET / HTT"].concat());
    assert_eq!(client.answer().status, 408);
    assert!(begun.elapsed() < Duration::from_millis(490), "{:?}", begun.elapsed());
}

#[test]
fn behind_the_proxy_header_tls_begins() {
    let (upstream, authority) = (Upstream::start(), Authority::new());
    let tls = format!("tls = {}", authority.certify(&["api.test"]).toml(""));
    let gateway = gateway(&upstream, &tls);
    let mut socket = TcpStream::connect(gateway.address).unwrap();
    socket.write_all(V1).unwrap();
    let tls = handshake(authority.client().config(), socket, "api.test").unwrap();
    let mut over_tls = client(tls);
    over_tls.send(get("/a"));
    assert_eq!(over_tls.answer().text(), "hello");
    let seen = upstream.only();
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("192.0.2.7"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
    // without the header there is no handshake
    assert!(authority.client().try_connect(gateway.address, "api.test").is_err());
    // nor behind TLS a header
    let mut socket = TcpStream::connect(gateway.address).unwrap();
    socket.write_all(V1).unwrap();
    let mut inside = client(handshake(authority.client().config(), socket, "api.test").unwrap());
    inside.send([V1, &get("/a")].concat());
    assert_eq!(inside.answer().status, 400);
}

#[test]
fn a_unix_socket_takes_no_proxy_header() {
    let upstream = Upstream::start();
    let path = std::env::temp_dir().join(format!("tollgate-proxy-{}", std::process::id()));
    let server = "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]";
    let text = toml(&format!("http://{}", upstream.address), server, "", "")
        .replace("\"127.0.0.1:0\"", &format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display()));
    let gateway = Gateway::from_toml(&text);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(&get("/a")).unwrap();
    assert_eq!(Client::of(stream).answer().text(), "hello");
    gateway.finish();
}
