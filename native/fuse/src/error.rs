//! Errors of mounting, and the one place where a failed request becomes an errno and a log line.
//!
//! Invariant: an answer of the file system (`ENOENT`, `EACCES`, ...) is not logged; a failure of
//! the engine or a panic is, at most [`FAULTS_PER_SECOND`] a second.

use lockstep_vfs::VfsError;
use parking_lot::Mutex;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a store could not be mounted. Each says in one line what is wrong and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MountError {
    /// The machine has no FUSE.
    #[error("there is no FUSE here ({source}): load the fuse module or pass /dev/fuse on")]
    NoFuse {
        /// What opening `/dev/fuse` answered.
        source: io::Error,
    },
    /// This user may not mount here.
    #[error("not allowed to mount on {}: {reason}", path.display())]
    Denied {
        /// The mount point.
        path: PathBuf,
        /// What is missing.
        reason: String,
    },
    /// Something is in the way.
    #[error("{} is in use: {reason}", path.display())]
    Busy {
        /// The mount point.
        path: PathBuf,
        /// What is in the way.
        reason: &'static str,
    },
    /// There is no directory to mount on.
    #[error("cannot mount on {}: {reason}", path.display())]
    MountPoint {
        /// The mount point.
        path: PathBuf,
        /// What is there instead.
        reason: &'static str,
    },
    /// A mount whose server died is in the way, and it is not ours to remove.
    #[error("{} is a dead mount of {file_system}: run `umount -l` on it first", path.display())]
    Stale {
        /// The mount point.
        path: PathBuf,
        /// The type of the dead file system.
        file_system: String,
    },
    /// An option that cannot be passed to the kernel.
    #[error("bad mount option: {0}")]
    Option(&'static str),
    /// Anything else that the system answered.
    #[error("mounting on {} failed: {source}", path.display())]
    Io {
        /// The mount point.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl MountError {
    /// The stable code (`docs/ERRORS.md`).
    pub fn code(&self) -> &'static str {
        match self {
            Self::NoFuse { .. } => "ERR_LOCKSTEP_NO_FUSE",
            Self::Denied { .. } => "ERR_LOCKSTEP_MOUNT_DENIED",
            Self::Busy { .. } => "ERR_LOCKSTEP_MOUNT_BUSY",
            Self::MountPoint { .. } => "ERR_LOCKSTEP_MOUNT_POINT",
            Self::Stale { .. } => "ERR_LOCKSTEP_MOUNT_STALE",
            Self::Option(_) => "EINVAL",
            Self::Io { .. } => "ERR_LOCKSTEP_MOUNT",
        }
    }

    /// The errno that fits best.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NoFuse { .. } => libc::ENODEV,
            Self::Denied { .. } => libc::EACCES,
            Self::Busy { .. } => libc::EBUSY,
            Self::MountPoint { .. } => libc::ENOTDIR,
            Self::Stale { .. } => libc::ENOTCONN,
            Self::Option(_) => libc::EINVAL,
            Self::Io { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
        }
    }
}

/// A request that failed in a way that an administrator wants to know of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The FUSE operation, or what was tried.
    pub operation: &'static str,
    /// The node it was about; 0 = none.
    pub node: u64,
    /// The stable code: an errno name or `ERR_LOCKSTEP_*`.
    pub code: &'static str,
    /// For people.
    pub message: String,
}

/// Receives [`Fault`]s, on the thread that met them: must be quick and must not use the mount.
pub type FaultHook = Arc<dyn Fn(&Fault) + Send + Sync>;

const FAULTS_PER_SECOND: u32 = 10;

/// Turns failures into answers, and tells those worth telling.
pub(crate) struct Faults {
    hook: FaultHook,
    /// Called after a panic: an invariant is broken.
    broken: Box<dyn Fn() + Send + Sync>,
    told: Mutex<(Instant, u32)>,
}

impl Faults {
    /// Tells the hook, or standard error if there is none; a panic is also told to `broken`.
    pub(crate) fn new(hook: Option<FaultHook>, broken: Box<dyn Fn() + Send + Sync>) -> Self {
        let hook = hook.unwrap_or_else(|| {
            Arc::new(|fault: &Fault| {
                let Fault {
                    operation,
                    node,
                    code,
                    message,
                } = fault;
                eprintln!("lockstep mount: {operation} of node {node}: {code}: {message}");
            })
        });
        Self {
            hook,
            broken,
            told: Mutex::new((Instant::now(), 0)),
        }
    }

    /// Runs the work of one request. A panic is answered with `EIO`, never leaves this thread, and
    /// is the last thing that could change the store.
    pub(crate) fn answer<T>(
        &self,
        operation: &'static str,
        node: u64,
        work: impl FnOnce() -> Result<T, VfsError>,
    ) -> Result<T, fuser::Errno> {
        match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                // Damage is told by the store, once of each; a program that reads on asks often.
                if let VfsError::Store(store) = &error
                    && !store.is_damage()
                {
                    self.tell(operation, node, error.code(), error.to_string());
                }
                Err(fuser::Errno::from_i32(error.errno()))
            }
            Err(panic) => {
                (self.broken)();
                self.tell(
                    operation,
                    node,
                    "ERR_LOCKSTEP_PANIC",
                    panic_text(panic.as_ref()),
                );
                Err(fuser::Errno::EIO)
            }
        }
    }

    pub(crate) fn tell(
        &self,
        operation: &'static str,
        node: u64,
        code: &'static str,
        message: String,
    ) {
        {
            let mut told = self.told.lock();
            if told.0.elapsed() >= Duration::from_secs(1) {
                *told = (Instant::now(), 0);
            }
            told.1 += 1;
            if told.1 > FAULTS_PER_SECOND {
                return;
            }
        }
        (self.hook)(&Fault {
            operation,
            node,
            code,
            message,
        });
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "panic".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_vfs::Errno;

    fn collecting() -> (Faults, Arc<Mutex<Vec<Fault>>>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&seen);
        let hook: FaultHook = Arc::new(move |fault| into.lock().push(fault.clone()));
        (Faults::new(Some(hook), Box::new(|| ())), seen)
    }

    #[test]
    fn a_panic_is_answered_with_eio_and_told() {
        let (mut faults, seen) = collecting();
        let (sender, broken) = std::sync::mpsc::channel();
        faults.broken = Box::new(move || sender.send(()).unwrap());
        let answer: Result<(), _> = faults.answer("read", 7, || panic!("broken {}", 1));
        assert_eq!(answer.unwrap_err().code(), libc::EIO);
        broken.try_recv().unwrap();
        let seen = seen.lock();
        assert_eq!(
            (seen[0].operation, seen[0].node, &*seen[0].message),
            ("read", 7, "broken 1")
        );
    }

    #[test]
    fn plain_answers_are_not_told() {
        let (faults, seen) = collecting();
        let answer: Result<(), _> = faults.answer("lookup", 1, || Err(Errno::NotFound.into()));
        assert_eq!(answer.unwrap_err().code(), libc::ENOENT);
        assert!(seen.lock().is_empty());
    }

    #[test]
    fn a_storm_of_faults_is_cut_short() {
        let (faults, seen) = collecting();
        for _ in 0..1000 {
            faults.tell("write", 1, "EIO", String::new());
        }
        assert!(seen.lock().len() <= 2 * FAULTS_PER_SECOND as usize);
    }
}
