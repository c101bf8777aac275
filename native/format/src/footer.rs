//! The footer of a sealed segment: its chunks' records, so that the chunk tree can be rebuilt.
//!
//! On disk, behind the segment's last chunk and at the end of its file: `count varint | count x (slot
//! varint, record blob) | length u32 | crc32c u32 | magic`. Length and checksum are those of what
//! stands before `length`; the last [`TRAILER_BYTES`] therefore say where the footer begins.
//!
//! Invariant: slots are strictly ascending.

use crate::chunk::ChunkRecord;
use crate::codec::{Decoder, Encoder, FormatError};
use crate::limits::{CHUNK_RECORD_BYTES_MAX, FOOTER_BYTES_MAX};

const WHAT: &str = "segment footer";
const MAGIC: &[u8; 8] = b"LSFOOTER";
/// Bytes at the end of a segment that say how long its footer is.
pub const TRAILER_BYTES: usize = 16;

/// The chunks of a sealed segment, by slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Footer {
    /// Slots, ascending, and records.
    pub chunks: Vec<(u32, ChunkRecord)>,
}

impl Footer {
    /// The footer's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.varint(self.chunks.len() as u64);
        for (slot, record) in &self.chunks {
            encoder.varint(u64::from(*slot)).blob(&record.encode());
        }
        let mut bytes = encoder.finish();
        let (length, crc) = (bytes.len() as u32, crate::crc32c(&bytes));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes.extend_from_slice(MAGIC);
        bytes
    }

    /// The size of a whole footer whose last bytes are `trailer`: where to begin reading.
    pub fn size(trailer: &[u8; TRAILER_BYTES]) -> Result<usize, FormatError> {
        let mut decoder = Decoder::new(WHAT, trailer);
        let (length, _crc) = (decoder.u32()? as usize, decoder.u32()?);
        if decoder.rest() != MAGIC {
            return Err(decoder.invalid("magic"));
        }
        if length > FOOTER_BYTES_MAX {
            return Err(decoder.invalid("length"));
        }
        Ok(length + TRAILER_BYTES)
    }

    /// Reads what [`Footer::encode`] wrote: length, checksum and order are checked.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let truncated = FormatError::Truncated { what: WHAT };
        let Some((body, trailer)) = bytes.split_last_chunk::<TRAILER_BYTES>() else {
            return Err(truncated);
        };
        let mut decoder = Decoder::new(WHAT, body);
        if Self::size(trailer)? != bytes.len() {
            return Err(decoder.invalid("length"));
        }
        let stored = Decoder::new(WHAT, &trailer[4..]).u32()?;
        let computed = crate::crc32c(body);
        if stored != computed {
            return Err(FormatError::Checksum {
                what: WHAT,
                stored,
                computed,
            });
        }
        let count = decoder.varint()?;
        let mut chunks: Vec<(u32, ChunkRecord)> = Vec::new();
        for _ in 0..count {
            let slot = decoder.varint32("slot")?;
            if chunks.last().is_some_and(|(last, _)| *last >= slot) {
                return Err(decoder.invalid("order"));
            }
            let record = decoder.blob("record", CHUNK_RECORD_BYTES_MAX)?;
            chunks.push((slot, ChunkRecord::decode(record)?));
        }
        decoder.end()?;
        Ok(Self { chunks })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{CHUNK_BYTES_MAX, GRAIN_BYTES};
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = ChunkRecord> {
        let numbers = (0..=i64::MAX as u64, 1..=CHUNK_BYTES_MAX as u32);
        let hash = (
            (0..1_u64 << 40).prop_map(|piece| piece << 20),
            any::<[u8; 32]>(),
        );
        (numbers, hash, any::<prop::sample::Index>(), any::<u32>()).prop_map(
            |((offset, length), (hash_offset, hash), live, crc)| ChunkRecord {
                offset,
                length,
                live: live.index(length as usize + 1) as u32,
                hash_offset,
                hash,
                grains: vec![crc; (length as usize).div_ceil(GRAIN_BYTES)],
            },
        )
    }

    fn any_footer() -> impl Strategy<Value = Footer> {
        prop::collection::btree_map(any::<u32>(), any_record(), 0..20).prop_map(|chunks| Footer {
            chunks: chunks.into_iter().collect(),
        })
    }

    proptest! {
        #[test]
        fn a_footer_round_trips_and_its_end_tells_its_size(footer in any_footer()) {
            let bytes = footer.encode();
            prop_assert_eq!(Footer::size(bytes.last_chunk().unwrap()).unwrap(), bytes.len());
            prop_assert_eq!(Footer::decode(&bytes).unwrap(), footer);
        }

        #[test]
        fn a_flipped_bit_is_found(footer in any_footer(), bit: prop::sample::Index) {
            let mut bytes = footer.encode();
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(Footer::decode(&bytes).is_err());
        }
    }

    #[test]
    fn a_footer_whose_slots_do_not_rise_is_refused() {
        let record = ChunkRecord {
            offset: 0,
            length: 1,
            live: 1,
            hash_offset: 0,
            hash: [0; 32],
            grains: vec![0],
        };
        let chunks = vec![(5, record.clone()), (5, record)];
        assert!(Footer::decode(&Footer { chunks }.encode()).is_err());
    }
}
