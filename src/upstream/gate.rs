//! A limit on the connections to one origin over all workers, and on the requests that wait for one of them: an
//! upstream that can take no more is not asked for more, and whoever could not wait long is told at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The limit of one origin.
#[derive(Debug)]
pub(super) struct Gate {
    places: Arc<Semaphore>,
    most: usize,
    waiting: AtomicUsize,
    most_waiting: usize,
}

/// The place of one connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Place(#[allow(dead_code)] OwnedSemaphorePermit); // what counts is that it is held

/// A request that waits, until it is dropped.
#[derive(Debug)]
pub(super) struct Waiting<'g>(&'g Gate);

impl Gate {
    pub(super) fn new(most: usize, most_waiting: usize) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { places, most, waiting: AtomicUsize::new(0), most_waiting }
    }

    /// Whether it has these limits.
    pub(super) const fn is_of(&self, most: usize, most_waiting: usize) -> bool {
        self.most == most && self.most_waiting == most_waiting
    }

    /// A place, if one is free.
    pub(super) fn try_take(&self) -> Option<Place> {
        Arc::clone(&self.places).try_acquire_owned().ok().map(Place)
    }

    /// A place, when one is free; first come, first served.
    pub(super) async fn take(&self) -> Option<Place> {
        Arc::clone(&self.places).acquire_owned().await.ok().map(Place)
    }

    /// Whether every place is taken.
    pub(super) fn is_full(&self) -> bool {
        self.places.available_permits() == 0
    }

    /// How many requests wait, over all workers.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Lets one more wait; none if there are enough.
    pub(super) fn wait(&self) -> Option<Waiting<'_>> {
        let one_more = |waiting| (waiting < self.most_waiting).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Waiting(self))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::Gate;

    #[test]
    fn places_are_given_back_and_only_so_many_wait() {
        let gate = Gate::new(1, 1);
        let place = gate.try_take().unwrap();
        assert!(gate.is_full() && gate.try_take().is_none());
        let waiting = gate.wait().unwrap();
        assert!(gate.wait().is_none());
        assert_eq!(gate.waiting(), 1);
        drop((waiting, place));
        assert_eq!(gate.waiting(), 0);
        assert!(gate.wait().is_some() && gate.try_take().is_some());
    }
}
