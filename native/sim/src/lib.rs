//! The engine on simulated disks and a simulated clock.
//!
//! # Fault model
//! What the design promises to survive, and what is therefore done to it here:
//! - *Power cut* at any I/O: of the writes that were not synced, any part of 512-byte sectors
//!   reaches the disk, in any order. So do the names of segments and their removal, until the
//!   directory is synced. Pages are LMDB's own file, whose every write and sync is recorded.
//! - *Kill* at any I/O: every write that returned is there, none is synced.
//! - *A failing I/O*: the n-th answers with an error, having been done, half done, or not. The store
//!   takes no more changes; reads go on.
//! - *A full disk*: a write that needs space finds none, having been half done. The store goes on.
//!
//! Not survived, only detected: bits that change by themselves; a disk that says it synced and did
//! not. Not survived: a disk that tears sectors. LMDB writes 120 bytes of a meta page without a
//! checksum; a disk that tears below 256 bytes tears those.
//!
//! What proves that this simulation sees anything are engines that are wrong ([`sabotage`]).
//!
//! Everything follows from one seed, but in [`threads`]. The same seed gives the same run.

pub mod disk;
mod file;
pub mod model;
mod pages;
pub mod random;
pub mod run;
pub mod sabotage;
mod system_calls;
pub mod threads;
