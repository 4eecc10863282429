//! What the steps stand on: settings, tokens and requests.

use std::path::Path;
use std::rc::Rc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{HeaderValue, Method, Version};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use tollgate::clock::Clock;
use tollgate::config::{Settings, Sources, load};
use tollgate::http1::RequestHead;
use tollgate::message::{Body, Fields, Peer, Request, Target};

/// When everything happens, seconds since 1970.
pub static NOW: LazyLock<u64> = LazyLock::new(|| Clock::system().unix_seconds());
const ISSUER: &str = "https://gateway.example";
const AUDIENCE: &str = "https://api.example";
const KEY: &str = "a key of forty-four random-looking bytes 9f3";
/// Algorithm, private key of the fixtures, public key.
const KEYS: &[(&str, &str, &str)] = &[
    ("RS256", "rsa-2048.pkcs8.pem", "rsa-2048.public.pem"),
    ("PS256", "rsa-2048.pkcs8.pem", "rsa-2048.public.pem"),
    ("ES256", "p256.pkcs8.pem", "p256.public.pem"),
    ("EdDSA", "ed25519.pkcs8.pem", "ed25519.public.pem"),
];

static FILES: AtomicU32 = AtomicU32::new(0);

/// An issuer with a key of each algorithm, and no route.
pub fn settings() -> Settings {
    loaded("")
}

/// A third literal, a third with a parameter, a third with a rest.
pub fn with_routes(count: usize) -> Settings {
    let mut text = String::new();
    for number in 0..count {
        let path = match number % 3 {
            0 => format!("/service{number}/items"),
            1 => format!("/service{number}/{{id}}/log"),
            _ => format!("/service{number}/{{*rest}}"),
        };
        text += &format!("[[routes]]\npath = \"{path}\"\naccess = \"protected\"\n");
    }
    loaded(&text)
}

fn loaded(further: &str) -> Settings {
    let previous = |(algorithm, _, public): &(&str, &str, &str)| {
        let file = fixture(public);
        format!(
            "{{ public_key_file = {file:?}, algorithm = \"{algorithm}\", key_id = \"{algorithm}\" }}"
        )
    };
    let previous: Vec<_> = KEYS.iter().map(previous).collect();
    let text = format!(
        "[upstream]\nurl = \"http://127.0.0.1:9000\"\n[token]\nissuer = \"{ISSUER}\"\naudience = \"{AUDIENCE}\"\n\
         algorithm = \"HS256\"\nkey = \"{KEY}\"\nkey_id = \"HS256\"\nprevious_keys = [{}]\n\
         [[clients]]\nid = \"nightly-import\"\nsecret = \"J6zV0c1yQm8r5nT2bK9wX4sD7fG3hL0p\"\n\
         scopes = [\"orders:read\", \"orders:write\"]\n{further}",
        previous.join(", ")
    );
    let number = FILES.fetch_add(1, Ordering::Relaxed);
    let name = format!("tollgate-bench-{}-{number}.toml", std::process::id());
    let file = std::env::temp_dir().join(name);
    std::fs::write(&file, text).unwrap();
    let loaded = load(&Sources { file: Some(file.clone()), ..Sources::default() });
    std::fs::remove_file(file).unwrap();
    match loaded {
        Ok(loaded) => loaded.settings,
        Err(faults) => panic!("{faults}"),
    }
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/keys");
    folder.join(name).display().to_string()
}

/// A good token that was signed by this algorithm.
pub fn token(algorithm: &str) -> String {
    signed(algorithm, *NOW + 3600)
}

/// One whose hour has passed.
pub fn expired() -> String {
    signed("HS256", *NOW - 3600)
}

/// The same claims under a signature of others.
pub fn tampered(token: &str) -> String {
    let (rest, signature) = token.rsplit_once('.').unwrap();
    let turned: String = signature.chars().rev().collect();
    // Whatever the last letter was, this one has no bits beyond the signature's.
    format!("{rest}.{}A", &turned[..turned.len() - 1])
}

fn signed(algorithm: &str, expires: u64) -> String {
    let (how, key) = match algorithm {
        "HS256" => (Algorithm::HS256, EncodingKey::from_secret(KEY.as_bytes())),
        "RS256" => (Algorithm::RS256, EncodingKey::from_rsa_pem(&private(algorithm)).unwrap()),
        "PS256" => (Algorithm::PS256, EncodingKey::from_rsa_pem(&private(algorithm)).unwrap()),
        "ES256" => (Algorithm::ES256, EncodingKey::from_ec_pem(&private(algorithm)).unwrap()),
        "EdDSA" => (Algorithm::EdDSA, EncodingKey::from_ed_pem(&private(algorithm)).unwrap()),
        odd => panic!("no key for {odd}"),
    };
    let claims = json!({
        "iss": ISSUER, "sub": "user-000042", "client_id": "nightly-import", "aud": AUDIENCE, "iat": *NOW - 60,
        "nbf": *NOW - 60, "exp": expires, "jti": "0000002a-7c1e-4b5a-9d61-3f0c2a9be7d4",
        "scope": "orders:read orders:write",
    });
    let header = Header { kid: Some(algorithm.to_owned()), ..Header::new(how) };
    encode(&header, &claims, &key).unwrap()
}

fn private(algorithm: &str) -> Vec<u8> {
    let found = KEYS.iter().find(|key| key.0 == algorithm).unwrap();
    std::fs::read(fixture(found.1)).unwrap()
}

pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// The head that a program sends, with further lines.
pub fn head_of(method: &str, lines: &str) -> String {
    let body = if method == "POST" {
        "Content-Type: application/json\r\nContent-Length: 0\r\n"
    } else {
        ""
    };
    format!(
        "{method} /orders/4711?full=1 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: nightly/1.4\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip\r\n{body}{lines}\r\n"
    )
}

/// As the server makes it of a head without a body.
pub fn request(head: RequestHead, peer: &Rc<Peer>) -> Request {
    Request {
        method: head.method,
        target: head.target,
        version: head.version,
        headers: head.headers,
        host: head.host,
        upgrade: head.upgrade,
        expects_continue: head.expects_continue,
        body: Body::Empty,
        peer: Rc::clone(peer),
        interim: None,
    }
}

pub fn get(path: &str) -> Request {
    Request {
        method: Method::GET,
        target: Target::parse(&Bytes::copy_from_slice(path.as_bytes()), false).unwrap().0,
        version: Version::HTTP_11,
        headers: Fields::new(),
        host: Some(HeaderValue::from_static("api.example.com")),
        upgrade: None,
        expects_continue: false,
        body: Body::Empty,
        peer: Rc::new(Peer::new(None, false, false)),
        interim: None,
    }
}
