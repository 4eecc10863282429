//! The bare check of a signature: aws-lc, with a key that was parsed once, when it was read. Knows no token.
//!
//! Invariant: a verifier has one algorithm, its key's; what jsonwebtoken says of the same key, message and signature is
//! the same (`auth::differential` compares them).

use std::time::Duration;

use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self, ParsedPublicKey, VerificationAlgorithm};
use jsonwebtoken::Algorithm;

/// A key that verifies, ready for use. Wiped by aws-lc when it goes.
pub(super) enum Verifier {
    Shared(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

impl Verifier {
    /// Of a secret, for one of HS*.
    pub(super) fn shared(algorithm: hmac::Algorithm, secret: &[u8]) -> Self {
        Self::Shared(Box::new(hmac::Key::new(algorithm, secret)))
    }

    /// Of a public key: `RSAPublicKey` (RFC 8017 §A.1.1), an uncompressed point, or the 32 bytes of Ed25519.
    pub(super) fn public(algorithm: Algorithm, key: &[u8]) -> Result<Self, KeyRejected> {
        Ok(Self::Public(ParsedPublicKey::new(scheme(algorithm)?, key)?))
    }

    /// Whether `signature` is this key's over exactly `message`. In constant time where the key is a secret.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Self::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

/// How aws-lc calls an algorithm of public keys.
fn scheme(algorithm: Algorithm) -> Result<&'static dyn VerificationAlgorithm, KeyRejected> {
    Ok(match algorithm {
        Algorithm::RS256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::RS384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::RS512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::PS256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::PS384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::PS512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::ES256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDSA => &signature::ED25519,
        _ => return Err(KeyRejected::from(Unspecified)), // HS*, and what is unknown here
    })
}

/// About what one verification takes of an ordinary core. Only the proportions matter.
pub(super) const fn cost(algorithm: Algorithm, bits: u32) -> Duration {
    Duration::from_micros(match algorithm {
        Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => 1,
        Algorithm::RS256
        | Algorithm::RS384
        | Algorithm::RS512
        | Algorithm::PS256
        | Algorithm::PS384
        | Algorithm::PS512 => match bits {
            0..=2048 => 25,
            2049..=3072 => 50,
            3073..=4096 => 85,
            _ => 320,
        },
        Algorithm::ES256 => 80,
        Algorithm::EdDSA => 60,
        _ => 250, // ES384, and what is unknown here
    })
}
