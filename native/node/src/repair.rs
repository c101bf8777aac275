//! `repairStore`: derives again what can be derived, in a store that nobody has open.

use crate::check::{CheckProgress, from_store};
use crate::error::catch_free;
use crate::problem::Problem;
use crate::task::{Promised, promise};
use lockstep_store::{
    CheckProgress as StoreProgress, RepairReport as StoreReport, RepairStep, Store,
};
use napi::Status;
use napi::bindgen_prelude::Function;
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi_derive::napi;
use std::path::Path;

/// What a repair will do, or did.
#[napi(object)]
pub struct RepairReport {
    /// The steps, for people.
    pub steps: Vec<String>,
    /// Why something is not repaired.
    pub refused: Option<String>,
    /// Problems that stay.
    pub remaining: Vec<Problem>,
    /// Where copies are.
    pub kept: Option<String>,
}

fn step_text(step: RepairStep) -> String {
    match step {
        RepairStep::CutLog { records } => {
            format!("cut the damaged log: {records} acknowledged changes are lost")
        }
        RepairStep::DeriveAccounts => "derive all counts and sums from the trees".into(),
        RepairStep::RebuildChunks => {
            "rebuild the chunk tree from its readable pages and the footers of segments".into()
        }
        RepairStep::WriteFooters { segments } => {
            format!("write the footers of {} segments anew", segments.len())
        }
    }
}

impl From<StoreReport> for RepairReport {
    fn from(report: StoreReport) -> Self {
        Self {
            steps: report.steps.into_iter().map(step_text).collect(),
            refused: report.refused,
            remaining: report.remaining.into_iter().map(Problem::from).collect(),
            kept: report.kept.map(|path| path.display().to_string()),
        }
    }
}

/// Repairs the store in `dir`, or says what a repair would do.
#[napi(ts_return_type = "Promise<RepairReport>")]
pub fn repair_store(
    dir: String,
    apply: bool,
    on_progress: Function<'_, CheckProgress, ()>,
) -> napi::Result<Promised<RepairReport>> {
    let told = on_progress.build_threadsafe_function::<CheckProgress>();
    let told = told
        .max_queue_size::<1>()
        .callee_handled::<false>()
        .build()?;
    Ok(promise(move || {
        catch_free(|| {
            let progress = |progress: StoreProgress| {
                let _: Status = told.call(progress.into(), ThreadsafeFunctionCallMode::NonBlocking);
            };
            let repair = if apply {
                Store::repair
            } else {
                Store::plan_repair
            };
            let report = repair(Path::new(&dir), &progress);
            Ok(report.map_err(|error| from_store(&error))?.into())
        })
    }))
}
