//! Group H: what the upstream reads of a caller and of a connection is the gateway's word, never the client's.

#![allow(clippy::disallowed_methods, clippy::unwrap_used)] // a test that cannot go on may panic, and its time is real

mod support;

use support::attack::{HIDDEN, Site};
use support::{CLIENT, Gateway, ISSUER, Seen, Upstream, bearer, find, get, post, tokens, toml};

const IDENTITY: [(&str, &str); 4] = [
    ("x-auth-subject", CLIENT),
    ("x-auth-client", CLIENT),
    ("x-auth-scope", "api:write"),
    ("x-auth-issuer", ISSUER),
];

/// The gateway's own identity headers, each once and nothing like them beside.
fn assert_identity(seen: &Seen, what: &str) {
    for (name, value) in IDENTITY {
        let like: Vec<_> =
            seen.fields.iter().filter(|(given, _)| folded(given) == folded(name)).collect();
        assert_eq!(like, [&(name.to_owned(), value.to_owned())], "{what}: {seen:?}");
    }
}

fn assert_nobody(seen: &Seen, what: &str) {
    for (name, _) in IDENTITY {
        assert!(
            !seen.fields.iter().any(|(given, _)| folded(given) == folded(name)),
            "{what}: {seen:?}"
        );
    }
}

/// As CGI and its heirs read a name.
fn folded(name: &str) -> String {
    name.to_ascii_uppercase().replace(['-', '.'], "_")
}

fn request(method: &str, fields: &str) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: api.test\r\n{fields}\r\n")
}

// H.107, H.108
#[test]
fn identity_headers_of_the_client_never_arrive() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for (name, _) in IDENTITY {
        for spelling in [
            name.to_owned(),
            name.to_uppercase(),
            name.replace('-', "_"),
            name.replace('-', "."),
            name.replacen('-', "_", 1),
            name.replacen('-', ".", 1),
            name.to_uppercase().replace('-', "_"),
            name.replacen("x-", "X_", 1),
        ] {
            let (one, two) = (
                format!("{spelling}: admin\r\n"),
                format!("{spelling}: admin\r\n{name}: root\r\n"),
            );
            for fields in [one, two] {
                let talk = site.talk(request("GET", &fields));
                assert_nobody(talk.only(&fields), &fields);
                for fields in [format!("{fields}{token}"), format!("{token}{fields}")] {
                    for method in ["GET", "POST"] {
                        let talk = site.talk(request(method, &fields));
                        assert_identity(talk.only(&fields), &fields);
                    }
                }
                site.talk(request("POST", &fields)).assert_refused(401, &fields);
            }
        }
    }
}

// H.107: with other names, and with a token that has no value for one of them
#[test]
fn a_name_without_a_value_does_not_arrive_from_the_client_either() {
    let upstream = Upstream::start();
    let url = format!("http://{}", upstream.address);
    let identity =
        "[identity]\nheaders = { \"X-Client-Id\" = \"client_id\", \"X-Tenant\" = \"tenant\" }";
    let gateway = Gateway::from_toml(&toml(&url, "", "", identity));
    let site = Site::of(upstream, gateway);
    let token = bearer(&tokens::good(&site.gateway));
    for spelling in ["X-Tenant", "x_tenant", "X.Tenant", "X-TENANT"] {
        let fields = format!("{token}{spelling}: acme\r\nX-Client-Id: admin\r\n");
        let talk = site.talk(request("POST", &fields));
        let seen = talk.only(spelling);
        assert_eq!(seen.field("x-client-id").as_deref(), Some(CLIENT));
        assert!(!seen.fields.iter().any(|(name, _)| folded(name) == "X_TENANT"), "{seen:?}");
    }
    let token = bearer(&tokens::with(&site.gateway, "tenant", "acme".into()));
    let talk =
        site.talk(request("POST", &format!("{token}X-Tenant: evil\r\nConnection: x-tenant\r\n")));
    assert_eq!(talk.only("tenant").field("x-tenant").as_deref(), Some("acme"));
}

// H.109, H.117
#[test]
fn malformed_field_lines_are_refused() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for line in [
        "X-Auth-Client : admin",
        "X-Auth-Client\t: admin",
        "X-Auth-Client\0: admin",
        "X-Auth\0-Client: admin",
        "\rX-Auth-Client: admin",
        "X: y\rX-Auth-Client: admin",
        "X: y\nX-Auth-Client: admin",
        " X-Auth-Client: admin",
        "\tX-Auth-Client: admin",
        "X: y\r\n X-Auth-Client: admin",
        "X: y\r\n\tX-Auth-Client: admin",
        "X Y: z",
        "(X): y",
        "X(: y",
        "X\u{e9}: y",
        "X\u{200b}: y",
        ": y",
        "X",
        "X\"Y: z",
        "X,Y: z",
        "X/Y: z",
        "X;Y: z",
        "X<: y",
        "X=: y",
        "X?: y",
        "X@: y",
        "X[: y",
        "X\\: y",
        "X{: y",
        "X\u{7f}: y",
        "X\u{1}: y",
        "X\u{b}: y",
        "X: y\0z",
        "X: \0",
        "X: y\rz",
        "X: \r",
        "X: y\u{7}z",
        "X: y\u{7f}",
        "X: y\u{1b}[31m",
        "X: y\u{8}",
        "X: y\u{b}z",
    ] {
        for fields in
            [format!("{line}\r\n"), format!("{token}{line}\r\n"), format!("{line}\r\n{token}")]
        {
            site.talk(request("GET", &fields)).assert_refused(400, &format!("{fields:?}"));
        }
    }
    for value in
        ["", "\u{e9}\u{20ac}", "a\tb", "\"q\\\"\"", "a, b", "<script>", "%0d%0a", "{}", ":"]
    {
        let talk = site.talk(request("GET", &format!("X-Value: {value}\r\n")));
        assert_eq!(talk.only(value).field("x-value").as_deref(), Some(value));
    }
}

// H.111
#[test]
fn connection_cannot_take_the_identity_away() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for fields in [
        "Connection: X-Auth-Client\r\n",
        "Connection: x-auth-client, x-auth-subject, X-Auth-Scope, X-Auth-Issuer\r\n",
        "Connection: X-Auth-Client\r\nConnection: X-Auth-Subject\r\n",
        "Connection: close, X-Auth-Client\r\nX-Auth-Client: admin\r\n",
        "X-Auth-Client: admin\r\nConnection: X_Auth_Client, X.Auth.Client\r\nX_Auth_Client: admin\r\n",
        "Connection: via, forwarded, x-forwarded-for, x-forwarded-host, x-forwarded-proto, x-request-id\r\n",
        "Connection: ,,;=, \"X-Auth-Client\", X-Auth-Client\r\n",
    ] {
        for method in ["GET", "POST"] {
            let talk = site.talk(request(method, &format!("{token}{fields}")));
            let seen = talk.only(fields);
            assert_identity(seen, fields);
            for name in [
                "via",
                "forwarded",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-request-id",
            ] {
                assert!(seen.field(name).is_some(), "{name}: {fields}");
            }
        }
    }
}

// H.112
#[test]
fn connection_cannot_take_away_what_requests_are_judged_and_framed_by() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for named in [
        "Authorization",
        "Host",
        "Content-Length",
        "Transfer-Encoding",
        "Cookie",
        "X-Forwarded-For",
        "Content-Type",
        "Authorization, Host, Content-Length, Cookie",
        "host, HOST",
        "close, authorization",
        "Origin",
        "Upgrade",
        "TE",
    ] {
        let fields =
            format!("{token}Cookie: a=b\r\nContent-Type: text/plain\r\nConnection: {named}\r\n");
        let talk = site.talk(post("/x", &fields, HIDDEN.as_bytes()));
        let seen = talk.only(named);
        assert_eq!((seen.body.as_slice(), seen.complete), (HIDDEN.as_bytes(), true), "{named}");
        assert_eq!(seen.field("host").as_deref(), Some("api.test"), "{named}");
        assert_eq!(seen.field("content-length"), Some(HIDDEN.len().to_string()), "{named}");
        assert_eq!(seen.field("cookie").as_deref(), Some("a=b"), "{named}");
        assert_eq!(seen.field("content-type").as_deref(), Some("text/plain"), "{named}");
        assert!(seen.field("authorization").is_some(), "{named}");
        assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"), "{named}");
        assert_identity(seen, named);
        // and it opens nothing
        let bare = post("/x", &format!("Connection: {named}\r\n"), b"x");
        site.talk(bare).assert_refused(401, named);
    }
    let many: String = (0..200).map(|at| format!("x-{at}, ")).collect();
    let talk = site.talk(request("POST", &format!("{token}Connection: {many}authorization\r\n")));
    assert_identity(talk.only("200 names"), "200 names");
}

// H.113
#[test]
fn fields_of_one_connection_are_not_forwarded() {
    let site = Site::new();
    let fields = "Connection: X-Mine, close, X-Other\r\nX-Mine: 1\r\nX-Other: 2\r\nX-Kept: 3\r\nKeep-Alive: timeout=5\r\n\
                  Proxy-Connection: keep-alive\r\nTE: gzip\r\nTrailer: X-Sum\r\nProxy-Authorization: Basic eDp5\r\n\
                  Proxy-Authenticate: Basic\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: h2c\r\nKeep_Alive: 1\r\n\
                  Proxy_Connection: x\r\n";
    let talk = site.talk(request("GET", fields));
    let seen = talk.only("hop by hop");
    assert_eq!(seen.field("x-kept").as_deref(), Some("3"));
    for name in [
        "connection",
        "x-mine",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "proxy-authorization",
        "proxy-authenticate",
        "http2-settings",
        "upgrade",
        "keep_alive",
        "proxy_connection",
    ] {
        assert_eq!(seen.field(name), None, "{seen:?}");
    }
    // what gRPC needs stays
    let talk = site.talk(request("GET", "TE: gzip;q=0.5, trailers\r\nConnection: TE\r\n"));
    assert_eq!(talk.only("TE").field("te").as_deref(), Some("trailers"));
}

// H.114, H.115, RFC 7239
#[test]
fn an_untrusted_peer_says_nothing_of_its_origin() {
    let site = Site::new();
    let token = bearer(&tokens::good(&site.gateway));
    for name in [
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Port",
        "X-Forwarded-Prefix",
        "X-Forwarded-User",
        "X-Forwarded-Email",
        "X-Forwarded-Method",
        "X-Forwarded-Uri",
        "X-Forwarded-Server",
        "X-Forwarded-Ssl",
        "X-Forwarded-Client-Cert",
        "X-Forwarded-Path",
        "Forwarded",
        "X-Real-IP",
        "X-Client-IP",
        "X-Cluster-Client-IP",
        "True-Client-IP",
        "Remote-User",
        "X-Remote-User",
        "X-Original-URL",
        "X-Original-URI",
        "X-Original-Host",
        "X-Original-Method",
        "X-Original-For",
        "X-Original-Forwarded-For",
        "X-Rewrite-URL",
        "Proxy",
    ] {
        for name in [name.to_owned(), name.replace('-', "_"), name.to_lowercase().replace('-', ".")]
        {
            for fields in [
                format!("{name}: 6.6.6.6\r\n"),
                format!("{name}: 6.6.6.6\r\n{name}: 7.7.7.7, 6.6.6.6\r\n"),
                format!("Connection: {name}\r\n{name}: 6.6.6.6\r\n"),
            ] {
                for fields in [fields.clone(), format!("{token}{fields}")] {
                    let talk = site.talk(request("GET", &fields));
                    let seen = talk.only(&fields);
                    assert!(
                        !seen.fields.iter().any(|(_, value)| value.contains("6.6.6.6")),
                        "{fields:?}: {seen:?}"
                    );
                    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("127.0.0.1"));
                    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("http"));
                    assert_eq!(seen.field("x-forwarded-host").as_deref(), Some("api.test"));
                    assert_eq!(
                        seen.field("forwarded").as_deref(),
                        Some("for=127.0.0.1;host=\"api.test\";proto=http")
                    );
                }
            }
        }
    }
}

// RFC 7239
#[test]
fn what_a_trusted_peer_says_is_kept_and_appended_to() {
    let site = Site::with("trusted_proxies = [\"127.0.0.0/8\"]");
    let talk = site.talk(request(
        "GET",
        "X-Forwarded-For: 6.6.6.6, 10.0.0.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: www.test\r\n\
         Forwarded: for=\"[2001:db8::1]:4711\";proto=https, for=unknown\r\nForwarded: for=_hidden\r\nX-Real-IP: 6.6.6.6\r\n\
         X-Forwarded-Prefix: /api\r\nX-Original-URI: /y\r\nProxy: evil\r\n",
    ));
    let seen = talk.only("trusted");
    assert_eq!(seen.field("x-forwarded-for").as_deref(), Some("6.6.6.6, 10.0.0.1, 127.0.0.1"));
    assert_eq!(seen.field("x-forwarded-proto").as_deref(), Some("https"));
    assert_eq!(seen.field("x-forwarded-host").as_deref(), Some("www.test"));
    assert_eq!(
        seen.field("forwarded").as_deref(),
        Some(
            "for=\"[2001:db8::1]:4711\";proto=https, for=unknown, for=_hidden, \
             for=127.0.0.1;host=\"api.test\";proto=http"
        )
    );
    assert_eq!(seen.field("x-real-ip").as_deref(), Some("6.6.6.6"));
    assert_eq!(seen.field("x-forwarded-prefix").as_deref(), Some("/api"));
    assert_eq!(seen.field("proxy"), None);
    // not even a trusted proxy says who the caller is, or lets a write through
    let fields = "X-Auth-Client: admin\r\nX-Forwarded-User: admin\r\nX-Forwarded-Method: GET\r\n";
    site.talk(request("POST", fields)).assert_refused(401, "trusted");
    assert_nobody(site.talk(request("GET", fields)).only("trusted"), "trusted");
}

// RFC 7239
#[test]
fn a_scheme_or_host_that_is_none_is_not_passed_on_even_from_a_trusted_peer() {
    let site = Site::with("trusted_proxies = [\"127.0.0.0/8\"]");
    for proto in ["javascript", "https://evil", "", "http;x", "https,evil", "\u{e9}"] {
        let talk = site.talk(request("GET", &format!("X-Forwarded-Proto: {proto}\r\n")));
        assert_eq!(talk.only(proto).field("x-forwarded-proto").as_deref(), Some("http"), "{proto}");
    }
    for host in ["evil/path", "user@evil", "", "evil evil", "evil\"", "evil,"] {
        let talk = site.talk(request("GET", &format!("X-Forwarded-Host: {host}\r\n")));
        assert_eq!(
            talk.only(host).field("x-forwarded-host").as_deref(),
            Some("api.test"),
            "{host}"
        );
    }
}

// H.118
#[test]
fn many_fields_pass_and_too_many_are_refused() {
    let site = Site::new();
    let fields: String = (0..200).map(|at| format!("X-{at}: {at}\r\n")).collect();
    let talk = site.talk(request("GET", &fields));
    let seen = talk.only("200 fields");
    assert_eq!(seen.field("x-199").as_deref(), Some("199"));
    for (what, fields) in [
        ("20000 fields", "X: y\r\n".repeat(20_000)),
        ("300 fields", "X: y\r\n".repeat(300)),
        ("a value of 4 MB", format!("X: {}\r\n", "y".repeat(4_000_000))),
        ("a name of 1 MB", format!("{}: y\r\n", "X".repeat(1_000_000))),
        ("a value of 40 kB", format!("X: {}\r\n", "y".repeat(40_000))),
    ] {
        let talk = site.talk(request("GET", &fields));
        talk.assert_nothing_came(what);
        // the answer to what is still being sent may be lost in the reset
        assert!(
            talk.statuses().iter().all(|status| *status == 431),
            "{what}: {:?}",
            talk.statuses()
        );
        assert!(fields.len() > 100_000 || talk.statuses() == [431], "{what}");
    }
}

// H.117: obs-fold and high bytes in what is judged
#[test]
fn a_folded_authorization_is_refused() {
    let site = Site::new();
    let token = tokens::good(&site.gateway);
    for fields in [
        format!("Authorization:\r\n Bearer {token}\r\n"),
        format!("Authorization: Bearer\r\n {token}\r\n"),
        format!("Authorization: Bearer {token}\r\n \r\n"),
        format!("X: y\r\n Authorization: Bearer {token}\r\n"),
    ] {
        site.talk(request("POST", &fields)).assert_refused(400, "folded");
    }
}

// H.120
#[test]
fn fields_of_the_upstreams_connection_end_at_the_gateway() {
    let upstream = Upstream::answering(|seen| {
        if seen.line.contains("/still-alive") || seen.line.contains("/the-end") {
            return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello".to_vec();
        }
        b"HTTP/1.1 401 Unauthorized\r\nServer: inner/1\r\nConnection: X-Inner, Keep-Alive\r\nX-Inner: 1\r\n\
          Keep-Alive: timeout=5\r\nProxy-Authenticate: Basic realm=inner\r\nProxy-Connection: x\r\n\
          WWW-Authenticate: Basic realm=\"inner\"\r\nTrailer: X\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\
          Set-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 5\r\n\r\nhello"
            .to_vec()
    });
    let gateway = Gateway::before(upstream.address);
    let site = Site::of(upstream, gateway);
    let talk = site.talk(get("/x"));
    let answer = &talk.answers[0];
    assert_eq!((answer.status, answer.text().as_str()), (401, "hello"));
    // the upstream's own challenge passes, and is told apart by its body and realm (U.180)
    assert_eq!(answer.field("www-authenticate").as_deref(), Some("Basic realm=\"inner\""));
    assert_eq!(answer.field("x-kept").as_deref(), Some("1"));
    assert_eq!(answer.field("set-cookie").as_deref(), Some("a=1, b=2"));
    for name in [
        "x-inner",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "trailer",
        "upgrade",
        "connection",
        "transfer-encoding",
    ] {
        assert_eq!(answer.field(name), None, "{}", answer.head);
    }
    assert_eq!(answer.head.to_ascii_lowercase().matches("content-length").count(), 1);
    assert!(find(answer.head.as_bytes(), b"\n\n").is_none());
}

// RFC 9110 §7.6.3
#[test]
fn via_is_appended_and_a_loop_is_cut() {
    let site = Site::new();
    let talk = site.talk(request("GET", "Via: 1.0 fred, 1.1 p.example.net\r\nVia: 2 other\r\n"));
    let via = talk.only("via").field("via").unwrap();
    assert_eq!(via, "1.0 fred, 1.1 p.example.net, 2 other, 1.1 tollgate");
    let hops = "Via: 1.1 tollgate\r\n".repeat(8);
    let talk = site.talk(request("GET", &hops));
    assert_eq!(talk.statuses(), [508]);
    talk.assert_nothing_came("loop");
}

// RFC 9110 §7.6.2
#[test]
fn max_forwards_counts_down_on_options() {
    let site = Site::new();
    let talk = site.talk(request("OPTIONS", "Max-Forwards: 5\r\n"));
    assert_eq!(talk.only("5").field("max-forwards").as_deref(), Some("4"));
    let talk = site.talk(request("OPTIONS", "Max-Forwards: 0\r\n"));
    assert_eq!(talk.statuses(), [200]);
    talk.assert_nothing_came("Max-Forwards: 0");
    let talk = site.talk(request("GET", "Max-Forwards: 0\r\n"));
    assert_eq!(talk.only("GET").field("max-forwards").as_deref(), Some("0"));
}

// H.107: a request id is taken over only where it is harmless
#[test]
fn a_request_id_of_the_client_arrives_once_and_cannot_forge_a_log_line() {
    let site = Site::new();
    for id in ["abc-123", "0190f3c7-1111-7000-8000-000000000000"] {
        let talk = site.talk(request("GET", &format!("X-Request-Id: {id}\r\n")));
        assert_eq!(talk.only(id).field("x-request-id").as_deref(), Some(id));
    }
    let long = "x".repeat(5_000);
    for id in ["", "a b", "a\"b", "\u{e9}", "a\tb", "a=b status=200", &long] {
        let talk = site.talk(request("GET", &format!("X-Request-Id: {id}\r\n")));
        let made = talk.only(id).field("x-request-id").unwrap();
        assert!(made != id && !made.is_empty() && made.len() < 200, "{made:?}");
        assert!(made.bytes().all(|byte| byte.is_ascii_graphic()), "{made:?}");
    }
    let talk = site
        .talk(request("GET", "X-Request-Id: one\r\nX-Request-Id: two\r\nX_Request_Id: three\r\n"));
    let seen = talk.only("two ids");
    assert_eq!(seen.fields.iter().filter(|(name, _)| folded(name) == "X_REQUEST_ID").count(), 1);
}
