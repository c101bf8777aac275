//! Ids are types, so that a page number can never be passed for an inode number.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    };
}

id! {
    /// The number of a state of the store. Advances by one at each commit and at each snapshot;
    /// never reused, not even after a crash.
    Epoch(u64)
}
id! {
    /// A B+tree page in the page store. Never reused.
    PageId(u64)
}
id! {
    /// An append-only file of chunks.
    SegmentId(u64)
}
id! {
    /// A tree that can be looked at: the live tree of a volume, or a snapshot of one. One number
    /// space for both, below [`crate::limits::VIEW_COUNT_MAX`]; the root volume's live view is 0.
    ViewId(u32)
}
id! {
    /// An inode number, unique in the store except that clones and snapshots keep their origin's.
    /// Below 2^39.
    InodeId(u64)
}
id! {
    /// A B+tree of the store: the live tree of a volume (the number of its view) or one of the
    /// store's own trees.
    TreeId(u32)
}

impl InodeId {
    /// The root directory of every volume.
    pub const ROOT: Self = Self(1);
}

impl ViewId {
    /// The live tree of the root volume.
    pub const ROOT: Self = Self(0);
}

impl TreeId {
    /// Volumes, snapshots, segments, principals.
    pub const CATALOG: Self = Self(u32::MAX);
    /// Chunk pointer -> where the bytes lie and what they hash to.
    pub const CHUNKS: Self = Self(u32::MAX - 1);
    /// What only snapshots still reach (see `docs/FORMAT.md`, "Dead ranges").
    pub const DEAD: Self = Self(u32::MAX - 2);

    /// The live tree of the volume whose live view is `view`.
    pub fn volume(view: ViewId) -> Self {
        Self(view.0)
    }

    /// What it is called in messages.
    pub fn name(self) -> String {
        match self {
            Self::CATALOG => "catalog".into(),
            Self::CHUNKS => "chunks".into(),
            Self::DEAD => "dead ranges".into(),
            volume => format!("volume {}", volume.0),
        }
    }

    /// The volume's view, or `None` for the store's own trees.
    pub fn as_volume(self) -> Option<ViewId> {
        (self.0 < crate::limits::VIEW_COUNT_MAX).then_some(ViewId(self.0))
    }
}

/// Names a chunk without saying where its bytes lie, so that bytes can move under snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkPtr {
    /// The logical segment in which the chunk was born.
    pub segment: SegmentId,
    /// The chunk's number within it.
    pub slot: u32,
}
