//! One process owns a store: a lock file that says who.

use crate::error::{Result, StoreError};
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
    /// [`StoreError::Locked`] with the owner's process number and since when, if there is one.
    pub(crate) fn acquire(dir: &Path, now: &str) -> Result<Self> {
        let failed = StoreError::io("lock the store");
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
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let owner = read_owner(&mut file);
            let (pid, since) = owner.trim().split_once(' ').unwrap_or(("0", "unknown"));
            return Err(StoreError::Locked {
                path: dir.to_owned(),
                pid: pid.parse().unwrap_or(0),
                since: since.to_owned(),
            });
        }
        let before = read_owner(&mut file);
        let owner = format!("{} {now}\n", std::process::id());
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(owner.as_bytes()));
        written.map_err(failed)?;
        Ok(Self {
            file,
            before,
            owner,
        })
    }
}

/// An unreadable owner is still an owner.
fn read_owner(file: &mut File) -> String {
    let mut owner = String::new();
    let _ = file.take(256).read_to_string(&mut owner);
    owner
}
