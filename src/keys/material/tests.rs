//! What a key has to be, and that what it signs is verified by itself, by jsonwebtoken and by nothing else.

use jsonwebtoken::{Algorithm, Validation, decode};
use serde_json::{Value, json};

use super::{KeyError, SigningKey, VerifyingKey};
use crate::keys::generate::generate;
use crate::secret::Secret;

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../../tests/fixtures/keys/", $name))
    };
}

fn secret(algorithm: Algorithm, bytes: &[u8]) -> Result<SigningKey, KeyError> {
    SigningKey::from_secret(algorithm, Secret::new(bytes.to_vec()), None)
}

fn private(algorithm: Algorithm, pem: &[u8]) -> Result<SigningKey, KeyError> {
    SigningKey::from_pem(algorithm, pem, None)
}

fn public(algorithm: Algorithm, pem: &[u8]) -> Result<VerifyingKey, KeyError> {
    VerifyingKey::from_pem(algorithm, pem, None)
}

/// Whether `verifying` accepts what `signing` signs.
fn agree(signing: &SigningKey, verifying: &VerifyingKey) -> bool {
    let token = signing.sign("at+jwt", &json!({ "sub": "a" })).unwrap();
    let mut validation = Validation::new(verifying.algorithm());
    validation.required_spec_claims.clear();
    validation.validate_exp = false;
    decode::<Value>(&token, verifying.decoding(), &validation).is_ok()
}

const RANDOM: &[u8] = b"0f#kqPz7!mW2xR9vT4bN6cY1sD8gH3jL5aE0uI+oQ=ZkXpMrVtBnCyWsDgFhJlAe";

const EVERY: [Algorithm; 12] = [
    Algorithm::HS256,
    Algorithm::HS384,
    Algorithm::HS512,
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

#[test]
fn what_a_key_signs_its_own_verifying_half_accepts() {
    for algorithm in EVERY {
        let key = match algorithm {
            Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512 => secret(algorithm, RANDOM),
            Algorithm::ES256 => private(algorithm, fixture!("p256.pkcs8.pem")),
            Algorithm::ES384 => private(algorithm, fixture!("p384.sec1.pem")),
            Algorithm::EdDSA => private(algorithm, fixture!("ed25519.pkcs8.pem")),
            _ => private(algorithm, fixture!("rsa-2048.pkcs8.pem")),
        };
        let key = key.unwrap();
        assert!(agree(&key, key.verifying()), "{algorithm:?}");
    }
}

#[test]
fn every_encoding_of_a_key_is_the_same_key() {
    let pkcs8 = private(Algorithm::RS256, fixture!("rsa-2048.pkcs8.pem")).unwrap();
    let pkcs1 = private(Algorithm::RS256, fixture!("rsa-2048.pkcs1.pem")).unwrap();
    let spki = public(Algorithm::RS256, fixture!("rsa-2048.public.pem")).unwrap();
    assert_eq!(pkcs8.verifying().key_id(), pkcs1.verifying().key_id());
    assert_eq!(pkcs8.verifying().key_id(), spki.key_id());
    assert!(agree(&pkcs1, &spki));
    assert_eq!(spki.bits(), 2048);

    let pkcs8 = private(Algorithm::ES256, fixture!("p256.pkcs8.pem")).unwrap();
    let sec1 = private(Algorithm::ES256, fixture!("p256.sec1.pem")).unwrap();
    let spki = public(Algorithm::ES256, fixture!("p256.public.pem")).unwrap();
    assert_eq!(pkcs8.verifying().key_id(), sec1.verifying().key_id());
    assert_eq!(pkcs8.verifying().key_id(), spki.key_id());
    assert!(agree(&sec1, &spki));

    let sec1 = private(Algorithm::ES384, fixture!("p384.sec1.pem")).unwrap();
    assert!(agree(&sec1, &public(Algorithm::ES384, fixture!("p384.public.pem")).unwrap()));
    let ed = private(Algorithm::EdDSA, fixture!("ed25519.pkcs8.pem")).unwrap();
    assert!(agree(&ed, &public(Algorithm::EdDSA, fixture!("ed25519.public.pem")).unwrap()));
}

#[test]
fn a_private_key_also_verifies() {
    let signing = private(Algorithm::PS256, fixture!("rsa-2048.pkcs8.pem")).unwrap();
    let half = public(Algorithm::PS256, fixture!("rsa-2048.pkcs1.pem")).unwrap();
    assert!(agree(&signing, &half));
}

#[test]
fn the_default_kid_is_the_thumbprint_that_rfc_7638_gives() {
    let key = public(Algorithm::RS256, fixture!("rfc7638.public.pem")).unwrap();
    assert_eq!(key.key_id(), Some("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"));
}

#[test]
fn a_configured_kid_wins_over_the_thumbprint() {
    let kid = Some("2026-11".to_owned());
    let key = SigningKey::from_pem(Algorithm::ES256, fixture!("p256.pkcs8.pem"), kid).unwrap();
    assert_eq!(key.verifying().key_id(), Some("2026-11"));
}

#[test]
fn an_hmac_key_is_at_least_as_long_as_its_hash() {
    assert!(secret(Algorithm::HS256, &RANDOM[..32]).is_ok());
    let needed = |result| match result {
        Err(KeyError::TooShort { needed, .. }) => needed,
        _ => 0,
    };
    assert_eq!(needed(secret(Algorithm::HS256, &RANDOM[..31])), 256);
    assert_eq!(needed(secret(Algorithm::HS384, &RANDOM[..47])), 384);
    assert_eq!(needed(secret(Algorithm::HS512, &RANDOM[..63])), 512);
    assert_eq!(secret(Algorithm::HS512, RANDOM).unwrap().verifying().bits(), 512);
}

#[test]
fn j10_weak_keys_are_refused() {
    assert!(matches!(secret(Algorithm::HS256, b""), Err(KeyError::TooShort { bits: 0, .. })));
    assert!(matches!(secret(Algorithm::HS256, &[0; 32]), Err(KeyError::Repeated)));
    assert!(matches!(secret(Algorithm::HS256, &[b'k'; 64]), Err(KeyError::Repeated)));
    for text in [
        "secret",
        "Secret\n",
        "changeme",
        "CHANGEME",
        "changemechangemechangemechangeme",
        "secretsecretsecretsecretsecretse",
        "a-string-secret-at-least-256-bits-long",
    ] {
        let result = secret(Algorithm::HS256, text.as_bytes());
        assert!(matches!(result, Err(KeyError::Placeholder)), "{text}");
    }
    assert!(secret(Algorithm::HS256, b"secretly, a sentence of a person").is_ok());
}

#[test]
fn j3_a_pem_is_never_an_hmac_key() {
    let pem = fixture!("rsa-2048.public.pem");
    assert!(matches!(secret(Algorithm::HS256, pem), Err(KeyError::PemAsSecret(_))));
    assert!(matches!(public(Algorithm::HS256, pem), Err(KeyError::NeedsSecret(_))));
    assert!(matches!(secret(Algorithm::RS256, RANDOM), Err(KeyError::NeedsPem(_))));
}

#[test]
fn j17_weak_rsa_keys_are_refused() {
    let result = private(Algorithm::RS256, fixture!("rsa-1024.pkcs8.pem"));
    assert!(matches!(result, Err(KeyError::RsaTooShort)), "{result:?}");
    let result = public(Algorithm::RS256, fixture!("rsa-1024.public.pem"));
    assert!(matches!(result, Err(KeyError::RsaTooShort)), "{result:?}");
}

#[test]
fn j17_a_point_off_its_curve_is_refused() {
    let text = String::from_utf8(fixture!("p256.public.pem").to_vec()).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The last characters of the body are those of y.
    let spoiled = if lines[2].starts_with('A') { "B" } else { "A" };
    lines[2].replace_range(0..1, spoiled);
    let result = public(Algorithm::ES256, lines.join("\n").as_bytes());
    assert!(matches!(result, Err(KeyError::Damaged(_))), "{result:?}");
}

#[test]
fn j6_a_key_of_another_kind_is_named_in_the_refusal() {
    let told = |algorithm, pem: &[u8]| private(algorithm, pem).unwrap_err().to_string();
    assert_eq!(
        told(Algorithm::ES256, fixture!("p384.sec1.pem")),
        "the file holds a P-384 key, ES256 needs a P-256 key"
    );
    assert_eq!(
        told(Algorithm::ES384, fixture!("p521.pkcs8.pem")),
        "the file holds a P-521 key, ES384 needs a P-384 key"
    );
    assert_eq!(
        told(Algorithm::EdDSA, fixture!("rsa-2048.pkcs1.pem")),
        "the file holds an RSA key, EdDSA needs an Ed25519 key"
    );
    assert_eq!(
        told(Algorithm::RS256, fixture!("ed25519.pkcs8.pem")),
        "the file holds an Ed25519 key, RS256 needs an RSA key"
    );
}

#[test]
fn a_file_that_cannot_sign_says_why() {
    let told = |pem: &[u8]| private(Algorithm::ES256, pem).unwrap_err();
    assert!(matches!(told(fixture!("p256.public.pem")), KeyError::PublicOnly));
    assert!(matches!(told(fixture!("p256.encrypted.pem")), KeyError::Encrypted));
    assert!(matches!(told(fixture!("p256.certificate.pem")), KeyError::Certificate));
    assert!(matches!(told(b"hello"), KeyError::NoKey));
    let broken = b"-----BEGIN PRIVATE KEY-----\n%%%%\n-----END PRIVATE KEY-----\n";
    assert!(matches!(told(broken), KeyError::Pem));
}

#[test]
fn a_generated_key_can_be_read_again_with_text_before_it() {
    for algorithm in EVERY {
        let made = generate(algorithm).unwrap();
        let text = made.text.expose();
        let Some(key_id) = made.key_id else {
            assert!(text.starts_with("base64:"));
            continue;
        };
        let text = format!("# kid: {key_id}\n{text}");
        let key = private(algorithm, text.as_bytes()).unwrap();
        assert_eq!(key.verifying().key_id(), Some(key_id.as_str()));
    }
}

#[test]
fn two_generated_keys_differ() {
    let made = || generate(Algorithm::HS256).unwrap().text.expose().clone();
    assert_ne!(made(), made());
}

#[test]
fn debug_output_shows_no_key() {
    let key = secret(Algorithm::HS256, RANDOM).unwrap();
    let shown = format!("{key:?}");
    assert!(shown.contains("HS256") && !shown.contains("0f#k") && !shown.contains("48, 102"));
}

#[test]
fn the_header_bears_type_algorithm_and_kid() {
    let kid = Some("hs".to_owned());
    let key = SigningKey::from_secret(Algorithm::HS256, Secret::new(RANDOM.to_vec()), kid);
    let token = key.unwrap().sign("at+jwt", &json!({})).unwrap();
    let header = jsonwebtoken::decode_header(&token).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    assert_eq!(header.kid.as_deref(), Some("hs"));
}
