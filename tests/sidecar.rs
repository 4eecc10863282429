//! `examples/sidecar`: the image builds, and what it holds runs under compose.yaml's restrictions.
//!
//! There is no container engine where the tests run. `tests/sidecar.sh` stands in for one, and says what it leaves out.

#![allow(clippy::unwrap_used)]

mod markdown;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_sidecar_is_static_and_guards_its_api_without_root_on_a_read_only_image() {
    let root = env!("CARGO_MANIFEST_DIR");
    for arguments in [["tests/install.sh", "example"], ["tests/sidecar.sh", "build"]] {
        let ended = Command::new("bash").args(arguments).current_dir(root).output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.success(), "{arguments:?}: {said}");
    }
    markdown::hold("examples/sidecar/README.md");
    the_health_check_of_the_image_is_content(root);
}

/// What an engine does every few seconds: the image's own `HEALTHCHECK`, inside.
fn the_health_check_of_the_image_is_content(root: &str) {
    let example = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sidecar-health");
    fs::create_dir_all(example.join("secrets")).unwrap();
    for secret in ["signing-key", "client-secret"] {
        let made = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("secret").output().unwrap();
        fs::write(example.join("secrets").join(secret), made.stdout).unwrap();
    }
    let mut up = Command::new("bash")
        .args(["tests/sidecar.sh", "up"])
        .current_dir(root)
        .env("EXAMPLE", &example)
        .env("API_PORT", "0")
        .env("TOLLGATE_SERVER__LISTEN", "127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(up.stdout.take().unwrap()).lines().map_while(Result::ok);
    let said: Vec<String> = lines.take_while(|line| !line.contains("is content")).collect();
    let pid = up.id().to_string();
    let _ = Command::new("kill").arg(&pid).status(); // it may have ended by itself: then with a failure
    assert!(up.wait().unwrap().success(), "{said:#?}");
}
