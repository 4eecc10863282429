//! Group A: nothing that could change something gets past without a token, however it is spelt, and nothing is
//! forwarded anywhere but to the upstream.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::TcpListener;

use support::attack::{HIDDEN, Site, rest};
use support::{Client, Gateway, Upstream, bearer, get, post, tokens, with_body};

const CHALLENGE: &str = "Bearer realm=\"tollgate\"";

fn assert_challenged(talk: &support::attack::Talk, what: &str) {
    assert_eq!(talk.statuses(), [401], "{what}: {talk:?}");
    assert_eq!(talk.answers[0].field("www-authenticate").as_deref(), Some(CHALLENGE), "{what}");
    talk.assert_nothing_came(what);
}

/// The same, told as gRPC tells it.
fn assert_unauthenticated(talk: &support::attack::Talk, what: &str) {
    assert_eq!(talk.statuses(), [200], "{what}: {talk:?}");
    assert_eq!(talk.answers[0].field("grpc-status").as_deref(), Some("16"), "{what}: {talk:?}");
    assert_eq!(talk.answers[0].field("www-authenticate").as_deref(), Some(CHALLENGE), "{what}");
    assert!(talk.answers[0].body.is_empty(), "{what}: {talk:?}");
    talk.assert_nothing_came(what);
}

// A.84
#[test]
fn without_a_token_a_write_is_refused_and_its_body_not_asked_for() {
    let site = Site::new();
    let megabyte = vec![b'x'; 1024 * 1024];
    for method in ["POST", "PUT", "PATCH", "DELETE"] {
        let head = format!("{method} /write HTTP/1.1\r\nHost: api.test\r\n");
        assert_challenged(&site.talk(format!("{head}\r\n")), method);
        assert_challenged(&site.talk(with_body(method, "/write", "", b"x=1")), method);
        for fields in [
            "Content-Length: 9000000000\r\n",
            "Content-Length: 9000000000\r\nExpect: 100-continue\r\n",
            "Content-Length: 5\r\nExpect: 100-continue\r\n",
            "Transfer-Encoding: chunked\r\nExpect: 100-Continue\r\n",
            "Transfer-Encoding: chunked\r\n",
        ] {
            // not a byte of the body is sent, and yet the answer comes, without a 100 before it
            let mut client = site.gateway.connect();
            client.send(format!("{head}{fields}\r\n"));
            let answer = client.any_answer(method).unwrap();
            assert_eq!(answer.status, 401, "{method} {fields}");
            assert_eq!(answer.field("www-authenticate").as_deref(), Some(CHALLENGE));
            drop(client);
            assert!(site.look().is_empty(), "{method} {fields}");
        }
        // what is left of the body is more than is read over, so that the answer may be lost, but nothing else
        let talk = site.talk(with_body(method, "/write", "", &megabyte));
        talk.assert_nothing_came(method);
        assert!(talk.statuses().iter().all(|status| *status == 401), "{talk:?}");
    }
}

// A.85
#[test]
fn unknown_and_misspelt_methods_are_guarded() {
    let site = Site::new();
    let long = "M".repeat(200);
    for method in [
        "PROPFIND",
        "PROPPATCH",
        "MKCOL",
        "COPY",
        "MOVE",
        "LOCK",
        "UNLOCK",
        "QUERY",
        "SEARCH",
        "M-SEARCH",
        "PURGE",
        "BAN",
        "LINK",
        "UNLINK",
        "REPORT",
        "FOO",
        "get",
        "Get",
        "gET",
        "GETS",
        "GE",
        "head",
        "Head",
        "options",
        "Options",
        "post",
        "Post",
        "connect",
        "trace",
        "PRI",
        "SUBSCRIBE",
        "NOTIFY",
        "ACL",
        "BIND",
        "$",
        "!#%&'*+-.^_`|~",
        "0",
        &long,
    ] {
        assert_challenged(&site.talk(with_body(method, "/write", "", b"x")), method);
        assert_challenged(
            &site.talk(format!("{method} /write HTTP/1.1\r\nHost: api.test\r\n\r\n")),
            method,
        );
    }
    for method in [
        "G ET",
        "GET\0",
        "\0GET",
        "GÉT",
        "ＧＥＴ",
        "G\u{200b}ET",
        "GET,",
        "GET:",
        "(GET)",
        "\"GET\"",
        "",
    ] {
        site.talk(format!("{method} /write HTTP/1.1\r\nHost: api.test\r\n\r\n"))
            .assert_refused(400, method);
    }
}

// A.87
#[test]
fn trace_and_connect_are_never_forwarded() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for authorization in ["", token.as_str()] {
        for line in [
            "TRACE / HTTP/1.1",
            "TRACE /x HTTP/1.0",
            "TRACE http://api.test/ HTTP/1.1",
            "CONNECT api.test:443 HTTP/1.1",
            "CONNECT api.test HTTP/1.1",
            "CONNECT 127.0.0.1:22 HTTP/1.1",
            "CONNECT [::1]:22 HTTP/1.1",
            "CONNECT / HTTP/1.1",
            "CONNECT /x HTTP/1.1",
            "CONNECT * HTTP/1.1",
            "CONNECT http://api.test/ HTTP/1.1",
            "CONNECT api.test:443 HTTP/1.0",
        ] {
            let talk = site.talk(format!(
                "{line}\r\nHost: api.test\r\nMax-Forwards: 0\r\n{authorization}\r\n"
            ));
            talk.assert_refused(405, line);
            assert!(talk.answers[0].field("allow").is_some());
            assert!(!talk.answers[0].text().contains("Bearer"), "TRACE tells nothing back");
        }
    }
}

// A.88
#[test]
fn an_open_request_stays_the_method_it_is() {
    let site = Site::new();
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "x-http-method-override",
        "X_HTTP_Method_Override",
        "X_HTTP_METHOD",
        "X_Method_Override",
        "X-HTTP_Method-Override",
        "X.HTTP.Method.Override",
    ] {
        for method in ["GET", "HEAD", "OPTIONS"] {
            for value in ["DELETE", "PUT", "post"] {
                let mut client = site.gateway.connect();
                client.send(format!(
                    "{method} /x HTTP/1.1\r\nHost: api.test\r\n{name}: {value}\r\n\r\n"
                ));
                assert_eq!(client.answer_to(method).unwrap().status, 200);
                drop(client);
                let seen = site.look();
                assert_eq!(seen.len(), 1, "{name}");
                assert_eq!(seen[0].line, format!("{method} /x HTTP/1.1"));
                assert!(
                    !seen[0].fields.iter().any(|(_, given)| given == value),
                    "{name}: {seen:?}"
                );
            }
        }
    }
}

// A.89
#[test]
fn a_write_does_not_become_open_by_calling_itself_a_read() {
    let site = Site::new();
    for name in
        ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override", "X_HTTP_Method_Override"]
    {
        for value in ["GET", "HEAD", "OPTIONS"] {
            assert_challenged(
                &site.talk(post("/write", &format!("{name}: {value}\r\n"), b"x")),
                name,
            );
        }
    }
    assert_challenged(&site.talk(post("/write?_method=GET&method=GET", "", b"x")), "the query");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_challenged(&site.talk(post("/write", form, b"_method=GET")), "the form");
}

// A.90
#[test]
fn nothing_beside_a_token_opens_a_write() {
    let site = Site::new();
    for field in [
        "X-Original-Method: GET",
        "X-Forwarded-Method: GET",
        "X-Forwarded-Uri: /public",
        "X-Forwarded-Proto: https",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-Host: localhost",
        "X-Forwarded-Prefix: /public",
        "X-Forwarded-User: admin",
        "X-Original-URL: /public",
        "X-Original-URI: /auth/token",
        "X-Rewrite-URL: /public",
        "X-Real-IP: 127.0.0.1",
        "X-Client-IP: 127.0.0.1",
        "True-Client-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 tollgate",
        "User-Agent: kube-probe/1.31",
        "User-Agent: ELB-HealthChecker/2.0",
        "User-Agent: GoogleHC/1.0",
        "Origin: http://127.0.0.1",
        "Referer: http://127.0.0.1/auth/token",
        "Access-Control-Request-Method: POST",
        "Purpose: prefetch",
        "X-Auth-Client: foobarbaz",
        "X-Auth-Subject: foobarbaz",
        "X-Request-Id: 1",
        "Upgrade: h2c",
        "Upgrade-Insecure-Requests: 1",
        "Max-Forwards: 0",
        "Remote-User: admin",
        "X-Authenticated: true",
        "Connection: authorization",
        "Range: bytes=0-0",
        "Sec-Fetch-Mode: cors",
        "DNT: 1",
    ] {
        assert_challenged(&site.talk(post("/write", &format!("{field}\r\n"), b"")), field);
    }
    let talk = site.talk(post("/write", "Content-Type: application/grpc\r\n", b""));
    assert_unauthenticated(&talk, "gRPC");
}

// A.78: a preflight never needs a token, and is the upstream's to answer
#[test]
fn a_preflight_is_open() {
    let site = Site::new();
    let talk = site.talk(
        "OPTIONS /write HTTP/1.1\r\nHost: api.test\r\nOrigin: https://evil.test\r\n\
         Access-Control-Request-Method: DELETE\r\n\r\n",
    );
    assert_eq!(talk.only("preflight").line, "OPTIONS /write HTTP/1.1");
    assert_eq!(talk.answers[0].field("access-control-allow-origin"), None);
}

// A.91
#[test]
fn a_path_that_two_parsers_could_read_differently_is_refused() {
    let site = Site::new();
    for path in [
        "/./protected",
        "/x/../protected",
        "/x/..",
        "/..",
        "/.",
        "/protected/.",
        "/../protected",
        "/x/%2e%2e/protected",
        "/x/%2E./protected",
        "/x/.%2e/protected",
        "/%2e/protected",
        "/x/%252e%252e/protected",
        "/x/..;/protected",
        "/x/..;a=b/protected",
        "/x/%2e%2e;/protected",
        "/x/..%3b/protected",
        "/.;/protected",
        "/x/..%2fprotected",
        "/x%2f..%2fprotected",
        "/x/%2e%2e%2fprotected",
        "/%2fprotected",
        "/protected%2f",
        "/protected%2F..",
        "/x%5c..%5cprotected",
        "/x\\..\\protected",
        "\\protected",
        "/\\protected",
        "/protected%00",
        "/%00/protected",
        "/protected%00.html",
        "/protected%0d%0aX: y",
        "/protected%0a",
        "/protected%09",
        "/protected%7f",
        "/protected#",
        "/protected#/x",
        "/x#/../protected",
        "/%c0%ae%c0%ae/protected",
        "/%c0%afprotected",
        "/%c1%9cprotected",
        "/%protected",
        "/protected%",
        "/protected%2",
        "/%u002e%u002e/protected",
        "/%zz",
        "/\u{ff0e}\u{ff0e}/protected",
        "/protécted",
        "/\u{2025}/protected",
        "/a\"b",
        "/<x>",
        "/x\u{7f}",
    ] {
        let token = bearer(&tokens::good(&site.gateway));
        for (method, fields) in [("GET", ""), ("POST", ""), ("POST", token.as_str())] {
            let what = format!("{method} {path:?}");
            let request = format!("{method} {path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n");
            site.talk(request).assert_refused(400, &what);
            let absolute = format!(
                "{method} http://api.test{path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"
            );
            site.talk(absolute).assert_refused(400, &what);
        }
    }
}

// A.91, A.96: what is left is judged as it stands and goes on as it was judged
#[test]
fn an_unusual_target_goes_on_byte_for_byte() {
    let site = Site::new();
    let long = format!("/{}", "a".repeat(16 * 1024));
    for target in [
        "/",
        "//",
        "//x",
        "/x//y",
        "/protected/",
        "/PROTECTED",
        "/%70rotected",
        "/%2570rotected",
        "/x;y=z",
        "/;/x",
        "/...",
        "/..x",
        "/x..",
        "/.well-known/x",
        "/%20",
        "/%E2%82%AC",
        "/a:b@c",
        "/a=b&c,d+e!$'()*~",
        "/?",
        "/??",
        "/?/../x",
        "/?%2e%2e%2f",
        "/?a=%0d%0aX:%20y",
        "/?a=%00",
        "/?http://evil.test/",
        "/x?y#".trim_end_matches('#'),
        "/[]",
        "/{}|^`",
        "/?\\".trim_end_matches('\\'),
        &long,
    ] {
        let talk = site.talk(get(target));
        assert_eq!(talk.only(target).line, format!("GET {target} HTTP/1.1"));
        assert_challenged(&site.talk(post(target, "", b"")), target);
    }
}

// A.93, A.94
#[test]
fn no_request_leads_anywhere_but_to_the_upstream() {
    let site = Site::new();
    let canary = TcpListener::bind("127.0.0.1:0").unwrap();
    canary.set_nonblocking(true).unwrap();
    let evil = canary.local_addr().unwrap();
    let absolute =
        |line: &str, host: &str| site.talk(format!("{line} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    for (line, host, expected) in [
        (format!("GET http://{evil}/x"), "api.test".to_owned(), Some(evil.to_string())),
        (format!("GET HTTP://{evil}/x"), evil.to_string(), Some(evil.to_string())),
        (format!("GET https://{evil}/x"), "api.test".to_owned(), Some(evil.to_string())),
        (format!("GET http://{evil}"), "api.test".to_owned(), Some(evil.to_string())),
        (format!("GET http://{evil}?x"), "api.test".to_owned(), Some(evil.to_string())),
        (format!("GET //{evil}/x"), "api.test".to_owned(), Some("api.test".to_owned())),
        (format!("GET /http://{evil}/x"), "api.test".to_owned(), Some("api.test".to_owned())),
        (format!("GET /@{evil}/x"), "api.test".to_owned(), Some("api.test".to_owned())),
        ("GET /x".to_owned(), evil.to_string(), Some(evil.to_string())),
        (format!("GET @{evil}/x"), "api.test".to_owned(), None),
        (format!("GET {evil}"), "api.test".to_owned(), None),
        (format!("GET api.test@{evil}/x"), "api.test".to_owned(), None),
        (format!("GET http://api.test@{evil}/x"), "api.test".to_owned(), None),
        (format!("GET http://{evil}\\@api.test/x"), "api.test".to_owned(), None),
        (format!("GET ftp://{evil}/x"), "api.test".to_owned(), None),
        (format!("GET http:/{evil}/x"), "api.test".to_owned(), None),
        (format!("GET http:{evil}/x"), "api.test".to_owned(), None),
        (format!("GET http:///{evil}/x"), "api.test".to_owned(), None),
        ("GET http://[::1/x".to_owned(), "api.test".to_owned(), None),
        ("GET unix:/tmp/x".to_owned(), "api.test".to_owned(), None),
    ] {
        let talk = absolute(&line, &host);
        match expected {
            Some(host) => {
                let seen = talk.only(&line);
                assert!(seen.line.starts_with("GET /"), "origin form: {}", seen.line);
                assert_eq!(seen.field("host").as_deref(), Some(host.as_str()), "{line}");
                assert_eq!(
                    seen.field("x-forwarded-host").as_deref(),
                    Some(host.as_str()),
                    "{line}"
                );
            }
            None => talk.assert_refused(400, &line),
        }
    }
    for field in [
        "X-Forwarded-Host",
        "X-Host",
        "Forwarded: host",
        "X-Original-URL: http",
        "X-Forwarded-Server",
    ] {
        let talk =
            site.talk(format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{field}: {evil}\r\n\r\n"));
        assert_eq!(talk.only(field).field("x-forwarded-host").as_deref(), Some("api.test"));
    }
    assert!(canary.accept().is_err(), "somebody asked the canary");
}

// A.95
#[test]
fn other_forms_of_target_are_refused() {
    let site = Site::new();
    for line in [
        "GET *", "POST *", "HEAD *", "get *", "GET x", "GET x/y", "GET ?x", "GET ", "GET .",
        "GET ../x", "GET **",
    ] {
        site.talk(format!("{line} HTTP/1.1\r\nHost: api.test\r\n\r\n")).assert_refused(400, line);
    }
    let talk = site.talk("OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(talk.only("OPTIONS *").line, "OPTIONS * HTTP/1.1");
}

// A.96
#[test]
fn characters_that_have_no_place_in_a_target_are_refused() {
    let site = Site::new();
    for byte in (0..=0x20).chain(0x7F..=0xFF).chain(*b"\"#<>\\") {
        let mut path = b"GET /a".to_vec();
        path.push(byte);
        path.extend_from_slice(b"b HTTP/1.1\r\nHost: api.test\r\n\r\n");
        site.talk_and_hang_up(&path).assert_safe(&format!("{byte:#x} in the path"));
        let mut query = b"GET /a?b".to_vec();
        query.push(byte);
        query.extend_from_slice(b"c HTTP/1.1\r\nHost: api.test\r\n\r\n");
        site.talk_and_hang_up(&query).assert_safe(&format!("{byte:#x} in the query"));
    }
}

// A.97
#[test]
fn exactly_one_valid_host_is_needed() {
    let site = Site::new();
    for fields in [
        "",
        "Host: api.test\r\nHost: evil.test\r\n",
        "Host: api.test\r\nHost: api.test\r\n",
        "Host: api.test\r\nX: y\r\nhost: api.test\r\n",
        "Host: api.test, evil.test\r\n",
        "Host: api.test evil.test\r\n",
        "Host: api.test/x\r\n",
        "Host: http://api.test\r\n",
        "Host: user@api.test\r\n",
        "Host: a:b@api.test\r\n",
        "Host: \r\n",
        "Host:\r\n",
        "Host: api.\0test\r\n",
        "Host: api.test:x\r\n",
        "Host: api.test:99999\r\n",
        "Host: api.test:0\r\n",
        "Host: api.test:-1\r\n",
        "Host: api.test:80:80\r\n",
        "Host: api.test:\r\n",
        "Host: [::1\r\n",
        "Host: ::1\r\n",
        "Host: [x]\r\n",
        "Host : api.test\r\n",
        " Host: api.test\r\n",
        "Host\t: api.test\r\n",
        "Host: api.test\r\n evil.test\r\n",
        "Host: api.test?x\r\n",
        "Host: api.test#x\r\n",
        "Host: api%2etest\r\n",
        "Host: аpi.test\r\n",
        "Host: api.test\\evil.test\r\n",
        "Host: *\r\n",
        "Host: \"api.test\"\r\n",
        "Host_: api.test\r\n",
        "X-Forwarded-Host: api.test\r\n",
    ] {
        let what = format!("{fields:?}");
        site.talk(format!("GET /x HTTP/1.1\r\n{fields}\r\n")).assert_refused(400, &what);
        let absolute = format!("GET http://api.test/x HTTP/1.1\r\n{fields}\r\n");
        site.talk(absolute).assert_refused(400, &what);
    }
    for host in ["api.test", "API.Test:8080", "127.0.0.1", "[::1]:80", "a_b-c.test", "localhost"] {
        let talk = site.talk(format!("GET /x HTTP/1.1\r\nhOST: {host}\r\n\r\n"));
        assert_eq!(talk.only(host).field("host").as_deref(), Some(host));
    }
    for name in ["Host_", "host.", "HOST_NAME".trim_end_matches("_NAME")] {
        let talk = site.talk(format!("GET /x HTTP/1.0\r\n{name}: api.test\r\n\r\n"));
        assert_eq!(talk.only(name).fields.iter().filter(|(name, _)| name == "host").count(), 1);
    }
}

// A.99
#[test]
fn the_body_of_a_read_is_its_body_and_no_request() {
    let site = Site::new();
    for method in ["GET", "OPTIONS"] {
        let talk = site.talk(with_body(method, "/x", "", HIDDEN.as_bytes()));
        assert_eq!(talk.only(method).body, HIDDEN.as_bytes());
        let chunked = format!(
            "{method} /x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n",
            HIDDEN.len()
        );
        let talk = site.talk(chunked);
        let seen = talk.only(method);
        assert_eq!((seen.body.as_slice(), seen.complete), (HIDDEN.as_bytes(), true));
    }
    let mut client = site.gateway.connect();
    client.send(with_body("HEAD", "/x", "", HIDDEN.as_bytes()));
    assert_eq!(client.answer_to("HEAD").unwrap().status, 200);
    client.send(get("/after"));
    assert_eq!(client.answer().status, 200);
    let lines: Vec<_> = site.look().into_iter().map(|seen| (seen.line, seen.body)).collect();
    assert_eq!(
        lines,
        [
            ("HEAD /x HTTP/1.1".to_owned(), HIDDEN.as_bytes().to_vec()),
            ("GET /after HTTP/1.1".to_owned(), Vec::new())
        ]
    );
}

// A.100
#[test]
fn requests_on_one_connection_are_judged_one_by_one_and_a_token_never_sticks() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    let read = "GET /read HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned();
    let bare = "DELETE /bare HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned();
    let good =
        format!("POST /good HTTP/1.1\r\nHost: api.test\r\n{token}Content-Length: 2\r\n\r\nok");
    let bad =
        "POST /bad HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer a.b.c\r\n\r\n".to_owned();
    for (requests, statuses) in [
        (vec![&read, &bare], vec![200, 401]),
        (vec![&good, &bare], vec![200, 401]),
        (vec![&good, &read, &bare, &good, &bad, &good], vec![200, 200, 401, 200, 401, 200]),
        (vec![&bare, &read], vec![401, 200]),
        (vec![&bad, &good, &bare], vec![401, 200, 401]),
        (vec![&good, &good, &bare, &bare], vec![200, 200, 401, 401]),
    ] {
        // pipelined, all at once
        let all: String = requests.iter().map(|request| request.as_str()).collect();
        let talk = site.talk(&all);
        assert_eq!(talk.statuses(), statuses, "{requests:?}");
        let passed = talk.seen.len();
        assert_eq!(passed, statuses.iter().filter(|status| **status == 200).count());
        assert!(talk.seen.iter().all(|seen| !seen.line.contains("/ba")), "{:?}", talk.seen);
        for seen in &talk.seen {
            let is_ours = seen.line.starts_with("POST");
            assert_eq!(seen.field("x-auth-client").is_some(), is_ours, "identity stuck: {seen:?}");
            assert_eq!(seen.field("authorization").is_some(), is_ours, "{seen:?}");
        }
        // one after the other
        let mut client = site.gateway.connect();
        for (request, status) in requests.iter().zip(&statuses) {
            client.send(request);
            assert_eq!(client.answer().status, *status, "{request}");
        }
        drop(client);
        assert!(site.look().iter().all(|seen| !seen.line.contains("/ba")));
    }
}

// A.100: the upstream's connection is shared by clients, their tokens are not
#[test]
fn a_token_does_not_stick_to_the_connection_to_the_upstream() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "", "");
    let site = Site::of(upstream, gateway);
    let token = bearer(&tokens::good(&site.gateway));
    for _ in 0..20 {
        assert_eq!(site.gateway.ask(post("/good", &token, b"x")).status, 200);
        assert_eq!(site.gateway.ask(get("/read")).status, 200);
        assert_eq!(site.gateway.ask(post("/bad", "", b"x")).status, 401);
    }
    let seen = site.look();
    assert_eq!(seen.len(), 40);
    for seen in seen {
        assert_eq!(
            seen.field("authorization").is_some(),
            seen.line.starts_with("POST /good"),
            "{seen:?}"
        );
        assert_eq!(
            seen.field("x-auth-client").is_some(),
            seen.line.starts_with("POST /good"),
            "{seen:?}"
        );
    }
}

// A.101
#[test]
fn http2_in_clear_is_not_offered_to_the_upstream() {
    let site = Site::new();
    for fields in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: HTTP2-Settings\r\nUpgrade: H2C\r\nHTTP2_Settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, HTTP/2.0\r\n",
        "Connection: Upgrade\r\nUpgrade: h2\r\nUpgrade: h2c\r\n",
    ] {
        let talk = site.talk(format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"));
        let seen = talk.only(fields);
        for name in ["upgrade", "http2-settings", "http2_settings", "connection"] {
            assert_eq!(seen.field(name), None, "{fields:?}: {seen:?}");
        }
        let post = post("/write", fields, b"");
        assert_challenged(&site.talk(post), fields);
    }
}

// A.102
#[test]
fn an_upgrade_needs_a_token_and_what_follows_a_refused_one_is_judged() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    let bare = "DELETE /bare HTTP/1.1\r\nHost: api.test\r\n\r\n";
    for protocol in
        ["websocket", "foo", "TLS/1.2", "WebSocket, foo/1", "connect-udp", "h2c, websocket"]
    {
        let head = format!(
            "GET /chat HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
        );
        assert_challenged(&site.talk(format!("{head}\r\n")), protocol);
        // with one it goes on, and the upstream answers 200: no tunnel
        let talk = site.talk(format!("{head}{token}\r\n{bare}{HIDDEN}"));
        assert_eq!(talk.statuses(), [200, 401, 200], "{protocol}: {talk:?}");
        assert_eq!(talk.seen.len(), 2, "{:?}", talk.seen);
        assert!(
            talk.seen[0].line.starts_with("GET /chat")
                && talk.seen[1].line.starts_with("GET /hidden")
        );
        assert_eq!(talk.seen[1].field("upgrade"), None);
        // with a body it could be read in two ways
        let with_body = format!("{head}{token}Content-Length: {}\r\n\r\n{bare}", bare.len());
        site.talk(with_body).assert_refused(400, protocol);
        let with_body = format!("{head}{token}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{bare}");
        site.talk(with_body).assert_refused(400, protocol);
    }
}

// A.102: not a byte goes into the tunnel before the upstream has opened it
#[test]
fn early_bytes_reach_the_upstream_only_after_its_101() {
    let upstream = Upstream::scripted(|mut connection| {
        while let Some(seen) = connection.head() {
            connection.note(seen.clone());
            if seen.line.starts_with("GET /chat") {
                // whatever came with the head would be the next head
                connection.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\nwelcome");
                continue;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let gateway = Gateway::before(upstream.address);
    let site = Site::of(upstream, gateway);
    let token = bearer(&tokens::good(&site.gateway));
    let mut client = site.gateway.connect();
    client.send(format!(
        "GET /chat HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n{token}\r\nGET /in-the-tunnel HTTP/1.1\r\n\r\n"
    ));
    let answer = client.answer_to("GET").unwrap();
    assert_eq!((answer.status, answer.field("upgrade").as_deref()), (101, Some("foo")));
    client.wait_for("welcome");
    client.wait_for("hello");
    drop(client);
    let seen = site.look();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[0].connection, seen[1].connection);
    assert!(seen[1].field("via").is_none(), "through the tunnel, as it is");
}

// A.103
#[test]
fn a_101_that_nobody_asked_for_opens_no_tunnel() {
    let upstream = Upstream::answering(|seen| {
        let answer = match seen.line.as_str() {
            "GET /bare HTTP/1.1" => "HTTP/1.1 101 Switching Protocols\r\n\r\n",
            line if line.contains("/still-alive") => {
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
            }
            _ => "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n",
        };
        answer.into()
    });
    let gateway = Gateway::before(upstream.address);
    let site = Site::of(upstream, gateway);
    let token = bearer(&tokens::good(&site.gateway));
    for request in [
        "GET /bare HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n".to_owned(),
        "GET /x HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
            .to_owned(),
        format!(
            "GET /x HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{token}\r\n"
        ),
        format!(
            "GET /bare HTTP/1.1\r\nHost: api.test\r\nConnection: Upgrade\r\nUpgrade: foo\r\n{token}\r\n"
        ),
        format!("POST /x HTTP/1.1\r\nHost: api.test\r\n{token}Content-Length: 2\r\n\r\nok"),
    ] {
        let mut client = site.gateway.connect();
        client.send(format!("{request}DELETE /through-the-tunnel HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n"));
        let statuses: Vec<_> = rest(&mut client).iter().map(|answer| answer.status).collect();
        assert_eq!(statuses, [502, 401], "{request}");
        let seen = site.look();
        assert_eq!(seen.len(), 1, "{seen:?}");
    }
}

// A.105
#[test]
fn what_an_application_reads_into_a_get_does_not_change_what_it_is() {
    let site = Site::new();
    for (fields, target) in [
        ("", "/graphql?query=mutation%7Bdrop%7D"),
        ("Content-Type: application/grpc\r\nTE: trailers\r\n", "/pkg.Service/Write"),
        ("", "/x?_method=DELETE"),
        ("Content-Type: application/json\r\n", "/x?method=delete"),
    ] {
        let talk = site.talk(format!("GET {target} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"));
        assert_eq!(talk.only(target).line, format!("GET {target} HTTP/1.1"));
        let talk = site.talk(post(target, fields, b""));
        match fields.contains("grpc") {
            true => assert_unauthenticated(&talk, target),
            false => assert_challenged(&talk, target),
        }
    }
}

// A.84: the answer comes before the body in HTTP/1.0, too
#[test]
fn http_1_0_is_judged_by_the_same_rules() {
    let site = Site::new();
    for head in [
        "POST /x HTTP/1.0\r\n",
        "POST /x HTTP/1.0\r\nHost: api.test\r\n",
        "DELETE /x HTTP/1.0\r\nConnection: keep-alive\r\n",
    ] {
        assert_challenged(&site.talk(format!("{head}\r\n")), head);
    }
    let mut client: Client = site.gateway.connect();
    client.send("GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\nDELETE /y HTTP/1.0\r\n\r\n");
    let statuses: Vec<_> = rest(&mut client).iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 401]);
    let seen = site.look();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].field("host").as_deref(), Some(site.upstream.address.to_string().as_str()));
}
