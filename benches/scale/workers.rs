//! One worker beside two.

use super::lab::load::Load;
use super::lab::peers::Ground;
use super::lab::{Result, kernel};
use super::{Scale, plain};

pub fn measure(scale: &Scale<'_>) -> Result<()> {
    let cores = &scale.cores;
    // With cores to spare the load has its own.
    let (proxy, load) = if cores.len() >= 4 { cores.split_at(2) } else { (&cores[..], &cores[..]) };
    println!(
        "\n## Workers\n\nGET of 1 KiB on 64 connections; proxy on cores {proxy:?}, load and upstream on {load:?}.{}\n\n\
         | program | workers | req/s | CPU, µs | p99, ms |\n|---|---:|---:|---:|---:|",
        if cores.len() < 4 {
            " With less than four cores the load takes what the second worker could use."
        } else {
            ""
        }
    );
    for (name, program) in &scale.programs {
        for workers in [1, 2] {
            let ground = Ground { cores: proxy, ..scale.ground };
            let setting = super::Setting { workers, ..plain() };
            let own = format!("{name}-{workers}");
            let (door, _server) = ground.tollgate_process(&own, program, &setting)?;
            let seconds = scale.options.seconds;
            let load_of = Load { port: door.port, threads: 2, seconds, ..Load::default() };
            load_of.run(scale.folder, load)?;
            let before = kernel::cpu_time(&door.processes());
            let seen = load_of.run(scale.folder, load)?;
            let cpu = kernel::cpu_time(&door.processes()).saturating_sub(before).as_secs_f64();
            println!(
                "| {name} | {workers} | {:.0} | {:.1} | {:.2} |",
                seen.requests as f64 / seen.seconds,
                cpu / seen.requests.max(1) as f64 * 1e6,
                seen.p99 / 1e3
            );
        }
    }
    Ok(())
}
