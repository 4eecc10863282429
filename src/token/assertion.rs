//! A client that signs its own name (RFC 7523, `private_key_jwt`): reads the assertion and judges it.
//!
//! Invariant: the algorithm comes from the client's key, never from the assertion alone; and whoever the client is
//! said to be, one signature is verified, so an unknown client takes as long as a known one.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::TokenError;
use super::client::Record;
use super::grant::Request;
use crate::json;
use crate::keys::{Algorithm, VerifyingKey};
use crate::reference;

/// An assertion that can be read; nothing in it is believed yet.
#[derive(Debug)]
pub(super) struct Assertion {
    message: String,
    signature: String,
    algorithm: Algorithm,
    kid: Option<String>,
    claims: Map<String, Value>,
}

/// What an assertion proved, if it is the first time that it is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Proof {
    /// What its use is known by.
    pub(super) key: [u8; 32],
    /// Until when it could be shown again, seconds since 1970.
    pub(super) ends: u64,
}

/// Whom assertions must be meant for, and how exactly times are taken.
#[derive(Debug)]
pub(super) struct Expected {
    /// The issuer and the URL of the token endpoint; `aud` is one of these and nothing else.
    pub(super) audiences: Vec<String>,
    /// Seconds.
    pub(super) leeway: u64,
}

impl Assertion {
    /// The assertion of `request`; `None` if there is one that cannot be read.
    ///
    /// # Errors
    /// Half of it, or a second way of proving oneself beside it: `invalid_request`.
    pub(super) fn read(request: &Request, is_second: bool) -> Result<Option<Self>, TokenError> {
        let (Some(kind), Some(text)) = (&request.assertion_type, &request.assertion) else {
            return Err(TokenError::HalfAssertion);
        };
        if is_second {
            return Err(TokenError::TwoMethods);
        }
        if kind != ASSERTION_TYPE {
            return Ok(None);
        }
        let assertion = Self::parse(text.expose());
        if let (Some(client), Some(assertion)) = (&request.client_id, &assertion)
            && client != assertion.client()
        {
            return Err(TokenError::TwoClients);
        }
        Ok(assertion)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('.');
        let (header, claims, signature, None) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next())
        else {
            return None;
        };
        let message = text.get(..text.rfind('.')?)?.to_owned();
        let header = json::object(&URL_SAFE_NO_PAD.decode(header).ok()?)?;
        let claims = json::object(&URL_SAFE_NO_PAD.decode(claims).ok()?)?;
        URL_SAFE_NO_PAD.decode(signature).ok()?;
        if header.contains_key("crit") || header.contains_key("b64") {
            return None;
        }
        let is_ours = |typ: &str| TYPES.iter().any(|known| known.eq_ignore_ascii_case(typ));
        if !header.get("typ").is_none_or(|typ| typ.as_str().is_some_and(is_ours)) {
            return None;
        }
        let kid = match header.get("kid") {
            None => None,
            Some(kid) => Some(kid.as_str()?.to_owned()),
        };
        Some(Self {
            message,
            signature: signature.to_owned(),
            algorithm: header.get("alg")?.as_str()?.parse().ok()?,
            kid,
            claims,
        })
    }

    /// Whom it claims to be from; empty if it does not say.
    pub(super) fn client(&self) -> &str {
        self.claims.get("sub").and_then(Value::as_str).unwrap_or_default()
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// What it proves of `record` at `now`; `decoy` is verified with where the client has no such key.
    pub(super) fn judge(
        &self,
        record: Option<&Record>,
        decoy: Option<&VerifyingKey>,
        expected: &Expected,
        now: u64,
    ) -> Option<Proof> {
        let key = record.and_then(|record| self.key_of(record));
        let has_signed = key
            .or(decoy)
            .is_some_and(|key| key.has_signed(self.message.as_bytes(), &self.signature));
        let proof = self.proof(expected, now);
        if key.is_some() && has_signed { proof } else { None }
    }

    /// The one key of a client that this is signed with. A client with one key alone may call it whatever it likes.
    fn key_of<'r>(&self, record: &'r Record) -> Option<&'r VerifyingKey> {
        let fitting = || record.keys.iter().filter(|key| key.algorithm() == self.algorithm);
        match &self.kid {
            Some(kid) if record.keys.len() > 1 => fitting().find(|key| key.key_id() == Some(kid)),
            Some(_) | None => {
                let mut keys = fitting();
                keys.next().filter(|_| keys.next().is_none())
            }
        }
    }

    /// What its claims are good for (RFC 7523 §3).
    fn proof(&self, expected: &Expected, now: u64) -> Option<Proof> {
        let text = |name: &str| self.claims.get(name).and_then(Value::as_str);
        let client = self.client();
        let token_id = text("jti").filter(|id| !id.is_empty() && id.len() <= LONGEST_ID)?;
        let audience = match self.claims.get("aud")? {
            Value::String(one) => one,
            // Meant for another as well, it could be shown here by that other.
            Value::Array(list) => match list.as_slice() {
                [Value::String(one)] => one,
                _ => return None,
            },
            _ => return None,
        };
        let expires_at = seconds(self.claims.get("exp")?)?;
        let ends = expires_at.saturating_add(expected.leeway);
        let latest = now.saturating_add(expected.leeway);
        let has_begun = |name: &str| match self.claims.get(name) {
            None => Some(true),
            Some(value) => seconds(value).map(|begin| begin <= latest),
        };
        let good = !client.is_empty()
            && text("iss") == Some(client)
            && expected.audiences.contains(audience)
            && now < ends
            && expires_at <= now.saturating_add(LONGEST_LIFE)
            && has_begun("nbf")?
            && has_begun("iat")?;
        good.then(|| Proof { key: reference::assertion(client, token_id), ends })
    }
}

/// A NumericDate (RFC 7519 §2), down to whole seconds.
fn seconds(value: &Value) -> Option<u64> {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // saturates, and is positive
    value.as_u64().or_else(|| value.as_f64().filter(|time| *time >= 0.0).map(|time| time as u64))
}

/// A key for each algorithm that some client uses, to be verified with in the place of those that are not there.
pub(super) fn decoys<'r>(records: impl Iterator<Item = &'r Record>) -> Vec<VerifyingKey> {
    let mut decoys: Vec<VerifyingKey> = Vec::new();
    for key in records.flat_map(|record| &record.keys) {
        if decoys.iter().all(|decoy| decoy.algorithm() != key.algorithm()) {
            decoys.push(key.clone());
        }
    }
    decoys
}

/// RFC 7523 §2.2
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// What the header may say of its type; an access token says something else.
const TYPES: [&str; 3] =
    ["JWT", "client-authentication+jwt", "application/client-authentication+jwt"];
/// An assertion may be shown once, and is remembered as long; seconds.
const LONGEST_LIFE: u64 = 10 * 60;
/// Bytes of a `jti`.
const LONGEST_ID: usize = 512;
