//! System calls that no safe function offers.
#![allow(unsafe_code)]

use rustix::mm::{MapFlags, MsyncFlags, ProtFlags};
use std::ffi::{CStr, CString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A shared mapping of a file, gone when dropped.
pub struct Mapping {
    address: *mut std::ffi::c_void,
    length: usize,
}

impl Mapping {
    pub fn new(file: &File, length: usize) -> Self {
        let (protection, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
        let start = std::ptr::null_mut();
        // SAFETY: a new mapping at a place of the kernel's choice.
        let address =
            unsafe { rustix::mm::mmap(start, length, protection, flags, file, 0).unwrap() };
        Self { address, length }
    }

    /// A byte as it is now: others may change it at any time.
    pub fn byte(&self, at: usize) -> u8 {
        assert!(at < self.length);
        // SAFETY: inside the mapping, which lives as long as `self`.
        unsafe { self.address.cast::<u8>().add(at).read_volatile() }
    }

    pub fn set(&mut self, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= self.length);
        for (index, byte) in bytes.iter().enumerate() {
            // SAFETY: inside the mapping, which lives as long as `self`.
            unsafe {
                let address = self.address.cast::<u8>().add(at + index);
                address.write_volatile(*byte);
            }
        }
    }

    /// Writes changed pages back.
    pub fn sync(&self) {
        // SAFETY: the mapping lives as long as `self`.
        unsafe { rustix::mm::msync(self.address, self.length, MsyncFlags::SYNC).unwrap() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, unmapped once, and the address never left `self`.
        unsafe { rustix::mm::munmap(self.address, self.length).unwrap() }
    }
}

/// What `getxattr` answers when it is only asked for the size.
pub fn xattr_size(path: &Path, name: &CStr) -> isize {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    // SAFETY: two strings that end with NUL, and no buffer for the call to write to.
    unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), std::ptr::null_mut(), 0) }
}
