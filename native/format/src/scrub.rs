//! The record of the last scrub, in a file of its own: where to go on, and what was found.
//!
//! On disk: `magic raw(8) | version u8 | fields | crc32c u32`. Nothing depends on it: one that is
//! missing or damaged is as good as none.

use crate::catalog::{put_time, take_time};
use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::SegmentId;
use crate::inode::Timestamp;

const WHAT: &str = "scrub record";
const MAGIC: &[u8; 8] = b"LSSCRUB\0";
const VERSION: u8 = 1;
/// Longest line that tells a problem.
pub const PROBLEM_BYTES_MAX: usize = 1024;
/// Most lines.
pub const PROBLEM_LINES_MAX: usize = 1000;
/// Longest record.
pub const SCRUB_BYTES_MAX: usize = PROBLEM_LINES_MAX * (PROBLEM_BYTES_MAX + 2) + 256;

/// What a scrub did so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScrubRecord {
    /// It came to its end.
    pub is_complete: bool,
    /// When it began.
    pub started: Timestamp,
    /// When this was written.
    pub updated: Timestamp,
    /// The first segment that it did not finish.
    pub next_segment: SegmentId,
    /// Bytes of chunks it read.
    pub done_bytes: u64,
    /// Bytes of chunks to read, as of its beginning.
    pub total_bytes: u64,
    /// Pages it read.
    pub pages: u64,
    /// Chunks it read.
    pub chunks: u64,
    /// Footers it read.
    pub footers: u64,
    /// Problems it found.
    pub problem_count: u64,
    /// The first of them, for people.
    pub problems: Vec<String>,
}

impl ScrubRecord {
    /// The file's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .raw(MAGIC)
            .u8(VERSION)
            .u8(u8::from(self.is_complete));
        put_time(&mut encoder, self.started);
        put_time(&mut encoder, self.updated);
        encoder
            .varint(self.next_segment.0)
            .varint(self.done_bytes)
            .varint(self.total_bytes)
            .varint(self.pages)
            .varint(self.chunks)
            .varint(self.footers)
            .varint(self.problem_count);
        let lines = &self.problems[..self.problems.len().min(PROBLEM_LINES_MAX)];
        encoder.varint(lines.len() as u64);
        for line in lines {
            let most = line.len().min(PROBLEM_BYTES_MAX);
            let end = (0..=most)
                .rfind(|end| line.is_char_boundary(*end))
                .unwrap_or(0);
            encoder.blob(&line.as_bytes()[..end]);
        }
        encoder.finish_with_checksum()
    }

    /// Reads what [`ScrubRecord::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new(WHAT, bytes);
        if decoder.raw(8)? != MAGIC || decoder.u8()? != VERSION {
            return Err(decoder.invalid("magic"));
        }
        let mut record = Self {
            is_complete: decoder.bounded("state", 1)? == 1,
            started: take_time(&mut decoder)?,
            updated: take_time(&mut decoder)?,
            next_segment: SegmentId(decoder.varint()?),
            done_bytes: decoder.varint()?,
            total_bytes: decoder.varint()?,
            pages: decoder.varint()?,
            chunks: decoder.varint()?,
            footers: decoder.varint()?,
            problem_count: decoder.varint()?,
            problems: Vec::new(),
        };
        let count = decoder.bounded("lines", PROBLEM_LINES_MAX as u64)?;
        for _ in 0..count {
            let line = decoder.blob("line", PROBLEM_BYTES_MAX)?;
            record
                .problems
                .push(String::from_utf8_lossy(line).into_owned());
        }
        decoder.end_with_checksum(bytes)?;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_round_trips_and_a_flipped_bit_is_found() {
        let record = ScrubRecord {
            next_segment: SegmentId(7),
            done_bytes: 1 << 40,
            problems: vec!["one".into(), "ü".repeat(PROBLEM_BYTES_MAX)],
            ..ScrubRecord::default()
        };
        let bytes = record.encode();
        let read = ScrubRecord::decode(&bytes).unwrap();
        assert_eq!(read.problems[1], "ü".repeat(PROBLEM_BYTES_MAX / 2));
        assert_eq!(read.next_segment, record.next_segment);
        for bit in 0..bytes.len().min(200) * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(ScrubRecord::decode(&damaged).is_err());
        }
    }
}
