//! A new configuration for a gateway that serves: set up whole, then given to every worker, or not at all.
//!
//! Invariant: a request is served by one configuration from its head to its end, and one that begins after a reload was
//! acknowledged is served by the new one. A configuration with a fault changes nothing.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::admin_thread::AdminThread;
use super::listener::{self, BindError, Listening};
use super::worker::Line;
use super::{Phase, Running, Shared, StartError, limits};
use crate::admin::{ReloadReport, Reloaded};
use crate::clock::Clock;
use crate::config::{Fault, Settings};
use crate::gateway::{Generation, SetupError};
use crate::observe::AuditEvent;

/// Why a configuration is not applied.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// What it needs cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// It listens where it cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Something that only a restart can change.
    #[error(
        "`{key}` cannot be changed while the gateway runs; restart it, or take the change back"
    )]
    Restart {
        /// The key.
        key: &'static str,
    },
    /// The gateway is about to end.
    #[error("the gateway is draining: its configuration stays as it is")]
    Draining,
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
}

/// What changes a gateway that serves.
#[derive(Debug)]
pub(super) struct Control {
    shared: Arc<Shared>,
    /// One reload at a time.
    turn: Mutex<()>,
    places: Mutex<Places>,
}

/// Where the gateway is to be found, and how its workers are.
#[derive(Debug, Default)]
struct Places {
    lines: Vec<Line>,
    listening: Listening,
    admin: Option<AdminThread>,
}

impl Reloads {
    pub(super) fn new(clock: &Clock) -> Self {
        let state = Reloaded { loaded_at: clock.unix_seconds(), ..Reloaded::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What there is to tell.
    pub(super) fn state(&self) -> Reloaded {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Reloaded> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For whoever tells of it.
    pub(super) fn shared(&self) -> Arc<Mutex<Reloaded>> {
        Arc::clone(&self.state)
    }

    fn note(&self, at: u64, generation: u64, faults: Vec<String>) {
        let mut state = self.lock();
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
    /// [`ReloadError`]; nothing has changed then, unless it is [`ReloadError::Workers`].
    pub fn reload(&self, settings: Settings) -> Result<(), ReloadError> {
        self.control.reload(settings, &[])
    }

    /// How the last reload went; none if there was none.
    #[must_use]
    pub fn last_reload(&self) -> Option<ReloadReport> {
        self.shared.reloads.state().last
    }
}

/// One reason why a configuration is not applied.
#[derive(Debug)]
pub(super) struct Failing {
    /// For the log.
    pub(super) line: String,
    /// As a terminal shows it: with the line of the file, where there is one.
    pub(super) shown: String,
}

impl Control {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), turn: Mutex::default(), places: Mutex::default() }
    }

    /// Takes over what was started.
    pub(super) fn begin(&self, lines: Vec<Line>, listening: Listening, admin: Option<AdminThread>) {
        *self.places() = Places { lines, listening, admin };
    }

    /// As [`Running::reload`]; `warnings` are what its judging has brought up.
    pub(super) fn reload(&self, settings: Settings, warnings: &[Fault]) -> Result<(), ReloadError> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let workers = settings.server.workers;
        let outcome = self.apply(settings);
        match &outcome {
            Ok(generation) => {
                let mut warnings: Vec<String> = warnings.iter().map(line).collect();
                let running = self.places().lines.len();
                if workers != running {
                    warnings.push(format!(
                        "`server.workers` is {workers} now and stays {running} until the gateway is restarted"
                    ));
                }
                self.note_warnings(warnings);
                self.note(Vec::new());
                tracing::info!(generation = generation.number(), "configuration applied");
            }
            Err(fault) => {
                let line = fault.to_string();
                self.failed(vec![Failing { shown: line.clone(), line }]);
            }
        }
        outcome.map(|_| ())
    }

    /// Notes what the start was by.
    pub(super) fn describe(&self, file: Option<PathBuf>, warnings: &[Fault]) {
        let mut state = self.shared.reloads.lock();
        state.file = file;
        state.warnings = warnings.iter().map(line).collect();
    }

    /// Says that a configuration is not applied, and why.
    pub(super) fn failed(&self, faults: Vec<Failing>) {
        let generation = self.shared.generation.load().number();
        for Failing { line, .. } in &faults {
            tracing::error!(generation, fault = line, "configuration not applied");
        }
        self.note(faults.into_iter().map(|fault| fault.shown).collect());
    }

    /// Tells, and keeps, what should be known of the configuration in force.
    fn note_warnings(&self, warnings: Vec<String>) {
        for warning in &warnings {
            tracing::warn!(warning, "configuration");
        }
        self.shared.reloads.lock().warnings = warnings;
    }

    fn note(&self, faults: Vec<String>) {
        let at = self.shared.clock.unix_seconds();
        let generation = self.shared.generation.load_full();
        if let Some(audit) = generation.audit() {
            if !faults.is_empty() {
                audit.reopen(); // whoever moved the file away waits for it, whatever the configuration is like
            }
            audit.tell(&AuditEvent::Reload {
                ok: faults.is_empty(),
                generation: generation.number(),
                configuration: generation.settings().digest.as_deref(),
                faults: &faults,
            });
        }
        self.shared.reloads.note(at, generation.number(), faults);
    }

    fn apply(&self, settings: Settings) -> Result<Arc<Generation>, ReloadError> {
        let current = self.shared.generation.load_full();
        if settings.store != current.settings().store {
            return Err(ReloadError::Restart { key: "store.url" });
        }
        if *self.shared.phase.borrow() != Phase::Serving {
            return Err(ReloadError::Draining);
        }
        let max_connections = limits::connections(settings.server.max_connections);
        let admin = settings.admin.as_ref().map(|admin| admin.listen);
        let next = current.next(settings)?;
        let followed = {
            let mut places = self.places();
            let Places { lines, listening, admin: old_admin } = &mut *places;
            let change = listening.plan(&next.settings().server.listen, lines.len(), false)?;
            let stays = old_admin.as_ref().map(|admin| admin.listen) == admin;
            let new_admin = match admin.filter(|_| !stays) {
                Some(listen) => Some((listen, listener::bind_admin(listen, false)?)),
                None => None,
            };
            // from here on nothing fails
            let Some(moves) = listening.carry_out(change, lines.len()) else {
                return Err(ReloadError::Draining);
            };
            self.shared.max_connections.store(max_connections, Ordering::Relaxed);
            self.shared.generation.store(Arc::clone(&next));
            let (done, followed) = channel();
            for (line, moves) in lines.iter().zip(moves) {
                line.send(Arc::clone(&next), moves, done.clone());
            }
            if !stays {
                *old_admin = new_admin.and_then(|(listen, listener)| {
                    let started = AdminThread::start(listen, listener, &self.shared);
                    started.inspect_err(no_admin).ok()
                });
            }
            followed
        };
        let (mut applied, workers) = (0, self.places().lines.len());
        while applied < workers {
            match followed.recv_timeout(PATIENCE) {
                Ok(()) => applied += 1,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(ReloadError::Workers { applied, workers });
                }
            }
        }
        Ok(next)
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.places().listening.addresses()
    }

    pub(super) fn admin_address(&self) -> Option<SocketAddr> {
        self.places().admin.as_ref()?.address
    }

    /// Nobody shall find the gateway any more.
    pub(super) fn end(&self) {
        self.places().listening.end();
    }

    /// The admin listener, to wait for.
    pub(super) fn take_admin(&self) -> Option<AdminThread> {
        self.places().admin.take()
    }

    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The system has no thread for it: what there is of it is the log.
fn no_admin(fault: &StartError) {
    tracing::error!(error = %fault, "the admin listener cannot be started");
}

/// A fault in one line.
pub(super) fn line(fault: &Fault) -> String {
    let place = fault.place().map(|place| format!("{place}: ")).unwrap_or_default();
    format!("{place}{}; {}", fault.reason(), fault.mend())
}

/// How long a worker may take to follow.
const PATIENCE: Duration = Duration::from_secs(30);
