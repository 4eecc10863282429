//! Start, serve, stop: binds the listeners, starts one thread a worker, and waits for the end.

mod admin_thread;
mod answer;
mod arrival;
mod connection;
mod http2;
mod limits;
mod listener;
mod panics;
mod proxy;
mod reload;
mod shutdown;
mod supervisor;
mod tunnel;
mod watch_files;
mod welcome;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::watch;

pub use arrival::{Arrival, ArrivalError};
pub use listener::BindError;
pub use reload::ReloadError;
pub use shutdown::{Signals, until_signalled};
pub use supervisor::Supervisor;
pub use watch_files::Following;

pub use crate::admin::ReloadReport;

use crate::admin::Facts;
use crate::clock::Clock;
use crate::config::Settings;
use crate::gateway::{Generation, SetupError};
use crate::observe::{AuditEvent, LogSink, Metrics, Reading};
use crate::store;
use admin_thread::AdminThread;
use listener::Listening;
use reload::{Control, Reloads};
use watch_files::Watcher;

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
    phase: watch::Sender<Phase>,
    workers: Vec<JoinHandle<()>>,
    metrics: Vec<Arc<Metrics>>,
    shared: Arc<Shared>,
    control: Arc<Control>,
    /// Looks for changes of the configuration, where that is wanted.
    watcher: Option<Watcher>,
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
    arrive(settings, clock, log, Arrival::default())
}

/// The same for a gateway that does not find its addresses free: they were handed to it, or another one is to be relieved.
///
/// # Errors
/// [`StartError`]; nothing is left running then.
pub fn arrive(
    settings: Settings,
    clock: Clock,
    log: Option<LogSink>,
    mut arrival: Arrival,
) -> Result<Running, StartError> {
    let beside = arrival.is_beside();
    // First, so that a second gateway on one folder is told before it takes a port; where another one is to be relieved,
    // whoever comes finds a place to wait before that one ends.
    let mut store = None;
    if !beside {
        store = Some(store::open(&settings.store, &clock)?);
    }
    let max_connections = limits::connections(settings.server.max_connections);
    let workers = settings.server.workers;
    let mut listening = Listening::new(std::mem::take(&mut arrival.handed));
    let change = listening.plan(&settings.server.listen, workers, beside)?;
    let admin = match &settings.admin {
        Some(admin) => Some((admin.listen, listener::bind_admin(admin.listen, beside)?)),
        None => None,
    };
    let store = match store {
        Some(store) => store,
        None => arrival.open(&settings.store, settings.server.drain_timeout, &clock)?,
    };
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
    let mut running = Running {
        phase,
        workers: Vec::new(),
        metrics: Vec::new(),
        control: Arc::new(Control::new(&shared)),
        watcher: None,
        shared: Arc::clone(&shared),
    };
    let mut lines = Vec::new();
    let moves = listening.carry_out(change, workers).unwrap_or_default();
    for (number, moves) in moves.into_iter().enumerate() {
        let metrics = Arc::<Metrics>::default();
        running.metrics.push(Arc::clone(&metrics));
        shared.facts.add_worker(Arc::clone(&metrics));
        let (worker, line) = worker::start(number, moves.opened, &shared, metrics)?;
        running.workers.push(worker);
        lines.push(line);
    }
    let admin = match admin {
        Some((listen, listener)) => Some(AdminThread::start(listen, listener, &shared)?),
        None => None,
    };
    for address in listening.unused() {
        tracing::warn!(address, "a socket was handed over that server.listen does not name");
    }
    running.control.begin(lines, listening, admin);
    arrival.relieve();
    if let Some(audit) = generation.audit() {
        audit.tell(&AuditEvent::Started {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            configuration: generation.settings().digest.as_deref(),
        });
    }
    Ok(running)
}

impl Running {
    /// The TCP addresses that are listened on, ports filled in.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.control.addresses()
    }

    /// Where health is told.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.control.admin_address()
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
        self.control.end();
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
        let generation = self.shared.generation.load_full();
        if let Some(audit) = generation.audit() {
            audit.tell(&AuditEvent::Stopped { requests: self.totals().requests });
            audit.flush(LAST_EVENTS);
        }
        if let Some(spans) = generation.spans() {
            spans.flush(LAST_SPANS);
        }
        self.advance(Phase::Ending);
        drop(self.watcher.take());
        if let Some(admin) = self.control.take_admin() {
            admin.join();
        }
        self.totals()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.watcher.take());
        self.end();
    }
}

/// How long the end waits for the last spans.
const LAST_SPANS: Duration = Duration::from_secs(2);
/// How long the end waits for the last events of the audit log.
const LAST_EVENTS: Duration = Duration::from_secs(5);
