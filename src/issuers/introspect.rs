//! Asks an issuer about tokens (RFC 7662): one call at a time for each token over all workers, a bounded number of
//! calls, answers remembered for a while, and a breaker that spares an issuer in trouble.
//!
//! Invariant: what is remembered is what the issuer said, never a verdict: audience, scope, `exp`, `nbf` and `iss` are
//! judged on every use. An answer is found by issuer and whole token alone; trouble is not remembered as "inactive".

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Map, Value};
use tokio::sync::{Semaphore, mpsc, watch};

use super::call::CallError;
use super::progress::AskedState;
use super::tend::{Tended, Unreachable};
use crate::clock::Clock;
use crate::config::Introspection;
use crate::json;
use crate::observe::{Histogram, Latencies};
use crate::secret::Secret;

/// What an issuer said of a token.
#[derive(Debug)]
pub struct Answer {
    /// The members of an answer that says `"active": true`; `None`: the token is not active.
    pub active: Option<Map<String, Value>>,
    /// Until when the answer is believed.
    pub good_until: Instant,
}

/// Asks one issuer, for all workers.
#[derive(Debug)]
pub struct Introspector {
    name: String,
    clock: Clock,
    jobs: mpsc::Sender<Job>,
    state: Mutex<State>,
}

type Outcome = Result<Arc<Answer>, Unreachable>;
type Digest = [u8; 32];

#[derive(Debug, Default)]
struct State {
    /// Two generations: what came since the last turn, and before it.
    young: HashMap<Digest, Arc<Answer>>,
    old: HashMap<Digest, Arc<Answer>>,
    young_bytes: usize,
    old_bytes: usize,
    flights: HashMap<Digest, watch::Receiver<Option<Outcome>>>,
    breaker: Breaker,
    calls: u64,
    failures: u64,
    hits: u64,
    misses: u64,
    /// From the question to its end, waiting for a turn included.
    latency: Histogram,
}

/// Spares an issuer that fails: opens after some failures in a row, then lets one call through at a time.
#[derive(Debug, Default)]
struct Breaker {
    failures: u32,
    closed_again: Option<Instant>,
    probing: bool,
}

/// A question on its way.
#[derive(Debug)]
pub(super) struct Job {
    digest: Digest,
    token: Secret<String>,
    asked_at: Instant,
    outcome: watch::Sender<Option<Outcome>>,
}

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("no introspection endpoint is known")]
    Nowhere,
    #[error("the issuer does not take our client_id and secret ({0})")]
    Unauthorized(StatusCode),
    #[error("the issuer answers {0}")]
    Status(StatusCode),
    #[error("the answer is no JSON object with `active`")]
    Malformed,
}

impl Introspector {
    pub(super) fn new(name: &str, clock: Clock) -> (Arc<Self>, mpsc::Receiver<Job>) {
        let (jobs, queue) = mpsc::channel(MAX_QUEUE);
        let state = Mutex::default();
        (Arc::new(Self { name: name.to_owned(), clock, jobs, state }), queue)
    }

    /// What the issuer says of `token`: what it said lately, else what it says now.
    ///
    /// # Errors
    /// [`Unreachable`]: it could not be asked, or did not answer as RFC 7662 says.
    pub async fn ask(&self, token: &str) -> Result<Arc<Answer>, Unreachable> {
        let mut flight = match self.look(token)? {
            Looked::Known(answer) => return Ok(answer),
            Looked::Flying(flight) => flight,
        };
        let landed = tokio::time::timeout(PATIENCE, flight.wait_for(Option::is_some)).await;
        match landed {
            Ok(Ok(outcome)) => outcome.clone().unwrap_or(Err(Unreachable)),
            Ok(Err(_)) | Err(_) => Err(Unreachable),
        }
    }

    fn look(&self, token: &str) -> Result<Looked, Unreachable> {
        let digest = self.digest(token);
        let now = self.clock.monotonic();
        let mut state = self.state();
        if let Some(answer) = state.find(&digest, now) {
            state.hits += 1;
            return Ok(Looked::Known(answer));
        }
        state.misses += 1;
        // a flight whose other end is gone will never land
        if let Some(flight) =
            state.flights.get(&digest).filter(|flight| flight.has_changed().is_ok())
        {
            return Ok(Looked::Flying(flight.clone()));
        }
        if !state.breaker.lets_through(now) {
            return Err(Unreachable);
        }
        let (outcome, flight) = watch::channel(None);
        let job = Job { digest, token: Secret::new(token.to_owned()), asked_at: now, outcome };
        if self.jobs.try_send(job).is_err() {
            state.breaker.probing = false;
            return Err(Unreachable); // too many wait already
        }
        state.flights.insert(digest, flight.clone());
        Ok(Looked::Flying(flight))
    }

    /// Tells everybody who waits, and remembers an answer.
    fn land(&self, job: Job, outcome: Result<(Answer, usize), AskError>) {
        let now = self.clock.monotonic();
        let mut state = self.state();
        state.flights.remove(&job.digest);
        state.calls += 1;
        state.failures += u64::from(outcome.is_err());
        state.latency.add(now.saturating_duration_since(job.asked_at));
        let told = match outcome {
            Ok((answer, bytes)) => {
                if state.breaker.succeeded() {
                    tracing::info!(issuer = self.name, "the issuer answers about tokens again");
                }
                let answer = Arc::new(answer);
                if answer.good_until > now {
                    state.remember(job.digest, Arc::clone(&answer), bytes);
                }
                Ok(answer)
            }
            Err(fault) => {
                let counts = !matches!(fault, AskError::Status(status) if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS);
                let opened = state.breaker.failed(now, counts);
                let cause = std::error::Error::source(&fault);
                let cause = cause.map(tracing::field::display);
                tracing::warn!(issuer = self.name, error = %fault, cause, opened, "the issuer cannot be asked about a token");
                Err(Unreachable)
            }
        };
        drop(state);
        let _ = job.outcome.send(Some(told)); // whoever asked may have gone
    }

    /// How it goes.
    pub(super) fn standing(&self) -> AskedState {
        let now = self.clock.monotonic();
        let state = self.state();
        let mut latency = Latencies::default();
        state.latency.read_into(&mut latency);
        AskedState {
            calls: state.calls,
            failures: state.failures,
            breaker: match state.breaker.closed_again {
                None => "closed",
                Some(moment) if now < moment => "open",
                Some(_) => "half_open",
            },
            entries: state.young.len() + state.old.len(),
            bytes: state.young_bytes + state.old_bytes,
            hits: state.hits,
            misses: state.misses,
            latency,
        }
    }

    /// By issuer and token, so that no answer of one serves another.
    fn digest(&self, token: &str) -> Digest {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(self.name.as_bytes());
        context.update(&[0]);
        context.update(token.as_bytes());
        context.finish().as_ref().try_into().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Looked {
    Known(Arc<Answer>),
    Flying(watch::Receiver<Option<Outcome>>),
}

impl State {
    fn find(&self, digest: &Digest, now: Instant) -> Option<Arc<Answer>> {
        let known = self.young.get(digest).or_else(|| self.old.get(digest))?;
        (known.good_until > now).then(|| Arc::clone(known))
    }

    fn remember(&mut self, digest: Digest, answer: Arc<Answer>, bytes: usize) {
        let weight = bytes + WEIGHT;
        if self.young.len() >= MAX_ANSWERS / 2 || self.young_bytes + weight > MAX_BYTES / 2 {
            self.old = std::mem::take(&mut self.young);
            self.old_bytes = std::mem::take(&mut self.young_bytes);
        }
        self.young.insert(digest, answer);
        self.young_bytes += weight;
    }
}

impl Breaker {
    fn lets_through(&mut self, now: Instant) -> bool {
        match self.closed_again {
            None => true,
            Some(moment) if now < moment || self.probing => false,
            Some(_) => {
                self.probing = true;
                true
            }
        }
    }

    /// Whether it was open.
    fn succeeded(&mut self) -> bool {
        std::mem::take(self).closed_again.is_some()
    }

    /// Whether it opens now.
    fn failed(&mut self, now: Instant, counts: bool) -> bool {
        self.probing = false;
        if !counts {
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let opens = self.failures >= FAILURES;
        if opens {
            self.closed_again = Some(now + OPEN_FOR);
        }
        opens
    }
}

/// Takes the questions of all workers, on the thread of the issuers.
pub(super) async fn serve(
    tended: Rc<Tended>,
    introspector: Arc<Introspector>,
    mut jobs: mpsc::Receiver<Job>,
) {
    let calls = Arc::new(Semaphore::new(MAX_CALLS));
    while let Ok(permit) = Arc::clone(&calls).acquire_owned().await {
        let Some(job) = jobs.recv().await else { return };
        let (tended, introspector) = (Rc::clone(&tended), Arc::clone(&introspector));
        tokio::task::spawn_local(async move {
            let waited = introspector.clock.monotonic().saturating_duration_since(job.asked_at);
            let outcome = if waited > PATIENCE {
                Err(AskError::Call(CallError::Timeout))
            } else {
                tended.introspect(&job).await
            };
            introspector.land(job, outcome);
            drop(permit);
        });
    }
}

impl Tended {
    async fn introspect(&self, job: &Job) -> Result<(Answer, usize), AskError> {
        let Some(how) = &self.issuer.introspection else { return Err(AskError::Nowhere) };
        let endpoint = self.introspection_endpoint().await.ok_or(AskError::Nowhere)?;
        let (headers, body) = question(how, job.token.expose());
        let reply = self.caller.post(&endpoint, headers, body).await?;
        match reply.status {
            StatusCode::OK => {}
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                return Err(AskError::Unauthorized(status));
            }
            // it does not ask itself about tokens of this form: it has issued none (RFC 7009 §2.2.1)
            StatusCode::BAD_REQUEST if is_unsupported(&reply.body) => {
                let good_until = self.clock.monotonic() + how.cache.min(NEGATIVE);
                return Ok((Answer { active: None, good_until }, reply.body.len()));
            }
            status => return Err(AskError::Status(status)),
        }
        if !is_json(reply.content_type.as_ref()) {
            return Err(AskError::Malformed);
        }
        let now = self.clock.monotonic();
        let active = read(&reply.body).ok_or(AskError::Malformed)?;
        let time = believed(active.as_ref(), how.cache, self.clock.unix_seconds());
        Ok((Answer { active, good_until: now + time }, reply.body.len()))
    }
}

/// RFC 7662 §2.1, with the credentials of RFC 6749 §2.3.1.
fn question(how: &Introspection, token: &str) -> (HeaderMap, Bytes) {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", token).append_pair("token_type_hint", "access_token");
    if how.in_body {
        form.append_pair("client_id", &how.client_id);
        form.append_pair("client_secret", how.client_secret.expose());
    } else {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let pair = format!("{}:{}", encoded(&how.client_id), encoded(how.client_secret.expose()));
        if let Ok(mut value) = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair))) {
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
    }
    (headers, Bytes::from(form.finish()))
}

fn is_unsupported(body: &[u8]) -> bool {
    let object = json::object(body).unwrap_or_default();
    object.get("error").and_then(Value::as_str) == Some("unsupported_token_type")
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    let essence = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = essence.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

/// The members of an active token; `Some(None)` for one that is not active, `None` for what is no answer at all.
#[allow(clippy::option_option)]
fn read(body: &[u8]) -> Option<Option<Map<String, Value>>> {
    let object = json::object(body)?;
    match object.get("active") {
        Some(Value::Bool(true)) => Some(Some(object)),
        // RFC 7662 §2.2: a boolean; whatever else stands there is not "yes"
        Some(_) => Some(None),
        None => None,
    }
}

/// How long an answer is believed: never past `exp`, and "no" only shortly.
fn believed(active: Option<&Map<String, Value>>, cache: Duration, now: u64) -> Duration {
    let Some(members) = active else { return cache.min(NEGATIVE) };
    match members.get("exp").and_then(Value::as_f64) {
        None => cache,
        Some(expires) => {
            #[allow(clippy::cast_precision_loss)] // until the year 200 million
            let left = expires - now as f64;
            let left = Duration::try_from_secs_f64(left.max(0.0)).unwrap_or(Duration::MAX);
            // one that has passed already is judged again and again without asking
            if left.is_zero() { cache.min(NEGATIVE) } else { cache.min(left) }
        }
    }
}

/// How long "not active" is believed at most.
const NEGATIVE: Duration = Duration::from_secs(5);
/// Calls at once, to one issuer.
const MAX_CALLS: usize = 32;
/// Questions that wait for one of them.
const MAX_QUEUE: usize = 1_024;
/// How long a request waits for its answer.
const PATIENCE: Duration = Duration::from_secs(8);
/// Answers remembered, of one issuer.
const MAX_ANSWERS: usize = 16 * 1024;
/// What they weigh at most.
const MAX_BYTES: usize = 32 << 20;
/// What an answer weighs besides its text.
const WEIGHT: usize = 512;
/// Failures in a row that open the breaker.
const FAILURES: u32 = 5;
/// How long it stays open before the next try.
const OPEN_FOR: Duration = Duration::from_secs(2);
