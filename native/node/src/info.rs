//! Plain objects that cross the boundary, with the names of `lib/native.ts`.

use crate::attributes::inode_number;
use crate::error::Result;
use crate::number::{signed, whole, whole16, whole32};
use lockstep_vfs::{
    Change as VfsChange, ChangeKind, ContentSummary as VfsContentSummary, FileSystemStatistics,
    RecoveryReport as VfsRecoveryReport, SetAttributes, SetTime, SnapshotInfo as VfsSnapshotInfo,
    SpaceReport as VfsSpaceReport, Timestamp, Vfs, VolumeInfo as VfsVolumeInfo,
};
use napi::bindgen_prelude::{Float64Array, Uint8Array};
use napi_derive::napi;

/// Names as JavaScript sees them. One that is no UTF-8 shows U+FFFD where it is not.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[allow(clippy::cast_precision_loss)]
fn count(value: u64) -> f64 {
    value as f64
}

#[allow(clippy::cast_precision_loss)]
pub(crate) fn millis(time: Timestamp) -> f64 {
    time.as_millis() as f64
}

/// Who asks.
#[napi(object)]
pub struct UserNumbers {
    /// Effective user; 0 is the superuser.
    pub uid: f64,
    /// Effective group.
    pub gid: f64,
    /// Supplementary groups.
    pub groups: Vec<f64>,
    /// Bits that new files do not get.
    pub umask: f64,
}

/// How a store is opened.
#[napi(object)]
#[derive(Default)]
pub struct OpenOptions {
    /// Bytes of clean pages kept in memory.
    pub cache_bytes: Option<f64>,
    /// Refuse all changes.
    pub read_only: Option<bool>,
    /// Free nothing before `reap` or `mount`.
    pub waiting: Option<bool>,
}

/// Where the bytes of a store went.
#[napi(object)]
pub struct SpaceReport {
    /// Reached by some live tree or snapshot.
    pub live_bytes: f64,
    /// Given to segments.
    pub segment_bytes: f64,
    /// Given to pages.
    pub page_bytes: f64,
    /// Segments.
    pub segments: f64,
    /// Reached by snapshots only.
    pub snapshot_bytes: f64,
}

impl From<VfsSpaceReport> for SpaceReport {
    fn from(report: VfsSpaceReport) -> Self {
        Self {
            live_bytes: count(report.live_bytes),
            segment_bytes: count(report.segment_bytes),
            page_bytes: count(report.page_bytes),
            segments: count(report.segments),
            snapshot_bytes: count(report.snapshot_bytes),
        }
    }
}

/// What the store accepts.
#[napi(object)]
pub struct Health {
    /// Why no changes are accepted until the store is opened again; null if they are.
    #[napi(ts_type = "string | null")]
    pub failure: napi::Either<String, napi::bindgen_prelude::Null>,
    /// The disk is full: only what frees space is accepted.
    pub full: bool,
}

impl From<&Vfs> for Health {
    fn from(vfs: &Vfs) -> Self {
        Self {
            failure: or_null(vfs.failure()),
            full: vfs.is_full(),
        }
    }
}

/// What opening the store found in the log.
#[napi(object)]
pub struct RecoveryReport {
    /// Changes that were in the log only.
    pub records: f64,
    /// Their bytes in the log.
    pub bytes: f64,
    /// Bytes of files that were put back from their copy in the log.
    pub restored_bytes: f64,
    /// Why the rest of the log could not be used; null if there was none.
    #[napi(ts_type = "string | null")]
    pub stopped: napi::Either<String, napi::bindgen_prelude::Null>,
}

impl From<&VfsRecoveryReport> for RecoveryReport {
    fn from(report: &VfsRecoveryReport) -> Self {
        Self {
            records: count(report.records),
            bytes: count(report.bytes),
            restored_bytes: count(report.restored),
            stopped: or_null(report.stopped.clone()),
        }
    }
}

/// A volume.
#[napi(object)]
pub struct VolumeInfo {
    /// Its path in the namespace.
    pub path: String,
    /// Its live view.
    pub view: u32,
    /// The inode of its root directory.
    pub inode: f64,
    /// For a clone: the view of its snapshot.
    #[napi(ts_type = "number | null")]
    pub origin: napi::Either<u32, napi::bindgen_prelude::Null>,
    /// When it was made.
    pub created_ms: f64,
    /// Inodes in it.
    pub inodes: f64,
    /// Bytes that its live tree reaches.
    pub bytes: f64,
}

impl From<VfsVolumeInfo> for VolumeInfo {
    fn from(info: VfsVolumeInfo) -> Self {
        Self {
            path: text(&info.path),
            view: info.root.view().0,
            inode: inode_number(info.root),
            origin: or_null(info.origin),
            created_ms: millis(info.created),
            inodes: count(info.inodes),
            bytes: count(info.bytes),
        }
    }
}

fn or_null<T>(value: Option<T>) -> napi::Either<T, napi::bindgen_prelude::Null> {
    value.map_or(
        napi::Either::B(napi::bindgen_prelude::Null),
        napi::Either::A,
    )
}

/// A snapshot of a directory.
#[napi(object)]
pub struct SnapshotInfo {
    /// Its name.
    pub name: String,
    /// The snapshot's view.
    pub view: u32,
    /// The directory in it.
    pub inode: f64,
    /// When it was taken.
    pub created_ms: f64,
    /// The last epoch in it.
    pub epoch: f64,
}

impl From<VfsSnapshotInfo> for SnapshotInfo {
    fn from(info: VfsSnapshotInfo) -> Self {
        Self {
            name: text(&info.name),
            view: info.root.view().0,
            inode: inode_number(info.root),
            created_ms: millis(info.created),
            epoch: count(info.epoch),
        }
    }
}

/// One difference between two states of a directory tree.
#[napi(object)]
pub struct Change {
    /// `created`, `deleted`, `modified` or `renamed`.
    pub kind: String,
    /// As `DT_*`.
    pub file_kind: u32,
    /// Relative to the directory.
    pub path: String,
    /// For a rename: the new path.
    #[napi(ts_type = "string | null")]
    pub target: napi::Either<String, napi::bindgen_prelude::Null>,
    /// The inode.
    pub inode: f64,
}

impl From<VfsChange> for Change {
    fn from(change: VfsChange) -> Self {
        let kind = match change.kind {
            ChangeKind::Created => "created",
            ChangeKind::Deleted => "deleted",
            ChangeKind::Modified => "modified",
            ChangeKind::Renamed => "renamed",
        };
        Self {
            kind: kind.to_owned(),
            file_kind: change.file_kind as u32,
            path: text(&change.path),
            target: or_null(change.target.as_deref().map(text)),
            inode: count(change.inode),
        }
    }
}

/// What to change; fields left out stay.
#[napi(object)]
pub struct AttributeChange {
    /// Permission bits.
    pub mode: Option<f64>,
    /// Owner.
    pub uid: Option<f64>,
    /// Group.
    pub gid: Option<f64>,
    /// Length.
    pub size: Option<f64>,
    /// Last access, in milliseconds; fractions count.
    pub atime_ms: Option<f64>,
    /// Last change of the bytes, in milliseconds; fractions count.
    pub mtime_ms: Option<f64>,
    /// HDFS replication.
    pub replication: Option<f64>,
    /// HDFS block size.
    pub block_size: Option<f64>,
    /// HDFS: snapshots are allowed here.
    pub snapshottable: Option<bool>,
}

impl AttributeChange {
    /// The change for the core, every number checked.
    pub(crate) fn checked(&self) -> Result<SetAttributes> {
        Ok(SetAttributes {
            mode: self.mode.map(whole32).transpose()?,
            uid: self.uid.map(whole32).transpose()?,
            gid: self.gid.map(whole32).transpose()?,
            size: self.size.map(whole).transpose()?,
            atime: self.atime_ms.map(time).transpose()?,
            mtime: self.mtime_ms.map(time).transpose()?,
            replication: self.replication.map(whole16).transpose()?,
            block_size: self.block_size.map(whole).transpose()?,
            snapshottable: self.snapshottable,
        })
    }
}

/// A time in milliseconds, to the microsecond: more is noise in a number of this size.
#[allow(clippy::cast_precision_loss)]
fn time(millis: f64) -> Result<SetTime> {
    let seconds = signed((millis / 1000.0).floor())?;
    let within = (millis - seconds as f64 * 1000.0) * 1000.0;
    let micros = (within.round() as u32).min(999_999);
    Ok(SetTime::At(Timestamp {
        seconds,
        nanoseconds: micros * 1000,
    }))
}

/// Figures of the store, as `statfs` reports them.
#[napi(object)]
pub struct Statistics {
    /// Capacity of the file system below.
    pub total_bytes: f64,
    /// Free there.
    pub free_bytes: f64,
    /// Free for an ordinary user.
    pub available_bytes: f64,
    /// Inodes in the volume.
    pub inodes: f64,
    /// Bytes that the volume reaches.
    pub volume_bytes: f64,
}

impl From<FileSystemStatistics> for Statistics {
    fn from(figures: FileSystemStatistics) -> Self {
        Self {
            total_bytes: count(figures.total_bytes),
            free_bytes: count(figures.free_bytes),
            available_bytes: count(figures.available_bytes),
            inodes: count(figures.inodes),
            volume_bytes: count(figures.volume_bytes),
        }
    }
}

/// Sums over a subtree.
#[napi(object)]
pub struct ContentSummary {
    /// Bytes of files.
    pub length: f64,
    /// Files and symbolic links.
    pub files: f64,
    /// Directories.
    pub directories: f64,
    /// Length times replication.
    pub space_consumed: f64,
}

impl From<VfsContentSummary> for ContentSummary {
    fn from(summary: VfsContentSummary) -> Self {
        Self {
            length: count(summary.length),
            files: count(summary.files),
            directories: count(summary.directories),
            space_consumed: count(summary.space_consumed),
        }
    }
}

/// A part of a directory.
#[napi(object)]
pub struct Listing {
    /// The names, in order.
    pub names: Vec<String>,
    /// One kind per name.
    pub kinds: Uint8Array,
    /// 21 numbers per name, or none.
    pub attributes: Float64Array,
    /// Whether more follow.
    pub more: bool,
}

/// How a store is mounted.
#[napi(object)]
pub struct MountOptions {
    /// Other users may look.
    pub allow_other: bool,
    /// Nobody may change anything.
    pub read_only: bool,
    /// Who keeps the mount while no daemon serves it.
    pub holder: Option<MountHolder>,
}

/// Who keeps a mount while no daemon serves it.
#[napi(object)]
pub struct MountHolder {
    /// The program.
    pub program: String,
    /// The directory of the store.
    pub directory: String,
    /// How long it waits for a daemon.
    pub timeout_seconds: u32,
}
