//! Checking a store that nobody has open: every page, key, account, footer and checksum.
//!
//! The log is replayed in memory, nothing on disk is changed. What is expected is derived anew from
//! the trees: a chunk's live bytes are the union of the ranges that extents of any volume or
//! snapshot, or dead ranges, name; a page must be reached from a root or be noted as dead.
//!
//! Invariant: damage does not end a check. What lies behind it is not accused of what follows from
//! it: an account is compared only if all that it sums up could be read.

use crate::damage::{self, segment_keys};
use crate::error::{Result, StoreError};
use crate::problem::{Place, Problem, ProblemKind, Problems};
use crate::recovery::RecoveryReport;
use crate::state::State;
use crate::store::{Store, StoreOptions};
use crate::tally::Tallies;
use crate::tree::readable::{Broken, bounds, root as root_page, scan_readable};
use crate::tree::{EMPTY, Source, child};
use crate::verify::verify_chunks;
use lockstep_format::key::{self, catalog};
use lockstep_format::{
    ChunkPtr, ChunkRecord, DeadRange, Extent, Page, PageId, SegmentId, SegmentRecord,
    SnapshotRecord, TreeId,
};
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// Pages read.
    pub pages: u64,
    /// Inodes in live trees.
    pub inodes: u64,
    /// Chunks whose bytes are what was written.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Footers read.
    pub footers: u64,
    /// Records of the log that a next opening will apply.
    pub log_records: u64,
    /// What is wrong; empty if the store is sound.
    pub problems: Vec<Problem>,
    /// How many problems there are, listed or not.
    pub problem_count: u64,
}

/// How far a check is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckProgress {
    /// Bytes of chunks verified.
    pub done_bytes: u64,
    /// Bytes of chunks to verify.
    pub total_bytes: u64,
    /// Problems so far.
    pub problem_count: u64,
}

/// Told how far a check is, from several threads.
pub type OnProgress<'a> = &'a (dyn Fn(CheckProgress) + Sync);

/// Pages past the cache: what is on disk.
struct Stored<'a> {
    state: &'a State,
    store: &'a Store,
}

impl Source for Stored<'_> {
    fn page(&self, id: PageId) -> Result<Arc<Page>> {
        match self.state.open.get(&id) {
            Some(page) => Ok(Arc::clone(page)),
            None => self.store.pages.get_stored(id),
        }
    }
}

struct Checker<'a> {
    store: &'a Store,
    state: &'a State,
    source: Stored<'a>,
    progress: OnProgress<'a>,
    report: CheckReport,
    problems: Problems,
    seen: FxHashSet<PageId>,
    /// Trees of which a page cannot be read; snapshots count as the volume they are of.
    broken: FxHashSet<TreeId>,
    ranges: FxHashMap<ChunkPtr, Vec<(u32, u32)>>,
    /// Volumes whose accounts could be derived: inodes and bytes.
    volumes: Vec<(TreeId, (u64, u64))>,
    dead_bytes: u64,
}

/// What accounts must say, as derived from the trees.
pub(crate) struct Derived {
    /// Inodes and bytes of each volume.
    pub(crate) volumes: Vec<(TreeId, (u64, u64))>,
    /// Bytes that only snapshots keep.
    pub(crate) dead_bytes: u64,
    /// Bytes in use of each chunk.
    pub(crate) used: BTreeMap<ChunkPtr, u32>,
}

impl Store {
    /// Checks the store in `dir`, which must not be open anywhere. Reads everything; changes
    /// nothing. Costs memory in proportion to the number of chunks and inodes.
    ///
    /// # Errors
    /// Only if the store cannot be opened; damage further in is in the report.
    pub fn check(dir: &Path, progress: OnProgress<'_>) -> Result<CheckReport> {
        let options = StoreOptions {
            read_only: true,
            ..StoreOptions::default()
        };
        let store = Self::open(dir, &options)?;
        let mut report = store.check_everything(progress);
        if let Some(problem) = log_problem(store.recovery()) {
            report.problems.push(problem);
            report.problem_count += 1;
        }
        store.close()?;
        Ok(report)
    }

    /// The same of an open store; nothing can change meanwhile.
    pub fn check_open(&self) -> CheckReport {
        self.check_everything(&|_| ())
    }

    fn check_everything(&self, progress: OnProgress<'_>) -> CheckReport {
        let state = self.state.read();
        Checker::new(self, &state, progress).run()
    }

    /// Derives accounts from the trees; `None` if pages are lost that would say.
    pub(crate) fn derive(&self, state: &State) -> Option<Derived> {
        let mut checker = Checker::new(self, state, &|_| ());
        checker.trees();
        checker.broken.remove(&TreeId::CHUNKS);
        let used = |(pointer, ranges): (ChunkPtr, Vec<(u32, u32)>)| (pointer, union(ranges).0);
        checker.broken.is_empty().then(|| Derived {
            volumes: checker.volumes,
            dead_bytes: checker.dead_bytes,
            used: checker.ranges.into_iter().map(used).collect(),
        })
    }
}

/// How many bytes the ranges cover together, and where the last one ends.
fn union(mut ranges: Vec<(u32, u32)>) -> (u32, u32) {
    ranges.sort_unstable();
    let (mut used, mut end) = (0, 0);
    for (offset, length) in ranges {
        let stop = offset.saturating_add(length);
        used += stop.saturating_sub(offset.max(end));
        end = end.max(stop);
    }
    (used, end)
}

impl<'a> Checker<'a> {
    fn new(store: &'a Store, state: &'a State, progress: OnProgress<'a>) -> Self {
        Self {
            store,
            state,
            source: Stored { state, store },
            progress,
            report: CheckReport::default(),
            problems: Problems::default(),
            seen: FxHashSet::default(),
            broken: FxHashSet::default(),
            ranges: FxHashMap::default(),
            volumes: Vec::new(),
            dead_bytes: 0,
        }
    }

    fn run(mut self) -> CheckReport {
        self.report.log_records = self.store.recovery().records;
        let dead_pages = self.trees();
        self.segments();
        self.stored_pages(&dead_pages);
        damage::name(&self.source, self.state, &mut self.problems.list);
        self.report.problem_count = self.problems.count;
        self.report.problems = self.problems.list;
        self.report
    }

    /// Walks all trees; returns the pages that are noted as dead.
    fn trees(&mut self) -> FxHashSet<PageId> {
        for id in [TreeId::CATALOG, TreeId::CHUNKS, TreeId::DEAD] {
            self.tree(id, self.state.root(id));
        }
        let mut volumes: Vec<_> = self.state.trees.iter().collect();
        volumes.retain(|(id, _)| id.as_volume().is_some());
        volumes.sort_by_key(|(id, _)| id.0);
        for (id, tree) in &volumes {
            self.tree(**id, tree.root);
        }
        self.snapshots();
        for (id, tree) in volumes {
            if !tree.deleting {
                self.volume(*id);
            }
        }
        self.dead()
    }

    fn problem(&mut self, kind: ProblemKind, what: String) {
        self.problems.add(Problem::new(kind, what));
    }

    fn note<T>(&mut self, what: &str, result: Result<T>) -> Option<T> {
        result
            .inspect_err(|error| self.problem(ProblemKind::Record, format!("{what}: {error}")))
            .ok()
    }

    fn tree(&mut self, id: TreeId, root: PageId) {
        if root == EMPTY || self.seen.contains(&root) {
            return;
        }
        match root_page(&self.source, root) {
            Ok(page) => self.subtree(id, &page, (&[], None)),
            Err(broken) => self.lost(id, broken),
        }
    }

    fn lost(&mut self, id: TreeId, broken: Broken) {
        self.broken.insert(id);
        if !self.seen.insert(broken.page) {
            return;
        }
        self.problems.add(broken.problem(id));
    }

    /// Walks pages not seen before: order, bounds, births; collects what extents name.
    fn subtree(&mut self, id: TreeId, page: &Page, range: (&[u8], Option<&[u8]>)) {
        if !self.seen.insert(page.id) {
            return;
        }
        self.report.pages += 1;
        for index in usize::from(!page.is_leaf())..page.len() {
            let key = page.key(index);
            if key < range.0 || range.1.is_some_and(|end| key >= end) {
                let what = format!("{}: page {} has a key out of bounds", id.name(), page.id.0);
                self.problem(ProblemKind::Record, what);
            }
        }
        if page.is_leaf() {
            self.leaf(id, page);
            return;
        }
        for index in 0..page.len() {
            let (from, to) = bounds(page, index, range);
            match child(&self.source, page, index) {
                Ok(below) => {
                    if below.birth > page.birth {
                        let (id, page) = (id.name(), below.id.0);
                        let what = format!("{id}: page {page} is younger than its parent");
                        self.problem(ProblemKind::Record, what);
                    }
                    self.subtree(id, &below, (from, to));
                }
                Err(error) => self.lost(
                    id,
                    Broken {
                        page: page.child(index),
                        from: from.to_vec(),
                        to: to.map(<[u8]>::to_vec),
                        error,
                    },
                ),
            }
        }
    }

    fn leaf(&mut self, id: TreeId, page: &Page) {
        if id.as_volume().is_none() {
            return;
        }
        for index in 0..page.len() {
            let (key, value) = (page.key(index), page.value(index));
            if matches!(key::split(key), Some((_, key::kind::EXTENT, _))) {
                let decoded = Extent::decode(value).map_err(StoreError::from);
                if let Some(extent) = self.note(&id.name(), decoded) {
                    let range = (extent.chunk_offset, extent.length);
                    self.ranges.entry(extent.chunk).or_default().push(range);
                }
            }
        }
    }

    fn volume(&mut self, id: TreeId) {
        let what = id.name();
        let Some(tree) = self.state.trees.get(&id) else {
            return;
        };
        let mut tallies = Tallies::default();
        let mut problems = Vec::new();
        let whole = scan_readable(
            &self.source,
            tree.root,
            &[],
            &[0xff; 9],
            &mut |key, value| {
                problems.extend(tallies.add(key, value).err());
                ControlFlow::Continue(())
            },
        );
        for problem in problems {
            self.problem(ProblemKind::Record, format!("{what}: {problem}"));
        }
        let found = tallies.sums();
        self.report.inodes += found.0;
        if !whole {
            return;
        }
        for (inode, problem) in tallies.problems(tree.root_inode) {
            let problem = format!("{what}: inode {}: {problem}", inode.0);
            self.problem(ProblemKind::Record, problem);
        }
        self.volumes.push((id, found));
        let expected = (tree.inodes, tree.bytes);
        if found != expected {
            let what =
                format!("{what}: accounts say {expected:?} (inodes, bytes), found {found:?}");
            self.problem(ProblemKind::Account, what);
        }
    }

    fn snapshots(&mut self) {
        let mut records = Vec::new();
        let (from, to) = ([catalog::SNAPSHOT], [catalog::SNAPSHOT + 1]);
        let root = self.state.root(TreeId::CATALOG);
        scan_readable(&self.source, root, &from, &to, &mut |_, value| {
            records.push(SnapshotRecord::decode(value).map_err(StoreError::from));
            ControlFlow::Continue(())
        });
        for record in records {
            if let Some(record) = self.note("snapshots", record) {
                self.tree(TreeId::volume(record.volume), record.root);
            }
        }
    }

    fn dead(&mut self) -> FxHashSet<PageId> {
        let mut pages = FxHashSet::default();
        let mut dead = Vec::new();
        let root = self.state.root(TreeId::DEAD);
        let whole = scan_readable(&self.source, root, &[], &[0xff; 5], &mut |key, value| {
            dead.push(DeadRange::decode(key, value).map_err(StoreError::from));
            ControlFlow::Continue(())
        });
        let mut bytes = 0;
        for entry in dead {
            match self.note("dead ranges", entry).map(|entry| entry.3) {
                Some(DeadRange::Page(page)) => {
                    pages.insert(page);
                }
                Some(DeadRange::Chunk {
                    pointer,
                    offset,
                    length,
                }) => {
                    bytes += u64::from(length);
                    let ranges = self.ranges.entry(pointer).or_default();
                    ranges.push((offset, length));
                }
                None => {}
            }
        }
        self.dead_bytes = bytes;
        let expected = self.state.dead_bytes;
        if whole && bytes != expected {
            let what =
                format!("accounts say {expected} bytes are kept by snapshots, found {bytes}");
            self.problem(ProblemKind::Account, what);
        }
        pages
    }

    /// Every segment: the chunk tree's records, its account, its bytes, its footer.
    fn segments(&mut self) {
        let chunks = self.state.root(TreeId::CHUNKS);
        let mut ids: BTreeSet<SegmentId> = self.state.segments.keys().copied().collect();
        let mut malformed = 0;
        scan_readable(&self.source, chunks, &[], &[0xff; 9], &mut |key, _| {
            match key::chunk_pointer(key) {
                Some(pointer) => {
                    ids.insert(pointer.segment);
                }
                None => malformed += 1,
            }
            ControlFlow::Continue(())
        });
        for _ in 0..malformed {
            self.problem(ProblemKind::Record, "chunks: a key is malformed".into());
        }
        for segment in ids {
            self.segment(segment);
        }
        if self.broken.contains(&TreeId::CHUNKS) {
            return;
        }
        let unknown: Vec<ChunkPtr> = self.ranges.keys().copied().collect();
        for pointer in unknown {
            let what = format!("{} is named but unknown", chunk_name(pointer));
            self.problem(ProblemKind::Record, what);
        }
    }

    fn segment(&mut self, segment: SegmentId) {
        let (from, to) = segment_keys(segment);
        let mut decoded = Vec::new();
        let chunks = self.state.root(TreeId::CHUNKS);
        let whole = scan_readable(&self.source, chunks, &from, &to, &mut |key, value| {
            let record = ChunkRecord::decode(value).map_err(StoreError::from);
            decoded.extend(key::chunk_pointer(key).map(|pointer| (pointer, record)));
            ControlFlow::Continue(())
        });
        let mut records = Vec::with_capacity(decoded.len());
        for (pointer, record) in decoded {
            if let Some(record) = self.note(&chunk_name(pointer), record) {
                self.in_use(pointer, &record);
                records.push((pointer, record));
            }
        }
        match self.state.segments.get(&segment) {
            Some(account) => self.account(segment, account, &records, whole),
            None => self.problem(
                ProblemKind::Record,
                format!("{} is unknown", file_name(segment)),
            ),
        }
        self.bytes(&records);
    }

    /// A chunk's live bytes are what extents and dead ranges name of it.
    fn in_use(&mut self, pointer: ChunkPtr, record: &ChunkRecord) {
        let (used, end) = union(self.ranges.remove(&pointer).unwrap_or_default());
        let what = chunk_name(pointer);
        if end > record.length {
            let what = format!("{what}: {end} bytes are named, it has {}", record.length);
            self.problem(ProblemKind::Record, what);
        } else if used != record.live && self.broken.is_empty() {
            let what = format!(
                "{what}: {used} bytes in use, the record says {}",
                record.live
            );
            self.problem(ProblemKind::Account, what);
        }
    }

    fn account(
        &mut self,
        segment: SegmentId,
        account: &SegmentRecord,
        records: &[(ChunkPtr, ChunkRecord)],
        whole: bool,
    ) {
        let name = file_name(segment);
        let live: u64 = records.iter().map(|(_, r)| u64::from(r.live)).sum();
        if whole && live != account.live {
            let what = format!("{name}: account says {} live, found {live}", account.live);
            self.problem(ProblemKind::Account, what);
        }
        let mut places: Vec<_> = records
            .iter()
            .map(|(p, r)| (r.offset, r.length, p.slot))
            .collect();
        places.sort_unstable();
        let mut end = 0;
        for (offset, length, slot) in places {
            let stop = offset.saturating_add(u64::from(length));
            if offset < end || stop > account.tail || slot >= account.next_slot {
                let what = format!("{name}: chunk {slot} lies where it cannot");
                self.problem(ProblemKind::Record, what);
            }
            end = end.max(stop);
        }
        if account.sealed {
            self.report.footers += 1;
            let problem = footer_problem(self.store, segment, account.tail, records);
            if let Some(problem) = problem {
                self.problems.add(problem);
            }
        }
    }

    fn bytes(&mut self, records: &[(ChunkPtr, ChunkRecord)]) {
        let total = self
            .state
            .segments
            .values()
            .map(|account| account.live)
            .sum();
        let done = Mutex::new(self.report.bytes);
        let (progress, problem_count) = (self.progress, self.problems.count);
        let before = |bytes: u64| {
            let mut done = done.lock();
            *done += bytes;
            progress(CheckProgress {
                done_bytes: *done,
                total_bytes: total,
                problem_count,
            });
            true
        };
        let verified = verify_chunks(&self.store.segments, records, &before);
        let Some((bad, _)) = self.note("segments", verified) else {
            return;
        };
        self.report.chunks += (records.len() - bad.len()) as u64;
        self.report.bytes += records
            .iter()
            .map(|(_, r)| u64::from(r.length))
            .sum::<u64>();
        for (index, ranges) in bad {
            let (pointer, record) = &records[index];
            self.report.bytes -= u64::from(record.length);
            for range in ranges {
                self.problems.add(bad_bytes(pointer.segment, range));
            }
        }
    }

    fn stored_pages(&mut self, dead: &FxHashSet<PageId>) {
        if let Err(error) = self.store.pages.store().verify() {
            self.problem(ProblemKind::PageStore, error.to_string());
        }
        let deleted: FxHashSet<PageId> = self.state.page_deletes.iter().copied().collect();
        let whole = self.broken.is_empty();
        let mut problems = Vec::new();
        let listed = self.store.pages.store().list(&mut |id, bytes| {
            if self.seen.contains(&id) {
                return;
            }
            let kept = dead.contains(&id) || deleted.contains(&id);
            if whole && !kept {
                let what = format!("page {} is reached by nothing", id.0);
                problems.push(Problem::new(ProblemKind::Record, what));
            }
            if let Err(error) = Page::decode(bytes) {
                let what = format!("page {}: {error}", id.0);
                problems.push(Problem::new(ProblemKind::Page, what));
            }
        });
        for problem in problems {
            self.problems.add(problem);
        }
        self.note("pages", listed);
    }
}

/// Changes that had been made durable and cannot be applied. A log that ends before others is what
/// a power cut leaves.
fn log_problem(recovery: &RecoveryReport) -> Option<Problem> {
    let lost = recovery.lost;
    let message = format!("the log is damaged: {lost} acknowledged changes cannot be applied");
    (lost > 0).then(|| Problem::new(ProblemKind::Log, message))
}

/// A damaged range of a segment.
pub(crate) fn bad_bytes(segment: SegmentId, (offset, length): (u64, u64)) -> Problem {
    let name = file_name(segment);
    let message = format!("{name}: {length} bytes at {offset} are not what was written");
    let place = Place::Segment {
        segment,
        offset,
        length,
    };
    Problem::at(ProblemKind::Bytes, message, place)
}

/// What is wrong with a sealed segment's footer. It lists the chunks that were there when the
/// segment was sealed; those freed since are no longer in the tree.
pub(crate) fn footer_problem(
    store: &Store,
    segment: SegmentId,
    tail: u64,
    records: &[(ChunkPtr, ChunkRecord)],
) -> Option<Problem> {
    let name = file_name(segment);
    let message = match store.segments.footer(segment, tail) {
        Err(error) => format!("{name}: footer: {error}"),
        Ok(footer) => {
            let listed: FxHashMap<u32, &ChunkRecord> = footer
                .chunks
                .iter()
                .map(|(slot, record)| (*slot, record))
                .collect();
            let differs = |(pointer, record): &&(ChunkPtr, ChunkRecord)| {
                let listed = listed.get(&pointer.slot);
                !listed.is_some_and(|listed| is_same_chunk(listed, record))
            };
            let (pointer, _) = records.iter().find(differs)?;
            format!(
                "{name}: footer: chunk {} is not as in the chunk tree",
                pointer.slot
            )
        }
    };
    Some(Problem::new(ProblemKind::Footer, message))
}

fn is_same_chunk(one: &ChunkRecord, other: &ChunkRecord) -> bool {
    let place = |record: &ChunkRecord| (record.offset, record.length, record.hash_offset);
    place(one) == place(other) && one.hash == other.hash && one.grains == other.grains
}

fn chunk_name(pointer: ChunkPtr) -> String {
    format!(
        "chunk {} of segment {:016x}",
        pointer.slot, pointer.segment.0
    )
}

fn file_name(segment: SegmentId) -> String {
    format!("segment {:016x}", segment.0)
}
