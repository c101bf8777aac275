//! LMDB's writes and syncs, on their way to the kernel.
//!
//! LMDB is C code linked into this program and does its own I/O. The functions of the C library that
//! it does it with are defined here instead: for the page file of a simulated disk they count, record
//! and fail as the disk says; for any other file they are the system call.
//!
//! Invariants:
//! - Nothing else changes a page file: [`crate::disk::Disk::restart`] compares the file with what
//!   was recorded.
//! - No system call in this crate goes through the functions defined here (rustix calls the kernel
//!   itself), so none of them waits for the disk's lock while it is held.
#![allow(
    unsafe_code,
    reason = "defines functions of the C library, which take raw pointers and descriptors"
)]

use crate::disk::{Disk, Shared};
use parking_lot::RwLock;
use rustix::fd::BorrowedFd;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::io::IoSlice;
use std::path::Path;
use std::sync::{Arc, Weak};

type Number = (u64, u64);

#[derive(Clone)]
enum Watched {
    PageFile(Weak<Shared>),
    Folder(Weak<Shared>),
}

static WATCHED: RwLock<BTreeMap<Number, Watched>> = RwLock::new(BTreeMap::new());

/// Has the calls for a page file and its folder go to a disk, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch([Number; 2]);

impl Watch {
    pub(crate) fn new(folder: &Path, file: &Path, disk: &Disk) -> std::io::Result<Self> {
        let number = |path: &Path| rustix::fs::stat(path).map(|stat| (stat.st_dev, stat.st_ino));
        let numbers = [number(folder)?, number(file)?];
        let shared = || Arc::downgrade(&disk.0);
        let mut watched = WATCHED.write();
        watched.insert(numbers[0], Watched::Folder(shared()));
        watched.insert(numbers[1], Watched::PageFile(shared()));
        // Nothing else refers to them by name, and the linker takes only what is referred to.
        std::hint::black_box([pwrite as *const (), writev as *const ()]);
        std::hint::black_box([fdatasync as *const (), fsync as *const ()]);
        Ok(Self(numbers))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = WATCHED.write();
        for number in self.0 {
            watched.remove(&number);
        }
    }
}

fn watched(fd: BorrowedFd<'_>) -> Option<Watched> {
    let watched = WATCHED.read();
    if watched.is_empty() {
        return None;
    }
    let stat = rustix::fs::fstat(fd).ok()?;
    watched.get(&(stat.st_dev, stat.st_ino)).cloned()
}

fn page_file(fd: BorrowedFd<'_>) -> Option<Disk> {
    match watched(fd)? {
        Watched::PageFile(disk) => disk.upgrade().map(Disk),
        Watched::Folder(_) => None,
    }
}

/// The answer of a call as C has it.
fn answer(result: Result<usize, Errno>) -> isize {
    match result {
        Ok(count) => count as isize,
        Err(errno) => {
            // SAFETY: the C library's errno of this thread.
            unsafe { *libc::__errno_location() = errno.raw_os_error() };
            -1
        }
    }
}

fn write_pages(disk: &Disk, fd: BorrowedFd<'_>, bytes: &[u8], at: u64) -> Result<usize, Errno> {
    // Not `OFlags::DSYNC`, which rustix takes for the stronger `O_SYNC`.
    let through = rustix::fs::fcntl_getfl(fd)?.bits() & libc::O_DSYNC.cast_unsigned() != 0;
    disk.write_pages(fd, at, bytes, through)?;
    Ok(bytes.len())
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(fd: c_int, bytes: *const c_void, count: usize, at: i64) -> isize {
    // SAFETY: the caller's descriptor is open and its buffer holds `count` bytes.
    let (fd, bytes) = unsafe {
        let bytes = std::slice::from_raw_parts(bytes.cast::<u8>(), count);
        (BorrowedFd::borrow_raw(fd), bytes)
    };
    answer(match page_file(fd) {
        Some(disk) => write_pages(&disk, fd, bytes, at as u64),
        None => rustix::io::pwrite(fd, bytes, at as u64),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(fd: c_int, parts: *const IoSlice<'_>, count: c_int) -> isize {
    // SAFETY: the caller's descriptor is open and its `count` buffers are readable; an `IoSlice` is
    // laid out as an `iovec`.
    let (fd, parts) = unsafe {
        let parts = std::slice::from_raw_parts(parts, count as usize);
        (BorrowedFd::borrow_raw(fd), parts)
    };
    answer(match page_file(fd) {
        Some(disk) => rustix::fs::tell(fd).and_then(|at| {
            let parts: Vec<&[u8]> = parts.iter().map(|part| &**part).collect();
            write_pages(&disk, fd, &parts.concat(), at)
        }),
        None => rustix::io::writev(fd, parts),
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the caller's descriptor is open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let result = match page_file(fd) {
        Some(disk) => disk.sync_pages(),
        None => rustix::fs::fdatasync(fd),
    };
    answer(result.map(|()| 0)) as c_int
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the caller's descriptor is open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    let result = match watched(fd) {
        Some(Watched::PageFile(disk)) => disk
            .upgrade()
            .map_or(Ok(()), |disk| Disk(disk).sync_pages()),
        Some(Watched::Folder(disk)) => {
            if let Some(disk) = disk.upgrade() {
                Disk(disk).sync_page_folder();
            }
            Ok(())
        }
        None => rustix::fs::fsync(fd),
    };
    answer(result.map(|()| 0)) as c_int
}
