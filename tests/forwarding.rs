//! What goes on to the upstream and what comes back: byte for byte, streamed, and never completed falsely.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use support::{Gateway, Upstream, bearer, get, with_body};

#[test]
fn an_open_request_goes_on_as_it_came_and_its_answer_comes_back() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.ask(get("/players/1?full=yes%2F"));
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    let seen = upstream.only();
    assert_eq!(seen.line, "GET /players/1?full=yes%2F HTTP/1.1");
    assert_eq!(seen.field("host").as_deref(), Some("api.test"));
    assert_eq!(seen.field("via").as_deref(), Some("1.1 tollgate"));
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.field("content-length"), None);
}

#[test]
fn without_a_token_nothing_that_could_change_something_reaches_the_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    for method in
        ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "QUERY", "FOO", "get", "Get", "post"]
    {
        let answer = gateway.ask(with_body(method, "/players", "", b"x=1"));
        assert_eq!(answer.status, 401, "{method}");
        assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer realm=\"tollgate\""));
    }
    assert!(upstream.seen().is_empty());
}

fn ok(fields: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn request(line: &str, fields: &str) -> Vec<u8> {
    format!("{line}\r\nHost: api.test\r\n{fields}\r\n").into_bytes()
}

#[test]
fn hop_by_hop_fields_of_a_request_end_at_the_gateway() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let fields = "Connection: keep-alive, X-Hop, x-other\r\nConnection: X-Third\r\nX-Hop: 1\r\nX-Other: 2\r\n\
                  X-Third: 3\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eDp5\r\n\
                  TE: trailers, deflate\r\nTrailer: X-Sum\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nX-End: stays\r\n";
    assert_eq!(gateway.ask(request("GET / HTTP/1.1", fields)).status, 200);
    let seen = upstream.only();
    for gone in [
        "x-hop",
        "x-other",
        "x-third",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "trailer",
        "upgrade",
        "http2-settings",
        "transfer-encoding",
    ] {
        assert_eq!(seen.field(gone), None, "{gone}");
    }
    assert_eq!(seen.field("x-end").as_deref(), Some("stays"));
    // of TE, only that trailers are welcome is true of the gateway too, and it is said of this connection
    assert_eq!(seen.field("te").as_deref(), Some("trailers"));
    assert_eq!(seen.field("connection").as_deref(), Some("te"));
}

#[test]
fn hop_by_hop_fields_of_an_answer_end_at_the_gateway() {
    let upstream = Upstream::answering(|_| {
        ok(
            "Connection: X-Hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: Basic\r\n\
             Proxy-Connection: x\r\nUpgrade: h2c\r\nTrailer: X-Sum\r\nServer: theirs\r\nX-End: stays\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
            "hello",
        )
    });
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.ask(get("/"));
    for gone in [
        "x-hop",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "upgrade",
        "trailer",
        "connection",
    ] {
        assert_eq!(answer.field(gone), None, "{gone}");
    }
    assert_eq!(answer.field("content-length").as_deref(), Some("5"));
    assert_eq!(answer.field("x-end").as_deref(), Some("stays"));
    assert_eq!(answer.field("server").as_deref(), Some("theirs"));
    assert_eq!(answer.field("date").as_deref(), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert!(gateway.ask(get("/")).field("date").is_some());
}

#[test]
fn a_date_is_set_where_the_upstream_sent_none() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    assert!(gateway.ask(get("/")).field("date").is_some_and(|date| date.ends_with(" GMT")));
}

const CLAIMED: &str = "Forwarded: for=1.2.3.4;proto=https\r\nX-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\n\
                       X-Forwarded-Host: www.example.com\r\nX-Forwarded-Port: 443\r\nX-Real-IP: 1.2.3.4\r\nVia: 1.1 edge\r\n";

#[test]
fn what_an_untrusted_client_says_of_its_way_here_is_replaced() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    gateway.ask(request("GET / HTTP/1.1", CLAIMED));
    let seen = upstream.only();
    let field = |name| seen.field(name).unwrap_or_default();
    assert_eq!(field("forwarded"), "for=127.0.0.1;host=\"api.test\";proto=http");
    assert_eq!(field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(field("x-forwarded-proto"), "http");
    assert_eq!(field("x-forwarded-host"), "api.test");
    assert_eq!(field("x-forwarded-port"), "");
    assert_eq!(field("x-real-ip"), "");
    assert_eq!(field("via"), "1.1 edge, 1.1 tollgate");
}

#[test]
fn what_a_trusted_proxy_says_of_the_way_here_is_kept_and_added_to() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "trusted_proxies = [\"127.0.0.0/8\"]", "");
    gateway.ask(request("GET / HTTP/1.1", CLAIMED));
    let seen = upstream.only();
    let field = |name| seen.field(name).unwrap_or_default();
    assert_eq!(
        field("forwarded"),
        "for=1.2.3.4;proto=https, for=127.0.0.1;host=\"api.test\";proto=http"
    );
    assert_eq!(field("x-forwarded-for"), "1.2.3.4, 127.0.0.1");
    assert_eq!(field("x-forwarded-proto"), "https");
    assert_eq!(field("x-forwarded-host"), "www.example.com");
    assert_eq!(field("x-forwarded-port"), "443");
    assert_eq!(field("x-real-ip"), "1.2.3.4");
}

#[test]
fn the_request_id_is_the_clients_or_one_of_ours_and_stands_in_problems() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    gateway.ask(request("GET / HTTP/1.1", "X-Request-Id: trace-17\r\n"));
    gateway.ask(get("/"));
    gateway.ask(get("/"));
    gateway.ask(request("GET / HTTP/1.1", "X-Request-Id: not \"harmless\"\r\n"));
    let seen = upstream.wait_for(4);
    let ids: Vec<_> = seen.iter().map(|seen| seen.field("x-request-id").unwrap()).collect();
    assert_eq!(ids[0], "trace-17");
    assert!(ids[1..].iter().all(|id| id.len() == 24), "{ids:?}");
    assert_ne!(ids[1], ids[2]);
    let refused = gateway.ask(request("DELETE / HTTP/1.1", "X-Request-Id: trace-18\r\n"));
    assert_eq!(refused.field("content-type").as_deref(), Some("application/problem+json"));
    assert_eq!(refused.json()["request_id"], "trace-18");
    assert_eq!(refused.json()["status"], 401);
    assert_eq!(gateway.ask(b"nonsense\r\n\r\n").json()["request_id"].as_str().unwrap().len(), 24);
}

#[test]
fn the_path_of_the_upstream_url_is_put_before_the_requests() {
    let upstream = Upstream::start();
    let url = format!("http://{}/v1", upstream.address);
    let gateway = Gateway::from_toml(&support::toml(&url, "", "", ""));
    gateway.ask(get("/players?team=1"));
    gateway.ask(get("/"));
    gateway.ask(request("GET http://api.test HTTP/1.1", ""));
    gateway.ask(request("OPTIONS * HTTP/1.1", ""));
    let lines: Vec<_> = upstream.wait_for(4).into_iter().map(|seen| seen.line).collect();
    assert_eq!(
        lines,
        [
            "GET /v1/players?team=1 HTTP/1.1",
            "GET /v1/ HTTP/1.1",
            "GET /v1/ HTTP/1.1",
            "OPTIONS * HTTP/1.1"
        ]
    );
}

#[test]
fn without_preserve_host_the_upstream_is_asked_by_its_own_name() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "", "preserve_host = false");
    gateway.ask(get("/"));
    let seen = upstream.only();
    assert_eq!(seen.field("host"), Some(upstream.address.to_string()));
    assert_eq!(seen.field("x-forwarded-host").as_deref(), Some("api.test"));
}

#[test]
fn an_absolute_target_names_the_host_and_goes_on_as_a_path() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    gateway.ask(request("GET http://other.test:81/a?b HTTP/1.1", ""));
    let seen = upstream.only();
    assert_eq!(seen.line, "GET /a?b HTTP/1.1");
    assert_eq!(seen.field("host").as_deref(), Some("other.test:81"));
}

#[test]
fn answers_without_content_are_framed_as_such_and_the_connection_goes_on() {
    let upstream = Upstream::answering(|seen| {
        let answer = match seen.line.split(' ').nth(1).unwrap() {
            "/head" => "HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n\r\n",
            "/head-chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "/204" => "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"a\"\r\n\r\n",
            _ => {
                "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/9\r\nContent-Length: 2\r\n\r\nab"
            }
        };
        answer.as_bytes().to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    let mut ask = |line: &str, method| {
        client.send(request(line, ""));
        client.answer_to(method).unwrap()
    };
    let head = ask("HEAD /head HTTP/1.1", "HEAD");
    assert_eq!((head.status, head.field("content-length").as_deref()), (200, Some("123456")));
    assert_eq!(ask("HEAD /head-chunked HTTP/1.1", "HEAD").status, 200);
    let empty = ask("GET /204 HTTP/1.1", "GET");
    assert_eq!((empty.status, empty.field("content-length")), (204, None));
    let same = ask("GET /304 HTTP/1.1", "GET");
    assert_eq!((same.status, same.field("content-length").as_deref()), (304, Some("77")));
    assert_eq!(same.field("etag").as_deref(), Some("\"a\""));
    let part = ask("GET /part HTTP/1.1", "GET");
    assert_eq!((part.status, part.text().as_str()), (206, "ab"));
    assert_eq!(part.field("content-range").as_deref(), Some("bytes 0-1/9"));
    assert_eq!(upstream.connections(), 1, "each of them leaves the upstream's connection usable");
}

#[test]
fn chunks_and_harmless_trailers_go_through_in_both_directions() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
          3;ext=1\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 42\r\nContent-Length: 9\r\nSet-Cookie: a=b\r\n\
          WWW-Authenticate: Basic\r\nTransfer-Encoding: x\r\n\r\n"
            .to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(request(
            "POST / HTTP/1.1",
            &format!("{}Transfer-Encoding: chunked\r\n", bearer(&token)),
        ));
        client.send("2\r\nhi\r\n");
        client.send(
            "5;a=\"b\"\r\nthere\r\n0\r\nX-Sum: 7\r\nAuthorization: Bearer x\r\nHost: evil\r\nContent-Length: 1\r\n\
             X-Auth-Client: root\r\nx_auth_subject: root\r\n\r\n",
        );
        let head = client.head().unwrap();
        assert_eq!(head.field("transfer-encoding").as_deref(), Some("chunked"));
        let mut body = Vec::new();
        loop {
            client.wait_for("\r\n");
            match client.chunk_or_trailers() {
                Ok(chunk) => body.extend(chunk),
                Err(trailers) => {
                    assert_eq!(trailers.to_ascii_lowercase(), "x-sum: 42");
                    break;
                }
            }
        }
        assert_eq!(body, b"abcdefg");
    }
    let seen = upstream.wait_for(2);
    assert_eq!(seen[0].body, b"hithere");
    let trailers: Vec<_> =
        seen[0].fields.iter().filter(|(name, _)| name.starts_with("trailer ")).collect();
    assert_eq!(trailers, [&("trailer x-sum".to_owned(), "7".to_owned())]);
    assert_eq!(upstream.connections(), 1, "an answer with trailers leaves the connection usable");
}

#[test]
fn an_http_1_0_client_is_answered_in_its_way() {
    let upstream = Upstream::answering(|seen| {
        match seen.line.contains("chunked") {
        true => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n".to_vec(),
        false => ok("", "hello"),
    }
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send("GET /length HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("connection").as_deref(), Some("keep-alive"));
    client.send("GET /chunked HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.answer();
    assert_eq!(answer.field("transfer-encoding"), None);
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert_eq!((answer.text().as_str(), answer.complete), ("hello", true));
    let mut client = gateway.connect();
    client.send("GET /length HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer().text(), "hello");
    assert!(client.is_closed());
    let seen = upstream.wait_for(3);
    assert!(seen[0].line.ends_with("HTTP/1.1"));
    assert_eq!(seen[0].field("via").as_deref(), Some("1.0 tollgate"));
    // a request without Host still names one upstream (RFC 9112 §3.2)
    assert_eq!(seen[0].field("host"), Some(upstream.address.to_string()));
}

#[test]
fn an_http_1_0_upstream_and_a_body_until_close_are_passed_on_whole() {
    let upstream = Upstream::answering(|seen| {
        let answer: &[u8] = match seen.line.split(' ').nth(1).unwrap() {
            "/1.0" => b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "/1.0-close" => b"HTTP/1.0 200 OK\r\nX-A: Connection: close\r\n\r\nhello",
            _ => b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
        };
        answer.to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    for path in ["/1.0", "/1.0-close", "/1.1-close", "/1.0"] {
        client.send(get(path));
        let answer = client.answer();
        assert_eq!((answer.text().as_str(), answer.complete), ("hello", true), "{path}");
        assert_eq!(answer.field("connection"), None, "{path}: the client's connection goes on");
    }
    assert_eq!(upstream.connections(), 4, "none of them can be used again");
}

#[test]
fn a_location_on_the_upstreams_own_origin_becomes_the_gateways() {
    let upstream = Upstream::answering(|seen| {
        let location = seen.field("x-want").unwrap();
        format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n")
            .into_bytes()
    });
    let address = upstream.address;
    let plain = Gateway::before(address);
    let based = Gateway::from_toml(&support::toml(&format!("http://{address}/v1"), "", "", ""));
    let behind = Gateway::with(address, "trusted_proxies = [\"127.0.0.1\"]", "");
    let location = |gateway: &Gateway, want: &str, fields: &str| {
        let answer = gateway.ask(request("GET / HTTP/1.1", &format!("X-Want: {want}\r\n{fields}")));
        assert_eq!(answer.status, 302);
        answer.field("location").unwrap()
    };
    let own = format!("http://{address}");
    for (want, expected) in [
        (format!("{own}/a?b=c#d"), "http://api.test/a?b=c#d"),
        (own.clone(), "http://api.test"),
        (own.to_uppercase(), "http://api.test"),
        (format!("{own}0/a"), &*format!("{own}0/a")),
        (format!("{own}@evil/a"), &*format!("{own}@evil/a")),
        (format!("https://{address}/a"), &*format!("https://{address}/a")),
        ("http://elsewhere.test/a".to_owned(), "http://elsewhere.test/a"),
        ("/relative".to_owned(), "/relative"),
    ] {
        assert_eq!(location(&plain, &want, ""), expected, "{want}");
    }
    assert_eq!(location(&based, &format!("{own}/v1/a"), ""), "http://api.test/a");
    assert_eq!(location(&based, &format!("{own}/v10/a"), ""), "http://api.test/v10/a");
    let said = "X-Forwarded-Proto: https\r\nX-Forwarded-Host: www.example.com\r\n";
    assert_eq!(location(&behind, &format!("{own}/a"), said), "https://www.example.com/a");
    assert_eq!(location(&plain, &format!("{own}/a"), said), "http://api.test/a");
}

#[test]
fn informational_answers_go_on_to_who_can_take_them() {
    let upstream = Upstream::answering(|_| {
        let mut answer = b"HTTP/1.1 102 Processing\r\n\r\n\
            HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
            .to_vec();
        answer.extend(ok("", "hello"));
        answer
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.any_answer("GET").unwrap().status, 102);
    let hints = client.any_answer("GET").unwrap();
    assert_eq!(
        (hints.status, hints.field("link").as_deref()),
        (103, Some("</a.css>; rel=preload"))
    );
    assert_eq!(hints.field("connection"), None);
    assert_eq!(client.any_answer("GET").unwrap().text(), "hello");
    let mut old = gateway.connect();
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.any_answer("GET").unwrap().status, 200);
}

#[test]
fn a_flood_of_informational_answers_is_bounded() {
    let upstream = Upstream::answering(|_| {
        let mut answer = b"HTTP/1.1 102 Processing\r\n\r\n".repeat(20_000);
        answer.extend(ok("", "hello"));
        answer
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    let mut passed = 0;
    let last = loop {
        let answer = client.any_answer("GET").unwrap();
        if answer.status != 102 {
            break answer;
        }
        passed += 1;
    };
    assert_eq!(last.text(), "hello");
    assert!(passed <= 64, "{passed} passed on");
}

#[test]
fn continue_is_not_said_before_the_verdict() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(request("POST / HTTP/1.1", "Content-Length: 5\r\nExpect: 100-continue\r\n"));
    let answer = client.any_answer("POST").unwrap();
    assert_eq!(answer.status, 401);
    // whether the client sends the body now is up to it, so the connection cannot go on
    assert_eq!(answer.field("connection").as_deref(), Some("close"));
    assert!(client.is_closed());
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_expectation_goes_to_the_upstream_whose_100_asks_for_the_body() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(mut seen) = connection.head() {
            assert!(connection.left_over().is_empty(), "no body before it was asked for");
            connection.send("HTTP/1.1 100 Continue\r\n\r\n");
            seen.complete = connection.body(&mut seen);
            connection.note(seen);
            connection.send(ok("", "taken"));
        }
    });
    let gateway = Gateway::before(upstream.address);
    let fields =
        format!("{}Content-Length: 5\r\nExpect: 100-Continue\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    for round in 1..=2 {
        client.send(request("POST / HTTP/1.1", &fields));
        assert_eq!(client.any_answer("POST").unwrap().status, 100);
        client.send("hello");
        assert_eq!(client.any_answer("POST").unwrap().text(), "taken");
        let seen = upstream.wait_for(round).remove(round - 1);
        assert_eq!(seen.field("expect").as_deref(), Some("100-continue"));
        assert_eq!(seen.body, b"hello");
    }
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn an_upstream_that_answers_instead_of_100_never_gets_the_body() {
    let upstream = Upstream::scripted(|mut connection| {
        let seen = connection.head().unwrap();
        connection.note(seen);
        connection.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
        let closed = connection.closes_soon();
        assert!(connection.left_over().is_empty());
        let line = format!("closed: {closed}");
        connection.note(support::Seen {
            connection: 0,
            line,
            fields: vec![],
            body: vec![],
            complete: true,
        });
    });
    let gateway = Gateway::before(upstream.address);
    let fields =
        format!("{}Content-Length: 5\r\nExpect: 100-continue\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    client.send(request("POST / HTTP/1.1", &fields));
    let answer = client.any_answer("POST").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (413, "big"));
    assert!(client.is_closed());
    assert_eq!(upstream.wait_for(2)[1].line, "closed: true");
}

#[test]
fn an_upstream_that_never_says_100_gets_the_body_after_a_moment() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let fields =
        format!("{}Content-Length: 5\r\nExpect: 100-continue\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    client.send(request("POST / HTTP/1.1", &fields));
    assert_eq!(client.any_answer("POST").unwrap().status, 100);
    client.send("later");
    assert_eq!(client.any_answer("POST").unwrap().status, 200);
    assert_eq!(upstream.only().body, b"later");
}

#[test]
fn other_expectations_are_refused() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    assert_eq!(gateway.ask(request("GET / HTTP/1.1", "Expect: a-miracle\r\n")).status, 417);
    assert!(upstream.seen().is_empty());
}

#[test]
fn max_forwards_is_counted_down_on_options_and_answered_here_at_zero() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let answer = gateway.ask(request("OPTIONS /a HTTP/1.1", "Max-Forwards: 0\r\n"));
    assert_eq!(answer.status, 200);
    assert!(answer.field("allow").is_some_and(|allow| allow.contains("OPTIONS")));
    assert!(upstream.seen().is_empty());
    gateway.ask(request("OPTIONS /a HTTP/1.1", "Max-Forwards: 5\r\n"));
    gateway.ask(request("GET /a HTTP/1.1", "Max-Forwards: 0\r\n"));
    let seen = upstream.wait_for(2);
    assert_eq!(seen[0].field("max-forwards").as_deref(), Some("4"));
    assert_eq!(seen[1].field("max-forwards").as_deref(), Some("0"), "it is nothing to a GET");
}

#[test]
fn connections_to_the_upstream_are_used_again() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "", "");
    let token = gateway.token();
    let mut client = gateway.connect(); // one connection, so one worker
    for number in 0..50 {
        client.send(match number % 2 {
            0 => get("/"),
            _ => with_body("POST", "/", &bearer(&token), b"x"),
        });
        assert_eq!(client.answer().text(), "hello");
    }
    assert_eq!(upstream.connections(), 1);
    // and an answer that says close is believed
    let closing = Upstream::answering(|_| ok("Connection: close\r\n", "hello"));
    let gateway = Gateway::before(closing.address);
    let mut client = gateway.connect();
    for _ in 0..3 {
        client.send(get("/"));
        assert_eq!(client.answer().text(), "hello");
    }
    assert_eq!(closing.connections(), 3);
}

#[test]
fn pipelined_requests_are_answered_in_order_and_judged_one_by_one() {
    let upstream = Upstream::answering(|seen| {
        let path = seen.line.split(' ').nth(1).unwrap().to_owned();
        match path.strip_prefix("/chunked") {
            Some(_) => format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{path}\r\n0\r\n\r\n",
                path.len()
            )
            .into_bytes(),
            None => ok("", &path),
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    let mut all = Vec::new();
    for number in 0..100 {
        all.extend(match number % 4 {
            0 => get(&format!("/{number}")),
            1 => get(&format!("/chunked/{number}")),
            2 => with_body("GET", &format!("/{number}"), "", b"a body of its own"),
            _ => with_body("DELETE", &format!("/{number}"), "", b"refused, and read over"),
        });
    }
    client.send(all);
    for number in 0..100 {
        let answer = client.answer();
        match number % 4 {
            1 => assert_eq!(answer.text(), format!("/chunked/{number}")),
            3 => assert_eq!(answer.status, 401),
            _ => assert_eq!(answer.text(), format!("/{number}")),
        }
    }
    assert_eq!(upstream.seen().len(), 75);
}

#[test]
fn a_body_streams_up_while_its_answer_streams_down() {
    let upstream = Upstream::scripted(|mut connection| {
        let seen = connection.head().unwrap();
        assert_eq!(seen.field("transfer-encoding").as_deref(), Some("chunked"));
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = connection.chunk() {
            let text = String::from_utf8_lossy(&chunk).to_uppercase();
            connection.send(format!("{:x}\r\n{text}\r\n", text.len()));
        }
        connection.send("0\r\n\r\n");
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(request(
        "POST / HTTP/1.1",
        &format!("{}Transfer-Encoding: chunked\r\n", bearer(&gateway.token())),
    ));
    assert_eq!(client.head().unwrap().status, 200, "the answer begins before the body is there");
    for round in 0..200 {
        let text = format!("round {round}");
        client.send(format!("{:x}\r\n{text}\r\n", text.len()));
        assert_eq!(client.chunk().unwrap(), text.to_uppercase().as_bytes());
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.chunk(), None);
    client.send(get("/401-free")); // the connection goes on
}

/// More than all kernel buffers on the way together.
const LARGE: usize = 96 << 20;

/// Writes until the other side takes nothing for half a second; how much that was.
fn write_until_blocked(stream: &mut std::net::TcpStream) -> usize {
    use std::io::Write as _;
    stream.set_write_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let piece = vec![b'x'; 256 * 1024];
    let mut written = 0;
    while written < LARGE {
        match stream.write(&piece[..piece.len().min(LARGE - written)]) {
            Ok(length) => written += length,
            Err(_) => break,
        }
    }
    stream.set_write_timeout(Some(support::PATIENCE)).unwrap();
    written
}

/// Reads so many bytes and throws them away; how many came.
fn read_counting(stream: &mut std::net::TcpStream, wanted: usize) -> usize {
    use std::io::Read as _;
    let (mut piece, mut count) = (vec![0; 256 * 1024], 0);
    while count < wanted {
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => break,
            Ok(length) => count += length,
        }
    }
    count
}

#[test]
fn a_client_that_does_not_read_stops_the_upstream_and_loses_nothing() {
    let (blocked, waits) = std::sync::mpsc::sync_channel(1);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.head().unwrap();
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let written = write_until_blocked(&mut connection.stream);
        blocked.send(written).unwrap();
        connection.send(vec![b'x'; LARGE - written]);
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let mut client = gateway.connect();
    client.send(get("/"));
    let written = waits.recv_timeout(support::PATIENCE).unwrap();
    assert!(written < LARGE / 8 * 7, "{written} bytes were taken for a client that reads none");
    assert_eq!(gateway.ask(get("/")).status, 200, "others are served meanwhile");
    assert_eq!(client.head().unwrap().status, 200);
    let early = client.left_over().len();
    assert_eq!(read_counting(&mut client.stream, LARGE - early), LARGE - early);
}

#[test]
fn an_upstream_that_does_not_read_stops_the_client_and_loses_nothing() {
    let (go, gone) = std::sync::mpsc::sync_channel(1);
    let gone = std::sync::Mutex::new(gone);
    let upstream = Upstream::scripted(move |mut connection| {
        connection.head().unwrap();
        gone.lock().unwrap().recv().unwrap();
        let early = connection.left_over().len();
        let length = early + read_counting(&mut connection.stream, LARGE - early);
        connection.send(ok("", &length.to_string()));
        while connection.fill() {}
    });
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let mut client = gateway.connect();
    let fields = format!("{}Content-Length: {LARGE}\r\n", bearer(&token));
    client.send(request("PUT / HTTP/1.1", &fields));
    let written = write_until_blocked(&mut client.stream);
    assert!(written < LARGE / 8 * 7, "{written} bytes were taken for an upstream that reads none");
    go.send(()).unwrap();
    client.send(vec![b'x'; LARGE - written]);
    assert_eq!(client.answer().text(), LARGE.to_string());
}

#[test]
fn an_upload_that_takes_longer_than_the_upstreams_timeout_is_not_cut() {
    // the answer's head comes at once, its body when the upload is over; the client takes its time
    let upstream = Upstream::scripted(|mut connection| {
        let mut seen = connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        seen.complete = connection.body(&mut seen);
        connection.send("done");
        while connection.fill() {}
    });
    let gateway = Gateway::with(upstream.address, "", "timeout = \"300ms\"");
    let mut client = gateway.connect();
    let fields = format!("{}Transfer-Encoding: chunked\r\n", bearer(&gateway.token()));
    client.send(request("POST / HTTP/1.1", &fields));
    client.head().unwrap();
    for _ in 0..4 {
        std::thread::sleep(std::time::Duration::from_millis(200)); // what is tested is time
        client.send("1\r\nx\r\n");
    }
    client.send("0\r\n\r\n");
    client.wait_for("done");
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_not_waited_for_once_the_answer_has_begun() {
    let upstream = Upstream::scripted(|mut connection| {
        connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let closed = connection.closes_soon();
        connection.note(support::Seen {
            connection: 0,
            line: format!("closed: {closed}"),
            fields: vec![],
            body: vec![],
            complete: true,
        });
    });
    let gateway =
        Gateway::with(upstream.address, "idle_timeout = \"200ms\"", "timeout = \"200ms\"");
    let mut client = gateway.connect();
    let fields = format!("{}Content-Length: 100\r\n", bearer(&gateway.token()));
    client.send(request("POST / HTTP/1.1", &fields));
    client.send("some");
    client.head().unwrap();
    assert_eq!(client.chunk(), None, "cut");
    assert_eq!(upstream.wait_for(1)[0].line, "closed: true");
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let (ended, ends) = std::sync::mpsc::sync_channel(1);
    let upstream = Upstream::scripted(move |mut connection| {
        use std::io::Write as _;
        connection.head().unwrap();
        connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
        while connection.stream.write_all(chunk.as_bytes()).is_ok() {}
        ended.send(()).unwrap();
    });
    let gateway = Gateway::with(upstream.address, "idle_timeout = \"300ms\"", "");
    let mut client = gateway.connect();
    client.send(get("/"));
    ends.recv_timeout(support::PATIENCE).expect("the upstream is told, too");
    support::eventually("it is counted as cut", || gateway.totals().aborted == 1);
    assert!(!client.read_to_end(), "a reset, so that nobody takes it for the whole");
}

#[test]
fn a_client_that_stops_in_the_middle_of_its_body_is_told_408() {
    let upstream = Upstream::scripted(|mut connection| {
        let mut seen = connection.head().unwrap();
        seen.complete = connection.body(&mut seen);
        connection.note(seen);
    });
    let gateway = Gateway::with(upstream.address, "idle_timeout = \"300ms\"", "");
    let fields = bearer(&gateway.token());
    for framing in ["Content-Length: 10", "Transfer-Encoding: chunked"] {
        let mut client = gateway.connect();
        client.send(request("POST / HTTP/1.1", &format!("{fields}{framing}\r\n")));
        client.send("5\r\nhe");
        let answer = client.answer();
        assert_eq!(answer.status, 408, "{framing}: {answer:?}");
        assert_eq!(answer.field("connection").as_deref(), Some("close"));
        assert!(client.is_closed());
    }
    assert!(upstream.wait_for(2).iter().all(|seen| !seen.complete));
}

#[test]
fn a_body_that_grows_too_large_on_its_way_is_413_and_never_whole_upstream() {
    let upstream = Upstream::scripted(|mut connection| {
        let Some(mut seen) = connection.head() else { return }; // given up before it was sent
        seen.complete = connection.body(&mut seen);
        connection.note(seen);
    });
    let gateway = Gateway::with(upstream.address, "max_body_size = 1000", "");
    let fields = format!("{}Transfer-Encoding: chunked\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    client.send(request("POST / HTTP/1.1", &fields));
    for _ in 0..3 {
        client.send(format!("190\r\n{}\r\n", "x".repeat(400)));
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.answer().status, 413);
    gateway.finish(); // what it had begun to send has ended by now
    assert!(upstream.seen().iter().all(|seen| !seen.complete));
}
