//! LMDB's pages on a simulated disk, which is also the one to say whether there is space.

use crate::disk::Disk;
use lockstep_format::PageId;
use lockstep_store::{LmdbPageStore, PageStore, Result};

pub(crate) struct Pages {
    pub(crate) disk: Disk,
    pub(crate) lmdb: LmdbPageStore,
}

impl PageStore for Pages {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        self.lmdb.get(page)
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        self.lmdb.meta()
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        self.lmdb.commit(puts, deletes, meta)
    }

    fn reserve(&self, _: u64) -> Result<()> {
        self.disk.reserve_pages()
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        self.lmdb.list(each)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.lmdb.size_bytes()
    }

    fn close(&self) {
        self.lmdb.close();
    }
}
