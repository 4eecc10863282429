//! What can be asked of the comparison.

use std::path::PathBuf;

use clap::Parser;
use serde_json::Value;

use super::lab::peers::Peer;
use super::lab::program::{Named, named};
use super::lab::{Result, Trouble, While as _, kernel};
use super::workloads::{self, Workload};

const PEERS: [&str; 3] = ["haproxy", "nginx", "tollgate"];

/// Measures tollgate beside HAProxy and nginx: CPU time a request, requests a second, latency and memory, with ratios.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench compare --", max_term_width = 100)]
pub struct Options {
    /// Install what is missing of haproxy, nginx, wrk and h2load, with apt-get.
    #[arg(long)]
    pub install: bool,
    /// Only start everybody and tell what each lets through.
    #[arg(long)]
    pub check: bool,
    /// Take no precedence over the other processes of this machine.
    #[arg(long)]
    pub polite: bool,
    /// How often everybody has a turn at each workload.
    #[arg(long, default_value_t = 8)]
    pub rounds: u32,
    /// How long a turn is. Many short rounds beat few long ones where the machine's speed drifts.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// Seconds of load before each peer's first turn at a workload.
    #[arg(long, default_value_t = 1)]
    pub warmup: u32,
    /// Which workloads, with commas between: "post" means all whose names begin so.
    #[arg(long, default_value = "all")]
    pub workloads: String,
    /// Which peers, with commas between: haproxy, nginx, tollgate.
    #[arg(long, default_value = "haproxy,nginx,tollgate")]
    pub peers: String,
    /// A tollgate to measure instead of this package's; repeat it for before and after.
    #[arg(long, value_name = "NAME=PROGRAM", value_parser = named)]
    pub tollgate: Vec<Named>,
    /// Whom ratios are to (default: haproxy, or else the first).
    #[arg(long, value_name = "PEER")]
    pub baseline: Option<String>,
    /// Distinct tokens in post-many.
    #[arg(long, default_value_t = 10_000)]
    pub tokens: usize,
    /// Tokens of HS256 made anew for each second and round of post-fresh; of RS256 it is a quarter of that.
    #[arg(long, default_value_t = 80_000)]
    pub fresh: usize,
    /// The core of the proxies (default: the first that we may use).
    #[arg(long, value_name = "CORE")]
    pub proxy_core: Option<usize>,
    /// The core of upstream and load generator (default: the second).
    #[arg(long, value_name = "CORE")]
    pub load_core: Option<usize>,
    /// Write every turn here as it happens.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the table of the README here.
    #[arg(long, value_name = "FILE")]
    pub markdown: Option<PathBuf>,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Where everything runs.
pub struct Cores {
    pub proxy: Vec<usize>,
    pub load: Vec<usize>,
}

impl Options {
    pub fn workloads(&self) -> Result<Vec<Workload>> {
        let mut found: Vec<Workload> = Vec::new();
        for wanted in self.workloads.split(',') {
            let fits = |one: &&Workload| one.name == wanted || wanted == "all";
            let mut these: Vec<_> = workloads::ALL.iter().filter(fits).collect();
            if these.is_empty() {
                these = workloads::ALL.iter().filter(|one| one.name.starts_with(wanted)).collect();
            }
            if these.is_empty() {
                let known: Vec<_> = workloads::ALL.iter().map(|one| one.name).collect();
                return Err(Trouble::new(format!(
                    "no workload is called {wanted}; there are: {}",
                    known.join(", ")
                )));
            }
            for one in these {
                if found.iter().all(|known| known.name != one.name) {
                    found.push(one.clone());
                }
            }
        }
        Ok(found)
    }

    pub fn peers(&self) -> Result<Vec<String>> {
        let names: Vec<String> = self.peers.split(',').map(str::to_owned).collect();
        match names.iter().find(|name| !PEERS.contains(&name.as_str())) {
            Some(odd) => Err(Trouble::new(format!(
                "no peer is called {odd}; there are: {}",
                PEERS.join(", ")
            ))),
            None => Ok(names),
        }
    }

    pub fn cores(&self) -> Result<Cores> {
        let all = kernel::cores()?;
        let first = all.first().copied().unwrap_or(0);
        let (proxy, load) = (self.proxy_core.unwrap_or(first), self.load_core);
        let load = load.or_else(|| all.iter().copied().find(|core| *core != proxy));
        if load.is_none() {
            eprintln!("note: there is one core only: requests a second say nothing then");
        }
        Ok(Cores { proxy: vec![proxy], load: vec![load.unwrap_or(proxy)] })
    }

    pub fn baseline(&self, peers: &[Peer]) -> String {
        let wanted = self.baseline.as_deref().unwrap_or("haproxy");
        let there = peers.iter().find(|peer| peer.name == wanted).or(peers.first());
        there.map(|peer| peer.name.clone()).unwrap_or_default()
    }

    pub fn write_json(&self, value: &Value) -> Result<()> {
        match &self.json {
            Some(file) => std::fs::write(file, format!("{value:#}\n")).during(file.display()),
            None => Ok(()),
        }
    }
}
