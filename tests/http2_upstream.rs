//! Upstreams that speak HTTP/2, in clear or chosen over TLS: what they get, what comes back, and every way in which one
//! can fail or be hostile.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::server::Builder;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use support::http2 as kind;
use support::http2::{END_HEADERS, END_STREAM, Frame, block};
use support::http2_upstream::{Asked, Polite, Rude, send_all};
use support::process::Process;
use support::{Answer, Gateway, bearer, eventually, find, get, post, toml, with_body};

fn before(upstream: SocketAddr) -> Gateway {
    with(upstream, "")
}

fn with(upstream: SocketAddr, keys: &str) -> Gateway {
    Gateway::from_toml(&config(upstream, keys))
}

fn config(upstream: SocketAddr, keys: &str) -> String {
    toml(&format!("h2c://{upstream}"), "", keys, "")
}

fn answer(status: u16, fields: &[(&str, &str)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().unwrap();
    *response.headers_mut() = map(fields);
    response
}

fn map(fields: &[(&str, &str)]) -> HeaderMap {
    let field = |(name, value): &(&str, &str)| {
        (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap())
    };
    fields.iter().map(field).collect()
}

/// Sends back what came.
fn echo() -> Polite {
    Polite::answering(|asked| (answer(200, &[]), asked.body.clone(), asked.trailers.clone()))
}

fn is_problem(answer: &Answer, status: u16, code: &str) {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.json()["type"], format!("urn:tollgate:problem:{code}"));
}

// ---- what the upstream gets ----

#[test]
fn a_request_is_told_in_the_fields_of_http2_and_in_no_others() {
    let upstream = Polite::start();
    let gateway = before(upstream.address);
    let answer = gateway.ask(
        "GET /a/b?c=d&e=%2F HTTP/1.1\r\nHost: api.test\r\nConnection: keep-alive, x-mine\r\nX-Mine: 1\r\n\
         Keep-Alive: timeout=5\r\nTE: gzip, trailers\r\nProxy-Connection: keep-alive\r\nHTTP2-Settings: AAMAAABk\r\n\
         X-Auth-Client: admin\r\nX_Auth_Client: admin\r\nX-Forwarded-For: 6.6.6.6\r\nCookie: a=1; b=2\r\nX-Other: yes\r\n\r\n",
    );
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let asked = upstream.only();
    let uri = asked.head.uri();
    assert_eq!(asked.head.method(), "GET");
    assert_eq!(uri.to_string(), "http://api.test/a/b?c=d&e=%2F");
    assert_eq!(asked.head.version(), http::Version::HTTP_2);
    for gone in [
        "host",
        "connection",
        "x-mine",
        "keep-alive",
        "proxy-connection",
        "http2-settings",
        "x-auth-client",
        "x_auth_client",
        "content-length",
        "transfer-encoding",
        "upgrade",
    ] {
        assert_eq!(asked.field(gone), None, "{gone}");
    }
    assert_eq!(asked.field("te").as_deref(), Some("trailers"));
    assert_eq!(asked.field("cookie").as_deref(), Some("a=1; b=2"));
    assert_eq!(asked.field("x-other").as_deref(), Some("yes"));
    assert_eq!(asked.field("via").as_deref(), Some("1.1 tollgate"));
    assert_eq!(asked.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(
        asked.field("forwarded").as_deref(),
        Some("for=127.0.0.1;host=\"api.test\";proto=http")
    );
    assert!(asked.field("x-request-id").is_some_and(|id| !id.is_empty()));
}

#[test]
fn both_versions_tell_an_upstream_the_same() {
    let two = Polite::start();
    let one = support::Upstream::start();
    let token = before(two.address).token();
    let request = |token: &str| {
        let fields = format!(
            "{}X-Request-Id: 0123456789abcdef\r\nX-Auth-Subject: me\r\nAccept: */*\r\nProxy-Authorization: Basic eA==\r\n\
             Via: 1.0 before\r\nX-HTTP-Method-Override: DELETE\r\nRange: bytes=0-1\r\n",
            bearer(token)
        );
        post("/a?b", &fields, b"body")
    };
    let first = before(two.address);
    assert_eq!(first.ask(request(&token)).status, 200);
    let second = Gateway::before(one.address);
    assert_eq!(second.ask(request(&token)).status, 200);
    let in_order = |mut fields: Vec<(String, String)>| {
        fields.retain(|(name, _)| name != "host" && name != "x-request-id");
        fields.sort();
        fields
    };
    let asked = two.only();
    let told_two = asked.head.headers().iter();
    let told_two =
        told_two.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    assert_eq!(in_order(told_two.collect()), in_order(one.only().fields));
}

#[test]
fn the_authority_is_the_clients_or_the_origins_and_the_base_path_stands_before_the_path() {
    let upstream = Polite::start();
    let url = format!("h2c://{}/v1", upstream.address);
    let gateway = Gateway::from_toml(&toml(&url, "", "preserve_host = false", ""));
    assert_eq!(gateway.ask(get("/a?b=c")).status, 200);
    assert_eq!(
        upstream.only().head.uri().to_string(),
        format!("http://{}/v1/a?b=c", upstream.address)
    );
    let options = "OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n";
    assert_eq!(gateway.ask(options).status, 200);
    assert_eq!(upstream.seen()[1].path(), "*");
}

#[test]
fn a_path_that_http2_has_no_place_for_is_400_and_goes_nowhere() {
    let upstream = Polite::start();
    let gateway = before(upstream.address);
    let odd = gateway.ask(get("/a`b"));
    assert_eq!(odd.status, 400, "{odd:?}");
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.ask(get("/a|b?c=`{}^")).status, 200);
    assert_eq!(upstream.only().path(), "/a|b?c=`{}^");
}

#[test]
fn a_body_keeps_its_length_and_one_in_chunks_has_none_and_keeps_its_trailers() {
    let upstream = echo();
    let gateway = before(upstream.address);
    let token = gateway.token();
    let answer = gateway.ask(post("/a", &bearer(&token), b"four"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "four"));
    assert_eq!(upstream.only().field("content-length").as_deref(), Some("4"));
    let empty = gateway.ask(post("/a", &bearer(&token), b""));
    assert_eq!(empty.status, 200);
    assert_eq!(upstream.seen()[1].field("content-length").as_deref(), Some("0"));

    let mut client = gateway.connect();
    client.send(format!(
        "POST /b HTTP/1.1\r\nHost: api.test\r\n{}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        bearer(&token)
    ));
    client
        .send("4\r\ndefg\r\n0\r\nX-Sum: 7\r\nAuthorization: Bearer x\r\nX-Auth-Client: me\r\n\r\n");
    client.wait_for("x-sum: 7");
    client.wait_for("\r\n\r\n");
    let asked = &upstream.wait_for(3)[2];
    assert_eq!((asked.body.as_slice(), asked.field("content-length")), (&b"abcdefg"[..], None));
    assert_eq!(asked.trailers, Some(map(&[("x-sum", "7")])));
}

#[test]
fn expect_100_continue_is_answered_by_the_gateway() {
    let upstream = echo();
    let gateway = before(upstream.address);
    let fields = format!("{}Expect: 100-continue\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    let whole = post("/", &fields, b"waited for");
    let head = find(&whole, b"\r\n\r\n").unwrap() + 4;
    client.send(&whole[..head]);
    assert_eq!(client.any_answer("POST").unwrap().status, 100);
    client.send(&whole[head..]);
    let answer = client.answer();
    assert_eq!((answer.status, answer.text().as_str()), (200, "waited for"));
    assert_eq!(upstream.only().field("expect"), None);
}

// ---- what comes back ----

#[test]
fn an_answer_comes_back_with_its_length_its_fields_and_its_trailers() {
    let upstream = Polite::answering(|asked| match asked.path().as_str() {
        "/length" => {
            (answer(200, &[("content-length", "5"), ("x-a", "1")]), b"hello".to_vec(), None)
        }
        "/empty" => (answer(404, &[]), Vec::new(), None),
        _ => {
            let trailers = map(&[("x-sum", "1"), ("content-length", "9"), ("set-cookie", "a=b")]);
            (answer(200, &[]), vec![b'x'; 100_000], Some(trailers))
        }
    });
    let gateway = before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/length"));
    let whole = client.answer();
    assert_eq!(whole.field("content-length").as_deref(), Some("5"));
    assert_eq!((whole.text().as_str(), whole.field("x-a").as_deref()), ("hello", Some("1")));
    client.send(get("/empty"));
    let empty = client.answer();
    assert_eq!((empty.status, empty.field("content-length").as_deref()), (404, Some("0")));
    client.send(get("/trailers"));
    let head = client.head().unwrap();
    assert_eq!(head.field("transfer-encoding").as_deref(), Some("chunked"));
    let mut length = 0;
    let trailers = loop {
        match client.chunk_or_trailers() {
            Ok(piece) => length += piece.len(),
            Err(trailers) => break trailers,
        }
    };
    assert_eq!((length, trailers.as_str()), (100_000, "x-sum: 1"));
    assert_eq!(upstream.connections(), 1, "all of it over one connection");
}

#[test]
fn answers_without_content_have_none() {
    let upstream = Polite::answering(|asked| match asked.path().as_str() {
        "/head" => (answer(200, &[("content-length", "1234")]), Vec::new(), None),
        "/204" => (answer(204, &[]), Vec::new(), None),
        _ => (answer(304, &[("content-length", "77"), ("etag", "\"x\"")]), Vec::new(), None),
    });
    let gateway = before(upstream.address);
    let mut client = gateway.connect();
    client.send("HEAD /head HTTP/1.1\r\nHost: api.test\r\n\r\n");
    let head = client.answer_to("HEAD").unwrap();
    assert_eq!(head.field("content-length").as_deref(), Some("1234"));
    client.send(get("/204"));
    let none = client.answer();
    assert_eq!((none.status, none.field("content-length")), (204, None));
    client.send(get("/304"));
    let same = client.answer();
    assert_eq!((same.status, same.field("etag").as_deref()), (304, Some("\"x\"")));
    client.send(get("/204"));
    assert_eq!(client.answer().status, 204, "the connection went on");
}

#[test]
fn informational_answers_are_passed_on_but_never_101() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        let Some(stream) = frames.request() else { return };
        frames.headers(stream, 0, &[(":status", "103"), ("link", "</a.css>; rel=preload")]);
        if frames.number > 0 {
            frames.headers(stream, 0, &[(":status", "101"), ("upgrade", "x")]);
        }
        frames.hello(stream);
        frames.hello_for_ever();
    });
    let gateway = before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    let early = client.any_answer("GET").unwrap();
    assert_eq!((early.status, early.field("link").is_some()), (103, true));
    assert_eq!(client.any_answer("GET").unwrap().text(), "hello");
    let gateway = before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.any_answer("GET").unwrap().status, 103);
    assert_eq!(client.any_answer("GET").unwrap().status, 502);
}

#[test]
fn a_location_that_names_the_origin_names_the_gateway() {
    let own = Arc::new(Mutex::new(String::new()));
    let known = Arc::clone(&own);
    let upstream = Polite::answering(move |_| {
        let location = format!("http://{}/there", known.lock().unwrap());
        (answer(302, &[("location", &location)]), Vec::new(), None)
    });
    *own.lock().unwrap() = upstream.address.to_string();
    let gateway = before(upstream.address);
    let answer = gateway.ask(get("/"));
    assert_eq!(answer.field("location").as_deref(), Some("http://api.test/there"));
}

#[test]
fn mebibytes_go_both_ways_byte_for_byte() {
    let upstream = echo();
    let gateway = before(upstream.address);
    let token = gateway.token();
    for size in [1, 16_384, 65_535, 65_536, 65_537, 8 << 20] {
        let body: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let answer = gateway.ask(post("/", &bearer(&token), &body));
        assert_eq!((answer.status, answer.complete), (200, true));
        assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
    }
}

// ---- connections ----

#[test]
fn many_requests_at_once_share_one_connection_of_each_worker() {
    let together = Arc::new(Barrier::new(40));
    let (peak, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (most, open) = (Arc::clone(&peak), Arc::clone(&now));
    let upstream = Polite::handling(Builder::new(), move |mut exchange| {
        let (most, open) = (Arc::clone(&most), Arc::clone(&open));
        Box::pin(async move {
            exchange.take_whole().await;
            most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            while most.load(Ordering::SeqCst) < 40 {
                tokio::time::sleep(Duration::from_millis(1)).await; // until all are here
            }
            open.fetch_sub(1, Ordering::SeqCst);
            let _ = exchange.answer.send_response(answer(204, &[]), true);
        })
    });
    let gateway = before(upstream.address);
    std::thread::scope(|scope| {
        for _ in 0..40 {
            let (gateway, together) = (&gateway, Arc::clone(&together));
            scope.spawn(move || {
                together.wait();
                assert_eq!(gateway.ask(get("/")).status, 204);
            });
        }
    });
    assert!(upstream.connections() <= 2, "{} connections", upstream.connections());
}

#[test]
fn an_upstream_that_allows_one_stream_gets_one_at_a_time_on_each_connection() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let open: Arc<Mutex<Vec<usize>>> = Arc::default();
    let upstream = Polite::handling(builder, move |mut exchange| {
        let open = Arc::clone(&open);
        Box::pin(async move {
            assert!(!open.lock().unwrap().contains(&exchange.connection), "two at once");
            open.lock().unwrap().push(exchange.connection);
            exchange.take_whole().await;
            tokio::time::sleep(Duration::from_millis(3)).await; // long enough to meet others
            open.lock().unwrap().retain(|number| *number != exchange.connection);
            let _ = exchange.answer.send_response(answer(204, &[]), true);
        })
    });
    let gateway = before(upstream.address);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                for _ in 0..10 {
                    client.send(get("/"));
                    assert_eq!(client.answer().status, 204);
                }
            });
        }
    });
    assert!(upstream.connections() <= 16, "{} connections", upstream.connections());
    assert_eq!(upstream.seen().len(), 80);
}

#[test]
fn a_connection_that_nobody_uses_is_closed_after_the_idle_time() {
    let (told, ended) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        frames.hello_for_ever();
        told.lock().unwrap().send(()).unwrap();
    });
    let gateway = with(upstream.address, "idle_timeout = \"1s\"");
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    ended.recv_timeout(support::PATIENCE).unwrap();
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    assert_eq!(upstream.connections(), 2);
}

#[test]
fn an_upstream_that_closes_idle_connections_fails_no_get_and_doubles_no_post() {
    let posts: Arc<Mutex<Vec<Vec<u8>>>> = Arc::default();
    let noted = Arc::clone(&posts);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        // the first request may take its time; after it, a moment of silence ends the connection
        while let Some((stream, body)) = frames.request_with_body() {
            noted.lock().unwrap().push(body);
            frames.hello(stream);
            frames.stream.set_read_timeout(Some(Duration::from_millis(3))).unwrap();
        }
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    for number in 0..40 {
        assert_eq!(gateway.ask(get("/")).text(), "hello", "GET {number}");
        std::thread::sleep(Duration::from_millis(number % 7)); // about when the upstream closes
    }
    let (mut failed, gets) = (0, posts.lock().unwrap().len());
    for number in 0..30 {
        let answer = gateway.ask(post("/", &bearer(&token), format!("{number}").as_bytes()));
        failed += usize::from(answer.status != 200);
        std::thread::sleep(Duration::from_millis(number % 7));
    }
    let mut seen = posts.lock().unwrap().split_off(gets);
    let all = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), all, "no POST came twice");
    assert!(all + failed >= 30 && failed < 15, "{all} came, {failed} failed");
}

// ---- failures ----

/// Does `first` with the first request of the first connection, and says hello to all others.
fn once(first: impl Fn(&mut support::http2_upstream::Frames, u32) + Send + Sync + 'static) -> Rude {
    Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        if frames.number == 0 {
            let Some(stream) = frames.request() else { return };
            first(&mut frames, stream);
        }
        frames.hello_for_ever();
    })
}

#[test]
fn a_request_that_the_upstream_says_it_did_not_take_goes_again_whatever_it_asks_for() {
    for refuse in [
        |frames: &mut support::http2_upstream::Frames, stream| {
            frames.reset(stream, 7); // REFUSED_STREAM
        },
        |frames: &mut support::http2_upstream::Frames, _| {
            frames.go_away(0, 0); // nothing was looked at
        },
        |frames: &mut support::http2_upstream::Frames, _| {
            frames.go_away(0, 11); // the same, in anger
        },
    ] {
        let upstream = once(refuse);
        let gateway = before(upstream.address);
        let token = gateway.token();
        let answer = gateway.ask(post("/", &bearer(&token), b"once"));
        assert_eq!((answer.status, answer.text().as_str()), (200, "hello"), "{answer:?}");
    }
}

#[test]
fn a_body_on_its_way_goes_whole_to_another_connection_if_the_first_did_not_take_it() {
    let (told, bodies) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        if frames.number == 0 {
            frames.wait_for(kind::DATA);
            frames.go_away(0, 0);
        }
        while let Some((stream, body)) = frames.request_with_body() {
            told.lock().unwrap().send(body).unwrap();
            frames.hello(stream);
        }
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(format!(
        "POST / HTTP/1.1\r\nHost: api.test\r\n{}Transfer-Encoding: chunked\r\n\r\n6\r\nfirst,\r\n",
        bearer(&token)
    ));
    eventually("it went to another connection", || upstream.connections() == 2);
    client.send("6\r\n last.\r\n0\r\n\r\n");
    assert_eq!(client.answer().text(), "hello");
    assert_eq!(bodies.recv_timeout(support::PATIENCE).unwrap(), b"first, last.");
}

#[test]
fn a_request_that_is_refused_again_and_again_is_503() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        while let Some(stream) = frames.request() {
            frames.reset(stream, 7);
        }
    });
    let gateway = before(upstream.address);
    is_problem(&gateway.ask(get("/")), 503, "upstream_unprocessed");
}

#[test]
fn a_reset_before_the_answer_sends_a_get_again_but_never_a_post() {
    for code in [2, 8] {
        let upstream = once(move |frames, stream| {
            frames.reset(stream, code);
        });
        let gateway = before(upstream.address);
        assert_eq!(gateway.ask(get("/")).text(), "hello");
        let upstream = once(move |frames, stream| {
            frames.reset(stream, code);
        });
        let gateway = before(upstream.address);
        let token = gateway.token();
        is_problem(&gateway.ask(post("/", &bearer(&token), b"x")), 502, "upstream_reset");
    }
}

#[test]
fn a_connection_that_breaks_before_the_answer_sends_a_get_again_but_never_a_post() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        let _ = frames.request();
        if frames.number > 0 {
            frames.hello(1);
            frames.hello_for_ever();
        }
    });
    let gateway = before(upstream.address);
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        let _ = frames.request();
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    is_problem(&gateway.ask(post("/", &bearer(&token), b"x")), 502, "upstream_closed");
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_answer_that_is_reset_half_way_is_cut_and_never_completed() {
    for length in [None, Some("1000")] {
        for code in [0, 2, 8] {
            let upstream = once(move |frames, stream| {
                let mut fields = vec![(":status", "200")];
                fields.extend(length.map(|length| ("content-length", length)));
                frames.headers(stream, 0, &fields);
                frames.data(stream, 0, b"half");
                frames.reset(stream, code);
            });
            let gateway = before(upstream.address);
            let mut client = gateway.connect();
            client.send(get("/"));
            let head = client.head().unwrap();
            assert_eq!(head.status, 200);
            assert!(!client.read_to_end() || find(&client.left_over(), b"\r\n0\r\n").is_none());
            assert_eq!(gateway.ask(get("/")).text(), "hello", "others go on");
        }
    }
}

#[test]
fn go_away_takes_no_new_requests_and_lets_those_in_flight_finish() {
    let (go, waits) = mpsc::channel::<()>();
    let waits = Mutex::new(waits);
    let upstream = once(move |frames, stream| {
        frames.headers(stream, 0, &[(":status", "200")]);
        frames.data(stream, 0, b"first, ");
        frames.go_away(stream, 0);
        waits.lock().unwrap().recv().unwrap();
        frames.data(stream, END_STREAM, b"last");
    });
    let gateway = before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.chunk().unwrap(), b"first, ");
    for _ in 0..5 {
        assert_eq!(gateway.ask(get("/")).text(), "hello");
    }
    assert!(upstream.connections() > 1, "new requests went elsewhere");
    go.send(()).unwrap();
    assert_eq!(client.chunk().unwrap(), b"last");
    assert_eq!(client.chunk(), None);
}

#[test]
fn an_upstream_that_goes_away_after_each_answer_fails_nothing() {
    let counted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&counted);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        let Some(stream) = frames.request() else { return };
        count.fetch_add(1, Ordering::SeqCst);
        frames.go_away(stream, 0);
        frames.hello(stream);
        while frames.next().is_some() {}
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    for number in 0..40 {
        assert_eq!(gateway.ask(get("/")).text(), "hello", "GET {number}");
    }
    for number in 0..30 {
        let answer = gateway.ask(post("/", &bearer(&token), b"x"));
        assert_eq!(answer.text(), "hello", "POST {number}");
    }
    assert_eq!(counted.load(Ordering::SeqCst), 70, "nothing came twice");
}

#[test]
fn a_length_that_is_not_true_is_never_passed_on_as_a_whole_answer() {
    for (declared, piece, flags) in [
        ("10", &b"short"[..], END_STREAM),
        ("3", b"long", END_STREAM),
        ("3", b"long", 0),
        ("3", b"", END_STREAM),
    ] {
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            while let Some(stream) = frames.request() {
                frames.headers(stream, 0, &[(":status", "200"), ("content-length", declared)]);
                frames.data(stream, flags, piece);
            }
        });
        let gateway = before(upstream.address);
        let mut client = gateway.connect();
        client.send(get("/"));
        let answer = client.answer_to("GET");
        let is_whole = answer.is_some_and(|answer| answer.status == 200 && answer.complete);
        assert!(!is_whole, "{declared} declared, {} came", piece.len());
    }
    for lengths in [&["x"][..], &["-1"], &["1", "2"], &["1, 1"], &["99999999999999999999"]] {
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            while let Some(stream) = frames.request() {
                let mut fields = vec![(":status", "200")];
                fields.extend(lengths.iter().map(|length| ("content-length", *length)));
                frames.headers(stream, 0, &fields);
                frames.data(stream, END_STREAM, b"1");
            }
        });
        is_problem(&before(upstream.address).ask(get("/")), 502, "upstream_malformed");
    }
}

#[test]
fn malformed_heads_and_trailers_are_never_passed_on() {
    for fields in [
        &[("x-a", "b")][..],
        &[(":status", "200"), (":status", "200")],
        &[("x-a", "b"), (":status", "200")],
        &[(":status", "200"), ("connection", "close")],
        &[(":status", "200"), ("transfer-encoding", "chunked")],
        &[(":status", "200"), ("X-Upper", "b")],
        &[(":status", "200"), ("x-a", "b\r\nx-c: d")],
        &[(":status", "200"), ("x a", "b")],
        &[(":status", "999")],
        &[(":status", "20")],
    ] {
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            while let Some(stream) = frames.request() {
                frames.headers(stream, END_STREAM, fields);
            }
        });
        let answer = before(upstream.address).ask(get("/"));
        assert_eq!(answer.status, 502, "{fields:?}");
    }
    // (a pseudo-field in trailers is dropped, not passed on)
    for fields in [&[("connection", "close")][..], &[("x-a", "b\r\nx-c: d")], &[("X-Upper", "b")]] {
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            while let Some(stream) = frames.request() {
                frames.headers(stream, 0, &[(":status", "200")]);
                frames.data(stream, 0, b"hello");
                frames.headers(stream, END_STREAM, fields);
            }
        });
        let gateway = before(upstream.address);
        let mut client = gateway.connect();
        client.send(get("/"));
        let answer = client.answer_to("GET");
        assert!(answer.is_none_or(|answer| !answer.complete || answer.status == 502), "{fields:?}");
    }
}

#[test]
fn heads_without_an_end_or_beyond_all_measure_are_502() {
    // an endless row of CONTINUATION, each with a byte and then with none
    for piece in [&block(&[("x-a", "bbbbbbbbbbbbbbbbbbbbbbbbbbbb")])[..], b""] {
        let piece = piece.to_vec();
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            let Some(stream) = frames.request() else { return };
            frames.send(kind::HEADERS, 0, stream, &block(&[(":status", "200")]));
            for _ in 0..200_000 {
                if !frames.send(kind::CONTINUATION, 0, stream, &piece) {
                    return;
                }
            }
            while frames.next().is_some() {}
        });
        let gateway = with(upstream.address, "timeout = \"10s\"\nretries = 0");
        let answer = gateway.ask(get("/"));
        assert_eq!(answer.status, 502, "{answer:?}");
    }
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        while let Some(stream) = frames.request() {
            let value = "v".repeat(15_000);
            let long = block(&[("x-a", &value)]);
            frames.send(kind::HEADERS, 0, stream, &block(&[(":status", "200")]));
            for _ in 0..20 {
                frames.send(kind::CONTINUATION, 0, stream, &long);
            }
            frames.send(kind::CONTINUATION, END_HEADERS, stream, &block(&[("x-b", "c")]));
        }
    });
    let answer = with(upstream.address, "retries = 0").ask(get("/"));
    assert_eq!(answer.status, 502, "{answer:?}");
}

#[test]
fn floods_of_an_upstream_end_its_connection_and_nothing_else() {
    type Flood = fn(&mut support::http2_upstream::Frames, u32) -> bool;
    let floods: [Flood; 4] = [
        |frames, _| frames.send(kind::PING, 0, 0, &[0; 8]),
        |frames, _| frames.send(kind::SETTINGS, 0, 0, &[]),
        |frames, stream| frames.data(stream, 0, b""),
        |frames, stream| frames.headers(stream, 0, &[(":status", "103")]),
    ];
    for flood in floods {
        let upstream = Rude::scripted(move |mut frames| {
            frames.begin(&[]);
            if frames.number % 2 == 1 {
                return frames.hello_for_ever();
            }
            let Some(stream) = frames.request() else { return };
            let mut writer = frames.stream.try_clone().unwrap();
            writer.set_write_timeout(Some(Duration::from_secs(2))).unwrap();
            for _ in 0..20_000 {
                if !flood(&mut frames, stream) {
                    return;
                }
            }
            let _ = writer.flush();
        });
        let gateway = with(upstream.address, "timeout = \"5s\"");
        let mut victim = gateway.connect();
        victim.send(get("/"));
        let started = Instant::now();
        let other = gateway.ask("GET /health HTTP/1.1\r\nHost: api.test\r\n\r\n");
        assert!(other.status > 0);
        assert!(started.elapsed() < support::PATIENCE);
        assert_eq!(gateway.finish().panics, 0);
    }
}

#[test]
fn what_is_no_http2_is_502_before_anything_was_sent() {
    let got = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&got);
    let upstream = support::Upstream::scripted(move |mut connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        while connection.fill() {}
        noted.lock().unwrap().extend(connection.left_over());
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let answer = gateway.ask(post("/secret", &bearer(&token), b"once"));
    is_problem(&answer, 502, "upstream_malformed");
    eventually("the connection is closed", || !got.lock().unwrap().is_empty());
    assert_eq!(find(&got.lock().unwrap(), b"once"), None);
}

#[test]
fn an_upstream_that_never_says_its_settings_is_504_at_the_connect_timeout() {
    let upstream = support::Upstream::scripted(|mut connection| while connection.fill() {});
    let gateway = with(upstream.address, "connect_timeout = \"300ms\"");
    let started = Instant::now();
    is_problem(&gateway.ask(get("/")), 504, "upstream_connect_timeout");
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[test]
fn an_upstream_that_allows_no_stream_is_503_at_the_connect_timeout() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[(3, 0)]);
        while frames.next().is_some() {}
    });
    let gateway = with(upstream.address, "connect_timeout = \"2s\"");
    is_problem(&gateway.ask(get("/")), 503, "upstream_saturated");
}

#[test]
fn a_slow_upstream_is_504_and_learns_that_nobody_waits() {
    let (told, reset) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = once(move |frames, _| {
        let frame = frames.wait_for(kind::RST_STREAM).unwrap();
        told.lock().unwrap().send(frame.payload).unwrap();
    });
    let gateway = with(upstream.address, "timeout = \"200ms\"");
    is_problem(&gateway.ask(get("/")), 504, "upstream_timeout");
    assert_eq!(reset.recv_timeout(support::PATIENCE).unwrap(), 8_u32.to_be_bytes());
}

#[test]
fn an_answer_that_stops_half_way_is_cut_after_the_timeout() {
    let upstream = once(|frames, stream| {
        frames.headers(stream, 0, &[(":status", "200")]);
        frames.data(stream, 0, b"half");
        frames.wait_for(kind::RST_STREAM);
    });
    let gateway = with(upstream.address, "timeout = \"300ms\"");
    let started = Instant::now();
    let answer = gateway.ask(get("/"));
    assert_eq!((answer.status, answer.complete), (200, false));
    assert!(started.elapsed() >= Duration::from_millis(290));
}

#[test]
fn an_upstream_that_opens_no_window_is_504_and_little_is_kept_for_it() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[(4, 0)]); // SETTINGS_INITIAL_WINDOW_SIZE
        while frames.next().is_some() {}
    });
    let gateway = Process::start(&config(upstream.address, "timeout = \"2s\""));
    let token = gateway.token();
    let before = gateway.memory("VmRSS:");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = gateway.connect();
                let body = vec![0; 4 << 20];
                client.send(post("/", &bearer(&token), &body));
                if let Some(answer) = client.answer_to("POST") {
                    is_problem(&answer, 504, "upstream_timeout");
                }
            });
        }
    });
    let grown = gateway.memory("VmHWM:") - before;
    assert!(grown < 16 * 1024, "{grown} KiB for 8 bodies of 4 MiB that nobody takes");
}

#[test]
fn a_client_that_goes_away_cancels_its_stream_within_a_second() {
    let (told, events) = mpsc::channel();
    let (told, asked) = (Mutex::new(told), AtomicUsize::new(0));
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        while let Some(stream) = frames.request() {
            told.lock().unwrap().send((Instant::now(), None)).unwrap();
            if asked.fetch_add(1, Ordering::SeqCst) > 0 {
                frames.headers(stream, 0, &[(":status", "200")]);
                frames.data(stream, 0, b"half");
            }
            let Frame { payload, .. } = frames.wait_for(kind::RST_STREAM).unwrap();
            told.lock().unwrap().send((Instant::now(), Some(payload))).unwrap();
        }
    });
    let gateway = with(upstream.address, "");
    for half_way in [false, true] {
        let mut client = gateway.connect();
        client.send(get("/"));
        events.recv_timeout(support::PATIENCE).unwrap();
        if half_way && client.head().is_some() {
            client.chunk();
        }
        let left = Instant::now();
        drop(client);
        let (at, code) = events.recv_timeout(support::PATIENCE).unwrap();
        assert_eq!(code.unwrap(), 8_u32.to_be_bytes(), "CANCEL");
        // a second, and what a busy machine adds to that
        assert!(at - left < Duration::from_secs(3), "{:?}", at - left);
    }
}

#[test]
fn a_body_that_breaks_off_is_never_ended_for_the_upstream() {
    let (told, frames_seen) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[]);
        let mut seen = Vec::new();
        while let Some(frame) = frames.next() {
            let is_reset = frame.kind == kind::RST_STREAM;
            seen.push(frame);
            if is_reset {
                told.lock().unwrap().send(std::mem::take(&mut seen)).unwrap();
            }
        }
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    let mut request = with_body("POST", "/", &bearer(&token), &vec![b'x'; 50_000]);
    request.truncate(request.len() - 1);
    client.send(request);
    client.close_sending();
    let seen = frames_seen.recv_timeout(support::PATIENCE).unwrap();
    let ended = |frame: &Frame| {
        matches!(frame.kind, kind::DATA | kind::HEADERS) && frame.flags & END_STREAM != 0
    };
    assert!(!seen.iter().any(ended), "the body looked whole");
}

#[test]
fn an_answer_before_the_body_is_through_comes_back_and_ends_the_upload() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[]);
        while let Some(head) = frames.wait_for(kind::HEADERS) {
            frames.headers(head.stream, END_STREAM, &[(":status", "413")]);
            frames.reset(head.stream, 0);
        }
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    let request = with_body("POST", "/", &bearer(&token), &vec![b'x'; 2 << 20]);
    let _ = client.stream.write_all(&request);
    assert_eq!(client.answer_to("POST").unwrap().status, 413);
}

#[test]
fn a_gibibyte_passes_through_flat_memory() {
    let scale: u64 =
        std::env::var("TOLLGATE_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1);
    let mebibytes = 128 * scale.min(8);
    let upstream = Polite::handling(Builder::new(), move |mut exchange| {
        Box::pin(async move {
            let mut send = exchange.answer.send_response(answer(200, &[]), false).unwrap();
            let piece = Bytes::from(vec![b'x'; 1 << 20]);
            for _ in 0..mebibytes {
                if !send_all(&mut send, piece.clone(), false).await {
                    return;
                }
            }
            let _ = send.send_data(Bytes::new(), true);
        })
    });
    let gateway = Process::start(&config(upstream.address, ""));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.head().unwrap().status, 200);
    let before = gateway.memory("VmRSS:");
    let mut read = 0;
    while let Some(chunk) = client.chunk() {
        read += chunk.len() as u64;
    }
    assert_eq!(read, mebibytes << 20);
    let grown = gateway.memory("VmHWM:").saturating_sub(before);
    assert!(grown < 16 * 1024, "{grown} KiB for {mebibytes} MiB");
}

#[test]
fn a_client_that_takes_nothing_holds_little_and_stops_nobody() {
    let upstream = Polite::handling(Builder::new(), move |mut exchange| {
        Box::pin(async move {
            let asked = exchange.take_whole().await;
            let mut send = exchange.answer.send_response(answer(200, &[]), false).unwrap();
            let size = if asked.path() == "/large" { 64 << 20 } else { 1 << 20 };
            send_all(&mut send, Bytes::from(vec![b'x'; size]), true).await;
        })
    });
    let gateway = Process::start(&config(upstream.address, ""));
    let before = gateway.memory("VmRSS:");
    let slow: Vec<_> = (0..30)
        .map(|_| {
            let mut client = gateway.connect();
            client.send(get("/large"));
            assert_eq!(client.head().unwrap().status, 200);
            client
        })
        .collect();
    for _ in 0..5 {
        let answer = gateway.ask(get("/"));
        assert_eq!((answer.complete, answer.body.len()), (true, 1 << 20));
    }
    let grown = gateway.memory("VmHWM:") - before;
    assert!(grown < 32 * 1024, "{grown} KiB for 30 answers that nobody takes");
    drop(slow);
}

// ---- tunnels ----

/// Takes WebSockets (RFC 8441) and sends back whatever comes.
fn echo_tunnel() -> Polite {
    let mut builder = Builder::new();
    builder.enable_connect_protocol();
    Polite::handling(builder, |mut exchange| {
        Box::pin(async move {
            let protocol = exchange.head.extensions().get::<h2::ext::Protocol>().cloned();
            let wanted = exchange.head.headers().get("sec-websocket-protocol").cloned();
            if protocol.as_ref().is_none_or(|protocol| protocol.as_str() != "websocket")
                || exchange.head.headers().contains_key("sec-websocket-key")
                || exchange.head.uri().path() == "/refused"
            {
                let _ = exchange.answer.send_response(answer(403, &[]), true);
                return;
            }
            let mut head = answer(200, &[]);
            if let Some(wanted) = wanted {
                head.headers_mut().insert("sec-websocket-protocol", wanted);
            }
            let mut send = exchange.answer.send_response(head, false).unwrap();
            while let Some(Ok(piece)) = exchange.body.data().await {
                let _ = exchange.body.flow_control().release_capacity(piece.len());
                if !send_all(&mut send, piece, false).await {
                    return;
                }
            }
            let _ = send.send_data(Bytes::from_static(b"the end"), true);
        })
    })
}

fn web_socket(path: &str, token: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: api.test\r\n{}Connection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat\r\n\r\n",
        bearer(token)
    )
}

#[test]
fn a_web_socket_goes_over_extended_connect_where_the_upstream_takes_it() {
    let upstream = echo_tunnel();
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(web_socket("/socket", &token));
    let head = client.answer_to("GET").unwrap();
    assert_eq!(head.status, 101, "{head:?}");
    assert_eq!(
        head.field("sec-websocket-accept").as_deref(),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "RFC 6455 section 1.3"
    );
    assert_eq!(head.field("upgrade").as_deref(), Some("websocket"));
    assert_eq!(head.field("sec-websocket-protocol").as_deref(), Some("chat"));
    for size in [1, 1000, 300_000] {
        let message: Vec<u8> = (0..size).map(|at: u32| (at % 251) as u8).collect();
        let mut writer = client.stream.try_clone().unwrap();
        std::thread::scope(|scope| {
            let sent = message.clone();
            scope.spawn(move || writer.write_all(&sent).unwrap());
            let mut read = Vec::new();
            while read.len() < message.len() {
                assert!(client.fill() > 0);
                read.extend(client.left_over());
            }
            assert!(read == message, "{size}");
        });
    }
    client.close_sending();
    client.read_to_end();
    assert_eq!(client.left_over(), b"the end");

    let mut client = gateway.connect();
    client.send(web_socket("/refused", &token));
    assert_eq!(client.answer().status, 403, "a refusal is an answer");
    client.send(get("/refused"));
    assert_eq!(client.answer().status, 403, "and the connection goes on");
}

#[test]
fn a_web_socket_whose_stream_is_reset_is_cut() {
    let upstream = Rude::scripted(|mut frames| {
        frames.begin(&[(8, 1)]); // SETTINGS_ENABLE_CONNECT_PROTOCOL
        let head = frames.wait_for(kind::HEADERS).unwrap();
        assert_eq!(head.flags & END_STREAM, 0);
        frames.headers(head.stream, 0, &[(":status", "200")]);
        frames.data(head.stream, 0, b"half");
        frames.wait_for(kind::DATA);
        frames.reset(head.stream, 8);
        while frames.next().is_some() {}
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(web_socket("/", &token));
    assert_eq!(client.answer_to("GET").unwrap().status, 101);
    client.wait_for("half");
    client.send("x");
    assert!(!client.read_to_end(), "a reset, not an end");
}

#[test]
fn a_web_socket_client_that_goes_away_ends_the_stream() {
    let (told, ended) = mpsc::channel();
    let told = Mutex::new(told);
    let upstream = Rude::scripted(move |mut frames| {
        frames.begin(&[(8, 1)]);
        let head = frames.wait_for(kind::HEADERS).unwrap();
        frames.headers(head.stream, 0, &[(":status", "200")]);
        loop {
            let frame = frames.next().unwrap();
            if frame.kind == kind::RST_STREAM || frame.flags & END_STREAM != 0 {
                return told.lock().unwrap().send(()).unwrap();
            }
        }
    });
    let gateway = before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    client.send(web_socket("/", &token));
    assert_eq!(client.answer_to("GET").unwrap().status, 101);
    drop(client);
    ended.recv_timeout(support::PATIENCE).unwrap();
}

#[test]
fn a_web_socket_towards_an_upstream_that_takes_none_is_502() {
    let upstream = Polite::start();
    let gateway = before(upstream.address);
    let token = gateway.token();
    let answer = gateway.ask(web_socket("/", &token));
    is_problem(&answer, 502, "upstream_no_tunnel");
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.ask(web_socket("/", "nonsense")).status, 401);
}

// ---- over TLS ----

/// A certificate of `localhost`, and a server that has it and chooses among these protocols.
fn certificate(protocols: &[&[u8]]) -> (std::path::PathBuf, Arc<rustls::ServerConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = support::scratch_file("localhost.pem", &made.cert.pem());
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key.into())
        .unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    (file, Arc::new(config))
}

fn over_tls(protocols: &[&[u8]], builder: Builder) -> (Polite, Gateway) {
    let (file, config) = certificate(protocols);
    let upstream = Polite::over_tls(builder, config, |mut exchange| {
        Box::pin(async move {
            let is_tunnel = exchange.head.method() == "CONNECT";
            if !is_tunnel {
                exchange.take_whole().await;
            }
            let scheme = exchange.head.uri().scheme_str().unwrap_or("none").to_owned();
            let head = answer(200, &[("x-scheme", &scheme)]);
            let mut send = exchange.answer.send_response(head, false).unwrap();
            let _ = send.send_data(Bytes::from_static(b"hello"), true);
        })
    });
    let keys = format!("tls = {{ ca_file = \"{}\" }}", file.display());
    let url = format!("https://localhost:{}", upstream.address.port());
    let gateway = Gateway::from_toml(&toml(&url, "", &keys, ""));
    (upstream, gateway)
}

#[test]
fn an_https_upstream_that_chooses_http2_is_spoken_to_so() {
    let (upstream, gateway) = over_tls(&[b"h2", b"http/1.1"], Builder::new());
    let token = gateway.token();
    let mut client = gateway.connect();
    for number in 0..10 {
        client.send(post("/a", &bearer(&token), format!("{number}").as_bytes()));
        assert_eq!(client.answer().text(), "hello");
    }
    let seen = upstream.seen();
    assert_eq!((seen.len(), upstream.connections()), (10, 1));
    assert_eq!(seen[0].head.uri().to_string(), "https://api.test/a");
}

#[test]
fn an_https_upstream_that_chooses_http1_or_nothing_is_spoken_to_so() {
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let (upstream, gateway) = over_tls(protocols, Builder::new());
        let mut client = gateway.connect();
        for _ in 0..5 {
            client.send(get("/"));
            assert_eq!(client.answer().text(), "plain");
        }
        assert_eq!(upstream.connections(), 1);
    }
}

#[test]
fn a_web_socket_goes_to_an_https_upstream_over_http1_where_its_http2_takes_none() {
    let (upstream, gateway) = over_tls(&[b"h2", b"http/1.1"], Builder::new());
    let token = gateway.token();
    for _ in 0..2 {
        assert_eq!(gateway.ask(get("/")).text(), "hello", "over HTTP/2");
        let mut client = gateway.connect();
        client.send(web_socket("/", &token));
        assert_eq!(client.answer_to("GET").unwrap().status, 101);
        client.send("are you there");
        client.wait_for("are you there");
    }
    assert!(upstream.seen().len() == 2);
}

// ---- limits and health ----

#[test]
fn a_limit_on_connections_holds_for_http2_and_whoever_waits_too_long_is_told() {
    let mut builder = Builder::new();
    builder.max_concurrent_streams(1);
    let (release, held) = mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let upstream = Polite::handling(builder, move |mut exchange| {
        let held = Arc::clone(&held);
        Box::pin(async move {
            let asked = exchange.take_whole().await;
            while asked.path() == "/held" && held.lock().unwrap().try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(1)).await; // until the test lets go
            }
            let _ = exchange.answer.send_response(answer(204, &[]), true);
        })
    });
    let gateway = with(upstream.address, "max_connections = 1\nconnect_timeout = \"1s\"");
    let mut first = gateway.connect();
    first.send(get("/held"));
    upstream.wait_for(1);
    is_problem(&gateway.ask(get("/")), 503, "upstream_saturated");
    release.send(()).unwrap();
    assert_eq!(first.answer().status, 204);
    let mut next = 0;
    eventually("the connection serves whoever is next to it", || {
        next = gateway.ask(get("/")).status;
        next == 204
    });
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_over_http2_is_asked_whether_it_is_well() {
    let well = Arc::new(AtomicUsize::new(503));
    let state = Arc::clone(&well);
    let upstream = Polite::answering(move |asked| match asked.path().as_str() {
        "/healthz" => (answer(state.load(Ordering::SeqCst) as u16, &[]), Vec::new(), None),
        _ => (answer(200, &[]), b"hello".to_vec(), None),
    });
    let keys = "health = { path = \"/healthz\", interval = \"1s\" }";
    let gateway = with(upstream.address, keys);
    eventually("it is found unwell", || gateway.ask(get("/")).status == 503);
    well.store(204, Ordering::SeqCst);
    eventually("it is found well", || gateway.ask(get("/")).status == 200);
}

fn asked_paths(asked: &[Asked]) -> Vec<String> {
    asked.iter().map(Asked::path).collect()
}

#[test]
fn a_refused_token_never_reaches_an_upstream_over_http2() {
    let upstream = Polite::start();
    let gateway = before(upstream.address);
    assert_eq!(gateway.ask(post("/a", "", b"x")).status, 401);
    assert_eq!(gateway.ask(post("/b", &bearer("x.y.z"), b"x")).status, 401);
    assert_eq!(gateway.ask(post("/c", &bearer(&gateway.token()), b"x")).status, 200);
    assert_eq!(asked_paths(&upstream.seen()), ["/c"]);
    let asked = upstream.only();
    assert_eq!(asked.field("x-auth-client").as_deref(), Some(support::CLIENT));
}
