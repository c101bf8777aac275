//! The engine on simulated disks and a simulated clock.
//!
//! # Fault model
//! What the design promises to survive, and what is therefore done to it here:
//! - *Power cut* at any I/O: of the writes that were not synced, any part of 512-byte sectors
//!   reaches the disk, in any order. Names of segments and their removal are durable at once.
//! - *Kill* at any I/O: every write that returned is there, none is synced.
//! - *A failing I/O*: the n-th answers with an error, having been done, half done, or not.
//! - The page store commits atomically (LMDB's promise); a cut within a commit leaves it old or new.
//!
//! Not survived, only detected: bits that change by themselves; a disk that says it synced and did
//! not. The second is also what proves that this simulation sees anything: see [`disk::Lies`].
//!
//! Everything follows from one seed. The same seed gives the same run.

pub mod disk;
mod file;
pub mod model;
pub mod random;
pub mod run;
pub mod sabotage;
mod system_calls;
