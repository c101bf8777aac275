//! Inputs that are almost right: parts of the corpus, bent where decoders are weak.

/// A sequence of numbers that its seed decides (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.draw() % end.max(1) as u64) as usize
    }

    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        start..start + self.below((length - start).min(64) + 1)
    }
}

/// Values at which lengths and numbers overflow, wrap or exceed a limit.
const EXTREMES: [u64; 14] = [
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0xffff,
    1 << 20,
    (1 << 20) + 1,
    (1 << 24) - 1,
    1 << 31,
    u32::MAX as u64,
    1 << 39,
    i64::MAX as u64,
    u64::MAX,
];

/// Longest input that is made.
const INPUT_BYTES_MAX: usize = 64 << 10;

/// A member of `corpus` with one to four changes.
pub fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        change(random, &mut input, corpus);
    }
    input.truncate(INPUT_BYTES_MAX);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.below(input.len());
    match random.below(8) {
        0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        1 if !input.is_empty() => input[at] = random.draw() as u8,
        2 => input.truncate(at),
        3 => drop(input.drain(random.range(input.len()))),
        4 => {
            let copy = input[random.range(input.len())].to_vec();
            drop(input.splice(at..at, copy));
        }
        5 => {
            let other = &corpus[random.below(corpus.len())];
            input.truncate(at);
            input.extend_from_slice(&other[random.below(other.len() + 1)..]);
        }
        6 => {
            let value = EXTREMES[random.below(EXTREMES.len())];
            let (little, big) = (value.to_le_bytes(), value.to_be_bytes());
            let width = [1, 2, 4, 8][random.below(4)];
            let bytes = if random.below(2) == 0 {
                &little[..width]
            } else {
                &big[8 - width..]
            };
            let end = (at + width).min(input.len());
            drop(input.splice(at..end, bytes.iter().copied()));
        }
        _ => {
            let value = EXTREMES[random.below(EXTREMES.len())];
            let bytes = lockstep_format::Encoder::new().varint(value).finish();
            let end = (at + random.below(3)).min(input.len());
            drop(input.splice(at..end, bytes));
        }
    }
}
