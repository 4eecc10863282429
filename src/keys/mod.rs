//! Key material: reading, judging its strength, signing, verifying. Knows no token and no file.

mod material;

pub use material::{KeyError, SigningKey, VerifyingKey, generate};
pub use jsonwebtoken::Algorithm;

/// The keys of one issuer: one that signs, and those that are accepted. An immutable snapshot.
#[derive(Debug)]
pub struct KeyRing {
    signing: SigningKey,
    verifying: Vec<VerifyingKey>,
}
