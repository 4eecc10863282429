//! Who is let in where: `[access]` and `[[routes]]` over real sockets.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use support::{Answer, Gateway, Upstream, bearer, get, post, tokens, toml, with_body};
use tollgate::clock::Clock;
use tollgate::config::{Sources, load};
use tollgate::observe::LogSink;

/// A gateway with these tables behind the usual ones.
fn gateway(upstream: &Upstream, tables: &str) -> Gateway {
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", tables))
}

fn get_with(gateway: &Gateway, path: &str, fields: &str) -> Answer {
    gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n"))
}

fn status(gateway: &Gateway, method: &str, path: &str, fields: &str) -> u16 {
    gateway.ask(with_body(method, path, fields, b"")).status
}

/// With a token whose claim is this.
fn as_claim(gateway: &Gateway, name: &str, value: serde_json::Value) -> String {
    bearer(&tokens::with(gateway, name, value))
}

/// The faults of a configuration with these tables.
fn faults(tables: &str) -> String {
    let file = support::scratch_file("gateway.toml", &toml("http://127.0.0.1:1", "", "", tables));
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let faults = load(&sources).map(|_| ()).unwrap_err().render(false);
    faults.replace(&format!("{}/", file.parent().unwrap().display()), "")
}

#[test]
fn the_most_specific_route_decides_whatever_the_order() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/{*rest}"
        access = "protected"

        [[routes]]
        path = "/open/{*rest}"
        access = "public"

        [[routes]]
        path = "/open/closed"
        access = "deny"

        [[routes]]
        path = "/open/{name}"
        methods = ["DELETE"]
        access = "protected"

        [[routes]]
        path = "/{*rest}"
        host = "*.public.test"
        access = "public"
    "#,
    );
    for (method, path, fields, expected) in [
        ("GET", "/x", "", 401),
        ("GET", "/open/x", "", 200),
        ("POST", "/open/x", "", 200),
        ("DELETE", "/open/x", "", 401),
        ("DELETE", "/open/x/y", "", 200),
        ("GET", "/open/closed", "", 403),
        ("GET", "/open/closed/", "", 403),
    ] {
        assert_eq!(status(&gateway, method, path, fields), expected, "{method} {path}");
    }
    for (host, expected) in
        [("api.public.test:8080", 200), ("A.B.PUBLIC.TEST", 200), ("public.test", 401)]
    {
        let answer = gateway.ask(format!("GET /x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, expected, "{host}");
    }
    assert_eq!(status(&gateway, "GET", "/x", &bearer(&tokens::good(&gateway))), 200);
    let denied = get_with(&gateway, "/open/closed", &bearer(&tokens::good(&gateway)));
    assert_eq!((denied.status, denied.field("www-authenticate")), (403, None));
}

/// Of `/protected/x`, which needs a token while everything else is public.
const SPELLINGS: [&str; 38] = [
    "/protected/x",
    "//protected/x",
    "///protected//x",
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
    "/protected%3bx/x",
    "/;/protected/x",
    "/x/..;/protected/x",
    "/x/..%3b/protected/x",
    "\\protected\\x",
    "/protected\\x",
    "/%5cprotected/x",
    "/PROTECTED/x",
    "/Protected/x",
    "/protected%00/x",
    "/protected%20/x",
    "/%20protected/x",
    "/protected./x",
    "/protected%3Fx",
    "/protected%23x",
    "/protected#x",
    "/protected?x",
    "/protected",
    "/protected/",
    "http://api.test/protected/x",
    "http://api.test//protected/x",
    "/%c0%aeprotected/x",
];

#[test]
fn a91_no_spelling_of_a_closed_prefix_reaches_the_upstream_unjudged() {
    let upstream = Upstream::start();
    for demand in ["", "all_of = [\"admin\"]"] {
        let tables = format!(
            "[[routes]]\npath = \"/{{*rest}}\"\naccess = \"public\"\n
             [[routes]]\npath = \"/protected/{{*rest}}\"\naccess = \"protected\"\n{demand}"
        );
        let gateway = gateway(&upstream, &tables);
        for spelling in SPELLINGS {
            for method in ["GET", "HEAD", "POST", "OPTIONS"] {
                let mut client = gateway.connect();
                client.send(format!("{method} {spelling} HTTP/1.1\r\nHost: api.test\r\n\r\n"));
                let answer = client.answer_to(method).unwrap();
                assert!(matches!(answer.status, 400 | 401), "{method} {spelling}: {answer:?}");
            }
        }
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn a105_head_and_overridden_methods_meet_the_rule_of_what_they_become() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/closed"
        methods = ["GET"]
        access = "protected"

        [[routes]]
        path = "/items"
        methods = ["POST"]
        access = "public"

        [[routes]]
        path = "/items"
        access = "protected"
        all_of = ["api:write"]
    "#,
    );
    let mut client = gateway.connect();
    client.send("HEAD /closed HTTP/1.1\r\nHost: api.test\r\n\r\n");
    assert_eq!(client.answer_to("HEAD").unwrap().status, 401);
    assert_eq!(status(&gateway, "GET", "/closed?_method=POST", ""), 401);

    let overridden = "X-HTTP-Method-Override: DELETE\r\nX_Method_Override: DELETE\r\n";
    assert_eq!(gateway.ask(post("/items", overridden, b"{}")).status, 200);
    let with_token = format!("{overridden}{}", bearer(&tokens::good(&gateway)));
    assert_eq!(status(&gateway, "PUT", "/items", &with_token), 200);
    for seen in upstream.seen() {
        let names = ["x-http-method-override", "x_method_override"];
        assert!(names.iter().all(|name| seen.field(name).is_none()), "{seen:?}");
    }
}

#[test]
fn scopes_are_asked_for_as_whole_words_and_the_challenge_names_them() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/read"
        all_of = ["read", "list"]

        [[routes]]
        path = "/any"
        any_of = ["a", "b"]
    "#,
    );
    let scoped = |scope: serde_json::Value| as_claim(&gateway, "scope", scope);
    for (path, scope, expected) in [
        ("/read", json!("read list"), 200),
        ("/read", json!("list read more"), 200),
        ("/read", json!(["read", "list"]), 200),
        ("/read", json!("read"), 403),
        ("/read", json!("readlist"), 403),
        ("/read", json!("readwrite list"), 403),
        ("/read", json!("READ list"), 403),
        ("/any", json!("b"), 200),
        ("/any", json!("ab"), 403),
    ] {
        let answer = get_with(&gateway, path, &scoped(scope.clone()));
        assert_eq!(answer.status, expected, "{path} {scope}");
    }
    let in_scp = as_claim(&gateway, "scp", json!(["read", "list"]));
    assert_eq!(get_with(&gateway, "/read", &in_scp).status, 200);
    let refused = get_with(&gateway, "/read", &scoped(json!("read")));
    assert_eq!(
        refused.field("www-authenticate").unwrap(),
        "Bearer realm=\"tollgate\", error=\"insufficient_scope\", \
         error_description=\"the token lacks a scope that is needed here\", scope=\"read list\""
    );
    assert_eq!(
        refused.json()["type"].as_str().unwrap().rsplit([':', '/', '#']).next(),
        Some("missing_scope")
    );
    let challenge = get_with(&gateway, "/read", "").field("www-authenticate");
    assert_eq!(challenge.as_deref(), Some("Bearer realm=\"tollgate\""));
}

#[test]
fn clients_issuers_and_claims_are_those_that_are_named() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[clients]]
        id = "ops"
        secret = "a second secret of some length"

        [[routes]]
        path = "/ops"
        clients = ["ops"]

        [[routes]]
        path = "/own"
        issuers = ["own"]

        [[routes]]
        path = "/finance"
        claims = { department = ["finance", "audit"], level = ["3"] }
    "#,
    );
    assert_eq!(
        get_with(&gateway, "/ops", &as_claim(&gateway, "client_id", json!("ops"))).status,
        200
    );
    let other = get_with(&gateway, "/ops", &bearer(&tokens::good(&gateway)));
    assert_eq!(other.status, 403);
    let challenge = other.field("www-authenticate").unwrap();
    assert!(
        challenge.contains("error=\"insufficient_scope\"") && !challenge.contains("scope=\"\"")
    );
    assert_eq!(get_with(&gateway, "/own", &bearer(&tokens::good(&gateway))).status, 200);

    let mut claims = tokens::claims(&gateway);
    claims["level"] = json!(3);
    for (department, expected) in [
        (json!("finance"), 200),
        (json!(["hr", "audit"]), 200),
        (json!("financeX"), 403),
        (json!(["fin", "ance"]), 403),
        (json!("finance audit"), 403),
        (json!({ "finance": true }), 403),
        (json!(null), 403),
    ] {
        claims["department"] = department.clone();
        let answer = get_with(&gateway, "/finance", &bearer(&tokens::made(&claims)));
        assert_eq!(answer.status, expected, "{department}");
    }
    claims["department"] = json!("finance");
    claims["level"] = json!(33);
    assert_eq!(get_with(&gateway, "/finance", &bearer(&tokens::made(&claims))).status, 403);
}

#[test]
fn a_condition_that_is_false_or_has_no_answer_refuses() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/tenants/{tenant}/{*rest}"
        when = "claims.tenant == params.tenant && request.method != 'DELETE'"

        [[routes]]
        path = "/role"
        when = "request.headers['x-role'] == 'user'"
    "#,
    );
    let acme = as_claim(&gateway, "tenant", json!("acme"));
    for (method, path, fields, expected) in [
        ("GET", "/tenants/acme/x", acme.as_str(), 200),
        ("GET", "/tenants/%61cme", &acme, 200),
        ("DELETE", "/tenants/acme/x", &acme, 403),
        ("GET", "/tenants/other/x", &acme, 403),
        ("GET", "/tenants/acme/x", &bearer(&tokens::good(&gateway)), 403), // no such claim
        ("GET", "/tenants/acme/x", &as_claim(&gateway, "tenant", json!(["acme"])), 403),
        ("GET", "/tenants/acme/x", "", 401),
        ("GET", "/role", &format!("X-Role: user\r\n{acme}"), 200),
        ("GET", "/role", &acme, 403),
        // H.119: none of several values is overlooked
        ("GET", "/role", &format!("X-Role: user, admin\r\n{acme}"), 403),
        ("GET", "/role", &format!("X-Role: user\r\nX-Role: admin\r\n{acme}"), 403),
    ] {
        assert_eq!(status(&gateway, method, path, fields), expected, "{method} {path} {fields}");
    }
}

/// J.34, J.36 and the fault behind CVE-2021-32701: what is remembered of a token is who it speaks for.
#[test]
fn a_cache_hit_never_skips_a_routes_own_check() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/one"
        all_of = ["api:write"]

        [[routes]]
        path = "/two"
        all_of = ["admin"]

        [[routes]]
        path = "/three"
        claims = { department = ["finance"] }

        [[routes]]
        path = "/four"
        when = "claims.department == 'hr'"
    "#,
    );
    let token = as_claim(&gateway, "department", json!("hr"));
    let mut client = gateway.connect(); // one worker, one cache
    for _ in 0..3 {
        for (path, expected) in [("/one", 200), ("/two", 403), ("/three", 403), ("/four", 200)] {
            client.send(format!("GET {path} HTTP/1.1\r\nHost: api.test\r\n{token}\r\n"));
            assert_eq!(client.answer().status, expected, "{path}");
        }
    }
}

#[test]
fn protect_says_what_needs_a_token_where_no_route_does() {
    let upstream = Upstream::start();
    let preflight = "Origin: https://a.test\r\nAccess-Control-Request-Method: PUT\r\n";
    for (protect, [get, post, options, flight, upgrade]) in [
        ("mutating", [200, 401, 200, 200, 401]),
        ("all", [401, 401, 401, 200, 401]),
        ("none", [200, 200, 200, 200, 200]),
    ] {
        let gateway = gateway(&upstream, &format!("[access]\nprotect = \"{protect}\""));
        let ask = |method, fields| status(&gateway, method, "/x", fields);
        assert_eq!(ask("GET", ""), get, "{protect}");
        assert_eq!(ask("POST", ""), post, "{protect}");
        assert_eq!(ask("OPTIONS", ""), options, "{protect}");
        assert_eq!(ask("OPTIONS", preflight), flight, "{protect}");
        let websocket = "Connection: upgrade\r\nUpgrade: websocket\r\n";
        assert_eq!(get_with(&gateway, "/x", websocket).status, upgrade, "{protect}");
        let both = format!("{preflight}{websocket}");
        let disguised =
            gateway.ask(format!("OPTIONS /x HTTP/1.1\r\nHost: api.test\r\n{both}\r\n")).status;
        assert_eq!(disguised, upgrade, "{protect}");
        // the endpoint is itself, whatever is open or closed
        assert_eq!(gateway.token().split('.').count(), 3, "{protect}");
    }
}

#[test]
fn the_scopes_of_access_are_for_whoever_needs_a_token_unless_a_route_says_otherwise() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [access]
        all_of = ["api:write"]

        [[routes]]
        path = "/inherits"
        access = "protected"

        [[routes]]
        path = "/other"
        any_of = ["x"]

        [[routes]]
        path = "/none"
        access = "protected"
        all_of = []

        [[routes]]
        path = "/follows"
        name = "follows"
    "#,
    );
    let (write, x) = (bearer(&tokens::good(&gateway)), as_claim(&gateway, "scope", json!("x")));
    for (method, path, token, expected) in [
        ("GET", "/", x.as_str(), 200),
        ("POST", "/", &x, 403),
        ("POST", "/", &write, 200),
        ("GET", "/inherits", &x, 403),
        ("GET", "/inherits", &write, 200),
        ("GET", "/other", &x, 200),
        ("GET", "/other", &write, 403),
        ("GET", "/none", &x, 200),
        ("GET", "/follows", "", 200),
        ("POST", "/follows", "", 401),
        ("POST", "/follows", &x, 403),
    ] {
        assert_eq!(status(&gateway, method, path, token), expected, "{method} {path} {token}");
    }
}

#[test]
fn the_token_endpoint_stays_itself_whatever_routes_say() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[routes]]\npath = \"/auth/{*rest}\"\naccess = \"deny\"\n
         [[routes]]\npath = \"/{*rest}\"\naccess = \"public\"",
    );
    gateway.token();
    for spelling in
        ["//auth/token", "/AUTH/token", "/auth/%74oken", "/auth/token/", "/auth;x/token"]
    {
        let status = status(&gateway, "POST", spelling, "");
        assert!(matches!(status, 400 | 403), "{spelling}: {status}");
    }
    assert!(upstream.seen().is_empty());
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn report_mode_lets_through_and_tells_what_it_would_have_refused() {
    let upstream = Upstream::start();
    let text = toml(
        &format!("http://{}", upstream.address),
        "",
        "",
        r#"
        [access]
        mode = "report"

        [[routes]]
        path = "/strict"
        name = "strict"
        mode = "enforce"
        all_of = ["admin"]

        [[routes]]
        path = "/denied"
        access = "deny"

        [[routes]]
        path = "/admin/{*rest}"
        name = "admin area"
        all_of = ["admin"]

        [log]
        format = "json"
    "#,
    );
    let file = support::scratch_file("gateway.toml", &text);
    let clock = Clock::adjustable();
    let loaded = load(&Sources { file: Some(file), clock: clock.clone(), ..Sources::default() });
    let written = Written::default();
    let log = LogSink::start(written.clone()).unwrap();
    let running =
        tollgate::server::start(loaded.unwrap().settings, clock.clone(), Some(log.clone()))
            .unwrap();
    let address = running.addresses()[0];
    let ask = |request: Vec<u8>| {
        let mut client = support::Client::connect(address);
        client.send(request);
        client.answer().status
    };
    let mut claims = json!({
        "iss": support::ISSUER, "aud": support::AUDIENCE, "sub": support::CLIENT, "scope": "x",
        "exp": clock.unix_seconds() + 60,
    });
    let good = bearer(&tokens::made(&claims));
    claims["exp"] = json!(1);
    let expired = bearer(&tokens::made(&claims));
    let overridden = "X-HTTP-Method-Override: DELETE\r\n";
    assert_eq!(ask(post("/items", overridden, b"")), 200);
    assert_eq!(ask(post("/items", &expired, b"")), 200);
    assert_eq!(ask(with_body("GET", "/admin/x", &good, b"")), 200);
    assert_eq!(ask(get("/denied")), 200);
    assert_eq!(ask(with_body("GET", "/strict", &good, b"")), 403);
    assert_eq!(ask(get("/open")), 200);
    let totals = {
        running.drain();
        running.join()
    };
    assert_eq!((totals.reported, totals.refused), (4, 1));
    let seen = upstream.seen();
    assert_eq!(seen[0].field("x-http-method-override"), None);
    assert_eq!(seen[1].field("authorization"), None, "an invalid token is withheld");
    assert_eq!(seen[1].field("x-auth-subject"), None);
    assert_eq!(seen[2].field("x-auth-subject").as_deref(), Some(support::CLIENT));
    assert!(seen[2].field("authorization").is_some());

    log.flush(Duration::from_secs(5));
    let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<serde_json::Value> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(|line: &serde_json::Value| line["message"] == "request")
        .collect();
    let mut told: Vec<String> = lines
        .iter()
        .map(|line| {
            ["path", "route", "decision", "reason"].map(|key| line[key].as_str().unwrap()).join(" ")
        })
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            "/admin/x admin area reported missing_scope",
            "/denied /denied reported route_denied",
            "/items default reported expired",
            "/items default reported no_credential",
            "/open default open open_method",
            "/strict strict refused missing_scope",
        ]
    );
}

#[test]
fn a_route_may_tell_the_upstream_other_things_of_the_caller() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        r#"
        [[routes]]
        path = "/billing/{*rest}"
        access = "protected"
        identity = { headers = { "X-Tenant" = "tenant" } }
    "#,
    );
    let token = as_claim(&gateway, "tenant", json!("acme"));
    let spoofed = format!("X-Tenant: evil\r\nX_Tenant: evil\r\nX-Auth-Subject: evil\r\n{token}");
    assert_eq!(get_with(&gateway, "/billing/x", &spoofed).status, 200);
    assert_eq!(get_with(&gateway, "/other", &spoofed).status, 200);
    let unspeakable = as_claim(&gateway, "tenant", json!("a\nb"));
    assert_eq!(get_with(&gateway, "/billing/x", &unspeakable).status, 401);
    let seen = upstream.seen();
    assert_eq!(seen[0].field("x-tenant").as_deref(), Some("acme"));
    assert_eq!(seen[0].field("x-auth-subject"), None);
    assert_eq!(seen[1].field("x-tenant"), None);
    assert_eq!(seen[1].field("x-auth-subject").as_deref(), Some(support::CLIENT));
    assert!(seen.iter().all(|seen| seen.field("x_tenant").is_none()));
}

#[test]
fn routes_that_get_into_each_others_way_are_told_with_both_places() {
    let told = faults(
        r#"
[[routes]]
path = "/a/{id}"

[[routes]]
path = "/a/{name}/"
methods = ["GET"]

[[routes]]
path = "/a/{other}"
access = "public"

[[routes]]
path = "/auth/token"

[[routes]]
path = "/b"
[[routes]]
path = "/b/{c}/{*d}"
[[routes]]
path = "/b/{*e}"
"#,
    );
    assert!(told.contains("3 errors"), "{told}");
    assert!(
        told.contains(
            "no more specific; the other one at gateway.toml:22:8\n   --> gateway.toml:29:8"
        ),
        "{told}"
    );
    assert!(told.contains("the token endpoint has its path"), "{told}");
    assert!(told.contains("two more specific ones take all of them"), "{told}");
}

#[test]
fn what_is_wrong_with_a_route_is_told_in_its_place() {
    let told = faults(
        r#"
[[routes]]
path = "/admin/*"
acces = "deny"

[[routes]]
path = "/a"
access = "public"
all_of = ["x"]

[[routes]]
path = "/b"
methods = ["get", "TRACE"]
clients = ["foobarbas"]
issuers = ["corp"]

[[routes]]
path = "/c"
when = "claims.tenant == parms.x"

[[routes]]
name = "nothing"

[access]
protect = "mutatin"
"#,
    );
    for part in [
        "the pattern `/admin/*` has a *",
        "did you mean `access`?",
        "`access` is public, so `all_of` is asked of nobody",
        "no client sends `get`",
        "`TRACE` is refused before any route",
        "did you mean `foobarbaz`?",
        "there is no issuer `corp`",
        "`when`: there is no `parms`",
        "this route has no `path`",
        "did you mean `mutating`?",
    ] {
        assert!(told.contains(part), "{part} is not in\n{told}");
    }
    let line = told.lines().find(|line| line.contains("when = ")).unwrap();
    let caret = told.lines().skip_while(|other| *other != line).nth(1).unwrap();
    assert_eq!(caret.find('^'), line.find("parms"), "{told}");
}
