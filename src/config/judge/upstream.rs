//! `[upstream]` and `[[upstreams]]`: the URLs taken apart, and the certificates to trust.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::path::PathBuf;

use rustls::pki_types::ServerName;

use super::tls::{Identity, authorities, identity};
use super::{Desk, health};
use crate::config::address::LONGEST_SOCKET_PATH;
use crate::config::excerpt::printable;
use crate::config::fault::nearest;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{
    Balance, DEFAULT_UPSTREAM, MOST_ORIGINS, Origin, OriginAddress, Upstream, UpstreamIdentity,
    UpstreamTls,
};
use crate::config::shape::At;
use crate::config::value::{self, Text};

/// `[upstream]`.
pub(super) fn upstream(raw: &raw::Upstream, desk: &mut Desk<'_>) -> Option<Upstream> {
    if !raw.given.has("url") && !raw.given.has("urls") {
        missing(raw.place, desk);
        return None;
    }
    one(raw, DEFAULT_UPSTREAM, desk)
}

/// `[[upstreams]]`.
pub(super) fn upstreams(
    written: &[At<raw::NamedUpstream>],
    desk: &mut Desk<'_>,
) -> Option<Vec<Upstream>> {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    let mut upstreams = Vec::with_capacity(written.len());
    for raw in written {
        let At { value: raw, place } = raw;
        let name = raw.name.as_ref().and_then(|name| self::name(name, desk));
        if !raw.given {
            let mend = "add name = \"orders\": routes name it by upstream = \"orders\"";
            desk.report.error(*place, "this upstream has no `name`", mend);
        }
        if let (Some(name), Some(written)) = (name, &raw.name)
            && let Some(first) = seen.insert(name, written.place)
        {
            let reason = format!("two upstreams have the name `{name}`; the other one at");
            desk.report.clash(written.place, first, reason, "give each a name of its own");
        }
        if !raw.upstream.given.has("url") && !raw.upstream.given.has("urls") {
            let mend = "add url = \"http://127.0.0.1:9001\"";
            desk.report.error(*place, "this upstream has no `url`", mend);
            continue;
        }
        upstreams.push(one(&raw.upstream, name.unwrap_or_default(), desk));
    }
    upstreams.into_iter().collect()
}

/// A name that can stand in a log, a label and a route.
fn name<'r>(name: &'r At<Text>, desk: &mut Desk<'_>) -> Option<&'r str> {
    let text = name.value.0.as_str();
    if text == DEFAULT_UPSTREAM {
        let mend = "give it another name, or write its keys into [upstream]";
        desk.report.error(name.place, "`default` is the name of [upstream]", mend);
        return None;
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.len() > LONGEST_NAME || !text.bytes().all(is_plain) {
        let reason = format!("`{}` cannot be the name of an upstream", printable(text));
        let mend = "use letters, digits, - . and _, at most 64 of them";
        desk.report.error(name.place, reason, mend);
        return None;
    }
    Some(text)
}

/// Where the URLs of an upstream are written, in order.
pub(super) fn places(raw: &raw::Upstream) -> Vec<Place> {
    written(raw).iter().flat_map(|(_, urls)| urls.iter().map(|url| url.place)).collect()
}

/// The URLs and the key that they stand under. A variable or a flag for the one takes the place of the other in the file.
fn written(raw: &raw::Upstream) -> Option<(&'static str, &[At<Text>])> {
    let is_given = |place: Place| matches!(place, Place::Given(_));
    match (&raw.url, &raw.urls) {
        (Some(url), Some(urls)) if is_given(url.place) == is_given(urls.place) => None,
        (Some(url), Some(_)) if is_given(url.place) => Some(("url", std::slice::from_ref(url))),
        (_, Some(urls)) => Some(("urls", urls.value.as_slice())),
        (Some(url), None) => Some(("url", std::slice::from_ref(url))),
        (None, None) => None,
    }
}

/// The origins, each one once.
fn origins(raw: &raw::Upstream, desk: &mut Desk<'_>) -> Option<Vec<Origin>> {
    let Some((key, written)) = written(raw) else {
        if let (Some(url), Some(urls)) = (&raw.url, &raw.urls) {
            let mend = "put all of them into `urls`, and leave `url` out";
            let reason = "the upstream has both `url` and `urls`; the other one at";
            desk.report.clash(url.place, urls.place, reason, mend);
        }
        return None;
    };
    if let ("urls", Some(urls)) = (key, &raw.urls) {
        let reason = match urls.value.len() {
            0 => "`urls` is an empty list".to_owned(),
            count if count > MOST_ORIGINS => format!("`urls` has {count} entries"),
            _ => String::new(),
        };
        if !reason.is_empty() {
            let mend = format!("give it 1 to {MOST_ORIGINS} URLs of one service");
            desk.report.error(urls.place, reason, mend);
            return None;
        }
    }
    let mut origins: Vec<(Origin, Place)> = Vec::new();
    let mut whole = true;
    for url in written {
        match origin(&url.value.0) {
            Ok(origin) => {
                if let Some((_, first)) = origins.iter().find(|(known, _)| *known == origin) {
                    let reason = "this URL is listed twice; the other one at";
                    desk.report.clash(url.place, *first, reason, "list each origin once");
                }
                origins.push((origin, url.place));
            }
            Err((reason, mend)) => {
                desk.report.error(url.place, format!("the upstream's `{key}` {reason}"), mend);
                whole = false;
            }
        }
    }
    whole.then(|| origins.into_iter().map(|(origin, _)| origin).collect())
}

/// How requests are spread.
fn balance(raw: &raw::Upstream, count: usize, desk: &mut Desk<'_>) -> Option<Balance> {
    let balance = raw.balance.as_ref()?;
    if raw.given.has("balance") && count == 1 {
        let reason = "the upstream has one URL, so `balance` has no effect";
        desk.report.warn(balance.place, reason, "give it more `urls`, or leave `balance` out");
    }
    Some(match balance.value {
        value::Balance::LeastRequests => Balance::LeastRequests,
        value::Balance::RoundRobin => Balance::RoundRobin,
        value::Balance::Random => Balance::Random,
    })
}

fn one(raw: &raw::Upstream, name: &str, desk: &mut Desk<'_>) -> Option<Upstream> {
    let origins = origins(raw, desk);
    let tls = match &raw.tls {
        Some(table) => tls(&table.value, origins.as_deref(), desk),
        None => Some(UpstreamTls::default()),
    };
    let count = origins.as_ref().map_or(0, Vec::len);
    let balance = balance(raw, count, desk);
    let health = raw.health.as_ref().map(|health| health::health(&health.value, desk));
    let ejection = health::ejection(raw, count, desk);
    let max_connections = usize::try_from(raw.max_connections.as_ref()?.value.0).ok()?;
    if raw.given.has("max_pending") && max_connections == 0 {
        let place = raw.max_pending.as_ref()?.place;
        let reason = "`max_connections` is 0, so nothing waits and `max_pending` has no effect";
        desk.report.warn(place, reason, "set max_connections, or leave `max_pending` out");
    }
    let timeout = raw.timeout.as_ref()?.value.0;
    Some(Upstream {
        name: name.to_owned(),
        origins: origins?,
        balance: balance?,
        connect_timeout: raw.connect_timeout.as_ref()?.value.0,
        timeout: (!timeout.is_zero()).then_some(timeout),
        idle_timeout: raw.idle_timeout.as_ref()?.value.0,
        preserve_host: raw.preserve_host.as_ref()?.value,
        retries: u32::try_from(raw.retries.as_ref()?.value.0).ok()?,
        max_connections: (max_connections != 0).then_some(max_connections),
        max_pending: usize::try_from(raw.max_pending.as_ref()?.value.0).ok()?,
        health: match health {
            Some(health) => Some(health?),
            None => None,
        },
        ejection: ejection?,
        slow_return: raw.slow_return.as_ref()?.value.0,
        tls: tls?,
    })
}

/// The fault of a configuration that does not say where requests go.
pub(super) fn missing(place: Place, desk: &mut Desk<'_>) {
    desk.report.error(
        place,
        "there is no upstream: nothing says where requests go",
        "add [upstream] with url = \"http://127.0.0.1:9000\", or set TOLLGATE_UPSTREAM__URL, or give --upstream",
    );
}

/// What is wrong with a URL, and the mend. Neither quotes its credentials.
pub(in crate::config) type UrlFault = (String, String);

fn fault<T>(reason: impl Into<String>, mend: impl Into<String>) -> Result<T, UrlFault> {
    Err((reason.into(), mend.into()))
}

/// Takes an upstream's URL apart.
fn origin(url: &str) -> Result<Origin, UrlFault> {
    if let Some(path) = url.strip_prefix("unix:") {
        return unix_origin(path);
    }
    let Some((scheme, rest)) = url.split_once("://") else {
        let is_host = url.split_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let mend =
            if is_host { format!("write \"http://{}\"", printable(url)) } else { EXAMPLE.into() };
        return fault("has no scheme", mend);
    };
    let (https, h2c) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (false, false),
        "https" => (true, false),
        "h2c" => (false, true),
        other => {
            let mend = nearest(other, SCHEMES)
                .map_or("use http://, https://, h2c:// or unix:".to_owned(), |near| {
                    format!("did you mean `{near}`?")
                });
            return fault(format!("has the unknown scheme `{}`", printable(other)), mend);
        }
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // Anywhere: a password may hold a slash, and must not be taken for a port or a path and told.
    if rest.contains('@') {
        return fault(
            "holds a user or a password",
            "leave out what stands before the @: nothing sends it",
        );
    }
    if path.contains('?') {
        return fault("has a query", "end it before the ?: each request brings its own query");
    }
    if path.contains('#') {
        return fault("has a fragment", "end it before the #: fragments are never sent");
    }
    let (host, port) = host_and_port(authority)?;
    let standard = if https { 443 } else { 80 };
    let is_ipv6 = host.contains(':');
    let name = if is_ipv6 { format!("[{host}]") } else { host.clone() };
    let port = port.unwrap_or(standard);
    let authority = if port == standard { name } else { format!("{name}:{port}") };
    Ok(Origin {
        https,
        h2c,
        address: OriginAddress::Tcp(host, port),
        authority,
        base_path: base_path(path)?,
    })
}

fn unix_origin(path: &str) -> Result<Origin, UrlFault> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains(['\0', '?', '#']) {
        return fault("names no socket", "write \"unix:/run/api.sock\"");
    }
    if path.len() > LONGEST_SOCKET_PATH {
        let mend = format!("the system takes paths of at most {LONGEST_SOCKET_PATH} bytes");
        return fault("is too long for the path of a socket", mend);
    }
    Ok(Origin {
        https: false,
        h2c: false,
        address: OriginAddress::Unix(PathBuf::from(path)),
        authority: "localhost".to_owned(),
        base_path: String::new(),
    })
}

/// The host, in lower case and without brackets, and the port if there is one.
pub(in crate::config) fn host_and_port(authority: &str) -> Result<(String, Option<u16>), UrlFault> {
    let (host, port) = match authority.rfind(']') {
        Some(end) => {
            let (host, port) = authority.split_at(end + 1);
            (host, port.strip_prefix(':').or((!port.is_empty()).then_some(port)))
        }
        None => {
            authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port)))
        }
    };
    if host.is_empty() {
        return fault("has no host", EXAMPLE);
    }
    let port = match port {
        None => None,
        Some(text) if text.contains(':') => {
            return fault(
                "has more than one port",
                "write IPv6 addresses in brackets: \"http://[::1]:9000\"",
            );
        }
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 && !text.starts_with('+') => Some(port),
            Ok(_) | Err(_) => {
                let reason = format!("has the impossible port `{}`", printable(text));
                return fault(reason, "a port is a number from 1 to 65535");
            }
        },
    };
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return match address.parse::<Ipv6Addr>() {
            Ok(address) => Ok((address.to_string(), port)),
            Err(_) => fault(
                "has something other than an IPv6 address in brackets",
                "write \"http://[::1]:9000\"",
            ),
        };
    }
    if !host.is_ascii() {
        return fault("has a host with letters beyond ASCII", "write it in punycode, as \"xn--…\"");
    }
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if !host.bytes().all(is_host) || host.len() > LONGEST_HOST || host.contains("..") {
        return fault(format!("has the impossible host `{}`", printable(host)), EXAMPLE);
    }
    Ok((host.to_ascii_lowercase(), port))
}

/// What is put before each path: empty, or with a slash at its beginning and none at its end.
fn base_path(path: &str) -> Result<String, UrlFault> {
    let path = path.trim_end_matches('/');
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:".contains(&byte);
    if !path.bytes().all(is_plain) {
        return fault(
            "has a path with characters that may be read in two ways",
            "use letters, digits, - . _ ~ and /",
        );
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") || path.contains("//") {
        return fault(
            "has a path with `.`, `..` or an empty segment",
            "write the path as the upstream sees it",
        );
    }
    Ok(path.to_owned())
}

fn tls(
    raw: &raw::UpstreamTls,
    origins: Option<&[Origin]>,
    desk: &mut Desk<'_>,
) -> Option<UpstreamTls> {
    if origins.is_some_and(|origins| origins.iter().all(|origin| !origin.https)) {
        let reason = "the upstream is not https, so its `tls` table has no effect";
        desk.report.warn(raw.place, reason, "write https:// in the url, or remove the table");
    }
    let roots = match &raw.ca_file {
        None if raw.given.has("ca_file") => return None,
        None => None,
        Some(path) => Some(authorities(path, "ca_file", desk)?),
    };
    let server_name = match &raw.server_name {
        None if raw.given.has("server_name") => return None,
        None => None,
        Some(name) => Some(self::server_name(name, desk)?),
    };
    Some(UpstreamTls { roots, server_name, identity: client_identity(raw, desk)? })
}

/// What an upstream is shown, if anything.
fn client_identity(
    raw: &raw::UpstreamTls,
    desk: &mut Desk<'_>,
) -> Option<Option<UpstreamIdentity>> {
    match (&raw.certificate_file, &raw.private_key_file) {
        (Some(certificate), Some(key)) => {
            let Identity { certificate, identity, digest } = identity(certificate, key, desk)?;
            Some(Some(UpstreamIdentity { certificate, identity, digest }))
        }
        (None, None) => {
            let given = raw.given.has("certificate_file") || raw.given.has("private_key_file");
            (!given).then_some(None)
        }
        (certificate, _) => {
            let (has, lacks) = match certificate {
                Some(_) => ("certificate_file", "private_key_file"),
                None => ("private_key_file", "certificate_file"),
            };
            if !raw.given.has(lacks) {
                let reason = format!("`{has}` without `{lacks}` proves nothing");
                desk.report.error(raw.place, reason, "give both, or neither");
            }
            None
        }
    }
}

fn server_name(name: &At<Text>, desk: &mut Desk<'_>) -> Option<String> {
    let text = &name.value.0;
    if ServerName::try_from(text.as_str()).is_err() {
        let reason = format!("`server_name` is no host name: `{}`", printable(text));
        desk.report.error(
            name.place,
            reason,
            "write a name as it stands in the certificate, as \"api.example.com\"",
        );
        return None;
    }
    Some(text.clone())
}

const SCHEMES: [&str; 4] = ["http", "https", "h2c", "unix"];
const EXAMPLE: &str = "write a URL such as \"http://127.0.0.1:9000\"";

/// Longest name of an upstream.
const LONGEST_NAME: usize = 64;
/// RFC 1035 §2.3.4.
const LONGEST_HOST: usize = 253;

#[cfg(test)]
mod tests {
    use super::origin;
    use crate::config::settings::OriginAddress;

    #[test]
    fn a_url_is_taken_apart() {
        let read = origin("https://API.example.com:8443/v1/").unwrap();
        assert!(read.https);
        assert_eq!(read.address, OriginAddress::Tcp("api.example.com".into(), 8443));
        assert_eq!(read.authority, "api.example.com:8443");
        assert_eq!(read.base_path, "/v1");
        let read = origin("http://[::1]:80").unwrap();
        assert_eq!(read.address, OriginAddress::Tcp("::1".into(), 80));
        assert_eq!((read.authority.as_str(), read.base_path.as_str()), ("[::1]", ""));
        let read = origin("h2c://orders:50051").unwrap();
        assert_eq!((read.https, read.h2c), (false, true));
        assert_eq!(read.authority, "orders:50051");
        assert_eq!(
            origin("h2c://orders").unwrap().authority,
            "orders",
            "80 is the port of h2c too"
        );
        let read = origin("unix:/run/api.sock").unwrap();
        assert_eq!(read.address, OriginAddress::Unix("/run/api.sock".into()));
    }

    #[test]
    fn a_bad_url_is_refused_with_its_reason() {
        for (url, reason) in [
            ("localhost:9000", "has no scheme"),
            ("127.0.0.1", "has no scheme"),
            ("ftp://a", "has the unknown scheme `ftp`"),
            ("h2://a", "has the unknown scheme `h2`"),
            ("http://", "has no host"),
            ("http://:80", "has no host"),
            ("http:///path", "has no host"),
            ("http://a:0", "has the impossible port `0`"),
            ("http://a:70000", "has the impossible port `70000`"),
            ("http://a:+80", "has the impossible port `+80`"),
            ("http://a:", "has the impossible port ``"),
            ("http://::1:80", "has no host"),
            ("http://fe80::1", "has more than one port"),
            ("http://user:p/w@a", "holds a user or a password"),
            ("http://user:pw@a", "holds a user or a password"),
            ("http://a/?x", "has a query"),
            ("http://a#x", "has a fragment"),
            ("http://a b/", "has the impossible host `a b`"),
            ("http://[::g]/", "has something other than an IPv6 address in brackets"),
            ("http://[::1]x/", "has the impossible port `x`"),
            ("http://é/", "has a host with letters beyond ASCII"),
            ("http://a/%2e%2e", "has a path with characters that may be read in two ways"),
            ("http://a/b/../c", "has a path with `.`, `..` or an empty segment"),
            ("unix:", "names no socket"),
        ] {
            assert_eq!(origin(url).map_err(|(reason, _)| reason), Err(reason.to_owned()), "{url}");
        }
    }
}
