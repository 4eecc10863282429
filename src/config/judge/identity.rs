//! `[identity]`: headers that the gateway may fill without harm to the message.

use http::HeaderName;

use super::Desk;
use crate::certificate::Field;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{AuthorizationHeader, Identity};
use crate::config::shape::At;
use crate::config::value::{Authorization, CertificateField, Entries, Text};

/// `[identity]`.
pub(super) fn identity(
    raw: &raw::Identity,
    asks_clients: bool,
    desk: &mut Desk<'_>,
) -> Option<Identity> {
    let headers = headers(raw.headers.as_ref()?, desk);
    let certificate_headers = certificate_headers(raw, &headers, asks_clients, desk)?;
    let authorization = match raw.authorization.as_ref()?.value {
        Authorization::Forward => AuthorizationHeader::Forward,
        Authorization::Remove => AuthorizationHeader::Remove,
    };
    Some(Identity { headers, certificate_headers, authorization })
}

/// What of a client's certificate goes in which header.
fn certificate_headers(
    raw: &raw::Identity,
    others: &[(HeaderName, String)],
    asks_clients: bool,
    desk: &mut Desk<'_>,
) -> Option<Vec<(HeaderName, Field)>> {
    let Some(entries) = &raw.certificate_headers else {
        let defaults = if asks_clients { &CERTIFICATE_HEADERS[..] } else { &[] };
        let named = |(name, field): &(&'static str, Field)| (HeaderName::from_static(name), *field);
        return (!raw.given.has("certificate_headers"))
            .then(|| defaults.iter().map(named).collect());
    };
    if !asks_clients && !entries.value.0.is_empty() {
        let reason =
            "no client is asked for a certificate, so `certificate_headers` are never filled";
        let mend = "add client_ca_file to [server] tls, or leave them out";
        desk.report.warn(entries.place, reason, mend);
    }
    let named = names(entries, "certificate_headers", desk);
    for (name, _) in &named {
        if others.iter().any(|(other, _)| sounds_like(other.as_str(), name.as_str())) {
            let reason = format!("the header `{name}` is filled by `headers` too");
            desk.report.error(entries.place, reason, "name each header once");
        }
    }
    let field = |field: CertificateField| match field {
        CertificateField::Subject => Field::Subject,
        CertificateField::San => Field::San,
        CertificateField::Sha256 => Field::Sha256,
    };
    Some(named.into_iter().map(|(name, value)| (name, field(*value))).collect())
}

/// Header names and the claims that fill them. Faults are reported.
pub(super) fn headers(
    entries: &At<Entries<Text>>,
    desk: &mut Desk<'_>,
) -> Vec<(HeaderName, String)> {
    let named = names(entries, "headers", desk);
    named.into_iter().map(|(name, claim)| (name, claim.0.clone())).collect()
}

/// The names of headers, each with what fills it. Faults are reported.
fn names<'e, T>(
    entries: &'e At<Entries<T>>,
    key: &str,
    desk: &mut Desk<'_>,
) -> Vec<(HeaderName, &'e T)> {
    if entries.value.0.len() > MOST_HEADERS {
        let reason = format!("`{key}` has {} entries", entries.value.0.len());
        desk.report.error(entries.place, reason, format!("name at most {MOST_HEADERS}"));
    }
    let mut headers: Vec<(HeaderName, &T)> = Vec::new();
    for (name, filling) in &entries.value.0 {
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
        headers.push((header, &filling.value));
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

/// Where the upstream learns of a client's certificate, unless the file says otherwise.
const CERTIFICATE_HEADERS: [(&str, Field); 3] = [
    ("x-client-cert-subject", Field::Subject),
    ("x-client-cert-san", Field::San),
    ("x-client-cert-sha256", Field::Sha256),
];
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
