//! How long does a store take to open whose log is as full as it gets?
//!
//! `cargo bench -p lockstep-store --bench recovery [-- [--quick] [DIR]]`: fills both files of the log
//! with creates, writes of 4 KiB and copies of synced bytes while a commit hangs, lets the store die,
//! and opens it. What is read is in the page cache, as after the death of a process.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use lockstep_format::{Dentry, FileKind, Inode, InodeId, PageId, Timestamp, ViewId, key};
use lockstep_store::{LogStore, PageStore, Parts, Reader, Result, Store, StoreError, StoreOptions};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// A file of the log is full: a little below where writers would wait for the commit.
const FILE_BYTES: u64 = 127 << 20;
const BLOCK: [u8; 4096] = [7; 4096];
/// One step in so many writes a block, and one in so many syncs what was written.
const STEPS_PER_WRITE: u64 = 4;
const STEPS_PER_SYNC: u64 = 32;
const FILES: u64 = 64;

/// Pages whose commits hang, all but the first, and fail in the end.
struct Hanging {
    pages: Box<dyn PageStore>,
    turns: Mutex<(Sender<()>, Receiver<()>)>,
}

impl PageStore for Hanging {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        self.pages.get(page)
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        self.pages.meta()
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        if self.pages.meta()?.is_none() {
            return self.pages.commit(puts, deletes, meta);
        }
        let turns = self.turns.lock().unwrap();
        turns.0.send(()).unwrap();
        turns.1.recv().unwrap();
        Err(StoreError::Closed { reason: None })
    }

    fn list(&self, each: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        self.pages.list(each)
    }

    fn size_bytes(&self) -> Result<u64> {
        self.pages.size_bytes()
    }

    fn close(&self) {
        self.pages.close();
    }
}

/// A log that counts its bytes and leaves syncing to the kernel.
struct Counting {
    log: Box<dyn LogStore>,
    bytes: Arc<AtomicU64>,
}

impl LogStore for Counting {
    fn write(&self, file: usize, offset: u64, bytes: &[u8]) -> Result<()> {
        self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.log.write(file, offset, bytes)
    }

    fn prepare(&self, file: usize, length: u64) -> Result<()> {
        self.log.prepare(file, length)
    }

    fn sync(&self, _file: usize) -> Result<()> {
        Ok(())
    }

    fn read(&self, file: usize, offset: u64, into: &mut [u8]) -> Result<usize> {
        self.log.read(file, offset, into)
    }
}

fn inode(kind: FileKind, blocks: u64) -> Inode {
    let now = Timestamp {
        seconds: 1,
        nanoseconds: 0,
    };
    Inode {
        kind,
        mode: 0o644,
        nlink: 1,
        uid: 0,
        gid: 0,
        size: blocks * BLOCK.len() as u64,
        allocated: blocks * BLOCK.len() as u64,
        rdev: 0,
        flags: 0,
        parent: InodeId::ROOT,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        block_size: 0,
        replication: 0,
    }
}

/// Names a new file, as a create through a mount does.
fn create(store: &Store, number: u64) -> Result<InodeId> {
    store.write(|txn| {
        let id = txn.new_inode()?;
        let kind = FileKind::File;
        txn.put_inode(ViewId::ROOT, id, &inode(kind, 0))?;
        let name = key::dentry(InodeId::ROOT, format!("file-{number:08}").as_bytes());
        let volume = None;
        let entry = Dentry {
            inode: id,
            kind,
            volume,
        };
        txn.put(ViewId::ROOT, &name, &entry.encode())?;
        let root = inode(FileKind::Directory, 0);
        txn.put_inode(ViewId::ROOT, InodeId::ROOT, &root)?;
        Ok(id)
    })
}

/// Appends a block to a file that has `blocks`.
fn append(store: &Store, file: InodeId, blocks: u64) -> Result<()> {
    let staged = store.stage(blocks * BLOCK.len() as u64, &BLOCK)?;
    store.write(|txn| {
        txn.put_range(ViewId::ROOT, file, &staged)?;
        let grown = inode(FileKind::File, blocks + 1);
        txn.put_inode(ViewId::ROOT, file, &grown)
    })
}

/// Goes on with the work, from step `step`, until the log has taken `bytes`.
fn work(store: &Store, files: &mut Vec<InodeId>, step: &mut u64, bytes: &AtomicU64, goal: u64) {
    while bytes.load(Ordering::Relaxed) < goal {
        let created = create(store, *step).unwrap();
        if (files.len() as u64) < FILES {
            files.push(created);
        }
        if step.is_multiple_of(STEPS_PER_WRITE) {
            let write = *step / STEPS_PER_WRITE;
            let file = files[(write % files.len() as u64) as usize];
            append(store, file, write / FILES).unwrap();
        }
        if step.is_multiple_of(STEPS_PER_SYNC) {
            store.sync().unwrap();
        }
        *step += 1;
    }
}

/// Leaves a store behind whose log's files hold `file_bytes` each, none of them committed.
fn fill(dir: &Path, file_bytes: u64) {
    Store::create(dir).unwrap();
    let mut parts = Parts::of_directory(dir, false).unwrap();
    let (hangs, hanging) = channel();
    let (release, released) = channel();
    let turns = Mutex::new((hangs, released));
    let pages = parts.pages;
    parts.pages = Box::new(Hanging { pages, turns });
    let bytes = Arc::new(AtomicU64::new(0));
    parts.log = Box::new(Counting {
        log: parts.log,
        bytes: Arc::clone(&bytes),
    });
    let store = Store::open_parts(&StoreOptions::default(), parts).unwrap();
    let (mut files, mut step) = (Vec::new(), 0);
    work(&store, &mut files, &mut step, &bytes, file_bytes);
    std::thread::scope(|scope| {
        let commit = scope.spawn(|| store.maintain());
        hanging.recv().unwrap();
        work(&store, &mut files, &mut step, &bytes, 2 * file_bytes);
        release.send(()).unwrap();
        assert!(commit.join().unwrap().is_err());
    });
    // A store whose commit failed commits nothing when it is closed.
    assert!(store.close().is_err());
}

/// A figure of this process's memory, in bytes.
fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    let kib = line.split_whitespace().nth(1).unwrap();
    kib.parse::<u64>().unwrap() << 10
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_quick = arguments.iter().any(|word| word == "--quick");
    let dir = arguments.iter().find(|word| !word.starts_with('-'));
    let temporary = tempfile::tempdir_in(dir.map_or("/tmp", |dir| dir)).unwrap();
    let path = temporary.path().join("store");
    fill(
        &path,
        if is_quick {
            FILE_BYTES >> 6
        } else {
            FILE_BYTES
        },
    );
    let before = memory("VmRSS");
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let start = Instant::now();
    let store = Store::open(&path, &StoreOptions::default()).unwrap();
    let milliseconds = start.elapsed().as_millis() as u64 + 1;
    let report = store.recovery();
    let (records, mib) = (report.records, report.bytes >> 20);
    println!(
        "recovered {records} records, {mib} MiB: {milliseconds} ms, {} records/s, {} MiB/s",
        records * 1000 / milliseconds,
        mib * 1000 / milliseconds,
    );
    println!(
        "  {} changed keys kept, {} MiB of memory more at most",
        report.changed.len(),
        (memory("VmHWM") - before) >> 20,
    );
    let inodes = store.read(|txn| txn.view(ViewId::ROOT)).unwrap();
    println!("  {} inodes", inodes.unwrap().inodes);
    store.close().unwrap();
}
