//! Group T: `POST /auth/token` gives a token to a client that proves itself, in whatever form, and to nobody else.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use support::attack::{HIDDEN, Site, rest};
use support::{
    AUDIENCE, Answer, CLIENT, Client, Gateway, ISSUER, SECRET, Upstream, bearer, form, get, post,
    toml,
};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
/// Lets a test be many addresses: each attempt that may fail comes from one of its own.
const MANY_ADDRESSES: &str = "trusted_proxies = [\"127.0.0.0/8\"]";

/// As if from another address each time, so that what fails is not throttled.
fn from(number: usize) -> String {
    format!("X-Forwarded-For: 10.{}.{}.{}\r\n", number >> 16 & 255, number >> 8 & 255, number & 255)
}

fn right() -> String {
    credentials(CLIENT, SECRET)
}

fn credentials(id: &str, secret: &str) -> String {
    form(&[("grant_type", "client_credentials"), ("client_id", id), ("client_secret", secret)])
}

fn grant() -> &'static str {
    "grant_type=client_credentials"
}

fn encoded(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

fn basic(pair: impl AsRef<[u8]>) -> String {
    format!("Authorization: Basic {}\r\n", STANDARD.encode(pair))
}

/// One request to the token endpoint; nothing of it may reach the upstream.
fn ask(site: &Site, fields: &str, body: impl AsRef<[u8]>) -> Answer {
    let talk = site.talk(post("/auth/token", fields, body.as_ref()));
    talk.assert_nothing_came("the token endpoint");
    assert_eq!(talk.answers.len(), 1, "{talk:?}");
    let answer = talk.answers.into_iter().next().unwrap();
    assert_kept_by_nobody(&answer);
    answer
}

fn assert_kept_by_nobody(answer: &Answer) {
    assert_eq!(answer.field("cache-control").as_deref(), Some("no-store"), "{}", answer.head);
    assert_eq!(answer.field("pragma").as_deref(), Some("no-cache"));
    assert_eq!(answer.field("content-type").as_deref(), Some("application/json"));
    assert!(!answer.text().contains(SECRET), "a secret is told back");
}

/// A whole token answer; yields the token.
fn assert_token(answer: &Answer, what: &str) -> String {
    assert_eq!(answer.status, 200, "{what}: {}", answer.text());
    assert_kept_by_nobody(answer);
    let json = answer.json();
    let mut members: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
    members.sort_unstable();
    assert_eq!(members, ["access_token", "expires_in", "scope", "token_type"], "{what}");
    assert_eq!(
        (&json["token_type"], &json["expires_in"]),
        (&json!("Bearer"), &json!(3600)),
        "{what}"
    );
    json["access_token"].as_str().unwrap().to_owned()
}

fn assert_error(answer: &Answer, status: u16, error: &str, what: &str) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    assert_eq!(answer.json()["error"], error, "{what}");
    let description = answer.json()["error_description"].as_str().unwrap().to_owned();
    let fits = |byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5B | 0x5D..=0x7E);
    assert!(description.bytes().all(fits), "{what}: {description}");
    let challenge = answer.field("www-authenticate");
    assert_eq!(
        challenge.as_deref(),
        (status == 401).then_some("Basic realm=\"tollgate\""),
        "{what}"
    );
}

fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

/// The token opens a write.
fn assert_good(site: &Site, token: &str, what: &str) {
    let talk = site.talk(post("/write", &bearer(token), b"x"));
    let seen = talk.only(what);
    assert_eq!(seen.field("x-auth-client").as_deref(), Some(CLIENT), "{what}");
}

// §2.1, T.60: the founding documents' secret, in every form in which clients send it
#[test]
fn a_client_gets_a_token_by_form_by_json_and_by_basic_and_it_opens_a_write() {
    let site = Site::new();
    let json_body =
        json!({ "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET })
            .to_string();
    let escaped: String = json_body
        .chars()
        .map(|c| if c == '@' { "\\u0040".to_owned() } else { c.to_string() })
        .collect();
    let every_byte: String = right()
        .bytes()
        .map(|byte| {
            if b"=&%".contains(&byte) || byte.is_ascii_hexdigit() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02x}")
            }
        })
        .collect();
    let caps = "CONTENT-TYPE: APPLICATION/X-WWW-FORM-URLENCODED\r\n";
    for (what, fields, body) in [
        ("form", FORM.to_owned(), right()),
        (
            "form with charset",
            "Content-Type: application/x-www-form-urlencoded;charset=UTF-8\r\n".to_owned(),
            right(),
        ),
        ("media type in capitals", caps.to_owned(), right()),
        (
            "form in another order",
            FORM.to_owned(),
            format!("client_secret={}&client_id={CLIENT}&{}", encoded(SECRET), grant()),
        ),
        (
            "form, unknown parameters",
            FORM.to_owned(),
            format!("{}&colour=x&audience=y&empty=", right()),
        ),
        ("form with the scope", FORM.to_owned(), format!("{}&scope=api%3Awrite", right())),
        ("form with an empty scope", FORM.to_owned(), format!("{}&scope=", right())),
        ("form, encoded everywhere", FORM.to_owned(), every_byte.replace("%%", "%25%")),
        ("JSON", JSON.to_owned(), json_body.clone()),
        (
            "JSON with charset",
            "Content-Type: application/json; charset=utf-8\r\n".to_owned(),
            json_body.clone(),
        ),
        ("JSON with escapes", JSON.to_owned(), escaped),
        ("JSON with blanks", JSON.to_owned(), format!(" \r\n\t{json_body} \n")),
        (
            "Basic, form-encoded",
            format!("{FORM}{}", basic(format!("{CLIENT}:{}", encoded(SECRET)))),
            grant().to_owned(),
        ),
        (
            "Basic, raw",
            format!("{FORM}{}", basic(format!("{CLIENT}:{SECRET}"))),
            grant().to_owned(),
        ),
        (
            "basic in lower case",
            format!("{FORM}{}", basic(format!("{CLIENT}:{SECRET}")).replace("Basic", "basic")),
            grant().to_owned(),
        ),
        (
            "Basic and the same client_id",
            format!("{FORM}{}", basic(format!("{CLIENT}:{SECRET}"))),
            format!("{}&client_id={CLIENT}", grant()),
        ),
        (
            "Basic and JSON",
            format!("{JSON}{}", basic(format!("{CLIENT}:{SECRET}"))),
            r#"{"grant_type":"client_credentials"}"#.to_owned(),
        ),
    ] {
        let answer = ask(&site, &fields, &body);
        let token = assert_token(&answer, what);
        assert_eq!(answer.json()["scope"], "api:write", "{what}");
        assert_good(&site, &token, what);
    }
}

// T.60: however the bytes arrive
#[test]
fn a_token_request_may_come_in_pieces() {
    let site = Site::new();
    let body = right();
    let (front, back) = body.split_at(20);
    let head = format!("POST /auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}");
    let chunked = format!(
        "{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{front}\r\n{:x};x=y\r\n{back}\r\n0\r\nX: y\r\n\r\n",
        front.len(),
        back.len()
    );
    assert_token(&site.gateway.ask(&chunked), "chunked");
    let ten =
        format!("POST /auth/token HTTP/1.0\r\n{FORM}Content-Length: {}\r\n\r\n{body}", body.len());
    assert_token(&site.gateway.ask(&ten), "HTTP/1.0");
    let absolute = format!(
        "POST http://api.test/auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    assert_token(&site.gateway.ask(&absolute), "absolute form");
    // byte by byte
    let mut client = site.gateway.connect();
    for byte in format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes() {
        client.send([*byte]);
    }
    assert_token(&client.answer(), "byte by byte");
    // the body only when it is asked for
    let mut client = site.gateway.connect();
    client.send(format!("{head}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", body.len()));
    assert_eq!(client.any_answer("POST").unwrap().status, 100);
    client.send(&body);
    assert_token(&client.answer(), "Expect");
    drop(client);
    assert!(site.look().is_empty());
}

// §2.1, RFC 9068
#[test]
fn a_token_says_who_for_whom_and_how_long() {
    let site = Site::new();
    let now = site.gateway.clock.unix_seconds();
    let token = site.gateway.token();
    let claims = claims(&token);
    for (name, value) in [
        ("sub", CLIENT),
        ("client_id", CLIENT),
        ("scope", "api:write"),
        ("iss", ISSUER),
        ("aud", AUDIENCE),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    let (issued, ends) = (claims["iat"].as_u64().unwrap(), claims["exp"].as_u64().unwrap());
    assert!((now..now + 60).contains(&issued));
    assert_eq!((ends - issued, claims["nbf"].as_u64()), (3600, Some(issued)));
    let header: Value =
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap())
            .unwrap();
    assert_eq!((&header["typ"], &header["alg"]), (&json!("at+jwt"), &json!("HS256")));
    // good at once, and until its end
    assert_good(&site, &token, "fresh");
    site.gateway.clock.advance(3_600 + 61);
    assert_eq!(site.talk(post("/write", &bearer(&token), b"")).statuses(), [401]);
}

// T.61
#[test]
fn no_two_answers_carry_the_same_token() {
    let site = Site::new();
    let tokens: std::collections::HashSet<_> = (0..50).map(|_| site.gateway.token()).collect();
    assert_eq!(tokens.len(), 50);
    let ids: std::collections::HashSet<_> =
        tokens.iter().map(|token| claims(token)["jti"].to_string()).collect();
    assert_eq!(ids.len(), 50);
}

// T.63
#[test]
fn every_other_secret_is_refused() {
    let site = Site::with(MANY_ADDRESSES);
    let mut shifted = SECRET.to_owned();
    shifted.replace_range(6..7, "H");
    for (number, wrong) in [
        "".to_owned(),
        "x".to_owned(),
        SECRET[1..].to_owned(),
        SECRET[..SECRET.len() - 1].to_owned(),
        format!("{SECRET}x"),
        format!("{SECRET}{SECRET}"),
        format!(" {SECRET}"),
        format!("{SECRET} "),
        format!("{SECRET}\n"),
        format!("\n{SECRET}"),
        format!("{SECRET}\0"),
        format!("\0{SECRET}"),
        SECRET.to_uppercase(),
        SECRET.to_lowercase() + "X",
        "%".to_owned(),
        "*".to_owned(),
        "_".to_owned(),
        "null".to_owned(),
        "true".to_owned(),
        CLIENT.to_owned(),
        shifted,
        SECRET.replace('=', "_"),
        SECRET.replace('@', "%40"),
        encoded(SECRET),
        "' OR '1'='1".to_owned(),
        "x".repeat(7_000),
        "\u{1f980}".to_owned(),
        "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA".to_owned(),
        "sha256:00".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&site, &format!("{FORM}{}", from(number)), credentials(CLIENT, &wrong));
        assert_error(&answer, 401, "invalid_client", &wrong);
        if !wrong.is_empty() && wrong != encoded(SECRET) {
            let pair = format!("{CLIENT}:{}", encoded(&wrong));
            let answer =
                ask(&site, &format!("{FORM}{}{}", from(1_000 + number), basic(pair)), grant());
            assert_error(&answer, 401, "invalid_client", &wrong);
        }
    }
    assert_error(
        &ask(&site, FORM, credentials(CLIENT, &"x".repeat(100_000))),
        413,
        "invalid_request",
        "100 kB",
    );
}

// T.64
#[test]
fn a_long_secret_counts_to_its_last_byte() {
    let long = format!("{}z", "0123456789abcdef".repeat(8));
    let clients = format!("[[clients]]\nid = \"long\"\nsecret = \"{long}\"\n");
    let upstream = Upstream::start();
    let text = toml(&format!("http://{}", upstream.address), MANY_ADDRESSES, "", &clients);
    let site = Site::of(upstream, Gateway::from_toml(&text));
    assert_eq!(ask(&site, FORM, credentials("long", &long)).status, 200);
    for (number, length) in [128, 127, 73, 72, 64].into_iter().enumerate() {
        let other = format!("{}{}", &long[..length], "y".repeat(129 - length));
        let answer = ask(&site, &format!("{FORM}{}", from(number)), credentials("long", &other));
        assert_error(&answer, 401, "invalid_client", &other);
    }
}

// T.65, §1: byte-identical
#[test]
fn unknown_wrong_and_disabled_clients_get_the_same_bytes() {
    let upstream = Upstream::start();
    let clients = "[[clients]]\nid = \"retired\"\nsecret = \"a secret of the retired client, long\"\ndisabled = true\n";
    let text = toml(&format!("http://{}", upstream.address), MANY_ADDRESSES, "", clients);
    let site = Site::of(upstream, Gateway::from_toml(&text));
    let bytes = |answer: Answer| {
        let head: Vec<_> = answer.head.lines().filter(|line| !line.starts_with("date:")).collect();
        format!("{}\n{}", head.join("\n"), answer.text())
    };
    let mut answers = std::collections::HashSet::new();
    for (number, (id, secret)) in [
        ("nobody", SECRET),
        (CLIENT, "wrong"),
        ("retired", "a secret of the retired client, long"),
        ("retired", "wrong"),
        (&"n".repeat(3_000), "wrong"),
        ("Foobarbaz", SECRET),
        (" foobarbaz", SECRET),
        ("foobarbaz\0", SECRET),
        ("*", "*"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&site, &format!("{FORM}{}", from(2 * number)), credentials(id, secret));
        assert_error(&answer, 401, "invalid_client", id);
        answers.insert(bytes(answer));
        let pair = basic(format!("{}:{}", encoded(id), encoded(secret)));
        let answer = ask(&site, &format!("{FORM}{pair}{}", from(2 * number + 1)), grant());
        answers.insert(bytes(answer));
    }
    assert_eq!(answers.len(), 1, "{answers:#?}");
}

// T.66, T.67
#[test]
fn a_malformed_doubled_or_contradicted_proof_is_refused() {
    let site = Site::with(MANY_ADDRESSES);
    let good = basic(format!("{CLIENT}:{SECRET}"));
    let secret = format!("{}&client_id={CLIENT}&client_secret={}", grant(), encoded(SECRET));
    for (number, (what, fields, body, status)) in [
        ("no colon", basic(CLIENT), grant(), 401),
        ("no base64", "Authorization: Basic ***\r\n".to_owned(), grant(), 401),
        ("empty", "Authorization: Basic\r\n".to_owned(), grant(), 401),
        ("empty pair", "Authorization: Basic \r\n".to_owned(), grant(), 401),
        ("binary", basic(b"\xff\xfe:\xff"), grant(), 401),
        ("NUL", basic(format!("{CLIENT}\0:{SECRET}")), grant(), 401),
        ("a bad encoding", basic(format!("{CLIENT}:%zz")), grant(), 401),
        ("a colon too many", basic(format!("{CLIENT}::{SECRET}")), grant(), 401),
        ("base64 twice", basic(STANDARD.encode(format!("{CLIENT}:{SECRET}"))), grant(), 401),
        (
            "two pairs",
            format!("{}, {}", good.trim_end(), good.trim_start_matches("Authorization: ")),
            grant(),
            401,
        ),
        ("20 kB", basic(format!("{CLIENT}:{}", "x".repeat(14_000))), grant(), 401),
        ("two fields", format!("{good}{good}"), grant(), 400),
        ("two fields, one bad", format!("{}{good}", basic("a:b")), grant(), 400),
        ("Bearer", "Authorization: Bearer a.b.c\r\n".to_owned(), grant(), 401),
        ("good header, good body", good.clone(), secret.as_str(), 400),
        (
            "good header, bad body",
            good.clone(),
            "grant_type=client_credentials&client_id=foobarbaz&client_secret=x",
            400,
        ),
        ("bad header, good body", basic("foobarbaz:x"), secret.as_str(), 400),
        ("another client_id", good.clone(), "grant_type=client_credentials&client_id=other", 400),
        ("no proof", String::new(), grant(), 400),
        ("no secret", String::new(), "grant_type=client_credentials&client_id=foobarbaz", 400),
        ("no client", String::new(), "grant_type=client_credentials&client_secret=x", 400),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = ask(&site, &format!("{FORM}{fields}{}", from(number)), body);
        let error = if status == 401 { "invalid_client" } else { "invalid_request" };
        assert_error(&answer, status, error, what);
    }
    let huge = site.talk(post(
        "/auth/token",
        &format!("{FORM}{}", basic("x".repeat(200_000))),
        grant().as_bytes(),
    ));
    huge.assert_nothing_came("200 kB");
    assert!(huge.statuses().iter().all(|status| *status == 431), "{:?}", huge.statuses());
}

// T.69, T.70, T.71, T.72; RFC 6749 §3.2
#[test]
fn what_is_said_twice_or_cannot_be_read_is_refused() {
    let site = Site::with(MANY_ADDRESSES);
    let json_body =
        json!({ "grant_type": "client_credentials", "client_id": CLIENT, "client_secret": SECRET })
            .to_string();
    let member =
        |name: &str, value: &str| json_body.replacen('{', &format!("{{\"{name}\":{value},"), 1);
    let mut cases: Vec<(String, String, Vec<u8>, &str)> = Vec::new();
    let mut add = |fields: &str, body: &[u8], error| {
        cases.push((
            format!("{fields} {}", String::from_utf8_lossy(&body[..body.len().min(80)])),
            fields.to_owned(),
            body.to_vec(),
            error,
        ))
    };
    for name in ["grant_type", "client_id", "client_secret", "scope", "anything"] {
        for value in ["", "x", "client_credentials", CLIENT] {
            add(
                FORM,
                format!("{}&{name}={value}&{name}={value}", right()).as_bytes(),
                "invalid_request",
            );
            add(FORM, format!("{name}={value}&{}&{name}=y", right()).as_bytes(), "invalid_request");
        }
        add(JSON, format!("{{\"{name}\":\"x\",\"{name}\":\"x\"}}").as_bytes(), "invalid_request");
    }
    for (body, error) in [
        (right().replace("client_secret", "client_secret[]"), "invalid_request"),
        (right().replace("grant_type", "Grant_Type"), "invalid_request"),
        (right().replace('&', ";"), "unsupported_grant_type"),
        (format!("{}&x=%zz", right()), "invalid_request"),
        (format!("{}&x=%", right()), "invalid_request"),
        (format!("{}&x=%ff", right()), "invalid_request"),
        (format!("{}&x=%c3%28", right()), "invalid_request"),
        (String::new(), "invalid_request"),
        (json_body.clone(), "invalid_request"),
        (right().replace("client_credentials", ""), "invalid_request"),
        (right().replace("client_credentials", "password"), "unsupported_grant_type"),
        (right().replace("client_credentials", "CLIENT_CREDENTIALS"), "unsupported_grant_type"),
        (right().replace("client_credentials", "client_credentials "), "unsupported_grant_type"),
        (right().replace("client_credentials", "refresh_token"), "unsupported_grant_type"),
    ] {
        add(FORM, body.as_bytes(), error);
    }
    add(FORM, &[right().as_bytes(), b"&x=\xff\xfe"].concat(), "invalid_request");
    add(FORM, &[0, 1, 2, 255, 254], "invalid_request");
    for fields in [
        "",
        "Content-Type:\r\n",
        "Content-Type: text/plain\r\n",
        "Content-Type: application/xml\r\n",
        "Content-Type: multipart/form-data; boundary=x\r\n",
        "Content-Type: application/jsonx\r\n",
        "Content-Type: application/json, application/x-www-form-urlencoded\r\n",
        "Content-Type: json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-16\r\n",
        "Content_Type: application/json\r\n",
        "Content-Type: application/x-www-form-urlencoded\r\nContent-Encoding: gzip\r\n",
    ] {
        add(fields, right().as_bytes(), "invalid_request");
    }
    let deep = "[".repeat(8_000);
    let nested = format!("{{\"a\":{}", "{\"a\":".repeat(1_600));
    for body in [
        "[]",
        "\"x\"",
        "null",
        "1",
        "true",
        "",
        "{",
        "{}",
        "{}{}",
        "{\"a\":",
        &format!("{json_body}x"),
        &format!("[{json_body}]"),
        &format!("\u{feff}{json_body}"),
        &format!("/**/{json_body}"),
        &member("x", "NaN"),
        &member("x", "1"),
        &member("x", "null"),
        &member("x", "\"\\ud800\""),
        &member("x", "1e999999"),
        &member("x", "{\"$ne\":1}"),
        &member("x", "[\"y\"]"),
        r#"{"grant_type":1}"#,
        r#"{"grant_type":["client_credentials"]}"#,
        &right(),
        &deep,
        &nested,
        &json_body.replace(&format!("\"{}\"", SECRET), "true"),
        &json_body.replace(&format!("\"{}\"", SECRET), "null"),
        &json_body.replace(&format!("\"{}\"", SECRET), "{\"$ne\":1}"),
    ] {
        add(JSON, body.as_bytes(), "invalid_request");
    }
    let utf16: Vec<u8> = json_body.encode_utf16().flat_map(u16::to_be_bytes).collect();
    add(JSON, &utf16, "invalid_request");
    for (number, (what, fields, body, error)) in cases.iter().enumerate() {
        let answer = ask(&site, &format!("{fields}{}", from(number)), body);
        assert_error(&answer, 400, error, what);
    }
    // nothing in the query is read (RFC 6749 §2.3.1)
    let talk = site.talk(post(&format!("/auth/token?{}", right()), FORM, b""));
    talk.assert_nothing_came("query");
    assert_error(&talk.answers[0], 400, "invalid_request", "query");
    let talk = site.talk(post(
        "/auth/token?client_id=other&grant_type=password&scope=admin",
        FORM,
        right().as_bytes(),
    ));
    assert_token(&talk.answers[0], "a query beside a good form");
}

// T.73; interface §3: over 8 KiB is 413
#[test]
fn a_body_is_read_to_eight_kibibytes_and_no_further() {
    let site = Site::new();
    let filled =
        |length: usize| format!("{}&pad={}", right(), "x".repeat(length - right().len() - 5));
    assert_token(&ask(&site, FORM, filled(8 * 1024)), "8 KiB");
    assert_error(&ask(&site, FORM, filled(8 * 1024 + 1)), 413, "invalid_request", "8 KiB and one");
    for declared in ["8193", "10485760", "100000000000"] {
        // not a byte of it is sent: the answer does not wait for it
        let mut client = site.gateway.connect();
        client.send(format!("POST /auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}Content-Length: {declared}\r\n\r\n"));
        assert_error(&client.answer(), 413, "invalid_request", declared);
    }
    for size in [1, 100, 100_000] {
        // chunks without end, until the gateway has enough
        let mut client = site.gateway.connect();
        client.send(format!("POST /auth/token HTTP/1.1\r\nHost: api.test\r\n{FORM}Transfer-Encoding: chunked\r\n\r\n"));
        let chunk = format!("{size:x}\r\n{}\r\n", "x".repeat(size));
        client.send(chunk.repeat(9_000 / size + 1));
        assert_error(&client.answer(), 413, "invalid_request", "endless chunks");
    }
    let many: String = (0..100_000).map(|at| format!("a{at}=b&")).collect();
    let talk = site.talk(post("/auth/token", FORM, many.as_bytes()));
    assert!(talk.statuses().iter().all(|status| *status == 413), "{:?}", talk.statuses());
    assert!(site.look().is_empty());
}

// T.75
#[test]
fn a_scope_that_the_client_may_not_have_is_never_granted() {
    let site = Site::new();
    for scope in [
        "admin",
        "api:write admin",
        "admin api:write",
        "*",
        "admin *",
        "\"api:write\"",
        "api:write\"",
        "api\\write",
        "api:writ",
        "api:writes",
        "API:WRITE",
        "api:write\u{0}",
        "api:write\r\nadmin",
        "api:write,admin",
        "\u{e9}",
        "api:write\tadmin",
        "openid",
        "api",
        ":",
        "api:*",
        " ",
        &"a ".repeat(3_000),
    ] {
        let answer = ask(&site, FORM, format!("{}&scope={}", right(), encoded(scope)));
        assert_error(&answer, 400, "invalid_scope", scope);
    }
    for scope in ["api:write", "api:write api:write", " api:write", "api:write  "] {
        let answer = ask(&site, FORM, format!("{}&scope={}", right(), encoded(scope)));
        let narrowed_or_refused = answer.status == 400 || answer.json()["scope"] == "api:write";
        assert!(narrowed_or_refused, "{scope:?}: {answer:?}");
        if answer.status == 200 {
            assert_eq!(
                claims(answer.json()["access_token"].as_str().unwrap())["scope"],
                "api:write"
            );
        }
    }
}

// T.76, S.132, S.137
#[test]
fn other_methods_are_answered_here_and_their_bodies_not_run() {
    let site = Site::new();
    for method in
        ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO", "post", "Post", "QUERY"]
    {
        for body in ["", HIDDEN] {
            let mut client = site.gateway.connect();
            client.send(support::with_body(method, "/auth/token", FORM, body.as_bytes()));
            let answer = client.answer_to(method).unwrap();
            assert_eq!(
                (answer.status, answer.field("allow").as_deref()),
                (405, Some("POST")),
                "{method}"
            );
            assert!(site.end(client, Some(answer)).seen.is_empty(), "{method}");
        }
    }
    for method in ["TRACE", "CONNECT"] {
        site.talk(format!("{method} /auth/token HTTP/1.1\r\nHost: api.test\r\n\r\n"))
            .assert_refused(405, method);
    }
    let chunked = format!(
        "GET /auth/token HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{HIDDEN}\r\n0\r\n\r\n",
        HIDDEN.len()
    );
    let long = "x".repeat(200_000) + HIDDEN;
    for request in [
        chunked.into_bytes(),
        post("/auth/token", "Content-Type: text/plain\r\n", HIDDEN.as_bytes()),
        post("/auth/token", FORM, HIDDEN.as_bytes()),
        post("/auth/token", FORM, long.as_bytes()),
        post("/auth/token", &format!("{FORM}Expect: 100-continue\r\n"), long.as_bytes()),
        support::with_body("GET", "/auth/token", "", long.as_bytes()),
    ] {
        let talk = site.talk(&request);
        talk.assert_nothing_came("a body");
        assert!(
            talk.answers.len() <= 1
                && talk.statuses().iter().all(|status| (400..500).contains(status)),
            "{:?}",
            talk.statuses()
        );
    }
}

// T.77
#[test]
fn no_spelling_of_the_path_takes_a_token_request_to_the_upstream() {
    let site = Site::new();
    for path in [
        "/auth/token",
        "/auth/token?",
        "/auth/token?x=y",
        "/auth/token/",
        "//auth/token",
        "/auth//token",
        "///auth///token",
        "/AUTH/TOKEN",
        "/Auth/Token",
        "/auth/%74oken",
        "/%61uth/token",
        "/auth%2ftoken",
        "/auth%2Ftoken",
        "/auth%5ctoken",
        "/auth/token;x",
        "/auth/token;x=y",
        "/auth;x/token",
        "/auth/token%20",
        "/auth/token%00",
        "/auth/token%0a",
        "/auth/./token",
        "/auth/../auth/token",
        "/x/../auth/token",
        "/auth/token/.",
        "/auth/token/..",
        "/auth/token%2f..",
        "/auth/token%2f%2e%2e",
        "/x/%2e%2e/auth/token",
        "/x/..;/auth/token",
        "/auth/..;/auth/token",
        "/\\..\\auth/token",
        "/auth\\token",
        "/auth/token#x",
        "/auth/token%23x",
        "/auth/token%3fx",
        "/auth/tok%65n",
        "/auth/%2574oken",
        "/auth/token.",
        "/auth/token.json",
        "/auth/token,",
        "/auth/token:",
        "/auth/%c0%afauth/token",
        "/auth/token%c2%a0",
        "/auth/\u{ff54}oken",
        "http://api.test/auth/token",
        "http://evil.test/auth/token/",
        "HTTP://api.test//auth/token",
    ] {
        let body = right();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: api.test\r\n{FORM}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let talk = site.talk(request);
        talk.assert_nothing_came(path);
        assert!(matches!(talk.statuses()[..], [200 | 400 | 401]), "{path}: {:?}", talk.statuses());
        if talk.statuses() == [401] {
            assert_eq!(
                talk.answers[0].field("www-authenticate").as_deref(),
                Some("Bearer realm=\"tollgate\""),
                "{path}"
            );
        }
    }
}

// T.78, T.79
#[test]
fn a_foreign_origin_or_host_finds_its_way_into_nothing() {
    let site = Site::new();
    let mut client = site.gateway.connect();
    client.send("OPTIONS /auth/token HTTP/1.1\r\nHost: api.test\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: POST\r\n\r\n");
    let answer = client.answer();
    assert!(
        !answer.head.contains("evil.test")
            && answer.field("access-control-allow-credentials").is_none(),
        "{}",
        answer.head
    );
    for fields in [
        "X-Forwarded-Host: evil.test\r\n",
        "Forwarded: host=evil.test\r\n",
        "X-Forwarded-Proto: evil.test\r\n",
        "Origin: https://evil.test\r\n",
    ] {
        let body = right();
        let request = format!(
            "POST /auth/token HTTP/1.1\r\nHost: evil.test\r\n{FORM}{fields}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = site.gateway.ask(request);
        let token = assert_token(&answer, fields);
        assert!(
            !claims(&token).to_string().contains("evil") && !answer.head.contains("evil"),
            "{fields}"
        );
        assert_eq!(
            (&claims(&token)["iss"], &claims(&token)["aud"]),
            (&json!(ISSUER), &json!(AUDIENCE))
        );
    }
}

// T.81
#[test]
fn guessing_from_one_address_is_throttled_and_the_right_secret_works_from_another() {
    let site = Site::with(MANY_ADDRESSES);
    let (guesser, other) = (from(1), from(2));
    let mut throttled = 0;
    for attempt in 0..30 {
        let answer = ask(
            &site,
            &format!("{FORM}{guesser}"),
            credentials(CLIENT, &format!("guess {attempt}")),
        );
        if answer.status == 429 {
            let wait: u64 = answer.field("retry-after").unwrap().parse().unwrap();
            assert!((1..=61).contains(&wait), "{wait}");
            throttled += 1;
        } else {
            assert_error(&answer, 401, "invalid_client", "a guess");
            assert_eq!(throttled, 0, "once throttled, throttled");
        }
    }
    assert_eq!(throttled, 20, "the eleventh is throttled");
    // neither the right secret from there, nor by Basic or JSON, nor on the same connection
    assert_eq!(ask(&site, &format!("{FORM}{guesser}"), right()).status, 429);
    let proof = basic(format!("{CLIENT}:{SECRET}"));
    assert_eq!(ask(&site, &format!("{FORM}{guesser}{proof}"), grant()).status, 429);
    // what is claimed before the address of the trusted proxy's peer makes no other address of it
    let claimed = "X-Forwarded-For: 9.9.9.9, 10.0.0.1\r\n";
    assert_eq!(ask(&site, &format!("{FORM}{claimed}"), right()).status, 429);
    assert_token(&ask(&site, &format!("{FORM}{other}"), right()), "from another address");
    // what the guesser does elsewhere is not throttled: a read, and a write with a token
    let token = assert_token(&ask(&site, &format!("{FORM}{other}"), right()), "token");
    let talk = site.talk(post("/write", &format!("{guesser}{}", bearer(&token)), b"x"));
    assert_eq!(talk.statuses(), [200]);
}

// T.81: nobody who is not trusted chooses an address
#[test]
fn an_untrusted_peer_cannot_guess_from_many_addresses() {
    let site = Site::new();
    let statuses: Vec<_> = (0..15)
        .map(|number| {
            ask(&site, &format!("{FORM}{}", from(number)), credentials(CLIENT, "wrong")).status
        })
        .collect();
    assert_eq!(statuses[..10], [401; 10]);
    assert_eq!(statuses[10..], [429; 5]);
}

// T.82
#[test]
fn a_bad_and_a_good_request_on_one_connection_are_answered_in_order() {
    let site = Site::new();
    let (bad, good) = (
        post("/auth/token", FORM, credentials(CLIENT, "x").as_bytes()),
        post("/auth/token", FORM, right().as_bytes()),
    );
    let malformed = post("/auth/token", "Content-Type: text/plain\r\n", b"x");
    let talk = site.talk(
        [bad.clone(), good.clone(), malformed, good.clone(), get("/read"), bad, good].concat(),
    );
    assert_eq!(talk.statuses(), [401, 200, 400, 200, 200, 401, 200]);
    assert_eq!(talk.seen.len(), 1);
}

// T.83
#[test]
fn a_thousand_token_requests_at_once_are_all_answered() {
    let site = Site::new();
    let request = post("/auth/token", FORM, right().as_bytes());
    let mut clients: Vec<Client> = (0..1_000).map(|_| site.gateway.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(&request));
    // the proxy's path is not starved meanwhile
    assert_eq!(site.gateway.ask(get("/read")).status, 200);
    let mut tokens = std::collections::HashSet::new();
    for client in &mut clients {
        tokens.insert(assert_token(&client.answer(), "one of a thousand"));
    }
    assert_eq!(tokens.len(), 1_000);
    // wrong ones at once are no way around the throttle, and each is answered
    let wrong = post("/auth/token", FORM, credentials(CLIENT, "x").as_bytes());
    clients.iter_mut().for_each(|client| client.send(&wrong));
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.answer().status).collect();
    assert!(statuses.iter().all(|status| matches!(status, 401 | 429)));
    assert!(
        statuses.iter().filter(|status| **status == 401).count() <= 20,
        "more guesses than are allowed"
    );
    drop(clients);
    assert_eq!(site.look().len(), 1);
}

// §3: nothing of a hidden request in a token request's body
#[test]
fn a_token_answer_ends_where_it_says() {
    let site = Site::new();
    let mut client = site.gateway.connect();
    let request = String::from_utf8(post("/auth/token", FORM, right().as_bytes())).unwrap();
    client.send(request.replacen("Host", "Connection: close\r\nHost", 1) + HIDDEN);
    let answers = rest(&mut client);
    assert_eq!(answers.len(), 1);
    assert_token(&answers[0], "close");
    assert!(site.look().is_empty());
}
