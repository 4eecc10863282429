//! The admin listener: what it tells, to whom, and that it tells no secret.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::SocketAddr;

use serde_json::Value;
use support::{Client, Gateway, Upstream, bearer, eventually, get, post, toml};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    Gateway::from_toml(&toml(
        &format!("http://{}", upstream.address),
        "",
        "",
        &format!("{ADMIN}{rest}"),
    ))
}

fn ask(admin: SocketAddr, path: &str) -> support::Answer {
    let mut client = Client::connect(admin);
    client.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n\r\n"));
    client.answer()
}

fn status(gateway: &Gateway) -> Value {
    let answer = ask(gateway.admin.unwrap(), "/api/status");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("content-type").unwrap(), "application/json");
    assert_eq!(answer.field("cache-control").unwrap(), "no-store");
    answer.json()
}

fn named<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|entry| entry[key] == value)
        .unwrap_or_else(|| panic!("no {value} in {list}"))
}

#[test]
fn the_status_tells_what_happened() {
    let upstream = Upstream::start();
    let gateway =
        gateway(&upstream, "[[routes]]\npath = \"/admin/{*rest}\"\nall_of = [\"admin\"]\n");
    let token = gateway.token();
    assert_eq!(gateway.ask(get("/players?secret=in-the-query")).status, 200);
    assert_eq!(gateway.ask(post("/players", "", b"x")).status, 401);
    assert_eq!(gateway.ask(post("/players", &bearer(&token), b"x")).status, 200);
    assert_eq!(gateway.ask(post("/admin/x?k=v", &bearer(&token), b"x")).status, 403);
    let wrong = "grant_type=client_credentials&client_id=foobarbaz&client_secret=wrong";
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gateway.ask(post("/auth/token", fields, wrong.as_bytes())).status, 401);
    eventually("every refusal is told", || {
        status(&gateway)["refusals"].as_array().unwrap().len() == 3
    });
    let told = status(&gateway);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["ready"], true);
    assert_eq!(told["requests"]["total"], 6);
    let totals = gateway.totals();
    assert_eq!((totals.requests, totals.refused), (6, 2));
    let decisions = &told["requests"]["decisions"];
    assert_eq!(named(decisions, "reason", "no_credential")["count"], 1);
    assert_eq!(named(decisions, "reason", "valid_token")["decision"], "allowed");
    let route = named(&told["routes"], "name", "/admin/{*rest}");
    assert_eq!((&route["requests"], &route["refused"]), (&1.into(), &1.into()), "{route}");
    assert_eq!(route["policy"], "all_of admin");
    assert_eq!(route["access"], "protected");
    assert_eq!(named(&told["routes"], "name", "default")["requests"], 3);
    assert_eq!(told["tokens"]["issued"], 1);
    assert_eq!(named(&told["tokens"]["refused"], "reason", "wrong_secret")["count"], 1);
    let refusal = named(&told["refusals"], "reason", "missing_scope");
    assert_eq!((&refusal["path"], &refusal["status"]), (&"/admin/x".into(), &403.into()));
    assert_eq!(refusal["client_id"], "foobarbaz");
    assert_eq!(named(&told["issuers"], "name", "own")["state"], "fixed");
    assert_eq!(told["latency"]["gateway"]["counts"].as_array().unwrap().len(), 19);
    eventually("what the workers hold is told", || {
        // each worker remembers for itself, and which one is met is chance
        gateway.ask(post("/players", &bearer(&token), b"x"));
        status(&gateway)["caches"][0]["hits"].as_u64().unwrap() >= 1
    });
}

#[test]
fn a_flood_of_refusals_keeps_the_latest_fifty() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let mut client = gateway.connect();
    for number in 0..120 {
        client.send(post(&format!("/{number}"), "", b""));
        assert_eq!(client.answer().status, 401);
    }
    eventually("the last one is told", || status(&gateway)["refusals"][0]["path"] == "/119");
    let refusals = status(&gateway)["refusals"].as_array().unwrap().clone();
    assert_eq!(refusals.len(), 50);
    assert_eq!(refusals[49]["path"], "/70");
}

#[test]
fn the_page_and_its_files_are_served() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let page = ask(gateway.admin.unwrap(), "/");
    assert_eq!(page.status, 200);
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(ask(gateway.admin.unwrap(), "/nothing").status, 404);
}
