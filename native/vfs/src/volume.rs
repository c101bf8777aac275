//! Volumes and clones: trees of their own, attached at a name.
//!
//! Invariants:
//! - The entry that a volume is attached to is an empty directory of the parent's volume; that is
//!   what snapshots and clones of the parent show.
//! - A volume is attached to one place, and is deleted only when nothing depends on it.

use crate::entry::{add_entry, purge, remove_entry, update};
use crate::error::Result;
use crate::event::Effects;
use crate::node::{
    attached, check_name, check_new_name, inode_in, live_directory, require_live, snapshot_record,
    view_info,
};
use crate::permission::{self, READ, SEARCH};
use crate::remove::{doomed, snapshot_directories_of, volume_records};
use crate::store::root_directory;
use crate::{Caller, Errno, NodeId, Vfs, VolumeInfo};
use lockstep_format::inode::flags;
use lockstep_format::{Dentry, FileKind, Inode, InodeId, ViewId, VolumeRecord};
use lockstep_store::{Reader, WriteTxn};

impl Vfs {
    /// A writable volume born from a snapshot of `directory`, attached as `parent/name`. O(1). Its
    /// root directory belongs to the caller, all else is as in the snapshot.
    pub fn create_clone(
        &self,
        caller: &Caller,
        directory: NodeId,
        snapshot: &[u8],
        parent: NodeId,
        name: &[u8],
    ) -> Result<VolumeInfo> {
        let view = self.change(caller.origin, |txn, effects| {
            require_live(txn, directory)?;
            let found = snapshot_record(txn, directory.view(), directory.inode(), snapshot)?;
            let record = found.ok_or(Errno::NotFound)?;
            let top = inode_in(txn, record.view, record.directory)?;
            let seen = NodeId::new(record.view, record.directory);
            permission::check(txn, caller, seen, &top, READ | SEARCH)?;
            self.attach(txn, effects, caller, parent, name, |txn, place| {
                let view = txn.create_clone(record.view, place, name)?;
                update(txn, view, record.directory, |inode| {
                    (inode.uid, inode.gid) = (caller.uid, caller.gid);
                    // The origin's snapshots are not the clone's.
                    inode.flags &= !flags::HAS_SNAPSHOT;
                })?;
                Ok(view)
            })
        })?;
        // What was being freed in the origin is to be freed in the clone, too.
        self.reaper.adopt(view)?;
        self.volume_info(view)
    }

    /// An empty volume, attached as `parent/name`; its root directory belongs to the caller.
    pub fn create_volume(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
    ) -> Result<VolumeInfo> {
        let view = self.change(caller.origin, |txn, effects| {
            self.attach(txn, effects, caller, parent, name, |txn, place| {
                let view = txn.create_volume(place, name)?;
                let root = root_directory(caller.uid, caller.gid, self.store.now());
                txn.put_inode(view, InodeId::ROOT, &root)?;
                Ok(view)
            })
        })?;
        self.volume_info(view)
    }

    /// Makes a volume by `make` and its entry.
    fn attach(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        make: impl FnOnce(&mut WriteTxn<'_>, (ViewId, InodeId)) -> Result<ViewId>,
    ) -> Result<ViewId> {
        let directory = live_directory(txn, caller, parent)?;
        check_new_name(name)?;
        let (view, id) = (parent.view(), parent.inode());
        if txn.dentry(view, id, name)?.is_some() {
            return Err(Errno::Exists.into());
        }
        self.check_add(txn, caller, parent, &directory, FileKind::Directory)?;
        let now = self.store.now();
        let covered = txn.new_inode()?;
        let inode = Inode {
            parent: id,
            ..root_directory(caller.uid, caller.gid, now)
        };
        txn.put_inode(view, covered, &inode)?;
        let volume = make(txn, (view, id))?;
        let dentry = Dentry {
            inode: covered,
            kind: FileKind::Directory,
            volume: Some(volume),
        };
        add_entry(txn, parent, name, &dentry, now)?;
        effects.entry(parent, name);
        Ok(volume)
    }

    /// Deletes a volume and its name. `EBUSY` while it has snapshots, open files or volumes
    /// attached in it. Only the owner of its root directory may.
    pub fn delete_volume(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<()> {
        self.change(caller.origin, |txn, effects| {
            let directory = live_directory(txn, caller, parent)?;
            check_name(name)?;
            let entry = doomed(txn, caller, parent, &directory, name)?;
            let volume = attached(txn, parent, &entry.dentry)?.ok_or(Errno::Invalid)?;
            let root = view_info(txn, volume)?.root_inode;
            if !caller.owns(&inode_in(txn, volume, root)?) {
                return Err(Errno::NotPermitted.into());
            }
            let inside = |record: &(ViewId, VolumeRecord)| {
                record.0 != volume && record.1.attached_to.0 == volume
            };
            if !snapshot_directories_of(txn, volume)?.is_empty()
                || self.handles.is_view_open(volume)
                || volume_records(txn)?.iter().any(inside)
            {
                return Err(Errno::Busy.into());
            }
            remove_entry(txn, parent, name, &entry.dentry, self.store.now())?;
            purge(txn, parent.view(), entry.dentry.inode, &entry.inode)?;
            txn.delete_volume(volume)?;
            effects.entry(parent, name);
            Ok(())
        })
    }

    /// All volumes, the root volume first.
    pub fn list_volumes(&self) -> Result<Vec<VolumeInfo>> {
        let records = self.inspect(|reader| volume_records(reader))?;
        let mut list = Vec::with_capacity(records.len());
        for (view, _) in records {
            match self.volume_info(view) {
                Ok(info) => list.push(info),
                // Deleted since, or its place is.
                Err(crate::VfsError::Errno(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(list)
    }

    fn volume_info(&self, view: ViewId) -> Result<VolumeInfo> {
        let (info, record) = self.inspect(|reader| {
            let record = crate::node::volume_record(reader, view)?.ok_or(Errno::NotFound)?;
            Ok((view_info(reader, view)?, record))
        })?;
        let root = NodeId::new(view, info.root_inode);
        Ok(VolumeInfo {
            root,
            path: self.path_of(root)?,
            origin: record.origin.map(|origin| origin.snapshot.0),
            created: record.created,
            inodes: info.inodes,
            bytes: info.bytes,
        })
    }
}
