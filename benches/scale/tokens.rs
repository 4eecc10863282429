//! The token endpoint: how many tokens a core issues, and what forwarding notices of secrets that are hashed slowly.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use argon2::{Argon2, PasswordHasher as _};
use aws_lc_rs::digest::{SHA256, digest};

use super::lab::http::ask;
use super::lab::load::{Load, Seen};
use super::lab::peers::Ground;
use super::lab::{Result, Trouble, While as _, kernel};
use super::{Scale, plain};

const SECRET: &str = "J6zV0c1yQm8r5nT2bK9wX4sD7fG3hL0p";
const FORM: &str = "application/x-www-form-urlencoded";
/// Each is asked for once: what was hashed lately is remembered.
const HUMANS: usize = 2_000;
/// Who ask at once.
const ASKING: usize = 4;

pub fn issue(scale: &Scale<'_>) -> Result<()> {
    println!(
        "\n## Tokens issued\n\nPOST /auth/token with the secret of a program (`sha256:`), signed with HS256; one core.\n\n\
         | program | tokens/s of a core | CPU, µs | req/s seen | p99, ms | bad |\n|---|---:|---:|---:|---:|---:|"
    );
    let mut hash = String::new();
    for byte in digest(&SHA256, SECRET.as_bytes()).as_ref() {
        let _ = write!(hash, "{byte:02x}");
    }
    let client = format!("secret_hash = \"sha256:{hash}\"");
    let body = scale.folder.write("token.form", form("bench"))?;
    for (name, program) in &scale.programs {
        let setting = super::Setting { client: &client, ..plain() };
        let own = format!("{name}-tokens");
        let (door, _server) = scale.ground.tollgate_process(&own, program, &setting)?;
        let load = Load {
            port: door.port,
            path: "/auth/token".to_owned(),
            body: Some(body.clone()),
            content_type: FORM,
            seconds: scale.options.seconds,
            ..Load::default()
        };
        load.run(scale.folder, &scale.load)?;
        let before = kernel::cpu_time(&door.processes());
        let seen = load.run(scale.folder, &scale.load)?;
        let cpu = kernel::cpu_time(&door.processes()).saturating_sub(before).as_secs_f64();
        let each = cpu / seen.requests.max(1) as f64;
        println!(
            "| {name} | {:.0} | {:.1} | {:.0} | {:.2} | {} |",
            1.0 / each,
            each * 1e6,
            seen.requests as f64 / seen.seconds,
            seen.p99 / 1e3,
            seen.bad
        );
    }
    Ok(())
}

fn form(client: &str) -> String {
    format!("grant_type=client_credentials&client_id={client}&client_secret={SECRET}")
}

pub fn beside_hashing(scale: &Scale<'_>) -> Result<()> {
    println!(
        "\n## Forwarding beside Argon2id\n\nGET of 1 KiB on 8 connections, alone and while {ASKING} clients at once have their \
         secrets hashed; one worker, all cores.\n\n| program | | req/s | p50, ms | p99, ms | hashed/s | bad |\n|---|---|---:|---:|---:|---:|---:|"
    );
    let hash = Argon2::default().hash_password(SECRET.as_bytes()).during("Argon2")?.to_string();
    let mut further = String::new();
    for number in 0..HUMANS {
        let _ = write!(
            further,
            "[[clients]]\nid = \"human-{number}\"\nsecret_hash = \"{hash}\"\nscopes = [\"orders:read\"]\n"
        );
    }
    for (name, program) in &scale.programs {
        let ground = Ground { cores: &scale.cores, ..scale.ground };
        let setting = super::Setting { further: &further, ..plain() };
        let (door, _server) =
            ground.tollgate_process(&format!("{name}-argon2"), program, &setting)?;
        let seconds = scale.options.seconds;
        let load = Load { port: door.port, connections: 8, seconds, ..Load::default() };
        load.run(scale.folder, &scale.load)?;
        let alone = load.run(scale.folder, &scale.load)?;
        tell(name, "alone", &alone, 0.0);
        let (beside, hashed) = while_asking(door.port, || load.run(scale.folder, &scale.load))?;
        tell(name, "beside", &beside, hashed as f64 / beside.seconds);
    }
    Ok(())
}

fn tell(name: &str, how: &str, seen: &Seen, hashed: f64) {
    println!(
        "| {name} | {how} | {:.0} | {:.2} | {:.2} | {hashed:.1} | {} |",
        seen.requests as f64 / seen.seconds,
        seen.p50 / 1e3,
        seen.p99 / 1e3,
        seen.bad
    );
}

/// Does `load` while tokens are asked for. Yields how many were had.
fn while_asking(port: u16, load: impl FnOnce() -> Result<Seen>) -> Result<(Seen, usize)> {
    let (over, next, had) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let asking = || {
        while !over.load(Ordering::Relaxed) {
            let number = next.fetch_add(1, Ordering::Relaxed) % HUMANS;
            let headers = format!("Content-Type: {FORM}\r\n");
            let body = form(&format!("human-{number}"));
            let answer = ask(port, "POST", "/auth/token", &headers, &body);
            if answer.is_ok_and(|answer| answer.status == 200) {
                had.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    let seen = thread::scope(|scope| {
        for _ in 0..ASKING {
            scope.spawn(asking);
        }
        let seen = load();
        over.store(true, Ordering::Relaxed);
        seen
    })?;
    match had.load(Ordering::Relaxed) {
        0 => Err(Trouble::new("no token was had while secrets were hashed")),
        had => Ok((seen, had)),
    }
}
