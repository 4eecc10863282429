//! What all workers know of every origin: one record of atomics each, which outlives a change of the configuration as
//! long as its origin stays. Chooses nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::config::{Origin, Settings, Upstream};
use crate::dial::{TlsClient, TlsSetupError};

/// The origins of every upstream, in the order of [`Settings::every_upstream`].
#[derive(Debug)]
pub struct Origins {
    upstreams: Vec<Group>,
}

/// The origins of one upstream, and what is set up for them once for all workers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) settings: Arc<Upstream>,
    pub(super) origins: Vec<Arc<OriginState>>,
    /// For each origin.
    pub(super) tls: Vec<Option<TlsClient>>,
}

/// One origin, as all workers know it.
#[derive(Debug)]
pub struct OriginState {
    origin: Origin,
    /// In flight, of those workers that share the count.
    pub(super) active: AtomicU64,
    /// What the workers count for themselves; and what workers counted that are gone.
    tallies: Mutex<(Vec<Weak<Tally>>, u64)>,
}

/// What one worker counts for itself. One thread writes, so that counting is a load and a store, without a lock.
#[derive(Debug, Default)]
pub(super) struct Tally {
    requests: AtomicU64,
    active: AtomicU64,
    idle: AtomicU64,
}

/// What can be told of an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OriginReport {
    /// Requests sent to it and not yet answered to the end.
    pub active: u64,
    /// Connections that wait for a request.
    pub idle: u64,
    /// Requests sent to it.
    pub requests: u64,
}

impl Origins {
    /// The origins of `settings`. What `previous` knows of those that have not changed is kept. The certificate
    /// authorities of the system are read anew.
    ///
    /// # Errors
    /// When TLS is needed and cannot be set up.
    pub fn new(settings: &Settings, previous: Option<&Self>) -> Result<Self, TlsSetupError> {
        let known = previous.map_or(&[][..], |previous| previous.upstreams.as_slice());
        let groups = settings.every_upstream().map(|upstream| Group::new(upstream, known));
        Ok(Self { upstreams: groups.collect::<Result<_, _>>()? })
    }

    pub(super) fn groups(&self) -> &[Group] {
        &self.upstreams
    }

    /// Every origin with the name of its upstream, in order.
    pub fn every(&self) -> impl Iterator<Item = (&str, &OriginState)> {
        self.upstreams.iter().flat_map(|group| {
            group.origins.iter().map(|origin| (group.settings.name.as_str(), &**origin))
        })
    }
}

impl Group {
    fn new(settings: &Upstream, known: &[Self]) -> Result<Self, TlsSetupError> {
        let same = |group: &&Self| {
            group.settings.name == settings.name && group.settings.tls == settings.tls
        };
        let before = known.iter().find(same).map_or(&[][..], |group| group.origins.as_slice());
        let origins = settings.origins.iter().map(|origin| {
            let kept = before.iter().find(|known| known.origin == *origin);
            kept.map_or_else(|| Arc::new(OriginState::new(origin.clone())), Arc::clone)
        });
        let tls = settings.origins.iter().map(|origin| match origin.https {
            true => TlsClient::new(origin, &settings.tls).map(Some),
            false => Ok(None),
        });
        Ok(Self {
            origins: origins.collect(),
            tls: tls.collect::<Result<_, _>>()?,
            settings: Arc::new(settings.clone()),
        })
    }
}

impl OriginState {
    fn new(origin: Origin) -> Self {
        Self { origin, active: AtomicU64::new(0), tallies: Mutex::default() }
    }

    /// Which origin it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What can be told of it now.
    #[must_use]
    pub fn report(&self) -> OriginReport {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = OriginReport {
            active: self.active.load(Ordering::Relaxed),
            idle: 0,
            requests: tallies.1,
        };
        for tally in tallies.0.iter().filter_map(Weak::upgrade) {
            report.active += tally.active.load(Ordering::Relaxed);
            report.idle += tally.idle.load(Ordering::Relaxed);
            report.requests += tally.requests.load(Ordering::Relaxed);
        }
        report
    }

    /// A worker's own tally, counted in from now on.
    pub(super) fn join(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::default());
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.0.retain(|known| known.strong_count() > 0);
        tallies.0.push(Arc::downgrade(&tally));
        tally
    }

    /// Takes over what a worker counted that counts no more.
    pub(super) fn leave(&self, tally: &Tally) {
        let mut tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.1 += tally.requests.swap(0, Ordering::Relaxed);
    }
}

impl Tally {
    /// A request begins; its end is counted with [`Tally::end`] if `is_mine`.
    pub(super) fn begin(&self, is_mine: bool) {
        step(&self.requests, 1);
        if is_mine {
            step(&self.active, 1);
        }
    }

    /// A request is over.
    pub(super) fn end(&self) {
        step(&self.active, u64::MAX);
    }

    /// So many connections are idle.
    pub(super) fn set_idle(&self, count: usize) {
        self.idle.store(count as u64, Ordering::Relaxed);
    }
}

/// Adds, around the corner if need be. Only the owning worker may call it.
fn step(number: &AtomicU64, by: u64) {
    number.store(number.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}
