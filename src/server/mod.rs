//! Start, serve, stop: binds the listeners, starts one thread a worker, and waits for the end.

mod answer;
mod connection;
mod limits;
mod listener;
mod panics;
mod reload;
mod shutdown;
mod tunnel;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use listener::BindError;
pub use reload::ReloadError;
pub use shutdown::{Signals, until_signalled};

pub use crate::admin::ReloadReport;

use crate::admin::{self, Facts};
use crate::clock::Clock;
use crate::config::Settings;
use crate::gateway::{Generation, SetupError};
use crate::observe::{LogSink, Metrics, Reading};
use crate::store;
use listener::{Listeners, SocketFile};
use reload::Reloads;
use worker::Line;

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What the configuration needs cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] store::OpenError),
    /// A thread or a runtime cannot be had.
    #[error("a worker cannot be started: {0}")]
    Worker(#[source] io::Error),
}

/// How far the end has come. It only ever moves on.
#[derive(Clone, Copy, Debug, Eq, PartialEq, PartialOrd)]
pub(crate) enum Phase {
    /// Serving.
    Serving,
    /// No new work; what is in flight may finish.
    Draining,
    /// Whatever is left is cut.
    Ending,
}

/// All that crosses from one thread to another.
#[derive(Debug)]
pub(crate) struct Shared {
    /// The configuration in force. Workers have their own view of it, see [`reload`].
    generation: Arc<ArcSwap<Generation>>,
    reloads: Reloads,
    clock: Clock,
    phase: watch::Receiver<Phase>,
    /// Connections open now, over all workers.
    open: Arc<AtomicUsize>,
    max_connections: Arc<AtomicUsize>,
    /// What the admin listener tells of.
    facts: Arc<Facts>,
    log: Option<LogSink>,
}

impl Shared {
    /// Most connections at once.
    fn most(&self) -> usize {
        self.max_connections.load(Ordering::Relaxed)
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    files: Vec<SocketFile>,
    admin: Option<SocketAddr>,
    /// They go when nobody answers there any more.
    _admin_files: Vec<SocketFile>,
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    /// How to reach each worker.
    lines: Vec<Line>,
    /// Tells health until the workers have ended.
    health: Option<JoinHandle<()>>,
    metrics: Vec<Arc<Metrics>>,
    shared: Arc<Shared>,
}

/// The numbers of a gateway, over all its workers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Connections taken.
    pub connections: u64,
    /// Requests answered or given up.
    pub requests: u64,
    /// Requests refused by the gateway.
    pub refused: u64,
    /// Requests let through that a policy in report mode would have refused.
    pub reported: u64,
    /// Requests failed for the upstream's sake.
    pub upstream_failures: u64,
    /// Requests that ended before their answer did.
    pub aborted: u64,
    /// Panics.
    pub panics: u64,
}

/// Starts a gateway. Events and access lines go to `log`; without it, nothing is logged.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub fn start(
    settings: Settings,
    clock: Clock,
    log: Option<LogSink>,
) -> Result<Running, StartError> {
    // First, so that a second gateway on one folder is told before it takes a port.
    let store = store::open(&settings.store, &clock)?;
    let max_connections = limits::connections(settings.server.max_connections);
    let listeners = Listeners::bind(&settings.server)?;
    let admin = settings.admin.as_ref().map_or(&[][..], |admin| &admin.listen);
    let (admin, admin_files) = listener::bind_admin(admin)?;
    let generation = Generation::first(settings, store, clock.clone())?;
    let (phase, watched) = watch::channel(Phase::Serving);
    let open = Arc::<AtomicUsize>::default();
    let max_connections = Arc::new(AtomicUsize::new(max_connections));
    let reloads = Reloads::new(&clock);
    let in_force = Arc::new(ArcSwap::new(Arc::clone(&generation)));
    let facts = Facts::new(clock.clone(), Arc::clone(&in_force), reloads.shared())
        .with_connections(Arc::clone(&open), Arc::clone(&max_connections))
        .with_log(log.clone());
    let shared = Arc::new(Shared {
        reloads,
        generation: in_force,
        clock,
        phase: watched,
        open,
        max_connections,
        facts: Arc::new(facts),
        log,
    });
    let addresses = listeners.addresses();
    let (sets, files) = listeners.split(generation.settings().server.workers)?;
    let mut running = Running {
        addresses,
        files,
        admin: admin.iter().find_map(admin::Socket::address),
        _admin_files: admin_files,
        phase,
        workers: Vec::new(),
        health: None,
        metrics: Vec::new(),
        lines: Vec::new(),
        shared: Arc::clone(&shared),
    };
    for (number, sockets) in sets.into_iter().enumerate() {
        let metrics = Arc::<Metrics>::default();
        running.metrics.push(Arc::clone(&metrics));
        shared.facts.add_worker(Arc::clone(&metrics));
        let (worker, line) = worker::start(number, sockets, &shared, metrics)?;
        running.workers.push(worker);
        running.lines.push(line);
    }
    if !admin.is_empty() {
        let mut phase = shared.phase.clone();
        let over = async move {
            let _ = phase.wait_for(|phase| *phase == Phase::Ending).await; // or nobody is left to tell of
        };
        let facts = Arc::clone(&shared.facts);
        running.health = Some(admin::start(admin, facts, over).map_err(StartError::Worker)?);
    }
    Ok(running)
}

impl Running {
    /// The TCP addresses that are listened on, ports filled in.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first address at which the admin listener answers over TCP.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The numbers so far.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for worker in self.metrics.iter().map(|worker| &worker.counters) {
            totals.connections += worker.connections.get();
            totals.requests += worker.requests.get();
            totals.refused += worker.refused.get();
            totals.reported += worker.reported.get();
            totals.upstream_failures += worker.upstream_failures.get();
            totals.aborted += worker.aborted.get();
            totals.panics += worker.panics.get();
        }
        totals
    }

    /// The numbers so far by route, decision, reason and status, with latencies.
    #[must_use]
    pub fn reading(&self) -> Reading {
        self.shared.facts.reading()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// No new work from now on: not ready, no keep-alive, idle connections closed. What is in flight has
    /// `drain_timeout` to finish.
    pub fn drain(&self) {
        self.shared.facts.draining.store(true, Ordering::Relaxed);
        // before the sockets close: whoever finds a file finds somebody who answers
        self.files.iter().for_each(SocketFile::remove);
        self.advance(Phase::Draining);
    }

    /// Cuts what is left.
    pub fn end(&self) {
        self.drain();
        self.advance(Phase::Ending);
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let moves = *phase < to;
            if moves {
                *phase = to;
            }
            moves
        });
    }

    /// How long draining may take.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.shared.generation.load().settings().server.drain_timeout
    }

    /// Whether every worker has ended.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.workers.iter().all(JoinHandle::is_finished)
    }

    /// Waits for the workers. Call [`Running::drain`] or [`Running::end`] first.
    pub fn join(mut self) -> Totals {
        for worker in self.workers.drain(..) {
            let _ = worker.join(); // a worker that panicked has said so in the log
        }
        self.advance(Phase::Ending);
        if let Some(health) = self.health.take() {
            let _ = health.join();
        }
        self.totals()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}
