//! Tells a busy client from one that floods: looks at each frame's head as it passes, and counts what moves nothing.
//!
//! The h2 crate bounds what a peer can make it keep. It does not bound how much a peer can make it do: each PING,
//! SETTINGS, PRIORITY, WINDOW_UPDATE, RST_STREAM or unknown frame costs the client nine bytes and us more than that.
//! So each of them costs a point, points come back with time, and whoever is served earns some.

use std::time::{Duration, Instant};

/// Reads frame heads (RFC 9113 §4.1) off a stream of bytes, however it is cut.
#[derive(Debug)]
pub(super) struct Watch {
    /// Bytes of the client's preface that are still to come.
    preface: usize,
    head: [u8; HEAD],
    have: usize,
    /// Bytes of the current frame's payload that are still to come.
    payload: usize,
    /// The current frame ends a header block.
    ends_block: bool,
    /// A header block has begun and is not over.
    in_block: bool,
}

impl Watch {
    pub(super) const fn new() -> Self {
        let (head, preface) = ([0; HEAD], super::PREFACE.len());
        Self { preface, head, have: 0, payload: 0, ends_block: false, in_block: false }
    }

    /// Whether a header block has begun and its end has not come.
    pub(super) const fn is_in_block(&self) -> bool {
        self.in_block
    }

    /// What the frames that begin in these bytes cost.
    pub(super) fn cost(&mut self, mut bytes: &[u8]) -> u32 {
        let mut cost = 0;
        skip(&mut bytes, &mut self.preface);
        loop {
            skip(&mut bytes, &mut self.payload);
            if self.payload == 0 && self.ends_block {
                (self.ends_block, self.in_block) = (false, false);
            }
            let wanted = HEAD - self.have;
            let Some((part, rest)) = bytes.split_at_checked(wanted.min(bytes.len())) else {
                return cost;
            };
            if part.is_empty() {
                return cost;
            }
            self.head[self.have..self.have + part.len()].copy_from_slice(part);
            self.have += part.len();
            bytes = rest;
            if self.have == HEAD {
                self.have = 0;
                cost += self.begin_frame();
            }
        }
    }

    fn begin_frame(&mut self) -> u32 {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        match kind {
            DATA if self.payload > 0 || flags & END_STREAM != 0 => 0,
            HEADERS | CONTINUATION => {
                self.in_block = true;
                self.ends_block = flags & END_HEADERS != 0;
                u32::from(kind == CONTINUATION)
            }
            // each of these is gone through for every open stream
            SETTINGS => COST_OF_SETTINGS,
            _ => 1,
        }
    }
}

fn skip(bytes: &mut &[u8], left: &mut usize) {
    let length = (*left).min(bytes.len());
    *bytes = bytes.get(length..).unwrap_or_default();
    *left -= length;
}

/// The points of one connection.
#[derive(Debug)]
pub(super) struct Calm {
    points: u32,
    /// Up to when points have come back.
    since: Instant,
}

impl Calm {
    pub(super) const fn new(now: Instant) -> Self {
        Self { points: MOST_POINTS, since: now }
    }

    /// Takes points; false once there are none left.
    pub(super) fn spend(&mut self, cost: u32, now: Instant) -> bool {
        let steps = now.saturating_duration_since(self.since).as_millis() / STEP.as_millis();
        if steps > 0 {
            self.since = now;
            self.earn(u32::try_from(steps).unwrap_or(u32::MAX).saturating_mul(POINTS_A_STEP));
        }
        let left = self.points.checked_sub(cost);
        self.points = left.unwrap_or(0);
        left.is_some()
    }

    /// Gives points back for something that the client was served.
    pub(super) fn earn(&mut self, points: u32) {
        self.points = self.points.saturating_add(points).min(MOST_POINTS);
    }
}

/// A request that was answered to its end.
pub(super) const FOR_AN_ANSWER: u32 = 20;
/// A piece of an answer that the client had room for: some clients acknowledge each with two WINDOW_UPDATEs and a PING.
pub(super) const FOR_A_PIECE: u32 = 4;
/// A request that the client took back before it was answered (rapid reset, CVE-2023-44487). A browser that is sent
/// elsewhere takes back a page's worth at once.
pub(super) const COST_OF_TAKING_BACK: u32 = 10;

/// Points to begin with, and the most there are.
const MOST_POINTS: u32 = 2_000;
/// Points come back in steps of this time.
const STEP: Duration = Duration::from_millis(100);
/// So many each.
const POINTS_A_STEP: u32 = 20;
const COST_OF_SETTINGS: u32 = 10;

/// Bytes of a frame's head.
const HEAD: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{COST_OF_SETTINGS, Calm, MOST_POINTS, Watch};
    use crate::clock::Clock;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn frames_are_counted_however_they_are_cut() {
        let mut bytes = super::super::PREFACE.to_vec();
        bytes.extend(frame(4, 0, &[0; 6])); // SETTINGS
        bytes.extend(frame(1, 4, b"a whole block"));
        bytes.extend(frame(0, 0, b"content is free"));
        bytes.extend(frame(0, 0, b"")); // but not without content
        bytes.extend(frame(0, 1, b"")); // unless it is the end
        bytes.extend(frame(6, 0, &[0; 8])); // PING
        bytes.extend(frame(250, 0, &[9; 300])); // unknown
        for step in 1..bytes.len() {
            let mut watch = Watch::new();
            let cost: u32 = bytes.chunks(step).map(|piece| watch.cost(piece)).sum();
            assert_eq!((cost, watch.is_in_block()), (COST_OF_SETTINGS + 3, false), "by {step}");
        }
    }

    #[test]
    fn a_header_block_is_open_until_its_last_byte() {
        let mut watch = Watch::new();
        watch.cost(super::super::PREFACE);
        assert!(!watch.is_in_block());
        watch.cost(&frame(1, 0, b"begun"));
        assert!(watch.is_in_block());
        let end = frame(9, 4, b"ended");
        assert_eq!(watch.cost(&end[..end.len() - 1]), 1);
        assert!(watch.is_in_block());
        watch.cost(&end[end.len() - 1..]);
        assert!(!watch.is_in_block());
    }

    #[test]
    fn points_run_out_and_come_back_with_time_and_service() {
        let start = Clock::system().monotonic();
        let mut calm = Calm::new(start);
        assert!(calm.spend(MOST_POINTS, start));
        assert!(!calm.spend(1, start));
        assert!(calm.spend(200, start + Duration::from_secs(1)));
        assert!(!calm.spend(1, start + Duration::from_secs(1)));
        calm.earn(u32::MAX);
        assert!(calm.spend(MOST_POINTS, start + Duration::from_secs(1)));
    }
}
