//! Keys of one run, tokens signed with them, and a dozen tokens that nobody may let through.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::folder::Folder;
use super::{Result, While as _};

pub const ISSUER: &str = "https://bench.example";
pub const AUDIENCE: &str = "https://api.example";
const HOUR: i64 = 3600;

/// What a token of the benchmark is signed with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    Hs256,
    Rs256,
    Es256,
}

impl Algorithm {
    pub const ALL: [Self; 3] = [Self::Hs256, Self::Rs256, Self::Es256];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    const fn key_id(self) -> &'static str {
        match self {
            Self::Hs256 => "hs",
            Self::Rs256 => "rs",
            Self::Es256 => "es",
        }
    }
}

pub struct Keys {
    /// The bytes of this text are the key of HS256.
    pub secret: String,
    rsa: RsaKeyPair,
    ecdsa: EcdsaKeyPair,
    random: SystemRandom,
}

impl Keys {
    /// New ones; the public halves and a certificate for TLS go into the folder: rs.pub, es.pub, tls.crt, tls.key and
    /// tls.pem, which is both.
    pub fn new(folder: &Folder) -> Result<Self> {
        let random = SystemRandom::new();
        let bytes: [u8; 32] = rand::generate(&random).during("chance")?.expose();
        let mut secret = String::new();
        for byte in bytes {
            let _ = write!(secret, "{byte:02x}");
        }
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).during("an RSA key")?;
        let ecdsa = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).during("an EC key")?;
        let rs: PublicKeyX509Der<'_> = rsa.public_key().as_der().during("an RSA key")?;
        let es: PublicKeyX509Der<'_> = ecdsa.public_key().as_der().during("an EC key")?;
        folder.write("rs.pub", pem("PUBLIC KEY", rs.as_ref()))?;
        folder.write("es.pub", pem("PUBLIC KEY", es.as_ref()))?;
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let tls = rcgen::generate_simple_self_signed(names).during("a certificate")?;
        let (certificate, key) = (tls.cert.pem(), tls.signing_key.serialize_pem());
        folder.write("tls.crt", &certificate)?;
        folder.write("tls.key", &key)?;
        folder.write("tls.pem", certificate + &key)?;
        Ok(Self { secret, rsa, ecdsa, random })
    }

    /// The `number`-th token of its kind.
    pub fn token(&self, algorithm: Algorithm, number: usize) -> Result<String> {
        self.sign(algorithm, &claims(number))
    }

    fn sign(&self, algorithm: Algorithm, claims: &Value) -> Result<String> {
        let signed = signed_part(algorithm.name(), algorithm.key_id(), claims);
        let signature = match algorithm {
            Algorithm::Hs256 => mac(self.secret.as_bytes(), &signed),
            Algorithm::Rs256 => {
                let mut signature = vec![0; self.rsa.public_modulus_len()];
                let made = self.rsa.sign(
                    &RSA_PKCS1_SHA256,
                    &self.random,
                    signed.as_bytes(),
                    &mut signature,
                );
                made.during("a signature")?;
                signature
            }
            Algorithm::Es256 => {
                let made = self.ecdsa.sign(&self.random, signed.as_bytes());
                made.during("a signature")?.as_ref().to_vec()
            }
        };
        Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// Writes `count` tokens from `first` on, each on a line of its own.
    pub fn write(
        &self,
        folder: &Folder,
        name: &str,
        algorithm: Algorithm,
        first: usize,
        count: usize,
    ) -> Result<PathBuf> {
        let sign = |from: usize, to: usize| -> Result<String> {
            let mut lines = String::new();
            for number in from..to {
                lines += &self.token(algorithm, number)?;
                lines.push('\n');
            }
            Ok(lines)
        };
        let half = first + count / 2;
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| sign(half, first + count));
            (sign(first, half), other.join())
        });
        let other = other.unwrap_or_else(|_| sign(half, first + count));
        folder.write(name, one? + &other?)
    }

    /// Tokens that a correct gateway refuses, by what is wrong with them.
    pub fn bad_tokens(&self, folder: &Folder) -> Result<Vec<(&'static str, String)>> {
        let good = self.token(Algorithm::Hs256, 0)?;
        let (signed, signature) = good.rsplit_once('.').unwrap_or_default();
        let head = signed.split('.').next().unwrap_or_default();
        let public = std::fs::read(folder.file("rs.pub")).during("rs.pub")?;
        let other_body = URL_SAFE_NO_PAD.encode(with("sub", json!("root")).to_string());
        let confused = signed_part("HS256", "rs", &claims(0));
        let by = |key: &[u8], signed: &str| {
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac(key, signed)))
        };
        let bad = |name: &str, value: Value| self.sign(Algorithm::Hs256, &with(name, value));
        let now = now();
        Ok(vec![
            ("signed with another key", by(b"not the secret, but as long as it is", signed)),
            ("another payload", format!("{head}.{other_body}.{signature}")),
            ("alg none", format!("{}.", signed_part("none", "hs", &claims(0)))),
            ("RSA public key as HMAC secret", by(&public, &confused)),
            ("no signature", signed.to_owned()),
            ("exp an hour ago", bad("exp", json!(now - HOUR))?),
            ("no exp", bad("exp", Value::Null)?),
            ("nbf in an hour", bad("nbf", json!(now + HOUR))?),
            ("another issuer", bad("iss", json!("https://evil.example"))?),
            ("no issuer", bad("iss", Value::Null)?),
            ("another audience", bad("aud", json!("https://other.example"))?),
            ("no audience", bad("aud", Value::Null)?),
        ])
    }
}

fn signed_part(algorithm: &str, key_id: &str, claims: &Value) -> String {
    let head = json!({"alg": algorithm, "typ": "JWT", "kid": key_id}).to_string();
    let (head, body) = (URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims.to_string()));
    format!("{head}.{body}")
}

fn mac(key: &[u8], signed: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), signed.as_bytes()).as_ref().to_vec()
}

fn claims(number: usize) -> Value {
    let now = now();
    json!({
        "iss": ISSUER, "sub": format!("user-{number:06}"), "client_id": "bench", "aud": AUDIENCE,
        "iat": now - 60, "nbf": now - 60, "exp": now + 6 * HOUR,
        "jti": format!("{number:08x}-7c1e-4b5a-9d61-3f0c2a9be7d4"), "scope": "orders:read orders:write",
    })
}

/// The claims with one of them changed, or left out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims(0);
    if let Some(claims) = claims.as_object_mut() {
        match value {
            Value::Null => claims.remove(name),
            value => claims.insert(name.to_owned(), value),
        };
    }
    claims
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut lines = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        lines += &String::from_utf8_lossy(line);
        lines.push('\n');
    }
    lines + &format!("-----END {label}-----\n")
}
