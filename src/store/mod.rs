//! What all workers share and change: the records of reference tokens, revocations, and what may happen only once.
//! Knows no token and no client, only digests, bytes and ends.
//!
//! [`Store`] is the whole contract, made so that a store elsewhere can keep it too: every question may take time and
//! may fail, and everything has an end, given with it.
//!
//! Invariant: a change that was answered `Ok` is kept until its end, whatever happens to the process. What could not
//! be kept is answered with an error; it may have happened all the same, but only towards refusing.

mod file;
mod frame;
mod index;
mod memory;

use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

pub use file::FileStore;
pub use frame::Damage;
pub use memory::MemoryStore;

use crate::clock::Clock;
use crate::config::StoreUrl;

/// What a record is known by: a SHA-256 digest, so that whoever reads the store learns no token.
pub type Digest = [u8; 32];

/// An answer that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// An answer that is mostly there at once, and then costs nothing to wait for.
pub enum Reading<'a, T> {
    /// It is there.
    Now(T),
    /// It is asked for elsewhere.
    Later(Pending<'a, T>),
}

/// Keeps records until their ends, seconds since 1970. One for all workers.
pub trait Store: fmt::Debug + Send + Sync {
    /// Keeps `record` under `key` until `ends`.
    ///
    /// # Errors
    /// [`StoreError`]: it is not kept, or not for certain.
    fn put(&self, key: Digest, record: Arc<[u8]>, ends: u64) -> Pending<'_, ()>;

    /// The record under `key`, if there is one. It may be past its end: whoever reads it looks.
    fn find(&self, key: &Digest) -> Reading<'_, Option<Arc<[u8]>>>;

    /// Removes the record under `key`. From the call on it is not found; once this is answered, never again.
    ///
    /// # Errors
    /// [`StoreError`]: it may be found again, after a restart.
    fn remove(&self, key: Digest) -> Pending<'_, ()>;

    /// Revokes `key` until `ends`. From the call on it is revoked; once this is answered, it stays so.
    ///
    /// # Errors
    /// [`StoreError`]: it may not be revoked any more after a restart.
    fn revoke(&self, key: Digest, ends: u64) -> Pending<'_, ()>;

    /// Whether `key` was revoked.
    fn is_revoked(&self, key: &Digest) -> Reading<'_, bool>;

    /// Whether anything may be revoked at all: asked first, for it costs next to nothing.
    fn has_revocations(&self) -> bool;

    /// Whether this is the first time until `ends` that `key` is said.
    ///
    /// # Errors
    /// [`StoreError`]: nobody knows, so it must not count as the first time.
    fn once(&self, key: Digest, ends: u64) -> Pending<'_, bool>;

    /// How many records there are, of all kinds; those past their end count until they leave. `None`: nobody here knows.
    fn records(&self) -> Option<usize>;
}

/// Why a change was not kept, or a question not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StoreError {
    /// More changes wait than may.
    #[error("too many changes wait for the store")]
    Busy,
    /// More records than may be.
    #[error("the store is full")]
    Full,
    /// One record is longer than may be.
    #[error("a record is too long for the store")]
    TooLong,
    /// It could not be written. The log says why.
    #[error("the store cannot be written")]
    Unwritable,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Something of the file system.
    #[error("[store] cannot {what} {}: {}", path.display(), why(source))]
    Io {
        /// What was tried, in words.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Another process has it.
    #[error(
        "[store] {} is in use by another process: one folder serves one gateway; stop the other, or give this one a folder of its own",
        path.display()
    )]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The file is not as it was written.
    #[error(
        "[store] {} is damaged at byte {at}: {damage}. Put back a copy of it; or remove the folder, and then every reference token is void and every revocation forgotten",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        damage: Damage,
    },
    /// No thread could be started.
    #[error("[store] no thread for writing can be started")]
    Thread(#[source] std::io::Error),
}

/// The reason of the system, without its number.
fn why(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

/// The store at `url`.
///
/// # Errors
/// [`OpenError`]: it cannot be used as it is. Nothing was changed then.
pub fn open(url: &StoreUrl, clock: &Clock) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match url {
        StoreUrl::Memory => Arc::new(MemoryStore::new(clock.clone())),
        StoreUrl::File(folder) => Arc::new(FileStore::open(folder, clock.clone())?),
    })
}

impl<T> Reading<'_, T> {
    /// The answer.
    ///
    /// # Errors
    /// [`StoreError`], where it had to be asked for.
    pub async fn get(self) -> Result<T, StoreError> {
        match self {
            Self::Now(answer) => Ok(answer),
            Self::Later(pending) => pending.await,
        }
    }

    /// The answer, if it is there.
    pub fn now(self) -> Option<T> {
        match self {
            Self::Now(answer) => Some(answer),
            Self::Later(_) => None,
        }
    }
}

/// How long a record is kept past its end, seconds: the longest `leeway`, and a clock that is set back a little.
pub const KEPT_AFTER: u64 = 10 * 60;
/// Longest record, bytes.
pub const MAX_RECORD: usize = 64 * 1024;
/// Most records at once, of all kinds. A gigabyte or three.
const MAX_RECORDS: usize = 10_000_000;
