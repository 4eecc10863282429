//! What became of a token: introspection (RFC 7662) and revocation (RFC 7009), for clients that prove themselves as at
//! the token endpoint.
//!
//! Invariant: whoever may not know of a token learns what is said of one that never was.

use bytes::Bytes;
use http::StatusCode;
use http_body::Body;
use serde_json::{Map, Value, json};

use super::client::{Disbelief, Presented, Record};
use super::{
    Answer, Asked, Asker, Deed, Standing, TokenError, TokenJudge, TokenService, common_headers,
    json as written,
};
use crate::identity::Principal;
use crate::message::BodyError;
use crate::reference::Bond;
use crate::secret::Secret;
use crate::store::StoreError;

impl TokenService {
    /// Tells the client that asks whether its token is good, and what it says.
    pub(super) async fn introspect<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        asked: Asked<'_, B>,
        judge: &impl TokenJudge,
        asker: &mut Asker,
    ) -> Result<Answer, TokenError> {
        let (client, token) = self.question(asked, asker).await?;
        let standing = judge.judge(token.expose(), self.clock.unix_seconds(), false).await;
        let mut deed = Deed::Told { token_id: None, active: false };
        let (code, body) = match standing {
            Standing::Good(principal, _) if may_know(client, &principal) => {
                deed = Deed::Told { token_id: principal.token_id.clone(), active: true };
                ("token_active", active(*principal))
            }
            Standing::Good(..) => ("token_not_for_client", json!({ "active": false })),
            Standing::Bad => ("token_inactive", json!({ "active": false })),
            Standing::Unknown => return Err(StoreError::Unwritable.into()),
        };
        Ok(answer(written(&body), code, Some(deed)))
    }

    /// Revokes a token of the client that asks. Once this is answered with 200, no request that begins later gets
    /// through with it, whatever happens.
    pub(super) async fn revoke<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        asked: Asked<'_, B>,
        judge: &impl TokenJudge,
        asker: &mut Asker,
    ) -> Result<Answer, TokenError> {
        let (client, token) = self.question(asked, asker).await?;
        let standing = judge.judge(token.expose(), self.clock.unix_seconds(), true).await;
        let (principal, bond) = match standing {
            Standing::Good(principal, bond) => (principal, bond),
            Standing::Bad => return Ok(answer(Bytes::new(), "nothing_to_revoke", None)),
            Standing::Unknown => return Err(StoreError::Unwritable.into()),
        };
        if principal.client_id.as_deref() != Some(&client.id) {
            return Err(TokenError::ForeignToken);
        }
        match bond {
            Bond::None => return Err(TokenError::Irrevocable),
            Bond::Unless(key) => self.store.revoke(key, principal.expires_at).await?,
            Bond::While(digest) => self.store.remove(digest).await?,
        }
        let Principal { token_id, expires_at, .. } = *principal;
        let deed = Deed::Revoked { token_id, expires_at };
        Ok(answer(Bytes::new(), "revoked", Some(deed)))
    }

    /// Who asks, and about which token.
    async fn question<B: Body<Data = Bytes, Error = BodyError>>(
        &self,
        asked: Asked<'_, B>,
        asker: &mut Asker,
    ) -> Result<(&Record, Secret<String>), TokenError> {
        let address = asked.address;
        let (request, presented) = self.read(asked).await?;
        asker.authentication = presented.method();
        if matches!(presented, Presented::Nothing) {
            return Err(TokenError::InvalidClient(Disbelief::Unreadable)); // RFC 7662 §2.3
        }
        asker.client_id = self.clients.find(presented.id()).map(|client| client.id.clone());
        let client = self.believe(presented, address).await?;
        let token = request.token.ok_or(TokenError::MissingToken)?;
        Ok((client, token))
    }
}

/// A client may know of its own tokens, and of those for an audience that its own are for: so an API asks about the tokens
/// that it is shown, as a client with the API's audience.
fn may_know(client: &Record, principal: &Principal) -> bool {
    let shared = |name: &Value| name.as_str().is_some_and(|name| is_among(&client.audience, name));
    principal.client_id.as_deref() == Some(&client.id)
        || match principal.claims.get("aud") {
            Some(Value::Array(names)) => names.iter().any(shared),
            Some(name) => shared(name),
            None => false,
        }
}

fn is_among(names: &[String], name: &str) -> bool {
    names.iter().any(|known| known == name)
}

/// RFC 7662 §2.2: every claim of the token, and what is said of all of ours.
fn active(principal: Principal) -> Value {
    let mut members: Map<String, Value> = principal.claims;
    members.insert("active".to_owned(), Value::Bool(true));
    members.insert("token_type".to_owned(), "Bearer".into());
    members.insert("client_id".to_owned(), principal.client_id.into());
    if !principal.scopes.is_empty() {
        members.insert("scope".to_owned(), principal.scopes.to_string().into());
    }
    Value::Object(members)
}

fn answer(body: Bytes, code: &'static str, deed: Option<Deed>) -> Answer {
    Answer {
        status: StatusCode::OK,
        headers: common_headers(),
        body,
        client_id: None,
        authentication: "",
        code,
        deed: deed.map(Box::new),
    }
}
