//! Limits per client: who counts as one, what is answered, and what does not get around them.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::{Answer, Client, Gateway, Upstream, bearer, eventually, get, post, toml};

const OTHER: &str = "another-client";

/// A gateway with one more client, trusting loopback, and a limited route.
fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    let other = format!(
        "[[clients]]\nid = \"{OTHER}\"\nsecret = \"another secret of some length\"\nscopes = [\"api:write\"]\n{rest}"
    );
    let trusted = "trusted_proxies = [\"127.0.0.0/8\"]";
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), trusted, "", &other))
}

fn limited(per: &str) -> String {
    format!(
        "[[routes]]\npath = \"/limited/{{*rest}}\"\n\
         rate_limit = {{ per = \"{per}\", requests = 3, window = \"1m\" }}"
    )
}

fn token_of(gateway: &Gateway, client: &str, secret: &str) -> String {
    let body = support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", client),
        ("client_secret", secret),
    ]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = gateway.ask(post("/auth/token", fields, body.as_bytes()));
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

/// GET from this address.
fn from(address: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET /limited/a HTTP/1.1\r\nHost: api.test\r\nX-Forwarded-For: {address}\r\n{fields}\r\n"
    )
    .into_bytes()
}

fn told(answer: &Answer) -> (u16, String, String) {
    let field = |name| answer.field(name).unwrap_or_default();
    (answer.status, field("ratelimit"), field("ratelimit-policy"))
}

#[test]
fn a_client_that_asks_too_often_is_answered_429_and_told_when_to_come_again() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("client"));
    let token = gateway.token();
    for left in ["\"default\";r=2;t=20", "\"default\";r=1;t=40", "\"default\";r=0;t=60"] {
        let answer = gateway.ask(post("/limited/a", &bearer(&token), b""));
        let policy = "\"default\";q=3;w=60".to_owned();
        assert_eq!(told(&answer), (200, left.to_owned(), policy));
        assert_eq!(answer.field("retry-after"), None);
    }
    let refused = gateway.ask(post("/limited/a", &bearer(&token), b""));
    assert_eq!(refused.status, 429);
    assert_eq!(refused.field("retry-after").as_deref(), Some("20"));
    assert!(refused.field("ratelimit").unwrap().starts_with("\"default\";r=0;t="));
    assert_eq!(refused.field("ratelimit-policy").as_deref(), Some("\"default\";q=3;w=60"));
    assert_eq!(refused.field("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(refused.json()["type"], "urn:tollgate:problem:rate_limited");
    assert_eq!(upstream.seen().len(), 3);

    // from another address, on another connection: still the same client; another client is another one
    let again = gateway.ask(from("192.0.2.7", &bearer(&token)));
    assert_eq!(again.status, 429);
    let other = token_of(&gateway, OTHER, "another secret of some length");
    assert_eq!(gateway.ask(from("192.0.2.7", &bearer(&other))).status, 200);

    gateway.clock.skip(Duration::from_secs(21));
    assert_eq!(gateway.ask(from("192.0.2.7", &bearer(&token))).status, 200);
    assert_eq!(gateway.ask(from("192.0.2.7", &bearer(&token))).status, 429);
}

#[test]
fn requests_without_a_token_count_by_address_and_ipv6_by_its_network() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("client"));
    for host in 1..=3 {
        assert_eq!(gateway.ask(from(&format!("2001:db8::{host}"), "")).status, 200);
    }
    assert_eq!(gateway.ask(from("2001:db8::ffff:1", "")).status, 429);
    assert_eq!(gateway.ask(from("2001:db8:0:1::1", "")).status, 200);
    assert_eq!(gateway.ask(from("192.0.2.1", "")).status, 200);
    // a token moves nobody into another's quota, and is no way to have two
    let token = gateway.token();
    assert_eq!(gateway.ask(from("2001:db8::1", &bearer(&token))).status, 200);
}

#[test]
fn an_address_is_the_one_that_a_trusted_proxy_names_and_not_what_a_client_says_before_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("address"));
    for claimed in ["6.6.6.1", "6.6.6.2", "6.6.6.3"] {
        assert_eq!(gateway.ask(from(&format!("{claimed}, 192.0.2.1"), "")).status, 200);
    }
    assert_eq!(gateway.ask(from("6.6.6.4, 192.0.2.1", "")).status, 429);

    let untrusting = toml(&format!("http://{}", upstream.address), "", "", &limited("address"));
    let gateway = Gateway::from_toml(&untrusting);
    for claimed in ["6.6.6.1", "6.6.6.2", "6.6.6.3"] {
        assert_eq!(gateway.ask(from(claimed, "")).status, 200);
    }
    assert_eq!(gateway.ask(from("6.6.6.4", "")).status, 429);
}

#[test]
fn refused_requests_cost_no_quota() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("address"));
    for fields in ["", "Authorization: Bearer nonsense\r\n", "Authorization: Bearer a, b\r\n"] {
        for _ in 0..5 {
            let answer = gateway.ask(post("/limited/a", fields, b""));
            assert!((400..=401).contains(&answer.status), "{answer:?}");
            assert_eq!(answer.field("ratelimit"), None);
        }
    }
    let token = gateway.token();
    for _ in 0..3 {
        assert_eq!(gateway.ask(post("/limited/a", &bearer(&token), b"")).status, 200);
    }
    assert_eq!(gateway.ask(post("/limited/a", &bearer(&token), b"")).status, 429);
}

#[test]
fn a_forged_token_that_names_a_client_does_not_use_up_its_quota() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("client"));
    let token = gateway.token();
    let (signed, _) = token.rsplit_once('.').unwrap();
    for _ in 0..5 {
        let forged = from("192.0.2.9", &bearer(&format!("{signed}.AAAA")));
        assert!(matches!(gateway.ask(forged).status, 200 | 429)); // open to GET: counts by address
    }
    assert_eq!(gateway.ask(from("192.0.2.9", &bearer(&token))).status, 200);
}

#[test]
fn every_worker_counts_into_the_same_quota() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("address"));
    let mut connections: Vec<Client> = (0..16).map(|_| gateway.connect()).collect();
    let passed = connections
        .iter_mut()
        .map(|connection| {
            connection.send(get("/limited/a"));
            connection.answer().status
        })
        .filter(|status| *status == 200)
        .count();
    assert_eq!(passed, 3);
}

#[test]
fn a_limit_of_access_is_one_over_all_routes_that_have_none_of_their_own() {
    let upstream = Upstream::start();
    let rest = "[access]\nrate_limit = { per = \"address\", requests = 2 }\n\
                [[routes]]\npath = \"/open\"\naccess = \"public\"\n\
                [[routes]]\npath = \"/own\"\nrate_limit = { per = \"address\", requests = 1 }";
    let gateway = gateway(&upstream, rest);
    assert_eq!(gateway.ask(get("/open")).status, 200);
    assert_eq!(gateway.ask(get("/elsewhere")).status, 200);
    assert_eq!(gateway.ask(get("/open")).status, 429);
    assert_eq!(gateway.ask(get("/own")).status, 200);
    assert_eq!(gateway.ask(get("/own")).status, 429);
    // the gateway's own endpoints are not among them
    assert!(!gateway.token().is_empty());
}

#[test]
fn in_report_mode_what_is_too_often_is_told_and_let_through() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &format!("{}\nmode = \"report\"", limited("address")));
    for _ in 0..5 {
        let answer = gateway.ask(get("/limited/a"));
        assert_eq!((answer.status, answer.field("retry-after")), (200, None));
    }
    eventually("both are counted", || gateway.totals().reported == 2);
}

#[test]
fn where_nothing_is_limited_nothing_is_said_and_the_upstreams_own_words_stand() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nRateLimit: \"theirs\";r=9\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let gateway = gateway(&upstream, &limited("address"));
    let unlimited = gateway.ask(get("/elsewhere"));
    assert_eq!(unlimited.field("ratelimit").as_deref(), Some("\"theirs\";r=9"));
    assert_eq!(unlimited.field("ratelimit-policy"), None);
    let limited = gateway.ask(get("/limited/a"));
    assert_eq!(limited.field("ratelimit").as_deref(), Some("\"default\";r=2;t=20"));
}

/// One quota, however the path is spelt.
#[test]
fn another_spelling_of_a_path_is_no_second_quota() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, &limited("address"));
    for path in ["/limited/a", "/limited/%61", "/limited//a"] {
        assert!(matches!(gateway.ask(get(path)).status, 200 | 400));
    }
    let spellings = ["/limited/b", "/limited/%62", "/LIMITED/b", "//limited/b", "/limited/b;x"];
    let passed =
        spellings.iter().filter(|path| gateway.ask(get(path)).status == 200).collect::<Vec<_>>();
    // a spelling that no reader takes for the route is another path
    assert!(
        passed.iter().all(|path| **path == "/LIMITED/b" || **path == "//limited/b"),
        "{passed:?}"
    );
}

#[test]
fn counts_outlive_a_reload_that_leaves_the_limit_as_it_is() {
    let upstream = Upstream::start();
    let text = |window: &str, rest: &str| {
        let url = format!("http://{}", upstream.address);
        let limited = limited("address").replace("1m", window);
        toml(&url, "", "", &format!("{limited}\n[[routes]]\npath = \"/new\"\n{rest}"))
    };
    let gateway = Gateway::from_toml(&text("1m", ""));
    for status in [200, 200, 200, 429] {
        assert_eq!(gateway.ask(get("/limited/a")).status, status);
    }
    gateway.reload(&text("1m", "access = \"deny\"")).unwrap();
    assert_eq!(gateway.ask(get("/new")).status, 403);
    assert_eq!(gateway.ask(get("/limited/a")).status, 429);
    gateway.reload(&text("2m", "")).unwrap();
    assert_eq!(gateway.ask(get("/limited/a")).status, 200);
}
