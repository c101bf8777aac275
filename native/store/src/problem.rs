//! What is wrong in a store, as data: the kind, the place on disk, and what of whom it takes.

use lockstep_format::{InodeId, PageId, SegmentId, TreeId, ViewId};

/// What kind of thing is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// Bytes of a chunk are not what was written.
    Bytes,
    /// A page of a tree is missing or damaged.
    Page,
    /// The footer of a sealed segment is not what was written.
    Footer,
    /// A record cannot be decoded, or speaks of what does not exist.
    Record,
    /// A count or sum is not what the trees say; nothing is lost.
    Account,
    /// Records of the intent log that can no longer be applied.
    Log,
    /// The page store's own structure, or its commit record.
    PageStore,
}

impl ProblemKind {
    /// The name under which reports have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bytes => "bytes",
            Self::Page => "page",
            Self::Footer => "footer",
            Self::Record => "record",
            Self::Account => "account",
            Self::Log => "log",
            Self::PageStore => "page-store",
        }
    }
}

/// Where on disk.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Bytes of a segment's file.
    Segment {
        /// The segment.
        segment: SegmentId,
        /// The first damaged byte.
        offset: u64,
        /// How many.
        length: u64,
    },
    /// A page, and the keys that it covers.
    Page {
        /// Its number.
        page: PageId,
        /// A tree that reaches it; of a snapshot the tree of its volume.
        tree: TreeId,
        /// The first key it may hold.
        from: Vec<u8>,
        /// The key behind the last; `None` = to the end.
        to: Option<Vec<u8>>,
    },
}

/// A file, or a range of it, that a problem takes in one view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Affected {
    /// The path of the volume.
    pub volume: String,
    /// The path of the snapshot (`DIRECTORY/.snapshot/NAME`); `None` is the live tree.
    pub snapshot: Option<String>,
    /// The path of the file, in the snapshot if it is one; `None` if no readable name is left.
    pub path: Option<String>,
    /// Its inode.
    pub inode: InodeId,
    /// The view.
    pub view: ViewId,
    /// Offset and length of the bytes that cannot be read; `None` if the file's own records are
    /// touched: attributes, names in it, or which bytes it has.
    pub range: Option<(u64, u64)>,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What kind of thing.
    pub kind: ProblemKind,
    /// For people.
    pub message: String,
    /// Where on disk, if in one place.
    pub place: Option<Place>,
    /// What of whom it takes; at most [`AFFECTED_MAX`].
    pub affected: Vec<Affected>,
    /// How many there are.
    pub affected_count: u64,
}

/// Affected ranges listed for one problem; more are counted.
pub const AFFECTED_MAX: usize = 1000;
/// Problems listed in a report; more are counted.
pub(crate) const PROBLEMS_MAX: usize = 1000;

impl Problem {
    /// A problem that is in no one place.
    pub(crate) fn new(kind: ProblemKind, message: String) -> Self {
        Self {
            kind,
            message,
            place: None,
            affected: Vec::new(),
            affected_count: 0,
        }
    }

    /// A problem at `place`.
    pub(crate) fn at(kind: ProblemKind, message: String, place: Place) -> Self {
        Self {
            place: Some(place),
            ..Self::new(kind, message)
        }
    }

    /// Notes what the problem takes: adjoining ranges of a file become one.
    pub(crate) fn takes(&mut self, found: Affected) {
        if let (Some(last), Some((offset, length))) = (self.affected.last_mut(), found.range)
            && (last.view, last.inode, &last.path) == (found.view, found.inode, &found.path)
            && let Some((from, before)) = last.range
            && from + before == offset
        {
            last.range = Some((from, before + length));
            return;
        }
        self.affected_count += 1;
        if self.affected.len() < AFFECTED_MAX {
            self.affected.push(found);
        }
    }
}

/// Problems as they are found: a bounded list, and how many there are.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) list: Vec<Problem>,
    pub(crate) count: u64,
}

impl Problems {
    pub(crate) fn add(&mut self, problem: Problem) {
        self.count += 1;
        if self.list.len() < PROBLEMS_MAX {
            self.list.push(problem);
        }
    }
}
