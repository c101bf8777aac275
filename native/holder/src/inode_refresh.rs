//! Makes the kernel ask for the size of an inode that it caches.
//!
//! The kernel appends (`O_APPEND`) at the size that it knows. After another view changed a file
//! the cached size is marked as old, but an append does not look at the mark: it would fill the
//! page cache at the wrong place. So whoever changed the file makes the kernel ask again first,
//! through a file handle made of the inode number. Only the superuser may do that; other mounts
//! rely on the adapter, which drops such pages right after the write.
#![allow(unsafe_code)]

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;

/// `FILEID_INO64_GEN`: two words of inode number (high first) and one of generation.
const INODE_AND_GENERATION: libc::c_int = 0x81;

/// `struct file_handle` with room for three words.
#[repr(C)]
struct FileHandle {
    handle_bytes: libc::c_uint,
    handle_type: libc::c_int,
    words: [u32; 3],
}

/// Has the kernel fetch size and times of `node`, if it caches the node and holds them for old.
///
/// # Errors
/// `EPERM` if this does not work at all on this mount.
pub(crate) fn refresh(point: &Path, node: u64) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let root = rustix::fs::open(point, flags, Mode::empty())?;
    let mut handle = FileHandle {
        handle_bytes: size_of::<[u32; 3]>() as libc::c_uint,
        handle_type: INODE_AND_GENERATION,
        words: [(node >> 32) as u32, node as u32, 0],
    };
    // SAFETY: `handle` is laid out as the system call's `struct file_handle` with
    // `handle_bytes` bytes after its two fields, lives across the call, and is only read;
    // the result is a new descriptor that nobody else owns, or -1.
    let opened = unsafe {
        let result = libc::syscall(
            libc::SYS_open_by_handle_at,
            root.as_raw_fd(),
            std::ptr::from_mut(&mut handle),
            libc::O_PATH | libc::O_CLOEXEC,
        );
        (result >= 0).then(|| OwnedFd::from_raw_fd(result as i32))
    };
    let Some(inode) = opened else {
        let error = std::io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::IO));
    };
    let mask = StatxFlags::SIZE | StatxFlags::MTIME;
    rustix::fs::statx(&inode, "", AtFlags::EMPTY_PATH, mask).map(drop)
}
