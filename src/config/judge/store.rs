//! `[store]`: what keeps reference tokens and revocations.

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{StoreUrl, Token};

/// `[store]`.
pub(super) fn store(raw: &raw::Store, desk: &mut Desk<'_>) -> Option<StoreUrl> {
    let url = raw.url.as_ref()?;
    let text = url.value.0.as_str();
    if text == "memory:" {
        return Some(StoreUrl::Memory);
    }
    let path = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:"));
    let (reason, mend) = match path {
        // `file://host/path` would name another machine.
        Some(path) if text.starts_with("file://") && !path.starts_with('/') => {
            ("`url` names a host, and a file is on this machine".to_owned(), USE.to_owned())
        }
        Some("") => ("`url` names no folder".to_owned(), USE.to_owned()),
        Some(path) => return Some(StoreUrl::File(desk.folder.join(path))),
        None => {
            // What is before the colon is a word; what is after it may be a password.
            let scheme = text.split(':').next().unwrap_or_default();
            let mend = nearest(scheme, SCHEMES)
                .map_or_else(|| USE.to_owned(), |near| format!("did you mean `{near}:`?"));
            (format!("`url` is of an unknown kind, `{}`", printable(scheme)), mend)
        }
    };
    desk.report.error(url.place, reason, mend);
    None
}

/// What is kept in memory alone is forgotten when the process ends: a reference token is void then, which does no harm,
/// and a revoked JWT is good again, which does.
pub(super) fn whether_it_forgets(raw: &raw::Root, token: &Token, desk: &mut Desk<'_>) {
    if token.endpoints.revoke.is_none() {
        return;
    }
    let endpoints = raw.token.as_ref().and_then(|token| token.value.endpoints.as_ref());
    let revoke = endpoints.and_then(|endpoints| endpoints.value.revoke.as_ref());
    let place = revoke.map_or(Place::End, |revoke| revoke.place);
    desk.report.warn(
        place,
        "revoked JWTs are good again after a restart: revocations are kept in memory alone",
        "add [store] with url = \"file:/var/lib/tollgate\"",
    );
}

const SCHEMES: [&str; 2] = ["memory", "file"];
const USE: &str = "write \"memory:\", or \"file:/var/lib/tollgate\" with a folder of your own";
