//! Requests that the kernel asks again because the daemon that read them died.
//!
//! That daemon may have done what was asked before it died. So where doing it again fails because
//! it is done, that is the answer that was missing:
//! - what was to be made is there, and is what was asked for;
//! - what was to be removed is not there;
//! - of a rename, the old name is gone and the new one is there;
//! - bytes that were to be written are where the kernel expected them, or at the end of the file.
//!
//! Invariant: a request that is asked for the first time is never answered by these rules.

use crate::adapter::Adapter;
use fuser::Request;
use lockstep_vfs::{
    self as vfs, Attributes, Caller, FileKind, HandleId, NodeId, OpenFlags, RenameMode, VfsError,
};

/// `FUSE_UNIQUE_RESEND`.
const RESENT: u64 = 1 << 63;

/// A name in a directory.
type Place<'a> = (NodeId, &'a [u8]);

pub(crate) fn is_resent(request: &Request) -> bool {
    request.unique().0 & RESENT != 0
}

/// What was to be removed and is not there was removed.
pub(crate) fn or_gone(request: &Request, removed: Result<(), VfsError>) -> Result<(), VfsError> {
    match removed {
        Err(VfsError::Errno(vfs::Errno::NotFound | vfs::Errno::NoData)) if is_resent(request) => {
            Ok(())
        }
        removed => removed,
    }
}

impl Adapter {
    /// What was to be made and is there was made, if `is_it` says so.
    pub(crate) fn or_made(
        &self,
        request: &Request,
        made: Result<Attributes, VfsError>,
        parent: NodeId,
        name: &[u8],
        is_it: impl FnOnce(&Attributes) -> bool,
    ) -> Result<Attributes, VfsError> {
        if !is_resent(request) || !matches!(made, Err(VfsError::Errno(vfs::Errno::Exists))) {
            return made;
        }
        let there = self.vfs.lookup(&self.callers.superuser(), parent, name);
        there.ok().filter(is_it).map_or(made, Ok)
    }

    /// A file that was to be created and is there, of the caller's own, is opened as it would have
    /// been: whoever creates a file may use it whatever its mode.
    pub(crate) fn or_created(
        &self,
        request: &Request,
        created: Result<(Attributes, HandleId), VfsError>,
        caller: &Caller,
        (parent, name): Place<'_>,
        flags: OpenFlags,
    ) -> Result<(Attributes, HandleId), VfsError> {
        let is_there = matches!(
            created,
            Err(VfsError::Errno(vfs::Errno::Exists | vfs::Errno::Access))
        );
        if !is_resent(request) || !is_there {
            return created;
        }
        let superuser = self.callers.superuser();
        let there = self.vfs.lookup(&superuser, parent, name)?;
        if there.kind != FileKind::File || there.uid != caller.uid {
            return created;
        }
        let handle = self.vfs.open_file(&superuser, there.node, flags)?;
        Ok((there, handle))
    }

    /// A rename that finds the old name gone and the new one there was done. An exchange leaves no
    /// trace by which it could be told: `EIO`.
    pub(crate) fn rename_again(
        &self,
        caller: &Caller,
        from: Place<'_>,
        to: Place<'_>,
        mode: RenameMode,
    ) -> Result<(), VfsError> {
        if mode == RenameMode::Exchange {
            return Err(vfs::Errno::Io.into());
        }
        match self.vfs.rename(caller, from.0, from.1, to.0, to.1, mode) {
            Err(VfsError::Errno(vfs::Errno::NotFound)) => {
                let there = self.vfs.lookup(&self.callers.superuser(), to.0, to.1);
                there.map(drop)
            }
            renamed => renamed,
        }
    }

    /// Whether bytes to be appended are where the kernel, which appends at the end that it knows,
    /// expected them; or at the end, if another view appended in between.
    pub(crate) fn is_appended(
        &self,
        of: NodeId,
        offset: u64,
        data: &[u8],
    ) -> Result<bool, VfsError> {
        let length = data.len() as u64;
        let Some(last) = self.vfs.attributes(of)?.size.checked_sub(length) else {
            return Ok(false);
        };
        if last < offset {
            return Ok(false);
        }
        let flags = OpenFlags {
            read: true,
            ..OpenFlags::default()
        };
        let handle = self.vfs.open_file(&self.callers.superuser(), of, flags)?;
        let mut found = vec![0; data.len()];
        let mut is_at = |at| {
            let read = self.vfs.read(handle, at, &mut found)?;
            Ok::<_, VfsError>(read == data.len() && found == data)
        };
        let there = is_at(offset).and_then(|there| Ok(there || is_at(last)?));
        self.vfs.release(handle)?;
        if let Some(caches) = self.caches.get() {
            // The kernel's pages may hold the bytes in another place.
            caches.forget_bytes_soon(of, offset);
        }
        there
    }
}
