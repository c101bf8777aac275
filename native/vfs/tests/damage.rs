//! Damage is named by path, range, volume and snapshot, and takes no more than what it covers.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test may panic, and tells its seed"
)]

mod support;

use lockstep_format::{Footer, ScrubRecord};
use lockstep_store::{
    CheckReport, ProblemKind, RepairReport, RepairStep, ScrubOptions, Store, last_scrub,
};
use lockstep_vfs::{Errno, NodeId, StoreOptions, Vfs, VfsError};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::{TestStore, new_store, root};

fn check(dir: &Path) -> CheckReport {
    Store::check(dir, &|_| ()).unwrap()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("segments")).unwrap();
    let mut list: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    list.sort();
    list
}

fn flip(file: &Path, byte: u64, bit: u8) {
    let mut bytes = fs::read(file).unwrap();
    bytes[byte as usize] ^= 1 << bit;
    fs::write(file, bytes).unwrap();
}

/// Where `needle` stands in a file.
fn find(file: &Path, needle: &[u8]) -> u64 {
    let bytes = fs::read(file).unwrap();
    let at = bytes.windows(needle.len()).position(|part| part == needle);
    at.unwrap() as u64
}

/// One row per file that a report says is hit: path or snapshot, and range.
fn rows(report: &CheckReport) -> Vec<(String, Option<(u64, u64)>)> {
    let affected = report.problems.iter().flat_map(|problem| &problem.affected);
    let mut rows: Vec<_> = affected
        .map(|hit| (hit.path.clone().unwrap_or_default(), hit.range))
        .collect();
    rows.sort();
    rows
}

fn close(store: TestStore) -> (tempfile::TempDir, PathBuf) {
    store.vfs.close().unwrap();
    store.into_dir()
}

#[test]
fn a_damaged_range_is_named_in_every_live_tree_and_snapshot_that_has_it() {
    let store = new_store();
    store.mkdir("/data");
    store.mkdir("/data/deep");
    let mut bytes = vec![1; 100_000];
    bytes[50_000..50_004].copy_from_slice(b"here");
    store.write_file("/data/deep/file", &bytes);
    store.write_file("/data/other", &vec![2; 100_000]);
    store.snapshot("/data", "before");
    let (node, name) = (store.node("/data"), b"before");
    store
        .vfs
        .create_clone(&root(), node, name, NodeId::ROOT, b"clone")
        .unwrap();
    store.rename("/data/deep/file", "/data/moved").unwrap();
    store
        .vfs
        .link(&root(), store.node("/data/moved"), NodeId::ROOT, b"linked")
        .unwrap();
    let (_keep, dir) = close(store);
    assert_eq!(check(&dir).problems, vec![]);

    let segment = &segments(&dir)[0];
    flip(segment, find(segment, b"here"), 3);
    let report = check(&dir);
    assert_eq!(report.problems.len(), 1, "{:#?}", report.problems);
    assert_eq!(report.problems[0].kind, ProblemKind::Bytes);
    // The grain of 16 KiB that holds the byte.
    let range = Some((49_152, 16_384));
    let expected = [
        ("/clone/deep/file", range),
        ("/data/.snapshot/before/deep/file", range),
        ("/data/moved", range),
        ("/linked", range),
    ];
    assert_eq!(
        rows(&report),
        expected.map(|(path, range)| (path.to_owned(), range))
    );
}

/// Files that were made durable in the log; later records say so.
const SYNCED: usize = 6;

/// A copy of a store as a process that died leaves it: snapshots, clones, sealed and open segments,
/// files of every kind, and changes that only the log has.
struct Fixture {
    _keep: tempfile::TempDir,
    dir: PathBuf,
    /// What is in pages.
    committed: BTreeMap<String, Vec<u8>>,
    /// What is in the log, in the order of its records.
    logged: Vec<(String, Vec<u8>)>,
}

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed)
        .collect()
}

impl Fixture {
    fn new() -> Self {
        for _ in 0..20 {
            let fixture = Self::build();
            // A commit between the last change and the copy: there is nothing in the log then, or
            // the copy is torn.
            let report = Store::check(&fixture.dir, &|_| ());
            if report.is_ok_and(|report| report.log_records > 5 && report.problems.is_empty()) {
                return fixture;
            }
        }
        panic!("every copy met a commit");
    }

    fn build() -> Self {
        let mut store = new_store();
        let mut committed = BTreeMap::new();
        for directory in ["/a", "/a/b", "/c"] {
            store.mkdir(directory);
        }
        for number in 0..60u8 {
            let path = format!("/a/small{number}");
            committed.insert(path, pattern(usize::from(number) * 30, number));
        }
        committed.insert("/a/b/large".into(), pattern(1_500_000, 77));
        committed.insert("/a/b/middle".into(), pattern(40_000, 78));
        committed.insert("/c/plain".into(), pattern(100_000, 79));
        for (path, bytes) in &committed {
            store.write_file(path, bytes);
        }
        store.snapshot("/a", "s");
        let clone = |store: &TestStore| {
            store
                .vfs
                .create_clone(&root(), store.node("/a"), b"s", NodeId::ROOT, b"k")
                .unwrap();
        };
        clone(&store);
        for (path, bytes) in committed.clone() {
            if let Some(rest) = path.strip_prefix("/a/") {
                committed.insert(format!("/a/.snapshot/s/{rest}"), bytes.clone());
                committed.insert(format!("/k/{rest}"), bytes);
            }
        }
        for path in ["/a/b/middle", "/a/small7", "/k/small9", "/c/plain"] {
            let bytes = pattern(50_000, 99);
            store.write_file(path, &bytes);
            committed.insert(path.into(), bytes);
        }
        store.reopen();
        let logged: Vec<_> = (0..8u8)
            .map(|number| {
                (
                    format!("/c/logged{number}"),
                    pattern(usize::from(number) * 9000, number),
                )
            })
            .collect();
        for (number, (path, bytes)) in logged.iter().enumerate() {
            store.write_file(path, bytes);
            if number < SYNCED {
                store.vfs.sync().unwrap();
            }
        }
        let keep = tempfile::tempdir().unwrap();
        let dir = keep.path().join("store");
        copy(&store.path(), &dir);
        Self {
            _keep: keep,
            dir,
            committed,
            logged,
        }
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut list = segments(&self.dir);
        for name in [
            "meta/data.mdb",
            "meta/lock.mdb",
            "log/0.log",
            "log/1.log",
            "superblock",
        ] {
            list.push(self.dir.join(name));
        }
        list.iter()
            .map(|path| path.strip_prefix(&self.dir).unwrap().to_owned())
            .collect()
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn read(vfs: &Vfs, path: &str) -> Result<Vec<u8>, VfsError> {
    let found = vfs.resolve(&root(), path.as_bytes(), false)?;
    let handle = vfs.open_file(&root(), found.node, support::READ)?;
    let mut bytes = vec![0; found.size as usize];
    let read = vfs.read(handle, 0, &mut bytes);
    vfs.release(handle).unwrap();
    bytes.truncate(read?);
    Ok(bytes)
}

const OPENING_REFUSED: [&str; 4] = [
    "ERR_LOCKSTEP_CORRUPT",
    "ERR_LOCKSTEP_SUPERBLOCK",
    "ERR_LOCKSTEP_NEWER_FORMAT",
    "ERR_LOCKSTEP_NOT_A_STORE",
];

/// Opens a damaged copy and reads everything: right bytes or a named error, and nothing that the
/// report does not know of. Returns how many files could not be read.
fn judge(fixture: &Fixture, dir: &Path, what: &str) -> usize {
    let report = match Store::check(dir, &|_| ()) {
        Ok(report) => report,
        Err(error) => {
            assert!(OPENING_REFUSED.contains(&error.code()), "{what}: {error}");
            let opened = Vfs::open(dir, &StoreOptions::default());
            let code = opened.err().map(|error| error.code());
            assert_eq!(code, Some(error.code()), "{what}");
            return fixture.committed.len();
        }
    };
    let known: Vec<_> = rows(&report).into_iter().map(|(path, _)| path).collect();
    let kinds: Vec<_> = report.problems.iter().map(|problem| problem.kind).collect();
    let vfs = match Vfs::open(dir, &StoreOptions::default()) {
        Ok(vfs) => vfs,
        Err(error) => {
            let is_told = error.code() == "ERR_LOCKSTEP_LOG_DAMAGED";
            let is_known = is_told && kinds.contains(&ProblemKind::Log);
            assert!(
                is_known,
                "{what}: checked with {:#?}, but {error}",
                report.problems
            );
            return fixture.committed.len();
        }
    };
    let mut unreadable = 0;
    for (path, bytes) in &fixture.committed {
        match read(&vfs, path) {
            Ok(found) => assert!(found == *bytes, "{what}: {path} has wrong bytes"),
            Err(error) => {
                assert_eq!(error.code(), "ERR_LOCKSTEP_CORRUPT", "{what}: {path}");
                let is_known = known.contains(path) || kinds.contains(&ProblemKind::Page);
                assert!(
                    is_known,
                    "{what}: {path}: {error}, but {:#?}",
                    report.problems
                );
                unreadable += 1;
            }
        }
    }
    let mut ended = false;
    for (path, bytes) in &fixture.logged {
        match read(&vfs, path) {
            Ok(found) if found == *bytes && (!ended || bytes.is_empty()) => {}
            Ok(found) if found.is_empty() && !ended => ended = true,
            Err(VfsError::Errno(Errno::NotFound)) => ended = true,
            Err(error) if error.code() == "ERR_LOCKSTEP_CORRUPT" => {
                assert!(!kinds.is_empty(), "{what}: {path}: {error}");
            }
            other => panic!("{what}: {path}: {:?}", other.map(|bytes| bytes.len())),
        }
    }
    if ended {
        // What was durable is not lost: the store would not have opened.
        let (path, bytes) = &fixture.logged[SYNCED - 2];
        assert_eq!(read(&vfs, path).unwrap(), *bytes, "{what}");
    }
    vfs.close().ok();
    unreadable
}

#[test]
fn a_flipped_bit_anywhere_is_never_served_and_takes_no_more_than_it_covers() {
    let seed = env_number("LOCKSTEP_SEED", 0x5eed);
    let rounds = env_number("LOCKSTEP_FLIPS", 20);
    println!("LOCKSTEP_SEED={seed:#x} LOCKSTEP_FLIPS={rounds}");
    let fixture = Fixture::new();
    let mut random = seed;
    for file in fixture.files() {
        let length = fs::metadata(fixture.dir.join(&file)).unwrap().len();
        for _ in 0..rounds.min(length) {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (byte, bit) = ((random >> 16) % length, (random >> 61) as u8);
            let keep = tempfile::tempdir().unwrap();
            let dir = keep.path().join("store");
            copy(&fixture.dir, &dir);
            flip(&dir.join(&file), byte, bit);
            let what = format!("{} byte {byte} bit {bit}", file.display());
            judge(&fixture, &dir, &what);
        }
    }
}

fn env_number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).unwrap_or_default();
    let digits = text.strip_prefix("0x");
    let number = digits.map_or(text.parse(), |digits| u64::from_str_radix(digits, 16));
    number.unwrap_or(default)
}

#[test]
fn a_scrub_names_what_a_check_names_and_goes_on_where_it_was_stopped() {
    let mut store = new_store();
    for number in 0..4u8 {
        store.write_file(&format!("/file{number}"), &pattern(300_000, number));
        store.reopen();
    }
    store.snapshot("/", "s");
    let files = segments(&store.path());
    flip(&files[3], 100_000, 2);
    let all = |_: &ScrubRecord| true;
    let report = store.vfs.scrub(&ScrubOptions::default(), &all).unwrap();
    let named: Vec<_> = report.problems.iter().flat_map(|p| &p.affected).collect();
    let paths: Vec<_> = named.iter().filter_map(|hit| hit.path.as_deref()).collect();
    assert_eq!(paths, ["/file3", "/.snapshot/s/file3"]);
    assert!(named.iter().all(|hit| hit.range == Some((98_304, 16_384))));
    assert!(report.record.is_complete);
    assert_eq!(report.record.done_bytes, 1_200_000);
    assert_eq!(report.record.footers, 4);

    let some = |record: &ScrubRecord| record.done_bytes < 600_000;
    let stopped = store
        .vfs
        .scrub(&ScrubOptions::default(), &some)
        .unwrap()
        .record;
    assert!(!stopped.is_complete);
    assert_eq!(last_scrub(&store.path()), Some(stopped.clone()));
    store.reopen();
    let resume = ScrubOptions {
        resume: true,
        ..ScrubOptions::default()
    };
    let done = store.vfs.scrub(&resume, &all).unwrap().record;
    assert!(done.is_complete);
    assert_eq!(
        (done.started, done.done_bytes),
        (stopped.started, 1_200_000)
    );
    assert_eq!((done.problem_count, done.problems.len()), (1, 1));
}

#[test]
fn what_is_freed_while_a_scrub_reads_is_not_damage() {
    let store = new_store();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut round = 0u64;
            while !ended.load(Ordering::Relaxed) {
                let path = format!("/file{}", round % 40);
                store.write_file(&path, &pattern(100_000, round as u8));
                if round % 10 == 3 {
                    store.snapshot("/", &format!("s{round}"));
                }
                if round % 10 == 8 {
                    let name = format!("s{}", round - 5);
                    store
                        .vfs
                        .delete_snapshot(&root(), NodeId::ROOT, name.as_bytes())
                        .unwrap();
                }
                round += 1;
            }
        });
        for _ in 0..30 {
            let report = store
                .vfs
                .scrub(&ScrubOptions::default(), &|_| true)
                .unwrap();
            assert!(report.problems.is_empty(), "{:#?}", report.problems);
            std::thread::sleep(Duration::from_millis(100));
        }
        ended.store(true, Ordering::Relaxed);
    });
}

fn plan(dir: &Path) -> RepairReport {
    Store::plan_repair(dir, &|_| ()).unwrap()
}

fn repair(dir: &Path) -> RepairReport {
    Store::repair(dir, &|_| ()).unwrap()
}

/// A closed store with a file of several chunks in a sealed segment, and the segment's footer.
fn sealed_store() -> (tempfile::TempDir, PathBuf, PathBuf, Footer) {
    let store = new_store();
    store.write_file("/file", &pattern(2_500_000, 3));
    let (keep, dir) = close(store);
    let segment = segments(&dir)[0].clone();
    let bytes = fs::read(&segment).unwrap();
    let size = Footer::size(bytes.last_chunk().unwrap()).unwrap();
    let footer = Footer::decode(&bytes[bytes.len() - size..]).unwrap();
    (keep, dir, segment, footer)
}

#[test]
fn a_lost_page_of_the_chunk_tree_is_rebuilt_from_footers() {
    let (_keep, dir, _, footer) = sealed_store();
    let pages = dir.join("meta/data.mdb");
    let mut bytes = fs::read(&pages).unwrap();
    let hash = footer.chunks[1].1.hash;
    let places = (0..bytes.len() - 32).filter(|at| bytes[*at..].starts_with(&hash));
    for at in places.collect::<Vec<_>>() {
        bytes[at] ^= 4;
    }
    fs::write(&pages, bytes).unwrap();
    let before = plan(&dir);
    assert_eq!(before.steps, [RepairStep::RebuildChunks]);
    let hit: Vec<_> = check(&dir).problems[0]
        .affected
        .iter()
        .map(|hit| hit.path.clone())
        .collect();
    assert_eq!(hit, [Some("/file".into())]);
    assert_eq!(before, plan(&dir), "a plan changes nothing");
    let done = repair(&dir);
    assert_eq!(done.remaining, vec![]);
    assert_eq!(check(&dir).problems, vec![]);
    let vfs = Vfs::open(&dir, &StoreOptions::default()).unwrap();
    assert!(read(&vfs, "/file").unwrap() == pattern(2_500_000, 3));
}

#[test]
fn a_damaged_footer_is_written_anew_and_the_old_one_kept() {
    let (_keep, dir, segment, _) = sealed_store();
    let length = fs::metadata(&segment).unwrap().len();
    flip(&segment, length - 40, 1);
    assert_eq!(check(&dir).problems[0].kind, ProblemKind::Footer);
    let done = repair(&dir);
    assert!(matches!(done.steps[..], [RepairStep::WriteFooters { .. }]));
    assert_eq!(check(&dir).problems, vec![]);
    let kept: Vec<_> = fs::read_dir(done.kept.unwrap()).unwrap().collect();
    assert_eq!(kept.len(), 4);
}

#[test]
fn what_nobody_else_has_is_not_repaired_and_stays_an_error() {
    let (_keep, dir, segment, _) = sealed_store();
    flip(&segment, 1_200_000, 1);
    let report = plan(&dir);
    assert_eq!((report.steps, report.remaining.len()), (vec![], 1));
    assert_eq!(repair(&dir).kept, None, "nothing was changed");
    let vfs = Vfs::open(&dir, &StoreOptions::default()).unwrap();
    assert_eq!(
        read(&vfs, "/file").unwrap_err().code(),
        "ERR_LOCKSTEP_CORRUPT"
    );
}

#[test]
fn a_damaged_log_is_cut_and_what_is_lost_is_counted() {
    let fixture = Fixture::new();
    // Names in keys have bit 7 of each byte flipped; this one is in the record that made the file.
    let name: Vec<u8> = b"logged1".iter().map(|byte| byte ^ 0x80).collect();
    let logs = ["log/0.log", "log/1.log"].map(|name| fixture.dir.join(name));
    let has_it = |path: &&PathBuf| fs::read(path).unwrap().windows(7).any(|part| part == name);
    let log = logs.iter().find(has_it).unwrap();
    flip(log, find(log, &name), 0);
    let opened = Vfs::open(&fixture.dir, &StoreOptions::default());
    assert_eq!(
        opened.err().map(|error| error.code()),
        Some("ERR_LOCKSTEP_LOG_DAMAGED")
    );
    let done = repair(&fixture.dir);
    assert!(matches!(
        done.steps[..],
        [RepairStep::CutLog { records: 1.. }]
    ));
    assert_eq!(done.remaining, vec![]);
    let vfs = Vfs::open(&fixture.dir, &StoreOptions::default()).unwrap();
    for (path, bytes) in &fixture.committed {
        assert!(read(&vfs, path).unwrap() == *bytes, "{path}");
    }
    assert!(read(&vfs, "/c/logged5").is_err());
}
