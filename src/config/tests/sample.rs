use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value as Json;

use super::super::{SAMPLE_KEY, SAMPLE_SECRET, Sources, load, schema};
use super::{SMALL, load_text};

const SAMPLE: &str = include_str!("../../../gateway.toml");

#[test]
fn the_sample_file_works_as_it_is_and_warns_of_its_secrets() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("gateway.toml");
    let loaded = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    let reasons: Vec<&str> = loaded.warnings.iter().map(|warning| warning.reason()).collect();
    assert_eq!(reasons.len(), 2, "{reasons:?}");
    assert!(reasons.iter().all(|reason| reason.contains("the one of the sample file")));
    assert!(SAMPLE.contains(SAMPLE_KEY) && SAMPLE.contains(SAMPLE_SECRET));
}

#[test]
fn the_sample_file_names_every_key_there_is() {
    // Uncommented, every line of it is `key = …`; continuations are indented.
    let mut section = String::new();
    let mut named = BTreeSet::new();
    for line in SAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_start_matches('[').split(']').next().unwrap().to_owned();
        } else if let Some((key, _)) = line.split_once(" = ") {
            named.insert(format!("{section}.{key}"));
        }
    }
    for path in leaves(&schema(), "") {
        let path = path.replace(".0", "");
        let in_a_list = [
            "server.tls.",
            "admin.tls.",
            "previous_keys.",
            "next_keys.",
            "secrets.",
            "introspection.",
            "routes.identity.",
            "rate_limit.",
            "health.",
            "ejection.",
            "routes.cors.",
        ]
        .iter()
        .any(|list| path.contains(list))
            || path.starts_with("upstreams.") && path != "upstreams.name";
        let path = path.strip_suffix(".*").unwrap_or(&path);
        assert!(in_a_list || named.contains(path), "{path} is not in gateway.toml");
    }
}

/// The paths of everything that the schema lets one write; `0` for an entry of a list, `*` for a free name.
fn leaves(schema: &Json, path: &str) -> Vec<String> {
    let join =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    if let Some(properties) = schema["properties"].as_object() {
        return properties.iter().flat_map(|(name, schema)| leaves(schema, &join(name))).collect();
    }
    if schema["items"]["properties"].is_object() {
        return leaves(&schema["items"], &join("0"));
    }
    if schema["anyOf"][0]["properties"].is_object() {
        return leaves(&schema["anyOf"][0], path); // one of them without brackets
    }
    if schema["additionalProperties"].is_object() {
        return vec![join("*")];
    }
    vec![path.to_owned()]
}

/// For each key of the schema a value that is not its default.
const CHANGES: &[(&str, &str)] = &[
    ("server.listen", "\"127.0.0.1:81\""),
    ("server.tls.certificate_file", "\"missing\""),
    ("server.tls.private_key_file", "\"missing\""),
    ("server.tls.client_ca_file", "\"missing\""),
    ("server.tls.client_certificate", "\"optional\""),
    ("server.workers", "7"),
    ("server.proxy_protocol", "true"),
    ("server.trusted_proxies", "[\"10.0.0.0/8\"]"),
    ("server.header_timeout", "11"),
    ("server.idle_timeout", "11"),
    ("server.max_header_size", "\"33KiB\""),
    ("server.max_body_size", "1"),
    ("server.max_connections", "1"),
    ("server.http2", "false"),
    ("server.max_streams", "7"),
    ("server.drain_timeout", "11"),
    ("upstream.url", "\"http://b\""),
    ("upstream.urls", "[\"http://b\"]"),
    ("upstream.max_connections", "7"),
    ("upstream.max_pending", "7"),
    ("upstream.health.path", "\"/b\""),
    ("upstream.health.interval", "7"),
    ("upstream.health.timeout", "7"),
    ("upstream.health.healthy_after", "7"),
    ("upstream.health.unhealthy_after", "7"),
    ("upstream.health.status", "\"204\""),
    ("upstream.health.panic_percent", "7"),
    ("upstream.ejection.failures", "7"),
    ("upstream.ejection.duration", "7"),
    ("upstream.ejection.max_duration", "70"),
    ("upstream.ejection.max_percent", "7"),
    ("upstream.slow_return", "7"),
    ("upstream.balance", "\"random\""),
    ("upstreams.0.name", "\"b\""),
    ("upstream.connect_timeout", "11"),
    ("upstream.timeout", "11"),
    ("upstream.idle_timeout", "11"),
    ("upstream.preserve_host", "false"),
    ("upstream.retries", "2"),
    ("upstream.tls.ca_file", "\"missing\""),
    ("upstream.tls.server_name", "\"b\""),
    ("upstream.tls.certificate_file", "\"missing\""),
    ("upstream.tls.private_key_file", "\"missing\""),
    ("token.path", "\"/b\""),
    ("token.issuer", "\"b\""),
    ("token.audience", "\"b\""),
    ("token.expires_in", "11"),
    ("token.algorithm", "\"HS384\""),
    ("token.key", "\"Xw9Bn4Ld6Hs3Jf0Pgu8Zq2mXc7Rk1Vt5Y\""),
    ("token.key_file", "\"missing\""),
    ("token.key_id", "\"b\""),
    ("token.types", "[\"b\"]"),
    ("token.leeway", "11"),
    ("token.scope_claims", "[\"b\"]"),
    ("token.format", "\"opaque\""),
    ("token.endpoints.jwks", "\"/b\""),
    ("token.endpoints.introspect", "\"/b\""),
    ("token.endpoints.revoke", "\"/b\""),
    ("token.endpoints.metadata", "true"),
    ("clients.0.id", "\"b\""),
    ("clients.0.secret", "\"V7bNcT4mQ9zXw2Lk\""),
    ("clients.0.secret_file", "\"missing\""),
    (
        "clients.0.secret_hash",
        "\"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"",
    ),
    ("clients.0.secret_hash_file", "\"missing\""),
    ("clients.0.scopes", "[\"b\"]"),
    ("clients.0.audience", "\"b\""),
    ("clients.0.expires_in", "11"),
    ("clients.0.claims.*", "{ b = 1 }"),
    ("clients.0.disabled", "true"),
    ("issuers.0.name", "\"b\""),
    ("issuers.0.issuer", "\"https://b\""),
    ("issuers.0.audiences", "\"b\""),
    ("issuers.0.jwks_url", "\"https://b\""),
    ("issuers.0.jwks_file", "\"missing\""),
    ("issuers.0.key", "\"Xw9Bn4Ld6Hs3Jf0Pgu8Zq2mXc7Rk1Vt5Y\""),
    ("issuers.0.key_file", "\"missing\""),
    ("issuers.0.public_key_file", "\"missing\""),
    ("issuers.0.algorithms", "[\"ES384\"]"),
    ("issuers.0.types", "[\"b\"]"),
    ("issuers.0.leeway", "11"),
    ("issuers.0.scope_claims", "[\"b\"]"),
    ("issuers.0.introspection.url", "\"https://b\""),
    ("issuers.0.introspection.client_id", "\"b\""),
    ("issuers.0.introspection.client_secret", "\"\""),
    ("issuers.0.introspection.client_secret_file", "\"missing\""),
    ("issuers.0.introspection.auth", "\"post\""),
    ("issuers.0.introspection.cache", "11"),
    ("issuers.0.introspection.for", "\"all\""),
    ("issuers.0.token_prefix", "\"b\""),
    ("issuers.0.when", "\"request.path == '/b'\""),
    ("issuers.0.allow_http", "true"),
    ("clients.0.format", "\"opaque\""),
    ("clients.0.authentication", "[\"client_secret_basic\"]"),
    ("clients.0.tls_client_subject", "\"CN=b\""),
    ("clients.0.tls_client_san_dns", "\"b\""),
    ("clients.0.tls_client_san_uri", "\"b:b\""),
    ("clients.0.public_key_file", "\"missing\""),
    ("clients.0.jwks_file", "\"missing\""),
    ("clients.0.algorithm", "\"ES256\""),
    ("access.protect", "\"all\""),
    ("access.all_of", "[\"b\"]"),
    ("access.any_of", "[\"b\"]"),
    ("access.mode", "\"report\""),
    ("access.rate_limit.per", "\"address\""),
    ("access.rate_limit.requests", "7"),
    ("access.rate_limit.window", "7"),
    ("routes.0.path", "\"/b\""),
    ("routes.0.host", "\"b\""),
    ("routes.0.methods", "[\"PUT\"]"),
    ("routes.0.name", "\"b\""),
    ("routes.0.access", "\"protected\""),
    ("routes.0.all_of", "[\"b\"]"),
    ("routes.0.any_of", "[\"b\"]"),
    ("routes.0.clients", "[\"ci\"]"),
    ("routes.0.issuers", "[\"own\"]"),
    ("routes.0.claims.*", "{ b = [\"c\"] }"),
    ("routes.0.when", "\"now > 1\""),
    ("routes.0.mode", "\"report\""),
    ("routes.0.upstream", "\"a\""),
    ("routes.0.rewrite", "\"/b\""),
    ("routes.0.identity.headers.*", "{ X-B = \"b\" }"),
    ("routes.0.rate_limit.per", "\"address\""),
    ("routes.0.rate_limit.requests", "7"),
    ("routes.0.rate_limit.window", "7"),
    ("identity.headers.*", "{ X-B = \"b\" }"),
    ("identity.certificate_headers.*", "{ X-B = \"subject\" }"),
    ("identity.authorization", "\"remove\""),
    ("forward_auth.path", "\"/b\""),
    ("tracing.endpoint", "\"http://127.0.0.1:4318/v1/traces\""),
    ("tracing.sample_ratio", "0.5"),
    ("tracing.service_name", "\"b\""),
    ("tracing.headers.*", "{ X-B = \"b\" }"),
    ("tracing.headers_file", "\"missing\""),
    ("audit.output", "\"stderr\""),
    ("audit.required", "true"),
    ("cors.origins", "\"https://b\""),
    ("cors.methods", "[\"PUT\"]"),
    ("cors.headers", "[\"b\"]"),
    ("cors.expose", "[\"b\"]"),
    ("cors.credentials", "true"),
    ("cors.max_age", "11"),
    ("routes.0.cors.origins", "\"https://b\""),
    ("routes.0.cors.methods", "[\"PUT\"]"),
    ("routes.0.cors.headers", "[\"b\"]"),
    ("routes.0.cors.expose", "[\"b\"]"),
    ("routes.0.cors.credentials", "true"),
    ("routes.0.cors.max_age", "11"),
    ("store.url", "\"file:b\""),
    ("admin.listen", "[\"127.0.0.1:82\"]"),
    ("admin.token", "\"h7Qm2vY0tq8Zp4Xk\""),
    ("admin.token_file", "\"none\""),
    ("admin.tls.certificate_file", "\"missing\""),
    ("admin.tls.private_key_file", "\"missing\""),
    ("admin.tls.client_ca_file", "\"missing\""),
    ("admin.tls.client_certificate", "\"optional\""),
    ("log.format", "\"json\""),
    ("log.level", "\"warn\""),
    ("log.access", "false"),
];

#[test]
fn every_key_of_the_schema_changes_something() {
    let base = base();
    let before = format!("{:?}", load_toml(&base));
    for path in leaves(&schema(), "") {
        let shortened = ["token.previous_keys.0", "token.next_keys.0", "clients.0.secrets.0"];
        if shortened.iter().any(|list| path.starts_with(list)) {
            continue; // the next test
        }
        let of_upstream = path.strip_prefix("upstreams.0.").map(|key| format!("upstream.{key}"));
        let known = |path: &str| CHANGES.iter().find(|(key, _)| *key == path);
        let change = known(&path).or_else(|| known(&of_upstream?));
        let (_, value) = change.unwrap_or_else(|| panic!("no sample value for {path}"));
        let mut changed = base.clone();
        set(&mut changed, path.trim_end_matches(".*"), value);
        assert_ne!(
            before,
            format!("{:?}", load_toml(&changed)),
            "{path} is read and changes nothing"
        );
    }
}

#[test]
fn every_key_of_a_rotation_changes_something() {
    for (list, keys) in [
        ("token.previous_keys", ["key", "key_file", "public_key_file", "algorithm", "key_id"]),
        ("token.next_keys", ["key", "key_file", "public_key_file", "algorithm", "key_id"]),
        (
            "clients.0.secrets",
            ["secret", "secret_file", "secret_hash", "secret_hash_file", "not_after"],
        ),
    ] {
        let known: Vec<String> = leaves(&schema(), "")
            .into_iter()
            .filter(|path| path.starts_with(&format!("{list}.0.")))
            .collect();
        assert_eq!(known.len(), keys.len(), "{known:?}");
        for key in keys {
            // A value of a type that no key takes is noticed by every key that is read.
            let mut changed = base();
            set(&mut changed, list, &format!("[{{ {key} = [] }}]"));
            let told = load_toml(&changed).unwrap_err();
            assert!(told.contains(&format!("`{key}` must be")), "{list} {key}: {told}");
        }
    }
}

/// An issuer with everything that every key of it needs.
const ISSUER: &str = r#"
name = "a"
issuer = "https://a"
audiences = ["a"]
introspection = { client_id = "a", client_secret = "Xw9Bn4Ld6Hs3Jf0P" }
"#;

fn base() -> toml::Table {
    let mut base: toml::Table = SMALL.parse().unwrap();
    set(&mut base, "upstream.url", "\"https://a\"");
    set(&mut base, "admin.listen", "\"127.0.0.1:81\"");
    set(&mut base, "upstream.health", "{ path = \"/a\" }");
    let issuer: toml::Table = ISSUER.parse().unwrap();
    base.insert("issuers".to_owned(), toml::Value::Array(vec![issuer.into()]));
    let routes = "routes = [{ path = \"/a\" }]\nupstreams = [{ name = \"a\", url = \"https://a\", health = { path = \"/a\" } }]";
    let routes: toml::Table = routes.parse().unwrap();
    base.extend(routes);
    base
}

fn set(table: &mut toml::Table, path: &str, value: &str) {
    let parsed: toml::Table = format!("value = {value}").parse().unwrap();
    let (parents, key) = path.rsplit_once('.').unwrap();
    let mut parent = table;
    for name in parents.split('.') {
        if name == "0" {
            continue;
        }
        let child = parent.entry(name).or_insert_with(|| toml::Table::new().into());
        parent = match child {
            toml::Value::Array(items) => items[0].as_table_mut().unwrap(),
            child => child.as_table_mut().unwrap(),
        };
    }
    parent.insert(key.to_owned(), parsed["value"].clone());
}

fn load_toml(table: &toml::Table) -> Result<String, String> {
    match load_text(toml::to_string(table).unwrap(), &[]) {
        Ok(loaded) => Ok(format!("{:?}", loaded.settings)),
        Err(faults) => Err(faults.to_string()),
    }
}

#[test]
fn the_schema_describes_every_key() {
    fn look(schema: &Json, path: &str) {
        assert!(schema["description"].is_string() || path.is_empty(), "{path} has no description");
        let properties = [&schema["properties"], &schema["items"]["properties"]];
        for (name, schema) in properties.into_iter().filter_map(Json::as_object).flatten() {
            look(schema, &format!("{path}.{name}"));
        }
    }
    let schema = schema();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["properties"]["server"]["properties"]["header_timeout"]["default"], "10s");
    assert_eq!(
        schema["properties"]["token"]["properties"]["algorithm"]["enum"].as_array().unwrap().len(),
        12
    );
    look(&schema, "");
}

#[test]
fn what_the_sample_file_says_is_in_the_schema() {
    fn look(value: &toml::Value, schema: &Json, path: &str) {
        match value {
            toml::Value::Table(table) => {
                for (name, value) in table {
                    let schema = &schema["properties"][name];
                    assert!(schema.is_object(), "{path}.{name} is not in the schema");
                    look(value, schema, &format!("{path}.{name}"));
                }
            }
            toml::Value::Array(items) => {
                items.iter().for_each(|item| look(item, &schema["items"], path))
            }
            _ => {}
        }
    }
    let sample: toml::Value = toml::Value::Table(SAMPLE.parse().unwrap());
    look(&sample, &schema(), "");
}
