//! Holds the direction of the modules: uses point downwards only, so that a reader of one layer needs to know
//! nothing of those above it.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Top to bottom. Modules on one line do not know each other.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["demo", "doctor"],
    &["server"],
    &["admin"],
    &["gateway"],
    &["upstream"],
    &["route"],
    &["auth", "token"],
    &["export", "issuers"],
    &["http1"],
    &["dial", "tls"],
    &["observe"],
    &["message"],
    &["limit", "store"],
    &["config"],
    &["keys"],
    &["certificate", "condition", "json", "reference"],
    &["net", "clock", "identity", "secret"],
];
/// For unit tests alone.
const TESTING: &str = "testing";

/// A source file below `src/` that belongs to a module.
struct Source {
    path: PathBuf,
    module: String,
    /// How many `super` lead from it to the crate: 1 in `a.rs` and `a/mod.rs`, 2 in `a/b.rs`.
    depth: usize,
    text: String,
}

#[test]
fn every_module_has_its_layer() {
    let known: BTreeSet<_> = LAYERS.iter().copied().flatten().copied().chain([TESTING]).collect();
    let found: BTreeSet<_> = sources().into_iter().map(|source| source.module).collect();
    assert_eq!(
        found.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        known,
        "put a new module into its layer"
    );
}

#[test]
fn uses_point_downwards_only() {
    let mut wrong = Vec::new();
    let mut edges = 0;
    for source in sources().iter().filter(|source| source.module != TESTING) {
        for (number, line) in source.text.lines().enumerate() {
            for used in paths(line, "crate::") {
                edges += 1;
                if used != source.module
                    && layer(used).is_none_or(|used| used <= layer(&source.module).unwrap())
                {
                    wrong.push(format!("{}:{}: {line}", source.path.display(), number + 1));
                }
            }
        }
    }
    assert!(edges > 100, "only {edges} uses were read");
    assert!(wrong.is_empty(), "upward or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn other_modules_are_named_by_their_whole_path_one_to_a_use() {
    let mut wrong = Vec::new();
    for source in sources() {
        for (number, line) in source.text.lines().enumerate() {
            let to_the_crate = "super::".repeat(source.depth);
            if line.contains("crate::{")
                || line.contains("crate::*")
                || line.contains(&to_the_crate)
            {
                wrong.push(format!("{}:{}: {line}", source.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "the test above cannot read:\n{}", wrong.join("\n"));
}

#[test]
fn unsafe_code_is_forbidden() {
    let manifest =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    // `forbid` cannot be allowed again further in
    assert_eq!(manifest["lints"]["rust"]["unsafe_code"].as_str(), Some("forbid"));
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The first name of each path in `line` that begins with `root`.
fn paths<'a>(line: &'a str, root: &'a str) -> impl Iterator<Item = &'a str> {
    line.match_indices(root).map(move |(at, _)| {
        let rest = &line[at + root.len()..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

/// Everything under `src/` but the crate's own two files; comments and unit tests left out.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut folders, mut sources) = (vec![root.clone()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let inner = path.strip_prefix(&root).unwrap().with_extension("");
            let names: Vec<_> = inner.iter().map(|name| name.to_str().unwrap()).collect();
            let is_test = names.contains(&"tests");
            if matches!(names[..], ["lib" | "main"])
                || is_test
                || path.extension().is_none_or(|kind| kind != "rs")
            {
                continue;
            }
            let depth = names.iter().filter(|name| **name != "mod").count();
            let text = code(&fs::read_to_string(&path).unwrap());
            sources.push(Source { module: names[0].to_owned(), depth, text, path });
        }
    }
    sources
}

/// The code of a file, line by line as in the file, up to its unit tests.
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod ").unwrap_or(text.len());
    let lines = text[..end].lines();
    lines
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line })
        .collect::<Vec<_>>()
        .join("\n")
}
