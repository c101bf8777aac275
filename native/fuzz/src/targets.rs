//! The targets. Each is one function of the input's bytes.

use crate::seeds;
use lockstep_format::limits::PAGE_BYTES_MAX;
use lockstep_format::log::{self, HEADER_BYTES, Header, Operation};
use lockstep_format::{
    ChunkRecord, DeadRange, Dentry, Encoder, Extent, Footer, FormatError, Inode, Meta, Page,
    SegmentRecord, SnapshotRecord, Superblock, VolumeRecord, crc32c, footer, key,
};
use lockstep_transfer::{ChecksumKind, ChunkChecksums, PacketHeader};
use lockstep_vfs::AccessList;
use std::fmt::Debug;

/// A decoder under test.
pub struct Target {
    /// The name of its corpus.
    pub name: &'static str,
    /// Inputs that decode.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Panics if the decoder is wrong about these bytes.
    pub run: fn(&[u8]),
    /// Memory that it may take whatever the input's length.
    pub slack_bytes: usize,
}

const fn target(name: &'static str, seeds: fn() -> Vec<Vec<u8>>, run: fn(&[u8])) -> Target {
    Target {
        name,
        seeds,
        run,
        slack_bytes: 4096,
    }
}

/// Every decoder of bytes from disk, and those of the data transfer protocol.
pub const TARGETS: [Target; 19] = [
    target("superblock", seeds::superblocks, superblock),
    target("commit-record", seeds::commit_records, commit_record),
    Target {
        // Keys are stored as what they add to the key before: decoded they take more.
        slack_bytes: 8 * PAGE_BYTES_MAX,
        ..target("page", seeds::pages, page)
    },
    target("footer", seeds::footers, footer),
    target("log-file", seeds::log_files, log_file),
    target("log-operation", seeds::log_operations, log_operation),
    target("inode", seeds::inodes, inode),
    target("dentry", seeds::dentries, dentry),
    target("extent", seeds::extents, extent),
    target("chunk", seeds::chunks, chunk),
    target("volume", seeds::volumes, volume),
    target("snapshot", seeds::snapshots, snapshot),
    target("segment", seeds::segments, segment),
    target("dead-range", seeds::dead_ranges, dead_range),
    target("volume-key", seeds::volume_keys, volume_key),
    target("catalog-key", seeds::catalog_keys, catalog_key),
    target("chunk-key", seeds::chunk_keys, chunk_key),
    target("access-list", seeds::access_lists, access_list),
    target("packet-header", seeds::packet_headers, packet_header),
];

/// What decodes must encode to something that decodes to the same.
fn round_trip<T: PartialEq + Debug>(
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, FormatError>,
    encode: impl Fn(&T) -> Vec<u8>,
) {
    if let Ok(value) = decode(bytes) {
        let again = decode(&encode(&value));
        assert_eq!(again.as_ref(), Ok(&value), "decoded, encoded and decoded");
    }
}

/// `bytes` with their last four made the checksum of what precedes them.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let body = &bytes[..bytes.len().saturating_sub(4)];
    [body, &crc32c(body).to_le_bytes()].concat()
}

fn superblock(bytes: &[u8]) {
    for input in [bytes, &sealed(bytes)] {
        round_trip(input, Superblock::decode, Superblock::encode);
    }
}

fn commit_record(bytes: &[u8]) {
    for input in [bytes, &sealed(bytes)] {
        round_trip(input, Meta::decode, Meta::encode);
    }
}

fn page(bytes: &[u8]) {
    check_page(bytes);
    if let Some((_, body)) = bytes.split_first_chunk::<4>() {
        check_page(&[&crc32c(body).to_le_bytes(), body].concat());
    }
}

fn check_page(bytes: &[u8]) {
    let Ok(page) = Page::decode(bytes) else {
        return;
    };
    assert!(page.bytes() <= PAGE_BYTES_MAX);
    for index in 0..page.len() {
        assert_eq!(page.search(page.key(index)), Ok(index));
    }
    for wanted in [&[][..], &[0x80], &[0xff; 9]] {
        if page.is_leaf() {
            assert!(page.search(wanted).unwrap_or_else(|at| at) <= page.len());
        } else {
            page.child(page.child_index(wanted));
        }
    }
    let again = Page::decode(&page.encode()).map(|page| page.encode());
    assert_eq!(again, Ok(page.encode()));
}

fn footer(bytes: &[u8]) {
    round_trip(bytes, Footer::decode, Footer::encode);
    if let Some(trailer) = bytes.last_chunk() {
        // Whatever it says is bounded, but for the reader the file's length is the tighter bound.
        let _ = Footer::size(trailer);
    }
    let body = &bytes[..bytes.len().saturating_sub(footer::TRAILER_BYTES)];
    let (length, crc) = (body.len() as u32, crc32c(body));
    let ends = [length.to_le_bytes(), crc.to_le_bytes()].concat();
    let repaired = [body, &ends, b"LSFOOTER"].concat();
    round_trip(&repaired, Footer::decode, Footer::encode);
}

fn log_file(bytes: &[u8]) {
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<HEADER_BYTES>() {
        let Some(header) = Header::decode(head) else {
            break;
        };
        let Some((body, next)) = tail.split_at_checked(header.length) else {
            break;
        };
        if !header.verify(head, body) {
            break;
        }
        check_operations(body);
        rest = next;
    }
    if let Some((head, body)) = bytes.split_first_chunk::<HEADER_BYTES>()
        && let Some(header) = Header::decode(head)
    {
        let repaired = log::encode(header.sequence, header.epoch, body);
        let (head, body) = repaired
            .split_first_chunk()
            .unwrap_or_else(|| panic!("cut"));
        let again = Header::decode(head);
        assert!(again.is_none_or(|header| header.verify(head, body)));
        check_operations(body);
    }
}

fn check_operations(body: &[u8]) {
    let list: Result<Vec<Operation<'_>>, _> = log::operations(body).collect();
    let Ok(list) = list else { return };
    let mut encoder = Encoder::new();
    for operation in &list {
        operation.encode(&mut encoder);
    }
    let again = encoder.finish();
    let again: Result<Vec<Operation<'_>>, _> = log::operations(&again).collect();
    assert_eq!(again, Ok(list));
}

fn log_operation(bytes: &[u8]) {
    check_operations(bytes);
}

fn inode(bytes: &[u8]) {
    round_trip(bytes, Inode::decode, Inode::encode);
}

fn dentry(bytes: &[u8]) {
    round_trip(bytes, Dentry::decode, Dentry::encode);
}

fn extent(bytes: &[u8]) {
    round_trip(bytes, Extent::decode, Extent::encode);
    if let Ok(extent) = Extent::decode(bytes) {
        let half = extent.length / 2;
        assert_eq!(
            extent.take(half).length + extent.skip(half).length,
            extent.length
        );
    }
}

fn chunk(bytes: &[u8]) {
    round_trip(bytes, ChunkRecord::decode, ChunkRecord::encode);
}

fn volume(bytes: &[u8]) {
    round_trip(bytes, VolumeRecord::decode, VolumeRecord::encode);
}

fn snapshot(bytes: &[u8]) {
    round_trip(bytes, SnapshotRecord::decode, SnapshotRecord::encode);
}

fn segment(bytes: &[u8]) {
    round_trip(bytes, SegmentRecord::decode, SegmentRecord::encode);
}

/// The input is the length of the key, the key, the value.
fn dead_range(bytes: &[u8]) {
    let Some((length, rest)) = bytes.split_first() else {
        return;
    };
    let (dead_key, value) = rest.split_at(usize::from(*length).min(rest.len()));
    let Ok((volume, bucket, birth, range)) = DeadRange::decode(dead_key, value) else {
        return;
    };
    let (again, value_again) = match range {
        DeadRange::Page(page) => (key::dead_page(volume, bucket, birth, page), Vec::new()),
        DeadRange::Chunk {
            pointer,
            offset,
            length,
        } => {
            assert!(offset.checked_add(length).is_some());
            let value = Encoder::new().varint(u64::from(length)).finish();
            let again = key::dead_chunk(volume, bucket, birth, pointer, offset);
            (again, value)
        }
    };
    assert_eq!(again, dead_key);
    let decoded = DeadRange::decode(&again, &value_again);
    assert_eq!(decoded, Ok((volume, bucket, birth, range)));
}

fn volume_key(bytes: &[u8]) {
    if let Some((inode, kind, tail)) = key::split(bytes) {
        let prefix = key::prefix(inode, kind);
        assert_eq!([&prefix, tail].concat(), bytes);
        assert_eq!(key::dentry(inode, &key::dentry_name(tail))[9..], *tail);
        if let Some(offset) = key::extent_offset(tail) {
            assert_eq!(key::extent(inode, offset)[9..], *tail);
        }
    }
    if let Some(end) = key::after_prefix(bytes) {
        assert!(*end > *bytes && !end.starts_with(bytes));
    }
}

fn catalog_key(bytes: &[u8]) {
    if let Some(view) = key::catalog::view_of(bytes) {
        assert_eq!(view.0.to_be_bytes(), bytes[1..]);
    }
    if let Some(segment) = key::catalog::segment_of(bytes) {
        assert_eq!(segment.0.to_be_bytes(), bytes[1..]);
    }
}

fn chunk_key(bytes: &[u8]) {
    if let Some(pointer) = key::chunk_pointer(bytes) {
        assert_eq!(key::chunk(pointer), bytes);
    }
}

fn access_list(bytes: &[u8]) {
    if let Ok(Some(list)) = AccessList::parse(bytes) {
        let again = AccessList::parse(&list.encode());
        assert!(again.is_ok_and(|again| again.as_ref() == Some(&list)));
    }
}

/// The input is a packet's first bytes: its length, its header's length, its header.
fn packet_header(bytes: &[u8]) {
    for (kind, grain) in [
        (ChecksumKind::Null, 1),
        (ChecksumKind::Crc32, 1),
        (ChecksumKind::Crc32c, 512),
        (ChecksumKind::Crc32c, 16 << 20),
    ] {
        let Ok(checksums) = ChunkChecksums::new(kind, grain) else {
            continue;
        };
        let Some((lengths, header)) = bytes.split_first_chunk::<6>() else {
            continue;
        };
        let said = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]);
        if let Ok(header) = PacketHeader::decode(said as usize, header, checksums) {
            assert!(header.data_bytes + header.checksum_bytes <= PacketHeader::PAYLOAD_BYTES_MAX);
            let mut sent = Vec::new();
            header.encode(&mut sent);
            let again = PacketHeader::decode(said as usize, &sent[6..], checksums);
            let unsynced = PacketHeader {
                sync_block: false,
                ..header
            };
            assert!(again.is_ok_and(|again| again == unsynced));
        }
    }
}
