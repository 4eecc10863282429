//! A new configuration for a gateway that serves: set up whole, then given to every worker, or not at all.
//!
//! Invariant: a request is served by one configuration from its head to its end, and one that begins after a reload was
//! acknowledged is served by the new one. A configuration with a fault changes nothing.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Running, limits};
use crate::admin::{ReloadReport, Reloaded};
use crate::clock::Clock;
use crate::config::Settings;
use crate::gateway::SetupError;
use std::sync::atomic::Ordering;

/// Why a configuration is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What it needs cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// Something that only a restart can change.
    #[error("{what} cannot be changed while the gateway runs; restart it")]
    Restart {
        /// The key.
        what: &'static str,
    },
    /// A worker does not take it: it has ended, or hangs.
    #[error("only {applied} of {workers} workers have taken the configuration")]
    Workers {
        /// Those that have.
        applied: usize,
        /// All of them.
        workers: usize,
    },
}

/// What is remembered of reloads.
#[derive(Debug)]
pub(super) struct Reloads {
    state: Arc<Mutex<Reloaded>>,
    /// One at a time.
    turn: Mutex<()>,
}

impl Reloads {
    pub(super) fn new(clock: &Clock) -> Self {
        let state = Reloaded { loaded_at: clock.unix_seconds(), ..Reloaded::default() };
        Self { state: Arc::new(Mutex::new(state)), turn: Mutex::new(()) }
    }

    /// What there is to tell.
    pub(super) fn state(&self) -> Reloaded {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For whoever tells of it.
    pub(super) fn shared(&self) -> Arc<Mutex<Reloaded>> {
        Arc::clone(&self.state)
    }

    fn note(&self, at: u64, generation: u64, faults: Vec<String>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let ok = faults.is_empty();
        if ok {
            state.ok += 1;
            state.loaded_at = at;
        } else {
            state.failed += 1;
        }
        state.last = Some(ReloadReport { at, ok, faults, generation });
    }
}

impl Running {
    /// Serves by `settings` from now on: requests whose heads come after this has returned are judged by them, others
    /// end by what they began with. Connections stay open. Blocks until every worker has followed.
    ///
    /// # Errors
    /// [`ReloadError`]; nothing has changed then, unless it says otherwise.
    pub fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        let _turn = self.shared.reloads.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = self.apply(settings);
        let now = self.shared.clock.unix_seconds();
        let generation = self.shared.generation.load().number();
        match &outcome {
            Ok(()) => {
                self.shared.reloads.note(now, generation, Vec::new());
                tracing::info!(generation, "configuration applied");
            }
            Err(fault) => {
                self.shared.reloads.note(now, generation, vec![fault.to_string()]);
                tracing::error!(generation, error = %fault, "configuration not applied");
            }
        }
        outcome
    }

    /// Notes that a configuration has faults; nothing else changes.
    pub fn reload_failed(&self, faults: Vec<String>) {
        let generation = self.shared.generation.load().number();
        for fault in &faults {
            tracing::error!(generation, error = fault, "configuration not applied");
        }
        self.shared.reloads.note(self.shared.clock.unix_seconds(), generation, faults);
    }

    /// How the last reload went; none if there was none.
    #[must_use]
    pub fn last_reload(&self) -> Option<ReloadReport> {
        self.shared.reloads.state().last
    }

    fn apply(&self, settings: Settings) -> Result<(), ReloadError> {
        let current = self.shared.generation.load_full();
        if settings.store != current.settings().store {
            return Err(ReloadError::Restart { what: "store.url" });
        }
        let max_connections = limits::connections(settings.server.max_connections);
        let next = current.next(settings)?;
        // from here on nothing fails but a worker that is broken
        self.shared.max_connections.store(max_connections, Ordering::Relaxed);
        self.shared.generation.store(Arc::clone(&next));
        let (done, taken) = channel();
        for line in &self.lines {
            line.send(Arc::clone(&next), done.clone());
        }
        drop(done);
        let (mut applied, workers) = (0, self.lines.len());
        while applied < workers {
            match taken.recv_timeout(PATIENCE) {
                Ok(()) => applied += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(ReloadError::Workers { applied, workers });
                }
            }
        }
        Ok(())
    }
}

/// How long a worker may take to follow.
const PATIENCE: Duration = Duration::from_secs(30);
