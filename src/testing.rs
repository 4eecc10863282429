//! Settings for unit tests: what a small `gateway.toml` gives, without a file.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Version};
use serde_json::Map;

use crate::config::{
    AuthorizationHeader, Balance, Client, ClientSecret, Demands, Ejection, Endpoints, Identity,
    Log, Methods, Origin, OriginAddress, PathPattern, Policy, Protect, Route, SecretKind, Server,
    Settings, StoreUrl, Token, TokenFormat, Upstream, UpstreamTls,
};
use crate::identity::Scopes;
use crate::keys::{Algorithm, KeyRing, SigningKey};
use crate::message::{Body, Fields, Peer, Request, Target};
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
            tls: Vec::new(),
            workers: 1,
            proxy_protocol: false,
            trusted_proxies: Vec::new(),
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            max_header_size: 32 * 1024,
            max_body_size: None,
            http2: true,
            max_streams: 100,
            max_connections: None,
            drain_timeout: Duration::from_secs(30),
        },
        upstream: Upstream {
            name: "default".to_owned(),
            origins: vec![Origin {
                https: false,
                h2c: false,
                address: OriginAddress::Tcp("127.0.0.1".to_owned(), 9000),
                authority: "127.0.0.1:9000".to_owned(),
                base_path: String::new(),
            }],
            balance: Balance::LeastRequests,
            connect_timeout: Duration::from_secs(2),
            timeout: None,
            idle_timeout: Duration::from_secs(60),
            preserve_host: true,
            retries: 1,
            max_connections: None,
            max_pending: 100,
            health: None,
            ejection: Ejection {
                failures: Some(5),
                duration: Duration::from_secs(10),
                max_duration: Duration::from_secs(300),
                max_percent: 50,
            },
            slow_return: Duration::from_secs(5),
            tls: UpstreamTls::default(),
        },
        upstreams: Vec::new(),
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
        access: Policy { protect: Protect::Mutating, demands: Demands::default(), report: false },
        rate_limit: None,
        routes: Vec::new(),
        cors: None,
        forward_auth: None,
        identity: Identity {
            headers: vec![
                header("x-auth-subject", "sub"),
                header("x-auth-client", "client_id"),
                header("x-auth-scope", "scope"),
                header("x-auth-issuer", "iss"),
            ],
            certificate_headers: Vec::new(),
            authorization: AuthorizationHeader::Forward,
        },
        store: StoreUrl::Memory,
        admin: None,
        log: Log { json: false, level: "info".to_owned(), access: true },
        tracing: None,
        audit: None,
        digest: None,
    }
}

pub(crate) fn client(id: &str, secrets: Vec<ClientSecret>) -> Client {
    Client {
        id: id.to_owned(),
        secrets,
        keys: Vec::new(),
        certificate: None,
        methods: Methods { basic: true, post: true, key: false, tls: false },
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

/// A request as it comes from a stranger's connection, without a body.
pub(crate) fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Request {
    let raw = Bytes::copy_from_slice(target.as_bytes());
    let (target, _) = Target::parse(&raw, method == "OPTIONS").unwrap();
    let mut headers = Fields::new();
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    Request {
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        target,
        version: Version::HTTP_11,
        host: headers.get("host").cloned(),
        upgrade: headers.get("upgrade").cloned(),
        headers,
        expects_continue: false,
        body: Body::Empty,
        peer: Rc::new(Peer::new(None, false, false)),
        interim: None,
    }
}

/// A route of `[[routes]]` for every method, named by its path.
pub(crate) fn route(path: &str, protect: Protect) -> Route {
    Route {
        name: path.to_owned(),
        host: None,
        path: PathPattern::parse(path).unwrap(),
        methods: Vec::new(),
        policy: Policy { protect, demands: Demands::default(), report: false },
        identity: None,
        upstream: 0,
        rewrite: None,
        rate_limit: None,
        cors: None,
    }
}
