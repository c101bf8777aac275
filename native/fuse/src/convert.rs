//! Between FUSE's words and the words of `lockstep_vfs`.
//!
//! Invariant: times survive both ways, those before 1970 included. `fuser` hands a time before
//! 1970 over with its nanoseconds subtracted instead of added; [`timestamp`] undoes exactly that.

use fuser::{FileAttr, FileType, INodeNo, TimeOrNow};
use lockstep_vfs::{Attributes, FileKind, NodeId, OpenFlags, SetTime, Timestamp};
use std::time::{Duration, SystemTime};

/// How long the kernel may cache names and attributes: changes of others are pushed to it.
pub(crate) const TTL: Duration = Duration::from_secs(3600);
/// What may not be cached: names that stand for snapshots come and go without a push.
pub(crate) const NO_TTL: Duration = Duration::ZERO;
/// What `stat` calls the preferred size of an I/O, and the unit of `statfs`.
pub(crate) const BLOCK_BYTES: u32 = 4096;
/// The kernel opens a file to execute it (`__FMODE_EXEC`; not in any header for programs).
pub(crate) const OPEN_FOR_EXECUTION: i32 = 0x20;

/// The name of the directory that holds a directory's snapshots.
const SNAPSHOT_NAME: &[u8] = b".snapshot";

pub(crate) fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

pub(crate) fn ino(node: NodeId) -> INodeNo {
    INodeNo(node.0)
}

pub(crate) fn attributes(from: &Attributes) -> FileAttr {
    FileAttr {
        ino: ino(from.node),
        size: from.size,
        blocks: from.allocated.div_ceil(512),
        atime: system_time(from.atime),
        mtime: system_time(from.mtime),
        ctime: system_time(from.ctime),
        crtime: system_time(from.btime),
        kind: file_type(from.kind),
        perm: (from.mode & 0o7777) as u16,
        nlink: from.nlink,
        uid: from.uid,
        gid: from.gid,
        rdev: from.rdev,
        blksize: BLOCK_BYTES,
        flags: 0,
    }
}

/// How long the attributes of a node may be cached.
pub(crate) fn attribute_ttl(node: NodeId) -> Duration {
    if node.is_snapshot_directory() {
        NO_TTL
    } else {
        TTL
    }
}

/// How long the entry `name` of `parent` may be cached.
pub(crate) fn entry_ttl(parent: NodeId, name: &[u8]) -> Duration {
    if parent.is_snapshot_directory() || name == SNAPSHOT_NAME {
        NO_TTL
    } else {
        TTL
    }
}

pub(crate) fn file_type(kind: FileKind) -> FileType {
    match kind {
        FileKind::Fifo => FileType::NamedPipe,
        FileKind::CharDevice => FileType::CharDevice,
        FileKind::Directory => FileType::Directory,
        FileKind::BlockDevice => FileType::BlockDevice,
        FileKind::File => FileType::RegularFile,
        FileKind::Symlink => FileType::Symlink,
        FileKind::Socket => FileType::Socket,
    }
}

/// The kind that `mknod` may make, from the type bits of a mode.
pub(crate) fn node_kind(mode: u32) -> Option<FileKind> {
    match mode & libc::S_IFMT {
        0 | libc::S_IFREG => Some(FileKind::File),
        libc::S_IFIFO => Some(FileKind::Fifo),
        libc::S_IFCHR => Some(FileKind::CharDevice),
        libc::S_IFBLK => Some(FileKind::BlockDevice),
        libc::S_IFSOCK => Some(FileKind::Socket),
        _ => None,
    }
}

pub(crate) fn open_flags(flags: i32) -> OpenFlags {
    let access = flags & libc::O_ACCMODE;
    OpenFlags {
        read: access != libc::O_WRONLY,
        write: access != libc::O_RDONLY,
        append: flags & libc::O_APPEND != 0,
        truncate: flags & libc::O_TRUNC != 0,
        exclusive: flags & libc::O_EXCL != 0,
        // `O_SYNC` holds the bit of `O_DSYNC`; both promise the same here.
        sync: flags & libc::O_DSYNC != 0,
    }
}

pub(crate) fn set_time(time: TimeOrNow) -> SetTime {
    match time {
        TimeOrNow::Now => SetTime::Now,
        TimeOrNow::SpecificTime(time) => SetTime::At(timestamp(time)),
    }
}

/// What the kernel sent as (seconds, nanoseconds), from what `fuser` made of it.
fn timestamp(time: SystemTime) -> Timestamp {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => Timestamp {
            seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
            nanoseconds: after.subsec_nanos(),
        },
        Err(before) => {
            let before = before.duration();
            Timestamp {
                seconds: 0i64.saturating_sub_unsigned(before.as_secs()),
                nanoseconds: before.subsec_nanos(),
            }
        }
    }
}

fn system_time(time: Timestamp) -> SystemTime {
    let seconds = Duration::from_secs(time.seconds.unsigned_abs());
    let whole = if time.seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|whole| whole.checked_add(Duration::from_nanos(time.nanoseconds.into())))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `fuser` does with the kernel's two numbers.
    fn as_fuser_hands_over(seconds: i64, nanoseconds: u32) -> SystemTime {
        let distance = Duration::new(seconds.unsigned_abs(), nanoseconds);
        if seconds >= 0 {
            SystemTime::UNIX_EPOCH + distance
        } else {
            SystemTime::UNIX_EPOCH - distance
        }
    }

    #[test]
    fn times_survive_before_and_after_1970() {
        for (seconds, nanoseconds) in [
            (0, 0),
            (0, 1),
            (1_700_000_000, 999_999_999),
            (-1, 0),
            (-2, 700_000_000),
            (-1, 1),
        ] {
            let time = timestamp(as_fuser_hands_over(seconds, nanoseconds));
            assert_eq!((time.seconds, time.nanoseconds), (seconds, nanoseconds));
        }
    }

    #[test]
    fn times_are_given_to_the_kernel_unchanged() {
        let time = system_time(Timestamp {
            seconds: -2,
            nanoseconds: 700_000_000,
        });
        let before = SystemTime::UNIX_EPOCH.duration_since(time).unwrap();
        assert_eq!(before, Duration::from_millis(1300));
        system_time(Timestamp {
            seconds: i64::MIN,
            nanoseconds: 0,
        });
        system_time(Timestamp {
            seconds: i64::MAX,
            nanoseconds: 999_999_999,
        });
    }

    #[test]
    fn open_flags_are_understood() {
        let flags = open_flags(libc::O_WRONLY | libc::O_APPEND | libc::O_SYNC);
        assert!(!flags.read && flags.write && flags.append && flags.sync && !flags.truncate);
        let flags = open_flags(libc::O_RDWR | libc::O_DSYNC | libc::O_TRUNC);
        assert!(flags.read && flags.write && flags.sync && flags.truncate);
        assert!(open_flags(libc::O_RDONLY).read && !open_flags(libc::O_RDONLY).write);
    }

    #[test]
    fn names_that_stand_for_snapshots_are_not_cached() {
        let directory = NodeId(5);
        assert_eq!(entry_ttl(directory, b".snapshot"), NO_TTL);
        assert_eq!(entry_ttl(directory.snapshot_directory(), b"s1"), NO_TTL);
        assert_eq!(entry_ttl(directory, b"file"), TTL);
    }
}
