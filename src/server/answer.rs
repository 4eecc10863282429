//! The head of an answer on the wire: one status line, one framing, no field of another connection.

use http::{Method, StatusCode, Version, header};

use crate::http1::wire::{write_field, write_line};
use crate::message::text::write_number;
use crate::message::{Body, Response};

/// How the end of an answer's body is told (RFC 9112 §6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// There is no body, whatever the fields say.
    None,
    Length(u64),
    Chunked,
    /// HTTP/1.0 knows no chunks.
    UntilClose,
}

impl Framing {
    pub(super) fn of(response: &Response, method: &Method, version: Version) -> Self {
        Self::by(&response.body, response.status, method, version)
    }

    pub(super) fn by(body: &Body, status: StatusCode, method: &Method, version: Version) -> Self {
        if *method == Method::HEAD
            || status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
        {
            return Self::None;
        }
        match (body.length(), version) {
            (Some(length), _) => Self::Length(length),
            (None, Version::HTTP_10) => Self::UntilClose,
            (None, _) => Self::Chunked,
        }
    }
}

/// Writes the head. `response.headers` holds no framing fields, unless there is no body to frame.
pub(super) fn write_head(
    out: &mut Vec<u8>,
    response: &Response,
    framing: Framing,
    version: Version,
    keep_alive: bool,
    date: &[u8],
) {
    write_status(out, response.status);
    for (name, value) in &response.headers {
        write_field(out, name, value);
    }
    if !response.headers.contains_key(header::DATE) {
        write_line(out, "date", date);
    }
    match framing {
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked => write_line(out, "transfer-encoding", b"chunked"),
        Framing::None | Framing::UntilClose => {
            // what HEAD is not sent has a length all the same
            let told = response.headers.contains_key(header::CONTENT_LENGTH);
            if let (Framing::None, false, Some(length @ 1..)) =
                (framing, told, response.body.length())
            {
                write_length(out, length);
            }
        }
    }
    if let Some(tunnel) = &response.tunnel {
        write_line(out, "connection", b"upgrade");
        write_field(out, &header::UPGRADE, &tunnel.protocol);
    } else if !keep_alive {
        write_line(out, "connection", b"close");
    } else if version == Version::HTTP_10 {
        write_line(out, "connection", b"keep-alive");
    }
    out.extend_from_slice(b"\r\n");
}

/// The status line.
pub(super) fn write_status(out: &mut Vec<u8>, status: StatusCode) {
    if status == StatusCode::OK {
        out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    out.extend_from_slice(b"content-length: ");
    write_number(out, length);
    out.extend_from_slice(b"\r\n");
}
