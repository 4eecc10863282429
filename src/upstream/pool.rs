//! One worker's idle connections to an origin. The most recently used goes first, so that the rest can age.

use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::exchange::Connection;
use crate::clock::Clock;

/// Idle connections, each with the time since when it is idle.
#[derive(Debug)]
pub(super) struct Pool {
    idle: RefCell<Vec<(Box<Connection>, Instant)>>,
    limit: Duration,
    clock: Clock,
}

impl Pool {
    /// Connections stay for `limit` at most.
    pub(super) const fn new(limit: Duration, clock: Clock) -> Self {
        Self { idle: RefCell::new(Vec::new()), limit, clock }
    }

    /// A connection that is still alive as far as can be told; `None` to have a new one made.
    ///
    /// What can be replayed trusts what the runtime has heard of the socket, for nothing. What cannot asks the
    /// socket itself if it was idle for more than a moment: the upstream may have closed it just now.
    pub(super) async fn take(&self, pooled: bool, replayable: bool) -> Option<Box<Connection>> {
        if !pooled {
            return None;
        }
        loop {
            let (mut connection, since) = self.idle.borrow_mut().pop()?;
            let idle = self.clock.monotonic().saturating_duration_since(since);
            if idle >= self.limit {
                self.idle.borrow_mut().clear(); // the others are older still
                return None;
            }
            let is_quiet = poll_fn(|cx| Poll::Ready(connection.poll_is_quiet(cx))).await;
            if is_quiet && (replayable || idle < ASK_AFTER || !connection.is_stale()) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, mut connection: Box<Connection>) {
        if !connection.is_clean() {
            return; // what is left over belongs to nobody: close
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            connection.begin_idle();
            idle.push((connection, self.clock.monotonic()));
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Closes them all: their descriptors are needed elsewhere.
    pub(super) fn clear(&self) {
        self.idle.borrow_mut().clear();
    }

    /// Closes what is too old and what the upstream has closed.
    pub(super) fn tidy(&self) {
        let now = self.clock.monotonic();
        self.idle.borrow_mut().retain(|(connection, since)| {
            let idle = now.saturating_duration_since(*since);
            idle < self.limit && (idle < TIDY_AFTER || !connection.is_stale())
        });
    }
}

/// Most idle connections that one worker keeps.
const MAX_IDLE: usize = 1024;
/// A connection that was idle for less is taken for alive.
const ASK_AFTER: Duration = Duration::from_millis(2);
/// A connection that was used within this time is not looked at when tidying.
const TIDY_AFTER: Duration = Duration::from_secs(1);
