//! Pages in LMDB (crate heed): one database, in which a key of 8 bytes is a page's number and the
//! key `meta` that of the commit record.
//!
//! Invariants:
//! - Only this process has the environment open (the store's lock sees to it), and only once.
//! - A read transaction lives for one `get`, so that LMDB can reuse pages under any number of
//!   snapshots.
//! - LMDB gets no file whose structure is not sound (`lmdb_file.rs`), and frees no long value whose
//!   header is not: it believes both blindly.
//! - The file is made with the store and never again. One that is missing is damage: an empty one in
//!   its place would name no chunk, and every segment would be removed as unused.
//! - A commit that failed is tried again whole or not at all: LMDB writes all its pages anew then,
//!   and what it had written before belongs to no commit.
//! - After another failure than a full disk the environment only reads: LMDB refuses even that in
//!   one in which writing its meta page failed.
#![allow(
    unsafe_code,
    reason = "heed marks opening an environment unsafe: it maps a file; headers in the map are read"
)]

use crate::error::{Result, StoreError};
use crate::file::sync_directory;
use crate::lmdb_file;
use crate::page_store::PageStore;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions, WithoutTls};
use lockstep_format::PageId;
use lockstep_format::limits::PAGE_BYTES_MAX;
use parking_lot::RwLock;
use rustix::fs::FallocateFlags;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Address space reserved for the map; the file grows only as pages are put.
const MAP_BYTES: usize = 1 << 42;
const META_KEY: &[u8] = b"meta";
const FILE: &str = "data.mdb";
const READERS_MAX: u32 = 1024;
/// LMDB's table of readers; each takes a cache line.
const LOCK_BYTES: u64 = READERS_MAX as u64 * 64 + 4096;
/// Space is reserved up to multiples of this.
const RESERVE_STEP: u64 = 1 << 20;

struct Open {
    env: Env<WithoutTls>,
    records: Database<'static, Bytes, Bytes>,
}

/// An LMDB environment in a directory of its own.
pub struct LmdbPageStore {
    dir: PathBuf,
    /// LMDB's file, of which `reserved` bytes have space.
    file: File,
    reserved: AtomicU64,
    /// Size of LMDB's own pages.
    page_bytes: usize,
    open: RwLock<Option<Open>>,
}

fn failed(error: heed::Error) -> StoreError {
    match error {
        heed::Error::Io(source) => StoreError::Io {
            what: "page store",
            source,
        },
        heed::Error::Mdb(heed::MdbError::MapFull) => StoreError::Exhausted { what: "page space" },
        other => StoreError::Pages(other.to_string()),
    }
}

fn open_environment(dir: &Path, flags: EnvFlags) -> Result<Env<WithoutTls>> {
    let mut options = EnvOpenOptions::new().read_txn_without_tls();
    options.map_size(MAP_BYTES).max_readers(READERS_MAX);
    // SAFETY: the file is changed by nobody else while it is mapped: the store's lock file keeps
    // other processes out, and this process opens a store once. The only flag used is READ_ONLY.
    unsafe { options.flags(flags).open(dir) }.map_err(failed)
}

/// Gives a file space; `false` if its file system cannot promise any.
fn allocate(file: &File, flags: FallocateFlags, offset: u64, length: u64) -> Result<bool> {
    match rustix::fs::fallocate(file, flags, offset, length) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(StoreError::io("reserve space for pages")(error.into())),
    }
}

impl LmdbPageStore {
    /// Makes an environment without pages in `dir`. When it returns a power cut does not undo it:
    /// LMDB by itself syncs its first meta pages with the first commit, and never a directory.
    pub fn create(dir: &Path) -> Result<()> {
        let pages = Self::open_or_create(dir)?;
        pages.with(|open| open.env.force_sync())?;
        pages.close();
        sync_directory(dir)
    }

    /// Opens the environment in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is missing, or its structure is damaged.
    pub fn open(dir: &Path) -> Result<Self> {
        let path = dir.join(FILE);
        if !path.is_file() {
            let what = format!("{} is missing", path.display());
            return Err(StoreError::Corrupt { what });
        }
        let file = File::open(&path).map_err(StoreError::io("open the pages"))?;
        let page_bytes = lmdb_file::verify(&file, false)?;
        Ok(Self {
            page_bytes,
            ..Self::open_or_create(dir)?
        })
    }

    fn open_or_create(dir: &Path) -> Result<Self> {
        let file = |name: &str| {
            let mut options = File::options();
            options.read(true).write(true).create(true).truncate(false);
            options
                .open(dir.join(name))
                .map_err(StoreError::io("open the pages"))
        };
        // LMDB writes to this file through a map, where a full disk is a signal and not an error.
        allocate(&file("lock.mdb")?, FallocateFlags::empty(), 0, LOCK_BYTES)?;
        let env = open_environment(dir, EnvFlags::empty())?;
        let records = {
            let txn = env.write_txn().map_err(failed)?;
            let created = env.create_databases_and_commit(txn, |opener, txn| {
                opener
                    .create_database(txn, None)
                    .map(CommitOrAbort::<_, ()>::Commit)
            });
            created.map_err(failed)?.unwrap_commit()
        };
        Ok(Self {
            dir: dir.to_owned(),
            file: file(FILE)?,
            reserved: AtomicU64::new(0),
            page_bytes: 0,
            open: RwLock::new(Some(Open { env, records })),
        })
    }

    /// Bytes of the file that hold nothing.
    fn free_bytes(&self) -> Result<u64> {
        self.with(|open| {
            let txn = open.env.read_txn()?;
            let stat = open.records.stat(&txn)?;
            let used = stat.branch_pages + stat.leaf_pages + stat.overflow_pages;
            let length = open.env.real_disk_size()?;
            Ok(length.saturating_sub(used as u64 * u64::from(stat.page_size)))
        })
    }

    /// Goes on for reading only.
    fn reopen_for_reading(&self) -> Result<()> {
        let mut open = self.open.write();
        if let Some(open) = open.take() {
            open.env.prepare_for_closing().wait();
        }
        let env = open_environment(&self.dir, EnvFlags::READ_ONLY)?;
        let opened = {
            let txn = env.read_txn().map_err(failed)?;
            env.open_databases_and_commit(txn, |opener, txn| {
                let records = opener.open_database(txn, None)?;
                Ok(records.map_or(CommitOrAbort::Abort(()), CommitOrAbort::Commit))
            })
        };
        if let CommitOrAbort::Commit(records) = opened.map_err(failed)? {
            *open = Some(Open { env, records });
        }
        Ok(())
    }

    /// The keys of those pages that LMDB can free. One that must stay is a page that nothing reaches: a
    /// check says so.
    fn deletable(&self, open: &Open, pages: &[PageId]) -> heed::Result<Vec<[u8; 8]>> {
        // Not in the transaction that writes: what that one changed lies outside of the map.
        let txn = open.env.read_txn()?;
        let mut keys = Vec::with_capacity(pages.len());
        for page in pages {
            let key = page.0.to_be_bytes();
            let value = open.records.get(&txn, &key)?;
            if value.is_some_and(|value| may_be_freed(value, self.page_bytes)) {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    fn with<T>(&self, f: impl FnOnce(&Open) -> heed::Result<T>) -> Result<T> {
        match &*self.open.read() {
            Some(open) => f(open).map_err(failed),
            None => Err(StoreError::Closed { reason: None }),
        }
    }
}

/// Whether LMDB will free as many pages for this value, which lies in the map, as it takes.
fn may_be_freed(value: &[u8], page_bytes: usize) -> bool {
    let at = value.as_ptr();
    if page_bytes == 0 || at.addr() % page_bytes != lmdb_file::HEADER_BYTES {
        // It lies within a page of a tree.
        return true;
    }
    // SAFETY: a value that begins one header behind the start of a page of the map is a long one,
    // and its header, in the same page, ends with the number of its pages.
    let pages = unsafe { at.sub(4).cast::<[u8; 4]>().read() };
    u32::from_le_bytes(pages) == lmdb_file::long_value_pages(value.len(), page_bytes)
}

impl PageStore for LmdbPageStore {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        let found = self.with(|open| {
            let txn = open.env.read_txn()?;
            let found = open.records.get(&txn, &page.0.to_be_bytes())?;
            Ok(found.map(|bytes| (bytes.len() <= PAGE_BYTES_MAX).then(|| bytes.to_vec())))
        })?;
        match found {
            Some(None) => Err(StoreError::Corrupt {
                what: format!("page {} is longer than a page can be", page.0),
            }),
            found => Ok(found.flatten()),
        }
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        self.with(|open| {
            let txn = open.env.read_txn()?;
            Ok(open.records.get(&txn, META_KEY)?.map(<[u8]>::to_vec))
        })
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        let done = self.with(|open| {
            let deletes = self.deletable(open, deletes)?;
            let mut txn = open.env.write_txn()?;
            for key in &deletes {
                open.records.delete(&mut txn, key)?;
            }
            for (page, bytes) in puts {
                open.records.put(&mut txn, &page.0.to_be_bytes(), &bytes)?;
            }
            open.records.put(&mut txn, META_KEY, meta)?;
            txn.commit()
        });
        match done {
            Err(error) if !error.is_no_space() => {
                // LMDB calls a write that a full disk cut short an I/O error.
                if self.reserve(0).is_err_and(|full| full.is_no_space()) {
                    return Err(StoreError::NoSpace);
                }
                self.reopen_for_reading()?;
                Err(error)
            }
            other => other,
        }
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        // Of the free pages inside the file, some are not free yet, some are too few in a row.
        let beyond = bytes.saturating_sub(self.free_bytes()? / 2);
        let length = self
            .file
            .metadata()
            .map_err(StoreError::io("look at the pages"))?
            .len();
        let end = (length + beyond + 1).next_multiple_of(RESERVE_STEP);
        if end <= self.reserved.load(Ordering::Acquire) {
            return Ok(());
        }
        if allocate(&self.file, FallocateFlags::KEEP_SIZE, length, end - length)? {
            self.reserved.store(end, Ordering::Release);
            return Ok(());
        }
        let found = rustix::fs::fstatvfs(&self.file)
            .map_err(|error| StoreError::io("statvfs")(error.into()))?;
        if found.f_bavail * found.f_frsize < beyond {
            Err(StoreError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        self.with(|open| {
            let txn = open.env.read_txn()?;
            for entry in open.records.iter(&txn)? {
                let (key, bytes) = entry?;
                if let Ok(number) = key.try_into() {
                    each(PageId(u64::from_be_bytes(number)), bytes);
                }
            }
            Ok(())
        })
    }

    fn verify(&self) -> Result<()> {
        // What the transaction sees is not overwritten while it lives.
        let reading = self.open.read();
        let Some(open) = &*reading else {
            return Err(StoreError::Closed { reason: None });
        };
        let _txn = open.env.read_txn().map_err(failed)?;
        let found = lmdb_file::verify(&self.file, true);
        // A commit may have written the meta page while it was read.
        found
            .or_else(|_| lmdb_file::verify(&self.file, true))
            .map(drop)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.with(|open| open.env.real_disk_size())
    }

    fn close(&self) {
        if let Some(open) = self.open.write().take() {
            open.env.prepare_for_closing().wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_committed_is_read_after_a_failure_and_nothing_more_is_committed() {
        let dir = tempfile::tempdir().unwrap();
        LmdbPageStore::create(dir.path()).unwrap();
        let pages = LmdbPageStore::open(dir.path()).unwrap();
        let commit = |page: u64| {
            let mut puts = [(PageId(page), vec![7; 10_000])].into_iter();
            pages.commit(&mut puts, &[], b"meta")
        };
        commit(1).unwrap();
        pages.reopen_for_reading().unwrap();
        assert_eq!(pages.get(PageId(1)).unwrap().unwrap().len(), 10_000);
        assert_eq!(pages.meta().unwrap().unwrap(), b"meta");
        commit(2).unwrap_err();
        assert_eq!(pages.get(PageId(2)).unwrap(), None);
        pages.close();
    }
}
