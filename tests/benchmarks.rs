//! The benchmarks that the README names run on this machine, see that nobody is measured who lets bad tokens through, and
//! make whole tables. No test asserts a time.

#![allow(clippy::unwrap_used)]

// Built with the tests' own profile: no benchmark is compiled for this.
#[path = "../benches/compare/main.rs"]
mod compare;
#[path = "../benches/steps/mod.rs"]
mod steps;

use std::fs;
use std::path::PathBuf;

use clap::Parser as _;
use compare::Options;
use serde_json::Value;

fn options(arguments: &[&str]) -> Options {
    let tollgate = format!("tollgate={}", env!("CARGO_BIN_EXE_tollgate"));
    let given = ["compare", "--polite", "--tollgate", &tollgate]
        .into_iter()
        .chain(arguments.iter().copied());
    Options::try_parse_from(given).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()))
}

#[test]
fn everybody_who_is_measured_refuses_a_dozen_bad_tokens() {
    let said = compare::run(&options(&["--check", "--tokens", "10"])).unwrap();
    let lines: Vec<&str> = said.lines().collect();
    let [haproxy, nginx, tollgate] = lines[..] else { panic!("three peers: {said}") };
    for guard in [haproxy, tollgate] {
        assert!(guard.contains("(HS256, RS256, ES256) and none of 12 bad ones"), "{said}");
    }
    assert!(nginx.contains("knows no tokens"), "{said}");
}

#[test]
fn a_short_comparison_makes_a_whole_table_without_a_bad_answer() {
    let (markdown, json) = (scratch("table.md"), scratch("turns.json"));
    let rounds =
        ["--rounds", "1", "--warmup", "0", "--workloads", "get,post-many", "--tokens", "50"];
    let files = ["--markdown", markdown.to_str().unwrap(), "--json", json.to_str().unwrap()];
    let said = compare::run(&options(&[&rounds[..], &files].concat())).unwrap();
    assert!(said.contains("\npost-many: "), "{said}");

    let table = fs::read_to_string(&markdown).unwrap();
    let rows: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    let [head, rule, get, post] = &rows[..] else { panic!("two workloads: {table}") };
    assert!(rows.iter().all(|row| row.len() == head.len() && head.len() == rule.len()), "{table}");
    assert!(get.iter().all(|cell| !cell.is_empty() && *cell != "–"), "{table}");
    assert!(post.contains(&"–"), "nginx knows no tokens: {table}");
    assert!(table.contains("Rounds: 1 of 1 s; bad answers: 0."), "{table}");
    assert!(!table.contains("NaN") && !table.contains("inf"), "{table}");

    let turns: Value = serde_json::from_str(&fs::read_to_string(&json).unwrap()).unwrap();
    for (workload, peer) in [
        ("get", "haproxy"),
        ("get", "nginx"),
        ("get", "tollgate"),
        ("post-many", "haproxy"),
        ("post-many", "tollgate"),
    ] {
        let turn = &turns["runs"][workload][peer][0];
        assert_eq!(turn["bad"], 0, "{turns:#}");
        assert!(turn["requests"].as_u64().unwrap() > 0, "{turns:#}");
        assert!(turn["cpu_us"].as_f64().unwrap() > 0.0, "{turns:#}");
    }
    fs::remove_file(markdown).unwrap();
    fs::remove_file(json).unwrap();
}

#[test]
fn every_step_that_is_counted_does_what_it_is_counted_for() {
    // ten thousand routes take long to make ready without optimisation, and are found by the code that finds a thousand
    for (name, ready) in steps::ALL.iter().filter(|step| !step.0.contains("10,000")) {
        println!("{name}"); // told if one panics
        let mut run = ready();
        run();
        run();
    }
}

#[test]
fn what_is_asked_of_the_comparison_wrongly_is_told_with_the_names_that_there_are() {
    for (arguments, names) in [
        (["--workloads", "gets"], "there are: get, get-1conn, post-hs256"),
        (["--peers", "apache"], "there are: haproxy, nginx, tollgate"),
    ] {
        let told = compare::run(&options(&arguments)).unwrap_err().to_string();
        assert!(told.contains(names), "{told}");
    }
}
