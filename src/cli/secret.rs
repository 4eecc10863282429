//! `tollgate secret`

use std::process::ExitCode;

use super::{COULD_NOT_START, SecretArgs};

pub(super) fn main(_args: &SecretArgs) -> ExitCode {
    eprintln!("tollgate secret: not here yet");
    ExitCode::from(COULD_NOT_START)
}
