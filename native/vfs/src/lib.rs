//! One set of file-system rules for every view of a Lockstep store.
//!
//! The mount, HDFS and the library call the same functions; permission is decided here, once.
//! A [`NodeId`] names an inode as seen in one view (a volume's live tree or a snapshot), so that
//! every view's paths end in the same few functions.
//!
//! Invariants:
//! - No function holds a store lock while it tells [`Observer`]s of a change.
//! - A change is told before the call that made it returns, except to the observer that asked.
//! - Locks are taken in this order: an inode's lock, the store's transaction, the handle table.

mod acl;
mod attribute;
mod diff;
mod dir;
mod entry;
mod error;
mod event;
mod file;
mod handle;
mod identity;
mod lookup;
mod node;
mod permission;
mod range;
mod reaper;
mod remove;
mod rename;
mod snapshot;
mod store;
mod summary;
mod takeover;
mod types;
mod volume;
mod xattr;

pub use acl::List as AccessList;
pub use error::{Errno, VfsError};
pub use lockstep_format::{FileKind, Timestamp};
pub use lockstep_store::{RecoveryReport, SpaceReport, StoreOptions};
pub use store::Vfs;
pub use types::*;
