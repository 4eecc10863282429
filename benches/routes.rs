//! What finding a route costs, with no route, ten and ten thousand: `cargo bench --bench routes`. Prints nanoseconds for
//! each request; no test holds them.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // time is what is measured

use std::hint::black_box;
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Version};
use tollgate::config::{Settings, Sources, load};
use tollgate::message::{Body, Fields, Peer, Request, Target};
use tollgate::route::Routes;

const TURNS: u32 = 200_000;

fn main() {
    println!("{:>8}  {:>9}  {:>9}  {:>9}  {:>9}", "routes", "literal", "param", "none", "odd");
    for count in [0, 10, 100, 1_000, 10_000] {
        let routes = Routes::new(&settings(count), vec!["/auth/token".to_owned()]);
        let wide = count.max(1);
        let literal = measure(&routes, |turn| format!("/service{}/items", turn as usize % wide));
        let param = measure(&routes, |turn| format!("/service{}/{turn}/log", turn as usize % wide));
        let none = measure(&routes, |turn| format!("/nowhere/{turn}"));
        let odd = measure(&routes, |turn| format!("/service{}//%69tems", turn as usize % wide));
        println!("{count:>8}  {literal:>9.0}  {param:>9.0}  {none:>9.0}  {odd:>9.0}");
    }
}

/// Nanoseconds for each of many different requests, the best of five runs.
fn measure(routes: &Routes, path: impl Fn(u32) -> String) -> f64 {
    let requests: Vec<Request> = (0..10_000).map(|turn| request(&path(turn * 7919))).collect();
    let run = || {
        let started = Instant::now();
        for turn in 0..TURNS {
            let request = &requests[turn as usize % requests.len()];
            let _ = black_box(routes.choose(black_box(request)));
        }
        started.elapsed().as_nanos() as f64 / f64::from(TURNS)
    };
    (0..5).map(|_| run()).fold(f64::INFINITY, f64::min)
}

/// A third literal, a third with a parameter, a third with a rest.
fn settings(count: usize) -> Settings {
    let mut text = "[upstream]\nurl = \"http://127.0.0.1:9000\"\n".to_owned();
    for number in 0..count {
        let path = match number % 3 {
            0 => format!("/service{number}/items"),
            1 => format!("/service{number}/{{id}}/log"),
            _ => format!("/service{number}/{{*rest}}"),
        };
        text += &format!("[[routes]]\npath = \"{path}\"\naccess = \"protected\"\n");
    }
    let file = std::env::temp_dir().join(format!("tollgate-bench-{}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let loaded = load(&Sources { file: Some(file.clone()), ..Sources::default() });
    std::fs::remove_file(file).unwrap();
    loaded.unwrap().settings
}

fn request(path: &str) -> Request {
    let host = HeaderValue::from_static("api.example.com");
    Request {
        method: Method::GET,
        target: Target::parse(&Bytes::copy_from_slice(path.as_bytes()), false).unwrap().0,
        version: Version::HTTP_11,
        headers: Fields::new(),
        host: Some(host),
        upgrade: None,
        expects_continue: false,
        body: Body::Empty,
        peer: Rc::new(Peer::new(None, false, false)),
        interim: None,
    }
}
