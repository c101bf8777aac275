//! Seeds: fresh ones, or the one to be replayed.

use std::hash::{BuildHasher, RandomState};

fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    text.strip_prefix("0x")
        .map_or_else(|| text.parse(), |hex| u64::from_str_radix(hex, 16))
        .ok()
}

/// `SIM_SEED` alone, or as many fresh seeds as `SIM_RUNS` says, else `default_runs`.
pub(crate) fn seeds(default_runs: u64) -> Vec<u64> {
    if let Some(seed) = setting("SIM_SEED") {
        return vec![seed];
    }
    let first = RandomState::new().hash_one("lockstep");
    let runs = setting("SIM_RUNS").unwrap_or(default_runs);
    (0..runs).map(|index| first.wrapping_add(index)).collect()
}
