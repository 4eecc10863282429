//! What a table of routes promises: the most specific decides, and no spelling of a path leads around the rule that
//! the path has.

use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use super::{Ambiguous, Routes};
use crate::auth::Params;
use crate::config::{HostPattern, Protect, Route, Settings};
use crate::identity::Scopes;
use crate::message::Target;
use crate::testing::{request, route, settings};

fn with(routes: Vec<Route>) -> Routes {
    Routes::new(&Settings { routes, ..settings() }, vec!["/auth/token".to_owned()])
}

fn paths(paths: &[&str]) -> Routes {
    with(paths.iter().map(|path| route(path, Protect::All)).collect())
}

fn demanding(path: &str, scope: &str) -> Route {
    let mut route = route(path, Protect::All);
    route.policy.demands.all_of = Scopes::parse(scope).unwrap();
    route
}

fn chosen(routes: &Routes, method: &str, target: &str) -> String {
    chosen_at(routes, method, "api.test", target)
}

fn chosen_at(routes: &Routes, method: &str, host: &str, target: &str) -> String {
    match routes.choose(&request(method, target, &[("host", host)])) {
        Ok(choice) => choice.rule.name.as_str().to_owned(),
        Err(Ambiguous) => "ambiguous".to_owned(),
    }
}

#[test]
fn the_most_specific_path_decides_whatever_the_order() {
    let mut all = ["/{*all}", "/a/{*rest}", "/a/{id}", "/a/me", "/a/{id}/b", "/{x}/c/d", "/"];
    for _ in 0..all.len() {
        all.rotate_left(1);
        let routes = paths(&all);
        for (path, expected) in [
            ("/", "/"),
            ("/x", "/{*all}"),
            ("/a", "/a/{*rest}"),
            ("/a/", "/a/{*rest}"),
            ("/a/me", "/a/me"),
            ("/a/me/", "/a/me"),
            ("/a/you", "/a/{id}"),
            ("/a/you/b", "/a/{id}/b"),
            ("/a/me/b", "/a/{id}/b"),
            ("/a/you/c", "/a/{*rest}"),
            ("/a/c/d", "/a/{*rest}"),
            ("/b/c/d", "/{x}/c/d"),
            ("/a/b/c/d/e", "/a/{*rest}"),
        ] {
            assert_eq!(chosen(&routes, "GET", path), expected, "{path}");
        }
    }
    assert_eq!(chosen(&paths(&["/a/{id}"]), "GET", "/a"), "default");
    assert_eq!(chosen(&paths(&["/a/b"]), "GET", "/a/bc"), "default");
}

#[test]
fn the_host_comes_first_then_the_path_then_the_methods() {
    let at = |host: &str, path: &str, name: &str| Route {
        host: Some(HostPattern::parse(host).unwrap()),
        name: name.to_owned(),
        ..route(path, Protect::All)
    };
    let mut post = route("/a", Protect::Nothing);
    (post.methods, post.name) = (vec![http::Method::POST], "post".to_owned());
    let mut get = route("/g", Protect::Nothing);
    (get.methods, get.name) = (vec![http::Method::GET], "get".to_owned());
    let routes = with(vec![
        route("/a", Protect::All),
        post,
        get,
        at("api.test", "/{*x}", "exact"),
        at("*.test", "/a", "below"),
        at("*.eu.test", "/{*x}", "further"),
    ]);
    for (method, host, path, expected) in [
        ("GET", "api.test", "/a", "exact"),
        ("GET", "API.Test:8080", "/a", "exact"),
        ("GET", "api.test.", "/a", "exact"),
        ("GET", "www.test", "/a", "below"),
        ("GET", "a.b.test", "/a", "below"),
        ("GET", "a.eu.test", "/a", "further"),
        ("GET", "test", "/a", "/a"),
        ("POST", "test", "/a", "post"),
        ("post", "test", "/a", "/a"),
        ("POST", "www.test", "/b", "default"),
        ("GET", "nottest", "/a", "/a"),
        ("GET", "[::1]:80", "/a", "/a"),
        ("HEAD", "test", "/g", "get"),
        ("PUT", "test", "/g", "default"),
    ] {
        assert_eq!(chosen_at(&routes, method, host, path), expected, "{method} {host} {path}");
    }
}

/// A.91: a rule for a prefix, and everything else open.
#[test]
fn a91_no_spelling_of_a_closed_prefix_leads_around_its_rule() {
    let mut public = route("/{*rest}", Protect::Nothing);
    public.name = "public".to_owned();
    for closed in [route("/protected/{*rest}", Protect::All), demanding("/protected/{*rest}", "a")]
    {
        let routes = with(vec![public.clone(), closed]);
        for spelling in SPELLINGS {
            let raw = bytes::Bytes::from_static(spelling.as_bytes());
            if Target::parse(&raw, false).is_err() {
                continue; // refused for everybody
            }
            let name = chosen(&routes, "GET", spelling);
            assert_ne!(name, "public", "{spelling}");
        }
        assert_eq!(chosen(&routes, "GET", "/protecte"), "public");
        assert_eq!(chosen(&routes, "GET", "/x/protected"), "public");
        assert_eq!(chosen(&routes, "GET", "/x?/protected"), "public");
    }
}

#[test]
fn a_spelling_opens_nothing_that_the_path_does_not() {
    let mut settings = settings();
    settings.access.protect = Protect::All;
    settings.routes = vec![route("/status", Protect::Nothing), route("/a/{*rest}", Protect::All)];
    let routes = Routes::new(&settings, Vec::new());
    assert_eq!(chosen(&routes, "GET", "/status/"), "/status");
    assert_eq!(chosen(&routes, "GET", "/%73tatus"), "/status");
    for other in ["/STATUS", "//status", "/status;x", "/status%20", "/%2573tatus", "/status/x"] {
        assert_eq!(chosen(&routes, "GET", other), "default", "{other}");
    }
    // `//status/a/b` is /a/b at the host `status` to some
    assert_eq!(chosen(&routes, "GET", "//status/a/b"), "default");
}

#[test]
fn what_leads_to_rules_of_which_neither_is_stricter_is_refused() {
    let routes = with(vec![demanding("/a/{id}", "one"), demanding("/a/b", "two")]);
    assert_eq!(chosen(&routes, "GET", "/a/b"), "/a/b");
    assert_eq!(chosen(&routes, "GET", "/a/c"), "/a/{id}");
    for path in ["/a/B", "/a/b;x", "/a/%2562", "/a/b%20"] {
        assert_eq!(chosen(&routes, "GET", path), "ambiguous", "{path}");
    }
    assert_eq!(chosen(&routes, "GET", "/a/C;x"), "/a/{id}");
}

#[test]
fn routes_that_only_case_tells_apart_are_told_apart_by_case() {
    let routes = with(vec![demanding("/Report", "one"), demanding("/report", "two")]);
    assert_eq!(chosen(&routes, "GET", "/Report"), "/Report");
    assert_eq!(chosen(&routes, "GET", "/report"), "/report");
    let upper = paths(&["/Admin/{*rest}"]);
    assert_eq!(chosen(&upper, "GET", "/admin/x"), "/Admin/{*rest}");
}

#[test]
fn t77_no_other_spelling_of_an_own_endpoint_goes_on() {
    let routes = with(vec![route("/{*rest}", Protect::Nothing)]);
    for spelling in [
        "/auth/token/",
        "//auth/token",
        "/AUTH/TOKEN",
        "/auth/%74oken",
        "/auth/%2574oken",
        "/auth/token;x",
        "/auth;x/token",
        "/auth//token",
        "/auth/token%20",
        "/auth/token.",
        "/auth/token%3Fx",
    ] {
        assert_eq!(chosen(&routes, "POST", spelling), "ambiguous", "{spelling}");
    }
    assert_eq!(chosen(&routes, "POST", "/auth/tokens"), "/{*rest}");
}

#[test]
fn the_parameters_of_a_path_are_decoded() {
    let mut wanted = route("/teams/{team}/{*rest}", Protect::All);
    let words = [crate::condition::Word { name: "params", fields: &[] }];
    let when = crate::condition::Condition::compile("params.team == 'x'", &words).unwrap();
    wanted.policy.demands.when = Some(when);
    let routes = with(vec![wanted]);
    for (path, team, rest) in [
        ("/teams/red/a/b", "red", "a/b"),
        ("/teams/r%20d", "r d", ""),
        ("/teams/Red/A/", "Red", "A"),
        ("/TEAMS/Red/A", "Red", "A"),
    ] {
        let request = request("GET", path, &[]);
        let choice = routes.choose(&request).unwrap();
        let expected = [("team".to_owned(), team.to_owned()), ("rest".to_owned(), rest.to_owned())];
        assert_eq!(choice.params(), expected, "{path}");
    }
}

#[test]
fn d163_a_path_of_64_kb_costs_no_more_than_reading_it() {
    let mut many = Vec::new();
    for number in 0..200 {
        many.push(route(&format!("/a/{{x}}/a/{{y}}/{number}/{{z}}"), Protect::All));
        many.push(route(&format!("/{{x}}/a/{{y}}/a/{number}/{{*z}}"), Protect::All));
    }
    let routes = with(many);
    for path in
        ["/a".repeat(32_000), "/".repeat(64_000), "/a;".repeat(20_000), "%25".repeat(20_000)]
    {
        chosen(&routes, "GET", &format!("/{path}"));
    }
}

/// The bytes of a segment, each perhaps percent-encoded once, in either case of hexadecimal.
fn spelt(segment: &'static str) -> impl Strategy<Value = String> {
    prop::collection::vec(any::<(bool, bool)>(), segment.len()).prop_map(move |how| {
        let spell = |(byte, (encode, upper)): (u8, (bool, bool))| match (encode, upper) {
            (false, _) => char::from(byte).to_string(),
            (true, false) => format!("%{byte:02x}"),
            (true, true) => format!("%{byte:02X}"),
        };
        segment.bytes().zip(how).map(spell).collect()
    })
}

/// A path that some normalisation makes `/admin/users/list` of, and perhaps something else besides.
fn spelling() -> impl Strategy<Value = String> {
    let slash = prop_oneof![6 => Just("/"), 1 => Just("//"), 1 => Just("///")];
    let tail = prop_oneof![
        8 => Just(""), 1 => Just(";x=1"), 1 => Just("%3bx"), 1 => Just("%20"), 1 => Just("."), 1 => Just("%3F")
    ];
    let segment = (slash.clone(), tail);
    (
        (segment.clone(), spelt("admin")),
        (segment.clone(), spelt("users")),
        (segment, spelt("list")),
        prop_oneof![3 => Just(""), 1 => Just("/")],
        any::<bool>(),
    )
        .prop_map(|(a, b, c, end, again)| {
            let part =
                |((slash, tail), text): ((&str, &str), String)| format!("{slash}{text}{tail}");
            let path = format!("{}{}{}{end}", part(a), part(b), part(c));
            if again { path.replace('%', "%25") } else { path }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn every_spelling_of_a_path_meets_its_rule_or_is_refused(path in spelling()) {
        let mut public = route("/{*rest}", Protect::Nothing);
        public.name = "public".to_owned();
        let routes = with(vec![
            public,
            route("/admin/{*rest}", Protect::All),
            demanding("/admin/users/{name}", "users"),
            route("/admin/users/list", Protect::Deny),
        ]);
        let raw = bytes::Bytes::from(path.clone().into_bytes());
        if Target::parse(&raw, false).is_ok() {
            let name = chosen(&routes, "GET", &path);
            let is_closed = name == "/admin/users/list" || name == "ambiguous" || path.contains("%3F");
            proptest::prop_assert!(is_closed && name != "public", "{} met {}", path, name);
        }
    }
}

/// Of the paths `/protected` and `/protected/x`.
const SPELLINGS: [&str; 44] = [
    "/protected",
    "/protected/",
    "/protected/x",
    "//protected/x",
    "///protected/x",
    "/.//protected/x",
    "/./protected/x",
    "/x/../protected/x",
    "/%2e/protected/x",
    "/x/%2e%2e/protected/x",
    "/x/..%2fprotected/x",
    "/%2fprotected/x",
    "/protected%2fx",
    "/%70rotected/x",
    "/%50rotected/x",
    "/%2570rotected/x",
    "/%252570rotected/x",
    "/protected;x/x",
    "/protected;/x",
    "/protected;a=b;c/x",
    "/protected%3bx/x",
    "/;/protected/x",
    "/x/..;/protected/x",
    "/x/..%3b/protected/x",
    "\\protected\\x",
    "/\\protected/x",
    "/protected\\x",
    "/%5cprotected/x",
    "/PROTECTED/x",
    "/Protected/x",
    "/protecteD",
    "/protected%00/x",
    "/protected%20/x",
    "/%20protected/x",
    "/protected%09/x",
    "/protected./x",
    "/protected%3Fx",
    "/protected%23x",
    "/protected#x",
    "/protected?x",
    "http://api.test/protected/x",
    "http://other.test//protected/x",
    "/%c0%aeprotected/x",
    "/protected/%c0%ae%c0%ae/x",
];
