//! The packet loop of the HDFS `DataTransferProtocol`: sockets to file ranges and back.
//!
//! Whoever embeds this decides ([`Decide`]) which file range an operation means and may touch;
//! this crate moves and checks the bytes. No HDFS message but the packet header, the packet
//! acknowledgement and an error answer is understood here.
//!
//! Invariants:
//! - Every length and offset of the wire is checked against a limit before memory is taken or a
//!   byte is stored; a violation ends that connection and nothing else.
//! - Bytes are stored only after the client's checksums of them were verified.
//! - A packet is acknowledged only after its bytes are in the file, where every view reads them;
//!   one that asks for it (`syncBlock`), only after they are durable.
//! - Bytes that cannot be read as they were written are never sent: the stream ends instead.

mod block_checksum;
mod checksum;
mod connection;
mod error;
mod file;
mod input;
mod output;
mod packet;
mod plan;
mod receive;
mod send;
mod server;
mod wire;

pub use block_checksum::{BlockChecksum, block_checksum};
pub use checksum::{ChecksumKind, ChunkChecksums};
pub use error::TransferError;
pub use file::Files;
pub use packet::PacketHeader;
pub use plan::{Decide, Event, Plan, ReadPlan, Request, WritePlan};
pub use server::{Options, Server};
