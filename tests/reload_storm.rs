//! Reloads and ends under load: connections that are kept and new ones, long uploads and tunnels. Nobody loses anything.
//! `TOLLGATE_TEST_SCALE=25` makes it 500 reloads in ten minutes and 50 ends.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::process::Process;
use support::{Client, Upstream, bearer, get, post, toml};

fn scale() -> usize {
    std::env::var("TOLLGATE_TEST_SCALE").ok().and_then(|scale| scale.parse().ok()).unwrap_or(1)
}

/// Answers everything at once, says how long bodies were, and echoes in tunnels. Keeps nothing.
fn upstream() -> Upstream {
    Upstream::scripted(|mut connection| {
        while let Some(mut seen) = connection.head() {
            if seen.field("upgrade").is_some() {
                connection.send(
                    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n",
                );
                loop {
                    let bytes = connection.left_over();
                    connection.send(bytes);
                    if !connection.fill() {
                        return;
                    }
                }
            }
            if !connection.body(&mut seen) {
                return;
            }
            let text = seen.body.len().to_string();
            connection
                .send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()));
        }
    })
}

/// Clients of all kinds, until they are stopped.
struct Load {
    threads: Vec<std::thread::JoinHandle<Vec<String>>>,
    stop: Arc<AtomicBool>,
    requests: Arc<AtomicUsize>,
}

impl Load {
    fn start(gateway: &Process) -> Self {
        let (stop, requests) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut load = Self { threads: Vec::new(), stop, requests };
        let (address, token) = (gateway.address, bearer(&gateway.token()));
        for number in 0..16 {
            let token = token.clone();
            load.go(move |failures, requests, stop| {
                // half of them keep a connection, and half of what they ask needs a token
                let mut kept = Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    if number % 4 == 0 {
                        kept = Client::connect(address);
                    }
                    let changes = number % 2 == 0;
                    kept.send(if changes { post("/", &token, b"12345") } else { get("/") });
                    let wanted = if changes { "5" } else { "0" };
                    match kept.answer_to("GET") {
                        Some(answer) if answer.status == 200 && answer.text() == wanted => {}
                        other => {
                            failures.push(format!("request: {other:?}"));
                            kept = Client::connect(address);
                        }
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(7)); // its pace
                }
            });
        }
        for _ in 0..4 {
            let token = token.clone();
            load.go(move |failures, requests, stop| {
                while !stop.load(Ordering::SeqCst) {
                    let mut client = Client::connect(address);
                    client.send(format!(
                        "POST /up HTTP/1.1\r\nHost: a\r\n{token}Transfer-Encoding: chunked\r\n\r\n"
                    ));
                    for _ in 0..30 {
                        client.send(format!("3e8\r\n{}\r\n", "x".repeat(1000)));
                        std::thread::sleep(Duration::from_millis(50)); // a slow upload
                    }
                    client.send("0\r\n\r\n");
                    match client.answer_to("GET") {
                        Some(answer) if answer.status == 200 && answer.text() == "30000" => {}
                        other => failures.push(format!("upload: {other:?}")),
                    }
                    requests.fetch_add(1, Ordering::SeqCst);
                }
            });
            let (token, address) = (bearer(&gateway.token()), gateway.address);
            load.go(move |failures, requests, stop| {
                let mut client = Client::connect(address);
                client.send(format!("GET /tunnel HTTP/1.1\r\nHost: a\r\n{token}Connection: Upgrade\r\nUpgrade: echo\r\n\r\n"));
                if client.head().is_none_or(|answer| answer.status != 101) {
                    failures.push("no tunnel".to_owned());
                    return;
                }
                let mut number = 0;
                while !stop.load(Ordering::SeqCst) {
                    number += 1;
                    let text = format!("<{number}>");
                    client.send(&text);
                    client.wait_for(&text);
                    requests.fetch_add(1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(20)); // its pace
                }
            });
        }
        load
    }

    fn go(
        &mut self,
        client: impl FnOnce(&mut Vec<String>, &AtomicUsize, &AtomicBool) + Send + 'static,
    ) {
        let (stop, requests) = (Arc::clone(&self.stop), Arc::clone(&self.requests));
        self.threads.push(std::thread::spawn(move || {
            let mut failures = Vec::new();
            client(&mut failures, &requests, &stop);
            failures
        }));
    }

    /// How many requests there were, and what went wrong.
    fn stop(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.threads.into_iter().flat_map(|thread| match thread.join() {
            Ok(failures) => failures,
            Err(_) => vec!["a client gave up".to_owned()],
        });
        let failures = failures.collect();
        (self.requests.load(Ordering::SeqCst), failures)
    }
}

#[test]
fn c197_a_storm_of_hang_ups_under_load_fails_no_request_and_leaves_nothing_behind() {
    let upstream = upstream();
    let url = format!("http://{}", upstream.address);
    let quiet = "[log]\naccess = false\n";
    let routes: String = (0..50)
        .map(|number| format!("[[routes]]\npath = \"/r{number}/{{*rest}}\"\naccess = \"deny\"\n"))
        .collect();
    // another address comes and goes with every other one
    let configurations = [
        toml(&url, "", "", quiet),
        toml(&url, "", "", &(quiet.to_owned() + &routes)).replacen(
            "listen = \"127.0.0.1:0\"",
            "listen = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\nidle_timeout = \"50s\"",
            1,
        ),
    ];
    let broken = configurations[0].replacen("workers", "wrokers", 1);
    let gateway = Process::start(&configurations[0]);
    let load = Load::start(&gateway);
    let (reloads, pause) = match scale() {
        1 => (20, Duration::from_millis(50)),
        scale => (20 * scale, Duration::from_millis(1_200)),
    };
    let mut figures = Vec::new();
    let start = Instant::now();
    for number in 0..reloads {
        let begun = Instant::now();
        if number % 5 == 4 {
            gateway.fail_to_apply(&broken);
        } else {
            gateway.apply(&configurations[number % 2]);
        }
        if number % (reloads / 10).max(1) == 0 {
            figures.push((gateway.memory("VmRSS"), gateway.descriptors()));
        }
        std::thread::sleep(pause.saturating_sub(begun.elapsed())); // the pace of the storm
    }
    let took = start.elapsed();
    // the same configuration as at the start, for comparison
    gateway.apply(&configurations[0]);
    figures.push((gateway.memory("VmRSS"), gateway.descriptors()));
    let (requests, failures) = load.stop();
    println!(
        "{reloads} reloads in {took:?}, {requests} requests ({:.0}/s), {} failed; RSS in KiB and descriptors: {figures:?}",
        requests as f64 / took.as_secs_f64(),
        failures.len()
    );
    assert!(failures.is_empty(), "{} failed, as {:?}", failures.len(), failures.first());
    let (warm, last) = (figures[figures.len() / 2], figures[figures.len() - 1]);
    assert!(last.1 <= warm.1 + 24, "descriptors pile up: {figures:?}");
    assert!(last.0 <= warm.0 + warm.0 / 4, "memory piles up: {figures:?}");
    let (code, log) = gateway.terminate();
    assert_eq!(code, Some(0));
    assert_eq!(log.matches("configuration not applied").count(), reloads / 5);
}

#[test]
fn ends_under_load_truncate_no_answer() {
    let upstream = Upstream::scripted(|mut connection| {
        while connection.head().is_some() {
            connection.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            let piece = format!("{:x}\r\n{}\r\n", 10_000, "x".repeat(10_000));
            for _ in 0..5 {
                connection.send(&piece);
                std::thread::sleep(Duration::from_millis(1)); // what takes its time
            }
            connection.send("0\r\n\r\n");
        }
    });
    let (ends, mut answers) = (2 * scale(), 0);
    for _ in 0..ends {
        let gateway = Process::start(&toml(
            &format!("http://{}", upstream.address),
            "",
            "",
            "[log]\naccess = false\n",
        ));
        let address = gateway.address;
        let threads: Vec<_> = (0..12)
            .map(|number| {
                std::thread::spawn(move || {
                    let (mut whole, mut cut) = (0, 0);
                    'all: while let Ok(stream) = TcpStream::connect(address) {
                        let mut client = Client::over(stream);
                        for _ in 0..if number % 2 == 0 { 1 } else { 1000 } {
                            client.send(get("/"));
                            match client.answer_to("GET") {
                                Some(answer) if answer.complete && answer.body.len() == 50_000 => {
                                    whole += 1;
                                    if answer.field("connection").as_deref() == Some("close") {
                                        continue 'all;
                                    }
                                }
                                _ => {
                                    cut += 1;
                                    continue 'all;
                                }
                            }
                        }
                    }
                    (whole, cut)
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(300)); // so long everything is as usual
        gateway.signal(Signal::TERM);
        let (code, log) = gateway.end();
        assert_eq!(code, Some(0), "{log}");
        for thread in threads {
            let (whole, cut) = thread.join().unwrap();
            assert_eq!(cut, 0);
            answers += whole;
        }
    }
    println!("{ends} ends, {answers} answers, none cut");
}
