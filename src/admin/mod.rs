//! The admin listener: what an operator asks of a gateway that runs. A thread of its own, so that it answers whatever the
//! workers are busy with: it reads their numbers and waits for none of them.
//!
//! [`Facts`] is all that it knows; the server keeps it up. Nothing that is asked here changes anything, and no secret is
//! within reach: there are settings, but what is made of them names what it tells, one by one.

mod answer;
mod expiry;
mod exposition;
mod facts;
mod gate;
mod history;
mod metrics;
mod page;
mod process;
mod serve;
mod status;

pub use facts::{Facts, ReloadReport, Reloaded};
pub use serve::{Socket, start};

/// The state now, as `/api/status` tells it.
#[must_use]
pub fn status(facts: &Facts) -> serde_json::Value {
    status::document(facts)
}

/// The numbers now, as `/metrics` tells them to whoever asks for no other format.
#[must_use]
pub fn metrics(facts: &Facts) -> String {
    metrics::document(facts, exposition::Format::Text)
}
