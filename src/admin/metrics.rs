//! `/metrics`: every number there is, by names that follow the conventions of Prometheus.
//!
//! Invariant: nothing that a client chooses becomes a label. Routes, issuers, upstreams and clients are those of the
//! configuration; every other label is a word of this program or a status.

use std::sync::Arc;

use super::expiry::endings;
use super::exposition::{Exposition, Format, Kind};
use super::facts::{Facts, standings};
use super::process::Process;
use crate::config::Origin;
use crate::gateway::Generation;
use crate::issuers::Standing;
use crate::observe::{Counters, Metrics, OTHER, Reading};
use crate::upstream::OriginReport;

/// All numbers now.
pub(super) fn document(facts: &Facts, format: Format) -> String {
    let (reading, workers, current) = (facts.reading(), facts.workers(), facts.current());
    let now = facts.clock.unix_seconds();
    let mut page = Exposition::new(format);
    let out = &mut page;
    build(out, facts, &current);
    requests(out, &reading, &workers);
    latencies(out, &reading);
    tokens(out, &reading);
    connections(out, facts, &workers);
    limits(out, &reading, &workers);
    issuers(out, &current, now);
    upstreams(out, facts, &current);
    caches(out, &current, &workers, now);
    configuration(out, facts, &current, now);
    process(out, facts);
    page.finish()
}

fn build(out: &mut Exposition, facts: &Facts, current: &Generation) {
    let version = env!("CARGO_PKG_VERSION");
    out.family("tollgate_build_info", Kind::Gauge, "1; the labels say which tollgate this is.")
        .sample(&[("version", version)], 1);
    out.family("tollgate_ready", Kind::Gauge, "Whether requests should be sent here.")
        .sample(&[], u8::from(facts.not_ready().is_none()));
    let workers = current.settings().server.workers;
    out.family("tollgate_workers", Kind::Gauge, "Threads that serve.").sample(&[], workers);
}

fn requests(out: &mut Exposition, reading: &Reading, workers: &[Arc<Metrics>]) {
    out.family(
        "tollgate_requests_total",
        Kind::Counter,
        "Requests that have ended, by what was decided, why, and what was answered.",
    );
    for (route, numbers) in &reading.routes {
        for (outcome, count) in &numbers.outcomes {
            let status = outcome.status.to_string();
            let labels = [
                ("route", route.as_ref()),
                ("decision", outcome.decision.as_str()),
                ("reason", outcome.reason),
                ("status", &status),
            ];
            out.sample(&labels, count);
        }
        if numbers.other > 0 {
            let labels = [
                ("route", route.as_ref()),
                ("decision", OTHER),
                ("reason", OTHER),
                ("status", OTHER),
            ];
            out.sample(&labels, numbers.other);
        }
    }
    let tunnels = sum(workers, |it| it.tunnels.get());
    let in_flight = sum(workers, |it| it.in_flight.get()).saturating_sub(tunnels);
    out.family(
        "tollgate_requests_in_flight",
        Kind::Gauge,
        "Requests whose answers have not ended; tunnels are not among them.",
    )
    .sample(&[], in_flight);
    out.family("tollgate_tunnels_open", Kind::Gauge, "Upgraded connections, such as WebSockets.")
        .sample(&[], tunnels);
    let aborted = sum(workers, |it| it.aborted.get());
    out.family(
        "tollgate_requests_aborted_total",
        Kind::Counter,
        "Requests that ended before their answer did.",
    )
    .sample(&[], aborted);
    let panics = sum(workers, |it| it.panics.get());
    out.family("tollgate_panics_total", Kind::Counter, "Defects, each of which ended one request.")
        .sample(&[], panics);
}

fn latencies(out: &mut Exposition, reading: &Reading) {
    out.family(
        "tollgate_request_duration_seconds",
        Kind::Histogram,
        "From the head of a request to the last byte of its answer.",
    );
    for (route, numbers) in &reading.routes {
        out.histogram(&[("route", route)], &numbers.latency);
    }
    out.family(
        "tollgate_upstream_duration_seconds",
        Kind::Histogram,
        "From sending a request to the upstream to the head of its answer.",
    );
    for (route, numbers) in reading.routes.iter().filter(|(_, it)| it.upstream.count() > 0) {
        out.histogram(&[("route", route)], &numbers.upstream);
    }
}

fn tokens(out: &mut Exposition, reading: &Reading) {
    out.family(
        "tollgate_tokens_total",
        Kind::Counter,
        "Requests for tokens, by their outcome (issued, or why not) and by how the client proved itself.",
    );
    for ((outcome, authentication), count) in &reading.tokens {
        let labels = [("outcome", *outcome), ("client_authentication", *authentication)];
        out.sample(&labels, count);
    }
}

fn connections(out: &mut Exposition, facts: &Facts, workers: &[Arc<Metrics>]) {
    let (_, limit) = facts.connections();
    out.family("tollgate_connections_open", Kind::Gauge, "Client connections, by what they speak.")
        .sample(&[("protocol", "http1")], sum(workers, |it| it.http1.get()))
        .sample(&[("protocol", "http2")], sum(workers, |it| it.http2.get()));
    out.family("tollgate_connections_limit", Kind::Gauge, "Most client connections at once.")
        .sample(&[], limit);
    out.family("tollgate_connections_accepted_total", Kind::Counter, "Client connections so far.")
        .sample(&[], sum(workers, |it| it.connections.get()));
    out.family("tollgate_tls_connections_open", Kind::Gauge, "Client connections under TLS.")
        .sample(&[], sum(workers, |it| it.tls.get()));
    out.family("tollgate_tls_handshakes_total", Kind::Counter, "TLS handshakes with clients.")
        .sample(&[("outcome", "ok")], sum(workers, |it| it.tls_handshakes.get()))
        .sample(&[("outcome", "failed")], sum(workers, |it| it.tls_failures.get()));
}

fn limits(out: &mut Exposition, reading: &Reading, workers: &[Arc<Metrics>]) {
    let refused = |reason: &str| {
        let outcomes = reading.routes.values().flat_map(|route| &route.outcomes);
        outcomes.filter(|(it, _)| it.reason == reason).map(|(_, count)| count).sum::<u64>()
    };
    let held_back = sum(workers, |it| it.held_back.get());
    out.family(
        "tollgate_limits_hit_total",
        Kind::Counter,
        "How often a limit was met: requests refused, or pauses in which no connection was accepted.",
    )
    .sample(&[("limit", "max_connections")], held_back)
    .sample(&[("limit", "rate_limit")], refused("rate_limited"))
    .sample(&[("limit", "token_throttle")], refused("throttled"));
}

fn upstreams(out: &mut Exposition, facts: &Facts, current: &Generation) {
    let mut all: Vec<(&str, String, OriginReport)> = Vec::new();
    for (upstream, origins) in current.origins().reports(facts.clock.monotonic()) {
        let named = |(origin, report): (&Origin, OriginReport)| {
            (upstream.name.as_str(), origin.to_string(), report)
        };
        all.extend(origins.into_iter().map(named));
    }
    let mut family = |name, kind, about, number: fn(&OriginReport) -> u64| {
        out.family(name, kind, about);
        for (upstream, origin, report) in &all {
            out.sample(&[("upstream", upstream), ("origin", origin)], number(report));
        }
    };
    family(
        "tollgate_upstream_usable",
        Kind::Gauge,
        "Whether requests are sent to the origin: it is well, and not left out.",
        |report| u64::from(report.standing.is_usable()),
    );
    family(
        "tollgate_upstream_requests_active",
        Kind::Gauge,
        "Requests sent to the origin whose answers have not ended.",
        |report| report.active,
    );
    family(
        "tollgate_upstream_connections_idle",
        Kind::Gauge,
        "Connections to the origin that wait for a request.",
        |report| report.idle,
    );
    family(
        "tollgate_upstream_requests_total",
        Kind::Counter,
        "Requests sent to the origin.",
        |report| report.requests,
    );
    family(
        "tollgate_upstream_failures_total",
        Kind::Counter,
        "Requests and health checks that the origin failed.",
        |report| report.failures,
    );
}

fn issuers(out: &mut Exposition, current: &Generation, now: u64) {
    let all: Vec<(&str, Standing)> =
        standings(current, now).map(|(issuer, it)| (issuer.name.as_str(), it)).collect();
    out.family(
        "tollgate_issuer_usable",
        Kind::Gauge,
        "Whether tokens of the issuer can be judged.",
    );
    for (name, it) in &all {
        out.sample(&[("issuer", name)], u8::from(it.state.is_usable()));
    }
    out.family("tollgate_issuer_keys", Kind::Gauge, "Keys of the issuer that are known.");
    for (name, it) in &all {
        let keys = it.keys.as_ref().map_or(0, |set| set.keys().len());
        out.sample(&[("issuer", name)], keys);
    }
    out.family(
        "tollgate_issuer_age_seconds",
        Kind::Gauge,
        "Since keys or metadata of the issuer were last read with success.",
    );
    for (name, it) in &all {
        if let Some(age) = it.age_seconds {
            out.sample(&[("issuer", name)], age);
        }
    }
    out.family("tollgate_issuer_fetches_total", Kind::Counter, "Looks at keys and metadata.");
    for (name, it) in &all {
        out.sample(&[("issuer", name), ("outcome", "ok")], it.fetched)
            .sample(&[("issuer", name), ("outcome", "failed")], it.failed);
    }
    introspection(out, &all);
}

fn introspection(out: &mut Exposition, all: &[(&str, Standing)]) {
    let asked = || all.iter().filter_map(|(name, it)| Some((*name, it.asked.as_ref()?)));
    out.family("tollgate_introspection_calls_total", Kind::Counter, "Questions about tokens.");
    for (name, it) in asked() {
        let ok = it.calls.saturating_sub(it.failures);
        out.sample(&[("issuer", name), ("outcome", "ok")], ok)
            .sample(&[("issuer", name), ("outcome", "failed")], it.failures);
    }
    out.family(
        "tollgate_introspection_breaker_open",
        Kind::Gauge,
        "Whether the issuer is spared questions, because it failed.",
    );
    for (name, it) in asked() {
        out.sample(&[("issuer", name)], u8::from(it.breaker != "closed"));
    }
    out.family(
        "tollgate_introspection_duration_seconds",
        Kind::Histogram,
        "From a question about a token to its end.",
    );
    for (name, it) in asked() {
        out.histogram(&[("issuer", name)], &it.latency);
    }
}

fn caches(out: &mut Exposition, current: &Generation, workers: &[Arc<Metrics>], now: u64) {
    let held = |of: fn(&Metrics) -> u64| workers.iter().map(|it| of(it)).sum::<u64>();
    // name, entries, bytes, hits, misses
    let mut all = vec![(
        "verified_tokens".to_owned(),
        held(|it| it.held.cache_entries.get()),
        held(|it| it.held.cache_bytes.get()),
        held(|it| it.held.cache_hits.get()),
        held(|it| it.held.cache_misses.get()),
    )];
    for (issuer, it) in standings(current, now) {
        if let Some(it) = it.asked {
            let (entries, bytes) = (it.entries as u64, it.bytes as u64);
            all.push((
                format!("introspection:{}", issuer.name),
                entries,
                bytes,
                it.hits,
                it.misses,
            ));
        }
    }
    out.family("tollgate_cache_entries", Kind::Gauge, "What is remembered.");
    for (name, entries, ..) in &all {
        out.sample(&[("cache", name)], entries);
    }
    out.family("tollgate_cache_bytes", Kind::Gauge, "About what that weighs.");
    for (name, _, bytes, ..) in &all {
        out.sample(&[("cache", name)], bytes);
    }
    out.family("tollgate_cache_lookups_total", Kind::Counter, "Whether remembering was of use.");
    for (name, _, _, hits, misses) in &all {
        out.sample(&[("cache", name), ("outcome", "hit")], hits)
            .sample(&[("cache", name), ("outcome", "miss")], misses);
    }
    if let Some(records) = current.store().records() {
        out.family("tollgate_store_records", Kind::Gauge, "Records in the store, of all kinds.")
            .sample(&[], records);
    }
}

fn configuration(out: &mut Exposition, facts: &Facts, current: &Generation, now: u64) {
    let reloads = facts.reloads();
    out.family("tollgate_reloads_total", Kind::Counter, "Reloads of the configuration.")
        .sample(&[("outcome", "ok")], reloads.ok)
        .sample(&[("outcome", "failed")], reloads.failed);
    out.family(
        "tollgate_last_reload_successful",
        Kind::Gauge,
        "Whether the last reload was applied.",
    )
    .sample(&[], u8::from(reloads.last.as_ref().is_none_or(|last| last.ok)));
    if let Some(last) = &reloads.last {
        out.family("tollgate_last_reload_timestamp_seconds", Kind::Gauge, "When that was.")
            .sample(&[], last.at);
    }
    out.family("tollgate_config_generation", Kind::Gauge, "Counts configurations from 1.")
        .sample(&[], current.number());
    out.family(
        "tollgate_config_loaded_timestamp_seconds",
        Kind::Gauge,
        "When the configuration in force was applied.",
    )
    .sample(&[], reloads.loaded_at);
    out.family(
        "tollgate_expiry_timestamp_seconds",
        Kind::Gauge,
        "When a certificate or a secret stops being good; of several of one name, the last.",
    );
    let mut ends = std::collections::BTreeMap::new();
    for it in endings(current.settings(), now) {
        ends.insert((it.what, it.name), it.not_after);
    }
    for ((what, name), not_after) in &ends {
        out.sample(&[("what", what), ("name", name)], not_after);
    }
}

fn process(out: &mut Exposition, facts: &Facts) {
    let process = Process::look();
    out.family(
        "tollgate_log_lines_dropped_total",
        Kind::Counter,
        "Lines that nobody read in time.",
    )
    .sample(&[], facts.log_lines_dropped());
    out.family("process_start_time_seconds", Kind::Gauge, "When the gateway started.")
        .sample(&[], facts.started_at);
    if let Some(cpu) = process.cpu_seconds {
        out.family("process_cpu_seconds_total", Kind::Counter, "Time on processors.")
            .sample(&[], cpu);
    }
    let gauges = [
        ("process_resident_memory_bytes", process.memory_bytes, "Resident memory."),
        ("process_open_fds", process.open_files, "Open file descriptors."),
        ("process_max_fds", process.most_files, "Most file descriptors."),
        ("process_threads", process.threads, "Threads."),
    ];
    for (name, value, help) in gauges {
        if let Some(value) = value {
            out.family(name, Kind::Gauge, help).sample(&[], value);
        }
    }
}

fn sum(workers: &[Arc<Metrics>], of: impl Fn(&Counters) -> u64) -> u64 {
    workers.iter().map(|worker| of(&worker.counters)).sum()
}
