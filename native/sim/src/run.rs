//! One run: operations, a fault, recovery, judgement; again and again on the same disk.

use crate::disk::{Disk, Fault, Lies};
use crate::model::{Model, Operation, perform};
use crate::random::Random;
use lockstep_store::{Store, StoreOptions};
use std::sync::Arc;

/// What kind of fault a run deals out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Power cuts.
    PowerCut,
    /// Kills of the process.
    Kill,
    /// One I/O fails, then the process is killed.
    Failure,
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Times the store was stopped and recovered.
    pub stops: u64,
    /// Operations acknowledged.
    pub acknowledged: u64,
    /// A number that two runs of one seed share.
    pub fingerprint: u64,
    /// What was promised and not kept.
    pub violation: Option<String>,
}

/// States the store may be in after a stop.
struct History {
    /// The state behind each acknowledged operation since the last recovery.
    states: Vec<Model>,
    /// The first of them that a power cut may fall back to.
    durable: usize,
    /// The operation that was not acknowledged, done to the last of them.
    pending: Option<Operation>,
}

/// Runs `stops` faults of `kind` from `seed`.
pub fn run(seed: u64, kind: Kind, stops: u64, lies: Lies) -> Outcome {
    let mut random = Random::new(seed);
    let mut outcome = Outcome::default();
    let mut disk = Disk::new(random.any(), lies);
    let mut model = Model::new();
    while outcome.stops < stops && outcome.violation.is_none() {
        let recovered = recover(&mut disk, &mut random, kind, &mut outcome);
        let Some(store) = recovered else {
            return outcome;
        };
        let (history, base) = operate(&store, &disk, &mut random, kind, model, &mut outcome);
        drop(store);
        outcome.stops += 1;
        disk = disk.restart(kind == Kind::PowerCut);
        model = judge(&disk, &history, kind, &mut outcome).unwrap_or(base);
        outcome.fingerprint = outcome.fingerprint.rotate_left(7) ^ random.any();
    }
    outcome
}

fn options() -> StoreOptions {
    StoreOptions {
        cache_bytes: 1 << 20,
        read_only: false,
    }
}

/// Opens the store, after stops within recovery itself now and then.
fn recover(
    disk: &mut Disk,
    random: &mut Random,
    kind: Kind,
    outcome: &mut Outcome,
) -> Option<Arc<Store>> {
    for _ in 0..3 {
        let fault = if random.chance(30) {
            Fault::StopAt(1 + random.below(6))
        } else {
            Fault::None
        };
        disk.plan(fault);
        match Store::open_parts(&options(), disk.parts()) {
            Ok(store) if !disk.stopped() => return Some(store),
            Ok(_) => {}
            Err(_) if disk.stopped() => {}
            Err(error) => {
                outcome.violation = Some(format!("the store does not open: {error}"));
                return None;
            }
        }
        *disk = disk.restart(kind == Kind::PowerCut);
    }
    disk.plan(Fault::None);
    match Store::open_parts(&options(), disk.parts()) {
        Ok(store) => Some(store),
        Err(error) => {
            outcome.violation = Some(format!("the store does not open: {error}"));
            None
        }
    }
}

/// Operations until the fault has struck. Returns what may be found afterwards.
fn operate(
    store: &Store,
    disk: &Disk,
    random: &mut Random,
    kind: Kind,
    model: Model,
    outcome: &mut Outcome,
) -> (History, Model) {
    let at = 1 + random.below(120);
    disk.plan(if kind == Kind::Failure {
        Fault::FailAt(at)
    } else {
        Fault::StopAt(at)
    });
    let mut history = History {
        states: vec![model.clone()],
        durable: 0,
        pending: None,
    };
    let mut current = model;
    for _ in 0..400 {
        let operation = current.choose(random);
        let Ok(view) = perform(store, &operation) else {
            // It may have happened. Nothing else may be done before that is known.
            history.pending = Some(operation);
            break;
        };
        current.apply(&operation, view);
        outcome.acknowledged += 1;
        outcome.fingerprint = outcome.fingerprint.wrapping_mul(31) ^ u64::from(view);
        history.states.push(current.clone());
        if matches!(operation, Operation::Sync | Operation::Maintain) {
            history.durable = history.states.len() - 1;
        }
    }
    (history, current)
}

/// The states that the operation under way may have led to: which view it gave to what it made is
/// known only from what is found.
fn pending_states(store: &Store, history: &History) -> Vec<Model> {
    let (Some(operation), Some(last)) = (&history.pending, history.states.last()) else {
        return Vec::new();
    };
    let found = last.views_beside(store).unwrap_or_default();
    let views = found.into_iter().chain([0]);
    let with = |view| {
        let mut state = last.clone();
        state.apply(operation, view);
        state
    };
    views.map(with).collect()
}

/// Compares what is found with what may be. Returns the state that was found.
fn judge(disk: &Disk, history: &History, kind: Kind, outcome: &mut Outcome) -> Option<Model> {
    disk.plan(Fault::None);
    let store = match Store::open_parts(&options(), disk.parts()) {
        Ok(store) => store,
        Err(error) => {
            outcome.violation = Some(format!("the store does not open: {error}"));
            return None;
        }
    };
    let problems = store.check_open().problems;
    if !problems.is_empty() {
        outcome.violation = Some(format!("the store is damaged: {problems:?}"));
        return None;
    }
    let first = if kind == Kind::PowerCut {
        history.durable
    } else {
        history.states.len() - 1
    };
    let mut differences = Vec::new();
    let pending = pending_states(&store, history);
    for state in history.states[first..].iter().chain(&pending).rev() {
        match state.compare(&store) {
            Ok(None) => return Some(state.clone()),
            Ok(Some(difference)) => differences.push(difference),
            Err(error) => differences.push(error.to_string()),
        }
    }
    differences.truncate(3);
    outcome.violation = Some(format!("no state that was acknowledged: {differences:?}"));
    None
}
