//! A WebSocket over HTTP/2 (RFC 8441), begun with an upstream that was asked as HTTP/1.1 has it (RFC 6455 §4).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};

use crate::message::Response;
use crate::upstream::Failure;

/// Makes of the upstream's 101 the 200 that extended CONNECT is answered with. `key` is what the upstream was asked by.
///
/// # Errors
/// [`Failure::UnaskedUpgrade`] if the upstream's answer is to another question.
pub(super) fn agree(response: &mut Response, key: Option<&HeaderValue>) -> Result<(), Failure> {
    let accepted = response.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    let wanted = key.map(|key| accept_of(key.as_bytes()));
    if accepted.is_none() || accepted.as_ref().map(HeaderValue::as_bytes) != wanted.as_deref() {
        return Err(Failure::UnaskedUpgrade);
    }
    response.status = StatusCode::OK;
    Ok(())
}

/// RFC 6455 §4.2.2.
fn accept_of(key: &[u8]) -> Vec<u8> {
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat());
    STANDARD.encode(hash).into_bytes()
}

const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::{accept_of, agree};
    use crate::message::{Body, Fields, Response};

    #[test]
    fn only_the_answer_to_the_key_that_was_sent_is_taken() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept_of(key.as_bytes()), b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        for (accept, is_good) in [
            (Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), true),
            (Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOO="), false),
            (Some(""), false),
            (None, false),
        ] {
            let mut headers = Fields::new();
            if let Some(accept) = accept {
                headers
                    .insert(http::header::SEC_WEBSOCKET_ACCEPT, HeaderValue::from_static(accept));
            }
            let mut response = Response::new(StatusCode::SWITCHING_PROTOCOLS, headers, Body::Empty);
            assert_eq!(agree(&mut response, Some(&key)).is_ok(), is_good, "{accept:?}");
            assert!(!response.headers.contains_key("sec-websocket-accept"));
        }
    }
}
