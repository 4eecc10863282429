//! `tollgate demo`: what somebody sees who has just found this.

mod pasted;

use std::net::TcpListener;
use std::process::Command;

/// `DEMO_COMMAND` has another way to start the demo, for example the README's.
fn demo() -> Command {
    let Ok(words) = std::env::var("DEMO_COMMAND") else {
        let mut demo = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        demo.arg("demo");
        return demo;
    };
    let mut words = words.split_whitespace();
    let mut demo = Command::new(words.next().expect("a command"));
    demo.args(words);
    demo
}

#[test]
fn the_lines_that_the_demo_prints_work_as_pasted() {
    let (printed, statuses) = pasted::paste(demo().args(["--listen", "127.0.0.1:0"]));
    assert_eq!(statuses, [200, 200, 401, 200, 201, 204, 204], "{printed}");
    for line in printed.lines().filter(|line| !line.trim().is_empty()) {
        let is_command = line.starts_with("curl ") || line.starts_with("TOKEN=");
        assert!(is_command || line.starts_with('#'), "neither a command nor a comment: {line}");
    }
}

#[test]
fn each_demo_has_a_secret_of_its_own() {
    let secret = |printed: &str| {
        let (_, rest) = printed.split_once("client_secret=").expect("the secret");
        rest.chars().take_while(|letter| !matches!(letter, '\'' | ' ')).collect::<String>()
    };
    let (first, _) = pasted::paste(demo().args(["--listen", "127.0.0.1:0"]));
    let (second, _) = pasted::paste(demo().args(["--listen", "127.0.0.1:0"]));
    assert!(secret(&first).len() >= 32, "{first}");
    assert_ne!(secret(&first), secret(&second));
}

#[test]
fn a_demo_whose_port_is_taken_says_which_and_what_to_do_about_it() {
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = demo().args(["--listen", &address]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(3), "{said}");
    assert!(said.contains(&address) && said.contains("--listen"), "{said}");
    assert!(ended.stdout.is_empty(), "{}", String::from_utf8_lossy(&ended.stdout));
}
