//! A gateway as users have it: the program, its configuration file, its log and its exit code.

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{Answer, Client, PATIENCE, scratch_file};

/// A running `tollgate`. It is killed when this is dropped.
pub struct Process {
    child: Child,
    /// Its configuration.
    pub file: PathBuf,
    pub address: SocketAddr,
    pub admin: Option<SocketAddr>,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    text: String,
    paused: bool,
    ended: bool,
}

/// How the program ended without having started.
pub struct Failed {
    pub code: Option<i32>,
    pub stderr: String,
}

impl Process {
    /// Starts it with this `gateway.toml` and waits until it listens.
    pub fn start(toml: &str) -> Self {
        Self::spawn(&scratch_file("gateway.toml", toml), "")
    }

    /// The same with `ulimit` options: `-n 256`.
    pub fn limited(toml: &str, ulimit: &str) -> Self {
        Self::spawn(&scratch_file("gateway.toml", toml), ulimit)
    }

    /// Starts it with the configuration that is there.
    pub fn start_with(file: &Path) -> Self {
        Self::spawn(file, "")
    }

    /// Changes its configuration as editors do, and asks it to look.
    pub fn reload(&self, toml: &str) {
        self.write(toml);
        self.signal(Signal::HUP);
    }

    /// Changes its configuration, and waits until it serves by it.
    pub fn apply(&self, toml: &str) {
        let before = self.count("configuration applied");
        self.reload(toml);
        self.wait_for_lines("configuration applied", before + 1);
    }

    /// Changes its configuration to one with a fault, waits until that is told, and yields the log from then on.
    pub fn fail_to_apply(&self, toml: &str) -> String {
        let (before, length) = (self.count("configuration not applied"), self.log().len());
        self.reload(toml);
        self.wait_for_lines("configuration not applied", before + 1);
        self.log().split_off(length)
    }

    /// Changes its configuration as editors do.
    pub fn write(&self, toml: &str) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, toml).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    /// How many lines of the log say this.
    pub fn count(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    pub fn wait_for_lines(&self, text: &str, count: usize) {
        super::eventually(text, || self.count(text) >= count);
    }

    /// Starts it where it cannot start.
    pub fn fail(toml: &str) -> Failed {
        let file = scratch_file("gateway.toml", toml);
        let mut child = command(&file, "").stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = String::new();
        let status = wait(&mut child, PATIENCE).expect("it should have ended");
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Failed { code: status.code(), stderr }
    }

    fn spawn(file: &Path, ulimit: &str) -> Self {
        Self::run(file, command(file, ulimit))
    }

    /// Runs `command`, which ends up as a `tollgate` with this configuration.
    pub fn run(file: &Path, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        let (lines, noted) = (BufReader::new(child.stdout.take().unwrap()), Arc::clone(&log));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut state = noted.state.lock().unwrap();
                state.text.push_str(&line);
                state.text.push('\n');
                noted.changed.notify_all();
                while state.paused {
                    state = noted.changed.wait(state).unwrap();
                }
            }
            noted.state.lock().unwrap().ended = true;
            noted.changed.notify_all();
        });
        let mut process = Self {
            child,
            file: file.to_owned(),
            address: ([0, 0, 0, 0], 0).into(),
            admin: None,
            log,
        };
        process.wait_for_log("listening");
        process.address = process.address_of("listening").unwrap();
        process
    }

    /// Waits for the address that health is told on.
    pub fn admin(&mut self) -> SocketAddr {
        self.wait_for_log("health listening");
        let admin = self.address_of("health listening").unwrap();
        self.admin = Some(admin);
        admin
    }

    /// The address in the first log line with this message.
    fn address_of(&self, message: &str) -> Option<SocketAddr> {
        let log = self.log();
        let line = log.lines().find(|line| {
            line.contains(message)
                && (message.starts_with("health") || !line.contains("health listening"))
        })?;
        let rest = line.split_once("address")?.1.trim_start_matches(['"', ':', '=']);
        let end = rest.find(['"', ' ']).unwrap_or(rest.len());
        rest[..end].parse().ok()
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.log.state.lock().unwrap().text.clone()
    }

    /// Waits until the log holds this, and yields all of it.
    pub fn wait_for_log(&self, text: &str) -> String {
        let state = self.log.state.lock().unwrap();
        let (state, outcome) = self
            .log
            .changed
            .wait_timeout_while(state, PATIENCE, |state| !state.text.contains(text) && !state.ended)
            .unwrap();
        let log = state.text.clone();
        drop(state);
        assert!(log.contains(text) && !outcome.timed_out(), "no {text:?} in {log:?}");
        log
    }

    /// Stops reading the log, or goes on.
    pub fn pause_log(&self, paused: bool) {
        self.log.state.lock().unwrap().paused = paused;
        self.log.changed.notify_all();
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    pub fn ask(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut client = self.connect();
        client.send(request);
        client.answer()
    }

    /// A fresh access token of [`super::CLIENT`].
    pub fn token(&self) -> String {
        let body = super::form(&[
            ("grant_type", "client_credentials"),
            ("client_id", super::CLIENT),
            ("client_secret", super::SECRET),
        ]);
        let fields = "Content-Type: application/x-www-form-urlencoded\r\n";
        let answer = self.ask(super::post("/auth/token", fields, body.as_bytes()));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["access_token"].as_str().unwrap().to_owned()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end and yields the exit code and the whole log.
    pub fn end(mut self) -> (Option<i32>, String) {
        let status = wait(&mut self.child, PATIENCE * 2).expect("it should have ended");
        self.pause_log(false);
        let state = self.log.state.lock().unwrap();
        let (state, _) =
            self.log.changed.wait_timeout_while(state, PATIENCE, |state| !state.ended).unwrap();
        (status.code(), state.text.clone())
    }

    /// SIGTERM, and the end.
    pub fn terminate(self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        self.end()
    }

    /// Whether it has ended by now.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How many file descriptors it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// A figure of `/proc/PID/status`, KiB.
    pub fn memory(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Processor time used so far.
    pub fn processor_time(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.child.id());
        let text = std::fs::read_to_string(path).unwrap();
        let fields: Vec<_> = text.rsplit_once(')').unwrap().1.split_ascii_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.pause_log(false);
    }
}

/// The program: the one that was built with this test, or the one that `TOLLGATE_TEST_PROGRAM` names.
pub fn program() -> String {
    std::env::var("TOLLGATE_TEST_PROGRAM")
        .unwrap_or_else(|_| env!("CARGO_BIN_EXE_tollgate").to_owned())
}

/// The program with this configuration, its output to be read.
pub fn command(file: &Path, ulimit: &str) -> Command {
    let program = program();
    let mut command = if ulimit.is_empty() {
        Command::new(program)
    } else {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("ulimit {ulimit} && exec \"$0\" \"$@\""), &program]);
        shell
    };
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("TOLLGATE_") {
            command.env_remove(name);
        }
    }
    command.args(["run", "--config"]).arg(file).stdout(Stdio::piped()).stdin(Stdio::null());
    command
}

fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            return None;
        }
        std::thread::sleep(Duration::from_millis(5)); // between two looks
    }
}

/// Asks on a connection of its own; `None` where none can be had.
pub fn try_get(address: SocketAddr, path: &str) -> Option<Answer> {
    TcpStream::connect(address).ok()?;
    let mut client = Client::connect(address);
    client.send(super::get(path));
    client.answer_to("GET")
}
