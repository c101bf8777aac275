//! The intent log: appending records, making them durable, reading them back.
//!
//! Invariants:
//! - Two files take turns. A commit makes the log go on at the start of the other one; the first is
//!   overwritten only after the commit that made its records superfluous.
//! - Records of one file have consecutive sequence numbers from its start; what follows the last of
//!   them is left over from before, and its number or checksum says so.

use crate::error::Result;
use crate::log_store::LogStore;
use lockstep_format::log::{HEADER_BYTES, Header};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Clone, Copy, Debug)]
struct Position {
    file: usize,
    offset: u64,
}

/// The log of an open store.
pub(crate) struct IntentLog {
    store: Box<dyn LogStore>,
    position: Mutex<Position>,
    /// The number behind that of the last record written.
    appended: AtomicU64,
    /// Records below this number are durable.
    synced: Mutex<u64>,
    unsynced: [AtomicBool; 2],
}

/// A record read back.
pub(crate) struct Record {
    /// Its header.
    pub header: Header,
    /// Its operations.
    pub body: Vec<u8>,
}

impl IntentLog {
    /// The log in `store`; nothing is written before [`IntentLog::start`].
    pub(crate) fn new(store: Box<dyn LogStore>) -> Self {
        Self {
            store,
            position: Mutex::new(Position { file: 0, offset: 0 }),
            appended: AtomicU64::new(0),
            synced: Mutex::new(0),
            unsynced: [AtomicBool::new(false), AtomicBool::new(false)],
        }
    }

    /// Begins at the start of a file with record number `sequence`.
    pub(crate) fn start(&self, file: usize, sequence: u64) {
        *self.position.lock() = Position { file, offset: 0 };
        self.appended.store(sequence, Ordering::Release);
        *self.synced.lock() = sequence;
    }

    /// Hands a record to the kernel. On error the next record takes its place.
    pub(crate) fn append(&self, record: &[u8], sequence: u64) -> Result<()> {
        let mut position = self.position.lock();
        self.store.write(position.file, position.offset, record)?;
        self.unsynced[position.file].store(true, Ordering::Release);
        position.offset += record.len() as u64;
        self.appended.store(sequence + 1, Ordering::Release);
        Ok(())
    }

    /// The number behind that of the last record.
    pub(crate) fn appended(&self) -> u64 {
        self.appended.load(Ordering::Acquire)
    }

    /// Bytes in the file being written.
    pub(crate) fn bytes(&self) -> u64 {
        self.position.lock().offset
    }

    /// Goes on at the start of the other file.
    pub(crate) fn switch(&self) {
        let mut position = self.position.lock();
        *position = Position {
            file: 1 - position.file,
            offset: 0,
        };
    }

    /// Makes every record appended before the call durable, after `first` has made durable what the
    /// records speak of. Calls that come while one is under way share the next.
    pub(crate) fn sync(&self, first: impl FnOnce() -> Result<()>) -> Result<()> {
        let target = self.appended();
        let mut synced = self.synced.lock();
        if *synced >= target {
            return Ok(());
        }
        let upto = self.appended();
        first()?;
        for (file, unsynced) in self.unsynced.iter().enumerate() {
            if unsynced.swap(false, Ordering::AcqRel) {
                self.store.sync(file)?;
            }
        }
        *synced = upto;
        Ok(())
    }

    /// Records below `sequence` became durable another way: by a commit.
    pub(crate) fn committed(&self, sequence: u64) {
        let mut synced = self.synced.lock();
        *synced = (*synced).max(sequence);
    }

    /// The files in the order in which they were written, and the numbers of their first records.
    fn order(&self) -> Result<Vec<(u64, usize)>> {
        let mut files = Vec::new();
        for file in 0..2 {
            if let Some(record) = self.read(file, 0)? {
                files.push((record.header.sequence, file));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Calls `each` for every record from number `from` on, in order, until one is missing or
    /// `each` answers false.
    pub(crate) fn replay(
        &self,
        from: u64,
        each: &mut dyn FnMut(&Record) -> Result<bool>,
    ) -> Result<()> {
        let mut expected = from;
        for (first, file) in self.order()? {
            let mut offset = 0;
            let mut number = first;
            while let Some(record) = self.read(file, offset)? {
                if record.header.sequence != number {
                    break;
                }
                if number == expected {
                    if !each(&record)? {
                        return Ok(());
                    }
                    expected += 1;
                } else if number > expected {
                    return Ok(());
                }
                number += 1;
                offset += (HEADER_BYTES + record.header.length) as u64;
            }
        }
        Ok(())
    }

    fn read(&self, file: usize, offset: u64) -> Result<Option<Record>> {
        let mut head = [0; HEADER_BYTES];
        if self.store.read(file, offset, &mut head)? < HEADER_BYTES {
            return Ok(None);
        }
        let Some(header) = Header::decode(&head) else {
            return Ok(None);
        };
        let mut body = vec![0; header.length];
        let count = self
            .store
            .read(file, offset + HEADER_BYTES as u64, &mut body)?;
        let whole = count == body.len() && header.verify(&head, &body);
        Ok(whole.then_some(Record { header, body }))
    }
}
