//! How a gateway comes to its addresses: it binds them itself, or they were handed to it by whoever started it (systemd's
//! socket activation), or another gateway still serves there and is to be relieved.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::time::{Duration, Instant};

use listenfd::ListenFd;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use socket2::SockRef;

use super::listener::{Owner, StdListener};
use crate::clock::Clock;
use crate::config::{Listen, StoreUrl};
use crate::store::{self, OpenError, Store};

/// What is there before a gateway listens.
#[derive(Debug, Default)]
pub struct Arrival {
    pub(super) handed: Vec<Handed>,
    relieved: Option<Relieved>,
}

/// A listening socket that was handed over. It stays with whoever handed it: closing ours resets nobody.
#[derive(Debug)]
pub(super) enum Handed {
    Tcp(StdTcpListener, SocketAddr),
    Unix(StdUnixListener, Listen),
}

/// The process whose place is taken.
#[derive(Debug)]
struct Relieved {
    process: Pid,
    told: bool,
}

/// Why a gateway cannot arrive in this way.
#[derive(Debug, thiserror::Error)]
pub enum ArrivalError {
    /// What was handed over cannot be used.
    #[error("socket {number} of those in $LISTEN_FDS cannot be used: {source}")]
    Socket {
        /// Its number, from 0.
        number: usize,
        /// What the system said.
        source: io::Error,
    },
    /// There is no such process.
    #[error("--take-over {process}: there is no such process; name the one that serves now")]
    Gone {
        /// Its number.
        process: u32,
    },
    /// It cannot be told to end.
    #[error("--take-over {process}: it cannot be signalled ({source}); run as the same user")]
    Foreign {
        /// Its number.
        process: u32,
        /// What the system said.
        source: io::Error,
    },
}

impl Arrival {
    /// With the sockets that `$LISTEN_FDS` tells of, if that is meant for this process (sd_listen_fds(3)).
    ///
    /// # Errors
    /// [`ArrivalError::Socket`] for one that is no listening stream socket.
    pub fn of_process() -> Result<Self, ArrivalError> {
        let mut given = ListenFd::from_env();
        let mut handed = Vec::new();
        for number in 0..given.len() {
            let failed = |source| ArrivalError::Socket { number, source };
            // as one kind, else as the other
            if let Ok(Some(socket)) = given.take_tcp_listener(number) {
                handed.push(Handed::tcp(socket).map_err(failed)?);
            } else if let Some(socket) = given.take_unix_listener(number).map_err(failed)? {
                handed.push(Handed::unix(socket).map_err(failed)?);
            }
        }
        Ok(Self { handed, relieved: None })
    }

    /// To take the place of this process, which listens on the same addresses and is told to end once requests are served
    /// here.
    ///
    /// # Errors
    /// When there is no such process, or none that we may signal.
    pub fn relieving(mut self, process: u32) -> Result<Self, ArrivalError> {
        let gone = ArrivalError::Gone { process };
        let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) else {
            return Err(gone);
        };
        match test_kill_process(pid) {
            Ok(()) => {}
            Err(Errno::SRCH) => return Err(gone),
            Err(source) => return Err(ArrivalError::Foreign { process, source: source.into() }),
        }
        self.relieved = Some(Relieved { process: pid, told: false });
        Ok(self)
    }

    /// Whether another gateway may be there.
    pub(super) const fn is_beside(&self) -> bool {
        self.relieved.is_some()
    }

    /// Opens the store. One that only one process can have is waited for, after the other gateway was told to end;
    /// connections that come meanwhile wait.
    pub(super) fn open(
        &mut self,
        url: &StoreUrl,
        patience: Duration,
        clock: &Clock,
    ) -> Result<std::sync::Arc<dyn Store>, OpenError> {
        let until: Instant = clock.monotonic() + patience + LAST_WORDS;
        loop {
            match store::open(url, clock) {
                Err(OpenError::Locked { .. }) if self.is_beside() && clock.monotonic() < until => {
                    self.relieve();
                    std::thread::sleep(LOOK_EVERY);
                }
                outcome => return outcome,
            }
        }
    }

    /// Tells the other gateway to end, once.
    pub(super) fn relieve(&mut self) {
        let Some(relieved) = self.relieved.as_mut().filter(|relieved| !relieved.told) else {
            return;
        };
        relieved.told = true;
        let process = relieved.process.as_raw_nonzero().get();
        match kill_process(relieved.process, Signal::TERM) {
            Ok(()) => tracing::info!(process, "the gateway before this one is told to end"),
            Err(fault) => {
                tracing::warn!(process, error = %fault, "the gateway before this one cannot be told to end");
            }
        }
    }
}

impl Handed {
    fn tcp(socket: StdTcpListener) -> io::Result<Self> {
        must_listen(&SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_tcp_nodelay(true)?; // what is accepted inherits it: answers wait for nothing
        let address = socket.local_addr()?;
        Ok(Self::Tcp(socket, address))
    }

    fn unix(socket: StdUnixListener) -> io::Result<Self> {
        must_listen(&SockRef::from(&socket))?;
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or(io::ErrorKind::AddrNotAvailable)?.to_owned();
        Ok(Self::Unix(socket, Listen::Unix(path)))
    }

    /// Whether it is what `listen` asks for. Systems write every address of this machine as IPv4 or as IPv6.
    pub(super) fn is(&self, listen: &Listen) -> bool {
        match (self, listen) {
            (Self::Tcp(_, ours), Listen::Tcp(wanted)) => {
                let every = ours.ip().is_unspecified() && wanted.ip().is_unspecified();
                ours.port() == wanted.port() && (every || ours.ip() == wanted.ip())
            }
            (Self::Unix(_, ours), wanted) => ours == wanted,
            (Self::Tcp(..), Listen::Unix(_)) => false,
        }
    }

    /// The TCP address.
    pub(super) const fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    /// The same socket once more.
    pub(super) fn try_clone(&self) -> io::Result<StdListener> {
        Ok(match self {
            Self::Tcp(socket, _) => StdListener::Tcp(socket.try_clone()?, Owner::Another),
            Self::Unix(socket, _) => StdListener::Unix(socket.try_clone()?, Owner::Another),
        })
    }

    /// As it is written in a configuration.
    pub(super) fn shown(&self) -> Listen {
        match self {
            Self::Tcp(_, address) => Listen::Tcp(*address),
            Self::Unix(_, listen) => listen.clone(),
        }
    }
}

fn must_listen(socket: &SockRef<'_>) -> io::Result<()> {
    match socket.is_listener()? {
        true => Ok(()),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not listened on")),
    }
}

/// How often it is looked whether the other gateway has ended.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What the other gateway may take beyond its drain_timeout.
const LAST_WORDS: Duration = Duration::from_secs(10);
