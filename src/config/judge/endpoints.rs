//! `[token.endpoints]`: what of the upstream's space is the gateway's own, and under which URLs it is known outside.

use http::Uri;

use super::Desk;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{Endpoints, Metadata, Resource};
use crate::config::shape::At;
use crate::config::value::Text;

/// `[token.endpoints]`, beside the token endpoint at `token_path`.
pub(super) fn endpoints(
    raw: &raw::Token,
    token_path: Option<&str>,
    desk: &mut Desk<'_>,
) -> Option<Endpoints> {
    let endpoints = &raw.endpoints.as_ref()?.value;
    let mut taken: Vec<(String, &'static str, Place)> = Vec::new();
    if let (Some(path), Some(written)) = (token_path, &raw.path) {
        taken.push((path.to_owned(), "path", written.place));
    }
    let mut read = |key: &'static str, written: &Option<At<Text>>| {
        let Some(written) = written else { return Some(None) };
        let path = path(key, written, desk)?;
        if let Some((_, other, first)) = taken.iter().find(|(held, ..)| *held == path) {
            let reason = format!("`{key}` is the same as `{other}`; the latter stands at");
            desk.report.clash(
                written.place,
                *first,
                reason,
                "give each endpoint a path of its own",
            );
        }
        if path.starts_with(WELL_KNOWN) {
            let reason = format!("`{key}` is in the space of well-known paths");
            desk.report.error(written.place, reason, "choose another path, such as /auth/…");
        }
        taken.push((path.clone(), key, written.place));
        Some(Some(path))
    };
    let jwks = read("jwks", &endpoints.jwks);
    let introspect = read("introspect", &endpoints.introspect);
    let revoke = read("revoke", &endpoints.revoke);
    let metadata = match &endpoints.metadata {
        Some(on) if on.value => Some(metadata(raw, on.place, desk)?),
        Some(_) | None => None,
    };
    Some(Endpoints { jwks: jwks?, introspect: introspect?, revoke: revoke?, metadata })
}

/// A path that every server reads alike.
pub(super) fn path(key: &str, path: &At<Text>, desk: &mut Desk<'_>) -> Option<String> {
    let text = &path.value.0;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte);
    let odd_segment = |segment: &str| matches!(segment, "" | "." | "..");
    let good = text.len() <= LONGEST_PATH
        && text.strip_prefix('/').is_some_and(|rest| !rest.split('/').any(odd_segment))
        && text.bytes().all(is_plain);
    if !good {
        let reason = format!(
            "`{key}` is no plain path: it begins with / and has letters, digits and - . _ ~ between slashes"
        );
        let name = match key {
            "path" => "token",
            FORWARD_AUTH => "verify",
            other => other,
        };
        desk.report.error(path.place, reason, format!("write a path such as \"/auth/{name}\""));
    }
    good.then(|| text.clone())
}

/// The URL of the token endpoint, if the issuer is one.
pub(super) fn url_of(raw: &raw::Token, path: Option<&str>) -> Option<String> {
    let (origin, _) = split(&raw.issuer.as_ref()?.value.0)?;
    Some(format!("{origin}{}", path?))
}

fn metadata(raw: &raw::Token, place: Place, desk: &mut Desk<'_>) -> Option<Metadata> {
    let issuer = raw.issuer.as_ref()?;
    let Some((origin, path)) = split(&issuer.value.0).filter(|(origin, _)| is_private(origin))
    else {
        desk.report.error(
            issuer.place,
            format!("`metadata` needs an issuer that is an https URL, and `{}` is none", printable(&issuer.value.0)),
            "write the URL under which clients know the gateway, without query and fragment; http only on loopback; or leave `metadata` out",
        );
        return None;
    };
    let mut resources: Vec<Resource> = Vec::new();
    for audience in &raw.audience.as_ref()?.value.0 {
        let identifier = &audience.value.0;
        let url = split(identifier).filter(|(origin, _)| is_private(origin));
        let Some((origin, path)) = url else { continue };
        let path = format!("{RESOURCE}{path}");
        if resources.iter().any(|resource| resource.path == path) {
            desk.report.warn(
                audience.place,
                "another audience has the same path, so this one has no metadata of its own",
                "give each audience that is a URL a path of its own, or do without",
            );
            continue;
        }
        let url = format!("{origin}{path}");
        resources.push(Resource { identifier: identifier.clone(), path, url });
    }
    if resources.is_empty() {
        desk.report.warn(
            place,
            "no audience is an https URL, so there is no metadata of a protected resource (RFC 9728)",
            "make the URL of the API an audience",
        );
    }
    Some(Metadata { server_path: format!("{SERVER}{path}"), origin, resources })
}

/// Origin and path of an http or https URL without user, query and fragment; a path of `/` is none.
fn split(url: &str) -> Option<(String, String)> {
    if url.contains(['#', '?', '@']) {
        return None;
    }
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str().filter(|scheme| matches!(*scheme, "http" | "https"))?;
    let origin = format!("{scheme}://{}", uri.authority()?);
    Some((origin, uri.path().trim_end_matches('/').to_owned()))
}

/// Nobody in between can read or change what is said there: https, or http on loopback.
fn is_private(origin: &str) -> bool {
    let Some(authority) = origin.strip_prefix("http://") else { return true };
    let Ok(uri) = authority.parse::<http::uri::Authority>() else { return false };
    let host = uri.host().trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// What `[forward_auth]`'s is called.
pub(super) const FORWARD_AUTH: &str = "forward_auth.path";
const LONGEST_PATH: usize = 256;
const WELL_KNOWN: &str = "/.well-known/";
/// RFC 8414 §3
const SERVER: &str = "/.well-known/oauth-authorization-server";
/// RFC 9728 §3
const RESOURCE: &str = "/.well-known/oauth-protected-resource";
