//! One worker's idle connections to an origin. The most recently used goes first, so that the rest can age.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::exchange::Connection;
use super::gate::Gate;
use crate::clock::Clock;

/// Idle connections, each with the time since when it is idle.
#[derive(Debug)]
pub(super) struct Pool {
    idle: RefCell<Vec<(Box<Connection>, Instant)>>,
    limit: Duration,
    /// The limit on connections, where there is one: whoever waits for it comes before an idle connection.
    gate: Option<Arc<Gate>>,
    /// Requests of this worker that wait for a connection.
    expecting: Cell<usize>,
    returned: Notify,
    /// Counts connections that were wanted here and elsewhere.
    turn: Cell<usize>,
    clock: Clock,
}

/// A request that waits for a connection of this pool, until it is dropped.
pub(super) struct Expecting<'p>(&'p Pool);

impl Pool {
    /// Connections stay for `limit` at most.
    pub(super) fn new(limit: Duration, gate: Option<Arc<Gate>>, clock: Clock) -> Self {
        Self {
            idle: RefCell::new(Vec::new()),
            limit,
            gate,
            expecting: Cell::new(0),
            returned: Notify::new(),
            turn: Cell::new(0),
            clock,
        }
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
            let idle = self.clock.recent().saturating_duration_since(since);
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
        if self.gate.as_ref().is_some_and(|gate| self.is_wanted_elsewhere(gate)) {
            return; // its place goes to whoever has waited longest
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MAX_IDLE {
            connection.begin_idle();
            idle.push((connection, self.clock.recent()));
            if self.expecting.get() > 0 {
                self.returned.notify_one();
            }
        }
    }

    /// Counts a request that is going to wait with [`Pool::next`].
    pub(super) fn expect(&self) -> Expecting<'_> {
        self.expecting.set(self.expecting.get() + 1);
        Expecting(self)
    }

    /// Whether a request waits for a connection here.
    pub(super) const fn is_expected(&self) -> bool {
        self.expecting.get() > 0
    }

    /// The next connection that comes back.
    pub(super) async fn next(&self, replayable: bool) -> Box<Connection> {
        loop {
            self.returned.notified().await;
            if let Some(connection) = self.take(true, replayable).await {
                return connection;
            }
        }
    }

    /// Whether other workers wait for a place and should have the one of a connection that is idle here now. Those that
    /// wait here are served first, but not for ever.
    fn is_wanted_elsewhere(&self, gate: &Gate) -> bool {
        let elsewhere = gate.waiting().saturating_sub(self.expecting.get());
        if elsewhere == 0 {
            return false;
        }
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        self.expecting.get() == 0 || turn.is_multiple_of(ELSEWHERE_EACH)
    }

    /// Closes the connection that was idle longest, so that there is a place for a new one.
    pub(super) fn make_room(&self) {
        let mut idle = self.idle.borrow_mut();
        if !idle.is_empty() {
            idle.remove(0);
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
        let now = self.clock.recent();
        self.idle.borrow_mut().retain(|(connection, since)| {
            let idle = now.saturating_duration_since(*since);
            idle < self.limit && (idle < TIDY_AFTER || !connection.is_stale())
        });
        let wanted = self.gate.as_ref().map_or(0, |gate| gate.waiting());
        (0..wanted).for_each(|_| self.make_room());
    }
}

impl Drop for Expecting<'_> {
    fn drop(&mut self) {
        self.0.expecting.set(self.0.expecting.get() - 1);
        if self.0.expecting.get() > 0 && self.0.len() > 0 {
            self.0.returned.notify_one(); // it may have been woken for one that it no longer wants
        }
    }
}

/// Of the connections that are waited for here and elsewhere, each so-manieth goes elsewhere.
const ELSEWHERE_EACH: usize = 4;
/// Most idle connections that one worker keeps.
const MAX_IDLE: usize = 1024;
/// A connection that was idle for less is taken for alive.
const ASK_AFTER: Duration = Duration::from_millis(2);
/// A connection that was used within this time is not looked at when tidying.
const TIDY_AFTER: Duration = Duration::from_secs(1);
