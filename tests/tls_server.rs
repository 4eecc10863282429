//! TLS towards clients: certificates by name, protocols and versions, deadlines, ends, and what comes in clear.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use support::tls::{Authority, client};
use support::{Client, Gateway, Upstream, get, post, toml};

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
