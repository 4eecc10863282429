//! One bounded exchange with an issuer: 5 s in all, 1 MiB of answer, one redirect within the same origin, never
//! compressed, and in clear only where the configuration says so.

use std::cell::RefCell;
use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;

use crate::config::{BadEndpoint, Endpoint, UpstreamTls};
use crate::dial::{DialError, Dialer, TlsClient, TlsSetupError};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("it would be asked in clear over the network")]
    Clear,
    #[error(transparent)]
    Tls(#[from] TlsSetupError),
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the exchange broke off")]
    Http(#[from] hyper::Error),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
    #[error("the answer broke off")]
    Cut(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("nothing came within {CALL_LIMIT:?}")]
    Timeout,
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("the answer is compressed, which nobody asked for")]
    Compressed,
    #[error("it redirects to another place, or more than once")]
    Redirect,
    #[error("it redirects, and where to cannot be told")]
    Location(#[source] BadEndpoint),
    #[error("the request cannot be written")]
    Request(#[from] http::Error),
}

/// An answer, whole.
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) content_type: Option<HeaderValue>,
    pub(super) body: Bytes,
}

/// Calls for one issuer.
pub(super) struct Caller {
    allow_http: bool,
    /// By authority. An issuer has few.
    tls: RefCell<HashMap<String, TlsClient>>,
    idle: RefCell<Vec<Connection>>,
}

/// A connection that is kept for the next call.
struct Connection {
    authority: String,
    sender: SendRequest<Full<Bytes>>,
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Caller {
    pub(super) fn new(allow_http: bool) -> Self {
        Self { allow_http, tls: RefCell::default(), idle: RefCell::default() }
    }

    /// GET, with its redirect. The answer is 200.
    pub(super) async fn get(&self, endpoint: &Endpoint) -> Result<Bytes, CallError> {
        let whole = async {
            let mut endpoint = endpoint.clone();
            for _ in 0..=MAX_REDIRECTS {
                let mut connection = self.open(&endpoint).await?;
                let request = request(Method::GET, &endpoint, HeaderMap::new(), Bytes::new())?;
                let (reply, location) = exchange(&mut connection, request, MAX_DOCUMENT).await?;
                match location {
                    Some(location) if reply.status.is_redirection() => {
                        endpoint = redirected(&endpoint, &location)?;
                    }
                    _ if reply.status == StatusCode::OK => return Ok(reply.body),
                    _ => return Err(CallError::Status(reply.status)),
                }
            }
            Err(CallError::Redirect)
        };
        tokio::time::timeout(CALL_LIMIT, whole).await.unwrap_or(Err(CallError::Timeout))
    }

    /// POST of a form, over a connection that is kept. The answer may have any status.
    pub(super) async fn post(
        &self,
        endpoint: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, CallError> {
        let whole = async {
            let kept = self.take(endpoint);
            let was_kept = kept.is_some();
            let connection = match kept {
                Some(connection) => connection,
                None => self.open(endpoint).await?,
            };
            match self.post_over(connection, endpoint, &headers, &body).await {
                // the issuer may have closed it meanwhile; asking twice does no harm
                Err(CallError::Http(_)) if was_kept => {
                    let connection = self.open(endpoint).await?;
                    self.post_over(connection, endpoint, &headers, &body).await
                }
                outcome => outcome,
            }
        };
        tokio::time::timeout(CALL_LIMIT, whole).await.unwrap_or(Err(CallError::Timeout))
    }

    async fn post_over(
        &self,
        mut connection: Connection,
        endpoint: &Endpoint,
        headers: &HeaderMap,
        body: &Bytes,
    ) -> Result<Reply, CallError> {
        let request = request(Method::POST, endpoint, headers.clone(), body.clone())?;
        let (reply, _) = exchange(&mut connection, request, MAX_ANSWER).await?;
        if self.idle.borrow().len() < MAX_IDLE {
            self.idle.borrow_mut().push(connection);
        }
        Ok(reply)
    }

    /// A kept connection that is still good.
    fn take(&self, endpoint: &Endpoint) -> Option<Connection> {
        let mut idle = self.idle.borrow_mut();
        idle.retain(|connection| !connection.sender.is_closed());
        let fits = |connection: &Connection| {
            connection.authority == endpoint.origin.authority && connection.sender.is_ready()
        };
        idle.iter().rposition(fits).map(|at| idle.swap_remove(at))
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Connection, CallError> {
        if !endpoint.is_private(self.allow_http) {
            return Err(CallError::Clear);
        }
        let authority = endpoint.origin.authority.clone();
        let tls = if endpoint.origin.https { Some(self.tls(endpoint)?) } else { None };
        let stream = Dialer::new(endpoint.origin.clone(), tls, CONNECT_LIMIT).dial().await?;
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await?;
        let task = tokio::task::spawn_local(async move {
            let _ = connection.await; // whoever waits for an answer is told by its own end
        });
        Ok(Connection { authority, sender, task })
    }

    fn tls(&self, endpoint: &Endpoint) -> Result<TlsClient, TlsSetupError> {
        let authority = &endpoint.origin.authority;
        if let Some(client) = self.tls.borrow().get(authority) {
            return Ok(client.clone());
        }
        let client = TlsClient::new(&endpoint.origin, &UpstreamTls::default())?;
        self.tls.borrow_mut().insert(authority.clone(), client.clone());
        Ok(client)
    }
}

fn request(
    method: Method,
    endpoint: &Endpoint,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, CallError> {
    let mut request = Request::builder()
        .method(method)
        .uri(&endpoint.path)
        .header(HOST, &endpoint.origin.authority)
        .header(ACCEPT, "application/json")
        .header(USER_AGENT, AGENT)
        .body(Full::new(body))?;
    request.headers_mut().extend(headers);
    Ok(request)
}

/// The answer to one request, and where it redirects to.
async fn exchange(
    connection: &mut Connection,
    request: Request<Full<Bytes>>,
    limit: usize,
) -> Result<(Reply, Option<HeaderValue>), CallError> {
    connection.sender.ready().await?;
    let response = connection.sender.send_request(request).await?;
    let (head, body) = response.into_parts();
    let plain = |coding: &HeaderValue| coding.as_bytes().eq_ignore_ascii_case(b"identity");
    if head.headers.get(CONTENT_ENCODING).is_some_and(|coding| !plain(coding)) {
        return Err(CallError::Compressed);
    }
    let body = match Limited::new(body, limit).collect().await {
        Ok(body) => body.to_bytes(),
        Err(fault) if fault.is::<LengthLimitError>() => return Err(CallError::TooLong(limit)),
        Err(fault) => return Err(CallError::Cut(fault)),
    };
    let content_type = head.headers.get(CONTENT_TYPE).cloned();
    Ok((Reply { status: head.status, content_type, body }, head.headers.get(LOCATION).cloned()))
}

/// Where a redirect leads: to the same scheme, host and port, or nowhere.
fn redirected(from: &Endpoint, location: &HeaderValue) -> Result<Endpoint, CallError> {
    let location = location.to_str().map_err(|_| CallError::Redirect)?;
    if location.starts_with('/') && !location.starts_with("//") {
        let scheme = if from.origin.https { "https" } else { "http" };
        let url = format!("{scheme}://{}{location}", from.origin.authority);
        return Endpoint::parse(&url).map_err(CallError::Location);
    }
    let to = Endpoint::parse(location).map_err(CallError::Location)?;
    if to.origin == from.origin { Ok(to) } else { Err(CallError::Redirect) }
}

const AGENT: &str = concat!("tollgate/", env!("CARGO_PKG_VERSION"));
/// From the name look-up to the last byte, redirects included.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(5);
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
const MAX_REDIRECTS: usize = 1;
/// Longest metadata or key set.
const MAX_DOCUMENT: usize = 1 << 20;
/// Longest answer about a token.
const MAX_ANSWER: usize = 64 << 10;
/// Longest head of an answer.
const MAX_HEAD: usize = 64 << 10;
/// Connections kept for the next question.
const MAX_IDLE: usize = 8;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::redirected;
    use crate::config::Endpoint;

    #[test]
    fn i185_a_redirect_stays_within_its_origin() {
        let from = Endpoint::parse("https://idp.example.com/keys").unwrap();
        for (to, reached) in [
            ("/new?a=b", Some("https://idp.example.com/new?a=b")),
            ("https://idp.example.com:443/x", Some("https://idp.example.com/x")),
            ("http://idp.example.com/keys", None),
            ("https://idp.example.com:444/keys", None),
            ("https://evil.example.com/keys", None),
            ("//evil.example.com/keys", None),
            ("file:///etc/passwd", None),
            ("http://169.254.169.254/", None),
            ("https://idp.example.com@evil.example.com/", None),
            ("keys", None),
            ("", None),
        ] {
            let found = redirected(&from, &HeaderValue::from_static(to)).ok();
            assert_eq!(found.map(|endpoint| endpoint.to_string()).as_deref(), reached, "{to}");
        }
    }
}
