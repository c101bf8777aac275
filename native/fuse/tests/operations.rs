//! What applications do on a mount, one kind of request after the other.

mod support;

use rustix::fs::{AtFlags, FallocateFlags, FileType, Mode, RenameFlags, SeekFrom, XattrFlags};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use support::{Mounted, errno, pattern};

#[test]
fn a_file_is_created_written_read_and_reopened() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("file");
    fs::write(&path, b"hello").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"hello");
    let stat = fs::metadata(&path).unwrap();
    assert_eq!(
        (stat.len(), stat.nlink(), stat.mode() & 0o7777),
        (5, 1, 0o644)
    );
    assert_eq!((stat.uid(), stat.gid(), stat.blksize()), (0, 0, 4096));
    assert_eq!(mounted.read("/file"), b"hello");
    assert_eq!(mounted.node("/file").0, stat.ino());
    let exclusive = OpenOptions::new().write(true).create_new(true).open(&path);
    assert_eq!(errno(exclusive), libc::EEXIST);
    fs::write(&path, b"x").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"x");
    assert_eq!(errno(fs::read(mounted.path("missing"))), libc::ENOENT);
}

#[test]
fn big_files_come_back_byte_for_byte() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let bytes = pattern(9_000_001, 7);
    let path = mounted.path("big");
    let mut file = File::create(&path).unwrap();
    for piece in bytes.chunks(300_007) {
        file.write_all(piece).unwrap();
    }
    file.sync_all().unwrap();
    assert!(fs::read(&path).unwrap() == bytes);
    assert!(mounted.read("/big") == bytes);
    let mut piece = vec![0; 100_000];
    let file = File::open(&path).unwrap();
    for at in [0u64, 1, 4095, 1 << 20, 8_900_001] {
        file.read_exact_at(&mut piece, at).unwrap();
        assert!(
            piece == bytes[at as usize..at as usize + piece.len()],
            "at {at}"
        );
    }
    assert_eq!(file.read_at(&mut piece, 9_000_001).unwrap(), 0);
    let direct = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(&path)
        .unwrap();
    let mut all = Vec::new();
    (&direct).read_to_end(&mut all).unwrap();
    assert!(all == bytes);
}

#[test]
fn random_writes_truncates_and_holes_behave_like_a_plain_file() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let options = || {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .clone()
    };
    let ours = options().open(mounted.path("ours")).unwrap();
    let plain = options().open(mounted.dir.path().join("plain")).unwrap();
    let numbers = pattern(6 * 400, 99);
    for step in numbers.chunks(6) {
        let at = u64::from(u32::from_le_bytes([step[0], step[1], step[2] & 3, 0]));
        let length = usize::from(u16::from_le_bytes([step[3], step[4]]));
        for file in [&ours, &plain] {
            if step[5] < 40 {
                file.set_len(at).unwrap();
            } else {
                file.write_all_at(&pattern(length, at), at).unwrap();
            }
        }
        assert_eq!(
            ours.metadata().unwrap().len(),
            plain.metadata().unwrap().len()
        );
    }
    let read = |mut file: &File| {
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        bytes
    };
    assert!(read(&ours) == read(&plain));
    assert!(mounted.read("/ours") == read(&plain));
}

#[test]
fn appends_go_to_the_end() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("log");
    let open = || {
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(&path)
            .unwrap()
    };
    let (mut one, mut two) = (open(), open());
    for _ in 0..10 {
        one.write_all(b"one ").unwrap();
        two.write_all(b"two ").unwrap();
    }
    assert_eq!(fs::read(&path).unwrap(), b"one two ".repeat(10));
    // The flag can be taken off an open file, and put on.
    let flags = rustix::fs::fcntl_getfl(&one).unwrap();
    rustix::fs::fcntl_setfl(&one, flags - rustix::fs::OFlags::APPEND).unwrap();
    one.write_all_at(b"ONE", 0).unwrap();
    assert_eq!(&fs::read(&path).unwrap()[..8], b"ONE two ");
    assert_eq!(fs::metadata(&path).unwrap().len(), 80);
}

#[test]
fn append_only_creation_with_a_mode_that_forbids_writing() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("readonly-log");
    let mut file = OpenOptions::new()
        .append(true)
        .create_new(true)
        .mode(0o400)
        .open(&path)
        .unwrap();
    file.write_all(b"a").unwrap();
    file.write_all(b"b").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"ab");
}

#[test]
fn an_unlinked_open_file_lives_until_it_is_closed() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("gone");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    file.write_all(b"before").unwrap();
    fs::remove_file(&path).unwrap();
    assert_eq!(errno(fs::metadata(&path)), libc::ENOENT);
    file.write_all(b" after").unwrap();
    file.set_len(8).unwrap();
    let stat = file.metadata().unwrap();
    assert_eq!((stat.nlink(), stat.len()), (0, 8));
    file.rewind().unwrap();
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "before a");
}

#[test]
fn directories_have_link_counts_and_refuse_what_posix_refuses() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let (a, b) = (mounted.path("a"), mounted.path("a/b"));
    fs::create_dir(&a).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().nlink(), 2);
    fs::create_dir(&b).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().nlink(), 3);
    assert_eq!(errno(fs::create_dir(&a)), libc::EEXIST);
    assert_eq!(errno(fs::remove_dir(&a)), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_file(&a)), libc::EISDIR);
    fs::write(mounted.path("f"), b"").unwrap();
    assert_eq!(errno(fs::remove_dir(mounted.path("f"))), libc::ENOTDIR);
    assert_eq!(errno(fs::rename(&a, mounted.path("a/b/c"))), libc::EINVAL);
    fs::remove_dir(&b).unwrap();
    assert_eq!(fs::metadata(&a).unwrap().nlink(), 2);
    fs::remove_dir(&a).unwrap();
    assert_eq!(errno(fs::metadata(&a)), libc::ENOENT);
    let long = "n".repeat(256);
    assert_eq!(
        errno(fs::create_dir(mounted.path(&long))),
        libc::ENAMETOOLONG
    );
    fs::create_dir(mounted.path(&long[1..])).unwrap();
}

#[test]
fn renames_replace_refuse_and_exchange() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let at = |name: &str| mounted.path(name);
    let rename = |from: &str, to: &str, flags| {
        rustix::fs::renameat_with(rustix::fs::CWD, at(from), rustix::fs::CWD, at(to), flags)
    };
    fs::create_dir(at("d")).unwrap();
    fs::write(at("x"), b"x").unwrap();
    fs::write(at("d/y"), b"y").unwrap();
    assert_eq!(
        rename("x", "d/y", RenameFlags::NOREPLACE),
        Err(rustix::io::Errno::EXIST)
    );
    rename("x", "d/y", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(
        (fs::read(at("x")).unwrap(), fs::read(at("d/y")).unwrap()),
        (b"y".to_vec(), b"x".to_vec())
    );
    let held = File::open(at("d/y")).unwrap();
    fs::rename(at("x"), at("d/y")).unwrap();
    assert_eq!(fs::read(at("d/y")).unwrap(), b"y");
    assert_eq!(held.metadata().unwrap().nlink(), 0);
    fs::create_dir(at("e")).unwrap();
    assert_eq!(errno(fs::rename(at("e"), at("d/y"))), libc::ENOTDIR);
    assert_eq!(errno(fs::rename(at("d/y"), at("e"))), libc::EISDIR);
    assert_eq!(errno(fs::rename(at("e"), at("d"))), libc::ENOTEMPTY);
    fs::rename(at("d"), at("e")).unwrap();
    assert_eq!(fs::read(at("e/y")).unwrap(), b"y");
    assert_eq!(errno(fs::metadata(at("d"))), libc::ENOENT);
    let whiteout = rename("e/y", "e/z", RenameFlags::WHITEOUT);
    assert_eq!(whiteout, Err(rustix::io::Errno::INVAL));
}

#[test]
fn hard_links_share_attributes_at_once() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let (one, two) = (mounted.path("one"), mounted.path("two"));
    fs::write(&one, b"1").unwrap();
    fs::hard_link(&one, &two).unwrap();
    let (first, second) = (fs::metadata(&one).unwrap(), fs::metadata(&two).unwrap());
    assert_eq!(
        (first.ino(), first.nlink(), second.nlink()),
        (second.ino(), 2, 2)
    );
    fs::set_permissions(&two, PermissionsExt::from_mode(0o600)).unwrap();
    assert_eq!(fs::metadata(&one).unwrap().mode() & 0o777, 0o600);
    fs::write(&two, b"longer").unwrap();
    assert_eq!(fs::metadata(&one).unwrap().len(), 6);
    fs::remove_file(&one).unwrap();
    assert_eq!(fs::metadata(&two).unwrap().nlink(), 1);
    fs::create_dir(mounted.path("dir")).unwrap();
    assert_eq!(
        errno(fs::hard_link(mounted.path("dir"), mounted.path("no"))),
        libc::EPERM
    );
}

#[test]
fn symbolic_links_and_special_files() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let link = mounted.path("link");
    std::os::unix::fs::symlink("target/of\u{e9}", &link).unwrap();
    assert_eq!(
        fs::read_link(&link).unwrap().as_os_str().as_bytes(),
        "target/of\u{e9}".as_bytes()
    );
    assert_eq!(fs::symlink_metadata(&link).unwrap().len(), 11);
    fs::write(mounted.path("real"), b"r").unwrap();
    std::os::unix::fs::symlink("real", mounted.path("to-real")).unwrap();
    assert_eq!(fs::read(mounted.path("to-real")).unwrap(), b"r");
    let new_node = |name: &str, kind, device| {
        let path = mounted.path(name);
        rustix::fs::mknodat(rustix::fs::CWD, &path, kind, Mode::from(0o640), device).unwrap();
        fs::symlink_metadata(&path).unwrap()
    };
    assert!(new_node("fifo", FileType::Fifo, 0).file_type().is_fifo());
    assert!(
        new_node("socket", FileType::Socket, 0)
            .file_type()
            .is_socket()
    );
    let device = rustix::fs::makedev(7, 300);
    let made = new_node("device", FileType::BlockDevice, device);
    assert!(made.file_type().is_block_device());
    assert_eq!((made.rdev(), made.mode() & 0o777), (device, 0o640));
    let made = new_node("char", FileType::CharacterDevice, rustix::fs::makedev(1, 3));
    assert!(made.file_type().is_char_device());
    // A socket that a program binds, and a pipe that two programs open.
    let bound = std::os::unix::net::UnixListener::bind(mounted.path("bound")).unwrap();
    std::os::unix::net::UnixStream::connect(mounted.path("bound")).unwrap();
    drop(bound);
}

#[test]
fn times_are_kept_to_the_nanosecond_before_and_after_1970() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("times");
    fs::write(&path, b"").unwrap();
    for (seconds, nanoseconds) in [(1_600_000_000, 123_456_789), (-2, 700_000_001), (0, 0)] {
        let time = rustix::fs::Timespec {
            tv_sec: seconds,
            tv_nsec: nanoseconds,
        };
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, AtFlags::empty()).unwrap();
        let stat = fs::metadata(&path).unwrap();
        assert_eq!((stat.mtime(), stat.mtime_nsec()), (seconds, nanoseconds));
        assert_eq!((stat.atime(), stat.atime_nsec()), (seconds, nanoseconds));
    }
    let before = fs::metadata(&path).unwrap();
    fs::write(&path, b"changed").unwrap();
    let after = fs::metadata(&path).unwrap();
    assert!(after.mtime() > before.mtime());
    assert!((after.ctime(), after.ctime_nsec()) > (before.ctime(), before.ctime_nsec()));
}

#[test]
fn extended_attributes() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("file");
    fs::write(&path, b"").unwrap();
    let mut room = [0u8; 64];
    let missing = rustix::fs::getxattr(&path, "user.none", &mut room);
    assert_eq!(missing, Err(rustix::io::Errno::NODATA));
    rustix::fs::setxattr(&path, "user.a", b"value", XattrFlags::empty()).unwrap();
    let twice = rustix::fs::setxattr(&path, "user.a", b"x", XattrFlags::CREATE);
    assert_eq!(twice, Err(rustix::io::Errno::EXIST));
    let none = rustix::fs::setxattr(&path, "user.b", b"x", XattrFlags::REPLACE);
    assert_eq!(none, Err(rustix::io::Errno::NODATA));
    assert_eq!(rustix::fs::getxattr(&path, "user.a", &mut room), Ok(5));
    assert_eq!(&room[..5], b"value");
    assert_eq!(support::raw::xattr_size(&path, c"user.a"), 5);
    let small = rustix::fs::getxattr(&path, "user.a", &mut room[..4]);
    assert_eq!(small, Err(rustix::io::Errno::RANGE));
    rustix::fs::setxattr(&path, "trusted.t", b"", XattrFlags::empty()).unwrap();
    let length = rustix::fs::listxattr(&path, &mut room).unwrap();
    let names: BTreeSet<_> = room[..length]
        .split(|b| *b == 0)
        .filter(|n| !n.is_empty())
        .collect();
    assert_eq!(names, BTreeSet::from([&b"user.a"[..], b"trusted.t"]));
    rustix::fs::removexattr(&path, "user.a").unwrap();
    assert_eq!(
        rustix::fs::removexattr(&path, "user.a"),
        Err(rustix::io::Errno::NODATA)
    );
    let big = pattern(65_536, 3);
    rustix::fs::setxattr(&path, "user.big", &big, XattrFlags::empty()).unwrap();
    let mut room = vec![0u8; 65_536];
    assert_eq!(
        rustix::fs::getxattr(&path, "user.big", &mut room[..]),
        Ok(65_536)
    );
    assert!(room == big);
}

#[test]
fn space_is_reserved_punched_zeroed_and_sought() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("sparse");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(&path)
        .unwrap();
    file.write_all_at(&pattern(65_536, 1), 1 << 20).unwrap();
    let seek = |from| rustix::fs::seek(&file, from);
    assert_eq!(seek(SeekFrom::Data(0)), Ok(1 << 20));
    assert_eq!(seek(SeekFrom::Hole(1 << 20)), Ok((1 << 20) + 65_536));
    assert_eq!(seek(SeekFrom::Hole(0)), Ok(0));
    assert_eq!(seek(SeekFrom::Data(2 << 20)), Err(rustix::io::Errno::NXIO));
    assert_eq!(seek(SeekFrom::End(0)), Ok((1 << 20) + 65_536));
    assert!(file.metadata().unwrap().blocks() * 512 < 1 << 20);
    let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, punch, (1 << 20) + 10_000, 20_000).unwrap();
    let mut expected = pattern(65_536, 1);
    expected[10_000..30_000].fill(0);
    let mut bytes = vec![0; 65_536];
    file.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert!(bytes == expected);
    rustix::fs::fallocate(&file, FallocateFlags::ZERO_RANGE, 1 << 20, 100).unwrap();
    expected[..100].fill(0);
    file.read_exact_at(&mut bytes, 1 << 20).unwrap();
    assert!(bytes == expected);
    rustix::fs::fallocate(&file, FallocateFlags::KEEP_SIZE, 0, 4 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (1 << 20) + 65_536);
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 4 << 20).unwrap();
    assert_eq!(file.metadata().unwrap().len(), 4 << 20);
    let collapse = rustix::fs::fallocate(&file, FallocateFlags::COLLAPSE_RANGE, 0, 4096);
    assert_eq!(collapse, Err(rustix::io::Errno::OPNOTSUPP));
}

#[test]
fn statfs_and_the_mount_table_make_sense() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let figures = rustix::fs::statvfs(mounted.point()).unwrap();
    let host = rustix::fs::statvfs(mounted.dir.path()).unwrap();
    assert_eq!(
        (figures.f_bsize, figures.f_frsize, figures.f_namemax),
        (4096, 4096, 255)
    );
    assert_eq!(figures.f_blocks * 4096, host.f_blocks * host.f_frsize);
    assert!(figures.f_bavail > 0 && figures.f_files > figures.f_ffree);
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let point = mounted.point().canonicalize().unwrap();
    let line = table
        .lines()
        .find(|line| line.contains(point.to_str().unwrap()))
        .unwrap();
    assert!(
        line.starts_with("lockstep ") && line.contains(" fuse.lockstep "),
        "{line}"
    );
    let device = fs::metadata(mounted.point()).unwrap().dev();
    let device = format!(
        "{}:{}",
        rustix::fs::major(device),
        rustix::fs::minor(device)
    );
    let read_ahead = fs::read_to_string(format!("/sys/class/bdi/{device}/read_ahead_kb")).unwrap();
    assert_eq!(read_ahead.trim(), "1024");
}

#[test]
fn mapped_files_are_read_and_written() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let path = mounted.path("mapped");
    // Opened to append: what comes back from the mapping must not be appended.
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .open(&path)
        .unwrap();
    file.write_all(&vec![b'.'; 10_000]).unwrap();
    let mut mapping = support::raw::Mapping::new(&file, 10_000);
    assert_eq!((mapping.byte(0), mapping.byte(9_999)), (b'.', b'.'));
    mapping.set(5000, b"map");
    mapping.sync();
    file.sync_all().unwrap();
    let mut expected = vec![b'.'; 10_000];
    expected[5000..5003].copy_from_slice(b"map");
    assert!(mounted.read("/mapped") == expected);
    assert!(fs::read(&path).unwrap() == expected);
}

#[test]
fn a_program_on_the_mount_runs() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    let program = mounted.path("true");
    fs::copy("/bin/true", &program).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o711)).unwrap();
    assert!(
        std::process::Command::new(&program)
            .status()
            .unwrap()
            .success()
    );
    // Executable by others, though not readable by them.
    support::shell_as(1000, &mounted.point(), "./true").unwrap();
    assert!(support::shell_as(1000, &mounted.point(), "cat true").is_err());
    fs::set_permissions(&program, PermissionsExt::from_mode(0o744)).unwrap();
    assert!(support::shell_as(1000, &mounted.point(), "./true").is_err());
}

#[test]
fn many_files_are_flushed_while_others_are_read() {
    let Some(mounted) = Mounted::new() else {
        return;
    };
    fs::write(mounted.path("other"), b"x").unwrap();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let path = mounted.path(&format!("log{client}"));
            scope.spawn(move || {
                let mut file = File::create(&path).unwrap();
                for _ in 0..20 {
                    file.write_all(&[7; 5000]).unwrap();
                    file.sync_all().unwrap();
                }
                File::open(path.parent().unwrap())
                    .unwrap()
                    .sync_all()
                    .unwrap();
            });
        }
        for round in 0..200 {
            assert_eq!(
                errno(fs::metadata(mounted.path(&format!("missing{round}")))),
                libc::ENOENT
            );
        }
    });
    for client in 0..8 {
        assert_eq!(mounted.read(&format!("/log{client}")).len(), 100_000);
    }
}
