//! The document that the page is drawn from: the state of the gateway as JSON.
//!
//! Every member is named here one by one, so that no secret gets into it by being somewhere in the settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use super::expiry::{Level, endings};
use super::facts::{Facts, lock, standings};
use super::history::STEP_SECONDS;
use crate::config::{
    DEFAULT_UPSTREAM, Origin, Policy, Protect, Route, Settings, StoreUrl, Upstream,
};
use crate::gateway::Generation;
use crate::issuers::State;
use crate::keys::VerifyingKey;
use crate::observe::{BOUNDS_US, Gauge, Latencies, Metrics, Reading, RouteReading};
use crate::upstream::OriginReport;

/// The state now.
pub(super) fn document(facts: &Facts) -> Value {
    let (reading, workers, current) = (facts.reading(), facts.workers(), facts.current());
    let now = facts.clock.unix_seconds();
    let not_ready = facts.not_ready();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "started_at": facts.started_at,
        "now": now,
        "ready": not_ready.is_none(),
        "not_ready": not_ready,
        "configuration": configuration(facts, &current),
        "connections": connections(facts, &workers),
        "requests": requests(&reading, &workers),
        "latency": latency(&reading),
        "history": { "step_seconds": STEP_SECONDS, "points": lock(&facts.history).points() },
        "routes": routes(&current, &reading),
        "issuers": issuers(&current, now),
        "upstreams": upstreams(facts, &current, now),
        "tokens": tokens(&reading),
        "caches": caches(&current, &workers, now),
        "store": store(&current),
        "refusals": Metrics::latest_refusals(&workers),
        "expiry": endings(current.settings(), now),
        "warnings": warnings(facts, &current, &workers, now),
    })
}

/// Something that an operator should look at.
struct Warning {
    level: Level,
    /// Which part of the document has more.
    about: &'static str,
    text: String,
}

/// All of them, the worst first.
fn warnings(facts: &Facts, current: &Generation, workers: &[Arc<Metrics>], now: u64) -> Vec<Value> {
    let mut all = Vec::new();
    let mut add = |level, about, text| all.push(Warning { level, about, text });
    if let Some(reason) = facts.not_ready() {
        add(Level::Critical, "not_ready", format!("not ready: {reason}"));
    }
    if let Some(last) = facts.reloads().last.filter(|last| !last.ok) {
        let faults = match last.faults.len() {
            1 => "one fault".to_owned(),
            number => format!("{number} faults"),
        };
        let text = format!("the last reload was not applied: {faults}; what was in force still is");
        add(Level::Critical, "configuration", text);
    }
    for (issuer, standing) in standings(current, now) {
        let name = &issuer.name;
        match standing.state {
            State::Failing => {
                let text = format!("the issuer {name} cannot be asked: its tokens are refused");
                add(Level::Critical, "issuers", text);
            }
            State::Stale => {
                let text = format!("the issuer {name} cannot be asked: its last keys are used");
                add(Level::Warning, "issuers", text);
            }
            State::Fresh | State::Waiting | State::Fixed => {}
        }
    }
    for ending in endings(current.settings(), now) {
        let (what, name) = (ending.what, &ending.name);
        let text = match ending.not_after.saturating_sub(now) / DAY {
            _ if ending.not_after <= now => format!("the {what} of {name} has expired"),
            0 => format!("the {what} of {name} expires today"),
            days => format!("the {what} of {name} expires in {days} days"),
        };
        add(ending.level, "expiry", text);
    }
    let panics: u64 = workers.iter().map(|worker| worker.counters.panics.get()).sum();
    if panics > 0 {
        let text = format!("{panics} requests met a defect of tollgate: see the log");
        add(Level::Warning, "requests", text);
    }
    let lost = facts.log_lines_dropped();
    if lost > 0 {
        let text = format!("{lost} lines of the log were lost: its reader is too slow");
        add(Level::Warning, "log", text);
    }
    all.retain(|warning| warning.level > Level::Ok);
    all.sort_by_key(|warning| std::cmp::Reverse(warning.level));
    let told = |it: Warning| json!({ "level": it.level, "about": it.about, "text": it.text });
    all.into_iter().map(told).collect()
}

fn configuration(facts: &Facts, current: &Generation) -> Value {
    let reloads = facts.reloads();
    json!({
        "generation": current.number(),
        "loaded_at": reloads.loaded_at,
        "file": reloads.file.as_ref().map(|file| file.display().to_string()),
        "reloads": { "ok": reloads.ok, "failed": reloads.failed },
        "last_reload": reloads.last.map(|last| {
            json!({ "at": last.at, "ok": last.ok, "faults": last.faults })
        }),
        "warnings": reloads.warnings,
    })
}

fn connections(facts: &Facts, workers: &[Arc<Metrics>]) -> Value {
    let sum = |of: fn(&Metrics) -> &Gauge| workers.iter().map(|it| of(it).get()).sum::<u64>();
    let (open, limit) = facts.connections();
    let accepted: u64 = workers.iter().map(|worker| worker.counters.connections.get()).sum();
    json!({
        "open": open,
        "limit": limit,
        "accepted": accepted,
        "http1": sum(|worker| &worker.counters.http1),
        "http2": sum(|worker| &worker.counters.http2),
        "tls": sum(|worker| &worker.counters.tls),
        "tunnels": sum(|worker| &worker.counters.tunnels),
    })
}

fn requests(reading: &Reading, workers: &[Arc<Metrics>]) -> Value {
    let (mut decisions, mut statuses) = (BTreeMap::new(), BTreeMap::new());
    for (outcome, count) in reading.routes.values().flat_map(|route| &route.outcomes) {
        *decisions.entry((outcome.decision, outcome.reason)).or_insert(0) += count;
        *statuses.entry(outcome.status).or_insert(0) += count;
    }
    let sum = |of: fn(&Metrics) -> u64| workers.iter().map(|it| of(it)).sum::<u64>();
    let tunnels = sum(|worker| worker.counters.tunnels.get());
    json!({
        "total": sum(|worker| worker.counters.requests.get()),
        "aborted": sum(|worker| worker.counters.aborted.get()),
        "panics": sum(|worker| worker.counters.panics.get()),
        "in_flight": sum(|worker| worker.counters.in_flight.get()).saturating_sub(tunnels),
        "decisions": most_first(decisions.into_iter().map(|((decision, reason), count)| {
            (count, json!({ "decision": decision.as_str(), "reason": reason, "count": count }))
        })),
        "statuses": most_first(statuses.into_iter().map(|(status, count)| {
            (count, json!({ "status": status, "count": count }))
        })),
    })
}

fn most_first(counted: impl Iterator<Item = (u64, Value)>) -> Vec<Value> {
    let mut all: Vec<_> = counted.collect();
    all.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    all.into_iter().map(|(_, value)| value).collect()
}

fn latency(reading: &Reading) -> Value {
    let (mut gateway, mut upstream) = (Latencies::default(), Latencies::default());
    for route in reading.routes.values() {
        gateway.add(&route.latency);
        upstream.add(&route.upstream);
    }
    let told = |all: Latencies| json!({ "counts": all.counts, "sum_us": all.sum_us });
    json!({ "bounds_us": BOUNDS_US, "gateway": told(gateway), "upstream": told(upstream) })
}

/// Those of the configuration, then what no route of it is for: the default, endpoints of the gateway's own, and routes of
/// earlier configurations.
fn routes(current: &Generation, reading: &Reading) -> Vec<Value> {
    let settings = current.settings();
    let nothing = RouteReading::default();
    let named = |name: &str| reading.routes.get(name).unwrap_or(&nothing);
    let mut all: Vec<Value> = settings
        .routes
        .iter()
        .map(|route| configured(route, settings, named(&route.name)))
        .collect();
    let is_configured = |name: &str| settings.routes.iter().any(|route| route.name == name);
    let rest = reading.routes.keys().map(AsRef::as_ref).filter(|name| *name != DEFAULT);
    for name in std::iter::once(DEFAULT).chain(rest).filter(|name| !is_configured(name)) {
        let policy = (name == DEFAULT).then_some(&settings.access);
        all.push(with_numbers(
            named(name),
            json!({
                "name": name,
                "host": null,
                "path": null,
                "methods": [],
                "access": policy.map_or("own", access),
                "policy": policy.map(demands),
                "mode": policy.map_or("enforce", mode),
                "upstream": policy.map(|_| DEFAULT_UPSTREAM),
            }),
        ));
    }
    all
}

fn configured(route: &Route, settings: &Settings, numbers: &RouteReading) -> Value {
    let upstream = settings.every_upstream().nth(route.upstream);
    with_numbers(
        numbers,
        json!({
            "name": route.name,
            "host": route.host.as_ref().map(ToString::to_string),
            "path": route.path.to_string(),
            "methods": route.methods.iter().map(http::Method::as_str).collect::<Vec<_>>(),
            "access": access(&route.policy),
            "policy": demands(&route.policy),
            "mode": mode(&route.policy),
            "upstream": upstream.map(|upstream| &upstream.name),
        }),
    )
}

/// Every upstream, and how each of its origins stands.
fn upstreams(facts: &Facts, current: &Generation, now: u64) -> Vec<Value> {
    let origin = |(origin, report): (&Origin, OriginReport)| {
        json!({
            "url": origin.to_string(),
            "state": report.standing.as_str(),
            "since": now.saturating_sub(report.since.as_secs()),
            "active": report.active,
            "idle": report.idle,
            "requests": report.requests,
            "failures": report.failures,
            "last_error": report.last_error,
        })
    };
    let reports = current.origins().reports(facts.clock.monotonic());
    let one = |(upstream, origins): (&Upstream, Vec<_>)| {
        json!({
            "name": upstream.name,
            "balance": upstream.balance.as_str(),
            "origins": origins.into_iter().map(origin).collect::<Vec<_>>(),
        })
    };
    reports.map(one).collect()
}

fn with_numbers(numbers: &RouteReading, mut route: Value) -> Value {
    route["requests"] = numbers.requests().into();
    route["refused"] = numbers.refused().into();
    route["errors"] = numbers.errors().into();
    route["p50_us"] = numbers.latency.quantile_us(0.5).into();
    route["p99_us"] = numbers.latency.quantile_us(0.99).into();
    route
}

const fn access(policy: &Policy) -> &'static str {
    match policy.protect {
        Protect::Nothing => "public",
        Protect::Mutating => "mutating",
        Protect::All => "protected",
        Protect::Deny => "deny",
    }
}

const fn mode(policy: &Policy) -> &'static str {
    if policy.report { "report" } else { "enforce" }
}

/// What a token must be, in one line; empty where it need only be valid.
fn demands(policy: &Policy) -> String {
    let demands = &policy.demands;
    let mut parts = Vec::new();
    let mut list = |name: &str, words: String| {
        if !words.is_empty() {
            parts.push(format!("{name} {words}"));
        }
    };
    list("all_of", demands.all_of.to_string());
    list("any_of", demands.any_of.to_string());
    list("clients", demands.clients.join(" "));
    list("issuers", demands.issuers.join(" "));
    let claims: Vec<_> = demands.claims.iter().map(|(name, _)| name.as_str()).collect();
    list("claims", claims.join(" "));
    if demands.when.is_some() {
        parts.push("when …".to_owned());
    }
    parts.join(", ")
}

fn issuers(current: &Generation, now: u64) -> Vec<Value> {
    let own = current.settings().token.iter().map(|token| {
        json!({
            "name": "own",
            "issuer": token.issuer,
            "kind": "own",
            "state": "fixed",
            "keys": keys(token.keys.verifying()),
            "keys_age_seconds": null,
            "last_error": null,
            "introspection": null,
        })
    });
    own.chain(standings(current, now).map(|(issuer, standing)| {
        json!({
            "name": issuer.name,
            "issuer": issuer.issuer,
            "kind": standing.kind,
            "state": standing.state.as_str(),
            "keys": standing.keys.as_ref().map_or_else(Vec::new, |set| keys(set.keys())),
            "keys_age_seconds": standing.age_seconds,
            "last_error": standing.last_error,
            "introspection": standing.asked.map(|asked| json!({
                "calls": asked.calls,
                "failures": asked.failures,
                "breaker": asked.breaker,
            })),
        })
    }))
    .collect()
}

fn keys(keys: &[VerifyingKey]) -> Vec<Value> {
    let told = |key: &VerifyingKey| json!({ "kid": key.key_id(), "algorithm": format!("{:?}", key.algorithm()) });
    keys.iter().map(told).collect()
}

fn tokens(reading: &Reading) -> Value {
    let mut issued = 0;
    let mut refused = BTreeMap::new();
    for ((reason, _), count) in &reading.tokens {
        match *reason {
            ISSUED => issued += count,
            reason => *refused.entry(reason).or_insert(0) += count,
        }
    }
    let refused = refused
        .into_iter()
        .map(|(reason, count)| (count, json!({ "reason": reason, "count": count })));
    json!({ "issued": issued, "refused": most_first(refused) })
}

fn caches(current: &Generation, workers: &[Arc<Metrics>], now: u64) -> Vec<Value> {
    let sum = |of: fn(&Metrics) -> u64| workers.iter().map(|it| of(it)).sum::<u64>();
    let tokens = json!({
        "name": "verified tokens",
        "entries": sum(|worker| worker.held.cache_entries.get()),
        "bytes": sum(|worker| worker.held.cache_bytes.get()),
        "hits": sum(|worker| worker.held.cache_hits.get()),
        "misses": sum(|worker| worker.held.cache_misses.get()),
    });
    let answers = standings(current, now).filter_map(|(issuer, standing)| {
        let asked = standing.asked?;
        Some(json!({
            "name": format!("introspection: {}", issuer.name),
            "entries": asked.entries,
            "bytes": asked.bytes,
            "hits": asked.hits,
            "misses": asked.misses,
        }))
    });
    std::iter::once(tokens).chain(answers).collect()
}

fn store(current: &Generation) -> Value {
    let url = match &current.settings().store {
        StoreUrl::Memory => "memory:".to_owned(),
        StoreUrl::File(folder) => format!("file:{}", folder.display()),
    };
    json!({ "url": url, "records": current.store().records() })
}

const DAY: u64 = 24 * 60 * 60;
/// The route of requests for which there is no other.
const DEFAULT: &str = "default";
/// The outcome of a request that got its token.
const ISSUED: &str = "issued";
