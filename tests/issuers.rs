//! Other issuers: whose tokens are let in, who is asked about which, and what happens when an issuer misbehaves.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // time is real here

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use support::provider::{Key, Manner, Provider};
use support::{AUDIENCE, Answer, Gateway, Upstream, bearer, eventually, get, post, toml};
use tollgate::keys::Algorithm;

fn now() -> u64 {
    tollgate::clock::Clock::system().unix_seconds()
}

fn claims(provider: &Provider) -> Value {
    json!({
        "iss": provider.issuer(), "sub": "user-1", "client_id": "batch", "aud": AUDIENCE, "scope": "api:write",
        "iat": now(), "exp": now() + 600, "jti": "a",
    })
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

/// `[[issuers]]` for a provider that is discovered, with further keys.
fn issuer(name: &str, provider: &Provider, keys: &str) -> String {
    format!(
        "[[issuers]]\nname = \"{name}\"\nissuer = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n{keys}\n",
        provider.issuer()
    )
}

const INTROSPECTION: &str =
    "introspection = { client_id = \"resource1\", client_secret = \"h7Qm2vY0tq8Zp4Xk #!\" }";

fn gateway(upstream: &Upstream, issuers: &str) -> Gateway {
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", issuers))
}

fn send(gateway: &Gateway, token: &str) -> Answer {
    gateway.ask(post("/players", &bearer(token), b"{}"))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    send(gateway, token).status
}

fn challenge(gateway: &Gateway, token: &str) -> String {
    let answer = send(gateway, token);
    assert_eq!(answer.status, 401, "{answer:?}");
    answer.field("www-authenticate").unwrap()
}

fn active(provider: &Provider) -> Value {
    let mut answer = claims(provider);
    answer["active"] = true.into();
    answer
}

#[test]
fn a_token_of_a_discovered_issuer_is_let_in_and_the_upstream_learns_whose_it_is() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::RS256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    let seen = upstream.only();
    assert_eq!(seen.field("x-auth-subject").as_deref(), Some("user-1"));
    assert_eq!(seen.field("x-auth-client").as_deref(), Some("batch"));
    assert_eq!(seen.field("x-auth-scope").as_deref(), Some("api:write"));
    assert_eq!(seen.field("x-auth-issuer"), Some(provider.issuer()));
    assert_eq!((provider.metadata(), provider.fetches()), (1, 1));
    // our own tokens are as good as before
    assert_eq!(status(&gateway, &gateway.token()), 200);
}

#[test]
fn every_asymmetric_algorithm_of_an_issuer_is_verified_and_azp_stands_for_the_client() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let keys: Vec<Key> = [
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ]
    .into_iter()
    .map(|algorithm| Key::new(algorithm, &format!("{algorithm:?}")))
    .collect();
    provider.publish(&keys.iter().collect::<Vec<_>>());
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    let mut claims = claims(&provider);
    claims.as_object_mut().unwrap().remove("client_id");
    claims.as_object_mut().unwrap().remove("sub");
    claims["azp"] = "spa".into();
    for key in &keys {
        assert_eq!(status(&gateway, &key.sign(&claims)), 200, "{:?}", key.algorithm);
    }
    assert!(
        upstream.seen().iter().all(|seen| seen.field("x-auth-client").as_deref() == Some("spa"))
    );
    assert!(upstream.seen().iter().all(|seen| seen.field("x-auth-subject").is_none()));
}

#[test]
fn what_an_issuer_signed_is_judged_by_its_own_rules() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let (key, stranger) = (Key::new(Algorithm::ES256, "k1"), Key::new(Algorithm::ES256, "k1"));
    provider.publish(&[&key]);
    let gateway = gateway(
        &upstream,
        &issuer("corp", &provider, "algorithms = [\"ES256\"]\ntypes = [\"at+jwt\"]"),
    );
    let good = claims(&provider);
    assert_eq!(status(&gateway, &key.sign(&good)), 200);
    for (claims, told) in [
        (with(good.clone(), "aud", json!("https://other")), "another audience"),
        (with(good.clone(), "aud", Value::Null), "aud of the token is missing"),
        (with(good.clone(), "exp", json!(now() - 61)), "expired"),
        (with(good.clone(), "nbf", json!(now() + 120)), "not yet valid"),
        (with(good.clone(), "iss", json!([provider.issuer()])), "iss of the token"),
        (
            with(good.clone(), "iss", json!(format!("{}/", provider.issuer()))),
            "issuer of the token is unknown",
        ),
        (with(good.clone(), "iss", json!(support::ISSUER)), "does not use the algorithm"),
        (with(good.clone(), "cnf", json!({"jkt": "x"})), "bound to a key"),
    ] {
        let challenge = challenge(&gateway, &key.sign(&claims));
        assert!(
            challenge.contains("invalid_token") && challenge.contains(told),
            "{claims}: {challenge}"
        );
    }
    assert!(challenge(&gateway, &stranger.sign(&good)).contains("signature"));
    assert!(challenge(&gateway, &key.sign_as("JWT", Some("k1"), &good)).contains("another type"));
    assert!(challenge(&gateway, &key.sign_as("", Some("k1"), &good)).contains("another type"));
    let other = Key::new(Algorithm::ES384, "k1");
    assert!(challenge(&gateway, &other.sign(&good)).contains("does not use the algorithm"));
    assert_eq!(upstream.seen().len(), 1);
}

#[test]
fn j3_nothing_that_is_public_of_an_issuer_is_a_secret_of_anybody() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::RS256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    let claims = claims(&provider);
    assert_eq!(status(&gateway, &key.sign(&claims)), 200);
    let modulus = key.jwk["n"].as_str().unwrap();
    let raw = URL_SAFE_NO_PAD.decode(modulus).unwrap();
    for secret in [modulus.as_bytes(), &raw, key.jwk.to_string().as_bytes(), b""] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = jsonwebtoken::Header::new(algorithm);
            header.kid = Some("k1".to_owned());
            let forged = jsonwebtoken::EncodingKey::from_secret(secret);
            let forged = jsonwebtoken::encode(&header, &claims, &forged).unwrap();
            assert!(challenge(&gateway, &forged).contains("does not use the algorithm"));
        }
    }
}

#[test]
fn j11_j12_a_key_that_a_token_brings_or_points_to_is_never_used() {
    let (upstream, provider, canary) = (Upstream::start(), Provider::start(), Provider::start());
    let (key, mine) = (Key::new(Algorithm::ES256, "k1"), Key::new(Algorithm::ES256, "k1"));
    provider.publish(&[&key]);
    canary.publish(&[&mine]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    let signed = mine.sign(&claims(&provider));
    let (_, rest) = signed.split_once('.').unwrap();
    for header in [
        json!({ "alg": "ES256", "kid": "k1", "jwk": mine.jwk }),
        json!({ "alg": "ES256", "kid": "k1", "jku": format!("http://{}/keys", canary.address) }),
        json!({ "alg": "ES256", "kid": "k1", "x5u": format!("http://{}/keys", canary.address) }),
        json!({ "alg": "ES256", "kid": format!("http://{}/keys", canary.address) }),
        json!({ "alg": "none", "kid": "k1" }),
    ] {
        let token = format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header.to_string()));
        assert_eq!(status(&gateway, &token), 401, "{header}");
    }
    assert_eq!(canary.fetches(), 0);
}

#[test]
fn an_issuer_with_a_shared_key_is_believed_by_that_key_alone() {
    let upstream = Upstream::start();
    let secret = "h7Qm2vY0tq8Zp4Xkh7Qm2vY0tq8Zp4Xk";
    let config = format!(
        "[[issuers]]\nname = \"shared\"\nissuer = \"partner\"\naudiences = \"{AUDIENCE}\"\nkey = \"{secret}\"\n"
    );
    let gateway = gateway(&upstream, &config);
    let claims = json!({ "iss": "partner", "sub": "p", "aud": AUDIENCE, "exp": now() + 60 });
    let token = |secret: &str, algorithm| {
        let key = jsonwebtoken::EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&jsonwebtoken::Header::new(algorithm), &claims, &key).unwrap()
    };
    assert_eq!(status(&gateway, &token(secret, Algorithm::HS256)), 200);
    assert!(challenge(&gateway, &token(support::KEY, Algorithm::HS256)).contains("signature"));
    assert!(challenge(&gateway, &token(secret, Algorithm::HS512)).contains("does not use"));
}

#[test]
fn j43_a_jwt_that_fails_is_not_asked_about_in_another_spelling() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(
        &upstream,
        &issuer("corp", &provider, &format!("types = [\"at+jwt\"]\n{INTROSPECTION}")),
    );
    let id_token = key.sign_as("JWT", Some("k1"), &claims(&provider));
    for spelling in [id_token.clone(), format!("{id_token}="), format!("{id_token}==")] {
        provider.knows(&spelling, active(&provider));
        assert_eq!(status(&gateway, &spelling), 401, "{spelling}");
    }
    assert_eq!(provider.questions(), 0);
}

#[test]
fn j33_a_key_of_one_issuer_is_no_key_of_another() {
    let (upstream, a, b) = (Upstream::start(), Provider::start(), Provider::start());
    let (key_a, key_b) = (Key::new(Algorithm::ES256, "same"), Key::new(Algorithm::ES256, "same"));
    a.publish(&[&key_a]);
    b.publish(&[&key_b]);
    let gateway = gateway(&upstream, &(issuer("a", &a, "") + &issuer("b", &b, "")));
    assert_eq!(status(&gateway, &key_a.sign(&claims(&a))), 200);
    assert_eq!(status(&gateway, &key_b.sign(&claims(&b))), 200);
    assert!(challenge(&gateway, &key_a.sign(&claims(&b))).contains("signature"));
    assert!(challenge(&gateway, &key_b.sign(&claims(&a))).contains("signature"));
}

#[test]
fn i183_an_issuer_that_is_down_at_start_is_503_for_its_tokens_alone_until_it_is_up() {
    let upstream = Upstream::start();
    let down = Provider::start();
    let address = down.address;
    let claims = claims(&down);
    let config = issuer("corp", &down, "");
    drop(down);
    let key = Key::new(Algorithm::ES256, "k1");
    let gateway = gateway(&upstream, &config);
    let token = key.sign(&claims);
    let answer = send(&gateway, &token);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.field("retry-after").is_some() && answer.field("www-authenticate").is_none());
    assert!(
        answer.text().contains("issuer_unavailable")
            || answer.text().contains("issuer-unavailable"),
        "{answer:?}"
    );
    assert_eq!(status(&gateway, &gateway.token()), 200);
    // an open request is served, without the token that nobody could judge
    assert_eq!(gateway.ask(get("/players")).status, 200);
    assert_eq!(upstream.seen().len(), 2);
    let provider = Provider::at(address);
    provider.publish(&[&key]);
    let up = Instant::now();
    eventually("the issuer is noticed", || status(&gateway, &token) == 200);
    assert!(up.elapsed() < Duration::from_secs(5), "{:?}", up.elapsed());
}

#[test]
fn i184_keys_that_were_fetched_stay_good_while_the_issuer_is_down_up_to_a_limit() {
    let upstream = Upstream::start();
    let provider = Provider::start();
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    let claims = with(claims(&provider), "exp", json!(now() + 1_000_000));
    let token = |name: &str| key.sign(&with(claims.clone(), "jti", json!(name)));
    assert_eq!(status(&gateway, &token("1")), 200);
    drop(provider);
    gateway.clock.skip(Duration::from_secs(60 * 60));
    std::thread::sleep(Duration::from_millis(1_200)); // a refresh that fails
    assert_eq!(status(&gateway, &token("2")), 200);
    let unknown = Instant::now();
    assert_eq!(status(&gateway, &key.sign_as("at+jwt", Some("unknown"), &claims)), 401);
    assert!(unknown.elapsed() < Duration::from_secs(1));
    gateway.clock.skip(tollgate::issuers::MAX_STALE);
    eventually("too old keys are none", || status(&gateway, &token("3")) == 503);
    assert_eq!(status(&gateway, &token("1")), 503);
}

#[test]
fn i185_whatever_an_issuer_answers_instead_of_keys_is_bounded_and_the_old_keys_stay() {
    let upstream = Upstream::start();
    let provider = Provider::start();
    let canary = Provider::start();
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    let one = json!({ "keys": [key.jwk] }).to_string();
    let many = json!({ "keys": vec![key.jwk.clone(); 101] }).to_string();
    for (number, manner) in [
        Manner::Status(500),
        Manner::Status(204),
        Manner::Redirects(302, format!("http://{}/keys", canary.address)),
        Manner::Redirects(302, "file:///etc/passwd".to_owned()),
        Manner::Redirects(307, "/keys".to_owned()),
        Manner::Says("text/html", "<html>".to_owned()),
        Manner::Says("application/json", one[..one.len() - 2].to_owned()),
        Manner::Says("application/json", "{\"keys\":{}}".to_owned()),
        Manner::Says("application/json", "{\"keys\":[]}".to_owned()),
        Manner::Says("application/json", many),
        Manner::Floods(100 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        provider.behave("/keys", manner.clone());
        let (fetches, mut looks) = (provider.fetches(), 0);
        eventually("another fetch", || {
            // again and again: a fetch that is still under way counts its pause from its own end
            if looks % 200 == 0 {
                gateway.clock.skip(Duration::from_secs(310));
            }
            looks += 1;
            provider.fetches() > fetches
        });
        let token = key.sign(&with(claims(&provider), "jti", json!(number.to_string())));
        assert_eq!(status(&gateway, &token), 200, "{manner:?}");
    }
    assert_eq!(canary.fetches(), 0);
    provider.behave("/keys", Manner::Good);
    let next = Key::new(Algorithm::ES256, "k2");
    provider.publish(&[&next]);
    eventually("good keys again", || {
        // again and again, for the last bad answer may still be on its way, and its pause begins when it is read
        gateway.clock.skip(Duration::from_secs(61));
        status(&gateway, &next.sign(&claims(&provider))) == 200
    });
    // the verdict on a token whose key is gone is not remembered
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 401);
}

#[test]
fn metadata_of_another_name_is_not_used() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let config = issuer("corp", &provider, "");
    let token = key.sign(&claims(&provider));
    provider.call_itself("https://idp.example.com");
    let gateway = gateway(&upstream, &config);
    assert_eq!(status(&gateway, &token), 503);
    assert_eq!(provider.fetches(), 0);
}

#[test]
fn i186_odd_keys_are_left_out_and_do_not_spoil_the_others() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let (key, twin) = (Key::new(Algorithm::ES256, "good"), Key::new(Algorithm::ES256, "twin"));
    let mut other = Key::new(Algorithm::ES256, "twin").jwk;
    other["kid"] = "twin".into();
    let mut encryption = Key::new(Algorithm::RS256, "enc").jwk;
    encryption["use"] = "enc".into();
    provider.publish_json(json!({ "keys": [
        { "kty": "oct", "k": "c2VjcmV0", "kid": "oct", "alg": "HS256" },
        { "kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA" },
        { "kty": "new" }, 7, null, {}, encryption, twin.jwk, other, key.jwk,
    ] }));
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    assert_eq!(status(&gateway, &twin.sign(&claims(&provider))), 401);
}

#[test]
fn i187_a_new_key_is_fetched_when_its_first_token_comes_and_that_token_is_let_in() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let (old, new) = (Key::new(Algorithm::ES256, "old"), Key::new(Algorithm::ES256, "new"));
    provider.publish(&[&old]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &old.sign(&claims(&provider))), 200);
    provider.publish(&[&old, &new]);
    assert_eq!(status(&gateway, &new.sign(&claims(&provider))), 200);
    assert_eq!(provider.fetches(), 2);
}

#[test]
fn i187_a_hundred_rotations_under_load_refuse_nobody() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let first = Key::new(Algorithm::ES256, "0");
    provider.publish(&[&first]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    let current = std::sync::Mutex::new(first.clone());
    let done = AtomicBool::new(false);
    let served: [AtomicUsize; 4] = Default::default();
    let count = || served.each_ref().map(|served| served.load(Ordering::SeqCst));
    std::thread::scope(|scope| {
        for (worker, served) in served.iter().enumerate() {
            let (current, done, gateway, provider) = (&current, &done, &gateway, &provider);
            scope.spawn(move || {
                let mut client = gateway.connect();
                let mut number = 0;
                while !done.load(Ordering::SeqCst) {
                    number += 1;
                    let key = current.lock().unwrap().clone();
                    let token = key.sign(&with(
                        claims(provider),
                        "jti",
                        json!(format!("{worker}-{number}")),
                    ));
                    client.send(post("/players", &bearer(&token), b"{}"));
                    let answer = client.answer();
                    assert_eq!(answer.status, 200, "{answer:?}");
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let mut last = first;
        for rotation in 1..=100 {
            let next = Key::new(Algorithm::ES256, &rotation.to_string());
            // published together with the one before it, which may still be under way
            provider.publish(&[&last, &next]);
            *current.lock().unwrap() = next.clone();
            last = next;
            // nobody is left behind with a token of the key before the last
            let before = count();
            eventually("every client goes on", || {
                count().iter().zip(&before).all(|(now, before)| *now >= before + 2)
            });
        }
        done.store(true, Ordering::SeqCst);
    });
    eprintln!("{} requests, {} fetches", count().iter().sum::<usize>(), provider.fetches());
    assert!(provider.fetches() <= 102, "{}", provider.fetches());
}

#[test]
fn d156_ten_thousand_random_kids_cause_one_fetch_in_a_cool_down() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::ES256, "good");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    let good = key.sign(&claims(&provider));
    assert_eq!(status(&gateway, &good), 200);
    let signature = good.rsplit('.').next().unwrap();
    let payload = good.split('.').nth(1).unwrap();
    let random = |number: usize| {
        let header = json!({ "alg": "ES256", "typ": "at+jwt", "kid": format!("random-{number}") });
        format!("{}.{payload}.{signature}", URL_SAFE_NO_PAD.encode(header.to_string()))
    };
    let flood = |from: usize, to: usize| {
        let mut client = gateway.connect();
        for number in from..to {
            client.send(post("/players", &bearer(&random(number)), b"{}"));
            assert_eq!(client.answer().status, 401);
            if number % 500 == 0 {
                client.send(post("/players", &bearer(&good), b"{}"));
                assert_eq!(client.answer().status, 200);
            }
        }
    };
    flood(0, 5_000);
    assert_eq!(provider.fetches(), 2);
    gateway.clock.skip(tollgate::issuers::COOL_DOWN + Duration::from_secs(1));
    flood(5_000, 10_000);
    assert_eq!(provider.fetches(), 3);
}

#[test]
fn d157_tokens_of_random_issuers_cause_no_call_at_all() {
    let (upstream, provider, canary) = (Upstream::start(), Provider::start(), Provider::start());
    let key = Key::new(Algorithm::ES256, "good");
    provider.publish(&[&key]);
    let gateway = gateway(&upstream, &issuer("corp", &provider, ""));
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    let good = key.sign(&claims(&provider));
    let (header, rest) = good.split_once('.').unwrap();
    let signature = rest.split_once('.').unwrap().1;
    let mut client = gateway.connect();
    for number in 0..10_000 {
        let iss = format!("http://{}/{number}", canary.address);
        let payload =
            URL_SAFE_NO_PAD.encode(with(claims(&provider), "iss", json!(iss)).to_string());
        client.send(post("/players", &bearer(&format!("{header}.{payload}.{signature}")), b"{}"));
        assert_eq!(client.answer().status, 401);
    }
    assert_eq!((provider.metadata(), provider.fetches()), (1, 1));
    assert_eq!((canary.metadata(), canary.fetches()), (0, 0));
}

#[test]
fn the_two_schemes_of_the_founding_article() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::RS256, "k1");
    provider.publish(&[&key]);
    let gateway = gateway(
        &upstream,
        &issuer("token", &provider, &format!("types = [\"at+jwt\"]\n{INTROSPECTION}")),
    );
    provider.knows("CA1B2C3D4E5F6A7B", active(&provider));
    // JWTs are verified, and only access tokens
    assert_eq!(status(&gateway, &key.sign(&claims(&provider))), 200);
    assert!(
        challenge(&gateway, &key.sign_as("JWT", Some("k1"), &claims(&provider)))
            .contains("another type")
    );
    assert_eq!(provider.questions(), 0);
    // whatever is no JWT is asked about, with the credentials of RFC 6749
    assert_eq!(status(&gateway, "CA1B2C3D4E5F6A7B"), 200);
    assert!(challenge(&gateway, "0000000000000000").contains("not active"));
    assert_eq!(provider.questions(), 2);
    let (authorization, body) = &provider.asked()[0];
    let basic =
        base64::engine::general_purpose::STANDARD.encode("resource1:h7Qm2vY0tq8Zp4Xk+%23%21");
    assert_eq!(*authorization, format!("Basic {basic}"));
    assert_eq!(body, "token=CA1B2C3D4E5F6A7B&token_type_hint=access_token");
    // a JWT that fails is not asked about
    let forged = Key::new(Algorithm::RS256, "k1").sign(&claims(&provider));
    assert_eq!(status(&gateway, &forged), 401);
    assert_eq!(provider.questions(), 2);
    assert_eq!(upstream.seen()[1].field("x-auth-client").as_deref(), Some("batch"));
}

#[test]
fn tokens_with_a_dot_or_five_parts_are_reference_tokens() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &issuer("hydra", &provider, INTROSPECTION));
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"dir","enc":"A256GCM"}"#);
    for token in ["ory_at_x1.y2", "a.b.c", &format!("{header}.a.b.c.d"), "gh_1~+/=="] {
        provider.knows(token, active(&provider));
        let before = provider.questions();
        assert_eq!(status(&gateway, token), 200, "{token}");
        assert_eq!(provider.questions(), before + 1, "{token}");
    }
}

#[test]
fn with_for_all_introspection_alone_decides_about_jwts() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let stranger = Key::new(Algorithm::ES256, "nobody knows it");
    let all = INTROSPECTION.replace(" }", ", for = \"all\", cache = 0 }");
    let gateway = gateway(&upstream, &issuer("corp", &provider, &all));
    let token = stranger.sign(&claims(&provider));
    assert!(challenge(&gateway, &token).contains("not active"));
    provider.knows(&token, active(&provider));
    assert_eq!(status(&gateway, &token), 200);
    provider.knows(&token, json!({ "active": false }));
    assert_eq!(status(&gateway, &token), 401);
    assert_eq!((provider.questions(), provider.fetches()), (3, 0));
    // a JWT of nobody is not asked about
    let other = with(claims(&provider), "iss", json!("https://nobody"));
    assert!(challenge(&gateway, &stranger.sign(&other)).contains("issuer of the token is unknown"));
    assert_eq!(provider.questions(), 3);
}

#[test]
fn credentials_go_in_the_body_where_that_is_asked_for() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    provider.knows("t0", active(&provider));
    let keys = INTROSPECTION.replace(" }", ", auth = \"post\" }");
    let gateway = gateway(&upstream, &issuer("corp", &provider, &keys));
    assert_eq!(status(&gateway, "t0"), 200);
    let (authorization, body) = provider.asked().remove(0);
    assert_eq!(authorization, "");
    assert!(body.contains("client_id=resource1&client_secret=h7Qm2vY0tq8Zp4Xk+%23%21"), "{body}");
}

#[test]
fn d159_a_thousand_requests_at_once_with_one_reference_token_are_one_question() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    provider.knows("opaque", active(&provider));
    provider.behave("/introspect", Manner::Late(Duration::from_millis(500)));
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    let mut clients: Vec<_> = (0..1_000).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(post("/players", &bearer("opaque"), b"{}"));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 200);
    }
    assert_eq!(provider.questions(), 1);
    // the failure of a question reaches all, and is not taken for "not active"
    provider.knows("second", active(&provider));
    provider.behave("/introspect", Manner::Status(500));
    for client in &mut clients {
        client.send(post("/players", &bearer("second"), b"{}"));
    }
    for client in &mut clients {
        assert_eq!(client.answer().status, 503);
    }
    provider.behave("/introspect", Manner::Good);
    eventually("the issuer answers again", || status(&gateway, "second") == 200);
}

#[test]
fn j52_only_a_json_true_is_active() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    for (number, answer) in
        [json!("true"), json!(1), json!(null), json!([true]), json!({}), json!(false)]
            .into_iter()
            .enumerate()
    {
        let token = format!("t{number}");
        provider.knows(&token, with(active(&provider), "active", answer.clone()));
        assert!(challenge(&gateway, &token).contains("not active"), "{answer}");
    }
    for (token, raw) in [
        ("twice", r#"{"active":true,"active":true}"#),
        ("lies", r#"{"active":false,"active":true}"#),
        ("missing", "{}"),
        ("list", r#"[{"active":true}]"#),
    ] {
        provider.knows(token, json!(raw));
        assert_eq!(status(&gateway, token), 503, "{raw}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn j53_an_active_token_is_judged_like_any_other_on_every_use() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    let good = active(&provider);
    for (number, (answer, told)) in [
        (with(good.clone(), "exp", json!(now() - 61)), "expired"),
        (with(good.clone(), "nbf", json!(now() + 120)), "not yet valid"),
        (with(good.clone(), "iss", json!("https://other")), "issuer of the token is unknown"),
        (with(good.clone(), "aud", json!("https://other")), "another audience"),
        (with(good.clone(), "aud", Value::Null), "aud of the token is missing"),
        (with(good.clone(), "cnf", json!({ "x5t#S256": "a" })), "bound to a key"),
        (with(good.clone(), "token_type", json!("DPoP")), "another type"),
        (with(good.clone(), "token_use", json!("refresh_token")), "another type"),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("t{number}");
        provider.knows(&token, answer.clone());
        assert!(challenge(&gateway, &token).contains(told), "{answer}");
        let questions = provider.questions();
        assert!(challenge(&gateway, &token).contains(told), "{answer}");
        assert_eq!(provider.questions(), questions, "remembered: {answer}");
    }
    // what is remembered ends with the token
    provider.knows("short", with(good, "exp", json!(now() + 100)));
    assert_eq!(status(&gateway, "short"), 200);
    let questions = provider.questions();
    assert_eq!(status(&gateway, "short"), 200);
    assert_eq!(provider.questions(), questions);
    gateway.clock.advance(161);
    assert!(challenge(&gateway, "short").contains("expired"));
}

#[test]
fn j54_an_answer_is_believed_for_a_while_and_no_longer() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    provider.knows("t", active(&provider));
    for _ in 0..20 {
        assert_eq!(status(&gateway, "t"), 200);
    }
    assert_eq!(provider.questions(), 1);
    provider.knows("t", json!({ "active": false }));
    assert_eq!(status(&gateway, "t"), 200);
    gateway.clock.skip(Duration::from_secs(31));
    assert_eq!(status(&gateway, "t"), 401);
    assert_eq!(status(&gateway, "t"), 401);
    assert_eq!(provider.questions(), 2);
    provider.knows("t", active(&provider));
    gateway.clock.skip(Duration::from_secs(6));
    assert_eq!(status(&gateway, "t"), 200);
}

#[test]
fn j34_an_answer_of_one_issuer_never_serves_another() {
    let (upstream, a, b) = (Upstream::start(), Provider::start(), Provider::start());
    let asked =
        |path: &str| format!("{INTROSPECTION}\nwhen = \"request.path.startsWith('{path}')\"");
    let gateway =
        gateway(&upstream, &(issuer("a", &a, &asked("/a")) + &issuer("b", &b, &asked("/b"))));
    a.knows("same", active(&a));
    let at = |path: &str| gateway.ask(post(path, &bearer("same"), b"{}")).status;
    assert_eq!(at("/a/1"), 200);
    assert_eq!(at("/b/1"), 401);
    assert_eq!(at("/a/2"), 200);
    assert_eq!(at("/c"), 401);
    assert_eq!((a.questions(), b.questions()), (1, 1));
}

#[test]
fn a_when_decides_between_issuers_of_one_name_and_an_error_is_no() {
    let (upstream, a, b) = (Upstream::start(), Provider::start(), Provider::start());
    let (key_a, key_b) = (Key::new(Algorithm::ES256, "k"), Key::new(Algorithm::ES256, "k"));
    a.publish(&[&key_a]);
    b.publish(&[&key_b]);
    let entry = |name: &str, keys: &Provider, when: &str| {
        format!(
            "[[issuers]]\nname = \"{name}\"\nissuer = \"https://idp\"\naudiences = \"{AUDIENCE}\"\njwks_url = \"http://{}/keys\"\nwhen = '{when}'\n",
            keys.address
        )
    };
    let gateway = gateway(
        &upstream,
        &(entry("a", &a, r#"request.headers["x-tenant"] == "a""#)
            + &entry("b", &b, "token.parts == 3")),
    );
    let claims = with(claims(&a), "iss", json!("https://idp"));
    let at = |key: &Key, field: &str| {
        let fields = bearer(&key.sign(&claims)) + field;
        gateway.ask(post("/players", &fields, b"{}")).status
    };
    let token_of_a = key_a.sign(&claims);
    let cached =
        |field: &str| gateway.ask(post("/players", &(bearer(&token_of_a) + field), b"{}")).status;
    assert_eq!(at(&key_a, "X-Tenant: a\r\n"), 200);
    assert_eq!(at(&key_b, "X-Tenant: a\r\n"), 401);
    assert_eq!(at(&key_b, "X-Tenant: b\r\n"), 200);
    // no such header is no answer, and so no
    assert_eq!(at(&key_b, ""), 200);
    assert_eq!(at(&key_a, ""), 401);
    // a verdict that is remembered is one of its judge
    assert_eq!(
        (cached("X-Tenant: a\r\n"), cached("X-Tenant: b\r\n"), cached("X-Tenant: a\r\n")),
        (200, 401, 200)
    );
}

#[test]
fn reference_tokens_go_by_their_prefix() {
    let (upstream, a, b) = (Upstream::start(), Provider::start(), Provider::start());
    let keys = format!("{INTROSPECTION}\ntoken_prefix = \"gh_\"");
    let gateway = gateway(&upstream, &(issuer("a", &a, &keys) + &issuer("b", &b, INTROSPECTION)));
    a.knows("gh_1", active(&a));
    b.knows("1", active(&b));
    assert_eq!((status(&gateway, "gh_1"), status(&gateway, "1")), (200, 200));
    assert_eq!((a.questions(), b.questions()), (1, 1));
}

#[test]
fn i190_an_issuer_that_cannot_be_asked_is_503_and_spared() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    for (number, manner) in [
        Manner::Status(401),
        Manner::Status(403),
        Manner::Status(500),
        Manner::Status(302),
        Manner::Says("text/html", "<html>".to_owned()),
        Manner::Says("text/plain", active(&provider).to_string()),
        Manner::Says("application/token-introspection+jwt", "eyJhbGciOiJub25lIn0.e30.".to_owned()),
        Manner::Says("application/json", "{\"active\":true".to_owned()),
        Manner::Floods(1 << 20),
    ]
    .into_iter()
    .enumerate()
    {
        let token = format!("t{number}");
        provider.knows(&token, active(&provider));
        provider.behave("/introspect", manner.clone());
        let answer = send(&gateway, &token);
        assert_eq!(answer.status, 503, "{manner:?}");
        assert!(answer.field("retry-after").is_some());
        provider.behave("/introspect", Manner::Good);
        gateway.clock.skip(Duration::from_secs(3)); // past the breaker
        assert_eq!(status(&gateway, &token), 200, "not remembered: {manner:?}");
    }
    provider.behave("/introspect", Manner::Status(500));
    let before = provider.questions();
    for number in 0..200 {
        assert_eq!(status(&gateway, &format!("u{number}")), 503);
    }
    assert!(provider.questions() - before <= 8, "{}", provider.questions() - before);
    // a token that is known needs nobody
    assert_eq!(status(&gateway, "t8"), 200);
    provider.knows("u1", active(&provider));
    provider.behave("/introspect", Manner::Good);
    let up = Instant::now();
    eventually("the breaker closes", || status(&gateway, "u1") == 200);
    assert!(up.elapsed() < Duration::from_secs(5));
}

#[test]
fn i190_an_issuer_that_says_nothing_is_waited_for_only_so_long() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    provider.behave("/introspect", Manner::Hangs);
    let gateway = gateway(&upstream, &issuer("corp", &provider, INTROSPECTION));
    let start = Instant::now();
    assert_eq!(status(&gateway, "t"), 503);
    assert!((4..8).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    assert_eq!(status(&gateway, &gateway.token()), 200);
}
