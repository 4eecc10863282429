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

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{EcdsaKeyPair, KeyPair};
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::{Value, json};

    use super::{BadKeySet, KeySet, is_roca};
    use crate::keys::Algorithm;

    const ALL: [Algorithm; 5] =
        [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::ES384, Algorithm::EdDSA];
    /// RFC 7638 §3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    fn rsa() -> Value {
        json!({ "kty": "RSA", "kid": "a", "use": "sig", "alg": "RS256", "n": N, "e": "AQAB" })
    }

    fn ec() -> Value {
        let document = aws_lc_rs::signature::EcdsaKeyPair::generate(
            &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED_SIGNING,
        );
        let pair: EcdsaKeyPair = document.unwrap();
        let point = pair.public_key().as_ref();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": "e", "x": number(&point[1..33]), "y": number(&point[33..]) })
    }

    fn with(mut jwk: Value, name: &str, value: Value) -> Value {
        jwk[name] = value;
        jwk
    }

    fn read(keys: &[Value]) -> KeySet {
        KeySet::read(json!({ "keys": keys }).to_string().as_bytes(), &ALL).unwrap()
    }

    fn algorithms(keys: &[Value]) -> Vec<Algorithm> {
        read(keys).keys().iter().map(super::VerifyingKey::algorithm).collect()
    }

    #[test]
    fn a_key_has_the_algorithm_it_names_or_the_first_that_fits() {
        let nameless = |mut jwk: Value| {
            jwk.as_object_mut().unwrap().remove("alg");
            jwk
        };
        assert_eq!(algorithms(&[rsa()]), [Algorithm::RS256]);
        assert_eq!(algorithms(&[with(rsa(), "alg", json!("PS256"))]), [Algorithm::PS256]);
        assert_eq!(algorithms(&[nameless(rsa())]), [Algorithm::RS256]);
        assert_eq!(algorithms(&[ec()]), [Algorithm::ES256]);
        let document = json!({ "keys": [nameless(rsa())] }).to_string();
        let only =
            KeySet::read(document.as_bytes(), &[Algorithm::ES256, Algorithm::PS512]).unwrap();
        assert_eq!(only.keys()[0].algorithm(), Algorithm::PS512);
        assert!(KeySet::read(document.as_bytes(), &[Algorithm::ES256]).unwrap().keys().is_empty());
    }

    #[test]
    fn j17_a_key_that_is_weak_or_for_something_else_is_not_used() {
        let short = URL_SAFE_NO_PAD.encode([0xC1; 128]);
        let long = URL_SAFE_NO_PAD.encode([0xC1; 1024]);
        for (name, jwk) in [
            ("use", with(rsa(), "use", json!("enc"))),
            ("use of another type", with(rsa(), "use", json!(["sig"]))),
            ("key_ops", with(rsa(), "key_ops", json!(["encrypt", "sign"]))),
            ("key_ops of another type", with(rsa(), "key_ops", json!("verify"))),
            ("alg that is not its own", with(rsa(), "alg", json!("ES256"))),
            ("alg that encrypts", with(rsa(), "alg", json!("RSA-OAEP"))),
            ("alg that the issuer may not use", with(rsa(), "alg", json!("RS512"))),
            ("alg of another type", with(rsa(), "alg", json!(256))),
            ("HS256 with a public key", with(rsa(), "alg", json!("HS256"))),
            ("none", with(rsa(), "alg", json!("none"))),
            ("1024 bits", with(rsa(), "n", json!(short))),
            ("8192 bits", with(rsa(), "n", json!(long))),
            ("e = 1", with(rsa(), "e", json!("AQ"))),
            ("an even e", with(rsa(), "e", json!("AQAC"))),
            ("e = 0", with(rsa(), "e", json!("AA"))),
            ("no e", with(rsa(), "e", json!(null))),
            ("padding", with(rsa(), "e", json!("AQAB===="))),
            ("the other alphabet", with(rsa(), "n", json!(N.replace('_', "/").replace('-', "+")))),
            ("spare bits", with(rsa(), "n", json!(format!("{}h", &N[..N.len() - 1])))),
            ("a private key", with(rsa(), "d", json!("AQAB"))),
            ("off the curve", with(ec(), "y", ec()["x"].clone())),
            (
                "the point at nowhere",
                with(with(ec(), "x", json!("A".repeat(43))), "y", json!("A".repeat(43))),
            ),
            ("a short x", with(ec(), "x", json!("AQAB"))),
            ("another curve", with(ec(), "crv", json!("P-384"))),
            ("P-521", with(ec(), "crv", json!("P-521"))),
            ("secp256k1", with(ec(), "crv", json!("secp256k1"))),
            (
                "oct",
                json!({ "kty": "oct", "k": "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow" }),
            ),
            ("X25519", json!({ "kty": "OKP", "crv": "X25519", "x": "A".repeat(43) })),
            ("kid of another type", with(rsa(), "kid", json!(1))),
            ("an unknown kty", json!({ "kty": "LMS" })),
            ("nothing", json!({})),
            ("no object", json!("a")),
        ] {
            let set = read(&[jwk, with(ec(), "kid", json!("good"))]);
            let kids: Vec<_> =
                set.keys().iter().map(|key| key.key_id().unwrap_or_default().to_owned()).collect();
            assert_eq!((kids.as_slice(), set.skipped()), (&["good".to_owned()][..], 1), "{name}");
        }
    }

    #[test]
    fn j16_two_keys_with_one_kid_and_algorithm_are_both_left_out() {
        let twins = [with(ec(), "kid", json!("a")), with(ec(), "kid", json!("a")), rsa()];
        assert_eq!(algorithms(&twins), [Algorithm::RS256]);
        assert_eq!(read(&twins).skipped(), 2);
        assert!(
            read(&twins).has(Some("a"), Algorithm::RS256)
                && !read(&twins).has(Some("a"), Algorithm::ES256)
        );
    }

    #[test]
    fn d162_a_document_that_is_no_set_or_a_huge_one_is_refused() {
        for (document, fault) in [
            ("", BadKeySet::Json),
            ("<html>", BadKeySet::Json),
            ("[]", BadKeySet::Json),
            (r#"{"keys":[],"keys":[]}"#, BadKeySet::Json),
            ("{}", BadKeySet::Keys),
            (r#"{"keys":{}}"#, BadKeySet::Keys),
        ] {
            assert_eq!(KeySet::read(document.as_bytes(), &ALL).unwrap_err(), fault, "{document}");
        }
        let many = json!({ "keys": vec![json!({}); 101] }).to_string();
        assert_eq!(KeySet::read(many.as_bytes(), &ALL).unwrap_err(), BadKeySet::TooMany);
        let nested = format!("{{\"keys\":{}", "[".repeat(100_000));
        assert_eq!(KeySet::read(nested.as_bytes(), &ALL).unwrap_err(), BadKeySet::Json);
    }

    #[test]
    fn j17_a_modulus_with_the_fingerprint_of_roca_is_known() {
        // 65537^k has the fingerprint by construction
        let power: Vec<u8> = [1, 0, 1].to_vec();
        assert!(is_roca(&power) && is_roca(&[1]));
        assert!(!is_roca(&URL_SAFE_NO_PAD.decode(N).unwrap()));
    }
}
