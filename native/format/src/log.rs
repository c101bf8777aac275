//! Records of the intent log: `length u32 | crc32c u32 | sequence u64 | epoch u64 | operations`.
//!
//! Invariants:
//! - `length` counts the operations' bytes; the checksum covers everything behind itself.
//! - Sequence numbers rise by one from record to record, across files, so that a record left over
//!   from an earlier use of a file is never mistaken for a new one.
//! - A record is one acknowledged change: all of its operations are applied, or none.

use crate::catalog::{put_time, take_inode, take_time, take_view};
use crate::codec::{Decoder, Encoder, FormatError};
use crate::ids::{Epoch, InodeId, SegmentId, TreeId, ViewId};
use crate::inode::Timestamp;
use crate::limits::{
    CHUNK_BYTES_MAX, KEY_BYTES_MAX, LOG_RECORD_BYTES_MAX, NAME_BYTES_MAX, SEGMENT_END_MAX,
    VALUE_BYTES_MAX, VIEW_COUNT_MAX,
};

const WHAT: &str = "log record";
/// Bytes in front of a record's operations.
pub const HEADER_BYTES: usize = 24;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const SNAPSHOT: u8 = 3;
const VOLUME: u8 = 4;
const RENAME_SNAPSHOT: u8 = 5;
const BYTES: u8 = 6;
const SYNCED: u8 = 7;

/// One change to the store's trees, or bytes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// Sets a key.
    Put {
        /// The tree.
        tree: TreeId,
        /// The key.
        key: &'a [u8],
        /// Its value from now on.
        value: &'a [u8],
    },
    /// Removes a key.
    Delete {
        /// The tree.
        tree: TreeId,
        /// The key.
        key: &'a [u8],
    },
    /// Takes a snapshot: the volume's root is kept and the epoch ends.
    Snapshot {
        /// The volume.
        volume: ViewId,
        /// The directory it is of.
        directory: InodeId,
        /// Its name there.
        name: &'a [u8],
        /// The view under which it is seen.
        view: ViewId,
        /// When.
        created: Timestamp,
    },
    /// Gives a snapshot another name in its directory.
    RenameSnapshot {
        /// The volume.
        volume: ViewId,
        /// The directory.
        directory: InodeId,
        /// The name until now.
        from: &'a [u8],
        /// The name from now on.
        to: &'a [u8],
    },
    /// Makes a volume, empty or from a snapshot.
    Volume {
        /// Its live view.
        view: ViewId,
        /// The snapshot it is a clone of.
        origin: Option<ViewId>,
        /// The volume and directory it is attached to.
        attached_to: (ViewId, InodeId),
        /// The name it is attached under.
        name: &'a [u8],
        /// When.
        created: Timestamp,
    },
    /// Bytes that stand in a segment: recovery writes them there again, before anything else.
    Bytes {
        /// The segment.
        segment: SegmentId,
        /// Where in it.
        offset: u64,
        /// At most [`CHUNK_BYTES_MAX`].
        bytes: &'a [u8],
    },
    /// All records below this number were durable when this one was written: if one of them is not
    /// whole, something happened to it on the disk.
    Synced {
        /// The number.
        upto: u64,
    },
}

impl<'a> Operation<'a> {
    /// Appends the operation's bytes.
    pub fn encode(&self, encoder: &mut Encoder) {
        match self {
            Self::Put { tree, key, value } => {
                encoder
                    .u8(PUT)
                    .varint(u64::from(tree.0))
                    .blob(key)
                    .blob(value);
            }
            Self::Delete { tree, key } => {
                encoder.u8(DELETE).varint(u64::from(tree.0)).blob(key);
            }
            Self::Snapshot {
                volume,
                directory,
                name,
                view,
                created,
            } => {
                encoder
                    .u8(SNAPSHOT)
                    .varint(u64::from(volume.0))
                    .varint(directory.0)
                    .blob(name);
                encoder.varint(u64::from(view.0));
                put_time(encoder, *created);
            }
            Self::RenameSnapshot {
                volume,
                directory,
                from,
                to,
            } => {
                encoder
                    .u8(RENAME_SNAPSHOT)
                    .varint(u64::from(volume.0))
                    .varint(directory.0);
                encoder.blob(from).blob(to);
            }
            Self::Volume {
                view,
                origin,
                attached_to,
                name,
                created,
            } => {
                encoder.u8(VOLUME).varint(u64::from(view.0));
                encoder.varint(origin.map_or(0, |view| u64::from(view.0) + 1));
                encoder
                    .varint(u64::from(attached_to.0.0))
                    .varint(attached_to.1.0)
                    .blob(name);
                put_time(encoder, *created);
            }
            Self::Bytes {
                segment,
                offset,
                bytes,
            } => {
                encoder.u8(BYTES).varint(segment.0).varint(*offset);
                encoder.blob(bytes);
            }
            Self::Synced { upto } => {
                encoder.u8(SYNCED).varint(*upto);
            }
        }
    }

    /// Takes one operation off the front.
    pub fn decode(decoder: &mut Decoder<'a>) -> Result<Self, FormatError> {
        match decoder.u8()? {
            PUT => Ok(Self::Put {
                tree: TreeId(decoder.varint32("tree")?),
                key: decoder.blob("key", KEY_BYTES_MAX)?,
                value: decoder.blob("value", VALUE_BYTES_MAX)?,
            }),
            DELETE => Ok(Self::Delete {
                tree: TreeId(decoder.varint32("tree")?),
                key: decoder.blob("key", KEY_BYTES_MAX)?,
            }),
            SNAPSHOT => Ok(Self::Snapshot {
                volume: take_view(decoder)?,
                directory: take_inode(decoder)?,
                name: decoder.blob("name", NAME_BYTES_MAX)?,
                view: take_view(decoder)?,
                created: take_time(decoder)?,
            }),
            RENAME_SNAPSHOT => Ok(Self::RenameSnapshot {
                volume: take_view(decoder)?,
                directory: take_inode(decoder)?,
                from: decoder.blob("name", NAME_BYTES_MAX)?,
                to: decoder.blob("name", NAME_BYTES_MAX)?,
            }),
            VOLUME => Ok(Self::Volume {
                view: take_view(decoder)?,
                origin: match decoder.bounded("origin", u64::from(VIEW_COUNT_MAX))? {
                    0 => None,
                    more => Some(ViewId(more as u32 - 1)),
                },
                attached_to: (take_view(decoder)?, take_inode(decoder)?),
                name: decoder.blob("name", NAME_BYTES_MAX)?,
                created: take_time(decoder)?,
            }),
            BYTES => Ok(Self::Bytes {
                segment: SegmentId(decoder.varint()?),
                offset: decoder.bounded("offset", SEGMENT_END_MAX)?,
                bytes: decoder.blob("bytes", CHUNK_BYTES_MAX)?,
            }),
            SYNCED => Ok(Self::Synced {
                upto: decoder.varint()?,
            }),
            _ => Err(decoder.invalid("operation")),
        }
    }
}

/// A record's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Bytes of the operations.
    pub length: usize,
    /// CRC-32C of everything behind it.
    pub crc: u32,
    /// The record's number.
    pub sequence: u64,
    /// The epoch the operations belong to.
    pub epoch: Epoch,
}

impl Header {
    /// Reads a header; `None` if the bytes cannot be one.
    pub fn decode(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let mut decoder = Decoder::new(WHAT, bytes);
        let length = decoder.u32().ok()? as usize;
        let crc = decoder.u32().ok()?;
        let sequence = decoder.u64().ok()?;
        let epoch = Epoch(decoder.u64().ok()?);
        let plausible = length > 0 && length <= LOG_RECORD_BYTES_MAX;
        plausible.then_some(Self {
            length,
            crc,
            sequence,
            epoch,
        })
    }

    /// Whether header and operations are those that were written.
    pub fn verify(&self, header: &[u8; HEADER_BYTES], operations: &[u8]) -> bool {
        let mut digest = crc_fast::Digest::new(crc_fast::CrcAlgorithm::Crc32Iscsi);
        digest.update(&header[8..]);
        digest.update(operations);
        operations.len() == self.length && digest.finalize() as u32 == self.crc
    }
}

/// The number in the header at the start of `bytes`; 0, which no record has, if they are too few.
pub fn sequence_of(bytes: &[u8]) -> u64 {
    bytes
        .get(8..16)
        .and_then(|bytes| bytes.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

/// A whole record.
pub fn encode(sequence: u64, epoch: Epoch, operations: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder
        .u32(operations.len() as u32)
        .u32(0)
        .u64(sequence)
        .u64(epoch.0)
        .raw(operations);
    let mut bytes = encoder.finish();
    let crc = crate::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// The operations of a record's body, in order.
pub fn operations(body: &[u8]) -> impl Iterator<Item = Result<Operation<'_>, FormatError>> {
    let mut decoder = Decoder::new(WHAT, body);
    std::iter::from_fn(move || {
        if decoder.is_empty() {
            return None;
        }
        let operation = Operation::decode(&mut decoder);
        if operation.is_err() {
            decoder.rest();
        }
        Some(operation)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_record_round_trips_and_a_torn_one_is_found() {
        let created = Timestamp {
            seconds: -5,
            nanoseconds: 7,
        };
        let list = [
            Operation::Put {
                tree: TreeId::CHUNKS,
                key: b"k",
                value: b"v",
            },
            Operation::Delete {
                tree: TreeId(3),
                key: b"gone",
            },
            Operation::Snapshot {
                volume: ViewId(0),
                directory: InodeId(1),
                name: b"s",
                view: ViewId(8),
                created,
            },
            Operation::RenameSnapshot {
                volume: ViewId(0),
                directory: InodeId(1),
                from: b"s",
                to: b"t",
            },
            Operation::Volume {
                view: ViewId(9),
                origin: Some(ViewId(0)),
                attached_to: (ViewId(0), InodeId(1)),
                name: b"clone",
                created,
            },
            Operation::Bytes {
                segment: SegmentId(7),
                offset: 4096,
                bytes: b"file bytes",
            },
            Operation::Synced { upto: 41 },
        ];
        let mut encoder = Encoder::new();
        for operation in &list {
            operation.encode(&mut encoder);
        }
        let body = encoder.finish();
        let record = encode(42, Epoch(5), &body);
        let head: [u8; HEADER_BYTES] = record[..HEADER_BYTES].try_into().unwrap();
        let header = Header::decode(&head).unwrap();
        assert_eq!((header.sequence, header.epoch), (42, Epoch(5)));
        assert!(header.verify(&head, &record[HEADER_BYTES..]));
        assert!(!header.verify(&head, &record[HEADER_BYTES..record.len() - 1]));
        let read: Vec<_> = operations(&body).map(Result::unwrap).collect();
        assert_eq!(read, list);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            for operation in operations(&bytes) {
                let _ = operation;
            }
        }
    }
}
