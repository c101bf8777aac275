//! What it costs to tell the kernel of another view's change, with a holder in between and without.
//!
//! `cargo bench -p lockstep-holder` (as root, with `/dev/fuse`).

#![allow(clippy::unwrap_used)] // A benchmark that cannot be set up has failed.
#![allow(clippy::print_stdout)] // It is what it is for.

use lockstep_fuse::{HolderOptions, MountOptions, mount};
use lockstep_vfs::{Caller, NodeId, OpenFlags, StoreOptions, Vfs};
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: u32 = 20_000;

/// Microseconds for a write of one byte by another view to a file that the kernel caches; `None`
/// is nobody who caches.
fn measure(mounted: Option<bool>) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let (store, point) = (dir.path().join("store"), dir.path().join("mnt"));
    Vfs::create(&store).unwrap();
    std::fs::create_dir(&point).unwrap();
    let vfs = Vfs::open(&store, &StoreOptions::default()).unwrap();
    let mount = mounted.map(|held| {
        let holder = held.then(|| HolderOptions {
            program: env!("CARGO_BIN_EXE_lockstep-holder").into(),
            directory: store.clone(),
            timeout_seconds: 60,
        });
        let options = MountOptions {
            holder,
            ..MountOptions::default()
        };
        mount(Arc::clone(&vfs), &point, &options).unwrap()
    });
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let root = Caller::root();
    let (_, file) = vfs
        .create_file(&root, NodeId::ROOT, b"file", 0o644, flags)
        .unwrap();
    vfs.write(file, 0, &[b'.'; 1000]).unwrap();
    if mount.is_some() {
        std::fs::read(point.join("file")).unwrap();
    }
    let started = Instant::now();
    for round in 0..ROUNDS {
        vfs.write(file, u64::from(round % 1000), b"x").unwrap();
    }
    let micros = started.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
    vfs.release(file).unwrap();
    drop(mount);
    vfs.close().unwrap();
    micros
}

fn main() {
    for _ in 0..3 {
        println!(
            "write of one byte: {:.1} µs unmounted, {:.1} µs mounted, {:.1} µs with a holder",
            measure(None),
            measure(Some(false)),
            measure(Some(true)),
        );
    }
}
