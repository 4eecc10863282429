//! Traces: what goes on to the upstream, what a collector gets, and that neither it nor a client can do harm by it.

#![cfg(feature = "otel")]
#![allow(clippy::unwrap_used)]

mod support;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use prost::Message;
use support::process::Process;
use support::{Gateway, PATIENCE, Upstream, bearer, eventually, get, post, toml};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

fn collector() -> Upstream {
    Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n"
            .to_vec()
    })
}

fn text(upstream: &Upstream, collector: &Upstream, server: &str, keys: &str, rest: &str) -> String {
    let tracing = format!(
        "[tracing]\nendpoint = \"http://{}/v1/traces\"\nservice_name = \"edge\"\n{keys}\n{rest}",
        collector.address
    );
    toml(&format!("http://{}", upstream.address), server, "", &tracing)
}

fn gateway(upstream: &Upstream, collector: &Upstream, server: &str, keys: &str) -> Gateway {
    Gateway::from_toml(&text(upstream, collector, server, keys, ""))
}

/// The spans that have come, once there are `count` of them.
fn spans(collector: &Upstream, count: usize) -> Vec<Span> {
    let read = || {
        let bodies = collector.seen().into_iter();
        let requests = bodies
            .map(|seen| ExportTraceServiceRequest::decode(seen.body.as_slice()).expect("protobuf"));
        let scopes = requests
            .flat_map(|request| request.resource_spans)
            .flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).collect::<Vec<_>>()
    };
    eventually("the collector has the spans", || read().len() >= count);
    read()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn with_trace(path: &str, traceparent: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{traceparent}\r\n").into_bytes()
}

fn traceparent(flags: &str) -> String {
    format!("traceparent: 00-{TRACE}-{PARENT}-{flags}\r\n")
}

/// Trace, span and flags that the upstream was told.
fn told(upstream: &Upstream) -> (String, String, String) {
    let told = upstream.seen().pop().unwrap().field("traceparent").unwrap();
    let parts: Vec<&str> = told.split('-').collect();
    let [version, trace, span, flags] = parts[..] else { panic!("{told}") };
    assert_eq!((version, trace.len(), span.len(), flags.len()), ("00", 32, 16, 2), "{told}");
    (trace.to_owned(), span.to_owned(), flags.to_owned())
}

#[test]
fn a_request_becomes_a_span_and_what_is_asked_of_the_upstream_one_below_it() {
    let (upstream, collector) = (Upstream::start(), collector());
    let rest = "[[routes]]\nname = \"player\"\npath = \"/players/{id}\"\naccess = \"public\"";
    let gateway = Gateway::from_toml(&text(
        &upstream,
        &collector,
        "",
        "headers = { x-api-key = \"s3cret\" }",
        rest,
    ));
    let path = "/players/7?api_key=qu3ry";
    let answer =
        gateway.ask(with_trace(path, &format!("{}tracestate: a=b,c=d\r\n", traceparent("01"))));
    assert_eq!(answer.status, 200);
    let spans = spans(&collector, 2);
    let server = spans.iter().find(|span| span.kind() == SpanKind::Server).unwrap();
    let client = spans.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    assert_eq!((hex(&server.trace_id), hex(&server.parent_span_id)), (TRACE.into(), PARENT.into()));
    assert_eq!((hex(&client.trace_id), &client.parent_span_id), (TRACE.into(), &server.span_id));
    assert_eq!(told(&upstream), (TRACE.to_owned(), hex(&client.span_id), "01".to_owned()));
    assert_eq!(upstream.only().field("tracestate").as_deref(), Some("a=b,c=d"));

    assert_eq!(server.name, "GET /players/{id}");
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.response.status_code", "200"),
        ("http.route", "/players/{id}"),
        ("url.path", "/players/7"),
        ("url.scheme", "http"),
        ("server.address", "api.test"),
        ("client.address", "127.0.0.1"),
        ("network.protocol.version", "1.1"),
        ("tollgate.decision", "open"),
        ("tollgate.reason", "open_route"),
        ("tollgate.route", "player"),
    ] {
        assert_eq!(attribute(server, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(attribute(client, "server.address").as_deref(), Some("127.0.0.1"));
    let port = upstream.address.port().to_string();
    assert_eq!(attribute(client, "server.port"), Some(port));
    assert!(server.start_time_unix_nano <= client.start_time_unix_nano);
    assert!(client.start_time_unix_nano <= client.end_time_unix_nano);
    assert!(client.end_time_unix_nano <= server.end_time_unix_nano + 5_000_000);

    let asked = collector.only();
    assert_eq!(asked.line, "POST /v1/traces HTTP/1.1");
    assert_eq!(asked.field("content-type").as_deref(), Some("application/x-protobuf"));
    assert_eq!(asked.field("x-api-key").as_deref(), Some("s3cret"));
    assert_eq!(asked.field("host"), Some(collector.address.to_string()));
    let sent = ExportTraceServiceRequest::decode(asked.body.as_slice()).unwrap();
    let resource = sent.resource_spans[0].resource.as_ref().unwrap();
    let service = resource.attributes.iter().find(|said| said.key == "service.name").unwrap();
    assert!(format!("{service:?}").contains("edge"));
    assert!(!String::from_utf8_lossy(&asked.body).contains("qu3ry"));
}

#[test]
fn refusals_and_failures_are_told_and_no_token_is() {
    let upstream = Upstream::answering(|_| Vec::new());
    let collector = collector();
    let gateway = gateway(&upstream, &collector, "", "");
    let token = gateway.token();
    assert_eq!(gateway.ask(post("/a", "Authorization: Bearer n0nsense\r\n", b"")).status, 401);
    assert_eq!(gateway.ask(post("/b", &bearer(&token), b"")).status, 502);
    assert_eq!(gateway.ask(with_trace("/", "bad header\r\n")).status, 400);
    let spans = spans(&collector, 4);
    let of = |path: &str, kind: SpanKind| {
        let is = |span: &&Span| {
            span.kind() == kind && attribute(span, "url.path").is_none_or(|its| its == path)
        };
        spans.iter().find(is).unwrap_or_else(|| panic!("{path} in {spans:?}"))
    };
    let refused = of("/a", SpanKind::Server);
    assert_eq!(attribute(refused, "tollgate.decision").as_deref(), Some("refused"));
    assert_eq!(attribute(refused, "http.response.status_code").as_deref(), Some("401"));
    assert!(refused.status.as_ref().is_none_or(|status| status.code() != StatusCode::Error));
    let failed = of("/b", SpanKind::Server);
    assert_eq!(attribute(failed, "error.type").as_deref(), Some("502"));
    assert_eq!(failed.status.as_ref().unwrap().code(), StatusCode::Error);
    let asked = of("", SpanKind::Client);
    assert!(attribute(asked, "error.type").unwrap().starts_with("upstream"));
    for seen in collector.seen() {
        let body = String::from_utf8_lossy(&seen.body).into_owned();
        for secret in [token.as_str(), "n0nsense", support::SECRET] {
            assert!(!body.contains(secret));
        }
    }
}

#[test]
fn a_malformed_context_begins_a_new_trace_and_takes_its_state_away() {
    let (upstream, collector) = (Upstream::start(), collector());
    let gateway = gateway(&upstream, &collector, "", "");
    let good = format!("00-{TRACE}-{PARENT}-01");
    for bad in [
        String::new(),
        good[..54].to_owned(),
        format!("{good}-more"),
        good.to_uppercase(),
        good.replacen("00", "ff", 1),
        good.replace(TRACE, &"0".repeat(32)),
        good.replace(PARENT, &"0".repeat(16)),
        good.replace('4', "g"),
        format!("{good}\r\ntraceparent: {good}"),
        format!("{good},{good}"),
    ] {
        let fields = format!("traceparent: {bad}\r\ntracestate: a=b\r\n");
        assert_eq!(gateway.ask(with_trace("/", &fields)).status, 200, "{bad}");
        let (trace, span, _) = told(&upstream);
        assert_ne!(trace, TRACE, "{bad}");
        assert!(trace != "0".repeat(32) && span != "0".repeat(16) && span != PARENT, "{bad}");
        assert_eq!(upstream.seen().pop().unwrap().field("tracestate"), None, "{bad}");
    }
    // a later version is read as far as it is known, and told as what we speak
    let later = format!("traceparent: 01-{TRACE}-{PARENT}-01-more\r\n");
    assert_eq!(gateway.ask(with_trace("/", &later)).status, 200);
    assert_eq!(told(&upstream).0, TRACE);
    // `Connection` cannot take a trace away
    let named = format!("{}Connection: traceparent\r\n", traceparent("01"));
    assert_eq!(gateway.ask(with_trace("/", &named)).status, 200);
    assert_eq!(told(&upstream).0, TRACE);
}

#[test]
fn a_stranger_cannot_have_more_recorded_than_the_share_and_a_trusted_proxy_decides() {
    let (upstream, collector) = (Upstream::start(), collector());
    let stranger = gateway(&upstream, &collector, "", "sample_ratio = 0");
    assert_eq!(stranger.ask(with_trace("/", &traceparent("01"))).status, 200);
    let (trace, span, flags) = told(&upstream);
    assert_eq!((trace.as_str(), flags.as_str()), (TRACE, "00"));
    assert_ne!(span, PARENT);
    drop(stranger);

    let trusted = "trusted_proxies = [\"127.0.0.1\"]";
    let proxy = gateway(&upstream, &collector, trusted, "sample_ratio = 0");
    assert_eq!(proxy.ask(with_trace("/proxied", &traceparent("01"))).status, 200);
    assert_eq!(told(&upstream).2, "01");
    assert_eq!(proxy.ask(with_trace("/", &traceparent("00"))).status, 200);
    assert_eq!(told(&upstream).2, "00");
    let spans = spans(&collector, 2);
    assert_eq!(spans.len(), 2, "{spans:?}");
    assert!(spans.iter().all(|span| hex(&span.trace_id) == TRACE));

    let half = gateway(&upstream, &collector, "", "sample_ratio = 0.5");
    let mut client = half.connect();
    let sampled = (0..200).filter(|_| {
        client.send(get("/"));
        assert_eq!(client.answer().status, 200);
        let flags = told(&upstream).2;
        assert!(matches!(flags.as_str(), "02" | "03"), "{flags}"); // of our own making: random
        flags == "03"
    });
    let sampled = sampled.count();
    assert!((50..150).contains(&sampled), "{sampled} of 200");
}

#[test]
fn without_tracing_a_context_goes_on_as_it_came() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    let fields = format!("{}tracestate: a=b\r\nConnection: tracestate\r\n", traceparent("01"));
    assert_eq!(gateway.ask(with_trace("/", &fields)).status, 200);
    let seen = upstream.only();
    assert_eq!(seen.field("traceparent"), Some(format!("00-{TRACE}-{PARENT}-01")));
    assert_eq!(seen.field("tracestate").as_deref(), Some("a=b"));
    gateway.ask(get("/"));
    assert_eq!(upstream.seen().pop().unwrap().field("traceparent"), None);
}

#[test]
fn a_collector_that_is_away_slow_or_talks_nonsense_holds_no_request_up() {
    let upstream = Upstream::start();
    let silent = Upstream::scripted(|mut connection| while connection.fill() {});
    let nonsense = Upstream::answering(|_| b"nonsense\r\n\r\n".to_vec());
    let refusing = Upstream::answering(|_| {
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_vec()
    });
    let away = {
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    for address in [silent.address, nonsense.address, refusing.address, away] {
        let tracing = format!("[tracing]\nendpoint = \"http://{address}/v1/traces\"");
        let gateway =
            Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", &tracing));
        let mut client = gateway.connect();
        for _ in 0..50 {
            client.send(get("/"));
            assert_eq!(client.answer().status, 200);
        }
        drop(client);
        // nor the end
        let (clock, started) = (gateway.clock.clone(), gateway.clock.monotonic());
        gateway.finish();
        let took = clock.monotonic().duration_since(started);
        assert!(took < PATIENCE, "{took:?}");
    }
}

#[test]
fn what_was_made_before_the_end_is_sent_and_the_log_names_the_trace() {
    for (format, mark) in [("text", "trace_id="), ("json", "\"trace_id\":\"")] {
        let (upstream, collector) = (Upstream::start(), collector());
        let gateway = Process::start(&text(
            &upstream,
            &collector,
            "",
            "",
            &format!("[log]\nformat = \"{format}\""),
        ));
        let mut client = support::Client::connect(gateway.address);
        client.send(with_trace("/", &format!("{}Connection: close\r\n", traceparent("01"))));
        assert_eq!(client.answer().status, 200);
        let (code, log) = gateway.terminate();
        assert_eq!(code, Some(0));
        assert!(log.contains(&format!("{mark}{TRACE}")), "{log}");
        assert_eq!(spans(&collector, 2).len(), 2);
    }
}

#[test]
fn a_reload_takes_the_collector_along_or_changes_it() {
    let (upstream, first, second) = (Upstream::start(), collector(), collector());
    let gateway = gateway(&upstream, &first, "", "");
    gateway.ask(get("/one"));
    gateway.reload(&text(&upstream, &first, "", "", "[access]\nprotect = \"none\"")).unwrap();
    gateway.ask(get("/two"));
    assert_eq!(spans(&first, 4).len(), 4);
    gateway.reload(&text(&upstream, &second, "", "", "")).unwrap();
    gateway.ask(get("/three"));
    let paths: Vec<_> =
        spans(&second, 2).iter().filter_map(|span| attribute(span, "url.path")).collect();
    assert_eq!(paths, ["/three"]);
    gateway.reload(&toml(&format!("http://{}", upstream.address), "", "", "")).unwrap();
    gateway.ask(get("/four"));
    assert_eq!(upstream.seen().pop().unwrap().field("traceparent"), None);
}
