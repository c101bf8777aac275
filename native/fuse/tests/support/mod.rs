//! A store on a real mount, for the tests of this crate.
#![allow(dead_code, unreachable_pub)] // Every test file uses a part of it.
#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

pub mod raw;

use lockstep_fuse::{Fault, FaultHook, Mount, MountOptions, mount};
use lockstep_vfs::{Caller, HandleId, NodeId, OpenFlags, StoreOptions, Vfs};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// Drops in this order: the mount goes before the directory that it lies in.
pub struct Mounted {
    pub mount: Option<Mount>,
    pub vfs: Arc<Vfs>,
    pub faults: Arc<Mutex<Vec<Fault>>>,
    pub dir: TempDir,
}

/// Why mounts cannot be tried here, if they cannot.
pub fn unavailable() -> Option<&'static str> {
    if !Path::new("/dev/fuse").exists() {
        return Some("there is no /dev/fuse");
    }
    if !rustix::process::geteuid().is_root() {
        return Some("not root");
    }
    None
}

impl Mounted {
    /// A new store, mounted for everybody; `None` (and the reason is printed) where that is not
    /// possible.
    pub fn new() -> Option<Self> {
        Self::with(MountOptions {
            allow_other: true,
            ..MountOptions::default()
        })
    }

    pub fn with(options: MountOptions) -> Option<Self> {
        if let Some(reason) = unavailable() {
            eprintln!("skipped: {reason}");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let (store, point) = (dir.path().join("store"), dir.path().join("mnt"));
        Vfs::create(&store).unwrap();
        let vfs = Vfs::open(&store, &StoreOptions::default()).unwrap();
        std::fs::create_dir(&point).unwrap();
        let faults = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&faults);
        let hook: FaultHook = Arc::new(move |fault| into.lock().unwrap().push(fault.clone()));
        let options = MountOptions {
            faults: Some(hook),
            ..options
        };
        let mount = mount(Arc::clone(&vfs), &point, &options).unwrap();
        Some(Self {
            mount: Some(mount),
            vfs,
            faults,
            dir,
        })
    }

    pub fn point(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.point().join(name)
    }

    /// The node at a path, by the other view.
    pub fn node(&self, path: &str) -> NodeId {
        self.vfs
            .resolve(&Caller::root(), path.as_bytes(), false)
            .unwrap()
            .node
    }

    /// Opens by the other view.
    pub fn open(&self, path: &str, flags: OpenFlags) -> HandleId {
        self.vfs
            .open_file(&Caller::root(), self.node(path), flags)
            .unwrap()
    }

    /// Writes by the other view.
    pub fn write(&self, path: &str, offset: u64, bytes: &[u8]) {
        let handle = self.open(
            path,
            OpenFlags {
                write: true,
                ..OpenFlags::default()
            },
        );
        self.vfs.write(handle, offset, bytes).unwrap();
        self.vfs.release(handle).unwrap();
    }

    /// Creates by the other view, in the root directory.
    pub fn create(&self, name: &str, bytes: &[u8]) {
        let flags = OpenFlags {
            write: true,
            ..OpenFlags::default()
        };
        let (root, name) = (NodeId::ROOT, name.as_bytes());
        let (_, handle) = self
            .vfs
            .create_file(&Caller::root(), root, name, 0o644, flags)
            .unwrap();
        self.vfs.write(handle, 0, bytes).unwrap();
        self.vfs.release(handle).unwrap();
    }

    /// The bytes as the other view sees them.
    pub fn read(&self, path: &str) -> Vec<u8> {
        let handle = self.open(
            path,
            OpenFlags {
                read: true,
                ..OpenFlags::default()
            },
        );
        let size = self.vfs.handle_attributes(handle).unwrap().size;
        let mut bytes = vec![0; size as usize];
        assert_eq!(self.vfs.read(handle, 0, &mut bytes).unwrap(), bytes.len());
        self.vfs.release(handle).unwrap();
        bytes
    }

    /// Fails the test if a request met a failure of the engine.
    pub fn assert_no_faults(&self) {
        assert!(
            self.faults.lock().unwrap().is_empty(),
            "{:?}",
            self.faults.lock().unwrap()
        );
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_faults();
        }
        drop(self.mount.take());
        self.vfs.close().unwrap();
    }
}

/// The errno of a result that must have failed.
pub fn errno<T: std::fmt::Debug>(result: std::io::Result<T>) -> i32 {
    result.unwrap_err().raw_os_error().unwrap()
}

/// Runs a shell script as an ordinary user in `dir`; its output without the last newline, or
/// `Err` with what it said.
pub fn shell_as(uid: u32, dir: &Path, script: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", script])
        .current_dir(dir)
        .uid(uid)
        .gid(uid)
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout)
            .unwrap()
            .trim_end()
            .to_owned())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// Numbers that repeat only after a long time, so that misplaced bytes are seen.
pub fn pattern(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}
