//! One key at a time: from a file or a setting to something that signs or verifies.

use jsonwebtoken::Algorithm;
use serde::Serialize;

use crate::secret::Secret;

/// A key that signs.
#[derive(Debug)]
pub struct SigningKey {
    verifying: VerifyingKey,
}

/// A key that verifies with exactly one algorithm.
#[derive(Clone, Debug)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    key_id: Option<String>,
    bits: u32,
}

/// Why key material cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// An HMAC key shorter than its hash, or under 256 bits.
    #[error("the key has {bits} bits, {algorithm:?} needs at least {needed}")]
    TooShort {
        /// What there is.
        bits: u32,
        /// What is needed.
        needed: u32,
        /// For which algorithm.
        algorithm: Algorithm,
    },
}

/// A new key, and its `kid`.
#[derive(Debug)]
pub struct Generated {
    /// PEM (PKCS#8), or `base64:…` for HS*.
    pub text: Secret<String>,
    /// RFC 7638 thumbprint of an asymmetric key.
    pub key_id: Option<String>,
}

impl SigningKey {
    /// An HMAC key.
    pub fn from_secret(
        _algorithm: Algorithm,
        _secret: Secret<Vec<u8>>,
        _key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        todo!()
    }

    /// A private key in PEM; without `key_id` its RFC 7638 thumbprint is its `kid`.
    pub fn from_pem(
        _algorithm: Algorithm,
        _pem: &[u8],
        _key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        todo!()
    }

    /// The half that verifies.
    pub fn verifying(&self) -> &VerifyingKey {
        &self.verifying
    }

    /// A compact JWS over `claims` with header `alg`, `typ` and, where there is one, `kid`.
    pub fn sign<T: Serialize>(&self, _typ: &str, _claims: &T) -> Result<String, KeyError> {
        todo!()
    }
}

impl VerifyingKey {
    /// An HMAC key.
    pub fn from_secret(
        _algorithm: Algorithm,
        _secret: Secret<Vec<u8>>,
        _key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        todo!()
    }

    /// A public key (SPKI PEM), or the public half of a private one; without `key_id` its thumbprint is its `kid`.
    pub fn from_pem(
        _algorithm: Algorithm,
        _pem: &[u8],
        _key_id: Option<String>,
    ) -> Result<Self, KeyError> {
        todo!()
    }

    /// The one algorithm it is used with.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its `kid`.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// Its strength: bits of an HMAC key or an RSA modulus, of the curve otherwise.
    pub const fn bits(&self) -> u32 {
        self.bits
    }
}

/// A new key for `algorithm`.
pub fn generate(_algorithm: Algorithm) -> Result<Generated, KeyError> {
    todo!()
}
