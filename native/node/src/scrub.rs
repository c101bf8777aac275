//! Scrubbing an open store, and being told of damage.

use crate::error::{Result, catch};
use crate::info::millis;
use crate::number::whole;
use crate::problem::Problem;
use crate::store::NativeStore;
use crate::task::{Promised, promise};
use lockstep_store::{ScrubOptions as StoreOptions, ScrubStatus as StoreStatus};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use std::sync::Arc;

/// How to scrub.
#[napi(object)]
pub struct ScrubOptions {
    /// Bytes a second at most.
    pub rate_bytes: Option<f64>,
    /// Go on where the last one was interrupted.
    pub resume: Option<bool>,
}

/// How a scrub stands.
#[napi(object)]
pub struct ScrubStatus {
    /// It is under way.
    pub running: bool,
    /// It came to its end.
    pub complete: bool,
    /// When it began.
    pub started_ms: f64,
    /// When it last told something.
    pub updated_ms: f64,
    /// Bytes of chunks read.
    pub done_bytes: f64,
    /// Bytes of chunks to read.
    pub total_bytes: f64,
    /// Pages read.
    pub pages: f64,
    /// Chunks read.
    pub chunks: f64,
    /// Footers read.
    pub footers: f64,
    /// Problems found.
    pub problem_count: f64,
    /// The first of them, for people.
    pub summary: Vec<String>,
    /// The same with all that is known, if it ended since the store was opened.
    pub problems: Vec<Problem>,
    /// Code of the failure that ended it.
    pub failure_code: Option<String>,
    /// Its message.
    pub failure: Option<String>,
}

#[allow(clippy::cast_precision_loss)]
impl From<StoreStatus> for ScrubStatus {
    fn from(status: StoreStatus) -> Self {
        let record = status.record;
        let (code, message) = status.failure.unzip();
        Self {
            running: status.is_running,
            complete: record.is_complete,
            started_ms: millis(record.started),
            updated_ms: millis(record.updated),
            done_bytes: record.done_bytes as f64,
            total_bytes: record.total_bytes as f64,
            pages: record.pages as f64,
            chunks: record.chunks as f64,
            footers: record.footers as f64,
            problem_count: record.problem_count as f64,
            summary: record.problems,
            problems: status.problems.into_iter().map(Problem::from).collect(),
            failure_code: code.map(str::to_owned),
            failure: message,
        }
    }
}

/// Reading everything.
#[napi]
impl NativeStore {
    /// Starts a scrub in the background.
    #[napi]
    pub fn start_scrub(&self, options: ScrubOptions) -> Result<()> {
        let options = StoreOptions {
            rate_bytes: options.rate_bytes.map(whole).transpose()?,
            resume: options.resume.unwrap_or(false),
        };
        catch(self.vfs(), || self.vfs().start_scrub(options))
    }

    /// How it stands, or the last one.
    #[napi]
    pub fn scrub_status(&self) -> Option<ScrubStatus> {
        self.vfs().scrub_status().map(ScrubStatus::from)
    }

    /// Ends it.
    #[napi(ts_return_type = "Promise<void>")]
    pub fn stop_scrub(&self) -> Promised<()> {
        let vfs = Arc::clone(self.vfs());
        promise(move || {
            catch(&vfs, || {
                vfs.stop_scrub();
                Ok(())
            })
        })
    }

    /// Tells `listener` of damage that reads meet, once of each.
    #[napi]
    pub fn on_damage(&self, listener: Function<'_, String, ()>) -> napi::Result<()> {
        let told = listener.build_threadsafe_function::<String>();
        // It must not keep a process alive that has nothing else to do.
        let told = told.callee_handled::<false>().weak::<true>().build()?;
        self.vfs().on_damage(Arc::new(move |message| {
            let mode = ThreadsafeFunctionCallMode::NonBlocking;
            let _: Status = told.call(message.to_owned(), mode);
        }));
        Ok(())
    }
}
