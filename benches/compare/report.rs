//! The turns as tables and as JSON.

use serde_json::{Value, json};

use super::lab::kernel;
use super::lab::peers::Peer;
use super::measure::{Runs, Turn};
use super::options::Options;
use super::workloads::{self, Workload};

/// A median with the least and the greatest.
#[derive(Clone, Copy)]
struct Range {
    median: f64,
    least: f64,
    greatest: f64,
}

impl Range {
    fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, greatest) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = match values.len() % 2 {
            0 => f64::midpoint(values[middle - 1], values[middle]),
            _ => values[middle],
        };
        Some(Self { median, least, greatest })
    }
}

/// One peer at one workload.
struct Row<'a> {
    turns: &'a [Turn],
    base: &'a [Turn],
}

impl Row<'_> {
    fn median(&self, value: fn(&Turn) -> f64) -> f64 {
        Range::of(self.turns.iter().map(value)).map_or(f64::NAN, |range| range.median)
    }

    /// To the baseline, round by round.
    fn ratio(&self, value: fn(&Turn) -> f64) -> Option<Range> {
        let pairs = self.turns.iter().filter_map(|turn| {
            let base = self.base.iter().find(|base| base.round == turn.round)?;
            Some(value(turn) / value(base))
        });
        Range::of(pairs)
    }

    fn bad(&self) -> u64 {
        self.turns.iter().map(|turn| turn.bad).sum()
    }
}

fn rows<'a>(
    runs: &'a Runs,
    workload: &Workload,
    peers: &'a [Peer],
    baseline: &str,
) -> Vec<(&'a Peer, Row<'a>)> {
    let Some(found) = runs.get(workload.name) else { return Vec::new() };
    let base = found.get(baseline).map_or(&[][..], Vec::as_slice);
    let row = |peer: &'a Peer| Some((peer, Row { turns: found.get(&peer.name)?, base }));
    peers.iter().filter_map(row).collect()
}

fn ratio(range: Option<Range>) -> String {
    range.map_or("–".to_owned(), |range| {
        format!("{:.2} ({:.2}–{:.2})", range.median, range.least, range.greatest)
    })
}

/// A table for each workload, with everything.
pub fn tables(peers: &[Peer], runs: &Runs, baseline: &str) -> String {
    let mut text = String::new();
    for workload in workloads::ALL {
        let rows = rows(runs, workload, peers, baseline);
        if rows.is_empty() {
            continue;
        }
        text += &format!("\n{}: {}\n", workload.name, workload.what);
        text += &format!(
            "  {:<14} {:>9}  {:<20} {:>8}  {:>6} {:>8} {:>8} {:>8} {:>5} {:>5} {:>8}\n",
            "peer",
            "CPU us",
            format!("x {baseline} (range)"),
            "req/s",
            "x",
            "p50 us",
            "p99 us",
            "RSS MiB",
            "core",
            "load",
            "upstream"
        );
        for (peer, row) in rows {
            let bad = match row.bad() {
                0 => String::new(),
                bad => format!("  {bad} BAD ANSWERS"),
            };
            text += &format!(
                "  {:<14} {:>9.1}  {:<20} {:>8.0}  {:>6.2} {:>8.0} {:>8.0} {:>8.1} {:>4.0}% {:>4.0}% {:>8.1}{bad}\n",
                peer.name,
                row.median(|turn| turn.cpu),
                ratio(row.ratio(|turn| turn.cpu)),
                row.median(|turn| turn.per_second),
                row.ratio(|turn| turn.per_second).map_or(f64::NAN, |range| range.median),
                row.median(|turn| turn.p50),
                row.median(|turn| turn.p99),
                row.median(|turn| turn.resident as f64) / MIB,
                row.median(|turn| turn.core_use) * 100.0,
                row.median(|turn| turn.load_core) * 100.0,
                row.median(|turn| turn.upstream),
            );
        }
    }
    text + "\nCPU: of all the peer's threads, for one finished request. Ratios are taken round by round; the median, and from \
            the least to the greatest. core: the share of its core that the peer used; below 93% or so the load was the \
            limit of req/s. load: how busy the other core was.\n"
}

/// The table of the README.
pub fn markdown(options: &Options, peers: &[Peer], runs: &Runs, baseline: &str) -> String {
    let mut order: Vec<&Peer> = peers.iter().filter(|peer| peer.name != baseline).collect();
    order.splice(0..0, peers.iter().find(|peer| peer.name == baseline));
    let mut text = "| workload |".to_owned();
    for peer in &order {
        text += &match peer.name == baseline {
            true => format!(" {baseline}, µs |"),
            false => format!(" {}, µs | × {baseline} |", peer.name),
        };
    }
    for peer in &order {
        text += &format!(" {}, req/s |", peer.name);
    }
    text += &format!("\n|---|{}\n", "---:|".repeat(order.len() * 3 - 1));
    for workload in workloads::ALL {
        let rows = rows(runs, workload, peers, baseline);
        if rows.is_empty() {
            continue;
        }
        let row = |peer: &Peer| rows.iter().find(|row| row.0.name == peer.name).map(|row| &row.1);
        text += &format!("| `{}` {} |", workload.name, workload.what);
        for peer in &order {
            text += &cell(row(peer), |row| format!("{:.1}", row.median(|turn| turn.cpu)));
            if peer.name != baseline {
                text += &cell(row(peer), |row| ratio(row.ratio(|turn| turn.cpu)));
            }
        }
        for peer in &order {
            text += &cell(row(peer), |row| thousands(row.median(|turn| turn.per_second)));
        }
        text += "\n";
    }
    let versions: Vec<_> = order.iter().map(|peer| peer.version.as_str()).collect();
    let bad: u64 = runs.values().flat_map(|by| by.values()).flatten().map(|turn| turn.bad).sum();
    text + &format!(
        "\nµs: CPU time of all the proxy's threads for one finished request. ×: its ratio to {baseline}'s, round by round: the \
         median and the range; below 1 is better. Rounds: {} of {} s; bad answers: {bad}. {}; {}.\n",
        options.rounds,
        options.seconds,
        versions.join(", "),
        kernel::machine()
    )
}

fn cell(row: Option<&Row<'_>>, show: impl Fn(&Row<'_>) -> String) -> String {
    row.map_or(" – |".to_owned(), |row| format!(" {} |", show(row)))
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Every turn.
pub fn json(options: &Options, peers: &[Peer], runs: &Runs) -> Value {
    let turn = |turn: &Turn| {
        json!({
            "round": turn.round, "requests": turn.requests, "bad": turn.bad, "cpu_us": turn.cpu,
            "requests_per_second": turn.per_second, "p50_us": turn.p50, "p99_us": turn.p99, "rss_bytes": turn.resident,
            "core_use": turn.core_use, "upstream_us": turn.upstream, "load_core_busy": turn.load_core,
            "tokens_reused": turn.reused,
        })
    };
    let mut found = serde_json::Map::new();
    for (workload, by_peer) in runs {
        let of_peer = |turns: &Vec<Turn>| turns.iter().map(turn).collect::<Value>();
        let by_peer = by_peer.iter().map(|(name, turns)| (name.clone(), of_peer(turns)));
        found.insert((*workload).to_owned(), Value::Object(by_peer.collect()));
    }
    let versions = peers.iter().map(|peer| (peer.name.clone(), json!(peer.version)));
    json!({
        "machine": kernel::machine(), "rounds": options.rounds, "seconds": options.seconds,
        "versions": Value::Object(versions.collect()), "runs": found,
    })
}

const MIB: f64 = 1024.0 * 1024.0;
