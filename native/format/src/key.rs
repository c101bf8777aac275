//! Keys of the trees. All records of an inode lie side by side: `inode | kind | rest`.
//!
//! Invariants:
//! - Integers in keys are big-endian, so that byte order is number order.
//! - Names in dentry keys have the top bit of each byte flipped: byte order is then the order of
//!   *signed* bytes, which is the order HDFS lists and pages by (`é` before `A`).

use crate::ids::{ChunkPtr, Epoch, InodeId, PageId, SegmentId, ViewId};

/// The kind of a record within an inode's keys, in key order.
pub mod kind {
    /// The inode itself.
    pub const INODE: u8 = 0;
    /// The bytes of a small file, or a symbolic link's target.
    pub const INLINE: u8 = 1;
    /// The inode has no name left and waits for its last close, or for its bytes to be freed.
    pub const ORPHAN: u8 = 2;
    /// An extended attribute, by name.
    pub const XATTR: u8 = 3;
    /// A range of the file's bytes, by file offset.
    pub const EXTENT: u8 = 4;
    /// A name in a directory.
    pub const DENTRY: u8 = 5;
    /// Snapshots of the directory were allowed (an index, under inode 0).
    pub const SNAPSHOTTABLE: u8 = 6;
}

const INODE_BYTES: usize = 8;
/// Bytes before the part that differs within one kind of an inode's records.
pub const PREFIX_BYTES: usize = INODE_BYTES + 1;

/// The start of all keys of `kind` of an inode.
pub fn prefix(inode: InodeId, kind: u8) -> Vec<u8> {
    let mut key = Vec::with_capacity(PREFIX_BYTES + 16);
    key.extend_from_slice(&inode.0.to_be_bytes());
    key.push(kind);
    key
}

/// The inode record.
pub fn inode(inode: InodeId) -> Vec<u8> {
    prefix(inode, kind::INODE)
}

/// The bytes of a small file or of a symbolic link.
pub fn inline(inode: InodeId) -> Vec<u8> {
    prefix(inode, kind::INLINE)
}

/// The mark of an inode without a name. All marks of a volume lie side by side, under inode 0.
pub fn orphan(inode: InodeId) -> Vec<u8> {
    let mut key = prefix(InodeId(0), kind::ORPHAN);
    key.extend_from_slice(&inode.0.to_be_bytes());
    key
}

/// The mark of a directory whose snapshots were allowed. All marks lie side by side, under inode 0.
pub fn snapshottable(inode: InodeId) -> Vec<u8> {
    let mut key = prefix(InodeId(0), kind::SNAPSHOTTABLE);
    key.extend_from_slice(&inode.0.to_be_bytes());
    key
}

/// An extended attribute.
pub fn xattr(inode: InodeId, name: &[u8]) -> Vec<u8> {
    let mut key = prefix(inode, kind::XATTR);
    key.extend_from_slice(name);
    key
}

/// The range of file bytes that starts at `offset`.
pub fn extent(inode: InodeId, offset: u64) -> Vec<u8> {
    let mut key = prefix(inode, kind::EXTENT);
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

/// The entry `name` of directory `inode`.
pub fn dentry(inode: InodeId, name: &[u8]) -> Vec<u8> {
    let mut key = prefix(inode, kind::DENTRY);
    key.extend(name.iter().map(|byte| byte ^ 0x80));
    key
}

/// The inode and the record kind that a volume key speaks of.
pub fn split(key: &[u8]) -> Option<(InodeId, u8, &[u8])> {
    let (inode, rest) = key.split_first_chunk::<INODE_BYTES>()?;
    let (kind, rest) = rest.split_first()?;
    Some((InodeId(u64::from_be_bytes(*inode)), *kind, rest))
}

/// The name in the tail of a dentry key.
pub fn dentry_name(tail: &[u8]) -> Vec<u8> {
    tail.iter().map(|byte| byte ^ 0x80).collect()
}

/// The file offset in the tail of an extent key.
pub fn extent_offset(tail: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(tail.try_into().ok()?))
}

/// The smallest key greater than every key that starts with `prefix`; `None` if there is none.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// Keys of the catalog tree; the first byte says what a record is.
pub mod catalog {
    use super::{Epoch, InodeId, SegmentId, ViewId};
    use crate::limits::VIEW_COUNT_MAX;

    /// First byte of a volume record's key.
    pub const VOLUME: u8 = 1;
    /// First byte of a snapshot record's key.
    pub const SNAPSHOT: u8 = 2;
    /// First byte of the index from a snapshot's view to its record's key.
    pub const VIEW: u8 = 3;
    /// First byte of the index of a volume's snapshots by epoch.
    pub const EPOCH: u8 = 4;
    /// First byte of a segment record's key.
    pub const SEGMENT: u8 = 5;
    /// First byte of the name of a user (`u`) or group (`g`) by number.
    pub const PRINCIPAL_NAME: u8 = 6;
    /// First byte of the number of a user (`u`) or group (`g`) by name.
    pub const PRINCIPAL_ID: u8 = 7;

    /// A volume.
    pub fn volume(view: ViewId) -> Vec<u8> {
        let mut key = vec![VOLUME];
        key.extend_from_slice(&view.0.to_be_bytes());
        key
    }

    /// The view in the key of a volume or of a view.
    pub fn view_of(key: &[u8]) -> Option<ViewId> {
        let view = u32::from_be_bytes(key.get(1..)?.try_into().ok()?);
        (view < VIEW_COUNT_MAX).then_some(ViewId(view))
    }

    /// The snapshots of one directory.
    pub fn snapshots(volume: ViewId, directory: InodeId) -> Vec<u8> {
        let mut key = vec![SNAPSHOT];
        key.extend_from_slice(&volume.0.to_be_bytes());
        key.extend_from_slice(&directory.0.to_be_bytes());
        key
    }

    /// A snapshot of a directory, by name.
    pub fn snapshot(volume: ViewId, directory: InodeId, name: &[u8]) -> Vec<u8> {
        let mut key = snapshots(volume, directory);
        key.extend_from_slice(name);
        key
    }

    /// The key of the record of the snapshot that is seen as `view`.
    pub fn view(view: ViewId) -> Vec<u8> {
        let mut key = vec![VIEW];
        key.extend_from_slice(&view.0.to_be_bytes());
        key
    }

    /// The snapshots of a volume.
    pub fn epochs(volume: ViewId) -> Vec<u8> {
        let mut key = vec![EPOCH];
        key.extend_from_slice(&volume.0.to_be_bytes());
        key
    }

    /// The snapshot of a volume at `epoch`.
    pub fn epoch(volume: ViewId, epoch: Epoch) -> Vec<u8> {
        let mut key = epochs(volume);
        key.extend_from_slice(&epoch.0.to_be_bytes());
        key
    }

    /// A segment.
    pub fn segment(segment: SegmentId) -> Vec<u8> {
        let mut key = vec![SEGMENT];
        key.extend_from_slice(&segment.0.to_be_bytes());
        key
    }

    /// The segment in the key of its record.
    pub fn segment_of(key: &[u8]) -> Option<SegmentId> {
        let segment = key.get(1..)?.try_into().ok()?;
        Some(SegmentId(u64::from_be_bytes(segment)))
    }

    /// The name of a user (`class` = `u`) or group (`g`).
    pub fn principal_name(class: u8, id: u32) -> Vec<u8> {
        let mut key = vec![PRINCIPAL_NAME, class];
        key.extend_from_slice(&id.to_be_bytes());
        key
    }

    /// The number of a user (`class` = `u`) or group (`g`).
    pub fn principal_id(class: u8, name: &[u8]) -> Vec<u8> {
        let mut key = vec![PRINCIPAL_ID, class];
        key.extend_from_slice(name);
        key
    }
}

/// A chunk's key in the chunk tree.
pub fn chunk(pointer: ChunkPtr) -> Vec<u8> {
    let mut key = Vec::with_capacity(12);
    key.extend_from_slice(&pointer.segment.0.to_be_bytes());
    key.extend_from_slice(&pointer.slot.to_be_bytes());
    key
}

/// The pointer in a key of the chunk tree.
pub fn chunk_pointer(key: &[u8]) -> Option<ChunkPtr> {
    let (segment, slot) = key.split_first_chunk::<8>()?;
    Some(ChunkPtr {
        segment: SegmentId(u64::from_be_bytes(*segment)),
        slot: u32::from_be_bytes(slot.try_into().ok()?),
    })
}

/// The start of all dead ranges of a volume that died while `bucket` was its newest snapshot.
pub fn dead_bucket(volume: ViewId, bucket: Epoch) -> Vec<u8> {
    let mut key = Vec::with_capacity(44);
    key.extend_from_slice(&volume.0.to_be_bytes());
    key.extend_from_slice(&bucket.0.to_be_bytes());
    key
}

/// ... and that were born at `birth` or later.
pub fn dead_birth(volume: ViewId, bucket: Epoch, birth: Epoch) -> Vec<u8> {
    let mut key = dead_bucket(volume, bucket);
    key.extend_from_slice(&birth.0.to_be_bytes());
    key
}

/// A dead page.
pub fn dead_page(volume: ViewId, bucket: Epoch, birth: Epoch, page: PageId) -> Vec<u8> {
    let mut key = dead_birth(volume, bucket, birth);
    key.push(0);
    key.extend_from_slice(&page.0.to_be_bytes());
    key
}

/// A dead range of a chunk that starts `offset` bytes into it.
pub fn dead_chunk(
    volume: ViewId,
    bucket: Epoch,
    birth: Epoch,
    pointer: ChunkPtr,
    offset: u32,
) -> Vec<u8> {
    let mut key = dead_birth(volume, bucket, birth);
    key.push(1);
    key.extend_from_slice(&chunk(pointer));
    key.extend_from_slice(&offset.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dentry_keys_sort_as_signed_bytes() {
        let dir = InodeId(1);
        assert!(dentry(dir, "é".as_bytes()) < dentry(dir, b"A"));
        assert!(dentry(dir, b"A") < dentry(dir, b"AA"));
        let key = dentry(dir, "é".as_bytes());
        let (_, found, tail) = split(&key).unwrap();
        assert_eq!(
            (found, dentry_name(tail)),
            (kind::DENTRY, "é".as_bytes().to_vec())
        );
    }

    #[test]
    fn after_prefix_skips_trailing_ff() {
        assert_eq!(after_prefix(&[1, 0xff]), Some(vec![2]));
        assert_eq!(after_prefix(&[0xff]), None);
    }
}
