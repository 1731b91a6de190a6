//! What a phone says: RTP packets of 20 ms, telephone-events, RTCP reports (RFC 3550, RFC 3551, RFC 4733).
//!
//! ```text
//!   Sound ─160 samples─▶ A-law | µ-law ─▶ RTP (one SSRC, sequence +1, timestamp +160)      every 20 ms while it may send
//! ```

use std::collections::VecDeque;
use std::f64::consts::TAU;
use std::sync::Arc;
use std::time::Duration;

use audio_codec_algorithms::{convert_alaw_to_ulaw, encode_alaw, encode_ulaw};
use rtp_rs::{RtpPacketBuilder, Seq};

use crate::canary::Canary;
use crate::random::Random;
use crate::sdp::{Codec, Path};

/// Samples a packet: 20 ms at 8,000 Hz.
pub(crate) const FRAME: usize = 160;

/// Time between two packets.
pub const PTIME: Duration = Duration::from_millis(20);

/// Time between two RTCP reports.
const REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// Peak of a generated tone, of 32,767.
const AMPLITUDE: f64 = 8_000.0;

/// Digits waiting to be pressed.
const MAX_DIGITS: usize = 64;

/// The digits of RFC 4733 §3.2, each at its event code.
pub(crate) const DIGITS: &[u8; 16] = b"0123456789*#ABCD";

/// The tones of each of them, low and high, in hertz (ITU-T Q.23).
const PAIRS: [(f64, f64); 16] = [
    (941.0, 1336.0),
    (697.0, 1209.0),
    (697.0, 1336.0),
    (697.0, 1477.0),
    (770.0, 1209.0),
    (770.0, 1336.0),
    (770.0, 1477.0),
    (852.0, 1209.0),
    (852.0, 1336.0),
    (852.0, 1477.0),
    (941.0, 1209.0),
    (941.0, 1477.0),
    (697.0, 1633.0),
    (770.0, 1633.0),
    (852.0, 1633.0),
    (941.0, 1633.0),
];

/// Of each of the two.
const TONE_AMPLITUDE: f64 = 6_000.0;

/// What is said.
#[derive(Clone, PartialEq, Debug)]
pub enum Sound {
    /// Nothing is sent at all.
    Mute,
    /// A sine of this frequency in Hz, below 4,000.
    Tone(f64),
    /// A-law samples, over and over; empty is mute.
    Alaw(Arc<[u8]>),
}

impl Eq for Sound {}

#[derive(Debug)]
struct Press {
    event: u8,
    /// In timestamp units, all of it.
    length: u16,
    /// Sent so far.
    duration: u16,
    /// How often the end has been said.
    ends: u8,
    timestamp: u32,
}

/// A phone's sender.
#[derive(Debug)]
pub(crate) struct Voice {
    sound: Sound,
    position: usize,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    /// When the next packet is due, and where it goes; `None` while nothing may be sent.
    running: Option<(Path, Duration)>,
    report_at: Duration,
    first: bool,
    presses: VecDeque<Press>,
    /// Digits to be played as tones: which, and how many samples of it are left.
    tones: VecDeque<(usize, usize)>,
    packets: u32,
    octets: u32,
    canary: Option<Canary>,
    /// RTCP BYE that is to be sent.
    goodbye: Option<(Path, Vec<u8>)>,
}

impl Voice {
    pub(crate) fn new(random: &mut Random) -> Voice {
        Voice {
            sound: Sound::Mute,
            position: 0,
            ssrc: random.next_u32(),
            sequence: random.next_u32() as u16,
            timestamp: random.next_u32(),
            running: None,
            report_at: Duration::ZERO,
            first: true,
            presses: VecDeque::new(),
            tones: VecDeque::new(),
            packets: 0,
            octets: 0,
            canary: None,
            goodbye: None,
        }
    }

    /// Says who it is in every packet.
    pub(crate) fn with_canary(self, canary: Option<Canary>) -> Voice {
        Voice { canary, ..self }
    }

    /// Says this from now on.
    pub(crate) fn say(&mut self, sound: &Sound) {
        if self.sound != *sound {
            self.sound = sound.clone();
            self.position = 0;
        }
    }

    /// Offer and answer settled this, or nothing.
    pub(crate) fn set_path(&mut self, now: Duration, path: Option<Path>) {
        match (path.filter(|path| path.send), &mut self.running) {
            (Some(path), Some((current, _))) => *current = path,
            (Some(path), None) => {
                self.running = Some((path, now));
                self.report_at = now + REPORT_INTERVAL;
                self.first = true;
            }
            (None, running) => {
                if let (Some((path, _)), Some(canary)) = (running.take(), &self.canary) {
                    let reason = canary.text().into_bytes();
                    let mut rest = vec![reason.len() as u8];
                    rest.extend(reason);
                    rest.resize(rest.len().div_ceil(4) * 4, 0);
                    let mut bytes = vec![0x80, 201, 0, 1];
                    bytes.extend(self.ssrc.to_be_bytes());
                    bytes.extend([0x81, 203, 0, (rest.len() / 4 + 1) as u8]);
                    bytes.extend(self.ssrc.to_be_bytes());
                    bytes.extend(rest);
                    self.goodbye = Some((path, bytes));
                }
            }
        }
    }

    /// Something may be sent.
    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Presses a digit for this long (RFC 4733). `false` when it is none, or telephone-event was not settled.
    pub(crate) fn press(&mut self, digit: char, length: Duration) -> bool {
        let Some(event) = DIGITS.iter().position(|known| char::from(*known) == digit.to_ascii_uppercase()) else {
            return false;
        };
        if !matches!(self.running, Some((Path { telephone_event: Some(_), .. }, _))) || self.presses.len() >= MAX_DIGITS
        {
            return false;
        }
        let length = u16::try_from(length.as_millis().saturating_mul(8)).unwrap_or(u16::MAX - 160).max(160);
        let event = event as u8;
        self.presses.push_back(Press { event, length, duration: 0, ends: 0, timestamp: 0 });
        true
    }

    /// Plays a digit's two tones for this long in place of what is said (ITU-T Q.23). `false` when it is none.
    pub(crate) fn play_tones(&mut self, digit: char, length: Duration) -> bool {
        let Some(event) = DIGITS.iter().position(|known| char::from(*known) == digit.to_ascii_uppercase()) else {
            return false;
        };
        if self.running.is_none() || self.tones.len() >= MAX_DIGITS {
            return false;
        }
        self.tones.push_back((event, usize::try_from(length.as_millis()).unwrap_or(1_000).min(10_000) * 8));
        true
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        let (_, next) = self.running.as_ref()?;
        let speaks = self.sound != Sound::Mute || !self.presses.is_empty() || !self.tones.is_empty();
        speaks.then_some(*next)
    }

    /// The next RTP packet that is due.
    pub(crate) fn poll(&mut self, now: Duration) -> Option<(Path, Vec<u8>)> {
        let due = self.poll_timeout()?;
        if now < due {
            return None;
        }
        let (path, next) = self.running.as_mut()?;
        // Who was silent for a while goes on from now: the packets of the silence are not made up for, their time passed.
        let late = now.saturating_sub(*next);
        if late > PTIME * 10 {
            let skipped = (late.as_millis() / 20) as u32;
            self.timestamp = self.timestamp.wrapping_add(skipped.wrapping_mul(FRAME as u32));
            *next = now;
            self.first = true;
        }
        *next += PTIME;
        let path = *path;
        let packet = self.event(path).or_else(|| self.audio(path))?;
        self.timestamp = self.timestamp.wrapping_add(FRAME as u32);
        self.sequence = self.sequence.wrapping_add(1);
        self.first = false;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(packet.len() as u32);
        Some((path, packet))
    }

    fn audio(&mut self, path: Path) -> Option<Vec<u8>> {
        let mut samples = [0; FRAME];
        for sample in &mut samples {
            *sample = self.sample(path.codec)?;
        }
        self.packet(path.payload_type, self.timestamp, self.first, &samples)
    }

    fn sample(&mut self, codec: Codec) -> Option<u8> {
        let position = self.position;
        self.position = self.position.wrapping_add(1);
        if let Some((event, left)) = self.tones.front_mut() {
            let tone = |hertz: f64| (position as f64 * hertz / 8_000.0 * TAU).sin();
            let (low, high) = PAIRS[*event];
            let value = ((tone(low) + tone(high)) * TONE_AMPLITUDE) as i16;
            *left -= 1;
            if *left == 0 {
                self.tones.pop_front();
            }
            return Some(match codec {
                Codec::Pcma => encode_alaw(value),
                Codec::Pcmu => encode_ulaw(value),
            });
        }
        match &self.sound {
            Sound::Mute => None,
            Sound::Tone(hertz) => {
                let value = ((position as f64 * hertz / 8_000.0 * TAU).sin() * AMPLITUDE) as i16;
                Some(match codec {
                    Codec::Pcma => encode_alaw(value),
                    Codec::Pcmu => encode_ulaw(value),
                })
            }
            Sound::Alaw(samples) => {
                let sample = *samples.get(position % samples.len().max(1))?;
                Some(match codec {
                    Codec::Pcma => sample,
                    Codec::Pcmu => convert_alaw_to_ulaw(sample),
                })
            }
        }
    }

    /// The event being pressed takes the place of the audio; its end is said three times (RFC 4733 §2.5.1.4).
    fn event(&mut self, path: Path) -> Option<Vec<u8>> {
        let payload_type = path.telephone_event?;
        let now = self.timestamp;
        let press = self.presses.front_mut()?;
        let first = press.duration == 0;
        if first {
            press.timestamp = now;
        }
        press.duration = press.duration.saturating_add(FRAME as u16).min(press.length);
        let ended = press.duration >= press.length;
        press.ends += u8::from(ended);
        let mut payload = [press.event, 10 | if ended { 0x80 } else { 0 }, 0, 0];
        payload[2..].copy_from_slice(&press.duration.to_be_bytes());
        let (timestamp, done) = (press.timestamp, press.ends >= 3);
        if done {
            self.presses.pop_front();
        }
        self.packet(payload_type, timestamp, first, &payload)
    }

    fn packet(&self, payload_type: u8, timestamp: u32, marker: bool, payload: &[u8]) -> Option<Vec<u8>> {
        let mut extension = self.canary.as_ref().map(|canary| canary.text().into_bytes()).unwrap_or_default();
        extension.resize(extension.len().div_ceil(4) * 4, 0);
        let mut builder = RtpPacketBuilder::new()
            .payload_type(payload_type)
            .marked(marker)
            .sequence(Seq::from(self.sequence))
            .timestamp(timestamp)
            .ssrc(self.ssrc)
            .payload(payload);
        if self.canary.is_some() {
            builder = builder.add_csrc(!self.ssrc).extension(0xbede, &extension);
        }
        let mut packet = builder.build().ok()?;
        if let Some(canary) = &self.canary {
            packet[0] |= 0x20;
            packet.extend(canary.token().bytes());
            packet.push((canary.token().len() + 1) as u8);
        }
        Some(packet)
    }

    /// The next RTCP report that is due: SR and SDES with the CNAME.
    pub(crate) fn poll_report(
        &mut self,
        now: Duration,
        cname: &str,
        canary: Option<&Canary>,
    ) -> Option<(Path, Vec<u8>)> {
        if let Some(goodbye) = self.goodbye.take() {
            return Some(goodbye);
        }
        let (path, _) = self.running?;
        if now < self.report_at {
            return None;
        }
        self.report_at = now + REPORT_INTERVAL;
        let cname = cname.as_bytes().get(..cname.len().min(255))?;
        let mut bytes = vec![0x80, 200, 0, 6];
        bytes.extend(self.ssrc.to_be_bytes());
        bytes.extend((now.as_secs() as u32).to_be_bytes());
        bytes.extend((((now.subsec_nanos() as u64) << 32) / 1_000_000_000).to_be_bytes()[4..].iter());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.packets.to_be_bytes());
        bytes.extend(self.octets.to_be_bytes());
        let mut sdes = self.ssrc.to_be_bytes().to_vec();
        sdes.extend([1, cname.len() as u8]);
        sdes.extend(cname);
        for (kind, text) in canary.map(Canary::sdes).unwrap_or_default() {
            sdes.extend([kind, text.len() as u8]);
            sdes.extend(text);
        }
        // The list of items ends with at least one zero, at a word's end.
        sdes.resize(sdes.len() / 4 * 4 + 4, 0);
        bytes.extend([0x81, 202, 0, (sdes.len() / 4) as u8]);
        bytes.extend(sdes);
        if let Some(canary) = canary {
            let mut text = canary.text().into_bytes();
            text.resize(text.len().div_ceil(4) * 4, 0);
            bytes.extend([0x80, 204, 0, (text.len() / 4 + 2) as u8]);
            bytes.extend(self.ssrc.to_be_bytes());
            bytes.extend(b"KING");
            bytes.extend(text);
        }
        Some((path, bytes))
    }

    pub(crate) fn report_timeout(&self) -> Option<Duration> {
        let goodbye = self.goodbye.as_ref().map(|_| Duration::ZERO);
        goodbye.or(self.running.as_ref().map(|_| self.report_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtp_rs::RtpReader;

    fn path(codec: Codec) -> Path {
        let remote = "10.0.0.1:4000".parse().unwrap();
        Path { remote, codec, payload_type: codec.payload_type(), telephone_event: Some(101), send: true }
    }

    fn voice(sound: Sound) -> Voice {
        let mut voice = Voice::new(&mut Random::new(1));
        voice.say(&sound);
        voice.set_path(Duration::ZERO, Some(path(Codec::Pcma)));
        voice
    }

    #[test]
    fn packets_leave_every_20_ms_with_one_ssrc_and_no_gap() {
        let mut voice = voice(Sound::Tone(440.0));
        let mut last: Option<(u16, u32, u32)> = None;
        for nth in 0..100u32 {
            assert_eq!(voice.poll_timeout(), Some(PTIME * nth));
            let (_, packet) = voice.poll(PTIME * nth).unwrap();
            assert!(voice.poll(PTIME * nth).is_none());
            let reader = RtpReader::new(&packet).unwrap();
            let this = (u16::from(reader.sequence_number()), reader.timestamp(), reader.ssrc());
            if let Some(last) = last {
                assert_eq!(this, (last.0.wrapping_add(1), last.1.wrapping_add(160), last.2));
            }
            assert_eq!((reader.mark(), reader.payload_type(), reader.payload().len()), (nth == 0, 8, 160));
            last = Some(this);
        }
    }

    #[test]
    fn samples_are_said_over_and_over_in_the_law_that_was_settled() {
        let samples: Arc<[u8]> = (0..=99).collect();
        let mut voice = voice(Sound::Alaw(samples));
        let (_, packet) = voice.poll(Duration::ZERO).unwrap();
        assert_eq!(packet[12..], (0..160u8).map(|n| n % 100).collect::<Vec<_>>());
        voice.set_path(PTIME, Some(path(Codec::Pcmu)));
        let (_, packet) = voice.poll(PTIME).unwrap();
        assert_eq!(packet[12], convert_alaw_to_ulaw(60));
        assert_eq!(packet[1], 0);
    }

    #[test]
    fn who_may_not_send_is_silent_and_who_is_mute_too() {
        let mut held = voice(Sound::Tone(440.0));
        held.set_path(PTIME, Some(Path { send: false, ..path(Codec::Pcma) }));
        assert_eq!((held.poll_timeout(), held.poll(PTIME).is_none()), (None, true));
        let mut mute = voice(Sound::Mute);
        assert_eq!((mute.poll_timeout(), mute.poll(PTIME).is_none()), (None, true));
        assert!(voice(Sound::Alaw([].into())).poll(PTIME).is_none());
    }

    #[test]
    fn a_digit_is_one_event_whose_end_is_said_three_times() {
        let mut voice = voice(Sound::Tone(440.0));
        assert!(voice.press('#', Duration::from_millis(60)));
        assert!(!voice.press('x', Duration::from_millis(60)));
        let packets: Vec<_> = (0..7).map(|nth| voice.poll(PTIME * nth).unwrap().1).collect();
        let events: Vec<_> = packets.iter().filter(|packet| packet[1] & 0x7f == 101).collect();
        assert_eq!(events.len(), 5);
        let duration = |packet: &[u8]| u16::from_be_bytes([packet[14], packet[15]]);
        assert_eq!(events.iter().map(|packet| duration(packet)).collect::<Vec<_>>(), [160, 320, 480, 480, 480]);
        assert_eq!(events.iter().filter(|packet| packet[13] & 0x80 != 0).count(), 3);
        assert!(events.iter().all(|packet| packet[12] == 11 && packet[4..8] == events[0][4..8]));
    }

    #[test]
    fn reports_carry_the_cname_and_whole_words() {
        let mut voice = voice(Sound::Mute);
        for cname in ["", "a", "user@10.0.0.1", "abc"] {
            voice.report_at = Duration::ZERO;
            let (_, bytes) = voice.poll_report(Duration::from_secs(5), cname, None).unwrap();
            let words = usize::from(u16::from_be_bytes([bytes[30], bytes[31]])) + 1;
            assert_eq!(bytes.len(), 28 + words * 4);
            assert!(bytes.windows(cname.len().max(1)).any(|window| window == cname.as_bytes() || cname.is_empty()));
            assert_eq!(bytes.last(), Some(&0));
        }
    }
}
