//! The one evaluator: who may do what to which inode.
//!
//! Invariants:
//! - Every view's answer comes from here; nothing but the caller's numbers, the inode and its ACL
//!   counts.
//! - Classes do not add up: an owner without a bit is refused even if others have it (POSIX).

use crate::error::Result;
use crate::{Caller, Errno, NodeId, acl};
use lockstep_format::inode::flags;
use lockstep_format::{FileKind, Inode};
use lockstep_store::Reader;

/// Read.
pub(crate) const READ: u32 = 4;
/// Write.
pub(crate) const WRITE: u32 = 2;
/// Search a directory, execute a file.
pub(crate) const SEARCH: u32 = 1;

/// Set-user-id.
pub(crate) const SET_UID: u32 = 0o4000;
/// Set-group-id.
pub(crate) const SET_GID: u32 = 0o2000;
/// Sticky.
pub(crate) const STICKY: u32 = 0o1000;
const GROUP_EXECUTE: u32 = 0o010;

impl Caller {
    /// Whether nothing is refused to this caller.
    pub fn is_superuser(&self) -> bool {
        self.uid == 0
    }

    /// Whether `gid` is one of this caller's groups.
    pub fn in_group(&self, gid: u32) -> bool {
        self.gid == gid || self.groups.contains(&gid)
    }

    /// Whether this caller may do what only an owner may.
    pub(crate) fn owns(&self, inode: &Inode) -> bool {
        self.is_superuser() || self.uid == inode.uid
    }
}

/// `EACCES` unless the caller has every bit of `mask` on the inode.
pub(crate) fn check(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    mask: u32,
) -> Result<()> {
    if allows(reader, caller, node, inode, mask & 7)? {
        Ok(())
    } else {
        Err(Errno::Access.into())
    }
}

fn allows(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    mask: u32,
) -> Result<bool> {
    if caller.is_superuser() {
        let executes = mask & SEARCH != 0 && inode.kind != FileKind::Directory;
        return Ok(!executes || inode.mode & 0o111 != 0);
    }
    if inode.flags & flags::HAS_ACL != 0
        && let Some(list) = acl::access_list(reader, node.view(), node.inode())?
    {
        return Ok(list.allows(caller, inode, mask));
    }
    Ok(bits_for(caller, inode) & mask == mask)
}

fn bits_for(caller: &Caller, inode: &Inode) -> u32 {
    if caller.uid == inode.uid {
        inode.mode >> 6 & 7
    } else if caller.in_group(inode.gid) {
        inode.mode >> 3 & 7
    } else {
        inode.mode & 7
    }
}

/// `EPERM` if the directory is sticky and neither it nor the entry belongs to the caller.
pub(crate) fn check_sticky(caller: &Caller, directory: &Inode, entry: &Inode) -> Result<()> {
    let sticky = directory.mode & STICKY != 0;
    if sticky && !caller.owns(directory) && !caller.owns(entry) {
        return Err(Errno::NotPermitted.into());
    }
    Ok(())
}

/// The mode after bytes or ownership of a file changed: set-id bits do not survive it.
pub(crate) fn without_set_id(mode: u32, in_group_or_superuser: bool) -> u32 {
    let mut mode = mode & !SET_UID;
    if mode & GROUP_EXECUTE != 0 || !in_group_or_superuser {
        mode &= !SET_GID;
    }
    mode
}

/// Group and mode of a new inode: a set-gid directory gives both to what is made in it.
pub(crate) fn inherit_group(
    caller: &Caller,
    parent: &Inode,
    kind: FileKind,
    mode: u32,
) -> (u32, u32) {
    if parent.mode & SET_GID == 0 {
        return (caller.gid, mode);
    }
    if kind == FileKind::Directory {
        return (parent.gid, mode | SET_GID);
    }
    // Nobody gets a set-gid program for a group that is not his.
    let foreign = !caller.is_superuser() && !caller.in_group(parent.gid);
    let program = SET_GID | GROUP_EXECUTE;
    let mode = if foreign && mode & program == program {
        mode & !SET_GID
    } else {
        mode
    };
    (parent.gid, mode)
}
