//! Clients that sign their own name (RFC 7523, `private_key_jwt`) and what each client may prove itself with.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // time is real here

mod support;

use serde_json::{Value, json};
use support::{
    Answer, CLIENT, Gateway, ISSUER, SECRET, Upstream, bearer, form, post, scratch_file, toml,
};
use tollgate::keys::{Algorithm, SigningKey, generate, public_set};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
const ENDPOINT: &str = "https://gateway.test/auth/token";

struct Pair {
    key: SigningKey,
    pem: String,
}

fn pair(algorithm: Algorithm) -> Pair {
    let pem = generate(algorithm).unwrap().text;
    let key = SigningKey::from_pem(algorithm, pem.expose().as_bytes(), None).unwrap();
    Pair { key, pem: scratch_file("client.pem", pem.expose()).display().to_string() }
}

/// `signer` has one key in a PEM, `rotating` two in a set, [`CLIENT`] a secret.
fn gateway(upstream: &Upstream, one: &Pair, two: [&Pair; 2]) -> Gateway {
    let set = public_set(two.map(|pair| pair.key.verifying()));
    let set = scratch_file("client.jwks.json", &set.to_string());
    let rest = format!(
        r#"
authentication = ["client_secret_basic"]
[[clients]]
id = "signer"
public_key_file = "{}"
algorithm = "{:?}"
scopes = ["api:write"]
[[clients]]
id = "rotating"
jwks_file = "{}"
authentication = ["private_key_jwt"]
[[clients]]
id = "gone"
public_key_file = "{}"
algorithm = "{:?}"
disabled = true
[token.endpoints]
introspect = "/auth/introspect"
metadata = true
"#,
        one.pem,
        one.key.verifying().algorithm(),
        set.display(),
        one.pem,
        one.key.verifying().algorithm(),
    );
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", &rest))
}

fn claims(gateway: &Gateway, client: &str) -> Value {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let now = gateway.clock.unix_seconds();
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    json!({ "iss": client, "sub": client, "aud": ENDPOINT, "jti": format!("id-{number}"), "iat": now, "exp": now + 60 })
}

fn send(gateway: &Gateway, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    pairs.extend_from_slice(more);
    gateway.ask(post("/auth/token", FORM, form(&pairs).as_bytes()))
}

fn signed(pair: &Pair, claims: &Value) -> String {
    pair.key.sign("JWT", claims).unwrap()
}

#[test]
fn a_client_that_signs_its_own_name_gets_a_token() {
    let upstream = Upstream::start();
    for algorithm in [Algorithm::ES256, Algorithm::RS256, Algorithm::PS256, Algorithm::EdDSA] {
        let (one, a, b) = (pair(algorithm), pair(Algorithm::ES256), pair(algorithm));
        let gateway = gateway(&upstream, &one, [&a, &b]);
        for (key, client) in [(&one, "signer"), (&a, "rotating"), (&b, "rotating")] {
            for audience in [json!(ISSUER), json!(ENDPOINT), json!([ISSUER])] {
                let mut claims = claims(&gateway, client);
                claims["aud"] = audience;
                let answer = send(&gateway, &signed(key, &claims), &[("client_id", client)]);
                assert_eq!(answer.status, 200, "{answer:?}");
                let token = answer.json()["access_token"].as_str().unwrap().to_owned();
                let status = gateway.ask(post("/a", &bearer(&token), b"")).status;
                assert_eq!(status, 200);
            }
        }
        let told = gateway.ask(support::get("/.well-known/oauth-authorization-server")).json();
        let methods = told["token_endpoint_auth_methods_supported"].as_array().unwrap();
        assert!(methods.contains(&json!("private_key_jwt")));
        let names = &told["token_endpoint_auth_signing_alg_values_supported"];
        assert!(names.as_array().unwrap().contains(&json!(format!("{algorithm:?}"))));
    }
}

#[test]
fn every_assertion_that_does_not_prove_it_is_answered_alike() {
    let upstream = Upstream::start();
    let (one, two, stranger) =
        (pair(Algorithm::ES256), pair(Algorithm::RS256), pair(Algorithm::ES256));
    let gateway = gateway(&upstream, &one, [&two, &stranger]);
    let now = gateway.clock.unix_seconds();
    let with = |name: &str, value: Value| {
        let mut claims = claims(&gateway, "signer");
        claims[name] = value;
        signed(&one, &claims)
    };
    let without = |name: &str| {
        let mut claims = claims(&gateway, "signer");
        claims.as_object_mut().unwrap().remove(name);
        signed(&one, &claims)
    };
    let good = claims(&gateway, "signer");
    let mut tampered = signed(&one, &good);
    tampered.replace_range(tampered.len() - 6..tampered.len() - 4, "AA");
    let none = {
        use base64::Engine;
        let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
        format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&good.to_string()))
    };
    let mut bodies = Vec::new();
    for (what, assertion) in [
        ("another's key", signed(&stranger, &good)),
        ("a key of another kind", signed(&two, &good)),
        ("an unknown client", signed(&one, &claims(&gateway, "nobody"))),
        ("a disabled client", signed(&one, &claims(&gateway, "gone"))),
        ("a client without keys", signed(&one, &claims(&gateway, CLIENT))),
        ("an access token", one.key.sign("at+jwt", &good).unwrap()),
        ("tampered", tampered),
        ("alg none", none),
        ("no JWT", "abc".to_owned()),
        ("iss of another", with("iss", json!("rotating"))),
        ("aud of another", with("aud", json!("https://other.test"))),
        ("aud with a slash", with("aud", json!(format!("{ISSUER}/")))),
        ("aud of two", with("aud", json!([ISSUER, "https://other.test"]))),
        ("aud empty", with("aud", json!([]))),
        ("expired", with("exp", json!(now - 61))),
        ("more than ten minutes ahead", with("exp", json!(now + 660))),
        ("exp in text", with("exp", json!("9999999999"))),
        ("not yet", with("nbf", json!(now + 120))),
        ("from the future", with("iat", json!(now + 120))),
        ("empty jti", with("jti", json!(""))),
        ("no jti", without("jti")),
        ("no exp", without("exp")),
        ("no aud", without("aud")),
        ("no iss", without("iss")),
        ("no sub", without("sub")),
    ] {
        // each of its own, or it would be throttled
        let gateway = self::gateway(&upstream, &one, [&two, &stranger]);
        let answer = send(&gateway, &assertion, &[]);
        assert_eq!(answer.status, 401, "{what}: {answer:?}");
        assert!(answer.field("www-authenticate").unwrap().starts_with("Basic"), "{what}");
        bodies.push(answer.text());
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:?}");
    assert!(bodies[0].contains("invalid_client"));
}

#[test]
fn an_assertion_is_good_once_in_every_worker_and_whoever_replays_it() {
    let upstream = Upstream::start();
    let (one, two) = (pair(Algorithm::ES256), pair(Algorithm::ES256));
    let gateway = gateway(&upstream, &one, [&one, &two]);
    let assertion = signed(&one, &claims(&gateway, "signer"));
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let tries: Vec<_> =
            (0..8).map(|_| scope.spawn(|| send(&gateway, &assertion, &[]).status)).collect();
        tries.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    // the same jti of another client is another one
    let mut claims = claims(&gateway, "rotating");
    let spent = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        assertion.split('.').nth(1).unwrap(),
    );
    let spent: Value = serde_json::from_slice(&spent.unwrap()).unwrap();
    claims["jti"] = spent["jti"].clone();
    assert_eq!(send(&gateway, &signed(&one, &claims), &[]).status, 200);
}

#[test]
fn a_request_that_proves_itself_twice_or_by_halves_is_malformed() {
    let upstream = Upstream::start();
    let (one, two) = (pair(Algorithm::ES256), pair(Algorithm::ES256));
    let gateway = gateway(&upstream, &one, [&one, &two]);
    let fresh = || signed(&one, &claims(&gateway, "signer"));
    let malformed = |answer: Answer| {
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (400, Some("invalid_request"))
        );
    };
    malformed(send(&gateway, &fresh(), &[("client_secret", SECRET)]));
    malformed(send(&gateway, &fresh(), &[("client_id", "rotating")]));
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", &fresh()),
    ]);
    let fields = format!("{FORM}Authorization: Basic YTpi\r\n");
    malformed(gateway.ask(post("/auth/token", &fields, body.as_bytes())));
    for half in [("client_assertion", fresh()), ("client_assertion_type", TYPE.to_owned())] {
        let body = form(&[("grant_type", "client_credentials"), (half.0, &half.1)]);
        malformed(gateway.ask(post("/auth/token", FORM, body.as_bytes())));
    }
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:saml2-bearer"),
        ("client_assertion", &fresh()),
    ]);
    let answer = gateway.ask(post("/auth/token", FORM, body.as_bytes()));
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
}

#[test]
fn a_secret_is_good_only_in_the_ways_that_its_client_may_use() {
    let upstream = Upstream::start();
    let (one, two) = (pair(Algorithm::ES256), pair(Algorithm::ES256));
    let gateway = gateway(&upstream, &one, [&one, &two]);
    let grant = ("grant_type", "client_credentials");
    let body = form(&[grant, ("client_id", CLIENT), ("client_secret", SECRET)]);
    let answer = gateway.ask(post("/auth/token", FORM, body.as_bytes()));
    assert_eq!((answer.status, answer.json()["error"].as_str()), (401, Some("invalid_client")));
    use base64::Engine;
    let basic = base64::engine::general_purpose::STANDARD.encode(format!("{CLIENT}:{SECRET}"));
    let fields = format!("{FORM}Authorization: Basic {basic}\r\n");
    let answer = gateway.ask(post("/auth/token", &fields, form(&[grant]).as_bytes()));
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[test]
fn an_assertion_opens_the_other_endpoints_too() {
    let upstream = Upstream::start();
    let (one, two) = (pair(Algorithm::ES256), pair(Algorithm::ES256));
    let gateway = gateway(&upstream, &one, [&one, &two]);
    let fresh = || signed(&one, &claims(&gateway, "signer"));
    let token = send(&gateway, &fresh(), &[]).json()["access_token"].as_str().unwrap().to_owned();
    let body =
        form(&[("client_assertion_type", TYPE), ("client_assertion", &fresh()), ("token", &token)]);
    let answer = gateway.ask(post("/auth/introspect", FORM, body.as_bytes()));
    assert_eq!(answer.json()["active"], true);
    let answer = gateway.ask(post("/auth/introspect", FORM, body.as_bytes()));
    assert_eq!(answer.status, 401, "shown twice");
}
