//! Taking names away: files, empty directories, whole trees.
//!
//! Invariants:
//! - A directory that has snapshots of its own, or one below it, is never removed.
//! - A removed tree loses its top name in one change; the reaper takes the rest apart.

use crate::entry::{forget, remove_entry};
use crate::error::Result;
use crate::event::Effects;
use crate::lookup::{is_below, is_empty};
use crate::node::{SNAPSHOT_NAME, attached, check_name, has_snapshots, inode_in, live_directory};
use crate::permission::{self, WRITE, check_sticky};
use crate::{Caller, Errno, NodeId, Vfs};
use lockstep_format::key::{self, catalog};
use lockstep_format::{Dentry, FileKind, Inode, InodeId, ViewId, VolumeRecord};
use lockstep_store::{Reader, StoreError, WriteTxn};
use std::ops::ControlFlow;

/// An entry that the caller may remove.
pub(crate) struct Doomed {
    pub dentry: Dentry,
    /// The inode of the dentry (of an attached volume: the directory it covers).
    pub inode: Inode,
}

/// Finds an entry and checks that the caller may take it away.
pub(crate) fn doomed(
    reader: &dyn Reader,
    caller: &Caller,
    parent: NodeId,
    directory: &Inode,
    name: &[u8],
) -> Result<Doomed> {
    let dentry = reader
        .dentry(parent.view(), parent.inode(), name)?
        .ok_or(Errno::NotFound)?;
    permission::check(reader, caller, parent, directory, WRITE)?;
    let inode = inode_in(reader, parent.view(), dentry.inode)?;
    check_sticky(caller, directory, &inode)?;
    Ok(Doomed { dentry, inode })
}

/// Refuses directories that cannot be removed: busy with a volume, with snapshots, not empty.
pub(crate) fn check_empty(reader: &dyn Reader, parent: NodeId, entry: &Doomed) -> Result<()> {
    if attached(reader, parent, &entry.dentry)?.is_some() {
        return Err(Errno::Busy.into());
    }
    let id = entry.dentry.inode;
    if has_snapshots(reader, parent.view(), id, &entry.inode)?
        || !is_empty(reader, parent.view(), id)?
    {
        return Err(Errno::NotEmpty.into());
    }
    Ok(())
}

impl Vfs {
    /// Removes a name of anything but a directory.
    pub fn unlink(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<()> {
        self.change(caller.origin, |txn, effects| {
            let directory = live_directory(txn, caller, parent)?;
            check_name(name)?;
            if crate::node::is_reserved(name) {
                return Err(Errno::IsDirectory.into());
            }
            let entry = doomed(txn, caller, parent, &directory, name)?;
            if entry.dentry.kind == FileKind::Directory {
                return Err(Errno::IsDirectory.into());
            }
            let now = self.store.now();
            remove_entry(txn, parent, name, &entry.dentry, now)?;
            effects.entry(parent, name);
            let node = NodeId::new(parent.view(), entry.dentry.inode);
            self.drop_link(txn, effects, node, now)
        })
    }

    /// Removes an empty directory. In a `.snapshot` directory: deletes a snapshot.
    pub fn remove_directory(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<()> {
        if parent.is_snapshot_directory() {
            let directory = NodeId::new(parent.view(), parent.inode());
            return self.delete_snapshot(caller, directory, name);
        }
        self.change(caller.origin, |txn, effects| {
            let entry = doomed_directory(txn, caller, parent, name)?;
            if entry.dentry.kind != FileKind::Directory {
                return Err(Errno::NotDirectory.into());
            }
            check_empty(txn, parent, &entry)?;
            self.remove_empty(txn, effects, parent, name, &entry)
        })
    }

    /// Takes away the name of a directory that was found to be empty.
    fn remove_empty(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        parent: NodeId,
        name: &[u8],
        entry: &Doomed,
    ) -> Result<()> {
        let now = self.store.now();
        remove_entry(txn, parent, name, &entry.dentry, now)?;
        effects.entry(parent, name);
        self.forget_directory(txn, effects, parent.view(), entry)
    }

    /// Frees an empty directory that has lost its name.
    pub(crate) fn forget_directory(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        view: ViewId,
        entry: &Doomed,
    ) -> Result<()> {
        let node = NodeId::new(view, entry.dentry.inode);
        let inode = Inode {
            nlink: 0,
            ctime: self.store.now(),
            ..entry.inode
        };
        effects.attributes(node);
        forget(&self.handles, txn, effects, node, &inode)
    }

    /// Removes a name and everything below it; returns at once, bytes are freed in the
    /// background. `ENOTEMPTY` if a directory in it has snapshots, `EBUSY` if a volume is
    /// attached in it. Costs the superuser a look at the snapshotted directories and volumes;
    /// others must be allowed to empty every directory of the tree, which is looked at first.
    /// Snapshots are not removed this way (`EPERM`): nobody should lose one to a recursive delete.
    pub fn remove_tree(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<()> {
        if !caller.is_superuser() {
            self.check_contents(caller, parent, name)?;
        }
        let mut pending = None;
        let result = self.change(caller.origin, |txn, effects| {
            let entry = doomed_directory(txn, caller, parent, name)?;
            let now = self.store.now();
            let node = NodeId::new(parent.view(), entry.dentry.inode);
            if entry.dentry.kind != FileKind::Directory {
                remove_entry(txn, parent, name, &entry.dentry, now)?;
                effects.entry(parent, name);
                return self.drop_link(txn, effects, node, now);
            }
            check_tree(txn, parent, &entry)?;
            if is_empty(txn, parent.view(), entry.dentry.inode)? {
                return self.remove_empty(txn, effects, parent, name, &entry);
            }
            remove_entry(txn, parent, name, &entry.dentry, now)?;
            effects.entry(parent, name);
            let inode = Inode {
                nlink: 0,
                ctime: now,
                ..entry.inode
            };
            txn.put_inode(node.view(), node.inode(), &inode)?;
            txn.put(node.view(), &key::orphan(node.inode()), &[])?;
            // Before anybody can see the change: from here on names are refused below it.
            self.reaper.expect_tree(node);
            pending = Some(node);
            effects.orphan(node);
            Ok(())
        });
        if let (Err(_), Some(node)) = (&result, pending) {
            self.reaper.tree_done(node);
        }
        result
    }

    /// Whether the caller may empty every directory below a name.
    fn check_contents(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<()> {
        let top = self.inspect(|reader| {
            let entry = doomed_directory(reader, caller, parent, name)?;
            Ok((entry.dentry.kind == FileKind::Directory).then_some(entry.dentry.inode))
        })?;
        let mut pending: Vec<InodeId> = top.into_iter().collect();
        while let Some(id) = pending.pop() {
            let directory = NodeId::new(parent.view(), id);
            let inode = self.inspect(|reader| {
                let inode = inode_in(reader, parent.view(), id)?;
                if !is_empty(reader, parent.view(), id)? {
                    let needed = permission::READ | WRITE | permission::SEARCH;
                    permission::check(reader, caller, directory, &inode, needed)?;
                }
                Ok(inode)
            })?;
            let sticky = inode.mode & permission::STICKY != 0 && !caller.owns(&inode);
            let mut inside = Vec::new();
            self.each_dentry(parent.view(), id, &mut |_, dentry| {
                if dentry.kind == FileKind::Directory {
                    pending.push(dentry.inode);
                }
                if sticky {
                    inside.push(dentry.inode);
                }
                ControlFlow::Continue(())
            })?;
            for child in inside {
                let child = self.inspect(|reader| inode_in(reader, parent.view(), child))?;
                check_sticky(caller, &inode, &child)?;
            }
        }
        Ok(())
    }
}

fn doomed_directory(
    reader: &dyn Reader,
    caller: &Caller,
    parent: NodeId,
    name: &[u8],
) -> Result<Doomed> {
    let directory = live_directory(reader, caller, parent)?;
    check_name(name)?;
    match name {
        b"." => return Err(Errno::Invalid.into()),
        b".." => return Err(Errno::NotEmpty.into()),
        SNAPSHOT_NAME => return Err(Errno::NotPermitted.into()),
        _ => {}
    }
    doomed(reader, caller, parent, &directory, name)
}

fn check_tree(reader: &dyn Reader, parent: NodeId, entry: &Doomed) -> Result<()> {
    if attached(reader, parent, &entry.dentry)?.is_some() {
        return Err(Errno::Busy.into());
    }
    let (view, top) = (parent.view(), entry.dentry.inode);
    for directory in snapshot_directories_of(reader, view)? {
        if is_below(reader, view, directory, top)? {
            return Err(Errno::NotEmpty.into());
        }
    }
    for record in volume_records(reader)? {
        if record.1.attached_to.0 == view
            && record.0 != view
            && is_below(reader, view, record.1.attached_to.1, top)?
        {
            return Err(Errno::Busy.into());
        }
    }
    Ok(())
}

/// The directories of a volume that have snapshots; costs their number, not the snapshots'.
pub(crate) fn snapshot_directories_of(reader: &dyn Reader, volume: ViewId) -> Result<Vec<InodeId>> {
    let head = catalog::snapshots(volume, InodeId(0));
    let prefix = &head[..head.len() - 8];
    let Some(end) = key::after_prefix(prefix) else {
        return Ok(Vec::new());
    };
    let mut from = prefix.to_vec();
    let mut directories = Vec::new();
    loop {
        let mut found = None;
        reader.catalog_scan(&from, &end, &mut |key, _| {
            let id = key
                .get(prefix.len()..)
                .and_then(|rest| rest.first_chunk::<8>());
            found = id.map(|id| InodeId(u64::from_be_bytes(*id)));
            ControlFlow::Break(())
        })?;
        let Some(directory) = found else {
            return Ok(directories);
        };
        directories.push(directory);
        let Some(next) = key::after_prefix(&catalog::snapshots(volume, directory)) else {
            return Ok(directories);
        };
        from = next;
    }
}

/// Every volume that is not being deleted.
pub(crate) fn volume_records(reader: &dyn Reader) -> Result<Vec<(ViewId, VolumeRecord)>> {
    let from = vec![catalog::VOLUME];
    let to = vec![catalog::VOLUME + 1];
    let mut raw = Vec::new();
    reader.catalog_scan(&from, &to, &mut |key, value| {
        if let Some(id) = key.get(1..).and_then(|rest| rest.first_chunk::<4>()) {
            raw.push((ViewId(u32::from_be_bytes(*id)), value.to_vec()));
        }
        ControlFlow::Continue(())
    })?;
    let mut records = Vec::with_capacity(raw.len());
    for (view, bytes) in raw {
        let record = VolumeRecord::decode(&bytes).map_err(StoreError::from)?;
        if !record.deleting {
            records.push((view, record));
        }
    }
    Ok(records)
}
