//! A small file system of its own, which can really be full. Needs root and a mount of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

pub(crate) struct SmallDisk {
    point: PathBuf,
    _dir: TempDir,
}

fn run(program: &str, words: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

impl SmallDisk {
    /// A mounted file system of `mebibytes`; `None`, and a line that says so, where that cannot be.
    pub(crate) fn new(kind: &str, mebibytes: u64) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (image, point) = (dir.path().join("image"), dir.path().join("disk"));
        std::fs::create_dir(&point).unwrap();
        let file = std::fs::File::create(&image).unwrap();
        file.set_len(mebibytes << 20).unwrap();
        let (image, at) = (image.to_str().unwrap(), point.to_str().unwrap());
        let size = format!("size={mebibytes}m");
        let mounted = match kind {
            "tmpfs" => run("mount", &["-t", "tmpfs", "-o", &size, "none", at]),
            _ => {
                run(&format!("mkfs.{kind}"), &["-q", image])
                    && run("mount", &["-o", "loop", image, at])
            }
        };
        if !mounted {
            eprintln!("skipped on {kind}: needs root, mkfs.{kind} and a loop device");
            return None;
        }
        Some(Self { point, _dir: dir })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.point
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        run("umount", &["-l", self.point.to_str().unwrap()]);
    }
}
