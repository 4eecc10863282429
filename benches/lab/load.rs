//! One run of a load generator against one port: wrk, or h2load for HTTP/2.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use super::folder::Folder;
use super::process::run;
use super::tools::Tool;
use super::{Result, Trouble, While as _};

/// How much longer than asked a load generator may take; it writes its requests down first.
const SLACK: Duration = Duration::from_secs(60);

/// What is spoken with the peer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Front {
    Clear,
    Tls,
    /// HTTP/2 over TLS, with this many requests at once on a connection.
    Http2 {
        streams: usize,
    },
}

/// What is asked, how often at once and for how long.
#[derive(Clone, Debug)]
pub struct Load {
    pub front: Front,
    pub port: u16,
    pub path: String,
    /// Of a POST; a GET has none.
    pub body: Option<PathBuf>,
    /// What that is.
    pub content_type: &'static str,
    /// A file with a token on each line, to be sent in turn.
    pub tokens: Option<PathBuf>,
    pub connections: usize,
    pub threads: usize,
    /// Whether each request has a connection of its own.
    pub close: bool,
    pub seconds: u32,
    /// Whether every answer is to be a refusal.
    pub refused: bool,
}

impl Default for Load {
    /// GET of 1 KiB on 64 kept connections for a second.
    fn default() -> Self {
        Self {
            front: Front::Clear,
            port: 0,
            path: "/1k".to_owned(),
            body: None,
            content_type: "application/json",
            tokens: None,
            connections: 64,
            threads: 1,
            close: false,
            seconds: 1,
            refused: false,
        }
    }
}

/// What the load generator saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    pub requests: u64,
    pub seconds: f64,
    /// Answers with a status that should not be, and requests without an answer.
    pub bad: u64,
    /// Microseconds.
    pub p50: f64,
    pub p99: f64,
}

impl Load {
    pub fn run(&self, folder: &Folder, cores: &[usize]) -> Result<Seen> {
        match self.front {
            Front::Clear | Front::Tls => self.wrk(folder, cores),
            Front::Http2 { streams } => self.h2load(streams, folder, cores),
        }
    }

    fn wrk(&self, folder: &Folder, cores: &[usize]) -> Result<Seen> {
        let script = folder.write("wrk.lua", include_str!("wrk.lua"))?;
        let named = |file: &Option<PathBuf>| {
            file.as_deref().map_or("-".to_owned(), |file| file.display().to_string())
        };
        let method = if self.body.is_some() { "POST" } else { "GET" };
        let command = [
            Tool::Wrk.path()?,
            format!("-t{}", self.threads),
            format!("-c{}", self.connections),
            format!("-d{}s", self.seconds),
            "-s".to_owned(),
            script.display().to_string(),
            self.url(),
            "--".to_owned(),
            method.to_owned(),
            self.path.clone(),
            named(&self.body),
            named(&self.tokens),
            u8::from(self.close).to_string(),
            self.content_type.to_owned(),
        ];
        let said = run(&command, cores, &folder.file("load"), self.limit())?;
        let line = said.lines().find_map(|line| line.strip_prefix("RESULT "));
        let found: Value = line
            .and_then(|line| serde_json::from_str(line).ok())
            .ok_or_else(|| Trouble::new(format!("wrk said no result: {said}")))?;
        let number = |key: &str| found.get(key).and_then(Value::as_f64).unwrap_or(0.0);
        let whole = |key: &str| found.get(key).and_then(Value::as_u64).unwrap_or(0);
        let (requests, refusals) = (whole("requests"), whole("status"));
        let wrong = if self.refused { requests.saturating_sub(refusals) } else { refusals };
        let lost: u64 = ["connect", "read", "write", "timeout"].into_iter().map(whole).sum();
        Ok(Seen {
            requests,
            seconds: number("us") / 1e6,
            bad: wrong + lost,
            p50: number("p50"),
            p99: number("p99"),
        })
    }

    fn h2load(&self, streams: usize, folder: &Folder, cores: &[usize]) -> Result<Seen> {
        let log = folder.file("h2load.log");
        let _ = std::fs::remove_file(&log);
        let command = [
            Tool::H2load.path()?,
            "-t1".to_owned(),
            format!("-c{}", self.connections),
            format!("-m{streams}"),
            format!("-D{}", self.seconds),
            format!("--log-file={}", log.display()),
            self.url(),
        ];
        let said = run(&command, cores, &folder.file("load"), self.limit())?;
        let strange = || Trouble::new(format!("h2load said no result: {said}"));
        // requests: 5 total, 5 started, 5 done, 5 succeeded, 0 failed, 0 errored, 0 timeout
        let counts = said.lines().find_map(|line| line.strip_prefix("requests: "));
        let count = |what: &str| -> Option<u64> {
            counts?.split(", ").find_map(|part| part.strip_suffix(what)?.trim().parse().ok())
        };
        let (done, failed) = (count("done").ok_or_else(strange)?, count("failed").unwrap_or(0));
        let (p50, p99) = percentiles(&log)?;
        Ok(Seen { requests: done, seconds: f64::from(self.seconds), bad: failed, p50, p99 })
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(u64::from(self.seconds)) + SLACK
    }

    fn url(&self) -> String {
        let scheme = match self.front {
            Front::Clear => "http",
            Front::Tls | Front::Http2 { .. } => "https",
        };
        format!("{scheme}://127.0.0.1:{}{}", self.port, self.path)
    }
}

/// Of h2load's log: when it began, the status, how many microseconds it took.
fn percentiles(log: &Path) -> Result<(f64, f64)> {
    let text = std::fs::read_to_string(log).during(log.display())?;
    let took = |line: &str| line.split('\t').nth(2)?.trim().parse::<u64>().ok();
    let mut times: Vec<u64> = text.lines().filter_map(took).collect();
    times.sort_unstable();
    let at = |part: usize| times.get(times.len() * part / 100).map_or(0.0, |time| *time as f64);
    Ok((at(50), at(99)))
}
