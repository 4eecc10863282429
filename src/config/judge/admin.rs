//! `[admin]`: who may look. What others can reach asks for a proof.

use super::listeners::{each_once, shown};
use super::secrets::{Search, Written, choose, find, placeholder};
use super::{Desk, tls};
use crate::config::raw;
use crate::config::settings::Admin;
use crate::secret::Secret;

/// `[admin]`.
pub(super) fn admin(raw: &raw::Admin, desk: &mut Desk<'_>) -> Option<Admin> {
    if !raw.given.has("listen") {
        desk.report.error(
            raw.place,
            "[admin] has no `listen`",
            "add listen = \"127.0.0.1:9090\", or remove the table",
        );
    }
    let token = token(raw, desk);
    let listen = raw.listen.as_ref()?;
    each_once(&listen.value, desk);
    let tls = match &raw.tls {
        Some(tls) => tls::server(&tls.value, desk).map(Some),
        None => (!raw.given.has("tls")).then_some(None),
    };
    let (token, tls) = (token?, tls?);
    let asks = token.is_some() || tls.as_ref().is_some_and(|tls| tls.clients.is_some());
    if !asks {
        for address in listen.value.0.iter().filter(|address| !address.value.0.is_local()) {
            let reason = format!(
                "[admin] listens on {}, which others can reach, and asks for no proof",
                shown(&address.value.0)
            );
            let mend = "set token_file (`tollgate secret` makes a token) or a tls with client_ca_file, or listen on 127.0.0.1";
            desk.report.error(address.place, reason, mend);
        }
    }
    let listen = listen.value.0.iter().map(|address| address.value.0.clone()).collect();
    Some(Admin { listen, token, tls })
}

/// The token, if there is one; `None` after its fault was reported.
#[allow(clippy::option_option)]
fn token(raw: &raw::Admin, desk: &mut Desk<'_>) -> Option<Option<Secret<Vec<u8>>>> {
    let mut written = Vec::new();
    if let Some(at) = &raw.token {
        written.push(("token", Written::Here(at)));
    }
    if let Some(at) = &raw.token_file {
        written.push(("token_file", Written::File(at)));
    }
    let found = match find(choose(written, desk), MOST_BYTES, desk) {
        Search::Found(found) => found,
        Search::Absent if raw.given.has("token") || raw.given.has("token_file") => return None,
        Search::Absent => return Some(None),
        Search::Faulty => return None,
    };
    let bytes = found.bytes.expose();
    if let Some(why) = std::str::from_utf8(bytes).ok().and_then(placeholder) {
        let reason = format!("`{}` {why}", found.key);
        desk.report.error(found.place, reason, "make a real one: `tollgate secret`");
        return None;
    }
    if !bytes.iter().all(u8::is_ascii_graphic) {
        let reason = format!("`{}` holds what cannot stand in a header", found.key);
        desk.report.error(
            found.place,
            reason,
            "use letters, digits and signs; `tollgate secret` makes one",
        );
        return None;
    }
    if bytes.len() < LEAST_BYTES {
        let reason = format!("`{}` has {} bytes, which can be guessed", found.key, bytes.len());
        let mend = format!("use {LEAST_BYTES} or more; `tollgate secret` makes one");
        desk.report.error(found.place, reason, mend);
        return None;
    }
    Some(Some(found.bytes))
}

/// Attempts are not counted, so a token has to be out of reach of all that can be made.
const LEAST_BYTES: usize = 16;
/// No browser or scraper sends more.
const MOST_BYTES: u64 = 4 * 1024;
