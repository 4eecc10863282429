//! `rewrite` of a route: the path that the upstream gets instead, taken apart into text and parameters.

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::pattern::{PathPattern, Segment};
use crate::config::settings::{Rewrite, RewritePart};
use crate::config::shape::At;
use crate::config::value::Text;

/// The parts of `rewrite`, whose parameters are those of `path`.
pub(super) fn rewrite(
    written: &At<Text>,
    path: Option<&PathPattern>,
    desk: &mut Desk<'_>,
) -> Option<Rewrite> {
    let path = path?;
    match parts(&written.value.0, path) {
        Ok(parts) => Some(Rewrite { text: written.value.0.clone(), parts }),
        Err((reason, mend)) => {
            let text = printable(&written.value.0);
            desk.report.error(written.place, format!("the rewrite `{text}` {reason}"), mend);
            None
        }
    }
}

fn parts(text: &str, path: &PathPattern) -> Result<Vec<RewritePart>, (String, String)> {
    let fail = |reason: &str, mend: &str| Err((reason.to_owned(), mend.to_owned()));
    if !text.starts_with('/') {
        return fail("does not begin with /", "write it as in \"/v2/{rest}\"");
    }
    if text.len() > LONGEST {
        return fail("is too long", "a rewrite has at most 1024 bytes");
    }
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((plain, inner)) = rest.split_once('{') {
        let Some((name, after)) = inner.split_once('}') else {
            return fail("has a { without its }", "a parameter is written {name}");
        };
        if !plain.is_empty() {
            parts.push(RewritePart::Text(plain.to_owned()));
        }
        parts.push(RewritePart::Segment(parameter(name, path)?));
        rest = after;
    }
    if !rest.is_empty() {
        parts.push(RewritePart::Text(rest.to_owned()));
    }
    let plain = |part: &RewritePart| match part {
        RewritePart::Text(text) => text.bytes().all(is_plain),
        RewritePart::Segment(_) => true,
    };
    if !parts.iter().all(plain) {
        let mend = "use letters, digits, - . _ ~ and /, and parameters such as {rest}";
        return fail("has characters that may be read in two ways", mend);
    }
    let is_dots = |segment: &str| segment == "." || segment == "..";
    if text.split('/').any(is_dots) || text.contains("//") {
        let mend = "write the path as the upstream sees it";
        return fail("has a segment that is `.`, `..` or empty", mend);
    }
    Ok(parts)
}

/// The number of the segment that this parameter stands for.
fn parameter(name: &str, path: &PathPattern) -> Result<usize, (String, String)> {
    let bare = name.strip_prefix('*').unwrap_or(name);
    let is_named = |segment: &Segment| match segment {
        Segment::Literal(_) => false,
        Segment::Param(known) | Segment::Rest(known) => known == bare,
    };
    if let Some(at) = path.segments.iter().position(is_named) {
        return Ok(at);
    }
    let reason = format!("has `{{{}}}`, and the path has no such parameter", printable(name));
    let mend = match nearest(bare, path.names()) {
        Some(near) => format!("did you mean {{{near}}}?"),
        None => match path.names().next() {
            Some(_) => {
                let names: Vec<String> = path.names().map(|name| format!("{{{name}}}")).collect();
                format!("the path has {}", names.join(", "))
            }
            None => "give the path one, as in \"/orders/{*rest}\"".to_owned(),
        },
    };
    Err((reason, mend))
}

const fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'/' | b'-'
                | b'.'
                | b'_'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'+'
                | b','
                | b'='
                | b':'
                | b'@'
        )
}

const LONGEST: usize = 1_024;
