//! Other proxies ask whether a request may go on: as nginx, Traefik and Caddy do, through a real nginx, and as somebody
//! would who wants to get around them.

#![allow(clippy::unwrap_used)]

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{Answer, CLIENT, Client, Gateway, Upstream, bearer, eventually, toml};

const VERIFY: &str = "/auth/verify";

fn text(upstream: SocketAddr, trusted: &str, rest: &str) -> String {
    let server = format!("trusted_proxies = [{trusted}]");
    let rest = format!("[forward_auth]\npath = \"{VERIFY}\"\n{rest}");
    toml(&format!("http://{upstream}"), &server, "", &rest)
}

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    Gateway::from_toml(&text(upstream.address, "\"127.0.0.1\"", rest))
}

/// As Traefik and Caddy ask.
fn traefik(method: &str, uri: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {VERIFY} HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nX-Forwarded-Method: {method}\r\nX-Forwarded-Uri: {uri}\r\n\
         X-Forwarded-Host: api.test\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.1\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// As nginx asks that is configured as in the example, but for what it leaves out.
fn nginx(method: &str, uri: &str, fields: &str) -> Vec<u8> {
    format!(
        "GET {VERIFY} HTTP/1.1\r\nHost: tollgate\r\nX-Original-Method: {method}\r\nX-Original-URI: {uri}\r\n\
         X-Forwarded-Host: api.test\r\n{fields}\r\n"
    )
    .into_bytes()
}

/// Whether the proxy would forward.
fn passes(answer: &Answer) -> bool {
    (200..300).contains(&answer.status)
}

#[test]
fn reading_is_open_and_changing_needs_a_token_whoever_asks() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = bearer(&gateway.token());
    for ask in [traefik, nginx] {
        let open = gateway.ask(ask("GET", "/players?page=2", ""));
        assert_eq!((open.status, open.field("x-auth-client")), (200, None));
        let refused = gateway.ask(ask("DELETE", "/players/1", ""));
        assert_eq!(refused.status, 401);
        assert_eq!(refused.field("www-authenticate").unwrap(), "Bearer realm=\"tollgate\"");
        let allowed = gateway.ask(ask("DELETE", "/players/1", &token));
        assert_eq!(allowed.status, 200);
        assert_eq!(allowed.field("x-auth-client").as_deref(), Some(CLIENT));
        assert_eq!(allowed.field("x-auth-scope").as_deref(), Some("api:write"));
        assert_eq!(allowed.field("cache-control").as_deref(), Some("no-store"));
        assert!(allowed.body.is_empty());
    }
    assert!(upstream.seen().is_empty(), "nothing is forwarded");
}

#[test]
fn routes_hosts_scopes_and_limits_are_the_same_as_for_forwarded_requests() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[routes]]\npath = \"/admin/{*rest}\"\nall_of = [\"admin\"]\n\
         [[routes]]\npath = \"/players\"\nhost = \"api.test\"\naccess = \"deny\"\n\
         [[routes]]\npath = \"/rare\"\nrate_limit = { per = \"address\", requests = 1 }\n\
         [[routes]]\npath = \"/trial\"\naccess = \"protected\"\nmode = \"report\"",
    );
    let token = bearer(&gateway.token());
    let forbidden = gateway.ask(traefik("GET", "/admin/users", &token));
    assert_eq!(forbidden.status, 403);
    assert!(forbidden.field("www-authenticate").unwrap().contains("scope=\"admin\""));
    assert_eq!(gateway.ask(traefik("GET", "/players", &token)).status, 403);
    assert_eq!(gateway.ask(traefik("GET", "/trial", "")).status, 200);
    let first = gateway.ask(traefik("GET", "/rare", ""));
    assert_eq!(first.field("ratelimit").as_deref(), Some("\"default\";r=0;t=60"));
    let second = gateway.ask(traefik("GET", "/rare", ""));
    assert_eq!((second.status, second.field("retry-after").as_deref()), (429, Some("60")));
    // nginx would make an error of its own of 429
    let told = gateway.ask(nginx("GET", "/rare", "X-Forwarded-For: 192.0.2.1\r\n"));
    assert_eq!((told.status, told.field("retry-after").as_deref()), (403, Some("60")));
    eventually("the report is counted", || gateway.totals().reported == 1);
}

#[test]
fn an_untrusted_peer_is_told_403_whatever_it_says() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&text(upstream.address, "\"192.0.2.7\"", ""));
    let token = bearer(&gateway.token());
    for request in [
        traefik("GET", "/", ""),
        traefik("DELETE", "/", &token),
        nginx("GET", "/", &token),
        nginx("GET", "/", "Forwarded: for=192.0.2.7\r\nX-Real-IP: 192.0.2.7\r\n"),
    ] {
        let answer = gateway.ask(request);
        assert_eq!((answer.status, answer.field("x-auth-client")), (403, None));
        assert_eq!(answer.json()["type"], "urn:tollgate:problem:untrusted_proxy");
    }
}

#[test]
fn what_is_missing_doubled_or_told_in_two_ways_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = bearer(&gateway.token());
    let ask = |fields: &str| {
        let request = format!("GET {VERIFY} HTTP/1.1\r\nHost: api.test\r\n{token}{fields}\r\n");
        gateway.ask(request).status
    };
    let host = "X-Forwarded-Host: api.test\r\n";
    let (method, uri) = ("X-Forwarded-Method: GET\r\n", "X-Forwarded-Uri: /\r\n");
    let (original, original_uri) = ("X-Original-Method: GET\r\n", "X-Original-URI: /\r\n");
    assert_eq!(ask(&format!("{host}{method}{uri}")), 200);
    assert_eq!(ask(&format!("{host}{original}{original_uri}")), 200);
    assert_eq!(ask(&format!("{host}{method}{uri}{original}{original_uri}")), 200);
    for (what, fields) in [
        ("nothing", String::new()),
        ("no host", format!("{method}{uri}")),
        ("no method", format!("{host}{uri}")),
        ("no target", format!("{host}{method}")),
        ("no method in nginx's dialect", format!("{host}{original_uri}")),
        ("a client's method beside nginx's target", format!("{host}{method}{original_uri}")),
        ("a client's dialect beside nginx's target", format!("{host}{method}{uri}{original_uri}")),
        ("a client's dialect beside nginx's method", format!("{host}{method}{uri}{original}")),
        ("two methods", format!("{host}{method}{uri}X-Forwarded-Method: DELETE\r\n")),
        ("the same method twice", format!("{host}{method}{method}{uri}")),
        ("two targets", format!("{host}{method}{uri}X-Forwarded-Uri: /b\r\n")),
        ("two hosts", format!("{host}{host}{method}{uri}")),
        (
            "another method",
            format!("{host}{method}{uri}X-Original-Method: DELETE\r\n{original_uri}"),
        ),
        ("another target", format!("{host}{method}{uri}{original}X-Original-URI: /admin\r\n")),
        ("a list of methods", format!("{host}{uri}X-Forwarded-Method: GET, DELETE\r\n")),
        ("a request line", format!("{host}{uri}X-Forwarded-Method: GET / HTTP/1.1\r\n")),
        ("an empty method", format!("{host}{uri}X-Forwarded-Method:\r\n")),
        ("two hosts in one", format!("{method}{uri}X-Forwarded-Host: a, b\r\n")),
        ("no host at all", format!("{method}{uri}X-Forwarded-Host: /a\r\n")),
        ("a whole URL", format!("{host}{method}X-Forwarded-Uri: http://evil.test/\r\n")),
        ("no path", format!("{host}{method}X-Forwarded-Uri: players\r\n")),
        ("a blank", format!("{host}{method}X-Forwarded-Uri: /a b\r\n")),
        ("another version", format!("{host}{method}X-Forwarded-Uri: /a HTTP/1.1\r\n")),
        ("a high byte", format!("{host}{method}X-Forwarded-Uri: /\u{e9}\r\n")),
    ] {
        let status = ask(&fields);
        assert!(matches!(status, 400 | 403), "{what}: {status}");
    }
}

#[test]
fn a90_method_and_target_headers_of_a_client_change_nothing() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "[[routes]]\npath = \"/public\"\naccess = \"public\"");
    for spoofed in [
        "X-Original-Method: GET\r\n",
        "X-Original-URI: /public\r\n",
        "X-Original-URL: /public\r\n",
        "X-Rewrite-URL: /public\r\n",
        "X-Forwarded-Prefix: /public\r\n",
        "X_Forwarded_Method: GET\r\n",
        "X.Forwarded.Uri: /public\r\n",
        "X-HTTP-Method-Override: GET\r\n",
        "User-Agent: kube-probe/1.30\r\n",
        "Origin: https://app.example.com\r\nAccess-Control-Request-Method: GET\r\n",
        "Max-Forwards: 0\r\n",
        "Content-Type: application/grpc\r\nTE: trailers\r\n",
        "X-Forwarded-Method: GET\r\n",
        "X-Forwarded-Uri: /public\r\n",
    ] {
        for method in ["DELETE", "POST", "get", "PURGE"] {
            let answer = gateway.ask(traefik(method, "/players/1", spoofed));
            assert!(matches!(answer.status, 400 | 401 | 403), "{method} {spoofed}: {answer:?}");
        }
    }
    // OPTIONS with Max-Forwards: 0 has an answer of its own, and 200 would let it pass
    let closed = "[access]\nprotect = \"all\"";
    let gateway = Gateway::from_toml(&text(upstream.address, "\"127.0.0.1\"", closed));
    assert_eq!(gateway.ask(traefik("OPTIONS", "/", "Max-Forwards: 0\r\n")).status, 401);
    assert_eq!(gateway.ask(traefik("GET", "/", "Content-Type: application/grpc\r\n")).status, 401);
}

#[test]
fn a88_an_open_request_that_asks_for_another_method_is_refused() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = bearer(&gateway.token());
    for name in [
        "X-HTTP-Method-Override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X_HTTP_Method_Override",
        "x.method.override",
    ] {
        let field = format!("{name}: DELETE\r\n");
        assert_eq!(gateway.ask(traefik("GET", "/players", &field)).status, 400, "{name}");
        assert_eq!(gateway.ask(nginx("GET", "/players", &field)).status, 403, "{name}");
        // with a token it may do all that anyway
        let guarded = gateway.ask(traefik("POST", "/players", &format!("{field}{token}")));
        assert_eq!(guarded.status, 200, "{name}");
    }
}

#[test]
fn a91_no_spelling_of_a_closed_path_is_let_through() {
    let upstream = Upstream::start();
    let gateway =
        gateway(&upstream, "[[routes]]\npath = \"/protected/{*rest}\"\naccess = \"protected\"");
    for path in PATHS_INTO_PROTECTED {
        for ask in [traefik, nginx] {
            let answer = gateway.ask(ask("GET", path, ""));
            assert!(!passes(&answer), "{path}: {answer:?}");
        }
    }
}

#[test]
fn a_request_for_an_upgrade_is_guarded_however_it_is_told() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = bearer(&gateway.token());
    for fields in [
        "Upgrade: websocket\r\n",
        "Connection: upgrade\r\nUpgrade: websocket\r\n",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        "Sec-WebSocket-Version: 13\r\n",
    ] {
        assert_eq!(gateway.ask(traefik("GET", "/live", fields)).status, 401, "{fields}");
        let with_token = format!("{fields}{token}");
        assert_eq!(gateway.ask(traefik("GET", "/live", &with_token)).status, 200, "{fields}");
    }
}

#[test]
fn a107_identity_headers_of_a_client_are_refused_in_every_spelling() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = bearer(&gateway.token());
    for name in
        ["X-Auth-Client", "x_auth_client", "X.Auth.Client", "X-Auth_Scope", "X-AUTH-SUBJECT"]
    {
        for other in ["", &token] {
            let answer = gateway.ask(traefik("GET", "/", &format!("{name}: admin\r\n{other}")));
            assert_eq!(answer.status, 400, "{name}");
            assert_eq!(answer.field("x-auth-client"), None);
        }
    }
}

#[test]
fn the_gateways_own_paths_are_not_the_upstreams() {
    let upstream = Upstream::start();
    for rest in ["", "[[routes]]\npath = \"/a\""] {
        let gateway = gateway(&upstream, rest);
        let token = bearer(&gateway.token());
        for path in ["/auth/token", VERIFY] {
            for (method, fields) in [("POST", token.as_str()), ("GET", "")] {
                let answer = gateway.ask(traefik(method, path, fields));
                assert_eq!(answer.status, 403, "{method} {path}");
                assert_eq!(answer.json()["type"], "urn:tollgate:problem:own_endpoint");
            }
        }
    }
    // beside routes other spellings are refused, as they are to clients
    let gateway = gateway(&upstream, "[[routes]]\npath = \"/a\"");
    for path in ["//auth/verify", "/AUTH/verify", "/auth/verify/", "/auth/%74oken"] {
        assert_eq!(gateway.ask(traefik("GET", path, "")).status, 400, "{path}");
    }
    assert!(upstream.seen().is_empty());
}

#[test]
fn without_the_table_the_path_is_the_upstreams() {
    let upstream = Upstream::start();
    let gateway = Gateway::before(upstream.address);
    assert_eq!(gateway.ask(traefik("GET", "/", "")).text(), "hello");
    assert_eq!(upstream.only().line, format!("GET {VERIFY} HTTP/1.1"));
}

#[test]
fn a_body_at_the_endpoint_is_not_taken_for_another_request() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let hidden = "DELETE /players/1 HTTP/1.1\r\nHost: api.test\r\n\r\n";
    let field = format!("Content-Length: {}\r\n", hidden.len());
    let mut client = gateway.connect();
    let mut request = traefik("POST", "/players", &field);
    request.extend_from_slice(hidden.as_bytes());
    client.send(&request);
    assert_eq!(client.answer().status, 401);
    client.send(traefik("GET", "/players", ""));
    assert!(client.answer_to("GET").is_none_or(|answer| answer.status == 200));
    assert!(upstream.seen().is_empty());
}

/// nginx with the example's file, between free ports. It is killed when this is dropped.
struct Nginx {
    child: Child,
    address: SocketAddr,
}

impl Nginx {
    fn before(gateway: SocketAddr, api: SocketAddr) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let example =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/forward-auth/nginx.conf");
        let text = std::fs::read_to_string(example).unwrap();
        let text = text.replace("127.0.0.1:8080", &gateway.to_string());
        let text = text.replace("127.0.0.1:9000", &api.to_string());
        let text = text.replace("127.0.0.1:8000", &address.to_string());
        let file = support::scratch_file("nginx.conf", &text);
        let mut command = Command::new("nginx");
        command.arg("-p").arg(file.parent().unwrap()).arg("-c").arg(&file);
        // one process, so that killing it leaves none
        command.args(["-g", "daemon off; master_process off;"]).stderr(Stdio::inherit());
        let path = std::env::var("PATH").unwrap_or_default();
        let child = command.env("PATH", format!("{path}:/usr/sbin:/usr/local/sbin")).spawn();
        let child = child.expect("nginx, which `bash tests/install.sh proxies` installs");
        eventually("nginx listens", || TcpStream::connect(address).is_ok());
        Self { child, address }
    }

    fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = Client::connect(self.address);
        client.send(request);
        client.answer()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn request(method: &str, path: &str, fields: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n{fields}\r\n")
}

#[test]
fn nginx_lets_through_what_the_gateway_lets_through_and_nothing_else() {
    let upstream = Upstream::start();
    let gateway = gateway(
        &upstream,
        "[[routes]]\npath = \"/admin/{*rest}\"\nall_of = [\"admin\"]\n\
         [[routes]]\npath = \"/protected/{*rest}\"\naccess = \"protected\"\n\
         [[routes]]\npath = \"/public\"\naccess = \"public\"",
    );
    let nginx = Nginx::before(gateway.address, upstream.address);
    let token = bearer(&gateway.token());

    assert_eq!(nginx.ask(request("GET", "/players?page=2", "")).text(), "hello");
    let seen = upstream.only();
    assert_eq!(
        (seen.line.as_str(), seen.field("x-auth-client")),
        ("GET /players?page=2 HTTP/1.0", None)
    );

    let refused = nginx.ask(request("DELETE", "/players/1", ""));
    assert_eq!(refused.status, 401);
    assert_eq!(refused.field("www-authenticate").unwrap(), "Bearer realm=\"tollgate\"");
    let body = format!("{token}Content-Length: 5\r\n");
    let allowed = nginx.ask(request("POST", "/players", &body) + "hello");
    assert_eq!(allowed.status, 200);
    let seen = upstream.seen().pop().unwrap();
    assert_eq!(seen.field("x-auth-client").as_deref(), Some(CLIENT));
    assert_eq!(seen.body, b"hello");
    assert_eq!(nginx.ask(request("GET", "/admin/users", &token)).status, 403);
    assert_eq!(upstream.seen().len(), 2);

    // what a client says of the request itself, through nginx
    for spoofed in [
        "X-Original-Method: GET\r\nX-Original-URI: /public\r\n",
        "X-Forwarded-Method: GET\r\nX-Forwarded-Uri: /public\r\nX-Forwarded-Host: public.test\r\n",
        "X-Auth-Client: admin\r\n",
        "X-HTTP-Method-Override: GET\r\n",
        "Upgrade: websocket\r\n",
    ] {
        let answer = nginx.ask(request("DELETE", "/players/1", spoofed));
        assert!(matches!(answer.status, 401 | 403), "{spoofed}: {answer:?}");
    }
    for path in PATHS_INTO_PROTECTED {
        let answer = nginx.ask(request("GET", path, ""));
        assert!(!passes(&answer), "{path}: {answer:?}");
    }
    let upgrade = "Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    assert_eq!(nginx.ask(request("GET", "/live", upgrade)).status, 401);
    assert_eq!(upstream.seen().len(), 2, "{:?}", upstream.seen());
}

#[test]
fn tokens_are_asked_for_through_nginx() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let nginx = Nginx::before(gateway.address, upstream.address);
    let form = support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", support::SECRET),
    ]);
    let fields = format!(
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n",
        form.len()
    );
    let answer = nginx.ask(request("POST", "/auth/token", &fields) + &form);
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    let answer = nginx.ask(request("DELETE", "/players/1", &bearer(&token)));
    assert_eq!((answer.status, upstream.only().line.as_str()), (200, "DELETE /players/1 HTTP/1.0"));
}

/// Spellings that somebody could take for something below /protected, or above where they are.
const PATHS_INTO_PROTECTED: &[&str] = &[
    "/protected/x",
    "/protected",
    "/PROTECTED/x",
    "//protected/x",
    "/protected//x",
    "/./protected/x",
    "/x/../protected/x",
    "/x/%2e%2e/protected/x",
    "/x/%2E./protected/x",
    "/%2e/protected/x",
    "/x/..;/protected/x",
    "/x/..;a=b/protected/x",
    "/x/%2e%2e;/protected/x",
    "/.;/protected/x",
    "/protected;x/y",
    "/x/..%2fprotected/x",
    "/x%2f..%2fprotected",
    "/%2fprotected/x",
    "/protected%2fx",
    "/x%5c..%5cprotected",
    "/x\\..\\protected",
    "/protected%00/x",
    "/%00/protected",
    "/protected%0d%0aX:y",
    "/%70rotected/x",
    "/%2570rotected/x",
    "/protected/x#y",
    "/x#/../protected",
    "/%c0%ae%c0%ae/protected",
    "/%c0%afprotected",
    "/%protected/x",
    "/protected/%2",
    "/%u002e%u002e/protected",
    "/protected/x?y",
    "/protected/",
    "/protected/x/",
    "http://api.test/protected/x",
];
