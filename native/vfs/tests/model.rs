//! Random operations on a store and on a plain model, compared after each step: names, bytes,
//! link counts, errors, snapshots, differences; with reopens in between.

#![allow(clippy::unwrap_used, clippy::similar_names)]

mod support;

use lockstep_vfs::{ChangeKind, Errno, FileKind, HandleId, NodeId, RenameMode, VfsError};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use support::model::{Id, Model, Node, components};
use support::{READ, TestStore, WRITE, new_store, root};

#[derive(Clone, Debug)]
enum Operation {
    Mkdir(String),
    Create(String),
    Write {
        path: String,
        offset: usize,
        length: usize,
        seed: u8,
    },
    Append {
        path: String,
        length: usize,
        seed: u8,
    },
    Truncate(String, usize),
    Punch(String, usize, usize),
    Link(String, String),
    Unlink(String),
    Rmdir(String),
    RemoveTree(String),
    Rename(String, String, RenameMode),
    Snapshot(String, u8),
    DropSnapshot(String, u8),
    Hold(String),
    Release,
    Reopen,
    Settle,
}

/// Five letters; what they mean depends on what there is when they are used (see [`Pair::aim`]).
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(0..3u8, 5).prop_map(|parts| {
        parts
            .into_iter()
            .map(|part| char::from(b'a' + part))
            .collect()
    })
}

/// What a path should lead to, most of the time.
#[derive(Clone, Copy)]
enum Aim {
    File,
    Directory,
    Any,
    New,
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![
        6 => 0..3000usize,
        2 => 0..70_000usize,
        1 => (1 << 20) - 100..(1 << 20) + 5000usize,
    ]
}

fn mode() -> impl Strategy<Value = RenameMode> {
    prop_oneof![
        4 => Just(RenameMode::Replace),
        1 => Just(RenameMode::NoReplace),
        1 => Just(RenameMode::Exchange),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    use Operation as Op;
    prop_oneof![
        6 => path().prop_map(Op::Mkdir),
        6 => path().prop_map(Op::Create),
        8 => (path(), size(), size(), any::<u8>())
            .prop_map(|(path, offset, length, seed)| Op::Write { path, offset, length, seed }),
        3 => (path(), 0..5000usize, any::<u8>())
            .prop_map(|(path, length, seed)| Op::Append { path, length, seed }),
        3 => (path(), size()).prop_map(|(path, length)| Op::Truncate(path, length)),
        2 => (path(), size(), size()).prop_map(|(path, at, length)| Op::Punch(path, at, length)),
        3 => (path(), path()).prop_map(|(from, to)| Op::Link(from, to)),
        4 => path().prop_map(Op::Unlink),
        3 => path().prop_map(Op::Rmdir),
        2 => path().prop_map(Op::RemoveTree),
        8 => (path(), path(), mode()).prop_map(|(from, to, mode)| Op::Rename(from, to, mode)),
        4 => (path(), 0..3u8).prop_map(|(path, name)| Op::Snapshot(path, name)),
        2 => (path(), 0..3u8).prop_map(|(path, name)| Op::DropSnapshot(path, name)),
        2 => path().prop_map(Op::Hold),
        1 => Just(Op::Release),
        1 => Just(Op::Reopen),
        1 => Just(Op::Settle),
    ]
}

fn bytes(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(17).wrapping_add(seed) | 1)
        .collect()
}

fn errno_of<T>(result: Result<T, VfsError>) -> Result<(), Errno> {
    match result {
        Ok(_) => Ok(()),
        Err(VfsError::Errno(errno)) => Err(errno),
        Err(other) => panic!("the engine failed: {other}"),
    }
}

struct Pair {
    store: TestStore,
    model: Model,
    held: Vec<(HandleId, Id)>,
}

impl Pair {
    fn with_file(
        &mut self,
        path: &str,
        real: impl FnOnce(&TestStore, HandleId) -> Result<(), VfsError>,
        modelled: impl FnOnce(&mut Model, Id),
    ) -> (Result<(), Errno>, Result<(), Errno>) {
        let opened = self
            .store
            .vfs
            .resolve(&root(), path.as_bytes(), true)
            .and_then(|found| {
                let handle = self.store.vfs.open_file(&root(), found.node, WRITE)?;
                real(&self.store, handle)?;
                self.store.vfs.release(handle)
            });
        let expected = self
            .model
            .file(path)
            .map(|id| modelled(&mut self.model, id));
        (errno_of(opened), expected)
    }

    fn names(&mut self, operation: &Operation) -> (Result<(), Errno>, Result<(), Errno>) {
        use Operation as Op;
        let vfs = &self.store.vfs;
        let model = &mut self.model;
        let place = |path: &str| {
            vfs.resolve_parent(&root(), path.as_bytes())
                .map(|(parent, name)| (parent.node, name))
        };
        match operation {
            Op::Mkdir(path) => {
                let real = place(path)
                    .and_then(|(parent, name)| vfs.make_directory(&root(), parent, &name, 0o755));
                (errno_of(real), model.mkdir(path))
            }
            Op::Create(path) => {
                let real = place(path).and_then(|(parent, name)| {
                    vfs.make_node(&root(), parent, &name, FileKind::File, 0o644, 0)
                });
                (errno_of(real), model.create(path))
            }
            Op::Link(from, to) => {
                let real = vfs
                    .resolve(&root(), from.as_bytes(), true)
                    .and_then(|found| {
                        let (parent, name) = place(to)?;
                        vfs.link(&root(), found.node, parent, &name)
                    });
                (errno_of(real), model.link(from, to))
            }
            Op::Unlink(path) => {
                let real =
                    place(path).and_then(|(parent, name)| vfs.unlink(&root(), parent, &name));
                (errno_of(real), model.unlink(path))
            }
            Op::Rmdir(path) => {
                let real = place(path)
                    .and_then(|(parent, name)| vfs.remove_directory(&root(), parent, &name));
                (errno_of(real), model.rmdir(path))
            }
            Op::RemoveTree(path) => {
                let real =
                    place(path).and_then(|(parent, name)| vfs.remove_tree(&root(), parent, &name));
                (errno_of(real), model.remove_tree(path))
            }
            Op::Rename(from, to, mode) => {
                let real = place(from).and_then(|(parent, name)| {
                    let (to_parent, to_name) = place(to)?;
                    vfs.rename(&root(), parent, &name, to_parent, &to_name, *mode)
                });
                (errno_of(real), model.rename(from, to, *mode))
            }
            other => panic!("{other:?} is no call on names"),
        }
    }

    fn snapshots(&mut self, operation: &Operation) -> (Result<(), Errno>, Result<(), Errno>) {
        let vfs = &self.store.vfs;
        match operation {
            Operation::Snapshot(path, name) => {
                let name = format!("s{name}");
                let real = vfs
                    .resolve(&root(), path.as_bytes(), true)
                    .and_then(|found| vfs.create_snapshot(&root(), found.node, name.as_bytes()));
                (errno_of(real), self.model.snapshot(path, &name))
            }
            Operation::DropSnapshot(path, name) => {
                let name = format!("s{name}");
                let real = vfs
                    .resolve(&root(), path.as_bytes(), true)
                    .and_then(|found| vfs.delete_snapshot(&root(), found.node, name.as_bytes()));
                (errno_of(real), self.model.drop_snapshot(path, &name))
            }
            other => panic!("{other:?} is no call on snapshots"),
        }
    }

    /// The path that letters stand for: usually of something that is there.
    fn aim(&self, letters: &str, aim: Aim) -> String {
        let number = letters
            .bytes()
            .fold(0, |sum, byte| sum * 3 + usize::from(byte - b'a'));
        let (mut files, mut directories) = (Vec::new(), vec![String::new()]);
        let mut pending = vec![(0, String::new())];
        while let Some((id, path)) = pending.pop() {
            if let Node::Directory(entries) = &self.model.inodes[&id] {
                for (name, id) in entries {
                    let path = format!("{path}/{name}");
                    match self.model.inodes[id] {
                        Node::Directory(_) => directories.push(path.clone()),
                        Node::File(_) => files.push(path.clone()),
                    }
                    pending.push((*id, path));
                }
            }
        }
        let shallow: Vec<_> = directories
            .iter()
            .filter(|path| path.len() < 8)
            .cloned()
            .collect();
        let any = [&files[..], &directories[1..]].concat();
        let from = match aim {
            Aim::File => files,
            Aim::Directory => directories[1..].to_vec(),
            Aim::Any => any,
            Aim::New => shallow,
        };
        if number % 12 == 0 || from.is_empty() {
            let parts = letters.chars().take(1 + number % 3);
            return parts.flat_map(|part| ['/', part]).collect();
        }
        let found = &from[number % from.len()];
        match aim {
            Aim::New => format!("{found}/{}", char::from(b'a' + (number / 7 % 4) as u8)),
            _ => found.clone(),
        }
    }

    fn aimed(&self, operation: &Operation) -> Operation {
        use Operation as Op;
        let file = |path: &str| self.aim(path, Aim::File);
        let directory = |path: &str| self.aim(path, Aim::Directory);
        let any = |path: &str| self.aim(path, Aim::Any);
        let new = |path: &str| self.aim(path, Aim::New);
        match operation.clone() {
            Op::Mkdir(path) => Op::Mkdir(new(&path)),
            Op::Create(path) => Op::Create(new(&path)),
            Op::Write {
                path,
                offset,
                length,
                seed,
            } => Op::Write {
                path: file(&path),
                offset,
                length,
                seed,
            },
            Op::Append { path, length, seed } => Op::Append {
                path: file(&path),
                length,
                seed,
            },
            Op::Truncate(path, length) => Op::Truncate(file(&path), length),
            Op::Punch(path, offset, length) => Op::Punch(file(&path), offset, length),
            Op::Link(from, to) => Op::Link(file(&from), new(&to)),
            Op::Unlink(path) => Op::Unlink(file(&path)),
            Op::Rmdir(path) => Op::Rmdir(directory(&path)),
            Op::RemoveTree(path) => Op::RemoveTree(any(&path)),
            Op::Rename(from, to, RenameMode::Exchange) => {
                Op::Rename(any(&from), any(&to), RenameMode::Exchange)
            }
            Op::Rename(from, to, mode) => Op::Rename(any(&from), new(&to), mode),
            Op::Snapshot(path, name) => Op::Snapshot(directory(&path), name),
            Op::DropSnapshot(path, name) => Op::DropSnapshot(directory(&path), name),
            Op::Hold(path) => Op::Hold(file(&path)),
            other => other,
        }
    }

    fn apply(&mut self, operation: &Operation) {
        use Operation as Op;
        let operation = &self.aimed(operation);
        let (real, expected) = match operation {
            Op::Write {
                path,
                offset,
                length,
                seed,
            } => {
                let part = bytes(*length, *seed);
                let real = |store: &TestStore, handle| {
                    store.vfs.write(handle, *offset as u64, &part).map(|_| ())
                };
                self.with_file(path, real, |model, id| model.write(id, *offset, &part))
            }
            Op::Append { path, length, seed } => {
                let part = bytes(*length, *seed);
                self.append(path, &part)
            }
            Op::Truncate(path, length) => {
                let real = |store: &TestStore, handle| {
                    store.vfs.truncate(handle, *length as u64).map(|_| ())
                };
                self.with_file(path, real, |model, id| {
                    model.bytes_mut(id).resize(*length, 0);
                })
            }
            Op::Punch(path, offset, length) => {
                let length = length + 1;
                let real = |store: &TestStore, handle| {
                    store.vfs.punch_hole(handle, *offset as u64, length as u64)
                };
                self.with_file(path, real, |model, id| model.punch(id, *offset, length))
            }
            Op::Snapshot(..) | Op::DropSnapshot(..) => self.snapshots(operation),
            Op::Hold(path) => self.hold(path),
            Op::Release => self.release(),
            Op::Reopen => self.reopen(),
            Op::Settle => {
                self.store.vfs.settle();
                (Ok(()), Ok(()))
            }
            _ => self.names(operation),
        };
        assert_eq!(real, expected, "{operation:?}");
    }

    fn append(&mut self, path: &str, part: &[u8]) -> (Result<(), Errno>, Result<(), Errno>) {
        let vfs = &self.store.vfs;
        let real = vfs
            .resolve(&root(), path.as_bytes(), true)
            .and_then(|found| {
                let handle = vfs.open_file(&root(), found.node, support::APPEND)?;
                vfs.write(handle, 12_345, part)?;
                vfs.release(handle)
            });
        let expected = self.model.file(path).map(|id| {
            let end = self.model.bytes_mut(id).len();
            self.model.write(id, end, part);
        });
        (errno_of(real), expected)
    }

    fn hold(&mut self, path: &str) -> (Result<(), Errno>, Result<(), Errno>) {
        let expected = self.model.file(path);
        if expected == Err(Errno::IsDirectory) {
            return (Ok(()), Ok(()));
        }
        let vfs = &self.store.vfs;
        let found = vfs.resolve(&root(), path.as_bytes(), true);
        let real = found.and_then(|found| vfs.open_file(&root(), found.node, WRITE));
        if let (Ok(handle), Ok(id)) = (&real, &expected) {
            self.held.push((*handle, *id));
        }
        (errno_of(real), expected.map(|_| ()))
    }

    fn release(&mut self) -> (Result<(), Errno>, Result<(), Errno>) {
        let Some((handle, _)) = self.held.pop() else {
            return (Ok(()), Ok(()));
        };
        (errno_of(self.store.vfs.release(handle)), Ok(()))
    }

    fn reopen(&mut self) -> (Result<(), Errno>, Result<(), Errno>) {
        self.held.clear();
        self.store.reopen();
        (Ok(()), Ok(()))
    }

    /// Compares everything. Links from removed trees count until the reaper has come by.
    fn check(&self, settled: bool) {
        let mut links = BTreeMap::new();
        self.check_tree(NodeId::ROOT, &self.model.inodes, 0, Some(&mut links));
        for (node, (count, found)) in links {
            assert!(
                count == found || !settled && count > found,
                "links of {node:?}"
            );
        }
        for ((directory, name), frozen) in &self.model.snapshots {
            let Some(path) = self.path_in_model(*directory) else {
                panic!("a lost snapshot")
            };
            let top = self.store.node(&format!("{path}/.snapshot/{name}"));
            self.check_tree(top, &frozen.inodes, frozen.directory, None);
        }
        for (handle, id) in &self.held {
            let Node::File(bytes) = &self.model.inodes[id] else {
                panic!("held a directory")
            };
            assert!(
                self.store.read_handle(*handle) == *bytes,
                "bytes of an open file"
            );
        }
    }

    fn path_in_model(&self, wanted: Id) -> Option<String> {
        let mut pending = vec![(0, String::new())];
        while let Some((id, path)) = pending.pop() {
            if id == wanted {
                return Some(path);
            }
            if let Node::Directory(entries) = &self.model.inodes[&id] {
                pending.extend(
                    entries
                        .iter()
                        .map(|(name, id)| (*id, format!("{path}/{name}"))),
                );
            }
        }
        None
    }

    fn check_tree(
        &self,
        node: NodeId,
        inodes: &BTreeMap<Id, Node>,
        id: Id,
        mut links: Option<&mut BTreeMap<NodeId, (u32, u32)>>,
    ) {
        let vfs = &self.store.vfs;
        let seen = vfs.attributes(node).unwrap();
        match &inodes[&id] {
            Node::File(bytes) => {
                assert_eq!((seen.kind, seen.size), (FileKind::File, bytes.len() as u64));
                let handle = vfs.open_file(&root(), node, READ).unwrap();
                assert!(self.store.read_handle(handle) == *bytes, "bytes differ");
                vfs.release(handle).unwrap();
                if let Some(links) = links {
                    links.entry(node).or_insert((seen.nlink, 0)).1 += 1;
                }
            }
            Node::Directory(entries) => {
                let mut found = BTreeMap::new();
                vfs.list(&root(), node, None, true, &mut |entry| {
                    found.insert(String::from_utf8(entry.name).unwrap(), entry.node);
                    ControlFlow::Continue(())
                })
                .unwrap();
                let names: Vec<_> = entries.keys().collect();
                assert_eq!(found.keys().collect::<Vec<_>>(), names);
                let directory = |id: &&Id| matches!(inodes[id], Node::Directory(_));
                let below = entries.values().filter(directory).count() as u32;
                assert_eq!((seen.nlink, seen.size), (2 + below, entries.len() as u64));
                for (name, id) in entries {
                    self.check_tree(found[name], inodes, *id, links.as_deref_mut());
                }
            }
        }
    }

    /// Every snapshot's difference to now, replayed on the snapshot, gives now.
    fn check_differences(&self) {
        for (directory, name) in self.model.snapshots.keys() {
            let path = self.path_in_model(*directory).unwrap();
            let node = self.store.node(&format!("{path}/"));
            let top = self.store.node(&format!("{path}/.snapshot/{name}"));
            let (old, new) = (tree_of(&self.store, top), tree_of(&self.store, node));
            check_difference(&self.store, node, (name, &old, &new));
        }
    }
}

/// All names below a directory: inode and bytes (of a directory: none).
type Tree = BTreeMap<String, (u64, Option<Vec<u8>>)>;

fn tree_of(store: &TestStore, top: NodeId) -> Tree {
    let mut tree = Tree::new();
    let mut pending = vec![(top, String::new())];
    while let Some((node, path)) = pending.pop() {
        let list = &mut |entry: lockstep_vfs::DirectoryEntry| {
            let name = String::from_utf8(entry.name).unwrap();
            let path = if path.is_empty() {
                name
            } else {
                format!("{path}/{name}")
            };
            let contents = if entry.kind == FileKind::Directory {
                pending.push((entry.node, path.clone()));
                None
            } else {
                let handle = store.vfs.open_file(&root(), entry.node, READ).unwrap();
                let bytes = store.read_handle(handle);
                store.vfs.release(handle).unwrap();
                Some(bytes)
            };
            tree.insert(path, (entry.node.inode().0, contents));
            ControlFlow::Continue(())
        };
        store.vfs.list(&root(), node, None, false, list).unwrap();
    }
    tree
}

/// Entries by directory inode and name; the top is 0.
type Entries = BTreeMap<(u64, String), u64>;

fn entries_of(tree: &Tree) -> Entries {
    let place = |path: &str| {
        let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = if parent.is_empty() { 0 } else { tree[parent].0 };
        (parent, name.to_owned())
    };
    tree.iter()
        .map(|(path, (inode, _))| (place(path), *inode))
        .collect()
}

fn place_in(entries: &Entries, path: &str) -> (u64, String) {
    let mut parts = components(path);
    let name = parts.pop().unwrap();
    let parent = parts.into_iter().fold(0, |at, part| {
        *entries
            .get(&(at, part.clone()))
            .unwrap_or_else(|| panic!("{path}: no {part}"))
    });
    (parent, name)
}

fn check_difference(store: &TestStore, node: NodeId, (name, old, new): (&str, &Tree, &Tree)) {
    let changes = store
        .vfs
        .diff(&root(), node, Some(name.as_bytes()), None)
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let before = entries_of(old);
    let mut replayed = before.clone();
    let mut placed = Vec::new();
    let mut modified = BTreeSet::new();
    for change in &changes {
        let path = text(&change.path);
        match change.kind {
            ChangeKind::Deleted | ChangeKind::Renamed => {
                let removed = replayed.remove(&place_in(&before, &path));
                assert_eq!(removed, Some(change.inode), "{change:?}");
                placed.extend(change.target.as_ref().map(|to| (text(to), change.inode)));
            }
            ChangeKind::Created => placed.push((path, change.inode)),
            ChangeKind::Modified => {
                modified.insert(path);
            }
        }
    }
    placed.sort();
    for (path, inode) in placed {
        let place = place_in(&replayed, &path);
        assert_eq!(
            replayed.insert(place, inode),
            None,
            "{path} is there already"
        );
    }
    assert_eq!(replayed, entries_of(new), "{changes:?}");
    for (path, (inode, contents)) in new {
        let same = old.values().find(|(known, _)| known == inode);
        let differs = same.is_some_and(|(_, before)| before != contents);
        let names = new.iter().filter(|(_, (other, _))| other == inode);
        let told = names
            .map(|(path, _)| path)
            .any(|path| modified.contains(path));
        assert!(!differs || told, "{path} was modified: {changes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(
            "tests/model.proptest-regressions",
        ))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_store_agrees_with_the_model(
        operations in proptest::collection::vec(operation(), 1..80),
    ) {
        let mut pair = Pair { store: new_store(), model: Model::new(), held: Vec::new() };
        for operation in &operations {
            pair.apply(operation);
            pair.check(false);
        }
        pair.check_differences();
        pair.held.clear();
        pair.store.check_and_reopen();
        pair.store.vfs.settle();
        pair.check(true);
        pair.check_differences();
        pair.store.check_and_reopen();
    }
}
