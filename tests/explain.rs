//! `tollgate explain` tells what the gateway would do, from the code that does it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn tollgate(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).args(["--config", "tests/fixtures/explain.toml"]);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env_clear().output().unwrap()
}

fn token() -> String {
    let made = tollgate(&["token", "issue", "--client", "shop"]);
    String::from_utf8(made.stdout).unwrap().trim().to_owned()
}

/// What a shell would make of a line without escapes: words, some of them between single quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (number, part) in line.split('\'').enumerate() {
        match number % 2 {
            0 => words.extend(part.split_whitespace().map(str::to_owned)),
            _ => words.push(part.to_owned()),
        }
    }
    words
}

/// `explain.txt` reads like a terminal: a command behind a dollar sign, what it prints, and its exit code.
#[test]
fn six_requests_and_more_are_explained_as_written() {
    let token = token();
    let written = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/explain.txt");
    let wanted = fs::read_to_string(&written).unwrap();
    let mut found = String::new();
    for line in wanted.lines().filter(|line| line.starts_with("$ tollgate ")) {
        let words: Vec<String> =
            words(line).into_iter().skip(2).map(|word| word.replace("$TOKEN", &token)).collect();
        let ended = tollgate(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let said = String::from_utf8(ended.stdout).unwrap();
        assert!(!said.contains(&token), "a token was printed");
        let code = ended.status.code().unwrap();
        let errors = String::from_utf8(ended.stderr).unwrap();
        found += &format!("{line}\n{said}{errors}[exit {code}]\n\n");
    }
    assert!(found.matches("[exit ").count() >= 6);
    assert!(found == wanted, "{} should be:\n{found}", written.display());
}

#[test]
fn json_says_the_same_and_no_secret() {
    let token = token();
    let secrets = ["X-Api-Key: k3y", "Cookie: session=s3ss", "X-Signature: s1gn", "X-Plain: seen"];
    let mut arguments =
        vec!["explain", "POST", "http://eu.example.com/tenants/acme?api_token=qu3ry", "--json"];
    arguments.extend(["--token", &token]);
    arguments.extend(secrets.iter().flat_map(|header| ["--header", header]));
    let ended = tollgate(&arguments);
    assert_eq!(ended.status.code(), Some(0));
    let text = String::from_utf8(ended.stdout).unwrap();
    for secret in ["k3y", "s3ss", "s1gn", "qu3ry", &token, "forty-four", "sufficient"] {
        assert!(!text.contains(secret), "{secret} is in {text}");
    }
    let said: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["decision"], &said["reason"]), (&"allowed".into(), &"valid_token".into()));
    assert_eq!(said["route"]["name"], "tenant");
    // whether it was revoked only a running gateway knows
    let mut checks = said["checks"].as_array().unwrap().iter();
    assert!(checks.all(|check| check["passed"] == true || check["name"] == "not revoked"));
    let headers = said["upstream_headers"].as_array().unwrap();
    assert!(headers.contains(&serde_json::json!(["x-tenant", "acme"])));
    assert!(headers.contains(&serde_json::json!(["x-plain", "seen"])));
}

#[test]
fn what_is_no_request_is_told() {
    for arguments in [&["explain", "GET", "players"][..], &["explain", "GET", "/", "-H", "none"]] {
        let ended = tollgate(arguments);
        assert_eq!(ended.status.code(), Some(1));
        assert!(String::from_utf8(ended.stderr).unwrap().starts_with("error: "));
    }
}

#[test]
fn a_request_over_http_2_is_explained_as_one() {
    for (flag, via) in [(&[][..], "via: 1.1 tollgate"), (&["--http2"], "via: 2 tollgate")] {
        let ended = tollgate(&[&["explain", "GET", "/public"], flag].concat());
        let said = String::from_utf8(ended.stdout).unwrap();
        assert!(said.contains(via), "{said}");
    }
}
