//! `/metrics`: every number is there, is right, can be read by a parser that others wrote, and grows no label by what clients
//! choose.

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use support::{Client, Gateway, Upstream, bearer, eventually, get, post, toml, with_body};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    let rest = format!("{ADMIN}{rest}");
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", &rest))
}

fn scrape(gateway: &Gateway, accept: &str) -> support::Answer {
    ask(gateway.admin.unwrap(), accept)
}

fn ask(admin: SocketAddr, accept: &str) -> support::Answer {
    let mut client = Client::connect(admin);
    client.send(format!("GET /metrics HTTP/1.1\r\nHost: {admin}\r\nAccept: {accept}\r\n\r\n"));
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// A scrape, as Python's parser reads it.
struct Read(BTreeMap<String, (String, Vec<Sample>)>);

type Sample = (String, BTreeMap<String, String>, f64);

impl Read {
    fn now(gateway: &Gateway) -> Self {
        Self::parse("text", &scrape(gateway, "text/plain").text())
    }

    fn parse(format: &str, text: &str) -> Self {
        let mut parser = Command::new(python())
            .args(["tests/clients/python/metrics.py", format])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        parser.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let done = parser.wait_with_output().unwrap();
        assert!(done.status.success(), "{}\n{text}", String::from_utf8_lossy(&done.stderr));
        let families: BTreeMap<String, Value> = serde_json::from_slice(&done.stdout).unwrap();
        let read = families.into_iter().map(|(name, family)| {
            let samples = serde_json::from_value(family["samples"].clone()).unwrap();
            (name, (family["type"].as_str().unwrap().to_owned(), samples))
        });
        Self(read.collect())
    }

    /// The sum of all samples of this name that bear these labels.
    fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let all = self.0.values().flat_map(|(_, samples)| samples);
        let meant = all.filter(|(sample, has, _)| {
            sample == name && labels.iter().all(|(label, value)| has[*label] == *value)
        });
        meant.map(|(_, _, value)| value).sum()
    }

    fn series(&self) -> usize {
        self.0.values().map(|(_, samples)| samples.len()).sum()
    }
}

/// Python with the packages of the tests.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed =
            Command::new("bash").args(["tests/install.sh", "clients"]).current_dir(root).output();
        let installed = installed.unwrap();
        assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
        let target =
            std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
        root.join(target).join("test-tools/python/bin/python")
    })
}

/// Requests of each kind: (method, path, with a token, status).
fn traffic(gateway: &Gateway) {
    let token = bearer(&gateway.token());
    assert_eq!(gateway.ask(get("/open")).status, 200);
    assert_eq!(gateway.ask(post("/closed", "", b"")).status, 401);
    assert_eq!(gateway.ask(post("/closed", &token, b"")).status, 200);
    assert_eq!(gateway.ask(post("/closed", &token, b"")).status, 200);
    assert_eq!(gateway.ask(post("/admin/x", &token, b"")).status, 403);
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    let wrong = "grant_type=client_credentials&client_id=foobarbaz&client_secret=wrong";
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gateway.ask(post("/auth/token", fields, wrong.as_bytes())).status, 401);
}

const ROUTE: &str =
    "[[routes]]\npath = \"/admin/{*rest}\"\nname = \"admin\"\nall_of = [\"admin\"]\n";

#[test]
fn both_formats_are_read_by_the_parsers_of_prometheus_and_say_the_same() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, ROUTE);
    traffic(&gateway);
    eventually("the last request is counted", || gateway.totals().requests == 8);
    let text = scrape(&gateway, "text/plain;version=0.0.4");
    assert_eq!(text.field("content-type").unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    let open = scrape(&gateway, "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let kind = open.field("content-type").unwrap();
    assert_eq!(kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let (text, open) =
        (Read::parse("text", &text.text()), Read::parse("openmetrics", &open.text()));
    let kinds = |read: &Read| {
        let kinds = read.0.iter().map(|(name, (kind, _))| (name.clone(), kind.clone()));
        kinds.collect::<BTreeMap<_, _>>()
    };
    assert_eq!(kinds(&text), kinds(&open));
    for (name, (kind, samples)) in &text.0 {
        assert!(name.starts_with("tollgate_") || name.starts_with("process_"), "{name}");
        for (sample, _, value) in samples {
            assert!(value.is_finite() && *value >= 0.0, "{sample} {value}");
            assert_eq!(kind == "counter", sample.ends_with("_total"), "{sample} is a {kind}");
        }
    }
    assert_eq!(text.sum("tollgate_requests_total", &[]), open.sum("tollgate_requests_total", &[]));
}

#[test]
fn the_numbers_are_those_of_what_happened() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, ROUTE);
    traffic(&gateway);
    eventually("the last request is counted", || gateway.totals().requests == 8);
    let read = Read::now(&gateway);
    let count = |labels: &[(&str, &str)]| read.sum("tollgate_requests_total", labels);
    assert_eq!(count(&[("decision", "open"), ("reason", "open_method"), ("status", "200")]), 1.0);
    assert_eq!(count(&[("decision", "allowed"), ("reason", "valid_token")]), 2.0);
    assert_eq!(count(&[("reason", "no_credential"), ("status", "401")]), 1.0);
    assert_eq!(count(&[("route", "admin"), ("reason", "missing_scope"), ("status", "403")]), 1.0);
    assert_eq!(count(&[("reason", "bad_host"), ("status", "400")]), 1.0);
    assert_eq!(count(&[("route", "token"), ("decision", "own")]), 2.0);
    let totals = gateway.totals();
    assert_eq!(count(&[]), totals.requests as f64);
    assert_eq!(count(&[("decision", "refused")]), totals.refused as f64);
    let accepted = read.sum("tollgate_connections_accepted_total", &[]);
    assert_eq!(accepted, totals.connections as f64);
    for (outcome, method) in
        [("issued", "client_secret_post"), ("wrong_secret", "client_secret_post")]
    {
        let labels = [("outcome", outcome), ("client_authentication", method)];
        assert_eq!(read.sum("tollgate_tokens_total", &labels), 1.0, "{outcome}");
    }
    let counted = read.sum("tollgate_request_duration_seconds_count", &[]);
    assert_eq!(counted, totals.requests as f64);
    assert_eq!(read.sum("tollgate_upstream_duration_seconds_count", &[]), 3.0);
    assert!(read.sum("tollgate_request_duration_seconds_sum", &[]) > 0.0);
    assert_eq!(read.sum("tollgate_ready", &[]), 1.0);
    assert_eq!(read.sum("tollgate_config_generation", &[]), 1.0);
    assert!(read.sum("process_resident_memory_bytes", &[]) > 1e6);
    assert!(read.sum("process_open_fds", &[]) >= 3.0);
    eventually("what the workers hold is told", || {
        let read = Read::now(&gateway);
        read.sum("tollgate_cache_entries", &[("cache", "verified_tokens")]) >= 1.0
            && read.sum("tollgate_cache_lookups_total", &[("outcome", "miss")]) >= 1.0
    });
    // those that a client holds open
    let mut held = gateway.connect();
    held.send(get("/open"));
    assert_eq!(held.answer().status, 200);
    assert_eq!(Read::now(&gateway).sum("tollgate_connections_open", &[("protocol", "http1")]), 1.0);
    drop(held);
    eventually("the connection is not counted any more", || {
        Read::now(&gateway).sum("tollgate_connections_open", &[]) == 0.0
    });
}

#[test]
fn d160_a_million_different_tokens_paths_and_methods_make_no_new_series() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, ROUTE);
    let each = 300 * scale();
    // once of each kind, so that what is counted below is growth alone
    let attack = |from: usize, to: usize| {
        let mut client = gateway.connect();
        for number in from..to {
            let token = bearer(&format!("eyJhbGciOiJIUzI1NiJ9.e30.{number:043}"));
            client.send(post(&format!("/{number}"), &token, b""));
            assert_eq!(client.answer().status, 401);
            client.send(with_body(&format!("M{number}"), &format!("/admin/{number}"), "", b""));
            assert_eq!(client.answer().status, 401);
            let basic =
                format!("grant_type=client_credentials&client_id=c{number}&client_secret=x");
            let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
            client.send(post("/auth/token", fields, basic.as_bytes()));
            let status = client.answer().status;
            assert!(matches!(status, 401 | 429), "{status}");
            client.send(get(&format!("/{number}?q={number}")));
            assert_eq!(client.answer().status, 200);
        }
    };
    attack(0, 40);
    eventually("the last request is counted", || gateway.totals().requests == 160);
    let before = Read::now(&gateway);
    attack(40, 40 + each);
    let after = Read::now(&gateway);
    let names = |read: &Read| {
        let all = read.0.values().flat_map(|(_, samples)| samples.iter());
        let mut text = String::new();
        all.for_each(|(name, labels, _)| writeln!(text, "{name} {labels:?}").unwrap());
        text
    };
    // a throttle that sets in later is one series more
    let more = after.series() - before.series();
    assert!(more <= 2, "{more} new series:\n{}", names(&after));
    let told = names(&after);
    for chosen in ["M41", "c41", "/41", "eyJ"] {
        assert!(!told.contains(chosen), "{chosen}");
    }
}

#[test]
fn an_upstream_that_answers_with_every_status_there_is_makes_a_bounded_number_of_series() {
    let upstream = Upstream::answering(|seen| {
        let status = seen.line.split(['/', ' ']).nth(2).unwrap().to_owned();
        format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    let gateway = gateway(&upstream, "");
    for status in (200..600).filter(|status| ![204, 304].contains(status)) {
        assert_eq!(gateway.ask(get(&format!("/{status}"))).status, status);
    }
    eventually("the last request is counted", || gateway.totals().requests == 398);
    let read = Read::now(&gateway);
    assert_eq!(read.sum("tollgate_requests_total", &[]), 398.0);
    assert!(read.sum("tollgate_requests_total", &[("status", "other")]) > 0.0);
    let (_, samples) = &read.0["tollgate_requests"];
    assert!(samples.len() <= 2 * 129, "{}", samples.len());
}

#[test]
fn every_number_that_a_rule_or_a_board_looks_at_is_there() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, ROUTE);
    traffic(&gateway);
    let told = Read::now(&gateway);
    let script = "import json, sys, yaml\n\
        rules = yaml.safe_load(open('examples/observability/alerts.yml'))\n\
        scrape = yaml.safe_load(open('examples/observability/prometheus.yml'))\n\
        assert scrape['scrape_configs'][0]['job_name'] == 'tollgate'\n\
        assert scrape['rule_files'] == ['alerts.yml']\n\
        board = json.load(open('examples/observability/dashboard.json'))\n\
        found = [rule['expr'] for group in rules['groups'] for rule in group['rules']]\n\
        for rule in rules['groups'][0]['rules']:\n\
        \x20   assert rule['alert'] and rule['labels']['severity'] and rule['annotations']['summary']\n\
        found += [target['expr'] for panel in board['panels'] for target in panel['targets']]\n\
        json.dump(found, sys.stdout)\n";
    let done = Command::new(python())
        .args(["-c", script])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let expressions: Vec<String> = serde_json::from_slice(&done.stdout).unwrap();
    assert!(expressions.len() > 25, "{}", expressions.len());
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for expression in &expressions {
        let balance =
            |open, close| expression.matches(open).count() == expression.matches(close).count();
        assert!(balance("(", ")") && balance("{", "}") && balance("[", "]"), "{expression}");
        let words = expression.split(|c| !letter(c));
        let names =
            words.filter(|word| word.starts_with("tollgate_") || word.starts_with("process_"));
        for name in names {
            let family = name.trim_end_matches("_total").trim_end_matches("_bucket");
            assert!(told.0.contains_key(family), "{name} of {expression}");
        }
    }
}

#[test]
fn the_readme_names_every_number_there_is() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let scraped = scrape(&gateway, "text/plain").text();
    let there: BTreeSet<(&str, &str)> =
        scraped.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect();
    let readme = include_str!("../README.md");
    let told: BTreeSet<(&str, &str)> = readme
        .lines()
        .filter_map(|line| {
            let mut cells = line.strip_prefix("| `")?.split(" | ");
            let name = cells.next()?.strip_suffix('`')?;
            let is_number = name.starts_with("tollgate_") || name.starts_with("process_");
            is_number.then(|| Some((name, cells.next()?)))?
        })
        .filter(|(name, _)| *name != "tollgate_last_reload_timestamp_seconds") // after the first
        .collect();
    assert_eq!(there.difference(&told).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
    assert_eq!(told.difference(&there).collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
}

/// How much longer than usual a test is to run.
fn scale() -> usize {
    std::env::var("TOLLGATE_TEST_SCALE").map_or(1, |scale| scale.parse().unwrap())
}
