//! Repairing a store that nobody has open: what can be derived again is, and nothing else.
//!
//! What is repaired: the log is cut behind its last whole record; accounts are derived from the trees,
//! and the chunk tree from what is left of it and the footers of segments; footers are derived from
//! the chunk tree. What is not: bytes of files, and pages of volumes, of the catalog and of dead
//! ranges. Nobody else has them; reads of what they cover go on to answer with an error.
//!
//! Invariants:
//! - A plan is made first, and reading it changes nothing.
//! - Nothing is overwritten of which there is no copy: pages and log are copied into `repair-TIME`
//!   before anything is changed, and so is a footer before it is written anew. The user deletes it.
//! - Chunks are rebuilt only if every one that a file needs is known: no segment that holds bytes
//!   somebody needs is ever taken for empty.

use crate::check::{Derived, OnProgress, footer_problem};
use crate::clock::{Clock, SystemClock};
use crate::commit::footer;
use crate::damage::segment_keys;
use crate::error::{Result, StoreError};
use crate::file::sync_directory;
use crate::problem::{Place, Problem, ProblemKind};
use crate::state::State;
use crate::store::{Store, StoreOptions, utc};
use crate::tree::EMPTY;
use crate::tree::readable::{for_each_page, scan_readable};
use crate::txn::Locked;
use lockstep_format::{ChunkPtr, ChunkRecord, PageId, SegmentId, TreeId, key};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Something a repair does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RepairStep {
    /// Goes on behind the last whole record of the log; so many acknowledged changes are lost.
    CutLog {
        /// How many.
        records: u64,
    },
    /// Derives all counts and sums from the trees.
    DeriveAccounts,
    /// Puts the chunk tree together again.
    RebuildChunks,
    /// Writes the footers of segments anew.
    WriteFooters {
        /// Of which.
        segments: Vec<SegmentId>,
    },
}

/// What a repair will do, or did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The steps, in order.
    pub steps: Vec<RepairStep>,
    /// Why something that might have been repaired cannot be.
    pub refused: Option<String>,
    /// The problems that will stay, or stayed, with whom they take.
    pub remaining: Vec<Problem>,
    /// Where what was there before is kept, once something was changed.
    pub kept: Option<PathBuf>,
}

type Chunks = BTreeMap<ChunkPtr, ChunkRecord>;

impl Store {
    /// Says what [`Store::repair`] would do to the store in `dir`; changes nothing.
    ///
    /// # Errors
    /// As [`Store::check`]: a store that cannot be opened cannot be repaired either.
    pub fn plan_repair(dir: &Path, progress: OnProgress<'_>) -> Result<RepairReport> {
        let report = Self::check(dir, progress)?;
        let store = Self::open(dir, &read_only())?;
        let plan = store.plan(report.problems);
        store.close()?;
        Ok(plan)
    }

    /// Repairs the store in `dir`, and checks it.
    pub fn repair(dir: &Path, progress: OnProgress<'_>) -> Result<RepairReport> {
        let mut plan = Self::plan_repair(dir, progress)?;
        if plan.steps.is_empty() {
            return Ok(plan);
        }
        let kept = keep_copies(dir)?;
        let options = StoreOptions {
            cut_log: true,
            ..StoreOptions::default()
        };
        let store = Self::open(dir, &options)?;
        let done = store.follow(&plan.steps, &kept);
        let closed = store.close();
        done.and(closed)?;
        plan.remaining = Self::check(dir, progress)?.problems;
        plan.kept = Some(kept);
        Ok(plan)
    }

    fn plan(&self, problems: Vec<Problem>) -> RepairReport {
        let mut plan = RepairReport::default();
        let lost = self.recovery().lost;
        if lost > 0 {
            plan.steps.push(RepairStep::CutLog { records: lost });
        }
        let lost_chunks = problems.iter().any(is_chunk_page);
        let wrong = problems.iter().any(|p| p.kind == ProblemKind::Account);
        if lost_chunks || wrong {
            match self.rebuildable(&self.state.read()) {
                Ok(_) if lost_chunks => plan.steps.push(RepairStep::RebuildChunks),
                Ok(_) => plan.steps.push(RepairStep::DeriveAccounts),
                Err(reason) => plan.refused = Some(reason),
            }
        }
        let segments = self.bad_footers();
        if !segments.is_empty() && (!lost_chunks || plan.refused.is_none()) {
            plan.steps.push(RepairStep::WriteFooters { segments });
        }
        let stays = |problem: &Problem| match problem.kind {
            ProblemKind::Log => false,
            ProblemKind::Account => plan.refused.is_some(),
            ProblemKind::Footer => lost_chunks && plan.refused.is_some(),
            _ => !is_chunk_page(problem) || plan.refused.is_some(),
        };
        plan.remaining = problems.into_iter().filter(stays).collect();
        plan
    }

    fn follow(&self, steps: &[RepairStep], kept: &Path) -> Result<()> {
        for step in steps {
            match step {
                // Opening did that.
                RepairStep::CutLog { .. } => {}
                RepairStep::DeriveAccounts | RepairStep::RebuildChunks => self.derive_anew()?,
                RepairStep::WriteFooters { segments } => segments
                    .iter()
                    .try_for_each(|segment| self.write_footer_anew(*segment, kept))?,
            }
        }
        Ok(())
    }

    /// Accounts and chunks as they must be, or why that cannot be known.
    fn rebuildable(&self, state: &State) -> std::result::Result<(Derived, Chunks), String> {
        let derived = self
            .derive(state)
            .ok_or("pages are lost that would say which bytes are in use")?;
        let mut chunks = self.known_chunks(state);
        chunks.retain(|pointer, record| {
            record.live = derived.used.get(pointer).copied().unwrap_or(0);
            record.live > 0
        });
        let missing = derived.used.len() - chunks.len();
        if missing > 0 {
            return Err(format!(
                "of {missing} chunks that files use neither the chunk tree nor a footer has a record"
            ));
        }
        Ok((derived, chunks))
    }

    /// Every chunk that a readable page of the chunk tree or a footer lists.
    fn known_chunks(&self, state: &State) -> Chunks {
        let mut chunks = Chunks::new();
        for (segment, account) in &state.segments {
            if account.sealed
                && let Ok(footer) = self.segments.footer(*segment, account.tail)
            {
                let pointer = |slot| ChunkPtr {
                    segment: *segment,
                    slot,
                };
                let listed = footer.chunks.into_iter();
                chunks.extend(listed.map(|(slot, record)| (pointer(slot), record)));
            }
        }
        let source = state.source(&self.pages);
        let root = state.root(TreeId::CHUNKS);
        scan_readable(&source, root, &[], &[0xff; 9], &mut |key, value| {
            if let (Some(pointer), Ok(record)) =
                (key::chunk_pointer(key), ChunkRecord::decode(value))
            {
                chunks.insert(pointer, record);
            }
            ControlFlow::Continue(())
        });
        chunks
    }

    /// Replaces the chunk tree and all accounts by what they must be.
    fn derive_anew(&self) -> Result<()> {
        let mut state = self.state.write();
        state.freeze(&self.pages);
        let (derived, chunks) = self
            .rebuildable(&state)
            .map_err(|what| StoreError::Corrupt {
                what: format!("the repair was planned and is not possible: {what}"),
            })?;
        let mut pages: Vec<PageId> = Vec::new();
        let root = state.root(TreeId::CHUNKS);
        for_each_page(&state.source(&self.pages), root, &mut |page| {
            pages.push(page);
        });
        state.page_deletes.extend(pages);
        state.trees.entry(TreeId::CHUNKS).or_default().root = EMPTY;
        let segments: Vec<SegmentId> = state.segments.keys().copied().collect();
        for account in state.segments.values_mut() {
            account.live = 0;
        }
        state.dirty_segments.extend(segments);
        for (pointer, record) in &chunks {
            let key = key::chunk(*pointer);
            state.put(&self.pages, TreeId::CHUNKS, &key, &record.encode())?;
        }
        for (id, (inodes, bytes)) in derived.volumes {
            if let Some(tree) = state.trees.get_mut(&id) {
                (tree.inodes, tree.bytes, tree.dirty) = (inodes, bytes, true);
            }
        }
        (state.dead_bytes, state.dirty) = (derived.dead_bytes, true);
        drop(state);
        self.commit()
    }

    fn bad_footers(&self) -> Vec<SegmentId> {
        let state = self.state.read();
        let source = state.source(&self.pages);
        let root = state.root(TreeId::CHUNKS);
        let sealed = state.segments.iter().filter(|(_, account)| account.sealed);
        let is_bad = |segment: SegmentId, tail: u64| {
            let (from, to) = segment_keys(segment);
            let mut records = Vec::new();
            scan_readable(&source, root, &from, &to, &mut |key, value| {
                records.extend(key::chunk_pointer(key).zip(ChunkRecord::decode(value).ok()));
                ControlFlow::Continue(())
            });
            footer_problem(self, segment, tail, &records).is_some()
        };
        let bad = sealed.filter(|(segment, account)| is_bad(**segment, account.tail));
        bad.map(|(segment, _)| *segment).collect()
    }

    fn write_footer_anew(&self, segment: SegmentId, kept: &Path) -> Result<()> {
        let sealed = {
            let state = self.state.read();
            let reader = Locked {
                state: &state,
                store: self,
            };
            footer(&reader, segment)?
        };
        let store = self.segments.store();
        let length = store.length(segment)?.saturating_sub(sealed.footer_at);
        let mut old = vec![0; usize::try_from(length).unwrap_or(0)];
        store.read(segment, sealed.footer_at, &mut old)?;
        write_new(&kept.join(format!("{:016x}.footer", segment.0)), &old)?;
        self.write_footer(&sealed)
    }
}

fn is_chunk_page(problem: &Problem) -> bool {
    let tree = TreeId::CHUNKS;
    matches!(&problem.place, Some(Place::Page { tree: found, .. }) if *found == tree)
}

fn read_only() -> StoreOptions {
    StoreOptions {
        read_only: true,
        ..StoreOptions::default()
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create_new(path)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(StoreError::io("keep a copy"))
}

/// Copies what a repair will change into a folder of its own.
fn keep_copies(dir: &Path) -> Result<PathBuf> {
    // Nobody may change it meanwhile.
    let store = Store::open(dir, &read_only())?;
    let kept = dir.join(format!(
        "repair-{}",
        utc(SystemClock.now()).replace(':', "")
    ));
    std::fs::create_dir(&kept).map_err(StoreError::io("make a folder for copies"))?;
    for (from, to) in [
        ("meta/data.mdb", "data.mdb"),
        ("log/0.log", "0.log"),
        ("log/1.log", "1.log"),
    ] {
        let copied = std::fs::copy(dir.join(from), kept.join(to))
            .and_then(|_| File::open(kept.join(to)))
            .and_then(|file| file.sync_all());
        copied.map_err(StoreError::io("keep a copy"))?;
    }
    sync_directory(&kept)?;
    sync_directory(dir)?;
    store.close()?;
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_accounts_are_derived_again() {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("store");
        Store::create(&dir).unwrap();
        let store = Store::open(&dir, &StoreOptions::default()).unwrap();
        let staged = store.stage(0, &[7; 5000]).unwrap();
        let inode = lockstep_format::InodeId(9);
        store
            .write(|txn| txn.put_range(lockstep_format::ViewId::ROOT, inode, &staged))
            .unwrap();
        {
            let mut state = store.state.write();
            state.dead_bytes = 17;
            let volume = TreeId::volume(lockstep_format::ViewId::ROOT);
            state.trees.get_mut(&volume).unwrap().bytes += 1;
            state.segments.values_mut().next().unwrap().live += 3;
        }
        store.close().unwrap();
        let plan = Store::plan_repair(&dir, &|_| ()).unwrap();
        assert_eq!(plan.steps, [RepairStep::DeriveAccounts]);
        assert_eq!((plan.remaining, plan.kept), (vec![], None));
        let done = Store::repair(&dir, &|_| ()).unwrap();
        assert_eq!((done.remaining, done.refused), (vec![], None));
        assert!(done.kept.unwrap().join("data.mdb").is_file());
        assert!(Store::plan_repair(&dir, &|_| ()).unwrap().steps.is_empty());
    }
}
