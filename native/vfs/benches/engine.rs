//! What one operation costs in the process, without a kernel or a network in front of it.
//!
//! `cargo bench -p lockstep-vfs --bench engine [-- DIR]`: nanoseconds of this thread and of the whole
//! process (commits and reclaiming included) per operation. Nothing is synced while it is timed.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs)]

use lockstep_store::StoreOptions;
use lockstep_vfs::{Caller, HandleId, NodeId, OpenFlags, Vfs};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::time::{Duration, Instant};

const WRITE: OpenFlags = OpenFlags {
    read: true,
    write: true,
    append: false,
    truncate: false,
    exclusive: false,
    sync: false,
};

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn measure(what: &str, count: u32, mut step: impl FnMut(u64)) {
    let (cpu, start) = (process_time(), Instant::now());
    (0..u64::from(count)).for_each(&mut step);
    let wall = start.elapsed() / count;
    // What was left for the next commit is part of the cost.
    std::thread::sleep(Duration::from_millis(1500));
    let cpu = process_time().saturating_sub(cpu) / count;
    let (wall, cpu) = (wall.as_nanos(), cpu.as_nanos());
    println!("{what:32} {count:>9} times  {wall:>8} ns  {cpu:>8} ns CPU");
}

fn file(vfs: &Vfs, name: &[u8]) -> HandleId {
    let root = NodeId::ROOT;
    let created = vfs.create_file(&Caller::root(), root, name, 0o644, WRITE);
    created.unwrap().1
}

fn main() {
    let dir = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let temporary = tempfile::tempdir_in(dir.as_deref().unwrap_or("/tmp")).unwrap();
    let store = temporary.path().join("store");
    Vfs::create(&store).unwrap();
    let vfs: Arc<Vfs> = Vfs::open(&store, &StoreOptions::default()).unwrap();
    let (root, caller) = (NodeId::ROOT, Caller::root());
    let bytes = [7; 4096];

    let handle = file(&vfs, b"in order");
    measure("write 4 KiB in order", 100_000, |at| {
        vfs.write(handle, at * 4096, &bytes).unwrap();
    });
    let mut random = 1u64;
    measure("write 4 KiB at random", 50_000, |_| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        vfs.write(handle, (random >> 33) % 100_000 * 4096, &bytes)
            .unwrap();
    });
    let small: Vec<_> = (0..16u8).map(|name| file(&vfs, &[b'A' + name])).collect();
    measure("write 200 bytes, inline", 200_000, |at| {
        let handle = small[at as usize % small.len()];
        vfs.write(handle, at % 9 * 200, &bytes[..200]).unwrap();
    });
    let directory = vfs.make_directory(&caller, root, b"d", 0o755).unwrap().node;
    measure("create an empty file", 300_000, |at| {
        let name = format!("file-{at:08}");
        let made = vfs.create_file(&caller, directory, name.as_bytes(), 0o644, WRITE);
        vfs.release(made.unwrap().1).unwrap();
    });
    measure("look a name up", 1_000_000, |at| {
        let name = format!("file-{:08}", at * 7919 % 300_000);
        vfs.lookup(&caller, directory, name.as_bytes()).unwrap();
    });
    vfs.close().unwrap();
}
