//! Giving space back: what no snapshot sees any more, in small transactions outside the commit path.
//!
//! A range that died while the newest snapshot was `bucket` and that was born at `birth` is seen by
//! the snapshots with `birth <= epoch <= bucket`, and by no other. So, per bucket, everything born
//! after the newest kept epoch that is not above the bucket is free. Deleting a snapshot only removes
//! its epoch; the ranges it alone kept are found by walking the buckets from it to the next one.
//!
//! Invariants:
//! - Freeing a range and forgetting it are one log record, so it is freed once, kill or no kill.
//! - A deleted volume's pages and ranges are first all noted as dead (noting twice is harmless),
//!   then its tree is emptied, then they are reclaimed like others. Its record stays while a clone
//!   of one of its snapshots lives: through it, what the volume itself inherited stays held.

use crate::error::Result;
use crate::state::{State, Tree};
use crate::store::Store;
use crate::tree::{self, EMPTY};
use crate::txn::{self, Locked, WriteTxn};
use lockstep_format::key::{self, catalog};
use lockstep_format::{DeadRange, Encoder, Epoch, Extent, Page, TreeId, ViewId};
use rustc_hash::FxHashSet;
use std::ops::ControlFlow;

/// Ranges freed by one transaction.
const RANGES_PER_STEP: usize = 256;
/// Transactions before a commit gets its turn.
const STEPS_PER_TURN: usize = 64;

/// The bucket of what a deleted volume used: all snapshots of it that clones still hold see it, and
/// there will be no others.
const GRAVE: Epoch = Epoch(u64::MAX - 1);

/// A dead range: its key in the dead tree, and what it is.
type Dead = (Vec<u8>, DeadRange);

impl Store {
    /// Frees a bounded amount. True if there may be more to do.
    pub(crate) fn reclaim_some(&self) -> Result<bool> {
        let mut refused = FxHashSet::default();
        for _ in 0..STEPS_PER_TURN {
            let waiting = self.reclaim.lock().difference(&refused).next().copied();
            let Some(volume) = waiting else {
                return Ok(false);
            };
            match self.reclaim_volume(volume) {
                // Noting what a deleted volume used takes space itself; others may give some.
                Err(error) if error.is_no_space() => {
                    self.reclaim.lock().insert(volume);
                    refused.insert(volume);
                }
                other => other?,
            }
        }
        Ok(true)
    }

    fn reclaim_volume(&self, volume: ViewId) -> Result<()> {
        self.bury_volume(volume)?;
        let batch = self.freeable(volume)?;
        if !batch.is_empty() {
            return self.write(|txn| txn.free_ranges(&batch));
        }
        self.reclaim.lock().remove(&volume);
        self.forget_volume(volume)
    }

    /// The next dead ranges of a volume that nothing sees.
    fn freeable(&self, volume: ViewId) -> Result<Vec<Dead>> {
        let state = self.state.read();
        let kept = self.kept_epochs(&state, volume)?;
        let end = key::dead_bucket(ViewId(volume.0 + 1), Epoch(0));
        let mut from = key::dead_bucket(volume, Epoch(0));
        let mut batch = Vec::new();
        let limit = self.space.step(RANGES_PER_STEP);
        while batch.len() < limit {
            let Some(bucket) = self.first_bucket(&state, &from, &end)? else {
                break;
            };
            let seen = kept.partition_point(|epoch| *epoch <= bucket);
            let newest = seen.checked_sub(1).map_or(Epoch(0), |index| kept[index]);
            let first = key::dead_birth(volume, bucket, Epoch(newest.0 + 1));
            from = key::dead_bucket(volume, Epoch(bucket.0 + 1));
            let reader = Locked {
                state: &state,
                store: self,
            };
            let mut failure = None;
            txn::tree_scan(&reader, TreeId::DEAD, &first, &from, &mut |key, value| {
                match DeadRange::decode(key, value) {
                    Ok((_, _, _, range)) => batch.push((key.to_vec(), range)),
                    Err(error) => failure = Some(error),
                }
                let full = batch.len() >= limit || failure.is_some();
                if full {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })?;
            if let Some(error) = failure {
                return Err(error.into());
            }
        }
        Ok(batch)
    }

    /// The bucket of the first dead range in `[from, end)`.
    fn first_bucket(&self, state: &State, from: &[u8], end: &[u8]) -> Result<Option<Epoch>> {
        let mut found = None;
        let reader = Locked { state, store: self };
        txn::tree_scan(&reader, TreeId::DEAD, from, end, &mut |key, _| {
            found = key
                .get(4..12)
                .and_then(|b| b.try_into().ok())
                .map(u64::from_be_bytes);
            ControlFlow::Break(())
        })?;
        Ok(found.map(Epoch))
    }

    /// Notes everything that a volume that is being deleted uses as dead, and empties its tree.
    fn bury_volume(&self, volume: ViewId) -> Result<()> {
        let (root, inherited) = {
            let state = self.state.read();
            match state.trees.get(&TreeId::volume(volume)) {
                Some(tree) if tree.deleting && tree.root != EMPTY => (tree.root, tree.inherited()),
                _ => return Ok(()),
            }
        };
        // Nobody changes the tree any more, but its last pages may still be of the open epoch.
        self.state.write().freeze(&self.pages);
        let mut notes = Vec::new();
        tree::pages_born_after(&*self.pages, root, inherited, &mut |page| {
            note_page(volume, inherited, page, &mut notes)?;
            if notes.len() >= self.space.step(RANGES_PER_STEP) {
                self.note(&mut notes)?;
            }
            Ok(())
        })?;
        self.note(&mut notes)?;
        self.write(|txn| txn.mark_buried(volume))
    }

    /// Removes the record of a buried volume of which no clone of a snapshot is left.
    fn forget_volume(&self, volume: ViewId) -> Result<()> {
        {
            let state = self.state.read();
            let gone = state
                .trees
                .get(&TreeId::volume(volume))
                .is_some_and(|tree| tree.deleting);
            if !gone || !self.kept_epochs(&state, volume)?.is_empty() {
                return Ok(());
            }
        }
        let origin = self.write(|txn| txn.forget_volume(volume))?;
        self.reclaim.lock().extend(origin);
        Ok(())
    }

    fn note(&self, notes: &mut Vec<(Vec<u8>, Vec<u8>)>) -> Result<()> {
        self.write(|txn| {
            notes
                .drain(..)
                .try_for_each(|(key, value)| txn.put_key(TreeId::DEAD, &key, &value))
        })
    }

    /// Takes up dead ranges of volumes that no longer exist.
    pub(crate) fn reclaim_unowned(&self) -> Result<()> {
        let state = self.state.read();
        let mut from = Vec::new();
        loop {
            let mut found = None;
            let reader = Locked {
                state: &state,
                store: self,
            };
            txn::tree_scan(&reader, TreeId::DEAD, &from, &[0xff; 5], &mut |key, _| {
                found = key
                    .first_chunk::<4>()
                    .map(|volume| u32::from_be_bytes(*volume));
                ControlFlow::Break(())
            })?;
            let Some(volume) = found else { return Ok(()) };
            self.reclaim.lock().insert(ViewId(volume));
            from = key::dead_bucket(ViewId(volume + 1), Epoch(0));
        }
    }
}

/// What a page of a deleted volume leaves: itself, and the ranges its extents use.
fn note_page(
    volume: ViewId,
    inherited: Epoch,
    page: &Page,
    notes: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<()> {
    notes.push((
        key::dead_page(volume, GRAVE, page.birth, page.id),
        Vec::new(),
    ));
    if !page.is_leaf() {
        return Ok(());
    }
    for index in 0..page.len() {
        if !matches!(key::split(page.key(index)), Some((_, key::kind::EXTENT, _))) {
            continue;
        }
        let extent = Extent::decode(page.value(index))?;
        if extent.birth > inherited {
            let offset = extent.chunk_offset;
            let key = key::dead_chunk(volume, GRAVE, extent.birth, extent.chunk, offset);
            notes.push((
                key,
                Encoder::new().varint(u64::from(extent.length)).finish(),
            ));
        }
    }
    Ok(())
}

impl WriteTxn<'_> {
    fn free_ranges(&mut self, batch: &[Dead]) -> Result<()> {
        for (key, range) in batch {
            // A page is freed by the removal of its key.
            if self.delete_key(TreeId::DEAD, key)?
                && let DeadRange::Chunk {
                    pointer, length, ..
                } = range
            {
                self.free_chunk(*pointer, *length)?;
            }
        }
        Ok(())
    }

    fn mark_buried(&mut self, volume: ViewId) -> Result<()> {
        let Some(mut record) = txn::volume_record(self, volume)? else {
            return Ok(());
        };
        record.buried = true;
        self.put_key(TreeId::CATALOG, &catalog::volume(volume), &record.encode())
    }

    /// Removes a buried volume's record. Returns the volume of its origin, if it was the last clone
    /// of a snapshot without a name.
    fn forget_volume(&mut self, volume: ViewId) -> Result<Option<ViewId>> {
        let origin = self
            .state
            .trees
            .get(&TreeId::volume(volume))
            .and_then(|tree| tree.origin);
        self.delete_key(TreeId::CATALOG, &catalog::volume(volume))?;
        let Some(origin) = origin else {
            return Ok(None);
        };
        let cloned = |tree: &Tree| tree.origin.is_some_and(|o| o.snapshot == origin.snapshot);
        let named = txn::snapshot_record(self, origin.snapshot)?.is_some();
        if named || self.state.trees.values().any(cloned) {
            return Ok(None);
        }
        self.delete_key(
            TreeId::CATALOG,
            &catalog::epoch(origin.volume, origin.epoch),
        )?;
        Ok(Some(origin.volume))
    }
}
