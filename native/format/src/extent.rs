//! Extents: which chunk holds a range of a file. The key gives the file offset.

use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{ChunkPtr, Epoch, SegmentId};
use crate::limits::CHUNK_BYTES_MAX;

/// A range of a file's bytes. Within one volume no two extents share a byte of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The chunk.
    pub chunk: ChunkPtr,
    /// Where in the chunk the range starts.
    pub chunk_offset: u32,
    /// Bytes of the range.
    pub length: u32,
    /// The epoch in which the bytes were written; parts of a split extent keep it.
    pub birth: Epoch,
}

impl Extent {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new()
            .varint(self.chunk.segment.0)
            .varint(u64::from(self.chunk.slot))
            .varint(u64::from(self.chunk_offset))
            .varint(u64::from(self.length))
            .varint(self.birth.0)
            .finish()
    }

    /// Reads what [`Extent::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("extent", bytes);
        let chunk = ChunkPtr {
            segment: SegmentId(decoder.varint()?),
            slot: decoder.varint32("slot")?,
        };
        let chunk_offset = decoder.bounded("chunk offset", CHUNK_BYTES_MAX as u64)? as u32;
        let length = decoder.bounded("length", CHUNK_BYTES_MAX as u64 - u64::from(chunk_offset))?;
        let extent = Self {
            chunk,
            chunk_offset,
            length: length as u32,
            birth: Epoch(decoder.varint()?),
        };
        decoder.end()?;
        Ok(extent)
    }

    /// The extent without its first `bytes`.
    #[must_use]
    pub fn skip(self, bytes: u32) -> Self {
        Self {
            chunk_offset: self.chunk_offset + bytes,
            length: self.length - bytes,
            ..self
        }
    }

    /// The extent's first `bytes`.
    #[must_use]
    pub fn take(self, bytes: u32) -> Self {
        Self {
            length: bytes,
            ..self
        }
    }
}
