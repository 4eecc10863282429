//! Body to request, and request to the scopes it earns (RFC 6749 §3.2, §4.4.2, appendix B). Two readers must
//! read one body alike, so everything that is said twice or in a broken encoding is refused.

use std::collections::HashSet;
use std::fmt;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;

use super::TokenError;
use crate::identity::Scopes;
use crate::message::Fields;
use crate::secret::Secret;

/// In which way parameters are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Format {
    Form,
    Json,
}

/// The parameters that mean something here.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) grant_type: Option<String>,
    pub(super) client_id: Option<String>,
    /// An empty one counts as a wrong secret, not as none: whoever sent it meant to prove something.
    pub(super) client_secret: Option<Secret<String>>,
    pub(super) scope: Option<String>,
    /// RFC 8707: any number of them.
    pub(super) resources: Vec<String>,
    pub(super) assertion_type: Option<String>,
    pub(super) assertion: Option<Secret<String>>,
    /// What is asked about, or to be revoked.
    pub(super) token: Option<Secret<String>>,
}

impl Format {
    /// By the one `Content-Type`; never by looking at the body.
    pub(super) fn of(headers: &Fields) -> Result<Self, TokenError> {
        if headers.contains_key(CONTENT_ENCODING) {
            return Err(TokenError::ContentEncoding);
        }
        let mut fields = headers.get_all(CONTENT_TYPE);
        let (Some(field), None) = (fields.next(), fields.next()) else {
            return Err(TokenError::ContentType);
        };
        let field = field.to_str().map_err(|_| TokenError::ContentType)?;
        let mut parts = field.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        for parameter in parts.filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or(TokenError::ContentType)?;
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"')).unwrap_or(value);
            if name.eq_ignore_ascii_case("charset")
                && !["utf-8", "utf8"].iter().any(|utf8| value.eq_ignore_ascii_case(utf8))
            {
                return Err(TokenError::ContentType);
            }
        }
        if name.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
            Ok(Self::Form)
        } else if name.eq_ignore_ascii_case("application/json") {
            Ok(Self::Json)
        } else {
            Err(TokenError::ContentType)
        }
    }
}

impl Request {
    pub(super) fn read(format: Format, body: &[u8]) -> Result<Self, TokenError> {
        let pairs = match format {
            Format::Form => form(body)?,
            Format::Json => {
                serde_json::from_slice::<Members>(body).map_err(|_| TokenError::MalformedBody)?.0
            }
        };
        let repeatable = (format == Format::Form).then_some("resource");
        if says_twice(&pairs, repeatable) {
            return Err(TokenError::Repeated);
        }
        let mut request = Self::default();
        for (name, value) in pairs {
            let filled = |value: String| Some(value).filter(|value| !value.is_empty());
            match name.as_str() {
                "grant_type" => request.grant_type = filled(value),
                "client_id" => request.client_id = filled(value),
                "client_secret" => request.client_secret = Some(Secret::new(value)),
                "scope" => request.scope = filled(value),
                "resource" => request.resources.extend(filled(value)),
                "client_assertion_type" => request.assertion_type = filled(value),
                "client_assertion" => request.assertion = filled(value).map(Secret::new),
                "token" => request.token = filled(value).map(Secret::new),
                _ => {}
            }
        }
        Ok(request)
    }

    /// Only client credentials are granted (RFC 6749 §4.4.2).
    pub(super) fn check_grant_type(&self) -> Result<(), TokenError> {
        match self.grant_type.as_deref() {
            Some("client_credentials") => Ok(()),
            Some(_) => Err(TokenError::UnsupportedGrantType),
            None => Err(TokenError::MissingGrantType),
        }
    }

    /// What is granted to a client that may have `allowed`: what it asks for, in its order and each once; all
    /// if it asks for nothing (RFC 6749 §3.3).
    pub(super) fn scopes(&self, allowed: &Scopes) -> Result<Scopes, TokenError> {
        let Some(asked) = &self.scope else { return Ok(allowed.clone()) };
        let asked = Scopes::parse(asked).map_err(|_| TokenError::InvalidScope)?;
        if asked.is_empty() || !asked.iter().all(|name| allowed.contains(name)) {
            return Err(TokenError::InvalidScope);
        }
        Ok(asked)
    }
}

impl Request {
    /// The audience of a token for a client that may have `allowed`: the resources that it asks for, each once; all if
    /// it asks for none (RFC 8707 §2).
    pub(super) fn audience(&self, allowed: &[String]) -> Result<Value, TokenError> {
        let mut audience: Vec<&str> = Vec::new();
        for resource in &self.resources {
            if !is_absolute_uri(resource) || !allowed.contains(resource) {
                return Err(TokenError::InvalidTarget);
            }
            if !audience.contains(&resource.as_str()) {
                audience.push(resource);
            }
        }
        if self.resources.is_empty() {
            audience.extend(allowed.iter().map(String::as_str));
        }
        Ok(match audience.as_slice() {
            [one] => Value::from(*one),
            several => several.iter().copied().map(Value::from).collect(),
        })
    }
}

/// RFC 3986 §4.3: a scheme, and no fragment.
fn is_absolute_uri(text: &str) -> bool {
    let scheme = text.split_once(':').map(|(scheme, _)| scheme.as_bytes());
    let is_scheme = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
    scheme.is_some_and(|scheme| {
        scheme.first().is_some_and(u8::is_ascii_alphabetic) && scheme.iter().all(is_scheme)
    }) && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

/// Whether a name stands there twice, other than `repeatable`.
fn says_twice(pairs: &[(String, String)], repeatable: Option<&str>) -> bool {
    let mut names = pairs.iter().map(|(name, _)| name.as_str()).enumerate();
    if pairs.len() <= FEW {
        let before = |at: usize, name| pairs[..at].iter().any(|(other, _)| other == name);
        return names.any(|(at, name)| before(at, name) && Some(name) != repeatable);
    }
    let mut seen = HashSet::with_capacity(pairs.len());
    names.any(|(_, name)| !seen.insert(name) && Some(name) != repeatable)
}

/// Name and value pairs, in order.
fn form(body: &[u8]) -> Result<Vec<(String, String)>, TokenError> {
    let mut pairs = Vec::new();
    for pair in body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
        let at = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
        let (name, value) = pair.split_at(at);
        let read = |text| decoded(text).ok_or(TokenError::MalformedBody);
        pairs.push((read(name)?, read(value.get(1..).unwrap_or_default())?));
    }
    Ok(pairs)
}

/// Form-decodes: `+` is a blank and `%XX` a byte. `None` for a `%` without two hex digits, or if it is no UTF-8.
pub(super) fn decoded(text: &[u8]) -> Option<String> {
    let digit =
        |byte: Option<u8>| char::from(byte?).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => digit(rest.next())? << 4 | digit(rest.next())?,
            _ => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

/// A flat JSON object of strings. A name twice is kept twice, for the caller to find.
struct Members(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a flat object of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = members.next_entry()? {
            if pairs.len() >= MAX_MEMBERS {
                return Err(de::Error::custom("too many members"));
            }
            pairs.push(pair);
        }
        Ok(Members(pairs))
    }
}

/// So many names are compared one by one; it would take long with as many as a body has room for.
const FEW: usize = 16;
/// The body is bounded already; this bounds what is built of it.
const MAX_MEMBERS: usize = 256;

#[cfg(test)]
mod tests {
    use http::header::{CONTENT_TYPE, HeaderValue};

    use super::{Format, Request, TokenError};
    use crate::identity::Scopes;
    use crate::message::Fields;

    fn form(body: &[u8]) -> Result<Request, TokenError> {
        Request::read(Format::Form, body)
    }

    fn json(body: &[u8]) -> Result<Request, TokenError> {
        Request::read(Format::Json, body)
    }

    #[test]
    fn t60_a_form_is_read_percent_encoded_everywhere() {
        let request =
            form(b"gr%61nt_type=client%5Fcredentials&client_secret=a%2Bb+c%26&&x").unwrap();
        assert_eq!(request.grant_type.as_deref(), Some("client_credentials"));
        assert_eq!(request.client_secret.unwrap().expose(), "a+b c&");
        assert!(request.client_id.is_none());
    }

    #[test]
    fn an_empty_value_is_an_absent_one() {
        let request = form(b"grant_type=&scope=&client_id=").unwrap();
        assert!(request.grant_type.is_none() && request.scope.is_none());
        assert!(request.client_id.is_none());
    }

    #[test]
    fn t69_a_parameter_twice_is_refused_same_or_different() {
        for name in ["grant_type", "client_id", "client_secret", "scope", "unknown"] {
            for (first, second) in [("a", "a"), ("a", "b"), ("", "a")] {
                let body = format!("{name}={first}&x=1&{name}={second}");
                assert!(matches!(form(body.as_bytes()), Err(TokenError::Repeated)), "{body}");
                let body = format!(r#"{{"{name}":"{first}","{name}":"{second}"}}"#);
                assert!(matches!(json(body.as_bytes()), Err(TokenError::Repeated)), "{body}");
            }
        }
        assert!(matches!(form(b"scope=a&sc%6Fpe=b"), Err(TokenError::Repeated)));
        assert!(matches!(json(br#"{"":"a","":"b"}"#), Err(TokenError::Repeated)));
        let many: String = (0..100).map(|number| format!("n{number}=x&")).collect();
        assert!(form(many.as_bytes()).is_ok());
        for twice in ["n7", "n99", "resource"] {
            let outcome = form(format!("{many}{twice}=y&resource=z").as_bytes());
            assert_eq!(outcome.is_ok(), twice == "resource", "{twice}");
        }
    }

    #[test]
    fn t70_broken_encodings_are_refused_and_other_names_ignored() {
        for body in [&b"a=%zz"[..], b"a=%", b"a=%4", b"%zz=a", b"a=%ff", b"a=\xff", b"a=%e2%28%a1"]
        {
            assert!(matches!(form(body), Err(TokenError::MalformedBody)), "{body:?}");
        }
        let request = form(b"client_secret[]=a&Grant_Type=client_credentials&a;b=c").unwrap();
        assert!(request.client_secret.is_none() && request.grant_type.is_none());
    }

    #[test]
    fn t71_only_two_content_types_are_taken() {
        let format = |values: &[&str]| {
            let mut headers = Fields::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            }
            Format::of(&headers).ok()
        };
        let form = "application/x-www-form-urlencoded";
        assert_eq!(format(&[form]), Some(Format::Form));
        assert_eq!(format(&[&form.to_uppercase()]), Some(Format::Form));
        assert_eq!(format(&[&format!("{form};charset=UTF-8")]), Some(Format::Form));
        assert_eq!(format(&["application/json; Charset=\"utf-8\";"]), Some(Format::Json));
        for bad in [
            "",
            "text/plain",
            "application/xml",
            "multipart/form-data; boundary=a",
            "application/jsonx",
            "application/json, application/json",
            "application/json; charset=utf-16",
            "application/json; charset",
            "application/problem+json",
            "json",
        ] {
            assert_eq!(format(&[bad]), None, "{bad}");
        }
        assert_eq!(format(&[]), None);
        assert_eq!(format(&[form, form]), None);
        let mut headers = Fields::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(http::header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(matches!(Format::of(&headers), Err(TokenError::ContentEncoding)));
    }

    #[test]
    fn t71_json_sent_as_form_and_form_as_json_are_no_requests() {
        assert!(form(br#"{"grant_type":"client_credentials"}"#).unwrap().grant_type.is_none());
        assert!(json(b"grant_type=client_credentials").is_err());
    }

    #[test]
    fn t72_only_a_flat_object_of_strings_is_read() {
        let deep = "[".repeat(8_000);
        for body in [
            "[]",
            "\"a\"",
            "null",
            "1",
            "",
            "{",
            "{}x",
            "{}{}",
            "\u{feff}{}",
            "{\"a\":1}",
            "{\"a\":true}",
            "{\"a\":null}",
            "{\"a\":{\"$ne\":1}}",
            "{\"a\":[\"b\"]}",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":1e999999}",
            "{/**/}",
            "{\"a\":NaN}",
            "{\"grant_type\":[\"client_credentials\"]}",
            &deep,
            "{\"a\":",
        ] {
            assert!(json(body.as_bytes()).is_err(), "{body}");
        }
        assert!(json(b"{\0\"\0a\0").is_err());
        assert!(json(br#"{"scope":"a","unknown":"b"}"#).is_ok());
    }

    #[test]
    fn resources_narrow_the_audience_and_unknown_ones_are_refused() {
        let allowed = ["https://a.example/x".to_owned(), "urn:b".to_owned(), "plain".to_owned()];
        let asked = |body: &str| form(body.as_bytes()).unwrap().audience(&allowed).ok();
        assert_eq!(asked("").unwrap(), serde_json::json!(allowed));
        assert_eq!(asked("resource=").unwrap(), serde_json::json!(allowed));
        assert_eq!(asked("resource=urn:b").unwrap(), "urn:b");
        let both = asked("resource=urn:b&resource=https://a.example/x&resource=urn:b");
        assert_eq!(both.unwrap(), serde_json::json!(["urn:b", "https://a.example/x"]));
        for bad in ["plain", "https://a.example/x%23f", "https://a.example", "urn:c", "%23", "/x"] {
            assert_eq!(asked(&format!("resource=urn:b&resource={bad}")), None, "{bad}");
        }
        assert!(matches!(json(br#"{"resource":"a","resource":"b"}"#), Err(TokenError::Repeated)));
    }

    #[test]
    fn scopes_are_granted_in_the_order_asked_each_once_and_all_if_none_is_asked() {
        let allowed = Scopes::parse("a b c").unwrap();
        let asked = |scope: Option<&str>| {
            let request = Request { scope: scope.map(str::to_owned), ..Request::default() };
            request.scopes(&allowed).ok().map(|scopes| scopes.to_string())
        };
        assert_eq!(asked(None).as_deref(), Some("a b c"));
        assert_eq!(asked(Some("c a c")).as_deref(), Some("c a"));
        for bad in ["d", "a d", "A", "admin *", "\"a\"", "a\r\nb", "a\tb", " ", "a,b"] {
            assert_eq!(asked(Some(bad)), None, "t75: {bad:?}");
        }
    }
}
