//! `tollgate key`: a new signing key.

use std::io::{self, Write};
use std::process::ExitCode;

use super::{KeyArgs, finished, wrong};
use crate::keys::{Algorithm, KeyError, generate};

pub(super) fn main(args: &KeyArgs) -> ExitCode {
    let Ok(algorithm) = args.algorithm.parse() else {
        return wrong(&format!(
            "{:?} is no algorithm that a key is made for; there are HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, \
             PS512, ES256, ES384 and EdDSA",
            args.algorithm
        ));
    };
    finished(new(algorithm, &mut io::stdout().lock(), &mut io::stderr().lock()))
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeyCommandError {
    /// The key could not be made.
    #[error("the key could not be made")]
    Key(#[from] KeyError),
    /// Standard output failed.
    #[error("writing failed")]
    Io(#[from] io::Error),
}

/// Writes a new key for `algorithm` to `out` (PEM, or `base64:…` for HS*), ready to be a `key_file` or a `key`;
/// and its `kid` to `notes`.
///
/// # Errors
/// [`KeyCommandError`], by variant.
pub(super) fn new(
    algorithm: Algorithm,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), KeyCommandError> {
    let made = generate(algorithm)?;
    writeln!(out, "{}", made.text.expose().trim_end())?;
    out.flush()?;
    match made.key_id {
        Some(key_id) => writeln!(notes, "kid: {key_id}")?,
        None => writeln!(notes, "kid: none ({algorithm:?} keys have one only if key_id is set)")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::new;
    use crate::keys::{Algorithm, SigningKey};

    #[test]
    fn the_key_can_be_read_again_and_has_the_kid_that_was_told() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        new(Algorithm::ES256, &mut out, &mut notes).unwrap();
        let key = SigningKey::from_pem(Algorithm::ES256, &out, None).unwrap();
        let told = String::from_utf8(notes).unwrap();
        assert_eq!(told, format!("kid: {}\n", key.verifying().key_id().unwrap()));
    }

    #[test]
    fn an_hmac_key_is_one_line_for_the_configuration() {
        let (mut out, mut notes) = (Vec::new(), Vec::new());
        new(Algorithm::HS256, &mut out, &mut notes).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("base64:") && text.lines().count() == 1);
    }
}
