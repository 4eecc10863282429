//! Finds the programs that a measurement needs, or brings them in.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Result, Trouble, While as _};

/// A program of others.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tool {
    Haproxy,
    Nginx,
    Wrk,
    H2load,
    Setsid,
    Setpriv,
}

impl Tool {
    pub const fn program(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Wrk => "wrk",
            Self::H2load => "h2load",
            Self::Setsid => "setsid",
            Self::Setpriv => "setpriv",
        }
    }

    /// Its package in Debian.
    const fn package(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx-light",
            Self::Wrk => "wrk",
            Self::H2load => "nghttp2-client",
            Self::Setsid | Self::Setpriv => "util-linux",
        }
    }

    pub fn find(self) -> Option<PathBuf> {
        let path = env::var("PATH").unwrap_or_default();
        // Debian keeps servers where an ordinary user's PATH does not lead.
        let folders = path.split(':').chain(["/usr/sbin", "/usr/bin"]);
        folders.map(|folder| Path::new(folder).join(self.program())).find(|file| file.is_file())
    }

    /// Where it is, for one that has been asked for by [`require`].
    pub fn path(self) -> Result<String> {
        let found =
            self.find().ok_or_else(|| Trouble::new(format!("{} is missing", self.program())))?;
        Ok(found.display().to_string())
    }
}

/// Sees that these are there; with `install`, brings in those that are not.
pub fn require(tools: &[Tool], install: bool) -> Result<()> {
    let missing: Vec<Tool> = tools.iter().copied().filter(|tool| tool.find().is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<_> = missing.iter().map(|tool| tool.package()).collect();
    packages.dedup();
    let programs: Vec<_> = missing.iter().map(|tool| tool.program()).collect();
    if !install {
        return Err(Trouble::new(format!(
            "missing: {}\n= help: on Debian: apt-get install {}; or run this again with --install; or leave them out \
             with --peers and --workloads",
            programs.join(", "),
            packages.join(" ")
        )));
    }
    install_packages(&packages)?;
    require(tools, false)
}

fn install_packages(packages: &[&str]) -> Result<()> {
    eprintln!("installing: {}", packages.join(" "));
    let apt = |arguments: &[&str]| {
        let root = rustix::process::geteuid().is_root();
        let mut command = if root { Command::new("apt-get") } else { Command::new("sudo") };
        if !root {
            command.arg("apt-get");
        }
        command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments).stdout(std::io::stderr());
        let status = command.status().during("apt-get")?;
        match status.success() {
            true => Ok(()),
            false => Err(Trouble::new(format!("apt-get {} failed: {status}", arguments.join(" ")))),
        }
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], packages].concat())
}
