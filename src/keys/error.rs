//! Why key material cannot be used, told to whoever configures it.

use aws_lc_rs::error::{KeyRejected, Unspecified};
use jsonwebtoken::{Algorithm, AlgorithmFamily};

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

/// With its article.
pub(super) fn needed_kind(algorithm: Algorithm) -> &'static str {
    match algorithm.family() {
        AlgorithmFamily::Hmac => "a secret",
        AlgorithmFamily::Rsa => "an RSA",
        AlgorithmFamily::Ec if algorithm == Algorithm::ES384 => "a P-384",
        AlgorithmFamily::Ec => "a P-256",
        AlgorithmFamily::Ed => "an Ed25519",
    }
}

/// RFC 7518 §3.3.
pub(super) const MIN_RSA_BITS: u32 = 2048;
/// What aws-lc takes; beyond it a signature costs more than a denial of service needs.
pub(super) const MAX_RSA_BITS: u32 = 8192;
