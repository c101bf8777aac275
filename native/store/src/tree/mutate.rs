//! Changing a tree: every page on the way down is copied once per epoch.

use super::{EMPTY, Source};
use crate::error::Result;
use lockstep_format::limits::PAGE_BYTES_TARGET;
use lockstep_format::{Page, PageId};

/// Pages smaller than this are joined with a neighbour if both fit well into one.
const MERGE_BYTES: usize = PAGE_BYTES_TARGET / 4;
const MERGED_BYTES_MAX: usize = PAGE_BYTES_TARGET * 3 / 4;

/// A source of pages in which those of the open epoch can be changed.
pub(crate) trait Space: Source {
    /// A page of the open epoch with the contents of `id`: `id` itself if it is one, else a copy,
    /// `id` being retired.
    fn writable(&mut self, id: PageId) -> Result<PageId>;

    /// The page of the open epoch with this id.
    fn page_mut(&mut self, id: PageId) -> Result<&mut Page>;

    /// A new empty page of the open epoch.
    fn allocate(&mut self, level: u8) -> Result<PageId>;

    /// The page is no longer part of the tree.
    fn retire(&mut self, id: PageId) -> Result<()>;
}

/// The way from the root to a leaf: pages of the open epoch and the entry taken in each.
type Path = Vec<(PageId, usize)>;

fn descend(space: &mut dyn Space, root: &mut PageId, key: &[u8]) -> Result<(Path, PageId)> {
    *root = space.writable(*root)?;
    let mut path = Vec::with_capacity(4);
    let mut current = *root;
    loop {
        let page = space.page_mut(current)?;
        if page.is_leaf() {
            return Ok((path, current));
        }
        let index = page.child_index(key);
        let old = page.child(index);
        let new = space.writable(old)?;
        if new != old {
            space.page_mut(current)?.set_child(index, new);
        }
        path.push((current, index));
        current = new;
    }
}

/// Sets `key` to `value`; returns the value before.
pub(crate) fn put(
    space: &mut dyn Space,
    root: &mut PageId,
    key: &[u8],
    value: &[u8],
) -> Result<Option<Vec<u8>>> {
    if *root == EMPTY {
        *root = space.allocate(0)?;
    }
    let (path, leaf) = descend(space, root, key)?;
    let page = space.page_mut(leaf)?;
    let (index, old) = match page.search(key) {
        Ok(index) => {
            let old = page.value(index).to_vec();
            page.replace(index, value);
            (index, Some(old))
        }
        Err(index) => {
            page.insert(index, key, value);
            (index, None)
        }
    };
    if page.bytes() > PAGE_BYTES_TARGET && page.len() > 1 {
        split(space, root, path, leaf, index)?;
    }
    Ok(old)
}

/// Where to cut a page that got too large by an entry at `index`: behind it, if entries come in
/// order (so that pages filled in order stay full), else in the middle by bytes.
fn cut(page: &Page, index: usize) -> usize {
    if index + 1 == page.len() {
        return index;
    }
    let mut bytes = 0;
    for at in 0..page.len() {
        bytes += page.key(at).len() + page.value(at).len() + 12;
        if bytes >= page.bytes() / 2 {
            return (at + 1).clamp(1, page.len() - 1);
        }
    }
    page.len() - 1
}

/// The shortest key above `left` and not above `right`.
fn separator(left: &[u8], right: &[u8]) -> Vec<u8> {
    let shared = left.iter().zip(right).take_while(|(a, b)| a == b).count();
    right[..(shared + 1).min(right.len())].to_vec()
}

fn split(
    space: &mut dyn Space,
    root: &mut PageId,
    mut path: Path,
    page: PageId,
    index: usize,
) -> Result<()> {
    let (mut page, mut index) = (page, index);
    loop {
        let level = space.page_mut(page)?.level;
        let right = space.allocate(level)?;
        let left = space.page_mut(page)?;
        let at = cut(left, index);
        let tail = left.split_off(at, right);
        // Interior keys are separators already; shortening one again could move a child's range.
        let key = if level == 0 {
            separator(left.key(at - 1), tail.key(0))
        } else {
            tail.key(0).to_vec()
        };
        *space.page_mut(right)? = tail;
        let Some((parent, child_index)) = path.pop() else {
            let top = space.allocate(level + 1)?;
            let new_root = space.page_mut(top)?;
            new_root.insert_child(0, &[], page);
            new_root.insert_child(1, &key, right);
            *root = top;
            return Ok(());
        };
        let parent_page = space.page_mut(parent)?;
        if child_index == 0 {
            // Its key may be above what a first child, having lost those before it, holds by now.
            parent_page.unbound_first_child();
        }
        index = child_index + 1;
        parent_page.insert_child(index, &key, right);
        if parent_page.bytes() <= PAGE_BYTES_TARGET || parent_page.len() < 4 {
            return Ok(());
        }
        page = parent;
    }
}

/// Removes `key`; returns its value. Nothing is copied if there is no such key.
pub(crate) fn delete(
    space: &mut dyn Space,
    root: &mut PageId,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    if super::get(&*space, *root, key)?.is_none() {
        return Ok(None);
    }
    let (path, leaf) = descend(space, root, key)?;
    let page = space.page_mut(leaf)?;
    let Ok(index) = page.search(key) else {
        return Ok(None);
    };
    let old = page.value(index).to_vec();
    page.remove(index);
    shrink(space, root, path, leaf)?;
    Ok(Some(old))
}

/// Drops or joins pages that became empty or small, from `page` upwards.
fn shrink(space: &mut dyn Space, root: &mut PageId, mut path: Path, page: PageId) -> Result<()> {
    let mut page = page;
    while let Some((parent, index)) = path.pop() {
        let here = space.page_mut(page)?;
        if here.is_empty() {
            space.retire(page)?;
            space.page_mut(parent)?.remove(index);
        } else if here.bytes() < MERGE_BYTES {
            if !merge(space, parent, index)? {
                return Ok(());
            }
        } else {
            return Ok(());
        }
        page = parent;
    }
    // `page` is the root now.
    loop {
        let here = space.page_mut(*root)?;
        if here.is_empty() {
            space.retire(*root)?;
            *root = EMPTY;
            return Ok(());
        }
        if here.is_leaf() || here.len() > 1 {
            return Ok(());
        }
        let child = here.child(0);
        space.retire(*root)?;
        // The child may belong to an older epoch: the next change copies it.
        if space.page(child)?.is_leaf() {
            *root = child;
            return Ok(());
        }
        *root = space.writable(child)?;
    }
}

/// Joins child `index` of `parent` with a neighbour, if the two fit.
fn merge(space: &mut dyn Space, parent: PageId, index: usize) -> Result<bool> {
    let count = space.page_mut(parent)?.len();
    if count < 2 {
        return Ok(false);
    }
    let left_index = if index > 0 { index - 1 } else { 0 };
    let page = space.page_mut(parent)?;
    let (left, right) = (page.child(left_index), page.child(left_index + 1));
    let bytes = space.page(left)?.bytes() + space.page(right)?.bytes();
    if bytes > MERGED_BYTES_MAX {
        return Ok(false);
    }
    let key = space.page_mut(parent)?.key(left_index + 1).to_vec();
    let new_left = space.writable(left)?;
    let right_page = space.page(right)?;
    let target = space.page_mut(new_left)?;
    let joint = target.len();
    target.append(&right_page, 0);
    if !target.is_leaf() {
        // The right page's child 0 now has a lower bound: the separator it was reached by.
        let child = target.child(joint);
        target.remove(joint);
        target.insert_child(joint, &key, child);
    }
    drop(right_page);
    space.retire(right)?;
    let page = space.page_mut(parent)?;
    page.remove(left_index + 1);
    page.set_child(left_index, new_left);
    Ok(true)
}
