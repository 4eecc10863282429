//! Tells the supervisor of this process how it is, as systemd wants to be told (sd_notify(3)): a datagram to the socket
//! that `$NOTIFY_SOCKET` names.

use std::ffi::OsStr;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};

/// Whoever started this process and wants to know; nobody by default.
#[derive(Clone, Debug, Default)]
pub struct Supervisor(Option<SocketAddr>);

impl Supervisor {
    /// The one that the environment names, if it does.
    #[must_use]
    pub fn of_process() -> Self {
        let name = std::env::var_os("NOTIFY_SOCKET").filter(|name| !name.is_empty());
        Self(name.and_then(|name| address(&name)))
    }

    /// Requests are served.
    pub fn ready(&self) {
        self.say("READY=1");
    }

    /// The configuration is read again; [`Supervisor::ready`] follows.
    pub fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1_000;
        self.say(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}"));
    }

    /// No new work is taken.
    pub fn stopping(&self) {
        self.say("STOPPING=1");
    }

    /// A supervisor that does not listen has lost nothing that we could mend.
    fn say(&self, state: &str) {
        let Some(address) = &self.0 else { return };
        let sent = UnixDatagram::unbound()
            .and_then(|socket| socket.send_to_addr(state.as_bytes(), address));
        if let Err(fault) = sent {
            tracing::debug!(error = %fault, "the supervisor cannot be told");
        }
    }
}

/// A path, or after `@` a name in the abstract space.
fn address(name: &OsStr) -> Option<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name).ok(),
        None => SocketAddr::from_pathname(name).ok(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use super::{Supervisor, address};

    #[test]
    fn the_supervisor_hears_each_state() {
        let path = std::env::temp_dir().join(format!("tollgate-notify-{}", std::process::id()));
        let socket = UnixDatagram::bind(&path).unwrap();
        let supervisor = Supervisor(address(path.as_os_str()));
        supervisor.ready();
        supervisor.reloading();
        let mut heard = [0; 100];
        let length = socket.recv(&mut heard).unwrap();
        assert_eq!(&heard[..length], b"READY=1");
        let length = socket.recv(&mut heard).unwrap();
        let text = std::str::from_utf8(&heard[..length]).unwrap();
        assert!(text.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{text}");
        std::fs::remove_file(path).unwrap();
    }
}
