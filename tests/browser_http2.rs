//! A browser speaks HTTP/2 with the gateway: pages, writing with a token, WebSockets by extended CONNECT.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use support::tls::Authority;
use support::{Connection, Gateway, Seen, Upstream, find, tokens, toml};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocket};

#[test]
fn a_browser_reads_writes_and_opens_a_web_socket_over_http_2() {
    let root = env!("CARGO_MANIFEST_DIR");
    let installed =
        Command::new("bash").args(["tests/install.sh", "page"]).current_dir(root).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    let (over_http_2, sockets) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
    let (counted, opened) = (Arc::clone(&over_http_2), Arc::clone(&sockets));
    let upstream = Upstream::scripted(move |mut connection| {
        while let Some(seen) = connection.request() {
            if seen.field("via").is_some_and(|via| via == "2 tollgate") {
                counted.fetch_add(1, Ordering::SeqCst);
            }
            if seen.field("upgrade").is_some() {
                opened.fetch_add(1, Ordering::SeqCst);
                return echo(connection, &seen);
            }
            connection.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<!doctype html>",
            );
        }
    });
    let server = format!("tls = {}", Authority::new().certify(&["localhost"]).toml(""));
    let rest = "[[routes]]\npath = \"/socket\"\naccess = \"public\"";
    let gateway =
        Gateway::from_toml(&toml(&format!("http://{}", upstream.address), &server, "", rest));
    let ended = Command::new("node")
        .arg("tests/clients/page/http2.mjs")
        .current_dir(root)
        .env("GATEWAY", format!("https://localhost:{}", gateway.address.port()))
        .env("TOKEN", tokens::good(&gateway))
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&[&ended.stdout[..], &ended.stderr[..]].concat()).into_owned();
    assert!(ended.status.success(), "{said}");
    assert!(over_http_2.load(Ordering::SeqCst) >= 53, "{over_http_2:?}: {said}");
    assert_eq!(sockets.load(Ordering::SeqCst), 1);
    assert_eq!(gateway.totals().panics, 0);
}

/// Agrees to the upgrade, and sends every message back.
fn echo(mut connection: Connection, seen: &Seen) {
    let accept = derive_accept_key(seen.field("sec-websocket-key").unwrap().as_bytes());
    connection.send(format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ));
    assert!(find(seen.line.as_bytes(), b"/socket").is_some());
    let mut socket = WebSocket::from_raw_socket(connection.stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        if message.is_text() && socket.send(message).is_err() {
            return;
        }
    }
}
