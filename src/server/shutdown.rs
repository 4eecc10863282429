//! Signals: the first drains, the second ends.

use std::io;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Running, Totals};

/// Serves until SIGTERM or SIGINT, drains, and yields the numbers. A second signal, or the end of
/// `drain_timeout`, cuts what is left.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn until_signalled(running: Running) -> io::Result<Totals> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        // a closed terminal must not kill what runs as a service; a reload will listen here
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => {}
            }
        }
        let limit = running.drain_timeout();
        tracing::info!(open_connections = running.open_connections(), drain_timeout = ?limit, "draining");
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
        Ok(running.join())
    })
}

/// How often the end of the workers is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(20);
