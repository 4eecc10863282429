//! Verdicts that have to be waited for: for an issuer, for the store, or for the turn to check a signature. What was
//! waited for is then judged as if it had been there at once.

use std::net::IpAddr;
use std::rc::Rc;

use super::cache::Verdict;
use super::jwt::{Jwt, Leave};
use super::{
    Authentication, Authenticator, Caller, Denied, OthersKeys, OthersStep, Pending, Wait, Waiting,
};
use crate::json::Object;
use crate::reference::Bond;

impl Authenticator {
    /// Waits for the issuer, the store or its turn, and then yields the verdict.
    ///
    /// # Errors
    /// As [`Authenticator::authenticate`]; [`Denied::IssuerUnavailable`] and [`Denied::StoreUnavailable`] where there is
    /// nobody to ask, [`Denied::Crowded`] where too many wait.
    pub async fn settle(&self, pending: Pending) -> Result<Authentication, Denied> {
        let Pending { token, client, waiting } = pending;
        let caller = match waiting {
            Waiting::Issuer(issuer, wait) => {
                self.settle_with_issuer(&token, client, issuer, wait).await?
            }
            Waiting::Turn(cost) => {
                self.turns.wait(cost, client).await?;
                let (caller, bond) = self.judge_own_again(&token)?;
                self.own.as_ref().ok_or(Denied::NoIssuer)?.check(&bond).await?;
                caller
            }
            Waiting::Record => {
                let own = self.own.as_ref().ok_or(Denied::NoIssuer)?;
                let now = self.clock.unix_seconds();
                let (principal, bond) = own.judge(&token, now, &mut ()).await?;
                self.remember_whole(&token, principal, own.verdict(bond))?
            }
            Waiting::Bond(caller, bond) => {
                self.own.as_ref().ok_or(Denied::NoIssuer)?.check(&bond).await?;
                caller
            }
        };
        Ok(Authentication::Caller(caller))
    }

    async fn settle_with_issuer(
        &self,
        token: &str,
        client: Option<IpAddr>,
        issuer: usize,
        mut wait: Wait,
    ) -> Result<Rc<Caller>, Denied> {
        let other = self.others.get(issuer).ok_or(Denied::IssuerUnavailable)?;
        // first keys, then perhaps a newer one, each with a turn: more than that nobody waits for
        for _ in 0..MAX_WAITS {
            let mut leave = Leave::Asked(&self.turns);
            match (wait, &other.keys, &other.introspector) {
                (Wait::Answer, _, Some(introspector)) => {
                    let answer =
                        introspector.ask(token).await.map_err(|_| Denied::IssuerUnavailable)?;
                    let members = answer.active.as_ref().ok_or(Denied::Inactive)?;
                    let (members, now) = (Object::of(members), self.clock.unix_seconds());
                    let principal = other.rules.judge_answer(&members, now)?;
                    let verdict = other.verdict(issuer, 0, Some(answer.good_until));
                    return self.remember(token, principal, &members, verdict);
                }
                (Wait::Turn(cost), ..) => {
                    self.turns.wait(cost, client).await?;
                    leave = Leave::Given;
                }
                (Wait::Keys, OthersKeys::Fetched(keys), _) => keys.loaded().await,
                (
                    Wait::Key { kid, algorithm, generation, else_denied },
                    OthersKeys::Fetched(keys),
                    _,
                ) => {
                    keys.ask(kid, algorithm, generation).await;
                    if keys.generation() == generation {
                        return Err(else_denied);
                    }
                }
                _ => return Err(Denied::IssuerUnavailable),
            }
            let now = self.clock.unix_seconds();
            match self.judge_again(token, issuer, now, leave)? {
                OthersStep::Done(caller) => return Ok(caller),
                OthersStep::Wait(next) => wait = next,
            }
        }
        Err(match wait {
            Wait::Key { else_denied, .. } => else_denied,
            Wait::Keys | Wait::Answer => Denied::IssuerUnavailable,
            Wait::Turn(_) => Denied::Crowded,
        })
    }

    /// As [`Authenticator::judge_others`], of a token that waited: others may have brought the same one.
    fn judge_again(
        &self,
        token: &str,
        issuer: usize,
        now: u64,
        leave: Leave<'_>,
    ) -> Result<OthersStep, Denied> {
        if let Some((caller, _)) = self.judged_meanwhile(token, now) {
            return Ok(OthersStep::Done(caller));
        }
        let mut scratch = self.scratch.borrow_mut();
        let jwt = Jwt::read(token, &mut scratch, &mut ())?;
        self.judge_others(&jwt, token, issuer, now, leave)
    }

    /// As [`super::OwnTokens::judge_jwt`], of a token that waited for its turn.
    fn judge_own_again(&self, token: &str) -> Result<(Rc<Caller>, Bond), Denied> {
        let now = self.clock.unix_seconds();
        if let Some(judged) = self.judged_meanwhile(token, now) {
            return Ok(judged);
        }
        let own = self.own.as_ref().ok_or(Denied::NoIssuer)?;
        let mut scratch = self.scratch.borrow_mut();
        let jwt = Jwt::read(token, &mut scratch, &mut ())?;
        let judged = own.judge_jwt(&jwt, now, Leave::Given, &mut ());
        let (principal, bond) = judged.map_err(|failed| failed.denied())?;
        let caller = self.remember(token, principal, jwt.claims(), own.verdict(bond))?;
        Ok((caller, bond))
    }

    /// What another request with the same token found out while this one waited, where no request is judged differently.
    fn judged_meanwhile(&self, token: &str, now: u64) -> Option<(Rc<Caller>, Bond)> {
        if self.conditional {
            return None;
        }
        let stands = |_: &Caller, verdict: &Verdict| self.stands(verdict);
        self.cache.borrow_mut().look(token.as_bytes(), now, stands)
    }
}

/// Keys that are loaded, and then a key that is new, and each time the turn to check with it.
const MAX_WAITS: usize = 4;
