//! What an issuer says of itself (OpenID Connect Discovery §3, RFC 8414 §2), as far as we need it.

use serde_json::Value;

use crate::config::{BadEndpoint, Endpoint};
use crate::json;

/// The metadata of an issuer.
#[derive(Clone, Debug, Default)]
pub(super) struct Metadata {
    pub(super) jwks: Option<Endpoint>,
    pub(super) introspection: Option<Endpoint>,
}

/// Why a document is not the metadata of the issuer.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadMetadata {
    #[error("it is no JSON object")]
    Json,
    /// RFC 8414 §3.3: it must not be used then.
    #[error(
        "its issuer is {found:?}, and {configured:?} is configured: they must be the same, letter by letter"
    )]
    Issuer { found: String, configured: String },
    #[error("its {member} is no URL to be asked")]
    Endpoint { member: &'static str, source: BadEndpoint },
    #[error("its {member} is plain http")]
    Clear { member: &'static str },
}

impl Metadata {
    /// The metadata of `issuer` in `document`.
    pub(super) fn read(
        document: &[u8],
        issuer: &str,
        allow_http: bool,
    ) -> Result<Self, BadMetadata> {
        let object = json::object(document).ok_or(BadMetadata::Json)?;
        let found = object.get("issuer").and_then(Value::as_str).unwrap_or_default();
        if found != issuer {
            let shown = found.chars().take(MAX_SHOWN).collect();
            return Err(BadMetadata::Issuer { found: shown, configured: issuer.to_owned() });
        }
        let endpoint = |member: &'static str| match object.get(member).and_then(Value::as_str) {
            None => Ok(None),
            Some(url) => match Endpoint::parse(url) {
                Ok(endpoint) if endpoint.is_private(allow_http) => Ok(Some(endpoint)),
                Ok(_) => Err(BadMetadata::Clear { member }),
                Err(source) => Err(BadMetadata::Endpoint { member, source }),
            },
        };
        Ok(Self { jwks: endpoint("jwks_uri")?, introspection: endpoint("introspection_endpoint")? })
    }
}

/// Characters of somebody else's text in a log line.
const MAX_SHOWN: usize = 256;

#[cfg(test)]
mod tests {
    use super::{BadMetadata, Metadata};

    const ISSUER: &str = "https://idp.example.com";

    fn read(document: &str) -> Result<Metadata, BadMetadata> {
        Metadata::read(document.as_bytes(), ISSUER, false)
    }

    #[test]
    fn the_endpoints_of_the_right_issuer_are_taken() {
        let metadata = read(
            r#"{"issuer":"https://idp.example.com","jwks_uri":"https://keys.example.com/k","introspection_endpoint":"https://idp.example.com/i"}"#,
        );
        let metadata = metadata.unwrap();
        assert_eq!(metadata.jwks.unwrap().to_string(), "https://keys.example.com/k");
        assert_eq!(metadata.introspection.unwrap().path, "/i");
        assert!(read(r#"{"issuer":"https://idp.example.com"}"#).unwrap().jwks.is_none());
    }

    #[test]
    fn the_document_of_another_issuer_is_refused_with_both_names() {
        for issuer in
            ["https://idp.example.com/", "https://IDP.example.com", "http://idp.example.com", ""]
        {
            let told = read(&format!(r#"{{"issuer":"{issuer}"}}"#)).unwrap_err().to_string();
            assert!(told.contains(&format!("{issuer:?}")) && told.contains(ISSUER), "{told}");
        }
        for document in [r#"{}"#, r#"{"issuer":["https://idp.example.com"]}"#, r#"{"issuer":null}"#]
        {
            assert!(matches!(read(document), Err(BadMetadata::Issuer { .. })), "{document}");
        }
    }

    #[test]
    fn keys_in_clear_or_out_of_a_file_are_refused() {
        for url in ["http://idp.example.com/k", "file:///etc/passwd", "http://169.254.169.254/"] {
            let told = read(&format!(r#"{{"issuer":"{ISSUER}","jwks_uri":"{url}"}}"#));
            assert!(
                matches!(told, Err(BadMetadata::Clear { .. } | BadMetadata::Endpoint { .. })),
                "{url}"
            );
        }
        for document in ["", "<html>", "[]", "null"] {
            assert!(matches!(read(document), Err(BadMetadata::Json)), "{document}");
        }
    }
}
