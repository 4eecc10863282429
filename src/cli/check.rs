//! `tollgate check`: reads and judges the configuration, and says what it means.

use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;

use super::{CheckArgs, WRONG, coloured, settings};
use crate::config::{
    Balance, Client, ClientSecret, Listen, Loaded, SecretKind, Settings, StoreUrl, Token,
    TokenFormat, algorithm_name, show_duration,
};

pub(super) fn main(args: &CheckArgs) -> ExitCode {
    match settings(&args.config, &[], None) {
        Ok((file, loaded)) => {
            let coloured = coloured() && std::io::stdout().is_terminal();
            let summary = summary(file.as_deref(), &loaded, coloured);
            match std::io::stdout().write_all(summary.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::from(WRONG), // whoever read it went away
            }
        }
        Err(code) => code,
    }
}

/// What a person wants to know before starting it. No secret is in it.
fn summary(file: Option<&Path>, loaded: &Loaded, coloured: bool) -> String {
    let (green, end) = if coloured { ("\x1b[1;32m", "\x1b[0m") } else { ("", "") };
    let settings = &loaded.settings;
    let mut lines = vec![("listens on", listens_on(settings))];
    lines.extend(upstream_lines(settings));
    match &settings.token {
        Some(token) => lines.extend(token_lines(token)),
        None => lines.push((
            "tokens",
            "none: there is no [token], so every mutating request is refused".into(),
        )),
    }
    lines.extend(settings.clients.iter().map(|client| ("client", client_line(client, settings))));
    let headers: Vec<String> =
        settings.identity.headers.iter().map(|(name, claim)| format!("{name} ({claim})")).collect();
    lines.push(("tells upstream", headers.join(", ")));
    if let StoreUrl::File(folder) = &settings.store {
        lines.push(("keeps tokens in", folder.display().to_string()));
    }
    let admin = settings.admin.as_ref();
    lines.push(("admin", admin.map_or("off".to_owned(), |admin| admin.listen.to_string())));

    let name = file.map_or("the environment".to_owned(), |file| file.display().to_string());
    let mut out = format!("{green}ok{end} {name}");
    match loaded.warnings.len() {
        0 => {}
        1 => out += ", with the warning above",
        several => out += &format!(", with the {several} warnings above"),
    }
    out.push('\n');
    for (what, text) in lines {
        out += &format!("  {what:<15} {text}\n");
    }
    out
}

fn listens_on(settings: &Settings) -> String {
    let server = &settings.server;
    let addresses: Vec<String> = server.listen.iter().map(listener).collect();
    let threads = if server.workers == 1 { "thread" } else { "threads" };
    format!("{} ({} {threads})", addresses.join(", "), server.workers)
}

fn listener(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{address}"),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

/// Each upstream, and the routes that lead to it or rewrite the path.
fn upstream_lines(settings: &Settings) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    for (number, upstream) in settings.every_upstream().enumerate() {
        let origins: Vec<String> = upstream.origins.iter().map(ToString::to_string).collect();
        let mut text = origins.join(", ");
        if origins.len() > 1 {
            text += &format!(" ({})", balance(upstream.balance));
        }
        if let Some(health) = &upstream.health {
            let interval = u64::try_from(health.interval.as_millis()).unwrap_or(u64::MAX);
            text += &format!(", asked for {} each {}", health.path, show_duration(interval));
        }
        match number {
            0 => lines.push(("forwards to", text)),
            _ => lines.push(("upstream", format!("{}: {text}", upstream.name))),
        }
    }
    let names: Vec<&str> = settings.every_upstream().map(|one| one.name.as_str()).collect();
    for route in &settings.routes {
        let to = names.get(route.upstream).copied().unwrap_or_default();
        let text = match (&route.rewrite, route.upstream) {
            (None, 0) => continue,
            (None, _) => format!("{}: to {to}", route.name),
            (Some(rewrite), _) => format!("{}: to {to} as {}", route.name, rewrite.text),
        };
        lines.push(("route", text));
    }
    lines
}

const fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequests => "to the one with the fewest requests in flight",
        Balance::RoundRobin => "one after the other",
        Balance::Random => "at random",
    }
}

fn token_lines(token: &Token) -> Vec<(&'static str, String)> {
    let key = token.keys.signing().verifying();
    let kid = key.key_id().map_or(String::new(), |id| format!(", kid {id}"));
    let lifetime = u64::try_from(token.expires_in.as_millis()).unwrap_or(u64::MAX);
    let mut lines = vec![
        ("tokens", format!("POST {}, good for {}", token.path, show_duration(lifetime))),
        ("issuer", token.issuer.clone()),
        ("audience", token.audience.join(", ")),
        ("signs with", format!("{}, {} bits{kid}", algorithm_name(key.algorithm()), key.bits())),
    ];
    let endpoints = &token.endpoints;
    for (what, path) in [
        ("jwks", &endpoints.jwks),
        ("introspection", &endpoints.introspect),
        ("revocation", &endpoints.revoke),
    ] {
        lines.extend(path.as_ref().map(|path| (what, path.clone())));
    }
    if let Some(metadata) = &endpoints.metadata {
        let paths = metadata.resources.iter().map(|resource| &resource.path);
        let paths: Vec<&str> =
            std::iter::once(&metadata.server_path).chain(paths).map(String::as_str).collect();
        lines.push(("metadata", paths.join(", ")));
    }
    for key in token.keys.verifying().iter().skip(1) {
        let kid = key.key_id().map_or(String::new(), |id| format!(", kid {id}"));
        let text = format!("{}, {} bits{kid}", algorithm_name(key.algorithm()), key.bits());
        lines.push(("accepts too", text));
    }
    lines
}

fn client_line(client: &Client, settings: &Settings) -> String {
    let mut notes = Vec::new();
    if client.disabled {
        notes.push("disabled".to_owned());
    }
    match client.scopes.len() {
        0 => notes.push("no scopes".to_owned()),
        1 => notes.push(format!("scope {}", client.scopes)),
        _ => notes.push(format!("scopes {}", client.scopes)),
    }
    let is_hashed = |secret: &ClientSecret| matches!(secret.kind, SecretKind::Argon2(_));
    match client.secrets.len() {
        0 | 1 => {}
        count => notes.push(format!("{count} secrets")),
    }
    if client.secrets.iter().any(is_hashed) {
        notes.push("Argon2".to_owned());
    }
    if !client.keys.is_empty() {
        notes.push("signs its own name".to_owned());
    }
    let format = client.format.or(settings.token.as_ref().map(|token| token.format));
    if format == Some(TokenFormat::Opaque) {
        notes.push("reference tokens".to_owned());
    }
    if let Some(lifetime) = client.expires_in {
        let lifetime = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
        notes.push(format!("tokens good for {}", show_duration(lifetime)));
    }
    if let Some(audience) = &client.audience
        && settings.token.as_ref().is_none_or(|token| token.audience != *audience)
    {
        notes.push(format!("audience {}", audience.join(", ")));
    }
    format!("{}: {}", client.id, notes.join(", "))
}
