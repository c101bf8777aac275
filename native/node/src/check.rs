//! `checkStore`: looks at every page, inode, chunk and byte of a store that nobody has open.

use crate::error::{Failure, catch_free, failure};
use crate::task::{Promised, promise};
use lockstep_store::{CheckReport as StoreCheckReport, Store, StoreError};
use napi_derive::napi;
use std::path::Path;

/// What a check found.
#[napi(object)]
pub struct CheckReport {
    /// Pages read.
    pub pages: f64,
    /// Inodes found.
    pub inodes: f64,
    /// Chunks verified.
    pub chunks: f64,
    /// Bytes verified.
    pub bytes: f64,
    /// One line per problem.
    pub problems: Vec<String>,
}

#[allow(clippy::cast_precision_loss)]
impl From<StoreCheckReport> for CheckReport {
    fn from(report: StoreCheckReport) -> Self {
        Self {
            pages: report.pages as f64,
            inodes: report.inodes as f64,
            chunks: report.chunks as f64,
            bytes: report.bytes as f64,
            problems: report.problems,
        }
    }
}

fn from_store(error: &StoreError) -> Failure {
    failure(error.code(), error.to_string())
}

/// Checks the store in `dir`.
#[napi(ts_return_type = "Promise<CheckReport>")]
pub fn check_store(dir: String) -> Promised<CheckReport> {
    promise(move || {
        catch_free(|| {
            let report = Store::check(Path::new(&dir)).map_err(|error| from_store(&error))?;
            Ok(report.into())
        })
    })
}
