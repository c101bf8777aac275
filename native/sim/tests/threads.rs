//! Threads beside one another, stopped at random; `SIM_SEED` gives the workload of one run again.
#![allow(clippy::print_stdout, reason = "a random test prints its seed")]

mod support;

use lockstep_sim::disk::World;
use lockstep_sim::sabotage::Sabotage;
use lockstep_sim::threads::run;

fn check(power: bool, default_runs: u64) {
    let (mut stops, mut acknowledged) = (0, 0);
    for seed in support::seeds(default_runs) {
        let outcome = run(seed, power, 10, World::default());
        assert_eq!(
            outcome.violation, None,
            "power cut: {power}, seed={seed:#x}"
        );
        stops += outcome.stops;
        acknowledged += outcome.acknowledged;
    }
    println!("{stops} stops of threads, {acknowledged} transactions, 0 violations");
}

#[test]
fn power_cuts_leave_what_threads_saw_made_durable() {
    check(true, 5);
}

#[test]
fn kills_leave_what_threads_saw_acknowledged() {
    check(false, 5);
}

#[test]
#[ignore = "long"]
fn a_thousand_stops_of_threads_break_no_promise() {
    check(true, 50);
    check(false, 50);
}

#[test]
fn a_log_that_is_not_synced_is_seen_by_threads() {
    let world = World {
        sabotage: Some(Sabotage::LogSyncForgotten),
        ..World::default()
    };
    assert!((0..30).any(|seed| run(seed, true, 10, world).violation.is_some()));
}
