//! HTTP/2 towards an origin (RFC 9113): one worker's few connections to it, each of which carries many requests.
//!
//! A request takes a [`Lease`]: the right to one stream. A connection is opened when every other one is at its limit
//! of streams, one at a time, and closed when nobody has used it for a while; one that the origin wants to be rid of
//! (GOAWAY) gets no new streams and lives until its last one has ended.

mod exchange;
mod link;
mod probe;
mod transfer;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

pub(super) use exchange::{Answered, Exchange, accept_of};
pub(super) use probe::probe;

use super::Failure;
use super::cluster::Flight;
use super::exchange::Connection;
use super::failure::Trouble;
use super::gate::{Gate, Place};
use crate::clock::Clock;
use crate::config::Origin;
use crate::dial::{DialError, Dialer};
use crate::http1::Deadline;
use crate::net::Stream;
use link::Link;

/// One worker's HTTP/2 connections to an origin.
#[derive(Debug)]
pub(super) struct Multiplex {
    links: RefCell<Vec<Rc<Link>>>,
    /// Whether HTTP/2 is spoken; over TLS, what the origin has chosen last.
    spoken: Cell<bool>,
    /// A connection is being opened.
    opening: Cell<bool>,
    /// How often none came of it.
    failures: Cell<u64>,
    /// Requests that wait for a stream, and what wakes them.
    waiting: Cell<usize>,
    room: Notify,
    /// Timers of requests that are over, for those to come.
    timers: RefCell<Vec<Deadline>>,
    idle_limit: Duration,
    clock: Clock,
}

/// What a request goes over.
#[derive(Debug)]
pub(super) enum Carrier {
    /// A stream of a connection that is shared.
    Stream(Lease),
    /// A connection of its own: the origin chose HTTP/1.1.
    Connection(Box<Connection>),
}

/// The right to one stream of a connection, from before its head until after its end.
#[derive(Debug)]
pub(super) struct Lease {
    link: Rc<Link>,
    pool: Rc<Multiplex>,
    /// What counts the request as in flight.
    flight: Option<Flight>,
}

impl Multiplex {
    /// For this origin. Connections that nobody uses are closed after `idle_limit`.
    pub(super) fn new(origin: &Origin, idle_limit: Duration, clock: Clock) -> Self {
        Self {
            links: RefCell::default(),
            spoken: Cell::new(origin.h2c),
            opening: Cell::new(false),
            failures: Cell::new(0),
            waiting: Cell::new(0),
            room: Notify::new(),
            timers: RefCell::default(),
            idle_limit,
            clock,
        }
    }

    /// Whether the origin speaks HTTP/2, as far as is known.
    pub(super) const fn is_spoken(&self) -> bool {
        self.spoken.get()
    }

    /// A stream of a connection that is open, or that `dialer` opens. `gate` limits the connections, where it is.
    ///
    /// # Errors
    /// When no connection comes about, or no stream gets free while one could have been opened.
    pub(super) async fn carrier(
        self: &Rc<Self>,
        dialer: &Dialer,
        gate: Option<&Gate>,
    ) -> Result<Carrier, Failure> {
        let failures = self.failures.get();
        let until = Instant::from_std(self.clock.monotonic() + dialer.limit());
        loop {
            if let Some(lease) = self.take() {
                return Ok(Carrier::Stream(lease));
            }
            // many that come at once wait for one connection; once that has failed, each sees for itself
            let is_first = !self.opening.get() || self.failures.get() != failures;
            if is_first && self.links.borrow().len() < MAX_CONNECTIONS {
                let place = gate.map(Gate::try_take);
                if !matches!(place, Some(None)) {
                    if let Some(connection) = self.open(dialer, place.flatten()).await? {
                        return Ok(Carrier::Connection(connection));
                    }
                    continue;
                }
            }
            self.wait(gate, until).await?;
        }
    }

    /// Waits until a stream may be free, or one more connection may be made.
    async fn wait(&self, gate: Option<&Gate>, until: Instant) -> Result<(), Failure> {
        let _here = Waiting::begin(self).ok_or(Failure::Saturated)?;
        let soon = async {
            match gate {
                None => self.room.notified().await,
                Some(gate) => {
                    let Some(_waiting) = gate.wait() else { return Err(Failure::Saturated) };
                    tokio::select! {
                        () = self.room.notified() => {}
                        _ = gate.take(), if gate.is_full() => {}
                    }
                }
            }
            Ok(())
        };
        tokio::time::timeout_at(until, soon).await.unwrap_or(Err(Failure::Saturated))
    }

    /// A stream of a connection that is open.
    pub(super) fn take(self: &Rc<Self>) -> Option<Lease> {
        let links = self.links.borrow();
        let link = links.iter().find(|link| link.has_room())?;
        link.begin();
        Some(Lease { link: Rc::clone(link), pool: Rc::clone(self), flight: None })
    }

    /// Opens a connection and keeps it; one that turns out to speak HTTP/1.1 is handed out.
    async fn open(
        self: &Rc<Self>,
        dialer: &Dialer,
        place: Option<Place>,
    ) -> Result<Option<Box<Connection>>, Failure> {
        let opening = Opening::begin(self);
        let stream = dialer.dial_any().await?;
        if !dialer.origin().h2c && !stream.speaks_http2() {
            self.spoken.set(false);
            opening.succeed();
            return Ok(Some(Connection::new(stream, place)));
        }
        self.adopt(stream, place, dialer).await?;
        opening.succeed();
        Ok(None)
    }

    /// Begins to speak HTTP/2 over a connection. It is usable when the peer has said what it allows.
    pub(super) async fn adopt(
        self: &Rc<Self>,
        stream: Stream,
        place: Option<Place>,
        dialer: &Dialer,
    ) -> Result<(), Failure> {
        let opened = Link::open(stream, place, self, &self.clock);
        let link = tokio::time::timeout(dialer.limit(), opened).await.unwrap_or_else(|_| {
            let authority = dialer.origin().authority.clone();
            Err(DialError::Timeout { authority, limit: dialer.limit() }.into())
        })?;
        self.links.borrow_mut().push(link);
        self.spoken.set(true);
        Ok(())
    }

    /// How many connections nobody uses.
    pub(super) fn idle(&self) -> usize {
        self.links.borrow().iter().filter(|link| !link.is_busy()).count()
    }

    /// Closes the connections that nobody has used for too long.
    pub(super) fn tidy(&self) {
        let now = self.clock.monotonic();
        self.links.borrow_mut().retain(|link| !link.is_idle_for(self.idle_limit, now));
    }

    /// Closes the connections that nobody uses.
    pub(super) fn release(&self) {
        self.links.borrow_mut().retain(|link| link.is_busy());
    }

    /// The connection takes no new streams.
    fn retire(&self, link: &Link) {
        self.links.borrow_mut().retain(|known| !std::ptr::eq(Rc::as_ptr(known), link));
        self.room.notify_waiters();
    }

    fn timer(&self) -> Deadline {
        self.timers.borrow_mut().pop().unwrap_or_default()
    }

    fn keep_timer(&self, mut timer: Deadline) {
        let mut timers = self.timers.borrow_mut();
        if timers.len() < MAX_TIMERS {
            timer.set(None);
            timers.push(timer);
        }
    }
}

impl Lease {
    /// The answer came to its end.
    fn succeeded(&self) {
        if let Some(flight) = &self.flight {
            flight.succeeded();
        }
    }

    /// The origin failed the request once its answer had begun.
    fn failed(&self, trouble: Trouble) {
        if let Some(flight) = &self.flight {
            flight.failed(trouble, self.pool.clock.monotonic());
        }
    }

    /// Counts the request as in flight for as long as it lives.
    pub(super) fn carry(&mut self, flight: Flight) {
        self.flight = Some(flight);
    }

    /// Whether the peer takes extended CONNECT (RFC 8441 §3).
    pub(super) fn takes_tunnels(&self) -> bool {
        self.link.takes_tunnels()
    }

    /// Looks whether the connection is still there, if it was idle for more than a moment: what cannot be sent twice
    /// should not meet a connection that the peer has just closed. `None`: it is gone.
    pub(super) async fn checked(self) -> Option<Self> {
        for _ in 0..MAX_LOOKS {
            if !self.link.has_something_to_read() {
                break;
            }
            tokio::task::yield_now().await; // whoever drives the connection reads it
        }
        self.link.is_usable().then_some(self)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.link.end(&self.pool.clock);
        if self.pool.waiting.get() > 0 {
            self.pool.room.notify_one();
        }
    }
}

/// While it lives, a connection is being opened.
struct Opening<'a> {
    pool: &'a Multiplex,
    succeeded: bool,
}

impl<'a> Opening<'a> {
    fn begin(pool: &'a Multiplex) -> Self {
        pool.opening.set(true);
        Self { pool, succeeded: false }
    }

    fn succeed(mut self) {
        self.succeeded = true;
    }
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        self.pool.opening.set(false);
        if !self.succeeded {
            self.pool.failures.set(self.pool.failures.get().wrapping_add(1));
        }
        self.pool.room.notify_waiters();
    }
}

/// A place among those who wait for a stream.
struct Waiting<'a>(&'a Multiplex);

impl<'a> Waiting<'a> {
    fn begin(pool: &'a Multiplex) -> Option<Self> {
        let waiting = pool.waiting.get();
        (waiting < MAX_WAITING).then(|| {
            pool.waiting.set(waiting + 1);
            Self(pool)
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.set(self.0.waiting.get() - 1);
    }
}

/// Most connections of one worker to one origin. An origin that allows a hundred streams on each is served by one or
/// two; this many is for those that allow very few.
const MAX_CONNECTIONS: usize = 64;
/// Most requests of one worker that wait for a stream of one origin.
const MAX_WAITING: usize = 1024;
/// Timers that are kept for requests to come.
const MAX_TIMERS: usize = 256;
/// Turns that a connection gets to read what has come, before a request that cannot be sent twice goes over it.
const MAX_LOOKS: usize = 4;
