use super::super::settings::{Balance, RewritePart};
use super::super::{Sources, load};
use super::{Folder, SMALL, faults, load_text, reasons};

#[test]
fn several_urls_and_named_upstreams_are_read() {
    let text = SMALL.replace(
        "url = \"http://127.0.0.1:9000\"",
        "urls = [\"http://10.0.0.1/a\", \"https://10.0.0.2:1/b\", \"unix:/run/c\"]\n\
         balance = \"round_robin\"\nmax_connections = 4\n\
         health = { path = \"/ok?x\", status = \"200, 204-299\" }",
    );
    let text = format!(
        "{text}\n[[upstreams]]\nname = \"orders\"\nurl = \"http://10.0.0.3\"\n\
         [[routes]]\npath = \"/o/{{id}}/{{*rest}}\"\nupstream = \"orders\"\nrewrite = \"/v2/{{rest}}/of-{{id}}\"\n"
    );
    let loaded = load_text(&text, &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 0, "{:?}", loaded.warnings);
    let settings = loaded.settings;
    let urls: Vec<String> = settings.upstream.origins.iter().map(ToString::to_string).collect();
    assert_eq!(urls, ["http://10.0.0.1/a", "https://10.0.0.2:1/b", "unix:/run/c"]);
    assert_eq!(settings.upstream.balance, Balance::RoundRobin);
    assert_eq!(settings.upstream.max_connections, Some(4));
    assert_eq!(settings.upstream.health.unwrap().statuses, [(200, 200), (204, 299)]);
    assert_eq!((settings.upstreams[0].name.as_str(), settings.routes[0].upstream), ("orders", 1));
    let text = |text: &str| RewritePart::Text(text.to_owned());
    let parts = [text("/v2/"), RewritePart::Segment(2), text("/of-"), RewritePart::Segment(1)];
    assert_eq!(settings.routes[0].rewrite.as_ref().unwrap().parts, parts);
}

#[test]
fn upstreams_that_cannot_be_meant_are_faults() {
    for (text, reason) in [
        (
            "upstream = { url = 'http://a', urls = ['http://b'] }",
            "the upstream has both `url` and `urls`; the other one at",
        ),
        (
            "upstream = { balance = 'random' }",
            "there is no upstream: nothing says where requests go",
        ),
        ("upstream.urls = []", "`urls` is an empty list"),
        (
            "upstream.urls = ['http://a', 'http://A:80']",
            "this URL is listed twice; the other one at",
        ),
        (
            "upstream.urls = ['http://a', 'ftp://b']",
            "the upstream's `urls` has the unknown scheme `ftp`",
        ),
        ("upstream = { url = 'http://a', balance = 'fair' }", "unknown value `fair` for `balance`"),
        ("upstream = { url = 'http://a', health = {} }", "`health` has no `path`"),
        ("upstream = { url = 'http://a', health = { path = 'x' } }", "`x` cannot be asked for"),
        (
            "upstream = { url = 'http://a', health = { path = '/', status = '2xx' } }",
            "`2xx` names no statuses",
        ),
        (
            "upstream = { url = 'http://a', health = { path = '/', status = '299-200' } }",
            "`299-200` names no statuses",
        ),
        (
            "upstream = { urls = ['http://a', 'http://b'], ejection = { duration = '10m' } }",
            "`max_duration` is shorter than `duration`",
        ),
        (
            "upstream.url = 'http://a'\nupstreams = [{ url = 'http://b' }]",
            "this upstream has no `name`",
        ),
        ("upstream.url = 'http://a'\nupstreams = [{ name = 'b' }]", "this upstream has no `url`"),
        (
            "upstream.url = 'http://a'\nupstreams = [{ name = 'default', url = 'http://b' }]",
            "`default` is the name of [upstream]",
        ),
        (
            "upstream.url = 'http://a'\nupstreams = [{ name = 'a b', url = 'http://b' }]",
            "`a b` cannot be the name of an upstream",
        ),
        (
            "upstream.url = 'http://a'\nupstreams = [{ name = 'b', url = 'http://b' }, { name = 'b', url = 'http://c' }]",
            "two upstreams have the name `b`; the other one at",
        ),
        (
            "upstream.url = 'http://a'\nroutes = [{ path = '/', upstream = 'b' }]",
            "there is no upstream `b`",
        ),
        (
            "upstream.url = 'http://a'\nserver.listen = '127.0.0.1:81'\nupstreams = [{ name = 'b', url = 'http://localhost:81' }]",
            "the upstream is the gateway itself, which listens on 127.0.0.1:81",
        ),
        (
            "server.listen = '127.0.0.1:81'\nupstream.urls = ['http://a', 'http://127.0.0.1:81']",
            "the upstream is the gateway itself, which listens on 127.0.0.1:81",
        ),
    ] {
        let text = text.replace('\'', "\"");
        assert!(
            reasons(&text).iter().any(|told| told.starts_with(reason)),
            "{text}: {:?}",
            reasons(&text)
        );
    }
}

#[test]
fn a_rewrite_that_cannot_be_made_is_a_fault() {
    for (rewrite, reason) in [
        ("v2/{rest}", "does not begin with /"),
        ("/v2/{id}", "has `{id}`, and the path has no such parameter"),
        ("/v2/{rest", "has a { without its }"),
        ("/v2//{rest}", "has a segment that is `.`, `..` or empty"),
        ("/v2/../{rest}", "has a segment that is `.`, `..` or empty"),
        ("/v2/%2e/{rest}", "has characters that may be read in two ways"),
        ("/v2?{rest}", "has characters that may be read in two ways"),
        ("/v2/a b", "has characters that may be read in two ways"),
        ("/v2/;a/{rest}", "has characters that may be read in two ways"),
    ] {
        let text = format!(
            "upstream.url = \"http://a\"\nroutes = [{{ path = \"/a/{{*rest}}\", rewrite = \"{rewrite}\" }}]"
        );
        assert_eq!(reasons(&text), [format!("the rewrite `{rewrite}` {reason}")]);
    }
    let told = faults(
        "upstream.url = \"http://a\"\n[[routes]]\npath = \"/a/{*rest}\"\nrewrite = \"/v2/{reste}\"\n",
    );
    assert!(told.contains("did you mean {rest}?") && told.contains("gateway.toml:4:11"), "{told}");
}

#[test]
fn what_has_no_effect_is_warned_of() {
    for (text, reason) in [
        (
            "upstream = { url = 'http://a', balance = 'random' }",
            "the upstream has one URL, so `balance` has no effect",
        ),
        (
            "upstream = { url = 'http://a', ejection = { failures = 1 } }",
            "the upstream has one URL, which is never left out: `ejection` has no effect",
        ),
        (
            "upstream = { url = 'http://a', max_pending = 1 }",
            "`max_connections` is 0, so nothing waits and `max_pending` has no effect",
        ),
        (
            "upstream.url = 'http://a'\nupstreams = [{ name = 'b', url = 'http://b' }]",
            "no route leads to the upstream `b`",
        ),
    ] {
        let loaded = load_text(text.replace('\'', "\""), &[]).unwrap();
        let warnings: Vec<&str> = loaded.warnings.iter().map(|warning| warning.reason()).collect();
        assert_eq!(warnings, [reason]);
    }
}

#[test]
fn a_variable_or_a_flag_for_one_url_takes_the_place_of_several_in_the_file_and_the_other_way_round()
{
    let urls = |text: &str, variables: &[(&str, &str)]| -> Vec<String> {
        let settings = load_text(text, variables).unwrap().settings;
        settings.upstream.origins.iter().map(ToString::to_string).collect()
    };
    let several = "upstream.urls = [\"http://a\", \"http://b\"]";
    assert_eq!(urls(several, &[("TOLLGATE_UPSTREAM__URL", "http://c")]), ["http://c"]);
    let one = "upstream.url = \"http://a\"";
    let given = [("TOLLGATE_UPSTREAM__URLS", "http://b, http://c")];
    assert_eq!(urls(one, &given), ["http://b", "http://c"]);
    let folder = Folder::new();
    let file = Some(folder.write("gateway.toml", several));
    let sources = Sources { file, upstream: Some("http://d".to_owned()), ..Sources::default() };
    let settings = load(&sources).unwrap().settings;
    assert_eq!(settings.upstream.origins[0].to_string(), "http://d");
}
