//! Looks whether the files of the configuration have changed, and has them read again: by their content, so that a link
//! that is led to another file (as Kubernetes does with what it mounts) is a change, and a touch is none.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use super::reload::{Control, Failing, line};
use super::{Running, Supervisor};
use crate::config::{Fault, Faults, Loaded, SeenFile, Severity, Sources, load_and_note};
use crate::observe::Events;

/// The thread that looks. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Watcher {
    asks: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// What is followed, and who wants to know.
#[derive(Clone)]
pub struct Following {
    /// What the configuration is made of.
    pub sources: Sources,
    /// The files that it was read from, as they were then.
    pub files: Vec<SeenFile>,
    /// What its reading brought up.
    pub warnings: Vec<Fault>,
    /// Follow its `[log]`.
    pub events: Option<Events>,
    /// Told before and after each reload.
    pub supervisor: Supervisor,
}

/// What is looked at.
struct Watch {
    following: Following,
    /// The same as they were at the last look, where they had changed by then.
    changed: Option<Vec<SeenFile>>,
    control: Arc<Control>,
}

impl Running {
    /// Follows its configuration from now on: it is read again when one of its files has changed, and when
    /// [`Running::ask_reload`] is called.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn follow(&mut self, following: Following) -> std::io::Result<()> {
        let control = Arc::clone(&self.control);
        control.describe(following.sources.file.clone(), &following.warnings);
        let watch = Watch { following, changed: None, control };
        let (asks, asked) = sync_channel(1);
        let thread = std::thread::Builder::new().name("reload".to_owned());
        let thread = thread.spawn(move || watch.run(&asked))?;
        self.watcher = Some(Watcher { asks: Some(asks), thread: Some(thread) });
        Ok(())
    }

    /// Has the configuration read again, changed or not. Asked more than once meanwhile, it is read once more.
    /// False where it is not followed.
    pub fn ask_reload(&self) -> bool {
        let asks = self.watcher.as_ref().and_then(|watcher| watcher.asks.as_ref());
        // where one waits already, its turn is still to come
        asks.map(|asks| asks.try_send(())).is_some()
    }
}

impl Watch {
    fn run(mut self, asked: &Receiver<()>) {
        loop {
            let pause = if self.changed.is_some() { SETTLE } else { LOOK_EVERY };
            match asked.recv_timeout(pause) {
                Ok(()) => self.reload(),
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Reloads once a change has stood for a moment: whoever writes several files has done so then.
    fn look(&mut self) {
        let now: Vec<SeenFile> = self.following.files.iter().map(SeenFile::now).collect();
        if now == self.following.files {
            self.changed = None; // it was taken back
        } else if self.changed.as_ref() == Some(&now) {
            self.reload();
        } else {
            self.changed = Some(now);
        }
    }

    fn reload(&mut self) {
        self.changed = None;
        self.following.supervisor.reloading();
        match load_and_note(&self.following.sources) {
            Ok(Loaded { settings, warnings, files }) => {
                self.following.files = files;
                let log = settings.log.clone();
                // why not is told there
                if self.control.reload(settings, &warnings).is_ok()
                    && let Some(events) = &self.following.events
                {
                    events.configure(&log);
                }
            }
            Err((faults, files)) => {
                self.control.failed(told(&faults));
                self.keep_looking_at(files);
            }
        }
        self.following.supervisor.ready();
    }

    /// What is wrong may be mended in each of `files`, and in those that were not got to.
    fn keep_looking_at(&mut self, files: Vec<SeenFile>) {
        let before = std::mem::replace(&mut self.following.files, files);
        for seen in before {
            if !self.following.files.iter().any(|file| file.path() == seen.path()) {
                self.following.files.push(seen.now());
            }
        }
    }
}

/// Each fault; warnings are for when it is applied.
fn told(faults: &Faults) -> Vec<Failing> {
    let told = |fault: &Fault| Failing { line: line(fault), shown: fault.to_string() };
    faults.iter().filter(|fault| fault.severity() == Severity::Error).map(told).collect()
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.asks.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // a thread that panicked has said so
        }
    }
}

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long a change has to stand.
const SETTLE: Duration = Duration::from_millis(250);
