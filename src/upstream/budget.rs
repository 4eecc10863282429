//! How many requests may be sent again: an upstream that is in trouble must not get twice the load for it.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// One worker's budget for one upstream: every request pays in [`SHARE`], one that is sent again costs a whole one, and
/// a few a second are free so that little traffic has retries too.
#[derive(Debug)]
pub(super) struct Budget {
    /// In hundredths of a retry.
    saved: Cell<u32>,
    free: Cell<u32>,
    /// When the free ones were last counted.
    counted: Cell<Instant>,
}

impl Budget {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            saved: Cell::new(MOST_SAVED),
            free: Cell::new(FREE_A_SECOND),
            counted: Cell::new(now),
        }
    }

    /// A request was sent for the first time.
    pub(super) fn pay_in(&self) {
        self.saved.set((self.saved.get() + SHARE).min(MOST_SAVED));
    }

    /// Whether one may be sent again; if so, that is paid.
    pub(super) fn spend(&self, now: Instant) -> bool {
        if now.saturating_duration_since(self.counted.get()) >= Duration::from_secs(1) {
            self.counted.set(now);
            self.free.set(FREE_A_SECOND);
        }
        if let Some(free) = self.free.get().checked_sub(1) {
            self.free.set(free);
            return true;
        }
        let left = self.saved.get().checked_sub(100);
        left.inspect(|left| self.saved.set(*left)).is_some()
    }
}

/// Of all requests, the part that may be sent again, in hundredths.
const SHARE: u32 = 20;
/// Most retries that are saved up, in hundredths: after a quiet time, as many stale connections may be found at once.
const MOST_SAVED: u32 = 100 * 100;
/// Retries that are free in each second.
const FREE_A_SECOND: u32 = 10;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Budget, FREE_A_SECOND, MOST_SAVED};
    use crate::clock::Clock;

    #[test]
    fn a_fifth_of_the_requests_and_a_few_a_second_may_be_sent_again() {
        let now = Clock::system().monotonic();
        let budget = Budget::new(now);
        let spend_all = |at| (0..).take_while(|_| budget.spend(at)).count() as u32;
        assert_eq!(spend_all(now), FREE_A_SECOND + MOST_SAVED / 100);
        (0..50).for_each(|_| budget.pay_in());
        assert_eq!(spend_all(now), 10);
        let later = now + Duration::from_secs(1);
        assert_eq!(spend_all(later), FREE_A_SECOND);
        assert_eq!(spend_all(later), 0);
        (0..1_000_000).for_each(|_| budget.pay_in());
        assert_eq!(spend_all(later), MOST_SAVED / 100);
    }
}
