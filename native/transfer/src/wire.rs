//! The frames around messages: operation preamble, varint lengths, the few messages made here.
//!
//! Invariant: nothing here takes memory by a length that was not checked.

use std::io;

use crate::error::TransferError;
use crate::input::Input;

/// The version every operation starts with.
pub(crate) const VERSION: u16 = 28;
/// Most bytes of an operation's message.
pub(crate) const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// `Status.ERROR` and its kin.
pub(crate) const STATUS_SUCCESS: u8 = 0;
pub(crate) const STATUS_ERROR: u8 = 1;
pub(crate) const STATUS_ERROR_CHECKSUM: u8 = 2;

/// Appends `value` as a protobuf varint.
pub(crate) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Appends `message` with its length before it.
pub(crate) fn put_delimited(into: &mut Vec<u8>, message: &[u8]) {
    put_varint(into, message.len() as u64);
    into.extend_from_slice(message);
}

/// Appends a delimited `BlockOpResponseProto { status, message }`.
pub(crate) fn put_error_response(into: &mut Vec<u8>, status: u8, message: &str) {
    const STATUS: u8 = 1 << 3;
    const MESSAGE: u8 = 5 << 3 | 2;
    let mut response = vec![STATUS, status, MESSAGE];
    put_delimited(&mut response, message.as_bytes());
    put_delimited(into, &response);
}

/// Appends a delimited `PipelineAckProto { seqno, reply: [status] }`.
pub(crate) fn put_acknowledgement(into: &mut Vec<u8>, seqno: i64, status: u8) {
    const SEQNO: u8 = 1 << 3;
    const REPLY: u8 = 2 << 3;
    let at = into.len();
    into.extend_from_slice(&[0, SEQNO]);
    put_varint(into, (seqno << 1 ^ seqno >> 63) as u64);
    into.extend_from_slice(&[REPLY, status]);
    // At most 14 bytes: the length is a varint of one byte.
    into[at] = (into.len() - at - 1) as u8;
}

/// Reads a delimited message of at most `max` bytes.
pub(crate) fn read_delimited(input: &mut Input, max: usize) -> Result<Vec<u8>, TransferError> {
    let mut length = 0_u64;
    for shift in (0..35).step_by(7) {
        let byte = input.read_byte()?;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if length > max as u64 {
                return Err(TransferError::Protocol(
                    "a message is longer than its limit",
                ));
            }
            return read_bytes(input, length as usize);
        }
    }
    Err(TransferError::Protocol("a message length is not a varint"))
}

fn read_bytes(input: &mut Input, length: usize) -> Result<Vec<u8>, TransferError> {
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads the opcode of the next operation; `None` at a clean end of the connection.
pub(crate) fn read_opcode(input: &mut Input) -> Result<Option<u8>, TransferError> {
    let mut preamble = [0; 3];
    match input.read_exact(&mut preamble[..1]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    input.read_exact(&mut preamble[1..])?;
    if u16::from_be_bytes([preamble[0], preamble[1]]) != VERSION {
        return Err(TransferError::Protocol(
            "not version 28 of the data transfer protocol",
        ));
    }
    Ok(Some(preamble[2]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_delimited_pipeline_acks() {
        let mut bytes = Vec::new();
        put_acknowledgement(&mut bytes, -1, STATUS_SUCCESS);
        put_acknowledgement(&mut bytes, 300, STATUS_ERROR_CHECKSUM);
        assert_eq!(bytes, [4, 8, 1, 16, 0, 5, 8, 0xd8, 4, 16, 2]);
        put_acknowledgement(&mut bytes, i64::MIN, STATUS_ERROR);
        assert_eq!(bytes[11], 13);
        assert_eq!(bytes.len(), 11 + 14);
    }

    #[test]
    fn error_responses_carry_status_and_words() {
        let mut bytes = Vec::new();
        put_error_response(&mut bytes, STATUS_ERROR, "no");
        assert_eq!(bytes, [6, 8, 1, 42, 2, b'n', b'o']);
    }
}
