//! The bytes of a Lockstep store, and nothing but bytes: no I/O, no clock, no locks.
//!
//! `docs/FORMAT.md` is the normative text; this crate is its implementation. Every decoder takes
//! untrusted bytes and answers [`FormatError`] instead of panicking or allocating beyond [`limits`].

pub mod catalog;
pub mod chunk;
pub mod codec;
pub mod extent;
pub mod footer;
pub mod ids;
pub mod inode;
pub mod key;
pub mod limits;
pub mod log;
pub mod meta;
pub mod page;
pub mod scrub;
pub mod superblock;

pub use catalog::{DeadRange, Origin, SegmentRecord, SnapshotRecord, VolumeRecord};
pub use chunk::ChunkRecord;
pub use codec::{Decoder, Encoder, FormatError};
pub use extent::Extent;
pub use footer::Footer;
pub use ids::{ChunkPtr, Epoch, InodeId, PageId, SegmentId, TreeId, ViewId};
pub use inode::{Dentry, FileKind, Inode, Timestamp};
pub use meta::Meta;
pub use page::Page;
pub use scrub::ScrubRecord;
pub use superblock::{Features, Superblock};

/// CRC-32C (Castagnoli), the checksum of every record and of every grain of file bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}
