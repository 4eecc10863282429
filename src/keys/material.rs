//! One key at a time: from a file or a setting to something that signs or verifies.
//!
//! Both halves are held as aws-lc has parsed them: jsonwebtoken's `EncodingKey` and `DecodingKey` are parsed and checked
//! again for every token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Serialize;

use super::KeyError;
use super::error::{MAX_RSA_BITS, MIN_RSA_BITS, needed_kind};
use super::guessable::judge_secret;
use super::pem::{self, PrivateKind, Section};
use super::verifier::{self, Verifier};
use crate::secret::Secret;

/// A key that signs.
pub struct SigningKey {
    verifying: VerifyingKey,
    pair: Pair,
}

/// A key that verifies with exactly one algorithm.
#[derive(Clone)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key_id: Option<String>,
    bits: u32,
    verifier: Arc<Verifier>,
    decoding: DecodingKey,
    /// The members of its JWK that RFC 7638 §3.2 requires, in JSON; none for a secret.
    members: Option<Box<str>>,
}

/// What a JWK says of a public key (RFC 7518 §6, RFC 8037 §2).
pub(super) struct Members<'a> {
    pub(super) kty: &'a str,
    pub(super) crv: Option<&'a str>,
    pub(super) n: Option<&'a str>,
    pub(super) e: Option<&'a str>,
    pub(super) x: Option<&'a str>,
    pub(super) y: Option<&'a str>,
}

enum Pair {
    Hmac(Box<hmac::Key>),
    Rsa(Box<rsa::KeyPair>, &'static dyn signature::RsaEncoding),
    Ec(Box<EcdsaKeyPair>),
    Ed(Box<Ed25519KeyPair>),
}

impl SigningKey {
    /// An HMAC key.
    ///
    /// # Errors
    /// [`KeyError`] if the secret is short, guessable or a PEM, or the algorithm is not HS*.
    pub fn from_secret(
        algorithm: Algorithm,
        secret: Secret<Vec<u8>>,
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let pair = Pair::Hmac(Box::new(hmac::Key::new(hmac_algorithm(algorithm), secret.expose())));
        Ok(Self { verifying: VerifyingKey::from_secret(algorithm, secret, key_id)?, pair })
    }

    /// A private key in PEM; without `key_id` its RFC 7638 thumbprint is its `kid`.
    ///
    /// # Errors
    /// [`KeyError`] if there is no private key for `algorithm` in it, or a weak one.
    pub fn from_pem(
        algorithm: Algorithm,
        pem: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let section = section_for(algorithm, pem)?;
        let Section::Private { kind, der } = &section else { return Err(KeyError::PublicOnly) };
        let pair = Pair::read(algorithm, *kind, der)?;
        Ok(Self { verifying: VerifyingKey::of_pair(algorithm, &pair, key_id)?, pair })
    }

    /// The half that verifies.
    #[must_use]
    pub const fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// A compact JWS over `claims` with header `alg`, `typ` and, where there is one, `kid`.
    ///
    /// # Errors
    /// [`KeyError::Claims`] if they are not JSON, [`KeyError::Refused`] if aws-lc fails.
    pub fn sign<T: Serialize>(&self, typ: &str, claims: &T) -> Result<String, KeyError> {
        let header =
            Header { typ, alg: self.verifying.algorithm, kid: self.verifying.key_id.as_deref() };
        let header = serde_json::to_vec(&header)?;
        let claims = serde_json::to_vec(claims)?;
        let mut token = String::with_capacity((header.len() + claims.len() + 128) * 4 / 3);
        URL_SAFE_NO_PAD.encode_string(header, &mut token);
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(claims, &mut token);
        let signed = self.pair.sign(token.as_bytes())?;
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(signed, &mut token);
        Ok(token)
    }

    /// The bare signature of `message`.
    ///
    /// # Errors
    /// [`KeyError::Refused`] if aws-lc fails.
    pub(crate) fn sign_bytes(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        Ok(self.pair.sign(message)?)
    }
}

impl VerifyingKey {
    /// An HMAC key.
    ///
    /// # Errors
    /// [`KeyError`] if the secret is short, guessable or a PEM, or the algorithm is not HS*.
    pub fn from_secret(
        algorithm: Algorithm,
        secret: Secret<Vec<u8>>,
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        if algorithm.family() != AlgorithmFamily::Hmac {
            return Err(KeyError::NeedsPem(algorithm));
        }
        let bits = judge_secret(algorithm, secret.expose())?;
        let decoding = DecodingKey::from_secret(secret.expose());
        let verifier = Arc::new(Verifier::shared(hmac_algorithm(algorithm), secret.expose()));
        Ok(Self { algorithm, key_id, bits, verifier, decoding, members: None })
    }

    /// A public key (SPKI PEM), or the public half of a private one; without `key_id` its thumbprint is its `kid`.
    ///
    /// # Errors
    /// [`KeyError`] if there is no key for `algorithm` in it, or a weak one.
    pub fn from_pem(
        algorithm: Algorithm,
        pem: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let section = section_for(algorithm, pem)?;
        let der = match &section {
            Section::Public(der) => der,
            Section::Private { kind, der } => {
                return Self::of_pair(algorithm, &Pair::read(algorithm, *kind, der)?, key_id);
            }
        };
        match algorithm.family() {
            AlgorithmFamily::Hmac => Err(KeyError::NeedsSecret(algorithm)),
            AlgorithmFamily::Rsa => {
                let key = rsa::PublicKey::from_der(der).map_err(KeyError::Damaged)?;
                Self::of_rsa(algorithm, key.as_ref(), key_id)
            }
            AlgorithmFamily::Ec | AlgorithmFamily::Ed => {
                // aws-lc has checked the point; written anew the key always ends with it.
                let key = ParsedPublicKey::new(point_scheme(algorithm), der)
                    .map_err(KeyError::Damaged)?
                    .as_der()?;
                let point = key.as_ref().len().checked_sub(point_length(algorithm));
                let point = point.and_then(|at| key.as_ref().get(at..)).ok_or(Unspecified)?;
                Self::of_point(algorithm, point, key_id)
            }
        }
    }

    /// An RSA public key by its numbers, most significant byte first. Without `key_id` it has no `kid`.
    ///
    /// # Errors
    /// [`KeyError`] if it is weak.
    pub fn from_rsa(
        algorithm: Algorithm,
        modulus: &[u8],
        exponent: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let der = pem::rsa_public_key(modulus, exponent);
        Self::of_rsa(algorithm, &der, Some(String::new())).map(|key| key.named(key_id))
    }

    /// A public key by its uncompressed point (SEC 1 §2.3.3), or by its 32 bytes for Ed25519. Without `key_id` it has no `kid`.
    ///
    /// # Errors
    /// [`KeyError`] if it is not on the curve.
    pub fn from_point(
        algorithm: Algorithm,
        point: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        Self::checked_point(algorithm, point, Some(String::new())).map(|key| key.named(key_id))
    }

    /// Whether `signature` is this key's over exactly `message`: the bare check beneath every judgement of a token.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.verifier.verifies(message, signature)
    }

    /// As [`VerifyingKey::verifies`], of a signature in canonical base64url without padding.
    #[must_use]
    pub fn has_signed(&self, message: &[u8], signature: &str) -> bool {
        let signature = URL_SAFE_NO_PAD.decode(signature);
        signature.is_ok_and(|signature| self.verifies(message, &signature))
    }

    /// About what [`VerifyingKey::verifies`] takes of an ordinary core.
    #[must_use]
    pub const fn cost(&self) -> Duration {
        verifier::cost(self.algorithm, self.bits)
    }

    /// The same key under another `kid`, or none.
    #[must_use]
    pub fn named(self, key_id: Option<String>) -> Self {
        Self { key_id, ..self }
    }

    /// The one algorithm it is used with.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its `kid`.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Its strength: bits of an HMAC key or an RSA modulus, of the curve otherwise.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The key as jsonwebtoken takes it, for comparison. It does not know its algorithm: use it with
    /// [`VerifyingKey::algorithm`] alone.
    #[must_use]
    pub const fn decoding(&self) -> &DecodingKey {
        &self.decoding
    }

    fn of_pair(
        algorithm: Algorithm,
        pair: &Pair,
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        match pair {
            Pair::Hmac(_) => Err(KeyError::NeedsSecret(algorithm)),
            Pair::Rsa(pair, _) => Self::of_rsa(algorithm, pair.public_key().as_ref(), key_id),
            Pair::Ec(pair) => Self::of_point(algorithm, pair.public_key().as_ref(), key_id),
            Pair::Ed(pair) => Self::of_point(algorithm, pair.public_key().as_ref(), key_id),
        }
    }

    /// From an `RSAPublicKey` (RFC 8017 §A.1.1).
    fn of_rsa(algorithm: Algorithm, der: &[u8], key_id: Option<String>) -> Result<Self, KeyError> {
        let (modulus, exponent) = pem::rsa_numbers(der).ok_or(Unspecified)?;
        let bits = bit_length(modulus);
        if bits < MIN_RSA_BITS {
            return Err(KeyError::RsaTooShort);
        }
        if bits > MAX_RSA_BITS {
            return Err(KeyError::RsaTooLong);
        }
        if exponent.last().is_none_or(|last| last % 2 == 0) || bit_length(exponent) < 2 {
            return Err(KeyError::Exponent);
        }
        let (e, n) = (URL_SAFE_NO_PAD.encode(exponent), URL_SAFE_NO_PAD.encode(modulus));
        let members = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        Self::public(algorithm, key_id, bits, (der, DecodingKey::from_rsa_der(der)), members)
    }

    /// From an uncompressed point of the algorithm's curve, or an Ed25519 public key.
    fn of_point(
        algorithm: Algorithm,
        point: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let (curve, bits) = match algorithm {
            Algorithm::ES256 => ("P-256", 256),
            Algorithm::ES384 => ("P-384", 384),
            _ => ("Ed25519", 256),
        };
        if algorithm == Algorithm::EdDSA {
            let x = URL_SAFE_NO_PAD.encode(point);
            let members = format!(r#"{{"crv":"{curve}","kty":"OKP","x":"{x}"}}"#);
            let key = (point, DecodingKey::from_ed_der(point));
            return Self::public(algorithm, key_id, bits, key, members);
        }
        let Some((UNCOMPRESSED, numbers)) = point.split_first() else { Err(Unspecified)? };
        let (x, y) = numbers.split_at(numbers.len() / 2);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        let members = format!(r#"{{"crv":"{curve}","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Self::public(algorithm, key_id, bits, (point, DecodingKey::from_ec_der(point)), members)
    }

    fn public(
        algorithm: Algorithm,
        key_id: Option<String>,
        bits: u32,
        (key, decoding): (&[u8], DecodingKey),
        members: String,
    ) -> Result<Self, KeyError> {
        let verifier = Arc::new(Verifier::public(algorithm, key).map_err(KeyError::Damaged)?);
        let key_id = Some(key_id.unwrap_or_else(|| thumbprint(&members)));
        Ok(Self { algorithm, key_id, bits, verifier, decoding, members: Some(members.into()) })
    }

    /// Whether it is a secret: whoever verifies with it can sign.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.algorithm.family() == AlgorithmFamily::Hmac
    }

    /// The public members of its JWK in JSON (RFC 7638 §3.2); none for a secret.
    pub(super) fn members(&self) -> Option<&str> {
        self.members.as_deref()
    }

    /// From the members of a JWK, unknown ones ignored. `key_id` as it stands there, else its thumbprint.
    ///
    /// # Errors
    /// [`KeyError`] if it is no public key for `algorithm`, or a weak one.
    pub(super) fn from_members(
        algorithm: Algorithm,
        members: &Members<'_>,
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        let number = |text: Option<&str>| {
            let bytes = text.and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
            bytes.filter(|bytes| !bytes.is_empty()).ok_or(KeyError::Refused(Unspecified))
        };
        let found = match (members.kty, members.crv) {
            ("RSA", _) => "an RSA",
            ("EC", Some("P-256")) => "a P-256",
            ("EC", Some("P-384")) => "a P-384",
            ("OKP", Some("Ed25519")) => "an Ed25519",
            _ => "another",
        };
        if found != needed_kind(algorithm) {
            return Err(KeyError::WrongKind { found, algorithm });
        }
        match algorithm.family() {
            AlgorithmFamily::Hmac => Err(KeyError::NeedsSecret(algorithm)),
            AlgorithmFamily::Rsa => {
                let der = pem::rsa_public_key(&number(members.n)?, &number(members.e)?);
                let key = rsa::PublicKey::from_der(&der).map_err(KeyError::Damaged)?;
                Self::of_rsa(algorithm, key.as_ref(), key_id)
            }
            AlgorithmFamily::Ec => {
                let mut point = vec![*UNCOMPRESSED];
                point.extend(number(members.x)?);
                point.extend(number(members.y)?);
                Self::checked_point(algorithm, &point, key_id)
            }
            AlgorithmFamily::Ed => Self::checked_point(algorithm, &number(members.x)?, key_id),
        }
    }

    /// As [`VerifyingKey::of_point`], of a point that may be on no curve.
    fn checked_point(
        algorithm: Algorithm,
        point: &[u8],
        key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        if point.len() != point_length(algorithm) {
            return Err(KeyError::Refused(Unspecified));
        }
        // aws-lc checks that the point is on its curve
        ParsedPublicKey::new(point_scheme(algorithm), point).map_err(KeyError::Damaged)?;
        Self::of_point(algorithm, point, key_id)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("SigningKey").field("verifying", &self.verifying).finish_non_exhaustive()
    }
}

impl fmt::Debug for VerifyingKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("VerifyingKey")
            .field("algorithm", &self.algorithm)
            .field("key_id", &self.key_id)
            .field("bits", &self.bits)
            .finish_non_exhaustive()
    }
}

impl Pair {
    fn read(algorithm: Algorithm, kind: PrivateKind, der: &[u8]) -> Result<Self, KeyError> {
        match algorithm.family() {
            AlgorithmFamily::Hmac => Err(KeyError::NeedsSecret(algorithm)),
            AlgorithmFamily::Rsa => {
                let pair = match kind {
                    PrivateKind::Pkcs1 => rsa::KeyPair::from_der(der),
                    PrivateKind::Pkcs8 | PrivateKind::Sec1 => rsa::KeyPair::from_pkcs8(der),
                };
                let pair = pair.map_err(rsa_error)?;
                Ok(Self::Rsa(Box::new(pair), rsa_padding(algorithm)))
            }
            AlgorithmFamily::Ec => {
                let curve = match algorithm {
                    Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                    _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
                };
                let pair = EcdsaKeyPair::from_private_key_der(curve, der);
                Ok(Self::Ec(Box::new(pair.map_err(KeyError::Damaged)?)))
            }
            AlgorithmFamily::Ed => {
                let pair = Ed25519KeyPair::from_pkcs8(der).map_err(KeyError::Damaged)?;
                Ok(Self::Ed(Box::new(pair)))
            }
        }
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        Ok(match self {
            Self::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Self::Rsa(pair, padding) => {
                let mut signed = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &random, message, &mut signed)?;
                signed
            }
            Self::Ec(pair) => pair.sign(&random, message)?.as_ref().to_vec(),
            Self::Ed(pair) => pair.try_sign(message)?.as_ref().to_vec(),
        })
    }
}

/// RFC 7515 §4.1, in the order that most libraries write it.
#[derive(Serialize)]
struct Header<'a> {
    typ: &'a str,
    alg: Algorithm,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

/// The bits of the hash of an HS* algorithm, which its key must have at least (RFC 7518 §3.2).
pub(super) const fn hash_bits(algorithm: Algorithm) -> u32 {
    match algorithm {
        Algorithm::HS384 => 384,
        Algorithm::HS512 => 512,
        _ => 256,
    }
}

/// The first key in `pem`, if it is one that `algorithm` can use.
fn section_for(algorithm: Algorithm, text: &[u8]) -> Result<Section, KeyError> {
    if algorithm.family() == AlgorithmFamily::Hmac {
        return Err(KeyError::NeedsSecret(algorithm));
    }
    let section = pem::read(text)?;
    let found = pem::kind(&section);
    if found == needed_kind(algorithm) {
        Ok(section)
    } else {
        Err(KeyError::WrongKind { found, algorithm })
    }
}

const fn point_length(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::ES256 => 65,
        Algorithm::ES384 => 97,
        _ => 32,
    }
}

fn point_scheme(algorithm: Algorithm) -> &'static dyn signature::VerificationAlgorithm {
    match algorithm {
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        _ => &signature::ED25519,
    }
}

fn hmac_algorithm(algorithm: Algorithm) -> hmac::Algorithm {
    match algorithm {
        Algorithm::HS384 => hmac::HMAC_SHA384,
        Algorithm::HS512 => hmac::HMAC_SHA512,
        _ => hmac::HMAC_SHA256,
    }
}

fn rsa_padding(algorithm: Algorithm) -> &'static dyn signature::RsaEncoding {
    match algorithm {
        Algorithm::RS384 => &signature::RSA_PKCS1_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_SHA512,
        _ => &signature::RSA_PKCS1_SHA256,
    }
}

/// aws-lc tells a size it does not take by name only.
fn rsa_error(rejected: KeyRejected) -> KeyError {
    match rejected.to_string().as_str() {
        "TooSmall" => KeyError::RsaTooShort,
        "TooLarge" => KeyError::RsaTooLong,
        _ => KeyError::Damaged(rejected),
    }
}

fn bit_length(number: &[u8]) -> u32 {
    let zeros = number.first().map_or(0, |first| first.leading_zeros());
    u32::try_from(number.len() * 8).unwrap_or(u32::MAX).saturating_sub(zeros)
}

/// RFC 7638 §3: the digest of the required members, in order, without blanks.
fn thumbprint(members: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, members.as_bytes());
    URL_SAFE_NO_PAD.encode(digest)
}

/// SEC 1 §2.3.3.
const UNCOMPRESSED: &u8 = &4;

#[cfg(test)]
mod tests;
