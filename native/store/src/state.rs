//! What the store's lock guards: the roots, the pages of the open epoch, the accounts.
//!
//! Invariants:
//! - `open` holds exactly the pages born in `epoch`; they are the only ones that change.
//! - Accounts (inodes and bytes of a volume, live bytes of a segment) are a function of the key
//!   changes alone, so that recovery and undo arrive at the same numbers without recording them.

use crate::error::{Result, StoreError};
use crate::pages::Pages;
use crate::tree::mutate::{self, Space};
use crate::tree::{self, EMPTY, Source};
use crate::volume::tree_of;
use lockstep_format::key::{self, catalog};
use lockstep_format::{
    ChunkRecord, DeadRange, Epoch, Extent, InodeId, Origin, Page, PageId, SegmentId, SegmentRecord,
    TreeId, ViewId, VolumeRecord,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tree's root and, for a volume, what reclaim and accounting need to know.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// The root page.
    pub root: PageId,
    /// Inodes in it.
    pub inodes: u64,
    /// Bytes that its extents cover.
    pub bytes: u64,
    /// The newest snapshot (or pin) of the volume: what is older is still seen by it.
    pub newest: Option<Epoch>,
    /// For a clone: the snapshot it was born from. What is not younger belongs to the origin.
    pub origin: Option<Origin>,
    /// The directory that is the volume's root.
    pub root_inode: InodeId,
    /// It changed since the last commit.
    pub dirty: bool,
    /// The volume is being deleted.
    pub deleting: bool,
}

impl Tree {
    /// The last epoch whose pages and chunks belong to the volume this one was cloned from.
    pub fn inherited(&self) -> Epoch {
        self.origin.map_or(Epoch(0), |origin| origin.epoch)
    }
}

/// The bytes of a chunk that nothing uses any more; they may go once a commit says so.
#[derive(Clone, Copy, Debug)]
pub struct FreedChunk {
    /// Its segment.
    pub segment: SegmentId,
    /// Where in it.
    pub offset: u64,
    /// How many bytes.
    pub length: u32,
}

/// Everything behind the store's lock.
pub struct State {
    /// The open epoch: what changes now is born in it.
    pub epoch: Epoch,
    /// The trees, by id.
    pub trees: FxHashMap<TreeId, Tree>,
    /// Pages of the open epoch.
    pub open: FxHashMap<PageId, Arc<Page>>,
    /// Pages of the store that no root reaches from the next commit on.
    pub page_deletes: Vec<PageId>,
    /// Volume pages to be remembered in the dead tree: volume, bucket, birth, page.
    pending_dead: Vec<(ViewId, Epoch, Epoch, PageId)>,
    /// Chunks without a user, to be freed after the next commit.
    pub freed: Vec<FreedChunk>,
    /// Every segment's account, and which changed since the last commit.
    pub segments: BTreeMap<SegmentId, SegmentRecord>,
    /// Segments whose account changed since the last commit.
    pub dirty_segments: FxHashSet<SegmentId>,
    /// Segments without a live chunk whose files a failed commit left behind.
    pub empty_segments: Vec<SegmentId>,
    /// Epochs pinned by walks over live trees, per volume, with how often.
    pub pins: FxHashMap<ViewId, BTreeMap<Epoch, usize>>,
    /// Bytes of chunks that only snapshots keep.
    pub dead_bytes: u64,
    /// The next page number.
    pub next_page: u64,
    /// The next inode number.
    pub next_inode: u64,
    /// The next view number.
    pub next_view: u32,
    /// The number of the next log record.
    pub log_sequence: u64,
    /// Something changed since the last commit.
    pub dirty: bool,
}

impl State {
    /// The state of a store without a commit.
    pub fn new() -> Self {
        let own = [TreeId::CATALOG, TreeId::CHUNKS, TreeId::DEAD];
        Self {
            epoch: Epoch(1),
            trees: own
                .map(|tree| (tree, Tree::default()))
                .into_iter()
                .collect(),
            open: FxHashMap::default(),
            page_deletes: Vec::new(),
            pending_dead: Vec::new(),
            freed: Vec::new(),
            segments: BTreeMap::new(),
            dirty_segments: FxHashSet::default(),
            empty_segments: Vec::new(),
            pins: FxHashMap::default(),
            dead_bytes: 0,
            next_page: 1,
            next_inode: 2,
            next_view: 1,
            log_sequence: 0,
            dirty: false,
        }
    }

    /// Pages as this state has them.
    pub(crate) fn source<'a>(&'a self, pages: &'a Pages) -> Reading<'a> {
        Reading { state: self, pages }
    }

    /// The root page of a tree; [`EMPTY`] if there is no such tree.
    pub fn root(&self, tree: TreeId) -> PageId {
        self.trees.get(&tree).map_or(EMPTY, |tree| tree.root)
    }

    /// Ends the open epoch: its pages never change again. Returns the epoch that ended.
    pub fn freeze(&mut self, pages: &Pages) -> Epoch {
        let ended = self.epoch;
        pages.freeze(self.open.drain());
        self.epoch = Epoch(ended.0 + 1);
        ended
    }

    /// Sets a key and keeps the accounts; returns the value before.
    pub fn put(
        &mut self,
        pages: &Pages,
        id: TreeId,
        key: &[u8],
        value: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        let mut root = self.root(id);
        let old = mutate::put(
            &mut Editor {
                state: self,
                pages,
                tree: id,
            },
            &mut root,
            key,
            value,
        )?;
        self.changed(pages, id, root)?;
        self.account(pages, id, key, old.as_deref(), Some(value))?;
        Ok(old)
    }

    /// Removes a key and keeps the accounts; returns its value.
    pub fn delete(&mut self, pages: &Pages, id: TreeId, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut root = self.root(id);
        let old = mutate::delete(
            &mut Editor {
                state: self,
                pages,
                tree: id,
            },
            &mut root,
            key,
        )?;
        if old.is_some() {
            self.changed(pages, id, root)?;
            self.account(pages, id, key, old.as_deref(), None)?;
        }
        Ok(old)
    }

    fn changed(&mut self, pages: &Pages, id: TreeId, root: PageId) -> Result<()> {
        self.dirty = true;
        if let Some(tree) = self.trees.get_mut(&id) {
            tree.root = root;
            tree.dirty = true;
        }
        // Only a volume's pages go to the dead tree, so this does not recurse further.
        for (volume, bucket, birth, page) in std::mem::take(&mut self.pending_dead) {
            let key = key::dead_page(volume, bucket, birth, page);
            let mut root = self.root(TreeId::DEAD);
            let mut editor = Editor {
                state: self,
                pages,
                tree: TreeId::DEAD,
            };
            mutate::put(&mut editor, &mut root, &key, &[])?;
            if let Some(tree) = self.trees.get_mut(&TreeId::DEAD) {
                tree.root = root;
            }
        }
        Ok(())
    }

    fn account(
        &mut self,
        pages: &Pages,
        id: TreeId,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<()> {
        match id {
            TreeId::CHUNKS => self.account_chunk(key, old, new),
            TreeId::DEAD => self.account_dead(key, old, new),
            TreeId::CATALOG => self.account_catalog(pages, key, new),
            volume => self.account_volume(volume, key, old, new),
        }
    }

    fn account_volume(
        &mut self,
        id: TreeId,
        key: &[u8],
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<()> {
        let Some((inode, kind, _)) = key::split(key) else {
            return Err(StoreError::Corrupt {
                what: "a volume's key is too short".into(),
            });
        };
        let Some(tree) = self.trees.get_mut(&id) else {
            return Err(StoreError::Corrupt {
                what: format!("there is no volume {}", id.0),
            });
        };
        match kind {
            key::kind::INODE => {
                tree.inodes += u64::from(new.is_some());
                tree.inodes -= u64::from(old.is_some());
                self.next_inode = self.next_inode.max(inode.0.saturating_add(1));
            }
            key::kind::EXTENT => {
                let length = |value: Option<&[u8]>| -> Result<u64> {
                    value.map_or(Ok(0), |v| Ok(u64::from(Extent::decode(v)?.length)))
                };
                tree.bytes = (tree.bytes + length(new)?).saturating_sub(length(old)?);
            }
            _ => {}
        }
        Ok(())
    }

    fn account_chunk(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<()> {
        let Some(pointer) = key::chunk_pointer(key) else {
            return Err(StoreError::Corrupt {
                what: "a chunk's key is malformed".into(),
            });
        };
        let decode = |value: Option<&[u8]>| value.map(ChunkRecord::decode).transpose();
        let (old, new) = (decode(old)?, decode(new)?);
        let account = self.segments.entry(pointer.segment).or_default();
        let live = |record: &Option<ChunkRecord>| record.as_ref().map_or(0, |r| u64::from(r.live));
        account.live = (account.live + live(&new)).saturating_sub(live(&old));
        account.next_slot = account.next_slot.max(pointer.slot.saturating_add(1));
        if let Some(record) = &new {
            account.tail = account.tail.max(record.offset + u64::from(record.length));
        }
        self.dirty_segments.insert(pointer.segment);
        if let (Some(record), None) = (&old, &new) {
            let (offset, length) = (record.offset, record.length);
            self.freed.push(FreedChunk {
                segment: pointer.segment,
                offset,
                length,
            });
        }
        Ok(())
    }

    /// Taking a page out of the dead tree is what frees it; putting it back is undoing that.
    fn account_dead(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> Result<()> {
        let Some(value) = old.or(new) else {
            return Ok(());
        };
        match (
            DeadRange::decode(key, value)?.3,
            old.is_some(),
            new.is_some(),
        ) {
            (DeadRange::Page(page), true, false) => self.page_deletes.push(page),
            (DeadRange::Page(page), false, true) => self.page_deletes.retain(|p| *p != page),
            (DeadRange::Chunk { length, .. }, true, false) => {
                self.dead_bytes = self.dead_bytes.saturating_sub(u64::from(length));
            }
            (DeadRange::Chunk { length, .. }, false, true) => self.dead_bytes += u64::from(length),
            _ => {}
        }
        Ok(())
    }

    fn account_catalog(&mut self, pages: &Pages, key: &[u8], new: Option<&[u8]>) -> Result<()> {
        match key.split_first() {
            Some((&catalog::VOLUME, _)) => {
                let view = catalog::view_of(key).ok_or_else(|| StoreError::Corrupt {
                    what: "a volume's key is malformed".into(),
                })?;
                let id = TreeId::volume(view);
                let Some(value) = new else {
                    self.trees.remove(&id);
                    return Ok(());
                };
                let record = VolumeRecord::decode(value)?;
                // There is none if the removal of the record is being undone.
                let tree = self.trees.entry(id).or_insert_with(|| tree_of(&record));
                (tree.dirty, tree.deleting) = (true, record.deleting);
                Ok(())
            }
            Some((&catalog::EPOCH, rest)) => {
                let Some((volume, _)) = rest.split_first_chunk::<4>() else {
                    return Ok(());
                };
                self.refresh_newest(pages, ViewId(u32::from_be_bytes(*volume)))
            }
            _ => Ok(()),
        }
    }

    /// A buried volume's tree is empty. Not an account: what was in it does not come back by undoing.
    pub fn bury(&mut self, volume: ViewId) {
        if let Some(tree) = self.trees.get_mut(&TreeId::volume(volume)) {
            (tree.root, tree.inodes, tree.bytes, tree.dirty) = (EMPTY, 0, 0, true);
        }
    }

    /// The volume's newest snapshot or pin is looked up again.
    pub fn refresh_newest(&mut self, pages: &Pages, volume: ViewId) -> Result<()> {
        let from = catalog::epochs(volume);
        let to = key::after_prefix(&from).unwrap_or_default();
        let reader = Reading { state: self, pages };
        let last = tree::last(&reader, self.root(TreeId::CATALOG), &from, &to)?;
        let named = last.and_then(|(key, _)| epoch_of(&key));
        let pinned = self
            .pins
            .get(&volume)
            .and_then(|pins| pins.keys().next_back().copied());
        if let Some(tree) = self.trees.get_mut(&TreeId::volume(volume)) {
            tree.newest = named.max(pinned);
        }
        Ok(())
    }
}

/// The epoch at the end of a key made by [`catalog::epoch`].
pub(crate) fn epoch_of(key: &[u8]) -> Option<Epoch> {
    key.last_chunk::<8>()
        .map(|bytes| Epoch(u64::from_be_bytes(*bytes)))
}

/// Pages as a reader under the store's lock sees them.
pub(crate) struct Reading<'a> {
    /// The locked state.
    pub state: &'a State,
    /// Finished pages.
    pub pages: &'a Pages,
}

impl Source for Reading<'_> {
    fn page(&self, id: PageId) -> Result<Arc<Page>> {
        match self.state.open.get(&id) {
            Some(page) => Ok(Arc::clone(page)),
            None => self.pages.get(id),
        }
    }
}

impl Source for Pages {
    fn page(&self, id: PageId) -> Result<Arc<Page>> {
        self.get(id)
    }
}

/// Changes one tree.
struct Editor<'a> {
    state: &'a mut State,
    pages: &'a Pages,
    tree: TreeId,
}

impl Editor<'_> {
    fn new_id(&mut self) -> PageId {
        let id = PageId(self.state.next_page);
        self.state.next_page += 1;
        id
    }

    fn retire_page(&mut self, id: PageId, birth: Epoch) {
        if birth == self.state.epoch {
            self.state.open.remove(&id);
            return;
        }
        let Some(volume) = self.tree.as_volume() else {
            self.state.page_deletes.push(id);
            return;
        };
        let Some(tree) = self.state.trees.get(&self.tree) else {
            return;
        };
        if birth <= tree.inherited() && tree.origin.is_some() {
            return;
        }
        match tree.newest {
            Some(newest) if birth <= newest => {
                self.state.pending_dead.push((volume, newest, birth, id));
            }
            _ => self.state.page_deletes.push(id),
        }
    }
}

impl Source for Editor<'_> {
    fn page(&self, id: PageId) -> Result<Arc<Page>> {
        Reading {
            state: self.state,
            pages: self.pages,
        }
        .page(id)
    }
}

impl Space for Editor<'_> {
    fn writable(&mut self, id: PageId) -> Result<PageId> {
        if self.state.open.contains_key(&id) {
            return Ok(id);
        }
        let old = self.pages.get(id)?;
        let mut copy = Page::clone(&old);
        copy.id = self.new_id();
        copy.birth = self.state.epoch;
        let new = copy.id;
        self.state.open.insert(new, Arc::new(copy));
        self.retire_page(id, old.birth);
        Ok(new)
    }

    fn page_mut(&mut self, id: PageId) -> Result<&mut Page> {
        match self.state.open.get_mut(&id) {
            Some(page) => Ok(Arc::make_mut(page)),
            None => Err(StoreError::Corrupt {
                what: format!("page {} is not open", id.0),
            }),
        }
    }

    fn allocate(&mut self, level: u8) -> Result<PageId> {
        let id = self.new_id();
        self.state
            .open
            .insert(id, Arc::new(Page::new(id, self.state.epoch, level)));
        Ok(id)
    }

    fn retire(&mut self, id: PageId) -> Result<()> {
        let birth = self.page(id)?.birth;
        self.retire_page(id, birth);
        Ok(())
    }
}
