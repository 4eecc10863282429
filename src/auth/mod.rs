//! Who is asking: step 5 of the walk. Takes the credential of a request and says whom it speaks for. Does not
//! know routes or policy, and does not issue tokens.
//!
//! `bearer` finds the credential, `jwt` or `reference` judges it, `cache` remembers the verdict, `denied` names every way
//! to fail.

mod authorize;
mod bearer;
mod cache;
mod denied;
mod identity;
mod jwt;
mod reference;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};

pub use authorize::{Passage, Permitted, authorize};
pub use bearer::{Credential, credential};
pub use denied::{Check, Claim, Denied};
pub use jwt::{Judge, Observer};
pub use reference::OwnTokens;

use crate::clock::Clock;
use crate::config::Settings;
use crate::identity::Principal;
use crate::store::{MemoryStore, Store};
use cache::Cache;

/// Authenticates the requests of one worker. It belongs to one configuration: a new one needs a new
/// `Authenticator`, which starts with nothing remembered.
pub struct Authenticator {
    own: Option<OwnTokens>,
    headers: Box<[(HeaderName, String)]>,
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
    /// The identity headers, ready to be set. A name that is configured and not here has no value for this
    /// caller, and must not reach the upstream at all.
    pub identity: Vec<(HeaderName, HeaderValue)>,
}

impl Authenticator {
    /// Judges by `settings`: its `[token]`, `[[clients]]` and `[identity]`. Knows no reference token and no revocation.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self::with_store(settings, Arc::new(MemoryStore::new(Clock::system())))
    }

    /// The same, and by what `store` keeps.
    #[must_use]
    pub fn with_store(settings: &Settings, store: Arc<dyn Store>) -> Self {
        let own = OwnTokens::new(settings, store);
        let cache = RefCell::new(Cache::new(own.as_ref().map_or(0, OwnTokens::leeway)));
        Self { own, headers: settings.identity.headers.clone().into(), cache }
    }

    /// Who sends a request with these headers at `now`, seconds since 1970.
    ///
    /// # Errors
    /// A malformed `Authorization`, or the first check that its token fails; never [`Denied::Missing`], which
    /// is for whoever knows that a credential is needed.
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        now: u64,
    ) -> Result<Authentication, Denied> {
        match credential(headers)? {
            Credential::None => Ok(Authentication::Nobody),
            Credential::Other => Ok(Authentication::OtherScheme),
            Credential::Bearer(token) => self.verify(token, now).await.map(Authentication::Caller),
        }
    }

    /// Forgets every verdict.
    pub fn clear(&self) {
        self.cache.borrow_mut().clear();
    }

    async fn verify(&self, token: &str, now: u64) -> Result<Rc<Caller>, Denied> {
        let own = self.own.as_ref().ok_or(Denied::NoIssuer)?;
        let known = self.cache.borrow_mut().find(token.as_bytes(), now);
        if let Some((caller, bond)) = known {
            own.check(&bond).await?;
            return Ok(caller);
        }
        let (mut principal, bond) = own.judge(token, now, &mut ()).await?;
        let identity = identity::headers(&principal, &self.headers)?;
        principal.claims = serde_json::Map::new(); // nothing asks for them any more, and they weigh most
        let caller = Rc::new(Caller { principal, identity });
        self.cache.borrow_mut().insert(token.as_bytes(), &caller, bond);
        Ok(caller)
    }

    /// As [`Authenticator::authenticate`] judges a token, remembering nothing and asking no store; `observer` hears of
    /// each check passed.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub fn explain(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Caller, Denied> {
        let own = self.own.as_ref().ok_or(Denied::NoIssuer)?;
        if reference::is_ours(token) {
            return Err(Denied::UnknownReference); // only a running gateway has a store
        }
        judge_caller(own.jwt(), &self.headers, token, now, observer)
    }
}

fn judge_caller(
    judge: &Judge,
    headers: &[(HeaderName, String)],
    token: &str,
    now: u64,
    observer: &mut impl Observer,
) -> Result<Caller, Denied> {
    let principal = judge.judge(token, now, observer)?;
    let identity = identity::headers(&principal, headers)?;
    observer.passed(Check::Identity);
    Ok(Caller { principal, identity })
}

/// Longest token that is looked at, bytes. Ten times what an issuer makes with many groups.
pub const MAX_TOKEN: usize = 16 * 1024;

#[cfg(test)]
mod tests;
