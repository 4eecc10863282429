//! Connections that are used once and then kept: HTTP/1.1 in clear and over TLS, HTTP/2 in clear.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::lab::{Result, Trouble, While as _};

/// What is spoken on an idle connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Speech {
    Clear,
    Tls,
    Http2,
}

/// A connection that is held.
pub enum Held {
    Clear { _stream: TcpStream },
    Tls { _stream: Box<TlsStream<TcpStream>> },
    Http2 { _sender: SendRequest<Bytes> },
}

pub struct Client {
    port: u16,
    speech: Speech,
    tls: TlsConnector,
}

impl Client {
    /// Of a server that shows this certificate.
    pub fn new(port: u16, speech: Speech, certificate: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let shown = CertificateDer::from_pem_file(certificate).during("the certificate")?;
        roots.add(shown).during("the certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config =
            ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.during("TLS")?.with_root_certificates(roots).with_no_client_auth();
        Ok(Self { port, speech, tls: TlsConnector::from(Arc::new(config)) })
    }

    /// Opens a connection and has one request answered on it.
    pub async fn open(&self) -> Result<Held> {
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port)).await.during("a connection")?;
        match self.speech {
            Speech::Clear => {
                exchange(&mut stream).await?;
                Ok(Held::Clear { _stream: stream })
            }
            Speech::Tls => {
                let name = ServerName::try_from("localhost").during("a name")?;
                let stream = self.tls.connect(name, stream).await.during("a handshake")?;
                let mut stream = Box::new(stream);
                exchange(&mut stream).await?;
                Ok(Held::Tls { _stream: stream })
            }
            Speech::Http2 => {
                let (sender, connection) = h2::client::handshake(stream).await.during("HTTP/2")?;
                tokio::spawn(async move {
                    let _ = connection.await;
                });
                let mut sender = sender.ready().await.during("HTTP/2")?;
                let request = http::Request::get("http://localhost/1k").body(());
                let request = request.during("a request")?;
                let (response, _) = sender.send_request(request, true).during("HTTP/2")?;
                let mut body = response.await.during("HTTP/2")?.into_body();
                while let Some(piece) = body.data().await {
                    let length = piece.during("HTTP/2")?.len();
                    body.flow_control().release_capacity(length).during("HTTP/2")?;
                }
                Ok(Held::Http2 { _sender: sender })
            }
        }
    }
}

async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> Result<()> {
    let request = b"GET /1k HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(request).await.during("a request")?;
    stream.flush().await.during("a request")?;
    let mut answer = Vec::with_capacity(2_048);
    loop {
        let end = memchr::memmem::find(&answer, b"\r\n\r\n");
        if end.is_some_and(|end| answer.len() >= end + 4 + 1_024) {
            return Ok(());
        }
        if stream.read_buf(&mut answer).await.during("an answer")? == 0 {
            return Err(Trouble::new("a connection was closed before its answer was whole"));
        }
    }
}
