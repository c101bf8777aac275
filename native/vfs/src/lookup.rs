//! Names to nodes, nodes to names.
//!
//! Invariants:
//! - A path is walked inside one transaction: it is resolved in one state of the store.
//! - Search permission is checked on every directory that a name is looked up in.

use crate::error::Result;
use crate::node::{
    SNAPSHOT_NAME, attributes, attributes_of, check_name, child_node, inode_in, inode_of,
    parent_node, snapshot_record, view_info, volume_record,
};
use crate::permission::{self, READ, SEARCH, WRITE};
use crate::{Attributes, Caller, Errno, FileSystemStatistics, NodeId, Vfs};
use lockstep_format::inode::flags;
use lockstep_format::key;
use lockstep_format::limits::{NAME_BYTES_MAX, PATH_BYTES_MAX};
use lockstep_format::{Dentry, FileKind, Inode, InodeId, ViewId};
use lockstep_store::Reader;
use std::ops::ControlFlow;

/// Symbolic links followed in one path (Linux: `MAXSYMLINKS`).
const SYMLINK_COUNT_MAX: u32 = 40;
/// Deepest directory whose path is told. Deeper ones work, but have no path.
const DEPTH_MAX: usize = 1 << 16;
/// Entries looked at under one lock while a name is searched for by its inode.
const SCAN_BATCH: usize = 4096;

/// Looks `name` up in `parent`, permission included.
pub(crate) fn lookup_in(
    reader: &dyn Reader,
    caller: &Caller,
    parent: NodeId,
    name: &[u8],
) -> Result<Attributes> {
    // A name that no snapshot can have is refused in the same way whichever call comes with it; a
    // kernel looks a name up before it makes a directory of it.
    if parent.is_snapshot_directory() && name.len() > NAME_BYTES_MAX {
        return Err(Errno::Invalid.into());
    }
    check_name(name)?;
    let info = view_info(reader, parent.view())?;
    let directory = inode_in(reader, parent.view(), parent.inode())?;
    if directory.kind != FileKind::Directory {
        return Err(Errno::NotDirectory.into());
    }
    permission::check(reader, caller, parent, &directory, SEARCH)?;
    match name {
        b"." => return attributes_of(reader, parent),
        b".." => return attributes_of(reader, parent_node(reader, parent)?),
        _ => {}
    }
    if parent.is_snapshot_directory() {
        let record = snapshot_record(reader, parent.view(), parent.inode(), name)?;
        let record = record.ok_or(Errno::NotFound)?;
        return attributes_of(reader, NodeId::new(record.view, record.directory));
    }
    if name == SNAPSHOT_NAME {
        if info.snapshot.is_some() {
            return Err(Errno::NotFound.into());
        }
        return attributes_of(reader, parent.snapshot_directory());
    }
    let dentry = reader
        .dentry(parent.view(), parent.inode(), name)?
        .ok_or(Errno::NotFound)?;
    let node = child_node(reader, parent, &dentry)?;
    let inode = inode_in(reader, node.view(), node.inode())?;
    Ok(attributes(node, &inode, info.snapshot.is_some()))
}

/// The target of a symbolic link.
pub(crate) fn link_target(reader: &dyn Reader, node: NodeId) -> Result<Vec<u8>> {
    Ok(reader
        .get(node.view(), &key::inline(node.inode()))?
        .unwrap_or_default())
}

/// A path being walked: components still to come, last one first.
struct Walk<'a> {
    reader: &'a dyn Reader,
    caller: &'a Caller,
    at: Attributes,
    rest: Vec<Vec<u8>>,
    links: u32,
}

fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty())
}

fn check_path(path: &[u8]) -> Result<()> {
    if path.is_empty() {
        return Err(Errno::NotFound.into());
    }
    if path.len() > PATH_BYTES_MAX {
        return Err(Errno::NameTooLong.into());
    }
    if path.contains(&0) {
        return Err(Errno::Invalid.into());
    }
    Ok(())
}

impl<'a> Walk<'a> {
    fn new(reader: &'a dyn Reader, caller: &'a Caller, parts: Vec<Vec<u8>>) -> Result<Self> {
        let at = attributes_of(reader, NodeId::ROOT)?;
        Ok(Self {
            reader,
            caller,
            at,
            rest: parts,
            links: 0,
        })
    }

    fn run(mut self, follow_last: bool) -> Result<Attributes> {
        while let Some(name) = self.rest.pop() {
            let found = lookup_in(self.reader, self.caller, self.at.node, &name)?;
            if found.kind == FileKind::Symlink && (follow_last || !self.rest.is_empty()) {
                self.follow(&found)?;
            } else {
                self.at = found;
            }
        }
        Ok(self.at)
    }

    fn follow(&mut self, link: &Attributes) -> Result<()> {
        self.links += 1;
        if self.links > SYMLINK_COUNT_MAX {
            return Err(Errno::LinkLoop.into());
        }
        let target = link_target(self.reader, link.node)?;
        if target.first() == Some(&b'/') {
            self.at = attributes_of(self.reader, NodeId::ROOT)?;
        }
        self.rest
            .extend(components(&target).rev().map(<[u8]>::to_vec));
        if target.last() == Some(&b'/') && self.rest.is_empty() {
            self.rest.push(b".".to_vec());
        }
        let left: usize = self.rest.iter().map(|part| part.len() + 1).sum();
        if left > 2 * PATH_BYTES_MAX {
            Err(Errno::NameTooLong.into())
        } else {
            Ok(())
        }
    }
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    components(path).rev().map(<[u8]>::to_vec).collect()
}

impl Vfs {
    /// `stat` by node. No permission is needed once a node is known.
    pub fn attributes(&self, node: NodeId) -> Result<Attributes> {
        self.inspect(|reader| attributes_of(reader, node))
    }

    /// Looks a name up in a directory; `.`, `..` and `.snapshot` work. Checks search permission.
    pub fn lookup(&self, caller: &Caller, parent: NodeId, name: &[u8]) -> Result<Attributes> {
        self.inspect(|reader| lookup_in(reader, caller, parent, name))
    }

    /// Walks a path from the root of the namespace, checks search permission on the way, follows
    /// symbolic links inside, and the last one if `follow`.
    pub fn resolve(&self, caller: &Caller, path: &[u8], follow: bool) -> Result<Attributes> {
        check_path(path)?;
        let mut parts = reversed(path);
        let directory = path.last() == Some(&b'/') && !parts.is_empty();
        if directory {
            parts.insert(0, b".".to_vec());
        }
        self.inspect(|reader| Walk::new(reader, caller, parts)?.run(follow || directory))
    }

    /// The parent directory and the last name of a path (for calls that make or remove a name).
    /// The root, and paths that end in `.` or `..`, answer `Invalid`.
    pub fn resolve_parent(&self, caller: &Caller, path: &[u8]) -> Result<(Attributes, Vec<u8>)> {
        check_path(path)?;
        let mut parts = reversed(path);
        if parts.is_empty() {
            return Err(Errno::Invalid.into());
        }
        let name = parts.remove(0);
        if matches!(name.as_slice(), b"." | b"..") {
            return Err(Errno::Invalid.into());
        }
        let parent = self.inspect(|reader| Walk::new(reader, caller, parts)?.run(true))?;
        if parent.kind != FileKind::Directory {
            return Err(Errno::NotDirectory.into());
        }
        Ok((parent, name))
    }

    /// Whether the caller may: `mask` is 4 read, 2 write, 1 search/execute, any sum; 0 = exists.
    pub fn access(&self, caller: &Caller, node: NodeId, mask: u32) -> Result<()> {
        self.inspect(|reader| {
            let info = view_info(reader, node.view())?;
            let inode = inode_of(reader, node)?;
            if mask & !(READ | WRITE | SEARCH) != 0 {
                return Err(Errno::Invalid.into());
            }
            let unwritable = info.snapshot.is_some() || self.read_only;
            let device = matches!(
                inode.kind,
                FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice
            );
            if mask & WRITE != 0 && unwritable && !device {
                return Err(Errno::ReadOnly.into());
            }
            permission::check(reader, caller, node, &inode, mask)
        })
    }

    /// The target of a symbolic link; `EINVAL` for anything else.
    pub fn read_link(&self, _caller: &Caller, node: NodeId) -> Result<Vec<u8>> {
        let (target, inode) = self.inspect(|reader| {
            let inode = inode_of(reader, node)?;
            if inode.kind != FileKind::Symlink {
                return Err(Errno::Invalid.into());
            }
            Ok((link_target(reader, node)?, inode))
        })?;
        self.touch_access_time(node, &inode);
        Ok(target)
    }

    /// A path of the node, by parents (a file: a name in the directory it was last named in).
    /// Costs a scan of each directory on the way; of the whole volume for a file that has lost the
    /// name that was made last and has others. `ENOENT` if it has no name.
    pub fn path_of(&self, node: NodeId) -> Result<Vec<u8>> {
        let mut parts = Vec::new();
        let mut at = node;
        while at != NodeId::ROOT {
            if parts.len() > DEPTH_MAX {
                return Err(Errno::NameTooLong.into());
            }
            let (parent, name) = self.name_of(at)?;
            parts.push(name);
            at = parent;
        }
        let mut path = Vec::new();
        for part in parts.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(part);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// The directory that holds a node and the node's name there.
    fn name_of(&self, node: NodeId) -> Result<(NodeId, Vec<u8>)> {
        let (parent, known, inode) = self.inspect(|reader| {
            let parent = parent_node(reader, node)?;
            Ok((parent, known_name(reader, node)?, inode_of(reader, node)?))
        })?;
        if let Some(name) = known {
            return Ok((parent, name));
        }
        if inode.nlink == 0 {
            return Err(Errno::NotFound.into());
        }
        if let Some(name) = self.find_name(parent.view(), parent.inode(), node.inode())? {
            return Ok((parent, name));
        }
        if inode.flags & flags::HAD_LINKS == 0 {
            return Err(Errno::NotFound.into());
        }
        self.search_volume(node)
    }

    /// Some name of a file that is not where it was last named.
    fn search_volume(&self, node: NodeId) -> Result<(NodeId, Vec<u8>)> {
        let info = self.inspect(|reader| view_info(reader, node.view()))?;
        let top = info
            .snapshot
            .map_or(info.root_inode, |snapshot| snapshot.directory);
        let mut pending = vec![top];
        let mut found = None;
        while let (Some(directory), None) = (pending.pop(), &found) {
            self.each_dentry(node.view(), directory, &mut |name, dentry| {
                if dentry.kind == FileKind::Directory {
                    pending.push(dentry.inode);
                } else if dentry.inode == node.inode() {
                    found = Some((NodeId::new(node.view(), directory), name));
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
        }
        Ok(found.ok_or(Errno::NotFound)?)
    }

    /// The name of `child` in `directory`, found by looking through its entries.
    pub(crate) fn find_name(
        &self,
        view: ViewId,
        directory: InodeId,
        child: InodeId,
    ) -> Result<Option<Vec<u8>>> {
        let mut found = None;
        self.each_dentry(view, directory, &mut |name, dentry| {
            if dentry.inode == child {
                found = Some(name);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }

    /// Calls `each` for every entry of a directory with no lock held.
    pub(crate) fn each_dentry(
        &self,
        view: ViewId,
        directory: InodeId,
        each: &mut dyn FnMut(Vec<u8>, Dentry) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut after: Option<Vec<u8>> = None;
        loop {
            let batch = self.inspect(|reader| {
                dentries(reader, view, directory, after.as_deref(), SCAN_BATCH)
            })?;
            let last = batch.len() < SCAN_BATCH;
            after = batch.last().map(|(name, _)| name.clone());
            for (name, dentry) in batch {
                if each(name, dentry).is_break() {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    /// Figures for `statfs`.
    pub fn statistics(&self, node: NodeId) -> Result<FileSystemStatistics> {
        let info = self.inspect(|reader| view_info(reader, node.view()))?;
        let host = self.store.host_space()?;
        Ok(FileSystemStatistics {
            total_bytes: host.total_bytes,
            free_bytes: host.free_bytes,
            // What is left is for deleting.
            available_bytes: if self.store.is_short_of_space() {
                0
            } else {
                host.available_bytes
            },
            inodes: info.inodes,
            volume_bytes: info.bytes,
        })
    }
}

/// The name of a node that a record of the catalog tells: of `.snapshot` directories, of the top
/// directories of snapshots, of attached volumes.
fn known_name(reader: &dyn Reader, node: NodeId) -> Result<Option<Vec<u8>>> {
    if node.is_snapshot_directory() {
        return Ok(Some(SNAPSHOT_NAME.to_vec()));
    }
    let info = view_info(reader, node.view())?;
    if let Some(snapshot) = &info.snapshot {
        if snapshot.directory != node.inode() {
            return Ok(None);
        }
        let mut found = None;
        let (volume, directory) = (snapshot.volume, snapshot.directory);
        crate::node::each_snapshot(reader, volume, directory, &mut |name, record| {
            let record = lockstep_format::SnapshotRecord::decode(record);
            if record.is_ok_and(|record| record.view == node.view()) {
                found = Some(name.to_vec());
            }
        })?;
        return Ok(found);
    }
    if info.root_inode != node.inode() {
        return Ok(None);
    }
    Ok(volume_record(reader, node.view())?.map(|record| record.name))
}

/// Up to `limit` entries of a directory after the name `after`.
pub(crate) fn dentries(
    reader: &dyn Reader,
    view: ViewId,
    directory: InodeId,
    after: Option<&[u8]>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Dentry)>> {
    let prefix = key::prefix(directory, key::kind::DENTRY);
    let Some(end) = key::after_prefix(&prefix) else {
        return Ok(Vec::new());
    };
    let from = match after {
        // The smallest key greater than that entry's.
        Some(name) => [key::dentry(directory, name), vec![0]].concat(),
        None => prefix,
    };
    let mut entries = Vec::new();
    let mut damage = None;
    reader.scan(view, &from, &end, &mut |key, value| {
        match Dentry::decode(value) {
            Ok(dentry) => entries.push((key::dentry_name(&key[key::PREFIX_BYTES..]), dentry)),
            Err(error) => {
                damage = Some(error);
                return ControlFlow::Break(());
            }
        }
        if entries.len() < limit {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    match damage {
        Some(error) => Err(lockstep_store::StoreError::from(error).into()),
        None => Ok(entries),
    }
}

/// Whether a directory has no entry.
pub(crate) fn is_empty(reader: &dyn Reader, view: ViewId, directory: InodeId) -> Result<bool> {
    Ok(dentries(reader, view, directory, None, 1)?.is_empty())
}

/// Whether `directory` can still be reached from the root of its volume.
pub(crate) fn is_reachable(reader: &dyn Reader, directory: NodeId) -> Result<bool> {
    let root = view_info(reader, directory.view())?.root_inode;
    let mut at = directory.inode();
    loop {
        let Some(inode) = reader.inode(directory.view(), at)? else {
            return Ok(false);
        };
        if inode.nlink == 0 {
            return Ok(false);
        }
        if at == root {
            return Ok(true);
        }
        if inode.parent == at {
            return Ok(false);
        }
        at = inode.parent;
    }
}

/// Whether `inode` is `ancestor` or lies below it, by the parents of the volume.
pub(crate) fn is_below(
    reader: &dyn Reader,
    view: ViewId,
    inode: InodeId,
    ancestor: InodeId,
) -> Result<bool> {
    let root = view_info(reader, view)?.root_inode;
    let mut at = inode;
    loop {
        if at == ancestor {
            return Ok(true);
        }
        if at == root {
            return Ok(false);
        }
        let Some(Inode { parent, .. }) = reader.inode(view, at)? else {
            return Ok(false);
        };
        if parent == at {
            return Ok(false);
        }
        at = parent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_checked_and_cut() {
        assert_eq!(
            reversed(b"//a/./b//"),
            [b"b".to_vec(), b".".to_vec(), b"a".to_vec()]
        );
        assert!(check_path(b"").is_err());
        assert!(check_path(b"/a\0").is_err());
        assert!(check_path(&[b'a'; 4097]).is_err());
        assert!(check_path(&[b'a'; 4096]).is_ok());
    }
}
