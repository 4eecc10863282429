//! WebSockets and event streams of peers that others wrote, through the gateway.

mod clients;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

#[test]
fn websockets_and_event_streams_pass_with_a_token_and_nothing_is_held_back() {
    let root = env!("CARGO_MANIFEST_DIR");
    let installed =
        Command::new("bash").args(["tests/install.sh", "clients"]).current_dir(root).output();
    let installed = installed.unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));

    // It ends with its standard input, which is closed when it is dropped.
    let mut upstream = Command::new("node")
        .arg("tests/clients/node/streams-upstream.mjs")
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut address = String::new();
    BufReader::new(upstream.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
    let gateway = clients::gateway_in_front_of(address.trim().parse().expect("an address"));
    clients::run("streams", &gateway);
    drop(upstream.stdin.take());
    assert!(upstream.wait().unwrap().success());
}
