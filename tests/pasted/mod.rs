//! Runs a program that prints commands and then serves, and pastes what it printed into a shell, as its reader would.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::thread;

/// Pastes everything up to the line with "Ctrl-C" and yields that text with the statuses of its `curl`s, in order. The
/// program must end well when it is told to.
pub(crate) fn paste(program: &mut Command) -> (String, Vec<u16>) {
    let mut running = program
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .expect("the program");
    let mut errors = running.stderr.take().expect("standard error");
    let errors = thread::spawn(move || {
        let mut text = String::new();
        let _ = errors.read_to_string(&mut text);
        text
    });
    let mut output = BufReader::new(running.stdout.take().expect("standard output"));
    let mut printed = String::new();
    while !printed.contains("Ctrl-C") {
        if output.read_line(&mut printed).expect("text") == 0 {
            let ended = running.wait().expect("its end");
            panic!("ended with {ended}: {printed}{}", errors.join().expect("what it said"));
        }
    }

    let shell =
        Command::new("bash").args(["-c", &format!("{NOTING}{printed}")]).output().expect("bash");
    let noted = String::from_utf8_lossy(&shell.stderr).into_owned();
    let statuses =
        noted.lines().filter_map(|line| line.strip_prefix("HTTP ")?.parse().ok()).collect();

    let group = format!("-{}", running.id());
    assert!(Command::new("kill").args(["-TERM", "--", &group]).status().expect("kill").success());
    let ended = running.wait().expect("its end");
    let said = errors.join().expect("what it said");
    assert!(ended.success(), "told to stop, it ended with {ended}: {said}");
    assert!(shell.status.success(), "{printed}\n{noted}\n{said}");
    (printed, statuses)
}

/// A `curl` that tells each status.
const NOTING: &str = r#"
set -o pipefail
curl() { command curl --silent --max-time 30 "$@" --write-out '%{stderr}HTTP %{http_code}\n'; }
"#;
