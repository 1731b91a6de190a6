//! What a phone hears: a timeline of known sounds, and every break of the stream (RFC 3550 §5.1).
//!
//! ```text
//!   RTP ─▶ one SSRC? sequence +1? timestamp as long as what came? ─▶ fault
//!     └──▶ prompt (byte for byte, in its law) | tone (Goertzel) | silence | unknown ─▶ run from … until …
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use audio_codec_algorithms::{convert_alaw_to_ulaw, decode_alaw, decode_ulaw};
use rtp_rs::RtpReader;

use crate::sdp::{Codec, Path};
use crate::voice::{DIGITS, FRAME};

/// Bytes that find a place in a prompt.
const KEY: usize = 16;

/// Every so many samples of a prompt can be found: several in each packet of 20 ms.
const STRIDE: usize = 40;

/// A pause longer than this parts what is heard.
const PAUSE: Duration = Duration::from_millis(100);

/// Places in prompts with the same key that are tried.
const MAX_PLACES: usize = 64;

/// Runs and faults that are kept; later ones are only counted.
const MAX_KEPT: usize = 4096;

/// Mean square below which a packet is silence: about -60 dBm0.
const SILENCE: f64 = 400.0;

/// Part of a packet's power that a tone must have.
const TONE_PART: f64 = 0.7;

/// One thing heard.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Heard {
    /// A known prompt, by its name.
    Prompt(Arc<str>),
    /// A known tone, by its name.
    Tone(Arc<str>),
    /// Packets without sound.
    Silence,
    /// None of these.
    Unknown,
}

impl std::fmt::Display for Heard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Heard::Prompt(name) | Heard::Tone(name) => f.write_str(name),
            Heard::Silence => f.write_str("silence"),
            Heard::Unknown => f.write_str("unknown sound"),
        }
    }
}

/// One thing heard for a while.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// What.
    pub heard: Heard,
    /// Arrival of its first packet.
    pub from: Duration,
    /// End of the audio of its last packet.
    pub until: Duration,
    /// Packets.
    pub packets: u32,
}

/// A break of the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The SSRC changed.
    Ssrc,
    /// Sequence numbers are missing.
    Gap(u16),
    /// A packet came late or again.
    Old,
    /// The timestamp does not follow from what came before; by this many samples.
    Timestamp(i32),
    /// A payload type that was not settled.
    PayloadType(u8),
    /// From an address other than the one in the SDP.
    Source(SocketAddr),
    /// Not RTP.
    NotRtp,
    /// The audio overtakes the clock: more than 200 ms ahead.
    Overrun,
}

/// Where in which prompt a key stands.
#[derive(Clone, Debug, Default)]
struct Places {
    by_key: HashMap<[u8; KEY], Vec<(u16, u32)>>,
    /// A bit for each first two bytes of a key: most windows of another sound are told from all keys by one look.
    heads: Vec<u64>,
}

impl Places {
    fn add(&mut self, key: [u8; KEY], place: u16, offset: u32) {
        self.heads.resize(1 << 10, 0);
        let head = head(&key);
        self.heads[head >> 6] |= 1 << (head & 63);
        let places = self.by_key.entry(key).or_default();
        if places.len() < MAX_PLACES {
            places.push((place, offset));
        }
    }

    fn find(&self, window: &[u8]) -> Option<&Vec<(u16, u32)>> {
        let head = head(window);
        let known = self.heads.get(head >> 6)? & 1 << (head & 63) != 0;
        known.then(|| window.first_chunk().and_then(|key| self.by_key.get(key))).flatten()
    }
}

/// The first two bytes of a window, as a number below 65,536.
fn head(window: &[u8]) -> usize {
    window.first_chunk().map_or(0, |head| usize::from(u16::from_be_bytes(*head)))
}

/// Prompts and tones that an ear knows.
#[derive(Clone, Debug, Default)]
pub struct Known {
    prompts: Vec<KnownPrompt>,
    tones: Vec<(Arc<str>, f64)>,
    /// One for each law.
    places: [Places; 2],
}

#[derive(Clone, Debug)]
struct KnownPrompt {
    name: Arc<str>,
    /// A-law, µ-law.
    laws: [Arc<[u8]>; 2],
}

const fn law(codec: Codec) -> usize {
    match codec {
        Codec::Pcma => 0,
        Codec::Pcmu => 1,
    }
}

impl Known {
    /// Knows nothing.
    #[must_use]
    pub fn new() -> Known {
        Known::default()
    }

    /// Learns a prompt by its A-law samples; one that is known already by name is left alone.
    pub fn add_prompt(&mut self, name: &str, alaw: &[u8]) {
        let Ok(place) = u16::try_from(self.prompts.len()) else {
            return;
        };
        if self.prompts.iter().any(|prompt| &*prompt.name == name) {
            return;
        }
        let ulaw: Arc<[u8]> = alaw.iter().map(|sample| convert_alaw_to_ulaw(*sample)).collect();
        let laws = [Arc::from(alaw), ulaw];
        for (samples, places) in laws.iter().zip(&mut self.places) {
            for (offset, window) in samples.windows(KEY).enumerate().step_by(STRIDE) {
                // Where all is the same sample every place looks alike.
                if let Some(key) = window.first_chunk().filter(|_| window.iter().any(|sample| *sample != window[0])) {
                    places.add(*key, place, offset as u32);
                }
            }
        }
        self.prompts.push(KnownPrompt { name: name.into(), laws });
    }

    /// Learns a tone by its frequency in Hz.
    pub fn add_tone(&mut self, name: &str, hertz: f64) {
        self.tones.push((name.into(), hertz));
    }

    /// The prompt and the place after it, where these samples stand in one.
    fn prompt(&self, codec: Codec, samples: &[u8], expected: Option<(u16, usize)>) -> Option<(u16, usize)> {
        if let Some((place, offset)) = expected
            && self.matches(codec, place, offset, samples)
        {
            return Some((place, offset + samples.len()));
        }
        // A frame may begin with a constant stretch, which finds nothing: look for the first one that does.
        for (skip, window) in samples.windows(KEY).enumerate() {
            let Some(places) = self.places[law(codec)].find(window) else {
                continue;
            };
            for &(place, offset) in places {
                if let Some(start) = (offset as usize).checked_sub(skip)
                    && self.matches(codec, place, start, samples)
                {
                    return Some((place, start + samples.len()));
                }
            }
        }
        None
    }

    /// The samples stand there; they may run over the prompt's end into its beginning (a loop) or into silence.
    fn matches(&self, codec: Codec, place: u16, offset: usize, samples: &[u8]) -> bool {
        let Some(prompt) = self.prompts.get(usize::from(place)) else {
            return false;
        };
        let whole = &prompt.laws[law(codec)];
        if whole.is_empty() {
            return false;
        }
        let offset = if offset >= whole.len() { offset % whole.len() } else { offset };
        let rest = &whole[offset..];
        if rest.len() >= samples.len() {
            return rest.starts_with(samples);
        }
        let (inside, beyond) = samples.split_at(rest.len());
        inside == rest
            && (beyond.iter().zip(whole.iter().cycle()).all(|(a, b)| a == b)
                || beyond.iter().all(|sample| linear(codec, *sample).abs() <= 8))
    }
}

fn linear(codec: Codec, sample: u8) -> i16 {
    match codec {
        Codec::Pcma => decode_alaw(sample),
        Codec::Pcmu => decode_ulaw(sample),
    }
}

/// Part of the power of `samples` that lies at `hertz` (Goertzel): 1 for a pure tone.
#[must_use]
pub fn tone_part(samples: &[i16], hertz: f64) -> f64 {
    let coefficient = 2.0 * (std::f64::consts::TAU * hertz / 8_000.0).cos();
    let (mut s1, mut s2, mut power) = (0.0, 0.0, 0.0);
    for &sample in samples {
        let value = f64::from(sample);
        let s0 = value + coefficient * s1 - s2;
        (s2, s1) = (s1, s0);
        power += value * value;
    }
    let at = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
    if power == 0.0 { 0.0 } else { 2.0 * at / (power * samples.len() as f64) }
}

/// The last packet.
#[derive(Clone, Copy, Debug)]
struct Last {
    sequence: u16,
    timestamp: u32,
    /// What it lasts: its audio, or its event so far.
    samples: u32,
    /// Samples in a packet of audio.
    frame: u32,
    /// How much later than due the next may stand: an event's end is said three times, and the clock goes on meanwhile.
    slack: u32,
    arrival: Duration,
}

/// A phone's receiver.
#[derive(Debug, Default)]
pub struct Ear {
    known: Arc<Known>,
    runs: Vec<Run>,
    faults: Vec<(Duration, Fault)>,
    digits: String,
    ssrc: Option<u32>,
    last: Option<Last>,
    /// Where in which prompt the next packet should go on.
    expected: Option<(u16, usize)>,
    event: Option<u32>,
    packets: u64,
    /// Arrival of the first packet of this stretch, samples since.
    clock: Option<(Duration, u64)>,
}

impl Ear {
    pub(crate) fn set_known(&mut self, known: Arc<Known>) {
        self.known = known;
        self.expected = None;
    }

    /// A new call: a new stream.
    pub(crate) fn begin(&mut self) {
        self.ssrc = None;
        self.last = None;
        self.clock = None;
        self.expected = None;
        self.event = None;
    }

    /// What was heard, in order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Every break of the stream.
    #[must_use]
    pub fn faults(&self) -> &[(Duration, Fault)] {
        &self.faults
    }

    /// Digits heard as telephone-events.
    #[must_use]
    pub fn digits(&self) -> &str {
        &self.digits
    }

    /// RTP packets received.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// What was heard, silence aside, each once, in the order of its first time.
    #[must_use]
    pub fn sounds(&self) -> Vec<Heard> {
        let mut sounds = Vec::new();
        for run in &self.runs {
            if run.heard != Heard::Silence && !sounds.contains(&run.heard) {
                sounds.push(run.heard.clone());
            }
        }
        sounds
    }

    /// For how long this was heard, in all.
    #[must_use]
    pub fn heard_for(&self, name: &str) -> Duration {
        self.runs.iter().filter(|run| run.heard.to_string() == name).map(|run| run.until.saturating_sub(run.from)).sum()
    }

    /// Takes a packet; the run that it began, if it began one.
    pub(crate) fn on_rtp(
        &mut self,
        now: Duration,
        source: SocketAddr,
        path: Option<Path>,
        offered: &[Codec],
        bytes: &[u8],
    ) -> Option<Heard> {
        let Ok(reader) = RtpReader::new(bytes) else {
            self.fault(now, Fault::NotRtp);
            return None;
        };
        self.packets += 1;
        if let Some(path) = path
            && path.remote != source
        {
            self.fault(now, Fault::Source(source));
        }
        if self.ssrc.is_some_and(|ssrc| ssrc != reader.ssrc()) {
            self.fault(now, Fault::Ssrc);
            self.last = None;
        }
        self.ssrc = Some(reader.ssrc());
        let payload_type = reader.payload_type();
        let events = path.map_or(Some(101), |path| path.telephone_event);
        let codec = match path {
            Some(path) if payload_type == path.payload_type => Some(path.codec),
            // Early media may come before the description that tells its law: any that we offered.
            Some(_) => None,
            None => offered.iter().copied().find(|codec| codec.payload_type() == payload_type),
        };
        let samples = match (codec, reader.payload()) {
            (Some(_), audio) => audio.len() as u32,
            (None, &[_, _, high, low]) => u32::from(u16::from_be_bytes([high, low])),
            (None, _) => 0,
        };
        let fresh = self.check_order(now, &reader, samples, codec.is_some());
        match codec {
            Some(codec) if fresh => self.on_audio(now, codec, reader.payload()),
            Some(_) => None,
            None if Some(payload_type) == events => {
                self.on_event(reader.timestamp(), reader.payload());
                None
            }
            None => {
                self.fault(now, Fault::PayloadType(payload_type));
                None
            }
        }
    }

    /// Sequence and timestamp; `false` for a packet that is too old to be heard.
    fn check_order(&mut self, now: Duration, reader: &RtpReader<'_>, samples: u32, audio: bool) -> bool {
        let sequence = u16::from(reader.sequence_number());
        let timestamp = reader.timestamp();
        let frame = match (audio, self.last) {
            (true, _) => samples,
            (false, Some(last)) => last.frame,
            (false, None) => FRAME as u32,
        };
        let slack = if audio { 0 } else { 3 * frame };
        let this = Last { sequence, timestamp, samples, frame, slack, arrival: now };
        let Some(last) = self.last else {
            self.last = Some(this);
            self.clock = None;
            return true;
        };
        let step = sequence.wrapping_sub(last.sequence);
        if step == 0 || step >= 0x8000 {
            self.fault(now, Fault::Old);
            return false;
        }
        if step > 1 {
            self.fault(now, Fault::Gap(step - 1));
            self.expected = None;
        }
        if !audio {
            self.last = Some(this);
            return true;
        }
        let frame = last.frame;
        let due = last.timestamp.wrapping_add(last.samples);
        let ahead = timestamp.wrapping_sub(due) as i32;
        let missed = i32::from(step - 1).saturating_mul(frame as i32);
        let in_time = (missed..=missed.saturating_add(last.slack as i32)).contains(&ahead);
        // After a pause the timestamp has gone on with the clock (RFC 3551 §4.1).
        let elapsed = now.saturating_sub(last.arrival).as_millis() as i64 * 8 - i64::from(frame);
        let after_pause = 2 * elapsed > i64::from(frame) && (i64::from(ahead) - elapsed).abs() <= 8 * 60;
        // Where one source takes over from another their packets do not leave at the same beat: less than half a packet.
        let beat = ahead >= 0 && 2 * (i64::from(ahead) - elapsed).abs() <= i64::from(frame);
        if !in_time && !after_pause && !beat {
            self.fault(now, Fault::Timestamp(ahead.wrapping_sub(missed)));
        }
        if after_pause {
            self.clock = None;
        }
        self.last = Some(this);
        true
    }

    fn on_audio(&mut self, now: Duration, codec: Codec, samples: &[u8]) -> Option<Heard> {
        let (start, said) = self.clock.get_or_insert((now, 0));
        let ahead = Duration::from_millis(*said / 8).saturating_sub(now.saturating_sub(*start));
        *said += samples.len() as u64;
        if ahead > Duration::from_millis(200) {
            self.clock = None;
            self.fault(now, Fault::Overrun);
        }
        let known = Arc::clone(&self.known);
        let heard = if let Some((place, next)) = known.prompt(codec, samples, self.expected) {
            self.expected = Some((place, next));
            Heard::Prompt(Arc::clone(&known.prompts[usize::from(place)].name))
        } else {
            self.expected = None;
            classify(&known, codec, samples)
        };
        let until = now + Duration::from_micros(samples.len() as u64 * 125);
        let mut new = true;
        if let Some(run) = self.runs.last_mut()
            && run.heard == heard
        {
            if now <= run.until + PAUSE {
                run.until = until;
                run.packets = run.packets.saturating_add(1);
                return None;
            }
            new = false;
        }
        if self.runs.len() < MAX_KEPT {
            self.runs.push(Run { heard: heard.clone(), from: now, until, packets: 1 });
        }
        new.then_some(heard)
    }

    fn on_event(&mut self, timestamp: u32, payload: &[u8]) {
        let &[event, flags, ..] = payload else { return };
        let Some(digit) = DIGITS.get(usize::from(event)) else {
            return;
        };
        if flags & 0x80 != 0 && self.event != Some(timestamp) && self.digits.len() < MAX_KEPT {
            self.event = Some(timestamp);
            self.digits.push(char::from(*digit));
        }
    }

    fn fault(&mut self, now: Duration, fault: Fault) {
        if self.faults.len() < MAX_KEPT {
            self.faults.push((now, fault));
        }
    }
}

fn classify(known: &Known, codec: Codec, samples: &[u8]) -> Heard {
    let linear: Vec<i16> = samples.iter().map(|sample| linear(codec, *sample)).collect();
    let power = linear.iter().map(|sample| f64::from(*sample).powi(2)).sum::<f64>() / linear.len().max(1) as f64;
    if power < SILENCE {
        return Heard::Silence;
    }
    for (name, hertz) in &known.tones {
        if tone_part(&linear, *hertz) > TONE_PART {
            return Heard::Tone(Arc::clone(name));
        }
    }
    Heard::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use crate::voice::{PTIME, Sound, Voice};

    const SOURCE: &str = "10.0.0.1:4000";

    fn path(codec: Codec) -> Path {
        let remote = SOURCE.parse().unwrap();
        Path { remote, codec, payload_type: codec.payload_type(), telephone_event: Some(101), send: true }
    }

    /// Something like speech: noise that a seed tells apart, with a stretch of silence inside.
    fn prompt(seed: u64, frames: usize) -> Vec<u8> {
        let mut random = Random::new(seed);
        let mut samples: Vec<u8> = (0..frames * FRAME + 77).map(|_| random.next_u32() as u8).collect();
        samples[400..700].fill(0xd5);
        samples
    }

    fn ear() -> Ear {
        let mut known = Known::new();
        known.add_prompt("hint", &prompt(1, 50));
        known.add_prompt("busy", &prompt(2, 50));
        known.add_tone("A", 440.0);
        known.add_tone("B", 620.0);
        let mut ear = Ear::default();
        ear.set_known(Arc::new(known));
        ear
    }

    fn say(sound: &Sound, codec: Codec, frames: u32) -> Vec<Vec<u8>> {
        let mut voice = Voice::new(&mut Random::new(9));
        voice.say(sound);
        voice.set_path(Duration::ZERO, Some(path(codec)));
        (0..frames).map(|nth| voice.poll(PTIME * nth).unwrap().1).collect()
    }

    fn listen(ear: &mut Ear, codec: Codec, packets: &[Vec<u8>]) {
        for (nth, packet) in packets.iter().enumerate() {
            ear.on_rtp(PTIME * nth as u32, SOURCE.parse().unwrap(), Some(path(codec)), &[codec], packet);
        }
    }

    #[test]
    fn a_prompt_is_known_by_its_bytes_in_either_law_and_over_and_over() {
        for codec in [Codec::Pcma, Codec::Pcmu] {
            let mut ear = ear();
            let packets = say(&Sound::Alaw(prompt(2, 50).into()), codec, 130);
            listen(&mut ear, codec, &packets);
            assert_eq!(ear.sounds(), [Heard::Prompt("busy".into())]);
            assert_eq!(ear.heard_for("busy"), PTIME * 130);
            assert_eq!(ear.faults(), []);
        }
    }

    #[test]
    fn a_prompt_is_known_from_its_middle_too() {
        let mut ear = ear();
        let packets = say(&Sound::Alaw(prompt(1, 50)[333..].into()), Codec::Pcma, 20);
        listen(&mut ear, Codec::Pcma, &packets);
        assert_eq!(ear.sounds(), [Heard::Prompt("hint".into())]);
    }

    #[test]
    fn tones_are_told_apart_in_either_law() {
        for (hertz, name) in [(440.0, "A"), (620.0, "B")] {
            for codec in [Codec::Pcma, Codec::Pcmu] {
                let mut ear = ear();
                listen(&mut ear, codec, &say(&Sound::Tone(hertz), codec, 20));
                assert_eq!(ear.sounds(), [Heard::Tone(name.into())]);
            }
        }
    }

    #[test]
    fn another_sound_is_unknown_and_silence_is_silence() {
        let mut ear = ear();
        let mut packets = say(&Sound::Alaw(prompt(3, 50).into()), Codec::Pcma, 2);
        listen(&mut ear, Codec::Pcma, &packets);
        assert_eq!(ear.sounds(), [Heard::Unknown]);
        let mut ear = self::ear();
        packets = say(&Sound::Alaw(vec![0xd5; 160].into()), Codec::Pcma, 2);
        listen(&mut ear, Codec::Pcma, &packets);
        assert_eq!(ear.runs().len(), 1);
        assert_eq!(ear.runs()[0].heard, Heard::Silence);
        assert_eq!(ear.sounds(), []);
    }

    #[test]
    fn two_tones_at_once_are_neither() {
        let mut mixed = Vec::new();
        for n in 0..1600 {
            let at = |hertz: f64| (f64::from(n) * hertz / 8_000.0 * std::f64::consts::TAU).sin() * 6_000.0;
            mixed.push(audio_codec_algorithms::encode_alaw((at(440.0) + at(620.0)) as i16));
        }
        let mut ear = ear();
        listen(&mut ear, Codec::Pcma, &say(&Sound::Alaw(mixed.into()), Codec::Pcma, 10));
        assert_eq!(ear.sounds(), [Heard::Unknown]);
    }

    #[test]
    fn each_break_of_the_stream_has_its_name() {
        let good = say(&Sound::Tone(440.0), Codec::Pcma, 4);
        let faults = |change: &dyn Fn(&mut Vec<Vec<u8>>)| {
            let mut packets = good.clone();
            change(&mut packets);
            let mut ear = ear();
            listen(&mut ear, Codec::Pcma, &packets);
            ear.faults().iter().map(|(_, fault)| *fault).collect::<Vec<_>>()
        };
        assert_eq!(faults(&|_| {}), []);
        assert_eq!(faults(&|packets| packets[3][8] ^= 1), [Fault::Ssrc]);
        assert_eq!(faults(&|packets| drop(packets.remove(1))), [Fault::Gap(1)]);
        assert_eq!(faults(&|packets| packets[2] = packets[1].clone()), [Fault::Old, Fault::Gap(1)]);
        assert_eq!(faults(&|packets| packets.swap(1, 2)), [Fault::Gap(1), Fault::Old]);
        assert_eq!(faults(&|packets| packets[3][1] = 18), [Fault::PayloadType(18)]);
        assert_eq!(faults(&|packets| packets[3].truncate(3)), [Fault::NotRtp]);
        assert_eq!(faults(&|packets| packets[3][6] ^= 0x40).len(), 1);
        let elsewhere = Path { remote: "10.0.0.1:9".parse().unwrap(), ..path(Codec::Pcma) };
        let mut ear = ear();
        ear.on_rtp(PTIME, SOURCE.parse().unwrap(), Some(elsewhere), &[], &good[0]);
        assert_eq!(ear.faults()[0].1, Fault::Source(SOURCE.parse().unwrap()));
    }

    #[test]
    fn audio_that_runs_ahead_of_the_clock_is_told() {
        let mut ear = ear();
        for packet in say(&Sound::Tone(440.0), Codec::Pcma, 15) {
            ear.on_rtp(Duration::ZERO, SOURCE.parse().unwrap(), Some(path(Codec::Pcma)), &[], &packet);
        }
        assert!(ear.faults().iter().any(|(_, fault)| *fault == Fault::Overrun));
    }

    #[test]
    fn a_pause_with_its_time_in_the_timestamp_is_no_fault() {
        let mut voice = Voice::new(&mut Random::new(9));
        voice.say(&Sound::Tone(440.0));
        voice.set_path(Duration::ZERO, Some(path(Codec::Pcma)));
        let mut ear = ear();
        for now in [0, 20, 40, 1000, 1020].map(Duration::from_millis) {
            let packet = voice.poll(now).unwrap().1;
            ear.on_rtp(now, SOURCE.parse().unwrap(), Some(path(Codec::Pcma)), &[], &packet);
        }
        assert_eq!(ear.faults(), []);
    }

    #[test]
    fn another_beat_with_its_time_in_the_timestamp_is_no_fault_and_without_it_is() {
        for (slip, faults) in [(1, 0), (9, 0), (90, 1)] {
            let mut ear = ear();
            let packets = say(&Sound::Tone(440.0), Codec::Pcma, 3);
            for (nth, mut packet) in packets.into_iter().enumerate() {
                let timestamp = u32::from_be_bytes(packet[4..8].try_into().unwrap());
                let late = if nth == 2 { 8 * slip } else { 0 };
                packet[4..8].copy_from_slice(&timestamp.wrapping_add(late).to_be_bytes());
                let now = PTIME * nth as u32 + Duration::from_millis(if nth == 2 { 1 } else { 0 });
                ear.on_rtp(now, SOURCE.parse().unwrap(), Some(path(Codec::Pcma)), &[], &packet);
            }
            assert_eq!(ear.faults().len(), faults, "{slip}");
        }
    }

    #[test]
    fn a_pause_parts_what_is_heard() {
        let mut ear = ear();
        let packets = say(&Sound::Tone(440.0), Codec::Pcma, 2);
        for (packet, now) in packets.iter().zip([0, 5_000].map(Duration::from_millis)) {
            ear.on_rtp(now, SOURCE.parse().unwrap(), Some(path(Codec::Pcma)), &[], packet);
        }
        assert_eq!(ear.runs().len(), 2);
        assert_eq!(ear.heard_for("A"), PTIME * 2);
        assert_eq!(ear.sounds().len(), 1);
    }

    #[test]
    fn digits_are_heard_once_each() {
        let mut voice = Voice::new(&mut Random::new(9));
        voice.say(&Sound::Tone(440.0));
        voice.set_path(Duration::ZERO, Some(path(Codec::Pcma)));
        let mut ear = ear();
        for digit in "12#1".chars() {
            voice.press(digit, Duration::from_millis(80));
        }
        for nth in 0..40 {
            let packet = voice.poll(PTIME * nth).unwrap().1;
            ear.on_rtp(PTIME * nth, SOURCE.parse().unwrap(), Some(path(Codec::Pcma)), &[], &packet);
        }
        assert_eq!(ear.digits(), "12#1");
        assert_eq!(ear.faults(), []);
    }

    #[test]
    fn no_bytes_panic() {
        let mut random = Random::new(4);
        let mut ear = ear();
        for length in 0..200 {
            let bytes: Vec<u8> = (0..length).map(|_| random.next_u32() as u8).collect();
            let mut rtp = bytes.clone();
            if let Some(first) = rtp.first_mut() {
                *first = 0x80;
            }
            for packet in [&bytes, &rtp] {
                ear.on_rtp(PTIME, SOURCE.parse().unwrap(), None, &[Codec::Pcma, Codec::Pcmu], packet);
            }
        }
    }
}
