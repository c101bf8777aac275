//! One error for every view; each has a stable code and an errno.

use lockstep_store::StoreError;

/// What every call of this crate answers.
pub(crate) type Result<T> = std::result::Result<T, VfsError>;

/// Why a call failed. The code is API (`docs/ERRORS.md`), the message is not.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VfsError {
    /// A plain file-system answer.
    #[error("{0}")]
    Errno(Errno),
    /// The engine failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

macro_rules! errnos {
    ($($name:ident = $number:literal, $code:literal, $text:literal;)*) => {
        /// The errno values that file-system calls answer with.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Errno {
            $(#[doc = $text] $name,)*
        }

        impl Errno {
            /// The number on Linux.
            pub fn number(self) -> i32 {
                match self { $(Self::$name => $number,)* }
            }

            /// The name, as in `errno.h`.
            pub fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }
        }

        impl std::fmt::Display for Errno {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(match self { $(Self::$name => $text,)* })
            }
        }
    };
}

errnos! {
    NotPermitted = 1, "EPERM", "operation not permitted";
    NotFound = 2, "ENOENT", "no such file or directory";
    Io = 5, "EIO", "input/output error";
    BadHandle = 9, "EBADF", "bad file descriptor";
    Access = 13, "EACCES", "permission denied";
    Busy = 16, "EBUSY", "device or resource busy";
    Exists = 17, "EEXIST", "file exists";
    CrossVolume = 18, "EXDEV", "the two paths lie in different volumes";
    NotDirectory = 20, "ENOTDIR", "not a directory";
    IsDirectory = 21, "EISDIR", "is a directory";
    Invalid = 22, "EINVAL", "invalid argument";
    TooLarge = 27, "EFBIG", "file too large";
    NoSpace = 28, "ENOSPC", "no space left on device";
    ReadOnly = 30, "EROFS", "read-only: snapshots never change";
    TooManyLinks = 31, "EMLINK", "too many links";
    Range = 34, "ERANGE", "the buffer is too small";
    NameTooLong = 36, "ENAMETOOLONG", "file name too long";
    NotEmpty = 39, "ENOTEMPTY", "directory not empty";
    LinkLoop = 40, "ELOOP", "too many levels of symbolic links";
    NoData = 61, "ENODATA", "no such attribute";
    NoDevice = 6, "ENXIO", "no such device or address";
    TooBig = 7, "E2BIG", "argument list too long";
    NotSupported = 95, "EOPNOTSUPP", "operation not supported";
    Stale = 116, "ESTALE", "stale file handle";
}

impl From<Errno> for VfsError {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl VfsError {
    /// The stable code: an errno name, or `ERR_LOCKSTEP_*`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Errno(errno) => errno.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// The errno for a mount.
    pub fn errno(&self) -> i32 {
        match self {
            Self::Errno(errno) => errno.number(),
            Self::Store(error) => error.errno(),
        }
    }
}
