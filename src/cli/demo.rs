//! `tollgate demo`

use std::process::ExitCode;

use super::{COULD_NOT_START, DemoArgs};

pub(super) fn main(_args: &DemoArgs) -> ExitCode {
    eprintln!("tollgate demo: not here yet");
    ExitCode::from(COULD_NOT_START)
}
