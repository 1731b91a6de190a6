//! Recordings: is it a WAV file, and who is in it?

use std::path::Path;

use media::g711::alaw_to_linear;
use phone::tone_part;

use super::{VOICE_OF_A, VOICE_OF_B};

/// Bytes before the samples.
pub(crate) const HEADER: usize = 58;

/// Samples of 100 ms: whole waves of both voices, so that neither shows in the other's place.
const WINDOW: usize = 800;

/// Reads a file as a player does that knows RIFF and nothing of us: the samples that its header states.
///
/// # Errors
/// What is wrong with it, in words.
pub(crate) fn read(bytes: &[u8]) -> Result<&[u8], String> {
    let number = |at: usize, length: usize| {
        let bytes = bytes.get(at..at + length)?;
        Some(bytes.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte)))
    };
    let expect = |what: &str, found: Option<usize>, wanted: usize| match found {
        Some(found) if found == wanted => Ok(()),
        found => Err(format!("{what} is {found:?}, not {wanted}")),
    };
    for (at, word) in [(0, "RIFF"), (8, "WAVEfmt "), (38, "fact"), (50, "data")] {
        if bytes.get(at..at + word.len()) != Some(word.as_bytes()) {
            return Err(format!("no {word:?} at {at}, {} bytes", bytes.len()));
        }
    }
    let samples = number(54, 4).unwrap_or(0);
    expect("length of fmt", number(16, 4), 18)?;
    expect("format", number(20, 2), 6)?;
    expect("channels", number(22, 2), 1)?;
    expect("rate", number(24, 4), 8_000)?;
    expect("bytes a second", number(28, 4), 8_000)?;
    expect("bytes a sample", number(32, 2), 1)?;
    expect("bits a sample", number(34, 2), 8)?;
    expect("samples in fact", number(46, 4), samples)?;
    expect("length of RIFF", number(4, 4), HEADER - 8 + samples + samples % 2)?;
    bytes.get(HEADER..HEADER + samples).ok_or_else(|| format!("{samples} samples stated, {} bytes", bytes.len()))
}

/// Reads a recording that is whole: nothing comes after what is stated.
pub(crate) fn read_whole(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let samples = read(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert_eq!(bytes.len(), HEADER + samples.len() + samples.len() % 2, "{}", path.display());
    samples.to_vec()
}

/// Who is in a recording, in parts of its time.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Voices {
    /// Both at once.
    pub(crate) both: f64,
    /// Something else at a loudness that can be heard.
    pub(crate) alien: f64,
}

/// Listens to A-law samples for two voices, in Hz.
pub(crate) fn voices(alaw: &[u8], hertz: [f64; 2]) -> Voices {
    let (mut both, mut alien, mut windows) = (0.0, 0.0, 0.0);
    for window in alaw.chunks_exact(WINDOW) {
        let linear: Vec<i16> = window.iter().map(|sample| alaw_to_linear(*sample)).collect();
        let power = linear.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / WINDOW as f64;
        let parts = hertz.map(|hertz| tone_part(&linear, hertz));
        windows += 1.0;
        if parts.iter().all(|part| *part > 0.3) {
            both += 1.0;
        }
        // What the two voices do not explain: a lost packet spreads them a little, another sound fills it.
        if power * (1.0 - parts[0] - parts[1]) > 1_000_000.0 {
            alien += 1.0;
        }
    }
    Voices { both: both / windows, alien: alien / windows }
}

/// Fails unless the voices of the phones are in it throughout, and nothing else.
pub(crate) fn assert_both_voices(alaw: &[u8]) {
    assert_both(alaw, [VOICE_OF_A, VOICE_OF_B]);
}

/// The same for two voices in Hz.
pub(crate) fn assert_both(alaw: &[u8], hertz: [f64; 2]) {
    let voices = voices(alaw, hertz);
    assert!(voices.both > 0.9 && voices.alien < 0.1, "{voices:?} in {} samples", alaw.len());
}
