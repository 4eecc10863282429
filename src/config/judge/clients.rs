//! `[[clients]]`: who may ask for tokens, and how each proves itself. Plain secrets end here: only digests go on.

use std::collections::HashMap;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Params, Version};
use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Map, Value as Json};

use super::secrets::{Found, Search, Written, choose, find, placeholder};
use super::token::{self, base64, hex, texts};
use super::{Desk, client_keys};
use crate::config::excerpt::printable;
use crate::config::node::Place;
use crate::config::raw;
use crate::config::settings::{Client, ClientSecret, SecretKind};
use crate::config::shape::{At, Given};
use crate::config::value::{Anything, Entries, FilePath, Hidden, Moment, Text, json_of};
use crate::identity::{Scopes, is_scope_token};
use crate::secret::Secret;

/// `[[clients]]`.
pub(super) fn clients(raw: &[At<raw::Client>], desk: &mut Desk<'_>) -> Option<Vec<Client>> {
    let mut seen: HashMap<&str, Place> = HashMap::new();
    let mut clients = Vec::with_capacity(raw.len());
    for (number, written) in raw.iter().enumerate() {
        if let Some(id) = &written.value.id
            && let Some(first) = seen.insert(&id.value.0, id.place)
        {
            let reason =
                format!("two clients have the id `{}`; the other one at", printable(&id.value.0));
            desk.report.clash(id.place, first, reason, "give each client an id of its own");
        }
        clients.push(client(number, &written.value, desk));
    }
    clients.into_iter().collect()
}

fn client(number: usize, raw: &raw::Client, desk: &mut Desk<'_>) -> Option<Client> {
    if !raw.given.has("id") {
        desk.report.error(raw.place, "this client has no `id`", "add id = \"its client_id\"");
    }
    let id = raw.id.as_ref().and_then(|id| client_id(id, desk));
    let keys = client_keys::keys(raw, desk);
    let secrets = secrets(number, raw, desk);
    let certificate = client_keys::certificate(raw, desk);
    let methods = client_keys::methods(raw, desk);
    let scopes = raw.scopes.as_ref().and_then(|scopes| self::scopes(&scopes.value, desk));
    let claims = raw.claims.as_ref().and_then(|claims| self::claims(&claims.value, desk));
    Some(Client {
        id: id?,
        secrets: secrets?,
        keys: keys?,
        certificate: certificate?,
        methods: methods?,
        scopes: scopes?,
        audience: raw.audience.as_ref().map(|audience| texts(&audience.value.0)),
        expires_in: raw.expires_in.as_ref().map(|expires_in| expires_in.value.0),
        format: raw.format.as_ref().map(|format| token::format(format.value)),
        claims: claims?,
        disabled: raw.disabled.as_ref()?.value,
    })
}

/// Visible ASCII and spaces (RFC 6749 appendix A.1).
fn client_id(id: &At<Text>, desk: &mut Desk<'_>) -> Option<String> {
    let text = &id.value.0;
    let good = text.len() <= LONGEST_ID && text.bytes().all(|byte| matches!(byte, 0x20..=0x7e));
    if !good {
        let mend = format!("use at most {LONGEST_ID} letters, digits and signs of ASCII");
        desk.report.error(id.place, "this `id` cannot be sent as a client_id", mend);
    }
    good.then(|| text.clone())
}

/// The keys of a table that may hold one secret.
struct Holders<'r> {
    secret: &'r Option<At<Hidden>>,
    secret_file: &'r Option<At<FilePath>>,
    hash: &'r Option<At<Hidden>>,
    hash_file: &'r Option<At<FilePath>>,
    given: &'r Given,
}

impl<'r> Holders<'r> {
    fn written(&self) -> Vec<(&'static str, Written<'r>)> {
        let here = |key, at: &'r Option<At<Hidden>>| at.as_ref().map(|at| (key, Written::Here(at)));
        let file =
            |key, at: &'r Option<At<FilePath>>| at.as_ref().map(|at| (key, Written::File(at)));
        [
            here("secret", self.secret),
            file("secret_file", self.secret_file),
            here("secret_hash", self.hash),
            file("secret_hash_file", self.hash_file),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn any_given(&self) -> bool {
        HOLDERS.into_iter().any(|key| self.given.has(key))
    }
}

fn secrets(number: usize, raw: &raw::Client, desk: &mut Desk<'_>) -> Option<Vec<ClientSecret>> {
    let single = Holders {
        secret: &raw.secret,
        secret_file: &raw.secret_file,
        hash: &raw.secret_hash,
        hash_file: &raw.secret_hash_file,
        given: &raw.given,
    };
    let list = raw.secrets.as_ref();
    let mut found = Vec::new();
    if single.any_given() {
        found.push(secret(&single, None, desk));
    }
    for written in list.map_or(&[][..], |list| list.value.as_slice()) {
        let raw = &written.value;
        let holders = Holders {
            secret: &raw.secret,
            secret_file: &raw.secret_file,
            hash: &raw.secret_hash,
            hash_file: &raw.secret_hash_file,
            given: &raw.given,
        };
        if !holders.any_given() {
            let reason = "this entry has none of `secret`, `secret_file`, `secret_hash` and `secret_hash_file`";
            desk.report.error(raw.place, reason, "add one of them, or remove the entry");
        }
        if raw.given.has("not_after") && raw.not_after.is_none() {
            found.push(None);
        }
        found.push(secret(&holders, raw.not_after.as_ref(), desk));
    }
    let disabled = raw.disabled.as_ref().is_none_or(|disabled| disabled.value);
    let list_is_faulty = list.is_none();
    let has_key = ["public_key_file", "jwks_file"].iter().any(|key| raw.given.has(key))
        || client_keys::CERTIFICATE_NAMES.iter().any(|key| raw.given.has(key));
    if found.is_empty() && !disabled && !list_is_faulty && !has_key {
        desk.report.error(
            raw.place,
            "this client has no secret",
            format!("make one with `tollgate secret`, then set secret_file, or TOLLGATE_CLIENTS__{number}__SECRET"),
        );
    }
    if found.len() > MOST_SECRETS {
        let reason = format!("this client has {} secrets", found.len());
        desk.report.error(raw.place, reason, format!("keep at most {MOST_SECRETS}: each is tried"));
    }
    let found: Vec<ClientSecret> = found.into_iter().collect::<Option<_>>()?;
    let expired = |secret: &ClientSecret| secret.not_after.is_some_and(|end| end <= desk.now);
    if !found.is_empty() && !disabled && found.iter().all(expired) {
        desk.report.warn(
            raw.place,
            "every secret of this client has expired: it cannot get a token",
            "add a new one under `secrets`, or set disabled = true",
        );
    }
    Some(found)
}

fn secret(
    holders: &Holders<'_>,
    not_after: Option<&At<Moment>>,
    desk: &mut Desk<'_>,
) -> Option<ClientSecret> {
    let chosen = choose(holders.written(), desk);
    let Search::Found(found) = find(chosen, MOST_SECRET_FILE_BYTES, desk) else { return None };
    let kind = if found.key.starts_with("secret_hash") {
        hashed(&found, desk)?
    } else {
        plain(&found, desk)?
    };
    Some(ClientSecret { kind, not_after: not_after.map(|end| end.value.0) })
}

/// A secret that is written as it is.
fn plain(found: &Found, desk: &mut Desk<'_>) -> Option<SecretKind> {
    let (bytes, key) = (found.bytes.expose(), &found.key);
    let text = String::from_utf8_lossy(bytes);
    let fault = if text.starts_with("sha256:") || text.starts_with("$argon2") {
        Some(("is a hash, not a secret", "did you mean `secret_hash`?"))
    } else if bytes.len() > LONGEST_SECRET {
        Some(("is longer than a secret may be", "make one with `tollgate secret`"))
    } else {
        placeholder(&text).map(|why| (why, "make a real one: `tollgate secret`"))
    };
    if let Some((what, mend)) = fault {
        desk.report.error(found.place, format!("`{key}` {what}"), mend);
        return None;
    }
    if bytes == super::super::SAMPLE_SECRET.as_bytes() {
        desk.report.warn(
            found.place,
            "the client's secret is the one of the sample file, which everybody has",
            "make your own: `tollgate secret`",
        );
    } else if text.chars().count() < SHORT_SECRET {
        let reason =
            format!("`{key}` has fewer than {SHORT_SECRET} characters, so it can be guessed");
        desk.report.warn(found.place, reason, "make a longer one: `tollgate secret`");
    }
    if text.trim().len() != text.len() {
        let reason =
            format!("`{key}` begins or ends with white space, which is taken as part of it");
        desk.report.warn(found.place, reason, "remove it, unless the client sends it too");
    }
    Some(SecretKind::Sha256(sha256(bytes)))
}

/// `sha256:…` or an Argon2 PHC string.
fn hashed(found: &Found, desk: &mut Desk<'_>) -> Option<SecretKind> {
    let read = std::str::from_utf8(found.bytes.expose())
        .map_err(|_| ("is not text", "write \"sha256:…\" or \"$argon2id$…\""))
        .and_then(|text| hash(text.trim()));
    if let Err((what, mend)) = &read {
        desk.report.error(found.place, format!("`{}` {what}", found.key), *mend);
    }
    read.ok()
}

fn hash(text: &str) -> Result<SecretKind, (&'static str, &'static str)> {
    if let Some(encoded) = text.strip_prefix("sha256:") {
        let bytes = hex(encoded).filter(|bytes| bytes.len() == 32).or_else(|| base64(encoded));
        let digest: [u8; 32] = bytes.and_then(|bytes| bytes.try_into().ok()).ok_or((
            "is no SHA-256 digest",
            "write \"sha256:\" and 64 hex digits, or the 32 bytes in base64",
        ))?;
        if digest == sha256(b"") {
            return Err((
                "is the digest of an empty secret",
                "hash the secret itself, without a line end",
            ));
        }
        return Ok(SecretKind::Sha256(digest));
    }
    if !text.starts_with("$argon2id$") {
        let what = "is of an unknown kind";
        return Err((
            what,
            "write \"sha256:…\", or \"$argon2id$…\" as `tollgate secret --hash` prints it",
        ));
    }
    let broken = ("is no Argon2 hash that can be read", "make it anew: `tollgate secret --hash`");
    let parsed = PasswordHash::new(text).map_err(|_| broken)?;
    let params = Params::try_from(&parsed).map_err(|_| broken)?;
    let version = parsed.version.map_or(Ok(Version::V0x10), Version::try_from);
    if parsed.salt.is_none() || parsed.hash.is_none() || version.is_err() {
        return Err(broken);
    }
    if params.m_cost() > MOST_ARGON2_KIB {
        return Err((
            "asks for more than 256 MiB of memory",
            "make it with m=262144 or less: whoever knows the client's id makes the gateway spend this",
        ));
    }
    if params.t_cost() > MOST_ARGON2_PASSES {
        return Err((
            "asks for more than 16 passes",
            "make it with t=16 or less: whoever knows the client's id makes the gateway spend this",
        ));
    }
    if params.p_cost() > MOST_ARGON2_LANES {
        return Err(("asks for more than 8 lanes", "make it with p=8 or less"));
    }
    Ok(SecretKind::Argon2(Secret::new(text.to_owned())))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, bytes).as_ref());
    out
}

pub(super) fn scopes(written: &[At<Text>], desk: &mut Desk<'_>) -> Option<Scopes> {
    let mut scopes = Scopes::default();
    let mut all_good = true;
    for scope in written {
        // In the environment a list may be written with spaces, as in a token.
        let names: Vec<&str> = match scope.place {
            Place::Given(_) => scope.value.0.split_whitespace().collect(),
            Place::File { .. } | Place::End | Place::Default => vec![&scope.value.0],
        };
        for name in names {
            if is_scope_token(name) {
                scopes.add(name);
                continue;
            }
            all_good = false;
            let mend = if name.contains(' ') {
                "write each scope as an entry of its own: [\"a\", \"b\"]"
            } else {
                "a scope has visible ASCII characters other than \" and \\ (RFC 6749 §3.3)"
            };
            let reason = format!("`{}` is no scope", printable(name));
            desk.report.error(scope.place, reason, mend);
        }
    }
    all_good.then_some(scopes)
}

fn claims(written: &Entries<Anything>, desk: &mut Desk<'_>) -> Option<Map<String, Json>> {
    let mut claims = Map::new();
    let mut all_good = true;
    for (name, value) in &written.0 {
        if REGISTERED.contains(&name.value.as_str()) {
            let reason = format!("the claim `{}` is the gateway's to fill", name.value);
            desk.report.error(name.place, reason, "choose another name");
            all_good = false;
        }
        match json_of(&value.value.0) {
            Ok(json) => {
                claims.insert(name.value.clone(), json);
            }
            Err(what) => {
                let reason = format!("the claim `{}` {what}", printable(&name.value));
                desk.report.error(value.place, reason, "write it as text");
                all_good = false;
            }
        }
    }
    all_good.then_some(claims)
}

pub(super) const HOLDERS: [&str; 4] = ["secret", "secret_file", "secret_hash", "secret_hash_file"];

/// What a token of ours means by itself; a client must not be able to say otherwise.
const REGISTERED: [&str; 12] =
    ["iss", "sub", "aud", "exp", "nbf", "iat", "jti", "client_id", "scope", "scp", "cnf", "act"];

/// It stands in every token and log line.
const LONGEST_ID: usize = 255;
/// In bytes; the body of a token request has at most 8 KiB.
const LONGEST_SECRET: usize = 1_024;
/// In characters; fewer are worth a warning.
const SHORT_SECRET: usize = 16;
const MOST_SECRET_FILE_BYTES: u64 = 8 << 10;
/// Each is tried in turn, and Argon2 is slow on purpose.
const MOST_SECRETS: usize = 8;
const MOST_ARGON2_KIB: u32 = 256 << 10;
const MOST_ARGON2_PASSES: u32 = 16;
const MOST_ARGON2_LANES: u32 = 8;
