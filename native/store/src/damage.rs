//! Who is hit by damage: from places on disk back to files, in live trees and in snapshots.
//!
//! Only done once damage was found. Every view's tree is walked, but a subtree that reaches nothing
//! damaged is walked once, whichever views share it.

use crate::problem::{Affected, Place, Problem};
use crate::state::State;
use crate::tree::readable::{bounds, scan_readable};
use crate::tree::{self, EMPTY, Source, child};
use lockstep_format::inode::flags;
use lockstep_format::key::{self, catalog};
use lockstep_format::{
    ChunkPtr, ChunkRecord, Dentry, Extent, Inode, InodeId, Page, PageId, SegmentId, SnapshotRecord,
    TreeId, ViewId, VolumeRecord,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Directories on a path at most; more is a circle.
const DEPTH_MAX: usize = 2048;
/// Inodes whose names are looked up one by one; for more, all names are read once.
const LOOKUPS_MAX: usize = 64;

/// A tree as users see it.
#[derive(Clone, Debug)]
pub(crate) struct NamedView {
    pub(crate) view: ViewId,
    pub(crate) root: PageId,
    /// The directory that is its top, and the path of that.
    pub(crate) top: InodeId,
    pub(crate) path: String,
    pub(crate) volume: String,
    pub(crate) is_snapshot: bool,
}

/// What is damaged, in the terms of trees. Numbers are those of problems in a list.
#[derive(Default)]
struct Damaged {
    chunks: FxHashMap<ChunkPtr, Vec<(u32, u32, usize)>>,
    /// Keys of the chunk tree whose records are lost.
    slots: Vec<(Vec<u8>, Option<Vec<u8>>, usize)>,
    pages: FxHashMap<PageId, usize>,
}

/// Part of a view that a problem takes.
#[derive(Clone, Copy)]
struct Hit {
    problem: usize,
    from: InodeId,
    to: InodeId,
    range: Option<(u64, u64)>,
}

/// Fills in whom `problems` take.
pub(crate) fn name(source: &dyn Source, state: &State, problems: &mut [Problem]) {
    let damaged = Damaged::new(source, state.root(TreeId::CHUNKS), problems);
    if damaged.is_empty() {
        return;
    }
    let mut clean = FxHashSet::default();
    for view in views(source, state) {
        let mut hits = Vec::new();
        if let Some(page) = damaged.load(source, view.root, (&[], None), &mut hits) {
            damaged.walk(source, &page, (&[], None), &mut clean, &mut hits);
        }
        if !hits.is_empty() {
            resolve(source, &view, &hits, problems);
        }
    }
}

impl Damaged {
    fn new(source: &dyn Source, chunks: PageId, problems: &[Problem]) -> Self {
        let mut damaged = Self::default();
        for (index, problem) in problems.iter().enumerate() {
            match &problem.place {
                Some(Place::Segment {
                    segment,
                    offset,
                    length,
                }) => damaged.add_bytes(source, chunks, (*segment, *offset, *length), index),
                Some(Place::Page {
                    tree: TreeId::CHUNKS,
                    from,
                    to,
                    ..
                }) => damaged.slots.push((from.clone(), to.clone(), index)),
                Some(Place::Page { page, .. }) => {
                    damaged.pages.insert(*page, index);
                }
                None => {}
            }
        }
        damaged
    }

    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.slots.is_empty() && self.pages.is_empty()
    }

    /// Which parts of which chunks lie in a range of a segment.
    fn add_bytes(
        &mut self,
        source: &dyn Source,
        chunks: PageId,
        (segment, offset, length): (SegmentId, u64, u64),
        index: usize,
    ) {
        let (from, to) = segment_keys(segment);
        scan_readable(source, chunks, &from, &to, &mut |key, value| {
            if let (Some(pointer), Ok(record)) =
                (key::chunk_pointer(key), ChunkRecord::decode(value))
            {
                let start = offset.max(record.offset);
                let end = (offset + length).min(record.offset + u64::from(record.length));
                if start < end {
                    let part = (start - record.offset, end - record.offset);
                    let part = (part.0 as u32, part.1 as u32, index);
                    self.chunks.entry(pointer).or_default().push(part);
                }
            }
            ControlFlow::Continue(())
        });
    }

    /// The page, or the hit that it cannot be read.
    fn load(
        &self,
        source: &dyn Source,
        id: PageId,
        bounds: (&[u8], Option<&[u8]>),
        hits: &mut Vec<Hit>,
    ) -> Option<std::sync::Arc<Page>> {
        if id == EMPTY {
            return None;
        }
        let page = source.page(id).ok();
        if page.is_none() {
            self.lost(id, bounds, hits);
        }
        page
    }

    fn lost(&self, id: PageId, (from, to): (&[u8], Option<&[u8]>), hits: &mut Vec<Hit>) {
        if let Some(problem) = self.pages.get(&id) {
            let inode = |key: &[u8]| key.first_chunk::<8>().map(|b| u64::from_be_bytes(*b));
            hits.push(Hit {
                problem: *problem,
                from: InodeId(inode(from).unwrap_or(0)),
                to: InodeId(to.and_then(inode).unwrap_or(u64::MAX)),
                range: None,
            });
        }
    }

    /// Collects the hits below `page`.
    fn walk(
        &self,
        source: &dyn Source,
        page: &Page,
        range: (&[u8], Option<&[u8]>),
        clean: &mut FxHashSet<PageId>,
        hits: &mut Vec<Hit>,
    ) {
        if clean.contains(&page.id) {
            return;
        }
        let before = hits.len();
        for index in 0..page.len() {
            if page.is_leaf() {
                self.entry(page.key(index), page.value(index), hits);
                continue;
            }
            let below = bounds(page, index, range);
            match child(source, page, index) {
                Ok(child) => self.walk(source, &child, below, clean, hits),
                Err(_) => self.lost(page.child(index), below, hits),
            }
        }
        if hits.len() == before {
            clean.insert(page.id);
        }
    }

    fn entry(&self, key: &[u8], value: &[u8], hits: &mut Vec<Hit>) {
        let Some((inode, key::kind::EXTENT, tail)) = key::split(key) else {
            return;
        };
        let (Some(at), Ok(extent)) = (key::extent_offset(tail), Extent::decode(value)) else {
            return;
        };
        let mut hit = |from: u32, to: u32, problem: usize| {
            let start = from.max(extent.chunk_offset);
            let end = to.min(extent.chunk_offset + extent.length);
            if start < end {
                let offset = at + u64::from(start - extent.chunk_offset);
                hits.push(Hit {
                    problem,
                    from: inode,
                    to: inode,
                    range: Some((offset, u64::from(end - start))),
                });
            }
        };
        for (from, to, problem) in self.chunks.get(&extent.chunk).into_iter().flatten() {
            hit(*from, *to, *problem);
        }
        let chunk = key::chunk(extent.chunk);
        for (from, to, problem) in &self.slots {
            if *from <= chunk && to.as_ref().is_none_or(|to| chunk < *to) {
                hit(0, u32::MAX, *problem);
            }
        }
    }
}

/// The keys of a segment's records in the chunk tree.
pub(crate) fn segment_keys(segment: SegmentId) -> (Vec<u8>, Vec<u8>) {
    let from = key::chunk(ChunkPtr { segment, slot: 0 });
    let to = key::after_prefix(&from[..8]).unwrap_or_default();
    (from, to)
}

/// Every live tree and every snapshot, live trees first.
pub(crate) fn views(source: &dyn Source, state: &State) -> Vec<NamedView> {
    let catalog = state.root(TreeId::CATALOG);
    let mut volumes: BTreeMap<ViewId, VolumeRecord> = BTreeMap::new();
    let (from, to) = ([catalog::VOLUME], [catalog::VOLUME + 1]);
    scan_readable(source, catalog, &from, &to, &mut |key, value| {
        let view = key.get(1..).and_then(|view| view.try_into().ok());
        if let (Some(view), Ok(record)) = (view, VolumeRecord::decode(value)) {
            volumes.insert(ViewId(u32::from_be_bytes(view)), record);
        }
        ControlFlow::Continue(())
    });
    let names = VolumeNames {
        source,
        state,
        volumes: &volumes,
    };
    let mut list: Vec<NamedView> = Vec::new();
    for (view, record) in &volumes {
        let path = names.path(*view, 0);
        list.push(NamedView {
            view: *view,
            root: state.root(TreeId::volume(*view)),
            top: record.root_inode,
            volume: path.clone(),
            path,
            is_snapshot: false,
        });
    }
    let (from, to) = ([catalog::SNAPSHOT], [catalog::SNAPSHOT + 1]);
    scan_readable(source, catalog, &from, &to, &mut |key, value| {
        if let (Some(name), Ok(record)) = (key.get(13..), SnapshotRecord::decode(value)) {
            list.push(names.snapshot(&record, name));
        }
        ControlFlow::Continue(())
    });
    list
}

struct VolumeNames<'a> {
    source: &'a dyn Source,
    state: &'a State,
    volumes: &'a BTreeMap<ViewId, VolumeRecord>,
}

impl VolumeNames<'_> {
    /// The path a volume is attached at; a readable stand-in if its names cannot be read.
    fn path(&self, view: ViewId, depth: usize) -> String {
        if view == ViewId::ROOT {
            return "/".into();
        }
        match self.volumes.get(&view) {
            Some(record) if depth < 64 => {
                let (parent, directory) = record.attached_to;
                join(&self.directory(parent, directory, depth), &record.name)
            }
            _ => format!("(volume {})", view.0),
        }
    }

    fn directory(&self, view: ViewId, inode: InodeId, depth: usize) -> String {
        let volume = self.path(view, depth + 1);
        let top = self.volumes.get(&view).map(|record| record.root_inode);
        let root = self.state.root(TreeId::volume(view));
        let mut paths = Paths::new(self.source, root, top.unwrap_or(InodeId::ROOT), &volume);
        match paths.directory(inode) {
            Location::Path(path) => path,
            _ => join(&volume, format!("(directory {})", inode.0).as_bytes()),
        }
    }

    fn snapshot(&self, record: &SnapshotRecord, name: &[u8]) -> NamedView {
        let directory = self.directory(record.volume, record.directory, 0);
        NamedView {
            view: record.view,
            root: record.root,
            top: record.directory,
            path: join(&join(&directory, b".snapshot"), name),
            volume: self.path(record.volume, 0),
            is_snapshot: true,
        }
    }
}

fn join(directory: &str, name: &[u8]) -> String {
    let name = String::from_utf8_lossy(name);
    if directory.ends_with('/') {
        format!("{directory}{name}")
    } else {
        format!("{directory}/{name}")
    }
}

/// Where a directory is.
#[derive(Clone)]
enum Location {
    Path(String),
    /// In no place that the view shows.
    Outside,
    /// What would say is unreadable.
    Unknown,
}

/// Paths of inodes in one view.
struct Paths<'a> {
    source: &'a dyn Source,
    root: PageId,
    directories: FxHashMap<InodeId, Location>,
}

impl<'a> Paths<'a> {
    fn new(source: &'a dyn Source, root: PageId, top: InodeId, path: &str) -> Self {
        let directories = std::iter::once((top, Location::Path(path.to_owned()))).collect();
        Self {
            source,
            root,
            directories,
        }
    }

    fn inode(&self, inode: InodeId) -> Option<Inode> {
        let value = tree::get(self.source, self.root, &key::inode(inode)).ok()??;
        Inode::decode(&value).ok()
    }

    fn directory(&mut self, inode: InodeId) -> Location {
        let mut way = Vec::new();
        let mut at = inode;
        let mut found = loop {
            if let Some(known) = self.directories.get(&at) {
                break known.clone();
            }
            let Some(record) = self.inode(at) else {
                break Location::Unknown;
            };
            if record.parent == at || way.len() == DEPTH_MAX {
                break Location::Outside;
            }
            way.push((at, record.parent));
            at = record.parent;
        };
        self.directories.insert(at, found.clone());
        for (child, parent) in way.into_iter().rev() {
            if let Location::Path(path) = &found {
                let name = self.name_in(parent, child);
                let joined = name.map(|name| Location::Path(join(path, &name)));
                found = joined.unwrap_or(Location::Unknown);
            }
            self.directories.insert(child, found.clone());
        }
        found
    }

    fn name_in(&self, directory: InodeId, child: InodeId) -> Option<Vec<u8>> {
        let from = key::prefix(directory, key::kind::DENTRY);
        let to = key::after_prefix(&from)?;
        let mut name = None;
        scan_readable(
            self.source,
            self.root,
            &from,
            &to,
            &mut |key, value| match named(key, value) {
                Some((_, inode, found)) if inode == child => {
                    name = Some(found);
                    ControlFlow::Break(())
                }
                _ => ControlFlow::Continue(()),
            },
        );
        name
    }
}

/// Directory, inode and name of an entry that is not that of another volume.
fn named(key: &[u8], value: &[u8]) -> Option<(InodeId, InodeId, Vec<u8>)> {
    let (directory, key::kind::DENTRY, tail) = key::split(key)? else {
        return None;
    };
    let dentry = Dentry::decode(value).ok()?;
    let own = dentry.volume.is_none();
    own.then(|| (directory, dentry.inode, key::dentry_name(tail)))
}

/// Gives the hits of one view to their problems, with paths.
fn resolve(source: &dyn Source, view: &NamedView, hits: &[Hit], problems: &mut [Problem]) {
    let mut paths = Paths::new(source, view.root, view.top, &view.path);
    let names = names_of(&paths, hits);
    for hit in hits {
        let problem = &mut problems[hit.problem];
        let mut found = false;
        for (inode, entries) in names.range(hit.from..=hit.to) {
            for (directory, name) in entries {
                let path = match paths.directory(*directory) {
                    Location::Path(directory) => Some(join(&directory, name)),
                    Location::Unknown => None,
                    Location::Outside => {
                        found = true;
                        continue;
                    }
                };
                found = true;
                problem.takes(affected(view, *inode, path, hit.range));
            }
        }
        if (hit.from..=hit.to).contains(&view.top) {
            let path = Some(view.path.clone());
            problem.takes(affected(view, view.top, path, hit.range));
        } else if !found && hit.from == hit.to {
            problem.takes(affected(view, hit.from, None, hit.range));
        }
    }
}

fn affected(
    view: &NamedView,
    inode: InodeId,
    path: Option<String>,
    range: Option<(u64, u64)>,
) -> Affected {
    Affected {
        volume: view.volume.clone(),
        snapshot: view.is_snapshot.then(|| view.path.clone()),
        path,
        inode,
        view: view.view,
        range,
    }
}

type Names = BTreeMap<InodeId, Vec<(InodeId, Vec<u8>)>>;

/// The names of the inodes that are hit. An inode says in which directory to look; if that does
/// not give its only name, or there are many to look for, all entries of the view are looked at.
fn names_of(paths: &Paths<'_>, hits: &[Hit]) -> Names {
    let single: FxHashSet<InodeId> = hits
        .iter()
        .filter(|h| h.from == h.to)
        .map(|h| h.from)
        .collect();
    let ranges: Vec<&Hit> = hits.iter().filter(|h| h.from != h.to).collect();
    if ranges.is_empty() && single.len() <= LOOKUPS_MAX {
        let found = single
            .iter()
            .map(|inode| Some((*inode, vec![only_name(paths, *inode)?])));
        if let Some(names) = found.collect() {
            return names;
        }
    }
    let mut names = Names::new();
    scan_readable(
        paths.source,
        paths.root,
        &[],
        &[0xff; 9],
        &mut |key, value| {
            if let Some((directory, inode, name)) = named(key, value)
                && (single.contains(&inode)
                    || ranges.iter().any(|h| (h.from..=h.to).contains(&inode)))
            {
                names.entry(inode).or_default().push((directory, name));
            }
            ControlFlow::Continue(())
        },
    );
    names
}

/// Directory and name of an inode that never had a second name.
fn only_name(paths: &Paths<'_>, inode: InodeId) -> Option<(InodeId, Vec<u8>)> {
    let record = paths.inode(inode)?;
    if record.flags & flags::HAD_LINKS != 0 {
        return None;
    }
    Some((record.parent, paths.name_in(record.parent, inode)?))
}
