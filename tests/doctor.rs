//! `tollgate doctor` finds what is planted, and nothing where nothing is.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

/// What an API does that it should not.
#[derive(Clone, Copy, Default)]
struct Habits {
    /// `X-HTTP-Method-Override` makes another method of a GET.
    obeys_header: bool,
    /// So does `_method` in the query.
    obeys_query: bool,
    /// `_` in names is `-`.
    folds: bool,
    /// Its clock is off by this.
    ahead: Duration,
}

/// An API, or an issuer, that answers every GET. It notes every method that it is asked by.
struct Api {
    address: SocketAddr,
    methods: Arc<Mutex<Vec<String>>>,
}

impl Api {
    fn start(address: &str, habits: Habits) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let methods = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&methods);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let noted = Arc::clone(&noted);
                thread::spawn(move || answer(&stream, habits, &noted));
            }
        });
        Self { address, methods }
    }

    fn only_gets(&self) -> bool {
        self.methods.lock().unwrap().iter().all(|method| method == "GET")
    }
}

fn answer(stream: &TcpStream, habits: Habits, noted: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let (method, rest) = first.split_once(' ').unwrap();
    noted.lock().unwrap().push(method.to_owned());
    let fields: BTreeMap<String, String> = lines
        .take_while(|line| !line.is_empty())
        .filter_map(|line| {
            line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        })
        .map(|(name, value)| (if habits.folds { name.replace('_', "-") } else { name }, value))
        .collect();
    let by_header = fields.contains_key("x-http-method-override") && habits.obeys_header;
    let by_query = rest.contains("_method=") && habits.obeys_query;
    let status = match () {
        () if by_header || by_query => "405 Method Not Allowed",
        () if fields.contains_key("if-none-match") => "304 Not Modified",
        () => "200 OK",
    };
    let body = if status.starts_with("304") { "" } else { "{\"keys\":[]}" };
    let date = httpdate::fmt_http_date(SystemTime::now() + habits.ahead);
    let length = body.len();
    let _ = write!(
        &mut &*stream,
        "HTTP/1.1 {status}\r\nDate: {date}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
}

/// A folder with a configuration, a key and a secret that nobody else may read.
fn deployment(name: &str, upstream: SocketAddr, rest: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("doctor-{name}"));
    let _ = fs::remove_dir_all(&folder); // left by an earlier run, if it is there
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
    let toml = format!(
        r#"
[server]
listen = "127.0.0.1:0"

[upstream]
url = "http://127.0.0.1:{port}"

[token]
issuer = "https://gateway.test"
audience = "https://api.test"
key_file = "signing-key"

[[clients]]
id = "importer"
secret_file = "client-secret"
scopes = ["api:write"]
{rest}
"#,
        port = upstream.port()
    );
    let key = "0123456789abcdefghijklmnopqrstuvwxyzABCDEF_9f3";
    for (file, text) in
        [("gateway.toml", toml.as_str()), ("signing-key", key), ("client-secret", SECRET)]
    {
        let path = folder.join(file);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    folder
}

fn doctor(folder: &Path, more: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["doctor", "--config"]).arg(folder.join("gateway.toml")).args(more);
    command.env("NO_COLOR", "1").output().unwrap()
}

/// Check and level of each finding, and all that was printed.
fn findings(folder: &Path) -> (Vec<(String, String)>, String, Option<i32>) {
    let ended = doctor(folder, &["--json"]);
    let text = String::from_utf8(ended.stdout).unwrap();
    let said: Value = serde_json::from_str(&text).unwrap_or_else(|fault| panic!("{fault}: {text}"));
    let of = |finding: &Value, what: &str| finding[what].as_str().unwrap().to_owned();
    let found = said.as_array().unwrap().iter().map(|one| (of(one, "check"), of(one, "level")));
    (found.collect(), text, ended.status.code())
}

fn level<'f>(found: &'f [(String, String)], check: &str) -> &'f str {
    found.iter().find(|(known, _)| known == check).map_or("not asked", |(_, level)| level)
}

#[test]
fn a_sound_deployment_has_no_fault_and_nothing_but_gets_is_sent() {
    let api = Api::start("127.0.0.1:0", Habits::default());
    let issuer = Api::start("127.0.0.1:0", Habits::default());
    let folder = deployment("sound", api.address, &corp(issuer.address));
    let (found, text, code) = findings(&folder);
    for check in [
        "files",
        "upstream",
        "method override",
        "method override in the query",
        "header names",
        "clocks",
    ] {
        assert_eq!(level(&found, check), "ok", "{check}: {text}");
    }
    // a machine without a network has no address to try
    assert!(["ok", "note"].contains(&level(&found, "a way around")), "{text}");
    assert_eq!(code, Some(0), "{text}");
    assert!(api.only_gets() && issuer.only_gets());
}

#[test]
fn four_planted_faults_are_found_and_each_has_its_mend() {
    let outside = outside_address();
    let habits = Habits { obeys_header: true, obeys_query: true, folds: true, ..Habits::default() };
    let api = Api::start("0.0.0.0:0", habits);
    let issuer =
        Api::start("127.0.0.1:0", Habits { ahead: Duration::from_secs(300), ..Habits::default() });
    let folder = deployment("planted", api.address, &corp(issuer.address));
    fs::set_permissions(folder.join("client-secret"), fs::Permissions::from_mode(0o644)).unwrap();

    let (found, text, code) = findings(&folder);
    assert_eq!(code, Some(1), "{text}");
    if outside.is_some() {
        assert_eq!(level(&found, "a way around"), "fault", "{text}");
    }
    assert_eq!(level(&found, "files"), "fault", "{text}");
    assert_eq!(level(&found, "method override"), "warning", "{text}");
    assert_eq!(level(&found, "method override in the query"), "fault", "{text}");
    assert_eq!(level(&found, "header names"), "warning", "{text}");
    assert_eq!(level(&found, "clocks"), "fault", "{text}");
    assert!(api.only_gets(), "nothing may be sent that could change something");

    let ended = doctor(&folder, &[]);
    let shown = String::from_utf8(ended.stdout).unwrap();
    let faults = shown.lines().filter(|line| line.trim_start().starts_with("fault ")).count();
    assert!(faults >= 3, "{shown}");
    let mends = shown.matches("= help: ").count();
    let bad =
        shown.lines().filter(|line| line.trim_start().starts_with("warning ")).count() + faults;
    assert!(mends >= bad, "{mends} mends for {bad} findings\n{shown}");
    assert!(!shown.contains(SECRET) && !text.contains(SECRET));
}

#[test]
fn an_upstream_and_an_issuer_that_do_not_answer_are_faults_and_not_a_hang() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap(); // closed again
    let silent = TcpListener::bind("127.0.0.1:0").unwrap(); // accepts by its backlog, and never answers
    let folder = deployment("down", nobody, &corp(silent.local_addr().unwrap()));
    let (found, text, code) = findings(&folder);
    assert_eq!(level(&found, "upstream"), "fault", "{text}");
    assert_eq!(level(&found, "issuers"), "fault", "{text}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_unix_socket_that_everybody_may_use_is_a_way_around() {
    let api = Api::start("127.0.0.1:0", Habits::default());
    let folder = deployment("socket", api.address, "");
    let socket = folder.join("api.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let _ = (&stream)
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    });
    let file = folder.join("gateway.toml");
    let toml = fs::read_to_string(&file).unwrap();
    let url = format!("http://127.0.0.1:{}", api.address.port());
    fs::write(&file, toml.replace(&url, &format!("unix:{}", socket.display()))).unwrap();
    for (mode, wanted) in [(0o777, "fault"), (0o770, "ok")] {
        fs::set_permissions(&socket, fs::Permissions::from_mode(mode)).unwrap();
        let (found, text, _) = findings(&folder);
        assert_eq!(level(&found, "a way around"), wanted, "{mode:o}: {text}");
    }
}

#[test]
fn secrets_in_a_file_or_folder_that_others_may_open_are_faults() {
    let api = Api::start("127.0.0.1:0", Habits::default());
    let folder = deployment("open", api.address, "");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let (found, text, _) = findings(&folder);
    assert_eq!(level(&found, "files"), "fault", "{text}");
    assert!(text.contains("may replace"), "{text}");
}

/// An issuer whose keys are asked for at `address`.
fn corp(address: SocketAddr) -> String {
    format!(
        "[[issuers]]\nname = \"corp\"\nissuer = \"https://idp.test\"\naudiences = [\"https://api.test\"]\n\
         jwks_url = \"http://{address}/keys\"\n"
    )
}

/// An address of this machine that is not loopback, if it has one.
fn outside_address() -> Option<std::net::IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}

const SECRET: &str = "Jq7mZ0pVt3Lr8Wc5Xn2Bd6Hs9Kf4Gy1A";
