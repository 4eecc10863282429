//! How many connections this process can hold.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The most client connections at once. Raises the soft limit on file descriptors to the hard one, and keeps
/// half of what is then allowed for the connections to the upstream.
pub(super) fn connections(configured: Option<usize>) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if let (Some(soft), Some(hard)) = (limit.current, limit.maximum)
        && soft < hard
    {
        // where it is not allowed, the soft limit stands
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: Some(hard) });
    }
    let allowed = getrlimit(Resource::Nofile).current.and_then(|files| usize::try_from(files).ok());
    let possible = allowed
        .map_or(usize::MAX, |files| (files.saturating_sub(RESERVED_FILES) / FILES_EACH).max(1));
    configured.map_or(possible, |wanted| wanted.min(possible))
}

/// Descriptors for listeners, runtimes, logs and files.
const RESERVED_FILES: usize = 64;
/// Descriptors for one client: its own connection; one to the upstream is shared by many.
const FILES_EACH: usize = 1;
