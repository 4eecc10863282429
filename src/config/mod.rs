//! `gateway.toml`, the environment and the flags: layered, judged, and turned into [`Settings`].
//!
//! The way of a setting: [`load()`] takes the file (`document`), the variables and the flags (`environment`), lays them over
//! one another (`layers`, `node`), reads the tree by the declarations of every key (`raw`, `shape`, `value`, `amount`, `address`) and judges what one
//! key alone cannot tell (`judge`). Whatever is wrong is collected (`report`) and told at once (`fault`).
//!
//! Invariant: no fault, warning or setting shows a secret (`mask`), and there is no [`Settings`] with a fault in it.

mod address;
mod amount;
mod document;
mod endpoint;
mod environment;
mod excerpt;
mod fault;
mod judge;
mod layers;
mod load;
mod mask;
mod node;
mod pattern;
mod raw;
mod report;
mod schema;
mod seen;
mod settings;
mod shape;
mod value;

#[cfg(test)]
mod tests;

pub use endpoint::{BadEndpoint, Endpoint};
pub use fault::{Fault, Faults, Severity};
pub use load::{Loaded, NotFound, Sources, find_file, load, load_and_note};
pub use pattern::{HostPattern, MOST_SEGMENTS, PathPattern, Segment};
pub use schema::schema;
pub use seen::SeenFile;
pub use settings::*;

pub(crate) use amount::{parse_duration, show_duration};
pub(crate) use value::algorithm_name;

/// The signing key of the sample `gateway.toml`: good for trying out, and warned of.
const SAMPLE_KEY: &str = "base64:kB9MIXvz2SAvLYiBoDwsTPPF7D7evSuO0T1gzNROIAU";
/// The client secret of the sample `gateway.toml`.
const SAMPLE_SECRET: &str = "fBLO5v3aRQ95AlYuklYg6nArWX63lexe";
