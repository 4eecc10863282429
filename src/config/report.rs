//! Collects what is wrong while the reading goes on, so that everything is told at once.

use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::document::Source;
use super::fault::{Fault, Faults, Severity};
use super::node::{Node, Place, Value};
use super::seen::SeenFile;

/// What was found so far.
#[derive(Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    files: Vec<SeenFile>,
}

struct Finding {
    severity: Severity,
    place: Place,
    /// The other place, where two contradict each other.
    other: Option<Place>,
    reason: String,
    mend: String,
}

impl Report {
    /// The content of a file up to one byte more than `most`. That it was looked at is noted, whatever comes of it.
    pub(super) fn read_file(&mut self, path: &Path, most: u64) -> io::Result<Zeroizing<Vec<u8>>> {
        let (seen, content) = SeenFile::read(path, most);
        if !self.files.contains(&seen) {
            self.files.push(seen);
        }
        content
    }

    /// The files that were looked at.
    pub(super) fn take_files(&mut self) -> Vec<SeenFile> {
        std::mem::take(&mut self.files)
    }

    /// Something that must be mended. Neither text may hold a secret.
    pub(super) fn error(
        &mut self,
        place: Place,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Error, place, None, reason.into(), mend.into());
    }

    /// The same with a second place: `reason` is continued with it.
    pub(super) fn clash(
        &mut self,
        place: Place,
        other: Place,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Error, place, Some(other), reason.into(), mend.into());
    }

    /// Something that somebody should look at.
    pub(super) fn warn(
        &mut self,
        place: Place,
        reason: impl Into<String>,
        mend: impl Into<String>,
    ) {
        self.add(Severity::Warning, place, None, reason.into(), mend.into());
    }

    /// A value of another type than `expected`, which begins with an article.
    pub(super) fn wrong_type(&mut self, node: &Node, expected: &str) {
        let reason = format!("`{}` must be {expected}, not {}", node.name(), node.kind());
        let is_text = expected.starts_with("text") || expected.starts_with("an address");
        let mend = match &node.value {
            Value::Integer(_) | Value::Boolean(_) | Value::Float(_) if is_text => {
                "write it between quotes".to_owned()
            }
            Value::Table(_) if expected.starts_with("a list of tables") => {
                format!("write [[{0}]] instead of [{0}]", node.path)
            }
            _ => format!("write {expected}"),
        };
        self.error(node.place, reason, mend);
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Place,
        other: Option<Place>,
        reason: String,
        mend: String,
    ) {
        self.findings.push(Finding { severity, place, other, reason, mend });
    }

    /// Whether nothing was found that must be mended.
    pub(super) fn is_clean(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Warning)
    }

    /// Everything found, with its excerpts: errors first, in the order of the file.
    pub(super) fn finish(mut self, source: &Source) -> Faults {
        self.findings.sort_by_key(|finding| {
            let at = match finding.place {
                Place::File { start, .. } => (0, start),
                Place::End => (1, 0),
                Place::Given(number) => (2, number),
                Place::Default => (3, 0),
            };
            (finding.severity == Severity::Warning, at)
        });
        let tell = |finding: Finding| {
            let mut reason = finding.reason;
            if let Some((other, _)) = finding.other.and_then(|other| source.locate(other)) {
                reason += &format!(" {other}");
            }
            let fault = Fault::new(finding.severity, reason, finding.mend);
            match source.locate(finding.place) {
                Some((place, excerpt)) => fault.at(place, excerpt),
                None => fault,
            }
        };
        let mut faults: Vec<Fault> = self.findings.into_iter().map(tell).collect();
        faults.dedup();
        Faults::new(faults)
    }
}
