//! The N-API surface of Lockstep: no logic.
//!
//! One file per exported class; `lib/native.ts` is its typed face and its only user.
//!
//! Invariants:
//! - Nothing here decides anything about files: it turns values into those of `lockstep_vfs`.
//! - Metadata calls are synchronous; what moves bytes, syncs or may take long is a promise on
//!   Node's thread pool ([`task`]) and leaves the event loop free.
//! - Every failure is an `Error` with a stable `code`; nothing unwinds into Node ([`error`]).

// napi hands arguments over by value; taking them by reference is not offered.
#![allow(clippy::needless_pass_by_value)]

mod attributes;
mod buffer;
pub mod check;
mod error;
mod file;
mod info;
#[cfg(all(feature = "fuse", target_os = "linux"))]
pub mod mount;
#[cfg(not(all(feature = "fuse", target_os = "linux")))]
pub mod no_fuse;
mod number;
mod path;
mod problem;
pub mod repair;
mod scrub;
mod store;
mod task;
mod transfer;
mod view;
