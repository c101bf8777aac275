//! Inode and dentry records: the values under [`crate::key::inode`] and [`crate::key::dentry`].

use crate::catalog::{take_inode, take_view};
use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{InodeId, ViewId};

/// What an inode is. The numbers are part of the format and equal `DT_*` of `readdir(3)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FileKind {
    /// A named pipe.
    Fifo = 1,
    /// A character device.
    CharDevice = 2,
    /// A directory.
    Directory = 4,
    /// A block device.
    BlockDevice = 6,
    /// A regular file.
    File = 8,
    /// A symbolic link.
    Symlink = 10,
    /// A socket.
    Socket = 12,
}

impl FileKind {
    /// The kind for a number read from disk.
    pub fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Fifo,
            2 => Self::CharDevice,
            4 => Self::Directory,
            6 => Self::BlockDevice,
            8 => Self::File,
            10 => Self::Symlink,
            12 => Self::Socket,
            _ => return None,
        })
    }
}

/// Nanoseconds since 1970, split as in `struct timespec`. Ordered by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    /// Seconds, negative before 1970.
    pub seconds: i64,
    /// Nanoseconds within the second, below 1,000,000,000.
    pub nanoseconds: u32,
}

impl Timestamp {
    /// Milliseconds since 1970, rounded down (what HDFS speaks).
    pub fn as_millis(self) -> i64 {
        self.seconds
            .saturating_mul(1000)
            .saturating_add(i64::from(self.nanoseconds / 1_000_000))
    }

    /// From milliseconds since 1970.
    pub fn from_millis(millis: i64) -> Self {
        Self {
            seconds: millis.div_euclid(1000),
            nanoseconds: millis.rem_euclid(1000) as u32 * 1_000_000,
        }
    }
}

/// Everything about a file but its name, its bytes and its extended attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inode {
    /// File, directory, ...
    pub kind: FileKind,
    /// Permission bits with set-id and sticky, `0o7777` at most.
    pub mode: u32,
    /// Names of this inode; a directory has 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes; of a directory: its number of entries; of a symbolic link: of its target.
    pub size: u64,
    /// Bytes that extents cover (holes excluded); inline bytes count.
    pub allocated: u64,
    /// Device number of a device inode.
    pub rdev: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// The directory that holds this directory; of a file, the one it was last given a name in.
    pub parent: InodeId,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the bytes.
    pub mtime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Birth.
    pub btime: Timestamp,
    /// HDFS block size in bytes; 0 = the store's default.
    pub block_size: u64,
    /// HDFS replication as asked for (informative); 0 = the store's default.
    pub replication: u16,
}

/// Bits of [`Inode::flags`].
pub mod flags {
    /// The bytes lie inside the tree, under [`crate::key::inline`].
    pub const INLINE: u32 = 1;
    /// The inode has at least one extended attribute.
    pub const HAS_XATTR: u32 = 2;
    /// The inode has an access ACL.
    pub const HAS_ACL: u32 = 4;
    /// The directory has, or had, a snapshot of its own: look for them under `.snapshot`.
    pub const HAS_SNAPSHOT: u32 = 8;
    /// HDFS: snapshots of this directory were allowed.
    pub const SNAPSHOTTABLE: u32 = 16;
    /// The file has, or had, more than one name: its `parent` may tell of one that is gone.
    pub const HAD_LINKS: u32 = 32;
}

const SAME_ATIME: u8 = 1;
const SAME_CTIME: u8 = 2;
const SAME_BTIME: u8 = 4;
const HAS_HDFS: u8 = 8;
const HAS_RDEV: u8 = 16;
const NLINK_ONE: u8 = 32;
const INODE_RECORD: &str = "inode";

fn put_time(encoder: &mut Encoder, time: Timestamp) {
    encoder.signed(time.seconds).u32(time.nanoseconds);
}

fn take_time(decoder: &mut Decoder<'_>) -> Result<Timestamp, FormatError> {
    let time = Timestamp {
        seconds: decoder.signed()?,
        nanoseconds: decoder.u32()?,
    };
    if time.nanoseconds >= 1_000_000_000 {
        return Err(decoder.invalid("nanoseconds"));
    }
    Ok(time)
}

impl Inode {
    /// The record's bytes: fields that repeat others are left out.
    pub fn encode(&self) -> Vec<u8> {
        let has_hdfs = self.block_size != 0 || self.replication != 0;
        let present = [
            (self.atime == self.mtime, SAME_ATIME),
            (self.ctime == self.mtime, SAME_CTIME),
            (self.btime == self.mtime, SAME_BTIME),
            (has_hdfs, HAS_HDFS),
            (self.rdev != 0, HAS_RDEV),
            (self.nlink == 1, NLINK_ONE),
        ];
        let bits = present
            .iter()
            .filter(|(set, _)| *set)
            .fold(0, |all, (_, bit)| all | bit);
        let mut encoder = Encoder::new();
        encoder
            .u8(self.kind as u8)
            .u8(bits)
            .varint(u64::from(self.mode));
        if self.nlink != 1 {
            encoder.varint(u64::from(self.nlink));
        }
        encoder
            .varint(u64::from(self.uid))
            .varint(u64::from(self.gid));
        encoder
            .varint(self.size)
            .varint(self.allocated)
            .varint(u64::from(self.flags));
        encoder.varint(self.parent.0);
        put_time(&mut encoder, self.mtime);
        for (time, bit) in [
            (self.atime, SAME_ATIME),
            (self.ctime, SAME_CTIME),
            (self.btime, SAME_BTIME),
        ] {
            if bits & bit == 0 {
                put_time(&mut encoder, time);
            }
        }
        if has_hdfs {
            encoder
                .varint(self.block_size)
                .varint(u64::from(self.replication));
        }
        if self.rdev != 0 {
            encoder.varint(u64::from(self.rdev));
        }
        encoder.finish()
    }

    /// Reads what [`Inode::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new(INODE_RECORD, bytes);
        let kind = FileKind::from_u8(decoder.u8()?).ok_or_else(|| decoder.invalid("kind"))?;
        let bits = decoder.u8()?;
        let mode = decoder.bounded("mode", 0o7777)? as u32;
        let nlink = if bits & NLINK_ONE == 0 {
            decoder.varint32("nlink")?
        } else {
            1
        };
        let uid = decoder.varint32("uid")?;
        let gid = decoder.varint32("gid")?;
        let size = decoder.bounded("size", crate::limits::FILE_BYTES_MAX)?;
        let allocated = decoder.bounded("allocated", crate::limits::FILE_BYTES_MAX)?;
        let flags = decoder.varint32("flags")?;
        let parent = take_inode(&mut decoder)?;
        let mtime = take_time(&mut decoder)?;
        let mut time_or_mtime = |bit: u8| {
            if bits & bit == 0 {
                take_time(&mut decoder)
            } else {
                Ok(mtime)
            }
        };
        let atime = time_or_mtime(SAME_ATIME)?;
        let ctime = time_or_mtime(SAME_CTIME)?;
        let btime = time_or_mtime(SAME_BTIME)?;
        let (block_size, replication) = if bits & HAS_HDFS == 0 {
            (0, 0)
        } else {
            (
                decoder.varint()?,
                decoder.bounded("replication", u64::from(u16::MAX))? as u16,
            )
        };
        let rdev = if bits & HAS_RDEV == 0 {
            0
        } else {
            decoder.varint32("rdev")?
        };
        decoder.end()?;
        Ok(Self {
            kind,
            mode,
            nlink,
            uid,
            gid,
            size,
            allocated,
            rdev,
            flags,
            parent,
            atime,
            mtime,
            ctime,
            btime,
            block_size,
            replication,
        })
    }
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dentry {
    /// The inode, in the directory's own volume unless `volume` says otherwise.
    pub inode: InodeId,
    /// The inode's kind, so that listing needs no inode.
    pub kind: FileKind,
    /// A volume attached under this name: the entry stands for that volume's root directory.
    pub volume: Option<ViewId>,
}

impl Dentry {
    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(self.kind as u8).varint(self.inode.0);
        if let Some(volume) = self.volume {
            encoder.varint(u64::from(volume.0));
        }
        encoder.finish()
    }

    /// Reads what [`Dentry::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        let mut decoder = Decoder::new("dentry", bytes);
        let kind = FileKind::from_u8(decoder.u8()?).ok_or_else(|| decoder.invalid("kind"))?;
        let inode = take_inode(&mut decoder)?;
        let volume = if decoder.is_empty() {
            None
        } else {
            Some(take_view(&mut decoder)?)
        };
        decoder.end()?;
        Ok(Self {
            inode,
            kind,
            volume,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_time() -> impl Strategy<Value = Timestamp> {
        (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanoseconds)| Timestamp {
            seconds,
            nanoseconds,
        })
    }

    proptest! {
        #[test]
        fn an_inode_round_trips(
            mode in 0..0o10000u32, nlink: u32, uid: u32, gid: u32, size in 0..=i64::MAX as u64,
            rdev: u32, times in proptest::array::uniform4(any_time()), same: bool,
            block_size: u64, replication: u16,
        ) {
            let [atime, mtime, ctime, btime] = if same { [times[0]; 4] } else { times };
            let inode = Inode {
                kind: FileKind::File, mode, nlink, uid, gid, size, allocated: size / 2, rdev,
                flags: 3, parent: InodeId(7), atime, mtime, ctime, btime, block_size, replication,
            };
            prop_assert_eq!(Inode::decode(&inode.encode()).unwrap(), inode);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = Inode::decode(&bytes);
            let _ = Dentry::decode(&bytes);
        }
    }

    #[test]
    fn a_dentry_round_trips_with_and_without_a_volume() {
        for volume in [None, Some(ViewId(9))] {
            let dentry = Dentry {
                inode: InodeId(300),
                kind: FileKind::Directory,
                volume,
            };
            assert_eq!(Dentry::decode(&dentry.encode()).unwrap(), dentry);
        }
    }
}
