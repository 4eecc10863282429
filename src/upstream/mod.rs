//! Sends what was permitted to the upstream and brings the answer back: step 7 of the walk.
//!
//! Takes a [`Permitted`] and nothing else. A request is sent again only if no byte of an answer came, it is
//! idempotent, and its body is still whole.

mod exchange;
mod failure;
mod http2;
mod onward;
mod pool;

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};

pub use failure::Failure;
pub use pool::Pool;

use crate::auth::Permitted;
use crate::clock::Clock;
use crate::config::Settings;
use crate::dial::{Dialer, TlsClient, TlsSetupError};
use crate::http1::ResponseHead;
use crate::message::headers::{connection_named, response_field_passes};
use crate::message::target::is_authority;
use crate::message::{Body, Request, Response, Tunnel};
use exchange::{Connection, Download, Upload};
use onward::{Onward, Rights};

/// One worker's way to the upstream: its idle connections, and how to make new ones.
#[derive(Debug)]
pub struct Upstream {
    dialer: Dialer,
    pool: Rc<Pool>,
    clock: Clock,
    timeout: Option<Duration>,
    retries: u32,
    onward: Onward,
}

/// What forwarding learnt beside the answer.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer; its body is still on its way.
    pub response: Response,
    /// From the first byte sent to the head of the answer.
    pub took: Duration,
}

impl Upstream {
    /// The way that `settings` describe.
    ///
    /// # Errors
    /// When TLS is needed and cannot be set up.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self, TlsSetupError> {
        let upstream = &settings.upstream;
        let tls = match upstream.origin.https {
            true => Some(TlsClient::new(&upstream.origin, &upstream.tls)?),
            false => None,
        };
        Ok(Self {
            dialer: Dialer::new(upstream.origin.clone(), tls, upstream.connect_timeout),
            pool: Rc::new(Pool::new(upstream.idle_timeout, clock.clone())),
            clock,
            timeout: upstream.timeout,
            retries: upstream.retries,
            onward: Onward::new(settings),
        })
    }

    /// Closes the idle connections that are too old or that the upstream has closed. Called now and then.
    pub fn tidy(&self) {
        self.pool.tidy();
    }

    /// Closes all idle connections, because there are no file descriptors left.
    pub fn release(&self) {
        self.pool.clear();
    }

    /// Sends a request and waits for the head of the answer.
    ///
    /// # Errors
    /// [`Failure`], whose answer is made by the gateway.
    pub async fn forward(
        &self,
        permitted: Permitted,
        request_id: &[u8],
    ) -> Result<Forwarded, Failure> {
        let started = self.clock.monotonic();
        let mut passage = permitted.into_passage();
        let body = std::mem::take(&mut passage.request.body);
        let (request, rights) = (&passage.request, Rights::of(&passage, request_id));
        let replay = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Stream(_) => None,
        };
        let replayable =
            replay.is_some() && is_idempotent(&request.method) && request.upgrade.is_none();
        let mut attempts = 0;
        let mut body = Some(body);
        loop {
            // a connection that failed says that the others of its age have, too: the next one is new
            let mut connection = match self.pool.take(attempts == 0, replayable).await {
                Some(connection) => connection,
                None => Connection::new(self.dialer.dial().await?),
            };
            let whole = body.take().or_else(|| clone_whole(replay.as_ref())).unwrap_or_default();
            let mut upload = Upload::new(whole, request.expects_continue, &self.onward.reserved);
            self.onward.write_head(connection.queue(), request, &upload, &rights);
            let limits = self.limits();
            match exchange::exchange(&mut connection, &mut upload, request, &limits, &self.clock)
                .await
            {
                Ok(head) => {
                    let took = self.clock.monotonic().saturating_duration_since(started);
                    let response = self.respond(head, connection, upload, request)?;
                    return Ok(Forwarded { response, took });
                }
                Err(failure) if failure.nothing_came() && replayable && attempts < self.retries => {
                    attempts += 1
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// The head that the upstream would get.
    #[must_use]
    pub fn head(&self, permitted: &Permitted, request_id: &[u8]) -> Vec<u8> {
        let passage = permitted.passage();
        let request = &passage.request;
        let upload = Upload::new(Body::Empty, request.expects_continue, &self.onward.reserved);
        let mut head = Vec::new();
        self.onward.write_head(&mut head, request, &upload, &Rights::of(passage, request_id));
        head
    }

    fn limits(&self) -> exchange::Limits {
        exchange::Limits { timeout: self.timeout }
    }

    /// Makes the client's answer of the upstream's.
    fn respond(
        &self,
        mut head: ResponseHead,
        mut connection: Box<Connection>,
        upload: Upload,
        request: &Request,
    ) -> Result<Response, Failure> {
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::upgraded(head, *connection, upload, request);
        }
        let named = match head.headers.contains_key(header::CONNECTION) {
            true => connection_named(&head.headers),
            false => Vec::new(),
        };
        self.rewrite_location(&mut head, request);
        let has_body = request.method != Method::HEAD
            && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let decoder = exchange::response_framing(&head, has_body);
        let reusable = head.keep_alive && !decoder.ends_with_connection() && upload.is_done();
        // an answer without content keeps the length that it would have had, but 204 has none (RFC 9110 §8.6)
        let declared = head.length.filter(|_| !has_body && head.status != StatusCode::NO_CONTENT);
        let body = match connection.take_whole(&decoder) {
            Some(whole) => {
                if reusable {
                    self.pool.put(connection);
                }
                Body::from(whole)
            }
            None => Body::Stream(Box::pin(Download::new(
                connection,
                decoder,
                upload,
                head.keep_alive,
                Rc::clone(&self.pool),
                self.limits(),
                self.clock.clone(),
            ))),
        };
        let mut headers = head.headers;
        strip(&mut headers, &named);
        if let Some(length) = declared {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Response::new(head.status, headers, body))
    }

    /// A tunnel, if that is what the client asked for (RFC 9110 §7.8).
    fn upgraded(
        head: ResponseHead,
        connection: Connection,
        upload: Upload,
        request: &Request,
    ) -> Result<Response, Failure> {
        let protocol = head.headers.get(header::UPGRADE).cloned();
        let (Some(wanted), Some(protocol)) = (&request.upgrade, protocol) else {
            return Err(Failure::UnaskedUpgrade);
        };
        let was_asked = wanted.to_str().is_ok_and(|wanted| {
            wanted
                .split(',')
                .any(|one| one.trim().as_bytes().eq_ignore_ascii_case(protocol.as_bytes()))
        });
        if !was_asked || !upload.is_done() {
            return Err(Failure::UnaskedUpgrade);
        }
        let (stream, early) = connection.into_tunnel();
        let mut headers = head.headers;
        strip(&mut headers, &[]);
        let mut response = Response::new(head.status, headers, Body::Empty);
        response.tunnel = Some(Tunnel { stream, early, protocol });
        Ok(response)
    }

    /// A `Location` that names the upstream's own origin names ours instead.
    fn rewrite_location(&self, head: &mut ResponseHead, request: &Request) {
        let Some(location) = head.headers.get(header::LOCATION) else { return };
        let origin = self.dialer.origin();
        let scheme = if origin.https { "https://" } else { "http://" };
        let Some(path) = location
            .to_str()
            .ok()
            .and_then(|text| strip_prefix_ignoring_case(text, scheme))
            .and_then(|rest| strip_prefix_ignoring_case(rest, &origin.authority))
            .filter(|path| path.is_empty() || path.starts_with(['/', '?', '#']))
        else {
            return;
        };
        let path = match path.strip_prefix(origin.base_path.as_str()) {
            Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => rest,
            _ => path,
        };
        let ours = match asked_host(request) {
            Some(host) => format!("{}://{host}{path}", asked_scheme(request)),
            None if path.is_empty() => "/".to_owned(),
            None => path.to_owned(),
        };
        if let Ok(value) = HeaderValue::from_str(&ours) {
            head.headers.insert(header::LOCATION, value);
        }
    }
}

/// The scheme by which the client came, as a trusted proxy before us says.
fn asked_scheme(request: &Request) -> &'static str {
    let told = believed(request, "x-forwarded-proto");
    match told {
        Some(told) if told.eq_ignore_ascii_case("https") => "https",
        Some(told) if told.eq_ignore_ascii_case("http") => "http",
        _ if request.peer.https => "https",
        _ => "http",
    }
}

/// The authority that the client asked, as a trusted proxy before us says.
fn asked_host(request: &Request) -> Option<&str> {
    believed(request, "x-forwarded-host")
        .filter(|host| is_authority(host.as_bytes()))
        .or_else(|| request.host.as_ref().and_then(|host| host.to_str().ok()))
}

/// The first word of a field that only trusted peers may say.
fn believed<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let value = request.headers.get(name).filter(|_| request.peer.trusted)?;
    value.to_str().ok()?.split(',').next().map(str::trim)
}

fn clone_whole(body: Option<&Body>) -> Option<Body> {
    match body {
        Some(Body::Full(bytes)) => Some(Body::Full(bytes.clone())),
        _ => None,
    }
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Takes the fields of the upstream's connection out.
fn strip(headers: &mut HeaderMap, named: &[HeaderName]) {
    // most answers have none of them beside Content-Length, and looking is cheaper than removing
    let gone: Vec<HeaderName> =
        headers.keys().filter(|name| !response_field_passes(name, named)).cloned().collect();
    for name in gone {
        headers.remove(&name);
    }
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// From now on, if there is a limit at all.
fn after(clock: &Clock, limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| clock.monotonic() + limit)
}
