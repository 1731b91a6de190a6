//! What both parties say, as one A-law stream at 8,000 Hz that follows real time.
//!
//! ```text
//!                 drained                      now           drained + 512 ms
//!   ── final ────────┼── may still be filled ───┼── sent early ───┼──▶ position, 1/8,000 s since the start
//!                    A: ▓▓▓▓▓▓░░▓▓▓▓▓▓▓▓░░░░▓▓▓▓▓▓
//!                    B: ░░░░▓▓▓▓▓▓░░░░▓▓▓▓▓▓▓▓▓▓▓▓      ░ silence: never sent, lost, or too late
//! ```
//!
//! Each direction has a ring of A-law samples and is placed by its RTP timestamp (RFC 3550 §5.1), relative to where the
//! first packet of its SSRC was placed: at its arrival. Order of arrival and loss thus change nothing. Three things can go
//! wrong with a sender's clock, and each has its rule:
//!
//! * **It jumps.** A packet that lies more than [`JUMP`] from its arrival, or with another SSRC, is placed at its arrival; when
//!   the sequence number has gone back too, the second of them is.
//! * **It stops during a pause**, or the path gets much longer. Packets that cannot be placed are dropped; when that lasts
//!   for [`ASTRAY_FOR`], the next one is placed at its arrival. A burst after a stall of the network ends sooner.
//! * **It drifts.** Every [`EPOCH`] packets the one that came with the least delay is looked at: where it lies outside of
//!   [`SLOWEST`]..[`FASTEST`] of its arrival, the stream slips back inside. That is a hole or an overlap of some 10 ms: what
//!   the two clocks disagree by, and never a growing delay.

use crate::g711::{SILENCE_ALAW, alaw_to_linear, convert, linear_to_alaw};
use crate::{Codec, Side, rtp};
use std::time::Duration;

/// Samples a second.
const RATE: u64 = 8000;

/// Samples in a ring: 512 ms.
const RING: usize = 4096;

/// A packet may come later than its place by this much, in samples: 240 ms. What is older is final.
pub const WINDOW: u64 = 1920;

/// [`Recorder::drain`] is due when so many samples are final: 100 ms.
pub const DRAIN: u64 = 800;

/// Farther than this from its arrival, in samples, a packet's timestamp has jumped: 1 s.
pub const JUMP: i64 = 8000;

/// Packets that cannot be placed for so long are placed anew.
pub const ASTRAY_FOR: Duration = Duration::from_millis(100);

/// How many packets are watched for drift at a time: 5 s of 20 ms packets.
pub const EPOCH: u16 = 256;

/// The least delayed packet of an epoch may lie before its arrival by this much, in samples: 40 ms.
pub const SLOWEST: i64 = -320;

/// The least delayed packet of an epoch may lie after its arrival by this much, in samples: 80 ms.
pub const FASTEST: i64 = 640;

/// A slip ends this far inside of the bounds, in samples: 10 ms.
const INSIDE: i64 = 80;

/// The longest payload that is taken, in samples: 200 ms. Longer ones are cut.
const MAX_PAYLOAD: usize = 1600;

/// Mixes both directions of a call.
pub struct Recorder {
    start: Duration,
    /// Samples that [`Recorder::drain`] has given out; the oldest that can still be filled.
    drained: u64,
    lanes: [Lane; 2],
    counters: Counters,
}

/// What became of the packets, in packets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Placed, wholly or in part.
    pub placed: u64,
    /// Dropped because their sequence number had already come.
    pub duplicate: u64,
    /// Dropped because their place was already final.
    pub late: u64,
    /// Dropped because their place lies too far ahead.
    pub early: u64,
    /// Placed at their arrival although their SSRC was known: the timestamp had jumped or stood still.
    pub anchored_anew: u64,
    /// Slips against drift.
    pub slips: u64,
}

/// One direction.
struct Lane {
    /// A-law samples; the one at position `p` is at `p % RING`. Everywhere silent but where a packet has been placed.
    ring: Box<[u8; RING]>,
    stream: Option<Stream>,
}

/// The present SSRC of a direction.
struct Stream {
    ssrc: u32,
    /// A timestamp and its position. Moves on with the newest packet, so that wrapping is never ambiguous.
    anchor: (u32, i64),
    highest_sequence: u16,
    /// Bit n: the sequence number `highest_sequence - n` has come.
    seen: u64,
    /// What would follow the last packet that was [`Order::Old`].
    after_straggler: Option<u16>,
    /// Since when no packet could be placed.
    astray_since: Option<Duration>,
    epoch_packets: u16,
    /// Position minus arrival of the least delayed packet of the epoch, in samples.
    epoch_lead: i64,
}

/// Whether a sequence number is new, and how.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Newest,
    Reordered,
    Duplicate,
    /// Too far behind to tell.
    Old,
}

/// Where a payload comes to lie.
#[derive(Clone, Copy)]
enum Place {
    At(u64),
    Late,
    Early,
}

impl Recorder {
    /// A recording that begins `now`. Allocates its 8 KiB.
    #[must_use]
    pub fn new(now: Duration) -> Recorder {
        let lane = || Lane { ring: Box::new([SILENCE_ALAW; RING]), stream: None };
        Recorder { start: now, drained: 0, lanes: [lane(), lane()], counters: Counters::default() }
    }

    /// Takes the audio of one packet from `side`, without header and padding. Does not allocate.
    pub fn on_audio(&mut self, now: Duration, side: Side, rtp: &rtp::Header, codec: Codec, payload: &[u8]) {
        let payload = &payload[..payload.len().min(MAX_PAYLOAD)];
        if payload.is_empty() {
            return;
        }
        let arrival = i64::try_from(self.position(now)).unwrap_or(i64::MAX);
        let lane = &mut self.lanes[side.index()];
        let stream = match &mut lane.stream {
            Some(stream) if stream.ssrc == rtp.ssrc => stream,
            other => other.insert(Stream::new(rtp, arrival)),
        };
        let mut order = stream.order(rtp.sequence_number);
        let mut position = stream.position(rtp.timestamp);
        if order == Order::Duplicate {
            if !stream.is_newer(rtp.timestamp) {
                self.counters.duplicate += 1;
                return;
            }
            // The sequence number has jumped back and the timestamp has not.
            stream.restart(rtp, position);
            order = Order::Newest;
        }
        let mut place = Place::of(position, payload.len(), self.drained);
        match (order, place) {
            (Order::Newest, Place::At(_)) => {
                let slipped = stream.on_placed(rtp.timestamp, position, arrival);
                self.counters.slips += u64::from(slipped);
            }
            (Order::Reordered | Order::Duplicate, Place::At(_)) => {}
            (Order::Old, Place::At(_)) => {
                // The sequence number has jumped back and the timestamp has not.
                if stream.is_long_astray(now) {
                    stream.restart(rtp, position);
                }
            }
            (_, Place::Late | Place::Early) => {
                let follows = match order {
                    Order::Newest => true,
                    // One is a straggler, two in a row are a sender that has begun anew.
                    Order::Old => stream.follows_straggler(rtp.sequence_number),
                    Order::Reordered | Order::Duplicate => false,
                };
                let jumped = follows && position.abs_diff(arrival) > JUMP.unsigned_abs();
                if jumped || stream.is_long_astray(now) {
                    stream.restart(rtp, arrival);
                    position = arrival;
                    place = Place::of(position, payload.len(), self.drained);
                    self.counters.anchored_anew += 1;
                }
            }
        }
        match place {
            Place::At(from) => {
                // What lies before `from` is final already.
                let cut = usize::try_from(from.saturating_sub_signed(position)).unwrap_or(0);
                lane.fill(from, codec, payload.get(cut..).unwrap_or_default());
                self.counters.placed += 1;
            }
            Place::Late => self.counters.late += 1,
            Place::Early => self.counters.early += 1,
        }
    }

    /// Appends the A-law samples that are final: everything more than [`WINDOW`] before `now`. Nothing is lost by calling it
    /// often; by not calling it for 100 ms after [`Recorder::poll_timeout`] packets are.
    pub fn drain(&mut self, now: Duration, out: &mut Vec<u8>) {
        let until = self.position(now).saturating_sub(WINDOW);
        self.mix(until, out);
    }

    /// Appends the rest up to `now`. Returns the length of the whole recording in milliseconds: the time since its beginning.
    pub fn finish(&mut self, now: Duration, out: &mut Vec<u8>) -> u64 {
        let until = self.position(now);
        self.mix(until, out);
        self.drained / (RATE / 1000)
    }

    /// When to call [`Recorder::drain`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let samples = self.drained.saturating_add(WINDOW + DRAIN);
        self.start.checked_add(Duration::from_micros(samples.saturating_mul(1_000_000 / RATE)))
    }

    /// What became of the packets so far.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Samples since the beginning.
    fn position(&self, now: Duration) -> u64 {
        let elapsed = now.saturating_sub(self.start);
        let micros = u64::from(elapsed.subsec_micros());
        elapsed.as_secs().saturating_mul(RATE).saturating_add(micros * RATE / 1_000_000)
    }

    /// Appends the samples before `until` and makes the rings silent there.
    fn mix(&mut self, until: u64, out: &mut Vec<u8>) {
        while self.drained < until {
            let (from, _) = ring_range(self.drained, RING);
            let len = (RING - from).min(usize::try_from(until - self.drained).unwrap_or(RING));
            let [a, b] = &mut self.lanes;
            let (a, b) = (&mut a.ring[from..from + len], &mut b.ring[from..from + len]);
            out.extend(a.iter().zip(b.iter()).map(|(&a, &b)| mix(a, b)));
            a.fill(SILENCE_ALAW);
            b.fill(SILENCE_ALAW);
            self.drained += len as u64;
        }
    }
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recorder({} ms, {:?})", self.drained / (RATE / 1000), self.counters)
    }
}

impl Lane {
    /// Writes samples from position `from` on, over what may be there; at most [`RING`] of them.
    fn fill(&mut self, from: u64, codec: Codec, payload: &[u8]) {
        let (start, before_wrap) = ring_range(from, payload.len());
        let (head, tail) = payload.split_at(before_wrap);
        for (at, samples) in [(start, head), (0, tail)] {
            let place = &mut self.ring[at..at + samples.len()];
            place.copy_from_slice(samples);
            convert(codec, Codec::Pcma, place);
        }
    }
}

impl Stream {
    /// A stream whose packet `rtp` is placed at `position`.
    fn new(rtp: &rtp::Header, position: i64) -> Stream {
        Stream {
            ssrc: rtp.ssrc,
            anchor: (rtp.timestamp, position),
            // The packet itself is still to come.
            highest_sequence: rtp.sequence_number.wrapping_sub(1),
            seen: 0,
            after_straggler: None,
            astray_since: None,
            epoch_packets: 0,
            epoch_lead: i64::MIN,
        }
    }

    /// Forgets what was before `rtp`, which is placed at `position`.
    fn restart(&mut self, rtp: &rtp::Header, position: i64) {
        *self = Stream::new(rtp, position);
        self.order(rtp.sequence_number);
    }

    fn follows_straggler(&mut self, sequence_number: u16) -> bool {
        self.after_straggler.replace(sequence_number.wrapping_add(1)) == Some(sequence_number)
    }

    /// Whether a timestamp is newer than all that have been placed.
    fn is_newer(&self, timestamp: u32) -> bool {
        timestamp.wrapping_sub(self.anchor.0) as i32 > 0
    }

    fn position(&self, timestamp: u32) -> i64 {
        let (anchor, position) = self.anchor;
        position.saturating_add(i64::from(timestamp.wrapping_sub(anchor) as i32))
    }

    /// Says how `sequence_number` stands to those before it, and remembers it.
    fn order(&mut self, sequence_number: u16) -> Order {
        let ahead = sequence_number.wrapping_sub(self.highest_sequence) as i16;
        if ahead > 0 {
            self.seen = self.seen.checked_shl(u32::from(ahead.unsigned_abs())).unwrap_or(0) | 1;
            self.highest_sequence = sequence_number;
            return Order::Newest;
        }
        let bit = 1_u64.checked_shl(u32::from(ahead.unsigned_abs())).unwrap_or(0);
        if bit == 0 {
            return Order::Old;
        }
        if self.seen & bit != 0 {
            return Order::Duplicate;
        }
        self.seen |= bit;
        Order::Reordered
    }

    /// Follows the newest packet; at the end of an epoch, slips when the sender's clock has drifted. Returns whether it did.
    fn on_placed(&mut self, timestamp: u32, position: i64, arrival: i64) -> bool {
        self.anchor = (timestamp, position);
        self.astray_since = None;
        self.epoch_lead = self.epoch_lead.max(position.saturating_sub(arrival));
        self.epoch_packets += 1;
        if self.epoch_packets < EPOCH {
            return false;
        }
        let lead = self.epoch_lead;
        self.epoch_packets = 0;
        self.epoch_lead = i64::MIN;
        let wanted = lead.clamp(SLOWEST + INSIDE, FASTEST - INSIDE);
        let slips = !(SLOWEST..=FASTEST).contains(&lead);
        if slips {
            self.anchor.1 = position.saturating_add(wanted.saturating_sub(lead));
        }
        slips
    }

    /// Counts time from the first packet that could not be placed; true when that is too long ago to be a straggler or a burst.
    fn is_long_astray(&mut self, now: Duration) -> bool {
        now.saturating_sub(*self.astray_since.get_or_insert(now)) >= ASTRAY_FOR
    }
}

impl Place {
    /// The place of `len` samples from `position` on, when everything before `drained` is final.
    fn of(position: i64, len: usize, drained: u64) -> Place {
        let end = position.saturating_add_unsigned(len as u64);
        let Ok(end) = u64::try_from(end) else {
            return Place::Late;
        };
        if end <= drained {
            Place::Late
        } else if end > drained.saturating_add(RING as u64) {
            Place::Early
        } else {
            Place::At(u64::try_from(position).unwrap_or(0).max(drained))
        }
    }
}

/// Where position `from` lies in a ring, and how many of `len` samples lie there before the ring's end.
fn ring_range(from: u64, len: usize) -> (usize, usize) {
    let start = (from % RING as u64) as usize;
    (start, len.min(RING - start))
}

/// The sum of two samples. The quietest one counts as nothing, so that a party who speaks alone is kept bit by bit.
#[inline]
fn mix(a: u8, b: u8) -> u8 {
    let sum = linear_to_alaw(alaw_to_linear(a).saturating_add(alaw_to_linear(b)));
    match (a, b) {
        (SILENCE_ALAW, _) => b,
        (_, SILENCE_ALAW) => a,
        (_, _) => sum,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use audio_codec_algorithms::{decode_alaw, encode_alaw};

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn header(ssrc: u32, sequence_number: u16, timestamp: u32) -> rtp::Header {
        rtp::Header { payload_type: 8, marker: false, sequence_number, timestamp, ssrc }
    }

    /// A recorder that is drained when it wants to be, and all that it has given out.
    struct Deck {
        recorder: Recorder,
        out: Vec<u8>,
    }

    impl Deck {
        fn new() -> Deck {
            Deck { recorder: Recorder::new(ms(5000)), out: Vec::new() }
        }

        /// Audio `at` this time after the beginning.
        fn audio(&mut self, at: Duration, side: Side, rtp: &rtp::Header, payload: &[u8]) {
            self.drain(at);
            self.recorder.on_audio(ms(5000) + at, side, rtp, Codec::Pcma, payload);
        }

        fn drain(&mut self, at: Duration) {
            if self.recorder.poll_timeout().is_some_and(|due| due <= ms(5000) + at) {
                self.recorder.drain(ms(5000) + at, &mut self.out);
            }
        }

        fn finish(mut self, at: Duration) -> (Vec<u8>, Counters) {
            let millis = self.recorder.finish(ms(5000) + at, &mut self.out);
            assert_eq!(u128::from(millis), at.as_millis(), "as long as it took");
            assert_eq!(self.out.len() as u128, at.as_micros() / 125);
            (self.out, self.recorder.counters())
        }
    }

    /// 20 ms of one value.
    fn tone(value: u8) -> [u8; 160] {
        [value; 160]
    }

    /// The value of every 20 ms, where they are of one value.
    fn blocks(out: &[u8]) -> Vec<Option<u8>> {
        out.chunks(160).map(|block| block.iter().all(|sample| *sample == block[0]).then_some(block[0])).collect()
    }

    #[test]
    fn one_party_is_kept_bit_by_bit_whatever_the_sample() {
        let mut deck = Deck::new();
        let every: Vec<u8> = (0..=u8::MAX).collect();
        for number in 0..20_u16 {
            let at = ms(u64::from(number) * 32);
            let side = if number < 10 { Side::A } else { Side::B };
            deck.audio(at, side, &header(1, number, u32::from(number) * 256), &every);
        }
        let (out, counters) = deck.finish(ms(640));
        assert_eq!(out, every.repeat(20));
        assert_eq!(counters, Counters { placed: 20, ..Counters::default() });
    }

    #[test]
    fn two_parties_are_the_saturated_sum_of_every_pair_of_samples() {
        for a in 0..=u8::MAX {
            let mut deck = Deck::new();
            let every: Vec<u8> = (0..=u8::MAX).collect();
            deck.audio(ms(0), Side::A, &header(1, 0, 0), &[a; 256]);
            deck.audio(ms(0), Side::B, &header(2, 0, 0), &every);
            let (out, _) = deck.finish(ms(32));
            for (b, mixed) in (0..=u8::MAX).zip(out) {
                let sum = i32::from(decode_alaw(a)) + i32::from(decode_alaw(b));
                let sum = sum.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16;
                let expected = match (a, b) {
                    (0xd5, _) => b,
                    (_, 0xd5) => a,
                    _ => encode_alaw(sum),
                };
                assert_eq!(mixed, expected, "{a:#x} and {b:#x}");
            }
        }
    }

    #[test]
    fn mu_law_is_recorded_as_alaw() {
        let mut recorder = Recorder::new(ms(0));
        let every: Vec<u8> = (0..=u8::MAX).collect();
        recorder.on_audio(ms(0), Side::B, &header(1, 0, 0), Codec::Pcmu, &every);
        let mut out = Vec::new();
        assert_eq!(recorder.finish(ms(32), &mut out), 32);
        let mut expected = every;
        convert(Codec::Pcmu, Codec::Pcma, &mut expected);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_lost_or_never_sent_is_silence() {
        let mut deck = Deck::new();
        for number in [0, 1, 3, 6] {
            deck.audio(ms(number * 20), Side::A, &header(1, number as u16, number as u32 * 160), &tone(7));
        }
        let (out, _) = deck.finish(ms(160));
        let [s, t] = [Some(SILENCE_ALAW), Some(7)];
        assert_eq!(blocks(&out), [t, t, s, t, s, s, t, s]);
        assert_eq!(Deck::new().finish(ms(12_345)).0, vec![SILENCE_ALAW; 12_345 * 8]);
    }

    #[test]
    fn a_packet_up_to_240_ms_late_takes_its_place_and_a_later_one_changes_nothing() {
        for (late, kept) in [(0, true), (200, true), (239, true), (260, false), (900, false)] {
            let mut deck = Deck::new();
            deck.audio(ms(0), Side::A, &header(1, 0, 0), &tone(1));
            deck.audio(ms(40), Side::A, &header(1, 2, 320), &tone(3));
            let now = ms(20 + late);
            deck.recorder.drain(ms(5000) + now, &mut deck.out);
            deck.audio(now, Side::A, &header(1, 1, 160), &tone(2));
            let (out, counters) = deck.finish(ms(1000));
            let middle = if kept { 2 } else { SILENCE_ALAW };
            assert_eq!(blocks(&out)[..3], [Some(1), Some(middle), Some(3)], "{late} ms");
            assert_eq!((counters.placed, counters.late), (2 + u64::from(kept), u64::from(!kept)));
        }
    }

    #[test]
    fn the_part_of_a_packet_that_is_not_final_yet_is_kept() {
        let mut deck = Deck::new();
        deck.audio(ms(0), Side::A, &header(1, 0, 0), &tone(1));
        deck.recorder.drain(ms(5000 + 240 + 30), &mut deck.out);
        assert_eq!(deck.out.len(), 240);
        let rising: Vec<u8> = (0..160).collect();
        deck.audio(ms(270), Side::A, &header(1, 1, 160), &rising);
        let (out, _) = deck.finish(ms(300));
        assert_eq!(out[160..240], tone(SILENCE_ALAW)[..80]);
        assert_eq!(out[240..320], rising[80..]);
    }

    #[test]
    fn a_sequence_number_that_has_come_is_dropped() {
        let mut deck = Deck::new();
        deck.audio(ms(0), Side::A, &header(1, 65_535, 0), &tone(1));
        deck.audio(ms(20), Side::A, &header(1, 0, 160), &tone(2));
        deck.audio(ms(21), Side::A, &header(1, 65_535, 0), &tone(9));
        deck.audio(ms(22), Side::A, &header(1, 0, 160), &tone(9));
        deck.audio(ms(60), Side::A, &header(1, 2, 480), &tone(4));
        deck.audio(ms(61), Side::A, &header(1, 1, 320), &tone(3));
        deck.audio(ms(62), Side::A, &header(1, 1, 320), &tone(9));
        let (out, counters) = deck.finish(ms(80));
        assert_eq!(blocks(&out), [Some(1), Some(2), Some(3), Some(4)]);
        assert_eq!((counters.placed, counters.duplicate), (4, 3));
    }

    #[test]
    fn the_first_packets_may_come_in_the_wrong_order() {
        let mut deck = Deck::new();
        deck.audio(ms(20), Side::A, &header(1, 0, 160), &tone(2));
        deck.audio(ms(21), Side::A, &header(1, 65_535, 0), &tone(1));
        assert_eq!(blocks(&deck.finish(ms(40)).0), [Some(1), Some(2)]);
    }

    /// Sends a hundred packets, one every 20 ms, changed by `change`, and returns what was recorded in `length`.
    fn record(length: Duration, change: impl Fn(u16, &mut rtp::Header, &mut Duration)) -> (Vec<Option<u8>>, Counters) {
        let mut deck = Deck::new();
        let mut packets: Vec<_> = (0..100)
            .map(|number| {
                let mut at = ms(u64::from(number) * 20);
                let mut rtp = header(1, number, u32::from(number) * 160);
                change(number, &mut rtp, &mut at);
                (at, rtp, tone(number as u8))
            })
            .collect();
        packets.sort_by_key(|(at, ..)| *at);
        for (at, rtp, payload) in &packets {
            deck.audio(*at, Side::A, rtp, payload);
        }
        let (out, counters) = deck.finish(length);
        (blocks(&out), counters)
    }

    /// As [`record`], as long as it takes to send them.
    fn two_seconds(change: impl Fn(u16, &mut rtp::Header, &mut Duration)) -> (Vec<Option<u8>>, Counters) {
        record(ms(2000), change)
    }

    /// Every packet at its own place, but silence in `holes`.
    fn all_but(holes: std::ops::Range<u8>) -> Vec<Option<u8>> {
        (0..100).map(|number| Some(if holes.contains(&number) { SILENCE_ALAW } else { number })).collect()
    }

    #[test]
    fn another_ssrc_is_placed_at_its_arrival() {
        let (out, counters) = two_seconds(|number, rtp, _| {
            if number >= 50 {
                *rtp = header(2, number.wrapping_mul(31_000), rtp.timestamp ^ 0x8765_0000);
                rtp.sequence_number = 40_000 + number;
            }
        });
        assert_eq!(out, all_but(0..0));
        assert_eq!(counters, Counters { placed: 100, ..Counters::default() });
    }

    #[test]
    fn a_timestamp_that_jumps_either_way_loses_nothing() {
        for jump in [8200, 100_000, 0x7fff_ffff, 0x8000_0000, u32::MAX - 8200] {
            let (out, counters) = two_seconds(|number, rtp, _| {
                if number >= 50 {
                    rtp.timestamp = rtp.timestamp.wrapping_add(jump);
                }
            });
            assert_eq!(out, all_but(0..0), "{jump:#x}");
            assert_eq!((counters.placed, counters.anchored_anew), (100, 1));
        }
    }

    #[test]
    fn one_stray_timestamp_costs_nothing_else() {
        let (out, counters) = two_seconds(|number, rtp, _| {
            if number == 50 {
                rtp.timestamp = 0xdead_beef;
            }
        });
        assert_eq!(out, all_but(0..0));
        assert_eq!(counters.anchored_anew, 2);
    }

    #[test]
    fn a_timestamp_that_stood_still_for_half_a_second_costs_a_tenth() {
        let (out, counters) = record(ms(2500), |number, _, at| {
            if number >= 50 {
                *at += ms(500);
            }
        });
        // Number 50 arrives at 1,500 ms, 500 ms after its place; number 55 is the first to come 100 ms after that.
        assert_eq!(out[..50], all_but(0..0)[..50]);
        assert_eq!(out[50..80], [Some(SILENCE_ALAW); 30]);
        assert_eq!(out[80..], all_but(0..0)[55..]);
        assert_eq!((counters.late, counters.anchored_anew), (5, 1));
    }

    #[test]
    fn a_burst_after_a_stall_keeps_its_place_as_far_as_it_is_not_final() {
        let (out, counters) = two_seconds(|number, _, at| {
            if (20..60).contains(&number) {
                *at = ms(1200) + Duration::from_micros(u64::from(number));
            }
        });
        // 800 ms of audio arrive at 1,200 ms, when everything before 960 ms is final, give or take a drain.
        let lost = counters.late as usize;
        assert!((23..=28).contains(&lost), "{counters:?}");
        assert_eq!(out[20..20 + lost], vec![Some(SILENCE_ALAW); lost]);
        assert_eq!((&out[..20], &out[49..]), (&all_but(0..0)[..20], &all_but(0..0)[49..]));
        assert_eq!(counters.anchored_anew, 0);
    }

    #[test]
    fn a_sequence_number_that_jumps_loses_nothing() {
        for jump in [100, 20_000, 40_000, 65_000, 65_500] {
            let (out, counters) = two_seconds(|number, rtp, _| {
                if number >= 50 {
                    rtp.sequence_number = number.wrapping_add(jump);
                }
            });
            assert_eq!(counters.duplicate, 0, "{jump}");
            assert_eq!(counters.placed, 100, "{jump}");
            assert_eq!(out, all_but(0..0));
        }
    }

    #[test]
    fn two_sources_in_turns_stay_at_their_arrival() {
        let (out, _) = two_seconds(|number, rtp, _| {
            rtp.ssrc = u32::from(number % 2);
            rtp.timestamp = rtp.timestamp.wrapping_mul(77 * u32::from(number));
        });
        assert_eq!(out, all_but(0..0));
    }

    #[test]
    fn a_packet_far_ahead_is_dropped_and_counted() {
        let (out, counters) = two_seconds(|number, rtp, _| {
            if number == 50 {
                rtp.timestamp += 4000;
            }
        });
        assert_eq!(out, all_but(50..51));
        assert_eq!(counters, Counters { placed: 99, early: 1, ..Counters::default() });
    }

    /// One packet on its way: when it arrives, whose, and what it is.
    struct Flight {
        at: Duration,
        side: Side,
        rtp: rtp::Header,
        codec: Codec,
        payload: Vec<u8>,
    }

    /// A party that talks for ten seconds, with pauses, over a network that loses, repeats, delays and reorders. Puts what
    /// must be recorded at its place into `model`.
    fn talk(random: &mut Random, side: Side, flights: &mut Vec<Flight>, model: &mut [Option<u8>]) {
        let samples = [80, 160, 240, 320, 480][random.below(5) as usize];
        let codec = if random.below(2) == 0 { Codec::Pcma } else { Codec::Pcmu };
        let (mut ssrc, first) = (random.next_u32(), random.below(500) * 1000);
        let mut sequence_number = random.next_u32() as u16;
        let timestamp = u32::MAX - random.below(80_000) as u32;
        let (loss, repeat, jitter) = (random.below(30), random.below(20), random.below(150) + 1);
        let mut spoken = 0;
        let mut anchor = None;
        while spoken < 80_000 {
            let payload: Vec<u8> = (0..samples).map(|_| random.next_u32() as u8).collect();
            let delay = if anchor.is_none() { 0 } else { random.below(jitter * 1000) };
            let at = Duration::from_micros(first + spoken * 125 + delay);
            let rtp = header(ssrc, sequence_number, timestamp.wrapping_add(spoken as u32));
            sequence_number = sequence_number.wrapping_add(1);
            if anchor.is_none() || random.below(100) >= loss {
                let anchor = *anchor.get_or_insert(at.as_micros() as u64 / 125 - spoken);
                let mut alaw = payload.clone();
                convert(codec, Codec::Pcma, &mut alaw);
                for (place, sample) in model.iter_mut().skip((anchor + spoken) as usize).zip(alaw) {
                    *place = Some(sample);
                }
                if random.below(100) < repeat {
                    let at = at + Duration::from_micros(random.below(50_000));
                    flights.push(Flight { at, side, rtp, codec, payload: payload.clone() });
                }
                flights.push(Flight { at, side, rtp, codec, payload });
            }
            spoken += samples;
            match random.below(200) {
                // A pause, without packets.
                0 => spoken += random.below(8000),
                // Another source takes over, after a moment in which everything of the former has arrived.
                1 => {
                    spoken += 1600;
                    (ssrc, anchor) = (random.next_u32(), None);
                }
                _ => {}
            }
        }
    }

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.next_u64() % limit
        }
    }

    #[test]
    fn any_network_gives_what_an_exact_model_gives() {
        for seed in 0..150 {
            let mut random = Random::new(seed);
            let mut flights = Vec::new();
            let mut models = [const { Vec::new() }; 2];
            for side in Side::BOTH {
                let model = &mut models[side.index()];
                model.resize(12 * 8000, None);
                talk(&mut random, side, &mut flights, model);
            }
            flights.sort_by_key(|flight| flight.at);
            let mut deck = Deck::new();
            for Flight { at, side, rtp, codec, payload } in &flights {
                if random.below(10) == 0 {
                    deck.recorder.drain(ms(5000) + *at, &mut deck.out);
                }
                deck.drain(*at);
                deck.recorder.on_audio(ms(5000) + *at, *side, rtp, *codec, payload);
            }
            let (out, counters) = deck.finish(ms(12_000));
            assert_eq!((counters.late, counters.early), (0, 0), "seed {seed}");
            let [a, b] = &models;
            for (at, ((a, b), sample)) in a.iter().zip(b).zip(out).enumerate() {
                let expected = mix(a.unwrap_or(SILENCE_ALAW), b.unwrap_or(SILENCE_ALAW));
                assert_eq!(sample, expected, "seed {seed}, sample {at}, {counters:?}");
            }
        }
    }

    #[test]
    fn an_hour_of_drift_neither_grows_a_delay_nor_loses_more_than_the_clocks_differ_by() {
        for ppm in [-200_i64, -50, 50, 200] {
            let mut deck = Deck::new();
            let mut random = Random::new(ppm.unsigned_abs());
            let hour = 180_000_u64;
            let mut arrivals = Vec::with_capacity(hour as usize);
            let mut now = Duration::ZERO;
            for number in 0..hour {
                // The sender's 20 ms last 20 ms and `ppm` millionths; up to 30 ms of jitter, in order.
                let sent = number * 20_000_000 / u64::try_from(1_000_000 + ppm).unwrap() * 1000
                    + number * 20_000_000 % u64::try_from(1_000_000 + ppm).unwrap() / 1000;
                now = now.max(Duration::from_micros(sent + random.below(30_000)));
                let rtp = header(1, number as u16, (number as u32).wrapping_mul(160));
                deck.audio(now, Side::B, &rtp, &tone((number % 200) as u8));
                arrivals.push(now);
            }
            let end = *arrivals.last().unwrap() + ms(500);
            let (out, counters) = deck.finish(end);
            assert_eq!((counters.placed, counters.anchored_anew), (hour, 0), "{ppm}");
            assert!(counters.slips <= 2 + ppm.unsigned_abs() * 3600 / 9_000, "{ppm}: {counters:?}");
            for (number, at) in arrivals.iter().enumerate().skip(1) {
                let heard = out[(at.as_micros() / 125) as usize];
                let apart = (i64::from(heard) - (number as i64 % 200) + 300) % 200 - 100;
                assert!(
                    heard == SILENCE_ALAW || apart.abs() <= 6,
                    "{ppm}: number {number} lies {apart} packets from its arrival"
                );
            }
            let silent = out.iter().filter(|sample| **sample == SILENCE_ALAW).count();
            let drift = ppm.unsigned_abs() as usize * 3600 * 8000 / 1_000_000;
            assert!(silent <= drift + 5000, "{ppm}: {silent} samples of silence");
        }
    }

    #[test]
    fn the_length_follows_the_clock_whatever_is_sent() {
        let mut random = Random::new(3551);
        for _ in 0..50 {
            let mut deck = Deck::new();
            let mut now = 0;
            let payload = [0x33; 3000];
            for _ in 0..400 {
                now += random.below(40_000);
                let rtp =
                    header(random.below(3) as u32, random.next_u32() as u16, random.next_u32() >> random.below(32));
                let len = random.below(3000) as usize >> random.below(12);
                let side = Side::BOTH[random.below(2) as usize];
                deck.audio(Duration::from_micros(now), side, &rtp, &payload[..len]);
            }
            deck.finish(Duration::from_micros(now));
        }
    }

    #[test]
    fn a_clock_that_stands_or_goes_back_and_one_never_drained_do_not_panic() {
        let mut recorder = Recorder::new(ms(5000));
        for number in 0..500_u16 {
            let rtp = header(1, number, u32::from(number) * 160);
            recorder.on_audio(ms(5000 - u64::from(number)), Side::A, &rtp, Codec::Pcma, &tone(1));
        }
        let mut out = Vec::new();
        recorder.drain(ms(0), &mut out);
        assert!(out.is_empty());
        for number in 0..500_u16 {
            let rtp = header(2, number, u32::from(number) * 160);
            let now = ms(5000 + u64::from(number) * 20);
            recorder.on_audio(now, Side::A, &rtp, Codec::Pcma, &tone(1));
        }
        assert!(recorder.counters().early > 400);
        recorder.on_audio(Duration::MAX, Side::B, &header(3, 0, 0), Codec::Pcma, &tone(1));
        assert_eq!(recorder.finish(ms(15_000), &mut out), 10_000);
    }

    #[test]
    fn it_wants_to_be_drained_when_a_tenth_of_a_second_is_final() {
        let mut recorder = Recorder::new(ms(7));
        assert_eq!(recorder.poll_timeout(), Some(ms(7 + 240 + 100)));
        let mut out = Vec::new();
        recorder.drain(ms(7 + 240 + 99), &mut out);
        assert_eq!(out.len(), 99 * 8);
        assert_eq!(recorder.poll_timeout(), Some(ms(7 + 240 + 199)));
    }
}
