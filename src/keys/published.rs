//! JSON Web Key Sets (RFC 7517 §5): the one that is published, and those that clients hand in.

use serde_json::{Map, Value, json};

use super::material::Members;
use super::{Algorithm, KeyError, VerifyingKey};
use crate::json;

/// Why a set of keys is not used.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No JSON object with each member once and a list of objects as `keys`.
    #[error("it is no JSON Web Key Set")]
    NoSet,
    /// None that verifies.
    #[error("there is no key in it that verifies signatures")]
    Empty,
    /// More than `MAX_KEYS`.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
    /// A private or a shared key. Whoever handed it in should make a new one.
    #[error(
        "key {0} is not public; hand in the public half, and make a new pair, for this one is known now"
    )]
    Private(usize),
    /// It does not say its algorithm.
    #[error("key {0} has no `alg`; add it, or set `algorithm`")]
    NoAlgorithm(usize),
    /// One of its members is not what it must be.
    #[error("key {0} is malformed")]
    Malformed(usize),
    /// It cannot be used.
    #[error("key {0}: {1}")]
    Key(usize, #[source] KeyError),
    /// Two keys that a token could not tell apart.
    #[error("two keys have the same `kid` and `alg`")]
    Duplicate,
}

/// The public keys of `keys` as a JWK Set, in their order; secrets have no public half and are not in it.
#[must_use]
pub fn public_set<'k>(keys: impl IntoIterator<Item = &'k VerifyingKey>) -> Value {
    let public = |key: &VerifyingKey| {
        let mut jwk: Map<String, Value> = serde_json::from_str(key.members()?).ok()?;
        jwk.insert("use".to_owned(), json!("sig"));
        jwk.insert("alg".to_owned(), json!(key.algorithm()));
        jwk.insert("kid".to_owned(), json!(key.key_id()?));
        Some(Value::Object(jwk))
    };
    let keys: Vec<Value> = keys.into_iter().filter_map(public).collect();
    json!({ "keys": keys })
}

/// Every key of a set that somebody wrote for us: each must be of use, but those for encryption. Keys without `alg` are
/// used with `algorithm`. Numbers in errors count from 1.
///
/// # Errors
/// [`SetError`], of the first key that has one.
pub fn read_public_set(
    text: &[u8],
    algorithm: Option<Algorithm>,
) -> Result<Vec<VerifyingKey>, SetError> {
    let set = json::object(text).ok_or(SetError::NoSet)?;
    let Some(Value::Array(written)) = set.get("keys") else { return Err(SetError::NoSet) };
    if written.len() > MAX_KEYS {
        return Err(SetError::TooMany);
    }
    let mut keys: Vec<VerifyingKey> = Vec::new();
    for (number, jwk) in (1..).zip(written) {
        let Value::Object(jwk) = jwk else { return Err(SetError::NoSet) };
        let Some(key) = read(number, jwk, algorithm)? else { continue };
        let twin = |held: &VerifyingKey| {
            held.key_id() == key.key_id() && held.algorithm() == key.algorithm()
        };
        if keys.iter().any(twin) {
            return Err(SetError::Duplicate);
        }
        keys.push(key);
    }
    if keys.is_empty() { Err(SetError::Empty) } else { Ok(keys) }
}

fn read(
    number: usize,
    jwk: &Map<String, Value>,
    algorithm: Option<Algorithm>,
) -> Result<Option<VerifyingKey>, SetError> {
    if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
        return Err(SetError::Private(number));
    }
    let text = |name: &str| match jwk.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(SetError::Malformed(number)),
    };
    if text("use")?.is_some_and(|usage| usage != "sig") {
        return Ok(None);
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations)) if operations.iter().any(|name| name == "verify") => {}
        Some(Value::Array(_)) => return Ok(None),
        Some(_) => return Err(SetError::Malformed(number)),
    }
    let crv = text("crv")?;
    let algorithm = match text("alg")? {
        Some(name) => Some(name.parse().map_err(|_| SetError::Malformed(number))?),
        None => match crv {
            Some("P-256") => Some(Algorithm::ES256),
            Some("P-384") => Some(Algorithm::ES384),
            Some("Ed25519") => Some(Algorithm::EdDSA),
            _ => algorithm,
        },
    };
    let algorithm = algorithm.ok_or(SetError::NoAlgorithm(number))?;
    let members = Members {
        kty: text("kty")?.ok_or(SetError::Malformed(number))?,
        crv,
        n: text("n")?,
        e: text("e")?,
        x: text("x")?,
        y: text("y")?,
    };
    let key_id = text("kid")?.map(str::to_owned);
    let key = VerifyingKey::from_members(algorithm, &members, key_id);
    key.map(Some).map_err(|error| SetError::Key(number, error))
}

/// RFC 7518 §6.2.2, §6.3.2 and §6.4.1.
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
/// As many as one client rotates through, and some.
const MAX_KEYS: usize = 16;

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{SetError, public_set, read_public_set};
    use crate::keys::{Algorithm, SigningKey, VerifyingKey, generate};
    use crate::secret::Secret;

    fn pair(algorithm: Algorithm) -> SigningKey {
        let pem = generate(algorithm).unwrap().text;
        SigningKey::from_pem(algorithm, pem.expose().as_bytes(), None).unwrap()
    }

    fn read(set: &Value, algorithm: Option<Algorithm>) -> Result<Vec<VerifyingKey>, SetError> {
        read_public_set(set.to_string().as_bytes(), algorithm)
    }

    #[test]
    fn a_published_key_comes_back_as_itself_and_verifies() {
        for algorithm in [
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::EdDSA,
            Algorithm::RS256,
            Algorithm::PS384,
        ] {
            let signing = pair(algorithm);
            let set = public_set([signing.verifying()]);
            let read = read(&set, None).unwrap();
            assert_eq!(read[0].key_id(), signing.verifying().key_id());
            assert_eq!(read[0].algorithm(), algorithm);
            let token = signing.sign("JWT", &json!({})).unwrap();
            let (message, signature) = token.rsplit_once('.').unwrap();
            assert!(read[0].has_signed(message.as_bytes(), signature), "{algorithm:?}");
            assert!(!read[0].has_signed(b"x.y", signature));
        }
    }

    #[test]
    fn no_secret_and_no_private_member_is_published() {
        let secret = Secret::new((0..64).collect());
        let shared = VerifyingKey::from_secret(Algorithm::HS256, secret, Some("a".into())).unwrap();
        let signing = pair(Algorithm::RS256);
        let set = public_set([&shared, signing.verifying()]);
        assert_eq!(set["keys"].as_array().unwrap().len(), 1);
        let names: Vec<_> = set["keys"][0].as_object().unwrap().keys().cloned().collect();
        assert_eq!(names, ["alg", "e", "kid", "kty", "n", "use"]);
    }

    #[test]
    fn a_set_with_anything_but_public_keys_is_refused() {
        let good = public_set([pair(Algorithm::ES256).verifying()])["keys"][0].clone();
        let with = |name: &str, value: Value| {
            let mut jwk = good.clone();
            jwk[name] = value;
            read(&json!({ "keys": [jwk] }), None)
        };
        assert!(matches!(with("d", json!("AA")), Err(SetError::Private(1))));
        assert!(matches!(with("x", json!("AAAA")), Err(SetError::Key(1, _))));
        assert!(matches!(with("y", good["x"].clone()), Err(SetError::Key(1, _))), "off its curve");
        assert!(matches!(with("alg", json!("ES384")), Err(SetError::Key(1, _))));
        assert!(matches!(with("alg", json!("HS256")), Err(SetError::Key(1, _))));
        assert!(matches!(with("alg", json!("none")), Err(SetError::Malformed(1))));
        assert!(matches!(with("use", json!("enc")), Err(SetError::Empty)));
        assert!(matches!(with("key_ops", json!(["sign"])), Err(SetError::Empty)));
        assert!(matches!(read(&json!({ "keys": [good, good] }), None), Err(SetError::Duplicate)));
        for text in ["", "[]", "{}", r#"{"keys":{}}"#, r#"{"keys":[1]}"#] {
            assert!(
                matches!(read_public_set(text.as_bytes(), None), Err(SetError::NoSet)),
                "{text}"
            );
        }
        let oct = json!({ "keys": [{ "kty": "oct", "k": "AAAA", "alg": "HS256" }] });
        assert!(matches!(read(&oct, None), Err(SetError::Private(1))));
    }

    #[test]
    fn an_rsa_key_without_an_algorithm_takes_the_one_that_is_set() {
        let mut set = public_set([pair(Algorithm::RS256).verifying()]);
        set["keys"][0].as_object_mut().unwrap().remove("alg");
        assert!(matches!(read(&set, None), Err(SetError::NoAlgorithm(1))));
        assert_eq!(read(&set, Some(Algorithm::PS256)).unwrap()[0].algorithm(), Algorithm::PS256);
    }
}
