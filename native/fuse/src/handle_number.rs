//! The numbers by which the kernel speaks of open files: `life << 48 | flags << 40 | number`.
//!
//! Invariant: a number says how its file was opened, so that the next daemon can open it again, and
//! in which daemon's life, so that no two lives give out the same.

const LIFE_SHIFT: u32 = 48;
const FLAGS_SHIFT: u32 = 40;

/// The number of a handle.
pub(crate) fn of(life: u16, flags: u8, number: u64) -> u64 {
    u64::from(life) << LIFE_SHIFT | u64::from(flags) << FLAGS_SHIFT | number
}

/// The life it was given out in.
pub(crate) fn life(handle: u64) -> u16 {
    (handle >> LIFE_SHIFT) as u16
}

/// How it was opened, as [`pack`] made it.
pub(crate) fn flags(handle: u64) -> u8 {
    (handle >> FLAGS_SHIFT) as u8
}

/// What is left: the number within its life.
pub(crate) fn number(handle: u64) -> u64 {
    handle & ((1 << FLAGS_SHIFT) - 1)
}

const APPEND: u8 = 4;
const SYNC: u8 = 8;

/// The flags of `open` that go on to matter, in a byte.
pub(crate) fn pack(flags: i32) -> u8 {
    let append = if flags & libc::O_APPEND == 0 {
        0
    } else {
        APPEND
    };
    let sync = if flags & libc::O_DSYNC == 0 { 0 } else { SYNC };
    (flags & libc::O_ACCMODE) as u8 | append | sync
}

/// The flags of `open` again.
pub(crate) fn unpack(packed: u8) -> i32 {
    let append = if packed & APPEND == 0 {
        0
    } else {
        libc::O_APPEND
    };
    let sync = if packed & SYNC == 0 { 0 } else { libc::O_DSYNC };
    i32::from(packed) & libc::O_ACCMODE | append | sync
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_says_how_and_when_its_file_was_opened() {
        for open in [
            libc::O_RDONLY,
            libc::O_WRONLY | libc::O_APPEND,
            libc::O_RDWR | libc::O_DSYNC,
        ] {
            let handle = of(u16::MAX, pack(open | libc::O_TRUNC | libc::O_CREAT), 77);
            assert_eq!((life(handle), number(handle)), (u16::MAX, 77));
            assert_eq!(unpack(flags(handle)), open);
        }
    }
}
