//! gRPC: a refusal is what gRPC clients look for, whatever carries it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::TcpListener;

use support::attack::Site;
use support::http2::{END_STREAM, HEADERS, Http2, Raw, head, request, run};
use support::{Gateway, Upstream, get, post, tokens, toml};

const CALL: (&str, &str) = ("content-type", "application/grpc");
/// The five bytes before a message, and a message.
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

/// A call, and the headers of the answer to it: `grpc-status` and `grpc-message` among them.
fn call(gateway: &Gateway, path: &str, fields: &[(&str, &str)]) -> http::HeaderMap {
    run(async {
        let mut client = Http2::connect(gateway.address).await;
        let fields = [&[CALL, ("te", "trailers")], fields].concat();
        let answer = client.ask(head("POST", path, &fields), MESSAGE).await.unwrap();
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        assert!(answer.trailers.is_none());
        assert_eq!(answer.headers["content-type"], "application/grpc");
        answer.headers
    })
}

#[test]
fn a_call_without_a_token_is_unauthenticated() {
    let site = Site::new();
    let told = call(&site.gateway, "/players.Players/Add", &[]);
    assert_eq!(told["grpc-status"], "16");
    assert_eq!(told["www-authenticate"], "Bearer realm=\"tollgate\"");
    assert!(!told["grpc-message"].is_empty());
    let told = call(&site.gateway, "/players.Players/Add", &[("authorization", "Bearer bad")]);
    assert_eq!(told["grpc-status"], "16");
    let double = [("authorization", "Bearer a"), ("authorization", "Bearer b")];
    assert_eq!(call(&site.gateway, "/x", &double)["grpc-status"], "16");
    assert!(site.look().is_empty());
}

#[test]
fn the_refusal_ends_with_its_head() {
    let site = Site::new();
    let mut raw = Raw::connect(&site.gateway);
    raw.headers(1, END_STREAM, &request("POST", "/x", &[CALL]));
    loop {
        let frame = raw.frame().unwrap();
        if frame.stream == 1 {
            assert_eq!((frame.kind, frame.flags & END_STREAM), (HEADERS, END_STREAM));
            break;
        }
    }
}

#[test]
fn a_call_that_is_denied_has_no_permission() {
    let upstream = Upstream::start();
    let url = format!("http://{}", upstream.address);
    let routes = "[[routes]]\npath = \"/closed/{*rest}\"\naccess = \"deny\"\n[[routes]]\npath = \"/admin/{*rest}\"\naccess = \"protected\"\nall_of = [\"admin\"]";
    let gateway = Gateway::from_toml(&toml(&url, "", "", routes));
    let token = format!("Bearer {}", tokens::good(&gateway));
    for path in ["/closed/x", "/admin/x"] {
        let told = call(&gateway, path, &[("authorization", &token)]);
        assert_eq!(told["grpc-status"], "7", "{path}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_outage_is_told_as_one() {
    // nobody listens there
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let gateway = Gateway::with(nobody, "", "");
    let token = format!("Bearer {}", gateway.token());
    let told = call(&gateway, "/x", &[("authorization", &token)]);
    assert_eq!(told["grpc-status"], "14");
    assert!(told.contains_key("proxy-status"));
    assert_eq!(gateway.totals().upstream_failures, 1);

    // keys that were never fetched say nothing of the caller
    let issuer = format!(
        "[[issuers]]\nname = \"corp\"\nissuer = \"https://corp.test\"\naudiences = [\"x\"]\njwks_url = \"http://{nobody}/jwks\""
    );
    let gateway = Gateway::from_toml(&toml(&format!("http://{nobody}"), "", "", &issuer));
    let unknown =
        "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6ImEifQ.eyJpc3MiOiJodHRwczovL2NvcnAudGVzdCJ9.c2ln";
    let told = call(&gateway, "/x", &[("authorization", unknown)]);
    assert_eq!(told["grpc-status"], "14");
    assert!(told.contains_key("retry-after"));

    let upstream = Upstream::scripted(|mut connection| while connection.request().is_some() {});
    let gateway = Gateway::with(upstream.address, "", "timeout = \"300ms\"");
    let token = format!("Bearer {}", gateway.token());
    let told = call(&gateway, "/x", &[("authorization", &token)]);
    assert_eq!(told["grpc-status"], "4");
}

#[test]
fn it_is_the_same_over_http_1() {
    let site = Site::new();
    let answer =
        site.gateway.ask(post("/x", "Content-Type: application/grpc-web+proto\r\n", MESSAGE));
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert_eq!(answer.field("grpc-status").as_deref(), Some("16"));
    assert_eq!(answer.field("www-authenticate").as_deref(), Some("Bearer realm=\"tollgate\""));
    // what is no call is told as ever
    let answer = site.gateway.ask(post("/x", "Content-Type: application/json\r\n", b"{}"));
    assert_eq!(answer.status, 401);
    assert_eq!(site.gateway.ask(get("/x")).status, 200);
    assert_eq!(site.gateway.totals().refused, 2);
}

#[test]
fn a_proxy_that_asks_for_a_call_is_never_told_yes_by_a_refusal() {
    let upstream = Upstream::start();
    let server = "trusted_proxies = [\"127.0.0.1\"]";
    let rest = "[forward_auth]\npath = \"/auth/verify\"";
    let gateway =
        Gateway::from_toml(&toml(&format!("http://{}", upstream.address), server, "", rest));
    let asked = "Host: api.test\r\nX-Original-Method: POST\r\nX-Original-URI: /x\r\nX-Forwarded-Host: api.test\r\n";
    for kind in ["application/grpc", "application/json"] {
        let answer = gateway
            .ask(format!("GET /auth/verify HTTP/1.1\r\n{asked}Content-Type: {kind}\r\n\r\n"));
        assert_eq!(answer.status, 401, "{kind}: {answer:?}");
        let token = format!("Bearer {}", gateway.token());
        let answer = gateway.ask(format!(
            "GET /auth/verify HTTP/1.1\r\n{asked}Content-Type: {kind}\r\nAuthorization: {token}\r\n\r\n"
        ));
        assert_eq!(answer.status, 200, "{kind}: {answer:?}");
    }
}

#[test]
fn a_call_over_get_is_a_get() {
    let site = Site::new();
    run(async {
        let mut client = Http2::connect(site.gateway.address).await;
        let answer = client.ask(head("GET", "/x", &[CALL]), b"").await.unwrap();
        assert_eq!(answer.status, 200);
    });
}
