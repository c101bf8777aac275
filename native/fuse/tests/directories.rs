//! Listing directories, and the snapshots that live in them.

#![allow(clippy::unwrap_used)] // A test that cannot be set up has failed.

mod support;

use lockstep_vfs::Caller;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use support::{Mounted, errno};

fn names(path: &Path) -> BTreeSet<OsString> {
    fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect()
}

#[test]
fn every_name_is_listed_once() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let dir = mounted.path("many");
    fs::create_dir(&dir).unwrap();
    let expected: BTreeSet<OsString> = (0..3_000)
        .map(|index| format!("name-{index}").into())
        .collect();
    for name in &expected {
        fs::write(dir.join(name), b"").unwrap();
    }
    let mut listed = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        assert!(entry.file_type().unwrap().is_file());
        listed.push(entry.file_name());
    }
    assert_eq!(listed.len(), expected.len());
    assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn dots_come_first_and_name_the_directory_and_its_parent() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let inner = mounted.path("outer/inner");
    fs::create_dir_all(&inner).unwrap();
    let directory = fs::File::open(&inner).unwrap();
    let mut entries = rustix::fs::Dir::read_from(directory).unwrap();
    let mut next = || {
        let entry = entries.read().unwrap().unwrap();
        (entry.file_name().to_bytes().to_vec(), entry.ino())
    };
    assert_eq!(next(), (b".".to_vec(), fs::metadata(&inner).unwrap().ino()));
    assert_eq!(
        next(),
        (
            b"..".to_vec(),
            fs::metadata(mounted.path("outer")).unwrap().ino()
        )
    );
}

#[test]
fn a_directory_can_be_emptied_while_it_is_read() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let dir = mounted.path("dir");
    fs::create_dir(&dir).unwrap();
    for index in 0..2_000 {
        fs::write(dir.join(format!("{index:05}")), b"").unwrap();
    }
    let mut seen = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
        seen += 1;
    }
    assert_eq!(seen, 2_000);
    fs::remove_dir(&dir).unwrap();
}

#[test]
fn names_that_stay_are_listed_once_while_others_come_and_go() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let dir = mounted.path("dir");
    fs::create_dir(&dir).unwrap();
    for index in 0..1_500 {
        fs::write(dir.join(format!("stays-{index:05}")), b"").unwrap();
    }
    for round in 0..5 {
        let mut seen = Vec::new();
        for (index, entry) in fs::read_dir(&dir).unwrap().enumerate() {
            let name = entry.unwrap().file_name();
            if name.as_bytes().starts_with(b"stays") {
                seen.push(name);
            }
            fs::write(dir.join(format!("{round}-{index:05}")), b"").unwrap();
            let before = index.saturating_sub(1);
            if index > 0 {
                fs::remove_file(dir.join(format!("{round}-{before:05}"))).unwrap();
            }
            if index > 5_000 {
                break;
            }
        }
        let once: BTreeSet<_> = seen.iter().collect();
        assert_eq!((seen.len(), once.len()), (1_500, 1_500), "round {round}");
    }
}

#[test]
fn a_rewound_directory_is_read_anew() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    fs::write(mounted.path("first"), b"").unwrap();
    let directory = fs::File::open(mounted.point()).unwrap();
    let mut entries = rustix::fs::Dir::read_from(directory).unwrap();
    let count = |entries: &mut rustix::fs::Dir| {
        let mut count = 0;
        while let Some(entry) = entries.read() {
            entry.unwrap();
            count += 1;
        }
        count
    };
    assert_eq!(count(&mut entries), 3);
    fs::write(mounted.path("second"), b"").unwrap();
    entries.rewind();
    assert_eq!(count(&mut entries), 4);
}

#[test]
fn names_of_any_bytes() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let odd = OsStr::from_bytes(b"a\xff\x01\n \\b");
    fs::write(mounted.point().join(odd), b"odd").unwrap();
    assert_eq!(names(&mounted.point()), BTreeSet::from([odd.to_owned()]));
    assert_eq!(fs::read(mounted.point().join(odd)).unwrap(), b"odd");
}

#[test]
fn snapshots_are_made_used_and_dropped_by_directory_calls() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let (dir, shots) = (mounted.path("data"), mounted.path("data/.snapshot"));
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), b"one").unwrap();
    assert_eq!(names(&dir), BTreeSet::from(["sub".into()]));
    fs::create_dir(shots.join("s1")).unwrap();
    fs::write(dir.join("sub/file"), b"two").unwrap();
    fs::write(dir.join("new"), b"").unwrap();
    fs::create_dir(shots.join("s2")).unwrap();
    assert_eq!(names(&shots), BTreeSet::from(["s1".into(), "s2".into()]));
    assert_eq!(fs::read(shots.join("s1/sub/file")).unwrap(), b"one");
    assert_eq!(fs::read(shots.join("s2/sub/file")).unwrap(), b"two");
    assert_eq!(names(&shots.join("s1")), BTreeSet::from(["sub".into()]));
    // Still not listed, and nothing in a snapshot can be changed.
    assert_eq!(names(&dir), BTreeSet::from(["sub".into(), "new".into()]));
    assert_eq!(
        errno(fs::write(shots.join("s1/sub/file"), b"x")),
        libc::EROFS
    );
    assert_eq!(
        errno(fs::remove_file(shots.join("s1/sub/file"))),
        libc::EROFS
    );
    assert_eq!(errno(fs::create_dir(shots.join("s1/x"))), libc::EROFS);
    assert_eq!(errno(fs::create_dir(shots.join("s1"))), libc::EEXIST);
    fs::rename(shots.join("s1"), shots.join("first")).unwrap();
    assert_eq!(errno(fs::metadata(shots.join("s1"))), libc::ENOENT);
    assert_eq!(fs::read(shots.join("first/sub/file")).unwrap(), b"one");
    assert_eq!(errno(fs::remove_dir(&dir)), libc::ENOTEMPTY);
    fs::remove_dir(shots.join("first")).unwrap();
    assert_eq!(names(&shots), BTreeSet::from(["s2".into()]));
    assert_eq!(
        errno(fs::metadata(shots.join("first/sub/file"))),
        libc::ENOENT
    );
    // The same name again is another snapshot.
    fs::create_dir(shots.join("first")).unwrap();
    assert_eq!(fs::read(shots.join("first/sub/file")).unwrap(), b"two");
}

#[test]
fn snapshots_of_the_other_view_come_and_go_at_once() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    fs::create_dir(mounted.path("d")).unwrap();
    fs::write(mounted.path("d/f"), b"kept").unwrap();
    let (root, node) = (Caller::root(), mounted.node("/d"));
    let path = mounted.path("d/.snapshot/s");
    for _ in 0..5 {
        assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
        mounted.vfs.create_snapshot(&root, node, b"s").unwrap();
        assert_eq!(fs::read(path.join("f")).unwrap(), b"kept");
        let held = fs::File::open(path.join("f")).unwrap();
        drop(held);
        mounted
            .vfs
            .rename_snapshot(&root, node, b"s", b"t")
            .unwrap();
        assert_eq!(errno(fs::metadata(path.join("f"))), libc::ENOENT);
        mounted.vfs.delete_snapshot(&root, node, b"t").unwrap();
        assert_eq!(names(&mounted.path("d/.snapshot")).len(), 0);
    }
}

#[test]
fn a_clone_is_seen_and_written() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    fs::create_dir(mounted.path("base")).unwrap();
    fs::write(mounted.path("base/file"), b"base").unwrap();
    let (root, node) = (Caller::root(), mounted.node("/base"));
    mounted.vfs.create_snapshot(&root, node, b"s").unwrap();
    let top = lockstep_vfs::NodeId::ROOT;
    mounted
        .vfs
        .create_clone(&root, node, b"s", top, b"copy")
        .unwrap();
    assert_eq!(fs::read(mounted.path("copy/file")).unwrap(), b"base");
    fs::write(mounted.path("copy/file"), b"copy").unwrap();
    assert_eq!(fs::read(mounted.path("base/file")).unwrap(), b"base");
    let moved = fs::rename(mounted.path("copy/file"), mounted.path("base/other"));
    assert_eq!(errno(moved), libc::EXDEV);
    mounted.vfs.delete_volume(&root, top, b"copy").unwrap();
    assert_eq!(errno(fs::metadata(mounted.path("copy/file"))), libc::ENOENT);
}
