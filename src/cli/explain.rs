//! `tollgate explain`: what would become of a request, and why. Asks the gateway itself, and sends nothing.

use std::fmt::Write as _;
use std::io::{self, Read as _, Write as _};
use std::process::ExitCode;
use std::rc::Rc;

use bytes::BytesMut;
use http::Version;

use super::{ExplainArgs, WRONG, settings, wrong};
use crate::auth::MAX_TOKEN;
use crate::clock::Clock;
use crate::config::{DEFAULT_UPSTREAM, Settings};
use crate::gateway::{Explanation, Gateway, Generation, Refusal};
use crate::http1::{BadHead, parse_request};
use crate::message::{Body, Peer, Request};

pub(super) fn main(args: &ExplainArgs) -> ExitCode {
    let mut args = args.clone();
    if args.token.as_deref() == Some("-") {
        let mut token = String::new();
        if let Err(fault) = io::stdin().lock().take(2 * MAX_TOKEN as u64).read_to_string(&mut token)
        {
            return wrong(&format!("standard input cannot be read: {fault}"));
        }
        args.token = Some(token.trim().to_owned());
    }
    let loaded = match settings(&args.config, &[], None) {
        Ok((_, loaded)) => loaded,
        Err(code) => return code,
    };
    let said = match explain(&loaded.settings, &args, Clock::system()) {
        Ok(said) => said,
        Err(why) => return wrong(&why),
    };
    let text = match args.json {
        true => serde_json::to_string_pretty(&said).map_or(String::new(), |text| text + "\n"),
        false => render(&said),
    };
    match io::stdout().write_all(text.as_bytes()) {
        Ok(()) if said.is_allowed() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(WRONG),
        Err(fault) => wrong(&format!("writing failed: {fault}")),
    }
}

/// What becomes of the request that `args` describe.
///
/// # Errors
/// Why there is no such request, or no gateway, in one clause.
pub(super) fn explain(
    settings: &Settings,
    args: &ExplainArgs,
    clock: Clock,
) -> Result<Explanation, String> {
    let (head, https) = head(args)?;
    let mut input = BytesMut::from(head.as_bytes());
    let head = match parse_request(&mut input, &mut 0, settings.server.max_header_size) {
        Ok(Some(head)) => head,
        Ok(None) => {
            return Ok(Explanation::default().refused(&Refusal::Head(BadHead::TooLarge), None));
        }
        Err(fault) => return Ok(Explanation::default().refused(&Refusal::Head(fault), None)),
    };
    // The store may be another process's: what it keeps is not known here, nor what issuers would answer.
    let generation =
        Generation::offline(settings.clone(), clock).map_err(|fault| fault.to_string())?;
    let gateway = Gateway::new(generation, 0);
    let loopback = std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    let trusted = settings.server.trusted_proxies.iter().any(|net| net.contains(&loopback));
    Ok(gateway.explain(Request {
        method: head.method,
        target: head.target,
        version: if args.http2 { Version::HTTP_2 } else { head.version },
        headers: head.headers,
        host: head.host,
        upgrade: head.upgrade,
        expects_continue: head.expects_continue,
        body: Body::Empty,
        peer: Rc::new(Peer::new(Some(loopback), trusted, https)),
        interim: None,
    }))
}

/// The request as a client would send it, and whether it is asked for over TLS.
fn head(args: &ExplainArgs) -> Result<(String, bool), String> {
    let url = &args.url;
    let scheme = |name: &str| {
        url.split_at_checked(name.len()).filter(|(front, _)| front.eq_ignore_ascii_case(name))
    };
    let (https, rest) = match (scheme("http://"), scheme("https://")) {
        (Some((_, rest)), _) => (false, Some(rest)),
        (None, Some((_, rest))) => (true, Some(rest)),
        (None, None) => (false, None),
    };
    let (host, target) = match rest {
        Some(rest) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at(end);
            (host, if path.starts_with('/') { path.to_owned() } else { format!("/{path}") })
        }
        None if url.starts_with('/') || url == "*" => ("localhost", url.clone()),
        None => return Err("the URL is neither a path nor http://… or https://…".to_owned()),
    };
    let mut head = format!("{} {target} HTTP/1.1\r\n", args.method);
    let is_host = |header: &String| {
        header.split_once(':').is_some_and(|(name, _)| name.trim().eq_ignore_ascii_case("host"))
    };
    if !args.header.iter().any(is_host) {
        let _ = write!(head, "Host: {host}\r\n"); // a String takes everything
    }
    for header in &args.header {
        if !header.contains(':') || header.contains(['\r', '\n']) {
            return Err("a --header is written as 'Name: value'".to_owned());
        }
        let _ = write!(head, "{header}\r\n");
    }
    if let Some(token) = &args.token {
        let token = match token.split_at_checked(BEARER.len()) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(BEARER) => rest,
            _ => token,
        };
        if token.contains(['\r', '\n']) {
            return Err("the token has a line break in it".to_owned());
        }
        let _ = write!(head, "Authorization: {BEARER}{token}\r\n");
    }
    Ok((head + "\r\n", https))
}

/// For people. What came from outside cannot move the cursor of a terminal.
fn render(said: &Explanation) -> String {
    let mut out = String::new();
    let _ = tell(&mut out, said); // a String takes everything
    out.chars()
        .map(|letter| if letter.is_control() && letter != '\n' { '\u{fffd}' } else { letter })
        .collect()
}

fn tell(out: &mut String, said: &Explanation) -> std::fmt::Result {
    if let Some(route) = &said.route {
        writeln!(out, "route     {}", route.name)?;
        writeln!(out, "          {}", route.matches)?;
        if let Some(read_as) = &route.read_as {
            writeln!(out, "          the path is read as {read_as}")?;
        }
        if let Some(other) = &route.instead_of {
            writeln!(out, "          as it stands it would meet the less strict {other}")?;
        }
        match (&route.rewrite, route.upstream.as_str()) {
            (Some(rewrite), upstream) => writeln!(out, "upstream  {upstream}, as {rewrite}")?,
            (None, DEFAULT_UPSTREAM) => {}
            (None, upstream) => writeln!(out, "upstream  {upstream}")?,
        }
        writeln!(out, "demands   {}", said.demands.join("\n          "))?;
        if let Some(cors) = &said.cors {
            writeln!(out, "cors      {cors}")?;
        }
        if let Some(limit) = &said.rate_limit {
            writeln!(out, "limit     {limit}")?;
        }
        writeln!(out, "issuer    {}\n", said.issuer.as_deref().unwrap_or("none"))?;
    }
    for check in &said.checks {
        match (check.passed, check.why, check.reason) {
            (Some(true), ..) => writeln!(out, "✓ {}", check.name)?,
            (Some(false), why, reason) => {
                let (why, reason) = (why.unwrap_or_default(), reason.unwrap_or_default());
                writeln!(out, "✗ {}: {why} ({reason})", check.name)?;
            }
            (None, ..) if check.name.starts_with("credential") => {
                writeln!(out, "· {}: none", check.name)?;
            }
            (None, ..) => writeln!(out, "· {}: not looked at", check.name)?,
        }
    }
    let status = said.status.map_or(String::new(), |status| format!(" {status}"));
    let gap = if said.checks.is_empty() { "" } else { "\n" };
    writeln!(out, "{gap}{}{status}: {} ({})", said.decision, said.why, said.reason)?;
    for (name, value) in &said.answer {
        writeln!(out, "  {name}: {value}")?;
    }
    if let Some(line) = &said.upstream_line {
        writeln!(out, "\nthe upstream gets\n  {line}")?;
        for (name, value) in &said.upstream_headers {
            writeln!(out, "  {name}: {value}")?;
        }
    }
    Ok(())
}

const BEARER: &str = "Bearer ";
