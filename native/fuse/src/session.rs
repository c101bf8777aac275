//! The life of a mount.
//!
//! Invariants:
//! - The kernel's caches are told of changes from before the first request is served until after
//!   the last one.
//! - A mount ends once, whoever ends it: [`Mount::unmount`], dropping it, or `umount` outside; all
//!   who wait for the end hear of it.

use crate::adapter::{Adapter, CachesSlot, REQUEST_BYTES_MAX, Server};
use crate::connection::Connection;
use crate::device;
use crate::directory::Directories;
use crate::error::{FaultHook, Faults, MountError};
use crate::handshake;
use crate::notify::KernelCaches;
use fuser::{Session, SessionACL};
use lockstep_holder::{Notice, deliver, mount_table};
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
    /// Keeps the mount while no daemon serves it; none: the mount ends with this process.
    pub holder: Option<HolderOptions>,
    /// Hears of requests that failed because the engine did; standard error if there is none.
    pub faults: Option<FaultHook>,
}

/// Who keeps a mount while no daemon serves it.
#[derive(Clone, Debug)]
pub struct HolderOptions {
    /// The program `lockstep-holder`.
    pub program: PathBuf,
    /// The directory of the store, where it is found by the next daemon.
    pub directory: PathBuf,
    /// How long it waits for a daemon before it takes the mount away.
    pub timeout_seconds: u32,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            allow_other: false,
            read_only: false,
            source: "lockstep".to_owned(),
            threads: THREADS_DEFAULT,
            holder: None,
            faults: None,
        }
    }
}

/// Mounts a store on the empty directory `path` and serves it until the mount ends. With a holder,
/// a mount of the store that outlived its daemon is served on.
///
/// A dead mount of a store that is still there (its server was killed) is removed first.
///
/// # Errors
/// [`MountError`]; nothing is left mounted, but for what could not be taken over.
#[allow(clippy::needless_pass_by_value)] // The mount keeps the store alive: it takes a share.
pub fn mount(vfs: Arc<Vfs>, path: &Path, options: &MountOptions) -> Result<Mount, MountError> {
    check(options)?;
    let connection = Connection::open(&vfs, path, options)?;
    let (point, device) = (connection.point.clone(), connection.device);
    serve(&vfs, connection, options).map_err(|source| {
        device::remove(&point, device);
        MountError::Io {
            path: point,
            source,
        }
    })
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
pub(crate) fn prepare(path: &Path) -> Result<PathBuf, MountError> {
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
        let dead = is_dead_soon(&point, &entry).unwrap_or(false);
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

/// Whether nobody serves the mount any more; `None` if it does not say, waiting for its daemon.
pub(crate) fn is_dead_soon(point: &Path, entry: &mount_table::MountEntry) -> Option<bool> {
    let (point, entry) = (point.to_path_buf(), entry.clone());
    let (tell, told) = std::sync::mpsc::channel();
    let look = move || {
        // Nobody waits any more if this took too long.
        let _ = tell.send(is_dead(&point, &entry));
    };
    let thread = std::thread::Builder::new().name("lockstep-look".to_owned());
    thread.spawn(look).ok()?;
    told.recv_timeout(END_TIMEOUT).ok()
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

fn serve(vfs: &Arc<Vfs>, mut connection: Connection, options: &MountOptions) -> io::Result<Mount> {
    let origin = NEXT_ORIGIN.fetch_add(1, Ordering::Relaxed);
    let store = Arc::clone(vfs);
    let broken = Box::new(move || store.fail_stop("a request of the mount panicked"));
    let faults = Arc::new(Faults::new(options.faults.clone(), broken));
    let slot: CachesSlot = Arc::new(OnceLock::new());
    let adapter = Arc::new(Adapter::new(
        Arc::clone(vfs),
        origin,
        Arc::clone(&faults),
        Arc::clone(&slot),
        connection.devices.len(),
        connection.life,
        Directories::new(connection.life, connection.notes.take()),
    ));
    let written_back = Arc::clone(&adapter.written_back);
    let sessions = begin(&adapter, &connection, options)?;
    let device = connection.devices[0].try_clone()?;
    let (point, holder) = (connection.point.clone(), connection.holder.clone());
    let caches = KernelCaches::new(device, holder.clone(), point.clone(), faults)?;
    vfs.observe(origin, Arc::clone(&caches) as _);
    // Set once, here.
    let _ = slot.set(Arc::clone(&caches));
    if connection.is_taken {
        // Before the first request is read: what was read and not answered is the dead daemon's.
        deliver(&connection.devices[0], &point, &Notice::Resend);
    }
    let end = MountEnd(Arc::default());
    let ended = end.clone();
    let run = std::thread::Builder::new().name("lockstep-fuse".to_owned());
    let (store, is_taken) = (Arc::clone(vfs), connection.is_taken);
    let started = run.spawn({
        let holder = holder.clone();
        move || {
            let served = run_all(sessions);
            store.unobserve(origin);
            // The users of the earlier daemon went with the mount.
            let reaped = if is_taken { store.reap(None) } else { Ok(()) };
            if let Some(holder) = holder {
                holder.end();
            }
            let ended_well = served.map_err(|error| error.to_string());
            ended.set(ended_well.and(reaped.map_err(|error| error.to_string())));
        }
    });
    if let Err(error) = started {
        vfs.unobserve(origin);
        return Err(error);
    }
    if connection.is_taken {
        caches.tell(&vfs.recovered());
    }
    let strangers = connection.is_taken.then_some(caches as _);
    vfs.reap(strangers).map_err(io::Error::other)?;
    // Without it the kernel reads ahead less, and that is all.
    let _ = device::set_read_ahead(connection.device, REQUEST_BYTES_MAX as usize);
    Ok(Mount {
        point,
        device: connection.device,
        is_held: holder.is_some(),
        is_taken: connection.is_taken,
        end,
        written_back,
    })
}

/// A session for each device; the kernel hears what the first one answers, if it is waiting for it.
fn begin(
    adapter: &Arc<Adapter>,
    connection: &Connection,
    options: &MountOptions,
) -> io::Result<Vec<Session<Server>>> {
    let acl = if options.allow_other {
        SessionACL::All
    } else {
        SessionACL::Owner
    };
    let mut sessions = Vec::with_capacity(connection.devices.len());
    for device in &connection.devices {
        let server = Server(Arc::clone(adapter));
        let (session, answer) = handshake::begin(server, device, &connection.init, acl)?;
        if sessions.is_empty() && !connection.is_taken {
            rustix::io::write(device, &answer)?;
        }
        sessions.push(session);
    }
    Ok(sessions)
}

/// Serves until the kernel ends the connection.
fn run_all(sessions: Vec<Session<Server>>) -> io::Result<()> {
    std::thread::scope(|scope| {
        let threads: Vec<_> = sessions
            .into_iter()
            .map(|session| scope.spawn(|| session.run()))
            .collect();
        let ended = threads.into_iter().map(|thread| {
            let panicked = |_| Err(io::Error::other("a thread of the mount panicked"));
            thread.join().unwrap_or_else(panicked)
        });
        // All of them are waited for, whatever the first ones say.
        ended.fold(Ok(()), io::Result::and)
    })
}

/// A mounted store. Dropping it unmounts it.
pub struct Mount {
    point: PathBuf,
    device: (u32, u32),
    is_held: bool,
    is_taken: bool,
    end: MountEnd,
    written_back: Arc<AtomicU64>,
}

impl Mount {
    /// Where the store is mounted: absolute, without links.
    pub fn path(&self) -> &Path {
        &self.point
    }

    /// Whether programs that use the mount outlive this process.
    pub fn is_held(&self) -> bool {
        self.is_held
    }

    /// Whether the mount was made by an earlier process and taken over.
    pub fn is_taken(&self) -> bool {
        self.is_taken
    }

    /// Leaves a held mount to the next daemon; for a process that ends right after.
    pub fn leave(self) {
        // Nobody here waits for its end any more.
        self.end.set(Ok(()));
        std::mem::forget(self);
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
