//! `tollgate health`: asks the gateway that runs beside it whether it is well, for a container without any other tool.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use super::{HealthArgs, WRONG, sources, wrong};
use crate::config::{Listen, admin_places};

/// Why it is not known, or not well.
#[derive(Debug, thiserror::Error)]
enum HealthError {
    #[error("{0} is no URL of an admin listener: write http://127.0.0.1:9090 or unix:/path")]
    Url(String),
    #[error(
        "the configuration has no [admin] with a `listen`, so nobody can be asked; add it, or name it with --url"
    )]
    NoAdmin,
    #[error("[admin] listens on a port that the system chose; name it with --url")]
    AnyPort,
    #[error("{place} cannot be asked: {source}")]
    Io { place: String, source: io::Error },
    #[error("the certificate {} cannot be read: {source}", path.display())]
    Certificate { path: PathBuf, source: rustls::pki_types::pem::Error },
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("{place} answers {status}: {text}")]
    Unwell { place: String, status: u16, text: String },
    #[error("{place} does not answer as an admin listener does")]
    Odd { place: String },
}

/// Whom to ask.
#[derive(Debug, Eq, PartialEq)]
enum Place {
    /// Host and port.
    Tcp(String),
    /// The same under TLS, shown by this certificate and no other.
    Tls(SocketAddr, PathBuf),
    Unix(PathBuf),
}

pub(super) fn main(args: &HealthArgs) -> ExitCode {
    let place = match &args.url {
        Some(url) => named(url),
        None => match sources(&args.config, &[], None) {
            Ok(sources) => configured(&admin_places(&sources)),
            Err(code) => return code,
        },
    };
    let path = if args.live { "/health/live" } else { "/health/ready" };
    match place.and_then(|place| ask(&place, path)) {
        Ok(text) => match writeln!(io::stdout(), "{text}") {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(WRONG), // whoever read it went away
        },
        Err(fault) => wrong(&fault.to_string()),
    }
}

/// The place of a URL; what stands behind host and port is left out.
fn named(url: &str) -> Result<Place, HealthError> {
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(Place::Unix(path.strip_prefix("//").unwrap_or(path).into()));
    }
    let rest = url.strip_prefix("http://").ok_or_else(|| HealthError::Url(url.to_owned()))?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let bare = authority.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err());
    if authority.is_empty() || authority.contains('@') {
        return Err(HealthError::Url(url.to_owned()));
    }
    Ok(Place::Tcp(if bare { format!("{authority}:80") } else { authority.to_owned() }))
}

/// The nearest of the places where `[admin]` listens.
fn configured(places: &(Vec<Listen>, Option<PathBuf>)) -> Result<Place, HealthError> {
    let (listen, certificate) = places;
    let unix = listen.iter().find_map(|one| match one {
        Listen::Unix(path) => Some(path.clone()),
        Listen::Tcp(_) => None,
    });
    if let Some(path) = unix {
        return Ok(Place::Unix(path));
    }
    let addresses = listen.iter().filter_map(|one| match one {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    });
    let address = addresses.min_by_key(|address| !address.ip().is_loopback());
    let mut address = address.ok_or(HealthError::NoAdmin)?;
    if address.port() == 0 {
        return Err(HealthError::AnyPort);
    }
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    Ok(match certificate {
        Some(certificate) => Place::Tls(address, certificate.clone()),
        None => Place::Tcp(address.to_string()),
    })
}

/// What is said there of `path`, if that is good.
fn ask(place: &Place, path: &str) -> Result<String, HealthError> {
    let told = place.to_string();
    let io = |source| HealthError::Io { place: told.clone(), source };
    let answer = match place {
        Place::Unix(socket) => {
            let stream = UnixStream::connect(socket).map_err(io)?;
            let patience = Some(PATIENCE);
            stream
                .set_read_timeout(patience)
                .and(stream.set_write_timeout(patience))
                .map_err(io)?;
            exchange(stream, "localhost", path)
        }
        Place::Tcp(authority) => {
            let addresses = authority.to_socket_addrs().map_err(io)?;
            exchange(connect(addresses).map_err(io)?, authority, path)
        }
        Place::Tls(address, certificate) => {
            let client = pinned(certificate, *address)?;
            let stream = connect(std::iter::once(*address)).map_err(io)?;
            exchange(StreamOwned::new(client, stream), &address.to_string(), path)
        }
    };
    let answer = answer.map_err(io)?;
    let (head, text) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let text = text.trim().to_owned();
    match status {
        Some(200) => Ok(text),
        Some(status) => Err(HealthError::Unwell { place: told, status, text }),
        None => Err(HealthError::Odd { place: told }),
    }
}

/// The first that takes a connection.
fn connect(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<TcpStream> {
    let mut last = io::ErrorKind::AddrNotAvailable.into();
    for address in addresses {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(fault) => last = fault,
        }
    }
    Err(last)
}

fn exchange(mut stream: impl Read + Write, host: &str, path: &str) -> io::Result<String> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut answer = Vec::new();
    match stream.take(MOST_BYTES).read_to_end(&mut answer) {
        Ok(_) => {}
        // TLS that ends without a good-bye; an answer that was cut does not read as a good one
        Err(fault) if fault.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(fault) => return Err(fault),
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(authority) => write!(out, "http://{authority}"),
            Self::Tls(address, _) => write!(out, "https://{address}"),
            Self::Unix(path) => write!(out, "unix:{}", path.display()),
        }
    }
}

/// TLS with whoever has just this certificate, whatever names stand in it and however old it is: the file beside us says
/// who the gateway is.
fn pinned(path: &Path, address: SocketAddr) -> Result<ClientConnection, HealthError> {
    let certificate = CertificateDer::from_pem_file(path)
        .map_err(|source| HealthError::Certificate { path: path.to_owned(), source })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous() // for it is the one certificate, byte for byte, that is believed
        .with_custom_certificate_verifier(Arc::new(Pin { certificate, algorithms }))
        .with_no_client_auth();
    Ok(ClientConnection::new(Arc::new(config), ServerName::IpAddress(address.ip().into()))?)
}

#[derive(Debug)]
struct Pin {
    certificate: CertificateDer<'static>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if *end_entity == self.certificate {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(rustls::CertificateError::ApplicationVerificationFailure.into())
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// How long each step of it may take; whoever asks asks again.
const PATIENCE: Duration = Duration::from_secs(3);
/// Longest answer.
const MOST_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::{HealthError, Place, configured, named};
    use crate::config::Listen;

    #[test]
    fn a_url_names_a_place_and_no_more() {
        for (url, place) in [
            ("http://127.0.0.1:9090", Place::Tcp("127.0.0.1:9090".into())),
            ("http://[::1]:9090/health/ready", Place::Tcp("[::1]:9090".into())),
            ("http://localhost/", Place::Tcp("localhost:80".into())),
            ("unix:/run/a.sock", Place::Unix("/run/a.sock".into())),
        ] {
            assert_eq!(named(url).unwrap(), place, "{url}");
        }
        for url in ["", "127.0.0.1:9090", "https://a", "http://", "http://user@a:1", "ftp://a"] {
            assert!(matches!(named(url), Err(HealthError::Url(_))), "{url}");
        }
    }

    #[test]
    fn the_nearest_place_of_a_configuration_is_asked() {
        let tcp = |address: &str| Listen::Tcp(address.parse().unwrap());
        let of = |listen: Vec<Listen>| configured(&(listen, None)).ok();
        assert_eq!(of(vec![tcp("0.0.0.0:1")]), Some(Place::Tcp("127.0.0.1:1".into())));
        assert_eq!(of(vec![tcp("[::]:1")]), Some(Place::Tcp("[::1]:1".into())));
        let both = vec![tcp("10.0.0.1:1"), tcp("127.0.0.1:2")];
        assert_eq!(of(both), Some(Place::Tcp("127.0.0.1:2".into())));
        let unix = vec![tcp("127.0.0.1:2"), Listen::Unix("/a".into())];
        assert_eq!(of(unix), Some(Place::Unix("/a".into())));
        assert_eq!(of(vec![]), None);
        assert_eq!(of(vec![tcp("127.0.0.1:0")]), None);
        let secured = configured(&(vec![tcp("[::]:1")], Some("/c".into()))).unwrap();
        assert_eq!(secured, Place::Tls("[::1]:1".parse().unwrap(), "/c".into()));
    }
}
