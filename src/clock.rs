//! The time, as everything else reads it: wall time for tokens and logs, monotonic time for waits.
//!
//! Only this file asks the operating system, so a test can move the wall clock without sleeping.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::pin;
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
    #[must_use]
    pub fn unix(&self) -> Duration {
        self.moved(system_unix())
    }

    fn moved(&self, now: Duration) -> Duration {
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
    #[must_use]
    pub fn monotonic(&self) -> Instant {
        self.skipped(system_monotonic())
    }

    /// Monotonic time as of the beginning of this poll of [`looking`]: good enough for deadlines, and for how long
    /// something took that was waited for. Elsewhere it is [`Clock::monotonic`].
    #[must_use]
    pub fn recent(&self) -> Instant {
        self.skipped(LOOKED.get().unwrap_or_else(system_monotonic))
    }

    /// [`Clock::unix`] as of then. The system is asked a few times a second; in between, wall time goes on as monotonic
    /// time does.
    #[must_use]
    pub fn recent_unix(&self) -> Duration {
        let Some(now) = LOOKED.get() else { return self.unix() };
        let (at, wall) = match WALL.get() {
            Some(known) if now.saturating_duration_since(known.0) < WALL_STANDS => known,
            _ => (now, system_unix()),
        };
        WALL.set(Some((at, wall)));
        self.moved(wall + now.saturating_duration_since(at))
    }

    /// [`Clock::unix_seconds`] as of then.
    #[must_use]
    pub fn recent_unix_seconds(&self) -> u64 {
        self.recent_unix().as_secs()
    }

    fn skipped(&self, now: Instant) -> Instant {
        match &self.skipped {
            None => now,
            Some(skipped) => now + Duration::from_millis(skipped.load(Ordering::Relaxed)),
        }
    }
}

/// Runs the future that `make` makes (here, so that it is not moved and kept twice); each of its polls looks at the clock
/// once, for all that asks for the recent time.
pub async fn looking<F: Future>(make: impl FnOnce() -> F) -> F::Output {
    let mut future = pin!(make());
    poll_fn(|cx| {
        let _poll = Poll::begin();
        future.as_mut().poll(cx)
    })
    .await
}

/// A poll under way. Its end takes back what it saw, also when it panics.
struct Poll;

impl Poll {
    fn begin() -> Self {
        LOOKED.set(Some(system_monotonic()));
        Self
    }
}

impl Drop for Poll {
    fn drop(&mut self) {
        LOOKED.set(None);
    }
}

#[allow(clippy::disallowed_methods)] // the one place
fn system_monotonic() -> Instant {
    Instant::now()
}

#[allow(clippy::disallowed_methods)] // the one place
fn system_unix() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

thread_local! {
    /// When the poll that is under way began.
    static LOOKED: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Wall time when it was last asked for, and when that was.
    static WALL: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
}

/// How long wall time is not asked for again.
const WALL_STANDS: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Clock, looking};

    #[test]
    fn the_recent_time_stands_still_within_a_poll_and_is_the_time_outside_of_one() {
        let clock = Clock::system();
        let first = clock.recent();
        while clock.recent() == first {}
        let seen = futures_util::FutureExt::now_or_never(looking(|| async {
            let (first, wall) = (clock.recent(), clock.recent_unix());
            while clock.monotonic() == first {}
            (clock.recent() == first, clock.recent_unix() == wall, clock.unix() >= wall)
        }));
        assert_eq!(seen, Some((true, true, true)));
    }

    #[test]
    fn an_adjustable_clock_moves_the_recent_time_within_a_poll_too() {
        let clock = Clock::adjustable();
        let moved = futures_util::FutureExt::now_or_never(looking(|| async {
            let (time, wall) = (clock.recent(), clock.recent_unix_seconds());
            clock.skip(Duration::from_secs(5));
            clock.advance(3_600);
            (clock.recent() - time, clock.recent_unix_seconds() - wall)
        }));
        assert_eq!(moved, Some((Duration::from_secs(5), 3_600)));
    }

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
