//! Files as the packet loop needs them; [`Vfs`] is the one that ships.

use lockstep_vfs::{Caller, HandleId, NodeId, OpenFlags, Vfs, VfsError};

use crate::error::TransferError;

/// Files by node. Every method is called from several threads at once and may block on the disk.
///
/// Duties: an open file's bytes stay readable until it is released, also when its last name goes;
/// a write is readable by everybody once it returned; a read answers with the bytes that were
/// written or with an error.
pub trait Files: Send + Sync + 'static {
    /// Opens as superuser: whether the client may was decided by [`crate::Decide`].
    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<HandleId, VfsError>;
    /// Lets go of a file.
    fn release(&self, handle: HandleId) -> Result<(), VfsError>;
    /// Fills `into` from `offset`; fewer bytes only at the end of the file.
    fn read(&self, handle: HandleId, offset: u64, into: &mut [u8]) -> Result<usize, VfsError>;
    /// Writes all of `bytes` at `offset`.
    fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<(), VfsError>;
    /// Makes what was written durable.
    fn sync(&self, handle: HandleId) -> Result<(), VfsError>;
    /// A thread panicked inside: an invariant is broken, nothing more may reach the disk.
    fn poison(&self);
}

impl Files for Vfs {
    fn open(&self, node: NodeId, flags: OpenFlags) -> Result<HandleId, VfsError> {
        self.open_file(&Caller::root(), node, flags)
    }

    fn release(&self, handle: HandleId) -> Result<(), VfsError> {
        Self::release(self, handle)
    }

    fn read(&self, handle: HandleId, offset: u64, into: &mut [u8]) -> Result<usize, VfsError> {
        Self::read(self, handle, offset, into)
    }

    fn write(&self, handle: HandleId, offset: u64, bytes: &[u8]) -> Result<(), VfsError> {
        Self::write(self, handle, offset, bytes).map(|_| ())
    }

    fn sync(&self, handle: HandleId) -> Result<(), VfsError> {
        self.fsync(handle)
    }

    fn poison(&self) {
        self.fail_stop("a thread of the HDFS transfer panicked");
    }
}

/// An open file that is released whatever happens.
pub(crate) struct OpenFile<'a> {
    files: &'a dyn Files,
    handle: HandleId,
}

impl<'a> OpenFile<'a> {
    pub(crate) fn open(
        files: &'a dyn Files,
        node: NodeId,
        flags: OpenFlags,
    ) -> Result<Self, TransferError> {
        Ok(Self {
            files,
            handle: files.open(node, flags)?,
        })
    }

    /// Fills all of `into` from `offset`.
    pub(crate) fn read_exact(&self, offset: u64, into: &mut [u8]) -> Result<(), TransferError> {
        if self.files.read(self.handle, offset, into)? < into.len() {
            return Err(TransferError::Truncated);
        }
        Ok(())
    }

    pub(crate) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), TransferError> {
        Ok(self.files.write(self.handle, offset, bytes)?)
    }

    pub(crate) fn sync(&self) -> Result<(), TransferError> {
        Ok(self.files.sync(self.handle)?)
    }
}

impl Drop for OpenFile<'_> {
    fn drop(&mut self) {
        // All bytes were written (and synced, if asked for) before; an error here changes nothing
        // that was promised, and the store remembers its own failure.
        drop(self.files.release(self.handle));
    }
}
