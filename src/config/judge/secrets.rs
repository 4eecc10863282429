//! Secrets as they are written: in the configuration or in a file beside it; and those that are none.

use std::path::Path;

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::shape::At;
use crate::config::value::{FilePath, Hidden};
use crate::secret::Secret;

/// A secret that was found.
pub(super) struct Found {
    pub(super) bytes: Secret<Vec<u8>>,
    pub(super) place: Place,
    /// The key that holds it or names its file.
    pub(super) key: String,
}

/// Where a secret may be written.
pub(super) enum Written<'r> {
    Here(&'r At<Hidden>),
    File(&'r At<FilePath>),
}

/// What came of looking for a secret.
pub(super) enum Search {
    Absent,
    /// Reported already.
    Faulty,
    Found(Found),
}

impl Written<'_> {
    const fn place(&self) -> Place {
        match self {
            Self::Here(at) => at.place,
            Self::File(at) => at.place,
        }
    }
}

/// The one secret among several keys that may hold it. What the environment gives stands over what the file says; two in
/// the same layer contradict each other.
pub(super) fn choose<'k, 'r>(
    written: Vec<(&'k str, Written<'r>)>,
    desk: &mut Desk<'_>,
) -> Option<(&'k str, Written<'r>)> {
    let layer = |place| u8::from(matches!(place, Place::Given(_)));
    let top = written.iter().map(|(_, written)| layer(written.place())).max()?;
    let mut written = written.into_iter().filter(|(_, written)| layer(written.place()) == top);
    let first = written.next()?;
    for (key, other) in written {
        let reason = format!("`{key}` and `{}` exclude each other; the latter stands at", first.0);
        desk.report.clash(other.place(), first.1.place(), reason, "keep one of the two");
    }
    Some(first)
}

/// Reads `key` or `key_file`.
pub(super) fn find(written: Option<(&str, Written<'_>)>, most: u64, desk: &mut Desk<'_>) -> Search {
    match written {
        None => Search::Absent,
        Some((key, Written::Here(at))) => {
            let bytes = Secret::new(at.value.0.as_bytes().to_vec());
            some(bytes, at.place, key, desk)
        }
        Some((key, Written::File(at))) => {
            let Some(bytes) = read_file(&at.value.0, at.place, key, most, desk) else {
                return Search::Faulty;
            };
            some(without_line_end(&bytes), at.place, key, desk)
        }
    }
}

fn some(bytes: Secret<Vec<u8>>, place: Place, key: &str, desk: &mut Desk<'_>) -> Search {
    if bytes.expose().is_empty() {
        let what = if key.ends_with("_file") { "names an empty file" } else { "is empty" };
        let mend = "`tollgate secret` and `tollgate key` make new ones";
        desk.report.error(place, format!("`{key}` {what}"), mend);
        return Search::Faulty;
    }
    Search::Found(Found { bytes, place, key: key.to_owned() })
}

/// The content of a file, its path being relative to the configuration's folder.
pub(super) fn read_file(
    path: &Path,
    place: Place,
    key: &str,
    most: u64,
    desk: &mut Desk<'_>,
) -> Option<Secret<Vec<u8>>> {
    let path = desk.folder.join(path);
    let shown = printable(&path.display().to_string());
    let read = desk
        .report
        .read_file(&path, most)
        .map(|mut bytes| Secret::new(std::mem::take(&mut *bytes)));
    match read {
        Ok(bytes) if u64::try_from(bytes.expose().len()).is_ok_and(|length| length <= most) => {
            Some(bytes)
        }
        Ok(_) => {
            let reason = format!("`{key}` names {shown}, which has more than {most} bytes");
            desk.report.error(place, reason, "name a file that holds this one thing");
            None
        }
        Err(error) => {
            let reason = format!("`{key}` names {shown}, which cannot be read: {}", why(&error));
            desk.report.error(place, reason, mend(&error));
            None
        }
    }
}

/// The reason of the system, without its number.
pub(in crate::config) fn why(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

pub(in crate::config) fn mend(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::NotFound => {
            "create it or correct the path; a relative one begins at the folder of the configuration"
        }
        std::io::ErrorKind::PermissionDenied => "let the user that runs tollgate read it",
        _ => "name a readable file",
    }
}

/// Editors end a file with a line feed that is not part of the secret.
fn without_line_end(bytes: &Secret<Vec<u8>>) -> Secret<Vec<u8>> {
    let all = bytes.expose().as_slice();
    let cut = all.strip_suffix(b"\n").map_or(all, |cut| cut.strip_suffix(b"\r").unwrap_or(cut));
    Secret::new(cut.to_vec())
}

/// Why a text is no secret, if it is one of those that everybody knows.
pub(super) fn placeholder(text: &str) -> Option<&'static str> {
    let mut letters = text.trim().chars();
    let first = letters.next();
    if first.is_some_and(|first| letters.all(|letter| letter == first)) {
        return Some("is one character again and again");
    }
    let text = text.trim();
    let bracketed = [("${", "}"), ("{{", "}}"), ("<", ">"), ("$(", ")")];
    if bracketed.iter().any(|(open, close)| text.starts_with(open) && text.ends_with(close)) {
        return Some("is a template that nothing has filled in");
    }
    let plain: String =
        text.to_lowercase().chars().filter(|letter| letter.is_alphanumeric()).collect();
    let word = plain.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let known = PLACEHOLDERS.contains(&word)
        || PLACEHOLDER_BEGINNINGS.iter().any(|beginning| plain.starts_with(beginning))
        || COMMON_NUMBERS.contains(&plain.as_str())
        || plain.is_empty() && text.chars().count() < SHORTEST_OF_SIGNS;
    known.then_some("is a placeholder that anybody would try first")
}

/// Compared without case, signs and digits at the end.
const PLACEHOLDERS: [&str; 38] = [
    "admin",
    "changeit",
    "changeme",
    "clientsecret",
    "default",
    "demo",
    "dummy",
    "example",
    "examplesecret",
    "fixme",
    "foo",
    "foobar",
    "foobarbaz",
    "hunter",
    "insecure",
    "jwtsecret",
    "key",
    "letmein",
    "mykey",
    "mysecret",
    "none",
    "null",
    "pass",
    "password",
    "placeholder",
    "qwerty",
    "sample",
    "secret",
    "secretkey",
    "signingkey",
    "supersecret",
    "test",
    "testsecret",
    "tbd",
    "todo",
    "token",
    "topsecret",
    "undefined",
];
const PLACEHOLDER_BEGINNINGS: [&str; 11] = [
    "changeme",
    "changethis",
    "putyour",
    "replaceme",
    "replacethis",
    "replacewith",
    "insertyour",
    "yoursecret",
    "yourkey",
    "yourclientsecret",
    "yoursigningkey",
];
const COMMON_NUMBERS: [&str; 4] = ["123456", "12345678", "123456789", "1234567890"];
/// Signs alone stand for "fill in here" when they are this few.
const SHORTEST_OF_SIGNS: usize = 12;

#[cfg(test)]
mod tests {
    use super::placeholder;

    #[test]
    fn placeholders_are_recognised_however_they_are_written() {
        for text in [
            "changeme",
            "CHANGE-ME",
            "change_me_please",
            "secret",
            "Secret123",
            "password",
            "…",
            "...",
            "***",
            "xxxxxxxxxxxxxxxx",
            "REPLACE_ME_WITH_A_SECRET",
            "<secret>",
            "${API_SECRET}",
            "{{ secret }}",
            "your-secret-here",
            "123456",
            "0000000000000000000000000000000000000000",
        ] {
            assert!(placeholder(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_random_secret_is_no_placeholder() {
        for text in [
            "h7Qm2vY0tq8Zp4Xk",
            "correct horse battery staple",
            "secretary-of-state-1850",
            "#!_$%&/()=?*+~-;:@42",
            "passwordless-entry-77",
        ] {
            assert!(placeholder(text).is_none(), "{text}");
        }
    }
}
