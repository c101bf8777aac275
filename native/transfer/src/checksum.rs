//! Checksums of chunks, as HDFS lays them beside the data: one big-endian word per chunk.

use crc_fast::CrcAlgorithm;

use crate::error::TransferError;

/// How a chunk is summed; the numbers are `ChecksumTypeProto`'s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChecksumKind {
    /// No checksums.
    Null,
    /// CRC-32 (zlib's).
    Crc32,
    /// CRC-32C (Castagnoli).
    Crc32c,
}

impl ChecksumKind {
    /// The kind with this number on the wire.
    pub fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Null),
            1 => Some(Self::Crc32),
            2 => Some(Self::Crc32c),
            _ => None,
        }
    }

    fn algorithm(self) -> Option<CrcAlgorithm> {
        match self {
            Self::Null => None,
            Self::Crc32 => Some(CrcAlgorithm::Crc32IsoHdlc),
            Self::Crc32c => Some(CrcAlgorithm::Crc32Iscsi),
        }
    }
}

/// A kind of checksum and the grain it is taken at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkChecksums {
    kind: ChecksumKind,
    bytes_per_chunk: usize,
}

/// Bytes of a checksum.
const WORD_BYTES: usize = 4;
/// Most bytes of a chunk: what a packet can carry.
const CHUNK_BYTES_MAX: usize = crate::packet::PAYLOAD_BYTES_MAX;

impl ChunkChecksums {
    /// Checksums of `kind`, one for each `bytes_per_chunk` (1 to 16 Mi).
    pub fn new(kind: ChecksumKind, bytes_per_chunk: usize) -> Result<Self, TransferError> {
        if bytes_per_chunk == 0 || bytes_per_chunk > CHUNK_BYTES_MAX {
            return Err(TransferError::Invalid(
                "bytes per checksum are not in 1..=16 Mi",
            ));
        }
        Ok(Self {
            kind,
            bytes_per_chunk,
        })
    }

    /// The grain.
    pub fn bytes_per_chunk(self) -> usize {
        self.bytes_per_chunk
    }

    /// Whether there are any.
    pub(crate) fn are_sent(self) -> bool {
        self.kind != ChecksumKind::Null
    }

    /// Bytes of the checksums of `data_bytes`.
    pub(crate) fn bytes_for(self, data_bytes: usize) -> usize {
        match self.kind {
            ChecksumKind::Null => 0,
            _ => data_bytes.div_ceil(self.bytes_per_chunk) * WORD_BYTES,
        }
    }

    /// Appends the checksums of `data`, whose first byte starts a chunk.
    pub(crate) fn append(self, data: &[u8], into: &mut Vec<u8>) {
        if let Some(algorithm) = self.kind.algorithm() {
            for chunk in data.chunks(self.bytes_per_chunk) {
                let word = crc_fast::checksum(algorithm, chunk) as u32;
                into.extend_from_slice(&word.to_be_bytes());
            }
        }
    }

    /// Whether `words` are the checksums of `data`. Chunks are counted from its first byte: a
    /// client that appends to a partial chunk sends the bytes that fill it in a packet alone.
    pub(crate) fn verify(self, data: &[u8], words: &[u8]) -> bool {
        let Some(algorithm) = self.kind.algorithm() else {
            return words.is_empty();
        };
        words.len() == self.bytes_for(data.len())
            && data
                .chunks(self.bytes_per_chunk)
                .zip(words.chunks_exact(WORD_BYTES))
                .all(|(chunk, word)| {
                    (crc_fast::checksum(algorithm, chunk) as u32).to_be_bytes() == *word
                })
    }
}

/// A running CRC over data of any length.
pub(crate) struct RunningCrc(Option<crc_fast::Digest>);

impl RunningCrc {
    pub(crate) fn new(kind: ChecksumKind) -> Self {
        Self(kind.algorithm().map(crc_fast::Digest::new))
    }

    pub(crate) fn update(&mut self, data: &[u8]) {
        if let Some(digest) = &mut self.0 {
            digest.update(data);
        }
    }

    /// The CRC; 0 for [`ChecksumKind::Null`].
    pub(crate) fn value(&self) -> u32 {
        self.0.as_ref().map_or(0, |digest| digest.finalize() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECK: &[u8] = b"123456789";

    #[test]
    fn the_kinds_are_the_published_crcs() {
        for (kind, word) in [
            (ChecksumKind::Crc32, 0xcbf4_3926_u32),
            (ChecksumKind::Crc32c, 0xe306_9283),
        ] {
            let sums = ChunkChecksums::new(kind, 512).unwrap();
            let mut words = Vec::new();
            sums.append(CHECK, &mut words);
            assert_eq!(words, word.to_be_bytes());
            let mut running = RunningCrc::new(kind);
            running.update(&CHECK[..4]);
            running.update(&CHECK[4..]);
            assert_eq!(running.value(), word);
        }
    }

    #[test]
    fn one_flipped_bit_or_a_missing_word_is_found() {
        let sums = ChunkChecksums::new(ChecksumKind::Crc32c, 4).unwrap();
        let mut words = Vec::new();
        sums.append(CHECK, &mut words);
        assert_eq!(words.len(), 12);
        assert!(sums.verify(CHECK, &words));
        assert!(!sums.verify(CHECK, &words[..8]));
        for byte in 0..CHECK.len() {
            let mut damaged = CHECK.to_vec();
            damaged[byte] ^= 0x10;
            assert!(!sums.verify(&damaged, &words));
        }
    }

    #[test]
    fn null_has_no_words() {
        let sums = ChunkChecksums::new(ChecksumKind::Null, 512).unwrap();
        assert_eq!(sums.bytes_for(5000), 0);
        assert!(sums.verify(CHECK, &[]));
        assert!(!sums.verify(CHECK, &[0]));
        assert!(ChunkChecksums::new(ChecksumKind::Null, 0).is_err());
    }
}
