//! Chunks: where immutable bytes lie and what they must hash to.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::limits::{CHUNK_BYTES_MAX, GRAIN_BYTES};

/// The leaves of BLAKE3's tree.
const BLAKE3_CHUNK_BYTES: u64 = 1024;

/// A chunk's record in the chunk tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkRecord {
    /// Byte offset in the segment.
    pub offset: u64,
    /// Bytes of the chunk.
    pub length: u32,
    /// Bytes that some extent, of any snapshot, still uses; at 0 the chunk is gone.
    pub live: u32,
    /// The input offset that `hash` was computed for: the chunk's file offset where that starts a
    /// subtree of BLAKE3, else 0.
    pub hash_offset: u64,
    /// The BLAKE3 chaining value (not root) of the bytes as input from `hash_offset` on.
    pub hash: [u8; 32],
    /// CRC-32C of each grain of [`GRAIN_BYTES`], the last one shorter.
    pub grains: Vec<u32>,
}

/// Whether BLAKE3's tree over an input has a subtree that starts at `offset` and has room for
/// `length` bytes; elsewhere no chaining value can be computed.
fn starts_subtree(offset: u64, length: u32) -> bool {
    let room = 1 << offset.trailing_zeros().min(63);
    offset == 0 || (offset.is_multiple_of(BLAKE3_CHUNK_BYTES) && u64::from(length) <= room)
}

impl ChunkRecord {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .varint(self.offset)
            .varint(u64::from(self.length))
            .varint(u64::from(self.live));
        encoder.varint(self.hash_offset).raw(&self.hash);
        for grain in &self.grains {
            encoder.u32(*grain);
        }
        encoder.finish()
    }

    /// Reads what [`ChunkRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("chunk", bytes);
        let offset = decoder.bounded("offset", i64::MAX as u64)?;
        let length = decoder.bounded("length", CHUNK_BYTES_MAX as u64)? as u32;
        let live = decoder.bounded("live bytes", u64::from(length))? as u32;
        let hash_offset = decoder.bounded("hash offset", i64::MAX as u64)?;
        if !starts_subtree(hash_offset, length) {
            return Err(decoder.invalid("hash offset"));
        }
        let mut hash = [0; 32];
        hash.copy_from_slice(decoder.raw(32)?);
        let count = (length as usize).div_ceil(GRAIN_BYTES);
        let grains = (0..count)
            .map(|_| decoder.u32())
            .collect::<Result<_, _>>()?;
        decoder.end()?;
        Ok(Self {
            offset,
            length,
            live,
            hash_offset,
            hash,
            grains,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_offset_at_which_no_subtree_starts_is_refused() {
        let decodes = |hash_offset: u64, length: u32| {
            let record = ChunkRecord {
                offset: 0,
                length,
                live: 0,
                hash_offset,
                hash: [0; 32],
                grains: vec![0; (length as usize).div_ceil(GRAIN_BYTES)],
            };
            ChunkRecord::decode(&record.encode()).is_ok()
        };
        assert!(decodes(0, 5000) && decodes(1024, 1024) && decodes(3 << 20, 1 << 20));
        assert!(!decodes(80, 1) && !decodes(1024, 1025) && !decodes((1 << 20) + 1024, 5000));
    }
}
