//! Crashes, kills and failing I/O, from fresh seeds; `SIM_SEED` replays one, `SIM_RUNS` sets how many.
#![allow(clippy::print_stdout, reason = "a random test prints its seed")]

mod support;

use lockstep_sim::disk::World;
use lockstep_sim::run::{Kind, Outcome, exhaust, run};

/// Runs each seed by `run`, and says how often the store was stopped.
fn check(kind: Kind, default_runs: u64, run: impl Fn(u64) -> Outcome) {
    let (mut stops, mut acknowledged) = (0, 0);
    for seed in support::seeds(default_runs) {
        let outcome = run(seed);
        let replay =
            format!("seed={seed:#x}; replay: SIM_SEED={seed:#x} cargo test -p lockstep-sim");
        assert_eq!(outcome.violation, None, "{kind:?}, {replay}");
        stops += outcome.stops;
        acknowledged += outcome.acknowledged;
    }
    println!("{kind:?}: {stops} stops, {acknowledged} acknowledged operations, 0 violations");
}

fn check_at_random(kind: Kind, default_runs: u64) {
    check(kind, default_runs, |seed| {
        run(seed, kind, 10, World::default())
    });
}

fn check_everywhere(kind: Kind) {
    check(kind, 2, |seed| exhaust(seed, kind, World::default()));
}

#[test]
fn power_cuts_leave_a_prefix_with_everything_durable() {
    check_at_random(Kind::PowerCut, 15);
}

#[test]
fn kills_lose_nothing_acknowledged() {
    check_at_random(Kind::Kill, 15);
}

#[test]
fn a_failing_io_loses_nothing_acknowledged() {
    check_at_random(Kind::Failure, 15);
}

#[test]
fn a_full_disk_loses_nothing_acknowledged() {
    check_at_random(Kind::FullDisk, 15);
}

#[test]
fn a_power_cut_at_any_io_leaves_a_prefix() {
    check_everywhere(Kind::PowerCut);
}

#[test]
fn a_kill_at_any_io_loses_nothing() {
    check_everywhere(Kind::Kill);
}

#[test]
fn any_io_may_fail_and_reads_go_on() {
    check_everywhere(Kind::Failure);
}

#[test]
fn any_write_may_find_the_disk_full() {
    check_everywhere(Kind::FullDisk);
}

#[test]
#[ignore = "long"]
fn ten_thousand_stops_break_no_promise() {
    for (_, kind) in Kind::ALL {
        check_at_random(kind, 200);
        check(kind, 8, |seed| exhaust(seed, kind, World::default()));
    }
}

#[test]
fn one_seed_gives_one_run() {
    let twice = |kind| -> [Outcome; 2] { [(); 2].map(|()| run(7, kind, 10, World::default())) };
    for (_, kind) in Kind::ALL {
        let [first, second] = twice(kind);
        assert_eq!(first, second);
    }
}
