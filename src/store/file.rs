//! A store that survives a restart and `kill -9`: every record in memory, every change in a file before it is answered.
//!
//! A log of our own and no database: questions are answered in memory, so nothing would ever read a second index; a
//! start reads the file once, from its beginning to its end; and what a checksum of every write cannot vouch for is
//! told, not repaired. One thread writes. What waits when it begins a write goes into that write and shares its fsync.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::frame::{
    Damage, FRAME_HEAD, FULL_FRAME, Found, HEAD, MAX_CONTENT, SLOTS, capacity_slot, decode, encode,
    frame, head, is_torn, last_written, look, read_head,
};
use super::index::{Change, Index};
use super::{Digest, KEPT_AFTER, MAX_RECORD, OpenError, Pending, Reading, Store, StoreError};
use crate::clock::Clock;

/// `file:`
#[derive(Debug)]
pub struct FileStore {
    index: Arc<Index>,
    clock: Clock,
    queue: Option<SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
}

/// A change that waits to be written, and whoever waits for that.
#[derive(Debug)]
struct Job {
    change: Change,
    done: oneshot::Sender<Result<(), StoreError>>,
}

/// The file and what is known of it. Lives on one thread.
struct Log {
    folder: PathBuf,
    file: File,
    /// Held as long as the store is used.
    _lock: File,
    /// Where the next frame goes.
    end: u64,
    /// The number of the next frame.
    sequence: u64,
    /// The file is this long.
    capacity: u64,
    generation: u64,
    /// A write failed, and left something up to here.
    soiled: Option<u64>,
    /// An fsync failed: what is on the disk is not known, and only a new file can be trusted.
    doubtful: bool,
    /// When the file is this long, it is time to ask how much of it still matters.
    next_look: u64,
    index: Arc<Index>,
    clock: Clock,
}

impl FileStore {
    /// The store in `folder`, which is made if it is not there.
    ///
    /// # Errors
    /// [`OpenError`]
    pub fn open(folder: &Path, clock: Clock) -> Result<Self, OpenError> {
        let index = Arc::new(Index::new());
        let log = Log::open(folder, &index, &clock)?;
        let (queue, jobs) = sync_channel(MAX_WAITING);
        let writer = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || log.serve(&jobs))
            .map_err(OpenError::Thread)?;
        Ok(Self { index, clock, queue: Some(queue), writer: Some(writer) })
    }

    /// How many records there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// In memory first: a removal or a revocation counts at once, and nobody knows of a new record yet.
    fn change(&self, change: Change) -> Pending<'_, bool> {
        let told = self.index.apply(&change, self.clock.unix_seconds());
        let written = match told {
            // What is there already may still be on its way to the disk, so it is written again; not what was said.
            Ok(changed) if changed || !matches!(change, Change::Said(..)) => self.submit(change),
            Ok(_) => return Box::pin(std::future::ready(Ok(false))),
            Err(error) => Err(error),
        };
        Box::pin(async move {
            match written?.await {
                Ok(outcome) => outcome.map(|()| told == Ok(true)),
                Err(_) => Err(StoreError::Unwritable),
            }
        })
    }

    fn submit(
        &self,
        change: Change,
    ) -> Result<oneshot::Receiver<Result<(), StoreError>>, StoreError> {
        let (done, outcome) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Unwritable)?;
        match queue.try_send(Job { change, done }) {
            Ok(()) => Ok(outcome),
            Err(TrySendError::Full(_)) => Err(StoreError::Busy),
            Err(TrySendError::Disconnected(_)) => Err(StoreError::Unwritable),
        }
    }
}

impl Store for FileStore {
    fn put(&self, key: Digest, record: Arc<[u8]>, ends: u64) -> Pending<'_, ()> {
        if record.len() > MAX_RECORD {
            return Box::pin(std::future::ready(Err(StoreError::TooLong)));
        }
        let kept = self.change(Change::Put(key, record, ends));
        Box::pin(async move {
            let kept = kept.await;
            if kept.is_err() {
                let _ = self.index.apply(&Change::Remove(key), self.clock.unix_seconds()); // nobody was told of it
            }
            kept.map(drop)
        })
    }

    fn find(&self, key: &Digest) -> Reading<'_, Option<Arc<[u8]>>> {
        Reading::Now(self.index.find(key))
    }

    fn remove(&self, key: Digest) -> Pending<'_, ()> {
        let removed = self.change(Change::Remove(key));
        Box::pin(async move { removed.await.map(drop) })
    }

    fn revoke(&self, key: Digest, ends: u64) -> Pending<'_, ()> {
        let revoked = self.change(Change::Revoke(key, ends));
        Box::pin(async move { revoked.await.map(drop) })
    }

    fn is_revoked(&self, key: &Digest) -> Reading<'_, bool> {
        Reading::Now(self.index.is_revoked(key))
    }

    fn has_revocations(&self) -> bool {
        self.index.has_revocations()
    }

    fn once(&self, key: Digest, ends: u64) -> Pending<'_, bool> {
        self.change(Change::Said(key, ends))
    }

    fn records(&self) -> Option<usize> {
        Some(self.index.len())
    }
}

/// What was accepted is written before the end.
impl Drop for FileStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take() {
            let _ = writer.join(); // if it panicked, the log has said so
        }
    }
}

impl Log {
    fn open(folder: &Path, index: &Arc<Index>, clock: &Clock) -> Result<Self, OpenError> {
        let io = |what, path: &Path| {
            let path = path.to_owned();
            move |source| OpenError::Io { what, path, source }
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(io("make the folder", folder))?;
        let lock_path = folder.join(LOCK_FILE);
        let mut lock = private().open(&lock_path).map_err(io("write to", &lock_path))?;
        let mut patience = LOCK_TRIES;
        while let Err(error) = lock.try_lock() {
            match error {
                // Whoever is being replaced may take a moment to end.
                TryLockError::WouldBlock if patience > 0 => std::thread::sleep(LOCK_PAUSE),
                TryLockError::WouldBlock => {
                    return Err(OpenError::Locked { path: folder.to_owned() });
                }
                TryLockError::Error(error) => return Err(io("lock", &lock_path)(error)),
            }
            patience -= 1;
        }
        let path = folder.join(LOG_FILE);
        let new = folder.join(NEW_FILE);
        match std::fs::remove_file(&new) {
            Ok(()) => {} // a rewrite that was not finished
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("remove", &new)(error)),
        }
        let was_made = lock.metadata().map_err(io("read", &lock_path))?.len() > 0;
        let exists = path.try_exists().map_err(io("read", &path))?;
        let folder = folder.to_owned();
        if exists {
            let file = OpenOptions::new().read(true).write(true).open(&path);
            let file = file.map_err(io("open", &path))?;
            return Self::replay(folder, file, lock, index, clock);
        }
        if was_made {
            return Err(OpenError::Damaged { path, at: 0, damage: Damage::Gone });
        }
        let (index, clock) = (Arc::clone(index), clock.clone());
        let (file, written) = create(&folder, &index).map_err(io("make", &path))?;
        sync_folder(&folder).map_err(io("make", &path))?;
        // From now on a missing file is a loss, not a beginning.
        lock.write_all(b"tollgate keeps its store here\n")
            .and_then(|()| lock.sync_all())
            .map_err(io("write to", &lock_path))?;
        Ok(Self {
            folder,
            file,
            _lock: lock,
            end: written.end,
            sequence: written.sequence,
            capacity: written.capacity,
            generation: 0,
            soiled: None,
            doubtful: false,
            next_look: LEAST_LOOK,
            index,
            clock,
        })
    }

    /// Reads a file from beginning to end, and fills the index.
    fn replay(
        folder: PathBuf,
        file: File,
        lock: File,
        index: &Arc<Index>,
        clock: &Clock,
    ) -> Result<Self, OpenError> {
        let path = folder.join(LOG_FILE);
        let io = |source| OpenError::Io { what: "read", path: path.clone(), source };
        let damaged = |at, damage| OpenError::Damaged { path: path.clone(), at, damage };
        let length = file.metadata().map_err(io)?.len();
        let mut reader = Reader { file: &file, length, at: 0, bytes: Vec::new(), from: 0 };
        reader.show(HEAD).map_err(io)?;
        let (capacity, generation) =
            read_head(reader.shown()).map_err(|damage| damaged(0, damage))?;
        if length < capacity {
            return Err(damaged(length, Damage::Cut));
        }
        reader.skip(HEAD);
        let now = clock.unix_seconds();
        let (mut sequence, mut wanted) = (1, HEAD);
        loop {
            reader.show(wanted).map_err(io)?;
            match look(reader.shown(), sequence) {
                Found::Frame(content) => {
                    let used = content.len() + FRAME_HEAD;
                    let mut full = Ok(true);
                    decode(content, |change| {
                        if now < change.ends().saturating_add(KEPT_AFTER) {
                            full = full.and(index.apply(&change, now));
                        }
                    })
                    .map_err(|damage| damaged(reader.at, damage))?;
                    if full.is_err() {
                        return Err(io(io::ErrorKind::OutOfMemory.into()));
                    }
                    reader.skip(used);
                    (sequence, wanted) = (sequence + 1, FRAME_HEAD);
                }
                Found::More(more) if reader.at + more as u64 <= length => wanted = more,
                Found::More(_) | Found::Nothing | Found::Broken => break,
            }
        }
        let end = reader.at;
        let soiled = reader.last_written(sequence).map_err(io)?;
        let soiled = soiled.ok_or_else(|| damaged(end, Damage::Frame))?;
        if soiled > end {
            tracing::warn!(
                file = %path.display(),
                at = end,
                bytes = soiled - end,
                "the last write of the store was not finished; nobody was told that it was kept, and it is left out"
            );
        }
        Ok(Self {
            folder,
            file,
            _lock: lock,
            end,
            sequence,
            capacity,
            generation,
            soiled: Some(soiled).filter(|soiled| *soiled > end),
            doubtful: false,
            next_look: LEAST_LOOK,
            index: Arc::clone(index),
            clock: clock.clone(),
        })
    }

    /// Writes what comes, until nobody is left who could send more.
    fn serve(mut self, jobs: &Receiver<Job>) {
        let (mut content, mut waiting) = (Vec::new(), Vec::new());
        let mut failing = false;
        while let Ok(first) = jobs.recv() {
            let mut next = Some(first);
            while let Some(job) = next {
                encode(&job.change, &mut content);
                waiting.push(job.done);
                next = if content.len() < FULL_FRAME { jobs.try_recv().ok() } else { None };
            }
            let result = self.commit(&content);
            match &result {
                Err(error) if !failing => tracing::error!(
                    folder = %self.folder.display(),
                    error = %error,
                    "the store cannot be written: tokens and revocations are answered 503 until it can"
                ),
                Ok(()) if failing => tracing::info!("the store is written again"),
                Ok(()) | Err(_) => {}
            }
            failing = result.is_err();
            for done in waiting.drain(..) {
                let _ = done.send(result.as_ref().map_err(|_| StoreError::Unwritable).copied());
            }
            content.clear();
            if !failing && self.end >= self.next_look {
                self.look_for_waste();
            }
        }
    }

    /// Writes one frame; once this returns, it is on the disk.
    fn commit(&mut self, content: &[u8]) -> io::Result<()> {
        if self.doubtful {
            self.rewrite()?;
        }
        let frame = frame(self.sequence, content);
        let end = self.end + frame.len() as u64;
        if end > self.capacity {
            self.grow(end)?;
        }
        if let Some(soiled) = self.soiled {
            self.clean(soiled)?;
        }
        if let Err(error) = self.file.write_all_at(&frame, self.end) {
            self.soiled = Some(end);
            return Err(error);
        }
        self.sync()?;
        (self.end, self.sequence) = (end, self.sequence + 1);
        Ok(())
    }

    /// Makes room in zeros, and only then says in the head that there is more.
    fn grow(&mut self, least: u64) -> io::Result<()> {
        let step = (self.capacity / 4).clamp(LEAST_STEP, MOST_STEP);
        let capacity = (self.capacity + step).max(least.next_multiple_of(LEAST_STEP));
        allocate(&self.file, self.capacity, capacity)?;
        if let Err(error) = self.file.sync_all() {
            self.doubtful = true;
            return Err(error);
        }
        let generation = self.generation + 1;
        let slot = SLOTS[usize::from(generation % 2 == 1)];
        self.file.write_all_at(&capacity_slot(capacity, generation), slot)?;
        self.sync()?;
        (self.capacity, self.generation) = (capacity, generation);
        Ok(())
    }

    /// Zeros where a write failed or was not finished, lest its rest is taken for something.
    fn clean(&mut self, soiled: u64) -> io::Result<()> {
        let zeros = vec![0; 64 * 1024];
        let mut at = self.end;
        while at < soiled.min(self.capacity) {
            let piece = (soiled.min(self.capacity) - at).min(zeros.len() as u64);
            let piece = usize::try_from(piece).unwrap_or(0);
            self.file.write_all_at(&zeros[..piece], at)?;
            at += piece as u64;
        }
        self.sync()?;
        self.soiled = None;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let result = self.file.sync_data();
        if result.is_err() {
            self.doubtful = true;
        }
        result
    }

    /// Writes the file anew if less than half of it still matters.
    fn look_for_waste(&mut self) {
        let needed = self.index.sweep_all(self.clock.unix_seconds());
        if self.end / 2 > needed
            && let Err(error) = self.rewrite()
        {
            tracing::warn!(
                folder = %self.folder.display(),
                error = %error,
                "the store could not be made smaller; it is kept as it is"
            );
        }
        self.next_look = (2 * self.end).max(LEAST_LOOK);
    }

    /// Everything that is kept into a new file, which then takes the place of the old one.
    fn rewrite(&mut self) -> io::Result<()> {
        let (file, written) = create(&self.folder, &self.index)?;
        self.file = file;
        (self.end, self.sequence, self.capacity) =
            (written.end, written.sequence, written.capacity);
        (self.generation, self.soiled) = (0, None);
        // The old file has no name any more, so there is no way back. If the new name is not on the disk, nothing may be
        // answered before it is.
        let named = sync_folder(&self.folder);
        self.doubtful = named.is_err();
        named
    }
}

/// How far a new file has come.
struct Written {
    end: u64,
    sequence: u64,
    capacity: u64,
}

/// A new file with all of `index`, on the disk and under its name; that name is not on the disk before [`sync_folder`].
fn create(folder: &Path, index: &Index) -> io::Result<(File, Written)> {
    let (path, new) = (folder.join(LOG_FILE), folder.join(NEW_FILE));
    let file = private().truncate(true).open(&new)?;
    let (mut end, mut sequence, mut content) = (HEAD as u64, 1, Vec::new());
    let mut flush = |content: &mut Vec<u8>| {
        let frame = frame(sequence, content);
        file.write_all_at(&frame, end)?;
        (end, sequence) = (end + frame.len() as u64, sequence + 1);
        content.clear();
        Ok::<(), io::Error>(())
    };
    index.for_each(|change| {
        encode(change, &mut content);
        if content.len() >= FULL_FRAME { flush(&mut content) } else { Ok(()) }
    })?;
    if !content.is_empty() {
        flush(&mut content)?;
    }
    let capacity = (end + LEAST_STEP).next_multiple_of(LEAST_STEP);
    allocate(&file, end, capacity)?;
    file.write_all_at(&head(capacity), 0)?;
    file.sync_all()?;
    std::fs::rename(&new, &path)?;
    Ok((file, Written { end, sequence, capacity }))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes the file `to` bytes long, with room on the disk for what is from `from` on, where the file system can promise that.
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    match fallocate(file, FallocateFlags::empty(), from, to - from) {
        Ok(()) => Ok(()),
        Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => file.set_len(to),
        Err(error) => Err(error.into()),
    }
}

/// Whoever reads the store learns who asks for which scopes.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600);
    options
}

/// Shows a file piece by piece.
struct Reader<'f> {
    file: &'f File,
    length: u64,
    /// Where what is shown begins.
    at: u64,
    bytes: Vec<u8>,
    /// Where in `bytes` that is.
    from: usize,
}

impl Reader<'_> {
    fn shown(&self) -> &[u8] {
        &self.bytes[self.from..]
    }

    fn skip(&mut self, length: usize) {
        self.from += length;
        self.at += length as u64;
    }

    /// Shows at least `wanted` bytes, or all there are.
    fn show(&mut self, wanted: usize) -> io::Result<()> {
        if self.shown().len() >= wanted {
            return Ok(());
        }
        self.bytes.drain(..self.from);
        self.from = 0;
        let have = self.bytes.len();
        let left = self.length - self.at - have as u64;
        let more = left.min(wanted.max(PIECE) as u64);
        self.bytes.resize(have + usize::try_from(more).unwrap_or(0), 0);
        self.file.read_exact_at(&mut self.bytes[have..], self.at + have as u64)
    }

    /// Where the last thing ends that is not zero, from where no whole frame stands; `None` if that is no torn write.
    fn last_written(&mut self, sequence: u64) -> io::Result<Option<u64>> {
        let begin = self.at;
        self.show(2 * MAX_CONTENT)?;
        if !is_torn(self.shown(), begin, sequence) {
            return Ok(None);
        }
        let last = last_written(self.shown());
        while !self.shown().is_empty() {
            self.skip(self.shown().len());
            self.show(PIECE)?;
            if last_written(self.shown()).is_some() {
                return Ok(None);
            }
        }
        Ok(Some(last.map_or(begin, |last| begin + last as u64 + 1)))
    }
}

const LOG_FILE: &str = "store.log";
const NEW_FILE: &str = "store.new";
const LOCK_FILE: &str = "lock";
/// How often the lock is tried before somebody is told that it is taken; two seconds in all.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
/// Changes that wait for the disk; more are told to come again.
const MAX_WAITING: usize = 16 * 1024;
/// Read at once, bytes.
const PIECE: usize = 8 << 20;
/// A file shorter than this is never written anew.
const LEAST_LOOK: u64 = 16 << 20;
/// Room is made in steps of at least this, bytes.
const LEAST_STEP: u64 = 1 << 20;
/// And at most this.
const MOST_STEP: u64 = 64 << 20;

#[cfg(test)]
mod tests;
