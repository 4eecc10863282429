//! Whose signature is checked next. Public-key signatures take a worker tens of microseconds each, and whoever sends
//! tokens that nobody has signed makes it check one after the other; in between everything else goes on.
//!
//! A worker checks for at most [`SLICE`] at a stretch; then every task that is ready runs, and the network is looked at,
//! before it checks again. Who comes meanwhile waits in a queue, which is bounded and served in turn between client
//! addresses. What needs no such check (requests without a token, tokens that are remembered, HS*) never waits here.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::oneshot;

use super::denied::Denied;

/// The turns of one worker.
#[derive(Default)]
pub(super) struct Turns {
    /// Since everything else had its turn.
    spent: Cell<Duration>,
    /// Whether somebody gives turns to those who wait.
    is_serving: Cell<bool>,
    queue: RefCell<Queue>,
}

/// Those who wait, by where they come from: an address shares its lane with a few others, and has one alone.
struct Queue {
    lanes: Box<[Lane]>,
    /// Which of them was served last.
    last: usize,
    waiting: usize,
    random: RandomState,
}

#[derive(Default)]
struct Lane {
    tickets: VecDeque<Ticket>,
    /// What their checks cost together.
    cost: Duration,
}

struct Ticket {
    cost: Duration,
    called: oneshot::Sender<()>,
}

impl Turns {
    /// Whether a check of this cost may be made at once. If not, [`Turns::wait`] for it.
    pub(super) fn take(&self, cost: Duration) -> bool {
        if self.is_serving.get() || self.spent.get() >= SLICE {
            return false;
        }
        self.spent.set(self.spent.get() + cost);
        true
    }

    /// Waits until it is the turn of a check for `client`.
    ///
    /// # Errors
    /// [`Denied::Crowded`] where too much waits already, or it takes too long.
    pub(super) async fn wait(
        self: &Rc<Self>,
        cost: Duration,
        client: Option<IpAddr>,
    ) -> Result<(), Denied> {
        let called = self.queue.borrow_mut().enter(cost, client).ok_or(Denied::Crowded)?;
        if !self.is_serving.replace(true) {
            tokio::task::spawn_local(Rc::clone(self).serve());
        }
        match tokio::time::timeout(PATIENCE, called).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Denied::Crowded),
        }
    }

    /// Gives turns until nobody waits.
    async fn serve(self: Rc<Self>) {
        loop {
            // the runtime comes back here when it has run whatever else is ready and asked the network for more
            tokio::task::yield_now().await;
            let mut queue = self.queue.borrow_mut();
            let mut spent = Duration::ZERO;
            while spent < SLICE
                && let Some(ticket) = queue.call()
            {
                // who has gone needs no turn
                if ticket.called.send(()).is_ok() {
                    spent += ticket.cost;
                }
            }
            self.spent.set(spent);
            if queue.waiting == 0 {
                return self.is_serving.set(false);
            }
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        let lanes = (0..LANES).map(|_| Lane::default()).collect();
        Self { lanes, last: 0, waiting: 0, random: RandomState::default() }
    }
}

impl Queue {
    /// A place at the end of the lane of `client`, unless that is full.
    fn enter(&mut self, cost: Duration, client: Option<IpAddr>) -> Option<oneshot::Receiver<()>> {
        let number = client.map_or(0, |client| self.lane_of(client));
        let lane = self.lanes.get_mut(number)?;
        if lane.cost + cost > LONGEST {
            return None;
        }
        let (called, place) = oneshot::channel();
        lane.tickets.push_back(Ticket { cost, called });
        lane.cost += cost;
        self.waiting += 1;
        Some(place)
    }

    /// The first of the next lane in which somebody waits.
    fn call(&mut self) -> Option<Ticket> {
        if self.waiting == 0 {
            return None;
        }
        let (before, after) = self.lanes.split_at_mut_checked(self.last + 1)?;
        let lanes = after.iter_mut().chain(before);
        let (ahead, lane) = lanes.enumerate().find(|(_, lane)| !lane.tickets.is_empty())?;
        let ticket = lane.tickets.pop_front()?;
        lane.cost = lane.cost.saturating_sub(ticket.cost);
        if lane.tickets.is_empty() {
            lane.tickets = VecDeque::new(); // a burst does not keep its memory
        }
        self.last = (self.last + 1 + ahead) % LANES;
        self.waiting -= 1;
        Some(ticket)
    }

    /// A customer of IPv6 has a network, not an address.
    fn lane_of(&self, client: IpAddr) -> usize {
        let network = match client.to_canonical() {
            IpAddr::V4(address) => u128::from(address.to_bits()),
            IpAddr::V6(address) => address.to_bits() >> 64 << 64,
        };
        #[allow(clippy::cast_possible_truncation)] // what is left is less than LANES
        let lane = (self.random.hash_one(network) % LANES as u64) as usize;
        lane
    }
}

/// At a stretch, by [`crate::keys::VerifyingKey::cost`]: three checks of ES256, ten of RS256. Where others have as much
/// to do between two stretches, they have at least half of the worker; what they leave is for checks.
const SLICE: Duration = Duration::from_micros(250);
/// Most that may wait in one lane, by the same measure: with nobody else about, so long does its last one wait.
const LONGEST: Duration = Duration::from_millis(500);
/// Longest wait, whoever else is about.
const PATIENCE: Duration = Duration::from_secs(5);
const LANES: usize = 64;

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::IpAddr;
    use std::rc::Rc;
    use std::time::Duration;

    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::{LONGEST, Queue, SLICE, Turns};
    use crate::auth::Denied;

    const COST: Duration = Duration::from_micros(80);

    fn client(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, number]))
    }

    /// The names in the order in which they had their turn.
    type Story = Rc<RefCell<Vec<String>>>;

    fn queued(turns: &Rc<Turns>, story: &Story, from: u8, name: String) {
        let (turns, story) = (Rc::clone(turns), Rc::clone(story));
        spawn_local(async move {
            turns.wait(COST, client(from)).await.unwrap();
            story.borrow_mut().push(name);
        });
    }

    #[test]
    fn checks_are_made_at_once_until_a_stretch_is_over() {
        let turns = Turns::default();
        let mut made = 0;
        while turns.take(COST) {
            made += 1;
        }
        assert_eq!(made, SLICE.as_micros().div_ceil(COST.as_micros()));
        assert!(!turns.take(COST));
    }

    #[tokio::test]
    async fn everything_else_goes_on_between_two_stretches_of_a_flood() {
        LocalSet::new()
            .run_until(async {
                let (turns, story) = (Rc::new(Turns::default()), Story::default());
                for number in 0..300 {
                    queued(&turns, &story, 1, format!("flood {number}"));
                }
                // a request that takes some turns of the loop, as one that is read, sent on, answered and written does
                let other = Rc::clone(&story);
                let other = spawn_local(async move {
                    for _ in 0..10 {
                        yield_now().await;
                    }
                    other.borrow_mut().push("other".to_owned());
                });
                other.await.unwrap();
                let before = story.borrow().len();
                let at_a_stretch = SLICE.as_micros().div_ceil(COST.as_micros()) as usize;
                assert!(before <= 13 * at_a_stretch, "{before} checks were made before it");
                while story.borrow().len() < 301 {
                    yield_now().await;
                }
            })
            .await;
    }

    #[tokio::test]
    async fn another_address_waits_for_one_of_the_flood_and_not_for_all() {
        LocalSet::new()
            .run_until(async {
                let turns = Rc::new(Turns::default());
                // two that are in different lanes, as nearly all are
                let lane = |number| turns.queue.borrow().lane_of(client(number).unwrap());
                let other = (2..=255).find(|number| lane(*number) != lane(1)).unwrap();
                let story = Story::default();
                for number in 0..200 {
                    queued(&turns, &story, 1, format!("flood {number}"));
                }
                queued(&turns, &story, other, "other".to_owned());
                while story.borrow().len() < 201 {
                    yield_now().await;
                }
                let place = story.borrow().iter().position(|name| name == "other").unwrap();
                assert!(place <= 10, "{place}");
            })
            .await;
    }

    #[tokio::test]
    async fn a_full_lane_refuses_and_the_other_lanes_do_not() {
        LocalSet::new()
            .run_until(async {
                let turns = Rc::new(Turns::default());
                let lane = |number| turns.queue.borrow().lane_of(client(number).unwrap());
                let other = (2..=255).find(|number| lane(*number) != lane(1)).unwrap();
                let mut places = Vec::new();
                while let Some(place) = turns.queue.borrow_mut().enter(COST, client(1)) {
                    places.push(place);
                }
                assert_eq!(places.len(), (LONGEST.as_micros() / COST.as_micros()) as usize);
                assert_eq!(turns.wait(COST, client(1)).await, Err(Denied::Crowded));
                assert_eq!(turns.wait(COST, client(other)).await, Ok(()));
            })
            .await;
    }

    #[tokio::test]
    async fn who_has_gone_takes_no_turn_and_the_queue_ends_empty() {
        LocalSet::new()
            .run_until(async {
                let (turns, story) = (Rc::new(Turns::default()), Story::default());
                for _ in 0..1_000 {
                    drop(turns.queue.borrow_mut().enter(COST, client(1)));
                }
                queued(&turns, &story, 1, "stayed".to_owned());
                for _ in 0..10 {
                    yield_now().await;
                }
                assert_eq!(*story.borrow(), ["stayed"]);
                assert!(!turns.is_serving.get() && turns.queue.borrow().waiting == 0);
                assert!(turns.take(COST));
            })
            .await;
    }

    #[test]
    fn a_network_of_ipv6_is_one_client() {
        let queue = Queue::default();
        let lane = |text: &str| queue.lane_of(text.parse().unwrap());
        assert_eq!(lane("2001:db8::1"), lane("2001:db8::ffff:1"));
        assert_eq!(lane("::ffff:192.0.2.1"), lane("192.0.2.1"));
        let lanes: std::collections::HashSet<_> =
            (0..64).map(|net| lane(&format!("2001:db8:0:{net:x}::1"))).collect();
        assert!(lanes.len() > 20);
    }
}
