//! `tollgate token`: mints a token with the configured key, or takes one apart and says which check it fails.

use std::io::{self, Read as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::{TokenArgs, TokenCommand, WRONG, finished, settings, wrong};
use crate::auth::{Authenticator, Check, MAX_TOKEN};
use crate::clock::Clock;
use crate::config::{Settings, parse_duration};
use crate::reference::{PREFIX, digest};
use crate::token::{IssueError, mint};

pub(super) fn main(args: &TokenArgs) -> ExitCode {
    let now = Clock::system().unix_seconds();
    match &args.command {
        TokenCommand::Issue { config, client, scope, expires_in } => {
            let expires_in = match expires_in.as_deref().map(parse_duration).transpose() {
                Ok(expires_in) => expires_in,
                Err(why) => return wrong(&format!("--expires-in: {why}")),
            };
            let scope = if scope.is_empty() { None } else { Some(scope.join(" ")) };
            match settings(config, &[], None) {
                Ok((_, loaded)) => {
                    let out = &mut io::stdout().lock();
                    finished(issue(
                        &loaded.settings,
                        client,
                        scope.as_deref(),
                        expires_in,
                        now,
                        out,
                    ))
                }
                Err(code) => code,
            }
        }
        TokenCommand::Inspect { config, token } => {
            let mut text = token.clone();
            if token == "-" {
                text.clear();
                // a longer one is refused as too large, which is what it is
                if let Err(fault) =
                    io::stdin().lock().take(2 * MAX_TOKEN as u64).read_to_string(&mut text)
                {
                    return wrong(&format!("standard input cannot be read: {fault}"));
                }
            }
            match settings(config, &[], None) {
                Ok((_, loaded)) => {
                    match inspect(&loaded.settings, &text, now, &mut io::stdout().lock()) {
                        Ok(true) => ExitCode::SUCCESS,
                        Ok(false) => ExitCode::from(WRONG),
                        Err(fault) => wrong(&format!("writing failed: {fault}")),
                    }
                }
                Err(code) => code,
            }
        }
    }
}

/// Why no token was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokenCommandError {
    /// It could not be minted.
    #[error("no token was issued")]
    Issue(#[from] IssueError),
    /// Standard output failed.
    #[error("writing failed")]
    Io(#[from] io::Error),
}

/// Writes a token for `client` as the token endpoint would issue it at `now`, seconds since 1970.
///
/// # Errors
/// [`TokenCommandError`], by variant.
pub(super) fn issue(
    settings: &Settings,
    client: &str,
    scope: Option<&str>,
    expires_in: Option<Duration>,
    now: u64,
    out: &mut impl Write,
) -> Result<(), TokenCommandError> {
    let token = mint(settings, client, scope, expires_in, now)?;
    Ok(writeln!(out, "{token}")?)
}

/// Writes what `token` says and how each check goes at `now`, seconds since 1970. Whether it is valid.
///
/// # Errors
/// If writing fails.
pub(super) fn inspect(
    settings: &Settings,
    token: &str,
    now: u64,
    out: &mut impl Write,
) -> io::Result<bool> {
    let token = token.trim();
    let token = match token.split_at_checked(BEARER.len()) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) => rest.trim_start(),
        _ => token,
    };
    if token.starts_with(PREFIX) {
        let form = if digest(token).is_some() { "" } else { ", and a damaged one" };
        writeln!(out, "a reference token{form}: it says nothing by itself.")?;
        writeln!(
            out,
            "Ask the running gateway: POST it as `token` to [token.endpoints] introspect."
        )?;
        return Ok(false);
    }
    let mut parts = token.split('.');
    let header = parts.next().and_then(decoded);
    let claims = parts.next().and_then(decoded);
    writeln!(out, "header  {}", shown(header.as_ref()))?;
    writeln!(out, "claims  {}", shown(claims.as_ref()))?;
    if let Some(exp) = claims.as_ref().and_then(|claims| claims["exp"].as_i64()) {
        writeln!(out, "expires {}", moment(exp, now))?;
    }
    writeln!(out)?;

    let mut passed = Vec::new();
    let denied = Authenticator::new(settings).explain(token, now, &mut passed).err();
    for check in Check::ALL {
        if passed.contains(&check) {
            writeln!(out, "✓ {}", check.name())?;
        } else if let Some(denied) = denied.filter(|denied| denied.check() == Some(check)) {
            writeln!(out, "✗ {}: {} ({})", check.name(), denied.description(), denied.code())?;
        } else {
            writeln!(out, "· {}: not looked at", check.name())?;
        }
    }
    match denied {
        None => writeln!(out, "\nvalid")?,
        Some(denied) => writeln!(out, "\nrefused: {}", denied.description())?,
    }
    Ok(denied.is_none())
}

fn decoded(part: &str) -> Option<Value> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// JSON that cannot move the cursor of a terminal.
fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "(not readable)".to_owned() };
    let mut text = String::new();
    for character in format!("{value:#}").chars() {
        if character == '\n' || !character.is_control() {
            text.push(character);
        } else {
            text.extend(character.escape_unicode());
        }
    }
    text
}

fn moment(seconds: i64, now: u64) -> String {
    let left = i128::from(seconds) - i128::from(now);
    let relative = if left < 0 { format!("{} s ago", -left) } else { format!("in {left} s") };
    match jiff::Timestamp::from_second(seconds) {
        Ok(time) => format!("{time} ({relative})"),
        Err(_) => relative,
    }
}

const BEARER: &str = "Bearer ";

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{TokenCommandError, inspect, issue};
    use crate::testing::{CLIENT, settings};

    const NOW: u64 = 2_000_000_000;

    fn issued() -> String {
        let mut out = Vec::new();
        let lifetime = Some(Duration::from_secs(300));
        issue(&settings(), CLIENT, Some("api:read"), lifetime, NOW, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn inspected(token: &str, now: u64) -> (bool, String) {
        let mut out = Vec::new();
        let valid = inspect(&settings(), token, now, &mut out).unwrap();
        (valid, String::from_utf8(out).unwrap())
    }

    #[test]
    fn an_issued_token_passes_every_check() {
        for token in [issued(), format!("bearer {}", issued())] {
            let (valid, said) = inspected(&token, NOW);
            assert!(valid, "{said}");
            assert_eq!(said.matches('✓').count(), 14);
            assert!(
                said.contains("\"scope\": \"api:read\"") && said.contains("(in 300 s)"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_check_that_fails_is_named_and_what_came_before_it_passed() {
        let (valid, said) = inspected(&issued(), NOW + 1_000);
        assert!(!valid);
        assert!(said.contains("✗ not expired (exp): the token has expired (expired)"), "{said}");
        assert!(said.contains("✓ issuer") && said.contains("· signature: not looked at"), "{said}");
        assert!(said.contains("(700 s ago)"));
    }

    #[test]
    fn what_is_no_token_is_said_to_be_none() {
        for text in ["", "abc", "a.b.c", "\u{1b}[31m"] {
            let (valid, said) = inspected(text, NOW);
            assert!(!valid && said.contains("✗ form: the token is not a JWT"), "{said}");
            assert!(!said.contains('\u{1b}'));
        }
    }

    #[test]
    fn control_characters_in_claims_do_not_reach_the_terminal() {
        // {"alg":"\u009b31m","x":"\u007f"} with the characters themselves.
        let header = "{\"alg\":\"\u{9b}31m\",\"x\":\"\u{7f}\"}";
        use base64::Engine;
        let part = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(header);
        let (_, said) = inspected(&format!("{part}.e30.AA"), NOW);
        assert!(said.contains("\\u{9b}31m") && !said.contains('\u{9b}'), "{said}");
    }

    #[test]
    fn a_client_that_is_not_there_gets_no_token() {
        let result = issue(&settings(), "nobody", None, None, NOW, &mut Vec::new());
        assert!(matches!(result, Err(TokenCommandError::Issue(_))));
    }
}
