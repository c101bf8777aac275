//! How a failure reaches JavaScript: as an `Error` with a stable `code`.
//!
//! Invariants:
//! - Nothing unwinds into Node: [`catch`] stands around every call of the core.
//! - A panic means a broken invariant: the store takes no more changes, and the caller hears `EIO`.

use lockstep_vfs::{Errno, Vfs, VfsError};
use napi::{Env, JsError};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A stable code: an errno name or `ERR_LOCKSTEP_*`. JavaScript sees it as `err.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code(&'static str);

impl AsRef<str> for Code {
    fn as_ref(&self) -> &str {
        self.0
    }
}

/// Why a call failed.
pub(crate) type Failure = napi::Error<Code>;

/// What a call answers. (The macros of napi look for this very name.)
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// The failure with this code and message.
pub(crate) fn failure(code: &'static str, message: String) -> Failure {
    napi::Error::new(Code(code), message)
}

/// The core's error as JavaScript will see it.
pub(crate) fn from_vfs(error: &VfsError) -> Failure {
    failure(error.code(), error.to_string())
}

/// A plain file-system answer.
pub(crate) fn from_errno(errno: Errno) -> Failure {
    from_vfs(&VfsError::Errno(errno))
}

/// Makes a rejection of a failure: an `Error` object that has its code.
pub(crate) fn rejection(env: Env, failure: Failure) -> napi::Error {
    napi::Error::from(JsError::from(failure).into_unknown(env))
}

/// Runs `call` on the core. A panic in it stops all changes, so that what is broken in memory never
/// reaches the disk, and answers `EIO`.
pub(crate) fn catch<T>(vfs: &Vfs, call: impl FnOnce() -> Result<T, VfsError>) -> Result<T> {
    if let Ok(result) = catch_unwind(AssertUnwindSafe(call)) {
        return result.map_err(|error| from_vfs(&error));
    }
    // The panic hook has told what and where.
    vfs.fail_stop("a call from JavaScript panicked");
    Err(failure(
        "EIO",
        "a broken invariant closed the store for changes; see the log".to_owned(),
    ))
}

/// As [`catch`], where there is no store yet.
pub(crate) fn catch_free<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(failure(
            "EIO",
            "a broken invariant ended the operation; see the log".to_owned(),
        ))
    })
}
