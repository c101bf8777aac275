//! Where should pages live: in LMDB, or in an append-only file of our own?
//!
//! Runs loads through the engine, keeps what each commit hands to the page store, and plays that to
//! LMDB and to the least page file that could do: pages appended, synced, then one of two commit
//! records overwritten through. Prints bytes written and time per commit, and a checksum of the work.
//! `-- --quick` uses tiny input. Figures: `docs/design/0007-where-pages-live.md`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs
)]

use lockstep_format::key;
use lockstep_format::{InodeId, PageId, ViewId};
use lockstep_sim::disk::{Disk, World};
use lockstep_sim::random::Random;
use lockstep_store::{LmdbPageStore, PageStore, Parts, Result, Store, StoreOptions};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// What a commit hands over.
#[derive(Default)]
struct Commit {
    puts: Vec<(PageId, Vec<u8>)>,
    deletes: Vec<PageId>,
    meta: Vec<u8>,
}

/// Pages in memory, and all commits.
#[derive(Default)]
struct Traced {
    pages: BTreeMap<PageId, Vec<u8>>,
    commits: Vec<Commit>,
}

#[derive(Clone, Default)]
struct Trace(Arc<Mutex<Traced>>);

impl PageStore for Trace {
    fn get(&self, page: PageId) -> Result<Option<Vec<u8>>> {
        Ok(self.0.lock().pages.get(&page).cloned())
    }

    fn meta(&self) -> Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .lock()
            .commits
            .last()
            .map(|commit| commit.meta.clone()))
    }

    fn commit(
        &self,
        puts: &mut dyn Iterator<Item = (PageId, Vec<u8>)>,
        deletes: &[PageId],
        meta: &[u8],
    ) -> Result<()> {
        let mut trace = self.0.lock();
        let puts: Vec<_> = puts.collect();
        trace.pages.extend(puts.iter().cloned());
        for page in deletes {
            trace.pages.remove(page);
        }
        let (deletes, meta) = (deletes.to_vec(), meta.to_vec());
        trace.commits.push(Commit {
            puts,
            deletes,
            meta,
        });
        Ok(())
    }

    fn list(&self, _: &mut dyn FnMut(PageId, &[u8])) -> Result<()> {
        Ok(())
    }

    fn size_bytes(&self) -> Result<u64> {
        Ok(0)
    }

    fn close(&self) {}
}

/// The least a page file of our own would do. Where pages are is only in memory.
struct PageFile {
    pages: File,
    through: File,
    tail: u64,
    commits: u64,
}

impl PageFile {
    fn create(dir: &Path) -> Self {
        let path = dir.join("pages");
        let pages = File::create_new(&path).unwrap();
        let mut options = File::options();
        let through = options.write(true).custom_flags(libc::O_DSYNC);
        Self {
            through: through.open(&path).unwrap(),
            pages,
            tail: 8192,
            commits: 0,
        }
    }

    fn commit(&mut self, commit: &Commit) {
        let pages: Vec<&[u8]> = commit.puts.iter().map(|(_, bytes)| &**bytes).collect();
        let pages = pages.concat();
        self.pages.write_all_at(&pages, self.tail).unwrap();
        self.pages.sync_data().unwrap();
        self.tail += pages.len() as u64;
        self.commits += 1;
        let slot = self.commits % 2 * 4096;
        self.through.write_all_at(&commit.meta, slot).unwrap();
    }
}

/// Bytes this process has handed to the kernel.
fn written_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/io").unwrap();
    let line = text.lines().find(|line| line.starts_with("wchar")).unwrap();
    line.split(' ').nth(1).unwrap().parse().unwrap()
}

fn measure(name: &str, commits: &[Commit], mut commit: impl FnMut(&Commit)) {
    // The first commit brings the base.
    commit(&commits[0]);
    let (before, start) = (written_bytes(), Instant::now());
    let mut slowest = 0.0f64;
    for entry in &commits[1..] {
        let one = Instant::now();
        commit(entry);
        slowest = slowest.max(one.elapsed().as_secs_f64());
    }
    let count = (commits.len() - 1) as f64;
    let seconds = start.elapsed().as_secs_f64();
    let pages: usize = commits[1..].iter().map(|entry| entry.puts.len()).sum();
    let payload: usize = commits[1..]
        .iter()
        .flat_map(|entry| &entry.puts)
        .map(|(_, bytes)| bytes.len())
        .sum();
    let written = (written_bytes() - before) as f64;
    println!(
        "  {name:9} {:8.1} commits/s, slowest {:6.1} ms; {:6.1} pages and {:8.1} KiB of them per commit; \
         {:8.1} KiB written, {:5.2} x, {:5.1} KiB per page",
        count / seconds,
        slowest * 1e3,
        pages as f64 / count,
        payload as f64 / count / 1024.0,
        written / count / 1024.0,
        written / payload as f64,
        written / pages as f64 / 1024.0,
    );
}

fn name(number: u64) -> Vec<u8> {
    key::xattr(InodeId(1000 + number / 100), &number.to_be_bytes())
}

/// What `steps` of a load hand to the page store, behind one commit that holds `base` keys.
fn trace(base: u64, steps: u64, step: impl Fn(&Store, u64)) -> Vec<Commit> {
    let disk = Disk::new(1, World::default()).unwrap();
    let pages = Trace::default();
    let parts = Parts {
        pages: Box::new(pages.clone()),
        segments: Box::new(disk.clone()),
        log: Box::new(disk.clone()),
        clock: Box::new(disk),
    };
    let store = Store::open_parts(&StoreOptions::default(), parts).unwrap();
    for start in (0..base).step_by(1000) {
        put(&store, start..(start + 1000).min(base), 0);
        store.maintain().unwrap();
    }
    {
        // One commit with all that is there.
        let mut trace = pages.0.lock();
        let meta = trace.commits.last().unwrap().meta.clone();
        let puts = trace.pages.clone().into_iter().collect();
        trace.commits.clear();
        trace.commits.push(Commit {
            puts,
            deletes: Vec::new(),
            meta,
        });
    }
    for number in 0..steps {
        step(&store, number);
        store.maintain().unwrap();
    }
    let commits = std::mem::take(&mut pages.0.lock().commits);
    drop(store);
    commits
}

fn put(store: &Store, numbers: impl IntoIterator<Item = u64>, mark: u64) {
    store
        .write(|txn| {
            numbers.into_iter().try_for_each(|number| {
                txn.put(ViewId::ROOT, &name(number), &[(number + mark) as u8; 60])
            })
        })
        .unwrap();
}

fn scattered(base: u64, count: usize, seed: u64) -> BTreeSet<u64> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(base)).collect()
}

fn play(what: &str, dir: &Path, commits: &[Commit]) {
    let checksum = commits.iter().flat_map(|commit| &commit.puts);
    let checksum = checksum.fold(0u32, |sum, (_, bytes)| {
        sum.rotate_left(1) ^ lockstep_format::crc32c(bytes)
    });
    println!(
        "{what} ({} commits, checksum {checksum:08x})",
        commits.len() - 1
    );
    let made = tempfile::tempdir_in(dir).unwrap();
    LmdbPageStore::create(made.path()).unwrap();
    let lmdb = LmdbPageStore::open(made.path()).unwrap();
    measure("LMDB", commits, |commit| {
        let mut puts = commit.puts.iter().cloned();
        lmdb.commit(&mut puts, &commit.deletes, &commit.meta)
            .unwrap();
    });
    lmdb.close();
    let mut file = PageFile::create(made.path());
    measure("page file", commits, |commit| file.commit(commit));
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let (base, steps, many) = if quick {
        (2_000, 3, 100)
    } else {
        (200_000, 100, 1_000)
    };
    // On a disk, not in memory: a commit is mostly its syncs.
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let one = trace(base, steps, |store, step| put(store, [step * 37 % base], 1));
    play("one key changes", dir, &one);
    let created = trace(base, steps, |store, step| {
        let start = base + step * many;
        put(store, start..start + many, 0);
    });
    play("a thousand keys in a row are added", dir, &created);
    let changed = trace(base, steps, |store, step| {
        put(store, scattered(base, many as usize, step), 1);
    });
    play("a thousand keys anywhere change", dir, &changed);
    let import = trace(base, steps.min(20), |store, step| {
        for part in 0..20 {
            let start = base + (step * 20 + part) * many;
            put(store, start..start + many, 0);
        }
    });
    play("twenty thousand keys in a row are added", dir, &import);
}
