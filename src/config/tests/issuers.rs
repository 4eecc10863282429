//! `[[issuers]]`: every fault has its place, and no token can have two judges.

use super::{Folder, SMALL, environment, load_text, reasons};
use crate::config::{KeySource, Sources, load};
use crate::keys::Algorithm;

/// A configuration with these issuers.
fn with(issuers: &str) -> String {
    format!("{SMALL}\n{issuers}")
}

/// An issuer with further keys.
fn issuer(name: &str, keys: &str) -> String {
    format!(
        "[[issuers]]\nname = \"{name}\"\nissuer = \"https://{name}\"\naudiences = \"a\"\n{keys}\n"
    )
}

const ASKED: &str = "introspection = { client_id = \"a\", client_secret = \"Xw9Bn4Ld6Hs3Jf0P\" }";

#[track_caller]
fn refused(issuers: &str, part: &str) {
    let told = reasons(with(issuers));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains(part), "{told:?}");
}

#[test]
fn an_issuer_needs_a_name_an_issuer_and_audiences() {
    let told = reasons(with("[[issuers]]\n"));
    assert_eq!(told.len(), 3, "{told:?}");
    for key in ["`name`", "`issuer`", "`audiences`"] {
        assert!(told.iter().any(|reason| reason.contains(key)), "{told:?}");
    }
    // where it is only asked, it says itself for whom a token is
    let bare = "[[issuers]]\nname = \"a\"\nissuer = \"a\"\nintrospection = { url = \"https://a/i\", client_id = \"a\", client_secret = \"Xw9Bn4Ld6Hs3Jf0P\" }\n";
    let loaded = load_text(with(bare), &[]).unwrap();
    assert!(matches!(loaded.settings.issuers[0].keys, KeySource::None));
    assert!(loaded.settings.issuers[0].discovery.is_empty());
}

#[test]
fn names_and_identifiers_are_unique() {
    refused(&issuer("own", ""), "gateway's own tokens");
    refused(&issuer("a b", "").replace("https://a b", "https://a"), "no plain name");
    let twice = issuer("a", "") + &issuer("a", "").replace("https://a", "https://b");
    refused(&twice, "two issuers have the name `a`");
    let ours = issuer("a", "").replace("https://a", "https://gateway.example.com");
    refused(&ours, "the one of [token]");
    let same = issuer("a", "") + &issuer("b", "").replace("https://b", "https://a");
    refused(&same, "the same `issuer`");
    let one_when =
        issuer("a", "") + &issuer("b", "when = \"true\"").replace("https://b", "https://a");
    refused(&one_when, "the same `issuer`");
    let both = issuer("a", "when = \"request.path == '/a'\"")
        + &issuer("b", "when = \"request.path != '/a'\"").replace("https://b", "https://a");
    assert_eq!(load_text(with(&both), &[]).unwrap().settings.issuers.len(), 2);
}

#[test]
fn a_reference_token_has_one_judge() {
    refused(&(issuer("a", ASKED) + &issuer("b", ASKED)), "the same reference token");
    let prefixed =
        |name: &str, prefix: &str| issuer(name, &format!("{ASKED}\ntoken_prefix = \"{prefix}\""));
    assert!(load_text(with(&(issuer("a", ASKED) + &prefixed("b", "gh_"))), &[]).is_ok());
    assert!(load_text(with(&(prefixed("a", "gl_") + &prefixed("b", "gh_"))), &[]).is_ok());
    refused(&(prefixed("a", "gh_") + &prefixed("b", "gh_")), "another issuer's");
    refused(&(prefixed("a", "gh") + &prefixed("b", "gh_")), "another issuer's");
    for ours in ["tg_", "tg_x", "t"] {
        refused(&prefixed("a", ours), "our own reference tokens");
    }
    refused(&issuer("a", "token_prefix = \"gh_\""), "cannot be asked");
    refused(&prefixed("a", "g h"), "no token can begin");
}

#[test]
fn keys_come_from_one_place_and_fit_the_algorithms() {
    refused(&issuer("a", "jwks_url = \"https://a/k\"\njwks_file = \"k\""), "two sources of keys");
    refused(&issuer("a", "jwks_file = \"missing\""), "cannot be read");
    refused(&issuer("a", "public_key_file = \"missing\""), "cannot be read");
    refused(&issuer("a", "algorithms = []"), "`algorithms` is empty");
    refused(&issuer("a", "types = []"), "`types` is empty");
    refused(&issuer("a", "algorithms = [\"RS256\", \"HS256\"]"), "HS256 needs a shared `key`");
    refused(&issuer("a", "algorithms = [\"none\"]"), "cannot be `none`");
    let key = "key = \"Xw9Bn4Ld6Hs3Jf0Pgu8Zq2mXc7Rk1Vt5Y\"";
    refused(
        &issuer("a", &format!("{key}\nalgorithms = [\"RS256\"]")),
        "RS256 does not go with a shared `key`",
    );
    refused(
        &issuer("a", &format!("{key}\nalgorithms = [\"HS256\", \"HS384\"]")),
        "for one algorithm",
    );
    refused(&issuer("a", "key = \"short\""), "cannot be used");
    refused(&issuer("a", "key = \"changeme\""), "placeholder");
    let loaded = load_text(with(&issuer("a", key)), &[]).unwrap();
    assert_eq!(loaded.settings.issuers[0].algorithms, [Algorithm::HS256]);
    assert!(loaded.settings.issuers[0].discovery.is_empty());
}

#[test]
fn keys_are_read_from_files_and_the_secret_from_a_variable() {
    let folder = Folder::new();
    let key = crate::keys::generate(Algorithm::ES256).unwrap();
    folder.write("idp.pem", key.text.expose());
    folder.write("empty.json", "{\"keys\":[]}");
    folder.write("bad.json", "[]");
    let issuers = |file: &str| with(&issuer("a", file));
    let read = |text: String, variables: &[(&str, &str)]| {
        let file = folder.write("gateway.toml", text);
        load(&Sources {
            file: Some(file),
            environment: environment(variables),
            ..Sources::default()
        })
    };
    let loaded = read(issuers("public_key_file = \"idp.pem\""), &[]).unwrap();
    let KeySource::Fixed(set) = &loaded.settings.issuers[0].keys else { panic!("no keys") };
    // a PEM has no kid: whichever one a token names, this is the key
    assert!(set.has(Some("any"), Algorithm::ES256) && !set.has(None, Algorithm::RS256));
    for (file, part) in
        [("empty.json", "no key that can be used"), ("bad.json", "no JSON Web Key Set")]
    {
        let told = read(issuers(&format!("jwks_file = \"{file}\"")), &[]).unwrap_err().to_string();
        assert!(told.contains(part), "{told}");
    }
    let nameless = issuers("introspection = { client_id = \"a\" }");
    assert!(
        read(nameless.clone(), &[])
            .unwrap_err()
            .to_string()
            .contains("`introspection` has no `client_secret`")
    );
    let variable = ("TOLLGATE_ISSUERS__0__INTROSPECTION__CLIENT_SECRET", "Xw9Bn4Ld6Hs3Jf0P");
    let loaded = read(nameless, &[variable]).unwrap();
    assert!(!format!("{:?}", loaded.settings).contains("Xw9Bn4Ld6Hs3Jf0P"));
}

#[test]
fn nothing_is_asked_in_clear_over_a_network_unless_somebody_says_so() {
    let clear = issuer("a", "jwks_url = \"http://idp.example.com/k\"");
    refused(&clear, "plain http to another machine");
    refused(
        &issuer("a", "").replace("https://a", "http://idp.example.com"),
        "plain http to another machine",
    );
    refused(
        &issuer("a", &ASKED.replace("client_id", "url = \"http://idp.example.com/i\", client_id")),
        "plain http to another machine",
    );
    let allowed = load_text(with(&(clear + "allow_http = true\n")), &[]).unwrap();
    assert!(allowed.warnings.iter().any(|warning| warning.reason().contains("in clear")));
    let here = issuer("a", "jwks_url = \"http://127.0.0.1:7000/k\"");
    assert!(load_text(with(&here), &[]).unwrap().warnings.is_empty());
    refused(&issuer("a", "").replace("https://a", "corp"), "nothing can be discovered");
    refused(&issuer("a", "jwks_url = \"https://u:p@a/k\""), "holds a user or a password");
}

#[test]
fn a_when_is_read_at_load() {
    refused(&issuer("a", "when = \"request.path ==\""), "`when`");
    refused(&issuer("a", "when = \"request.body == 'a'\""), "`when`");
    refused(&issuer("a", "when = \"claims.a == 'a'\""), "`when`");
    refused(&issuer("a", "when = \"'a'\""), "`when`");
    let long = format!("when = \"request.path == '{}'\"", "a".repeat(10_000));
    refused(&issuer("a", &long), "`when`");
}

#[test]
fn a_fault_of_an_issuer_has_its_place() {
    let told = super::faults(with(&issuer(
        "a",
        "leway = 5\nintrospection = { client_id = \"a\", client_secret = \"hunter2-of-idp\", fro = \"all\" }",
    )));
    assert!(
        told.contains("unknown key `leway`") && told.contains("did you mean `leeway`?"),
        "{told}"
    );
    assert!(told.contains("unknown key `fro`") && told.contains("did you mean `for`?"), "{told}");
    assert!(told.contains("gateway.toml:") && !told.contains("hunter2-of-idp"), "{told}");
}
