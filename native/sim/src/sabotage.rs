//! Engines that are wrong, to see that being wrong is noticed.
//!
//! Each is the right engine over parts that do one thing at the wrong time, or not at all.

use lockstep_format::log::{self, HEADER_BYTES, Operation};
use lockstep_format::{ChunkRecord, PageId, SegmentId, TreeId, key};
use lockstep_store::{LogStore, PageStore, Parts, Result, SegmentStore};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// A sync of the log does nothing.
    LogSyncForgotten,
    /// A sync of a segment does nothing.
    SegmentSyncForgotten,
    /// A sync of LMDB's file does nothing.
    PageSyncForgotten,
    /// Segments are synced after the commit or the log records that speak of them.
    MetadataBeforeData,
    /// The records that a commit makes superfluous are overwritten before it is durable.
    LogEmptiedBeforeCommit,
    /// A chunk's space is given back when it is freed, not when that is committed.
    PunchBeforeCommit,
}

impl Sabotage {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 6] = [
        ("log-sync-forgotten", Self::LogSyncForgotten),
        ("segment-sync-forgotten", Self::SegmentSyncForgotten),
        ("page-sync-forgotten", Self::PageSyncForgotten),
        ("metadata-before-data", Self::MetadataBeforeData),
        ("log-emptied-before-commit", Self::LogEmptiedBeforeCommit),
        ("punch-before-commit", Self::PunchBeforeCommit),
    ];
}

/// The parts, sabotaged if asked for.
pub(crate) fn sabotaged(parts: Parts, how: Option<Sabotage>) -> Parts {
    let Some(how) = how else { return parts };
    let saboteur = Saboteur(Arc::new(Hands {
        how,
        pages: parts.pages,
        segments: parts.segments,
        log: parts.log,
        memory: Mutex::default(),
    }));
    Parts {
        pages: Box::new(saboteur.clone()),
        segments: Box::new(saboteur.clone()),
        log: Box::new(saboteur),
        clock: parts.clock,
    }
}

/// What a saboteur remembers.
#[derive(Default)]
struct Memory {
    /// Segments whose sync was put off.
    unsynced: BTreeSet<SegmentId>,
    /// The log file last written.
    log_file: usize,
    /// Where the chunks are that the log named.
    chunks: BTreeMap<Vec<u8>, ChunkRecord>,
}

struct Hands {
    how: Sabotage,
    pages: Box<dyn PageStore>,
    segments: Box<dyn SegmentStore>,
    log: Box<dyn LogStore>,
    memory: Mutex<Memory>,
}

#[derive(Clone)]
struct Saboteur(Arc<Hands>);

impl Hands {
    fn sync_late(&self) -> Result<()> {
        let late = std::mem::take(&mut self.memory.lock().unsynced);
        late.into_iter()
            .try_for_each(|segment| self.segments.sync(segment))
    }

    /// Punches the chunks that a record frees.
    fn punch_early(&self, record: &[u8]) -> Result<()> {
        for operation in log::operations(&record[HEADER_BYTES..]) {
            match operation? {
                Operation::Put {
                    tree: TreeId::CHUNKS,
                    key,
                    value,
                } => {
                    let chunk = ChunkRecord::decode(value)?;
                    self.memory.lock().chunks.insert(key.to_vec(), chunk);
                }
                Operation::Delete {
                    tree: TreeId::CHUNKS,
                    key,
                } => {
                    let chunk = self.memory.lock().chunks.remove(key);
                    if let (Some(chunk), Some(pointer)) = (chunk, key::chunk_pointer(key)) {
                        let length = u64::from(chunk.length);
                        self.segments.punch(pointer.segment, chunk.offset, length)?;
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl LogStore for Saboteur {
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.memory.lock().log_file = file;
        self.0.log.write(file, offset, bytes)?;
        if self.0.how == Sabotage::PunchBeforeCommit {
            // The record is there: a stop in this is the next I/O's to tell.
            let _ = self.0.punch_early(bytes);
        }
        Ok(())
    }

    fn prepare(&self, file: usize, length: u64) -> Result<()> {
        self.0.log.prepare(file, length)
    }

    fn sync(&self, file: usize) -> Result<()> {
        if self.0.how != Sabotage::LogSyncForgotten {
            self.0.log.sync(file)?;
        }
        self.0.sync_late()
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.0.log.read(file, offset, into)
    }
}

impl SegmentStore for Saboteur {
    fn create(&self, segment: SegmentId) -> Result<()> {
        self.0.segments.create(segment)
    }

    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.segments.write(segment, offset, bytes)
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()> {
        self.0.segments.read(segment, offset, into)
    }

    fn length(&self, segment: SegmentId) -> Result<u64> {
        self.0.segments.length(segment)
    }

    fn sync(&self, segment: SegmentId) -> Result<()> {
        match self.0.how {
            Sabotage::SegmentSyncForgotten => Ok(()),
            Sabotage::MetadataBeforeData => {
                self.0.memory.lock().unsynced.insert(segment);
                Ok(())
            }
            _ => self.0.segments.sync(segment),
        }
    }

    fn punch(&self, segment: SegmentId, offset: u64, length: u64) -> Result<()> {
        self.0.segments.punch(segment, offset, length)
    }

    fn seal(&self, segment: SegmentId, length: u64) -> Result<()> {
        self.0.segments.seal(segment, length)
    }

    fn list(&self) -> Result<Vec<SegmentId>> {
        self.0.segments.list()
    }

    fn remove(&self, segment: SegmentId) -> Result<()> {
        self.0.segments.remove(segment)
    }
}

impl PageStore for Saboteur {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        self.0.pages.get(page)
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        self.0.pages.meta()
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        if self.0.how == Sabotage::LogEmptiedBeforeCommit {
            let file = self.0.memory.lock().log_file;
            self.0.log.write(file, 0, &[0; HEADER_BYTES])?;
        }
        self.0.pages.commit(puts, deletes, meta)?;
        self.0.sync_late()
    }

    fn reserve(&self, bytes: u64) -> Result<()> {
        self.0.pages.reserve(bytes)
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        self.0.pages.list(each)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.0.pages.size_bytes()
    }

    fn close(&self) {
        self.0.pages.close();
    }
}
