//! How tollgate behaves as it grows: many connections, idle ones, workers, start-up, tokens issued, hashing beside
//! forwarding, size. `cargo bench --bench scale`, or with the names of sections: `cargo bench --bench scale -- idle startup`.

#![allow(missing_docs, unreachable_pub, clippy::disallowed_methods)] // time is what is measured

#[path = "../lab/mod.rs"]
mod lab;

mod client;
mod connections;
mod idle;
mod startup;
mod tokens;
mod workers;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use lab::folder::Folder;
use lab::kernel::{self, Precedence};
use lab::keys::Keys;
use lab::peers::{Ground, Peer, Setting};
use lab::program::{self, Named, named};
use lab::tools::{Tool, require};
use lab::upstream::Upstream;
use lab::{Result, Trouble, While as _};

#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench scale --", max_term_width = 100)]
struct Options {
    /// What to measure (default: everything).
    sections: Vec<Section>,
    /// Install what is missing of haproxy, nginx and wrk, with apt-get.
    #[arg(long)]
    install: bool,
    /// Measure tollgate alone.
    #[arg(long)]
    alone: bool,
    /// How long each load lasts.
    #[arg(long, default_value_t = 3)]
    seconds: u32,
    /// Idle connections that memory is measured with.
    #[arg(long, default_value_t = 2_000)]
    idle: usize,
    /// The most connections that are under load.
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// A tollgate to measure instead of this package's; repeat it for before and after.
    #[arg(long, value_name = "NAME=PROGRAM", value_parser = named)]
    tollgate: Vec<Named>,
    /// Cargo says this to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Section {
    /// Throughput, latency and memory with 100, 1,000 and 10,000 kept connections.
    Connections,
    /// Memory that a connection holds which has been used once and waits.
    Idle,
    /// Throughput with one worker and with two.
    Workers,
    /// From the start of the program to its first answer.
    Startup,
    /// Tokens issued a second on one core.
    Tokens,
    /// What forwarding notices of clients whose secrets are hashed with Argon2id.
    Argon2,
    /// The size of the program.
    Size,
}

/// What every section stands on.
struct Scale<'a> {
    options: &'a Options,
    folder: &'a Folder,
    ground: Ground<'a>,
    programs: Vec<Named>,
    /// Where the load comes from.
    load: Vec<usize>,
    /// All that we may use.
    cores: Vec<usize>,
}

/// Somebody who can be started by [`Scale::start`].
#[derive(Clone, Debug)]
enum Who {
    Other(&'static str),
    Tollgate(Named),
}

impl Who {
    fn name(&self) -> &str {
        match self {
            Self::Other(name) => name,
            Self::Tollgate((name, _)) => name,
        }
    }
}

impl Scale<'_> {
    fn everybody(&self) -> Vec<Who> {
        let others = if self.options.alone { &[][..] } else { &["haproxy", "nginx"] };
        let others = others.iter().map(|name| Who::Other(name));
        others.chain(self.programs.iter().cloned().map(Who::Tollgate)).collect()
    }

    fn start(&self, who: &Who) -> Result<Peer> {
        match who {
            Who::Other("haproxy") => self.ground.haproxy(),
            Who::Other(_) => self.ground.nginx(),
            Who::Tollgate((name, program)) => self.ground.tollgate(name, program),
        }
    }
}

fn main() -> ExitCode {
    lab::process::heed_signals();
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("scale: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut tools = vec![Tool::Setsid, Tool::Setpriv, Tool::Wrk];
    if !options.alone {
        tools.extend([Tool::Haproxy, Tool::Nginx]);
    }
    require(&tools, options.install)?;
    let programs = program::all(&options.tollgate)?;
    let cores = kernel::cores()?;
    let first = cores.first().copied().unwrap_or(0);
    let load = vec![cores.get(1).copied().unwrap_or(first)];
    let _precedence = Precedence::take();
    let folder = Folder::new()?;
    let keys = Keys::new(&folder)?;
    let upstream = Upstream::start(&load)?;
    kernel::pin(&load)?;
    let proxy = [first];
    let ground = Ground { folder: &folder, keys: &keys, upstream: &upstream, cores: &proxy };
    let scale = Scale { options, folder: &folder, ground, programs, load, cores };
    println!("{}", kernel::machine());
    let all = Section::value_variants();
    let wanted = if options.sections.is_empty() { all } else { &options.sections };
    for section in wanted {
        lab::process::go_on()?;
        match section {
            Section::Connections => connections::measure(&scale)?,
            Section::Idle => idle::measure(&scale)?,
            Section::Workers => workers::measure(&scale)?,
            Section::Startup => startup::measure(&scale)?,
            Section::Tokens => tokens::issue(&scale)?,
            Section::Argon2 => tokens::beside_hashing(&scale)?,
            Section::Size => size(&scale)?,
        }
    }
    Ok(())
}

fn size(scale: &Scale<'_>) -> Result<()> {
    println!("\n## Size of the program\n\n| program | MiB |\n|---|---:|");
    for (name, program) in &scale.programs {
        let length = std::fs::metadata(program).during(program.display())?.len();
        println!("| {name} | {:.1} |", length as f64 / MIB);
    }
    Ok(())
}

/// Sees that this many files may be open, here and in what is started.
fn open_files(wanted: u64) -> Result<()> {
    let now = kernel::raise_open_files(wanted);
    match now >= wanted {
        true => Ok(()),
        false => Err(Trouble::new(format!(
            "{wanted} open files are needed, {now} are allowed\n= help: raise the limit (ulimit -Hn, or as root prlimit \
             --nofile={wanted} --pid $$), or ask for less with --connections and --idle"
        ))),
    }
}

const MIB: f64 = 1024.0 * 1024.0;
const KIB: f64 = 1024.0;

/// A tollgate with one worker, in clear.
fn plain() -> Setting<'static> {
    Setting::default()
}
