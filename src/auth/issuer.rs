//! Which issuer judges a token: by `iss` for what is a JWT by its form, by prefix and `when` for everything else.
//! One token has one judge; an issuer whose `when` is false, or has no answer, takes no part.

use std::net::IpAddr;

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD};
use http::{HeaderValue, Method, header};

use crate::condition::{Condition, Names};
use crate::config::Issuer;
use crate::json::{Json, Object};
use crate::message::{Fields, Request, host_part};

/// What of a request can choose a judge.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Case-sensitive.
    pub method: &'a Method,
    /// The authority that was asked.
    pub host: Option<&'a HeaderValue>,
    /// Without the query.
    pub path: &'a str,
    /// All of them.
    pub headers: &'a Fields,
    /// Where it comes from; those from one address wait for each other and not for the rest.
    pub client: Option<IpAddr>,
}

impl<'a> From<&'a Request> for Asking<'a> {
    fn from(request: &'a Request) -> Self {
        Self {
            method: &request.method,
            host: request.host.as_ref(),
            path: request.target.path(),
            headers: &request.headers,
            client: request.peer.address,
        }
    }
}

/// What each of `[[issuers]]` claims, in file order.
#[derive(Debug)]
pub(super) struct Claims {
    issuers: Vec<Claimant>,
}

#[derive(Debug)]
struct Claimant {
    issuer: String,
    prefix: Option<String>,
    when: Option<Condition>,
    is_asked: bool,
    is_asked_of_all: bool,
}

impl Claims {
    pub(super) fn new(issuers: &[Issuer]) -> Self {
        let claimant = |issuer: &Issuer| Claimant {
            issuer: issuer.issuer.clone(),
            prefix: issuer.token_prefix.clone(),
            when: issuer.when.clone(),
            is_asked: issuer.introspection.is_some(),
            is_asked_of_all: issuer.introspection.as_ref().is_some_and(|how| how.for_all),
        };
        Self { issuers: issuers.iter().map(claimant).collect() }
    }

    /// Whether the judge depends on more than the token.
    pub(super) fn are_conditional(&self) -> bool {
        self.issuers.iter().any(|claimant| claimant.when.is_some())
    }

    /// Whether any issuer is asked about reference tokens.
    pub(super) fn has_asked(&self) -> bool {
        self.issuers.iter().any(|claimant| claimant.is_asked)
    }

    /// The issuer of a JWT with this `iss`.
    pub(super) fn by_iss(&self, iss: &str, token: &str, asking: &Asking<'_>) -> Option<usize> {
        self.find(token, asking, |claimant| claimant.issuer == iss)
    }

    /// The issuer to ask about a JWT instead of verifying it, if its `iss` says so.
    pub(super) fn asked_of_all(&self, token: &str, asking: &Asking<'_>) -> Option<usize> {
        if !self.issuers.iter().any(|claimant| claimant.is_asked_of_all) {
            return None;
        }
        let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let claims = Object::read(&claims)?;
        let issuer = self.by_iss(claims.get("iss").and_then(Json::as_text)?, token, asking)?;
        self.issuers.get(issuer)?.is_asked_of_all.then_some(issuer)
    }

    /// The issuer to ask about a reference token: by its prefix, by a `when`, or the one that is left.
    pub(super) fn by_reference(&self, token: &str, asking: &Asking<'_>) -> Option<usize> {
        let bears = |claimant: &Claimant| {
            claimant.prefix.as_deref().is_some_and(|prefix| token.starts_with(prefix))
        };
        self.find(token, asking, |claimant| claimant.is_asked && bears(claimant))
            .or_else(|| {
                self.find(token, asking, |claimant| {
                    claimant.is_asked && claimant.prefix.is_none() && claimant.when.is_some()
                })
            })
            .or_else(|| {
                self.find(token, asking, |claimant| {
                    claimant.is_asked && claimant.prefix.is_none() && claimant.when.is_none()
                })
            })
    }

    /// The first that fits and takes part.
    fn find(
        &self,
        token: &str,
        asking: &Asking<'_>,
        fits: impl Fn(&Claimant) -> bool,
    ) -> Option<usize> {
        self.issuers.iter().position(|claimant| {
            fits(claimant)
                && claimant
                    .when
                    .as_ref()
                    .is_none_or(|when| when.holds(names(token, asking)) == Some(true))
        })
    }
}

/// Whether a token is a JWT by its form: three parts, the first of them a JSON object with `alg`.
///
/// Read leniently, so that a JWT that would be refused does not become a reference token by another spelling: whatever is
/// meant as a JWT is judged as one, and refused if it is not spelt as one.
pub(super) fn is_jwt(token: &str) -> bool {
    let mut parts = token.split('.');
    let (Some(header), Some(_), Some(_), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let header = header.replace('+', "-").replace('/', "_");
    let Ok(header) = LENIENT.decode(header) else { return false };
    // with a member twice it is still meant to be a header
    serde_json::from_slice::<serde_json::Map<_, serde_json::Value>>(&header)
        .is_ok_and(|header| header.contains_key("alg"))
}

/// What a `when` sees. The credential itself is not among it.
fn names(token: &str, asking: &Asking<'_>) -> Names {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let mut request = Names::default();
    request.text("method", Some(asking.method.as_str()));
    let host = asking.host.map(|host| String::from_utf8_lossy(host_part(host.as_bytes())));
    request.text("host", Some(&host.unwrap_or_default().to_ascii_lowercase()));
    request.text("path", Some(asking.path));
    let others = asking.headers.keys().filter(|name| *name != header::AUTHORIZATION);
    request.texts(
        "headers",
        others.map(|name| {
            let values: Vec<String> = asking.headers.get_all(name).map(text).collect();
            (name.as_str().to_owned(), values.join(", "))
        }),
    );
    let mut seen = Names::default();
    seen.text("prefix", Some(prefix(token)));
    seen.number("parts", token.split('.').count() as u64);
    let mut names = Names::default();
    names.names("request", request);
    names.names("token", seen);
    names
}

/// Up to the first `_`, with it, where that is near the beginning: `gh_` of `gh_1a2b`; else nothing.
fn prefix(token: &str) -> &str {
    let end = token.bytes().take(LONGEST_PREFIX).position(|byte| byte == b'_');
    end.and_then(|end| token.get(..=end)).unwrap_or_default()
}

/// Every spelling of base64 that some decoder takes.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);
/// Beyond it an underscore is part of what is random.
const LONGEST_PREFIX: usize = 16;

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::{is_jwt, prefix};

    #[test]
    fn three_parts_with_an_alg_are_a_jwt_and_nothing_else_is() {
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256"}"#);
        let bare = URL_SAFE_NO_PAD.encode(r#"{"typ":"JWT"}"#);
        for token in [
            format!("{header}.e30.AA"),
            format!("{header}.e30."),
            format!("{}.e30.AA", URL_SAFE_NO_PAD.encode(r#"{"alg":null,"alg":"none"}"#)),
        ] {
            assert!(is_jwt(&token), "{token}");
        }
        for token in [
            "ory_at_2mQ3.Zx8f".to_owned(),
            "a.b.c".to_owned(),
            format!("{header}.e30.AA.AA.AA"),
            format!("{header}.e30"),
            format!("{bare}.e30.AA"),
            "gh_1a2b".to_owned(),
            "..".to_owned(),
            String::new(),
        ] {
            assert!(!is_jwt(&token), "{token}");
        }
    }

    #[test]
    fn j43_another_spelling_of_a_jwt_does_not_make_it_a_reference_token() {
        let header = r#"{"alg":"RS256","kid":"???>>>"} "#;
        let padded = STANDARD.encode(header);
        assert!(padded.ends_with('=') && padded.contains(['+', '/']));
        let bare = URL_SAFE_NO_PAD.encode(header);
        let spare = format!(
            "{}{}",
            &bare[..bare.len() - 1],
            char::from(bare.as_bytes()[bare.len() - 1] + 1)
        );
        for header in [&padded, &spare, &bare] {
            for rest in ["e30.AA", "e30=.AA", "e3~.AB", ".", "e30.AA=="] {
                assert!(is_jwt(&format!("{header}.{rest}")), "{header}.{rest}");
            }
        }
    }

    #[test]
    fn a_prefix_ends_with_the_first_underscore() {
        for (token, told) in [
            ("gh_1_2", "gh_"),
            ("ory_at_1", "ory_"),
            ("1a2b", ""),
            ("0123456789abcdefg_", ""),
            ("_", "_"),
            ("", ""),
        ] {
            assert_eq!(prefix(token), told);
        }
    }
}
