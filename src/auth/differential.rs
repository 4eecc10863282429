//! Our reading of tokens beside jsonwebtoken's, the reference. For tests and for fuzzing: no gateway calls this.
//!
//! What we accept, jsonwebtoken accepts, with the same claims. What we refuse and it would not is one of the ways in which
//! we are stricter by intent: they are listed in `is_stricter_here`.

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};

use super::MAX_TOKEN;
use super::denied::{Claim, Denied};
use super::jwt::{Jwt, Leave, Rules, Scratch};
use crate::clock::Clock;
use crate::identity::Principal;
use crate::json::{self, Object};
use crate::keys::{SigningKey, VerifyingKey, generate};
use crate::secret::Secret;

/// Makes tokens of `data` and has them judged by both.
///
/// The first byte says with which key, and what the rest is: a whole token; claims; the length of a header, the header and
/// claims; the same and a change to the token that comes of them.
///
/// # Panics
/// Where one accepts what the other refuses and that is not meant to be so.
pub fn token_decode(data: &[u8]) {
    json_objects(data);
    let Some((mode, rest)) = data.split_first() else { return };
    let Some(key) = KEYS.get(usize::from(mode & 7)).or(KEYS.first()) else { return };
    match mode >> 3 & 3 {
        0 => {
            if let Ok(token) = std::str::from_utf8(rest) {
                agree(key.verifying(), token);
            }
        }
        1 => agree(key.verifying(), &signed(key, &header(key.verifying().algorithm()), rest)),
        2 => {
            if let Some(token) = token_of(key, rest) {
                agree(key.verifying(), &token);
            }
        }
        _ => {
            if let Some((rest, [high, low, change])) = rest.split_last_chunk()
                && let Some(token) = token_of(key, rest)
            {
                let at = usize::from(u16::from_be_bytes([*high, *low])) % token.len();
                agree(key.verifying(), &changed(&token, at, *change));
            }
        }
    }
}

/// Has `token` judged by both with the same key.
///
/// # Panics
/// As [`token_decode`].
pub fn agree(key: &VerifyingKey, token: &str) {
    let now = Clock::system().unix_seconds();
    let ours = judge(key, token, now);
    let theirs = reference(key, token, false);
    signatures(key, token);
    match (&ours, &theirs) {
        (Ok((principal, claims)), Ok(said)) => {
            assert_eq!(claims, said, "other claims: {token}");
            is_told_right(principal, said);
            let counts = |name: &str| said.get(name).is_none_or(|time| time.as_f64() >= Some(0.0));
            // jsonwebtoken knows no time before 1970
            if counts("nbf") && Clock::system().unix_seconds() <= now + 1 {
                let timely = reference(key, token, true);
                assert!(timely.is_ok(), "{timely:?} for jsonwebtoken: {token}");
            }
        }
        (Ok(_), Err(error)) => panic!("accepted, and jsonwebtoken says {error}: {token}"),
        (Err(denied), Ok(said)) => {
            assert!(is_stricter_here(*denied, token, said), "refused as {denied:?} alone: {token}");
        }
        (Err(_), Err(_)) => {}
    }
}

/// Both readers of JSON on the same bytes.
///
/// # Panics
/// Where they differ.
pub fn json_objects(bytes: &[u8]) {
    let (borrowed, owned) = (Object::read(bytes), json::object(bytes));
    assert_eq!(borrowed.as_ref().map(Object::to_map), owned, "{bytes:?}");
}

/// The ways in which we refuse what jsonwebtoken accepts.
fn is_stricter_here(denied: Denied, token: &str, said: &Map<String, Value>) -> bool {
    match denied {
        // a bound that jsonwebtoken has not
        Denied::TooLarge => token.len() > MAX_TOKEN,
        // in header or claims: a member twice that jsonwebtoken does not know, too deep, too many, a number that is no
        // `f64`; `typ` or `kid` null
        Denied::BadHeader | Denied::BadClaims => true,
        // extensions: jsonwebtoken reads `crit` and goes on
        Denied::CriticalHeader => true,
        // jsonwebtoken does not look at `typ`
        Denied::WrongType => true,
        // a list of issuers
        Denied::BadClaim(Claim::Issuer) => said.get("iss").is_some_and(Value::is_array),
        // claims that jsonwebtoken does not look at, or not without being told what they must be
        Denied::BadClaim(
            Claim::NotBefore
            | Claim::IssuedAt
            | Claim::Subject
            | Claim::TokenId
            | Claim::Client
            | Claim::Scope,
        )
        | Denied::IssuedInFuture
        | Denied::Bound
        | Denied::UnknownClient => true,
        // times are left to us: `reference` was told not to judge them
        Denied::Expired | Denied::NotYetValid => true,
        Denied::Missing
        | Denied::Repeated
        | Denied::Unreadable
        | Denied::NoIssuer
        | Denied::NotAJwt
        | Denied::UnsupportedAlgorithm
        | Denied::BadClaim(Claim::Audience | Claim::Expiry)
        | Denied::UnknownIssuer
        | Denied::WrongAlgorithm
        | Denied::UnknownKey
        | Denied::WrongAudience
        | Denied::BadSignature
        | Denied::Unspeakable
        | Denied::Inactive
        | Denied::NoJudge
        | Denied::Crowded
        | Denied::IssuerUnavailable
        | Denied::BadReference
        | Denied::UnknownReference
        | Denied::Revoked
        | Denied::StoreUnavailable
        | Denied::Route
        | Denied::Scope
        | Denied::AnyScope
        | Denied::Client
        | Denied::Issuer
        | Denied::ClaimValue
        | Denied::ConditionFalse
        | Denied::ConditionFailed => false,
    }
}

/// By our own reading: whom it speaks for, and all that it says.
fn judge(
    key: &VerifyingKey,
    token: &str,
    now: u64,
) -> Result<(Principal, Map<String, Value>), Denied> {
    let rules = Rules::for_comparison(ISSUER, AUDIENCE, key.algorithm(), LEEWAY);
    let mut scratch = Scratch::default();
    let jwt = Jwt::read(token, &mut scratch, &mut ())?;
    let judged = rules.judge(&jwt, std::slice::from_ref(key), now, Leave::Given, &mut ());
    let principal = judged.map_err(|failed| failed.denied())?;
    Ok((principal, jwt.claims().to_map()))
}

/// By jsonwebtoken's.
fn reference(
    key: &VerifyingKey,
    token: &str,
    judges_times: bool,
) -> jsonwebtoken::errors::Result<Map<String, Value>> {
    let mut validation = Validation::new(key.algorithm());
    validation.algorithms = vec![key.algorithm()];
    validation.set_required_spec_claims(&["exp", "iss", "aud"]);
    validation.set_audience(&[AUDIENCE]);
    validation.validate_aud = true;
    validation.set_issuer(&[ISSUER]);
    validation.sub = None;
    validation.leeway = LEEWAY;
    validation.reject_tokens_expiring_in_less_than = 0;
    validation.validate_exp = judges_times;
    validation.validate_nbf = judges_times;
    jsonwebtoken::decode(token, key.decoding(), &validation).map(|data| data.claims)
}

/// The bare signature, whatever it is that is signed.
fn signatures(key: &VerifyingKey, token: &str) {
    let Some((message, signature)) = token.rsplit_once('.') else { return };
    let (message, algorithm) = (message.as_bytes(), key.algorithm());
    let theirs = jsonwebtoken::crypto::verify(signature, message, key.decoding(), algorithm);
    assert_eq!(key.has_signed(message, signature), theirs.unwrap_or(false), "{token}");
}

/// Whether a principal is what its claims say.
fn is_told_right(principal: &Principal, said: &Map<String, Value>) {
    let text = |name: &str| said.get(name).and_then(Value::as_str);
    assert_eq!(Some(&*principal.issuer), text("iss"));
    assert_eq!(principal.subject.as_deref(), text("sub"));
    assert_eq!(principal.token_id.as_deref(), text("jti"));
    assert_eq!(principal.client_id.as_deref(), text("client_id").or(text("azp")));
    for scope in principal.scopes.iter() {
        let in_text = text("scope").is_some_and(|all| all.split(' ').any(|one| one == scope));
        let listed = said.get("scope").and_then(Value::as_array);
        let in_list = listed.is_some_and(|all| all.iter().any(|one| one == scope));
        assert!(in_text || in_list, "{scope} is not in {said:?}");
    }
}

fn header(algorithm: Algorithm) -> Vec<u8> {
    format!("{{\"typ\":\"at+jwt\",\"alg\":\"{algorithm:?}\"}}").into_bytes()
}

fn signed(key: &SigningKey, header: &[u8], claims: &[u8]) -> String {
    let mut token = URL_SAFE_NO_PAD.encode(header);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(claims, &mut token);
    let signature = key.sign_bytes(token.as_bytes()).unwrap_or_default();
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    token
}

fn token_of(key: &SigningKey, data: &[u8]) -> Option<String> {
    let (length, rest) = data.split_first()?;
    let (header, claims) = rest.split_at_checked(usize::from(*length))?;
    Some(signed(key, header, claims))
}

/// The token with one character more, less, or another one.
fn changed(token: &str, at: usize, change: u8) -> String {
    let mut bytes = token.as_bytes().to_vec();
    match change {
        0 => drop(bytes.remove(at)),
        0x80.. => bytes.insert(at, change & 0x7F),
        _ => bytes[at] = change,
    }
    String::from_utf8(bytes).unwrap_or_default()
}

/// A nameless key for each of the first eight; HS256, whose tokens are made fastest, more often.
static KEYS: LazyLock<Vec<SigningKey>> = LazyLock::new(|| {
    use Algorithm::{ES256, EdDSA, HS256, HS512, RS256};
    let key = |algorithm| match algorithm {
        HS256 | HS512 => {
            let secret = (1..=64).map(|byte: u8| byte.wrapping_mul(151)).collect();
            SigningKey::from_secret(algorithm, Secret::new(secret), None)
        }
        _ => {
            let pem = generate(algorithm)?.text;
            SigningKey::from_pem(algorithm, pem.expose().as_bytes(), Some("k".to_owned()))
        }
    };
    let all = [HS256, HS256, HS256, HS256, HS512, ES256, EdDSA, RS256];
    all.into_iter().filter_map(|algorithm| key(algorithm).ok()).collect()
});

/// What the tokens that are accepted say.
pub const ISSUER: &str = "i";
/// As [`ISSUER`].
pub const AUDIENCE: &str = "a";
const LEEWAY: u64 = 60;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE, URL_SAFE_NO_PAD};
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::{
        AUDIENCE, ISSUER, KEYS, agree, changed, header, judge, reference, signed, token_decode,
    };
    use crate::clock::Clock;
    use crate::keys::{Algorithm, SigningKey, generate};

    fn now() -> u64 {
        Clock::system().unix_seconds()
    }

    fn claims() -> Value {
        json!({"iss": ISSUER, "aud": AUDIENCE, "exp": now() + 3600, "sub": "s", "scope": "x y"})
    }

    fn key(algorithm: Algorithm) -> SigningKey {
        let pem = generate(algorithm).unwrap().text;
        SigningKey::from_pem(algorithm, pem.expose().as_bytes(), Some("k".to_owned())).unwrap()
    }

    fn token(key: &SigningKey, claims: &str) -> String {
        signed(key, &header(key.verifying().algorithm()), claims.as_bytes())
    }

    fn accepts(key: &SigningKey, token: &str) -> bool {
        agree(key.verifying(), token);
        judge(key.verifying(), token, now()).is_ok()
    }

    #[test]
    fn j42_a_token_of_every_algorithm_is_accepted_and_not_with_a_bit_of_it_flipped() {
        use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
        let public = [RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA].map(key);
        for key in KEYS.iter().chain(&public) {
            let token = token(key, &claims().to_string());
            assert!(accepts(key, &token), "{key:?}");
            for at in 0..token.len() {
                for flip in [1, 2, 4, 8, 16, 32] {
                    // each position once with RSA and the curves, which take their time
                    if key.verifying().is_shared() || 1 << (at % 6) == flip {
                        let change = token.as_bytes()[at] ^ flip;
                        assert!(!accepts(key, &changed(&token, at, change)), "{at} {flip}");
                    }
                }
            }
        }
    }

    #[test]
    fn j43_no_spelling_of_base64_but_one_is_accepted() {
        let key = &KEYS[0];
        // lengths that leave two, four and no spare bits
        for blanks in ["", " ", "  "] {
            let token = token(key, &format!("{}{blanks}", claims()));
            let parts: Vec<&str> = token.split('.').collect();
            for at in 0..3 {
                let bytes = URL_SAFE_NO_PAD.decode(parts[at]).unwrap();
                let last = parts[at].chars().last().unwrap();
                let mut spellings = vec![
                    URL_SAFE.encode(&bytes),
                    STANDARD.encode(&bytes),
                    format!("{}=", parts[at]),
                    format!("{}==", parts[at]),
                    format!("{}A", parts[at]),
                    format!(" {}", parts[at]),
                    format!("{}\n", parts[at]),
                ];
                let alphabet =
                    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=~";
                for other in alphabet.chars().filter(|other| *other != last) {
                    spellings.push(format!("{}{other}", &parts[at][..parts[at].len() - 1]));
                }
                for spelling in spellings.iter().filter(|spelling| *spelling != parts[at]) {
                    let mut parts = parts.clone();
                    parts[at] = spelling;
                    assert!(!accepts(key, &parts.join(".")), "{spelling}");
                }
            }
        }
    }

    #[test]
    fn j7_forged_signatures_of_every_length_and_form_are_refused() {
        for key in [
            &key(Algorithm::ES256),
            &key(Algorithm::ES384),
            &key(Algorithm::EdDSA),
            &key(Algorithm::PS256),
            &KEYS[0],
        ] {
            let token = token(key, &claims().to_string());
            let (message, right) = token.rsplit_once('.').unwrap();
            let right = URL_SAFE_NO_PAD.decode(right).unwrap();
            let half = right.len() / 2;
            let (r, s) = right.split_at(half);
            let der = [&[0x30, 4 + right.len() as u8, 2, half as u8][..], r, &[2, half as u8], s]
                .concat();
            let mut forged = vec![
                der,
                vec![0; right.len()],
                vec![0xFF; right.len()],
                [r, &vec![0; half]].concat(),
                [&vec![0; half], s].concat(),
                [s, r].concat(),
                [r, &vec![0xFF; half]].concat(),
                [&right[..], &right[..]].concat(),
            ];
            forged.extend((0..right.len()).map(|length| right[..length].to_vec()));
            forged.extend([1, 2, 64].map(|more| [&right[..], &vec![0; more]].concat()));
            forged.push([&[0], &right[..]].concat());
            for signature in forged {
                assert!(!accepts(key, &format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))));
            }
        }
    }

    #[test]
    fn j39_odd_headers_are_judged_as_the_reference_judges_them_or_stricter() {
        let alg = "\"alg\":\"HS256\"";
        for (header, accepted) in [
            (format!("{{{alg}}}"), true),
            (
                format!("{{{alg},\"typ\":\"JWT\",\"kid\":\"any\",\"cty\":\"JWT\",\"x5t\":\"a\"}}"),
                true,
            ),
            (
                format!(
                    "{{{alg},\"jku\":null,\"x5u\":null,\"x5c\":null,\"jwk\":null,\"zip\":null}}"
                ),
                true,
            ),
            (
                format!(
                    "{{{alg},\"x5c\":[\"a\",\"b\"],\"enc\":\"a\",\"zip\":\"DEF\",\"url\":\"u\",\"nonce\":\"n\"}}"
                ),
                true,
            ),
            (format!("{{{alg},\"more\":{{\"a\":[1,2,{{}}]}}}}"), true),
            (format!("{{{alg},\"jwk\":{{\"kty\":\"oct\",\"k\":\"AA\"}}}}"), true),
            (format!("{{{alg},\"jwk\":[]}}"), false),
            (format!("{{{alg},\"jwk\":\"a\"}}"), false),
            (format!("{{{alg},\"x5c\":\"a\"}}"), false),
            (format!("{{{alg},\"x5c\":[1]}}"), false),
            (format!("{{{alg},\"x5t\":1}}"), false),
            (format!("{{{alg},\"x5t#S256\":{{}}}}"), false),
            (format!("{{{alg},\"cty\":[]}}"), false),
            (format!("{{{alg},\"typ\":null}}"), false),
            (format!("{{{alg},\"kid\":null}}"), false),
            (format!("{{{alg},\"kid\":1}}"), false),
            (format!("{{{alg},{alg}}}"), false),
            (format!("{{{alg},\"more\":1,\"more\":1}}"), false),
            (format!("{{{alg},\"crit\":[]}}"), false),
            (format!("{{{alg},\"b64\":true}}"), false),
            (format!("{{{alg},\"more\":1e999}}"), false),
            ("{\"alg\":\"none\"}".to_owned(), false),
            ("{\"alg\":\"HS384\"}".to_owned(), false),
            ("{\"alg\":\"hs256\"}".to_owned(), false),
            ("{\"alg\":\"RS256\"}".to_owned(), false),
            ("{\"alg\":\"\\u0048S256\"}".to_owned(), true),
            ("{\"alg\":[\"HS256\"]}".to_owned(), false),
            ("{}".to_owned(), false),
            (format!("[{{{alg}}}]"), false),
            (format!("{{{alg}}} "), true),
            (format!("{{{alg}}}\0"), false),
            (format!("\u{feff}{{{alg}}}"), false),
        ] {
            let token = signed(&KEYS[0], header.as_bytes(), claims().to_string().as_bytes());
            assert_eq!(accepts(&KEYS[0], &token), accepted, "{header}");
        }
    }

    #[test]
    fn j35_odd_claims_are_judged_as_the_reference_judges_them_or_stricter() {
        let soon = now() + 3600;
        let base = "\"iss\":\"i\",\"aud\":\"a\"";
        for (claims, accepted) in [
            (format!("{{{base},\"exp\":{soon}}}"), true),
            (format!("{{{base},\"exp\":{soon}.5}}"), true),
            (format!("{{{base},\"exp\":{soon}e0}}"), true),
            (format!("{{{base},\"exp\":18446744073709551615}}"), true),
            (format!("{{{base},\"exp\":18446744073709551616}}"), false),
            (format!("{{{base},\"exp\":1e19}}"), true),
            (format!("{{{base},\"exp\":1e20}}"), false),
            (format!("{{{base},\"exp\":1e309}}"), false),
            (format!("{{{base},\"exp\":-{soon}}}"), false),
            (format!("{{{base},\"exp\":-0.0}}"), false),
            (format!("{{{base},\"exp\":\"{soon}\"}}"), false),
            (format!("{{{base},\"exp\":null}}"), false),
            (format!("{{{base},\"exp\":[{soon}]}}"), false),
            (format!("{{{base},\"exp\":true}}"), false),
            (format!("{{{base}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"exp\":{soon}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"\\u0065xp\":{soon}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"more\":1,\"more\":1}}"), false),
            (format!("{{{base},\"exp\":{soon},\"nbf\":{soon}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"nbf\":-1}}"), true),
            (format!("{{{base},\"exp\":{soon},\"nbf\":1.5,\"iat\":1e9}}"), true),
            (format!("{{{base},\"exp\":{soon},\"iat\":{soon}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"iat\":\"1\"}}"), false),
            (format!("{{\"iss\":\"\\u0069\",\"aud\":[\"b\",\"a\"],\"exp\":{soon}}}"), true),
            (format!("{{\"iss\":[\"i\"],\"aud\":\"a\",\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i \",\"aud\":\"a\",\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\\u0000\",\"aud\":\"a\",\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":\"a\\u0000\",\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":[],\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":[\"a\",1],\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":{{\"a\":1}},\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":null,\"exp\":{soon}}}"), false),
            (format!("{{\"iss\":\"i\",\"aud\":[[\"a\"]],\"exp\":{soon}}}"), false),
            (format!("{{{base},\"exp\":{soon},\"sub\":\"a\\u0000b\"}}"), false),
            (format!("{{{base},\"exp\":{soon},\"cnf\":{{\"jkt\":\"a\"}}}}"), false),
            (
                format!("{{{base},\"exp\":{soon},\"more\":{}1{}}}", "[".repeat(40), "]".repeat(40)),
                false,
            ),
            (format!("{{{base},\"exp\":{soon}}}{{}}"), false),
            (format!("[{{{base},\"exp\":{soon}}}]"), false),
        ] {
            assert_eq!(accepts(&KEYS[0], &token(&KEYS[0], &claims)), accepted, "{claims}");
        }
        for bytes in [&b"\xFF"[..], b"\xC0\x80", b"\xED\xA0\x80"] {
            let claims =
                [b"{\"iss\":\"i\",\"aud\":\"a\",\"exp\":9999999999,\"sub\":\"", bytes, b"\"}"]
                    .concat();
            let token = signed(&KEYS[0], &header(Algorithm::HS256), &claims);
            assert!(!accepts(&KEYS[0], &token));
        }
    }

    #[test]
    fn the_reference_accepts_what_is_sound_and_so_do_we() {
        for key in KEYS.iter() {
            let token = token(key, &claims().to_string());
            assert!(reference(key.verifying(), &token, true).is_ok());
            assert!(judge(key.verifying(), &token, now()).is_ok());
        }
    }

    fn any_claim() -> impl Strategy<Value = String> {
        let near = (-130_i64..130)
            .prop_map(|offset| now().checked_add_signed(offset).unwrap().to_string());
        let value = prop_oneof![
            4 => near,
            1 => Just("9999999999".to_owned()),
            1 => "-?[0-9]{1,21}(\\.[0-9]{1,3})?([eE]-?[0-9]{1,3})?",
            2 => Just("\"i\"".to_owned()),
            2 => Just("\"a\"".to_owned()),
            1 => Just("[\"a\",\"i\"]".to_owned()),
            1 => "\"[ai \\\\]{0,3}\"",
            1 => prop::sample::select(vec!["null", "true", "[]", "{}", "[1]", "{\"a\":1,\"a\":1}"]).prop_map(str::to_owned),
        ];
        let name = prop_oneof![
            8 => prop::sample::select(vec!["exp", "nbf", "iat", "iss", "aud", "sub", "scope", "client_id", "jti", "cnf", "\\u0065xp"]).prop_map(str::to_owned),
            1 => "[a-z]{1,2}",
        ];
        (name, value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_claims_are_judged_as_the_reference_judges_them_or_stricter(more in prop::collection::vec(any_claim(), 0..4), left_out in 0_usize..6) {
            let mut members = more;
            let base = ["\"iss\":\"i\"", "\"aud\":\"a\"", "\"exp\":9999999999"];
            let kept = base.iter().enumerate().filter(|(at, _)| *at != left_out);
            members.extend(kept.map(|(_, member)| (*member).to_owned()));
            agree(KEYS[0].verifying(), &token(&KEYS[0], &format!("{{{}}}", members.join(","))));
        }

        #[test]
        fn any_bytes_are_read_alike(data in prop::collection::vec(any::<u8>(), 0..300)) {
            token_decode(&data);
        }

        #[test]
        fn any_change_of_a_sound_token_is_judged_alike(mode in 24_u8..29, at in any::<u16>(), change in any::<u8>()) {
            let header = header(if mode & 7 == 4 { Algorithm::HS512 } else { Algorithm::HS256 });
            let mut data = vec![mode, header.len() as u8];
            data.extend(header);
            data.extend(claims().to_string().bytes());
            data.extend([(at >> 8) as u8, at as u8, change]);
            token_decode(&data);
        }
    }
}
