//! What requests about open files need beyond one call of `lockstep_vfs`.
//!
//! Invariants:
//! - A handle that appends has a second one that does not: pages that were changed through a
//!   mapping come back over any handle of the file, and belong where they are.
//! - What the kernel cannot know of a write (another end of the file, set-id bits that went) is
//!   told to it.

use crate::adapter::Adapter;
use crate::convert::{OPEN_FOR_EXECUTION, open_flags};
use crate::handle_number;
use fuser::{AccessFlags, FileHandle, OpenFlags, WriteFlags};
use lockstep_vfs::{self as vfs, Attributes, Caller, HandleId, NodeId, SetAttributes, VfsError};
use std::sync::atomic::Ordering;

/// Whether bytes go to the end of the file; pages that come back from a mapping never do.
pub(crate) fn appends(how: WriteFlags, flags: OpenFlags) -> bool {
    flags.0 & libc::O_APPEND != 0 && !how.contains(WriteFlags::FUSE_WRITE_CACHE)
}

impl Adapter {
    /// The kernel's number for a file that was opened with `flags`.
    pub(crate) fn number_of(&self, handle: HandleId, flags: i32) -> FileHandle {
        let flags = handle_number::pack(flags);
        FileHandle(handle_number::of(self.life, flags, handle.0))
    }

    /// The open file that the kernel speaks of. One that an earlier daemon opened is opened again
    /// as it was; whether it may be was decided then.
    pub(crate) fn file(&self, of: NodeId, number: FileHandle) -> Result<HandleId, VfsError> {
        let FileHandle(number) = number;
        if handle_number::life(number) == self.life {
            return Ok(HandleId(handle_number::number(number)));
        }
        if let Some(handle) = self.restored.read().get(&number) {
            return Ok(*handle);
        }
        let flags = handle_number::unpack(handle_number::flags(number));
        let caller = self.callers.superuser();
        let opened = self.vfs.open_file(&caller, of, open_flags(flags))?;
        let opened = self.opened(of, opened, flags)?;
        let known = *self.restored.write().entry(number).or_insert(opened);
        if known != opened {
            self.release_handle(opened)?;
        }
        Ok(known)
    }

    /// Closes a file, in whichever life it was opened.
    pub(crate) fn release_number(&self, number: FileHandle) -> Result<(), VfsError> {
        let FileHandle(number) = number;
        if handle_number::life(number) == self.life {
            return self.release_handle(HandleId(handle_number::number(number)));
        }
        let restored = self.restored.write().remove(&number);
        restored.map_or(Ok(()), |handle| self.release_handle(handle))
    }

    /// A file that is executed needs no permission to be read, but to be executed.
    pub(crate) fn open_file(
        &self,
        caller: &Caller,
        of: NodeId,
        flags: i32,
    ) -> Result<HandleId, VfsError> {
        let wanted = open_flags(flags);
        if flags & OPEN_FOR_EXECUTION == 0 {
            return self.vfs.open_file(caller, of, wanted);
        }
        self.vfs
            .access(caller, of, AccessFlags::X_OK.bits() as u32)?;
        self.vfs.open_file(&self.callers.superuser(), of, wanted)
    }

    /// Opens the second handle of a file that was opened to append.
    fn open_in_place(&self, of: NodeId, handle: HandleId, flags: i32) -> Result<(), VfsError> {
        let flags = vfs::OpenFlags {
            append: false,
            truncate: false,
            exclusive: false,
            ..open_flags(flags)
        };
        if !flags.write || self.in_place.read().contains_key(&handle) {
            return Ok(());
        }
        match self.vfs.open_file(&self.callers.superuser(), of, flags) {
            Ok(second) => {
                self.in_place.write().insert(handle, second);
                Ok(())
            }
            Err(error) => {
                self.release_handle(handle)?;
                Err(error)
            }
        }
    }

    pub(crate) fn opened(
        &self,
        of: NodeId,
        handle: HandleId,
        flags: i32,
    ) -> Result<HandleId, VfsError> {
        if flags & libc::O_APPEND != 0 {
            self.open_in_place(of, handle, flags)?;
        }
        Ok(handle)
    }

    pub(crate) fn release_handle(&self, handle: HandleId) -> Result<(), VfsError> {
        let second = if self.in_place.read().contains_key(&handle) {
            self.in_place.write().remove(&handle)
        } else {
            None
        };
        let released = self.vfs.release(handle);
        match second {
            Some(second) => released.and(self.vfs.release(second)),
            None => released,
        }
    }

    /// Writes, and tells the kernel what it cannot know of the outcome.
    pub(crate) fn write_file(
        &self,
        of: NodeId,
        handle: HandleId,
        offset: u64,
        data: &[u8],
        how: WriteFlags,
        flags: OpenFlags,
    ) -> Result<(), VfsError> {
        let appends = appends(how, flags);
        let used = if appends {
            handle
        } else {
            self.in_place.read().get(&handle).copied().unwrap_or(handle)
        };
        let length = self.vfs.write(used, offset, data)?;
        if how.contains(WriteFlags::FUSE_WRITE_CACHE) {
            self.written_back.fetch_add(1, Ordering::Relaxed);
        }
        let end = offset.saturating_add(data.len() as u64);
        if appends && length != end {
            // The kernel put the bytes where it believed the end to be; its pages are wrong from
            // the lower of the two places on. It holds them locked until this is answered.
            if let Some(caches) = self.caches.get() {
                let start = length.saturating_sub(data.len() as u64);
                caches.forget_bytes_soon(of, offset.min(start));
            }
        }
        if how.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID) {
            self.drop_set_id(of)?;
        }
        Ok(())
    }

    /// The kernel asks, with a write, for set-id bits to go; it keeps the old mode in its cache.
    fn drop_set_id(&self, of: NodeId) -> Result<(), VfsError> {
        let mode = self.vfs.attributes(of)?.mode;
        let mut kept = mode & !libc::S_ISUID;
        if mode & libc::S_IXGRP != 0 {
            kept &= !libc::S_ISGID;
        }
        if kept != mode {
            let change = SetAttributes {
                mode: Some(kept),
                ..SetAttributes::default()
            };
            self.vfs
                .set_attributes(&self.callers.superuser(), of, &change)?;
        }
        if let Some(caches) = self.caches.get() {
            caches.forget_attributes(of);
        }
        Ok(())
    }

    /// Changes attributes. A length that is set through an open file was permitted when the file
    /// was opened for writing, whatever its mode says by now.
    pub(crate) fn set_attributes(
        &self,
        caller: &Caller,
        of: NodeId,
        change: &SetAttributes,
        handle: Option<HandleId>,
    ) -> Result<Attributes, VfsError> {
        let only_size = SetAttributes {
            size: change.size,
            ..SetAttributes::default()
        };
        match (handle, change.size) {
            (Some(handle), Some(size)) if *change == only_size => self.vfs.truncate(handle, size),
            _ => self.vfs.set_attributes(caller, of, change),
        }
    }

    pub(crate) fn allocate(
        &self,
        handle: HandleId,
        offset: u64,
        length: u64,
        mode: i32,
    ) -> Result<(), VfsError> {
        const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
        const ZERO_KEEP: i32 = libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE;
        match mode {
            0 => self.vfs.allocate(handle, offset, length, false),
            libc::FALLOC_FL_KEEP_SIZE => self.vfs.allocate(handle, offset, length, true),
            PUNCH => self.vfs.punch_hole(handle, offset, length),
            ZERO | ZERO_KEEP => {
                self.vfs.punch_hole(handle, offset, length)?;
                self.vfs.allocate(handle, offset, length, mode == ZERO_KEEP)
            }
            _ => Err(vfs::Errno::NotSupported.into()),
        }
    }
}
