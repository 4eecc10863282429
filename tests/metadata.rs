//! What the gateway tells of itself: its public keys, its metadata, and where a challenge leads; and that keys are
//! rotated without a refused token.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // time is real here

mod support;

use serde_json::json;
use support::{
    Answer, CLIENT, Gateway, SECRET, Upstream, bearer, get, post, scratch_file, with_body,
};
use tollgate::keys::{Algorithm, generate};

fn key_file(algorithm: Algorithm) -> String {
    let key = generate(algorithm).unwrap();
    scratch_file("key.pem", key.text.expose()).display().to_string()
}

fn text(upstream: &Upstream, issuer: &str, audience: &str, token: &str, endpoints: &str) -> String {
    format!(
        r#"
[server]
listen = "127.0.0.1:0"
workers = 2
[upstream]
url = "http://{}"
[token]
issuer = "{issuer}"
audience = {audience}
{token}
[token.endpoints]
{endpoints}
[[clients]]
id = "{CLIENT}"
secret = "{SECRET}"
scopes = ["api:write", "api:read"]
"#,
        upstream.address
    )
}

fn key(algorithm: Algorithm) -> String {
    format!("algorithm = \"{algorithm:?}\"\nkey_file = \"{}\"", key_file(algorithm))
}

const ALL: &str = r#"
jwks = "/auth/jwks"
introspect = "/auth/introspect"
revoke = "/auth/revoke"
metadata = true
"#;

#[test]
fn the_authorization_server_describes_itself_as_it_is_configured() {
    let upstream = Upstream::start();
    for (issuer, origin, path) in [
        ("https://gateway.test", "https://gateway.test", ""),
        ("https://gateway.test/tenant", "https://gateway.test", "/tenant"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080", ""),
    ] {
        let audience = "\"https://api.test\"";
        let gateway =
            Gateway::from_toml(&text(&upstream, issuer, audience, &key(Algorithm::ES256), ALL));
        let answer = gateway.ask(get(&format!("/.well-known/oauth-authorization-server{path}")));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
        assert!(answer.field("cache-control").unwrap().contains("max-age"));
        let methods = ["client_secret_basic", "client_secret_post"];
        assert_eq!(
            answer.json(),
            json!({
                "issuer": issuer,
                "token_endpoint": format!("{origin}/auth/token"),
                "token_endpoint_auth_methods_supported": methods,
                "jwks_uri": format!("{origin}/auth/jwks"),
                "response_types_supported": [],
                "grant_types_supported": ["client_credentials"],
                "scopes_supported": ["api:read", "api:write"],
                "introspection_endpoint": format!("{origin}/auth/introspect"),
                "introspection_endpoint_auth_methods_supported": methods,
                "revocation_endpoint": format!("{origin}/auth/revoke"),
                "revocation_endpoint_auth_methods_supported": methods,
            })
        );
        let head = format!(
            "HEAD /.well-known/oauth-authorization-server{path} HTTP/1.1\r\nHost: a\r\n\r\n"
        );
        let mut client = gateway.connect();
        client.send(head);
        assert_eq!(client.answer_to("HEAD").unwrap().status, 200);
        let posted = gateway.ask(post("/auth/jwks", "", b""));
        assert_eq!((posted.status, posted.field("allow").as_deref()), (405, Some("GET, HEAD")));
    }
    assert_eq!(upstream.seen().len(), 0);
}

#[test]
fn a_shared_key_is_not_published_and_not_told_of() {
    let upstream = Upstream::start();
    let token = format!("key = \"{}\"", support::KEY);
    let audience = "\"https://api.test\"";
    let gateway =
        Gateway::from_toml(&text(&upstream, "https://gateway.test", audience, &token, ALL));
    let told = gateway.ask(get("/.well-known/oauth-authorization-server"));
    assert!(told.json().get("jwks_uri").is_none());
    assert_eq!(gateway.ask(get("/auth/jwks")).json(), json!({ "keys": [] }));
}

#[test]
fn each_resource_describes_itself_and_challenges_lead_to_it_whatever_the_host() {
    let upstream = Upstream::start();
    let audience = r#"["plain", "https://api.test/v1", "https://api.test"]"#;
    let token = key(Algorithm::ES256);
    let gateway =
        Gateway::from_toml(&text(&upstream, "https://gateway.test", audience, &token, ALL));
    for (path, resource) in [("/v1", "https://api.test/v1"), ("", "https://api.test")] {
        let answer = gateway.ask(get(&format!("/.well-known/oauth-protected-resource{path}")));
        assert_eq!(
            answer.json(),
            json!({
                "resource": resource,
                "authorization_servers": ["https://gateway.test"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["api:read", "api:write"],
            })
        );
    }
    let url = r#"resource_metadata="https://api.test/.well-known/oauth-protected-resource/v1""#;
    for (fields, error) in [
        ("Host: evil.test\r\nX-Forwarded-Host: evil.test\r\n", ""),
        ("Host: evil.test\r\nAuthorization: Bearer a.b.c\r\n", r#"error="invalid_token""#),
    ] {
        let mut client = gateway.connect();
        client.send(format!("POST /a HTTP/1.1\r\n{fields}Content-Length: 0\r\n\r\n"));
        let challenge = client.answer().field("www-authenticate").unwrap();
        assert!(challenge.starts_with(r#"Bearer realm="tollgate""#), "{challenge}");
        assert!(challenge.contains(url) && challenge.contains(error), "{challenge}");
        assert!(!challenge.contains("evil"));
    }
}

#[test]
fn metadata_needs_an_issuer_that_clients_can_trust() {
    let upstream = Upstream::start();
    for issuer in ["http://gateway.test", "gateway", "https://a.test/?q", "https://a.test#f"] {
        let text = text(
            &upstream,
            issuer,
            "\"https://api.test\"",
            &key(Algorithm::ES256),
            "metadata = true",
        );
        let file = scratch_file("gateway.toml", &text);
        let sources = tollgate::config::Sources { file: Some(file), ..Default::default() };
        let Err(faults) = tollgate::config::load(&sources) else { panic!("{issuer}") };
        let told = faults.render(false);
        assert!(told.contains("`metadata` needs an issuer"), "{told}");
        assert!(told.contains("gateway.toml:8:"), "{told}");
    }
}

fn kids(answer: &Answer) -> Vec<String> {
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    for key in &keys {
        let names: Vec<_> = key.as_object().unwrap().keys().map(String::as_str).collect();
        assert!(!names.iter().any(|name| ["d", "k", "p", "q"].contains(name)), "{names:?}");
        assert_eq!(key["use"], "sig");
    }
    keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn keys_are_rotated_without_a_refused_token() {
    let upstream = Upstream::start();
    let algorithms = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA, Algorithm::ES256];
    let files: Vec<String> = algorithms.iter().map(|algorithm| key_file(*algorithm)).collect();
    let entry = |at: usize| {
        format!(
            "key_file = \"{}\", algorithm = \"{:?}\", key_id = \"k{at}\"",
            files[at], algorithms[at]
        )
    };
    // In each step one more key has signed: first it is only published, then it signs, then it is only accepted.
    let mut issued: Vec<String> = Vec::new();
    for step in 0..algorithms.len() {
        let mut token = entry(step).replace(", ", "\n");
        if step + 1 < algorithms.len() {
            token += &format!("\nnext_keys = [{{ {} }}]", entry(step + 1));
        }
        let previous: Vec<String> = (0..step).map(|at| format!("{{ {} }}", entry(at))).collect();
        token += &format!("\nprevious_keys = [{}]", previous.join(", "));
        let text = text(&upstream, "https://gateway.test", "\"https://api.test\"", &token, ALL);
        let gateway = Gateway::from_toml(&text);
        issued.push(gateway.token());
        for token in &issued {
            for _ in 0..8 {
                assert_eq!(gateway.ask(post("/a", &bearer(token), b"")).status, 200, "{step}");
            }
        }
        let answer = gateway.ask(get("/auth/jwks"));
        assert_eq!(answer.field("content-type").as_deref(), Some("application/jwk-set+json"));
        assert!(answer.field("cache-control").unwrap().contains("max-age"));
        let mut published = kids(&answer);
        published.sort();
        let known: Vec<String> =
            (0..algorithms.len().min(step + 2)).map(|at| format!("k{at}")).collect();
        assert_eq!(published, known, "published before it signs, and as long as it is accepted");
        // what this key signs was verifiable by whoever read the set one step ago
        let header = issued[step].split('.').next().unwrap();
        let header =
            base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header);
        let header: serde_json::Value = serde_json::from_slice(&header.unwrap()).unwrap();
        assert_eq!(header["kid"], format!("k{step}"));
    }
    // a key that is taken out takes its tokens with it
    let text = text(
        &upstream,
        "https://gateway.test",
        "\"https://api.test\"",
        &entry(3).replace(", ", "\n"),
        ALL,
    );
    let gateway = Gateway::from_toml(&text);
    assert_eq!(gateway.ask(post("/a", &bearer(&issued[0]), b"")).status, 401);
    assert_eq!(gateway.ask(post("/a", &bearer(&issued[3]), b"")).status, 200);
}

#[test]
fn well_known_paths_are_taken_whole_and_nothing_beside_them() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&text(
        &upstream,
        "https://gateway.test/t",
        "\"https://api.test\"",
        &key(Algorithm::ES256),
        ALL,
    ));
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/auth/jwks/",
    ] {
        assert_eq!(gateway.ask(get(path)).text(), "hello", "{path}");
    }
    let answer = gateway.ask(with_body("DELETE", "/.well-known/oauth-protected-resource", "", b""));
    assert_eq!(answer.status, 405);
}
