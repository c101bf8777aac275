//! The commit record: what one commit of the store names.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{Epoch, PageId};

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
        encoder.finish_with_checksum()
    }

    /// Reads what [`Meta::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("commit record", bytes);
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
        decoder.end_with_checksum(bytes)?;
        Ok(meta)
    }
}
