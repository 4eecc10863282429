//! Counts how often each caller asks, over all workers, and says when that is too often: the generic cell rate
//! algorithm, one number a caller. A caller that was quiet may use its whole quota at once; what is used comes back
//! evenly over the window.
//!
//! Invariant: memory is bounded, and pushing a count out costs the pusher more than it is worth. A count that has run
//! out is the same as none; where a bucket is full of others, the one that has used least of its quota leaves first; and
//! nobody outside knows who shares a bucket with whom.

use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::RateLimit;

/// The counts of every limit of a process. They outlive a reload: a limit that is changed counts anew.
#[derive(Debug)]
pub struct Limits {
    hasher: RandomState,
    epoch: Instant,
    shards: Box<[Mutex<Shard>]>,
}

/// Buckets, each of them short.
type Shard = Box<[Vec<Count>]>;

/// One limit, ready to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    id: u64,
    /// Most requests at once.
    requests: u32,
    /// Nanoseconds in which one request comes back.
    interval: u64,
    window: Duration,
}

/// How one caller stands with a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quota {
    /// How many requests there are at most.
    pub requests: u32,
    /// Seconds in which they all come back, rounded up.
    pub window: u64,
    /// How many more there would be now.
    pub left: u32,
    /// Seconds until they have all come back, rounded up.
    pub reset: u64,
    /// Seconds until there is one again, at least 1; none: this one was within the limit.
    pub retry_after: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Count {
    key: u64,
    /// When everything used has come back: nanoseconds since the epoch.
    full_at: u64,
    /// From nothing to everything, in nanoseconds.
    span: u64,
}

impl Limits {
    /// No counts yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        let shard = || Mutex::new(vec![Vec::new(); BUCKETS].into_boxed_slice());
        Self {
            hasher: RandomState::new(),
            epoch: now,
            shards: (0..SHARDS).map(|_| shard()).collect(),
        }
    }

    /// A limit over what `scope` tells apart. Two with the same scope and the same settings count together, also over a
    /// reload.
    #[must_use]
    pub fn limit(&self, settings: &RateLimit, scope: impl Hash) -> Limit {
        let RateLimit { per, requests, window } = *settings;
        let nanos = u64::try_from(window.as_nanos()).unwrap_or(u64::MAX);
        Limit {
            id: self.hasher.hash_one((per, requests, window, scope)),
            requests,
            interval: (nanos / u64::from(requests.max(1))).max(1),
            window,
        }
    }

    /// Counts a request of the caller `key` at `now`, unless it is one too many.
    pub fn take(&self, limit: &Limit, key: impl Hash, now: Instant) -> Quota {
        let key = self.hasher.hash_one((limit.id, key));
        let elapsed = now.saturating_duration_since(self.epoch).as_nanos();
        let now = u64::try_from(elapsed).unwrap_or(u64::MAX);
        // the last bits choose the place and are part of what is compared: a bucket holds no two of one key
        let place = usize::try_from(key % (SHARDS * BUCKETS) as u64).unwrap_or(0);
        let Some(shard) = self.shards.get(place % SHARDS) else { return limit.quota(0, None) };
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(bucket) = shard.get_mut(place / SHARDS) else { return limit.quota(0, None) };
        let span = limit.span();
        let found = bucket.iter_mut().find(|count| count.key == key);
        let used = found.as_ref().map_or(0, |count| count.full_at.saturating_sub(now));
        let wanted = used.saturating_add(limit.interval);
        if wanted > span {
            return limit.quota(used, Some(wanted - span));
        }
        let count = Count { key, full_at: now.saturating_add(wanted), span };
        match found {
            Some(found) => *found = count,
            None => insert(bucket, count, now),
        }
        limit.quota(wanted, None)
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let count =
            |shard: &Mutex<Shard>| shard.lock().unwrap().iter().map(Vec::len).sum::<usize>();
        self.shards.iter().map(count).sum()
    }
}

/// Makes room where there is none: for what has run out, else for what has used the least share of its quota.
fn insert(bucket: &mut Vec<Count>, count: Count, now: u64) {
    if bucket.len() < BUCKET {
        bucket.push(count);
        return;
    }
    let share = |count: &Count| {
        u128::from(count.full_at.saturating_sub(now)) * SHARE / u128::from(count.span.max(1))
    };
    if let Some(least) = bucket.iter_mut().min_by_key(|count| share(count)) {
        *least = count;
    }
}

impl Limit {
    fn span(&self) -> u64 {
        self.interval.saturating_mul(u64::from(self.requests))
    }

    /// How somebody stands who has used so many nanoseconds of it.
    fn quota(&self, used: u64, wait: Option<u64>) -> Quota {
        let left = self.span().saturating_sub(used) / self.interval;
        Quota {
            requests: self.requests,
            window: seconds(u64::try_from(self.window.as_nanos()).unwrap_or(u64::MAX)),
            left: u32::try_from(left).unwrap_or(u32::MAX),
            reset: seconds(used),
            retry_after: wait.map(|wait| seconds(wait).max(1)),
        }
    }
}

/// Whole seconds, rounded up.
const fn seconds(nanos: u64) -> u64 {
    nanos.div_ceil(1_000_000_000)
}

/// Locks; a few for each core are enough that nobody waits.
const SHARDS: usize = 64;
/// Buckets of each.
const BUCKETS: usize = 256;
/// Counts of a bucket: 262,144 callers in all, at most 6 MiB of counts.
const BUCKET: usize = 16;
/// In how many parts a quota is told when shares are compared.
const SHARE: u128 = 1 << 32;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BUCKET, BUCKETS, Limit, Limits, SHARDS};
    use crate::clock::Clock;
    use crate::config::{LimitPer, RateLimit};

    fn start() -> Instant {
        Clock::system().monotonic()
    }

    fn of(limits: &Limits, requests: u32, seconds: u64) -> Limit {
        let window = Duration::from_secs(seconds);
        limits.limit(&RateLimit { per: LimitPer::Client, requests, window }, "a")
    }

    #[test]
    fn a_quota_can_be_used_at_once_and_comes_back_evenly() {
        let now = start();
        let limits = Limits::new(now);
        let limit = of(&limits, 6, 60);
        for left in (0..6).rev() {
            let quota = limits.take(&limit, "x", now);
            assert_eq!((quota.left, quota.retry_after), (left, None));
        }
        let over = limits.take(&limit, "x", now);
        assert_eq!((over.left, over.retry_after, over.reset, over.window), (0, Some(10), 60, 60));
        assert_eq!(limits.take(&limit, "y", now).left, 5, "somebody else has a quota of his own");
        let later = now + Duration::from_secs(10);
        assert_eq!(limits.take(&limit, "x", later).retry_after, None);
        assert_eq!(limits.take(&limit, "x", later).retry_after, Some(10));
        assert_eq!(limits.take(&limit, "x", now + Duration::from_secs(200)).left, 5);
    }

    #[test]
    fn a_quota_that_its_window_cannot_be_divided_by_is_kept_to_the_request() {
        let now = start();
        let limits = Limits::new(now);
        for (requests, millis) in [(7, 1_000), (999_983, 1_500), (1, 86_400_000)] {
            let window = Duration::from_millis(millis);
            let settings = RateLimit { per: LimitPer::Client, requests, window };
            let limit = limits.limit(&settings, millis);
            let passed = (0..requests + 3)
                .filter(|_| limits.take(&limit, "x", now).retry_after.is_none())
                .count();
            assert_eq!(passed, requests as usize);
        }
    }

    #[test]
    fn one_refused_request_costs_nothing() {
        let now = start();
        let limits = Limits::new(now);
        let limit = of(&limits, 1, 10);
        let _ = limits.take(&limit, "x", now);
        for _ in 0..1_000 {
            assert_eq!(limits.take(&limit, "x", now).retry_after, Some(10));
        }
        assert_eq!(limits.take(&limit, "x", now + Duration::from_secs(10)).retry_after, None);
    }

    #[test]
    fn limits_of_other_scopes_or_settings_count_apart() {
        let now = start();
        let limits = Limits::new(now);
        let settings =
            RateLimit { per: LimitPer::Client, requests: 1, window: Duration::from_secs(60) };
        let other = RateLimit { requests: 2, ..settings };
        for limit in
            [limits.limit(&settings, "a"), limits.limit(&settings, "b"), limits.limit(&other, "a")]
        {
            assert_eq!(limits.take(&limit, "x", now).retry_after, None);
        }
        assert!(limits.take(&limits.limit(&settings, "a"), "x", now).retry_after.is_some());
    }

    /// Over three times as many callers as there is room for, while one has used up its quota.
    #[test]
    fn d160_memory_is_bounded_and_a_flood_of_callers_does_not_reset_a_limit() {
        let now = start();
        let limits = Limits::new(now);
        let (own, theirs) = (of(&limits, 100, 60), of(&limits, 100, 3_600));
        for _ in 0..100 {
            let _ = limits.take(&own, "greedy", now);
        }
        for number in 0..(3 * SHARDS * BUCKETS * BUCKET) as u32 {
            let _ = limits.take(&theirs, number, now);
        }
        assert!(limits.len() <= SHARDS * BUCKETS * BUCKET);
        assert!(limits.take(&own, "greedy", now).retry_after.is_some());
    }
}
