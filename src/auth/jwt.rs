//! Judges JSON Web Tokens of our own: step 5 of the walk. Given a compact JWS and a key ring, yields the
//! [`Principal`] it speaks for. Does not read headers (`bearer`), does not know policy.
//!
//! Invariant: the algorithm comes from the key that `kid` selects, never from the token (RFC 8725 §3.1),
//! and `jku`, `jwk`, `x5u` and `x5c` are never looked at. What is cheap is asked before the signature; what
//! would tell a stranger who our clients are is asked after it.

use std::collections::HashSet;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::denied::{Check, Claim, Denied};
use crate::config::Settings;
use crate::identity::{OWN_ISSUER, Principal, Scopes, is_scope_token};
use crate::json;
use crate::keys::KeyRing;

/// Is told of each check that a token passes, in order. `()` does not listen and costs nothing.
pub trait Observer {
    /// The token passed `check`.
    fn passed(&mut self, check: Check);
}

impl Observer for () {
    fn passed(&mut self, _: Check) {}
}

impl Observer for Vec<Check> {
    fn passed(&mut self, check: Check) {
        self.push(check);
    }
}

/// The judge of the tokens that our own service issues.
#[derive(Debug)]
pub struct Judge {
    issuer: String,
    audience: Vec<String>,
    types: Vec<Option<String>>,
    leeway: u64,
    scope_claims: Vec<String>,
    clients: HashSet<String>,
    keys: Arc<KeyRing>,
    /// One for each of `keys.verifying()`, in its order.
    validations: Vec<Validation>,
}

/// The parts of a compact JWS, decoded.
struct Parts {
    header: Vec<u8>,
    claims: Vec<u8>,
}

/// What the header says of the key.
struct KeyHint {
    algorithm: Algorithm,
    kid: Option<String>,
}

struct Times {
    expires_at: u64,
    not_before: Option<u64>,
}

impl Judge {
    /// A judge of `[token]`'s tokens; none without that table, and then no token is valid.
    #[must_use]
    pub fn new(settings: &Settings) -> Option<Self> {
        let token = settings.token.as_ref()?;
        let leeway = token.leeway.as_secs();
        let validation = |algorithm| {
            let mut validation = Validation::new(algorithm);
            validation.algorithms = vec![algorithm];
            validation.set_required_spec_claims(&["exp", "iss", "aud"]);
            validation.set_audience(&token.audience);
            validation.validate_aud = true;
            validation.set_issuer(&[&token.issuer]);
            validation.sub = None;
            validation.leeway = leeway;
            validation.reject_tokens_expiring_in_less_than = 0;
            // jsonwebtoken would ask the operating system for the time and round fractions; `times`
            // judges both by our clock, once.
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation
        };
        let live = settings.clients.iter().filter(|client| !client.disabled);
        Some(Self {
            issuer: token.issuer.clone(),
            audience: token.audience.clone(),
            types: token.types.clone(),
            leeway,
            scope_claims: token.scope_claims.clone(),
            clients: live.map(|client| client.id.clone()).collect(),
            validations: token
                .keys
                .verifying()
                .iter()
                .map(|key| validation(key.algorithm()))
                .collect(),
            keys: Arc::clone(&token.keys),
        })
    }

    /// Whom `token` speaks for at `now`, seconds since 1970. `observer` hears of each check passed; the
    /// one that failed is [`Denied::check`].
    ///
    /// # Errors
    /// The first check that the token fails.
    pub fn judge(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let parts = Parts::read(token)?;
        observer.passed(Check::Form);
        let header = json::object(&parts.header).ok_or(Denied::BadHeader)?;
        let hint = KeyHint::read(&header)?;
        observer.passed(Check::Header);
        self.check_type(&header)?;
        observer.passed(Check::Type);
        let claims = json::object(&parts.claims).ok_or(Denied::BadClaims)?;
        observer.passed(Check::Claims);
        self.check_issuer(&claims)?;
        observer.passed(Check::Issuer);
        let key = self.find_key(&hint)?;
        observer.passed(Check::Key);
        let times = self.check_times(&claims, now, observer)?;
        self.check_audience(&claims)?;
        observer.passed(Check::Audience);
        self.check_signature(token, key)?;
        observer.passed(Check::Signature);
        let principal = self.principal(claims, times, observer)?;
        Ok(principal)
    }

    /// As [`Judge::judge`], of claims that came from a place where nobody but us writes.
    pub(super) fn judge_claims(
        &self,
        claims: Map<String, Value>,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let times = self.check_times(&claims, now, observer)?;
        self.check_audience(&claims)?;
        observer.passed(Check::Audience);
        self.principal(claims, times, observer)
    }

    /// Seconds forgiven at `exp` and `nbf`.
    pub(super) const fn leeway(&self) -> u64 {
        self.leeway
    }

    /// RFC 8725 §3.11, RFC 9068 §4: case-insensitive, `application/` may be left out.
    fn check_type(&self, header: &Map<String, Value>) -> Result<(), Denied> {
        let typ = match header.get("typ") {
            None => None,
            Some(Value::String(typ)) => Some(typ.as_str()),
            Some(_) => return Err(Denied::BadHeader),
        };
        let bare = typ.map(|typ| match typ.split_at_checked(APPLICATION.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(APPLICATION) => rest,
            _ => typ,
        });
        let accepted = self.types.iter().any(|accepted| match (accepted, bare) {
            (None, None) => true,
            (Some(accepted), Some(bare)) => accepted.eq_ignore_ascii_case(bare),
            _ => false,
        });
        if accepted { Ok(()) } else { Err(Denied::WrongType) }
    }

    /// RFC 7519 §4.1.1: one string, compared as it is.
    fn check_issuer(&self, claims: &Map<String, Value>) -> Result<(), Denied> {
        match claims.get("iss") {
            Some(Value::String(issuer)) if *issuer == self.issuer => Ok(()),
            Some(Value::String(_)) => Err(Denied::UnknownIssuer),
            _ => Err(Denied::BadClaim(Claim::Issuer)),
        }
    }

    fn find_key(&self, hint: &KeyHint) -> Result<usize, Denied> {
        self.keys.position(hint.kid.as_deref(), hint.algorithm).ok_or_else(|| {
            let used = self.keys.verifying().iter().any(|key| key.algorithm() == hint.algorithm);
            if used { Denied::UnknownKey } else { Denied::WrongAlgorithm }
        })
    }

    fn check_times(
        &self,
        claims: &Map<String, Value>,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Times, Denied> {
        let expires_at = seconds(claims.get("exp"), Claim::Expiry)?;
        let expires_at = expires_at.ok_or(Denied::BadClaim(Claim::Expiry))?;
        if now >= expires_at.saturating_add(self.leeway) {
            return Err(Denied::Expired);
        }
        observer.passed(Check::Expiry);
        let latest = now.saturating_add(self.leeway);
        let not_before = seconds(claims.get("nbf"), Claim::NotBefore)?;
        if not_before.is_some_and(|start| start > latest) {
            return Err(Denied::NotYetValid);
        }
        observer.passed(Check::NotBefore);
        let issued_at = seconds(claims.get("iat"), Claim::IssuedAt)?;
        if issued_at.is_some_and(|issued| issued > latest) {
            return Err(Denied::IssuedInFuture);
        }
        observer.passed(Check::IssuedAt);
        Ok(Times { expires_at, not_before })
    }

    /// RFC 7519 §4.1.3: a string or a list of strings, one of which is ours.
    fn check_audience(&self, claims: &Map<String, Value>) -> Result<(), Denied> {
        let malformed = Denied::BadClaim(Claim::Audience);
        let is_ours = |name: &String| self.audience.contains(name);
        let named = match claims.get("aud") {
            Some(Value::String(name)) => is_ours(name),
            Some(Value::Array(names)) if !names.is_empty() => {
                let mut named = false;
                for name in names {
                    let Value::String(name) = name else { return Err(malformed) };
                    named |= is_ours(name);
                }
                named
            }
            _ => return Err(malformed),
        };
        if named { Ok(()) } else { Err(Denied::WrongAudience) }
    }

    /// By jsonwebtoken, which judges algorithm, issuer and audience once more by its own reading.
    fn check_signature(&self, token: &str, key: usize) -> Result<(), Denied> {
        let (key, validation) = (&self.keys.verifying()[key], &self.validations[key]);
        match jsonwebtoken::decode::<IgnoredAny>(token, key.decoding(), validation) {
            Ok(_) => Ok(()),
            Err(error) => Err(match error.kind() {
                ErrorKind::InvalidSignature => Denied::BadSignature,
                ErrorKind::InvalidIssuer => Denied::UnknownIssuer,
                ErrorKind::InvalidAudience => Denied::WrongAudience,
                ErrorKind::InvalidAlgorithm => Denied::WrongAlgorithm,
                ErrorKind::MissingRequiredClaim(_) => Denied::BadClaims,
                // A registered header member of the wrong type, which only jsonwebtoken reads.
                _ => Denied::BadHeader,
            }),
        }
    }

    fn principal(
        &self,
        claims: Map<String, Value>,
        times: Times,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let subject = text(claims.get("sub"), Claim::Subject)?;
        let client = text(claims.get("client_id"), Claim::Client)?;
        let client = client.or(subject).ok_or(Denied::BadClaim(Claim::Client))?;
        if !self.clients.contains(client) {
            return Err(Denied::UnknownClient);
        }
        let (subject, client_id) = (subject.map(str::to_owned), Some(client.to_owned()));
        let token_id = text(claims.get("jti"), Claim::TokenId)?.map(str::to_owned);
        observer.passed(Check::Client);
        let mut scopes = Scopes::default();
        for name in &self.scope_claims {
            add_scopes(&mut scopes, claims.get(name))?;
        }
        observer.passed(Check::Scope);
        Ok(Principal {
            issuer: self.issuer.clone(),
            issuer_name: OWN_ISSUER.to_owned(),
            subject,
            client_id,
            scopes,
            expires_at: times.expires_at,
            not_before: times.not_before,
            token_id,
            claims,
        })
    }
}

impl Parts {
    /// RFC 7515 §7.1. The base64url is canonical: no padding, no spare bits, so a token has one spelling.
    fn read(token: &str) -> Result<Self, Denied> {
        if token.len() > super::MAX_TOKEN {
            return Err(Denied::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Denied::NotAJwt);
        };
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Denied::NotAJwt);
        if decode(signature)?.is_empty() {
            return Err(Denied::NotAJwt);
        }
        Ok(Self { header: decode(header)?, claims: decode(claims)? })
    }
}

impl KeyHint {
    fn read(header: &Map<String, Value>) -> Result<Self, Denied> {
        // RFC 7515 §4.1.11: we understand no extension, so every one that must be understood is refused.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Denied::CriticalHeader);
        }
        let Some(Value::String(name)) = header.get("alg") else { return Err(Denied::BadHeader) };
        let algorithm = Algorithm::from_str(name).map_err(|_| Denied::UnsupportedAlgorithm)?;
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Denied::BadHeader),
        };
        Ok(Self { algorithm, kid })
    }
}

/// A NumericDate (RFC 7519 §2), rounded up to whole seconds; `None` if absent or null. Before 1970 is 0.
fn seconds(value: Option<&Value>, claim: Claim) -> Result<Option<u64>, Denied> {
    let number = match value {
        None | Some(Value::Null) => return Ok(None),
        Some(Value::Number(number)) => number,
        Some(_) => return Err(Denied::BadClaim(claim)),
    };
    if let Some(whole) = number.as_u64() {
        return Ok(Some(whole));
    }
    match number.as_f64() {
        // From 2^64 on it is no time.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // saturates: before 1970 is 0
        Some(number) if number < TWO_POW_64 => Ok(Some(number.ceil() as u64)),
        _ => Err(Denied::BadClaim(claim)),
    }
}

/// A string that can be logged and passed on: not empty, no control characters; `None` if absent.
fn text(value: Option<&Value>, claim: Claim) -> Result<Option<&str>, Denied> {
    match value {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(Some(text))
        }
        Some(_) => Err(Denied::BadClaim(claim)),
    }
}

/// Adds what a scope claim grants: whole words from a string, or whole elements of a list.
fn add_scopes(scopes: &mut Scopes, value: Option<&Value>) -> Result<(), Denied> {
    let malformed = Denied::BadClaim(Claim::Scope);
    match value {
        None | Some(Value::Null) => {}
        Some(Value::String(names)) => {
            for name in Scopes::parse(names).map_err(|_| malformed)?.iter() {
                scopes.add(name);
            }
        }
        Some(Value::Array(names)) => {
            for name in names {
                let name = name.as_str().filter(|name| is_scope_token(name)).ok_or(malformed)?;
                scopes.add(name);
            }
        }
        Some(_) => return Err(malformed),
    }
    Ok(())
}

const APPLICATION: &str = "application/";
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
