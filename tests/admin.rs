//! The admin listener: what it tells, to whom, and that it tells no secret.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use serde_json::Value;
use support::{Client, Gateway, Upstream, bearer, eventually, get, post, toml};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n";

/// A token of [admin].
const TOKEN: &str = "Yx7Qm2vY0tq8Zp4XkT4mQ9zXw";

fn gateway(upstream: &Upstream, rest: &str) -> Gateway {
    Gateway::from_toml(&toml(
        &format!("http://{}", upstream.address),
        "",
        "",
        &format!("{ADMIN}{rest}"),
    ))
}

fn ask(admin: SocketAddr, path: &str) -> support::Answer {
    ask_with(admin, "GET", path, &format!("Host: {admin}\r\n"))
}

/// `fields`: whole lines.
fn ask_with(admin: SocketAddr, method: &str, path: &str, fields: &str) -> support::Answer {
    let mut client = Client::connect(admin);
    client.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n"));
    client.answer_to(method).unwrap()
}

fn status(gateway: &Gateway) -> Value {
    let answer = ask(gateway.admin.unwrap(), "/api/status");
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.field("content-type").unwrap(), "application/json");
    assert_eq!(answer.field("cache-control").unwrap(), "no-store");
    answer.json()
}

fn named<'v>(list: &'v Value, key: &str, value: &str) -> &'v Value {
    list.as_array()
        .unwrap()
        .iter()
        .find(|entry| entry[key] == value)
        .unwrap_or_else(|| panic!("no {value} in {list}"))
}

#[test]
fn the_status_tells_what_happened() {
    let upstream = Upstream::start();
    let gateway =
        gateway(&upstream, "[[routes]]\npath = \"/admin/{*rest}\"\nall_of = [\"admin\"]\n");
    let token = gateway.token();
    assert_eq!(gateway.ask(get("/players?secret=in-the-query")).status, 200);
    assert_eq!(gateway.ask(post("/players", "", b"x")).status, 401);
    assert_eq!(gateway.ask(post("/players", &bearer(&token), b"x")).status, 200);
    assert_eq!(gateway.ask(post("/admin/x?k=v", &bearer(&token), b"x")).status, 403);
    let wrong = "grant_type=client_credentials&client_id=foobarbaz&client_secret=wrong";
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    assert_eq!(gateway.ask(post("/auth/token", fields, wrong.as_bytes())).status, 401);
    eventually("every refusal is told", || {
        status(&gateway)["refusals"].as_array().unwrap().len() == 3
    });
    let told = status(&gateway);
    assert_eq!(told["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(told["ready"], true);
    assert_eq!(told["requests"]["total"], 6);
    let totals = gateway.totals();
    assert_eq!((totals.requests, totals.refused), (6, 2));
    let decisions = &told["requests"]["decisions"];
    assert_eq!(named(decisions, "reason", "no_credential")["count"], 1);
    assert_eq!(named(decisions, "reason", "valid_token")["decision"], "allowed");
    let route = named(&told["routes"], "name", "/admin/{*rest}");
    assert_eq!((&route["requests"], &route["refused"]), (&1.into(), &1.into()), "{route}");
    assert_eq!(route["policy"], "all_of admin");
    assert_eq!(route["access"], "protected");
    assert_eq!(named(&told["routes"], "name", "default")["requests"], 3);
    assert_eq!(told["tokens"]["issued"], 1);
    assert_eq!(named(&told["tokens"]["refused"], "reason", "wrong_secret")["count"], 1);
    let refusal = named(&told["refusals"], "reason", "missing_scope");
    assert_eq!((&refusal["path"], &refusal["status"]), (&"/admin/x".into(), &403.into()));
    assert_eq!(refusal["client_id"], "foobarbaz");
    assert_eq!(named(&told["issuers"], "name", "own")["state"], "fixed");
    assert_eq!(told["latency"]["gateway"]["counts"].as_array().unwrap().len(), 19);
    eventually("what the workers hold is told", || {
        // each worker remembers for itself, and which one is met is chance
        gateway.ask(post("/players", &bearer(&token), b"x"));
        status(&gateway)["caches"][0]["hits"].as_u64().unwrap() >= 1
    });
}

#[test]
fn a_flood_of_refusals_keeps_the_latest_fifty() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let mut client = gateway.connect();
    for number in 0..120 {
        client.send(post(&format!("/{number}"), "", b""));
        assert_eq!(client.answer().status, 401);
    }
    eventually("the last one is told", || status(&gateway)["refusals"][0]["path"] == "/119");
    let refusals = status(&gateway)["refusals"].as_array().unwrap().clone();
    assert_eq!(refusals.len(), 50);
    assert_eq!(refusals[49]["path"], "/70");
}

#[test]
fn the_page_and_its_files_are_served() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let page = ask(gateway.admin.unwrap(), "/");
    assert_eq!(page.status, 200);
    assert!(page.field("content-security-policy").unwrap().contains("default-src 'none'"));
    assert_eq!(ask(gateway.admin.unwrap(), "/nothing").status, 404);
}

/// Everything but health.
const CLOSED: [&str; 4] = ["/", "/metrics", "/api/status", "/nothing"];

#[test]
fn d207_what_others_can_reach_shows_nothing_but_health_without_the_token() {
    let upstream = Upstream::start();
    let admin = format!("[admin]\nlisten = \"0.0.0.0:0\"\ntoken = \"{TOKEN}\"\n");
    let text = toml(&format!("http://{}", upstream.address), "", "", &admin);
    let gateway = Gateway::from_toml(&text);
    let admin = SocketAddr::from(([127, 0, 0, 1], gateway.admin.unwrap().port()));
    for path in ["/health/live", "/health/ready"] {
        assert_eq!(ask(admin, path).status, 200, "{path}");
    }
    let host = "Host: gateway.example.com\r\n";
    let basic = |pair: String| base64(pair.as_bytes());
    let asks =
        |path, authorization: &str| ask_with(admin, "GET", path, &format!("{host}{authorization}"));
    for path in CLOSED {
        for wrong in [
            String::new(),
            bearer("Yx7Qm2vY0tq8Zp4XkT4mQ9zXv"),
            bearer(&gateway.token()),
            format!("Authorization: Basic {}\r\n", basic(format!("{TOKEN}:"))),
            format!("{0}{0}", bearer(TOKEN)),
        ] {
            let answer = asks(path, &wrong);
            assert_eq!(answer.status, 401, "{path} {wrong}");
            let challenge = answer.field("www-authenticate").unwrap();
            assert!(challenge.contains("Bearer ") && challenge.contains("Basic "), "{challenge}");
            assert!(!answer.text().contains("tollgate_") && !answer.text().contains(TOKEN));
        }
        let right = if path == "/nothing" { 404 } else { 200 };
        assert_eq!(asks(path, &bearer(TOKEN)).status, right, "{path}");
        let browser = format!("Authorization: Basic {}\r\n", basic(format!("ops:{TOKEN}")));
        assert_eq!(asks(path, &browser).status, right, "{path}");
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_site_that_leads_a_browser_to_the_loopback_address_learns_nothing() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    for path in CLOSED {
        for rebound in ["evil.example.com", "evil.example.com:9090", "localhost.evil.example", ""] {
            let answer = ask_with(admin, "GET", path, &format!("Host: {rebound}\r\n"));
            assert_eq!(answer.status, 403, "{path} {rebound}");
        }
        let absolute = format!("http://evil.example.com{path}");
        assert_eq!(ask_with(admin, "GET", &absolute, "Host: localhost\r\n").status, 403);
    }
    for own in ["localhost", "127.0.0.1", "[::1]:9090", "LocalHost:80"] {
        let answer = ask_with(admin, "GET", "/metrics", &format!("Host: {own}\r\n"));
        assert_eq!(answer.status, 200, "{own}");
    }
    let probe = ask_with(admin, "GET", "/health/live", "Host: whatever\r\n");
    assert_eq!(probe.status, 200);
}

#[test]
fn only_get_and_head_are_answered() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    let host = "Host: localhost\r\nContent-Length: 0\r\n";
    for path in ["/", "/health/live", "/health/ready", "/metrics", "/api/status"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "NONSENSE"] {
            let answer = ask_with(admin, method, path, host);
            assert_eq!((answer.status, answer.field("allow").as_deref()), (405, Some("GET, HEAD")));
        }
        let head = ask_with(admin, "HEAD", path, host);
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}");
    }
}

#[test]
fn every_answer_forbids_a_browser_to_make_more_of_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    for path in ["/", "/health/live", "/health/ready", "/metrics", "/api/status", "/nothing"] {
        let answer = ask(gateway.admin.unwrap(), path);
        let field = |name| answer.field(name).unwrap_or_else(|| panic!("{path} has no {name}"));
        assert_eq!(field("x-content-type-options"), "nosniff");
        assert_eq!(field("referrer-policy"), "no-referrer");
        let policy = field("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path} {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(answer.field("access-control-allow-origin").is_none());
        if path != "/" {
            assert_eq!(field("cache-control"), "no-store");
        }
    }
}

#[test]
fn d167_the_proxied_listener_leads_to_nothing_of_the_admin_listener() {
    let upstream = Upstream::answering(|_| {
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\n\r\nupstream".to_vec()
    });
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    for path in ["/", "/metrics", "/api/status", "/health/live", "/health/ready"] {
        for host in [admin.to_string(), "localhost".to_owned(), "admin".to_owned()] {
            let answer = gateway.ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
            assert_eq!((answer.status, answer.text().as_str()), (404, "upstream"), "{path} {host}");
            let absolute = format!("GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            assert_eq!(gateway.ask(absolute).text(), "upstream", "{path} {host}");
        }
    }
    // and the admin listener forwards nothing
    assert_eq!(ask(admin, "/players").status, 404);
    assert_eq!(upstream.seen().len(), 30);
}

#[test]
fn slow_connections_keep_nobody_else_out() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    let mut slow = Vec::new();
    for number in 0..200 {
        let mut client = Client::connect(admin);
        client.send(if number % 2 == 0 { "GET /metrics HTTP/1.1\r\nHost: loc" } else { "" });
        slow.push(client);
        if number % 20 == 19 {
            assert_eq!(ask(admin, "/health/ready").status, 200, "{number}");
            assert_eq!(ask(admin, "/metrics").status, 200, "{number}");
        }
    }
    // a bounded number is held, and none for long
    assert!(slow[0].is_closed());
    assert!(slow.last_mut().unwrap().is_closed());
}

#[test]
fn a_unix_socket_and_several_addresses_are_answered_on() {
    let upstream = Upstream::start();
    let path = support::scratch_file("admin.sock", "");
    std::fs::remove_file(&path).unwrap();
    let listen = format!("[\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let url = format!("http://{}", upstream.address);
    let gateway = Gateway::from_toml(&toml(&url, "", "", &format!("[admin]\nlisten = {listen}\n")));
    assert_eq!(ask(gateway.admin.unwrap(), "/health/ready").status, 200);
    let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
    stream.write_all(b"GET /api/status HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    gateway.finish();
    assert!(!path.exists(), "the file went with the gateway");
}

#[test]
fn no_secret_is_told_by_any_path_of_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let token = gateway.token();
    let fields = format!("{}X-Api-Key: marker-field\r\nCookie: marker-cookie\r\n", bearer(&token));
    let marked = "/players?access_token=marker-query&key=marker-query";
    gateway.ask(post(marked, &fields, b"marker-body"));
    gateway.ask(post(marked, &bearer("marker-token"), b""));
    gateway.ask(post("/auth/token?client_secret=marker-query", "", b"client_secret=marker-secret"));
    gateway.ask(post("/players", "Authorization: Basic bWFya2VyOm1hcmtlci1iYXNpYw==\r\n", b""));
    gateway.ask("GET /\x01marker-raw HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("all of it is told", || status(&gateway)["refusals"].as_array().unwrap().len() >= 3);
    for path in ["/", "/metrics", "/api/status", "/health/ready", "/page.js"] {
        let told = ask(gateway.admin.unwrap(), path).text();
        for secret in [support::SECRET, support::KEY, &token, &base64(support::KEY.as_bytes())] {
            assert!(!told.contains(secret), "{path}");
        }
        assert!(!told.contains("marker-"), "{path}: {told}");
        assert!(!told.contains("bWFya2Vy"), "{path}: {told}");
    }
}

#[test]
fn an_address_is_added_and_a_token_set_while_the_others_stay_open() {
    let upstream = Upstream::start();
    let path = support::scratch_file("admin.sock", "");
    std::fs::remove_file(&path).unwrap();
    let url = format!("http://{}", upstream.address);
    let before = format!("[admin]\nlisten = \"unix:{}\"\n", path.display());
    let gateway = Gateway::from_toml(&toml(&url, "", "", &before));
    let over_unix = |fields: &str| {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        let request = format!("GET /metrics HTTP/1.1\r\nHost: x\r\n{fields}\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(over_unix(""), "200");
    let listen = format!("[\"unix:{}\", \"127.0.0.1:0\"]", path.display());
    let after = format!("[admin]\nlisten = {listen}\ntoken = \"{TOKEN}\"\n");
    let text = toml(&url, "", "", &after);
    let file = support::scratch_file("gateway.toml", &text);
    let sources = tollgate::config::Sources { file: Some(file), ..Default::default() };
    gateway.running().reload(tollgate::config::load(&sources).unwrap().settings).unwrap();
    let admin = gateway.running().admin_address().unwrap();
    assert_eq!(over_unix(""), "401");
    assert_eq!(over_unix(&bearer(TOKEN)), "200");
    let host = format!("Host: {admin}\r\n");
    assert_eq!(ask_with(admin, "GET", "/metrics", &host).status, 401);
    let status = ask_with(admin, "GET", "/api/status", &format!("{host}{}", bearer(TOKEN))).json();
    assert_eq!(status["configuration"]["generation"], 2);
    assert_eq!(status["configuration"]["reloads"]["ok"], 1);
    gateway.finish();
    assert!(!path.exists());
}

#[test]
fn health_is_asked_by_the_program_itself() {
    use std::process::Command;
    let upstream = Upstream::start();
    let gateway = gateway(&upstream, "");
    let admin = gateway.admin.unwrap();
    let health = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command.arg("health").args(arguments).env_clear().output().unwrap()
    };
    let url = format!("http://{admin}");
    let well = health(&["--url", &url]);
    assert_eq!((well.status.code(), well.stdout.as_slice()), (Some(0), &b"ready\n"[..]));
    assert_eq!(health(&["--url", &url, "--live"]).stdout, b"live\n");
    // by the file, whatever else is wrong with it
    let text = format!("[admin]\nlisten = '{admin}'\n[upstream]\nurl = 'nonsense'\nunknown = 1\n");
    let file = support::scratch_file("gateway.toml", &text);
    let file = file.to_str().unwrap();
    assert_eq!(health(&["--config", file]).status.code(), Some(0));
    // a connection in the middle of a request keeps the gateway draining
    let mut busy = gateway.connect();
    busy.send("POST /players HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nab");
    eventually("a request is under way", || gateway.running().open_connections() == 1);
    gateway.running().drain();
    let draining = health(&["--url", &url]);
    assert_eq!(draining.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&draining.stderr).contains("answers 503: draining"));
    assert_eq!(health(&["--url", &url, "--live"]).status.code(), Some(0));
    drop(busy);
    gateway.finish();
    for gone in [vec!["--url", &url], vec!["--url", "nonsense"], vec!["--config", "/none"]] {
        let ended = health(&gone);
        assert_eq!(ended.status.code(), Some(1), "{gone:?}");
        assert!(String::from_utf8_lossy(&ended.stderr).starts_with("error: "), "{ended:?}");
    }
}

/// A certificate and its key in PEM, and a client's of an authority, in files of their own.
struct Certificates {
    certificate: String,
    key: String,
    authority: String,
    client: (Vec<u8>, Vec<u8>),
}

fn certificates() -> Certificates {
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    let file =
        |name: &str, text: &str| support::scratch_file(name, text).to_str().unwrap().to_owned();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["admin.test".to_owned()]).unwrap();
    let server = server.self_signed(&key).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = KeyPair::generate().unwrap();
    let authority_certificate = authority.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(authority, authority_key);
    let client_key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(vec!["ops.test".to_owned()]).unwrap();
    let client = client.signed_by(&client_key, &issuer).unwrap();
    Certificates {
        certificate: file("admin.pem", &server.pem()),
        key: file("admin.key", &key.serialize_pem()),
        authority: file("ca.pem", &authority_certificate.pem()),
        client: (client.der().to_vec(), client_key.serialize_der()),
    }
}

/// The status of an answer over TLS, with the client's certificate or without; `None`: no connection.
fn over_tls(
    admin: SocketAddr,
    made: &Certificates,
    certified: bool,
    path: &str,
    fields: &str,
) -> Option<u16> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&made.certificate).unwrap()).unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = if certified {
        let (certificate, key) = made.client.clone();
        let key = PrivatePkcs8KeyDer::from(key).into();
        config.with_client_auth_cert(vec![CertificateDer::from(certificate)], key).unwrap()
    } else {
        config.with_no_client_auth()
    };
    let name = ServerName::try_from("admin.test").unwrap();
    let client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let socket = std::net::TcpStream::connect(admin).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let mut stream = rustls::StreamOwned::new(client, socket);
    let request = format!("GET {path} HTTP/1.1\r\nHost: admin.test\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // it may end without a good-bye
    String::from_utf8_lossy(&answer).split(' ').nth(1)?.parse().ok()
}

#[test]
fn d207_a_client_certificate_opens_what_it_is_asked_for() {
    let upstream = Upstream::start();
    let made = certificates();
    let tls = format!(
        "tls = {{ certificate_file = '{}', private_key_file = '{}', client_ca_file = '{}'",
        made.certificate, made.key, made.authority
    );
    let token = format!("token = '{TOKEN}'\n");
    let required = format!("{tls} }}\n");
    let optional = format!("{tls}, client_certificate = 'optional' }}\n");
    // (further keys, status with: nothing, a certificate, the token, both)
    for (keys, statuses) in [
        (required.clone(), [403, 200, 403, 200]),
        (format!("{token}{required}"), [401, 401, 403, 200]),
        (format!("{token}{optional}"), [401, 200, 200, 200]),
        (optional.clone(), [403, 200, 403, 200]),
    ] {
        let text = format!("[admin]\nlisten = '0.0.0.0:0'\n{keys}");
        let url = format!("http://{}", upstream.address);
        let gateway = Gateway::from_toml(&toml(&url, "", "", &text));
        let admin = SocketAddr::from(([127, 0, 0, 1], gateway.admin.unwrap().port()));
        for (which, status) in statuses.into_iter().enumerate() {
            let fields = if which >= 2 { bearer(TOKEN) } else { String::new() };
            for path in ["/metrics", "/api/status", "/"] {
                let told = over_tls(admin, &made, which % 2 == 1, path, &fields);
                assert_eq!(told, Some(status), "{keys} {which} {path}");
            }
        }
        assert_eq!(over_tls(admin, &made, false, "/health/ready", ""), Some(200));
        // in clear there is nothing, and a certificate of nobody's leads nowhere
        let mut clear = Client::connect(admin);
        clear.send("GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(clear.is_closed() || clear.left_over().first() != Some(&b'H'));
        let strange = Certificates { client: certificates().client, ..certificates() };
        let strange = Certificates { certificate: made.certificate.clone(), ..strange };
        assert_ne!(over_tls(admin, &strange, true, "/metrics", &bearer(TOKEN)), Some(200));
        // the program asks for health by the file alone
        let file = format!("[admin]\nlisten = '0.0.0.0:{}'\n{keys}", admin.port());
        let file = support::scratch_file("gateway.toml", &file);
        let mut health = std::process::Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let asked = health.args(["health", "--config"]).arg(file).env_clear().output().unwrap();
        assert!(asked.status.success(), "{}", String::from_utf8_lossy(&asked.stderr));
        // and the end of the certificate is told
        let status = gateway.running().status();
        assert_eq!(named(&status["expiry"], "what", "certificate")["name"], "admin.test");
    }
}

#[test]
fn a_gateway_without_a_usable_issuer_or_origin_is_not_ready_and_says_why() {
    let upstream = Upstream::start();
    // nobody listens there
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nworkers = 1\n[upstream]\nurl = \"http://{}\"\n{ADMIN}\
         [[issuers]]\nname = \"corp\"\nissuer = \"https://idp.test\"\naudiences = [\"a\"]\n\
         jwks_url = \"http://{gone}/keys\"\n",
        upstream.address
    );
    let gateway = Gateway::from_toml(&text);
    let admin = gateway.admin.unwrap();
    eventually("the issuer is known to fail", || {
        let status = status(&gateway);
        named(&status["issuers"], "name", "corp")["state"] == "failing"
    });
    let ready = ask(admin, "/health/ready");
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("no issuer can be asked"), "{}", ready.text());
    assert_eq!(ask(admin, "/health/live").status, 200);
    let status = status(&gateway);
    let issuer = named(&status["issuers"], "name", "corp");
    assert!(issuer["last_error"].as_str().unwrap().contains(&gone.to_string()), "{issuer}");
    assert_eq!(
        (&status["ready"], &status["not_ready"]),
        (&false.into(), &ready.text().trim().into())
    );
    assert_eq!(status["warnings"][0]["level"], "critical");
}
