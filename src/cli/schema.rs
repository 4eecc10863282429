//! `tollgate schema`: the JSON Schema of the configuration on standard output.

use std::io::Write as _;
use std::process::ExitCode;

use super::WRONG;
use crate::config::schema;

pub(super) fn main() -> ExitCode {
    match writeln!(std::io::stdout(), "{:#}", schema()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::from(WRONG), // whoever read it went away
    }
}
