//! `tollgate demo`: the sample API, the gateway in front of it, and the lines that show what it does.

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;

use super::{COULD_NOT_START, DemoArgs, WRONG, complain};
use crate::clock::Clock;
use crate::config::{Settings, Sources, load};
use crate::demo::SampleApi;
use crate::keys::generate;
use crate::observe::{LogSink, init_events};
use crate::server::{BindError, Running, StartError, start, until_signalled};

pub(super) fn main(args: &DemoArgs) -> ExitCode {
    let listen = args.listen.as_deref().unwrap_or(LISTEN);
    match demo(listen) {
        Ok(code) => code,
        Err(fault) => {
            match fault.downcast_ref() {
                Some(StartError::Bind(BindError::InUse { address })) => eprintln!(
                    "error: {address} is in use by another program; stop that, or choose another address, for example: \
                     tollgate demo --listen 127.0.0.1:8090"
                ),
                _ => eprintln!("error: the demo cannot start: {fault}"),
            }
            ExitCode::from(COULD_NOT_START)
        }
    }
}

fn demo(listen: &str) -> Result<ExitCode, Box<dyn Error>> {
    let api = SampleApi::start()?;
    let secret = random_secret()?;
    let sources = sources(listen, api.address(), &secret)?;
    let settings = match load(&sources) {
        Ok(loaded) => loaded.settings,
        Err(faults) => {
            complain(&faults);
            return Ok(ExitCode::from(WRONG));
        }
    };
    let (running, log) = serve(settings)?;
    for address in running.addresses() {
        print!("{}", lines(*address, api.address(), &secret));
    }
    until_signalled(running)?;
    drop(log);
    Ok(ExitCode::SUCCESS)
}
