//! Crashes, kills and failing I/O, from fresh seeds; `SIM_SEED` replays one, `SIM_RUNS` sets how many.
#![allow(clippy::print_stdout, reason = "a random test prints its seed")]

use lockstep_sim::disk::World;
use lockstep_sim::run::{Kind, Outcome, run};
use std::hash::{BuildHasher, RandomState};

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16))
        .ok()
}

fn seeds(default_runs: u64) -> Vec<u64> {
    if let Some(seed) = setting("SIM_SEED") {
        return vec![seed];
    }
    let first = RandomState::new().hash_one("lockstep");
    let runs = setting("SIM_RUNS").unwrap_or(default_runs);
    (0..runs).map(|index| first.wrapping_add(index)).collect()
}

fn check(kind: Kind, default_runs: u64) {
    let mut stops = 0;
    let mut acknowledged = 0;
    for seed in seeds(default_runs) {
        let outcome = run(seed, kind, 10, World::default());
        let replay =
            format!("seed={seed:#x}; replay: SIM_SEED={seed:#x} cargo test -p lockstep-sim");
        assert_eq!(outcome.violation, None, "{kind:?}, {replay}");
        stops += outcome.stops;
        acknowledged += outcome.acknowledged;
    }
    println!("{kind:?}: {stops} stops, {acknowledged} acknowledged operations, 0 violations");
}

#[test]
fn power_cuts_leave_a_prefix_with_everything_durable() {
    check(Kind::PowerCut, 20);
}

#[test]
fn kills_lose_nothing_acknowledged() {
    check(Kind::Kill, 20);
}

#[test]
fn a_failing_io_loses_nothing_acknowledged() {
    check(Kind::Failure, 20);
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    check(Kind::FullDisk, 20);
}

#[test]
fn one_seed_gives_one_run() {
    let twice = |kind| -> [Outcome; 2] { [(); 2].map(|()| run(7, kind, 10, World::default())) };
    for (_, kind) in Kind::ALL {
        let [first, second] = twice(kind);
        assert_eq!(first, second);
    }
}
