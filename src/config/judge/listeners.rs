//! `[server]` and `[admin]`: addresses that must be there and must not meet.

use std::net::{IpAddr, SocketAddr};

use super::upstream::places;
use super::{Desk, access, endpoints, tls};
use crate::config::raw::{self, Root};
use crate::config::settings::{Admin, Listen, Origin, OriginAddress, Server, Upstream};
use crate::config::shape::At;

/// `[server]`.
pub(super) fn server(raw: &raw::Server, desk: &mut Desk<'_>) -> Option<Server> {
    let listen = raw.listen.as_ref()?;
    for (at, address) in listen.value.0.iter().enumerate() {
        let mut earlier = listen.value.0[..at].iter();
        if earlier.any(|earlier| same(&earlier.value.0, &address.value.0)) {
            let reason = format!("`{}` is listed twice", shown(&address.value.0));
            desk.report.error(address.place, reason, "list each address once");
        }
    }
    let workers = match raw.workers.as_ref()?.value.0 {
        0 => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        workers => usize::try_from(workers).ok()?,
    };
    let tls = match &raw.tls {
        None if raw.given.has("tls") => None,
        None => Some(Vec::new()),
        Some(written) => tls::servers(&written.value.0, desk),
    };
    let networks = raw.trusted_proxies.as_ref()?;
    let proxy_protocol = raw.proxy_protocol.as_ref()?;
    if proxy_protocol.value && networks.value.is_empty() {
        let reason = "`proxy_protocol` without `trusted_proxies`: every connection would be closed";
        let mend = "name the proxies whose PROXY header is believed, as trusted_proxies = [\"10.0.0.0/8\"]";
        desk.report.error(proxy_protocol.place, reason, mend);
    }
    let max_body_size = raw.max_body_size.as_ref()?.value.0;
    let max_connections = usize::try_from(raw.max_connections.as_ref()?.value.0).ok()?;
    Some(Server {
        listen: listen.value.0.iter().map(|address| address.value.0.clone()).collect(),
        tls: tls?,
        workers,
        proxy_protocol: proxy_protocol.value,
        trusted_proxies: networks.value.iter().map(|network| network.value.0).collect(),
        header_timeout: raw.header_timeout.as_ref()?.value.0,
        idle_timeout: raw.idle_timeout.as_ref()?.value.0,
        max_header_size: usize::try_from(raw.max_header_size.as_ref()?.value.0).ok()?,
        max_body_size: (max_body_size != 0).then_some(max_body_size),
        max_connections: (max_connections != 0).then_some(max_connections),
        http2: raw.http2.as_ref()?.value,
        max_streams: u32::try_from(raw.max_streams.as_ref()?.value.0).ok()?,
        drain_timeout: raw.drain_timeout.as_ref()?.value.0,
    })
}

/// `[forward_auth]`: a path of its own, and somebody who is believed there.
pub(super) fn forward_auth(root: &Root, desk: &mut Desk<'_>) -> Option<Option<String>> {
    let Some(At { value: raw, place }) = &root.forward_auth else { return Some(None) };
    if !raw.given.has("path") {
        let mend = "add path = \"/auth/verify\", or remove the table";
        desk.report.error(*place, "[forward_auth] has no `path`", mend);
    }
    let server = root.server.as_ref().map(|server| &server.value);
    let trusted = server.and_then(|server| server.trusted_proxies.as_ref());
    if trusted.is_some_and(|trusted| trusted.value.is_empty()) {
        desk.report.error(
            *place,
            "nobody may ask at [forward_auth]: `server.trusted_proxies` is empty",
            "name the proxy there, as trusted_proxies = [\"127.0.0.1\"]",
        );
    }
    let written = raw.path.as_ref()?;
    let path = endpoints::path(endpoints::FORWARD_AUTH, written, desk)?;
    let own = access::own_paths(root);
    let taken = own.iter().find(|(_, own)| own.place != written.place && own.value.0 == path);
    if let Some((what, other)) = taken {
        let reason = format!("{what} has the path of [forward_auth]; it stands at");
        let mend = "give each endpoint a path of its own";
        desk.report.clash(written.place, other.place, reason, mend);
    }
    Some(Some(path))
}

/// `[admin]`.
pub(super) fn admin(raw: &raw::Admin, desk: &mut Desk<'_>) -> Option<Admin> {
    if !raw.given.has("listen") {
        desk.report.error(
            raw.place,
            "[admin] has no `listen`",
            "add listen = \"127.0.0.1:9090\", or remove the table",
        );
    }
    Some(Admin { listen: raw.listen.as_ref()?.value.0 })
}

/// That the gateway does not forward to itself, and no address is wanted twice.
pub(super) fn apart(
    raw: &Root,
    upstream: Option<&Upstream>,
    upstreams: Option<&[Upstream]>,
    desk: &mut Desk<'_>,
) {
    let listen = raw.server.as_ref().and_then(|server| server.value.listen.as_ref());
    let listen = listen.map_or(&[][..], |listen| listen.value.0.as_slice());
    let admin = raw.admin.as_ref().and_then(|admin| admin.value.listen.as_ref());
    if let Some(admin) = admin {
        let address = Listen::Tcp(admin.value.0);
        if listen.iter().any(|listen| same(&listen.value.0, &address)) {
            let reason = "[admin] and [server] listen on the same address";
            desk.report.error(admin.place, reason, "give [admin] another port");
        }
    }
    let own = listen.iter().map(|listen| listen.value.0.clone());
    let own: Vec<Listen> = own.chain(admin.map(|admin| Listen::Tcp(admin.value.0))).collect();
    let named = raw.upstreams.iter().flat_map(|named| &named.value);
    let written = named.map(|named| &named.value.upstream).zip(upstreams.unwrap_or_default());
    let first = raw.upstream.as_ref().map(|upstream| &upstream.value);
    for (raw, upstream) in first.zip(upstream).into_iter().chain(written) {
        for (place, origin) in places(raw).into_iter().zip(&upstream.origins) {
            let Some(own) = own.iter().find(|own| leads_to(origin, own)) else { continue };
            desk.report.error(
                place,
                format!("the upstream is the gateway itself, which listens on {}", shown(own)),
                "give the upstream's own address: a request would go round in circles",
            );
        }
    }
}

/// Whether both want the same socket; port 0 is a new one each time.
fn same(left: &Listen, right: &Listen) -> bool {
    left == right && !matches!(left, Listen::Tcp(address) if address.port() == 0)
}

/// Whether a connection to `origin` ends at the listener `own`, as far as the addresses alone tell.
fn leads_to(origin: &Origin, own: &Listen) -> bool {
    match (&origin.address, own) {
        (OriginAddress::Unix(origin), Listen::Unix(own)) => origin == own,
        (OriginAddress::Tcp(host, port), Listen::Tcp(own)) => {
            own.port() != 0 && *port == own.port() && reaches(host, own)
        }
        (OriginAddress::Tcp(..), Listen::Unix(_)) | (OriginAddress::Unix(_), Listen::Tcp(_)) => {
            false
        }
    }
}

fn reaches(host: &str, own: &SocketAddr) -> bool {
    let own = own.ip().to_canonical();
    if host == "localhost" || host.ends_with(".localhost") {
        return own.is_loopback() || own.is_unspecified();
    }
    let Ok(host) = host.parse::<IpAddr>() else { return false };
    let host = host.to_canonical();
    // An unspecified listener takes every address of this machine; to connect to one means loopback.
    host == own
        || own.is_unspecified() && (host.is_loopback() || host.is_unspecified())
        || host.is_unspecified() && own.is_loopback()
}

fn shown(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => address.to_string(),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}
