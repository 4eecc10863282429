use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{FileStore, LOG_FILE};
use crate::clock::Clock;
use crate::store::{Damage, OpenError, Reading, Store, StoreError};

/// A folder that is gone when the test is.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tollgate-store-{}-{number}", std::process::id());
        Self(std::env::temp_dir().join(name))
    }

    fn open(&self) -> Result<FileStore, OpenError> {
        FileStore::open(&self.0, Clock::system())
    }

    fn log(&self) -> PathBuf {
        self.0.join(LOG_FILE)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn key(number: u32) -> [u8; 32] {
    let mut key = [7; 32];
    key[..4].copy_from_slice(&number.to_le_bytes());
    key
}

fn wait<T>(pending: crate::store::Pending<'_, T>) -> Result<T, StoreError> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(pending)
}

fn now<T>(reading: Reading<'_, T>) -> T {
    match reading {
        Reading::Now(answer) => answer,
        Reading::Later(_) => panic!("in memory"),
    }
}

fn put(store: &FileStore, number: u32) {
    let record: Arc<[u8]> = format!("record {number}").into_bytes().into();
    wait(store.put(key(number), record, u64::MAX - 1000)).unwrap();
}

fn has(store: &FileStore, number: u32) -> bool {
    now(store.find(&key(number))).is_some()
}

#[test]
fn everything_is_there_after_a_restart() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    for number in 0..50 {
        put(&store, number);
    }
    wait(store.remove(key(3))).unwrap();
    wait(store.revoke(key(100), u64::MAX)).unwrap();
    assert_eq!(wait(store.once(key(200), u64::MAX)), Ok(true));
    assert_eq!(wait(store.once(key(200), u64::MAX)), Ok(false));
    drop(store);
    for _ in 0..2 {
        let store = folder.open().unwrap();
        assert!((0..50).all(|number| has(&store, number) == (number != 3)));
        assert!(now(store.is_revoked(&key(100))) && store.has_revocations());
        assert!(!now(store.is_revoked(&key(101))));
        assert_eq!(wait(store.once(key(200), u64::MAX)), Ok(false));
        assert_eq!(&now(store.find(&key(7))).unwrap()[..], b"record 7");
    }
}

#[test]
fn a_second_process_is_told_that_the_folder_is_in_use() {
    let folder = Folder::new();
    let _store = folder.open().unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Locked { .. })));
}

#[test]
fn c205_a_file_cut_anywhere_is_refused() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    (0..20).for_each(|number| put(&store, number));
    drop(store);
    let whole = std::fs::read(folder.log()).unwrap();
    let cuts = (0..6_000).step_by(37).chain((6_000..whole.len()).step_by(65_537));
    for length in cuts.chain([whole.len() - 1]) {
        std::fs::write(folder.log(), &whole[..length]).unwrap();
        assert!(matches!(folder.open(), Err(OpenError::Damaged { .. })), "{length}");
    }
    std::fs::remove_file(folder.log()).unwrap();
    assert!(matches!(folder.open(), Err(OpenError::Damaged { damage: Damage::Gone, .. })));
    std::fs::write(folder.log(), &whole).unwrap();
    assert!(has(&folder.open().unwrap(), 19));
}

#[test]
fn c205_a_flipped_bit_is_refused_or_loses_nothing() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    (0..20).for_each(|number| put(&store, number));
    wait(store.revoke(key(100), u64::MAX)).unwrap();
    drop(store);
    let whole = std::fs::read(folder.log()).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut refused = 0;
    for bit in (0..(used + 600) * 8).step_by(211).chain([whole.len() * 8 - 1]) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(folder.log(), &bytes).unwrap();
        match folder.open() {
            Ok(store) => {
                assert!((0..20).all(|number| has(&store, number)), "bit {bit}");
                assert!(now(store.is_revoked(&key(100))), "bit {bit}");
                assert!(bit / 8 < 4096 || bit / 8 > used, "bit {bit} of a record went unseen");
            }
            Err(OpenError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 50);
}

#[test]
fn c204_a_write_that_did_not_finish_is_left_out_and_written_over() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    (0..20).for_each(|number| put(&store, number));
    drop(store);
    let mut bytes = std::fs::read(folder.log()).unwrap();
    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // the next frame, without its last sector
    let content: Vec<u8> = (0..2_000_u32).map(|byte| byte as u8 | 1).collect();
    let mut torn = crate::store::frame::frame(21, &content);
    let missing = torn.len() - (torn.len() + used) % 512;
    torn.truncate(missing);
    bytes[used..used + torn.len()].copy_from_slice(&torn);
    std::fs::write(folder.log(), &bytes).unwrap();
    let store = folder.open().unwrap();
    assert!((0..20).all(|number| has(&store, number)));
    put(&store, 20);
    drop(store);
    let store = folder.open().unwrap();
    assert!((0..=20).all(|number| has(&store, number)));
    drop(store);
    let bytes = std::fs::read(folder.log()).unwrap();
    assert!(bytes[used + 512..].iter().all(|byte| *byte == 0), "the rest was cleaned up");
}

#[test]
fn the_file_does_not_grow_with_what_has_ended() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let record: Arc<[u8]> = vec![1; 60_000].into();
    for number in 0..2_000 {
        wait(store.put(key(number % 10), Arc::clone(&record), u64::MAX)).unwrap();
        wait(store.put(key(number + 20), Arc::clone(&record), 1)).unwrap();
    }
    let length = std::fs::metadata(folder.log()).unwrap().len();
    assert!(length < 64 << 20, "{length}");
    drop(store);
    let store = folder.open().unwrap();
    assert!((0..10).all(|number| has(&store, number)));
}

#[test]
fn writers_at_the_same_time_share_a_write() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let pending: Vec<_> = (0..5_000).map(|number| store.revoke(key(number), u64::MAX)).collect();
    runtime.block_on(async {
        for revoked in pending {
            revoked.await.unwrap();
        }
    });
    drop(store);
    let store = folder.open().unwrap();
    assert_eq!(store.len(), 5_000);
}

#[test]
fn what_is_too_long_and_what_is_too_much_is_refused() {
    let folder = Folder::new();
    let store = folder.open().unwrap();
    let long: Arc<[u8]> = vec![1; 70_000].into();
    assert_eq!(wait(store.put(key(1), long, u64::MAX)), Err(StoreError::TooLong));
    let pending: Vec<_> = (0..200_000).map(|number| store.revoke(key(number), 1)).collect();
    let outcomes: Vec<_> = pending.into_iter().map(wait).collect();
    assert!(outcomes.iter().any(Result::is_ok));
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(()) | Err(StoreError::Busy))));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let clock = Clock::system();
    let error = FileStore::open(std::path::Path::new("/proc/tollgate/store"), clock).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("/proc/tollgate/store") && !text.contains("os error"), "{text}");
}

#[test]
fn a_file_of_another_version_is_refused() {
    let folder = Folder::new();
    drop(folder.open().unwrap());
    let mut bytes = std::fs::read(folder.log()).unwrap();
    bytes[..26].copy_from_slice(b"tollgate store, version 2\n");
    std::fs::write(folder.log(), &bytes).unwrap();
    let error = folder.open().unwrap_err();
    assert!(matches!(error, OpenError::Damaged { damage: Damage::Magic, .. }));
}
