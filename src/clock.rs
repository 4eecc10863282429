//! The time, as everything else reads it: wall time for tokens and logs, monotonic time for waits.
//!
//! Only this file asks the operating system, so a test can move the wall clock without sleeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Wall and monotonic time. Clones share one offset, which only tests set.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    offset: Option<Arc<AtomicI64>>,
    /// Milliseconds.
    skipped: Option<Arc<AtomicU64>>,
}

impl Clock {
    /// The clock of the operating system.
    #[must_use]
    pub const fn system() -> Self {
        Self { offset: None, skipped: None }
    }

    /// The clock of the operating system, moved by [`Clock::advance`] and [`Clock::skip`]. For tests.
    #[must_use]
    pub fn adjustable() -> Self {
        Self { offset: Some(Arc::default()), skipped: Some(Arc::default()) }
    }

    /// Moves the monotonic time of an adjustable clock, and of every clone of it, ahead.
    pub fn skip(&self, time: Duration) {
        if let Some(skipped) = &self.skipped {
            let time = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            skipped.fetch_add(time, Ordering::Relaxed);
        }
    }

    /// Moves the wall time of an adjustable clock, and of every clone of it, by `seconds`.
    pub fn advance(&self, seconds: i64) {
        if let Some(offset) = &self.offset {
            offset.fetch_add(seconds, Ordering::Relaxed);
        }
    }

    /// Wall time since 1970-01-01T00:00:00Z; zero for a clock set before that.
    #[allow(clippy::disallowed_methods)] // the one place
    #[must_use]
    pub fn unix(&self) -> Duration {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let Some(offset) = &self.offset else { return now };
        match offset.load(Ordering::Relaxed) {
            ahead @ 0.. => now.saturating_add(Duration::from_secs(ahead.unsigned_abs())),
            behind => now.saturating_sub(Duration::from_secs(behind.unsigned_abs())),
        }
    }

    /// Whole seconds of wall time since 1970, as `exp`, `nbf` and `iat` count them (RFC 7519 §2).
    #[must_use]
    pub fn unix_seconds(&self) -> u64 {
        self.unix().as_secs()
    }

    /// Monotonic time, for waits and for measuring.
    #[allow(clippy::disallowed_methods)] // the one place
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        let now = Instant::now();
        match &self.skipped {
            None => now,
            Some(skipped) => now + Duration::from_millis(skipped.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Clock;

    #[test]
    fn an_adjustable_clock_moves_with_all_its_clones() {
        let clock = Clock::adjustable();
        let seen = clock.clone();
        let before = seen.unix_seconds();
        clock.advance(3_600);
        assert!(seen.unix_seconds() >= before + 3_600);
        clock.advance(-7_200);
        assert!(seen.unix_seconds() < before);
    }
}
