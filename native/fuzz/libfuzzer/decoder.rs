//! All targets of `lockstep-fuzz` under libFuzzer; `LOCKSTEP_FUZZ_TARGET` says which:
//!
//!     cd native/fuzz
//!     LOCKSTEP_FUZZ_TARGET=page cargo +nightly fuzz run --fuzz-dir libfuzzer decoder corpus/page
#![no_main]

use libfuzzer_sys::fuzz_target;
use lockstep_fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static CHOSEN: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("LOCKSTEP_FUZZ_TARGET").unwrap_or_default();
    TARGETS
        .iter()
        .find(|target| target.name == name)
        .unwrap_or_else(|| panic!("LOCKSTEP_FUZZ_TARGET is to be one of native/fuzz/corpus"))
});

fuzz_target!(|input: &[u8]| (CHOSEN.run)(input));
