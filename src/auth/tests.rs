//! The attacks of group J that need no network, by their numbers, and what must be let in.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
use http::header::{AUTHORIZATION, HeaderValue};
use jsonwebtoken::{DecodingKey, Validation};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Asking, Authentication, Authenticator, Check, Claim, Denied, Judged};
use crate::config::Settings;
use crate::keys::{Algorithm, KeyRing, SigningKey, VerifyingKey, generate};
use crate::message::Fields;
use crate::secret::Secret;
use crate::testing::{AUDIENCE, CLIENT, ISSUER, KEY, client, settings, settings_with};

const NOW: u64 = 2_000_000_000;

fn claims() -> Value {
    json!({
        "iss": ISSUER, "sub": CLIENT, "client_id": CLIENT, "aud": AUDIENCE, "scope": "api:write",
        "iat": NOW, "nbf": NOW, "exp": NOW + 3600, "jti": "a",
    })
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn part(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A token with exactly this header and payload and a right HS256 signature.
fn signed(header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY[..32]);
    signed_by(&key, header, payload)
}

fn signed_by(key: &hmac::Key, header: impl AsRef<[u8]>, payload: impl AsRef<[u8]>) -> String {
    let message = format!("{}.{}", part(header), part(payload));
    format!("{message}.{}", part(hmac::sign(key, message.as_bytes())))
}

fn token(claims: &Value) -> String {
    signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, claims.to_string())
}

fn token_with_header(header: &Value) -> String {
    signed(header.to_string(), claims().to_string())
}

/// The verdict on a request with these headers, which waits for nobody.
fn authenticate(
    authenticator: &Authenticator,
    headers: &Fields,
    now: u64,
) -> Result<Authentication, Denied> {
    let method = http::Method::POST;
    match authenticator.authenticate(
        &Asking { method: &method, host: None, path: "/", headers, client: None },
        now,
    ) {
        Judged::Now(judged) => judged,
        Judged::Later(pending) => panic!("waits: {pending:?}"),
    }
}

fn judge(settings: &Settings, token: &str) -> Result<super::Caller, Denied> {
    Authenticator::new(settings).explain(token, NOW, &mut ())
}

/// Why our own small configuration refuses `token`; `None` if it does not.
fn refusal(token: &str) -> Option<Denied> {
    judge(&settings(), token).err()
}

fn refusal_of(claims: &Value) -> Option<Denied> {
    refusal(&token(claims))
}

fn refusal_of_header(header: Value) -> Option<Denied> {
    refusal(&token_with_header(&header))
}

fn pem_key(algorithm: Algorithm) -> (SigningKey, String) {
    let pem = generate(algorithm).unwrap().text.expose().clone();
    (SigningKey::from_pem(algorithm, pem.as_bytes(), Some("k".to_owned())).unwrap(), pem)
}

#[test]
fn a_token_of_ours_is_accepted_and_says_who_it_is() {
    let caller = judge(&settings(), &token(&claims())).unwrap();
    assert_eq!(caller.principal.client_id.as_deref(), Some(CLIENT));
    assert_eq!(caller.principal.expires_at, NOW + 3600);
    assert!(caller.principal.scopes.contains("api:write"));
    let identity: Vec<_> =
        caller.identity(0).unwrap().iter().map(|(name, value)| (name.as_str(), value)).collect();
    assert_eq!(
        identity,
        [
            ("x-auth-subject", &HeaderValue::from_static(CLIENT)),
            ("x-auth-client", &HeaderValue::from_static(CLIENT)),
            ("x-auth-scope", &HeaderValue::from_static("api:write")),
            ("x-auth-issuer", &HeaderValue::from_static(ISSUER)),
        ]
    );
}

#[test]
fn a_token_that_passes_passes_every_check_in_order() {
    let mut seen = Vec::new();
    Authenticator::new(&settings()).explain(&token(&claims()), NOW, &mut seen).unwrap();
    // revocations are known to a gateway that runs
    let known = Check::ALL.into_iter().filter(|check| *check != Check::Revocation);
    assert_eq!(seen, known.collect::<Vec<_>>());
}

#[test]
fn a_refusal_names_the_check_after_the_last_one_passed() {
    for (claims, denied) in [
        (with("exp", json!(NOW - 61)), Denied::Expired),
        (with("aud", json!("x")), Denied::WrongAudience),
        (with("iss", json!("x")), Denied::UnknownIssuer),
        (with("client_id", json!("x")), Denied::UnknownClient),
    ] {
        let mut seen = Vec::new();
        let result = Authenticator::new(&settings()).explain(&token(&claims), NOW, &mut seen);
        assert_eq!(result.err(), Some(denied));
        assert_eq!(denied.check(), Some(Check::ALL[seen.len()]));
    }
}

#[test]
fn every_asymmetric_algorithm_is_accepted_by_its_own_key() {
    for algorithm in
        [Algorithm::RS256, Algorithm::PS384, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA]
    {
        let (key, _) = pem_key(algorithm);
        let token = key.sign("at+jwt", &claims()).unwrap();
        let settings = settings_with(KeyRing::new(key, Vec::new()).unwrap());
        assert!(judge(&settings, &token).is_ok(), "{algorithm:?}");
    }
}

#[test]
fn a_key_without_a_kid_accepts_a_token_with_one() {
    assert_eq!(refusal_of_header(json!({"typ": "JWT", "alg": "HS256", "kid": "hs"})), None);
}

#[test]
fn without_a_token_service_no_token_is_valid() {
    let mut settings = settings();
    settings.token = None;
    assert_eq!(judge(&settings, &token(&claims())).err(), Some(Denied::NoIssuer));
}

#[test]
fn j1_alg_none_is_refused_in_every_spelling_with_and_without_a_signature() {
    for alg in [
        json!("none"),
        json!("None"),
        json!("nOnE"),
        json!(""),
        json!(null),
        json!(0),
        json!(["none"]),
    ] {
        let token = token_with_header(&json!({"typ": "at+jwt", "alg": alg}));
        assert!(refusal(&token).is_some());
        let (message, _) = token.rsplit_once('.').unwrap();
        assert!(refusal(&format!("{message}.")).is_some());
        assert!(refusal(message).is_some());
    }
    assert_eq!(refusal_of_header(json!({"typ": "at+jwt"})), Some(Denied::BadHeader));
}

#[test]
fn j3_hmac_token_keyed_with_the_public_key_is_refused() {
    for algorithm in [Algorithm::RS256, Algorithm::ES256] {
        let (key, pem) = pem_key(algorithm);
        let der = STANDARD
            .decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>())
            .unwrap();
        let settings = settings_with(KeyRing::new(key, Vec::new()).unwrap());
        let public = include_bytes!("../../tests/fixtures/keys/rsa-2048.public.pem");
        let crlf = pem.replace('\n', "\r\n");
        let guesses: [&[u8]; 6] = [
            pem.as_bytes(),
            pem.trim_end().as_bytes(),
            crlf.as_bytes(),
            &der,
            STANDARD.encode(&der).as_bytes().to_vec().leak(),
            public,
        ];
        for (alg, scheme) in [
            ("HS256", hmac::HMAC_SHA256),
            ("HS384", hmac::HMAC_SHA384),
            ("HS512", hmac::HMAC_SHA512),
        ] {
            for guess in guesses {
                let header = json!({"typ": "at+jwt", "alg": alg, "kid": "k"}).to_string();
                let token = signed_by(&hmac::Key::new(scheme, guess), header, claims().to_string());
                assert_eq!(judge(&settings, &token).err(), Some(Denied::WrongAlgorithm));
            }
        }
    }
}

#[test]
fn j4_token_of_another_hmac_algorithm_with_the_same_key_is_refused() {
    for (alg, scheme) in [("HS384", hmac::HMAC_SHA384), ("HS512", hmac::HMAC_SHA512)] {
        let header = json!({"typ": "at+jwt", "alg": alg}).to_string();
        let token = signed_by(&hmac::Key::new(scheme, &KEY[..32]), header, claims().to_string());
        assert_eq!(refusal(&token), Some(Denied::WrongAlgorithm));
    }
}

#[test]
fn j5_changed_algorithm_label_over_a_right_mac_is_refused() {
    for alg in [
        json!("hs256"),
        json!("HS256 "),
        json!(" HS256"),
        json!("RS256"),
        json!("ES256K"),
        json!("HS1"),
        json!(""),
        json!(["HS256"]),
        json!(256),
    ] {
        assert!(refusal_of_header(json!({"typ": "at+jwt", "alg": alg})).is_some(), "{alg}");
    }
}

#[test]
fn j6_rs256_key_does_not_verify_ps256_and_the_reverse() {
    let pem = generate(Algorithm::RS256).unwrap().text.expose().clone();
    let key =
        |algorithm| SigningKey::from_pem(algorithm, pem.as_bytes(), Some("k".to_owned())).unwrap();
    for (ours, theirs) in [
        (Algorithm::RS256, Algorithm::PS256),
        (Algorithm::PS256, Algorithm::RS256),
        (Algorithm::RS256, Algorithm::RS512),
    ] {
        let token = key(theirs).sign("at+jwt", &claims()).unwrap();
        let settings = settings_with(KeyRing::new(key(ours), Vec::new()).unwrap());
        assert_eq!(judge(&settings, &token).err(), Some(Denied::WrongAlgorithm));
    }
}

#[test]
fn j6_es256_label_on_a_token_of_a_p384_key_is_refused() {
    let (key, _) = pem_key(Algorithm::ES384);
    let token = key.sign("at+jwt", &claims()).unwrap();
    let (_, rest) = token.split_once('.').unwrap();
    let relabelled = format!("{}.{rest}", part(r#"{"typ":"at+jwt","alg":"ES256","kid":"k"}"#));
    let settings = settings_with(KeyRing::new(key, Vec::new()).unwrap());
    assert_eq!(judge(&settings, &relabelled).err(), Some(Denied::WrongAlgorithm));
}

#[test]
fn j7_forged_ecdsa_signatures_are_refused() {
    let (key, _) = pem_key(Algorithm::ES256);
    let token = key.sign("at+jwt", &claims()).unwrap();
    let settings = settings_with(KeyRing::new(key, Vec::new()).unwrap());
    let (message, right) = token.rsplit_once('.').unwrap();
    let right = URL_SAFE_NO_PAD.decode(right).unwrap();
    let order = [
        0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xBC,
        0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
    ];
    let mut one = [0; 64];
    (one[31], one[63]) = (1, 1);
    let der = [&[0x30, 0x44, 2, 0x20][..], &right[..32], &[2, 0x20], &right[32..]].concat();
    let forged: [&[u8]; 7] = [
        &[0; 64],
        &[order, order].concat(),
        &one,
        &der,
        &right[..63],
        &[&right[..], &[0]].concat(),
        &[0; 65],
    ];
    for signature in forged {
        let token = format!("{message}.{}", part(signature));
        assert_eq!(judge(&settings, &token).err(), Some(Denied::BadSignature));
    }
}

#[test]
fn j9_empty_signature_is_refused_for_every_algorithm() {
    for alg in [
        "none", "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
        "ES256", "ES384", "EdDSA",
    ] {
        let header = part(json!({"typ": "at+jwt", "alg": alg}).to_string());
        assert_eq!(
            refusal(&format!("{header}.{}.", part(claims().to_string()))),
            Some(Denied::NotAJwt)
        );
    }
}

#[test]
fn j11_j12_keys_and_key_urls_in_the_header_are_never_used() {
    let (attacker, _) = pem_key(Algorithm::RS256);
    let header = json!({"typ": "at+jwt", "alg": "RS256", "jku": "http://127.0.0.1:1/", "x5u": "http://127.0.0.1:1/",
        "jwk": {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "kid": "http://127.0.0.1:1/"});
    let claims = attacker.sign("at+jwt", &claims()).unwrap();
    let (_, rest) = claims.split_once('.').unwrap();
    assert_eq!(
        refusal(&format!("{}.{rest}", part(header.to_string()))),
        Some(Denied::WrongAlgorithm)
    );
    // Over a right signature they are not looked at either.
    assert_eq!(
        refusal_of_header(
            json!({"typ": "at+jwt", "alg": "HS256", "jku": "http://127.0.0.1:1/", "x5t": "!"})
        ),
        None
    );
}

#[test]
fn j13_certificate_members_are_ignored_over_a_right_signature() {
    let header =
        json!({"typ": "at+jwt", "alg": "HS256", "x5c": ["!"], "x5t": "!", "x5t#S256": "!"});
    assert_eq!(refusal_of_header(header), None);
    let wrong = json!({"typ": "at+jwt", "alg": "HS256", "x5c": 5});
    assert_eq!(refusal_of_header(wrong), Some(Denied::BadHeader));
}

#[test]
fn j15_unknown_kid_is_refused_where_every_key_has_one() {
    let bytes = |fill: u8| Secret::new(KEY.iter().map(|byte| byte ^ fill).collect::<Vec<u8>>());
    let ours = SigningKey::from_secret(Algorithm::HS256, bytes(0), Some("a".to_owned())).unwrap();
    let other =
        VerifyingKey::from_secret(Algorithm::HS256, bytes(1), Some("b".to_owned())).unwrap();
    let settings = settings_with(KeyRing::new(ours, vec![other]).unwrap());
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY);
    let refusal = |header: Value| {
        judge(&settings, &signed_by(&key, header.to_string(), claims().to_string())).err()
    };
    assert_eq!(refusal(json!({"typ": "JWT", "alg": "HS256", "kid": "a"})), None);
    assert_eq!(
        refusal(json!({"typ": "JWT", "alg": "HS256", "kid": "b"})),
        Some(Denied::BadSignature)
    );
    assert_eq!(
        refusal(json!({"typ": "JWT", "alg": "HS256", "kid": "c"})),
        Some(Denied::UnknownKey)
    );
    assert_eq!(refusal(json!({"typ": "JWT", "alg": "HS256"})), Some(Denied::UnknownKey));
    for odd in [json!(1), json!(null), json!(["a"])] {
        assert_eq!(
            refusal(json!({"typ": "JWT", "alg": "HS256", "kid": odd})),
            Some(Denied::BadHeader)
        );
    }
}

#[test]
fn j18_j19_critical_and_b64_headers_are_refused() {
    for crit in
        [json!(["foo"]), json!([]), json!("exp"), json!(null), json!(["alg"]), json!(["absent"])]
    {
        let header = json!({"typ": "at+jwt", "alg": "HS256", "crit": crit});
        assert_eq!(refusal_of_header(header), Some(Denied::CriticalHeader));
    }
    for header in [
        json!({"typ": "at+jwt", "alg": "HS256", "b64": false, "crit": ["b64"]}),
        json!({"typ": "at+jwt", "alg": "HS256", "b64": false}),
        json!({"typ": "at+jwt", "alg": "HS256", "b64": true}),
    ] {
        assert_eq!(refusal_of_header(header), Some(Denied::CriticalHeader));
    }
}

#[test]
fn j21_five_part_jwe_is_refused_without_deriving_a_key() {
    let header =
        part(r#"{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483647,"p2s":"AA"}"#);
    assert_eq!(refusal(&format!("{header}.AA.AA.AA.AA")), Some(Denied::NotAJwt));
    assert_eq!(refusal(&format!("{header}.AA.AA")), Some(Denied::UnsupportedAlgorithm));
}

#[test]
fn j22_nested_token_is_refused() {
    let inner = token(&claims());
    let outer = signed(r#"{"typ":"at+jwt","alg":"HS256","cty":"JWT"}"#, inner);
    assert_eq!(refusal(&outer), Some(Denied::BadClaims));
}

#[test]
fn j23_tokens_of_other_types_are_refused() {
    for typ in [
        "logout+jwt",
        "secevent+jwt",
        "dpop+jwt",
        "token-introspection+jwt",
        "application/dpop+jwt",
        "at+jwt ",
        "",
        "application/",
        "x/at+jwt",
    ] {
        assert_eq!(
            refusal_of_header(json!({"typ": typ, "alg": "HS256"})),
            Some(Denied::WrongType),
            "{typ}"
        );
    }
}

#[test]
fn j24_typ_is_read_in_any_case_with_or_without_its_prefix() {
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/At+Jwt", "JWT", "jwt"] {
        assert_eq!(refusal_of_header(json!({"typ": typ, "alg": "HS256"})), None, "{typ}");
    }
    assert_eq!(refusal_of_header(json!({"alg": "HS256"})), None);
    for typ in [json!(1), json!(["at+jwt"]), json!(null)] {
        assert_eq!(refusal_of_header(json!({"typ": typ, "alg": "HS256"})), Some(Denied::BadHeader));
    }
}

#[test]
fn j25_id_token_is_refused_where_only_at_jwt_is_accepted() {
    let mut settings = settings();
    settings.token.as_mut().unwrap().types = vec![Some("at+jwt".to_owned())];
    for header in [json!({"typ": "JWT", "alg": "HS256"}), json!({"alg": "HS256"})] {
        assert_eq!(judge(&settings, &token_with_header(&header)).err(), Some(Denied::WrongType));
    }
    assert!(judge(&settings, &token(&claims())).is_ok());
}

#[test]
fn j27_odd_expiries_neither_overflow_nor_panic() {
    for exp in [
        "2000000000.5",
        "9.9e9",
        "9007199254740992",
        "9223372036854775808",
        "18446744073709551615",
        "2000000000000",
    ] {
        let payload = claims().to_string().replace(&(NOW + 3600).to_string(), exp);
        assert_eq!(refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, payload)), None, "{exp}");
    }
    for exp in [
        "18446744073709551616",
        "1e30",
        "1e999",
        "-1e999",
        "-1",
        "-1.5",
        "0",
        "\"2000003600\"",
        "null",
        "true",
        "[2000003600]",
        "{}",
    ] {
        let payload = claims().to_string().replace(&(NOW + 3600).to_string(), exp);
        assert!(refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, payload)).is_some(), "{exp}");
    }
    assert_eq!(refusal_of(&without("exp")), Some(Denied::BadClaim(Claim::Expiry)));
}

#[test]
fn j28_leeway_is_forgiven_to_the_second() {
    assert_eq!(refusal_of(&with("exp", json!(NOW - 59))), None);
    assert_eq!(refusal_of(&with("exp", json!(NOW - 60))), Some(Denied::Expired));
    assert_eq!(refusal_of(&with("exp", json!(NOW - 61))), Some(Denied::Expired));
}

#[test]
fn j29_nbf_in_the_future_or_of_another_type_is_refused() {
    assert_eq!(refusal_of(&with("nbf", json!(NOW + 60))), None);
    assert_eq!(refusal_of(&with("nbf", json!(NOW + 61))), Some(Denied::NotYetValid));
    assert_eq!(refusal_of(&with("nbf", json!(NOW as f64 + 60.5))), Some(Denied::NotYetValid));
    assert_eq!(refusal_of(&with("nbf", json!(1_u64 << 63))), Some(Denied::NotYetValid));
    assert_eq!(refusal_of(&with("nbf", json!("0"))), Some(Denied::BadClaim(Claim::NotBefore)));
    assert_eq!(refusal_of(&with("nbf", json!(-5))), None);
    assert_eq!(refusal_of(&with("nbf", json!(null))), None);
    assert_eq!(refusal_of(&without("nbf")), None);
}

#[test]
fn j30_iat_in_the_future_is_refused() {
    assert_eq!(refusal_of(&with("iat", json!(NOW + 60))), None);
    assert_eq!(refusal_of(&with("iat", json!(NOW + 86_400))), Some(Denied::IssuedInFuture));
    assert_eq!(refusal_of(&with("iat", json!("now"))), Some(Denied::BadClaim(Claim::IssuedAt)));
    assert_eq!(refusal_of(&without("iat")), None);
}

#[test]
fn j33_another_issuer_is_refused_however_alike() {
    for iss in [
        "https://gateway.example.com/",
        "HTTPS://gateway.example.com",
        "https://gateway.example.co",
        "",
        " https://gateway.example.com",
        "https://idp.example.com",
    ] {
        assert_eq!(refusal_of(&with("iss", json!(iss))), Some(Denied::UnknownIssuer), "{iss}");
    }
    for iss in [json!([ISSUER]), json!([ISSUER, "b"]), json!(null), json!(1), json!({})] {
        assert_eq!(refusal_of(&with("iss", iss)), Some(Denied::BadClaim(Claim::Issuer)));
    }
    assert_eq!(refusal_of(&without("iss")), Some(Denied::BadClaim(Claim::Issuer)));
}

#[test]
fn j35_only_our_audience_is_accepted_as_a_string_or_in_a_list() {
    for aud in [json!(AUDIENCE), json!([AUDIENCE]), json!(["x", AUDIENCE])] {
        assert_eq!(refusal_of(&with("aud", aud)), None);
    }
    let ours = AUDIENCE;
    for aud in [
        json!(null),
        json!("x"),
        json!(""),
        json!([]),
        json!(["a"]),
        json!(1),
        json!({"a": ours}),
        json!(ours[1..]),
        json!(&ours[..ours.len() - 1]),
        json!(format!("{ours}/")),
        json!(ours.to_uppercase()),
        json!(format!("x {ours}")),
        json!([[ours]]),
        json!("*"),
        json!([ours, 1]),
        json!([ours, null]),
    ] {
        assert!(refusal_of(&with("aud", aud.clone())).is_some(), "{aud}");
    }
    assert!(refusal_of(&without("aud")).is_some());
}

#[test]
fn j37_duplicate_claims_are_refused_wherever_the_bad_one_stands() {
    let whole = claims().to_string();
    let open = whole.strip_suffix('}').unwrap();
    for twin in
        [r#""exp":1"#, r#""exp":2000003600"#, r#""iss":"x""#, r#""aud":"x""#, r#""\u0065xp":1"#]
    {
        let last = signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, format!("{open},{twin}}}"));
        let first =
            signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, format!("{{{twin},{}", &whole[1..]));
        assert_eq!(refusal(&last), Some(Denied::BadClaims), "{twin}");
        assert_eq!(refusal(&first), Some(Denied::BadClaims), "{twin}");
    }
    let header = signed(r#"{"typ":"at+jwt","alg":"HS256","alg":"none"}"#, &whole);
    assert_eq!(refusal(&header), Some(Denied::BadHeader));
}

#[test]
fn j39_payload_that_is_no_object_is_refused() {
    for payload in [&b"[]"[..], b"\"a\"", b"null", b"1", b"", b"{}{}", b"\xEF\xBB\xBF{}", b"{\0}"] {
        assert_eq!(
            refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, payload)),
            Some(Denied::BadClaims)
        );
    }
    for header in [&b"[]"[..], b"null", b"\"HS256\"", b"", b"{"] {
        assert_eq!(refusal(&signed(header, claims().to_string())), Some(Denied::BadHeader));
    }
}

#[test]
fn j40_deep_and_wide_tokens_are_answered_without_recursion() {
    let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(
        refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, deep(3_000))),
        Some(Denied::BadClaims)
    );
    assert_eq!(refusal(&signed(deep(3_000), claims().to_string())), Some(Denied::BadHeader));
    let mut wide = claims();
    for number in 0..300 {
        wide[format!("claim{number}")] = json!(number);
    }
    assert_eq!(refusal_of(&wide), None);
    assert_eq!(refusal(&"a".repeat(20_000)), Some(Denied::TooLarge));
}

#[test]
fn j41_claims_that_are_no_header_values_refuse_the_token() {
    for bad in [
        "a\r\nX-Admin: 1",
        "a\nb",
        "a\0b",
        "a\tb",
        "a\u{7f}b",
        "\u{1F600}",
        "\u{ff}",
        &"a".repeat(3_000),
        "",
        " a",
        "a ",
    ] {
        let mut settings = settings();
        settings.clients.push(client(bad, Vec::new()));
        for name in ["sub", "client_id"] {
            let result = judge(&settings, &token(&with(name, json!(bad))));
            assert!(result.is_err(), "{name} {bad:?}");
        }
        if !bad.is_empty() && bad.len() < 100 && bad.trim() == bad {
            assert_eq!(
                refusal_of(&with("scope", json!(bad))),
                Some(Denied::BadClaim(Claim::Scope)),
                "{bad:?}"
            );
        }
    }
    for odd in [json!([CLIENT]), json!({}), json!(1), json!(null)] {
        assert!(refusal_of(&with("sub", odd.clone())).is_some());
        assert!(refusal_of(&with("client_id", odd)).is_some());
    }
    let surrogate = claims().to_string().replace("\"api:write\"", "\"\\ud800\"");
    assert_eq!(
        refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, surrogate)),
        Some(Denied::BadClaims)
    );
}

#[test]
fn claims_of_every_speakable_type_become_headers() {
    let mut settings = settings();
    let names = ["x-a", "x-b", "x-c", "x-d", "x-e", "x-f"];
    settings.identity.headers = names
        .iter()
        .map(|name| (http::HeaderName::from_static(name), name[2..].to_owned()))
        .collect();
    let mut claims = claims();
    claims["a"] = json!("text with blanks");
    claims["b"] = json!(7);
    claims["c"] = json!(true);
    claims["d"] = json!(["x", "y"]);
    claims["e"] = json!({"deep": 1});
    let said = |claims: &Value| {
        let caller = judge(&settings, &token(claims))?;
        let text = |(name, value): &(http::HeaderName, HeaderValue)| {
            format!("{name}={}", value.to_str().unwrap())
        };
        Ok::<_, Denied>(caller.identity(0).unwrap().iter().map(text).collect::<Vec<_>>())
    };
    assert_eq!(said(&claims).unwrap(), ["x-a=text with blanks", "x-b=7", "x-c=true", "x-d=x y"]);
    for list in [json!(["x y"]), json!([""]), json!([1]), json!(["x", "y\n"])] {
        claims["d"] = list;
        assert_eq!(said(&claims), Err(Denied::Unspeakable));
    }
}

#[test]
fn j42_spoiled_signatures_are_refused() {
    let token = token(&claims());
    let (message, right) = token.rsplit_once('.').unwrap();
    let right = URL_SAFE_NO_PAD.decode(right).unwrap();
    let mut first = right.clone();
    first[0] ^= 1;
    let mut last = right.clone();
    last[31] ^= 1;
    let spoiled: [&[u8]; 6] =
        [&first, &last, &right[..31], &right[..1], &[&right[..], &[0]].concat(), &[0; 32]];
    for signature in spoiled {
        assert_eq!(refusal(&format!("{message}.{}", part(signature))), Some(Denied::BadSignature));
    }
    assert_eq!(refusal(&format!("{token}{}", "A".repeat(60_000))), Some(Denied::TooLarge));
}

#[test]
fn j43_non_canonical_base64url_is_refused() {
    let token = token(&claims());
    let (message, right) = token.rsplit_once('.').unwrap();
    // 32 bytes leave two spare bits in the last character.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let place = alphabet.iter().position(|byte| *byte == right.as_bytes()[42]).unwrap();
    for spare in 1..4 {
        let twin = char::from(alphabet[place + spare]);
        assert_eq!(refusal(&format!("{message}.{}{twin}", &right[..42])), Some(Denied::NotAJwt));
    }
    for spelling in [
        format!("{token}="),
        format!(
            "{}.{}",
            URL_SAFE.encode(r#"{"alg":"HS256" }"#),
            &token[token.find('.').unwrap() + 1..]
        ),
        token.replacen('.', " .", 1),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace('.', "=."),
        format!("{token}."),
        format!(".{token}"),
        token.replacen('.', "..", 1),
        format!("{}+/", &token[..token.len() - 2]),
    ] {
        assert_eq!(refusal(&spelling), Some(Denied::NotAJwt), "{spelling}");
    }
}

#[test]
fn j45_json_serialisation_is_no_bearer_token() {
    let mut headers = Fields::new();
    let json = json!({"payload": "e30", "protected": "e30", "signature": "AA"}).to_string();
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {json}")).unwrap());
    let result = authenticate(&Authenticator::new(&settings()), &headers, NOW);
    assert_eq!(result.err(), Some(Denied::Unreadable));
}

#[test]
fn j55_scopes_come_from_scope_and_scp_as_whole_words() {
    let scopes =
        |claims: &Value| judge(&settings(), &token(claims)).unwrap().principal.scopes.to_string();
    assert_eq!(scopes(&with("scope", json!("a  b a"))), "a b");
    assert_eq!(scopes(&with("scope", json!(["a", "b"]))), "a b");
    assert_eq!(scopes(&with("scp", json!(["b", "api:write"]))), "api:write b");
    assert_eq!(scopes(&without("scope")), "");
    assert_eq!(refusal_of(&with("scope", json!(["a b"]))), Some(Denied::BadClaim(Claim::Scope)));
    assert_eq!(refusal_of(&with("scope", json!(7))), Some(Denied::BadClaim(Claim::Scope)));
}

#[test]
fn a_token_must_name_a_live_client() {
    let mut settings = settings();
    settings.clients.push(client("other", Vec::new()));
    let judged = |settings: &Settings, claims: &Value| judge(settings, &token(claims)).err();
    assert_eq!(judged(&settings, &with("client_id", json!("other"))), None);
    settings.clients[1].disabled = true;
    assert_eq!(judged(&settings, &with("client_id", json!("other"))), Some(Denied::UnknownClient));
    assert_eq!(judged(&settings, &with("client_id", json!("gone"))), Some(Denied::UnknownClient));
    assert_eq!(judged(&settings, &without("client_id")), None);
    let mut nobody = without("client_id");
    nobody.as_object_mut().unwrap().remove("sub");
    assert_eq!(judged(&settings, &nobody), Some(Denied::BadClaim(Claim::Client)));
}

#[test]
fn a_stranger_does_not_learn_which_clients_exist() {
    let forged = |id: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &KEY[32..]);
        let claims = with("client_id", json!(id)).to_string();
        refusal(&signed_by(&key, r#"{"typ":"at+jwt","alg":"HS256"}"#, claims))
    };
    assert_eq!(forged(CLIENT), Some(Denied::BadSignature));
    assert_eq!(forged("nobody"), Some(Denied::BadSignature));
}

#[test]
fn a_verdict_is_remembered_and_its_end_is_not_forgotten() {
    let authenticator = Authenticator::new(&settings());
    let mut headers = Fields::new();
    let bearer = format!("Bearer {}", token(&claims()));
    headers.insert(AUTHORIZATION, HeaderValue::from_str(&bearer).unwrap());
    let caller = |now| match authenticate(&authenticator, &headers, now) {
        Ok(Authentication::Caller(caller)) => Ok(caller),
        Ok(_) => panic!("no caller"),
        Err(denied) => Err(denied),
    };
    // what HS256 has signed is cheap to check, and remembered when it comes again
    let once = caller(NOW).unwrap();
    let first = caller(NOW).unwrap();
    assert!(!std::rc::Rc::ptr_eq(&once, &first));
    assert!(std::rc::Rc::ptr_eq(&first, &caller(NOW + 1).unwrap()));
    assert_eq!(caller(NOW + 3_660).err(), Some(Denied::Expired));
    assert_eq!(caller(NOW - 61).err(), Some(Denied::NotYetValid));
    authenticator.clear();
    assert!(!std::rc::Rc::ptr_eq(&first, &caller(NOW).unwrap()));
}

#[test]
fn what_plain_jsonwebtoken_accepts_of_a_sound_token_is_accepted() {
    let now = crate::clock::Clock::system().unix_seconds();
    let authenticator = Authenticator::new(&settings());
    let mut validation = Validation::new(Algorithm::HS256);
    validation.set_audience(&[AUDIENCE]);
    validation.set_issuer(&[ISSUER]);
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.validate_nbf = true;
    let key = DecodingKey::from_secret(&KEY[..32]);
    for (exp, nbf, aud, iss) in [
        (3600_i64, 0_i64, json!(AUDIENCE), ISSUER),
        (3600, -10, json!([AUDIENCE, "x"]), ISSUER),
        (-30, -60, json!(AUDIENCE), ISSUER),
        (30, 30, json!(AUDIENCE), ISSUER),
        (-90, -100, json!(AUDIENCE), ISSUER),
        (3600, 90, json!(AUDIENCE), ISSUER),
        (3600, 0, json!("x"), ISSUER),
        (3600, 0, json!(AUDIENCE), "x"),
    ] {
        let at = |offset: i64| now.checked_add_signed(offset).unwrap();
        let claims = json!({"iss": iss, "aud": aud, "sub": CLIENT, "exp": at(exp), "nbf": at(nbf)});
        let token = token(&claims);
        let theirs = jsonwebtoken::decode::<Value>(&token, &key, &validation).is_ok();
        let ours = authenticator.explain(&token, now, &mut ()).is_ok();
        assert_eq!(ours, theirs, "{claims}");
    }
}

proptest! {
    #[test]
    fn a_token_changed_in_any_way_is_refused(at in 0_usize..400, byte in any::<u8>(), cut in any::<bool>()) {
        let token = token(&claims());
        let at = at % token.len();
        let mut changed = token.clone().into_bytes();
        if cut {
            changed.remove(at);
        } else {
            changed[at] = byte;
        }
        if let Ok(changed) = String::from_utf8(changed) {
            prop_assume!(changed != token);
            prop_assert!(refusal(&changed).is_some());
        }
    }

    #[test]
    fn no_text_at_all_is_a_token_or_a_panic(text in "\\PC{0,200}", dots in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}") {
        prop_assert!(refusal(&text).is_some());
        prop_assert!(refusal(&dots).is_some());
    }

    #[test]
    fn any_claims_under_a_right_signature_are_answered_without_a_panic(payload in "\\{(\"(exp|nbf|iat|aud|iss|sub|scope|client_id)\":(-?[0-9]{1,25}|[0-9]e[0-9]{1,4}|\"[a-z]{0,3}\"|null|\\[\\]|\\{\\}),?){0,5}\\}") {
        let refused = refusal(&signed(r#"{"typ":"at+jwt","alg":"HS256"}"#, payload));
        prop_assert!(refused.is_some());
    }
}
