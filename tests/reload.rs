//! A new configuration while requests are on their way: all of it or nothing, and nobody loses a request.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use serde_json::json;
use support::process::Process;
use support::provider::{Key, Manner, Provider};
use support::tls::{Authority, client};
use support::{
    AUDIENCE, Answer, CLIENT, Client, Gateway, SECRET, Upstream, bearer, eventually, form, get,
    post, scratch_file, toml,
};
use tollgate::keys::Algorithm;
use tollgate::server::ReloadError;

fn file(upstream: &Upstream, rest: &str) -> String {
    toml(&format!("http://{}", upstream.address), "", "", rest)
}

fn denying(upstream: &Upstream) -> String {
    file(upstream, "[[routes]]\npath = \"/{*rest}\"\naccess = \"deny\"\n")
}

#[test]
fn a_connection_stays_open_and_its_next_request_is_judged_by_the_new_rules() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    gateway.reload(&denying(&upstream)).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 403);
    gateway.reload(&file(&upstream, "")).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    assert_eq!(gateway.totals().connections, 1);
    let report = gateway.running().last_reload().unwrap();
    assert!(report.ok && report.faults.is_empty());
    assert_eq!(report.generation, 3);
}

#[test]
fn a106_one_set_of_rules_decides_a_request_whose_body_comes_after_a_reload() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let token = bearer(&gateway.token());
    let mut client = gateway.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{token}Content-Length: 10\r\n\r\n12345"));
    eventually("the head has arrived", || upstream.connections() == 1);
    gateway.reload(&denying(&upstream)).unwrap();
    client.send("67890");
    let answer = client.answer();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(upstream.only().body, b"1234567890");
    client.send(post("/", &token, b"x"));
    assert_eq!(client.answer().status, 403);
}

#[test]
fn an_idle_connection_to_an_unchanged_upstream_is_used_further() {
    let upstream = Upstream::start();
    let gateway = Gateway::with(upstream.address, "", "");
    let mut client = gateway.connect();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    gateway.reload(&file(&upstream, "")).unwrap();
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);
    assert_eq!(upstream.connections(), 1);
}

#[test]
fn a_store_cannot_be_changed_and_then_nothing_is() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let folder = scratch_file("store", "").with_extension("folder");
    let store = format!("[store]\nurl = \"file:{}\"\n", folder.display());
    let fault = gateway.reload(&(denying(&upstream) + &store)).unwrap_err();
    assert!(fault.to_string().contains("restart"), "{fault}");
    assert_eq!(gateway.ask(get("/")).status, 200);
    let report = gateway.running().last_reload().unwrap();
    assert!(!report.ok);
    assert_eq!(report.faults, [fault.to_string()]);
    assert_eq!(report.generation, 1);
}

/// With `listen` instead of the usual.
fn listening(upstream: &Upstream, listen: &str) -> String {
    file(upstream, "").replacen("listen = \"127.0.0.1:0\"", &format!("listen = {listen}"), 1)
}

/// A port that nobody has, for a moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn status(address: SocketAddr) -> Option<u16> {
    let mut client = Client::over(TcpStream::connect(address).ok()?);
    client.send(get("/"));
    client.answer_to("GET").map(|answer| answer.status)
}

#[test]
fn c196_a_configuration_with_faults_changes_nothing_and_says_each_and_the_next_good_one_works() {
    let upstream = Upstream::start();
    let key = scratch_file("signing.key", "a key that is long enough for HS256, and random: 7f3a");
    let good = file(&upstream, "");
    let with_key = |path: &Path| {
        good.replacen(
            &format!("key = \"{}\"", support::KEY),
            &format!("key_file = \"{}\"", path.display()),
            1,
        )
    };
    let gateway = Process::start(&good);
    let mut client = gateway.connect();
    let mut serves = |wanted: u16| {
        client.send(get("/"));
        assert_eq!(client.answer().status, wanted);
    };
    serves(200);

    // a broken file
    let log = gateway.fail_to_apply("[server\nlisten = 7\n");
    assert!(log.contains("gateway.toml:1:"), "{log}");
    serves(200);
    // every fault is told
    let two = denying(&upstream).replacen("workers = 2", "workers = \"two\"\nlissten = \"a\"", 1);
    let log = gateway.fail_to_apply(&two);
    eventually("both faults are told", || {
        let log = gateway.log();
        log.contains("`workers` must be") && log.contains("lissten")
    });
    serves(200);
    // a missing file
    let held = gateway.count("configuration not applied");
    std::fs::remove_file(&gateway.file).unwrap();
    gateway.signal(Signal::HUP);
    gateway.wait_for_lines("configuration not applied", held + 1);
    serves(200);
    // an unreadable key: a folder is none for root either
    let log2 = gateway.fail_to_apply(&with_key(key.parent().unwrap()));
    assert!(log2.contains("key_file"), "{log}{log2}");
    serves(200);
    // a port that is taken
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let log =
        gateway.fail_to_apply(&listening(&upstream, &format!("[\"127.0.0.1:0\", \"{address}\"]")));
    assert!(log.contains("is in use by another program"), "{log}");
    serves(200);
    // the next good one
    gateway.apply(&denying(&upstream));
    serves(403);
    gateway.apply(&with_key(&key));
    serves(200);
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0), "{log}");
}

#[test]
fn c198_a_reload_while_an_issuer_is_down_keeps_its_keys() {
    let (upstream, provider) = (Upstream::start(), Provider::start());
    let key = Key::new(Algorithm::ES256, "k1");
    provider.publish(&[&key]);
    let issuers = format!(
        "[[issuers]]\nname = \"corp\"\nissuer = \"{}\"\naudiences = [\"{AUDIENCE}\"]\n",
        provider.issuer()
    );
    let now = tollgate::clock::Clock::system().unix_seconds();
    let token = key.sign(&json!({
        "iss": provider.issuer(), "sub": "a", "aud": AUDIENCE, "iat": now, "exp": now + 600,
    }));
    let gateway = Gateway::from_toml(&file(&upstream, &issuers));
    let ask = || gateway.ask(post("/", &bearer(&token), b"x")).status;
    assert_eq!(ask(), 200);
    let metadata = "/.well-known/openid-configuration";
    provider.behave(metadata, Manner::Hangs);
    provider.behave("/jwks", Manner::Hangs);
    let fetches = (provider.metadata(), provider.fetches());
    // something else is new, and then something of this issuer that its keys do not depend on
    gateway.reload(&file(&upstream, &format!("{issuers}[access]\nprotect = \"all\"\n"))).unwrap();
    assert_eq!(ask(), 200);
    gateway.reload(&file(&upstream, &format!("{issuers}leeway = \"10s\"\n"))).unwrap();
    assert_eq!(ask(), 200);
    assert_eq!((provider.metadata(), provider.fetches()), fetches);
    // even where it is asked about tokens in another way from now on
    let asked =
        "introspection = { client_id = \"resource1\", client_secret = \"h7Qm2vY0tq8Zp4Xk #!\" }\n";
    gateway.reload(&file(&upstream, &format!("{issuers}{asked}"))).unwrap();
    assert_eq!(ask(), 200);
    // c199: without its issuer the token is one of nobody's; with it again, its keys have to be fetched anew
    gateway.reload(&file(&upstream, "")).unwrap();
    assert_eq!(ask(), 401);
    gateway.reload(&file(&upstream, &issuers)).unwrap();
    assert_eq!(ask(), 503);
}

#[test]
fn c199_a_removed_or_disabled_client_is_refused_from_the_reload_on_and_so_is_its_token() {
    let upstream = Upstream::start();
    let good = file(&upstream, "");
    let gateway = Gateway::from_toml(&good);
    let token = bearer(&gateway.token());
    let credentials = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", SECRET),
    ]);
    let asks = || {
        let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
        let granted = gateway.ask(post("/auth/token", fields, credentials.as_bytes())).status;
        (granted, gateway.ask(post("/", &token, b"x")).status)
    };
    assert_eq!(asks(), (200, 200));
    let disabled = good.replacen("[[clients]]", "[[clients]]\ndisabled = true", 1);
    gateway.reload(&disabled).unwrap();
    assert_eq!(asks(), (401, 401));
    gateway.reload(&good).unwrap();
    assert_eq!(asks(), (200, 200));
    let other = good.replacen(&format!("id = \"{CLIENT}\""), "id = \"another\"", 1);
    gateway.reload(&other).unwrap();
    assert_eq!(asks(), (401, 401));
}

#[test]
fn c199_a_removed_route_rules_no_request_after_the_reload() {
    let upstream = Upstream::start();
    let open = file(&upstream, "[[routes]]\npath = \"/hook\"\naccess = \"public\"\n");
    let gateway = Gateway::from_toml(&open);
    let mut client = gateway.connect();
    let mut ask = || {
        client.send(post("/hook", "", b"x"));
        client.answer().status
    };
    assert_eq!(ask(), 200);
    gateway.reload(&file(&upstream, "")).unwrap();
    assert_eq!(ask(), 401);
}

#[test]
fn failures_to_prove_oneself_are_not_forgiven_by_a_reload() {
    let upstream = Upstream::start();
    let good = file(&upstream, "");
    let gateway = Gateway::from_toml(&good);
    let wrong = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", "wrong"),
    ]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    let ask = || gateway.ask(post("/auth/token", fields, wrong.as_bytes())).status;
    while ask() != 429 {}
    gateway.reload(&good).unwrap();
    assert_eq!(ask(), 429);
}

#[test]
fn addresses_come_and_go_and_connections_stay() {
    let upstream = Upstream::start();
    let (first, second) = (free_port(), free_port());
    let socket = scratch_file("place", "").with_extension("sock");
    let gateway = Gateway::from_toml(&listening(&upstream, &format!("\"{first}\"")));
    let mut client = Client::connect(first);
    client.send(get("/"));
    assert_eq!(client.answer().status, 200);

    let three = format!("[\"{first}\", \"{second}\", \"unix:{}\"]", socket.display());
    gateway.reload(&listening(&upstream, &three)).unwrap();
    assert_eq!(gateway.running().addresses(), [first, second]);
    assert_eq!((status(first), status(second)), (Some(200), Some(200)));
    UnixStream::connect(&socket).unwrap();

    gateway.reload(&listening(&upstream, &format!("\"{second}\""))).unwrap();
    assert_eq!(gateway.running().addresses(), [second]);
    assert_eq!((status(first), status(second)), (None, Some(200)));
    assert!(!socket.exists());
    client.send(get("/"));
    assert_eq!(client.answer().status, 200, "what was open stays open");

    // and a wider address on the port that we have ourselves
    let wide = format!("\"0.0.0.0:{}\"", second.port());
    gateway.reload(&listening(&upstream, &wide)).unwrap();
    assert_eq!(status(second), Some(200));
}

#[test]
fn a_port_that_is_taken_is_told_and_nothing_else_of_that_configuration_is_applied() {
    let upstream = Upstream::start();
    let gateway = Gateway::from_toml(&file(&upstream, ""));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("[\"127.0.0.1:0\", \"{}\"]", taken.local_addr().unwrap());
    let wanted = denying(&upstream).replacen("\"127.0.0.1:0\"", &listen, 1);
    assert!(matches!(gateway.reload(&wanted), Err(ReloadError::Bind(_))));
    assert_eq!(gateway.ask(get("/")).status, 200);
    drop(taken);
    gateway.reload(&wanted).unwrap();
    assert_eq!(gateway.ask(get("/")).status, 403);
}

#[test]
fn the_admin_listener_moves_and_goes() {
    let upstream = Upstream::start();
    let (first, second) = (free_port(), free_port());
    let at = |address: SocketAddr| file(&upstream, &format!("[admin]\nlisten = \"{address}\"\n"));
    let gateway = Gateway::from_toml(&at(first));
    let live = |address: SocketAddr| {
        let mut client = Client::over(TcpStream::connect(address).ok()?);
        client.send(get("/health/live"));
        client.answer_to("GET").map(|answer: Answer| answer.status)
    };
    assert_eq!(live(first), Some(200));
    gateway.reload(&at(second)).unwrap();
    assert_eq!(gateway.running().admin_address(), Some(second));
    assert_eq!(live(second), Some(200));
    eventually("the first one is gone", || live(first).is_none());
    gateway.reload(&file(&upstream, "")).unwrap();
    eventually("the second one is gone", || live(second).is_none());
    gateway.reload(&at(first)).unwrap();
    assert_eq!(live(first), Some(200));
}

#[test]
fn another_number_of_workers_waits_for_a_restart_and_the_rest_is_applied() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, ""));
    gateway.apply(&denying(&upstream).replacen("workers = 2", "workers = 3", 1));
    gateway.wait_for_log("`server.workers` is 3 now and stays 2 until the gateway is restarted");
    assert_eq!(gateway.ask(get("/")).status, 403);
}

#[test]
fn the_log_follows_the_configuration() {
    let upstream = Upstream::start();
    let gateway = Process::start(&file(&upstream, ""));
    assert_eq!(gateway.ask(get("/one")).status, 200);
    gateway.wait_for_log("/one");
    gateway.apply(&file(&upstream, "[log]\nformat = \"json\"\n"));
    assert_eq!(gateway.ask(get("/two")).status, 200);
    let log = gateway.wait_for_log("/two");
    let line = log.lines().find(|line| line.contains("/two")).unwrap();
    assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "{line}");
    gateway.apply(&file(&upstream, "[log]\naccess = false\nlevel = \"error\"\n"));
    assert_eq!(gateway.ask(get("/three")).status, 200);
    let log = gateway.terminate().1;
    assert!(!log.contains("/three"), "{log}");
    assert!(!log.contains("stopped"), "{log}");
}

#[test]
fn a_change_of_the_file_or_of_a_secrets_file_is_noticed_without_a_signal() {
    let upstream = Upstream::start();
    let secret = scratch_file("client.secret", "h7Qm2vY0tq8Zp4Xk-first\n");
    let with_file = file(&upstream, "").replacen(
        &format!("secret = \"{SECRET}\""),
        &format!("secret_file = \"{}\"", secret.display()),
        1,
    );
    let gateway = Process::start(&with_file);
    let granted = |secret: &str| granted(&gateway, secret);
    assert_eq!(granted("h7Qm2vY0tq8Zp4Xk-first"), 200);
    std::fs::write(&secret, "h7Qm2vY0tq8Zp4Xk-second\n").unwrap();
    gateway.wait_for_lines("configuration applied", 1);
    assert_eq!(granted("h7Qm2vY0tq8Zp4Xk-first"), 401);
    assert_eq!(granted("h7Qm2vY0tq8Zp4Xk-second"), 200);
    // a file that is gone is a fault, and tried once
    std::fs::remove_file(&secret).unwrap();
    gateway.wait_for_lines("configuration not applied", 1);
    assert_eq!(granted("h7Qm2vY0tq8Zp4Xk-second"), 200);
    std::fs::write(&secret, "h7Qm2vY0tq8Zp4Xk-third\n").unwrap();
    gateway.wait_for_lines("configuration applied", 2);
    assert_eq!(granted("h7Qm2vY0tq8Zp4Xk-third"), 200);
    assert_eq!(gateway.count("configuration not applied"), 1);
    // the file itself
    gateway.write(&denying(&upstream));
    gateway.wait_for_lines("configuration applied", 3);
    assert_eq!(gateway.ask(get("/")).status, 403);
}

/// What the token endpoint answers to this secret.
fn granted(gateway: &Process, secret: &str) -> u16 {
    let body = form(&[
        ("grant_type", "client_credentials"),
        ("client_id", CLIENT),
        ("client_secret", secret),
    ]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    gateway.ask(post("/auth/token", fields, body.as_bytes())).status
}

/// As the kubelet lays out what it mounts: names lead over `..data` into a folder of one version, and an update leads
/// `..data` elsewhere in one step.
struct Mounted {
    folder: PathBuf,
    versions: usize,
}

impl Mounted {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = scratch_file("mounted", "").with_extension("volume");
        std::fs::create_dir(&folder).unwrap();
        let mut this = Self { folder, versions: 0 };
        this.update(files);
        for (name, _) in files {
            let target = Path::new("..data").join(name);
            std::os::unix::fs::symlink(target, this.folder.join(name)).unwrap();
        }
        this
    }

    fn update(&mut self, files: &[(&str, &str)]) {
        self.versions += 1;
        let version = format!("..2026_11_26_{}", self.versions);
        std::fs::create_dir(self.folder.join(&version)).unwrap();
        for (name, text) in files {
            std::fs::write(self.folder.join(&version).join(name), text).unwrap();
        }
        let link = self.folder.join("..data_tmp");
        std::os::unix::fs::symlink(&version, &link).unwrap();
        std::fs::rename(link, self.folder.join("..data")).unwrap();
        if self.versions > 1 {
            let old = format!("..2026_11_26_{}", self.versions - 1);
            std::fs::remove_dir_all(self.folder.join(old)).unwrap();
        }
    }
}

#[test]
fn a_mounted_volume_that_kubernetes_updates_by_its_link_is_followed() {
    let upstream = Upstream::start();
    let config = file(&upstream, "").replacen(
        &format!("secret = \"{SECRET}\""),
        "secret_file = \"client.secret\"",
        1,
    );
    let first = [("gateway.toml", config.as_str()), ("client.secret", "h7Qm2vY0tq8Zp4Xk-first")];
    let mut volume = Mounted::new(&first);
    let gateway = Process::start_with(&volume.folder.join("gateway.toml"));
    assert_eq!(granted(&gateway, "h7Qm2vY0tq8Zp4Xk-first"), 200);
    volume.update(&[("gateway.toml", &config), ("client.secret", "h7Qm2vY0tq8Zp4Xk-second")]);
    gateway.wait_for_lines("configuration applied", 1);
    assert_eq!(granted(&gateway, "h7Qm2vY0tq8Zp4Xk-first"), 401);
    assert_eq!(granted(&gateway, "h7Qm2vY0tq8Zp4Xk-second"), 200);
    let both = config.clone() + "[access]\nprotect = \"all\"\n";
    volume.update(&[("gateway.toml", &both), ("client.secret", "h7Qm2vY0tq8Zp4Xk-third")]);
    gateway.wait_for_lines("configuration applied", 2);
    assert_eq!(granted(&gateway, "h7Qm2vY0tq8Zp4Xk-third"), 200);
    assert_eq!(gateway.ask(get("/")).status, 401);
}

#[test]
fn a_touch_is_no_change() {
    let upstream = Upstream::start();
    let config = file(&upstream, "");
    let gateway = Process::start(&config);
    gateway.write(&config);
    // longer than two looks
    std::thread::sleep(std::time::Duration::from_millis(4_500));
    assert_eq!(gateway.count("configuration applied"), 0);
}

#[test]
fn a_certificate_that_was_renewed_is_shown_without_a_signal_and_open_connections_go_on() {
    let upstream = Upstream::start();
    let (old, new) = (Authority::new(), Authority::new());
    let (first, second) = (old.certify(&["api.test"]), new.certify(&["api.test"]));
    let server = format!("tls = {}", first.toml(""));
    let gateway = Process::start(&toml(&format!("http://{}", upstream.address), &server, "", ""));
    let mut kept = client(old.client().connect(gateway.address, "api.test"));
    kept.send(get("/"));
    assert_eq!(kept.answer().status, 200);
    assert!(new.client().try_connect(gateway.address, "api.test").is_err());

    // a key that is not the certificate's is a fault, and one after the other is not noticed as such for long
    std::fs::copy(&second.certificate_file, &first.certificate_file).unwrap();
    gateway.wait_for_lines("configuration not applied", 1);
    old.client().connect(gateway.address, "api.test");
    std::fs::copy(&second.key_file, &first.key_file).unwrap();
    gateway.wait_for_lines("configuration applied", 1);
    let mut fresh = client(new.client().connect(gateway.address, "api.test"));
    fresh.send(get("/"));
    assert_eq!(fresh.answer().status, 200);
    assert!(old.client().try_connect(gateway.address, "api.test").is_err());
    kept.send(get("/"));
    assert_eq!(kept.answer().status, 200);
}
