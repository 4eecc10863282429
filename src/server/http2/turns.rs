//! The requests of one connection: whose turn it is, and until when each of them waits.
//!
//! All of them run in the connection's task. Each has a bell that wakes the task and says which of them it is for, so
//! that a hundred open requests cost nothing while one of them moves.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use futures_util::task::AtomicWaker;

use super::super::panics::{Panicked, poll_caught};

/// Which bells have rung.
#[derive(Debug)]
pub(super) struct Bells {
    rung: Box<[AtomicU64]>,
    /// The task looks at the bells before it rests: it need not be woken now.
    is_awake: AtomicBool,
    task: AtomicWaker,
}

/// Wakes the connection's task for one of its parts.
#[derive(Debug)]
struct Bell {
    bells: Arc<Bells>,
    number: usize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.bells.ring(self.number);
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.bells.ring(self.number);
    }
}

impl Bells {
    /// Numbers below `count`.
    pub(super) fn new(count: usize) -> Arc<Self> {
        let rung = (0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self { rung, is_awake: AtomicBool::new(false), task: AtomicWaker::new() })
    }

    /// A waker that rings this bell.
    pub(super) fn waker(self: &Arc<Self>, number: usize) -> Waker {
        Arc::new(Bell { bells: Arc::clone(self), number }).into()
    }

    pub(super) fn ring(&self, number: usize) {
        if let Some(word) = self.rung.get(number / 64) {
            word.fetch_or(1 << (number % 64), Ordering::AcqRel);
        }
        if !self.is_awake.load(Ordering::Acquire) {
            self.task.wake();
        }
    }

    /// Whether this one has rung; it is silent then.
    fn take(&self, number: usize) -> bool {
        let bit = 1 << (number % 64);
        self.rung.get(number / 64).is_some_and(|word| {
            word.load(Ordering::Acquire) & bit != 0
                && word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
        })
    }

    /// Whether any has rung.
    pub(super) fn is_any_rung(&self) -> bool {
        self.rung.iter().any(|word| word.load(Ordering::Acquire) != 0)
    }

    /// The task begins a turn: until [`Bells::rest`], bells need not wake it.
    pub(super) fn wake_up(&self, cx: &Context<'_>) {
        self.task.register(cx.waker());
        self.is_awake.store(true, Ordering::Release);
    }

    /// There is no task any more: what still knows a bell must not keep it.
    pub(super) fn hang_up(&self) {
        drop(self.task.take());
    }

    /// The task ends its turn. What rang and was not seen to wakes it again.
    pub(super) fn rest(&self) {
        self.is_awake.store(false, Ordering::Release);
        if self.is_any_rung() {
            self.task.wake();
        }
    }
}

/// What a request can wait for its client with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wait {
    /// The next piece of its body.
    Body,
    /// Room for its answer.
    Room,
}

/// Until when each request waits for its client.
#[derive(Debug, Default)]
pub(super) struct Waits {
    until: RefCell<Vec<Option<Instant>>>,
    /// None of them ends before this.
    earliest: Cell<Option<Instant>>,
}

impl Waits {
    /// Request `number` waits until `at`, unless it already waits.
    pub(super) fn begin(&self, number: usize, wait: Wait, at: impl FnOnce() -> Instant) {
        let (mut until, place) = (self.until.borrow_mut(), place_of(number, wait));
        if until.len() <= place {
            until.resize(place + 1, None);
        }
        if let Some(place @ None) = until.get_mut(place) {
            let at = at();
            *place = Some(at);
            self.earliest.set(Some(self.earliest.get().map_or(at, |known| known.min(at))));
        }
    }

    /// It no longer waits.
    pub(super) fn end(&self, number: usize, wait: Wait) {
        if let Some(place) = self.until.borrow_mut().get_mut(place_of(number, wait)) {
            *place = None;
        }
    }

    /// Whether its wait is over.
    pub(super) fn has_passed(
        &self,
        number: usize,
        wait: Wait,
        now: impl FnOnce() -> Instant,
    ) -> bool {
        let at = self.until.borrow().get(place_of(number, wait)).copied().flatten();
        at.is_some_and(|at| at <= now())
    }

    /// When to look next.
    pub(super) fn earliest(&self) -> Option<Instant> {
        self.earliest.get()
    }

    /// Rings for every wait that is over.
    pub(super) fn look(&self, now: Instant, bells: &Bells) {
        let until = self.until.borrow();
        let over = until.iter().enumerate().filter(|(_, at)| at.is_some_and(|at| at <= now));
        for (place, _) in over {
            bells.ring(place / WAITS + FIRST_REQUEST);
        }
        self.earliest.set(until.iter().flatten().filter(|at| **at > now).min().copied());
    }
}

const fn place_of(number: usize, wait: Wait) -> usize {
    number * WAITS + wait as usize
}

/// How many waits each request has.
const WAITS: usize = 2;

/// The requests.
pub(super) struct Turns<F> {
    bells: Arc<Bells>,
    places: Vec<Place<F>>,
    free: Vec<usize>,
    most: usize,
}

struct Place<F> {
    /// The request that has the place now. Its room is kept for the next one, where there are few.
    handling: Option<Pin<Box<Option<F>>>>,
    waker: Waker,
}

impl<F: Future<Output = ()>> Turns<F> {
    /// At most `most` at once.
    pub(super) const fn new(bells: Arc<Bells>, most: usize) -> Self {
        Self { bells, places: Vec::new(), free: Vec::new(), most }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free.len() == self.places.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.free.is_empty() && self.places.len() >= self.most
    }

    /// Adds what `begin` makes of its number. Call it only while there is room.
    pub(super) fn add(&mut self, begin: impl FnOnce(usize) -> F) {
        let number = self.free.pop().unwrap_or_else(|| {
            let number = self.places.len();
            let waker = self.bells.waker(number + FIRST_REQUEST);
            self.places.push(Place { handling: None, waker });
            number
        });
        if let Some(place) = self.places.get_mut(number) {
            match &mut place.handling {
                Some(room) => room.set(Some(begin(number))),
                None => place.handling = Some(Box::pin(Some(begin(number)))),
            }
            self.bells.ring(number + FIRST_REQUEST);
        }
    }

    /// Gives each request whose bell has rung its turn. Yields the number of panics.
    pub(super) fn poll(&mut self) -> u64 {
        let mut panics = 0;
        for number in 0..self.places.len() {
            if self.bells.take(number + FIRST_REQUEST) {
                panics += self.poll_one(number);
            }
        }
        panics
    }

    /// Gives every request a turn.
    pub(super) fn poll_all(&mut self) -> u64 {
        (0..self.places.len()).map(|number| self.poll_one(number)).sum()
    }

    fn poll_one(&mut self, number: usize) -> u64 {
        let Some(place) = self.places.get_mut(number) else { return 0 };
        let Some(room) = &mut place.handling else { return 0 };
        let Some(handling) = room.as_mut().as_pin_mut() else { return 0 };
        let mut cx = Context::from_waker(&place.waker);
        let outcome = poll_caught(|| handling.poll(&mut cx));
        if outcome.is_pending() {
            return 0;
        }
        match number < KEPT_ROOMS {
            true => room.set(None),
            false => place.handling = None,
        }
        self.free.push(number);
        u64::from(matches!(outcome, Poll::Ready(Err(Panicked))))
    }

    /// Gives places back that nobody needs.
    pub(super) fn shrink(&mut self) {
        if self.is_empty() {
            (self.places, self.free) = (Vec::new(), Vec::new());
        }
    }
}

/// Places that keep their room while others are taken: some KiB each.
const KEPT_ROOMS: usize = 16;
/// The bell of the connection itself.
pub(super) const CONNECTION: usize = 0;
/// The bell of request 0.
const FIRST_REQUEST: usize = 1;

/// Bells that so many requests need, and the connection.
pub(super) const fn bells_for(requests: usize) -> usize {
    FIRST_REQUEST + requests
}

impl Bells {
    /// Whether the connection's own bell has rung; it is silent then.
    pub(super) fn take_connection(&self) -> bool {
        self.take(CONNECTION)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::pin::Pin;
    use std::rc::Rc;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use super::{Bells, Turns, Wait, Waits, bells_for};
    use crate::clock::Clock;

    #[test]
    fn only_the_request_whose_bell_rang_has_its_turn() {
        let bells = Bells::new(bells_for(100));
        let mut turns = Turns::new(bells.clone(), 100);
        let counts: Vec<Rc<Cell<u32>>> = (0..100).map(|_| Rc::default()).collect();
        let wakers = Rc::new(std::cell::RefCell::new(Vec::<Waker>::new()));
        for count in &counts {
            let (count, wakers) = (Rc::clone(count), Rc::clone(&wakers));
            turns.add(|_| {
                Box::pin(poll_fn(move |cx: &mut Context<'_>| {
                    count.set(count.get() + 1);
                    wakers.borrow_mut().push(cx.waker().clone());
                    if count.get() == 3 { Poll::Ready(()) } else { Poll::Pending }
                }))
            });
        }
        assert!(turns.is_full());
        assert_eq!(turns.poll(), 0);
        let seventy = wakers.borrow()[70].clone();
        seventy.wake_by_ref();
        assert!(bells.is_any_rung());
        turns.poll();
        assert!(!bells.is_any_rung());
        let total: u32 = counts.iter().map(|count| count.get()).sum();
        assert_eq!((total, counts[70].get()), (101, 2));
        seventy.wake();
        turns.poll();
        assert!(!turns.is_full() && !turns.is_empty());
    }

    #[test]
    fn a_panic_ends_one_request() {
        let bells = Bells::new(bells_for(2));
        let mut turns = Turns::<Pin<Box<dyn Future<Output = ()>>>>::new(bells, 2);
        turns.add(|_| Box::pin(async { panic!("a defect") }));
        turns.add(|_| Box::pin(std::future::pending()));
        assert_eq!(turns.poll(), 1);
        assert!(!turns.is_empty() && !turns.is_full());
    }

    #[test]
    fn waits_ring_when_they_are_over() {
        let bells = Bells::new(bells_for(4));
        let waits = Waits::default();
        let start = Clock::system().monotonic();
        let second = Duration::from_secs(1);
        waits.begin(3, Wait::Room, || start + second);
        waits.begin(3, Wait::Room, || start + 9 * second); // it already waits
        waits.begin(1, Wait::Body, || start + 2 * second);
        assert_eq!(waits.earliest(), Some(start + second));
        waits.look(start + second, &bells);
        assert!(bells.take(4) && !bells.is_any_rung());
        assert!(waits.has_passed(3, Wait::Room, || start + second));
        assert!(!waits.has_passed(3, Wait::Body, || start + second));
        assert!(!waits.has_passed(1, Wait::Body, || start + second));
        assert_eq!(waits.earliest(), Some(start + 2 * second));
        waits.end(1, Wait::Body);
        waits.look(start + 9 * second, &bells);
        assert!(bells.take(4) && !bells.is_any_rung());
    }
}
