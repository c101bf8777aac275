//! What is mounted where, from `/proc/self/mountinfo`, and taking it away by force.
//!
//! Invariant: reading the table never touches a mounted file system, so a dead or hanging mount
//! cannot hang the reader.

use rustix::mount::UnmountFlags;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The type under which stores are mounted, as `mount` shows it.
pub const FILE_SYSTEM: &str = "fuse.lockstep";

/// One line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    major: u32,
    minor: u32,
    point: PathBuf,
    /// Its type.
    pub file_system: String,
    /// What is mounted, as `mount` shows it.
    pub source: String,
}

impl MountEntry {
    /// Whether this is a store's mount, whoever serves it.
    pub fn is_ours(&self) -> bool {
        self.file_system == FILE_SYSTEM
    }

    /// The device number of the mount, which no other mount has at the same time.
    pub fn device(&self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

/// The mount that is seen at `point`: the last one made there.
pub fn at(point: &Path) -> io::Result<Option<MountEntry>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(last_at(&table, point))
}

/// Takes a mount away without waiting for those who use it, and cuts its connection: they get an
/// error. Touches nothing of the mounted file system.
pub fn take_away(point: &Path, device: (u32, u32)) {
    if at(point).is_ok_and(|entry| entry.is_some_and(|entry| entry.device() == device)) {
        let flags = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
        // Where this is not allowed, cutting the connection may be.
        let _ = rustix::mount::unmount(point, flags);
    }
    // The connection ended with the mount, unless it was moved or may not be unmounted.
    let _ = abort(device);
}

/// Cuts the connection of a mount: all that waits for its daemon gets an error.
pub fn abort(device: (u32, u32)) -> io::Result<()> {
    std::fs::write(format!("/sys/fs/fuse/connections/{}/abort", device.1), "1")
}

fn last_at(table: &[u8], point: &Path) -> Option<MountEntry> {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(parse)
        .rfind(|entry| entry.point == point)
}

/// `36 35 98:0 /root /point options optional... - type source super-options`
fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = std::str::from_utf8(fields.nth(2)?).ok()?;
    let (major, minor) = device.split_once(':')?;
    let point = unescape(fields.nth(1)?);
    let mut after_dash = fields.skip_while(|field| *field != b"-").skip(1);
    let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
    Some(MountEntry {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        point: PathBuf::from(OsString::from_vec(point)),
        file_system: text(after_dash.next()?),
        source: text(after_dash.next()?),
    })
}

/// Space, tab, newline and backslash are written as `\ooo`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let digits = tail.get(..3).filter(|_| first == b'\\');
        let value = digits.and_then(|digits| {
            let text = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(text, 8).ok()
        });
        if let Some(value) = value {
            bytes.push(value);
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    bytes
}

/// The path with every link but a last one resolved, without looking at what is mounted there.
pub fn canonical(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    match (absolute.parent(), absolute.file_name()) {
        (Some(parent), Some(name)) if name.as_bytes() != b".." => {
            Ok(parent.canonicalize()?.join(name))
        }
        _ => absolute.canonicalize(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
        21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n\
        40 21 0:51 / /mnt/a\\040b rw,nosuid - fuse.lockstep lockstep rw,user_id=0\n\
        41 40 0:52 / /mnt/a\\040b rw shared:3 master:1 - tmpfs none rw\n\
        garbage\n\
        42 x\n";

    #[test]
    fn the_last_mount_at_a_point_is_found() {
        let entry = last_at(TABLE, Path::new("/mnt/a b")).unwrap();
        assert_eq!((entry.device(), &*entry.file_system), ((0, 52), "tmpfs"));
        assert!(last_at(TABLE, Path::new("/mnt/c")).is_none());
        assert!(!last_at(TABLE, Path::new("/")).unwrap().is_ours());
    }

    #[test]
    fn a_line_is_parsed() {
        let line = TABLE.split(|byte| *byte == b'\n').nth(1).unwrap();
        let entry = parse(line).unwrap();
        assert!(entry.is_ours());
        assert_eq!(&*entry.source, "lockstep");
        assert_eq!(entry.point, Path::new("/mnt/a b"));
    }

    #[test]
    fn broken_escapes_are_kept() {
        assert_eq!(unescape(b"a\\04"), b"a\\04");
        assert_eq!(unescape(b"a\\999b\\"), b"a\\999b\\");
        assert_eq!(unescape(b"\\134"), b"\\");
    }

    #[test]
    fn the_last_part_is_not_resolved() {
        let dir = tempfile::tempdir().unwrap();
        let real = dir.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("real")).unwrap();
        std::os::unix::fs::symlink("real", real.join("link")).unwrap();
        assert_eq!(
            canonical(&real.join("link/x")).unwrap(),
            real.join("real/x")
        );
        assert_eq!(canonical(&real.join("real/")).unwrap(), real.join("real"));
        assert!(canonical(&real.join("missing/x")).is_err());
    }
}
