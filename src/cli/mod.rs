//! The commands, their help and their exit codes. Each command is a file; what it does is elsewhere.

mod check;
mod completions;
mod demo;
mod doctor;
mod explain;
mod health;
mod key;
mod man;
mod run;
mod schema;
mod secret;
mod token;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};

use crate::config::{Faults, Loaded, Sources, find_file, load};

/// An authenticating reverse proxy: it issues access tokens, asks for one on every request that could change something,
/// and forwards the rest.
#[derive(Debug, Parser)]
#[command(
    name = "tollgate",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  tollgate demo                                   a gateway before a built-in API, to try out
  tollgate check                                  is ./gateway.toml right?
  tollgate --config /etc/tollgate/gateway.toml    run with this configuration
  tollgate run --upstream http://127.0.0.1:9000   run, forwarding to here

Exit codes: 0 fine, 1 the configuration or the input is wrong, 2 usage, 3 could not start."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// Without a command: run.
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway (what happens without a command, too)
    #[command(after_help = "\
Example:
  tollgate run --config gateway.toml --listen 0.0.0.0:8080 --upstream http://10.0.0.5:9000
  tollgate run --take-over \"$(pidof tollgate)\"      the new program in place of the running one")]
    Run(RunArgs),

    /// Run the gateway in front of a built-in sample API, and print curl lines that work
    #[command(after_help = "Example:\n  tollgate demo")]
    Demo(DemoArgs),

    /// Read and judge the whole configuration: every error at once, with its place and its mend
    #[command(after_help = "\
Example:
  tollgate check --config /etc/tollgate/gateway.toml && systemctl reload tollgate")]
    Check(CheckArgs),

    /// Look at the deployment around the gateway, and say what is wrong with it
    #[command(after_help = "\
Asks the upstream and the issuers with GETs that change nothing, and looks at files: can the API be reached around the
gateway, does it take a GET for another method, does it fold _ and . in header names, do clocks agree, what expires soon,
who may read the secrets.

Examples:
  tollgate doctor
  tollgate doctor --config /etc/tollgate/gateway.toml --path /players --json

Exit codes: 0 no fault, 1 a fault was found.")]
    Doctor(DoctorArgs),

    /// Print what the gateway would do with a request, and why; nothing is sent
    #[command(after_help = "\
Examples:
  tollgate explain GET /admin/users
  tollgate explain POST http://api.example.com/items --token \"$(tollgate token issue --client foobarbaz)\"
  tollgate token issue --client foobarbaz | tollgate explain DELETE /items/1 --token - --json

Exit codes: 0 the request would be let through, 1 it would be refused.")]
    Explain(ExplainArgs),

    /// Ask the gateway that runs whether it is well, at its admin listener; for the health check of a container
    #[command(after_help = "\
Examples:
  tollgate health                                   where the configuration has its [admin]
  tollgate health --url http://127.0.0.1:9090       without reading a file
  tollgate health --live --url unix:/run/admin.sock

Exit codes: 0 it is well, 1 it is not, or nobody answers.")]
    Health(HealthArgs),

    /// Print a new random client secret, or the hash of one
    #[command(after_help = "\
Examples:
  tollgate secret > client.secret
  tollgate secret --hash < client.secret            for `secret_hash`")]
    Secret(SecretArgs),

    /// Print a new signing key and its `kid`
    #[command(after_help = "\
Examples:
  tollgate key > key.pem                            for ES256
  tollgate key --algorithm HS256 > key.txt")]
    Key(KeyArgs),

    /// Issue a token with the configured key, or say what is wrong with one
    #[command(after_help = "\
Example:
  curl -X POST -H \"Authorization: Bearer $(tollgate token issue --client foobarbaz)\" http://127.0.0.1:8080/items")]
    Token(TokenArgs),

    /// Print the JSON Schema of gateway.toml
    #[command(after_help = "\
Example:
  tollgate schema > gateway.schema.json             then, first line of gateway.toml: #:schema ./gateway.schema.json")]
    Schema,

    /// Print the manual, or write all of its pages into a folder
    #[command(after_help = "\
Examples:
  tollgate man | man -l -                           read tollgate(1)
  tollgate man --folder /usr/local/share/man/man1   every command, and gateway.toml(5)")]
    Man(ManArgs),

    /// Print completions for a shell
    #[command(after_help = "\
Examples:
  tollgate completions bash > /etc/bash_completion.d/tollgate
  tollgate completions fish > ~/.config/fish/completions/tollgate.fish")]
    Completions {
        /// For which shell
        shell: clap_complete::Shell,
    },
}

/// The file, as every command that reads it is told of it.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ConfigArgs {
    /// The configuration [default: $TOLLGATE_CONFIG, else ./gateway.toml, else /etc/tollgate/gateway.toml]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// `tollgate run`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Listen here instead of where the file says; may be given more than once
    #[arg(short, long, value_name = "ADDR")]
    pub(crate) listen: Vec<String>,
    /// Forward to here instead of where the file says
    #[arg(short, long, value_name = "URL")]
    pub(crate) upstream: Option<String>,
    /// Take the place of the gateway with this process number: listen beside it on the same addresses, and have it end
    /// once requests are served here
    #[arg(long, value_name = "PID")]
    pub(crate) take_over: Option<u32>,
}

/// `tollgate check`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
}

/// `tollgate doctor`
#[derive(Args, Clone, Debug)]
pub(crate) struct DoctorArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// A path of the API that answers a GET with some content
    #[arg(short, long, value_name = "PATH", default_value = "/")]
    pub(crate) path: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tollgate explain`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// The method, by the letter
    pub(crate) method: String,
    /// The URL that the client asks for, or its path
    pub(crate) url: String,
    /// The access token, or - for standard input
    #[arg(short, long, value_name = "TOKEN")]
    pub(crate) token: Option<String>,
    /// A header of the request; may be given more than once
    #[arg(short = 'H', long, value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// As if it came over HTTP/2
    #[arg(long)]
    pub(crate) http2: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `tollgate demo`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct DemoArgs {
    /// Listen here [default: 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDR")]
    pub(crate) listen: Option<String>,
}

/// `tollgate health`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct HealthArgs {
    #[command(flatten)]
    pub(crate) config: ConfigArgs,
    /// Ask here instead of where the configuration says: http://ADDR or unix:/path
    #[arg(short, long, value_name = "URL", conflicts_with = "config")]
    pub(crate) url: Option<String>,
    /// Ask whether the process lives, not whether it can serve
    #[arg(long)]
    pub(crate) live: bool,
}

/// `tollgate secret`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct SecretArgs {
    /// Read a secret on standard input and print its Argon2id hash for `secret_hash`
    #[arg(long)]
    pub(crate) hash: bool,
}

/// `tollgate key`
#[derive(Args, Clone, Debug)]
pub(crate) struct KeyArgs {
    /// HS256, HS384, HS512, RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384 or EdDSA
    #[arg(short, long, value_name = "ALG", default_value = "ES256")]
    pub(crate) algorithm: String,
}

/// `tollgate man`
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct ManArgs {
    /// Write every page into this folder, which is made if need be
    #[arg(short, long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
}

/// `tollgate token`
#[derive(Args, Clone, Debug)]
pub(crate) struct TokenArgs {
    #[command(subcommand)]
    pub(crate) command: TokenCommand,
}

/// `tollgate token issue` and `tollgate token inspect`
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Issue a token with the configured key
    #[command(after_help = "\
Example:
  tollgate token issue --client foobarbaz --scope api:write --expires-in 5m")]
    Issue {
        #[command(flatten)]
        config: ConfigArgs,
        /// The id of a configured client
        #[arg(long, value_name = "ID")]
        client: String,
        /// A scope of that client; may be given more than once [default: all of them]
        #[arg(long, value_name = "SCOPE")]
        scope: Vec<String>,
        /// How long it lives [default: as configured]
        #[arg(long, value_name = "DURATION")]
        expires_in: Option<String>,
    },
    /// Decode a token, judge it, and say which check fails
    #[command(after_help = "\
Examples:
  tollgate token inspect eyJhbGciOi…
  pbpaste | tollgate token inspect -")]
    Inspect {
        #[command(flatten)]
        config: ConfigArgs,
        /// The token, or - for standard input
        token: String,
    },
}

/// Runs what the command line asks for; the code is the process's. A wrong command line ends the process with 2.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        None => run::main(&cli.run),
        Some(Command::Run(args)) => run::main(&args),
        Some(Command::Demo(args)) => demo::main(&args),
        Some(Command::Check(args)) => check::main(&args),
        Some(Command::Doctor(args)) => doctor::main(&args),
        Some(Command::Explain(args)) => explain::main(&args),
        Some(Command::Health(args)) => health::main(&args),
        Some(Command::Secret(args)) => secret::main(&args),
        Some(Command::Key(args)) => key::main(&args),
        Some(Command::Token(args)) => token::main(&args),
        Some(Command::Schema) => schema::main(),
        Some(Command::Man(args)) => man::main(&args, Cli::command()),
        Some(Command::Completions { shell }) => completions::main(shell, &mut Cli::command()),
    }
}

/// The configuration or the input is wrong.
pub(crate) const WRONG: u8 = 1;
/// The gateway could not start.
pub(crate) const COULD_NOT_START: u8 = 3;

/// Settings for a command, from the file that [`find_file`] finds, the environment and these flags. What is wrong is
/// printed, and the exit code returned; warnings are printed too.
pub(crate) fn settings(
    config: &ConfigArgs,
    listen: &[String],
    upstream: Option<&str>,
) -> Result<(Option<PathBuf>, Loaded), ExitCode> {
    loaded(config, listen, upstream).map(|(sources, loaded)| (sources.file, loaded))
}

/// The same, with all that they were made of.
pub(crate) fn loaded(
    config: &ConfigArgs,
    listen: &[String],
    upstream: Option<&str>,
) -> Result<(Sources, Loaded), ExitCode> {
    let sources = sources(config, listen, upstream)?;
    match load(&sources) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                eprintln!("{}", warning.render(coloured()));
            }
            Ok((sources, loaded))
        }
        Err(faults) => {
            complain(&faults);
            Err(ExitCode::from(WRONG))
        }
    }
}

/// The layers of this process. Without a file that is found, an upstream from outside of it is enough to go on.
fn sources(
    config: &ConfigArgs,
    listen: &[String],
    upstream: Option<&str>,
) -> Result<Sources, ExitCode> {
    let variable = std::env::var_os("TOLLGATE_CONFIG");
    let found = find_file(config.config.as_deref(), variable.as_deref());
    let says_where = upstream.is_some() || std::env::var_os("TOLLGATE_UPSTREAM__URL").is_some();
    let file = match found {
        Ok(file) => Some(file),
        Err(_) if says_where => None,
        Err(not_found) => {
            eprintln!(
                "error: {not_found}\n  = help: write one (`[upstream]` with a `url` is enough to begin with), \
                 name it with --config, or try `tollgate demo`, which needs none"
            );
            return Err(ExitCode::from(WRONG));
        }
    };
    let mut sources = Sources::of_process(file);
    sources.listen = listen.to_vec();
    sources.upstream = upstream.map(str::to_owned);
    Ok(sources)
}

/// Says in one sentence what is wrong with the input.
pub(crate) fn wrong(why: &str) -> ExitCode {
    eprintln!("error: {why}");
    ExitCode::from(WRONG)
}

/// The end of a command: silent where it went well, else the error and its causes in one sentence.
pub(crate) fn finished(outcome: Result<(), impl std::error::Error>) -> ExitCode {
    let Err(fault) = outcome else { return ExitCode::SUCCESS };
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    wrong(&text)
}

fn complain(faults: &Faults) {
    eprint!("{}", faults.render(coloured()));
}

/// Whether standard error is a terminal that wants colours (<https://no-color.org>).
pub(crate) fn coloured() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb && std::io::stderr().is_terminal()
}

#[cfg(test)]
mod tests {
    use clap::{Command, CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_command_line_holds_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_of_every_command_ends_with_an_example() {
        fn look(command: &Command) {
            if command.get_name() == "help" {
                return;
            }
            let help = command.clone().render_long_help().to_string();
            assert!(help.contains("Example"), "{}: {help}", command.get_name());
            command.get_subcommands().for_each(look);
        }
        look(&Cli::command());
    }

    #[test]
    fn without_a_command_the_flags_are_those_of_run() {
        let cli =
            Cli::try_parse_from(["tollgate", "--listen", "127.0.0.1:1", "--upstream", "http://a"])
                .unwrap();
        assert!(cli.command.is_none());
        assert_eq!(cli.run.listen, ["127.0.0.1:1"]);
        assert_eq!(cli.run.upstream.as_deref(), Some("http://a"));
        assert!(Cli::try_parse_from(["tollgate", "--listen", "127.0.0.1:1", "check"]).is_err());
    }
}
