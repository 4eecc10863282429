//! How changes stand in the file: in frames that can be told whole from torn and torn from damaged.
//!
//! The file: a head of [`HEAD`] bytes, then frames, then zeros up to the length that the head names. A frame holds the
//! changes of one write. It begins at a multiple of [`ALIGN`] bytes, so that its own head never straddles two sectors of
//! a disk; it bears a number, one more than that of the frame before it, and checksums of its head and of its content.
//!
//! Space is allocated in zeros before it is written, and disks write whole sectors. So a frame whose writing did not
//! finish still lacks a sector; nobody was told that it was kept, and it is left out. A frame that is whole and does not
//! add up was changed after it was written, and then nothing after it can be trusted to be all there was.

use std::fmt;
use std::sync::Arc;

use super::index::Change;
use super::{Digest, MAX_RECORD};

/// What is wrong with a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Damage {
    /// It is no store of ours, or of another version.
    Magic,
    /// The head does not add up.
    Head,
    /// It is shorter than it was made.
    Cut,
    /// A frame does not add up.
    Frame,
    /// A frame adds up and makes no sense.
    Content,
    /// There is no file where there was one.
    Gone,
}

impl fmt::Display for Damage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Magic => "it is no store that this version of tollgate can read",
            Self::Head => "its head does not add up",
            Self::Cut => "its end is missing",
            Self::Frame => "a record has changed since it was written",
            Self::Content => "a record makes no sense",
            Self::Gone => "the file is gone",
        })
    }
}

/// The first bytes of a new file, which is `capacity` bytes long.
pub(super) fn head(capacity: u64) -> Vec<u8> {
    let mut head = vec![0; HEAD];
    head[..MAGIC.len()].copy_from_slice(MAGIC);
    for slot in SLOTS {
        let at = usize::try_from(slot).unwrap_or(0);
        head[at..at + SLOT].copy_from_slice(&capacity_slot(capacity, 0));
    }
    head
}

/// One of the two places in a head that name the length of the file; the later `generation` counts.
pub(super) fn capacity_slot(capacity: u64, generation: u64) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[..8].copy_from_slice(&capacity.to_le_bytes());
    slot[8..16].copy_from_slice(&generation.to_le_bytes());
    let sum = crc32fast::hash(&slot[..16]);
    slot[16..].copy_from_slice(&sum.to_le_bytes());
    slot
}

/// The length that a file must have, and the generation that says so.
pub(super) fn read_head(head: &[u8]) -> Result<(u64, u64), Damage> {
    if head.len() < HEAD {
        return Err(Damage::Cut);
    }
    if !head.starts_with(MAGIC) {
        return Err(Damage::Magic);
    }
    let read = |slot: u64| {
        let at = usize::try_from(slot).ok()?;
        let slot = head.get(at..at + SLOT)?;
        let (said, sum) = slot.split_at(16);
        (crc32fast::hash(said).to_le_bytes() == sum)
            .then(|| (number(&said[8..]), number(&said[..8])))
    };
    let best = SLOTS.into_iter().filter_map(read).max();
    best.map(|(generation, capacity)| (capacity, generation)).ok_or(Damage::Head)
}

/// Adds a change to a frame's content.
pub(super) fn encode(change: &Change, content: &mut Vec<u8>) {
    let (kind, key, ends) = match change {
        Change::Put(key, _, ends) => (PUT, key, *ends),
        Change::Remove(key) => (REMOVE, key, 0),
        Change::Revoke(key, ends) => (REVOKE, key, *ends),
        Change::Said(key, ends) => (SAID, key, *ends),
    };
    content.push(kind);
    content.extend_from_slice(key);
    content.extend_from_slice(&ends.to_le_bytes());
    if let Change::Put(_, record, _) = change {
        let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
        content.extend_from_slice(&length.to_le_bytes());
        content.extend_from_slice(record);
    }
}

/// Calls `each` with every change in a frame's content.
pub(super) fn decode(mut content: &[u8], mut each: impl FnMut(Change)) -> Result<(), Damage> {
    while let Some((&kind, rest)) = content.split_first() {
        if kind == FILL {
            break;
        }
        let (key, rest) = rest.split_first_chunk::<32>().ok_or(Damage::Content)?;
        let (ends, rest) = rest.split_first_chunk::<8>().ok_or(Damage::Content)?;
        let (key, ends): (Digest, u64) = (*key, u64::from_le_bytes(*ends));
        content = rest;
        each(match kind {
            PUT => {
                let (length, rest) = rest.split_first_chunk::<4>().ok_or(Damage::Content)?;
                let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
                let (record, rest) = rest.split_at_checked(length).ok_or(Damage::Content)?;
                content = rest;
                Change::Put(key, Arc::from(record), ends)
            }
            REMOVE => Change::Remove(key),
            REVOKE => Change::Revoke(key, ends),
            SAID => Change::Said(key, ends),
            _ => return Err(Damage::Content),
        });
    }
    Ok(())
}

/// The frame with this number and content, as it is written.
pub(super) fn frame(sequence: u64, content: &[u8]) -> Vec<u8> {
    let whole = (FRAME_HEAD + content.len()).next_multiple_of(ALIGN);
    let mut frame = Vec::with_capacity(whole);
    frame.resize(FRAME_HEAD, 0);
    frame.extend_from_slice(content);
    frame.resize(whole, FILL); // not zeros: those stand for what was never written
    let length = u32::try_from(whole - FRAME_HEAD).unwrap_or(u32::MAX);
    let content_sum = crc32fast::hash(&frame[FRAME_HEAD..]);
    frame[..4].copy_from_slice(FRAME_MAGIC);
    frame[4..8].copy_from_slice(&length.to_le_bytes());
    frame[8..16].copy_from_slice(&sequence.to_le_bytes());
    frame[16..20].copy_from_slice(&content_sum.to_le_bytes());
    frame[20..28].copy_from_slice(&[FILL; 8]);
    let head_sum = crc32fast::hash(&frame[..28]);
    frame[28..32].copy_from_slice(&head_sum.to_le_bytes());
    frame
}

/// What stands at a place in the file.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Found<'f> {
    /// A frame: its content.
    Frame(&'f [u8]),
    /// Zeros up to the end of what was shown: no frame was written here.
    Nothing,
    /// More must be shown, this much in all.
    More(usize),
    /// A frame, or something, that does not add up.
    Broken,
}

/// What stands at the beginning of `bytes`, which go on to the end of the file if they are fewer than asked for.
pub(super) fn look(bytes: &[u8], sequence: u64) -> Found<'_> {
    let Some(head) = bytes.get(..FRAME_HEAD) else {
        return if bytes.is_empty() { Found::Nothing } else { Found::More(FRAME_HEAD) };
    };
    let Some(length) = frame_length(head) else {
        return if head.iter().all(|byte| *byte == 0) { Found::Nothing } else { Found::Broken };
    };
    if number(&head[8..16]) != sequence || length > MAX_CONTENT {
        return Found::Broken;
    }
    let Some(content) = bytes.get(FRAME_HEAD..FRAME_HEAD + length) else {
        return Found::More(FRAME_HEAD + length);
    };
    if crc32fast::hash(content).to_le_bytes() == head[16..20] {
        Found::Frame(content)
    } else {
        Found::Broken
    }
}

/// Whether what is left of a file, from a place `at` on where no whole frame stands, is what a write leaves behind that
/// did not finish: short enough for one frame, with a sector missing, and nothing whole after it.
pub(super) fn is_torn(rest: &[u8], at: u64, sequence: u64) -> bool {
    let Some(last) = last_written(rest) else { return true };
    if last >= FRAME_HEAD + MAX_CONTENT {
        return false;
    }
    let later =
        |at: usize| rest.get(at..at + FRAME_HEAD).is_some_and(|head| frame_length(head).is_some());
    if (ALIGN..=last).step_by(ALIGN).any(later) {
        return false; // frames are written one after the other: this one was whole when that one began
    }
    let head = rest.get(..FRAME_HEAD).unwrap_or(rest);
    let claimed = frame_length(head).filter(|_| number(&head[8..16]) == sequence);
    let end = match claimed {
        Some(length) => (FRAME_HEAD + length).max(last + 1),
        // A head is never torn in itself: it is there, or its sector is missing.
        None if head.iter().any(|byte| *byte != 0) => return false,
        None => last + 1,
    };
    let mut begin = 0;
    while begin < end {
        let into = (at + begin as u64) % SECTOR;
        let piece_end = (begin + usize::try_from(SECTOR - into).unwrap_or(1)).min(end);
        let piece = rest.get(begin..piece_end.min(rest.len())).unwrap_or_default();
        if piece.iter().all(|byte| *byte == 0) {
            return true;
        }
        begin = piece_end;
    }
    false
}

/// Where the last byte is that is not zero.
pub(super) fn last_written(bytes: &[u8]) -> Option<usize> {
    let mut end = bytes.len();
    // Whole pages of zeros are most of what there is to look at.
    while let Some(page) = end.checked_sub(PAGE.len())
        && bytes[page..end] == PAGE
    {
        end = page;
    }
    bytes[..end].iter().rposition(|byte| *byte != 0)
}

/// The length of the content, if the head of a frame adds up.
fn frame_length(head: &[u8]) -> Option<usize> {
    let adds_up = head.len() >= FRAME_HEAD
        && head.starts_with(FRAME_MAGIC)
        && crc32fast::hash(&head[..28]).to_le_bytes() == head[28..32];
    adds_up.then(|| usize::try_from(number(&head[4..8])).unwrap_or(usize::MAX))
}

/// Up to eight bytes, the least first.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().take(8).rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

const MAGIC: &[u8] = b"tollgate store, version 1\n";
/// Bytes before the first frame.
pub(super) const HEAD: usize = 4096;
/// Where the head names the length of the file: in two sectors, of which one is written at a time.
pub(super) const SLOTS: [u64; 2] = [1024, 2048];
const SLOT: usize = 20;
const FRAME_MAGIC: &[u8; 4] = b"TGf1";
/// Bytes of a frame before its content.
pub(super) const FRAME_HEAD: usize = 32;
/// Frames begin at multiples of this; so their heads do not straddle sectors.
const ALIGN: usize = 32;
const PAGE: [u8; 4096] = [0; 4096];
/// The smallest piece that a disk writes whole.
const SECTOR: u64 = 512;
/// What stands where nothing stands in a frame.
const FILL: u8 = 0xA5;
const PUT: u8 = 1;
const REMOVE: u8 = 2;
const REVOKE: u8 = 3;
const SAID: u8 = 4;
/// At this many bytes a frame takes no further change.
pub(super) const FULL_FRAME: usize = 1 << 20;
/// Longest content: a frame that is just not full, and one more record.
pub(super) const MAX_CONTENT: usize = FULL_FRAME + MAX_RECORD + 128;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn changes() -> Vec<Change> {
        vec![
            Change::Put([1; 32], Arc::from(*b"record"), 7),
            Change::Remove([2; 32]),
            Change::Revoke([3; 32], 8),
            Change::Said([4; 32], u64::MAX),
        ]
    }

    fn content() -> Vec<u8> {
        let mut content = Vec::new();
        changes().iter().for_each(|change| encode(change, &mut content));
        content
    }

    #[test]
    fn changes_come_back_as_they_were_written() {
        let frame = frame(5, &content());
        assert_eq!(frame.len() % ALIGN, 0);
        let Found::Frame(content) = look(&frame, 5) else { panic!("no frame") };
        let mut read = Vec::new();
        decode(content, |change| read.push(change)).unwrap();
        assert_eq!(read, changes());
    }

    #[test]
    fn a_frame_with_any_bit_changed_is_neither_whole_nor_torn() {
        let frame = frame(5, &content());
        for bit in 0..frame.len() * 8 {
            let mut bytes = frame.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(look(&bytes, 5), Found::Broken, "bit {bit}");
            bytes.resize(16 * 1024, 0);
            assert!(!is_torn(&bytes, 4096, 5), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_that_lacks_a_sector_is_torn() {
        let mut content = Vec::new();
        for number in 0..64 {
            encode(&Change::Revoke([number | 1; 32], 8), &mut content);
        }
        let whole = frame(5, &content);
        let at = 4096 + 96;
        let mut begin = 0;
        while begin < whole.len() {
            let end = (begin + 512 - (at + begin) % 512).min(whole.len());
            let mut bytes = whole.clone();
            bytes[begin..end].fill(0);
            bytes.resize(16 * 1024, 0);
            assert!(!matches!(look(&bytes, 5), Found::Frame(_)));
            assert!(is_torn(&bytes, at as u64, 5), "sector at {begin}");
            begin = end;
        }
    }

    #[test]
    fn a_missing_frame_before_a_whole_one_is_not_torn() {
        let mut bytes = vec![0; 512];
        bytes.extend(frame(6, &content()));
        bytes.resize(16 * 1024, 0);
        assert!(!is_torn(&bytes, 4096, 5));
    }

    #[test]
    fn a_frame_out_of_turn_is_broken() {
        let frame = frame(5, &content());
        assert_eq!(look(&frame, 6), Found::Broken);
        assert_eq!(look(&[0; 4096], 6), Found::Nothing);
    }

    #[test]
    fn the_later_slot_of_a_head_counts_and_one_broken_slot_is_survived() {
        let mut bytes = head(100);
        assert_eq!(read_head(&bytes), Ok((100, 0)));
        bytes[2048..2048 + SLOT].copy_from_slice(&capacity_slot(200, 1));
        assert_eq!(read_head(&bytes), Ok((200, 1)));
        bytes[2049] ^= 1;
        assert_eq!(read_head(&bytes), Ok((100, 0)));
        bytes[1024] ^= 1;
        assert_eq!(read_head(&bytes), Err(Damage::Head));
        bytes[0] ^= 1;
        assert_eq!(read_head(&bytes), Err(Damage::Magic));
    }
}
