//! How many threads should answer a mount's requests?
//!
//! Prints operations or bytes a second through a mount for 1, 2 and 4 serving threads, with 1 and
//! with 4 clients. `-- --quick` uses tiny input. Figures: `docs/design/0004-fuse-threads.md`.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    missing_docs
)]

use lockstep_fuse::{MountOptions, mount};
use lockstep_vfs::{StoreOptions, Vfs};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

struct Size {
    lookups: usize,
    files: usize,
    megabytes: usize,
    fsyncs: usize,
}

fn main() {
    if !Path::new("/dev/fuse").exists() || !rustix::process::geteuid().is_root() {
        println!("skipped: needs /dev/fuse and root");
        return;
    }
    let quick = std::env::args().any(|argument| argument == "--quick" || argument == "--test");
    let size = if quick {
        Size {
            lookups: 200,
            files: 20,
            megabytes: 4,
            fsyncs: 5,
        }
    } else {
        Size {
            lookups: 40_000,
            files: 4_000,
            megabytes: 512,
            fsyncs: 300,
        }
    };
    println!("threads clients  lookup/s create/s  fsync/s  write MB/s  read MB/s  checksum");
    for threads in [1, 2, 4] {
        for clients in [1, 4] {
            run(threads, clients, &size);
        }
    }
}

fn run(threads: usize, clients: usize, size: &Size) {
    let dir = tempfile::tempdir().unwrap();
    let (store, point) = (dir.path().join("store"), dir.path().join("mnt"));
    Vfs::create(&store).unwrap();
    fs::create_dir(&point).unwrap();
    let vfs = Vfs::open(&store, &StoreOptions::default()).unwrap();
    let options = MountOptions {
        threads,
        ..MountOptions::default()
    };
    let mounted = mount(vfs.clone(), &point, &options).unwrap();

    let each = |count: usize| count / clients;
    let lookups = timed(clients, |client| {
        for index in 0..each(size.lookups) {
            assert!(fs::metadata(point.join(format!("missing{client}-{index}"))).is_err());
        }
    });
    let creates = timed(clients, |client| {
        let directory = point.join(format!("dir{client}"));
        fs::create_dir(&directory).unwrap();
        for index in 0..each(size.files) {
            fs::write(directory.join(index.to_string()), [7u8; 4096]).unwrap();
        }
    });
    let fsyncs = timed(clients, |client| {
        let mut file = File::create(point.join(format!("log{client}"))).unwrap();
        for _ in 0..each(size.fsyncs) {
            file.write_all(&[7u8; 4096]).unwrap();
            file.sync_data().unwrap();
        }
    });
    let path = |client: usize| point.join(format!("big{client}"));
    let writes = timed(clients, |client| {
        write_big(&path(client), each(size.megabytes));
    });
    let mut checksum = 0u64;
    for client in 0..clients {
        let file = File::open(path(client)).unwrap();
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        checksum += file.metadata().unwrap().len();
    }
    let reads = timed(clients, |client| {
        read_big(&path(client), each(size.megabytes));
    });
    println!(
        "{threads:7} {clients:7} {:9.0} {:8.0} {:8.0} {:11.0} {:10.0}  {checksum:#x}",
        size.lookups as f64 / lookups,
        size.files as f64 / creates,
        size.fsyncs as f64 / fsyncs,
        size.megabytes as f64 * 1.048_576 / writes,
        size.megabytes as f64 * 1.048_576 / reads,
    );
    mounted.unmount().unwrap();
    vfs.close().unwrap();
}

fn write_big(path: &PathBuf, megabytes: usize) {
    let mut file = File::create(path).unwrap();
    let mut block = vec![0u8; 1 << 20];
    for index in 0..megabytes {
        block[..8].copy_from_slice(&(index as u64).to_le_bytes());
        file.write_all(&block).unwrap();
    }
    file.sync_all().unwrap();
}

fn read_big(path: &PathBuf, megabytes: usize) {
    let mut file = File::open(path).unwrap();
    let mut block = vec![0u8; 1 << 20];
    for index in 0..megabytes {
        file.read_exact(&mut block).unwrap();
        assert_eq!(block[..8], (index as u64).to_le_bytes());
    }
}

/// Seconds that all clients together took.
fn timed(clients: usize, work: impl Fn(usize) + Sync) -> f64 {
    let started = Instant::now();
    std::thread::scope(|scope| {
        for client in 0..clients {
            let work = &work;
            scope.spawn(move || work(client));
        }
    });
    started.elapsed().as_secs_f64()
}
