//! HTTP/2 from clients: one request, one road, whatever carries it. What is malformed reaches nobody.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use support::attack::Site;
use support::http2::{
    self, CANCEL, DATA, END_STREAM, HEADERS, Http2, INTERNAL_ERROR, Outcome, PREFACE,
    PROTOCOL_ERROR, RST_STREAM, Raw, head, read, request, run,
};
use support::tokens;
use support::{Client, Gateway, Upstream, eventually};

fn bearer(site: &Site) -> String {
    format!("Bearer {}", tokens::good(&site.gateway))
}

/// What becomes of one request, written by hand, on a connection of its own.
fn ask(site: &Site, fields: &[(&str, &str)], body: &[u8]) -> Outcome {
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, if body.is_empty() { END_STREAM } else { 0 }, fields);
    if !body.is_empty() {
        raw.send(DATA, END_STREAM, 1, body);
    }
    raw.outcome(1)
}

/// It was refused, and nothing reached the upstream.
fn assert_refused(site: &Site, outcome: &Outcome, what: &str) {
    assert!(outcome.is_refusal(), "{what}: {outcome:?}");
    let seen = site.look();
    assert!(seen.is_empty(), "{what}: {seen:?}");
}

#[test]
fn a_get_is_open_and_a_post_needs_a_token_like_over_http_1() {
    let site = Site::new();
    let token = bearer(&site);
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        let answer = client.get("/a?b=c").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
        assert_eq!(answer.headers["content-length"], "5");
        assert!(answer.headers.contains_key("date"));
        let refused = client.ask(head("POST", "/a", &[]), b"body").await.unwrap();
        assert_eq!(refused.status, 401);
        assert_eq!(refused.headers["www-authenticate"], "Bearer realm=\"tollgate\"");
        assert_eq!(refused.headers["content-type"], "application/problem+json");
        let fields = [("authorization", token.as_str())];
        let answer = client.ask(head("POST", "/b", &fields), b"body").await.unwrap();
        assert_eq!(answer.status, 200);
    });
    let seen = site.look();
    let lines: Vec<_> = seen.iter().map(|seen| seen.line.as_str()).collect();
    assert_eq!(lines, ["GET /a?b=c HTTP/1.1", "POST /b HTTP/1.1"]);
    assert_eq!(seen[0].field("host").as_deref(), Some("api.test"));
    assert_eq!(seen[0].field("via").as_deref(), Some("2 tollgate"));
    assert_eq!(seen[1].body, b"body");
}

#[test]
fn a_token_is_asked_for_over_http_2() {
    let site = Site::new();
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        let body = support::form(&[
            ("grant_type", "client_credentials"),
            ("client_id", support::CLIENT),
            ("client_secret", support::SECRET),
        ]);
        let fields = [("content-type", "application/x-www-form-urlencoded")];
        let answer =
            client.ask(head("POST", "/auth/token", &fields), body.as_bytes()).await.unwrap();
        assert_eq!(answer.status, 200);
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let token = format!("Bearer {}", answer["access_token"].as_str().unwrap());
        let fields = [("authorization", token.as_str())];
        let answer = client.ask(head("DELETE", "/b", &fields), b"").await.unwrap();
        assert_eq!(answer.status, 200);
    });
}

// A.100: the token never sticks to the connection
#[test]
fn each_stream_is_judged_by_itself() {
    let site = Site::new();
    let token = bearer(&site);
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        for round in 0..20 {
            let fields = [("authorization", token.as_str())];
            let (good, _) = client.begin(head("DELETE", "/good", &fields), true).await;
            let (bad, _) = client.begin(head("DELETE", "/bad", &[]), true).await;
            assert_eq!(read(bad).await.unwrap().status, 401, "round {round}");
            assert_eq!(read(good).await.unwrap().status, 200, "round {round}");
        }
    });
    assert!(site.look().iter().all(|seen| seen.line.starts_with("DELETE /good ")));
}

// J.48, A.85, A.87, A.88: the twins of what HTTP/1.1 refuses
#[test]
fn methods_and_credentials_are_judged_like_over_http_1() {
    let site = Site::new();
    let token = bearer(&site);
    for method in ["PROPFIND", "QUERY", "get", "Get", "GETS", "post", "FOO", "PATCH"] {
        assert_eq!(ask(&site, &request(method, "/x", &[]), b"").status(), Some(401), "{method}");
    }
    let double = [("authorization", token.as_str()), ("authorization", token.as_str())];
    for fields in [
        &double[..],
        &[("authorization", "Basic Zm9vOmJhcg=="), ("authorization", &token)],
        &[("authorization", ""), ("authorization", &token)],
    ] {
        assert_eq!(ask(&site, &request("POST", "/x", fields), b"").status(), Some(400));
    }
    for method in ["TRACE", "CONNECT"] {
        let fields = match method {
            "CONNECT" => vec![(":method", "CONNECT"), (":authority", "api.test:443")],
            _ => request(method, "/x", &[("authorization", &token)]),
        };
        assert_eq!(ask(&site, &fields, b"").status(), Some(405), "{method}");
    }
    assert!(site.look().is_empty());
    let fields = [("x-http-method-override", "DELETE"), ("x-method-override", "DELETE")];
    assert_eq!(ask(&site, &request("GET", "/x", &fields), b"").status(), Some(200));
    let seen = site.look();
    assert!(seen[0].field("x-http-method-override").is_none(), "{seen:?}");
}

// S.141
#[test]
fn pseudo_fields_are_exactly_those_of_a_request() {
    let site = Site::new();
    let token = bearer(&site);
    let (m, s, p, a) =
        ((":method", "POST"), (":scheme", "http"), (":path", "/x"), (":authority", "api.test"));
    let t = ("authorization", token.as_str());
    for fields in [
        vec![s, p, a, t],
        vec![m, p, a, t],
        vec![m, s, a, t],
        vec![m, s, p, t],
        vec![m, m, s, p, a, t],
        vec![m, s, s, p, a, t],
        vec![m, s, p, p, a, t],
        vec![m, s, p, a, a, t],
        vec![m, s, p, (":path", "/y"), a, t],
        vec![m, s, p, a, (":status", "200"), t],
        vec![m, s, p, a, (":unknown", "x"), t],
        vec![m, s, p, a, t, (":path", "/late")],
        vec![t, m, s, p, a],
        vec![m, s, p, a, (":protocol", "websocket"), t],
        vec![(":method", "CONNECT"), s, p, a, t],
        vec![(":method", "CONNECT"), a, (":protocol", "websocket"), t],
    ] {
        let outcome = ask(&site, &fields, b"");
        assert_refused(&site, &outcome, &format!("{fields:?}"));
    }
}

// S.141
#[test]
fn values_of_pseudo_fields_are_read_strictly() {
    let site = Site::new();
    let token = bearer(&site);
    let t = ("authorization", token.as_str());
    let with = |which: &'static str, value: &'static str| {
        let mut fields = request("POST", "/x", &[t]);
        fields.iter_mut().find(|(name, _)| *name == which).unwrap().1 = value;
        fields
    };
    for (which, values) in [
        (":method", &["", "PO ST", "POST ", " POST", "POST\r\n", "POST\r\nx: y", "PO\0ST"][..]),
        (
            ":path",
            &[
                "",
                "x",
                "*",
                "?x",
                "/a b",
                "/a\r\nx: y",
                "/a\0b",
                "/a HTTP/1.1\r\nHost: evil\r\n\r\n",
                "http://evil.test/x",
                "//evil.test/../x",
                "/a/../b",
                "/a/%2e%2e/b",
                "/a%2fb",
                "/a%5cb",
                "/a%00",
                "/a\\b",
                "/%zz",
                "/a\u{7f}",
                "/é",
            ],
        ),
        (":scheme", &["", "ht tp", "http\r\n", "http:", "ftp", "http://evil", "file"]),
        (
            ":authority",
            &[
                "",
                "a b",
                "user@api.test",
                "user:pw@api.test",
                "api.test/x",
                "api.test\r\nx: y",
                "api.test\0",
                "a,b",
                "api.test:0",
                "api.test:99999",
                "api.test?x",
                "api.test#x",
                "[::1",
            ],
        ),
    ] {
        for value in values {
            let outcome = ask(&site, &with(which, value), b"");
            assert_refused(&site, &outcome, &format!("{which} = {value:?}"));
        }
    }
}

// S.141: the reader beneath cuts a fragment off before anybody judges; it goes nowhere
#[test]
fn a_fragment_is_never_judged_and_never_forwarded() {
    let site = Site::new();
    for (path, line) in [
        ("/closed#/open", "GET /closed HTTP/1.1"),
        ("/closed?a#b?c", "GET /closed?a HTTP/1.1"),
        ("#/open", "GET / HTTP/1.1"),
    ] {
        let outcome = ask(&site, &request("GET", path, &[]), b"");
        let seen = site.look();
        match outcome.status() {
            Some(200) => assert_eq!(seen[0].line, line),
            _ => assert!(outcome.is_refusal() && seen.is_empty(), "{outcome:?} {seen:?}"),
        }
    }
}

// S.143 and RFC 9113 §8.3.1
#[test]
fn an_authority_that_is_not_the_host_is_refused_with_a_problem() {
    let site = Site::new();
    for hosts in [
        &[("host", "evil.test")][..],
        &[("host", "api.test:81")],
        &[("host", "api.test"), ("host", "api.test")],
        &[("host", "api.test"), ("host", "evil.test")],
        &[("host", "")],
        &[("host", "api.test, evil.test")],
    ] {
        let outcome = ask(&site, &request("GET", "/x", hosts), b"");
        let Outcome::Answered(400, body) = &outcome else { panic!("{hosts:?}: {outcome:?}") };
        let problem: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(problem["type"], "urn:tollgate:problem:bad_host");
        assert_refused(&site, &outcome, "host");
    }
    // told twice the same, or by Host alone, it is one
    assert_eq!(ask(&site, &request("GET", "/x", &[("host", "API.test")]), b"").status(), Some(200));
    let alone = [(":method", "GET"), (":scheme", "http"), (":path", "/x"), ("host", "only.test")];
    assert_eq!(ask(&site, &alone, b"").status(), Some(200));
    let hosts: Vec<_> = site.look().iter().map(|seen| seen.field("host").unwrap()).collect();
    assert_eq!(hosts, ["API.test", "only.test"]);
}

// S.141, RFC 9113 §8.2
#[test]
fn fields_that_http_2_has_no_place_for_are_refused() {
    let site = Site::new();
    let token = bearer(&site);
    for field in [
        ("connection", "close"),
        ("connection", "x-auth-client"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "close"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("te", "trailers, deflate"),
        ("X-Upper", "x"),
        ("x upper", "x"),
        ("x:colon", "x"),
        ("", "x"),
        ("x-a\r\nx-b", "x"),
        ("x-a", "b\r\nx-injected: c"),
        ("x-a", "b\rc"),
        ("x-a", "b\nc"),
        ("x-a", "b\0c"),
        ("x-a", " b"),
        ("x-a", "b "),
        ("x-a", "\tb"),
        ("content-length", "+4"),
        ("content-length", "4, 4"),
        ("content-length", ""),
        ("content-length", "0x4"),
        ("content-length", "18446744073709551620"),
    ] {
        let fields = request("POST", "/x", &[("authorization", &token), field]);
        let outcome = ask(&site, &fields, b"body");
        assert!(outcome.is_refusal(), "{field:?}: {outcome:?}");
        let seen = site.look();
        assert!(seen.iter().all(|seen| !seen.complete), "{field:?}: {seen:?}");
        assert!(seen.is_empty(), "{field:?}: {seen:?}");
    }
    let fields = request("GET", "/x", &[("te", "trailers")]);
    assert_eq!(ask(&site, &fields, b"").status(), Some(200));
    assert_eq!(site.look()[0].field("te").as_deref(), Some("trailers"));
}

// S.142, CVE-2026-48743
#[test]
fn a_content_length_that_is_not_the_content_s_never_makes_a_whole_request() {
    let site = Site::new();
    let token = bearer(&site);
    let declared = |length: &'static str| {
        request("POST", "/x", &[("authorization", &token), ("content-length", length)])
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect::<Vec<_>>()
    };
    // each: declared, pieces, and whether the last of them ends the stream (else the head does)
    for (length, pieces) in [
        ("5", &[][..]),
        ("5", &["abc"]),
        ("5", &["abc", ""]),
        ("3", &["abcd"]),
        ("3", &["abc", "d"]),
        ("3", &["abc", "d", ""]),
        ("0", &["abc"]),
        ("0", &["", "abc"]),
        ("9223372036854775807", &["abc"]),
    ] {
        let what = format!("{length}: {pieces:?}");
        let fields = declared(length);
        let fields: Vec<_> =
            fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let mut raw = Raw::connect(&site.gateway);
        raw.headers(1, if pieces.is_empty() { END_STREAM } else { 0 }, &fields);
        for (at, piece) in pieces.iter().enumerate() {
            if at > 0 {
                std::thread::sleep(Duration::from_millis(20)); // so that the first has been handed on
            }
            let is_last = at + 1 == pieces.len();
            raw.send(DATA, if is_last { END_STREAM } else { 0 }, 1, piece.as_bytes());
        }
        let outcome = raw.outcome(1);
        assert!(matches!(outcome, Outcome::Reset(None, PROTOCOL_ERROR)), "{what}: {outcome:?}");
        let seen = site.look();
        assert!(seen.iter().all(|seen| !seen.complete), "{what}: {seen:?}");
    }
    let fields = declared("5");
    let fields: Vec<_> =
        fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, 0, &fields);
    raw.send(DATA, 0, 1, b"abc");
    std::thread::sleep(Duration::from_millis(20));
    raw.send(DATA, 0, 1, b"de");
    std::thread::sleep(Duration::from_millis(20));
    raw.send(DATA, END_STREAM, 1, b"");
    assert_eq!(raw.outcome(1).status(), Some(200));
    let seen = site.look();
    assert_eq!(
        (seen[0].body.as_slice(), seen[0].field("content-length").unwrap()),
        (&b"abcde"[..], "5".to_owned())
    );
}

// S.145
#[test]
fn cookie_crumbs_are_joined_and_a_body_without_a_length_is_chunked() {
    let site = Site::new();
    let token = bearer(&site);
    let t = ("authorization", token.as_str());
    let crumbs = [("cookie", "a=1"), ("cookie", "b=2; c=3"), ("cookie", "d=4")];
    assert_eq!(ask(&site, &request("GET", "/x", &crumbs), b"").status(), Some(200));
    let seen = site.look();
    let cookies: Vec<_> = seen[0].fields.iter().filter(|(name, _)| name == "cookie").collect();
    assert_eq!(cookies, [&("cookie".to_owned(), "a=1; b=2; c=3; d=4".to_owned())]);

    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, 0, &request("POST", "/x", &[t]));
    for piece in [&b"one "[..], b"two "] {
        raw.send(DATA, 0, 1, piece);
        std::thread::sleep(Duration::from_millis(20));
    }
    raw.send(DATA, END_STREAM, 1, b"three");
    assert_eq!(raw.outcome(1).status(), Some(200));
    let seen = site.look();
    assert_eq!(seen[0].field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!((seen[0].body.as_slice(), seen[0].complete), (&b"one two three"[..], true));
}

// S.144
#[test]
fn trailers_pass_and_what_decides_does_not_pass_in_them() {
    let site = Site::new();
    let token = bearer(&site);
    for trailer in [
        ("x-sum", "1"),
        ("authorization", "Bearer x"),
        ("content-length", "9"),
        ("host", "evil.test"),
        ("transfer-encoding", "chunked"),
        ("x-auth-client", "admin"),
        (":path", "/evil"),
        (":method", "DELETE"),
    ] {
        let mut raw = Raw::connect(&site.gateway);
        raw.headers(1, 0, &request("POST", "/x", &[("authorization", &token)]));
        raw.send(DATA, 0, 1, b"body");
        std::thread::sleep(Duration::from_millis(20));
        raw.headers(1, END_STREAM, &[trailer]);
        let outcome = raw.outcome(1);
        let seen = site.look();
        let passed = seen.iter().any(|seen| {
            seen.fields.iter().any(|(name, _)| name == &format!("trailer {}", trailer.0))
        });
        assert_eq!(passed, trailer.0 == "x-sum", "{trailer:?}: {outcome:?} {seen:?}");
        assert!(seen.iter().all(|seen| seen.line == "POST /x HTTP/1.1"), "{seen:?}");
    }
    // a token in them comes too late
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, 0, &request("POST", "/x", &[]));
    raw.send(DATA, 0, 1, b"body");
    raw.headers(1, END_STREAM, &[("authorization", &token)]);
    assert_eq!(raw.outcome(1).status(), Some(401));
}

#[test]
fn trailers_of_an_answer_reach_the_client() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 7\r\nSet-Cookie: a=b\r\n\r\n".to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    run(async {
        let answer = Http2::connect(gateway.address).await.get("/").await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, &b"hello"[..]));
        assert!(!answer.headers.contains_key("transfer-encoding"));
        let trailers = answer.trailers.unwrap();
        assert_eq!(trailers["x-sum"], "7");
        assert!(!trailers.contains_key("set-cookie"));
    });
}

#[test]
fn answers_without_content_end_with_their_head_and_keep_their_length() {
    let upstream = Upstream::answering(|seen| match seen.line.split(' ').next().unwrap() {
        "HEAD" => b"HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n".to_vec(),
        _ if seen.line.contains("/304") => {
            b"HTTP/1.1 304 Not Modified\r\nContent-Length: 77\r\nETag: \"x\"\r\n\r\n".to_vec()
        }
        _ => b"HTTP/1.1 204 No Content\r\n\r\n".to_vec(),
    });
    let gateway = Gateway::before(upstream.address);
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        for (method, path, status, length) in [
            ("HEAD", "/", 200, Some("77")),
            ("GET", "/304", 304, Some("77")),
            ("GET", "/204", 204, None),
        ] {
            let answer = client.ask(head(method, path, &[]), b"").await.unwrap();
            assert_eq!((answer.status, answer.body.len()), (status, 0));
            let told = answer.headers.get("content-length").map(|value| value.to_str().unwrap());
            assert_eq!(told, length, "{method} {path}");
        }
    });
}

// 9110 §15.2, §10.1.1
#[test]
fn early_hints_are_passed_on_and_100_is_sent_when_the_body_is_wanted() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(mut seen) = connection.head() {
            connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n");
            if seen.field("expect").is_some() {
                connection.send(b"HTTP/1.1 100 Continue\r\n\r\n");
            }
            seen.complete = connection.body(&mut seen);
            connection.note(seen);
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let gateway = Gateway::before(upstream.address);
    let token = format!("Bearer {}", gateway.token());
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        let fields = [
            ("authorization", token.as_str()),
            ("expect", "100-continue"),
            ("content-length", "4"),
        ];
        let (mut answer, mut send) = client.begin(head("POST", "/", &fields), false).await;
        let mut interim = Vec::new();
        while interim.last() != Some(&100) {
            let hint = std::future::poll_fn(|cx| answer.poll_informational(cx)).await;
            interim.push(hint.unwrap().unwrap().status().as_u16());
        }
        assert_eq!(interim, [103, 100]);
        send.send_data(Bytes::from_static(b"body"), true).unwrap();
        assert_eq!(read(answer).await.unwrap().status, 200);
        // refused, the body is not asked for
        let fields = [("expect", "100-continue"), ("content-length", "4")];
        let (answer, _send) = client.begin(head("POST", "/", &fields), false).await;
        assert_eq!(read(answer).await.unwrap().status, 401);
        let fields = [("expect", "the unexpected")];
        let refused = client.ask(head("GET", "/", &fields), b"").await.unwrap();
        assert_eq!(refused.status, 417);
    });
    assert_eq!(upstream.only().body, b"body");
}

#[test]
fn a_hundred_streams_at_once_are_all_answered() {
    let upstream = Upstream::answering(|seen| {
        let path = seen.line.split(' ').nth(1).unwrap();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).into_bytes()
    });
    let gateway = Gateway::before(upstream.address);
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        for round in 0..3 {
            let mut answers = Vec::new();
            for number in 0..100 {
                let path = format!("/{round}/{number}");
                let (answer, _) = client.begin(head("GET", &path, &[]), true).await;
                answers.push((path, answer));
            }
            for (path, answer) in answers {
                assert_eq!(read(answer).await.unwrap().body, path.as_bytes());
            }
        }
    });
    assert_eq!(gateway.totals().requests, 300);
}

#[test]
fn large_bodies_pass_whole_in_both_directions_at_once() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.request() {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
            connection.send(head);
            connection.send(seen.body);
        }
    });
    let gateway = Gateway::before(upstream.address);
    let token = format!("Bearer {}", gateway.token());
    let body: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        let mut answers = Vec::new();
        for _ in 0..4 {
            let fields = [("authorization", token.as_str())];
            let (answer, mut send) = client.begin(head("POST", "/", &fields), false).await;
            let mut rest = Bytes::from(body.clone());
            let sending = async move {
                while !rest.is_empty() {
                    send.reserve_capacity(rest.len());
                    let room = std::future::poll_fn(|cx| send.poll_capacity(cx)).await.unwrap();
                    let piece = rest.split_to(room.unwrap().min(rest.len()));
                    send.send_data(piece, rest.is_empty()).unwrap();
                }
            };
            answers.push(tokio::spawn(async move {
                sending.await;
                read(answer).await.unwrap()
            }));
        }
        for answer in answers {
            assert!(answer.await.unwrap().body == body);
        }
    });
}

// U.172
#[test]
fn an_answer_that_is_cut_upstream_is_a_reset_and_never_an_end() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
    ] {
        let upstream = Upstream::scripted(move |mut connection| {
            if connection.request().is_some() {
                connection.send(answer);
            }
        });
        let gateway = Gateway::before(upstream.address);
        let mut raw = Raw::connect(&gateway);
        raw.headers(1, END_STREAM, &request("GET", "/", &[]));
        let outcome = raw.outcome(1);
        assert_eq!(outcome, Outcome::Reset(Some(200), INTERNAL_ERROR), "{answer:?}");
        assert_eq!(gateway.totals().aborted, 1);
        // the connection goes on
        raw.headers(3, END_STREAM, &request("POST", "/", &[]));
        assert!(matches!(raw.outcome(3), Outcome::Answered(..)));
    }
}

// U.178
#[test]
fn a_request_that_is_taken_back_is_cancelled_upstream() {
    let (told, gone) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let upstream = Upstream::scripted(move |mut connection| {
        if connection.request().is_some() && connection.closes_soon() {
            let _ = told.lock().unwrap().send(());
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut raw = Raw::connect(&gateway);
    raw.headers(1, END_STREAM, &request("GET", "/", &[]));
    upstream.wait_for(1);
    raw.send(RST_STREAM, 0, 1, &CANCEL.to_be_bytes());
    gone.recv_timeout(support::PATIENCE).unwrap();
    eventually("it is logged as aborted", || gateway.totals().aborted == 1);
    // and so is every request of a client that is gone
    raw.headers(3, END_STREAM, &request("GET", "/", &[]));
    raw.headers(5, END_STREAM, &request("GET", "/", &[]));
    upstream.wait_for(3);
    drop(raw);
    for _ in 0..2 {
        gone.recv_timeout(support::PATIENCE).unwrap();
    }
    eventually("they are logged as aborted", || gateway.totals().aborted == 3);
}

#[test]
fn the_preface_is_told_from_http_1_however_it_is_cut() {
    let site = Site::new();
    // piece by piece, it is HTTP/2
    let mut raw = Raw { client: site.gateway.connect(), goaway: None };
    let mut bytes = [PREFACE, &http2::frame(4, 0, 0, &[])].concat();
    bytes.extend(http2::frame(
        HEADERS,
        4 | END_STREAM,
        1,
        &http2::block(&request("GET", "/x", &[])),
    ));
    for byte in bytes {
        raw.client.send([byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(raw.outcome(1).status(), Some(200));
    assert_eq!(site.look().len(), 1);
    // what only begins like it is HTTP/1.1, and no request of that
    for bytes in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"[..],
        b"PRI * HTTP/2.0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PRI * HTTP/2.0\r\nHost: api.test\r\n\r\n",
        b"PRI * HTTP/1.1\r\nHost: api.test\r\n\r\n",
        b"PRI / HTTP/1.1\r\nHost: api.test\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let talk = site.talk_and_hang_up(bytes);
        talk.assert_safe(&String::from_utf8_lossy(bytes));
    }
    // a method that begins the same is only a method
    let talk = site.talk(b"PRINT / HTTP/1.1\r\nHost: api.test\r\n\r\n");
    talk.assert_refused(401, "PRINT");
}

// D.147
#[test]
fn the_first_request_has_one_deadline_from_the_accept_on() {
    let site = Site::with("header_timeout = \"400ms\"");
    let settings = http2::frame(4, 0, 0, &[]);
    let block = http2::block(&request("GET", "/x", &[]));
    let begun = http2::frame(HEADERS, 0, 1, &block);
    for sent in [
        PREFACE[..3].to_vec(),
        PREFACE[..20].to_vec(),
        PREFACE.to_vec(),
        [PREFACE, &settings].concat(),
        [PREFACE, &settings, &begun].concat(),
        [PREFACE, &settings, &begun[..12]].concat(),
    ] {
        let mut client: Client = site.gateway.connect();
        client.send(&sent);
        let start = std::time::Instant::now();
        client.read_to_end();
        assert!(start.elapsed() < Duration::from_secs(10), "after {} bytes", sent.len());
    }
    assert!(site.look().is_empty());
}

#[test]
fn a_later_header_block_must_come_in_time_too() {
    let site = Site::with("header_timeout = \"400ms\"");
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, END_STREAM, &request("GET", "/x", &[]));
    assert_eq!(raw.outcome(1).status(), Some(200));
    raw.send(HEADERS, END_STREAM, 3, &http2::block(&request("GET", "/y", &[])));
    assert_eq!(raw.end(), Some(http2::ENHANCE_YOUR_CALM));
    assert_eq!(site.look().len(), 1);
}

#[test]
fn an_idle_connection_is_told_to_go_after_the_idle_timeout_whatever_it_pings() {
    let site = Site::with("idle_timeout = \"600ms\"");
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, END_STREAM, &request("GET", "/x", &[]));
    assert_eq!(raw.outcome(1).status(), Some(200));
    let start = std::time::Instant::now();
    raw.client.stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    while raw.goaway.is_none() {
        raw.send(http2::PING, 0, 0, b"idle....");
        let frame = raw.frame().unwrap();
        assert!(matches!(frame.kind, http2::PING | http2::GOAWAY | 4), "{frame:?}");
        assert!(start.elapsed() < Duration::from_secs(15));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(raw.goaway, Some(http2::NO_ERROR));
}

#[test]
fn draining_sends_goaway_and_lets_what_is_open_finish() {
    let upstream = Upstream::scripted(|mut connection| {
        if connection.request().is_some() {
            std::thread::sleep(Duration::from_millis(600)); // the upstream is slow
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let gateway = Gateway::before(upstream.address);
    let mut raw = Raw::connect(&gateway);
    raw.headers(1, END_STREAM, &request("GET", "/slow", &[]));
    upstream.wait_for(1);
    gateway.running().drain();
    let outcome = raw.outcome(1);
    assert_eq!(outcome, Outcome::Answered(200, b"hello".to_vec()));
    assert_eq!(raw.end(), Some(http2::NO_ERROR));
    assert_eq!(gateway.finish().aborted, 0);
}

#[test]
fn an_idle_connection_does_not_hold_a_drain_up() {
    let site = Site::new();
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, END_STREAM, &request("GET", "/x", &[]));
    assert_eq!(raw.outcome(1).status(), Some(200));
    site.gateway.running().drain();
    let start = std::time::Instant::now();
    assert_eq!(raw.end(), Some(http2::NO_ERROR));
    assert!(start.elapsed() < Duration::from_secs(10));
}

#[test]
fn heads_over_the_limit_are_refused_with_431() {
    let site = Site::with("max_header_size = \"8KiB\"");
    let long = "x".repeat(9 * 1024);
    let outcome = ask(&site, &request("GET", "/x", &[("x-long", &long)]), b"");
    assert_refused(&site, &outcome, "a long head");
    assert!(matches!(outcome.status(), Some(431) | None), "{outcome:?}");
    let many: Vec<_> = (0..300).map(|number| format!("x-{number}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let site = Site::new();
    let outcome = ask(&site, &request("GET", "/x", &many), b"");
    assert_eq!(outcome.status(), Some(431));
    assert_refused(&site, &outcome, "many fields");
}

#[test]
fn a_body_over_the_limit_is_refused_while_it_comes() {
    let site = Site::with("max_body_size = \"1KiB\"");
    let token = bearer(&site);
    let fields = request("POST", "/x", &[("authorization", &token)]);
    let outcome = ask(&site, &fields, &[b'x'; 1025]);
    assert_eq!(outcome.status(), Some(413), "{outcome:?}");
    assert!(site.look().is_empty());
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, 0, &fields);
    for _ in 0..3 {
        raw.send(DATA, 0, 1, &[b'x'; 500]);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(raw.outcome(1).status(), Some(413));
    assert!(site.look().iter().all(|seen| !seen.complete));
}

#[test]
fn a_body_that_stalls_is_given_up() {
    let site = Site::with("idle_timeout = \"400ms\"");
    let token = bearer(&site);
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, 0, &request("POST", "/x", &[("authorization", &token)]));
    raw.send(DATA, 0, 1, b"begun");
    assert_eq!(raw.outcome(1).status(), Some(408));
    assert!(site.look().iter().all(|seen| !seen.complete));
}

#[test]
fn with_http2_off_its_preface_is_refused() {
    let site = Site::with("http2 = false");
    let mut client = site.gateway.connect();
    client.send(PREFACE);
    assert_eq!(client.answer().status, 400);
    assert!(site.look().is_empty());
}

#[test]
fn more_streams_than_allowed_are_refused_and_the_others_served() {
    let upstream = Upstream::scripted(|mut connection| {
        while connection.request().is_some() {
            std::thread::sleep(Duration::from_millis(300)); // so that all are open at once
            let _ = connection.stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let gateway = Gateway::with(upstream.address, "max_streams = 3", "");
    let mut raw = Raw::connect(&gateway);
    for number in 0..5 {
        raw.headers(number * 2 + 1, END_STREAM, &request("GET", "/x", &[]));
    }
    let mut refused = 0;
    let mut served = 0;
    while refused + served < 5 {
        let frame = raw.frame().unwrap();
        match frame.kind {
            RST_STREAM => {
                assert_eq!(frame.payload, 7_u32.to_be_bytes()); // REFUSED_STREAM: may be sent again
                refused += 1;
            }
            HEADERS => served += 1,
            _ => {}
        }
    }
    assert_eq!((served, refused), (3, 2));
    assert_eq!(upstream.seen().len(), 3);
}

// H.107, H.108, H.114, H.115: the twins of what HTTP/1.1 removes
#[test]
fn what_a_client_cannot_say_of_itself_never_reaches_the_upstream() {
    let site = Site::new();
    let token = bearer(&site);
    let fields = [
        ("authorization", token.as_str()),
        ("x-auth-client", "admin"),
        ("x_auth_client", "admin"),
        ("x.auth.client", "admin"),
        ("x-auth-subject", "admin"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.test"),
        ("forwarded", "for=6.6.6.6"),
        ("x-real-ip", "6.6.6.6"),
        ("x-original-url", "/admin"),
        ("x-rewrite-url", "/admin"),
        ("remote-user", "admin"),
        ("proxy", "http://evil.test"),
        ("proxy-authorization", "Basic eA=="),
        ("http2-settings", "AAMAAABk"),
        ("trailer", "x"),
        ("x-kept", "yes"),
    ];
    assert_eq!(ask(&site, &request("POST", "/x", &fields), b"body").status(), Some(200));
    let seen = site.look().remove(0);
    assert_eq!(seen.field("x-auth-client").as_deref(), Some(support::CLIENT));
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("http"));
    assert_eq!(seen.field("x-forwarded-host").as_deref(), Some("api.test"));
    assert_eq!(seen.field("x-kept").as_deref(), Some("yes"));
    for gone in [
        "x_auth_client",
        "x.auth.client",
        "x-real-ip",
        "x-original-url",
        "x-rewrite-url",
        "remote-user",
        "proxy",
        "proxy-authorization",
        "http2-settings",
        "trailer",
    ] {
        assert!(seen.field(gone).is_none(), "{gone}: {seen:?}");
    }
    let all = format!("{seen:?}");
    assert!(!all.contains("admin") && !all.contains("6.6.6.6") && !all.contains("evil"), "{all}");
}
