//! New keys, from the random source of aws-lc.

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::{Algorithm, AlgorithmFamily};
use zeroize::Zeroizing;

use super::KeyError;
use super::material::{SigningKey, hash_bits};
use super::pem;
use crate::secret::Secret;

/// A new key, and its `kid`.
#[derive(Debug)]
pub struct Generated {
    /// PEM (PKCS#8), or `base64:…` for HS*.
    pub text: Secret<String>,
    /// RFC 7638 thumbprint of an asymmetric key.
    pub key_id: Option<String>,
}

/// A new key for `algorithm`: as many bits as the hash for HS*, 2048 bits for RSA.
///
/// # Errors
/// [`KeyError::Refused`] if the random source fails.
pub fn generate(algorithm: Algorithm) -> Result<Generated, KeyError> {
    let text = match algorithm.family() {
        AlgorithmFamily::Hmac => hmac(algorithm)?,
        AlgorithmFamily::Rsa => {
            let der = rsa::KeyPair::generate(rsa::KeySize::Rsa2048)?.as_der()?;
            pem::write(LABEL, der.as_ref())
        }
        AlgorithmFamily::Ec => {
            let curve = match algorithm {
                Algorithm::ES384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
                _ => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            };
            let document = signature::EcdsaKeyPair::generate(curve)?.to_pkcs8v1()?;
            pem::write(LABEL, document.as_ref())
        }
        AlgorithmFamily::Ed => {
            let document = signature::Ed25519KeyPair::generate()?.to_pkcs8v1()?;
            pem::write(LABEL, document.as_ref())
        }
    };
    let key_id = match algorithm.family() {
        AlgorithmFamily::Hmac => None,
        _ => SigningKey::from_pem(algorithm, text.as_bytes(), None)?
            .verifying()
            .key_id()
            .map(str::to_owned),
    };
    Ok(Generated { text: Secret::new(text), key_id })
}

fn hmac(algorithm: Algorithm) -> Result<String, KeyError> {
    let length = usize::try_from(hash_bits(algorithm) / 8).unwrap_or(64);
    let mut bytes = Zeroizing::new(vec![0; length]);
    rand::fill(&mut bytes)?;
    Ok(format!("base64:{}", STANDARD.encode(&*bytes)))
}

const LABEL: &str = "PRIVATE KEY";
