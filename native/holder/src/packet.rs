//! Packets with descriptors, over a socket that keeps their boundaries.
//!
//! Invariant: a packet is received whole or not at all.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// The longest packet: state of a mount, or a batch of notices.
pub(crate) const PACKET_BYTES_MAX: usize = 64 << 10;
const DESCRIPTORS_MAX: usize = 80;

/// Bytes, and the descriptors that came with them.
#[derive(Default)]
pub struct Packet {
    /// What was said.
    pub bytes: Vec<u8>,
    /// What was passed on.
    pub descriptors: Vec<OwnedFd>,
}

/// Sends one packet.
pub fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    if bytes.len() > PACKET_BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut space =
        [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    loop {
        let parts = [IoSlice::new(bytes)];
        match rustix::net::sendmsg(&socket, &parts, &mut control, SendFlags::NOSIGNAL) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The next packet, or `None` when the other side has ended.
pub fn receive(socket: impl AsFd) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; PACKET_BYTES_MAX];
    let mut space =
        [const { MaybeUninit::uninit() }; rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        let parts = &mut [IoSliceMut::new(&mut bytes)];
        match rustix::net::recvmsg(&socket, parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Ok(received) => break received,
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        }
    };
    if received.bytes == 0 {
        return Ok(None);
    }
    if received
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.truncate(received.bytes);
    let mut packet = Packet {
        bytes,
        descriptors: Vec::new(),
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            packet.descriptors.extend(descriptors);
        }
    }
    Ok(Some(packet))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::io::Read;

    #[test]
    fn packets_keep_their_boundaries_and_carry_descriptors() {
        let flags = SocketFlags::CLOEXEC;
        let (left, right) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        send(&left, b"one", &[writer.as_fd()]).unwrap();
        send(&left, &vec![7; PACKET_BYTES_MAX], &[]).unwrap();
        assert!(send(&left, &vec![0; PACKET_BYTES_MAX + 1], &[]).is_err());
        drop(writer);
        let packet = receive(&right).unwrap().unwrap();
        assert_eq!(
            (packet.bytes.as_slice(), packet.descriptors.len()),
            (&b"one"[..], 1)
        );
        drop(packet);
        // The copy that was on its way was the last one: the pipe ends.
        assert_eq!(reader.read(&mut [0]).unwrap(), 0);
        assert_eq!(
            receive(&right).unwrap().unwrap().bytes.len(),
            PACKET_BYTES_MAX
        );
        drop(left);
        assert!(receive(&right).unwrap().is_none());
    }
}
