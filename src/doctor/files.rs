//! Who may read the secrets, and who may change what the gateway believes.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use super::{Finding, Level, Patient};
use crate::config::StoreUrl;

/// Every file of the configuration, and the store.
pub(super) fn look(patient: &Patient<'_>, findings: &mut Vec<Finding>) {
    let before = findings.len();
    for file in patient.files {
        judge(file.path(), findings);
    }
    if let StoreUrl::File(folder) = &patient.settings.store {
        judge(folder, findings);
    }
    if findings.len() == before {
        let found = match patient.files.len() {
            0 => "the configuration comes from the environment".to_owned(),
            1 => "nobody but its owner may change the configuration".to_owned(),
            count => format!("the {count} files of the configuration are closed to other users"),
        };
        findings.push(Finding::new(Level::Ok, CHECK, found));
    }
}

fn judge(path: &Path, findings: &mut Vec<Finding>) {
    let shown = path.display();
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(fault) => {
            let found = format!("{shown} cannot be looked at: {fault}");
            findings.push(Finding::new(Level::Note, CHECK, found));
            return;
        }
    };
    let mode = metadata.permissions().mode();
    if mode & 0o002 != 0 {
        let found =
            format!("every user of this machine may change {shown} (mode {:03o})", mode & 0o777);
        findings.push(Finding::new(Level::Fault, CHECK, found).mend(format!("chmod o-w {shown}")));
    } else if mode & 0o004 != 0 && holds_a_secret(path, &metadata) {
        let found = format!(
            "every user of this machine may read {shown}, which holds a secret (mode {:03o})",
            mode & 0o777
        );
        let mend =
            format!("chmod o-rwx {shown}, and let the gateway's user own it or be of its group");
        findings.push(Finding::new(Level::Fault, CHECK, found).mend(mend));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let Some(around) = folder.and_then(|folder| std::fs::metadata(folder).ok()) else { return };
    let open = around.permissions().mode() & 0o1002 == 0o002; // a sticky folder keeps what is others'
    if open {
        let folder = folder.unwrap_or(Path::new("."));
        let found =
            format!("every user of this machine may replace {shown}: its folder is open to all");
        let mend = format!("chmod o-w {}", folder.display());
        findings.push(Finding::new(Level::Fault, CHECK, found).mend(mend));
    }
}

/// Certificates and public keys are for all to see.
fn holds_a_secret(path: &Path, metadata: &Metadata) -> bool {
    if metadata.is_dir() || metadata.size() > MOST_READ {
        return metadata.is_dir();
    }
    let Ok(bytes) = std::fs::read(path) else { return true };
    let text = zeroize::Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    drop(zeroize::Zeroizing::new(bytes));
    let has_secret_key = |line: &str| {
        let Some((name, value)) = line.split_once('=') else { return false };
        matches!(name.trim(), "key" | "secret" | "client_secret" | "token" | "secret_hash")
            && value.trim_start().starts_with('"')
    };
    if path.extension().is_some_and(|kind| kind == "toml") {
        let inline = |line: &str| line.contains("secret = \"") || line.contains("key = \"");
        return text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .any(|line| has_secret_key(line) || inline(line));
    }
    let is_public = (text.contains("-----BEGIN CERTIFICATE")
        || text.contains("-----BEGIN PUBLIC KEY"))
        && !text.contains("PRIVATE KEY");
    let is_key_set = text.trim_start().starts_with('{') && text.contains("\"keys\"");
    !is_public && !is_key_set
}

const CHECK: &str = "files";
/// No key has more.
const MOST_READ: u64 = 1 << 20;
