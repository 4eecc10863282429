//! The thread that serves the admin listener, which may move and go while the gateway runs.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::{Phase, Shared, StartError};
use crate::admin;

/// The admin listener at work. It ends when this is dropped, or with the gateway.
#[derive(Debug)]
pub(super) struct AdminThread {
    /// As it is configured.
    pub(super) listen: SocketAddr,
    /// The port filled in.
    pub(super) address: Option<SocketAddr>,
    thread: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

impl AdminThread {
    pub(super) fn start(
        listen: SocketAddr,
        listener: TcpListener,
        shared: &Shared,
    ) -> Result<Self, StartError> {
        let address = listener.local_addr().ok();
        let (stop, stopped) = oneshot::channel();
        let mut phase = shared.phase.clone();
        let over = async move {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Ending) => {} // or nobody is left to tell of
                _ = stopped => {} // another one has taken its place
            }
        };
        let thread = admin::start(listener, Arc::clone(&shared.facts), over);
        Ok(Self { listen, address, thread: thread.map_err(StartError::Worker)?, _stop: stop })
    }

    /// Waits for its end, which comes with the gateway's.
    pub(super) fn join(self) {
        let _ = self.thread.join(); // a thread that panicked has said so
    }
}
