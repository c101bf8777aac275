//! One file: what readers see, what is on the disk for sure, and what is on its way there.

use crate::random::Random;

#[derive(Clone, Debug, Default)]
pub(crate) struct File {
    /// What a reader sees.
    kernel: Vec<u8>,
    /// What is on the disk for sure.
    durable: Vec<u8>,
    /// Written since the last sync.
    pending: Vec<(usize, Vec<u8>)>,
}

fn place(image: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if image.len() < offset + bytes.len() {
        image.resize(offset + bytes.len(), 0);
    }
    image[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl File {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.kernel
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.pending.is_empty()
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        place(&mut self.kernel, offset, bytes);
        self.pending.push((offset, bytes.to_vec()));
    }

    /// What a write through a descriptor does that syncs what it writes (`O_DSYNC`), and nothing else.
    pub(crate) fn sync_range(&mut self, offset: usize, length: usize) {
        let end = offset + length;
        place(&mut self.durable, offset, &self.kernel[offset..end]);
        for (start, old) in std::mem::take(&mut self.pending) {
            // What was on its way to the same bytes cannot arrive after them.
            let before = offset.saturating_sub(start).min(old.len());
            let after = end.saturating_sub(start).min(old.len());
            for (from, to) in [(0, before), (after, old.len())] {
                if from < to {
                    self.pending.push((start + from, old[from..to].to_vec()));
                }
            }
        }
    }

    pub(crate) fn sync(&mut self) {
        for (offset, bytes) in self.pending.drain(..) {
            place(&mut self.durable, offset, &bytes);
        }
        self.durable.resize(self.kernel.len(), 0);
    }

    /// Zeroes a range at once and for good: the worst time for whoever still needs the bytes.
    pub(crate) fn punch(&mut self, offset: usize, length: usize) {
        let zeros = vec![0; length];
        place(&mut self.kernel, offset, &zeros);
        place(&mut self.durable, offset, &zeros);
        self.pending.push((offset, zeros));
    }

    pub(crate) fn resize(&mut self, length: usize) {
        self.kernel.resize(length, 0);
    }

    /// What a power cut leaves, if sectors of `sector_bytes` reach the disk whole or not at all.
    pub(crate) fn cut(&self, random: &mut Random, sector_bytes: usize) -> Self {
        let mut image = self.durable.clone();
        let kept = [0, 50, 90, 100][random.below(4) as usize];
        let mut sectors = Vec::new();
        for (offset, bytes) in &self.pending {
            let mut at = 0;
            while at < bytes.len() {
                let room = sector_bytes - (offset + at) % sector_bytes;
                let end = (at + room).min(bytes.len());
                sectors.push((offset + at, &bytes[at..end]));
                at = end;
            }
        }
        // Any order: a later write of a sector may be lost while an earlier one arrives.
        for index in (1..sectors.len()).rev() {
            if random.chance(30) {
                sectors.swap(index, random.below(index as u64 + 1) as usize);
            }
        }
        for (offset, bytes) in sectors {
            if random.chance(kept) {
                place(&mut image, offset, bytes);
            }
        }
        Self::on_disk(image)
    }

    /// A file that holds `bytes`, all of them durable.
    pub(crate) fn on_disk(bytes: Vec<u8>) -> Self {
        Self {
            kernel: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        }
    }
}
