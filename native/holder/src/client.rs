//! The daemon's side: starting a holder, taking over what one holds, speaking through it.
//!
//! Invariants:
//! - The descriptor of the daemon's first connection is its life: when it closes, by whatever end
//!   of the process, the holder waits for the next daemon.
//! - Each thread that tells something has a connection to itself meanwhile: a notice that has to
//!   wait keeps no other one waiting.

use crate::message::{BUSY, Cursor, Hold, Request};
use crate::notice::Notice;
use crate::packet::{Packet, receive, send};
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The holder's socket in its directory; only the owner of the store may connect.
pub const SOCKET: &str = "holder.sock";
/// Notices of one packet.
const BATCH: usize = 128;
/// A daemon that just died may still be seen as alive for a moment.
const TAKE_TIMEOUT: Duration = Duration::from_secs(5);
const TAKE_RETRY: Duration = Duration::from_millis(2);
const BACKLOG: i32 = 128;

/// A holder that keeps this process's mount.
pub struct Holder {
    directory: OwnedFd,
    life: OwnedFd,
    idle: Mutex<Vec<OwnedFd>>,
    child: Mutex<Option<Child>>,
}

/// What an earlier daemon left with a holder.
pub struct Taken {
    /// The holder, which serves this process from now on.
    pub holder: Holder,
    /// The mount; its owner is the one before.
    pub hold: Hold,
    /// What the earlier daemons wrote down.
    pub memory: OwnedFd,
    /// The connection's descriptors.
    pub devices: Vec<OwnedFd>,
}

impl Holder {
    /// Starts `program` with the mount `hold`, to be found in `directory`.
    pub fn start(
        program: &Path,
        directory: &Path,
        hold: &Hold,
        memory: &OwnedFd,
        devices: &[OwnedFd],
    ) -> io::Result<Self> {
        let directory = open_directory(directory)?;
        let listener = listen(&directory)?;
        let flags = SocketFlags::CLOEXEC;
        let (life, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let child = Command::new(program)
            .stdin(theirs)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut descriptors = vec![listener.as_fd(), directory.as_fd(), memory.as_fd()];
        descriptors.extend(devices.iter().map(AsFd::as_fd));
        let holder = Self {
            directory: directory.try_clone()?,
            life,
            idle: Mutex::default(),
            child: Mutex::new(Some(child)),
        };
        // It has what it needs once it answers.
        ask(&holder.life, &hold.encode(), &descriptors)?;
        Ok(holder)
    }

    /// Takes over what the holder in `directory` keeps, in the name of `owner`; `None` if there is
    /// no holder.
    ///
    /// # Errors
    /// `WouldBlock` if a daemon goes on serving the mount.
    pub fn take(directory: &Path, owner: &str) -> io::Result<Option<Taken>> {
        let directory = open_directory(directory)?;
        let until = Instant::now() + TAKE_TIMEOUT;
        loop {
            let Ok(life) = connect(&directory) else {
                return Ok(None);
            };
            let owner = owner.to_owned();
            // A holder that ends meanwhile answers nothing.
            let Ok(packet) = ask(&life, &Request::Take { owner }.encode(), &[]) else {
                return Ok(None);
            };
            if packet.bytes == BUSY {
                if Instant::now() > until {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                std::thread::sleep(TAKE_RETRY);
                continue;
            }
            let Some(Request::Hold(hold)) = Request::decode(&packet.bytes) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let mut descriptors = packet.descriptors.into_iter();
            let (Some(memory), devices) = (descriptors.next(), descriptors.collect()) else {
                return Err(io::ErrorKind::InvalidData.into());
            };
            let holder = Self {
                directory,
                life,
                idle: Mutex::default(),
                child: Mutex::default(),
            };
            return Ok(Some(Taken {
                holder,
                hold,
                memory,
                devices,
            }));
        }
    }

    /// Has the kernel told; an errno for each notice, or 0.
    ///
    /// # Errors
    /// The holder is gone.
    pub fn tell(&self, notices: &[Notice]) -> io::Result<Vec<i32>> {
        let idle = self.idle.lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => connect(&self.directory)?,
        };
        let mut told = Vec::with_capacity(notices.len());
        for batch in notices.chunks(BATCH) {
            let answer = ask(&connection, &Request::Tell(batch.to_vec()).encode(), &[])?;
            let mut cursor = Cursor(&answer.bytes);
            for _ in batch {
                let errno = cursor.number().ok_or(io::ErrorKind::InvalidData)?;
                told.push(i32::from_le_bytes(errno));
            }
        }
        self.idle.lock().push(connection);
        Ok(told)
    }

    /// Ends the holder: the mount is gone. Waits until its socket is, too.
    pub fn end(&self) {
        if send(&self.life, &Request::End.encode(), &[]).is_ok() {
            // It says nothing any more; what ends the wait is its end.
            let _ = receive(&self.life);
        }
        if let Some(mut child) = self.child.lock().take() {
            // Nothing depends on how it ended.
            let _ = child.wait();
        }
    }
}

fn ask(socket: &OwnedFd, question: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<Packet> {
    send(socket, question, descriptors)?;
    receive(socket)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Short, however long the path of the directory is.
fn address(directory: &OwnedFd) -> io::Result<SocketAddrUnix> {
    let path = format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd());
    Ok(SocketAddrUnix::new(path)?)
}

fn socket() -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let kind = SocketType::SEQPACKET;
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        kind,
        flags,
        None,
    )?)
}

fn listen(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let listener = socket()?;
    // Its file is born with the mode of the socket.
    rustix::fs::fchmod(&listener, Mode::RUSR | Mode::WUSR)?;
    match rustix::fs::unlinkat(directory, SOCKET, AtFlags::empty()) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    rustix::net::bind(&listener, &address(directory)?)?;
    rustix::net::listen(&listener, BACKLOG)?;
    Ok(listener)
}

fn connect(directory: &OwnedFd) -> io::Result<OwnedFd> {
    let connection = socket()?;
    rustix::net::connect(&connection, &address(directory)?)?;
    Ok(connection)
}
