//! gRPC end to end: a server and a client that others wrote, with the gateway between them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use support::http2_upstream::{Polite, Reply};
use support::process::Process;
use support::{CLIENT, Gateway, KEY, SECRET, bearer, post, toml};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The Python that has the packages of the tests.
fn python() -> Command {
    let installed =
        Command::new("bash").args(["tests/install.sh", "clients"]).current_dir(ROOT).output();
    let installed = installed.unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    let mut python = Command::new(format!("{target}/test-tools/python/bin/python"));
    python.current_dir(ROOT);
    python
}

/// The server of `grpc_server.py`. It ends with its standard input.
struct Server(Child, String);

impl Server {
    fn start() -> Self {
        let mut server = python();
        server.arg("tests/clients/python/grpc_server.py");
        let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        Self(server, address.trim().to_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn all_kinds_of_calls_pass_with_trailers_deadlines_cancellation_and_a_token_in_metadata() {
    let server = Server::start();
    let gateway = Gateway::from_toml(&toml(&format!("h2c://{}", server.1), "", "", ""));
    let mut client = python();
    client.arg("tests/clients/python/grpc_client.py");
    client.env("GATEWAY", gateway.address.to_string());
    client.env("CLIENT_ID", CLIENT).env("CLIENT_SECRET", SECRET);
    let ended = client.output().unwrap();
    let said = [&ended.stdout[..], &ended.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ended.status.success(), "{said}");
    println!("{said}");
    assert_eq!(gateway.finish().panics, 0);
}

#[test]
fn a_call_over_http1_is_told_its_status_in_trailers_too() {
    let upstream = Polite::answering(|_| -> Reply {
        let mut head = http::Response::new(());
        head.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        let trailers = [("grpc-status", "5"), ("grpc-message", "not here")];
        let trailers = trailers
            .map(|(name, value)| (name.parse().unwrap(), http::HeaderValue::from_static(value)));
        (head, vec![0; 5], Some(trailers.into_iter().collect()))
    });
    let gateway = Gateway::from_toml(&toml(&format!("h2c://{}", upstream.address), "", "", ""));
    let fields =
        format!("{}Content-Type: application/grpc\r\nTE: trailers\r\n", bearer(&gateway.token()));
    let mut client = gateway.connect();
    client.send(post("/test.Echo/Unary", &fields, &[0; 5]));
    client.wait_for("grpc-message: not here");
    assert_eq!(upstream.only().field("te").as_deref(), Some("trailers"));
    assert_eq!(upstream.only().field("content-type").as_deref(), Some("application/grpc"));
}

#[test]
fn the_example_guards_a_service_and_leaves_its_health_open() {
    let mut server = python();
    server.args(["examples/grpc/server.py", "127.0.0.1:0"]);
    let mut server = server.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut address = String::new();
    BufReader::new(server.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let config = fs::read_to_string(format!("{ROOT}/examples/grpc/gateway.toml")).unwrap();
    let config = config
        .replace("127.0.0.1:8080\"\n", "127.0.0.1:0\"\n")
        .replace("127.0.0.1:50051", address.trim())
        .replace("[token]\n", &format!("[token]\nkey = \"{KEY}\"\n"))
        .replace(
            "[[clients]]\n",
            "[[clients]]\nsecret = \"0123456789abcdefghijklmnopqrstuvwxyz\"\n",
        );
    let gateway = Process::start(&config);
    let call = |token: Option<&str>| {
        let mut client = python();
        client.arg("examples/grpc/client.py").env("GATEWAY", gateway.address.to_string());
        client.env_remove("TOKEN").envs(token.map(|token| ("TOKEN", token)));
        let ended = client.output().unwrap();
        String::from_utf8_lossy(&[&ended.stdout[..], &ended.stderr[..]].concat()).into_owned()
    };
    assert_eq!(call(None), "health: SERVING\nAdd: UNAUTHENTICATED\n");
    let body = support::form(&[
        ("grant_type", "client_credentials"),
        ("client_id", "app"),
        ("client_secret", "0123456789abcdefghijklmnopqrstuvwxyz"),
    ]);
    let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = gateway.ask(post("/auth/token", fields, body.as_bytes()));
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(call(Some(&token)), "health: SERVING\nAdd: OK, added by app\n");
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}
