//! The adapter from FUSE to [`lockstep_vfs`]: no decisions.
//!
//! [`mount`] shows a store as a file system; the returned [`Mount`] ends it.
//!
//! Invariants:
//! - Every request is answered by one call of `lockstep_vfs` (and what FUSE needs around it); what
//!   is allowed, and what it means, is decided there.
//! - The kernel may cache names, attributes and pages for [`TTL`]: whoever else changes the store
//!   tells [`notify`] first, and is answered only when the kernel has forgotten the old state.
//! - A request that fails, or panics, is answered with an errno; the thread goes on. After a panic
//!   the store takes no more changes.
//! - All mounting, unmounting and aborting goes through `device.rs`.
//!
//! [`TTL`]: convert::TTL

mod adapter;
mod caller;
mod connection;
mod convert;
mod device;
mod directory;
mod directory_requests;
mod error;
mod file_requests;
mod flusher;
mod handle_number;
mod handshake;
mod killed;
mod notify;
mod recall;
mod resent;
mod session;

pub use error::{Fault, FaultHook, MountError};
pub use killed::free_killed;
pub use session::{HolderOptions, Mount, MountEnd, MountOptions, THREADS_DEFAULT, mount};
