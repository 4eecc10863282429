//! Judges JSON Web Tokens, ours and others': step 5 of the walk. Given a compact JWS, the rules of its issuer and that
//! issuer's keys, yields the [`Principal`] it speaks for. Does not read headers (`bearer`), does not choose the
//! issuer (`issuer`), does not know policy.
//!
//! Invariant: the algorithm comes from the key that `kid` selects, never from the token (RFC 8725 §3.1),
//! and `jku`, `jwk`, `x5u` and `x5c` are never looked at. What is cheap is asked before the signature; what
//! would tell a stranger who our clients are is asked after it.
//!
//! The token is read once, where it stands, and nothing of it is copied before it was found good. jsonwebtoken judges
//! nothing here; it is what `differential` compares this with.

use std::borrow::Cow;
use std::collections::HashSet;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use foldhash::fast::RandomState;
use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::denied::{Check, Claim, Denied};
use super::turns::Turns;
use crate::config::{Issuer, Settings};
use crate::identity::{OWN_ISSUER, Principal, Scopes, is_scope_token};
use crate::json::{Json, Object};
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
    clients: Option<HashSet<String, RandomState>>,
    /// Those that the issuer may use.
    algorithms: Vec<Algorithm>,
}

/// Where the parts of a token are decoded: kept from one token to the next, no longer than [`super::MAX_TOKEN`].
#[derive(Default)]
pub(super) struct Scratch(Vec<u8>);

/// A token that is a JWT by its form, not yet judged.
#[derive(Debug)]
pub(super) struct Jwt<'t> {
    token: &'t str,
    /// What is signed: the token up to its last dot.
    message: &'t str,
    signature: &'t [u8],
    header: Object<'t>,
    claims: Object<'t>,
    algorithm: Algorithm,
}

/// Why a JWT was not accepted.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Failed {
    /// Nothing could change that.
    For(Denied),
    /// Its issuer may have other keys by now.
    Key(Denied, Option<String>, Algorithm),
    /// Nothing yet: it has to wait for its turn to have its signature checked, which costs so much.
    Turn(Duration),
}

/// Who says when a signature may be checked.
#[derive(Clone, Copy)]
pub(super) enum Leave<'a> {
    /// It may be checked now.
    Given,
    /// The turns of this worker say so.
    Asked(&'a Turns),
}

/// The parts of a compact JWS, decoded.
struct Parts<'t> {
    message: &'t str,
    header: &'t [u8],
    claims: &'t [u8],
    signature: &'t [u8],
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
            Self::Turn(_) => Denied::Crowded,
        }
    }
}

impl<'t> Jwt<'t> {
    /// Takes a token apart, within `scratch`.
    ///
    /// # Errors
    /// The first check of its form that it fails.
    pub(super) fn read(
        token: &'t str,
        scratch: &'t mut Scratch,
        observer: &mut impl Observer,
    ) -> Result<Self, Denied> {
        let parts = Parts::read(token, scratch)?;
        observer.passed(Check::Form);
        let header = Object::read(parts.header).ok_or(Denied::BadHeader)?;
        // RFC 7515 §4.1.11: we understand no extension, so every one that must be understood is refused.
        if header.get("crit").is_some() || header.get("b64").is_some() {
            return Err(Denied::CriticalHeader);
        }
        let Some(Json::Text(name)) = header.get("alg") else { return Err(Denied::BadHeader) };
        let algorithm = Algorithm::from_str(name).map_err(|_| Denied::UnsupportedAlgorithm)?;
        if !matches!(header.get("kid"), None | Some(Json::Text(_))) {
            return Err(Denied::BadHeader);
        }
        observer.passed(Check::Header);
        let claims = Object::read(parts.claims).ok_or(Denied::BadClaims)?;
        observer.passed(Check::Claims);
        let (message, signature) = (parts.message, parts.signature);
        Ok(Self { token, message, signature, header, claims, algorithm })
    }

    /// `iss` (RFC 7519 §4.1.1): one string, compared as it is.
    ///
    /// # Errors
    /// [`Claim::Issuer`] where it is none.
    pub(super) fn issuer(&self) -> Result<&str, Denied> {
        self.claims.get("iss").and_then(Json::as_text).ok_or(Denied::BadClaim(Claim::Issuer))
    }

    /// All that it says.
    pub(super) const fn claims(&self) -> &Object<'t> {
        &self.claims
    }

    /// Whether its signature costs next to nothing to check.
    pub(super) fn is_cheap(&self) -> bool {
        self.algorithm.family() == AlgorithmFamily::Hmac
    }

    fn kid(&self) -> Option<&str> {
        self.header.get("kid").and_then(Json::as_text)
    }

    /// The registered members of the header that are never looked at must still be of their types (RFC 7515 §4.1).
    fn check_rest_of_header(&self) -> Result<(), Denied> {
        let fits = |name: &str, value: &Json<'_>| match (name, value) {
            ("jwk" | "x5c", Json::Null) => true,
            // rare, and as odd as a certificate: left to who knows them
            ("jwk" | "x5c", _) => jsonwebtoken::decode_header(self.token).is_ok(),
            (name, value) if TEXTS.contains(&name) => {
                matches!(value, Json::Null | Json::Text(_))
            }
            _ => true,
        };
        let fit = self.header.iter().all(|(name, value)| fits(name, value));
        if fit { Ok(()) } else { Err(Denied::BadHeader) }
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
            algorithms: algorithms.collect(),
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
            algorithms: issuer.algorithms.clone(),
        }
    }

    /// Rules that ask for what jsonwebtoken asks for, for `differential`.
    pub(super) fn for_comparison(
        issuer: &str,
        audience: &str,
        algorithm: Algorithm,
        leeway: u64,
    ) -> Self {
        Self {
            issuer: issuer.to_owned(),
            name: issuer.to_owned(),
            audiences: vec![audience.to_owned()],
            types: vec![Some("at+jwt".to_owned()), Some("jwt".to_owned()), None],
            leeway,
            scope_claims: vec!["scope".to_owned()],
            clients: None,
            algorithms: vec![algorithm],
        }
    }

    /// The `iss` of the tokens.
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// As [`Rules::judge`], of claims that came from a place where nobody but us writes.
    pub(super) fn judge_claims(
        &self,
        claims: &Object<'_>,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Principal, Denied> {
        let times = self.check_times(claims, true, now, observer)?;
        self.check_audience(claims)?;
        observer.passed(Check::Audience);
        self.principal(claims, times, observer)
    }

    /// Seconds forgiven at `exp` and `nbf`.
    pub(super) const fn leeway(&self) -> u64 {
        self.leeway
    }

    /// Whom `jwt`, whose `iss` led here, speaks for at `now`, seconds since 1970. `observer` hears of each check
    /// passed; the one that failed is [`Denied::check`]. [`Principal::claims`] is left empty: [`Jwt::claims`] has them.
    ///
    /// # Errors
    /// The first check that the token fails, and whether newer keys could help.
    pub(super) fn judge(
        &self,
        jwt: &Jwt<'_>,
        keys: &[VerifyingKey],
        now: u64,
        leave: Leave<'_>,
        observer: &mut impl Observer,
    ) -> Result<Principal, Failed> {
        if jwt.issuer()? != self.issuer {
            return Err(Denied::UnknownIssuer.into());
        }
        observer.passed(Check::Issuer);
        self.check_type(&jwt.header)?;
        observer.passed(Check::Type);
        if !self.algorithms.contains(&jwt.algorithm) {
            return Err(Denied::WrongAlgorithm.into());
        }
        let failed = |denied| Failed::Key(denied, jwt.kid().map(str::to_owned), jwt.algorithm);
        let key = keys::position(keys, jwt.kid(), jwt.algorithm).and_then(|at| keys.get(at));
        let key = key.ok_or_else(|| failed(Denied::UnknownKey))?;
        observer.passed(Check::Key);
        let times = self.check_times(&jwt.claims, true, now, observer)?;
        self.check_audience(&jwt.claims)?;
        observer.passed(Check::Audience);
        jwt.check_rest_of_header()?;
        if let Leave::Asked(turns) = leave
            && !key.is_shared()
            && !turns.take(key.cost())
        {
            return Err(Failed::Turn(key.cost()));
        }
        if !key.verifies(jwt.message.as_bytes(), jwt.signature) {
            // a key without a name may have been replaced by another one
            return Err(match key.key_id().is_none() || jwt.kid().is_none() {
                true => failed(Denied::BadSignature),
                false => Denied::BadSignature.into(),
            });
        }
        observer.passed(Check::Signature);
        Ok(self.principal(&jwt.claims, times, observer)?)
    }

    /// Whom a token speaks for at `now`, of which its issuer says that it is active (RFC 7662 §2.2): everything that
    /// it says besides is judged as in a JWT.
    ///
    /// # Errors
    /// The first check that fails.
    pub(super) fn judge_answer(&self, members: &Object<'_>, now: u64) -> Result<Principal, Denied> {
        match members.get("iss") {
            None | Some(Json::Null) => {}
            Some(Json::Text(issuer)) if *issuer == self.issuer => {}
            Some(_) => return Err(Denied::UnknownIssuer),
        }
        // a refresh token is active too, and must not be good for an access token
        for member in ["token_type", "token_use"] {
            let is_bearer =
                |kind: &&str| BEARER_KINDS.iter().any(|known| kind.eq_ignore_ascii_case(known));
            match members.get(member) {
                None | Some(Json::Null) => {}
                Some(kind) if kind.as_text().as_ref().is_some_and(is_bearer) => {}
                Some(_) => return Err(Denied::WrongType),
            }
        }
        let times = self.check_times(members, false, now, &mut ())?;
        if !self.audiences.is_empty() {
            self.check_audience(members)?;
        }
        self.principal(members, times, &mut ())
    }

    /// RFC 8725 §3.11, RFC 9068 §4: case-insensitive, `application/` may be left out.
    fn check_type(&self, header: &Object<'_>) -> Result<(), Denied> {
        let typ = match header.get("typ") {
            None => None,
            Some(Json::Text(typ)) => Some(&**typ),
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
        claims: &Object<'_>,
        must_end: bool,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Times, Denied> {
        let expires_at = match seconds(claims.get("exp"), Claim::Expiry)? {
            Some(end) => end,
            None if must_end => return Err(Denied::BadClaim(Claim::Expiry)),
            None => u64::MAX,
        };
        let is_over = now >= expires_at.saturating_add(self.leeway) && expires_at != u64::MAX;
        // before 1970, whatever is forgiven: for jsonwebtoken that is no time at all
        if is_over || expires_at == 0 {
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
    fn check_audience(&self, claims: &Object<'_>) -> Result<(), Denied> {
        let malformed = Denied::BadClaim(Claim::Audience);
        let is_ours = |name: &Cow<'_, str>| self.audiences.iter().any(|ours| ours == name);
        let named = match claims.get("aud") {
            Some(Json::Text(name)) => is_ours(name),
            Some(Json::List(names)) if !names.is_empty() => {
                let mut named = false;
                for name in names {
                    let Json::Text(name) = name else { return Err(malformed) };
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
        claims: &Object<'_>,
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
            None | Some(Json::Null) => None,
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
            claims: serde_json::Map::new(),
        })
    }
}

/// The certificate that a token is bound to, if that is all that `cnf` asks for (RFC 8705 §3.1): who stole the token must
/// not be able to use it, and another proof (RFC 9449) cannot be asked for here.
fn certificate_of(proof: &Json<'_>) -> Option<[u8; 32]> {
    let Json::Object(members) = proof else { return None };
    let digest = members.get("x5t#S256").filter(|_| members.iter().count() == 1)?;
    URL_SAFE_NO_PAD.decode(digest.as_text()?).ok()?.try_into().ok()
}

impl<'t> Parts<'t> {
    /// RFC 7515 §7.1. The base64url is canonical: no padding, no spare bits, so a token has one spelling.
    fn read(token: &'t str, scratch: &'t mut Scratch) -> Result<Self, Denied> {
        if token.len() > super::MAX_TOKEN {
            return Err(Denied::TooLarge);
        }
        let mut parts = token.split('.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Denied::NotAJwt);
        };
        let message = token.get(..=header.len() + claims.len()).ok_or(Denied::NotAJwt)?;
        let mut room = scratch.room(token.len());
        let signature = decode(signature, &mut room)?;
        if signature.is_empty() {
            return Err(Denied::NotAJwt);
        }
        let (header, claims) = (decode(header, &mut room)?, decode(claims, &mut room)?);
        Ok(Self { message, header, claims, signature })
    }
}

impl Scratch {
    /// Enough for the decoded parts of a token of this length.
    fn room(&mut self, length: usize) -> &mut [u8] {
        // four characters are three bytes, and the decoder wants room for whole groups of each part
        let needed = length / 4 * 3 + 4 * 3;
        if self.0.len() < needed {
            self.0.resize(needed, 0);
        }
        &mut self.0
    }
}

/// Decodes `part` into the front of `room`, and takes that front away.
fn decode<'t>(part: &str, room: &mut &'t mut [u8]) -> Result<&'t [u8], Denied> {
    let whole = std::mem::take(room);
    let length = URL_SAFE_NO_PAD.decode_slice(part, whole).map_err(|_| Denied::NotAJwt)?;
    let (decoded, rest) = whole.split_at_mut_checked(length).ok_or(Denied::NotAJwt)?;
    *room = rest;
    Ok(decoded)
}

/// A NumericDate (RFC 7519 §2), rounded up to whole seconds; `None` if absent or null. Before 1970 is 0.
fn seconds(value: Option<&Json<'_>>, claim: Claim) -> Result<Option<u64>, Denied> {
    let number = match value {
        None | Some(Json::Null) => return Ok(None),
        Some(Json::Number(number)) => number,
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
fn text<'c>(value: Option<&'c Json<'_>>, claim: Claim) -> Result<Option<&'c str>, Denied> {
    match value {
        None => Ok(None),
        Some(Json::Text(text)) if !text.is_empty() && !text.chars().any(char::is_control) => {
            Ok(Some(text))
        }
        Some(_) => Err(Denied::BadClaim(claim)),
    }
}

/// Adds what a scope claim grants: whole words from a string, or whole elements of a list.
fn add_scopes(scopes: &mut Scopes, value: Option<&Json<'_>>) -> Result<(), Denied> {
    let malformed = Denied::BadClaim(Claim::Scope);
    match value {
        None | Some(Json::Null) => {}
        Some(Json::Text(names)) => {
            for name in Scopes::parse(names).map_err(|_| malformed)?.iter() {
                scopes.add(name);
            }
        }
        Some(Json::List(names)) => {
            for name in names {
                let name = name.as_text().filter(|name| is_scope_token(name)).ok_or(malformed)?;
                scopes.add(name);
            }
        }
        Some(_) => return Err(malformed),
    }
    Ok(())
}

/// What introspection may call an access token that needs no proof.
const BEARER_KINDS: [&str; 3] = ["bearer", "access_token", "at+jwt"];
/// Header members that are strings by their registration, besides those that are judged.
const TEXTS: [&str; 9] = ["cty", "jku", "x5u", "x5t", "x5t#S256", "enc", "zip", "url", "nonce"];
const APPLICATION: &str = "application/";
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
