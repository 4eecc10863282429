//! What a configuration promises: everything wrong is told at once, in its place, and no secret is ever told.

mod admin;
mod environment;
mod files;
mod issuers;
mod requests;
mod sample;
mod secrets;
mod tls;
mod tokens;
mod upstreams;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Faults, Loaded, Sources, load};

/// A folder of its own for a test, removed with it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path =
            std::env::temp_dir().join(format!("tollgate-config-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What comes of a file with this content, and these variables.
fn load_text(content: impl AsRef<[u8]>, variables: &[(&str, &str)]) -> Result<Loaded, Faults> {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", content);
    load(&Sources { file: Some(file), environment: environment(variables), ..Sources::default() })
}

fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
}

/// The faults of a file as they are printed, without the folder's name.
fn faults(content: impl AsRef<[u8]>) -> String {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", content);
    let faults = load(&Sources { file: Some(file), ..Sources::default() }).unwrap_err();
    faults.to_string().replace(&format!("{}/", folder.path().display()), "")
}

/// The reasons alone, in order.
fn reasons(content: impl AsRef<[u8]>) -> Vec<String> {
    let result = load_text(content, &[]);
    result.unwrap_err().iter().map(|fault| fault.reason().to_owned()).collect()
}

/// As little as a configuration with a token service can be.
const SMALL: &str = r#"
[upstream]
url = "http://127.0.0.1:9000"

[token]
issuer = "https://gateway.example.com"
audience = "https://api.example.com"
key = "u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg"

[[clients]]
id = "ci"
secret = "T4mQ9zXw2LkV7bNc"
scopes = ["api:write"]
"#;
