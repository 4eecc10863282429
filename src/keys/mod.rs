//! Key material: reading, judging its strength, signing, verifying. Knows no token and no file.
//!
//! Invariant: a key is used with exactly one algorithm, fixed when it is read, and a token names its
//! key by `kid` and algorithm; no key is ever tried to see whether it fits (RFC 8725 §3.1).

mod error;
mod generate;
mod guessable;
mod material;
mod pem;
mod published;
mod set;
mod verifier;

pub use error::KeyError;
pub use generate::{Generated, generate};
pub use jsonwebtoken::Algorithm;
pub use material::{SigningKey, VerifyingKey};
pub use published::{SetError, public_set, read_public_set};
pub use set::{BadKeySet, KeySet};

/// The keys of one issuer: one that signs, and those that are accepted. An immutable snapshot.
#[derive(Debug)]
pub struct KeyRing {
    signing: SigningKey,
    verifying: Vec<VerifyingKey>,
}

impl KeyRing {
    /// A ring that signs with `signing` and accepts what it or one of `others` has signed.
    ///
    /// # Errors
    /// [`KeyError::Duplicate`] if two keys answer to the same `kid` and algorithm: a token could not say
    /// which of them it means.
    pub fn new(signing: SigningKey, others: Vec<VerifyingKey>) -> Result<Self, KeyError> {
        let mut verifying: Vec<VerifyingKey> = Vec::with_capacity(1 + others.len());
        for key in std::iter::once(signing.verifying().clone()).chain(others) {
            let twin = |held: &VerifyingKey| {
                held.key_id() == key.key_id() && held.algorithm() == key.algorithm()
            };
            if verifying.iter().any(twin) {
                let key_id = key.key_id().map(str::to_owned);
                return Err(KeyError::Duplicate { key_id, algorithm: key.algorithm() });
            }
            verifying.push(key);
        }
        Ok(Self { signing, verifying })
    }

    /// The key that signs.
    #[must_use]
    pub const fn signing(&self) -> &SigningKey {
        &self.signing
    }

    /// Every accepted key, the signing one first.
    #[must_use]
    pub fn verifying(&self) -> &[VerifyingKey] {
        &self.verifying
    }

    /// The one key that a token with this `kid` and algorithm is to be verified with.
    ///
    /// A `kid` names the key that bears it, if that key has the algorithm; else the only key of this
    /// algorithm without a `kid`. Without a `kid`: the only key of this algorithm.
    #[must_use]
    pub fn select(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<&VerifyingKey> {
        self.position(kid, algorithm).map(|at| &self.verifying[at])
    }

    /// As [`KeyRing::select`]: the place of that key in [`KeyRing::verifying`].
    #[must_use]
    pub fn position(&self, kid: Option<&str>, algorithm: Algorithm) -> Option<usize> {
        position(&self.verifying, kid, algorithm)
    }
}

/// As [`KeyRing::select`]: the place of that key in `keys`.
#[must_use]
pub fn position(keys: &[VerifyingKey], kid: Option<&str>, algorithm: Algorithm) -> Option<usize> {
    let Some(kid) = kid else { return only(keys, |key| key.algorithm() == algorithm) };
    only(keys, |key| key.algorithm() == algorithm && key.key_id() == Some(kid))
        .or_else(|| only(keys, |key| key.algorithm() == algorithm && key.key_id().is_none()))
}

fn only(keys: &[VerifyingKey], fits: impl Fn(&VerifyingKey) -> bool) -> Option<usize> {
    let mut fitting = keys.iter().enumerate().filter(|(_, key)| fits(key)).map(|(at, _)| at);
    fitting.next().filter(|_| fitting.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, KeyError, KeyRing, SigningKey, VerifyingKey, generate};
    use crate::secret::Secret;

    fn secret(fill: u8) -> Secret<Vec<u8>> {
        Secret::new((0..64).map(|byte| byte ^ fill).collect())
    }

    fn hmac(algorithm: Algorithm, fill: u8, kid: Option<&str>) -> VerifyingKey {
        VerifyingKey::from_secret(algorithm, secret(fill), kid.map(str::to_owned)).unwrap()
    }

    fn ring(kid: Option<&str>, others: Vec<VerifyingKey>) -> Result<KeyRing, KeyError> {
        let kid = kid.map(str::to_owned);
        KeyRing::new(SigningKey::from_secret(Algorithm::HS256, secret(0), kid).unwrap(), others)
    }

    fn kid_of(ring: &KeyRing, kid: Option<&str>, algorithm: Algorithm) -> Option<Option<String>> {
        ring.select(kid, algorithm).map(|key| key.key_id().map(str::to_owned))
    }

    #[test]
    fn a_token_with_a_kid_goes_to_the_key_that_bears_it() {
        let ring = ring(Some("a"), vec![hmac(Algorithm::HS256, 1, Some("b"))]).unwrap();
        assert_eq!(kid_of(&ring, Some("b"), Algorithm::HS256), Some(Some("b".to_owned())));
        assert_eq!(kid_of(&ring, Some("c"), Algorithm::HS256), None);
    }

    #[test]
    fn a_token_with_an_unknown_kid_goes_to_the_only_key_without_one() {
        let ring = ring(None, vec![hmac(Algorithm::HS256, 1, Some("b"))]).unwrap();
        assert_eq!(kid_of(&ring, Some("hs"), Algorithm::HS256), Some(None));
        assert_eq!(kid_of(&ring, Some("b"), Algorithm::HS256), Some(Some("b".to_owned())));
    }

    #[test]
    fn a_token_without_a_kid_needs_exactly_one_key_of_its_algorithm() {
        let one = ring(Some("a"), vec![hmac(Algorithm::HS512, 1, Some("b"))]).unwrap();
        assert_eq!(kid_of(&one, None, Algorithm::HS256), Some(Some("a".to_owned())));
        assert_eq!(kid_of(&one, None, Algorithm::HS384), None);
        let two = ring(Some("a"), vec![hmac(Algorithm::HS256, 1, Some("b"))]).unwrap();
        assert_eq!(kid_of(&two, None, Algorithm::HS256), None);
    }

    #[test]
    fn j16_two_keys_with_one_kid_and_different_algorithms_only_the_matching_one_is_used() {
        let rsa = SigningKey::from_pem(
            Algorithm::ES256,
            generate(Algorithm::ES256).unwrap().text.expose().as_bytes(),
            Some("a".to_owned()),
        )
        .unwrap();
        let ring = ring(Some("a"), vec![rsa.verifying().clone()]).unwrap();
        let select = |algorithm| ring.select(Some("a"), algorithm).map(VerifyingKey::algorithm);
        assert_eq!(select(Algorithm::ES256), Some(Algorithm::ES256));
        assert_eq!(select(Algorithm::HS256), Some(Algorithm::HS256));
        assert_eq!(select(Algorithm::RS256), None);
    }

    #[test]
    fn two_keys_that_a_token_could_not_tell_apart_are_refused() {
        let twin = vec![hmac(Algorithm::HS256, 1, Some("a"))];
        assert!(matches!(ring(Some("a"), twin), Err(KeyError::Duplicate { .. })));
        let nameless = vec![hmac(Algorithm::HS256, 1, None)];
        assert!(matches!(ring(None, nameless), Err(KeyError::Duplicate { .. })));
    }
}
