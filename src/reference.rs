//! The words of what can be called back: the form of reference tokens, what is kept of them, and what a revocation is
//! known by. Whoever issues and whoever judges agree here and know nothing of each other.

use aws_lc_rs::digest::{Context, SHA256};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What every reference token of ours begins with, so that people, judges and scanners for lost secrets know it. No JWT
/// does: its first part is a JSON object.
pub const PREFIX: &str = "tg_";

/// How a token that was found good may stop being good before its end.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Bond {
    /// It cannot: it has no `jti` to call it back by, or it is not ours to call back.
    #[default]
    None,
    /// A JWT: when this is revoked.
    Unless([u8; 32]),
    /// A reference token: when there is no record under this any more.
    While([u8; 32]),
}

/// What is kept of a reference token, and said by it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Kept {
    /// `client_id` and `sub`
    pub client_id: String,
    /// `scope`
    pub scope: String,
    /// `aud`
    pub aud: Value,
    /// `iat` and `nbf`
    pub iat: u64,
    /// `exp`
    pub exp: u64,
    /// Further claims.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub more: Map<String, Value>,
}

impl Kept {
    /// The claims of the token with this digest, as a JWT would have them.
    #[must_use]
    pub fn into_claims(self, issuer: &str, digest: &[u8; 32]) -> Map<String, Value> {
        let mut claims = self.more;
        let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        add("iss", issuer.into());
        add("sub", self.client_id.clone().into());
        add("client_id", self.client_id.into());
        add("aud", self.aud);
        if !self.scope.is_empty() {
            add("scope", self.scope.into());
        }
        add("iat", self.iat.into());
        add("nbf", self.iat.into());
        add("exp", self.exp.into());
        add("jti", token_id(digest).into());
        claims
    }
}

/// A new reference token, and its digest.
///
/// # Errors
/// When the random source fails.
pub fn make() -> Result<(String, [u8; 32]), Unspecified> {
    let mut random = [0; RANDOM_BYTES];
    rand::fill(&mut random)?;
    let mut token = String::with_capacity(LENGTH);
    token.push_str(PREFIX);
    URL_SAFE_NO_PAD.encode_string(random, &mut token);
    let sum = checksum(token.as_bytes());
    URL_SAFE_NO_PAD.encode_string(sum, &mut token);
    let digest = hash(&[token.as_bytes()]);
    Ok((token, digest))
}

/// The digest of a token that has the form of ours; `None` for anything else that begins like one.
#[must_use]
pub fn digest(token: &str) -> Option<[u8; 32]> {
    let (said, sum) = token.split_at_checked(LENGTH - SUM)?;
    let adds_up =
        said.starts_with(PREFIX) && sum == URL_SAFE_NO_PAD.encode(checksum(said.as_bytes()));
    adds_up.then(|| hash(&[token.as_bytes()]))
}

/// What the revocation of a JWT with this `jti` is known by.
#[must_use]
pub fn revocation(token_id: &str) -> [u8; 32] {
    hash(&[b"revoked jti\0", token_id.as_bytes()])
}

/// What the use of an assertion is known by: a client's `jti` (RFC 7523 §3).
#[must_use]
pub fn assertion(client: &str, token_id: &str) -> [u8; 32] {
    hash(&[b"assertion\0", &client.len().to_be_bytes(), client.as_bytes(), token_id.as_bytes()])
}

/// The `jti` of a reference token. Nobody can tell the token from it.
#[must_use]
pub fn token_id(digest: &[u8; 32]) -> String {
    let hash = hash(&[b"jti of\0", digest]);
    URL_SAFE_NO_PAD.encode(&hash[..16])
}

/// Against slips of the pen, not against people.
fn checksum(text: &[u8]) -> [u8; 4] {
    crc32fast::hash(text).to_be_bytes()
}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

const RANDOM_BYTES: usize = 32;
/// Characters of the checksum.
const SUM: usize = 6;
/// The prefix, 43 characters of randomness, the checksum.
const LENGTH: usize = PREFIX.len() + 43 + SUM;

#[cfg(test)]
mod tests {
    use super::{LENGTH, assertion, digest, make, revocation};

    #[test]
    fn a_new_token_has_the_form_and_256_random_bits() {
        let (token, kept) = make().unwrap();
        assert_eq!(token.len(), LENGTH);
        assert_eq!(digest(&token), Some(kept));
        assert_ne!(make().unwrap().0, token);
    }

    #[test]
    fn j51_no_other_spelling_of_a_token_has_the_form() {
        let (token, kept) = make().unwrap();
        let swapped: String = token
            .chars()
            .map(|letter| {
                if letter.is_ascii_lowercase() {
                    letter.to_ascii_uppercase()
                } else {
                    letter.to_ascii_lowercase()
                }
            })
            .collect();
        for other in [
            swapped,
            format!("{token}="),
            format!("{token}A"),
            format!(" {token}"),
            token[1..].to_owned(),
            token[..token.len() - 1].to_owned(),
            format!("{token}.e30.AA"),
            format!("TG_{}", &token[3..]),
            "tg_".to_owned(),
            String::new(),
            "tg_é".repeat(13),
        ] {
            assert_eq!(digest(&other), None, "{other}");
        }
        for at in 0..token.len() {
            for bit in 0..7 {
                let mut bytes = token.clone().into_bytes();
                bytes[at] ^= 1 << bit;
                let Ok(other) = String::from_utf8(bytes) else { continue };
                assert_ne!(digest(&other), Some(kept), "{other}");
            }
        }
    }

    #[test]
    fn what_is_known_by_different_words_has_different_keys() {
        assert_ne!(revocation("ab"), revocation("a"));
        assert_ne!(assertion("a", "bc"), assertion("ab", "c"));
    }
}
