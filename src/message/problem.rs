//! Status, code and challenge as an answer (RFC 9457). Knows no error of ours.

use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

use super::{Body, Fields, Response};

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
    let length = code.len() + title.len() + detail.len() + request_id.len();
    let mut body = Vec::with_capacity(length + ROOM);
    let fields = [
        ("{\"type\":\"urn:tollgate:problem:", code, "\""),
        (",\"title\":\"", title, "\""),
        (",\"status\":", status.as_str(), ""),
        (",\"detail\":\"", detail, "\""),
        // by which the log knows the request
        (",\"request_id\":\"", request_id, "\"}\n"),
    ];
    for (name, text, end) in fields {
        body.extend_from_slice(name.as_bytes());
        escape(text, &mut body);
        body.extend_from_slice(end.as_bytes());
    }
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::new(status, headers, Body::from(Bytes::from(body)))
}

/// `text` as it stands within a JSON string.
fn escape(text: &str, out: &mut Vec<u8>) {
    if text.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    // rare: most of what is said here are constants
    let quoted = serde_json::Value::from(text).to_string();
    let bare = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    out.extend_from_slice(bare.as_bytes());
}

/// For the names of the members and what stands between them.
const ROOM: usize = 128;

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::{Value, json};

    use super::problem;
    use crate::message::Body;
    use crate::message::Fields;

    #[test]
    fn a_problem_is_json_whatever_it_says() {
        for detail in ["plain", "a \"quoted\" \\ word", "line\nbreak\u{0}", "é\u{2028}"] {
            let answer = problem(StatusCode::FORBIDDEN, "code", detail, "id-1", Fields::new());
            let Body::Full(body) = &answer.body else { panic!("{:?}", answer.body) };
            let told: Value = serde_json::from_slice(body).unwrap();
            let title = "Forbidden";
            assert_eq!(
                told,
                json!({"type": "urn:tollgate:problem:code", "title": title, "status": 403, "detail": detail, "request_id": "id-1"})
            );
            assert!(body.ends_with(b"}\n"));
        }
    }
}
