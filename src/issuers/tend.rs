//! Keeps one issuer's metadata and keys fresh, on the thread of the issuers.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::call::{CALL_LIMIT, CallError, Caller};
use super::metadata::{BadMetadata, Metadata};
use super::progress::Progress;
use super::{Ask, COOL_DOWN, Ends, KeyEnds, MAX_STALE, introspect};
use crate::clock::Clock;
use crate::config::{Endpoint, Issuer, KeySource};
use crate::keys::{BadKeySet, KeySet};

/// An issuer cannot be asked now.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the issuer cannot be asked")]
pub struct Unreachable;

/// Why something was not learned.
#[derive(Debug, thiserror::Error)]
pub(super) enum TendError {
    #[error("{url} cannot be read")]
    Call { url: String, source: CallError },
    #[error("{url} is not the metadata of the issuer: {source}")]
    Metadata { url: String, source: BadMetadata },
    #[error("{url} is no key set: {source}")]
    Keys { url: String, source: BadKeySet },
    #[error("{url} has no key that can be used")]
    NoKeys { url: String },
    #[error("the metadata names no {0}")]
    Nowhere(&'static str),
}

/// What is known of where an issuer is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) metadata: Metadata,
    /// Whether it has been looked for.
    pub(super) tried: bool,
}

/// One issuer, on its thread.
pub(super) struct Tended {
    pub(super) issuer: Rc<Issuer>,
    pub(super) caller: Caller,
    pub(super) clock: Clock,
    pub(super) places: watch::Sender<Places>,
    discovered_at: Cell<Option<Instant>>,
    /// What others may know of how it goes.
    progress: Arc<Progress>,
}

/// Starts the tasks of one issuer.
pub(super) fn begin(issuer: Rc<Issuer>, ends: Ends, clock: Clock) {
    let tended = Rc::new(Tended {
        caller: Caller::new(issuer.allow_http),
        clock,
        places: watch::Sender::default(),
        discovered_at: Cell::new(None),
        progress: ends.progress,
        issuer,
    });
    let answering = ends.jobs.map(|(introspector, jobs)| {
        tokio::task::spawn_local(introspect::serve(Rc::clone(&tended), introspector, jobs))
    });
    let keeping = tokio::task::spawn_local(async move {
        match ends.keys {
            Some(keys) => tended.keep_keys(keys).await,
            None => tended.keep_places().await,
        }
    });
    tokio::task::spawn_local(async move {
        let _ = ends.unused.await; // its other end is dropped when no configuration names the issuer any more
        keeping.abort();
        if let Some(answering) = answering {
            answering.abort();
        }
    });
}

impl Tended {
    /// Where there are no keys to fetch, there may be an introspection endpoint to find.
    async fn keep_places(&self) {
        let mut pauses = Pauses::default();
        while !self.issuer.discovery.is_empty() {
            let outcome = self.discover().await;
            let pause = match &outcome {
                Ok(()) => {
                    self.progress.succeeded(self.clock.unix_seconds());
                    pauses.good(DISCOVERY_AGE)
                }
                Err(fault) => self.told(fault, pauses.bad(FIRST_PAUSE, LONGEST_PAUSE)),
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Fetches keys at intervals, and when somebody has seen a `kid` that is not among them.
    async fn keep_keys(&self, mut ends: KeyEnds) {
        let mut pauses = Pauses::default();
        let mut fetched_at = ends.snapshot.borrow().fetched_at;
        loop {
            let has_keys = fetched_at.is_some();
            let pause = match self.fetch(&ends, !has_keys || self.discovery_is_old()).await {
                Ok(()) => {
                    if pauses.failures > 0 {
                        tracing::info!(
                            issuer = self.issuer.name,
                            "the issuer's keys can be read again"
                        );
                    }
                    self.progress.succeeded(self.clock.unix_seconds());
                    fetched_at = Some(self.clock.monotonic());
                    pauses.good(REFRESH)
                }
                Err(fault) => {
                    let pause = if has_keys {
                        pauses.bad(FIRST_RETRY, LONGEST_RETRY)
                    } else {
                        pauses.bad(FIRST_PAUSE, LONGEST_PAUSE)
                    };
                    ends.snapshot.send_modify(|keys| keys.tried = true);
                    self.told(&fault, pause)
                }
            };
            let mut due = self.clock.monotonic() + jittered(pause);
            while self.clock.monotonic() < due {
                self.expire(&ends, &mut fetched_at);
                tokio::select! {
                    () = tokio::time::sleep(TICK.min(due.saturating_duration_since(self.clock.monotonic()))) => {}
                    ask = ends.asks.recv() => match ask {
                        Some(ask) => {
                            let failing = pauses.failures > 0;
                            if self.answer(&ends, ask, failing, &mut fetched_at).await.is_err() {
                                due = due.min(self.clock.monotonic() + FIRST_RETRY);
                            }
                        }
                        None => return,
                    },
                }
            }
        }
    }

    /// Too old keys are none.
    fn expire(&self, ends: &KeyEnds, fetched_at: &mut Option<Instant>) {
        let age = fetched_at.map(|then| self.clock.monotonic().saturating_duration_since(then));
        if age.is_some_and(|age| age > MAX_STALE) {
            tracing::error!(issuer = self.issuer.name, limit = ?MAX_STALE, "the issuer's keys are too old to be used any more");
            *fetched_at = None;
            ends.snapshot.send_modify(|keys| {
                keys.set = None;
                keys.fetched_at = None;
                keys.generation += 1;
            });
        }
    }

    /// Looks for a key that somebody has seen, unless one was looked for in vain lately.
    async fn answer(
        &self,
        ends: &KeyEnds,
        ask: Ask,
        failing: bool,
        fetched_at: &mut Option<Instant>,
    ) -> Result<(), TendError> {
        // whether there is such a key, and another one than whoever asks has seen
        let has = || {
            let keys = ends.snapshot.borrow();
            let found =
                keys.set.as_ref().is_some_and(|set| set.has(ask.kid.as_deref(), ask.algorithm));
            found && keys.generation != ask.generation
        };
        let mut outcome = Ok(());
        // while the issuer is down it is asked at intervals, and nobody waits for that
        if !has() && !ends.quiet.holds() && !failing {
            outcome = self.fetch(ends, false).await;
            match &outcome {
                Ok(()) => {
                    self.progress.succeeded(self.clock.unix_seconds());
                    *fetched_at = Some(self.clock.monotonic());
                }
                Err(fault) => {
                    self.told(fault, FIRST_RETRY);
                }
            }
            if !has() {
                ends.quiet.keep(COOL_DOWN);
            }
        }
        let _ = ask.reply.send(()); // whoever asked may have gone
        outcome
    }

    /// One look at the issuer's keys.
    async fn fetch(&self, ends: &KeyEnds, discover: bool) -> Result<(), TendError> {
        if discover && !self.issuer.discovery.is_empty() {
            self.discover().await?;
        }
        let endpoint = match &self.issuer.keys {
            KeySource::Url(endpoint) => endpoint.clone(),
            KeySource::Discovered | KeySource::None | KeySource::Fixed(_) => {
                let known = self.places.borrow().metadata.jwks.clone();
                known.ok_or(TendError::Nowhere("jwks_uri"))?
            }
        };
        let url = || endpoint.to_string();
        let document = self
            .caller
            .get(&endpoint)
            .await
            .map_err(|source| TendError::Call { url: url(), source })?;
        let set = KeySet::read(&document, &self.issuer.algorithms)
            .map_err(|source| TendError::Keys { url: url(), source })?;
        if set.keys().is_empty() {
            return Err(TendError::NoKeys { url: url() });
        }
        let now = self.clock.monotonic();
        ends.snapshot.send_if_modified(|keys| {
            keys.fetched_at = Some(now);
            let same = keys.set.as_ref().is_some_and(|held| held.is_same(&set));
            if same {
                return false;
            }
            tracing::info!(
                issuer = self.issuer.name,
                keys = set.keys().len(),
                skipped = set.skipped(),
                "the issuer has other keys"
            );
            keys.set = Some(Arc::new(set));
            keys.tried = true;
            keys.generation += 1;
            true
        });
        Ok(())
    }

    /// Looks for the issuer's metadata, at each place in turn.
    async fn discover(&self) -> Result<(), TendError> {
        let mut last = TendError::Nowhere("issuer");
        for place in &self.issuer.discovery {
            match self.metadata(place).await {
                Ok(metadata) => {
                    self.discovered_at.set(Some(self.clock.monotonic()));
                    self.places.send_replace(Places { metadata, tried: true });
                    return Ok(());
                }
                // a document that is there and wrong is not made up for by another one
                Err(fault @ TendError::Metadata { source: BadMetadata::Issuer { .. }, .. }) => {
                    last = fault;
                    break;
                }
                Err(fault) => last = fault,
            }
        }
        self.places.send_modify(|places| places.tried = true);
        Err(last)
    }

    async fn metadata(&self, place: &Endpoint) -> Result<Metadata, TendError> {
        let url = || place.to_string();
        let document = self
            .caller
            .get(place)
            .await
            .map_err(|source| TendError::Call { url: url(), source })?;
        Metadata::read(&document, &self.issuer.issuer, self.issuer.allow_http)
            .map_err(|source| TendError::Metadata { url: url(), source })
    }

    fn discovery_is_old(&self) -> bool {
        let age = self
            .discovered_at
            .get()
            .map(|then| self.clock.monotonic().saturating_duration_since(then));
        age.is_none_or(|age| age > DISCOVERY_AGE)
    }

    /// Where the issuer is asked about tokens; waits for the first discovery.
    pub(super) async fn introspection_endpoint(&self) -> Option<Endpoint> {
        if let Some(url) = self.issuer.introspection.as_ref().and_then(|how| how.url.clone()) {
            return Some(url);
        }
        let mut places = self.places.subscribe();
        let known =
            tokio::time::timeout(2 * CALL_LIMIT, places.wait_for(|places| places.tried)).await;
        known.ok()?.ok()?.metadata.introspection.clone()
    }

    /// Logs a failure, and yields how long to wait.
    fn told(&self, fault: &TendError, pause: Duration) -> Duration {
        self.progress.failed(fault);
        let cause = std::error::Error::source(fault);
        let deeper = cause.and_then(std::error::Error::source);
        tracing::warn!(
            issuer = self.issuer.name,
            error = %fault,
            cause = cause.map(tracing::field::display),
            deeper = deeper.map(tracing::field::display),
            again_in = ?pause,
            "the issuer cannot be asked"
        );
        pause
    }
}

/// How long until the next look.
#[derive(Default)]
struct Pauses {
    failures: u32,
}

impl Pauses {
    fn good(&mut self, pause: Duration) -> Duration {
        self.failures = 0;
        pause
    }

    /// Doubles with every failure.
    fn bad(&mut self, first: Duration, longest: Duration) -> Duration {
        let pause = first.saturating_mul(1 << self.failures.min(10)).min(longest);
        self.failures += 1;
        pause
    }
}

/// Up to a tenth shorter, so that many gateways do not ask at once.
fn jittered(pause: Duration) -> Duration {
    let mut byte = [0];
    if aws_lc_rs::rand::fill(&mut byte).is_err() {
        return pause; // together is better than not at all
    }
    pause - pause / 10 * u32::from(byte[0]) / 255
}

/// A key that is taken back is dead after this at the latest.
const REFRESH: Duration = Duration::from_secs(285);
/// Where an issuer is asked seldom changes.
const DISCOVERY_AGE: Duration = Duration::from_secs(60 * 60);
/// While there are no keys, requests are refused.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// An issuer that is up again is noticed after this and a call.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// While there are keys, nobody waits.
const FIRST_RETRY: Duration = Duration::from_secs(5);
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// How often it is looked whether something is due: the clock may be moved.
const TICK: Duration = Duration::from_millis(500);
