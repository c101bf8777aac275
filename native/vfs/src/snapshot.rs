//! Snapshots of directories. `mkdir`, `rmdir` and `rename` inside `.snapshot` end here too.
//!
//! Invariants:
//! - A snapshot is durable before it is acknowledged.
//! - Only an owner of the directory (or the superuser) makes, renames or drops its snapshots.

use crate::error::Result;
use crate::lookup::is_reachable;
use crate::node::{
    attributes_of, each_snapshot, inode_in, is_reserved, live_inode, require_live, snapshot_record,
    view_info,
};
use crate::remove::{snapshot_directories_of, volume_records};
use crate::{Attributes, Caller, Errno, NodeId, SnapshotInfo, Vfs};
use lockstep_format::inode::flags;
use lockstep_format::limits::NAME_BYTES_MAX;
use lockstep_format::{FileKind, Inode, InodeId, SnapshotRecord, ViewId, key};
use lockstep_store::{Reader, StoreError};
use std::ops::ControlFlow;

/// Checks a snapshot's name: 1 to 255 bytes, no `/`, none of the names that always exist.
fn check_snapshot_name(name: &[u8]) -> Result<()> {
    let long = name.len() > NAME_BYTES_MAX;
    let foreign = name.iter().any(|byte| matches!(byte, 0 | b'/'));
    if name.is_empty() || long || foreign || is_reserved(name) {
        return Err(Errno::Invalid.into());
    }
    Ok(())
}

/// The live directory that a node, or its `.snapshot`, stands for.
fn directory_of(node: NodeId) -> NodeId {
    NodeId::new(node.view(), node.inode())
}

fn owned_directory(reader: &dyn Reader, caller: &Caller, directory: NodeId) -> Result<Inode> {
    let inode = live_inode(reader, directory)?;
    if inode.kind != FileKind::Directory {
        return Err(Errno::NotDirectory.into());
    }
    if !caller.owns(&inode) {
        return Err(Errno::Access.into());
    }
    Ok(inode)
}

fn info(name: &[u8], record: &SnapshotRecord) -> SnapshotInfo {
    SnapshotInfo {
        name: name.to_vec(),
        root: NodeId::new(record.view, record.directory),
        directory: NodeId::new(record.volume, record.directory),
        created: record.created,
        epoch: record.epoch.0,
    }
}

impl Vfs {
    /// Takes a snapshot of a live directory: O(1), durable when it returns. All writes acknowledged
    /// before the call are in it.
    pub fn create_snapshot(
        &self,
        caller: &Caller,
        directory: NodeId,
        name: &[u8],
    ) -> Result<SnapshotInfo> {
        check_snapshot_name(name)?;
        let directory = directory_of(directory);
        let (volume, id) = (directory.view(), directory.inode());
        let snapshot = self.change(caller.origin, |txn, effects| {
            let mut inode = owned_directory(txn, caller, directory)?;
            if !is_reachable(txn, directory)? {
                return Err(Errno::NotFound.into());
            }
            if snapshot_record(txn, volume, id, name)?.is_some() {
                return Err(Errno::Exists.into());
            }
            if inode.flags & flags::HAS_SNAPSHOT == 0 {
                inode.flags |= flags::HAS_SNAPSHOT;
                txn.put_inode(volume, id, &inode)?;
            }
            let record = txn.create_snapshot(volume, id, name)?;
            effects.entry(directory.snapshot_directory(), name);
            Ok(info(name, &record))
        })?;
        self.sync()?;
        Ok(snapshot)
    }

    /// Drops a snapshot; what only it kept is freed in the background.
    pub fn delete_snapshot(&self, caller: &Caller, directory: NodeId, name: &[u8]) -> Result<()> {
        let directory = directory_of(directory);
        let (volume, id) = (directory.view(), directory.inode());
        self.change(caller.origin, |txn, effects| {
            let mut inode = owned_directory(txn, caller, directory)?;
            check_snapshot_name(name)?;
            if !txn.delete_snapshot(volume, id, name)? {
                return Err(Errno::NotFound.into());
            }
            if !crate::node::has_snapshots(txn, volume, id, &inode)? {
                inode.flags &= !flags::HAS_SNAPSHOT;
                txn.put_inode(volume, id, &inode)?;
            }
            effects.entry(directory.snapshot_directory(), name);
            Ok(())
        })
    }

    /// Renames a snapshot; `EEXIST` if the new name is taken.
    pub fn rename_snapshot(
        &self,
        caller: &Caller,
        directory: NodeId,
        from: &[u8],
        to: &[u8],
    ) -> Result<()> {
        check_snapshot_name(from)?;
        check_snapshot_name(to)?;
        let directory = directory_of(directory);
        let (volume, id) = (directory.view(), directory.inode());
        self.change(caller.origin, |txn, effects| {
            owned_directory(txn, caller, directory)?;
            if snapshot_record(txn, volume, id, from)?.is_none() {
                return Err(Errno::NotFound.into());
            }
            if from == to {
                return Ok(());
            }
            if snapshot_record(txn, volume, id, to)?.is_some() {
                return Err(Errno::Exists.into());
            }
            if !txn.rename_snapshot(volume, id, from, to)? {
                return Err(Errno::NotFound.into());
            }
            effects.entry(directory.snapshot_directory(), from);
            effects.entry(directory.snapshot_directory(), to);
            Ok(())
        })
    }

    /// The snapshots of a live directory (or of its `.snapshot`), oldest first.
    pub fn list_snapshots(&self, directory: NodeId) -> Result<Vec<SnapshotInfo>> {
        let directory = directory_of(directory);
        let mut list = self.inspect(|reader| {
            require_live(reader, directory)?;
            let inode = inode_in(reader, directory.view(), directory.inode())?;
            if inode.kind != FileKind::Directory {
                return Err(Errno::NotDirectory.into());
            }
            let mut raw = Vec::new();
            each_snapshot(
                reader,
                directory.view(),
                directory.inode(),
                &mut |name, record| {
                    raw.push((name.to_vec(), SnapshotRecord::decode(record)));
                },
            )?;
            let mut list = Vec::with_capacity(raw.len());
            for (name, record) in raw {
                list.push(info(&name, &record.map_err(StoreError::from)?));
            }
            Ok(list)
        })?;
        list.sort_by_key(|snapshot| snapshot.epoch);
        Ok(list)
    }

    /// Live directories that have snapshots or allow them, in all volumes.
    pub fn snapshot_directories(&self) -> Result<Vec<Attributes>> {
        self.inspect(|reader| {
            let mut found = Vec::new();
            for (view, _) in volume_records(reader)? {
                let mut ids = snapshot_directories_of(reader, view)?;
                ids.extend(marked_directories(reader, view)?);
                ids.sort_unstable();
                ids.dedup();
                for id in ids {
                    let node = NodeId::new(view, id);
                    // A clone brings marks of directories that are not part of it.
                    if is_reachable(reader, node)? {
                        found.push(attributes_of(reader, node)?);
                    }
                }
            }
            Ok(found)
        })
    }

    /// The view that shows a directory as of a snapshot, or as it is now.
    pub(crate) fn view_at(&self, directory: NodeId, snapshot: Option<&[u8]>) -> Result<ViewId> {
        self.inspect(|reader| {
            view_info(reader, directory.view())?;
            let Some(name) = snapshot else {
                return Ok(directory.view());
            };
            let record = snapshot_record(reader, directory.view(), directory.inode(), name)?;
            Ok(record.ok_or(Errno::NotFound)?.view)
        })
    }
}

fn marked_directories(reader: &dyn Reader, view: ViewId) -> Result<Vec<InodeId>> {
    let prefix = key::prefix(InodeId(0), key::kind::SNAPSHOTTABLE);
    let end = key::after_prefix(&prefix).ok_or(Errno::Io)?;
    let mut ids = Vec::new();
    reader.scan(view, &prefix, &end, &mut |key, _| {
        if let Some(id) = key
            .get(prefix.len()..)
            .and_then(|rest| rest.first_chunk::<8>())
        {
            ids.push(InodeId(u64::from_be_bytes(*id)));
        }
        ControlFlow::Continue(())
    })?;
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_snapshot_names_are_invalid() {
        assert!(check_snapshot_name(&[b's'; 255]).is_ok());
        for bad in [
            &b""[..],
            b".",
            b"..",
            b"a/b",
            b".snapshot",
            b"a\0b",
            &[b's'; 256],
        ] {
            assert!(check_snapshot_name(bad).is_err());
        }
    }
}
