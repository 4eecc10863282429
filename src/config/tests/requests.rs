use std::time::Duration;

use super::super::{AuditOutput, LimitPer, RateLimit};
use super::{SMALL, faults, load_text, reasons};

fn with(section: &str) -> String {
    format!("{SMALL}\n{section}")
}

#[test]
fn a_limit_has_a_number_and_stands_where_it_was_written() {
    let text = with(
        "[access]\nrate_limit = { requests = 100 }\n[[routes]]\npath = \"/a\"\n\
         rate_limit = { per = \"address\", requests = 5, window = \"10s\" }\n[[routes]]\npath = \"/b\"",
    );
    let settings = load_text(text, &[]).unwrap().settings;
    let minute = Duration::from_secs(60);
    let limit = RateLimit { per: LimitPer::Client, requests: 100, window: minute };
    assert_eq!(settings.rate_limit, Some(limit));
    let own = RateLimit { per: LimitPer::Address, requests: 5, window: Duration::from_secs(10) };
    assert_eq!(settings.routes[0].rate_limit, Some(own));
    assert_eq!(settings.routes[1].rate_limit, None);
}

#[test]
fn a_limit_that_says_nothing_or_too_much_is_told_with_the_mend() {
    let told = |limit: &str| faults(with(&format!("[access]\nrate_limit = {limit}")));
    let text = told("{ per = \"client\" }");
    assert!(text.contains("this `rate_limit` has no `requests`"), "{text}");
    assert!(text.contains("requests = 100, window = \"1m\""), "{text}");
    let text = told("{ per = \"clients\", requests = 1 }");
    assert!(text.contains("did you mean `client`?"), "{text}");
    let text = told("{ requests = 0 }");
    assert!(text.contains("`requests`") && text.contains("deny"), "{text}");
    assert!(told("{ requests = 1, window = \"250ms\" }").contains("`window`"));
    assert!(told("{ requests = 1, window = \"2d\" }").contains("`window`"));
    assert!(told("{ request = 1 }").contains("did you mean `requests`?"));
    assert_eq!(reasons(with("[access]\nrate_limit = 5")).len(), 1);
}

#[test]
fn origins_are_written_as_browsers_send_them() {
    let told = |cors: &str| faults(with(&format!("[cors]\n{cors}")));
    for (origin, mend) in [
        ("app.example.com", "write scheme, host and port"),
        ("https://app.example.com/", "an origin has no path: write https://app.example.com"),
        ("https://app.example.com/a?b", "an origin has no path: write https://app.example.com"),
        ("https://App.Example.com", "browsers spell it https://app.example.com"),
        ("https://app.example.com:443", "browsers spell it https://app.example.com"),
        ("http://localhost:80", "browsers spell it http://localhost"),
        ("https://*.example.com", "list each host"),
        ("https://user@example.com", "write scheme, host and port"),
        ("https://", "write scheme, host and port"),
        ("1https://a", "write scheme, host and port"),
    ] {
        let text = told(&format!("origins = [\"{origin}\"]"));
        assert!(text.contains("no page has the origin") && text.contains(mend), "{origin}: {text}");
    }
    for good in ["https://a.example", "http://localhost:3000", "https://[::1]:8443", "null", "*"] {
        load_text(with(&format!("[cors]\norigins = \"{good}\"")), &[]).unwrap();
    }
    load_text(with("[cors]\norigins = [\"capacitor://localhost\", \"null\"]"), &[]).unwrap();
}

#[test]
fn a_star_beside_credentials_or_others_is_a_fault() {
    let told = |cors: &str| faults(with(&format!("[cors]\n{cors}")));
    let text = told("origins = \"*\"\ncredentials = true");
    assert!(text.contains("`*` together with `credentials`"), "{text}");
    let text = told("origins = [\"*\", \"https://a\"]");
    assert!(text.contains("`*` is every origin"), "{text}");
    for list in ["methods", "headers", "expose"] {
        let text = told(&format!("origins = \"https://a\"\ncredentials = true\n{list} = [\"*\"]"));
        assert!(text.contains("stands for nothing where credentials are sent"), "{list}: {text}");
    }
    assert!(told("credentials = true").contains("no `origins`"));
    assert!(told("origins = []").contains("at least one"));
    let text = told("origins = \"https://a\"\nmethods = [\"get\"]");
    assert!(text.contains("write \"GET\""), "{text}");
    let text = told("origins = \"https://a\"\nheaders = [\"a b\"]");
    assert!(text.contains("is no header name"), "{text}");
    let text = faults(with("[[routes]]\npath = \"/a\"\ncors = { methods = [\"GET\"] }"));
    assert!(text.contains("no `origins`"), "{text}");
}

#[test]
fn forward_auth_has_a_path_of_its_own_and_somebody_who_asks() {
    let told = |table: &str| {
        let trusted = "[server]\ntrusted_proxies = [\"127.0.0.1\"]";
        faults(with(&format!("{trusted}\n{table}")))
    };
    let text = faults(with("[forward_auth]\npath = \"/auth/verify\""));
    assert!(text.contains("`server.trusted_proxies` is empty"), "{text}");
    assert!(text.contains("trusted_proxies = [\"127.0.0.1\"]"), "{text}");
    assert!(told("[forward_auth]").contains("[forward_auth] has no `path`"));
    let text = told("[forward_auth]\npath = \"/auth/token\"");
    assert!(text.contains("the token endpoint has the path of [forward_auth]"), "{text}");
    let text = told("[forward_auth]\npath = \"auth//verify\"");
    assert!(text.contains("is no plain path"), "{text}");
    let text = told("[forward_auth]\npath = \"/a\"\n[[routes]]\npath = \"/a/\"");
    assert!(text.contains("the forward-auth endpoint has its path"), "{text}");
}

#[cfg(not(feature = "otel"))]
#[test]
fn tracing_is_refused_where_it_was_not_built_in() {
    let text = faults(with("[tracing]\nendpoint = \"http://127.0.0.1:4318/v1/traces\""));
    assert!(text.contains("built without otel") && text.contains("on by default"), "{text}");
}

#[cfg(feature = "otel")]
#[test]
fn tracing_has_an_endpoint_and_its_secrets_are_not_told() {
    let told = |table: &str| faults(with(&format!("[tracing]\n{table}")));
    assert!(told("sample_ratio = 1").contains("[tracing] has no `endpoint`"));
    let good = "endpoint = \"http://127.0.0.1:4318/v1/traces\"";
    for ratio in ["1.5", "-0.1", "nan", "2"] {
        let text = told(&format!("{good}\nsample_ratio = {ratio}"));
        assert!(text.contains("is not between 0 and 1"), "{ratio}: {text}");
    }
    assert!(told(&format!("{good}\nsample_ratio = \"1\"")).contains("a number from 0 to 1"));
    let text = told("endpoint = \"grpc://user:hunter22@a:4317\"");
    assert!(
        text.contains("no URL that spans could be sent to") && !text.contains("hunter22"),
        "{text}"
    );
    let text = told(&format!("{good}\nheaders = {{ \"x api\" = \"hunter22\" }}"));
    assert!(text.contains("no header that can be set") && !text.contains("hunter22"), "{text}");
    let text = told(&format!("{good}\nheaders = {{ Host = \"hunter22\" }}"));
    assert!(text.contains("no header that can be set") && !text.contains("hunter22"), "{text}");
    let loaded = load_text(
        with(&format!("[tracing]\n{good}\nheaders = {{ x-api-key = \"hunter22\" }}")),
        &[("TOLLGATE_TRACING__SAMPLE_RATIO", "0.25")],
    );
    let tracing = loaded.unwrap().settings.tracing.unwrap();
    assert!((tracing.sample_ratio - 0.25).abs() < f64::EPSILON);
    assert_eq!(tracing.headers[0].0, "x-api-key");
    assert!(!format!("{tracing:?}").contains("hunter22"));
    let away =
        with("[tracing]\nendpoint = \"http://collector.example:4318\"\nheaders = { a = \"b\" }");
    let warnings = load_text(away, &[]).unwrap().warnings;
    let reasons: Vec<_> = warnings.iter().map(|warning| warning.reason()).collect();
    assert!(reasons.iter().any(|reason| reason.contains("in clear")), "{reasons:?}");
    assert!(reasons.iter().any(|reason| reason.contains("/v1/traces")), "{reasons:?}");
}

#[test]
fn an_audit_log_has_an_output() {
    let output = |text: &str| {
        let loaded = load_text(with(&format!("[audit]\noutput = \"{text}\"")), &[]).unwrap();
        loaded.settings.audit.unwrap().output
    };
    assert_eq!(output("stdout"), AuditOutput::Stdout);
    assert_eq!(
        output("file:/var/log/audit.jsonl"),
        AuditOutput::File("/var/log/audit.jsonl".into())
    );
    assert_eq!(output("file:///var/log/a"), AuditOutput::File("/var/log/a".into()));
    let AuditOutput::File(beside) = output("file:audit.jsonl") else { panic!() };
    assert!(beside.is_absolute() && beside.ends_with("audit.jsonl"), "{beside:?}");
    let told = |table: &str| faults(with(&format!("[audit]\n{table}")));
    assert!(told("required = true").contains("[audit] has no `output`"));
    assert!(told("output = \"stdot\"").contains("did you mean `stdout`?"));
    assert!(told("output = \"/var/log/a\"").contains("use stdout, stderr or file:/path"));
    assert!(told("output = \"file:\"").contains("names no file"));
}
