//! The steps that calls on names are made of: adding and removing entries and links.
//!
//! Invariants:
//! - A directory's size is its number of entries, its link count 2 plus its subdirectories.
//! - An inode without a name is purged in the transaction that took the name, or carries an
//!   orphan mark until the reaper has freed it.

use crate::error::Result;
use crate::event::Effects;
use crate::handle::HandleTable;
use crate::lookup::is_reachable;
use crate::node::inode_in;
use crate::{Caller, Errno, NodeId, Vfs, permission};
use lockstep_format::inode::flags;
use lockstep_format::limits::LINK_COUNT_MAX;
use lockstep_format::{Dentry, FileKind, Inode, InodeId, Timestamp, ViewId, key};
use lockstep_store::{Reader, WriteTxn};
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

/// Files with at most this many stored bytes are freed by the call that removes the last name.
const PURGE_AT_ONCE_BYTES: u64 = 4 << 20;
/// Attributes of one inode dropped in one go.
const XATTR_COUNT_MAX: usize = 65_536;

/// Loads an inode, changes it, stores it.
pub(crate) fn update(
    txn: &mut WriteTxn<'_>,
    view: ViewId,
    id: InodeId,
    change: impl FnOnce(&mut Inode),
) -> Result<Inode> {
    let mut inode = inode_in(txn, view, id)?;
    change(&mut inode);
    txn.put_inode(view, id, &inode)?;
    Ok(inode)
}

/// Puts an entry and counts it in its directory.
pub(crate) fn add_entry(
    txn: &mut WriteTxn<'_>,
    parent: NodeId,
    name: &[u8],
    dentry: &Dentry,
    now: Timestamp,
) -> Result<()> {
    txn.put(
        parent.view(),
        &key::dentry(parent.inode(), name),
        &dentry.encode(),
    )?;
    let directory = dentry.kind == FileKind::Directory;
    update(txn, parent.view(), parent.inode(), |inode| {
        inode.size = inode.size.saturating_add(1);
        inode.nlink = inode.nlink.saturating_add(u32::from(directory));
        (inode.mtime, inode.ctime) = (now, now);
    })?;
    Ok(())
}

/// Takes an entry away and counts it out of its directory.
pub(crate) fn remove_entry(
    txn: &mut WriteTxn<'_>,
    parent: NodeId,
    name: &[u8],
    dentry: &Dentry,
    now: Timestamp,
) -> Result<()> {
    txn.delete(parent.view(), &key::dentry(parent.inode(), name))?;
    let directory = dentry.kind == FileKind::Directory;
    update(txn, parent.view(), parent.inode(), |inode| {
        inode.size = inode.size.saturating_sub(1);
        inode.nlink = inode.nlink.saturating_sub(u32::from(directory));
        (inode.mtime, inode.ctime) = (now, now);
    })?;
    Ok(())
}

/// Deletes the records of an inode that has no extents and no entries left.
pub(crate) fn purge(
    txn: &mut WriteTxn<'_>,
    view: ViewId,
    id: InodeId,
    inode: &Inode,
) -> Result<()> {
    if inode.flags & flags::INLINE != 0 {
        txn.delete(view, &key::inline(id))?;
    }
    if inode.flags & flags::HAS_XATTR != 0 {
        let prefix = key::prefix(id, key::kind::XATTR);
        let end = key::after_prefix(&prefix).ok_or(Errno::Io)?;
        let mut keys = Vec::new();
        txn.scan(view, &prefix, &end, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < XATTR_COUNT_MAX {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })?;
        for key in keys {
            txn.delete(view, &key)?;
        }
    }
    if inode.flags & flags::SNAPSHOTTABLE != 0 {
        txn.delete(view, &key::snapshottable(id))?;
    }
    txn.delete(view, &key::orphan(id))?;
    txn.delete(view, &key::inode(id))?;
    Ok(())
}

impl Vfs {
    /// Refuses names in a directory that is gone, or is going with the tree above it.
    pub(crate) fn require_linked(
        &self,
        reader: &dyn Reader,
        directory: NodeId,
        inode: &Inode,
    ) -> Result<()> {
        let gone = inode.nlink == 0 || self.reaper.has_trees() && !is_reachable(reader, directory)?;
        if gone {
            Err(Errno::NotFound.into())
        } else {
            Ok(())
        }
    }

    /// Checks that a name may be added to a directory whose search permission was checked.
    pub(crate) fn check_add(
        &self,
        reader: &dyn Reader,
        caller: &Caller,
        parent: NodeId,
        inode: &Inode,
        kind: FileKind,
    ) -> Result<()> {
        permission::check(reader, caller, parent, inode, permission::WRITE)?;
        self.require_linked(reader, parent, inode)?;
        if kind == FileKind::Directory && inode.nlink >= LINK_COUNT_MAX {
            return Err(Errno::TooManyLinks.into());
        }
        Ok(())
    }

    /// Takes one name from an inode that is not a directory; frees it if that was the last.
    pub(crate) fn drop_link(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        node: NodeId,
        now: Timestamp,
    ) -> Result<()> {
        let (view, id) = (node.view(), node.inode());
        let mut inode = inode_in(txn, view, id)?;
        inode.nlink = inode.nlink.saturating_sub(1);
        inode.ctime = now;
        effects.attributes(node);
        if inode.nlink > 0 {
            txn.put_inode(view, id, &inode)?;
            return Ok(());
        }
        forget(&self.handles, txn, effects, node, &inode)
    }
}

/// Frees an inode without a name at once if that is little work and nobody holds it; else leaves
/// it to the last release or to the reaper.
pub(crate) fn forget(
    handles: &HandleTable,
    txn: &mut WriteTxn<'_>,
    effects: &mut Effects,
    node: NodeId,
    inode: &Inode,
) -> Result<()> {
    let (view, id) = (node.view(), node.inode());
    if handles.has_strangers.load(Ordering::Relaxed) {
        effects.orphan(node);
    } else if !handles.keep_until_release(node) {
        let inline = inode.kind != FileKind::File || inode.flags & flags::INLINE != 0;
        if inline {
            return purge(txn, view, id, inode);
        }
        let small = inode.allocated <= PURGE_AT_ONCE_BYTES;
        if small && !txn.clear_range(view, id, 0, u64::MAX)?.1 {
            return purge(txn, view, id, inode);
        }
        effects.orphan(node);
    }
    txn.put(view, &key::orphan(id), &[])?;
    txn.put_inode(view, id, inode)?;
    Ok(())
}
