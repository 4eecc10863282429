//! What enters, what leaves: requests and responses, whatever protocol version carries them.

mod body;
mod destination;
mod fields;
pub mod headers;
pub mod origin;
pub mod problem;
pub mod target;
pub mod text;

use std::net::IpAddr;
use std::rc::Rc;

use http::{HeaderValue, Method, StatusCode, Version};

pub use body::{Body, BodyError};
pub use destination::{Destination, Rewritten};
pub use fields::{FieldName, Fields};
pub use target::{BadTarget, Target};

use crate::certificate::ClientCertificate;
use crate::net::Stream;

/// A request whose head was read strictly: one reading is left for whoever comes next.
#[derive(Debug)]
pub struct Request {
    /// Case-sensitive (RFC 9110 §9.1).
    pub method: Method,
    /// Path and query, byte for byte as they will be forwarded.
    pub target: Target,
    /// Version of the client's protocol.
    pub version: Version,
    /// All fields as they came; `headers` says which of them go on.
    pub headers: Fields,
    /// The authority that the client asked: from an absolute target, else from `Host`.
    pub host: Option<HeaderValue>,
    /// The protocol that `Upgrade` asks for, if any but HTTP/2 is asked for. Extended CONNECT (RFC 8441 §5) is here as
    /// the GET with `Upgrade` that it stands for, with a `Sec-WebSocket-Key` of the gateway's own making where the
    /// protocol is `websocket`; each side says it again in the way of its version.
    pub upgrade: Option<HeaderValue>,
    /// `Expect: 100-continue` was sent.
    pub expects_continue: bool,
    /// The content.
    pub body: Body,
    /// Who sent it.
    pub peer: Rc<Peer>,
    /// Where informational answers go; `None` where the client cannot take them.
    pub interim: Option<Rc<dyn InterimSink>>,
}

impl Request {
    /// The host that was asked, in lower case, without port and without the dot of the root.
    #[must_use]
    pub fn host_name(&self) -> Option<String> {
        let host = host_part(self.host.as_ref()?.as_bytes());
        std::str::from_utf8(host).ok().map(str::to_ascii_lowercase)
    }
}

/// An authority without its port, and without the dot of the root.
#[must_use]
pub fn host_part(authority: &[u8]) -> &[u8] {
    let end = match authority.first() {
        Some(b'[') => memchr::memchr(b']', authority).map(|end| end + 1),
        _ => memchr::memchr(b':', authority),
    };
    let host = authority.get(..end.unwrap_or(authority.len())).unwrap_or_default();
    host.strip_suffix(b".").unwrap_or(host)
}

/// Takes informational (1xx) answers while the final one is awaited (RFC 9110 §15.2).
pub trait InterimSink {
    /// Passes one on. It is dropped where it can no longer be sent.
    fn send(&self, status: StatusCode, headers: &Fields);
}

impl std::fmt::Debug for dyn InterimSink {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("InterimSink")
    }
}

/// The other end of a client connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The socket's address; `None` for a unix socket.
    pub address: Option<IpAddr>,
    /// The same as text, spelt once a connection; `unknown` for a unix socket (RFC 7239 §6.2).
    pub address_text: Box<str>,
    /// Whether its forwarding headers are believed.
    pub trusted: bool,
    /// Whether it came over TLS.
    pub https: bool,
    /// What the handshake asked of a client's certificate, by its digest; all zero: nothing.
    pub demand: [u8; 32],
    /// The certificate that it proved itself with.
    pub certificate: Option<Box<ClientCertificate>>,
}

impl Peer {
    /// The peer at `address`.
    #[must_use]
    pub fn new(address: Option<IpAddr>, trusted: bool, https: bool) -> Self {
        let address_text =
            address.map_or_else(|| "unknown".into(), |address| address.to_string().into());
        Self { address, address_text, trusted, https, demand: [0; 32], certificate: None }
    }
}

/// A final answer.
#[derive(Debug)]
pub struct Response {
    /// 101, or 200 to 599.
    pub status: StatusCode,
    /// Without framing and hop-by-hop fields.
    pub headers: Fields,
    /// The content.
    pub body: Body,
    /// After 101: the upstream's side of the tunnel.
    pub tunnel: Option<Tunnel>,
}

/// The upstream's side of an upgraded connection.
#[derive(Debug)]
pub struct Tunnel {
    /// The connection, or the one HTTP/2 stream of it.
    pub stream: Stream,
    /// What the upstream has already sent through it.
    pub early: bytes::Bytes,
    /// The value of `Upgrade`, as the upstream gave it.
    pub protocol: HeaderValue,
    /// What is given back when the tunnel ends.
    pub held: Option<Box<dyn std::fmt::Debug>>,
}

impl Response {
    /// A response with this content.
    #[must_use]
    pub fn new(status: StatusCode, headers: Fields, body: Body) -> Self {
        Self { status, headers, body, tunnel: None }
    }
}
