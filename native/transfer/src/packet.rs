//! The packet: `length u32 | header length u16 | PacketHeaderProto | checksums | data`.
//!
//! The length counts itself, the checksums and the data, but neither the header nor its length.
//! Invariant: a decoded header's sizes are within the limits below and agree with each other.

use crate::checksum::ChunkChecksums;
use crate::error::TransferError;
use crate::input::Input;

/// Most bytes of data and checksums in a packet (what Java takes and sends at most).
pub(crate) const PAYLOAD_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a header; today's have 27 at most.
const HEADER_BYTES_MAX: usize = 256;
/// The number of a heartbeat packet.
pub(crate) const HEARTBEAT_SEQNO: i64 = -1;
/// Bytes of a header as we send it, lengths included.
pub(crate) const SENT_HEADER_BYTES: usize = 31;

/// What precedes a packet's checksums and data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PacketHeader {
    /// Where the data begins in the block.
    pub offset_in_block: i64,
    /// The packet's number; -1 is a heartbeat.
    pub seqno: i64,
    /// No packet of the block follows.
    pub is_last: bool,
    /// The block is to be durable before the acknowledgement.
    pub sync_block: bool,
    /// Bytes of data.
    pub data_bytes: usize,
    /// Bytes of checksums before them.
    pub checksum_bytes: usize,
}

impl PacketHeader {
    /// Most bytes of data and checksums in a packet.
    pub const PAYLOAD_BYTES_MAX: usize = PAYLOAD_BYTES_MAX;

    /// Appends the header of a packet we send; it never asks for a sync.
    pub fn encode(&self, into: &mut Vec<u8>) {
        let length = (4 + self.checksum_bytes + self.data_bytes) as u32;
        into.extend_from_slice(&length.to_be_bytes());
        into.extend_from_slice(&(SENT_HEADER_BYTES as u16 - 6).to_be_bytes());
        into.push(1 << 3 | 1);
        into.extend_from_slice(&self.offset_in_block.to_le_bytes());
        into.push(2 << 3 | 1);
        into.extend_from_slice(&self.seqno.to_le_bytes());
        into.extend_from_slice(&[3 << 3, u8::from(self.is_last), 4 << 3 | 5]);
        into.extend_from_slice(&(self.data_bytes as u32).to_le_bytes());
    }

    /// Decodes the `PacketHeaderProto` of a packet whose length field says `packet_bytes`.
    pub fn decode(
        packet_bytes: usize,
        bytes: &[u8],
        checksums: ChunkChecksums,
    ) -> Result<Self, TransferError> {
        let fields =
            Fields::decode(bytes).ok_or(TransferError::Protocol("a packet header is malformed"))?;
        let (Some(offset_in_block), Some(seqno), Some(is_last), Some(data_bytes)) = (
            fields.offset_in_block,
            fields.seqno,
            fields.is_last,
            fields.data_bytes,
        ) else {
            return Err(TransferError::Protocol("a packet header lacks a field"));
        };
        let data_bytes = usize::try_from(data_bytes)
            .map_err(|_| TransferError::Protocol("a packet's data has a negative length"))?;
        let checksum_bytes = checksums.bytes_for(data_bytes);
        if data_bytes + checksum_bytes > PAYLOAD_BYTES_MAX {
            return Err(TransferError::Protocol("a packet is longer than its limit"));
        }
        if packet_bytes != 4 + checksum_bytes + data_bytes {
            return Err(TransferError::Protocol("a packet's lengths disagree"));
        }
        let sync_block = fields.sync_block;
        Ok(Self {
            offset_in_block,
            seqno,
            is_last,
            sync_block,
            data_bytes,
            checksum_bytes,
        })
    }
}

/// Reads a packet up to its checksums.
pub(crate) fn read_header(
    input: &mut Input,
    checksums: ChunkChecksums,
) -> Result<PacketHeader, TransferError> {
    let mut lengths = [0; 6];
    input.read_exact(&mut lengths)?;
    let packet = u32::from_be_bytes([lengths[0], lengths[1], lengths[2], lengths[3]]) as usize;
    let header = usize::from(u16::from_be_bytes([lengths[4], lengths[5]]));
    if header > HEADER_BYTES_MAX {
        return Err(TransferError::Protocol(
            "a packet header is longer than its limit",
        ));
    }
    let mut bytes = [0; HEADER_BYTES_MAX];
    input.read_exact(&mut bytes[..header])?;
    PacketHeader::decode(packet, &bytes[..header], checksums)
}

#[derive(Default)]
struct Fields {
    offset_in_block: Option<i64>,
    seqno: Option<i64>,
    is_last: Option<bool>,
    data_bytes: Option<i32>,
    sync_block: bool,
}

impl Fields {
    /// Decodes `PacketHeaderProto`, skipping fields it does not know.
    fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut fields = Self::default();
        while !bytes.is_empty() {
            let key = take_varint(&mut bytes)?;
            match (key >> 3, key & 7) {
                (1, 1) => fields.offset_in_block = Some(i64::from_le_bytes(take(&mut bytes)?)),
                (2, 1) => fields.seqno = Some(i64::from_le_bytes(take(&mut bytes)?)),
                (3, 0) => fields.is_last = Some(take_varint(&mut bytes)? != 0),
                (4, 5) => fields.data_bytes = Some(i32::from_le_bytes(take(&mut bytes)?)),
                (5, 0) => fields.sync_block = take_varint(&mut bytes)? != 0,
                (1.., 0) => {
                    take_varint(&mut bytes)?;
                }
                (1.., 1) => {
                    take::<8>(&mut bytes)?;
                }
                (1.., 2) => {
                    let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                    bytes = bytes.get(length..)?;
                }
                (1.., 5) => {
                    take::<4>(&mut bytes)?;
                }
                _ => return None,
            }
        }
        Some(fields)
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let [byte] = take(bytes)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checksum::ChecksumKind;

    fn checksums() -> ChunkChecksums {
        ChunkChecksums::new(ChecksumKind::Crc32c, 512).unwrap()
    }

    fn header(data_bytes: usize, offset_in_block: i64, seqno: i64) -> PacketHeader {
        PacketHeader {
            offset_in_block,
            seqno,
            is_last: data_bytes == 0,
            sync_block: false,
            data_bytes,
            checksum_bytes: checksums().bytes_for(data_bytes),
        }
    }

    #[test]
    fn a_header_is_laid_out_as_java_does() {
        let mut bytes = Vec::new();
        header(1000, 0x0102, 3).encode(&mut bytes);
        assert_eq!(
            bytes,
            [
                0, 0, 3, 244, 0, 25, // 4 + 2 * 4 + 1000; header length
                9, 2, 1, 0, 0, 0, 0, 0, 0, // offset in block
                17, 3, 0, 0, 0, 0, 0, 0, 0, // seqno
                24, 0, 37, 232, 3, 0, 0 // last, data length
            ]
        );
        assert_eq!(bytes.len(), SENT_HEADER_BYTES);
    }

    #[test]
    fn sync_block_and_unknown_fields_are_read() {
        let mut bytes = Vec::new();
        header(0, 5, 9).encode(&mut bytes);
        bytes.extend_from_slice(&[40, 1, 48, 200, 1, 58, 2, 7, 7, 69, 0, 0, 0, 0]);
        let read = PacketHeader::decode(4, &bytes[6..], checksums()).unwrap();
        assert_eq!(
            read,
            PacketHeader {
                sync_block: true,
                ..header(0, 5, 9)
            }
        );
    }

    #[test]
    fn lengths_that_disagree_or_exceed_the_limit_are_refused() {
        for (packet, data) in [
            (0, 0),
            (3, 0),
            (5, 0),
            (4 + 4 + 513, 513),
            (usize::MAX >> 1, 1),
        ] {
            let mut bytes = Vec::new();
            header(data, 0, 0).encode(&mut bytes);
            assert!(
                PacketHeader::decode(packet, &bytes[6..], checksums()).is_err(),
                "{packet} {data}"
            );
        }
        let mut bytes = Vec::new();
        let big = PAYLOAD_BYTES_MAX + 1;
        header(big, 0, 0).encode(&mut bytes);
        let packet = 4 + checksums().bytes_for(big) + big;
        assert!(PacketHeader::decode(packet, &bytes[6..], checksums()).is_err());
        let len = bytes.len();
        bytes[len - 1] = 0xff;
        assert!(PacketHeader::decode(packet, &bytes[6..], checksums()).is_err());
    }

    #[test]
    fn headers_without_a_required_field_are_refused() {
        let mut bytes = Vec::new();
        header(0, 0, 0).encode(&mut bytes);
        for field in [6..15, 15..24, 24..26, 26..31] {
            let mut cut = bytes.clone();
            cut.drain(field);
            assert!(PacketHeader::decode(4, &cut[6..], checksums()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(
            packet in any::<u32>(),
            bytes in proptest::collection::vec(any::<u8>(), 0..80),
        ) {
            if let Ok(read) = PacketHeader::decode(packet as usize, &bytes, checksums()) {
                prop_assert!(read.data_bytes + read.checksum_bytes <= PAYLOAD_BYTES_MAX);
            }
        }

        #[test]
        fn what_is_sent_is_read_back(
            data in 0..=PAYLOAD_BYTES_MAX / 130 * 129,
            offset in any::<i64>(),
            seqno in any::<i64>(),
        ) {
            let sent = header(data, offset, seqno);
            let mut bytes = Vec::new();
            sent.encode(&mut bytes);
            let packet = u32::from_be_bytes(*bytes.first_chunk().unwrap()) as usize;
            prop_assert_eq!(PacketHeader::decode(packet, &bytes[6..], checksums()).unwrap(), sent);
        }
    }
}
