//! HTTP/2 from clients: one request, one road, whatever carries it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use support::Upstream;
use support::attack::Site;
use support::http2::{Http2, head, run};
use support::tokens;

#[test]
fn a_get_is_open_and_a_post_needs_a_token_like_over_http_1() {
    let site = Site::new();
    let token = format!("Bearer {}", tokens::good(&site.gateway));
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
fn a_hundred_streams_at_once_are_all_answered() {
    let upstream = Upstream::answering(|seen| {
        let path = seen.line.split(' ').nth(1).unwrap();
        format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()).into_bytes()
    });
    let gateway = support::Gateway::before(upstream.address);
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
                let answer = support::http2::read(answer).await.unwrap();
                assert_eq!(answer.body, path.as_bytes());
            }
        }
    });
    assert_eq!(gateway.totals().requests, 300);
}
