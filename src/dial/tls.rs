//! TLS towards an origin: rustls, with the system's roots or those of `ca_file`.

use std::io;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::{Origin, OriginAddress, UpstreamTls};
use crate::net::Counted;

/// TLS with one server name and one set of roots.
#[derive(Clone)]
pub struct TlsClient {
    /// Offers HTTP/1.1 alone.
    http1: TlsConnector,
    /// Offers HTTP/2 too.
    any: TlsConnector,
    name: ServerName<'static>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The name cannot be one of a certificate.
    #[error("{0} is not a name that a certificate can bear; set upstream.tls.server_name")]
    Name(String),
    /// The roots are unusable.
    #[error("the trusted certificates cannot be used: {0}")]
    Roots(#[source] rustls::Error),
}

impl TlsClient {
    /// For `origin`.
    ///
    /// # Errors
    /// [`TlsSetupError`] where the name or the roots cannot be used.
    pub fn new(origin: &Origin, settings: &UpstreamTls) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Roots)?;
        let builder = match &settings.roots {
            None => builder.with_platform_verifier().map_err(TlsSetupError::Roots)?,
            Some(roots) => {
                let mut store = RootCertStore::empty();
                for root in roots {
                    store.add(CertificateDer::from(root.clone())).map_err(TlsSetupError::Roots)?;
                }
                builder.with_root_certificates(store)
            }
        };
        let mut config = match &settings.identity {
            None => builder.with_no_client_auth(),
            Some(shown) => {
                let shown = SingleCertAndKey::from(Arc::clone(&shown.identity));
                builder.with_client_cert_resolver(Arc::new(shown))
            }
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let name = match (&settings.server_name, &origin.address) {
            (Some(name), _) => name.clone(),
            (None, OriginAddress::Tcp(host, _)) => host.clone(),
            (None, OriginAddress::Unix(_)) => "localhost".to_owned(),
        };
        let name = ServerName::try_from(name.clone()).map_err(|_| TlsSetupError::Name(name))?;
        let mut any = config.clone();
        any.alpn_protocols.insert(0, b"h2".to_vec());
        let (http1, any) = (Arc::new(config).into(), Arc::new(any).into());
        Ok(Self { http1, any, name })
    }

    /// The handshake over a connected socket. `offer_http2`: the peer may choose it (RFC 7301).
    ///
    /// # Errors
    /// Whatever the peer or its certificate did wrong.
    pub async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        socket: S,
        offer_http2: bool,
    ) -> io::Result<TlsStream<Counted<S>>> {
        let connector = if offer_http2 { &self.any } else { &self.http1 };
        connector.connect(self.name.clone(), Counted::new(socket)).await
    }
}

impl std::fmt::Debug for TlsClient {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("TlsClient").field(&self.name).finish()
    }
}
