//! `[[issuers]]`: whose tokens are believed, where their keys come from, and that no token has two judges.

use std::collections::HashMap;
use std::sync::Arc;

use jsonwebtoken::{Algorithm, AlgorithmFamily};

use super::Desk;
use super::secrets::{Found, Search, Written, choose, find, read_file};
use super::token::{MOST_KEY_BYTES, Material, judged, material, no_placeholder, texts, token_type};
use crate::condition::{Condition, Word};
use crate::config::endpoint::Endpoint;
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{Introspection, Issuer, KeySource};
use crate::config::shape::At;
use crate::config::value::{ClientAuth, FilePath, Hidden, Introspected, Text, algorithm_name};
use crate::identity::OWN_ISSUER;
use crate::keys::{KeyError, KeySet, VerifyingKey};
use crate::reference::PREFIX;
use crate::secret::Secret;

/// `[[issuers]]`.
pub(super) fn issuers(
    raw: &[At<raw::Issuer>],
    token: Option<&At<raw::Token>>,
    desk: &mut Desk<'_>,
) -> Option<Vec<Issuer>> {
    if let Some(first) = raw.get(MOST_ISSUERS) {
        let reason = format!("there are more than {MOST_ISSUERS} issuers");
        desk.report.error(first.place, reason, "believe fewer");
    }
    names(raw, desk);
    identifiers(raw, token, desk);
    reference_tokens(raw, token.is_some(), desk);
    let issuers: Vec<Option<Issuer>> =
        raw.iter().map(|written| issuer(&written.value, desk)).collect();
    issuers.into_iter().collect()
}

/// Each name once, and none that means us.
fn names(raw: &[At<raw::Issuer>], desk: &mut Desk<'_>) {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    for written in raw {
        let Some(name) = &written.value.name else { continue };
        let text = name.value.0.as_str();
        if text == OWN_ISSUER {
            let reason = format!("the name `{OWN_ISSUER}` is the one of the gateway's own tokens");
            desk.report.error(name.place, reason, "give the issuer another name");
        }
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if text.len() > LONGEST_NAME || !text.bytes().all(is_plain) {
            let mend = format!("use at most {LONGEST_NAME} letters, digits and - _ .");
            desk.report.error(name.place, format!("`{}` is no plain name", printable(text)), mend);
        }
        if let Some(first) = seen.insert(text, name.place) {
            let reason =
                format!("two issuers have the name `{}`; the other one at", printable(text));
            desk.report.clash(name.place, first, reason, "give each issuer a name of its own");
        }
    }
}

/// A JWT names its judge by `iss`, so that must say which one.
fn identifiers(raw: &[At<raw::Issuer>], token: Option<&At<raw::Token>>, desk: &mut Desk<'_>) {
    let own = token.and_then(|token| token.value.issuer.as_ref());
    let mut seen: HashMap<&str, (Place, bool)> = HashMap::new();
    for written in raw {
        let Some(issuer) = &written.value.issuer else { continue };
        let text = issuer.value.0.as_str();
        if let Some(own) = own.filter(|own| own.value.0 == text) {
            let reason = "this `issuer` is the one of [token]: the gateway judges its own tokens; it stands at";
            desk.report.clash(
                issuer.place,
                own.place,
                reason,
                "remove this issuer, or give it its own",
            );
        }
        let has_when = written.value.given.has("when");
        if let Some((first, first_has_when)) = seen.insert(text, (issuer.place, has_when))
            && !(has_when && first_has_when)
        {
            let reason = "two issuers have the same `issuer`, so either could judge its tokens; the other one at";
            let mend = "give both a `when`, or make one of the two";
            desk.report.clash(issuer.place, first, reason, mend);
        }
    }
}

/// A reference token goes by its prefix, by a `when`, or to the one issuer that is left.
fn reference_tokens(raw: &[At<raw::Issuer>], has_own: bool, desk: &mut Desk<'_>) {
    let asked: Vec<&raw::Issuer> = raw
        .iter()
        .map(|written| &written.value)
        .filter(|issuer| issuer.given.has("introspection"))
        .collect();
    let mut rest: Option<Place> = None;
    for (number, issuer) in asked.iter().enumerate() {
        let has_when = issuer.given.has("when");
        if let Some(prefix) = &issuer.token_prefix {
            let text = prefix.value.0.as_str();
            if has_own && (text.starts_with(PREFIX) || PREFIX.starts_with(text)) {
                let reason = format!(
                    "a token could bear both this prefix and `{PREFIX}`, which our own reference tokens bear"
                );
                desk.report.error(
                    prefix.place,
                    reason,
                    "choose a prefix that is not the gateway's own",
                );
            }
            for other in &asked[..number] {
                let Some(first) = &other.token_prefix else { continue };
                let (one, two) = (prefix.value.0.as_str(), first.value.0.as_str());
                let both_ask = has_when && other.given.has("when");
                if (one.starts_with(two) || two.starts_with(one)) && !both_ask {
                    let reason =
                        "a token could bear both this prefix and another issuer's, which stands at";
                    let mend = "choose prefixes of which none begins with the other, or give both issuers a `when`";
                    desk.report.clash(prefix.place, first.place, reason, mend);
                }
            }
        } else if !has_when && !issuer.given.has("token_prefix") {
            let place = issuer.introspection.as_ref().map_or(issuer.place, |table| table.place);
            if let Some(first) = rest.replace(place) {
                let reason =
                    "two issuers could be asked about the same reference token; the other one at";
                let mend = "give one of them a `token_prefix` or a `when`";
                desk.report.clash(place, first, reason, mend);
            }
        }
    }
}

fn issuer(raw: &raw::Issuer, desk: &mut Desk<'_>) -> Option<Issuer> {
    for (key, mend) in [
        ("name", "add name = \"corp\": what the log and the routes call it"),
        ("issuer", "add issuer = \"https://idp.example.com\": the `iss` of its tokens"),
    ] {
        if !raw.given.has(key) {
            desk.report.error(raw.place, format!("this issuer has no `{key}`"), mend);
        }
    }
    let allow_http = raw.allow_http.as_ref().is_some_and(|allow| allow.value);
    let introspection = match &raw.introspection {
        Some(table) => Some(introspection(&table.value, allow_http, desk)),
        None if raw.given.has("introspection") => Some(None),
        None => None,
    };
    let algorithms = algorithms(raw, desk);
    let keys = keys(raw, algorithms.as_deref(), allow_http, desk);
    let asks_only = raw.introspection.as_ref().is_some_and(|table| {
        let for_all =
            table.value.r#for.as_ref().is_some_and(|which| which.value == Introspected::All);
        for_all || matches!(keys, Some(KeySource::None))
    });
    audiences(raw, asks_only, desk);
    empty_lists(raw, desk);
    let prefix = token_prefix(raw, desk);
    let when = when(raw, desk);
    let discovery = discovery(raw, keys.as_ref(), allow_http, desk);
    Some(Issuer {
        name: raw.name.as_ref()?.value.0.clone(),
        issuer: raw.issuer.as_ref()?.value.0.clone(),
        audiences: raw.audiences.as_ref().map(|list| texts(&list.value.0)).unwrap_or_default(),
        algorithms: algorithms?,
        types: raw.types.as_ref()?.value.iter().map(|typ| token_type(&typ.value.0)).collect(),
        leeway: raw.leeway.as_ref()?.value.0,
        scope_claims: texts(&raw.scope_claims.as_ref()?.value),
        keys: keys?,
        discovery: discovery?,
        introspection: match introspection {
            Some(introspection) => Some(introspection?),
            None => None,
        },
        token_prefix: prefix?,
        when: when?,
        allow_http,
    })
}

fn audiences(raw: &raw::Issuer, asks_only: bool, desk: &mut Desk<'_>) {
    if !raw.given.has("audiences") && !asks_only {
        let mend = "add audiences = [\"https://api.example.com\"]: without it, tokens for others would be good here";
        desk.report.error(raw.place, "this issuer has no `audiences`", mend);
    }
}

fn empty_lists(raw: &raw::Issuer, desk: &mut Desk<'_>) {
    if let Some(types) = raw.types.as_ref().filter(|types| types.value.is_empty()) {
        let reason = "`types` is empty: no token would be accepted";
        desk.report.error(types.place, reason, "leave it out");
    }
}

/// Those that are written, else what the keys allow.
fn algorithms(raw: &raw::Issuer, desk: &mut Desk<'_>) -> Option<Vec<Algorithm>> {
    let shared = raw.given.has("key") || raw.given.has("key_file");
    let Some(written) = &raw.algorithms else {
        let default = if shared { SHARED.as_slice() } else { ASYMMETRIC.as_slice() };
        return (!raw.given.has("algorithms")).then(|| default.to_vec());
    };
    if written.value.is_empty() {
        let reason = "`algorithms` is empty: no token would be accepted";
        desk.report.error(written.place, reason, "leave it out");
        return None;
    }
    let mut good = true;
    for algorithm in &written.value {
        let name = algorithm_name(algorithm.value.0);
        let is_shared = algorithm.value.0.family() == AlgorithmFamily::Hmac;
        if is_shared == shared {
            continue;
        }
        good = false;
        let (reason, mend) = if is_shared {
            let reason = format!("{name} needs a shared `key`, and this issuer has none");
            (
                reason,
                "add key_file, or leave the algorithm out: a public key must never be used as a secret",
            )
        } else {
            (
                format!("{name} does not go with a shared `key`"),
                "name HS256, HS384 or HS512, or give its public keys instead",
            )
        };
        desk.report.error(algorithm.place, reason, mend);
    }
    if shared && good && written.value.len() > 1 {
        let reason = "a shared `key` is for one algorithm";
        desk.report.error(written.place, reason, "name the one that the issuer signs with");
        return None;
    }
    good.then(|| written.value.iter().map(|algorithm| algorithm.value.0).collect())
}

/// The one source of its keys.
fn keys(
    raw: &raw::Issuer,
    algorithms: Option<&[Algorithm]>,
    allow_http: bool,
    desk: &mut Desk<'_>,
) -> Option<KeySource> {
    let file = |key, at: &Option<At<FilePath>>| at.clone().map(|at| (key, Source::File(at)));
    let sources = [
        raw.jwks_url.as_ref().map(|url| ("jwks_url", Source::Url(url))),
        file("jwks_file", &raw.jwks_file),
        file("public_key_file", &raw.public_key_file),
        raw.key.as_ref().map(|key| ("key", Source::Here(key))),
        file("key_file", &raw.key_file),
    ];
    let sources: Vec<(&str, Source<'_>)> = sources.into_iter().flatten().collect();
    let secret = |key: &str| matches!(key, "key" | "key_file");
    if let [(first, one), .., (last, other)] = sources.as_slice()
        && !(secret(first) && secret(last))
    {
        let reason =
            format!("`{last}` and `{first}` are two sources of keys; the latter stands at");
        desk.report.clash(other.place(), one.place(), reason, "keep one of them");
        return None;
    }
    match sources.first() {
        None if SOURCES.into_iter().any(|key| raw.given.has(key)) => None,
        None if introspection_url_given(raw) => Some(KeySource::None),
        None => Some(KeySource::Discovered),
        Some(("jwks_url", Source::Url(url))) => {
            endpoint("jwks_url", url, allow_http, desk).map(KeySource::Url)
        }
        Some(("jwks_file", Source::File(path))) => {
            key_set(path, algorithms?, desk).map(KeySource::Fixed)
        }
        Some(("public_key_file", Source::File(path))) => {
            public_key(path, algorithms?, desk).map(KeySource::Fixed)
        }
        Some(_) => shared_key(raw, algorithms?, desk).map(KeySource::Fixed),
    }
}

enum Source<'r> {
    Url(&'r At<Text>),
    Here(&'r At<Hidden>),
    File(At<FilePath>),
}

impl Source<'_> {
    const fn place(&self) -> Place {
        match self {
            Self::Url(at) => at.place,
            Self::Here(at) => at.place,
            Self::File(at) => at.place,
        }
    }
}

fn introspection_url_given(raw: &raw::Issuer) -> bool {
    raw.introspection.as_ref().is_some_and(|table| table.value.given.has("url"))
}

fn key_set(
    path: &At<FilePath>,
    algorithms: &[Algorithm],
    desk: &mut Desk<'_>,
) -> Option<Arc<KeySet>> {
    let text = read_file(&path.value.0, path.place, "jwks_file", MOST_SET_BYTES, desk)?;
    match KeySet::read(text.expose(), algorithms) {
        Ok(set) if !set.keys().is_empty() => Some(Arc::new(set)),
        Ok(_) => {
            let reason = "`jwks_file` holds no key that can be used";
            let mend = "it needs public RSA (2048 to 4096 bits), P-256, P-384 or Ed25519 keys for signatures, of one of the `algorithms`";
            desk.report.error(path.place, reason, mend);
            None
        }
        Err(fault) => {
            let reason = format!("`jwks_file` holds no JSON Web Key Set: {fault}");
            desk.report.error(path.place, reason, "write {\"keys\": […]} as in RFC 7517");
            None
        }
    }
}

/// A PEM names no algorithm: it is used with the first one that fits.
fn public_key(
    path: &At<FilePath>,
    algorithms: &[Algorithm],
    desk: &mut Desk<'_>,
) -> Option<Arc<KeySet>> {
    let pem = read_file(&path.value.0, path.place, "public_key_file", MOST_KEY_BYTES, desk)?;
    let mut outcome = Err(KeyError::NoKey);
    for algorithm in algorithms {
        outcome = VerifyingKey::from_pem(*algorithm, pem.expose(), None);
        if !matches!(outcome, Err(KeyError::WrongKind { .. })) {
            break;
        }
    }
    match outcome {
        Ok(key) => Some(Arc::new(KeySet::of_one(key.named(None)))),
        Err(fault) => {
            let reason = format!("`public_key_file` cannot be used: {fault}");
            desk.report.error(path.place, reason, "give the issuer's public key in PEM");
            None
        }
    }
}

fn shared_key(
    raw: &raw::Issuer,
    algorithms: &[Algorithm],
    desk: &mut Desk<'_>,
) -> Option<Arc<KeySet>> {
    let here = raw.key.as_ref().map(|key| ("key", Written::Here(key)));
    let file = raw.key_file.as_ref().map(|file| ("key_file", Written::File(file)));
    let chosen = choose(here.into_iter().chain(file).collect(), desk);
    let Search::Found(found) = find(chosen, MOST_KEY_BYTES, desk) else { return None };
    no_placeholder(&found, desk)?;
    let algorithm = *algorithms.first()?;
    let key = match material(algorithm, &found, desk)? {
        Material::Shared(bytes) => VerifyingKey::from_secret(algorithm, bytes, None),
        Material::Pem(pem) => VerifyingKey::from_pem(algorithm, pem.expose(), None),
    };
    Some(Arc::new(KeySet::of_one(judged(key, algorithm, &found, desk)?)))
}

/// A URL that may be asked.
fn endpoint(key: &str, url: &At<Text>, allow_http: bool, desk: &mut Desk<'_>) -> Option<Endpoint> {
    match Endpoint::parse(&url.value.0) {
        Ok(endpoint) if endpoint.is_private(allow_http) => {
            if !endpoint.is_private(false) {
                warn_of_http(key, url.place, desk);
            }
            Some(endpoint)
        }
        Ok(_) => {
            let reason = format!(
                "`{key}` is plain http to another machine: whoever is between could answer"
            );
            desk.report.error(url.place, reason, HTTPS);
            None
        }
        Err(fault) => {
            desk.report.error(url.place, format!("`{key}` {}", fault.reason), fault.mend);
            None
        }
    }
}

fn warn_of_http(key: &str, place: Place, desk: &mut Desk<'_>) {
    let reason = format!("`{key}` is asked in clear: whoever is between can answer in its place");
    desk.report.warn(place, reason, "use https as soon as the issuer has it");
}

/// Where to look for what is not written.
fn discovery(
    raw: &raw::Issuer,
    keys: Option<&KeySource>,
    allow_http: bool,
    desk: &mut Desk<'_>,
) -> Option<Vec<Endpoint>> {
    let needs_endpoint = raw.given.has("introspection") && !introspection_url_given(raw);
    if !matches!(keys, Some(KeySource::Discovered)) && !needs_endpoint {
        return Some(Vec::new());
    }
    let issuer = raw.issuer.as_ref()?;
    match Endpoint::discovery(&issuer.value.0) {
        Ok(places) if places.iter().all(|place| place.is_private(allow_http)) => {
            if !places.iter().all(|place| place.is_private(false)) {
                warn_of_http("issuer", issuer.place, desk);
            }
            Some(places)
        }
        Ok(_) => {
            let reason =
                "`issuer` is plain http to another machine, and its keys would be looked for there";
            desk.report.error(issuer.place, reason, HTTPS);
            None
        }
        Err(fault) => {
            let reason = format!("`issuer` {}, so nothing can be discovered from it", fault.reason);
            let mend = "give its keys with jwks_url, jwks_file, key_file or public_key_file (and introspection its url)";
            desk.report.error(issuer.place, reason, mend);
            None
        }
    }
}

fn introspection(
    raw: &raw::Introspection,
    allow_http: bool,
    desk: &mut Desk<'_>,
) -> Option<Introspection> {
    let has_secret = raw.given.has("client_secret") || raw.given.has("client_secret_file");
    for (missing, key, mend) in [
        (
            !raw.given.has("client_id"),
            "client_id",
            "add client_id = \"…\": as whom the gateway asks",
        ),
        (
            !has_secret,
            "client_secret",
            "add client_secret_file: an issuer tells about tokens only to those it knows",
        ),
    ] {
        if missing {
            desk.report.error(raw.place, format!("`introspection` has no `{key}`"), mend);
        }
    }
    let here = raw.client_secret.as_ref().map(|key| ("client_secret", Written::Here(key)));
    let file =
        raw.client_secret_file.as_ref().map(|file| ("client_secret_file", Written::File(file)));
    let chosen = choose(here.into_iter().chain(file).collect(), desk);
    let secret = match find(chosen, MOST_SECRET_BYTES, desk) {
        Search::Found(found) => client_secret(&found, desk),
        Search::Faulty | Search::Absent => None,
    };
    let url = match &raw.url {
        Some(url) => Some(endpoint("url", url, allow_http, desk)?),
        None if raw.given.has("url") => return None,
        None => None,
    };
    Some(Introspection {
        url,
        client_id: raw.client_id.as_ref()?.value.0.clone(),
        client_secret: secret?,
        in_body: raw.auth.as_ref()?.value == ClientAuth::Post,
        cache: raw.cache.as_ref()?.value.0,
        for_all: raw.r#for.as_ref()?.value == Introspected::All,
    })
}

fn client_secret(found: &Found, desk: &mut Desk<'_>) -> Option<Secret<String>> {
    let text = std::str::from_utf8(found.bytes.expose()).ok();
    let text = text.filter(|text| !text.chars().any(char::is_control));
    if text.is_none() {
        let reason = format!("`{}` is not text on one line", found.key);
        desk.report.error(found.place, reason, "give the secret as the issuer knows it");
    }
    text.map(|text| Secret::new(text.to_owned()))
}

#[allow(clippy::option_option)] // faulty, absent, there
fn token_prefix(raw: &raw::Issuer, desk: &mut Desk<'_>) -> Option<Option<String>> {
    let Some(prefix) = &raw.token_prefix else {
        return (!raw.given.has("token_prefix")).then_some(None);
    };
    let text = prefix.value.0.as_str();
    let is_of_a_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if text.len() > LONGEST_PREFIX || !text.bytes().all(is_of_a_token) {
        let mend = format!("use at most {LONGEST_PREFIX} letters, digits and - . _ ~ + /");
        desk.report.error(prefix.place, "no token can begin with this `token_prefix`", mend);
        return None;
    }
    if !raw.given.has("introspection") {
        let reason =
            "`token_prefix` is of reference tokens, and this issuer cannot be asked about them";
        desk.report.error(
            prefix.place,
            reason,
            "add introspection, or remove it: JWTs come here by their `iss`",
        );
        return None;
    }
    Some(Some(text.to_owned()))
}

#[allow(clippy::option_option)] // faulty, absent, there
fn when(raw: &raw::Issuer, desk: &mut Desk<'_>) -> Option<Option<Condition>> {
    let Some(when) = &raw.when else { return (!raw.given.has("when")).then_some(None) };
    match Condition::compile(&when.value.0, &WORDS) {
        Ok(condition) => Some(Some(condition)),
        Err(fault) => {
            desk.report.error(when.place, format!("`when`: {}", fault.reason), fault.mend);
            None
        }
    }
}

/// What a `when` may speak of.
const WORDS: [Word; 2] = [
    Word { name: "request", fields: &["method", "host", "path", "headers"] },
    Word { name: "token", fields: &["prefix", "parts"] },
];

const SOURCES: [&str; 5] = ["jwks_url", "jwks_file", "key", "key_file", "public_key_file"];
const HTTPS: &str = "write https://, or set allow_http = true if the network between is yours";

/// With a shared key and nothing said.
const SHARED: [Algorithm; 1] = [Algorithm::HS256];
/// With nothing said. A key that does not name its algorithm takes the first that fits.
const ASYMMETRIC: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
    Algorithm::PS256,
    Algorithm::ES384,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS384,
    Algorithm::PS512,
];

/// Each has a task of its own, and may have a `when` that is asked in turn.
const MOST_ISSUERS: usize = 256;
/// It stands in log lines.
const LONGEST_NAME: usize = 64;
const LONGEST_PREFIX: usize = 64;
/// What is taken over the network, too.
const MOST_SET_BYTES: u64 = 1 << 20;
const MOST_SECRET_BYTES: u64 = 8 << 10;
