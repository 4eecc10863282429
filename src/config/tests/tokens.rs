use std::path::PathBuf;

use super::super::{Methods, StoreUrl, TokenFormat};
use super::{SMALL, faults, load_text};

fn client(lines: &str) -> String {
    SMALL.replace("secret = \"T4mQ9zXw2LkV7bNc\"", lines)
}

fn with(section: &str) -> String {
    format!("{SMALL}\n{section}")
}

fn public_key() -> String {
    format!("{}/tests/fixtures/keys/p256.public.pem", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_store_is_memory_or_a_folder() {
    let store = |url: &str| {
        let loaded = load_text(with(&format!("[store]\nurl = \"{url}\"")), &[]).unwrap();
        loaded.settings.store
    };
    assert_eq!(load_text(SMALL, &[]).unwrap().settings.store, StoreUrl::Memory);
    assert_eq!(store("memory:"), StoreUrl::Memory);
    for url in ["file:/var/lib/tollgate", "file:///var/lib/tollgate"] {
        assert_eq!(store(url), StoreUrl::File(PathBuf::from("/var/lib/tollgate")));
    }
    // a relative one begins where the file is
    let StoreUrl::File(folder) = store("file:state") else { panic!() };
    assert!(folder.is_absolute() && folder.ends_with("state"), "{folder:?}");
}

#[test]
fn a_store_of_another_kind_is_refused_without_its_password() {
    let told = |url: &str| faults(with(&format!("[store]\nurl = \"{url}\"")));
    assert!(told("filee:/x").contains("did you mean `file:`?"), "{}", told("filee:/x"));
    assert!(told("file:").contains("names no folder"));
    assert!(told("file://host/x").contains("names a host"));
    for url in ["sql://user:hunter22@host/0", "/var/lib/tollgate", ""] {
        let told = told(url);
        assert!(told.contains("`url`") && !told.contains("unknown kind, `sql://"), "{told}");
    }
}

#[test]
fn endpoints_have_paths_of_their_own() {
    let told = |lines: &str| faults(with(&format!("[token.endpoints]\n{lines}")));
    let text = told("jwks = \"/auth/token\"");
    assert!(text.contains("`jwks` is the same as `path`"), "{text}");
    let text = told("revoke = \"/a\"\nintrospect = \"/a\"");
    assert!(text.contains("`revoke` is the same as `introspect`"), "{text}");
    let text = told("jwks = \"auth//jwks\"");
    assert!(text.contains("`jwks` is no plain path") && text.contains("\"/auth/jwks\""), "{text}");
    let text = told("jwks = \"/.well-known/jwks.json\"");
    assert!(text.contains("well-known paths"), "{text}");
    let text = told("jwk = \"/a\"");
    assert!(text.contains("unknown key `jwk`") && text.contains("did you mean `jwks`?"), "{text}");
}

#[test]
fn metadata_asks_for_an_https_issuer_and_warns_where_no_audience_is_a_url() {
    let metadata = "[token.endpoints]\nmetadata = true";
    let settings = load_text(with(metadata), &[]).unwrap().settings;
    let endpoints = settings.token.unwrap().endpoints;
    let resource = &endpoints.metadata.unwrap().resources[0];
    assert_eq!(resource.url, "https://api.example.com/.well-known/oauth-protected-resource");
    let plain = with(metadata).replace("\"https://api.example.com\"", "\"api\"");
    let loaded = load_text(plain, &[]).unwrap();
    assert!(loaded.warnings.iter().any(|it| it.reason().contains("no audience is an https URL")));
    for bad in ["http://gateway.example.com", "gateway", "https://g.example.com/?a"] {
        let text = with(metadata).replace("https://gateway.example.com", bad);
        assert!(faults(text).contains("`metadata` needs an issuer that is an https URL"), "{bad}");
    }
    for good in ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost/a"] {
        let text = with(metadata).replace("https://gateway.example.com", good);
        assert!(load_text(text, &[]).is_ok(), "{good}");
    }
}

#[test]
fn a_client_may_use_whatever_it_has_the_means_for() {
    let methods =
        |lines: &str| load_text(client(lines), &[]).unwrap().settings.clients.remove(0).methods;
    let key = format!("public_key_file = \"{}\"\nalgorithm = \"ES256\"", public_key());
    let secret = "secret = \"T4mQ9zXw2LkV7bNc\"";
    let all = Methods { basic: true, post: true, key: true, tls: false };
    assert_eq!(methods(secret), Methods { key: false, ..all });
    assert_eq!(methods(&key), Methods { basic: false, post: false, key: true, tls: false });
    assert_eq!(methods(&format!("{key}\n{secret}")), all);
    let listed = "authentication = [\"client_secret_post\"]";
    let post = Methods { basic: false, post: true, key: false, tls: false };
    assert_eq!(methods(&format!("{secret}\n{listed}")), post);
}

#[test]
fn a_way_without_means_is_a_fault_in_its_place() {
    let secret = "secret = \"T4mQ9zXw2LkV7bNc\"";
    let told = faults(client(&format!("{secret}\nauthentication = [\"private_key_jwt\"]")));
    assert!(told.contains("nothing to prove itself with in this way"), "{told}");
    assert!(told.contains("gateway.toml:13:19"), "{told}");
    let told = faults(client(&format!("{secret}\nauthentication = []")));
    assert!(told.contains("`authentication` is empty"), "{told}");
    let told = faults(client(&format!("{secret}\nauthentication = [\"tls_client_auth\"]")));
    assert!(told.contains("add tls_client_subject"), "{told}");
    let told = faults(client("authentication = [\"client_secret_basic\"]"));
    assert!(told.contains("this client has no secret"), "{told}");
}

#[test]
fn the_key_of_a_client_is_public_and_has_an_algorithm() {
    let key = public_key();
    let told = faults(client(&format!("public_key_file = \"{key}\"")));
    assert!(told.contains("a `public_key_file` and no `algorithm`"), "{told}");
    let told = faults(client(&format!("public_key_file = \"{key}\"\nalgorithm = \"HS256\"")));
    assert!(told.contains("HS256 has no public key"), "{told}");
    let told = faults(client(&format!("public_key_file = \"{key}\"\nalgorithm = \"ES384\"")));
    assert!(told.contains("`public_key_file` cannot be used"), "{told}");
    let told = faults(client("secret = \"T4mQ9zXw2LkV7bNc\"\nalgorithm = \"ES256\""));
    assert!(told.contains("an `algorithm` and no key"), "{told}");
    let told = faults(client(&format!("jwks_file = \"{key}\"")));
    assert!(told.contains("`jwks_file` cannot be used: it is no JSON Web Key Set"), "{told}");
    let told = faults(client(&format!("jwks_file = \"{key}\"\npublic_key_file = \"{key}\"")));
    assert!(told.contains("exclude each other"), "{told}");
}

#[test]
fn a_client_has_a_format_of_its_own_or_the_one_of_the_token_service() {
    let text = client("secret = \"T4mQ9zXw2LkV7bNc\"\nformat = \"opaque\"");
    let settings = load_text(text, &[]).unwrap().settings;
    assert_eq!(settings.clients[0].format, Some(TokenFormat::Opaque));
    assert_eq!(settings.token.unwrap().format, TokenFormat::Jwt);
    let told = faults(client("secret = \"T4mQ9zXw2LkV7bNc\"\nformat = \"reference\""));
    assert!(told.contains("use `jwt` or `opaque`"), "{told}");
}
