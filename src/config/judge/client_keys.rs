//! How a client may prove itself, and the public keys that it may prove itself with.

use jsonwebtoken::Algorithm;

use super::Desk;
use super::clients::HOLDERS;
use super::secrets::{Search, Written, choose, find};
use super::token::{MOST_KEY_BYTES, judged};
use crate::config::raw;
use crate::config::settings::{CertificateName, Methods};
use crate::config::value::{ClientAuthentication, algorithm_name};
use crate::keys::{VerifyingKey, read_public_set};

/// The client's public keys: none without `public_key_file` and `jwks_file`.
pub(super) fn keys(raw: &raw::Client, desk: &mut Desk<'_>) -> Option<Vec<VerifyingKey>> {
    let pem = raw.public_key_file.as_ref().map(|file| ("public_key_file", Written::File(file)));
    let set = raw.jwks_file.as_ref().map(|file| ("jwks_file", Written::File(file)));
    let written: Vec<_> = pem.into_iter().chain(set).collect();
    if written.is_empty() {
        let given = raw.given.has("public_key_file") || raw.given.has("jwks_file");
        if let Some(algorithm) = raw.algorithm.as_ref().filter(|_| !given) {
            desk.report.error(
                algorithm.place,
                "this client has an `algorithm` and no key",
                "add public_key_file or jwks_file, or remove it",
            );
        }
        return (!given).then(Vec::new);
    }
    let algorithm = match &raw.algorithm {
        None if raw.given.has("algorithm") => return None,
        None => None,
        Some(at) if is_shared(at.value.0) => {
            let reason = format!("{} has no public key", algorithm_name(at.value.0));
            desk.report.error(at.place, reason, "use the algorithm of the key pair, such as ES256");
            return None;
        }
        Some(at) => Some(at.value.0),
    };
    let chosen = choose(written, desk);
    let Search::Found(found) = find(chosen, MOST_SET_BYTES, desk) else { return None };
    if found.key == "jwks_file" {
        let keys = read_public_set(found.bytes.expose(), algorithm);
        if let Err(error) = &keys {
            desk.report.error(
                found.place,
                format!("`jwks_file` cannot be used: {error}"),
                "write the client's public keys as a JSON Web Key Set (RFC 7517 §5)",
            );
        }
        return keys.ok();
    }
    let Some(algorithm) = algorithm else {
        desk.report.error(
            found.place,
            "this client has a `public_key_file` and no `algorithm`",
            "add the one that it signs with, as algorithm = \"ES256\"",
        );
        return None;
    };
    let key = VerifyingKey::from_pem(algorithm, found.bytes.expose(), None);
    judged(key, algorithm, &found, desk).map(|key| vec![key])
}

/// What its certificate is known by: one of the three, if any.
#[allow(clippy::option_option)] // nothing, or a fault that was told
pub(super) fn certificate(
    raw: &raw::Client,
    desk: &mut Desk<'_>,
) -> Option<Option<CertificateName>> {
    let written: Vec<_> = [
        ("tls_client_subject", &raw.tls_client_subject),
        ("tls_client_san_dns", &raw.tls_client_san_dns),
        ("tls_client_san_uri", &raw.tls_client_san_uri),
    ]
    .into_iter()
    .filter_map(|(key, text)| text.as_ref().map(|text| (key, text)))
    .collect();
    let [(key, text)] = written[..] else {
        if let [(first, _), (second, place), ..] = written[..] {
            let reason = format!("`{first}` and `{second}` exclude each other (RFC 8705 §2.1.2)");
            desk.report.error(place.place, reason, "keep one of them");
            return None;
        }
        return (!CERTIFICATE_NAMES.iter().any(|key| raw.given.has(key))).then_some(None);
    };
    let text = text.value.0.clone();
    Some(Some(match key {
        "tls_client_subject" => CertificateName::Subject(text),
        "tls_client_san_dns" => CertificateName::Dns(text.to_ascii_lowercase()),
        _ => CertificateName::Uri(text),
    }))
}

/// The ways that are listed, each of which needs something to prove; else every way there is something for.
pub(super) fn methods(raw: &raw::Client, desk: &mut Desk<'_>) -> Option<Methods> {
    let has_secret = HOLDERS.iter().any(|key| raw.given.has(key)) || raw.given.has("secrets");
    let has_key = raw.given.has("public_key_file") || raw.given.has("jwks_file");
    let has_certificate = CERTIFICATE_NAMES.iter().any(|key| raw.given.has(key));
    let Some(listed) = &raw.authentication else {
        let given = raw.given.has("authentication");
        let (basic, post) = (has_secret, has_secret);
        return (!given).then_some(Methods { basic, post, key: has_key, tls: has_certificate });
    };
    if listed.value.is_empty() {
        desk.report.error(
            listed.place,
            "`authentication` is empty: the client could not prove itself",
            "leave it out, or set disabled = true",
        );
        return None;
    }
    let disabled = raw.disabled.as_ref().is_some_and(|disabled| disabled.value);
    let mut methods = Methods { basic: false, post: false, key: false, tls: false };
    for method in &listed.value {
        let (way, has_means, mend) = match method.value {
            ClientAuthentication::Basic => (&mut methods.basic, has_secret, ADD_SECRET),
            ClientAuthentication::Post => (&mut methods.post, has_secret, ADD_SECRET),
            ClientAuthentication::Key => (&mut methods.key, has_key, ADD_KEY),
            ClientAuthentication::Tls => (&mut methods.tls, has_certificate, ADD_NAME),
        };
        *way = true;
        if !has_means && !disabled {
            let reason = "the client has nothing to prove itself with in this way";
            desk.report.error(method.place, reason, mend);
        }
    }
    if has_secret && !methods.basic && !methods.post {
        desk.report.warn(
            listed.place,
            "the client has a secret and may not use it",
            "remove the secret, or add client_secret_basic",
        );
    }
    if has_key && !methods.key {
        desk.report.warn(
            listed.place,
            "the client has a key and may not use it",
            "remove the key, or add private_key_jwt",
        );
    }
    if has_certificate && !methods.tls {
        desk.report.warn(
            listed.place,
            "the client's certificate is named and may not be used",
            "remove the name, or add tls_client_auth",
        );
    }
    Some(methods)
}

const fn is_shared(algorithm: Algorithm) -> bool {
    matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512)
}

const ADD_SECRET: &str = "add a secret (`tollgate secret`), or remove this entry";
const ADD_KEY: &str = "add public_key_file and algorithm, or jwks_file, or remove this entry";
const ADD_NAME: &str =
    "add tls_client_subject, tls_client_san_dns or tls_client_san_uri, or remove this entry";
/// The keys that say what a client's certificate is known by.
pub(super) const CERTIFICATE_NAMES: [&str; 3] =
    ["tls_client_subject", "tls_client_san_dns", "tls_client_san_uri"];
/// Some keys, with room for certificates beside them.
const MOST_SET_BYTES: u64 = MOST_KEY_BYTES * 4;
