//! Where the bytes of chunks live.

use crate::error::Result;
use lockstep_format::SegmentId;

/// Append-only files of chunks. The engine decides which bytes go where; a byte range is written
/// once.
pub trait SegmentStore: Send + Sync {
    /// Makes an empty segment whose name survives a power cut.
    fn create(&self, segment: SegmentId) -> Result<()>;

    /// Writes `bytes` at `offset`. When it returns they survive the death of the process, not yet
    /// that of the machine.
    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Fills `into` from `offset`; bytes beyond the end are an error.
    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()>;

    /// Bytes of the file.
    fn length(&self, segment: SegmentId) -> Result<u64>;

    /// Makes all earlier writes to the segment durable.
    fn sync(&self, segment: SegmentId) -> Result<()>;

    /// Gives the space of a range back; its bytes are never asked for again.
    fn punch(&self, segment: SegmentId, offset: u64, length: u64) -> Result<()>;

    /// No byte will be written at or after `length`.
    fn seal(&self, segment: SegmentId, length: u64) -> Result<()>;

    /// Every segment there is.
    fn list(&self) -> Result<Vec<SegmentId>>;

    /// Removes a segment; no error if it is gone already.
    fn remove(&self, segment: SegmentId) -> Result<()>;
}
