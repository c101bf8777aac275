//! A disk that loses, tears and reorders what was not synced.

use crate::random::Random;
use lockstep_format::{PageId, SegmentId, Timestamp};
use lockstep_store::{Clock, LogStore, PageStore, Parts, Result, SegmentStore, StoreError};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const SECTOR: usize = 512;

/// When something goes wrong; I/O is counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The machine or the process stops in the n-th I/O.
    StopAt(u64),
    /// The n-th I/O fails; those after it work.
    FailAt(u64),
}

/// Promises the disk breaks on purpose, to see that breaking them is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lies {
    /// Syncing the log does nothing.
    pub log_sync: bool,
    /// Syncing a segment does nothing.
    pub segment_sync: bool,
    /// A commit is not durable when it returns.
    pub commit: bool,
}

#[derive(Clone, Debug, Default)]
struct File {
    /// What a reader sees.
    kernel: Vec<u8>,
    /// What is on the disk for sure.
    durable: Vec<u8>,
    /// Written since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
}

fn place(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if image.len() < offset + bytes.len() {
        image.resize(offset + bytes.len(), 0);
    }
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl File {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        place(&mut self.kernel, offset, bytes);
        self.pending.push((offset, bytes.to_vec()));
    }

    fn sync(&mut self) {
        self.pending.clear();
        self.durable.clone_from(&self.kernel);
    }

    /// What a power cut leaves.
    fn cut(&self, random: &mut Random) -> Self {
        let mut image = self.durable.clone();
        let kept = [0, 50, 90, 100][random.below(4) as usize];
        let mut sectors = Vec::new();
        for (offset, bytes) in &self.pending {
            let mut at = 0;
            while at < bytes.len() {
                let room = SECTOR - (offset + at) % SECTOR;
                let end = (at + room).min(bytes.len());
                sectors.push((offset + at, &bytes[at..end]));
                at = end;
            }
        }
        // Any order: a later write of a sector may be lost while an earlier one arrives.
        for index in (1..sectors.len()).rev() {
            if random.chance(30) {
                sectors.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        for (offset, bytes) in sectors {
            if random.chance(kept) {
                place(&mut image, offset, bytes);
            }
        }
        Self {
            kernel: image.clone(),
            durable: image,
            pending: Vec::new(),
        }
    }
}

/// The pages and the commit record.
#[derive(Clone, Debug, Default)]
struct Image {
    pages: BTreeMap<PageId, Vec<u8>>,
    meta: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Inner {
    random: Random,
    logs: [File; 2],
    segments: BTreeMap<SegmentId, File>,
    image: Image,
    /// What a cut leaves of the pages, if the disk lies about commits.
    image_before: Option<Image>,
    operations: u64,
    fault: Fault,
    stopped: bool,
    lies: Lies,
    seconds: i64,
}

/// A simulated disk, with its clock.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Inner>>);

fn failed() -> StoreError {
    StoreError::Io {
        what: "simulated I/O",
        source: std::io::Error::from_raw_os_error(5),
    }
}

/// How an I/O goes.
enum Fate {
    Done,
    /// It fails, having had its effect or not.
    Failed {
        applied: bool,
    },
}

impl Inner {
    fn fate(&mut self) -> Result<Fate> {
        if self.stopped {
            return Err(failed());
        }
        self.operations += 1;
        let applied = self.random.chance(50);
        match self.fault {
            Fault::StopAt(n) if n == self.operations => {
                self.stopped = true;
                Ok(Fate::Failed { applied })
            }
            Fault::FailAt(n) if n == self.operations => Ok(Fate::Failed { applied }),
            _ => Ok(Fate::Done),
        }
    }

    /// Does a write-like I/O.
    fn perform(&mut self, effect: impl FnOnce(&mut Self)) -> Result<()> {
        match self.fate()? {
            Fate::Done => {
                effect(self);
                Ok(())
            }
            Fate::Failed { applied } => {
                if applied {
                    effect(self);
                }
                Err(failed())
            }
        }
    }
}

impl Disk {
    /// An empty disk.
    pub fn new(seed: u64, lies: Lies) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            random: Random::new(seed),
            logs: Default::default(),
            segments: BTreeMap::new(),
            image: Image::default(),
            image_before: None,
            operations: 0,
            fault: Fault::None,
            stopped: false,
            lies,
            seconds: 1_000_000_000,
        })))
    }

    /// Counts I/O from 1 again and plans a fault.
    pub fn plan(&self, fault: Fault) {
        let mut inner = self.0.lock();
        inner.operations = 0;
        inner.fault = fault;
    }

    /// I/O since the last plan.
    pub fn operations(&self) -> u64 {
        self.0.lock().operations
    }

    /// Whether the planned stop has happened.
    pub fn stopped(&self) -> bool {
        self.0.lock().stopped
    }

    /// What the next process finds: after a power cut, or (`power` false) after a kill.
    #[must_use]
    pub fn restart(&self, power: bool) -> Self {
        let mut inner = self.0.lock();
        let inner = &mut *inner;
        let random = &mut inner.random;
        let mut left = |file: &File| {
            if power {
                file.cut(random)
            } else {
                file.clone()
            }
        };
        let logs = [left(&inner.logs[0]), left(&inner.logs[1])];
        let segments = inner
            .segments
            .iter()
            .map(|(id, file)| (*id, left(file)))
            .collect();
        let image = match &inner.image_before {
            Some(before) if power && inner.random.chance(50) => before.clone(),
            _ => inner.image.clone(),
        };
        let seed = inner.random.any();
        let disk = Self::new(seed, inner.lies);
        {
            let mut next = disk.0.lock();
            (next.logs, next.segments, next.image) = (logs, segments, image);
            next.seconds = inner.seconds;
        }
        disk
    }

    /// The parts of a store on this disk.
    pub fn parts(&self) -> Parts {
        Parts {
            pages: Box::new(self.clone()),
            segments: Box::new(self.clone()),
            log: Box::new(self.clone()),
            clock: Box::new(self.clone()),
        }
    }
}

impl Clock for Disk {
    fn now(&self) -> Timestamp {
        let mut inner = self.0.lock();
        inner.seconds += 1;
        Timestamp {
            seconds: inner.seconds,
            nanoseconds: 0,
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut inner = self.0.lock();
        u128::from(inner.random.any()).to_le_bytes()
    }
}

impl LogStore for Disk {
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0
            .lock()
            .perform(|inner| inner.logs[file].write(offset as usize, bytes))
    }

    fn sync(&self, file: usize) -> Result<()> {
        self.0.lock().perform(|inner| {
            if !inner.lies.log_sync {
                inner.logs[file].sync();
            }
        })
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize> {
        let inner = self.0.lock();
        let bytes = inner.logs[file]
            .kernel
            .get(offset as usize..)
            .unwrap_or_default();
        let count = bytes.len().min(into.len());
        into[..count].copy_from_slice(&bytes[..count]);
        Ok(count)
    }
}

impl SegmentStore for Disk {
    fn create(&self, segment: SegmentId) -> Result<()> {
        self.0.lock().perform(|inner| {
            inner.segments.insert(segment, File::default());
        })
    }

    fn write(&self, segment: SegmentId, offset: u64, bytes: &[u8]) -> Result<()> {
        self.0.lock().perform(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.write(offset as usize, bytes);
            }
        })
    }

    fn read(&self, segment: SegmentId, offset: u64, into: &mut [u8]) -> Result<()> {
        let inner = self.0.lock();
        let file = inner.segments.get(&segment).ok_or_else(failed)?;
        let start = offset as usize;
        let bytes = file
            .kernel
            .get(start..start + into.len())
            .ok_or_else(failed)?;
        into.copy_from_slice(bytes);
        Ok(())
    }

    fn length(&self, segment: SegmentId) -> Result<u64> {
        let inner = self.0.lock();
        let file = inner.segments.get(&segment).ok_or_else(failed)?;
        Ok(file.kernel.len() as u64)
    }

    fn sync(&self, segment: SegmentId) -> Result<()> {
        self.0.lock().perform(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment)
                && !inner.lies.segment_sync
            {
                file.sync();
            }
        })
    }

    fn punch(&self, segment: SegmentId, offset: u64, length: u64) -> Result<()> {
        // At once and for good: the worst time for whoever still needs the bytes.
        self.0.lock().perform(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                let zeros = vec![0; length as usize];
                place(&mut file.kernel, offset as usize, &zeros);
                place(&mut file.durable, offset as usize, &zeros);
                file.pending.push((offset as usize, zeros));
            }
        })
    }

    fn seal(&self, segment: SegmentId, length: u64) -> Result<()> {
        self.0.lock().perform(|inner| {
            if let Some(file) = inner.segments.get_mut(&segment) {
                file.kernel.resize(length as usize, 0);
            }
        })
    }

    fn list(&self) -> Result<Vec<SegmentId>> {
        Ok(self.0.lock().segments.keys().copied().collect())
    }

    fn remove(&self, segment: SegmentId) -> Result<()> {
        self.0.lock().perform(|inner| {
            inner.segments.remove(&segment);
        })
    }
}

impl PageStore for Disk {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().image.pages.get(&page).cloned())
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().image.meta.clone())
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        let puts: Vec<_> = puts.collect();
        self.0.lock().perform(|inner| {
            inner.image_before = inner.lies.commit.then(|| inner.image.clone());
            for page in deletes {
                inner.image.pages.remove(page);
            }
            inner.image.pages.extend(puts);
            inner.image.meta = Some(meta.to_vec());
        })
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        let inner = self.0.lock();
        inner
            .image
            .pages
            .iter()
            .for_each(|(id, bytes)| each(*id, bytes));
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(self
            .0
            .lock()
            .image
            .pages
            .values()
            .map(|bytes| bytes.len() as u64)
            .sum())
    }

    fn close(&self) {}
}
