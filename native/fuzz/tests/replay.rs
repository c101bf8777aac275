//! Opens stores whose log says what no engine would: records are whole and their checksums right,
//! what they hold was changed.
//!
//! Asserted: nothing panics; what cannot be is an error with a stable code or a line in the report.
//! `LOCKSTEP_FUZZ_SEED` and `LOCKSTEP_FUZZ_SECONDS` as for the decoders.
#![allow(clippy::unwrap_used)]

use lockstep_format::log::{HEADER_BYTES, Header, encode};
use lockstep_fuzz::{Random, mutate};
use lockstep_store::Store;
use lockstep_vfs::{Caller, NodeId, OpenFlags, StoreOptions, Vfs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

const WRITE: OpenFlags = OpenFlags {
    read: true,
    write: true,
    append: false,
    truncate: false,
    exclusive: false,
    sync: false,
};

/// A store that was copied while it was open: its log holds every operation.
fn crashed_store(dir: &Path) {
    let open = dir.join("open");
    Vfs::create(&open).unwrap();
    let vfs = Vfs::open(&open, &StoreOptions::default()).unwrap();
    let (root, top) = (Caller::root(), NodeId::ROOT);
    for name in ["inline", "chunk", "gone"] {
        let (_, handle) = vfs
            .create_file(&root, top, name.as_bytes(), 0o644, WRITE)
            .unwrap();
        let length = if name == "inline" { 100 } else { 5000 };
        vfs.write(handle, 0, &vec![7; length]).unwrap();
        vfs.release(handle).unwrap();
    }
    vfs.create_snapshot(&root, top, b"snapshot").unwrap();
    vfs.rename_snapshot(&root, top, b"snapshot", b"renamed")
        .unwrap();
    vfs.unlink(&root, top, b"gone").unwrap();
    vfs.create_clone(&root, top, b"renamed", top, b"clone")
        .unwrap();
    vfs.create_volume(&root, top, b"volume").unwrap();
    copy(&open, &dir.join("crashed"));
    vfs.close().unwrap();
}

/// Copies a store; files that were given space ahead are cut where they hold nothing.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry
            .map(|entry| (entry.path(), entry.file_name()))
            .unwrap();
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else {
            let mut bytes = std::fs::read(&path).unwrap();
            let end = bytes
                .iter()
                .rposition(|byte| *byte != 0)
                .map_or(0, |at| at + 1);
            bytes.truncate(end.next_multiple_of(4096).min(bytes.len()));
            std::fs::write(to.join(name), bytes).unwrap();
        }
    }
}

/// The records of a log file: number, epoch, operations.
fn records(file: &[u8]) -> Vec<(Header, Vec<u8>)> {
    let (mut list, mut rest) = (Vec::new(), file);
    while let Some((head, tail)) = rest.split_first_chunk::<HEADER_BYTES>()
        && let Some(header) = Header::decode(head)
        && let Some((body, next)) = tail.split_at_checked(header.length)
        && header.verify(head, body)
    {
        list.push((header, body.to_vec()));
        rest = next;
    }
    list
}

fn run(time: Duration) {
    let chosen = std::env::var("LOCKSTEP_FUZZ_SEED").ok();
    let seed = match &chosen {
        Some(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap(),
        None => u64::from(std::process::id()) << 20 | 1,
    };
    let mut random = Random(seed);
    let dir = tempfile::tempdir().unwrap();
    crashed_store(dir.path());
    let crashed = dir.path().join("crashed");
    let logs = ["0.log", "1.log"].map(|name| crashed.join("log").join(name));
    let longest = logs
        .iter()
        .max_by_key(|path| records(&std::fs::read(path).unwrap()).len());
    let log = longest.unwrap();
    let originals = records(&std::fs::read(log).unwrap());
    let read_only = StoreOptions {
        read_only: true,
        ..StoreOptions::default()
    };
    let whole = Store::open(&crashed, &read_only).unwrap();
    let replayed = whole.recovery().records as usize;
    whole.close().unwrap();
    assert!(replayed > 10, "the log holds what was done");
    let first = originals.len() - replayed;
    let bodies: Vec<Vec<u8>> = originals.iter().map(|(_, body)| body.clone()).collect();
    let (start, mut runs) = (Instant::now(), 0);
    while start.elapsed() < time {
        let changed = first + random.below(replayed);
        let mut file = Vec::new();
        for (index, (header, body)) in originals.iter().enumerate() {
            let other = mutate(&mut random, &bodies[changed..=changed]);
            let body = if index == changed { &other } else { body };
            file.extend(encode(header.sequence, header.epoch, body));
        }
        std::fs::write(log, &file).unwrap();
        // Checking replays the log and walks everything, and leaves the files as they are.
        let result = catch_unwind(AssertUnwindSafe(|| Store::check(&crashed, &|_| ())));
        assert!(
            result.is_ok(),
            "a panic, told above; seed={seed:#x}, {runs} runs before"
        );
        runs += 1;
        // What was made of it can be gone on with, or is refused.
        if runs % 16 == 0 {
            let opened = dir.path().join("opened");
            copy(&crashed, &opened);
            let result = catch_unwind(AssertUnwindSafe(|| {
                if let Ok(vfs) = Vfs::open(&opened, &StoreOptions::default()) {
                    let _ = vfs.make_directory(&Caller::root(), NodeId::ROOT, b"new", 0o755);
                    let _ = vfs.close();
                }
            }));
            assert!(
                result.is_ok(),
                "a panic, told above; seed={seed:#x}, {runs} runs before"
            );
            std::fs::remove_dir_all(&opened).unwrap();
        }
    }
    eprintln!("log replay: {runs} stores, seed={seed:#x}");
}

#[test]
fn a_log_that_no_engine_wrote_breaks_nothing() {
    let seconds = std::env::var("LOCKSTEP_FUZZ_SECONDS").ok();
    run(Duration::from_secs(
        seconds.map_or(3, |text| text.parse().unwrap()),
    ));
}

#[test]
#[ignore = "takes two minutes"]
fn a_log_that_no_engine_wrote_breaks_nothing_for_long() {
    run(Duration::from_secs(120));
}
