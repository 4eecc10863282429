//! Settings for unit tests: what a small `gateway.toml` gives, without a file.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use serde_json::Map;

use crate::config::{
    AuthorizationHeader, Client, ClientSecret, Endpoints, Identity, Log, Methods, Origin,
    OriginAddress, SecretKind, Server, Settings, StoreUrl, Token, TokenFormat, Upstream,
    UpstreamTls,
};
use crate::identity::Scopes;
use crate::keys::{Algorithm, KeyRing, SigningKey};
use crate::secret::Secret;

pub(crate) const ISSUER: &str = "https://gateway.example.com";
pub(crate) const AUDIENCE: &str = "https://api.example.com";
pub(crate) const CLIENT: &str = "foobarbaz";
pub(crate) const CLIENT_SECRET: &str = "yd09#!=@42 and+more%20";
pub(crate) const KEY: &[u8] = b"0f#kqPz7!mW2xR9vT4bN6cY1sD8gH3jL5aE0uI+oQ=ZkXpMrVtBnCyWsDgFhJlAe";

/// One HS256 key, the client [`CLIENT`] with [`CLIENT_SECRET`], the scopes `api:write` and `api:read`.
pub(crate) fn settings() -> Settings {
    let key = SigningKey::from_secret(Algorithm::HS256, Secret::new(KEY[..32].to_vec()), None);
    settings_with(KeyRing::new(key.unwrap(), Vec::new()).unwrap())
}

pub(crate) fn settings_with(keys: KeyRing) -> Settings {
    let header = |name, claim: &str| (HeaderName::from_static(name), claim.to_owned());
    Settings {
        server: Server {
            listen: Vec::new(),
            workers: 1,
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_header_size: 32 * 1024,
            max_body_size: None,
            max_connections: None,
            drain_timeout: Duration::from_secs(30),
        },
        upstream: Upstream {
            origin: Origin {
                https: false,
                address: OriginAddress::Tcp("127.0.0.1".to_owned(), 9000),
                authority: "127.0.0.1:9000".to_owned(),
                base_path: String::new(),
            },
            connect_timeout: Duration::from_secs(2),
            timeout: None,
            idle_timeout: Duration::from_secs(60),
            preserve_host: true,
            retries: 1,
            tls: UpstreamTls::default(),
        },
        token: Some(Token {
            path: "/auth/token".to_owned(),
            issuer: ISSUER.to_owned(),
            audience: vec![AUDIENCE.to_owned()],
            expires_in: Duration::from_secs(3600),
            keys: Arc::new(keys),
            types: vec![Some("at+jwt".to_owned()), Some("jwt".to_owned()), None],
            leeway: Duration::from_secs(60),
            scope_claims: vec!["scope".to_owned(), "scp".to_owned()],
            format: TokenFormat::Jwt,
            url: Some(format!("{ISSUER}/auth/token")),
            endpoints: Endpoints::default(),
        }),
        clients: vec![client(CLIENT, vec![sha256(CLIENT_SECRET)])],
        issuers: Vec::new(),
        identity: Identity {
            headers: vec![
                header("x-auth-subject", "sub"),
                header("x-auth-client", "client_id"),
                header("x-auth-scope", "scope"),
                header("x-auth-issuer", "iss"),
            ],
            authorization: AuthorizationHeader::Forward,
        },
        store: StoreUrl::Memory,
        admin: None,
        log: Log { json: false, level: "info".to_owned(), access: true },
    }
}

pub(crate) fn client(id: &str, secrets: Vec<ClientSecret>) -> Client {
    Client {
        id: id.to_owned(),
        secrets,
        keys: Vec::new(),
        methods: Methods { basic: true, post: true, key: false },
        scopes: Scopes::parse("api:write api:read").unwrap(),
        audience: None,
        expires_in: None,
        format: None,
        claims: Map::new(),
        disabled: false,
    }
}

pub(crate) fn sha256(secret: &str) -> ClientSecret {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let kind = SecretKind::Sha256(digest.as_ref().try_into().unwrap());
    ClientSecret { kind, not_after: None }
}
