//! What an agent says, and what it has heard.

use std::fs;
use std::path::Path;
use std::time::Duration;

use axbridge::prompts::Library;
use media::Codec;
use media::g711::{alaw_to_linear, convert, linear_to_alaw, ulaw_to_linear};
use phone::tone_part;

/// Samples a second.
const RATE: usize = 8_000;
/// What an agent has to say: longer than any call here.
const SPEECH: usize = 60 * RATE;
/// Samples of 100 ms: whole waves of every tone here.
const WINDOW: usize = 800;
/// How far the length that an agent heard may lie from the one that the call record states: machines are slow, and no
/// agent begins to record, or stops, exactly when the daemon does.
const TOLERANCE: Duration = Duration::from_millis(1_500);

fn tone(hertz: f64) -> impl Fn(usize) -> f64 {
    let step = std::f64::consts::TAU * hertz / RATE as f64;
    move |at| (step * at as f64).sin()
}

/// The two tones of a digit in Hz (ITU-T Q.23).
fn tones_of(digit: char) -> [f64; 2] {
    let place = "123456789*0#".find(digit).unwrap_or_else(|| panic!("{digit} is on no telephone"));
    [[697.0, 770.0, 852.0, 941.0][place / 3], [1_209.0, 1_336.0, 1_477.0][place % 3]]
}

/// What an agent says: digits as tones, if any, after a second of silence, 100 ms each and as far apart; then its own tone.
fn speech(hertz: f64, digits: &str) -> Vec<i16> {
    let mut samples = Vec::with_capacity(SPEECH);
    if !digits.is_empty() {
        samples.resize(RATE, 0);
    }
    for digit in digits.chars() {
        let [low, high] = tones_of(digit).map(tone);
        samples.extend((0..WINDOW).map(|at| (4_000.0 * (low(at) + high(at))) as i16));
        samples.resize(samples.len() + WINDOW, 0);
    }
    let voice = tone(hertz);
    samples.extend((samples.len()..SPEECH).map(|at| (8_000.0 * voice(at)) as i16));
    samples
}

/// Writes what an agent says as a WAV of 16-bit PCM: digits as tones, then a tone.
pub(crate) fn write_wav(path: &Path, hertz: f64, digits: &str) {
    let mut bytes = Vec::with_capacity(44 + 2 * SPEECH);
    let rate = RATE as u32;
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(36 + 2 * SPEECH as u32).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt ");
    bytes.extend_from_slice(&16_u32.to_le_bytes());
    for half in [1_u16, 1] {
        bytes.extend_from_slice(&half.to_le_bytes());
    }
    for word in [rate, 2 * rate] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    for half in [2_u16, 16] {
        bytes.extend_from_slice(&half.to_le_bytes());
    }
    bytes.extend_from_slice(b"data");
    bytes.extend_from_slice(&(2 * SPEECH as u32).to_le_bytes());
    bytes.extend(speech(hertz, digits).into_iter().flat_map(i16::to_le_bytes));
    fs::write(path, bytes).unwrap();
}

/// The same as µ-law without a header.
pub(crate) fn write_ulaw(path: &Path, hertz: f64, digits: &str) {
    let mut bytes: Vec<u8> = speech(hertz, digits).into_iter().map(linear_to_alaw).collect();
    convert(Codec::Pcma, Codec::Pcmu, &mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Reads a WAV of 16-bit PCM, 8,000 Hz, mono, to its end: programs state the length only when they close the file.
/// Nothing where there is no file, or not yet its header.
pub(crate) fn read_wav(path: &Path) -> Vec<i16> {
    let bytes = fs::read(path).unwrap_or_default();
    let Some(data) = bytes.windows(4).position(|word| word == b"data") else { return Vec::new() };
    let format = [1, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x80, 0x3e, 0, 0, 2, 0, 16, 0];
    assert_eq!(bytes.get(20..36), Some(format.as_slice()), "{} is of another format", path.display());
    let samples = bytes.get(data + 8..).unwrap_or_default();
    samples.chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}

/// Reads µ-law without a header.
pub(crate) fn read_ulaw(path: &Path) -> Vec<i16> {
    fs::read(path).unwrap_or_default().into_iter().map(ulaw_to_linear).collect()
}

/// How long samples last.
pub(crate) fn length(samples: &[i16]) -> Duration {
    Duration::from_millis(samples.len() as u64 * 1_000 / RATE as u64)
}

/// Fails unless a party heard the whole hint tone first, nothing of the other party in it, and then the other party alone
/// for as long as the call record says.
pub(crate) fn assert_hint_then_tone(who: &str, heard: &[i16], hertz: f64, joined: Duration) {
    let end = end_of_hint(heard).unwrap_or_else(|why| panic!("{who} did not hear the hint tone: {why}"));
    let (before, after) = heard.split_at(end);
    for window in before.chunks_exact(WINDOW) {
        let part = tone_part(window, hertz);
        assert!(part < 0.3, "{who} hears {part} of the other party before the hint tone is over");
    }
    let time = length(after);
    assert!(time.abs_diff(joined) < TOLERANCE, "{who} heard the other party for {time:?}, not {joined:?}");
    let windows: Vec<f64> = after.chunks_exact(WINDOW).map(|window| tone_part(window, hertz)).collect();
    let good = windows.iter().filter(|part| **part > 0.9).count();
    assert!(good * 10 >= windows.len() * 9, "{who} heard only {good} of {}: {windows:?}", windows.len());
}

/// How long a tone is heard.
pub(crate) fn heard_for(samples: &[i16], hertz: f64) -> Duration {
    let windows = samples.chunks_exact(WINDOW).filter(|window| tone_part(window, hertz) > 0.9);
    Duration::from_millis(100 * windows.count() as u64)
}

/// The tone that both parties must hear before they are joined, as it leaves the daemon.
fn hint_tone() -> Vec<i16> {
    let prompt = Library::new(None).prompt("zh/hint_tone.wav").expect("it is in the default set");
    prompt.alaw.iter().map(|sample| alaw_to_linear(*sample)).collect()
}

/// Where the hint tone ends in what was heard.
///
/// It is compared in pieces: an agent that is told of the answer a moment later than its first packet comes drops that
/// packet, and a jitter buffer may leave out, or repeat, a little.
///
/// # Errors
/// How much of it is there.
fn end_of_hint(heard: &[i16]) -> Result<usize, String> {
    let hint = hint_tone();
    let loudest = hint.chunks_exact(WINDOW).map(energy).max().expect("it is longer");
    let pieces = hint.chunks_exact(WINDOW).enumerate().filter(|(_, piece)| energy(piece) * 20 > loudest);
    let pieces: Vec<(usize, &[i16])> = pieces.map(|(place, piece)| (place * WINDOW, piece)).collect();
    let alike_at = |piece: &[i16], starts: std::ops::Range<usize>| {
        let windows = heard.windows(WINDOW).enumerate().take(starts.end).skip(starts.start);
        let found = windows.map(|(start, window)| (likeness(window, piece), start)).max_by(|a, b| a.0.total_cmp(&b.0));
        found.filter(|(likeness, _)| *likeness > 0.9).map(|(_, start)| start)
    };
    let anchor = pieces.iter().find_map(|(at, piece)| Some((*at, alike_at(piece, 0..heard.len())?)));
    let (at_in_hint, at) = anchor.ok_or_else(|| format!("nothing of it is in {:?}", length(heard)))?;
    let mut found = Vec::new();
    for (place, piece) in &pieces {
        let about = at + place - at_in_hint.min(at + place);
        found
            .extend(alike_at(piece, about.saturating_sub(2 * WINDOW)..about + 2 * WINDOW).map(|start| (start, *place)));
    }
    let in_order = found.is_sorted();
    let (start, place) = *found.last().expect("the anchor is one of them");
    if !in_order || found.len() * 10 < pieces.len() * 8 {
        return Err(format!("{} of {} pieces, in order: {in_order}", found.len(), pieces.len()));
    }
    Ok((start + hint.len() - place).min(heard.len()))
}

fn energy(samples: &[i16]) -> i64 {
    samples.iter().map(|sample| i64::from(*sample).pow(2)).sum()
}

/// The correlation of two sounds: 1 when they are alike, 0 when they have nothing in common.
fn likeness(left: &[i16], right: &[i16]) -> f64 {
    let product: i64 = left.iter().zip(right).map(|(left, right)| i64::from(*left) * i64::from(*right)).sum();
    let energies = energy(left) as f64 * energy(right) as f64;
    if energies == 0.0 { 0.0 } else { product as f64 / energies.sqrt() }
}
