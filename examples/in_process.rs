//! The gateway inside a program of your own: here in front of the sample API, on free ports, until Ctrl-C.
//!
//!     cargo run --example in_process
//!
//! It prints the curl lines that show it. A test suite does the same to put a gateway in front of what it tests.

use std::error::Error;

use tollgate::clock::Clock;
use tollgate::config::{self, Sources};
use tollgate::demo::SampleApi;
use tollgate::server;

fn main() -> Result<(), Box<dyn Error>> {
    let api = SampleApi::start()?;

    // The keys of gateway.toml under their names in the environment, which is not asked here; `file` would name a file.
    let secret = "only-for-this-example-4Yc2Vn8Rk1";
    let settings = [
        ("TOLLGATE_UPSTREAM__URL", format!("http://{}", api.address())),
        ("TOLLGATE_TOKEN__ISSUER", "http://localhost".to_owned()),
        ("TOLLGATE_TOKEN__AUDIENCE", "http://localhost".to_owned()),
        ("TOLLGATE_TOKEN__KEY", "another-text-that-is-only-for-this-example".to_owned()),
        ("TOLLGATE_CLIENTS__0__ID", "example".to_owned()),
        ("TOLLGATE_CLIENTS__0__SECRET", secret.to_owned()),
    ];
    let sources = Sources {
        environment: settings.map(|(name, value)| (name.into(), value.into())).to_vec(),
        listen: vec!["127.0.0.1:0".to_owned()],
        ..Sources::default()
    };
    let loaded = config::load(&sources)?;

    let signals = server::Signals::listen()?;
    let running = server::start(loaded.settings, Clock::system(), None)?;
    let gateway = running.addresses()[0];

    println!(
        "# Reading is open: 200\n\
         curl -i http://{gateway}/players/10\n\
         # Changing is not: 401\n\
         curl -i -X DELETE http://{gateway}/players/10\n\
         # With a token it is: 204\n\
         TOKEN=$(curl -s http://{gateway}/auth/token -u example:{secret} -d grant_type=client_credentials \
         | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')\n\
         curl -i -X DELETE http://{gateway}/players/10 -H \"Authorization: Bearer $TOKEN\"\n\
         # Ctrl-C ends it."
    );
    let totals = server::until_signalled(running, signals);
    eprintln!("{} requests, {} of them refused", totals.requests, totals.refused);
    Ok(())
}
