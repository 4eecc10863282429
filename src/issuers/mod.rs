//! The far side: other issuers as they are reached over the network. A thread of its own fetches their metadata and
//! keys (`tend`) and asks about tokens (`introspect`), so that no worker waits; workers see immutable snapshots, and
//! may ask for a look at something new. Judges nothing.
//!
//! Invariant: every call is bounded in time and size (`call`), and nobody outside decides how many there are: keys are
//! fetched at intervals and, for a `kid` that nobody knows, once in [`COOL_DOWN`]; about a token there is one call at a time.

mod call;
mod introspect;
mod metadata;
mod progress;
mod tend;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;
use tokio::sync::{mpsc, oneshot, watch};

pub use introspect::{Answer, Introspector};
pub use progress::{AskedState, Standing, State};
pub use tend::Unreachable;

use crate::clock::Clock;
use crate::config::{Issuer, KeySource, Settings};
use crate::keys::{Algorithm, KeySet};
use progress::Progress;

/// What all workers share of the issuers: one link for each of `[[issuers]]`, in order.
#[derive(Debug, Default)]
pub struct Issuers {
    links: Vec<Arc<Link>>,
    /// Started when the first issuer needs it, and shared by all configurations from then on.
    fetcher: Option<Arc<Fetcher>>,
}

/// One issuer, seen from the workers. It is tended as long as this is there.
#[derive(Debug)]
struct Link {
    issuer: Issuer,
    keys: Option<Arc<KeyLink>>,
    introspector: Option<Arc<Introspector>>,
    progress: Arc<Progress>,
    /// Dropped with the link.
    _tended: oneshot::Sender<()>,
}

/// The keys of an issuer as they are at some moment.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// None before the first fetch that succeeds, and when the last one is too long ago.
    pub set: Option<Arc<KeySet>>,
    /// Whether a fetch has been tried at all.
    pub tried: bool,
    /// Another one means other keys.
    pub generation: u64,
    /// When they were fetched.
    fetched_at: Option<Instant>,
}

/// How a worker learns of an issuer's keys.
#[derive(Debug)]
pub struct KeyLink {
    snapshot: watch::Receiver<Keys>,
    asks: mpsc::Sender<Ask>,
    quiet: Arc<Quiet>,
}

/// Until when nothing is fetched for the sake of an unknown `kid`.
#[derive(Debug)]
struct Quiet {
    clock: Clock,
    start: Instant,
    /// Milliseconds after `start`.
    until: AtomicU64,
}

/// A worker that has seen a key it does not know.
#[derive(Debug)]
struct Ask {
    kid: Option<String>,
    algorithm: Algorithm,
    /// What the asking worker has seen.
    generation: u64,
    reply: oneshot::Sender<()>,
}

/// One worker's view of an issuer's keys: looking costs an atomic load.
#[derive(Debug)]
pub struct KeyWatch {
    link: Arc<KeyLink>,
    seen: RefCell<(watch::Receiver<Keys>, Keys)>,
}

/// The thread that calls. Dropped, it ends.
#[derive(Debug)]
struct Fetcher {
    tended: Option<mpsc::UnboundedSender<(Issuer, Ends)>>,
    thread: Option<JoinHandle<()>>,
}

impl Fetcher {
    fn start(clock: &Clock) -> io::Result<Self> {
        // as many as the configurations have issuers; the thread takes them at once
        let (tended, mut issuers) = mpsc::unbounded_channel::<(Issuer, Ends)>();
        let clock = clock.clone();
        let (told, outcome) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new().name("issuers".to_owned()).spawn(move || {
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
                while let Some((issuer, ends)) = issuers.recv().await {
                    tend::begin(Rc::new(issuer), ends, clock.clone());
                }
            });
            // a name look-up that still hangs must not hold the end up
            runtime.shutdown_background();
        })?;
        match outcome.recv() {
            Ok(Ok(())) => Ok(Self { tended: Some(tended), thread: Some(thread) }),
            Ok(Err(fault)) => Err(fault),
            Err(_) => Err(io::ErrorKind::Other.into()),
        }
    }

    fn tend(&self, issuer: Issuer, ends: Ends) {
        if let Some(tended) = &self.tended {
            let _ = tended.send((issuer, ends)); // a thread that panicked has said so
        }
    }
}

/// The ends of an issuer's channels that the thread holds.
struct Ends {
    progress: Arc<Progress>,
    keys: Option<KeyEnds>,
    jobs: Option<(Arc<Introspector>, mpsc::Receiver<introspect::Job>)>,
    /// Says that nobody asks about this issuer any more.
    unused: oneshot::Receiver<()>,
}

struct KeyEnds {
    snapshot: watch::Sender<Keys>,
    asks: mpsc::Receiver<Ask>,
    quiet: Arc<Quiet>,
}

/// `known` keys are used until they can be fetched.
fn link(issuer: &Issuer, clock: &Clock, known: Keys) -> (Link, Ends) {
    let fetched = matches!(issuer.keys, KeySource::Discovered | KeySource::Url(_));
    let wanted = fetched && !issuer.introspection.as_ref().is_some_and(|how| how.for_all);
    let (keys, key_ends) = if wanted {
        let (sender, snapshot) = watch::channel(known);
        let (asks, asked) = mpsc::channel(MAX_ASKS);
        let quiet = Arc::new(Quiet {
            clock: clock.clone(),
            start: clock.monotonic(),
            until: AtomicU64::new(0),
        });
        let ends = KeyEnds { snapshot: sender, asks: asked, quiet: Arc::clone(&quiet) };
        (Some(Arc::new(KeyLink { snapshot, asks, quiet })), Some(ends))
    } else {
        (None, None)
    };
    let (introspector, jobs) = match &issuer.introspection {
        Some(_) => {
            let (introspector, jobs) = Introspector::new(&issuer.name, clock.clone());
            (Some(Arc::clone(&introspector)), Some((introspector, jobs)))
        }
        None => (None, None),
    };
    let (tended, unused) = oneshot::channel();
    let progress = Arc::<Progress>::default();
    let ends = Ends { progress: Arc::clone(&progress), keys: key_ends, jobs, unused };
    (Link { issuer: issuer.clone(), keys, introspector, progress, _tended: tended }, ends)
}

/// Whether the keys of two issuers are fetched in the same way: then they are the same.
fn have_keys_alike(one: &Issuer, other: &Issuer) -> bool {
    let keys = match (&one.keys, &other.keys) {
        (KeySource::None, KeySource::None) | (KeySource::Discovered, KeySource::Discovered) => true,
        (KeySource::Url(one), KeySource::Url(other)) => one == other,
        (KeySource::Fixed(_), KeySource::Fixed(_)) => true, // kept with the settings, not here
        (KeySource::None | KeySource::Discovered | KeySource::Url(_) | KeySource::Fixed(_), _) => {
            false
        }
    };
    keys && one.name == other.name
        && one.issuer == other.issuer
        && one.algorithms == other.algorithms
        && one.discovery == other.discovery
        && one.allow_http == other.allow_http
}

/// Whether two issuers are reached in the same way: then what is known of one is known of the other.
fn are_reached_alike(one: &Issuer, other: &Issuer) -> bool {
    let introspection = match (&one.introspection, &other.introspection) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            one.url == other.url
                && one.client_id == other.client_id
                && one.client_secret.same_bytes(other.client_secret.expose().as_bytes())
                && one.in_body == other.in_body
                && one.cache == other.cache
                && one.for_all == other.for_all
        }
        (None, Some(_)) | (Some(_), None) => false,
    };
    introspection && have_keys_alike(one, other)
}

impl Issuers {
    /// Begins to tend the issuers of `settings`, on a thread that is started for the first that needs it. It waits for
    /// nobody: issuers may be down. What `previous` knows of an issuer that is reached as before stays known.
    ///
    /// # Errors
    /// When there is no thread or no runtime to be had.
    pub fn start(
        settings: &Settings,
        clock: &Clock,
        previous: Option<&Self>,
    ) -> io::Result<Arc<Self>> {
        let mut fetcher = previous.and_then(|previous| previous.fetcher.clone());
        let mut links = Vec::new();
        for issuer in &settings.issuers {
            let mut known = previous.iter().flat_map(|previous| &previous.links);
            if let Some(known) = known.clone().find(|link| are_reached_alike(&link.issuer, issuer))
            {
                links.push(Arc::clone(known));
                continue;
            }
            let keys = known.find(|link| have_keys_alike(&link.issuer, issuer));
            let keys = keys.and_then(|link| link.keys.as_ref());
            let keys = keys.map(|keys| keys.snapshot.borrow().clone()).unwrap_or_default();
            let (link, ends) = link(issuer, clock, keys);
            links.push(Arc::new(link));
            if ends.keys.is_some() || ends.jobs.is_some() {
                let thread = match &fetcher {
                    Some(thread) => thread,
                    None => fetcher.insert(Arc::new(Fetcher::start(clock)?)),
                };
                thread.tend(issuer.clone(), ends);
            }
        }
        Ok(Arc::new(Self { links, fetcher }))
    }

    /// The keys of the issuer with this number, where they are fetched.
    #[must_use]
    pub fn keys(&self, number: usize) -> Option<KeyWatch> {
        let link = Arc::clone(self.links.get(number)?.keys.as_ref()?);
        let mut snapshot = link.snapshot.clone();
        let keys = snapshot.borrow_and_update().clone();
        Some(KeyWatch { link, seen: RefCell::new((snapshot, keys)) })
    }

    /// How the issuer with this number, whose settings are these, stands at `now`, seconds since 1970.
    #[must_use]
    pub fn standing(&self, number: usize, issuer: &Issuer, now: u64) -> Standing {
        let Some(link) = self.links.get(number) else {
            return Standing::of(issuer, None, &Progress::default(), None, now);
        };
        let keys = link.keys.as_ref().map(|keys| keys.snapshot.borrow().clone());
        let asked = link.introspector.as_ref().map(|introspector| introspector.standing());
        Standing::of(issuer, keys, &link.progress, asked, now)
    }

    /// How the issuer with this number is asked about tokens, where it is.
    #[must_use]
    pub fn introspector(&self, number: usize) -> Option<Arc<Introspector>> {
        self.links.get(number)?.introspector.clone()
    }
}

impl KeyWatch {
    /// The keys now.
    #[must_use]
    pub fn now(&self) -> Keys {
        let mut seen = self.seen.borrow_mut();
        let (receiver, keys) = &mut *seen;
        // where the thread has ended, the last keys stand
        if receiver.has_changed().unwrap_or(false) {
            *keys = receiver.borrow_and_update().clone();
        }
        keys.clone()
    }

    /// The generation of the keys now. Allocates nothing.
    #[must_use]
    pub fn generation(&self) -> u64 {
        let mut seen = self.seen.borrow_mut();
        let (receiver, keys) = &mut *seen;
        if receiver.has_changed().unwrap_or(false) {
            *keys = receiver.borrow_and_update().clone();
        }
        keys.generation
    }

    /// Whether [`KeyWatch::ask`] could lead to anything now.
    #[must_use]
    pub fn may_ask(&self) -> bool {
        !self.link.quiet.holds()
    }

    /// Waits until it is known whether the issuer has such a key, beyond `generation`. Look again then, and believe it.
    pub async fn ask(&self, kid: Option<String>, algorithm: Algorithm, generation: u64) {
        let (reply, answered) = oneshot::channel();
        let ask = Ask { kid, algorithm, generation, reply };
        if self.link.asks.try_send(ask).is_ok() {
            // neither too slow nor gone is an answer; the keys are what they are
            let _ = tokio::time::timeout(PATIENCE, answered).await;
        }
    }

    /// Waits until the keys have been fetched, or could not be.
    pub async fn loaded(&self) {
        let mut receiver = self.link.snapshot.clone();
        let _ = tokio::time::timeout(PATIENCE, receiver.wait_for(|keys| keys.tried)).await;
    }
}

impl Quiet {
    fn now(&self) -> u64 {
        let passed = self.clock.monotonic().saturating_duration_since(self.start);
        u64::try_from(passed.as_millis()).unwrap_or(u64::MAX)
    }

    fn holds(&self) -> bool {
        self.now() < self.until.load(Ordering::Relaxed)
    }

    fn keep(&self, time: Duration) {
        let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        self.until.store(self.now().saturating_add(time), Ordering::Relaxed);
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        drop(self.tended.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a thread that panicked has said so
        }
    }
}

/// After a `kid` was looked for in vain, nothing is fetched for the sake of another one for this long.
pub const COOL_DOWN: Duration = Duration::from_secs(30);
/// How long keys stay good when they cannot be fetched again.
pub const MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a request waits for the thread; a call has less.
const PATIENCE: Duration = Duration::from_secs(8);
/// Requests that wait for one issuer's keys.
const MAX_ASKS: usize = 1_024;
/// Threads for name look-ups.
const MAX_RESOLVERS: usize = 4;
