//! Clients that prove themselves by a certificate: who gets a connection, and what the upstream learns.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};

use rcgen::{DnType, date_time_ymd};
use support::tls::{Authority, Identity, Tls, TlsClient, client};
use support::{Client, Gateway, Upstream, bearer, form, get, post, toml};

/// A gateway that asks clients for a certificate, and whom it believes.
struct Site {
    upstream: Upstream,
    gateway: Gateway,
    servers: Authority,
    clients: Authority,
}

impl Site {
    fn new(keys: &str) -> Self {
        Self::with(keys, "", "")
    }

    fn with(keys: &str, server: &str, rest: &str) -> Self {
        let (upstream, servers, clients) = (Upstream::start(), Authority::new(), Authority::new());
        let keys = format!(", client_ca_file = \"{}\"{keys}", clients.file.display());
        let tls = servers.certify(&["api.test", "localhost"]).toml(&keys);
        let server = format!("tls = {tls}\n{server}");
        let url = format!("http://{}", upstream.address);
        let gateway = Gateway::from_toml(&toml(&url, &server, "", rest));
        Self { upstream, gateway, servers, clients }
    }

    fn client(&self) -> TlsClient {
        self.servers.client()
    }

    fn named(&self, name: &str) -> Identity {
        self.clients.certify_with(&[&format!("{name}.clients.test")], |params| {
            params.distinguished_name.push(DnType::CommonName, name);
        })
    }

    /// The status of a GET with this client; none where there is no connection for it.
    fn get(&self, client: &TlsClient) -> Option<u16> {
        let tls = client.try_connect(self.gateway.address, "api.test").ok()?;
        status_of(tls, &get("/a"))
    }
}

fn status_of(mut tls: Tls, request: &[u8]) -> Option<u16> {
    tls.write_all(request).ok()?;
    let mut answer = [0; 12];
    tls.read_exact(&mut answer).ok()?;
    String::from_utf8_lossy(&answer[9..]).parse().ok()
}

#[test]
fn the_upstream_learns_of_the_certificate_and_a_client_cannot_say_so_itself() {
    let site = Site::new("");
    let shown = site.named("ci");
    let tls = site.client().showing(&shown).connect(site.gateway.address, "api.test");
    let mut over_tls = client(tls);
    let forged = "GET /a HTTP/1.1\r\nHost: api.test\r\nX-Client-Cert-Subject: CN=root\r\n\
                  x_client_cert_subject: CN=root\r\nX.Client.Cert-Sha256: 00\r\nX-Client-Cert-San: x\r\n\r\n";
    over_tls.send(forged);
    assert_eq!(over_tls.answer().text(), "hello");
    let seen = site.upstream.only();
    let of_certificates: Vec<_> = seen
        .fields
        .iter()
        .filter(|(name, _)| name.to_lowercase().replace(['_', '.'], "-").contains("client-cert"))
        .collect();
    assert_eq!(of_certificates.len(), 3, "{of_certificates:?}");
    assert_eq!(seen.field("x-client-cert-subject").as_deref(), Some("CN=ci"));
    assert_eq!(seen.field("x-client-cert-san").as_deref(), Some("DNS:ci.clients.test"));
    let fingerprint = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &shown.der);
    let fingerprint: String =
        fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(seen.field("x-client-cert-sha256"), Some(fingerprint));
}

#[test]
fn without_a_good_certificate_there_is_no_connection() {
    let site = Site::new("");
    let stranger = Authority::new();
    assert_eq!(site.get(&site.client().showing(&site.named("ci"))), Some(200));
    assert_eq!(site.get(&site.client()), None, "none");
    let of_another = stranger.certify(&["ci.clients.test"]);
    assert_eq!(site.get(&site.client().showing(&of_another)), None, "another authority's");
    let expired = site.clients.certify_with(&["ci.clients.test"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    assert_eq!(site.get(&site.client().showing(&expired)), None, "expired");
    let early = site.clients.certify_with(&["ci.clients.test"], |params| {
        params.not_before = date_time_ymd(2900, 1, 1);
    });
    assert_eq!(site.get(&site.client().showing(&early)), None, "not valid yet");
    let of_a_server = site.servers.certify(&["ci.clients.test"]);
    assert_eq!(site.get(&site.client().showing(&of_a_server)), None, "of the wrong authority");
    assert_eq!(site.upstream.seen().len(), 1);
}

#[test]
fn where_it_is_optional_who_has_none_is_served_and_who_has_a_bad_one_is_not() {
    let site = Site::new(", client_certificate = \"optional\"");
    assert_eq!(site.get(&site.client()), Some(200));
    let forged = b"GET /a HTTP/1.1\r\nHost: api.test\r\nX-Client-Cert-Subject: CN=root\r\n\r\n";
    let tls = site.client().connect(site.gateway.address, "api.test");
    assert_eq!(status_of(tls, forged), Some(200));
    for seen in site.upstream.seen() {
        assert_eq!(seen.field("x-client-cert-subject"), None);
        assert_eq!(seen.field("x-client-cert-sha256"), None);
    }
    assert_eq!(site.get(&site.client().showing(&site.named("ci"))), Some(200));
    let seen = site.upstream.seen().pop().unwrap();
    assert_eq!(seen.field("x-client-cert-subject").as_deref(), Some("CN=ci"));
    let of_another = Authority::new().certify(&["ci.clients.test"]);
    assert_eq!(site.get(&site.client().showing(&of_another)), None);
}

#[test]
fn a_resumed_session_keeps_the_certificate_and_ends_with_it() {
    let site = Site::new("");
    let shown = site.clients.certify_with(&["ci.clients.test"], |params| {
        params.distinguished_name.push(DnType::CommonName, "ci");
    });
    let config = site.client().showing(&shown).resuming().config();
    let connect = || {
        let socket = std::net::TcpStream::connect(site.gateway.address)?;
        support::tls::handshake(std::sync::Arc::clone(&config), socket, "api.test")
    };
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let mut over_tls = client(connect().unwrap());
        over_tls.send(get("/a"));
        assert_eq!(over_tls.answer().text(), "hello");
        kinds.push(over_tls.stream.conn.handshake_kind().unwrap());
        let seen = site.upstream.seen().pop().unwrap();
        assert_eq!(seen.field("x-client-cert-subject").as_deref(), Some("CN=ci"));
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed]);
    // as long as the certificate is good
    site.gateway.clock.advance(4_000 * 365 * 86_400);
    assert_eq!(connect().ok().and_then(|tls| status_of(tls, &get("/a"))), None);
}

#[test]
fn a_connection_to_a_host_without_demands_carries_no_requests_for_one_with_them() {
    let (upstream, servers, clients) = (Upstream::start(), Authority::new(), Authority::new());
    let open = servers.certify(&["open.test"]).toml("");
    let keys = format!(", client_ca_file = \"{}\"", clients.file.display());
    let closed = servers.certify(&["closed.test", "*.closed.test"]).toml(&keys);
    let gateway = Gateway::from_toml(&toml(
        &format!("http://{}", upstream.address),
        &format!("tls = [{open}, {closed}]"),
        "",
        "",
    ));
    let ask = |name: &str, host: &str, shown: Option<&Identity>| {
        let mut client = servers.client();
        if let Some(shown) = shown {
            client = client.showing(shown);
        }
        let tls = client.try_connect(gateway.address, name).ok()?;
        status_of(tls, format!("GET /a HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes())
    };
    let shown = clients.certify(&["ci"]);
    assert_eq!(ask("open.test", "open.test", None), Some(200));
    assert_eq!(ask("open.test", "other.test", None), Some(200));
    assert_eq!(ask("closed.test", "closed.test", None), None);
    assert_eq!(ask("closed.test", "closed.test", Some(&shown)), Some(200));
    assert_eq!(ask("a.closed.test", "closed.test", Some(&shown)), Some(200));
    for host in ["closed.test", "CLOSED.test:443", "closed.test.", "a.closed.test"] {
        assert_eq!(ask("open.test", host, None), Some(421), "{host}");
    }
    assert_eq!(upstream.seen().len(), 4);
}

#[test]
fn an_upstream_is_shown_the_gateways_certificate() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let upstream = servers.upstream(&["localhost"], Some(&clients));
    let shown = clients.certify(&["gateway.test"]);
    let url = format!("https://localhost:{}", upstream.port());
    let ca = format!("ca_file = \"{}\"", servers.file.display());
    let with = format!(
        "tls = {{ {ca}, certificate_file = \"{}\", private_key_file = \"{}\" }}",
        shown.certificate_file.display(),
        shown.key_file.display()
    );
    assert_eq!(Gateway::from_toml(&toml(&url, "", &with, "")).ask(get("/a")).text(), "hello");
    let without = format!("tls = {{ {ca} }}");
    assert_eq!(Gateway::from_toml(&toml(&url, "", &without, "")).ask(get("/a")).status, 502);
}

/// A client `ci` that proves itself by its certificate.
const CI: &str =
    "[[clients]]\nid = \"ci\"\ntls_client_subject = \"CN=ci\"\nscopes = [\"api:write\"]\n";

fn ask(tls: &mut Client<Tls>, request: impl AsRef<[u8]>) -> support::Answer {
    tls.send(request);
    tls.answer()
}

fn token_request(id: &str) -> Vec<u8> {
    let body = form(&[("grant_type", "client_credentials"), ("client_id", id)]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    post("/auth/token", fields, body.as_bytes())
}

fn bound_token(format: &str) -> (Site, String, Identity) {
    let keys = ", client_certificate = \"optional\"";
    let site = Site::with(keys, "", &format!("{CI}format = \"{format}\"\n"));
    let shown = site.named("ci");
    let tls = site.client().showing(&shown).connect(site.gateway.address, "api.test");
    let answer = ask(&mut client(tls), token_request("ci"));
    assert_eq!(answer.status, 200, "{answer:?}");
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    (site, token, shown)
}

#[test]
fn a_token_of_a_client_with_a_certificate_is_worth_nothing_without_it() {
    for format in ["jwt", "opaque"] {
        let (site, token, shown) = bound_token(format);
        let write = post("/a", &bearer(&token), b"x");
        let connect = |with: &TlsClient| client(with.connect(site.gateway.address, "api.test"));
        let mut right = connect(&site.client().showing(&shown));
        let mut wrong = connect(&site.client().showing(&site.named("other")));
        let mut same_name = connect(&site.client().showing(&site.named("ci")));
        let mut none = connect(&site.client());
        // the first use fills what is remembered, and the others come by it; both ways round
        for _ in 0..3 {
            for stranger in [&mut wrong, &mut same_name, &mut none] {
                let answer = ask(stranger, &write);
                assert_eq!(answer.status, 401, "{format}");
                let challenge = answer.field("www-authenticate").unwrap();
                assert!(challenge.contains("error=\"invalid_token\""), "{challenge}");
            }
            assert_eq!(ask(&mut right, &write).status, 200, "{format}");
        }
        // on an open request it is no token at all: nobody is told of a caller, and it is not passed on
        let open = format!("GET /a HTTP/1.1\r\nHost: api.test\r\n{}\r\n", bearer(&token));
        assert_eq!(ask(&mut none, &open).status, 200);
        let seen = site.upstream.seen().pop().unwrap();
        assert_eq!((seen.field("x-auth-client"), seen.field("authorization")), (None, None));
        assert_eq!(ask(&mut right, &open).status, 200);
        let seen = site.upstream.seen().pop().unwrap();
        assert_eq!(seen.field("x-auth-client").as_deref(), Some("ci"));
    }
}

#[test]
fn a_token_says_which_certificate_it_is_bound_to() {
    use base64::Engine as _;
    let (_site, token, shown) = bound_token("jwt");
    let engine = base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let claims = engine.decode(token.split('.').nth(1).unwrap()).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &shown.der);
    let expected = serde_json::json!({ "x5t#S256": engine.encode(digest) });
    assert_eq!(claims["cnf"], expected);
}

#[test]
fn another_certificate_proves_no_client_and_a_client_with_a_secret_needs_it_still() {
    let site = Site::with(", client_certificate = \"optional\"", "", CI);
    let connect = |with: &TlsClient| client(with.connect(site.gateway.address, "api.test"));
    let shown = site.named("ci");
    for (with, id, expected) in [
        (site.client().showing(&shown), "ci", 200),
        (site.client().showing(&site.named("other")), "ci", 401),
        (site.client().showing(&shown), "nobody", 401),
        (site.client().showing(&shown), support::CLIENT, 401),
        (site.client(), "ci", 400),
    ] {
        let answer = ask(&mut connect(&with), token_request(id));
        let refused =
            if expected == 400 { answer.status != 200 } else { answer.status == expected };
        assert!(refused, "{id} {expected}: {answer:?}");
    }
}
