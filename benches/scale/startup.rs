//! From the start of the program to its first answer.

use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::lab::http::ask;
use super::lab::peers::Prepared;
use super::lab::process::go_on;
use super::lab::{Result, Trouble, While as _, kernel};
use super::{Scale, Who, plain};

const TIMES: usize = 20;
const GLANCE: Duration = Duration::from_micros(200);
const PATIENCE: Duration = Duration::from_secs(10);

pub fn measure(scale: &Scale<'_>) -> Result<()> {
    println!(
        "\n## Start-up\n\nFrom the start of the process to the first answer of the upstream through it; {TIMES} times.\n\n\
         | proxy | median, ms | least | most |\n|---|---:|---:|---:|"
    );
    for who in scale.everybody() {
        let mut times = Vec::new();
        for _ in 0..TIMES {
            go_on()?;
            let prepared = match &who {
                Who::Other(name) => scale.ground.prepared(name)?,
                Who::Tollgate((name, program)) => {
                    scale.ground.tollgate_command(name, program, &plain())?
                }
            };
            times.push(once(&prepared, scale)?.as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "| {} | {:.1} | {:.1} | {:.1} |",
            who.name(),
            times[TIMES / 2],
            times[0],
            times[TIMES - 1]
        );
    }
    Ok(())
}

/// Ends with its value.
struct Started(Child);

impl Drop for Started {
    fn drop(&mut self) {
        // nginx's worker ends with its master only if that is asked to end, and not killed
        let below = kernel::tree(self.0.id());
        for process in below.into_iter().rev() {
            super::lab::process::end(process);
        }
        let _ = self.0.wait();
    }
}

fn once(prepared: &Prepared, scale: &Scale<'_>) -> Result<Duration> {
    let [program, arguments @ ..] = &prepared.words[..] else {
        return Err(Trouble::new("nothing to start"));
    };
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    kernel::pin(scale.ground.cores)?;
    let began = Instant::now();
    let child = command.spawn();
    kernel::pin(&scale.load)?;
    let _started = Started(child.during(program)?);
    loop {
        match ask(prepared.port, "GET", "/1k", "", "") {
            Ok(answer) if answer.status == 200 => return Ok(began.elapsed()),
            _ if began.elapsed() > PATIENCE => {
                return Err(Trouble::new(format!("{program} does not answer")));
            }
            _ => thread::sleep(GLANCE),
        }
    }
}
