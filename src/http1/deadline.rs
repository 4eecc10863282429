//! A deadline that moves often and passes seldom.

use std::pin::Pin;
use std::task::Context;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// One timer, set anew for each wait. Moving the deadline later costs nothing: the timer goes off early,
/// sees that, and is set again.
#[derive(Debug, Default)]
pub struct Deadline {
    at: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// The wait may last until `at`; `None`: for ever.
    pub fn set(&mut self, at: Option<Instant>) {
        self.at = at;
    }

    /// The wait may last until `at`, or less long if that was already so.
    pub fn bring_forward(&mut self, at: Instant) {
        self.at = Some(self.at.map_or(at, |known| known.min(at)));
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_unset(&self) -> bool {
        self.at.is_none()
    }

    /// Whether the deadline has passed; if not, the task is woken when it does.
    pub fn poll_passed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(at) = self.at.map(tokio::time::Instant::from_std) else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        if timer.deadline() > at {
            timer.as_mut().reset(at);
        }
        while timer.as_mut().poll(cx).is_ready() {
            if timer.deadline() >= at {
                return true;
            }
            timer.as_mut().reset(at);
        }
        false
    }
}
