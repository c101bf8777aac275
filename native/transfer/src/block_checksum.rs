//! The checksum of a whole block, as clients combine them to file checksums.

use lockstep_vfs::{NodeId, OpenFlags};
use md5::{Digest, Md5};

use crate::checksum::{ChecksumKind, ChunkChecksums, RunningCrc};
use crate::error::TransferError;
use crate::file::{Files, OpenFile};

const READ_BYTES: usize = 1 << 20;

/// Checksums of a range of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockChecksum {
    /// MD5 over the big-endian checksum words of the chunks (`MD5CRC`).
    pub md5: [u8; 16],
    /// The CRC of the bytes as one piece (`COMPOSITE_CRC`).
    pub composite_crc: u32,
    /// Chunks.
    pub crc_count: u64,
}

/// Checksums `length` bytes of `node` from `offset`. Reads them all; about as fast as reading.
///
/// # Errors
/// [`TransferError::Truncated`] if the file ends before the range does.
pub fn block_checksum(
    files: &dyn Files,
    node: NodeId,
    offset: u64,
    length: u64,
    kind: ChecksumKind,
    bytes_per_chunk: usize,
) -> Result<BlockChecksum, TransferError> {
    let checksums = ChunkChecksums::new(kind, bytes_per_chunk)?;
    if offset.checked_add(length).is_none() {
        return Err(TransferError::Invalid("the range ends past 2^64"));
    }
    let file = OpenFile::open(
        files,
        node,
        OpenFlags {
            read: true,
            ..OpenFlags::default()
        },
    )?;
    // Whole chunks at a time, so that a chunk never straddles two reads.
    let step = (READ_BYTES / bytes_per_chunk).max(1) * bytes_per_chunk;
    let mut buffer = vec![0; usize::try_from(length).map_or(step, |length| length.min(step))];
    let mut words = Vec::new();
    let (mut md5, mut crc, mut crc_count) = (Md5::new(), RunningCrc::new(kind), 0);
    let mut done = 0;
    while done < length {
        let count = usize::try_from(length - done).map_or(step, |left| left.min(step));
        let data = &mut buffer[..count];
        file.read_exact(offset + done, data)?;
        words.clear();
        checksums.append(data, &mut words);
        md5.update(&words);
        crc.update(data);
        crc_count += count.div_ceil(bytes_per_chunk) as u64;
        done += count as u64;
    }
    Ok(BlockChecksum {
        md5: md5.finalize().into(),
        composite_crc: crc.value(),
        crc_count,
    })
}
