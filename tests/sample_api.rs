//! The sample API keeps its word: what `tollgate demo` shows must not be wrong because of what is behind it.

mod plain_http;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tollgate::demo::SampleApi;

/// Method, path, headers, body; the status.
type Case =
    (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [u8], u16);

const JSON: &[(&str, &str)] = &[("Content-Type", "application/json; charset=utf-8")];

fn get(to: SocketAddr, path: &str) -> plain_http::Reply {
    plain_http::send(to, "GET", path, &[], b"")
}

#[test]
fn players_can_be_listed_and_looked_up() {
    let api = SampleApi::start().unwrap();
    let all = get(api.address(), "/players");
    assert_eq!(all.status, 200);
    assert_eq!(all.header("content-type"), Some("application/json"));
    assert_eq!(all.json().as_array().unwrap().len(), 26);

    let ten = get(api.address(), "/players/10");
    assert_eq!(ten.status, 200);
    assert_eq!(ten.json()["lastName"], "Messi");
    assert_eq!(ten.json()["squadNumber"], 10);
    assert_eq!(ten.json()["dateOfBirth"], "1987-06-24");

    let head = plain_http::send(api.address(), "HEAD", "/players/10", &[], b"");
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some(ten.body.len().to_string().as_str()));

    let health = get(api.address(), "/health");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("up")));
}

#[test]
fn a_player_can_be_added_changed_and_removed_without_any_credential() {
    let api = SampleApi::start().unwrap();
    let to = api.address();
    let body = br#"{"squadNumber": 27, "firstName": "Giovani", "lastName": "Lo Celso"}"#;

    let added = plain_http::send(to, "POST", "/players", JSON, body);
    assert_eq!((added.status, added.header("location")), (201, Some("/players/27")));
    assert_eq!(added.json()["lastName"], "Lo Celso");

    let body = br#"{"firstName": "Giovani", "lastName": "Lo Celso", "team": "Villarreal"}"#;
    let changed = plain_http::send(to, "PUT", "/players/27", JSON, body);
    assert_eq!((changed.status, changed.body.len()), (204, 0));
    assert_eq!(get(to, "/players/27").json()["team"], "Villarreal");

    let removed = plain_http::send(to, "DELETE", "/players/27", &[], b"");
    assert_eq!((removed.status, removed.body.len()), (204, 0));
    assert_eq!(get(to, "/players/27").status, 404);
}

#[test]
fn a_refusal_is_a_problem_in_json_and_changes_nothing() {
    let api = SampleApi::start().unwrap();
    let to = api.address();
    let messi = br#"{"squadNumber": 10, "firstName": "L", "lastName": "M"}"#.as_slice();
    let cases: &[Case] = &[
        ("GET", "/nothing", &[], b"", 404),
        ("GET", "/players/27", &[], b"", 404),
        ("GET", "/players/ten", &[], b"", 404),
        ("GET", "/players/10/shirt", &[], b"", 404),
        ("POST", "/players", JSON, messi, 409),
        ("POST", "/players", JSON, b"{", 400),
        ("POST", "/players", JSON, b"\xff", 400),
        ("POST", "/players", JSON, br#"{"firstName": "A"}"#, 400),
        ("POST", "/players", JSON, br#"{"firstName": "A", "lastName": "B", "goals": 1}"#, 400),
        ("POST", "/players", &[("Content-Type", "text/plain")], messi, 415),
        ("POST", "/players", &[], b"", 415),
        ("PUT", "/players/11", JSON, messi, 400),
        ("PUT", "/players/0", JSON, br#"{"firstName": "A", "lastName": "B"}"#, 404),
        ("DELETE", "/players/27", &[], b"", 404),
        ("PATCH", "/players/10", JSON, messi, 405),
        ("DELETE", "/players", &[], b"", 405),
        ("POST", "/health", JSON, b"{}", 405),
    ];
    let before = get(to, "/players").body;
    for (method, path, headers, body, status) in cases {
        let reply = plain_http::send(to, method, path, headers, body);
        assert_eq!(reply.status, *status, "{method} {path}: {}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/problem+json"));
        assert_eq!(reply.json()["status"], *status);
        assert_eq!(reply.header("allow").is_some(), *status == 405, "{method} {path}");
    }
    assert_eq!(get(to, "/players").body, before);
}

#[test]
fn options_says_which_methods_a_path_has() {
    let api = SampleApi::start().unwrap();
    let reply = plain_http::send(api.address(), "OPTIONS", "/players/10", &[], b"");
    assert_eq!(reply.status, 204);
    assert_eq!(reply.header("allow"), Some("DELETE, GET, HEAD, OPTIONS, PUT"));
}

#[test]
fn a_body_over_64_kib_is_refused_announced_or_not() {
    let api = SampleApi::start().unwrap();
    let announced = plain_http::exchange(
        api.address(),
        b"POST /players HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 65537\r\n\
          Connection: close\r\n\r\n",
        false,
    );
    assert_eq!(announced.status, 413);

    let mut chunks = b"POST /players HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
        Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        .to_vec();
    for _ in 0..65 {
        chunks.extend_from_slice(b"400\r\n");
        chunks.extend_from_slice(&[b' '; 1024]);
        chunks.extend_from_slice(b"\r\n");
    }
    assert_eq!(plain_http::exchange(api.address(), &chunks, false).status, 413);
}

#[test]
fn a_thousand_players_are_enough() {
    let api = SampleApi::start().unwrap();
    let mut stream = TcpStream::connect(api.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let body = br#"{"firstName": "A", "lastName": "B"}"#;
    let request = format!(
        "POST /players HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let request = [request.as_bytes(), body].concat();
    let mut answer = [0; 4096];
    for number in 27..=1_000 {
        stream.write_all(&request).unwrap();
        let length = stream.read(&mut answer).unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 201"), "player {number}");
    }
    let one_more = plain_http::send(api.address(), "POST", "/players", JSON, body);
    assert_eq!(one_more.status, 409);
    assert_eq!(get(api.address(), "/players").json().as_array().unwrap().len(), 1_000);
}

#[test]
fn a_dropped_api_answers_no_more() {
    let api = SampleApi::start().unwrap();
    let address = api.address();
    let mut kept = TcpStream::connect(address).unwrap();
    kept.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut first = [0; 17];
    kept.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK\r\n");

    drop(api);
    assert!(TcpStream::connect(address).is_err());
    kept.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).expect("the connection was closed");
}
