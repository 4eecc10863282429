//! What is shipped: the Debian package is built and installed, its unit verified, the Kubernetes manifest held against the
//! schemas, the manual and the completions read by those that they are for.

mod markdown;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const PROGRAM: &str = env!("CARGO_BIN_EXE_tollgate");

/// Installs what the tests of this file need; once.
static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    run(Command::new("bash").args(["tests/install.sh", "packaging"]));
    let target = std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".to_owned());
    Path::new(ROOT).join(target).join("test-tools")
});

/// What it printed; it must have gone well.
fn run(command: &mut Command) -> String {
    let ended = command.current_dir(ROOT).output().expect("it can be started");
    let said = said(&ended);
    assert!(ended.status.success(), "{command:?}\n{said}");
    said
}

fn said(ended: &Output) -> String {
    [&ended.stdout[..], &ended.stderr[..]].map(String::from_utf8_lossy).concat()
}

/// A folder of this test's own.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder); // left by an earlier run, if it is there
    fs::create_dir_all(&folder).expect("a folder of its own");
    folder
}

#[test]
fn the_debian_package_installs_checks_and_goes_without_a_trace() {
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = TOOLS.join("bin");
    let built = run(Command::new("bash")
        .arg("examples/packaging/build.sh")
        .env("PATH", format!("{}:{path}", tools.display()))
        .env("BIN", PROGRAM));
    assert!(built.contains("tollgate_0.1.0"), "{built}");
    let said = run(Command::new("bash").args(["tests/packaging.sh", "install"]));
    for promise in [
        "ok /etc/tollgate/gateway.toml",
        "secrets: 750 root tollgate",
        "signing-key: 640 root tollgate",
        "the tollgate user cannot write its configuration",
        "the gateway answers health as user tollgate",
        "the unit is well-formed",
        "purged: nothing is left",
    ] {
        assert!(said.contains(promise), "{promise}\n{said}");
    }
}

#[test]
fn the_list_of_parts_names_every_crate_of_the_lock_file_and_no_folder_of_the_builder() {
    let path = std::env::var("PATH").unwrap_or_default();
    let list = scratch("sbom").join("sbom.json");
    let tools = TOOLS.join("bin");
    run(Command::new("bash")
        .args(["examples/packaging/build.sh", "sbom"])
        .arg(&list)
        .env("PATH", format!("{}:{path}", tools.display())));
    let text = fs::read_to_string(&list).unwrap();
    assert!(!text.contains(ROOT), "it names {ROOT}");
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["bomFormat"], "CycloneDX");
    let parts = list["components"].as_array().unwrap();
    let has = |name: &str| parts.iter().any(|part| part["name"] == name);
    let manifest: toml::Table =
        fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap().parse().unwrap();
    let missing: Vec<&String> =
        manifest["dependencies"].as_table().unwrap().keys().filter(|name| !has(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(has("aws-lc-sys") && has("rustls-pki-types"), "what crates stand on is named too");
}

#[test]
fn the_service_lets_the_program_do_little() {
    LazyLock::force(&TOOLS);
    let unit = "examples/packaging/tollgate.service";
    // from 0, which can do nothing, to 10; a unit without any restriction has 9.6
    let said = run(Command::new("systemd-analyze").args([
        "security",
        "--offline=true",
        "--threshold=15",
        unit,
    ]));
    assert!(said.contains("Overall exposure level"), "{said}");
}

#[test]
fn the_kubernetes_manifest_fits_the_schemas_and_its_configuration_is_right() {
    let validate = TOOLS.join("python/bin/kubernetes-validate");
    let manifest = "examples/kubernetes/sidecar.yaml";
    let said = run(Command::new(validate).args(["--strict", manifest]));
    assert_eq!(said.matches("passed for resource").count(), 4, "{said}");

    let folder = scratch("kubernetes");
    let text = fs::read_to_string(Path::new(ROOT).join(manifest)).unwrap();
    let (_, block) = text.split_once("gateway.toml: |\n").unwrap();
    let toml: String = block
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.trim_start_matches("    ").to_owned() + "\n")
        .collect();
    let secrets = "/run/secrets/tollgate";
    let toml = toml.replace(secrets, folder.to_str().unwrap());
    for secret in ["signing-key", "nightly-import", "admin-token"] {
        assert!(toml.contains(&format!("/{secret}\"")), "{secret}: {toml}");
        fs::write(folder.join(secret), run(Command::new(PROGRAM).arg("secret"))).unwrap();
    }
    let file = folder.join("gateway.toml");
    fs::write(&file, toml).unwrap();
    run(Command::new(PROGRAM).arg("check").arg("--config").arg(file));
}

#[test]
fn the_manual_reads_without_a_complaint() {
    LazyLock::force(&TOOLS);
    let folder = scratch("manual");
    run(Command::new(PROGRAM).args(["man", "--folder"]).arg(&folder));
    let mut pages: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let ended = Command::new("man")
            .args(["--warnings", "--encoding=UTF-8", "--local-file"])
            .arg(&page)
            .env("MANWIDTH", "100")
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let complaints = String::from_utf8_lossy(&ended.stderr);
        assert!(
            ended.status.success() && complaints.is_empty(),
            "{}: {complaints}",
            page.display()
        );
        let text = String::from_utf8_lossy(&ended.stdout);
        assert!(text.contains("tollgate"), "{}: {text}", page.display());
    }
}

#[test]
fn the_completions_are_loaded_by_their_shells() {
    let folder = scratch("completions");
    for shell in ["bash", "zsh", "fish"] {
        fs::write(folder.join(shell), run(Command::new(PROGRAM).args(["completions", shell])))
            .unwrap();
    }
    let script = folder.join("bash");
    let script = script.to_str().unwrap();
    let said = run(Command::new("bash").args([
        "-c",
        r#". "$0"; COMP_WORDS=(tollgate do) COMP_CWORD=1; _tollgate tollgate do tollgate; echo "${COMPREPLY[@]}""#,
        script,
    ]));
    assert_eq!(said.trim(), "doctor", "what bash proposes for `tollgate do`");
}

#[test]
fn the_documents_of_what_is_shipped_hold() {
    for document in ["examples/packaging/README.md", "examples/kubernetes/README.md"] {
        markdown::hold(document);
    }
}
