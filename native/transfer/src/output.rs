//! The writing side of a connection.

use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

/// Slices that one system call takes at most (`IOV_MAX` is 1024 on the systems we know).
const SLICES_MAX: usize = 512;

/// Writes all of `slices`, in as few system calls as the socket allows.
pub(crate) fn write_all(stream: &mut &TcpStream, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    let mut rest = slices;
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let count = rest.len().min(SLICES_MAX);
        match stream.write_vectored(&rest[..count]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
