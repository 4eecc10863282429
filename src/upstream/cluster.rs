//! One upstream as one worker sees it: the ways to its origins, and which of them a request takes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Failure;
use super::exchange::Connection;
use super::http2::{Carrier, Multiplex};
use super::pool::Pool;
use super::state::{Group, OriginState, Tally};
use crate::clock::Clock;
use crate::config::{Balance, Origin, Upstream};
use crate::dial::Dialer;

/// One upstream.
#[derive(Debug)]
pub(super) struct Cluster {
    ways: Vec<Rc<Way>>,
    settings: Arc<Upstream>,
    balance: Balance,
    /// Whose turn it is.
    turn: Cell<usize>,
    chance: Chance,
    pub(super) timeout: Option<Duration>,
    pub(super) retries: u32,
    pub(super) preserve_host: bool,
}

/// One worker's way to an origin: its idle connections, and how to make new ones.
#[derive(Debug)]
pub(super) struct Way {
    number: usize,
    pub(super) dialer: Dialer,
    pub(super) pool: Rc<Pool>,
    http2: Rc<Multiplex>,
    state: Arc<OriginState>,
    tally: Arc<Tally>,
    /// Whether requests in flight are counted over all workers, because somebody looks at the number.
    counts_together: bool,
}

/// A request on its way to an origin and back: counted as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct Flight(Rc<Way>);

/// Some of the origins of an upstream, by number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Some64(u64);

impl Cluster {
    /// The ways to the origins of `group`. Idle connections are taken over from the one among `known` that has the
    /// same settings.
    pub(super) fn new(group: &Group, known: &[Self], clock: &Clock, seed: u64) -> Self {
        let settings = &group.settings;
        let unchanged = known.iter().find(|known| known.settings == *settings);
        let several = group.origins.len() > 1;
        let ways =
            group.origins.iter().zip(&group.tls).enumerate().map(|(number, (state, tls))| {
                let (origin, tls) = (state.origin().clone(), tls.clone());
                let before = unchanged.and_then(|known| known.ways.get(number));
                Rc::new(Way {
                    number,
                    dialer: Dialer::new(origin.clone(), tls, settings.connect_timeout),
                    pool: match before {
                        Some(before) => Rc::clone(&before.pool),
                        None => Rc::new(Pool::new(settings.idle_timeout, clock.clone())),
                    },
                    http2: match before {
                        Some(before) => Rc::clone(&before.http2),
                        None => {
                            Rc::new(Multiplex::new(&origin, settings.idle_timeout, clock.clone()))
                        }
                    },
                    tally: state.join(),
                    state: Arc::clone(state),
                    counts_together: several,
                })
            });
        Self {
            ways: ways.collect(),
            settings: Arc::clone(settings),
            balance: settings.balance,
            turn: Cell::new(usize::try_from(seed >> 32).unwrap_or_default()),
            chance: Chance::new(seed),
            timeout: settings.timeout,
            retries: settings.retries,
            preserve_host: settings.preserve_host,
        }
    }

    /// The way that a request takes which has been in vain to those of `tried`; none where all have been.
    pub(super) fn choose(&self, tried: Some64) -> Option<&Rc<Way>> {
        if let [only] = self.ways.as_slice() {
            return Some(only).filter(|_| tried.is_empty());
        }
        let open = self.all().without(tried);
        let count = open.len();
        if count == 0 {
            return None;
        }
        let number = match self.balance {
            Balance::RoundRobin => open.from(self.next_turn()),
            Balance::Random => open.nth(self.chance.below(count)),
            Balance::LeastRequests if count <= LOOK_AT_ALL => {
                // equals take turns
                let mut least = (u64::MAX, 0);
                let first = self.next_turn();
                for at in 0..self.ways.len() {
                    let number = (first + at) % self.ways.len();
                    let active = self.active(number);
                    if open.has(number) && active < least.0 {
                        least = (active, number);
                    }
                }
                least.1
            }
            Balance::LeastRequests => {
                // the better one of two by chance is nearly as good as the best, for a fraction of the work
                let (one, other) =
                    (open.nth(self.chance.below(count)), open.nth(self.chance.below(count)));
                if self.active(other) < self.active(one) { other } else { one }
            }
        };
        self.ways.get(number)
    }

    fn active(&self, number: usize) -> u64 {
        self.ways.get(number).map_or(u64::MAX, |way| way.state.active.load(Ordering::Relaxed))
    }

    fn all(&self) -> Some64 {
        Some64(u64::MAX >> (Some64::MOST - self.ways.len().clamp(1, Some64::MOST)))
    }

    fn next_turn(&self) -> usize {
        let turn = self.turn.get() % self.ways.len();
        self.turn.set(turn + 1);
        turn
    }

    pub(super) fn ways(&self) -> &[Rc<Way>] {
        &self.ways
    }

    /// The origins, in order.
    pub(super) fn origins(&self) -> impl Iterator<Item = &Origin> {
        self.ways.iter().map(|way| way.origin())
    }
}

impl Way {
    /// The origin at its end.
    pub(super) fn origin(&self) -> &Origin {
        self.dialer.origin()
    }

    /// Its number among those of its upstream.
    pub(super) const fn number(&self) -> usize {
        self.number
    }

    /// What a request goes over: a connection of its own, or a stream of one that is shared. `again`: one has failed
    /// just now, and says that the others of its age have, too. `replayable`: the request may be sent twice.
    ///
    /// # Errors
    /// When no connection comes about; nothing of the request was sent then.
    pub(super) async fn carrier(
        &self,
        again: bool,
        replayable: bool,
        upgrade: bool,
    ) -> Result<Carrier, Failure> {
        if self.http2.is_spoken() {
            // rare, so its state is not kept in every request's
            return Box::pin(self.stream(replayable, upgrade)).await;
        }
        if let Some(connection) = self.pool.take(!again, replayable).await {
            return Ok(Carrier::Connection(connection));
        }
        if upgrade || !self.origin().https {
            return Ok(Carrier::Connection(Connection::new(self.dialer.dial().await?)));
        }
        let stream = self.dialer.dial_any().await?;
        if !stream.speaks_http2() {
            return Ok(Carrier::Connection(Connection::new(stream)));
        }
        Box::pin(self.http2.adopt(stream, &self.dialer)).await?;
        Box::pin(self.stream(replayable, upgrade)).await
    }

    /// A stream of a connection that is shared, from an origin that speaks HTTP/2; or a connection, should it no longer
    /// do so, or have no other way to change the protocol.
    async fn stream(&self, replayable: bool, upgrade: bool) -> Result<Carrier, Failure> {
        loop {
            let lease = match self.http2.carrier(&self.dialer).await? {
                Carrier::Stream(lease) => lease,
                Carrier::Connection(connection) => {
                    return Ok(Carrier::Connection(connection));
                }
            };
            if upgrade && !lease.takes_tunnels() {
                if !self.origin().https {
                    return Err(Failure::NoTunnel);
                }
                return Ok(Carrier::Connection(Connection::new(self.dialer.dial().await?)));
            }
            if replayable {
                return Ok(Carrier::Stream(lease));
            }
            if let Some(lease) = lease.checked().await {
                return Ok(Carrier::Stream(lease));
            }
        }
    }

    /// Closes all idle connections: their descriptors are needed elsewhere.
    pub(super) fn release(&self) {
        self.pool.clear();
        self.http2.release();
    }

    /// House-keeping.
    pub(super) fn tidy(&self) {
        self.pool.tidy();
        self.http2.tidy();
        self.tally.set_idle(self.pool.len());
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.state.leave(&self.tally);
    }
}

impl Flight {
    /// One more request on this way.
    pub(super) fn begin(way: &Rc<Way>) -> Self {
        way.tally.begin(!way.counts_together);
        if way.counts_together {
            way.state.active.fetch_add(1, Ordering::Relaxed);
        }
        Self(Rc::clone(way))
    }

    /// The way that it takes.
    pub(super) fn way(&self) -> &Way {
        &self.0
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.0.counts_together {
            self.0.state.active.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.0.tally.end();
        }
    }
}

impl Some64 {
    const MOST: usize = crate::config::MOST_ORIGINS;

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    pub(super) const fn has(self, number: usize) -> bool {
        self.0 >> number & 1 == 1
    }

    pub(super) const fn add(&mut self, number: usize) {
        self.0 |= 1 << number;
    }

    const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// The first at or behind `number`, around the end.
    const fn from(self, number: usize) -> usize {
        (self.0.rotate_right(number as u32).trailing_zeros() as usize + number) % Self::MOST
    }

    /// The one with `before` others before it.
    const fn nth(self, mut before: usize) -> usize {
        let mut left = self.0;
        while before > 0 {
            left &= left - 1;
            before -= 1;
        }
        left.trailing_zeros() as usize
    }
}

/// Chance of the cheap kind (xorshift64*): for spreading load, never for secrets.
#[derive(Debug)]
struct Chance(Cell<u64>);

impl Chance {
    fn new(seed: u64) -> Self {
        Self(Cell::new(seed | 1))
    }

    fn next(&self) -> u64 {
        let mut state = self.0.get();
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        self.0.set(state);
        state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number below `end`, which is not 0.
    fn below(&self, end: usize) -> usize {
        usize::try_from((u128::from(self.next()) * end as u128) >> 64).unwrap_or_default()
    }
}

/// Up to so many origins, each is looked at.
const LOOK_AT_ALL: usize = 8;

#[cfg(test)]
mod tests {
    use super::{Chance, Some64};

    #[test]
    fn a_set_of_origins_is_walked_from_anywhere_and_around_the_end() {
        let mut some = Some64::default();
        assert!(some.is_empty());
        for number in [1, 5, 63] {
            some.add(number);
        }
        assert_eq!((some.len(), some.has(5), some.has(6)), (3, true, false));
        assert_eq!([0, 1, 2, 6].map(|number| some.from(number)), [1, 1, 5, 63]);
        let mut some = Some64::default();
        some.add(2);
        assert_eq!(some.from(3), 2);
        some.add(40);
        assert_eq!([0, 1].map(|before| some.nth(before)), [2, 40]);
    }

    #[test]
    fn chance_stays_below_its_bound_and_takes_every_value() {
        let chance = Chance::new(7);
        let mut seen = [0_u32; 3];
        for _ in 0..3_000 {
            seen[chance.below(3)] += 1;
        }
        assert!(seen.iter().all(|count| (800..1_200).contains(count)), "{seen:?}");
    }
}
