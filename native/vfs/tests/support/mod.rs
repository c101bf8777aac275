//! A store in a temporary directory, and callers.

#![allow(dead_code)]

pub(crate) mod model;

use lockstep_vfs::{
    Attributes, Caller, Errno, HandleId, NodeId, OpenFlags, StoreOptions, Vfs, VfsError,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

pub(crate) const READ: OpenFlags = flags(true, false, false);
pub(crate) const WRITE: OpenFlags = flags(true, true, false);
pub(crate) const APPEND: OpenFlags = flags(false, true, true);

const fn flags(read: bool, write: bool, append: bool) -> OpenFlags {
    OpenFlags {
        read,
        write,
        append,
        truncate: false,
        exclusive: false,
        sync: false,
    }
}

pub(crate) struct TestStore {
    pub(crate) vfs: Arc<Vfs>,
    dir: tempfile::TempDir,
}

pub(crate) fn new_store() -> TestStore {
    new_store_in(&std::env::temp_dir())
}

pub(crate) fn new_store_in(parent: &Path) -> TestStore {
    let dir = tempfile::tempdir_in(parent).unwrap();
    let path = dir.path().join("store");
    Vfs::create(&path).unwrap();
    let vfs = Vfs::open(&path, &StoreOptions::default()).unwrap();
    TestStore { vfs, dir }
}

impl TestStore {
    /// An open store that lies elsewhere.
    pub(crate) fn over(vfs: Arc<Vfs>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { vfs, dir }
    }

    pub(crate) fn reopen(&mut self) {
        self.vfs.close().unwrap();
        let path = self.dir.path().join("store");
        self.vfs = Vfs::open(&path, &StoreOptions::default()).unwrap();
    }

    /// Reopens, after an offline check of every page, account and checksum.
    pub(crate) fn check_and_reopen(&mut self) {
        self.vfs.close().unwrap();
        let path = self.dir.path().join("store");
        let report = lockstep_store::Store::check(&path, &|_| ()).unwrap();
        assert!(report.problems.is_empty(), "{:#?}", report.problems);
        self.vfs = Vfs::open(&path, &StoreOptions::default()).unwrap();
    }

    pub(crate) fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("store")
    }

    /// The directory it lies in, and what keeps that; nothing has the store open any more.
    pub(crate) fn into_dir(self) -> (tempfile::TempDir, std::path::PathBuf) {
        let path = self.dir.path().join("store");
        (self.dir, path)
    }

    pub(crate) fn reopen_read_only(&mut self) {
        self.vfs.close().unwrap();
        let options = StoreOptions {
            read_only: true,
            ..StoreOptions::default()
        };
        self.vfs = Vfs::open(&self.dir.path().join("store"), &options).unwrap();
    }
}

pub(crate) fn root() -> Caller {
    Caller {
        umask: 0,
        ..Caller::root()
    }
}

pub(crate) fn user(uid: u32, groups: &[u32]) -> Caller {
    Caller {
        uid,
        gid: uid,
        groups: groups.to_vec(),
        umask: 0,
        origin: 0,
    }
}

/// The errno that a call must fail with.
pub(crate) fn errno<T: std::fmt::Debug>(result: Result<T, VfsError>) -> Errno {
    match result {
        Err(VfsError::Errno(errno)) => errno,
        other => panic!("expected an errno, got {other:?}"),
    }
}

impl TestStore {
    pub(crate) fn at(&self, path: &str) -> Attributes {
        self.vfs.resolve(&root(), path.as_bytes(), false).unwrap()
    }

    pub(crate) fn node(&self, path: &str) -> NodeId {
        self.at(path).node
    }

    pub(crate) fn exists(&self, path: &str) -> bool {
        self.vfs.resolve(&root(), path.as_bytes(), false).is_ok()
    }

    pub(crate) fn split(&self, path: &str) -> (NodeId, Vec<u8>) {
        let (parent, name) = self.vfs.resolve_parent(&root(), path.as_bytes()).unwrap();
        (parent.node, name)
    }

    pub(crate) fn mkdir(&self, path: &str) -> NodeId {
        self.mkdir_as(&root(), path, 0o755).unwrap().node
    }

    pub(crate) fn mkdir_as(
        &self,
        who: &Caller,
        path: &str,
        mode: u32,
    ) -> Result<Attributes, VfsError> {
        let (parent, name) = self.split(path);
        self.vfs.make_directory(who, parent, &name, mode)
    }

    pub(crate) fn create_as(
        &self,
        who: &Caller,
        path: &str,
        mode: u32,
    ) -> Result<NodeId, VfsError> {
        let (parent, name) = self.split(path);
        let (attributes, handle) = self.vfs.create_file(who, parent, &name, mode, WRITE)?;
        self.vfs.release(handle)?;
        Ok(attributes.node)
    }

    pub(crate) fn write_file(&self, path: &str, bytes: &[u8]) -> NodeId {
        let (parent, name) = self.split(path);
        let flags = OpenFlags {
            truncate: true,
            ..WRITE
        };
        let (made, handle) = self
            .vfs
            .create_file(&root(), parent, &name, 0o644, flags)
            .unwrap();
        self.vfs.write(handle, 0, bytes).unwrap();
        self.vfs.release(handle).unwrap();
        made.node
    }

    pub(crate) fn open(&self, path: &str, flags: OpenFlags) -> HandleId {
        self.vfs.open_file(&root(), self.node(path), flags).unwrap()
    }

    pub(crate) fn read_file(&self, path: &str) -> Vec<u8> {
        let handle = self.open(path, READ);
        let bytes = self.read_handle(handle);
        self.vfs.release(handle).unwrap();
        bytes
    }

    pub(crate) fn read_handle(&self, handle: HandleId) -> Vec<u8> {
        let size = self.vfs.handle_attributes(handle).unwrap().size as usize;
        let mut bytes = vec![0; size + 10];
        let count = self.vfs.read(handle, 0, &mut bytes).unwrap();
        assert_eq!(count, size);
        bytes.truncate(count);
        bytes
    }

    pub(crate) fn unlink(&self, path: &str) -> Result<(), VfsError> {
        let (parent, name) = self.split(path);
        self.vfs.unlink(&root(), parent, &name)
    }

    pub(crate) fn rmdir(&self, path: &str) -> Result<(), VfsError> {
        let (parent, name) = self.split(path);
        self.vfs.remove_directory(&root(), parent, &name)
    }

    pub(crate) fn remove_tree(&self, path: &str) -> Result<(), VfsError> {
        let (parent, name) = self.split(path);
        self.vfs.remove_tree(&root(), parent, &name)
    }

    pub(crate) fn rename(&self, from: &str, to: &str) -> Result<(), VfsError> {
        self.rename_as(&root(), from, to, lockstep_vfs::RenameMode::Replace)
    }

    pub(crate) fn rename_as(
        &self,
        who: &Caller,
        from: &str,
        to: &str,
        mode: lockstep_vfs::RenameMode,
    ) -> Result<(), VfsError> {
        let (parent, name) = self.split(from);
        let (to_parent, to_name) = self.split(to);
        self.vfs
            .rename(who, parent, &name, to_parent, &to_name, mode)
    }

    pub(crate) fn names(&self, path: &str) -> Vec<String> {
        let mut names = Vec::new();
        self.vfs
            .list(&root(), self.node(path), None, false, &mut |entry| {
                names.push(String::from_utf8(entry.name).unwrap());
                ControlFlow::Continue(())
            })
            .unwrap();
        names
    }

    pub(crate) fn snapshot(&self, path: &str, name: &str) {
        self.vfs
            .create_snapshot(&root(), self.node(path), name.as_bytes())
            .unwrap();
    }
}
