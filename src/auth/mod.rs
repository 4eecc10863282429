//! Who is asking, and whether that is enough: steps 5 and 6 of the walk. Takes the credential of a request and says
//! whom it speaks for; takes a policy and says whether that caller passes. Does not know routes, and does not issue
//! tokens.
//!
//! `bearer` finds the credential, `jwt` judges it, `cache` remembers the verdict, `policy` and `authorize` judge the
//! caller, `denied` names every way to fail.

mod authorize;
mod bearer;
mod cache;
mod denied;
mod identity;
mod json;
mod jwt;
mod policy;

use std::cell::RefCell;
use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use authorize::{Demand, Passage, Permitted, authorize};
pub use bearer::{Credential, credential};
pub use denied::{Check, Claim, Denied};
pub use jwt::{Judge, Observer};
pub use policy::{Params, Policy, Requirement, request_names};

use crate::config::Settings;
use crate::identity::Principal;
use cache::Cache;

/// Authenticates the requests of one worker. It belongs to one configuration: a new one needs a new
/// `Authenticator`, which starts with nothing remembered.
pub struct Authenticator {
    judge: Option<Judge>,
    /// The sets of identity headers, as `Settings::identity_sets` has them.
    headers: Box<[Vec<(HeaderName, String)>]>,
    keep_claims: bool,
    cache: RefCell<Cache>,
}

/// What a request proves of where it comes from.
#[derive(Clone, Debug)]
pub enum Authentication {
    /// Nothing: it has no `Authorization` field.
    Nobody,
    /// Nothing to us: its `Authorization` is of another scheme than Bearer.
    OtherScheme,
    /// It bears a valid token.
    Caller(Rc<Caller>),
}

/// A caller whose token is valid, and how the upstream learns of it.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Whom the token speaks for.
    pub principal: Principal,
    /// The identity headers, ready to be set: [identity]'s, then those of each route that has its own.
    identity: Box<[Spoken]>,
}

/// A set of identity headers, or the claim that cannot be said in one.
type Spoken = Result<Vec<(HeaderName, HeaderValue)>, Denied>;

impl Caller {
    /// The identity headers of one set, ready to be set. A name that is configured and not here has no value for
    /// this caller, and must not reach the upstream at all.
    ///
    /// # Errors
    /// [`Denied::Unspeakable`] where a claim cannot be said in a header.
    pub fn identity(&self, set: usize) -> Result<&[(HeaderName, HeaderValue)], Denied> {
        match self.identity.get(set) {
            Some(Ok(headers)) => Ok(headers),
            Some(Err(denied)) => Err(*denied),
            None => Err(Denied::Unspeakable),
        }
    }

    #[cfg(test)]
    fn of(principal: Principal) -> Self {
        Self { principal, identity: Box::new([Ok(Vec::new())]) }
    }
}

impl Authenticator {
    /// Judges by `settings`: its `[token]`, `[[clients]]` and `[identity]`.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let judge = Judge::new(settings);
        let cache = RefCell::new(Cache::new(judge.as_ref().map_or(0, Judge::leeway)));
        let headers = settings.identity_sets().into_iter().map(<[_]>::to_vec).collect();
        Self { judge, headers, keep_claims: settings.need_claims(), cache }
    }

    /// Who sends a request with these headers at `now`, seconds since 1970.
    ///
    /// # Errors
    /// A malformed `Authorization`, or the first check that its token fails; never [`Denied::Missing`], which
    /// is for whoever knows that a credential is needed.
    pub fn authenticate(&self, headers: &HeaderMap, now: u64) -> Result<Authentication, Denied> {
        match credential(headers)? {
            Credential::None => Ok(Authentication::Nobody),
            Credential::Other => Ok(Authentication::OtherScheme),
            Credential::Bearer(token) => self.verify(token, now).map(Authentication::Caller),
        }
    }

    /// Forgets every verdict.
    pub fn clear(&self) {
        self.cache.borrow_mut().clear();
    }

    fn verify(&self, token: &str, now: u64) -> Result<Rc<Caller>, Denied> {
        let judge = self.judge.as_ref().ok_or(Denied::NoIssuer)?;
        if let Some(caller) = self.cache.borrow_mut().find(token.as_bytes(), now) {
            return Ok(caller);
        }
        let mut caller = judge_caller(judge, &self.headers, token, now, &mut ())?;
        if !self.keep_claims {
            caller.principal.claims = serde_json::Map::new(); // no policy asks for them, and they weigh most
        }
        let caller = Rc::new(caller);
        self.cache.borrow_mut().insert(token.as_bytes(), &caller);
        Ok(caller)
    }

    /// As [`Authenticator::authenticate`] judges a token, remembering nothing; `observer` hears of each check passed.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub fn explain(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Caller, Denied> {
        let judge = self.judge.as_ref().ok_or(Denied::NoIssuer)?;
        judge_caller(judge, &self.headers, token, now, observer)
    }
}

fn judge_caller(
    judge: &Judge,
    headers: &[Vec<(HeaderName, String)>],
    token: &str,
    now: u64,
    observer: &mut impl Observer,
) -> Result<Caller, Denied> {
    let principal = judge.judge(token, now, observer)?;
    let mut identity = Vec::with_capacity(headers.len());
    for (set, headers) in headers.iter().enumerate() {
        match identity::headers(&principal, headers) {
            Err(denied) if set == 0 => return Err(denied),
            headers => identity.push(headers), // a route's own set concerns that route alone
        }
    }
    let identity = identity.into();
    observer.passed(Check::Identity);
    Ok(Caller { principal, identity })
}

/// Longest token that is looked at, bytes. Ten times what an issuer makes with many groups.
pub const MAX_TOKEN: usize = 16 * 1024;

#[cfg(test)]
mod tests;
