//! What an operator sees: one access line and one set of counters for each request, and events.
//!
//! Told words, never stage types. Lines go through bounded buffers to one writer thread, so that a slow
//! terminal, pipe or disk holds no request up; what does not fit is dropped and counted.

mod access;
mod audit;
mod counters;
mod events;
mod metrics;
mod refusals;
mod sink;
mod tally;
mod trace;

pub use access::{AccessLog, Decision, Record, RequestId, RequestIds, RouteName};
pub use audit::{Asked, AuditEvent, AuditLog};
pub use counters::{Counted, Counter, Counters, Gauge};
pub use events::{Events, init as init_events};
pub use metrics::{Held, Metrics, OTHER, Outcome, Reading, RouteReading};
pub use refusals::{LATEST as LATEST_REFUSALS, Refusal};
pub use sink::LogSink;
pub use tally::{BOUNDS_US, BUCKETS, Histogram, Latencies, Tally};
pub use trace::{AskedUpstream, Said, Span, SpanId, SpanMessage, SpanSink, Trace, TraceId, Tracer};
