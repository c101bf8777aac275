//! The life of a mount.
//!
//! Invariants:
//! - The kernel's caches are told of changes from before the first request is served until after
//!   the last one.
//! - A mount ends once, whoever ends it: [`Mount::unmount`], dropping it, or `umount` outside; all
//!   who wait for the end hear of it.

use crate::adapter::{Adapter, CachesSlot, REQUEST_BYTES_MAX};
use crate::device::{self, Attached};
use crate::error::{FaultHook, Faults, MountError};
use crate::mount_table;
use crate::notify::KernelCaches;
use fuser::{Config, Session, SessionACL};
use lockstep_vfs::Vfs;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Threads that answer requests: see `docs/design/0004-fuse-threads.md`.
pub const THREADS_DEFAULT: usize = 2;
const THREADS_MAX: usize = 64;
/// How long the end of a session is waited for after its mount is gone.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// The next mount's number, as changes made through it are marked with.
static NEXT_ORIGIN: AtomicU32 = AtomicU32::new(1);

/// How a store is mounted.
#[derive(Clone)]
pub struct MountOptions {
    /// Other users may use the mount, too. Only root may ask for this, unless the machine's
    /// `/etc/fuse.conf` allows it.
    pub allow_other: bool,
    /// Refuse every change.
    pub read_only: bool,
    /// What `mount` and `df` show as the source.
    pub source: String,
    /// Threads that answer requests, 1 to 64.
    pub threads: usize,
    /// Hears of requests that failed because the engine did; standard error if there is none.
    pub faults: Option<FaultHook>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            allow_other: false,
            read_only: false,
            source: "lockstep".to_owned(),
            threads: THREADS_DEFAULT,
            faults: None,
        }
    }
}

/// Mounts a store on the empty directory `path` and serves it until the mount ends.
///
/// A dead mount of a store that is still there (its server was killed) is removed first.
///
/// # Errors
/// [`MountError`]; nothing is left mounted.
#[allow(clippy::needless_pass_by_value)] // The mount keeps the store alive: it takes a share.
pub fn mount(vfs: Arc<Vfs>, path: &Path, options: &MountOptions) -> Result<Mount, MountError> {
    check(options)?;
    let point = prepare(path)?;
    let attached = device::attach(&point, options)?;
    let device = match mount_table::at(&point) {
        Ok(Some(entry)) => entry.device(),
        Ok(None) => {
            return Err(MountError::Io {
                path: point,
                source: gone(),
            });
        }
        Err(source) => {
            return Err(MountError::Io {
                path: point,
                source,
            });
        }
    };
    match serve(&vfs, point.clone(), device, attached, options) {
        Ok(mount) => Ok(mount),
        Err(source) => {
            // The first error is the one to report.
            let _ = device::detach(&point, device, &AtomicU64::new(0));
            Err(MountError::Io {
                path: point,
                source,
            })
        }
    }
}

fn gone() -> io::Error {
    io::Error::from_raw_os_error(libc::ENOENT)
}

fn check(options: &MountOptions) -> Result<(), MountError> {
    if !(1..=THREADS_MAX).contains(&options.threads) {
        return Err(MountError::Option("threads must be 1 to 64"));
    }
    let source = &options.source;
    if source.is_empty()
        || source
            .bytes()
            .any(|b| b < b' ' || matches!(b, b',' | b'\\'))
    {
        return Err(MountError::Option(
            "the source must be printable, without `,` and `\\`",
        ));
    }
    Ok(())
}

/// The place to mount on: an empty directory with nothing mounted on it.
fn prepare(path: &Path) -> Result<PathBuf, MountError> {
    let point = mount_table::canonical(path).map_err(|error| unusable(path, error))?;
    let failed = |source| MountError::Io {
        path: point.clone(),
        source,
    };
    // A store can be mounted over itself as often as its servers died: bounded all the same.
    for _ in 0..16 {
        let Some(entry) = mount_table::at(&point).map_err(failed)? else {
            break;
        };
        let dead = is_dead(&point, &entry);
        if !dead {
            let reason = "something is mounted there: unmount it or choose another directory";
            return Err(MountError::Busy {
                path: point,
                reason,
            });
        }
        if !entry.is_ours() {
            return Err(MountError::Stale {
                path: point,
                file_system: entry.file_system,
            });
        }
        if device::remove_stale(&point).is_err() {
            return Err(MountError::Stale {
                path: point,
                file_system: entry.file_system,
            });
        }
    }
    let mut entries = std::fs::read_dir(&point).map_err(|error| unusable(&point, error))?;
    if entries.next().is_some() {
        let reason = "the directory is not empty: its files would be hidden";
        return Err(MountError::Busy {
            path: point,
            reason,
        });
    }
    Ok(point)
}

/// Whether nobody serves the mount any more. The attributes of a dead mount of ours may still be
/// answered from the kernel's cache, its statistics never are.
fn is_dead(point: &Path, entry: &mount_table::MountEntry) -> bool {
    let unserved = Some(libc::ENOTCONN);
    std::fs::symlink_metadata(point).is_err_and(|error| error.raw_os_error() == unserved)
        || (entry.is_ours()
            && rustix::fs::statfs(point).is_err_and(|errno| Some(errno.raw_os_error()) == unserved))
}

fn unusable(path: &Path, error: io::Error) -> MountError {
    let path = path.to_path_buf();
    match error.raw_os_error() {
        Some(libc::ENOENT) => MountError::MountPoint {
            path,
            reason: "it does not exist",
        },
        Some(libc::ENOTDIR) => MountError::MountPoint {
            path,
            reason: "it is not a directory",
        },
        Some(libc::EACCES | libc::EPERM) => MountError::Denied {
            path,
            reason: "no permission to open the directory".to_owned(),
        },
        _ => MountError::Io {
            path,
            source: error,
        },
    }
}

fn serve(
    vfs: &Arc<Vfs>,
    point: PathBuf,
    device: (u32, u32),
    attached: Attached,
    options: &MountOptions,
) -> io::Result<Mount> {
    let origin = NEXT_ORIGIN.fetch_add(1, Ordering::Relaxed);
    let store = Arc::clone(vfs);
    let broken = Box::new(move || store.fail_stop("a request of the mount panicked"));
    let faults = Arc::new(Faults::new(options.faults.clone(), broken));
    let slot: CachesSlot = Arc::new(OnceLock::new());
    let adapter = Adapter::new(
        Arc::clone(vfs),
        origin,
        Arc::clone(&faults),
        Arc::clone(&slot),
        options.threads,
    );
    let written_back = Arc::clone(&adapter.written_back);
    let acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    let mut config = Config::default();
    config.acl = acl;
    config.n_threads = Some(options.threads);
    config.clone_fd = options.threads > 1 && !attached.by_helper;
    let session = Session::from_fd(adapter, attached.device, acl, config)?;
    let caches = KernelCaches::new(session.notifier(), point.clone(), faults)?;
    let end = MountEnd(Arc::default());
    vfs.observe(origin, Arc::clone(&caches) as _);
    // Set once, here.
    let _ = slot.set(caches);
    let ended = end.clone();
    let run = std::thread::Builder::new().name("lockstep-fuse".to_owned());
    let started = run.spawn({
        let vfs = Arc::clone(vfs);
        move || {
            let served = session.run();
            vfs.unobserve(origin);
            ended.set(served.map_err(|error| error.to_string()));
        }
    });
    if let Err(error) = started {
        vfs.unobserve(origin);
        return Err(error);
    }
    // Without it the kernel reads ahead less, and that is all.
    let _ = device::set_read_ahead(device, REQUEST_BYTES_MAX as usize);
    Ok(Mount {
        point,
        device,
        end,
        written_back,
    })
}

/// A mounted store. Dropping it unmounts it.
pub struct Mount {
    point: PathBuf,
    device: (u32, u32),
    end: MountEnd,
    written_back: Arc<AtomicU64>,
}

impl Mount {
    /// Where the store is mounted: absolute, without links.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// To wait for the end of the mount on another thread.
    pub fn end(&self) -> MountEnd {
        self.end.clone()
    }

    /// Unmounts. Never waits for those who use the mount: if there are any, what they changed
    /// through mappings is written out, the mount is detached, and they get an error from then on.
    ///
    /// # Errors
    /// [`MountError`] if the mount is still there.
    pub fn unmount(self) -> Result<(), MountError> {
        self.take_away()
    }

    fn take_away(&self) -> Result<(), MountError> {
        if self.end.has_ended() {
            return Ok(());
        }
        device::detach(&self.point, self.device, &self.written_back).map_err(|source| {
            MountError::Io {
                path: self.point.clone(),
                source,
            }
        })?;
        // An ordinary user cannot cut the connection of a busy mount: those who use it are then
        // served until they, or this process, end.
        self.end.wait_for(END_TIMEOUT);
        Ok(())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // There is nobody to tell; the process's end takes the mount away in any case.
        let _ = self.take_away();
    }
}

/// What is known of the end of a mount.
#[derive(Default)]
struct EndState {
    /// Once it has ended: what went wrong, if anything did.
    ended: Mutex<Option<Result<(), String>>>,
    changed: Condvar,
}

/// Waits for the end of a mount: an unmount, or the kernel closing the connection.
#[derive(Clone)]
pub struct MountEnd(Arc<EndState>);

impl MountEnd {
    /// Blocks until the mount has ended. `Some` says what went wrong; an unmount is no error.
    pub fn wait(&self) -> Option<String> {
        let mut ended = self.0.ended.lock();
        loop {
            if let Some(how) = &*ended {
                return how.clone().err();
            }
            self.0.changed.wait(&mut ended);
        }
    }

    /// Whether the mount has ended.
    pub fn has_ended(&self) -> bool {
        self.0.ended.lock().is_some()
    }

    fn wait_for(&self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut ended = self.0.ended.lock();
        while ended.is_none() {
            if self.0.changed.wait_until(&mut ended, until).timed_out() {
                return;
            }
        }
    }

    fn set(&self, how: Result<(), String>) {
        *self.0.ended.lock() = Some(how);
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_are_refused() {
        for source in ["", "a,b", "a\\b", "a\nb", "a\0"] {
            let options = MountOptions {
                source: source.to_owned(),
                ..MountOptions::default()
            };
            assert_eq!(check(&options).unwrap_err().code(), "EINVAL");
        }
        for threads in [0, 65] {
            let options = MountOptions {
                threads,
                ..MountOptions::default()
            };
            assert_eq!(check(&options).unwrap_err().code(), "EINVAL");
        }
        assert!(check(&MountOptions::default()).is_ok());
    }

    #[test]
    fn a_mount_point_must_be_an_empty_directory() {
        let dir = tempfile::tempdir().unwrap();
        let code = |path: &Path| prepare(path).unwrap_err().code();
        assert_eq!(
            code(&dir.path().join("missing")),
            "ERR_LOCKSTEP_MOUNT_POINT"
        );
        std::fs::write(dir.path().join("file"), b"x").unwrap();
        assert_eq!(code(&dir.path().join("file")), "ERR_LOCKSTEP_MOUNT_POINT");
        assert_eq!(code(dir.path()), "ERR_LOCKSTEP_MOUNT_BUSY");
        assert_eq!(code(Path::new("/proc")), "ERR_LOCKSTEP_MOUNT_BUSY");
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(prepare(&dir.path().join("empty")).is_ok());
    }

    #[test]
    fn everybody_hears_of_the_end() {
        let end = MountEnd(Arc::default());
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                let end = end.clone();
                std::thread::spawn(move || end.wait())
            })
            .collect();
        assert!(!end.has_ended());
        end.set(Ok(()));
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), None);
        }
        assert!(end.has_ended());
    }
}
