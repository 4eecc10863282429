//! The token service: step 4 of the walk. `POST /auth/token` (RFC 6749 §4.4) ends here, and so do the other endpoints of
//! the gateway that are switched on: who asks about a token or revokes one (`status`), and what everybody may know
//! (`published`). Shared by all workers; knows no route, and borrows the judge of tokens.
//!
//! The order of the answer is policy: what is malformed is told first, then the grant type, then the client,
//! then the scope; so nobody learns of clients by what they get wrong elsewhere.

mod assertion;
mod client;
mod error;
mod grant;
mod hashing;
mod issue;
mod published;
mod status;
mod throttle;

use std::io;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, PRAGMA};
use http::{HeaderValue, Method, StatusCode};
use http_body::Body;
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

pub use client::Disbelief;
pub use error::TokenError;
pub use issue::{IssueError, mint};

use crate::certificate::Certificate;
use crate::clock::Clock;
use crate::config::{Settings, TokenFormat};
use crate::identity::{Principal, Scopes};
use crate::keys::KeyRing;
use crate::message::text::write_number;
use crate::message::{BodyError, Fields};
use crate::reference::Bond;
use crate::store::{Store, StoreError};
use assertion::Expected;
use client::{Clients, Presented};
use grant::{Format, Request};
use published::Documents;
use throttle::Throttle;

/// Answers at the token endpoint. One for all workers, and for one configuration.
#[derive(Debug)]
pub struct TokenService {
    /// A handful: looked through for every request.
    paths: Vec<(String, Endpoint)>,
    documents: Documents,
    issuer: String,
    keys: Arc<KeyRing>,
    clients: Clients,
    /// What assertions must say.
    expected: Expected,
    store: Arc<dyn Store>,
    /// Failures are remembered over a reload: a new configuration forgives nobody.
    throttle: Arc<Throttle>,
    clock: Clock,
}

/// What the gateway answers itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// Issues tokens (RFC 6749).
    Token,
    /// Tells of a token (RFC 7662).
    Introspect,
    /// Revokes a token (RFC 7009).
    Revoke,
    /// The public keys (RFC 7517).
    Keys,
    /// What the token service can do (RFC 8414).
    ServerMetadata,
    /// What a protected resource demands (RFC 9728); by its number in the configuration.
    ResourceMetadata(usize),
}

impl Endpoint {
    /// For the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Introspect => "introspect",
            Self::Revoke => "revoke",
            Self::Keys => "jwks",
            Self::ServerMetadata | Self::ResourceMetadata(_) => "metadata",
        }
    }
}

/// Who can say whether a token of ours is good, for whatever audience: lent by the gateway, for this module judges none.
pub trait TokenJudge {
    /// What there is to say of `token` at `now`. One that only becomes valid later counts `for_revocation`.
    fn judge(&self, token: &str, now: u64, for_revocation: bool) -> impl Future<Output = Standing>;
}

/// What there is to say of a token.
#[derive(Debug)]
pub enum Standing {
    /// It is good, and this is how it can be called back.
    Good(Box<Principal>, Bond),
    /// It is none, or no more.
    Bad,
    /// That cannot be told now.
    Unknown,
}

/// One request to an endpoint.
#[derive(Debug)]
pub struct Asked<'r, B> {
    /// Its method.
    pub method: &'r Method,
    /// Its fields.
    pub headers: &'r Fields,
    /// Its body.
    pub body: B,
    /// Where it comes from.
    pub address: IpAddr,
    /// The certificate that its connection was made with.
    pub certificate: Option<&'r Certificate>,
}

/// Why there is no token service although there should be.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The random source failed.
    #[error("the random source failed")]
    Random(#[from] Unspecified),
    /// No threads for Argon2.
    #[error("no thread for hashing secrets could be started")]
    Threads(#[from] io::Error),
}

/// An answer of an endpoint, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its fields; no `Content-Length`, no `Date`.
    pub headers: Fields,
    /// JSON.
    pub body: Bytes,
    /// The client that asked, or said that it does, if there is such a client. For the log.
    pub client_id: Option<String>,
    /// How a client proved itself or tried to, from a closed set of names; empty where nobody has to.
    pub authentication: &'static str,
    /// What happened, from a closed set of names. For the log.
    pub code: &'static str,
    /// What became of a token, for the audit log.
    pub deed: Option<Box<Deed>>,
}

/// What became of a token.
#[derive(Clone, Debug)]
pub enum Deed {
    /// It was issued.
    Issued {
        /// Its `jti`.
        token_id: String,
        /// `scope`
        scope: String,
        /// `aud`
        audience: Value,
        /// Its end, seconds since 1970.
        expires_at: u64,
        /// What it is.
        format: TokenFormat,
    },
    /// It was called back.
    Revoked {
        /// Its `jti`.
        token_id: Option<String>,
        /// Its end, seconds since 1970.
        expires_at: u64,
    },
    /// A client was told of it.
    Told {
        /// Its `jti`, if it is good and the client may know of it.
        token_id: Option<String>,
        /// Whether that is so.
        active: bool,
    },
}

/// Who asks, as far as it is known yet.
struct Asker {
    client_id: Option<String>,
    authentication: &'static str,
}

struct Granted {
    token: String,
    expires_in: u64,
    scopes: Scopes,
    deed: Deed,
}

impl Answer {
    /// What is told where something that has to be kept cannot be.
    #[must_use]
    pub fn unavailable() -> Self {
        TokenError::from(StoreError::Unwritable).into_answer()
    }
}

impl TokenService {
    /// The service of `[token]`; none without that table. What `previous` knows of failures goes on.
    ///
    /// # Errors
    /// [`StartError`] if the operating system denies randomness or threads.
    pub fn new(
        settings: &Settings,
        store: Arc<dyn Store>,
        clock: Clock,
        previous: Option<&Self>,
    ) -> Result<Option<Arc<Self>>, StartError> {
        let Some(token) = &settings.token else { return Ok(None) };
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        let clients = Clients::new(&settings.clients, token, key, &clock)?;
        let audiences = std::iter::once(&token.issuer).chain(&token.url).cloned().collect();
        Ok(Some(Arc::new(Self {
            paths: published::paths(token),
            documents: Documents::new(token, &clients),
            issuer: token.issuer.clone(),
            keys: Arc::clone(&token.keys),
            clients,
            expected: Expected { audiences, leeway: token.leeway.as_secs() },
            store,
            throttle: previous.map_or_else(
                || Arc::new(Throttle::new()),
                |previous| Arc::clone(&previous.throttle),
            ),
            clock,
        })))
    }

    /// What answers at this path, if it is one of ours.
    #[must_use]
    pub fn endpoint(&self, path: &str) -> Option<Endpoint> {
        self.paths.iter().find(|(ours, _)| ours == path).map(|(_, endpoint)| *endpoint)
    }

    /// Every path of ours.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.paths.iter().map(|(path, _)| path.as_str())
    }

    /// Answers one request at `endpoint`. It cannot fail, and never waits longer for the body than
    /// [`BODY_TIMEOUT`]. Must run under tokio with its timer on.
    pub async fn answer<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        endpoint: Endpoint,
        asked: Asked<'_, B>,
        judge: &impl TokenJudge,
    ) -> Answer {
        let mut asker = Asker { client_id: None, authentication: client::NO_METHOD };
        let answer = match endpoint {
            Endpoint::Token => {
                self.grant(asked, &mut asker).await.map(|granted| granted.into_answer())
            }
            Endpoint::Introspect => self.introspect(asked, judge, &mut asker).await,
            Endpoint::Revoke => self.revoke(asked, judge, &mut asker).await,
            Endpoint::Keys | Endpoint::ServerMetadata | Endpoint::ResourceMetadata(_) => {
                return self.documents.answer(endpoint, asked.method);
            }
        };
        let answer = answer.unwrap_or_else(TokenError::into_answer);
        let Asker { client_id, authentication } = asker;
        Answer { client_id, authentication, ..answer }
    }

    /// Reads a request, and who sends it; what it says is not looked at further.
    async fn read<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        asked: Asked<'_, B>,
    ) -> Result<(Request, Presented), TokenError> {
        if asked.method != Method::POST {
            return Err(TokenError::Method);
        }
        let format = Format::of(asked.headers)?;
        let body = tokio::time::timeout(BODY_TIMEOUT, read(asked.headers, asked.body));
        let body = body.await.map_err(|_| TokenError::BodyTooSlow)??;
        let request = Request::read(format, &body)?;
        let presented = Presented::read(asked.headers, &request, asked.certificate)?;
        Ok((request, presented))
    }

    async fn grant<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        asked: Asked<'_, B>,
        asker: &mut Asker,
    ) -> Result<Granted, TokenError> {
        let address = asked.address;
        let (request, presented) = self.read(asked).await?;
        asker.authentication = presented.method();
        request.check_grant_type()?;
        asker.client_id = self.clients.find(presented.id()).map(|client| client.id.clone());
        // who proves itself by a certificate gets tokens that are worth nothing without it (RFC 8705 §3)
        let bound_to = match &presented {
            Presented::Certificate(_, shown) => Some(shown.sha256),
            Presented::Pairs(..)
            | Presented::Assertion(_)
            | Presented::Unusable
            | Presented::Nothing => None,
        };
        let client = self.believe(presented, address).await?;
        let scopes = request.scopes(&client.scopes)?;
        let audience = request.audience(&client.audience)?;
        let (now, expires_in) = (self.clock.unix_seconds(), client.expires_in);
        let told = audience.clone();
        let token = match client.format {
            TokenFormat::Jwt => {
                let (key, issuer) = (self.keys.signing(), &self.issuer);
                let about = issue::About { client, scopes: &scopes, now, expires_in, bound_to };
                issue::issue(key, issuer, &about, &audience)?
            }
            TokenFormat::Opaque => {
                let store = self.store.as_ref();
                let about = issue::About { client, scopes: &scopes, now, expires_in, bound_to };
                issue::refer(store, &about, audience).await?
            }
        };
        let issue::Minted { token, id } = token;
        let deed = Deed::Issued {
            token_id: id,
            scope: scopes.to_string(),
            audience: told,
            expires_at: now.saturating_add(expires_in),
            format: client.format,
        };
        Ok(Granted { token, expires_in, scopes, deed })
    }

    /// The client, unless it or its address failed too often.
    async fn believe(
        &self,
        presented: Presented,
        address: IpAddr,
    ) -> Result<&client::Record, TokenError> {
        if matches!(presented, Presented::Nothing) {
            return Err(TokenError::MissingClient);
        }
        let id = presented.id().to_owned();
        let check = || {
            let now = self.clock.monotonic();
            self.throttle.check(&id, address, now).map_err(TokenError::Throttled)
        };
        check()?;
        let result = match presented {
            Presented::Pairs(pairs, way) => {
                self.clients.authenticate(pairs, way, self.clock.unix_seconds()).await
            }
            Presented::Assertion(assertion) => self.prove(&assertion).await,
            Presented::Certificate(id, shown) => self.clients.by_certificate(&id, &shown),
            Presented::Unusable | Presented::Nothing => {
                Err(TokenError::InvalidClient(Disbelief::Unreadable))
            }
        };
        // Attempts that were hashed at the same time are no way around the limit.
        check()?;
        if let Err(TokenError::InvalidClient(_)) = result {
            self.throttle.failed(&id, address, self.clock.monotonic());
        }
        result
    }

    /// The client that an assertion proves; once.
    async fn prove(&self, assertion: &assertion::Assertion) -> Result<&client::Record, TokenError> {
        let now = self.clock.unix_seconds();
        let (client, proof) = self.clients.prove(assertion, &self.expected, now)?;
        if self.store.once(proof.key, proof.ends).await? {
            Ok(client)
        } else {
            Err(TokenError::InvalidClient(Disbelief::Replay))
        }
    }
}

/// The whole body, wiped when dropped.
async fn read<B: Body<Data = Bytes, Error = BodyError>>(
    headers: &Fields,
    body: B,
) -> Result<Zeroizing<Vec<u8>>, TokenError> {
    let declared =
        headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let expected: u64 = body.size_hint().lower().max(declared.unwrap_or(0));
    if expected > MAX_BODY as u64 {
        return Err(TokenError::BodyTooLong);
    }
    let mut body = pin!(body);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|fault| match fault {
            BodyError::TooLarge => TokenError::BodyTooLong,
            BodyError::Stalled => TokenError::BodyTooSlow,
            BodyError::Cut | BodyError::Malformed => TokenError::BodyBroken,
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if bytes.len() + data.len() > MAX_BODY {
            return Err(TokenError::BodyTooLong);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

impl Granted {
    /// RFC 6749 §5.1. Nothing of it needs escaping: a token is base64url with dots, and a scope has neither quotes nor
    /// backslashes (§3.3).
    fn into_answer(self) -> Answer {
        let scope = self.scopes.to_string();
        let mut body = Vec::with_capacity(self.token.len() + scope.len() + 96);
        body.extend_from_slice(b"{\"access_token\":\"");
        body.extend_from_slice(self.token.as_bytes());
        body.extend_from_slice(b"\",\"token_type\":\"Bearer\",\"expires_in\":");
        write_number(&mut body, self.expires_in);
        if !scope.is_empty() {
            body.extend_from_slice(b",\"scope\":\"");
            body.extend_from_slice(scope.as_bytes());
            body.push(b'"');
        }
        body.push(b'}');
        Answer {
            status: StatusCode::OK,
            headers: common_headers(),
            body: body.into(),
            client_id: None,
            authentication: "",
            code: "issued",
            deed: Some(Box::new(self.deed)),
        }
    }
}

/// Nothing that is said here may be kept (RFC 6749 §5.1).
fn common_headers() -> Fields {
    let mut headers = Fields::with_capacity(6);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    headers
}

fn json(value: &impl Serialize) -> Bytes {
    // Strings and numbers alone: there is nothing that cannot be written.
    serde_json::to_vec(value).map(Bytes::from).unwrap_or_default()
}

/// Longest body, bytes; a hundred times what a request needs.
pub const MAX_BODY: usize = 8 * 1024;
/// How long a body may take.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;
