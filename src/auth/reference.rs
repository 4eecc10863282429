//! Judges the tokens of our own that can be called back: reference tokens by the record that the store keeps of them,
//! and JWTs, once `jwt` has found them good, by the revocations that it keeps. Step 5 of the walk.
//!
//! Invariant: a revocation counts for every request that begins after it was answered. What was found good before is
//! asked about again, every time; only the asking is cheap.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::cache::Verdict;
use super::denied::{Check, Denied};
use super::jwt::{Failed, Jwt, Leave, Observer, Rules, Scratch};
use crate::config::Settings;
use crate::identity::Principal;
use crate::json::{self, Object};
use crate::keys::KeyRing;
use crate::reference::{self, Bond, Kept, PREFIX};
use crate::store::{Digest, Store};

/// The judge of every token of our own, whatever its form.
#[derive(Debug)]
pub struct OwnTokens {
    rules: Rules,
    keys: Arc<KeyRing>,
    store: Arc<dyn Store>,
}

/// Whether a token is a reference token of ours by its looks.
pub(super) fn is_ours(token: &str) -> bool {
    token.starts_with(PREFIX)
}

impl OwnTokens {
    /// A judge of tokens for `[token]`'s audience; none without that table.
    #[must_use]
    pub fn new(settings: &Settings, store: Arc<dyn Store>) -> Option<Self> {
        let keys = Arc::clone(&settings.token.as_ref()?.keys);
        Some(Self { rules: Rules::own(settings)?, keys, store })
    }

    /// A judge of whatever is issued here, for this gateway or for another API. For the endpoints that tell of tokens and
    /// revoke them, never for letting a request through.
    #[must_use]
    pub fn of_every_audience(settings: &Settings, store: Arc<dyn Store>) -> Option<Self> {
        let mut settings = settings.clone();
        let token = settings.token.as_mut()?;
        for audience in settings.clients.iter().filter_map(|client| client.audience.as_ref()) {
            for name in audience {
                if !token.audience.contains(name) {
                    token.audience.push(name.clone());
                }
            }
        }
        Self::new(&settings, store)
    }

    /// Whom `token` speaks for at `now`, and what may still become of it. `observer` hears of each check passed.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub async fn judge(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<(Principal, Bond), Denied> {
        if is_ours(token) {
            return self.judge_reference(token, |_| now, observer).await;
        }
        let (principal, bond) = self.judge_whole(token, now, observer)?;
        self.check(&bond).await?;
        observer.passed(Check::Revocation);
        Ok((principal, bond))
    }

    /// As [`OwnTokens::judge`], of a token that is to be revoked: one that only becomes valid later is good enough.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub async fn judge_for_revocation(
        &self,
        token: &str,
        now: u64,
    ) -> Result<(Principal, Bond), Denied> {
        if is_ours(token) {
            return self.judge_reference(token, |kept| now.max(kept.iat), &mut ()).await;
        }
        match self.judge(token, now, &mut ()).await {
            Err(Denied::NotYetValid | Denied::IssuedInFuture) => {
                self.judge(token, begin_of(token).unwrap_or(now).max(now), &mut ()).await
            }
            other => other,
        }
    }

    /// As [`OwnTokens::judge_jwt`], and with all that the token says.
    fn judge_whole(
        &self,
        token: &str,
        now: u64,
        observer: &mut impl Observer,
    ) -> Result<(Principal, Bond), Denied> {
        let mut scratch = Scratch::default();
        let jwt = Jwt::read(token, &mut scratch, observer)?;
        let judged = self.judge_jwt(&jwt, now, Leave::Given, observer);
        let (mut principal, bond) = judged.map_err(|failed| failed.denied())?;
        principal.claims = jwt.claims().to_map();
        Ok((principal, bond))
    }

    /// Whom a JWT of ours speaks for at `now`, by our keys alone, and how it may be called back: that is not asked here.
    pub(super) fn judge_jwt(
        &self,
        jwt: &Jwt<'_>,
        now: u64,
        leave: Leave<'_>,
        observer: &mut impl Observer,
    ) -> Result<(Principal, Bond), Failed> {
        let principal = self.rules.judge(jwt, self.keys.verifying(), now, leave, observer)?;
        let bond = bond_of(&principal);
        Ok((principal, bond))
    }

    /// As [`OwnTokens::judge`], of a reference token; nothing where the store has to be waited for.
    pub(super) fn judge_reference_now(
        &self,
        token: &str,
        now: u64,
    ) -> Result<Option<(Principal, Bond)>, Denied> {
        let digest = reference::digest(token).ok_or(Denied::BadReference)?;
        let Some(record) = self.store.find(&digest).now() else { return Ok(None) };
        self.judge_record(digest, record, |_| now, &mut ()).map(Some)
    }

    async fn judge_reference(
        &self,
        token: &str,
        now: impl Fn(&Kept) -> u64,
        observer: &mut impl Observer,
    ) -> Result<(Principal, Bond), Denied> {
        let digest = reference::digest(token).ok_or(Denied::BadReference)?;
        observer.passed(Check::Form);
        let record = self.store.find(&digest).get().await.map_err(|_| Denied::StoreUnavailable)?;
        self.judge_record(digest, record, now, observer)
    }

    fn judge_record(
        &self,
        digest: Digest,
        record: Option<Arc<[u8]>>,
        now: impl Fn(&Kept) -> u64,
        observer: &mut impl Observer,
    ) -> Result<(Principal, Bond), Denied> {
        let record = record.ok_or(Denied::UnknownReference)?;
        observer.passed(Check::Revocation);
        let kept: Kept = serde_json::from_slice(&record).map_err(|_| Denied::UnknownReference)?;
        let now = now(&kept);
        let claims = kept.into_claims(self.rules.issuer(), &digest);
        let mut principal = self.rules.judge_claims(&Object::of(&claims), now, observer)?;
        principal.claims = claims;
        Ok((principal, Bond::While(digest)))
    }

    /// As [`OwnTokens::check`], where the store can say at once. Allocates nothing.
    pub(super) fn check_now(&self, bond: &Bond) -> Option<Result<(), Denied>> {
        let gone = match bond {
            Bond::None => false,
            Bond::Unless(_) if !self.store.has_revocations() => false,
            Bond::Unless(key) => self.store.is_revoked(key).now()?,
            Bond::While(digest) => self.store.find(digest).now()?.is_none(),
        };
        Some(if gone { Err(Denied::Revoked) } else { Ok(()) })
    }

    /// Whether a token that was found good is still not called back.
    ///
    /// # Errors
    /// [`Denied::Revoked`], or [`Denied::StoreUnavailable`] where that cannot be known.
    pub async fn check(&self, bond: &Bond) -> Result<(), Denied> {
        let gone = match bond {
            Bond::None => false,
            Bond::Unless(key) => {
                self.store.has_revocations()
                    && self
                        .store
                        .is_revoked(key)
                        .get()
                        .await
                        .map_err(|_| Denied::StoreUnavailable)?
            }
            Bond::While(digest) => {
                let found = self.store.find(digest).get().await;
                found.map_err(|_| Denied::StoreUnavailable)?.is_none()
            }
        };
        if gone { Err(Denied::Revoked) } else { Ok(()) }
    }

    /// The `iss` of our tokens.
    pub(super) fn issuer(&self) -> &str {
        self.rules.issuer()
    }

    /// What is remembered of a token that was found good.
    pub(super) fn verdict(&self, bond: Bond) -> Verdict {
        Verdict { leeway: self.rules.leeway(), bond, ..Verdict::default() }
    }
}

fn bond_of(principal: &Principal) -> Bond {
    principal.token_id.as_deref().map_or(Bond::None, |id| Bond::Unless(reference::revocation(id)))
}

/// From when on a JWT is valid by what it says, unverified.
fn begin_of(token: &str) -> Option<u64> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims = json::object(&claims)?;
    ["nbf", "iat"].iter().filter_map(|name| claims.get(*name).and_then(Value::as_u64)).max()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Map, json};

    use super::OwnTokens;
    use crate::auth::Denied;
    use crate::clock::Clock;
    use crate::reference::{Bond, Kept, make};
    use crate::store::{MemoryStore, Store};
    use crate::testing::{AUDIENCE, CLIENT, settings};

    const NOW: u64 = 2_000_000_000;

    fn kept() -> Kept {
        Kept {
            client_id: CLIENT.to_owned(),
            scope: "api:write".to_owned(),
            aud: json!(AUDIENCE),
            iat: NOW,
            exp: NOW + 100,
            more: Map::new(),
        }
    }

    async fn judged(kept: Kept, now: u64) -> Result<Bond, Denied> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
        let (token, digest) = make().unwrap();
        let record = serde_json::to_vec(&kept).unwrap();
        store.put(digest, record.into(), kept.exp).await.unwrap();
        let own = OwnTokens::new(&settings(), store).unwrap();
        own.judge(&token, now, &mut ()).await.map(|(principal, bond)| {
            assert_eq!(principal.client_id.as_deref(), Some(CLIENT));
            assert!(principal.scopes.contains("api:write"));
            bond
        })
    }

    #[tokio::test]
    async fn a_kept_token_is_judged_like_a_jwt() {
        assert!(matches!(judged(kept(), NOW).await, Ok(Bond::While(_))));
        assert_eq!(judged(kept(), NOW + 160).await, Err(Denied::Expired));
        assert_eq!(judged(kept(), NOW - 61).await, Err(Denied::NotYetValid));
        let other = Kept { aud: json!("https://other.example.com"), ..kept() };
        assert_eq!(judged(other, NOW).await, Err(Denied::WrongAudience));
        let gone = Kept { client_id: "gone".to_owned(), ..kept() };
        assert_eq!(judged(gone, NOW).await, Err(Denied::UnknownClient));
    }

    #[tokio::test]
    async fn j51_what_only_looks_like_a_reference_token_is_refused() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new(Clock::system()));
        let own = OwnTokens::new(&settings(), store).unwrap();
        let (unknown, _) = make().unwrap();
        assert_eq!(own.judge(&unknown, NOW, &mut ()).await.err(), Some(Denied::UnknownReference));
        let shaped = format!("{unknown}.e30.AA");
        assert_eq!(own.judge(&shaped, NOW, &mut ()).await.err(), Some(Denied::BadReference));
        let padded = format!("{unknown}=");
        assert_eq!(own.judge(&padded, NOW, &mut ()).await.err(), Some(Denied::BadReference));
        let upper = unknown.to_uppercase();
        assert_eq!(own.judge(&upper, NOW, &mut ()).await.err(), Some(Denied::NotAJwt));
    }
}
