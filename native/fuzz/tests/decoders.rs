//! Runs every target: on its corpus, then on as many changed inputs as time allows.
//!
//! `LOCKSTEP_FUZZ_SEED` replays a run, `LOCKSTEP_FUZZ_TARGET` chooses one target, and
//! `LOCKSTEP_FUZZ_SECONDS` is the time for each.
#![allow(
    unsafe_code,
    reason = "an allocator that counts implements an unsafe trait; it only calls the system's"
)]
#![allow(clippy::unwrap_used)]

use lockstep_fuzz::{Random, TARGETS, Target, mutate};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

thread_local! {
    static TAKEN: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Counts what the current thread takes and gives back.
struct Counting;

fn count(bytes: isize) {
    let taken = TAKEN.get() + bytes;
    TAKEN.set(taken);
    PEAK.set(PEAK.get().max(taken));
}

// SAFETY: every call goes to the system's allocator with the arguments as they came; counting
// allocates nothing, since the cells are constants without a destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's duties are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a decoder, and the encoder that is tried on its result, may take for a byte of input.
const BYTES_PER_BYTE_MAX: usize = 64;

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target.name);
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

/// Runs one input; what goes wrong is told with the bytes that show it.
fn run(target: &Target, input: &[u8], seed: u64) {
    TAKEN.set(0);
    PEAK.set(0);
    let result = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    let taken = PEAK.get() as usize;
    let allowed = BYTES_PER_BYTE_MAX * input.len() + target.slack_bytes;
    let problem = match result {
        Ok(()) if taken <= allowed => return,
        Ok(()) => format!("{taken} bytes of memory taken, {allowed} are allowed"),
        Err(_) => "a panic, told above".to_owned(),
    };
    let path = std::env::temp_dir().join(format!("found-{:016x}", Random(seed).draw()));
    std::fs::write(&path, input).unwrap();
    panic!(
        "{}: {problem}; seed={seed:#x}; keep {} in native/fuzz/corpus/{}",
        target.name,
        path.display(),
        target.name,
    );
}

fn fuzz(time: Duration) {
    let chosen = std::env::var("LOCKSTEP_FUZZ_SEED").ok();
    let seed = match &chosen {
        Some(text) => u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap(),
        None => u64::from(std::process::id()) << 32 ^ Instant::now().elapsed().as_nanos() as u64,
    };
    let only = std::env::var("LOCKSTEP_FUZZ_TARGET").ok();
    let chosen = |target: &&Target| only.as_ref().is_none_or(|name| name == target.name);
    for target in TARGETS.iter().filter(chosen) {
        let corpus = corpus(target);
        for input in &corpus {
            run(target, input, seed);
        }
        let (start, mut runs) = (Instant::now(), 0_u64);
        let mut random = Random(seed);
        while start.elapsed() < time {
            for _ in 0..100 {
                run(target, &mutate(&mut random, &corpus), seed);
            }
            runs += 100;
        }
        eprintln!("{}: {runs} inputs, seed={seed:#x}", target.name);
    }
}

fn seconds(default: u64) -> Duration {
    let chosen = std::env::var("LOCKSTEP_FUZZ_SECONDS").ok();
    Duration::from_secs(chosen.map_or(default, |text| text.parse().unwrap()))
}

#[test]
fn no_input_breaks_a_decoder() {
    fuzz(seconds(1) / 5);
}

#[test]
#[ignore = "takes ten minutes"]
fn no_input_of_a_long_run_breaks_a_decoder() {
    fuzz(seconds(30));
}

#[test]
fn the_corpus_has_the_seeds_as_they_are_encoded_today() {
    for target in &TARGETS {
        let corpus = corpus(target);
        for (index, seed) in (target.seeds)().iter().enumerate() {
            assert!(corpus.contains(seed), "{} {index}", target.name);
        }
    }
}
