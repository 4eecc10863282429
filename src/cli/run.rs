//! `tollgate run`: reads the configuration, starts the gateway, serves until a signal.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::{COULD_NOT_START, RunArgs, loaded};
use crate::clock::Clock;
use crate::config::{Fault, SeenFile, Settings, Sources};
use crate::observe::{LogSink, init_events};
use crate::server::{self, Arrival, Following, Running, Signals, Supervisor};

pub(super) fn main(args: &RunArgs) -> ExitCode {
    // before there is another thread: it changes the environment
    let arrival = Arrival::of_process().and_then(|arrival| match args.take_over {
        Some(process) => arrival.relieving(process),
        None => Ok(arrival),
    });
    let arrival = match arrival {
        Ok(arrival) => arrival,
        Err(fault) => return failed(&fault.to_string()),
    };
    match loaded(&args.config, &args.listen, args.upstream.as_deref()) {
        Ok((sources, loaded)) => serve(
            loaded.settings,
            arrival,
            Some((sources, loaded.files, loaded.warnings)),
            io::stdout(),
            |_| {},
        ),
        Err(code) => code,
    }
}

/// Serves until a signal, and says so in the log, which goes to `out`. Where the settings were read from is `followed`.
/// `ready` is called once the gateway listens.
pub(super) fn serve(
    settings: Settings,
    arrival: Arrival,
    followed: Option<(Sources, Vec<SeenFile>, Vec<Fault>)>,
    out: impl Write + Send + 'static,
    ready: impl FnOnce(&Running),
) -> ExitCode {
    let log = match LogSink::start(out) {
        Ok(log) => log,
        Err(fault) => return failed(&format!("no thread for the log can be started: {fault}")),
    };
    let events = match init_events(log.clone(), &settings.log) {
        Ok(events) => events,
        Err(fault) => return failed(&format!("log.level is not a filter: {fault}")),
    };
    note_panics();
    // before anybody can see that it listens
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(fault) => return failed(&format!("signals cannot be listened for: {fault}")),
    };
    let upstream = told(&settings);
    let mut running = match server::arrive(settings, Clock::system(), Some(log.clone()), arrival) {
        Ok(running) => running,
        Err(fault) => return failed(&fault.to_string()),
    };
    for address in running.addresses() {
        tracing::info!(%address, upstream, "listening");
    }
    if let Some(address) = running.admin_address() {
        tracing::info!(%address, "health listening");
    }
    if let Some((sources, files, warnings)) = followed {
        let supervisor = Supervisor::of_process();
        let following = Following { sources, files, warnings, events: Some(events), supervisor };
        if let Err(fault) = running.follow(following) {
            return failed(&format!("no thread for reloads can be started: {fault}"));
        }
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
