//! `[admin]`: what others can reach asks for a proof, or there is no such configuration.

use super::{Folder, faults, load_text, reasons};
use crate::config::{Listen, Sources, load};

const TOKEN: &str = "h7Qm2vY0tq8Zp4XkT4mQ9zXw";

fn with(admin: &str) -> String {
    format!("upstream.url = \"http://a\"\n[admin]\n{admin}\n")
}

#[test]
fn what_others_can_reach_asks_for_a_proof() {
    for open in ["0.0.0.0:9090", "[::]:9090", "10.0.0.1:9090", "[2001:db8::1]:9090"] {
        let reason =
            format!("[admin] listens on {open}, which others can reach, and asks for no proof");
        assert_eq!(reasons(with(&format!("listen = '{open}'"))), [reason]);
        let closed = load_text(with(&format!("listen = '{open}'\ntoken = '{TOKEN}'")), &[]);
        assert!(closed.unwrap().settings.admin.unwrap().token.is_some());
    }
    for local in ["127.0.0.1:9090", "127.8.0.1:0", "[::1]:9090", "[::ffff:127.0.0.1]:1", "unix:/a"]
    {
        let open = load_text(with(&format!("listen = '{local}'")), &[]);
        assert!(open.unwrap().settings.admin.unwrap().token.is_none(), "{local}");
    }
}

#[test]
fn one_open_address_among_local_ones_is_named_with_its_place_and_the_mend() {
    let told = faults(with("listen = ['127.0.0.1:1', '0.0.0.0:2', 'unix:/a']"));
    assert!(told.contains("gateway.toml:3:26"), "{told}");
    assert!(told.contains("[admin] listens on 0.0.0.0:2, which others can reach"), "{told}");
    assert!(
        told.contains(
            "set token_file (`tollgate secret` makes a token) or a tls with client_ca_file"
        ),
        "{told}"
    );
}

#[test]
fn a_token_that_can_be_guessed_or_not_be_sent_is_none() {
    for (token, reason) in [
        ("", "`token` is empty"),
        ("changeme", "`token` is a placeholder that anybody would try first"),
        ("a1b2c3d4e5f6g7", "`token` has 14 bytes, which can be guessed"),
        ("h7Qm2vY0 tq8Zp4Xk", "`token` holds what cannot stand in a header"),
        ("h7Qm2vY0tq8Zp4Xké", "`token` holds what cannot stand in a header"),
    ] {
        let text = with(&format!("listen = '0.0.0.0:9090'\ntoken = '{token}'"));
        assert_eq!(reasons(text), [reason], "{token}");
    }
}

#[test]
fn the_token_can_stand_in_a_file_and_only_in_one_place() {
    let folder = Folder::new();
    folder.write("token", format!("{TOKEN}\n"));
    let file = folder.write("gateway.toml", with("listen = '0.0.0.0:9090'\ntoken_file = 'token'"));
    let loaded = load(&Sources { file: Some(file), ..Sources::default() }).unwrap();
    let token = loaded.settings.admin.unwrap().token.unwrap();
    assert_eq!(token.expose(), TOKEN.as_bytes());
    let both = with(&format!("listen = '0.0.0.0:9090'\ntoken_file = 'token'\ntoken = '{TOKEN}'"));
    assert!(faults(both).contains("exclude each other"));
    assert!(
        faults(with("listen = '0.0.0.0:9090'\ntoken_file = 'none'")).contains("cannot be read")
    );
}

#[test]
fn the_token_is_in_no_error_and_no_debug_output() {
    let loaded = load_text(with(&format!("listen = '0.0.0.0:9090'\ntoken = '{TOKEN}'")), &[]);
    assert!(!format!("{:?}", loaded.unwrap().settings).contains(TOKEN));
    let wrong = with(&format!("listen = '0.0.0.0:9090'\ntoken = '{TOKEN}'\nunknown = 1"));
    assert!(!faults(wrong).contains(TOKEN));
}

#[test]
fn a_list_of_addresses_is_listened_on_each_once() {
    let loaded = load_text(with("listen = ['127.0.0.1:0', 'unix:/run/a']"), &[]).unwrap();
    let listen = loaded.settings.admin.unwrap().listen;
    assert_eq!(listen[1], Listen::Unix("/run/a".into()));
    assert_eq!(reasons(with("listen = []")), ["`listen` is an empty list"]);
    assert_eq!(reasons(with("listen = ['unix:/a', 'unix:/a']")), ["`unix:/a` is listed twice"]);
    assert_eq!(reasons(with("token = 'h7Qm2vY0tq8Zp4Xk'")), ["[admin] has no `listen`"]);
}
