//! An open store: its parts, its life, and the two ways in (`read` and `write`).

use crate::clock::{Clock, SystemClock};
use crate::commit::Grace;
use crate::error::{Result, StoreError};
use crate::file::{FileLogStore, FileSegmentStore, sync_directory};
use crate::holes::Holes;
use crate::intent_log::{Flush, IntentLog};
use crate::lmdb::LmdbPageStore;
use crate::lock::StoreLock;
use crate::log_store::LogStore;
use crate::noticed::OnDamage;
use crate::page_store::PageStore;
use crate::pages::Pages;
use crate::read_only::ReadOnlySegments;
use crate::recovery::RecoveryReport;
use crate::scrub::Scrubbing;
use crate::segment_store::SegmentStore;
use crate::segments::{Pieces, Segments, Staged};
use crate::space::Space;
use crate::state::State;
use crate::tree;
use crate::txn::{ReadTxn, Reader, WriteTxn};
use crate::unsynced::{Need, Range};
use lockstep_format::log::{self, Operation};
use lockstep_format::{Encoder, Features, FormatError, Superblock, Timestamp, ViewId};
use parking_lot::{Condvar, Mutex, RwLock};
use rustc_hash::FxHashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// A commit happens at least this often while there is something to publish.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// A writer waits this long at a time for a commit.
const WAIT_STEP: Duration = Duration::from_millis(100);

const SUPERBLOCK: &str = "superblock";
const SUPERBLOCK_BYTES_MAX: u64 = 4096;
const FOLDERS: [&str; 3] = ["meta", "segments", "log"];

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Bytes of clean pages kept in memory.
    pub cache_bytes: u64,
    /// Refuse all changes; nothing on disk is touched.
    pub read_only: bool,
    /// Go on behind the last whole record of a damaged log, though later ones had been durable.
    pub cut_log: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            cache_bytes: 128 << 20,
            read_only: false,
            cut_log: false,
        }
    }
}

/// Where the bytes of a store went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceReport {
    /// Bytes of chunks that some live tree or snapshot reaches.
    pub live_bytes: u64,
    /// Bytes that all segments were given.
    pub segment_bytes: u64,
    /// Bytes of pages.
    pub page_bytes: u64,
    /// Segments.
    pub segments: u64,
    /// Bytes that only snapshots keep.
    pub snapshot_bytes: u64,
}

/// Figures of the file system a store lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostSpace {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Free bytes.
    pub free_bytes: u64,
    /// Free bytes that an ordinary user may take.
    pub available_bytes: u64,
}

/// The parts a store is built from; a simulation brings its own.
pub struct Parts {
    /// Where pages live.
    pub pages: Box<dyn PageStore>,
    /// Where chunks live.
    pub segments: Box<dyn SegmentStore>,
    /// Where the intent log lives.
    pub log: Box<dyn LogStore>,
    /// Time and chance.
    pub clock: Box<dyn Clock>,
}

impl Parts {
    /// The files of the store in `dir`, which nobody else has open.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if a file is missing.
    pub fn of_directory(dir: &Path, read_only: bool) -> Result<Self> {
        let segments = FileSegmentStore::new(&dir.join("segments"));
        Ok(Self {
            pages: Box::new(LmdbPageStore::open(&dir.join("meta"))?),
            segments: if read_only {
                Box::new(ReadOnlySegments::new(segments))
            } else {
                Box::new(segments)
            },
            log: Box::new(FileLogStore::open(&dir.join("log"), read_only)?),
            clock: Box::new(SystemClock),
        })
    }
}

/// An open store. Shared by reference; safe from any thread.
pub struct Store {
    dir: PathBuf,
    clock: Box<dyn Clock>,
    read_only: bool,
    cut_log: bool,
    pub(crate) pages: Arc<Pages>,
    pub(crate) segments: Segments,
    pub(crate) log: IntentLog,
    pub(crate) space: Space,
    /// The log file that is not being written holds nothing that is still needed.
    pub(crate) log_is_single: AtomicBool,
    pub(crate) state: RwLock<State>,
    pub(crate) committing: Mutex<()>,
    /// Signalled when a commit ended, well or not.
    pub(crate) committed: Condvar,
    waiting: Mutex<()>,
    /// Cloned by readers of chunks; exchanged by each commit.
    pub(crate) readers: Mutex<Arc<()>>,
    pub(crate) grace: Mutex<Vec<Grace>>,
    pub(crate) holes: Holes,
    pub(crate) reclaim: Mutex<FxHashSet<ViewId>>,
    pub(crate) scrubbing: Scrubbing,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
    wake: Arc<Wake>,
    maintenance: Mutex<Option<JoinHandle<()>>>,
    recovery: RecoveryReport,
    lock: Mutex<Option<StoreLock>>,
}

/// Wakes the maintenance thread.
#[derive(Default)]
struct Wake {
    state: Mutex<(bool, bool)>,
    signal: Condvar,
}

impl Wake {
    fn now(&self) {
        self.state.lock().0 = true;
        self.signal.notify_one();
    }

    fn stop(&self) {
        self.state.lock().1 = true;
        self.signal.notify_one();
    }

    /// Waits for a call or the interval; false when it is time to stop.
    fn wait(&self, interval: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.0 && !state.1 {
            self.signal.wait_for(&mut state, interval);
        }
        state.0 = false;
        !state.1
    }
}

/// The time as people write it, in UTC, to the second.
pub(crate) fn utc(time: Timestamp) -> String {
    let days = time.seconds.div_euclid(86_400);
    let second = time.seconds.rem_euclid(86_400);
    // Days to date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1_460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    let day = doy - (153 * mp + 2) / 5 + 1;
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z",
        second % 60
    )
}

impl Store {
    /// Makes an empty store in `dir`, which is created if it is missing and must be empty.
    ///
    /// # Errors
    /// [`StoreError::NotEmpty`] if anything is in the directory.
    pub fn create(dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir).map_err(StoreError::io("make the store's directory"))?;
        let mut entries = std::fs::read_dir(dir).map_err(StoreError::io("read the directory"))?;
        if entries.next().is_some() {
            return Err(StoreError::NotEmpty {
                path: dir.to_owned(),
            });
        }
        for folder in FOLDERS {
            std::fs::create_dir(dir.join(folder)).map_err(StoreError::io("make a folder"))?;
        }
        LmdbPageStore::create(&dir.join("meta"))?;
        FileLogStore::create(&dir.join("log"))?;
        let superblock = Superblock {
            store_id: SystemClock.random(),
            features: Features::default(),
        };
        // Written under another name first: a store without a superblock is no store.
        let partial = dir.join("superblock.new");
        let written = File::create_new(&partial).and_then(|mut file| {
            file.write_all(&superblock.encode())?;
            file.sync_all()
        });
        written
            .and_then(|()| std::fs::rename(&partial, dir.join(SUPERBLOCK)))
            .map_err(StoreError::io("write the superblock"))?;
        sync_directory(dir)?;
        let dir = std::path::absolute(dir).map_err(StoreError::io("find the directory"))?;
        dir.parent().map_or(Ok(()), sync_directory)
    }

    fn superblock(dir: &Path) -> Result<Superblock> {
        let path = dir.join(SUPERBLOCK);
        let mut bytes = Vec::new();
        match File::open(&path).map(|file| file.take(SUPERBLOCK_BYTES_MAX)) {
            Ok(mut file) => {
                file.read_to_end(&mut bytes)
                    .map_err(StoreError::io("read the superblock"))?;
            }
            Err(_) => {
                return Err(StoreError::NotAStore {
                    path: dir.to_owned(),
                });
            }
        }
        Superblock::decode(&bytes).map_err(|error| match error {
            FormatError::Version {
                found, supported, ..
            } => StoreError::NewerFormat { found, supported },
            source => StoreError::Superblock { path, source },
        })
    }

    /// Opens the store in `dir`: takes its lock, replays its log, starts its maintenance.
    ///
    /// # Errors
    /// [`StoreError::NotAStore`], [`StoreError::Superblock`], [`StoreError::NewerFormat`],
    /// [`StoreError::UnknownFeatures`], [`StoreError::Locked`]: nothing was changed.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Arc<Self>> {
        match Self::superblock(dir)?.unknown_features() {
            (0, 0) => {}
            (0, _) if options.read_only => {}
            (incompatible, read_only_compatible) => {
                return Err(StoreError::UnknownFeatures {
                    incompatible,
                    read_only_compatible,
                });
            }
        }
        for folder in FOLDERS {
            if !dir.join(folder).is_dir() {
                let what = format!("the store's folder `{folder}` is missing");
                return Err(StoreError::Corrupt { what });
            }
        }
        let lock = StoreLock::acquire(dir, &utc(SystemClock.now()))?;
        let parts = Parts::of_directory(dir, options.read_only)?;
        let store = Arc::new(Self::from_parts(dir, options, parts, Some(lock))?);
        if !store.read_only {
            store.start_maintenance()?;
        }
        Ok(store)
    }

    /// Opens a store over other parts than files, without a lock and without a maintenance thread:
    /// the caller calls [`Store::maintain`]. This is how a simulation runs the engine.
    pub fn open_parts(options: &StoreOptions, parts: Parts) -> Result<Arc<Self>> {
        Ok(Arc::new(Self::from_parts(
            Path::new(""),
            options,
            parts,
            None,
        )?))
    }

    fn from_parts(
        dir: &Path,
        options: &StoreOptions,
        parts: Parts,
        lock: Option<StoreLock>,
    ) -> Result<Self> {
        let mut store = Self {
            dir: dir.to_owned(),
            clock: parts.clock,
            read_only: options.read_only,
            cut_log: options.cut_log,
            pages: Arc::new(Pages::new(parts.pages, options.cache_bytes)),
            segments: Segments::new(parts.segments, 1),
            log: IntentLog::new(parts.log),
            space: Space::new(host_space(dir).map_or(u64::MAX, |host| host.total_bytes)),
            log_is_single: AtomicBool::new(true),
            state: RwLock::new(State::new()),
            committing: Mutex::default(),
            committed: Condvar::new(),
            waiting: Mutex::default(),
            readers: Mutex::default(),
            grace: Mutex::default(),
            holes: Holes::default(),
            reclaim: Mutex::default(),
            scrubbing: Scrubbing::default(),
            failure: Mutex::default(),
            closed: AtomicBool::new(false),
            wake: Arc::default(),
            maintenance: Mutex::default(),
            recovery: RecoveryReport::default(),
            lock: Mutex::new(lock),
        };
        // A store that is half recovered must not publish that when it is dropped.
        store.recovery = store.recover().inspect_err(|error| store.fail(error))?;
        Ok(store)
    }

    fn start_maintenance(self: &Arc<Self>) -> Result<()> {
        let (weak, wake) = (Arc::downgrade(self), Arc::clone(&self.wake));
        let thread = std::thread::Builder::new()
            .name("lockstep-commit".into())
            .spawn(move || {
                while wake.wait(COMMIT_INTERVAL) {
                    let Some(store) = weak.upgrade() else { return };
                    // A full disk is told to writers by their own writes; anything else has closed the
                    // store, and that is what they are told then.
                    if let Ok(true) = store.maintain() {
                        store.wake.now();
                    }
                }
            });
        *self.maintenance.lock() = Some(thread.map_err(StoreError::io("start a thread"))?);
        Ok(())
    }

    /// One round of background work: a commit, if anything changed, and a bounded amount of
    /// reclaiming and of giving space back. True if there is more to do. A store opened from a directory does this by
    /// itself, once a second and under pressure.
    pub fn maintain(&self) -> Result<bool> {
        self.check_writable()?;
        let resting = !self.state.read().dirty;
        self.commit()?;
        let more = self.reclaim_some()?;
        Ok(self.punch_some(resting)? || more)
    }

    /// What opening the store found in the log.
    pub fn recovery(&self) -> &RecoveryReport {
        &self.recovery
    }

    /// Who owned the store before, and who does now, as its lock says: the process, and since when
    /// to the second.
    pub fn owners(&self) -> (String, String) {
        let lock = self.lock.lock();
        lock.as_ref().map_or_else(Default::default, |lock| {
            (lock.before.clone(), lock.owner.clone())
        })
    }

    /// The time by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The directory the store lies in.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Looks at the store under its shared lock. Keep it short; never call `read` or `write` in it.
    pub fn read<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&ReadTxn<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        if self.closed.load(Ordering::Acquire) {
            return Err(StoreError::Closed { reason: None }.into());
        }
        f(&ReadTxn {
            state: self.state.read(),
            store: self,
        })
    }

    pub(crate) fn read_state<T>(&self, f: impl FnOnce(&dyn Reader) -> Result<T>) -> Result<T> {
        f(&ReadTxn {
            state: self.state.read(),
            store: self,
        })
    }

    /// Changes the store under its exclusive lock: one record of the log, or, if the closure or the
    /// log answers with an error, nothing.
    pub fn write<T, E: From<StoreError>>(
        &self,
        f: impl FnOnce(&mut WriteTxn<'_>) -> std::result::Result<T, E>,
    ) -> std::result::Result<T, E> {
        self.check_writable()?;
        self.space.check_commits()?;
        let mut txn = WriteTxn::new(self.state.write(), self);
        let result = f(&mut txn)?;
        let open_pages = txn.commit()?;
        self.throttle(open_pages)?;
        Ok(result)
    }

    pub(crate) fn append(&self, state: &mut State, body: &[u8]) -> Result<()> {
        let sequence = state.log_sequence;
        let record = log::encode(sequence, state.epoch, body);
        if let Err(error) = self.log.append(&record, sequence) {
            if !error.is_no_space() {
                self.fail(&error);
            }
            return Err(error);
        }
        state.log_sequence = sequence + 1;
        Ok(())
    }

    /// Keeps what is not yet committed bounded, and sees to the space that its commit needs: starts
    /// a commit, or does not return before one ended. `open_pages` have changed in the open epoch.
    fn throttle(&self, mut open_pages: usize) -> Result<()> {
        loop {
            let pages = open_pages + self.pages.unwritten_count();
            let log = self.log.bytes();
            let (soft, hard) = (self.space.soft, self.space.hard);
            if pages > soft.pages || log > soft.log_bytes {
                self.wake.now();
            }
            let bounded = pages < hard.pages && log < hard.log_bytes && self.log.has_room();
            let has_space = self.space.holds(pages) || self.hold_space(pages).is_ok();
            // What a commit without space has left is bounded by refusing further changes.
            if bounded && has_space || self.space.check_commits().is_err() {
                return Ok(());
            }
            self.check_writable()?;
            self.commit_or_wait();
            open_pages = self.state.read().open.len();
        }
    }

    /// Commits, or waits for whoever does. How that went is seen by the next change.
    fn commit_or_wait(&self) {
        match self.committing.try_lock() {
            Some(turn) => {
                drop(turn);
                let _ = self.commit();
            }
            None => {
                self.committed.wait_for(&mut self.waiting.lock(), WAIT_STEP);
            }
        }
    }

    /// Writes file bytes that will stand at file offset `offset` into a segment. They belong to no
    /// file until [`WriteTxn::put_range`]. Call it outside `read` and `write`.
    pub fn stage(&self, offset: u64, bytes: &[u8]) -> Result<Staged> {
        self.check_writable()?;
        self.space.check_bytes()?;
        self.segments.stage(offset, bytes).inspect_err(|error| {
            if error.is_no_space() {
                self.space.found_full();
            } else {
                self.fail(error);
            }
        })
    }

    /// Reads what `pieces` promised, every byte verified; holes are zeroes. `into` is filled up to
    /// the length asked for. Call it outside `read` and `write`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if bytes are not what was written; nothing of them is to be used.
    pub fn load(&self, pieces: &Pieces, into: &mut [u8]) -> Result<()> {
        self.segments
            .load(pieces, into)
            .inspect_err(|error| self.pages.noticed().note(error))
    }

    /// From now on `listener` is told of damage that reads meet, once of each.
    pub fn on_damage(&self, listener: OnDamage) {
        self.pages.noticed().listen(listener);
    }

    /// Makes everything acknowledged before the call durable. Calls at the same time share a flush.
    pub fn sync(&self) -> Result<()> {
        self.check_writable()?;
        self.log.sync(|durable, flush| {
            // A sync that failed while this one waited for it has closed the store.
            self.check_writable()?;
            self.sync_alone(durable, flush)
                .inspect_err(|error| self.fail(error))
        })
    }

    fn sync_alone(&self, durable: u64, flush: Flush<'_>) -> Result<Option<u64>> {
        let (ranges, copied) = match self.segments.need() {
            Need::Copy { ranges, upto } => (ranges, upto),
            Need::Sync => {
                self.segments.sync()?;
                (Vec::new(), 0)
            }
        };
        let number = match self.log_sync(durable, &ranges) {
            // No space for copies: the bytes have theirs in the segments.
            Err(error) if error.is_no_space() => {
                self.segments.sync()?;
                None
            }
            logged => Some(logged?),
        };
        flush()?;
        self.segments.copied(copied);
        Ok(number)
    }

    /// Notes in the log what is durable, and puts bytes of segments there, so that its next flush
    /// makes them durable. Returns the number of the record.
    fn log_sync(&self, durable: u64, ranges: &[Range]) -> Result<u64> {
        let mut body = Encoder::new();
        Operation::Synced { upto: durable }.encode(&mut body);
        let mut bytes = Vec::new();
        for range in ranges {
            bytes.resize(range.length, 0);
            let (segment, offset) = (range.segment, range.offset);
            self.segments.store().read(segment, offset, &mut bytes)?;
            let operation = Operation::Bytes {
                segment,
                offset,
                bytes: &bytes,
            };
            operation.encode(&mut body);
        }
        let mut state = self.state.write();
        let number = state.log_sequence;
        self.append(&mut state, &body.finish()).map(|()| number)
    }

    /// Walks the keys that differ between two views, skipping pages they share. No lock is held
    /// while `each` runs; live views are seen as they were when the call began.
    pub fn diff(&self, from: ViewId, to: ViewId, each: tree::diff::Each<'_>) -> Result<()> {
        let (from_root, _from_pin) = self.pin(from)?;
        let (to_root, _to_pin) = self.pin(to)?;
        tree::diff::diff(&*self.pages, from_root, to_root, each)
    }

    /// Where the store's bytes went.
    pub fn space(&self) -> Result<SpaceReport> {
        let page_bytes = self.pages.store().size_bytes()?;
        let state = self.state.read();
        let accounts = state.segments.values();
        Ok(SpaceReport {
            live_bytes: accounts.clone().map(|account| account.live).sum(),
            segment_bytes: accounts.clone().map(|account| account.tail).sum(),
            page_bytes,
            segments: accounts.len() as u64,
            snapshot_bytes: state.dead_bytes,
        })
    }

    /// Figures of the file system the store lies in.
    pub fn host_space(&self) -> Result<HostSpace> {
        host_space(&self.dir)
    }

    /// Commits and closes; every later call answers [`StoreError::Closed`]. Idempotent.
    ///
    /// # Errors
    /// [`StoreError::Closed`] with the reason, if a failure had closed the store for changes.
    pub fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.wake.stop();
        self.scrubbing.stop();
        if let Some(thread) = self.maintenance.lock().take()
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
        let failure = self.failure.lock().clone();
        let committed = match failure {
            _ if self.read_only => Ok(()),
            reason @ Some(_) => Err(StoreError::Closed { reason }),
            None => self.commit_and_seal(),
        };
        self.pages.store().close();
        *self.lock.lock() = None;
        committed
    }

    fn commit_and_seal(&self) -> Result<()> {
        self.segments.retire_active();
        match self.commit() {
            // The log has everything, and is made durable as the commit would have been.
            Err(error) if error.is_no_space() => self
                .log
                .sync(|durable, flush| self.sync_alone(durable, flush)),
            other => other.and_then(|()| self.punch_rest()),
        }
    }

    /// Whether recovery may leave out records that had been durable.
    pub(crate) fn may_lose_records(&self) -> bool {
        self.read_only || self.cut_log
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// Held by what still reads chunks.
    pub(crate) fn reading(&self) -> Arc<()> {
        Arc::clone(&self.readers.lock())
    }

    /// Has the space of what a volume's snapshots no longer see freed in the background.
    pub(crate) fn reclaim_later(&self, volume: ViewId) {
        self.reclaim.lock().insert(volume);
        self.wake.now();
    }

    /// After a failed write or sync nobody knows what the disk holds, and after a broken invariant
    /// nobody knows what memory does: no change is accepted, and nothing more is committed, until
    /// the store is opened again. Reading goes on.
    pub fn fail_stop(&self, reason: &str) {
        self.failure.lock().get_or_insert_with(|| reason.to_owned());
    }

    pub(crate) fn fail(&self, error: &StoreError) {
        self.fail_stop(&error.to_string());
    }

    /// Why the store accepts no changes, if a failure is the reason.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    fn check_writable(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) || self.read_only {
            return Err(StoreError::Closed { reason: None });
        }
        match &*self.failure.lock() {
            Some(reason) => Err(StoreError::Closed {
                reason: Some(reason.clone()),
            }),
            None => Ok(()),
        }
    }
}

fn host_space(dir: &Path) -> Result<HostSpace> {
    let found =
        rustix::fs::statvfs(dir).map_err(|error| StoreError::io("statvfs")(error.into()))?;
    Ok(HostSpace {
        total_bytes: found.f_blocks * found.f_frsize,
        free_bytes: found.f_bfree * found.f_frsize,
        available_bytes: found.f_bavail * found.f_frsize,
    })
}

impl Drop for Store {
    fn drop(&mut self) {
        // Whoever wants to know the result calls `close`; what is in the log is not lost.
        let _ = self.close();
    }
}
