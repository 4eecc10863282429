//! A connection to an origin, under one deadline: name, socket, TLS.

mod tls;

use std::io;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream, lookup_host};

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
}

impl Dialer {
    /// For this origin; `tls` where it speaks it. All of a connection is up within `limit`.
    #[must_use]
    pub const fn new(origin: Origin, tls: Option<TlsClient>, limit: Duration) -> Self {
        Self { origin, tls, limit }
    }

    /// The origin that it connects to.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// A new connection.
    ///
    /// # Errors
    /// [`DialError`], which says how far it got.
    pub async fn dial(&self) -> Result<Stream, DialError> {
        tokio::time::timeout(self.limit, self.connect()).await.unwrap_or_else(|_| {
            Err(DialError::Timeout { authority: self.origin.authority.clone(), limit: self.limit })
        })
    }

    async fn connect(&self) -> Result<Stream, DialError> {
        let refused =
            |source| DialError::Connect { authority: self.origin.authority.clone(), source };
        let failed = |source| DialError::Tls { authority: self.origin.authority.clone(), source };
        match &self.origin.address {
            OriginAddress::Unix(path) => {
                let socket = UnixStream::connect(path).await.map_err(refused)?;
                match &self.tls {
                    None => Ok(Stream::Unix(socket)),
                    Some(tls) => {
                        Ok(Stream::TlsUnix(Box::new(tls.handshake(socket).await.map_err(failed)?)))
                    }
                }
            }
            OriginAddress::Tcp(host, port) => {
                let socket = self.connect_tcp(host, *port).await?;
                // answers wait for nothing; a socket that refuses the option still works
                let _ = socket.set_nodelay(true);
                match &self.tls {
                    None => Ok(Stream::Tcp(socket)),
                    Some(tls) => {
                        Ok(Stream::Tls(Box::new(tls.handshake(socket).await.map_err(failed)?)))
                    }
                }
            }
        }
    }

    /// Tries each address of the name in turn.
    async fn connect_tcp(&self, host: &str, port: u16) -> Result<TcpStream, DialError> {
        let unresolved = |source| DialError::Name { host: host.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let addresses = lookup_host((host, port)).await.map_err(unresolved)?;
        for address in addresses.take(MAX_ADDRESSES) {
            match TcpStream::connect(address).await {
                Ok(socket) => return Ok(socket),
                Err(fault) => last = fault,
            }
        }
        Err(DialError::Connect { authority: self.origin.authority.clone(), source: last })
    }
}

/// Most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 8;
