//! From a node to its inode, its attributes, its parent and its children.
//!
//! Invariants:
//! - An attached volume is a dentry with `volume` set whose inode is an empty directory of the
//!   parent's volume. Where the attachment does not hold (inside a snapshot, in a clone that was
//!   born with the dentry) the entry stands for that empty directory.
//! - Nothing below a snapshot's view and nothing but snapshots below `.snapshot` is ever changed.

use crate::error::Result;
use crate::{Attributes, Caller, Errno, NodeId, permission};
use lockstep_format::inode::flags;
use lockstep_format::key::catalog;
use lockstep_format::limits::NAME_BYTES_MAX;
use lockstep_format::{Dentry, FileKind, Inode, InodeId, SnapshotRecord, ViewId, VolumeRecord};
use lockstep_store::{Reader, StoreError, ViewInfo};

/// The name under which a directory's snapshots are seen. No real entry ever has it.
pub(crate) const SNAPSHOT_NAME: &[u8] = b".snapshot";

/// The view, or `ESTALE` if its volume or snapshot is gone.
pub(crate) fn view_info(reader: &dyn Reader, view: ViewId) -> Result<ViewInfo> {
    Ok(reader.view(view)?.ok_or(Errno::Stale)?)
}

/// The inode in that view, or `ENOENT`.
pub(crate) fn inode_in(reader: &dyn Reader, view: ViewId, inode: InodeId) -> Result<Inode> {
    Ok(reader.inode(view, inode)?.ok_or(Errno::NotFound)?)
}

/// The inode of a node; a `.snapshot` directory has its directory's.
pub(crate) fn inode_of(reader: &dyn Reader, node: NodeId) -> Result<Inode> {
    view_info(reader, node.view())?;
    inode_in(reader, node.view(), node.inode())
}

/// Attributes as everybody sees them.
pub(crate) fn attributes_of(reader: &dyn Reader, node: NodeId) -> Result<Attributes> {
    let info = view_info(reader, node.view())?;
    let inode = inode_in(reader, node.view(), node.inode())?;
    if node.is_snapshot_directory() {
        return snapshot_directory(reader, node, &inode);
    }
    Ok(attributes(node, &inode, info.snapshot.is_some()))
}

fn snapshot_directory(reader: &dyn Reader, node: NodeId, inode: &Inode) -> Result<Attributes> {
    let mut count = 0;
    each_snapshot(reader, node.view(), node.inode(), &mut |_, _| count += 1)?;
    let mut seen = attributes(node, inode, false);
    seen.mode &= 0o777;
    seen.nlink = 2u32.saturating_add(count);
    seen.size = u64::from(count);
    seen.has_acl = false;
    seen.snapshottable = false;
    Ok(seen)
}

/// Attributes of an inode that was read already.
pub(crate) fn attributes(node: NodeId, inode: &Inode, read_only: bool) -> Attributes {
    Attributes {
        node,
        kind: inode.kind,
        mode: inode.mode,
        nlink: inode.nlink,
        uid: inode.uid,
        gid: inode.gid,
        size: inode.size,
        allocated: inode.allocated,
        rdev: inode.rdev,
        atime: inode.atime,
        mtime: inode.mtime,
        ctime: inode.ctime,
        btime: inode.btime,
        block_size: inode.block_size,
        replication: inode.replication,
        has_acl: inode.flags & flags::HAS_ACL != 0,
        snapshottable: inode.flags & flags::SNAPSHOTTABLE != 0,
        read_only,
    }
}

/// Refuses what can never be changed: `EPERM` for `.snapshot`, `EROFS` inside snapshots.
pub(crate) fn require_live(reader: &dyn Reader, node: NodeId) -> Result<ViewInfo> {
    let info = view_info(reader, node.view())?;
    if node.is_snapshot_directory() {
        return Err(Errno::NotPermitted.into());
    }
    if info.snapshot.is_some() {
        return Err(Errno::ReadOnly.into());
    }
    Ok(info)
}

/// The inode of a node whose volume can be written.
pub(crate) fn live_inode(reader: &dyn Reader, node: NodeId) -> Result<Inode> {
    require_live(reader, node)?;
    inode_in(reader, node.view(), node.inode())
}

/// The directory a name is to be made or removed in, with search permission checked.
pub(crate) fn live_directory(reader: &dyn Reader, caller: &Caller, node: NodeId) -> Result<Inode> {
    let inode = live_inode(reader, node)?;
    if inode.kind != FileKind::Directory {
        return Err(Errno::NotDirectory.into());
    }
    permission::check(reader, caller, node, &inode, permission::SEARCH)?;
    Ok(inode)
}

/// Checks a name that is to be looked up.
pub(crate) fn check_name(name: &[u8]) -> Result<()> {
    if name.is_empty() {
        return Err(Errno::NotFound.into());
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Errno::NameTooLong.into());
    }
    if name.iter().any(|byte| matches!(byte, 0 | b'/')) {
        return Err(Errno::Invalid.into());
    }
    Ok(())
}

/// Checks a name that is to be made: the names that always exist are taken.
pub(crate) fn check_new_name(name: &[u8]) -> Result<()> {
    check_name(name)?;
    if is_reserved(name) {
        Err(Errno::Exists.into())
    } else {
        Ok(())
    }
}

/// `.`, `..` and `.snapshot`.
pub(crate) fn is_reserved(name: &[u8]) -> bool {
    matches!(name, b"." | b"..") || name == SNAPSHOT_NAME
}

/// Decodes the record of a volume that is not being deleted.
pub(crate) fn volume_record(reader: &dyn Reader, volume: ViewId) -> Result<Option<VolumeRecord>> {
    let Some(bytes) = reader.catalog_get(&catalog::volume(volume))? else {
        return Ok(None);
    };
    let record = VolumeRecord::decode(&bytes).map_err(StoreError::from)?;
    Ok((!record.deleting).then_some(record))
}

/// Whether the dentry `name -> dentry` of directory `parent` holds an attached volume there.
pub(crate) fn attached(
    reader: &dyn Reader,
    parent: NodeId,
    dentry: &Dentry,
) -> Result<Option<ViewId>> {
    let Some(volume) = dentry.volume else {
        return Ok(None);
    };
    let here = (parent.view(), parent.inode());
    let record = volume_record(reader, volume)?;
    Ok(record
        .filter(|record| record.attached_to == here)
        .map(|_| volume))
}

/// The node that a dentry of `parent` stands for.
pub(crate) fn child_node(reader: &dyn Reader, parent: NodeId, dentry: &Dentry) -> Result<NodeId> {
    match attached(reader, parent, dentry)? {
        Some(volume) => {
            let info = view_info(reader, volume)?;
            Ok(NodeId::new(volume, info.root_inode))
        }
        None => Ok(NodeId::new(parent.view(), dentry.inode)),
    }
}

/// The node that holds this directory (or that a file was last named in); the root holds itself.
pub(crate) fn parent_node(reader: &dyn Reader, node: NodeId) -> Result<NodeId> {
    if node.is_snapshot_directory() {
        return Ok(NodeId::new(node.view(), node.inode()));
    }
    let info = view_info(reader, node.view())?;
    if let Some(snapshot) = &info.snapshot {
        if snapshot.directory == node.inode() {
            return Ok(NodeId::new(snapshot.volume, snapshot.directory).snapshot_directory());
        }
    } else if info.root_inode == node.inode() {
        if node.view() == ViewId::ROOT {
            return Ok(NodeId::ROOT);
        }
        let record = volume_record(reader, node.view())?.ok_or(Errno::Stale)?;
        return Ok(NodeId::new(record.attached_to.0, record.attached_to.1));
    }
    let inode = inode_in(reader, node.view(), node.inode())?;
    Ok(NodeId::new(node.view(), inode.parent))
}

/// The snapshot `name` of a live directory.
pub(crate) fn snapshot_record(
    reader: &dyn Reader,
    volume: ViewId,
    directory: InodeId,
    name: &[u8],
) -> Result<Option<SnapshotRecord>> {
    let Some(bytes) = reader.catalog_get(&catalog::snapshot(volume, directory, name))? else {
        return Ok(None);
    };
    Ok(Some(
        SnapshotRecord::decode(&bytes).map_err(StoreError::from)?,
    ))
}

/// Calls `each` with the name and the raw record of every snapshot of a directory.
pub(crate) fn each_snapshot(
    reader: &dyn Reader,
    volume: ViewId,
    directory: InodeId,
    each: &mut dyn FnMut(&[u8], &[u8]),
) -> Result<()> {
    let from = catalog::snapshots(volume, directory);
    let Some(to) = lockstep_format::key::after_prefix(&from) else {
        return Ok(());
    };
    reader.catalog_scan(&from, &to, &mut |key, value| {
        each(&key[from.len()..], value);
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(())
}

/// Whether the directory has a snapshot of its own.
pub(crate) fn has_snapshots(
    reader: &dyn Reader,
    volume: ViewId,
    directory: InodeId,
    inode: &Inode,
) -> Result<bool> {
    if inode.flags & flags::HAS_SNAPSHOT == 0 {
        return Ok(false);
    }
    let from = catalog::snapshots(volume, directory);
    let Some(to) = lockstep_format::key::after_prefix(&from) else {
        return Ok(false);
    };
    let mut found = false;
    reader.catalog_scan(&from, &to, &mut |_, _| {
        found = true;
        std::ops::ControlFlow::Break(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(check_name(b"a").is_ok());
        assert!(check_name(&[0xff; 255]).is_ok());
        for bad in [&b""[..], b"a/b", b"a\0", &[b'a'; 256]] {
            assert!(check_name(bad).is_err());
        }
        for reserved in [&b"."[..], b"..", b".snapshot"] {
            assert!(check_name(reserved).is_ok() && check_new_name(reserved).is_err());
        }
    }
}
