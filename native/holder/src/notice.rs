//! What the kernel is told about a mount without being asked.
//!
//! Invariant: delivering may wait until the mount's daemon has answered a request that the kernel
//! is in the middle of; only [`Notice::Resend`] never waits.
#![allow(
    clippy::host_endian_bytes,
    reason = "the kernel's structures are in the machine's own order"
)]

use crate::inode_refresh;
use crate::message::{Cursor, put_bytes};
use rustix::io::Errno;
use std::os::fd::AsFd;
use std::path::Path;

/// Something for the kernel to forget, or to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The name `name` in the directory `parent` may stand for something else.
    Entry {
        /// The directory's node.
        parent: u64,
        /// The name.
        name: Vec<u8>,
    },
    /// Attributes may differ, and from `offset` (if it is not negative) `length` bytes, 0 = all
    /// that follow. `ENOENT` if the kernel does not know the node.
    Inode {
        /// The node.
        node: u64,
        /// The first byte.
        offset: i64,
        /// How many bytes.
        length: i64,
    },
    /// Ask the daemon for the size of a node that the kernel caches, if it is marked as old.
    Refresh {
        /// The node.
        node: u64,
    },
    /// Ask again what was asked and not answered: who read it is dead.
    Resend,
}

const ENTRY: u8 = 1;
const INODE: u8 = 2;
const REFRESH: u8 = 3;
const RESEND: u8 = 4;

/// `struct fuse_out_header`.
const HEADER_BYTES: usize = 16;

/// `enum fuse_notify_code` of the kernel's interface.
mod code {
    pub(super) const INVAL_INODE: i32 = 2;
    pub(super) const INVAL_ENTRY: i32 = 3;
    pub(super) const RESEND: i32 = 7;
}

impl Notice {
    pub(crate) fn encode(&self, into: &mut Vec<u8>) {
        match self {
            Self::Entry { parent, name } => {
                into.push(ENTRY);
                into.extend_from_slice(&parent.to_le_bytes());
                put_bytes(into, name);
            }
            Self::Inode {
                node,
                offset,
                length,
            } => {
                into.push(INODE);
                into.extend_from_slice(&node.to_le_bytes());
                into.extend_from_slice(&offset.to_le_bytes());
                into.extend_from_slice(&length.to_le_bytes());
            }
            Self::Refresh { node } => {
                into.push(REFRESH);
                into.extend_from_slice(&node.to_le_bytes());
            }
            Self::Resend => into.push(RESEND),
        }
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Option<Self> {
        let [kind] = cursor.number()?;
        Some(match kind {
            ENTRY => Self::Entry {
                parent: u64::from_le_bytes(cursor.number()?),
                name: cursor.bytes()?,
            },
            INODE => Self::Inode {
                node: u64::from_le_bytes(cursor.number()?),
                offset: i64::from_le_bytes(cursor.number()?),
                length: i64::from_le_bytes(cursor.number()?),
            },
            REFRESH => Self::Refresh {
                node: u64::from_le_bytes(cursor.number()?),
            },
            RESEND => Self::Resend,
            _ => return None,
        })
    }

    /// `struct fuse_out_header` and what follows it; `None` for what is no message of the device.
    fn message(&self) -> Option<Vec<u8>> {
        let (code, body) = match self {
            Self::Entry { parent, name } => {
                let mut body = parent.to_ne_bytes().to_vec();
                body.extend_from_slice(&(name.len() as u32).to_ne_bytes());
                body.extend_from_slice(&[0; 4]);
                body.extend_from_slice(name);
                body.push(0);
                (code::INVAL_ENTRY, body)
            }
            Self::Inode {
                node,
                offset,
                length,
            } => {
                let mut body = node.to_ne_bytes().to_vec();
                body.extend_from_slice(&offset.to_ne_bytes());
                body.extend_from_slice(&length.to_ne_bytes());
                (code::INVAL_INODE, body)
            }
            Self::Resend => (code::RESEND, Vec::new()),
            Self::Refresh { .. } => return None,
        };
        let mut message = Vec::with_capacity(HEADER_BYTES + body.len());
        message.extend_from_slice(&((HEADER_BYTES + body.len()) as u32).to_ne_bytes());
        message.extend_from_slice(&code.to_ne_bytes());
        // A message that answers no request has no number.
        message.extend_from_slice(&[0; 8]);
        message.extend_from_slice(&body);
        Some(message)
    }
}

/// Tells the kernel through an open device of the mount at `point`. Returns its errno, or 0.
pub fn deliver(device: impl AsFd, point: &Path, notice: &Notice) -> i32 {
    let told = match (notice, notice.message()) {
        (Notice::Refresh { node }, _) => inode_refresh::refresh(point, *node),
        (_, Some(message)) => loop {
            match rustix::io::write(&device, &message) {
                Err(Errno::INTR) => {}
                told => break told.map(drop),
            }
        },
        (_, None) => Ok(()),
    };
    told.map_or_else(Errno::raw_os_error, |()| 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_laid_out_as_the_kernel_wants_them() {
        let entry = Notice::Entry {
            parent: 0x42,
            name: b"abc".to_vec(),
        };
        let expected = [
            &36u32.to_ne_bytes()[..],
            &3i32.to_ne_bytes(),
            &0u64.to_ne_bytes(),
            &0x42u64.to_ne_bytes(),
            &3u32.to_ne_bytes(),
            &[0; 4],
            b"abc\0",
        ]
        .concat();
        assert_eq!(entry.message(), Some(expected));
        let inode = Notice::Inode {
            node: 1,
            offset: -1,
            length: 0,
        };
        assert_eq!(inode.message().map(|message| message.len()), Some(40));
        assert_eq!(
            Notice::Resend.message().map(|message| message.len()),
            Some(16)
        );
        assert_eq!(Notice::Refresh { node: 1 }.message(), None);
    }
}
