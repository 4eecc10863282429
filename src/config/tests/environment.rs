use super::super::{Listen, SecretKind, Sources, find_file, load};
use super::{Folder, SMALL, environment, load_text};

fn told(variables: &[(&str, &str)]) -> String {
    load_text(SMALL, variables).unwrap_err().to_string()
}

#[test]
fn the_environment_wins_over_the_file_and_flags_win_over_both() {
    let folder = Folder::new();
    let file = folder.write(
        "gateway.toml",
        format!("{SMALL}\n[server]\nlisten = ['127.0.0.1:1', '127.0.0.1:2', '127.0.0.1:3']"),
    );
    let mut sources = Sources { file: Some(file), ..Sources::default() };
    let port =
        |sources: &Sources| load(sources).unwrap().settings.upstream.origins[0].authority.clone();
    assert_eq!(port(&sources), "127.0.0.1:9000");
    sources.environment = environment(&[("TOLLGATE_UPSTREAM__URL", "http://127.0.0.1:9001")]);
    assert_eq!(port(&sources), "127.0.0.1:9001");
    sources.upstream = Some("http://127.0.0.1:9002".to_owned());
    assert_eq!(port(&sources), "127.0.0.1:9002");

    sources.listen = vec!["127.0.0.1:4".to_owned()];
    let listen = load(&sources).unwrap().settings.server.listen;
    assert_eq!(
        listen,
        [Listen::Tcp("127.0.0.1:4".parse().unwrap())],
        "a flag replaces the whole list"
    );
}

#[test]
fn an_entry_of_a_list_is_reached_by_its_number() {
    let loaded = load_text(SMALL, &[("TOLLGATE_CLIENTS__0__ID", "robot")]).unwrap();
    assert_eq!(loaded.settings.clients[0].id, "robot");
    assert!(loaded.settings.clients[0].scopes.contains("api:write"), "the rest stays");
}

#[test]
fn an_entry_is_added_one_past_the_end() {
    let variables = [
        ("TOLLGATE_CLIENTS__1__ID", "second"),
        ("TOLLGATE_CLIENTS__1__SECRET", "Q9zXw2LkV7bNcT4m"),
        ("TOLLGATE_CLIENTS__1__SCOPES", "api:read, api:write"),
        ("TOLLGATE_CLIENTS__1__CLAIMS__TENANT", "acme"),
        ("TOLLGATE_CLIENTS__1__DISABLED", "false"),
        ("TOLLGATE_CLIENTS__1__EXPIRES_IN", "5m"),
    ];
    let loaded = load_text(SMALL, &variables).unwrap();
    let second = &loaded.settings.clients[1];
    assert_eq!(second.scopes.to_string(), "api:read api:write");
    assert_eq!(second.claims["tenant"], "acme");
    assert_eq!(second.expires_in.unwrap().as_secs(), 300);
}

#[test]
fn a_gap_in_a_list_is_a_slip() {
    let told = told(&[("TOLLGATE_CLIENTS__2__ID", "third")]);
    assert!(told.contains("the next number is 1"), "{told}");
}

#[test]
fn a_secret_is_taken_as_it_is_whatever_it_looks_like() {
    for secret in [
        "1234567890123456789",
        "0123",
        "true",
        "[x]",
        "{a=b}",
        "\"quoted\"",
        " spaced out secret ",
        "#!_foo=@42,bar;baz",
        "1e400",
        "2026-12-31",
    ] {
        let loaded = load_text(SMALL, &[("TOLLGATE_CLIENTS__0__SECRET", secret)]).unwrap();
        let SecretKind::Sha256(digest) = loaded.settings.clients[0].secrets[0].kind else {
            panic!()
        };
        let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        assert_eq!(digest, expected.as_ref(), "{secret}");
    }
}

#[test]
fn a_secret_of_the_environment_stands_over_a_secret_file_of_the_file() {
    let text = SMALL.replace("secret = \"T4mQ9zXw2LkV7bNc\"", "secret_file = \"/nowhere\"");
    assert!(load_text(text, &[("TOLLGATE_CLIENTS__0__SECRET", "Q9zXw2LkV7bNcT4m")]).is_ok());
}

#[test]
fn everything_can_come_from_the_environment() {
    let sources = Sources {
        environment: environment(&[
            ("TOLLGATE_UPSTREAM__URL", "http://127.0.0.1:9000"),
            ("TOLLGATE_SERVER__LISTEN", "0.0.0.0:80, [::]:80"),
            ("TOLLGATE_SERVER__WORKERS", "3"),
            ("TOLLGATE_TOKEN__ISSUER", "https://a"),
            ("TOLLGATE_TOKEN__AUDIENCE__0", "https://b"),
            ("TOLLGATE_TOKEN__KEY", "u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg"),
            ("TOLLGATE_CLIENTS__0__ID", "ci"),
            ("TOLLGATE_CLIENTS__0__SECRET", "T4mQ9zXw2LkV7bNc"),
            ("TOLLGATE_IDENTITY__HEADERS__X_USER", "sub"),
        ]),
        ..Sources::default()
    };
    let settings = load(&sources).unwrap().settings;
    assert_eq!(settings.server.listen.len(), 2);
    assert_eq!(settings.server.workers, 3);
    assert_eq!(settings.token.unwrap().audience, ["https://b"]);
    assert_eq!(settings.identity.headers[0].0, "x-user");
}

#[test]
fn an_unknown_variable_is_told_with_the_nearest_one() {
    for (unknown, meant) in [
        ("TOLLGATE_TOKEN_KEY", "`TOLLGATE_TOKEN__KEY`"),
        ("TOLLGATE_UPSTREAM__ULR", "`TOLLGATE_UPSTREAM__URL`"),
        ("TOLLGATE_CLIENTS__3__SECRETT", "`TOLLGATE_CLIENTS__3__SECRET`"),
        ("TOLLGATE_CLIENTS", "such as TOLLGATE_CLIENTS__0__ID"),
        ("TOLLGATE_WHATEVER", "TOLLGATE_UPSTREAM__URL"),
    ] {
        let told = told(&[(unknown, "V7bNcT4mQ9zXw2Lk")]);
        assert!(told.contains(&format!("environment variable `{unknown}`")), "{told}");
        assert!(told.contains(meant), "{told}");
        assert!(!told.contains("V7bNc"), "{told}");
    }
}

#[test]
fn a_bad_value_names_its_variable() {
    let expected = "\
error: `retries` is too large
 --> environment variable `TOLLGATE_UPSTREAM__RETRIES`
  |
  | TOLLGATE_UPSTREAM__RETRIES=9
  |                            ^
  = help: use 0 to 3: each retry is more load on an upstream that is in trouble already

1 error in the configuration";
    assert_eq!(told(&[("TOLLGATE_UPSTREAM__RETRIES", "9")]), expected);
}

#[test]
fn a_bad_flag_is_named() {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", SMALL);
    let sources = Sources {
        file: Some(file),
        listen: vec!["127.0.0.1:1".into(), "8080".into()],
        upstream: Some("ftp://a".into()),
        ..Sources::default()
    };
    let told = load(&sources).unwrap_err().to_string();
    assert!(
        told.contains("--> flag `--listen`\n  |\n  | --listen 8080\n  |          ^^^^\n"),
        "{told}"
    );
    assert!(told.contains("help: write \"127.0.0.1:8080\""), "{told}");
    assert!(told.contains("--> flag `--upstream`\n  |\n  | --upstream ftp://a\n"), "{told}");
}

#[test]
fn what_kubernetes_sets_for_a_service_called_tollgate_is_no_setting() {
    let variables = [
        ("TOLLGATE_CONFIG", "/etc/x"),
        ("TOLLGATE_SERVICE_HOST", "10.0.0.1"),
        ("TOLLGATE_SERVICE_PORT", "80"),
        ("TOLLGATE_SERVICE_PORT_HTTP", "80"),
        ("TOLLGATE_PORT", "tcp://10.0.0.1:80"),
        ("TOLLGATE_PORT_80_TCP", "tcp://10.0.0.1:80"),
        ("TOLLGATE_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("TOLLGATE_ADMIN_SERVICE_HOST", "10.0.0.1"),
    ];
    assert!(load_text(SMALL, &variables).is_ok());
}

#[test]
fn a_list_is_given_whole_or_by_entries_and_not_both() {
    let told = told(&[
        ("TOLLGATE_SERVER__LISTEN", "127.0.0.1:1"),
        ("TOLLGATE_SERVER__LISTEN__0", "127.0.0.1:2"),
    ]);
    assert!(told.contains("`TOLLGATE_SERVER__LISTEN` sets the whole list"), "{told}");
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_a_fault() {
    use std::os::unix::ffi::OsStringExt as _;
    let folder = Folder::new();
    let file = folder.write("gateway.toml", SMALL);
    let value = std::ffi::OsString::from_vec(b"http://\xff".to_vec());
    let sources = Sources {
        file: Some(file),
        environment: vec![("TOLLGATE_UPSTREAM__URL".into(), value)],
        ..Sources::default()
    };
    assert!(load(&sources).unwrap_err().to_string().contains("is not UTF-8"));
}

#[test]
fn the_named_file_is_taken_and_its_absence_is_told_with_its_name() {
    let file = find_file(Some("a".as_ref()), Some("b".as_ref())).unwrap();
    assert_eq!(file, std::path::Path::new("a"));
    assert_eq!(find_file(None, Some("b".as_ref())).unwrap(), std::path::Path::new("b"));
    let sources = Sources { file: Some("/nowhere/gateway.toml".into()), ..Sources::default() };
    let told = load(&sources).unwrap_err().to_string();
    assert!(
        told.starts_with("error: cannot read /nowhere/gateway.toml: no such file or directory\n"),
        "{told}"
    );
}
