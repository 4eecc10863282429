//! `tollgate doctor`: looks at the deployment around the gateway, and says what is wrong with it.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::{DoctorArgs, WRONG, coloured, settings, wrong};
use crate::clock::Clock;
use crate::doctor::{Finding, Level, Patient, examine};

pub(super) fn main(args: &DoctorArgs) -> ExitCode {
    if !args.path.starts_with('/') {
        return wrong("--path must begin with /, as --path /players");
    }
    let (file, loaded) = match settings(&args.config, &[], None) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(fault) => return wrong(&format!("nothing can be asked: {fault}")),
    };
    let patient = Patient {
        settings: &loaded.settings,
        files: &loaded.files,
        path: &args.path,
        clock: Clock::system(),
    };
    let findings = tokio::task::LocalSet::new().block_on(&runtime, examine(&patient));
    runtime.shutdown_background(); // a name look-up that hangs is not waited for
    let text = match args.json {
        true => serde_json::to_string_pretty(&findings).map_or(String::new(), |text| text + "\n"),
        false => {
            let name = file.map_or("the environment".to_owned(), |file| file.display().to_string());
            render(&name, &findings, coloured() && std::io::stdout().is_terminal())
        }
    };
    let sound = findings.iter().all(|finding| finding.level < Level::Fault);
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) if sound => ExitCode::SUCCESS,
        Ok(()) | Err(_) => ExitCode::from(WRONG),
    }
}

/// A line for each finding, its mend below it, and how many there are of each kind.
fn render(name: &str, findings: &[Finding], coloured: bool) -> String {
    let mut out = format!("{name}\n");
    for finding in findings {
        let (word, colour) = said(finding.level);
        let (on, off) = if coloured { (colour, "\x1b[0m") } else { ("", "") };
        // a String takes everything
        let _ = writeln!(out, "  {on}{word:<8}{off} {}: {}", finding.check, finding.found);
        if let Some(mend) = &finding.mend {
            let _ = writeln!(out, "  {:<8}   = help: {mend}", "");
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let many =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let _ = writeln!(
        out,
        "{}, {}, {}, {} ok",
        many(count(Level::Fault), "fault"),
        many(count(Level::Warning), "warning"),
        many(count(Level::Note), "note"),
        count(Level::Ok)
    );
    out
}

const fn said(level: Level) -> (&'static str, &'static str) {
    match level {
        Level::Ok => ("ok", "\x1b[1;32m"),
        Level::Note => ("note", "\x1b[1;36m"),
        Level::Warning => ("warning", "\x1b[1;33m"),
        Level::Fault => ("fault", "\x1b[1;31m"),
    }
}
