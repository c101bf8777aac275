//! The reading side of a connection: a small read-ahead over a socket.
//!
//! Invariant: bytes leave in the order they came; big reads go straight into the caller's memory
//! and only what follows them is read ahead, so that a packet costs about one system call.

use std::io::{self, IoSliceMut, Read};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const READ_AHEAD_BYTES: usize = 4096;

/// Buffered input of one connection.
pub(crate) struct Input {
    stream: Arc<TcpStream>,
    ahead: Box<[u8; READ_AHEAD_BYTES]>,
    start: usize,
    end: usize,
}

impl Input {
    pub(crate) fn new(stream: Arc<TcpStream>) -> Self {
        Self {
            stream,
            ahead: Box::new([0; READ_AHEAD_BYTES]),
            start: 0,
            end: 0,
        }
    }

    /// Whether bytes (or the end of the stream) can be read now or within `timeout`.
    pub(crate) fn wait(&self, timeout: Duration) -> io::Result<bool> {
        if self.start < self.end {
            return Ok(true);
        }
        let timeout = Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        let mut descriptors = [PollFd::new(&*self.stream, PollFlags::IN)];
        match poll(&mut descriptors, Some(&timeout)) {
            Ok(ready) => Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }

    pub(crate) fn read_byte(&mut self) -> io::Result<u8> {
        let mut byte = [0];
        self.read_exact(&mut byte)?;
        Ok(byte[0])
    }

    /// Fills `into`; `UnexpectedEof` if the stream ends first.
    pub(crate) fn read_exact(&mut self, into: &mut [u8]) -> io::Result<()> {
        self.read_exact_two(into, &mut [])
    }

    /// Fills `first`, then `second`.
    pub(crate) fn read_exact_two(&mut self, first: &mut [u8], second: &mut [u8]) -> io::Result<()> {
        let split = first.len();
        let total = split + second.len();
        let from_first = self.take_ahead(first);
        let mut filled = from_first
            + if from_first == split {
                self.take_ahead(second)
            } else {
                0
            };
        while filled < total {
            // The read-ahead is empty here: it was drained above, or filled after the last byte.
            let head = &mut first[filled.min(split)..];
            let tail = &mut second[filled.saturating_sub(split)..];
            let wanted = head.len() + tail.len();
            let mut slices = [
                IoSliceMut::new(head),
                IoSliceMut::new(tail),
                IoSliceMut::new(self.ahead.as_mut_slice()),
            ];
            let count = match (&*self.stream).read_vectored(&mut slices) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            filled += count.min(wanted);
            self.start = 0;
            self.end = count.saturating_sub(wanted);
        }
        Ok(())
    }

    fn take_ahead(&mut self, into: &mut [u8]) -> usize {
        let count = into.len().min(self.end - self.start);
        into[..count].copy_from_slice(&self.ahead[self.start..self.start + count]);
        self.start += count;
        count
    }

    /// Throws away what the peer still sends, until it closes, `bytes_max` came or `time` passed;
    /// closing with unread input would reset the connection and lose our last answer.
    pub(crate) fn drain(&mut self, bytes_max: usize, time: Duration) {
        let deadline = std::time::Instant::now() + time;
        let mut scratch = vec![0; 64 << 10];
        let mut total = self.end - self.start;
        self.start = self.end;
        while total < bytes_max {
            let left = deadline.saturating_duration_since(std::time::Instant::now());
            if left.is_zero() || !self.wait(left).unwrap_or(false) {
                return;
            }
            match (&*self.stream).read(&mut scratch) {
                Ok(0) | Err(_) => return,
                Ok(count) => total += count,
            }
        }
    }
}
