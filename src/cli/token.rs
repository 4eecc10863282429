//! `tollgate token`

use std::process::ExitCode;

use super::{COULD_NOT_START, TokenArgs};

pub(super) fn main(_args: &TokenArgs) -> ExitCode {
    eprintln!("tollgate token: not here yet");
    ExitCode::from(COULD_NOT_START)
}
