//! The reference: what a store must hold, as plain maps and byte arrays; and the operations that
//! are done to both.

use crate::random::Random;
use lockstep_format::key::{self, catalog};
use lockstep_format::{FileKind, Inode, InodeId, SnapshotRecord, Timestamp, ViewId};
use lockstep_store::{Reader, Result, Store};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Bytes of each file of the model.
const FILE_BYTES: usize = 48 << 10;
const FILES: u64 = 3;
const KEYS: u64 = 400;

/// One tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    keys: BTreeMap<Vec<u8>, Vec<u8>>,
    files: BTreeMap<u64, Vec<u8>>,
}

/// A whole store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Live trees, by view.
    volumes: BTreeMap<u32, Tree>,
    /// Snapshots by volume and name: their view and what they show.
    snapshots: BTreeMap<(u32, Vec<u8>), (u32, Tree)>,
}

/// Something done to a store.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Sets some keys at once.
    Put(ViewId, Vec<(Vec<u8>, Vec<u8>)>),
    /// Removes a key.
    Delete(ViewId, Vec<u8>),
    /// Writes file bytes.
    Write(ViewId, u64, usize, Vec<u8>),
    /// Makes a hole.
    Clear(ViewId, u64, usize, usize),
    /// Takes a snapshot.
    Snapshot(ViewId, Vec<u8>),
    /// Drops one.
    DropSnapshot(ViewId, Vec<u8>),
    /// Gives one another name.
    RenameSnapshot(ViewId, Vec<u8>, Vec<u8>),
    /// Clones a snapshot, by view.
    Clone(u32),
    /// Deletes a volume.
    DropVolume(ViewId),
    /// Makes everything before durable.
    Sync,
    /// Commits and reclaims.
    Maintain,
}

fn plain(number: u64) -> Vec<u8> {
    key::xattr(InodeId(1000 + number % 7), &number.to_be_bytes())
}

fn file_inode(allocated: u64) -> Inode {
    let time = Timestamp::default();
    Inode {
        kind: FileKind::File,
        mode: 0o644,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        allocated,
        rdev: 0,
        flags: 0,
        parent: InodeId::ROOT,
        atime: time,
        mtime: time,
        ctime: time,
        btime: time,
        block_size: 0,
        replication: 0,
    }
}

impl Model {
    /// What a store holds that was just made.
    pub fn new() -> Self {
        Self {
            volumes: [(0, Tree::default())].into(),
            snapshots: BTreeMap::new(),
        }
    }

    /// The views in a store that this model does not know.
    pub fn views_beside(&self, store: &Store) -> Result<Vec<u32>> {
        let (volumes, snapshots) = names(store)?;
        let mut views: Vec<u32> = snapshots.into_iter().map(|(_, view)| view).collect();
        views.extend(volumes);
        views.retain(|view| {
            !self.volumes.contains_key(view) && !self.snapshots.values().any(|(v, _)| v == view)
        });
        Ok(views)
    }

    fn pick_volume(&self, random: &mut Random) -> ViewId {
        let views: Vec<u32> = self.volumes.keys().copied().collect();
        ViewId(views[random.below(views.len() as u64) as usize])
    }

    fn pick_snapshot(&self, random: &mut Random) -> Option<(ViewId, Vec<u8>, u32)> {
        let index = random.below(self.snapshots.len().max(1) as u64) as usize;
        let ((volume, name), (view, _)) = self.snapshots.iter().nth(index)?;
        Some((ViewId(*volume), name.clone(), *view))
    }

    /// An operation that makes sense now.
    pub fn choose(&self, random: &mut Random) -> Operation {
        let volume = self.pick_volume(random);
        match random.below(100) {
            0..25 => {
                let count = 1 + random.below(4);
                let puts = (0..count).map(|_| {
                    let value = vec![random.any() as u8; random.below(700) as usize];
                    (plain(random.below(KEYS)), value)
                });
                Operation::Put(volume, puts.collect())
            }
            25..35 => Operation::Delete(volume, plain(random.below(KEYS))),
            35..58 => {
                let length = 1 + random.below(30_000) as usize;
                let offset = random.below((FILE_BYTES - length) as u64) as usize;
                let bytes = vec![random.any() as u8 | 1; length];
                Operation::Write(volume, 10 + random.below(FILES), offset, bytes)
            }
            58..63 => {
                let from = random.below(FILE_BYTES as u64) as usize;
                let to = from + random.below((FILE_BYTES - from) as u64 + 1) as usize;
                Operation::Clear(volume, 10 + random.below(FILES), from, to)
            }
            63..70 => Operation::Snapshot(volume, random.any().to_le_bytes().to_vec()),
            70..75 => match self.pick_snapshot(random) {
                Some((volume, name, _)) => Operation::DropSnapshot(volume, name),
                None => Operation::Sync,
            },
            75..77 => match self.pick_snapshot(random) {
                Some((volume, name, _)) => {
                    Operation::RenameSnapshot(volume, name, random.any().to_le_bytes().to_vec())
                }
                None => Operation::Sync,
            },
            77..80 => match self.pick_snapshot(random) {
                Some((_, _, view)) if self.volumes.len() < 4 => Operation::Clone(view),
                _ => Operation::Sync,
            },
            80..83 => {
                let has_snapshots = self.snapshots.keys().any(|(of, _)| *of == volume.0);
                if volume == ViewId::ROOT || has_snapshots {
                    Operation::Maintain
                } else {
                    Operation::DropVolume(volume)
                }
            }
            83..92 => Operation::Sync,
            _ => Operation::Maintain,
        }
    }

    /// Does the operation to the model. `view` is the view the store gave to what it made.
    pub fn apply(&mut self, operation: &Operation, view: u32) {
        match operation {
            Operation::Put(volume, puts) => {
                let tree = self.volumes.entry(volume.0).or_default();
                tree.keys.extend(puts.iter().cloned());
            }
            Operation::Delete(volume, key) => {
                self.volumes.entry(volume.0).or_default().keys.remove(key);
            }
            Operation::Write(volume, file, offset, bytes) => {
                let tree = self.volumes.entry(volume.0).or_default();
                let file = tree
                    .files
                    .entry(*file)
                    .or_insert_with(|| vec![0; FILE_BYTES]);
                file[*offset..offset + bytes.len()].copy_from_slice(bytes);
            }
            Operation::Clear(volume, file, from, to) => {
                let tree = self.volumes.entry(volume.0).or_default();
                tree.files
                    .entry(*file)
                    .or_insert_with(|| vec![0; FILE_BYTES])[*from..*to]
                    .fill(0);
            }
            Operation::Snapshot(volume, name) => {
                let tree = self.volumes.entry(volume.0).or_default().clone();
                self.snapshots
                    .insert((volume.0, name.clone()), (view, tree));
            }
            Operation::DropSnapshot(volume, name) => {
                self.snapshots.remove(&(volume.0, name.clone()));
            }
            Operation::RenameSnapshot(volume, from, to) => {
                if let Some(entry) = self.snapshots.remove(&(volume.0, from.clone())) {
                    self.snapshots.insert((volume.0, to.clone()), entry);
                }
            }
            Operation::Clone(snapshot) => {
                let found = self.snapshots.values().find(|(view, _)| view == snapshot);
                let tree = found.map_or_else(Tree::default, |(_, tree)| tree.clone());
                self.volumes.insert(view, tree);
            }
            Operation::DropVolume(volume) => {
                self.volumes.remove(&volume.0);
            }
            Operation::Sync | Operation::Maintain => {}
        }
    }

    /// What differs between the store and the model, in words.
    pub fn compare(&self, store: &Store) -> Result<Option<String>> {
        let (volumes, snapshots) = names(store)?;
        let expected: Vec<u32> = self.volumes.keys().copied().collect();
        if volumes != expected {
            return Ok(Some(format!("volumes are {volumes:?}, not {expected:?}")));
        }
        let expected: Vec<_> = self
            .snapshots
            .iter()
            .map(|(k, (view, _))| (k.clone(), *view))
            .collect();
        if snapshots != expected {
            return Ok(Some(format!(
                "snapshots are {snapshots:?}, not {expected:?}"
            )));
        }
        let live = self.volumes.iter().map(|(view, tree)| (*view, tree));
        let kept = self.snapshots.values().map(|(view, tree)| (*view, tree));
        for (view, tree) in live.chain(kept) {
            if let Some(difference) = tree.compare(store, ViewId(view))? {
                return Ok(Some(format!("view {view}: {difference}")));
            }
        }
        Ok(None)
    }
}

type Names = (Vec<u32>, Vec<((u32, Vec<u8>), u32)>);

fn names(store: &Store) -> Result<Names> {
    store.read(|txn| {
        let mut found = Vec::new();
        txn.catalog_scan(&[catalog::VOLUME], &[catalog::VOLUME + 1], &mut |key, _| {
            found.extend(key[1..].try_into().map(u32::from_be_bytes));
            ControlFlow::Continue(())
        })?;
        let mut volumes = Vec::new();
        for view in found {
            volumes.extend(txn.view(ViewId(view))?.map(|info| info.view.0));
        }
        let mut snapshots = Vec::new();
        txn.catalog_scan(
            &[catalog::SNAPSHOT],
            &[catalog::SNAPSHOT + 1],
            &mut |key, value| {
                if let Ok(record) = SnapshotRecord::decode(value) {
                    snapshots.push(((record.volume.0, key[13..].to_vec()), record.view.0));
                }
                ControlFlow::Continue(())
            },
        )?;
        snapshots.sort();
        Ok((volumes, snapshots))
    })
}

impl Tree {
    fn compare(&self, store: &Store, view: ViewId) -> Result<Option<String>> {
        let mut keys = BTreeMap::new();
        store.read(|txn| {
            txn.scan(view, &[], &[0xff; 9], &mut |key, value| {
                if matches!(key::split(key), Some((_, key::kind::XATTR, _))) {
                    keys.insert(key.to_vec(), value.to_vec());
                }
                ControlFlow::Continue(())
            })
        })?;
        if keys != self.keys {
            return Ok(Some(format!(
                "{} keys, not those {}",
                keys.len(),
                self.keys.len()
            )));
        }
        for file in 10..10 + FILES {
            let pieces = store.read(|txn| txn.pieces(view, InodeId(file), 0, FILE_BYTES as u64))?;
            let mut bytes = vec![0; FILE_BYTES];
            store.load(&pieces, &mut bytes)?;
            let expected = self.files.get(&file);
            if !expected.map_or(bytes.iter().all(|byte| *byte == 0), |e| *e == bytes) {
                return Ok(Some(format!("file {file} has other bytes")));
            }
        }
        Ok(None)
    }
}

/// Does the operation to the store; returns the view of what it made, if anything.
pub fn perform(store: &Store, operation: &Operation) -> Result<u32> {
    match operation {
        Operation::Put(volume, puts) => store.write(|txn| {
            puts.iter()
                .try_for_each(|(key, value)| txn.put(*volume, key, value))
                .map(|()| 0)
        }),
        Operation::Delete(volume, key) => store.write(|txn| txn.delete(*volume, key).map(|_| 0)),
        Operation::Write(volume, file, offset, bytes) => {
            let staged = store.stage(*offset as u64, bytes)?;
            store.write(|txn| {
                let change = txn.put_range(*volume, InodeId(*file), &staged)?;
                resize(txn, *volume, *file, change)
            })
        }
        Operation::Clear(volume, file, from, to) => store.write(|txn| {
            let (from, to) = (*from as u64, *to as u64);
            let (change, _) = txn.clear_range(*volume, InodeId(*file), from, to)?;
            resize(txn, *volume, *file, change)
        }),
        Operation::Snapshot(volume, name) => {
            store.write(|txn| Ok(txn.create_snapshot(*volume, InodeId::ROOT, name)?.view.0))
        }
        Operation::DropSnapshot(volume, name) => {
            store.write(|txn| txn.delete_snapshot(*volume, InodeId::ROOT, name).map(|_| 0))
        }
        Operation::RenameSnapshot(volume, from, to) => store.write(|txn| {
            txn.rename_snapshot(*volume, InodeId::ROOT, from, to)
                .map(|_| 0)
        }),
        Operation::Clone(snapshot) => store.write(|txn| {
            let attached_to = (ViewId::ROOT, InodeId::ROOT);
            Ok(txn
                .create_clone(ViewId(*snapshot), attached_to, b"clone")?
                .0)
        }),
        Operation::DropVolume(volume) => store.write(|txn| txn.delete_volume(*volume).map(|()| 0)),
        Operation::Sync => store.sync().map(|()| 0),
        Operation::Maintain => store.maintain().map(|_| 0),
    }
}

fn resize(
    txn: &mut lockstep_store::WriteTxn<'_>,
    volume: ViewId,
    file: u64,
    change: i64,
) -> Result<u32> {
    let id = InodeId(file);
    let before = txn.inode(volume, id)?.map_or(0, |inode| inode.allocated);
    txn.put_inode(
        volume,
        id,
        &file_inode(before.saturating_add_signed(change)),
    )?;
    Ok(0)
}
