//! The head that the upstream gets: the client's fields less what is not theirs to say, and ours behind them.

use std::rc::Rc;

use bytes::Bytes;
use h2::ext::Protocol;
use http::uri::{self, InvalidUri, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version, header};

use super::Failure;
use super::exchange::Upload;
use crate::auth::Passage;
use crate::certificate::Field;
use crate::config::{AuthorizationHeader, Origin, Settings};
use crate::http1::wire::{write_field, write_line};
use crate::message::headers::{RequestFilter, connection_named, has_token};
use crate::message::target::is_authority;
use crate::message::text::write_number;
use crate::message::{Fields, Request, Target};

/// What every head towards any upstream has in common.
#[derive(Debug)]
pub(super) struct Onward {
    /// Names of the identity headers.
    pub(super) reserved: Rc<[HeaderName]>,
    /// Which of them tell what of a client's certificate.
    certificate: Box<[(HeaderName, Field)]>,
    drop_authorization: bool,
}

/// What the judging of a request, and the choice of its origin, have to say about its head.
#[derive(Debug)]
pub(super) struct Rights<'a> {
    /// Path and query for the upstream.
    pub(super) target: &'a Target,
    /// Who gets it.
    pub(super) origin: &'a Origin,
    /// Whether `Host` is the one that the client sent.
    pub(super) preserve_host: bool,
    /// Whether the request must stay the method that it is.
    pub(super) open: bool,
    /// Whether there was a valid one all the same.
    pub(super) has_caller: bool,
    /// Whether `Authorization` held a token that was not valid.
    pub(super) withhold_authorization: bool,
    /// Identity headers.
    pub(super) identity: &'a [(HeaderName, HeaderValue)],
    /// `X-Request-Id`.
    pub(super) request_id: &'a [u8],
}

impl<'a> Rights<'a> {
    /// What `passage` says of a request that goes to `origin`.
    pub(super) fn of(
        passage: &'a Passage,
        request_id: &'a [u8],
        origin: &'a Origin,
        preserve_host: bool,
    ) -> Self {
        let rewritten = passage.destination.rewritten.as_deref();
        Self {
            target: rewritten.map_or(&passage.request.target, |rewritten| &rewritten.target),
            origin,
            preserve_host,
            open: passage.fixed_method,
            has_caller: passage.caller.is_some(),
            withhold_authorization: passage.withhold_authorization,
            identity: passage.identity(),
            request_id,
        }
    }
}

impl Rights<'_> {
    /// The authority that the upstream is asked for.
    fn host<'a>(&'a self, request: &'a Request) -> &'a [u8] {
        match &request.host {
            Some(host) if self.preserve_host => host.as_bytes(),
            _ => self.origin.authority.as_bytes(),
        }
    }

    /// Path and query as the upstream is asked for them, in HTTP/2.
    fn path(&self) -> Result<PathAndQuery, InvalidUri> {
        let (target, base_path) = (self.target.as_bytes(), &self.origin.base_path);
        if base_path.is_empty() || self.target.as_str() == "*" {
            return PathAndQuery::from_maybe_shared(target.clone());
        }
        PathAndQuery::from_maybe_shared(Bytes::from([base_path.as_bytes(), target].concat()))
    }
}

impl Onward {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            reserved: settings
                .identity_sets()
                .into_iter()
                .flatten()
                .map(|(name, _)| name.clone())
                .chain(settings.identity.certificate_headers.iter().map(|(name, _)| name.clone()))
                .collect(),
            certificate: settings.identity.certificate_headers.clone().into(),
            drop_authorization: settings.identity.authorization == AuthorizationHeader::Remove,
        }
    }

    /// Writes the whole head in HTTP/1.1.
    pub(super) fn write_head(
        &self,
        out: &mut Vec<u8>,
        request: &Request,
        upload: &Upload,
        rights: &Rights<'_>,
    ) {
        out.extend_from_slice(request.method.as_str().as_bytes());
        out.push(b' ');
        if rights.target.as_bytes().as_ref() != b"*" {
            out.extend_from_slice(rights.origin.base_path.as_bytes());
        }
        out.extend_from_slice(rights.target.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_line(out, "host", rights.host(request));
        self.tell(request, rights, out);
        write_framing(out, request, upload, &request.headers);
        out.extend_from_slice(b"\r\n");
    }

    /// The whole head in HTTP/2 (RFC 9113 §8.3). `length`: what is known of the body's. A change of protocol is asked for
    /// by extended CONNECT (RFC 8441 §4).
    ///
    /// # Errors
    /// [`Failure::Target`] where HTTP/2 has no place for the target.
    pub(super) fn http2_head(
        &self,
        request: &Request,
        rights: &Rights<'_>,
        length: Option<u64>,
    ) -> Result<http::Request<()>, Failure> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(if rights.origin.https { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(rights.host(request).try_into().map_err(|_| Failure::Target)?);
        parts.path_and_query = Some(rights.path().map_err(|_| Failure::Target)?);
        let mut head = http::Request::new(());
        *head.version_mut() = Version::HTTP_2;
        *head.uri_mut() = Uri::from_parts(parts).map_err(|_| Failure::Target)?;
        let room = request.headers.len() + rights.identity.len() + FIELDS_OF_OURS;
        let mut map = Map { headers: HeaderMap::with_capacity(room), value: Vec::new() };
        self.tell(request, rights, &mut map);
        let headers = &mut map.headers;
        match &request.upgrade {
            Some(protocol) => {
                *head.method_mut() = Method::CONNECT;
                let protocol = protocol.to_str().map_err(|_| Failure::NoTunnel)?;
                head.extensions_mut()
                    .insert(Protocol::from(protocol.to_ascii_lowercase().as_str()));
                headers.remove(header::SEC_WEBSOCKET_KEY); // stands for nothing here (RFC 8441 §5)
            }
            None => {
                *head.method_mut() = request.method.clone();
                if let Some(length) = length
                    && (length > 0 || expects_content(&request.method))
                {
                    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
                }
                if wants_trailers(&request.headers) {
                    headers.insert(header::TE, HeaderValue::from_static("trailers"));
                }
            }
        }
        *head.headers_mut() = map.headers;
        Ok(head)
    }

    /// Tells every field but those of the connection and of its framing, whatever protocol version they are for.
    /// Order is policy: the client's fields are filtered first, then ours are set, so that nothing of the client's
    /// can name, drop or double them.
    fn tell(&self, request: &Request, rights: &Rights<'_>, out: &mut impl Sheet) {
        let headers = &request.headers;
        let filter = RequestFilter {
            reserved: &self.reserved,
            trusted: request.peer.trusted,
            open: rights.open,
            drop_authorization: rights.withhold_authorization
                || (self.drop_authorization && rights.has_caller),
            connection_named: match headers.contains_key(header::CONNECTION) {
                true => connection_named(headers),
                false => Vec::new(),
            },
        };
        for (name, value) in headers {
            if name != header::HOST && filter.passes(name) {
                out.field(name, value);
            }
        }
        for (name, value) in rights.identity {
            out.field(name, value);
        }
        if let Some(certificate) = &request.peer.certificate {
            for (name, field) in &self.certificate {
                if let Some(value) = certificate.value(*field) {
                    out.field(name, value);
                }
            }
        }
        tell_origin_of(request, out);
        for value in headers.get_all(header::VIA) {
            out.field(&header::VIA, value);
        }
        out.line("via", via(request));
        out.line("x-request-id", rights.request_id);
    }
}

/// Where the fields of a head go.
trait Sheet {
    /// A field as it stands.
    fn field(&mut self, name: &HeaderName, value: &HeaderValue);

    /// A field whose value `write` puts together.
    fn written(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>));

    /// A field of ours.
    fn line(&mut self, name: &'static str, value: &[u8]) {
        self.written(name, |out| out.extend_from_slice(value));
    }
}

/// HTTP/1.1: straight into what is sent.
impl Sheet for Vec<u8> {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        write_field(self, name, value);
    }

    fn written(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.extend_from_slice(name.as_bytes());
        self.extend_from_slice(b": ");
        write(self);
        self.extend_from_slice(b"\r\n");
    }
}

/// HTTP/2: values that h2 encodes.
struct Map {
    headers: HeaderMap,
    /// Where a value is put together.
    value: Vec<u8>,
}

impl Sheet for Map {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        let mut value = value.clone();
        // what is secret, and what no second request has, is kept out of the table of what was sent before
        value.set_sensitive(name == header::AUTHORIZATION);
        self.headers.append(name, value);
    }

    fn written(&mut self, name: &'static str, write: impl FnOnce(&mut Vec<u8>)) {
        self.value.clear();
        write(&mut self.value);
        // made of values that were fields before, and of ours
        if let Ok(mut value) = HeaderValue::from_bytes(&self.value) {
            value.set_sensitive(name == "x-request-id");
            self.headers.append(HeaderName::from_static(name), value);
        }
    }
}

/// `Forwarded` (RFC 7239) and its older kin: written from the socket, behind what a trusted proxy said.
fn tell_origin_of(request: &Request, out: &mut impl Sheet) {
    let peer = &request.peer;
    let scheme = if peer.https { "https" } else { "http" };
    let believed = |name: &'static str| {
        peer.trusted.then(|| request.headers.get_all(name)).into_iter().flatten()
    };
    let host = request.host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);

    out.written("forwarded", |out| {
        for value in believed("forwarded") {
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b", ");
        }
        let is_v6 = matches!(peer.address, Some(std::net::IpAddr::V6(_)));
        out.extend_from_slice(if is_v6 { b"for=\"[" } else { b"for=" });
        out.extend_from_slice(peer.address_text.as_bytes());
        out.extend_from_slice(if is_v6 { b"]\"" } else { b"" });
        if !host.is_empty() {
            out.extend_from_slice(b";host=\"");
            out.extend_from_slice(host);
            out.push(b'"');
        }
        out.extend_from_slice(b";proto=");
        out.extend_from_slice(scheme.as_bytes());
    });
    out.written("x-forwarded-for", |out| {
        for value in believed("x-forwarded-for") {
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(peer.address_text.as_bytes());
    });
    // a trusted proxy may pass on what its own client made up: only what can be a scheme or a host is believed
    match believed("x-forwarded-proto").next().filter(|value| is_list_of(value, is_scheme)) {
        Some(value) => out.line("x-forwarded-proto", value.as_bytes()),
        None => out.line("x-forwarded-proto", scheme.as_bytes()),
    }
    match believed("x-forwarded-host").next().filter(|value| is_list_of(value, is_authority)) {
        Some(value) => out.line("x-forwarded-host", value.as_bytes()),
        None if !host.is_empty() => out.line("x-forwarded-host", host),
        None => {}
    }
}

/// Whether every element of a comma-separated value is one of these, and there is at least one.
fn is_list_of(value: &HeaderValue, is_one: fn(&[u8]) -> bool) -> bool {
    value.as_bytes().split(|byte| *byte == b',').all(|element| is_one(element.trim_ascii()))
}

fn is_scheme(text: &[u8]) -> bool {
    [&b"https"[..], b"http", b"wss", b"ws"].iter().any(|scheme| text.eq_ignore_ascii_case(scheme))
}

fn via(request: &Request) -> &'static [u8] {
    match request.version {
        http::Version::HTTP_10 => b"1.0 tollgate",
        http::Version::HTTP_2 => b"2 tollgate",
        _ => b"1.1 tollgate",
    }
}

/// How long the body is, and what the connection is for.
fn write_framing(out: &mut Vec<u8>, request: &Request, upload: &Upload, headers: &Fields) {
    match upload.length() {
        Some(0) if !expects_content(&request.method) => {}
        Some(length) => {
            out.extend_from_slice(b"content-length: ");
            write_number(out, length);
            out.extend_from_slice(b"\r\n");
        }
        None => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    if upload.is_held() {
        out.extend_from_slice(b"expect: 100-continue\r\n");
    }
    if let Some(protocol) = &request.upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        write_field(out, &header::UPGRADE, protocol);
    } else if wants_trailers(headers) {
        out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
    }
}

fn wants_trailers(headers: &Fields) -> bool {
    has_token(headers, &header::TE, "trailers")
}

/// Methods whose body is told even where it is empty (RFC 9110 §8.6).
fn expects_content(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Room for the fields that we add to a head.
const FIELDS_OF_OURS: usize = 10;
