//! A gateway with the client, the secret and the key of the founding issue, in front of whatever a test needs.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use tollgate::clock::Clock;
use tollgate::config::{self, Sources};
use tollgate::server::{self, Running};

/// The client of the founding issue.
pub(crate) const CLIENT_ID: &str = "foobarbaz";
/// Its secret, as the issue configures it.
pub(crate) const CLIENT_SECRET: &str = "#!_7h3qu1ck8r0wnf0xjump50v3r7h3l42yd09=@42";
/// The one in the curl line of the same issue: `_` for `=`.
pub(crate) const WRONG_SECRET: &str = "#!_7h3qu1ck8r0wnf0xjump50v3r7h3l42yd09_@42";
/// What its client may ask for.
pub(crate) const SCOPE: &str = "api:write";

/// Starts a gateway on a free port in front of `upstream`.
pub(crate) fn gateway_in_front_of(upstream: SocketAddr) -> Running {
    let settings = [
        ("TOLLGATE_UPSTREAM__URL", format!("http://{upstream}")),
        ("TOLLGATE_SERVER__WORKERS", "2".to_owned()),
        ("TOLLGATE_TOKEN__KEY", "1LnBfWcu7gTDmqT41QCW4ANu1xsHMcseingKWruVveM=".to_owned()),
        ("TOLLGATE_TOKEN__ISSUER", "dotnet-samples-aspnetcore-webapi-issuer".to_owned()),
        ("TOLLGATE_TOKEN__AUDIENCE", "dotnet-samples-aspnetcore-webapi-audience".to_owned()),
        ("TOLLGATE_CLIENTS__0__ID", CLIENT_ID.to_owned()),
        ("TOLLGATE_CLIENTS__0__SECRET", CLIENT_SECRET.to_owned()),
        ("TOLLGATE_CLIENTS__0__SCOPES", SCOPE.to_owned()),
    ];
    let sources = Sources {
        environment: settings.map(|(name, value)| (name.into(), value.into())).to_vec(),
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Sources::default()
    };
    let loaded = config::load(&sources).unwrap_or_else(|faults| panic!("{faults}"));
    server::start(loaded.settings, Clock::system(), None).expect("a gateway")
}

/// Runs `tests/clients/run.sh` against `gateway`.
pub(crate) fn run(which: &str, gateway: &Running) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ended = Command::new("bash")
        .args(["tests/clients/run.sh", which])
        .current_dir(root)
        .env("GATEWAY", format!("http://{}", gateway.addresses()[0]))
        .env("CLIENT_ID", CLIENT_ID)
        .env("CLIENT_SECRET", CLIENT_SECRET)
        .env("CLIENT_SCOPE", SCOPE)
        .env("WRONG_SECRET", WRONG_SECRET)
        .output()
        .expect("bash");
    let said = [&ended.stdout[..], &ended.stderr[..]].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(ended.status.success(), "{said}");
    println!("{said}");
}
