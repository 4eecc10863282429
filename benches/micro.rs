//! What each step of a request takes, in nanoseconds: `cargo bench --bench micro`, or with a part of a name:
//! `cargo bench --bench micro -- token`. No test holds them; `instructions` counts the same steps without wobble.

mod steps;

use std::time::Duration;

use criterion::Criterion;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args();
    for (name, ready) in steps::ALL {
        let mut run = None; // made ready only if its name is asked for
        criterion.bench_function(name, |bencher| bencher.iter(run.get_or_insert_with(ready)));
    }
    criterion.final_summary();
}
