//! G.711: A-law and µ-law, sample by sample through tables (ITU-T G.711; RFC 3551 §4.5.14).
//!
//! ```text
//!   A-law ──256──▶ linear 16 bit ──4,096──▶ A-law          the recorder mixes in between
//!     ▲ └──256──▶ µ-law                                    what a packet needs when the legs differ
//!     └───256────── µ-law
//! ```
//!
//! The 256-entry tables are those of `audio-codec-algorithms`, bit-exact with the ITU reference. Encoding through 4,096
//! entries is ours: A-law keeps 12 bits of the sign-and-magnitude value, so the low four bits of a sample never matter.

use crate::Codec;
use audio_codec_algorithms::{convert_alaw_to_ulaw, convert_ulaw_to_alaw, decode_alaw, decode_ulaw};

/// A-law's quietest positive value: silence.
pub const SILENCE_ALAW: u8 = 0xd5;

/// µ-law's zero: silence.
pub const SILENCE_ULAW: u8 = 0xff;

/// A-law of every linear value, indexed by its upper 12 bits read as unsigned.
static LINEAR_TO_ALAW: [u8; 4096] = linear_to_alaw_table();

/// The linear value of an A-law sample, ±32,256.
#[inline]
#[must_use]
pub fn alaw_to_linear(sample: u8) -> i16 {
    decode_alaw(sample)
}

/// The linear value of a µ-law sample, ±32,124.
#[inline]
#[must_use]
pub fn ulaw_to_linear(sample: u8) -> i16 {
    decode_ulaw(sample)
}

/// The linear value of a sample in either law.
#[inline]
#[must_use]
pub fn to_linear(codec: Codec, sample: u8) -> i16 {
    match codec {
        Codec::Pcma => alaw_to_linear(sample),
        Codec::Pcmu => ulaw_to_linear(sample),
    }
}

/// The A-law sample of a linear value.
#[inline]
#[must_use]
pub fn linear_to_alaw(sample: i16) -> u8 {
    LINEAR_TO_ALAW[usize::from(sample as u16 >> 4)]
}

/// Converts samples in place from one law to the other; nothing happens when they are the same.
pub fn convert(from: Codec, to: Codec, samples: &mut [u8]) {
    match (from, to) {
        (Codec::Pcma, Codec::Pcma) | (Codec::Pcmu, Codec::Pcmu) => {}
        (Codec::Pcma, Codec::Pcmu) => samples.iter_mut().for_each(|sample| *sample = convert_alaw_to_ulaw(*sample)),
        (Codec::Pcmu, Codec::Pcma) => samples.iter_mut().for_each(|sample| *sample = convert_ulaw_to_alaw(*sample)),
    }
}

const fn linear_to_alaw_table() -> [u8; 4096] {
    let mut table = [0; 4096];
    let mut index = 0;
    while index < table.len() {
        // Back to a signed 12-bit value: the upper half of the index is negative.
        let negative = index >= 2048;
        let magnitude = if negative { 4095 - index } else { index } as u16;
        table[index] = alaw_of_magnitude(magnitude) ^ if negative { 0x55 } else { 0xd5 };
        index += 1;
    }
    table
}

/// Segment and step of an 11-bit magnitude, before the sign and the even-bit inversion (G.711 table 1).
const fn alaw_of_magnitude(magnitude: u16) -> u8 {
    // The first two segments have the same step, which is 16 magnitudes long; each next one doubles both.
    let segment = (magnitude | 0xf).ilog2() - 3;
    let step = magnitude >> if segment < 2 { 0 } else { segment - 1 };
    ((segment as u8) << 4) | (step as u8 & 0xf)
}

#[cfg(test)]
mod tests {
    use super::*;
    use audio_codec_algorithms::encode_alaw;

    #[test]
    fn every_linear_value_encodes_as_the_reference_does() {
        for sample in i16::MIN..=i16::MAX {
            assert_eq!(linear_to_alaw(sample), encode_alaw(sample), "{sample}");
        }
    }

    #[test]
    fn every_alaw_sample_survives_linear_and_back() {
        for sample in 0..=u8::MAX {
            assert_eq!(linear_to_alaw(alaw_to_linear(sample)), sample);
        }
    }

    #[test]
    fn every_sample_converts_and_decodes_as_the_reference_does() {
        for sample in 0..=u8::MAX {
            let mut one = [sample];
            convert(Codec::Pcma, Codec::Pcmu, &mut one);
            assert_eq!(one, [convert_alaw_to_ulaw(sample)]);
            let mut one = [sample];
            convert(Codec::Pcmu, Codec::Pcma, &mut one);
            assert_eq!(one, [convert_ulaw_to_alaw(sample)]);
            assert_eq!(to_linear(Codec::Pcma, sample), decode_alaw(sample));
            assert_eq!(to_linear(Codec::Pcmu, sample), decode_ulaw(sample));
        }
    }

    #[test]
    fn conversion_keeps_the_loudness_within_one_quantisation_step() {
        for sample in 0..=u8::MAX {
            let mut one = [sample];
            convert(Codec::Pcma, Codec::Pcmu, &mut one);
            let (before, after) = (i32::from(alaw_to_linear(sample)), i32::from(ulaw_to_linear(one[0])));
            assert!((before - after).abs() <= 64 + before.abs() / 16, "{before} became {after}");
        }
    }

    #[test]
    fn the_same_law_is_left_alone() {
        let every: Vec<u8> = (0..=u8::MAX).collect();
        for codec in [Codec::Pcma, Codec::Pcmu] {
            let mut samples = every.clone();
            convert(codec, codec, &mut samples);
            assert_eq!(samples, every);
        }
    }

    #[test]
    fn silence_is_silent_in_both_laws_and_converts() {
        assert_eq!(alaw_to_linear(SILENCE_ALAW), 8);
        assert_eq!(ulaw_to_linear(SILENCE_ULAW), 0);
        let mut one = [SILENCE_ALAW];
        convert(Codec::Pcma, Codec::Pcmu, &mut one);
        assert_eq!(ulaw_to_linear(one[0]).abs(), 8);
    }
}
