//! Tells the kernel what others changed, before they are answered.
//!
//! Invariants:
//! - A thread that serves requests never waits here: the kernel may hold the lock that an
//!   invalidation needs until just that thread has answered. What such a thread changes for
//!   *another* mount of the same store is told by that mount's own thread, right after.
//! - Every other thread returns only when the kernel has forgotten the old state.
//! - A waiting list is bounded; a mount that cannot keep up is reported, not grown.

use crate::error::Faults;
use lockstep_holder::{Holder, Notice, deliver};
use lockstep_vfs::{Event, NodeId, Observer, Strangers};
use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;
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
    device: OwnedFd,
    holder: Option<Arc<Holder>>,
    point: PathBuf,
    faults: Arc<Faults>,
    can_refresh: AtomicBool,
    queue: SyncSender<Vec<Event>>,
}

impl KernelCaches {
    /// Starts the thread that tells what request threads may not tell themselves. It ends with
    /// the returned value.
    pub(crate) fn new(
        device: OwnedFd,
        holder: Option<Arc<Holder>>,
        point: PathBuf,
        faults: Arc<Faults>,
    ) -> io::Result<Arc<Self>> {
        let (queue, waiting) = sync_channel(QUEUE_LENGTH);
        let caches = Arc::new(Self {
            device,
            holder,
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
        self.tell(&[Event::Inode {
            node,
            offset: 0,
            length: 0,
        }]);
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

    /// Returns once the kernel has been told.
    pub(crate) fn tell(&self, events: &[Event]) {
        let mut notices = Vec::with_capacity(events.len());
        for (index, event) in events.iter().enumerate() {
            // One operation often touches a directory or a file several times in a row.
            if !events[index.saturating_sub(8)..index].contains(event) {
                self.add_notices(event, &mut notices);
            }
        }
        for (notice, errno) in notices.iter().zip(self.deliver(&notices)) {
            self.check(notice, errno);
        }
    }

    fn add_notices(&self, event: &Event, notices: &mut Vec<Notice>) {
        match event {
            Event::Entry { parent, name } => notices.push(Notice::Entry {
                parent: parent.0,
                name: name.clone(),
            }),
            Event::Inode {
                node, length: 0, ..
            } => notices.push(attributes_of(*node)),
            Event::Inode {
                node,
                offset,
                length,
            } => {
                notices.push(Notice::Inode {
                    node: node.0,
                    offset: i64::try_from(*offset).unwrap_or(i64::MAX),
                    // To the kernel no length means: to the end.
                    length: i64::try_from(*length).unwrap_or(0),
                });
                if self.can_refresh.load(Ordering::Relaxed) {
                    notices.push(Notice::Refresh { node: node.0 });
                }
            }
        }
    }

    /// Through the holder, where there is one: whatever the kernel then waits for, this process
    /// can die at once.
    fn deliver(&self, notices: &[Notice]) -> Vec<i32> {
        if let Some(holder) = &self.holder
            && let Ok(told) = holder.tell(notices)
        {
            return told;
        }
        let told = notices
            .iter()
            .map(|notice| deliver(&self.device, &self.point, notice));
        told.collect()
    }

    fn check(&self, notice: &Notice, errno: i32) {
        let of = match notice {
            Notice::Entry { parent, .. } => *parent,
            Notice::Inode { node, .. } => *node,
            Notice::Refresh { .. } => {
                if errno == libc::EPERM {
                    self.can_refresh.store(false, Ordering::Relaxed);
                }
                return;
            }
            Notice::Resend => return,
        };
        match errno {
            // What is not cached, or not any more; the mount went away, and its caches with it; or a
            // name that no lookup could have asked for.
            0
            | libc::ENOENT
            | libc::ENODEV
            | libc::ENOTCONN
            | libc::EBADF
            | libc::EPERM
            | libc::EINVAL
            | libc::ENAMETOOLONG
            | libc::ENOTDIR => {}
            errno => {
                let message = io::Error::from_raw_os_error(errno).to_string();
                self.faults
                    .tell("invalidate", of, "ERR_LOCKSTEP_NOTIFY", message);
            }
        }
    }
}

fn attributes_of(node: NodeId) -> Notice {
    Notice::Inode {
        node: node.0,
        offset: -1,
        length: 0,
    }
}

impl Strangers for KernelCaches {
    /// The kernel knows each node that somebody has open; it is asked by having it forget what it
    /// can ask for again.
    fn may_hold(&self, node: NodeId) -> bool {
        self.deliver(&[attributes_of(node)])
            .first()
            .is_none_or(|errno| *errno != libc::ENOENT)
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
