//! What all workers know of every origin: one record of atomics each, which outlives a change of the configuration as
//! long as its origin stays. Whether an origin is well, and for how long one that fails is left out, is decided here;
//! which one a request takes is not.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::failure::Trouble;
use super::gate::Gate;
use super::watch::{Check, Watcher};
use crate::clock::Clock;
use crate::config::{Origin, Settings, Upstream};
use crate::dial::{TlsClient, TlsSetupError};

/// The origins of every upstream, in the order of [`Settings::every_upstream`].
#[derive(Debug)]
pub struct Origins {
    groups: Vec<Arc<Group>>,
    /// Asks origins whether they are well.
    watcher: Option<Arc<Watcher>>,
}

/// Why the origins of a configuration cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum OriginsError {
    /// TLS towards one of them.
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    /// The thread that asks whether they are well.
    #[error("the thread for health checks cannot be started: {0}")]
    Watcher(#[source] std::io::Error),
}

/// The origins of one upstream, and what is set up for them once for all workers.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) settings: Arc<Upstream>,
    pub(super) origins: Vec<Arc<OriginState>>,
    /// For each origin.
    pub(super) tls: Vec<Option<TlsClient>>,
    /// For each origin.
    pub(super) gates: Vec<Option<Arc<Gate>>>,
    /// For each origin that is asked whether it is well. Dropped, it is not asked any more.
    checks: Vec<Arc<Check>>,
    /// Held while one is left out, so that two at a time are not the last two.
    ejecting: Mutex<()>,
}

/// One origin, as all workers know it.
#[derive(Debug)]
pub(super) struct OriginState {
    origin: Origin,
    /// Times are milliseconds after this.
    born: Instant,
    /// In flight, of those workers that share the count.
    pub(super) active: AtomicU64,
    /// What the health checks say: one of [`UNKNOWN`], [`WELL`], [`UNWELL`].
    checked: AtomicU8,
    /// When that changed; 0: never.
    checked_at: AtomicU64,
    /// Since when it gets its share back step by step; 0: it has never been out.
    returned_at: AtomicU64,
    /// From when until when it was last left out because it failed; 0: never.
    ejected_at: AtomicU64,
    ejected_until: AtomicU64,
    /// How often in a row it was left out without coming back well.
    ejections: AtomicU32,
    /// Failures in a row.
    failing: AtomicU32,
    failures: AtomicU64,
    last_error: AtomicU8,
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

/// How an origin stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// It gets its share.
    Healthy,
    /// The health check has not been answered yet; until then it gets its share.
    Unknown,
    /// It was out, and gets a growing part of its share.
    Returning,
    /// It failed and is left out for a while.
    Ejected,
    /// The health check says no.
    Unhealthy,
}

/// What can be told of an origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct OriginReport {
    /// How it stands.
    pub standing: Standing,
    /// Since when, as far as that is known; how long ago.
    pub since: Duration,
    /// Requests sent to it and not yet answered to the end.
    pub active: u64,
    /// Connections that wait for a request.
    pub idle: u64,
    /// Requests sent to it.
    pub requests: u64,
    /// Requests that it failed, and health checks.
    pub failures: u64,
    /// How it last failed.
    pub last_error: Option<&'static str>,
}

impl Standing {
    /// Whether requests are sent to it.
    #[must_use]
    pub const fn is_usable(self) -> bool {
        match self {
            Self::Healthy | Self::Unknown | Self::Returning => true,
            Self::Ejected | Self::Unhealthy => false,
        }
    }

    /// As the status document has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Returning => "returning",
            Self::Ejected => "ejected",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl Origins {
    /// The origins of `settings`, asked from now on whether they are well. What `previous` knows of those that have not
    /// changed is kept. The certificate authorities of the system are read anew.
    ///
    /// # Errors
    /// [`OriginsError`]
    pub fn start(
        settings: &Settings,
        clock: &Clock,
        previous: Option<&Self>,
    ) -> Result<Self, OriginsError> {
        let mut origins = Self::build(settings, clock, previous)?;
        let mut watcher = previous.and_then(|previous| previous.watcher.clone());
        for group in origins.groups.iter_mut().filter_map(Arc::get_mut) {
            if group.settings.ejection.failures.is_none() || group.origins.len() == 1 {
                group.origins.iter().for_each(|origin| origin.take_back());
            }
            if group.settings.health.is_none() {
                group.origins.iter().for_each(|origin| origin.forget_checks());
                continue;
            }
            let watcher = match &watcher {
                Some(watcher) => watcher,
                None => {
                    watcher.insert(Arc::new(Watcher::start(clock).map_err(OriginsError::Watcher)?))
                }
            };
            let known = previous.map_or(&[][..], |previous| previous.groups.as_slice());
            group.checks = watcher.watch(group, known);
        }
        origins.watcher =
            watcher.filter(|_| settings.every_upstream().any(|one| one.health.is_some()));
        Ok(origins)
    }

    /// The same, and nobody is asked anything.
    ///
    /// # Errors
    /// [`OriginsError::Tls`]
    pub fn offline(settings: &Settings, clock: &Clock) -> Result<Self, OriginsError> {
        Self::build(settings, clock, None)
    }

    fn build(
        settings: &Settings,
        clock: &Clock,
        previous: Option<&Self>,
    ) -> Result<Self, OriginsError> {
        let known = previous.map_or(&[][..], |previous| previous.groups.as_slice());
        let groups = settings
            .every_upstream()
            .map(|upstream| Group::new(upstream, clock, known).map(Arc::new));
        Ok(Self { groups: groups.collect::<Result<_, _>>()?, watcher: None })
    }

    pub(super) fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// Every upstream, and every origin of it with what can be told of it at `now`.
    pub fn reports(
        &self,
        now: Instant,
    ) -> impl Iterator<Item = (&Upstream, Vec<(&Origin, OriginReport)>)> {
        self.groups.iter().map(move |group| {
            let report = |origin: &'_ Arc<OriginState>| origin.report(&group.settings, now);
            let reports = group.origins.iter().map(|origin| (&origin.origin, report(origin)));
            (&*group.settings, reports.collect())
        })
    }

    /// Whether a request to some upstream could be sent anywhere.
    #[must_use]
    pub fn any_usable(&self) -> bool {
        self.groups.iter().any(|group| group.is_usable())
    }
}

impl Group {
    fn new(settings: &Upstream, clock: &Clock, known: &[Arc<Self>]) -> Result<Self, TlsSetupError> {
        let same = |group: &&Arc<Self>| {
            group.settings.name == settings.name && group.settings.tls == settings.tls
        };
        let before = known.iter().find(same);
        let (mut origins, mut gates, mut tls) = (Vec::new(), Vec::new(), Vec::new());
        for origin in &settings.origins {
            let at = before
                .and_then(|group| group.origins.iter().position(|known| known.origin == *origin));
            let kept = before.zip(at).and_then(|(group, at)| group.origins.get(at));
            origins.push(match kept {
                Some(kept) => Arc::clone(kept),
                None => Arc::new(OriginState::new(origin.clone(), clock.monotonic())),
            });
            let gate = before.zip(at).and_then(|(group, at)| group.gates.get(at)?.clone());
            gates.push(settings.max_connections.map(|most| {
                let fits = |gate: &Arc<Gate>| gate.is_of(most, settings.max_pending);
                gate.filter(fits).unwrap_or_else(|| Arc::new(Gate::new(most, settings.max_pending)))
            }));
            tls.push(match origin.https {
                true => Some(TlsClient::new(origin, &settings.tls)?),
                false => None,
            });
        }
        Ok(Self {
            settings: Arc::new(settings.clone()),
            origins,
            tls,
            gates,
            checks: Vec::new(),
            ejecting: Mutex::default(),
        })
    }

    /// The checks of its origins.
    pub(super) fn checks(&self) -> &[Arc<Check>] {
        &self.checks
    }

    /// Whether the checks leave anything, or are taken for broken.
    fn is_usable(&self) -> bool {
        let panic = self.settings.health.as_ref().is_some_and(|health| health.panic_percent > 0);
        panic || self.origins.iter().any(|origin| origin.passes_checks())
    }

    /// Notes that the origin with this number failed a request, and leaves it out if that was once too often.
    pub(super) fn failed(&self, number: usize, trouble: Trouble, now: Instant) {
        let Some(origin) = self.origins.get(number) else { return };
        let failing = origin.note(trouble);
        let Some(limit) = self.settings.ejection.failures else { return };
        if self.origins.len() > 1 && failing >= limit {
            self.eject(origin, failing, now);
        }
    }

    fn eject(&self, origin: &OriginState, failing: u32, now: Instant) {
        let _one_at_a_time = self.ejecting.lock().unwrap_or_else(PoisonError::into_inner);
        let at = origin.moment(now);
        if at < origin.ejected_until.load(Ordering::Relaxed) {
            return;
        }
        let is_other = |other: &&Arc<OriginState>| !std::ptr::eq(Arc::as_ptr(other), origin);
        let (mut out, mut left) = (0, 0);
        for other in self.origins.iter().filter(is_other) {
            match other.is_ejected(now) {
                true => out += 1,
                false => left += usize::from(other.passes_checks()),
            }
        }
        let settings = &self.settings.ejection;
        let share = self.origins.len() * usize::from(settings.max_percent) / 100;
        let most = if settings.max_percent == 0 { 0 } else { share.max(1) };
        if out >= most || left == 0 {
            return;
        }
        // one that has been well for long begins anew
        let before = origin.ejected_until.load(Ordering::Relaxed);
        let calm = millis(settings.max_duration);
        if before != 0 && at.saturating_sub(before) > calm {
            origin.ejections.store(0, Ordering::Relaxed);
        }
        let times = origin.ejections.fetch_add(1, Ordering::Relaxed);
        let time = settings.duration.saturating_mul(1 << times.min(MOST_DOUBLINGS));
        let time = time.min(settings.max_duration);
        origin.ejected_at.store(at, Ordering::Relaxed);
        origin.ejected_until.store(at.saturating_add(millis(time)), Ordering::Relaxed);
        tracing::warn!(
            upstream = self.settings.name,
            origin = %origin.origin,
            failures = failing,
            error = origin.last_error().unwrap_or_default(),
            ?time,
            "origin ejected"
        );
    }

    /// Notes that the origin with this number answered well.
    pub(super) fn succeeded(&self, number: usize) {
        let Some(origin) = self.origins.get(number) else { return };
        if origin.failing.load(Ordering::Relaxed) == 0 {
            return;
        }
        origin.failing.store(0, Ordering::Relaxed);
        if origin.ejections.swap(0, Ordering::Relaxed) > 0 {
            tracing::info!(upstream = self.settings.name, origin = %origin.origin, "origin is back");
        }
    }
}

impl OriginState {
    fn new(origin: Origin, born: Instant) -> Self {
        Self {
            origin,
            born,
            active: AtomicU64::new(0),
            checked: AtomicU8::new(UNKNOWN),
            checked_at: AtomicU64::new(0),
            returned_at: AtomicU64::new(0),
            ejected_at: AtomicU64::new(0),
            ejected_until: AtomicU64::new(0),
            ejections: AtomicU32::new(0),
            failing: AtomicU32::new(0),
            failures: AtomicU64::new(0),
            last_error: AtomicU8::new(0),
            tallies: Mutex::default(),
        }
    }

    /// Which origin it is.
    pub(super) const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Milliseconds of its life, never 0.
    fn moment(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born)).saturating_add(1)
    }

    /// Whether the health checks say nothing against it.
    pub(super) fn passes_checks(&self) -> bool {
        self.checked.load(Ordering::Relaxed) != UNWELL
    }

    fn is_ejected(&self, now: Instant) -> bool {
        let until = self.ejected_until.load(Ordering::Relaxed);
        until != 0 && self.moment(now) < until
    }

    /// How it stands, and the part of its share that it gets, of [`WHOLE_SHARE`].
    pub(super) fn standing(&self, slow_return: Duration, now: Instant) -> (Standing, u64) {
        let checked = self.checked.load(Ordering::Relaxed);
        let until = self.ejected_until.load(Ordering::Relaxed);
        let returned = self.returned_at.load(Ordering::Relaxed).max(until);
        if checked == UNWELL {
            return (Standing::Unhealthy, 0);
        }
        if returned != 0 {
            let now = self.moment(now);
            if now < until {
                return (Standing::Ejected, 0);
            }
            let (gone, whole) = (now.saturating_sub(returned), millis(slow_return));
            if gone < whole {
                return (Standing::Returning, (gone * WHOLE_SHARE / whole).max(LEAST_SHARE));
            }
        }
        let standing = if checked == UNKNOWN { Standing::Unknown } else { Standing::Healthy };
        (standing, WHOLE_SHARE)
    }

    /// Counts a failure; how many there have been in a row.
    pub(super) fn note(&self, trouble: Trouble) -> u32 {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(trouble.number(), Ordering::Relaxed);
        self.failing.fetch_add(1, Ordering::Relaxed).saturating_add(1)
    }

    /// Counts a health check that failed.
    pub(super) fn note_check(&self, trouble: Trouble) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.last_error.store(trouble.number(), Ordering::Relaxed);
    }

    fn last_error(&self) -> Option<&'static str> {
        Trouble::of_number(self.last_error.load(Ordering::Relaxed)).map(Trouble::code)
    }

    /// Notes what the health checks have come to; whether that is something new.
    pub(super) fn set_checked(&self, is_well: bool, now: Instant) -> bool {
        let new = if is_well { WELL } else { UNWELL };
        let old = self.checked.swap(new, Ordering::Relaxed);
        if old == new {
            return false;
        }
        let now = self.moment(now);
        self.checked_at.store(now, Ordering::Relaxed);
        if old == UNWELL {
            self.returned_at.store(now, Ordering::Relaxed);
            // what happened before it went away says nothing of what came back
            self.failing.store(0, Ordering::Relaxed);
            self.ejected_until.store(0, Ordering::Relaxed);
        }
        true
    }

    /// Nobody is left out any more.
    fn take_back(&self) {
        self.ejected_until.store(0, Ordering::Relaxed);
    }

    /// Nobody checks any more.
    fn forget_checks(&self) {
        self.checked.store(UNKNOWN, Ordering::Relaxed);
    }

    fn report(&self, settings: &Upstream, now: Instant) -> OriginReport {
        let (standing, _) = self.standing(settings.slow_return, now);
        let standing = match standing {
            Standing::Unknown if settings.health.is_none() => Standing::Healthy,
            standing => standing,
        };
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let since = match standing {
            Standing::Healthy | Standing::Unknown | Standing::Unhealthy => load(&self.checked_at),
            Standing::Returning => load(&self.returned_at).max(load(&self.ejected_until)),
            Standing::Ejected => load(&self.ejected_at),
        };
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        let mut report = OriginReport {
            standing,
            since: Duration::from_millis(self.moment(now).saturating_sub(since)),
            active: load(&self.active),
            idle: 0,
            requests: tallies.1,
            failures: load(&self.failures),
            last_error: self.last_error(),
        };
        for tally in tallies.0.iter().filter_map(Weak::upgrade) {
            report.active += load(&tally.active);
            report.idle += load(&tally.idle);
            report.requests += load(&tally.requests);
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

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

const UNKNOWN: u8 = 0;
const WELL: u8 = 1;
const UNWELL: u8 = 2;
/// The share of an origin that was never out.
pub(super) const WHOLE_SHARE: u64 = 256;
/// An origin that returns gets a tenth of its share at least: it must show somehow that it is well.
const LEAST_SHARE: u64 = 26;
/// More doublings of the time that an origin is left out lead beyond every limit.
const MOST_DOUBLINGS: u32 = 20;
