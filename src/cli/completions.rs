//! `tollgate completions`: a script for a shell on standard output.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Command;
use clap_complete::{Shell, generate};

use super::WRONG;

pub(super) fn main(shell: Shell, command: &mut Command) -> ExitCode {
    let mut script = Vec::new();
    generate(shell, command, "tollgate", &mut script);
    match std::io::stdout().write_all(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(WRONG), // whoever read it went away
    }
}
