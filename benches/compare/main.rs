//! tollgate beside HAProxy and nginx on this machine, in one run: `cargo bench --bench compare`; `-- --help` says more.
//!
//! Each proxy has one core, the upstream and the load generator share another. First each shows which tokens it lets
//! through. Then they take turns within seconds, and what is compared is the CPU time that a finished request cost, round
//! by round: it holds where a busy neighbour or a clock that drifts would spoil requests a second.

#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods)] // a test has this as a module, too; time is real

#[path = "../lab/mod.rs"]
mod lab;

mod check;
mod measure;
mod options;
mod report;
mod workloads;

use std::process::ExitCode;

use clap::Parser as _;

use lab::folder::Folder;
use lab::kernel::Precedence;
use lab::keys::Keys;
use lab::peers::{Ground, Peer};
use lab::process::heed_signals;
use lab::program::{self, Named};
use lab::tools::{Tool, require};
use lab::upstream::Upstream;
use lab::{Result, Trouble, While as _};
use measure::{Bench, Runs};
pub use options::Options;

#[allow(dead_code)] // not in the test
fn main() -> ExitCode {
    heed_signals();
    let told = run(&Options::parse()).map(|report| println!("{report}"));
    match told {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compare: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does what the options say, and yields what is to be printed. Nothing that was started is left when it returns.
///
/// # Errors
/// If a tool is missing, a peer does not start or lets a token through that it should refuse, or somebody interrupts.
pub fn run(options: &Options) -> Result<String> {
    let workloads = options.workloads()?;
    let peers = options.peers()?;
    require(&tools(options, &peers, &workloads), options.install)?;
    let programs = match peers.iter().any(|peer| peer == "tollgate") {
        true => program::all(&options.tollgate)?,
        false => Vec::new(),
    };
    let cores = options.cores()?;
    let precedence = if options.polite { None } else { Precedence::take() };
    if precedence.is_none() && !options.polite {
        eprintln!("note: without root others may take the core away");
    }

    let folder = Folder::new()?;
    let keys = Keys::new(&folder)?;
    let upstream = Upstream::start(&cores.load)?;
    let ground = Ground { folder: &folder, keys: &keys, upstream: &upstream, cores: &cores.proxy };
    let peers = start(&ground, &peers, &programs)?;
    let bad = keys.bad_tokens(&folder)?;
    let mut checks = String::new();
    for peer in &peers {
        let line = check::check(peer, &keys, &bad)?;
        eprintln!("{line}");
        checks += &format!("{line}\n");
    }
    if options.check {
        return Ok(checks);
    }
    let bench = Bench { options, cores: &cores, folder: &folder, keys: &keys, upstream: &upstream };
    let mut runs = Runs::new();
    for round in 0..options.rounds {
        for workload in &workloads {
            bench.turn(workload, &peers, round, &mut runs)?;
            options.write_json(&report::json(options, &peers, &runs))?;
        }
    }
    let baseline = options.baseline(&peers);
    if let Some(file) = &options.markdown {
        let text = report::markdown(options, &peers, &runs, &baseline);
        std::fs::write(file, text).during(file.display())?;
    }
    Ok(report::tables(&peers, &runs, &baseline))
}

fn tools(options: &Options, peers: &[String], workloads: &[workloads::Workload]) -> Vec<Tool> {
    let mut tools = vec![Tool::Setsid, Tool::Setpriv];
    tools.extend(
        [Tool::Haproxy, Tool::Nginx]
            .into_iter()
            .filter(|tool| peers.iter().any(|peer| peer == tool.program())),
    );
    if !options.check {
        tools.extend(workloads.iter().map(workloads::Workload::tool));
    }
    tools.sort_by_key(|tool| tool.program());
    tools.dedup();
    tools
}

fn start(ground: &Ground<'_>, names: &[String], programs: &[Named]) -> Result<Vec<Peer>> {
    let mut peers = Vec::new();
    for name in names {
        match name.as_str() {
            "haproxy" => peers.push(ground.haproxy()?),
            "nginx" => peers.push(ground.nginx()?),
            "tollgate" => {
                for (name, program) in programs {
                    peers.push(ground.tollgate(name, program)?);
                }
            }
            other => return Err(Trouble::new(format!("no peer is called {other}"))),
        }
    }
    Ok(peers)
}
