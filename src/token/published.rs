//! What everybody may know: the public keys (RFC 7517), what the token service can do (RFC 8414), and what a protected
//! resource demands (RFC 9728). Written once, when the configuration is read; no request changes a byte of it.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::client::{Clients, Record};
use super::{Answer, Endpoint, TokenError, json as written};
use crate::config::{Metadata, Resource, Token};
use crate::keys::public_set;
use crate::message::Fields;

/// The documents, as they are sent.
#[derive(Debug)]
pub(super) struct Documents {
    keys: Bytes,
    server: Bytes,
    resources: Vec<Bytes>,
}

/// Where each endpoint is.
pub(super) fn paths(token: &Token) -> Vec<(String, Endpoint)> {
    let endpoints = &token.endpoints;
    let mut paths = vec![(token.path.clone(), Endpoint::Token)];
    let mut add = |path: Option<&String>, endpoint| {
        paths.extend(path.map(|path| (path.clone(), endpoint)));
    };
    add(endpoints.introspect.as_ref(), Endpoint::Introspect);
    add(endpoints.revoke.as_ref(), Endpoint::Revoke);
    add(endpoints.jwks.as_ref(), Endpoint::Keys);
    if let Some(metadata) = &endpoints.metadata {
        add(Some(&metadata.server_path), Endpoint::ServerMetadata);
        for (number, resource) in metadata.resources.iter().enumerate() {
            add(Some(&resource.path), Endpoint::ResourceMetadata(number));
        }
    }
    paths
}

impl Documents {
    pub(super) fn new(token: &Token, clients: &Clients) -> Self {
        let live: Vec<&Record> = clients.all().filter(|client| !client.disabled).collect();
        let scopes: BTreeSet<&str> = live.iter().flat_map(|client| client.scopes.iter()).collect();
        let metadata = token.endpoints.metadata.as_ref();
        let server = metadata.map(|metadata| server(token, metadata, &live, &scopes));
        let resources = metadata.map_or(&[][..], |metadata| &metadata.resources);
        Self {
            keys: written(&public_set(token.keys.verifying())),
            server: server.map(|server| written(&server)).unwrap_or_default(),
            resources: resources.iter().map(|it| written(&resource(token, it, &scopes))).collect(),
        }
    }

    /// The document at `endpoint`.
    pub(super) fn answer(&self, endpoint: Endpoint, method: &Method) -> Answer {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut answer = TokenError::Method.into_answer();
            answer.headers.insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            answer.body = Bytes::new(); // what it says is to use POST
            answer.headers.remove(CONTENT_TYPE);
            return answer;
        }
        let (body, kind) = match endpoint {
            Endpoint::Keys => (Some(&self.keys), "application/jwk-set+json"),
            Endpoint::ResourceMetadata(number) => (self.resources.get(number), "application/json"),
            Endpoint::ServerMetadata
            | Endpoint::Token
            | Endpoint::Introspect
            | Endpoint::Revoke => (Some(&self.server), "application/json"),
        };
        let mut headers = Fields::with_capacity(6);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(KEPT));
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        Answer {
            status: StatusCode::OK,
            headers,
            body: body.cloned().unwrap_or_default(),
            client_id: None,
            authentication: "",
            code: "published",
            deed: None,
        }
    }
}

/// RFC 8414 §2.
fn server(token: &Token, metadata: &Metadata, live: &[&Record], scopes: &BTreeSet<&str>) -> Value {
    let url = |path: &str| Value::from(format!("{}{path}", metadata.origin));
    let endpoints = &token.endpoints;
    let signs = token.keys.verifying().iter().any(|key| !key.is_shared());
    let algorithms: BTreeSet<String> = live
        .iter()
        .flat_map(|client| &client.keys)
        .map(|key| format!("{:?}", key.algorithm()))
        .collect();
    let uses = |way: fn(&Record) -> bool| live.iter().any(|client| way(client));
    let methods: Vec<&str> = [
        ("client_secret_basic", uses(|client| client.methods.basic)),
        ("client_secret_post", uses(|client| client.methods.post)),
        ("private_key_jwt", !algorithms.is_empty()),
        ("tls_client_auth", uses(|client| client.methods.tls)),
    ]
    .into_iter()
    .filter_map(|(name, used)| used.then_some(name))
    .collect();

    let mut document = Map::new();
    let mut add = |name: &str, value: Value| document.insert(name.to_owned(), value);
    add("issuer", token.issuer.as_str().into());
    add("response_types_supported", json!([]));
    add("grant_types_supported", json!(["client_credentials"])); // the default would be others
    if !scopes.is_empty() {
        add("scopes_supported", json!(scopes));
    }
    if let Some(path) = endpoints.jwks.as_ref().filter(|_| signs) {
        add("jwks_uri", url(path));
    }
    if uses(|client| client.methods.tls) {
        add("tls_client_certificate_bound_access_tokens", true.into()); // RFC 8705 §3.3
    }
    for (name, path) in [
        ("token", Some(&token.path)),
        ("introspection", endpoints.introspect.as_ref()),
        ("revocation", endpoints.revoke.as_ref()),
    ] {
        let Some(path) = path else { continue };
        add(&format!("{name}_endpoint"), url(path));
        add(&format!("{name}_endpoint_auth_methods_supported"), json!(methods));
        if !algorithms.is_empty() {
            let name = format!("{name}_endpoint_auth_signing_alg_values_supported");
            add(&name, json!(algorithms));
        }
    }
    Value::Object(document)
}

/// RFC 9728 §2.
fn resource(token: &Token, resource: &Resource, scopes: &BTreeSet<&str>) -> Value {
    let mut document = json!({
        "resource": resource.identifier,
        "authorization_servers": [token.issuer],
        "bearer_methods_supported": ["header"],
    });
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    document
}

/// Long enough to spare requests, short enough that a key which was published ahead is seen before it signs.
const KEPT: &str = "public, max-age=300";
