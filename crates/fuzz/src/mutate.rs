//! Mutations by a seed, for the smoke test.

/// Mutants of some seeds, the same for the same number.
pub struct Mutations<'a> {
    seeds: &'a [Vec<u8>],
    state: u64,
}

/// What has a meaning for one reader or another.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r\n ",
    b"\r\n\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"<",
    b">",
    b",",
    b";",
    b";;",
    b":",
    b"@",
    b"%00",
    b"%",
    b"=",
    b" ",
    b"\t",
    b"0",
    b"-1",
    b"65536",
    b"4294967296",
    b"18446744073709551616",
    b"SIP/2.0",
    b"z9hG4bK",
    b";tag=",
    b";branch=",
    b"Via: ",
    b"Content-Length: ",
    b"l:",
    b"Require: ",
    b"[::1]",
    b"\xff",
    b"\x80",
    b"m=audio 1 RTP/AVP 8",
    b"a=",
    b"c=IN IP4 ",
    b"data",
    b"fmt ",
    b"\x06\0",
    b"+86",
    b"00",
    b"tel:",
];

impl<'a> Mutations<'a> {
    /// Mutants of these.
    #[must_use]
    pub const fn new(seeds: &'a [Vec<u8>], seed: u64) -> Mutations<'a> {
        Mutations { seeds, state: seed ^ 0x9e37_79b9_7f4a_7c15 }
    }

    fn below(&mut self, below: usize) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        (self.state >> 16) as usize % below.max(1)
    }

    /// One byte, word or piece changed, left away, doubled or brought from another seed.
    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.below(bytes.len() + 1);
        let end = (at + 1 + self.below(24)).min(bytes.len());
        let piece: Vec<u8> = match self.below(8) {
            0 => Vec::new(),
            1 => vec![self.below(256) as u8],
            2 | 3 => WORDS[self.below(WORDS.len())].to_vec(),
            4 => bytes[at..end].repeat(1 + self.below(20)),
            5 => bytes[at..end].iter().map(|byte| byte ^ (1 << (at % 8))).collect(),
            _ => {
                let other = &self.seeds[self.below(self.seeds.len())];
                let from = self.below(other.len() + 1);
                let to = (from + 1 + self.below(60)).min(other.len());
                other[from..to].to_vec()
            }
        };
        let cut = if self.below(2) == 0 { at } else { end };
        bytes.splice(at..cut, piece);
        if self.below(40) == 0 {
            bytes.truncate(at);
        }
    }
}

impl Iterator for Mutations<'_> {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let mut bytes = self.seeds[self.below(self.seeds.len())].clone();
        for _ in 0..=self.below(5) {
            self.change(&mut bytes);
        }
        Some(bytes)
    }
}
