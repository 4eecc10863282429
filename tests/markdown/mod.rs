//! Runs what a document tells its reader to type.
//!
//! Every fenced block says in the HTML comment above it what it promises, and a block without a promise is an error:
//!
//! | comment | block |
//! |---|---|
//! | `<!-- test: serve -->` | a command that serves until it is stopped; it takes the place of the one before |
//! | `<!-- test: ok -->` | commands that end with success |
//! | `<!-- test: exit 1 -->` | the last command ends with this code |
//! | `<!-- test: 200 401 -->` | commands that succeed, whose `curl`s get these statuses in this order |
//! | `<!-- test: secret -->` | `CLIENT_SECRET=…`, to which the reader gives the secret that the demo printed |
//! | `<!-- test: file NAME -->` | the content of a file, written before the next command |
//! | `<!-- test: check -->` | a `gateway.toml` that `tollgate check` accepts |
//! | `<!-- test: output -->` | shown, not run: each line of it was printed; `…` stands for anything |
//! | `<!-- test: not run: WHY -->` | not run |
//!
//! All commands of a document run in one bash, in order, in a folder that looks like the root of the repository and is
//! thrown away. In them, 127.0.0.1:8080 is a free port and 127.0.0.1:9000 the sample API.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tollgate::demo::SampleApi;

/// One fenced block.
#[derive(Debug)]
pub(crate) struct Block {
    /// Of the opening fence, from 1.
    pub(crate) line: usize,
    /// `sh`, `toml`, …
    pub(crate) language: String,
    /// What stands behind `test:` in the comment above it.
    pub(crate) promise: Option<String>,
    /// Without the fences.
    pub(crate) text: String,
}

/// The fenced blocks of a document, in order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut promise = None;
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(comment) = line.strip_prefix("<!-- test: ") {
            promise = Some(comment.trim_end_matches("-->").trim().to_owned());
        } else if let Some(language) = line.trim_start().strip_prefix("```") {
            let indent = line.len() - line.trim_start().len();
            let mut text = String::new();
            for (line, _) in lines.by_ref().take_while(|(line, _)| line.trim() != "```") {
                text += line.get(indent..).unwrap_or_default();
                text.push('\n');
            }
            let language = language.trim().to_owned();
            found.push(Block { line: number, language, promise: promise.take(), text });
        } else if !line.trim().is_empty() {
            assert!(promise.is_none(), "line {number}: a promise stands above no block");
        }
    }
    found
}

/// Runs every block of `document` (its path from the root of the repository) and holds each to its promise.
pub(crate) fn hold(document: &str) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join(document)).expect("the document");
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{document} has no block");

    let api = SampleApi::start().expect("the sample API");
    let gateway = free_address();
    let place = Place::new(root);
    let script = script(document, &blocks, gateway, api.address(), &place);
    let ended = Command::new("bash")
        .args(["-c", &script])
        .current_dir(&place.root)
        .env("PATH", path_with_binary())
        .env("TOLLGATE_SERVER__LISTEN", gateway.to_string())
        .env("LISTEN", gateway.to_string())
        .env("API_PORT", free_address().port().to_string())
        .env("TOLLGATE", env!("CARGO_BIN_EXE_tollgate"))
        .env("NO_COLOR", "1")
        .stdin(Stdio::null())
        .output()
        .expect("bash");
    let served = fs::read(place.served()).unwrap_or_default();
    let said = [&ended.stdout[..], &ended.stderr[..], &served[..]].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    let report = fs::read_to_string(place.report()).unwrap_or_default();
    assert!(ended.status.success(), "{document}\n{report}\n{said}");
    judge(document, &blocks, &report, &said);
}

/// A folder with links to everything in the repository, where files may be written without touching it.
struct Place {
    folder: PathBuf,
    root: PathBuf,
}

impl Place {
    fn new(repository: &Path) -> Self {
        let name =
            format!("tollgate-document-{}-{:?}", std::process::id(), std::thread::current().id());
        let folder = std::env::temp_dir().join(name.replace(['(', ')'], ""));
        let root = folder.join("tollgate");
        fs::create_dir_all(&root).expect("a folder of its own");
        for entry in fs::read_dir(repository).expect("the repository") {
            let entry = entry.expect("an entry");
            let name = entry.file_name();
            if name == "examples" {
                copy(&entry.path(), &root.join(name));
            } else if name != "target" && name != ".git" && name != "gateway.toml" {
                symlink(entry.path(), root.join(name)).expect("a link");
            }
        }
        Self { folder, root }
    }

    /// What the script notes of each block.
    fn report(&self) -> PathBuf {
        self.folder.join("report")
    }

    /// What the serving commands print.
    fn served(&self) -> PathBuf {
        self.folder.join("served")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Copies a folder, but for secrets that were made in it; what npm installed is linked.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder to copy") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "node_modules" {
            symlink(from, to).expect("a link");
        } else if from.is_dir() {
            if entry.file_name() != "secrets" {
                copy(&from, &to);
            }
        } else {
            fs::copy(from, to).expect("a copy");
        }
    }
}

fn script(
    document: &str,
    blocks: &[Block],
    gateway: SocketAddr,
    api: SocketAddr,
    place: &Place,
) -> String {
    let mut script = format!(
        "report={}\nserved={}\ngateway={gateway}\n{PRELUDE}",
        place.report().display(),
        place.served().display(),
    );
    for Block { line, language, promise, text } in blocks {
        let promise = match (language.as_str(), promise) {
            ("mermaid", None) => continue,
            (_, Some(promise)) => promise.as_str(),
            (_, None) => panic!("{document}:{line}: this block promises nothing"),
        };
        let text = text
            .replace("127.0.0.1:8080", &gateway.to_string())
            .replace("127.0.0.1:9000", &api.to_string())
            .replace("cargo run --release -- demo", &format!("tollgate demo --listen {gateway}"))
            .replace("docker compose --file examples/sidecar/compose.yaml up --build", CONTAINED);
        if let Some(name) = promise.strip_prefix("file ") {
            script += &format!("cat > {name} <<'END OF FILE'\n{text}END OF FILE\n");
        } else if promise == "check" {
            let name = format!("line-{line}.toml");
            script += &format!("cat > {name} <<'END OF FILE'\n{text}END OF FILE\n");
            script += &format!("begin {line}; tollgate check --config {name}; end\n");
        } else if promise == "serve" {
            assert_eq!(language, "sh", "{document}:{line}");
            script +=
                &format!("begin {line}; stop; {{\n{text}}} >> \"$served\" 2>&1 & serving; end\n");
        } else if promise == "secret" {
            assert!(text.starts_with("CLIENT_SECRET="), "{document}:{line}");
            script += &format!("begin {line}; {SECRET}; end\n");
        } else if !promise.starts_with("not run: ") && !promise.starts_with("output") {
            assert_eq!(language, "sh", "{document}:{line}");
            script += &format!("begin {line}\n{text}end\n");
        }
    }
    script += "stop\n";
    script
}

/// Reads what the script noted: `block LINE`, `HTTP STATUS` for each curl, `exit CODE`.
fn judge(document: &str, blocks: &[Block], report: &str, said: &str) {
    for Block { line, promise, text, .. } in blocks {
        let Some(promise) = promise.as_deref() else { continue };
        if promise.starts_with("not run: ") || promise.starts_with("file ") {
            continue;
        }
        if promise.starts_with("output") {
            for wanted in text.lines().filter(|line| !line.trim().is_empty()) {
                let printed = said.lines().any(|line| alike(line.trim(), wanted.trim()));
                assert!(
                    printed,
                    "{document}:{line}: {wanted:?} not in
{said}"
                );
            }
            continue;
        }
        let begin = format!("block {line}\n");
        let (_, rest) = report.split_once(&begin).unwrap_or_else(|| {
            panic!("{document}:{line}: did not run\n{report}\n{said}");
        });
        let noted: Vec<&str> =
            rest.lines().take_while(|line| !line.starts_with("block ")).collect();
        let statuses: Vec<&str> =
            noted.iter().filter_map(|line| line.strip_prefix("HTTP ")).collect();
        let exit = noted.iter().find_map(|line| line.strip_prefix("exit ")).unwrap_or("none");
        let (wanted, code) = match promise {
            "ok" | "serve" | "secret" | "check" => ("", "0"),
            _ => match promise.strip_prefix("exit ") {
                Some(code) => ("", code),
                None => (promise, "0"),
            },
        };
        let told = format!("{document}:{line}: {text}\n{report}\n{said}");
        assert_eq!(exit, code, "exit code of {told}");
        if promise != "ok" {
            assert_eq!(statuses.join(" "), wanted, "statuses of {told}");
        }
    }
}

/// Whether `wanted` is in `line`; `…` in it stands for anything.
fn alike(line: &str, wanted: &str) -> bool {
    let mut rest = line;
    wanted.split('…').all(|part| match rest.split_once(part) {
        Some((_, after)) => {
            rest = after;
            true
        }
        None => false,
    })
}

fn path_with_binary() -> String {
    let binary = Path::new(env!("CARGO_BIN_EXE_tollgate"));
    let folder = binary.parent().expect("a folder").to_str().expect("a path in UTF-8");
    format!("{folder}:{}", std::env::var("PATH").unwrap_or_default())
}

/// A loopback address that nothing listens on. The kernel does not hand the same one out again soon.
pub(crate) fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    listener.local_addr().expect("its address")
}

/// Reads what the demo printed.
const SECRET: &str =
    r#"CLIENT_SECRET=$(sed -n 's/.* with the secret //p' "$served"); [ -n "$CLIENT_SECRET" ]"#;

/// Instead of a container engine.
const CONTAINED: &str = "EXAMPLE=$PWD/examples/sidecar bash tests/sidecar.sh up";

/// What every script starts with. `curl` notes each status; `serving` waits until the gateway answers; `stop` ends it
/// and everything that it started.
const PRELUDE: &str = r#"
set -o pipefail
trap 'stop' EXIT
server=
begin() { printf 'block %s\n' "$1" >> "$report"; }
end() { printf 'exit %s\n' "$?" >> "$report"; }
curl() { command curl --max-time 30 "$@" --write-out '%{stderr}HTTP %{http_code}\n' 2>> "$report"; }
stop() {
  [ -n "$server" ] || return 0
  kill -TERM -- "-$server" 2>/dev/null
  wait "$server" 2>/dev/null # the shell; what it started may take a moment longer, and must not answer for the next one
  for _ in $(seq 200); do answers || break; sleep 0.05; done
  server=
}
answers() { (exec 3<> "/dev/tcp/${gateway%:*}/${gateway#*:}") 2>/dev/null; }
serving() {
  server=$!
  for _ in $(seq 600); do
    if answers; then return 0; fi
    kill -0 "$server" 2>/dev/null || return 3
    sleep 0.1
  done
  return 4
}
set -m
"#;
