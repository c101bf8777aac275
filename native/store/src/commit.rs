//! The commit protocol: data before metadata, one commit record for everything.
//!
//! Invariants:
//! - Commits are one at a time, and each publishes all epochs that ended since the one before.
//! - Every chunk reachable from a published root was durable before the root was.
//! - Bytes of freed chunks are given back only after the commit that no longer reaches them, and
//!   only when no reader that started before it is left.

use crate::error::Result;
use crate::segments::SEGMENT_BYTES;
use crate::state::{FreedChunk, State};
use crate::store::Store;
use crate::tree;
use crate::txn::{self, Reader};
use lockstep_format::key::{self, catalog};
use lockstep_format::{ChunkRecord, Epoch, Footer, Meta, PageId, SegmentId, SegmentRecord, TreeId};
use std::ops::ControlFlow;
use std::sync::Arc;

/// What a commit is about to publish.
struct Frozen {
    meta: Meta,
    ended: Epoch,
    deletes: Vec<PageId>,
    freed: Vec<FreedChunk>,
    empty_segments: Vec<SegmentId>,
}

/// What may be given back once nobody reads it.
pub(crate) struct Grace {
    readers: Arc<()>,
    freed: Vec<FreedChunk>,
    empty_segments: Vec<SegmentId>,
}

/// A segment that gets no more chunks, with the footer that lists those it has.
pub(crate) struct Sealed {
    segment: SegmentId,
    /// Ranges that belong to no chunk: freed, or staged and then not used.
    gaps: Vec<FreedChunk>,
    pub(crate) footer_at: u64,
    footer: Vec<u8>,
}

impl Store {
    /// Publishes everything acknowledged so far, if there is anything.
    ///
    /// # Errors
    /// Any error but a full disk closes the store: nobody knows what the disk holds.
    pub(crate) fn commit(&self) -> Result<()> {
        let _one = self.committing.lock();
        let result = self.commit_alone().and_then(|()| self.measure_space());
        match &result {
            Err(error) if !error.is_no_space() => self.fail(error),
            other => self.space.committed(other.is_ok()),
        }
        self.committed.notify_all();
        result
    }

    fn commit_alone(&self) -> Result<()> {
        let sealed = self.seal_full_segments()?;
        let frozen = {
            let mut state = self.state.write();
            if !state.dirty && sealed.is_empty() {
                drop(state);
                self.give_back()?;
                return Ok(());
            }
            for seal in &sealed {
                // Not sooner: the published tree may still reach what this one does not.
                state.freed.extend(&seal.gaps);
                let account = state.segments.entry(seal.segment).or_default();
                account.sealed = true;
                state.dirty_segments.insert(seal.segment);
            }
            self.freeze_all(&mut state)?
        };
        let published = self.publish(&frozen);
        if published.is_err() {
            // The next commit publishes the same and more.
            let mut state = self.state.write();
            state.page_deletes.extend(&frozen.deletes);
            state.freed.extend(&frozen.freed);
            state.empty_segments.extend(&frozen.empty_segments);
            state.dirty = true;
            return published;
        }
        let readers = std::mem::take(&mut *self.readers.lock());
        let (freed, empty_segments) = (frozen.freed, frozen.empty_segments);
        self.grace.lock().push(Grace {
            readers,
            freed,
            empty_segments,
        });
        self.give_back()
    }

    /// Writes the footers of segments to which nothing can be added any more. One for which there
    /// is no space waits: no commit, and so no deleting, depends on it.
    fn seal_full_segments(&self) -> Result<Vec<Sealed>> {
        let mut list = Vec::new();
        for segment in self.segments.take_sealable() {
            let sealed = match self.read_state(|reader| footer(reader, segment)) {
                Err(error) if error.is_damage() => {
                    // Without its chunks' records a segment stays as it is.
                    self.segments.retire(segment);
                    continue;
                }
                other => other?,
            };
            match self.write_footer(&sealed) {
                Ok(()) => list.push(sealed),
                Err(error) if error.is_no_space() => self.segments.retire(segment),
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    pub(crate) fn write_footer(&self, sealed: &Sealed) -> Result<()> {
        let (store, segment) = (self.segments.store(), sealed.segment);
        store.write(segment, sealed.footer_at, &sealed.footer)?;
        store.seal(segment, sealed.footer_at + sealed.footer.len() as u64)?;
        // What a failed sync lost is lost, whatever the reason.
        store.sync(segment).inspect_err(|error| self.fail(error))
    }

    /// Brings the catalog up to date and ends the epoch.
    fn freeze_all(&self, state: &mut State) -> Result<Frozen> {
        let empty_segments = self.drop_empty_segments(state)?;
        let dirty: Vec<SegmentId> = state.dirty_segments.drain().collect();
        for segment in dirty {
            if let Some(account) = state.segments.get(&segment).copied() {
                let key = catalog::segment(segment);
                state.put(&self.pages, TreeId::CATALOG, &key, &account.encode())?;
            }
        }
        self.record_volumes(state)?;
        let ended = state.freeze(&self.pages);
        let mut deletes = std::mem::take(&mut state.page_deletes);
        deletes.retain(|page| !self.pages.discard_unwritten(*page));
        let meta = Meta {
            epoch: ended,
            catalog: state.root(TreeId::CATALOG),
            chunks: state.root(TreeId::CHUNKS),
            dead: state.root(TreeId::DEAD),
            next_page: state.next_page,
            next_inode: state.next_inode,
            next_view: state.next_view,
            next_segment: self.segments.next_segment(),
            dead_bytes: state.dead_bytes,
            log_sequence: state.log_sequence,
        };
        // If the commit before failed, the other file still holds records that are needed.
        if self
            .log_is_single
            .swap(false, std::sync::atomic::Ordering::AcqRel)
        {
            self.log.switch();
        }
        state.dirty = false;
        let freed = std::mem::take(&mut state.freed);
        Ok(Frozen {
            meta,
            ended,
            deletes,
            freed,
            empty_segments,
        })
    }

    fn drop_empty_segments(&self, state: &mut State) -> Result<Vec<SegmentId>> {
        let empty = |(id, account): (&SegmentId, &SegmentRecord)| {
            (account.live == 0 && account.sealed && !self.segments.is_open(*id)).then_some(*id)
        };
        let dirty = state.dirty_segments.iter();
        let dirty = dirty.filter_map(|id| state.segments.get_key_value(id));
        let mut list: Vec<SegmentId> = dirty.filter_map(empty).collect();
        for segment in &list {
            state.segments.remove(segment);
            state.dirty_segments.remove(segment);
            state.delete(&self.pages, TreeId::CATALOG, &catalog::segment(*segment))?;
        }
        list.append(&mut state.empty_segments);
        Ok(list)
    }

    /// Writes the roots and figures of changed volumes into their records.
    fn record_volumes(&self, state: &mut State) -> Result<()> {
        let volumes = state
            .trees
            .iter()
            .filter(|(id, tree)| tree.dirty && id.as_volume().is_some());
        let volumes: Vec<TreeId> = volumes.map(|(id, _)| *id).collect();
        for id in volumes {
            let Some(view) = id.as_volume() else { continue };
            let key = catalog::volume(view);
            let source = crate::state::Reading {
                state,
                pages: &self.pages,
            };
            let value = tree::get(&source, state.root(TreeId::CATALOG), &key)?;
            let (Some(value), Some(tree)) = (value, state.trees.get(&id).cloned()) else {
                continue;
            };
            let mut record = lockstep_format::VolumeRecord::decode(&value)?;
            (record.root, record.inodes, record.bytes) = (tree.root, tree.inodes, tree.bytes);
            state.put(&self.pages, TreeId::CATALOG, &key, &record.encode())?;
            if let Some(tree) = state.trees.get_mut(&id) {
                tree.dirty = false;
            }
        }
        Ok(())
    }

    fn publish(&self, frozen: &Frozen) -> Result<()> {
        // Segments first: a root must never outlive the chunks it points at.
        self.segments.sync().inspect_err(|error| self.fail(error))?;
        let mut pages = self.pages.unwritten();
        // A snapshot taken meanwhile ended a later epoch; its pages belong to the next commit.
        pages.retain(|(_, page)| page.birth <= frozen.ended);
        let mut puts = pages.iter().map(|(id, page)| (*id, page.encode()));
        self.pages
            .store()
            .commit(&mut puts, &frozen.deletes, &frozen.meta.encode())?;
        self.pages.written(&pages);
        self.pages.deleted(&frozen.deletes);
        self.log.committed(frozen.meta.log_sequence);
        self.log_is_single
            .store(true, std::sync::atomic::Ordering::Release);
        self.log.prepare_other()
    }

    /// Frees the bytes of chunks that no reader can still be reading.
    fn give_back(&self) -> Result<()> {
        let done: Vec<Grace> = {
            let mut grace = self.grace.lock();
            // Whoever reads since before an earlier commit may read what a later one freed.
            let busy = grace
                .iter()
                .position(|entry| Arc::strong_count(&entry.readers) > 1);
            let count = busy.unwrap_or(grace.len());
            grace.drain(..count).collect()
        };
        let short = self.is_short_of_space();
        for entry in done {
            for chunk in entry.freed {
                let end = chunk.offset + u64::from(chunk.length);
                self.holes.add(chunk.segment, chunk.offset..end);
            }
            for segment in entry.empty_segments {
                self.segments.store().remove(segment)?;
                self.holes.forget(segment);
            }
        }
        if short { self.punch_rest() } else { Ok(()) }
    }
}

fn gap(segment: SegmentId, offset: u64, end: u64) -> FreedChunk {
    let length = end.saturating_sub(offset) as u32;
    FreedChunk {
        segment,
        offset,
        length,
    }
}

/// The list of a segment's chunks, and where it belongs.
pub(crate) fn footer(reader: &dyn Reader, segment: SegmentId) -> Result<Sealed> {
    let mut footer = Footer::default();
    let mut gaps = Vec::new();
    let mut footer_at = 0;
    let prefix = key::chunk(lockstep_format::ChunkPtr { segment, slot: 0 });
    let end = key::after_prefix(&prefix[..8]).unwrap_or_default();
    let mut failure = None;
    txn::tree_scan(
        reader,
        TreeId::CHUNKS,
        &prefix,
        &end,
        &mut |key, value| match (key::chunk_pointer(key), ChunkRecord::decode(value)) {
            (Some(pointer), Ok(record)) => {
                // Slots are given in the order of offsets.
                gaps.push(gap(segment, footer_at, record.offset));
                footer_at = footer_at.max(record.offset + u64::from(record.length));
                footer.chunks.push((pointer.slot, record));
                ControlFlow::Continue(())
            }
            (_, Err(error)) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
            (None, Ok(_)) => ControlFlow::Continue(()),
        },
    )?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let (state, _) = reader.parts();
    let chunks_end = footer_at;
    footer_at = footer_at.max(
        state
            .segments
            .get(&segment)
            .map_or(0, |account| account.tail),
    );
    gaps.push(gap(segment, chunks_end, footer_at));
    debug_assert!(footer_at <= 2 * SEGMENT_BYTES);
    Ok(Sealed {
        segment,
        gaps,
        footer_at,
        footer: footer.encode(),
    })
}
