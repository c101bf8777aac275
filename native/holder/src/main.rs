//! `lockstep-holder`: keeps the connection of a mount to the kernel while its daemon is away.
//!
//! Invariants:
//! - It ends when the mount does, and at the latest when no daemon came for the agreed time: then
//!   it takes the mount away, so that nobody waits for ever.
//! - Whoever speaks to it runs as the user that started it, or as root.

use lockstep_holder::{
    BUSY, Hold, Notice, Packet, Request, SOCKET, deliver, mount_table, receive, send,
};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::AtFlags;
use rustix::net::SocketFlags;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How often it looks whether the mount is still there.
const LOOK_INTERVAL: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
const CONNECTIONS_MAX: usize = 256;
const STACK_BYTES: usize = 256 << 10;
const NOTHING_HELD: ExitCode = ExitCode::FAILURE;

/// A mount, and who serves it.
struct Held {
    state: Mutex<State>,
    listener: OwnedFd,
    directory: OwnedFd,
    memory: OwnedFd,
    devices: Vec<OwnedFd>,
    connections: AtomicUsize,
}

struct State {
    hold: Hold,
    /// Since when no daemon is there; `None` while one is.
    alone_since: Option<Instant>,
}

fn main() -> ExitCode {
    // The daemon's terminal, group and directory are not ours to live or die with.
    let _ = rustix::process::setsid();
    let _ = rustix::process::chdir("/");
    let Ok(life) = io::stdin().as_fd().try_clone_to_owned() else {
        return NOTHING_HELD;
    };
    let Some(held) = receive(&life).ok().flatten().and_then(hold) else {
        return NOTHING_HELD;
    };
    let held = Arc::new(held);
    if send(&life, &[1], &[]).is_err() || !listen_to(&held, life, true) {
        return NOTHING_HELD;
    }
    watch(&held)
}

fn hold(packet: Packet) -> Option<Held> {
    let Some(Request::Hold(hold)) = Request::decode(&packet.bytes) else {
        return None;
    };
    let mut descriptors = packet.descriptors.into_iter();
    let mount = Held {
        state: Mutex::new(State {
            hold,
            alone_since: None,
        }),
        listener: descriptors.next()?,
        directory: descriptors.next()?,
        memory: descriptors.next()?,
        devices: descriptors.collect(),
        connections: AtomicUsize::new(0),
    };
    (!mount.devices.is_empty()).then_some(mount)
}

/// Lets daemons in until there is nothing more to hold.
fn watch(held: &Arc<Held>) -> ExitCode {
    loop {
        let mut listener = [PollFd::new(&held.listener, PollFlags::IN)];
        let ready = poll(&mut listener, Some(&LOOK_INTERVAL)).is_ok_and(|count| count > 0);
        if ready
            && let Ok(connection) = rustix::net::accept_with(&held.listener, SocketFlags::CLOEXEC)
        {
            listen_to(held, connection, false);
            continue;
        }
        if held.is_gone() {
            held.end();
        }
        let waited = held.state.lock().alone_since.map(|since| since.elapsed());
        let timeout = held.state.lock().hold.timeout_seconds;
        if waited.is_some_and(|waited| waited > Duration::from_secs(timeout.into())) {
            held.take_away();
            held.end();
        }
    }
}

/// Starts to hear what comes in; `is_life` if the daemon itself is at the other end.
fn listen_to(held: &Arc<Held>, connection: OwnedFd, is_life: bool) -> bool {
    let ours = rustix::process::geteuid();
    let known = rustix::net::sockopt::socket_peercred(&connection)
        .is_ok_and(|peer| peer.uid.is_root() || peer.uid == ours);
    if !known || held.connections.load(Ordering::Relaxed) >= CONNECTIONS_MAX {
        return false;
    }
    held.connections.fetch_add(1, Ordering::Relaxed);
    let serving = Arc::clone(held);
    let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
    let started = thread.spawn(move || {
        let was_life = serving.converse(&connection, is_life);
        if was_life {
            serving.state.lock().alone_since = Some(Instant::now());
        }
        serving.connections.fetch_sub(1, Ordering::Relaxed);
    });
    started.is_ok()
}

impl Held {
    /// Answers until the other side ends, or says something that is not understood. Returns
    /// whether it was the daemon that served the mount.
    fn converse(&self, connection: &OwnedFd, mut is_life: bool) -> bool {
        while let Ok(Some(packet)) = receive(connection) {
            let answered = match Request::decode(&packet.bytes) {
                Some(Request::Take { owner }) if !is_life => match self.begin_life(owner) {
                    Some(hold) => {
                        is_life = true;
                        self.hand_over(connection, &hold)
                    }
                    None => send(connection, BUSY, &[]),
                },
                Some(Request::Tell(notices)) => send(connection, &self.tell(&notices), &[]),
                Some(Request::End) if is_life => self.end(),
                _ => break,
            };
            if answered.is_err() {
                break;
            }
        }
        is_life
    }

    /// The mount as the daemon before left it; `None` while one is there.
    fn begin_life(&self, owner: String) -> Option<Hold> {
        let mut state = self.state.lock();
        state.alone_since.take()?;
        state.hold.life = state.hold.life.wrapping_add(1);
        let left = state.hold.clone();
        state.hold.owner = owner;
        Some(left)
    }

    fn hand_over(&self, connection: &OwnedFd, hold: &Hold) -> io::Result<()> {
        let mut descriptors = vec![self.memory.as_fd()];
        descriptors.extend(self.devices.iter().map(AsFd::as_fd));
        send(connection, &hold.encode(), &descriptors)
    }

    fn tell(&self, notices: &[Notice]) -> Vec<u8> {
        let point = OsStr::from_bytes(&self.state.lock().hold.point).to_owned();
        let told = notices
            .iter()
            .map(|notice| deliver(&self.devices[0], Path::new(&point), notice));
        told.flat_map(i32::to_le_bytes).collect()
    }

    /// Whether the kernel has ended the connection. Asked, not waited for: a waiter would be woken
    /// by every request.
    fn is_gone(&self) -> bool {
        let mut device = [PollFd::new(&self.devices[0], PollFlags::empty())];
        let now = Timespec::default();
        poll(&mut device, Some(&now)).is_ok_and(|_| device[0].revents().contains(PollFlags::ERR))
    }

    fn take_away(&self) {
        let hold = self.state.lock().hold.clone();
        mount_table::take_away(Path::new(OsStr::from_bytes(&hold.point)), hold.device);
    }

    fn end(&self) -> ! {
        let _ = rustix::fs::unlinkat(&self.directory, SOCKET, AtFlags::empty());
        std::process::exit(0)
    }
}
