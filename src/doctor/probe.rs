//! One bounded GET, with whatever fields a question needs.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;

use super::{Finding, Level, Patient};
use crate::config::{Origin, Settings, UpstreamTls};
use crate::dial::{DialError, Dialer, TlsClient, TlsSetupError};

/// Somebody to ask.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) name: String,
    pub(super) origin: Origin,
    pub(super) tls: UpstreamTls,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Bytes of content.
    pub(super) length: usize,
    /// The certificate of whoever answered, DER.
    pub(super) certificate: Option<Vec<u8>>,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum ProbeError {
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the exchange broke off")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
    #[error("nothing came within {LIMIT:?}")]
    Timeout,
}

/// The origins of every upstream, each once.
pub(super) fn origins(settings: &Settings) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    for upstream in settings.every_upstream() {
        for origin in &upstream.origins {
            if asked.iter().all(|known| known.origin != *origin) {
                let (name, tls) = (origin.to_string(), upstream.tls.clone());
                asked.push(Asked { name, origin: origin.clone(), tls });
            }
        }
    }
    asked
}

/// Whether the upstream answers at all.
pub(super) async fn greet(
    asked: &Asked,
    patient: &Patient<'_>,
    findings: &mut Vec<Finding>,
) -> bool {
    let finding = match asked.get(patient.path, &[]).await {
        Ok(seen) => {
            let (name, status) = (&asked.name, seen.status);
            if let Some(certificate) = &seen.certificate {
                let whose = format!("the certificate of {name}");
                findings.push(super::expiry::of_certificate(&whose, certificate, &patient.clock));
            }
            Finding::new(Level::Ok, "upstream", format!("{name} answers: {status}"))
        }
        Err(fault) => {
            let found = format!("{} does not answer: {}", asked.name, told(&fault));
            Finding::new(Level::Fault, "upstream", found)
                .mend("start it, or give its address in [upstream]")
        }
    };
    let answered = finding.level == Level::Ok;
    findings.push(finding);
    answered
}

impl Asked {
    /// GET, with these fields beside the usual ones.
    pub(super) async fn get(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Seen, ProbeError> {
        tokio::time::timeout(LIMIT, self.exchange(path, fields))
            .await
            .unwrap_or(Err(ProbeError::Timeout))
    }

    async fn exchange(&self, path: &str, fields: &[(&str, &str)]) -> Result<Seen, ProbeError> {
        let tls = match self.origin.https {
            true => Some(TlsClient::new(&self.origin, &self.tls)?),
            false => None,
        };
        let stream = Dialer::new(self.origin.clone(), tls, LIMIT).dial().await?;
        let certificate = stream.peer_certificate().map(<[u8]>::to_vec);
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(format!("{}{path}", self.origin.base_path))
            .header(header::HOST, &self.origin.authority)
            .header(header::USER_AGENT, AGENT)
            .body(Empty::<bytes::Bytes>::new())?;
        for (name, value) in fields {
            let name = HeaderName::from_bytes(name.as_bytes()).map_err(http::Error::from)?;
            let value = HeaderValue::from_str(value).map_err(http::Error::from)?;
            request.headers_mut().append(name, value);
        }
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let driver = tokio::task::spawn_local(async move {
            let _ = connection.await; // whoever waits for the answer is told by its own end
        });
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        // how long it is tells two answers apart; more than this is not read
        let length = match Limited::new(body, MAX_READ).collect().await {
            Ok(body) => body.to_bytes().len(),
            Err(_) => MAX_READ,
        };
        driver.abort();
        Ok(Seen { status: head.status, headers: head.headers, length, certificate })
    }
}

/// A fault and its causes in one line.
pub(super) fn told(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

const AGENT: &str = concat!("tollgate-doctor/", env!("CARGO_PKG_VERSION"));
/// From the name look-up to the last byte.
const LIMIT: Duration = Duration::from_secs(3);
/// Most bytes of an answer that are read.
const MAX_READ: usize = 256 << 10;
