//! What differs between two states of a directory: O(changes), not O(files).
//!
//! Records come in this order: `Deleted` (old paths, children first), `Renamed` (old path and new
//! path, deepest old path first), `Created` and then `Modified` (new paths, parents first). A
//! replay moves every rename's source aside, deletes, then makes what was created and puts what
//! was moved where it belongs, parents first, and copies what was modified.
//!
//! Invariants:
//! - All paths are relative to the directory; the empty path is the directory itself.
//! - A renamed directory is one record: what it holds is not repeated. What was created or deleted
//!   with a directory is listed, name by name, whether the reaper has come by or not.
//! - A change of access time, of link count or of ctime alone is none.

use crate::error::Result;
use crate::node::{inode_of, require_live};
use crate::permission::{self, READ, SEARCH};
use crate::{Caller, Change, ChangeKind, Errno, NodeId, Vfs};
use lockstep_format::inode::flags;
use lockstep_format::key::{self, kind};
use lockstep_format::{Dentry, FileKind, Inode, InodeId, Timestamp, ViewId};
use lockstep_store::StoreError;
use rustc_hash::{FxHashMap, FxHashSet};
use std::ops::ControlFlow;

/// A name in a directory.
type Place = (InodeId, Vec<u8>);

/// What the trees' difference says of one inode.
#[derive(Default)]
struct Touched {
    old: Option<Inode>,
    new: Option<Inode>,
    /// Bytes or extended attributes differ.
    contents: bool,
}

/// Names that an inode lost and got.
struct Moved {
    kind: FileKind,
    removed: Vec<Place>,
    added: Vec<Place>,
}

#[derive(Default)]
struct Folded {
    touched: FxHashMap<InodeId, Touched>,
    moved: FxHashMap<InodeId, Moved>,
}

impl Folded {
    fn key(&mut self, key: &[u8], old: Option<&[u8]>, new: Option<&[u8]>) -> FormatResult {
        let Some((id, record, tail)) = key::split(key) else {
            return Ok(());
        };
        if id.0 == 0 {
            return Ok(());
        }
        match record {
            kind::INODE => {
                let touched = self.touched.entry(id).or_default();
                touched.old = old.map(Inode::decode).transpose()?;
                touched.new = new.map(Inode::decode).transpose()?;
            }
            kind::DENTRY => {
                let name = key::dentry_name(tail);
                let old = old.map(Dentry::decode).transpose()?;
                let new = new.map(Dentry::decode).transpose()?;
                self.dentry((id, name), old, new);
            }
            _ => self.touched.entry(id).or_default().contents = true,
        }
        Ok(())
    }

    fn dentry(&mut self, place: Place, old: Option<Dentry>, new: Option<Dentry>) {
        if old.map(|dentry| dentry.inode) == new.map(|dentry| dentry.inode) {
            return;
        }
        if let Some(old) = old {
            self.moved(old.inode, old.kind).removed.push(place.clone());
        }
        if let Some(new) = new {
            self.moved(new.inode, new.kind).added.push(place);
        }
    }

    fn moved(&mut self, id: InodeId, kind: FileKind) -> &mut Moved {
        let empty = || Moved {
            kind,
            removed: Vec::new(),
            added: Vec::new(),
        };
        self.moved.entry(id).or_insert_with(empty)
    }
}

type FormatResult = std::result::Result<(), lockstep_format::FormatError>;

/// One of the two states: which directories lie below the top, and where.
struct Side<'a> {
    vfs: &'a Vfs,
    view: ViewId,
    top: InodeId,
    inside: FxHashMap<InodeId, bool>,
    places: FxHashMap<InodeId, Place>,
}

impl<'a> Side<'a> {
    fn new(vfs: &'a Vfs, view: ViewId, top: InodeId) -> Self {
        let (inside, places) = (FxHashMap::default(), FxHashMap::default());
        Self {
            vfs,
            view,
            top,
            inside,
            places,
        }
    }

    fn inode(&self, id: InodeId) -> Result<Option<Inode>> {
        self.vfs.inspect(|reader| Ok(reader.inode(self.view, id)?))
    }

    /// Whether a directory is the top one or lies below it. A removed tree does not.
    fn is_inside(&mut self, directory: InodeId) -> Result<bool> {
        let mut trail = Vec::new();
        let mut at = directory;
        let answer = loop {
            if let Some(known) = self.inside.get(&at) {
                break *known;
            }
            trail.push(at);
            let Some(inode) = self.inode(at)? else {
                break false;
            };
            if inode.nlink == 0 || inode.kind != FileKind::Directory {
                break false;
            }
            if at == self.top {
                break true;
            }
            if inode.parent == at || trail.contains(&inode.parent) {
                break false;
            }
            at = inode.parent;
        };
        self.inside.extend(trail.into_iter().map(|id| (id, answer)));
        Ok(answer)
    }

    /// Finds the places of inodes, and of all directories above them up to the top. Places that
    /// the difference tells of are known; for the others each directory is read once.
    fn locate(&mut self, wanted: Vec<InodeId>) -> Result<()> {
        let mut pending = wanted;
        let mut done: FxHashSet<InodeId> = FxHashSet::default();
        while !pending.is_empty() {
            let mut above = Vec::new();
            let mut unknown: FxHashMap<InodeId, FxHashSet<InodeId>> = FxHashMap::default();
            for id in pending {
                if id == self.top || !done.insert(id) {
                    continue;
                }
                if let Some((directory, _)) = self.places.get(&id) {
                    above.push(*directory);
                    continue;
                }
                let Some(inode) = self.inode(id)? else {
                    continue;
                };
                if self.is_inside(inode.parent)? {
                    unknown.entry(inode.parent).or_default().insert(id);
                    above.push(inode.parent);
                }
            }
            for (directory, children) in unknown {
                self.find_names(directory, children)?;
            }
            pending = above;
        }
        Ok(())
    }

    fn find_names(&mut self, directory: InodeId, mut wanted: FxHashSet<InodeId>) -> Result<()> {
        let places = &mut self.places;
        self.vfs
            .each_dentry(self.view, directory, &mut |name, dentry| {
                if wanted.remove(&dentry.inode) {
                    places.insert(dentry.inode, (directory, name));
                }
                flow(!wanted.is_empty())
            })
    }

    /// The path of a place below the top; all directories on the way were located.
    fn path(&self, place: &Place) -> Result<Vec<u8>> {
        let mut parts = vec![place.1.as_slice()];
        let mut at = place.0;
        while at != self.top {
            // Removed meanwhile, where the later state is the live one.
            let (directory, name) = self.places.get(&at).ok_or(Errno::NotFound)?;
            parts.push(name);
            at = *directory;
            if parts.len() > self.places.len() + 1 {
                return Err(Errno::NotFound.into());
            }
        }
        parts.reverse();
        Ok(parts.join(&b'/'))
    }

    /// Calls `each` for every entry below a directory; it tells whether to go into it.
    fn walk(&self, from: InodeId, each: &mut dyn FnMut(&Place, &Dentry) -> bool) -> Result<()> {
        let mut pending = vec![from];
        while let Some(directory) = pending.pop() {
            self.vfs
                .each_dentry(self.view, directory, &mut |name, dentry| {
                    let descend = each(&(directory, name), &dentry);
                    if descend && dentry.kind == FileKind::Directory {
                        pending.push(dentry.inode);
                    }
                    ControlFlow::Continue(())
                })?;
        }
        Ok(())
    }
}

fn flow(go_on: bool) -> ControlFlow<()> {
    if go_on {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

impl Vfs {
    /// Differences of a live directory between two states: a snapshot's name, or `None` for now.
    /// O(changes), and the entries of the directories they lie in. Sorted as a replay needs: all
    /// deletes, renames, creations, modifications, in this order.
    pub fn diff(
        &self,
        caller: &Caller,
        directory: NodeId,
        from: Option<&[u8]>,
        to: Option<&[u8]>,
    ) -> Result<Vec<Change>> {
        self.inspect(|reader| {
            require_live(reader, directory)?;
            let inode = inode_of(reader, directory)?;
            if inode.kind != FileKind::Directory {
                return Err(Errno::NotDirectory.into());
            }
            permission::check(reader, caller, directory, &inode, READ | SEARCH)
        })?;
        let old_view = self.view_at(directory, from)?;
        let new_view = self.view_at(directory, to)?;
        let mut folded = Folded::default();
        self.store.diff(old_view, new_view, &mut |key, old, new| {
            folded.key(key, old, new).map_err(StoreError::from)
        })?;
        let top = directory.inode();
        let mut comparison = Comparison {
            folded,
            old: Side::new(self, old_view, top),
            new: Side::new(self, new_view, top),
        };
        comparison.restrict()?;
        comparison.complete()?;
        comparison.locate()?;
        comparison.report()
    }
}

/// The two states, and what differs.
struct Comparison<'a> {
    folded: Folded,
    old: Side<'a>,
    new: Side<'a>,
}

impl Comparison<'_> {
    /// Forgets names outside the directory.
    fn restrict(&mut self) -> Result<()> {
        for moved in self.folded.moved.values_mut() {
            moved.removed = keep_inside(&mut self.old, std::mem::take(&mut moved.removed))?;
            moved.added = keep_inside(&mut self.new, std::mem::take(&mut moved.added))?;
        }
        self.folded
            .moved
            .retain(|_, moved| !moved.removed.is_empty() || !moved.added.is_empty());
        Ok(())
    }

    /// Lists what went or came with a whole directory and so has no difference of its own.
    fn complete(&mut self) -> Result<()> {
        let tops = |folded: &Folded, gone: bool| -> Vec<InodeId> {
            let whole = |moved: &Moved| {
                let (this, other) = if gone {
                    (&moved.removed, &moved.added)
                } else {
                    (&moved.added, &moved.removed)
                };
                moved.kind == FileKind::Directory && !this.is_empty() && other.is_empty()
            };
            folded
                .moved
                .iter()
                .filter(|(_, moved)| whole(moved))
                .map(|(id, _)| *id)
                .collect()
        };
        let gone = tops(&self.folded, true);
        complete_side(&self.old, &mut self.folded, gone, true)?;
        let came = tops(&self.folded, false);
        complete_side(&self.new, &mut self.folded, came, false)
    }

    /// Finds the directories that paths go through, and the names of modified inodes.
    fn locate(&mut self) -> Result<()> {
        for (id, moved) in &self.folded.moved {
            for (side, places) in [
                (&mut self.old, &moved.removed),
                (&mut self.new, &moved.added),
            ] {
                if let Some(place) = places.first() {
                    side.places.insert(*id, place.clone());
                }
            }
        }
        let mut old = Vec::new();
        let mut new = Vec::new();
        for moved in self.folded.moved.values() {
            old.extend(moved.removed.iter().map(|place| place.0));
            new.extend(moved.added.iter().map(|place| place.0));
        }
        let modified = self.modified()?;
        let linked = modified.iter().filter(|(_, inode)| is_many_named(inode));
        let linked: FxHashSet<InodeId> = linked.map(|(id, _)| *id).collect();
        new.extend(modified.iter().map(|(id, _)| *id));
        self.old.locate(old)?;
        self.new.locate(new)?;
        self.locate_links(linked)
    }

    /// A file with several names may have lost the one that its inode tells of.
    fn locate_links(&mut self, mut missing: FxHashSet<InodeId>) -> Result<()> {
        missing.retain(|id| !self.new.places.contains_key(id));
        if missing.is_empty() {
            return Ok(());
        }
        let mut found = Vec::new();
        self.new.walk(self.new.top, &mut |place, dentry| {
            if missing.remove(&dentry.inode) {
                found.push((dentry.inode, place.clone()));
            }
            true
        })?;
        let directories = found.iter().map(|(_, place)| place.0).collect();
        self.new.places.extend(found);
        self.new.locate(directories)
    }

    /// Inodes below the directory in both states that differ in more than their names.
    fn modified(&mut self) -> Result<Vec<(InodeId, Inode)>> {
        let mut found = Vec::new();
        for (id, touched) in &self.folded.touched {
            let moved = self.folded.moved.get(id);
            // It came or went: that says it all.
            let whole = |moved: &Moved| moved.removed.is_empty() || moved.added.is_empty();
            if moved.is_some_and(whole) && !has_other_names(touched) {
                continue;
            }
            let inode = match (&touched.old, &touched.new) {
                (Some(old), Some(new)) if touched.contents || differ(old, new) => new.clone(),
                (None, None) if touched.contents => match self.new.inode(*id)? {
                    Some(inode) => inode,
                    None => continue,
                },
                _ => continue,
            };
            if inode.nlink > 0 {
                found.push((*id, inode));
            }
        }
        let mut inside = Vec::with_capacity(found.len());
        for (id, inode) in found {
            let holder = if inode.kind == FileKind::Directory {
                id
            } else {
                inode.parent
            };
            if is_many_named(&inode) || self.new.is_inside(holder)? {
                inside.push((id, inode));
            }
        }
        Ok(inside)
    }

    fn report(mut self) -> Result<Vec<Change>> {
        let mut changes = Vec::new();
        for (id, inode) in self.modified()? {
            let path = if id == self.new.top {
                Vec::new()
            } else {
                let Some(place) = self.new.places.get(&id) else {
                    continue;
                };
                let Some(path) = path_or_gone(&self.new, place)? else {
                    continue;
                };
                path
            };
            changes.push(change(ChangeKind::Modified, inode.kind, path, None, id));
        }
        for (id, moved) in &self.folded.moved {
            self.report_moved(*id, moved, &mut changes)?;
        }
        sort(&mut changes);
        Ok(changes)
    }

    fn report_moved(&self, id: InodeId, moved: &Moved, changes: &mut Vec<Change>) -> Result<()> {
        let mut removed = paths(&self.old, &moved.removed)?.into_iter();
        let mut added = paths(&self.new, &moved.added)?.into_iter();
        let kind = moved.kind;
        loop {
            let next = match (removed.next(), added.next()) {
                (Some(from), Some(to)) => change(ChangeKind::Renamed, kind, from, Some(to), id),
                (Some(path), None) => change(ChangeKind::Deleted, kind, path, None, id),
                (None, Some(path)) => change(ChangeKind::Created, kind, path, None, id),
                (None, None) => return Ok(()),
            };
            changes.push(next);
        }
    }
}

fn keep_inside(side: &mut Side<'_>, places: Vec<Place>) -> Result<Vec<Place>> {
    let mut kept = Vec::with_capacity(places.len());
    for place in places {
        if side.is_inside(place.0)? {
            kept.push(place);
        }
    }
    Ok(kept)
}

fn complete_side(
    side: &Side<'_>,
    folded: &mut Folded,
    tops: Vec<InodeId>,
    gone: bool,
) -> Result<()> {
    let mut visited: FxHashSet<InodeId> = FxHashSet::default();
    for top in tops {
        if !visited.insert(top) {
            continue;
        }
        side.walk(top, &mut |place, dentry| {
            let moved = folded.moved(dentry.inode, dentry.kind);
            let (this, other) = if gone {
                (&mut moved.removed, &moved.added)
            } else {
                (&mut moved.added, &moved.removed)
            };
            if !this.contains(place) {
                this.push(place.clone());
            }
            // What moved elsewhere has kept its contents.
            other.is_empty() && visited.insert(dentry.inode)
        })?;
    }
    Ok(())
}

fn is_many_named(inode: &Inode) -> bool {
    inode.kind != FileKind::Directory && inode.flags & flags::HAD_LINKS != 0
}

fn has_other_names(touched: &Touched) -> bool {
    let many = |inode: &Option<Inode>| inode.as_ref().is_some_and(is_many_named);
    touched.old.is_some() && touched.new.is_some() && (many(&touched.old) || many(&touched.new))
}

/// Whether two records of an inode differ in something that a reader of the tree would notice.
fn differ(old: &Inode, new: &Inode) -> bool {
    let seen = |inode: &Inode| Inode {
        nlink: 0,
        allocated: 0,
        flags: inode.flags & flags::SNAPSHOTTABLE,
        parent: InodeId(0),
        atime: Timestamp::default(),
        ctime: Timestamp::default(),
        ..inode.clone()
    };
    seen(old) != seen(new)
}

/// A path, or `None` if the live tree has moved on meanwhile.
fn path_or_gone(side: &Side<'_>, place: &Place) -> Result<Option<Vec<u8>>> {
    match side.path(place) {
        Ok(path) => Ok(Some(path)),
        Err(crate::VfsError::Errno(Errno::NotFound)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn paths(side: &Side<'_>, places: &[Place]) -> Result<Vec<Vec<u8>>> {
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        found.extend(path_or_gone(side, place)?);
    }
    found.sort_unstable();
    Ok(found)
}

fn change(
    kind: ChangeKind,
    file_kind: FileKind,
    path: Vec<u8>,
    target: Option<Vec<u8>>,
    id: InodeId,
) -> Change {
    Change {
        kind,
        file_kind,
        path,
        target,
        inode: id.0,
    }
}

fn sort(changes: &mut [Change]) {
    let rank = |change: &Change| match change.kind {
        ChangeKind::Deleted => 0,
        ChangeKind::Renamed => 1,
        ChangeKind::Created => 2,
        ChangeKind::Modified => 3,
    };
    changes.sort_by(|left, right| {
        let by_path = match left.kind {
            // Children before their directories.
            ChangeKind::Deleted | ChangeKind::Renamed => right.path.cmp(&left.path),
            ChangeKind::Created | ChangeKind::Modified => left.path.cmp(&right.path),
        };
        rank(left).cmp(&rank(right)).then(by_path)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_ordered_for_a_replay() {
        let made =
            |kind, path: &[u8]| change(kind, FileKind::File, path.to_vec(), None, InodeId(9));
        let mut changes = vec![
            made(ChangeKind::Modified, b"a"),
            made(ChangeKind::Created, b"n/x"),
            made(ChangeKind::Created, b"n"),
            made(ChangeKind::Deleted, b"d"),
            made(ChangeKind::Deleted, b"d/y"),
        ];
        sort(&mut changes);
        let order: Vec<&[u8]> = changes
            .iter()
            .map(|change| change.path.as_slice())
            .collect();
        assert_eq!(order, [&b"d/y"[..], b"d", b"n", b"n/x", b"a"]);
    }
}
