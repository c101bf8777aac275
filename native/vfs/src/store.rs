//! Opening a store as a file system, and its life.

use crate::error::Result;
use crate::event::Observers;
use crate::file::InodeLocks;
use crate::handle::HandleTable;
use crate::identity::Identity;
use crate::reaper::Reaper;
use crate::{Errno, Observer};
use lockstep_format::{FileKind, Inode, InodeId, Timestamp, ViewId};
use lockstep_store::{
    OnDamage, OnScrub, Reader, RecoveryReport, ScrubOptions, ScrubReport, ScrubStatus, SpaceReport,
    Store, StoreOptions, WriteTxn,
};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A store served as a file system. Cheap to share, safe from any thread.
pub struct Vfs {
    pub(crate) store: Arc<Store>,
    pub(crate) read_only: bool,
    pub(crate) handles: Arc<HandleTable>,
    pub(crate) observers: Observers,
    pub(crate) locks: InodeLocks,
    pub(crate) identity: Identity,
    pub(crate) reaper: Reaper,
}

/// The empty root directory of a new volume.
pub(crate) fn root_directory(uid: u32, gid: u32, now: Timestamp) -> Inode {
    Inode {
        kind: FileKind::Directory,
        mode: 0o755,
        nlink: 2,
        uid,
        gid,
        size: 0,
        allocated: 0,
        rdev: 0,
        flags: 0,
        parent: InodeId::ROOT,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        block_size: 0,
        replication: 0,
    }
}

impl Vfs {
    /// Makes a new empty store in `dir` (created if missing, must be empty). Its root directory
    /// belongs to the user of this process.
    pub fn create(dir: &Path) -> Result<()> {
        Store::create(dir)?;
        let store = Store::open(dir, &StoreOptions::default())?;
        let (uid, gid) = crate::identity::process_owner(dir);
        let root = root_directory(uid, gid, store.now());
        store.write(|txn| -> Result<()> {
            Ok(txn.put_inode(ViewId::ROOT, InodeId::ROOT, &root)?)
        })?;
        Ok(store.close()?)
    }

    /// Opens a store: recovers what the log holds, takes the lock, and goes on freeing what was
    /// removed before.
    pub fn open(dir: &Path, options: &StoreOptions) -> Result<Arc<Self>> {
        let vfs = Self::open_waiting(dir, options)?;
        vfs.reap(None)?;
        Ok(vfs)
    }

    /// As [`Vfs::open`], but nothing without a name is freed before [`Vfs::reap`] is called: a
    /// mount that outlived its daemon may have users who hold it.
    pub fn open_waiting(dir: &Path, options: &StoreOptions) -> Result<Arc<Self>> {
        let store = Store::open(dir, options)?;
        let handles = Arc::new(HandleTable::default());
        let reaper = Reaper::new(Arc::clone(&store), Arc::clone(&handles));
        let vfs = Self {
            store,
            read_only: options.read_only,
            handles,
            observers: Observers::default(),
            locks: InodeLocks::default(),
            identity: Identity::default(),
            reaper,
        };
        vfs.handles.has_strangers.store(true, Ordering::Relaxed);
        if !vfs.read_only {
            vfs.reaper.adopt_all()?;
        }
        Ok(Arc::new(vfs))
    }

    /// Makes everything acknowledged so far durable (one group-committed flush).
    pub fn sync(&self) -> Result<()> {
        Ok(self.store.sync()?)
    }

    /// A broken invariant was found: nothing is changed or committed until the store is opened
    /// again; reading goes on. What was acknowledged is in the log.
    pub fn fail_stop(&self, reason: &str) {
        self.store.fail_stop(reason);
    }

    /// Commits and closes; every later call answers `Closed`. Idempotent.
    pub fn close(&self) -> Result<()> {
        self.reaper.stop();
        Ok(self.store.close()?)
    }

    /// Registers somebody who caches; `origin` (not 0) is the number for
    /// [`Caller::origin`](crate::Caller::origin).
    pub fn observe(&self, origin: u32, observer: Arc<dyn Observer>) {
        self.observers.add(origin, observer);
    }

    /// Forgets that observer.
    pub fn unobserve(&self, origin: u32) {
        self.observers.remove(origin);
    }

    /// Space figures of the store.
    pub fn space(&self) -> Result<SpaceReport> {
        Ok(self.store.space()?)
    }

    /// Why the store accepts no changes until it is opened again, if a failure is the reason.
    pub fn failure(&self) -> Option<String> {
        self.store.failure()
    }

    /// Whether the disk is full: then only what frees space is accepted.
    pub fn is_full(&self) -> bool {
        self.store.is_short_of_space()
    }

    /// Reads everything while the store is in use, and tells what is damaged; see
    /// [`Store::scrub`].
    pub fn scrub(&self, options: &ScrubOptions, each: OnScrub<'_>) -> Result<ScrubReport> {
        Ok(self.store.scrub(options, each)?)
    }

    /// Starts a scrub in the background; see [`Store::start_scrub`].
    pub fn start_scrub(&self, options: ScrubOptions) -> Result<()> {
        Ok(self.store.start_scrub(options)?)
    }

    /// How the scrub that is under way stands, or the last one.
    pub fn scrub_status(&self) -> Option<ScrubStatus> {
        self.store.scrub_status()
    }

    /// Ends the scrub that is under way, to be resumed later.
    pub fn stop_scrub(&self) {
        self.store.stop_scrub();
    }

    /// From now on `listener` is told of damage that reads meet, once of each.
    pub fn on_damage(&self, listener: OnDamage) {
        self.store.on_damage(listener);
    }

    /// What opening the store found in its log.
    pub fn recovery(&self) -> &RecoveryReport {
        self.store.recovery()
    }

    /// Waits until what was removed so far is freed, but for what somebody still holds open.
    pub fn settle(&self) {
        self.reaper.settle();
    }

    /// Looks at one state of the store; short, and never from within another look or change.
    pub(crate) fn inspect<T>(&self, look: impl FnOnce(&dyn Reader) -> Result<T>) -> Result<T> {
        self.store.read(|txn| look(txn))
    }

    /// Changes the store in one atomic step, unless it was opened for reading.
    pub(crate) fn transact<T>(
        &self,
        change: impl FnOnce(&mut WriteTxn<'_>) -> Result<T>,
    ) -> Result<T> {
        if self.read_only {
            return Err(Errno::ReadOnly.into());
        }
        self.store.write(change)
    }
}

impl Drop for Vfs {
    fn drop(&mut self) {
        self.reaper.stop();
    }
}
