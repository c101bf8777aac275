//! The engine through its public face: trees, files, snapshots, clones, reclaim, reopening.
#![allow(
    clippy::unwrap_used,
    clippy::large_stack_arrays,
    reason = "a test may panic"
)]

use lockstep_format::key;
use lockstep_format::{Features, FileKind, Inode, InodeId, Superblock, Timestamp, ViewId};
use lockstep_store::{Reader, Result, Store, StoreError, StoreOptions};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const ROOT: ViewId = ViewId::ROOT;

fn open(dir: &Path) -> Arc<Store> {
    Store::open(dir, &StoreOptions::default()).unwrap()
}

fn fresh() -> (tempfile::TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Store::create(&path).unwrap();
    let store = open(&path);
    (dir, store)
}

fn reopen(store: Arc<Store>) -> Arc<Store> {
    let dir = store.dir().to_owned();
    store.close().unwrap();
    drop(store);
    open(&dir)
}

fn check(store: Arc<Store>) {
    let dir = store.dir().to_owned();
    store.close().unwrap();
    drop(store);
    assert_eq!(Store::check(&dir, &|_| ()).unwrap().problems, vec![]);
}

fn file(allocated: u64) -> Inode {
    let now = Timestamp {
        seconds: 1,
        nanoseconds: 0,
    };
    Inode {
        kind: FileKind::File,
        mode: 0o644,
        nlink: 0,
        uid: 0,
        gid: 0,
        size: 0,
        allocated,
        rdev: 0,
        flags: 0,
        parent: InodeId::ROOT,
        atime: now,
        mtime: now,
        ctime: now,
        btime: now,
        block_size: 0,
        replication: 0,
    }
}

fn put(store: &Store, key: &[u8], value: &[u8]) {
    store.write(|txn| txn.put(ROOT, key, value)).unwrap();
}

fn get(store: &Store, view: ViewId, key: &[u8]) -> Option<Vec<u8>> {
    store.read(|txn| txn.get(view, key)).unwrap()
}

fn write(store: &Store, view: ViewId, inode: InodeId, offset: u64, bytes: &[u8]) {
    let staged = store.stage(offset, bytes).unwrap();
    store
        .write(|txn| -> Result<()> {
            let change = txn.put_range(view, inode, &staged)?;
            let before = txn.inode(view, inode)?.map_or(0, |inode| inode.allocated);
            txn.put_inode(view, inode, &file((before as i64 + change) as u64))
        })
        .unwrap();
}

fn read(store: &Store, view: ViewId, inode: InodeId, offset: u64, length: usize) -> Vec<u8> {
    let pieces = store
        .read(|txn| txn.pieces(view, inode, offset, length as u64))
        .unwrap();
    let mut bytes = vec![0xaa; length];
    store.load(&pieces, &mut bytes).unwrap();
    bytes
}

/// An xattr key: a kind that carries no accounts.
fn plain(number: u64) -> Vec<u8> {
    key::xattr(InodeId(1000 + number % 97), &number.to_be_bytes())
}

#[test]
fn what_was_written_is_there_after_reopening() {
    let (_dir, store) = fresh();
    for number in 0..20_000u64 {
        put(
            &store,
            &plain(number * 7919 % 20_000),
            &number.to_le_bytes(),
        );
    }
    for number in (0..20_000u64).step_by(3) {
        store.write(|txn| txn.delete(ROOT, &plain(number))).unwrap();
    }
    let store = reopen(store);
    for number in 0..20_000u64 {
        let expected = number % 3 != 0;
        assert_eq!(
            get(&store, ROOT, &plain(number)).is_some(),
            expected,
            "{number}"
        );
    }
    check(store);
}

#[test]
fn a_process_that_dies_loses_nothing_acknowledged() {
    let (_dir, store) = fresh();
    put(&store, &plain(1), b"one");
    write(&store, ROOT, InodeId(7), 0, &[5; 100_000]);
    // What a killed process leaves: files as the kernel has them. Another directory gets them, since
    // this process still holds the lock.
    let copy = store.dir().with_file_name("copy");
    killed(&store, &copy);
    let copied = open(&copy);
    assert_eq!(get(&copied, ROOT, &plain(1)), Some(b"one".to_vec()));
    assert_eq!(
        read(&copied, ROOT, InodeId(7), 0, 100_000),
        vec![5; 100_000]
    );
    check(copied);
    check(store);
}

/// Copies a store as a kill would leave it.
fn killed(store: &Store, copy: &Path) {
    for folder in ["", "meta", "segments", "log"] {
        std::fs::create_dir_all(copy.join(folder)).unwrap();
        for entry in std::fs::read_dir(store.dir().join(folder)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

#[test]
fn damage_to_durable_records_of_the_log_is_told_and_nothing_changed() {
    let (dir, store) = fresh();
    store.maintain().unwrap();
    for number in 0..10 {
        put(&store, &plain(number), b"acknowledged");
        store.sync().unwrap();
    }
    put(&store, &plain(10), b"not made durable");
    let copy = |name: &str| {
        let path = dir.path().join(name);
        killed(&store, &path);
        path
    };
    let (whole, torn, broken) = (copy("whole"), copy("torn"), copy("broken"));
    let flip = |copy: &Path, what: &[u8]| {
        for name in ["0.log", "1.log"] {
            let path = copy.join("log").join(name);
            let mut bytes = std::fs::read(&path).unwrap();
            if let Some(at) = bytes.windows(what.len()).position(|window| window == what) {
                bytes[at] ^= 4;
                std::fs::write(&path, bytes).unwrap();
            }
        }
    };
    flip(&torn, b"not made durable");
    flip(&broken, b"acknowledged");

    assert_eq!(open(&whole).recovery().lost, 0);
    let opened = open(&torn);
    assert_eq!(opened.recovery().lost, 0);
    assert_eq!(
        get(&opened, ROOT, &plain(9)),
        Some(b"acknowledged".to_vec())
    );
    assert_eq!(get(&opened, ROOT, &plain(10)), None);

    let refused = Store::open(&broken, &StoreOptions::default());
    assert_eq!(refused.err().unwrap().code(), "ERR_LOCKSTEP_LOG_DAMAGED");
    let report = Store::check(&broken, &|_| ()).unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
    let cut = StoreOptions {
        cut_log: true,
        ..StoreOptions::default()
    };
    let opened = Store::open(&broken, &cut).unwrap();
    assert!(opened.recovery().lost > 0);
    assert_eq!(get(&opened, ROOT, &plain(0)), None);
    put(&opened, &plain(0), b"again");
    check(opened);
}

#[test]
fn after_a_failure_nothing_changes_until_the_store_is_opened_again() {
    let (_dir, store) = fresh();
    put(&store, &plain(1), b"acknowledged");
    store.fail_stop("an invariant broke");
    let refused = store.write(|txn| txn.put(ROOT, &plain(2), b"refused"));
    assert_eq!(refused.unwrap_err().code(), "ERR_LOCKSTEP_CLOSED");
    assert_eq!(store.sync().unwrap_err().code(), "ERR_LOCKSTEP_CLOSED");
    let found = get(&store, ROOT, &plain(1));
    assert_eq!(found, Some(b"acknowledged".to_vec()));
    assert_eq!(store.close().unwrap_err().code(), "ERR_LOCKSTEP_CLOSED");
    let store = open(store.dir());
    assert_eq!(get(&store, ROOT, &plain(1)), found);
    put(&store, &plain(2), b"accepted");
    check(store);
}

#[test]
fn a_reader_keeps_what_any_later_commit_frees() {
    let (_dir, store) = fresh();
    let (read_later, other) = (InodeId(5), InodeId(6));
    write(&store, ROOT, other, 0, &[1; 400_000]);
    write(&store, ROOT, read_later, 0, &[2; 400_000]);
    store.maintain().unwrap();
    let pieces = store
        .read(|txn| txn.pieces(ROOT, read_later, 0, 400_000))
        .unwrap();
    for inode in [other, read_later] {
        store
            .write(|txn| -> Result<()> {
                txn.clear_range(ROOT, inode, 0, 400_000)?;
                txn.put_inode(ROOT, inode, &file(0))
            })
            .unwrap();
        for _ in 0..3 {
            store.maintain().unwrap();
        }
    }
    let mut bytes = vec![0; 400_000];
    store.load(&pieces, &mut bytes).unwrap();
    assert!(bytes == vec![2; 400_000]);
    drop(pieces);
    check(store);
}

#[test]
fn an_error_in_a_transaction_undoes_all_of_it() {
    let (_dir, store) = fresh();
    put(&store, &plain(1), b"old");
    let result = store.write(|txn| -> Result<()> {
        txn.put(ROOT, &plain(1), b"new")?;
        txn.put(ROOT, &plain(2), b"new")?;
        Err(StoreError::Exhausted { what: "patience" })
    });
    assert!(result.is_err());
    assert_eq!(get(&store, ROOT, &plain(1)), Some(b"old".to_vec()));
    assert_eq!(get(&store, ROOT, &plain(2)), None);
    check(store);
}

#[test]
fn a_snapshot_keeps_what_the_live_tree_overwrites() {
    let (_dir, store) = fresh();
    let inode = InodeId(5);
    write(&store, ROOT, inode, 0, &[1; 300_000]);
    let first = store
        .write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, b"first"))
        .unwrap();
    write(&store, ROOT, inode, 100_000, &[2; 50_000]);
    assert_eq!(
        read(&store, first.view, inode, 0, 300_000),
        vec![1; 300_000]
    );
    let mut expected = vec![1; 300_000];
    expected[100_000..150_000].fill(2);
    assert_eq!(read(&store, ROOT, inode, 0, 300_000), expected);
    let store = reopen(store);
    assert_eq!(
        read(&store, first.view, inode, 0, 300_000),
        vec![1; 300_000]
    );
    assert_eq!(read(&store, ROOT, inode, 0, 300_000), expected);
    assert_eq!(store.space().unwrap().live_bytes, 350_000);
    assert_eq!(store.space().unwrap().snapshot_bytes, 50_000);
    check(store);
}

fn settle(store: &Store, done: impl Fn(&Store) -> bool) {
    for _ in 0..100 {
        if done(store) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("space was not given back: {:?}", store.space().unwrap());
}

#[test]
fn deleting_snapshots_in_any_order_gives_their_space_back() {
    let (_dir, store) = fresh();
    let inode = InodeId(5);
    for round in 0..5u8 {
        write(&store, ROOT, inode, 0, &[round; 200_000]);
        let name = [b'a' + round];
        store
            .write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, &name))
            .unwrap();
    }
    write(&store, ROOT, inode, 0, &[9; 200_000]);
    assert_eq!(store.space().unwrap().live_bytes, 6 * 200_000);
    for (left, name) in [(5, b"c"), (4, b"a"), (3, b"e"), (2, b"b"), (1, b"d")] {
        store
            .write(|txn| txn.delete_snapshot(ROOT, InodeId::ROOT, name))
            .unwrap();
        settle(&store, |store| {
            store.space().unwrap().live_bytes == left * 200_000
        });
    }
    assert_eq!(store.space().unwrap().snapshot_bytes, 0);
    check(store);
}

#[test]
fn a_clone_shares_bytes_and_outlives_its_snapshot() {
    let (_dir, store) = fresh();
    let inode = InodeId(5);
    write(&store, ROOT, inode, 0, &[1; 200_000]);
    let snapshot = store
        .write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, b"s"))
        .unwrap();
    let clone = store
        .write(|txn| txn.create_clone(snapshot.view, (ROOT, InodeId::ROOT), b"clone"))
        .unwrap();
    assert_eq!(store.space().unwrap().live_bytes, 200_000);
    write(&store, clone, inode, 0, &[2; 50_000]);
    store
        .write(|txn| txn.delete_snapshot(ROOT, InodeId::ROOT, b"s"))
        .unwrap();
    write(&store, ROOT, inode, 0, &[3; 200_000]);
    let store = reopen(store);
    let mut expected = vec![1; 200_000];
    expected[..50_000].fill(2);
    assert_eq!(read(&store, clone, inode, 0, 200_000), expected);
    assert_eq!(read(&store, ROOT, inode, 0, 200_000), vec![3; 200_000]);
    store.write(|txn| txn.delete_volume(clone)).unwrap();
    settle(&store, |store| store.space().unwrap().live_bytes == 200_000);
    check(store);
}

#[test]
fn diff_lists_exactly_the_keys_that_changed() {
    let (_dir, store) = fresh();
    for number in 0..50_000u64 {
        put(&store, &plain(number), b"old");
    }
    let before = store
        .write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, b"s"))
        .unwrap();
    put(&store, &plain(77), b"new");
    put(&store, &plain(60_000), b"new");
    store.write(|txn| txn.delete(ROOT, &plain(123))).unwrap();
    let mut found = BTreeMap::new();
    store
        .diff(before.view, ROOT, &mut |key, old, new| {
            found.insert(key.to_vec(), (old.is_some(), new.is_some()));
            Ok(())
        })
        .unwrap();
    let expected = [
        (77, (true, true)),
        (60_000, (false, true)),
        (123, (true, false)),
    ];
    assert_eq!(
        found,
        expected
            .map(|(number, change)| (plain(number), change))
            .into()
    );
    check(store);
}

#[test]
fn a_flipped_bit_is_never_served() {
    let (_dir, store) = fresh();
    write(&store, ROOT, InodeId(5), 0, &[1; 200_000]);
    let store = reopen(store);
    let dir = store.dir().join("segments");
    let segment = std::fs::read_dir(dir)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[70_000] ^= 4;
    std::fs::write(&segment, bytes).unwrap();
    let pieces = store
        .read(|txn| txn.pieces(ROOT, InodeId(5), 60_000, 20_000))
        .unwrap();
    let error = store.load(&pieces, &mut [0; 20_000]).unwrap_err();
    assert_eq!(error.code(), "ERR_LOCKSTEP_CORRUPT");
    assert_eq!(
        read(&store, ROOT, InodeId(5), 100_000, 100_000),
        vec![1; 100_000]
    );
    let path = store.dir().to_owned();
    store.close().unwrap();
    assert_eq!(Store::check(&path, &|_| ()).unwrap().problems.len(), 1);
}

#[test]
fn a_store_that_lost_a_file_is_not_taken_for_one_that_never_had_it() {
    for lost in ["meta/data.mdb", "log/0.log", "log/1.log"] {
        let (_dir, store) = fresh();
        write(&store, ROOT, InodeId(5), 0, &[1; 200_000]);
        let path = store.dir().to_owned();
        store.close().unwrap();
        drop(store);
        std::fs::remove_file(path.join(lost)).unwrap();
        let refused = Store::open(&path, &StoreOptions::default()).err().unwrap();
        assert_eq!(refused.code(), "ERR_LOCKSTEP_CORRUPT", "{lost}");
        assert_eq!(std::fs::read_dir(path.join("segments")).unwrap().count(), 1);
    }
}

#[test]
fn a_second_owner_is_told_who_has_the_store() {
    let (_dir, store) = fresh();
    let Err(error) = Store::open(store.dir(), &StoreOptions::default()) else {
        panic!("opened twice");
    };
    assert_eq!(error.code(), "ERR_LOCKSTEP_LOCKED");
    assert!(
        error.to_string().contains(&std::process::id().to_string()),
        "{error}"
    );
}

#[test]
fn what_is_not_a_store_is_said_to_be_none_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let code = |path: &Path| {
        Store::open(path, &StoreOptions::default())
            .err()
            .unwrap()
            .code()
    };
    assert_eq!(code(dir.path()), "ERR_LOCKSTEP_NOT_A_STORE");
    std::fs::write(dir.path().join("x"), "x").unwrap();
    assert_eq!(
        Store::create(dir.path()).unwrap_err().code(),
        "ERR_LOCKSTEP_NOT_EMPTY"
    );
    let path = dir.path().join("store");
    Store::create(&path).unwrap();
    let superblock = path.join("superblock");
    let good = std::fs::read(&superblock).unwrap();
    let mut newer = good.clone();
    newer[8] = 99;
    std::fs::write(&superblock, newer).unwrap();
    assert_eq!(code(&path), "ERR_LOCKSTEP_NEWER_FORMAT");
    let mut damaged = good;
    damaged[20] ^= 1;
    std::fs::write(&superblock, damaged).unwrap();
    assert_eq!(code(&path), "ERR_LOCKSTEP_SUPERBLOCK");
}

#[test]
fn a_feature_that_is_not_known_decides_who_may_open_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store");
    Store::create(&path).unwrap();
    let open = |features: Features, read_only: bool| {
        let store_id = [1; 16];
        let superblock = Superblock { store_id, features };
        std::fs::write(path.join("superblock"), superblock.encode()).unwrap();
        let options = StoreOptions {
            read_only,
            ..StoreOptions::default()
        };
        Store::open(&path, &options).map_or_else(|error| error.code(), |_| "open")
    };
    let none = Features::default();
    let with = |incompatible: u64, read_only_compatible: u64| Features {
        incompatible,
        read_only_compatible,
        ..none
    };
    let refused = "ERR_LOCKSTEP_UNKNOWN_FEATURE";
    assert_eq!(open(none, false), "open");
    assert_eq!(open(with(1 << 63, 0), false), refused);
    assert_eq!(open(with(1, 0), true), refused);
    assert_eq!(open(with(1, 1), true), refused);
    assert_eq!(open(with(0, 1 << 40), false), refused);
    assert_eq!(open(with(0, 1 << 40), true), "open");
    let compatible = u64::MAX;
    assert_eq!(open(Features { compatible, ..none }, false), "open");
}

#[derive(Clone, Debug)]
enum Step {
    Write {
        inode: u64,
        offset: u64,
        length: usize,
        byte: u8,
    },
    Clear {
        inode: u64,
        from: u64,
        to: u64,
    },
    Snapshot,
    Drop(prop::sample::Index),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (inode, offset) = (1..4u64, 0..200_000u64);
    prop_oneof![
        6 => (inode.clone(), offset.clone(), 1..150_000usize, any::<u8>()).prop_map(
            |(inode, offset, length, byte)| Step::Write { inode, offset, length, byte }
        ),
        2 => (inode, offset.clone(), offset)
            .prop_map(|(inode, from, length)| Step::Clear { inode, from, to: from + length }),
        2 => Just(Step::Snapshot),
        1 => any::<prop::sample::Index>().prop_map(Step::Drop),
        1 => Just(Step::Reopen),
    ]
}

type Model = BTreeMap<u64, Vec<u8>>;

fn compare(store: &Store, view: ViewId, model: &Model) {
    for (inode, bytes) in model {
        assert!(
            read(store, view, InodeId(*inode), 0, bytes.len()) == *bytes,
            "inode {inode}"
        );
    }
}

#[test]
fn a_first_child_may_split_below_the_key_it_was_reached_by() {
    let (_dir, store) = fresh();
    let large = vec![7; 9000];
    // Leaves of one or two entries; the first ones go, and what comes back sorts before the rest.
    for number in 0..12 {
        put(&store, &plain(100 + number), &large);
    }
    for number in 0..6 {
        assert!(
            store
                .write(|txn| txn.delete(ROOT, &plain(100 + number)))
                .unwrap()
        );
    }
    for number in (0..100).rev() {
        put(&store, &plain(number), &large);
    }
    for number in (0..100).chain(106..112) {
        let value = store.read(|txn| txn.get(ROOT, &plain(number))).unwrap();
        assert_eq!(value.as_deref(), Some(&large[..]), "{number}");
    }
    check(store);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_tree_behaves_like_a_sorted_map_and_diff_finds_what_differs(
        before in prop::collection::vec((0..3000u64, prop::option::of(0..9000usize)), 0..1500),
        after in prop::collection::vec((0..3000u64, prop::option::of(0..300usize)), 0..300),
    ) {
        let (_dir, store) = fresh();
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        let apply = |list: &[(u64, Option<usize>)], model: &mut BTreeMap<_, _>| {
            for (number, length) in list {
                let key = plain(*number);
                if let Some(length) = length {
                    let value = vec![*number as u8; *length];
                    put(&store, &key, &value);
                    model.insert(key, value);
                } else {
                    let found = store.write(|txn| txn.delete(ROOT, &key)).unwrap();
                    assert_eq!(found, model.remove(&key).is_some());
                }
            }
        };
        apply(&before, &mut model);
        let old = model.clone();
        let snapshot = store.write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, b"s")).unwrap();
        apply(&after, &mut model);
        for (view, expected) in [(ROOT, &model), (snapshot.view, &old)] {
            let mut found = BTreeMap::new();
            store.read(|txn| txn.scan(view, &[], &[0xff; 9], &mut |key, value| {
                found.insert(key.to_vec(), value.to_vec());
                std::ops::ControlFlow::Continue(())
            })).unwrap();
            prop_assert!(found == *expected);
        }
        let mut replayed = old;
        store.diff(snapshot.view, ROOT, &mut |key, before, now| {
            assert_eq!(replayed.get(key).map(Vec::as_slice), before);
            match now {
                Some(value) => replayed.insert(key.to_vec(), value.to_vec()),
                None => replayed.remove(key),
            };
            Ok(())
        }).unwrap();
        prop_assert!(replayed == model);
        check(store);
    }

    #[test]
    fn files_and_snapshots_behave_like_byte_arrays(steps in prop::collection::vec(step(), 1..40)) {
        let (_dir, mut store) = fresh();
        let mut live: Model = (1..4).map(|inode| (inode, vec![0; 400_000])).collect();
        let mut snapshots: Vec<(Vec<u8>, ViewId, Model)> = Vec::new();
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Write { inode, offset, length, byte } => {
                    write(&store, ROOT, InodeId(inode), offset, &vec![byte; length]);
                    let bytes = live.get_mut(&inode).unwrap();
                    bytes[offset as usize..offset as usize + length].fill(byte);
                }
                Step::Clear { inode, from, to } => {
                    store.write(|txn| -> Result<()> {
                        let (change, _) = txn.clear_range(ROOT, InodeId(inode), from, to)?;
                        let before = txn.inode(ROOT, InodeId(inode))?.map_or(0, |i| i.allocated);
                        let after = (before as i64 + change) as u64;
                        txn.put_inode(ROOT, InodeId(inode), &file(after))
                    }).unwrap();
                    live.get_mut(&inode).unwrap()[from as usize..to as usize].fill(0);
                }
                Step::Snapshot => {
                    let name = number.to_string().into_bytes();
                    let record = store
                        .write(|txn| txn.create_snapshot(ROOT, InodeId::ROOT, &name))
                        .unwrap();
                    snapshots.push((name, record.view, live.clone()));
                }
                Step::Drop(index) if !snapshots.is_empty() => {
                    let (name, ..) = snapshots.remove(index.index(snapshots.len()));
                    prop_assert!(store
                        .write(|txn| txn.delete_snapshot(ROOT, InodeId::ROOT, &name))
                        .unwrap());
                }
                Step::Drop(_) => {}
                Step::Reopen => store = reopen(store),
            }
            compare(&store, ROOT, &live);
        }
        for (_, view, model) in &snapshots {
            compare(&store, *view, model);
        }
        check(store);
    }
}
