//! Certificates and clients for tests over TLS: made anew for each test, real handshakes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use super::{Client, PATIENCE, scratch_file};

/// A certificate authority of one test.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    der: CertificateDer<'static>,
    /// Its certificate in PEM.
    pub file: PathBuf,
}

/// A certificate with its key, in files and for a client.
pub struct Identity {
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    pub der: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Authority {
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "an authority of a test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let file = scratch_file("ca.pem", &certificate.pem());
        Self { der: certificate.der().clone(), issuer: Issuer::new(params, key), file }
    }

    /// A certificate for these names.
    pub fn certify(&self, names: &[&str]) -> Identity {
        self.certify_with(names, |_| {})
    }

    /// The same, changed by `change` before it is signed.
    pub fn certify_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Identity {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate_file: scratch_file("cert.pem", &certificate.pem()),
            key_file: scratch_file("key.pem", &key.serialize_pem()),
            der: certificate.der().clone(),
            key: key.serialize_der(),
        }
    }

    /// A client that believes this authority.
    pub fn client(&self) -> TlsClient {
        TlsClient {
            roots: vec![self.der.clone()],
            identity: None,
            versions: rustls::ALL_VERSIONS,
            alpn: Vec::new(),
            resumption: false,
            unchecked: false,
        }
    }
}

impl Identity {
    /// As an inline table of `gateway.toml`, with further keys.
    pub fn toml(&self, keys: &str) -> String {
        format!(
            "{{ certificate_file = \"{}\", private_key_file = \"{}\"{keys} }}",
            self.certificate_file.display(),
            self.key_file.display()
        )
    }
}

/// What a client does in a handshake.
#[derive(Clone)]
pub struct TlsClient {
    roots: Vec<CertificateDer<'static>>,
    identity: Option<(CertificateDer<'static>, Vec<u8>)>,
    versions: &'static [&'static SupportedProtocolVersion],
    alpn: Vec<Vec<u8>>,
    resumption: bool,
    unchecked: bool,
}

impl TlsClient {
    /// Believes whatever it is shown.
    pub fn unchecked(mut self) -> Self {
        self.unchecked = true;
        self
    }

    /// The first message of a handshake, in its record.
    pub fn hello(&self, name: &str) -> Vec<u8> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut connection = ClientConnection::new(self.config(), name).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        hello
    }

    pub fn showing(mut self, identity: &Identity) -> Self {
        self.identity = Some((identity.der.clone(), identity.key.clone()));
        self
    }

    pub fn speaking(mut self, versions: &'static [&'static SupportedProtocolVersion]) -> Self {
        self.versions = versions;
        self
    }

    pub fn offering(mut self, alpn: &[&str]) -> Self {
        self.alpn = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    pub fn resuming(mut self) -> Self {
        self.resumption = true;
        self
    }

    pub fn config(&self) -> Arc<ClientConfig> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        for root in &self.roots {
            roots.add(root.clone()).unwrap();
        }
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(roots);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.clone()));
                builder.with_client_auth_cert(vec![certificate.clone()], key).unwrap()
            }
        };
        if self.unchecked {
            config.dangerous().set_certificate_verifier(Arc::new(Unchecked));
        }
        config.alpn_protocols = self.alpn.clone();
        if !self.resumption {
            config.resumption = Resumption::disabled();
        }
        Arc::new(config)
    }

    /// A connection on which the handshake is done.
    pub fn connect(&self, address: SocketAddr, name: &str) -> Tls {
        self.try_connect(address, name).unwrap()
    }

    /// The same, or why there is none. Where the client is refused for its certificate in TLS 1.3, that shows with the
    /// first read.
    pub fn try_connect(&self, address: SocketAddr, name: &str) -> std::io::Result<Tls> {
        handshake(self.config(), TcpStream::connect(address)?, name)
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

/// The handshake over a connected socket.
pub fn handshake(config: Arc<ClientConfig>, socket: TcpStream, name: &str) -> std::io::Result<Tls> {
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.set_nodelay(true)?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let connection = ClientConnection::new(config, name).unwrap();
    let mut tls = StreamOwned::new(connection, socket);
    while tls.conn.is_handshaking() {
        tls.conn.complete_io(&mut tls.sock)?;
    }
    Ok(tls)
}

/// A client over TLS, as [`Client`] is in clear.
pub fn client(tls: Tls) -> Client<Tls> {
    Client::of(tls)
}

/// Sends and reads to the end; the answer, and whether it ended with a `close_notify`.
pub fn exchange(mut tls: Tls, request: &[u8]) -> (Vec<u8>, bool) {
    let _ = tls.write_all(request);
    let mut answer = Vec::new();
    let clean = tls.read_to_end(&mut answer).is_ok();
    (answer, clean)
}

impl Authority {
    /// An upstream with a certificate for these names that answers every request with `hello`; with `clients`, only to
    /// whoever shows a certificate of theirs.
    pub fn upstream(&self, names: &[&str], clients: Option<&Self>) -> SocketAddr {
        let shown = self.certify(names);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = RootCertStore::empty();
                roots.add(clients.der.clone()).unwrap();
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                    Arc::new(roots),
                    provider,
                );
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(shown.key.clone()));
        let config = Arc::new(builder.with_single_cert(vec![shown.der.clone()], key).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
                std::thread::spawn(move || {
                    let mut tls = StreamOwned::new(connection, stream);
                    let mut read = Vec::new();
                    let mut piece = [0; 4096];
                    while let Ok(length @ 1..) = tls.read(&mut piece) {
                        read.extend_from_slice(&piece[..length]);
                        if super::find(&read, b"\r\n\r\n").is_some() {
                            read.clear();
                            tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
                                .unwrap();
                        }
                    }
                });
            }
        });
        address
    }
}

/// Believes everything: for looking at what is shown.
#[derive(Debug)]
struct Unchecked;

impl rustls::client::danger::ServerCertVerifier for Unchecked {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        provider.signature_verification_algorithms.supported_schemes()
    }
}
