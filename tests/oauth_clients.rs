//! Clients that others wrote get a token and use it: `oauth2` of Rust here, those of Python and Node in
//! `tests/clients`. The client and its secret are the founding issue's, with characters that need care everywhere.

mod clients;
mod plain_http;

use std::convert::Infallible;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use oauth2::basic::{BasicClient, BasicErrorResponseType, BasicTokenResponse};
use oauth2::{
    AuthType, ClientId, ClientSecret, HttpRequest, HttpResponse, RequestTokenError, Scope,
    TokenResponse as _, TokenUrl,
};
use tollgate::demo::SampleApi;

use clients::{CLIENT_ID, CLIENT_SECRET, SCOPE, WRONG_SECRET, gateway_in_front_of};
use plain_http::Reply;

const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
const JSON: (&str, &str) = ("Content-Type", "application/json");

#[test]
fn python_and_node_clients_get_a_token_and_use_it() {
    let api = SampleApi::start().unwrap();
    let gateway = gateway_in_front_of(api.address());
    clients::run("oauth", &gateway);
}

#[test]
fn the_oauth2_crate_gets_a_token_and_uses_it() {
    let api = SampleApi::start().unwrap();
    let gateway = gateway_in_front_of(api.address());
    let to = gateway.addresses()[0];
    for how in [AuthType::BasicAuth, AuthType::RequestBody] {
        let token = ask(to, how.clone(), CLIENT_SECRET, SCOPE).unwrap();
        assert_eq!(token.expires_in().unwrap().as_secs(), 3_600);
        assert_eq!(token.scopes().unwrap(), &vec![Scope::new(SCOPE.to_owned())]);
        use_token(to, token.access_token().secret());
    }
}

#[test]
fn the_oauth2_crate_understands_what_it_is_refused() {
    let api = SampleApi::start().unwrap();
    let gateway = gateway_in_front_of(api.address());
    let to = gateway.addresses()[0];
    for how in [AuthType::BasicAuth, AuthType::RequestBody] {
        let why = refusal(ask(to, how.clone(), WRONG_SECRET, SCOPE));
        assert_eq!(why, BasicErrorResponseType::InvalidClient, "{how:?}");
        let why = refusal(ask(to, how.clone(), CLIENT_SECRET, "everything"));
        assert_eq!(why, BasicErrorResponseType::InvalidScope, "{how:?}");
    }
}

#[test]
fn the_founding_secret_is_taken_as_form_as_json_and_by_basic_in_both_encodings() {
    let api = SampleApi::start().unwrap();
    let gateway = gateway_in_front_of(api.address());
    let to = gateway.addresses()[0];
    for (secret, status) in [(CLIENT_SECRET, 200), (WRONG_SECRET, 401)] {
        for (way, reply) in four_ways(to, secret) {
            assert_eq!(reply.status, status, "{way}: {}", reply.text());
            match status {
                200 => use_token(to, reply.json()["access_token"].as_str().unwrap()),
                _ => assert_eq!(reply.json()["error"], "invalid_client", "{way}"),
            }
        }
    }
}

fn four_ways(to: SocketAddr, secret: &str) -> [(&'static str, Reply); 4] {
    let encoded = form_urlencoded::byte_serialize(secret.as_bytes()).collect::<String>();
    let form =
        format!("grant_type=client_credentials&client_id={CLIENT_ID}&client_secret={encoded}");
    let json = serde_json::json!({
        "grant_type": "client_credentials", "client_id": CLIENT_ID, "client_secret": secret,
    });
    let basic =
        |secret: &str| format!("Basic {}", STANDARD.encode(format!("{CLIENT_ID}:{secret}")));
    let post = |headers: &[(&str, &str)], body: &str| {
        plain_http::send(to, "POST", "/auth/token", headers, body.as_bytes())
    };
    let grant = "grant_type=client_credentials";
    [
        ("form", post(&[FORM], &form)),
        ("JSON", post(&[JSON], &json.to_string())),
        ("Basic, form-encoded", post(&[FORM, ("Authorization", &basic(&encoded))], grant)),
        ("Basic, raw", post(&[FORM, ("Authorization", &basic(secret))], grant)),
    ]
}

/// The token opens what it should, and nothing was open before.
fn use_token(to: SocketAddr, token: &str) {
    let bearer = format!("Bearer {token}");
    let player = br#"{"firstName": "Giovani", "lastName": "Lo Celso"}"#;
    assert_eq!(plain_http::send(to, "POST", "/players", &[JSON], player).status, 401);
    let with_token = [JSON, ("Authorization", bearer.as_str())];
    let added = plain_http::send(to, "POST", "/players", &with_token, player);
    assert_eq!(added.status, 201, "{}", added.text());
    let place = added.header("location").expect("a Location");
    assert_eq!(plain_http::send(to, "DELETE", place, &with_token[1..], b"").status, 204);
}

type Refused = RequestTokenError<Infallible, oauth2::StandardErrorResponse<BasicErrorResponseType>>;

fn ask(
    to: SocketAddr,
    how: AuthType,
    secret: &str,
    scope: &str,
) -> Result<BasicTokenResponse, Refused> {
    BasicClient::new(ClientId::new(CLIENT_ID.to_owned()))
        .set_client_secret(ClientSecret::new(secret.to_owned()))
        .set_token_uri(TokenUrl::new(format!("http://{to}/auth/token")).expect("a URL"))
        .set_auth_type(how)
        .exchange_client_credentials()
        .add_scope(Scope::new(scope.to_owned()))
        .request(&|request| carry(to, &request))
}

fn refusal(outcome: Result<BasicTokenResponse, Refused>) -> BasicErrorResponseType {
    match outcome {
        Err(RequestTokenError::ServerResponse(response)) => response.error().clone(),
        other => panic!("{other:?}"),
    }
}

/// The HTTP client that the crate leaves to its user.
fn carry(to: SocketAddr, request: &HttpRequest) -> Result<HttpResponse, Infallible> {
    let headers: Vec<(&str, &str)> = request
        .headers()
        .iter()
        .map(|(name, value)| (name.as_str(), value.to_str().expect("visible ASCII")))
        .collect();
    let path = request.uri().path();
    let reply = plain_http::send(to, request.method().as_str(), path, &headers, request.body());
    let mut response = http::Response::builder().status(reply.status);
    for (name, value) in reply.headers {
        response = response.header(name, value);
    }
    Ok(response.body(reply.body).expect("a response"))
}
