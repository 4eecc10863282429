//! The proxies that are measured: how each is configured and started, each with a port in clear and one for TLS.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::folder::Folder;
use super::keys::{AUDIENCE, ISSUER, Keys};
use super::process::{Server, first_line};
use super::tools::Tool;
use super::upstream::Upstream;
use super::{Result, Trouble, While as _, free_port, kernel};

/// Open files that a peer is allowed, if we are.
const FILES: u64 = 65_536;

/// Everything that a peer is started with.
pub struct Ground<'a> {
    pub folder: &'a Folder,
    pub keys: &'a Keys,
    pub upstream: &'a Upstream,
    /// Where the peer runs.
    pub cores: &'a [usize],
}

/// One way in: a port and the process behind it.
#[derive(Clone, Copy, Debug)]
pub struct Door {
    pub port: u16,
    process: u32,
}

impl Door {
    /// All processes behind it.
    pub fn processes(self) -> Vec<u32> {
        kernel::tree(self.process)
    }
}

/// A proxy that runs until this is dropped.
pub struct Peer {
    pub name: String,
    pub version: String,
    /// Whether it asks for tokens.
    pub verifies: bool,
    pub clear: Door,
    pub tls: Door,
    _servers: Vec<Server>,
}

/// What differs between the runs of one tollgate.
pub struct Setting<'a> {
    pub workers: usize,
    /// Further lines of `[server]`.
    pub server: &'a str,
    /// The secret of the client `bench`, as a line.
    pub client: &'a str,
    /// What follows in the file.
    pub further: &'a str,
}

impl Default for Setting<'_> {
    fn default() -> Self {
        let client = "secret = \"J6zV0c1yQm8r5nT2bK9wX4sD7fG3hL0p\"";
        Self { workers: 1, server: "", client, further: "" }
    }
}

impl Ground<'_> {
    pub fn haproxy(&self) -> Result<Peer> {
        let (prepared, ports) = self.prepared_haproxy()?;
        let version = first_line(&[&Tool::Haproxy.path()?, "-v"]);
        let version = version.split(" - ").next().unwrap_or_default().replace(" version", "");
        let version = version.split(' ').take(2).collect::<Vec<_>>().join(" ");
        self.one_process("haproxy", &prepared.words, ports, version, true)
    }

    pub fn nginx(&self) -> Result<Peer> {
        let (prepared, ports) = self.prepared_nginx()?;
        let version = first_line(&[&Tool::Nginx.path()?, "-v"]);
        let version = version.replace("nginx version: nginx/", "nginx ");
        self.one_process("nginx", &prepared.words, ports, version, false)
    }

    /// HAProxy or nginx, by the name of its program; it is not started.
    pub fn prepared(&self, name: &str) -> Result<Prepared> {
        match name {
            "haproxy" => Ok(self.prepared_haproxy()?.0),
            "nginx" => Ok(self.prepared_nginx()?.0),
            other => Err(Trouble::new(format!("no peer is called {other}"))),
        }
    }

    fn prepared_haproxy(&self) -> Result<(Prepared, Ports)> {
        let (program, ports) = (Tool::Haproxy.path()?, Ports::new()?);
        let config = self.configure("haproxy", include_str!("haproxy.cfg"), ports, &[])?;
        let words = [&program, "-f", &config.display().to_string(), "-db"].map(str::to_owned);
        Ok((Prepared { port: ports.clear, words: words.to_vec() }, ports))
    }

    fn prepared_nginx(&self) -> Result<(Prepared, Ports)> {
        let (program, ports) = (Tool::Nginx.path()?, Ports::new()?);
        let config = self.configure("nginx", include_str!("nginx.conf"), ports, &[])?;
        let own = self.own("nginx")?.display().to_string();
        let (log, config) = (format!("{own}/error.log"), config.display().to_string());
        let words = [&program, "-p", &own, "-e", &log, "-c", &config].map(str::to_owned);
        Ok((Prepared { port: ports.clear, words: words.to_vec() }, ports))
    }

    /// Two processes: TLS is for all listeners of one.
    pub fn tollgate(&self, name: &str, program: &Path) -> Result<Peer> {
        let tls = self.tls_lines();
        let plain = self.tollgate_process(name, program, &Setting::default())?;
        let other = format!("{name}-tls");
        let setting = Setting { server: &tls, ..Setting::default() };
        let covered = self.tollgate_process(&other, program, &setting)?;
        let version = first_line(&[&program.display().to_string(), "--version"]);
        let ((clear, one), (tls, two)) = (plain, covered);
        Ok(Peer {
            name: name.to_owned(),
            version,
            verifies: true,
            clear,
            tls,
            _servers: vec![one, two],
        })
    }

    pub fn tls_lines(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "tls = {{ certificate_file = \"{folder}/tls.crt\", private_key_file = \"{folder}/tls.key\" }}"
        )
    }

    pub fn tollgate_process(
        &self,
        name: &str,
        program: &Path,
        setting: &Setting<'_>,
    ) -> Result<(Door, Server)> {
        let command = self.tollgate_command(name, program, setting)?;
        let mut server = self.start(name, &command.words)?;
        server.wait_for(command.port)?;
        Ok((Door { port: command.port, process: server.id() }, server))
    }

    /// Its configuration is written, and it is not started.
    pub fn tollgate_command(
        &self,
        name: &str,
        program: &Path,
        setting: &Setting<'_>,
    ) -> Result<Prepared> {
        let ports = Ports::new()?;
        let values = [
            ("WORKERS", setting.workers.to_string()),
            ("SERVER", setting.server.to_owned()),
            ("CLIENT", setting.client.to_owned()),
            ("FURTHER", setting.further.to_owned()),
        ];
        let config = self.configure(name, include_str!("tollgate.toml"), ports, &values)?;
        let (program, config) = (program.display().to_string(), config.display().to_string());
        let words = [&program, "run", "--config", &config].map(str::to_owned).to_vec();
        Ok(Prepared { port: ports.clear, words })
    }

    fn one_process(
        &self,
        name: &str,
        command: &[String],
        ports: Ports,
        version: String,
        verifies: bool,
    ) -> Result<Peer> {
        let mut server = self.start(name, command)?;
        server.wait_for(ports.clear)?;
        let process = server.id();
        Ok(Peer {
            name: name.to_owned(),
            version,
            verifies,
            clear: Door { port: ports.clear, process },
            tls: Door { port: ports.tls, process },
            _servers: vec![server],
        })
    }

    pub fn start(&self, name: &str, command: &[String]) -> Result<Server> {
        Server::start(name, command, self.cores, &self.own(name)?.join("said"))
    }

    /// A folder of the peer's own, which its workers may write to whoever they run as.
    fn own(&self, name: &str) -> Result<PathBuf> {
        let own = self.folder.file(name);
        fs::create_dir_all(&own).during(own.display())?;
        fs::set_permissions(&own, Permissions::from_mode(0o777)).during(own.display())?;
        Ok(own)
    }

    fn configure(
        &self,
        name: &str,
        template: &str,
        ports: Ports,
        further: &[(&str, String)],
    ) -> Result<PathBuf> {
        let files = kernel::raise_open_files(FILES);
        let own = self.own(name)?;
        let values = [
            ("PORT", ports.clear.to_string()),
            ("TLS", ports.tls.to_string()),
            ("UPSTREAM", self.upstream.port.to_string()),
            ("FOLDER", self.folder.path().display().to_string()),
            ("OWN", own.display().to_string()),
            ("SECRET", self.keys.secret.clone()),
            ("ISSUER", ISSUER.to_owned()),
            ("AUDIENCE", AUDIENCE.to_owned()),
            ("FILES", files.to_string()),
            // Two descriptors for each connection, and some of its own.
            ("MAXCONN", ((files - 200) / 2).min(30_000).to_string()),
        ];
        let mut text = template.to_owned();
        for (key, value) in values.iter().chain(further) {
            text = text.replace(&format!("@{key}@"), value);
        }
        let file = own.join("configuration");
        fs::write(&file, text).during(file.display())?;
        Ok(file)
    }
}

/// A peer that could be started.
pub struct Prepared {
    pub port: u16,
    pub words: Vec<String>,
}

#[derive(Clone, Copy)]
struct Ports {
    clear: u16,
    tls: u16,
}

impl Ports {
    fn new() -> Result<Self> {
        Ok(Self { clear: free_port()?, tls: free_port()? })
    }
}
