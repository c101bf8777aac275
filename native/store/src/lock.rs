//! One process owns a store: a lock file that says who.
//!
//! The lock is the kernel's and ends with the process; what the file says is only told to others.
//! It is one line, `PID SINCE HOST`, padded to a fixed length and overwritten in place: on a full
//! disk that needs no space.

use crate::error::{Result, StoreError, is_no_space};
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::path::Path;

/// Held while the store is open; the kernel releases it when the process ends, however it ends.
pub(crate) struct StoreLock {
    file: File,
    /// What the lock said of the owner before.
    pub(crate) before: String,
    /// What it says now.
    pub(crate) owner: String,
}

impl Drop for StoreLock {
    /// Closing is not enough: a process that is being started holds a copy of every descriptor
    /// for a moment, and with it the lock.
    fn drop(&mut self) {
        // What cannot be unlocked is unlocked by the end of this process.
        let _ = flock(&self.file, FlockOperation::Unlock);
    }
}

impl StoreLock {
    /// Takes the lock of the store in `dir`.
    ///
    /// # Errors
    /// [`StoreError::Locked`] with the owner, if there is one.
    pub(crate) fn acquire(dir: &Path, now: &str) -> Result<Self> {
        let failed = |source| StoreError::Io {
            what: "lock the store",
            source,
        };
        let mut file = match File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(dir.join("lock"))
        {
            Ok(file) => file,
            Err(error) => return Err(failed(error)),
        };
        let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
        let before = read_line(&mut file);
        if locked == Err(rustix::io::Errno::WOULDBLOCK) {
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                owner: owner(&before),
            });
        }
        locked.map_err(|error| failed(error.into()))?;
        let owner = format!("{} {now} {}", std::process::id(), host());
        let line = format!("{owner:<width$.width$}\n", width = LINE_BYTES - 1);
        match file.rewind().and_then(|()| file.write_all(line.as_bytes())) {
            // Nobody is told who, that is all.
            Err(error) if !is_no_space(&error) => Err(failed(error)),
            _ => Ok(Self {
                file,
                before,
                owner,
            }),
        }
    }
}

/// An unreadable owner is still an owner.
fn read_line(file: &mut File) -> String {
    let mut line = String::new();
    let _ = file.take(LINE_BYTES as u64).read_to_string(&mut line);
    line.trim().to_owned()
}

/// Of the line in the file.
const LINE_BYTES: usize = 160;

/// The name of this machine or container; empty if the system does not tell.
fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

/// The owner, as people are told. Process numbers of elsewhere mean nothing here.
fn owner(line: &str) -> String {
    let mut words = line.split_ascii_whitespace();
    let (Some(pid), Some(since)) = (words.next(), words.next()) else {
        return "another process".to_owned();
    };
    match words.next() {
        Some(there) if there != host() => format!("process {pid} on {there} since {since}"),
        _ => format!("process {pid} since {since}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_elsewhere_is_told_with_its_host() {
        let here = format!("7 2026-11-22T10:00:00Z {}", host());
        assert_eq!(owner(&here), "process 7 since 2026-11-22T10:00:00Z");
        let there = "7 2026-11-22T10:00:00Z 3f1c\n";
        assert_eq!(owner(there), "process 7 on 3f1c since 2026-11-22T10:00:00Z");
        assert_eq!(owner(""), "another process");
    }
}
