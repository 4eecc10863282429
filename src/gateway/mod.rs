//! The walk of a request, told in order: admit, judge, forward or answer, refuse. Everything that happens to a
//! request is called from here, and nothing below knows this file.

mod cors;
mod explain;
mod forward_auth;
mod generation;
mod grpc;
mod limit;
mod refusal;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderValue, Method, StatusCode, header};

pub use explain::{CheckSaid, Explanation, RuleSaid};
pub use generation::{Generation, SetupError};
pub use refusal::Refusal;

use cors::{CorsRules, Crossing};
use forward_auth::{ForwardAuth, Unverifiable};
use limit::RateLimits;

use crate::auth::{
    Asking, Authentication, Authenticator, Denied, Judged, OwnTokens, Permitted, authorize,
};
use crate::certificate::ClientCertificate;
use crate::clock::Clock;
use crate::config::{Server, Settings, TokenFormat};
use crate::limit::Quota;
use crate::message::{Body, Peer, Request, Response, headers, origin};
use crate::observe::{
    self, AskedUpstream, AuditEvent, Decision, Held, Record, RequestIds, RouteName, Tracer,
};
use crate::route::{Choice, Routes, Rule};
use crate::tls::TlsServer;
use crate::token::{Answer, Asked, Deed, Endpoint, Standing, TokenJudge, TokenService};
use crate::upstream::Upstreams;

/// One worker's gateway, by one configuration. Requests keep the one that they began with.
pub struct Gateway {
    /// What it was made of, as long as somebody uses it.
    generation: Arc<Generation>,
    server: Rc<Server>,
    clock: Clock,
    ids: Rc<RequestIds>,
    tokens: Option<Arc<TokenService>>,
    routes: Routes,
    authenticator: Authenticator,
    /// Judges tokens for whoever asks about one: those for other APIs too.
    issued: Option<OwnTokens>,
    /// For challenges: the URL of the metadata of what is protected here (RFC 9728 §5.1), by the configuration alone.
    resource_metadata: Option<String>,
    upstreams: Upstreams,
    tracer: Option<Rc<Tracer>>,
    limits: Option<RateLimits>,
    cors: Option<CorsRules>,
    forward_auth: Option<ForwardAuth>,
}

/// What becomes of a request that was judged.
enum Verdict {
    /// It is for an endpoint of the gateway itself.
    Own(Arc<TokenService>, Endpoint, Box<Request>),
    /// It goes on.
    Forward(Permitted, Option<Quota>),
}

impl Gateway {
    /// The gateway of a worker that has none yet; `seed` sets its request ids apart.
    #[must_use]
    pub fn new(generation: Arc<Generation>, seed: u64) -> Self {
        Self::build(generation, Rc::new(RequestIds::new(seed)), None)
    }

    /// The gateway that takes this one's place, with what stays what it was.
    #[must_use]
    pub fn next(&self, generation: Arc<Generation>) -> Self {
        Self::build(generation, Rc::clone(&self.ids), Some(self))
    }

    fn build(generation: Arc<Generation>, ids: Rc<RequestIds>, previous: Option<&Self>) -> Self {
        let settings = &*generation.settings;
        let tokens = generation.tokens.clone();
        let (store, clock) = (&generation.store, generation.clock.clone());
        Self {
            server: Rc::new(settings.server.clone()),
            routes: Routes::new(
                settings,
                tokens
                    .iter()
                    .flat_map(|tokens| tokens.paths())
                    .chain(settings.forward_auth.as_deref())
                    .map(str::to_owned)
                    .collect(),
            ),
            tokens,
            authenticator: Authenticator::connected(
                settings,
                Arc::clone(store),
                &generation.issuers,
                clock.clone(),
            )
            .after(previous.map(|previous| &previous.authenticator)),
            issued: OwnTokens::of_every_audience(settings, Arc::clone(store)),
            resource_metadata: resource_metadata(settings),
            upstreams: Upstreams::new(
                settings,
                &generation.origins,
                previous.map(|previous| &previous.upstreams),
                clock.clone(),
                ids.prefix(),
            ),
            ids,
            tracer: tracer(&generation),
            limits: RateLimits::new(settings, &generation.limits),
            cors: CorsRules::new(settings),
            forward_auth: ForwardAuth::new(settings),
            clock,
            generation,
        }
    }

    /// What it was made of.
    #[must_use]
    pub const fn generation(&self) -> &Arc<Generation> {
        &self.generation
    }

    /// TLS towards clients; without it they are served in clear.
    #[must_use]
    pub fn tls(&self) -> Option<&Arc<TlsServer>> {
        self.generation.tls.as_ref()
    }

    /// How clients are let in.
    #[must_use]
    pub const fn server(&self) -> &Rc<Server> {
        &self.server
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
        record.version = Some(request.version);
        // a proxy that asks takes 200 for a yes, whatever its client's call wants to hear
        record.is_grpc = grpc::is_call(&request.headers) && self.asks_to_verify(request).is_none();
        record.audit = self.generation.audit.clone();
        record.trace = self.tracer.as_ref().map(|tracer| Box::new(tracer.begin(request)));
        record.client_address =
            origin::client_address(&request.peer, &request.headers, &self.server.trusted_proxies);
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
        record.audit = self.generation.audit.clone();
        let response = self.refuse(&mut record, refusal);
        (record, response)
    }

    /// Answers one request. It cannot fail: a refusal is an answer too.
    pub async fn handle(&self, mut request: Box<Request>, record: &mut Record) -> Response {
        let crossing = self.crossing(&mut request);
        if let Some(crossing) = crossing.as_ref().filter(|crossing| crossing.is_preflight) {
            (record.decision, record.reason) = (Decision::Own, crossing.reason());
            return crossing.preflight();
        }
        let mut response = match self.answer(request, record).await {
            Ok(response) => response,
            Err(refusal) => self.refuse(record, &refusal),
        };
        if let Some(crossing) = crossing {
            crossing.mark(&mut response.headers);
        }
        response
    }

    /// What is to be said to a page of another origin, where something is.
    fn crossing(&self, request: &mut Request) -> Option<Crossing> {
        let rules = self.cors.as_ref()?;
        if self.asks_to_verify(request).is_some() {
            return None; // the page's request is the one that is asked about
        }
        let is_own = self.own_endpoint(request).is_some();
        rules.crossing(request, &self.routes, is_own)
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
        let response =
            refusal.response(record.request_id.as_str(), self.resource_metadata.as_deref());
        if !record.is_grpc || response.status == StatusCode::OK {
            return response;
        }
        record.meaning = Some(response.status);
        grpc::tell(response, &refusal.to_string())
    }

    async fn answer(
        &self,
        mut request: Box<Request>,
        record: &mut Record,
    ) -> Result<Response, Refusal> {
        if let Some(trace) = &record.trace {
            trace.tell(&mut request.headers);
        }
        if let Some(endpoint) = self.asks_to_verify(&request) {
            return Ok(Box::pin(self.verify(endpoint, request, record)).await);
        }
        match self.judge(request, record).await? {
            Verdict::Own(tokens, endpoint, request) => {
                // boxed: what few requests are for is not in the size of all
                Ok(Box::pin(self.own(&tokens, endpoint, request, record)).await)
            }
            Verdict::Forward(permitted, quota) => {
                if let Some(trace) = record.trace.as_mut().filter(|trace| trace.is_sampled()) {
                    trace.asked = self.asked(&permitted);
                }
                let mut forwarded =
                    self.upstreams.forward(permitted, record.request_id.as_bytes()).await?;
                record.upstream_time = Some(forwarded.took);
                if let Some(quota) = quota {
                    limit::tell(&quota, &mut forwarded.response.headers);
                }
                Ok(forwarded.response)
            }
        }
    }

    /// The endpoint for other proxies, if this is for it.
    fn asks_to_verify(&self, request: &Request) -> Option<&ForwardAuth> {
        self.forward_auth.as_ref().filter(|endpoint| endpoint.path() == request.target.path())
    }

    /// Tells another proxy whether the request that it asks about may go on. Nothing but that is answered 2xx.
    async fn verify(
        &self,
        endpoint: &ForwardAuth,
        asked: Box<Request>,
        record: &mut Record,
    ) -> Response {
        let speaks_nginx = forward_auth::speaks_nginx(&asked.headers);
        let mut crossing = None;
        let verified = match endpoint.original(asked) {
            Ok(original) if self.asks_to_verify(&original).is_some() => {
                Err(Unverifiable::Own.into())
            }
            Ok(mut original) => {
                crossing = self.crossing(&mut original);
                record.method = Some(original.method.clone());
                record.target = Some(original.target.clone());
                self.verified(original, record).await
            }
            Err(fault) => Err(fault.into()),
        };
        let refusal = match verified {
            Ok(response) => return response,
            Err(refusal) => refusal,
        };
        let mut response = self.refuse(record, &refusal);
        if let Some(crossing) = crossing {
            crossing.mark(&mut response.headers);
        }
        let status = response.status;
        let is_understood = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            || status.is_server_error()
            || status.is_client_error() && !speaks_nginx;
        if !is_understood {
            response.status = StatusCode::FORBIDDEN;
        }
        response
    }

    async fn verified(
        &self,
        original: Box<Request>,
        record: &mut Record,
    ) -> Result<Response, Refusal> {
        match self.judge(original, record).await? {
            Verdict::Own(..) => Err(Unverifiable::Own.into()),
            Verdict::Forward(permitted, quota) => {
                let id = record.request_id.as_str();
                Ok(ForwardAuth::allow(&permitted, quota.as_ref(), id)?)
            }
        }
    }

    /// Which upstream is asked from now on, for the trace.
    fn asked(&self, permitted: &Permitted) -> Option<AskedUpstream> {
        let number = permitted.passage().destination.upstream;
        let upstream = self.generation.settings.every_upstream().nth(number)?;
        let authority = match upstream.origins.as_slice() {
            [origin] => Some(origin.authority.clone()),
            _ => None,
        };
        let since = self.clock.monotonic();
        Some(AskedUpstream { name: upstream.name.clone(), authority, since })
    }

    /// Decides, and does nothing else.
    async fn judge(&self, request: Box<Request>, record: &mut Record) -> Result<Verdict, Refusal> {
        let request = self.admit(request)?;
        if let Some((tokens, endpoint)) = self.own_endpoint(&request) {
            return Ok(Verdict::Own(Arc::clone(tokens), endpoint, request));
        }
        let choice = self.routes.choose(&request)?;
        record.route = choice.rule.name.clone();
        if let (Some(trace), Some(pattern)) = (&mut record.trace, &choice.rule.pattern) {
            trace.route = trace.is_sampled().then(|| pattern.path.to_string().into());
        }
        let now = self.clock.recent_unix_seconds();
        let asking = Asking { client: record.client_address, ..Asking::from(&*request) };
        let authentication = match self.authenticator.authenticate(&asking, now) {
            Judged::Now(authentication) => authentication,
            // rare, so its state is not kept in every request's
            Judged::Later(pending) => Box::pin(self.authenticator.settle(pending)).await,
        };
        if let Ok(Authentication::Caller(caller)) = &authentication {
            record.client_id = caller.principal.client_id.as_deref().map(Into::into);
        }
        let permitted = permit(request, &choice, authentication, now, record)?;
        let quota = self.count(choice.rule, &permitted, record)?;
        Ok(Verdict::Forward(permitted, quota))
    }

    /// Counts a request that was let through, where its rule has a limit.
    fn count(
        &self,
        rule: &Rule,
        permitted: &Permitted,
        record: &mut Record,
    ) -> Result<Option<Quota>, Refusal> {
        let Some(limits) = &self.limits else { return Ok(None) };
        let (caller, now) = (permitted.caller(), self.clock.recent());
        let Some(mut quota) = limits.take(rule, caller, record.client_address, now) else {
            return Ok(None);
        };
        match (quota.retry_after.is_some(), rule.policy.reports()) {
            (false, _) => {}
            (true, false) => return Err(Refusal::Limited(quota)),
            (true, true) if record.decision == Decision::Reported => {}
            (true, true) => {
                (record.decision, record.reason) = (Decision::Reported, "rate_limited");
            }
        }
        quota.retry_after = None;
        Ok(Some(quota))
    }

    /// The endpoint of the gateway itself that a request is for.
    fn own_endpoint(&self, request: &Request) -> Option<(&Arc<TokenService>, Endpoint)> {
        let tokens = self.tokens.as_ref()?;
        Some((tokens, tokens.endpoint(request.target.path())?))
    }

    /// What may enter at all. The head has been read strictly by now; this is what is refused by what it says.
    fn admit(&self, mut request: Box<Request>) -> Result<Box<Request>, Refusal> {
        if matches!(request.method, Method::TRACE | Method::CONNECT) {
            return Err(Refusal::Method);
        }
        if let Some(tls) = &self.generation.tls
            && request.peer.https
            && !tls.asks_the_same(&request.peer.demand, || request.host_name())
        {
            return Err(Refusal::Misdirected);
        }
        if request.headers.contains_key(header::VIA) && own_hops(&request) >= MAX_OWN_HOPS {
            return Err(Refusal::Loop);
        }
        if let (Some(limit), Some(length)) = (self.server.max_body_size, request.body.length())
            && length > limit
        {
            return Err(Refusal::BodyTooLarge);
        }
        if request.method == Method::OPTIONS && request.headers.contains_key(header::MAX_FORWARDS) {
            count_down(&mut request)?;
        }
        Ok(request)
    }

    async fn own(
        &self,
        tokens: &TokenService,
        endpoint: Endpoint,
        request: Box<Request>,
        record: &mut Record,
    ) -> Response {
        (record.route, record.decision) = (RouteName::Fixed(endpoint.name()), Decision::Own);
        let address =
            record.client_address.unwrap_or(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED));
        let (method, headers) = (&request.method, &request.headers);
        let shown = request.peer.certificate.as_deref();
        let certificate = shown.map(ClientCertificate::certificate);
        let asked = Asked { method, headers, body: request.body, address, certificate };
        let answer = tokens.answer(endpoint, asked, self).await;
        record.reason = answer.code;
        record.client_id = answer.client_id.as_deref().map(Into::into);
        let mut answer = answer;
        if !audited(record, &answer).await {
            answer = Answer::unavailable();
            record.reason = "audit_failed";
        }
        if endpoint == Endpoint::Token {
            record.client_authentication = answer.authentication;
        }
        Response::new(answer.status, answer.headers, Body::from(answer.body))
    }

    /// Gives back the file descriptors that nothing depends on.
    pub fn release(&self) {
        self.upstreams.release();
    }

    /// Notes what is held, for whoever looks at the gateway. Called now and then by the worker.
    pub fn tell(&self, held: &Held) {
        self.authenticator.tell(held);
    }

    /// House-keeping, called now and then by the worker.
    pub fn tidy(&self) {
        self.upstreams.tidy();
    }
}

impl TokenJudge for Gateway {
    async fn judge(&self, token: &str, now: u64, for_revocation: bool) -> Standing {
        let Some(issued) = &self.issued else { return Standing::Bad };
        let judged = if for_revocation {
            issued.judge_for_revocation(token, now).await
        } else {
            issued.judge(token, now, &mut ()).await
        };
        match judged {
            Ok((principal, bond)) => Standing::Good(Box::new(principal), bond),
            Err(Denied::StoreUnavailable) => Standing::Unknown,
            Err(_) => Standing::Bad,
        }
    }
}

/// None where no spans are made.
fn tracer(generation: &Generation) -> Option<Rc<Tracer>> {
    let (spans, settings) = (generation.spans.clone()?, generation.settings.tracing.as_ref()?);
    Some(Rc::new(Tracer::new(spans, settings.sample_ratio, generation.clock.clone())))
}

/// Tells what became of a token. Whether the answer may say so.
async fn audited(record: &Record, answer: &Answer) -> bool {
    let (Some(audit), Some(deed)) = (&record.audit, &answer.deed) else { return true };
    let (asked, authentication) = (observe::Asked::of(record), answer.authentication);
    let event = match &**deed {
        Deed::Issued { token_id, scope, audience, expires_at, format } => AuditEvent::Issued {
            asked,
            authentication,
            scope,
            audience,
            jti: token_id,
            expires_at: *expires_at,
            format: match format {
                TokenFormat::Jwt => "jwt",
                TokenFormat::Opaque => "opaque",
            },
        },
        Deed::Revoked { token_id, expires_at } => {
            AuditEvent::Revoked { asked, jti: token_id.as_deref(), expires_at: *expires_at }
        }
        Deed::Told { token_id, active } => {
            AuditEvent::Introspected { asked, active: *active, jti: token_id.as_deref() }
        }
    };
    audit.assure(&event).await
}

/// The URL of the metadata of the first audience that is a URL.
fn resource_metadata(settings: &Settings) -> Option<String> {
    let metadata = settings.token.as_ref()?.endpoints.metadata.as_ref()?;
    metadata.resources.first().map(|resource| resource.url.clone())
}

/// Judges a request by the rule that it meets.
fn permit(
    request: Box<Request>,
    choice: &Choice<'_>,
    authentication: Result<Authentication, Denied>,
    now: u64,
    record: &mut Record,
) -> Result<Permitted, Refusal> {
    let rule = choice.rule;
    let guarded = rule.policy.guards(&request);
    let authentication = once(&request, guarded, authentication);
    let demand = choice.demand(&request, now)?;
    let permitted = authorize(request, demand, authentication, &mut |_| {})
        .map_err(|denied| Refusal::of(denied, &rule.policy))?;
    (record.decision, record.reason) = passed(&permitted, guarded, rule);
    Ok(permitted)
}

/// What the record says of a request that was let through.
fn passed(permitted: &Permitted, guarded: bool, rule: &Rule) -> (Decision, &'static str) {
    match (permitted.reported(), guarded, permitted.caller()) {
        (Some(denied), ..) => (Decision::Reported, denied.code()),
        (None, true, _) => (Decision::Allowed, "valid_token"),
        (None, false, Some(_)) => (Decision::Open, "valid_token"),
        (None, false, None) if rule.pattern.is_some() => (Decision::Open, "open_route"),
        (None, false, None) => (Decision::Open, "open_method"),
    }
}

/// What a guarded request that bears two tokens proves: nothing.
fn once(
    request: &Request,
    guarded: bool,
    authentication: Result<Authentication, Denied>,
) -> Result<Authentication, Denied> {
    if guarded && bears_two_tokens(request) { Err(Denied::Repeated) } else { authentication }
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
