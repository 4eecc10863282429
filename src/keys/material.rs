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

/// Why key material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An HMAC key shorter than its hash or under 256 bits.
    #[error("the key has {bits} bits, {algorithm:?} needs at least {needed}")]
    TooShort {
        /// What there is.
        bits: u32,
        /// What is needed.
        needed: u32,
        /// For which algorithm.
        algorithm: Algorithm,
    },
    /// An RSA key that can be taken apart.
    #[error("the RSA key has fewer than {MIN_RSA_BITS} bits")]
    RsaTooShort,
    /// An RSA key that costs more than it protects.
    #[error("the RSA key has more than {MAX_RSA_BITS} bits")]
    RsaTooLong,
    /// One byte over and over.
    #[error("the key is one byte repeated, which anyone can guess; make one with `tollgate key`")]
    Repeated,
    /// A word from somebody's example.
    #[error("the key is a placeholder, which anyone can guess; make one with `tollgate key`")]
    Placeholder,
    /// A PEM text where the bytes of an HMAC key are expected.
    #[error("the key is a PEM text, {0:?} needs a secret; make one with `tollgate key`")]
    PemAsSecret(Algorithm),
    /// RSA, EC or Ed25519 asked of a secret.
    #[error("{0:?} needs a key in PEM")]
    NeedsPem(Algorithm),
    /// HMAC asked of a PEM.
    #[error("{0:?} needs a secret, not a PEM")]
    NeedsSecret(Algorithm),
    /// A key of another kind.
    #[error("the file holds {found} key, {algorithm:?} needs {} key", needed_kind(*algorithm))]
    WrongKind {
        /// With its article.
        found: &'static str,
        /// For which algorithm.
        algorithm: Algorithm,
    },
    /// A public key where the private one is needed.
    #[error("the file holds a public key, signing needs the private one")]
    PublicOnly,
    /// A private key under a passphrase.
    #[error(
        "the private key is encrypted; write it without a passphrase (`openssl pkey -in … -out …`)"
    )]
    Encrypted,
    /// A certificate.
    #[error(
        "the file holds a certificate, not a key; take its key out (`openssl x509 -pubkey -noout -in …`)"
    )]
    Certificate,
    /// Nothing that begins with `-----BEGIN … KEY-----`.
    #[error(
        "there is no PEM key in it (PRIVATE KEY, RSA PRIVATE KEY, EC PRIVATE KEY or PUBLIC KEY)"
    )]
    NoKey,
    /// A broken PEM section.
    #[error("the PEM is damaged")]
    Pem,
    /// An RSA exponent that is even or under 3.
    #[error("the RSA key has an unsafe public exponent")]
    Exponent,
    /// The key does not hold together: a point off its curve, numbers that contradict each other.
    #[error("the key is damaged")]
    Damaged(#[source] KeyRejected),
    /// Two keys that a token could not tell apart.
    #[error("two {algorithm:?} keys have the same key_id ({})", key_id.as_deref().unwrap_or("none"))]
    Duplicate {
        /// What both are called.
        key_id: Option<String>,
        /// What both are for.
        algorithm: Algorithm,
    },
    /// aws-lc would not do it.
    #[error("the cryptographic library refused")]
    Refused(#[from] Unspecified),
    /// The claims are not JSON.
    #[error("the claims cannot be written as JSON")]
    Claims(#[from] serde_json::Error),
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

fn judge_secret(algorithm: Algorithm, secret: &[u8]) -> Result<u32, KeyError> {
    if secret.starts_with(b"-----BEGIN ") {
        return Err(KeyError::PemAsSecret(algorithm));
    }
    if is_placeholder(secret) {
        return Err(KeyError::Placeholder);
    }
    let bits = u32::try_from(secret.len() * 8).unwrap_or(u32::MAX);
    let needed = hash_bits(algorithm);
    if bits < needed {
        return Err(KeyError::TooShort { bits, needed, algorithm });
    }
    match secret.split_first() {
        Some((first, rest)) if rest.iter().all(|byte| byte == first) => Err(KeyError::Repeated),
        _ => Ok(bits),
    }
}

/// Whether `secret` is a placeholder, in any case, between blanks, once or over and over.
fn is_placeholder(secret: &[u8]) -> bool {
    let text = secret.trim_ascii().to_ascii_lowercase();
    PLACEHOLDERS.iter().any(|word| {
        !text.is_empty()
            && text.chunks(word.len()).all(|chunk| word.as_bytes().starts_with(chunk))
            && text.len() >= word.len()
    })
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

fn needed_kind(algorithm: Algorithm) -> &'static str {
    match algorithm.family() {
        AlgorithmFamily::Hmac => "a secret",
        AlgorithmFamily::Rsa => "an RSA",
        AlgorithmFamily::Ec if algorithm == Algorithm::ES384 => "a P-384",
        AlgorithmFamily::Ec => "a P-256",
        AlgorithmFamily::Ed => "an Ed25519",
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

/// RFC 7518 §3.3.
const MIN_RSA_BITS: u32 = 2048;
/// What aws-lc takes; beyond it a signature costs more than a denial of service needs.
const MAX_RSA_BITS: u32 = 8192;
/// SEC 1 §2.3.3.
const UNCOMPRESSED: &u8 = &4;

/// Keys of tutorials, templates and forgotten defaults.
const PLACEHOLDERS: &[&str] = &[
    "secret",
    "changeme",
    "change-me",
    "change_me",
    "change me",
    "changeit",
    "password",
    "default",
    "example",
    "insecure",
    "jwt_secret",
    "jwtsecret",
    "my-secret",
    "mysecret",
    "my-secret-key",
    "my_secret_key",
    "mysecretkey",
    "secret-key",
    "secret_key",
    "secretkey",
    "supersecret",
    "super-secret",
    "super-secret-key",
    "supersecretkey",
    "signing-key",
    "test",
    "todo",
    "your-256-bit-secret",
    "your-384-bit-secret",
    "your-512-bit-secret",
    "your-secret-key",
    "your_secret_key",
    "a-string-secret-at-least-256-bits-long",
    "a-valid-string-secret-that-is-at-least-384-bits-long",
    "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
];

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, Validation, decode};
    use serde_json::{Value, json};

    use super::super::generate::generate;
    use super::{KeyError, SigningKey, VerifyingKey};
    use crate::secret::Secret;

    macro_rules! fixture {
        ($name:literal) => {
            include_bytes!(concat!("../../tests/fixtures/keys/", $name))
        };
    }

    fn secret(algorithm: Algorithm, bytes: &[u8]) -> Result<SigningKey, KeyError> {
        SigningKey::from_secret(algorithm, Secret::new(bytes.to_vec()), None)
    }

    fn private(algorithm: Algorithm, pem: &[u8]) -> Result<SigningKey, KeyError> {
        SigningKey::from_pem(algorithm, pem, None)
    }

    fn public(algorithm: Algorithm, pem: &[u8]) -> Result<VerifyingKey, KeyError> {
        VerifyingKey::from_pem(algorithm, pem, None)
    }

    /// Whether `verifying` accepts what `signing` signs.
    fn agree(signing: &SigningKey, verifying: &VerifyingKey) -> bool {
        let token = signing.sign("at+jwt", &json!({ "sub": "a" })).unwrap();
        let mut validation = Validation::new(verifying.algorithm());
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        decode::<Value>(&token, verifying.decoding(), &validation).is_ok()
    }

    const RANDOM: &[u8] = b"0f#kqPz7!mW2xR9vT4bN6cY1sD8gH3jL5aE0uI+oQ=ZkXpMrVtBnCyWsDgFhJlAe";

    const EVERY: [Algorithm; 12] = [
        Algorithm::HS256,
        Algorithm::HS384,
        Algorithm::HS512,
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::EdDSA,
    ];

    #[test]
    fn what_a_key_signs_its_own_verifying_half_accepts() {
        for algorithm in EVERY {
            let key = match algorithm {
                Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => secret(algorithm, RANDOM),
                Algorithm::ES256 => private(algorithm, fixture!("p256.pkcs8.pem")),
                Algorithm::ES384 => private(algorithm, fixture!("p384.sec1.pem")),
                Algorithm::EdDSA => private(algorithm, fixture!("ed25519.pkcs8.pem")),
                _ => private(algorithm, fixture!("rsa-2048.pkcs8.pem")),
            };
            let key = key.unwrap();
            assert!(agree(&key, key.verifying()), "{algorithm:?}");
        }
    }

    #[test]
    fn every_encoding_of_a_key_is_the_same_key() {
        let pkcs8 = private(Algorithm::RS256, fixture!("rsa-2048.pkcs8.pem")).unwrap();
        let pkcs1 = private(Algorithm::RS256, fixture!("rsa-2048.pkcs1.pem")).unwrap();
        let spki = public(Algorithm::RS256, fixture!("rsa-2048.public.pem")).unwrap();
        assert_eq!(pkcs8.verifying().key_id(), pkcs1.verifying().key_id());
        assert_eq!(pkcs8.verifying().key_id(), spki.key_id());
        assert!(agree(&pkcs1, &spki));
        assert_eq!(spki.bits(), 2048);

        let pkcs8 = private(Algorithm::ES256, fixture!("p256.pkcs8.pem")).unwrap();
        let sec1 = private(Algorithm::ES256, fixture!("p256.sec1.pem")).unwrap();
        let spki = public(Algorithm::ES256, fixture!("p256.public.pem")).unwrap();
        assert_eq!(pkcs8.verifying().key_id(), sec1.verifying().key_id());
        assert_eq!(pkcs8.verifying().key_id(), spki.key_id());
        assert!(agree(&sec1, &spki));

        let sec1 = private(Algorithm::ES384, fixture!("p384.sec1.pem")).unwrap();
        assert!(agree(&sec1, &public(Algorithm::ES384, fixture!("p384.public.pem")).unwrap()));
        let ed = private(Algorithm::EdDSA, fixture!("ed25519.pkcs8.pem")).unwrap();
        assert!(agree(&ed, &public(Algorithm::EdDSA, fixture!("ed25519.public.pem")).unwrap()));
    }

    #[test]
    fn a_private_key_also_verifies() {
        let signing = private(Algorithm::PS256, fixture!("rsa-2048.pkcs8.pem")).unwrap();
        let half = public(Algorithm::PS256, fixture!("rsa-2048.pkcs1.pem")).unwrap();
        assert!(agree(&signing, &half));
    }

    #[test]
    fn the_default_kid_is_the_thumbprint_that_rfc_7638_gives() {
        let key = public(Algorithm::RS256, fixture!("rfc7638.public.pem")).unwrap();
        assert_eq!(key.key_id(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
    }

    #[test]
    fn a_configured_kid_wins_over_the_thumbprint() {
        let kid = Some("2026-11".to_owned());
        let key = SigningKey::from_pem(Algorithm::ES256, fixture!("p256.pkcs8.pem"), kid).unwrap();
        assert_eq!(key.verifying().key_id(), Some("2026-11"));
    }

    #[test]
    fn an_hmac_key_is_at_least_as_long_as_its_hash() {
        assert!(secret(Algorithm::HS256, &RANDOM[..32]).is_ok());
        let needed = |result| match result {
            Err(KeyError::TooShort { needed, .. }) => needed,
            _ => 0,
        };
        assert_eq!(needed(secret(Algorithm::HS256, &RANDOM[..31])), 256);
        assert_eq!(needed(secret(Algorithm::HS384, &RANDOM[..47])), 384);
        assert_eq!(needed(secret(Algorithm::HS512, &RANDOM[..63])), 512);
        assert_eq!(secret(Algorithm::HS512, RANDOM).unwrap().verifying().bits(), 512);
    }

    #[test]
    fn j10_weak_keys_are_refused() {
        assert!(matches!(secret(Algorithm::HS256, b""), Err(KeyError::TooShort { bits: 0, .. })));
        assert!(matches!(secret(Algorithm::HS256, &[0; 32]), Err(KeyError::Repeated)));
        assert!(matches!(secret(Algorithm::HS256, &[b'k'; 64]), Err(KeyError::Repeated)));
        for text in [
            "secret",
            "Secret\n",
            "changeme",
            "CHANGEME",
            "changemechangemechangemechangeme",
            "secretsecretsecretsecretsecretse",
            "a-string-secret-at-least-256-bits-long",
        ] {
            let result = secret(Algorithm::HS256, text.as_bytes());
            assert!(matches!(result, Err(KeyError::Placeholder)), "{text}");
        }
        assert!(secret(Algorithm::HS256, b"secretly, a sentence of a person").is_ok());
    }

    #[test]
    fn j3_a_pem_is_never_an_hmac_key() {
        let pem = fixture!("rsa-2048.public.pem");
        assert!(matches!(secret(Algorithm::HS256, pem), Err(KeyError::PemAsSecret(_))));
        assert!(matches!(public(Algorithm::HS256, pem), Err(KeyError::NeedsSecret(_))));
        assert!(matches!(secret(Algorithm::RS256, RANDOM), Err(KeyError::NeedsPem(_))));
    }

    #[test]
    fn j17_weak_rsa_keys_are_refused() {
        let result = private(Algorithm::RS256, fixture!("rsa-1024.pkcs8.pem"));
        assert!(matches!(result, Err(KeyError::RsaTooShort)), "{result:?}");
        let result = public(Algorithm::RS256, fixture!("rsa-1024.public.pem"));
        assert!(matches!(result, Err(KeyError::RsaTooShort)), "{result:?}");
    }

    #[test]
    fn j17_a_point_off_its_curve_is_refused() {
        let text = String::from_utf8(fixture!("p256.public.pem").to_vec()).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // The last characters of the body are those of y.
        let spoiled = if lines[2].starts_with('A') { "B" } else { "A" };
        lines[2].replace_range(0..1, spoiled);
        let result = public(Algorithm::ES256, lines.join("\n").as_bytes());
        assert!(matches!(result, Err(KeyError::Damaged(_))), "{result:?}");
    }

    #[test]
    fn j6_a_key_of_another_kind_is_named_in_the_refusal() {
        let told = |algorithm, pem: &[u8]| private(algorithm, pem).unwrap_err().to_string();
        assert_eq!(
            told(Algorithm::ES256, fixture!("p384.sec1.pem")),
            "the file holds a P-384 key, ES256 needs a P-256 key"
        );
        assert_eq!(
            told(Algorithm::ES384, fixture!("p521.pkcs8.pem")),
            "the file holds a P-521 key, ES384 needs a P-384 key"
        );
        assert_eq!(
            told(Algorithm::EdDSA, fixture!("rsa-2048.pkcs1.pem")),
            "the file holds an RSA key, EdDSA needs an Ed25519 key"
        );
        assert_eq!(
            told(Algorithm::RS256, fixture!("ed25519.pkcs8.pem")),
            "the file holds an Ed25519 key, RS256 needs an RSA key"
        );
    }

    #[test]
    fn a_file_that_cannot_sign_says_why() {
        let told = |pem: &[u8]| private(Algorithm::ES256, pem).unwrap_err();
        assert!(matches!(told(fixture!("p256.public.pem")), KeyError::PublicOnly));
        assert!(matches!(told(fixture!("p256.encrypted.pem")), KeyError::Encrypted));
        assert!(matches!(told(fixture!("p256.certificate.pem")), KeyError::Certificate));
        assert!(matches!(told(b"hello"), KeyError::NoKey));
        let broken = b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n";
        assert!(matches!(told(broken), KeyError::Pem));
    }

    #[test]
    fn a_generated_key_can_be_read_again_with_text_before_it() {
        for algorithm in EVERY {
            let made = generate(algorithm).unwrap();
            let text = made.text.expose();
            let Some(key_id) = made.key_id else {
                assert!(text.starts_with("base64:"));
                continue;
            };
            let text = format!("# kid: {key_id}\n{text}");
            let key = private(algorithm, text.as_bytes()).unwrap();
            assert_eq!(key.verifying().key_id(), Some(key_id.as_str()));
        }
    }

    #[test]
    fn two_generated_keys_differ() {
        let made = || generate(Algorithm::HS256).unwrap().text.expose().clone();
        assert_ne!(made(), made());
    }

    #[test]
    fn debug_output_shows_no_key() {
        let key = secret(Algorithm::HS256, RANDOM).unwrap();
        let shown = format!("{key:?}");
        assert!(shown.contains("HS256") && !shown.contains("0f#k") && !shown.contains("48, 102"));
    }

    #[test]
    fn the_header_bears_type_algorithm_and_kid() {
        let kid = Some("hs".to_owned());
        let key = SigningKey::from_secret(Algorithm::HS256, Secret::new(RANDOM.to_vec()), kid);
        let token = key.unwrap().sign("at+jwt", &json!({})).unwrap();
        let header = jsonwebtoken::decode_header(&token).unwrap();
        assert_eq!(header.typ.as_deref(), Some("at+jwt"));
        assert_eq!(header.kid.as_deref(), Some("hs"));
    }
}
