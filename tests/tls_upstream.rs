//! Upstreams over TLS and over unix sockets, and a gateway that listens on one.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use support::{Gateway, bearer, eventually, find, get, post, scratch_file, toml};

/// A certificate authority of one test.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate in PEM.
    file: PathBuf,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let file = scratch_file("ca.pem", &params.self_signed(&key).unwrap().pem());
        Self { issuer: Issuer::new(params, key), file }
    }

    /// A server that proves to have this name.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }
}

type Tls = StreamOwned<ServerConnection, TcpStream>;

/// Listens and does with each TLS connection what `script` does; counts the connections.
fn listen(
    config: Arc<ServerConfig>,
    script: impl Fn(&mut Tls) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let (script, counted) = (Arc::new(script), Arc::clone(&count));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            counted.fetch_add(1, Ordering::SeqCst);
            let (config, script) = (Arc::clone(&config), Arc::clone(&script));
            std::thread::spawn(move || {
                let connection = ServerConnection::new(config).unwrap();
                script(&mut StreamOwned::new(connection, stream));
            });
        }
    });
    (address, count)
}

/// Reads one request with its body (by length); `None` when the connection ends, or the handshake fails.
fn request(stream: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let (mut read, mut piece) = (Vec::new(), vec![0; 65536]);
    loop {
        if let Some(at) = find(&read, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..at]).into_owned();
            let length = head
                .lines()
                .find_map(|line| {
                    line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned)
                })
                .map_or(0, |length| length.parse::<usize>().unwrap());
            if read.len() >= at + 4 + length {
                return Some((head, read.split_off(at + 4)));
            }
        }
        match stream.read(&mut piece) {
            Ok(0) | Err(_) => return None,
            Ok(length) => read.extend_from_slice(&piece[..length]),
        }
    }
}

fn echo(stream: &mut (impl Read + Write)) {
    while let Some((head, body)) = request(stream) {
        let line = head.lines().next().unwrap();
        let answer =
            format!("HTTP/1.1 200 OK\r\nX-Line: {line}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
        stream.write_all(&body).unwrap();
        stream.flush().unwrap();
    }
}

fn before(address: SocketAddr, authority: &Path, keys: &str) -> Gateway {
    let tls = format!("tls = {{ ca_file = \"{}\"{keys} }}", authority.display());
    Gateway::from_toml(&toml(&format!("https://localhost:{}", address.port()), "", &tls, ""))
}

#[test]
fn an_upstream_with_a_certificate_of_the_given_authority_is_spoken_to() {
    let authority = Authority::new();
    let (address, connections) = listen(authority.server("localhost"), |tls| {
        echo(tls);
        assert_eq!(tls.conn.server_name(), Some("localhost"));
        assert_eq!(tls.conn.alpn_protocol(), None, "this server offers none");
    });
    let gateway = before(address, &authority.file, "");
    let token = gateway.token();
    let mut client = gateway.connect();
    for size in [0, 1, 100_000, 3_000_000] {
        let body = vec![b'x'; size];
        client.send(post("/a", &bearer(&token), &body));
        let answer = client.answer();
        assert_eq!((answer.status, answer.complete), (200, true));
        assert!(answer.body == body, "{size} bytes came back as {}", answer.body.len());
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1, "TLS connections are used again");
}

fn fails_for_tls(gateway: &Gateway) {
    let answer = gateway.ask(get("/"));
    assert_eq!(answer.status, 502, "{answer:?}");
    assert_eq!(answer.field("proxy-status").as_deref(), Some("tollgate; error=tls_protocol_error"));
    assert_eq!(answer.json()["type"], "urn:tollgate:problem:upstream_tls");
}

#[test]
fn a_certificate_for_another_name_is_refused() {
    let authority = Authority::new();
    let (address, _) = listen(authority.server("other.test"), |tls| {
        assert_eq!(request(tls), None, "nothing is sent to whom it may not concern");
    });
    fails_for_tls(&before(address, &authority.file, ""));
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (address, _) = listen(authority.server("localhost"), |tls| {
        assert_eq!(request(tls), None, "nothing is sent to whom it may not concern");
    });
    fails_for_tls(&before(address, &other.file, ""));
    // nor does the system know it
    let url = format!("https://localhost:{}", address.port());
    fails_for_tls(&Gateway::from_toml(&toml(&url, "", "", "")));
}

#[test]
fn the_server_name_can_be_another_one_than_the_urls() {
    let authority = Authority::new();
    let (address, _) = listen(authority.server("api.internal"), |tls| {
        let head = request(tls).unwrap().0;
        assert_eq!(tls.conn.server_name(), Some("api.internal"));
        assert!(head.to_lowercase().contains("host: api.test"), "{head}");
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    });
    let gateway = before(address, &authority.file, ", server_name = \"api.internal\"");
    assert_eq!(gateway.ask(get("/")).text(), "hello");
}

#[test]
fn what_does_not_speak_tls_is_502() {
    let upstream = support::Upstream::scripted(|mut connection| {
        connection.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        while connection.fill() {}
    });
    fails_for_tls(&before(upstream.address, &Authority::new().file, ""));
}

#[test]
fn a_handshake_that_hangs_is_504_at_the_connect_timeout() {
    let upstream = support::Upstream::scripted(|mut connection| while connection.fill() {});
    let tls = format!(
        "connect_timeout = \"300ms\"\ntls = {{ ca_file = \"{}\" }}",
        Authority::new().file.display()
    );
    let url = format!("https://localhost:{}", upstream.address.port());
    let answer = Gateway::from_toml(&toml(&url, "", &tls, "")).ask(get("/"));
    assert_eq!(answer.status, 504);
    assert_eq!(answer.field("proxy-status").as_deref(), Some("tollgate; error=connection_timeout"));
}

#[test]
fn a_body_until_close_is_whole_only_if_tls_says_so() {
    let authority = Authority::new();
    let (address, _) = listen(authority.server("localhost"), |tls| {
        let (head, _) = request(tls).unwrap();
        tls.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello").unwrap();
        if head.starts_with("GET /whole") {
            tls.conn.send_close_notify();
            let _ = tls.conn.complete_io(&mut tls.sock);
        }
    });
    let gateway = before(address, &authority.file, "");
    for version in ["1.1", "1.0"] {
        let ask =
            |path| gateway.ask(format!("GET {path} HTTP/{version}\r\nHost: api.test\r\n\r\n"));
        let whole = ask("/whole");
        assert_eq!((whole.text().as_str(), whole.complete), ("hello", true), "HTTP/{version}");
        let cut = ask("/truncated");
        assert!(
            !cut.complete,
            "HTTP/{version}: whoever cuts the line must not decide where the body ends"
        );
    }
}

#[test]
fn an_idle_tls_connection_that_the_upstream_closes_fails_no_request() {
    let authority = Authority::new();
    let (closed, was_closed) = mpsc::channel();
    let closed = std::sync::Mutex::new(closed);
    let (address, connections) = listen(authority.server("localhost"), move |tls| {
        request(tls);
        tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello").unwrap();
        tls.conn.send_close_notify();
        let _ = tls.conn.complete_io(&mut tls.sock);
        let _ = tls.sock.shutdown(std::net::Shutdown::Both);
        closed.lock().unwrap().send(()).unwrap();
    });
    let gateway = before(address, &authority.file, "");
    let mut client = gateway.connect();
    for _ in 0..20 {
        client.send(get("/"));
        assert_eq!(client.answer().text(), "hello");
        was_closed.recv_timeout(support::PATIENCE).unwrap();
    }
    assert_eq!(connections.load(Ordering::SeqCst), 20);
}

fn socket_path(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tollgate-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("s")
}

#[test]
fn an_upstream_on_a_unix_socket_is_spoken_to_and_its_absence_is_502() {
    let path = socket_path("upstream");
    let gateway = Gateway::from_toml(&toml(&format!("unix:{}", path.display()), "", "", ""));
    let answer = gateway.ask(get("/"));
    assert_eq!(answer.status, 502);
    assert_eq!(answer.field("proxy-status").as_deref(), Some("tollgate; error=connection_refused"));
    let listener = UnixListener::bind(&path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || echo(&mut stream));
        }
    });
    let token = gateway.token();
    let mut client = gateway.connect();
    for size in [1, 1_000_000] {
        let body = vec![b'x'; size];
        client.send(post("/a", &bearer(&token), &body));
        let answer = client.answer();
        assert_eq!(answer.field("x-line").as_deref(), Some("POST /a HTTP/1.1"));
        assert!(answer.body == body);
    }
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

fn ask_over(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(support::PATIENCE)).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: api.test\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_gateway_on_a_unix_socket_serves_and_takes_its_file_away_when_it_stops() {
    let upstream = support::Upstream::start();
    let path = socket_path("listen");
    // what an earlier gateway that was killed has left there
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let text = toml(&format!("http://{}", upstream.address), "", "", "")
        .replace("\"127.0.0.1:0\"", &format!("\"unix:{}\"", path.display()));
    let gateway = Gateway::from_toml(&text);
    assert!(ask_over(&path).ends_with("hello"));
    let seen = upstream.only();
    assert_eq!(
        seen.field("forwarded").as_deref(),
        Some("for=unknown;host=\"api.test\";proto=http")
    );
    // whom nobody knows the address of is trusted no more than others
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("unknown"));
    gateway.finish();
    assert!(!path.exists());
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_gateway_that_drains_leaves_the_socket_file_of_its_successor_alone() {
    let upstream = support::Upstream::start();
    let path = socket_path("successor");
    let text = toml(&format!("http://{}", upstream.address), "", "", "")
        .replace("\"127.0.0.1:0\"", &format!("\"unix:{}\"", path.display()));
    let first = Gateway::from_toml(&text);
    assert!(ask_over(&path).ends_with("hello"));
    first.running().drain();
    assert!(!path.exists());
    let second = Gateway::from_toml(&text);
    first.finish();
    assert!(ask_over(&path).ends_with("hello"), "the second one's file is still there");
    second.finish();
    eventually("it is gone", || !path.exists());
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}

#[test]
fn a_unix_socket_that_somebody_listens_on_is_not_taken_over() {
    let path = socket_path("alive");
    let _alive = UnixListener::bind(&path).unwrap();
    let text = toml("http://127.0.0.1:9", "", "", "")
        .replace("\"127.0.0.1:0\"", &format!("\"unix:{}\"", path.display()));
    let file = scratch_file("gateway.toml", &text);
    let sources = tollgate::config::Sources { file: Some(file), ..Default::default() };
    let settings = tollgate::config::load(&sources).unwrap().settings;
    let fault =
        tollgate::server::start(settings, tollgate::clock::Clock::system(), None).unwrap_err();
    assert!(fault.to_string().contains("in use by another program"), "{fault}");
    assert!(path.exists());
    std::fs::remove_dir_all(path.parent().unwrap()).unwrap();
}
