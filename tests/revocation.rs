//! What was called back stays called back: by revocation (RFC 7009), by a client that is gone, in every worker, and in
//! the middle of a thousand requests.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // time is real here

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use support::{Answer, CLIENT, Gateway, SECRET, Upstream, bearer, form, get, post, toml};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn gateway(upstream: &Upstream, format: &str) -> Gateway {
    let rest = format!(
        r#"
[[clients]]
id = "other"
secret = "{SECRET}"
[token.endpoints]
introspect = "/auth/introspect"
revoke = "/auth/revoke"
"#
    );
    let text = toml(&format!("http://{}", upstream.address), "", "", &rest);
    let text = text.replace("[token]\n", &format!("[token]\nformat = \"{format}\"\n"));
    Gateway::from_toml(&text)
}

fn revoke(gateway: &Gateway, id: &str, token: &str) -> Answer {
    let body = form(&[
        ("client_id", id),
        ("client_secret", SECRET),
        ("token", token),
        ("token_type_hint", "refresh_token"),
    ]);
    gateway.ask(post("/auth/revoke", FORM, body.as_bytes()))
}

fn is_active(gateway: &Gateway, token: &str) -> bool {
    let body = form(&[("client_id", CLIENT), ("client_secret", SECRET), ("token", token)]);
    let answer = gateway.ask(post("/auth/introspect", FORM, body.as_bytes()));
    answer.json()["active"].as_bool().unwrap()
}

#[test]
fn a_revoked_token_is_refused_by_every_worker_at_once() {
    for format in ["jwt", "opaque"] {
        let upstream = Upstream::start();
        let gateway = gateway(&upstream, format);
        let (token, kept) = (gateway.token(), gateway.token());
        // every connection may meet another worker, and each worker remembers the token
        for _ in 0..16 {
            assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 200);
        }
        assert!(is_active(&gateway, &token));
        let answer = revoke(&gateway, CLIENT, &token);
        assert_eq!((answer.status, answer.text().as_str()), (200, ""));
        for _ in 0..16 {
            let answer = gateway.ask(post("/a", &bearer(&token), b""));
            assert_eq!(answer.status, 401, "{format}");
            assert!(answer.field("www-authenticate").unwrap().contains("invalid_token"));
            assert_eq!(gateway.ask(post("/a", &bearer(&kept), b"")).status, 200);
        }
        assert!(!is_active(&gateway, &token) && is_active(&gateway, &kept));
        assert_eq!(revoke(&gateway, CLIENT, &token).status, 200, "again");
    }
}

#[test]
fn what_is_not_a_live_token_is_revoked_without_a_word() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "jwt");
    let expired = gateway.token();
    gateway.clock.advance(3_600 + 61);
    for token in [expired.as_str(), "tg_unknown", "a.b.c", "nothing at all"] {
        assert_eq!(revoke(&gateway, CLIENT, token).status, 200, "{token}");
    }
}

#[test]
fn a_client_revokes_nobody_elses_token() {
    for format in ["jwt", "opaque"] {
        let upstream = Upstream::start();
        let gateway = gateway(&upstream, format);
        let token = gateway.token();
        let answer = revoke(&gateway, "other", &token);
        assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_grant")));
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 200);
        for (id, secret) in [(CLIENT, "wrong"), ("nobody", SECRET)] {
            let body = form(&[("client_id", id), ("client_secret", secret), ("token", &token)]);
            let answer = gateway.ask(post("/auth/revoke", FORM, body.as_bytes()));
            assert_eq!(answer.status, 401);
            assert_eq!(answer.json()["error"], "invalid_client");
        }
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 200);
    }
}

#[test]
fn a_token_that_only_becomes_valid_later_can_be_revoked_now() {
    for format in ["jwt", "opaque"] {
        let upstream = Upstream::start();
        let gateway = gateway(&upstream, format);
        let token = gateway.token();
        gateway.clock.advance(-600);
        assert_eq!(revoke(&gateway, CLIENT, &token).status, 200);
        gateway.clock.advance(600);
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 401, "{format}");
    }
}

#[test]
fn endpoints_that_are_not_switched_on_are_the_upstreams() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    for path in ["/auth/revoke", "/auth/jwks", "/.well-known/oauth-protected-resource"] {
        assert_eq!(gateway.ask(get(path)).text(), "hello");
    }
    assert_eq!(upstream.seen().len(), 3);
}

#[test]
fn only_post_revokes() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "jwt");
    let answer = gateway.ask(get("/auth/revoke?token=a"));
    assert_eq!((answer.status, answer.field("allow").as_deref()), (405, Some("POST")));
}

/// J.58
#[test]
fn j58_of_a_thousand_requests_with_one_token_none_that_began_after_the_revocation_gets_through() {
    for format in ["jwt", "opaque"] {
        let upstream = Upstream::start();
        let gateway = gateway(&upstream, format);
        let token = gateway.token();
        let request = post("/a", &bearer(&token), b"");
        let (sent, revoked) = (AtomicUsize::new(0), AtomicBool::new(false));
        let (accepted, late) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let mut client = gateway.connect();
                    for _ in 0..50 {
                        let began_after = revoked.load(Ordering::SeqCst);
                        client.send(&request);
                        let status = client.answer().status;
                        sent.fetch_add(1, Ordering::SeqCst);
                        assert!(status == 200 || status == 401, "{status}");
                        if status == 200 {
                            accepted.fetch_add(1, Ordering::SeqCst);
                            late.fetch_add(usize::from(began_after), Ordering::SeqCst);
                        }
                    }
                });
            }
            scope.spawn(|| {
                let start = Instant::now();
                while sent.load(Ordering::SeqCst) < 500 {
                    assert!(start.elapsed() < support::PATIENCE);
                    std::thread::yield_now();
                }
                assert_eq!(revoke(&gateway, CLIENT, &token).status, 200);
                revoked.store(true, Ordering::SeqCst);
            });
        });
        let accepted = accepted.into_inner();
        assert!((500..1_000).contains(&accepted), "{format}: {accepted} of 1000 accepted");
        assert_eq!(late.into_inner(), 0, "{format}");
    }
}

#[test]
fn a_client_that_is_removed_or_disabled_takes_its_live_tokens_with_it() {
    for change in ["disabled = true", "removed"] {
        let upstream = Upstream::start();
        let url = format!("http://{}", upstream.address);
        let folder = support::scratch_file("x", "").parent().unwrap().join("store");
        let store = format!("[store]\nurl = \"file:{}\"\n", folder.display());
        let text = toml(&url, "", "", &format!("format = \"opaque\"\n{store}"));
        let gateway = Gateway::from_toml(&text);
        let token = gateway.token();
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 200);
        gateway.finish();
        let gateway = Gateway::from_toml(&text);
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 200, "after a restart");
        gateway.finish();
        let changed = if change == "removed" {
            text.replace(&format!("id = \"{CLIENT}\""), "id = \"another\"")
        } else {
            text.replace("format = \"opaque\"", "format = \"opaque\"\ndisabled = true")
        };
        let gateway = Gateway::from_toml(&changed);
        assert_eq!(gateway.ask(post("/a", &bearer(&token), b"")).status, 401, "{change}");
    }
}
