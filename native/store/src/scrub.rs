//! Scrubbing: reading everything while the store is in use, to find damage before somebody needs
//! the bytes.
//!
//! Invariants:
//! - No lock is held while anything is read from disk, but for a second look at what seemed damaged.
//! - What is freed meanwhile is not damage: chunks are read under a reader's token, trees of volumes
//!   under a pin, and what seems damaged counts only if the store still reaches it.
//! - The record on disk says where to go on; it is written when a segment is done, not oftener than
//!   once a second.

use crate::check::{bad_bytes, footer_problem};
use crate::damage::{self, NamedView, segment_keys};
use crate::error::{Result, StoreError};
use crate::file::sync_directory;
use crate::problem::{Problem, ProblemKind, Problems};
use crate::store::Store;
use crate::tree::readable::{Broken, bounds, root as root_page};
use crate::tree::{self, EMPTY, Source, child};
use crate::txn;
use crate::verify::verify_chunks;
use crate::volume::Pin;
use lockstep_format::scrub::SCRUB_BYTES_MAX;
use lockstep_format::{
    ChunkPtr, ChunkRecord, Page, PageId, ScrubRecord, SegmentId, SegmentRecord, TreeId, key,
};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const FILE: &str = "scrub";
/// Chunks read between two looks at the store.
const BATCH_CHUNKS: usize = 256;
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const WAIT_STEP: Duration = Duration::from_millis(50);

/// How to scrub.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScrubOptions {
    /// Read no faster than this many bytes of chunks a second.
    pub rate_bytes: Option<u64>,
    /// Go on where the last scrub was interrupted; else begin anew.
    pub resume: bool,
}

/// What a scrub found.
#[derive(Clone, Debug, Default)]
pub struct ScrubReport {
    /// What is kept of it.
    pub record: ScrubRecord,
    /// The problems of this run, and whom they take.
    pub problems: Vec<Problem>,
}

/// How the scrub that is under way, or the last one, stands.
#[derive(Clone, Debug, Default)]
pub struct ScrubStatus {
    /// It is under way.
    pub is_running: bool,
    /// What it did so far.
    pub record: ScrubRecord,
    /// The problems that it found, once it ended in this life of the store.
    pub problems: Vec<Problem>,
    /// Code and message of what ended it, if that was a failure.
    pub failure: Option<(&'static str, String)>,
}

/// A scrub in the background.
#[derive(Default)]
pub(crate) struct Scrubbing {
    /// Held by the scrub that is under way.
    one: Mutex<()>,
    status: Mutex<Option<ScrubStatus>>,
    stopped: AtomicBool,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Scrubbing {
    /// Ends it and waits until it has.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        let thread = self.thread.lock().take();
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
        {
            // A panic there was reported where it happened.
            let _ = thread.join();
        }
    }
}

/// Told what was done so far, from several threads; ends the scrub by answering false.
pub type OnScrub<'a> = &'a (dyn Fn(&ScrubRecord) -> bool + Sync);

/// The last scrub of the store in `dir`; `None` if there was none.
pub fn last_scrub(dir: &Path) -> Option<ScrubRecord> {
    let mut bytes = Vec::new();
    let file = File::open(dir.join(FILE)).ok()?;
    file.take(SCRUB_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .ok()?;
    ScrubRecord::decode(&bytes).ok()
}

impl Store {
    /// Reads every page, chunk and footer and compares them with their checksums and hashes. Other
    /// work goes on meanwhile. Returns early, to be resumed, when `each` says so or the store is
    /// closed.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if a scrub is under way; [`StoreError::Io`] if the disk does not answer.
    pub fn scrub(&self, options: &ScrubOptions, each: OnScrub<'_>) -> Result<ScrubReport> {
        let Some(_one) = self.scrubbing.one.try_lock() else {
            return Err(StoreError::Busy { what: "a scrub" });
        };
        let last = last_scrub(self.dir()).filter(|last| options.resume && !last.is_complete);
        let record = last.unwrap_or_else(|| ScrubRecord {
            started: self.now(),
            total_bytes: self.state.read().segments.values().map(|s| s.live).sum(),
            ..ScrubRecord::default()
        });
        let mut scrub = Scrub {
            store: self,
            pace: Pace::new(options.rate_bytes),
            each,
            problems: Problems::default(),
            seen: FxHashSet::default(),
            saved: Instant::now(),
            record,
        };
        let whole = scrub.run();
        if matches!(whole, Err(StoreError::Closed { .. })) {
            return scrub.end(false);
        }
        scrub.end(whole?)
    }
}

/// A scrub in the background.
impl Store {
    /// Starts one.
    ///
    /// # Errors
    /// [`StoreError::Busy`] if one is under way.
    pub fn start_scrub(self: &Arc<Self>, options: ScrubOptions) -> Result<()> {
        let scrubbing = &self.scrubbing;
        let mut thread = scrubbing.thread.lock();
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return Err(StoreError::Busy { what: "a scrub" });
        }
        scrubbing.stopped.store(false, Ordering::Release);
        *scrubbing.status.lock() = Some(ScrubStatus {
            is_running: true,
            ..ScrubStatus::default()
        });
        let store = Arc::clone(self);
        let started = std::thread::Builder::new()
            .name("lockstep-scrub".into())
            .spawn(move || store.scrub_in_background(&options));
        *thread = Some(started.map_err(StoreError::io("start a thread"))?);
        Ok(())
    }

    fn scrub_in_background(&self, options: &ScrubOptions) {
        let scrubbing = &self.scrubbing;
        let result = self.scrub(options, &|record| {
            if let Some(status) = &mut *scrubbing.status.lock() {
                status.record.clone_from(record);
            }
            !scrubbing.stopped.load(Ordering::Acquire)
        });
        let mut status = scrubbing.status.lock();
        let status = status.get_or_insert_default();
        status.is_running = false;
        match result {
            Ok(report) => (status.record, status.problems) = (report.record, report.problems),
            Err(error) => status.failure = Some((error.code(), error.to_string())),
        }
    }

    /// How the scrub that is under way stands, or the last one; `None` if there was none.
    pub fn scrub_status(&self) -> Option<ScrubStatus> {
        let status = self.scrubbing.status.lock().clone();
        status.or_else(|| {
            let record = last_scrub(self.dir())?;
            Some(ScrubStatus {
                record,
                ..ScrubStatus::default()
            })
        })
    }

    /// Ends the scrub that is under way, to be resumed later; returns once it has ended.
    pub fn stop_scrub(&self) {
        self.scrubbing.stop();
    }
}

/// Keeps a rate.
struct Pace {
    rate: Option<u64>,
    started: Instant,
    bytes: Mutex<u64>,
}

impl Pace {
    fn new(rate: Option<u64>) -> Self {
        Self {
            rate: rate.filter(|rate| *rate > 0),
            started: Instant::now(),
            bytes: Mutex::new(0),
        }
    }

    /// Waits until `bytes` more may be read; false as soon as `go_on` says so.
    fn wait(&self, bytes: u64, go_on: &dyn Fn() -> bool) -> bool {
        let Some(rate) = self.rate else {
            return go_on();
        };
        let before = {
            let mut sum = self.bytes.lock();
            *sum += bytes;
            *sum - bytes
        };
        let due = u128::from(before) * 1_000_000_000 / u128::from(rate);
        let due = Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
        loop {
            if !go_on() {
                return false;
            }
            match due.checked_sub(self.started.elapsed()) {
                Some(left) if !left.is_zero() => std::thread::sleep(left.min(WAIT_STEP)),
                _ => return true,
            }
        }
    }
}

/// Every view, kept readable.
fn pinned_views(store: &Store) -> Vec<(NamedView, Pin<'_>)> {
    let views = {
        let state = store.state.read();
        damage::views(&state.source(&store.pages), &state)
    };
    let pin = |mut view: NamedView| {
        // One that is gone meanwhile needs no look.
        let (root, pin) = store.pin(view.view).ok()?;
        view.root = root;
        Some((view, pin))
    };
    views.into_iter().filter_map(pin).collect()
}

struct Scrub<'a> {
    store: &'a Store,
    pace: Pace,
    each: OnScrub<'a>,
    record: ScrubRecord,
    problems: Problems,
    seen: FxHashSet<PageId>,
    saved: Instant,
}

type Chunks = Vec<(ChunkPtr, ChunkRecord)>;

/// Pages of finished epochs, from the disk.
struct Stored<'a>(&'a Store);

impl Source for Stored<'_> {
    fn page(&self, id: PageId) -> Result<Arc<Page>> {
        self.0.pages.get_stored(id)
    }
}

impl Scrub<'_> {
    /// True if it came to the end.
    fn run(&mut self) -> Result<bool> {
        if self.record.next_segment == SegmentId(0) && !self.pages()? {
            return Ok(false);
        }
        let last = self.store.state.read().segments.keys().next_back().copied();
        while let Some(segment) = self.next_segment().filter(|next| Some(*next) <= last) {
            if !self.segment(segment)? {
                return Ok(false);
            }
            self.record.next_segment = SegmentId(segment.0 + 1);
            if self.saved.elapsed() >= SAVE_INTERVAL {
                self.save()?;
            }
        }
        Ok(true)
    }

    fn end(mut self, is_complete: bool) -> Result<ScrubReport> {
        self.name();
        let problems = std::mem::take(&mut self.problems.list);
        self.record
            .problems
            .extend(problems.iter().map(Problem::line));
        self.record.is_complete = is_complete;
        self.save()?;
        Ok(ScrubReport {
            record: self.record,
            problems,
        })
    }

    fn save(&mut self) -> Result<()> {
        self.saved = Instant::now();
        self.record.updated = self.store.now();
        let (dir, bytes) = (self.store.dir(), self.record.encode());
        let new = dir.join("scrub.new");
        let written = File::create(&new)
            .and_then(|mut file| file.write_all(&bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&new, dir.join(FILE)));
        written.map_err(StoreError::io("keep the scrub's record"))?;
        sync_directory(dir)
    }

    fn found(&mut self, problem: Problem) {
        self.problems.add(problem);
        self.record.problem_count += 1;
    }

    fn go_on(&self) -> bool {
        (self.each)(&self.record) && !self.store.is_closed()
    }

    fn pages(&mut self) -> Result<bool> {
        if let Err(error) = self.store.pages.store().verify() {
            if !error.is_damage() {
                return Err(error);
            }
            self.found(Problem::new(ProblemKind::PageStore, error.to_string()));
        }
        for id in [TreeId::CATALOG, TreeId::CHUNKS, TreeId::DEAD] {
            let root = self.own_root(id);
            if !self.tree(id, root)? {
                return Ok(false);
            }
        }
        for (view, _pin) in pinned_views(self.store) {
            if !self.tree(view.tree, view.root)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The root of one of the store's own trees, whose pages are finished.
    fn own_root(&self, id: TreeId) -> PageId {
        let mut state = self.store.state.write();
        state.freeze(&self.store.pages);
        state.root(id)
    }

    fn tree(&mut self, id: TreeId, root: PageId) -> Result<bool> {
        if root == EMPTY || self.seen.contains(&root) {
            return Ok(true);
        }
        match root_page(&Stored(self.store), root) {
            Ok(page) => self.subtree(id, &page, (&[], None)),
            Err(broken) => self.broken(id, broken).map(|()| true),
        }
    }

    fn subtree(&mut self, id: TreeId, page: &Page, range: (&[u8], Option<&[u8]>)) -> Result<bool> {
        if !self.seen.insert(page.id) {
            return Ok(true);
        }
        self.record.pages += 1;
        if page.is_leaf() {
            return Ok(self.go_on());
        }
        for index in 0..page.len() {
            let (from, to) = bounds(page, index, range);
            match child(&Stored(self.store), page, index) {
                Ok(below) => {
                    if !self.subtree(id, &below, (from, to))? {
                        return Ok(false);
                    }
                }
                Err(error) => {
                    let broken = Broken {
                        page: page.child(index),
                        from: from.to_vec(),
                        to: to.map(<[u8]>::to_vec),
                        error,
                    };
                    self.broken(id, broken)?;
                }
            }
        }
        Ok(true)
    }

    fn broken(&mut self, id: TreeId, broken: Broken) -> Result<()> {
        if !broken.error.is_damage() {
            return Err(broken.error);
        }
        if self.seen.insert(broken.page) && self.is_reached(id, &broken) {
            self.found(broken.problem(id));
        }
        Ok(())
    }

    /// Whether the store still reaches a page. Trees of volumes are pinned; a page of the store's
    /// own trees may have been freed meanwhile.
    fn is_reached(&self, id: TreeId, broken: &Broken) -> bool {
        if id.as_volume().is_some() {
            return true;
        }
        let root = self.own_root(id);
        tree::reaches(&Stored(self.store), root, &broken.from, broken.page)
    }

    fn next_segment(&self) -> Option<SegmentId> {
        let state = self.store.state.read();
        let mut rest = state.segments.range(self.record.next_segment..);
        rest.next().map(|(segment, _)| *segment)
    }

    fn segment(&mut self, segment: SegmentId) -> Result<bool> {
        let mut slot = 0;
        loop {
            let (chunks, _token) = self.chunks(segment, slot, BATCH_CHUNKS)?;
            let Some((last, _)) = chunks.last() else {
                break;
            };
            slot = last.slot.saturating_add(1);
            if !self.verify(&chunks)? {
                return Ok(false);
            }
        }
        self.footer(segment)?;
        Ok(true)
    }

    /// Some records of a segment from a slot on, and what keeps their bytes.
    fn chunks(&self, segment: SegmentId, slot: u32, count: usize) -> Result<(Chunks, Arc<()>)> {
        let from = key::chunk(ChunkPtr { segment, slot });
        let (_, to) = segment_keys(segment);
        self.store.read_state(|reader| {
            let mut list = Vec::new();
            let token = self.store.reading();
            let scanned = txn::tree_scan(reader, TreeId::CHUNKS, &from, &to, &mut |key, value| {
                let record = ChunkRecord::decode(value);
                list.extend(key::chunk_pointer(key).zip(record.ok()));
                if list.len() < count {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            });
            match scanned {
                // The page was found broken already; the records before it are here.
                Err(error) if error.is_damage() => Ok((list, token)),
                other => other.map(|()| (list, token)),
            }
        })
    }

    fn verify(&mut self, chunks: &Chunks) -> Result<bool> {
        let progress = Mutex::new(self.record.clone());
        let go_on = || (self.each)(&progress.lock()) && !self.store.is_closed();
        let before = |bytes: u64| {
            let allowed = self.pace.wait(bytes, &go_on);
            progress.lock().done_bytes += bytes;
            allowed
        };
        let (bad, whole) = verify_chunks(&self.store.segments, chunks, &before)?;
        for (index, ranges) in bad {
            let (pointer, record) = &chunks[index];
            let (now, _token) = self.chunks(pointer.segment, pointer.slot, 1)?;
            let is_there = now.first().is_some_and(|(found, now)| {
                found == pointer && now.offset == record.offset && now.hash == record.hash
            });
            if is_there {
                for range in ranges {
                    self.found(bad_bytes(pointer.segment, range));
                }
            }
        }
        if whole {
            self.record.chunks += chunks.len() as u64;
            self.record.done_bytes += chunks.iter().map(|(_, r)| u64::from(r.length)).sum::<u64>();
        }
        Ok(whole)
    }

    fn footer(&mut self, segment: SegmentId) -> Result<()> {
        let Some(account) = self.account(segment) else {
            return Ok(());
        };
        self.record.footers += 1;
        let problem = self.footer_problem(segment, &account)?;
        // The segment may have been removed while its footer was read.
        if let Some(problem) = problem
            && self.account(segment).is_some()
            && self.footer_problem(segment, &account)?.is_some()
        {
            self.found(problem);
        }
        Ok(())
    }

    fn footer_problem(
        &self,
        segment: SegmentId,
        account: &SegmentRecord,
    ) -> Result<Option<Problem>> {
        let (chunks, _token) = self.chunks(segment, 0, usize::MAX)?;
        Ok(footer_problem(self.store, segment, account.tail, &chunks))
    }

    /// The account of a segment, if it is sealed.
    fn account(&self, segment: SegmentId) -> Option<SegmentRecord> {
        let state = self.store.state.read();
        state
            .segments
            .get(&segment)
            .copied()
            .filter(|account| account.sealed)
    }

    /// Says whom the problems take.
    fn name(&mut self) {
        if self
            .problems
            .list
            .iter()
            .all(|problem| problem.place.is_none())
        {
            return;
        }
        let store = self.store;
        let damaged = {
            let state = store.state.read();
            let source = state.source(&store.pages);
            damage::Damaged::new(&source, state.root(TreeId::CHUNKS), &self.problems.list)
        };
        let (views, _pins): (Vec<_>, Vec<_>) = pinned_views(store).into_iter().unzip();
        damage::name_views(&Stored(store), &views, &damaged, &mut self.problems.list);
    }
}
