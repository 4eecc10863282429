//! The ways in which somebody behind the gateway could read a path. What is refused for every request
//! ([`crate::message::Target`]) does not come here: encoded slashes, backslashes, controls, dot segments.
//!
//! Invariant: for a path without `%`, `;`, empty segments, and segments that end with a dot, there is one reading.

use std::borrow::Cow;

/// A path that too many could read in too many ways.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ambiguous;

/// A path, decoded, and what else it could be taken for.
#[derive(Debug)]
pub(super) struct Readings<'a> {
    /// Decoded once; segments as they came.
    pub(super) plain: Cow<'a, [u8]>,
    /// As readers have it who do more: merge slashes, cut parameters off, decode again, trim blanks and dots.
    pub(super) others: Vec<Vec<u8>>,
}

/// Every reading of `path`, which begins with a slash.
///
/// # Errors
/// [`Ambiguous`] if more than one thing is odd about it, or if decoding it again makes a slash, a dot segment or a
/// control character.
pub(super) fn readings(path: &[u8]) -> Result<Readings<'_>, Ambiguous> {
    let is_plain = !path.iter().any(|byte| matches!(byte, b'%' | b';'))
        && memchr::memmem::find(path, b"//").is_none()
        && memchr::memmem::find(path, b"./").is_none()
        && path.last() != Some(&b'.');
    if is_plain {
        return Ok(Readings { plain: Cow::Borrowed(path), others: Vec::new() });
    }
    let body = path.strip_prefix(b"/").unwrap_or(path);
    let body = body.strip_suffix(b"/").unwrap_or(body);
    let raw: Vec<&[u8]> = body.split(|byte| *byte == b'/').collect();
    let plain: Vec<Vec<u8>> = raw.iter().map(|segment| decoded(segment)).collect();
    let mut others = Vec::new();
    let mut oddities = 0;

    if plain.len() > 1 && plain.iter().any(Vec::is_empty) {
        oddities += 1;
        let merged: Vec<&[u8]> =
            plain.iter().map(Vec::as_slice).filter(|segment| !segment.is_empty()).collect();
        if path.starts_with(b"//") {
            // `//host/path` is a URL without a scheme to some
            others.push(joined(merged.get(1..).unwrap_or_default()));
        }
        others.push(joined(&merged));
    }
    if plain.iter().any(|segment| segment.contains(&b';')) {
        oddities += 1;
        let early: Vec<Vec<u8>> =
            raw.iter().map(|segment| decoded(before(segment, b";"))).collect();
        let late: Vec<&[u8]> = plain.iter().map(|segment| before(segment, b";")).collect();
        for cut in [early.iter().map(Vec::as_slice).collect(), late] {
            others.push(joined(&cut));
            let whole: Vec<&[u8]> = cut.into_iter().filter(|segment| !segment.is_empty()).collect();
            others.push(joined(&whole));
        }
    }
    if plain.iter().any(|segment| is_encoded(segment)) {
        oddities += 1;
        let again: Vec<Vec<u8>> = plain.iter().map(|segment| decoded_fully(segment)).collect();
        if again.iter().any(|segment| is_special(segment) || is_loose(segment)) {
            return Err(Ambiguous);
        }
        others.push(joined(&again));
    }
    if plain.iter().any(|segment| is_loose(segment)) {
        oddities += 1;
        let mut kept = Vec::new();
        for segment in &plain {
            let whole = before(segment, b"?#");
            kept.push(trimmed(whole));
            if whole.len() < segment.len() {
                break; // a reader who decodes first sees a query here
            }
        }
        others.push(joined(&kept));
        let whole: Vec<&[u8]> = kept.into_iter().filter(|segment| !segment.is_empty()).collect();
        others.push(joined(&whole));
    }
    if oddities > 1 {
        return Err(Ambiguous);
    }
    let plain = joined(&plain);
    others.retain(|other| *other != plain);
    others.dedup();
    Ok(Readings { plain: Cow::Owned(plain), others })
}

fn decoded(segment: &[u8]) -> Vec<u8> {
    percent_encoding::percent_decode(segment).collect()
}

/// Decoded until nothing is left to decode; each turn makes it shorter.
fn decoded_fully(segment: &[u8]) -> Vec<u8> {
    let mut segment = segment.to_vec();
    while is_encoded(&segment) {
        segment = decoded(&segment);
    }
    segment
}

/// Whether there is a valid percent-encoding in it.
fn is_encoded(segment: &[u8]) -> bool {
    segment.windows(3).any(|three| {
        matches!(three, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

fn is_special(segment: &[u8]) -> bool {
    let odd =
        |byte: &u8| byte.is_ascii_control() || matches!(byte, b'/' | b'\\' | b';' | b'?' | b'#');
    let overlong = |byte: &u8| matches!(byte, 0xC0 | 0xC1);
    segment == b"." || segment == b".." || segment.iter().any(|byte| odd(byte) || overlong(byte))
}

/// Whether some file systems and frameworks would cut something off it.
fn is_loose(segment: &[u8]) -> bool {
    trimmed(segment).len() != segment.len() || before(segment, b"?#").len() != segment.len()
}

/// Without blanks around it, and without dots at its end.
fn trimmed(segment: &[u8]) -> &[u8] {
    let mut segment = segment.trim_ascii();
    while let [rest @ .., b'.' | b' '] = segment {
        segment = rest;
    }
    segment
}

/// What stands before the first of these bytes.
fn before<'a>(segment: &'a [u8], marks: &[u8]) -> &'a [u8] {
    let end = segment.iter().position(|byte| marks.contains(byte));
    segment.get(..end.unwrap_or(segment.len())).unwrap_or_default()
}

fn joined<S: AsRef<[u8]>>(segments: &[S]) -> Vec<u8> {
    let mut path = Vec::new();
    for segment in segments {
        path.push(b'/');
        path.extend_from_slice(segment.as_ref());
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::{Ambiguous, readings};

    fn all(path: &str) -> Vec<String> {
        let readings = readings(path.as_bytes()).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut all = vec![text(&readings.plain)];
        all.extend(readings.others.iter().map(|other| text(other)));
        all
    }

    #[test]
    fn a_path_without_oddities_has_one_reading() {
        for path in ["/", "/a/b", "/a/b/", "/a.b/c", "/~x/-_", "/{x}|^`"] {
            assert_eq!(all(path), [path]);
        }
        assert_eq!(all("/%70rotected/%C3%A9"), ["/protected/é"]);
    }

    #[test]
    fn an_odd_path_has_every_reading_that_somebody_could_have() {
        assert_eq!(all("//a/b"), ["//a/b", "/b", "/a/b"]);
        assert_eq!(all("/a//b/"), ["/a//b", "/a/b"]);
        assert_eq!(all("/a;x=1/b"), ["/a;x=1/b", "/a/b"]);
        assert_eq!(all("/;x/a"), ["/;x/a", "//a", "/a", "//a", "/a"]);
        assert_eq!(all("/%2570"), ["/%70", "/p"]);
        assert_eq!(all("/%252570"), ["/%2570", "/p"]);
        assert_eq!(all("/a%20/b"), ["/a /b", "/a/b"]);
        assert_eq!(all("/a./b"), ["/a./b", "/a/b"]);
        assert_eq!(all("/a%3Fb/c"), ["/a?b/c", "/a"]);
        assert_eq!(all("/100%25/b"), ["/100%/b"]);
    }

    #[test]
    fn two_oddities_at_once_or_something_special_behind_two_encodings_is_refused() {
        for path in
            ["//a;b", "/a//b%2570", "/%252f", "/%255c", "/%2500", "/%25%32%65%25%32%65", "/%253b"]
        {
            assert_eq!(readings(path.as_bytes()).unwrap_err(), Ambiguous, "{path}");
        }
    }
}
