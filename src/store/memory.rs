//! A store that lasts as long as its process.

use std::future::ready;
use std::sync::Arc;

use super::index::{Change, Index};
use super::{Digest, MAX_RECORD, Pending, Reading, Store, StoreError};
use crate::clock::Clock;

/// `memory:`
#[derive(Debug)]
pub struct MemoryStore {
    index: Index,
    clock: Clock,
}

impl MemoryStore {
    /// An empty one.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { index: Index::new(), clock }
    }

    fn apply(&self, change: &Change) -> Result<bool, StoreError> {
        self.index.apply(change, self.clock.unix_seconds())
    }
}

impl Store for MemoryStore {
    fn put(&self, key: Digest, record: Arc<[u8]>, ends: u64) -> Pending<'_, ()> {
        let result = if record.len() > MAX_RECORD {
            Err(StoreError::TooLong)
        } else {
            self.apply(&Change::Put(key, record, ends)).map(drop)
        };
        Box::pin(ready(result))
    }

    fn find(&self, key: &Digest) -> Reading<'_, Option<Arc<[u8]>>> {
        Reading::Now(self.index.find(key))
    }

    fn remove(&self, key: Digest) -> Pending<'_, ()> {
        Box::pin(ready(self.apply(&Change::Remove(key)).map(drop)))
    }

    fn revoke(&self, key: Digest, ends: u64) -> Pending<'_, ()> {
        Box::pin(ready(self.apply(&Change::Revoke(key, ends)).map(drop)))
    }

    fn is_revoked(&self, key: &Digest) -> Reading<'_, bool> {
        Reading::Now(self.index.is_revoked(key))
    }

    fn has_revocations(&self) -> bool {
        self.index.has_revocations()
    }

    fn once(&self, key: Digest, ends: u64) -> Pending<'_, bool> {
        Box::pin(ready(self.apply(&Change::Said(key, ends))))
    }

    fn records(&self) -> Option<usize> {
        Some(self.index.len())
    }
}
