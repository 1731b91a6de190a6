//! Seeded randomness: SipHash-2-4 over a counter, keyed by the seed given from outside.
//!
//! A keyed function and not a plain generator, because a party sees part of the output (SSRC, first sequence number, CNAME)
//! and must not be able to compute from it what the other leg of the call shows: that would tie the two legs together.

/// A sequence of pseudo-random numbers; the same seed gives the same sequence for ever.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    key: [u64; 2],
    counter: u64,
}

impl Random {
    /// Starts the sequence of `seed`.
    pub(crate) const fn new(seed: u64) -> Random {
        Random { key: [seed, seed.rotate_left(32) ^ 0x6178_6272_6964_6765], counter: 0 }
    }

    /// The next 64 bits.
    pub(crate) fn next_u64(&mut self) -> u64 {
        let number = sip_hash(self.key, self.counter);
        self.counter = self.counter.wrapping_add(1);
        number
    }

    /// The next 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        (self.next_u64() >> 32) as u32
    }
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012) of the eight bytes of `message` in little-endian order.
fn sip_hash(key: [u64; 2], message: u64) -> u64 {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    // The second block is the length alone: eight bytes leave no remainder.
    for block in [message, 8 << 56] {
        v[3] ^= block;
        sip_round(&mut v);
        sip_round(&mut v);
        v[0] ^= block;
    }
    v[2] ^= 0xff;
    for _ in 0..4 {
        sip_round(&mut v);
    }
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].wrapping_add(v[3]);
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].wrapping_add(v[1]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_agrees_with_the_vector_of_its_authors() {
        // vectors_sip64[8]: key 00..0f, message 00..07.
        let key = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];
        assert_eq!(sip_hash(key, 0x0706_0504_0302_0100), 0x93f5_f579_9a93_2462);
    }

    #[test]
    #[allow(deprecated)] // std keeps SipHash-2-4 under a deprecated name; as an oracle it is welcome
    fn the_hash_agrees_with_the_standard_library() {
        use std::hash::Hasher as _;
        let mut random = Random::new(7);
        for message in 0..1000 {
            let key = [random.next_u64(), random.next_u64()];
            let mut oracle = std::hash::SipHasher::new_with_keys(key[0], key[1]);
            oracle.write(&u64::to_le_bytes(message));
            assert_eq!(sip_hash(key, message), oracle.finish());
        }
    }

    #[test]
    fn one_seed_gives_one_sequence_and_two_seeds_give_two() {
        let sequence = |seed| {
            let mut random = Random::new(seed);
            [(); 8].map(|()| random.next_u64())
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }
}
