//! `[store]`: what keeps reference tokens and revocations.

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::raw;
use crate::config::settings::StoreUrl;

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

const SCHEMES: [&str; 2] = ["memory", "file"];
const USE: &str = "write \"memory:\", or \"file:/var/lib/tollgate\" with a folder of your own";
