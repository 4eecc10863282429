//! Numbers that one worker writes and anyone may read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one worker. One thread writes, so an increment is a load and a store, without a lock.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections taken.
    pub connections: Counter,
    /// Requests answered or given up.
    pub requests: Counter,
    /// Requests that the gateway refused (4xx of its own).
    pub refused: Counter,
    /// Requests that were let through and would have been refused, had their policy not been in report mode.
    pub reported: Counter,
    /// Requests that failed for the upstream's sake (502, 503, 504).
    pub upstream_failures: Counter,
    /// Requests that ended before their answer did.
    pub aborted: Counter,
    /// Panics, each of which ended one request.
    pub panics: Counter,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Only the owning worker may call it.
    pub fn add_one(&self) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
