//! Pages in LMDB (crate heed): one database, in which a key of 8 bytes is a page's number and the
//! key `meta` that of the commit record.
//!
//! Invariants:
//! - Only this process has the environment open (the store's lock sees to it), and only once.
//! - A read transaction lives for one `get`, so that LMDB can reuse pages under any number of
//!   snapshots.
#![allow(
    unsafe_code,
    reason = "heed marks opening an environment unsafe: it maps a file"
)]

use crate::error::{Result, StoreError};
use crate::page_store::PageStore;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions, WithoutTls};
use lockstep_format::PageId;
use parking_lot::RwLock;
use std::path::Path;

/// Address space reserved for the map; the file grows only as pages are put.
const MAP_BYTES: usize = 1 << 42;
const META_KEY: &[u8] = b"meta";

struct Open {
    env: Env<WithoutTls>,
    records: Database<'static, Bytes, Bytes>,
}

/// An LMDB environment in a directory of its own.
pub(crate) struct LmdbPageStore {
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

impl LmdbPageStore {
    /// Opens the environment in `dir`, making it if it is empty.
    pub(crate) fn open(dir: &Path) -> Result<Self> {
        let mut options = EnvOpenOptions::new().read_txn_without_tls();
        options.map_size(MAP_BYTES).max_readers(1024);
        // SAFETY: the file is changed by nobody else while it is mapped: the store's lock file
        // keeps other processes out, and this process opens a store once.
        let env = unsafe { options.open(dir) }.map_err(failed)?;
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
            open: RwLock::new(Some(Open { env, records })),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&Open) -> heed::Result<T>) -> Result<T> {
        match &*self.open.read() {
            Some(open) => f(open).map_err(failed),
            None => Err(StoreError::Closed { reason: None }),
        }
    }
}

impl PageStore for LmdbPageStore {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        self.with(|open| {
            let txn = open.env.read_txn()?;
            Ok(open
                .records
                .get(&txn, &page.0.to_be_bytes())?
                .map(<[u8]>::to_vec))
        })
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

    fn size_bytes(&self) -> Result<u64> {
        self.with(|open| open.env.real_disk_size())
    }

    fn close(&self) {
        if let Some(open) = self.open.write().take() {
            open.env.prepare_for_closing().wait();
        }
    }
}
