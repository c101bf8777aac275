//! Why a transfer ended early; each reason has a stable code and an errno.

use std::io;

use lockstep_vfs::VfsError;

/// Why an operation or the listener failed. The code is API, the message is not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TransferError {
    /// The peer broke the protocol; the words say which rule.
    #[error("protocol violation: {0}")]
    Protocol(&'static str),
    /// A packet's data does not have the checksums sent with it.
    #[error("checksum mismatch in packet {seqno}")]
    Checksum {
        /// The packet's number.
        seqno: i64,
    },
    /// The file is shorter than the range that was to be sent.
    #[error("the file ends before the range that was asked for")]
    Truncated,
    /// An argument lies outside what is supported; the words say which.
    #[error("invalid argument: {0}")]
    Invalid(&'static str),
    /// The socket failed or timed out.
    #[error(transparent)]
    Socket(#[from] io::Error),
    /// The file could not be read or written.
    #[error(transparent)]
    Vfs(#[from] VfsError),
}

impl TransferError {
    /// Whether bytes on disk are not what was written.
    pub(crate) fn is_damage(&self) -> bool {
        self.code() == "ERR_LOCKSTEP_CORRUPT"
    }

    /// The stable code: an errno name, or `ERR_LOCKSTEP_*`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Protocol(_) => "EPROTO",
            Self::Checksum { .. } => "EBADMSG",
            Self::Truncated => "ENODATA",
            Self::Invalid(_) => "EINVAL",
            Self::Socket(error) => socket_code(error),
            Self::Vfs(error) => error.code(),
        }
    }

    /// The errno on Linux.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Protocol(_) => 71,
            Self::Checksum { .. } => 74,
            Self::Truncated => 61,
            Self::Invalid(_) => 22,
            Self::Socket(error) => error.raw_os_error().unwrap_or(104),
            Self::Vfs(error) => error.errno(),
        }
    }
}

fn socket_code(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "EADDRINUSE",
        io::ErrorKind::AddrNotAvailable => "EADDRNOTAVAIL",
        io::ErrorKind::PermissionDenied => "EACCES",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "ETIMEDOUT",
        io::ErrorKind::BrokenPipe => "EPIPE",
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => "ECONNRESET",
        io::ErrorKind::InvalidInput => "EINVAL",
        _ => "EIO",
    }
}
