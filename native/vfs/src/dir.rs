//! Making names: directories, special files, symbolic and hard links; listing them.
//!
//! Invariants:
//! - A new inode and its name appear in one change.
//! - Errors come in the order Linux gives them: search permission, existing name, write permission.

use crate::entry::{add_entry, update};
use crate::error::Result;
use crate::event::Effects;
use crate::lookup::dentries;
use crate::node::{
    attributes, attributes_of, check_new_name, child_node, inode_in, inode_of, live_directory,
    live_inode, view_info,
};
use crate::permission::{self, inherit_group};
use crate::{Attributes, Caller, DirectoryEntry, Errno, NodeId, Vfs, acl};
use lockstep_format::inode::flags;
use lockstep_format::limits::{LINK_COUNT_MAX, PATH_BYTES_MAX};
use lockstep_format::{Dentry, FileKind, Inode, SnapshotRecord, key};
use lockstep_store::{Reader, WriteTxn};
use std::ops::ControlFlow;

/// Entries read under one lock.
const LIST_BATCH: usize = 256;

/// An inode to be made.
pub(crate) struct NewInode<'a> {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits asked for, before umask or default ACL.
    pub mode: u32,
    /// Device number.
    pub rdev: u32,
    /// The target of a symbolic link.
    pub target: &'a [u8],
}

impl NewInode<'_> {
    /// A directory or an ordinary file.
    pub(crate) fn plain(kind: FileKind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            rdev: 0,
            target: &[],
        }
    }
}

impl Vfs {
    /// Makes a directory. In a `.snapshot` directory: takes a snapshot.
    pub fn make_directory(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
    ) -> Result<Attributes> {
        if parent.is_snapshot_directory() {
            let directory = NodeId::new(parent.view(), parent.inode());
            let snapshot = self.create_snapshot(caller, directory, name)?;
            return self.attributes(snapshot.root);
        }
        // Set-user-id and set-group-id mean nothing to mkdir(2); the parent decides.
        let new = NewInode::plain(FileKind::Directory, mode & 0o1777);
        self.make(caller, parent, name, &new)
    }

    /// Makes a fifo, device or socket; or an empty regular file.
    pub fn make_node(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        kind: FileKind,
        mode: u32,
        rdev: u32,
    ) -> Result<Attributes> {
        match kind {
            FileKind::Directory | FileKind::Symlink => return Err(Errno::Invalid.into()),
            FileKind::CharDevice | FileKind::BlockDevice if !caller.is_superuser() => {
                return Err(Errno::NotPermitted.into());
            }
            _ => {}
        }
        self.make(
            caller,
            parent,
            name,
            &NewInode {
                kind,
                mode,
                rdev,
                target: &[],
            },
        )
    }

    /// Makes a symbolic link to `target`, which need not exist.
    pub fn symlink(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        target: &[u8],
    ) -> Result<Attributes> {
        if target.is_empty() {
            return Err(Errno::NotFound.into());
        }
        if target.len() >= PATH_BYTES_MAX {
            return Err(Errno::NameTooLong.into());
        }
        if target.contains(&0) {
            return Err(Errno::Invalid.into());
        }
        let new = NewInode {
            kind: FileKind::Symlink,
            mode: 0o777,
            rdev: 0,
            target,
        };
        self.make(caller, parent, name, &new)
    }

    fn make(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Attributes> {
        self.change(caller.origin, |txn, effects| {
            let directory = live_directory(txn, caller, parent)?;
            check_new_name(name)?;
            if txn.dentry(parent.view(), parent.inode(), name)?.is_some() {
                return Err(Errno::Exists.into());
            }
            self.make_in(txn, effects, caller, (parent, &directory), name, new)
        })
    }

    /// Makes an inode and its name; the directory was entered and the name is free.
    pub(crate) fn make_in(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        caller: &Caller,
        (parent, directory): (NodeId, &Inode),
        name: &[u8],
        new: &NewInode<'_>,
    ) -> Result<Attributes> {
        self.check_add(txn, caller, parent, directory, new.kind)?;
        let view = parent.view();
        let now = self.store.now();
        let from = (parent.inode(), directory);
        let inherited = acl::inherit(txn, view, from, new.kind, new.mode & 0o7777, caller.umask)?;
        let (gid, mode) = inherit_group(caller, directory, new.kind, inherited.mode);
        let id = txn.new_inode()?;
        let inline = matches!(new.kind, FileKind::File | FileKind::Symlink);
        let mut inode = Inode {
            kind: new.kind,
            mode,
            nlink: if new.kind == FileKind::Directory {
                2
            } else {
                1
            },
            uid: caller.uid,
            gid,
            size: new.target.len() as u64,
            allocated: new.target.len() as u64,
            rdev: new.rdev,
            flags: if inline { flags::INLINE } else { 0 },
            parent: parent.inode(),
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            block_size: 0,
            replication: 0,
        };
        inherited.store(txn, view, id, &mut inode)?;
        if !new.target.is_empty() {
            txn.put(view, &key::inline(id), new.target)?;
        }
        txn.put_inode(view, id, &inode)?;
        let dentry = Dentry {
            inode: id,
            kind: new.kind,
            volume: None,
        };
        add_entry(txn, parent, name, &dentry, now)?;
        effects.entry(parent, name);
        Ok(attributes(NodeId::new(view, id), &inode, false))
    }

    /// Gives a file another name in the same volume.
    pub fn link(
        &self,
        caller: &Caller,
        node: NodeId,
        parent: NodeId,
        name: &[u8],
    ) -> Result<Attributes> {
        self.change(caller.origin, |txn, effects| {
            if node.view() != parent.view() {
                return Err(Errno::CrossVolume.into());
            }
            let directory = live_directory(txn, caller, parent)?;
            let inode = live_inode(txn, node)?;
            check_new_name(name)?;
            if txn.dentry(parent.view(), parent.inode(), name)?.is_some() {
                return Err(Errno::Exists.into());
            }
            if inode.kind == FileKind::Directory {
                return Err(Errno::NotPermitted.into());
            }
            if inode.nlink == 0 {
                return Err(Errno::NotFound.into());
            }
            if inode.nlink >= LINK_COUNT_MAX {
                return Err(Errno::TooManyLinks.into());
            }
            self.check_add(txn, caller, parent, &directory, inode.kind)?;
            let now = self.store.now();
            let inode = update(txn, node.view(), node.inode(), |inode| {
                inode.nlink += 1;
                inode.flags |= flags::HAD_LINKS;
                inode.ctime = now;
                inode.parent = parent.inode();
            })?;
            let dentry = Dentry {
                inode: node.inode(),
                kind: inode.kind,
                volume: None,
            };
            add_entry(txn, parent, name, &dentry, now)?;
            effects.entry(parent, name);
            effects.attributes(node);
            Ok(attributes(node, &inode, false))
        })
    }

    /// Entries after the name `after` (None = from the start), in signed-byte order, without `.`
    /// and `..`; calls `each` until it breaks, with no store lock held. `.snapshot` is never
    /// listed. `with_attributes` fills [`DirectoryEntry::attributes`]. Checks read permission.
    /// Entries made or removed meanwhile may be missing or not; all others come exactly once.
    pub fn list(
        &self,
        caller: &Caller,
        directory: NodeId,
        after: Option<&[u8]>,
        with_attributes: bool,
        each: &mut dyn FnMut(DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let inode = self.inspect(|reader| {
            let inode = inode_of(reader, directory)?;
            if inode.kind != FileKind::Directory {
                return Err(Errno::NotDirectory.into());
            }
            permission::check(reader, caller, directory, &inode, permission::READ)?;
            Ok(inode)
        })?;
        if directory.is_snapshot_directory() {
            return self.list_snapshot_names(directory, after, with_attributes, each);
        }
        self.touch_access_time(directory, &inode);
        let mut after = after.map(<[u8]>::to_vec);
        loop {
            let batch = self.inspect(|reader| {
                list_batch(reader, directory, after.as_deref(), with_attributes)
            })?;
            let last = batch.len() < LIST_BATCH;
            after = batch.last().map(|entry| entry.name.clone());
            for entry in batch {
                if each(entry).is_break() {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    fn list_snapshot_names(
        &self,
        directory: NodeId,
        after: Option<&[u8]>,
        with_attributes: bool,
        each: &mut dyn FnMut(DirectoryEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let signed = |name: &[u8]| key::dentry(directory.inode(), name);
        let mut entries = self.inspect(|reader| {
            let mut entries = Vec::new();
            let (volume, inode) = (directory.view(), directory.inode());
            crate::node::each_snapshot(reader, volume, inode, &mut |name, record| {
                let past = after.is_none_or(|after| signed(name) > signed(after));
                if let (true, Ok(record)) = (past, SnapshotRecord::decode(record)) {
                    entries.push((name.to_vec(), NodeId::new(record.view, record.directory)));
                }
            })?;
            Ok(entries)
        })?;
        entries.sort_by_cached_key(|(name, _)| signed(name));
        for (name, node) in entries {
            let attributes = if with_attributes {
                // Deleted since: not an entry any more.
                let Ok(attributes) = self.attributes(node) else {
                    continue;
                };
                Some(attributes)
            } else {
                None
            };
            let entry = DirectoryEntry {
                name,
                node,
                kind: FileKind::Directory,
                attributes,
            };
            if each(entry).is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn list_batch(
    reader: &dyn Reader,
    directory: NodeId,
    after: Option<&[u8]>,
    with_attributes: bool,
) -> Result<Vec<DirectoryEntry>> {
    let read_only = view_info(reader, directory.view())?.snapshot.is_some();
    let found = dentries(
        reader,
        directory.view(),
        directory.inode(),
        after,
        LIST_BATCH,
    )?;
    let mut entries = Vec::with_capacity(found.len());
    for (name, dentry) in found {
        let node = child_node(reader, directory, &dentry)?;
        let attributes = if !with_attributes {
            None
        } else if node.view() == directory.view() {
            let inode = inode_in(reader, node.view(), node.inode())?;
            Some(attributes(node, &inode, read_only))
        } else {
            Some(attributes_of(reader, node)?)
        };
        entries.push(DirectoryEntry {
            name,
            node,
            kind: dentry.kind,
            attributes,
        });
    }
    Ok(entries)
}
