//! Staying able to commit, and to delete, on a full disk.
//!
//! Invariants:
//! - Before the next change is accepted, the page store holds space for the pages changed by now
//!   and a reserve behind it: what fills the disk is file bytes, never what a commit needs.
//! - While the reserve is not whole, what makes trees grow is refused before it is acknowledged, what
//!   shrinks them is not. The little that is let through (times, a longer name, notes of what
//!   snapshots still see) is counted against a part of the reserve.
//! - While the reserve is not whole, or after file bytes have met the end of the disk, file bytes are
//!   refused.
//! - If a commit finds no space all the same (a file system that cannot promise any), nothing more
//!   is accepted until one succeeds: what was acknowledged is in the log, and stays there.

use crate::error::{Result, StoreError};
use crate::store::Store;
use lockstep_format::{TreeId, key};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// What the page store takes at most for a changed page, on the average: five pages of 4 KiB.
const PAGE_COST: u64 = 20 << 10;
/// Space is asked for so many changed pages at a time.
const PAGES_STEP: usize = 64;
/// The reserve: a part of the disk, within limits.
const RESERVE_PART: u64 = 16;
const RESERVE_BYTES_MIN: u64 = 2 << 20;
const RESERVE_BYTES_MAX: u64 = 8 << 20;
/// Changed pages (of 16 KiB) and log bytes at which a commit is started early, and those at which
/// writers wait for it; on a small disk a part of it.
const PAGES_SOFT: u64 = 2_048;
const PAGES_HARD: u64 = 6_144;
const LOG_BYTES_SOFT: u64 = 32 << 20;
const LOG_BYTES_HARD: u64 = 128 << 20;
const SOFT_PART: u64 = 64;
const HARD_PART: u64 = 16;
/// A part of the reserve: what changes may add together while space is short, what must be free
/// before it no longer is, and the pages of one commit in between.
const PART: u64 = 8;
/// What one change may add to names and attributes of files while space is short.
const GROWTH_BYTES_MAX: i64 = 64;
/// How much smaller the steps of background work are while space is short.
const STEP_PART: usize = 16;

/// What may wait for a commit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) pages: usize,
    pub(crate) log_bytes: u64,
}

/// What a change adds to trees; removals count against additions.
#[derive(Debug, Default)]
pub(crate) struct Growth {
    has_new_inode: bool,
    /// To names, attributes and extents of files.
    volume_bytes: i64,
    /// To all trees.
    all_bytes: i64,
}

impl Growth {
    /// A key of `tree` adds `bytes`; it may be a new one.
    pub(crate) fn count(&mut self, tree: TreeId, key: &[u8], bytes: i64, is_new: bool) {
        self.all_bytes += bytes;
        if tree.as_volume().is_some() {
            self.volume_bytes += bytes;
            let is_inode = matches!(key::split(key), Some((_, key::kind::INODE, _)));
            self.has_new_inode |= is_new && is_inode;
        }
    }
}

/// What is known about the space left.
pub(crate) struct Space {
    /// At this, a commit is started.
    pub(crate) soft: Limits,
    /// At this, writers wait for it.
    pub(crate) hard: Limits,
    reserve_bytes: u64,
    /// Changed pages that a commit has space for.
    pages_held: AtomicUsize,
    /// The reserve is not whole.
    short: AtomicBool,
    /// File bytes found no space, and there is none since.
    full: AtomicBool,
    /// The last commit found no space.
    stuck: AtomicBool,
    /// What was added while space is short.
    added_bytes: AtomicU64,
}

impl Space {
    /// For a store on a disk of `total_bytes`.
    pub(crate) fn new(total_bytes: u64) -> Self {
        let limits = |part: u64, pages: u64, log_bytes: u64| Limits {
            pages: pages.min(total_bytes / part / PAGE_COST) as usize,
            log_bytes: log_bytes.min(total_bytes / part),
        };
        Self {
            soft: limits(SOFT_PART, PAGES_SOFT, LOG_BYTES_SOFT),
            hard: limits(HARD_PART, PAGES_HARD, LOG_BYTES_HARD),
            reserve_bytes: (total_bytes / RESERVE_PART).clamp(RESERVE_BYTES_MIN, RESERVE_BYTES_MAX),
            pages_held: AtomicUsize::new(0),
            short: AtomicBool::new(false),
            full: AtomicBool::new(false),
            stuck: AtomicBool::new(false),
            added_bytes: AtomicU64::new(0),
        }
    }

    /// Refuses everything while commits find no space.
    pub(crate) fn check_commits(&self) -> Result<()> {
        if self.stuck.load(Ordering::Acquire) {
            Err(StoreError::NoSpace)
        } else {
            Ok(())
        }
    }

    /// Refuses file bytes while there is little space.
    pub(crate) fn check_bytes(&self) -> Result<()> {
        self.check_commits()?;
        if self.is_short() || self.full.load(Ordering::Acquire) {
            Err(StoreError::NoSpace)
        } else {
            Ok(())
        }
    }

    fn is_short(&self) -> bool {
        self.short.load(Ordering::Acquire)
    }

    /// Decides about a change by what it adds.
    pub(crate) fn admit(&self, growth: &Growth) -> Result<()> {
        if !self.is_short() || growth.all_bytes <= 0 {
            return Ok(());
        }
        let added = self.added_bytes.load(Ordering::Relaxed) + growth.all_bytes.unsigned_abs();
        let is_large = growth.has_new_inode || growth.volume_bytes > GROWTH_BYTES_MAX;
        if is_large || added > self.reserve_bytes / PART {
            return Err(StoreError::NoSpace);
        }
        self.added_bytes.store(added, Ordering::Relaxed);
        Ok(())
    }

    /// File bytes met the end of the disk.
    pub(crate) fn found_full(&self) {
        self.full.store(true, Ordering::Release);
    }

    /// The size of a step of background work that is usually `usual`: what one commit has to hold
    /// must stay far below the reserve.
    pub(crate) fn step(&self, usual: usize) -> usize {
        if self.is_short() {
            usual / STEP_PART
        } else {
            usual
        }
    }

    /// Whether a commit of `pages` changed pages has space.
    pub(crate) fn holds(&self, pages: usize) -> bool {
        pages < self.pages_held.load(Ordering::Acquire)
    }

    /// A commit ended, well or for want of space.
    pub(crate) fn committed(&self, found_space: bool) {
        self.stuck.store(!found_space, Ordering::Release);
    }
}

impl Store {
    /// Whether the disk is full, or as good as that: then only what frees space is accepted.
    pub fn is_short_of_space(&self) -> bool {
        self.space.check_bytes().is_err()
    }

    /// Makes the page store hold space for `pages` changed pages, some more, and the reserve.
    pub(crate) fn hold_space(&self, pages: usize) -> Result<()> {
        let pages = pages + PAGES_STEP;
        let bytes = self.space.reserve_bytes + pages as u64 * PAGE_COST;
        self.pages.store().reserve(bytes)?;
        self.space.pages_held.store(pages, Ordering::Release);
        Ok(())
    }

    /// Looks again how much space there is, after a commit.
    pub(crate) fn measure_space(&self) -> Result<()> {
        let space = &self.space;
        let part = (space.reserve_bytes / PART / PAGE_COST) as usize;
        // A little more than to begin with, lest it goes to and fro.
        let more = if space.is_short() { part } else { 0 };
        let short = match self.hold_space(more) {
            Ok(()) => false,
            Err(error) if error.is_no_space() => true,
            Err(error) => return Err(error),
        };
        if short {
            space.pages_held.store(part, Ordering::Release);
        } else {
            space.added_bytes.store(0, Ordering::Relaxed);
        }
        space.short.store(short, Ordering::Release);
        if space.full.load(Ordering::Acquire) {
            let free = self.host_space()?.available_bytes;
            let full = free < space.reserve_bytes / PART;
            space.full.store(full, Ordering::Release);
        }
        Ok(())
    }
}
