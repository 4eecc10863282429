//! One upstream as one worker sees it: the ways to its origins, and which of them a request takes.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::Failure;
use super::budget::Budget;
use super::exchange::Connection;
use super::failure::Trouble;
use super::gate::{Gate, Place};
use super::http2::{Carrier, Multiplex};
use super::pool::Pool;
use super::state::{Group, OriginState, Standing, Tally, WHOLE_SHARE};
use crate::clock::Clock;
use crate::config::{Balance, Origin, Upstream};
use crate::dial::Dialer;

/// One upstream.
#[derive(Debug)]
pub(super) struct Cluster {
    ways: Vec<Rc<Way>>,
    settings: Arc<Upstream>,
    balance: Balance,
    /// Whether somebody asks the origins if they are well.
    is_checked: bool,
    /// Whose turn it is.
    turn: Cell<usize>,
    chance: Chance,
    pub(super) budget: Budget,
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
    /// The limit on connections, where there is one.
    pub(super) gate: Option<Arc<Gate>>,
    group: Arc<Group>,
    /// Whether requests in flight are counted over all workers, because somebody looks at the number, and failures are
    /// counted in a row.
    counts_together: bool,
}

/// What a request got that had to wait.
enum Waited {
    Connection(Box<Connection>),
    Place(Place),
}

/// A request on its way to an origin and back: counted as in flight until it is dropped.
#[derive(Debug)]
pub(super) struct Flight {
    way: Rc<Way>,
    /// The origin failed it, whatever comes after.
    is_failed: Cell<bool>,
}

/// Some of the origins of an upstream, by number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Some64(u64);

impl Cluster {
    /// The ways to the origins of `group`. Idle connections are taken over from the one among `known` that has the
    /// same settings.
    pub(super) fn new(group: &Arc<Group>, known: &[Self], clock: &Clock, seed: u64) -> Self {
        let settings = &group.settings;
        let unchanged = known.iter().find(|known| known.settings == *settings);
        let several = group.origins.len() > 1;
        let ways =
            group.origins.iter().zip(&group.tls).enumerate().map(|(number, (state, tls))| {
                let (origin, tls) = (state.origin().clone(), tls.clone());
                let before = unchanged.and_then(|known| known.ways.get(number));
                let gate = group.gates.get(number).cloned().flatten();
                Rc::new(Way {
                    number,
                    dialer: Dialer::new(origin.clone(), tls, settings.connect_timeout),
                    pool: match before {
                        Some(before) => Rc::clone(&before.pool),
                        None => {
                            Rc::new(Pool::new(settings.idle_timeout, gate.clone(), clock.clone()))
                        }
                    },
                    http2: match before {
                        Some(before) => Rc::clone(&before.http2),
                        None => {
                            Rc::new(Multiplex::new(&origin, settings.idle_timeout, clock.clone()))
                        }
                    },
                    tally: state.join(),
                    state: Arc::clone(state),
                    gate,
                    group: Arc::clone(group),
                    counts_together: several,
                })
            });
        Self {
            ways: ways.collect(),
            settings: Arc::clone(settings),
            balance: settings.balance,
            is_checked: settings.health.is_some(),
            budget: Budget::new(clock.monotonic()),
            turn: Cell::new(usize::try_from(seed >> 32).unwrap_or_default()),
            chance: Chance::new(seed),
            timeout: settings.timeout,
            retries: settings.retries,
            preserve_host: settings.preserve_host,
        }
    }

    /// The way that a request takes which has been in vain to those of `tried`; none where all have been, or none is
    /// well.
    pub(super) fn choose(&self, tried: Some64, now: Instant) -> Option<&Rc<Way>> {
        if let [only] = self.ways.as_slice() {
            let is_well = !self.is_checked || only.state.passes_checks() || self.is_panic(0);
            return Some(only).filter(|_| tried.is_empty() && is_well);
        }
        let open = self.open(tried, now);
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

    /// The origins that a request may go to now. Those that fail, or come back only just, are left to the last.
    fn open(&self, tried: Some64, now: Instant) -> Some64 {
        let (mut well, mut best, mut next) =
            (Some64::default(), Some64::default(), Some64::default());
        for way in &self.ways {
            let (standing, share) = way.state.standing(self.settings.slow_return, now);
            match standing {
                Standing::Unhealthy => continue,
                Standing::Ejected => {}
                Standing::Returning | Standing::Healthy | Standing::Unknown => {
                    next.add(way.number);
                    let is_its_turn =
                        share == WHOLE_SHARE || self.chance.next() % WHOLE_SHARE < share;
                    if is_its_turn && !way.is_full() {
                        best.add(way.number);
                    }
                }
            }
            well.add(way.number);
        }
        if self.is_panic(well.len()) {
            return self.all().without(tried);
        }
        let tiers = [best, next, well].map(|tier| tier.without(tried));
        tiers.into_iter().find(|tier| !tier.is_empty()).unwrap_or_default()
    }

    /// Whether so few are well that the checks must be wrong.
    fn is_panic(&self, well: usize) -> bool {
        let health = self.settings.health.as_ref();
        health
            .is_some_and(|health| well * 100 < self.ways.len() * usize::from(health.panic_percent))
    }

    /// Whether there is an origin that is well and not among `tried`.
    pub(super) fn has_another(&self, tried: Some64) -> bool {
        self.ways.iter().any(|way| !tried.has(way.number) && way.state.passes_checks())
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

    /// Whether a request would have to wait for a connection.
    fn is_full(&self) -> bool {
        self.gate.as_ref().is_some_and(|gate| gate.is_full()) && self.pool.len() == 0
    }

    /// The origin failed a request.
    pub(super) fn failed(&self, trouble: Trouble, now: Instant) {
        self.group.failed(self.number, trouble, now);
    }

    /// What a request goes over: a connection of its own, or a stream of one that is shared. `is_fresh`: a connection has
    /// failed just now, and says that the others of its age have, too. `replayable`: the request may be sent twice.
    ///
    /// # Errors
    /// When no connection comes about; nothing of the request was sent then.
    pub(super) async fn carrier(
        &self,
        is_fresh: bool,
        replayable: bool,
        upgrades: bool,
    ) -> Result<Carrier, Failure> {
        if self.http2.is_spoken() {
            // rare, so its state is not kept in every request's
            return Box::pin(self.stream(replayable, upgrades)).await;
        }
        self.connect(is_fresh, replayable, upgrades).await
    }

    /// A stream of a connection that is shared, from an origin that speaks HTTP/2; or a connection, should it no longer
    /// do so, or have no other way to change the protocol.
    async fn stream(&self, replayable: bool, upgrades: bool) -> Result<Carrier, Failure> {
        loop {
            let lease = match self.http2.carrier(&self.dialer, self.gate.as_deref()).await? {
                Carrier::Stream(lease) => lease,
                connection @ Carrier::Connection(_) => return Ok(connection),
            };
            if upgrades && !lease.takes_tunnels() {
                return match self.origin().https {
                    true => self.connect(false, replayable, true).await,
                    false => Err(Failure::NoTunnel),
                };
            }
            if replayable {
                return Ok(Carrier::Stream(lease));
            }
            if let Some(lease) = lease.checked().await {
                return Ok(Carrier::Stream(lease));
            }
        }
    }

    /// A connection: an idle one, or a new one where `is_fresh` is wanted or there is none. Over TLS the origin may choose
    /// HTTP/2, unless the protocol is to be changed.
    async fn connect(
        &self,
        is_fresh: bool,
        replayable: bool,
        upgrades: bool,
    ) -> Result<Carrier, Failure> {
        // whoever waits for a connection comes first
        if !self.pool.is_expected()
            && let Some(connection) = self.pool.take(!is_fresh, replayable).await
        {
            return Ok(Carrier::Connection(connection));
        }
        let place = match &self.gate {
            None => None,
            Some(gate) => {
                if is_fresh {
                    self.pool.make_room();
                }
                match gate.try_take() {
                    Some(place) => Some(place),
                    // rare, so its state is not kept in every request's
                    None => match Box::pin(self.wait(gate, replayable)).await? {
                        Waited::Connection(connection) => {
                            return Ok(Carrier::Connection(connection));
                        }
                        Waited::Place(place) => Some(place),
                    },
                }
            }
        };
        if upgrades || !self.origin().https {
            // here, too: a connection is there for most
            let stream = Box::pin(self.dialer.dial()).await?;
            return Ok(Carrier::Connection(Connection::new(stream, place)));
        }
        let stream = Box::pin(self.dialer.dial_any()).await?;
        if !stream.speaks_http2() {
            return Ok(Carrier::Connection(Connection::new(stream, place)));
        }
        Box::pin(self.http2.adopt(stream, place, &self.dialer)).await?;
        self.http2.take().map(Carrier::Stream).ok_or(Failure::Saturated)
    }

    /// Waits until a connection is free, or one more may be made.
    async fn wait(&self, gate: &Gate, replayable: bool) -> Result<Waited, Failure> {
        let _waiting = gate.wait().ok_or(Failure::Saturated)?;
        let _here = self.pool.expect();
        let soon = async {
            tokio::select! {
                place = gate.take() => place.map(Waited::Place),
                connection = self.pool.next(replayable) => Some(Waited::Connection(connection)),
            }
        };
        let limit = self.group.settings.connect_timeout;
        tokio::time::timeout(limit, soon).await.ok().flatten().ok_or(Failure::Saturated)
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
        self.tally.set_idle(self.pool.len() + self.http2.idle());
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
        Self { way: Rc::clone(way), is_failed: Cell::new(false) }
    }

    /// The way that it takes.
    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// The origin failed it, once its answer had begun.
    pub(super) fn failed(&self, trouble: Trouble, now: Instant) {
        self.is_failed.set(true);
        self.way.failed(trouble, now);
    }

    /// The origin answered it, to the end.
    pub(super) fn succeeded(&self) {
        if self.way.counts_together && !self.is_failed.get() {
            self.way.group.succeeded(self.way.number);
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.way.counts_together {
            self.way.state.active.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.way.tally.end();
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
