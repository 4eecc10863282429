//! A JSON Web Key Set (RFC 7517) read as what it is for: verifying the tokens of one issuer.
//!
//! Invariant: every key here has exactly one algorithm, one that its issuer may use; what is odd, weak, private, not
//! meant for signatures or not to be told from another key is left out, and does not spoil the rest.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde_json::{Map, Value};

use super::material::VerifyingKey;
use super::position;
use crate::json;

/// The public keys of one issuer. An immutable snapshot.
#[derive(Clone, Debug, Default)]
pub struct KeySet {
    keys: Box<[VerifyingKey]>,
    digest: [u8; 32],
    skipped: usize,
}

/// Why a document is no key set.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BadKeySet {
    /// Not one JSON object with each member once.
    #[error("it is no JSON object")]
    Json,
    /// `keys` is not a list.
    #[error("it has no list of keys")]
    Keys,
    /// More than anybody needs.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
}

impl KeySet {
    /// The keys of a document that `algorithms` can be verified with.
    ///
    /// # Errors
    /// [`BadKeySet`] where it is no key set at all.
    pub fn read(document: &[u8], algorithms: &[Algorithm]) -> Result<Self, BadKeySet> {
        let object = json::object(document).ok_or(BadKeySet::Json)?;
        let Some(Value::Array(listed)) = object.get("keys") else { return Err(BadKeySet::Keys) };
        if listed.len() > MAX_KEYS {
            return Err(BadKeySet::TooMany);
        }
        let read: Vec<VerifyingKey> =
            listed.iter().filter_map(|jwk| key(jwk.as_object()?, algorithms)).collect();
        let same = |one: &VerifyingKey, two: &VerifyingKey| {
            one.key_id().is_some()
                && one.key_id() == two.key_id()
                && one.algorithm() == two.algorithm()
        };
        let alone = |key: &&VerifyingKey| read.iter().filter(|other| same(key, other)).count() < 2;
        let keys: Box<[VerifyingKey]> = read.iter().filter(alone).cloned().collect();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, document);
        let digest = digest.as_ref().try_into().unwrap_or_default();
        Ok(Self { skipped: listed.len() - keys.len(), keys, digest })
    }

    /// One key alone.
    #[must_use]
    pub fn of_one(key: VerifyingKey) -> Self {
        Self { keys: Box::new([key]), digest: [0; 32], skipped: 0 }
    }

    /// The keys.
    #[must_use]
    pub fn keys(&self) -> &[VerifyingKey] {
        &self.keys
    }

    /// How many keys of the document were left out.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Whether both were read from the same bytes.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Whether a token with this `kid` and algorithm has a key here.
    #[must_use]
    pub fn has(&self, kid: Option<&str>, algorithm: Algorithm) -> bool {
        position(&self.keys, kid, algorithm).is_some()
    }
}

/// A key for one of `algorithms`; `None` where it is none, or none to be trusted.
fn key(jwk: &Map<String, Value>, algorithms: &[Algorithm]) -> Option<VerifyingKey> {
    if !is_for_signatures(jwk) || SECRET_MEMBERS.iter().any(|name| jwk.contains_key(*name)) {
        return None;
    }
    let kid = match jwk.get("kid") {
        None => None,
        Some(Value::String(kid)) if kid.len() <= MAX_KID => Some(kid.clone()),
        Some(_) => return None,
    };
    let fitting = match (text(jwk, "kty")?, text(jwk, "crv")) {
        ("RSA", _) => RSA.as_slice(),
        ("EC", Some("P-256")) => &[Algorithm::ES256],
        ("EC", Some("P-384")) => &[Algorithm::ES384],
        ("OKP", Some("Ed25519")) => &[Algorithm::EdDSA],
        _ => return None,
    };
    let mut allowed = algorithms.iter().copied().filter(|algorithm| fitting.contains(algorithm));
    let algorithm = match jwk.get("alg") {
        None => allowed.next()?,
        // RFC 9864 names it by its curve
        Some(Value::String(name)) if name == "Ed25519" => {
            allowed.find(|it| *it == Algorithm::EdDSA)?
        }
        Some(Value::String(name)) => {
            let named: Algorithm = name.parse().ok()?;
            allowed.find(|it| *it == named)?
        }
        Some(_) => return None,
    };
    match fitting {
        [Algorithm::EdDSA] => VerifyingKey::from_point(algorithm, &number(jwk, "x")?, kid).ok(),
        [Algorithm::ES256 | Algorithm::ES384] => {
            let (x, y) = (number(jwk, "x")?, number(jwk, "y")?);
            let length = if algorithm == Algorithm::ES256 { 32 } else { 48 };
            if x.len() != length || y.len() != length {
                return None;
            }
            VerifyingKey::from_point(algorithm, &[&[4], &*x, &*y].concat(), kid).ok()
        }
        _ => {
            let key =
                VerifyingKey::from_rsa(algorithm, &number(jwk, "n")?, &number(jwk, "e")?, kid)
                    .ok()?;
            (key.bits() <= MAX_RSA_BITS && !is_roca(&number(jwk, "n")?)).then_some(key)
        }
    }
}

/// `use` and `key_ops` (RFC 7517 §4.2, §4.3), where they are.
fn is_for_signatures(jwk: &Map<String, Value>) -> bool {
    let used = match jwk.get("use") {
        None => true,
        Some(value) => value.as_str() == Some("sig"),
    };
    let verifies = match jwk.get("key_ops") {
        None => true,
        Some(Value::Array(operations)) => {
            operations.iter().any(|operation| operation.as_str() == Some("verify"))
        }
        Some(_) => false,
    };
    used && verifies
}

fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name)?.as_str()
}

fn number(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).ok()
}

/// Whether a modulus has the fingerprint of CVE-2017-15361: keys that a smart card made and anybody can take apart.
/// Such a modulus is a power of 65537 modulo each small prime; by chance that happens once in many millions.
fn is_roca(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let rest = modulus.iter().fold(0, |rest, byte| (rest << 8 | u32::from(*byte)) % prime);
        let mut power = 1;
        (0..prime).any(|_| {
            power = power * 65_537 % prime;
            power == rest
        })
    })
}

const RSA: [Algorithm; 6] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// Members of private and shared keys (RFC 7518 §6): whatever bears them in public is nobody's secret any more.
const SECRET_MEMBERS: [&str; 7] = ["d", "p", "q", "dp", "dq", "qi", "k"];
/// An issuer in the middle of a rotation has a handful.
const MAX_KEYS: usize = 100;
/// Beyond it a signature costs more than it protects.
const MAX_RSA_BITS: u32 = 4096;
const MAX_KID: usize = 512;
const ROCA_PRIMES: [u32; 17] =
    [11, 13, 17, 19, 37, 53, 61, 71, 73, 79, 97, 103, 107, 109, 127, 151, 157];
