//! `[cors]` and what routes say instead: origins that a browser can send, and no `*` where it would not count.

use http::HeaderName;
use http::uri::Authority;

use super::{Desk, access};
use crate::config::excerpt::printable;
use crate::config::raw;
use crate::config::settings::Cors;
use crate::config::shape::At;
use crate::config::value::Text;

/// Which pages of other origins may call; `Some(None)` where nothing is said of it.
pub(super) fn cors(written: Option<&At<raw::Cors>>, desk: &mut Desk<'_>) -> Option<Option<Cors>> {
    let Some(At { value: raw, place }) = written else { return Some(None) };
    if !raw.given.has("origins") {
        let mend = "name them, as in origins = [\"https://app.example.com\"]";
        desk.report.error(*place, "nothing is said of whose pages may call: no `origins`", mend);
    }
    let credentials = raw.credentials.as_ref()?.value;
    let methods = raw.methods.as_ref()?;
    let lists = [Some(methods), raw.headers.as_ref(), raw.expose.as_ref()];
    for star in lists.into_iter().flatten().flat_map(|list| &list.value).filter(is_star) {
        if credentials {
            let reason = "`*` stands for nothing where credentials are sent";
            desk.report.error(star.place, reason, "name each one, or leave `credentials` out");
        }
    }
    let headers = names(&raw.headers.as_ref()?.value, desk);
    let expose = names(&raw.expose.as_ref()?.value, desk);
    let methods = access::methods(&methods.value, desk)?;
    let origins = &raw.origins.as_ref()?.value.0;
    for origin in origins {
        self::origin(origin, credentials, origins.len() == 1, desk);
    }
    let origins = origins.iter().map(|origin| origin.value.0.clone()).collect();
    let max_age = raw.max_age.as_ref()?.value.0;
    Some(Some(Cors { origins, methods, headers: headers?, expose: expose?, credentials, max_age }))
}

fn origin(origin: &At<Text>, credentials: bool, is_alone: bool, desk: &mut Desk<'_>) {
    let text = origin.value.0.as_str();
    match text {
        "*" if credentials => desk.report.error(
            origin.place,
            "every page could act for whoever is logged in: `*` together with `credentials`",
            "list the origins, or leave `credentials` out",
        ),
        "*" if !is_alone => {
            let mend = "leave it out, or the others";
            desk.report.error(origin.place, "`*` is every origin, the others too", mend);
        }
        "*" | "null" => {}
        _ => {
            if let Err(mend) = check(text) {
                let reason = format!("no page has the origin `{}`", printable(text));
                desk.report.error(origin.place, reason, mend);
            }
        }
    }
}

/// Whether a browser could send this: scheme, host and port, as it spells them.
fn check(text: &str) -> Result<(), String> {
    let example =
        "write scheme, host and port, as https://app.example.com or http://localhost:3000";
    let (scheme, authority) = text.split_once("://").ok_or(example)?;
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    if authority.contains('*') {
        return Err("list each host: there are no patterns here".to_owned());
    }
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    if let Some(origin) = text.get(..scheme.len() + 3 + end).filter(|origin| *origin != text) {
        return Err(format!("an origin has no path: write {}", printable(origin)));
    }
    let is_authority = authority.parse::<Authority>().is_ok() && !authority.contains('@');
    if !is_scheme || !is_authority {
        return Err(example.to_owned());
    }
    let lower = text.to_ascii_lowercase();
    let usual = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => "",
    };
    let spelt = lower.strip_suffix(usual).filter(|_| !usual.is_empty()).unwrap_or(&lower);
    if spelt != text {
        return Err(format!("browsers spell it {}", printable(spelt)));
    }
    Ok(())
}

fn names(written: &[At<Text>], desk: &mut Desk<'_>) -> Option<Vec<String>> {
    let mut names = Some(Vec::new());
    for At { value: Text(text), place } in written {
        match HeaderName::try_from(text.as_str()) {
            Ok(name) => names.iter_mut().for_each(|names| names.push(name.as_str().to_owned())),
            Err(_) => {
                let reason = format!("`{}` is no header name", printable(text));
                desk.report.error(*place, reason, "write one such as \"Authorization\", or \"*\"");
                names = None;
            }
        }
    }
    names
}

fn is_star(text: &&At<Text>) -> bool {
    text.value.0 == "*"
}
