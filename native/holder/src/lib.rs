//! What a mount needs to outlive its daemon: a process that holds the connection to the kernel,
//! and the words in which daemon and holder speak.
//!
//! The daemon makes the mount and hands copies of its descriptors to the program
//! `lockstep-holder` ([`Holder::start`]). While any copy is open the kernel keeps the connection,
//! so programs that use the mount wait for the next daemon, which takes the copies over
//! ([`Holder::take`]). See `docs/design/0006-mount-holder.md`.
//!
//! Invariants:
//! - The holder knows nothing of stores: it keeps descriptors and bytes, and delivers notices.
//! - Whatever may wait for an answer of the mount's daemon is done in the holder, so that a daemon
//!   that is killed always dies at once.
//! - At most one daemon is served by a holder at a time.

mod client;
mod inode_refresh;
mod message;
pub mod mount_table;
mod notice;
mod packet;

pub use client::{Holder, SOCKET, Taken};
pub use message::{BUSY, Hold, Request};
pub use notice::{Notice, deliver};
pub use packet::{Packet, receive, send};
