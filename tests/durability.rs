//! What the file store promises: an acknowledged token or revocation is never lost, and what cannot be kept is never
//! acknowledged. The real program, killed for real.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)] // time is real here

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::{CLIENT, Client, SECRET, form, post, scratch_file};
use tollgate::clock::Clock;
use tollgate::store::{FileStore, Store};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// A gateway in a process of its own.
struct Process {
    child: Child,
    address: SocketAddr,
}

fn config(store: &Path, more: &str) -> PathBuf {
    let text = format!(
        r#"
[server]
listen = "127.0.0.1:0"
workers = 2
[upstream]
url = "http://127.0.0.1:1"
[token]
issuer = "https://gateway.test"
audience = "https://api.test"
key = "{}"
[token.endpoints]
introspect = "/auth/introspect"
revoke = "/auth/revoke"
[store]
url = "file:{}"
[log]
format = "json"
access = false
[[clients]]
id = "jwt"
secret = "{SECRET}"
[[clients]]
id = "{CLIENT}"
secret = "{SECRET}"
format = "opaque"
{more}
"#,
        support::KEY,
        store.display()
    );
    scratch_file("gateway.toml", &text)
}

fn folder() -> PathBuf {
    scratch_file("x", "").parent().unwrap().join("store")
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(["run", "--config"]).arg(config).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

impl Process {
    fn start(config: &Path) -> Self {
        Self::spawn(command(config))
    }

    fn spawn(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = loop {
            let Some(Ok(line)) = lines.next() else {
                let mut told = String::new();
                child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
                panic!("it did not start: {told}");
            };
            let event: serde_json::Value = serde_json::from_str(&line).unwrap();
            if let Some(address) = find_address(&event) {
                break address;
            }
        };
        std::thread::spawn(move || lines.for_each(drop)); // or it would wait for a reader
        Self { child, address }
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn find_address(event: &serde_json::Value) -> Option<SocketAddr> {
    match event {
        serde_json::Value::Object(members) => members.iter().find_map(|(name, value)| {
            let text = value.as_str().filter(|_| name == "address");
            text.and_then(|text| text.parse().ok()).or_else(|| find_address(value))
        }),
        _ => None,
    }
}

fn ask(
    client: &mut Client,
    path: &str,
    id: &str,
    more: &[(&str, &str)],
) -> Option<support::Answer> {
    let mut pairs = vec![("client_id", id), ("client_secret", SECRET)];
    pairs.extend_from_slice(more);
    client.send(post(path, FORM, form(&pairs).as_bytes()));
    // a process that is killed in the middle of an answer has not answered
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.answer_to("POST")))
        .unwrap_or(None)
        .filter(|answer| answer.complete)
}

fn issue(client: &mut Client, id: &str) -> Option<Result<String, u16>> {
    let answer = ask(client, "/auth/token", id, &[("grant_type", "client_credentials")])?;
    if answer.status != 200 {
        return Some(Err(answer.status));
    }
    Some(Ok(answer.json()["access_token"].as_str().unwrap().to_owned()))
}

fn is_active(client: &mut Client, token: &str) -> bool {
    let answer = ask(client, "/auth/introspect", CLIENT, &[("token", token)]).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["active"].as_bool().unwrap()
}

/// A token and what was acknowledged of it; a revocation that was asked for and not answered may have happened.
struct Known {
    token: String,
    revoked: Option<bool>,
}

/// Chance without a source of it: an order that repeats only with the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

/// C.204
#[test]
fn c204_nothing_acknowledged_is_lost_by_two_hundred_kills() {
    let config = config(&folder(), "");
    let known: Mutex<Vec<Known>> = Mutex::new(Vec::new());
    let mut dice = Dice(std::time::UNIX_EPOCH.elapsed().unwrap().subsec_nanos().into());
    println!("seed {}", dice.0);
    let (mut checked, begin) = (0, Instant::now());
    std::panic::set_hook(Box::new(|panic| {
        // connections that break off with the process are what this is about
        if panic.location().is_none_or(|place| place.file().ends_with("durability.rs")) {
            eprintln!("{panic}");
        }
    }));
    for round in 0..200 {
        let process = Process::start(&config);
        let address = process.address;
        {
            // what was acknowledged lately, and a few from long ago
            let known = known.lock().unwrap();
            let mut client = Client::connect(address);
            let recent = known.len().saturating_sub(40)..known.len();
            let old = (0..5).filter(|_| !known.is_empty());
            let old: Vec<_> = old.map(|_| dice.roll(known.len() as u64) as usize).collect();
            for at in recent.chain(old) {
                check(&mut client, &known[at], round);
                checked += 1;
            }
        }
        let wait = Duration::from_millis(1 + dice.roll(40));
        std::thread::scope(|scope| {
            for number in 0..3 {
                let known = &known;
                scope.spawn(move || work(address, number, known));
            }
            std::thread::sleep(wait); // the point where it is killed is meant to be any
            process.kill();
        });
    }
    let process = Process::start(&config);
    let mut client = Client::connect(process.address);
    let known = known.into_inner().unwrap();
    known.iter().for_each(|known| check(&mut client, known, 200));
    let revoked = known.iter().filter(|known| known.revoked == Some(true)).count();
    let unsure = known.iter().filter(|known| known.revoked.is_none()).count();
    println!(
        "{} tokens and {revoked} revocations acknowledged ({unsure} not answered), {checked} looked at between kills, all at the end, {:?}",
        known.len(),
        begin.elapsed()
    );
    assert!(known.len() > 200 && revoked > 50);
}

fn check(client: &mut Client, known: &Known, round: usize) {
    let Some(revoked) = known.revoked else { return };
    assert_eq!(is_active(client, &known.token), !revoked, "round {round}: {}", known.token);
}

/// Issues and revokes until the process is gone.
fn work(address: SocketAddr, number: usize, known: &Mutex<Vec<Known>>) {
    let Ok(connected) = std::panic::catch_unwind(|| Client::connect(address)) else { return };
    let mut client = connected;
    for turn in number.. {
        let id = if turn % 3 == 0 { "jwt" } else { CLIENT };
        let Some(token) = issue(&mut client, id) else { return };
        let token = token.unwrap();
        if turn % 2 == 0 {
            known.lock().unwrap().push(Known { token, revoked: Some(false) });
            continue;
        }
        let answer = ask(&mut client, "/auth/revoke", id, &[("token", &token)]);
        let revoked = answer.as_ref().map(|answer| answer.status == 200);
        known.lock().unwrap().push(Known { token, revoked });
        if answer.is_none() {
            return;
        }
    }
}

/// Runs until it ends by itself: its exit code, and what it said.
fn outcome(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn two_processes_on_one_folder_are_refused() {
    let config = config(&folder(), "");
    let _first = Process::start(&config);
    let (code, told) = outcome(command(&config));
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("in use by another process"), "{told}");
}

#[test]
fn a_folder_that_cannot_be_written_is_named_at_the_start() {
    let config = config(Path::new("/proc/tollgate"), "");
    let (code, told) = outcome(command(&config));
    assert_eq!(code, Some(3), "{told}");
    assert!(told.contains("/proc/tollgate") && told.lines().count() == 1, "{told}");
}

#[test]
fn c205_a_damaged_file_is_refused_in_one_sentence() {
    let folder = folder();
    let config = config(&folder, "");
    let process = Process::start(&config);
    let mut client = Client::connect(process.address);
    let tokens: Vec<_> = (0..10).map(|_| issue(&mut client, CLIENT).unwrap().unwrap()).collect();
    process.kill();
    let path = folder.join("store.log");
    let whole = std::fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[4096 + 700] ^= 4;
    for bytes in [&whole[..0], &whole[..100], &whole[..4096], &whole[..6000], &flipped] {
        std::fs::write(&path, bytes).unwrap();
        let (code, told) = outcome(command(&config));
        assert_eq!(code, Some(3), "{told}");
        assert!(told.contains("is damaged at byte") && told.lines().count() == 1, "{told}");
    }
    std::fs::remove_file(&path).unwrap();
    let (code, told) = outcome(command(&config));
    assert!(code == Some(3) && told.contains("the file is gone"), "{told}");
    std::fs::write(&path, &whole).unwrap();
    let process = Process::start(&config);
    let mut client = Client::connect(process.address);
    assert!(tokens.iter().all(|token| is_active(&mut client, token)));
}

#[test]
fn c205_a_full_disk_is_told_and_nothing_is_acknowledged_that_is_not_kept() {
    let folder = folder();
    let more = format!("claims = {{ filler = \"{}\" }}", "x".repeat(8_000));
    let config = config(&folder, &more);
    // no file may grow beyond two mebibytes (4096 blocks of 512 bytes), as if the disk were full
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 4096; exec \"$0\" run --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_tollgate"))
        .arg(&config)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let process = Process::spawn(limited);
    let mut client = Client::connect(process.address);
    let mut kept = Vec::new();
    let status = loop {
        match issue(&mut client, CLIENT).unwrap() {
            Ok(token) => kept.push(token),
            Err(status) => break status,
        }
        assert!(kept.len() < 2_000, "the disk is never full");
    };
    assert_eq!(status, 503);
    let answer = ask(&mut client, "/auth/token", CLIENT, &[("grant_type", "client_credentials")]);
    let answer = answer.unwrap();
    assert!(answer.status == 503 && answer.field("retry-after").is_some(), "{answer:?}");
    // what is small still fits where the large one did not, or is refused too; it is never a lie
    let revoked = ask(&mut client, "/auth/revoke", CLIENT, &[("token", &kept[0])]).unwrap();
    assert!(revoked.status == 200 || revoked.status == 503, "{revoked:?}");
    let jwt = issue(&mut client, "jwt").unwrap();
    assert!(jwt.is_ok(), "a JWT needs no room");
    process.kill();
    let process = Process::start(&config);
    let mut client = Client::connect(process.address);
    assert!(kept[1..].iter().all(|token| is_active(&mut client, token)));
    if revoked.status == 200 {
        assert!(!is_active(&mut client, &kept[0]));
    }
    assert!(issue(&mut client, CLIENT).unwrap().is_ok(), "there is room again");
}

#[test]
fn a_million_records_are_there_soon_after_the_start() {
    const RECORDS: u32 = 1_000_000;
    let folder = folder();
    let store = FileStore::open(&folder, Clock::system()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let key = |number: u32| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &number.to_le_bytes());
        <[u8; 32]>::try_from(digest.as_ref()).unwrap()
    };
    let record: Arc<[u8]> = vec![b'x'; 150].into();
    let begin = Instant::now();
    for start in (0..RECORDS).step_by(10_000) {
        let pending: Vec<_> = (start..start + 10_000)
            .map(|number| match number % 5 {
                0 => store.revoke(key(number), u64::MAX),
                _ => store.put(key(number), Arc::clone(&record), u64::MAX),
            })
            .collect();
        runtime.block_on(async {
            for kept in pending {
                kept.await.unwrap();
            }
        });
    }
    let wrote = begin.elapsed();
    drop(store);
    let begin = Instant::now();
    let store = FileStore::open(&folder, Clock::system()).unwrap();
    let opened = begin.elapsed();
    let length = std::fs::metadata(folder.join("store.log")).unwrap().len();
    println!(
        "{RECORDS} records, {} MiB: written in {wrote:?}, open after {opened:?}",
        length >> 20
    );
    assert_eq!(store.len(), RECORDS as usize);
    assert!(opened < Duration::from_secs(30), "{opened:?}");
    drop(store);
    let _ = std::fs::remove_dir_all(&folder);
}
