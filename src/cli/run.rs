//! `tollgate run`: reads the configuration, starts the gateway, serves until a signal.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::{COULD_NOT_START, RunArgs, settings};
use crate::clock::Clock;
use crate::config::Settings;
use crate::observe::{LogSink, init_events};
use crate::server::{self, Running, Signals};

pub(super) fn main(args: &RunArgs) -> ExitCode {
    match settings(&args.config, &args.listen, args.upstream.as_deref()) {
        Ok((_, loaded)) => serve(loaded.settings, io::stdout(), |_| {}),
        Err(code) => code,
    }
}

/// Serves until a signal, and says so in the log, which goes to `out`. `ready` is called once the gateway listens.
pub(super) fn serve(
    settings: Settings,
    out: impl Write + Send + 'static,
    ready: impl FnOnce(&Running),
) -> ExitCode {
    let log = match LogSink::start(out) {
        Ok(log) => log,
        Err(fault) => return failed(&format!("no thread for the log can be started: {fault}")),
    };
    if let Err(fault) = init_events(log.clone(), &settings.log.level, settings.log.json) {
        return failed(&format!("log.level is not a filter: {fault}"));
    }
    note_panics();
    // before anybody can see that it listens
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(fault) => return failed(&format!("signals cannot be listened for: {fault}")),
    };
    let upstream = told(&settings);
    let running = match server::start(settings, Clock::system(), Some(log.clone())) {
        Ok(running) => running,
        Err(fault) => return failed(&fault.to_string()),
    };
    for address in running.addresses() {
        tracing::info!(%address, upstream, "listening");
    }
    if let Some(address) = running.admin_address() {
        tracing::info!(%address, "health listening");
    }
    ready(&running);
    let totals = server::until_signalled(running, signals);
    tracing::info!(
        connections = totals.connections,
        requests = totals.requests,
        refused = totals.refused,
        reported = totals.reported,
        upstream_failures = totals.upstream_failures,
        aborted = totals.aborted,
        panics = totals.panics,
        "stopped"
    );
    log.flush(LAST_WORDS);
    ExitCode::SUCCESS
}

/// Where requests go, for the log.
fn told(settings: &Settings) -> String {
    let origins = settings.every_upstream().flat_map(|upstream| &upstream.origins);
    origins.map(|origin| origin.authority.as_str()).collect::<Vec<_>>().join(", ")
}

fn failed(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(COULD_NOT_START)
}

/// A panic is told like everything else, in the log; the request that met it is answered 500.
fn note_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or_default();
        tracing::error!(place, message, "panic: one request ended; please report this");
    }));
}

/// How long the end waits for the last lines of the log.
const LAST_WORDS: Duration = Duration::from_secs(2);
