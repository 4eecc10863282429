//! The audit log: what it says, what it never says, and that nothing is lost in silence.

#![allow(clippy::unwrap_used)]

mod support;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::process::Process;
use support::{CLIENT, Gateway, SECRET, Upstream, bearer, eventually, form, get, post, toml};

/// A file that is not there yet, in a folder of its own.
fn file() -> PathBuf {
    support::scratch_file("folder", "").with_file_name("audit.jsonl")
}

fn text(upstream: &Upstream, file: &Path, rest: &str) -> String {
    let audit = format!("[audit]\noutput = \"file:{}\"\n{rest}", file.display());
    toml(&format!("http://{}", upstream.address), "", "", &audit)
}

fn events(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The first event of this kind, once there is one.
fn event(file: &Path, kind: &str) -> Value {
    let find = || events(file).into_iter().find(|event| event["event"] == kind);
    eventually(kind, || find().is_some());
    find().unwrap()
}

fn ask(gateway: &Gateway, path: &str, pairs: &[(&str, &str)]) -> support::Answer {
    let fields = "Content-Type: application/x-www-form-urlencoded\r\nX-Request-Id: mine-1\r\n";
    let mut all = vec![("client_id", CLIENT), ("client_secret", SECRET)];
    all.extend_from_slice(pairs);
    gateway.ask(post(path, fields, form(&all).as_bytes()))
}

const ENDPOINTS: &str =
    "[token.endpoints]\nintrospect = \"/auth/introspect\"\nrevoke = \"/auth/revoke\"\n";

#[test]
fn the_life_of_a_token_is_told_and_the_token_is_not() {
    for format in ["jwt", "opaque"] {
        let (upstream, file) = (Upstream::start(), file());
        let text = text(&upstream, &file, ENDPOINTS);
        let text = text.replace("[[clients]]", &format!("format = \"{format}\"\n[[clients]]"));
        let gateway = Gateway::from_toml(&text);
        let answer = ask(&gateway, "/auth/token", &[("grant_type", "client_credentials")]);
        let token = answer.json()["access_token"].as_str().unwrap().to_owned();
        assert_eq!(ask(&gateway, "/auth/introspect", &[("token", &token)]).json()["active"], true);
        assert_eq!(ask(&gateway, "/auth/revoke", &[("token", &token)]).status, 200);
        assert_eq!(gateway.ask(post("/players?q=s3cret", &bearer(&token), b"")).status, 401);

        let issued = event(&file, "issued");
        assert_eq!(issued["client_id"], CLIENT);
        assert_eq!(issued["scope"], "api:write");
        assert_eq!(issued["audience"], support::AUDIENCE);
        assert_eq!(issued["format"], format);
        assert_eq!(issued["authentication"], "client_secret_post");
        assert_eq!(issued["request_id"], "mine-1");
        assert_eq!(issued["client_address"], "127.0.0.1");
        assert!(issued["expires_at"].as_u64().unwrap() > 1_700_000_000);
        let jti = issued["jti"].as_str().unwrap().to_owned();
        assert!(jti.len() >= 16 && !token.contains(&jti));
        let told = event(&file, "introspected");
        assert_eq!((&told["jti"], &told["active"]), (&jti.as_str().into(), &true.into()));
        let revoked = event(&file, "revoked");
        assert_eq!(
            (&revoked["jti"], &revoked["client_id"]),
            (&jti.as_str().into(), &CLIENT.into())
        );
        let refused = event(&file, "refused");
        assert_eq!(refused["path"], "/players");
        assert_eq!(refused["status"], 401);
        assert!(!refused["reason"].as_str().unwrap().is_empty(), "{refused}");

        gateway.finish();
        let written = std::fs::read_to_string(&file).unwrap();
        for secret in [token.as_str(), SECRET, "s3cret", support::KEY] {
            assert!(!written.contains(secret));
        }
        let numbers: Vec<u64> =
            events(&file).iter().map(|event| event["sequence"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
        let kinds: Vec<_> = events(&file).iter().map(|event| event["event"].clone()).collect();
        assert_eq!((&kinds[0], kinds.last().unwrap()), (&"started".into(), &"stopped".into()));
    }
}

#[test]
fn who_is_refused_and_why_is_told_and_who_is_let_in_is_not() {
    let (upstream, file) = (Upstream::start(), file());
    let rest = "[[routes]]\nname = \"admin\"\npath = \"/admin\"\nall_of = [\"admin\"]\n\
                [[routes]]\nname = \"trial\"\npath = \"/trial\"\naccess = \"protected\"\nmode = \"report\"";
    let gateway = Gateway::from_toml(&text(&upstream, &file, rest));
    let token = bearer(&gateway.token());
    assert_eq!(gateway.ask(get("/players")).status, 200);
    assert_eq!(gateway.ask(post("/players", &token, b"")).status, 200);
    let admin = format!("GET /admin HTTP/1.1\r\nHost: api.test\r\n{token}\r\n");
    assert_eq!(gateway.ask(admin).status, 403);
    assert_eq!(gateway.ask(get("/trial")).status, 200);
    assert_eq!(gateway.ask("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").status, 400);
    let wrong = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", "wr0ng"),
    ]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gateway.ask(post("/auth/token", fields, wrong.as_bytes())).status, 401);
    gateway.finish();
    let told: Vec<_> = events(&file)
        .into_iter()
        .filter(|event| event["event"] == "refused" || event["event"] == "reported")
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap_or("-").to_owned();
            let who = event["client_id"].as_str().unwrap_or("-").to_owned();
            (text("event"), text("route"), text("reason"), event["status"].as_u64().unwrap(), who)
        })
        .collect();
    let expect = |event: &str, route: &str, reason: &str, status, who: &str| {
        (event.to_owned(), route.to_owned(), reason.to_owned(), status, who.to_owned())
    };
    assert_eq!(
        told,
        [
            expect("refused", "admin", "missing_scope", 403, CLIENT),
            expect("reported", "trial", "no_credential", 200, "-"),
            expect("refused", "default", "bad_host", 400, "-"),
            expect("refused", "token", "wrong_secret", 401, CLIENT),
        ]
    );
    assert!(!std::fs::read_to_string(&file).unwrap().contains("wr0ng"));
}

#[test]
fn j59_nothing_that_a_client_sends_writes_a_line_of_its_own() {
    let (upstream, file) = (Upstream::start(), file());
    let gateway = Gateway::from_toml(&text(&upstream, &file, ""));
    for (path, fields) in [
        ("/a%0a%7b%22event%22:%22issued%22%7d", ""),
        ("/%1b%5b31m", ""),
        ("/a", "X-Request-Id: a\"}{\"event\":\"issued\r\n"),
        ("/a", "X-Forwarded-For: 1.2.3.4\"}\r\n"),
        ("/a", "Authorization: Bearer x\"}\u{9b}{\"event\":\"issued\"}\r\n"),
        ("/\u{2028}", ""),
    ] {
        let answer = gateway.ask(post(path, fields, b""));
        assert!((400..500).contains(&answer.status), "{path} {fields}: {answer:?}");
    }
    for id in ["a\r\nb", "{\"event\":\"issued\"}", "\u{202e}evil\u{1b}[2J"] {
        let body = form(&[
            ("grant_type", "client_credentials"),
            ("client_id", id),
            ("client_secret", "x"),
        ]);
        let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
        assert!(gateway.ask(post("/auth/token", fields, body.as_bytes())).status >= 400);
    }
    gateway.finish();
    let bytes = std::fs::read(&file).unwrap();
    assert!(bytes.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\n')));
    let kinds: Vec<_> = events(&file).into_iter().map(|event| event["event"].clone()).collect();
    assert!(kinds.iter().filter(|kind| **kind == "refused").count() >= 9, "{kinds:?}");
    assert!(!kinds.contains(&"issued".into()), "{kinds:?}");
}

#[test]
fn the_file_is_for_its_owner_alone_is_appended_to_and_opened_again_at_a_reload() {
    let (upstream, file) = (Upstream::start(), file());
    std::fs::write(&file, "{\"event\":\"older\"}\n").unwrap();
    std::fs::remove_file(&file).unwrap();
    let text = text(&upstream, &file, "");
    let gateway = Gateway::from_toml(&text);
    gateway.token();
    let _ = event(&file, "issued");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let moved = file.with_extension("1");
    std::fs::rename(&file, &moved).unwrap();
    gateway.token();
    eventually("the moved file is still written", || {
        events(&moved).iter().filter(|event| event["event"] == "issued").count() == 2
    });
    gateway.reload(&text).unwrap();
    let reload = event(&file, "reload");
    assert_eq!((&reload["ok"], &reload["generation"]), (&true.into(), &2.into()));
    gateway.token();
    let _ = event(&file, "issued");
    let before = events(&moved).last().unwrap()["sequence"].as_u64().unwrap();
    assert_eq!(events(&file)[0]["sequence"].as_u64(), Some(before + 1));
    gateway.finish();
    // the next one goes on in the same file
    let lines = events(&file).len();
    let gateway = Gateway::from_toml(&text);
    gateway.finish();
    assert_eq!(events(&file).len(), lines + 2);
}

#[test]
fn reloads_are_told_whether_they_were_applied_or_not() {
    let (upstream, file) = (Upstream::start(), file());
    let gateway = Gateway::from_toml(&text(&upstream, &file, ""));
    let started = event(&file, "started");
    let digest = started["configuration"].as_str().unwrap().to_owned();
    assert_eq!(digest.len(), 64);
    let other = text(&upstream, &file, "[store]\nurl = \"file:elsewhere\"");
    gateway.reload(&other).unwrap_err();
    let failed = event(&file, "reload");
    assert_eq!((&failed["ok"], &failed["generation"]), (&false.into(), &1.into()));
    assert_eq!(failed["configuration"], digest.as_str());
    assert!(failed["faults"][0].as_str().unwrap().contains("store.url"), "{failed}");
    gateway.reload(&text(&upstream, &file, "[access]\nprotect = \"all\"")).unwrap();
    gateway.finish();
    let applied =
        events(&file).into_iter().filter(|event| event["event"] == "reload").nth(1).unwrap();
    assert_eq!(applied["ok"], true);
    assert_ne!(applied["configuration"], digest.as_str());
}

#[test]
fn a_file_that_cannot_be_opened_is_told_at_the_start() {
    let upstream = Upstream::start();
    let missing = file().with_file_name("missing").join("audit.jsonl");
    let failed = Process::fail(&text(&upstream, &missing, ""));
    assert_eq!(failed.code, Some(3));
    assert!(
        failed.stderr.contains("audit log") && failed.stderr.contains("audit.output"),
        "{}",
        failed.stderr
    );
}

/// `/dev/full` takes nothing, as a disk that is full.
#[test]
fn no_token_is_issued_where_that_has_to_be_written_and_cannot_be() {
    let upstream = Upstream::start();
    let full = Path::new("/dev/full");
    let gateway = Gateway::from_toml(&text(&upstream, full, "required = true"));
    let answer = ask(&gateway, "/auth/token", &[("grant_type", "client_credentials")]);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.text().contains("access_token"));
    // what needs no new token goes on
    assert_eq!(gateway.ask(get("/players")).status, 200);
    gateway.finish();

    let gateway = Gateway::from_toml(&text(&upstream, full, ""));
    assert!(!gateway.token().is_empty());
    gateway.finish();

    let gateway = Gateway::from_toml(&text(&upstream, &file(), "required = true"));
    assert!(!gateway.token().is_empty());
}

#[test]
fn on_standard_output_it_is_lines_among_lines() {
    let upstream = Upstream::start();
    let text = text(&upstream, Path::new("x"), "").replace("file:x", "stdout");
    let gateway = Process::start(&text);
    assert!(!gateway.token().is_empty());
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    let kinds: Vec<_> = log
        .lines()
        .filter(|line| line.starts_with("{\"sequence\":"))
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["event"].clone())
        .collect();
    assert_eq!(kinds, ["started", "issued", "stopped"]);
}
