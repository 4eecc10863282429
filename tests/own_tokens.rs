//! Group J: a token of our own is good in one spelling, in one place, and as long as it says; the rest is refused.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use aws_lc_rs::hmac;
use serde_json::{Value, json};
use support::attack::{Site, Talk};
use support::{
    AUDIENCE, CLIENT, Gateway, ISSUER, KEY, SECRET, Upstream, bearer, get, post, tokens, toml,
};

fn request(method: &str, fields: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n")
}

/// 401 with this `error_description`, and nothing at the upstream.
fn assert_invalid(talk: &Talk, what: &str) {
    assert_eq!(talk.statuses(), [401], "{what}: {talk:?}");
    let challenge = talk.answers[0].field("www-authenticate").expect("a challenge");
    assert!(
        challenge.starts_with(
            "Bearer realm=\"tollgate\", error=\"invalid_token\", error_description=\""
        ),
        "{what}: {challenge}"
    );
    talk.assert_nothing_came(what);
}

/// A write with this token is refused; a read with it passes as if there were none.
fn assert_no_token(site: &Site, token: &str, what: &str) {
    assert_invalid(&site.talk(request("POST", &bearer(token))), what);
    let talk = site.talk(request("GET", &bearer(token)));
    let seen = talk.only(what);
    assert_eq!(seen.field("authorization"), None, "{what}");
    assert_eq!(seen.field("x-auth-client"), None, "{what}");
}

// J.46
#[test]
fn the_scheme_and_the_field_are_read_in_any_case() {
    let site = Site::new();
    let token = tokens::good(&site.gateway);
    for line in [
        format!("Authorization: Bearer {token}"),
        format!("authorization: bearer {token}"),
        format!("AUTHORIZATION:BEARER {token}"),
        format!("aUTHORIZATION:   bEARER   {token}   "),
    ] {
        for method in ["POST", "PUT", "PATCH", "DELETE", "FOO"] {
            let talk = site.talk(request(method, &format!("{line}\r\n")));
            let seen = talk.only(&line);
            assert_eq!(seen.line, format!("{method} /x HTTP/1.1"));
            assert_eq!(seen.field("x-auth-client").as_deref(), Some(CLIENT));
            assert_eq!(
                seen.field("authorization").as_deref().map(|value| value.ends_with(&token)),
                Some(true)
            );
        }
    }
}

// J.47
#[test]
fn anything_but_bearer_and_one_token_is_refused() {
    let site = Site::new();
    let token = tokens::good(&site.gateway);
    for (value, status) in [
        (format!("Bearer\t{token}"), 400),
        (format!("Bearer \t{token}"), 400),
        (format!("Bearer:{token}"), 400),
        (format!("Bearer,{token}"), 400),
        (format!("Bearer={token}"), 400),
        (format!("Bearer {token},"), 400),
        (format!("Bearer {token}, Bearer x"), 400),
        (format!("Bearer x, Bearer {token}"), 400),
        (format!("Bearer {token}, Basic eDp5"), 400),
        (format!("Basic eDp5, Bearer {token}"), 401),
        (format!("Bearer \"{token}\""), 400),
        (format!("Bearer <{token}>"), 400),
        (format!("Bearer '{token}'"), 400),
        (format!("Bearer token={token}"), 400),
        (format!("Bearer token=\"{token}\""), 400),
        (format!("Bearer realm=x {token}"), 400),
        (format!("Bearer {token};a=b"), 400),
        (format!("Bearer {token} {token}"), 400),
        (format!("Bearer Bearer {token}"), 400),
        (format!("Bearer%20{token}"), 401),
        (format!("Bearer {token}%00"), 400),
        (format!("Bearer %20{token}"), 400),
        (format!("Ｂearer {token}"), 400),
        (format!("\u{200b}Bearer {token}"), 400),
        (format!("Bearer \u{200b}{token}"), 400),
        (format!("Bearer {token}\u{200b}"), 400),
        ("Bearer".to_owned(), 400),
        ("Bearer  ".to_owned(), 400),
        (String::new(), 400),
        (token.clone(), 401),
        (format!("Token {token}"), 401),
        (format!("JWT {token}"), 401),
        (format!("DPoP {token}"), 401),
        (format!("Digest {token}"), 401),
        (format!("Bearerx {token}"), 401),
        (format!("Basic {token}"), 401),
        (format!("Negotiate {token}"), 401),
        (format!("Bearer {token}\0"), 400),
    ] {
        let talk = site.talk(request("POST", &format!("Authorization: {value}\r\n")));
        talk.assert_refused(status, &format!("{value:?}"));
        let challenge = talk.answers[0].field("www-authenticate");
        if status == 401 {
            assert_eq!(challenge.as_deref(), Some("Bearer realm=\"tollgate\""), "{value:?}");
        } else if !value.contains('\0') {
            assert!(challenge.unwrap().contains("error=\"invalid_request\""), "{value:?}");
        }
    }
}

// J.48
#[test]
fn two_authorization_fields_are_refused_in_every_order() {
    let site = Site::new();
    let token = tokens::good(&site.gateway);
    let good = format!("Bearer {token}");
    for (first, second) in [
        (good.as_str(), "Bearer a.b.c"),
        ("Bearer a.b.c", good.as_str()),
        (good.as_str(), good.as_str()),
        ("Basic eDp5", good.as_str()),
        (good.as_str(), "Basic eDp5"),
        ("", good.as_str()),
        (good.as_str(), ""),
        ("Bearer", good.as_str()),
        (good.as_str(), "Bearer"),
    ] {
        for between in ["", "X-Between: 1\r\n"] {
            let fields = format!("Authorization: {first}\r\n{between}authorization: {second}\r\n");
            let talk = site.talk(request("POST", &fields));
            talk.assert_refused(400, &fields);
            assert!(
                talk.answers[0]
                    .field("www-authenticate")
                    .unwrap()
                    .contains("error=\"invalid_request\"")
            );
            // on a read neither counts, and neither goes on
            let talk = site.talk(request("GET", &fields));
            let seen = talk.only(&fields);
            assert_eq!(
                (seen.field("authorization"), seen.field("x-auth-client")),
                (None, None),
                "{fields}"
            );
        }
    }
}

// J.49
#[test]
fn a_token_in_any_other_place_is_none() {
    let site = Site::new();
    let token = tokens::good(&site.gateway);
    for fields in [
        format!("Cookie: access_token={token}; Authorization=Bearer {token}\r\n"),
        format!("Proxy-Authorization: Bearer {token}\r\n"),
        format!("X-Authorization: Bearer {token}\r\n"),
        format!("X-Forwarded-Authorization: Bearer {token}\r\n"),
        format!("X-Original-Authorization: Bearer {token}\r\n"),
        format!("Authorization_: Bearer {token}\r\n"),
        format!("Authorization.: Bearer {token}\r\n"),
        format!("X-Access-Token: {token}\r\n"),
        format!("Sec-WebSocket-Protocol: bearer, {token}\r\n"),
        format!("Token: {token}\r\nAccess-Token: {token}\r\n"),
    ] {
        site.talk(request("POST", &fields)).assert_refused(401, &fields);
    }
    let query = format!("/x?access_token={token}&token={token}&Authorization=Bearer+{token}");
    site.talk(post(&query, "", b"")).assert_refused(401, "query");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    site.talk(post("/x", form, format!("access_token={token}").as_bytes()))
        .assert_refused(401, "form");
    let trailer = format!("3\r\nabc\r\n0\r\nAuthorization: Bearer {token}\r\n\r\n");
    let talk = site.talk(format!("{}{trailer}", request("POST", "Transfer-Encoding: chunked\r\n")));
    talk.assert_refused(401, "trailer");
    // as part of the authority
    let talk = site
        .talk(format!("POST http://Bearer:{token}@api.test/x HTTP/1.1\r\nHost: api.test\r\n\r\n"));
    talk.assert_refused(400, "userinfo");
}

// J.1 to J.10, J.18 to J.25, J.42, J.43: one of each over a socket; the tables are beside the code
#[test]
fn tokens_that_were_not_signed_by_us_for_this_are_refused() {
    let site = Site::new();
    let good = tokens::good(&site.gateway);
    let claims = tokens::claims(&site.gateway).to_string();
    let (text, signature) = good.rsplit_once('.').unwrap();
    let header = |header: &str| tokens::signed(header, &claims, KEY.as_bytes());
    let unsigned = |header: &str| {
        format!("{}.{}", tokens::encoded(header.as_bytes()), tokens::encoded(claims.as_bytes()))
    };
    let mut spare: Vec<u8> = good.clone().into_bytes();
    let last = spare.len() - 1;
    // 32 bytes leave two spare bits in the last character
    spare[last] = match spare[last] {
        b'Z' => b'a',
        b'z' => b'0',
        b'9' => b'-',
        b'_' => b'-',
        b'-' => b'_',
        other => other + 1,
    };
    let flipped = {
        let mut bytes = signature.to_owned().into_bytes();
        bytes[0] = if bytes[0] == b'A' { b'B' } else { b'A' };
        format!("{text}.{}", String::from_utf8(bytes).unwrap())
    };
    let mut refused = vec![
        ("alg none, no signature part", unsigned(r#"{"alg":"none"}"#)),
        ("alg none, empty signature", format!("{}.", unsigned(r#"{"alg":"none","typ":"at+jwt"}"#))),
        ("alg None", format!("{}.", unsigned(r#"{"alg":"None"}"#))),
        ("alg nOnE, signed", header(r#"{"alg":"nOnE","typ":"at+jwt"}"#)),
        ("alg none, signed", header(r#"{"alg":"none","typ":"at+jwt"}"#)),
        ("HS256 with an empty signature", format!("{text}.")),
        ("no signature part", text.to_owned()),
        (
            "HS384 with the HS256 key",
            tokens::mac(
                hmac::HMAC_SHA384,
                r#"{"alg":"HS384","typ":"at+jwt"}"#,
                &claims,
                KEY.as_bytes(),
            ),
        ),
        (
            "HS512 with the HS256 key",
            tokens::mac(
                hmac::HMAC_SHA512,
                r#"{"alg":"HS512","typ":"at+jwt"}"#,
                &claims,
                KEY.as_bytes(),
            ),
        ),
        ("a flipped signature", flipped),
        ("a short signature", good[..good.len() - 2].to_owned()),
        ("a long signature", format!("{good}AA")),
        ("spare bits", String::from_utf8(spare).unwrap()),
        ("padding", format!("{good}=")),
        ("another part", format!("{good}.e30")),
        ("five parts", format!("{good}.e30.e30")),
        (
            "the signature of another token",
            format!("{text}.{}", tokens::made(&json!({})).rsplit_once('.').unwrap().1),
        ),
        (
            "an encrypted token",
            "eyJhbGciOiJkaXIiLCJlbmMiOiJBMTI4R0NNIn0..AAAA.AAAA.AAAA".to_owned(),
        ),
        ("words", "opaque-reference-token".to_owned()),
        ("three words", "a.b.c".to_owned()),
        ("dots", "..".to_owned()),
        ("60 kB of signature", format!("{text}.{}", "A".repeat(20_000))),
    ];
    for alg in ["hs256", "HS256 ", "RS256", "ES256", "PS256", "EdDSA", "HS1", "", "HMAC-SHA256"] {
        refused
            .push(("another label", header(&json!({ "alg": alg, "typ": "at+jwt" }).to_string())));
    }
    for text in [
        r#"{"typ":"at+jwt"}"#,
        r#"{"alg":null}"#,
        r#"{"alg":0}"#,
        r#"{"alg":["HS256"]}"#,
        r#"{"alg":"none","alg":"HS256"}"#,
        r#"{"alg":"HS256","crit":["exp"]}"#,
        r#"{"alg":"HS256","crit":[]}"#,
        r#"{"alg":"HS256","b64":false,"crit":["b64"]}"#,
        r#"{"alg":"HS256","typ":"logout+jwt"}"#,
        r#"{"alg":"HS256","typ":"dpop+jwt"}"#,
        r#"{"alg":"HS256","typ":1}"#,
        r#"{"alg":"HS256","typ":"token-introspection+jwt"}"#,
        r#"{"alg":"HS256","kid":7}"#,
        "[]",
        "null",
        "",
        "{",
        r#"{"alg":"HS256"}{}"#,
    ] {
        refused.push(("another header", header(text)));
    }
    for key in [
        &b""[..],
        b"secret",
        b"changeme",
        &[0; 32],
        SECRET.as_bytes(),
        CLIENT.as_bytes(),
        ISSUER.as_bytes(),
    ] {
        let token = tokens::signed(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims, key);
        refused.push(("another key", token));
    }
    for (what, token) in refused {
        if token.len() < 20_000 {
            assert_no_token(&site, &token, what);
        } else {
            let talk = site.talk(request("POST", &bearer(&token)));
            talk.assert_nothing_came(what);
            assert_eq!(talk.statuses(), [401], "{what}");
        }
    }
}

// J.3
#[test]
fn hs256_keyed_with_the_public_key_is_refused() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/");
    for (algorithm, key, public) in [
        ("RS256", "rsa-2048.pkcs8.pem", "rsa-2048.public.pem"),
        ("PS256", "rsa-2048.pkcs8.pem", "rsa-2048.public.pem"),
        ("ES256", "p256.pkcs8.pem", "p256.public.pem"),
        ("EdDSA", "ed25519.pkcs8.pem", "ed25519.public.pem"),
    ] {
        let upstream = Upstream::start();
        let text = toml(&format!("http://{}", upstream.address), "", "", "").replace(
            &format!("key = \"{KEY}\""),
            &format!("algorithm = \"{algorithm}\"\nkey_file = \"{folder}{key}\"\nkey_id = \"k1\""),
        );
        let site = Site::of(upstream, Gateway::from_toml(&text));
        let pem = std::fs::read_to_string(format!("{folder}{public}")).unwrap();
        let claims = tokens::claims(&site.gateway).to_string();
        for key in [pem.clone(), pem.trim_end().to_owned(), pem.replace('\n', "\r\n")] {
            for header in [
                r#"{"alg":"HS256","typ":"at+jwt"}"#.to_owned(),
                r#"{"alg":"HS256","typ":"at+jwt","kid":"k1"}"#.to_owned(),
                format!("{{\"alg\":\"{algorithm}\",\"typ\":\"at+jwt\",\"kid\":\"k1\"}}"),
            ] {
                assert_no_token(&site, &tokens::signed(&header, &claims, key.as_bytes()), &header);
            }
        }
        // and what it issues itself is good
        let token = site.gateway.token();
        assert_eq!(site.talk(request("POST", &bearer(&token))).statuses(), [200], "{algorithm}");
    }
}

// J.15
#[test]
fn a_token_names_the_key_that_signed_it() {
    let upstream = Upstream::start();
    let old = "an old key, of more than thirty-two bytes in all";
    let keys = format!(
        "key = \"{KEY}\"\nkey_id = \"new\"\nprevious_keys = [{{ key = \"{old}\", algorithm = \"HS256\", key_id = \"old\" }}]"
    );
    let text = toml(&format!("http://{}", upstream.address), "", "", "")
        .replace(&format!("key = \"{KEY}\""), &keys);
    let site = Site::of(upstream, Gateway::from_toml(&text));
    let claims = tokens::claims(&site.gateway).to_string();
    let token = |kid: Value, key: &str| {
        let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": kid }).to_string();
        tokens::signed(&header, &claims, key.as_bytes())
    };
    for (kid, key) in [("new", KEY), ("old", old)] {
        assert_eq!(
            site.talk(request("POST", &bearer(&token(json!(kid), key)))).statuses(),
            [200],
            "{kid}"
        );
    }
    for (kid, key) in [
        (json!("new"), old),
        (json!("old"), KEY),
        (json!("unknown"), KEY),
        (json!(""), KEY),
        (json!("NEW"), KEY),
        (json!("../../dev/null"), ""),
        (json!("http://127.0.0.1/key"), KEY),
        (json!(["new"]), KEY),
        (json!(null), KEY),
        (json!("new' OR 1=1"), KEY),
    ] {
        assert_no_token(&site, &token(kid.clone(), key), &format!("{kid}"));
    }
}

// J.27 to J.40
#[test]
fn claims_that_are_missing_wrong_or_of_another_type_are_refused() {
    let site = Site::new();
    let now = site.gateway.clock.unix_seconds();
    for (name, value) in [
        ("exp", Value::Null),
        ("exp", json!("9999999999")),
        ("exp", json!(now - 61)),
        ("exp", json!(0)),
        ("exp", json!(-1)),
        ("exp", json!(-1e300)),
        ("exp", json!([now + 60])),
        ("exp", json!(true)),
        ("exp", json!({})),
        ("exp", json!(1e300)),
        ("nbf", json!(now + 120)),
        ("nbf", json!("now")),
        ("nbf", json!(u64::MAX)),
        ("nbf", json!([])),
        ("iat", json!(now + 86_400)),
        ("iat", json!("now")),
        ("iss", Value::Null),
        ("iss", json!("")),
        ("iss", json!([ISSUER])),
        ("iss", json!(format!("{ISSUER}/"))),
        ("iss", json!(ISSUER.to_uppercase())),
        ("iss", json!(1)),
        ("iss", json!({})),
        ("aud", Value::Null),
        ("aud", json!("")),
        ("aud", json!([])),
        ("aud", json!(["a"])),
        ("aud", json!(1)),
        ("aud", json!({})),
        ("aud", json!(format!("{AUDIENCE}/"))),
        ("aud", json!(AUDIENCE.to_uppercase())),
        ("aud", json!(format!("x {AUDIENCE}"))),
        ("aud", json!([[AUDIENCE]])),
        ("aud", json!("*")),
        ("aud", json!("https://")),
        ("aud", json!([1, AUDIENCE])),
        ("client_id", json!("stranger")),
        ("client_id", json!("")),
        ("client_id", json!(["foobarbaz"])),
        ("client_id", json!(1)),
        ("client_id", json!("Foobarbaz")),
        ("client_id", json!("foobarbaz ")),
        ("scope", json!("api:write\nX-Evil: 1")),
        ("scope", json!(1)),
        ("scope", json!({})),
        ("scope", json!(["a b"])),
    ] {
        assert_no_token(
            &site,
            &tokens::with(&site.gateway, name, value.clone()),
            &format!("{name}: {value}"),
        );
    }
    for (name, value) in [
        ("aud", json!([AUDIENCE])),
        ("aud", json!(["other", AUDIENCE])),
        ("nbf", Value::Null),
        ("iat", Value::Null),
        ("exp", json!(now as f64 + 60.5)),
        ("exp", json!(1u64 << 53)),
        ("exp", json!(9.9e9)),
        ("jti", Value::Null),
        ("client_id", Value::Null),
        ("exp", json!(now - 30)),
        ("nbf", json!(now + 30)),
        ("scope", Value::Null),
        ("scope", json!(["api:write", "api:read"])),
    ] {
        let token = tokens::with(&site.gateway, name, value.clone());
        let talk = site.talk(request("POST", &bearer(&token)));
        assert_eq!(
            talk.only(&format!("{name}: {value}")).field("x-auth-client").as_deref(),
            Some(CLIENT)
        );
    }
    // duplicate members, other shapes, deep ones
    let good = tokens::claims(&site.gateway).to_string();
    let twice = good.replacen('{', &format!("{{\"exp\":{},", now + 60), 1);
    let deep =
        good.replacen('{', &format!("{{\"x\":{}{},", "[".repeat(2_000), "]".repeat(2_000)), 1);
    let open = good.replacen('{', &format!("{{\"x\":{},", "[".repeat(3_000)), 1);
    let many: String = (0..300).map(|at| format!("\"x{at}\":{at},")).collect();
    let other_shapes = [
        twice,
        deep,
        open,
        "[]".to_owned(),
        "null".to_owned(),
        "\"x\"".to_owned(),
        "1".to_owned(),
        String::new(),
        format!("{good}{good}"),
        format!("{good}x"),
        format!("\u{feff}{good}"),
        good[..good.len() - 1].to_owned(),
        good.replacen('{', "{\"x\":NaN,", 1),
        good.replacen('{', "{\"x\":\"\0\",", 1),
        good.replacen(&format!("\"{CLIENT}\""), "\"\\ud800\"", 1),
    ];
    for claims in other_shapes {
        let token = tokens::signed(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims, KEY.as_bytes());
        assert_no_token(&site, &token, &claims.chars().take(60).collect::<String>());
    }
    let claims = good.replacen('{', &format!("{{{many}"), 1);
    let token = tokens::signed(r#"{"alg":"HS256","typ":"at+jwt"}"#, &claims, KEY.as_bytes());
    assert_eq!(site.talk(request("POST", &bearer(&token))).statuses(), [200], "300 claims");
}

// J.41
#[test]
fn a_claim_never_becomes_a_header_of_its_own() {
    let site = Site::new();
    for name in ["sub", "scope"] {
        for value in [
            json!("a\r\nX-Evil: 1"),
            json!("a\nX-Evil: 1"),
            json!("a\0b"),
            json!("a\tb"),
            json!("a\u{7f}b"),
            json!("\u{1f980}"),
            json!("ÿ"),
            json!("x".repeat(3_000)),
            json!(""),
            json!([]),
            json!({}),
            json!(" "),
            json!("\r\n\r\nGET / HTTP/1.1"),
            json!(["a\r\nX-Evil: 1"]),
            json!(1),
            json!(true),
        ] {
            let what =
                format!("{name}: {}", value.to_string().chars().take(60).collect::<String>());
            let token = tokens::with(&site.gateway, name, value);
            let talk = site.talk(request("POST", &bearer(&token)));
            assert!(talk.seen.len() <= 1, "{what}");
            for seen in &talk.seen {
                assert_eq!(seen.field("x-evil"), None, "{what}");
                assert_eq!(seen.field("x-auth-client").as_deref(), Some(CLIENT), "{what}");
                for (field, value) in
                    seen.fields.iter().filter(|(field, _)| field.starts_with("x-auth-"))
                {
                    assert!(!value.is_empty(), "{what}: an empty {field}");
                }
            }
            assert!(matches!(talk.statuses()[..], [200 | 401]), "{what}: {:?}", talk.statuses());
        }
    }
}

// J.28: and the cache does not keep a token alive (also §1, 6750)
#[test]
fn a_token_that_was_good_is_refused_once_it_has_expired() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    let write = post("/x", &token, b"x");
    // on one connection, so on one worker, whose cache has it from the first request on
    let mut client = site.gateway.connect();
    for _ in 0..5 {
        client.send(&write);
        assert_eq!(client.answer().status, 200);
    }
    site.gateway.clock.advance(3_600 + 59);
    client.send(&write);
    assert_eq!(client.answer().status, 200, "within the leeway");
    site.gateway.clock.advance(2);
    client.send(&write);
    let answer = client.answer();
    assert_eq!(answer.status, 401);
    assert!(answer.field("www-authenticate").unwrap().contains("the token has expired"));
    drop(client);
    assert_eq!(site.look().len(), 6);
    for _ in 0..8 {
        assert_invalid(&site.talk(&write), "expired, on any worker");
    }
    site.gateway.clock.advance(-3_600);
    assert_eq!(site.talk(&write).statuses(), [200], "the clock was set back");
    // to before it was issued
    site.gateway.clock.advance(-3_600);
    assert_invalid(&site.talk(&write), "not yet valid");
}

// §2.1: GET is open; interface §4
#[test]
fn an_open_request_with_a_token_has_an_identity_and_with_a_bad_one_has_none() {
    let site = Site::new();
    let good = tokens::good(&site.gateway);
    for method in ["GET", "OPTIONS"] {
        let talk = site.talk(request(method, &bearer(&good)));
        let seen = talk.only(method);
        assert_eq!(seen.field("x-auth-subject").as_deref(), Some(CLIENT));
        assert_eq!(seen.field("x-auth-scope").as_deref(), Some("api:write"));
        assert_eq!(seen.field("x-auth-issuer").as_deref(), Some(ISSUER));
        assert_eq!(seen.field("authorization"), Some(format!("Bearer {good}")));
        for value in ["Bearer a.b.c", "Bearer", "", "Bearer a b", "Bearer\ta"] {
            let talk = site.talk(request(method, &format!("Authorization: {value}\r\n")));
            let seen = talk.only(value);
            assert_eq!(
                (seen.field("authorization"), seen.field("x-auth-subject")),
                (None, None),
                "{value:?}"
            );
        }
        for value in
            ["Basic eDp5", "ApiKey abc", "Digest username=\"x\"", "AWS4-HMAC-SHA256 Credential=x"]
        {
            let talk = site.talk(request(method, &format!("Authorization: {value}\r\n")));
            let seen = talk.only(value);
            assert_eq!(
                seen.field("authorization").as_deref(),
                Some(value),
                "another scheme passes untouched"
            );
            assert_eq!(seen.field("x-auth-subject"), None);
        }
    }
}

// interface §2: authorization = "remove"
#[test]
fn a_token_can_be_kept_from_the_upstream() {
    let upstream = Upstream::start();
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::from_toml(&toml(&url, "", "", "[identity]\nauthorization = \"remove\""));
    let site = Site::of(upstream, gateway);
    let token = bearer(&tokens::good(&site.gateway));
    for method in ["GET", "POST"] {
        let talk = site.talk(request(method, &token));
        let seen = talk.only(method);
        assert_eq!(seen.field("authorization"), None);
        assert_eq!(seen.field("x-auth-client").as_deref(), Some(CLIENT));
    }
    let talk = site.talk(request("GET", "Authorization: Basic eDp5\r\n"));
    assert_eq!(talk.only("Basic").field("authorization").as_deref(), Some("Basic eDp5"));
}

// interface §4: a token must name a live client
#[test]
fn tokens_of_removed_and_disabled_clients_are_refused() {
    let upstream = Upstream::start();
    let url = format!("http://{}", upstream.address);
    let clients = "[[clients]]\nid = \"retired\"\nsecret = \"a secret of the retired client, long\"\ndisabled = true\n";
    let site = Site::of(upstream, Gateway::from_toml(&toml(&url, "", "", clients)));
    for id in ["retired", "never-was", "FOOBARBAZ", "foobarbaz\u{0}"] {
        let mut claims = tokens::claims(&site.gateway);
        (claims["client_id"], claims["sub"]) = (json!(id), json!(id));
        assert_no_token(&site, &tokens::made(&claims), id);
        claims.as_object_mut().unwrap().remove("client_id");
        assert_no_token(&site, &tokens::made(&claims), id);
    }
}

#[test]
fn without_a_token_table_no_token_is_good() {
    let upstream = Upstream::start();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\n[upstream]\nurl = \"http://{}\"\n",
        upstream.address
    );
    let site = Site::of(upstream, Gateway::from_toml(&text));
    site.talk(post("/auth/token", "", b"")).assert_refused(401, "no token service");
    site.talk(request("POST", &bearer(&tokens::good(&site.gateway))))
        .assert_refused(401, "no issuer");
    assert_eq!(site.talk(get("/x")).statuses(), [200]);
}

// J.49, RFC 6750 §2
#[test]
fn a_token_in_the_query_beside_the_one_in_the_header_is_400() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let token = gateway.token();
    let both = post(&format!("/x?access_token={token}"), &bearer(&token), b"");
    let answer = gateway.ask(both);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.field("www-authenticate").unwrap().contains("error=\"invalid_request\""));
    assert!(upstream.seen().is_empty());
    assert_eq!(
        gateway.ask(get(&format!("/x?access_token={token}"))).status,
        200,
        "its own, on an open request"
    );
}
