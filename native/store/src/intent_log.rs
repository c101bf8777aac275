//! The intent log: appending records, making them durable, reading them back.
//!
//! Invariants:
//! - Two files take turns. A commit makes the log go on at the start of the other one; the first is
//!   overwritten only after the commit that made its records superfluous.
//! - Records of one file have consecutive sequence numbers from its start; what follows the last of
//!   them is left over from before, and its number or checksum says so.

use crate::error::Result;
use crate::log_store::LogStore;
use lockstep_format::log::{self, HEADER_BYTES, Header, Operation};
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Bytes read at a time when records are read back.
const READ_BYTES: usize = 1 << 20;
/// What is kept ready behind the last record: deleting on a full disk must not need more at once.
pub(crate) const ROOM_BYTES: u64 = 512 << 10;

/// No log holds as many records as this.
pub(crate) const NUMBERS_MAX: u64 = 1 << 32;

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
    /// Bytes of the file written before this one.
    last_length: AtomicU64,
}

/// Hands everything appended to the disk.
pub(crate) type Flush<'a> = &'a dyn Fn() -> Result<()>;

/// A record read back.
pub(crate) struct Record<'a> {
    /// Its header.
    pub header: Header,
    /// Its operations.
    pub body: &'a [u8],
}

/// Reads one of the log's files from its start.
struct LogReader<'a> {
    store: &'a dyn LogStore,
    file: usize,
    /// Where in the file the first byte of `buffer` stands.
    start: u64,
    buffer: Vec<u8>,
    /// Where in `buffer` the next record starts.
    at: usize,
}

impl<'a> LogReader<'a> {
    fn new(store: &'a dyn LogStore, file: usize) -> Self {
        Self {
            store,
            file,
            start: 0,
            buffer: Vec::new(),
            at: 0,
        }
    }

    /// Has the next `count` bytes in the buffer; false if the file ends before.
    fn fill(&mut self, count: usize) -> Result<bool> {
        if self.buffer.len() - self.at >= count {
            return Ok(true);
        }
        self.buffer.drain(..self.at);
        self.start += self.at as u64;
        self.at = 0;
        let filled = self.buffer.len();
        self.buffer.resize(count.max(READ_BYTES), 0);
        let (from, into) = (self.start + filled as u64, &mut self.buffer[filled..]);
        let read = self.store.read(self.file, from, into)?;
        self.buffer.truncate(filled + read);
        Ok(self.buffer.len() >= count)
    }

    /// Goes on to where a record with one of these numbers may start; false if there is none.
    fn seek(&mut self, numbers: Range<u64>) -> Result<bool> {
        while self.fill(HEADER_BYTES)? {
            let rest = &self.buffer[self.at..];
            let starts = |head: &[u8]| numbers.contains(&log::sequence_of(head));
            if let Some(found) = rest.windows(HEADER_BYTES).position(starts) {
                self.at += found;
                return Ok(true);
            }
            self.at += rest.len() - HEADER_BYTES + 1;
        }
        Ok(false)
    }

    fn skip(&mut self) {
        self.at += 1;
    }

    /// The next record, if it is whole; if not, the position stays.
    fn next(&mut self) -> Result<Option<Record<'_>>> {
        if !self.fill(HEADER_BYTES)? {
            return Ok(None);
        }
        let head: [u8; HEADER_BYTES] = match self.buffer[self.at..][..HEADER_BYTES].try_into() {
            Ok(head) => head,
            Err(_) => return Ok(None),
        };
        let Some(header) = Header::decode(&head) else {
            return Ok(None);
        };
        let length = HEADER_BYTES + header.length;
        if !self.fill(length)? {
            return Ok(None);
        }
        let body = &self.buffer[self.at..][HEADER_BYTES..length];
        if !header.verify(&head, body) {
            return Ok(None);
        }
        self.at += length;
        Ok(Some(Record { header, body }))
    }
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
            last_length: AtomicU64::new(0),
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

    /// Whether the next records, if they are no large ones, find their place without new space. At
    /// the start of a file there is no better place.
    pub(crate) fn has_room(&self) -> bool {
        let Position { file, offset } = *self.position.lock();
        offset == 0 || offset + ROOM_BYTES <= self.store.prepared(file)
    }

    /// Goes on at the start of the other file.
    pub(crate) fn switch(&self) {
        let mut position = self.position.lock();
        self.last_length.store(position.offset, Ordering::Relaxed);
        *position = Position {
            file: 1 - position.file,
            offset: 0,
        };
    }

    /// Makes every record appended before the call durable. `first` makes durable what the records
    /// speak of, and flushes the log with what it is given; it is told below which number records are
    /// durable already, and answers the number of a record it wrote. Calls that come while one is
    /// under way share the next.
    pub(crate) fn sync(
        &self,
        first: impl FnOnce(u64, Flush<'_>) -> Result<Option<u64>>,
    ) -> Result<()> {
        let target = self.appended();
        let mut synced = self.synced.lock();
        if *synced >= target {
            return Ok(());
        }
        let upto = self.appended();
        let own = first(*synced, &|| self.flush())?;
        // Its own record needs no further flush, if it is the only one that came meanwhile.
        *synced = upto + u64::from(own == Some(upto));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        for (file, unsynced) in self.unsynced.iter().enumerate() {
            if unsynced.swap(false, Ordering::AcqRel) {
                self.store.sync(file)?;
            }
        }
        Ok(())
    }

    /// Makes the file that is not being written ready to take as much as the other one did, so that
    /// writing it changes nothing but bytes.
    pub(crate) fn prepare_other(&self) -> Result<()> {
        let Position { file, offset } = *self.position.lock();
        let length = self.last_length.load(Ordering::Relaxed).max(offset);
        self.store.prepare(1 - file, length + length / 4)
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
            if let Some(record) = LogReader::new(&*self.store, file).next()? {
                files.push((record.header.sequence, file));
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    /// Whether no file begins with a whole record.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.order()?.is_empty())
    }

    /// Below which number records had been durable, by what records behind number `from` say: more
    /// than `from` if one of those is missing that should be there.
    ///
    /// Cost: reads both files whole.
    pub(crate) fn durable_beyond(&self, from: u64) -> Result<u64> {
        let mut durable = from;
        for file in 0..2 {
            let mut reader = LogReader::new(&*self.store, file);
            while reader.seek(from + 1..from + NUMBERS_MAX)? {
                let Some(record) = reader.next()? else {
                    reader.skip();
                    continue;
                };
                if let Some(Ok(Operation::Synced { upto })) = log::operations(record.body).next() {
                    durable = durable.max(upto);
                }
            }
        }
        Ok(durable)
    }

    /// Calls `each` for every record from number `from` on, in order, until one is missing or
    /// `each` answers false.
    pub(crate) fn replay(
        &self,
        from: u64,
        each: &mut dyn FnMut(&Record<'_>) -> Result<bool>,
    ) -> Result<()> {
        let mut expected = from;
        for (first, file) in self.order()? {
            let mut reader = LogReader::new(&*self.store, file);
            let mut number = first;
            while let Some(record) = reader.next()? {
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
            }
        }
        Ok(())
    }
}
