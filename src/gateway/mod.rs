//! The walk of a request, told in order: admit, judge, forward or answer, refuse. Everything that happens to a
//! request is called from here, and nothing below knows this file.

mod refusal;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, header};
use ipnet::IpNet;

pub use refusal::Refusal;

use crate::auth::{Asking, Authenticator, Denied, Judged, Permitted, authorize};
use crate::clock::Clock;
use crate::config::Settings;
use crate::dial::TlsSetupError;
use crate::issuers::Issuers;
use crate::message::{Body, Peer, Request, Response, headers, origin};
use crate::observe::{Decision, Record, RequestIds};
use crate::token::TokenService;
use crate::upstream::Upstream;

/// One worker's gateway.
pub struct Gateway {
    clock: Clock,
    ids: RequestIds,
    trusted_proxies: Vec<IpNet>,
    max_body_size: Option<u64>,
    tokens: Option<Arc<TokenService>>,
    authenticator: Authenticator,
    upstream: Upstream,
}

/// What becomes of a request that was judged.
enum Verdict {
    /// It is for an endpoint of the gateway itself.
    Own(Arc<TokenService>, Request),
    /// It goes on.
    Forward(Permitted),
}

impl Gateway {
    /// The gateway that `settings` describe. `tokens` and `issuers` are shared by all workers; `seed` sets the request ids of
    /// this worker apart.
    ///
    /// # Errors
    /// When TLS towards the upstream cannot be set up.
    pub fn new(
        settings: &Settings,
        tokens: Option<Arc<TokenService>>,
        issuers: &Issuers,
        clock: Clock,
        seed: u64,
    ) -> Result<Self, TlsSetupError> {
        Ok(Self {
            ids: RequestIds::new(seed),
            trusted_proxies: settings.server.trusted_proxies.clone(),
            max_body_size: settings.server.max_body_size,
            tokens,
            authenticator: Authenticator::with_issuers(settings, issuers, clock.clone()),
            upstream: Upstream::new(settings, clock.clone())?,
            clock,
        })
    }

    /// Opens the record of a request.
    pub fn record(&self, started: Instant, request: &Request) -> Record {
        let mut record = Record::begin(
            started,
            self.ids.take(request.headers.get("x-request-id")),
            Rc::clone(&request.peer),
        );
        record.method = Some(request.method.clone());
        record.target = Some(request.target.clone());
        record.client_address =
            origin::client_address(&request.peer, &request.headers, &self.trusted_proxies);
        record
    }

    /// Answers what never became a request, and opens its record.
    pub fn refuse_unread(
        &self,
        started: Instant,
        peer: &Rc<Peer>,
        refusal: &Refusal,
    ) -> (Record, Response) {
        let mut record = Record::begin(started, self.ids.take(None), Rc::clone(peer));
        let response = self.refuse(&mut record, refusal);
        (record, response)
    }

    /// Answers one request. It cannot fail: a refusal is an answer too.
    pub async fn handle(&self, request: Request, record: &mut Record) -> Response {
        match self.answer(request, record).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(record, &refusal),
        }
    }

    /// Makes the answer of a refusal, and notes it.
    pub fn refuse(&self, record: &mut Record, refusal: &Refusal) -> Response {
        record.decision = Decision::Refused;
        record.reason = refusal.code();
        if let Refusal::Upstream(failure) = refusal
            && failure.wire().2.is_some()
        {
            tracing::warn!(
                request_id = record.request_id.as_str(),
                reason = refusal.code(),
                error = describe(failure),
                "upstream failed"
            );
        }
        refusal.response(record.request_id.as_str())
    }

    async fn answer(&self, request: Request, record: &mut Record) -> Result<Response, Refusal> {
        match self.judge(request, record).await? {
            Verdict::Own(tokens, request) => Ok(self.own(&tokens, request, record).await),
            Verdict::Forward(permitted) => {
                let forwarded =
                    self.upstream.forward(permitted, record.request_id.as_bytes()).await?;
                record.upstream_time = Some(forwarded.took);
                Ok(forwarded.response)
            }
        }
    }

    /// Decides, and does nothing else.
    async fn judge(&self, request: Request, record: &mut Record) -> Result<Verdict, Refusal> {
        let request = self.admit(request)?;
        if let Some(tokens) =
            self.tokens.as_ref().filter(|tokens| tokens.path() == request.target.path())
        {
            return Ok(Verdict::Own(Arc::clone(tokens), request));
        }
        let protected = is_protected(&request);
        if protected && bears_two_tokens(&request) {
            return Err(Denied::Repeated.into());
        }
        let now = self.clock.unix_seconds();
        let authentication = match self.authenticator.authenticate(&Asking::from(&request), now) {
            Judged::Now(authentication) => authentication,
            // rare, so its state is not kept in every request's
            Judged::Later(pending) => Box::pin(self.authenticator.settle(pending)).await,
        };
        let permitted = authorize(request, protected, authentication)?;
        (record.decision, record.reason) = match (protected, permitted.caller()) {
            (true, _) => (Decision::Allowed, "valid_token"),
            (false, Some(_)) => (Decision::Open, "valid_token"),
            (false, None) => (Decision::Open, "open_method"),
        };
        record.client_id = permitted
            .caller()
            .and_then(|caller| caller.principal.client_id.as_deref())
            .map(Into::into);
        Ok(Verdict::Forward(permitted))
    }

    /// What may enter at all. The head has been read strictly by now; this is what is refused by what it says.
    fn admit(&self, mut request: Request) -> Result<Request, Refusal> {
        if matches!(request.method, Method::TRACE | Method::CONNECT) {
            return Err(Refusal::Method);
        }
        if request.headers.contains_key(header::VIA) && own_hops(&request) >= MAX_OWN_HOPS {
            return Err(Refusal::Loop);
        }
        if let (Some(limit), Some(length)) = (self.max_body_size, request.body.length())
            && length > limit
        {
            return Err(Refusal::BodyTooLarge);
        }
        if request.method == Method::OPTIONS && request.headers.contains_key(header::MAX_FORWARDS) {
            count_down(&mut request)?;
        }
        Ok(request)
    }

    async fn own(&self, tokens: &TokenService, request: Request, record: &mut Record) -> Response {
        (record.route, record.decision) = ("token", Decision::Own);
        let address =
            record.client_address.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let answer = tokens.answer(&request.method, &request.headers, request.body, address).await;
        record.reason = answer.code;
        record.client_id = answer.client_id.map(Into::into);
        Response::new(answer.status, answer.headers, Body::from(answer.body))
    }

    /// Gives back the file descriptors that nothing depends on.
    pub fn release(&self) {
        self.upstream.release();
    }

    /// House-keeping, called now and then by the worker.
    pub fn tidy(&self) {
        self.upstream.tidy();
    }
}

/// Whether a request could change something: every method but GET, HEAD and OPTIONS, known or not, and every
/// request for another protocol.
fn is_protected(request: &Request) -> bool {
    request.upgrade.is_some()
        || !matches!(request.method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Whether a token stands in the query beside the one in `Authorization`: a reader behind us could take that one
/// (RFC 6750 §2 allows one method a request).
fn bears_two_tokens(request: &Request) -> bool {
    request.headers.contains_key(header::AUTHORIZATION)
        && request.target.has_parameter("access_token")
}

/// How often the request has been through a gateway of this name.
fn own_hops(request: &Request) -> usize {
    headers::tokens(&request.headers, &header::VIA)
        .filter(|hop| hop.split_ascii_whitespace().nth(1) == Some("tollgate"))
        .count()
}

/// `Max-Forwards` (RFC 9110 §7.6.2): the last one allowed to see the request answers it.
fn count_down(request: &mut Request) -> Result<(), Refusal> {
    let left = request
        .headers
        .get(header::MAX_FORWARDS)
        .and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    match left {
        Some(0) => return Err(Refusal::Options),
        Some(left) => {
            request.headers.insert(header::MAX_FORWARDS, HeaderValue::from(left - 1));
        }
        None => {}
    }
    Ok(())
}

/// An error and its causes in one line.
fn describe(fault: &dyn std::error::Error) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

/// A request that has passed so many gateways of this name goes round in circles.
const MAX_OWN_HOPS: usize = 8;
