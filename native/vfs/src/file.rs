//! The bytes of files: reading, writing, appending.
//!
//! Invariants:
//! - A file is either inline (flag `INLINE`: all bytes in one record, at most `INLINE_BYTES_MAX`)
//!   or made of extents, never both. A record or an extent that is not there reads as zeros.
//! - Bytes are staged before the transaction that makes them the file's; what was staged and not
//!   put is unreachable and harmless.
//! - An append decides the end of the file inside the transaction that moves it.

use crate::dir::NewInode;
use crate::error::Result;
use crate::event::Effects;
use crate::handle::OpenFile;
use crate::node::{attributes_of, check_name, inode_of, is_reserved, live_directory, live_inode};
use crate::permission::without_set_id;
use crate::{Attributes, Caller, Errno, HandleId, NodeId, OpenFlags, Vfs};
use lockstep_format::inode::flags;
use lockstep_format::limits::{FILE_BYTES_MAX, INLINE_BYTES_MAX};
use lockstep_format::{FileKind, Inode, InodeId, Timestamp, ViewId, key};
use lockstep_store::{Reader, Staged, StoreError, WriteTxn};
use parking_lot::{Mutex, MutexGuard};

/// Bytes of one call that become visible at once; longer writes are cut.
const WRITE_BYTES_MAX: usize = 16 << 20;
const LOCK_COUNT: usize = 64;

/// Locks by inode, taken before store transactions: appenders of one file queue here.
pub(crate) struct InodeLocks {
    shards: Vec<Mutex<()>>,
}

impl Default for InodeLocks {
    fn default() -> Self {
        Self {
            shards: (0..LOCK_COUNT).map(|_| Mutex::new(())).collect(),
        }
    }
}

impl InodeLocks {
    pub(crate) fn lock(&self, node: NodeId) -> MutexGuard<'_, ()> {
        let shard = (node.0 ^ node.0 >> 40) as usize % self.shards.len();
        self.shards[shard].lock()
    }
}

/// What `create_file` is asked for.
struct Creation<'a> {
    parent: NodeId,
    name: &'a [u8],
    mode: u32,
    flags: OpenFlags,
}

/// What became of an attempt to write.
enum Outcome {
    /// The file has this length now.
    Done(u64),
    /// The bytes do not fit into the record: stage them.
    NotInline,
    /// The end of the file has moved here since the bytes were staged for it.
    Moved(u64),
}

/// The inline bytes of a file, as many as its length says.
pub(crate) fn inline_bytes(
    reader: &dyn Reader,
    view: ViewId,
    id: InodeId,
    inode: &Inode,
) -> Result<Vec<u8>> {
    let mut bytes = reader.get(view, &key::inline(id))?.unwrap_or_default();
    bytes.resize((inode.size as usize).min(INLINE_BYTES_MAX), 0);
    Ok(bytes)
}

/// Stores inline bytes, without the zeros at the end.
pub(crate) fn put_inline(
    txn: &mut WriteTxn<'_>,
    view: ViewId,
    id: InodeId,
    inode: &mut Inode,
    bytes: &[u8],
) -> Result<()> {
    let kept = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    if kept == 0 {
        txn.delete(view, &key::inline(id))?;
    } else {
        txn.put(view, &key::inline(id), &bytes[..kept])?;
    }
    inode.allocated = kept as u64;
    Ok(())
}

/// Adds the change of stored bytes that the store reported.
pub(crate) fn account(inode: &mut Inode, change: i64) {
    inode.allocated = inode.allocated.saturating_add_signed(change);
}

impl Vfs {
    /// Creates (or, unless `exclusive`, opens) a regular file. Who creates a file may use the
    /// handle as `flags` say, whatever `mode` says.
    pub fn create_file(
        &self,
        caller: &Caller,
        parent: NodeId,
        name: &[u8],
        mode: u32,
        flags: OpenFlags,
    ) -> Result<(Attributes, HandleId)> {
        let mut opened = None;
        let result = self.change(caller.origin, |txn, effects| {
            let creation = Creation {
                parent,
                name,
                mode,
                flags,
            };
            let (attributes, handle, is_new) = self.create_in(txn, effects, caller, &creation)?;
            opened = Some(handle);
            Ok((attributes, handle, is_new))
        });
        match (result, opened) {
            (Ok((attributes, handle, true)), _) => Ok((attributes, handle)),
            (Ok((_, handle, false)), _) => {
                self.truncate_opened(handle, flags)?;
                Ok((self.handle_attributes(handle)?, handle))
            }
            (Err(error), Some(handle)) => {
                // The change was undone after the handle was given.
                self.release(handle)?;
                Err(error)
            }
            (Err(error), None) => Err(error),
        }
    }

    fn create_in(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        caller: &Caller,
        creation: &Creation<'_>,
    ) -> Result<(Attributes, HandleId, bool)> {
        let Creation {
            parent,
            name,
            mode,
            flags,
        } = *creation;
        let directory = live_directory(txn, caller, parent)?;
        check_name(name)?;
        if is_reserved(name) {
            return Err(if flags.exclusive {
                Errno::Exists
            } else {
                Errno::IsDirectory
            }
            .into());
        }
        if let Some(dentry) = txn.dentry(parent.view(), parent.inode(), name)? {
            if flags.exclusive {
                return Err(Errno::Exists.into());
            }
            if dentry.kind == FileKind::Directory {
                return Err(Errno::IsDirectory.into());
            }
            let node = NodeId::new(parent.view(), dentry.inode);
            let handle = self.open_in(txn, caller, node, flags)?;
            return Ok((attributes_of(txn, node)?, handle, false));
        }
        let new = NewInode::plain(FileKind::File, mode);
        let attributes = self.make_in(txn, effects, caller, (parent, &directory), name, &new)?;
        let handle = self.register(caller, attributes.node, attributes.kind, flags, false);
        Ok((attributes, handle, true))
    }

    /// Fills `into` from `offset`; returns how many bytes (fewer only at the end of the file).
    pub fn read(&self, handle: HandleId, offset: u64, into: &mut [u8]) -> Result<usize> {
        let file = self.handles.get(handle)?;
        if file.kind == FileKind::Directory {
            return Err(Errno::IsDirectory.into());
        }
        if !file.flags.read {
            return Err(Errno::BadHandle.into());
        }
        let (view, id) = (file.node.view(), file.node.inode());
        let (count, pieces, inode) = self.inspect(|reader| {
            let inode = inode_of(reader, file.node)?;
            let count = inode.size.saturating_sub(offset).min(into.len() as u64) as usize;
            if count == 0 || inode.flags & flags::INLINE == 0 {
                let pieces = match count {
                    0 => None,
                    _ => Some(reader.pieces(view, id, offset, count as u64)?),
                };
                return Ok((count, pieces, inode));
            }
            let bytes = inline_bytes(reader, view, id, &inode)?;
            let start = offset as usize;
            let Some(part) = bytes.get(start..start + count) else {
                let what = format!("inode {}: longer than an inline file can be", id.0);
                return Err(StoreError::Corrupt { what }.into());
            };
            into[..count].copy_from_slice(part);
            Ok((count, None, inode))
        })?;
        if let Some(pieces) = pieces {
            let loaded = self.store.load(&pieces, &mut into[..count]);
            loaded.map_err(|error| in_range(error, offset, count))?;
        }
        if !file.read_only && count > 0 {
            self.touch_access_time(file.node, &inode);
        }
        Ok(count)
    }

    /// Writes all of `bytes` at `offset` (at the end, for a handle opened for appending), or
    /// fails. Returns the file's length afterwards. Calls of up to 16 MiB are atomic.
    pub fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<u64> {
        let file = self.handles.get(handle)?;
        if !file.flags.write && !file.flags.append {
            return Err(Errno::BadHandle.into());
        }
        let length = if file.flags.append {
            self.append(&file, bytes)?
        } else {
            self.write_at(&file, offset, bytes)?
        };
        if file.flags.sync {
            self.sync()?;
        }
        Ok(length)
    }

    fn write_at(&self, file: &OpenFile, offset: u64, bytes: &[u8]) -> Result<u64> {
        let end = offset
            .checked_add(bytes.len() as u64)
            .filter(|end| *end <= FILE_BYTES_MAX);
        end.ok_or(Errno::TooLarge)?;
        if bytes.is_empty() {
            return self.inspect(|reader| Ok(inode_of(reader, file.node)?.size));
        }
        let mut length = 0;
        for (index, part) in bytes.chunks(WRITE_BYTES_MAX).enumerate() {
            let at = offset + (index * WRITE_BYTES_MAX) as u64;
            length = self.write_part(file, at, part)?;
        }
        Ok(length)
    }

    fn write_part(&self, file: &OpenFile, at: u64, part: &[u8]) -> Result<u64> {
        let origin = file.caller.origin;
        if at + part.len() as u64 <= INLINE_BYTES_MAX as u64 {
            let (outcome, effects) = self.record(origin, |txn, to| {
                self.put_inline(txn, to, file, Some(at), part)
            })?;
            if let Outcome::Done(length) = outcome {
                self.carry_out(origin, &effects);
                return Ok(length);
            }
        }
        let staged = self.store.stage(at, part)?;
        self.change(origin, |txn, effects| {
            self.put_staged(txn, effects, file, &staged)
        })
    }

    fn append(&self, file: &OpenFile, bytes: &[u8]) -> Result<u64> {
        let mut length = self.inspect(|reader| Ok(inode_of(reader, file.node)?.size))?;
        for part in bytes.chunks(WRITE_BYTES_MAX) {
            let appenders = self.locks.lock(file.node);
            let (end, effects) = self.append_part(file, part)?;
            drop(appenders);
            self.carry_out(file.caller.origin, &effects);
            length = end;
        }
        Ok(length)
    }

    /// One piece of an append, under the inode's lock.
    fn append_part(&self, file: &OpenFile, part: &[u8]) -> Result<(u64, Effects)> {
        let origin = file.caller.origin;
        let mut end = self.inspect(|reader| Ok(inode_of(reader, file.node)?.size))?;
        if end + part.len() as u64 <= INLINE_BYTES_MAX as u64 {
            let (outcome, effects) =
                self.record(origin, |txn, to| self.put_inline(txn, to, file, None, part))?;
            if let Outcome::Done(length) = outcome {
                return Ok((length, effects));
            }
        }
        // Others may write past the end meanwhile; every round means that one of them got on.
        loop {
            let fits = end
                .checked_add(part.len() as u64)
                .is_some_and(|end| end <= FILE_BYTES_MAX);
            if !fits {
                return Err(Errno::TooLarge.into());
            }
            let staged = self.store.stage(end, part)?;
            let (outcome, effects) = self.record(origin, |txn, effects| {
                let now = live_inode(txn, file.node)?.size;
                if now != end {
                    return Ok(Outcome::Moved(now));
                }
                Ok(Outcome::Done(self.put_staged(txn, effects, file, &staged)?))
            })?;
            match outcome {
                Outcome::Done(length) => return Ok((length, effects)),
                Outcome::Moved(now) => end = now,
                Outcome::NotInline => {}
            }
        }
    }

    /// Writes into the record of a small file; `None` appends.
    fn put_inline(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        file: &OpenFile,
        at: Option<u64>,
        part: &[u8],
    ) -> Result<Outcome> {
        let (view, id) = (file.node.view(), file.node.inode());
        let mut inode = live_inode(txn, file.node)?;
        let at = at.unwrap_or(inode.size);
        let end = at.saturating_add(part.len() as u64);
        if inode.flags & flags::INLINE == 0 || end > INLINE_BYTES_MAX as u64 {
            return Ok(Outcome::NotInline);
        }
        let mut bytes = inline_bytes(txn, view, id, &inode)?;
        if bytes.len() < end as usize {
            bytes.resize(end as usize, 0);
        }
        bytes[at as usize..end as usize].copy_from_slice(part);
        put_inline(txn, view, id, &mut inode, &bytes)?;
        let length = self.finish_write(txn, effects, file, inode, at, part.len() as u64)?;
        Ok(Outcome::Done(length))
    }

    /// Makes staged bytes the file's.
    fn put_staged(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        file: &OpenFile,
        staged: &Staged,
    ) -> Result<u64> {
        let (view, id) = (file.node.view(), file.node.inode());
        let mut inode = live_inode(txn, file.node)?;
        self.leave_inline(txn, view, id, &mut inode)?;
        let change = txn.put_range(view, id, staged)?;
        account(&mut inode, change);
        self.finish_write(txn, effects, file, inode, staged.offset(), staged.length())
    }

    fn finish_write(
        &self,
        txn: &mut WriteTxn<'_>,
        effects: &mut Effects,
        file: &OpenFile,
        mut inode: Inode,
        at: u64,
        length: u64,
    ) -> Result<u64> {
        inode.size = inode.size.max(at.saturating_add(length));
        bytes_changed(&file.caller, &mut inode, self.store.now());
        txn.put_inode(file.node.view(), file.node.inode(), &inode)?;
        effects.bytes(file.node, at, length);
        Ok(inode.size)
    }

    /// Turns the inline record of a file into an extent; the caller stores the inode.
    pub(crate) fn leave_inline(
        &self,
        txn: &mut WriteTxn<'_>,
        view: ViewId,
        id: InodeId,
        inode: &mut Inode,
    ) -> Result<()> {
        if inode.flags & flags::INLINE == 0 {
            return Ok(());
        }
        let bytes = txn.get(view, &key::inline(id))?.unwrap_or_default();
        inode.flags &= !flags::INLINE;
        inode.allocated = 0;
        if !bytes.is_empty() {
            txn.delete(view, &key::inline(id))?;
            let staged = self.store.stage(0, &bytes)?;
            account(inode, txn.put_range(view, id, &staged)?);
        }
        Ok(())
    }
}

/// What every change of bytes does to the inode: times, and set-id bits of programs.
pub(crate) fn bytes_changed(caller: &Caller, inode: &mut Inode, now: Timestamp) {
    if !caller.is_superuser() {
        inode.mode = without_set_id(inode.mode, caller.in_group(inode.gid));
    }
    (inode.mtime, inode.ctime) = (now, now);
}

/// Says which bytes of the file were asked for when damage was found.
fn in_range(error: StoreError, offset: u64, count: usize) -> StoreError {
    let StoreError::Corrupt { what } = error else {
        return error;
    };
    let end = offset + count as u64 - 1;
    StoreError::Corrupt {
        what: format!("{what}, for bytes {offset} to {end} of the file"),
    }
}
