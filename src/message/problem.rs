//! Status, code and challenge as an answer (RFC 9457). Knows no error of ours.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{Body, Response};

/// A problem document: `type`, `title`, `status`, `detail`, `request_id`.
///
/// `code` is stable and ends the `type`; `detail` is for people and must hold nothing that a client sent.
#[must_use]
pub fn problem(
    status: StatusCode,
    code: &str,
    detail: &str,
    request_id: &str,
    mut headers: HeaderMap,
) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let document = serde_json::json!({
        "type": format!("urn:tollgate:problem:{code}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "request_id": request_id,
    });
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::new(status, headers, Body::from(Bytes::from(document.to_string())))
}
