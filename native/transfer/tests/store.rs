//! The packet loop over a real store.
#![allow(missing_docs, clippy::pedantic, clippy::unwrap_used)]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lockstep_transfer::{ChecksumKind, Files, block_checksum};
use lockstep_vfs::{Caller, NodeId, OpenFlags, StoreOptions, Vfs};
use support::{Client, Flags, SUCCESS, crc32c_words, pattern, serve};
use tempfile::TempDir;

const LIMIT: u64 = 1 << 40;
const IDLE: Duration = Duration::from_secs(30);
const WRITING: OpenFlags = OpenFlags {
    read: false,
    write: true,
    append: false,
    truncate: false,
    exclusive: false,
    sync: false,
};

struct Store {
    vfs: Arc<Vfs>,
    directory: TempDir,
}

impl Store {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("store");
        Vfs::create(&path).unwrap();
        let vfs = Vfs::open(&path, &StoreOptions::default()).unwrap();
        Self { vfs, directory }
    }

    fn file(&self, name: &str) -> NodeId {
        let flags = OpenFlags {
            write: true,
            ..OpenFlags::default()
        };
        let caller = Caller::root();
        let made = self
            .vfs
            .create_file(&caller, NodeId::ROOT, name.as_bytes(), 0o644, flags);
        let (attributes, handle) = made.unwrap();
        self.vfs.release(handle).unwrap();
        attributes.node
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::clone(&self.vfs) as Arc<dyn Files>
    }

    fn bytes(&self, node: NodeId) -> Vec<u8> {
        let flags = OpenFlags {
            read: true,
            ..OpenFlags::default()
        };
        let handle = self.vfs.open_file(&Caller::root(), node, flags).unwrap();
        let size = self.vfs.attributes(node).unwrap().size as usize;
        let mut bytes = vec![0; size];
        assert_eq!(self.vfs.read(handle, 0, &mut bytes).unwrap(), size);
        self.vfs.release(handle).unwrap();
        bytes
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.vfs.close().unwrap();
    }
}

#[test]
fn blocks_of_a_file_are_written_and_read_and_live_on_in_a_snapshot() {
    let store = Store::new();
    let (server, script) = serve(store.files(), 8, IDLE);
    let node = store.file("f");
    let data = pattern((5 << 20) + 12_345, 21);
    let block = 2 << 20;
    let mut client = Client::connect(server.port());
    for (index, bytes) in data.chunks(block).enumerate() {
        client.write(node.0, (index * block) as u64, 0, block as u64);
        client.write_all(0, bytes, 64_512);
    }
    assert_eq!(store.bytes(node), data);
    let snapshot = store
        .vfs
        .create_snapshot(&Caller::root(), NodeId::ROOT, b"s")
        .unwrap();
    let old = NodeId::new(snapshot.root.view(), node.inode());
    client.write(node.0, 0, 0, block as u64);
    client.write_all(0, &pattern(1000, 5), 64_512);
    client.read(node.0, 0, 1000, 2);
    assert_eq!(client.packets(0).unwrap(), pattern(1000, 5));
    client.read_status();
    client.read(old.0, 0, data.len() as u64, 2);
    assert_eq!(client.packets(0).unwrap(), data);
    client.read_status();
    client.numbers(80, &[old.0, 0, 0, LIMIT, 2]);
    let answer = client.message().unwrap();
    assert!(
        String::from_utf8_lossy(&answer).contains("EROFS"),
        "{answer:?}"
    );
    assert_eq!(
        script
            .events
            .lock()
            .iter()
            .filter(|event| event.complete)
            .count(),
        4
    );
    server.close();
}

#[test]
fn a_file_that_is_deleted_meanwhile_is_read_to_its_end() {
    let store = Store::new();
    let (server, _) = serve(store.files(), 8, IDLE);
    let node = store.file("f");
    let data = pattern(40 << 20, 23);
    let mut client = Client::connect(server.port());
    client.write(node.0, 0, 0, LIMIT);
    client.write_all(0, &data, 65_536);
    client.read(node.0, 0, data.len() as u64, 2);
    store
        .vfs
        .unlink(&Caller::root(), NodeId::ROOT, b"f")
        .unwrap();
    assert_eq!(client.packets(0).unwrap(), data);
    server.close();
}

#[test]
fn a_block_checksum_is_made_of_its_chunks() {
    let store = Store::new();
    let (server, _) = serve(store.files(), 8, IDLE);
    let node = store.file("f");
    let data = pattern((3 << 20) + 100, 25);
    let mut client = Client::connect(server.port());
    client.write(node.0, 0, 0, LIMIT);
    client.write_all(0, &data, 65_536);
    let (offset, length) = (1 << 20, (2 << 20) + 100);
    let sum = block_checksum(&*store.vfs, node, offset, length, ChecksumKind::Crc32c, 512).unwrap();
    let range = &data[offset as usize..];
    let words = crc32c_words(range);
    let expected: [u8; 16] =
        md5::Digest::finalize(<md5::Md5 as md5::Digest>::new_with_prefix(&words)).into();
    assert_eq!(sum.md5, expected);
    assert_eq!(sum.crc_count, words.len() as u64 / 4);
    assert_eq!(sum.composite_crc, support::crc32c(range));
    let too_long = block_checksum(
        &*store.vfs,
        node,
        offset,
        length + 1,
        ChecksumKind::Crc32c,
        512,
    );
    assert_eq!(too_long.unwrap_err().code(), "ENODATA");
    server.close();
}

#[test]
fn synced_bytes_are_in_a_copy_of_the_directory_taken_at_that_moment() {
    let store = Store::new();
    let (server, _) = serve(store.files(), 8, IDLE);
    let node = store.file("f");
    let data = pattern(1_500_000, 3);
    let mut client = Client::connect(server.port());
    client.write(node.0, 0, 0, LIMIT);
    client.send(
        0,
        0,
        &data,
        Flags {
            last: false,
            sync: true,
        },
    );
    assert_eq!(client.acknowledgement(), Some((0, SUCCESS)));
    // What is on the disk now is what a machine would find that stopped now.
    let copy = store.directory.path().join("copy");
    copy_directory(&store.directory.path().join("store"), &copy);
    let vfs = Vfs::open(&copy, &StoreOptions::default()).unwrap();
    let found = Store {
        vfs,
        directory: tempfile::tempdir().unwrap(),
    };
    assert_eq!(found.bytes(node), data);
    server.close();
}

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Figures for `docs/`; run with `--release -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement"]
fn throughput_of_one_connection() {
    const BYTES: usize = 1 << 30;
    let store = Store::new();
    let (server, _) = serve(store.files(), 8, IDLE);
    let node = store.file("f");
    let block = pattern(64 << 20, 27);
    let words: Vec<Vec<u8>> = block.chunks(64_512).map(crc32c_words).collect();
    let mut client = Client::connect(server.port());
    let start = Instant::now();
    for index in 0..BYTES / block.len() {
        client.write(node.0, (index * block.len()) as u64, 0, block.len() as u64);
        client.put_fast(&block, &words, 64_512);
    }
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("put {:.0} MiB/s", BYTES as f64 / seconds / 1_048_576.0);
    store.vfs.sync().unwrap();
    let seconds = start.elapsed().as_secs_f64();
    eprintln!(
        "put and sync {:.0} MiB/s",
        BYTES as f64 / seconds / 1_048_576.0
    );
    for _ in 0..2 {
        let start = Instant::now();
        client.read(node.0, 0, BYTES as u64, 2);
        let bytes = client.get_fast();
        client.read_status();
        let seconds = start.elapsed().as_secs_f64();
        assert_eq!(bytes, BYTES);
        eprintln!("get {:.0} MiB/s", BYTES as f64 / seconds / 1_048_576.0);
    }
    let start = Instant::now();
    for index in 0..10_000_u64 {
        client.read(node.0, index * 7919 * 4096 % BYTES as u64, 4096, 2);
        while !client.packet().unwrap().is_last {}
        client.read_status();
    }
    eprintln!(
        "4 KiB reads {:.0}/s",
        10_000.0 / start.elapsed().as_secs_f64()
    );
    server.close();
}

#[test]
fn damaged_bytes_are_sent_under_checksums_that_cannot_match() {
    let store = Store::new();
    let data = pattern(1 << 20, 77);
    let node = store.file("damaged");
    let files = store.files();
    let handle = files.open(node, WRITING).unwrap();
    files.write(handle, 0, &data).unwrap();
    files.release(handle).unwrap();
    let segments = store.directory.path().join("store/segments");
    let segment = std::fs::read_dir(segments)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[300_000] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    let (server, _script) = serve(store.files(), 4, IDLE);
    let mut client = Client::connect(server.port());
    client.read(node.0, 0, 1 << 20, 2);
    let damaged = 300_000 / 65_536 * 65_536;
    let mut at = 0;
    while let Some(packet) = client.packet().filter(|packet| !packet.is_last) {
        let right = crc32c_words(&packet.data);
        if at == damaged {
            assert_eq!(packet.data, vec![0; 65_536]);
            let words = packet.checksums.chunks(4).zip(right.chunks(4));
            assert!(words.into_iter().all(|(sent, right)| sent != right));
        } else {
            assert_eq!(packet.data, data[at..at + 65_536]);
            assert_eq!(packet.checksums, right);
        }
        at += packet.data.len();
    }
    assert_eq!(at, 1 << 20);
    client.read_status();
    // Without checksums nothing could tell: the range is refused, or the stream ends.
    client.numbers(81, &[node.0, 300_000, 512, 0]);
    let answer = client.message().unwrap();
    assert!(String::from_utf8_lossy(&answer).contains("ERR_LOCKSTEP_CORRUPT"));
    client.read(node.0, 0, 1 << 20, 0);
    while let Some(packet) = client.packet() {
        assert!(packet.data == data[packet.offset as usize..][..packet.data.len()]);
        assert!(!packet.is_last);
    }
    let sum = block_checksum(&*files, node, 0, 1 << 20, ChecksumKind::Crc32c, 512);
    assert_eq!(sum.unwrap_err().code(), "ERR_LOCKSTEP_CORRUPT");
}
