//! What one worker has seen, in numbers, and how the numbers of all workers are read together.
//!
//! The worker alone writes, and never waits: each number is a cell that others may read at any time, so a worker that
//! is stuck cannot hang whoever asks. A lock is taken where a route is met for the first time, and at the tick.
//!
//! Invariant: labels come from closed sets. Routes are those of the configuration, decisions and reasons words of this
//! program, statuses numbers of three digits; all that is beyond the room for them is counted as `other`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use http::StatusCode;

use super::refusals::Refusals;
use super::tally::{Histogram, Latencies, Tally};
use super::{Counters, Decision, LATEST_REFUSALS, Record, Refusal};

/// The numbers of one worker, for anyone to read.
#[derive(Debug)]
pub struct Metrics {
    /// The plain counters.
    pub counters: Arc<Counters>,
    /// What the worker holds, as of its last tick.
    pub held: Held,
    routes: Mutex<Vec<Arc<RouteNumbers>>>,
    /// How requests for tokens ended, and how the client proved itself.
    tokens: Tally<(&'static str, &'static str)>,
    refusals: Mutex<Refusals>,
}

/// What a worker holds, told at its tick.
#[derive(Debug, Default)]
pub struct Held {
    /// Verified tokens that are remembered.
    pub cache_entries: super::Gauge,
    /// What they weigh, bytes.
    pub cache_bytes: super::Gauge,
    /// How often a token was remembered.
    pub cache_hits: super::Counter,
    /// How often it was not.
    pub cache_misses: super::Counter,
}

/// The numbers of one route on one worker.
#[derive(Debug)]
struct RouteNumbers {
    name: Box<str>,
    outcomes: Tally<Outcome>,
    latency: Histogram,
    upstream: Histogram,
}

/// How a request ended.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Outcome {
    /// What was decided.
    pub decision: Decision,
    /// Why.
    pub reason: &'static str,
    /// What was answered.
    pub status: u16,
}

/// The numbers of all workers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// By the route's name.
    pub routes: BTreeMap<Box<str>, RouteReading>,
    /// How requests for tokens ended: outcome, and how the client proved itself.
    pub tokens: BTreeMap<(&'static str, &'static str), u64>,
}

/// The numbers of one route at one moment.
#[derive(Clone, Debug, Default)]
pub struct RouteReading {
    /// How requests ended.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// Requests that ended in more ways than there is room for.
    pub other: u64,
    /// From the head of the request to the last byte of its answer.
    pub latency: Latencies,
    /// From sending the request to the head of the upstream's answer.
    pub upstream: Latencies,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            counters: Arc::default(),
            held: Held::default(),
            routes: Mutex::default(),
            tokens: Tally::new(OUTCOMES),
            refusals: Mutex::default(),
        }
    }
}

impl Metrics {
    /// Adds these numbers to `total`.
    pub fn read_into(&self, total: &mut Reading) {
        for route in lock(&self.routes).iter() {
            let sum = total.routes.entry(route.name.clone()).or_default();
            for (outcome, count) in route.outcomes.read() {
                *sum.outcomes.entry(outcome).or_default() += count;
            }
            sum.other += route.outcomes.rest();
            route.latency.read_into(&mut sum.latency);
            route.upstream.read_into(&mut sum.upstream);
        }
        for (key, count) in self.tokens.read() {
            *total.tokens.entry(key).or_default() += count;
        }
    }

    /// The latest refusals over all of `workers`, the newest first.
    #[must_use]
    pub fn latest_refusals(workers: &[Arc<Self>]) -> Vec<Refusal> {
        let mut all = Vec::new();
        for worker in workers {
            all.extend(lock(&worker.refusals).newest_first().cloned());
        }
        all.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        all.truncate(LATEST_REFUSALS);
        all
    }
}

impl RouteReading {
    /// All requests.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.outcomes.values().sum::<u64>() + self.other
    }

    /// Those that the gateway refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.count(|outcome| {
            outcome.decision == Decision::Refused && !matches!(outcome.status, 502..=504)
        })
    }

    /// Those that were answered with a status of 500 or more.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.count(|outcome| outcome.status >= 500)
    }

    fn count(&self, counts: impl Fn(&Outcome) -> bool) -> u64 {
        self.outcomes.iter().filter(|(outcome, _)| counts(outcome)).map(|(_, count)| count).sum()
    }
}

/// The worker's side: counts requests that have ended.
#[derive(Debug)]
pub(super) struct Meter {
    metrics: Arc<Metrics>,
    routes: RefCell<HashMap<String, Arc<RouteNumbers>, RandomState>>,
    refusals: RefCell<Refusals>,
    /// How many of them have been handed out.
    told: std::cell::Cell<u64>,
}

impl Meter {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        let (routes, refusals) = (RefCell::default(), RefCell::default());
        Self { metrics, routes, refusals, told: std::cell::Cell::new(0) }
    }

    /// Counts a request that ended after `took`; `at`, seconds since 1970, is asked for a refusal alone.
    pub(super) fn end(
        &self,
        record: &Record,
        status: StatusCode,
        whole: bool,
        took: Duration,
        at: impl FnOnce() -> u64,
    ) {
        let counters = &self.metrics.counters;
        counters.requests.add_one();
        if !whole {
            counters.aborted.add_one();
        }
        match record.decision {
            Decision::Reported => counters.reported.add_one(),
            Decision::Refused if matches!(status.as_u16(), 502..=504) => {
                counters.upstream_failures.add_one();
            }
            Decision::Refused => counters.refused.add_one(),
            Decision::Open | Decision::Allowed | Decision::Own => {}
        }
        if !record.client_authentication.is_empty() {
            self.metrics.tokens.add_one((record.reason, record.client_authentication));
        }
        self.with_route(record.route.as_str(), |route| {
            let (decision, reason) = (record.decision, record.reason);
            route.outcomes.add_one(Outcome { decision, reason, status: status.as_u16() });
            route.latency.add(took);
            if let Some(time) = record.upstream_time {
                route.upstream.add(time);
            }
        });
        let refused = status.as_u16() >= 400
            && matches!(record.decision, Decision::Refused | Decision::Own)
            && record.reason != CLIENT_GONE;
        if refused {
            self.refusals.borrow_mut().add(at(), record, status);
        }
    }

    /// Hands out what is not a plain number. Called at the worker's tick.
    pub(super) fn publish(&self) {
        let refusals = self.refusals.borrow();
        if self.told.replace(refusals.seen) != refusals.seen {
            lock(&self.metrics.refusals).clone_from(&refusals);
        }
    }

    fn with_route(&self, name: &str, count: impl FnOnce(&RouteNumbers)) {
        if let Some(route) = self.routes.borrow().get(name) {
            return count(route);
        }
        let mut routes = self.routes.borrow_mut();
        let name = if routes.len() < MAX_ROUTES { name } else { OTHER };
        let route = routes.entry_ref(name).or_insert_with(|| {
            let route = Arc::new(RouteNumbers::new(name));
            lock(&self.metrics.routes).push(Arc::clone(&route));
            route
        });
        count(route);
    }
}

impl RouteNumbers {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            outcomes: Tally::new(OUTCOMES),
            latency: Histogram::default(),
            upstream: Histogram::default(),
        }
    }
}

/// A number is a number, whatever became of the thread that wrote it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reason of a request whose client left: nobody refused it.
const CLIENT_GONE: &str = "client_gone";
/// What is counted of routes for which there is no room.
pub const OTHER: &str = "other";
/// Routes with numbers of their own. They stay over reloads, as counters do.
const MAX_ROUTES: usize = 4_096;
/// Room for the ways in which the requests of one route end.
const OUTCOMES: usize = 128;
