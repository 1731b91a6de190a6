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

/// The peak of a sine of so many dBm0, as a 16-bit sample. Full scale is 3.14 dBm0 (G.711).
fn peak(dbm0: f64) -> f64 {
    32_256.0 / 10_f64.powf(0.157) * 10_f64.powf(dbm0 / 20.0)
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
        for _ in 0..10 {
            let Some(due) = self.tones.poll_timeout().filter(|due| *due <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(due);
            self.tones.on_timeout(self.now);
            self.poll();
        }
        panic!("it does not come to rest");
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

// ---- Q.24 -----------------------------------------------------------------------------------------------------------

#[test]
fn every_key_is_found_in_both_laws_and_at_any_packet_time() {
    for codec in LAWS {
        for length in [80, 160, 240, 320, 480, 33, 1] {
            for seed in 0..4 {
                let line = all_keys(&mut Random::new(seed), 320, 320, Pad::PLAIN);
                assert_eq!(hear_in(codec, &line, length), once_each(), "{codec:?}, {length} samples, seed {seed}");
            }
        }
    }
}

#[test]
fn forty_milliseconds_are_found_at_every_border_and_twenty_are_not() {
    for codec in LAWS {
        for (seed, pad) in borders().into_iter().enumerate() {
            for noise in [None, Some(20.0)] {
                for (tone, expected) in [(160, String::new()), (320, once_each()), (960, once_each())] {
                    let mut random = Random::new(seed as u64);
                    let mut line = all_keys(&mut random, tone, 320, pad);
                    if let Some(db) = noise {
                        line.noise(&mut random, below(pad, db));
                    }
                    assert_eq!(hear(codec, &line), expected, "{codec:?} {pad:?} {noise:?} {tone} samples, {seed}");
                }
            }
        }
    }
}

#[test]
fn the_place_in_a_packet_does_not_matter() {
    // Every offset within a step of the windows.
    for offset in 0..40 {
        for (tone, pause, expected) in [(320, 320, "5.5."), (160, 320, ""), (320, 80, "5."), (160, 80, "5.")] {
            let mut line = Line::default();
            line.silence(200 + offset);
            for _ in 0..2 {
                line.press(&mut Random::new(offset as u64), '5', tone, Pad::PLAIN);
                line.silence(pause);
            }
            line.silence(400);
            let heard = hear(Codec::Pcma, &line);
            if (tone, pause) == (160, 80) {
                // 20 ms, 10 ms of interruption, 20 ms: Q.24 leaves open whether that is a digit. It is at most one.
                assert!(heard.is_empty() || heard == expected, "{heard}");
            } else {
                assert_eq!(heard, expected, "{tone} and {pause} samples at {offset}");
            }
        }
    }
}

#[test]
fn an_interruption_of_ten_milliseconds_is_none_and_a_pause_of_forty_is_one() {
    for codec in LAWS {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let key = KEYS.as_bytes()[seed as usize % 16] as char;
            let mut line = Line::default();
            line.silence(random.next_u32() as usize % 200);
            for pause in [80, 40, 80, 320] {
                line.press(&mut random, key, 320, Pad::PLAIN);
                line.silence(pause);
            }
            line.press(&mut random, key, 320, Pad::PLAIN);
            line.silence(400);
            line.noise(&mut random, below(Pad::PLAIN, 20.0));
            assert_eq!(hear(codec, &line), format!("{key}.{key}."), "{codec:?} {seed}");
        }
    }
}

#[test]
fn digits_without_a_pause_between_them_are_told_apart() {
    let mut random = Random::new(1);
    let mut line = Line::default();
    for key in "1234567890".chars() {
        line.press(&mut random, key, 480, Pad::PLAIN);
    }
    line.silence(400);
    assert_eq!(hear(Codec::Pcma, &line), "1.2.3.4.5.6.7.8.9.0.");
}

#[test]
fn a_tone_that_is_three_and_a_half_per_cent_out_of_tune_is_no_digit() {
    for codec in LAWS {
        for (seed, out) in [0.035, 0.04, 0.05, 0.06, 0.08, 0.1].into_iter().enumerate() {
            for out in [out, -out] {
                for out in [[out, 0.0], [0.0, out], [out, out], [out, -out]] {
                    for noise in [None, Some(20.0)] {
                        let pad = Pad { out, ..Pad::PLAIN };
                        let mut random = Random::new(seed as u64);
                        let mut line = all_keys(&mut random, 1600, 320, pad);
                        if let Some(db) = noise {
                            line.noise(&mut random, below(pad, db));
                        }
                        // 10 % above one tone is the next one.
                        let heard = hear(codec, &line);
                        let is_another = out.iter().any(|out| out.abs() > 0.07);
                        assert!(heard.is_empty() || is_another, "{codec:?} {out:?} {noise:?}: {heard}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_tone_that_is_much_weaker_than_the_other_is_no_digit() {
    for codec in LAWS {
        for level in [[-5.0, -17.0], [-13.0, -5.0], [-20.0, -60.0], [-60.0, -20.0]] {
            let line = all_keys(&mut Random::new(6), 800, 320, Pad { level, ..Pad::PLAIN });
            assert_eq!(hear(codec, &line), "", "{codec:?} {level:?}");
        }
    }
}

#[test]
fn what_is_as_soft_as_crosstalk_is_no_digit() {
    for codec in LAWS {
        let pad = Pad { level: [-50.0, -50.0], ..Pad::PLAIN };
        assert_eq!(hear(codec, &all_keys(&mut Random::new(6), 800, 320, pad)), "");
    }
}

#[test]
fn tones_of_the_network_single_tones_noise_and_silence_are_no_digit() {
    // Dial tones, ringback, busy, special information, fax, of several countries; each tone of a keypad alone; two of a row.
    let tones: [&[f64]; 25] = [
        &[],
        &[350.0, 440.0],
        &[425.0],
        &[450.0],
        &[440.0, 480.0],
        &[480.0, 620.0],
        &[400.0, 450.0],
        &[950.0],
        &[1400.0],
        &[1800.0],
        &[1100.0],
        &[2100.0],
        &[1300.0, 2100.0],
        &[697.0],
        &[770.0],
        &[852.0],
        &[941.0],
        &[1209.0],
        &[1336.0],
        &[1477.0],
        &[1633.0],
        &[697.0, 770.0],
        &[1209.0, 1477.0],
        // A third tone beside those of a key, and the second harmonics of a voice.
        &[770.0, 1336.0, 2000.0],
        &[697.0, 1209.0, 1394.0, 2418.0],
    ];
    for codec in LAWS {
        for tones in tones {
            let mut line = Line::default();
            for _ in 0..20 {
                let tones: Vec<(f64, f64, f64)> = tones.iter().map(|tone| (*tone, -12.0, 0.0)).collect();
                line.tones(1600, &tones);
                line.silence(800);
            }
            assert_eq!(hear(codec, &line), "", "{codec:?} {tones:?}");
            let mut random = Random::new(8);
            line.noise(&mut random, -25.0);
            assert_eq!(hear(codec, &line), "", "{codec:?} {tones:?} and noise");
        }
        let mut line = Line::default();
        line.silence(8000 * 60);
        line.noise(&mut Random::new(9), -10.0);
        assert_eq!(hear(codec, &line), "", "a minute of noise");
    }
}

// ---- the network ----------------------------------------------------------------------------------------------------

/// Packets of 20 ms, each with its number and timestamp.
fn packets(line: &Line) -> Vec<(Header, Vec<u8>)> {
    let audio = line.encode(Codec::Pcma);
    let chunks = audio.chunks(160).enumerate();
    chunks.map(|(number, payload)| (header(number as u16, number as u32 * 160), payload.to_vec())).collect()
}

/// What is heard when they come on time.
fn hear_packets(packets: &[(Header, Vec<u8>)]) -> String {
    let mut ear = Ear::new();
    for (header, payload) in packets {
        ear.pass(ms(u64::from(header.timestamp) / 8));
        ear.packet(Codec::Pcma, *header, payload);
    }
    ear.pass(ear.now + ms(1000));
    ear.heard
}

/// Two equal digits of 200 ms, the first one from packet 5 to 14, and so many packets between them.
fn two(pause: usize) -> Vec<(Header, Vec<u8>)> {
    let mut random = Random::new(12);
    let mut line = Line::default();
    line.silence(800);
    line.press(&mut random, '9', 1600, Pad::PLAIN);
    line.silence(160 * pause);
    line.press(&mut random, '9', 1600, Pad::PLAIN);
    line.silence(800);
    packets(&line)
}

fn without(packets: &[(Header, Vec<u8>)], lost: impl IntoIterator<Item = usize>) -> Vec<(Header, Vec<u8>)> {
    let lost: Vec<usize> = lost.into_iter().collect();
    let kept = packets.iter().enumerate().filter(|(place, _)| !lost.contains(place));
    kept.map(|(_, packet)| packet.clone()).collect()
}

#[test]
fn a_packet_that_is_lost_within_a_tone_does_not_make_two_of_it() {
    let sent = two(5);
    for first in 5..15 {
        // From one packet to 100 ms, and every other one.
        for count in 1..=5 {
            assert_eq!(hear_packets(&without(&sent, first..first + count)), "9.9.", "{count} from {first}");
        }
        assert_eq!(hear_packets(&without(&sent, (first..15).step_by(2))), "9.9.", "every other one from {first}");
    }
}

#[test]
fn a_pause_of_which_something_comes_is_known() {
    // Of five packets of pause all but one are lost.
    let sent = two(5);
    for kept in 15..20 {
        let heard = hear_packets(&without(&sent, (15..20).filter(|place| *place != kept)));
        assert_eq!(heard, "9.9.", "{kept} is there");
    }
    // 60 ms, and any one of them lost.
    let sent = two(3);
    for lost in 13..20 {
        assert_eq!(hear_packets(&without(&sent, [lost])), "9.9.", "{lost} is lost");
    }
}

#[test]
fn a_pause_that_is_lost_whole_is_one_from_a_tenth_of_a_second_on() {
    for pause in 1..12 {
        let heard = hear_packets(&without(&two(pause), 15..15 + pause));
        // Up to there it may as well have been one tone: nobody can know.
        assert_eq!(heard, if pause <= 5 { "9." } else { "9.9." }, "{pause} packets");
    }
}

#[test]
fn a_pause_that_is_not_sent_is_known_by_its_numbers() {
    for pause in 2..50 {
        let mut sent = without(&two(pause), 15..15 + pause);
        for (number, (header, _)) in sent.iter_mut().enumerate() {
            header.sequence_number = number as u16;
        }
        assert_eq!(hear_packets(&sent), "9.9.", "{pause} packets of silence");
        // And one packet is lost beside it: the last of the first tone, or the first of the second.
        for lost in [14, 15] {
            assert_eq!(hear_packets(&without(&sent, [lost])), "9.9.", "{pause} packets of silence, {lost} lost");
        }
    }
}

#[test]
fn a_tone_at_the_beginning_of_what_is_sent_is_found() {
    for missing in 0..8 {
        let sent = two(5);
        assert_eq!(hear_packets(&sent[5 + missing..]), "9.9.");
    }
}

#[test]
fn packets_that_come_twice_or_in_another_order_change_nothing() {
    let sent = two(5);
    let mut twice: Vec<_> = sent.iter().flat_map(|packet| [packet.clone(), packet.clone()]).collect();
    assert_eq!(hear_packets(&twice), "9.9.");
    // Each once more, three packets later.
    for place in (0..sent.len()).rev() {
        twice.insert((2 * place + 6).min(twice.len()), sent[place].clone());
    }
    let mut ear = Ear::new();
    for (header, payload) in &twice {
        ear.packet(Codec::Pcma, *header, payload);
    }
    assert_eq!(ear.heard, "9.9.");
    // 20 ms that come three times are 20 ms.
    let mut line = Line::default();
    line.silence(800);
    line.press(&mut Random::new(12), '9', 160, Pad::PLAIN);
    line.silence(800);
    let short = packets(&line);
    let thrice: Vec<_> = short.iter().flat_map(|packet| [packet.clone(), packet.clone(), packet.clone()]).collect();
    assert_eq!(hear_packets(&thrice), "");
    for place in 0..sent.len() - 1 {
        let mut swapped = sent.clone();
        swapped.swap(place, place + 1);
        let mut ear = Ear::new();
        for (header, payload) in &swapped {
            ear.packet(Codec::Pcma, *header, payload);
        }
        assert_eq!(ear.heard, "9.9.", "{place} and the next one");
    }
}

#[test]
fn a_sender_that_begins_anew_is_heard() {
    let line = packets(&all_keys(&mut Random::new(13), 800, 800, Pad::PLAIN));
    for change in [
        // Another source, with numbers of its own; time that jumps on, back; numbers that jump; both back.
        |header: &mut Header| (header.ssrc, header.timestamp, header.sequence_number) = (2, 7, 9),
        |header: &mut Header| header.timestamp = header.timestamp.wrapping_add(0x4000_0000),
        |header: &mut Header| header.timestamp = header.timestamp.wrapping_sub(0x4000_0000),
        |header: &mut Header| header.sequence_number = header.sequence_number.wrapping_add(20_000),
        |header: &mut Header| header.sequence_number = header.sequence_number.wrapping_sub(20_000),
        |header: &mut Header| {
            header.timestamp = header.timestamp.wrapping_sub(0x4000_0000);
            header.sequence_number = header.sequence_number.wrapping_sub(20_000);
        },
    ] {
        let mut ear = Ear::new();
        let mut jumped = line.clone();
        let first = jumped[50].0;
        let mut base = first;
        change(&mut base);
        for (header, _) in &mut jumped[50..] {
            header.ssrc = base.ssrc;
            header.timestamp = base.timestamp.wrapping_add(header.timestamp.wrapping_sub(first.timestamp));
            header.sequence_number =
                base.sequence_number.wrapping_add(header.sequence_number.wrapping_sub(first.sequence_number));
        }
        for (number, (header, payload)) in jumped.iter().enumerate() {
            ear.pass(ms(number as u64 * 20));
            ear.packet(Codec::Pcma, *header, payload);
        }
        ear.pass(ms(10_000));
        // What falls into the change, and into the ten packets that might have been late ones, may be missed. Nothing is doubled.
        let expected = once_each();
        let before = &expected[..expected.len() / 4];
        let after = &expected[expected.len() * 3 / 4..];
        assert!(ear.heard.starts_with(before) && ear.heard.ends_with(after), "{}", ear.heard);
        assert!(ear.heard.len() >= expected.len() - 6 && ear.heard.len() <= expected.len(), "{}", ear.heard);
    }
}

#[test]
fn a_tone_that_goes_on_with_another_source_is_the_same() {
    let mut sent = two(5);
    for (number, (header, _)) in sent[10..].iter_mut().enumerate() {
        *header =
            Header { ssrc: 2, sequence_number: 777 + number as u16, timestamp: 99 + number as u32 * 160, ..*header };
    }
    let mut ear = Ear::new();
    for (number, (header, payload)) in sent.iter().enumerate() {
        ear.pass(ms(number as u64 * 20));
        ear.packet(Codec::Pcma, *header, payload);
    }
    ear.pass(ms(2000));
    assert_eq!(ear.heard, "9.9.");
}

#[test]
fn a_tone_that_the_network_holds_up_is_released_once_and_not_pressed_again() {
    let sent = two(5);
    let mut ear = Ear::new();
    for (number, (header, payload)) in sent.iter().enumerate() {
        // The first digit's second half comes half a second late, in one burst, and everything after it.
        ear.pass(ms(number as u64 * 20).max(if number < 10 { ms(0) } else { ms(700) }));
        ear.packet(Codec::Pcma, *header, payload);
        if number == 9 {
            ear.pass(ms(699));
            assert_eq!(ear.heard, "9.");
        }
    }
    ear.pass(ms(3000));
    assert_eq!(ear.heard, "9.9.");
}

#[test]
fn audio_that_comes_faster_than_anybody_speaks_tells_little() {
    let audio = all_keys(&mut Random::new(14), 400, 320, Pad::PLAIN).encode(Codec::Pcma);
    let mut ear = Ear::new();
    for number in 0..1000_u32 {
        ear.pass(ms(u64::from(number)));
        // Each millisecond 180 ms of audio.
        let payload: Vec<u8> = audio.iter().copied().cycle().skip(number as usize * 1440).take(1440).collect();
        ear.packet(Codec::Pcma, header(number as u16, number * 1440), &payload);
    }
    ear.pass(ms(5000));
    let pressed = ear.heard.chars().filter(|note| *note != '.').count();
    assert_eq!(ear.heard.len(), 2 * pressed, "each is released: {}", ear.heard);
    assert!((30..=34).contains(&pressed), "{pressed} in a second");
    assert!(ear.tones.refused() > 1000, "{}", ear.tones.refused());
}

#[test]
fn no_audio_and_no_header_panics() {
    let mut random = Random::new(15);
    let mut ear = Ear::new();
    for _ in 0..20_000 {
        ear.now += ms(u64::from(random.next_u32() % 50));
        let length = random.next_u32() as usize % 1489;
        let payload: Vec<u8> =
            (0..length.min(1 + random.next_u32() as usize % 300)).map(|_| random.next_u32() as u8).collect();
        let number = random.next_u32() as u16 % 64;
        let timestamp = if random.next_u32().is_multiple_of(4) { random.next_u32() } else { u32::from(number) * 160 };
        let ssrc = random.next_u32() % 3;
        ear.packet(LAWS[random.next_u32() as usize % 2], Header { ssrc, ..header(number, timestamp) }, &payload);
    }
    ear.pass(ear.now + ms(1000));
    assert_eq!(ear.heard, "", "noise is no digit");
}

#[test]
fn listening_takes_little_memory() {
    let size = size_of::<Tones>();
    assert!(size <= 768, "{size} bytes");
}

#[test]
fn the_constants_are_what_the_standard_library_says() {
    for step in 0..4000 {
        let turns = f64::from(step) / 100.0;
        assert!((cosine(turns) - (turns * TAU).cos()).abs() < 1e-9, "{turns}");
    }
    let sums = WINDOW.iter().fold((0.0, 0.0), |(sum, squares), weight| (sum + weight, squares + weight * weight));
    assert!((sums.0 - SUM).abs() < 0.01 && (sums.1 - SQUARES).abs() < 0.01);
}
