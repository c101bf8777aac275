//! What the packet loop asks, and what it is told to do.

use lockstep_vfs::NodeId;

use crate::checksum::ChunkChecksums;

/// One operation that a client asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Unique in the server; names the operation in [`Event`]s.
    pub id: u64,
    /// The opcode: 80 write block, 81 read block, 85 block checksum, ...
    pub op: u8,
    /// The protobuf bytes of its message; at most 1 MiB.
    pub message: Vec<u8>,
    /// `ip:port` of the client.
    pub peer: String,
}

/// What to do with an operation. A `response` is a `BlockOpResponseProto` without length prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Send the response and wait for the next operation, or close.
    Respond {
        /// The response.
        response: Vec<u8>,
        /// Close after it.
        close: bool,
    },
    /// Send the response and a range of a file.
    Read(ReadPlan),
    /// Send the response and store what the client sends.
    Write(WritePlan),
}

/// A range of a file to send in packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    /// Sent first, once the file is open and its first bytes were read.
    pub response: Vec<u8>,
    /// The file.
    pub node: NodeId,
    /// Where the range begins in the file; at a chunk boundary of the block.
    pub offset: u64,
    /// Bytes to send.
    pub length: u64,
    /// Where the range begins in the block; packets are numbered from it.
    pub block_offset: u64,
    /// Checksums to send with the data (kind `Null`: none).
    pub checksums: ChunkChecksums,
}

/// A range of a file to receive in packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritePlan {
    /// Sent first, once the file is open.
    pub response: Vec<u8>,
    /// The file.
    pub node: NodeId,
    /// Where the block begins in the file.
    pub file_offset: u64,
    /// Bytes of the block that are stored already; no packet may leave a gap after them.
    pub position: u64,
    /// Most bytes the block may have.
    pub limit: u64,
    /// Checksums that come with the data (kind `Null`: none).
    pub checksums: ChunkChecksums,
    /// Make the bytes durable before the last packet is acknowledged.
    pub sync_on_close: bool,
}

/// How far a write has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The request's id.
    pub id: u64,
    /// Bytes of the block that are in the file.
    pub bytes: u64,
    /// The last packet arrived.
    pub complete: bool,
    /// The code of what ended the write before its last packet.
    pub error: Option<&'static str>,
}

/// Who decides. Called on connection threads, several at once; may block.
pub trait Decide: Send + Sync + 'static {
    /// What to do with an operation; `None` closes its connection.
    fn decide(&self, request: Request) -> Option<Plan>;

    /// A block was flushed, finished or broken off. The packet that caused it is acknowledged
    /// after this returns, so whoever decides knows of it before the client does.
    fn progress(&self, event: Event);

    /// The server closes: pending and later calls of [`Decide::decide`] must return without
    /// waiting for anybody.
    fn closing(&self) {}
}
