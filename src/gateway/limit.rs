//! How often callers may ask: behind authentication and authorisation, so that nobody uses up the quota of somebody he is
//! not, and before forwarding.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderName, HeaderValue, header};

use crate::auth::Caller;
use crate::config::{LimitPer, RateLimit, Settings, show_duration};
use crate::limit::{Limit, Limits, Quota};
use crate::message::Fields;
use crate::message::headers::text_value;
use crate::message::origin::network;
use crate::route::Rule;

/// The limits of a configuration.
#[derive(Debug)]
pub(super) struct RateLimits {
    counts: Arc<Limits>,
    default: Option<Own>,
    /// By the numbers of routes; none: the default's.
    routes: Vec<Option<Own>>,
}

#[derive(Debug)]
struct Own {
    written: RateLimit,
    limit: Limit,
}

/// Who is counted.
#[derive(Hash)]
enum Key<'a> {
    Client(&'a str, &'a str),
    Subject(&'a str, &'a str),
    Network(u128),
    /// At a unix socket, and nobody before us says.
    Unknown,
}

impl RateLimits {
    /// None where nothing is limited. `counts` are those of the whole process.
    pub(super) fn new(settings: &Settings, counts: &Arc<Limits>) -> Option<Self> {
        let own = |written: Option<RateLimit>, route| {
            written.map(|written| Own { limit: counts.limit(&written, route), written })
        };
        let routes: Vec<Option<Own>> = settings
            .routes
            .iter()
            .map(|route| {
                own(route.rate_limit, Some((&route.host, route.path.to_string(), &route.methods)))
            })
            .collect();
        let default = own(settings.rate_limit, None);
        if default.is_none() && routes.iter().all(Option::is_none) {
            return None;
        }
        Some(Self { counts: Arc::clone(counts), default, routes })
    }

    fn of(&self, rule: &Rule) -> Option<&Own> {
        let route = rule.number.and_then(|number| self.routes.get(number)?.as_ref());
        route.or(self.default.as_ref())
    }

    /// Counts a request that met `rule`; none where that is not limited.
    pub(super) fn take(
        &self,
        rule: &Rule,
        caller: Option<&Caller>,
        address: Option<IpAddr>,
        now: Instant,
    ) -> Option<Quota> {
        let own = self.of(rule)?;
        Some(self.counts.take(&own.limit, key(own.written.per, caller, address), now))
    }

    /// The limit of `rule` in words.
    pub(super) fn said(&self, rule: &Rule) -> Option<String> {
        let RateLimit { per, requests, window } = self.of(rule)?.written;
        let per = match per {
            LimitPer::Client => "client",
            LimitPer::Subject => "subject",
            LimitPer::Address => "address",
        };
        let window = show_duration(u64::try_from(window.as_millis()).unwrap_or(u64::MAX));
        Some(format!("{requests} requests in {window} for each {per}"))
    }
}

fn key(per: LimitPer, caller: Option<&Caller>, address: Option<IpAddr>) -> Key<'_> {
    let principal = caller.map(|caller| &caller.principal);
    let client = principal
        .and_then(|who| who.client_id.as_deref().map(|id| Key::Client(&who.issuer_name, id)));
    let subject = principal
        .and_then(|who| who.subject.as_deref().map(|sub| Key::Subject(&who.issuer_name, sub)));
    let address = address.map_or(Key::Unknown, |address| Key::Network(network(address)));
    match per {
        LimitPer::Client => client.or(subject).unwrap_or(address),
        LimitPer::Subject => subject.or(client).unwrap_or(address),
        LimitPer::Address => address,
    }
}

/// Tells a client how it stands (draft-ietf-httpapi-ratelimit-headers). What the upstream says of limits of its own is
/// replaced: two policies of one name could not be told apart.
pub(super) fn tell(quota: &Quota, headers: &mut Fields) {
    let Quota { requests, window, left, reset, retry_after } = quota;
    headers.insert(RATE_LIMIT, text_value(&format!("\"default\";r={left};t={reset}")));
    headers.insert(RATE_LIMIT_POLICY, text_value(&format!("\"default\";q={requests};w={window}")));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
}

const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
