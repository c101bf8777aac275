//! What can go wrong in the engine, with a stable code and an errno for each.

use lockstep_format::FormatError;
use std::path::PathBuf;

/// The result of an engine call.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why the engine failed. Codes are listed in `docs/ERRORS.md`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory holds no store.
    #[error("{path} is not a Lockstep store; make one with `lockstep init`")]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// There is a store, or something else, already.
    #[error("{path} is not empty; a new store needs an empty or missing directory")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process owns the store.
    #[error("the store {path} is open in {owner}; stop that one or use its commands")]
    Locked {
        /// The store.
        path: PathBuf,
        /// Which process, since when (UTC), and on which host or in which container, if not here.
        owner: String,
    },
    /// The superblock or the commit record cannot be read.
    #[error("the store's superblock {path} is damaged ({source}); nothing was changed")]
    Superblock {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: FormatError,
    },
    /// The store was written by a later version.
    #[error(
        "the store has format {found}, this program reads up to {supported}; use a newer Lockstep"
    )]
    NewerFormat {
        /// Version found.
        found: u32,
        /// Newest version this program reads.
        supported: u32,
    },
    /// The store uses features that this program does not know.
    #[error(
        "the store uses features that this program does not know (incompatible {incompatible:#x}, \
         read-only compatible {read_only_compatible:#x}); {}use a newer Lockstep",
        if *incompatible == 0 { "it may be read and not changed: " } else { "" }
    )]
    UnknownFeatures {
        /// Those without which the store must not be opened.
        incompatible: u64,
        /// Those without which it must not be changed.
        read_only_compatible: u64,
    },
    /// A write or a sync failed earlier, or the store was closed.
    #[error("the store is closed{}", .reason.as_ref().map(|r| format!(" after a failure: {r}")).unwrap_or_default())]
    Closed {
        /// The failure, if it was one.
        reason: Option<String>,
    },
    /// Something of which there can be one is under way.
    #[error("{what} is under way already")]
    Busy {
        /// What.
        what: &'static str,
    },
    /// Bytes on disk are not what was written.
    #[error("damage found: {what}")]
    Corrupt {
        /// Where and what.
        what: String,
    },
    /// Records of the log that had been made durable are damaged.
    #[error(
        "the log is damaged at record {first}: {records} acknowledged changes cannot be applied; \
         nothing was changed, see `lockstep repair`"
    )]
    LogDamaged {
        /// How many.
        records: u64,
        /// The number of the first.
        first: u64,
    },
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// The operation.
        what: &'static str,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A record could not be decoded.
    #[error("damage found: {0}")]
    Format(#[from] FormatError),
    /// The page store (LMDB) refused.
    #[error("page store: {0}")]
    Pages(String),
    /// The disk is full, or nearly: what is left is for deleting.
    #[error("the disk of the store is full; delete something, then writing goes on")]
    NoSpace,
    /// A limit of the format was reached.
    #[error("the store has no more {what}")]
    Exhausted {
        /// What ran out.
        what: &'static str,
    },
}

impl StoreError {
    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotAStore { .. } => "ERR_LOCKSTEP_NOT_A_STORE",
            Self::NotEmpty { .. } => "ERR_LOCKSTEP_NOT_EMPTY",
            Self::Locked { .. } => "ERR_LOCKSTEP_LOCKED",
            Self::Superblock { .. } => "ERR_LOCKSTEP_SUPERBLOCK",
            Self::NewerFormat { .. } => "ERR_LOCKSTEP_NEWER_FORMAT",
            Self::UnknownFeatures { .. } => "ERR_LOCKSTEP_UNKNOWN_FEATURE",
            Self::Closed { .. } => "ERR_LOCKSTEP_CLOSED",
            Self::LogDamaged { .. } => "ERR_LOCKSTEP_LOG_DAMAGED",
            Self::Busy { .. } => "EBUSY",
            Self::Corrupt { .. } | Self::Format(_) => "ERR_LOCKSTEP_CORRUPT",
            Self::Io { source, .. } if is_no_space(source) => "ENOSPC",
            Self::Io { .. } | Self::Pages(_) => "EIO",
            Self::NoSpace | Self::Exhausted { .. } => "ENOSPC",
        }
    }

    /// The errno for a mount.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Io { source, .. } if is_no_space(source) => 28,
            Self::NoSpace | Self::Exhausted { .. } => 28,
            Self::Locked { .. } | Self::Busy { .. } => 16,
            Self::NotEmpty { .. } => 39,
            _ => 5,
        }
    }

    /// Whether space ran out: nothing is broken, and there may be space later.
    pub fn is_no_space(&self) -> bool {
        self.errno() == 28
    }

    /// Whether something on disk is not what was written.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Corrupt { .. } | Self::Format(_))
    }

    /// Wraps the system's answer to `what`.
    pub fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}

/// A full disk or a full quota.
pub(crate) fn is_no_space(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded)
}
