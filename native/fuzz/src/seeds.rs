//! Inputs that decode, made from real values: one of each shape a record can have.

use lockstep_format::inode::flags;
use lockstep_format::log::{self, Operation};
use lockstep_format::{
    ChunkPtr, ChunkRecord, Dentry, Encoder, Epoch, Extent, Features, FileKind, Footer, Inode,
    InodeId, Meta, Origin, Page, PageId, SegmentId, SegmentRecord, SnapshotRecord, Superblock,
    Timestamp, TreeId, ViewId, VolumeRecord, key,
};
use lockstep_transfer::PacketHeader;

const NOW: Timestamp = Timestamp {
    seconds: 1_700_000_000,
    nanoseconds: 123_456_789,
};
const LONG_AGO: Timestamp = Timestamp {
    seconds: -2_208_988_800,
    nanoseconds: 999_999_999,
};
const POINTER: ChunkPtr = ChunkPtr {
    segment: SegmentId(7),
    slot: 300,
};

pub(crate) fn superblocks() -> Vec<Vec<u8>> {
    let store_id = *b"0123456789abcdef";
    let all = Features {
        incompatible: 1,
        read_only_compatible: 1 << 63,
        compatible: u64::MAX,
    };
    [Features::default(), all]
        .map(|features| Superblock { store_id, features }.encode())
        .to_vec()
}

pub(crate) fn commit_records() -> Vec<Vec<u8>> {
    let meta = Meta {
        epoch: Epoch(9),
        catalog: PageId(4),
        chunks: PageId(5),
        dead: PageId(0),
        next_page: 77,
        next_inode: 12,
        next_view: 3,
        next_segment: 2,
        dead_bytes: 4096,
        log_sequence: 1 << 32,
    };
    vec![Meta::default().encode(), meta.encode()]
}

pub(crate) fn pages() -> Vec<Vec<u8>> {
    let mut leaf = Page::new(PageId(12), Epoch(3), 0);
    for name in ["a", "b", "boot", "bootable", "é"] {
        let key = key::dentry(InodeId::ROOT, name.as_bytes());
        let at = leaf.search(&key).unwrap_or_else(|at| at);
        leaf.insert(at, &key, &dentries()[0]);
    }
    let mut interior = Page::new(PageId(13), Epoch(3), 2);
    interior.insert_child(0, &[], PageId(10));
    interior.insert_child(1, &key::inode(InodeId(9)), PageId(11));
    let mut large = Page::new(PageId(14), Epoch(4), 0);
    large.insert(0, &key::xattr(InodeId(2), b"user.large"), &[0x5a; 2000]);
    let empty = Page::new(PageId(15), Epoch(4), 0);
    [leaf, interior, large, empty]
        .map(|page| page.encode())
        .to_vec()
}

fn chunk(length: u32) -> ChunkRecord {
    let grains = length.div_ceil(16 << 10);
    ChunkRecord {
        offset: 1 << 20,
        length,
        live: length / 2,
        hash_offset: 3 << 20,
        hash: [0xab; 32],
        grains: (0..grains).map(|index| index * 0x0101_0101).collect(),
    }
}

pub(crate) fn chunks() -> Vec<Vec<u8>> {
    [1, 16 << 10, (16 << 10) + 1, 1 << 20]
        .map(|length| chunk(length).encode())
        .to_vec()
}

pub(crate) fn footers() -> Vec<Vec<u8>> {
    let chunks = vec![(0, chunk(1)), (1, chunk(40_000)), (300, chunk(1 << 20))];
    vec![Footer::default().encode(), Footer { chunks }.encode()]
}

fn operations() -> Vec<Operation<'static>> {
    vec![
        Operation::Put {
            tree: TreeId::CHUNKS,
            key: b"\0\0\0\0\0\0\0\x07\0\0\x01\x2c",
            value: b"a record",
        },
        Operation::Delete {
            tree: TreeId(0),
            key: b"\0\0\0\0\0\0\0\x01\x05\xe1",
        },
        Operation::Snapshot {
            volume: ViewId(0),
            directory: InodeId(1),
            name: b"monday",
            view: ViewId(8),
            created: NOW,
        },
        Operation::RenameSnapshot {
            volume: ViewId(0),
            directory: InodeId(1),
            from: b"monday",
            to: b"tuesday",
        },
        Operation::Volume {
            view: ViewId(9),
            origin: Some(ViewId(8)),
            attached_to: (ViewId(0), InodeId(1)),
            name: b"clone",
            created: LONG_AGO,
        },
        Operation::Volume {
            view: ViewId(10),
            origin: None,
            attached_to: (ViewId(0), InodeId(1)),
            name: b"volume",
            created: NOW,
        },
        Operation::Bytes {
            segment: SegmentId(7),
            offset: 4096,
            bytes: b"file bytes",
        },
    ]
}

pub(crate) fn log_operations() -> Vec<Vec<u8>> {
    let mut encoder = Encoder::new();
    let mut list: Vec<Vec<u8>> = operations()
        .iter()
        .map(|operation| {
            operation.encode(&mut encoder);
            encoder.finish()
        })
        .collect();
    list.push(list.concat());
    list
}

pub(crate) fn log_files() -> Vec<Vec<u8>> {
    let records: Vec<Vec<u8>> = (41..)
        .zip(log_operations())
        .map(|(sequence, body)| log::encode(sequence, Epoch(5), &body))
        .collect();
    let torn = [&records[0], &records[1][..30]].concat();
    vec![records[2].clone(), records.concat(), torn]
}

pub(crate) fn inodes() -> Vec<Vec<u8>> {
    let plain = Inode {
        kind: FileKind::File,
        mode: 0o644,
        nlink: 1,
        uid: 1000,
        gid: 1000,
        size: 5,
        allocated: 5,
        rdev: 0,
        flags: flags::INLINE,
        parent: InodeId::ROOT,
        atime: NOW,
        mtime: NOW,
        ctime: NOW,
        btime: NOW,
        block_size: 0,
        replication: 0,
    };
    let hdfs = Inode {
        nlink: 3,
        size: 1 << 40,
        allocated: 1 << 30,
        flags: flags::HAS_ACL | flags::HAS_XATTR | flags::HAD_LINKS,
        atime: LONG_AGO,
        ctime: LONG_AGO,
        btime: LONG_AGO,
        block_size: 128 << 20,
        replication: 3,
        ..plain.clone()
    };
    let device = Inode {
        kind: FileKind::CharDevice,
        rdev: 0x0501,
        flags: 0,
        ..plain.clone()
    };
    [plain, hdfs, device].map(|inode| inode.encode()).to_vec()
}

pub(crate) fn dentries() -> Vec<Vec<u8>> {
    let (inode, kind) = (InodeId(300), FileKind::Directory);
    [None, Some(ViewId(9))]
        .map(|volume| {
            let dentry = Dentry {
                inode,
                kind,
                volume,
            };
            dentry.encode()
        })
        .to_vec()
}

pub(crate) fn extents() -> Vec<Vec<u8>> {
    let extent = Extent {
        chunk: POINTER,
        chunk_offset: 4096,
        length: 1 << 19,
        birth: Epoch(1 << 40),
    };
    vec![extent.encode(), extent.take(1).encode()]
}

pub(crate) fn volumes() -> Vec<Vec<u8>> {
    let root = VolumeRecord {
        root: PageId(0),
        inodes: 0,
        bytes: 0,
        attached_to: (ViewId::ROOT, InodeId::ROOT),
        name: Vec::new(),
        origin: None,
        root_inode: InodeId::ROOT,
        created: NOW,
        deleting: false,
        buried: false,
    };
    let clone = VolumeRecord {
        root: PageId(99),
        inodes: 5000,
        bytes: 1 << 33,
        attached_to: (ViewId(3), InodeId(77)),
        name: b"experiment".to_vec(),
        origin: Some(Origin {
            snapshot: ViewId(4),
            volume: ViewId(0),
            epoch: Epoch(12),
        }),
        root_inode: InodeId(55),
        deleting: true,
        buried: true,
        ..root.clone()
    };
    vec![root.encode(), clone.encode()]
}

pub(crate) fn snapshots() -> Vec<Vec<u8>> {
    let snapshot = SnapshotRecord {
        view: ViewId(4),
        volume: ViewId(0),
        directory: InodeId(55),
        epoch: Epoch(12),
        root: PageId(98),
        created: LONG_AGO,
        inodes: 5000,
        bytes: 1 << 33,
    };
    vec![snapshot.encode()]
}

pub(crate) fn segments() -> Vec<Vec<u8>> {
    let sealed = SegmentRecord {
        tail: 256 << 20,
        live: 200 << 20,
        next_slot: 301,
        sealed: true,
    };
    vec![SegmentRecord::default().encode(), sealed.encode()]
}

pub(crate) fn dead_ranges() -> Vec<Vec<u8>> {
    let (volume, bucket, birth) = (ViewId(0), Epoch(12), Epoch(3));
    let length = Encoder::new().varint(1 << 19).finish();
    [
        (key::dead_page(volume, bucket, birth, PageId(98)), vec![]),
        (
            key::dead_chunk(volume, Epoch(u64::MAX - 1), birth, POINTER, 4096),
            length,
        ),
    ]
    .map(|(key, value)| [&[key.len() as u8][..], &key, &value].concat())
    .to_vec()
}

pub(crate) fn volume_keys() -> Vec<Vec<u8>> {
    let inode = InodeId(300);
    vec![
        key::inode(inode),
        key::orphan(inode),
        key::xattr(inode, b"user.x"),
        key::extent(inode, 1 << 20),
        key::dentry(inode, "é".as_bytes()),
    ]
}

pub(crate) fn catalog_keys() -> Vec<Vec<u8>> {
    let view = ViewId(4);
    vec![
        key::catalog::volume(view),
        key::catalog::snapshot(view, InodeId(55), b"monday"),
        key::catalog::view(view),
        key::catalog::epoch(view, Epoch(12)),
        key::catalog::segment(SegmentId(7)),
        key::catalog::principal_name(b'u', 1000),
        key::catalog::principal_id(b'g', b"staff"),
    ]
}

pub(crate) fn chunk_keys() -> Vec<Vec<u8>> {
    vec![key::chunk(POINTER)]
}

pub(crate) fn access_lists() -> Vec<Vec<u8>> {
    let entry = |tag: u16, bits: u16, id: u32| {
        let halves = [tag.to_le_bytes(), bits.to_le_bytes()].concat();
        [halves, id.to_le_bytes().to_vec()].concat()
    };
    let none = u32::MAX;
    let minimal = [entry(1, 6, none), entry(4, 4, none), entry(0x20, 4, none)].concat();
    let named = [
        entry(1, 7, none),
        entry(2, 5, 1000),
        entry(4, 5, none),
        entry(8, 7, 100),
        entry(0x10, 7, none),
        entry(0x20, 0, none),
    ];
    [minimal, named.concat()]
        .map(|entries| [&2_u32.to_le_bytes()[..], &entries].concat())
        .to_vec()
}

pub(crate) fn packet_headers() -> Vec<Vec<u8>> {
    let mut data = Vec::new();
    PacketHeader {
        offset_in_block: 1 << 20,
        seqno: 5,
        is_last: false,
        sync_block: false,
        data_bytes: 65_024,
        checksum_bytes: 508,
    }
    .encode(&mut data);
    // A heartbeat, with `syncBlock` and a field that nobody knows.
    let mut last = Vec::new();
    PacketHeader {
        offset_in_block: 0,
        seqno: -1,
        is_last: true,
        sync_block: false,
        data_bytes: 0,
        checksum_bytes: 0,
    }
    .encode(&mut last);
    last.extend_from_slice(&[40, 1, 58, 2, 7, 7]);
    vec![data, last]
}
