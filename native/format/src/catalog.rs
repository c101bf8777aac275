//! Records of the catalog tree (volumes, snapshots, segments) and of the dead tree.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{ChunkPtr, Epoch, InodeId, PageId, SegmentId, ViewId};
use crate::inode::Timestamp;
use crate::limits::{CHUNK_BYTES_MAX, INODE_MAX, VIEW_COUNT_MAX};

/// A view, as records of the catalog and of the log hold it.
pub(crate) fn take_view(decoder: &mut Decoder<'_>) -> Result<ViewId, FormatError> {
    Ok(ViewId(
        decoder.bounded("view", u64::from(VIEW_COUNT_MAX - 1))? as u32,
    ))
}

/// An inode number, likewise.
pub(crate) fn take_inode(decoder: &mut Decoder<'_>) -> Result<InodeId, FormatError> {
    Ok(InodeId(decoder.bounded("inode", INODE_MAX - 1)?))
}

/// What [`take_time`] reads.
pub(crate) fn put_time(encoder: &mut Encoder, time: Timestamp) {
    encoder
        .signed(time.seconds)
        .varint(u64::from(time.nanoseconds));
}

/// A time, as records of the catalog and of the log hold it.
pub(crate) fn take_time(decoder: &mut Decoder<'_>) -> Result<Timestamp, FormatError> {
    Ok(Timestamp {
        seconds: decoder.signed()?,
        nanoseconds: decoder.bounded("nanoseconds", 999_999_999)? as u32,
    })
}

/// What a clone was born from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The snapshot.
    pub snapshot: ViewId,
    /// The snapshot's volume, which may be gone by now.
    pub volume: ViewId,
    /// The last epoch that is in the snapshot.
    pub epoch: Epoch,
}

/// A volume: a live tree, attached somewhere in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The tree's root page as of the last commit.
    pub root: PageId,
    /// Inodes in the tree.
    pub inodes: u64,
    /// Bytes of file data that the tree reaches.
    pub bytes: u64,
    /// Where it is attached: volume and directory. The root volume is attached to itself.
    pub attached_to: (ViewId, InodeId),
    /// The name it is attached under; empty for the root volume.
    pub name: Vec<u8>,
    /// For a clone: what it was born from.
    pub origin: Option<Origin>,
    /// The directory that is its root: [`InodeId::ROOT`], or a cloned directory.
    pub root_inode: InodeId,
    /// When it was made.
    pub created: Timestamp,
    /// It is being deleted; its name is gone already.
    pub deleting: bool,
    /// All it used is noted as dead and its tree is empty; it stays for the clones of its snapshots.
    pub buried: bool,
}

impl VolumeRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .varint(self.root.0)
            .varint(self.inodes)
            .varint(self.bytes);
        encoder
            .varint(u64::from(self.attached_to.0.0))
            .varint(self.attached_to.1.0);
        encoder
            .varint(self.root_inode.0)
            .u8(u8::from(self.deleting) | u8::from(self.buried) << 1)
            .blob(&self.name);
        put_time(&mut encoder, self.created);
        if let Some(origin) = self.origin {
            encoder
                .varint(u64::from(origin.snapshot.0))
                .varint(u64::from(origin.volume.0))
                .varint(origin.epoch.0);
        }
        encoder.finish()
    }

    /// Reads what [`VolumeRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("volume", bytes);
        let root = PageId(decoder.varint()?);
        let inodes = decoder.varint()?;
        let bytes = decoder.varint()?;
        let attached_to = (take_view(&mut decoder)?, take_inode(&mut decoder)?);
        let root_inode = take_inode(&mut decoder)?;
        let state = decoder.bounded("state", 3)?;
        let (deleting, buried) = (state & 1 != 0, state & 2 != 0);
        let name = decoder
            .blob("name", crate::limits::NAME_BYTES_MAX)?
            .to_vec();
        let created = take_time(&mut decoder)?;
        let origin = if decoder.is_empty() {
            None
        } else {
            let (snapshot, volume) = (take_view(&mut decoder)?, take_view(&mut decoder)?);
            Some(Origin {
                snapshot,
                volume,
                epoch: Epoch(decoder.varint()?),
            })
        };
        decoder.end()?;
        Ok(Self {
            root,
            inodes,
            bytes,
            attached_to,
            name,
            origin,
            root_inode,
            created,
            deleting,
            buried,
        })
    }
}

/// A snapshot: an immutable named root, shown in the directory it was taken of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRecord {
    /// The view under which its tree is seen.
    pub view: ViewId,
    /// The volume.
    pub volume: ViewId,
    /// The directory.
    pub directory: InodeId,
    /// The last epoch that is in it.
    pub epoch: Epoch,
    /// The root page of the volume's tree at that epoch.
    pub root: PageId,
    /// When it was taken.
    pub created: Timestamp,
    /// Inodes and bytes of the volume at that time.
    pub inodes: u64,
    /// Bytes of file data of the volume at that time.
    pub bytes: u64,
}

impl SnapshotRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .varint(u64::from(self.view.0))
            .varint(u64::from(self.volume.0))
            .varint(self.directory.0)
            .varint(self.epoch.0)
            .varint(self.root.0)
            .signed(self.created.seconds)
            .varint(u64::from(self.created.nanoseconds))
            .varint(self.inodes)
            .varint(self.bytes)
            .finish()
    }

    /// Reads what [`SnapshotRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("snapshot", bytes);
        let record = Self {
            view: take_view(&mut decoder)?,
            volume: take_view(&mut decoder)?,
            directory: take_inode(&mut decoder)?,
            epoch: Epoch(decoder.varint()?),
            root: PageId(decoder.varint()?),
            created: take_time(&mut decoder)?,
            inodes: decoder.varint()?,
            bytes: decoder.varint()?,
        };
        decoder.end()?;
        Ok(record)
    }
}

/// A segment's account.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Bytes that chunks were given, from the start of the file.
    pub tail: u64,
    /// Bytes of chunks that are still there.
    pub live: u64,
    /// The number of the next chunk.
    pub next_slot: u32,
    /// No chunk will be added; the footer is written.
    pub sealed: bool,
}

impl SegmentRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .varint(self.tail)
            .varint(self.live)
            .varint(u64::from(self.next_slot))
            .u8(u8::from(self.sealed))
            .finish()
    }

    /// Reads what [`SegmentRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("segment", bytes);
        let record = Self {
            tail: decoder.bounded("tail", i64::MAX as u64)?,
            live: decoder.bounded("live", i64::MAX as u64)?,
            next_slot: decoder.varint32("next slot")?,
            sealed: decoder.bounded("sealed", 1)? == 1,
        };
        decoder.end()?;
        Ok(record)
    }
}

/// What a key of the dead tree stands for; the value of a chunk range is its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadRange {
    /// A page of a volume's tree.
    Page(PageId),
    /// `length` bytes of a chunk, `offset` bytes into it.
    Chunk {
        /// The chunk.
        pointer: ChunkPtr,
        /// Start within the chunk.
        offset: u32,
        /// Bytes.
        length: u32,
    },
}

impl DeadRange {
    /// Volume, bucket and birth of the key, and the range that key and value stand for.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<(ViewId, Epoch, Epoch, Self), FormatError> {
        let mut head = Decoder::new("dead range", key);
        let mut tail = Decoder::new("dead range", value);
        let volume = ViewId(head.u32be()?);
        let (bucket, birth) = (Epoch(head.u64be()?), Epoch(head.u64be()?));
        let range = match head.u8()? {
            0 => Self::Page(PageId(head.u64be()?)),
            1 => {
                let pointer = ChunkPtr {
                    segment: SegmentId(head.u64be()?),
                    slot: head.u32be()?,
                };
                let offset = head.u32be()?;
                let room = (CHUNK_BYTES_MAX as u64).saturating_sub(u64::from(offset));
                Self::Chunk {
                    pointer,
                    offset,
                    length: tail.bounded("length", room)? as u32,
                }
            }
            _ => return Err(head.invalid("kind")),
        };
        head.end()?;
        tail.end()?;
        Ok((volume, bucket, birth, range))
    }
}
