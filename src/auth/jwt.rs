//! Judges JSON Web Tokens, ours and others': step 5 of the walk. Given a compact JWS, the rules of its issuer and that
//! issuer's keys, yields the [`Principal`] it speaks for. Does not read headers (`bearer`), does not choose the
//! issuer (`issuer`), does not know policy.
//!
//! Invariant: the algorithm comes from the key that `kid` selects, never from the token (RFC 8725 §3.1),
//! and `jku`, `jwk`, `x5u` and `x5c` are never looked at. What is cheap is asked before the signature; what
//! would tell a stranger who our clients are is asked after it.

use std::collections::HashSet;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::denied::{Check, Claim, Denied};
use crate::config::{Issuer, Settings};
use crate::identity::{OWN_ISSUER, Principal, Scopes, is_scope_token};
use crate::json;
use crate::keys::{self, VerifyingKey};

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

/// What is asked of the tokens of one issuer: our own service, or another.
#[derive(Debug)]
pub(super) struct Rules {
    issuer: String,
    /// How the configuration calls it.
    name: String,
    /// Empty only where introspection alone judges.
    audiences: Vec<String>,
    types: Vec<Option<String>>,
    leeway: u64,
    scope_claims: Vec<String>,
    /// Of our own tokens: the clients that are live. Others' clients are theirs to judge.
    clients: Option<HashSet<String>>,
    /// One for each algorithm that the issuer may use.
    validations: Vec<(Algorithm, Validation)>,
}

/// A token that is a JWT by its form, not yet judged.
#[derive(Debug)]
pub(super) struct Jwt<'t> {
    token: &'t str,
    header: Map<String, Value>,
    claims: Map<String, Value>,
    algorithm: Algorithm,
    kid: Option<String>,
}

/// Why a JWT was not accepted.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// Nothing could change that.
    For(Denied),
    /// Its issuer may have other keys by now.
    Key(Denied, Option<String>, Algorithm),
}

/// The parts of a compact JWS, decoded.
struct Parts {
    header: Vec<u8>,
    claims: Vec<u8>,
}

struct Times {
    expires_at: u64,
    not_before: Option<u64>,
}

impl From<Denied> for Failed {
    fn from(denied: Denied) -> Self {
        Self::For(denied)
    }
}

impl Failed {
    pub(super) const fn denied(&self) -> Denied {
        match self {
            Self::For(denied) | Self::Key(denied, ..) => *denied,
        }
    }
}

impl<'t> Jwt<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// The first check of its form that it fails.
    pub(super) fn read(token: &'t str, observer: &mut impl Observer) -> Result<Self, Denied> {
        let parts = Parts::read(token)?;
        observer.passed(Check::Form);
        let header = json::object(&parts.header).ok_or(Denied::BadHeader)?;
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
        observer.passed(Check::Header);
        let claims = json::object(&parts.claims).ok_or(Denied::BadClaims)?;
        observer.passed(Check::Claims);
        Ok(Self { token, header, claims, algorithm, kid })
    }

    /// `iss` (RFC 7519 §4.1.1): one string, compared as it is.
    ///
    /// # Errors
    /// [`Claim::Issuer`] where it is none.
    pub(super) fn issuer(&self) -> Result<&str, Denied> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            _ => Err(Denied::BadClaim(Claim::Issuer)),
        }
    }
}

impl Rules {
    /// For `[token]`'s own tokens; none without that table.
    pub(super) fn own(settings: &Settings) -> Option<Self> {
        let token = settings.token.as_ref()?;
        let live = settings.clients.iter().filter(|client| !client.disabled);
        let algorithms = token.keys.verifying().iter().map(VerifyingKey::algorithm);
        Some(Self {
            issuer: token.issuer.clone(),
            name: OWN_ISSUER.to_owned(),
            audiences: token.audience.clone(),
            types: token.types.clone(),
            leeway: token.leeway.as_secs(),
            scope_claims: token.scope_claims.clone(),
            clients: Some(live.map(|client| client.id.clone()).collect()),
            validations: validations(algorithms, &token.issuer, &token.audience),
        })
    }

    /// For the tokens of another issuer.
    pub(super) fn of(issuer: &Issuer) -> Self {
        Self {
            issuer: issuer.issuer.clone(),
            name: issuer.name.clone(),
            audiences: issuer.audiences.clone(),
            types: issuer.types.clone(),
            leeway: issuer.leeway.as_secs(),
            scope_claims: issuer.scope_claims.clone(),
            clients: None,
            validations: validations(
                issuer.algorithms.iter().copied(),
                &issuer.issuer,
                &issuer.audiences,
            ),
        }
    }

    /// The `iss` of the tokens.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// As [`Rules::judge`], of claims that came from a place where nobody but us writes.
    pub(super) fn judge_claims(
        &self,
        claims: Map<String, Value>,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let times = self.check_times(&claims, true, now, observer)?;
        self.check_audience(&claims)?;
        observer.passed(Check::Audience);
        self.principal(claims, times, observer)
    }

    /// Seconds forgiven at `exp` and `nbf`.
    pub(super) const fn leeway(&self) -> u64 {
        self.leeway
    }

    /// Whom `jwt`, whose `iss` led here, speaks for at `now`, seconds since 1970. `observer` hears of each check
    /// passed; the one that failed is [`Denied::check`].
    ///
    /// # Errors
    /// The first check that the token fails, and whether newer keys could help.
    pub(super) fn judge(
        &self,
        jwt: Jwt<'_>,
        keys: &[VerifyingKey],
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Principal, Failed> {
        if jwt.issuer()? != self.issuer {
            return Err(Denied::UnknownIssuer.into());
        }
        observer.passed(Check::Issuer);
        self.check_type(&jwt.header)?;
        observer.passed(Check::Type);
        let (_, validation) = self
            .validations
            .iter()
            .find(|(algorithm, _)| *algorithm == jwt.algorithm)
            .ok_or(Denied::WrongAlgorithm)?;
        let kid = jwt.kid.as_deref();
        let key = match keys::position(keys, kid, jwt.algorithm).and_then(|at| keys.get(at)) {
            Some(key) => key,
            None => return Err(Failed::Key(Denied::UnknownKey, jwt.kid, jwt.algorithm)),
        };
        observer.passed(Check::Key);
        let times = self.check_times(&jwt.claims, true, now, observer)?;
        self.check_audience(&jwt.claims)?;
        observer.passed(Check::Audience);
        if let Err(denied) = check_signature(jwt.token, key, validation) {
            // a key without a name may have been replaced by another one
            return Err(match denied {
                Denied::BadSignature if key.key_id().is_none() || jwt.kid.is_none() => {
                    Failed::Key(denied, jwt.kid, jwt.algorithm)
                }
                denied => denied.into(),
            });
        }
        observer.passed(Check::Signature);
        Ok(self.principal(jwt.claims, times, observer)?)
    }

    /// Whom a token speaks for at `now`, of which its issuer says that it is active (RFC 7662 §2.2): everything that
    /// it says besides is judged as in a JWT.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) fn judge_answer(
        &self,
        members: &Map<String, Value>,
        now: u64,
    ) -> Result<Principal, Denied> {
        match members.get("iss") {
            None | Some(Value::Null) => {}
            Some(Value::String(issuer)) if *issuer == self.issuer => {}
            Some(_) => return Err(Denied::UnknownIssuer),
        }
        // a refresh token is active too, and must not be good for an access token
        for member in ["token_type", "token_use"] {
            let is_bearer =
                |kind: &&str| BEARER_KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known));
            match members.get(member) {
                None | Some(Value::Null) => {}
                Some(kind) if kind.as_str().as_ref().is_some_and(is_bearer) => {}
                Some(_) => return Err(Denied::WrongType),
            }
        }
        let times = self.check_times(members, false, now, &mut ())?;
        if !self.audiences.is_empty() {
            self.check_audience(members)?;
        }
        self.principal(members.clone(), times, &mut ())
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

    fn check_times(
        &self,
        claims: &Map<String, Value>,
        must_end: bool,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Times, Denied> {
        let expires_at = match seconds(claims.get("exp"), Claim::Expiry)? {
            Some(end) => end,
            None if must_end => return Err(Denied::BadClaim(Claim::Expiry)),
            None => u64::MAX,
        };
        if now >= expires_at.saturating_add(self.leeway) && expires_at != u64::MAX {
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
        let is_ours = |name: &String| self.audiences.contains(name);
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

    fn principal(
        &self,
        claims: Map<String, Value>,
        times: Times,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let subject = text(claims.get("sub"), Claim::Subject)?;
        let client = text(claims.get("client_id"), Claim::Client)?;
        let client = match &self.clients {
            Some(live) => {
                let client = client.or(subject).ok_or(Denied::BadClaim(Claim::Client))?;
                if !live.contains(client) {
                    return Err(Denied::UnknownClient);
                }
                Some(client)
            }
            None => client.or(text(claims.get("azp"), Claim::Client)?),
        };
        let bound_to = match claims.get("cnf") {
            None | Some(Value::Null) => None,
            Some(proof) => Some(certificate_of(proof).ok_or(Denied::Bound)?),
        };
        let (subject, client_id) = (subject.map(str::to_owned), client.map(str::to_owned));
        let token_id = text(claims.get("jti"), Claim::TokenId)?.map(str::to_owned);
        observer.passed(Check::Client);
        let mut scopes = Scopes::default();
        for name in &self.scope_claims {
            add_scopes(&mut scopes, claims.get(name))?;
        }
        observer.passed(Check::Scope);
        Ok(Principal {
            issuer: self.issuer.clone(),
            issuer_name: self.name.clone(),
            subject,
            client_id,
            scopes,
            expires_at: times.expires_at,
            not_before: times.not_before,
            bound_to,
            token_id,
            claims,
        })
    }
}

/// The certificate that a token is bound to, if that is all that `cnf` asks for (RFC 8705 §3.1): who stole the token must
/// not be able to use it, and another proof (RFC 9449) cannot be asked for here.
fn certificate_of(proof: &Value) -> Option<[u8; 32]> {
    let members = proof.as_object().filter(|members| members.len() == 1)?;
    let digest = URL_SAFE_NO_PAD.decode(members.get("x5t#S256")?.as_str()?).ok()?;
    digest.try_into().ok()
}

/// By jsonwebtoken, which judges algorithm, issuer and audience once more by its own reading.
fn check_signature(token: &str, key: &VerifyingKey, validation: &Validation) -> Result<(), Denied> {
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

/// One for each algorithm, so that a key is used with its own alone.
fn validations(
    algorithms: impl Iterator<Item = Algorithm>,
    issuer: &str,
    audiences: &[String],
) -> Vec<(Algorithm, Validation)> {
    let validation = |algorithm| {
        let mut validation = Validation::new(algorithm);
        validation.algorithms = vec![algorithm];
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_audience(audiences);
        validation.validate_aud = true;
        validation.set_issuer(&[issuer]);
        validation.sub = None;
        validation.leeway = 0;
        validation.reject_tokens_expiring_in_less_than = 0;
        // jsonwebtoken would ask the operating system for the time and round fractions; `check_times`
        // judges both by our clock, once.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        (algorithm, validation)
    };
    algorithms.map(validation).collect()
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

/// What introspection may call an access token that needs no proof.
const BEARER_KINDS: [&str; 3] = ["bearer", "access_token", "at+jwt"];
const APPLICATION: &str = "application/";
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
