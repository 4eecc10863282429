use proptest::prelude::*;

use super::super::{SecretKind, Sources, load};
use super::{Folder, SMALL, faults, load_text, reasons};

fn client(lines: &str) -> String {
    SMALL.replace("secret = \"T4mQ9zXw2LkV7bNc\"", lines)
}

#[test]
fn a_secret_file_loses_one_line_end_and_no_more() {
    let folder = Folder::new();
    let file = folder.write("gateway.toml", client("secret_file = \"secret\""));
    for (content, secret) in [
        ("Q9zXw2LkV7bNcT4m", "Q9zXw2LkV7bNcT4m"),
        ("Q9zXw2LkV7bNcT4m\n", "Q9zXw2LkV7bNcT4m"),
        ("Q9zXw2LkV7bNcT4m\r\n", "Q9zXw2LkV7bNcT4m"),
        ("Q9zXw2LkV7bNcT4m\n\n", "Q9zXw2LkV7bNcT4m\n"),
        (" Q9zXw2LkV7bNcT4m", " Q9zXw2LkV7bNcT4m"),
    ] {
        folder.write("secret", content);
        let loaded = load(&Sources { file: Some(file.clone()), ..Sources::default() }).unwrap();
        let SecretKind::Sha256(digest) = loaded.settings.clients[0].secrets[0].kind else {
            panic!()
        };
        let expected = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
        assert_eq!(digest, expected.as_ref(), "{content:?}");
        assert_eq!(loaded.warnings.is_empty(), secret.trim() == secret);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_reason() {
    let told = faults(client("secret_file = \"nowhere/secret\""));
    assert!(
        told.contains(
            "`secret_file` names nowhere/secret, which cannot be read: no such file or directory"
        ),
        "{told}"
    );
    let told = faults(client("secret_file = \".\""));
    assert!(told.contains("which cannot be read: is a directory"), "{told}");
    let told = faults(client("secret_file = \"/dev/null\""));
    assert!(told.contains("`secret_file` names an empty file"), "{told}");
}

#[test]
fn a_secret_and_its_file_exclude_each_other() {
    let told = faults(client("secret = \"T4mQ9zXw2LkV7bNc\"\nsecret_file = \"x\""));
    assert!(
        told.contains(
            "`secret_file` and `secret` exclude each other; the latter stands at gateway.toml:12:10"
        ),
        "{told}"
    );
    let told = faults(SMALL.replace("key = ", "key_file = \"x\"\nkey = "));
    assert!(told.contains("`key_file` and `key` exclude each other"), "{told}");
}

#[test]
fn placeholders_are_refused_and_never_repeated() {
    for placeholder in [
        "changeme",
        "secret",
        "password",
        "…",
        "REPLACE_ME_PLEASE",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
        "${MY_SECRET}",
    ] {
        for text in [
            client(&format!("secret = \"{placeholder}\"")),
            SMALL.replace("u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg", placeholder),
        ] {
            let told = faults(text);
            assert!(told.contains("make a real one"), "{placeholder}: {told}");
            assert!(
                placeholder == "secret" || !told.contains(placeholder),
                "{placeholder}: {told}"
            );
        }
    }
}

#[test]
fn a_password_with_slashes_in_an_address_without_a_scheme_is_not_shown() {
    for address in
        ["user:aZ9+//@127.0.0.1", "user:aZ9+://@127.0.0.1", "http://user:aZ9+//@127.0.0.1"]
    {
        let told = faults(SMALL.replace("http://127.0.0.1", address));
        assert!(!told.contains("aZ9+"), "{told}");
    }
}

#[test]
fn a_short_secret_is_warned_of() {
    let loaded = load_text(client("secret = \"T4mQ9zXw\""), &[]).unwrap();
    assert_eq!(loaded.warnings.len(), 1);
    assert!(loaded.warnings[0].reason().contains("fewer than 16 characters"));
}

#[test]
fn weak_and_unfit_keys_are_refused() {
    let with =
        |lines: &str| reasons(SMALL.replace("key = \"u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg\"", lines));
    assert!(with("key = \"h7Qm2vY0\"")[0].contains("`key` cannot be used: the key has 64 bits"));
    assert!(
        with("key = \"base64:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"")[0]
            .contains("one byte again and again")
    );
    assert!(with("key = \"base64:%%%\"")[0].contains("not the base64 that it says"));
    assert!(with("key = \"hex:abc\"")[0].contains("not the hex that it says"));
    assert!(
        with("algorithm = \"ES256\"\nkey = \"u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg\"")[0]
            .contains("holds no PEM")
    );
    assert!(
        with("key = '''\n-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----'''")[0]
            .contains("holds a PEM")
    );
    assert!(
        with("key_file = \"base64:u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg\"")[0]
            .contains("holds a key or a hash, not the path")
    );
}

#[test]
fn keys_can_be_rotated() {
    let other = crate::keys::generate(crate::keys::Algorithm::ES256).unwrap();
    let text = format!(
        "{}\n[[token.previous_keys]]\nalgorithm = 'ES256'\nkey = '''\n{}'''\n[[token.next_keys]]\nalgorithm = 'HS256'\nkey_id = '2'\nkey = 'hex:8f1c0e5a7b3d9264f0a1c2e3b4d5968778695a4b3c2d1e0f1f2e3d4c5b6a7988'\n",
        SMALL,
        other.text.expose()
    );
    let token = load_text(text.clone(), &[]).unwrap().settings.token.unwrap();
    assert_eq!(token.keys.verifying().len(), 3);
    let told = reasons(text.replace("key_id = '2'", ""));
    assert_eq!(told, ["two HS256 keys have no `key_id`: a token cannot say which one signed it"]);
    let told = reasons(text.replace("algorithm = 'ES256'", ""));
    assert_eq!(told, ["this key has no `algorithm`"]);
}

#[test]
fn hashes_are_checked_before_anybody_needs_them() {
    let hash = |hash: &str| load_text(client(&format!("secret_hash = \"{hash}\"")), &[]);
    let why = |text: &str| hash(text).unwrap_err().iter().next().unwrap().reason().to_owned();
    let hex = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    assert!(hash(&format!("sha256:{hex}")).is_ok());
    assert!(hash("sha256:n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg=").is_ok());
    assert!(why("sha256:abc").contains("no SHA-256 digest"));
    assert!(
        why("sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
            .contains("empty secret")
    );
    let phc = |params: &str| {
        format!(
            "$argon2id$v=19${params}$c29tZXNhbHRzb21lc2FsdA$9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0"
        )
    };
    let good = hash(&phc("m=19456,t=2,p=1")).unwrap();
    assert!(matches!(good.settings.clients[0].secrets[0].kind, SecretKind::Argon2(_)));
    assert!(why(&phc("m=262145,t=2,p=1")).contains("more than 256 MiB"));
    assert!(why(&phc("m=19456,t=17,p=1")).contains("more than 16 passes"));
    assert!(why(&phc("m=19456,t=2,p=9")).contains("more than 8 lanes"));
    assert!(why(&phc("m=x")).contains("no Argon2 hash that can be read"));
    assert!(why("$argon2id$").contains("no Argon2 hash that can be read"));
    assert!(why("$2b$10$abcdefghijklmnopqrstuv").contains("unknown kind"));
}

#[test]
fn secrets_may_end() {
    let list = |end: &str| {
        client(&format!("secrets = [{{ secret = \"T4mQ9zXw2LkV7bNc\", not_after = {end} }}]"))
    };
    let loaded = load_text(list("1999-12-31T00:00:00Z"), &[]).unwrap();
    assert!(loaded.warnings[0].reason().contains("every secret of this client has expired"));
    let loaded = load_text(list("\"2999-12-31T00:00:00+01:00\""), &[]).unwrap();
    assert!(loaded.warnings.is_empty());
    assert_eq!(loaded.settings.clients[0].secrets[0].not_after, Some(32_503_590_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// The places where a secret stands, and those where it is put by mistake.
    #[test]
    fn no_secret_is_ever_shown(
        secret in "[a-zA-Z0-9+/]{6,40}",
        form in 0_usize..24,
        broken in 0_usize..8,
    ) {
        // Recognisable, so that no other text contains it by chance.
        let secret = format!("Zq7{secret}");
        let lines = match form {
            0 => format!("secret = \"{secret}\""),
            1 => format!("secret = \"{secret}\" # {secret}"),
            2 => format!("secret = '''\n{secret}\n{secret}'''"),
            3 => format!("secret = \"\"\"\n  {secret}\n  url = \"{secret}\"\n\"\"\""),
            4 => format!("secert = \"{secret}\""),
            5 => format!("password = \"{secret}\""),
            6 => format!("secret = [\"{secret}\"]"),
            7 => format!("secret = {{ value = \"{secret}\" }}"),
            8 => format!("secrets = [\"{secret}\"]"),
            9 => format!("secrets = [{{ secret = \"{secret}\", until = \"{secret}\" }}]"),
            10 => format!("secret_hash = \"sha256:{secret}\""),
            11 => format!("secret_hash = \"$argon2id$v=19$m=19456,t=2,p=1${secret}\""),
            12 => format!("secret_hash = \"{secret}\"\nsecret = \"{secret}\""),
            13 => format!("secret = \"{secret}"),
            14 => format!("secret = {secret}"),
            15 => format!("secret \"{secret}\""),
            16 => format!("secret = \"\"\"\n{secret}"),
            17 => format!("secret_file = \"base64:{secret}\""),
            18 => format!("claims = {{ secret = \"{secret}\", sub = 1 }}"),
            19 => format!("secret = \"{secret}\"\nid = \"twice\""),
            20 => format!("\"secret\" = \"{secret}\" \"{secret}\""),
            21 => format!("id = \"a\" secret = \"{secret}\""),
            22 => format!("id = \"b\", secret \"{secret}\""),
            _ => format!("secret=\"{secret}\\q\""),
        };
        let mut text = client(&lines);
        match broken {
            0 => text += &format!("\n[upstraem]\npassword = \"{secret}\"\n"),
            1 => text = text.replace("[token]", &format!("[token]\nsigning = \"{secret}\"")),
            2 => text = text.replace("http://127", &format!("ftp://user:{secret}@127")),
            3 => text = text.replace("[[clients]]", &format!("next_keys = [\"{secret}\", {{ key = \"{secret}\" }}]\n[[clients]]")),
            4 => text = text.replace("u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg", &format!("hex:{secret}")),
            5 => text = text.replace("http://127.0.0.1", &format!("user:{secret}@127.0.0.1")),
            6 => text = text.replace("http://127.0.0.1", &format!("http://user:1/{secret}@127.0.0.1")),
            _ => {}
        }
        let shown = match load_text(text, &[("TOLLGATE_TOKEN_KEY", &secret), ("TOLLGATE_TOKEN__KEY_ID", "a")]) {
            Ok(loaded) => format!("{loaded:?}"),
            Err(faults) => format!("{faults}\n{faults:?}\n{}", faults.render(true)),
        };
        prop_assert!(!shown.contains(&secret), "{}: {}", secret, shown);
    }

    #[test]
    fn a_secret_that_is_accepted_is_not_in_the_settings(secret in "[a-zA-Z0-9]{16,40}") {
        let secret = format!("Zq7{secret}");
        let text = client(&format!("secret = \"{secret}\""))
            .replace("u8Zq2mXc7Rk1Vt5Yw9Bn4Ld6Hs3Jf0Pg", &format!("{secret}{secret}"));
        let loaded = load_text(text, &[]).unwrap();
        let shown = format!("{loaded:?}");
        prop_assert!(!shown.contains(&secret));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Err(faults) = load_text(bytes, &[]) {
            let _ = (faults.render(true), faults.to_string(), format!("{faults:?}"));
        }
    }

    #[test]
    fn text_that_resembles_a_configuration_does_no_harm(
        text in "(\\[{1,2}(server|token|clients|upstream|é)\\]{0,2}|(listen|key|url|secret|types|claims|headers|日本|\"a.b\") ?=? ?(\"[^\"]{0,20}\"?|'''|\"\"\"|[0-9]{1,40}|\\[[\"a, {}=]{0,6}\\]?|\\{[a-z= ,'\"]{0,8}\\}?|2026-01-01|nan|\\\\)|[#\\t\r\u{feff}日\u{1b} ]{0,3}|\n){0,40}",
    ) {
        if let Err(faults) = load_text(text, &[]) {
            let _ = (faults.render(true), faults.to_string());
        }
    }
}
