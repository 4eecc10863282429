use super::{SMALL, faults, load_text, reasons};

#[test]
fn a_small_file_is_enough() {
    let loaded = load_text(SMALL, &[]).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!(loaded.settings.clients[0].id, "ci");
    assert_eq!(loaded.settings.token.unwrap().path, "/auth/token");
}

#[test]
fn an_upstream_alone_is_a_configuration_without_tokens() {
    let loaded = load_text("upstream.url = 'http://127.0.0.1:9000'", &[]).unwrap();
    assert!(loaded.settings.token.is_none());
    assert!(loaded.warnings.is_empty());
}

#[test]
fn misspelt_keys_are_shown_with_the_nearest_one_and_without_their_values() {
    let text = "[upstream]\nulr = \"http://a\"\nretires = 1 # a comment\n\n[servre]\n";
    let expected = "\
error: unknown key `ulr` in [upstream]
  --> gateway.toml:2:1
   |
 2 | ulr = ***
   | ^^^
   = help: did you mean `url`?

error: unknown key `retires` in [upstream]
  --> gateway.toml:3:1
   |
 3 | retires = ***
   | ^^^^^^^
   = help: did you mean `retries`?

error: unknown key `servre` at the top level
  --> gateway.toml:5:2
   |
 5 | [servre]
   |  ^^^^^^
   = help: did you mean `server`?

3 errors in the configuration";
    assert_eq!(faults(text), expected);
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    let text = format!("listen = '127.0.0.1:1'\n{SMALL}\n[log]\nleeway = 1\nport = 80");
    let told = faults(text);
    assert!(told.contains("`listen` belongs in [server] or in [admin]"), "{told}");
    assert!(told.contains("`leeway` belongs in [token]"), "{told}");
    assert!(told.contains("known in [log]: `format`, `level`, `access`"), "{told}");
}

#[test]
fn wrong_types_are_told_together_and_in_the_order_of_the_file() {
    let text = "\
[server]
listen = 8080
workers = \"4\"
header_timeout = true
max_body_size = \"10 MB of data\"
[upstream]
url = \"http://a\"
preserve_host = \"yes\"
retries = -1
[[log]]
";
    let expected = "\
error: `listen` must be text such as \"abc\", or a list of such, not an integer
  --> gateway.toml:2:10
   |
 2 | listen = 8080
   |          ^^^^
   = help: write it between quotes

error: `workers` must be a number, not text
  --> gateway.toml:3:11
   |
 3 | workers = \"4\"
   |           ^^^
   = help: write it without quotes

error: `header_timeout` must be a duration such as \"30s\", or whole seconds, not a boolean
  --> gateway.toml:4:18
   |
 4 | header_timeout = true
   |                  ^^^^
   = help: write a duration such as \"30s\", or whole seconds

error: `max_body_size` is no size: `10 MB of data`
  --> gateway.toml:5:17
   |
 5 | max_body_size = \"10 MB of data\"
   |                 ^^^^^^^^^^^^^^^
   = help: write \"64KiB\", \"10MiB\" or whole bytes

error: `preserve_host` must be true or false, not text
  --> gateway.toml:8:17
   |
 8 | preserve_host = \"yes\"
   |                 ^^^^^
   = help: write true or false

error: `retries` is too small
  --> gateway.toml:9:11
   |
 9 | retries = -1
   |           ^^
   = help: use 0 to 3: each retry is more load on an upstream that is in trouble already

error: `log` must be a table, not a list
   --> gateway.toml:10:1
    |
 10 | [[log]]
    | ^^^^^^^
    = help: write a table

7 errors in the configuration";
    assert_eq!(faults(text), expected);
}

#[test]
fn syntax_errors_are_told_with_their_place() {
    let text = "[server]\nlisten = 127.0.0.1:8080\nworkers 4\n[upstream\nurl = \"http://a\"\n";
    let told = faults(text);
    assert!(told.contains("--> gateway.toml:2:"), "{told}");
    assert!(told.contains(" 2 | listen = 127.0.0.1:8080"), "{told}");
    assert!(told.contains("text is written between quotes"), "{told}");
    assert!(told.contains("--> gateway.toml:3:9"), "{told}");
    assert!(told.contains(" 4 | [upstream"), "{told}");
}

#[test]
fn a_key_written_twice_is_shown_where_it_stands_the_second_time() {
    let told = faults("[upstream]\nurl = \"http://a\"\nurl = \"http://b\"\n");
    assert!(told.contains("duplicate key\n  --> gateway.toml:3:1"), "{told}");
}

#[test]
fn an_empty_file_is_told_what_it_lacks() {
    let expected = "\
error: there is no upstream: nothing says where requests go
 --> gateway.toml:1:1 (end of file)
  = help: add [upstream] with url = \"http://127.0.0.1:9000\", or set TOLLGATE_UPSTREAM__URL, or give --upstream

1 error in the configuration";
    assert_eq!(faults(""), expected);
    assert_eq!(faults("\n\n"), expected);
    assert!(faults("[upstream]").contains("--> gateway.toml:1:1\n"));
}

#[test]
fn a_byte_order_mark_does_not_matter() {
    assert!(load_text(format!("\u{feff}{SMALL}"), &[]).is_ok());
    let told = faults("\u{feff}[upstream]\nurl = \"ftp://a\"\n");
    assert!(
        told.contains("gateway.toml:2:7\n   |\n 2 | url = \"ftp://a\"\n   |       ^^^^^^^^^\n"),
        "{told}"
    );
    let told = faults("\u{feff}[upstraem]\n");
    assert!(told.contains("gateway.toml:1:2\n   |\n 1 | [upstraem]\n   |  ^^^^^^^^\n"), "{told}");
}

#[test]
fn a_file_that_is_no_utf_8_text_says_where() {
    assert!(
        faults(b"[server]\nabc = \"\xff\"").contains("gateway.toml:2:8: the file is not UTF-8")
    );
    assert!(faults(b"\xff\xfe[\0").contains("it looks like UTF-16; save it as UTF-8"));
}

#[test]
fn a_file_over_one_mebibyte_is_not_read() {
    let told = faults("#".repeat(1 << 20) + "#");
    assert!(told.contains("has more than 1 MiB"), "{told}");
    assert!(load_text(format!("{SMALL}{}", "#".repeat((1 << 20) - SMALL.len())), &[]).is_ok());
}

#[test]
fn urls_that_lead_nowhere_are_refused() {
    for (url, reason) in [
        ("ftp://a", "has the unknown scheme `ftp`"),
        ("http://", "has no host"),
        ("http://a:0", "has the impossible port `0`"),
        ("http://a:70000", "has the impossible port `70000`"),
        ("http://a?x=1", "has a query"),
        ("http://a/#x", "has a fragment"),
        ("localhost:9000", "has no scheme"),
    ] {
        assert_eq!(
            reasons(format!("[upstream]\nurl = \"{url}\"\n")),
            [format!("the upstream's `url` {reason}")],
            "{url}"
        );
    }
    let told = faults("[upstream]\nurl = \"http://joe:hunter2@a\"\n");
    assert!(told.contains("holds a user or a password") && told.contains("http://***@a"), "{told}");
}

#[test]
fn an_upstream_that_is_the_gateway_itself_is_refused() {
    for (listen, url, loops) in [
        ("127.0.0.1:80", "http://127.0.0.1", true),
        ("127.0.0.1:8080", "http://localhost:8080", true),
        ("0.0.0.0:8080", "http://127.0.0.1:8080", true),
        ("0.0.0.0:8080", "http://localhost:8080/api", true),
        ("[::]:8080", "http://[::1]:8080", true),
        ("[::]:8080", "http://127.0.0.1:8080", true),
        ("[::1]:8080", "http://localhost:8080", true),
        ("10.0.0.1:8080", "http://10.0.0.1:8080", true),
        ("unix:/run/a", "unix:/run/a", true),
        ("127.0.0.1:8080", "http://127.0.0.1:8081", false),
        ("127.0.0.1:8080", "http://10.0.0.1:8080", false),
        ("10.0.0.1:8080", "http://localhost:8080", false),
        ("unix:/run/a", "unix:/run/b", false),
        ("127.0.0.1:0", "http://127.0.0.1:8080", false),
    ] {
        let text = format!("[server]\nlisten = \"{listen}\"\n[upstream]\nurl = \"{url}\"\n");
        let result = load_text(text, &[]);
        assert_eq!(result.is_err(), loops, "{listen} {url}: {result:?}");
    }
    let text = "[admin]\nlisten = '127.0.0.1:9000'\n[upstream]\nurl = 'http://localhost:9000'\n";
    assert!(
        faults(text)
            .contains("the upstream is the gateway itself, which listens on 127.0.0.1:9000")
    );
}

#[test]
fn an_address_is_listened_on_once() {
    let text = "server.listen = ['127.0.0.1:1', '127.0.0.1:1']\nadmin.listen = '127.0.0.1:1'\nupstream.url = 'http://a'";
    assert_eq!(
        reasons(text),
        ["`127.0.0.1:1` is listed twice", "[admin] and [server] listen on the same address"]
    );
}

#[test]
fn two_clients_with_one_id_are_shown_both() {
    let text = format!("{SMALL}\n[[clients]]\nid = \"ci\"\nsecret = \"V7bNcT4mQ9zXw2Lk\"\n");
    assert!(faults(text).contains(
        "two clients have the id `ci`; the other one at gateway.toml:11:6\n   --> gateway.toml:16:6"
    ));
}

#[test]
fn clients_are_judged_one_by_one() {
    let text = format!(
        "{SMALL}\n\
        [[clients]]\n\
        [[clients]]\n\
        id = \"b\"\n\
        secret = \"\"\n\
        scopes = [\"read write\", \"a\\\\b\"]\n\
        claims = {{ sub = 1, tenant = \"acme\", cnf = {{}} }}\n\
        [[clients]]\n\
        id = \"é\"\n\
        disabled = true\n\
        secrets = [{{ not_after = 2026-12-31 }}, {{ secret = \"Lk7Qv0Zs3Wm8Tx2R\", not_after = \"soon\" }}]\n"
    );
    assert_eq!(
        reasons(text),
        [
            "this client has no `id`",
            "this client has no secret",
            "`secret` is empty",
            "`read write` is no scope",
            "`a\\b` is no scope",
            "the claim `sub` is the gateway's to fill",
            "the claim `cnf` is the gateway's to fill",
            "this `id` cannot be sent as a client_id",
            "this entry has none of `secret`, `secret_file`, `secret_hash` and `secret_hash_file`",
            "`not_after` is no instant: `2026-12-31`",
            "`not_after` is no instant: `soon`",
        ]
    );
}

#[test]
fn a_table_where_a_list_of_tables_belongs_is_recognised() {
    let told = faults("upstream.url = 'http://a'\n[clients]\nid = 'a'\nsecret = 'hunter2'\n");
    assert!(told.contains("`clients` must be a list of tables, not a table"), "{told}");
    assert!(told.contains("write [[clients]] instead of [clients]"), "{told}");
}

#[test]
fn a_token_service_says_what_it_lacks() {
    let text = "upstream.url = 'http://a'\n[token]\n";
    assert_eq!(
        reasons(text),
        [
            "[token] has no `issuer`",
            "[token] has no `audience`",
            "[token] has no signing key",
            "nobody can get a token: there is no client that is not disabled",
        ]
    );
}

#[test]
fn token_settings_are_judged_together() {
    let text = "\
upstream.url = 'http://a'
[token]
path = '/auth/../token'
issuer = ''
audience = ['a', 7]
expires_in = 0
algorithm = 'none'
key = 'short but random 8fKq'
types = []
leeway = '6m'
scope_claims = 'scope'
";
    assert_eq!(
        reasons(text)[..8],
        [
            "`path` is no plain path: it begins with / and has letters, digits and - . _ ~ between slashes",
            "`issuer` is empty",
            "`audience` must be text such as \"abc\", not an integer",
            "`expires_in` is too small",
            "`algorithm` cannot be `none`: anybody could make such tokens",
            "`types` is empty: no token would be accepted",
            "`leeway` is too large",
            "`scope_claims` must be a list such as [\"a\", \"b\"], not text",
        ]
    );
}

#[test]
fn identity_headers_that_steer_the_message_are_refused() {
    for name in [
        "Host",
        "content-length",
        "Transfer-Encoding",
        "Connection",
        "Authorization",
        "X-Forwarded-For",
        "x_forwarded_for",
    ] {
        let text =
            format!("upstream.url = 'http://a'\nidentity.headers = {{ \"{name}\" = \"sub\" }}");
        assert_eq!(reasons(text), [format!("the header `{name}` has a meaning of its own")]);
    }
}

#[test]
fn long_lines_and_odd_characters_are_shown_around_their_fault() {
    let names: Vec<String> = (0..200).map(|number| format!("\"10.0.0.{number}\"")).collect();
    let text = format!(
        "[upstream]\nurl = 'http://a'\n[server]\ntrusted_proxies = [{}, \"oops\"]\n",
        names.join(", ")
    );
    let told = faults(text);
    let line = told.lines().find(|line| line.contains("oops\"")).unwrap();
    assert!(line.chars().count() < 140, "{line}");
    let carets = told.lines().find(|line| line.contains("^^^^^^")).unwrap();
    let column = |line: &str, what: &str| line[..line.find(what).unwrap()].chars().count();
    assert_eq!(column(carets, "^"), column(told.lines().nth(3).unwrap(), "\"oops"), "{told}");

    let told = faults("[log]\n\tlevel = \"\u{1b}[31m日本\" \n[upstream]\nurl='http://a'");
    assert!(!told.contains('\u{1b}'), "{told}");
    let told = faults("[log]\n\tlevel = \"日本\"\n[upstream]\nurl='http://a'");
    assert!(told.contains(" 2 |     level = \"日本\"\n   |             ^^^^^^\n"), "{told}");
}

#[test]
fn values_reach_the_settings_with_their_units() {
    let text = format!(
        "{SMALL}\n[server]\nlisten = ['127.0.0.1:80', 'unix:/run/x']\nheader_timeout = '1m30s'\nmax_header_size = '64KiB'\nmax_body_size = 0\n"
    );
    let server = load_text(text, &[]).unwrap().settings.server;
    assert_eq!(server.listen.len(), 2);
    assert_eq!(server.header_timeout.as_secs(), 90);
    assert_eq!(server.max_header_size, 65_536);
    assert_eq!(server.max_body_size, None);
    assert!(server.workers > 0);
}
