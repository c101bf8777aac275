//! Open files: who holds which inode, and what happens when the last one lets go.
//!
//! Invariants:
//! - A handle is registered inside the store transaction that found (or made) its inode, and
//!   removal of a last name asks for handles inside its own: the two never miss each other.
//! - The table's locks are taken inside store transactions, never the other way round.

use crate::error::Result;
use crate::node::{attributes, inode_of, view_info};
use crate::permission::{self, READ, WRITE};
use crate::{Attributes, Caller, Errno, HandleId, NodeId, OpenFlags, Vfs};
use lockstep_format::{FileKind, Inode, ViewId};
use lockstep_store::Reader;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What a handle remembers of its opener.
#[derive(Debug)]
pub(crate) struct OpenFile {
    pub node: NodeId,
    pub kind: FileKind,
    pub flags: OpenFlags,
    pub caller: Caller,
    /// The node lies in a snapshot.
    pub read_only: bool,
}

#[derive(Default)]
struct Holders {
    count: u32,
    /// The last name went away while somebody held it: free it at the last release.
    unlinked: bool,
}

/// Handles by number, and how many each node has.
#[derive(Default)]
pub(crate) struct HandleTable {
    next: AtomicU64,
    files: RwLock<FxHashMap<u64, Arc<OpenFile>>>,
    /// Somebody may hold nodes that have no handle here: see `takeover.rs`.
    pub(crate) has_strangers: AtomicBool,
    holders: Mutex<FxHashMap<NodeId, Holders>>,
}

impl HandleTable {
    fn insert(&self, file: OpenFile) -> HandleId {
        let id = self.next.fetch_add(1, Ordering::Relaxed) + 1;
        self.holders.lock().entry(file.node).or_default().count += 1;
        self.files.write().insert(id, Arc::new(file));
        HandleId(id)
    }

    pub(crate) fn get(&self, handle: HandleId) -> Result<Arc<OpenFile>> {
        Ok(self
            .files
            .read()
            .get(&handle.0)
            .cloned()
            .ok_or(Errno::BadHandle)?)
    }

    /// Forgets a handle; the node if it was the last one of an inode without a name.
    fn remove(&self, handle: HandleId) -> Result<Option<NodeId>> {
        let file = self
            .files
            .write()
            .remove(&handle.0)
            .ok_or(Errno::BadHandle)?;
        let mut holders = self.holders.lock();
        let Some(entry) = holders.get_mut(&file.node) else {
            return Ok(None);
        };
        entry.count -= 1;
        if entry.count > 0 {
            return Ok(None);
        }
        let unlinked = entry.unlinked;
        holders.remove(&file.node);
        Ok(unlinked.then_some(file.node))
    }

    /// Whether somebody holds the node; if so its last release will free it.
    pub(crate) fn keep_until_release(&self, node: NodeId) -> bool {
        match self.holders.lock().get_mut(&node) {
            Some(entry) => {
                entry.unlinked = true;
                true
            }
            None => false,
        }
    }

    /// Whether any node of the view is open.
    pub(crate) fn is_view_open(&self, view: ViewId) -> bool {
        self.holders.lock().keys().any(|node| node.view() == view)
    }
}

fn require_openable(inode: &Inode, flags: OpenFlags) -> Result<()> {
    match inode.kind {
        FileKind::Directory if flags.write || flags.append || flags.truncate => {
            Err(Errno::IsDirectory.into())
        }
        // A directory for fsync and attributes by handle; read answers EISDIR.
        FileKind::File | FileKind::Directory => Ok(()),
        FileKind::Symlink => Err(Errno::LinkLoop.into()),
        FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
            Err(Errno::NoDevice.into())
        }
    }
}

impl Vfs {
    /// Opens a file by node. A directory can be opened for reading: `fsync` and attributes work.
    pub fn open_file(&self, caller: &Caller, node: NodeId, flags: OpenFlags) -> Result<HandleId> {
        let handle = self.inspect(|reader| self.open_in(reader, caller, node, flags))?;
        self.truncate_opened(handle, flags)?;
        Ok(handle)
    }

    /// Checks and registers, inside a transaction.
    pub(crate) fn open_in(
        &self,
        reader: &dyn Reader,
        caller: &Caller,
        node: NodeId,
        flags: OpenFlags,
    ) -> Result<HandleId> {
        let info = view_info(reader, node.view())?;
        let inode = inode_of(reader, node)?;
        require_openable(&inode, flags)?;
        let writes = flags.write || flags.append || flags.truncate;
        let mask = if flags.read { READ } else { 0 } | if writes { WRITE } else { 0 };
        permission::check(reader, caller, node, &inode, mask)?;
        let read_only = info.snapshot.is_some();
        if writes && (read_only || self.read_only) {
            return Err(Errno::ReadOnly.into());
        }
        Ok(self.register(caller, node, inode.kind, flags, read_only))
    }

    /// Registers without asking: the caller has just made the file.
    pub(crate) fn register(
        &self,
        caller: &Caller,
        node: NodeId,
        kind: FileKind,
        flags: OpenFlags,
        read_only: bool,
    ) -> HandleId {
        let caller = caller.clone();
        self.handles.insert(OpenFile {
            node,
            kind,
            flags,
            caller,
            read_only,
        })
    }

    /// The `O_TRUNC` of an open that succeeded; gives the handle back if it fails.
    pub(crate) fn truncate_opened(&self, handle: HandleId, flags: OpenFlags) -> Result<()> {
        if !flags.truncate {
            return Ok(());
        }
        let file = self.handles.get(handle)?;
        let result = self.set_length(&file.caller, file.node, 0);
        if result.is_err() {
            self.release(handle)?;
        }
        result
    }

    /// Closes a handle. The last one of a file without a name frees the file (in the background).
    pub fn release(&self, handle: HandleId) -> Result<()> {
        if let Some(node) = self.handles.remove(handle)? {
            self.reaper.push(&[node]);
        }
        Ok(())
    }

    /// Makes this file (all of the store, in fact: one prefix) durable.
    pub fn fsync(&self, handle: HandleId) -> Result<()> {
        self.handles.get(handle)?;
        self.sync()
    }

    /// `fstat`: works on files without a name, too.
    pub fn handle_attributes(&self, handle: HandleId) -> Result<Attributes> {
        let file = self.handles.get(handle)?;
        self.inspect(|reader| {
            let inode = inode_of(reader, file.node)?;
            Ok(attributes(file.node, &inode, file.read_only))
        })
    }
}
