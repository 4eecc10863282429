//! Certificates and keys: what is wrong with them is told before anybody connects.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::super::{Loaded, Sources, load};
use super::{Folder, SMALL};

/// A certificate for `names` and its key, in PEM.
fn pair(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

/// What comes of these keys in `[server]` with these files beside the configuration.
fn told(server: &str, files: &[(&str, &str)]) -> Result<Loaded, String> {
    let folder = Folder::new();
    for (name, content) in files {
        folder.write(name, content);
    }
    let file = folder.write("gateway.toml", format!("[server]\n{server}\n{SMALL}"));
    load(&Sources { file: Some(file), ..Sources::default() }).map_err(|faults| faults.to_string())
}

fn refused(server: &str, files: &[(&str, &str)]) -> String {
    told(server, files).expect_err("it should be refused")
}

const TLS: &str = "tls = { certificate_file = \"c\", private_key_file = \"k\" }";

#[test]
fn a_certificate_and_its_key_are_taken_one_or_several() {
    let (certificate, key) = pair(&["a.test", "*.a.test"], |_| {});
    let (other, other_key) = pair(&["b.test"], |_| {});
    let files = [("c", &*certificate), ("k", &*key), ("d", &*other), ("l", &*other_key)];
    let loaded = told(TLS, &files).unwrap();
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    let tls = &loaded.settings.server.tls;
    assert_eq!(tls[0].certificate.hosts().collect::<Vec<_>>(), ["a.test", "*.a.test"]);
    assert!(tls[0].clients.is_none());
    let two = "tls = [{ certificate_file = \"c\", private_key_file = \"k\", client_ca_file = \"d\" }, \
               { certificate_file = \"d\", private_key_file = \"l\" }]";
    let tls = told(two, &files).unwrap().settings.server.tls;
    assert_eq!(tls.len(), 2);
    assert!(tls[0].clients.as_ref().unwrap().required, "unless it says otherwise");
    assert_ne!(tls[0].digest, tls[1].digest);
    let shown = format!("{:?}", told(TLS, &files).unwrap().settings);
    let secret = key.lines().nth(1).unwrap();
    assert!(!shown.contains(secret));
}

#[test]
fn what_does_not_belong_together_or_cannot_be_used_is_told_with_its_place_and_the_mend() {
    let (certificate, key) = pair(&["a.test"], |_| {});
    let (_, other_key) = pair(&["a.test"], |_| {});
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    for (files, reason, mend) in [
        (
            [("c", &*certificate), ("k", &*other_key)],
            "not the one of the certificate",
            "made for each other",
        ),
        ([("c", &*certificate), ("k", encrypted)], "is encrypted", "openssl pkey"),
        (
            [("c", &*key), ("k", &*key)],
            "holds a private key and no certificate",
            "private_key_file",
        ),
        ([("c", "x"), ("k", &*key)], "holds no certificate in PEM", "BEGIN CERTIFICATE"),
        (
            [("c", &*certificate), ("k", &*certificate)],
            "holds no private key in PEM",
            "BEGIN PRIVATE KEY",
        ),
        ([("c", &*certificate), ("other", "")], "`private_key_file` names", "create it"),
    ] {
        let told = refused(TLS, &files);
        assert!(told.contains(reason) && told.contains(mend), "{told}");
        assert!(told.contains("gateway.toml:2:"), "{told}");
        assert!(!told.contains(key.lines().nth(1).unwrap()), "{told}");
    }
    let weak = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(refused(TLS, &[("c", weak), ("k", &key)]).contains("cannot be read"));
}

#[test]
fn an_rsa_key_that_can_be_broken_is_refused() {
    let (_, key) = pair(&["a.test"], |_| {});
    let told = refused(TLS, &[("c", WEAK_CERTIFICATE), ("k", &key)]);
    assert!(told.contains("has 1024 bits, which can be broken"), "{told}");
}

#[test]
fn keys_of_tls_that_mean_nothing_alone_are_told() {
    let (certificate, key) = pair(&["a.test"], |_| {});
    let files = [("c", &*certificate), ("k", &*key)];
    for (server, reason) in [
        ("tls = { certificate_file = \"c\" }", "`tls` has no `private_key_file`"),
        ("tls = { private_key_file = \"k\" }", "`tls` has no `certificate_file`"),
        ("tls = true", "`tls` must be a table, or a list of such"),
        ("tls = []", "`tls` is an empty list"),
        ("tls = { certificat_file = \"c\" }", "did you mean `certificate_file`?"),
        ("proxy_protocol = true", "every connection would be closed"),
    ] {
        let told = refused(server, &files);
        assert!(told.contains(reason), "{told}");
    }
    let optional = "tls = { certificate_file = \"c\", private_key_file = \"k\", client_certificate = \"optional\" }";
    assert!(refused(optional, &files).contains("without `client_ca_file`"));
}

#[test]
fn an_expired_certificate_is_warned_of_and_so_is_one_that_nobody_gets() {
    let (old, key) = pair(&["a.test"], |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let (same, same_key) = pair(&["a.test"], |_| {});
    let (nameless, nameless_key) = pair(&[], |_| {});
    let files = [
        ("c", &*old),
        ("k", &*key),
        ("d", &*same),
        ("l", &*same_key),
        ("e", &*nameless),
        ("m", &*nameless_key),
    ];
    let three = "tls = [{ certificate_file = \"c\", private_key_file = \"k\" }, \
                 { certificate_file = \"d\", private_key_file = \"l\" }, \
                 { certificate_file = \"e\", private_key_file = \"m\" }]";
    let warnings = told(three, &files).unwrap().warnings;
    let reasons: Vec<_> = warnings.iter().map(|warning| warning.reason()).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    for reason in ["has expired", "an earlier certificate is for `a.test` too", "no DNS name"] {
        assert!(reasons.iter().any(|told| told.contains(reason)), "{reasons:?}");
    }
}

#[test]
fn tls_can_come_from_the_environment() {
    let (certificate, key) = pair(&["a.test"], |_| {});
    let folder = Folder::new();
    let (certificate, key) = (folder.write("c", certificate), folder.write("k", key));
    let variables = [
        ("TOLLGATE_SERVER__TLS__CERTIFICATE_FILE", certificate.to_str().unwrap()),
        ("TOLLGATE_SERVER__TLS__PRIVATE_KEY_FILE", key.to_str().unwrap()),
    ];
    assert_eq!(super::load_text(SMALL, &variables).unwrap().settings.server.tls.len(), 1);
    let variables = [
        ("TOLLGATE_SERVER__TLS__0__CERTIFICATE_FILE", certificate.to_str().unwrap()),
        ("TOLLGATE_SERVER__TLS__0__PRIVATE_KEY_FILE", key.to_str().unwrap()),
    ];
    assert_eq!(super::load_text(SMALL, &variables).unwrap().settings.server.tls.len(), 1);
}

#[test]
fn a_client_with_a_certificate_needs_a_listener_that_asks_for_it() {
    let client = "\n[[clients]]\nid = \"cert\"\ntls_client_subject = \"CN=ci\"\n";
    let told = super::faults(format!("{SMALL}{client}"));
    assert!(told.contains("no listener asks for the certificate"), "{told}");
    let both = format!("{SMALL}{client}tls_client_san_dns = \"ci.test\"\n");
    assert!(super::faults(both).contains("exclude each other"));
}

/// Made for this test, with 1024 bits.
const WEAK_CERTIFICATE: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIB/DCCAWWgAwIBAgIUOhUD5F7tb5FmJgrDlIetzyzw9CowDQYJKoZIhvcNAQEL\n\
BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjYxNTI3MzNaGA8yMTI2MTEwMjE1\n\
MjczM1owDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC\n\
gYEAta7ODaG5ttPAYHD+/rpBEeVSZJ/5O4ZZ9JlmEII+cICmEZ7sE9/iGZAnvZSL\n\
FrhCDtNGWd5oWk8QpXCfgpY1APtOOF0tV4cyhOh5MLel9k3X7o0KSGKNDS5F63am\n\
T1QPW25N5PhIlqBSkPU2EIBZBhDi983AEtpaBzEUGXyMxiUCAwEAAaNTMFEwHQYD\n\
VR0OBBYEFNnBVtWDF4En2w/Ru2NznblcpsE1MB8GA1UdIwQYMBaAFNnBVtWDF4En\n\
2w/Ru2NznblcpsE1MA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEA\n\
Xup+SS3e5v/w3AX/MfOEvqCkJqOJWFFZDZYwBM7BqUBNqjVcqoADHbamTRkzldL/\n\
jX+pQm7w9ENbxsbOlXKDLIp339uEFJjIUNSnrWzZ1PVqXXXvbRyb3GPWyKooZ4js\n\
Kuc8x3XHM0uoy5kvwVfRKJRdizNPS+KUCnkf6g+/mu4=\n\
-----END CERTIFICATE-----\n";
