//! FUSE requests as calls of `lockstep_vfs`.
//!
//! Invariants:
//! - Each request is answered exactly once; whatever goes wrong on the way is answered too.
//! - Nothing is remembered of nodes: they need no forgetting. Open files and directories are all
//!   the state there is.
//! - No lock of this crate is held while `lockstep_vfs` or the kernel is called, but for the
//!   position of the one open directory that is being read.

use crate::caller::Callers;
use crate::convert::{self, BLOCK_BYTES, TTL, attribute_ttl, entry_ttl, node, open_flags};
use crate::directory::{Directories, Filling};
use crate::error::Faults;
use crate::file_requests::appends;
use crate::flusher::Flusher;
use crate::notify::{KernelCaches, this_thread_serves_requests};
use crate::resent::{is_resent, or_gone};
use fuser::{
    AccessFlags, BsdFileFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry, ReplyLseek, ReplyOpen, ReplyStatfs,
    ReplyWrite, ReplyXattr, Request, TimeOrNow, WriteFlags,
};
use lockstep_vfs::{
    self as vfs, Attributes, FileKind, HandleId, RenameMode, SeekTarget, SetAttributes, Vfs,
    VfsError, XattrMode,
};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

/// The largest read or write that the kernel sends at once.
pub(crate) const REQUEST_BYTES_MAX: u32 = 1 << 20;
/// Requests that the kernel may have under way on its own account (reading ahead).
const BACKGROUND_MAX: u16 = 64;
/// Longest list of attribute names (`XATTR_LIST_MAX`).
const XATTR_LIST_BYTES_MAX: usize = 65_536;

/// Pages stay when a file is opened: whoever changes it has them forgotten. And closing it waits
/// for nothing, as on any disk; closing would else wait for the daemon, in every process that a user
/// of the mount starts, and one of these may be the next daemon.
const OPENED: FopenFlags = FopenFlags::FOPEN_KEEP_CACHE.union(FopenFlags::FOPEN_NOFLUSH);

thread_local! {
    /// What a read is answered from; as large as the largest read of this thread.
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// The caches of the kernel, known once the session is there.
pub(crate) type CachesSlot = Arc<OnceLock<Arc<KernelCaches>>>;

/// One mount's side of the conversation.
pub(crate) struct Adapter {
    pub(crate) vfs: Arc<Vfs>,
    pub(crate) callers: Callers,
    faults: Arc<Faults>,
    pub(crate) caches: CachesSlot,
    pub(crate) directories: Directories,
    flusher: Flusher,
    /// Writes that came back from mappings.
    pub(crate) written_back: Arc<AtomicU64>,
    /// For each handle that was opened to append: one of the same file that does not. Pages that
    /// were changed through a mapping come back over any handle and belong where they are.
    pub(crate) in_place: RwLock<FxHashMap<HandleId, HandleId>>,
    /// How often the mount was taken over: part of every handle's number.
    pub(crate) life: u16,
    /// Files that an earlier daemon opened and this one opened again, by the kernel's number.
    pub(crate) restored: RwLock<FxHashMap<u64, HandleId>>,
}

impl Adapter {
    pub(crate) fn new(
        vfs: Arc<Vfs>,
        origin: u32,
        faults: Arc<Faults>,
        caches: CachesSlot,
        request_threads: usize,
        life: u16,
        directories: Directories,
    ) -> Self {
        let flusher = {
            let (vfs, faults) = (Arc::clone(&vfs), Arc::clone(&faults));
            Flusher::new(request_threads, move || {
                this_thread_serves_requests();
                faults.answer("fsync", 0, || vfs.sync())
            })
        };
        Self {
            vfs,
            callers: Callers::new(origin),
            faults,
            caches,
            directories,
            flusher,
            written_back: Arc::default(),
            in_place: RwLock::default(),
            life,
            restored: RwLock::default(),
        }
    }

    pub(crate) fn answer<T>(
        &self,
        operation: &'static str,
        ino: INodeNo,
        work: impl FnOnce() -> Result<T, VfsError>,
    ) -> Result<T, Errno> {
        this_thread_serves_requests();
        self.faults.answer(operation, ino.0, work)
    }

    /// Answers a request that looked up or made `name` in `parent`.
    fn entry(
        &self,
        operation: &'static str,
        parent: INodeNo,
        name: &OsStr,
        reply: ReplyEntry,
        work: impl FnOnce() -> Result<Attributes, VfsError>,
    ) {
        match self.answer(operation, parent, work) {
            Ok(attributes) => reply.entry_with_ttls(
                &attribute_ttl(attributes.node),
                &entry_ttl(node(parent), name.as_bytes()),
                &convert::attributes(&attributes),
                Generation(0),
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn empty(
        &self,
        operation: &'static str,
        ino: INodeNo,
        reply: ReplyEmpty,
        work: impl FnOnce() -> Result<(), VfsError>,
    ) {
        match self.answer(operation, ino, work) {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        }
    }

    /// Answers a question for an attribute: its size, or its bytes if they fit.
    fn xattr(reply: ReplyXattr, bytes: &[u8], room: u32) {
        if room == 0 {
            reply.size(bytes.len() as u32);
        } else if bytes.len() > room as usize {
            reply.error(Errno::ERANGE);
        } else {
            reply.data(bytes);
        }
    }
}

impl Adapter {
    /// Answers a request once everything acknowledged before it is durable.
    fn flush_then(&self, reply: ReplyEmpty) {
        self.flusher.run(move |flushed| match flushed {
            Ok(()) => reply.ok(),
            Err(errno) => reply.error(errno),
        });
    }
}

/// Asks for what the kernel offers; what it does not, it goes without.
fn request_capabilities(config: &mut KernelConfig) {
    let wanted = [
        InitFlags::FUSE_ASYNC_READ,
        InitFlags::FUSE_ASYNC_DIO,
        InitFlags::FUSE_BIG_WRITES,
        InitFlags::FUSE_MAX_PAGES,
        InitFlags::FUSE_ATOMIC_O_TRUNC,
        InitFlags::FUSE_PARALLEL_DIROPS,
        InitFlags::FUSE_DO_READDIRPLUS,
        InitFlags::FUSE_CACHE_SYMLINKS,
        // The umask is applied here, unless a default ACL rules instead.
        InitFlags::FUSE_DONT_MASK,
        // Set-id bits go in the same step as the write, and the kernel need not look for file
        // capabilities before every write.
        InitFlags::FUSE_HANDLE_KILLPRIV_V2,
        // The kernel checks permission as well (see `device.rs`), so it has to know of ACLs.
        InitFlags::FUSE_POSIX_ACL,
    ];
    for capability in wanted {
        if config.capabilities().contains(capability) {
            // Offered, so it is not refused.
            let _ = config.add_capabilities(capability);
        }
    }
}

/// What a session serves: each thread's session has its share.
pub(crate) struct Server(pub(crate) Arc<Adapter>);

impl Deref for Server {
    type Target = Adapter;

    fn deref(&self) -> &Adapter {
        &self.0
    }
}

impl Filesystem for Server {
    fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
        request_capabilities(config);
        let refused = |_| io::Error::from_raw_os_error(libc::EINVAL);
        config.set_max_write(REQUEST_BYTES_MAX).map_err(refused)?;
        if let Err(nearest) = config.set_max_readahead(REQUEST_BYTES_MAX) {
            config.set_max_readahead(nearest).map_err(refused)?;
        }
        config
            .set_max_background(BACKGROUND_MAX)
            .map_err(|_| refused(0))?;
        Ok(())
    }

    fn forget(&self, _: &Request, ino: INodeNo, _: u64) {
        self.vfs.forgotten(node(ino));
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.entry("lookup", parent, name, reply, || {
            let caller = self.callers.of(request, 0);
            self.vfs.lookup(&caller, node(parent), name.as_bytes())
        });
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.answer("getattr", ino, || self.vfs.attributes(node(ino))) {
            Ok(attributes) => {
                reply.attr(
                    &attribute_ttl(attributes.node),
                    &convert::attributes(&attributes),
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn setattr(
        &self,
        request: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        handle: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttributes {
            mode: mode.map(|mode| mode & 0o7777),
            uid,
            gid,
            size,
            atime: atime.map(convert::set_time),
            mtime: mtime.map(convert::set_time),
            ..SetAttributes::default()
        };
        let changed = self.answer("setattr", ino, || {
            let caller = self.callers.of(request, 0);
            let handle = handle.map(|handle| self.file(node(ino), handle));
            let handle = handle.transpose()?;
            self.set_attributes(&caller, node(ino), &change, handle)
        });
        match changed {
            Ok(attributes) => {
                reply.attr(
                    &attribute_ttl(attributes.node),
                    &convert::attributes(&attributes),
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn readlink(&self, request: &Request, ino: INodeNo, reply: ReplyData) {
        let target = self.answer("readlink", ino, || {
            self.vfs.read_link(&self.callers.of(request, 0), node(ino))
        });
        match target {
            Ok(target) => reply.data(&target),
            Err(errno) => reply.error(errno),
        }
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.entry("mknod", parent, name, reply, || {
            let caller = self.callers.of(request, umask);
            let kind = convert::node_kind(mode).ok_or(vfs::Errno::Invalid)?;
            let (parent, name) = (node(parent), name.as_bytes());
            let outcome = self
                .vfs
                .make_node(&caller, parent, name, kind, mode & 0o7777, rdev);
            self.or_made(request, outcome, parent, name, |there| there.kind == kind)
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.entry("mkdir", parent, name, reply, || {
            let caller = self.callers.of(request, umask);
            let (parent, name) = (node(parent), name.as_bytes());
            let outcome = self
                .vfs
                .make_directory(&caller, parent, name, mode & 0o7777);
            let is_it = |there: &Attributes| there.kind == FileKind::Directory;
            self.or_made(request, outcome, parent, name, is_it)
        });
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty("unlink", parent, reply, || {
            let caller = self.callers.of(request, 0);
            or_gone(
                request,
                self.vfs.unlink(&caller, node(parent), name.as_bytes()),
            )
        });
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty("rmdir", parent, reply, || {
            let caller = self.callers.of(request, 0);
            let removed = self
                .vfs
                .remove_directory(&caller, node(parent), name.as_bytes());
            or_gone(request, removed)
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.entry("symlink", parent, name, reply, || {
            let caller = self.callers.of(request, 0);
            let (parent, name) = (node(parent), name.as_bytes());
            let target = target.as_os_str().as_bytes();
            let made = self.vfs.symlink(&caller, parent, name, target);
            self.or_made(request, made, parent, name, |there| {
                let there = self.vfs.read_link(&caller, there.node);
                there.is_ok_and(|there| there == target)
            })
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.empty("rename", parent, reply, || {
            let mode = match flags {
                flags if flags.is_empty() => RenameMode::Replace,
                RenameFlags::RENAME_NOREPLACE => RenameMode::NoReplace,
                RenameFlags::RENAME_EXCHANGE => RenameMode::Exchange,
                _ => return Err(vfs::Errno::Invalid.into()),
            };
            let caller = self.callers.of(request, 0);
            let from = (node(parent), name.as_bytes());
            let to = (node(new_parent), new_name.as_bytes());
            if is_resent(request) {
                return self.rename_again(&caller, from, to, mode);
            }
            self.vfs.rename(&caller, from.0, from.1, to.0, to.1, mode)
        });
    }

    fn link(
        &self,
        request: &Request,
        ino: INodeNo,
        new_parent: INodeNo,
        new_name: &OsStr,
        reply: ReplyEntry,
    ) {
        self.entry("link", new_parent, new_name, reply, || {
            let caller = self.callers.of(request, 0);
            let (parent, name) = (node(new_parent), new_name.as_bytes());
            let made = self.vfs.link(&caller, node(ino), parent, name);
            self.or_made(request, made, parent, name, |there| there.node == node(ino))
        });
    }

    fn open(&self, request: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let opened = self.answer("open", ino, || {
            let caller = self.callers.of(request, 0);
            let handle = self.open_file(&caller, node(ino), flags.0)?;
            self.opened(node(ino), handle, flags.0)
        });
        match opened {
            Ok(handle) => reply.opened(self.number_of(handle, flags.0), OPENED),
            Err(errno) => reply.error(errno),
        }
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let created = self.answer("create", parent, || {
            let caller = self.callers.of(request, umask);
            let (parent, name, wanted) = (node(parent), name.as_bytes(), open_flags(flags));
            let created = self
                .vfs
                .create_file(&caller, parent, name, mode & 0o7777, wanted);
            let (attributes, handle) =
                self.or_created(request, created, &caller, (parent, name), wanted)?;
            let handle = self.opened(attributes.node, handle, flags)?;
            Ok((attributes, handle))
        });
        match created {
            Ok((attributes, handle)) => reply.created(
                &TTL,
                &convert::attributes(&attributes),
                Generation(0),
                self.number_of(handle, flags),
                OPENED,
            ),
            Err(errno) => reply.error(errno),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size.min(REQUEST_BYTES_MAX) as usize;
        READ_BUFFER.with_borrow_mut(|buffer| {
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let room = &mut buffer[..size];
            let read = self.answer("read", ino, || {
                self.vfs.read(self.file(node(ino), handle)?, offset, room)
            });
            match read {
                Ok(count) => reply.data(&buffer[..count.min(size)]),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        request: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        how: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.answer("write", ino, || {
            let file = self.file(node(ino), handle)?;
            let appends = appends(how, flags);
            if is_resent(request) && appends && self.is_appended(node(ino), offset, data)? {
                return Ok(());
            }
            self.write_file(node(ino), file, offset, data, how, flags)
        });
        match written {
            Ok(()) => reply.written(data.len() as u32),
            Err(errno) => reply.error(errno),
        }
    }

    /// Nothing waits here to be written when a file is closed: the kernel need not ask again.
    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn release(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.empty("release", ino, reply, || self.release_number(handle));
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.flush_then(reply);
    }

    fn opendir(&self, request: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let opened = self.answer("opendir", ino, || {
            let caller = self.callers.of(request, 0);
            self.vfs
                .access(&caller, node(ino), AccessFlags::R_OK.bits() as u32)?;
            Ok(self.directories.open(node(ino)))
        });
        match opened {
            Ok(id) => reply.opened(FileHandle(id), FopenFlags::empty()),
            Err(errno) => reply.error(errno),
        }
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectory,
    ) {
        self.read_directory(ino, handle, offset, Filling::Plain(reply));
    }

    fn readdirplus(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        self.read_directory(ino, handle, offset, Filling::Plus(reply));
    }

    fn releasedir(
        &self,
        _: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.directories.close(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.flush_then(reply);
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        // An inode and its name take about this much of the free space.
        const INODE_BYTES: u64 = 512;
        match self.answer("statfs", ino, || self.vfs.statistics(node(ino))) {
            Ok(figures) => {
                let blocks = |bytes: u64| bytes / u64::from(BLOCK_BYTES);
                let free_inodes = figures.available_bytes / INODE_BYTES;
                reply.statfs(
                    blocks(figures.total_bytes),
                    blocks(figures.free_bytes),
                    blocks(figures.available_bytes),
                    figures.inodes.saturating_add(free_inodes),
                    free_inodes,
                    BLOCK_BYTES,
                    255,
                    BLOCK_BYTES,
                );
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn setxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        self.empty("setxattr", ino, reply, || {
            let mode = match flags {
                0 => XattrMode::Set,
                libc::XATTR_CREATE => XattrMode::Create,
                libc::XATTR_REPLACE => XattrMode::Replace,
                _ => return Err(vfs::Errno::Invalid.into()),
            };
            let caller = self.callers.of(request, 0);
            let (of, name) = (node(ino), name.as_bytes());
            match self.vfs.set_xattr(&caller, of, name, value, mode) {
                Err(VfsError::Errno(vfs::Errno::Exists)) if is_resent(request) => self
                    .vfs
                    .set_xattr(&caller, of, name, value, XattrMode::Replace),
                set => set,
            }
        });
    }

    fn getxattr(
        &self,
        request: &Request,
        ino: INodeNo,
        name: &OsStr,
        room: u32,
        reply: ReplyXattr,
    ) {
        let value = self.answer("getxattr", ino, || {
            self.vfs
                .get_xattr(&self.callers.of(request, 0), node(ino), name.as_bytes())
        });
        match value {
            Ok(value) => Adapter::xattr(reply, &value, room),
            Err(errno) => reply.error(errno),
        }
    }

    fn listxattr(&self, request: &Request, ino: INodeNo, room: u32, reply: ReplyXattr) {
        let names = self.answer("listxattr", ino, || {
            self.vfs
                .list_xattrs(&self.callers.of(request, 0), node(ino))
        });
        match names {
            Ok(names) => {
                let mut list = Vec::new();
                for name in names {
                    list.extend_from_slice(&name);
                    list.push(0);
                }
                if list.len() > XATTR_LIST_BYTES_MAX {
                    reply.error(Errno::E2BIG);
                } else {
                    Adapter::xattr(reply, &list, room);
                }
            }
            Err(errno) => reply.error(errno),
        }
    }

    fn removexattr(&self, request: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.empty("removexattr", ino, reply, || {
            let caller = self.callers.of(request, 0);
            or_gone(
                request,
                self.vfs.remove_xattr(&caller, node(ino), name.as_bytes()),
            )
        });
    }

    fn access(&self, request: &Request, ino: INodeNo, mask: AccessFlags, reply: ReplyEmpty) {
        self.empty("access", ino, reply, || {
            let mask = mask.bits() as u32 & 7;
            self.vfs
                .access(&self.callers.of(request, 0), node(ino), mask)
        });
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        self.empty("fallocate", ino, reply, || {
            self.allocate(self.file(node(ino), handle)?, offset, length, mode)
        });
    }

    fn lseek(
        &self,
        _: &Request,
        ino: INodeNo,
        handle: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        let found = self.answer("lseek", ino, || {
            let target = match whence {
                libc::SEEK_DATA => SeekTarget::Data,
                libc::SEEK_HOLE => SeekTarget::Hole,
                _ => return Err(vfs::Errno::Invalid.into()),
            };
            let from = u64::try_from(offset).map_err(|_| vfs::Errno::NoDevice)?;
            let file = self.file(node(ino), handle)?;
            let at = self.vfs.seek(file, from, target)?;
            Ok(i64::try_from(at).map_err(|_| vfs::Errno::TooLarge)?)
        });
        match found {
            Ok(at) => reply.offset(at),
            Err(errno) => reply.error(errno),
        }
    }
}
