//! Opening a store: the last commit, then the log behind it.
//!
//! Invariants:
//! - What is recovered is an exact prefix of what was acknowledged: replay stops at the first record
//!   that is not whole, or whose chunks' bytes are not what they should be.
//! - Bytes that the log holds are back in their segments before records that speak of them are looked
//!   at.
//! - Record numbers go on far behind everything that may be left over in the log's files, so that
//!   no record of an earlier life is ever taken for one of this.

use crate::error::{Result, StoreError};
use crate::intent_log::{NUMBERS_MAX, Record};
use crate::state::{State, epoch_of};
use crate::store::Store;
use crate::txn::{self, Locked, Reader, WriteTxn};
use crate::volume::{self, NewSnapshot, NewVolume};
use lockstep_format::key::{self, catalog};
use lockstep_format::log::{self, Operation};
use lockstep_format::{
    ChunkRecord, Epoch, Meta, SegmentId, SegmentRecord, TreeId, ViewId, VolumeRecord,
};
use rustc_hash::FxHashSet;
use std::collections::BTreeSet;
use std::ops::ControlFlow;

/// What opening the store found in the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// Records applied.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes of files that were written to segments again, from their copy in the log.
    pub restored: u64,
    /// Why replay ended before the log did, if a record was whole but its chunks were not.
    pub stopped: Option<String>,
    /// Records behind the last one applied that had been made durable, and are lost: damage.
    pub lost: u64,
    /// Keys of the inodes and dentries that they changed.
    pub changed: BTreeSet<(ViewId, Vec<u8>)>,
}

/// Adds the keys of what a record is about: whoever caches may not have heard of it.
fn note_changed(record: &Record<'_>, into: &mut BTreeSet<(ViewId, Vec<u8>)>) -> Result<()> {
    for operation in log::operations(record.body) {
        let (Operation::Put { tree, key, .. } | Operation::Delete { tree, key }) = operation?
        else {
            continue;
        };
        let (Some(view), Some((inode, kind, _))) = (tree.as_volume(), key::split(key)) else {
            continue;
        };
        if kind == key::kind::DENTRY {
            into.insert((view, key.to_vec()));
        } else {
            into.insert((view, key::inode(inode)));
        }
    }
    Ok(())
}

impl Store {
    /// Brings the state to what was acknowledged, and publishes it.
    pub(crate) fn recover(&self) -> Result<RecoveryReport> {
        if let Some(bytes) = self.pages.store().meta()? {
            let meta = Meta::decode(&bytes)?;
            self.load_commit(&meta)?;
        } else {
            self.check_new()?;
            self.make_root_volume()?;
        }
        let report = self.replay()?;
        if report.lost > 0 && !self.may_lose_records() {
            let (records, first) = (report.lost, self.state.read().log_sequence);
            return Err(StoreError::LogDamaged { records, first });
        }
        self.refresh_all()?;
        if self.is_read_only() {
            return Ok(report);
        }
        self.adopt_segments()?;
        {
            let mut state = self.state.write();
            state.log_sequence += NUMBERS_MAX;
            state.dirty = true;
            self.log.start(0, state.log_sequence);
        }
        match self.commit() {
            // It is read, and tries again in the background.
            Err(error) if error.is_no_space() => {}
            other => other?,
        }
        let volumes: Vec<ViewId> = self
            .state
            .read()
            .trees
            .keys()
            .filter_map(|id| id.as_volume())
            .collect();
        self.reclaim.lock().extend(volumes);
        match self.reclaim_unowned() {
            // What is damaged is not freed; the rest of the store goes on.
            Err(error) if error.is_damage() => {}
            other => other?,
        }
        Ok(report)
    }

    fn load_commit(&self, meta: &Meta) -> Result<()> {
        let mut guard = self.state.write();
        let state = &mut *guard;
        state.epoch = Epoch(meta.epoch.0 + 1);
        let roots = [
            (TreeId::CATALOG, meta.catalog),
            (TreeId::CHUNKS, meta.chunks),
            (TreeId::DEAD, meta.dead),
        ];
        for (id, root) in roots {
            state.trees.entry(id).or_default().root = root;
        }
        state.next_page = meta.next_page;
        state.next_inode = meta.next_inode;
        state.next_view = meta.next_view;
        state.log_sequence = meta.log_sequence;
        state.dead_bytes = meta.dead_bytes;
        self.segments.reserve_numbers(meta.next_segment);
        let volumes = self.catalog_records(state, catalog::VOLUME, |key, value| {
            Ok(catalog::view_of(key).zip(Some(VolumeRecord::decode(value)?)))
        })?;
        for (view, record) in volumes {
            state
                .trees
                .insert(TreeId::volume(view), volume::tree_of(&record));
        }
        let segments = self.catalog_records(state, catalog::SEGMENT, |key, value| {
            Ok(catalog::segment_of(key).zip(Some(SegmentRecord::decode(value)?)))
        })?;
        state.segments = segments.into_iter().collect();
        drop(guard);
        self.refresh_all()
    }

    fn catalog_records<T>(
        &self,
        state: &State,
        kind: u8,
        decode: impl Fn(&[u8], &[u8]) -> Result<Option<T>>,
    ) -> Result<Vec<T>> {
        let mut list = Vec::new();
        let mut failure = None;
        let reader = Locked { state, store: self };
        reader.catalog_scan(
            &[kind],
            &[kind + 1],
            &mut |key, value| match decode(key, value) {
                Ok(record) => {
                    list.extend(record);
                    ControlFlow::Continue(())
                }
                Err(error) => {
                    failure = Some(error);
                    ControlFlow::Break(())
                }
            },
        )?;
        failure.map_or(Ok(list), Err)
    }

    /// A store without a commit record holds nothing else either: else the record was lost, and what
    /// is there must not be taken for left over.
    fn check_new(&self) -> Result<()> {
        let mut pages = 0;
        self.pages.store().list(&mut |_, _| pages += 1)?;
        if pages == 0 && self.segments.store().list()?.is_empty() && self.log.is_empty()? {
            return Ok(());
        }
        let what = "the commit record is missing from meta/data.mdb".into();
        Err(StoreError::Corrupt { what })
    }

    /// A store without a commit has one volume without an inode.
    fn make_root_volume(&self) -> Result<()> {
        let record = VolumeRecord {
            root: crate::tree::EMPTY,
            inodes: 0,
            bytes: 0,
            attached_to: (ViewId::ROOT, lockstep_format::InodeId::ROOT),
            name: Vec::new(),
            origin: None,
            root_inode: lockstep_format::InodeId::ROOT,
            created: self.now(),
            deleting: false,
            buried: false,
        };
        let mut state = self.state.write();
        state
            .trees
            .insert(TreeId::volume(ViewId::ROOT), volume::tree_of(&record));
        let key = catalog::volume(ViewId::ROOT);
        state.put(&self.pages, TreeId::CATALOG, &key, &record.encode())?;
        Ok(())
    }

    fn refresh_all(&self) -> Result<()> {
        let mut state = self.state.write();
        let volumes: Vec<ViewId> = state.trees.keys().filter_map(|id| id.as_volume()).collect();
        for volume in volumes {
            state.refresh_newest(&self.pages, volume)?;
        }
        Ok(())
    }

    fn replay(&self) -> Result<RecoveryReport> {
        let from = self.state.read().log_sequence;
        let mut report = RecoveryReport {
            restored: self.restore_bytes(from)?,
            ..RecoveryReport::default()
        };
        self.log.replay(from, &mut |record| {
            if let Some(reason) = self.missing_chunk(record)? {
                report.stopped = Some(reason);
                return Ok(false);
            }
            self.apply(record)?;
            note_changed(record, &mut report.changed)?;
            report.records += 1;
            report.bytes += record.body.len() as u64;
            Ok(true)
        })?;
        let next = self.state.read().log_sequence;
        report.lost = self.log.durable_beyond(next)? - next;
        Ok(report)
    }

    /// Writes bytes that the log holds, and that did not reach their segments, there. Returns how
    /// many.
    fn restore_bytes(&self, from: u64) -> Result<u64> {
        let segments: FxHashSet<SegmentId> = self.segments.store().list()?.into_iter().collect();
        let mut restored = 0;
        self.log.replay(from, &mut |record| {
            for operation in log::operations(record.body) {
                let (segment, offset, bytes) = match operation? {
                    Operation::Bytes {
                        segment,
                        offset,
                        bytes,
                    } => (segment, offset, bytes),
                    Operation::Synced { .. } => continue,
                    // A record of such operations holds no others.
                    _ => break,
                };
                let mut found = vec![0; bytes.len()];
                let store = self.segments.store();
                let lost = store.read(segment, offset, &mut found).is_err() || found != bytes;
                if lost && segments.contains(&segment) {
                    self.segments.write(segment, offset, bytes)?;
                    restored += bytes.len() as u64;
                }
            }
            Ok(true)
        })?;
        Ok(restored)
    }

    /// Why the record's new chunks cannot be trusted, if so: the record may have reached the disk
    /// before the bytes it speaks of.
    fn missing_chunk(&self, record: &Record<'_>) -> Result<Option<String>> {
        for operation in log::operations(record.body) {
            let Operation::Put {
                tree: TreeId::CHUNKS,
                key,
                value,
            } = operation?
            else {
                continue;
            };
            let known = self.read_state(|reader| txn::tree_get(reader, TreeId::CHUNKS, key))?;
            if known.is_some() {
                continue;
            }
            let Some(pointer) = key::chunk_pointer(key) else {
                continue;
            };
            let chunk = ChunkRecord::decode(value)?;
            if let Err(error) = self.segments.verify_chunk(pointer, &chunk, false) {
                return Ok(Some(error.to_string()));
            }
        }
        Ok(None)
    }

    fn apply(&self, record: &Record<'_>) -> Result<()> {
        let mut state = self.state.write();
        if record.header.epoch > state.epoch {
            state.freeze(&self.pages);
            state.epoch = record.header.epoch;
        }
        let mut txn = WriteTxn::new(state, self);
        for operation in log::operations(record.body) {
            match operation? {
                Operation::Put { tree, key, value } => txn.put_derived(tree, key, value)?,
                Operation::Delete { tree, key } => {
                    txn.delete_derived(tree, key)?;
                }
                Operation::Snapshot {
                    volume,
                    directory,
                    name,
                    view,
                    created,
                } => {
                    let new = NewSnapshot {
                        volume,
                        directory,
                        name,
                        view,
                        created,
                    };
                    txn.apply_snapshot(&new)?;
                }
                Operation::RenameSnapshot {
                    volume,
                    directory,
                    from,
                    to,
                } => {
                    txn.apply_rename(volume, directory, from, to)?;
                }
                Operation::Volume {
                    view,
                    origin,
                    attached_to,
                    name,
                    created,
                } => {
                    let new = NewVolume {
                        view,
                        origin,
                        attached_to,
                        name,
                        created,
                    };
                    txn.apply_volume(&new)?;
                }
                Operation::Bytes { .. } | Operation::Synced { .. } => {}
            }
        }
        txn.state.log_sequence = record.header.sequence + 1;
        txn.finish();
        Ok(())
    }

    /// Segments of an earlier life get no more chunks; those that no chunk ever reached are removed.
    fn adopt_segments(&self) -> Result<()> {
        let mut state = self.state.write();
        for segment in self.segments.store().list()? {
            self.segments.reserve_numbers(segment.0 + 1);
            match state.segments.get(&segment) {
                None => self.segments.store().remove(segment)?,
                Some(account) if !account.sealed => {
                    self.segments.retire(segment);
                    state.dirty_segments.insert(segment);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// The snapshots' epochs of a volume, and what walks have pinned: ascending.
    pub(crate) fn kept_epochs(&self, state: &State, volume: ViewId) -> Result<Vec<Epoch>> {
        let from = catalog::epochs(volume);
        let to = key::after_prefix(&from).unwrap_or_default();
        let mut kept = Vec::new();
        Locked { state, store: self }.catalog_scan(&from, &to, &mut |key, _| {
            kept.extend(epoch_of(key));
            ControlFlow::Continue(())
        })?;
        kept.extend(
            state
                .pins
                .get(&volume)
                .into_iter()
                .flat_map(|pins| pins.keys().copied()),
        );
        kept.sort_unstable();
        kept.dedup();
        Ok(kept)
    }
}
