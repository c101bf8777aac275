//! One run: operations, a fault, recovery, judgement; again and again on the same disk.

use crate::disk::{Disk, Effect, Fault, World};
use crate::model::{Model, Operation, perform};
use crate::random::Random;
use lockstep_format::ViewId;
use lockstep_store::{ProblemKind, Store, StoreError};
use std::sync::Arc;

/// What kind of fault a run deals out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Power cuts.
    PowerCut,
    /// Kills of the process.
    Kill,
    /// One I/O fails; nothing more may be changed. Then a power cut or a kill.
    Failure,
    /// A write finds no space; the store goes on. Then a power cut or a kill.
    FullDisk,
}

impl Kind {
    /// All of them, by name.
    pub const ALL: [(&str, Self); 4] = [
        ("power-cut", Self::PowerCut),
        ("kill", Self::Kill),
        ("failure", Self::Failure),
        ("full-disk", Self::FullDisk),
    ];

    fn fault(self, at: u64, effect: Effect) -> Fault {
        match self {
            Self::PowerCut | Self::Kill => Fault::StopAt(at, effect),
            Self::Failure => Fault::FailAt(at, effect),
            Self::FullDisk => Fault::FullAt(at),
        }
    }

    /// Whether the end is a power cut.
    fn cuts_power(self, random: &mut Random) -> bool {
        match self {
            Self::PowerCut => true,
            Self::Kill => false,
            Self::Failure | Self::FullDisk => random.chance(50),
        }
    }
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
#[derive(Clone)]
struct History {
    /// The state behind each acknowledged operation since the last recovery.
    states: Vec<Model>,
    /// The first of them that a power cut may fall back to.
    durable: usize,
    /// The operation that was not acknowledged, done to the last of them.
    pending: Option<Operation>,
}

impl History {
    fn new(model: Model) -> Self {
        Self {
            states: vec![model],
            durable: 0,
            pending: None,
        }
    }

    fn last(&self) -> &Model {
        &self.states[self.states.len() - 1]
    }
}

/// The result of a step, or what was promised and not kept.
pub(crate) type Kept<T> = std::result::Result<T, String>;

pub(crate) fn not_kept(what: &str) -> impl FnOnce(StoreError) -> String {
    move |error| format!("{what}: {error}")
}

/// Runs `stops` faults of `kind` from `seed`.
pub fn run(seed: u64, kind: Kind, stops: u64, world: World) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.violation = stop_again_and_again(seed, kind, stops, world, &mut outcome).err();
    outcome
}

fn stop_again_and_again(
    seed: u64,
    kind: Kind,
    stops: u64,
    world: World,
    outcome: &mut Outcome,
) -> Kept<()> {
    let mut random = Random::new(seed);
    let mut disk = Disk::new(random.any(), world).map_err(not_kept("a store cannot be made"))?;
    let mut model = Model::new();
    while outcome.stops < stops {
        let store = recover(&mut disk, &mut random, kind)?;
        let at = 1 + random.below(160);
        let effect = Effect::ALL[random.below(3) as usize];
        disk.plan(kind.fault(at, effect));
        let length = if kind == Kind::FullDisk {
            20 + random.below(100)
        } else {
            400
        };
        let mut history = History::new(model);
        operate(&store, &mut random, length, &mut history, outcome)?;
        drop_killed(&disk, store);
        let power = kind.cuts_power(&mut random);
        model = judge(&mut disk, &history, power, outcome)?;
        outcome.fingerprint = outcome.fingerprint.rotate_left(7) ^ random.any();
    }
    Ok(())
}

/// Stops at every I/O of a short workload, the first time in the first, then in the second, and so
/// on; each with no, half and all of its effect. `kind` as for [`run`].
pub fn exhaust(seed: u64, kind: Kind, world: World) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.violation = stop_everywhere(seed, kind, world, &mut outcome).err();
    outcome
}

fn stop_everywhere(seed: u64, kind: Kind, world: World, outcome: &mut Outcome) -> Kept<()> {
    let mut random = Random::new(seed);
    let cannot = "a store cannot be made";
    let disk = Disk::new(random.any(), world).map_err(not_kept(cannot))?;
    let mut before = History::new(Model::new());
    let store = disk.open().map_err(not_kept(cannot))?;
    operate(&store, &mut random, 12, &mut before, outcome)?;
    // What the log holds when the workload begins is recovered within it.
    drop_killed(&disk, store);
    for effect in Effect::ALL {
        for at in 1.. {
            let mut disk = disk.restart(false).map_err(not_kept("no restart"))?;
            disk.plan(kind.fault(at, effect));
            let history = match disk.open() {
                Ok(store) => use_and_close(&store, &mut random.clone(), &before, outcome)?,
                Err(_) => before.clone(),
            };
            let reached = disk.operations() >= at;
            let power = kind.cuts_power(&mut random.clone());
            judge(&mut disk, &history, power, outcome)
                .map_err(|what| format!("I/O {at}, {effect:?} of it done: {what}"))?;
            if !reached {
                break;
            }
        }
    }
    Ok(())
}

/// A workload on a store that is as `before` left it, to its orderly end if that is reached.
fn use_and_close(
    store: &Store,
    random: &mut Random,
    before: &History,
    outcome: &mut Outcome,
) -> Kept<History> {
    let mut history = History::new(before.last().clone());
    operate(store, random, 16, &mut history, outcome)?;
    if history.pending.is_none() && store.close().is_ok() {
        history.durable = history.states.len() - 1;
    }
    Ok(history)
}

/// Drops a store as a kill would: nothing is written any more.
pub(crate) fn drop_killed(disk: &Disk, store: Arc<Store>) {
    disk.plan(Fault::StopAt(1, Effect::Nothing));
    drop(store);
}

/// Opens the store, after stops within recovery itself now and then.
fn recover(disk: &mut Disk, random: &mut Random, kind: Kind) -> Kept<Arc<Store>> {
    for _ in 0..3 {
        let fault = if random.chance(30) {
            Fault::StopAt(1 + random.below(10), Effect::ALL[random.below(3) as usize])
        } else {
            Fault::None
        };
        disk.plan(fault);
        match disk.open() {
            Ok(store) if !disk.stopped() => return Ok(store),
            Ok(_) => {}
            Err(_) if disk.stopped() => {}
            Err(error) => return Err(not_kept("the store does not open")(error)),
        }
        let power = kind.cuts_power(random);
        *disk = disk.restart(power).map_err(not_kept("no restart"))?;
    }
    disk.plan(Fault::None);
    disk.open().map_err(not_kept("the store does not open"))
}

/// Operations until the fault has struck for good. Notes what may be found afterwards.
fn operate(
    store: &Store,
    random: &mut Random,
    length: u64,
    history: &mut History,
    outcome: &mut Outcome,
) -> Kept<()> {
    for _ in 0..length {
        let operation = history.last().choose(random);
        match perform(store, &operation) {
            Ok(view) => {
                let mut next = history.last().clone();
                next.apply(&operation, view);
                outcome.acknowledged += 1;
                outcome.fingerprint = outcome.fingerprint.wrapping_mul(31) ^ u64::from(view);
                history.states.push(next);
                if matches!(operation, Operation::Sync | Operation::Maintain) {
                    history.durable = history.states.len() - 1;
                }
            }
            // It was undone; the store goes on.
            Err(error) if error.code() == "ENOSPC" => {
                holds(store, history.last(), "after a write that found no space")?;
            }
            Err(_) => {
                refuses_changes(store, history.last())?;
                // It may have happened. Nothing else may be done before that is known.
                history.pending = Some(operation);
                break;
            }
        }
    }
    Ok(())
}

fn holds(store: &Store, model: &Model, when: &str) -> Kept<()> {
    match model.compare(store) {
        Ok(None) => Ok(()),
        Ok(Some(difference)) => Err(format!("{when}, read back: {difference}")),
        Err(error) => Err(format!("{when}, reads fail: {error}")),
    }
}

/// After a failure the store takes no change, and shows everything acknowledged before.
fn refuses_changes(store: &Store, model: &Model) -> Kept<()> {
    for operation in [
        Operation::Sync,
        Operation::Maintain,
        Operation::Put(ViewId::ROOT, Vec::new()),
    ] {
        if perform(store, &operation).is_ok() {
            return Err(format!("a store that has failed did {operation:?}"));
        }
    }
    holds(store, model, "after a failure")
}

/// The states that the operation under way may have led to: which view it gave to what it made is
/// known only from what is found.
fn pending_states(store: &Store, history: &History) -> Vec<Model> {
    let Some(operation) = &history.pending else {
        return Vec::new();
    };
    let last = history.last();
    let found = last.views_beside(store).unwrap_or_default();
    let views = found.into_iter().chain([0]);
    let with = |view| {
        let mut state = last.clone();
        state.apply(operation, view);
        state
    };
    views.map(with).collect()
}

/// Whether a check finds nothing wrong.
pub(crate) fn is_sound(store: &Store, power: bool) -> Kept<()> {
    let mut problems = store.check_open().problems;
    // A record may reach the disk before the bytes that it speaks of: there the log ends.
    problems.retain(|problem| !power || problem.kind != ProblemKind::Log);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("the store is damaged: {problems:?}"))
    }
}

/// Restarts, and compares what is found with what may be. Returns the state that was found.
fn judge(disk: &mut Disk, history: &History, power: bool, outcome: &mut Outcome) -> Kept<Model> {
    outcome.stops += 1;
    *disk = disk.restart(power).map_err(not_kept("no restart"))?;
    let store = disk.open().map_err(not_kept("the store does not open"))?;
    is_sound(&store, power)?;
    let first = if power {
        history.durable
    } else {
        history.states.len() - 1
    };
    let mut differences = Vec::new();
    let pending = pending_states(&store, history);
    for state in history.states[first..].iter().chain(&pending).rev() {
        match state.compare(&store) {
            Ok(None) => return Ok(state.clone()),
            Ok(Some(difference)) => differences.push(difference),
            Err(error) => differences.push(error.to_string()),
        }
    }
    differences.truncate(3);
    Err(format!("no state that was acknowledged: {differences:?}"))
}
