//! Pages in LMDB (crate heed): one database, in which a key of 8 bytes is a page's number and the
//! key `meta` that of the commit record.
//!
//! Invariants:
//! - Only this process has the environment open (the store's lock sees to it), and only once.
//! - A read transaction lives for one `get`, so that LMDB can reuse pages under any number of
//!   snapshots.
//! - The file is made with the store and never again. One that is missing is damage: an empty one in
//!   its place would name no chunk, and every segment would be removed as unused.
//! - LMDB refuses even reads after a failed write of its meta page. The environment is then opened
//!   anew: the file holds the last commit, or the one that failed, and both serve the readers of a
//!   store that takes no more changes.
#![allow(
    unsafe_code,
    reason = "heed marks opening an environment unsafe: it maps a file"
)]

use crate::error::{Result, StoreError};
use crate::file::sync_directory;
use crate::page_store::PageStore;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, MdbError, RoTxn, WithoutTls};
use lockstep_format::PageId;
use parking_lot::RwLock;
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Address space reserved for the map; the file grows only as pages are put.
const MAP_BYTES: usize = 1 << 42;
const META_KEY: &[u8] = b"meta";
const FILE: &str = "data.mdb";

struct Open {
    env: Env<WithoutTls>,
    records: Database<'static, Bytes, Bytes>,
}

impl Open {
    fn new(dir: &Path) -> heed::Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_readers(1024);
        // SAFETY: the file is changed by nobody else while it is mapped: the store's lock file
        // keeps other processes out, and this process opens a store once.
        let env = unsafe { options.open(dir) }?;
        let txn = env.write_txn()?;
        let created = env.create_databases_and_commit(txn, |opener, txn| {
            opener
                .create_database(txn, None)
                .map(CommitOrAbort::<_, ()>::Commit)
        });
        let records = created?.unwrap_commit();
        Ok(Self { env, records })
    }
}

/// An LMDB environment in a directory of its own.
pub struct LmdbPageStore {
    dir: PathBuf,
    open: RwLock<Option<Open>>,
}

fn failed(error: heed::Error) -> StoreError {
    match error {
        heed::Error::Io(source) => StoreError::Io {
            what: "page store",
            source,
        },
        heed::Error::Mdb(MdbError::MapFull) => StoreError::Exhausted { what: "page space" },
        other => StoreError::Pages(other.to_string()),
    }
}

impl LmdbPageStore {
    /// Makes an environment without pages in `dir`. When it returns a power cut does not undo it:
    /// LMDB by itself syncs its first meta pages with the first commit, and never a directory.
    pub fn create(dir: &Path) -> Result<()> {
        let pages = Self::open_environment(dir)?;
        pages.with(|open| open.env.force_sync())?;
        pages.close();
        sync_directory(dir)
    }

    /// Opens the environment in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] if it is missing.
    pub fn open(dir: &Path) -> Result<Self> {
        let file = dir.join(FILE);
        if !file.is_file() {
            let what = format!("{} is missing", file.display());
            return Err(StoreError::Corrupt { what });
        }
        Self::open_environment(dir)
    }

    fn open_environment(dir: &Path) -> Result<Self> {
        Ok(Self {
            dir: dir.to_owned(),
            open: RwLock::new(Some(Open::new(dir).map_err(failed)?)),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&Open) -> heed::Result<T>) -> Result<T> {
        match &*self.open.read() {
            Some(open) => f(open).map_err(failed),
            None => Err(StoreError::Closed { reason: None }),
        }
    }

    fn read<T>(
        &self,
        f: impl Fn(&Database<'static, Bytes, Bytes>, &RoTxn<'_, WithoutTls>) -> heed::Result<T>,
    ) -> Result<T> {
        let attempt = |open: &Open| f(&open.records, &open.env.read_txn()?);
        match &*self.open.read() {
            Some(open) => match attempt(open) {
                Err(heed::Error::Mdb(MdbError::Panic)) => {}
                result => return result.map_err(failed),
            },
            None => return Err(StoreError::Closed { reason: None }),
        }
        let mut open = self.open.write();
        if let Some(panicked) = open.take() {
            panicked.env.prepare_for_closing().wait();
            *open = Some(Open::new(&self.dir).map_err(failed)?);
        }
        drop(open);
        self.with(attempt)
    }
}

impl PageStore for LmdbPageStore {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        self.read(|records, txn| Ok(records.get(txn, &page.0.to_be_bytes())?.map(<[u8]>::to_vec)))
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        self.read(|records, txn| Ok(records.get(txn, META_KEY)?.map(<[u8]>::to_vec)))
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        self.with(|open| {
            let mut txn = open.env.write_txn()?;
            for page in deletes {
                open.records.delete(&mut txn, &page.0.to_be_bytes())?;
            }
            for (page, bytes) in puts {
                open.records.put(&mut txn, &page.0.to_be_bytes(), &bytes)?;
            }
            open.records.put(&mut txn, META_KEY, meta)?;
            txn.commit()
        })
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        let each = RefCell::new(each);
        self.read(|records, txn| {
            for entry in records.iter(txn)? {
                let (key, bytes) = entry?;
                if let Ok(number) = key.try_into() {
                    each.borrow_mut()(PageId(u64::from_be_bytes(number)), bytes);
                }
            }
            Ok(())
        })
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
