//! A panic ends what it happened in, and nothing else.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

/// What was polled is in an unknown state and must not be polled again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Panicked;

/// Polls by `poll`, and turns a panic into a value.
pub(super) fn poll_caught<T>(poll: impl FnOnce() -> Poll<T>) -> Poll<Result<T, Panicked>> {
    match catch_unwind(AssertUnwindSafe(poll)) {
        Ok(outcome) => outcome.map(Ok),
        Err(_) => Poll::Ready(Err(Panicked)),
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use super::{Panicked, poll_caught};

    #[test]
    fn a_panic_is_a_value_to_whoever_polls() {
        let fault = poll_caught::<()>(|| panic!("a defect"));
        assert_eq!(fault, Poll::Ready(Err(Panicked)));
        assert_eq!(poll_caught(|| Poll::Ready(7)), Poll::Ready(Ok(7)));
        assert_eq!(poll_caught::<()>(|| Poll::Pending), Poll::Pending);
    }
}
