//! `[identity]`: headers that the gateway may fill without harm to the message.

use http::HeaderName;

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{AuthorizationHeader, Identity};
use crate::config::shape::At;
use crate::config::value::{Authorization, Entries, Text};

/// `[identity]`.
pub(super) fn identity(raw: &raw::Identity, desk: &mut Desk<'_>) -> Option<Identity> {
    let headers = headers(raw.headers.as_ref()?, desk);
    let authorization = match raw.authorization.as_ref()?.value {
        Authorization::Forward => AuthorizationHeader::Forward,
        Authorization::Remove => AuthorizationHeader::Remove,
    };
    Some(Identity { headers, authorization })
}

/// Header names and the claims that fill them. Faults are reported.
pub(super) fn headers(
    entries: &At<Entries<Text>>,
    desk: &mut Desk<'_>,
) -> Vec<(HeaderName, String)> {
    if entries.value.0.len() > MOST_HEADERS {
        let reason = format!("`headers` has {} entries", entries.value.0.len());
        desk.report.error(entries.place, reason, format!("name at most {MOST_HEADERS}"));
    }
    let mut headers: Vec<(HeaderName, String)> = Vec::new();
    for (name, claim) in &entries.value.0 {
        // Variables cannot have a hyphen in their name.
        let text = match name.place {
            Place::Given(_) => name.value.replace('_', "-"),
            Place::File { .. } | Place::End | Place::Default => name.value.clone(),
        };
        let Ok(header) = HeaderName::try_from(text.as_str()) else {
            let reason = format!("`{}` is no header name", printable(&text));
            desk.report.error(
                name.place,
                reason,
                "use letters, digits and hyphens, as in \"X-Auth-Subject\"",
            );
            continue;
        };
        if is_reserved(header.as_str()) {
            let reason = format!("the header `{}` has a meaning of its own", printable(&text));
            desk.report.error(
                name.place,
                reason,
                "choose another name, such as \"X-Auth-Subject\"",
            );
        }
        if headers.iter().any(|(other, _)| sounds_like(other.as_str(), header.as_str())) {
            let reason = format!("the header `{}` is filled twice", printable(&text));
            desk.report.error(
                name.place,
                reason,
                "name each header once; case, _ and - make no difference",
            );
        }
        headers.push((header, claim.value.0.clone()));
    }
    headers
}

/// Names that steer the connection, frame the message, or that the gateway sets itself.
fn is_reserved(name: &str) -> bool {
    let name = name.replace(['_', '.'], "-");
    RESERVED.contains(&name.as_str())
        || RESERVED_BEGINNINGS.iter().any(|start| name.starts_with(start))
}

/// Many servers read `_` and `.` as `-`.
fn sounds_like(left: &str, right: &str) -> bool {
    left.replace(['_', '.'], "-") == right.replace(['_', '.'], "-")
}

const RESERVED: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "connection",
    "cookie",
    "date",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "max-forwards",
    "origin",
    "range",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-http-method",
    "x-http-method-override",
    "x-request-id",
];
const RESERVED_BEGINNINGS: [&str; 6] =
    ["access-control-", "content-", "if-", "proxy-", "sec-", "x-forwarded-"];

/// Every request carries them all.
const MOST_HEADERS: usize = 32;
