//! Sends what was permitted to its upstream and brings the answer back: step 7 of the walk.
//!
//! Takes a [`Permitted`] and nothing else. A request is sent again only if nothing of it was sent, or no byte of an
//! answer came and it is idempotent and still whole.

mod budget;
mod cluster;
mod exchange;
mod failure;
mod gate;
mod http2;
mod location;
mod onward;
mod pool;
mod state;
mod watch;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};

pub use failure::Failure;
pub use state::{OriginReport, Origins, OriginsError, Standing};

use crate::auth::{Passage, Permitted};
use crate::clock::Clock;
use crate::config::{Origin, Settings};
use crate::http1::ResponseHead;
use crate::message::headers::{connection_named, response_field_passes};
use crate::message::{Body, Fields, Request, Response, Tunnel};
use cluster::{Cluster, Flight, Some64, Way};
use exchange::{Connection, Download, Upload};
use failure::Trouble;
use http2::Carrier;
use onward::{Onward, Rights};

/// One worker's ways to every upstream.
#[derive(Debug)]
pub struct Upstreams {
    /// In the order of [`Settings::every_upstream`].
    clusters: Vec<Cluster>,
    onward: Onward,
    clock: Clock,
}

/// What forwarding learnt beside the answer.
#[derive(Debug)]
pub struct Forwarded {
    /// The answer; its body is still on its way.
    pub response: Response,
    /// From the first byte sent to the head of the answer.
    pub took: Duration,
}

impl Upstreams {
    /// The ways that `settings` describe. `origins` are those of the same settings; `seed` sets this worker's choices
    /// apart from others'. Idle connections of `previous` are used further where the upstream is the same.
    #[must_use]
    pub fn new(
        settings: &Settings,
        origins: &Origins,
        previous: Option<&Self>,
        clock: Clock,
        seed: u64,
    ) -> Self {
        let known = previous.map_or(&[][..], |previous| previous.clusters.as_slice());
        let cluster = |group| Cluster::new(group, known, &clock, seed);
        let clusters = origins.groups().iter().map(cluster).collect();
        Self { clusters, onward: Onward::new(settings), clock }
    }

    /// Closes the idle connections that are too old or that the upstream has closed. Called now and then.
    pub fn tidy(&self) {
        self.clusters.iter().flat_map(Cluster::ways).for_each(|way| way.tidy());
    }

    /// Closes all idle connections, because there are no file descriptors left.
    pub fn release(&self) {
        self.clusters.iter().flat_map(Cluster::ways).for_each(|way| way.release());
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
        let started = self.clock.recent();
        let mut passage = permitted.into_passage();
        let cluster = self.cluster(&passage)?;
        let body = std::mem::take(&mut passage.request.body);
        let request = &passage.request;
        let replay = match &body {
            Body::Empty => Some(Body::Empty),
            Body::Full(bytes) => Some(Body::Full(bytes.clone())),
            Body::Stream(_) => None,
        };
        let replayable =
            replay.is_some() && is_idempotent(&request.method) && request.upgrade.is_none();
        let (mut attempts, mut unsent, mut tried) = (0, 0, Some64::default());
        let mut body = Some(body);
        cluster.budget.pay_in();
        loop {
            let now = if attempts == 0 { started } else { self.clock.recent() };
            let way = cluster.choose(tried, now).ok_or(Failure::Unhealthy)?;
            let flight = Flight::begin(way);
            let upgrades = request.upgrade.is_some();
            // a connection that failed says that the others of its age have, too: the next one is new
            let carrier = match way.carrier(attempts > 0, replayable, upgrades).await {
                Ok(carrier) => carrier,
                Err(failure) => {
                    // nothing was sent: another origin may have it, whatever it asks for
                    self.note(way, &failure);
                    tried.add(way.number());
                    if !cluster.has_another(tried) || !self.may_send_again(cluster, attempts) {
                        return Err(failure);
                    }
                    attempts += 1;
                    continue;
                }
            };
            let whole = body.take().or_else(|| clone_whole(replay.as_ref())).unwrap_or_default();
            let rights = Rights::of(&passage, request_id, way.origin(), cluster.preserve_host);
            let limits = exchange::Limits { timeout: cluster.timeout };
            let failure = match carrier {
                Carrier::Connection(mut connection) => {
                    let mut upload =
                        Upload::new(whole, request.expects_continue, &self.onward.reserved);
                    self.onward.write_head(connection.queue(), request, &upload, &rights);
                    let wire = &mut connection;
                    match exchange::exchange(wire, &mut upload, request, &limits, &self.clock).await
                    {
                        Ok(head) => {
                            let took = self.clock.recent().saturating_duration_since(started);
                            let response =
                                self.respond(head, connection, upload, flight, &passage, cluster);
                            let response =
                                response.inspect_err(|failure| self.note(way, failure))?;
                            return Ok(Forwarded { response, took });
                        }
                        Err(failure) => failure,
                    }
                }
                Carrier::Stream(mut lease) => {
                    lease.carry(flight);
                    let head = self.onward.http2_head(request, &rights, whole.length())?;
                    let (reserved, clock) = (&self.onward.reserved, &self.clock);
                    let exchange = http2::Exchange {
                        lease,
                        head,
                        body: whole,
                        request,
                        reserved,
                        limits,
                        clock,
                    };
                    // its state is not kept in every request's
                    match Box::pin(exchange.run()).await {
                        Ok(answer) => {
                            let took = self.clock.recent().saturating_duration_since(started);
                            let response =
                                Self::respond_http2(answer, way.origin(), &passage, cluster)?;
                            return Ok(Forwarded { response, took });
                        }
                        Err(failed) => {
                            body = failed.body;
                            // the connection was closed to new requests just now: there are others
                            if failed.unsent
                                && failed.failure.is_unprocessed()
                                && unsent < MOST_UNSENT
                            {
                                unsent += 1;
                                continue;
                            }
                            failed.failure
                        }
                    }
                }
            };
            self.note(way, &failure);
            let may_go_again = match failure.is_unprocessed() {
                true => body.is_some() || replay.is_some(), // it is whole
                false => failure.nothing_came() && replayable,
            };
            if !may_go_again || !self.may_send_again(cluster, attempts) {
                return Err(failure);
            }
            attempts += 1;
            let mut others = tried;
            others.add(way.number());
            if cluster.has_another(others) {
                tried = others;
            }
        }
    }

    /// Holds a failure against the origin, if it is the origin's.
    fn note(&self, way: &Way, failure: &Failure) {
        if let Some(trouble) = failure.trouble() {
            way.failed(trouble, self.clock.recent());
        }
    }

    /// Whether a request may be sent once more; if so, that is paid for.
    fn may_send_again(&self, cluster: &Cluster, attempts: u32) -> bool {
        attempts < cluster.retries && cluster.budget.spend(self.clock.recent())
    }

    /// The upstream that a request goes to.
    fn cluster(&self, passage: &Passage) -> Result<&Cluster, Failure> {
        self.clusters.get(passage.destination.upstream).ok_or(Failure::Unhealthy)
    }

    /// The head that the upstream would get; of several origins, the first.
    #[must_use]
    pub fn head(&self, permitted: &Permitted, request_id: &[u8]) -> Vec<u8> {
        let passage = permitted.passage();
        let request = &passage.request;
        let mut head = Vec::new();
        let Some((cluster, way)) =
            self.cluster(passage).ok().and_then(|cluster| Some((cluster, cluster.ways().first()?)))
        else {
            return head;
        };
        let upload = Upload::new(Body::Empty, request.expects_continue, &self.onward.reserved);
        let rights = Rights::of(passage, request_id, way.origin(), cluster.preserve_host);
        self.onward.write_head(&mut head, request, &upload, &rights);
        head
    }

    /// Makes the client's answer of the upstream's.
    fn respond(
        &self,
        mut head: ResponseHead,
        mut connection: Box<Connection>,
        upload: Upload,
        flight: Flight,
        passage: &Passage,
        cluster: &Cluster,
    ) -> Result<Response, Failure> {
        let request = &passage.request;
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Self::upgraded(head, *connection, upload, request, flight);
        }
        if says_it_failed(head.status) {
            flight.failed(Trouble::Gateway, self.clock.recent());
        }
        let named = match head.headers.contains_key(header::CONNECTION) {
            true => connection_named(&head.headers),
            false => Vec::new(),
        };
        if head.headers.contains_key(header::LOCATION) {
            let rewritten = passage.destination.rewritten.as_deref();
            let (answered, origins) = (flight.way().origin(), cluster.origins());
            location::rewrite(&mut head.headers, request, rewritten, answered, origins);
        }
        let has_body = request.method != Method::HEAD
            && !matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let decoder = exchange::response_framing(&head, has_body);
        let reusable = head.keep_alive && !decoder.ends_with_connection() && upload.is_done();
        // an answer without content keeps the length that it would have had, but 204 has none (RFC 9110 §8.6)
        let declared = head.length.filter(|_| !has_body && head.status != StatusCode::NO_CONTENT);
        let body = match connection.take_whole(&decoder) {
            Some(whole) => {
                if reusable {
                    flight.way().pool.put(connection);
                }
                flight.succeeded();
                Body::from(whole)
            }
            None => {
                connection.expect(&decoder);
                Body::Stream(Box::pin(Download::new(
                    connection,
                    decoder,
                    upload,
                    head.keep_alive,
                    flight,
                    exchange::Limits { timeout: cluster.timeout },
                    self.clock.clone(),
                )))
            }
        };
        let mut headers = head.headers;
        strip(&mut headers, &named);
        if let Some(length) = declared {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Response::new(head.status, headers, body))
    }

    /// Makes the client's answer of what the upstream answered over HTTP/2.
    fn respond_http2(
        answer: http2::Answered,
        origin: &Origin,
        passage: &Passage,
        cluster: &Cluster,
    ) -> Result<Response, Failure> {
        let http2::Answered { status, headers, body, tunnel, length } = answer;
        let mut headers = Fields::from(headers);
        let request = &passage.request;
        if let Some(stream) = tunnel {
            let protocol = request.upgrade.clone().ok_or(Failure::UnaskedUpgrade)?;
            strip(&mut headers, &[]);
            // the client asked by a GET with `Upgrade`, and is answered so
            if let Some(accept) =
                request.headers.get(header::SEC_WEBSOCKET_KEY).and_then(http2::accept_of)
            {
                headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            }
            let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS, headers, Body::Empty);
            response.tunnel = Some(Tunnel { stream, early: Bytes::new(), protocol, held: None });
            return Ok(response);
        }
        if headers.contains_key(header::LOCATION) {
            let rewritten = passage.destination.rewritten.as_deref();
            location::rewrite(&mut headers, request, rewritten, origin, cluster.origins());
        }
        strip(&mut headers, &[]);
        let has_body = request.method != Method::HEAD
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if let Some(length) = length.filter(|_| !has_body && status != StatusCode::NO_CONTENT) {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        Ok(Response::new(status, headers, body))
    }

    /// A tunnel, if that is what the client asked for (RFC 9110 §7.8).
    fn upgraded(
        head: ResponseHead,
        connection: Connection,
        upload: Upload,
        request: &Request,
        flight: Flight,
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
        flight.succeeded();
        let (stream, early, place) = connection.into_tunnel();
        let mut headers = head.headers;
        strip(&mut headers, &[]);
        let mut response = Response::new(head.status, headers, Body::Empty);
        response.tunnel =
            Some(Tunnel { stream, early, protocol, held: Some(Box::new((flight, place))) });
        Ok(response)
    }
}

fn clone_whole(body: Option<&Body>) -> Option<Body> {
    match body {
        Some(Body::Full(bytes)) => Some(Body::Full(bytes.clone())),
        _ => None,
    }
}

/// Whether an origin says of itself that it, or what is behind it, cannot answer.
const fn says_it_failed(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT
    )
}

/// Takes the fields of the upstream's connection out.
fn strip(headers: &mut Fields, named: &[HeaderName]) {
    headers.retain(|name| response_field_passes(name, named));
}

/// RFC 9110 §9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE)
}

/// From now on, if there is a limit at all.
fn after(clock: &Clock, limit: Option<Duration>) -> Option<Instant> {
    limit.map(|limit| clock.recent() + limit)
}

/// How often a request looks for another connection because the one that it had takes no new ones.
const MOST_UNSENT: u32 = 4;
