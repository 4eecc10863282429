//! Counters by key, and latency histograms: one worker writes, anyone may read, nobody waits.
//!
//! Invariant: memory is fixed. What does not fit is counted all the same, under no key.

use std::hash::{BuildHasher, Hash};
use std::sync::OnceLock;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::Counter;

/// How often each key of a small set was counted.
#[derive(Debug)]
pub struct Tally<K> {
    slots: Box<[Slot<K>]>,
    /// What found no slot.
    rest: Counter,
}

#[derive(Debug)]
struct Slot<K> {
    key: OnceLock<K>,
    count: Counter,
}

impl<K: Copy + Eq + Hash> Tally<K> {
    /// For about half as many keys as `slots`, a power of two.
    #[must_use]
    pub fn new(slots: usize) -> Self {
        let slots = (0..slots.next_power_of_two())
            .map(|_| Slot { key: OnceLock::new(), count: Counter::default() });
        Self { slots: slots.collect(), rest: Counter::default() }
    }

    /// One more of `key`. Only the owning worker may call it.
    pub fn add_one(&self, key: K) {
        // the keys are words of ours: nobody outside chooses where they fall
        let hash = FixedState::default().hash_one(key);
        #[allow(clippy::cast_possible_truncation)] // whichever bits are left are good
        let start = hash as usize;
        let last = self.slots.len() - 1;
        for step in 0..PROBES {
            let Some(slot) = self.slots.get(start.wrapping_add(step) & last) else { break };
            if *slot.key.get_or_init(|| key) == key {
                slot.count.add_one();
                return;
            }
        }
        self.rest.add_one();
    }

    /// The keys so far, each with its count.
    pub fn read(&self) -> impl Iterator<Item = (K, u64)> {
        self.slots.iter().filter_map(|slot| Some((*slot.key.get()?, slot.count.get())))
    }

    /// What was counted without a key, because there were too many.
    #[must_use]
    pub fn rest(&self) -> u64 {
        self.rest.get()
    }
}

/// How long something took, in fixed buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    counts: [Counter; BUCKETS],
    sum_us: Counter,
}

/// What a histogram holds, or several together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Latencies {
    /// How many fell into each bucket, those above the last bound at the end. Not cumulative.
    pub counts: [u64; BUCKETS],
    /// All of them added up, microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// One that took so long. Only the owning worker may call it.
    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_US.partition_point(|bound| *bound < us);
        if let Some(count) = self.counts.get(place) {
            count.add_one();
        }
        self.sum_us.add(us);
    }

    /// Adds what there is to `total`.
    pub fn read_into(&self, total: &mut Latencies) {
        for (sum, count) in total.counts.iter_mut().zip(&self.counts) {
            *sum += count.get();
        }
        total.sum_us = total.sum_us.wrapping_add(self.sum_us.get());
    }
}

impl Latencies {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds those of another.
    pub fn add(&mut self, other: &Self) {
        for (sum, count) in self.counts.iter_mut().zip(other.counts) {
            *sum += count;
        }
        self.sum_us = self.sum_us.wrapping_add(other.sum_us);
    }

    /// Those that came since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let mut counts = self.counts;
        for (count, before) in counts.iter_mut().zip(earlier.counts) {
            *count = count.saturating_sub(before);
        }
        Self { counts, sum_us: self.sum_us.wrapping_sub(earlier.sum_us) }
    }

    /// What a share of them (0.5: half) took at most, microseconds, as near as the buckets tell; `None`: there are none.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
    pub fn quantile_us(&self, share: f64) -> Option<u64> {
        let all = self.count();
        if all == 0 {
            return None;
        }
        let rank = (all as f64 * share).max(1.0);
        let mut below = 0;
        for (place, count) in self.counts.iter().copied().enumerate() {
            if count > 0 && (below + count) as f64 >= rank {
                let least = if place == 0 { 0 } else { BOUNDS_US[place - 1] };
                let most = BOUNDS_US.get(place).copied().unwrap_or(least);
                let within = (rank - below as f64) / count as f64;
                return Some(least + ((most - least) as f64 * within) as u64);
            }
            below += count;
        }
        BOUNDS_US.last().copied()
    }
}

/// How many slots are looked at for a key.
const PROBES: usize = 16;
/// Upper bounds of the buckets, microseconds, each inclusive; the last bucket has none.
pub const BOUNDS_US: [u64; BUCKETS - 1] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 60_000_000,
];
/// Buckets of a histogram.
pub const BUCKETS: usize = 19;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{BOUNDS_US, Histogram, Latencies, Tally};

    fn read(histogram: &Histogram) -> Latencies {
        let mut read = Latencies::default();
        histogram.read_into(&mut read);
        read
    }

    #[test]
    fn every_key_has_its_count_and_what_does_not_fit_is_counted_too() {
        let tally = Tally::new(64);
        for key in 0..10_000_u32 {
            tally.add_one(key % 20);
            tally.add_one(key);
        }
        let counted: u64 = tally.read().map(|(_, count)| count).sum();
        assert_eq!(counted + tally.rest(), 20_000);
        assert!(tally.read().count() <= 64);
        assert!(tally.rest() > 0);
        let of_seven: u64 = tally.read().filter(|(key, _)| *key == 7).map(|(_, count)| count).sum();
        assert_eq!(of_seven, 501);
    }

    #[test]
    fn a_bucket_holds_what_took_its_bound_at_most() {
        let histogram = Histogram::default();
        for us in [0, 50, 51, 100, 60_000_000, 60_000_001] {
            histogram.add(Duration::from_micros(us));
        }
        let read = read(&histogram);
        assert_eq!(read.counts[..3], [2, 2, 0]);
        assert_eq!(read.counts[BOUNDS_US.len() - 1..], [1, 1]);
        assert_eq!((read.count(), read.sum_us), (6, 120_000_202));
    }

    #[test]
    fn quantiles_lie_within_the_bucket_that_holds_them() {
        let histogram = Histogram::default();
        assert_eq!(read(&histogram).quantile_us(0.5), None);
        for _ in 0..99 {
            histogram.add(Duration::from_micros(700));
        }
        histogram.add(Duration::from_secs(100));
        let read = read(&histogram);
        assert!((500..=1_000).contains(&read.quantile_us(0.5).unwrap()));
        assert!((500..=1_000).contains(&read.quantile_us(0.99).unwrap()));
        assert_eq!(read.quantile_us(1.0), Some(60_000_000));
    }

    #[test]
    fn what_came_since_a_moment_can_be_told() {
        let histogram = Histogram::default();
        histogram.add(Duration::from_micros(10));
        let earlier = read(&histogram);
        histogram.add(Duration::from_micros(300));
        let since = read(&histogram).since(&earlier);
        assert_eq!((since.count(), since.sum_us), (1, 300));
    }
}
