//! `tollgate key`

use std::process::ExitCode;

use super::{COULD_NOT_START, KeyArgs};

pub(super) fn main(_args: &KeyArgs) -> ExitCode {
    eprintln!("tollgate key: not here yet");
    ExitCode::from(COULD_NOT_START)
}
