//! Threads that write, sync, commit and take snapshots at the same time, until a stop.
//!
//! Each thread counts: one transaction sets two keys and all bytes of a file to the next number, so
//! what a thread has in the store is one number, or torn. A witness notes when each number was begun
//! and acknowledged, by one clock for all.
//!
//! Which thread runs when is up to the system, so a seed gives the same numbers and the same fault,
//! not the same run.

use crate::disk::{Disk, Effect, Fault, World};
use crate::random::Random;
use crate::run::{Kept, Outcome, drop_killed, is_sound, not_kept};
use lockstep_format::key::{self, catalog};
use lockstep_format::{InodeId, SnapshotRecord, ViewId};
use lockstep_store::{Reader, Result, Store, StoreError};
use parking_lot::Mutex;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

const THREADS: usize = 3;
const FILE_BYTES: usize = 9_000;

/// When something began and when it was acknowledged.
#[derive(Clone, Copy, Debug)]
struct Span {
    begun: u64,
    acknowledged: u64,
}

/// What the threads saw, per thread from the number it started with.
struct Witness {
    clock: AtomicU64,
    /// The number each thread found.
    first: [u64; THREADS],
    /// The numbers after it, in order; the last may not have been acknowledged.
    spans: [Mutex<Vec<Span>>; THREADS],
    /// Syncs and commits that were acknowledged.
    syncs: Mutex<Vec<Span>>,
    /// Snapshots that were acknowledged, by name.
    snapshots: Mutex<Vec<(Vec<u8>, Span)>>,
}

const NEVER: u64 = u64::MAX;

impl Witness {
    fn new(first: [u64; THREADS]) -> Self {
        Self {
            clock: AtomicU64::new(1),
            first,
            spans: Default::default(),
            syncs: Mutex::default(),
            snapshots: Mutex::default(),
        }
    }

    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    /// The number that `thread` must have reached if everything acknowledged before `time` counts.
    fn reached(&self, thread: usize, time: u64) -> u64 {
        let spans = self.spans[thread].lock();
        let count = spans
            .iter()
            .take_while(|span| span.acknowledged < time)
            .count();
        self.first[thread] + count as u64
    }

    /// What a state must be: of each thread all that was acknowledged before `since`, nothing that
    /// was begun after `until`, and with anything all that was acknowledged before it was begun.
    fn judge(&self, found: [u64; THREADS], since: u64, until: u64) -> Kept<()> {
        let mut newest = since;
        for (thread, number) in found.into_iter().enumerate() {
            let Some(index) = number.checked_sub(self.first[thread]) else {
                return Err(format!("thread {thread} is back at {number}"));
            };
            let spans = self.spans[thread].lock();
            match index.checked_sub(1).map(|index| spans.get(index as usize)) {
                Some(Some(span)) if span.begun < until => newest = newest.max(span.begun),
                None => {}
                _ => return Err(format!("thread {thread} has {number} too early")),
            }
        }
        for (thread, number) in found.into_iter().enumerate() {
            let least = self.reached(thread, newest);
            if number < least {
                return Err(format!(
                    "thread {thread} is at {number}, {least} came before"
                ));
            }
        }
        Ok(())
    }
}

fn name(thread: usize, copy: u8) -> Vec<u8> {
    key::xattr(InodeId(2000 + thread as u64), &[copy])
}

fn byte(number: u64) -> u8 {
    (number % 251) as u8 + 1
}

fn set(store: &Store, thread: usize, number: u64) -> Result<()> {
    let staged = store.stage(0, &[byte(number); FILE_BYTES])?;
    store.write(|txn| {
        txn.put(ViewId::ROOT, &name(thread, 0), &number.to_le_bytes())?;
        txn.put_range(ViewId::ROOT, InodeId(20 + thread as u64), &staged)?;
        txn.put(ViewId::ROOT, &name(thread, 1), &number.to_le_bytes())
    })
}

fn counter(value: Option<Vec<u8>>) -> u64 {
    let bytes = value.and_then(|value| value.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

/// The numbers that a view shows.
fn numbers(store: &Store, view: ViewId) -> Kept<[u64; THREADS]> {
    let unreadable = |error: StoreError| format!("view {} cannot be read: {error}", view.0);
    let mut found = [0; THREADS];
    for (thread, number) in found.iter_mut().enumerate() {
        let file = InodeId(20 + thread as u64);
        let read = store.read(|txn| {
            let copies = [0, 1].map(|copy| txn.get(view, &name(thread, copy)));
            Ok::<_, StoreError>((copies, txn.pieces(view, file, 0, FILE_BYTES as u64)?))
        });
        let ([first, second], pieces) = read.map_err(unreadable)?;
        *number = counter(first.map_err(unreadable)?);
        let mut bytes = vec![0; FILE_BYTES];
        store.load(&pieces, &mut bytes).map_err(unreadable)?;
        let expected = if *number == 0 { 0 } else { byte(*number) };
        let whole = counter(second.map_err(unreadable)?) == *number;
        if !whole || bytes.iter().any(|byte| *byte != expected) {
            return Err(format!(
                "view {}: thread {thread} has a torn {number}",
                view.0
            ));
        }
    }
    Ok(found)
}

fn write_on(store: &Store, witness: &Witness, thread: usize, mut random: Random) {
    for number in witness.first[thread] + 1.. {
        let index = {
            let mut spans = witness.spans[thread].lock();
            spans.push(Span {
                begun: witness.tick(),
                acknowledged: NEVER,
            });
            spans.len() - 1
        };
        if set(store, thread, number).is_err() {
            return;
        }
        witness.spans[thread].lock()[index].acknowledged = witness.tick();
        if random.chance(30) && !note(witness, || store.sync()) {
            return;
        }
    }
}

/// Does what makes everything before it durable; false if it failed.
fn note(witness: &Witness, act: impl FnOnce() -> Result<()>) -> bool {
    let begun = witness.tick();
    let done = act().is_ok();
    if done {
        let acknowledged = witness.tick();
        witness.syncs.lock().push(Span {
            begun,
            acknowledged,
        });
    }
    done
}

/// Snapshots and commits beside the writers.
fn commit_on(store: &Store, witness: &Witness, mut random: Random) {
    loop {
        if random.chance(50) {
            let name = random.any().to_le_bytes().to_vec();
            let begun = witness.tick();
            let taken = store.write(|txn| txn.create_snapshot(ViewId::ROOT, InodeId::ROOT, &name));
            if taken.is_err() {
                return;
            }
            let span = Span {
                begun,
                acknowledged: witness.tick(),
            };
            witness.snapshots.lock().push((name, span));
        }
        if !note(witness, || store.maintain().map(|_| ())) {
            return;
        }
    }
}

/// The views of the snapshots there are, by name.
fn snapshots(store: &Store) -> Kept<Vec<(Vec<u8>, ViewId)>> {
    let mut list = Vec::new();
    let (from, to) = ([catalog::SNAPSHOT], [catalog::SNAPSHOT + 1]);
    let scan = store.read(|txn| {
        txn.catalog_scan(&from, &to, &mut |key, value| {
            if let Ok(record) = SnapshotRecord::decode(value) {
                list.push((key[13..].to_vec(), record.view));
            }
            ControlFlow::Continue(())
        })
    });
    scan.map_err(not_kept("snapshots cannot be listed"))?;
    Ok(list)
}

/// Runs `stops` stops, by power cuts or by kills, on one disk.
pub fn run(seed: u64, power: bool, stops: u64, world: World) -> Outcome {
    let mut outcome = Outcome::default();
    outcome.violation = stop_again_and_again(seed, power, stops, world, &mut outcome).err();
    outcome
}

fn stop_again_and_again(
    seed: u64,
    power: bool,
    stops: u64,
    world: World,
    outcome: &mut Outcome,
) -> Kept<()> {
    let mut random = Random::new(seed);
    let mut disk = Disk::new(random.any(), world).map_err(not_kept("a store cannot be made"))?;
    while outcome.stops < stops {
        disk.plan(Fault::None);
        let store = disk.open().map_err(not_kept("the store does not open"))?;
        let witness = Witness::new(numbers(&store, ViewId::ROOT)?);
        let at = 1 + random.below(300);
        disk.plan(Fault::StopAt(at, Effect::ALL[random.below(3) as usize]));
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let random = Random::new(random.any());
                let (store, witness) = (&store, &witness);
                scope.spawn(move || write_on(store, witness, thread, random));
            }
            let random = Random::new(random.any());
            scope.spawn(|| commit_on(&store, &witness, random));
        });
        drop_killed(&disk, store);
        disk = disk.restart(power).map_err(not_kept("no restart"))?;
        judge(&disk, &witness, power)?;
        outcome.stops += 1;
        outcome.acknowledged += witness
            .spans
            .iter()
            .map(|spans| spans.lock().len() as u64)
            .sum::<u64>();
    }
    Ok(())
}

fn judge(disk: &Disk, witness: &Witness, power: bool) -> Kept<()> {
    let store = disk.open().map_err(not_kept("the store does not open"))?;
    is_sound(&store, power)?;
    let since = if power {
        witness
            .syncs
            .lock()
            .iter()
            .map(|sync| sync.begun)
            .max()
            .unwrap_or(0)
    } else {
        NEVER
    };
    witness.judge(numbers(&store, ViewId::ROOT)?, since, NEVER)?;
    let found = snapshots(&store)?;
    for (name, span) in witness.snapshots.lock().iter() {
        match found.iter().find(|(known, _)| known == name) {
            Some((_, view)) => witness
                .judge(numbers(&store, *view)?, span.begun, span.acknowledged)
                .map_err(|what| format!("in a snapshot: {what}"))?,
            None if span.acknowledged < since => return Err("a snapshot is missing".to_owned()),
            None => {}
        }
    }
    drop_snapshots(&store, found)
}

/// So that the next stop begins with a small store.
fn drop_snapshots(store: &Store, found: Vec<(Vec<u8>, ViewId)>) -> Kept<()> {
    for (name, _) in found {
        store
            .write(|txn| {
                txn.delete_snapshot(ViewId::ROOT, InodeId::ROOT, &name)
                    .map(|_| ())
            })
            .map_err(not_kept("a snapshot cannot be dropped"))?;
    }
    Ok(())
}
