//! Fuzzing the decoders: one target for each, with seeds made from real values.
//!
//! A target takes any bytes and panics if the decoder is wrong. It is used in three ways: by
//! `tests/decoders.rs` for a moment in every test run, by the same file for minutes in the long
//! one, and by libFuzzer (`libfuzzer/`), which searches by coverage.
//!
//! Invariants that targets assert:
//! - No input panics, aborts, or makes a decoder take memory out of proportion to its length (the
//!   tests count allocations).
//! - What is decoded encodes to bytes that decode to the same.
//! - Behind a checksum the decoder is reached too: such targets also try their input with the
//!   checksum made right.
//!
//! `corpus/TARGET/` holds the seeds, as `cargo run -p lockstep-fuzz --bin corpus` writes them, and
//! every input that ever failed (`found-*`).

mod mutate;
mod seeds;
mod targets;

pub use mutate::{Random, mutate};
pub use targets::{TARGETS, Target};
