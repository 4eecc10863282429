//! A flood of tokens that nobody has signed, each of which costs a check of ES256: everything else is answered beside it.
//! In which order, and that the queue is bounded, is told in `src/auth/turns.rs`, where no clock is needed for it.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::{Client, Gateway, KEY, Upstream, bearer, get, post, scratch_file, tokens, toml};
use tollgate::keys::{Algorithm, generate};

/// One worker, which signs with ES256.
fn gateway(upstream: &Upstream) -> Gateway {
    let pem = generate(Algorithm::ES256).unwrap().text;
    let file = scratch_file("es256.pem", pem.expose());
    let text = toml(&format!("http://{}", upstream.address), "", "", "")
        .replace("workers = 2", "workers = 1")
        .replace(
            &format!("key = \"{KEY}\""),
            &format!("key_file = \"{}\"\nalgorithm = \"ES256\"", file.display()),
        );
    Gateway::from_toml(&text)
}

/// Everything about it is right but the signature, which is of the right form.
fn forged(gateway: &Gateway, number: usize) -> String {
    let header = tokens::encoded(br#"{"alg":"ES256","typ":"at+jwt"}"#);
    let mut claims = tokens::claims(gateway);
    claims["jti"] = number.to_string().into();
    let claims = tokens::encoded(claims.to_string().as_bytes());
    // 1 <= r, s < n: nothing is wrong with them before the point is computed
    let mut signature = [0x5A; 64];
    signature[24..32].copy_from_slice(&(number as u64).to_be_bytes());
    format!("{header}.{claims}.{}", tokens::encoded(&signature))
}

#[test]
fn a_flood_of_forged_es256_tokens_is_refused_and_others_are_answered_beside_it() {
    let upstream = Upstream::start();
    let gateway = gateway(&upstream);
    let known = gateway.token();
    let write = |token: &str| post("/x", &bearer(token), b"{}");
    assert_eq!(gateway.ask(write(&known)).status, 200);
    let (stop, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let flood: Vec<_> = (0..4)
        .map(|part| {
            let tokens: Vec<_> = (0..256).map(|at| forged(&gateway, part * 256 + at)).collect();
            let (address, stop, refused) =
                (gateway.address, Arc::clone(&stop), Arc::clone(&refused));
            std::thread::spawn(move || {
                let mut clients: Vec<_> = (0..32).map(|_| Client::connect(address)).collect();
                for chunk in tokens.chunks(clients.len()).cycle() {
                    for (client, token) in clients.iter_mut().zip(chunk) {
                        client.send(post("/x", &bearer(token), b""));
                    }
                    for client in &mut clients {
                        let answer = client.answer();
                        assert!(matches!(answer.status, 401 | 503), "{answer:?}");
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    if stop.load(Ordering::SeqCst) {
                        return;
                    }
                }
            })
        })
        .collect();
    while refused.load(Ordering::SeqCst) < 200 {
        std::thread::yield_now(); // until it is in full spate
    }
    let before = refused.load(Ordering::SeqCst);
    let (mut reader, mut writer, mut newcomer) =
        (gateway.connect(), gateway.connect(), gateway.connect());
    for _ in 0..20 {
        reader.send(get("/x"));
        assert_eq!(reader.answer().status, 200);
        writer.send(write(&known));
        assert_eq!(writer.answer().status, 200);
        // good, and not seen before: it waits for its turn, and has it
        newcomer.send(write(&gateway.token()));
        assert_eq!(newcomer.answer().status, 200);
    }
    let meanwhile = refused.load(Ordering::SeqCst) - before;
    assert!(meanwhile > 0, "there was no flood");
    stop.store(true, Ordering::SeqCst);
    flood.into_iter().for_each(|part| part.join().unwrap());
    // nothing of the flood came through
    let passed = |line: &str, known: bool| known || line.starts_with("GET");
    let seen = upstream.seen();
    assert!(seen.iter().all(|seen| passed(&seen.line, seen.field("x-auth-client").is_some())));
    assert_eq!(gateway.totals().panics, 0);
}
