//! Snapshots, clones and volumes: roots that are kept, and roots that begin as another's.
//!
//! Invariants:
//! - A snapshot ends the epoch: every page and chunk born up to then is in it, none born later.
//! - While a clone lives, its origin's epoch stays in the index by epoch, so that nothing the clone
//!   inherited is reclaimed, even if the snapshot's name or its whole volume is gone.

use crate::error::{Result, StoreError};
use crate::state::{State, Tree};
use crate::store::Store;
use crate::tree::EMPTY;
use crate::txn::{self, Locked, Reader, WriteTxn};
use lockstep_format::key::catalog;
use lockstep_format::limits::VIEW_COUNT_MAX;
use lockstep_format::log::Operation;
use lockstep_format::{
    Epoch, InodeId, Origin, SnapshotRecord, Timestamp, TreeId, ViewId, VolumeRecord,
};

/// A snapshot about to be taken.
pub(crate) struct NewSnapshot<'a> {
    pub(crate) volume: ViewId,
    pub(crate) directory: InodeId,
    pub(crate) name: &'a [u8],
    pub(crate) view: ViewId,
    pub(crate) created: Timestamp,
}

/// A volume about to be made.
pub(crate) struct NewVolume<'a> {
    pub(crate) view: ViewId,
    pub(crate) origin: Option<ViewId>,
    pub(crate) attached_to: (ViewId, InodeId),
    pub(crate) name: &'a [u8],
    pub(crate) created: Timestamp,
}

impl WriteTxn<'_> {
    fn new_view(&mut self) -> Result<ViewId> {
        let next = self.state.next_view;
        if next >= VIEW_COUNT_MAX {
            return Err(StoreError::Exhausted {
                what: "numbers for snapshots and volumes",
            });
        }
        self.state.next_view = next + 1;
        Ok(ViewId(next))
    }

    /// Takes a snapshot of `directory`. Costs three catalog keys, whatever the volume's size; the
    /// epoch ends. The name must be free.
    pub fn create_snapshot(
        &mut self,
        volume: ViewId,
        directory: InodeId,
        name: &[u8],
    ) -> Result<SnapshotRecord> {
        let view = self.new_view()?;
        let created = self.store.now();
        self.apply_snapshot(&NewSnapshot {
            volume,
            directory,
            name,
            view,
            created,
        })
    }

    pub(crate) fn apply_snapshot(&mut self, new: &NewSnapshot<'_>) -> Result<SnapshotRecord> {
        let NewSnapshot {
            volume,
            directory,
            name,
            view,
            created,
        } = *new;
        let epoch = self.state.epoch;
        let Some(tree) = self.state.trees.get(&TreeId::volume(volume)) else {
            return Err(StoreError::Corrupt {
                what: format!("there is no volume {}", volume.0),
            });
        };
        let (root, inodes, bytes) = (tree.root, tree.inodes, tree.bytes);
        let record = SnapshotRecord {
            view,
            volume,
            directory,
            epoch,
            root,
            created,
            inodes,
            bytes,
        };
        let key = catalog::snapshot(volume, directory, name);
        self.put_derived(TreeId::CATALOG, &key, &record.encode())?;
        self.put_derived(TreeId::CATALOG, &catalog::view(view), &key)?;
        let by_epoch = catalog::epoch(volume, epoch);
        self.put_derived(TreeId::CATALOG, &by_epoch, &view.0.to_be_bytes())?;
        Operation::Snapshot {
            volume,
            directory,
            name,
            view,
            created,
        }
        .encode(&mut self.log);
        self.state.next_view = self.state.next_view.max(view.0 + 1);
        self.ends_epoch = true;
        Ok(record)
    }

    /// Removes a snapshot's name; what only it kept is freed in the background. False if there is
    /// no such snapshot.
    pub fn delete_snapshot(
        &mut self,
        volume: ViewId,
        directory: InodeId,
        name: &[u8],
    ) -> Result<bool> {
        let key = catalog::snapshot(volume, directory, name);
        let Some(value) = self.catalog_get(&key)? else {
            return Ok(false);
        };
        let record = SnapshotRecord::decode(&value)?;
        self.delete_key(TreeId::CATALOG, &key)?;
        self.delete_key(TreeId::CATALOG, &catalog::view(record.view))?;
        let held = |tree: &Tree| {
            tree.origin
                .is_some_and(|origin| origin.snapshot == record.view)
        };
        if !self.state.trees.values().any(held) {
            self.delete_key(TreeId::CATALOG, &catalog::epoch(volume, record.epoch))?;
        }
        self.store.reclaim_later(volume);
        Ok(true)
    }

    /// Gives a snapshot another name in the same directory. False if there is no such snapshot.
    pub fn rename_snapshot(
        &mut self,
        volume: ViewId,
        directory: InodeId,
        from: &[u8],
        to: &[u8],
    ) -> Result<bool> {
        if self
            .catalog_get(&catalog::snapshot(volume, directory, from))?
            .is_none()
        {
            return Ok(false);
        }
        self.apply_rename(volume, directory, from, to)?;
        Ok(true)
    }

    /// Logged as an operation, not as keys: a snapshot's record holds a page number, and recovery
    /// may give the page another.
    pub(crate) fn apply_rename(
        &mut self,
        volume: ViewId,
        directory: InodeId,
        from: &[u8],
        to: &[u8],
    ) -> Result<()> {
        let (old, new) = (
            catalog::snapshot(volume, directory, from),
            catalog::snapshot(volume, directory, to),
        );
        let Some(value) = self.catalog_get(&old)? else {
            return Ok(());
        };
        let view = SnapshotRecord::decode(&value)?.view;
        self.delete_derived(TreeId::CATALOG, &old)?;
        self.put_derived(TreeId::CATALOG, &new, &value)?;
        self.put_derived(TreeId::CATALOG, &catalog::view(view), &new)?;
        Operation::RenameSnapshot {
            volume,
            directory,
            from,
            to,
        }
        .encode(&mut self.log);
        Ok(())
    }

    /// Makes a writable volume whose tree begins as the snapshot seen as `snapshot`; its root is
    /// the directory the snapshot is of.
    pub fn create_clone(
        &mut self,
        snapshot: ViewId,
        attached_to: (ViewId, InodeId),
        name: &[u8],
    ) -> Result<ViewId> {
        let (view, created) = (self.new_view()?, self.store.now());
        self.apply_volume(&NewVolume {
            view,
            origin: Some(snapshot),
            attached_to,
            name,
            created,
        })?;
        Ok(view)
    }

    /// Makes a volume with an empty tree.
    pub fn create_volume(&mut self, attached_to: (ViewId, InodeId), name: &[u8]) -> Result<ViewId> {
        let (view, created) = (self.new_view()?, self.store.now());
        self.apply_volume(&NewVolume {
            view,
            origin: None,
            attached_to,
            name,
            created,
        })?;
        Ok(view)
    }

    pub(crate) fn apply_volume(&mut self, new: &NewVolume<'_>) -> Result<()> {
        let NewVolume {
            view,
            origin,
            attached_to,
            name,
            created,
        } = *new;
        let mut record = VolumeRecord {
            root: EMPTY,
            inodes: 0,
            bytes: 0,
            attached_to,
            name: name.to_vec(),
            origin: None,
            root_inode: InodeId::ROOT,
            created,
            deleting: false,
            buried: false,
        };
        if let Some(snapshot) = origin {
            let Some(from) = txn::snapshot_record(self, snapshot)? else {
                let what = format!("there is no snapshot {}", snapshot.0);
                return Err(StoreError::Corrupt { what });
            };
            record.origin = Some(Origin {
                snapshot,
                volume: from.volume,
                epoch: from.epoch,
            });
            record.root_inode = from.directory;
            (record.root, record.inodes, record.bytes) = (from.root, from.inodes, from.bytes);
        }
        self.state
            .trees
            .insert(TreeId::volume(view), tree_of(&record));
        self.put_derived(TreeId::CATALOG, &catalog::volume(view), &record.encode())?;
        Operation::Volume {
            view,
            origin,
            attached_to,
            name,
            created,
        }
        .encode(&mut self.log);
        self.state.next_view = self.state.next_view.max(view.0 + 1);
        Ok(())
    }

    /// Notes that a volume is attached elsewhere.
    pub fn attach_volume(
        &mut self,
        volume: ViewId,
        attached_to: (ViewId, InodeId),
        name: &[u8],
    ) -> Result<()> {
        let Some(mut record) = txn::volume_record(self, volume)? else {
            return Ok(());
        };
        record.attached_to = attached_to;
        record.name = name.to_vec();
        self.put_key(TreeId::CATALOG, &catalog::volume(volume), &record.encode())
    }

    /// Deletes a volume: nobody sees it from now on, its space is freed in the background, but for
    /// what clones of its snapshots inherited. It must have no snapshots with a name.
    pub fn delete_volume(&mut self, volume: ViewId) -> Result<()> {
        let Some(mut record) = txn::volume_record(self, volume)? else {
            return Ok(());
        };
        record.deleting = true;
        self.put_key(TreeId::CATALOG, &catalog::volume(volume), &record.encode())?;
        self.store.reclaim_later(volume);
        Ok(())
    }
}

/// The tree that a volume's record speaks of, unchanged since; that of a buried volume is empty.
pub(crate) fn tree_of(record: &VolumeRecord) -> Tree {
    let (root, inodes, bytes) = if record.buried {
        (EMPTY, 0, 0)
    } else {
        (record.root, record.inodes, record.bytes)
    };
    Tree {
        root,
        inodes,
        bytes,
        newest: None,
        origin: record.origin,
        root_inode: record.root_inode,
        dirty: false,
        deleting: record.deleting,
    }
}

/// Keeps an epoch of a volume readable until dropped, without a name and without a log record.
pub(crate) struct Pin<'a> {
    store: &'a Store,
    volume: ViewId,
    epoch: Epoch,
}

impl Store {
    /// The root page of `view`, which stays readable while the pin lives.
    pub(crate) fn pin(&self, view: ViewId) -> Result<(lockstep_format::PageId, Pin<'_>)> {
        let mut state = self.state.write();
        let live = state.trees.get(&TreeId::volume(view)).map(|tree| tree.root);
        let (volume, epoch, root) = if let Some(root) = live {
            (view, state.freeze(&self.pages), root)
        } else {
            let record = txn::snapshot_record(
                &Locked {
                    state: &state,
                    store: self,
                },
                view,
            )?;
            let Some(record) = record else {
                let what = format!("there is no snapshot {}", view.0);
                return Err(StoreError::Corrupt { what });
            };
            (record.volume, record.epoch, record.root)
        };
        *state
            .pins
            .entry(volume)
            .or_default()
            .entry(epoch)
            .or_default() += 1;
        state.refresh_newest(&self.pages, volume)?;
        Ok((
            root,
            Pin {
                store: self,
                volume,
                epoch,
            },
        ))
    }
}

fn unpin(state: &mut State, volume: ViewId, epoch: Epoch) {
    let Some(pins) = state.pins.get_mut(&volume) else {
        return;
    };
    if let Some(count) = pins.get_mut(&epoch) {
        *count -= 1;
        if *count == 0 {
            pins.remove(&epoch);
        }
    }
    if pins.is_empty() {
        state.pins.remove(&volume);
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        let mut state = self.store.state.write();
        unpin(&mut state, self.volume, self.epoch);
        if let Err(error) = state.refresh_newest(&self.store.pages, self.volume) {
            drop(state);
            self.store.fail(&error);
            return;
        }
        drop(state);
        self.store.reclaim_later(self.volume);
    }
}
