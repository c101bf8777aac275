//! Giving the space of freed chunks back, outside commits.
//!
//! A hole costs the disk about a millisecond where it tells the device (`discard`), however small it
//! is. So ranges wait here and are joined with those that touch them: large ones are punched soon,
//! small ones a few at a time, and all of them while the store rests.
//!
//! Invariants:
//! - A range comes here when no published root and no reader can ask for it any more.
//! - What waits here is not written down: after a kill its space comes back with the whole segment.

use crate::error::Result;
use crate::store::Store;
use lockstep_format::SegmentId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Holes are made of whole pages.
const ALIGN: u64 = 4096;
/// A range this large is worth its hole at once.
const LARGE_BYTES: u64 = 256 << 10;
/// Holes made in one turn: while the store rests, and while it is busy.
const TURN_RESTING: usize = 64;
const TURN_BUSY: usize = 8;
/// More ranges are not remembered.
const RANGES_MAX: usize = 1 << 18;
/// How long closing the store takes care of holes.
const CLOSING: Duration = Duration::from_secs(1);

/// Ranges of segments that nobody needs.
#[derive(Default)]
pub(crate) struct Holes {
    /// Ends by segment and start; no two touch.
    ranges: Mutex<BTreeMap<(SegmentId, u64), u64>>,
}

impl Holes {
    /// Takes a range up, joining it with its neighbours.
    pub(crate) fn add(&self, segment: SegmentId, range: Range<u64>) {
        let mut ranges = self.ranges.lock();
        let Range { mut start, mut end } = range;
        let before = ranges.range(..=(segment, start)).next_back();
        if let Some((&(found, from), &to)) = before
            && found == segment
            && to >= start
        {
            start = from;
            end = end.max(to);
        }
        while let Some((&key, &to)) = ranges.range((segment, start)..=(segment, end)).next() {
            end = end.max(to);
            ranges.remove(&key);
        }
        if ranges.len() < RANGES_MAX || end - start >= LARGE_BYTES {
            ranges.insert((segment, start), end);
        }
    }

    /// The segment is gone, and its ranges with it.
    pub(crate) fn forget(&self, segment: SegmentId) {
        let mut ranges = self.ranges.lock();
        let mut behind = ranges.split_off(&(segment, 0));
        ranges.append(&mut behind.split_off(&(SegmentId(segment.0 + 1), 0)));
    }

    /// Takes up to `count` ranges of at least `bytes` away.
    fn take(&self, bytes: u64, count: usize) -> Vec<(SegmentId, Range<u64>)> {
        let mut taken = Vec::new();
        self.ranges.lock().retain(|&(segment, start), &mut end| {
            let keep = taken.len() == count || end - start < bytes;
            if !keep {
                taken.push((segment, start..end));
            }
            keep
        });
        taken
    }
}

impl Store {
    /// Makes some of the holes that wait. True if there are more that should not wait.
    pub(crate) fn punch_some(&self, resting: bool) -> Result<bool> {
        let turn = if resting { TURN_RESTING } else { TURN_BUSY };
        let mut taken = self.holes.take(LARGE_BYTES, TURN_RESTING);
        let more = taken.len() == TURN_RESTING;
        taken.extend(self.holes.take(0, turn.saturating_sub(taken.len())));
        let more = more || resting && taken.len() >= turn;
        for (segment, range) in taken {
            self.punch(segment, range)?;
        }
        Ok(more)
    }

    /// Makes the holes that still wait when the store is closed, for a bounded time.
    pub(crate) fn punch_rest(&self) -> Result<()> {
        let start = Instant::now();
        while start.elapsed() < CLOSING && self.punch_some(true)? {}
        Ok(())
    }

    /// Gives back the whole pages of a range of a segment: another chunk may begin in the last
    /// one, and one that is smaller in any.
    pub(crate) fn punch(&self, segment: SegmentId, range: Range<u64>) -> Result<()> {
        let start = range.start.next_multiple_of(ALIGN);
        let end = range.end / ALIGN * ALIGN;
        if start >= end || !self.state.read().segments.contains_key(&segment) {
            return Ok(());
        }
        match self.segments.store().punch(segment, start, end - start) {
            // Splitting an extent may need a block: the space comes back with the whole segment.
            Err(error) if error.is_no_space() => Ok(()),
            other => other.inspect_err(|error| self.fail(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_become_one() {
        let holes = Holes::default();
        let (one, two) = (SegmentId(1), SegmentId(2));
        for range in [0..10, 20..30, 40..50, 10..20, 60..70, 45..55] {
            holes.add(one, range);
        }
        holes.add(two, 30..40);
        holes.add(two, 0..5);
        let all = holes.take(0, 10);
        let expected = [(one, 0..30), (one, 40..55), (one, 60..70)];
        assert_eq!(all[..3], expected);
        assert_eq!(all[3..], [(two, 0..5), (two, 30..40)]);
        for (segment, range) in all {
            holes.add(segment, range);
        }
        assert_eq!(holes.take(12, 10), [(one, 0..30), (one, 40..55)]);
        holes.add(SegmentId(3), 1..2);
        holes.forget(two);
        assert_eq!(holes.take(0, 1), [(one, 60..70)]);
        assert_eq!(holes.take(0, 9), [(SegmentId(3), 1..2)]);
    }
}
