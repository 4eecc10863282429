//! `Location` of an answer: where it names the upstream, the client must be told of us (RFC 9110 §10.2.2), and what
//! was put before the path, or in its place, is taken back as far as that can be told.

use http::{HeaderValue, header};

use crate::config::Origin;
use crate::message::target::is_authority;
use crate::message::{Fields, Request, Rewritten};

/// Rewrites `Location` if it names one of `origins`, or a path of `answered`, which gave the answer.
pub(super) fn rewrite<'o>(
    headers: &mut Fields,
    request: &Request,
    rewritten: Option<&Rewritten>,
    answered: &Origin,
    origins: impl Iterator<Item = &'o Origin>,
) {
    let Some(text) = headers.get(header::LOCATION).and_then(|value| value.to_str().ok()) else {
        return;
    };
    let ours = if text.starts_with('/') && !text.starts_with("//") {
        match back(text, answered, rewritten) {
            path if path == text => return,
            path => path,
        }
    } else {
        let mut origins = origins;
        let Some((path, origin)) =
            origins.find_map(|origin| path_of(text, origin).map(|path| (path, origin)))
        else {
            return;
        };
        let path = back(path, origin, rewritten);
        match asked_host(request) {
            Some(host) => format!("{}://{host}{path}", asked_scheme(request)),
            None if path.is_empty() => "/".to_owned(),
            None => path,
        }
    };
    if let Ok(value) = HeaderValue::from_str(&ours) {
        headers.insert(header::LOCATION, value);
    }
}

/// What follows the origin in a URL that names it.
fn path_of<'t>(text: &'t str, origin: &Origin) -> Option<&'t str> {
    let scheme = if origin.https { "https://" } else { "http://" };
    strip_prefix_ignoring_case(text, scheme)
        .and_then(|rest| strip_prefix_ignoring_case(rest, &origin.authority))
        .filter(|path| path.is_empty() || path.starts_with(['/', '?', '#']))
}

/// The path as the client knows it.
fn back(path: &str, origin: &Origin, rewritten: Option<&Rewritten>) -> String {
    let path = match path.strip_prefix(origin.base_path.as_str()) {
        Some(rest) if rest.is_empty() || rest.starts_with(['/', '?', '#']) => rest,
        _ => return path.to_owned(), // not below what was put before it: nobody can ask for it here
    };
    match rewritten.and_then(|rewritten| rewritten.back(path)) {
        Some(theirs) => theirs,
        None => path.to_owned(),
    }
}

/// The scheme by which the client came, as a trusted proxy before us says.
fn asked_scheme(request: &Request) -> &'static str {
    let told = believed(request, "x-forwarded-proto");
    match told {
        Some(told) if told.eq_ignore_ascii_case("https") => "https",
        Some(told) if told.eq_ignore_ascii_case("http") => "http",
        _ if request.peer.https => "https",
        _ => "http",
    }
}

/// The authority that the client asked, as a trusted proxy before us says.
fn asked_host(request: &Request) -> Option<&str> {
    believed(request, "x-forwarded-host")
        .filter(|host| is_authority(host.as_bytes()))
        .or_else(|| request.host.as_ref().and_then(|host| host.to_str().ok()))
}

/// The first word of a field that only trusted peers may say.
fn believed<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let value = request.headers.get(name).filter(|_| request.peer.trusted)?;
    value.to_str().ok()?.split(',').next().map(str::trim)
}

fn strip_prefix_ignoring_case<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (front, rest) = text.split_at_checked(prefix.len())?;
    front.eq_ignore_ascii_case(prefix).then_some(rest)
}
