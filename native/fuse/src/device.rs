//! The FUSE device and the system calls that put a mount in its place and take it away: the one
//! place that mounts, unmounts and aborts.
//!
//! Invariants:
//! - Taking a mount away never waits for the processes that use it: what cannot be unmounted is
//!   detached, and its connection is cut, so that they get an error instead of hanging.
//! - A mount is taken away only while the mount table says that it is the one we made.

use crate::MountOptions;
use crate::error::MountError;
use lockstep_holder::mount_table::{self, FILE_SYSTEM};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
use std::ffi::CString;
use std::fs::OpenOptions;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const DEVICE: &str = "/dev/fuse";
/// The set-user-id programs that mount for ordinary users, the usual one first.
const HELPERS: [&str; 2] = ["fusermount3", "fusermount"];
const WRITE_OUT_TIMEOUT: Duration = Duration::from_secs(2);
const QUIET: Duration = Duration::from_millis(50);
const HELPER_TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the kernel whose file system is mounted.
pub(crate) struct Attached {
    pub(crate) device: OwnedFd,
    /// Mounted by a helper program: this process may not open the device again.
    pub(crate) by_helper: bool,
}

/// Mounts on `point`: directly where that is allowed, else through `fusermount3`.
pub(crate) fn attach(point: &Path, options: &MountOptions) -> Result<Attached, MountError> {
    let device = match OpenOptions::new().read(true).write(true).open(DEVICE) {
        Ok(device) => OwnedFd::from(device),
        Err(source) => match source.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => return attach_by_helper(point, options),
            _ => return Err(MountError::NoFuse { source }),
        },
    };
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{}",
        device.as_raw_fd(),
        rustix::process::getuid().as_raw(),
        rustix::process::getgid().as_raw(),
        kernel_options(options),
    );
    let data = CString::new(data).map_err(|_| MountError::Option("a NUL byte"))?;
    let mut flags = MountFlags::NOSUID | MountFlags::NODEV;
    if options.read_only {
        flags |= MountFlags::RDONLY;
    }
    match rustix::mount::mount(&*options.source, point, FILE_SYSTEM, flags, &*data) {
        Ok(()) => Ok(Attached {
            device,
            by_helper: false,
        }),
        Err(Errno::PERM) => attach_by_helper(point, options),
        Err(errno) => Err(refused(point, errno)),
    }
}

/// Permission is checked by the kernel too: it walks cached names without asking us, so nobody
/// else could refuse a walk through a directory that the walker may not search.
fn kernel_options(options: &MountOptions) -> &'static str {
    if options.allow_other {
        ",default_permissions,allow_other"
    } else {
        ",default_permissions"
    }
}

fn refused(point: &Path, errno: Errno) -> MountError {
    let path = point.to_path_buf();
    match errno {
        Errno::BUSY => MountError::Busy {
            path,
            reason: "something else is mounted there",
        },
        Errno::NODEV => MountError::NoFuse {
            source: errno.into(),
        },
        Errno::ACCESS => MountError::Denied {
            path,
            reason: "the system refused".to_owned(),
        },
        Errno::NOENT => MountError::MountPoint {
            path,
            reason: "it does not exist",
        },
        Errno::NOTDIR => MountError::MountPoint {
            path,
            reason: "it is not a directory",
        },
        errno => MountError::Io {
            path,
            source: errno.into(),
        },
    }
}

/// The helper opens the device, mounts it, and sends the descriptor over a socket.
fn attach_by_helper(point: &Path, options: &MountOptions) -> Result<Attached, MountError> {
    let failed = |source| MountError::Io {
        path: point.to_path_buf(),
        source,
    };
    let denied = |reason: String| MountError::Denied {
        path: point.to_path_buf(),
        reason,
    };
    let list = format!(
        "{},nosuid,nodev,fsname={},subtype=lockstep{}",
        if options.read_only { "ro" } else { "rw" },
        options.source,
        kernel_options(options),
    );
    for helper in HELPERS {
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        ours.set_read_timeout(Some(HELPER_TIMEOUT))
            .map_err(failed)?;
        let spawned = Command::new(helper)
            .arg("-o")
            .arg(&list)
            .arg("--")
            .arg(point)
            // Its standard input is the socket: a number that every child has open.
            .env("_FUSE_COMMFD", "0")
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        let received = receive_descriptor(&ours).map_err(failed)?;
        let said = child.stderr.take().map(first_line).unwrap_or_default();
        child.wait().map_err(failed)?;
        return match received {
            Some(device) => Ok(Attached {
                device,
                by_helper: true,
            }),
            None => Err(denied(if said.is_empty() {
                format!("{helper} refused")
            } else {
                said
            })),
        };
    }
    Err(denied(
        "only root may mount; install fuse3 (fusermount3) for other users".to_owned(),
    ))
}

/// One descriptor, or `None` if the helper ended without sending one.
fn receive_descriptor(socket: &UnixStream) -> io::Result<Option<OwnedFd>> {
    let mut byte = [0u8];
    let mut space = [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    loop {
        let parts = &mut [IoSliceMut::new(&mut byte)];
        match rustix::net::recvmsg(socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }))
}

fn first_line(stderr: impl Read) -> String {
    let mut text = Vec::new();
    // What could be read of a message that only explains is as good as it gets.
    if stderr.take(4096).read_to_end(&mut text).is_err() {
        text.truncate(4096);
    }
    String::from_utf8_lossy(&text)
        .lines()
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// How a mount went away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Detached {
    /// Nobody used it.
    Clean,
    /// Somebody still did; the connection was cut where that is allowed.
    Busy,
    /// It was not there any more.
    Gone,
}

/// Takes the mount with this device number away from `point`. `written_back` counts the pages
/// that came back from mappings.
pub(crate) fn detach(
    point: &Path,
    device: (u32, u32),
    written_back: &AtomicU64,
) -> io::Result<Detached> {
    if mount_table::at(point)?.is_none_or(|entry| entry.device() != device) {
        return Ok(Detached::Gone);
    }
    match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
        Ok(()) => Ok(Detached::Clean),
        Err(Errno::INVAL | Errno::NOENT) => Ok(Detached::Gone),
        Err(Errno::PERM) => detach_by_helper(point),
        Err(Errno::BUSY) => {
            write_out(point, written_back);
            // Force cuts the connection, so that users of the mount get an error at once.
            let flags = UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
            rustix::mount::unmount(point, flags)?;
            Ok(Detached::Busy)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Pages that somebody changed through a mapping reach the store before the connection is cut.
/// `syncfs` sends them, and on FUSE does not wait for them: they have all come when none comes
/// any more.
fn write_out(point: &Path, written_back: &AtomicU64) {
    let until = Instant::now() + WRITE_OUT_TIMEOUT;
    let (point, (done, wait)) = (point.to_path_buf(), std::sync::mpsc::channel());
    let write = move || {
        let synced = std::fs::File::open(point).map(rustix::fs::syncfs);
        // Nobody waits any more if this took too long.
        let _ = done.send(synced.is_ok());
    };
    let thread = std::thread::Builder::new().name("lockstep-syncfs".to_owned());
    if thread.spawn(write).is_err() || wait.recv_timeout(WRITE_OUT_TIMEOUT).is_err() {
        return;
    }
    let mut seen = written_back.load(Ordering::Relaxed);
    while Instant::now() < until {
        std::thread::sleep(QUIET);
        let now = written_back.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}

fn detach_by_helper(point: &Path) -> io::Result<Detached> {
    for helper in HELPERS {
        let run = Command::new(helper)
            .args(["-u", "-z", "--"])
            .arg(point)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        match run {
            Ok(status) if status.success() => return Ok(Detached::Busy),
            Ok(_) => return Err(Errno::PERM.into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::PERM.into())
}

/// Takes away a mount that could not be served, by whichever way is allowed.
pub(crate) fn remove(point: &Path, device: (u32, u32)) {
    mount_table::take_away(point, device);
    // What is told is why it could not be served.
    let _ = detach(point, device, &AtomicU64::new(0));
}

/// Removes a mount whose server died.
pub(crate) fn remove_stale(point: &Path) -> io::Result<()> {
    match rustix::mount::unmount(point, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Err(Errno::PERM) => detach_by_helper(point).map(|_| ()),
        other => other.map_err(io::Error::from),
    }
}

/// Lets the kernel read `bytes` ahead on this mount. Only root may; nothing is lost without.
pub(crate) fn set_read_ahead(device: (u32, u32), bytes: usize) -> io::Result<()> {
    let path = format!("/sys/class/bdi/{}:{}/read_ahead_kb", device.0, device.1);
    std::fs::write(path, (bytes / 1024).to_string())
}
