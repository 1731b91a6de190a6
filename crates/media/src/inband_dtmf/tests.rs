//! A keypad on a line, in simulated time: what it plays, how it is spoilt, and what is heard of it.

use super::*;
use crate::random::Random;
use audio_codec_algorithms::{encode_alaw, encode_ulaw};
use std::f64::consts::TAU;

const LAWS: [Codec; 2] = [Codec::Pcma, Codec::Pcmu];
const KEYS: &str = "123A456B789C*0#D";

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// How a keypad plays.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pad {
    /// Of the low and of the high tone, in dBm0.
    pub(crate) level: [f64; 2],
    /// By which part of its frequency each is out of tune.
    pub(crate) out: [f64; 2],
}

impl Pad {
    pub(crate) const PLAIN: Pad = Pad { level: [-9.0, -7.0], out: [0.0, 0.0] };
}

/// The peak of a sine of so many dBm0, as a 16-bit sample. Full scale is 3.14 dBm0.
fn peak(dbm0: f64) -> f64 {
    32_256.0 * 10_f64.powf((dbm0 - 3.14) / 20.0)
}

/// What is on a line, sample by sample.
#[derive(Clone, Default)]
pub(crate) struct Line(pub(crate) Vec<f64>);

impl Line {
    pub(crate) fn silence(&mut self, samples: usize) {
        self.0.resize(self.0.len() + samples, 0.0);
    }

    /// So many samples of tones, each with its frequency in Hz, its level in dBm0 and its phase in turns.
    fn tones(&mut self, samples: usize, tones: &[(f64, f64, f64)]) {
        let begun = self.0.len();
        self.silence(samples);
        for (frequency, level, phase) in tones {
            // A rotation, since a sine for every sample takes most of the time of a test.
            let (step_im, step_re) = (frequency / RATE * TAU).sin_cos();
            let (mut im, mut re) = (phase * TAU).sin_cos();
            for sample in &mut self.0[begun..] {
                *sample += im * peak(*level);
                (re, im) = (re * step_re - im * step_im, re * step_im + im * step_re);
            }
        }
    }

    pub(crate) fn press(&mut self, random: &mut Random, key: char, samples: usize, pad: Pad) {
        let place = KEYS.find(key).unwrap();
        let frequency = [FREQUENCIES[place / 4], FREQUENCIES[4 + place % 4]];
        let tone = |group: usize, phase: f64| (frequency[group] * (1.0 + pad.out[group]), pad.level[group], phase);
        let phases = [uniform(random), uniform(random)];
        self.tones(samples, &[tone(0, phases[0]), tone(1, phases[1])]);
    }

    /// White noise over all of it, in dBm0.
    pub(crate) fn noise(&mut self, random: &mut Random, dbm0: f64) {
        // Four uniform numbers are normal enough; the sum of four in ±1/2 has a third of a square.
        let factor = peak(dbm0) / 2_f64.sqrt() * 3_f64.sqrt();
        let mut state = random.next_u64() | 1;
        for sample in &mut self.0 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let parts = [state, state >> 16, state >> 32, state >> 48].map(|part| f64::from(part as u16) / 65_536.0);
            *sample += (parts.iter().sum::<f64>() - 2.0) * factor;
        }
    }

    pub(crate) fn encode(&self, codec: Codec) -> Vec<u8> {
        let encode = match codec {
            Codec::Pcma => encode_alaw,
            Codec::Pcmu => encode_ulaw,
        };
        self.0.iter().map(|sample| encode(sample.round() as i16)).collect()
    }
}

/// From 0 to 1.
pub(crate) fn uniform(random: &mut Random) -> f64 {
    f64::from(random.next_u32()) / 4_294_967_296.0
}

/// Power of a pad's two tones together less so many dB, in dBm0.
pub(crate) fn below(pad: Pad, db: f64) -> f64 {
    10.0 * (10_f64.powf(pad.level[0] / 10.0) + 10_f64.powf(pad.level[1] / 10.0)).log10() - db
}

fn header(number: u16, timestamp: u32) -> Header {
    Header { payload_type: 8, marker: false, sequence_number: number, timestamp, ssrc: 1 }
}

/// Whoever listens, and what was heard: keys at their press, a dot at each release.
struct Ear {
    tones: Tones,
    heard: String,
    now: Duration,
}

impl Ear {
    fn new() -> Ear {
        Ear { tones: Tones::new(None), heard: String::new(), now: Duration::ZERO }
    }

    fn packet(&mut self, codec: Codec, header: Header, payload: &[u8]) {
        self.tones.on_audio(self.now, &header, codec, payload);
        self.poll();
    }

    fn poll(&mut self) {
        while let Some(note) = self.tones.poll() {
            self.heard.push(match note {
                Note::Pressed(digit) => digit.reveal(),
                Note::Released => '.',
                Note::Whole(..) => panic!("tones are told as they are pressed"),
            });
        }
    }

    /// Nothing comes until then.
    fn pass(&mut self, until: Duration) {
        while let Some(due) = self.tones.poll_timeout().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.tones.on_timeout(self.now);
            self.poll();
        }
        self.now = until;
    }
}

/// What is heard of a line in packets of so many samples.
fn hear_in(codec: Codec, line: &Line, length: usize) -> String {
    let mut ear = Ear::new();
    for (number, payload) in line.encode(codec).chunks(length).enumerate() {
        // Both numbers wrap within every test.
        let timestamp = ((number * length) as u32).wrapping_sub(1000);
        ear.pass(ms((number * length) as u64 / 8));
        ear.packet(codec, header((number as u16).wrapping_sub(3), timestamp), payload);
    }
    ear.heard
}

fn hear(codec: Codec, line: &Line) -> String {
    hear_in(codec, line, 160)
}

/// Every key once, in a line of its own rhythm.
fn all_keys(random: &mut Random, tone: usize, pause: usize, pad: Pad) -> Line {
    let mut line = Line::default();
    line.silence(random.next_u32() as usize % 400);
    for key in KEYS.chars() {
        line.press(random, key, tone, pad);
        line.silence(pause);
    }
    line.silence(400);
    line
}

fn once_each() -> String {
    KEYS.chars().flat_map(|key| [key, '.']).collect()
}

/// Pads at the borders of what Q.24 has everybody take: each tone in and out of tune, levels, twist.
fn borders() -> Vec<Pad> {
    let mut pads = Vec::new();
    for low in [-0.015, 0.0, 0.015] {
        for high in [-0.015, 0.0, 0.015] {
            for level in [[-3.0, -3.0], [-3.0, -11.0], [-7.0, -3.0], [-20.0, -20.0], [-28.0, -36.0], [-36.0, -32.0]] {
                pads.push(Pad { level, out: [low, high] });
            }
        }
    }
    pads
}

#[test]
fn explore() {
    for codec in LAWS {
        for noise in [None, Some(20.0), Some(15.0), Some(12.0), Some(10.0), Some(8.0)] {
            for tone in [18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40, 45, 50] {
                let (mut found, mut all, mut wrong) = (0, 0, 0);
                for (seed, pad) in borders().into_iter().enumerate() {
                    let mut random = Random::new(seed as u64);
                    let mut line = all_keys(&mut random, tone * 8, 320, pad);
                    if let Some(db) = noise {
                        line.noise(&mut random, below(pad, db));
                    }
                    let heard = hear(codec, &line);
                    found += heard.chars().filter(|c| *c != '.').count();
                    all += 16;
                    wrong += usize::from(tone >= 40 && heard != once_each());
                }
                println!("{codec:?} {noise:?} {tone} ms: {found} of {all}, {wrong} lines wrong");
            }
        }
    }
}
