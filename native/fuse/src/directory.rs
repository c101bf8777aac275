//! Open directories: positions that stay valid while the directory changes.
//!
//! Invariants:
//! - An offset is given out once per handle and stands for "after this name" for ever: reading on
//!   from it gives the names that follow, whatever was made or removed meanwhile.
//! - Handles of an earlier daemon's life are known by their number, and go on with the positions
//!   that it wrote down.
//! - A handle remembers the last [`RECENT_MAX`] offsets exactly and every [`MARK_EVERY`]th before
//!   them, so its memory does not grow with the directory.

use crate::handle_number;
use crate::recall::Recall;
use fuser::{FileAttr, FileType, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};
use lockstep_vfs::NodeId;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const RECENT_MAX: usize = 8192;
const MARK_EVERY: u64 = 1024;
const MARKS_MAX: usize = 4096;

/// The offset after `.`, and the one after `..`, where the names begin.
pub(crate) const AFTER_SELF: u64 = 1;
pub(crate) const AFTER_PARENT: u64 = 2;

/// Open directories by number.
pub(crate) struct Directories {
    life: u16,
    next: AtomicU64,
    open: Mutex<FxHashMap<u64, Arc<Directory>>>,
    /// Where a mount can outlive the daemon.
    recall: Option<Recall>,
    /// What earlier daemons wrote down.
    recalled: Mutex<FxHashMap<u64, Positions>>,
}

impl Directories {
    pub(crate) fn new(life: u16, notes: Option<(Recall, FxHashMap<u64, Positions>)>) -> Self {
        let (recall, recalled) = notes.map_or_else(Default::default, |(recall, recalled)| {
            (Some(recall), recalled)
        });
        Self {
            life,
            next: AtomicU64::new(0),
            open: Mutex::default(),
            recall,
            recalled: Mutex::new(recalled),
        }
    }

    pub(crate) fn open(&self, node: NodeId) -> u64 {
        let number = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        let id = handle_number::of(self.life, 0, number);
        self.insert(id, node, Positions::default());
        id
    }

    fn insert(&self, id: u64, node: NodeId, positions: Positions) -> Arc<Directory> {
        let positions = Mutex::new(positions);
        let directory = Arc::new(Directory {
            id,
            node,
            positions,
        });
        Arc::clone(self.open.lock().entry(id).or_insert(directory))
    }

    /// The directory `node` that was opened as `id`, in this life or before.
    pub(crate) fn get(&self, id: u64, node: NodeId) -> Option<Arc<Directory>> {
        if let Some(directory) = self.open.lock().get(&id) {
            return Some(Arc::clone(directory));
        }
        if handle_number::life(id) == self.life {
            return None;
        }
        let positions = self.recalled.lock().remove(&id).unwrap_or_default();
        Some(self.insert(id, node, positions))
    }

    /// Writes down where the reader of a directory may go on, before it is told.
    pub(crate) fn note(&self, directory: &Directory) {
        if let Some(recall) = &self.recall {
            // What could not be written down matters only if this daemon dies now: its reader then
            // begins again.
            let _ = recall.note(directory.id, &mut directory.positions.lock());
        }
    }

    pub(crate) fn close(&self, id: u64) {
        self.open.lock().remove(&id);
        self.recalled.lock().remove(&id);
    }
}

/// One open directory.
pub(crate) struct Directory {
    id: u64,
    pub(crate) node: NodeId,
    /// Held while a piece is read: two readers of one handle share its position anyway.
    pub(crate) positions: Mutex<Positions>,
}

/// Which name each offset follows.
pub(crate) struct Positions {
    /// The offset of the first of `recent`.
    first: u64,
    /// With each name, whether reading started anew there: what follows it is in order.
    recent: VecDeque<(Box<[u8]>, bool)>,
    /// No name stands for the start of the directory.
    marks: Vec<(u64, Box<[u8]>)>,
    /// Offsets below were written down.
    noted: u64,
}

impl Default for Positions {
    fn default() -> Self {
        Self {
            first: AFTER_PARENT + 1,
            recent: VecDeque::new(),
            marks: Vec::new(),
            noted: AFTER_PARENT + 1,
        }
    }
}

/// Where to read on: after this name (empty: at the start), without the next `skip` names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Resume {
    pub(crate) after: Vec<u8>,
    pub(crate) skip: u64,
}

impl Positions {
    /// The offset that the next name will get.
    pub(crate) fn next(&self) -> u64 {
        self.first + self.recent.len() as u64
    }

    /// Gives the offset [`Self::next`] to the position after `name`.
    pub(crate) fn give(&mut self, name: &[u8]) {
        self.push(name, false);
    }

    /// Reading goes on after `name` (none: at the start) instead of at the last offset.
    pub(crate) fn start_after(&mut self, name: &[u8]) {
        self.push(name, true);
    }

    fn push(&mut self, name: &[u8], starts: bool) {
        self.recent.push_back((name.into(), starts));
        if self.recent.len() > RECENT_MAX
            && let Some((oldest, starts)) = self.recent.pop_front()
        {
            if starts || self.first.is_multiple_of(MARK_EVERY) {
                self.mark(oldest);
            }
            self.first += 1;
        }
    }

    /// The offsets that were given out and not yet written down, with name and start.
    pub(crate) fn take_unnoted(&mut self) -> impl Iterator<Item = (u64, &[u8], bool)> {
        let from = self.noted.max(self.first);
        self.noted = self.next();
        let skip = (from - self.first) as usize;
        let unnoted = self.recent.iter().skip(skip).zip(from..);
        unnoted.map(|((name, starts), offset)| (offset, &**name, *starts))
    }

    /// Takes up what was written down. After a gap only what follows it counts.
    pub(crate) fn recall(&mut self, offset: u64, name: &[u8], starts: bool) {
        if offset != self.next() {
            *self = Self {
                first: offset.min(u64::MAX / 2),
                ..Self::default()
            };
        }
        self.push(name, starts);
        self.noted = self.next();
    }

    fn mark(&mut self, name: Box<[u8]>) {
        if self.marks.len() >= MARKS_MAX {
            let mut index = 0;
            self.marks.retain(|_| {
                index += 1;
                index % 2 == 0
            });
        }
        self.marks.push((self.first, name));
    }

    /// Whether `offset` is the last one given out.
    pub(crate) fn is_last(&self, offset: u64) -> bool {
        !self.recent.is_empty() && offset + 1 == self.next()
    }

    /// Where to read on from an offset that was given out; an offset that never was reads from
    /// the start.
    pub(crate) fn resume(&self, offset: u64) -> Resume {
        let from_start = Resume {
            after: Vec::new(),
            skip: 0,
        };
        if offset <= AFTER_PARENT || offset >= self.next() {
            return from_start;
        }
        if let Some(index) = offset.checked_sub(self.first) {
            return Resume {
                after: self.recent[index as usize].0.to_vec(),
                skip: 0,
            };
        }
        match self.marks.iter().rev().find(|(at, _)| *at <= offset) {
            Some((at, name)) => Resume {
                after: name.to_vec(),
                skip: offset - at,
            },
            None => from_start,
        }
    }
}

/// A reply to `readdir` or `readdirplus` that is being filled.
pub(crate) enum Filling {
    /// Names only.
    Plain(ReplyDirectory),
    /// Names with attributes, which the kernel caches as lookups.
    Plus(ReplyDirectoryPlus),
}

/// A name for [`Filling::add`].
pub(crate) struct Found<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) offset: u64,
    pub(crate) node: NodeId,
    pub(crate) kind: FileType,
    /// For [`Filling::Plus`].
    pub(crate) attributes: Option<FileAttr>,
    pub(crate) ttl: Duration,
}

impl Filling {
    pub(crate) fn wants_attributes(&self) -> bool {
        matches!(self, Self::Plus(_))
    }

    /// Adds a name; `false` if it did not fit any more.
    pub(crate) fn add(&mut self, found: &Found<'_>) -> bool {
        let (ino, name) = (INodeNo(found.node.0), OsStr::from_bytes(found.name));
        let full = match self {
            Self::Plain(reply) => reply.add(ino, found.offset, found.kind, name),
            Self::Plus(reply) => match &found.attributes {
                Some(attributes) => reply.add(
                    ino,
                    found.offset,
                    name,
                    &found.ttl,
                    attributes,
                    Generation(0),
                ),
                None => false,
            },
        };
        !full
    }

    pub(crate) fn ok(self) {
        match self {
            Self::Plain(reply) => reply.ok(),
            Self::Plus(reply) => reply.ok(),
        }
    }

    pub(crate) fn error(self, errno: fuser::Errno) {
        match self {
            Self::Plain(reply) => reply.error(errno),
            Self::Plus(reply) => reply.error(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(index: u64) -> Vec<u8> {
        format!("name{index:07}").into_bytes()
    }

    fn filled(count: u64) -> Positions {
        let mut positions = Positions::default();
        positions.start_after(b"");
        for index in 0..count {
            assert_eq!(positions.next(), index + 4);
            positions.give(&name(index));
        }
        positions
    }

    #[test]
    fn an_offset_stands_for_the_name_before_it() {
        let positions = filled(100);
        assert_eq!(
            positions.resume(4),
            Resume {
                after: name(0),
                skip: 0
            }
        );
        assert_eq!(
            positions.resume(103),
            Resume {
                after: name(99),
                skip: 0
            }
        );
        assert!(positions.is_last(103) && !positions.is_last(102) && !positions.is_last(0));
    }

    #[test]
    fn a_rewind_and_unknown_offsets_start_over() {
        let positions = filled(10);
        for offset in [0, AFTER_SELF, AFTER_PARENT, 14, u64::MAX] {
            assert_eq!(
                positions.resume(offset),
                Resume {
                    after: Vec::new(),
                    skip: 0
                }
            );
        }
    }

    #[test]
    fn old_offsets_are_found_from_marks_and_memory_is_bounded() {
        let positions = filled(100_000);
        assert!(positions.recent.len() <= RECENT_MAX);
        assert!(positions.marks.len() < 100);
        let Resume { after, skip } = positions.resume(50_004);
        let marked = 50_004 / MARK_EVERY * MARK_EVERY;
        assert_eq!((after, skip), (name(marked - 4), 50_004 - marked));
        assert_eq!(
            positions.resume(50),
            Resume {
                after: Vec::new(),
                skip: 47
            }
        );
        assert_eq!(
            positions.resume(100_003),
            Resume {
                after: name(99_999),
                skip: 0
            }
        );
    }

    #[test]
    fn offsets_of_an_earlier_pass_stay_valid_after_a_rewind() {
        let mut positions = filled(10);
        positions.start_after(b"");
        positions.give(b"new");
        assert_eq!(
            positions.resume(8),
            Resume {
                after: name(4),
                skip: 0
            }
        );
        assert_eq!(
            positions.resume(15),
            Resume {
                after: b"new".to_vec(),
                skip: 0
            }
        );
    }

    #[test]
    fn marks_are_thinned() {
        let mut positions = Positions::default();
        for index in 0..3 * MARKS_MAX as u64 {
            positions.first = index;
            positions.mark(name(index).into());
        }
        assert!(positions.marks.len() <= MARKS_MAX);
    }

    #[test]
    fn handles_are_forgotten_when_closed() {
        let directories = Directories::new(1, None);
        let id = directories.open(NodeId::ROOT);
        assert!(directories.get(id, NodeId::ROOT).is_some());
        directories.close(id);
        assert!(directories.get(id, NodeId::ROOT).is_none());
        // One of an earlier life is opened again.
        let later = Directories::new(2, None);
        assert!(later.get(id, NodeId::ROOT).is_some());
    }
}
