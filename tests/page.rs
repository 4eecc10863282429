//! The page of the admin listener, looked at by a browser: it loads under its strict policy and asks nobody else, its
//! numbers are those of the gateway, what clients send is text on it, and it can be used by keyboard, on a phone and by
//! those who see it in other ways.

#![allow(clippy::unwrap_used)]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::process::Signal;
use tollgate::demo::SampleApi;

use support::process::Process;
use support::{Client, bearer, get, post, toml};

#[test]
fn the_page_loads_without_a_fault_under_a_strict_policy_and_asks_nobody_else() {
    look("loads", "");
}

#[test]
fn the_page_shows_traffic_and_refusals_and_what_clients_send_as_text() {
    let rest = format!("[[routes]]\npath = '/orders/{{*rest}}'\nname = '{MARKUP}'\n");
    look("traffic", &rest);
}

#[test]
fn markup_in_any_text_of_the_status_is_text_on_the_page() {
    look("markup", "");
}

#[test]
fn the_page_is_dark_or_light_as_the_system_prefers_or_as_was_chosen() {
    look("schemes", "");
}

#[test]
fn the_page_needs_no_sideways_scrolling_on_a_phone() {
    look("widths", "");
}

#[test]
fn the_page_can_be_used_by_keyboard_alone() {
    look("keyboard", "");
}

#[test]
fn axe_finds_nothing_in_either_scheme_at_either_width() {
    look("axe", "");
}

#[test]
fn the_page_says_in_a_word_how_the_gateway_is_and_what_needs_a_look() {
    look("states", "");
}

#[test]
fn numbers_and_times_are_told_with_their_units() {
    look("formats", "");
}

#[test]
fn the_page_asks_again_only_when_it_should() {
    look("asking", "");
}

#[test]
fn the_page_survives_a_restart_of_the_gateway_and_says_so() {
    let api = SampleApi::start().unwrap();
    // the page comes back to where it was loaded from, so this port has to be the same again
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = configuration(api.address(), admin, "");
    let first = Process::start(&file);
    let mut browser = Browser::open("restart", admin, first.address);
    browser.waits_for("it is serving");
    first.signal(Signal::KILL);
    first.end();
    browser.waits_for("it cannot be reached");
    let _second = Process::start(&file);
    browser.waits_for("it was restarted");
    browser.ends_well();
}

#[test]
fn the_page_tells_a_reload_that_failed_with_its_faults_and_their_places() {
    let api = SampleApi::start().unwrap();
    let file = configuration(api.address(), ([127, 0, 0, 1], 0).into(), "");
    let mut gateway = Process::start(&file);
    let mut browser = Browser::open("reload", gateway.admin(), gateway.address);
    browser.waits_for("it is serving");
    gateway.fail_to_apply(&format!("{file}\n[[routes]]\npath = '/x'\nall_off = ['a']\n"));
    browser.waits_for("the faults are told");
    gateway.reload(&file);
    browser.ends_well();
}

/// A name that would do something, were it not text.
const MARKUP: &str = "<img src=x onerror=\"document.title=1\"><b>orders</b>";

fn configuration(api: SocketAddr, admin: SocketAddr, rest: &str) -> String {
    let rest = format!("[admin]\nlisten = '{admin}'\n{rest}");
    toml(&format!("http://{api}"), "", "", &rest)
}

/// One look of `tests/clients/page/look.mjs` at a gateway with some traffic.
fn look(check: &str, rest: &str) {
    let api = SampleApi::start().unwrap();
    let mut gateway =
        Process::start(&configuration(api.address(), ([127, 0, 0, 1], 0).into(), rest));
    let admin = gateway.admin();
    let traffic = Traffic::start(gateway.address, gateway.token());
    Browser::open(check, admin, gateway.address).ends_well();
    traffic.stop();
}

/// Some requests a second: let through, refused, and refused with a path that would be markup if it were not text.
struct Traffic {
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Traffic {
    fn start(to: SocketAddr, token: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&over);
        let thread = std::thread::spawn(move || {
            let fields = "Content-Type: application/json\r\n";
            let player = br#"{"firstName": "Giovani", "lastName": "Lo Celso"}"#;
            while !ended.load(Ordering::Relaxed) {
                for request in [
                    get("/players"),
                    post("/players", &format!("{fields}{}", bearer(&token)), player),
                    post("/orders/7", fields, player),
                    post("/&lt;b&gt;'%3Cscript%3E", fields, player),
                ] {
                    let mut client = Client::connect(to);
                    client.send(request);
                    client.answer();
                }
                std::thread::sleep(Duration::from_millis(40)); // a calm stream
            }
        });
        Self { over, thread }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// A browser that looks at the page, and says line by line what it sees.
struct Browser {
    child: Child,
    lines: mpsc::Receiver<String>,
    seen: Vec<String>,
}

impl Browser {
    fn open(check: &str, admin: SocketAddr, gateway: SocketAddr) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let install = Command::new("bash")
            .args(["tests/install.sh", "page"])
            .current_dir(root)
            .output()
            .expect("bash");
        let said = String::from_utf8_lossy(&install.stderr);
        assert!(install.status.success(), "what the test needs cannot be had: {said}");
        let mut child = Command::new("node")
            .args(["tests/clients/page/look.mjs", check])
            .current_dir(root)
            .env("ADMIN", format!("http://{admin}"))
            .env("GATEWAY", format!("http://{gateway}"))
            .env("MARKUP", MARKUP)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("node");
        let (send, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        Self { child, lines, seen: Vec::new() }
    }

    /// Waits until the browser says this.
    fn waits_for(&mut self, what: &str) {
        while self.seen.last().is_none_or(|line| line != what) {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(_) => self.fails(&format!("it did not say {what:?}")),
            }
        }
    }

    /// Waits for the end, which must be a good one.
    fn ends_well(mut self) {
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.seen.push(line),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => self.fails("it is not done"),
            }
        }
        if !self.child.wait().unwrap().success() {
            self.fails("it is not content");
        }
    }

    fn fails(&mut self, why: &str) -> ! {
        let _ = self.child.kill();
        let mut errors = String::new();
        let _ = self.child.stderr.take().unwrap().read_to_string(&mut errors);
        panic!("{why}; it said {:?}\n{errors}", self.seen);
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For a browser's next word, on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(180);
