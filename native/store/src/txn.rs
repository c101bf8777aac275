//! Reading and changing the store under its lock.
//!
//! Invariants:
//! - A [`WriteTxn`] is one record of the intent log; if it does not end in `commit`, every key it
//!   changed gets its old value back.
//! - What an extent stops using is accounted in the same record: freed if no snapshot sees it, else
//!   noted in the dead tree under the volume's newest snapshot.

use crate::error::{Result, StoreError};
use crate::segments::{Piece, Pieces, Staged};
use crate::space::Growth;
use crate::state::{Reading, State};
use crate::store::Store;
use crate::tree::{self, Visit};
use lockstep_format::key::{self, catalog};
use lockstep_format::log::Operation;
use lockstep_format::{
    ChunkPtr, ChunkRecord, DeadRange, Dentry, Encoder, Extent, FormatError, Inode, InodeId, PageId,
    SnapshotRecord, TreeId, ViewId, VolumeRecord, limits,
};
use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Extents that one call drops at most.
const EXTENTS_PER_CALL: usize = 4096;

/// A tree that can be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewInfo {
    /// The view.
    pub view: ViewId,
    /// Its volume.
    pub volume: ViewId,
    /// The snapshot it shows, unless it is the live tree.
    pub snapshot: Option<SnapshotRecord>,
    /// The volume's root directory.
    pub root_inode: InodeId,
    /// Inodes in the tree.
    pub inodes: u64,
    /// Bytes of file data that the tree reaches.
    pub bytes: u64,
}

/// Reading; both transactions do it the same way.
pub trait Reader {
    /// The locked state and the store it is of.
    #[doc(hidden)]
    fn parts(&self) -> (&State, &Store);

    /// What `view` shows; `None` if there is no such volume or snapshot (any more).
    fn view(&self, view: ViewId) -> Result<Option<ViewInfo>> {
        let (state, _) = self.parts();
        if let Some(tree) = state.trees.get(&TreeId::volume(view)) {
            if tree.deleting {
                return Ok(None);
            }
            let (root_inode, inodes, bytes) = (tree.root_inode, tree.inodes, tree.bytes);
            return Ok(Some(ViewInfo {
                view,
                volume: view,
                snapshot: None,
                root_inode,
                inodes,
                bytes,
            }));
        }
        let Some(record) = snapshot_record(self, view)? else {
            return Ok(None);
        };
        let owner = state.trees.get(&TreeId::volume(record.volume));
        let root_inode = owner.map_or(InodeId::ROOT, |tree| tree.root_inode);
        let (volume, inodes, bytes) = (record.volume, record.inodes, record.bytes);
        Ok(Some(ViewInfo {
            view,
            volume,
            snapshot: Some(record),
            root_inode,
            inodes,
            bytes,
        }))
    }

    /// The value of a key (see [`lockstep_format::key`]); `None` too if there is no such view.
    fn get(&self, view: ViewId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let (state, store) = self.parts();
        tree::get(
            &Reading {
                state,
                pages: &store.pages,
            },
            root_of(self, view)?,
            key,
        )
    }

    /// Calls `each` for every entry with `from <= key < to`, in key order, until it breaks.
    fn scan(&self, view: ViewId, from: &[u8], to: &[u8], each: Visit<'_>) -> Result<()> {
        let (state, store) = self.parts();
        let root = root_of(self, view)?;
        tree::scan(
            &Reading {
                state,
                pages: &store.pages,
            },
            root,
            from,
            to,
            each,
        )
    }

    /// The value of a key of the catalog (see [`lockstep_format::key::catalog`]).
    fn catalog_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        tree_get(self, TreeId::CATALOG, key)
    }

    /// Like [`Reader::scan`], of the catalog.
    fn catalog_scan(&self, from: &[u8], to: &[u8], each: Visit<'_>) -> Result<()> {
        tree_scan(self, TreeId::CATALOG, from, to, each)
    }

    /// An inode.
    fn inode(&self, view: ViewId, inode: InodeId) -> Result<Option<Inode>> {
        let value = self.get(view, &key::inode(inode))?;
        Ok(value.map(|bytes| Inode::decode(&bytes)).transpose()?)
    }

    /// The entry `name` of a directory.
    fn dentry(&self, view: ViewId, directory: InodeId, name: &[u8]) -> Result<Option<Dentry>> {
        let value = self.get(view, &key::dentry(directory, name))?;
        Ok(value.map(|bytes| Dentry::decode(&bytes)).transpose()?)
    }

    /// What covers `[offset, offset + length)` of a file. The bytes stay readable while the result
    /// lives, even if the file is deleted or overwritten meanwhile.
    fn pieces(&self, view: ViewId, inode: InodeId, offset: u64, length: u64) -> Result<Pieces> {
        let end = offset.saturating_add(length);
        let mut list = Vec::new();
        for (at, extent) in extents(self, view, inode, offset, end)? {
            let skip = offset.saturating_sub(at) as u32;
            let length = (at + u64::from(extent.length)).min(end) - at - u64::from(skip);
            let record = chunk_record(self, extent.chunk)?;
            let chunk_offset = extent.chunk_offset + skip;
            if u64::from(chunk_offset) + length > u64::from(record.length) {
                let what = format!("inode {}: an extent leaves its chunk", inode.0);
                return Err(StoreError::Corrupt { what });
            }
            list.push(Piece {
                at: at + u64::from(skip) - offset,
                length: length as u32,
                segment: extent.chunk.segment,
                chunk_offset,
                record,
            });
        }
        let (_, store) = self.parts();
        Ok(Pieces {
            length,
            list,
            _reading: store.reading(),
        })
    }

    /// The file offset behind the last stored byte; 0 if none is stored in extents.
    fn extent_end(&self, view: ViewId, inode: InodeId) -> Result<u64> {
        let last = floor_extent(self, view, inode, u64::MAX - 1)?;
        Ok(last.map_or(0, |(at, extent)| at + u64::from(extent.length)))
    }

    /// The first run of stored bytes that ends after `offset`: its start and end.
    fn next_extent(&self, view: ViewId, inode: InodeId, offset: u64) -> Result<Option<(u64, u64)>> {
        let mut run: Option<(u64, u64)> = None;
        let from = floor_extent(self, view, inode, offset)?.map_or(offset, |(at, _)| at);
        let end = key::after_prefix(&key::prefix(inode, key::kind::EXTENT)).unwrap_or_default();
        let mut failure = None;
        self.scan(view, &key::extent(inode, from), &end, &mut |key, value| {
            let (at, extent) = match decode_extent(key, value) {
                Ok(found) => found,
                Err(error) => {
                    failure = Some(error);
                    return ControlFlow::Break(());
                }
            };
            let extent_end = at + u64::from(extent.length);
            match &mut run {
                _ if extent_end <= offset => {}
                None => run = Some((at, extent_end)),
                Some((_, end)) if *end == at => *end = extent_end,
                Some(_) => return ControlFlow::Break(()),
            }
            ControlFlow::Continue(())
        })?;
        failure.map_or(Ok(run), |error| Err(error.into()))
    }
}

pub(crate) fn tree_get<R: Reader + ?Sized>(
    reader: &R,
    id: TreeId,
    key: &[u8],
) -> Result<Option<Vec<u8>>> {
    let (state, store) = reader.parts();
    tree::get(
        &Reading {
            state,
            pages: &store.pages,
        },
        state.root(id),
        key,
    )
}

pub(crate) fn tree_scan<R: Reader + ?Sized>(
    reader: &R,
    id: TreeId,
    from: &[u8],
    to: &[u8],
    each: Visit<'_>,
) -> Result<()> {
    let (state, store) = reader.parts();
    tree::scan(
        &Reading {
            state,
            pages: &store.pages,
        },
        state.root(id),
        from,
        to,
        each,
    )
}

pub(crate) fn volume_record<R: Reader + ?Sized>(
    reader: &R,
    volume: ViewId,
) -> Result<Option<VolumeRecord>> {
    let value = reader.catalog_get(&catalog::volume(volume))?;
    Ok(value
        .map(|bytes| VolumeRecord::decode(&bytes))
        .transpose()?)
}

pub(crate) fn snapshot_record<R: Reader + ?Sized>(
    reader: &R,
    view: ViewId,
) -> Result<Option<SnapshotRecord>> {
    let Some(key) = reader.catalog_get(&catalog::view(view))? else {
        return Ok(None);
    };
    let value = reader.catalog_get(&key)?;
    Ok(value
        .map(|bytes| SnapshotRecord::decode(&bytes))
        .transpose()?)
}

pub(crate) fn root_of<R: Reader + ?Sized>(reader: &R, view: ViewId) -> Result<PageId> {
    let (state, _) = reader.parts();
    if let Some(tree) = state.trees.get(&TreeId::volume(view)) {
        return Ok(tree.root);
    }
    Ok(snapshot_record(reader, view)?.map_or(tree::EMPTY, |record| record.root))
}

fn chunk_record<R: Reader + ?Sized>(reader: &R, pointer: ChunkPtr) -> Result<ChunkRecord> {
    if let Some(bytes) = tree_get(reader, TreeId::CHUNKS, &key::chunk(pointer))? {
        return Ok(ChunkRecord::decode(&bytes)?);
    }
    let (segment, slot) = (pointer.segment.0, pointer.slot);
    let what = format!("chunk {slot} of segment {segment:016x} is unknown");
    Err(StoreError::Corrupt { what })
}

fn decode_extent(key: &[u8], value: &[u8]) -> std::result::Result<(u64, Extent), FormatError> {
    let offset = key::split(key).and_then(|(_, _, tail)| key::extent_offset(tail));
    let offset = offset.ok_or(FormatError::Invalid {
        what: "extent",
        field: "key",
    })?;
    Ok((offset, Extent::decode(value)?))
}

/// The extent that starts at or before `offset`.
fn floor_extent<R: Reader + ?Sized>(
    reader: &R,
    view: ViewId,
    inode: InodeId,
    offset: u64,
) -> Result<Option<(u64, Extent)>> {
    let (state, store) = reader.parts();
    let source = Reading {
        state,
        pages: &store.pages,
    };
    let from = key::prefix(inode, key::kind::EXTENT);
    let to = key::extent(inode, offset.saturating_add(1));
    let found = tree::last(&source, root_of(reader, view)?, &from, &to)?;
    Ok(found
        .map(|(key, value)| decode_extent(&key, &value))
        .transpose()?)
}

/// The extents that overlap `[from, to)`, by file offset.
fn extents<R: Reader + ?Sized>(
    reader: &R,
    view: ViewId,
    inode: InodeId,
    from: u64,
    to: u64,
) -> Result<Vec<(u64, Extent)>> {
    let mut list = Vec::new();
    if let Some((at, extent)) = floor_extent(reader, view, inode, from)?
        && at < from
        && at + u64::from(extent.length) > from
    {
        list.push((at, extent));
    }
    let mut failure = None;
    let (first, end) = (key::extent(inode, from), key::extent(inode, to));
    reader.scan(
        view,
        &first,
        &end,
        &mut |key, value| match decode_extent(key, value) {
            Ok(found) => {
                list.push(found);
                ControlFlow::Continue(())
            }
            Err(error) => {
                failure = Some(error);
                ControlFlow::Break(())
            }
        },
    )?;
    failure.map_or(Ok(list), |error| Err(error.into()))
}

/// A look at a state that is locked by the caller.
pub(crate) struct Locked<'a> {
    pub(crate) state: &'a State,
    pub(crate) store: &'a Store,
}

impl Reader for Locked<'_> {
    fn parts(&self) -> (&State, &Store) {
        (self.state, self.store)
    }
}

/// A shared look at the store.
pub struct ReadTxn<'a> {
    pub(crate) state: RwLockReadGuard<'a, State>,
    pub(crate) store: &'a Store,
}

impl Reader for ReadTxn<'_> {
    fn parts(&self) -> (&State, &Store) {
        (&self.state, self.store)
    }
}

/// An exclusive change of the store.
pub struct WriteTxn<'a> {
    pub(crate) state: RwLockWriteGuard<'a, State>,
    pub(crate) store: &'a Store,
    pub(crate) log: Encoder,
    undo: Vec<(TreeId, Vec<u8>, Option<Vec<u8>>)>,
    freed_before: usize,
    growth: Growth,
    /// A volume whose tree is empty once the record is in the log.
    buries: Option<ViewId>,
    /// The record holds a snapshot: what comes after it belongs to the next epoch.
    pub(crate) ends_epoch: bool,
    done: bool,
}

impl Reader for WriteTxn<'_> {
    fn parts(&self) -> (&State, &Store) {
        (&self.state, self.store)
    }
}

impl<'a> WriteTxn<'a> {
    pub(crate) fn new(state: RwLockWriteGuard<'a, State>, store: &'a Store) -> Self {
        let freed_before = state.freed.len();
        let (log, undo) = (Encoder::new(), Vec::new());
        Self {
            state,
            store,
            log,
            undo,
            freed_before,
            growth: Growth::default(),
            buries: None,
            ends_epoch: false,
            done: false,
        }
    }

    /// Writes the record to the log; from here on the change is acknowledged. Returns how many pages
    /// the open epoch has.
    pub(crate) fn commit(mut self) -> Result<usize> {
        if !self.log.is_empty() {
            let body = self.log.finish();
            if body.len() > limits::LOG_RECORD_BYTES_MAX {
                return Err(StoreError::Exhausted {
                    what: "room in one log record",
                });
            }
            self.store.space.admit(&self.growth)?;
            self.store.append(&mut self.state, &body)?;
        }
        let open_pages = self.state.open.len();
        self.finish();
        Ok(open_pages)
    }

    /// Keeps the change.
    pub(crate) fn finish(mut self) {
        if let Some(volume) = self.buries {
            self.state.bury(volume);
        }
        if self.ends_epoch {
            self.state.freeze(&self.store.pages);
        }
        self.done = true;
    }

    /// Sets a key without a log entry of its own: for keys that follow from a logged operation.
    pub(crate) fn put_derived(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<()> {
        let old = self.state.put(&self.store.pages, tree, key, value)?;
        let before = old.as_ref().map_or(0, |old| key.len() + old.len());
        let added = (key.len() + value.len()) as i64 - before as i64;
        self.growth.count(tree, key, added, old.is_none());
        self.undo.push((tree, key.to_vec(), old));
        if tree == TreeId::CATALOG
            && let Some((&catalog::VOLUME, view)) = key.split_first()
            && VolumeRecord::decode(value)?.buried
        {
            self.buries = view.try_into().ok().map(u32::from_be_bytes).map(ViewId);
        }
        Ok(())
    }

    pub(crate) fn put_key(&mut self, tree: TreeId, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_derived(tree, key, value)?;
        Operation::Put { tree, key, value }.encode(&mut self.log);
        Ok(())
    }

    /// Removes a key without a log entry of its own, as [`WriteTxn::put_derived`].
    pub(crate) fn delete_derived(&mut self, tree: TreeId, key: &[u8]) -> Result<bool> {
        let Some(old) = self.state.delete(&self.store.pages, tree, key)? else {
            return Ok(false);
        };
        let removed = (key.len() + old.len()) as i64;
        self.growth.count(tree, key, -removed, false);
        self.undo.push((tree, key.to_vec(), Some(old)));
        Ok(true)
    }

    pub(crate) fn delete_key(&mut self, tree: TreeId, key: &[u8]) -> Result<bool> {
        let found = self.delete_derived(tree, key)?;
        if found {
            Operation::Delete { tree, key }.encode(&mut self.log);
        }
        Ok(found)
    }

    /// Sets a key of a volume's live tree.
    pub fn put(&mut self, volume: ViewId, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_key(TreeId::volume(volume), key, value)
    }

    /// Removes a key of a volume's live tree; false if there was none. Extents are not removed
    /// this way but by [`WriteTxn::clear_range`], which accounts for their bytes.
    pub fn delete(&mut self, volume: ViewId, key: &[u8]) -> Result<bool> {
        self.delete_key(TreeId::volume(volume), key)
    }

    /// Writes an inode record.
    pub fn put_inode(&mut self, volume: ViewId, id: InodeId, inode: &Inode) -> Result<()> {
        self.put(volume, &key::inode(id), &inode.encode())
    }

    /// Sets a key of the catalog: users and groups.
    pub fn catalog_put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.put_key(TreeId::CATALOG, key, value)
    }

    /// An inode number never used before.
    pub fn new_inode(&mut self) -> Result<InodeId> {
        let next = self.state.next_inode;
        if next >= limits::INODE_MAX {
            return Err(StoreError::Exhausted {
                what: "inode numbers",
            });
        }
        self.state.next_inode = next + 1;
        Ok(InodeId(next))
    }

    /// Makes staged bytes the content of their range. Returns the change of allocated bytes.
    pub fn put_range(&mut self, volume: ViewId, inode: InodeId, staged: &Staged) -> Result<i64> {
        let mut change = staged.length() as i64;
        loop {
            let (cleared, more) = self.clear_range(volume, inode, staged.offset(), staged.end())?;
            change += cleared;
            if !more {
                break;
            }
        }
        for chunk in &staged.chunks {
            let extent = Extent {
                chunk: chunk.pointer,
                chunk_offset: 0,
                length: chunk.record.length,
                birth: self.state.epoch,
            };
            self.put_key(
                TreeId::CHUNKS,
                &key::chunk(chunk.pointer),
                &chunk.record.encode(),
            )?;
            self.put(volume, &key::extent(inode, chunk.at), &extent.encode())?;
        }
        Ok(change)
    }

    /// Drops what extents cover of `[from, to)`, from the end backwards, a bounded number of
    /// extents a call. Returns the change of allocated bytes and whether more are left.
    pub fn clear_range(
        &mut self,
        volume: ViewId,
        inode: InodeId,
        from: u64,
        to: u64,
    ) -> Result<(i64, bool)> {
        let mut change = 0i64;
        let mut end = to;
        for _ in 0..self.store.space.step(EXTENTS_PER_CALL) {
            let Some(below) = end.checked_sub(1) else {
                return Ok((change, false));
            };
            let Some((at, extent)) = floor_extent(self, volume, inode, below)? else {
                return Ok((change, false));
            };
            let extent_end = at + u64::from(extent.length);
            if extent_end <= from {
                return Ok((change, false));
            }
            let cut_from = at.max(from);
            let cut_to = extent_end.min(to);
            if cut_from < cut_to {
                self.cut(volume, inode, (at, extent), cut_from, cut_to)?;
                change -= (cut_to - cut_from) as i64;
            }
            end = at;
        }
        let left = floor_extent(self, volume, inode, end.saturating_sub(1))?;
        let more = end > 0 && left.is_some_and(|(at, e)| at + u64::from(e.length) > from);
        Ok((change, more))
    }

    /// Takes `[from, to)` out of an extent.
    fn cut(
        &mut self,
        volume: ViewId,
        inode: InodeId,
        (at, extent): (u64, Extent),
        from: u64,
        to: u64,
    ) -> Result<()> {
        let end = at + u64::from(extent.length);
        let tree = TreeId::volume(volume);
        if from > at {
            let left = extent.take((from - at) as u32);
            self.put_key(tree, &key::extent(inode, at), &left.encode())?;
        } else {
            self.delete_key(tree, &key::extent(inode, at))?;
        }
        if to < end {
            let right = extent.skip((to - at) as u32);
            self.put_key(tree, &key::extent(inode, to), &right.encode())?;
        }
        self.release(
            volume,
            extent.skip((from - at) as u32).take((to - from) as u32),
        )
    }

    /// The live tree stops using a range of a chunk.
    pub(crate) fn release(&mut self, volume: ViewId, range: Extent) -> Result<()> {
        let Some(tree) = self.state.trees.get(&TreeId::volume(volume)) else {
            return Ok(());
        };
        if tree.origin.is_some() && range.birth <= tree.inherited() {
            return Ok(());
        }
        match tree.newest {
            Some(newest) if range.birth <= newest => {
                let (pointer, offset) = (range.chunk, range.chunk_offset);
                let key = key::dead_chunk(volume, newest, range.birth, pointer, offset);
                let length = Encoder::new().varint(u64::from(range.length)).finish();
                self.put_key(TreeId::DEAD, &key, &length)
            }
            _ => self.free_chunk(range.chunk, range.length),
        }
    }

    /// Nothing uses `length` bytes of a chunk any more.
    pub(crate) fn free_chunk(&mut self, pointer: ChunkPtr, length: u32) -> Result<()> {
        let mut record = chunk_record(self, pointer)?;
        let key = key::chunk(pointer);
        record.live = record.live.saturating_sub(length);
        if record.live == 0 {
            self.delete_key(TreeId::CHUNKS, &key).map(|_| ())
        } else {
            self.put_key(TreeId::CHUNKS, &key, &record.encode())
        }
    }

    /// Moves all extents of `source` to `target`, `shift` bytes further back. Returns their bytes.
    pub fn move_extents(
        &mut self,
        volume: ViewId,
        source: InodeId,
        target: InodeId,
        shift: u64,
    ) -> Result<u64> {
        let mut moved = 0;
        for (at, extent) in extents(self, volume, source, 0, u64::MAX)? {
            self.delete(volume, &key::extent(source, at))?;
            self.put(volume, &key::extent(target, at + shift), &extent.encode())?;
            moved += u64::from(extent.length);
        }
        Ok(moved)
    }
}

impl WriteTxn<'_> {
    /// Taking a page's note out of the dead tree frees the page; undoing the note does not.
    fn keep_noted(&mut self, tree: TreeId, key: &[u8]) {
        if tree == TreeId::DEAD
            && let Ok((_, _, _, DeadRange::Page(noted))) = DeadRange::decode(key, &[])
        {
            self.state.page_deletes.retain(|page| *page != noted);
        }
    }
}

impl Drop for WriteTxn<'_> {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        for (tree, key, old) in std::mem::take(&mut self.undo).into_iter().rev() {
            let pages = Arc::clone(&self.store.pages);
            let undone = match old {
                Some(value) => self.state.put(&pages, tree, &key, &value).map(|_| ()),
                None => self
                    .state
                    .delete(&pages, tree, &key)
                    .map(|_| self.keep_noted(tree, &key)),
            };
            if let Err(error) = undone {
                self.store.fail(&error);
                return;
            }
        }
        // Chunks are back, or were never reachable: nothing of theirs may be freed.
        self.state.freed.truncate(self.freed_before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::StoreOptions;
    use lockstep_format::Epoch;

    #[test]
    fn undoing_the_note_of_a_dead_page_does_not_free_it() {
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("store");
        Store::create(&dir).unwrap();
        let store = Store::open(&dir, &StoreOptions::default()).unwrap();
        let page = PageId(77);
        let undone = store.write(|txn| -> Result<()> {
            let key = key::dead_page(ViewId::ROOT, Epoch(9), Epoch(3), page);
            txn.put_key(TreeId::DEAD, &key, &[])?;
            Err(StoreError::Exhausted { what: "patience" })
        });
        assert!(undone.is_err());
        assert!(!store.state.read().page_deletes.contains(&page));
    }
}
