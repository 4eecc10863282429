//! Wycheproof's vectors for every algorithm that is verified here, the key given as a JWK and read by our own reader of
//! key sets. A vector's signature is over bytes that are no `header.payload`, so it is put to the check of signatures
//! itself ([`VerifyingKey::verifies`]), which is beneath every judgement of a token, and to jsonwebtoken beside it;
//! `src/auth/tests.rs` has the tokens around it.

#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use tollgate::keys::{Algorithm, KeySet, VerifyingKey};
use tollgate::secret::Secret;
use wycheproof::{HashFunction, TestResult, ecdsa, eddsa, mac, rsa_pkcs1_verify, rsa_pss_verify};

fn b64(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The one key of a set that holds `jwk`, if it is usable.
fn key(jwk: &Value, algorithm: Algorithm) -> Option<VerifyingKey> {
    let set = json!({ "keys": [jwk] }).to_string();
    KeySet::read(set.as_bytes(), &[algorithm]).unwrap().keys().first().cloned()
}

/// Counts vectors, and insists on every one of them.
#[derive(Default)]
struct Tally {
    valid: usize,
    invalid: usize,
    acceptable: usize,
}

impl Tally {
    fn check(
        &mut self,
        key: &VerifyingKey,
        message: &[u8],
        signature: &[u8],
        expected: TestResult,
        what: &str,
    ) {
        let accepted = key.verifies(message, signature);
        let reference =
            jsonwebtoken::crypto::verify(&b64(signature), message, key.decoding(), key.algorithm());
        assert_eq!(accepted, reference.unwrap(), "jsonwebtoken says otherwise: {what}");
        match expected {
            TestResult::Valid => {
                self.valid += 1;
                assert!(accepted, "refused though valid: {what}");
            }
            TestResult::Invalid => {
                self.invalid += 1;
                assert!(!accepted, "accepted though invalid: {what}");
            }
            // valid by the letter and weak: either will do
            TestResult::Acceptable => self.acceptable += 1,
        }
    }

    fn told(&self, what: &str, least: usize) {
        println!(
            "{what}: {} valid, {} invalid, {} acceptable",
            self.valid, self.invalid, self.acceptable
        );
        assert!(self.valid + self.invalid >= least, "{what}: too few vectors");
    }
}

/// A number as exactly so many bytes.
fn padded(number: &[u8], length: usize) -> Vec<u8> {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    let number = &number[zeros..];
    [vec![0; length - number.len()], number.to_vec()].concat()
}

fn ec(name: ecdsa::TestName, algorithm: Algorithm, curve: &str, length: usize, least: usize) {
    let mut tally = Tally::default();
    for group in ecdsa::TestSet::load(name).unwrap().test_groups {
        let jwk = json!({
            "kty": "EC", "crv": curve,
            "x": b64(&padded(&group.key.affine_x, length)), "y": b64(&padded(&group.key.affine_y, length)),
        });
        let key = key(&jwk, algorithm).unwrap_or_else(|| panic!("no key: {jwk}"));
        for test in &group.tests {
            let what = format!("{name:?} {} {}", test.tc_id, test.comment);
            tally.check(&key, &test.msg, &test.sig, test.result, &what);
        }
    }
    tally.told(curve, least);
}

#[test]
fn es256() {
    ec(ecdsa::TestName::EcdsaSecp256r1Sha256P1363, Algorithm::ES256, "P-256", 32, 200);
}

#[test]
fn es384() {
    ec(ecdsa::TestName::EcdsaSecp384r1Sha384P1363, Algorithm::ES384, "P-384", 48, 200);
}

#[test]
fn eddsa() {
    let mut tally = Tally::default();
    for group in eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap().test_groups {
        let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(&group.key.pk) });
        let key = key(&jwk, Algorithm::EdDSA).unwrap();
        for test in &group.tests {
            let what = format!("Ed25519 {} {}", test.tc_id, test.comment);
            tally.check(&key, &test.msg, &test.sig, test.result, &what);
        }
    }
    tally.told("Ed25519", 100);
}

fn rsa_jwk(modulus: &[u8], exponent: &[u8]) -> Value {
    json!({ "kty": "RSA", "n": b64(modulus), "e": b64(exponent) })
}

#[test]
fn rs256_rs384_rs512() {
    use rsa_pkcs1_verify::TestName as Name;
    for (name, algorithm) in [
        (Name::Rsa2048Sha256, Algorithm::RS256),
        (Name::Rsa2048Sha384, Algorithm::RS384),
        (Name::Rsa2048Sha512, Algorithm::RS512),
        (Name::Rsa3072Sha256, Algorithm::RS256),
        (Name::Rsa3072Sha384, Algorithm::RS384),
        (Name::Rsa3072Sha512, Algorithm::RS512),
        (Name::Rsa4096Sha256, Algorithm::RS256),
        (Name::Rsa4096Sha384, Algorithm::RS384),
        (Name::Rsa4096Sha512, Algorithm::RS512),
    ] {
        let mut tally = Tally::default();
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(&rsa_jwk(&group.key.n, &group.key.e), algorithm).unwrap();
            for test in &group.tests {
                let what = format!("{name:?} {} {}", test.tc_id, test.comment);
                tally.check(&key, &test.msg, &test.sig, test.result, &what);
            }
        }
        tally.told(&format!("{name:?}"), 200);
    }
    // EXCEPTION: keys of 8192 bits are not taken from anybody's key set; they cost too much
    for name in [Name::Rsa8192Sha256, Name::Rsa8192Sha384, Name::Rsa8192Sha512] {
        for group in rsa_pkcs1_verify::TestSet::load(name).unwrap().test_groups {
            assert!(key(&rsa_jwk(&group.key.n, &group.key.e), Algorithm::RS256).is_none());
        }
    }
}

#[test]
fn ps256_ps384_ps512() {
    use rsa_pss_verify::TestName as Name;
    // With a salt as long as the hash, and one hash for everything (RFC 7518 §3.5).
    for (name, algorithm) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen32, Algorithm::PS256),
        (Name::RsaPss2048Sha384Mgf1SaltLen48, Algorithm::PS384),
        (Name::RsaPss3072Sha256Mgf1SaltLen32, Algorithm::PS256),
        (Name::RsaPss4096Sha256Mgf1SaltLen32, Algorithm::PS256),
        (Name::RsaPss4096Sha384Mgf1SaltLen48, Algorithm::PS384),
        (Name::RsaPss4096Sha512Mgf1SaltLen64, Algorithm::PS512),
    ] {
        let mut tally = Tally::default();
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let key = key(&rsa_jwk(&group.key.n, &group.key.e), algorithm).unwrap();
            for test in &group.tests {
                let what = format!("{name:?} {} {}", test.tc_id, test.comment);
                tally.check(&key, &test.msg, &test.sig, test.result, &what);
            }
        }
        tally.told(&format!("{name:?}"), 50);
    }
    // EXCEPTION: valid RSASSA-PSS with other parameters is not PS256, PS384 or PS512, and is refused
    let mut refused = 0;
    for (name, algorithm) in [
        (Name::RsaPss2048Sha256Mgf1SaltLen0, Algorithm::PS256),
        (Name::RsaPss2048Sha1Mgf1SaltLen20, Algorithm::PS256),
        (Name::RsaPss2048Sha256Mgf1Sha1_20, Algorithm::PS256),
        (Name::RsaPss4096Sha512Mgf1SaltLen32, Algorithm::PS512),
    ] {
        for group in rsa_pss_verify::TestSet::load(name).unwrap().test_groups {
            let Some(key) = key(&rsa_jwk(&group.key.n, &group.key.e), algorithm) else { continue };
            // what is broken there for its salt may be right here for the same reason
            for test in group.tests.iter().filter(|test| test.result == TestResult::Valid) {
                assert!(
                    !key.verifies(&test.msg, &test.sig),
                    "{name:?} {} {}",
                    test.tc_id,
                    test.comment
                );
                refused += 1;
            }
        }
    }
    println!("other parameters: {refused} refused");
    assert!(refused > 100);
    // the miscellany, where it is one of ours
    let mut tally = Tally::default();
    for group in rsa_pss_verify::TestSet::load(Name::RsaPssmisc).unwrap().test_groups {
        let (algorithm, salt) = match group.hash {
            HashFunction::Sha2_256 => (Algorithm::PS256, 32),
            HashFunction::Sha2_384 => (Algorithm::PS384, 48),
            HashFunction::Sha2_512 => (Algorithm::PS512, 64),
            _ => continue,
        };
        let Some(key) = key(&rsa_jwk(&group.key.n, &group.key.e), algorithm) else { continue };
        if group.mgf_hash != Some(group.hash) || group.salt_size != salt {
            continue;
        }
        for test in &group.tests {
            tally.check(&key, &test.msg, &test.sig, test.result, &format!("misc {}", test.tc_id));
        }
    }
    tally.told("PSS miscellany", 1);
}

#[test]
fn hs256_hs384_hs512() {
    for (name, algorithm, bits) in [
        (mac::TestName::HmacSha256, Algorithm::HS256, 256),
        (mac::TestName::HmacSha384, Algorithm::HS384, 384),
        (mac::TestName::HmacSha512, Algorithm::HS512, 512),
    ] {
        let (mut tally, mut truncated, mut short) = (Tally::default(), 0, 0);
        for group in mac::TestSet::load(name).unwrap().test_groups {
            for test in &group.tests {
                let secret = Secret::new(test.key.to_vec());
                // EXCEPTION: keys shorter than the hash are refused as keys (RFC 7518 §3.2)
                let Ok(key) = VerifyingKey::from_secret(algorithm, secret, None) else {
                    assert!(group.key_size < bits, "{name:?} {}", test.tc_id);
                    short += 1;
                    continue;
                };
                // EXCEPTION: truncated tags are valid HMAC, and no JWS
                if group.tag_size < bits {
                    assert!(!key.verifies(&test.msg, &test.tag), "{name:?} {}", test.tc_id);
                    truncated += 1;
                    continue;
                }
                let what = format!("{name:?} {} {}", test.tc_id, test.comment);
                tally.check(&key, &test.msg, &test.tag, test.result, &what);
            }
        }
        println!("{name:?}: {truncated} truncated, {short} with short keys");
        tally.told(&format!("{name:?}"), 30);
    }
}
