//! The copy-on-write B+tree: pure functions over a source of pages.
//!
//! A tree is named by its root page; [`EMPTY`] is the tree without entries. Reading needs a
//! [`Source`], changing a [`Space`] (see `mutate.rs`).

pub(crate) mod diff;
pub(crate) mod mutate;
pub(crate) mod readable;

use crate::error::{Result, StoreError};
use lockstep_format::{Epoch, Page, PageId};
use std::ops::ControlFlow;
use std::sync::Arc;

/// The root of a tree without entries; never the number of a page.
pub(crate) const EMPTY: PageId = PageId(0);

/// Where pages come from.
pub(crate) trait Source {
    /// The page, or an error if it is missing or damaged.
    fn page(&self, id: PageId) -> Result<Arc<Page>>;
}

/// Loads the child `index` of `page` and checks that it belongs there.
pub(crate) fn child(source: &dyn Source, page: &Page, index: usize) -> Result<Arc<Page>> {
    let child = source.page(page.child(index))?;
    if child.level + 1 != page.level {
        let what = format!(
            "page {} has level {}, its parent {}",
            child.id.0, child.level, page.level
        );
        return Err(StoreError::Corrupt { what });
    }
    Ok(child)
}

/// The value of `key`.
pub(crate) fn get(source: &dyn Source, root: PageId, key: &[u8]) -> Result<Option<Vec<u8>>> {
    if root == EMPTY {
        return Ok(None);
    }
    let mut page = source.page(root)?;
    while !page.is_leaf() {
        page = child(source, &page, page.child_index(key))?;
    }
    Ok(page
        .search(key)
        .ok()
        .map(|index| page.value(index).to_vec()))
}

/// What a scan calls for each entry, key and value, until it breaks.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Calls `each` for every entry with `from <= key < to`, in key order, until it breaks.
pub(crate) fn scan(
    source: &dyn Source,
    root: PageId,
    from: &[u8],
    to: &[u8],
    each: Visit<'_>,
) -> Result<()> {
    if root == EMPTY || from >= to {
        return Ok(());
    }
    scan_page(source, &*source.page(root)?, from, to, each).map(|_| ())
}

fn scan_page(
    source: &dyn Source,
    page: &Page,
    from: &[u8],
    to: &[u8],
    each: Visit<'_>,
) -> Result<ControlFlow<()>> {
    if page.is_leaf() {
        let start = page.search(from).unwrap_or_else(|index| index);
        for index in start..page.len() {
            if page.key(index) >= to || each(page.key(index), page.value(index)).is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        return Ok(ControlFlow::Continue(()));
    }
    let start = page.child_index(from);
    for index in start..page.len() {
        if index > start && page.key(index) >= to {
            return Ok(ControlFlow::Break(()));
        }
        if scan_page(source, &*child(source, page, index)?, from, to, each)?.is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// The last entry with `from <= key < to`.
pub(crate) fn last(
    source: &dyn Source,
    root: PageId,
    from: &[u8],
    to: &[u8],
) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    if root == EMPTY || from >= to {
        return Ok(None);
    }
    let found = last_below(source, &*source.page(root)?, to)?;
    Ok(found.filter(|(key, _)| key.as_slice() >= from))
}

fn last_below(source: &dyn Source, page: &Page, to: &[u8]) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let end = page.search(to).unwrap_or_else(|index| index);
    if page.is_leaf() {
        let last = end.checked_sub(1);
        return Ok(last.map(|index| (page.key(index).to_vec(), page.value(index).to_vec())));
    }
    // Child 0 has no lower bound of its own, so it is tried even if its key is not below `to`.
    for index in (0..end.max(1)).rev() {
        let found = last_below(source, &*child(source, page, index)?, to)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Calls `each` for every page that was born after `after`, parents first, without looking below
/// older pages: what they hold is older still.
pub(crate) fn pages_born_after(
    source: &dyn Source,
    root: PageId,
    after: Epoch,
    each: &mut dyn FnMut(&Page) -> Result<()>,
) -> Result<()> {
    if root == EMPTY {
        return Ok(());
    }
    walk_born_after(source, &*source.page(root)?, after, each)
}

fn walk_born_after(
    source: &dyn Source,
    page: &Page,
    after: Epoch,
    each: &mut dyn FnMut(&Page) -> Result<()>,
) -> Result<()> {
    if page.birth <= after {
        return Ok(());
    }
    each(page)?;
    if !page.is_leaf() {
        for index in 0..page.len() {
            walk_born_after(source, &*child(source, page, index)?, after, each)?;
        }
    }
    Ok(())
}
