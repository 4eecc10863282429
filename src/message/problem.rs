//! Status, code and challenge as an answer (RFC 9457). Knows no error of ours.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::{Body, Response};

use crate::message::Fields;

/// RFC 9457 §3.1, and the id by which the log knows the request.
#[derive(Serialize)]
struct Problem<'a> {
    r#type: Type<'a>,
    title: &'a str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
}

/// A URN that ends with the code.
struct Type<'a>(&'a str);

impl Serialize for Type<'_> {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(&format_args!("urn:tollgate:problem:{}", self.0))
    }
}

/// A problem document: `type`, `title`, `status`, `detail`, `request_id`.
///
/// `code` is stable and ends the `type`; `detail` is for people and must hold nothing that a client sent.
#[must_use]
pub fn problem(
    status: StatusCode,
    code: &str,
    detail: &str,
    request_id: &str,
    mut headers: Fields,
) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let document =
        Problem { r#type: Type(code), title, status: status.as_u16(), detail, request_id };
    // strings and a number: nothing here can fail to be written
    let mut body = serde_json::to_vec(&document).unwrap_or_default();
    body.push(b'\n'); // for whoever reads it on a terminal
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::new(status, headers, Body::from(Bytes::from(body)))
}
