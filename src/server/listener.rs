//! Listening sockets: one for each worker on the shared address, so that the kernel spreads connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockFilter, SockRef, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::arrival::Handed;
use crate::config::Listen;
use crate::net::Stream;

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error(
        "{address} is in use by another program; stop that, or choose another address with --listen or server.listen"
    )]
    InUse {
        /// What was asked for.
        address: String,
    },
    /// Ports below 1024 and foreign addresses.
    #[error("cannot listen on {address}: {source}")]
    Other {
        /// What was asked for.
        address: String,
        /// What the system said.
        source: io::Error,
    },
}

/// Where a gateway listens: what stands, and how it is changed.
#[derive(Debug, Default)]
pub(super) struct Listening {
    standing: Vec<Standing>,
    /// What the next one is called.
    next: u64,
    /// Nothing is listened on any more.
    over: bool,
    /// Sockets that were there before us.
    handed: Vec<Handed>,
}

/// An address that every worker listens on.
#[derive(Debug)]
struct Standing {
    number: u64,
    /// As it is configured.
    listen: Listen,
    /// The port filled in; none for a unix socket.
    address: Option<SocketAddr>,
    file: Option<SocketFile>,
}

/// A change that cannot fail any more: what it needs is bound.
#[derive(Debug)]
pub(super) struct Change {
    kept: Vec<u64>,
    added: Vec<Added>,
}

#[derive(Debug)]
struct Added {
    listen: Listen,
    address: Option<SocketAddr>,
    file: Option<SocketFile>,
    /// One for each worker.
    sockets: Vec<StdListener>,
}

/// What a worker has to do.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// Sockets to listen on, by number.
    pub(super) opened: Vec<(u64, StdListener)>,
    /// Numbers of those to close.
    pub(super) closed: Vec<u64>,
}

/// The file that a unix socket has in the file system. It goes when this does.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// A successor's file may get the number that ours had, so it is removed once.
    removed: AtomicBool,
}

/// A listening socket of one worker, not yet in its runtime.
#[derive(Debug)]
pub(super) enum StdListener {
    Tcp(StdTcpListener, Owner),
    Unix(StdUnixListener, Owner),
}

/// Who keeps a listening socket when we close ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Owner {
    /// Nobody: what waits in it is lost then.
    Us,
    /// Whoever handed it over: what waits in it waits for the next one to come.
    Another,
}

impl Listening {
    /// Nowhere yet; what was `handed` over is used where it fits.
    pub(super) fn new(handed: Vec<Handed>) -> Self {
        Self { handed, ..Self::default() }
    }

    /// What was handed over and is not in use.
    pub(super) fn unused(&self) -> impl Iterator<Item = String> {
        let is_used =
            |handed: &Handed| self.standing.iter().any(|standing| handed.is(&standing.listen));
        self.handed.iter().filter(move |handed| !is_used(handed)).map(|it| shown(&it.shown()))
    }

    /// Binds what of `wanted` is not there yet, for so many workers. Where another gateway may be, that is no fault.
    pub(super) fn plan(
        &self,
        wanted: &[Listen],
        workers: usize,
        beside: bool,
    ) -> Result<Change, BindError> {
        let mut change = Change { kept: Vec::new(), added: Vec::new() };
        for listen in wanted {
            let stands = |standing: &&Standing| {
                standing.listen == *listen && !change.kept.contains(&standing.number)
            };
            match self.standing.iter().find(stands) {
                Some(standing) => change.kept.push(standing.number),
                None => change.added.push(self.bind(listen, workers, beside)?),
            }
        }
        Ok(change)
    }

    fn bind(&self, listen: &Listen, workers: usize, beside: bool) -> Result<Added, BindError> {
        let named = |source| named(shown(listen), source);
        let mut added =
            Added { listen: listen.clone(), address: None, file: None, sockets: Vec::new() };
        if let Some(handed) = self.handed.iter().find(|handed| handed.is(listen)) {
            added.address = handed.address();
            for _ in 0..workers {
                added.sockets.push(handed.try_clone().map_err(named)?);
            }
            return Ok(added);
        }
        match listen {
            Listen::Tcp(address) => {
                // one of ours may be there with another address of the same port
                let is_ours = |standing: &Standing| {
                    standing.address.is_some_and(|ours| ours.port() == address.port())
                };
                if !beside && !self.standing.iter().any(is_ours) {
                    // without SO_REUSEPORT first: another program there is a fault, not a partner
                    drop(tcp(*address, false).map_err(named)?);
                }
                let first = tcp(*address, true).map_err(named)?;
                let address = first.local_addr().map_err(named)?;
                added.address = Some(address);
                added.sockets.push(StdListener::Tcp(first, Owner::Us));
                while added.sockets.len() < workers {
                    let next = tcp(address, true).map_err(named)?;
                    added.sockets.push(StdListener::Tcp(next, Owner::Us));
                }
            }
            Listen::Unix(path) => {
                let listener =
                    if beside { unix_beside(path) } else { unix(path) }.map_err(named)?;
                added.file = Some(SocketFile::of(path).map_err(named)?);
                for _ in 0..workers {
                    let one = listener.try_clone().map_err(named)?;
                    added.sockets.push(StdListener::Unix(one, Owner::Us));
                }
            }
        }
        Ok(added)
    }

    /// What each of so many workers has to do for `change`; none when everything is over.
    pub(super) fn carry_out(&mut self, change: Change, workers: usize) -> Option<Vec<Moves>> {
        if self.over {
            return None;
        }
        let mut moves: Vec<Moves> = (0..workers).map(|_| Moves::default()).collect();
        let Change { kept, added } = change;
        let (kept, gone) = std::mem::take(&mut self.standing)
            .into_iter()
            .partition(|standing| kept.contains(&standing.number));
        self.standing = kept;
        for one in &mut moves {
            one.closed = gone.iter().map(|standing: &Standing| standing.number).collect();
        }
        drop(gone); // the files first: whoever finds one finds somebody who answers
        for Added { listen, address, file, sockets } in added {
            let number = self.next;
            self.next += 1;
            self.standing.push(Standing { number, listen, address, file });
            for (one, socket) in moves.iter_mut().zip(sockets) {
                one.opened.push((number, socket));
            }
        }
        Some(moves)
    }

    /// The TCP addresses, ports filled in.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.standing.iter().filter_map(|standing| standing.address).collect()
    }

    /// Nobody shall come any more.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.standing
            .iter()
            .filter_map(|standing| standing.file.as_ref())
            .for_each(SocketFile::remove);
    }
}

/// An address as it is written in the configuration.
fn shown(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Binds the admin listener, which one thread serves; `beside` another gateway's, where there may be one.
pub(super) fn bind_admin(address: SocketAddr, beside: bool) -> Result<StdTcpListener, BindError> {
    let named = |source| named(address.to_string(), source);
    if !beside {
        drop(tcp(address, false).map_err(named)?);
    }
    tcp(address, true).map_err(named)
}

fn named(address: String, source: io::Error) -> BindError {
    match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { address },
        _ => BindError::Other { address, source },
    }
}

fn tcp(address: SocketAddr, shared: bool) -> io::Result<StdTcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(shared)?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?; // what is accepted inherits it: answers wait for nothing
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes the place of a socket that nobody listens on any more; one that is alive is another program's.
fn unix(path: &Path) -> io::Result<StdUnixListener> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket {
        if StdUnixStream::connect(path).is_ok() {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        std::fs::remove_file(path)?;
    }
    let listener = StdUnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Takes the place of a socket that somebody listens on: whoever comes from now on comes to us.
fn unix_beside(path: &Path) -> io::Result<StdUnixListener> {
    let mut new = path.as_os_str().to_owned();
    new.push(format!(".{}", std::process::id()));
    let new = PathBuf::from(new);
    let listener = unix(&new)?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

/// A listening socket in its worker's runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener, Owner),
    Unix(UnixListener, Owner),
}

impl Listener {
    /// Who keeps it when we close ours.
    pub(super) const fn owner(&self) -> Owner {
        match self {
            Self::Tcp(_, owner) | Self::Unix(_, owner) => *owner,
        }
    }

    /// Takes no further connection on: a client that asks for one asks again a little later, and finds who listens
    /// then. What is being agreed on by now is not disturbed. Without effect on a unix socket.
    pub(super) fn turn_away(&self) -> io::Result<()> {
        match self {
            Self::Tcp(listener, Owner::Us) => {
                SockRef::from(listener).attach_filter(&NO_NEW_CONNECTION)
            }
            // whoever comes after us would never get one
            Self::Tcp(_, Owner::Another) | Self::Unix(..) => Ok(()),
        }
    }

    pub(super) fn new(socket: StdListener) -> io::Result<Self> {
        Ok(match socket {
            StdListener::Tcp(socket, owner) => Self::Tcp(TcpListener::from_std(socket)?, owner),
            StdListener::Unix(socket, owner) => Self::Unix(UnixListener::from_std(socket)?, owner),
        })
    }

    /// The next connection, and its address unless it is a unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener, _) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(address)))
            }
            Self::Unix(listener, _) => Ok((Stream::Unix(listener.accept().await?.0), None)),
        }
    }
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        let file = std::fs::symlink_metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: file.dev(),
            inode: file.ino(),
            removed: AtomicBool::new(false),
        })
    }

    /// Removes the file, unless another one has taken its place.
    pub(super) fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        let is_ours = std::fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == (self.device, self.inode));
        if is_ours && let Err(fault) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), error = %fault, "cannot remove the unix socket");
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A packet filter (BPF): drops segments that begin a connection, SYN without ACK, and nothing else. A dropped SYN is sent
/// again after a second (RFC 6298 §2); the reset that a closing socket would answer with ends the attempt.
const NO_NEW_CONNECTION: [SockFilter; 5] = [
    SockFilter::new(LOAD_BYTE, 0, 0, TCP_FLAGS),
    SockFilter::new(AND, 0, 0, SYN | ACK),
    SockFilter::new(JUMP_UNLESS_EQUAL, 0, 1, SYN),
    SockFilter::new(RETURN, 0, 0, 0),
    SockFilter::new(RETURN, 0, 0, u32::MAX),
];
/// BPF_LD | BPF_B | BPF_ABS
const LOAD_BYTE: u16 = 0x30;
/// BPF_ALU | BPF_AND | BPF_K
const AND: u16 = 0x54;
/// BPF_JMP | BPF_JEQ | BPF_K, its second branch taken
const JUMP_UNLESS_EQUAL: u16 = 0x15;
/// BPF_RET | BPF_K
const RETURN: u16 = 0x06;
/// Where a TCP header has its flags (RFC 9293 §3.1).
const TCP_FLAGS: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;
/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpStream;
    use std::time::Duration;

    use super::{Listener, Owner, StdListener, tcp};

    #[tokio::test]
    async fn whoever_asks_a_listener_that_turns_away_is_not_refused_and_whoever_was_there_is_let_in()
     {
        let socket = tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = socket.local_addr().unwrap();
        let listener = Listener::new(StdListener::Tcp(socket, Owner::Us)).unwrap();
        let early = TcpStream::connect(address).unwrap();
        listener.turn_away().unwrap();
        let late = TcpStream::connect_timeout(&address, Duration::from_millis(100));
        assert_eq!(late.unwrap_err().kind(), ErrorKind::TimedOut);
        let (_, peer) = listener.accept().await.unwrap();
        assert_eq!(peer, Some(early.local_addr().unwrap()));
        // another one beside it has them
        let _next = tcp(address, true).unwrap();
        drop(listener);
        TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
    }

    #[tokio::test]
    async fn a_socket_of_somebody_else_turns_nobody_away() {
        let socket = tcp("127.0.0.1:0".parse().unwrap(), true).unwrap();
        let address = socket.local_addr().unwrap();
        let theirs = socket.try_clone().unwrap();
        let listener = Listener::new(StdListener::Tcp(socket, Owner::Another)).unwrap();
        listener.turn_away().unwrap();
        drop(listener);
        TcpStream::connect_timeout(&address, Duration::from_secs(10)).unwrap();
        drop(theirs);
    }
}
