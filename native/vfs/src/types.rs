//! The vocabulary of the file-system calls.

use lockstep_format::{FileKind, InodeId, Timestamp, ViewId};

/// An inode as seen in one view: `view << 40 | inode`. Bit 39 marks the `.snapshot` directory of
/// the inode. The root directory of the root volume is 1, as FUSE wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the namespace.
    pub const ROOT: Self = Self(1);
    const VIEW_SHIFT: u32 = 40;
    const SNAPSHOT_DIRECTORY: u64 = 1 << 39;

    /// The node of `inode` in `view`.
    pub fn new(view: ViewId, inode: InodeId) -> Self {
        Self(u64::from(view.0) << Self::VIEW_SHIFT | inode.0)
    }

    /// The view.
    pub fn view(self) -> ViewId {
        ViewId((self.0 >> Self::VIEW_SHIFT) as u32)
    }

    /// The inode (for a `.snapshot` directory: of the directory that holds it).
    pub fn inode(self) -> InodeId {
        InodeId(self.0 & (Self::SNAPSHOT_DIRECTORY - 1))
    }

    /// Whether this is a `.snapshot` directory.
    pub fn is_snapshot_directory(self) -> bool {
        self.0 & Self::SNAPSHOT_DIRECTORY != 0
    }

    /// The `.snapshot` directory of this directory.
    #[must_use]
    pub fn snapshot_directory(self) -> Self {
        Self(self.0 | Self::SNAPSHOT_DIRECTORY)
    }
}

/// Who asks. Permission is decided from these numbers alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Effective user; 0 is the superuser.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Permission bits that new files do not get (unless a default ACL rules instead).
    pub umask: u32,
    /// Which observer must not be told of this caller's changes: the mount whose kernel asks
    /// already knows. 0 = tell all.
    pub origin: u32,
}

impl Caller {
    /// The superuser, with umask 022.
    pub fn root() -> Self {
        Self {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            umask: 0o022,
            origin: 0,
        }
    }
}

/// Everything `stat` tells, and what HDFS wants beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The node.
    pub node: NodeId,
    /// File, directory, ...
    pub kind: FileKind,
    /// Permission bits with set-id and sticky, `0o7777` at most.
    pub mode: u32,
    /// Names of the inode; of a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes; of a directory its number of entries; of a symbolic link the target's bytes.
    pub size: u64,
    /// Bytes that are stored (holes excluded).
    pub allocated: u64,
    /// Device number.
    pub rdev: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the bytes.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Birth.
    pub btime: Timestamp,
    /// HDFS block size; 0 = the store's default.
    pub block_size: u64,
    /// HDFS replication as asked for; 0 = the store's default.
    pub replication: u16,
    /// The inode has an access ACL.
    pub has_acl: bool,
    /// HDFS: snapshots were allowed here.
    pub snapshottable: bool,
    /// Seen inside a snapshot: nothing can be changed.
    pub read_only: bool,
}

/// What to change; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetAttributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Length in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<SetTime>,
    /// Last change of the bytes.
    pub mtime: Option<SetTime>,
    /// HDFS replication.
    pub replication: Option<u16>,
    /// HDFS block size in bytes.
    pub block_size: Option<u64>,
    /// HDFS: allow or forbid snapshots of a directory (informative).
    pub snapshottable: Option<bool>,
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The store's clock.
    Now,
    /// This time; only the owner may.
    At(Timestamp),
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// The name.
    pub name: Vec<u8>,
    /// The node it stands for.
    pub node: NodeId,
    /// Its kind.
    pub kind: FileKind,
    /// Its attributes, where they were asked for.
    pub attributes: Option<Attributes>,
}

/// An open file. Keeps the inode's bytes alive until it is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HandleId(pub u64);

/// How a file is opened.
#[expect(
    clippy::struct_excessive_bools,
    reason = "the flags of open(2), each on its own"
)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenFlags {
    /// Bytes may be read.
    pub read: bool,
    /// Bytes may be written.
    pub write: bool,
    /// Every write goes to the end.
    pub append: bool,
    /// The file is cut to nothing first.
    pub truncate: bool,
    /// It must not exist (only for `create`).
    pub exclusive: bool,
    /// Every write is durable before it returns (`O_SYNC`, `O_DSYNC`).
    pub sync: bool,
}

/// How `rename` treats an existing target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace it where POSIX allows.
    #[default]
    Replace,
    /// Fail with `EEXIST`.
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// How `set_xattr` treats an existing value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    #[default]
    Set,
    /// Fail with `EEXIST` if there is one.
    Create,
    /// Fail with `ENODATA` if there is none.
    Replace,
}

/// Figures of the whole store, as `statfs` reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystemStatistics {
    /// Capacity of the file system the store lies in, in bytes.
    pub total_bytes: u64,
    /// Free bytes there.
    pub free_bytes: u64,
    /// Bytes that an ordinary user can still use.
    pub available_bytes: u64,
    /// Inodes in use in the node's volume.
    pub inodes: u64,
    /// Bytes of file data that the node's volume reaches.
    pub volume_bytes: u64,
}

/// Sums over a subtree (HDFS content summary).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ContentSummary {
    /// Bytes of files.
    pub length: u64,
    /// Files and symbolic links.
    pub files: u64,
    /// Directories, the top one included.
    pub directories: u64,
    /// Length times replication, per file.
    pub space_consumed: u64,
}

/// A snapshot of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// Its name in the directory.
    pub name: Vec<u8>,
    /// The directory inside the snapshot: browse from here.
    pub root: NodeId,
    /// The live directory it was taken of.
    pub directory: NodeId,
    /// When it was taken.
    pub created: Timestamp,
    /// The last epoch that is in it; grows with every snapshot of the store.
    pub epoch: u64,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeInfo {
    /// Its root directory.
    pub root: NodeId,
    /// Its path in the namespace.
    pub path: Vec<u8>,
    /// For a clone: the view of the snapshot it was born from.
    pub origin: Option<u32>,
    /// When it was made.
    pub created: Timestamp,
    /// Inodes in it.
    pub inodes: u64,
    /// Bytes of file data that its live tree reaches.
    pub bytes: u64,
}

/// One difference between two states of a directory tree. Paths are relative to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// What it happened to.
    pub file_kind: FileKind,
    /// The path: in the old state for `Deleted` and `Renamed`, else in the new one.
    pub path: Vec<u8>,
    /// For `Renamed`: the path in the new state.
    pub target: Option<Vec<u8>>,
    /// The inode.
    pub inode: u64,
}

/// Kinds of [`Change`], in HDFS's letters `+ - M R`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// New in the later state.
    Created,
    /// Gone in the later state.
    Deleted,
    /// Bytes, attributes or xattrs differ (of a directory: its entries too).
    Modified,
    /// The same inode has another path.
    Renamed,
}

/// A range of a file that holds data, for `SEEK_DATA`/`SEEK_HOLE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTarget {
    /// The next byte at or after the offset that is stored.
    Data,
    /// The next hole at or after the offset (the end of the file is one).
    Hole,
}

/// A change that kernel caches must hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Attributes, and bytes in the range, may differ; `length` 0 = attributes only, `u64::MAX` = to the end.
    Inode {
        /// The node.
        node: NodeId,
        /// First byte that changed.
        offset: u64,
        /// Bytes that changed.
        length: u64,
    },
    /// A name appeared, went or stands for another inode.
    Entry {
        /// The directory.
        parent: NodeId,
        /// The name.
        name: Vec<u8>,
    },
}

/// Somebody who caches: a mount.
pub trait Observer: Send + Sync {
    /// Called before the change is acknowledged, on the changing thread, with no lock held.
    fn changed(&self, events: &[Event]);
}

/// Who may hold nodes open that this process knows nothing of: the users of a mount that outlived
/// the daemon which opened them.
pub trait Strangers: Send + Sync {
    /// Whether any of them may hold the node. If so, [`Vfs::forgotten`](crate::Vfs::forgotten) is
    /// called once none does.
    fn may_hold(&self, node: NodeId) -> bool;
}
