//! What another view changed is seen through the mount at once, whatever the kernel had cached.

mod support;

use lockstep_vfs::{Caller, Event, NodeId, Observer, OpenFlags, RenameMode, SetAttributes};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::raw::Mapping;
use support::{Mounted, errno, pattern};

const ROOT: NodeId = NodeId::ROOT;

fn root() -> Caller {
    Caller::root()
}

#[test]
fn cached_attributes_follow_the_other_view() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("file");
    fs::write(&path, b"12345").unwrap();
    let node = mounted.node("/file");
    for round in 1..50u32 {
        let mode = 0o600 + (round & 0o77);
        let change = SetAttributes {
            mode: Some(mode),
            uid: Some(round),
            ..Default::default()
        };
        mounted.vfs.set_attributes(&root(), node, &change).unwrap();
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.mode() & 0o777, stat.uid()), (mode, round));
        let change = SetAttributes {
            size: Some(round.into()),
            ..Default::default()
        };
        mounted.vfs.set_attributes(&root(), node, &change).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::from(round));
    }
}

#[test]
fn cached_names_follow_the_other_view() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let vfs = &mounted.vfs;
    let (a, b) = (mounted.path("a"), mounted.path("b"));
    for round in 0..50u32 {
        assert_eq!(errno(fs::metadata(&a)), libc::ENOENT);
        mounted.create("a", b"first");
        assert_eq!(fs::read(&a).unwrap(), b"first");
        vfs.rename(&root(), ROOT, b"a", ROOT, b"b", RenameMode::Replace)
            .unwrap();
        assert_eq!(errno(fs::metadata(&a)), libc::ENOENT);
        assert_eq!(fs::read(&b).unwrap(), b"first");
        mounted.create("a", b"second");
        vfs.rename(&root(), ROOT, b"a", ROOT, b"b", RenameMode::Exchange)
            .unwrap();
        assert_eq!(
            (fs::read(&a).unwrap(), fs::read(&b).unwrap()),
            (b"first".into(), b"second".into())
        );
        vfs.unlink(&root(), ROOT, b"a").unwrap();
        vfs.unlink(&root(), ROOT, b"b").unwrap();
        assert_eq!(errno(fs::metadata(&b)), libc::ENOENT);
        assert_eq!(
            fs::read_dir(mounted.point()).unwrap().count(),
            0,
            "round {round}"
        );
    }
}

#[test]
fn directories_and_their_link_counts_follow_the_other_view() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let vfs = &mounted.vfs;
    let top = mounted.path("top");
    fs::create_dir(&top).unwrap();
    let node = mounted.node("/top");
    for count in 0..20u32 {
        let before = fs::metadata(&top).unwrap();
        assert_eq!(before.nlink(), 2 + u64::from(count));
        let name = format!("sub{count}");
        vfs.make_directory(&root(), node, name.as_bytes(), 0o755)
            .unwrap();
        let after = fs::metadata(&top).unwrap();
        assert_eq!(after.nlink(), 3 + u64::from(count));
        assert!((after.mtime(), after.mtime_nsec()) > (before.mtime(), before.mtime_nsec()));
        assert!(fs::metadata(top.join(&name)).unwrap().is_dir());
    }
    // A whole tree goes, with names below it cached and a directory in it open.
    fs::write(top.join("sub3/file"), b"x").unwrap();
    let held = File::open(top.join("sub3/file")).unwrap();
    vfs.remove_tree(&root(), ROOT, b"top").unwrap();
    assert_eq!(errno(fs::metadata(top.join("sub3/file"))), libc::ENOENT);
    assert_eq!(errno(fs::metadata(&top)), libc::ENOENT);
    let mut bytes = [0; 1];
    held.read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(&bytes, b"x");
}

#[test]
fn cached_pages_follow_the_other_view_through_an_open_file() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("file");
    fs::write(&path, vec![0u8; 300_000]).unwrap();
    let file = File::open(&path).unwrap();
    let mut all = vec![0; 300_000];
    for round in 1..60u64 {
        file.read_exact_at(&mut all, 0).unwrap();
        let at = round * 4_567 % 290_000;
        let bytes = pattern(5_000, round);
        mounted.write("/file", at, &bytes);
        let mut seen = vec![0; bytes.len()];
        file.read_exact_at(&mut seen, at).unwrap();
        assert!(seen == bytes, "round {round}");
    }
    // Longer, and shorter again.
    mounted.write("/file", 300_000, b"tail");
    let mut tail = [0; 10];
    assert_eq!(file.read_at(&mut tail, 299_996).unwrap(), 8);
    assert_eq!(&tail[4..8], b"tail");
    let shorter = SetAttributes {
        size: Some(10),
        ..Default::default()
    };
    mounted
        .vfs
        .set_attributes(&root(), mounted.node("/file"), &shorter)
        .unwrap();
    assert_eq!(file.read_at(&mut all, 0).unwrap(), 10);
    assert_eq!((&file).seek(SeekFrom::End(0)).unwrap(), 10);
}

#[test]
fn mapped_pages_follow_the_other_view_and_the_other_way_round() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("file");
    fs::write(&path, vec![b'.'; 20_000]).unwrap();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut mapping = Mapping::new(&file, 20_000);
    for round in 100..160u8 {
        let at = usize::from(round) * 331 % 20_000;
        assert_ne!(mapping.byte(at), round);
        mounted.write("/file", at as u64, &[round]);
        assert_eq!(mapping.byte(at), round);
    }
    // What was changed in the mapping, in another page and not yet written back, is not lost.
    mapping.set(8_192, b"mapped");
    mounted.write("/file", 16_500, b"other");
    assert_eq!((mapping.byte(16_500), mapping.byte(8_192)), (b'o', b'm'));
    mapping.sync();
    assert_eq!(&mounted.read("/file")[8_192..8_198], b"mapped");
    assert_eq!(&mounted.read("/file")[16_500..16_505], b"other");
}

#[test]
fn an_append_goes_behind_what_the_other_view_appended() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("log");
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    let mut expected = Vec::new();
    for round in 0..100u64 {
        file.write_all(format!("mount {round}\n").as_bytes())
            .unwrap();
        expected.extend(format!("mount {round}\n").as_bytes());
        let other = pattern(1_000 + 37 * round as usize, round);
        mounted.write("/log", expected.len() as u64, &other);
        expected.extend(other);
        if round % 10 == 9 {
            let size = SetAttributes {
                size: Some(100),
                ..Default::default()
            };
            mounted
                .vfs
                .set_attributes(&root(), mounted.node("/log"), &size)
                .unwrap();
            expected.truncate(100);
        }
    }
    file.write_all(b"end").unwrap();
    expected.extend(b"end");
    assert!(mounted.read("/log") == expected);
    assert!(fs::read(&path).unwrap() == expected);
    let mut again = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut again).unwrap();
    assert!(again == expected);
}

#[test]
fn both_sides_at_once_never_show_old_bytes() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("counter");
    fs::write(&path, 0u64.to_le_bytes()).unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let file = File::open(&path).unwrap();
                let mut bytes = [0; 8];
                while !stop.load(Ordering::Relaxed) {
                    let least = acknowledged.load(Ordering::SeqCst);
                    file.read_exact_at(&mut bytes, 0).unwrap();
                    let seen = u64::from_le_bytes(bytes);
                    assert!(seen >= least, "saw {seen} after {least} was acknowledged");
                }
            });
        }
        let handle = mounted.open(
            "/counter",
            OpenFlags {
                write: true,
                ..Default::default()
            },
        );
        for value in 1..2_000u64 {
            mounted.vfs.write(handle, 0, &value.to_le_bytes()).unwrap();
            acknowledged.store(value, Ordering::SeqCst);
        }
        stop.store(true, Ordering::Relaxed);
        mounted.vfs.release(handle).unwrap();
    });
}

#[test]
fn both_sides_may_work_in_one_directory_without_waiting_for_each_other() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("shared");
    fs::create_dir(&path).unwrap();
    let node = mounted.node("/shared");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..300 {
                let file = path.join(format!("mount{round}"));
                fs::write(&file, b"m").unwrap();
                fs::rename(&file, path.join("mount")).unwrap();
                assert!(fs::read_dir(&path).unwrap().count() >= 1);
            }
        });
        for round in 0..300 {
            let name = format!("other{round}");
            let vfs = &mounted.vfs;
            vfs.make_directory(&root(), node, name.as_bytes(), 0o755)
                .unwrap();
            vfs.rename(
                &root(),
                node,
                name.as_bytes(),
                node,
                b"other",
                RenameMode::Replace,
            )
            .unwrap();
        }
    });
    let names: std::collections::BTreeSet<_> = fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(names, ["mount".into(), "other".into()].into());
    assert_eq!(fs::metadata(&path).unwrap().nlink(), 3);
}

#[test]
fn two_mounts_of_one_store_follow_each_other() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let second = mounted.dir.path().join("second");
    fs::create_dir(&second).unwrap();
    let options = lockstep_fuse::MountOptions::default();
    let other = lockstep_fuse::mount(Arc::clone(&mounted.vfs), &second, &options).unwrap();
    let eventually = |path: &std::path::Path, bytes: &[u8]| {
        for _ in 0..1000 {
            if fs::read(path).is_ok_and(|seen| seen == bytes) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        panic!("{} never became {bytes:?}", path.display());
    };
    for round in 0..100u32 {
        let (write, read) = if round % 2 == 0 {
            (mounted.path("f"), second.join("f"))
        } else {
            (second.join("f"), mounted.path("f"))
        };
        let bytes = round.to_le_bytes();
        fs::write(&write, bytes).unwrap();
        eventually(&read, &bytes);
    }
    other.unmount().unwrap();
}

#[test]
fn set_id_bits_that_a_write_took_are_gone_for_the_mount_too() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("program");
    fs::write(&path, b"x").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o6777)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o6777);
    support::shell_as(1000, &mounted.point(), "printf y >> program").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    assert_eq!(
        mounted
            .vfs
            .attributes(mounted.node("/program"))
            .unwrap()
            .mode,
        0o777
    );
    fs::set_permissions(&path, PermissionsExt::from_mode(0o4777)).unwrap();
    support::shell_as(1000, &mounted.point(), ": > program").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o4777)).unwrap();
    support::shell_as(1000, &mounted.point(), "truncate -s 5 program").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o777);
}

/// Counts what a view is told.
#[derive(Default)]
struct Counter(AtomicU64);

impl Observer for Counter {
    fn changed(&self, events: &[Event]) {
        self.0.fetch_add(events.len() as u64, Ordering::SeqCst);
    }
}

#[test]
fn changes_through_the_mount_are_told_to_other_views_only() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let counter = Arc::new(Counter::default());
    mounted.vfs.observe(u32::MAX, Arc::clone(&counter) as _);
    fs::write(mounted.path("file"), b"x").unwrap();
    let told = counter.0.load(Ordering::SeqCst);
    assert!(told >= 2, "{told}");
    fs::read(mounted.path("file")).unwrap();
    fs::metadata(mounted.path("file")).unwrap();
    assert_eq!(counter.0.load(Ordering::SeqCst), told);
    mounted.vfs.unobserve(u32::MAX);
}
