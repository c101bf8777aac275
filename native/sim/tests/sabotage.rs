//! Engines that are wrong are caught within a bounded number of runs; so is a disk worse than the
//! fault model. In processes of their own: LMDB may crash on a file that is not what it wrote.

use std::path::Path;
use std::process::Command;

/// Whether a run of one of the seeds 0 to `runs` sees a violation, or crashes.
#[allow(clippy::unwrap_used, reason = "a test")]
fn is_caught(kind: &str, runs: u64, world: &[&str]) -> bool {
    // What a process that crashes leaves is removed with it.
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    };
    let folder = folder.unwrap();
    (0..runs).any(|seed| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep-sim"));
        command.arg(kind).arg(seed.to_string()).args(world);
        command.env("SIM_FOLDER", folder.path());
        let status = command.output().unwrap().status;
        assert_ne!(status.code(), Some(2), "the arguments are not understood");
        !status.success()
    })
}

const RUNS: u64 = 30;

#[test]
fn a_log_that_is_not_synced_is_caught() {
    assert!(is_caught("power-cut", RUNS, &["log-sync-forgotten"]));
}

#[test]
fn bytes_that_are_not_synced_are_caught() {
    assert!(is_caught("power-cut", RUNS, &["segment-sync-forgotten"]));
}

#[test]
fn metadata_before_data_is_caught() {
    assert!(is_caught("power-cut", RUNS, &["metadata-before-data"]));
}

#[test]
fn pages_that_are_not_synced_are_caught() {
    assert!(is_caught("power-cut", RUNS, &["page-sync-forgotten"]));
}

#[test]
fn a_log_that_is_emptied_before_the_commit_is_caught() {
    assert!(is_caught("kill", RUNS, &["log-emptied-before-commit"]));
}

#[test]
fn space_given_back_before_the_commit_is_caught() {
    assert!(is_caught("power-cut", RUNS, &["punch-before-commit"]));
}

#[test]
fn a_disk_that_tears_sectors_is_worse_than_the_fault_model() {
    assert!(!is_caught("power-cut", 2, &["every", "sector=256"]));
    assert!(is_caught("power-cut", RUNS, &["every", "sector=8"]));
}
