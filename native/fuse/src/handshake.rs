//! The first words between kernel and server, with `fuser` in between.
//!
//! The kernel says INIT once in the life of a connection; `fuser` wants to hear it whenever a
//! session begins. So each session begins on a socket, over which it is told what the kernel said,
//! and is then put on the device.
//!
//! Invariant: nothing is read from the socket's descriptor once it stands for the device.
#![allow(unsafe_code)]

use fuser::{Config, Filesystem, Session, SessionACL};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// The kernel wants room for its smallest request, of which INIT is a small one.
const INIT_BYTES_MAX: usize = 8192;
/// `_IOR(229, 0, u32)`: makes a freshly opened device one more of a connection.
const CLONE: libc::Ioctl = 0x8004_e500_u32 as libc::Ioctl;

/// The kernel's first request on a new connection.
pub(crate) fn read_init(device: &OwnedFd) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; INIT_BYTES_MAX];
    loop {
        match rustix::io::read(device, &mut bytes) {
            Ok(count) => {
                bytes.truncate(count);
                return Ok(bytes);
            }
            Err(Errno::INTR | Errno::AGAIN | Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A session on `device` that has heard `init`, and what it answered.
pub(crate) fn begin<F: Filesystem>(
    server: F,
    device: &OwnedFd,
    init: &[u8],
    acl: SessionACL,
) -> io::Result<(Session<F>, Vec<u8>)> {
    let flags = SocketFlags::CLOEXEC;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::io::write(&ours, init)?;
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(1);
    let session = Session::from_fd(server, theirs, acl, config)?;
    let mut answer = vec![0; INIT_BYTES_MAX];
    let count = rustix::io::read(&ours, &mut answer)?;
    answer.truncate(count);
    // SAFETY: the session owns its descriptor and uses it for nothing but reading and writing; from
    // here on the number stands for another open file, and the session closes it all the same.
    let moved = unsafe {
        let to = session.as_fd().as_raw_fd();
        libc::dup3(device.as_raw_fd(), to, libc::O_CLOEXEC)
    };
    if moved < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok((session, answer))
}

/// One more descriptor of the same connection, with a queue of its own.
pub(crate) fn clone_device(device: &OwnedFd) -> io::Result<OwnedFd> {
    let clone = File::options().read(true).write(true).open("/dev/fuse")?;
    let source = device.as_raw_fd() as u32;
    // SAFETY: the request reads one `u32`, which lives across the call.
    let result = unsafe { libc::ioctl(clone.as_raw_fd(), CLONE, &raw const source) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(clone.into())
}
