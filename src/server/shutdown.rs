//! Signals: the first drains, the second ends.

use std::io;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Running, Supervisor, Totals};

/// The signals that end a gateway, listened for.
#[derive(Debug)]
pub struct Signals {
    runtime: Runtime,
    terminate: Signal,
    interrupt: Signal,
    /// Asks for a reload. Where there is nothing to reload, a closed terminal must not end what runs as a service.
    hang_up: Signal,
    supervisor: Supervisor,
}

impl Signals {
    /// Listens from now on. To be called before the gateway starts: whoever sees it listening may send one.
    ///
    /// # Errors
    /// When they cannot be listened for.
    pub fn listen() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (terminate, interrupt, hang_up) = {
            let _inside = runtime.enter();
            (
                signal(SignalKind::terminate())?,
                signal(SignalKind::interrupt())?,
                signal(SignalKind::hangup())?,
            )
        };
        let supervisor = Supervisor::of_process();
        Ok(Self { runtime, terminate, interrupt, hang_up, supervisor })
    }
}

/// Serves until SIGTERM or SIGINT, drains, and yields the numbers. SIGHUP has the configuration read again. A second signal, or the end of
/// `drain_timeout`, cuts what is left.
pub fn until_signalled(running: Running, signals: Signals) -> Totals {
    let Signals { runtime, mut terminate, mut interrupt, mut hang_up, supervisor } = signals;
    supervisor.ready();
    runtime.block_on(async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => if !running.ask_reload() {
                    tracing::info!("nothing to reload: this gateway has no configuration of its own");
                }
            }
        }
        let limit = running.drain_timeout();
        tracing::info!(open_connections = running.open_connections(), drain_timeout = ?limit, "draining");
        supervisor.stopping();
        running.drain();
        let drained = async {
            while !running.has_ended() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        tokio::select! {
            () = drained => {}
            _ = terminate.recv() => tracing::warn!("second signal: ending now"),
            _ = interrupt.recv() => tracing::warn!("second signal: ending now"),
            () = tokio::time::sleep(limit) => tracing::warn!(open_connections = running.open_connections(), "drain_timeout is over: ending now"),
        }
        running.end();
        running.join()
    })
}

/// How often the end of the workers is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
