//! Takes one credential out of the `Authorization` fields (RFC 6750 §2.1, RFC 9110 §11.4). Does not judge
//! it, and looks nowhere else: not into the query, not into a body, not into a cookie.

use http::header::AUTHORIZATION;

use super::denied::Denied;

use crate::message::Fields;

/// What a request brought to prove who it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Credential<'a> {
    /// No `Authorization` field.
    None,
    /// Another scheme than Bearer.
    Other,
    /// A Bearer token, `b64token` by its characters and not yet judged.
    Bearer(&'a str),
}

/// The one credential in `headers`.
///
/// # Errors
/// [`Denied::Repeated`] if there are two fields, [`Denied::Unreadable`] if the one is empty, has no scheme,
/// or says Bearer and then something else than one token.
pub fn credential(headers: &Fields) -> Result<Credential<'_>, Denied> {
    let mut fields = headers.get_all(AUTHORIZATION);
    let Some(field) = fields.next() else { return Ok(Credential::None) };
    if fields.next().is_some() {
        return Err(Denied::Repeated);
    }
    let field = field.as_bytes();
    let end = field.iter().position(|byte| !is_scheme(*byte)).unwrap_or(field.len());
    let (scheme, rest) = field.split_at(end);
    if scheme.is_empty() || rest.first().is_some_and(|byte| *byte != b' ') {
        return Err(Denied::Unreadable);
    }
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(Credential::Other);
    }
    let blanks = rest.iter().take_while(|byte| **byte == b' ').count();
    let token = rest.get(blanks..).unwrap_or_default();
    match std::str::from_utf8(token) {
        Ok(token) if is_b64token(token) => Ok(Credential::Bearer(token)),
        _ => Err(Denied::Unreadable),
    }
}

/// `token` of RFC 9110 §5.6.2.
const fn is_scheme(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

/// `b64token` of RFC 6750 §2.1.
fn is_b64token(text: &str) -> bool {
    let bare = text.trim_end_matches('=');
    !bare.is_empty() && bare.bytes().all(|byte| B64TOKEN[usize::from(byte)])
}

/// By a table: it is asked for every character of every token, those that are remembered included.
const B64TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0_u8;
    while byte < 128 {
        table[byte as usize] =
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/');
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HeaderValue};

    use super::{Credential, credential};
    use crate::auth::denied::Denied;
    use crate::message::Fields;

    fn headers(values: &[&str]) -> Fields {
        let mut headers = Fields::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn j46_the_scheme_is_read_in_any_case() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "bEaReR   a.b.c"] {
            assert_eq!(credential(&headers(&[value])), Ok(Credential::Bearer("a.b.c")), "{value}");
        }
    }

    #[test]
    fn j47_bearer_with_anything_but_one_token_is_malformed() {
        for value in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer\ttok",
            "Bearer \ttok",
            "Bearer:tok",
            "Bearer,tok",
            "Bearer=tok",
            "Bearer tok,",
            "Bearer tok, Bearer x",
            "Bearer x, Bearer tok",
            "Bearer \"tok\"",
            "Bearer <tok>",
            "Bearer tok;a=b",
            "Bearer token=\"tok\"",
            "Bearer Bearer tok",
            "Bearer tok tok",
            "Bearer tok ",
            "Bearer =",
            "Bearer a=b",
            "Bearer%20tok x",
            "Bearer tok%00",
            "\u{ff22}earer tok",
            "\u{200b}Bearer tok",
            "Bearer \u{200b}tok",
            " Bearer tok",
        ] {
            let headers = headers(&[value]);
            let found = credential(&headers);
            assert!(!matches!(found, Ok(Credential::Bearer(_) | Credential::None)), "{value:?}");
        }
        assert_eq!(credential(&headers(&["Bearer tok, Bearer x"])), Err(Denied::Unreadable));
        assert_eq!(credential(&headers(&["Bearer\ttok"])), Err(Denied::Unreadable));
        assert_eq!(credential(&headers(&[""])), Err(Denied::Unreadable));
    }

    #[test]
    fn j47_another_scheme_is_no_bearer_token() {
        for value in ["Basic YTpi", "Token tok", "JWT a.b.c", "DPoP tok", "Digest a=b", "a.b.c"] {
            assert_eq!(credential(&headers(&[value])), Ok(Credential::Other), "{value}");
        }
        assert_eq!(credential(&headers(&["Basic YTpi, Bearer tok"])), Ok(Credential::Other));
    }

    #[test]
    fn j48_two_authorization_fields_are_refused_in_every_order() {
        for pair in [
            ["Bearer good", "Bearer bad"],
            ["Bearer bad", "Bearer good"],
            ["Bearer same", "Bearer same"],
            ["Basic YTpi", "Bearer good"],
            ["Bearer good", "Basic YTpi"],
            ["", "Bearer good"],
            ["Bearer good", ""],
        ] {
            assert_eq!(credential(&headers(&pair)), Err(Denied::Repeated), "{pair:?}");
        }
    }

    #[test]
    fn j49_a_token_anywhere_else_is_not_seen() {
        let mut headers = Fields::new();
        for name in ["cookie", "proxy-authorization", "x-authorization", "authorization_"] {
            headers.insert(
                http::HeaderName::from_static(name),
                HeaderValue::from_static("Bearer a.b.c"),
            );
        }
        assert_eq!(credential(&headers), Ok(Credential::None));
    }
}
