//! Where a configuration comes from: finding the file, reading it, and the way from its bytes to [`Settings`].

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::document::Source;
use super::excerpt::printable;
use super::fault::{Fault, Faults};
use super::judge::{self, Desk};
use super::layers::{Layer, merge};
use super::node::Place;
use super::raw::Root;
use super::report::Report;
use super::seen::SeenFile;
use super::settings::Settings;
use super::shape::Read;
use super::{environment, schema};
use crate::clock::Clock;

/// What settings are made of. Later fields win over earlier ones.
#[derive(Clone, Default)]
pub struct Sources {
    /// The file; without one, the environment and the flags must say everything.
    pub file: Option<PathBuf>,
    /// Names and values; only names that begin with `TOLLGATE_` are read.
    pub environment: Vec<(OsString, OsString)>,
    /// `--listen`: replaces the whole list if there is any.
    pub listen: Vec<String>,
    /// `--upstream`.
    pub upstream: Option<String>,
    /// Tells which secrets have expired.
    pub clock: Clock,
}

/// Settings, and what should be known about them.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs on.
    pub settings: Settings,
    /// In the order of the file.
    pub warnings: Vec<Fault>,
    /// Every file that something was read from.
    pub files: Vec<SeenFile>,
}

/// No file was named and none was found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NotFound {
    /// The places looked at.
    pub looked_at: Vec<PathBuf>,
}

impl Sources {
    /// The file and the environment of this process.
    #[must_use]
    pub fn of_process(file: Option<PathBuf>) -> Self {
        Self { file, environment: std::env::vars_os().collect(), ..Self::default() }
    }
}

/// The settings, with every layer judged.
///
/// # Errors
/// Everything that is wrong, at once; none of it shows a secret.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    load_and_note(sources).map_err(|(faults, _)| faults)
}

/// The same, with the files that were looked at where something is wrong: it may be mended in any of them.
///
/// # Errors
/// As [`load()`], and these files.
pub fn load_and_note(sources: &Sources) -> Result<Loaded, (Faults, Vec<SeenFile>)> {
    let mut source = Source::default();
    let mut report = Report::default();
    let settings = settings(sources, &mut source, &mut report).map(|settings| Settings {
        digest: sources.file.as_ref().map(|_| source.digest()),
        ..settings
    });
    let clean = report.is_clean();
    let files = report.take_files();
    let faults = report.finish(&source);
    match settings {
        Some(settings) if clean => {
            Ok(Loaded { settings, warnings: faults.iter().cloned().collect(), files })
        }
        Some(_) | None => Err((faults, files)),
    }
}

/// The file to read: `named` (`--config`), else what `$TOLLGATE_CONFIG` says, else the first of the usual places that exists.
///
/// # Errors
/// [`NotFound`] if nothing was named and none of the usual places has a file.
pub fn find_file(named: Option<&Path>, variable: Option<&OsStr>) -> Result<PathBuf, NotFound> {
    let variable = variable.filter(|path| !path.is_empty()).map(Path::new);
    if let Some(path) = named.or(variable) {
        return Ok(path.to_owned());
    }
    let usual = USUAL_PLACES.map(PathBuf::from);
    match usual.iter().find(|path| path.exists()) {
        Some(path) => Ok(path.clone()),
        None => Err(NotFound { looked_at: usual.to_vec() }),
    }
}

impl fmt::Display for NotFound {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places: Vec<String> =
            self.looked_at.iter().map(|path| path.display().to_string()).collect();
        write!(
            out,
            "no configuration found: looked at --config, $TOLLGATE_CONFIG, {}",
            places.join(", ")
        )
    }
}

impl std::error::Error for NotFound {}

fn settings(sources: &Sources, source: &mut Source, report: &mut Report) -> Option<Settings> {
    let shape = schema::root();
    let file = match &sources.file {
        None => Some(Layer::new("file")),
        Some(path) => take_file(path, source, report).and_then(|()| source.parse(&shape, report)),
    };
    let variables = environment::variables(&sources.environment, &shape, source, report);
    let flags = environment::flags(&sources.listen, sources.upstream.as_deref(), source);
    // What a broken file does not say cannot be told from what it says wrongly.
    let tree = merge(vec![file?, variables, flags], report);
    let root = Root::read(&tree, report)?;
    let folder = sources.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
    let now = sources.clock.unix_seconds();
    judge::settings(&root, &mut Desk { folder, now, report })
}

/// Reads the file as text.
fn take_file(path: &Path, source: &mut Source, report: &mut Report) -> Option<()> {
    let name = printable(&path.display().to_string());
    source.take_file(name.clone(), Zeroizing::default());
    let bytes = match report.read_file(path, MOST_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => {
            let reason = format!("cannot read {name}: {}", judge::why(&error));
            report.error(Place::Default, reason, judge::mend(&error));
            return None;
        }
    };
    if bytes.len() as u64 > MOST_FILE_BYTES {
        let reason = format!("{name} has more than 1 MiB: no configuration needs that much");
        report.error(Place::Default, reason, "name the right file with --config");
        return None;
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => {
            source.take_file(name, Zeroizing::new(text.to_owned()));
            Some(())
        }
        Err(error) => {
            let line =
                1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let line_start = bytes[..error.valid_up_to()]
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |at| at + 1);
            let column = 1 + String::from_utf8_lossy(&bytes[line_start..error.valid_up_to()])
                .chars()
                .count();
            let mend = if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
                "it looks like UTF-16; save it as UTF-8"
            } else {
                "save it as UTF-8"
            };
            let reason = format!("{name}:{line}:{column}: the file is not UTF-8");
            report.error(Place::Default, reason, mend);
            None
        }
    }
}

/// After `--config` and `$TOLLGATE_CONFIG`.
const USUAL_PLACES: [&str; 2] = ["./gateway.toml", "/etc/tollgate/gateway.toml"];

/// A thousand clients have some 200 KiB.
const MOST_FILE_BYTES: u64 = 1 << 20;
