//! `[token]`: the keys are read, judged and put on one ring.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use jsonwebtoken::Algorithm;

use super::secrets::{Found, Search, Written, choose, find, placeholder};
use super::{Desk, endpoints};
use crate::config::excerpt::printable;
use crate::config::raw;
use crate::config::settings::{Token, TokenFormat};
use crate::config::shape::At;
use crate::config::value::{self, FilePath, Text, algorithm_name};
use crate::keys::{KeyError, KeyRing, SigningKey, VerifyingKey};
use crate::secret::Secret;

/// `[token]`.
pub(super) fn token(raw: &raw::Token, desk: &mut Desk<'_>) -> Option<Token> {
    required(raw, desk);
    let path = raw.path.as_ref().and_then(|path| endpoints::path("path", path, desk));
    let url = endpoints::url_of(raw, path.as_deref());
    let endpoints = endpoints::endpoints(raw, path.as_deref(), desk);
    let signing = signing_key(raw, desk);
    let extra: Vec<&At<raw::ExtraKey>> = [&raw.previous_keys, &raw.next_keys]
        .into_iter()
        .flatten()
        .flat_map(|keys| &keys.value)
        .collect();
    if extra.len() > MOST_KEYS {
        let reason = format!("there are {} previous and next keys", extra.len());
        desk.report.error(
            raw.place,
            reason,
            format!("keep at most {MOST_KEYS}: each may be tried"),
        );
    }
    let verifying: Vec<Option<VerifyingKey>> =
        extra.iter().map(|extra| extra_key(&extra.value, desk)).collect();
    let types = raw.types.as_ref()?;
    if types.value.is_empty() {
        desk.report.error(
            types.place,
            "`types` is empty: no token would be accepted",
            "leave it out",
        );
    }
    let claims = raw.scope_claims.as_ref()?;
    let verifying: Vec<VerifyingKey> = verifying.into_iter().collect::<Option<_>>()?;
    let keys = ring(signing?, &extra, verifying, desk)?;
    Some(Token {
        path: path?,
        issuer: raw.issuer.as_ref()?.value.0.clone(),
        audience: texts(&raw.audience.as_ref()?.value.0),
        expires_in: raw.expires_in.as_ref()?.value.0,
        keys: Arc::new(keys),
        types: types.value.iter().map(|typ| token_type(&typ.value.0)).collect(),
        leeway: raw.leeway.as_ref()?.value.0,
        scope_claims: texts(&claims.value),
        format: format(raw.format.as_ref()?.value),
        url,
        endpoints: endpoints?,
    })
}

/// The texts without their places.
pub(super) fn texts(items: &[At<Text>]) -> Vec<String> {
    items.iter().map(|item| item.value.0.clone()).collect()
}

/// The same word in the file and in the program.
pub(super) const fn format(format: value::TokenFormat) -> TokenFormat {
    match format {
        value::TokenFormat::Jwt => TokenFormat::Jwt,
        value::TokenFormat::Opaque => TokenFormat::Opaque,
    }
}

fn required(raw: &raw::Token, desk: &mut Desk<'_>) {
    if !raw.given.has("issuer") {
        let mend = "add issuer = \"https://gateway.example.com\": the URL under which clients know the gateway";
        desk.report.error(raw.place, "[token] has no `issuer`", mend);
    }
    if !raw.given.has("audience") {
        let mend = "add audience = \"https://api.example.com\": the API that the tokens are for";
        desk.report.error(raw.place, "[token] has no `audience`", mend);
    }
}

/// As it is compared: in lower case and without `application/` (RFC 7515 §4.1.9); empty is absent.
pub(super) fn token_type(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let short = lower.strip_prefix("application/").unwrap_or(&lower);
    (!short.is_empty()).then(|| short.to_owned())
}

fn signing_key(raw: &raw::Token, desk: &mut Desk<'_>) -> Option<SigningKey> {
    let key = raw.key.as_ref().map(|key| ("key", Written::Here(key)));
    let file = raw.key_file.as_ref().map(|file| ("key_file", Written::File(file)));
    let chosen = choose(key.into_iter().chain(file).collect(), desk);
    let algorithm = raw.algorithm.as_ref().map(|algorithm| algorithm.value.0);
    let found = match find(chosen, MOST_KEY_BYTES, desk) {
        Search::Found(found) => found,
        Search::Faulty => return None,
        Search::Absent => {
            if !raw.given.has("key") && !raw.given.has("key_file") {
                let name = algorithm.map_or("HS256", algorithm_name);
                let mend = format!(
                    "make one with `tollgate key --algorithm {name}`, then set key_file, or TOLLGATE_TOKEN__KEY"
                );
                desk.report.error(raw.place, "[token] has no signing key", mend);
            }
            return None;
        }
    };
    let key_id = raw.key_id.as_ref().map(|id| id.value.0.clone());
    if found.bytes.same_bytes(super::super::SAMPLE_KEY.as_bytes()) {
        desk.report.warn(
            found.place,
            "the signing key is the one of the sample file, which everybody has",
            "make your own: `tollgate key`",
        );
    }
    no_placeholder(&found, desk)?;
    let algorithm = algorithm?;
    let key = match material(algorithm, &found, desk)? {
        Material::Shared(bytes) => SigningKey::from_secret(algorithm, bytes, key_id),
        Material::Pem(pem) => SigningKey::from_pem(algorithm, pem.expose(), key_id),
    };
    judged(key, algorithm, &found, desk)
}

fn extra_key(raw: &raw::ExtraKey, desk: &mut Desk<'_>) -> Option<VerifyingKey> {
    let file =
        |key: &'static str, path: &'_ Option<At<FilePath>>| path.clone().map(|path| (key, path));
    let key_file = file("key_file", &raw.key_file);
    let public_file = file("public_key_file", &raw.public_key_file);
    let here = raw.key.as_ref().map(|key| ("key", Written::Here(key)));
    let files = [&key_file, &public_file].into_iter().flatten();
    let files = files.map(|(key, path)| (*key, Written::File(path)));
    let chosen = choose(here.into_iter().chain(files).collect(), desk);
    if !raw.given.has("algorithm") {
        let reason = "this key has no `algorithm`";
        desk.report.error(
            raw.place,
            reason,
            "add the one that it was made for, as algorithm = \"HS256\"",
        );
    }
    let found = match find(chosen, MOST_KEY_BYTES, desk) {
        Search::Found(found) => found,
        Search::Faulty => return None,
        Search::Absent => {
            if !["key", "key_file", "public_key_file"].into_iter().any(|key| raw.given.has(key)) {
                let reason = "this key has none of `key`, `key_file` and `public_key_file`";
                desk.report.error(raw.place, reason, "add one of them");
            }
            return None;
        }
    };
    no_placeholder(&found, desk)?;
    let algorithm = raw.algorithm.as_ref()?.value.0;
    let key_id = raw.key_id.as_ref().map(|id| id.value.0.clone());
    let key = match material(algorithm, &found, desk)? {
        Material::Shared(bytes) => VerifyingKey::from_secret(algorithm, bytes, key_id),
        Material::Pem(pem) => VerifyingKey::from_pem(algorithm, pem.expose(), key_id),
    };
    judged(key, algorithm, &found, desk)
}

/// Whether the text of a key is not one that everybody knows.
pub(super) fn no_placeholder(found: &Found, desk: &mut Desk<'_>) -> Option<()> {
    let why = std::str::from_utf8(found.bytes.expose()).ok().and_then(placeholder);
    let Some(why) = why else { return Some(()) };
    desk.report.error(
        found.place,
        format!("`{}` {why}", found.key),
        "make a real one: `tollgate key`",
    );
    None
}

/// What a key is made of.
pub(super) enum Material {
    /// The bytes of an HMAC key.
    Shared(Secret<Vec<u8>>),
    Pem(Secret<Vec<u8>>),
}

/// The material that an algorithm takes; the other kind is a fault (RFC 8725 §3.5: keys and algorithms are not mixed).
pub(super) fn material(
    algorithm: Algorithm,
    found: &Found,
    desk: &mut Desk<'_>,
) -> Option<Material> {
    let name = algorithm_name(algorithm);
    let is_shared = matches!(algorithm, Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512);
    let text = std::str::from_utf8(found.bytes.expose());
    let is_pem = text.is_ok_and(|text| text.contains("-----BEGIN "));
    let key = &found.key;
    if is_pem == is_shared || is_shared && key == "public_key_file" {
        let (reason, mend) = if is_shared {
            (
                format!("`{key}` holds a PEM, and {name} takes a shared secret"),
                "set `algorithm` to the one of the key pair, such as ES256",
            )
        } else {
            (
                format!("`{key}` holds no PEM, and {name} needs a key pair"),
                "make one with `tollgate key --algorithm ES256`, or set `algorithm` to HS256",
            )
        };
        desk.report.error(found.place, reason, mend);
        return None;
    }
    if is_pem {
        return Some(Material::Pem(found.bytes.clone()));
    }
    // A file may hold the bytes themselves.
    let Ok(text) = text else { return Some(Material::Shared(found.bytes.clone())) };
    let bytes = match decoded(text) {
        Ok(bytes) => bytes,
        Err(kind) => {
            let reason = format!("`{key}` is not the {kind} that it says it is");
            desk.report.error(
                found.place,
                reason,
                format!("correct it, or make a new one: `tollgate key --algorithm {name}`"),
            );
            return None;
        }
    };
    let all = bytes.expose();
    if all.first().is_some_and(|first| all.iter().all(|byte| byte == first)) {
        let mend = format!("make a real one: `tollgate key --algorithm {name}`");
        desk.report.error(found.place, format!("`{key}` is one byte again and again"), mend);
        return None;
    }
    Some(Material::Shared(bytes))
}

/// `base64:…`, `hex:…`, or the text itself; the error names the encoding.
fn decoded(text: &str) -> Result<Secret<Vec<u8>>, &'static str> {
    if let Some(encoded) = text.strip_prefix("base64:") {
        return base64(encoded.trim()).map(Secret::new).ok_or("base64");
    }
    if let Some(encoded) = text.strip_prefix("hex:") {
        return hex(encoded.trim()).map(Secret::new).ok_or("hex");
    }
    Ok(Secret::new(text.as_bytes().to_vec()))
}

/// Either alphabet, with or without padding.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    STANDARD_NO_PAD.decode(text).or_else(|_| URL_SAFE_NO_PAD.decode(text)).ok()
}

/// Two digits a byte, of either case.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || text.len() % 2 == 1 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

pub(super) fn judged<K>(
    key: Result<K, KeyError>,
    algorithm: Algorithm,
    found: &Found,
    desk: &mut Desk<'_>,
) -> Option<K> {
    if let Err(error) = &key {
        let reason = format!("`{}` cannot be used: {error}", found.key);
        let mend =
            format!("make a new one: `tollgate key --algorithm {}`", algorithm_name(algorithm));
        desk.report.error(found.place, reason, mend);
    }
    key.ok()
}

/// A token names its key by `kid` and algorithm, so no two keys may share both.
fn ring(
    signing: SigningKey,
    extra: &[&At<raw::ExtraKey>],
    verifying: Vec<VerifyingKey>,
    desk: &mut Desk<'_>,
) -> Option<KeyRing> {
    let mut taken = vec![(signing.verifying().key_id(), signing.verifying().algorithm())];
    for (written, key) in extra.iter().zip(&verifying) {
        let name = (key.key_id(), key.algorithm());
        if taken.contains(&name) {
            let place = written.value.key_id.as_ref().map_or(written.place, |id| id.place);
            let algorithm = algorithm_name(key.algorithm());
            let reason = match key.key_id() {
                Some(id) => format!("two {algorithm} keys have the `kid` {}", printable(id)),
                None => format!(
                    "two {algorithm} keys have no `key_id`: a token cannot say which one signed it"
                ),
            };
            desk.report.error(
                place,
                reason,
                "give each key a `key_id` of its own, and each key once",
            );
        }
        taken.push(name);
    }
    drop(taken);
    KeyRing::new(signing, verifying).ok()
}

/// A PEM of an RSA key of 16384 bits has some 13 KiB.
pub(super) const MOST_KEY_BYTES: u64 = 64 << 10;
/// Keys in a rotation; a token without a `kid` may be tried with each.
const MOST_KEYS: usize = 16;
