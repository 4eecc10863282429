//! Mints access tokens: JWTs after RFC 9068, signed by the key ring, and reference tokens, kept in the store.

use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::{Value, json};

use super::TokenError;
use super::client::Record;
use super::grant::Request;
use crate::config::{Settings, TokenFormat};
use crate::identity::Scopes;
use crate::keys::{KeyError, SigningKey};
use crate::reference::{self, Kept};
use crate::store::Store;

/// Why no token was minted.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// There is no `[token]` in the configuration.
    #[error("there is no [token] table: this gateway issues no tokens")]
    NoService,
    /// The client is not in the configuration.
    #[error("there is no such client in [[clients]]")]
    UnknownClient,
    /// The client is disabled.
    #[error("the client is disabled; its tokens would be refused")]
    Disabled,
    /// A scope that the client may not have.
    #[error("the client may not have this scope; see its `scopes`")]
    Scope,
    /// The client gets reference tokens.
    #[error(
        "the client gets reference tokens (format = \"opaque\"), which only the running gateway can keep: ask its token endpoint"
    )]
    Opaque,
    /// The random source failed.
    #[error("the random source failed")]
    Random(#[from] Unspecified),
    /// The key could not sign.
    #[error("the token could not be signed")]
    Key(#[from] KeyError),
}

/// A token, and its `jti`.
pub(super) struct Minted {
    pub(super) token: String,
    pub(super) id: String,
}

/// What is said in a token (RFC 9068 §2.2), in one pass and without a tree.
struct Claims<'a> {
    issuer: &'a str,
    about: &'a About<'a>,
    audience: &'a Value,
    token_id: &'a str,
}

/// For whom a token is, and how long.
pub(super) struct About<'a> {
    pub(super) client: &'a Record,
    pub(super) scopes: &'a Scopes,
    /// Seconds since 1970.
    pub(super) now: u64,
    /// Seconds.
    pub(super) expires_in: u64,
    /// The SHA-256 of the certificate that has to come with it.
    pub(super) bound_to: Option<[u8; 32]>,
}

impl About<'_> {
    /// `cnf` (RFC 8705 §3.1).
    fn confirmation(&self) -> Option<Value> {
        let digest = URL_SAFE_NO_PAD.encode(self.bound_to?);
        Some(json!({ "x5t#S256": digest }))
    }
}

impl Serialize for Claims<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut claims = serializer.serialize_map(None)?;
        claims.serialize_entry("iss", self.issuer)?;
        let About { client, scopes, now, expires_in, .. } = self.about;
        claims.serialize_entry("sub", &client.id)?;
        claims.serialize_entry("client_id", &client.id)?;
        claims.serialize_entry("aud", self.audience)?;
        if !scopes.is_empty() {
            claims.serialize_entry("scope", &format_args!("{scopes}"))?;
        }
        claims.serialize_entry("iat", now)?;
        claims.serialize_entry("nbf", now)?;
        claims.serialize_entry("exp", &now.saturating_add(*expires_in))?;
        claims.serialize_entry("jti", self.token_id)?;
        // None of them is one of the above: the configuration refuses that.
        if let Some(confirmation) = self.about.confirmation() {
            claims.serialize_entry("cnf", &confirmation)?;
        }
        for (name, value) in &client.claims {
            claims.serialize_entry(name, value)?;
        }
        claims.end()
    }
}

/// An access token for `client`, good for `expires_in` seconds from `now`.
pub(super) fn issue(
    key: &SigningKey,
    issuer: &str,
    about: &About<'_>,
    audience: &Value,
) -> Result<Minted, IssueError> {
    let mut random = [0; TOKEN_ID_BYTES];
    rand::fill(&mut random)?;
    let id = URL_SAFE_NO_PAD.encode(random);
    let claims = Claims { issuer, about, audience, token_id: id.as_str() };
    Ok(Minted { token: key.sign(TYPE, &claims)?, id })
}

/// A reference token for `client`, kept in `store` until `expires_in` seconds from `now` have passed.
pub(super) async fn refer(
    store: &dyn Store,
    about: &About<'_>,
    audience: Value,
) -> Result<Minted, TokenError> {
    let mut more = about.client.claims.clone();
    more.extend(about.confirmation().map(|confirmation| ("cnf".to_owned(), confirmation)));
    let kept = Kept {
        client_id: about.client.id.clone(),
        scope: about.scopes.to_string(),
        aud: audience,
        iat: about.now,
        exp: about.now.saturating_add(about.expires_in),
        more,
    };
    let (token, digest) = reference::make().map_err(IssueError::Random)?;
    // Strings and numbers alone: there is nothing that cannot be written.
    let record = serde_json::to_vec(&kept).unwrap_or_default();
    store.put(digest, record.into(), kept.exp).await?;
    Ok(Minted { token, id: reference::token_id(&digest) })
}

/// An access token for the client `id` of `settings`, as the token endpoint would issue it at `now`; with
/// the scopes in `scope`, or all, and a lifetime of its own if it is given one.
///
/// # Errors
/// [`IssueError`], by variant.
pub fn mint(
    settings: &Settings,
    id: &str,
    scope: Option<&str>,
    expires_in: Option<Duration>,
    now: u64,
) -> Result<String, IssueError> {
    let token = settings.token.as_ref().ok_or(IssueError::NoService)?;
    let client = settings.clients.iter().find(|client| client.id == id);
    let client = client.ok_or(IssueError::UnknownClient)?;
    if client.disabled {
        return Err(IssueError::Disabled);
    }
    let record = Record::new(client, token);
    if record.format == TokenFormat::Opaque {
        return Err(IssueError::Opaque);
    }
    let scopes = match scope {
        None => record.scopes.clone(),
        Some(scope) => Scopes::parse(scope).map_err(|_| IssueError::Scope)?,
    };
    if !scopes.iter().all(|name| record.scopes.contains(name)) {
        return Err(IssueError::Scope);
    }
    let expires_in = expires_in.map_or(record.expires_in, |lifetime| lifetime.as_secs().max(1));
    let audience = Request::default().audience(&record.audience).unwrap_or_default();
    let about = About { client: &record, scopes: &scopes, now, expires_in, bound_to: None };
    issue(token.keys.signing(), &token.issuer, &about, &audience).map(|minted| minted.token)
}

/// RFC 9068 §2.1.
const TYPE: &str = "at+jwt";
/// As many as a UUID, and all of them random.
const TOKEN_ID_BYTES: usize = 16;
