//! The length of files, reserved ranges and holes.
//!
//! Invariants:
//! - Bytes that were cut off never come back: a file that grows again shows zeros there.
//! - Each transaction drops a bounded number of extents and leaves a file that somebody could have
//!   made on purpose: a large cut shrinks the file step by step from its end, each step complete.

use crate::attribute::check_length;
use crate::error::Result;
use crate::file::{account, bytes_changed, inline_bytes, put_inline};
use crate::handle::OpenFile;
use crate::node::{inode_of, live_inode};
use crate::{Attributes, Caller, Errno, HandleId, NodeId, SeekTarget, Vfs};
use lockstep_format::inode::flags;
use lockstep_format::limits::{FILE_BYTES_MAX, INLINE_BYTES_MAX};
use lockstep_format::{FileKind, Inode};
use lockstep_store::{Reader, WriteTxn};
use std::sync::Arc;

impl Vfs {
    /// `ftruncate`: the handle's right to write counts, not the file's mode now.
    pub fn truncate(&self, handle: HandleId, length: u64) -> Result<Attributes> {
        let file = self.writable(handle)?;
        self.set_length(&file.caller, file.node, length)?;
        self.handle_attributes(handle)
    }

    fn writable(&self, handle: HandleId) -> Result<Arc<OpenFile>> {
        let file = self.handles.get(handle)?;
        if file.flags.write || file.flags.append {
            Ok(file)
        } else {
            Err(Errno::BadHandle.into())
        }
    }

    /// Cuts or extends a file; permission was checked.
    pub(crate) fn set_length(&self, caller: &Caller, node: NodeId, length: u64) -> Result<()> {
        while !self.set_length_step(caller, node, length)? {}
        Ok(())
    }

    fn set_length_step(&self, caller: &Caller, node: NodeId, length: u64) -> Result<bool> {
        let (view, id) = (node.view(), node.inode());
        self.change(caller.origin, |txn, effects| {
            let mut inode = live_inode(txn, node)?;
            check_length(&inode, length)?;
            let before = inode.size;
            let inline = inode.flags & flags::INLINE != 0;
            let mut reached = length;
            if inline && length <= INLINE_BYTES_MAX as u64 {
                let mut bytes = inline_bytes(txn, view, id, &inode)?;
                bytes.resize(length as usize, 0);
                put_inline(txn, view, id, &mut inode, &bytes)?;
            } else if inline {
                self.leave_inline(txn, view, id, &mut inode)?;
            } else if length < before {
                let (change, more) = txn.clear_range(view, id, length, u64::MAX)?;
                account(&mut inode, change);
                if more {
                    reached = length.max(txn.extent_end(view, id)?);
                }
                if reached == 0 {
                    inode.flags |= flags::INLINE;
                    inode.allocated = 0;
                }
            }
            inode.size = reached;
            bytes_changed(caller, &mut inode, self.store.now());
            txn.put_inode(view, id, &inode)?;
            effects.bytes(node, reached.min(before), u64::MAX);
            Ok(reached == length)
        })
    }

    /// `fallocate`: extends the length unless `keep_size`. Space is not set aside: a store that
    /// never overwrites in place could not use it.
    pub fn allocate(
        &self,
        handle: HandleId,
        offset: u64,
        length: u64,
        keep_size: bool,
    ) -> Result<()> {
        let file = self.writable(handle)?;
        let end = range_end(offset, length)?;
        let size = self.inspect(|reader| Ok(inode_of(reader, file.node)?.size))?;
        if keep_size || end <= size {
            return Ok(());
        }
        self.change(file.caller.origin, |txn, effects| {
            let (view, id) = (file.node.view(), file.node.inode());
            let mut inode = live_inode(txn, file.node)?;
            check_length(&inode, end)?;
            if end <= inode.size {
                return Ok(());
            }
            if end > INLINE_BYTES_MAX as u64 {
                self.leave_inline(txn, view, id, &mut inode)?;
            }
            let before = inode.size;
            inode.size = end;
            bytes_changed(&file.caller, &mut inode, self.store.now());
            txn.put_inode(view, id, &inode)?;
            effects.bytes(file.node, before, u64::MAX);
            Ok(())
        })
    }

    /// Makes a range read as zeros and frees what was stored there; the length stays.
    pub fn punch_hole(&self, handle: HandleId, offset: u64, length: u64) -> Result<()> {
        let file = self.writable(handle)?;
        let end = range_end(offset, length)?;
        let size = self.inspect(|reader| Ok(inode_of(reader, file.node)?.size))?;
        let to = end.min(size);
        if offset < to {
            while self.punch_step(&file, offset, to)? {}
        }
        Ok(())
    }

    /// Drops a bounded number of extents; true if more are left.
    fn punch_step(&self, file: &OpenFile, from: u64, to: u64) -> Result<bool> {
        let (view, id) = (file.node.view(), file.node.inode());
        self.change(file.caller.origin, |txn, effects| {
            let mut inode = live_inode(txn, file.node)?;
            let mut left = false;
            if inode.flags & flags::INLINE == 0 {
                let (change, more) = txn.clear_range(view, id, from, to)?;
                account(&mut inode, change);
                left = more;
            } else {
                let mut bytes = inline_bytes(txn, view, id, &inode)?;
                let end = (to as usize).min(bytes.len());
                bytes[(from as usize).min(end)..end].fill(0);
                put_inline(txn, view, id, &mut inode, &bytes)?;
            }
            bytes_changed(&file.caller, &mut inode, self.store.now());
            txn.put_inode(view, id, &inode)?;
            effects.bytes(file.node, from, to - from);
            Ok(left)
        })
    }

    /// The next stored byte, or the next hole, at or after `offset`; `ENXIO` past the end.
    pub fn seek(&self, handle: HandleId, offset: u64, target: SeekTarget) -> Result<u64> {
        let file = self.handles.get(handle)?;
        self.inspect(|reader| {
            let inode = inode_of(reader, file.node)?;
            if inode.kind != FileKind::File || offset >= inode.size {
                return Err(Errno::NoDevice.into());
            }
            match target {
                SeekTarget::Data => next_data(reader, file.node, &inode, offset),
                SeekTarget::Hole => next_hole(reader, file.node, &inode, offset),
            }
        })
    }

    /// Appends whole files to `target` and removes them, without copying bytes (HDFS concat).
    /// All must be different regular files of one volume, with one name each.
    pub fn concat(&self, caller: &Caller, target: NodeId, sources: &[NodeId]) -> Result<()> {
        if sources.is_empty() {
            return Err(Errno::Invalid.into());
        }
        let names = sources
            .iter()
            .map(|node| self.concat_name(target, *node, sources));
        let names = names.collect::<Result<Vec<_>>>()?;
        let appenders = self.locks.lock(target);
        let ((), effects) = self.record(caller.origin, |txn, effects| {
            for (source, (parent, name)) in sources.iter().zip(&names) {
                self.concat_one(txn, effects, caller, target, *source, (*parent, name))?;
            }
            Ok(())
        })?;
        drop(appenders);
        self.carry_out(caller.origin, &effects);
        Ok(())
    }

    fn concat_name(
        &self,
        target: NodeId,
        source: NodeId,
        all: &[NodeId],
    ) -> Result<(NodeId, Vec<u8>)> {
        if source == target || all.iter().filter(|node| **node == source).count() > 1 {
            return Err(Errno::Invalid.into());
        }
        if source.view() != target.view() {
            return Err(Errno::CrossVolume.into());
        }
        let inode = self.inspect(|reader| live_inode(reader, source))?;
        if inode.kind != FileKind::File || inode.nlink != 1 {
            return Err(Errno::Invalid.into());
        }
        let name = self.find_name(source.view(), inode.parent, source.inode())?;
        Ok((
            NodeId::new(source.view(), inode.parent),
            name.ok_or(Errno::NotFound)?,
        ))
    }

    fn concat_one(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut crate::event::Effects,
        caller: &Caller,
        target: NodeId,
        source: NodeId,
        (parent, name): (NodeId, &[u8]),
    ) -> Result<()> {
        let view = target.view();
        let mut into = live_inode(txn, target)?;
        if into.kind != FileKind::File {
            return Err(Errno::Invalid.into());
        }
        crate::permission::check(txn, caller, target, &into, crate::permission::WRITE)?;
        let directory = crate::node::live_directory(txn, caller, parent)?;
        let entry = crate::remove::doomed(txn, caller, parent, &directory, name)?;
        if entry.dentry.inode != source.inode() || entry.inode.nlink != 1 {
            return Err(Errno::NotFound.into());
        }
        let readable = crate::permission::READ;
        crate::permission::check(txn, caller, source, &entry.inode, readable)?;
        let at = into.size;
        let end = at
            .checked_add(entry.inode.size)
            .filter(|end| *end <= FILE_BYTES_MAX);
        let end = end.ok_or(Errno::TooLarge)?;
        self.leave_inline(txn, view, target.inode(), &mut into)?;
        let mut from = entry.inode;
        self.leave_inline(txn, view, source.inode(), &mut from)?;
        let moved = txn.move_extents(view, source.inode(), target.inode(), at)?;
        account(&mut into, moved as i64);
        into.size = end;
        let now = self.store.now();
        bytes_changed(caller, &mut into, now);
        txn.put_inode(view, target.inode(), &into)?;
        from.allocated = 0;
        // Whoever still has the source open sees an empty file.
        from.size = 0;
        from.flags |= flags::INLINE;
        txn.put_inode(view, source.inode(), &from)?;
        crate::entry::remove_entry(txn, parent, name, &entry.dentry, now)?;
        effects.entry(parent, name);
        effects.bytes(target, at, u64::MAX);
        self.drop_link(txn, effects, source, now)
    }
}

fn range_end(offset: u64, length: u64) -> Result<u64> {
    if length == 0 {
        return Err(Errno::Invalid.into());
    }
    let end = offset
        .checked_add(length)
        .filter(|end| *end <= FILE_BYTES_MAX);
    Ok(end.ok_or(Errno::TooLarge)?)
}

fn next_data(reader: &dyn Reader, node: NodeId, inode: &Inode, offset: u64) -> Result<u64> {
    if inode.flags & flags::INLINE != 0 {
        return Ok(offset);
    }
    match reader.next_extent(node.view(), node.inode(), offset)? {
        Some((start, _)) if start.max(offset) < inode.size => Ok(start.max(offset)),
        _ => Err(Errno::NoDevice.into()),
    }
}

fn next_hole(reader: &dyn Reader, node: NodeId, inode: &Inode, offset: u64) -> Result<u64> {
    if inode.flags & flags::INLINE != 0 {
        return Ok(inode.size);
    }
    let mut at = offset;
    while at < inode.size {
        match reader.next_extent(node.view(), node.inode(), at)? {
            Some((start, end)) if start <= at => at = end,
            _ => break,
        }
    }
    Ok(at.min(inode.size))
}
