//! The commit record: what one commit of the store names.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{Epoch, PageId};

/// The newest format this program writes and reads.
pub const FORMAT_VERSION: u32 = 1;
/// The first bytes of the superblock file.
pub const SUPERBLOCK_MAGIC: &[u8; 8] = b"LOCKSTEP";

/// The superblock: written once when the store is made, never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Random number that names the store.
    pub store_id: [u8; 16],
    /// Features that a reader must know, as bits; none is defined in version 1.
    pub features: u64,
}

impl Superblock {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .raw(SUPERBLOCK_MAGIC)
            .u32(FORMAT_VERSION)
            .raw(&self.store_id)
            .u64(self.features);
        let mut bytes = encoder.finish();
        bytes.extend_from_slice(&crate::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Superblock::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "superblock";
        let mut decoder = Decoder::new(WHAT, bytes);
        if decoder.raw(8)? != SUPERBLOCK_MAGIC {
            return Err(decoder.invalid("magic"));
        }
        let found = decoder.u32()?;
        if found > FORMAT_VERSION {
            return Err(FormatError::Version {
                what: WHAT,
                found,
                supported: FORMAT_VERSION,
            });
        }
        let mut store_id = [0; 16];
        store_id.copy_from_slice(decoder.raw(16)?);
        let features = decoder.u64()?;
        let stored = decoder.u32()?;
        decoder.end()?;
        let computed = crate::crc32c(&bytes[..bytes.len() - 4]);
        if stored != computed {
            return Err(FormatError::Checksum {
                what: WHAT,
                stored,
                computed,
            });
        }
        if features != 0 {
            return Err(FormatError::Version {
                what: WHAT,
                found: FORMAT_VERSION + 1,
                supported: FORMAT_VERSION,
            });
        }
        Ok(Self { store_id, features })
    }
}

/// What a commit publishes, in one transaction with its pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meta {
    /// The last epoch that is in it.
    pub epoch: Epoch,
    /// Root page of the catalog tree.
    pub catalog: PageId,
    /// Root page of the chunk tree.
    pub chunks: PageId,
    /// Root page of the dead tree.
    pub dead: PageId,
    /// The next page number.
    pub next_page: u64,
    /// The next inode number.
    pub next_inode: u64,
    /// The next view number.
    pub next_view: u32,
    /// The next segment number.
    pub next_segment: u64,
    /// Bytes of chunks that only snapshots keep.
    pub dead_bytes: u64,
    /// Log records below this sequence number are in the pages.
    pub log_sequence: u64,
}

impl Meta {
    /// The record's bytes, checksum included.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .u64(self.epoch.0)
            .u64(self.catalog.0)
            .u64(self.chunks.0)
            .u64(self.dead.0);
        encoder
            .u64(self.next_page)
            .u64(self.next_inode)
            .u32(self.next_view);
        encoder
            .u64(self.next_segment)
            .u64(self.dead_bytes)
            .u64(self.log_sequence);
        let mut bytes = encoder.finish();
        bytes.extend_from_slice(&crate::crc32c(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Meta::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        const WHAT: &str = "commit record";
        let mut decoder = Decoder::new(WHAT, bytes);
        let meta = Self {
            epoch: Epoch(decoder.u64()?),
            catalog: PageId(decoder.u64()?),
            chunks: PageId(decoder.u64()?),
            dead: PageId(decoder.u64()?),
            next_page: decoder.u64()?,
            next_inode: decoder.u64()?,
            next_view: decoder.u32()?,
            next_segment: decoder.u64()?,
            dead_bytes: decoder.u64()?,
            log_sequence: decoder.u64()?,
        };
        let stored = decoder.u32()?;
        decoder.end()?;
        let computed = crate::crc32c(&bytes[..bytes.len() - 4]);
        if stored != computed {
            return Err(FormatError::Checksum {
                what: WHAT,
                stored,
                computed,
            });
        }
        Ok(meta)
    }
}
