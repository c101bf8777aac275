//! `NativeView`: the store as one user sees it, by paths.

use crate::attributes::{fill, node_of, record};
use crate::buffer::numbers_of;
use crate::error::{Result, catch, from_errno};
use crate::file::NativeFile;
use crate::info::{
    AttributeChange, Change, ContentSummary, Listing, SnapshotInfo, Statistics, VolumeInfo, text,
};
use crate::number::whole32;
use crate::path::{self, NoName, OpenRequest};
use crate::task::{Promised, promise};
use lockstep_vfs::{
    Attributes, Caller, DirectoryEntry, Errno, NodeId, RenameMode, Vfs, VfsError, XattrMode,
};
use napi::bindgen_prelude::{Buffer, Float64Array, Uint8Array};
use napi_derive::napi;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Entries of one `list` call.
const LIST_LIMIT_MAX: u32 = 65_536;

/// The store as one user sees it.
#[napi]
pub struct NativeView {
    vfs: Arc<Vfs>,
    caller: Caller,
}

impl NativeView {
    pub(crate) fn new(vfs: Arc<Vfs>, caller: Caller) -> Self {
        Self { vfs, caller }
    }

    fn run<T>(&self, call: impl FnOnce(&Vfs, &Caller) -> Result<T, VfsError>) -> Result<T> {
        catch(&self.vfs, || call(&self.vfs, &self.caller))
    }

    /// Runs `call` with the node of a path.
    fn at<T>(
        &self,
        path: &str,
        follow: bool,
        call: impl FnOnce(&Vfs, &Caller, NodeId) -> Result<T, VfsError>,
    ) -> Result<T> {
        self.run(|vfs, caller| {
            let node = vfs.resolve(caller, path.as_bytes(), follow)?.node;
            call(vfs, caller, node)
        })
    }

    /// Runs `call` with the directory and the last name of a path.
    fn in_parent<T>(
        &self,
        path: &str,
        no_name: NoName,
        call: impl FnOnce(&Vfs, &Caller, NodeId, &[u8]) -> Result<T, VfsError>,
    ) -> Result<T> {
        self.run(|vfs, caller| {
            let (parent, name) = path::parent(vfs, caller, path.as_bytes(), no_name)?;
            call(vfs, caller, parent, &name)
        })
    }

    fn opened(&self, request: OpenRequest, open: path::Opened) -> NativeFile {
        let path::Opened { node, handle } = open;
        let writable = request.flags.write || request.flags.append;
        NativeFile::new(
            Arc::clone(&self.vfs),
            self.caller.clone(),
            handle,
            node,
            writable,
        )
    }
}

/// Attributes.
#[napi]
impl NativeView {
    /// The user.
    #[napi(getter)]
    pub fn uid(&self) -> u32 {
        self.caller.uid
    }

    /// The user's group.
    #[napi(getter)]
    pub fn gid(&self) -> u32 {
        self.caller.gid
    }

    /// Attributes of a path, into at least 21 numbers.
    #[napi]
    pub fn stat(&self, path: String, follow: bool, mut into: Float64Array) -> Result<()> {
        let attributes = self.run(|vfs, caller| vfs.resolve(caller, path.as_bytes(), follow))?;
        fill(&attributes, numbers_of(&mut into))
    }

    /// Attributes of a node.
    #[napi]
    pub fn stat_node(&self, view: f64, inode: f64, mut into: Float64Array) -> Result<()> {
        let node = node_of(view, inode)?;
        let attributes = self.run(|vfs, _| vfs.attributes(node))?;
        fill(&attributes, numbers_of(&mut into))
    }

    /// A path of a node.
    #[napi]
    pub fn path_of(&self, view: f64, inode: f64) -> Result<String> {
        let node = node_of(view, inode)?;
        Ok(text(&self.run(|vfs, _| vfs.path_of(node))?))
    }

    /// Whether the user may: 4 read, 2 write, 1 search; 0 exists.
    #[napi]
    pub fn access(&self, path: String, mask: f64) -> Result<()> {
        let mask = whole32(mask)?;
        if mask > 7 {
            return Err(from_errno(Errno::Invalid));
        }
        self.at(&path, true, |vfs, caller, node| {
            vfs.access(caller, node, mask)
        })
    }

    /// The target of a symbolic link.
    #[napi]
    pub fn read_link(&self, path: String) -> Result<String> {
        Ok(text(&self.at(&path, false, Vfs::read_link)?))
    }

    /// Changes attributes.
    #[napi]
    pub fn set_attributes(
        &self,
        path: String,
        follow: bool,
        change: AttributeChange,
    ) -> Result<()> {
        let change = change.checked()?;
        self.at(&path, follow, |vfs, caller, node| {
            vfs.set_attributes(caller, node, &change)
        })?;
        Ok(())
    }

    /// Changes attributes of a node.
    #[napi]
    pub fn set_node_attributes(
        &self,
        view: f64,
        inode: f64,
        change: AttributeChange,
    ) -> Result<()> {
        let (node, change) = (node_of(view, inode)?, change.checked()?);
        self.run(|vfs, caller| vfs.set_attributes(caller, node, &change).map(drop))
    }

    /// Figures as `statfs` reports them.
    #[napi]
    pub fn statistics(&self, path: String) -> Result<Statistics> {
        Ok(self
            .at(&path, true, |vfs, _, node| vfs.statistics(node))?
            .into())
    }

    /// Sums over a subtree.
    #[napi(ts_return_type = "Promise<ContentSummary>")]
    pub fn content_summary(&self, path: String) -> Promised<ContentSummary> {
        let view = Self::new(Arc::clone(&self.vfs), self.caller.clone());
        promise(move || Ok(view.at(&path, true, Vfs::content_summary)?.into()))
    }
}

/// Directories.
#[napi]
impl NativeView {
    /// At most `limit` entries after the name `after`.
    #[napi]
    pub fn list(
        &self,
        path: String,
        after: Option<String>,
        limit: f64,
        with_attributes: bool,
    ) -> Result<Listing> {
        let limit = whole32(limit)?.min(LIST_LIMIT_MAX) as usize;
        let after = after.as_ref().map(String::as_bytes);
        let mut page = ListingPage::new(limit);
        self.at(&path, true, |vfs, caller, node| {
            vfs.list(caller, node, after, with_attributes, &mut |entry| {
                page.take(&entry)
            })
        })?;
        Ok(page.finish())
    }

    /// Makes a directory.
    #[napi]
    pub fn make_directory(&self, path: String, mode: f64) -> Result<()> {
        let mode = whole32(mode)?;
        self.in_parent(
            &path,
            NoName::Always(Errno::Exists),
            |vfs, caller, parent, name| vfs.make_directory(caller, parent, name, mode).map(drop),
        )
    }

    /// Makes a directory and its missing parents; whether something was made.
    #[napi]
    pub fn make_directories(&self, path: String, mode: f64) -> Result<bool> {
        let mode = whole32(mode)?;
        self.run(|vfs, caller| path::make_directories(vfs, caller, path.as_bytes(), mode))
    }

    /// Makes a symbolic link.
    #[napi]
    pub fn symlink(&self, target: String, path: String) -> Result<()> {
        self.run(|vfs, caller| {
            let (parent, name) = path::place(vfs, caller, path.as_bytes())?;
            vfs.symlink(caller, parent, &name, target.as_bytes())
                .map(drop)
        })
    }

    /// Makes a hard link.
    #[napi]
    pub fn link(&self, existing: String, path: String) -> Result<()> {
        self.at(&existing, false, |vfs, caller, node| {
            let (parent, name) = path::place(vfs, caller, path.as_bytes())?;
            vfs.link(caller, node, parent, &name).map(drop)
        })
    }

    /// Removes a name that is no directory.
    #[napi]
    pub fn unlink(&self, path: String) -> Result<()> {
        self.run(|vfs, caller| path::unlink(vfs, caller, path.as_bytes()))
    }

    /// Removes an empty directory.
    #[napi]
    pub fn remove_directory(&self, path: String) -> Result<()> {
        self.in_parent(&path, NoName::Removal, Vfs::remove_directory)
    }

    /// Removes a name and everything below it.
    #[napi]
    pub fn remove_tree(&self, path: String) -> Result<()> {
        self.in_parent(&path, NoName::Removal, Vfs::remove_tree)
    }

    /// Renames; mode 0 replaces, 1 does not, 2 exchanges.
    #[napi]
    pub fn rename(&self, from: String, to: String, mode: f64) -> Result<()> {
        let mode = match whole32(mode)? {
            0 => RenameMode::Replace,
            1 => RenameMode::NoReplace,
            2 => RenameMode::Exchange,
            _ => return Err(from_errno(Errno::Invalid)),
        };
        self.run(|vfs, caller| path::rename(vfs, caller, from.as_bytes(), to.as_bytes(), mode))
    }
}

/// Files and extended attributes.
#[napi]
impl NativeView {
    /// Opens a file; flags are the bits of `OPEN` in `lib/native.ts`.
    #[napi]
    pub fn open(&self, path: String, flags: f64, mode: f64) -> Result<NativeFile> {
        let request = OpenRequest::new(whole32(flags)?, whole32(mode)?).map_err(from_errno)?;
        let open = self.run(|vfs, caller| path::open(vfs, caller, path.as_bytes(), &request))?;
        Ok(self.opened(request, open))
    }

    /// Opens a file by its node; it is never created.
    #[napi]
    pub fn open_node(&self, view: f64, inode: f64, flags: f64) -> Result<NativeFile> {
        let request = OpenRequest::new(whole32(flags)?, 0).map_err(from_errno)?;
        let node = node_of(view, inode)?;
        let handle = self.run(|vfs, caller| vfs.open_file(caller, node, request.flags))?;
        Ok(self.opened(request, path::Opened { node, handle }))
    }

    /// Appends whole files to `target` and removes them, without copying bytes.
    #[napi]
    pub fn concat(&self, target: String, sources: Vec<String>) -> Result<()> {
        self.at(&target, true, |vfs, caller, node| {
            let mut nodes = Vec::with_capacity(sources.len());
            for source in &sources {
                nodes.push(vfs.resolve(caller, source.as_bytes(), true)?.node);
            }
            vfs.concat(caller, node, &nodes)
        })
    }

    /// The value of an extended attribute.
    #[napi]
    pub fn get_xattr(&self, path: String, name: String, follow: bool) -> Result<Buffer> {
        let value = self.at(&path, follow, |vfs, caller, node| {
            vfs.get_xattr(caller, node, name.as_bytes())
        })?;
        Ok(value.into())
    }

    /// The names of extended attributes.
    #[napi]
    pub fn list_xattrs(&self, path: String, follow: bool) -> Result<Vec<String>> {
        let names = self.at(&path, follow, Vfs::list_xattrs)?;
        Ok(names.iter().map(|name| text(name)).collect())
    }

    /// Sets an extended attribute; mode 0 sets, 1 creates, 2 replaces.
    #[napi]
    pub fn set_xattr(
        &self,
        path: String,
        name: String,
        value: Uint8Array,
        mode: f64,
        follow: bool,
    ) -> Result<()> {
        let mode = match whole32(mode)? {
            0 => XattrMode::Set,
            1 => XattrMode::Create,
            2 => XattrMode::Replace,
            _ => return Err(from_errno(Errno::Invalid)),
        };
        self.at(&path, follow, |vfs, caller, node| {
            vfs.set_xattr(caller, node, name.as_bytes(), &value, mode)
        })
    }

    /// Removes an extended attribute.
    #[napi]
    pub fn remove_xattr(&self, path: String, name: String, follow: bool) -> Result<()> {
        self.at(&path, follow, |vfs, caller, node| {
            vfs.remove_xattr(caller, node, name.as_bytes())
        })
    }
}

/// Snapshots and volumes.
#[napi]
impl NativeView {
    /// Takes a snapshot of a directory.
    #[napi]
    pub fn create_snapshot(&self, path: String, name: String) -> Result<SnapshotInfo> {
        let info = self.at(&path, true, |vfs, caller, node| {
            vfs.create_snapshot(caller, node, name.as_bytes())
        })?;
        Ok(info.into())
    }

    /// Drops a snapshot.
    #[napi]
    pub fn delete_snapshot(&self, path: String, name: String) -> Result<()> {
        self.at(&path, true, |vfs, caller, node| {
            vfs.delete_snapshot(caller, node, name.as_bytes())
        })
    }

    /// Gives a snapshot another name.
    #[napi]
    pub fn rename_snapshot(&self, path: String, from: String, to: String) -> Result<()> {
        self.at(&path, true, |vfs, caller, node| {
            vfs.rename_snapshot(caller, node, from.as_bytes(), to.as_bytes())
        })
    }

    /// The snapshots of a directory, oldest first.
    #[napi]
    pub fn list_snapshots(&self, path: String) -> Result<Vec<SnapshotInfo>> {
        let snapshots = self.at(&path, true, |vfs, _, node| vfs.list_snapshots(node))?;
        Ok(snapshots.into_iter().map(SnapshotInfo::from).collect())
    }

    /// Directories that have snapshots, or where they are allowed.
    #[napi]
    pub fn snapshot_directories(&self) -> Result<Vec<String>> {
        self.run(|vfs, _| {
            let directories = vfs.snapshot_directories()?;
            directories
                .iter()
                .map(|found: &Attributes| Ok(text(&vfs.path_of(found.node)?)))
                .collect()
        })
    }

    /// Differences of a directory between two snapshots; `''` is now.
    #[napi(ts_return_type = "Promise<Array<Change>>")]
    pub fn diff(&self, path: String, from: String, to: String) -> Promised<Vec<Change>> {
        let view = Self::new(Arc::clone(&self.vfs), self.caller.clone());
        promise(move || {
            let changes = view.at(&path, true, |vfs, caller, node| {
                vfs.diff(caller, node, snapshot_or_now(&from), snapshot_or_now(&to))
            })?;
            Ok(changes.into_iter().map(Change::from).collect())
        })
    }

    /// A writable volume at `new_path`, born from a snapshot.
    #[napi]
    pub fn create_clone(
        &self,
        path: String,
        snapshot: String,
        new_path: String,
    ) -> Result<VolumeInfo> {
        let info = self.at(&path, true, |vfs, caller, node| {
            let exists = NoName::Always(Errno::Exists);
            let (parent, name) = path::parent(vfs, caller, new_path.as_bytes(), exists)?;
            vfs.create_clone(caller, node, snapshot.as_bytes(), parent, &name)
        })?;
        Ok(info.into())
    }

    /// An empty volume at a path.
    #[napi]
    pub fn create_volume(&self, path: String) -> Result<VolumeInfo> {
        Ok(self
            .in_parent(&path, NoName::Always(Errno::Exists), Vfs::create_volume)?
            .into())
    }

    /// Drops a volume.
    #[napi]
    pub fn delete_volume(&self, path: String) -> Result<()> {
        self.in_parent(&path, NoName::Removal, Vfs::delete_volume)
    }
}

fn snapshot_or_now(name: &str) -> Option<&[u8]> {
    if name.is_empty() {
        None
    } else {
        Some(name.as_bytes())
    }
}

/// Collects a listing up to its limit.
struct ListingPage {
    limit: usize,
    names: Vec<String>,
    kinds: Vec<u8>,
    attributes: Vec<f64>,
    more: bool,
}

impl ListingPage {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            names: Vec::new(),
            kinds: Vec::new(),
            attributes: Vec::new(),
            more: false,
        }
    }

    fn take(&mut self, entry: &DirectoryEntry) -> ControlFlow<()> {
        if self.names.len() >= self.limit {
            self.more = true;
            return ControlFlow::Break(());
        }
        self.names.push(text(&entry.name));
        self.kinds.push(entry.kind as u8);
        if let Some(attributes) = &entry.attributes {
            self.attributes.extend(record(attributes));
        }
        ControlFlow::Continue(())
    }

    fn finish(self) -> Listing {
        Listing {
            names: self.names,
            kinds: self.kinds.into(),
            attributes: self.attributes.into(),
            more: self.more,
        }
    }
}
