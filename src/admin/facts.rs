//! What the admin listener tells of: numbers of the workers, and the configuration that is in force.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::history::History;
use crate::clock::Clock;
use crate::config::Settings;
use crate::issuers::{Issuers, Standing};
use crate::observe::{Metrics, Reading};
use crate::store::Store;

/// All that is known, for as long as the gateway lives.
#[derive(Debug)]
pub struct Facts {
    /// The time.
    pub clock: Clock,
    /// Seconds since 1970.
    pub started_at: u64,
    /// Connections open now, over all workers.
    pub open: Arc<AtomicUsize>,
    /// As many may be.
    pub max_connections: usize,
    /// No new work is wanted.
    pub draining: AtomicBool,
    workers: Mutex<Vec<Arc<Metrics>>>,
    current: Mutex<Arc<Current>>,
    pub(super) history: Mutex<History>,
}

/// The configuration that is in force, and what lives by it.
#[derive(Debug)]
pub struct Current {
    /// Counted from 1.
    pub generation: u64,
    /// Seconds since 1970.
    pub loaded_at: u64,
    /// What it says.
    pub settings: Arc<Settings>,
    /// The issuers in it.
    pub issuers: Arc<Issuers>,
    /// Where records are kept.
    pub store: Arc<dyn Store>,
}

impl Facts {
    /// Of a gateway that starts now and has no workers yet.
    #[must_use]
    pub fn new(
        clock: Clock,
        open: Arc<AtomicUsize>,
        max_connections: usize,
        current: Current,
    ) -> Self {
        Self {
            started_at: clock.unix_seconds(),
            clock,
            open,
            max_connections,
            draining: AtomicBool::new(false),
            workers: Mutex::default(),
            current: Mutex::new(Arc::new(current)),
            history: Mutex::default(),
        }
    }

    /// Another configuration is in force.
    pub fn replace(&self, current: Current) {
        *lock(&self.current) = Arc::new(current);
    }

    /// The configuration that is in force.
    #[must_use]
    pub fn current(&self) -> Arc<Current> {
        Arc::clone(&lock(&self.current))
    }

    /// One more worker, whose numbers count from now on.
    pub fn add_worker(&self, numbers: Arc<Metrics>) {
        lock(&self.workers).push(numbers);
    }

    /// The numbers of each worker.
    #[must_use]
    pub fn workers(&self) -> Vec<Arc<Metrics>> {
        lock(&self.workers).clone()
    }

    /// The numbers of all workers together.
    #[must_use]
    pub fn reading(&self) -> Reading {
        let mut reading = Reading::default();
        for worker in self.workers() {
            worker.read_into(&mut reading);
        }
        reading
    }

    /// Why requests should not be sent here; `None`: they should.
    #[must_use]
    pub fn not_ready(&self) -> Option<&'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Some("draining");
        }
        let current = self.current();
        let mut standings = current.standings(self.clock.unix_seconds());
        let judges_own = current.settings.token.is_some();
        if !judges_own && standings.len() > 0 && !standings.any(|(_, it)| it.state.is_usable()) {
            return Some("no issuer can be asked, and none of its keys are known");
        }
        None
    }
}

impl Current {
    /// The name of each issuer, and how it stands at `now`, seconds since 1970.
    pub fn standings(&self, now: u64) -> impl ExactSizeIterator<Item = (&str, Standing)> {
        self.settings.issuers.iter().enumerate().map(move |(number, issuer)| {
            (issuer.name.as_str(), self.issuers.standing(number, issuer, now))
        })
    }
}

/// What is told is told, whatever became of the thread that wrote it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
