//! Makes a small store that holds a record of every kind, and leaves it as a crash would.
//!
//!     cargo run -p lockstep-vfs --example format_store DIRECTORY
//!
//! `test/fixtures/make-format-store.ts` runs it and packs the result; every later version reads that.
//! The process ends by aborting: the log must hold what the second session did.

use lockstep_vfs::{
    Caller, FileKind, HandleId, NodeId, OpenFlags, SetAttributes, SetTime, StoreOptions, Timestamp,
    Vfs, VfsError, XattrMode,
};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

type Result<T> = std::result::Result<T, VfsError>;

const WRITE: OpenFlags = OpenFlags {
    read: true,
    write: true,
    append: false,
    truncate: true,
    exclusive: false,
    sync: false,
};
const MIB: u64 = 1 << 20;

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args().nth(1).ok_or("which directory?")?;
    let dir = Path::new(&dir);
    Vfs::create(dir)?;
    let maker = Maker::open(dir)?;
    maker.kinds_of_file()?;
    maker.attributes()?;
    maker.snapshots_and_volumes()?;
    // Reclaiming goes on in the background; what is buried is to be in the pages.
    std::thread::sleep(Duration::from_secs(3));
    maker.vfs.close()?;

    let maker = Maker::open(dir)?;
    // Past the commit that ends recovery, so that the log keeps what follows.
    std::thread::sleep(Duration::from_millis(1500));
    maker.log_only()?;
    std::process::abort();
}

/// Bytes that compress and that differ from place to place.
fn pattern(length: u64, seed: u64) -> Vec<u8> {
    (0..length)
        .map(|at| (at / 512 * 7 + at % 16 + seed) as u8)
        .collect()
}

struct Maker {
    vfs: Arc<Vfs>,
    root: Caller,
}

impl Maker {
    fn open(dir: &Path) -> Result<Self> {
        let root = Caller {
            umask: 0,
            ..Caller::root()
        };
        let vfs = Vfs::open(dir, &StoreOptions::default())?;
        Ok(Self { vfs, root })
    }

    fn node(&self, path: &str) -> Result<NodeId> {
        Ok(self.vfs.resolve(&self.root, path.as_bytes(), false)?.node)
    }

    fn place(&self, path: &str) -> Result<(NodeId, Vec<u8>)> {
        let (parent, name) = self.vfs.resolve_parent(&self.root, path.as_bytes())?;
        Ok((parent.node, name))
    }

    fn directory(&self, path: &str) -> Result<NodeId> {
        let (parent, name) = self.place(path)?;
        let made = self.vfs.make_directory(&self.root, parent, &name, 0o755)?;
        Ok(made.node)
    }

    fn create(&self, path: &str) -> Result<HandleId> {
        let (parent, name) = self.place(path)?;
        let made = self
            .vfs
            .create_file(&self.root, parent, &name, 0o644, WRITE)?;
        Ok(made.1)
    }

    fn file(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let handle = self.create(path)?;
        self.vfs.write(handle, 0, bytes)?;
        self.vfs.release(handle)
    }

    /// A file of `size` bytes, written at the given places only.
    fn sparse(&self, path: &str, size: u64, places: &[(u64, u64)]) -> Result<()> {
        let handle = self.create(path)?;
        for (at, length) in places {
            self.vfs.write(handle, *at, &pattern(*length, *at))?;
        }
        self.vfs.truncate(handle, size)?;
        self.vfs.release(handle)
    }

    fn remove(&self, path: &str) -> Result<()> {
        let (parent, name) = self.place(path)?;
        self.vfs.unlink(&self.root, parent, &name)
    }

    fn snapshot(&self, path: &str, name: &str) -> Result<()> {
        let directory = self.node(path)?;
        self.vfs
            .create_snapshot(&self.root, directory, name.as_bytes())?;
        Ok(())
    }

    fn rename_snapshot(&self, path: &str, from: &str, to: &str) -> Result<()> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        self.vfs
            .rename_snapshot(&self.root, self.node(path)?, from, to)
    }

    fn delete_snapshot(&self, path: &str, name: &str) -> Result<()> {
        let directory = self.node(path)?;
        self.vfs
            .delete_snapshot(&self.root, directory, name.as_bytes())
    }

    fn clone_of(&self, path: &str, snapshot: &str, to: &str) -> Result<()> {
        let (directory, (parent, name)) = (self.node(path)?, self.place(to)?);
        let snapshot = snapshot.as_bytes();
        self.vfs
            .create_clone(&self.root, directory, snapshot, parent, &name)?;
        Ok(())
    }

    fn volume(&self, path: &str) -> Result<()> {
        let (parent, name) = self.place(path)?;
        self.vfs.create_volume(&self.root, parent, &name)?;
        Ok(())
    }

    fn delete_volume(&self, path: &str) -> Result<()> {
        let (parent, name) = self.place(path)?;
        self.vfs.delete_volume(&self.root, parent, &name)
    }

    fn set(&self, path: &str, change: &SetAttributes) -> Result<()> {
        let node = self.node(path)?;
        self.vfs.set_attributes(&self.root, node, change)?;
        Ok(())
    }

    fn xattr(&self, path: &str, name: &str, value: &[u8]) -> Result<()> {
        let (node, name) = (self.node(path)?, name.as_bytes());
        self.vfs
            .set_xattr(&self.root, node, name, value, XattrMode::Set)
    }

    fn kinds_of_file(&self) -> Result<()> {
        self.directory("/kinds")?;
        self.file("/kinds/empty", b"")?;
        self.file("/kinds/inline", &pattern(100, 1))?;
        self.sparse("/kinds/inline-and-a-hole", 1500, &[(0, 10)])?;
        self.file("/kinds/one-chunk", &pattern(10_000, 2))?;
        self.file("/kinds/two-grains", &pattern(20_000, 3))?;
        self.file("/kinds/three-chunks", &pattern(2 * MIB + MIB / 2, 4))?;
        self.sparse(
            "/kinds/sparse",
            20 * MIB,
            &[(5000, 5000), (9 * MIB - 100, 200)],
        )?;
        let handle = self.create("/kinds/punched")?;
        self.vfs.write(handle, 0, &pattern(100_000, 5))?;
        self.vfs.punch_hole(handle, 30_000, 40_000)?;
        self.vfs.write(handle, 50_000, &pattern(5000, 6))?;
        self.vfs.release(handle)?;
        for (name, kind, rdev) in [
            ("fifo", FileKind::Fifo, 0),
            ("socket", FileKind::Socket, 0),
            ("null", FileKind::CharDevice, 0x0103),
            ("disk", FileKind::BlockDevice, 0x0800_0001),
        ] {
            let parent = self.node("/kinds")?;
            let name = name.as_bytes();
            self.vfs
                .make_node(&self.root, parent, name, kind, 0o600, rdev)?;
        }
        let kinds = self.node("/kinds")?;
        self.vfs
            .symlink(&self.root, kinds, b"link", b"../names/\xc3\xa9")?;
        let inline = self.node("/kinds/inline")?;
        self.vfs.link(&self.root, inline, kinds, b"inline-again")?;
        self.directory("/names")?;
        for name in ["A", "é", "中文", "with space", &"n".repeat(255)] {
            self.file(&format!("/names/{name}"), name.as_bytes())?;
        }
        for index in 0..150 {
            self.file(&format!("/names/{index:04}"), &pattern(index, index))?;
        }
        Ok(())
    }

    fn attributes(&self) -> Result<()> {
        self.directory("/attributes")?;
        self.file("/attributes/hdfs", &pattern(300, 7))?;
        self.set(
            "/attributes/hdfs",
            &SetAttributes {
                replication: Some(3),
                block_size: Some(64 * MIB),
                uid: Some(self.vfs.uid_of("nobody-of-this-machine")?),
                gid: Some(self.vfs.gid_of("group-of-nobody")?),
                ..SetAttributes::default()
            },
        )?;
        let time = |seconds, nanoseconds| {
            Some(SetTime::At(Timestamp {
                seconds,
                nanoseconds,
            }))
        };
        self.file("/attributes/old", b"1900")?;
        self.set(
            "/attributes/old",
            &SetAttributes {
                mode: Some(0o4755),
                uid: Some(1000),
                gid: Some(100),
                atime: time(1_000_000_000, 999_999_999),
                mtime: time(-2_208_988_800, 1),
                ..SetAttributes::default()
            },
        )?;
        self.xattr("/attributes/old", "user.small", b"value")?;
        self.xattr("/attributes/old", "user.empty", b"")?;
        self.xattr("/attributes/old", "trusted.large", &pattern(60_000, 8))?;
        self.xattr("/attributes", "user.of a directory", "é".as_bytes())?;
        let snapshottable = Some(true);
        self.set(
            "/attributes",
            &SetAttributes {
                snapshottable,
                ..SetAttributes::default()
            },
        )?;
        let list = access_list();
        self.xattr("/attributes/hdfs", "system.posix_acl_access", &list)?;
        self.xattr("/attributes", "system.posix_acl_default", &list)?;
        self.file("/attributes/inherits", b"an access list")
    }

    fn snapshots_and_volumes(&self) -> Result<()> {
        self.directory("/data")?;
        self.directory("/data/inner")?;
        self.file("/data/kept", &pattern(50_000, 9))?;
        self.file("/data/changed", &pattern(50_000, 10))?;
        self.file("/data/inner/deep", &pattern(40_000, 11))?;
        self.snapshot("/data", "first")?;
        self.snapshot("/data/inner", "nested")?;
        let handle = self.create("/data/changed")?;
        self.vfs.write(handle, 10_000, &pattern(60_000, 12))?;
        self.vfs.release(handle)?;
        self.remove("/data/inner/deep")?;
        self.snapshot("/data", "second")?;
        self.file("/data/kept", b"no longer")?;
        self.snapshot("/data", "short-lived")?;
        self.rename_snapshot("/data", "second", "renamed")?;
        self.delete_snapshot("/data", "short-lived")?;
        self.clone_of("/data", "first", "/clone")?;
        self.file("/clone/new", &pattern(9000, 13))?;
        self.remove("/clone/kept")?;
        self.volume("/volume")?;
        self.file("/volume/file", &pattern(30_000, 14))?;
        self.volume("/empty-volume")?;
        // A volume that is gone and whose snapshot lives on in a clone: it is buried.
        self.volume("/origin")?;
        self.file("/origin/file", &pattern(30_000, 15))?;
        let top = self.node("/origin")?;
        self.vfs.create_snapshot(&self.root, top, b"of-origin")?;
        self.clone_of("/origin", "of-origin", "/heir")?;
        self.delete_snapshot("/origin", "of-origin")?;
        self.delete_volume("/origin")?;
        self.volume("/doomed")?;
        for index in 0..50 {
            self.file(&format!("/doomed/{index}"), &pattern(3000, index))?;
        }
        Ok(())
    }

    /// Every operation of the log, and what only an unclean end leaves: an orphan, an active
    /// segment, a deleted volume that is not yet freed.
    fn log_only(&self) -> Result<()> {
        self.directory("/log")?;
        self.file("/log/inline", &pattern(200, 16))?;
        self.file("/log/chunk", &pattern(15_000, 17))?;
        self.vfs.sync()?;
        self.file("/log/not-synced", &pattern(5000, 18))?;
        self.remove("/names/0000")?;
        self.remove("/data/kept")?;
        self.snapshot("/log", "from-the-log")?;
        self.rename_snapshot("/log", "from-the-log", "renamed-in-the-log")?;
        self.file("/log/inline", b"after the snapshot")?;
        self.volume("/log/volume")?;
        self.file("/log/volume/file", &pattern(6000, 19))?;
        self.clone_of("/log", "renamed-in-the-log", "/log/clone")?;
        self.create("/log/orphan")?;
        self.remove("/log/orphan")?;
        self.delete_volume("/doomed")
    }
}

/// Bytes as Linux keeps them: the owner, user 1000, the group, the mask, others.
fn access_list() -> Vec<u8> {
    let none = u32::MAX;
    let entries: [(u16, u16, u32); 5] = [
        (1, 7, none),
        (2, 5, 1000),
        (4, 5, none),
        (0x10, 5, none),
        (0x20, 0, none),
    ];
    let mut bytes = 2_u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}
