//! An identity provider that none of us wrote: `oidc-provider` of npm, with client credentials and resource indicators.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // time is real here

mod support;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use support::{
    Answer, Client, Gateway, Upstream, bearer, eventually, form, post, scratch_file, toml,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const BATCH: (&str, &str) = ("batch", "a secret of batch: 7f3k#=@");
const GATEWAY: (&str, &str) = ("gateway", "a secret of gateway: 9d2m#=@");

/// The provider as a process. Dropped, it is down.
struct Real {
    address: SocketAddr,
    keys: PathBuf,
    process: Option<Child>,
}

impl Real {
    fn start() -> Self {
        let installed =
            Command::new("bash").args(["tests/install.sh", "provider"]).current_dir(ROOT).output();
        let installed = installed.expect("bash is needed to install the identity provider");
        assert!(
            installed.status.success(),
            "the identity provider of tests/clients/oidc-provider cannot be installed (it needs Node.js 20 and npm): {}",
            String::from_utf8_lossy(&installed.stderr)
        );
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let keys = scratch_file("keys.json", "");
        std::fs::remove_file(&keys).unwrap();
        let mut real = Self { address: free, keys, process: None };
        real.up();
        real
    }

    fn up(&mut self) {
        let mut process = Command::new("node")
            .arg("server.js")
            .arg(self.address.port().to_string())
            .arg(&self.keys)
            .current_dir(format!("{ROOT}/tests/clients/oidc-provider"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("node is needed to run the identity provider");
        let mut lines =
            BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line == "ready"), "the identity provider did not start");
        // it goes on talking, and would not survive a pipe that nobody reads
        std::thread::spawn(move || lines.for_each(drop));
        self.process = Some(process);
    }

    fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn ask(&self, path: &str, client: (&str, &str), pairs: &[(&str, &str)]) -> Answer {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let basic = STANDARD.encode(format!("{}:{}", encoded(client.0), encoded(client.1)));
        let fields = format!(
            "Authorization: Basic {basic}\r\nContent-Type: application/x-www-form-urlencoded\r\n"
        );
        let mut connection = Client::connect(self.address);
        connection.send(post(path, &fields, form(pairs).as_bytes()));
        connection.answer()
    }

    /// An access token in this format: an algorithm, or `opaque`.
    fn token(&self, format: &str, scope: &str) -> String {
        let resource = format!("https://api.test/{format}");
        let pairs = [
            ("grant_type", "client_credentials"),
            ("resource", resource.as_str()),
            ("scope", scope),
        ];
        let answer = self.ask("/token", BATCH, &pairs);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    fn revoke(&self, token: &str) {
        assert_eq!(self.ask("/token/revocation", BATCH, &[("token", token)]).status, 200);
    }

    fn rotate(&self) {
        assert_eq!(self.ask("/control/rotate", BATCH, &[]).status, 200);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        self.down();
    }
}

fn gateway(real: &Real, upstream: &Upstream) -> Gateway {
    let issuer = format!(
        r#"
[[issuers]]
name = "real"
issuer = "http://{}"
audiences = ["https://api.test"]
types = ["at+jwt"]
introspection = {{ client_id = "{}", client_secret = "{}", cache = "1s" }}
"#,
        real.address, GATEWAY.0, GATEWAY.1
    );
    Gateway::from_toml(&toml(&format!("http://{}", upstream.address), "", "", &issuer))
}

fn status(gateway: &Gateway, token: &str) -> u16 {
    gateway.ask(post("/players", &bearer(token), b"{}")).status
}

fn kid(token: &str) -> Value {
    let header =
        base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
    serde_json::from_slice::<Value>(&header.unwrap()).unwrap()["kid"].clone()
}

#[test]
fn jwts_of_every_algorithm_and_opaque_tokens_are_let_in() {
    let (real, upstream) = (Real::start(), Upstream::start());
    let gateway = gateway(&real, &upstream);
    for format in ["RS256", "ES256", "PS256", "EdDSA", "opaque"] {
        let token = real.token(format, "api:write");
        assert_eq!(token.split('.').count() == 3, format != "opaque", "{format}: {token}");
        assert_eq!(status(&gateway, &token), 200, "{format}");
        let seen = upstream.seen().pop().unwrap();
        assert_eq!(seen.field("x-auth-client").as_deref(), Some("batch"), "{format}");
        assert_eq!(seen.field("x-auth-scope").as_deref(), Some("api:write"), "{format}");
        assert_eq!(
            seen.field("x-auth-issuer"),
            Some(format!("http://{}", real.address)),
            "{format}"
        );
        let mut broken = token.clone();
        let changed = if broken.pop() == Some('A') { 'B' } else { 'A' };
        broken.push(changed);
        assert_eq!(status(&gateway, &broken), 401, "{format}");
    }
}

#[test]
fn keys_are_rotated_and_nobody_is_refused() {
    let (real, upstream) = (Real::start(), Upstream::start());
    let gateway = gateway(&real, &upstream);
    let mut last = real.token("ES256", "api:write");
    assert_eq!(status(&gateway, &last), 200);
    for _ in 0..3 {
        real.rotate();
        let next = real.token("ES256", "api:write");
        assert_ne!(kid(&last), kid(&next));
        assert_eq!(status(&gateway, &next), 200);
        assert_eq!(status(&gateway, &last), 200);
        last = next;
    }
}

#[test]
fn a_revoked_token_is_refused_as_soon_as_its_answer_is_too_old() {
    let (real, upstream) = (Real::start(), Upstream::start());
    let gateway = gateway(&real, &upstream);
    let (revoked, other) = (real.token("opaque", "api:write"), real.token("opaque", "api:read"));
    assert_eq!((status(&gateway, &revoked), status(&gateway, &other)), (200, 200));
    real.revoke(&revoked);
    gateway.clock.skip(std::time::Duration::from_secs(2));
    assert_eq!((status(&gateway, &revoked), status(&gateway, &other)), (401, 200));
}

#[test]
fn an_outage_and_a_restart_are_survived() {
    let (mut real, upstream) = (Real::start(), Upstream::start());
    let gateway = gateway(&real, &upstream);
    let (jwt, opaque) = (real.token("RS256", "api:write"), real.token("opaque", "api:write"));
    assert_eq!((status(&gateway, &jwt), status(&gateway, &opaque)), (200, 200));
    let another = real.token("PS256", "api:write");
    real.down();
    gateway.clock.skip(std::time::Duration::from_secs(2));
    // keys are known, also for a token that is not; what has to be asked cannot be
    assert_eq!((status(&gateway, &jwt), status(&gateway, &another)), (200, 200));
    assert_eq!(status(&gateway, &opaque), 503);
    assert_eq!(status(&gateway, &gateway.token()), 200);
    real.up();
    let (jwt, opaque) = (real.token("RS256", "api:write"), real.token("opaque", "api:write"));
    assert_eq!(status(&gateway, &jwt), 200);
    eventually("it is asked again", || status(&gateway, &opaque) == 200);
}

#[test]
fn a_provider_that_comes_after_the_gateway_is_found() {
    let (mut real, upstream) = (Real::start(), Upstream::start());
    real.down();
    let gateway = gateway(&real, &upstream);
    assert_eq!(status(&gateway, "opaque"), 503);
    real.up();
    let token = real.token("EdDSA", "api:write");
    eventually("it is found", || status(&gateway, &token) == 200);
}
