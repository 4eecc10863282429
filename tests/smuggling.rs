//! Group S: no byte of one message is ever taken for part of another, on either side of the gateway.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use support::attack::{HIDDEN, Site, Talk};
use support::{Gateway, Upstream, bearer, eventually, find, post, tokens};

/// A POST that needs a token and has one, with these fields, and these bytes behind the head.
fn write(site: &Site, fields: &str, behind: &str) -> Vec<u8> {
    let authorization = bearer(&tokens::good(&site.gateway));
    format!("POST /write HTTP/1.1\r\nHost: api.test\r\n{authorization}{fields}\r\n{behind}").into()
}

fn assert_never_complete(talk: &Talk, what: &str) {
    for status in talk.statuses() {
        assert_eq!(status, 400, "{what}: {talk:?}");
    }
    assert!(talk.seen.iter().all(|seen| !seen.complete), "{what}: {:?}", talk.seen);
}

// S.121
#[test]
fn a_message_with_both_framings_is_refused_and_its_connection_closed() {
    let site = Site::new();
    let authorization = bearer(&tokens::good(&site.gateway));
    let body = format!("0\r\n\r\n{HIDDEN}");
    for method in ["POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE"] {
        for authorization in [authorization.as_str(), ""] {
            for length in [0, 4, 5, body.len(), body.len() + 100] {
                let (length, chunked) =
                    (format!("Content-Length: {length}\r\n"), "Transfer-Encoding: chunked\r\n");
                for fields in [
                    format!("{length}{chunked}"),
                    format!("{chunked}{length}"),
                    format!("{chunked}X-Between: 1\r\n{length}"),
                    format!("{length}Transfer-Encoding: Chunked\r\n"),
                    format!("{length}Transfer-Encoding: identity\r\n"),
                    format!("{length}Transfer-Encoding:\r\n"),
                ] {
                    let what = format!("{method} {fields:?}");
                    let talk = site.talk(format!(
                        "{method} /x HTTP/1.1\r\nHost: api.test\r\n{authorization}{fields}\r\n{body}"
                    ));
                    talk.assert_refused(400, &what);
                    assert_eq!(talk.answers[0].field("connection").as_deref(), Some("close"));
                }
            }
        }
    }
}

// S.123
#[test]
fn a_transfer_coding_in_http_1_0_is_refused() {
    let site = Site::new();
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n",
        "Transfer-Encoding: identity\r\n",
    ] {
        let request = write(&site, fields, &format!("0\r\n\r\n{HIDDEN}"));
        let request = String::from_utf8(request).unwrap().replacen("HTTP/1.1", "HTTP/1.0", 1);
        site.talk(request).assert_refused(400, fields);
    }
}

// S.121, S.123: RFC 9112 §6.1
#[test]
fn a_transfer_coding_that_is_not_plain_chunked_is_refused() {
    let site = Site::new();
    for coding in [
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "chunked\r\nTransfer-Encoding: chunked",
        "chunked\r\nTransfer-Encoding: identity",
        "identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "x chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked,",
        ",chunked",
        "",
        "\u{b}chunked",
        "chunked\u{b}",
        "chunked\0",
        "chun\0ked",
        "cow",
        "ｃhunked",
        "\tchunked, ",
    ] {
        let what = format!("Transfer-Encoding: {coding:?}");
        let request = write(
            &site,
            &format!("Transfer-Encoding: {coding}\r\n"),
            &format!("0\r\n\r\n{HIDDEN}"),
        );
        let talk = site.talk(request);
        assert!(matches!(talk.statuses()[..], [400 | 501]), "{what}: {talk:?}");
        talk.assert_nothing_came(&what);
    }
    // a field that only looks like it is no framing, and does not go on
    for name in ["Transfer_Encoding", "Transfer.Encoding", "Content_Length", "content.length"] {
        let value = if name.to_lowercase().starts_with('t') { "chunked" } else { "5" };
        let talk =
            site.talk(write(&site, &format!("{name}: {value}\r\nContent-Length: 3\r\n"), "abc"));
        let seen = talk.only(name);
        assert_eq!(seen.body, b"abc");
        assert!(seen.field(name).is_none(), "{name} went on: {seen:?}");
    }
}

// S.124
#[test]
fn a_length_that_is_no_plain_number_is_refused() {
    let site = Site::new();
    for length in [
        "+5",
        "-5",
        "-0",
        "1 5",
        "0x5",
        "5, 0",
        "0, 5",
        "5a",
        "5.0",
        "",
        " ",
        "1e1",
        "1_0",
        "\"5\"",
        "5;",
        ";5",
        "5\u{b}",
        "\u{b}5",
        "5\u{c}",
        "5\0",
        "\x005",
        "５",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "18446744073709551621",
        "9223372036854775808",
        "99999999999999999999999999",
        "4294967296000000000000",
        "5,",
        ",5",
        "5 5",
        "٥",
    ] {
        let talk = site.talk(write(
            &site,
            &format!("Content-Length: {length}\r\n"),
            &format!("abcde{HIDDEN}"),
        ));
        talk.assert_refused(400, &format!("Content-Length: {length:?}"));
    }
}

// S.125
#[test]
fn two_lengths_are_refused_and_one_goes_on_in_its_canonical_form() {
    let site = Site::new();
    for fields in [
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 6\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5\r\nX: y\r\ncontent-length: 0\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: 5\r\nContent-Length:\r\n",
    ] {
        site.talk(write(&site, fields, &format!("abcde{HIDDEN}"))).assert_refused(400, fields);
    }
    for length in ["5", "5  ", " \t5\t", "0005", "0000000000000000005"] {
        let talk = site.talk(write(&site, &format!("Content-Length: {length}\r\n"), "abcde"));
        let seen = talk.only(length);
        assert_eq!(seen.field("content-length").as_deref(), Some("5"), "{length:?}");
        assert_eq!((seen.body.as_slice(), seen.complete), (b"abcde".as_slice(), true));
    }
}

// S.126, S.135
#[test]
fn a_framing_field_that_two_readers_could_miss_is_refused() {
    let site = Site::new();
    for fields in [
        "Content-Length : 5\r\n",
        "Content-Length\t: 5\r\n",
        "Content-Length:\r\n 5\r\n",
        "Content-Length: 5\r\n 0\r\n",
        "X: y\r\n Content-Length: 5\r\n",
        "X: y\r\n\tTransfer-Encoding: chunked\r\n",
        "Content-Length\0: 5\r\n",
        "Content-\0Length: 5\r\n",
        "Content-Length\u{b}: 5\r\n",
        "\u{b}Content-Length: 5\r\n",
        " Content-Length: 5\r\n",
        "\tContent-Length: 5\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\rContent-Length: 5\r\n",
        "X: y\r\rContent-Length: 5\r\n",
        "Content-Length: 5\r\r\n",
        "Content-Length: 5\n",
        "Transfer-Encoding : chunked\r\n",
        "Transfer-Encoding\0: chunked\r\n",
        "Transfer-Encoding:\r\n chunked\r\n",
        "Transfer-Encoding: chunked\r\n gzip\r\n",
        "Transfer-Encoding: chunked\n",
        "Transfer Encoding: chunked\r\n",
        ": 5\r\n",
    ] {
        site.talk(write(&site, fields, &format!("abcde{HIDDEN}")))
            .assert_refused(400, &format!("{fields:?}"));
    }
}

// S.127
#[test]
fn broken_chunks_never_make_a_complete_request() {
    let site = Site::new();
    for chunks in [
        "0x3\r\nabc\r\n0\r\n\r\n",
        "+3\r\nabc\r\n0\r\n\r\n",
        "-3\r\nabc\r\n0\r\n\r\n",
        "-0\r\n\r\n",
        "0_3\r\nabc\r\n0\r\n\r\n",
        " 3\r\nabc\r\n0\r\n\r\n",
        "3 \r\nabc\r\n0\r\n\r\n",
        "\t3\r\nabc\r\n0\r\n\r\n",
        "3\t\r\nabc\r\n0\r\n\r\n",
        "\r\nabc\r\n0\r\n\r\n",
        ";x\r\nabc\r\n0\r\n\r\n",
        "3 ;x\r\nabc\r\n0\r\n\r\n",
        "10000000000000000\r\nabc\r\n0\r\n\r\n",
        "FFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n",
        "100000000000000000003\r\nabc\r\n0\r\n\r\n",
        "00000000000000000000003\r\nabc\r\n0\r\n\r\n",
        "g\r\nabc\r\n0\r\n\r\n",
        "3h\r\nabc\r\n0\r\n\r\n",
        "３\r\nabc\r\n0\r\n\r\n",
        "3.0\r\nabc\r\n0\r\n\r\n",
        "2\r\nabc\r\n0\r\n\r\n",
        "4\r\nabc\r\n0\r\n\r\n",
        "5\r\nabc\r\n0\r\n\r\n",
        "ff\r\nabc\r\n0\r\n\r\n",
        "3\r\nabc0\r\n\r\n",
        "3\r\nabc\r\n",
        "3\nabc\r\n0\r\n\r\n",
        "3\rabc\r\n0\r\n\r\n",
        "3\r\nabc\n0\r\n\r\n",
        "3\r\nabc\r0\r\n\r\n",
        "3\r\nabc\r\n0\n\r\n",
        "3\r\nabc\r\n0\r\n\n",
        "3\r\nabc\r\n0\r\r\n",
        "3\r\n\nabc\r\n0\r\n\r\n",
        "3;a\nb\r\nabc\r\n0\r\n\r\n",
        "3;a\rb\r\nabc\r\n0\r\n\r\n",
        "3;a\0b\r\nabc\r\n0\r\n\r\n",
        "3;\nabc\r\n0\r\n\r\n",
        "3\r\nabcxx\r\n0\r\n\r\n",
        "3\r\nabc\r\nxx0\r\n\r\n",
        "3\r\nabc\r\n\r\n0\r\n\r\n",
        "abc",
        "0",
        "0\r",
        "0\r\n",
        "0\r\n\r",
        "",
    ] {
        let request = write(&site, "Transfer-Encoding: chunked\r\n", chunks);
        assert_never_complete(&site.talk_and_hang_up(request), &format!("{chunks:?}"));
    }
}

// S.127
#[test]
fn a_request_behind_a_broken_chunk_is_not_run() {
    let site = Site::new();
    for chunks in [
        "0x0\r\n\r\n",
        "3\nabc\n0\n\n",
        "1\r\nZ\r\nQ\r\n\r\n",
        "0\n\n",
        "0;\n\r\n\r\n",
        "0\r\nx\r\n\r\n",
    ] {
        let request =
            write(&site, "Transfer-Encoding: chunked\r\n", &format!("{chunks}{HIDDEN}{HIDDEN}"));
        assert_never_complete(&site.talk(request), &format!("{chunks:?}"));
    }
}

// S.129
#[test]
fn chunk_extensions_are_read_over_and_dropped() {
    let site = Site::new();
    let long = "x".repeat(64 * 1024);
    let many = format!("1;{}\r\nz\r\n", "e".repeat(400)).repeat(500);
    for (chunks, body) in [
        ("5;a\r\nhello\r\n0\r\n\r\n".to_owned(), "hello".to_owned()),
        ("5;a=b;c=\"d \\\" e;\"\r\nhello\r\n0;last\r\n\r\n".to_owned(), "hello".to_owned()),
        ("5;\thello\r\nhello\r\n0\r\n\r\n".to_owned(), "hello".to_owned()),
        (format!("5;{long}\r\nhello\r\n0\r\n\r\n"), "hello".to_owned()),
        (format!("{many}0\r\n\r\n"), "z".repeat(500)),
        ("00005\r\nhello\r\n000\r\n\r\n".to_owned(), "hello".to_owned()),
        ("A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n".to_owned(), "0123456789".repeat(2)),
    ] {
        let what = chunks.chars().take(40).collect::<String>();
        let talk = site.talk(write(&site, "Transfer-Encoding: chunked\r\n", &chunks));
        let seen = talk.only(&what);
        assert_eq!(seen.body, body.as_bytes(), "{what}");
        assert!(seen.complete);
    }
    let endless = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(1024 * 1024));
    let talk = site.talk_and_hang_up(write(&site, "Transfer-Encoding: chunked\r\n", &endless));
    assert_never_complete(&talk, "1 MiB of extensions");
}

// S.130
#[test]
fn ten_thousand_chunks_of_one_byte_arrive_whole() {
    let site = Site::new();
    let chunks = format!("{}0\r\n\r\n", "1\r\nx\r\n".repeat(10_000));
    let talk = site.talk(write(&site, "Transfer-Encoding: chunked\r\n", &chunks));
    let seen = talk.only("10000 chunks");
    assert_eq!(seen.body, "x".repeat(10_000).as_bytes());
    assert_eq!(seen.field("transfer-encoding").as_deref(), Some("chunked"));
    assert_eq!(seen.field("content-length"), None);
}

// S.131
#[test]
fn trailers_are_never_merged_and_those_that_decide_are_dropped() {
    let site = Site::new();
    for trailer in [
        "Content-Length: 3",
        "Transfer-Encoding: chunked",
        "Host: evil.test",
        "Authorization: Bearer evil",
        "Content-Type: text/evil",
        "Connection: close",
        "X-Forwarded-For: 6.6.6.6",
        "Forwarded: for=6.6.6.6",
        "X-Auth-Client: admin",
        "x-auth-subject: admin",
        "X_Auth_Client: admin",
        "X.Auth.Scope: admin",
        "X-HTTP-Method-Override: DELETE",
        "Cookie: a=b",
        "Via: 1.1 evil",
        "Expect: 100-continue",
        "Upgrade: h2c",
        "TE: gzip",
        "Trailer: x",
        "Max-Forwards: 0",
        "X-Request-Id: evil",
        "Proxy-Authorization: Basic eDp5",
        "X-Real-IP: 6.6.6.6",
        "If-Match: x",
        "Content-Encoding: evil",
    ] {
        let name = trailer.split(':').next().unwrap();
        let chunks = format!("3\r\nabc\r\n0\r\n{trailer}\r\nX-Sum: 1\r\n\r\n");
        let talk =
            site.talk(write(&site, "Trailer: X-Sum\r\nTransfer-Encoding: chunked\r\n", &chunks));
        let seen = talk.only(trailer);
        assert_eq!((seen.body.as_slice(), seen.complete), (b"abc".as_slice(), true));
        assert_eq!(seen.field("trailer X-Sum").as_deref(), Some("1"), "{trailer}");
        assert!(seen.field(&format!("trailer {name}")).is_none(), "{seen:?}");
        let evil = seen.fields.iter().find(|(_, value)| {
            ["evil", "6.6.6.6", "admin", "DELETE"].iter().any(|word| value.contains(word))
        });
        assert_eq!(evil, None, "{trailer}");
    }
}

// S.131
#[test]
fn trailers_that_are_malformed_or_without_end_never_make_a_complete_request() {
    let site = Site::new();
    for trailers in [
        "x: y\r\n".repeat(10_000),
        format!("x: {}\r\n", "y".repeat(1024 * 1024)),
        "no colon\r\n".to_owned(),
        "x: y\n".to_owned(),
        "x: y\r".to_owned(),
        "x : y\r\n".to_owned(),
        " x: y\r\n".to_owned(),
        "x: y\r\n z\r\n".to_owned(),
        "x\0: y\r\n".to_owned(),
        "x: y\0\r\n".to_owned(),
        ": y\r\n".to_owned(),
    ] {
        let chunks = format!("3\r\nabc\r\n0\r\n{trailers}\r\n{HIDDEN}");
        let talk = site.talk_and_hang_up(write(&site, "Transfer-Encoding: chunked\r\n", &chunks));
        let what = trailers.chars().take(40).collect::<String>();
        for status in talk.statuses() {
            assert_eq!(status, 400, "{what:?}");
        }
        assert!(talk.seen.iter().all(|seen| !seen.complete), "{what:?}: {:?}", talk.seen);
    }
}

// S.132, S.137
#[test]
fn a_request_inside_the_body_of_a_refused_one_is_not_run() {
    let site = Site::new();
    let padded = format!("{}{HIDDEN}", "x".repeat(200 * 1024));
    let repeated = HIDDEN.repeat(200 * 1024 / HIDDEN.len());
    let bodies = [HIDDEN, padded.as_str(), repeated.as_str()];
    for (start, status) in [
        ("POST /write HTTP/1.1\r\nHost: api.test\r\n", 401),
        ("DELETE /write HTTP/1.1\r\nHost: api.test\r\n", 401),
        ("POST /write HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer a.b.c\r\n", 401),
        ("POST /write HTTP/1.1\r\nHost: api.test\r\nAuthorization: Bearer\r\n", 400),
        ("POST /a/../b HTTP/1.1\r\nHost: api.test\r\n", 400),
        ("POST /write HTTP/1.1\r\nHost: api.test\r\nHost: b\r\n", 400),
        ("TRACE / HTTP/1.1\r\nHost: api.test\r\n", 405),
        ("CONNECT api.test:443 HTTP/1.1\r\nHost: api.test\r\n", 405),
        ("POST /write HTTP/1.1\r\nHost: api.test\r\nExpect: something\r\n", 417),
        ("OPTIONS / HTTP/1.1\r\nHost: api.test\r\nMax-Forwards: 0\r\n", 200),
        ("POST /write HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\n", 400),
    ] {
        for body in bodies {
            for fields in ["", "Expect: 100-continue\r\n"] {
                if start.contains("Expect") && !fields.is_empty() {
                    continue;
                }
                let what = format!("{start:?} {fields:?}, {} bytes", body.len());
                let length = format!("{start}{fields}Content-Length: {}\r\n\r\n", body.len());
                let chunks = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
                let chunked = format!("{start}{fields}Transfer-Encoding: chunked\r\n\r\n");
                for (head, body) in [(&length, body), (&chunked, chunks.as_str())] {
                    assert_not_run(&site.talk(format!("{head}{body}")), status, &what);
                    // the body later, when the answer is already there
                    let mut client = site.gateway.connect();
                    client.send(head);
                    let answer = client.any_answer("POST").unwrap();
                    assert_eq!(answer.status, status, "{what}: nobody asks for the body");
                    client.send(body);
                    assert_not_run(&site.end(client, Some(answer)), status, &what);
                }
            }
        }
    }
}

/// Answered once, by the gateway; whether the connection went on or not, nothing of the body was run.
fn assert_not_run(talk: &Talk, status: u16, what: &str) {
    talk.assert_nothing_came(what);
    // a peer that still sends while the connection is closed may be reset before it reads
    assert!(matches!(&talk.statuses()[..], [] | [_]), "{what}: {talk:?}");
    assert!(talk.statuses().iter().all(|answered| *answered == status), "{what}: {talk:?}");
}

// S.133
#[test]
fn an_upstream_that_answers_early_ends_its_connection_and_the_rest_of_the_body_is_not_run() {
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 200),
        ("HTTP/1.1 413 No\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno", 413),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
    ] {
        for chunked in [false, true] {
            // answers as soon as there is a head, and keeps what else comes on that connection
            let others: Arc<Mutex<Vec<String>>> = Arc::default();
            let noted = Arc::clone(&others);
            let upstream = Upstream::scripted(move |mut connection| {
                while let Some(seen) = connection.head() {
                    connection.note(seen.clone());
                    if !seen.line.starts_with("POST") {
                        connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
                        continue;
                    }
                    connection.send(answer);
                    while let Some(seen) = connection.head() {
                        noted.lock().unwrap().push(seen.line);
                    }
                }
            });
            let site = Site::of(Upstream::start(), Gateway::before(upstream.address));
            let head = if chunked {
                write(&site, "Transfer-Encoding: chunked\r\n", "8\r\nbeginnin\r\n")
            } else {
                write(&site, &format!("Content-Length: {}\r\n", 8 + HIDDEN.len()), "beginnin")
            };
            let mut client = site.gateway.connect();
            client.send(head);
            let first = client.answer_to("POST").unwrap();
            assert_eq!((first.status, first.complete), (status, true));
            if chunked {
                client.send(format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len()));
            } else {
                client.send(HIDDEN);
            }
            client.send("GET /next HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n");
            let answers = support::attack::rest(&mut client);
            assert!(
                answers.len() <= 1 && answers.iter().all(|answer| answer.status == 200),
                "{answers:?}"
            );
            assert_eq!(site.gateway.ask(support::get("/after")).status, 200);
            let seen = upstream.seen();
            let first = seen.iter().find(|seen| seen.line.starts_with("POST")).unwrap();
            for other in seen.iter().filter(|seen| seen.line.starts_with("GET")) {
                assert_ne!(other.connection, first.connection, "reused: {seen:?}");
                assert!(!other.line.contains("/hidden"), "{seen:?}");
            }
            for line in others.lock().unwrap().iter() {
                // part of the body, which an upstream that has not read it may come by; no new request of ours
                assert!(line.contains("/hidden"), "{line}");
            }
            assert_eq!(site.gateway.totals().panics, 0);
        }
    }
}

// S.135
#[test]
fn a_head_ends_with_one_empty_line_and_its_lines_with_cr_lf() {
    let site = Site::new();
    for head in [
        "GET /x HTTP/1.1\nHost: api.test\n\n",
        "GET /x HTTP/1.1\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: api.test\n\r\n",
        "GET /x HTTP/1.1\r\nHost: api.test\r\nX: y\n\nGET /hidden HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: api.test\r\n\n",
        "GET /x HTTP/1.1\r\nHost: api.test\n\n",
        "GET /x HTTP/1.1\rHost: api.test\r\r",
        "GET /x HTTP/1.1\r\nHost: api.test\r\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: api.test\r\nX: y\r\rGET /hidden HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1\r\nX: a\rb\r\nHost: api.test\r\n\r\n",
        "\nGET /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "\r\r\nGET /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        " GET /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1\r\n\r\nHost: api.test\r\n\r\n",
        "GET /x\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1 \r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1\r\n Host: api.test\r\n\r\n",
        "GET  /x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET\t/x HTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /x\tHTTP/1.1\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.1\r\n: api.test\r\nHost: api.test\r\n\r\n",
        "GET /x http/1.1\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.2\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/11\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/1.10\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/01.1\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/0.9\r\nHost: api.test\r\n\r\n",
        "GET /x HTTP/2.0\r\nHost: api.test\r\n\r\n",
        "GET /x XTTP/1.1\r\nHost: api.test\r\n\r\n",
    ] {
        site.talk_and_hang_up(format!("{head}{HIDDEN}")).assert_safe(&format!("{head:?}"));
    }
    // one empty line before a request is forgiven (RFC 9112 §2.2)
    let talk = site.talk("\r\nGET /x HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(talk.only("an empty line before").line, "GET /x HTTP/1.1");
}

// S.136
#[test]
fn a_body_that_the_client_cuts_is_never_complete_upstream() {
    let cut = [
        ("Content-Length: 10\r\n", ""),
        ("Content-Length: 10\r\n", "123456789"),
        ("Content-Length: 200000\r\n", "123456789"),
        ("Transfer-Encoding: chunked\r\n", ""),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhel"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n"),
        ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\nx: y\r\n"),
    ];
    // tells when a head has come, so that the cut is one of the body
    let (came, heads) = mpsc::channel();
    let came = Mutex::new(came);
    let upstream = Upstream::scripted(move |mut connection| {
        while let Some(mut seen) = connection.head() {
            if seen.line.starts_with("POST") {
                came.lock().unwrap().send(()).unwrap();
            }
            seen.complete = connection.body(&mut seen);
            connection.note(seen.clone());
            if !seen.complete {
                return;
            }
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    });
    let gateway = Gateway::before(upstream.address);
    let site = Site::of(upstream, gateway);
    let mut expected = 0;
    for (fields, body) in cut {
        for reset in [false, true] {
            let mut client = site.gateway.connect();
            client.send(write(&site, fields, body));
            heads.recv_timeout(support::PATIENCE).unwrap();
            if reset {
                drop(client);
            } else {
                client.close_sending();
                let answers = support::attack::rest(&mut client);
                assert!(answers.iter().all(|answer| answer.status == 400), "{answers:?}");
            }
            expected += 1;
            eventually("the upstream learns of it", || {
                site.upstream.seen().iter().filter(|seen| seen.line.starts_with("POST")).count()
                    == expected
            });
            for seen in site.look() {
                assert!(!seen.complete, "{fields:?} {body:?}: {seen:?}");
            }
        }
    }
}

// S.138
#[test]
fn what_is_not_http_1_is_refused_or_closed() {
    // where HTTP/2 is spoken, its preface is the one exception
    let (site, speaks_2) = (Site::with("http2 = false"), Site::new());
    let hello = b"\x16\x03\x01\x00\xf8\x01\x00\x00\xf4\x03\x03\x0a\x0d\x0a\x0d\x0a\x00\x20\x13\x01";
    let garbage: Vec<u8> =
        (0..65_536_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let silent: Vec<u8> = garbage.iter().copied().filter(|byte| *byte != b'\n').collect();
    for (what, bytes) in [
        (
            "the HTTP/2 preface",
            &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"[..],
        ),
        ("a TLS hello", hello),
        ("garbage", &garbage),
        ("garbage without a line", &silent),
        ("zeros", &[0; 4096]),
        ("a SOCKS greeting", b"\x05\x01\x00"),
        (
            "a PROXY header",
            b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\nGET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        ("SMTP", b"EHLO evil\r\nMAIL FROM:<a@b>\r\n\r\n"),
        ("HTTP/0.9", b"GET /hidden\r\n\r\n"),
        ("an answer", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        ("nothing", b""),
        ("empty lines", "\r\n".repeat(1000).as_bytes()),
    ] {
        site.talk_and_hang_up(bytes).assert_safe(what);
        if !bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
            speaks_2.talk_and_hang_up(bytes).assert_safe(what);
        }
    }
}

// S.139
#[test]
fn bytes_after_a_request_that_closes_are_ignored() {
    let site = Site::new();
    for fields in [
        "Connection: close\r\n",
        "connection: Close\r\n",
        "Connection: x, close\r\n",
        "Connection: keep-alive\r\nConnection: close\r\n",
        "Connection: close, keep-alive\r\n",
    ] {
        let talk = site.talk(format!("GET /x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n{HIDDEN}"));
        assert_eq!(talk.only(fields).line, "GET /x HTTP/1.1");
    }
    let talk = site.talk(format!("GET /x HTTP/1.0\r\nHost: api.test\r\n\r\n{HIDDEN}"));
    assert_eq!(talk.only("HTTP/1.0").line, "GET /x HTTP/1.1");
}

// S.121 to S.137, once more from the upstream's side
#[test]
fn what_goes_on_has_one_framing_and_one_host() {
    let site = Site::new();
    for request in [
        write(&site, "Content-Length: 5\r\nConnection: content-length\r\n", "hello"),
        write(
            &site,
            "Transfer-Encoding: chunked\r\nConnection: transfer-encoding\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
        ),
        post("/write", &bearer(&tokens::good(&site.gateway)), b"hello"),
    ] {
        let talk = site.talk(request);
        let seen = talk.only("framing");
        assert_eq!((seen.body.as_slice(), seen.complete), (b"hello".as_slice(), true));
        let framings = seen.fields.iter().filter(|(name, _)| {
            ["content-length", "transfer-encoding"].contains(&name.to_ascii_lowercase().as_str())
        });
        assert_eq!(framings.count(), 1, "{seen:?}");
        let hosts = seen.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host"));
        assert_eq!(hosts.count(), 1, "{seen:?}");
        assert!(find(seen.line.as_bytes(), b"HTTP/1.1").is_some());
    }
}
