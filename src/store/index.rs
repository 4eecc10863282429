//! The records in memory, where every question is answered: in shards, each under a lock that is held for one look.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::{Digest, KEPT_AFTER, MAX_RECORDS, StoreError};

/// Everything that is kept. Records past their end leave when their shard has doubled.
#[derive(Debug)]
pub(super) struct Index {
    shards: Box<[RwLock<Shard>]>,
    /// Records of all kinds; those past their end count until they leave.
    len: AtomicUsize,
    /// Revocations among them.
    revocations: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shard {
    records: HashMap<Digest, Kept, RandomState>,
    revoked: HashMap<Digest, u64, RandomState>,
    said: HashMap<Digest, u64, RandomState>,
    /// At this many it is time to look for what is past its end.
    crowded: usize,
}

#[derive(Clone, Debug)]
struct Kept {
    record: Arc<[u8]>,
    ends: u64,
}

/// One change, as it is made and as it is written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// A record under a key, until its end.
    Put(Digest, Arc<[u8]>, u64),
    /// No record under this key any more.
    Remove(Digest),
    /// Revoked until then.
    Revoke(Digest, u64),
    /// Said, and not to be said again until then.
    Said(Digest, u64),
}

impl Change {
    /// When it stops to matter; never for a removal, which matters as long as what it removes.
    pub(super) const fn ends(&self) -> u64 {
        match self {
            Self::Put(_, _, ends) | Self::Revoke(_, ends) | Self::Said(_, ends) => *ends,
            Self::Remove(_) => u64::MAX,
        }
    }
}

impl Index {
    pub(super) fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            len: AtomicUsize::new(0),
            revocations: AtomicUsize::new(0),
        }
    }

    pub(super) fn find(&self, key: &Digest) -> Option<Arc<[u8]>> {
        self.read(key).records.get(key).map(|kept| Arc::clone(&kept.record))
    }

    pub(super) fn is_revoked(&self, key: &Digest) -> bool {
        self.has_revocations() && self.read(key).revoked.contains_key(key)
    }

    pub(super) fn has_revocations(&self) -> bool {
        self.revocations.load(Ordering::SeqCst) > 0
    }

    /// Makes the change at `now`. Whether it changed anything; `Said` again does not.
    ///
    /// # Errors
    /// [`StoreError::Full`]
    pub(super) fn apply(&self, change: &Change, now: u64) -> Result<bool, StoreError> {
        let (Change::Put(key, ..)
        | Change::Remove(key)
        | Change::Revoke(key, _)
        | Change::Said(key, _)) = change;
        let mut shard = self.write(key);
        if shard.len() >= shard.crowded.max(FIRST_SWEEP) {
            self.sweep(&mut shard, now);
        }
        // A full store issues nothing more, and still revokes what it has issued.
        let room = match change {
            Change::Remove(_) => usize::MAX,
            Change::Revoke(..) => 2 * MAX_RECORDS,
            Change::Put(..) | Change::Said(..) => MAX_RECORDS,
        };
        if self.len() >= room {
            return Err(StoreError::Full);
        }
        let added = match change {
            Change::Put(key, record, ends) => {
                let kept = Kept { record: Arc::clone(record), ends: *ends };
                shard.records.insert(*key, kept).is_none()
            }
            Change::Remove(key) => {
                let removed = shard.records.remove(key).is_some();
                if removed {
                    self.len.fetch_sub(1, Ordering::Relaxed);
                }
                return Ok(removed);
            }
            Change::Revoke(key, ends) => {
                // Counted before it can be seen: whoever sees no revocations has not missed one.
                self.revocations.fetch_add(1, Ordering::SeqCst);
                let added = insert_latest(&mut shard.revoked, *key, *ends);
                if !added {
                    self.revocations.fetch_sub(1, Ordering::SeqCst);
                }
                added
            }
            Change::Said(key, ends) => match shard.said.entry(*key) {
                Entry::Occupied(mut said) if *said.get() <= now => {
                    said.insert(*ends);
                    return Ok(true);
                }
                Entry::Occupied(_) => return Ok(false),
                Entry::Vacant(place) => {
                    place.insert(*ends);
                    true
                }
            },
        };
        if added {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        Ok(added)
    }

    /// Lets everything go that is past its end at `now`, and yields about how many bytes the rest would fill.
    pub(super) fn sweep_all(&self, now: u64) -> u64 {
        let mut weight = 0;
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            self.sweep(&mut shard, now);
            let records = shard.records.values().map(|kept| kept.record.len() as u64 + RECORD);
            weight += records.sum::<u64>();
            weight += (shard.revoked.len() + shard.said.len()) as u64 * RECORD;
        }
        weight
    }

    /// Everything, a shard at a time, as changes that would make it.
    ///
    /// # Errors
    /// The first of `each`.
    pub(super) fn for_each<E>(
        &self,
        mut each: impl FnMut(&Change) -> Result<(), E>,
    ) -> Result<(), E> {
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            for (key, kept) in &shard.records {
                each(&Change::Put(*key, Arc::clone(&kept.record), kept.ends))?;
            }
            for (key, ends) in &shard.revoked {
                each(&Change::Revoke(*key, *ends))?;
            }
            for (key, ends) in &shard.said {
                each(&Change::Said(*key, *ends))?;
            }
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn sweep(&self, shard: &mut Shard, now: u64) {
        let before = (shard.len(), shard.revoked.len());
        let holds = |ends: u64| now < ends.saturating_add(KEPT_AFTER);
        shard.records.retain(|_, kept| holds(kept.ends));
        shard.revoked.retain(|_, ends| holds(*ends));
        shard.said.retain(|_, ends| holds(*ends));
        self.len.fetch_sub(before.0 - shard.len(), Ordering::Relaxed);
        self.revocations.fetch_sub(before.1 - shard.revoked.len(), Ordering::SeqCst);
        shard.crowded = 2 * shard.len();
    }

    fn read(&self, key: &Digest) -> RwLockReadGuard<'_, Shard> {
        // What a panic left half-done is a map with or without one entry.
        self.shard(key).read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, key: &Digest) -> RwLockWriteGuard<'_, Shard> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner)
    }

    fn shard(&self, key: &Digest) -> &RwLock<Shard> {
        &self.shards[usize::from(key[0]) % SHARDS]
    }
}

impl Shard {
    fn len(&self) -> usize {
        self.records.len() + self.revoked.len() + self.said.len()
    }
}

/// The later end stands. Whether the key is new.
fn insert_latest(map: &mut HashMap<Digest, u64, RandomState>, key: Digest, ends: u64) -> bool {
    match map.entry(key) {
        Entry::Occupied(mut held) => {
            let latest = ends.max(*held.get());
            held.insert(latest);
            false
        }
        Entry::Vacant(place) => {
            place.insert(ends);
            true
        }
    }
}

/// Writers of different keys seldom meet.
const SHARDS: usize = 64;
/// A shard of fewer is not looked through.
const FIRST_SWEEP: usize = 1024;
/// What a record needs besides its bytes, when it is written.
const RECORD: u64 = 48;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Change, FIRST_SWEEP, Index, KEPT_AFTER, SHARDS};

    fn key(number: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[24..].copy_from_slice(&number.to_be_bytes());
        key[0] = u8::try_from(number % 256).unwrap();
        key
    }

    #[test]
    fn what_was_put_is_found_until_it_is_removed() {
        let index = Index::new();
        index.apply(&Change::Put(key(1), Arc::from(*b"one"), 10), 0).unwrap();
        assert_eq!(index.find(&key(1)).as_deref(), Some(&b"one"[..]));
        assert!(index.find(&key(2)).is_none());
        assert_eq!(index.apply(&Change::Remove(key(1)), 0), Ok(true));
        assert_eq!(index.apply(&Change::Remove(key(1)), 0), Ok(false));
        assert!(index.find(&key(1)).is_none());
        assert_eq!(index.len(), 0);
    }

    #[test]
    fn a_revocation_keeps_the_later_of_two_ends() {
        let index = Index::new();
        assert!(!index.has_revocations());
        index.apply(&Change::Revoke(key(1), 1_000), 0).unwrap();
        index.apply(&Change::Revoke(key(1), 10), 0).unwrap();
        index.sweep_all(900 + KEPT_AFTER);
        assert!(index.is_revoked(&key(1)) && index.has_revocations());
        index.sweep_all(1_000 + KEPT_AFTER);
        assert!(!index.is_revoked(&key(1)) && !index.has_revocations());
    }

    #[test]
    fn what_is_said_once_is_not_said_again_before_its_end() {
        let index = Index::new();
        assert_eq!(index.apply(&Change::Said(key(1), 10), 0), Ok(true));
        assert_eq!(index.apply(&Change::Said(key(1), 10), 9), Ok(false));
        assert_eq!(index.apply(&Change::Said(key(1), 20), 10), Ok(true));
        assert_eq!(index.len(), 1);
    }

    #[test]
    fn what_is_past_its_end_leaves_and_the_number_of_records_stays_bounded() {
        let index = Index::new();
        for number in 0..40 * SHARDS * FIRST_SWEEP / 8 {
            let now = number as u64 * 10;
            index.apply(&Change::Said(key(number), now + 1), now).unwrap();
        }
        assert!(index.len() <= 2 * SHARDS * FIRST_SWEEP, "{}", index.len());
    }
}
