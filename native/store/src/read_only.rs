//! Segments that are only looked at.
//!
//! Invariant: nothing below changes. What recovery writes to segments is kept here, in memory, and
//! seen by reads.

use crate::error::{Result, StoreError};
use crate::segment_store::SegmentStore;
use lockstep_format::SegmentId;
use parking_lot::RwLock;
use std::collections::BTreeMap;

/// Another [`SegmentStore`], behind bytes written since it was opened.
pub(crate) struct ReadOnlySegments<S> {
    below: S,
    written: RwLock<BTreeMap<(SegmentId, u64), Vec<u8>>>,
}

impl<S: SegmentStore> ReadOnlySegments<S> {
    /// The segments of `below`.
    pub(crate) fn new(below: S) -> Self {
        Self {
            below,
            written: RwLock::default(),
        }
    }

    /// Lays what was written over `[offset, offset + into.len())`; true if it covers all of it.
    fn overlay(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> bool {
        let end = offset + into.len() as u64;
        let written = self.written.read();
        let mut covered = offset;
        for ((_, at), bytes) in written.range((segment, 0)..(segment, end)) {
            let (from, to) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
            if from >= to {
                continue;
            }
            let source = &bytes[(from - at) as usize..(to - at) as usize];
            into[(from - offset) as usize..(to - offset) as usize].copy_from_slice(source);
            if from <= covered {
                covered = covered.max(to);
            }
        }
        covered >= end
    }
}

fn refused() -> StoreError {
    StoreError::Closed { reason: None }
}

impl<S: SegmentStore> SegmentStore for ReadOnlySegments<S> {
    fn create(&self, _: SegmentId) -> Result<()> {
        Err(refused())
    }

    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        let mut written = self.written.write();
        written.insert((segment, offset), bytes.to_vec());
        Ok(())
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()> {
        let read = self.below.read(segment, offset, into);
        if self.overlay(segment, offset, into) {
            return Ok(());
        }
        read
    }

    fn length(&self, segment: SegmentId) -> Result<u64> {
        self.below.length(segment)
    }

    fn sync(&self, _: SegmentId) -> Result<()> {
        Ok(())
    }

    fn punch(&self, _: SegmentId, _: u64, _: u64) -> Result<()> {
        Err(refused())
    }

    fn seal(&self, _: SegmentId, _: u64) -> Result<()> {
        Err(refused())
    }

    fn list(&self) -> Result<Vec<SegmentId>> {
        self.below.list()
    }

    fn remove(&self, _: SegmentId) -> Result<()> {
        Err(refused())
    }
}
