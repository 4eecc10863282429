//! What goes on to the upstream and what comes back: byte for byte, streamed, and never completed falsely.

mod support;

use support::{Gateway, Upstream, get, with_body};

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
