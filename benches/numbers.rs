//! What counting a request costs: `cargo bench --bench numbers`. Prints nanoseconds for each; no test holds them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // time is what is measured

use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use tollgate::clock::Clock;
use tollgate::config::Log;
use tollgate::message::Peer;
use tollgate::observe::{
    AccessLog, Decision, Histogram, Metrics, Outcome, Record, RequestIds, RouteName, Tally,
};

const TURNS: u32 = 2_000_000;

fn main() {
    let histogram = Histogram::default();
    let times: Vec<Duration> =
        (0..64).map(|turn| Duration::from_micros(80 + turn * 7 % 300)).collect();
    show("histogram", |turn| histogram.add(times[turn as usize % 64]));
    let tally = Tally::new(128);
    let outcome = |status| Outcome { decision: Decision::Open, reason: "open_method", status };
    let outcomes = [200, 200, 200, 304, 404].map(outcome);
    show("outcome", |turn| tally.add_one(outcomes[turn as usize % 5]));
    let clock = Clock::system();
    show("clock", |_| {
        black_box(clock.monotonic());
    });
    let settings = Log { json: false, level: "info".to_owned(), access: false };
    let log = AccessLog::new(None, &settings, clock.clone(), Arc::new(Metrics::default()));
    let peer = Rc::new(Peer::new(None, false, false));
    let mut record = Record::begin(clock.monotonic(), RequestIds::new(7).take(None), peer);
    (record.route, record.decision) = (RouteName::Named("players".into()), Decision::Allowed);
    (record.reason, record.upstream_time) = ("valid_token", Some(Duration::from_micros(120)));
    show("whole end of a request", |_| log.end(black_box(&record), StatusCode::OK, 100, true));
    (record.decision, record.reason) = (Decision::Refused, "no_credential");
    show("of one that is refused", |_| {
        log.end(black_box(&record), StatusCode::UNAUTHORIZED, 100, true);
    });
}

/// Nanoseconds for one of many, the best of five runs.
fn show(what: &str, count: impl Fn(u32)) {
    let run = || {
        let started = Instant::now();
        for turn in 0..TURNS {
            count(black_box(turn));
        }
        started.elapsed().as_nanos() as f64 / f64::from(TURNS)
    };
    println!("{what:<24} {:>6.1} ns", (0..5).map(|_| run()).fold(f64::INFINITY, f64::min));
}
