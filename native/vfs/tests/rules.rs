//! Names, links, permission, times: the rules of one file system.

#![allow(clippy::unwrap_used, clippy::similar_names)]

mod support;

use lockstep_vfs::{
    Caller, Errno, FileKind, NodeId, OpenFlags, RenameMode, SetAttributes, SetTime, Timestamp,
    XattrMode,
};
use support::{READ, WRITE, errno, new_store, root, user};

fn chmod(mode: u32) -> SetAttributes {
    SetAttributes {
        mode: Some(mode),
        ..SetAttributes::default()
    }
}

fn chown(uid: Option<u32>, gid: Option<u32>) -> SetAttributes {
    SetAttributes {
        uid,
        gid,
        ..SetAttributes::default()
    }
}

#[test]
fn a_new_store_has_a_root_directory() {
    let store = new_store();
    let root = store.at("/");
    assert_eq!(root.node, NodeId::ROOT);
    assert_eq!(
        (root.kind, root.mode, root.nlink),
        (FileKind::Directory, 0o755, 2)
    );
    assert!(store.names("/").is_empty());
}

#[test]
fn names_are_limited_as_on_linux() {
    let store = new_store();
    let make = |name: &[u8]| store.vfs.make_directory(&root(), NodeId::ROOT, name, 0o755);
    make(&[0xfe; 255]).unwrap();
    assert_eq!(errno(make(&[b'a'; 256])), Errno::NameTooLong);
    assert_eq!(errno(make(b"a/b")), Errno::Invalid);
    for taken in [&b"."[..], b"..", b".snapshot"] {
        assert_eq!(errno(make(taken)), Errno::Exists);
    }
    let resolve = |path: &[u8]| store.vfs.resolve(&root(), path, true);
    assert_eq!(errno(resolve(&[b'/'; 5000])), Errno::NameTooLong);
    assert_eq!(errno(resolve(b"")), Errno::NotFound);
    assert_eq!(errno(resolve(b"/missing")), Errno::NotFound);
    store.write_file("/file", b"x");
    assert_eq!(errno(resolve(b"/file/below")), Errno::NotDirectory);
    assert_eq!(errno(resolve(b"/file/")), Errno::NotDirectory);
}

#[test]
fn directories_count_their_entries_and_links() {
    let store = new_store();
    store.mkdir("/d");
    store.mkdir("/d/e");
    store.write_file("/d/f", b"x");
    let d = store.at("/d");
    assert_eq!((d.nlink, d.size), (3, 2));
    assert_eq!(errno(store.rmdir("/d")), Errno::NotEmpty);
    assert_eq!(errno(store.unlink("/d/e")), Errno::IsDirectory);
    assert_eq!(errno(store.rmdir("/d/f")), Errno::NotDirectory);
    store.rmdir("/d/e").unwrap();
    store.unlink("/d/f").unwrap();
    assert_eq!((store.at("/d").nlink, store.at("/d").size), (2, 0));
    store.rmdir("/d").unwrap();
    assert_eq!(store.at("/").nlink, 2);
}

#[test]
fn hard_links_share_one_inode() {
    let store = new_store();
    let node = store.write_file("/a", b"same");
    store.mkdir("/d");
    let linked = store
        .vfs
        .link(&root(), node, store.node("/d"), b"b")
        .unwrap();
    assert_eq!((linked.node, linked.nlink), (node, 2));
    store.unlink("/a").unwrap();
    assert_eq!(store.at("/d/b").nlink, 1);
    assert_eq!(store.read_file("/d/b"), b"same");
    assert_eq!(store.vfs.path_of(node).unwrap(), b"/d/b");
    // The name made last is gone; another one is found.
    store.vfs.link(&root(), node, NodeId::ROOT, b"c").unwrap();
    store.unlink("/c").unwrap();
    assert_eq!(store.vfs.path_of(node).unwrap(), b"/d/b");
    let directory = store.node("/d");
    let refused = store.vfs.link(&root(), directory, NodeId::ROOT, b"x");
    assert_eq!(errno(refused), Errno::NotPermitted);
}

#[test]
fn symbolic_links_are_followed_forty_times() {
    let store = new_store();
    store.mkdir("/d");
    store.write_file("/d/f", b"bytes");
    let link = |name: &str, target: &str| {
        store
            .vfs
            .symlink(&root(), NodeId::ROOT, name.as_bytes(), target.as_bytes())
            .unwrap()
    };
    link("relative", "d/f");
    link("absolute", "/d/../d/./f");
    link("directory", "d/");
    link("loop", "loop");
    let resolve = |path: &str, follow| store.vfs.resolve(&root(), path.as_bytes(), follow);
    assert_eq!(resolve("/relative", true).unwrap().size, 5);
    assert_eq!(resolve("/absolute", true).unwrap().size, 5);
    assert_eq!(resolve("/directory/f", false).unwrap().size, 5);
    assert_eq!(resolve("/relative", false).unwrap().kind, FileKind::Symlink);
    assert_eq!(
        resolve("/directory/", false).unwrap().kind,
        FileKind::Directory
    );
    assert_eq!(errno(resolve("/loop", true)), Errno::LinkLoop);
    let node = store.node("/relative");
    assert_eq!(store.vfs.read_link(&root(), node).unwrap(), b"d/f");
    let file = store.node("/d/f");
    assert_eq!(errno(store.vfs.read_link(&root(), file)), Errno::Invalid);
    let long = vec![b'a'; 4096];
    let refused = store.vfs.symlink(&root(), NodeId::ROOT, b"long", &long);
    assert_eq!(errno(refused), Errno::NameTooLong);
}

#[test]
fn owner_group_and_others_are_told_apart() {
    let store = new_store();
    let node = store.create_as(&user(100, &[]), "/f", 0o640);
    assert_eq!(errno(node), Errno::Access);
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let node = store.create_as(&user(100, &[]), "/f", 0o640).unwrap();
    let access = |who: &Caller, mask| store.vfs.access(who, node, mask);
    access(&user(100, &[]), 6).unwrap();
    assert_eq!(errno(access(&user(100, &[]), 1)), Errno::Access);
    access(&user(200, &[100]), 4).unwrap();
    assert_eq!(errno(access(&user(200, &[100]), 2)), Errno::Access);
    assert_eq!(errno(access(&user(300, &[]), 4)), Errno::Access);
    access(&root(), 6).unwrap();
    assert_eq!(errno(access(&root(), 1)), Errno::Access);
    // The owner's class counts for the owner, even if others may more.
    store
        .vfs
        .set_attributes(&root(), node, &chmod(0o077))
        .unwrap();
    assert_eq!(errno(access(&user(100, &[]), 4)), Errno::Access);
    access(&root(), 1).unwrap();
}

#[test]
fn search_permission_guards_the_way() {
    let store = new_store();
    store.mkdir("/private");
    store.write_file("/private/f", b"x");
    store
        .vfs
        .set_attributes(&root(), store.node("/private"), &chmod(0o700))
        .unwrap();
    let alice = user(100, &[]);
    let resolve = |path: &str| store.vfs.resolve(&alice, path.as_bytes(), true);
    resolve("/private").unwrap();
    assert_eq!(errno(resolve("/private/f")), Errno::Access);
    assert_eq!(errno(resolve("/private/missing")), Errno::Access);
    let opened = store.vfs.open_file(&alice, store.node("/private/f"), WRITE);
    assert_eq!(errno(opened), Errno::Access);
}

#[test]
fn only_owners_change_modes_and_only_root_gives_files_away() {
    let store = new_store();
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let (alice, bob) = (user(100, &[500]), user(200, &[]));
    let node = store.create_as(&alice, "/f", 0o644).unwrap();
    let set = |who: &Caller, change: &SetAttributes| store.vfs.set_attributes(who, node, change);
    assert_eq!(errno(set(&bob, &chmod(0o777))), Errno::NotPermitted);
    assert_eq!(
        errno(set(&alice, &chown(Some(200), None))),
        Errno::NotPermitted
    );
    assert_eq!(
        errno(set(&alice, &chown(None, Some(200)))),
        Errno::NotPermitted
    );
    assert_eq!(set(&alice, &chown(Some(100), Some(500))).unwrap().gid, 500);
    // A set-gid bit is not for those outside the group.
    assert_eq!(set(&alice, &chmod(0o2755)).unwrap().mode, 0o2755);
    set(&root(), &chown(None, Some(7))).unwrap();
    assert_eq!(set(&alice, &chmod(0o2755)).unwrap().mode, 0o755);
    // A change of owner takes the set-id bits of programs, also from root.
    set(&root(), &chmod(0o6755)).unwrap();
    assert_eq!(set(&root(), &chown(Some(200), None)).unwrap().mode, 0o755);
}

#[test]
fn writing_and_truncating_clear_set_id_bits() {
    let store = new_store();
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let alice = user(100, &[]);
    let node = store.create_as(&alice, "/f", 0o777).unwrap();
    let mode = || store.vfs.attributes(node).unwrap().mode;
    for bytes in [10, 10_000] {
        store
            .vfs
            .set_attributes(&root(), node, &chmod(0o6777))
            .unwrap();
        let handle = store.vfs.open_file(&alice, node, WRITE).unwrap();
        store.vfs.write(handle, 0, &vec![1; bytes]).unwrap();
        store.vfs.release(handle).unwrap();
        assert_eq!(mode(), 0o777);
    }
    store
        .vfs
        .set_attributes(&root(), node, &chmod(0o6777))
        .unwrap();
    let cut = SetAttributes {
        size: Some(3),
        ..SetAttributes::default()
    };
    store.vfs.set_attributes(&alice, node, &cut).unwrap();
    assert_eq!(mode(), 0o777);
}

#[test]
fn set_gid_directories_pass_their_group_on() {
    let store = new_store();
    let node = store.mkdir("/d");
    store
        .vfs
        .set_attributes(&root(), node, &chown(None, Some(77)))
        .unwrap();
    store
        .vfs
        .set_attributes(&root(), node, &chmod(0o2777))
        .unwrap();
    let alice = user(100, &[]);
    let sub = store.mkdir_as(&alice, "/d/sub", 0o755).unwrap();
    assert_eq!((sub.gid, sub.mode), (77, 0o2755));
    let file = store.create_as(&alice, "/d/f", 0o2755).unwrap();
    let file = store.vfs.attributes(file).unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (100, 77, 0o755));
}

#[test]
fn the_umask_applies_once() {
    let store = new_store();
    let who = Caller {
        umask: 0o027,
        ..root()
    };
    assert_eq!(store.mkdir_as(&who, "/d", 0o777).unwrap().mode, 0o750);
    let node = store.create_as(&who, "/f", 0o666).unwrap();
    assert_eq!(store.vfs.attributes(node).unwrap().mode, 0o640);
}

#[test]
fn sticky_directories_protect_entries_of_others() {
    let store = new_store();
    store.mkdir_as(&root(), "/tmp", 0o1777).unwrap();
    let (alice, bob) = (user(100, &[]), user(200, &[]));
    store.create_as(&alice, "/tmp/a", 0o666).unwrap();
    store.create_as(&bob, "/tmp/b", 0o666).unwrap();
    let tmp = store.node("/tmp");
    assert_eq!(
        errno(store.vfs.unlink(&bob, tmp, b"a")),
        Errno::NotPermitted
    );
    let rename = |from: &str, to: &str| store.rename_as(&bob, from, to, RenameMode::Replace);
    assert_eq!(errno(rename("/tmp/a", "/tmp/c")), Errno::NotPermitted);
    assert_eq!(errno(rename("/tmp/b", "/tmp/a")), Errno::NotPermitted);
    rename("/tmp/b", "/tmp/c").unwrap();
    store.vfs.unlink(&alice, tmp, b"a").unwrap();
    assert_eq!(
        errno(store.vfs.remove_tree(&alice, tmp, b"c")),
        Errno::NotPermitted
    );
}

#[test]
fn times_follow_the_calls() {
    let store = new_store();
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let (alice, bob) = (user(100, &[]), user(200, &[]));
    let node = store.create_as(&alice, "/f", 0o666).unwrap();
    let at = |seconds| {
        Some(SetTime::At(Timestamp {
            seconds,
            nanoseconds: 123_456_789,
        }))
    };
    let set = |who: &Caller, atime, mtime| {
        let change = SetAttributes {
            atime,
            mtime,
            ..SetAttributes::default()
        };
        store.vfs.set_attributes(who, node, &change)
    };
    let changed = set(&alice, at(1000), at(-5)).unwrap();
    assert_eq!(
        changed.atime,
        Timestamp {
            seconds: 1000,
            nanoseconds: 123_456_789
        }
    );
    assert_eq!(changed.mtime.seconds, -5);
    assert!(changed.ctime.seconds > 1000);
    assert_eq!(errno(set(&bob, at(1), at(1))), Errno::NotPermitted);
    assert_eq!(
        errno(set(&bob, Some(SetTime::Now), None)),
        Errno::NotPermitted
    );
    set(&bob, Some(SetTime::Now), Some(SetTime::Now)).unwrap();
    store
        .vfs
        .set_attributes(&alice, node, &chmod(0o600))
        .unwrap();
    assert_eq!(
        errno(set(&bob, Some(SetTime::Now), Some(SetTime::Now))),
        Errno::Access
    );
    // A cut to the same length is a change of the bytes, too.
    set(&alice, at(5), at(5)).unwrap();
    let cut = SetAttributes {
        size: Some(0),
        ..SetAttributes::default()
    };
    assert!(
        store
            .vfs
            .set_attributes(&alice, node, &cut)
            .unwrap()
            .mtime
            .seconds
            > 1000
    );
    // A read refreshes an access time that is older than the last change; and only then.
    store.write_file("/g", b"bytes");
    let before = store.at("/g");
    store.read_file("/g");
    let after = store.at("/g");
    assert!(after.atime > before.atime && after.ctime == before.ctime);
    store.read_file("/g");
    assert_eq!(store.at("/g").atime, after.atime);
}

#[test]
fn creating_and_removing_touch_the_directory() {
    let store = new_store();
    let node = store.mkdir("/d");
    let old = Some(SetTime::At(Timestamp {
        seconds: 1,
        nanoseconds: 0,
    }));
    let mut last = store.at("/d").ctime;
    let mut check = |what: &str| {
        let now = store.at("/d");
        assert!(now.mtime.seconds > 1 && now.ctime > last, "{what}");
        last = now.ctime;
        let change = SetAttributes {
            mtime: old,
            ..SetAttributes::default()
        };
        store.vfs.set_attributes(&root(), node, &change).unwrap();
    };
    store.write_file("/d/a", b"");
    check("create");
    store.rename("/d/a", "/d/b").unwrap();
    check("rename");
    store
        .vfs
        .link(&root(), store.node("/d/b"), node, b"c")
        .unwrap();
    check("link");
    store.unlink("/d/b").unwrap();
    check("unlink");
    store.mkdir("/d/e");
    check("mkdir");
    store.rmdir("/d/e").unwrap();
    check("rmdir");
}

#[test]
fn rename_replaces_by_the_rules() {
    let store = new_store();
    for directory in ["/a", "/a/sub", "/b", "/full", "/full/x"] {
        store.mkdir(directory);
    }
    let file = store.write_file("/f", b"f");
    store.write_file("/g", b"g");
    assert_eq!(errno(store.rename("/missing", "/x")), Errno::NotFound);
    assert_eq!(errno(store.rename("/a", "/f")), Errno::NotDirectory);
    assert_eq!(errno(store.rename("/f", "/a")), Errno::IsDirectory);
    assert_eq!(errno(store.rename("/a", "/full")), Errno::NotEmpty);
    assert_eq!(errno(store.rename("/a", "/a/sub/deeper")), Errno::Invalid);
    assert_eq!(errno(store.rename("/a/sub", "/a")), Errno::NotEmpty);
    assert_eq!(errno(store.rename("/a", "/b/.snapshot")), Errno::Invalid);
    store.rename("/f", "/f").unwrap();
    store.rename("/f", "/g").unwrap();
    assert_eq!(store.node("/g"), file);
    store.rename("/a", "/b").unwrap();
    assert!(store.exists("/b/sub") && !store.exists("/a"));
    store.rename("/b/sub", "/sub").unwrap();
    assert_eq!(
        store
            .vfs
            .lookup(&root(), store.node("/sub"), b"..")
            .unwrap()
            .node,
        NodeId::ROOT
    );
    assert_eq!((store.at("/b").nlink, store.at("/b").size), (2, 0));
    // Two names of one file: nothing happens, both stay.
    store.vfs.link(&root(), file, NodeId::ROOT, b"h").unwrap();
    store.rename("/g", "/h").unwrap();
    assert!(store.exists("/g") && store.exists("/h"));
}

#[test]
fn rename_without_replacing_and_exchange() {
    let store = new_store();
    store.mkdir("/d");
    store.mkdir("/d/inner");
    let inner = store.node("/d/inner");
    let file = store.write_file("/f", b"f");
    let rename = |from: &str, to: &str, mode| store.rename_as(&root(), from, to, mode);
    assert_eq!(
        errno(rename("/f", "/d", RenameMode::NoReplace)),
        Errno::Exists
    );
    rename("/f", "/e", RenameMode::NoReplace).unwrap();
    assert_eq!(
        errno(rename("/e", "/no", RenameMode::Exchange)),
        Errno::NotFound
    );
    assert_eq!(
        errno(rename("/d", "/d/inner", RenameMode::Exchange)),
        Errno::Invalid
    );
    rename("/e", "/d/inner", RenameMode::Exchange).unwrap();
    assert_eq!((store.node("/e"), store.node("/d/inner")), (inner, file));
    assert_eq!((store.at("/d").nlink, store.at("/").nlink), (2, 4));
    assert_eq!(store.vfs.path_of(inner).unwrap(), b"/e");
}

#[test]
fn moving_a_directory_needs_the_right_to_change_it() {
    let store = new_store();
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let alice = user(100, &[]);
    store.mkdir_as(&alice, "/to", 0o777).unwrap();
    store.mkdir_as(&root(), "/roots", 0o755).unwrap();
    let rename = |from: &str, to: &str| store.rename_as(&alice, from, to, RenameMode::Replace);
    assert_eq!(errno(rename("/roots", "/to/roots")), Errno::Access);
    rename("/roots", "/other").unwrap();
}

#[test]
fn special_files_keep_their_device_number() {
    let store = new_store();
    let make = |who: &Caller, name: &[u8], kind, rdev| {
        store
            .vfs
            .make_node(who, NodeId::ROOT, name, kind, 0o644, rdev)
    };
    let device = make(&root(), b"null", FileKind::CharDevice, 0x103).unwrap();
    assert_eq!((device.kind, device.rdev), (FileKind::CharDevice, 0x103));
    make(&root(), b"pipe", FileKind::Fifo, 0).unwrap();
    make(&root(), b"socket", FileKind::Socket, 0).unwrap();
    let alice = user(100, &[]);
    assert_eq!(
        errno(make(&alice, b"x", FileKind::BlockDevice, 1)),
        Errno::NotPermitted
    );
    let opened = store.vfs.open_file(&root(), device.node, READ);
    assert_eq!(errno(opened), Errno::NoDevice);
}

#[test]
fn opening_follows_kind_and_flags() {
    let store = new_store();
    store.mkdir("/d");
    let file = store.write_file("/f", b"12345");
    let open = |node, flags| store.vfs.open_file(&root(), node, flags);
    assert_eq!(errno(open(store.node("/d"), WRITE)), Errno::IsDirectory);
    let directory = open(store.node("/d"), READ).unwrap();
    assert_eq!(
        errno(store.vfs.read(directory, 0, &mut [0; 4])),
        Errno::IsDirectory
    );
    store.vfs.fsync(directory).unwrap();
    let reader = open(file, READ).unwrap();
    assert_eq!(errno(store.vfs.write(reader, 0, b"x")), Errno::BadHandle);
    assert_eq!(errno(store.vfs.truncate(reader, 0)), Errno::BadHandle);
    store.vfs.release(reader).unwrap();
    assert_eq!(errno(store.vfs.release(reader)), Errno::BadHandle);
    let exclusive = OpenFlags {
        exclusive: true,
        ..WRITE
    };
    let made = store
        .vfs
        .create_file(&root(), NodeId::ROOT, b"f", 0o644, exclusive);
    assert_eq!(errno(made), Errno::Exists);
    let cut = OpenFlags {
        truncate: true,
        ..WRITE
    };
    let (attributes, _) = store
        .vfs
        .create_file(&root(), NodeId::ROOT, b"f", 0o644, cut)
        .unwrap();
    assert_eq!((attributes.node, attributes.size), (file, 0));
    // Who creates a file may write it whatever its mode says.
    let alice = user(100, &[]);
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &chmod(0o777))
        .unwrap();
    let (made, handle) = store
        .vfs
        .create_file(&alice, NodeId::ROOT, b"mine", 0o000, WRITE)
        .unwrap();
    store.vfs.write(handle, 0, b"yes").unwrap();
    assert_eq!(
        errno(store.vfs.open_file(&alice, made.node, READ)),
        Errno::Access
    );
    assert_eq!(store.vfs.truncate(handle, 1).unwrap().size, 1);
}

#[test]
fn extended_attributes_have_namespaces_and_limits() {
    let store = new_store();
    let node = store.write_file("/f", b"");
    let alice = user(100, &[]);
    let set = |who: &Caller, name: &[u8], value: &[u8], mode| {
        store.vfs.set_xattr(who, node, name, value, mode)
    };
    set(&root(), b"user.a", b"1", XattrMode::Create).unwrap();
    assert_eq!(
        errno(set(&root(), b"user.a", b"2", XattrMode::Create)),
        Errno::Exists
    );
    assert_eq!(
        errno(set(&root(), b"user.b", b"2", XattrMode::Replace)),
        Errno::NoData
    );
    set(&root(), b"trusted.t", b"", XattrMode::Set).unwrap();
    assert_eq!(
        errno(set(&alice, b"user.a", b"x", XattrMode::Set)),
        Errno::Access
    );
    assert_eq!(
        errno(set(&alice, b"trusted.t", b"x", XattrMode::Set)),
        Errno::NotPermitted
    );
    assert_eq!(
        errno(set(&root(), b"user.", b"", XattrMode::Set)),
        Errno::Invalid
    );
    assert_eq!(
        errno(set(&root(), b"foo.x", b"", XattrMode::Set)),
        Errno::NotSupported
    );
    assert_eq!(
        errno(set(&root(), b"user.l", &vec![0; 65_537], XattrMode::Set)),
        Errno::TooBig
    );
    set(&root(), b"user.l", &vec![7; 65_536], XattrMode::Set).unwrap();
    assert_eq!(
        store.vfs.get_xattr(&root(), node, b"user.l").unwrap(),
        vec![7; 65_536]
    );
    assert_eq!(
        errno(store.vfs.get_xattr(&alice, node, b"trusted.t")),
        Errno::NoData
    );
    let names = store.vfs.list_xattrs(&root(), node).unwrap();
    assert_eq!(
        names,
        [
            b"trusted.t".to_vec(),
            b"user.a".to_vec(),
            b"user.l".to_vec()
        ]
    );
    assert_eq!(store.vfs.list_xattrs(&alice, node).unwrap().len(), 2);
    store.vfs.remove_xattr(&root(), node, b"user.l").unwrap();
    assert_eq!(
        errno(store.vfs.remove_xattr(&root(), node, b"user.l")),
        Errno::NoData
    );
    let link = store
        .vfs
        .symlink(&root(), NodeId::ROOT, b"l", b"f")
        .unwrap()
        .node;
    let refused = store
        .vfs
        .set_xattr(&root(), link, b"user.a", b"", XattrMode::Set);
    assert_eq!(errno(refused), Errno::NotPermitted);
}

/// The bytes of a POSIX ACL: tag, permission bits, id.
fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
    let mut bytes = 2u32.to_le_bytes().to_vec();
    for (tag, bits, id) in entries {
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(&id.to_le_bytes());
    }
    bytes
}

const NOBODY: u32 = u32::MAX;
const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

#[test]
fn access_lists_decide_and_follow_the_mode() {
    let store = new_store();
    let node = store.write_file("/f", b"x");
    let named = acl(&[
        (1, 6, NOBODY),
        (2, 4, 100),
        (4, 0, NOBODY),
        (16, 4, NOBODY),
        (32, 0, NOBODY),
    ]);
    store
        .vfs
        .set_xattr(&root(), node, ACCESS, &named, XattrMode::Set)
        .unwrap();
    let seen = store.vfs.attributes(node).unwrap();
    assert_eq!((seen.mode, seen.has_acl), (0o640, true));
    store.vfs.access(&user(100, &[]), node, 4).unwrap();
    assert_eq!(
        errno(store.vfs.access(&user(200, &[]), node, 4)),
        Errno::Access
    );
    // chmod moves the mask.
    store
        .vfs
        .set_attributes(&root(), node, &chmod(0o600))
        .unwrap();
    assert_eq!(
        errno(store.vfs.access(&user(100, &[]), node, 4)),
        Errno::Access
    );
    store
        .vfs
        .set_attributes(&root(), node, &chmod(0o640))
        .unwrap();
    store.vfs.access(&user(100, &[]), node, 4).unwrap();
    // A list that says no more than the mode is not kept.
    let minimal = acl(&[(1, 7, NOBODY), (4, 5, NOBODY), (32, 1, NOBODY)]);
    store
        .vfs
        .set_xattr(&root(), node, ACCESS, &minimal, XattrMode::Set)
        .unwrap();
    let seen = store.vfs.attributes(node).unwrap();
    assert_eq!((seen.mode, seen.has_acl), (0o751, false));
    assert_eq!(
        errno(store.vfs.get_xattr(&root(), node, ACCESS)),
        Errno::NoData
    );
}

#[test]
fn default_lists_are_inherited_instead_of_the_umask() {
    let store = new_store();
    let node = store.mkdir("/d");
    let list = acl(&[
        (1, 7, NOBODY),
        (2, 7, 100),
        (4, 5, NOBODY),
        (16, 7, NOBODY),
        (32, 0, NOBODY),
    ]);
    store
        .vfs
        .set_xattr(&root(), node, DEFAULT, &list, XattrMode::Set)
        .unwrap();
    let who = Caller {
        umask: 0o077,
        ..root()
    };
    let file = store.create_as(&who, "/d/f", 0o666).unwrap();
    assert_eq!(store.vfs.attributes(file).unwrap().mode, 0o660);
    store.vfs.access(&user(100, &[]), file, 6).unwrap();
    let sub = store.mkdir_as(&who, "/d/sub", 0o777).unwrap();
    assert_eq!(sub.mode, 0o770);
    assert_eq!(
        store.vfs.get_xattr(&root(), sub.node, DEFAULT).unwrap(),
        list
    );
}

#[test]
fn users_are_interned_once() {
    let mut store = new_store();
    assert_eq!(store.vfs.uid_of("root").unwrap(), 0);
    let alice = store.vfs.uid_of("alice-of-nowhere").unwrap();
    let bob = store.vfs.uid_of("bob-of-nowhere").unwrap();
    assert_eq!((alice, bob), (1_000_000_000, 1_000_000_001));
    store.reopen();
    assert_eq!(store.vfs.uid_of("alice-of-nowhere").unwrap(), alice);
    assert_eq!(store.vfs.user_name(bob).unwrap(), "bob-of-nowhere");
    assert_eq!(store.vfs.user_name(123_456).unwrap(), "123456");
    let caller = store.vfs.caller_of("alice-of-nowhere").unwrap();
    assert_eq!(caller.uid, alice);
    assert_eq!(store.vfs.caller_of("root").unwrap().gid, 0);
    assert_eq!(errno(store.vfs.uid_of("a/b")), Errno::Invalid);
}

#[test]
fn listings_are_paged_in_signed_byte_order() {
    let store = new_store();
    for index in 0..600 {
        store.mkdir(&format!("/d{index:04}"));
    }
    store.mkdir("/é");
    let names = store.names("/");
    assert_eq!(names.len(), 601);
    assert_eq!(names[0], "é");
    assert!(names[1..].is_sorted());
    let mut page = Vec::new();
    store
        .vfs
        .list(&root(), NodeId::ROOT, Some(b"d0300"), true, &mut |entry| {
            assert_eq!(entry.attributes.as_ref().unwrap().node, entry.node);
            page.push(entry.name);
            if page.len() < 3 {
                std::ops::ControlFlow::Continue(())
            } else {
                std::ops::ControlFlow::Break(())
            }
        })
        .unwrap();
    assert_eq!(page, [b"d0301", b"d0302", b"d0303"]);
}

#[test]
fn a_store_opened_for_reading_refuses_changes() {
    let mut store = new_store();
    store.write_file("/f", b"bytes");
    store.reopen_read_only();
    assert_eq!(store.read_file("/f"), b"bytes");
    let refused = store.vfs.make_directory(&root(), NodeId::ROOT, b"d", 0o755);
    assert_eq!(errno(refused), Errno::ReadOnly);
    let opened = store.vfs.open_file(&root(), store.node("/f"), WRITE);
    assert_eq!(errno(opened), Errno::ReadOnly);
}
