//! A file system in a few maps: what the real one must agree with.

use lockstep_vfs::{Errno, RenameMode};
use std::collections::BTreeMap;
use std::rc::Rc;

pub(crate) type Id = usize;
type Outcome<T = ()> = Result<T, Errno>;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    Directory(BTreeMap<String, Id>),
    File(Vec<u8>),
}

/// A snapshot: all inodes as they were.
#[derive(Clone)]
pub(crate) struct Frozen {
    pub(crate) inodes: Rc<BTreeMap<Id, Node>>,
    pub(crate) directory: Id,
}

/// The whole state. Inodes are never removed, so that open files need no care.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) inodes: BTreeMap<Id, Node>,
    pub(crate) snapshots: BTreeMap<(Id, String), Frozen>,
    next: Id,
}

pub(crate) fn components(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

impl Model {
    pub(crate) fn new() -> Self {
        let inodes = BTreeMap::from([(0, Node::Directory(BTreeMap::new()))]);
        Self {
            inodes,
            snapshots: BTreeMap::new(),
            next: 1,
        }
    }

    pub(crate) fn entries(&self, id: Id) -> Outcome<&BTreeMap<String, Id>> {
        match &self.inodes[&id] {
            Node::Directory(entries) => Ok(entries),
            Node::File(_) => Err(Errno::NotDirectory),
        }
    }

    fn entries_mut(&mut self, id: Id) -> &mut BTreeMap<String, Id> {
        match self.inodes.get_mut(&id) {
            Some(Node::Directory(entries)) => entries,
            other => panic!("{id} is {other:?}"),
        }
    }

    fn is_directory(&self, id: Id) -> bool {
        matches!(self.inodes[&id], Node::Directory(_))
    }

    pub(crate) fn resolve(&self, path: &str) -> Outcome<Id> {
        components(path).iter().try_fold(0, |at, name| {
            self.entries(at)?.get(name).copied().ok_or(Errno::NotFound)
        })
    }

    fn place(&self, path: &str) -> Outcome<(Id, String)> {
        let mut parts = components(path);
        let name = parts.pop().ok_or(Errno::Invalid)?;
        let parent = self.resolve(&parts.join("/"))?;
        self.entries(parent)?;
        Ok((parent, name))
    }

    fn find(&self, path: &str) -> Outcome<(Id, String, Id)> {
        let (parent, name) = self.place(path)?;
        let id = *self.entries(parent)?.get(&name).ok_or(Errno::NotFound)?;
        Ok((parent, name, id))
    }

    fn add(&mut self, path: &str, node: Node) -> Outcome<Id> {
        let (parent, name) = self.place(path)?;
        if self.entries(parent)?.contains_key(&name) {
            return Err(Errno::Exists);
        }
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, node);
        self.entries_mut(parent).insert(name, id);
        Ok(id)
    }

    pub(crate) fn mkdir(&mut self, path: &str) -> Outcome {
        self.add(path, Node::Directory(BTreeMap::new())).map(|_| ())
    }

    pub(crate) fn create(&mut self, path: &str) -> Outcome {
        self.add(path, Node::File(Vec::new())).map(|_| ())
    }

    pub(crate) fn file(&self, path: &str) -> Outcome<Id> {
        let id = self.resolve(path)?;
        if self.is_directory(id) {
            Err(Errno::IsDirectory)
        } else {
            Ok(id)
        }
    }

    pub(crate) fn bytes_mut(&mut self, id: Id) -> &mut Vec<u8> {
        match self.inodes.get_mut(&id) {
            Some(Node::File(bytes)) => bytes,
            other => panic!("{id} is {other:?}"),
        }
    }

    pub(crate) fn write(&mut self, id: Id, offset: usize, part: &[u8]) {
        let bytes = self.bytes_mut(id);
        if !part.is_empty() {
            let end = offset + part.len();
            bytes.resize(bytes.len().max(end), 0);
            bytes[offset..end].copy_from_slice(part);
        }
    }

    pub(crate) fn punch(&mut self, id: Id, offset: usize, length: usize) {
        let bytes = self.bytes_mut(id);
        let end = (offset + length).min(bytes.len());
        if offset < end {
            bytes[offset..end].fill(0);
        }
    }

    pub(crate) fn link(&mut self, from: &str, to: &str) -> Outcome {
        let id = self.resolve(from)?;
        let (parent, name) = self.place(to)?;
        if self.entries(parent)?.contains_key(&name) {
            return Err(Errno::Exists);
        }
        if self.is_directory(id) {
            return Err(Errno::NotPermitted);
        }
        self.entries_mut(parent).insert(name, id);
        Ok(())
    }

    pub(crate) fn unlink(&mut self, path: &str) -> Outcome {
        let (parent, name, id) = self.find(path)?;
        if self.is_directory(id) {
            return Err(Errno::IsDirectory);
        }
        self.entries_mut(parent).remove(&name);
        Ok(())
    }

    fn has_snapshots(&self, id: Id) -> bool {
        self.snapshots.keys().any(|(directory, _)| *directory == id)
    }

    pub(crate) fn rmdir(&mut self, path: &str) -> Outcome {
        let (parent, name, id) = self.find(path)?;
        if !self.entries(id)?.is_empty() || self.has_snapshots(id) {
            return Err(Errno::NotEmpty);
        }
        self.entries_mut(parent).remove(&name);
        Ok(())
    }

    fn any_below(&self, id: Id, test: &dyn Fn(Id) -> bool) -> bool {
        test(id)
            || match &self.inodes[&id] {
                Node::Directory(entries) => entries.values().any(|id| self.any_below(*id, test)),
                Node::File(_) => false,
            }
    }

    pub(crate) fn remove_tree(&mut self, path: &str) -> Outcome {
        let (parent, name, id) = self.find(path)?;
        if self.any_below(id, &|id| self.has_snapshots(id)) {
            return Err(Errno::NotEmpty);
        }
        self.entries_mut(parent).remove(&name);
        Ok(())
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str, mode: RenameMode) -> Outcome {
        let (parent, name) = self.place(from)?;
        let (to_parent, to_name) = self.place(to)?;
        let source = *self.entries(parent)?.get(&name).ok_or(Errno::NotFound)?;
        let target = self.entries(to_parent)?.get(&to_name).copied();
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(Errno::Exists),
            (RenameMode::Exchange, None) => return Err(Errno::NotFound),
            _ => {}
        }
        if parent != to_parent {
            if self.any_below(source, &|id| id == to_parent) {
                return Err(Errno::Invalid);
            }
            if target.is_some_and(|target| self.any_below(target, &|id| id == parent)) {
                let exchange = mode == RenameMode::Exchange;
                return Err(if exchange {
                    Errno::Invalid
                } else {
                    Errno::NotEmpty
                });
            }
        }
        if target == Some(source) {
            return Ok(());
        }
        if mode == RenameMode::Exchange {
            let target = target.ok_or(Errno::NotFound)?;
            self.entries_mut(parent).insert(name, target);
            self.entries_mut(to_parent).insert(to_name, source);
            return Ok(());
        }
        if let Some(target) = target {
            match (self.is_directory(source), self.is_directory(target)) {
                (true, false) => return Err(Errno::NotDirectory),
                (false, true) => return Err(Errno::IsDirectory),
                (true, true) if !self.entries(target)?.is_empty() => return Err(Errno::NotEmpty),
                (true, true) if self.has_snapshots(target) => return Err(Errno::NotEmpty),
                _ => {}
            }
        }
        self.entries_mut(parent).remove(&name);
        self.entries_mut(to_parent).insert(to_name, source);
        Ok(())
    }

    pub(crate) fn snapshot(&mut self, path: &str, name: &str) -> Outcome {
        let directory = self.resolve(path)?;
        self.entries(directory)?;
        if self.snapshots.contains_key(&(directory, name.to_owned())) {
            return Err(Errno::Exists);
        }
        let frozen = Frozen {
            inodes: Rc::new(self.inodes.clone()),
            directory,
        };
        self.snapshots.insert((directory, name.to_owned()), frozen);
        Ok(())
    }

    pub(crate) fn drop_snapshot(&mut self, path: &str, name: &str) -> Outcome {
        let directory = self.resolve(path)?;
        self.entries(directory)?;
        let gone = self.snapshots.remove(&(directory, name.to_owned()));
        gone.map(|_| ()).ok_or(Errno::NotFound)
    }
}
