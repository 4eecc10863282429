//! How many connections this process can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most client connections at once. Raises the soft limit on file descriptors to the hard one, and keeps
/// [`RESERVED_FILES`] of what is then allowed for everything else.
pub(super) fn connections(configured: Option<usize>) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if let (Some(soft), Some(hard)) = (limit.current, limit.maximum)
        && soft < hard
    {
        // where it is not allowed, the soft limit stands
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) });
    }
    let allowed = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    let possible = allowed.map_or(usize::MAX, |files| files.saturating_sub(RESERVED_FILES).max(1));
    configured.map_or(possible, |wanted| wanted.min(possible))
}

/// Descriptors for listeners, runtimes, logs and files, and for the connections to the upstream: most clients
/// are idle, and those that are not get 503 when there is none left.
const RESERVED_FILES: usize = 64;
