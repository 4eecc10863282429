//! Which fields go on, in either direction. One table of names, read while a message is encoded.

use http::header::{self, HeaderName, HeaderValue};

use crate::message::Fields;

/// Fields of one connection only (RFC 9110 §7.6.1), and those that framing is made of: never forwarded.
#[must_use]
pub fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "content-length"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Fields that tell an upstream what the client's connection was, or that upstreams take for the proxy's
/// word: believed from a trusted proxy alone.
fn is_forwarding(name: &str) -> bool {
    name.starts_with("x-forwarded")
        || name.starts_with("x-original-")
        || matches!(
            name,
            "cf-connecting-ip"
                | "client-ip"
                | "forwarded"
                | "forwarded-for"
                | "remote-user"
                | "true-client-ip"
                | "x-client-ip"
                | "x-cluster-client-ip"
                | "x-real-ip"
                | "x-remote-user"
                | "x-rewrite-url"
        )
}

/// Fields by which a GET asks to be taken for another method.
#[must_use]
pub fn is_method_override(name: &str) -> bool {
    matches!(name, "x-http-method-override" | "x-http-method" | "x-method-override")
}

/// Decides, name by name, what of a client's request goes to the upstream.
#[derive(Debug)]
pub struct RequestFilter<'a> {
    /// Names that belong to the gateway: what a client sends under them is dropped. Lower case.
    pub reserved: &'a [HeaderName],
    /// Whether the peer's own forwarding fields are believed.
    pub trusted: bool,
    /// Whether the request needed no token, so that it must stay the method it is.
    pub open: bool,
    /// Whether `Authorization` is kept back.
    pub drop_authorization: bool,
    /// Names that the client's `Connection` field listed.
    pub connection_named: Vec<HeaderName>,
}

impl RequestFilter<'_> {
    /// Whether a client's field of this name goes on. Names with `_` or `.` are judged as if they had `-`:
    /// CGI and its heirs fold the three into one.
    #[must_use]
    pub fn passes(&self, name: &HeaderName) -> bool {
        let text = name.as_str();
        if self.connection_named.contains(name) {
            return false;
        }
        if text.bytes().any(|byte| byte == b'_' || byte == b'.') {
            let folded = text.replace(['_', '.'], "-");
            return folded != "authorization" && folded != "host" && self.passes_folded(&folded);
        }
        self.passes_folded(text) && !(self.drop_authorization && text == "authorization")
    }

    fn passes_folded(&self, name: &str) -> bool {
        let is_ours = matches!(name, "expect" | "proxy" | "x-request-id" | "via");
        let is_reserved = self.reserved.iter().any(|reserved| reserved == name);
        let is_disbelieved = is_forwarding(name) && !self.is_believed(name);
        let is_override = self.open && is_method_override(name);
        !(is_hop_by_hop(name) || is_ours || is_reserved || is_disbelieved || is_override)
    }

    /// From a trusted proxy its forwarding fields go on, but those that we append to are written anew.
    fn is_believed(&self, name: &str) -> bool {
        self.trusted
            && !matches!(
                name,
                "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto"
            )
    }
}

/// The names that `Connection` lists, less the options themselves and less what it has no say over: a client
/// cannot have the gateway drop what framing, routing or the judging of requests stand on.
#[must_use]
pub fn connection_named(headers: &Fields) -> Vec<HeaderName> {
    let mut named = Vec::new();
    for token in tokens(headers, &header::CONNECTION) {
        let Ok(name) = HeaderName::from_bytes(token.as_bytes()) else { continue };
        let protected = matches!(
            name.as_str(),
            "authorization"
                | "host"
                | "content-type"
                | "content-encoding"
                | "cookie"
                | "origin"
                | "traceparent"
                | "tracestate"
                | "close"
                | "keep-alive"
                | "upgrade"
                | "te"
        ) || is_hop_by_hop(name.as_str());
        if !protected && named.len() < MAX_CONNECTION_NAMED {
            named.push(name);
        }
    }
    named
}

/// Most names that one `Connection` field may list; further ones are ordinary fields.
const MAX_CONNECTION_NAMED: usize = 32;

/// The elements of a comma-separated field, over all its lines; what is not text is passed over.
pub fn tokens<'a>(headers: &'a Fields, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers
        .get_all(name)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
        .map(|token| token.trim_matches([' ', '\t']))
        .filter(|token| !token.is_empty())
}

/// Whether a comma-separated field has this element, in any case.
#[must_use]
pub fn has_token(headers: &Fields, name: &HeaderName, wanted: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(wanted))
}

/// Whether a field of the upstream's answer goes on to the client.
#[must_use]
pub fn response_field_passes(name: &HeaderName, connection_named: &[HeaderName]) -> bool {
    !is_hop_by_hop(name.as_str()) && !connection_named.contains(name)
}

/// Whether a trailer may go on: none that frames, routes, authenticates or controls (RFC 9110 §6.5.1).
#[must_use]
pub fn trailer_passes(name: &HeaderName, reserved: &[HeaderName]) -> bool {
    let text = name.as_str().replace(['_', '.'], "-");
    !is_hop_by_hop(&text)
        && !is_forwarding(&text)
        && !is_method_override(&text)
        && !reserved.iter().any(|reserved| reserved.as_str() == text)
        && !matches!(
            text.as_str(),
            "age"
                | "authorization"
                | "cache-control"
                | "content-encoding"
                | "content-range"
                | "content-type"
                | "cookie"
                | "date"
                | "expect"
                | "expires"
                | "host"
                | "location"
                | "max-forwards"
                | "origin"
                | "pragma"
                | "proxy"
                | "range"
                | "retry-after"
                | "set-cookie"
                | "vary"
                | "via"
                | "warning"
                | "www-authenticate"
                | "x-request-id"
        )
        && !text.starts_with("if-")
}

/// A value made of text that is known to be visible ASCII; empty where it is not.
#[must_use]
pub fn text_value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::{RequestFilter, connection_named, trailer_passes};
    use crate::message::Fields;

    fn filter(reserved: &[HeaderName]) -> RequestFilter<'_> {
        RequestFilter {
            reserved,
            trusted: false,
            open: true,
            drop_authorization: false,
            connection_named: Vec::new(),
        }
    }

    fn name(text: &str) -> HeaderName {
        HeaderName::from_bytes(text.as_bytes()).unwrap()
    }

    #[test]
    fn identity_headers_of_a_client_are_dropped_in_every_spelling() {
        let reserved = [name("x-auth-client")];
        let filter = filter(&reserved);
        for spelling in
            ["x-auth-client", "X-AUTH-CLIENT", "x_auth_client", "x.auth.client", "x-auth_client"]
        {
            assert!(!filter.passes(&name(spelling)), "{spelling}");
        }
        assert!(filter.passes(&name("x-auth-clients")));
    }

    #[test]
    fn underscore_spellings_of_fields_that_decide_are_dropped() {
        let filter = filter(&[]);
        for spelling in [
            "content_length",
            "transfer_encoding",
            "authorization",
            "x_forwarded_for",
            "x_http_method_override",
        ] {
            assert_eq!(filter.passes(&name(spelling)), spelling == "authorization", "{spelling}");
        }
        assert!(filter.passes(&name("my_field")));
    }

    #[test]
    fn method_override_fields_are_dropped_from_open_requests_alone() {
        let mut filter = filter(&[]);
        assert!(!filter.passes(&name("x-http-method-override")));
        filter.open = false;
        assert!(filter.passes(&name("x-http-method-override")));
    }

    #[test]
    fn connection_cannot_name_what_requests_are_judged_by() {
        let mut headers = Fields::new();
        headers.insert(
            http::header::CONNECTION,
            HeaderValue::from_static("close, X-Mine, authorization, Host, content-length, te"),
        );
        assert_eq!(connection_named(&headers), [name("x-mine")]);
    }

    #[test]
    fn trailers_that_frame_route_or_authenticate_are_dropped() {
        for bad in [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
            "x-forwarded-for",
            "if-match",
        ] {
            assert!(!trailer_passes(&name(bad), &[]), "{bad}");
        }
        assert!(trailer_passes(&name("grpc-status"), &[]));
        assert!(trailer_passes(&name("x-checksum"), &[]));
        assert!(!trailer_passes(&name("x_auth_client"), &[name("x-auth-client")]));
    }
}
