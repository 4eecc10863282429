//! Key material: reading, judging its strength, signing, verifying. Knows no token and no file.

mod material;

pub use jsonwebtoken::Algorithm;
pub use material::{Generated, KeyError, SigningKey, VerifyingKey, generate};

/// The keys of one issuer: one that signs, and those that are accepted. An immutable snapshot.
#[derive(Debug)]
pub struct KeyRing {
    signing: SigningKey,
    verifying: Vec<VerifyingKey>,
}
