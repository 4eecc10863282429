//! Processes that end with this program, however it ends.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use super::{Result, Trouble, While as _, kernel};

/// How often a process is looked at that is waited for.
const GLANCE: Duration = Duration::from_millis(10);
/// How long a process may take to end when it is asked to.
const FAREWELL: Duration = Duration::from_secs(3);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM end what is waited for, so that everything is cleared away in order.
pub fn heed_signals() {
    thread::spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            let (Ok(mut interrupt), Ok(mut end), Ok(mut hang_up)) = (
                signal(SignalKind::interrupt()),
                signal(SignalKind::terminate()),
                signal(SignalKind::hangup()),
            ) else {
                return;
            };
            loop {
                tokio::select! { _ = interrupt.recv() => {}, _ = end.recv() => {}, _ = hang_up.recv() => {} }
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
        });
    });
}

/// # Errors
/// If this program was asked to end.
pub fn go_on() -> Result<()> {
    match INTERRUPTED.load(Ordering::Relaxed) {
        true => Err(Trouble::new("interrupted")),
        false => Ok(()),
    }
}

/// A process that serves until this is dropped.
pub struct Server {
    pub name: String,
    child: Child,
    log: PathBuf,
}

impl Server {
    /// Starts it on these cores, in a session of its own. What it says of itself goes to `log`; its standard output, where
    /// tollgate writes the access log, is read by nobody.
    pub fn start(name: &str, command: &[String], cores: &[usize], log: &Path) -> Result<Self> {
        let said = File::create(log).during(log.display())?;
        // Not even our own violent end leaves it behind.
        let mut started = Command::new("setsid");
        started.args(["setpriv", "--pdeathsig", "TERM", "--"]).args(command);
        started.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let home = kernel::cores()?;
        kernel::pin(cores)?;
        let child = started.spawn();
        kernel::pin(&home)?;
        Ok(Self { name: name.to_owned(), child: child.during(name)?, log: log.to_owned() })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until something listens on `port`.
    pub fn wait_for(&mut self, port: u16) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(20);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            go_on()?;
            let ended = self.child.try_wait().during(&self.name)?;
            if ended.is_some() || Instant::now() > until {
                let said = std::fs::read_to_string(&self.log).unwrap_or_default();
                let how = ended.map_or("does not listen".to_owned(), |status| status.to_string());
                return Err(Trouble::new(format!(
                    "{} did not start ({how}): {}",
                    self.name,
                    said.trim()
                )));
            }
            thread::sleep(GLANCE);
        }
        kernel::share_precedence(self.id());
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        let below = kernel::tree(self.id());
        send(self.id(), Signal::TERM);
        let until = Instant::now() + FAREWELL;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > until {
                below.iter().for_each(|process| send(*process, Signal::KILL));
                let _ = self.child.wait();
            }
            thread::sleep(GLANCE);
        }
    }
}

/// Ends a process at once.
pub fn end(process: u32) {
    send(process, Signal::KILL);
}

fn send(process: u32, signal: Signal) {
    if let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        let _ = kill_process(process, signal);
    }
}

/// Runs a command to its end and yields what it printed.
///
/// # Errors
/// If it cannot be started, fails, or takes longer than `limit`; it is ended then.
pub fn run(command: &[String], cores: &[usize], log: &Path, limit: Duration) -> Result<String> {
    let name = command.first().cloned().unwrap_or_default();
    let out = File::create(log).during(log.display())?;
    let again = out.try_clone().during(log.display())?;
    let mut started = Command::new("setpriv");
    started.args(["--pdeathsig", "KILL", "--"]).args(command);
    started.stdin(Stdio::null()).stdout(out).stderr(again);
    let home = kernel::cores()?;
    kernel::pin(cores)?;
    let child = started.spawn();
    kernel::pin(&home)?;
    let mut child = child.during(&name)?;
    let ended = wait(&mut child, limit);
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let said = std::fs::read_to_string(log).unwrap_or_default();
    match ended? {
        Some(status) if status.success() => Ok(said),
        Some(status) => Err(Trouble::new(format!("{name} failed ({status}): {}", said.trim()))),
        None => Err(Trouble::new(format!("{name} took longer than {limit:?}: {}", said.trim()))),
    }
}

fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        go_on()?;
        if let Some(status) = child.try_wait().during("a process")? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            child.kill().and_then(|()| child.wait().map(drop)).during("a process")?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// What a command prints in its first line that is not empty.
pub fn first_line(command: &[&str]) -> String {
    let output = |command: &[&str]| -> io::Result<_> {
        Command::new(command.first().unwrap_or(&"")).args(command.iter().skip(1)).output()
    };
    let Ok(output) = output(command) else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned()
}
