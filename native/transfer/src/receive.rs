//! Receives a block in packets, verifies and stores it, acknowledges what is stored.
//!
//! Invariants:
//! - `data[..received - stored]` are the verified bytes of the block from `stored` on; they are in
//!   memory only, and no packet that reaches into them was acknowledged.
//! - Packets leave no gap. Bytes that the block has already are skipped: clients send a partial
//!   chunk again after a flush, and whole packets after a recovery.
//! - The client is never kept waiting for more than [`GATHER`] while it waits for us.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::ops::Range;
use std::time::Duration;

use lockstep_vfs::OpenFlags;

use crate::connection::{Buffers, Next, respond_error};
use crate::error::TransferError;
use crate::file::{Files, OpenFile};
use crate::input::Input;
use crate::packet::{HEARTBEAT_SEQNO, PacketHeader, read_header};
use crate::plan::{Decide, Event, WritePlan};
use crate::wire::{
    STATUS_ERROR, STATUS_ERROR_CHECKSUM, STATUS_SUCCESS, put_acknowledgement, put_delimited,
};

/// Bytes are stored in multiples of this many, at multiples of it in the file, while a client streams.
const STORE_BYTES: u64 = 1 << 20;
/// Bytes of a packet that are taken at once (rounded to whole chunks).
const PIECE_BYTES: usize = 1 << 20;
/// How long bytes wait for more before they are stored and acknowledged as they are.
const GATHER: Duration = Duration::from_millis(1);
/// Packets that may wait for their acknowledgement; Java's client stops sending after 80.
const UNACKNOWLEDGED_MAX: usize = 32;
/// What a client may still send after an error before the connection is cut, and for how long.
const DRAIN_BYTES_MAX: usize = 32 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Does what `plan` says, and tells `decide` how far it came.
pub(crate) fn receive(
    files: &dyn Files,
    input: &mut Input,
    stream: &TcpStream,
    (id, plan): (u64, &WritePlan),
    buffers: &mut Buffers,
    decide: &dyn Decide,
) -> Result<Next, TransferError> {
    let end = plan.file_offset.checked_add(plan.limit);
    if plan.position > plan.limit || end.is_none_or(|end| i64::try_from(end).is_err()) {
        return Err(TransferError::Invalid("the block to write does not fit"));
    }
    let flags = OpenFlags {
        write: true,
        ..OpenFlags::default()
    };
    let file = match OpenFile::open(files, plan.node, flags) {
        Ok(file) => file,
        Err(error) => {
            let (bytes, code) = (plan.position, Some(error.code()));
            decide.progress(Event {
                id,
                bytes,
                complete: false,
                error: code,
            });
            return respond_error(stream, &error);
        }
    };
    let mut answers = Vec::with_capacity(plan.response.len() + 5);
    put_delimited(&mut answers, &plan.response);
    let mut receiver = Receiver {
        file,
        plan,
        input,
        stream,
        buffers,
        stored: plan.position,
        received: plan.position,
        unacknowledged: VecDeque::new(),
        answers,
        window: UNACKNOWLEDGED_MAX,
        largest_packet: 0,
    };
    match receiver.run(id, decide) {
        Ok(()) => Ok(Next::Operation),
        Err(error) => {
            receiver.break_off(id, &error, decide);
            Err(error)
        }
    }
}

struct Receiver<'a> {
    file: OpenFile<'a>,
    plan: &'a WritePlan,
    input: &'a mut Input,
    stream: &'a TcpStream,
    buffers: &'a mut Buffers,
    /// Bytes of the block that are in the file.
    stored: u64,
    /// Bytes of the block that came, verified.
    received: u64,
    /// Numbers of packets, with the length the block must have in the file before the answer.
    unacknowledged: VecDeque<(i64, u64)>,
    answers: Vec<u8>,
    /// Packets after which this client was seen to wait for an answer.
    window: usize,
    largest_packet: usize,
}

impl Receiver<'_> {
    fn run(&mut self, id: u64, decide: &dyn Decide) -> Result<(), TransferError> {
        self.send_answers()?;
        loop {
            self.answer_if_awaited()?;
            let header = read_header(self.input, self.plan.checksums)?;
            if header.seqno == HEARTBEAT_SEQNO {
                self.heartbeat(&header)?;
                continue;
            }
            self.take(&header)?;
            if header.is_last || header.sync_block {
                self.flush(&header, id, decide)?;
                if header.is_last {
                    return Ok(());
                }
            } else {
                self.store_when_due(header.data_bytes)?;
            }
        }
    }

    /// Stores and answers what is pending if the client has nothing more to say for the moment.
    fn answer_if_awaited(&mut self) -> Result<(), TransferError> {
        let waiting = self.unacknowledged.len();
        if waiting == 0 {
            return Ok(());
        }
        let is_full = waiting >= self.window;
        if !self
            .input
            .wait(if is_full { Duration::ZERO } else { GATHER })?
        {
            self.window = waiting;
            self.store_all()?;
            self.acknowledge()?;
        }
        Ok(())
    }

    fn heartbeat(&mut self, header: &PacketHeader) -> Result<(), TransferError> {
        if header.data_bytes != 0 {
            return Err(TransferError::Protocol("a heartbeat packet carries data"));
        }
        self.store_all()?;
        self.collect_acknowledgements();
        put_acknowledgement(&mut self.answers, HEARTBEAT_SEQNO, STATUS_SUCCESS);
        self.send_answers()
    }

    /// Reads and verifies a packet's data, piece by piece: memory is taken for pieces, not for what
    /// a header promises.
    fn take(&mut self, header: &PacketHeader) -> Result<(), TransferError> {
        let grain = self.plan.checksums.bytes_per_chunk();
        let piece_bytes = (PIECE_BYTES / grain).max(1) * grain;
        let mut offset = self.checked_offset(header)?;
        let mut left = header.data_bytes;
        let mut words = 0..0;
        while left > 0 {
            let count = left.min(piece_bytes);
            words = words.end..words.end + self.plan.checksums.bytes_for(count);
            self.take_piece(header, offset, count, words.clone())?;
            offset += count as u64;
            left -= count;
            if left > 0 {
                self.store_whole()?;
            }
        }
        self.unacknowledged.push_back((header.seqno, self.received));
        Ok(())
    }

    fn checked_offset(&self, header: &PacketHeader) -> Result<u64, TransferError> {
        if header.data_bytes == 0 {
            return Ok(self.received);
        }
        let offset = u64::try_from(header.offset_in_block)
            .ok()
            .filter(|&offset| offset <= self.received)
            .ok_or(TransferError::Protocol(
                "a packet leaves a gap in the block",
            ))?;
        if offset + header.data_bytes as u64 > self.plan.limit {
            return Err(TransferError::Protocol(
                "a packet reaches past the end of the block",
            ));
        }
        Ok(offset)
    }

    /// Takes `count` bytes that stand at `offset`; `words` are theirs among the packet's checksums,
    /// which come before the first piece.
    fn take_piece(
        &mut self,
        header: &PacketHeader,
        offset: u64,
        count: usize,
        words: Range<usize>,
    ) -> Result<(), TransferError> {
        let pending = (self.received - self.stored) as usize;
        let (data, side) = self.buffers.data_and_side(pending + count);
        let piece = &mut data[pending..];
        if offset as i64 == header.offset_in_block {
            side.resize(header.checksum_bytes, 0);
            self.input.read_exact_two(side, piece)?;
        } else {
            self.input.read_exact(piece)?;
        }
        if !self.plan.checksums.verify(piece, &side[words]) {
            return Err(TransferError::Checksum {
                seqno: header.seqno,
            });
        }
        let known = self.received.saturating_sub(offset);
        let known = usize::try_from(known).map_or(count, |known| known.min(count));
        piece.copy_within(known.., 0);
        self.received += (count - known) as u64;
        Ok(())
    }

    /// The last packet of a block, or one that asks for durability.
    fn flush(
        &mut self,
        header: &PacketHeader,
        id: u64,
        decide: &dyn Decide,
    ) -> Result<(), TransferError> {
        self.store_all()?;
        if header.sync_block || self.plan.sync_on_close {
            self.file.sync()?;
        }
        decide.progress(Event {
            id,
            bytes: self.stored,
            complete: header.is_last,
            error: None,
        });
        // From here on the block is what `decide` was told: a client that went away without its
        // answer changes nothing about that.
        match self.acknowledge() {
            Err(_) if header.is_last => Ok(()),
            other => other,
        }
    }

    fn store_when_due(&mut self, packet_bytes: usize) -> Result<(), TransferError> {
        // A packet shorter than those before it ends a flush, as a rule: somebody waits for it.
        let is_short = packet_bytes < self.largest_packet;
        self.largest_packet = self.largest_packet.max(packet_bytes);
        if self.unacknowledged.len() >= UNACKNOWLEDGED_MAX
            || is_short && !self.input.wait(Duration::ZERO)?
        {
            self.store_all()?;
        } else {
            self.store_whole()?;
        }
        self.acknowledge()
    }

    /// Stores what fills whole stretches of [`STORE_BYTES`] of the file.
    fn store_whole(&mut self) -> Result<(), TransferError> {
        let due = (self.plan.file_offset + self.received) / STORE_BYTES * STORE_BYTES;
        if due > self.plan.file_offset + self.stored {
            self.store(due - self.plan.file_offset)?;
            self.window = UNACKNOWLEDGED_MAX;
        }
        Ok(())
    }

    fn store_all(&mut self) -> Result<(), TransferError> {
        self.store(self.received)
    }

    /// Stores the block's bytes below `end`.
    fn store(&mut self, end: u64) -> Result<(), TransferError> {
        let count = (end - self.stored) as usize;
        if count > 0 {
            let pending = (self.received - self.stored) as usize;
            let data = self.buffers.data(pending);
            self.file
                .write(self.plan.file_offset + self.stored, &data[..count])?;
            data.copy_within(count.., 0);
            self.stored = end;
        }
        Ok(())
    }

    fn acknowledge(&mut self) -> Result<(), TransferError> {
        self.collect_acknowledgements();
        self.send_answers()
    }

    fn collect_acknowledgements(&mut self) {
        while let Some(&(seqno, end)) = self.unacknowledged.front() {
            if end > self.stored {
                return;
            }
            put_acknowledgement(&mut self.answers, seqno, STATUS_SUCCESS);
            self.unacknowledged.pop_front();
        }
    }

    fn send_answers(&mut self) -> Result<(), TransferError> {
        if !self.answers.is_empty() {
            self.stream.write_all(&self.answers)?;
            self.answers.clear();
        }
        Ok(())
    }

    /// Keeps what came, says what went wrong, and lets the client hear it.
    fn break_off(&mut self, id: u64, error: &TransferError, decide: &dyn Decide) {
        let is_stored = !matches!(error, TransferError::Vfs(_)) && self.store_all().is_ok();
        self.collect_acknowledgements();
        let status = match error {
            TransferError::Checksum { seqno } if is_stored => Some((*seqno, STATUS_ERROR_CHECKSUM)),
            TransferError::Socket(_) => None,
            _ => self
                .unacknowledged
                .front()
                .map(|&(seqno, _)| (seqno, STATUS_ERROR)),
        };
        if let Some((seqno, status)) = status {
            put_acknowledgement(&mut self.answers, seqno, status);
        }
        let (bytes, error) = (self.stored, Some(error.code()));
        decide.progress(Event {
            id,
            bytes,
            complete: false,
            error,
        });
        if self.send_answers().is_ok() && self.stream.shutdown(Shutdown::Write).is_ok() {
            self.input.drain(DRAIN_BYTES_MAX, DRAIN_TIME);
        }
    }
}
