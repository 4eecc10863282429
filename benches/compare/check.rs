//! What a peer lets through, shown before anything is measured: figures of a gateway that does not guard are worth nothing.

use super::lab::http::ask;
use super::lab::keys::{Algorithm, Keys};
use super::lab::peers::Peer;
use super::lab::{Result, Trouble, While as _};

/// Of every POST.
pub const BODY: &str = concat!(
    r#"{"order": 4711, "items": [{"sku": "A-1", "n": 2}], "note": ""#,
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    r#""}"#
);

/// One line on what this peer did.
///
/// # Errors
/// If it refuses what is good or lets through what is bad.
pub fn check(peer: &Peer, keys: &Keys, bad: &[(&str, String)]) -> Result<String> {
    for size in [("/1k", 1024), ("/64k", 64 * 1024), ("/1m", 1024 * 1024)] {
        let answer = ask(peer.clear.port, "GET", size.0, "", "").during(&peer.name)?;
        demand(peer, answer.status == 200 && answer.body.len() == size.1, "GET", answer.status)?;
    }
    if !peer.verifies {
        return Ok(format!(
            "{}: {}; knows no tokens: open workloads only",
            peer.name, peer.version
        ));
    }
    for algorithm in Algorithm::ALL {
        let (status, length) = post(peer, Some(&keys.token(algorithm, 0)?))?;
        let whole = length.is_some_and(|length| length == BODY.len().to_string());
        demand(peer, status == 200 && whole, algorithm.name(), status)?;
    }
    let (status, _) = post(peer, None)?;
    demand(peer, status == 401, "no token", status)?;
    for (what, token) in bad {
        let (status, _) = post(peer, Some(token))?;
        demand(peer, status == 401, what, status)?;
    }
    Ok(format!(
        "{}: {}; lets good tokens through (HS256, RS256, ES256) and none of {} bad ones",
        peer.name,
        peer.version,
        bad.len()
    ))
}

fn post(peer: &Peer, token: Option<&str>) -> Result<(u16, Option<String>)> {
    let headers = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let answer = ask(peer.clear.port, "POST", "/1k", &headers, BODY).during(&peer.name)?;
    Ok((answer.status, answer.header("x-body").map(str::to_owned)))
}

fn demand(peer: &Peer, fine: bool, what: &str, status: u16) -> Result<()> {
    match fine {
        true => Ok(()),
        false => Err(Trouble::new(format!(
            "{} is no fit peer: to a request with \"{what}\" it answered {status}",
            peer.name
        ))),
    }
}
