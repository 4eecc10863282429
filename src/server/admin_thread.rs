//! The thread that serves the admin listener, which may move and go while the gateway runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use super::listener::{self, BindError, SocketFile};
use super::{Phase, Shared, StartError};
use crate::admin::{self, Socket};
use crate::config::Listen;

/// The admin listener at work. It ends when this is dropped, or with the gateway.
#[derive(Debug)]
pub(super) struct AdminThread {
    /// The first over TCP, its port filled in.
    pub(super) address: Option<SocketAddr>,
    /// Where it listens; a successor that listens there too takes the socket over.
    doors: Vec<Bound>,
    thread: JoinHandle<()>,
    _stop: oneshot::Sender<()>,
}

/// One address, bound.
#[derive(Debug)]
pub(super) struct Bound {
    /// As it is configured.
    listen: Listen,
    socket: Socket,
    /// It goes when nobody answers there any more.
    file: Option<Arc<SocketFile>>,
}

impl Bound {
    /// Binds every one of `listen`; what `old` has is shared with it, so that nobody who comes meanwhile is lost. `beside`:
    /// another gateway may have them too.
    pub(super) fn bind(
        listen: &[Listen],
        old: Option<&AdminThread>,
        beside: bool,
    ) -> Result<Vec<Self>, BindError> {
        let held = old.map_or(&[][..], |old| &old.doors);
        let bind = |one: &Listen| match held.iter().find(|held| held.listen == *one) {
            Some(held) => held.share(),
            None => {
                let (socket, file) = listener::bind_admin(one, beside)?;
                Ok(Self { listen: one.clone(), socket, file: file.map(Arc::new) })
            }
        };
        listen.iter().map(bind).collect()
    }

    /// The same socket once more.
    fn share(&self) -> Result<Self, BindError> {
        let socket = self.socket.try_clone();
        let socket = socket.map_err(|source| listener::named(&self.listen, source))?;
        Ok(Self { listen: self.listen.clone(), socket, file: self.file.clone() })
    }
}

impl AdminThread {
    /// Whether it listens just there.
    pub(super) fn listens(&self, listen: &[Listen]) -> bool {
        self.doors.iter().map(|door| &door.listen).eq(listen)
    }

    pub(super) fn start(doors: Vec<Bound>, shared: &Shared) -> Result<Self, StartError> {
        let address = doors.iter().find_map(|door| door.socket.address());
        let sockets = doors.iter().map(|door| door.socket.try_clone()).collect::<Result<_, _>>();
        let sockets = sockets.map_err(StartError::Worker)?;
        let (stop, stopped) = oneshot::channel();
        let mut phase = shared.phase.clone();
        let over = async move {
            tokio::select! {
                _ = phase.wait_for(|phase| *phase == Phase::Ending) => {} // or nobody is left to tell of
                _ = stopped => {} // another one has taken its place
            }
        };
        let thread = admin::start(sockets, Arc::clone(&shared.facts), over);
        let thread = thread.map_err(StartError::Worker)?;
        Ok(Self { address, doors, thread, _stop: stop })
    }

    /// Waits for its end, which comes with the gateway's.
    pub(super) fn join(self) {
        let _ = self.thread.join(); // a thread that panicked has said so
    }
}
