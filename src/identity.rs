//! Who speaks: the words that every module shares.

use std::fmt;

use serde_json::{Map, Value};

/// Scope tokens in the order in which they were granted, each once (RFC 6749 §3.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Scopes(Vec<Box<str>>);

impl Scopes {
    /// Reads a space-delimited list; repeated names are kept once.
    ///
    /// # Errors
    /// The first name with a character outside RFC 6749 §3.3 (`%x21 / %x23-5B / %x5D-7E`).
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut scopes = Self::default();
        for name in text.split(' ').filter(|name| !name.is_empty()) {
            if !is_scope_token(name) {
                return Err(name.to_owned());
            }
            scopes.add(name);
        }
        Ok(scopes)
    }

    /// Adds a name that is not there yet. The name is taken as it is.
    pub fn add(&mut self, name: &str) {
        if !self.contains(name) {
            self.0.push(name.into());
        }
    }

    /// Whether exactly this name was granted: whole words, case-sensitive.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.iter().any(|held| &**held == name)
    }

    /// The names, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    /// Whether nothing was granted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many names there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The wire form: space-delimited.
impl fmt::Display for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.iter().enumerate() {
            if at > 0 {
                out.write_str(" ")?;
            }
            out.write_str(name)?;
        }
        Ok(())
    }
}

/// Whether `name` is one scope token (RFC 6749 §3.3).
#[must_use]
pub fn is_scope_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5B | 0x5D..=0x7E))
}

/// The name of our own token service among the issuers.
pub const OWN_ISSUER: &str = "own";

/// Whom a valid token speaks for. Made only by a judge of tokens.
#[derive(Clone, Debug)]
pub struct Principal {
    /// `iss`.
    pub issuer: String,
    /// The name under which the configuration knows that issuer; [`OWN_ISSUER`] for tokens of our own.
    pub issuer_name: String,
    /// `sub`.
    pub subject: Option<String>,
    /// `client_id`, else `azp`, else (own tokens) `sub`.
    pub client_id: Option<String>,
    /// The scopes, normalised.
    pub scopes: Scopes,
    /// `exp`, seconds since 1970.
    pub expires_at: u64,
    /// `nbf`, seconds since 1970.
    pub not_before: Option<u64>,
    /// `cnf`, `x5t#S256` (RFC 8705 §3.1): the SHA-256 of the certificate without which the token is worth nothing.
    pub bound_to: Option<[u8; 32]>,
    /// `jti`.
    pub token_id: Option<String>,
    /// Every claim of the token, as it came.
    pub claims: Map<String, Value>,
}

#[cfg(test)]
mod tests {
    use super::Scopes;

    #[test]
    fn scopes_are_whole_words() {
        let scopes = Scopes::parse("readwrite  api:write readwrite").unwrap();
        assert_eq!(scopes.len(), 2);
        assert!(scopes.contains("readwrite"));
        assert!(!scopes.contains("read"));
        assert!(!scopes.contains("API:WRITE"));
        assert_eq!(scopes.to_string(), "readwrite api:write");
    }

    #[test]
    fn a_scope_with_a_quote_a_backslash_or_a_control_character_is_refused() {
        for bad in ["a\"b", "a\\b", "a\tb", "a\u{7f}", "é"] {
            assert!(Scopes::parse(bad).is_err(), "{bad:?}");
        }
    }
}
