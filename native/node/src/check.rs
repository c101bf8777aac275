//! `checkStore`: looks at every page, inode, chunk and byte of a store that nobody has open.

use crate::error::{Failure, catch_free, failure};
use crate::problem::Problem;
use crate::task::{Promised, promise};
use lockstep_store::{
    CheckProgress as StoreProgress, CheckReport as StoreReport, Store, StoreError,
};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
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
    /// Footers of segments read.
    pub footers: f64,
    /// Records of the log that the next opening applies.
    pub log_records: f64,
    /// What is wrong.
    pub problems: Vec<Problem>,
    /// How many there are, listed or not.
    pub problem_count: f64,
}

/// How far a check is.
#[napi(object)]
pub struct CheckProgress {
    /// Bytes verified.
    pub done_bytes: f64,
    /// Bytes to verify.
    pub total_bytes: f64,
    /// Problems so far.
    pub problem_count: f64,
}

#[allow(clippy::cast_precision_loss)]
impl From<StoreReport> for CheckReport {
    fn from(report: StoreReport) -> Self {
        Self {
            pages: report.pages as f64,
            inodes: report.inodes as f64,
            chunks: report.chunks as f64,
            bytes: report.bytes as f64,
            footers: report.footers as f64,
            log_records: report.log_records as f64,
            problems: report.problems.into_iter().map(Problem::from).collect(),
            problem_count: report.problem_count as f64,
        }
    }
}

#[allow(clippy::cast_precision_loss)]
impl From<StoreProgress> for CheckProgress {
    fn from(progress: StoreProgress) -> Self {
        Self {
            done_bytes: progress.done_bytes as f64,
            total_bytes: progress.total_bytes as f64,
            problem_count: progress.problem_count as f64,
        }
    }
}

pub(crate) fn from_store(error: &StoreError) -> Failure {
    failure(error.code(), error.to_string())
}

/// Checks the store in `dir`.
#[napi(ts_return_type = "Promise<CheckReport>")]
pub fn check_store(
    dir: String,
    on_progress: Function<'_, CheckProgress, ()>,
) -> napi::Result<Promised<CheckReport>> {
    let told = on_progress.build_threadsafe_function::<CheckProgress>();
    // What JavaScript has no time for is not queued: the next report says more.
    let told = told
        .max_queue_size::<1>()
        .callee_handled::<false>()
        .build()?;
    Ok(promise(move || {
        catch_free(|| {
            let progress = |progress: StoreProgress| {
                let _: Status = told.call(progress.into(), ThreadsafeFunctionCallMode::NonBlocking);
            };
            let report = Store::check(Path::new(&dir), &progress);
            Ok(report.map_err(|error| from_store(&error))?.into())
        })
    }))
}
