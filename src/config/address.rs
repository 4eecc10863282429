//! Addresses: of listeners, of sockets, of networks.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde_json::json;

use super::excerpt::printable;
use super::node::Node;
use super::report::Report;
use super::settings::Listen;
use super::shape::{Read, Shape};
use super::value::{bad, text};

/// An address to listen on.
#[derive(Clone)]
pub(super) struct ListenAddress(pub(super) Listen);

/// A range of addresses; a single one is a range too.
#[derive(Clone)]
pub(super) struct Network(pub(super) IpNet);

impl Read for ListenAddress {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "an address such as \"127.0.0.1:8080\"", report)?;
        if let Some(path) = text.strip_prefix("unix:") {
            return unix_path(node, path, report).map(|path| Self(Listen::Unix(path)));
        }
        socket(node, text, report).map(|address| Self(Listen::Tcp(address)))
    }
}

/// The path of a unix socket, short enough for the system.
pub(super) fn unix_path(node: &Node, path: &str, report: &mut Report) -> Option<PathBuf> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.is_empty() || path.contains('\0') {
        bad(node, "names no socket", "write \"unix:/run/tollgate.sock\"", report);
        return None;
    }
    if path.len() > LONGEST_SOCKET_PATH {
        let what = format!("is the path of a socket with {} bytes", path.len());
        bad(node, &what, format!("the system takes at most {LONGEST_SOCKET_PATH}"), report);
        return None;
    }
    Some(PathBuf::from(path))
}

fn socket(node: &Node, text: &str, report: &mut Report) -> Option<SocketAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let what = format!("is no address and port: `{}`", printable(text));
    let mend = match text.rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()) => {
            format!("write a port too: \"[{text}]:8080\"")
        }
        Some((_, port)) if port.parse::<u64>().is_ok_and(|port| port > 65_535) => {
            "a port is a number from 0 to 65535; 0 lets the system choose".to_owned()
        }
        Some(("", port)) => format!("write \"0.0.0.0:{port}\", or \"[::]:{port}\" for IPv6 too"),
        Some(("localhost", port)) => format!("write \"127.0.0.1:{port}\""),
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => {
            format!("write IPv6 addresses in brackets: \"[{}]:{port}\"", printable(host))
        }
        Some(("http" | "https", _)) => "leave the scheme out: \"127.0.0.1:8080\"".to_owned(),
        None if text.parse::<IpAddr>().is_ok() => format!("write a port too: \"{text}:8080\""),
        None if text.parse::<u16>().is_ok() => format!("write \"127.0.0.1:{text}\""),
        _ => "write an IP address and a port, as \"127.0.0.1:8080\" or \"[::1]:8080\"".to_owned(),
    };
    bad(node, &what, mend, report);
    None
}

impl Read for Network {
    fn shape() -> Shape {
        Shape::value(json!({ "type": "string", "minLength": 1 }))
    }

    fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = text(node, "a network such as \"10.0.0.0/8\"", report)?;
        let network = text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        if network.is_none() {
            let what = format!("is no network: `{}`", printable(text));
            bad(node, &what, "write \"10.0.0.0/8\", or one address such as \"10.0.0.1\"", report);
        }
        network.map(Self)
    }
}

/// `sun_path` holds 108 bytes with the final NUL (unix(7)).
pub(super) const LONGEST_SOCKET_PATH: usize = 107;
