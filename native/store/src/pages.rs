//! Pages in memory: those not yet written, and a bounded cache of those that are.
//!
//! Invariant: a page that a published root reaches is found in `unwritten`, in `clean` or in the
//! page store, at every moment. A commit therefore fills `clean` before it empties `unwritten`.

use crate::error::{Result, StoreError};
use crate::page_store::PageStore;
use lockstep_format::{Page, PageId};
use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use rustc_hash::FxHashMap;
use std::sync::Arc;

#[derive(Clone)]
struct PageBytes;

impl Weighter<PageId, Arc<Page>> for PageBytes {
    fn weight(&self, _: &PageId, page: &Arc<Page>) -> u64 {
        page.bytes() as u64 + 128
    }
}

/// Immutable pages by number.
pub struct Pages {
    store: Box<dyn PageStore>,
    clean: Cache<PageId, Arc<Page>, PageBytes, rustc_hash::FxBuildHasher>,
    unwritten: RwLock<FxHashMap<PageId, Arc<Page>>>,
}

impl Pages {
    /// Pages of `store`, of which about `cache_bytes` are kept in memory.
    pub fn new(store: Box<dyn PageStore>, cache_bytes: u64) -> Self {
        let estimate = (cache_bytes / 8192).max(64) as usize;
        let clean = Cache::with(
            estimate,
            cache_bytes,
            PageBytes,
            rustc_hash::FxBuildHasher,
            quick_cache::sync::DefaultLifecycle::default(),
        );
        Self {
            store,
            clean,
            unwritten: RwLock::default(),
        }
    }

    /// The store below.
    pub fn store(&self) -> &dyn PageStore {
        &*self.store
    }

    /// A page of a finished epoch.
    pub fn get(&self, id: PageId) -> Result<Arc<Page>> {
        if let Some(page) = self.clean.get(&id) {
            return Ok(page);
        }
        if let Some(page) = self.unwritten.read().get(&id) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(self.load(id)?);
        self.clean.insert(id, Arc::clone(&page));
        Ok(page)
    }

    /// As [`Pages::get`], but what is on disk is read from there.
    pub fn get_stored(&self, id: PageId) -> Result<Arc<Page>> {
        if let Some(page) = self.unwritten.read().get(&id) {
            return Ok(Arc::clone(page));
        }
        self.load(id).map(Arc::new)
    }

    /// Reads and verifies a page from the store, past the cache.
    pub fn load(&self, id: PageId) -> Result<Page> {
        let bytes = self.store.get(id)?.ok_or_else(|| StoreError::Corrupt {
            what: format!("page {} is missing", id.0),
        })?;
        let page = Page::decode(&bytes)?;
        if page.id != id {
            let what = format!("page {} stands in the place of page {}", page.id.0, id.0);
            return Err(StoreError::Corrupt { what });
        }
        Ok(page)
    }

    /// Takes over the pages of an epoch that ended.
    pub fn freeze(&self, pages: impl Iterator<Item = (PageId, Arc<Page>)>) {
        self.unwritten.write().extend(pages);
    }

    /// Pages that the next commit has to write.
    pub fn unwritten(&self) -> Vec<(PageId, Arc<Page>)> {
        self.unwritten
            .read()
            .iter()
            .map(|(id, page)| (*id, Arc::clone(page)))
            .collect()
    }

    /// How many pages wait to be written.
    pub fn unwritten_count(&self) -> usize {
        self.unwritten.read().len()
    }

    /// Forgets a page that no root reaches; true if it never reached the store.
    pub fn discard_unwritten(&self, id: PageId) -> bool {
        self.unwritten.write().remove(&id).is_some()
    }

    /// The pages are in the store now.
    pub fn written(&self, pages: &[(PageId, Arc<Page>)]) {
        for (id, page) in pages {
            self.clean.insert(*id, Arc::clone(page));
        }
        let mut unwritten = self.unwritten.write();
        for (id, _) in pages {
            unwritten.remove(id);
        }
    }

    /// The pages are no longer in the store.
    pub fn deleted(&self, pages: &[PageId]) {
        for id in pages {
            self.clean.remove(id);
        }
    }
}
