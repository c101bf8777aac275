//! What a daemon writes down for the next one: which names the offsets of open directories follow.
//!
//! The file lives in memory and is kept by the holder. It has two halves, filled in turn, so the
//! last megabytes of notes are always there; what is older is lost.
//!
//! Invariants:
//! - A note is counted in the head only after it was written: a daemon may be killed at any point.
//! - What is read is checked: it never makes a reader panic or take memory without bound.

use crate::directory::Positions;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use rustix::fs::MemfdFlags;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

const HEAD_BYTES: u64 = 12;
const HALF_BYTES: u64 = 2 << 20;
/// Handle, offset, whether reading starts anew, length of the name.
const NOTE_BYTES: usize = 8 + 8 + 1 + 2;

/// Which half is being filled, and how far each is.
#[derive(Clone, Copy, Default)]
struct Head {
    active: usize,
    used: [u32; 2],
}

impl Head {
    fn encode(self) -> [u8; HEAD_BYTES as usize] {
        let mut bytes = [0; HEAD_BYTES as usize];
        bytes[..4].copy_from_slice(&(self.active as u32).to_le_bytes());
        bytes[4..8].copy_from_slice(&self.used[0].to_le_bytes());
        bytes[8..].copy_from_slice(&self.used[1].to_le_bytes());
        bytes
    }

    fn decode(bytes: [u8; HEAD_BYTES as usize]) -> Self {
        let number = |at: usize| {
            let mut number = [0; 4];
            number.copy_from_slice(&bytes[at..at + 4]);
            u32::from_le_bytes(number)
        };
        let used = [number(4), number(8)].map(|used| used.min(HALF_BYTES as u32));
        Self {
            active: number(0) as usize % 2,
            used,
        }
    }

    fn start(half: usize) -> u64 {
        HEAD_BYTES + half as u64 * HALF_BYTES
    }
}

/// The notes of a mount.
pub(crate) struct Recall {
    file: File,
    head: Mutex<Head>,
}

impl Recall {
    /// An empty file for [`Recall::open`].
    pub(crate) fn create() -> io::Result<OwnedFd> {
        Ok(rustix::fs::memfd_create("lockstep", MemfdFlags::CLOEXEC)?)
    }

    /// Goes on writing where the daemon before ended; with its notes.
    pub(crate) fn open(memory: OwnedFd) -> io::Result<(Self, FxHashMap<u64, Positions>)> {
        let file = File::from(memory);
        let mut bytes = [0; HEAD_BYTES as usize];
        if file.metadata()?.len() >= HEAD_BYTES {
            file.read_exact_at(&mut bytes, 0)?;
        }
        let head = Head::decode(bytes);
        let mut positions = FxHashMap::default();
        for half in [1 - head.active, head.active] {
            let mut notes = vec![0; head.used[half] as usize];
            file.read_exact_at(&mut notes, Head::start(half))?;
            read_notes(&notes, &mut positions);
        }
        let head = Mutex::new(head);
        Ok((Self { file, head }, positions))
    }

    /// Writes down what was given out of a directory since the last time.
    ///
    /// # Errors
    /// The notes are not written; the positions are lost to the next daemon.
    pub(crate) fn note(&self, handle: u64, positions: &mut Positions) -> io::Result<()> {
        let mut notes = Vec::new();
        for (offset, name, starts) in positions.take_unnoted() {
            notes.extend_from_slice(&handle.to_le_bytes());
            notes.extend_from_slice(&offset.to_le_bytes());
            notes.push(u8::from(starts));
            notes.extend_from_slice(&(name.len() as u16).to_le_bytes());
            notes.extend_from_slice(name);
        }
        if notes.is_empty() || notes.len() as u64 > HALF_BYTES {
            return Ok(());
        }
        let mut head = self.head.lock();
        let mut next = *head;
        if u64::from(next.used[next.active]) + notes.len() as u64 > HALF_BYTES {
            next.active = 1 - next.active;
            next.used[next.active] = 0;
            self.file.write_all_at(&next.encode(), 0)?;
        }
        let at = Head::start(next.active) + u64::from(next.used[next.active]);
        self.file.write_all_at(&notes, at)?;
        next.used[next.active] += notes.len() as u32;
        self.file.write_all_at(&next.encode(), 0)?;
        *head = next;
        Ok(())
    }
}

fn read_notes(mut notes: &[u8], into: &mut FxHashMap<u64, Positions>) {
    while let Some((note, rest)) = notes.split_first_chunk::<NOTE_BYTES>() {
        let number = |at: usize| {
            let mut number = [0; 8];
            number.copy_from_slice(&note[at..at + 8]);
            u64::from_le_bytes(number)
        };
        let length = usize::from(u16::from_le_bytes([note[17], note[18]]));
        let Some((name, rest)) = rest.split_at_checked(length) else {
            return;
        };
        let positions = into.entry(number(0)).or_default();
        positions.recall(number(8), name, note[16] != 0);
        notes = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reopen(recall: &Recall) -> (Recall, FxHashMap<u64, Positions>) {
        Recall::open(recall.file.try_clone().unwrap().into()).unwrap()
    }

    #[test]
    fn positions_are_found_again() {
        let (recall, empty) = Recall::open(Recall::create().unwrap()).unwrap();
        assert!(empty.is_empty());
        let mut positions = Positions::default();
        positions.start_after(b"");
        for name in ["a", "b", "c"] {
            positions.give(name.as_bytes());
            recall.note(7, &mut positions).unwrap();
        }
        let (recall, mut found) = reopen(&recall);
        let mut found = found.remove(&7).unwrap();
        assert_eq!(found.next(), positions.next());
        for offset in 0..positions.next() {
            assert_eq!(found.resume(offset), positions.resume(offset));
        }
        // And by the daemon after the next one.
        found.give(b"d");
        recall.note(7, &mut found).unwrap();
        let (_, again) = reopen(&recall);
        assert_eq!(again[&7].resume(found.next() - 1).after, b"d");
        assert_eq!(again[&7].resume(5).after, b"b");
    }

    #[test]
    fn memory_is_bounded_and_the_last_notes_are_there() {
        let (recall, _) = Recall::open(Recall::create().unwrap()).unwrap();
        let mut positions = Positions::default();
        for index in 0..100_000 {
            positions.give(format!("a name of some length {index}").as_bytes());
            recall.note(1, &mut positions).unwrap();
        }
        assert!(recall.file.metadata().unwrap().len() <= HEAD_BYTES + 2 * HALF_BYTES);
        let (_, found) = reopen(&recall);
        let last = positions.next() - 1;
        assert_eq!(found[&1].resume(last), positions.resume(last));
        assert_eq!(found[&1].resume(last - 1000), positions.resume(last - 1000));
    }

    #[test]
    fn garbage_is_no_harm() {
        for fill in [0u8, 1, 0xff] {
            let file = File::from(Recall::create().unwrap());
            file.set_len(HEAD_BYTES + 2 * HALF_BYTES).unwrap();
            file.write_all_at(&[fill; 4096], 0).unwrap();
            Recall::open(file.into()).unwrap();
        }
    }
}
