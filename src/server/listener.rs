//! Listening sockets: one for each worker on the shared address, so that the kernel spreads connections.

use std::io;
use std::net::{SocketAddr, TcpListener as StdTcpListener};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener as StdUnixListener, UnixStream as StdUnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use crate::admin;
use crate::config::{Listen, Server};
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

/// Bound addresses, not yet shared out.
#[derive(Debug)]
pub(super) struct Listeners {
    bound: Vec<Bound>,
}

#[derive(Debug)]
enum Bound {
    Tcp(StdTcpListener, SocketAddr),
    Unix(StdUnixListener, SocketFile),
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
    Tcp(StdTcpListener),
    Unix(StdUnixListener),
}

impl Listeners {
    /// Binds every address once, so that a fault shows before anything is started.
    pub(super) fn bind(server: &Server) -> Result<Self, BindError> {
        let bound = server.listen.iter().map(|listen| match listen {
            Listen::Tcp(address) => {
                // without SO_REUSEPORT first: another program there is a fault, not a partner
                let named = |source| named(address.to_string(), source);
                drop(tcp(*address, false).map_err(named)?);
                let listener = tcp(*address, true).map_err(named)?;
                let address = listener.local_addr().map_err(named)?;
                Ok(Bound::Tcp(listener, address))
            }
            Listen::Unix(path) => unix(path)
                .and_then(|listener| Ok(Bound::Unix(listener, SocketFile::of(path)?)))
                .map_err(|source| named(format!("unix:{}", path.display()), source)),
        });
        Ok(Self { bound: bound.collect::<Result<_, _>>()? })
    }

    /// The TCP addresses.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        let tcp = self.bound.iter().filter_map(|bound| match bound {
            Bound::Tcp(_, address) => Some(*address),
            Bound::Unix(..) => None,
        });
        tcp.collect()
    }

    /// A set of sockets for each worker, and the files that are to go with them.
    pub(super) fn split(
        self,
        workers: usize,
    ) -> Result<(Vec<Vec<StdListener>>, Vec<SocketFile>), BindError> {
        let mut sets: Vec<Vec<StdListener>> = (0..workers).map(|_| Vec::new()).collect();
        let mut files = Vec::new();
        for bound in self.bound {
            match bound {
                Bound::Tcp(first, address) => {
                    let mut first = Some(first);
                    for set in &mut sets {
                        let listener = match first.take() {
                            Some(first) => first,
                            None => tcp(address, true)
                                .map_err(|source| named(address.to_string(), source))?,
                        };
                        set.push(StdListener::Tcp(listener));
                    }
                }
                Bound::Unix(listener, file) => {
                    files.push(file);
                    for set in &mut sets {
                        let shared = listener
                            .try_clone()
                            .map_err(|source| named("unix socket".to_owned(), source))?;
                        set.push(StdListener::Unix(shared));
                    }
                }
            }
        }
        Ok((sets, files))
    }
}

/// Binds what the admin thread serves, and yields the files that are to go with it.
pub(super) fn bind_admin(
    listen: &[Listen],
) -> Result<(Vec<admin::Socket>, Vec<SocketFile>), BindError> {
    let (mut sockets, mut files) = (Vec::new(), Vec::new());
    for listen in listen {
        match listen {
            Listen::Tcp(address) => {
                let socket = tcp(*address, false);
                let socket = socket.map_err(|source| named(address.to_string(), source))?;
                sockets.push(admin::Socket::Tcp(socket));
            }
            Listen::Unix(path) => {
                let named = |source| named(format!("unix:{}", path.display()), source);
                sockets.push(admin::Socket::Unix(unix(path).map_err(named)?));
                files.push(SocketFile::of(path).map_err(named)?);
            }
        }
    }
    Ok((sockets, files))
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

/// A listening socket in its worker's runtime.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) fn new(socket: StdListener) -> io::Result<Self> {
        Ok(match socket {
            StdListener::Tcp(socket) => Self::Tcp(TcpListener::from_std(socket)?),
            StdListener::Unix(socket) => Self::Unix(UnixListener::from_std(socket)?),
        })
    }

    /// The next connection, and its address unless it is a unix socket.
    pub(super) async fn accept(&self) -> io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Self::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                Ok((Stream::Tcp(stream), Some(address)))
            }
            Self::Unix(listener) => Ok((Stream::Unix(listener.accept().await?.0), None)),
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

/// Connections that wait to be accepted; the kernel caps it at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
