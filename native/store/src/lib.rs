//! The engine of a Lockstep store: copy-on-write trees, intent log, segments, snapshots, clones.
//!
//! A change goes this way: [`Store::stage`] puts file bytes into a segment; [`Store::write`] changes
//! keys of trees and writes one record to the intent log, which acknowledges it; [`Store::sync`]
//! makes records durable; a commit publishes the changed pages in the background and makes the
//! records superfluous. Everything on disk and the clock is reached through four traits
//! ([`PageStore`], [`SegmentStore`], [`LogStore`], [`Clock`]), so that a simulation can replace it.
//!
//! Order of locks: `committing`, then the state's, then those inside segments, pages and log.

mod check;
mod clock;
mod commit;
mod damage;
mod error;
mod examine;
mod file;
mod holes;
mod intent_log;
mod lmdb;
mod lmdb_file;
mod lock;
mod log_store;
mod noticed;
mod page_store;
mod pages;
mod problem;
mod read_only;
mod reclaim;
mod recovery;
mod repair;
mod scrub;
mod segment_store;
mod segments;
mod space;
mod state;
mod store;
mod tally;
mod tree;
mod txn;
mod unsynced;
mod verify;
mod volume;

pub use check::{CheckProgress, CheckReport, OnProgress};
pub use clock::Clock;
pub use error::{Result, StoreError};
pub use lmdb::LmdbPageStore;
pub use log_store::LogStore;
pub use noticed::OnDamage;
pub use page_store::PageStore;
pub use problem::{AFFECTED_MAX, Affected, Place, Problem, ProblemKind};
pub use recovery::RecoveryReport;
pub use repair::{RepairReport, RepairStep};
pub use scrub::{OnScrub, ScrubOptions, ScrubReport, ScrubStatus, last_scrub};
pub use segment_store::SegmentStore;
pub use segments::{Pieces, Staged};
pub use store::{HostSpace, Parts, SpaceReport, Store, StoreOptions};
pub use tree::Visit;
pub use txn::{ReadTxn, Reader, ViewInfo, WriteTxn};
