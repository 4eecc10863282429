//! A connection to an origin, under one deadline: name, socket, TLS.

mod tls;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::sync::Semaphore;

pub use tls::{TlsClient, TlsSetupError};

use crate::config::{Origin, OriginAddress};
use crate::net::Stream;

/// Why no connection came about.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The name does not resolve.
    #[error("the name {host} does not resolve")]
    Name {
        /// The name.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody took the connection.
    #[error("no connection to {authority}")]
    Connect {
        /// Where to.
        authority: String,
        /// What the socket said.
        source: io::Error,
    },
    /// We have no file descriptor or port left for it.
    #[error("no connection to {authority}: this process has as many as it can have")]
    Exhausted {
        /// Where to.
        authority: String,
        /// What the system said.
        source: io::Error,
    },
    /// The TLS handshake failed.
    #[error("no TLS with {authority}")]
    Tls {
        /// With whom.
        authority: String,
        /// What TLS said.
        source: io::Error,
    },
    /// All of it took too long.
    #[error("no connection to {authority} within {limit:?}")]
    Timeout {
        /// Where to.
        authority: String,
        /// The limit.
        limit: Duration,
    },
}

/// Opens connections to one origin.
#[derive(Clone, Debug)]
pub struct Dialer {
    origin: Origin,
    tls: Option<TlsClient>,
    limit: Duration,
    /// Places for look-ups of names.
    lookups: Arc<Semaphore>,
}

impl Dialer {
    /// For this origin; `tls` where it speaks it. All of a connection is up within `limit`.
    #[must_use]
    pub fn new(origin: Origin, tls: Option<TlsClient>, limit: Duration) -> Self {
        Self { origin, tls, limit, lookups: Arc::new(Semaphore::new(MAX_LOOKUPS)) }
    }

    /// The origin that it connects to.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// How long a connection may take to come up.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }

    /// A new connection, for HTTP/1.1.
    ///
    /// # Errors
    /// [`DialError`], which says how far it got.
    pub async fn dial(&self) -> Result<Stream, DialError> {
        self.dial_offering(false).await
    }

    /// A new connection; over TLS the peer chooses between HTTP/1.1 and HTTP/2.
    ///
    /// # Errors
    /// [`DialError`], which says how far it got.
    pub async fn dial_any(&self) -> Result<Stream, DialError> {
        self.dial_offering(true).await
    }

    async fn dial_offering(&self, http2: bool) -> Result<Stream, DialError> {
        tokio::time::timeout(self.limit, self.connect(http2)).await.unwrap_or_else(|_| {
            Err(DialError::Timeout { authority: self.origin.authority.clone(), limit: self.limit })
        })
    }

    async fn connect(&self, http2: bool) -> Result<Stream, DialError> {
        let refused = |source| self.no_connection(source);
        let failed = |source| DialError::Tls { authority: self.origin.authority.clone(), source };
        match &self.origin.address {
            OriginAddress::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(refused)?;
                match &self.tls {
                    None => Ok(Stream::Unix(socket)),
                    Some(tls) => Ok(Stream::TlsUnix(Box::new(
                        tls.handshake(socket, http2).await.map_err(failed)?,
                    ))),
                }
            }
            OriginAddress::Tcp(host, port) => {
                let socket = self.connect_tcp(host, *port).await?;
                // answers wait for nothing; a socket that refuses the option still works
                let _ = socket.set_nodelay(true);
                match &self.tls {
                    None => Ok(Stream::Tcp(socket)),
                    Some(tls) => Ok(Stream::Tls(Box::new(
                        tls.handshake(socket, http2).await.map_err(failed)?,
                    ))),
                }
            }
        }
    }

    /// Tries each address of the name in turn.
    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let unresolved = |source| DialError::Name { host: host.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses = self.resolve(host, port).await.map_err(unresolved)?;
        for address in addresses {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(fault) => last = fault,
            }
        }
        Err(self.no_connection(last))
    }

    /// The addresses of a name. A look-up cannot be broken off, so it keeps its place until it is over, whoever
    /// still waits for it: an outage of the resolver piles nothing up.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let place =
            Arc::clone(&self.lookups).acquire_owned().await.map_err(|_| io::ErrorKind::Other)?;
        let host = host.to_owned();
        let lookup = tokio::spawn(async move {
            let addresses = lookup_host((host, port)).await;
            drop(place);
            addresses.map(|addresses| addresses.take(MAX_ADDRESSES).collect())
        });
        lookup.await.map_err(|_| io::ErrorKind::Other)?
    }

    fn no_connection(&self, source: io::Error) -> DialError {
        let authority = self.origin.authority.clone();
        let ours = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
        if ours.iter().any(|errno| source.raw_os_error() == Some(errno.raw_os_error())) {
            DialError::Exhausted { authority, source }
        } else {
            DialError::Connect { authority, source }
        }
    }
}

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Most look-ups of names at once; further ones wait, under the deadline of their connection.
const MAX_LOOKUPS: usize = 4;
