//! Whether a secret is good enough for an HMAC: long enough, and nothing that anyone can guess.

use jsonwebtoken::Algorithm;

use super::KeyError;
use super::material::hash_bits;

/// The bits of `secret`.
///
/// # Errors
/// Why nothing may be signed with it.
pub(super) fn judge_secret(algorithm: Algorithm, secret: &[u8]) -> Result<u32, KeyError> {
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
