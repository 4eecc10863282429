//! Asks origins whether they are well. One thread for all of them and for all workers, which read what it found in
//! [`OriginState`]. Each check is bounded in time and size, and none falls together with another by more than chance.

use std::io;
use std::rc::Rc;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot};

use super::failure::{Failure, Trouble};
use super::http2;
use super::state::{Group, OriginState};
use crate::clock::Clock;
use crate::config::{Health, Upstream};
use crate::dial::{Dialer, TlsClient};
use crate::http1::{Wire, parse_response};
use crate::net::Stream;

/// The thread. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Watcher {
    orders: Option<mpsc::UnboundedSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// That one origin is asked; until this is dropped.
#[derive(Debug)]
pub(super) struct Check {
    /// Of which the origin is one; for comparing.
    settings: Arc<Upstream>,
    origin: Weak<OriginState>,
    _kept: oneshot::Sender<()>,
}

/// What the thread needs to know of an origin.
struct Order {
    settings: Arc<Upstream>,
    health: Health,
    origin: Arc<OriginState>,
    tls: Option<TlsClient>,
    /// Says that nobody wants to know any more.
    over: oneshot::Receiver<()>,
}

impl Watcher {
    /// Starts the thread.
    pub(super) fn start(clock: &Clock) -> io::Result<Self> {
        // as many as the configurations have origins; the thread takes them at once
        let (orders, mut ordered) = mpsc::unbounded_channel::<Order>();
        let clock = clock.clone();
        let (told, outcome) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("health".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .max_blocking_threads(MAX_RESOLVERS)
                .build_local(LocalOptions::default());
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(fault) => return drop(told.send(Err(fault))),
            };
            let _ = told.send(Ok(())); // whoever started us waits for it
            runtime.block_on(async move {
                while let Some(order) = ordered.recv().await {
                    let clock = clock.clone();
                    tokio::task::spawn_local(async move { tend(order, clock).await });
                }
            });
            // a name look-up that still hangs must not hold the end up
            runtime.shutdown_background();
        })?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Self { orders: Some(orders), thread: Some(thread) }),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(io::ErrorKind::Other.into()),
        }
    }

    /// Has the origins of `group` asked. What is asked already, and in the same way, goes on.
    pub(super) fn watch(&self, group: &Group, known: &[Arc<Group>]) -> Vec<Arc<Check>> {
        let Some(health) = &group.settings.health else { return Vec::new() };
        let known = || known.iter().flat_map(|group| group.checks());
        let origins = group.origins.iter().zip(&group.tls);
        let check = |(origin, tls): (&Arc<OriginState>, &Option<TlsClient>)| {
            let same = |check: &&Arc<Check>| {
                check.origin.as_ptr() == Arc::as_ptr(origin) && check.asks_like(&group.settings)
            };
            if let Some(check) = known().find(same) {
                return Arc::clone(check);
            }
            let (kept, over) = oneshot::channel();
            let settings = Arc::clone(&group.settings);
            let order = Order {
                settings: Arc::clone(&settings),
                health: health.clone(),
                origin: Arc::clone(origin),
                tls: tls.clone(),
                over,
            };
            if let Some(orders) = &self.orders {
                let _ = orders.send(order); // a thread that panicked has said so
            }
            Arc::new(Check { settings, origin: Arc::downgrade(origin), _kept: kept })
        };
        origins.map(check).collect()
    }
}

impl Check {
    fn asks_like(&self, other: &Upstream) -> bool {
        let mine = &self.settings;
        mine.name == other.name
            && mine.health == other.health
            && mine.tls == other.tls
            && mine.connect_timeout == other.connect_timeout
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a thread that panicked has said so
        }
    }
}

/// Asks one origin until nobody wants to know.
async fn tend(order: Order, clock: Clock) {
    let Order { settings, health, origin, tls, mut over } = order;
    let limit = settings.connect_timeout.min(health.timeout);
    let dialer = Rc::new(Dialer::new(origin.origin().clone(), tls, limit));
    let request = request(&health, &origin);
    let (mut good, mut bad, mut is_known) = (0_u32, 0_u32, false);
    loop {
        let outcome = tokio::select! {
            _ = &mut over => return,
            outcome = ask(&dialer, &request, &health) => outcome,
        };
        match outcome {
            Ok(()) => (good, bad) = (good.saturating_add(1), 0),
            Err(trouble) => {
                (good, bad) = (0, bad.saturating_add(1));
                origin.note_check(trouble);
            }
        }
        // the first answer is better than none, whatever it is
        let verdict = match outcome {
            Ok(()) if !is_known || good >= health.healthy_after => Some(true),
            Err(_) if !is_known || bad >= health.unhealthy_after => Some(false),
            Ok(()) | Err(_) => None,
        };
        if let Some(is_well) = verdict {
            if origin.set_checked(is_well, clock.monotonic()) {
                tell(&settings, &origin, outcome, is_known);
            }
            is_known = true;
        }
        let pause = match origin.passes_checks() && bad == 0 {
            true => health.interval,
            false => health.interval.min(WHILE_DOWN),
        };
        tokio::select! {
            _ = &mut over => return,
            () = tokio::time::sleep(jittered(pause)) => {}
        }
    }
}

fn tell(settings: &Upstream, origin: &OriginState, outcome: Result<(), Trouble>, is_known: bool) {
    let (upstream, origin) = (settings.name.as_str(), origin.origin());
    match outcome {
        Ok(()) if is_known => tracing::info!(upstream, %origin, "origin is healthy again"),
        Ok(()) => tracing::debug!(upstream, %origin, "origin is healthy"),
        Err(trouble) => {
            tracing::warn!(upstream, %origin, error = trouble.code(), "origin is unhealthy");
        }
    }
}

fn request(health: &Health, origin: &OriginState) -> Vec<u8> {
    let (path, host) = (&health.path, &origin.origin().authority);
    format!(
        "GET {path} HTTP/1.1\r\nhost: {host}\r\nuser-agent: tollgate health check\r\n\
         accept: */*\r\nconnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// One check.
async fn ask(dialer: &Dialer, request: &[u8], health: &Health) -> Result<(), Trouble> {
    let whole = async {
        let origin = dialer.origin();
        if origin.h2c {
            let stream = dialer.dial().await.map_err(Failure::from)?;
            return http2::probe(stream, &origin.authority, &health.path).await;
        }
        let stream = dialer.dial().await.map_err(Failure::from)?;
        exchange(stream, request).await
    };
    let status = match tokio::time::timeout(health.timeout, whole).await {
        Ok(Ok(status)) => status,
        Ok(Err(failure)) => return Err(failure.trouble().unwrap_or(Trouble::Refused)),
        Err(_) => return Err(Trouble::Timeout),
    };
    let is_good = health.statuses.iter().any(|(first, last)| (*first..=*last).contains(&status));
    if is_good { Ok(()) } else { Err(Trouble::CheckStatus) }
}

/// The status of the final answer; nothing after its head is read.
async fn exchange(stream: Stream, request: &[u8]) -> Result<u16, Failure> {
    let closed = |partial| Failure::Closed { partial };
    let (mut wire, mut scanned) = (Wire::new(stream), 0);
    wire.queue().extend_from_slice(request);
    std::future::poll_fn(|cx| wire.poll_flush(cx, &mut 0)).await.map_err(|_| closed(false))?;
    for _ in 0..MAX_INTERIM {
        let head = loop {
            if !wire.input.is_empty() {
                match parse_response(&mut wire.input, &mut scanned, MAX_HEAD) {
                    Ok(Some(head)) => break head,
                    Ok(None) => {}
                    Err(fault) => return Err(Failure::Malformed(fault)),
                }
            }
            let partial = !wire.input.is_empty();
            match std::future::poll_fn(|cx| wire.poll_fill(cx)).await {
                Ok(0) | Err(_) => return Err(closed(partial)),
                Ok(_) => {}
            }
        };
        if !head.status.is_informational() {
            return Ok(head.status.as_u16());
        }
    }
    Err(Failure::UnaskedUpgrade)
}

/// Give or take a tenth, so that gateways that were started together do not ask together.
fn jittered(time: Duration) -> Duration {
    let mut byte = [0];
    // without chance, it is asked all the same
    let _ = aws_lc_rs::rand::fill(&mut byte);
    let [byte] = byte;
    time.mul_f64(0.9 + 0.2 * f64::from(byte) / 255.0)
}

/// How often an origin is asked that is not well, or was not when it was last asked: so it is back within two seconds.
const WHILE_DOWN: Duration = Duration::from_millis(500);
/// Longest head of an answer, bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Most informational answers before the final one.
const MAX_INTERIM: u32 = 8;
/// Threads for name look-ups.
const MAX_RESOLVERS: usize = 4;
