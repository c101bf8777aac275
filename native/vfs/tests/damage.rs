//! Damage is named by path, range, volume and snapshot, and takes no more than what it covers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use lockstep_store::{CheckReport, ProblemKind, Store};
use lockstep_vfs::NodeId;
use std::fs;
use std::path::{Path, PathBuf};
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
    store.write_file("/data/other", &[2; 100_000]);
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
