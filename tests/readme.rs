//! The README tells the truth: each command of it works, and its table of keys is the one that the program reads.

mod markdown;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

fn readme() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).expect("the README")
}

#[test]
fn every_command_of_the_readme_works_as_it_says() {
    markdown::hold("README.md");
}

#[test]
fn the_configuration_table_has_every_key_with_its_default_and_meaning() {
    let mut wanted = BTreeMap::new();
    keys("", &tollgate::config::schema(), &mut wanted);

    let text = readme();
    let (_, section) = text.split_once("\n## Configuration\n").expect("a section on configuration");
    let section = section.split("\n### Environment\n").next().unwrap();
    let mut seen = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [key, default, meaning] = cells[..] else { panic!("three cells: {row}") };
        let cells = (default.to_owned(), meaning.to_owned());
        assert!(seen.insert(key.trim_matches('`').to_owned(), cells).is_none(), "twice: {row}");
    }
    if seen != wanted {
        let mut table = String::new();
        for (key, (default, meaning)) in &wanted {
            table += &format!("| `{key}` | {default} | {meaning} |\n");
        }
        let gone: Vec<_> = seen.iter().filter(|row| wanted.get(row.0) != Some(row.1)).collect();
        panic!("these rows are wrong: {gone:#?}\nthese are the right ones:\n{table}");
    }
}

#[test]
fn the_readme_asks_for_the_rust_that_is_needed() {
    let needed = format!("Rust {} or later", env!("CARGO_PKG_RUST_VERSION"));
    assert!(readme().contains(&needed), "{needed}");
}

/// Were this wrong, every other test of a document would say nothing.
#[test]
fn a_document_that_does_not_tell_the_truth_is_caught() {
    let serve = "<!-- test: serve -->\n```sh\ncargo run --release -- demo\n```\n";
    let get = "curl http://127.0.0.1:8080/players/10";
    let lies = [
        format!("{serve}```sh\n{get}\n```\n"),
        format!("{serve}<!-- test: 401 -->\n```sh\n{get}\n```\n"),
        format!("{serve}<!-- test: 200 200 -->\n```sh\n{get}\n```\n"),
        format!("{serve}<!-- test: output -->\n```text\nnobody … printed this\n```\n"),
        "<!-- test: ok -->\n```sh\ntollgate no-such-command\n```\n".to_owned(),
        "<!-- test: exit 1 -->\n```sh\ntollgate schema\n```\n".to_owned(),
        "<!-- test: serve -->\n```sh\ntollgate schema\n```\n".to_owned(),
        "<!-- test: check -->\n```toml\n[upstrm]\n```\n".to_owned(),
    ];
    let document = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lie.md");
    let document = document.to_str().unwrap();
    fs::write(document, format!("{serve}<!-- test: 200 -->\n```sh\n{get}\n```\n")).unwrap();
    markdown::hold(document);
    for lie in lies {
        fs::write(document, &lie).unwrap();
        let held = std::panic::catch_unwind(|| markdown::hold(document));
        assert!(held.is_err(), "nobody noticed: {lie}");
    }
}

/// Every key below `schema` that holds a value: its path, its default, its description.
fn keys(path: &str, schema: &Value, found: &mut BTreeMap<String, (String, String)>) {
    let Some(properties) = schema["properties"].as_object() else { return };
    for (name, schema) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let one_or_more = &schema["anyOf"][0];
        if schema["properties"].is_object() {
            keys(&path, schema, found);
        } else if one_or_more["properties"].is_object() {
            keys(&path, one_or_more, found);
        } else if schema["items"]["properties"].is_object() {
            keys(&format!("{path}[]"), &schema["items"], found);
            // each has every key of [upstream], and these are told there
            found.retain(|key, _| !key.starts_with("upstreams[].") || key == "upstreams[].name");
        } else {
            let default = match &schema["default"] {
                Value::Null => "–".to_owned(),
                default => format!("`{}`", toml_text(default)),
            };
            let meaning = schema["description"].as_str().expect("a description").to_owned();
            found.insert(path, (default, meaning));
        }
    }
}

/// A value as it would be written in `gateway.toml`.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml_text).collect::<Vec<_>>().join(", "))
        }
        Value::Object(entries) if entries.is_empty() => "{}".to_owned(),
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| format!("{name} = {}", toml_text(value));
            format!("{{ {} }}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
        }
        plain => plain.to_string(),
    }
}
