//! A disk that loses, tears and reorders what was not synced, under all three parts of a store.
//!
//! The intent log and the segments are simulated; pages are LMDB's, in a file in memory whose writes
//! and syncs come by here ([`crate::system_calls`]). One count, one fault and one power cut for all.

use crate::file::File;
use crate::pages::Pages;
use crate::random::Random;
use crate::sabotage::{Sabotage, sabotaged};
use crate::system_calls::Watch;
use lockstep_format::{SegmentId, Timestamp};
use lockstep_store::{
    Clock, LmdbPageStore, LogStore, Parts, Result, SegmentStore, Store, StoreError, StoreOptions,
};
use parking_lot::Mutex;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// How much of an I/O that does not come back well happened all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Half of the bytes; a name without the sync of its directory.
    Half,
    /// All of it.
    Whole,
}

impl Effect {
    /// Each.
    pub const ALL: [Self; 3] = [Self::Nothing, Self::Half, Self::Whole];

    fn of(self, bytes: &[u8]) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Half => &bytes[..bytes.len() / 2],
            Self::Whole => bytes,
        }
    }
}

/// When something goes wrong; I/O is counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The machine or the process stops in the n-th I/O.
    StopAt(u64, Effect),
    /// The n-th I/O fails; those after it work.
    FailAt(u64, Effect),
    /// From the n-th I/O on, the first write that needs space finds none; those after it do.
    FullAt(u64),
}

/// What a disk is like, for better or worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// What reaches the disk whole or not at all.
    pub sector_bytes: usize,
    /// What an engine that were wrong would do.
    pub sabotage: Option<Sabotage>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            sector_bytes: 512,
            sabotage: None,
        }
    }
}

/// The folder of the page file.
#[derive(Debug)]
struct PageFolder {
    _watch: Watch,
    dir: TempDir,
}

#[derive(Debug)]
pub(crate) struct Inner {
    world: World,
    random: Random,
    logs: [File; 2],
    segments: BTreeMap<SegmentId, File>,
    /// Their names are not on the disk for sure.
    unsure: BTreeSet<SegmentId>,
    /// Removed, but not on the disk for sure.
    removed: BTreeMap<SegmentId, File>,
    pages: File,
    page_folder: Option<PageFolder>,
    page_folder_synced: bool,
    operations: u64,
    fault: Fault,
    stopped: bool,
    seconds: i64,
}

pub(crate) type Shared = Mutex<Inner>;

/// A simulated disk, with its clock.
#[derive(Clone, Debug)]
pub struct Disk(pub(crate) Arc<Shared>);

fn failed(errno: Errno) -> StoreError {
    StoreError::io("simulated I/O")(errno.into())
}

impl Inner {
    /// Counts an I/O and does as much of it as the fault leaves. `grows`: it needs space.
    fn perform(
        &mut self,
        grows: bool,
        effect: impl FnOnce(&mut Self, Effect),
    ) -> std::result::Result<(), Errno> {
        if self.stopped {
            return Err(Errno::IO);
        }
        self.operations += 1;
        let (amount, result) = match self.fault {
            Fault::StopAt(n, amount) if n == self.operations => {
                self.stopped = true;
                (amount, Err(Errno::IO))
            }
            Fault::FailAt(n, amount) if n == self.operations => (amount, Err(Errno::IO)),
            Fault::FullAt(n) if n <= self.operations && grows => {
                self.fault = Fault::None;
                (Effect::Half, Err(Errno::NOSPC))
            }
            _ => (Effect::Whole, Ok(())),
        };
        if amount != Effect::Nothing {
            effect(self, amount);
        }
        result
    }

    /// Like [`Inner::perform`], of what is done whole or not at all.
    fn perform_whole(&mut self, effect: impl FnOnce(&mut Self)) -> std::result::Result<(), Errno> {
        self.perform(false, |inner, amount| {
            if amount == Effect::Whole {
                effect(inner);
            }
        })
    }

    /// A write that went around us would make every image of a power cut a lie.
    fn assert_pages_recorded(&self) {
        let path = self
            .page_folder
            .as_ref()
            .map(|folder| folder.dir.path().join("data.mdb"));
        let found = path.and_then(|path| std::fs::read(path).ok());
        let same = found.as_deref() == Some(self.pages.bytes());
        assert!(same, "the page file is not what was written to it");
    }
}

/// Where page files are: `SIM_FOLDER`, or memory that is a file system, where there is one.
fn temporary() -> PathBuf {
    if let Some(folder) = std::env::var_os("SIM_FOLDER") {
        return folder.into();
    }
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        memory.to_owned()
    } else {
        std::env::temp_dir()
    }
}

impl Disk {
    /// A disk with a store that was just made.
    pub fn new(seed: u64, world: World) -> Result<Self> {
        let disk = Self::with_pages(seed, World::default(), &[])?;
        LmdbPageStore::create(&disk.page_folder())?;
        let mut inner = disk.0.lock();
        inner.world = world;
        let durable = inner.page_folder_synced && inner.pages.is_durable();
        assert!(
            durable,
            "an empty page store is not durable when it is made"
        );
        drop(inner);
        Ok(disk)
    }

    fn with_pages(seed: u64, world: World, pages: &[u8]) -> Result<Self> {
        let made = tempfile::Builder::new()
            .prefix("lockstep-sim-")
            .tempdir_in(temporary());
        let dir = made.map_err(StoreError::io("make a folder"))?;
        let file = dir.path().join("data.mdb");
        std::fs::write(&file, pages).map_err(StoreError::io("write the page file"))?;
        let disk = Self(Arc::new(Mutex::new(Inner {
            world,
            random: Random::new(seed),
            logs: Default::default(),
            segments: BTreeMap::new(),
            unsure: BTreeSet::new(),
            removed: BTreeMap::new(),
            pages: File::on_disk(pages.to_vec()),
            page_folder: None,
            page_folder_synced: false,
            operations: 0,
            fault: Fault::None,
            stopped: false,
            seconds: 1_000_000_000,
        })));
        let watch = Watch::new(dir.path(), &file, &disk);
        let watch = watch.map_err(StoreError::io("look at the page file"))?;
        disk.0.lock().page_folder = Some(PageFolder { _watch: watch, dir });
        Ok(disk)
    }

    fn page_folder(&self) -> PathBuf {
        let inner = self.0.lock();
        let folder = inner.page_folder.as_ref();
        folder.map_or_else(PathBuf::new, |folder| folder.dir.path().to_owned())
    }

    /// Counts I/O from 1 again and plans a fault.
    pub fn plan(&self, fault: Fault) {
        let mut inner = self.0.lock();
        inner.operations = 0;
        inner.fault = fault;
    }

    /// I/O since the last plan.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Whether the planned stop has happened.
    pub fn stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// What the next process finds: after a power cut, or (`power` false) after a kill. The store
    /// must have been dropped.
    pub fn restart(&self, power: bool) -> Result<Self> {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        inner.assert_pages_recorded();
        let sector_bytes = inner.world.sector_bytes;
        let random = &mut inner.random;
        let mut left = |file: &File| {
            if power {
                file.cut(random, sector_bytes)
            } else {
                file.clone()
            }
        };
        let logs = [left(&inner.logs[0]), left(&inner.logs[1])];
        let pages = left(&inner.pages);
        let mut segments: BTreeMap<_, _> = inner
            .segments
            .iter()
            .map(|(id, file)| (*id, left(file)))
            .collect();
        let mut removed: BTreeMap<_, _> = inner
            .removed
            .iter()
            .map(|(id, file)| (*id, left(file)))
            .collect();
        let mut unsure = inner.unsure.clone();
        if power {
            segments.retain(|id, _| !unsure.contains(id) || inner.random.chance(50));
            removed.retain(|id, _| !segments.contains_key(id) && inner.random.chance(50));
            segments.append(&mut removed);
            unsure.clear();
        }
        let disk = Self::with_pages(inner.random.any(), inner.world, pages.bytes())?;
        {
            let mut next = disk.0.lock();
            (next.logs, next.pages) = (logs, pages);
            (next.segments, next.unsure, next.removed) = (segments, unsure, removed);
            next.seconds = inner.seconds;
        }
        Ok(disk)
    }

    /// Opens the store on this disk.
    pub fn open(&self) -> Result<Arc<Store>> {
        let options = StoreOptions {
            cache_bytes: 1 << 20,
            read_only: false,
            cut_log: false,
        };
        let parts = Parts {
            pages: Box::new(Pages {
                lmdb: LmdbPageStore::open(&self.page_folder())?,
                disk: self.clone(),
            }),
            segments: Box::new(self.clone()),
            log: Box::new(self.clone()),
            clock: Box::new(self.clone()),
        };
        let sabotage = self.0.lock().world.sabotage;
        Store::open_parts(&options, sabotaged(parts, sabotage))
    }

    pub(crate) fn write_pages(
        &self,
        fd: BorrowedFd<'_>,
        at: u64,
        bytes: &[u8],
        through: bool,
    ) -> std::result::Result<(), Errno> {
        let mut inner = self.0.lock();
        let grows = at as usize + bytes.len() > inner.pages.bytes().len();
        let mut written = Ok(0);
        inner.perform(grows, |inner, amount| {
            let bytes = amount.of(bytes);
            written = rustix::io::pwrite(fd, bytes, at);
            inner.pages.write(at as usize, bytes);
        })?;
        if through {
            inner.pages.sync_range(at as usize, bytes.len());
        }
        written.map(|_| ())
    }

    pub(crate) fn sync_pages(&self) -> std::result::Result<(), Errno> {
        self.0.lock().perform_whole(|inner| {
            if inner.world.sabotage != Some(Sabotage::PageSyncForgotten) {
                inner.pages.sync();
            }
        })
    }

    pub(crate) fn reserve_pages(&self) -> Result<()> {
        self.0.lock().perform(true, |_, _| {}).map_err(failed)
    }

    pub(crate) fn sync_page_folder(&self) {
        self.0.lock().page_folder_synced = true;
    }
}

impl Clock for Disk {
    fn now(&self) -> Timestamp {
        let mut inner = self.0.lock();
        inner.seconds += 1;
        Timestamp {
            seconds: inner.seconds,
            nanoseconds: 0,
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut inner = self.0.lock();
        u128::from(inner.random.any()).to_le_bytes()
    }
}

impl LogStore for Disk {
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut inner = self.0.lock();
        let start = offset as usize;
        let grows = start + bytes.len() > inner.logs[file].bytes().len();
        let done = inner.perform(grows, |inner, amount| {
            inner.logs[file].write(start, amount.of(bytes));
        });
        done.map_err(failed)
    }

    fn prepare(&self, file: usize, length: u64) -> Result<()> {
        let mut inner = self.0.lock();
        let (from, to) = (inner.logs[file].bytes().len(), length as usize);
        if to <= from {
            return Ok(());
        }
        let done = inner.perform(true, |inner, amount| {
            let log = &mut inner.logs[file];
            log.write(from, amount.of(&vec![0; to - from]));
            if amount == Effect::Whole {
                log.sync();
            }
        });
        match done {
            Ok(()) | Err(Errno::NOSPC) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    fn sync(&self, file: usize) -> Result<()> {
        let mut inner = self.0.lock();
        inner
            .perform_whole(|inner| inner.logs[file].sync())
            .map_err(failed)
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize> {
        let inner = self.0.lock();
        let bytes = inner.logs[file].bytes();
        let bytes = bytes.get(offset as usize..).unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl SegmentStore for Disk {
    fn create(&self, segment: SegmentId) -> Result<()> {
        let done = self.0.lock().perform(true, |inner, amount| {
            inner.segments.insert(segment, File::default());
            inner.unsure.insert(segment);
            if amount == Effect::Whole {
                // The sync of the directory is that of all its names.
                inner.unsure.clear();
                inner.removed.clear();
            }
        });
        done.map_err(failed)
    }

    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        let done = self.0.lock().perform(true, |inner, amount| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.write(offset as usize, amount.of(bytes));
            }
        });
        done.map_err(failed)
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()> {
        let inner = self.0.lock();
        let file = inner.segments.get(&segment).ok_or(failed(Errno::NOENT))?;
        let start = offset as usize;
        let bytes = file.bytes().get(start..start + into.len());
        into.copy_from_slice(bytes.ok_or(failed(Errno::IO))?);
        Ok(())
    }

    fn length(&self, segment: SegmentId) -> Result<u64> {
        let inner = self.0.lock();
        let file = inner.segments.get(&segment).ok_or(failed(Errno::NOENT))?;
        Ok(file.bytes().len() as u64)
    }

    fn sync(&self, segment: SegmentId) -> Result<()> {
        let done = self.0.lock().perform_whole(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.sync();
            }
        });
        done.map_err(failed)
    }

    fn punch(&self, segment: SegmentId, offset: u64, length: u64) -> Result<()> {
        let done = self.0.lock().perform_whole(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.punch(offset as usize, length as usize);
            }
        });
        done.map_err(failed)
    }

    fn seal(&self, segment: SegmentId, length: u64) -> Result<()> {
        let done = self.0.lock().perform_whole(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.resize(length as usize);
            }
        });
        done.map_err(failed)
    }

    fn list(&self) -> Result<Vec<SegmentId>> {
        Ok(self.0.lock().segments.keys().copied().collect())
    }

    fn remove(&self, segment: SegmentId) -> Result<()> {
        let done = self.0.lock().perform_whole(|inner| {
            if let Some(file) = inner.segments.remove(&segment) {
                inner.removed.insert(segment, file);
            }
        });
        done.map_err(failed)
    }
}
