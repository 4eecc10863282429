//! Reference tokens: what is issued, who is let in with one, and what the token endpoint's other formats do beside it.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // time is real here

mod support;

use support::{
    AUDIENCE, Answer, CLIENT, Gateway, ISSUER, SECRET, Upstream, bearer, form, get, post, toml,
};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

fn ask_token(gateway: &Gateway, id: &str, more: &[(&str, &str)]) -> Answer {
    let mut pairs =
        vec![("grant_type", "client_credentials"), ("client_id", id), ("client_secret", SECRET)];
    pairs.extend_from_slice(more);
    gateway.ask(post("/auth/token", FORM, form(&pairs).as_bytes()))
}

fn token(gateway: &Gateway, id: &str) -> String {
    let answer = ask_token(gateway, id, &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["access_token"].as_str().unwrap().to_owned()
}

fn introspect(gateway: &Gateway, id: &str, token: &str) -> Answer {
    let body = form(&[("client_id", id), ("client_secret", SECRET), ("token", token)]);
    gateway.ask(post("/auth/introspect", FORM, body.as_bytes()))
}

fn gateway(upstream: &Upstream) -> Gateway {
    let rest = format!(
        r#"
format = "opaque"
claims = {{ tenant = "acme" }}
[[clients]]
id = "plain"
secret = "{SECRET}"
scopes = ["api:read"]
[[clients]]
id = "elsewhere"
secret = "{SECRET}"
format = "opaque"
audience = "https://elsewhere.test"
[token.endpoints]
introspect = "/auth/introspect"
"#
    );
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", &rest))
}

#[test]
fn a_reference_token_is_issued_recognised_and_let_in() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let answer = ask_token(&gateway, CLIENT, &[]);
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 3600);
    assert_eq!(answer.json()["scope"], "api:write");
    let text = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert!(text.starts_with("tg_") && !text.contains('.'), "{text}");
    for _ in 0..3 {
        assert_eq!(gateway.ask(post("/a", &bearer(&text), b"")).status, 200);
    }
    let seen = upstream.seen();
    assert_eq!(seen[2].field("x-auth-subject").as_deref(), Some(CLIENT));
    assert_eq!(seen[2].field("x-auth-scope").as_deref(), Some("api:write"));
    assert_eq!(seen[2].field("x-auth-issuer").as_deref(), Some(ISSUER));
}

#[test]
fn clients_with_jwts_and_clients_with_reference_tokens_live_side_by_side() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let (opaque, jwt) = (token(&gateway, CLIENT), token(&gateway, "plain"));
    assert_eq!(jwt.split('.').count(), 3);
    for text in [opaque, jwt] {
        assert_eq!(gateway.ask(post("/a", &bearer(&text), b"")).status, 200);
    }
}

#[test]
fn j51_every_other_spelling_of_a_reference_token_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let text = token(&gateway, CLIENT);
    let mut flipped = text.clone().into_bytes();
    flipped[20] ^= 1;
    let last = if text.ends_with('A') { "B" } else { "A" };
    for other in [
        text.to_uppercase(),
        text.to_lowercase(),
        format!("{text}="),
        format!("{text}.e30.AA"),
        format!("{}{last}", &text[..text.len() - 1]),
        text[..text.len() - 1].to_owned(),
        text[3..].to_owned(),
        "tg_".to_owned(),
        String::from_utf8_lossy(&flipped).into_owned(),
    ] {
        let answer = gateway.ask(post("/a", &bearer(&other), b""));
        assert!(answer.status == 401 || answer.status == 400, "{other} {answer:?}");
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn a_reference_token_ends_at_its_end_and_is_for_its_audience_alone() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let text = token(&gateway, CLIENT);
    assert_eq!(gateway.ask(post("/a", &bearer(&text), b"")).status, 200);
    gateway.clock.advance(3_600 + 61);
    let answer = gateway.ask(post("/a", &bearer(&text), b""));
    assert_eq!(answer.status, 401);
    assert!(answer.field("www-authenticate").unwrap().contains("invalid_token"));
    let other = gateway.ask(post("/a", &bearer(&token(&gateway, "elsewhere")), b""));
    assert_eq!(other.status, 401);
    assert!(other.field("www-authenticate").unwrap().contains("audience"), "{other:?}");
}

#[test]
fn introspection_tells_everything_of_a_live_token_and_nothing_of_any_other() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    for (id, scope) in [(CLIENT, "api:write"), ("plain", "api:read")] {
        let text = token(&gateway, id);
        let answer = introspect(&gateway, id, &text);
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"));
        let told = answer.json();
        assert_eq!(told["active"], true);
        assert_eq!((&told["client_id"], &told["sub"]), (&id.into(), &id.into()));
        assert_eq!((&told["scope"], &told["token_type"]), (&scope.into(), &"Bearer".into()));
        assert_eq!((&told["iss"], &told["aud"]), (&ISSUER.into(), &AUDIENCE.into()));
        assert_eq!(told["exp"].as_u64().unwrap() - told["iat"].as_u64().unwrap(), 3600);
        assert_eq!(told["nbf"], told["iat"]);
        assert!(told["jti"].as_str().unwrap().len() >= 16);
        // it tells one with the same audience too, as an API is, and nobody else
        assert_eq!(introspect(&gateway, "plain", &text).json()["active"], true);
        assert_eq!(introspect(&gateway, "elsewhere", &text).text(), r#"{"active":false}"#);
    }
    assert_eq!(introspect(&gateway, CLIENT, &token(&gateway, CLIENT)).json()["tenant"], "acme");
    let text = token(&gateway, "elsewhere");
    assert_eq!(introspect(&gateway, "elsewhere", &text).json()["active"], true);
    let text = token(&gateway, CLIENT);
    gateway.clock.advance(3_600 + 61);
    for dead in [text.as_str(), "tg_nothing", "a.b.c", "whatever"] {
        let answer = introspect(&gateway, CLIENT, dead);
        assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"active":false}"#));
    }
}

#[test]
fn introspection_is_for_clients_that_prove_themselves() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let text = token(&gateway, CLIENT);
    for body in [
        form(&[("token", text.as_str())]),
        form(&[("token", text.as_str()), ("client_id", CLIENT), ("client_secret", "wrong")]),
        form(&[("token", text.as_str()), ("client_id", "nobody"), ("client_secret", SECRET)]),
    ] {
        let answer = gateway.ask(post("/auth/introspect", FORM, body.as_bytes()));
        assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
        assert!(answer.field("www-authenticate").unwrap().starts_with("Basic"));
    }
    let body = form(&[("client_id", CLIENT), ("client_secret", SECRET)]);
    let answer = gateway.ask(post("/auth/introspect", FORM, body.as_bytes()));
    assert_eq!((answer.status, answer.json()["error"].as_str()), (400, Some("invalid_request")));
    let answer = gateway.ask(get("/auth/introspect"));
    assert_eq!((answer.status, answer.field("allow").as_deref()), (405, Some("POST")));
}

#[test]
fn a_resource_narrows_the_audience_and_an_unknown_one_is_refused() {
    let upstream = Upstream::start();
    let rest = r#"
audience = ["https://api.test", "https://b.test"]
[token.endpoints]
introspect = "/auth/introspect"
"#;
    for format in ["jwt", "opaque"] {
        let rest = format!("format = \"{format}\"\n{rest}");
        let url = format!("http://{}", upstream.address);
        let gateway = Gateway::from_toml(&toml(&url, "", "", &rest));
        let audience = |resources: &[&str]| {
            let resources: Vec<_> = resources.iter().map(|it| ("resource", *it)).collect();
            let answer = ask_token(&gateway, CLIENT, &resources);
            if answer.status != 200 {
                return Err((answer.status, answer.json()["error"].clone()));
            }
            let text = answer.json()["access_token"].as_str().unwrap().to_owned();
            let status = gateway.ask(post("/a", &bearer(&text), b"")).status;
            Ok((introspect(&gateway, CLIENT, &text).json()["aud"].clone(), status))
        };
        let both = serde_json::json!([AUDIENCE, "https://b.test"]);
        assert_eq!(audience(&[]), Ok((both.clone(), 200)));
        assert_eq!(audience(&[AUDIENCE]), Ok((AUDIENCE.into(), 200)));
        assert_eq!(audience(&["https://b.test"]), Ok(("https://b.test".into(), 401)));
        assert_eq!(audience(&[AUDIENCE, "https://b.test"]), Ok((both, 200)));
        for bad in ["https://c.test", "https://api.test/", "https://api.test#x", "api", "/a"] {
            assert_eq!(audience(&[AUDIENCE, bad]), Err((400, "invalid_target".into())), "{bad}");
        }
    }
}
