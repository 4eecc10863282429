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
    /// Connections that had to wait because `max_connections` were open.
    pub held_back: Counter,
    /// TLS handshakes that came to their end.
    pub tls_handshakes: Counter,
    /// TLS handshakes that did not.
    pub tls_failures: Counter,
    /// Requests that have come and whose answers have not ended; tunnels are among them.
    pub in_flight: Gauge,
    /// Upgraded connections.
    pub tunnels: Gauge,
    /// Open connections that speak HTTP/1.1.
    pub http1: Gauge,
    /// Open connections that speak HTTP/2.
    pub http2: Gauge,
    /// Open connections under TLS, whatever they speak in it.
    pub tls: Gauge,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Only the owning worker may call it.
    pub fn add_one(&self) {
        self.add(1);
    }

    /// So many more. Only the owning worker may call it.
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    /// The number so far.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

/// One of what a gauge counts. It is counted until this is dropped.
#[derive(Debug)]
pub struct Counted<'g>(&'g Gauge);

impl Gauge {
    /// One more, until what it yields is dropped. Only the owning worker may call it.
    pub fn enter(&self) -> Counted<'_> {
        self.set(self.get().wrapping_add(1));
        Counted(self)
    }

    /// The number is this now. Only the owning worker may call it.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::Relaxed);
    }

    /// The number now.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
