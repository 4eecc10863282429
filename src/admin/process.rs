//! What the system says of this process. What it does not say is left out.

use std::fs;

/// Numbers of the process.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Process {
    /// Resident memory.
    pub(super) memory_bytes: Option<u64>,
    /// File descriptors in use.
    pub(super) open_files: Option<u64>,
    /// As many may be.
    pub(super) most_files: Option<u64>,
    /// In user and system mode.
    pub(super) cpu_seconds: Option<f64>,
    pub(super) threads: Option<u64>,
}

impl Process {
    pub(super) fn look() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok()
        };
        let files = fs::read_dir("/proc/self/fd").ok();
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            memory_bytes: number("VmRSS:").map(|kib| kib * 1024),
            // reading the folder takes one of its own
            open_files: files.map(|files| (files.count() as u64).saturating_sub(1)),
            most_files: limits.current,
            cpu_seconds: fs::read_to_string("/proc/self/stat").ok().and_then(|stat| cpu(&stat)),
            threads: number("Threads:"),
        }
    }
}

/// proc(5): `utime` and `stime` are the 14th and 15th field; the second is a name that may hold blanks.
fn cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_A_SECOND)
}

/// `USER_HZ`: what Linux counts in towards programs, on every machine that Rust is compiled for.
const TICKS_A_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::{Process, cpu};

    #[test]
    fn the_time_of_a_process_with_an_odd_name_can_be_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(cpu(stat), Some(2.0));
        assert_eq!(cpu("nothing"), None);
    }

    #[test]
    fn this_process_has_memory_files_and_threads() {
        let process = Process::look();
        assert!(process.memory_bytes.unwrap() > 1 << 20);
        assert!(process.open_files.unwrap() >= 3);
        assert!(process.threads.unwrap() >= 1);
        assert!(process.cpu_seconds.is_some());
    }
}
