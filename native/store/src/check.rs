//! Checking a store that nobody has open: every page, key, account and checksum.
//!
//! The log is replayed in memory, nothing on disk is changed. What is expected is derived anew from
//! the trees: a chunk's live bytes are the union of the ranges that extents of any volume or
//! snapshot, or dead ranges, name; a page must be reached from a root or be noted as dead.

use crate::error::{Result, StoreError};
use crate::state::State;
use crate::store::{Store, StoreOptions};
use crate::tree::{EMPTY, Source, child};
use crate::txn::{self, Locked, Reader};
use lockstep_format::inode::flags;
use lockstep_format::key::{self, catalog};
use lockstep_format::{
    ChunkPtr, ChunkRecord, DeadRange, Dentry, Extent, FileKind, Inode, InodeId, Page, PageId,
    SegmentId, SnapshotRecord, TreeId,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::ControlFlow;
use std::path::Path;

/// Problems listed at most; more are counted.
const PROBLEMS_MAX: usize = 1000;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Pages read.
    pub pages: u64,
    /// Inodes in live trees.
    pub inodes: u64,
    /// Chunks whose bytes were verified.
    pub chunks: u64,
    /// Bytes verified.
    pub bytes: u64,
    /// What is wrong, in words; empty if the store is sound.
    pub problems: Vec<String>,
}

struct Checker<'a> {
    store: &'a Store,
    state: &'a State,
    report: CheckReport,
    seen: FxHashSet<PageId>,
    ranges: FxHashMap<ChunkPtr, Vec<(u32, u32)>>,
}

/// What the entries of one live volume say of an inode, beside its record.
#[derive(Default)]
struct Tally {
    inode: Option<Inode>,
    names: u64,
    entries: u64,
    subdirectories: u64,
    xattrs: u64,
    bytes: u64,
    inline: Option<u64>,
    orphan: bool,
    snapshottable: bool,
}

impl Store {
    /// Checks the store in `dir`, which must not be open anywhere. Reads everything; changes
    /// nothing. Costs memory in proportion to the number of chunks and inodes.
    ///
    /// # Errors
    /// Only if the store cannot be opened; damage further in is in the report.
    pub fn check(dir: &Path) -> Result<CheckReport> {
        let options = StoreOptions {
            read_only: true,
            ..StoreOptions::default()
        };
        let store = Self::open(dir, &options)?;
        let report = store.check_open();
        store.close()?;
        Ok(report)
    }

    /// The same of an open store; nothing can change meanwhile.
    pub fn check_open(&self) -> CheckReport {
        let state = self.state.read();
        let (seen, ranges) = (FxHashSet::default(), FxHashMap::default());
        let report = CheckReport::default();
        Checker {
            store: self,
            state: &state,
            report,
            seen,
            ranges,
        }
        .run()
    }
}

impl Checker<'_> {
    fn run(mut self) -> CheckReport {
        for id in [TreeId::CATALOG, TreeId::CHUNKS, TreeId::DEAD] {
            self.tree(&format!("tree {:x}", id.0), self.state.root(id));
        }
        let mut volumes: Vec<_> = self.state.trees.iter().collect();
        volumes.retain(|(id, _)| id.as_volume().is_some());
        volumes.sort_by_key(|(id, _)| id.0);
        for (id, tree) in volumes {
            self.tree(&format!("volume {}", id.0), tree.root);
            if !tree.deleting {
                self.volume(*id, tree.inodes, tree.bytes);
            }
        }
        self.snapshots();
        let dead_pages = self.dead();
        self.chunks();
        self.stored_pages(&dead_pages);
        self.report
    }

    fn problem(&mut self, what: String) {
        if self.report.problems.len() < PROBLEMS_MAX {
            self.report.problems.push(what);
        }
    }

    fn note<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(format!("{what}: {error}"));
                None
            }
        }
    }

    fn page(&self, id: PageId) -> Result<std::sync::Arc<Page>> {
        crate::state::Reading {
            state: self.state,
            pages: &self.store.pages,
        }
        .page(id)
    }

    fn tree(&mut self, what: &str, root: PageId) {
        if root == EMPTY || self.seen.contains(&root) {
            return;
        }
        if let Some(page) = self.note(what, self.page(root)) {
            self.subtree(what, &page, &[], None);
        }
    }

    /// Walks pages not seen before: order, bounds, births; collects what extents name.
    fn subtree(&mut self, what: &str, page: &Page, low: &[u8], high: Option<&[u8]>) {
        if !self.seen.insert(page.id) {
            return;
        }
        self.report.pages += 1;
        let first = usize::from(!page.is_leaf());
        for index in first..page.len() {
            let key = page.key(index);
            if key < low || high.is_some_and(|high| key >= high) {
                self.problem(format!(
                    "{what}: page {} has a key out of bounds",
                    page.id.0
                ));
            }
        }
        if page.is_leaf() {
            self.leaf(what, page);
            return;
        }
        for index in 0..page.len() {
            let source = crate::state::Reading {
                state: self.state,
                pages: &self.store.pages,
            };
            let Some(below) = self.note(what, child(&source, page, index)) else {
                continue;
            };
            if below.birth > page.birth {
                self.problem(format!(
                    "{what}: page {} is younger than its parent",
                    below.id.0
                ));
            }
            let from = if index == 0 { low } else { page.key(index) };
            let to = if index + 1 < page.len() {
                Some(page.key(index + 1))
            } else {
                high
            };
            self.subtree(what, &below, from, to);
        }
    }

    fn leaf(&mut self, what: &str, page: &Page) {
        if what.starts_with("tree") {
            return;
        }
        for index in 0..page.len() {
            let (key, value) = (page.key(index), page.value(index));
            if matches!(key::split(key), Some((_, key::kind::EXTENT, _))) {
                let decoded = Extent::decode(value).map_err(StoreError::from);
                if let Some(extent) = self.note(what, decoded) {
                    let range = (extent.chunk_offset, extent.length);
                    self.ranges.entry(extent.chunk).or_default().push(range);
                }
            }
        }
    }

    fn volume(&mut self, id: TreeId, inodes: u64, bytes: u64) {
        let what = format!("volume {}", id.0);
        let mut tallies: FxHashMap<InodeId, Tally> = FxHashMap::default();
        let mut problems = Vec::new();
        let reader = Locked {
            state: self.state,
            store: self.store,
        };
        let scanned = txn::tree_scan(&reader, id, &[], &[0xff; 9], &mut |key, value| {
            if let Err(error) = tally(&mut tallies, key, value) {
                problems.push(format!("volume {}: {error}", id.0));
            }
            ControlFlow::Continue(())
        });
        for problem in problems {
            self.problem(problem);
        }
        if self.note(&what, scanned).is_none() {
            return;
        }
        let root = id
            .as_volume()
            .and_then(|view| txn::volume_record(&reader, view).ok().flatten());
        let root = root.map_or(InodeId::ROOT, |record| record.root_inode);
        let reachable = reach(&reader, id, root);
        let mut found = (0, 0);
        for (inode, tally) in &tallies {
            found = (
                found.0 + u64::from(tally.inode.is_some()),
                found.1 + tally.bytes,
            );
            // A clone of a directory carries what lies outside of it, unseen.
            if reachable.as_ref().is_ok_and(|set| set.contains(inode)) || tally.orphan {
                for problem in tally.problems(*inode == root) {
                    self.problem(format!("{what}: inode {}: {problem}", inode.0));
                }
            }
        }
        self.report.inodes += found.0;
        if found != (inodes, bytes) {
            let expected = (inodes, bytes);
            self.problem(format!(
                "{what}: accounts say {expected:?} (inodes, bytes), found {found:?}"
            ));
        }
    }

    fn snapshots(&mut self) {
        let mut records = Vec::new();
        let reader = Locked {
            state: self.state,
            store: self.store,
        };
        let (from, to) = ([catalog::SNAPSHOT], [catalog::SNAPSHOT + 1]);
        let scanned = reader.catalog_scan(&from, &to, &mut |_, value| {
            records.push(SnapshotRecord::decode(value).map_err(StoreError::from));
            ControlFlow::Continue(())
        });
        self.note("snapshots", scanned);
        for record in records {
            if let Some(record) = self.note("snapshots", record) {
                self.tree(&format!("snapshot {}", record.view.0), record.root);
            }
        }
    }

    fn dead(&mut self) -> FxHashSet<PageId> {
        let mut pages = FxHashSet::default();
        let mut dead = Vec::new();
        let reader = Locked {
            state: self.state,
            store: self.store,
        };
        let scanned = txn::tree_scan(&reader, TreeId::DEAD, &[], &[0xff; 5], &mut |key, value| {
            dead.push(DeadRange::decode(key, value).map_err(StoreError::from));
            ControlFlow::Continue(())
        });
        self.note("dead ranges", scanned);
        let mut bytes = 0;
        for entry in dead {
            match self.note("dead ranges", entry) {
                Some((_, _, _, DeadRange::Page(page))) => {
                    pages.insert(page);
                }
                Some((
                    _,
                    _,
                    _,
                    DeadRange::Chunk {
                        pointer,
                        offset,
                        length,
                    },
                )) => {
                    bytes += u64::from(length);
                    self.ranges
                        .entry(pointer)
                        .or_default()
                        .push((offset, length));
                }
                None => {}
            }
        }
        if bytes != self.state.dead_bytes {
            let expected = self.state.dead_bytes;
            self.problem(format!(
                "accounts say {expected} bytes are kept by snapshots, found {bytes}"
            ));
        }
        pages
    }

    fn chunks(&mut self) {
        let mut records = Vec::new();
        let reader = Locked {
            state: self.state,
            store: self.store,
        };
        let scanned = txn::tree_scan(
            &reader,
            TreeId::CHUNKS,
            &[],
            &[0xff; 9],
            &mut |key, value| {
                records.push((key::chunk_pointer(key), ChunkRecord::decode(value)));
                ControlFlow::Continue(())
            },
        );
        self.note("chunks", scanned);
        let mut live: FxHashMap<SegmentId, u64> = FxHashMap::default();
        for (pointer, record) in records {
            let Some(pointer) = pointer else {
                self.problem("chunks: a key is malformed".into());
                continue;
            };
            let Some(record) = self.note("chunks", record.map_err(StoreError::from)) else {
                continue;
            };
            *live.entry(pointer.segment).or_default() += u64::from(record.live);
            self.chunk(pointer, &record);
        }
        let unknown: Vec<ChunkPtr> = self.ranges.keys().copied().collect();
        for pointer in unknown {
            let (segment, slot) = (pointer.segment.0, pointer.slot);
            self.problem(format!(
                "chunk {slot} of segment {segment:016x} is named but unknown"
            ));
        }
        for (segment, account) in &self.state.segments {
            let found = live.get(segment).copied().unwrap_or(0);
            if found != account.live {
                let (id, expected) = (segment.0, account.live);
                let what =
                    format!("segment {id:016x}: account says {expected} live, found {found}");
                self.problem(what);
            }
        }
    }

    fn chunk(&mut self, pointer: ChunkPtr, record: &ChunkRecord) {
        let what = format!(
            "chunk {} of segment {:016x}",
            pointer.slot, pointer.segment.0
        );
        let mut ranges = self.ranges.remove(&pointer).unwrap_or_default();
        ranges.sort_unstable();
        let (mut used, mut end) = (0, 0);
        for (offset, length) in ranges {
            let stop = offset.saturating_add(length);
            used += stop.saturating_sub(offset.max(end));
            end = end.max(stop);
        }
        if used != record.live || end > record.length {
            self.problem(format!(
                "{what}: {used} bytes in use, the record says {}",
                record.live
            ));
        }
        let verified = self.store.segments.verify_chunk(pointer, record, true);
        if self.note(&what, verified).is_some() {
            self.report.chunks += 1;
            self.report.bytes += u64::from(record.length);
        }
    }

    fn stored_pages(&mut self, dead: &FxHashSet<PageId>) {
        let deleted: FxHashSet<PageId> = self.state.page_deletes.iter().copied().collect();
        let mut problems = Vec::new();
        let listed = self.store.pages.store().list(&mut |id, bytes| {
            if !self.seen.contains(&id) && !dead.contains(&id) && !deleted.contains(&id) {
                problems.push(format!("page {} is reached by nothing", id.0));
            }
            if let Err(error) = Page::decode(bytes) {
                problems.push(format!("page {}: {error}", id.0));
            }
        });
        for problem in problems {
            self.problem(problem);
        }
        self.note("pages", listed);
    }
}

fn tally(tallies: &mut FxHashMap<InodeId, Tally>, key: &[u8], value: &[u8]) -> Result<()> {
    let Some((inode, kind, tail)) = key::split(key) else {
        return Err(StoreError::Corrupt {
            what: "a key is too short".into(),
        });
    };
    match kind {
        key::kind::INODE => {
            tallies.entry(inode).or_default().inode = Some(Inode::decode(value)?);
        }
        key::kind::INLINE => tallies.entry(inode).or_default().inline = Some(value.len() as u64),
        key::kind::ORPHAN => {
            let orphan = tail.try_into().map_or(0, u64::from_be_bytes);
            tallies.entry(InodeId(orphan)).or_default().orphan = true;
        }
        key::kind::SNAPSHOTTABLE => {
            let marked = tail.try_into().map_or(0, u64::from_be_bytes);
            tallies.entry(InodeId(marked)).or_default().snapshottable = true;
        }
        key::kind::XATTR => tallies.entry(inode).or_default().xattrs += 1,
        key::kind::EXTENT => {
            let extent = Extent::decode(value)?;
            tallies.entry(inode).or_default().bytes += u64::from(extent.length);
        }
        key::kind::DENTRY => {
            let dentry = Dentry::decode(value)?;
            let directory = tallies.entry(inode).or_default();
            directory.entries += 1;
            directory.subdirectories += u64::from(dentry.kind == FileKind::Directory);
            if dentry.volume.is_none() {
                tallies.entry(dentry.inode).or_default().names += 1;
            }
        }
        _ => {
            return Err(StoreError::Corrupt {
                what: format!("a key has the kind {kind}"),
            });
        }
    }
    Ok(())
}

/// The inodes below `root`.
fn reach(reader: &Locked<'_>, id: TreeId, root: InodeId) -> Result<FxHashSet<InodeId>> {
    let mut reached: FxHashSet<InodeId> = std::iter::once(root).collect();
    let mut queue = vec![root];
    while let Some(directory) = queue.pop() {
        let from = key::prefix(directory, key::kind::DENTRY);
        let to = key::after_prefix(&from).unwrap_or_default();
        txn::tree_scan(reader, id, &from, &to, &mut |_, value| {
            if let Ok(dentry) = Dentry::decode(value)
                && dentry.volume.is_none()
                && reached.insert(dentry.inode)
                && dentry.kind == FileKind::Directory
            {
                queue.push(dentry.inode);
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(reached)
}

impl Tally {
    fn problems(&self, is_root: bool) -> Vec<String> {
        let Some(inode) = &self.inode else {
            return vec!["a name or record speaks of it, but it does not exist".into()];
        };
        let mut list = Vec::new();
        if self.snapshottable != (inode.flags & flags::SNAPSHOTTABLE != 0) {
            list.push("the mark that snapshots are allowed does not match the inode".into());
        }
        let mut expect = |what: &str, recorded: u64, found: u64| {
            if recorded != found {
                list.push(format!("{what} is {recorded}, found {found}"));
            }
        };
        if inode.kind == FileKind::Directory {
            if !self.orphan {
                expect(
                    "link count",
                    u64::from(inode.nlink),
                    2 + self.subdirectories,
                );
                if !is_root {
                    expect("number of names", 1, self.names);
                }
            }
            expect("number of entries", inode.size, self.entries);
        } else {
            expect("link count", u64::from(inode.nlink), self.names);
        }
        if inode.flags & flags::INLINE != 0 {
            // Zeros at the end are not stored.
            expect("allocated", inode.allocated, self.inline.unwrap_or(0));
            expect(
                "length",
                inode.size.max(self.inline.unwrap_or(0)),
                inode.size,
            );
        } else if inode.kind == FileKind::File {
            expect("allocated", inode.allocated, self.bytes);
        }
        list
    }
}
