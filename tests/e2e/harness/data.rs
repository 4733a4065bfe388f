//! Bytes that can be told apart: every place in a stream has its own, so that a byte lost,
//! doubled or moved is found, and where.

use std::sync::OnceLock;

/// A prime, so that no record or buffer size fits into it.
const PERIOD: usize = 1_048_573;

fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut bytes = Vec::with_capacity(PERIOD + 8);
        while bytes.len() < PERIOD {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bytes.extend_from_slice(&state.to_le_bytes());
        }
        bytes.truncate(PERIOD);
        bytes
    })
}

/// An endless stream, chosen by a seed.
#[derive(Clone)]
pub struct Pattern {
    at: usize,
}

impl Pattern {
    pub fn new(seed: u64) -> Self {
        Pattern {
            at: (seed.wrapping_mul(0x2545_f491_4f6c_dd1d) % PERIOD as u64) as usize,
        }
    }

    /// The next bytes, at most as many as asked for and at least one.
    fn next(&mut self, most: usize) -> &'static [u8] {
        let end = (self.at + most).min(PERIOD);
        let bytes = &noise()[self.at..end];
        self.at = end % PERIOD;
        bytes
    }

    pub fn skip(&mut self, bytes: usize) {
        self.at = (self.at + bytes) % PERIOD;
    }

    pub fn fill(&mut self, mut buffer: &mut [u8]) {
        while !buffer.is_empty() {
            let bytes = self.next(buffer.len());
            buffer[..bytes.len()].copy_from_slice(bytes);
            buffer = &mut buffer[bytes.len()..];
        }
    }
}

pub fn pattern(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Pattern::new(seed).fill(&mut bytes);
    bytes
}

/// Compares a stream with a pattern as it arrives.
pub struct Check {
    pattern: Pattern,
    pub bytes: u64,
}

impl Check {
    pub fn new(seed: u64) -> Self {
        Check {
            pattern: Pattern::new(seed),
            bytes: 0,
        }
    }

    #[track_caller]
    pub fn feed(&mut self, mut received: &[u8]) {
        while !received.is_empty() {
            let expected = self.pattern.next(received.len());
            let (part, rest) = received.split_at(expected.len());
            if part != expected {
                let wrong = part
                    .iter()
                    .zip(expected)
                    .position(|(a, b)| a != b)
                    .unwrap_or(0);
                panic!(
                    "the byte at {} is not the one that was sent",
                    self.bytes + wrong as u64
                );
            }
            self.bytes += part.len() as u64;
            received = rest;
        }
    }
}

/// Small numbers that look random and are the same in every run of a seed.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }
}

/// The seeds of the two directions.
pub const UP: u64 = 1;
pub const DOWN: u64 = 2;
