//! Every example runs, and does what its text says. `examples/sidecar` has a file of its own; `tests/packaging.rs` has
//! `examples/kubernetes` and `examples/packaging`, `tests/grpc_end_to_end.rs` runs what `examples/grpc` holds, and
//! `tests/metrics.rs` looks at the rules of `examples/observability`.

mod markdown;
mod pasted;

use std::fs;
use std::path::Path;
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn an_api_that_others_wrote_is_guarded() {
    let installed =
        Command::new("bash").args(["tests/install.sh", "example"]).current_dir(ROOT).output();
    let installed = installed.unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    markdown::hold("examples/in-front-of-an-api/README.md");
}

#[test]
fn one_file_runs_with_secrets_from_variables_and_from_files() {
    markdown::hold("examples/from-the-environment/README.md");
}

#[test]
fn a_client_writes_by_its_certificate_and_a_stolen_token_is_worth_nothing() {
    markdown::hold("examples/tls/README.md");
}

#[test]
fn an_admin_area_is_closed() {
    markdown::hold("examples/admin-area/README.md");
}

/// With nginx: `tests/forward_auth.rs`.
#[test]
fn another_proxy_asks() {
    markdown::hold("examples/forward-auth/README.md");
}

#[test]
fn a_grpc_service_is_configured() {
    markdown::hold("examples/grpc/README.md");
}

#[test]
fn rules_are_watched_before_they_are_enforced() {
    markdown::hold("examples/watch-before-you-enforce/README.md");
}

#[test]
fn a_token_is_called_back_and_stays_so() {
    markdown::hold("examples/revocable-tokens/README.md");
}

#[test]
fn the_settings_for_identity_providers_are_right() {
    markdown::hold("examples/with-your-identity-provider/README.md");
}

#[test]
fn reference_tokens_and_jwts_are_configured_together() {
    markdown::hold("examples/reference-tokens-and-jwts/README.md");
}

#[test]
fn requests_go_on_while_one_of_two_origins_is_down() {
    markdown::hold("examples/several-upstreams/README.md");
}

/// There is no systemd where the tests run: what is checked is what tollgate makes of the unit's variables.
#[test]
fn the_systemd_unit_names_every_secret_that_its_file_wants() {
    let example = Path::new(ROOT).join("examples/from-the-environment");
    let unit = fs::read_to_string(example.join("tollgate.service")).unwrap();
    let credentials = Path::new(env!("CARGO_TARGET_TMPDIR")).join("credentials");
    fs::create_dir_all(&credentials).unwrap();
    let mut check = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    check.args(["check", "--config"]).arg(example.join("gateway.toml")).env_clear();
    for line in unit.lines() {
        if let Some(variable) = line.strip_prefix("Environment=") {
            let (name, value) = variable.split_once('=').unwrap();
            check.env(name, value.replace("%d", credentials.to_str().unwrap()));
        } else if let Some(credential) = line.strip_prefix("LoadCredential=") {
            let (name, _) = credential.split_once(':').unwrap();
            let made = Command::new(env!("CARGO_BIN_EXE_tollgate")).arg("secret").output().unwrap();
            fs::write(credentials.join(name), made.stdout).unwrap();
        }
    }
    let ended = check.output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn the_gateway_that_is_watched_has_a_good_configuration() {
    markdown::hold("examples/observability/README.md");
    let mut check = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    check.args(["check", "--config", "examples/observability/gateway.toml"]).current_dir(ROOT);
    let ended = check.env_clear().output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
}

#[test]
fn the_socket_unit_holds_the_address_that_the_configuration_names() {
    let example = Path::new(ROOT).join("examples/from-the-environment");
    let unit = fs::read_to_string(example.join("tollgate.socket")).unwrap();
    let held = unit.lines().find_map(|line| line.strip_prefix("ListenStream=")).unwrap();
    let config = fs::read_to_string(example.join("gateway.toml")).unwrap();
    assert!(config.contains(&format!("listen = \"{held}\"")), "{held}");
    let service = fs::read_to_string(example.join("tollgate.service")).unwrap();
    assert!(service.contains("Type=notify"));
    assert!(service.contains("ExecReload=/bin/kill -HUP $MAINPID"));
}

#[test]
fn a_gateway_in_process_does_what_it_prints() {
    let mut example = Command::new(env!("CARGO"));
    example.args(["run", "--quiet", "--locked", "--example", "in_process"]).current_dir(ROOT);
    let (printed, statuses) = pasted::paste(&mut example);
    assert_eq!(statuses, [200, 401, 200, 204], "{printed}");
}

#[test]
fn every_example_is_run_by_a_test() {
    let mut found: Vec<String> = fs::read_dir(Path::new(ROOT).join("examples"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let known = [
        "admin-area",
        "forward-auth",
        "from-the-environment",
        "grpc",
        "in-front-of-an-api",
        "in_process.rs",
        "kubernetes",
        "observability",
        "packaging",
        "reference-tokens-and-jwts",
        "revocable-tokens",
        "several-upstreams",
        "sidecar",
        "tls",
        "watch-before-you-enforce",
        "with-your-identity-provider",
    ];
    assert_eq!(found, known);
}
