//! Where the intent log lives: two files used in turn.

use crate::error::Result;

/// Two areas of bytes, overwritten from the start each time they are used again.
pub trait LogStore: Send + Sync {
    /// Writes `bytes` at `offset` of file `file` (0 or 1). When it returns they survive the death
    /// of the process, not yet that of the machine.
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()>;

    /// Gives the first `length` bytes of the file their place on the disk, if they have none: a
    /// later write there changes nothing but bytes, which makes its sync cheap. Changes no byte that
    /// was written. Only an advance: a disk that is full or cannot do it says nothing.
    fn prepare(&self, file: usize, length: u64) -> Result<()>;

    /// Up to where the file has its place on the disk.
    fn prepared(&self, _file: usize) -> u64 {
        u64::MAX
    }

    /// Makes all earlier writes to the file durable.
    fn sync(&self, file: usize) -> Result<()>;

    /// Fills `into` from `offset`; returns how many bytes there were.
    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize>;
}
