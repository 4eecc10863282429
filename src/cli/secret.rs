//! `tollgate secret`: a new random client secret, or the Argon2id hash of one that somebody chose.

use std::io::{self, Read, Write};
use std::process::ExitCode;

use argon2::{Argon2, PasswordHasher};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

use super::{SecretArgs, finished};

pub(super) fn main(args: &SecretArgs) -> ExitCode {
    let out = &mut io::stdout().lock();
    finished(if args.hash { hash(&mut io::stdin().lock(), out) } else { generate(out) })
}

/// Why there is no secret, or no hash.
#[derive(Debug, thiserror::Error)]
pub(super) enum SecretError {
    /// Standard input or output failed.
    #[error("reading or writing failed")]
    Io(#[from] io::Error),
    /// The random source failed.
    #[error("the random source failed")]
    Random(#[from] Unspecified),
    /// Nothing to hash.
    #[error(
        "there is no secret on standard input; try: printf %s \"$SECRET\" | tollgate secret --hash"
    )]
    Empty,
    /// More than one line.
    #[error("there is more than one line on standard input; a secret is one line")]
    Lines,
    /// More than 1 KiB.
    #[error("the secret is longer than {MAX_SECRET} bytes")]
    TooLong,
    /// Argon2 failed.
    #[error("the secret could not be hashed")]
    Hash,
}

/// Writes a new secret of 256 random bits, base64url, and a newline.
///
/// # Errors
/// [`SecretError::Random`] or [`SecretError::Io`].
pub(super) fn generate(out: &mut impl Write) -> Result<(), SecretError> {
    let mut bytes = Zeroizing::new([0; 32]);
    rand::fill(&mut *bytes)?;
    let text = Zeroizing::new(URL_SAFE_NO_PAD.encode(*bytes));
    Ok(writeln!(out, "{}", *text)?)
}

/// Reads one line and writes its Argon2id PHC string (19 MiB, two passes), for `secret_hash`. One newline at the end
/// is not part of the secret.
///
/// # Errors
/// [`SecretError`], by variant.
pub(super) fn hash(input: &mut impl Read, out: &mut impl Write) -> Result<(), SecretError> {
    let mut text = Zeroizing::new(Vec::new());
    input.take(MAX_SECRET as u64 + 3).read_to_end(&mut text)?;
    let line = text.strip_suffix(b"\n").unwrap_or(&text);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(SecretError::Empty);
    }
    if line.contains(&b'\n') {
        return Err(SecretError::Lines);
    }
    if line.len() > MAX_SECRET {
        return Err(SecretError::TooLong);
    }
    let hash = Argon2::default().hash_password(line).map_err(|_| SecretError::Hash)?;
    Ok(writeln!(out, "{hash}")?)
}

/// What fits into a request to the token endpoint, percent-encoded.
const MAX_SECRET: usize = 1024;

#[cfg(test)]
mod tests {
    use argon2::{Argon2, PasswordVerifier};

    use super::{SecretError, generate, hash};

    fn hashed(input: &[u8]) -> Result<String, SecretError> {
        let mut out = Vec::new();
        hash(&mut &*input, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_new_secret_has_256_bits_and_is_another_each_time() {
        let made = || {
            let mut out = Vec::new();
            generate(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(made().trim_end().len(), 43);
        assert_ne!(made(), made());
    }

    #[test]
    fn the_hash_is_of_the_line_without_its_newline() {
        for input in [&b"correct horse"[..], b"correct horse\n", b"correct horse\r\n"] {
            let hash = hashed(input).unwrap();
            assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
            let verified = Argon2::default().verify_password(b"correct horse", hash.trim_end());
            assert!(verified.is_ok());
        }
    }

    #[test]
    fn what_is_no_secret_is_not_hashed() {
        assert!(matches!(hashed(b""), Err(SecretError::Empty)));
        assert!(matches!(hashed(b"\n"), Err(SecretError::Empty)));
        assert!(matches!(hashed(b"a\nb\n"), Err(SecretError::Lines)));
        assert!(matches!(hashed(&[b'a'; 5_000]), Err(SecretError::TooLong)));
    }
}
