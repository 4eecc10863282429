//! An identity provider that counts, rotates and misbehaves as it is told.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tollgate::keys::{Algorithm, generate};

/// How it answers at a path.
#[derive(Clone, Debug, Default)]
pub enum Manner {
    #[default]
    Good,
    /// This status, with the right body.
    Status(u16),
    /// 200 and this, of this type.
    Says(&'static str, String),
    Redirects(u16, String),
    /// As many bytes, without end if nobody stops it.
    Floods(usize),
    /// After this time.
    Late(Duration),
    /// Closes without a word.
    Hangs,
}

/// A key pair with its name.
#[derive(Clone)]
pub struct Key {
    pub algorithm: Algorithm,
    pub kid: String,
    pub jwk: Value,
    signing: EncodingKey,
}

impl Key {
    pub fn new(algorithm: Algorithm, kid: &str) -> Self {
        let pem = generate(algorithm).unwrap().text.expose().clone();
        let signing = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        }
        .unwrap();
        let jwk = Jwk::from_encoding_key(&signing, algorithm).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = kid.into();
        jwk["use"] = "sig".into();
        Self { algorithm, kid: kid.to_owned(), jwk, signing }
    }

    /// A token with `typ: at+jwt` and this key's `kid`.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as("at+jwt", Some(&self.kid), claims)
    }

    pub fn sign_as(&self, typ: &str, kid: Option<&str>, claims: &Value) -> String {
        let mut header = Header::new(self.algorithm);
        header.typ = (!typ.is_empty()).then(|| typ.to_owned());
        header.kid = kid.map(str::to_owned);
        jsonwebtoken::encode(&header, claims, &self.signing).unwrap()
    }
}

#[derive(Default)]
struct State {
    issuer: Mutex<String>,
    keys: Mutex<Value>,
    manners: Mutex<HashMap<String, Manner>>,
    tokens: Mutex<HashMap<String, Value>>,
    asked: Mutex<Vec<(String, String)>>,
    open: AtomicBool,
    metadata: AtomicUsize,
    fetches: AtomicUsize,
    questions: AtomicUsize,
}

/// The provider. Dropped, it is down.
pub struct Provider {
    pub address: SocketAddr,
    state: Arc<State>,
}

impl Provider {
    pub fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap())
    }

    /// At an address that was somebody's before.
    pub fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        state.open.store(true, Ordering::SeqCst);
        *state.issuer.lock().unwrap() = format!("http://{address}");
        *state.keys.lock().unwrap() = json!({ "keys": [] });
        let served = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if !served.open.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&served);
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        Self { address, state }
    }

    pub fn issuer(&self) -> String {
        self.state.issuer.lock().unwrap().clone()
    }

    /// What its metadata calls it.
    pub fn call_itself(&self, issuer: &str) {
        *self.state.issuer.lock().unwrap() = issuer.to_owned();
    }

    pub fn publish(&self, keys: &[&Key]) {
        let keys: Vec<&Value> = keys.iter().map(|key| &key.jwk).collect();
        self.publish_json(json!({ "keys": keys }));
    }

    pub fn publish_json(&self, keys: Value) {
        *self.state.keys.lock().unwrap() = keys;
    }

    /// `path`: `/keys`, `/introspect` or a well-known one.
    pub fn behave(&self, path: &str, manner: Manner) {
        self.state.manners.lock().unwrap().insert(path.to_owned(), manner);
    }

    /// What it says of a reference token; what it never heard of is not active.
    pub fn knows(&self, token: &str, answer: Value) {
        self.state.tokens.lock().unwrap().insert(token.to_owned(), answer);
    }

    pub fn metadata(&self) -> usize {
        self.state.metadata.load(Ordering::SeqCst)
    }

    pub fn fetches(&self) -> usize {
        self.state.fetches.load(Ordering::SeqCst)
    }

    pub fn questions(&self) -> usize {
        self.state.questions.load(Ordering::SeqCst)
    }

    /// `Authorization` and body of each question about a token.
    pub fn asked(&self) -> Vec<(String, String)> {
        self.state.asked.lock().unwrap().clone()
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.state.open.store(false, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address); // its listener looks up, and ends
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn serve(stream: TcpStream, state: &State) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    while state.open.load(Ordering::SeqCst) {
        let Some((path, authorization, body)) = request(&mut reader) else { return };
        let right = match path.as_str() {
            "/keys" => {
                state.fetches.fetch_add(1, Ordering::SeqCst);
                state.keys.lock().unwrap().to_string()
            }
            "/introspect" => {
                state.questions.fetch_add(1, Ordering::SeqCst);
                state.asked.lock().unwrap().push((authorization, body.clone()));
                let token =
                    form_urlencoded::parse(body.as_bytes()).find(|(name, _)| name == "token");
                let token = token.map(|(_, token)| token.into_owned()).unwrap_or_default();
                let known = state.tokens.lock().unwrap().get(&token).cloned();
                match known {
                    Some(Value::String(raw)) => raw,
                    known => known.unwrap_or_else(|| json!({ "active": false })).to_string(),
                }
            }
            "/.well-known/openid-configuration" => {
                state.metadata.fetch_add(1, Ordering::SeqCst);
                let issuer = state.issuer.lock().unwrap().clone();
                let base = format!("http://{}", stream.local_addr().unwrap());
                json!({
                    "issuer": issuer,
                    "jwks_uri": format!("{base}/keys"),
                    "introspection_endpoint": format!("{base}/introspect"),
                })
                .to_string()
            }
            _ => String::new(),
        };
        if !state.open.load(Ordering::SeqCst) {
            return;
        }
        let manner = state.manners.lock().unwrap().get(&path).cloned().unwrap_or_default();
        let json = "application/json";
        let sent = match manner {
            Manner::Good if right.is_empty() => answer(&mut stream, 404, "text/plain", "", "no"),
            Manner::Good => answer(&mut stream, 200, json, "", &right),
            Manner::Status(status) => answer(&mut stream, status, json, "", &right),
            Manner::Says(kind, text) => answer(&mut stream, 200, kind, "", &text),
            Manner::Redirects(status, to) => {
                answer(&mut stream, status, json, &format!("Location: {to}\r\n"), "")
            }
            Manner::Late(time) => {
                std::thread::sleep(time);
                answer(&mut stream, 200, json, "", &right)
            }
            Manner::Floods(bytes) => flood(&mut stream, bytes),
            Manner::Hangs => {
                std::thread::sleep(Duration::from_secs(30));
                return;
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, String, String)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    let path = line.split(' ').nth(1)?.to_owned();
    let (mut length, mut authorization) = (0, String::new());
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        let (name, value) = match field.trim_end().split_once(':') {
            Some((name, value)) => (name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
        match name.as_str() {
            "content-length" => length = value.parse().ok()?,
            "authorization" => authorization = value,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((path, authorization, String::from_utf8(body).ok()?))
}

fn answer(
    stream: &mut TcpStream,
    status: u16,
    kind: &str,
    fields: &str,
    body: &str,
) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())
}

fn flood(stream: &mut TcpStream, bytes: usize) -> std::io::Result<()> {
    let head = format!(
        "HTTP/1.1 200 X\r\nContent-Type: application/json\r\nContent-Length: {bytes}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let piece = vec![b' '; 65_536];
    for _ in 0..bytes / piece.len() {
        stream.write_all(&piece)?;
    }
    Ok(())
}
