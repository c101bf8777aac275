//! Every size and count that comes from disk or from a caller is checked against one of these.

/// Longest name of a directory entry, a snapshot or an extended attribute, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Longest path and longest target of a symbolic link, in bytes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Largest value of one extended attribute, in bytes (Linux: `XATTR_SIZE_MAX`).
pub const XATTR_VALUE_BYTES_MAX: usize = 65_536;
/// Largest total of the names of one inode's extended attributes (Linux: `XATTR_LIST_MAX`).
pub const XATTR_LIST_BYTES_MAX: usize = 65_536;
/// Files up to this size are kept inside the tree.
pub const INLINE_BYTES_MAX: usize = 2_048;
/// A chunk never crosses a file offset that is a multiple of this, and is never longer.
pub const CHUNK_BYTES_MAX: usize = 1 << 20;
/// File bytes are checked in pieces of this size, so that a small read verifies little more.
pub const GRAIN_BYTES: usize = 16 << 10;
/// Largest file, in bytes.
pub const FILE_BYTES_MAX: u64 = i64::MAX as u64;
/// Longest key of any tree, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// Largest value of any tree: that of an extended attribute.
pub const VALUE_BYTES_MAX: usize = XATTR_VALUE_BYTES_MAX;
/// A page splits when its decoded entries exceed this many bytes.
pub const PAGE_BYTES_TARGET: usize = 16 << 10;
/// No page is larger, neither in memory nor encoded: the largest of two halves that a page of large
/// values was split into, and one value more.
pub const PAGE_BYTES_MAX: usize = 256 << 10;
/// Volumes and snapshots that a store can number.
pub const VIEW_COUNT_MAX: u32 = 1 << 24;
/// Inode numbers stay below this.
pub const INODE_MAX: u64 = 1 << 39;
/// Hard links to one file.
pub const LINK_COUNT_MAX: u32 = 1 << 31;
/// Largest record in the intent log.
pub const LOG_RECORD_BYTES_MAX: usize = 64 << 20;
/// Deepest B+tree that is believed when read from disk.
pub const TREE_LEVEL_MAX: u8 = 32;
/// A segment takes no more chunks than this, however small, so that its footer stays small.
pub const SEGMENT_SLOTS_MAX: u32 = 1 << 17;
/// No byte of a segment lies behind this: 256 MiB and one last chunk, and the footer behind them.
pub const SEGMENT_END_MAX: u64 = 1 << 29;
/// No encoded chunk record is larger: its integers, its hash and a checksum for each grain.
pub const CHUNK_RECORD_BYTES_MAX: usize = 80 + CHUNK_BYTES_MAX / GRAIN_BYTES * 4;
/// No segment footer is larger: every chunk's record, with two numbers, and a little.
pub const FOOTER_BYTES_MAX: usize = SEGMENT_SLOTS_MAX as usize * (CHUNK_RECORD_BYTES_MAX + 16);
