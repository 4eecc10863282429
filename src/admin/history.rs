//! The last ten minutes, sampled, so that whoever opens the page sees a course and not a moment.

use std::collections::VecDeque;

use serde::Serialize;

use crate::observe::{Latencies, Reading};

/// One point for each step, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    points: VecDeque<Point>,
    last: Option<Sums>,
}

/// What happened within one step.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Point {
    /// The end of the step, seconds since 1970.
    at: u64,
    requests: u64,
    refused: u64,
    errors: u64,
    p50_us: Option<u64>,
    p99_us: Option<u64>,
    upstream_p50_us: Option<u64>,
    upstream_p99_us: Option<u64>,
}

/// Everything since the start.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    requests: u64,
    refused: u64,
    errors: u64,
    latency: Latencies,
    upstream: Latencies,
}

impl History {
    /// Notes what has happened since the last sample.
    pub(super) fn sample(&mut self, at: u64, reading: &Reading) {
        let sums = Sums::of(reading);
        if let Some(last) = self.last.replace(sums) {
            if self.points.len() >= POINTS {
                self.points.pop_front();
            }
            self.points.push_back(sums.since(&last, at));
        }
    }

    pub(super) fn points(&self) -> Vec<Point> {
        self.points.iter().copied().collect()
    }
}

impl Sums {
    fn of(reading: &Reading) -> Self {
        let mut sums = Self::default();
        for route in reading.routes.values() {
            sums.requests += route.requests();
            sums.refused += route.refused();
            sums.errors += route.errors();
            sums.latency.add(&route.latency);
            sums.upstream.add(&route.upstream);
        }
        sums
    }

    fn since(&self, last: &Self, at: u64) -> Point {
        let latency = self.latency.since(&last.latency);
        let upstream = self.upstream.since(&last.upstream);
        Point {
            at,
            requests: self.requests.saturating_sub(last.requests),
            refused: self.refused.saturating_sub(last.refused),
            errors: self.errors.saturating_sub(last.errors),
            p50_us: latency.quantile_us(0.5),
            p99_us: latency.quantile_us(0.99),
            upstream_p50_us: upstream.quantile_us(0.5),
            upstream_p99_us: upstream.quantile_us(0.99),
        }
    }
}

/// Seconds from one sample to the next.
pub(super) const STEP_SECONDS: u64 = 5;
/// Ten minutes.
const POINTS: usize = 120;

#[cfg(test)]
mod tests {
    use super::{History, POINTS};
    use crate::observe::{Decision, Outcome, Reading};

    fn reading(requests: u64) -> Reading {
        let mut reading = Reading::default();
        let route = reading.routes.entry("default".into()).or_default();
        let outcome = Outcome { decision: Decision::Refused, reason: "no_credential", status: 401 };
        route.outcomes.insert(outcome, requests);
        route.latency.counts[2] = requests;
        reading
    }

    #[test]
    fn a_point_is_what_happened_since_the_one_before() {
        let mut history = History::default();
        history.sample(100, &reading(7));
        assert!(history.points().is_empty(), "nobody knows how long that took");
        history.sample(105, &reading(17));
        history.sample(110, &reading(17));
        let points = history.points();
        assert_eq!((points[0].at, points[0].requests, points[0].refused), (105, 10, 10));
        assert!((100..=250).contains(&points[0].p50_us.unwrap()));
        assert_eq!((points[1].requests, points[1].p50_us), (0, None));
    }

    #[test]
    fn the_oldest_point_gives_its_place_to_the_next() {
        let mut history = History::default();
        for at in 0..1_000 {
            history.sample(at, &reading(at));
        }
        let points = history.points();
        assert_eq!(points.len(), POINTS);
        assert_eq!(points.last().unwrap().at, 999);
    }
}
