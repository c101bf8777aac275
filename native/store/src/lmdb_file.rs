//! Whether LMDB's file can be given to LMDB.
//!
//! LMDB maps its file and follows every number in it: a flipped bit in one of its own pages can send
//! it outside of the map, round in circles, or have it overwrite pages that are in use. So before it
//! is opened its structure is read here, with every number checked. The content of our pages is not
//! read: they have checksums of their own.
//!
//! Invariants of a sound file, of which any flipped bit breaks one or is harmless:
//! - The two meta pages are those of two commits in a row, each in its place.
//! - Each page below the end is in exactly one place: a tree, the free list, or a long value.
//! - Keys ascend, nodes fill their page without a gap, and all counts are those of the meta page.

use crate::error::{Result, StoreError};
use std::cmp::Ordering;
use std::fs::File;
use std::os::unix::fs::FileExt;

const MAGIC: u32 = 0xbeef_c0de;
const DATA_VERSION: u32 = 1;
/// Bytes in front of the content of one of LMDB's pages.
pub(crate) const HEADER_BYTES: usize = 16;
const NODE_BYTES: usize = 8;
const META_PAGES: u64 = 2;
/// Where behind a meta page's header the two trees, the last page and the transaction stand.
const TREES_AT: [usize; 2] = [24, 72];
const LAST_PAGE_AT: usize = 120;
const TRANSACTION_AT: usize = 128;
const META_BYTES: usize = 136;
const NO_PAGE: u64 = u64::MAX;
const IS_BRANCH: u16 = 1;
const IS_LEAF: u16 = 2;
const IS_LONG: u16 = 4;
const IS_META: u16 = 8;
const LONG_VALUE: u16 = 1;
const INTEGER_KEYS: u16 = 8;
const DEPTH_MAX: u16 = 32;
/// More pages than the map has room for.
const PAGES_MAX: u64 = 1 << 31;

/// A tree as a meta page describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Tree {
    page_bytes: u32,
    flags: u16,
    depth: u16,
    counts: Counts,
    root: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    branches: u64,
    leaves: u64,
    long: u64,
    entries: u64,
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    trees: [Tree; 2],
    last_page: u64,
    transaction: u64,
}

fn corrupt(what: impl std::fmt::Display) -> StoreError {
    StoreError::Corrupt {
        what: format!("meta/data.mdb: {what}"),
    }
}

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { Err(corrupt(what())) }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let found = bytes.get(at..).and_then(|rest| rest.first_chunk());
    found.copied().ok_or_else(|| corrupt("a page ends early"))
}

fn u16_at(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(number(bytes, at)?))
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    Ok(u32::from_le_bytes(number(bytes, at)?))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    Ok(u64::from_le_bytes(number(bytes, at)?))
}

fn read(file: &File, offset: u64, bytes: &mut [u8]) -> Result<()> {
    match file.read_exact_at(bytes, offset) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(corrupt(format!("it ends before byte {offset}")))
        }
        other => other.map_err(StoreError::io("read the pages")),
    }
}

/// Checks the structure of LMDB's file; the headers of long values only if it is to be `thorough`,
/// for they lie all over the file. Returns the size of its pages.
///
/// # Errors
/// [`StoreError::Corrupt`] with the page and what is wrong with it.
pub(crate) fn verify(file: &File, thorough: bool) -> Result<usize> {
    let meta = newest_meta(file)?;
    let mut walk = Walk {
        file,
        page_bytes: meta.trees[0].page_bytes as usize,
        last_page: meta.last_page,
        used: vec![0; (meta.last_page / 64 + 1) as usize],
        counts: Counts::default(),
        is_free_list: true,
        transaction: meta.transaction,
        thorough,
    };
    for (index, tree) in meta.trees.iter().enumerate() {
        (walk.counts, walk.is_free_list) = (Counts::default(), index == 0);
        walk.tree(tree)?;
    }
    walk.all_used()?;
    Ok(walk.page_bytes)
}

fn newest_meta(file: &File) -> Result<Meta> {
    let first = read_meta(file, 0, 0)?;
    let second = read_meta(file, u64::from(first.trees[0].page_bytes), 1)?;
    let (older, newer) = match first.transaction.cmp(&second.transaction) {
        Ordering::Greater => (second, first),
        _ => (first, second),
    };
    let is_new = newer.transaction == 0;
    require(is_new || newer.transaction - older.transaction == 1, || {
        let (one, other) = (first.transaction, second.transaction);
        format!("its meta pages are of transactions {one} and {other}")
    })?;
    Ok(newer)
}

fn read_meta(file: &File, offset: u64, page: u64) -> Result<Meta> {
    let mut bytes = [0; META_BYTES + HEADER_BYTES];
    read(file, offset, &mut bytes)?;
    let header = (u64_at(&bytes, 0)?, u16_at(&bytes, 10)?);
    let meta = &bytes[HEADER_BYTES..];
    let stamp = (u32_at(meta, 0)?, u32_at(meta, 4)?, u64_at(meta, 8)?);
    let expected = (MAGIC, DATA_VERSION, 0);
    require(header == (page, IS_META) && stamp == expected, || {
        format!("meta page {page} is none")
    })?;
    let trees = [read_tree(meta, TREES_AT[0])?, read_tree(meta, TREES_AT[1])?];
    let found = Meta {
        trees,
        last_page: u64_at(meta, LAST_PAGE_AT)?,
        transaction: u64_at(meta, TRANSACTION_AT)?,
    };
    let size = trees[0].page_bytes;
    let flags = (trees[0].flags, trees[1].flags, trees[1].page_bytes);
    let fits = size.is_power_of_two()
        && (512..=65_536).contains(&size)
        && flags == (INTEGER_KEYS, 0, 0)
        && (1..PAGES_MAX).contains(&found.last_page)
        && (found.transaction % 2 == page || found.transaction == 0);
    require(fits, || format!("meta page {page} has impossible values"))?;
    Ok(found)
}

fn read_tree(meta: &[u8], at: usize) -> Result<Tree> {
    Ok(Tree {
        page_bytes: u32_at(meta, at)?,
        flags: u16_at(meta, at + 4)?,
        depth: u16_at(meta, at + 6)?,
        counts: Counts {
            branches: u64_at(meta, at + 8)?,
            leaves: u64_at(meta, at + 16)?,
            long: u64_at(meta, at + 24)?,
            entries: u64_at(meta, at + 32)?,
        },
        root: u64_at(meta, at + 40)?,
    })
}

struct Walk<'a> {
    file: &'a File,
    page_bytes: usize,
    last_page: u64,
    /// A bit for each page that was met.
    used: Vec<u64>,
    counts: Counts,
    /// The tree is the list of free pages.
    is_free_list: bool,
    transaction: u64,
    thorough: bool,
}

/// A node of a page: its key, and what follows it.
struct Node<'a> {
    key: &'a [u8],
    head: &'a [u8],
    rest: &'a [u8],
}

impl Walk<'_> {
    fn tree(&mut self, tree: &Tree) -> Result<()> {
        let depth = tree.depth;
        require(depth <= DEPTH_MAX, || format!("a tree has depth {depth}"))?;
        if tree.root != NO_PAGE || depth != 0 {
            self.page(tree.root, depth, None, None)?;
        }
        require(self.counts == tree.counts, || {
            format!(
                "{:?} were counted, found are {:?}",
                tree.counts, self.counts
            )
        })
    }

    /// Marks `count` pages from `first` on as met.
    fn take(&mut self, first: u64, count: u64) -> Result<()> {
        let end = first.checked_add(count);
        require(
            first >= META_PAGES && end.is_some_and(|end| end <= self.last_page + 1),
            || format!("page {first} is not in the file"),
        )?;
        for page in first..first + count {
            let (word, bit) = ((page / 64) as usize, 1 << (page % 64));
            require(self.used[word] & bit == 0, || {
                format!("page {page} is in two places")
            })?;
            self.used[word] |= bit;
        }
        Ok(())
    }

    fn all_used(&self) -> Result<()> {
        for page in META_PAGES..=self.last_page {
            let is_used = self.used[(page / 64) as usize] >> (page % 64) & 1 == 1;
            require(is_used, || format!("page {page} is in no place"))?;
        }
        Ok(())
    }

    /// A page of a tree, `depth` levels above nothing, whose keys lie from `low` to before `high`.
    fn page(&mut self, id: u64, depth: u16, low: Option<&[u8]>, high: Option<&[u8]>) -> Result<()> {
        self.take(id, 1)?;
        let mut bytes = vec![0; self.page_bytes];
        read(self.file, id * self.page_bytes as u64, &mut bytes)?;
        let is_leaf = depth == 1;
        let kind = if is_leaf { IS_LEAF } else { IS_BRANCH };
        let found = (u64_at(&bytes, 0)?, u16_at(&bytes, 10)?);
        require(depth > 0 && found == (id, kind), || {
            format!("page {id} is another one")
        })?;
        if is_leaf {
            self.counts.leaves += 1;
        } else {
            self.counts.branches += 1;
        }
        let nodes = Self::nodes(id, &bytes, is_leaf)?;
        let first = usize::from(!is_leaf);
        require(nodes.len() > first, || {
            format!("page {id} has too few entries")
        })?;
        for (index, node) in nodes.iter().enumerate().skip(first) {
            let after = if index > first {
                Some(nodes[index - 1].key)
            } else {
                None
            };
            let ascends = after.is_none_or(|key| self.order(key, node.key).is_lt());
            let above = low.is_none_or(|low| self.order(low, node.key).is_le());
            let below = high.is_none_or(|high| self.order(node.key, high).is_lt());
            require(ascends && above && below, || {
                format!("page {id}: keys out of order")
            })?;
        }
        for (index, node) in nodes.iter().enumerate() {
            if is_leaf {
                self.entry(id, node)?;
                continue;
            }
            let from = if index == 0 { low } else { Some(node.key) };
            let to = nodes.get(index + 1).map_or(high, |next| Some(next.key));
            let child = number::<6>(node.head, 0)?;
            let child = child
                .iter()
                .rev()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte));
            self.page(child, depth - 1, from, to)?;
        }
        Ok(())
    }

    /// The nodes of a page; together they fill it from `upper` on.
    fn nodes(id: u64, bytes: &[u8], is_leaf: bool) -> Result<Vec<Node<'_>>> {
        let invalid = || corrupt(format!("page {id} is malformed"));
        let lower = usize::from(u16_at(bytes, 12)?);
        let upper = usize::from(u16_at(bytes, 14)?);
        if lower < HEADER_BYTES || lower % 2 != 0 || lower > upper || upper > bytes.len() {
            return Err(invalid());
        }
        let mut filled = 0;
        let mut nodes = Vec::with_capacity((lower - HEADER_BYTES) / 2);
        for slot in (HEADER_BYTES..lower).step_by(2) {
            let at = usize::from(u16_at(bytes, slot)?);
            let node = bytes
                .get(at..)
                .filter(|_| at >= upper)
                .ok_or_else(invalid)?;
            let (head, rest) = node.split_at_checked(NODE_BYTES).ok_or_else(invalid)?;
            let key_bytes = usize::from(u16_at(head, 6)?);
            let (key, rest) = rest.split_at_checked(key_bytes).ok_or_else(invalid)?;
            let value = match (is_leaf, u16_at(head, 4)?) {
                (false, _) => 0,
                (true, LONG_VALUE) => 8,
                (true, 0) => u32_at(head, 0)? as usize,
                _ => return Err(invalid()),
            };
            let rest = rest.get(..value).ok_or_else(invalid)?;
            filled += (NODE_BYTES + key_bytes + value).next_multiple_of(2);
            nodes.push(Node { key, head, rest });
        }
        if filled != bytes.len() - upper {
            return Err(invalid());
        }
        Ok(nodes)
    }

    fn order(&self, one: &[u8], other: &[u8]) -> Ordering {
        if self.is_free_list {
            // Numbers, in the machine's order of bytes.
            return one.iter().rev().cmp(other.iter().rev());
        }
        one.cmp(other)
    }

    fn entry(&mut self, id: u64, node: &Node<'_>) -> Result<()> {
        self.counts.entries += 1;
        let length = u32_at(node.head, 0)? as usize;
        let is_long = u16_at(node.head, 4)? == LONG_VALUE;
        let first = if is_long { u64_at(node.rest, 0)? } else { 0 };
        if is_long {
            let pages = long_value_pages(length, self.page_bytes);
            self.counts.long += u64::from(pages);
            self.take(first, u64::from(pages))?;
            if self.thorough || self.is_free_list {
                self.long_header(first, pages)?;
            }
        }
        if !self.is_free_list {
            return Ok(());
        }
        let known = node.key.len() == 8 && u64_at(node.key, 0)? <= self.transaction;
        require(known, || {
            format!("page {id}: a free list has no valid number")
        })?;
        let mut long = Vec::new();
        if is_long {
            long.resize(length, 0);
            let at = first * self.page_bytes as u64 + HEADER_BYTES as u64;
            read(self.file, at, &mut long)?;
        }
        self.free_pages(id, if is_long { &long } else { node.rest })
    }

    fn long_header(&self, first: u64, pages: u32) -> Result<()> {
        let mut header = [0; HEADER_BYTES];
        read(self.file, first * self.page_bytes as u64, &mut header)?;
        let found = (
            u64_at(&header, 0)?,
            u16_at(&header, 10)?,
            u32_at(&header, 12)?,
        );
        require(found == (first, IS_LONG, pages), || {
            format!("page {first} is another one")
        })
    }

    /// A list of free pages: how many, then their numbers, descending.
    fn free_pages(&mut self, id: u64, list: &[u8]) -> Result<()> {
        let count = u64_at(list, 0)?;
        let listed = (list.len() / 8 - 1) as u64;
        require(count == listed && list.len().is_multiple_of(8), || {
            format!(
                "page {id}: a free list has {count} pages in {} bytes",
                list.len()
            )
        })?;
        let mut before = u64::MAX;
        for at in (8..list.len()).step_by(8) {
            let page = u64_at(list, at)?;
            require(page < before, || {
                format!("page {id}: a free list is out of order")
            })?;
            self.take(page, 1)?;
            before = page;
        }
        Ok(())
    }
}

/// How many pages a long value takes, as the header in front of it says too. LMDB believes that one.
pub(crate) fn long_value_pages(length: usize, page_bytes: usize) -> u32 {
    (HEADER_BYTES + length).div_ceil(page_bytes) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lmdb::LmdbPageStore;
    use crate::page_store::PageStore;
    use lockstep_format::PageId;

    /// A file with branch pages, long values, and free lists short and long.
    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        LmdbPageStore::create(dir.path()).unwrap();
        let pages = LmdbPageStore::open(dir.path()).unwrap();
        for round in 0..8 {
            let mut puts = (0..200u64).map(|n| {
                let length = if n % 3 == 0 { 9000 } else { 90 + n as usize };
                (PageId(round * 200 + n + 1), vec![n as u8; length])
            });
            let deletes: Vec<PageId> = match round {
                0 => Vec::new(),
                _ => (0..150)
                    .map(|n| PageId((round - 1) * 200 + n + 1))
                    .collect(),
            };
            pages.commit(&mut puts, &deletes, b"meta").unwrap();
        }
        pages.close();
        let path = dir.path().join("data.mdb");
        (dir, path)
    }

    #[test]
    fn a_sound_file_passes_whatever_it_holds() {
        let empty = tempfile::tempdir().unwrap();
        LmdbPageStore::create(empty.path()).unwrap();
        verify(&File::open(empty.path().join("data.mdb")).unwrap(), true).unwrap();
        let (_dir, path) = file();
        verify(&File::open(path).unwrap(), true).unwrap();
    }

    /// Every bit of what LMDB follows: what passes must be harmless, so LMDB is asked for everything.
    #[test]
    fn a_flipped_bit_in_the_structure_is_found_or_harmless() {
        let (dir, path) = file();
        let sound = std::fs::read(&path).unwrap();
        let mut expected = Vec::new();
        let pages = LmdbPageStore::open(dir.path()).unwrap();
        pages
            .list(&mut |id, bytes| expected.push((id, bytes.to_vec())))
            .unwrap();
        pages.close();
        drop(pages);
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let file = File::options().read(true).write(true).open(&path).unwrap();
        for round in 0..600 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Every third one in a meta page or close behind a page's start.
            let at = match round % 3 {
                0 => random as usize % 2 * 4096 + (random >> 8) as usize % 160,
                1 => (random as usize % sound.len() / 4096) * 4096 + (random >> 40) as usize % 64,
                _ => random as usize % sound.len(),
            };
            let flipped = sound[at] ^ 1 << (random >> 61);
            file.write_all_at(&[flipped], at as u64).unwrap();
            if verify(&file, false).is_ok() {
                let pages = LmdbPageStore::open(dir.path()).unwrap();
                let changed = |(id, bytes): &&(PageId, Vec<u8>)| {
                    pages.get(*id).unwrap().as_ref() != Some(bytes)
                };
                let different = expected.iter().filter(changed).count();
                pages.close();
                assert!(different <= 1, "byte {at} changed {different} pages");
            }
            file.write_all_at(&[sound[at]], at as u64).unwrap();
        }
    }
}
