//! Tokens of every kind, made by hand: what the token endpoint would never issue, too.

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{AUDIENCE, CLIENT, Gateway, ISSUER, KEY};

/// A token that the gateway takes.
pub fn good(gateway: &Gateway) -> String {
    made(&claims(gateway))
}

/// The claims of such a token.
pub fn claims(gateway: &Gateway) -> Value {
    let now = gateway.clock.unix_seconds();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": CLIENT, "client_id": CLIENT, "scope": "api:write",
        "iat": now, "nbf": now, "exp": now + 3600, "jti": "0190f3c7",
    })
}

/// `claims` with one of them changed; null takes it out.
pub fn with(gateway: &Gateway, name: &str, value: Value) -> String {
    let mut claims = claims(gateway);
    if value.is_null() {
        claims.as_object_mut().unwrap().remove(name);
    } else {
        claims[name] = value;
    }
    made(&claims)
}

/// Signed as the gateway signs.
pub fn made(claims: &Value) -> String {
    signed(
        &json!({ "alg": "HS256", "typ": "at+jwt" }).to_string(),
        &claims.to_string(),
        KEY.as_bytes(),
    )
}

/// Any header and claims under an HS256 signature, whatever the header says.
pub fn signed(header: &str, claims: &str, key: &[u8]) -> String {
    mac(hmac::HMAC_SHA256, header, claims, key)
}

pub fn mac(algorithm: hmac::Algorithm, header: &str, claims: &str, key: &[u8]) -> String {
    let text = format!("{}.{}", encoded(header.as_bytes()), encoded(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(algorithm, key), text.as_bytes());
    format!("{text}.{}", encoded(tag.as_ref()))
}

pub fn encoded(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
