//! More than one upstream: how requests are spread over the origins of one, which route leads to which, and what
//! becomes of the path on the way.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use support::{Gateway, PATIENCE, Upstream, bearer, eventually, get, post};

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

/// An upstream that can be switched: well, or failing all requests with this status. Its health is at /healthz.
struct Switched {
    upstream: Upstream,
    status: Arc<AtomicUsize>,
}

impl Switched {
    fn new(name: &'static str) -> Self {
        let status = Arc::new(AtomicUsize::new(200));
        let now = Arc::clone(&status);
        let upstream = Upstream::answering(move |_| {
            let status = now.load(Ordering::SeqCst);
            format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{name}", name.len()).into()
        });
        Self { upstream, status }
    }

    fn set(&self, status: usize) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// How many requests came that are no health checks.
    fn asked(&self) -> usize {
        self.upstream.seen().iter().filter(|seen| !seen.line.contains("/healthz")).count()
    }
}

/// How many of so many requests over one connection get this answer.
fn count(gateway: &Gateway, requests: usize, body: &str) -> usize {
    let mut client = gateway.connect();
    (0..requests)
        .filter(|_| {
            client.send(get("/"));
            client.answer().text() == body
        })
        .count()
}

const CHECKS: &str =
    "health = { path = \"/healthz\", interval = \"100ms\", unhealthy_after = 2 }\n";

#[test]
fn an_origin_that_its_health_check_finds_unwell_gets_nothing_until_it_is_well_again() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let keys = urls(&[&a.upstream, &b.upstream]);
    let keys = format!("{keys}{CHECKS}slow_return = 0\nejection = {{ failures = 0 }}");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    assert_eq!(count(&gateway, 20, "a"), 10);
    a.set(500);
    eventually("only b answers", || count(&gateway, 10, "b") == 10);
    let before = a.asked();
    assert_eq!(count(&gateway, 50, "b"), 50);
    assert_eq!(a.asked(), before);
    a.set(200);
    eventually("a is back", || count(&gateway, 10, "a") == 5);
    let checks = a.upstream.seen();
    let check = checks.iter().find(|seen| seen.line.contains("/healthz")).unwrap();
    assert_eq!(check.line, "GET /healthz HTTP/1.1");
    assert_eq!(check.field("host").unwrap(), a.upstream.address.to_string());
}

#[test]
fn u179_all_down_is_503_at_once_and_all_up_is_200_within_two_seconds() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let keys = format!("{}{CHECKS}", urls(&[&a.upstream, &b.upstream]));
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    assert_eq!(gateway.ask(get("/")).status, 200);
    a.set(503);
    b.set(503);
    eventually("none is well", || gateway.ask(get("/")).field("proxy-status").is_some());
    let before = a.asked() + b.asked();
    for _ in 0..10 {
        let answer = gateway.ask(get("/"));
        assert_eq!(answer.status, 503);
        assert_eq!(
            answer.field("proxy-status").as_deref(),
            Some("tollgate; error=destination_unavailable")
        );
        assert!(answer.field("retry-after").is_some());
        assert!(answer.json()["type"].as_str().unwrap().ends_with("upstream_unhealthy"));
    }
    assert_eq!(a.asked() + b.asked(), before, "nothing is sent to an origin that is not well");
    let checks = |one: &Switched| one.upstream.seen().len() - one.asked();
    let (up, checked) = (Instant::now(), checks(&a) + checks(&b));
    a.set(200);
    b.set(200);
    eventually("one is well", || gateway.ask(get("/")).status == 200);
    let took = up.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    // the checks are the only ones that ask, a few times a second, and not together
    assert!(checks(&a) + checks(&b) - checked < 40);
}

#[test]
fn an_origin_that_fails_several_times_in_a_row_is_left_out_for_longer_each_time() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let keys = urls(&[&a.upstream, &b.upstream]);
    let keys = format!("{keys}balance = \"round_robin\"\nejection = {{ failures = 3 }}");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    assert_eq!(count(&gateway, 20, "a"), 10);
    a.set(503);
    count(&gateway, 50, "b");
    assert_eq!(a.asked(), 13, "three failures, and no more");
    // after its time it is tried, seldom at first, and out again at its first failure
    gateway.clock.skip(Duration::from_millis(10_100));
    count(&gateway, 200, "b");
    assert_eq!(a.asked(), 14);
    gateway.clock.skip(Duration::from_millis(10_100));
    count(&gateway, 200, "b");
    assert_eq!(a.asked(), 14, "it is out for twice as long");
    gateway.clock.skip(Duration::from_millis(10_100));
    count(&gateway, 200, "b");
    assert_eq!(a.asked(), 15);
}

#[test]
fn an_origin_that_comes_back_gets_its_share_step_by_step() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let keys = urls(&[&a.upstream, &b.upstream]);
    // nothing but the clock of the test moves it on by much
    let keys = format!("{keys}ejection = {{ failures = 3 }}\nslow_return = \"10m\"");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    a.set(503);
    assert_eq!(count(&gateway, 50, "b"), 47);
    a.set(200);
    gateway.clock.skip(Duration::from_millis(10_100));
    let at_first = count(&gateway, 400, "a");
    assert!((5..=60).contains(&at_first), "a tenth of its share: {at_first} of 400");
    gateway.clock.skip(Duration::from_secs(300));
    let half_way = count(&gateway, 400, "a");
    assert!((70..=140).contains(&half_way), "half of its share: {half_way} of 400");
    gateway.clock.skip(Duration::from_secs(300));
    let at_last = count(&gateway, 400, "a");
    assert!((199..=201).contains(&at_last), "all of its share: {at_last} of 400");
}

#[test]
fn the_last_origin_is_never_left_out_for_its_failures() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let keys = urls(&[&a.upstream, &b.upstream]);
    let keys = format!("{keys}ejection = {{ failures = 1, max_percent = 100 }}");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    a.set(502);
    b.set(504);
    let mut client = gateway.connect();
    for _ in 0..20 {
        client.send(get("/"));
        let answer = client.answer();
        assert!(matches!(answer.status, 502 | 504), "the upstream's own answer: {answer:?}");
        assert!(matches!(answer.text().as_str(), "a" | "b"));
    }
}

#[test]
fn an_answer_that_is_cut_counts_as_a_failure_even_if_it_began_well() {
    let cut = Upstream::scripted(|mut connection| {
        if connection.request().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhal");
        }
    });
    let b = named("b");
    let keys =
        format!("{}balance = \"round_robin\"\nejection = {{ failures = 3 }}", urls(&[&cut, &b]));
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    for _ in 0..40 {
        let answer = gateway.ask(get("/"));
        assert!(answer.text() == "b" || !answer.complete, "{answer:?}");
    }
    assert_eq!(cut.seen().len(), 3);
}

#[test]
fn u177_a_get_without_an_answer_goes_to_another_origin_and_a_post_does_not() {
    let (bad, good) = (Upstream::answering(|_| Vec::new()), named("good"));
    let keys = urls(&[&bad, &good]);
    let keys = format!("{keys}balance = \"round_robin\"\nejection = {{ failures = 0 }}");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    assert_eq!(count(&gateway, 20, "good"), 20);
    let token = gateway.token();
    let statuses: Vec<u16> = (0..20)
        .map(|number| {
            let body = format!("post {number}");
            gateway.ask(post("/", &bearer(&token), body.as_bytes())).status
        })
        .collect();
    let posts = |upstream: &Upstream| -> Vec<Vec<u8>> {
        let posts = upstream.seen().into_iter().filter(|seen| seen.line.starts_with("POST"));
        posts.map(|seen| seen.body).collect()
    };
    let (mut sent, lost) = (posts(&bad), posts(&bad).len());
    sent.extend(posts(&good));
    assert_eq!(sent.len(), 20, "each POST is sent once");
    assert_eq!(sent.iter().collect::<std::collections::HashSet<_>>().len(), 20);
    assert_eq!(statuses.iter().filter(|status| **status == 502).count(), lost);
}

#[test]
fn only_a_part_of_the_requests_is_sent_again() {
    let bad = Upstream::answering(|_| Vec::new());
    let gateway = Gateway::before(bad.address);
    let started = Instant::now();
    let mut client = gateway.connect();
    for _ in 0..600 {
        client.send(get("/"));
        assert_eq!(client.answer().status, 502);
    }
    let seconds = usize::try_from(started.elapsed().as_secs()).unwrap() + 1;
    let again = bad.seen().len() - 600;
    // a hundred saved up, a fifth of all, ten a second
    assert!((220..=220 + 10 * seconds).contains(&again), "{again} in {seconds} s");
}

/// Answers when it is let go, and counts how many requests it has at once, each on a connection of its own.
struct Held {
    upstream: Upstream,
    free: Arc<(Mutex<bool>, Condvar)>,
    most: Arc<AtomicUsize>,
}

impl Held {
    fn new() -> Self {
        let free = Arc::new((Mutex::new(false), Condvar::new()));
        let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (gate, peak) = (Arc::clone(&free), Arc::clone(&most));
        let upstream = Upstream::scripted(move |mut connection| {
            while connection.request().is_some() {
                peak.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let mut is_free = gate.0.lock().unwrap();
                while !*is_free {
                    is_free = gate.1.wait(is_free).unwrap();
                }
                drop(is_free);
                open.fetch_sub(1, Ordering::SeqCst);
                connection.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            }
        });
        Self { upstream, free, most }
    }

    fn free(&self) {
        *self.free.0.lock().unwrap() = true;
        self.free.1.notify_all();
    }
}

fn is_saturated(answer: &support::Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    let status = answer.field("proxy-status");
    assert_eq!(status.as_deref(), Some("tollgate; error=connection_limit_reached"));
    assert!(answer.field("retry-after").is_some());
    assert!(answer.json()["type"].as_str().unwrap().ends_with("upstream_saturated"));
}

#[test]
fn beyond_its_connections_requests_wait_and_beyond_those_they_are_refused_at_once() {
    let held = Held::new();
    let keys = "max_connections = 2\nmax_pending = 1\nconnect_timeout = \"20s\"";
    let gateway = Gateway::with(held.upstream.address, "", keys);
    let ask = || {
        let mut client = gateway.connect();
        client.send(get("/"));
        client
    };
    let mut clients = vec![ask(), ask()];
    held.upstream.wait_for(2);
    // one of the next two waits, and the other is told at once
    let (mut third, mut fourth) = (ask(), ask());
    let started = Instant::now();
    for one in [&third, &fourth] {
        one.stream.set_nonblocking(true).unwrap();
    }
    let refused_first = loop {
        match [&third, &fourth].map(|one| one.stream.peek(&mut [0]).is_ok()) {
            [true, false] => break true,
            [false, true] => break false,
            both => assert_eq!(both, [false; 2]),
        }
        assert!(started.elapsed() < PATIENCE);
        std::thread::yield_now();
    };
    for one in [&third, &fourth] {
        one.stream.set_nonblocking(false).unwrap();
    }
    let (refused, waiting) =
        if refused_first { (&mut third, fourth) } else { (&mut fourth, third) };
    is_saturated(&refused.answer());
    held.free();
    clients.push(waiting);
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert!(held.most.load(Ordering::SeqCst) <= 2);
}

#[test]
fn whoever_waits_for_a_connection_waits_no_longer_than_for_a_new_one() {
    let held = Held::new();
    let keys = "max_connections = 1\nmax_pending = 10\nconnect_timeout = \"300ms\"";
    let gateway = Gateway::with(held.upstream.address, "", keys);
    let mut first = gateway.connect();
    first.send(get("/"));
    held.upstream.wait_for(1);
    let started = Instant::now();
    is_saturated(&gateway.ask(get("/")));
    assert!(started.elapsed() >= Duration::from_millis(290));
    held.free();
    assert_eq!(first.answer().status, 200);
    assert_eq!(gateway.ask(get("/")).status, 200);
}

#[test]
fn many_clients_share_a_few_connections_over_all_workers() {
    let held = Held::new();
    held.free();
    let keys = "max_connections = 3\nmax_pending = 1000\nconnect_timeout = \"20s\"";
    let gateway = Gateway::with(held.upstream.address, "", keys);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| assert_eq!(count(&gateway, 50, "ok"), 50));
        }
    });
    assert_eq!(held.upstream.seen().len(), 600);
    assert!(held.most.load(Ordering::SeqCst) <= 3, "{:?}", held.most);
}

#[test]
fn one_full_origin_leaves_its_requests_to_another() {
    let (held, other) = (Held::new(), named("other"));
    let keys = urls(&[&held.upstream, &other]);
    let keys = format!("{keys}balance = \"round_robin\"\nmax_connections = 1");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    let mut blocked = gateway.connect();
    let mut tries = 0;
    while held.upstream.seen().is_empty() {
        blocked = gateway.connect();
        blocked.send(get("/"));
        tries += 1;
        assert!(tries < 20);
        let started = Instant::now();
        while held.upstream.seen().len() + other.seen().len() < tries {
            assert!(started.elapsed() < PATIENCE);
            std::thread::yield_now();
        }
    }
    assert_eq!(count(&gateway, 20, "other"), 20);
    held.free();
    assert_eq!(blocked.answer().status, 200);
}

#[test]
fn what_is_known_of_every_origin_is_told_and_none_being_well_is_not_ready() {
    let (a, b, orders) = (Switched::new("a"), Switched::new("b"), Switched::new("orders"));
    let keys = format!("{}{CHECKS}", urls(&[&a.upstream, &b.upstream]));
    let named = format!(
        "[[upstreams]]\nname = \"orders\"\nurl = \"http://{}\"\n{CHECKS}\
         [[routes]]\nname = \"orders\"\npath = \"/orders/{{*rest}}\"\nupstream = \"orders\"\n\
         [admin]\nlisten = \"127.0.0.1:0\"\n",
        orders.upstream.address
    );
    let gateway = Gateway::from_toml(&toml(&keys, &named));
    let admin = gateway.admin.unwrap();
    let told = |path: &str| {
        let mut client = support::Client::connect(admin);
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\nConnection: close\r\n\r\n"));
        client.answer()
    };
    assert_eq!(count(&gateway, 10, "a"), 5);
    assert_eq!(told("/health/ready").status, 200);
    b.set(500);
    let origin = |upstream: usize, origin: usize| {
        told("/api/status").json()["upstreams"][upstream]["origins"][origin].clone()
    };
    eventually("b is unhealthy", || origin(0, 1)["state"] == "unhealthy");
    eventually("a is healthy", || origin(0, 0)["state"] == "healthy");
    let status = told("/api/status").json();
    assert_eq!(status["upstreams"][0]["name"], "default");
    assert_eq!(status["upstreams"][0]["balance"], "least_requests");
    assert_eq!(status["upstreams"][1]["name"], "orders");
    let (a_said, b_said) = (origin(0, 0), origin(0, 1));
    assert_eq!(a_said["url"], format!("http://{}", a.upstream.address));
    assert_eq!(a_said["requests"], 5);
    assert_eq!(a_said["active"], 0);
    assert_eq!(b_said["last_error"], "check_status");
    assert!(b_said["failures"].as_u64().unwrap() >= 2);
    let since = b_said["since"].as_u64().unwrap();
    assert!(status["now"].as_u64().unwrap() - since < 20, "{status}");
    let routes = status["routes"].as_array().unwrap();
    assert!(routes.iter().any(|route| route["name"] == "orders" && route["upstream"] == "orders"));
    let metrics = told("/metrics").text();
    let usable = |one: &Switched| {
        let label = format!("origin=\"http://{}\"", one.upstream.address);
        let line = metrics
            .lines()
            .find(|line| line.starts_with("tollgate_upstream_usable{") && line.contains(&label));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    };
    assert_eq!((usable(&a).as_str(), usable(&b).as_str()), ("1", "0"));
    for one in [&a, &b, &orders] {
        one.set(500);
    }
    eventually("it is not ready", || told("/health/ready").status == 503);
    for one in [&a, &b, &orders] {
        one.set(200);
    }
    eventually("it is ready again", || told("/health/ready").status == 200);
}

#[test]
fn what_is_known_of_an_origin_outlives_a_reload_that_leaves_it_where_it_is() {
    let (a, b) = (Switched::new("a"), Switched::new("b"));
    let both = format!("{}balance = \"round_robin\"\n", urls(&[&a.upstream, &b.upstream]));
    let keys = format!("{both}ejection = {{ failures = 3 }}\n");
    let gateway = Gateway::from_toml(&toml(&keys, ""));
    a.set(503);
    assert_eq!(count(&gateway, 50, "b"), 47);
    a.set(200);
    // other rules, and then other settings of the same upstream: it stays left out
    gateway.reload(&toml(&keys, "[access]\nmode = \"report\"")).unwrap();
    assert_eq!(count(&gateway, 50, "b"), 50);
    gateway.reload(&toml(&format!("{keys}timeout = \"5s\"\n"), "")).unwrap();
    assert_eq!(count(&gateway, 50, "b"), 50);
    // where nobody is to be left out, nobody is
    gateway.reload(&toml(&format!("{both}ejection = {{ failures = 0 }}\n"), "")).unwrap();
    assert_eq!(count(&gateway, 50, "b"), 25);
    // and one that is gone gets nothing
    gateway.reload(&toml(&urls(&[&a.upstream]), "")).unwrap();
    assert_eq!(count(&gateway, 50, "a"), 50);
}

#[test]
fn a_health_check_that_comes_and_goes_with_a_reload_decides_from_then_on_and_no_longer() {
    let a = Switched::new("a");
    let gateway = Gateway::before(a.upstream.address);
    a.set(500);
    assert_eq!(gateway.ask(get("/")).text(), "a");
    let url = format!("http://{}", a.upstream.address);
    gateway.reload(&support::toml(&url, "", CHECKS, "")).unwrap();
    eventually("it is unhealthy", || gateway.ask(get("/")).status == 503);
    gateway.reload(&support::toml(&url, "", "", "")).unwrap();
    eventually("it is asked again", || gateway.ask(get("/")).text() == "a");
    let checks = |upstream: &Upstream| {
        upstream.seen().iter().filter(|seen| seen.line.contains("/healthz")).count()
    };
    eventually("the checks end", || {
        let before = checks(&a.upstream);
        std::thread::sleep(Duration::from_millis(700)); // longer than from one check to the next
        checks(&a.upstream) == before
    });
    assert_eq!(gateway.ask(get("/")).text(), "a");
}
