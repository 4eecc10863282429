//! A refusal as gRPC clients understand it: they look for `grpc-status` and take any other status than 200 for a fault
//! of the network.

use http::{HeaderName, HeaderValue, StatusCode, header};

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::message::headers::text_value;
use crate::message::{Body, Fields, Response};

/// Whether this is a call: `application/grpc`, `application/grpc+proto`, `application/grpc-web`, …
pub(super) fn is_call(headers: &Fields) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return false };
    let front = kind.as_bytes().get(..CALL.len());
    front.is_some_and(|front| front.eq_ignore_ascii_case(CALL.as_bytes()))
}

/// The refusal `refused`, told by an answer that is trailers only. Its challenge and its `Retry-After` stay.
pub(super) fn tell(refused: Response, message: &str) -> Response {
    let mut headers = refused.headers;
    let code = code(refused.status, headers.contains_key(header::WWW_AUTHENTICATE));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(CALL));
    headers.insert(GRPC_STATUS, HeaderValue::from(code));
    let message = utf8_percent_encode(message, ENCODED).to_string();
    headers.insert(GRPC_MESSAGE, text_value(&message));
    Response::new(StatusCode::OK, headers, Body::Empty)
}

/// The code that gRPC has for this (its "HTTP to gRPC status code mapping", and what the gateway knows better).
const fn code(status: StatusCode, is_challenge: bool) -> u16 {
    match status {
        StatusCode::UNAUTHORIZED => UNAUTHENTICATED,
        StatusCode::FORBIDDEN => PERMISSION_DENIED,
        _ if is_challenge => UNAUTHENTICATED,
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => {
            UNIMPLEMENTED
        }
        StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            RESOURCE_EXHAUSTED
        }
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => DEADLINE_EXCEEDED,
        _ => INTERNAL,
    }
}

const DEADLINE_EXCEEDED: u16 = 4;
const PERMISSION_DENIED: u16 = 7;
const RESOURCE_EXHAUSTED: u16 = 8;
const UNIMPLEMENTED: u16 = 12;
const INTERNAL: u16 = 13;
const UNAVAILABLE: u16 = 14;
const UNAUTHENTICATED: u16 = 16;

const CALL: &str = "application/grpc";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// What may not stand in `grpc-message` as it is.
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use http::{HeaderValue, StatusCode};

    use super::{is_call, tell};
    use crate::message::{Body, Fields, Response};

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for (kind, is_one) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("Application/GRPC-web", true),
            ("application/json", false),
            ("x-application/grpc", false),
            ("", false),
        ] {
            let mut headers = Fields::new();
            headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static(kind));
            assert_eq!(is_call(&headers), is_one, "{kind}");
        }
        assert!(!is_call(&Fields::new()));
    }

    #[test]
    fn a_message_cannot_break_out_of_its_field() {
        let refused = Response::new(StatusCode::BAD_GATEWAY, Fields::new(), Body::Empty);
        let answer = tell(refused, "50 % off\r\ngrpc-status: 0 é");
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["grpc-status"], "14");
        assert_eq!(answer.headers["grpc-message"], "50 %25 off%0D%0Agrpc-status: 0 %C3%A9");
    }
}
