//! Changing attributes: owner, mode, times, length and what HDFS keeps beside them.
//!
//! Invariants:
//! - All parts of one [`SetAttributes`] are checked before any is made.
//! - Whoever is not entitled to a set-id bit loses it with the change that makes it suspicious.

use crate::entry::update;
use crate::error::Result;
use crate::event::Effects;
use crate::node::{attributes, live_inode};
use crate::permission::{self, SET_GID, WRITE, without_set_id};
use crate::{Attributes, Caller, Errno, NodeId, SetAttributes, SetTime, Vfs, acl};
use lockstep_format::inode::flags;
use lockstep_format::limits::FILE_BYTES_MAX;
use lockstep_format::{FileKind, Inode, Timestamp, key};
use lockstep_store::{Reader, WriteTxn};

/// An access time older than this is refreshed by a read (relatime).
const ACCESS_TIME_AGE_SECONDS: i64 = 86_400;

impl Vfs {
    /// Changes attributes by the rules of chmod, chown, truncate and utimensat. A change of length
    /// by somebody who has the file open goes through [`Vfs::truncate`].
    pub fn set_attributes(
        &self,
        caller: &Caller,
        node: NodeId,
        change: &SetAttributes,
    ) -> Result<Attributes> {
        if let Some(length) = change.size {
            self.inspect(|reader| {
                let inode = live_inode(reader, node)?;
                check_change(reader, caller, node, &inode, change)?;
                check_length(&inode, length)?;
                permission::check(reader, caller, node, &inode, WRITE)
            })?;
            self.set_length(caller, node, length)?;
        }
        self.change(caller.origin, |txn, effects| {
            let inode = live_inode(txn, node)?;
            check_change(txn, caller, node, &inode, change)?;
            self.apply(txn, effects, caller, node, inode, change)
        })
    }

    fn apply(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        caller: &Caller,
        node: NodeId,
        mut inode: Inode,
        change: &SetAttributes,
    ) -> Result<Attributes> {
        let before = inode.clone();
        let now = self.store.now();
        change_owner(caller, &mut inode, change);
        change_mode(caller, &mut inode, change);
        change_times(&mut inode, change, now);
        if let Some(replication) = change.replication {
            inode.replication = replication;
        }
        if let Some(block_size) = change.block_size {
            inode.block_size = block_size;
        }
        if let Some(allowed) = change.snapshottable {
            mark_snapshottable(txn, node, &mut inode, allowed)?;
        }
        let asked = SetAttributes {
            size: None,
            ..change.clone()
        } != SetAttributes::default();
        if asked || inode != before {
            inode.ctime = now;
            txn.put_inode(node.view(), node.inode(), &inode)?;
            if inode.mode != before.mode {
                acl::follow_mode(txn, node.view(), node.inode(), &inode)?;
            }
            effects.attributes(node);
        }
        Ok(attributes(node, &inode, false))
    }

    /// A read's refresh of the access time: rarely a write, and never an error.
    pub(crate) fn touch_access_time(&self, node: NodeId, inode: &Inode) {
        let now = self.store.now();
        if self.read_only || !is_access_time_due(inode, now) {
            return;
        }
        // A node in a snapshot is refused here; a failed store is told to the next real call.
        let _ignored = self.transact(|txn| {
            live_inode(txn, node)?;
            update(txn, node.view(), node.inode(), |inode| {
                inode.atime = inode.atime.max(now);
            })
        });
    }
}

fn is_access_time_due(inode: &Inode, now: Timestamp) -> bool {
    inode.atime <= inode.mtime
        || inode.atime <= inode.ctime
        || now.seconds.saturating_sub(inode.atime.seconds) >= ACCESS_TIME_AGE_SECONDS
}

/// Whether a file may get this length.
pub(crate) fn check_length(inode: &Inode, length: u64) -> Result<()> {
    match inode.kind {
        FileKind::File => {}
        FileKind::Directory => return Err(Errno::IsDirectory.into()),
        _ => return Err(Errno::Invalid.into()),
    }
    if length > FILE_BYTES_MAX {
        Err(Errno::TooLarge.into())
    } else {
        Ok(())
    }
}

fn check_change(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    change: &SetAttributes,
) -> Result<()> {
    let owns = caller.owns(inode);
    if change.mode.is_some() {
        if inode.kind == FileKind::Symlink {
            return Err(Errno::NotSupported.into());
        }
        if !owns {
            return Err(Errno::NotPermitted.into());
        }
    }
    check_owner_change(caller, inode, change)?;
    check_time_change(reader, caller, node, inode, change)?;
    let hdfs = change.replication.is_some() || change.block_size.is_some();
    if hdfs && !owns {
        permission::check(reader, caller, node, inode, WRITE)?;
    }
    if change.snapshottable.is_some() {
        if inode.kind != FileKind::Directory {
            return Err(Errno::NotDirectory.into());
        }
        if !owns {
            return Err(Errno::NotPermitted.into());
        }
    }
    Ok(())
}

fn check_owner_change(caller: &Caller, inode: &Inode, change: &SetAttributes) -> Result<()> {
    if caller.is_superuser() {
        return Ok(());
    }
    let owns = caller.uid == inode.uid;
    let uid_allowed = change.uid.is_none_or(|uid| owns && uid == inode.uid);
    let gid_allowed = change
        .gid
        .is_none_or(|gid| owns && (gid == inode.gid || caller.in_group(gid)));
    if uid_allowed && gid_allowed {
        Ok(())
    } else {
        Err(Errno::NotPermitted.into())
    }
}

fn check_time_change(
    reader: &dyn Reader,
    caller: &Caller,
    node: NodeId,
    inode: &Inode,
    change: &SetAttributes,
) -> Result<()> {
    let times = [change.atime, change.mtime];
    if times == [None, None] || caller.owns(inode) {
        return Ok(());
    }
    if is_touch(times, change.size.is_some()) {
        // Whoever may write may say that it was written now.
        return permission::check(reader, caller, node, inode, WRITE);
    }
    Err(Errno::NotPermitted.into())
}

/// Both times become now (or those that a change of length brings along). One time alone is an
/// explicit choice, which only the owner has (utimensat(2) with `UTIME_OMIT`).
fn is_touch(times: [Option<SetTime>; 2], with_length: bool) -> bool {
    let now = |time: &Option<SetTime>| *time == Some(SetTime::Now);
    let unset = |time: &Option<SetTime>| time.is_none();
    times.iter().all(now) || with_length && times.iter().all(|time| now(time) || unset(time))
}

fn change_owner(caller: &Caller, inode: &mut Inode, change: &SetAttributes) {
    if change.uid.is_none() && change.gid.is_none() {
        return;
    }
    if inode.kind != FileKind::Directory {
        let trusted = caller.is_superuser() || caller.in_group(inode.gid);
        inode.mode = without_set_id(inode.mode, trusted);
    }
    inode.uid = change.uid.unwrap_or(inode.uid);
    inode.gid = change.gid.unwrap_or(inode.gid);
}

fn change_mode(caller: &Caller, inode: &mut Inode, change: &SetAttributes) {
    let Some(mode) = change.mode else { return };
    inode.mode = mode & 0o7777;
    if !caller.is_superuser() && !caller.in_group(inode.gid) {
        inode.mode &= !SET_GID;
    }
}

fn change_times(inode: &mut Inode, change: &SetAttributes, now: Timestamp) {
    let value = |time: SetTime| match time {
        SetTime::Now => now,
        SetTime::At(Timestamp {
            seconds,
            nanoseconds,
        }) => Timestamp {
            seconds,
            nanoseconds: nanoseconds.min(999_999_999),
        },
    };
    if let Some(time) = change.atime {
        inode.atime = value(time);
    }
    if let Some(time) = change.mtime {
        inode.mtime = value(time);
    }
}

fn mark_snapshottable(
    txn: &mut WriteTxn<'_>,
    node: NodeId,
    inode: &mut Inode,
    allowed: bool,
) -> Result<()> {
    let mark = key::snapshottable(node.inode());
    if allowed {
        inode.flags |= flags::SNAPSHOTTABLE;
        txn.put(node.view(), &mark, &[])?;
    } else {
        inode.flags &= !flags::SNAPSHOTTABLE;
        txn.delete(node.view(), &mark)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn touches_are_told_from_explicit_times() {
        let now = Some(SetTime::Now);
        let at = Some(SetTime::At(Timestamp::default()));
        assert!(is_touch([now, now], false));
        assert!(!is_touch([None, now], false) && is_touch([None, now], true));
        assert!(!is_touch([at, now], true));
    }
}
