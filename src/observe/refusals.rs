//! The latest refusals of a worker, for whoever looks at the gateway. Kept in buffers that are used again, so that a flood of
//! refused requests costs no memory; handed out at the worker's tick, so that nobody is waited for.
//!
//! Invariant: no query, no field, no token; what a client chose is cut to a length.

use std::net::IpAddr;

use http::StatusCode;
use serde::Serialize;

use super::Record;

/// One request that was refused.
#[derive(Debug, Default, Eq, PartialEq, Serialize)]
pub struct Refusal {
    /// Seconds since 1970.
    pub at: u64,
    /// As the client wrote it.
    pub method: String,
    /// Without the query.
    pub path: String,
    /// Which rule decided.
    pub route: String,
    /// Why: a stable code.
    pub reason: &'static str,
    /// What was answered.
    pub status: u16,
    /// The client's address, or `unix`.
    pub client: String,
    /// The client of the token service, where it is known.
    pub client_id: Option<String>,
    /// As in the log.
    pub request_id: String,
}

impl Clone for Refusal {
    fn clone(&self) -> Self {
        let mut copy = Self::default();
        copy.clone_from(self);
        copy
    }

    /// Uses the buffers that are there.
    fn clone_from(&mut self, other: &Self) {
        self.at = other.at;
        self.method.clone_from(&other.method);
        self.path.clone_from(&other.path);
        self.route.clone_from(&other.route);
        self.reason = other.reason;
        self.status = other.status;
        self.client.clone_from(&other.client);
        self.client_id.clone_from(&other.client_id);
        self.request_id.clone_from(&other.request_id);
    }
}

/// The last [`LATEST`] refusals, the oldest of which gives its place to the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Refusals {
    kept: Vec<Refusal>,
    /// How many there were, ever.
    pub(super) seen: u64,
}

impl Refusals {
    pub(super) fn add(&mut self, at: u64, record: &Record, status: StatusCode) {
        if self.kept.len() < LATEST {
            self.kept.push(Refusal::default());
        }
        let place = usize::try_from(self.seen % LATEST as u64).unwrap_or(0);
        self.seen += 1;
        let Some(refusal) = self.kept.get_mut(place) else { return };
        refusal.at = at;
        refusal.reason = record.reason;
        refusal.status = status.as_u16();
        write(&mut refusal.method, record.method.as_ref().map_or("-", |method| method.as_str()));
        write(&mut refusal.path, record.target.as_ref().map_or("-", |target| target.path()));
        write(&mut refusal.route, record.route.as_str());
        write(&mut refusal.request_id, record.request_id.as_str());
        match record.client_address {
            Some(address) if record.peer.address != Some(address) => {
                write_address(&mut refusal.client, address);
            }
            _ => write(&mut refusal.client, &record.peer.address_text),
        }
        match (&record.client_id, &mut refusal.client_id) {
            (Some(id), Some(buffer)) => write(buffer, id),
            (Some(id), none) => *none = Some(cut(id).to_owned()),
            (None, known) => *known = None,
        }
    }

    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Refusal> {
        let next = usize::try_from(self.seen % LATEST as u64).unwrap_or(0).min(self.kept.len());
        let (newer, older) = self.kept.split_at(next);
        newer.iter().rev().chain(older.iter().rev())
    }
}

fn write(buffer: &mut String, text: &str) {
    buffer.clear();
    let short = cut(text);
    buffer.push_str(short);
    if short.len() < text.len() {
        buffer.push('…');
    }
}

fn write_address(buffer: &mut String, address: IpAddr) {
    use std::fmt::Write as _;
    buffer.clear();
    let _ = write!(buffer, "{address}"); // a String takes everything
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(LONGEST)]
}

/// How many are kept, by each worker and by all together.
pub const LATEST: usize = 50;
/// Bytes of each text that are kept.
const LONGEST: usize = 200;
