//! One thread, one runtime, one gateway: everything that is not shared is born here.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, UNIX_EPOCH};

use http::HeaderValue;
use slab::Slab;
use tokio::runtime::LocalOptions;
use tokio::sync::{Semaphore, mpsc};

use super::listener::{Listener, Moves, Owner, StdListener};
use super::{Phase, Shared, StartError, welcome};
use crate::clock::{Clock, looking};
use crate::config::Server;
use crate::gateway::{Gateway, Generation};
use crate::net::Stream;
use crate::observe::{AccessLog, Counters, Metrics};

/// What a worker's connections share.
pub(super) struct Worker {
    /// By the configuration in force.
    gateway: RefCell<Rc<Gateway>>,
    pub(super) log: AccessLog,
    pub(super) clock: Clock,
    pub(super) counters: Arc<Counters>,
    /// Whose turn it is to do the costly part of a handshake.
    pub(super) handshakes: Semaphore,
    /// When the last one of these was done.
    pub(super) last_handshake: Cell<Option<Instant>>,
    metrics: Arc<Metrics>,
    /// No keep-alive any more.
    pub(super) draining: Cell<bool>,
    /// How to wake each connection: when draining begins, and at the end.
    wakers: RefCell<Slab<Option<Waker>>>,
    /// Everything is cut.
    pub(super) ending: Cell<bool>,
    /// The second that is spelt, and how.
    date: Cell<(u64, [u8; HTTP_DATE])>,
    /// The same as a field's value.
    date_value: RefCell<(u64, HeaderValue)>,
}

/// A connection's place among its worker's.
pub(super) struct Place {
    worker: Rc<Worker>,
    shared: Arc<Shared>,
    key: usize,
}

/// How to reach a worker.
#[derive(Debug)]
pub(super) struct Line(mpsc::Sender<Update>);

/// Things by their numbers.
type Numbered<T> = Vec<(u64, T)>;

/// A configuration to follow, and where to say that it is done.
struct Update {
    generation: Arc<Generation>,
    moves: Moves,
    done: std::sync::mpsc::Sender<()>,
}

/// A socket that connections are taken from.
struct Standing {
    number: u64,
    listener: Rc<Listener>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Line {
    /// Has the worker serve by `generation`. One that is not there any more drops `done`.
    pub(super) fn send(
        &self,
        generation: Arc<Generation>,
        moves: Moves,
        done: std::sync::mpsc::Sender<()>,
    ) {
        let _ = self.0.try_send(Update { generation, moves, done });
    }
}

/// Starts the thread.
pub(super) fn start(
    number: usize,
    sockets: Numbered<StdListener>,
    shared: &Arc<Shared>,
    metrics: Arc<Metrics>,
) -> Result<(JoinHandle<()>, Line), StartError> {
    let shared = Arc::clone(shared);
    let (line, updates) = mpsc::channel(MAX_UPDATES);
    // what can fail fails here, where it can be told, and not in the thread
    let mut seed = [0; 8];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| StartError::Worker(io::ErrorKind::Other.into()))?;
    let (told, outcome) = std::sync::mpsc::channel();
    let thread = std::thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(MAX_RESOLVERS)
            .build_local(LocalOptions::default());
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(fault) => return drop(told.send(Err(StartError::Worker(fault)))),
        };
        runtime.block_on(async move {
            match prepare(sockets, &shared, metrics, u64::from_ne_bytes(seed)) {
                Ok((worker, listeners)) => {
                    let _ = told.send(Ok(())); // whoever started us waits for it
                    drop(told);
                    serve(worker, listeners, shared, updates).await;
                }
                Err(fault) => drop(told.send(Err(fault))),
            }
        });
        // a name look-up that still hangs must not hold the end up
        runtime.shutdown_background();
    });
    let thread = thread.map_err(StartError::Worker)?;
    match outcome.recv() {
        Ok(Ok(())) => Ok((thread, Line(line))),
        Ok(Err(fault)) => Err(fault),
        Err(_) => Err(StartError::Worker(io::ErrorKind::Other.into())),
    }
}

fn prepare(
    sockets: Numbered<StdListener>,
    shared: &Arc<Shared>,
    metrics: Arc<Metrics>,
    seed: u64,
) -> Result<(Rc<Worker>, Numbered<Listener>), StartError> {
    let listeners = sockets
        .into_iter()
        .map(|(number, socket)| Ok((number, Listener::new(socket)?)))
        .collect::<io::Result<Vec<_>>>();
    let listeners = listeners.map_err(StartError::Worker)?;
    let gateway = Gateway::new(shared.generation.load_full(), seed);
    let log = AccessLog::new(
        shared.log.clone(),
        &gateway.generation().settings().log,
        shared.clock.clone(),
        Arc::clone(&metrics),
    );
    let worker = Worker {
        gateway: RefCell::new(Rc::new(gateway)),
        log,
        clock: shared.clock.clone(),
        counters: Arc::clone(&metrics.counters),
        metrics,
        handshakes: Semaphore::new(1),
        last_handshake: Cell::new(None),
        draining: Cell::new(false),
        ending: Cell::new(false),
        wakers: RefCell::new(Slab::new()),
        date: Cell::new((u64::MAX, [0; HTTP_DATE])),
        date_value: RefCell::new((u64::MAX, HeaderValue::from_static(""))),
    };
    Ok((Rc::new(worker), listeners))
}

async fn serve(
    worker: Rc<Worker>,
    listeners: Numbered<Listener>,
    shared: Arc<Shared>,
    mut updates: mpsc::Receiver<Update>,
) {
    let mut standing: Vec<Standing> = listeners
        .into_iter()
        .map(|(number, listener)| Standing::new(number, listener, &worker, &shared))
        .collect();
    let mut phase = shared.phase.clone();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // from then on nobody is let in
    let mut closing: Option<Instant> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {
                worker.log.flush();
                worker.gateway().tidy();
                worker.gateway().tell(&worker.metrics.held);
            }
            Some(update) = updates.recv() => {
                worker.follow(update.generation);
                change(&mut standing, update.moves, &worker, &shared).await;
                let _ = update.done.send(()); // whoever sent it may have lost patience
            }
            changed = phase.changed() => {
                let now = if changed.is_ok() { *phase.borrow_and_update() } else { Phase::Ending };
                if now >= Phase::Draining && !worker.draining.replace(true) {
                    let (handed, ours) = std::mem::take(&mut standing)
                        .into_iter()
                        .partition(|standing| standing.listener.owner() == Owner::Another);
                    close(handed, &worker, &shared).await; // what waits there is not lost
                    standing = ours;
                    standing.iter().for_each(Standing::turn_away);
                    closing = Some(worker.clock.monotonic() + LAST_HANDSHAKES);
                    worker.wake_all();
                }
                if now == Phase::Ending {
                    close(std::mem::take(&mut standing), &worker, &shared).await;
                    worker.ending.set(true);
                    worker.wake_all();
                    break;
                }
            }
        }
        if worker.draining.get() {
            if closing.is_some_and(|moment| worker.clock.monotonic() >= moment) {
                closing = None;
                close(std::mem::take(&mut standing), &worker, &shared).await;
            }
            if closing.is_none() && worker.wakers.borrow().is_empty() {
                break;
            }
            tick.reset_after(DRAIN_TICK);
        }
    }
    // connections that were cut take a turn to notice
    for _ in 0..MAX_LAST_TURNS {
        if worker.wakers.borrow().is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    worker.log.flush();
}

/// Listens where it is to be listened, and no longer where not.
async fn change(
    standing: &mut Vec<Standing>,
    moves: Moves,
    worker: &Rc<Worker>,
    shared: &Arc<Shared>,
) {
    for (number, socket) in moves.opened {
        match Listener::new(socket) {
            Ok(listener) => standing.push(Standing::new(number, listener, worker, shared)),
            // the other workers listen there
            Err(fault) => tracing::error!(error = %fault, "a worker cannot use a listening socket"),
        }
    }
    let (gone, kept) = std::mem::take(standing)
        .into_iter()
        .partition(|standing| moves.closed.contains(&standing.number));
    *standing = kept;
    close(gone, worker, shared).await;
}

/// Stops listening; whoever has been let in by the system is let in by us.
async fn close(gone: Vec<Standing>, worker: &Rc<Worker>, shared: &Arc<Shared>) {
    if gone.is_empty() {
        return;
    }
    gone.iter().for_each(|standing| standing.accepting.abort());
    tokio::task::yield_now().await; // the runtime hears of what has come by now
    for standing in gone.iter().filter(|standing| standing.listener.owner() == Owner::Us) {
        accept_rest(&standing.listener, worker, shared).await;
    }
}

impl Standing {
    fn new(number: u64, listener: Listener, worker: &Rc<Worker>, shared: &Arc<Shared>) -> Self {
        let listener = Rc::new(listener);
        let task = accept(Rc::clone(&listener), Rc::clone(worker), Arc::clone(shared));
        Self { number, listener, accepting: tokio::task::spawn_local(task) }
    }

    fn turn_away(&self) {
        if let Err(fault) = self.listener.turn_away() {
            tracing::debug!(error = %fault, "connections that come while a listener closes may be reset");
        }
    }
}

/// Takes connections, one after the other, as long as there is room.
async fn accept(listener: Rc<Listener>, worker: Rc<Worker>, shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        if shared.open.load(Ordering::Relaxed) >= shared.most() {
            worker.counters.held_back.add_one();
            tokio::time::sleep(FIRST_PAUSE).await; // what comes meanwhile waits in the backlog
            continue;
        }
        match listener.accept().await {
            Ok((stream, address)) => {
                pause = FIRST_PAUSE;
                let place = loop {
                    match Place::take(&worker, &shared) {
                        Some(place) => break place,
                        // another worker was faster: this one connection waits here
                        None => tokio::time::sleep(FIRST_PAUSE).await,
                    }
                };
                welcome(stream, address, place);
            }
            Err(fault) if is_of_one_connection(&fault) => {}
            Err(fault) => {
                // out of file descriptors or memory: what is open goes on, what is new waits
                tracing::warn!(error = %fault, pause = ?pause, "cannot accept connections");
                worker.gateway().release();
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

/// Takes what waits to be accepted, so that closing the listener resets nobody.
async fn accept_rest(listener: &Listener, worker: &Rc<Worker>, shared: &Arc<Shared>) {
    while shared.open.load(Ordering::Relaxed) < shared.most() {
        let mut next = pin!(listener.accept());
        match poll_fn(|cx| Poll::Ready(next.as_mut().poll(cx))).await {
            Poll::Ready(Ok((stream, address))) => match Place::take(worker, shared) {
                Some(place) => welcome(stream, address, place),
                None => return,
            },
            Poll::Ready(Err(fault)) if is_of_one_connection(&fault) => {}
            Poll::Ready(Err(_)) | Poll::Pending => return,
        }
    }
}

fn welcome(stream: Stream, address: Option<SocketAddr>, place: Place) {
    let worker = Rc::clone(&place.worker);
    worker.counters.connections.add_one();
    // a panic ends this task and nothing else; the one in a request's own code is caught further in
    tokio::task::spawn_local(looking(move || welcome::serve(stream, address, worker, place)));
}

/// Faults that say something of the connection that was to be accepted, not of us (accept(2)).
fn is_of_one_connection(fault: &io::Error) -> bool {
    matches!(
        fault.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

impl Worker {
    /// The gateway by the configuration in force. A request takes it once, and keeps it to its end.
    pub(super) fn gateway(&self) -> Rc<Gateway> {
        Rc::clone(&self.gateway.borrow())
    }

    /// How clients are let in, by the configuration in force.
    pub(super) fn limits(&self) -> Rc<Server> {
        Rc::clone(self.gateway.borrow().server())
    }

    /// Serves by another configuration from now on.
    fn follow(&self, generation: Arc<Generation>) {
        self.log.configure(&generation.settings().log);
        let next = Rc::new(self.gateway().next(generation));
        let last = self.gateway.replace(next);
        drop(last); // only when it is no longer borrowed: its end closes connections
    }

    /// The time as `Date` tells it (RFC 9110 §5.6.7), spelt once a second.
    pub(super) fn http_date(&self) -> [u8; HTTP_DATE] {
        let now = self.clock.recent_unix_seconds();
        let (second, text) = self.date.get();
        if second == now {
            return text;
        }
        let spelt = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(now));
        let text = spelt.as_bytes().try_into().unwrap_or(text);
        self.date.set((now, text));
        text
    }

    /// The same, as a field's value.
    pub(super) fn http_date_value(&self) -> HeaderValue {
        let now = self.clock.unix_seconds();
        let mut known = self.date_value.borrow_mut();
        if known.0 != now
            && let Ok(value) = HeaderValue::from_bytes(&self.http_date())
        {
            *known = (now, value);
        }
        known.1.clone()
    }

    fn wake_all(&self) {
        for (_, waker) in self.wakers.borrow().iter() {
            if let Some(waker) = waker {
                waker.wake_by_ref();
            }
        }
    }
}

impl Place {
    /// None while all are taken.
    fn take(worker: &Rc<Worker>, shared: &Arc<Shared>) -> Option<Self> {
        let most = shared.most();
        let one_more = |open| (open < most).then_some(open + 1);
        shared.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let key = worker.wakers.borrow_mut().insert(None);
        Some(Self { worker: Rc::clone(worker), shared: Arc::clone(shared), key })
    }

    /// Notes how to wake the connection's task.
    pub(super) fn note(&self, waker: &Waker) {
        if let Some(noted) = self.worker.wakers.borrow_mut().get_mut(self.key) {
            *noted = Some(waker.clone());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.worker.wakers.borrow_mut().try_remove(self.key);
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            self.worker.counters.panics.add_one();
        }
    }
}

/// Length of a `Date`.
const HTTP_DATE: usize = 29;
/// How often logs are handed over and idle connections looked at.
const TICK: Duration = Duration::from_millis(200);
/// The same while draining, when the end is waited for.
const DRAIN_TICK: Duration = Duration::from_millis(10);
/// How long connections that were being agreed on when draining began may take to be there.
const LAST_HANDSHAKES: Duration = Duration::from_millis(250);
/// First pause when no connection can be accepted; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// Longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Configurations that wait to be followed: each is waited for, so there is one.
const MAX_UPDATES: usize = 2;
/// Threads for name look-ups, each made when it is needed.
const MAX_RESOLVERS: usize = 4;
/// Turns that connections get to notice that they are cut.
const MAX_LAST_TURNS: usize = 64;
