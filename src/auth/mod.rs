//! Who is asking, and whether that is enough: steps 5 and 6 of the walk. Takes the credential of a request and says
//! whom it speaks for; takes a policy and says whether that caller passes. Does not know routes, and does not issue
//! tokens.
//!
//! `bearer` finds the credential, `issuer` says who judges it, `jwt` judges by rules and keys, `reference` asks the store
//! about our own tokens, `cache` remembers the verdict, `policy` and `authorize` judge the caller, `denied` names every
//! way to fail. Whatever has to be waited for is waited for in `settle`, a signature's turn by `turns`; everything else
//! is judged at once.

mod authorize;
mod bearer;
mod cache;
mod denied;
#[doc(hidden)]
pub mod differential;
mod identity;
mod issuer;
mod jwt;
mod policy;
mod reference;
mod settle;
mod turns;

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

pub use authorize::{Demand, Passage, Permitted, authorize};
pub use bearer::{Credential, credential};
pub use denied::{Check, Claim, Denied};
pub use issuer::Asking;
pub use jwt::Observer;
pub use policy::{Params, Policy, Requirement, is_preflight, request_names};
pub use reference::OwnTokens;

use crate::clock::Clock;
use crate::config::{Issuer, KeySource, Settings};
use crate::identity::Principal;
use crate::issuers::{Introspector, Issuers, KeyWatch};
use crate::json::Object;
use crate::keys::{Algorithm, KeySet};
use crate::message::Fields;
use crate::observe::Held;
use crate::reference::Bond;
use crate::store::{MemoryStore, Store};
use cache::{Cache, Verdict};
use issuer::Claims;
use jwt::{Failed, Jwt, Leave, Rules, Scratch};
use turns::Turns;

/// Authenticates the requests of one worker. It belongs to one configuration: a new one needs a new
/// `Authenticator`, which starts with nothing remembered.
pub struct Authenticator {
    own: Option<OwnTokens>,
    others: Box<[Other]>,
    claims: Claims,
    /// Whether the judge of a token depends on the request.
    conditional: bool,
    /// The sets of identity headers, as `Settings::identity_sets` has them.
    headers: Box<[Vec<(HeaderName, String)>]>,
    keep_claims: bool,
    cache: RefCell<Cache>,
    scratch: RefCell<Scratch>,
    turns: Rc<Turns>,
    clock: Clock,
}

/// Another issuer, as this worker knows it.
struct Other {
    rules: Rules,
    keys: OthersKeys,
    introspector: Option<Arc<Introspector>>,
}

enum OthersKeys {
    None,
    Fixed(Arc<KeySet>),
    Fetched(KeyWatch),
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

/// A verdict, or what it waits for.
#[must_use]
#[derive(Debug)]
pub enum Judged {
    /// The verdict.
    Now(Result<Authentication, Denied>),
    /// An issuer or the store has to be asked: [`Authenticator::settle`] waits for it.
    Later(Pending),
}

/// A token whose verdict waits for its issuer, or for the store.
#[derive(Debug)]
pub struct Pending {
    token: String,
    client: Option<IpAddr>,
    waiting: Waiting,
}

#[derive(Debug)]
enum Waiting {
    /// For another issuer, by its number.
    Issuer(usize, Wait),
    /// For the record of a reference token of ours.
    Record,
    /// A token of ours that is good: for whether it was called back.
    Bond(Rc<Caller>, Bond),
    /// A token of ours: for its turn to have its signature checked.
    Turn(Duration),
}

/// What another issuer has to say.
#[derive(Debug)]
enum Wait {
    /// For the first keys.
    Keys,
    /// For a key that is not among them.
    Key { kid: Option<String>, algorithm: Algorithm, generation: u64, else_denied: Denied },
    /// For what the issuer says of the token.
    Answer,
    /// For its turn to have its signature checked.
    Turn(Duration),
}

/// How far a judgement gets without waiting.
enum Step {
    Done(Rc<Caller>),
    Wait(Waiting),
}

/// The same, where it is known which other issuer judges.
enum OthersStep {
    Done(Rc<Caller>),
    Wait(Wait),
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
    /// Judges by `settings`, without a network and with an empty store: of an issuer whose keys have to be fetched
    /// nothing is known, and no reference token and no revocation.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let clock = Clock::system();
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self::connected(settings, store, &Issuers::default(), clock)
    }

    /// Judges by `settings`: its `[token]`, `[[clients]]`, `[[issuers]]` and `[identity]`, and by what `store` keeps;
    /// `issuers` are those of the settings as they are reached over the network.
    #[must_use]
    pub fn connected(
        settings: &Settings,
        store: Arc<dyn Store>,
        issuers: &Issuers,
        clock: Clock,
    ) -> Self {
        let own = OwnTokens::new(settings, store);
        let others = settings.issuers.iter().enumerate();
        let claims = Claims::new(&settings.issuers);
        Self {
            own,
            others: others.map(|(number, issuer)| Other::new(number, issuer, issuers)).collect(),
            conditional: claims.are_conditional(),
            claims,
            headers: settings.identity_sets().into_iter().map(<[_]>::to_vec).collect(),
            keep_claims: settings.need_claims(),
            cache: RefCell::new(Cache::new()),
            scratch: RefCell::default(),
            turns: Rc::default(),
            clock,
        }
    }

    /// The same, with whatever of a worker's `previous` one outlives a configuration.
    #[must_use]
    pub fn after(self, previous: Option<&Self>) -> Self {
        let Some(previous) = previous else { return self };
        Self { turns: Rc::clone(&previous.turns), ..self }
    }

    /// Who sends such a request at `now`, seconds since 1970, as far as that can be told at once.
    ///
    /// A refusal is a malformed `Authorization`, or the first check that its token fails; never
    /// [`Denied::Missing`], which is for whoever knows that a credential is needed.
    pub fn authenticate(&self, asking: &Asking<'_>, now: u64) -> Judged {
        let token = match credential(asking.headers) {
            Err(denied) => return Judged::Now(Err(denied)),
            Ok(Credential::None) => return Judged::Now(Ok(Authentication::Nobody)),
            Ok(Credential::Other) => return Judged::Now(Ok(Authentication::OtherScheme)),
            Ok(Credential::Bearer(token)) => token,
        };
        let step = match self.remembered(token, asking, now) {
            Some((caller, bond)) => self.unless_revoked(caller, bond),
            None => self.judge(token, asking, now),
        };
        match step {
            Ok(Step::Done(caller)) => Judged::Now(Ok(Authentication::Caller(caller))),
            Ok(Step::Wait(waiting)) => {
                let (token, client) = (token.to_owned(), asking.client);
                Judged::Later(Pending { token, client, waiting })
            }
            Err(denied) => Judged::Now(Err(denied)),
        }
    }

    /// Notes how many verdicts are remembered, and of what use that was.
    pub fn tell(&self, held: &Held) {
        self.cache.borrow_mut().tell(held);
    }

    /// Forgets every verdict.
    pub fn clear(&self) {
        self.cache.borrow_mut().clear();
    }

    /// The verdict on a token that was judged before, if the same judge would say the same, and how it may have been
    /// called back since. Allocates nothing, unless the judge depends on the request.
    fn remembered(&self, token: &str, asking: &Asking<'_>, now: u64) -> Option<(Rc<Caller>, Bond)> {
        self.cache.borrow_mut().find(token.as_bytes(), now, |caller, verdict| {
            self.stands(verdict)
                && (!self.conditional
                    || verdict.issuer.is_none()
                    || self.judge_of(token, &caller.principal, asking) == verdict.issuer)
        })
    }

    /// Whether the judge of a token still knows what it knew.
    fn stands(&self, verdict: &Verdict) -> bool {
        let Some(issuer) = verdict.issuer else { return true };
        let Some(other) = self.others.get(issuer) else { return false };
        match (verdict.good_until, &other.keys) {
            (Some(good_until), _) => self.clock.monotonic() < good_until,
            (None, OthersKeys::Fetched(keys)) => keys.generation() == verdict.generation,
            (None, OthersKeys::Fixed(_)) => true,
            (None, OthersKeys::None) => false,
        }
    }

    /// What was found good is good, unless it was called back: asked every time.
    fn unless_revoked(&self, caller: Rc<Caller>, bond: Bond) -> Result<Step, Denied> {
        let asked = match &self.own {
            Some(own) => own.check_now(&bond),
            None => Some(Ok(())), // nothing of our own is remembered
        };
        match asked {
            Some(Ok(())) => Ok(Step::Done(caller)),
            Some(Err(denied)) => Err(denied),
            None => Ok(Step::Wait(Waiting::Bond(caller, bond))),
        }
    }

    /// Who would judge a token of which it is known whom it speaks for.
    fn judge_of(&self, token: &str, principal: &Principal, asking: &Asking<'_>) -> Option<usize> {
        if issuer::is_jwt(token) {
            self.claims.by_iss(&principal.issuer, token, asking)
        } else {
            self.claims.by_reference(token, asking)
        }
    }

    fn judge(&self, token: &str, asking: &Asking<'_>, now: u64) -> Result<Step, Denied> {
        if self.own.is_none() && self.others.is_empty() {
            return Err(Denied::NoIssuer);
        }
        if token.len() > MAX_TOKEN {
            return Err(Denied::TooLarge);
        }
        // by the prefix of our own before anybody else is thought of
        if let Some(own) = &self.own
            && reference::is_ours(token)
        {
            return match own.judge_reference_now(token, now)? {
                Some((principal, bond)) => {
                    self.remember_whole(token, principal, own.verdict(bond)).map(Step::Done)
                }
                None => Ok(Step::Wait(Waiting::Record)),
            };
        }
        if self.claims.has_asked() {
            if !issuer::is_jwt(token) {
                let issuer = self.claims.by_reference(token, asking).ok_or(Denied::NoJudge)?;
                return Ok(Step::Wait(Waiting::Issuer(issuer, Wait::Answer)));
            }
            if let Some(issuer) = self.claims.asked_of_all(token, asking) {
                return Ok(Step::Wait(Waiting::Issuer(issuer, Wait::Answer)));
            }
        }
        let mut scratch = self.scratch.borrow_mut();
        let jwt = Jwt::read(token, &mut scratch, &mut ())?;
        let leave = Leave::Asked(&self.turns);
        match (self.issuer_of(&jwt, token, asking)?, &self.own) {
            (Some(issuer), _) => match self.judge_others(&jwt, token, issuer, now, leave)? {
                OthersStep::Done(caller) => Ok(Step::Done(caller)),
                OthersStep::Wait(wait) => Ok(Step::Wait(Waiting::Issuer(issuer, wait))),
            },
            (None, Some(own)) => {
                let (principal, bond) = match own.judge_jwt(&jwt, now, leave, &mut ()) {
                    Ok(judged) => judged,
                    Err(Failed::Turn(cost)) => return Ok(Step::Wait(Waiting::Turn(cost))),
                    Err(failed) => return Err(failed.denied()),
                };
                let verdict = Verdict { is_cheap: jwt.is_cheap(), ..own.verdict(bond) };
                let caller = self.remember(token, principal, jwt.claims(), verdict)?;
                self.unless_revoked(caller, bond)
            }
            (None, None) => Err(Denied::UnknownIssuer),
        }
    }

    /// Whose `iss` it is: our own (`None`) or another's.
    fn issuer_of(
        &self,
        jwt: &Jwt<'_>,
        token: &str,
        asking: &Asking<'_>,
    ) -> Result<Option<usize>, Denied> {
        let iss = jwt.issuer()?;
        if self.own.as_ref().is_some_and(|own| own.issuer() == iss) {
            return Ok(None);
        }
        self.claims.by_iss(iss, token, asking).map(Some).ok_or(Denied::UnknownIssuer)
    }

    /// By the keys of its issuer, and by no others.
    fn judge_others(
        &self,
        jwt: &Jwt<'_>,
        token: &str,
        number: usize,
        now: u64,
        leave: Leave<'_>,
    ) -> Result<OthersStep, Denied> {
        let other = self.others.get(number).ok_or(Denied::UnknownIssuer)?;
        let (judged, generation) = match &other.keys {
            OthersKeys::None => (other.rules.judge(jwt, &[], now, leave, &mut ()), 0),
            OthersKeys::Fixed(set) => (other.rules.judge(jwt, set.keys(), now, leave, &mut ()), 0),
            OthersKeys::Fetched(watch) => {
                let keys = watch.now();
                let Some(set) = &keys.set else {
                    let unavailable = Err(Denied::IssuerUnavailable);
                    return if keys.tried { unavailable } else { Ok(OthersStep::Wait(Wait::Keys)) };
                };
                match other.rules.judge(jwt, set.keys(), now, leave, &mut ()) {
                    Err(Failed::Key(else_denied, kid, algorithm)) if watch.may_ask() => {
                        let generation = keys.generation;
                        let wait = Wait::Key { kid, algorithm, generation, else_denied };
                        return Ok(OthersStep::Wait(wait));
                    }
                    judged => (judged, keys.generation),
                }
            }
        };
        let principal = match judged {
            Ok(principal) => principal,
            Err(Failed::Turn(cost)) => return Ok(OthersStep::Wait(Wait::Turn(cost))),
            Err(failed) => return Err(failed.denied()),
        };
        let is_cheap = jwt.is_cheap();
        let verdict = Verdict { is_cheap, ..other.verdict(number, generation, None) };
        self.remember(token, principal, jwt.claims(), verdict).map(OthersStep::Done)
    }

    /// Makes the caller of a token that was found good, and keeps it; of its claims what some policy asks for.
    fn remember(
        &self,
        token: &str,
        mut principal: Principal,
        claims: &Object<'_>,
        verdict: Verdict,
    ) -> Result<Rc<Caller>, Denied> {
        let identity = self.identity(&principal, claims)?;
        if self.keep_claims {
            principal.claims = claims.to_map();
        }
        let caller = Rc::new(Caller { principal, identity });
        self.cache.borrow_mut().insert(token.as_bytes(), &caller, verdict);
        Ok(caller)
    }

    /// As [`Authenticator::remember`], of a principal that has its claims.
    fn remember_whole(
        &self,
        token: &str,
        mut principal: Principal,
        verdict: Verdict,
    ) -> Result<Rc<Caller>, Denied> {
        let claims = std::mem::take(&mut principal.claims);
        self.remember(token, principal, &Object::of(&claims), verdict)
    }

    /// The headers that tell an upstream of `principal`, for each set.
    fn identity(
        &self,
        principal: &Principal,
        claims: &Object<'_>,
    ) -> Result<Box<[Spoken]>, Denied> {
        let mut identity = Vec::with_capacity(self.headers.len());
        for (set, headers) in self.headers.iter().enumerate() {
            match identity::headers(principal, claims, headers) {
                Err(denied) if set == 0 => return Err(denied),
                headers => identity.push(headers), // a route's own set concerns that route alone
            }
        }
        Ok(identity.into())
    }

    /// As [`Authenticator::authenticate`] judges a JWT with the keys that are known, remembering nothing and asking no
    /// store; `observer` hears of each check passed. An issuer with a `when` takes part as if it were true of a bare `GET /`.
    ///
    /// # Errors
    /// The first check that the token fails; [`Denied::IssuerUnavailable`] where its issuer would have to be asked.
    pub fn explain(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Caller, Denied> {
        let (method, headers) = (http::Method::GET, Fields::new());
        let asking =
            Asking { method: &method, host: None, path: "/", headers: &headers, client: None };
        self.explain_of(token, &asking, now, observer)
    }

    /// As [`Authenticator::explain`], of the token of a certain request.
    ///
    /// # Errors
    /// As there.
    pub fn explain_of(
        &self,
        token: &str,
        asking: &Asking<'_>,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<Caller, Denied> {
        if self.own.is_none() && self.others.is_empty() {
            return Err(Denied::NoIssuer);
        }
        if self.own.is_some() && reference::is_ours(token) {
            return Err(Denied::UnknownReference); // only a running gateway has a store
        }
        if self.claims.has_asked()
            && (!issuer::is_jwt(token) || self.claims.asked_of_all(token, asking).is_some())
        {
            return Err(Denied::IssuerUnavailable);
        }
        let mut scratch = Scratch::default();
        let jwt = Jwt::read(token, &mut scratch, observer)?;
        let leave = Leave::Given;
        let judged = match (self.issuer_of(&jwt, token, asking)?, &self.own) {
            (Some(number), _) => {
                let other = self.others.get(number).ok_or(Denied::UnknownIssuer)?;
                match &other.keys {
                    OthersKeys::None => other.rules.judge(&jwt, &[], now, leave, observer),
                    OthersKeys::Fixed(set) => {
                        other.rules.judge(&jwt, set.keys(), now, leave, observer)
                    }
                    OthersKeys::Fetched(watch) => {
                        let set = watch.now().set.ok_or(Denied::IssuerUnavailable)?;
                        other.rules.judge(&jwt, set.keys(), now, leave, observer)
                    }
                }
            }
            (None, Some(own)) => {
                own.judge_jwt(&jwt, now, leave, observer).map(|(principal, _)| principal)
            }
            (None, None) => return Err(Denied::UnknownIssuer),
        };
        let mut principal = judged.map_err(|failed| failed.denied())?;
        let identity = self.identity(&principal, jwt.claims())?;
        observer.passed(Check::Identity);
        principal.claims = jwt.claims().to_map();
        Ok(Caller { principal, identity })
    }
}

impl Other {
    fn new(number: usize, issuer: &Issuer, issuers: &Issuers) -> Self {
        let keys = match &issuer.keys {
            KeySource::Fixed(set) => OthersKeys::Fixed(Arc::clone(set)),
            KeySource::None | KeySource::Discovered | KeySource::Url(_) => {
                issuers.keys(number).map_or(OthersKeys::None, OthersKeys::Fetched)
            }
        };
        Self { rules: Rules::of(issuer), keys, introspector: issuers.introspector(number) }
    }

    const fn verdict(
        &self,
        number: usize,
        generation: u64,
        good_until: Option<std::time::Instant>,
    ) -> Verdict {
        let (issuer, leeway, bond) = (Some(number), self.rules.leeway(), Bond::None);
        Verdict { issuer, generation, good_until, leeway, bond, is_cheap: false }
    }
}

/// Longest token that is looked at, bytes. Ten times what an issuer makes with many groups.
pub const MAX_TOKEN: usize = 16 * 1024;

#[cfg(test)]
mod tests;
