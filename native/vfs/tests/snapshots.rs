//! Snapshots, clones, volumes and differences.

#![allow(clippy::unwrap_used, clippy::similar_names)]

mod support;

use lockstep_vfs::{
    Change, ChangeKind, Errno, FileKind, NodeId, RenameMode, SetAttributes, XattrMode,
};
use support::{READ, TestStore, WRITE, errno, new_store, root, user};

fn changes(store: &TestStore, path: &str, from: Option<&str>, to: Option<&str>) -> Vec<String> {
    let bytes = |name: Option<&str>| name.map(|name| name.as_bytes().to_vec());
    let (from, to) = (bytes(from), bytes(to));
    let found = store
        .vfs
        .diff(&root(), store.node(path), from.as_deref(), to.as_deref());
    found.unwrap().iter().map(shown).collect()
}

fn shown(change: &Change) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let letter = match change.kind {
        ChangeKind::Created => '+',
        ChangeKind::Deleted => '-',
        ChangeKind::Modified => 'M',
        ChangeKind::Renamed => 'R',
    };
    match &change.target {
        Some(target) => format!("{letter} {} > {}", text(&change.path), text(target)),
        None => format!("{letter} {}", text(&change.path)),
    }
}

#[test]
fn a_snapshot_keeps_what_was_there() {
    let mut store = new_store();
    store.mkdir("/d");
    store.mkdir("/d/sub");
    store.write_file("/d/small", b"old");
    let big = vec![7u8; 3 << 20];
    store.write_file("/d/sub/big", &big);
    store.snapshot("/d", "s1");
    store.write_file("/d/small", b"new");
    store.write_file("/d/sub/big", b"gone");
    store.unlink("/d/sub/big").unwrap();
    store.rename("/d/sub", "/moved").unwrap();
    for round in 0..2 {
        assert_eq!(
            store.read_file("/d/.snapshot/s1/small"),
            b"old",
            "round {round}"
        );
        assert!(store.read_file("/d/.snapshot/s1/sub/big") == big);
        assert_eq!(store.names("/d/.snapshot/s1"), ["small", "sub"]);
        assert_eq!(store.names("/d/.snapshot"), ["s1"]);
        assert_eq!(store.names("/d"), ["small"]);
        store.reopen();
    }
    let top = store.at("/d/.snapshot/s1");
    assert!(top.read_only && top.kind == FileKind::Directory);
    assert_eq!(store.vfs.path_of(top.node).unwrap(), b"/d/.snapshot/s1");
    let deep = store.node("/d/.snapshot/s1/sub/big");
    assert_eq!(store.vfs.path_of(deep).unwrap(), b"/d/.snapshot/s1/sub/big");
    assert_eq!(
        store.node("/d/.snapshot/s1/sub/../.."),
        store.node("/d").snapshot_directory()
    );
    assert_eq!(store.node("/d/.snapshot/s1/../.."), store.node("/d"));
}

#[test]
fn the_snapshot_directory_takes_renames_and_drops() {
    let store = new_store();
    let node = store.mkdir("/d");
    store.write_file("/d/f", b"x");
    assert!(store.names("/d/.snapshot").is_empty());
    let made = store.mkdir_as(&root(), "/d/.snapshot/one", 0o755).unwrap();
    assert!(made.read_only);
    assert_eq!(
        errno(store.mkdir_as(&root(), "/d/.snapshot/one", 0o755)),
        Errno::Exists
    );
    store
        .rename("/d/.snapshot/one", "/d/.snapshot/two")
        .unwrap();
    assert_eq!(store.names("/d/.snapshot"), ["two"]);
    assert_eq!(store.read_file("/d/.snapshot/two/f"), b"x");
    let snapshots = store.vfs.list_snapshots(node).unwrap();
    assert_eq!(
        (snapshots.len(), snapshots[0].name.as_slice()),
        (1, &b"two"[..])
    );
    assert_eq!(errno(store.rmdir("/d")), Errno::NotEmpty);
    store.unlink("/d/f").unwrap();
    assert_eq!(errno(store.rmdir("/d")), Errno::NotEmpty);
    assert_eq!(errno(store.remove_tree("/d")), Errno::NotEmpty);
    store.mkdir("/e");
    assert_eq!(errno(store.rename("/e", "/d")), Errno::NotEmpty);
    store.rename("/d", "/e/d").unwrap();
    assert_eq!(errno(store.remove_tree("/e")), Errno::NotEmpty);
    assert_eq!(store.names("/e/d/.snapshot"), ["two"]);
    assert_eq!(
        errno(store.remove_tree("/e/d/.snapshot/two")),
        Errno::NotPermitted
    );
    store.rmdir("/e/d/.snapshot/two").unwrap();
    assert_eq!(errno(store.rmdir("/e/d/.snapshot/two")), Errno::NotFound);
    store.remove_tree("/e").unwrap();
    assert!(store.names("/").is_empty());
}

#[test]
fn bad_snapshot_names_and_strangers_are_refused() {
    let store = new_store();
    let node = store.mkdir("/d");
    let take = |name: &[u8]| store.vfs.create_snapshot(&root(), node, name);
    for bad in [&b""[..], b".", b"..", b"a/b", &[b'x'; 256]] {
        assert_eq!(errno(take(bad)), Errno::Invalid);
        let made = store
            .vfs
            .make_directory(&root(), node.snapshot_directory(), bad, 0o755);
        assert_eq!(errno(made), Errno::Invalid);
    }
    // A kernel looks the name up before it makes the directory.
    let looked = store
        .vfs
        .lookup(&root(), node.snapshot_directory(), &[b'x'; 256]);
    assert_eq!(errno(looked), Errno::Invalid);
    take(&[b'x'; 255]).unwrap();
    let alice = user(100, &[]);
    assert_eq!(
        errno(store.vfs.create_snapshot(&alice, node, b"a")),
        Errno::Access
    );
    let file = store.write_file("/f", b"");
    assert_eq!(
        errno(store.vfs.create_snapshot(&root(), file, b"a")),
        Errno::NotDirectory
    );
    assert_eq!(
        errno(store.vfs.rename_snapshot(&root(), node, b"no", b"yes")),
        Errno::NotFound
    );
}

#[test]
fn nothing_inside_a_snapshot_can_be_changed() {
    let store = new_store();
    store.mkdir("/d");
    store.write_file("/d/f", b"x");
    store.snapshot("/d", "s");
    let top = store.node("/d/.snapshot/s");
    let file = store.node("/d/.snapshot/s/f");
    let vfs = &store.vfs;
    let change = SetAttributes {
        mode: Some(0),
        ..SetAttributes::default()
    };
    assert_eq!(
        errno(vfs.make_directory(&root(), top, b"x", 0o755)),
        Errno::ReadOnly
    );
    assert_eq!(
        errno(vfs.create_file(&root(), top, b"f", 0o644, WRITE)),
        Errno::ReadOnly
    );
    assert_eq!(errno(vfs.open_file(&root(), file, WRITE)), Errno::ReadOnly);
    assert_eq!(errno(vfs.unlink(&root(), top, b"f")), Errno::ReadOnly);
    assert_eq!(
        errno(vfs.set_attributes(&root(), file, &change)),
        Errno::ReadOnly
    );
    assert_eq!(errno(vfs.access(&root(), file, 2)), Errno::ReadOnly);
    let set = vfs.set_xattr(&root(), file, b"user.x", b"", XattrMode::Set);
    assert_eq!(errno(set), Errno::ReadOnly);
    assert_eq!(
        errno(store.rename("/d/.snapshot/s/f", "/f")),
        Errno::CrossVolume
    );
    assert_eq!(
        errno(vfs.link(&root(), file, NodeId::ROOT, b"l")),
        Errno::CrossVolume
    );
    let dot = store.node("/d").snapshot_directory();
    assert_eq!(
        errno(vfs.create_file(&root(), dot, b"f", 0o644, WRITE)),
        Errno::NotPermitted
    );
    assert_eq!(errno(vfs.unlink(&root(), dot, b"s")), Errno::NotPermitted);
    assert_eq!(
        errno(store.rename("/d/.snapshot/s", "/s")),
        Errno::NotPermitted
    );
    let handle = vfs.open_file(&root(), file, READ).unwrap();
    store.rmdir("/d/.snapshot/s").unwrap();
    assert_eq!(errno(vfs.handle_attributes(handle)), Errno::Stale);
    assert_eq!(errno(vfs.attributes(top)), Errno::Stale);
}

#[test]
fn clones_are_written_apart_from_their_origin() {
    let mut store = new_store();
    store.mkdir("/d");
    store.write_file("/d/f", b"one");
    store.write_file("/d/big", &vec![1; 2 << 20]);
    store.snapshot("/d", "s");
    let alice = user(100, &[]);
    let anybody = SetAttributes {
        mode: Some(0o777),
        ..SetAttributes::default()
    };
    store
        .vfs
        .set_attributes(&root(), NodeId::ROOT, &anybody)
        .unwrap();
    let d = store.node("/d");
    let clone = store
        .vfs
        .create_clone(&alice, d, b"s", NodeId::ROOT, b"c")
        .unwrap();
    assert_eq!(clone.path, b"/c");
    assert_eq!(store.at("/c").uid, 100);
    assert_eq!(store.at("/c").node, clone.root);
    store.write_file("/c/f", b"two");
    store.write_file("/c/new", b"n");
    store.write_file("/d/big", b"cut");
    for _ in 0..2 {
        assert_eq!(store.read_file("/d/f"), b"one");
        assert_eq!(store.read_file("/c/f"), b"two");
        assert_eq!(store.read_file("/c/big"), vec![1; 2 << 20]);
        assert_eq!(store.names("/c"), ["big", "f", "new"]);
        assert_eq!(store.names("/"), ["c", "d"]);
        assert_eq!(store.node("/c/.."), NodeId::ROOT);
        store.check_and_reopen();
    }
    assert_eq!(errno(store.rename("/c/f", "/d/g")), Errno::CrossVolume);
    let file = store.node("/c/f");
    assert_eq!(
        errno(store.vfs.link(&root(), file, NodeId::ROOT, b"l")),
        Errno::CrossVolume
    );
    assert_eq!(errno(store.rmdir("/c")), Errno::Busy);
    assert_eq!(errno(store.remove_tree("/c")), Errno::Busy);
    store.snapshot("/c", "inner");
    assert_eq!(
        errno(store.vfs.delete_volume(&root(), NodeId::ROOT, b"c")),
        Errno::Busy
    );
    store.rmdir("/c/.snapshot/inner").unwrap();
    let handle = store.open("/c/f", READ);
    assert_eq!(
        errno(store.vfs.delete_volume(&root(), NodeId::ROOT, b"c")),
        Errno::Busy
    );
    store.vfs.release(handle).unwrap();
    store
        .vfs
        .delete_volume(&root(), NodeId::ROOT, b"c")
        .unwrap();
    assert_eq!(store.names("/"), ["d"]);
    assert_eq!(store.at("/").nlink, 3);
    assert_eq!(store.read_file("/d/.snapshot/s/f"), b"one");
    store.check_and_reopen();
}

#[test]
fn volumes_are_attached_and_move_with_their_entry() {
    let mut store = new_store();
    store.mkdir("/d");
    let d = store.node("/d");
    let volume = store.vfs.create_volume(&root(), d, b"v").unwrap();
    assert_eq!(volume.path, b"/d/v");
    store.write_file("/d/v/f", b"inside");
    assert_eq!(store.at("/d").nlink, 3);
    assert_eq!(errno(store.remove_tree("/d")), Errno::Busy);
    assert_eq!(
        errno(store.vfs.delete_volume(&root(), NodeId::ROOT, b"d")),
        Errno::Invalid
    );
    store.snapshot("/d", "s");
    store.rename("/d/v", "/w").unwrap();
    store.reopen();
    assert_eq!(store.read_file("/w/f"), b"inside");
    assert_eq!(store.node("/w/.."), NodeId::ROOT);
    let paths: Vec<_> = store
        .vfs
        .list_volumes()
        .unwrap()
        .into_iter()
        .map(|v| v.path)
        .collect();
    assert_eq!(paths, [b"/".to_vec(), b"/w".to_vec()]);
    // A snapshot shows the place, not the volume; so does a clone.
    assert!(store.names("/d/.snapshot/s/v").is_empty());
    store
        .vfs
        .create_clone(&root(), d, b"s", NodeId::ROOT, b"c")
        .unwrap();
    assert!(store.names("/c/v").is_empty());
    store.mkdir("/c/v/ordinary");
    store.rename("/c/v", "/c/u").unwrap();
    assert_eq!(store.names("/c/u"), ["ordinary"]);
    assert_eq!(store.vfs.path_of(store.node("/w/f")).unwrap(), b"/w/f");
    store.remove_tree("/c/u").unwrap();
    assert!(store.names("/c").is_empty());
    store.mkdir("/x");
    store
        .rename_as(&root(), "/w", "/x", RenameMode::Exchange)
        .unwrap();
    assert_eq!(store.read_file("/x/f"), b"inside");
    store.check_and_reopen();
}

#[test]
fn differences_are_typed_and_complete() {
    let store = new_store();
    store.mkdir("/d");
    for directory in [
        "/d/a",
        "/d/a/deep",
        "/d/gone",
        "/d/gone/below",
        "/d/same",
        "/out",
    ] {
        store.mkdir(directory);
    }
    for file in [
        "/d/a/deep/f",
        "/d/gone/x",
        "/d/gone/below/y",
        "/d/same/s",
        "/d/old",
        "/out/o",
    ] {
        store.write_file(file, b"bytes");
    }
    store.snapshot("/d", "s1");
    assert!(changes(&store, "/d", Some("s1"), None).is_empty());
    store.read_file("/d/same/s");
    assert!(changes(&store, "/d", Some("s1"), None).is_empty());
    store.rename("/d/a", "/d/b").unwrap();
    store.write_file("/d/b/deep/f", b"other");
    store.remove_tree("/d/gone").unwrap();
    store.rename("/d/old", "/d/b/new").unwrap();
    store.rename("/out", "/d/in").unwrap();
    store.mkdir("/d/made");
    store.write_file("/d/made/m", b"m");
    store.snapshot("/d", "s2");
    let expected = [
        "- gone/x",
        "- gone/below/y",
        "- gone/below",
        "- gone",
        "R old > b/new",
        "R a > b",
        "+ in",
        "+ in/o",
        "+ made",
        "+ made/m",
        "M ",
        "M b",
        "M b/deep/f",
    ];
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let wanted = sorted(expected.iter().map(ToString::to_string).collect());
    assert_eq!(
        sorted(changes(&store, "/d", Some("s1"), Some("s2"))),
        wanted
    );
    // The same once the removed tree is really gone; and against the live state.
    store.vfs.settle();
    assert_eq!(sorted(changes(&store, "/d", Some("s1"), None)), wanted);
    let back = changes(&store, "/d", Some("s2"), Some("s1"));
    assert!(back.contains(&"+ gone/below/y".to_owned()) && back.contains(&"- in/o".to_owned()));
    assert!(back.contains(&"R b > a".to_owned()) && back.contains(&"M a/deep/f".to_owned()));
    store.write_file("/d/same/s", b"again");
    assert_eq!(changes(&store, "/d", Some("s2"), None), ["M same/s"]);
    assert_eq!(changes(&store, "/d/same", None, None), Vec::<String>::new());
}

#[test]
fn differences_see_attributes_and_hard_links() {
    let store = new_store();
    store.mkdir("/d");
    let node = store.write_file("/d/f", b"x");
    store
        .vfs
        .link(&root(), node, store.node("/d"), b"g")
        .unwrap();
    store.snapshot("/d", "s");
    store
        .vfs
        .set_xattr(&root(), node, b"user.a", b"1", XattrMode::Set)
        .unwrap();
    assert_eq!(changes(&store, "/d", Some("s"), None), ["M f"]);
    store.unlink("/d/g").unwrap();
    store.write_file("/d/f", b"y");
    assert_eq!(changes(&store, "/d", Some("s"), None), ["- g", "M ", "M f"]);
    store.snapshot("/d", "t");
    let change = SetAttributes {
        mode: Some(0o600),
        ..SetAttributes::default()
    };
    store.vfs.set_attributes(&root(), node, &change).unwrap();
    assert_eq!(changes(&store, "/d", Some("t"), None), ["M f"]);
    let missing = store.vfs.diff(&root(), store.node("/d"), Some(b"no"), None);
    assert_eq!(errno(missing), Errno::NotFound);
}

#[test]
fn directories_with_or_for_snapshots_are_listed() {
    let store = new_store();
    for directory in ["/a", "/b", "/c"] {
        store.mkdir(directory);
    }
    store.snapshot("/a", "s");
    let allow = |allowed| SetAttributes {
        snapshottable: Some(allowed),
        ..SetAttributes::default()
    };
    store
        .vfs
        .set_attributes(&root(), store.node("/b"), &allow(true))
        .unwrap();
    store
        .vfs
        .set_attributes(&root(), store.node("/c"), &allow(true))
        .unwrap();
    store
        .vfs
        .set_attributes(&root(), store.node("/c"), &allow(false))
        .unwrap();
    let found = store.vfs.snapshot_directories().unwrap();
    let nodes: Vec<_> = found.iter().map(|attributes| attributes.node).collect();
    assert_eq!(nodes, [store.node("/a"), store.node("/b")]);
    assert!(found[1].snapshottable);
    store.rmdir("/b").unwrap();
    assert_eq!(store.vfs.snapshot_directories().unwrap().len(), 1);
}

#[test]
fn removing_many_snapshots_gives_their_bytes_back() {
    let mut store = new_store();
    store.mkdir("/d");
    for round in 0..20u8 {
        store.write_file("/d/f", &vec![round; 300_000]);
        store.snapshot("/d", &format!("s{round}"));
    }
    for round in (0..20u8).step_by(2).chain((1..20).step_by(2)) {
        assert_eq!(
            store.read_file(&format!("/d/.snapshot/s{round}/f")),
            vec![round; 300_000]
        );
        store.rmdir(&format!("/d/.snapshot/s{round}")).unwrap();
    }
    assert_eq!(store.read_file("/d/f"), vec![19; 300_000]);
    store.rmdir("/d").unwrap_err();
    store.remove_tree("/d").unwrap();
    store.check_and_reopen();
}
