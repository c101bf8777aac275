//! Which bytes of segments are not durable yet, and how they can become so.
//!
//! A range of a segment becomes durable in one of two ways: by a sync of its segment, or, as long as
//! there are few such bytes, by a copy in the intent log, so that making a small write durable takes
//! one flush of one file that is overwritten in place.
//!
//! Invariants:
//! - Ranges are numbered in the order in which they were written; `durable` never passes one that is
//!   not durable.
//! - A segment leaves `segments` only for a sync of it: a commit syncs what the log only copied.

use lockstep_format::SegmentId;
use rustc_hash::FxHashSet;
use std::collections::VecDeque;

/// More bytes than this are not copied: syncing their segments is cheaper.
pub(crate) const COPIED_BYTES_MAX: usize = 256 << 10;

/// Bytes of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    pub(crate) segment: SegmentId,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// What has to be done before records that speak of the bytes may be made durable.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// A copy of these ranges in the log; everything below number `upto` is durable with it.
    Copy { ranges: Vec<Range>, upto: u64 },
    /// A sync of the segments.
    Sync,
}

/// The bytes written and not yet durable.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    segments: FxHashSet<SegmentId>,
    /// The last ranges written, up to number `next`.
    recent: VecDeque<Range>,
    recent_bytes: usize,
    /// The number of the next range.
    next: u64,
    /// Ranges below this number are durable.
    durable: u64,
}

impl Unsynced {
    /// Notes bytes that are in the kernel.
    pub(crate) fn written(&mut self, range: Range) {
        self.segments.insert(range.segment);
        self.next += 1;
        self.recent_bytes += range.length;
        self.recent.push_back(range);
        if self.recent_bytes > COPIED_BYTES_MAX {
            self.recent.clear();
            self.recent_bytes = 0;
        }
    }

    /// Notes a segment of which nobody knows what is durable.
    pub(crate) fn found(&mut self, segment: SegmentId) {
        self.segments.insert(segment);
        self.next += 1;
        self.recent.clear();
        self.recent_bytes = 0;
    }

    /// What makes all bytes written so far durable. Neighbouring ranges are joined.
    pub(crate) fn need(&self) -> Need {
        if self.durable < self.next - self.recent.len() as u64 {
            return Need::Sync;
        }
        let mut ranges: Vec<Range> = Vec::new();
        for range in &self.recent {
            match ranges.last_mut() {
                Some(last)
                    if last.segment == range.segment
                        && last.offset + last.length as u64 == range.offset =>
                {
                    last.length += range.length;
                }
                _ => ranges.push(*range),
            }
        }
        let upto = self.next;
        Need::Copy { ranges, upto }
    }

    /// The segments to be synced, and the number up to which ranges are durable afterwards.
    pub(crate) fn take_segments(&mut self) -> (FxHashSet<SegmentId>, u64) {
        (std::mem::take(&mut self.segments), self.next)
    }

    /// Ranges below number `upto` are durable.
    pub(crate) fn made_durable(&mut self, upto: u64) {
        self.durable = self.durable.max(upto);
        while self.next - (self.recent.len() as u64) < self.durable {
            let Some(range) = self.recent.pop_front() else {
                return;
            };
            self.recent_bytes -= range.length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(segment: u64, offset: u64, length: usize) -> Range {
        Range {
            segment: SegmentId(segment),
            offset,
            length,
        }
    }

    #[test]
    fn few_bytes_are_copied_and_neighbours_joined() {
        let mut unsynced = Unsynced::default();
        let (ranges, upto) = (Vec::new(), 0);
        assert_eq!(unsynced.need(), Need::Copy { ranges, upto });
        unsynced.written(range(1, 0, 4096));
        unsynced.written(range(1, 4096, 100));
        unsynced.written(range(1, 8192, 1));
        let (ranges, upto) = (vec![range(1, 0, 4196), range(1, 8192, 1)], 3);
        assert_eq!(unsynced.need(), Need::Copy { ranges, upto });
        unsynced.made_durable(2);
        let ranges = vec![range(1, 8192, 1)];
        assert_eq!(unsynced.need(), Need::Copy { ranges, upto });
        unsynced.made_durable(3);
        let ranges = Vec::new();
        assert_eq!(unsynced.need(), Need::Copy { ranges, upto });
        assert_eq!(unsynced.take_segments().0.len(), 1);
    }

    #[test]
    fn many_bytes_need_a_sync_until_there_was_one() {
        let mut unsynced = Unsynced::default();
        unsynced.written(range(1, 0, COPIED_BYTES_MAX));
        assert_ne!(unsynced.need(), Need::Sync);
        unsynced.written(range(2, 0, 1));
        unsynced.written(range(2, 8, 1));
        assert_eq!(unsynced.need(), Need::Sync);
        let (segments, upto) = unsynced.take_segments();
        assert_eq!((segments.len(), upto), (2, 3));
        unsynced.written(range(3, 0, 1));
        // The sync is not done yet.
        assert_eq!(unsynced.need(), Need::Sync);
        unsynced.made_durable(upto);
        let (ranges, upto) = (vec![range(3, 0, 1)], 4);
        assert_eq!(unsynced.need(), Need::Copy { ranges, upto });
    }
}
