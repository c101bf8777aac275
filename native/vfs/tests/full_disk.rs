//! A disk that is really full: a small file system on a loop device, and one in memory.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test may panic")]

#[path = "support/small_disk.rs"]
mod small_disk;
mod support;

use lockstep_vfs::{OpenFlags, StoreOptions, Vfs, VfsError};
use small_disk::SmallDisk;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{TestStore, WRITE, new_store_in, root};

const MIB: usize = 1 << 20;
/// Within this time what was deleted is free.
const FREE_WITHIN: Duration = Duration::from_secs(10);

/// Runs `test` on each kind of disk there is.
fn on_disks(mebibytes: u64, test: impl Fn(&TestStore)) {
    for kind in ["ext4", "tmpfs"] {
        if let Some(disk) = SmallDisk::new(kind, mebibytes) {
            let store = new_store_in(disk.path());
            test(&store);
            let mut store = store;
            store.check_and_reopen();
            store.vfs.close().unwrap();
        }
    }
}

fn content(number: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|at| ((at / 7) ^ (number * 31)) as u8)
        .collect()
}

/// A new file with all of `bytes`, or none.
fn try_write(store: &TestStore, path: &str, bytes: &[u8]) -> Result<(), VfsError> {
    let (parent, name) = store.split(path);
    let flags = OpenFlags {
        truncate: true,
        ..WRITE
    };
    let (_, handle) = store
        .vfs
        .create_file(&root(), parent, &name, 0o644, flags)?;
    let written = store.vfs.write(handle, 0, bytes);
    store.vfs.release(handle)?;
    if written.is_err() {
        store.unlink(path)?;
    }
    written.map(|_| ())
}

/// Makes files `PREFIX0`, `PREFIX1`, ... until there is no space, not even a while later; returns
/// how many.
fn fill(store: &TestStore, prefix: &str, length: usize) -> usize {
    let (mut number, mut refused) = (0, 0);
    while refused < 3 {
        let path = format!("{prefix}{number}");
        match try_write(store, &path, &content(number, length)) {
            Ok(()) => (number, refused) = (number + 1, 0),
            Err(error) => {
                assert_eq!(error.code(), "ENOSPC", "{error}");
                refused += 1;
                std::thread::sleep(Duration::from_millis(500));
            }
        }
    }
    number
}

fn verify(store: &TestStore, prefix: &str, numbers: impl Iterator<Item = usize>, length: usize) {
    for number in numbers {
        let found = store.read_file(&format!("{prefix}{number}"));
        assert!(found == content(number, length), "{prefix}{number}");
    }
}

fn available(store: &TestStore) -> u64 {
    store
        .vfs
        .statistics(store.node("/"))
        .unwrap()
        .available_bytes
}

fn wait_for_space(store: &TestStore, bytes: usize) {
    let start = Instant::now();
    while available(store) < bytes as u64 {
        let space = available(store);
        assert!(
            start.elapsed() < FREE_WITHIN,
            "{space} bytes are free, not {bytes}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn writers_are_refused_reading_and_deleting_go_on() {
    on_disks(96, |store| {
        let count = fill(store, "/large", MIB);
        assert!(count > 64, "{count} MiB on a disk of 96");
        let small = fill(store, "/small", 1000);
        assert_eq!(available(store), 0);
        let more = try_write(store, "/more", &content(0, 4 * MIB)).unwrap_err();
        assert_eq!(more.code(), "ENOSPC");
        assert_eq!(
            store
                .mkdir_as(&root(), "/directory", 0o755)
                .unwrap_err()
                .code(),
            "ENOSPC"
        );
        verify(store, "/large", 0..count, MIB);
        verify(store, "/small", 0..small, 1000);
        assert_eq!(store.names("/").len(), count + small);
        let (kept, deleted): (Vec<usize>, Vec<usize>) = (0..count).partition(|n| n % 2 == 0);
        for number in &deleted {
            store.unlink(&format!("/large{number}")).unwrap();
        }
        wait_for_space(store, (deleted.len() - 8) * MIB);
        for number in &deleted[..deleted.len() - 8] {
            let path = format!("/large{number}");
            try_write(store, &path, &content(*number, MIB)).unwrap();
        }
        verify(store, "/large", kept.into_iter(), MIB);
    });
}

#[test]
fn what_is_only_names_is_deleted_from_a_full_disk() {
    on_disks(64, |store| {
        store.mkdir("/many");
        let count = fill(store, "/many/", 1500);
        assert!(count > 10_000, "{count} small files on a disk of 64 MiB");
        for number in 0..count {
            store.unlink(&format!("/many/{number}")).unwrap();
        }
        store.vfs.settle();
        assert!(fill(store, "/many/", 1500) > count / 2);
        store.remove_tree("/many").unwrap();
        store.vfs.settle();
        assert!(fill(store, "/again", 1500) > count / 2);
    });
}

#[test]
fn snapshots_hold_space_until_they_are_deleted() {
    on_disks(96, |store| {
        let half = 30;
        for number in 0..half {
            let bytes = content(number, MIB);
            try_write(store, &format!("/held{number}"), &bytes).unwrap();
        }
        store.snapshot("/", "first");
        let count = fill(store, "/large", MIB);
        fill(store, "/small", 1000);
        for number in 0..half {
            store.unlink(&format!("/held{number}")).unwrap();
        }
        std::thread::sleep(Duration::from_millis(1500));
        assert!(available(store) < 8 * MIB as u64, "the snapshot holds them");
        verify(store, "/.snapshot/first/held", 0..half, MIB);
        verify(store, "/large", 0..count, MIB);
        let root_node = store.node("/");
        store
            .vfs
            .delete_snapshot(&root(), root_node, b"first")
            .unwrap();
        wait_for_space(store, (half - 8) * MIB);
        try_write(store, "/large0", &content(0, 4 * MIB)).unwrap();
    });
}

#[test]
fn a_full_store_is_closed_and_opened() {
    for kind in ["ext4", "tmpfs"] {
        let Some(disk) = SmallDisk::new(kind, 64) else {
            continue;
        };
        let mut store = new_store_in(disk.path());
        let count = fill(&store, "/large", MIB);
        let small = fill(&store, "/small", 1000);
        // What others put there leaves not a byte.
        let others = disk.path().join("others");
        let size = std::fs::write(&others, vec![1; 64 * MIB]);
        assert!(size.is_err());
        for _ in 0..3 {
            store.check_and_reopen();
            verify(&store, "/large", 0..count, MIB);
            verify(&store, "/small", 0..small, 1000);
        }
        for number in 0..count {
            store.unlink(&format!("/large{number}")).unwrap();
        }
        wait_for_space(&store, (count - 8) * MIB);
        try_write(&store, "/large0", &content(0, 4 * MIB)).unwrap();
        store.check_and_reopen();
        store.vfs.close().unwrap();
    }
}

const WORKER_STORE: &str = "FULL_DISK_STORE";
const WORKER_SEED: &str = "FULL_DISK_SEED";
const SLOTS: u64 = 24;

/// Numbers from a seed (xorshift).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn length_of(version: u64) -> usize {
    [300, 5000, 400_000, 3 * MIB, 6 * MIB][version as usize % 5]
}

/// Changes files at random until it is killed; tells what it begins and what was acknowledged.
#[test]
#[ignore = "the process that the test below kills"]
fn worker() {
    let (Ok(path), Ok(seed)) = (std::env::var(WORKER_STORE), std::env::var(WORKER_SEED)) else {
        return;
    };
    let vfs = Vfs::open(Path::new(&path), &StoreOptions::default()).unwrap();
    let store = TestStore::over(vfs);
    let mut numbers = Numbers(seed.parse().unwrap());
    loop {
        let (slot, version) = (numbers.below(SLOTS), numbers.below(1 << 30));
        let file = format!("/file{slot}");
        let result = if numbers.below(3) == 0 {
            println!("begin {slot} deleted");
            store
                .exists(&file)
                .then(|| store.unlink(&file))
                .transpose()
                .map(|_| ())
        } else {
            let bytes = content(version as usize, length_of(version));
            let written = try_write(&store, "/new", &bytes);
            println!("begin {slot} {version}");
            written.and_then(|()| store.rename("/new", &file))
        };
        match result {
            Ok(()) => println!("done"),
            Err(error) => {
                assert_eq!(error.code(), "ENOSPC", "{error}");
                println!("refused");
            }
        }
    }
}

/// Lets a worker go on for a while, kills it, and notes what it said.
fn work_and_kill(store: &Path, seed: u64, files: &mut BTreeMap<u64, Vec<String>>) -> [u64; 2] {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["worker", "--exact", "--ignored", "--nocapture"])
        .env(WORKER_STORE, store)
        .env(WORKER_SEED, seed.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
    std::thread::sleep(Duration::from_millis(700 + seed % 800));
    assert!(
        child.try_wait().unwrap().is_none(),
        "it ended by itself, seed={seed}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    let (mut done, mut refused, mut begun) = (0, 0, None);
    for line in reader.join().unwrap().lines() {
        let words: Vec<&str> = line.split(' ').collect();
        match (words.as_slice(), begun.take()) {
            (["begin", slot, version], _) => {
                begun = Some((slot.parse::<u64>().unwrap(), (*version).to_owned()));
            }
            (["done"], Some((slot, version))) => {
                done += 1;
                files.insert(slot, vec![version]);
            }
            (["refused"], _) => refused += 1,
            _ => {}
        }
    }
    // What was not acknowledged may have happened.
    if let Some((slot, version)) = begun {
        files
            .entry(slot)
            .or_insert_with(|| vec!["deleted".to_owned()])
            .push(version);
    }
    [done, refused]
}

#[test]
fn nothing_acknowledged_is_lost_to_kills_on_a_full_disk() {
    let Some(disk) = SmallDisk::new("ext4", 64) else {
        return;
    };
    let path = disk.path().join("store");
    Vfs::create(&path).unwrap();
    let first = RandomState::new().hash_one("full") | 1;
    println!("seed={first}");
    let mut files = BTreeMap::new();
    let mut sums = [0; 2];
    for round in 0..12 {
        let counts = work_and_kill(&path, first.wrapping_add(round * 2), &mut files);
        sums = [sums[0] + counts[0], sums[1] + counts[1]];
        let vfs = Vfs::open(&path, &StoreOptions::default()).unwrap();
        let store = TestStore::over(vfs);
        for (slot, versions) in &mut files {
            let file = format!("/file{slot}");
            let found = store.exists(&file).then(|| store.read_file(&file));
            let matches = |version: &String| match version.parse::<u64>() {
                Ok(version) => found == Some(content(version as usize, length_of(version))),
                Err(_) => found.is_none(),
            };
            let kept = versions.iter().find(|version| matches(version)).cloned();
            let kept =
                kept.unwrap_or_else(|| panic!("seed={first}, {file} is none of {versions:?}"));
            *versions = vec![kept];
        }
        store.vfs.close().unwrap();
        let report = lockstep_store::Store::check(&path, &|_| ()).unwrap();
        assert!(
            report.problems.is_empty(),
            "seed={first}, {:#?}",
            report.problems
        );
    }
    println!("{} changes, {} refused, 12 kills", sums[0], sums[1]);
    assert!(sums[0] > 100 && sums[1] > 10, "{sums:?}");
}
