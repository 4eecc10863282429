//! Routes, other issuers and reference tokens in one gateway: each token has one judge, and each rule sees whose it is.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // time is real here

mod support;

use serde_json::{Value, json};
use support::provider::{Key, Provider};
use support::{AUDIENCE, CLIENT, Gateway, SECRET, Upstream, bearer, form, post, toml};
use tollgate::keys::Algorithm;

fn now() -> u64 {
    tollgate::clock::Clock::system().unix_seconds()
}

fn claims(provider: &Provider) -> Value {
    json!({
        "iss": provider.issuer(), "sub": "user-1", "client_id": "batch", "aud": AUDIENCE, "scope": "api:write",
        "iat": now(), "exp": now() + 600, "jti": "a", "tenant": "acme",
    })
}

/// Everything at once; our own tokens are of this format.
fn gateway(upstream: &Upstream, provider: &Provider, format: &str) -> Gateway {
    let rest = format!(
        r#"
[token.endpoints]
revoke = "/auth/revoke"

[[issuers]]
name = "corp"
issuer = "{}"
audiences = ["{AUDIENCE}"]
introspection = {{ client_id = "resource1", client_secret = "h7Qm2vY0tq8Zp4Xk #!" }}

[[routes]]
path = "/corp/{{*rest}}"
issuers = ["corp"]

[[routes]]
path = "/own/{{*rest}}"
issuers = ["own"]

[[routes]]
path = "/tenants/{{tenant}}"
when = "claims.tenant == params.tenant"

[[routes]]
path = "/closed"
access = "deny"

[[routes]]
path = "/admin"
all_of = ["admin"]
"#,
        provider.issuer()
    );
    let text = toml(&format!("http://{}", upstream.address), "", "", &rest);
    let text = text.replace("[token]\n", &format!("[token]\nformat = \"{format}\"\n"));
    Gateway::from_toml(&text)
}

fn status(gateway: &Gateway, path: &str, token: &str) -> u16 {
    gateway.ask(post(path, &bearer(token), b"")).status
}

/// A JWT and a reference token of the provider's, which say the same.
fn of_provider(provider: &Provider) -> [String; 2] {
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let mut answer = claims(provider);
    answer["active"] = true.into();
    provider.knows("reference-1", answer);
    [key.sign(&claims(provider)), "reference-1".to_owned()]
}

#[test]
fn each_token_meets_the_rules_for_its_issuer() {
    for format in ["jwt", "opaque"] {
        let (upstream, provider) = (Upstream::start(), Provider::start());
        let theirs = of_provider(&provider);
        let gateway = gateway(&upstream, &provider, format);
        let ours = gateway.token();
        for round in 0..3 {
            for token in &theirs {
                let statuses =
                    ["/corp/a", "/own/a", "/tenants/acme", "/tenants/b", "/closed", "/a"]
                        .map(|path| status(&gateway, path, token));
                assert_eq!(statuses, [200, 403, 200, 403, 403, 200], "{format} {round} {token}");
            }
            let statuses = ["/corp/a", "/own/a", "/tenants/acme", "/closed", "/a"]
                .map(|path| status(&gateway, path, &ours));
            assert_eq!(statuses, [403, 200, 403, 403, 200], "{format} {round}");
        }
    }
}

#[test]
fn a_reference_token_of_ours_is_never_shown_to_another_issuer() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &provider, "opaque");
    let token = gateway.token();
    assert_eq!(status(&gateway, "/a", &token), 200);
    let mut answer = claims(&provider);
    answer["active"] = true.into();
    let damaged = format!("{}x", &token[..token.len() - 1]);
    for token in [&damaged, "tg_", "tg_x"] {
        provider.knows(token, answer.clone());
        assert_eq!(status(&gateway, "/a", token), 401, "{token}");
    }
    provider.knows(&token, answer);
    let body = form(&[("client_id", CLIENT), ("client_secret", SECRET), ("token", &token)]);
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gateway.ask(post("/auth/revoke", kind, body.as_bytes())).status, 200);
    assert_eq!(status(&gateway, "/a", &token), 401);
    assert_eq!(provider.questions(), 0);
}

#[test]
fn what_is_revoked_is_refused_by_every_route_and_touches_nobody_else() {
    for format in ["jwt", "opaque"] {
        let (upstream, provider) = (Upstream::start(), Provider::start());
        let theirs = of_provider(&provider);
        let gateway = gateway(&upstream, &provider, format);
        let (token, kept) = (gateway.token(), gateway.token());
        let paths = ["/own/a", "/a", "/admin"];
        assert_eq!(paths.map(|path| status(&gateway, path, &token)), [200, 200, 403]);
        let body = form(&[("client_id", CLIENT), ("client_secret", SECRET), ("token", &token)]);
        let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
        assert_eq!(gateway.ask(post("/auth/revoke", kind, body.as_bytes())).status, 200);
        assert_eq!(paths.map(|path| status(&gateway, path, &token)), [401; 3], "{format}");
        assert_eq!(status(&gateway, "/a", &kept), 200);
        for token in &theirs {
            assert_eq!(status(&gateway, "/corp/a", token), 200, "a jti is one issuer's own");
        }
    }
}

#[test]
fn a_challenge_names_the_scopes_that_are_missing() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let [jwt, _] = of_provider(&provider);
    let gateway = gateway(&upstream, &provider, "jwt");
    let answer = gateway.ask(post("/admin", &bearer(&jwt), b""));
    let challenge = answer.field("www-authenticate").unwrap();
    assert!(challenge.contains("insufficient_scope") && challenge.contains("scope=\"admin\""));
    assert_eq!(upstream.seen().len(), 0);
}
