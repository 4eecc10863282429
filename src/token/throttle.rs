//! Counts failures to prove oneself, for each client and address and for each address, and says when there
//! were too many (RFC 6749 §2.3.1: brute force). Right secrets are not counted.
//!
//! Invariant: memory is bounded, and pushing a counter out costs the pusher more failures than it is worth:
//! the table has buckets chosen by a random hash, and the fewest failures leave a full bucket first.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::message::origin::network;

#[derive(Debug)]
pub(super) struct Throttle {
    hasher: RandomState,
    /// How many counters there are. As long as there are none nobody takes the lock.
    counters: AtomicUsize,
    table: Mutex<Box<[Vec<Counter>]>>,
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    key: Key,
    since: Instant,
    failures: u32,
}

/// An address, alone or with the hash of a client id.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Key {
    address: u128,
    client: Option<u64>,
}

impl Throttle {
    pub(super) fn new() -> Self {
        let table = vec![Vec::new(); BUCKETS].into_boxed_slice();
        Self { hasher: RandomState::new(), counters: AtomicUsize::new(0), table: Mutex::new(table) }
    }

    /// # Errors
    /// How long to wait, if there were too many failures.
    pub(super) fn check(
        &self,
        client: &str,
        address: IpAddr,
        now: Instant,
    ) -> Result<(), Duration> {
        if self.counters.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let keys = self.keys(client, address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wait = Duration::ZERO;
        for (key, limit) in keys {
            let bucket = &mut table[self.bucket(key)];
            let before = bucket.len();
            bucket.retain(|counter| counter.left(now) > Duration::ZERO);
            self.counters.fetch_sub(before - bucket.len(), Ordering::Relaxed);
            let counter = bucket.iter().find(|counter| counter.key == key);
            if let Some(counter) = counter.filter(|counter| counter.failures >= limit) {
                wait = wait.max(counter.left(now));
            }
        }
        if wait.is_zero() { Ok(()) } else { Err(wait) }
    }

    /// Counts one failure.
    pub(super) fn failed(&self, client: &str, address: IpAddr, now: Instant) {
        let keys = self.keys(client, address);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, _) in keys {
            let bucket = &mut table[self.bucket(key)];
            let before = bucket.len();
            bucket.retain(|counter| counter.left(now) > Duration::ZERO);
            match bucket.iter_mut().find(|counter| counter.key == key) {
                Some(counter) => counter.failures = counter.failures.saturating_add(1),
                None => {
                    let weakest = |bucket: &Vec<Counter>| {
                        let places = bucket.iter().enumerate();
                        places.min_by_key(|(_, counter)| counter.failures).map(|(place, _)| place)
                    };
                    if bucket.len() >= BUCKET
                        && let Some(place) = weakest(bucket)
                    {
                        bucket.swap_remove(place);
                    }
                    bucket.push(Counter { key, since: now, failures: 1 });
                }
            }
            self.counters.fetch_add(bucket.len(), Ordering::Relaxed);
            self.counters.fetch_sub(before, Ordering::Relaxed);
        }
    }

    fn keys(&self, client: &str, address: IpAddr) -> [(Key, u32); 2] {
        let address = network(address);
        let client = Some(self.hasher.hash_one(client));
        [(Key { address, client }, PER_CLIENT), (Key { address, client: None }, PER_ADDRESS)]
    }

    fn bucket(&self, key: Key) -> usize {
        usize::try_from(self.hasher.hash_one(key) % BUCKETS as u64).unwrap_or(0)
    }
}

impl Counter {
    fn left(&self, now: Instant) -> Duration {
        WINDOW.saturating_sub(now.saturating_duration_since(self.since))
    }
}

/// How long failures count, from the first of them.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures of one client from one address: more than a person mistypes.
const PER_CLIENT: u32 = 10;
/// Failures from one address: many clients may stand behind it.
const PER_ADDRESS: u32 = 100;
/// With [`BUCKET`]: 64 Ki counters, a few MiB.
const BUCKETS: usize = 4096;
const BUCKET: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::sync::atomic::Ordering;
    use std::time::{Duration, Instant};

    use super::{BUCKET, BUCKETS, Throttle};
    use crate::clock::Clock;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn start() -> Instant {
        Clock::system().monotonic()
    }

    #[test]
    fn t81_the_eleventh_attempt_within_a_minute_is_throttled_and_only_from_there() {
        let (throttle, now) = (Throttle::new(), start());
        let (here, there) = (address("192.0.2.1"), address("192.0.2.2"));
        for _ in 0..10 {
            assert!(throttle.check("a", here, now).is_ok());
            throttle.failed("a", here, now);
        }
        let later = now + Duration::from_secs(20);
        assert_eq!(throttle.check("a", here, later), Err(Duration::from_secs(40)));
        assert!(throttle.check("a", there, later).is_ok());
        assert!(throttle.check("b", here, later).is_ok());
        assert!(throttle.check("a", here, now + Duration::from_secs(60)).is_ok());
    }

    #[test]
    fn an_address_that_tries_many_clients_is_throttled_for_all_of_them() {
        let (throttle, now) = (Throttle::new(), start());
        for number in 0..100 {
            throttle.failed(&number.to_string(), address("192.0.2.1"), now);
        }
        assert!(throttle.check("new", address("192.0.2.1"), now).is_err());
        assert!(throttle.check("new", address("::ffff:192.0.2.1"), now).is_err());
        assert!(throttle.check("new", address("192.0.2.2"), now).is_ok());
    }

    #[test]
    fn ipv6_addresses_count_by_their_first_64_bits() {
        let (throttle, now) = (Throttle::new(), start());
        for number in 0..10 {
            throttle.failed("a", address(&format!("2001:db8::{number}")), now);
        }
        assert!(throttle.check("a", address("2001:db8::ffff"), now).is_err());
        assert!(throttle.check("a", address("2001:db8:0:1::1"), now).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_a_flood_does_not_wash_away_who_is_throttled() {
        let (throttle, now) = (Throttle::new(), start());
        for _ in 0..10 {
            throttle.failed("victim", address("192.0.2.1"), now);
        }
        for number in 0..300_000_u32 {
            throttle.failed("a", IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(throttle.counters.load(Ordering::Relaxed) <= BUCKETS * BUCKET);
        assert!(throttle.check("victim", address("192.0.2.1"), now).is_err());
    }

    #[test]
    fn after_a_minute_nothing_is_kept_of_whoever_comes_again() {
        let (throttle, now) = (Throttle::new(), start());
        throttle.failed("a", address("192.0.2.1"), now);
        assert_eq!(throttle.counters.load(Ordering::Relaxed), 2);
        let later = now + Duration::from_secs(61);
        assert!(throttle.check("a", address("192.0.2.1"), later).is_ok());
        assert_eq!(throttle.counters.load(Ordering::Relaxed), 0);
    }
}
