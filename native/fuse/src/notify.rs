//! Tells the kernel what others changed, before they are answered.
//!
//! Invariants:
//! - A thread that serves requests never waits here: the kernel may hold the lock that an
//!   invalidation needs until just that thread has answered. What such a thread changes for
//!   *another* mount of the same store is told by that mount's own thread, right after.
//! - Every other thread returns only when the kernel has forgotten the old state.
//! - A waiting list is bounded; a mount that cannot keep up is reported, not grown.

use crate::convert::ino;
use crate::error::Faults;
use crate::inode_refresh;
use fuser::Notifier;
use lockstep_vfs::{Event, NodeId, Observer};
use std::cell::Cell;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

const QUEUE_LENGTH: usize = 65_536;

thread_local! {
    static SERVES_REQUESTS: Cell<bool> = const { Cell::new(false) };
}

/// Marks the current thread as one that the kernel waits for.
pub(crate) fn this_thread_serves_requests() {
    SERVES_REQUESTS.with(|serves| serves.set(true));
}

/// The kernel's caches of one mount.
pub(crate) struct KernelCaches {
    notifier: Notifier,
    point: PathBuf,
    faults: Arc<Faults>,
    can_refresh: AtomicBool,
    queue: SyncSender<Vec<Event>>,
}

impl KernelCaches {
    /// Starts the thread that tells what request threads may not tell themselves. It ends with
    /// the returned value.
    pub(crate) fn new(
        notifier: Notifier,
        point: PathBuf,
        faults: Arc<Faults>,
    ) -> io::Result<Arc<Self>> {
        let (queue, waiting) = sync_channel(QUEUE_LENGTH);
        let caches = Arc::new(Self {
            notifier,
            point,
            faults,
            can_refresh: AtomicBool::new(true),
            queue,
        });
        let told = Arc::downgrade(&caches);
        std::thread::Builder::new()
            .name("lockstep-notify".to_owned())
            .spawn(move || {
                let waiting: Receiver<Vec<Event>> = waiting;
                for events in waiting {
                    let Some(caches) = told.upgrade() else { return };
                    caches.tell(&events);
                }
            })?;
        Ok(caches)
    }

    /// Has the attributes of `node` forgotten. Safe on a thread that serves a request for that
    /// very node: it takes no lock of the kernel.
    pub(crate) fn forget_attributes(&self, node: NodeId) {
        let told = self.notifier.inval_inode(ino(node), -1, 0);
        self.check("forget attributes", node.0, told);
    }

    /// Has the bytes from `offset` on forgotten, soon: by the mount's own thread.
    pub(crate) fn forget_bytes_soon(&self, node: NodeId, offset: u64) {
        self.enqueue(vec![Event::Inode {
            node,
            offset,
            length: u64::MAX,
        }]);
    }

    fn enqueue(&self, events: Vec<Event>) {
        match self.queue.try_send(events) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => {
                let message = "the kernel does not keep up: cached data may be old".to_owned();
                self.faults
                    .tell("invalidate", 0, "ERR_LOCKSTEP_NOTIFY_FULL", message);
            }
        }
    }

    fn tell(&self, events: &[Event]) {
        for (index, event) in events.iter().enumerate() {
            // One operation often touches a directory or a file several times in a row.
            if events[index.saturating_sub(8)..index].contains(event) {
                continue;
            }
            match event {
                Event::Entry { parent, name } => {
                    let told = self
                        .notifier
                        .inval_entry(ino(*parent), OsStr::from_bytes(name));
                    self.check("forget entry", parent.0, told);
                }
                Event::Inode {
                    node, length: 0, ..
                } => self.forget_attributes(*node),
                Event::Inode {
                    node,
                    offset,
                    length,
                } => self.forget_bytes(*node, *offset, *length),
            }
        }
    }

    fn forget_bytes(&self, changed: NodeId, offset: u64, length: u64) {
        let from = i64::try_from(offset).unwrap_or(i64::MAX);
        // To the kernel no length means: to the end.
        let length = i64::try_from(length).unwrap_or(0);
        let told = self.notifier.inval_inode(ino(changed), from, length);
        self.check("forget bytes", changed.0, told);
        if self.can_refresh.load(Ordering::Relaxed)
            && !inode_refresh::refresh(&self.point, changed.0)
        {
            self.can_refresh.store(false, Ordering::Relaxed);
        }
    }

    fn check(&self, what: &'static str, of: u64, told: io::Result<()>) {
        let Err(error) = told else { return };
        match error.raw_os_error() {
            // The mount went away, and its caches with it; or a name that no lookup could have
            // asked for.
            Some(
                libc::ENODEV
                | libc::ENOTCONN
                | libc::EBADF
                | libc::EPERM
                | libc::EINVAL
                | libc::ENAMETOOLONG
                | libc::ENOTDIR,
            ) => {}
            _ => self
                .faults
                .tell(what, of, "ERR_LOCKSTEP_NOTIFY", error.to_string()),
        }
    }
}

impl Observer for KernelCaches {
    fn changed(&self, events: &[Event]) {
        if SERVES_REQUESTS.with(Cell::get) {
            self.enqueue(events.to_vec());
        } else {
            self.tell(events);
        }
    }
}
