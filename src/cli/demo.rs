//! `tollgate demo`: the sample API, the gateway in front of it, and the lines that show what it does.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;

use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{COULD_NOT_START, DemoArgs, WRONG, complain, run};
use crate::config::{Faults, Settings, Sources, load};
use crate::demo::SampleApi;
use crate::server::Arrival;

pub(super) fn main(args: &DemoArgs) -> ExitCode {
    match demo(args.listen.as_deref().unwrap_or(LISTEN)) {
        Ok(code) => code,
        Err(DemoError::Settings(faults)) => {
            complain(&faults);
            ExitCode::from(WRONG)
        }
        Err(fault) => {
            eprintln!("error: {fault}");
            ExitCode::from(COULD_NOT_START)
        }
    }
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("the address to listen on is no address")]
    Settings(Faults),
    #[error("the random source failed")]
    Random(#[from] Unspecified),
    #[error("the sample API cannot start: {0}")]
    SampleApi(#[from] io::Error),
}

/// The lines go to standard output and the log to standard error, so that what is printed can be piped into a shell.
fn demo(listen: &str) -> Result<ExitCode, DemoError> {
    let api = SampleApi::start()?;
    let secret = random_text()?;
    let settings = settings(listen, api.address(), &secret)?;
    Ok(run::serve(settings, Arrival::default(), None, io::stderr(), |running| {
        let mut out = io::stdout().lock();
        for gateway in running.addresses() {
            // Whoever does not read the lines may still use the gateway.
            let _ = out.write_all(lines(gateway, api.address(), &secret).as_bytes());
        }
        let _ = out.flush();
    }))
}

/// Said as in `gateway.toml`, so that the demo has no way of its own to a gateway.
fn settings(listen: &str, api: SocketAddr, secret: &str) -> Result<Settings, DemoError> {
    let keys = [
        ("TOLLGATE_UPSTREAM__URL", format!("http://{api}")),
        ("TOLLGATE_TOKEN__ISSUER", "tollgate-demo".to_owned()),
        ("TOLLGATE_TOKEN__AUDIENCE", "players".to_owned()),
        ("TOLLGATE_TOKEN__KEY", random_text()?),
        ("TOLLGATE_CLIENTS__0__ID", CLIENT.to_owned()),
        ("TOLLGATE_CLIENTS__0__SECRET", secret.to_owned()),
        ("TOLLGATE_CLIENTS__0__SCOPES", "api:write".to_owned()),
    ];
    let sources = Sources {
        environment: keys.map(|(name, value)| (name.into(), value.into())).to_vec(),
        listen: vec![listen.to_owned()],
        ..Sources::default()
    };
    Ok(load(&sources).map_err(DemoError::Settings)?.settings)
}

/// 256 bits as letters that need no quoting in a shell, a form or a header.
fn random_text() -> Result<String, DemoError> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What to try, in lines that a shell takes as they are: each a command or a comment.
fn lines(gateway: SocketAddr, api: SocketAddr, secret: &str) -> String {
    let json = "-H 'Content-Type: application/json'";
    let bearer = "-H \"Authorization: Bearer $TOKEN\"";
    format!(
        r#"# tollgate is at http://{gateway}, in front of a sample API: the players of a football team.
# The API itself (http://{api}) asks nobody for anything. Paste these lines into another terminal.
#
# Reading is open: 200
curl -i http://{gateway}/players
curl -i http://{gateway}/players/10
#
# Changing is not: 401
curl -i http://{gateway}/players {json} -d '{{"squadNumber": 27, "firstName": "Giovani", "lastName": "Lo Celso"}}'
#
# A token, good for an hour, for the client {CLIENT} with the secret {secret}
TOKEN=$(curl -s http://{gateway}/auth/token --data-urlencode grant_type=client_credentials --data-urlencode client_id={CLIENT} --data-urlencode client_secret={secret} | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
#
# With the token: 201, 204, 204
curl -i http://{gateway}/players {bearer} {json} -d '{{"squadNumber": 27, "firstName": "Giovani", "lastName": "Lo Celso"}}'
curl -i -X PUT http://{gateway}/players/27 {bearer} {json} -d '{{"firstName": "Giovani", "lastName": "Lo Celso", "team": "Villarreal"}}'
curl -i -X DELETE http://{gateway}/players/27 {bearer}
#
# Ctrl-C ends both. What follows is a line for each request.
"#
    )
}

/// Unless `--listen` says otherwise.
const LISTEN: &str = "127.0.0.1:8080";

/// The one client.
const CLIENT: &str = "demo";
