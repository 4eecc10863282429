//! The same load over more and more kept connections.

use super::lab::load::Load;
use super::lab::{Result, kernel};
use super::{MIB, Scale, open_files};

const STEPS: [usize; 3] = [100, 1_000, 10_000];

pub fn measure(scale: &Scale<'_>) -> Result<()> {
    let most = scale.options.connections;
    // In a proxy each has one to the client and perhaps one to the upstream.
    open_files(2 * most as u64 + 1_000)?;
    println!(
        "\n## Many connections\n\nGET of 1 KiB in a closed loop; the proxy has one core.\n\n\
         | connections | proxy | req/s | CPU, µs | p50, ms | p99, ms | RSS, MiB | bad |\n|---:|---|---:|---:|---:|---:|---:|---:|"
    );
    for connections in STEPS.into_iter().filter(|step| *step <= most) {
        for who in scale.everybody() {
            // A new one each time: memory is that of so many connections, not of what was before.
            let peer = scale.start(&who)?;
            let seconds = scale.options.seconds;
            let load = Load { port: peer.clear.port, connections, seconds, ..Load::default() };
            load.run(scale.folder, &scale.load)?;
            let processes = peer.clear.processes();
            let before = kernel::cpu_time(&processes);
            let seen = load.run(scale.folder, &scale.load)?;
            let cpu = kernel::cpu_time(&processes).saturating_sub(before).as_secs_f64();
            println!(
                "| {connections} | {} | {:.0} | {:.1} | {:.2} | {:.2} | {:.1} | {} |",
                who.name(),
                seen.requests as f64 / seen.seconds,
                cpu / seen.requests.max(1) as f64 * 1e6,
                seen.p50 / 1e3,
                seen.p99 / 1e3,
                kernel::resident(&processes) as f64 / MIB,
                seen.bad
            );
        }
    }
    Ok(())
}
