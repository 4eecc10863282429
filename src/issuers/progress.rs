//! How it goes with an issuer, for whoever looks at the gateway: are there keys, how old are they, what went wrong last.

use std::error::Error;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Keys;
use crate::config::{Issuer, KeySource};
use crate::keys::KeySet;
use crate::observe::Latencies;

/// What the thread of the issuers notes of one of them.
#[derive(Debug, Default)]
pub(super) struct Progress {
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Whether the last look failed.
    failing: AtomicBool,
    /// Seconds since 1970 of the last look that succeeded; 0: none did.
    fetched_at: AtomicU64,
    last_error: Mutex<Option<String>>,
}

/// How an issuer stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Whether its tokens can be judged, and how well.
    pub state: State,
    /// How it is known: `jwks`, `discovery`, `keys`, `introspection`.
    pub kind: &'static str,
    /// Its keys.
    pub keys: Option<Arc<KeySet>>,
    /// Since the last look that succeeded.
    pub age_seconds: Option<u64>,
    /// Looks that succeeded.
    pub fetched: u64,
    /// Looks that failed.
    pub failed: u64,
    /// Why the last one did.
    pub last_error: Option<String>,
    /// How it is asked about tokens.
    pub asked: Option<AskedState>,
}

/// Whether an issuer's tokens can be judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// By what was learned at the last look.
    Fresh,
    /// By what was learned earlier: the last look failed.
    Stale,
    /// No: it could not be asked.
    Failing,
    /// Not yet: it is being asked for the first time.
    Waiting,
    /// By keys that are configured.
    Fixed,
}

/// How it goes with asking an issuer about tokens.
#[derive(Clone, Debug)]
pub struct AskedState {
    /// Calls that have ended.
    pub calls: u64,
    /// Those without an answer.
    pub failures: u64,
    /// `closed`, `open` or `half_open`.
    pub breaker: &'static str,
    /// Answers that are remembered.
    pub entries: usize,
    /// What they weigh.
    pub bytes: usize,
    /// Questions that a remembered answer settled.
    pub hits: u64,
    /// Those that none did.
    pub misses: u64,
    /// How long calls took.
    pub latency: Latencies,
}

impl State {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale => "stale",
            Self::Failing => "failing",
            Self::Waiting => "waiting",
            Self::Fixed => "fixed",
        }
    }

    /// Whether tokens can be judged.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        match self {
            Self::Fresh | Self::Stale | Self::Fixed => true,
            Self::Failing | Self::Waiting => false,
        }
    }
}

impl Progress {
    pub(super) fn succeeded(&self, now: u64) {
        self.succeeded.fetch_add(1, Ordering::Relaxed);
        self.fetched_at.store(now, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
    }

    pub(super) fn failed(&self, fault: &dyn Error) {
        self.failed.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(told(fault));
    }
}

impl Standing {
    pub(super) fn of(
        issuer: &Issuer,
        keys: Option<Keys>,
        progress: &Progress,
        asked: Option<AskedState>,
        now: u64,
    ) -> Self {
        let failing = progress.failing.load(Ordering::Relaxed);
        let fetched_at = progress.fetched_at.load(Ordering::Relaxed);
        let (state, set) = match (&issuer.keys, keys) {
            (KeySource::Fixed(set), _) => (State::Fixed, Some(Arc::clone(set))),
            (_, Some(Keys { set: Some(set), .. })) => {
                (if failing { State::Stale } else { State::Fresh }, Some(set))
            }
            (_, Some(Keys { tried, .. })) => {
                (if tried { State::Failing } else { State::Waiting }, None)
            }
            (_, None) => (without_keys(issuer, failing, fetched_at, asked.as_ref()), None),
        };
        Self {
            state,
            kind: kind(issuer),
            keys: set,
            age_seconds: (fetched_at > 0).then(|| now.saturating_sub(fetched_at)),
            fetched: progress.succeeded.load(Ordering::Relaxed),
            failed: progress.failed.load(Ordering::Relaxed),
            last_error: progress.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            asked,
        }
    }
}

/// An issuer that is only asked about tokens: it can be while the breaker lets calls through.
fn without_keys(
    issuer: &Issuer,
    failing: bool,
    fetched_at: u64,
    asked: Option<&AskedState>,
) -> State {
    if asked.is_some_and(|asked| asked.breaker != "closed") {
        return State::Failing;
    }
    match (issuer.discovery.is_empty(), failing, fetched_at > 0) {
        (true, ..) | (false, false, true) => State::Fresh,
        (false, true, true) => State::Stale,
        (false, true, false) => State::Failing,
        (false, false, false) => State::Waiting,
    }
}

fn kind(issuer: &Issuer) -> &'static str {
    match (&issuer.keys, &issuer.introspection) {
        (KeySource::Fixed(_), _) => "keys",
        (_, Some(how)) if how.for_all => "introspection",
        (KeySource::None, _) => "introspection",
        (KeySource::Url(_), _) => "jwks",
        (KeySource::Discovered, _) => "discovery",
    }
}

/// A fault and its causes in one line. The query of a URL may hold what nobody else is to see.
fn told(fault: &dyn Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    let words = text.split(' ').map(|word| match word.split_once('?') {
        Some((place, _)) if place.contains("://") => format!("{place}?…"),
        _ => word.to_owned(),
    });
    let mut text = words.collect::<Vec<_>>().join(" ");
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// Bytes of a fault that are kept.
const LONGEST: usize = 500;

#[cfg(test)]
mod tests {
    use super::told;

    #[derive(Debug, thiserror::Error)]
    #[error("https://idp.example.com/keys?key=hidden cannot be read")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_fault_is_told_with_its_cause_and_without_the_query_of_a_url() {
        let fault = Outer(std::io::Error::other("nobody answers, really?"));
        let said = told(&fault);
        assert_eq!(said, "https://idp.example.com/keys?… cannot be read: nobody answers, really?");
    }
}
