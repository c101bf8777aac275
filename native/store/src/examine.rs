//! Reading what is on disk of a segment, to see whether it is what was written.

use crate::error::{Result, StoreError};
use crate::segments::{Segments, chunk_hash};
use lockstep_format::footer::TRAILER_BYTES;
use lockstep_format::limits::GRAIN_BYTES;
use lockstep_format::{ChunkPtr, ChunkRecord, Footer, SegmentId, crc32c};

impl Segments {
    /// The ranges of the segment in which a chunk's bytes cannot be read or are not what its record
    /// says: whole grains, or all of the chunk if every grain is right and its hash is not.
    pub(crate) fn examine(
        &self,
        pointer: ChunkPtr,
        record: &ChunkRecord,
        buffer: &mut Vec<u8>,
    ) -> Result<Vec<(u64, u64)>> {
        buffer.resize(record.length as usize, 0);
        let whole = self.read_damaged(pointer.segment, record.offset, buffer)?;
        let mut bad: Vec<(u64, u64)> = Vec::new();
        for (index, grain) in buffer.chunks_mut(GRAIN_BYTES).enumerate() {
            let offset = record.offset + (index * GRAIN_BYTES) as u64;
            let read = whole || self.read_damaged(pointer.segment, offset, grain)?;
            if read && record.grains.get(index) == Some(&crc32c(grain)) {
                continue;
            }
            match bad.last_mut() {
                Some((from, length)) if *from + *length == offset => *length += grain.len() as u64,
                _ => bad.push((offset, grain.len() as u64)),
            }
        }
        if bad.is_empty() && chunk_hash(record.hash_offset, buffer) != record.hash {
            bad.push((record.offset, u64::from(record.length)));
        }
        Ok(bad)
    }

    /// Reads; false if the disk cannot give these bytes.
    fn read_damaged(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<bool> {
        match self.store().read(segment, offset, into) {
            Ok(()) => Ok(true),
            Err(StoreError::Io { source, .. }) if is_damage(&source) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The footer of a sealed segment whose chunks end at `tail`.
    pub(crate) fn footer(&self, segment: SegmentId, tail: u64) -> Result<Footer> {
        let length = self.store().length(segment)?;
        let mut trailer = [0; TRAILER_BYTES];
        let at = length.saturating_sub(TRAILER_BYTES as u64);
        self.store().read(segment, at, &mut trailer)?;
        let size = Footer::size(&trailer)?;
        if tail.checked_add(size as u64) != Some(length) {
            let what = format!("{size} bytes of footer behind {tail} in a file of {length}");
            return Err(StoreError::Corrupt { what });
        }
        let mut bytes = vec![0; size];
        self.store().read(segment, tail, &mut bytes)?;
        Ok(Footer::decode(&bytes)?)
    }
}

/// Whether the system's answer means that the bytes are gone.
fn is_damage(error: &std::io::Error) -> bool {
    let gone = matches!(
        error.kind(),
        std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::NotFound
    );
    gone || error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error())
}
