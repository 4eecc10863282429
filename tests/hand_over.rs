//! One program after another on the same address, while clients come and go: no connection is refused, none is reset, no
//! answer is cut.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use support::process::{Process, command, program};
use support::{Client, Upstream, eventually, get, scratch_file, toml};

fn scale() -> usize {
    std::env::var("TOLLGATE_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

fn at(upstream: &Upstream, listen: &str, rest: &str) -> String {
    toml(&format!("http://{}", upstream.address), "", "", &format!("{rest}[log]\naccess = false\n"))
        .replacen("listen = \"127.0.0.1:0\"", &format!("listen = {listen}"), 1)
}

/// A port that nobody has, for a moment.
fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Clients, half of which keep their connection as long as they may.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(usize, Vec<String>)>>,
}

impl Load {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..12).map(|number| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || client(address, number % 2 == 0, &stop))
        });
        Self { threads: threads.collect(), stop }
    }

    fn stop(self) -> usize {
        self.stop.store(true, Ordering::SeqCst);
        let mut answers = 0;
        let mut failures = Vec::new();
        for thread in self.threads {
            let (whole, failed) = thread.join().unwrap();
            answers += whole;
            failures.extend(failed);
        }
        assert!(failures.is_empty(), "{} of {answers} failed: {failures:?}", failures.len());
        answers
    }
}

fn client(address: SocketAddr, keeps: bool, stop: &AtomicBool) -> (usize, Vec<String>) {
    let (mut whole, mut failures) = (0, Vec::new());
    while !stop.load(Ordering::SeqCst) {
        let mut client = match TcpStream::connect(address) {
            Ok(stream) => Client::over(stream),
            Err(fault) => {
                failures.push(fault.to_string());
                continue;
            }
        };
        loop {
            client.send(get("/"));
            match client.answer_to("GET") {
                Some(answer) if answer.complete && answer.text() == "hello" => {
                    whole += 1;
                    let last = answer.field("connection").as_deref() == Some("close");
                    if last || !keeps || stop.load(Ordering::SeqCst) {
                        break;
                    }
                }
                other => {
                    failures.push(format!("{other:?}"));
                    break;
                }
            }
            std::thread::sleep(Duration::from_millis(2)); // its pace
        }
    }
    (whole, failures)
}

fn hello() -> Upstream {
    Upstream::scripted(|mut connection| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
        }
    })
}

/// Starts a gateway in place of `old`.
fn successor(old: &Process, file: &Path) -> Process {
    let mut command = command(file, "");
    command.args(["--take-over", &old.id().to_string()]);
    Process::run(file, command)
}

#[test]
fn a_program_takes_the_place_of_another_and_no_connection_is_refused_or_reset() {
    let upstream = hello();
    let address = free_port();
    let file = scratch_file("gateway.toml", &at(&upstream, &format!("\"{address}\""), ""));
    let mut gateway = Process::start_with(&file);
    let load = Load::start(address);
    for _ in 0..2 * scale() {
        std::thread::sleep(Duration::from_millis(300)); // so long everything is as usual
        let next = successor(&gateway, &file);
        let (code, log) = gateway.end();
        assert_eq!(code, Some(0), "{log}");
        gateway = next;
    }
    let answers = load.stop();
    println!("{} hand-overs, {answers} answers, none lost", 2 * scale());
    assert!(answers > 100);
}

#[test]
fn a_store_that_one_process_can_have_is_waited_for_and_so_are_connections() {
    let upstream = hello();
    let address = free_port();
    let folder = scratch_file("store", "").with_extension("folder");
    let store = format!("[store]\nurl = \"file:{}\"\n", folder.display());
    let file = scratch_file("gateway.toml", &at(&upstream, &format!("\"{address}\""), &store));
    let gateway = Process::start_with(&file);
    let load = Load::start(address);
    let next = successor(&gateway, &file);
    assert_eq!(gateway.end().0, Some(0));
    std::thread::sleep(Duration::from_millis(300)); // so long everything is as usual
    load.stop();
    assert_eq!(next.terminate().0, Some(0));
}

#[test]
fn a_unix_socket_and_the_admin_listener_change_hands_too() {
    let upstream = hello();
    let path = scratch_file("place", "").with_extension("sock");
    let (address, admin) = (free_port(), free_port());
    let listen = format!("[\"{address}\", \"unix:{}\"]", path.display());
    let rest = format!("[admin]\nlisten = \"{admin}\"\n");
    let file = scratch_file("gateway.toml", &at(&upstream, &listen, &rest));
    let gateway = Process::start_with(&file);
    let next = successor(&gateway, &file);
    assert_eq!(gateway.end().0, Some(0));
    UnixStream::connect(&path).unwrap();
    assert_eq!(support::process::try_get(admin, "/health/live").unwrap().status, 200);
    assert_eq!(next.ask(get("/")).text(), "hello");
    assert_eq!(next.terminate().0, Some(0));
    assert!(!path.exists());
}

#[test]
fn without_the_flag_a_second_gateway_is_refused_and_a_process_that_is_not_there_is_told() {
    let upstream = hello();
    let address = free_port();
    let text = at(&upstream, &format!("\"{address}\""), "");
    let gateway = Process::start(&text);
    let failed = Process::fail(&text);
    assert_eq!(failed.code, Some(3));
    assert!(failed.stderr.contains("in use by another program"), "{}", failed.stderr);
    let mut gone = command(&gateway.file, "");
    let output = gone.args(["--take-over", "4194300"]).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("there is no such process"), "{stderr}");
    assert_eq!(gateway.ask(get("/")).text(), "hello");
}

/// A gateway to which these sockets are handed, as systemd does it: from descriptor 3 on.
fn handed(file: &Path, first: OwnedFd, second: Option<OwnedFd>) -> Process {
    let count = 1 + usize::from(second.is_some());
    let more = if second.is_some() { "4<&2 2>/dev/null" } else { "" };
    let script = format!(
        "exec 3<&0 0</dev/null {more}; LISTEN_PID=$$ LISTEN_FDS={count} exec \"$0\" run --config \"$1\""
    );
    let mut command = Command::new("sh");
    command.args(["-c", &script, &program()]).arg(file);
    command
        .stdin(first)
        .stdout(Stdio::piped())
        .env_remove("TOLLGATE_TEST_SCALE")
        .env_remove("TOLLGATE_TEST_PROGRAM");
    if let Some(second) = second {
        command.stderr(second);
    }
    Process::run(file, command)
}

#[test]
fn sockets_that_a_supervisor_holds_outlive_the_program_and_nobody_is_refused_meanwhile() {
    let upstream = hello();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let file = scratch_file("gateway.toml", &at(&upstream, &format!("\"{address}\""), ""));
    let start = || handed(&file, socket.try_clone().unwrap().into(), None);
    let mut gateway = start();
    let load = Load::start(address);
    for _ in 0..2 * scale() {
        std::thread::sleep(Duration::from_millis(300)); // so long everything is as usual
        let (code, log) = gateway.terminate();
        assert_eq!(code, Some(0), "{log}");
        gateway = start();
    }
    std::thread::sleep(Duration::from_millis(300)); // so long everything is as usual
    load.stop();
}

#[test]
fn handed_sockets_are_used_where_they_are_named_and_told_of_where_not() {
    let upstream = hello();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let path = scratch_file("place", "").with_extension("sock");
    let unix = UnixListener::bind(&path).unwrap();
    let both = format!("[\"{address}\", \"unix:{}\"]", path.display());
    let file = scratch_file("gateway.toml", &at(&upstream, &both, ""));
    let gateway =
        handed(&file, socket.try_clone().unwrap().into(), Some(unix.try_clone().unwrap().into()));
    assert_eq!(gateway.address, address);
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    UnixStream::connect(&path).unwrap();
    // a reload that takes one away and gives it back
    gateway.apply(&at(&upstream, &format!("\"unix:{}\"", path.display()), ""));
    gateway.apply(&at(&upstream, &both, ""));
    assert_eq!(gateway.ask(get("/")).text(), "hello");
    assert_eq!(gateway.terminate().0, Some(0));
    assert!(path.exists(), "it is the supervisor's");

    let other = at(&upstream, "\"127.0.0.1:0\"", "");
    let file = scratch_file("gateway.toml", &other);
    let gateway = handed(&file, socket.try_clone().unwrap().into(), None);
    gateway.wait_for_log("a socket was handed over that server.listen does not name");
    assert_ne!(gateway.address, address);
}

#[test]
fn a_supervisor_is_told_what_goes_on() {
    let upstream = hello();
    let path = scratch_file("notify", "").with_extension("sock");
    let socket = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(support::PATIENCE)).unwrap();
    let hear = || {
        let mut heard = [0; 200];
        let length = socket.recv(&mut heard).unwrap();
        String::from_utf8(heard[..length].to_vec()).unwrap()
    };
    let text = at(&upstream, "\"127.0.0.1:0\"", "");
    let file = scratch_file("gateway.toml", &text);
    let mut command = command(&file, "");
    command.env("NOTIFY_SOCKET", &path);
    let gateway = Process::run(&file, command);
    assert_eq!(hear(), "READY=1");
    gateway.signal(Signal::HUP);
    assert!(hear().starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(hear(), "READY=1");
    gateway.signal(Signal::TERM);
    assert_eq!(hear(), "STOPPING=1");
    eventually("the log says so", || gateway.log().contains("draining"));
    assert_eq!(gateway.end().0, Some(0));
}
