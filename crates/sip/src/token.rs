//! Tags, branches and Call-IDs: unguessable, and the same for the same seed.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of identifiers that nobody outside can predict (RFC 3261 §19.3 wants 32 bits at least; these have 64).
#[derive(Debug)]
pub struct Tokens {
    rng: ChaCha12Rng,
}

impl Tokens {
    /// The same seed gives the same sequence.
    #[must_use]
    pub fn new(seed: u64) -> Tokens {
        Tokens { rng: ChaCha12Rng::seed_from_u64(seed) }
    }

    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.rng.next_u64()
    }
}

/// Appends a number as hexadecimal digits, `width` of them.
pub fn push_hex(out: &mut Vec<u8>, value: u64, width: usize) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for place in (0..width).rev() {
        let nibble = if place < 16 { (value >> (4 * place)) & 15 } else { 0 };
        out.push(DIGITS[nibble as usize]);
    }
}

/// Reads hexadecimal digits (at most 16 of them, lower case as [`push_hex`] writes them).
#[must_use]
pub fn read_hex(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0_u64, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(nibble))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_goes_there_and_back() {
        for value in [0, 1, 0x1234_5678_9abc_def0, u64::MAX] {
            let mut out = Vec::new();
            push_hex(&mut out, value, 16);
            assert_eq!(read_hex(&out), Some(value));
        }
        assert_eq!(read_hex(b""), None);
        assert_eq!(read_hex(b"12345678901234567"), None);
        assert_eq!(read_hex(b"12G"), None);
        assert_eq!(read_hex(b"AB"), None, "we write lower case, so upper case is not ours");
    }

    #[test]
    fn a_seed_decides_the_sequence() {
        let draw = |seed| {
            let mut t = Tokens::new(seed);
            [t.draw(), t.draw()]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
