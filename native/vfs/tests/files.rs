//! The bytes of files: inline and not, holes, lengths, appends, files without a name.

#![allow(clippy::unwrap_used, clippy::similar_names, clippy::naive_bytecount)]

mod support;

use lockstep_vfs::{Errno, Event, NodeId, Observer, OpenFlags, SeekTarget, SetAttributes};
use std::sync::{Arc, Mutex};
use support::{APPEND, READ, WRITE, errno, new_store, root};

fn pattern(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|at| (at as u8).wrapping_mul(31) ^ (at >> 8) as u8 ^ seed)
        .collect()
}

#[test]
fn bytes_survive_growth_from_inline_to_extents_and_a_reopen() {
    let mut store = new_store();
    let mut expected = Vec::new();
    store.write_file("/f", b"");
    for (step, length) in [10usize, 2000, 48, 1, 5000, 1 << 20, 3]
        .into_iter()
        .enumerate()
    {
        let part = pattern(length, step as u8);
        let handle = store.open("/f", WRITE);
        let size = store
            .vfs
            .write(handle, expected.len() as u64, &part)
            .unwrap();
        store.vfs.release(handle).unwrap();
        expected.extend_from_slice(&part);
        assert_eq!(size, expected.len() as u64);
        assert!(store.read_file("/f") == expected, "step {step}");
    }
    assert_eq!(store.at("/f").allocated, expected.len() as u64);
    store.reopen();
    assert!(store.read_file("/f") == expected);
}

#[test]
fn holes_read_as_zeros_and_take_no_space() {
    let store = new_store();
    store.write_file("/f", b"head");
    let handle = store.open("/f", WRITE);
    store.vfs.write(handle, 10 << 20, b"tail").unwrap();
    let seen = store.at("/f");
    assert_eq!((seen.size, seen.allocated), ((10 << 20) + 4, 8));
    let bytes = store.read_handle(handle);
    assert!(bytes.starts_with(b"head\0\0") && bytes.ends_with(b"\0tail"));
    assert!(bytes[4..10 << 20].iter().all(|byte| *byte == 0));
    let seek = |offset, target| store.vfs.seek(handle, offset, target);
    assert_eq!(seek(0, SeekTarget::Data).unwrap(), 0);
    assert_eq!(seek(0, SeekTarget::Hole).unwrap(), 4);
    assert_eq!(seek(4, SeekTarget::Data).unwrap(), 10 << 20);
    assert_eq!(seek(10 << 20, SeekTarget::Hole).unwrap(), (10 << 20) + 4);
    assert_eq!(
        errno(seek((10 << 20) + 4, SeekTarget::Data)),
        Errno::NoDevice
    );
    store.vfs.punch_hole(handle, 2, 10 << 20).unwrap();
    let bytes = store.read_handle(handle);
    assert!(bytes.starts_with(b"he\0\0") && bytes.ends_with(b"\0\0il"));
    assert_eq!(store.at("/f").allocated, 4);
    assert_eq!(errno(store.vfs.punch_hole(handle, 0, 0)), Errno::Invalid);
}

#[test]
fn bytes_that_were_cut_off_never_come_back() {
    let store = new_store();
    for length in [1500usize, 100_000, 3 << 20] {
        let bytes = pattern(length, 3);
        store.write_file("/f", &bytes);
        let handle = store.open("/f", WRITE);
        let cut = length / 3;
        store.vfs.truncate(handle, cut as u64).unwrap();
        store.vfs.truncate(handle, length as u64 + 7).unwrap();
        let seen = store.read_handle(handle);
        assert!(seen[..cut] == bytes[..cut] && seen[cut..].iter().all(|byte| *byte == 0));
        store.vfs.truncate(handle, 0).unwrap();
        assert_eq!(store.at("/f").allocated, 0);
        store.vfs.write(handle, 0, b"again").unwrap();
        assert_eq!(store.read_handle(handle), b"again");
        store.vfs.release(handle).unwrap();
    }
}

#[test]
fn lengths_beyond_the_limit_are_refused() {
    let store = new_store();
    let node = store.write_file("/f", b"");
    let handle = store.open("/f", WRITE);
    assert_eq!(
        errno(store.vfs.write(handle, i64::MAX as u64, b"x")),
        Errno::TooLarge
    );
    assert_eq!(errno(store.vfs.truncate(handle, u64::MAX)), Errno::TooLarge);
    let far = 5 << 40;
    store.vfs.truncate(handle, far).unwrap();
    assert_eq!(store.vfs.attributes(node).unwrap().size, far);
    store.vfs.write(handle, far - 1, b"x").unwrap();
    let directory = SetAttributes {
        size: Some(1),
        ..SetAttributes::default()
    };
    let refused = store.vfs.set_attributes(&root(), NodeId::ROOT, &directory);
    assert_eq!(errno(refused), Errno::IsDirectory);
    store.vfs.allocate(handle, 0, far + 5, false).unwrap();
    assert_eq!(store.vfs.attributes(node).unwrap().size, far + 5);
    store.vfs.allocate(handle, 0, far + 500, true).unwrap();
    assert_eq!(store.vfs.attributes(node).unwrap().size, far + 5);
}

#[test]
fn appenders_never_overwrite_each_other() {
    let store = new_store();
    store.write_file("/f", b"");
    let vfs = &store.vfs;
    let node = store.node("/f");
    std::thread::scope(|scope| {
        for thread in 0..4u8 {
            scope.spawn(move || {
                let handle = vfs.open_file(&root(), node, APPEND).unwrap();
                for round in 0..50 {
                    vfs.write(handle, 0, &vec![b'a' + thread; 10 + round])
                        .unwrap();
                }
                vfs.release(handle).unwrap();
            });
        }
    });
    let bytes = store.read_file("/f");
    let expected: usize = (0..50).map(|round| 10 + round).sum();
    for thread in 0..4u8 {
        let count = bytes.iter().filter(|byte| **byte == b'a' + thread).count();
        assert_eq!(count, expected);
    }
    // Each append is in one piece: a run's length is a sum of whole appends.
    assert_eq!(bytes.len(), 4 * expected);
}

#[test]
fn an_unlinked_file_lives_until_its_last_release() {
    let mut store = new_store();
    for length in [100usize, 6 << 20] {
        let bytes = pattern(length, 9);
        let node = store.write_file("/f", &bytes);
        let first = store.open("/f", WRITE);
        let second = store.open("/f", READ);
        store.unlink("/f").unwrap();
        assert_eq!(store.vfs.attributes(node).unwrap().nlink, 0);
        assert_eq!(store.vfs.handle_attributes(second).unwrap().nlink, 0);
        assert!(store.read_handle(second) == bytes);
        store.vfs.write(first, 0, b"still").unwrap();
        store.vfs.release(first).unwrap();
        store.vfs.settle();
        assert!(store.read_handle(second).starts_with(b"still"));
        let refused = store.vfs.link(&root(), node, NodeId::ROOT, b"back");
        assert_eq!(errno(refused), Errno::NotFound);
        store.vfs.release(second).unwrap();
        store.vfs.settle();
        assert_eq!(errno(store.vfs.attributes(node)), Errno::NotFound);
    }
    // One that nobody released is freed by the next open.
    let node = store.write_file("/g", &pattern(6 << 20, 1));
    let _held = store.open("/g", READ);
    store.unlink("/g").unwrap();
    store.reopen();
    store.vfs.settle();
    assert_eq!(errno(store.vfs.attributes(node)), Errno::NotFound);
    assert_eq!(store.vfs.statistics(NodeId::ROOT).unwrap().inodes, 1);
    assert_eq!(store.vfs.statistics(NodeId::ROOT).unwrap().volume_bytes, 0);
}

#[test]
fn a_removed_tree_is_freed_in_the_background() {
    let mut store = new_store();
    store.mkdir("/keep");
    store.mkdir("/t");
    for directory in 0..5 {
        store.mkdir(&format!("/t/{directory}"));
        for file in 0..20 {
            store.write_file(&format!("/t/{directory}/{file}"), &pattern(3000, file));
        }
    }
    let linked = store.node("/t/0/0");
    store
        .vfs
        .link(&root(), linked, store.node("/keep"), b"linked")
        .unwrap();
    let (inner, handle) = (store.node("/t/1"), store.open("/t/2/3", READ));
    store.remove_tree("/t").unwrap();
    assert_eq!(store.names("/"), ["keep"]);
    // Nothing can be made below it any more, even for those who know the node.
    let refused = store.vfs.make_directory(&root(), inner, b"new", 0o755);
    assert_eq!(errno(refused), Errno::NotFound);
    store.vfs.settle();
    assert!(store.read_handle(handle) == pattern(3000, 3));
    store.vfs.release(handle).unwrap();
    store.vfs.settle();
    assert_eq!(store.at("/keep/linked").nlink, 1);
    assert_eq!(store.vfs.statistics(NodeId::ROOT).unwrap().inodes, 3);
    store.reopen();
    assert!(store.read_file("/keep/linked") == pattern(3000, 0));
    assert_eq!(store.at("/").nlink, 3);
}

#[test]
fn concat_moves_bytes_behind_the_target() {
    let store = new_store();
    let mut expected = Vec::new();
    let mut nodes = Vec::new();
    for (index, length) in [2 << 20, 100, 1 << 20, 5000].into_iter().enumerate() {
        let bytes = pattern(length, index as u8);
        nodes.push(store.write_file(&format!("/{index}"), &bytes));
        expected.extend_from_slice(&bytes);
    }
    assert_eq!(
        errno(store.vfs.concat(&root(), nodes[0], &[nodes[0]])),
        Errno::Invalid
    );
    store.vfs.concat(&root(), nodes[0], &nodes[1..]).unwrap();
    assert!(store.read_file("/0") == expected);
    assert_eq!(store.names("/"), ["0"]);
    assert_eq!(store.at("/0").allocated, expected.len() as u64);
}

#[test]
fn content_summaries_add_up() {
    let store = new_store();
    store.mkdir("/d");
    store.mkdir("/d/e");
    store.write_file("/d/a", &pattern(1000, 0));
    let node = store.write_file("/d/e/b", &pattern(500, 0));
    let twice = SetAttributes {
        replication: Some(2),
        ..SetAttributes::default()
    };
    store.vfs.set_attributes(&root(), node, &twice).unwrap();
    store
        .vfs
        .symlink(&root(), store.node("/d"), b"l", b"nowhere")
        .unwrap();
    let sums = store
        .vfs
        .content_summary(&root(), store.node("/d"))
        .unwrap();
    assert_eq!((sums.length, sums.files, sums.directories), (1500, 3, 2));
    assert_eq!(sums.space_consumed, 2000);
    let alone = store.vfs.content_summary(&root(), node).unwrap();
    assert_eq!((alone.length, alone.files, alone.directories), (500, 1, 0));
}

struct Recorder(Mutex<Vec<Event>>);

impl Observer for Recorder {
    fn changed(&self, events: &[Event]) {
        self.0.lock().unwrap().extend_from_slice(events);
    }
}

#[test]
fn observers_hear_of_the_changes_of_others_only() {
    let store = new_store();
    let recorder = Arc::new(Recorder(Mutex::new(Vec::new())));
    store
        .vfs
        .observe(7, Arc::clone(&recorder) as Arc<dyn Observer>);
    let own = lockstep_vfs::Caller {
        origin: 7,
        ..root()
    };
    let take = || std::mem::take(&mut *recorder.0.lock().unwrap());
    store
        .vfs
        .make_directory(&own, NodeId::ROOT, b"own", 0o755)
        .unwrap();
    assert!(take().is_empty());
    let (made, handle) = store
        .vfs
        .create_file(&root(), NodeId::ROOT, b"f", 0o644, WRITE)
        .unwrap();
    let entry = |name: &[u8]| Event::Entry {
        parent: NodeId::ROOT,
        name: name.to_vec(),
    };
    assert!(take().contains(&entry(b"f")));
    store.vfs.write(handle, 5, b"bytes").unwrap();
    assert_eq!(
        take(),
        [Event::Inode {
            node: made.node,
            offset: 5,
            length: 5
        }]
    );
    let opened = OpenFlags {
        append: false,
        ..WRITE
    };
    let quiet = store.vfs.open_file(&own, made.node, opened).unwrap();
    store.vfs.write(quiet, 0, b"quiet").unwrap();
    assert!(take().is_empty());
    store.rename("/f", "/g").unwrap();
    let events = take();
    assert!(events.contains(&entry(b"f")) && events.contains(&entry(b"g")));
    store.unlink("/g").unwrap();
    assert!(take().contains(&entry(b"g")));
    store.snapshot("/own", "s");
    let parent = store.node("/own").snapshot_directory();
    assert!(take().contains(&Event::Entry {
        parent,
        name: b"s".to_vec()
    }));
    store.vfs.unobserve(7);
    store.mkdir("/unheard");
    assert!(take().is_empty());
}

/// What the threads of the next test do.
fn churn(vfs: &lockstep_vfs::Vfs, thread: u64, top: NodeId) {
    let mut state = thread + 1;
    let mut next = |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for _ in 0..400 {
        let directory = format!("/shared/{}", next(3));
        let Ok(parent) = vfs.resolve(&root(), directory.as_bytes(), true) else {
            let _ = vfs.make_directory(&root(), top, &directory.as_bytes()[8..], 0o755);
            continue;
        };
        let name = [b'a' + next(6) as u8];
        let other = [b'a' + next(6) as u8];
        match next(10) {
            0..4 => {
                if let Ok((_, handle)) = vfs.create_file(&root(), parent.node, &name, 0o644, WRITE)
                {
                    let length = [10, 5000, 70_000][next(3) as usize];
                    let _ = vfs.write(handle, next(3000), &vec![1; length]);
                    vfs.release(handle).unwrap();
                }
            }
            4 => drop(vfs.unlink(&root(), parent.node, &name)),
            5 => {
                let to = vfs.resolve(&root(), format!("/shared/{}", next(3)).as_bytes(), true);
                if let Ok(to) = to {
                    let mode = lockstep_vfs::RenameMode::Replace;
                    let _ = vfs.rename(&root(), parent.node, &name, to.node, &other, mode);
                }
            }
            6 => {
                let found = vfs.lookup(&root(), parent.node, &name);
                drop(found.and_then(|found| vfs.link(&root(), found.node, parent.node, &other)));
            }
            7 => drop(vfs.remove_tree(&root(), top, &directory.as_bytes()[8..])),
            8 => drop(vfs.create_snapshot(&root(), top, format!("s{thread}").as_bytes())),
            _ => drop(vfs.delete_snapshot(&root(), top, format!("s{thread}").as_bytes())),
        }
    }
}

#[test]
fn threads_leave_a_consistent_tree() {
    let mut store = new_store();
    let top = store.mkdir("/shared");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let vfs = &store.vfs;
            scope.spawn(move || churn(vfs, thread, top));
        }
    });
    for snapshot in store.vfs.list_snapshots(top).unwrap() {
        store
            .vfs
            .delete_snapshot(&root(), top, &snapshot.name)
            .unwrap();
    }
    for _ in 0..2 {
        store.vfs.settle();
        let mut links = std::collections::BTreeMap::new();
        let mut bytes = 0;
        let directories = store.names("/shared");
        assert_eq!(store.at("/shared").nlink as usize, 2 + directories.len());
        for directory in &directories {
            let names = store.names(&format!("/shared/{directory}"));
            assert_eq!(
                store.at(&format!("/shared/{directory}")).size as usize,
                names.len()
            );
            for name in names {
                let seen = store.at(&format!("/shared/{directory}/{name}"));
                links.entry(seen.node).or_insert((seen.nlink, 0)).1 += 1;
                let read = store.read_file(&format!("/shared/{directory}/{name}"));
                bytes += read.len();
            }
        }
        assert!(
            links.values().all(|(count, found)| count == found),
            "{links:?}"
        );
        assert!(bytes > 0 || links.is_empty());
        let inodes = store.vfs.statistics(NodeId::ROOT).unwrap().inodes;
        assert_eq!(inodes as usize, 2 + directories.len() + links.len());
        store.check_and_reopen();
    }
}
