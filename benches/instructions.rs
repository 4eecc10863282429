//! How many instructions each step of a request takes, counted by valgrind: `cargo bench --bench instructions`, or with a
//! part of a name. It repeats to a few in a thousand on a busy machine, where nanoseconds do not. Waiting, caches and the
//! kernel's part are not in it.

mod steps;

use std::fs;
use std::process::{Command, ExitCode};

/// How often a step is done while counting, and before that.
const TURNS: u32 = 200;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|one| one != "--bench").collect();
    if let [order, name] = &arguments[..]
        && order == "--step"
    {
        return step(name);
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        eprintln!("valgrind is missing; on Debian: apt-get install valgrind");
        return ExitCode::FAILURE;
    }
    println!("| step | instructions |\n|---|---:|");
    let wanted = |name: &str| {
        arguments.is_empty() || arguments.iter().any(|part| name.contains(part.as_str()))
    };
    for (name, _) in steps::ALL.iter().filter(|step| wanted(step.0)) {
        match count(name) {
            Ok(count) => println!("| {name} | {count} |"),
            Err(error) => {
                eprintln!("{name}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}

/// Does one step, in the process that is looked at.
fn step(name: &str) -> ExitCode {
    let Some((_, ready)) = steps::ALL.iter().find(|step| step.0 == name) else {
        return ExitCode::FAILURE;
    };
    let mut run = ready();
    for _ in 0..TURNS {
        run(); // caches fill, tables grow
    }
    measured_turns(&mut run);
    ExitCode::SUCCESS
}

/// Valgrind counts while this runs, and finds it by its name.
#[inline(never)]
fn measured_turns(run: &mut steps::Run) {
    for _ in 0..TURNS {
        run();
    }
}

fn count(name: &str) -> Result<u64, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let out = std::env::temp_dir().join(format!("tollgate-instructions-{}", std::process::id()));
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=*measured_turns*"]);
    valgrind.arg(format!("--callgrind-out-file={}", out.display()));
    valgrind.arg(own).args(["--step", name]);
    let done = valgrind.output().map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    let counted = fs::read_to_string(&out);
    let _ = fs::remove_file(&out);
    if !done.status.success() {
        return Err(said);
    }
    let counted = counted.map_err(|error| error.to_string())?;
    let total = counted.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: u64 = total.and_then(|total| total.trim().parse().ok()).ok_or(said)?;
    match total / u64::from(TURNS) {
        0 => Err("valgrind did not find measured_turns".to_owned()),
        count => Ok(count),
    }
}
