//! Time and chance, reached only through here so that a simulation can replace them.

use lockstep_format::Timestamp;

/// The store's source of time and randomness.
pub trait Clock: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Sixteen bytes that nobody else draws.
    fn random(&self) -> [u8; 16];
}

/// The machine's clock and the kernel's random numbers.
#[derive(Debug, Default)]
pub(crate) struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        Timestamp {
            seconds: time.tv_sec,
            nanoseconds: time.tv_nsec as u32,
        }
    }

    fn random(&self) -> [u8; 16] {
        let mut bytes = [0; 16];
        let mut filled = 0;
        while filled < bytes.len() {
            match rustix::rand::getrandom(
                &mut bytes[filled..],
                rustix::rand::GetRandomFlags::empty(),
            ) {
                Ok(count) => filled += count,
                Err(_) => break,
            }
        }
        bytes
    }
}
