//! The admin listener: what it tells, to whom, and that it tells no secret.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use serde_json::Value;
use support::{Client, Gateway, Upstream, bearer, eventually, get, post, toml};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A token of [admin].
const TOKEN: &str = "Yx7Qm2vY0tq8Zp4XkT4mQ9zXw";

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    Gateway::from_toml(&toml(
        &format!("http://{}", upstream.address),
        "",
        "",
        &format!("{ADMIN}{rest}"),
    ))
}

fn ask(admin: SocketAddr, path: &str) -> support::Answer {
    ask_with(admin, "GET", path, &format!("Host: {admin}\r\n"))
}

/// `fields`: whole lines.
fn ask_with(admin: SocketAddr, method: &str, path: &str, fields: &str) -> support::Answer {
    let mut client = Client::connect(admin);
    client.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n"));
    client.answer_to(method).unwrap()
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

/// Everything but health.
const CLOSED: [&str; 4] = ["/", "/metrics", "/api/status", "/nothing"];

#[test]
fn d207_what_others_can_reach_shows_nothing_but_health_without_the_token() {
    let upstream = Upstream::start();
    let admin = format!("[admin]\nlisten = \"0.0.0.0:0\"\ntoken = \"{TOKEN}\"\n");
    let text = toml(&format!("http://{}", upstream.address), "", "", &admin);
    let gateway = Gateway::from_toml(&text);
    let admin = SocketAddr::from(([127, 0, 0, 1], gateway.admin.unwrap().port()));
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(ask(admin, path).status, 200, "{path}");
    }
    let host = "Host: gateway.example.com\r\n";
    let basic = |pair: String| base64(pair.as_bytes());
    let asks =
        |path, authorization: &str| ask_with(admin, "GET", path, &format!("{host}{authorization}"));
    for path in CLOSED {
        for wrong in [
            String::new(),
            bearer("Yx7Qm2vY0tq8Zp4XkT4mQ9zXv"),
            bearer(&gateway.token()),
            format!("Authorization: Basic {}\r\n", basic(format!("{TOKEN}:"))),
            format!("{0}{0}", bearer(TOKEN)),
        ] {
            let answer = asks(path, &wrong);
            assert_eq!(answer.status, 401, "{path} {wrong}");
            let challenge = answer.field("www-authenticate").unwrap();
            assert!(challenge.contains("Bearer ") && challenge.contains("Basic "), "{challenge}");
            assert!(!answer.text().contains("tollgate_") && !answer.text().contains(TOKEN));
        }
        let right = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(asks(path, &bearer(TOKEN)).status, right, "{path}");
        let browser = format!("Authorization: Basic {}\r\n", basic(format!("ops:{TOKEN}")));
        assert_eq!(asks(path, &browser).status, right, "{path}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_site_that_leads_a_browser_to_the_loopback_address_learns_nothing() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    for path in CLOSED {
        for rebound in ["evil.example.com", "evil.example.com:9090", "localhost.evil.example", ""] {
            let answer = ask_with(admin, "GET", path, &format!("Host: {rebound}\r\n"));
            assert_eq!(answer.status, 403, "{path} {rebound}");
        }
        let absolute = format!("http://evil.example.com{path}");
        assert_eq!(ask_with(admin, "GET", &absolute, "Host: localhost\r\n").status, 403);
    }
    for own in ["localhost", "127.0.0.1", "[::1]:9090", "LocalHost:80"] {
        let answer = ask_with(admin, "GET", "/metrics", &format!("Host: {own}\r\n"));
        assert_eq!(answer.status, 200, "{own}");
    }
    let probe = ask_with(admin, "GET", "/health/live", "Host: whatever\r\n");
    assert_eq!(probe.status, 200);
}

#[test]
fn only_get_and_head_are_answered() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    let host = "Host: localhost\r\nContent-Length: 0\r\n";
    for path in ["/", "/health/live", "/health/ready", "/metrics", "/api/status"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"] {
            let answer = ask_with(admin, method, path, host);
            assert_eq!((answer.status, answer.field("allow").as_deref()), (405, Some("GET, HEAD")));
        }
        let head = ask_with(admin, "HEAD", path, host);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn every_answer_forbids_a_browser_to_make_more_of_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    for path in ["/", "/health/live", "/health/ready", "/metrics", "/api/status", "/nothing"] {
        let answer = ask(gateway.admin.unwrap(), path);
        let field = |name| answer.field(name).unwrap_or_else(|| panic!("{path} has no {name}"));
        assert_eq!(field("x-content-type-options"), "nosniff");
        assert_eq!(field("referrer-policy"), "no-referrer");
        let policy = field("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path} {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(answer.field("access-control-allow-origin").is_none());
        if path != "/" {
            assert_eq!(field("cache-control"), "no-store");
        }
    }
}

#[test]
fn d167_the_proxied_listener_leads_to_nothing_of_the_admin_listener() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nupstream".to_vec()
    });
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    for path in ["/", "/metrics", "/api/status", "/health/live", "/health/ready"] {
        for host in [admin.to_string(), "localhost".to_owned(), "admin".to_owned()] {
            let answer = gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!((answer.status, answer.text().as_str()), (404, "upstream"), "{path} {host}");
            let absolute = format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(gateway.ask(absolute).text(), "upstream", "{path} {host}");
        }
    }
    // and the admin listener forwards nothing
    assert_eq!(ask(admin, "/players").status, 404);
    assert_eq!(upstream.seen().len(), 30);
}

#[test]
fn slow_connections_keep_nobody_else_out() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = Client::connect(admin);
        client.send(if number % 2 == 0 { "GET /metrics HTTP/1.1\r\nHost: loc" } else { "" });
        slow.push(client);
        if number % 20 == 19 {
            assert_eq!(ask(admin, "/health/ready").status, 200, "{number}");
            assert_eq!(ask(admin, "/metrics").status, 200, "{number}");
        }
    }
    // a bounded number is held, and none for long
    assert!(slow[0].is_closed());
    assert!(slow.last_mut().unwrap().is_closed());
}

#[test]
fn a_unix_socket_and_several_addresses_are_answered_on() {
    let upstream = Upstream::start();
    let path = support::scratch_file("admin.sock", "");
    std::fs::remove_file(&path).unwrap();
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::from_toml(&toml(&url, "", "", &format!("[admin]\nlisten = {listen}\n")));
    assert_eq!(ask(gateway.admin.unwrap(), "/health/ready").status, 200);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    gateway.finish();
    assert!(!path.exists(), "the file went with the gateway");
}

#[test]
fn no_secret_is_told_by_any_path_of_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = gateway.token();
    let fields = format!("{}X-Api-Key: marker-field\r\nCookie: marker-cookie\r\n", bearer(&token));
    let marked = "/players?access_token=marker-query&key=marker-query";
    gateway.ask(post(marked, &fields, b"marker-body"));
    gateway.ask(post(marked, &bearer("marker-token"), b""));
    gateway.ask(post("/auth/token?client_secret=marker-query", "", b"client_secret=marker-secret"));
    gateway.ask(post("/players", "Authorization: Basic bWFya2VyOm1hcmtlci1iYXNpYw==\r\n", b""));
    gateway.ask("GET /\x01marker-raw HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("all of it is told", || status(&gateway)["refusals"].as_array().unwrap().len() >= 3);
    for path in ["/", "/metrics", "/api/status", "/health/ready", "/page.js"] {
        let told = ask(gateway.admin.unwrap(), path).text();
        for secret in [support::SECRET, support::KEY, &token, &base64(support::KEY.as_bytes())] {
            assert!(!told.contains(secret), "{path}");
        }
        assert!(!told.contains("marker-"), "{path}: {told}");
        assert!(!told.contains("bWFya2Vy"), "{path}: {told}");
    }
}

#[test]
fn an_address_is_added_and_a_token_set_while_the_others_stay_open() {
    let upstream = Upstream::start();
    let path = support::scratch_file("admin.sock", "");
    std::fs::remove_file(&path).unwrap();
    let url = format!("http://{}", upstream.address);
    let before = format!("[admin]\nlisten = \"unix:{}\"\n", path.display());
    let gateway = Gateway::from_toml(&toml(&url, "", "", &before));
    let over_unix = |fields: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(over_unix(""), "200");
    let listen = format!("[\"unix:{}\", \"127.0.0.1:0\"]", path.display());
    let after = format!("[admin]\nlisten = {listen}\ntoken = \"{TOKEN}\"\n");
    let text = toml(&url, "", "", &after);
    let file = support::scratch_file("gateway.toml", &text);
    let sources = tollgate::config::Sources { file: Some(file), ..Default::default() };
    gateway.running().reload(tollgate::config::load(&sources).unwrap().settings).unwrap();
    let admin = gateway.running().admin_address().unwrap();
    assert_eq!(over_unix(""), "401");
    assert_eq!(over_unix(&bearer(TOKEN)), "200");
    let host = format!("Host: {admin}\r\n");
    assert_eq!(ask_with(admin, "GET", "/metrics", &host).status, 401);
    let status = ask_with(admin, "GET", "/api/status", &format!("{host}{}", bearer(TOKEN))).json();
    assert_eq!(status["configuration"]["generation"], 2);
    assert_eq!(status["configuration"]["reloads"]["ok"], 1);
    gateway.finish();
    assert!(!path.exists());
}
