//! The turns: one workload, one peer after the other, each under load for a moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::check::BODY;
use super::lab::folder::Folder;
use super::lab::keys::{Algorithm, Keys};
use super::lab::load::{Front, Load};
use super::lab::peers::Peer;
use super::lab::upstream::Upstream;
use super::lab::{Result, kernel};
use super::options::{Cores, Options};
use super::workloads::{Asks, Tokens, Workload};

/// By workload and peer, the turns in their order.
pub type Runs = BTreeMap<&'static str, BTreeMap<String, Vec<Turn>>>;

/// RS256 takes so much longer to sign and to verify.
const RS256_SHARE: usize = 4;

/// What one peer did in one turn.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub round: u32,
    pub requests: u64,
    pub bad: u64,
    /// CPU time of all the peer's threads for one finished request, microseconds.
    pub cpu: f64,
    pub per_second: f64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
    /// Bytes.
    pub resident: u64,
    /// How much of its core the peer had. Below 0.93 or so it was the load that was the limit.
    pub core_use: f64,
    /// CPU time of the upstream for one request, microseconds.
    pub upstream: f64,
    /// How busy the core of upstream and load generator was.
    pub load_core: f64,
    /// How often each token was sent, if each was to be new.
    pub reused: f64,
}

pub struct Bench<'a> {
    pub options: &'a Options,
    pub cores: &'a Cores,
    pub folder: &'a Folder,
    pub keys: &'a Keys,
    pub upstream: &'a Upstream,
}

impl Bench<'_> {
    /// Everybody's turn at one workload, in an order that rotates from round to round.
    pub fn turn(
        &self,
        workload: &Workload,
        peers: &[Peer],
        round: u32,
        runs: &mut Runs,
    ) -> Result<()> {
        let mut fit: Vec<_> =
            peers.iter().filter(|peer| peer.verifies || !workload.verifies()).collect();
        if fit.is_empty() {
            return Ok(());
        }
        let first = round as usize % fit.len();
        fit.rotate_left(first);
        let (tokens, count) = self.tokens(workload.asks, round)?;
        for peer in fit {
            let load = self.load(workload, peer, tokens.clone(), self.options.seconds)?;
            let fresh = matches!(workload.asks, Asks::Writing(_, Tokens::Fresh));
            if round == 0 && self.options.warmup > 0 && !fresh {
                let warm = Load { seconds: self.options.warmup, ..load.clone() };
                warm.run(self.folder, &self.cores.load)?;
            }
            let mut turn = self.measure(&load, peer, round)?;
            if fresh {
                turn.reused = turn.requests as f64 / count as f64;
            }
            self.tell(workload, peer, &turn);
            let turns = runs.entry(workload.name).or_default();
            turns.entry(peer.name.clone()).or_default().push(turn);
        }
        Ok(())
    }

    fn tell(&self, workload: &Workload, peer: &Peer, turn: &Turn) {
        let mut odd = String::new();
        if turn.bad > 0 {
            odd += &format!(", {} BAD", turn.bad);
        }
        if turn.reused > 1.0 {
            odd += ", tokens were sent twice: raise --fresh";
        }
        eprintln!(
            "round {} of {}  {:<17} {:<12} {:>7.0} req/s  {:>7.1} us CPU  core {:>3.0}%{odd}",
            turn.round + 1,
            self.options.rounds,
            workload.name,
            peer.name,
            turn.per_second,
            turn.cpu,
            turn.core_use * 100.0
        );
    }

    /// The file of a workload's tokens, and how many there are.
    fn tokens(&self, asks: Asks, round: u32) -> Result<(Option<PathBuf>, usize)> {
        let Asks::Writing(algorithm, tokens) = asks else { return Ok((None, 0)) };
        let (name, first, count) = match tokens {
            Tokens::One => ("one", 0, 1),
            Tokens::Many => ("many", 0, self.options.tokens),
            Tokens::Fresh => {
                let a_second = match algorithm {
                    Algorithm::Hs256 => self.options.fresh,
                    Algorithm::Rs256 | Algorithm::Es256 => self.options.fresh / RS256_SHARE,
                };
                let count = a_second.max(1) * self.options.seconds as usize;
                // No number is used again in another round, nor elsewhere.
                ("fresh", 1_000_000 + round as usize * count, count)
            }
        };
        let file = format!("{}-{name}.tokens", algorithm.name());
        if name != "fresh" && self.folder.file(&file).exists() {
            return Ok((Some(self.folder.file(&file)), count));
        }
        if count > 1_000 {
            eprintln!("signing {count} tokens ({})", algorithm.name());
        }
        Ok((Some(self.keys.write(self.folder, &file, algorithm, first, count)?), count))
    }

    fn load(
        &self,
        workload: &Workload,
        peer: &Peer,
        tokens: Option<PathBuf>,
        seconds: u32,
    ) -> Result<Load> {
        let body = match workload.asks {
            Asks::Reading => None,
            Asks::Writing(..) | Asks::WithoutToken => Some(self.folder.write("body.json", BODY)?),
        };
        let door = match workload.front {
            Front::Clear => peer.clear,
            Front::Tls | Front::Http2 { .. } => peer.tls,
        };
        Ok(Load {
            front: workload.front,
            port: door.port,
            path: workload.path.to_owned(),
            body,
            tokens,
            connections: workload.connections,
            close: workload.close,
            seconds,
            refused: workload.asks == Asks::WithoutToken,
            ..Load::default()
        })
    }

    fn measure(&self, load: &Load, peer: &Peer, round: u32) -> Result<Turn> {
        let door = if load.port == peer.tls.port { peer.tls } else { peer.clear };
        let processes = door.processes();
        let core = self.cores.load.first().copied().unwrap_or(0);
        let (began, busy) = (Instant::now(), kernel::busy(core));
        let (cpu, upstream) = (kernel::cpu_time(&processes), self.upstream.cpu_time());
        let seen = load.run(self.folder, &self.cores.load)?;
        let cpu = kernel::cpu_time(&processes).saturating_sub(cpu).as_secs_f64();
        let upstream = self.upstream.cpu_time().saturating_sub(upstream).as_secs_f64();
        let (wall, busy) = (began.elapsed().as_secs_f64(), kernel::busy(core) - busy);
        let requests = seen.requests.max(1) as f64;
        Ok(Turn {
            round,
            requests: seen.requests,
            bad: seen.bad,
            cpu: cpu / requests * 1e6,
            per_second: seen.requests as f64 / seen.seconds,
            p50: seen.p50,
            p99: seen.p99,
            resident: kernel::resident(&processes),
            core_use: cpu / seen.seconds,
            upstream: upstream / requests * 1e6,
            load_core: busy / wall,
            reused: 0.0,
        })
    }
}
