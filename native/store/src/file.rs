//! Segments and the intent log in plain files.

use crate::error::{Result, StoreError};
use crate::intent_log::ROOM_BYTES;
use crate::log_store::LogStore;
use crate::segment_store::SegmentStore;
use lockstep_format::SegmentId;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Descriptors kept open; others are closed and opened again when needed.
const OPEN_FILES_MAX: usize = 256;
/// A growing file is given space in steps of this size: writing into space that is there already
/// makes a later sync cheaper.
const RESERVE_BYTES: u64 = 8 << 20;
const SUFFIX: &str = ".segment";

struct Segment {
    file: File,
    /// Space up to here was asked for.
    reserved: AtomicU64,
}

/// Segments as files of one directory.
pub(crate) struct FileSegmentStore {
    dir: PathBuf,
    open: RwLock<FxHashMap<SegmentId, Arc<Segment>>>,
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(dir: &Path) -> Result<()> {
    File::open(dir)
        .and_then(|file| file.sync_all())
        .map_err(StoreError::io("sync a directory"))
}

impl FileSegmentStore {
    /// Segments in `dir`, which exists.
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            open: RwLock::default(),
        }
    }

    fn path(&self, segment: SegmentId) -> PathBuf {
        self.dir.join(format!("{:016x}{SUFFIX}", segment.0))
    }

    fn segment(&self, id: SegmentId) -> Result<Arc<Segment>> {
        if let Some(segment) = self.open.read().get(&id) {
            return Ok(Arc::clone(segment));
        }
        let file = File::options()
            .read(true)
            .write(true)
            .open(self.path(id))
            .map_err(StoreError::io("open a segment"))?;
        Ok(self.keep(id, file, u64::MAX))
    }

    fn keep(&self, id: SegmentId, file: File, reserved: u64) -> Arc<Segment> {
        let segment = Arc::new(Segment {
            file,
            reserved: AtomicU64::new(reserved),
        });
        let mut open = self.open.write();
        if open.len() >= OPEN_FILES_MAX {
            // Any file but one still growing: that one remembers how much space it was given.
            let settled = open
                .iter()
                .find(|(_, s)| s.reserved.load(Ordering::Relaxed) == u64::MAX);
            if let Some(victim) = settled.map(|(id, _)| *id) {
                open.remove(&victim);
            }
        }
        open.insert(id, Arc::clone(&segment));
        segment
    }
}

impl SegmentStore for FileSegmentStore {
    fn create(&self, segment: SegmentId) -> Result<()> {
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.path(segment))
            .map_err(StoreError::io("make a segment"))?;
        self.keep(segment, file, 0);
        sync_directory(&self.dir)
    }

    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        let segment = self.segment(segment)?;
        let end = offset + bytes.len() as u64;
        let reserved = segment.reserved.load(Ordering::Relaxed);
        if end > reserved {
            let target = end.next_multiple_of(RESERVE_BYTES);
            // Only an advance: a file system without fallocate just grows the file. The length grows
            // with it, so that the writes do not have to change it.
            let flags = FallocateFlags::empty();
            let _ = rustix::fs::fallocate(&segment.file, flags, reserved, target - reserved);
            segment.reserved.fetch_max(target, Ordering::Relaxed);
        }
        segment
            .file
            .write_all_at(bytes, offset)
            .map_err(StoreError::io("write a segment"))
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()> {
        self.segment(segment)?
            .file
            .read_exact_at(into, offset)
            .map_err(StoreError::io("read a segment"))
    }

    fn length(&self, segment: SegmentId) -> Result<u64> {
        let metadata = self.segment(segment)?.file.metadata();
        Ok(metadata.map_err(StoreError::io("measure a segment"))?.len())
    }

    fn sync(&self, segment: SegmentId) -> Result<()> {
        self.segment(segment)?
            .file
            .sync_data()
            .map_err(StoreError::io("sync a segment"))
    }

    fn punch(&self, segment: SegmentId, offset: u64, length: u64) -> Result<()> {
        let segment = self.segment(segment)?;
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&segment.file, flags, offset, length) {
            // Without holes the space comes back when the whole segment is removed.
            Ok(()) | Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            Err(error) => Err(StoreError::io("punch a segment")(error.into())),
        }
    }

    fn seal(&self, segment: SegmentId, length: u64) -> Result<()> {
        let segment = self.segment(segment)?;
        segment.reserved.store(u64::MAX, Ordering::Relaxed);
        segment
            .file
            .set_len(length)
            .map_err(StoreError::io("seal a segment"))
    }

    fn list(&self) -> Result<Vec<SegmentId>> {
        let what = StoreError::io("list segments");
        let names: std::io::Result<Vec<_>> = std::fs::read_dir(&self.dir)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect());
        let names = names.map_err(what)?;
        let number = |name: &std::ffi::OsString| {
            let stem = name.to_str()?.strip_suffix(SUFFIX)?;
            u64::from_str_radix(stem, 16).ok().map(SegmentId)
        };
        Ok(names.iter().filter_map(number).collect())
    }

    fn remove(&self, segment: SegmentId) -> Result<()> {
        self.open.write().remove(&segment);
        match std::fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(StoreError::io("remove a segment")(error))
            }
            _ => Ok(()),
        }
    }
}

/// One file of the log.
struct LogFile {
    file: File,
    /// Its length: everything before has been written once.
    length: AtomicU64,
}

impl LogFile {
    fn open(path: &Path, read_only: bool) -> Result<Self> {
        let file = File::options()
            .read(true)
            .write(!read_only)
            .open(path)
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => StoreError::Corrupt {
                    what: format!("{} is missing", path.display()),
                },
                _ => StoreError::io("open the log")(error),
            })?;
        let length = file.metadata().map_err(StoreError::io("open the log"))?;
        Ok(Self {
            length: AtomicU64::new(length.len()),
            file,
        })
    }

    /// Writes zeros from the end of the file up to `length` at least.
    fn extend(&self, length: u64) {
        let mut at = self.length.load(Ordering::Relaxed);
        while at < length {
            let end = (at + 1).next_multiple_of(ZEROS.len() as u64);
            let zeros = &ZEROS[..(end - at) as usize];
            if self.file.write_all_at(zeros, at).is_err() {
                // A full disk, which the write of a record will tell if it matters.
                return;
            }
            at = end;
            self.length.fetch_max(at, Ordering::Relaxed);
        }
    }
}

/// The intent log as two files of one directory, of which only the first part, overwritten again
/// and again, is in use: a sync after overwriting costs half of one after growing.
pub(crate) struct FileLogStore {
    files: [LogFile; 2],
}

const LOG_FILES: [&str; 2] = ["0.log", "1.log"];
/// What a file of the log is extended by.
static ZEROS: [u8; 1 << 20] = [0; 1 << 20];

impl FileLogStore {
    /// Makes the two files in `dir`, empty. Nothing makes them again: one that is missing later took
    /// acknowledged changes with it.
    pub(crate) fn create(dir: &Path) -> Result<()> {
        for name in LOG_FILES {
            File::create_new(dir.join(name)).map_err(StoreError::io("make the log"))?;
        }
        sync_directory(dir)
    }

    /// Opens the two files in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if one is missing.
    pub(crate) fn open(dir: &Path, read_only: bool) -> Result<Self> {
        let [first, second] = LOG_FILES.map(|name| LogFile::open(&dir.join(name), read_only));
        let store = Self {
            files: [first?, second?],
        };
        if !read_only {
            for file in 0..2 {
                store.prepare(file, 1)?;
            }
        }
        Ok(store)
    }
}

impl LogStore for FileLogStore {
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        let file = &self.files[file];
        let end = offset + bytes.len() as u64;
        file.file
            .write_all_at(bytes, offset)
            .map_err(StoreError::io("write the log"))?;
        if end + ROOM_BYTES > file.length.fetch_max(end, Ordering::Relaxed) {
            file.extend(end + ROOM_BYTES);
        }
        Ok(())
    }

    fn prepare(&self, file: usize, length: u64) -> Result<()> {
        let file = &self.files[file];
        if length <= file.length.load(Ordering::Relaxed) {
            return Ok(());
        }
        file.extend(length);
        file.file
            .sync_data()
            .map_err(StoreError::io("sync the log"))
    }

    fn prepared(&self, file: usize) -> u64 {
        self.files[file].length.load(Ordering::Relaxed)
    }

    fn sync(&self, file: usize) -> Result<()> {
        self.files[file]
            .file
            .sync_data()
            .map_err(StoreError::io("sync the log"))
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize> {
        let log = &self.files[file].file;
        let mut filled = 0;
        while filled < into.len() {
            match log.read_at(&mut into[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(StoreError::io("read the log")(error)),
            }
        }
        Ok(filled)
    }
}
