//! From what was written to what the program runs on: what one key alone cannot tell is judged here.

mod access;
mod admin;
mod audit;
mod client_keys;
mod clients;
mod cors;
mod endpoints;
mod health;
mod identity;
mod issuers;
mod listeners;
mod rewrite;
mod secrets;
mod store;
mod tls;
mod token;
mod tracing;
mod upstream;

use std::path::Path;

pub(super) use secrets::{mend, why};
pub(super) use upstream::host_and_port;

use super::node::Place;
use super::raw::{self, Root};
use super::report::Report;
use super::settings::{Client, Log, Server, Settings, StoreUrl};
use super::shape::At;
use super::value::{LogFormat, Text};
use super::{excerpt::printable, fault::nearest};

/// What a judgement needs besides the text.
pub(super) struct Desk<'d> {
    /// Where relative paths begin: the folder of the file.
    pub(super) folder: &'d Path,
    /// Seconds since 1970.
    pub(super) now: u64,
    pub(super) report: &'d mut Report,
}

/// The settings; `None` after every fault was reported.
pub(super) fn settings(raw: &Root, desk: &mut Desk<'_>) -> Option<Settings> {
    let server = raw.server.as_ref().and_then(|server| listeners::server(&server.value, desk));
    let admin = raw.admin.as_ref().map(|admin| admin::admin(&admin.value, desk));
    let upstream = match &raw.upstream {
        Some(upstream) => upstream::upstream(&upstream.value, desk),
        None => {
            if !raw.given.has("upstream") {
                upstream::missing(Place::End, desk);
            }
            None
        }
    };
    let upstreams =
        raw.upstreams.as_ref().and_then(|named| upstream::upstreams(&named.value, desk));
    let token = raw.token.as_ref().map(|token| token::token(&token.value, desk));
    let clients = raw.clients.as_ref().and_then(|clients| clients::clients(&clients.value, desk));
    let issuers = raw
        .issuers
        .as_ref()
        .and_then(|issuers| issuers::issuers(&issuers.value, raw.token.as_ref(), desk));
    let asks_clients = raw
        .server
        .as_ref()
        .and_then(|server| server.value.tls.as_ref())
        .is_some_and(|tls| tls.value.0.iter().any(|one| one.value.given.has("client_ca_file")));
    let identity = raw
        .identity
        .as_ref()
        .and_then(|identity| identity::identity(&identity.value, asks_clients, desk));
    let cors = cors::cors(raw.cors.as_ref(), desk);
    let forward_auth = listeners::forward_auth(raw, desk);
    let tracing = tracing::tracing(raw.tracing.as_ref(), desk);
    let audit = audit::audit(raw.audit.as_ref(), desk);
    let store = raw.store.as_ref().and_then(|store| store::store(&store.value, desk));
    let access = raw.access.as_ref().and_then(|access| access::access(&access.value, desk));
    let rate_limit = raw
        .access
        .as_ref()
        .and_then(|access| access::rate_limit(access.value.rate_limit.as_ref(), desk));
    let routes = raw
        .routes
        .as_ref()
        .and_then(|routes| access::routes(&routes.value, access.as_ref(), raw, desk));
    let log = raw.log.as_ref().and_then(|log| self::log(&log.value, desk));
    if let (Some(server), Some(clients)) = (&server, &clients) {
        whether_certificates_are_asked_for(raw, server, clients, desk);
    }
    listeners::apart(raw, upstream.as_ref(), upstreams.as_deref(), desk);
    whether_somebody_can_get_a_token(raw, desk);
    if let (Some(StoreUrl::Memory), Some(Some(token))) = (&store, &token) {
        store::whether_it_forgets(raw, token, desk);
    }
    if !desk.report.is_clean() {
        return None;
    }
    Some(Settings {
        server: server?,
        upstream: upstream?,
        upstreams: upstreams?,
        token: match token {
            Some(token) => Some(token?),
            None => None,
        },
        clients: clients?,
        issuers: issuers?,
        access: access?,
        rate_limit: rate_limit?,
        routes: routes?,
        cors: cors?,
        forward_auth: forward_auth?,
        identity: identity?,
        store: store?,
        admin: match admin {
            Some(admin) => Some(admin?),
            None => None,
        },
        log: log?,
        tracing: tracing?,
        audit: audit?,
        digest: None,
    })
}

/// A client that proves itself by a certificate has to be asked for one.
fn whether_certificates_are_asked_for(
    raw: &Root,
    server: &Server,
    clients: &[Client],
    desk: &mut Desk<'_>,
) {
    if server.tls.iter().any(|tls| tls.clients.is_some()) {
        return;
    }
    let Some(written) = &raw.clients else { return };
    for (raw, client) in written.value.iter().zip(clients) {
        if client.methods.tls && !client.disabled {
            let reason = "no listener asks for the certificate that this client proves itself with";
            let mend = "add client_ca_file to [server] tls";
            desk.report.error(raw.place, reason, mend);
        }
    }
}

fn whether_somebody_can_get_a_token(raw: &Root, desk: &mut Desk<'_>) {
    let Some(clients) = &raw.clients else { return };
    let enabled = |client: &At<raw::Client>| {
        client.value.disabled.as_ref().is_none_or(|disabled| !disabled.value)
    };
    match &raw.token {
        Some(token) if !clients.value.iter().any(enabled) => desk.report.warn(
            token.place,
            "nobody can get a token: there is no client that is not disabled",
            "add one: [[clients]] with an id, a secret and scopes",
        ),
        None if !clients.value.is_empty() && !raw.given.has("token") => desk.report.warn(
            clients.place,
            "nobody can get a token: there are clients and no [token] table",
            "add [token] with an issuer, an audience and a key",
        ),
        Some(_) | None => {}
    }
}

fn log(raw: &raw::Log, desk: &mut Desk<'_>) -> Option<Log> {
    let level = raw.level.as_ref().and_then(|level| log_level(level, desk));
    Some(Log {
        json: raw.format.as_ref()?.value == LogFormat::Json,
        level: level?,
        access: raw.access.as_ref()?.value,
    })
}

/// `info`, or a list of levels and `target=level`.
fn log_level(level: &At<Text>, desk: &mut Desk<'_>) -> Option<String> {
    let text = &level.value.0;
    for part in text.split(',') {
        let word = part.rsplit_once('=').map_or(part, |(_, word)| word).trim();
        if !LEVELS.contains(&word.to_ascii_lowercase().as_str()) {
            let mend = nearest(word, LEVELS).map_or_else(
                || {
                    "use error, warn, info, debug, trace or off, or `info,tollgate=debug`"
                        .to_owned()
                },
                |nearest| format!("did you mean `{nearest}`?"),
            );
            let reason = format!("unknown log level `{}`", printable(word));
            desk.report.error(level.place, reason, mend);
            return None;
        }
    }
    Some(text.clone())
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
