//! Sends a range of a file in packets, with checksums made on the way out.
//!
//! Invariants:
//! - The response is sent only after the file was opened and its first bytes were read, so most
//!   failures are still answered in words.
//! - A packet whose bytes are damaged on disk carries zeroes under checksums that cannot match: the
//!   client sees a corrupt replica, says so, and never takes the bytes for data. The packets around
//!   it are right. A client that asked for no checksums loses the connection instead.
//! - Once packets flow, any other failed read ends the connection.

use std::io::IoSlice;
use std::net::TcpStream;

use lockstep_vfs::OpenFlags;

use crate::checksum::ChunkChecksums;
use crate::connection::{Buffers, Next, respond_error};
use crate::error::TransferError;
use crate::file::{Files, OpenFile};
use crate::output::write_all;
use crate::packet::{PacketHeader, SENT_HEADER_BYTES};
use crate::plan::ReadPlan;
use crate::wire::put_delimited;

/// Data bytes of a packet (rounded to whole chunks); what every known client takes in one piece.
const PACKET_BYTES: usize = 64 << 10;
/// Packets read and sent at once in the long run.
const BATCH_PACKETS_MAX: u64 = 16;

/// Does what `plan` says. After [`Next::ReadStatus`] the client may send its verdict.
pub(crate) fn send(
    files: &dyn Files,
    mut stream: &TcpStream,
    plan: &ReadPlan,
    buffers: &mut Buffers,
) -> Result<Next, TransferError> {
    let flags = OpenFlags {
        read: true,
        ..OpenFlags::default()
    };
    let mut range = match OpenFile::open(files, plan.node, flags) {
        Ok(file) => Range::new(file, plan)?,
        Err(error) => return respond_error(stream, &error),
    };
    match range.read_batch(buffers) {
        Ok(()) => {}
        Err(error) => return respond_error(stream, &error),
    }
    let mut response = Vec::with_capacity(plan.response.len() + 5);
    put_delimited(&mut response, &plan.response);
    range.write_batch(&mut stream, &response, buffers)?;
    while !range.is_done() {
        range.read_batch(buffers)?;
        range.write_batch(&mut stream, &[], buffers)?;
    }
    Ok(Next::ReadStatus)
}

struct Range<'a> {
    file: OpenFile<'a>,
    checksums: ChunkChecksums,
    packet_bytes: usize,
    batch_packets: u64,
    /// Where the next batch begins in the file, and in the block.
    offset: u64,
    block_offset: i64,
    left: u64,
    seqno: i64,
    /// Data bytes of the batch that was read.
    batch_bytes: usize,
    /// Packets of the batch that could not be read, as bits.
    damaged: u32,
    last_packet_sent: bool,
}

impl<'a> Range<'a> {
    fn new(file: OpenFile<'a>, plan: &ReadPlan) -> Result<Self, TransferError> {
        let end = plan
            .block_offset
            .checked_add(plan.length)
            .map(i64::try_from);
        if plan.offset.checked_add(plan.length).is_none() || !matches!(end, Some(Ok(_))) {
            return Err(TransferError::Invalid("the range to send ends past 2^63"));
        }
        let chunk = plan.checksums.bytes_per_chunk();
        Ok(Self {
            file,
            checksums: plan.checksums,
            packet_bytes: (PACKET_BYTES / chunk).max(1) * chunk,
            batch_packets: 1,
            offset: plan.offset,
            block_offset: plan.block_offset as i64,
            left: plan.length,
            seqno: 0,
            batch_bytes: 0,
            damaged: 0,
            last_packet_sent: false,
        })
    }

    fn is_done(&self) -> bool {
        self.last_packet_sent
    }

    /// Reads the next batch. Batches double: a client that seeks reads little of what it asked
    /// for, one that streams soon gets the most out of every call.
    fn read_batch(&mut self, buffers: &mut Buffers) -> Result<(), TransferError> {
        let most = self.batch_packets * self.packet_bytes as u64;
        self.batch_packets = (self.batch_packets * 2).min(BATCH_PACKETS_MAX);
        self.batch_bytes = self.left.min(most) as usize;
        self.damaged = 0;
        let data = buffers.data(self.batch_bytes);
        match self.file.read_exact(self.offset, data) {
            Err(error) if error.is_damage() && self.checksums.are_sent() => self.read_around(data),
            result => result,
        }
    }

    /// Reads packet by packet, and notes those that are damaged.
    fn read_around(&mut self, data: &mut [u8]) -> Result<(), TransferError> {
        for (index, packet) in data.chunks_mut(self.packet_bytes).enumerate() {
            let offset = self.offset + (index * self.packet_bytes) as u64;
            match self.file.read_exact(offset, packet) {
                Err(error) if error.is_damage() => {
                    packet.fill(0);
                    self.damaged |= 1 << index;
                }
                result => result?,
            }
        }
        Ok(())
    }

    /// Sends `before` and the batch; after the last data also the empty packet that ends it.
    fn write_batch(
        &mut self,
        stream: &mut &TcpStream,
        before: &[u8],
        buffers: &mut Buffers,
    ) -> Result<(), TransferError> {
        let (data, side) = buffers.data_and_side(self.batch_bytes);
        // One allocation for all headers and checksums; their slices are cut once it is complete.
        let mut ends = Vec::with_capacity(BATCH_PACKETS_MAX as usize + 1);
        side.clear();
        for (index, packet) in data.chunks(self.packet_bytes).enumerate() {
            let is_damaged = self.damaged >> index & 1 == 1;
            self.put_packet_head(packet, is_damaged, side);
            ends.push(side.len());
        }
        self.left -= self.batch_bytes as u64;
        self.offset += self.batch_bytes as u64;
        if self.left == 0 {
            self.put_packet_head(&[], false, side);
            ends.push(side.len());
            self.last_packet_sent = true;
        }
        let mut slices = Vec::with_capacity(2 * ends.len() + 1);
        slices.push(IoSlice::new(before));
        let mut packets = data.chunks(self.packet_bytes);
        let mut start = 0;
        for end in ends {
            slices.push(IoSlice::new(&side[start..end]));
            slices.push(IoSlice::new(packets.next().unwrap_or_default()));
            start = end;
        }
        Ok(write_all(stream, &mut slices)?)
    }

    fn put_packet_head(&mut self, data: &[u8], is_damaged: bool, side: &mut Vec<u8>) {
        let header = PacketHeader {
            offset_in_block: self.block_offset,
            seqno: self.seqno,
            is_last: data.is_empty(),
            sync_block: false,
            data_bytes: data.len(),
            checksum_bytes: self.checksums.bytes_for(data.len()),
        };
        side.reserve(SENT_HEADER_BYTES + header.checksum_bytes);
        header.encode(side);
        let words = side.len();
        self.checksums.append(data, side);
        if is_damaged {
            side[words..].iter_mut().for_each(|byte| *byte = !*byte);
        }
        self.block_offset += data.len() as i64;
        self.seqno += 1;
    }
}
