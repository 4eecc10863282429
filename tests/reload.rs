//! A new configuration while requests are on their way: all of it or nothing, and nobody loses a request.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use support::{Gateway, Upstream, bearer, get, post, toml};

fn file(upstream: &Upstream, rest: &str) -> String {
    toml(&format!("http://{}", upstream.address), "", "", rest)
}

fn denying(upstream: &Upstream) -> String {
    file(upstream, "[[routes]]\npath = \"/{*rest}\"\naccess = \"deny\"\n")
}

#[test]
fn a_connection_stays_open_and_its_next_request_is_judged_by_the_new_rules() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    gateway.reload(&denying(&upstream)).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 403);
    gateway.reload(&file(&upstream, "")).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    assert_eq!(gateway.totals().connections, 1);
    let report = gateway.running().last_reload().unwrap();
    assert!(report.ok && report.faults.is_empty());
    assert_eq!(report.generation, 3);
}

#[test]
fn a106_one_set_of_rules_decides_a_request_whose_body_comes_after_a_reload() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let token = bearer(&gateway.token());
    let mut client = gateway.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 10\r\n\r\n12345"));
    support::eventually("the head has arrived", || upstream.connections() == 1);
    gateway.reload(&denying(&upstream)).unwrap();
    client.send("67890");
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.only().body, b"1234567890");
    client.send(post("/", &token, b"x"));
    assert_eq!(client.answer().status, 403);
}

#[test]
fn an_idle_connection_to_an_unchanged_upstream_is_used_further() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "", "");
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    gateway.reload(&file(&upstream, "")).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_store_cannot_be_changed_and_then_nothing_is() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let folder = support::scratch_file("store", "").with_extension("folder");
    let store = format!("[store]\nurl = \"file:{}\"\n", folder.display());
    let fault = gateway.reload(&(denying(&upstream) + &store)).unwrap_err();
    assert!(fault.to_string().contains("restart"), "{fault}");
    assert_eq!(gateway.ask(get("/")).status, 200);
    let report = gateway.running().last_reload().unwrap();
    assert!(!report.ok);
    assert_eq!(report.faults, [fault.to_string()]);
    assert_eq!(report.generation, 1);
}
