//! Moving names.
//!
//! Invariants:
//! - A rename is one change: no state shows both names, or neither, or a replaced target gone.
//! - A directory never becomes its own descendant.

use crate::entry::{add_entry, remove_entry, update};
use crate::error::Result;
use crate::event::Effects;
use crate::lookup::is_below;
use crate::node::{check_name, is_reserved, live_directory, volume_record};
use crate::permission::{self, WRITE};
use crate::remove::{Doomed, check_empty, doomed};
use crate::{Caller, Errno, NodeId, RenameMode, Vfs};
use lockstep_format::{Dentry, FileKind, Inode, InodeId, Timestamp, ViewId};
use lockstep_store::{Reader, WriteTxn};

/// One side of a rename.
#[derive(Clone, Copy)]
struct Place<'a> {
    parent: NodeId,
    name: &'a [u8],
}

impl Vfs {
    /// Gives an entry another name and directory of the same volume; see [`RenameMode`] for an
    /// existing target. Within one `.snapshot` directory: renames a snapshot.
    pub fn rename(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        to_parent: NodeId,
        to_name: &[u8],
        mode: RenameMode,
    ) -> Result<()> {
        if parent.is_snapshot_directory() && parent == to_parent {
            if mode == RenameMode::Exchange {
                return Err(Errno::Invalid.into());
            }
            let directory = NodeId::new(parent.view(), parent.inode());
            return self.rename_snapshot(caller, directory, name, to_name);
        }
        let from = Place { parent, name };
        let to = Place {
            parent: to_parent,
            name: to_name,
        };
        self.change(caller.origin, |txn, effects| {
            self.rename_in(txn, effects, caller, from, to, mode)
        })
    }

    fn rename_in(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        caller: &Caller,
        from: Place<'_>,
        to: Place<'_>,
        mode: RenameMode,
    ) -> Result<()> {
        if from.parent.view() != to.parent.view() {
            return Err(Errno::CrossVolume.into());
        }
        let directory = live_directory(txn, caller, from.parent)?;
        let to_directory = live_directory(txn, caller, to.parent)?;
        check_names(from.name, to.name, mode)?;
        let view = from.parent.view();
        let source_dentry = txn
            .dentry(view, from.parent.inode(), from.name)?
            .ok_or(Errno::NotFound)?;
        let target_dentry = txn.dentry(view, to.parent.inode(), to.name)?;
        match (mode, target_dentry.is_some()) {
            (RenameMode::NoReplace, true) => return Err(Errno::Exists.into()),
            (RenameMode::Exchange, false) => return Err(Errno::NotFound.into()),
            _ => {}
        }
        check_loops(txn, from, to, &source_dentry, target_dentry.as_ref(), mode)?;
        if target_dentry.is_some_and(|target| target.inode == source_dentry.inode) {
            return Ok(());
        }
        let source = doomed(txn, caller, from.parent, &directory, from.name)?;
        permission::check(txn, caller, to.parent, &to_directory, WRITE)?;
        self.require_linked(txn, to.parent, &to_directory)?;
        check_moved_directory(txn, caller, from, to, &source)?;
        let now = self.store.now();
        if target_dentry.is_none() {
            self.check_add(txn, caller, to.parent, &to_directory, source.dentry.kind)?;
        } else {
            let target = doomed(txn, caller, to.parent, &to_directory, to.name)?;
            if mode == RenameMode::Exchange {
                check_moved_directory(txn, caller, to, from, &target)?;
                return exchange(txn, effects, from, to, (&source, &target), now);
            }
            self.replace(txn, effects, to, &source, &target, now)?;
        }
        remove_entry(txn, from.parent, from.name, &source.dentry, now)?;
        place(txn, effects, to, &source.dentry, now)?;
        effects.entry(from.parent, from.name);
        Ok(())
    }

    /// Removes the target that a rename replaces.
    fn replace(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        to: Place<'_>,
        source: &Doomed,
        target: &Doomed,
        now: Timestamp,
    ) -> Result<()> {
        let is_directory = |entry: &Doomed| entry.dentry.kind == FileKind::Directory;
        match (is_directory(source), is_directory(target)) {
            (true, false) => return Err(Errno::NotDirectory.into()),
            (false, true) => return Err(Errno::IsDirectory.into()),
            _ => {}
        }
        let node = NodeId::new(to.parent.view(), target.dentry.inode);
        if is_directory(target) {
            check_empty(txn, to.parent, target)?;
            remove_entry(txn, to.parent, to.name, &target.dentry, now)?;
            return self.forget_directory(txn, effects, to.parent.view(), target);
        }
        remove_entry(txn, to.parent, to.name, &target.dentry, now)?;
        self.drop_link(txn, effects, node, now)
    }
}

fn check_names(from: &[u8], to: &[u8], mode: RenameMode) -> Result<()> {
    check_name(from)?;
    check_name(to)?;
    let dots = |name: &[u8]| matches!(name, b"." | b"..");
    if dots(from) || dots(to) {
        let error = if mode == RenameMode::NoReplace {
            Errno::Exists
        } else {
            Errno::Busy
        };
        return Err(error.into());
    }
    if is_reserved(from) || is_reserved(to) {
        Err(Errno::Invalid.into())
    } else {
        Ok(())
    }
}

/// No directory may move below itself; nor be replaced by something below it.
fn check_loops(
    reader: &dyn Reader,
    from: Place<'_>,
    to: Place<'_>,
    source: &Dentry,
    target: Option<&Dentry>,
    mode: RenameMode,
) -> Result<()> {
    if from.parent == to.parent {
        return Ok(());
    }
    let view = from.parent.view();
    let is_above = |entry: &Dentry, directory: InodeId| -> Result<bool> {
        Ok(entry.kind == FileKind::Directory && is_below(reader, view, directory, entry.inode)?)
    };
    if is_above(source, to.parent.inode())? {
        return Err(Errno::Invalid.into());
    }
    if let Some(target) = target
        && is_above(target, from.parent.inode())?
    {
        let exchange = mode == RenameMode::Exchange;
        return Err(if exchange {
            Errno::Invalid
        } else {
            Errno::NotEmpty
        }
        .into());
    }
    Ok(())
}

/// A directory that gets another parent is written to: its `..` changes.
fn check_moved_directory(
    reader: &dyn Reader,
    caller: &Caller,
    from: Place<'_>,
    to: Place<'_>,
    entry: &Doomed,
) -> Result<()> {
    if entry.dentry.kind != FileKind::Directory || from.parent == to.parent {
        return Ok(());
    }
    let node = NodeId::new(from.parent.view(), entry.dentry.inode);
    permission::check(reader, caller, node, &entry.inode, WRITE)
}

fn exchange(
    txn: &mut WriteTxn<'_>,
    effects: &mut Effects,
    from: Place<'_>,
    to: Place<'_>,
    (source, target): (&Doomed, &Doomed),
    now: Timestamp,
) -> Result<()> {
    remove_entry(txn, from.parent, from.name, &source.dentry, now)?;
    remove_entry(txn, to.parent, to.name, &target.dentry, now)?;
    place(txn, effects, to, &source.dentry, now)?;
    place(txn, effects, from, &target.dentry, now)
}

/// Puts a moved entry where it belongs now.
fn place(
    txn: &mut WriteTxn<'_>,
    effects: &mut Effects,
    to: Place<'_>,
    dentry: &Dentry,
    now: Timestamp,
) -> Result<()> {
    let view = to.parent.view();
    if let Some(volume) = dentry.volume {
        reattach(txn, to, volume)?;
    }
    add_entry(txn, to.parent, to.name, dentry, now)?;
    let set = |inode: &mut Inode| {
        inode.parent = to.parent.inode();
        inode.ctime = now;
    };
    update(txn, view, dentry.inode, set)?;
    effects.entry(to.parent, to.name);
    effects.attributes(NodeId::new(view, dentry.inode));
    Ok(())
}

/// An attached volume moves with its entry; a dentry inherited by a clone attaches nothing.
fn reattach(txn: &mut WriteTxn<'_>, to: Place<'_>, volume: ViewId) -> Result<()> {
    let Some(record) = volume_record(txn, volume)? else {
        return Ok(());
    };
    if record.attached_to.0 == to.parent.view() {
        txn.attach_volume(volume, (to.parent.view(), to.parent.inode()), to.name)?;
    }
    Ok(())
}
