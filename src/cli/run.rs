//! `tollgate run`

use std::process::ExitCode;

use super::{COULD_NOT_START, RunArgs, settings};

pub(super) fn main(args: &RunArgs) -> ExitCode {
    match settings(&args.config, &args.listen, args.upstream.as_deref()) {
        Ok(_loaded) => {
            eprintln!("tollgate run: not here yet");
            ExitCode::from(COULD_NOT_START)
        }
        Err(code) => code,
    }
}
