//! The promises of the token endpoint and the attacks of group T that need no socket, by their numbers.

use std::collections::HashSet;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use argon2::{Argon2, Params, PasswordHasher};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use jsonwebtoken::dangerous::insecure_decode_claims;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use super::{Answer, Asked, Endpoint, Standing, TokenJudge, TokenService, mint};
use crate::clock::Clock;
use crate::config::{ClientSecret, SecretKind, Settings};
use crate::identity::Scopes;
use crate::message::{BodyError, Fields};
use crate::secret::Secret;
use crate::store::MemoryStore;
use crate::testing::{AUDIENCE, CLIENT, CLIENT_SECRET, ISSUER, client, settings, sha256};

const FORM: &str = "application/x-www-form-urlencoded";
const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
const CREDENTIALS: &str = "grant_type=client_credentials";

struct Call {
    service: Arc<TokenService>,
    method: Method,
    headers: Fields,
    body: Vec<u8>,
    address: IpAddr,
}

/// Nobody asks about a token here.
struct NoJudge;

impl TokenJudge for NoJudge {
    async fn judge(&self, _: &str, _: u64, _: bool) -> Standing {
        Standing::Unknown
    }
}

fn service(settings: &Settings) -> Arc<TokenService> {
    service_at(settings, &Clock::system())
}

fn service_at(settings: &Settings, clock: &Clock) -> Arc<TokenService> {
    let store = Arc::new(MemoryStore::new(clock.clone()));
    TokenService::new(settings, store, clock.clone(), None).unwrap().unwrap()
}

async fn answer<B: Body<Data = Bytes, Error = BodyError>>(
    service: &TokenService,
    method: &Method,
    headers: &Fields,
    body: B,
    address: IpAddr,
) -> Answer {
    let asked = Asked { method, headers, body, address, certificate: None };
    service.answer(Endpoint::Token, asked, &NoJudge).await
}

fn call() -> Call {
    call_of(&service(&settings()))
}

fn call_of(service: &Arc<TokenService>) -> Call {
    let call = Call {
        service: Arc::clone(service),
        method: Method::POST,
        headers: Fields::new(),
        body: Vec::new(),
        address: HERE,
    };
    call.header("content-type", FORM)
}

impl Call {
    fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    fn media_type(mut self, value: &str) -> Self {
        self.headers.remove("content-type");
        self.header("content-type", value)
    }

    fn basic(self, pair: impl AsRef<[u8]>) -> Self {
        let value = format!("Basic {}", STANDARD.encode(pair));
        self.header("authorization", &value)
    }

    fn from(mut self, address: &str) -> Self {
        self.address = address.parse().unwrap();
        self
    }

    fn with_body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    async fn send(self) -> Answer {
        let body = Full::new(Bytes::from(self.body)).map_err(|never| match never {});
        answer(&self.service, &self.method, &self.headers, body, self.address).await
    }

    async fn form(self, body: &str) -> Answer {
        self.with_body(body).send().await
    }

    async fn json(self, body: &Value) -> Answer {
        self.media_type("application/json").with_body(body.to_string()).send().await
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn pair(id: &str, secret: &str) -> String {
    format!("{CREDENTIALS}&client_id={}&client_secret={}", encoded(id), encoded(secret))
}

fn right() -> String {
    pair(CLIENT, CLIENT_SECRET)
}

fn member(answer: &Answer, name: &str) -> Value {
    serde_json::from_slice::<Value>(&answer.body).unwrap()[name].clone()
}

fn claims(answer: &Answer) -> Value {
    insecure_decode_claims(member(answer, "access_token").as_str().unwrap()).unwrap()
}

#[track_caller]
fn assert_refused(answer: &Answer, status: u16, error: &str) {
    assert_eq!(
        (answer.status.as_u16(), member(answer, "error")),
        (status, json!(error)),
        "{answer:?}"
    );
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["pragma"], "no-cache");
    let described = member(answer, "error_description");
    let fits = |byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    assert!(described.as_str().unwrap().bytes().all(fits), "{described}");
    assert!(member(answer, "access_token").is_null());
    assert_eq!(answer.headers.contains_key("www-authenticate"), status == 401);
}

#[tokio::test]
async fn a_client_with_its_secret_gets_a_token() {
    let answer = call().form(&right()).await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["cache-control"], "no-store");
    assert_eq!(answer.headers["pragma"], "no-cache");
    assert_eq!(member(&answer, "token_type"), "Bearer");
    assert_eq!(member(&answer, "expires_in"), 3600);
    assert_eq!(member(&answer, "scope"), "api:write api:read");
    assert!(member(&answer, "refresh_token").is_null());
    assert_eq!(answer.client_id.as_deref(), Some(CLIENT));
    assert_eq!(answer.code, "issued");
}

#[tokio::test]
async fn the_token_says_what_rfc_9068_asks_for() {
    let answer = call().form(&right()).await;
    let token = member(&answer, "access_token");
    let header = jsonwebtoken::decode_header(token.as_str().unwrap()).unwrap();
    assert_eq!(header.typ.as_deref(), Some("at+jwt"));
    let claims = claims(&answer);
    let names: HashSet<_> = claims.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        HashSet::from(["iss", "sub", "client_id", "aud", "scope", "iat", "nbf", "exp", "jti"])
    );
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["sub"], CLIENT);
    assert_eq!(claims["client_id"], CLIENT);
    assert_eq!(claims["aud"], AUDIENCE);
    assert_eq!(claims["scope"], "api:write api:read");
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
    assert_eq!(claims["nbf"], claims["iat"]);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
}

#[tokio::test]
async fn a_client_may_have_its_own_audience_lifetime_scopes_and_claims() {
    let mut settings = settings();
    let own = &mut settings.clients[0];
    own.audience = Some(vec!["a".to_owned(), "b".to_owned()]);
    own.expires_in = Some(Duration::from_secs(60));
    own.scopes = Scopes::default();
    own.claims.insert("tenant".to_owned(), json!({"name": "acme"}));
    let answer = call_of(&service(&settings)).form(&right()).await;
    assert_eq!(member(&answer, "expires_in"), 60);
    let claims = claims(&answer);
    assert_eq!(claims["aud"], json!(["a", "b"]));
    assert_eq!(claims["tenant"]["name"], "acme");
    assert!(claims["scope"].is_null());
}

#[tokio::test]
async fn t60_form_basic_and_json_all_get_a_token() {
    let ok = |answer: Answer| assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    ok(call()
        .media_type("Application/X-WWW-Form-Urlencoded ; Charset=\"UTF-8\"")
        .form(&right())
        .await);
    ok(call().json(&json!({"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": CLIENT_SECRET})).await);
    ok(call().basic(format!("{CLIENT}:{}", encoded(CLIENT_SECRET))).form(CREDENTIALS).await);
    ok(call()
        .basic(format!("{CLIENT}:{}", encoded(CLIENT_SECRET)))
        .json(&json!({"grant_type": "client_credentials"}))
        .await);
    ok(call()
        .header(
            "authorization",
            &format!("bAsIc   {}", STANDARD.encode(format!("{CLIENT}:{}", encoded(CLIENT_SECRET)))),
        )
        .form(CREDENTIALS)
        .await);
}

#[tokio::test]
async fn basic_takes_the_form_encoded_pair_and_the_raw_one() {
    let mut settings = settings();
    settings.clients.push(client("plus", vec![sha256("a+b%2Bc:d")]));
    let service = service(&settings);
    for pair in ["plus:a+b%2Bc:d", "plus:a%2Bb%252Bc%3Ad", "%70lus:a%2Bb%252Bc%3ad"] {
        let answer = call_of(&service).basic(pair).form(CREDENTIALS).await;
        assert_eq!(answer.status, StatusCode::OK, "{pair}");
    }
    let unpadded = format!("Basic {}", STANDARD_NO_PAD.encode("plus:a+b%2Bc:d"));
    let answer = call_of(&service).header("authorization", &unpadded).form(CREDENTIALS).await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = call_of(&service).basic("plus:a b+c:d").form(CREDENTIALS).await;
    assert_refused(&answer, 401, "invalid_client");
}

#[tokio::test]
async fn t61_no_two_tokens_are_the_same() {
    let service = service(&settings());
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let answer = call_of(&service).form(&right()).await;
        assert!(seen.insert(member(&answer, "access_token").as_str().unwrap().to_owned()));
    }
}

#[tokio::test]
async fn t63_t64_every_other_secret_is_refused() {
    let long = "x".repeat(72);
    let mut settings = settings();
    settings.clients.push(client("long", vec![sha256(&format!("{long}yes"))]));
    let right = CLIENT_SECRET;
    let cut = &right[..right.len() - 1];
    for (number, wrong) in [
        "wrong",
        cut,
        &format!("{right}x"),
        &format!("{right}{right}"),
        &format!(" {right}"),
        &format!("{right} "),
        &format!("{right}\n"),
        &format!("{right}\0"),
        &right.to_uppercase(),
        "%",
        "*",
        "",
        &"x".repeat(5_000),
    ]
    .iter()
    .enumerate()
    {
        let service = service(&settings);
        let answer = call_of(&service).form(&pair(CLIENT, wrong)).await;
        assert_refused(&answer, 401, "invalid_client");
        if number < 12 {
            let answer =
                call_of(&service).basic(format!("{CLIENT}:{wrong}")).form(CREDENTIALS).await;
            assert_refused(&answer, 401, "invalid_client");
        }
    }
    let service = service(&settings);
    let answer = call_of(&service).form(&pair("long", &format!("{long}no"))).await;
    assert_refused(&answer, 401, "invalid_client");
}

#[tokio::test]
async fn t65_unknown_wrong_disabled_and_expired_are_told_in_the_same_bytes() {
    let mut settings = settings();
    settings.clients.push(client("disabled", vec![sha256("right")]));
    settings.clients[1].disabled = true;
    let ended = ClientSecret { not_after: Some(1), ..sha256("right") };
    settings.clients.push(client("ended", vec![ended]));
    let service = service(&settings);
    let mut answers = Vec::new();
    for (id, secret, code) in [
        ("nobody", "right", "unknown_client"),
        (CLIENT, "wrong", "wrong_secret"),
        ("disabled", "right", "disabled_client"),
        ("ended", "right", "wrong_secret"),
    ] {
        for answer in [
            call_of(&service).form(&pair(id, secret)).await,
            call_of(&service).basic(format!("{id}:{secret}")).form(CREDENTIALS).await,
        ] {
            assert_refused(&answer, 401, "invalid_client");
            assert_eq!(answer.code, code);
            answers.push((answer.status, answer.headers, answer.body));
        }
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]));
    assert!(answers[0].1["www-authenticate"].to_str().unwrap().starts_with("Basic "));
}

#[tokio::test]
async fn two_secrets_are_good_while_one_is_rotated_until_its_end() {
    let clock = Clock::adjustable();
    let mut settings = settings();
    let old = ClientSecret { not_after: Some(clock.unix_seconds() + 100), ..sha256("old") };
    settings.clients[0].secrets = vec![old, sha256("new")];
    let service = service_at(&settings, &clock);
    let status = async |secret| call_of(&service).form(&pair(CLIENT, secret)).await.status.as_u16();
    assert_eq!((status("old").await, status("new").await), (200, 200));
    clock.advance(101);
    assert_eq!((status("old").await, status("new").await), (401, 200));
}

#[tokio::test]
async fn t66_malformed_basic_is_challenged() {
    let no_colon = format!("Basic {}", STANDARD.encode("foobarbaz"));
    let binary = format!("Basic {}", STANDARD.encode(b"\xFF\xFE:\xFF"));
    let nul = format!("Basic {}", STANDARD.encode(b"foobarbaz:\0"));
    let percent = format!("Basic {}", STANDARD.encode(b"foobarbaz:%zz"));
    let huge = format!("Basic {}", STANDARD.encode(vec![b'a'; 200_000]));
    for value in [
        &no_colon,
        "Basic",
        "Basic ",
        "Basic !!!",
        &binary,
        &nul,
        &percent,
        &huge,
        "Bearer abc",
        "Digest a=b",
        "",
    ] {
        let answer = call().header("authorization", value).form(CREDENTIALS).await;
        assert_refused(&answer, 401, "invalid_client");
    }
    let answer = call().basic("a:b").basic("a:b").form(CREDENTIALS).await;
    assert_refused(&answer, 400, "invalid_request");
}

#[tokio::test]
async fn t67_two_ways_of_authentication_are_refused() {
    let good = format!("{CLIENT}:{}", encoded(CLIENT_SECRET));
    for (basic, body) in [(good.as_str(), pair(CLIENT, "bad")), ("a:b", right()), (&good, right())]
    {
        let answer = call().basic(basic).form(&body).await;
        assert_refused(&answer, 400, "invalid_request");
    }
    let answer = call().basic(&good).form(&format!("{CREDENTIALS}&client_id=other")).await;
    assert_refused(&answer, 400, "invalid_request");
    let answer =
        call().basic(&good).form(&format!("{CREDENTIALS}&client_id={CLIENT}&client_secret=")).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn t69_repeated_parameters_are_refused() {
    for name in [
        "grant_type=client_credentials",
        "client_id=foobarbaz",
        "scope=api:write&scope=api:write",
        "client_secret=x",
    ] {
        let answer = call().form(&format!("{}&{name}", right())).await;
        assert_refused(&answer, 400, "invalid_request");
    }
}

#[tokio::test]
async fn missing_parameters_and_other_grants_are_told_apart() {
    for body in [
        "",
        "scope=a",
        "grant_type=",
        CREDENTIALS,
        &format!("{CREDENTIALS}&client_id=a"),
        &format!("{CREDENTIALS}&client_secret=a"),
        &format!("client_id={CLIENT}&client_secret=a"),
        &format!("{CREDENTIALS}&client_id=&client_secret=a"),
    ] {
        assert_refused(&call().form(body).await, 400, "invalid_request");
    }
    for grant in ["password", "authorization_code", "Client_Credentials", "client_credentials "] {
        let body = format!("grant_type={}&client_id=nobody&client_secret=wrong", encoded(grant));
        assert_refused(&call().form(&body).await, 400, "unsupported_grant_type");
    }
    assert_refused(&call().form("grant_type=password").await, 400, "unsupported_grant_type");
}

#[tokio::test]
async fn t71_other_content_types_are_refused() {
    for media_type in [
        "",
        "text/plain",
        "application/xml",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ] {
        let answer = call().media_type(media_type).form(&right()).await;
        assert_refused(&answer, 400, "invalid_request");
    }
    assert_refused(
        &call().header("content-type", FORM).form(&right()).await,
        400,
        "invalid_request",
    );
    assert_refused(
        &call().header("content-encoding", "gzip").form(&right()).await,
        400,
        "invalid_request",
    );
    assert_refused(
        &call().media_type("application/json").form(&right()).await,
        400,
        "invalid_request",
    );
}

#[tokio::test]
async fn t72_operators_in_json_are_refused() {
    for secret in [json!(true), json!(null), json!({"$ne": 1}), json!([CLIENT_SECRET]), json!(1)] {
        let body = json!({"grant_type": "client_credentials", "client_id": CLIENT, "client_secret": secret});
        assert_refused(&call().json(&body).await, 400, "invalid_request");
    }
}

/// Ends never, or not before its time; cannot be sent to another thread.
struct Endless(Option<Rc<Bytes>>);

impl Body for Endless {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.0
            .as_deref()
            .map_or(Poll::Pending, |data| Poll::Ready(Some(Ok(Frame::data(data.clone())))))
    }
}

#[tokio::test(start_paused = true)]
async fn t73_bodies_without_end_are_cut() {
    let Call { service, method, mut headers, address, .. } = call();
    let body = Endless(Some(Rc::new(Bytes::from_static(&[b'a'; 1024]))));
    assert_refused(
        &answer(&service, &method, &headers, body, address).await,
        413,
        "invalid_request",
    );
    let body = Endless(None);
    assert_refused(
        &answer(&service, &method, &headers, body, address).await,
        408,
        "invalid_request",
    );
    headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from_static("100000000000"));
    let body = Endless(None);
    assert_refused(
        &answer(&service, &method, &headers, body, address).await,
        413,
        "invalid_request",
    );
}

#[tokio::test]
async fn t73_the_limit_is_eight_kibibytes_to_the_byte() {
    let fill = |length: usize| format!("{}&x={}", right(), "y".repeat(length - right().len() - 3));
    assert_eq!(call().form(&fill(8 * 1024)).await.status, StatusCode::OK);
    assert_refused(&call().form(&fill(8 * 1024 + 1)).await, 413, "invalid_request");
}

#[tokio::test]
async fn t75_scopes_that_the_client_may_not_have_are_refused() {
    for scope in [
        "admin",
        "api:write admin",
        "admin *",
        "\"api:write\"",
        "api:write\r\nx",
        "API:WRITE",
        "api",
    ] {
        let answer = call().form(&format!("{}&scope={}", right(), encoded(scope))).await;
        assert_refused(&answer, 400, "invalid_scope");
        assert_eq!(answer.client_id.as_deref(), Some(CLIENT));
    }
    let answer = call().form(&format!("{}&scope=api:read+api:read", right())).await;
    assert_eq!(member(&answer, "scope"), "api:read");
    assert_eq!(claims(&answer)["scope"], "api:read");
    let answer = call().form(&format!("{}&scope=admin", pair(CLIENT, "wrong"))).await;
    assert_refused(&answer, 401, "invalid_client");
}

#[tokio::test]
async fn t76_other_methods_are_not_allowed() {
    for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE", "TRACE", "post", "FOO"] {
        let mut call = call();
        call.method = method.parse().unwrap();
        let answer = call.form(&right()).await;
        assert_refused(&answer, 405, "invalid_request");
        assert_eq!(answer.headers["allow"], "POST");
    }
}

#[tokio::test]
async fn t81_guessing_is_throttled_there_and_nowhere_else() {
    let service = service(&settings());
    for _ in 0..10 {
        let answer = call_of(&service).from("192.0.2.1").form(&pair(CLIENT, "wrong")).await;
        assert_refused(&answer, 401, "invalid_client");
    }
    for body in [pair(CLIENT, "wrong"), right()] {
        let answer = call_of(&service).from("192.0.2.1").form(&body).await;
        assert_refused(&answer, 429, "temporarily_unavailable");
        let wait: u64 = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait));
    }
    let answer = call_of(&service).from("192.0.2.2").form(&right()).await;
    assert_eq!(answer.status, StatusCode::OK);
}

#[tokio::test]
async fn t82_a_wrong_attempt_does_not_spoil_the_right_one_after_it() {
    let service = service(&settings());
    assert_refused(&call_of(&service).form(&pair(CLIENT, "wrong")).await, 401, "invalid_client");
    assert_eq!(call_of(&service).form(&right()).await.status, StatusCode::OK);
}

fn argon2(secret: &str) -> ClientSecret {
    let params = Params::new(256, 1, 1, None).unwrap();
    let phc = Argon2::from(params).hash_password(secret.as_bytes()).unwrap().to_string();
    ClientSecret { kind: SecretKind::Argon2(Secret::new(phc)), not_after: None }
}

#[tokio::test]
async fn human_secrets_are_compared_by_argon2() {
    let clock = Clock::adjustable();
    let mut settings = settings();
    let ended = ClientSecret { not_after: Some(clock.unix_seconds() + 100), ..argon2("for now") };
    settings.clients.push(client("human", vec![argon2("correct horse"), ended]));
    settings.clients.push(client("gone", vec![argon2("correct horse")]));
    settings.clients[2].disabled = true;
    let service = service_at(&settings, &clock);
    let status = async |id, secret| call_of(&service).form(&pair(id, secret)).await.status.as_u16();
    assert_eq!(status("human", "correct horse").await, 200);
    assert_eq!(status("human", "correct horse").await, 200);
    assert_eq!(status("human", "for now").await, 200);
    assert_eq!(status("human", "wrong").await, 401);
    assert_eq!(status("gone", "correct horse").await, 401);
    assert_eq!(status("nobody", "correct horse").await, 401);
    assert_eq!(status(CLIENT, "correct horse").await, 401);
    assert_eq!(status(CLIENT, CLIENT_SECRET).await, 200);
    let basic = call_of(&service).basic("human:correct+horse").form(CREDENTIALS).await;
    assert_eq!(basic.status, StatusCode::OK);
    clock.advance(101);
    assert_eq!(status("human", "for now").await, 401, "remembered, and still at its end");
}

#[tokio::test]
async fn guesses_in_parallel_are_no_way_around_the_throttle() {
    let mut settings = settings();
    settings.clients.push(client("human", vec![argon2("49")]));
    let service = service(&settings);
    let mut told = 0;
    let guesses = tokio::task::LocalSet::new();
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let call = call_of(&service);
            guesses.spawn_local(async move {
                call.form(&pair("human", &number.to_string())).await.status.as_u16()
            })
        })
        .collect();
    guesses.await;
    for task in tasks {
        let status = task.await.unwrap();
        told += u32::from(status == 401);
        assert!(matches!(status, 401 | 429), "{status}");
    }
    assert!(told <= 12, "{told}");
}

#[test]
fn without_a_token_table_there_is_no_service() {
    let mut settings = settings();
    settings.token = None;
    assert!(
        TokenService::new(
            &settings,
            Arc::new(MemoryStore::new(Clock::system())),
            Clock::system(),
            None
        )
        .unwrap()
        .is_none()
    );
}

#[test]
fn a_minted_token_is_what_the_endpoint_would_issue() {
    let settings = settings();
    let token =
        mint(&settings, CLIENT, Some("api:read"), Some(Duration::from_secs(5)), 1_000).unwrap();
    let claims: Value = insecure_decode_claims(&token).unwrap();
    assert_eq!((claims["scope"].as_str(), claims["exp"].as_u64()), (Some("api:read"), Some(1_005)));
    assert!(mint(&settings, "nobody", None, None, 0).is_err());
    assert!(mint(&settings, CLIENT, Some("admin"), None, 0).is_err());
}
