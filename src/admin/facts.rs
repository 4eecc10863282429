//! What the admin listener tells of: numbers of the workers, and the configuration that is in force.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;

use super::history::History;
use crate::clock::Clock;
use crate::config::Issuer;
use crate::gateway::Generation;
use crate::issuers::Standing;
use crate::observe::{LogSink, Metrics, Reading};

/// All that is known, for as long as the gateway lives.
#[derive(Debug)]
pub struct Facts {
    /// The time.
    pub clock: Clock,
    /// Seconds since 1970.
    pub started_at: u64,
    /// No new work is wanted.
    pub draining: AtomicBool,
    /// Connections open now, over all workers.
    open: Arc<AtomicUsize>,
    /// As many may be.
    max_connections: Arc<AtomicUsize>,
    in_force: Arc<ArcSwap<Generation>>,
    reloads: Arc<Mutex<Reloaded>>,
    workers: Mutex<Vec<Arc<Metrics>>>,
    log: Option<LogSink>,
    pub(super) history: Mutex<History>,
}

/// How reloads went.
#[derive(Clone, Debug, Default)]
pub struct Reloaded {
    /// When the configuration in force was applied, seconds since 1970.
    pub loaded_at: u64,
    /// Those that were applied.
    pub ok: u64,
    /// Those that were not.
    pub failed: u64,
    /// The last one.
    pub last: Option<ReloadReport>,
    /// What should be known of the configuration in force.
    pub warnings: Vec<String>,
    /// The file that it is read from, where one is followed.
    pub file: Option<PathBuf>,
}

/// How the last reload went.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ReloadReport {
    /// When it ended, seconds since 1970.
    pub at: u64,
    /// Whether it was applied.
    pub ok: bool,
    /// Everything that was wrong, each as a terminal shows it.
    pub faults: Vec<String>,
    /// The number of the configuration in force since then; the one of the start is 1.
    pub generation: u64,
}

impl Facts {
    /// Of a gateway that starts now and has no workers yet.
    #[must_use]
    pub fn new(
        clock: Clock,
        in_force: Arc<ArcSwap<Generation>>,
        reloads: Arc<Mutex<Reloaded>>,
    ) -> Self {
        Self {
            started_at: clock.unix_seconds(),
            clock,
            open: Arc::default(),
            max_connections: Arc::default(),
            draining: AtomicBool::new(false),
            in_force,
            reloads,
            workers: Mutex::default(),
            log: None,
            history: Mutex::default(),
        }
    }

    /// With these numbers of connections: those that are open, and as many as may be.
    #[must_use]
    pub fn with_connections(self, open: Arc<AtomicUsize>, most: Arc<AtomicUsize>) -> Self {
        Self { open, max_connections: most, ..self }
    }

    /// With this log, of which it is told what was lost.
    #[must_use]
    pub fn with_log(self, log: Option<LogSink>) -> Self {
        Self { log, ..self }
    }

    pub(super) fn log_lines_dropped(&self) -> u64 {
        self.log.as_ref().map_or(0, LogSink::lines_dropped)
    }

    /// The configuration that is in force.
    pub(super) fn current(&self) -> Arc<Generation> {
        self.in_force.load_full()
    }

    pub(super) fn reloads(&self) -> Reloaded {
        lock(&self.reloads).clone()
    }

    /// Connections open now, and as many as may be.
    pub(super) fn connections(&self) -> (usize, usize) {
        (self.open.load(Ordering::Relaxed), self.max_connections.load(Ordering::Relaxed))
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
        let mut others = standings(&current, self.clock.unix_seconds());
        let judges_own = current.settings().token.is_some();
        if !judges_own && others.len() > 0 && !others.any(|(_, it)| it.state.is_usable()) {
            return Some("no issuer can be asked, and none of its keys are known");
        }
        if !current.origins().any_usable() {
            return Some("no origin of any upstream is well");
        }
        None
    }
}

/// The settings of each issuer, and how it stands at `now`, seconds since 1970.
pub(super) fn standings(
    current: &Generation,
    now: u64,
) -> impl ExactSizeIterator<Item = (&Issuer, Standing)> {
    let issuers = current.settings().issuers.iter().enumerate();
    issuers.map(move |(number, issuer)| (issuer, current.issuers().standing(number, issuer, now)))
}

/// What is told is told, whatever became of the thread that wrote it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
