//! Web pages of other origins: what the gateway says to them, and that it never says more than is configured.

#![allow(clippy::unwrap_used)]

mod support;

use support::{Answer, Gateway, Upstream, bearer, get, post, toml};

const APP: &str = "https://app.example.com";

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", rest))
}

/// An upstream that lets every page do everything.
fn lax() -> Upstream {
    Upstream::answering(|_| {
        b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\n\
          Access-Control-Expose-Headers: X-Secret\r\nVary: Accept\r\nContent-Length: 5\r\n\r\nhello"
            .to_vec()
    })
}

fn preflight(path: &str, origin: &str, method: &str) -> Vec<u8> {
    format!(
        "OPTIONS {path} HTTP/1.1\r\nHost: api.test\r\nOrigin: {origin}\r\n\
         Access-Control-Request-Method: {method}\r\nAccess-Control-Request-Headers: authorization\r\n\r\n"
    )
    .into_bytes()
}

fn from(origin: &str, method: &str, path: &str, fields: &str) -> Vec<u8> {
    format!("{method} {path} HTTP/1.1\r\nHost: api.test\r\nOrigin: {origin}\r\n{fields}\r\n")
        .into_bytes()
}

fn allowed(answer: &Answer) -> Option<String> {
    answer.field("access-control-allow-origin")
}

/// No word of other origins at all.
fn says_nothing(answer: &Answer) {
    for (name, value) in &answer.fields {
        assert!(!name.to_ascii_lowercase().starts_with("access-control-"), "{name}: {value}");
    }
}

#[test]
fn a_preflight_from_a_listed_origin_is_answered_here_and_never_forwarded() {
    let upstream = lax();
    let gateway =
        gateway(&upstream, &format!("[cors]\norigins = [\"{APP}\", \"http://localhost:3000\"]"));
    for origin in [APP, "http://localhost:3000"] {
        let answer = gateway.ask(preflight("/players", origin, "POST"));
        assert_eq!(answer.status, 204);
        assert_eq!(allowed(&answer).as_deref(), Some(origin));
        let methods = answer.field("access-control-allow-methods").unwrap();
        assert_eq!(methods, "GET, HEAD, POST, PUT, PATCH, DELETE");
        let headers = answer.field("access-control-allow-headers").unwrap();
        assert_eq!(headers, "authorization, content-type");
        assert_eq!(answer.field("access-control-max-age").as_deref(), Some("600"));
        assert_eq!(answer.field("access-control-allow-credentials"), None);
        assert!(answer.field("vary").unwrap().contains("origin"));
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn an_origin_that_is_not_listed_is_never_named() {
    let upstream = lax();
    let gateway = gateway(&upstream, &format!("[cors]\norigins = [\"{APP}\"]\ncredentials = true"));
    for origin in [
        "https://evil.example",
        "null",
        "https://app.example.com.evil.example",
        "https://app.example.com:8443",
        "http://app.example.com",
        "https://APP.example.com",
        "https://app.example.com/",
        "https://app.example.com, https://evil.example",
        "*",
        "",
    ] {
        let answer = gateway.ask(preflight("/players", origin, "POST"));
        assert_eq!(answer.status, 204, "{origin}");
        says_nothing(&answer);
        let answer = gateway.ask(from(origin, "GET", "/players", ""));
        assert_eq!(answer.status, 200, "{origin}");
        says_nothing(&answer);
        assert_eq!(answer.field("vary").as_deref(), Some("Accept, origin"));
    }
    // two at once
    let two = "Origin: https://evil.example\r\n";
    says_nothing(&gateway.ask(from(APP, "GET", "/players", two)));
    // nobody
    let answer = gateway.ask(get("/players"));
    says_nothing(&answer);
    assert_eq!(answer.field("vary").as_deref(), Some("Accept, origin"));
}

#[test]
fn answers_to_a_listed_origin_say_so_in_the_place_of_the_upstream() {
    let upstream = lax();
    let cors = format!("[cors]\norigins = [\"{APP}\"]\ncredentials = true\nexpose = [\"X-Total\"]");
    let gateway = gateway(&upstream, &cors);
    let answer = gateway.ask(from(APP, "GET", "/players", ""));
    assert_eq!(allowed(&answer).as_deref(), Some(APP));
    assert_eq!(answer.field("access-control-allow-credentials").as_deref(), Some("true"));
    assert_eq!(answer.field("access-control-expose-headers").as_deref(), Some("x-total"));
    assert_eq!(answer.field("vary").as_deref(), Some("Accept, origin"));
    assert_eq!(answer.text(), "hello");
}

#[test]
fn a_page_can_read_why_it_was_refused() {
    let upstream = lax();
    let rest = format!(
        "[cors]\norigins = [\"{APP}\"]\n[[routes]]\npath = \"/admin\"\nall_of = [\"admin\"]\n\
         [[routes]]\npath = \"/rare\"\nrate_limit = {{ per = \"address\", requests = 1 }}"
    );
    let gateway = gateway(&upstream, &rest);
    let bad = bearer("nonsense");
    let good = bearer(&gateway.token());
    let asked = [
        (401, from(APP, "POST", "/players", "Content-Length: 0\r\n")),
        (401, from(APP, "POST", "/players", &format!("{bad}Content-Length: 0\r\n"))),
        (403, from(APP, "GET", "/admin", &good)),
        (400, from(APP, "GET", "/players/%2e%2e/x", "")),
        (405, from(APP, "TRACE", "/players", "")),
        (200, from(APP, "GET", "/rare", "")),
        (429, from(APP, "GET", "/rare", "")),
    ];
    for (status, request) in asked {
        let answer = gateway.ask(&request);
        let told = String::from_utf8_lossy(&request).into_owned();
        assert_eq!(answer.status, status, "{told}");
        if told.contains("%2e") {
            continue; // refused before it is a request
        }
        assert_eq!(allowed(&answer).as_deref(), Some(APP), "{told}");
        let exposed = answer.field("access-control-expose-headers").unwrap();
        assert!(exposed.contains("www-authenticate") && exposed.contains("retry-after"));
    }
}

#[test]
fn t78_a_preflight_of_the_token_endpoint_goes_by_cors_and_reflects_no_stranger() {
    let upstream = lax();
    let none = gateway(&upstream, "");
    let answer = none.ask(preflight("/auth/token", "https://evil.example", "POST"));
    assert_eq!(answer.status, 405);
    says_nothing(&answer);

    let gateway = gateway(&upstream, &format!("[cors]\norigins = [\"{APP}\"]\ncredentials = true"));
    let answer = gateway.ask(preflight("/auth/token", "https://evil.example", "POST"));
    assert_eq!(answer.status, 204);
    says_nothing(&answer);
    let answer = gateway.ask(preflight("/auth/token", APP, "POST"));
    assert_eq!((answer.status, allowed(&answer).as_deref()), (204, Some(APP)));
    let fields = format!("Origin: {APP}\r\nContent-Type: application/x-www-form-urlencoded\r\n");
    let refused = gateway.ask(post("/auth/token", &fields, b"grant_type=client_credentials"));
    assert!(refused.status >= 400);
    assert_eq!(allowed(&refused).as_deref(), Some(APP));
    assert!(upstream.seen().is_empty());
}

#[test]
fn a_preflight_meets_the_route_of_the_request_that_it_announces() {
    let upstream = lax();
    let rest = format!(
        "[[routes]]\npath = \"/players\"\nmethods = [\"PUT\"]\naccess = \"protected\"\n\
         cors = {{ origins = [\"{APP}\"], methods = [\"PUT\"], max_age = 0 }}\n\
         [[routes]]\npath = \"/all\"\naccess = \"public\"\n\
         cors = {{ origins = \"*\", headers = [\"*\"] }}"
    );
    let gateway = gateway(&upstream, &rest);
    let put = gateway.ask(preflight("/players", APP, "PUT"));
    assert_eq!((put.status, allowed(&put).as_deref()), (204, Some(APP)));
    assert_eq!(put.field("access-control-allow-methods").as_deref(), Some("PUT"));
    assert!(upstream.seen().is_empty());
    // of other requests the upstream says what it likes, as if there were no gateway
    let post = gateway.ask(preflight("/players", APP, "POST"));
    assert_eq!((post.status, allowed(&post).as_deref()), (200, Some("*")));
    assert_eq!(upstream.seen().len(), 1);
    // a plain OPTIONS is no preflight
    let options = gateway.ask(from(APP, "OPTIONS", "/players", ""));
    assert_eq!((options.status, upstream.seen().len()), (200, 2));

    let all = gateway.ask(preflight("/all", "https://anyone.example", "GET"));
    assert_eq!((all.status, allowed(&all).as_deref()), (204, Some("*")));
    let headers = all.field("access-control-allow-headers").unwrap();
    assert_eq!(headers, "*, authorization");
    let all = gateway.ask(from("null", "GET", "/all", ""));
    assert_eq!(
        (allowed(&all).as_deref(), all.field("vary").as_deref()),
        (Some("*"), Some("Accept"))
    );
    assert_eq!(all.field("access-control-allow-credentials"), None);
}

#[test]
fn where_nothing_is_configured_a_preflight_goes_on_and_needs_no_token() {
    let upstream = lax();
    let gateway = gateway(&upstream, "[access]\nprotect = \"all\"");
    let answer = gateway.ask(preflight("/players", APP, "DELETE"));
    assert_eq!((answer.status, allowed(&answer).as_deref()), (200, Some("*")));
    assert_eq!(upstream.only().field("origin").as_deref(), Some(APP));
    assert_eq!(gateway.ask(from(APP, "OPTIONS", "/players", "")).status, 401);
}

#[test]
fn a_preflight_opens_nothing() {
    let upstream = lax();
    let rest = format!("[access]\nprotect = \"all\"\n[cors]\norigins = [\"{APP}\"]");
    let gateway = gateway(&upstream, &rest);
    // what is no preflight is judged like everything else, whatever it says
    let lookalike = "Access-Control-Request-Method: POST\r\nContent-Length: 0\r\n";
    for method in ["POST", "DELETE", "options", "GET"] {
        assert_eq!(gateway.ask(from(APP, method, "/players", lookalike)).status, 401, "{method}");
    }
    let upgrade = format!("{lookalike}Connection: upgrade\r\nUpgrade: websocket\r\n");
    let upgrade = upgrade.replace("Content-Length: 0\r\n", "");
    assert_eq!(gateway.ask(from(APP, "OPTIONS", "/players", &upgrade)).status, 401);
    let unsound = gateway.ask(preflight("/players", APP, "PO ST"));
    assert_eq!((unsound.status, allowed(&unsound)), (204, None));
    assert!(upstream.seen().is_empty());
    assert_eq!(gateway.ask(preflight("/players", "null", "POST")).status, 204);
}

/// Two free ports.
fn ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

#[test]
fn a_browser_lets_pages_of_listed_origins_read_answers_and_others_not() {
    let run = |command: &str, arguments: &[&str], variables: &[(&str, String)]| {
        let mut command = std::process::Command::new(command);
        command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR"));
        let ended = command.envs(variables.iter().cloned()).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{said}");
        String::from_utf8(ended.stdout).unwrap()
    };
    run("bash", &["tests/install.sh", "page"], &[]);
    let upstream = lax();
    let [listed, stranger] = ports();
    let gateway = gateway(&upstream, &format!("[cors]\norigins = [\"http://127.0.0.1:{listed}\"]"));
    let variables = [
        ("GATEWAY", format!("http://{}", gateway.address)),
        ("LISTED", listed.to_string()),
        ("STRANGER", stranger.to_string()),
        ("TOKEN", gateway.token()),
    ];
    assert_eq!(run("node", &["tests/clients/page/cors.mjs"], &variables).trim(), "well");
    // a preflight and a PUT of the stranger's: the first was kept from the upstream, and so the second was never sent
    let puts = upstream.seen().into_iter().filter(|seen| seen.line.starts_with("PUT")).count();
    assert_eq!(puts, 1);
}
