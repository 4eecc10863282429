//! More than one upstream: how requests are spread over the origins of one, which route leads to which, and what
//! becomes of the path on the way.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::SocketAddr;

use support::{Gateway, Upstream, bearer, get, post};

/// An upstream that answers with its name.
fn named(name: &'static str) -> Upstream {
    Upstream::answering(move |_| {
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into_bytes()
    })
}

/// An address where nobody listens, and nobody else will while this test runs.
fn nobody() -> SocketAddr {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    std::mem::forget(socket);
    address
}

/// A whole configuration with these lines for `[upstream]`, and more behind it.
fn toml(upstream: &str, rest: &str) -> String {
    support::toml("http://replaced", "", upstream, rest).replace("url = \"http://replaced\"\n", "")
}

fn urls(upstreams: &[&Upstream]) -> String {
    let urls: Vec<String> =
        upstreams.iter().map(|one| format!("\"http://{}\"", one.address)).collect();
    format!("urls = [{}]\n", urls.join(", "))
}

#[test]
fn requests_are_spread_over_all_origins() {
    for balance in ["least_requests", "round_robin", "random"] {
        let upstreams = [named("a"), named("b"), named("c")];
        let keys = urls(&[&upstreams[0], &upstreams[1], &upstreams[2]]);
        let keys = format!("{keys}balance = \"{balance}\"");
        let gateway = Gateway::from_toml(&toml(&keys, ""));
        let mut client = gateway.connect();
        for _ in 0..300 {
            client.send(get("/"));
            assert_eq!(client.answer().status, 200);
        }
        let seen = upstreams.each_ref().map(|upstream| upstream.seen().len());
        assert_eq!(seen.iter().sum::<usize>(), 300);
        let fair = if balance == "random" { 60..=140 } else { 99..=101 };
        assert!(seen.iter().all(|count| fair.contains(count)), "{balance}: {seen:?}");
    }
}

#[test]
fn u169_an_origin_that_takes_no_connection_leaves_its_requests_to_another_whatever_the_method() {
    let upstream = named("alive");
    let keys = format!("urls = [\"http://{}\", \"http://{}\"]", nobody(), upstream.address);
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    let token = gateway.token();
    for _ in 0..10 {
        assert_eq!(gateway.ask(get("/")).status, 200);
        assert_eq!(gateway.ask(post("/", &bearer(&token), b"once")).status, 200);
    }
    assert_eq!(upstream.seen().iter().filter(|seen| seen.body == b"once").count(), 10);
}

#[test]
fn a_route_leads_to_the_upstream_that_it_names() {
    let (main, orders) = (named("main"), named("orders"));
    let gateway = Gateway::from_toml(&support::toml(
        &format!("http://{}/base", main.address),
        "",
        "",
        &format!(
            "[[upstreams]]\nname = \"orders\"\nurl = \"http://{}/api\"\n\
             [[routes]]\npath = \"/orders/{{*rest}}\"\nupstream = \"orders\"\nrewrite = \"/v2/{{rest}}\"\n",
            orders.address
        ),
    ));
    assert_eq!(gateway.ask(get("/else")).text(), "main");
    assert_eq!(gateway.ask(get("/orders/7/items?a=%2F..")).text(), "orders");
    let token = gateway.token();
    assert_eq!(gateway.ask(post("/orders", &bearer(&token), b"x")).text(), "orders");
    assert_eq!(gateway.ask(post("/orders/7", "", b"x")).status, 401);
    let lines: Vec<String> = orders.seen().iter().map(|seen| seen.line.clone()).collect();
    assert_eq!(lines, ["GET /api/v2/7/items?a=%2F.. HTTP/1.1", "POST /api/v2/ HTTP/1.1"]);
    assert_eq!(main.seen()[0].line, "GET /base/else HTTP/1.1");
}

#[test]
fn what_a_rewrite_would_make_readable_in_two_ways_never_goes_on() {
    let orders = named("orders");
    let gateway = Gateway::from_toml(&support::toml(
        &format!("http://{}", orders.address),
        "",
        "",
        "[[routes]]\npath = \"/go/{*rest}\"\nrewrite = \"/{rest}\"\n\
         [[routes]]\npath = \"/strict/{x}\"\nrewrite = \"/{x}\"\naccess = \"protected\"\n\
         [[routes]]\npath = \"/dot/{x}/{y}\"\nrewrite = \"/.{x}{y}\"\n",
    ));
    for path in [
        "/go//evil.test/x",
        "/go/a//b",
        "/go/..",
        "/go/%2e%2e/x",
        "/go/..;/x",
        "/go/a%2f..%2fb",
        "/go/%252e%252e/x",
        "/go\\..\\x",
        "/dot/.;a/b",
        "/dot/;a/b",
        "/dot/%2e/b",
        // the stricter route, as some would read the path: there is nothing to insert exactly
        "//strict/x",
        "/strict;a/x",
    ] {
        let answer = gateway.ask(get(path));
        assert_eq!(answer.status, 400, "{path}: {answer:?}");
    }
    assert_eq!(orders.seen().len(), 0);
    // no stricter than what it meets as it stands, so that is what it is
    assert_eq!(gateway.ask(get("/go;x/a")).status, 200);
    assert_eq!(orders.only().line, "GET /go;x/a HTTP/1.1");
    assert_eq!(gateway.ask(get("/go/x%20y;a=1/?q=//")).status, 200);
    assert_eq!(orders.seen().last().unwrap().line, "GET /x%20y;a=1/?q=// HTTP/1.1");
}

#[test]
fn a_location_leads_back_through_rewrite_and_base_path() {
    let upstream = Upstream::answering(|seen| {
        let path = seen.line.split(' ').nth(1).unwrap().to_owned();
        let to = path.split_once("to=").map_or("", |(_, to)| to).to_owned();
        let host = seen.field("x-own").unwrap();
        let to = to.replace("OWN", &host);
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let gateway = Gateway::from_toml(&support::toml(
        &format!("http://{}/base", upstream.address),
        "",
        "",
        "[[routes]]\npath = \"/orders/{*rest}\"\nrewrite = \"/v2/{rest}\"\n",
    ));
    let location = |path: &str, to: &str| {
        let request = format!(
            "GET {path}?to={to} HTTP/1.1\r\nHost: api.test\r\nX-Own: {}\r\n\r\n",
            upstream.address
        );
        gateway.ask(request).field("location").unwrap()
    };
    for (path, to, told) in [
        ("/orders/7", "http://OWN/base/v2/8?x=1", "http://api.test/orders/8?x=1"),
        ("/orders/7", "/base/v2/8", "/orders/8"),
        ("/orders/7", "/base/other", "/other"),
        ("/orders/7", "/elsewhere", "/elsewhere"),
        ("/orders/7", "http://OWN/elsewhere", "http://api.test/elsewhere"),
        ("/orders/7", "http://other.test/base/v2/8", "http://other.test/base/v2/8"),
        ("/orders/7", "//OWN/base/v2/8", "//OWN/base/v2/8"),
        ("/orders/7", "8/more", "8/more"),
        ("/plain", "/base/v2/8", "/v2/8"),
        ("/plain", "http://OWN/base", "http://api.test"),
    ] {
        let own = upstream.address.to_string();
        assert_eq!(location(path, to), told.replace("OWN", &own), "{path} {to}");
    }
}
