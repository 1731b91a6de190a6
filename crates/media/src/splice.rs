//! One outgoing RTP stream made of many sources: prompts, the peer, the peer after it changed its SSRC (RFC 3550 §5.1).
//!
//! ```text
//!   prompt   ███▌                 ███▌
//!   peer         ▐███ ssrc 1 ███▌     ▐██ ssrc 1 ██▌▐██ ssrc 2 ██
//!            ─────────────────────────────────────────────────────▶  one SSRC, sequence +1, timestamp by the clock
//!                ^marker          ^   ^             ^
//! ```
//!
//! Within one source the offsets of sequence number and timestamp are constant, so what the network did (loss, reordering,
//! duplicates) reaches the receiver as it is and its jitter buffer can do its work. Where the source changes, the sequence
//! goes on by one, the timestamp by the time that has really passed, and the marker says that a new talkspurt begins.

use crate::rtp::Header;
use std::time::Duration;

/// A forward jump of the sequence number up to this is loss (RFC 3550 §A.1, `MAX_DROPOUT`).
const MAX_DROPOUT: i16 = 3000;

/// A packet this far behind the newest is late; farther behind, the sequence has restarted (RFC 3550 §A.1, `MAX_MISORDER`).
const MAX_MISORDER: i16 = 100;

/// Longest silence that a timestamp may jump over within one source: five minutes.
const MAX_SILENCE: i32 = 5 * 60 * 8000;

/// A timestamp may be ahead of the time that has passed by two seconds (packets that came in a burst, with loss); beyond that
/// the sender's clock has jumped.
const MAX_LEAD: i32 = 2 * 8000;

/// How far behind the newest timestamp an event may begin: the longest duration it can state, and a second.
const MAX_EVENT_AGE: i32 = 65_535 + 8000;

/// For so long after the peer changed its SSRC, packets of the former one are late and not a change back.
const HANDOVER: Duration = Duration::from_millis(100);

/// For so long after a change an old sequence number is taken for a late packet; after that the party may have begun anew.
const LATE_FOR: Duration = Duration::from_secs(5);

/// One packet time where no audio packet has told us yet: 20 ms.
const DEFAULT_SPAN: u32 = 160;

/// What a packet carries, as far as its timestamp goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Payload {
    /// Audio of so many samples.
    Audio {
        /// 8 a millisecond.
        samples: u32,
    },
    /// A telephone-event: its timestamp stands still and may lie behind that of the audio.
    Event,
}

/// The place of a packet in the outgoing stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Outgoing sequence number.
    pub sequence_number: u16,
    /// Outgoing timestamp.
    pub timestamp: u32,
    /// Marker to write.
    pub marker: bool,
}

/// The stream towards one party.
#[derive(Clone, Debug)]
pub struct Splice {
    ssrc: u32,
    /// Newest sequence number sent.
    sequence_number: u16,
    /// Newest timestamp sent.
    timestamp: u32,
    /// When `timestamp` was sent; `None` before the first packet.
    sent_at: Option<Duration>,
    /// Samples of the last audio packet.
    span: u32,
    source: Source,
    /// The peer's SSRC before the present one: its late packets are recognised by it.
    former: Option<Former>,
}

#[derive(Clone, Copy, Debug)]
enum Source {
    /// None, or interrupted: whoever comes next begins a talkspurt.
    Nobody,
    Prompt,
    Peer(Peer),
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    ssrc: u32,
    /// Outgoing minus incoming.
    sequence_offset: u16,
    timestamp_offset: u32,
    /// Oldest incoming sequence number that belongs here; older ones are late packets of what was before.
    floor: u16,
    /// Newest incoming sequence number and timestamp.
    sequence_number: u16,
    timestamp: u32,
    /// The incoming timestamp before which nothing of this source has been sent.
    first: u32,
    /// The sequence number that would prove a restart (RFC 3550 §A.1, `bad_seq`).
    restart: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Former {
    ssrc: u32,
    sequence_number: u16,
    left_at: Duration,
}

/// What a packet of the present peer is.
enum Verdict {
    /// Newer than all before it.
    Newer,
    /// Reordered or a duplicate.
    Late,
    /// The stream begins anew.
    Restart,
    /// Not to be passed on.
    Stray,
}

impl Splice {
    /// A stream whose SSRC, last sequence number and first timestamp are given: they should be random (RFC 3550 §5.1).
    #[must_use]
    pub const fn new(ssrc: u32, sequence_number: u16, timestamp: u32) -> Splice {
        Splice {
            ssrc,
            sequence_number,
            timestamp,
            sent_at: None,
            span: DEFAULT_SPAN,
            source: Source::Nobody,
            former: None,
        }
    }

    /// The one SSRC of the stream.
    #[must_use]
    pub const fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The timestamp that `now` has in this stream (for sender reports); `None` before the first packet.
    #[must_use]
    pub fn timestamp_at(&self, now: Duration) -> Option<u32> {
        self.sent_at.map(|sent_at| self.timestamp.wrapping_add(samples_in(now.saturating_sub(sent_at))))
    }

    /// Ends the talkspurt: the next packet, whoever sends it, begins one with marker and the time that has really passed.
    pub fn interrupt(&mut self) {
        if let Source::Peer(peer) = self.source {
            self.former = Some(Former {
                ssrc: peer.ssrc,
                sequence_number: peer.sequence_number,
                left_at: self.sent_at.unwrap_or_default(),
            });
        }
        self.source = Source::Nobody;
    }

    /// Places a prompt's next packet, which goes out (or should have gone out) at `now`.
    pub fn on_prompt(&mut self, now: Duration, samples: u32) -> Place {
        match self.source {
            Source::Prompt => {
                let timestamp = self.timestamp.wrapping_add(self.span);
                self.sent(now, timestamp, samples);
                Place { sequence_number: self.sequence_number, timestamp, marker: false }
            }
            Source::Nobody | Source::Peer(_) => {
                self.interrupt();
                self.source = Source::Prompt;
                self.begin(now, samples)
            }
        }
    }

    /// Places a packet of a digit of our own, `duration` samples into it. All packets of one digit have the timestamp of its
    /// beginning; nothing else may be placed until its last.
    pub fn on_digit(&mut self, now: Duration, begins: bool, duration: u32) -> Place {
        if begins {
            self.interrupt();
            return self.begin(now, duration);
        }
        self.sequence_number = self.sequence_number.wrapping_add(1);
        // What follows must not overlap the digit.
        self.span = duration.max(1);
        Place { sequence_number: self.sequence_number, timestamp: self.timestamp, marker: false }
    }

    /// Places a packet of the peer; `None` when it must not be passed on: late, from before the last change, or a stray.
    pub fn on_peer(&mut self, now: Duration, header: &Header, payload: Payload) -> Option<Place> {
        match self.source {
            Source::Peer(peer) if peer.ssrc == header.ssrc => self.on_same_peer(now, peer, header, payload),
            Source::Peer(_) | Source::Prompt | Source::Nobody => {
                if self.is_late_of_former(now, header) {
                    return None;
                }
                self.interrupt();
                Some(self.begin_peer(now, header, payload))
            }
        }
    }

    /// Closes the gap of a packet that is not passed on, so that the receiver does not take it for a loss. Older packets that
    /// come after it have lost their place.
    pub fn omit(&mut self, header: &Header) {
        let Source::Peer(peer) = &mut self.source else {
            return;
        };
        let ahead = header.sequence_number.wrapping_sub(peer.sequence_number) as i16;
        if peer.ssrc == header.ssrc && (1..=MAX_DROPOUT).contains(&ahead) {
            peer.advance(header.sequence_number);
            peer.floor = header.sequence_number.wrapping_add(1);
            peer.sequence_offset = peer.sequence_offset.wrapping_sub(1);
        }
    }

    fn on_same_peer(&mut self, now: Duration, mut peer: Peer, header: &Header, payload: Payload) -> Option<Place> {
        let ahead = header.timestamp.wrapping_sub(peer.timestamp) as i32;
        match peer.judge(header, payload, self.farthest(now, ahead)) {
            Verdict::Newer => {
                peer.advance(header.sequence_number);
                let place = peer.place(header, payload);
                self.sequence_number = place.sequence_number;
                if ahead > 0 {
                    peer.go_to(header.timestamp);
                    self.timestamp = place.timestamp;
                    self.sent_at = Some(now);
                }
                self.set_span(payload);
                self.source = Source::Peer(peer);
                Some(place)
            }
            Verdict::Late => Some(peer.place(header, payload)),
            Verdict::Restart => Some(self.begin_peer(now, header, payload)),
            Verdict::Stray => {
                // Only the restart candidate may have changed.
                peer.note_stray(header);
                self.source = Source::Peer(peer);
                None
            }
        }
    }

    /// How far ahead of the newest timestamp one may be that is `ahead` of it.
    #[inline]
    fn farthest(&self, now: Duration, ahead: i32) -> i32 {
        // Nearly every packet is spared the division.
        if ahead <= MAX_LEAD { MAX_LEAD } else { self.farthest_by_clock(now) }
    }

    #[cold]
    fn farthest_by_clock(&self, now: Duration) -> i32 {
        let elapsed = now.saturating_sub(self.sent_at.unwrap_or_default()).as_micros() / 125;
        i32::try_from(elapsed).unwrap_or(i32::MAX).saturating_add(MAX_LEAD).min(MAX_SILENCE)
    }

    fn begin_peer(&mut self, now: Duration, header: &Header, payload: Payload) -> Place {
        let samples = match payload {
            Payload::Audio { samples } => samples,
            Payload::Event => self.span,
        };
        let place = self.begin(now, samples);
        self.source = Source::Peer(Peer {
            ssrc: header.ssrc,
            sequence_offset: place.sequence_number.wrapping_sub(header.sequence_number),
            timestamp_offset: place.timestamp.wrapping_sub(header.timestamp),
            floor: header.sequence_number,
            sequence_number: header.sequence_number,
            timestamp: header.timestamp,
            first: header.timestamp,
            restart: None,
        });
        place
    }

    /// The first packet of a talkspurt.
    fn begin(&mut self, now: Duration, samples: u32) -> Place {
        let timestamp = match self.sent_at {
            None => self.timestamp,
            // At least one packet time: two packets with one timestamp would be two halves of one frame.
            Some(sent_at) => self.timestamp.wrapping_add(samples_in(now.saturating_sub(sent_at)).max(self.span)),
        };
        self.sent(now, timestamp, samples);
        Place { sequence_number: self.sequence_number, timestamp, marker: true }
    }

    fn sent(&mut self, now: Duration, timestamp: u32, samples: u32) {
        self.sequence_number = self.sequence_number.wrapping_add(1);
        self.timestamp = timestamp;
        self.sent_at = Some(now);
        self.span = samples.max(1);
    }

    fn set_span(&mut self, payload: Payload) {
        if let Payload::Audio { samples } = payload {
            self.span = samples.max(1);
        }
    }

    /// The former SSRC's packets are late when they come right after the change or are no newer than what it had sent.
    fn is_late_of_former(&self, now: Duration, header: &Header) -> bool {
        let Some(former) = self.former.filter(|former| former.ssrc == header.ssrc) else {
            return false;
        };
        let ahead = header.sequence_number.wrapping_sub(former.sequence_number) as i16;
        let changed_ssrc = match self.source {
            Source::Peer(_) => true,
            Source::Nobody | Source::Prompt => false,
        };
        let ago = now.saturating_sub(former.left_at);
        (ago < LATE_FOR && (-MAX_MISORDER..=0).contains(&ahead)) || (changed_ssrc && ago < HANDOVER)
    }
}

impl Peer {
    /// `farthest` is how far ahead of the newest timestamp the packet's may be.
    fn judge(&self, header: &Header, payload: Payload, farthest: i32) -> Verdict {
        let sequence_ahead = header.sequence_number.wrapping_sub(self.sequence_number) as i16;
        let timestamp_ahead = header.timestamp.wrapping_sub(self.timestamp) as i32;
        let oldest = match payload {
            Payload::Audio { .. } => 0,
            Payload::Event => -MAX_EVENT_AGE,
        };
        if self.restart == Some(header.sequence_number) {
            Verdict::Restart
        } else if (1..=MAX_DROPOUT).contains(&sequence_ahead) {
            if (oldest..=farthest).contains(&timestamp_ahead) { Verdict::Newer } else { Verdict::Restart }
        } else if (-MAX_MISORDER..=0).contains(&sequence_ahead) {
            let belongs = header.sequence_number.wrapping_sub(self.floor) as i16 >= 0;
            // A late packet's timestamp is no newer than the newest's, and no older than what lay in between.
            if belongs && (-MAX_SILENCE..=0).contains(&timestamp_ahead) { Verdict::Late } else { Verdict::Stray }
        } else {
            Verdict::Stray
        }
    }

    /// A packet far off the sequence, or behind it though it is newer: when the next one follows on it, the sequence has
    /// restarted.
    fn note_stray(&mut self, header: &Header) {
        let sequence_ahead = header.sequence_number.wrapping_sub(self.sequence_number) as i16;
        let is_newer = header.timestamp.wrapping_sub(self.timestamp) as i32 > 0;
        if is_newer || !(-MAX_MISORDER..=MAX_DROPOUT).contains(&sequence_ahead) {
            self.restart = Some(header.sequence_number.wrapping_add(1));
        }
    }

    fn advance(&mut self, sequence_number: u16) {
        self.sequence_number = sequence_number;
        self.restart = None;
        // The floor is drawn along, or it would come to lie ahead when the sequence number wraps.
        if sequence_number.wrapping_sub(self.floor) > MAX_MISORDER as u16 {
            self.floor = sequence_number.wrapping_sub(MAX_MISORDER as u16);
        }
    }

    fn go_to(&mut self, timestamp: u32) {
        self.timestamp = timestamp;
        // Drawn along, or it would come to lie ahead when the timestamp wraps.
        if timestamp.wrapping_sub(self.first) > MAX_EVENT_AGE as u32 {
            self.first = timestamp.wrapping_sub(MAX_EVENT_AGE as u32);
        }
    }

    fn place(&self, header: &Header, payload: Payload) -> Place {
        // A digit that was pressed before this source had its turn has its beginning before what has been sent: time would go
        // back. It begins with the turn instead.
        let is_before = (header.timestamp.wrapping_sub(self.first) as i32) < 0;
        let timestamp = if payload == Payload::Event && is_before { self.first } else { header.timestamp };
        Place {
            sequence_number: header.sequence_number.wrapping_add(self.sequence_offset),
            timestamp: timestamp.wrapping_add(self.timestamp_offset),
            marker: header.marker,
        }
    }
}

/// Samples in a stretch of time; wraps like a timestamp.
const fn samples_in(elapsed: Duration) -> u32 {
    (elapsed.as_micros() / 125) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const SPAN: u32 = 160;
    const AUDIO: Payload = Payload::Audio { samples: SPAN };

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_digit_pressed_before_the_turn_of_its_source_does_not_turn_time_back() {
        for start in [10_000_u32, 300] {
            let mut splice = splice();
            for n in 0..5 {
                splice.on_prompt(ms(20 * n), SPAN);
            }
            // Joined in the middle of a digit that began 864 samples before.
            let first = splice.on_peer(ms(100), &header(1, 7, start), AUDIO).unwrap();
            let began = start.wrapping_sub(864);
            let all: Vec<Place> = (0..4)
                .map(|n| splice.on_peer(ms(120 + 20 * n), &header(1, 8 + n as u16, began), Payload::Event).unwrap())
                .collect();
            assert!(all.iter().all(|place| place.timestamp == first.timestamp), "{all:?}");
            assert!(all.windows(2).all(|two| two[1].sequence_number == two[0].sequence_number.wrapping_add(1)));
            // The audio after it, and a digit of its own time, go by their own.
            let audio = splice.on_peer(ms(200), &header(1, 12, start.wrapping_add(800)), AUDIO).unwrap();
            assert_eq!(audio.timestamp.wrapping_sub(first.timestamp), 800);
            let digit = splice.on_peer(ms(220), &header(1, 13, start.wrapping_add(640)), Payload::Event).unwrap();
            assert_eq!(digit.timestamp.wrapping_sub(first.timestamp), 640);
        }
    }

    fn splice() -> Splice {
        Splice::new(0x5151_5151, 65_530, u32::MAX - 2000)
    }

    fn header(ssrc: u32, sequence_number: u16, timestamp: u32) -> Header {
        Header { payload_type: 8, marker: false, sequence_number, timestamp, ssrc }
    }

    /// The place of audio packet `number` (0, 1, …) of a stream that begins at `sequence` and `timestamp`.
    fn audio(splice: &mut Splice, ssrc: u32, number: u16, at: Duration) -> Option<Place> {
        let timestamp = (u32::MAX - 500).wrapping_add(u32::from(number) * SPAN);
        splice.on_peer(at, &header(ssrc, number.wrapping_sub(3), timestamp), AUDIO)
    }

    fn differs(later: Place, earlier: Place) -> (u16, u32) {
        (later.sequence_number.wrapping_sub(earlier.sequence_number), later.timestamp.wrapping_sub(earlier.timestamp))
    }

    #[test]
    fn one_source_passes_with_constant_offsets_over_both_wraps() {
        let mut splice = splice();
        let first = audio(&mut splice, 1, 0, ms(0)).unwrap();
        assert!(first.marker);
        for number in 1..200 {
            // Arrival is uneven; the stream is not.
            let at = ms(u64::from(number) * 20 + u64::from(number % 7));
            let place = audio(&mut splice, 1, number, at).unwrap();
            assert_eq!(differs(place, first), (number, u32::from(number) * SPAN));
            assert!(!place.marker);
        }
    }

    #[test]
    fn loss_reordering_and_duplicates_pass_as_they_are() {
        let mut splice = splice();
        let first = audio(&mut splice, 1, 0, ms(0)).unwrap();
        for number in [1, 2, 5, 4, 4, 3, 9, 9, 60, 61] {
            let place = audio(&mut splice, 1, number, ms(20)).unwrap();
            assert_eq!(differs(place, first), (number, u32::from(number) * SPAN));
        }
        assert_eq!(audio(&mut splice, 1, 0, ms(30)).map(|place| differs(place, first)), Some((0, 0)));
    }

    #[test]
    fn a_prompt_is_even_and_a_switch_advances_by_the_time_that_passed() {
        let mut splice = splice();
        let mut last = splice.on_prompt(ms(0), SPAN);
        assert!(last.marker);
        for number in 1..10 {
            let place = splice.on_prompt(ms(20 * number), SPAN);
            assert_eq!((differs(place, last), place.marker), ((1, SPAN), false));
            last = place;
        }
        let peer = audio(&mut splice, 1, 40, ms(180 + 1234)).unwrap();
        assert_eq!((differs(peer, last), peer.marker), ((1, 1234 * 8), true));
        let prompt = splice.on_prompt(ms(1414 + 3), SPAN);
        assert_eq!((differs(prompt, peer), prompt.marker), ((1, SPAN), true), "at least one packet time");
    }

    #[test]
    fn packet_times_may_change_within_a_prompt() {
        let mut splice = splice();
        let first = splice.on_prompt(ms(0), 160);
        let second = splice.on_prompt(ms(20), 240);
        let third = splice.on_prompt(ms(50), 160);
        assert_eq!(differs(second, first), (1, 160));
        assert_eq!(differs(third, second), (1, 240));
    }

    #[test]
    fn a_late_packet_of_before_the_switch_is_dropped() {
        let mut splice = splice();
        for number in [0, 1, 3] {
            audio(&mut splice, 1, number, ms(20)).unwrap();
        }
        let prompt = splice.on_prompt(ms(40), SPAN);
        splice.interrupt();
        assert_eq!(audio(&mut splice, 1, 2, ms(60)), None, "older than the last one sent before the prompt");
        assert_eq!(audio(&mut splice, 1, 3, ms(60)), None, "and a duplicate of it");
        let back = audio(&mut splice, 1, 6, ms(60)).unwrap();
        assert_eq!(differs(back, prompt), (1, SPAN));
        for number in [2, 3, 4, 5] {
            assert_eq!(audio(&mut splice, 1, number, ms(61)), None, "{number} would be reordered before the prompt");
        }
        let place = audio(&mut splice, 1, 8, ms(80)).unwrap();
        assert_eq!(differs(place, back), (2, 2 * SPAN));
        assert_eq!(audio(&mut splice, 1, 7, ms(81)).map(|place| differs(place, back)), Some((1, SPAN)));
    }

    #[test]
    fn a_change_of_ssrc_goes_on_where_the_stream_was_and_late_packets_do_not_change_back() {
        let mut splice = splice();
        let old = audio(&mut splice, 1, 10, ms(0)).unwrap();
        let new = audio(&mut splice, 2, 3000, ms(20)).unwrap();
        assert_eq!((differs(new, old), new.marker), ((1, SPAN), true));
        assert_eq!(audio(&mut splice, 1, 11, ms(30)), None, "in flight during the change");
        assert_eq!(audio(&mut splice, 1, 9, ms(300)), None, "older than what had been sent");
        let next = audio(&mut splice, 2, 3001, ms(40)).unwrap();
        assert_eq!((differs(next, new), next.marker), ((1, SPAN), false));
        let back = audio(&mut splice, 1, 30, ms(400)).unwrap();
        assert_eq!((differs(back, next), back.marker), ((1, 360 * 8), true), "a real change back");
    }

    #[test]
    fn one_stray_sequence_number_is_dropped_and_two_in_a_row_are_a_restart() {
        let mut splice = splice();
        let first = audio(&mut splice, 1, 0, ms(0)).unwrap();
        assert_eq!(splice.on_peer(ms(20), &header(1, 30_000, 77), AUDIO), None);
        let second = audio(&mut splice, 1, 1, ms(20)).unwrap();
        assert_eq!(differs(second, first), (1, SPAN));
        assert_eq!(splice.on_peer(ms(40), &header(1, 30_000, 77), AUDIO), None);
        let restart = splice.on_peer(ms(60), &header(1, 30_001, 77 + SPAN), AUDIO).unwrap();
        assert_eq!((differs(restart, second), restart.marker), ((1, 2 * SPAN), true));
        let next = splice.on_peer(ms(80), &header(1, 30_002, 77 + 2 * SPAN), AUDIO).unwrap();
        assert_eq!((differs(next, restart), next.marker), ((1, SPAN), false));
    }

    #[test]
    fn two_strays_with_good_packets_between_them_are_no_restart() {
        let mut splice = splice();
        for number in 0..5 {
            assert!(audio(&mut splice, 1, number, ms(0)).is_some());
            assert_eq!(splice.on_peer(ms(0), &header(1, 30_000 + number, 77), AUDIO), None);
        }
    }

    #[test]
    fn after_a_longer_packet_a_switch_leaves_room_for_it() {
        let mut splice = splice();
        audio(&mut splice, 1, 0, ms(0)).unwrap();
        let long = header(1, 1_u16.wrapping_sub(3), (u32::MAX - 500).wrapping_add(SPAN));
        let long = splice.on_peer(ms(20), &long, Payload::Audio { samples: 480 }).unwrap();
        assert_eq!(differs(splice.on_prompt(ms(25), SPAN), long), (1, 480));
    }

    #[test]
    fn after_an_event_a_switch_counts_from_when_the_event_began() {
        let mut splice = splice();
        splice.on_peer(ms(0), &header(1, 0, 1000), AUDIO).unwrap();
        let begun = splice.on_peer(ms(20), &header(1, 1, 1160), Payload::Event).unwrap();
        for number in 2..20 {
            let at = ms(u64::from(number) * 20);
            splice.on_peer(at, &header(1, number, 1160), Payload::Event).unwrap();
        }
        let prompt = splice.on_prompt(ms(400), SPAN);
        assert_eq!(differs(prompt, begun), (19, 380 * 8));
    }

    #[test]
    fn a_silence_passes_unchanged_and_a_garbage_timestamp_is_mended() {
        let mut splice = splice();
        let first = splice.on_peer(ms(0), &header(1, 0, 5000), AUDIO).unwrap();
        let after_silence = splice.on_peer(ms(60_000), &header(1, 1, 5000 + 480_000), AUDIO).unwrap();
        assert_eq!((differs(after_silence, first), after_silence.marker), ((1, 480_000), false));
        let mut last = after_silence;
        let mut sequence = 1;
        for garbage in [5000, 0x7000_0000, 3, 0xf000_0000] {
            sequence += 1;
            let at = ms(60_000 + u64::from(sequence) * 20);
            let mended = splice.on_peer(at, &header(1, sequence, garbage), AUDIO).unwrap();
            let (ahead, samples) = differs(mended, last);
            assert!(mended.marker && ahead == 1 && (SPAN..=2 * SPAN).contains(&samples), "{mended:?} after {last:?}");
            last = mended;
        }
    }

    #[test]
    fn a_timestamp_is_ahead_of_the_clock_by_two_seconds_at_most() {
        for (ahead, elapsed, is_mended) in [
            (16_000, 20, false),
            (16_161, 20, true),
            (15 * 8000, 20, true),
            (15 * 8000, 13_000, false),
            (15 * 8000, 12_999, true),
            (299 * 8000, 297_000, false),
            (301 * 8000, 301_000, true),
        ] {
            let mut splice = splice();
            let first = splice.on_peer(ms(0), &header(1, 0, 5000), AUDIO).unwrap();
            let next = splice.on_peer(ms(elapsed), &header(1, 1, 5000 + ahead), AUDIO).unwrap();
            let expected = if is_mended { elapsed as u32 * 8 } else { ahead };
            assert_eq!((differs(next, first), next.marker), ((1, expected), is_mended), "{ahead} in {elapsed} ms");
        }
    }

    #[test]
    fn a_sequence_that_goes_back_while_time_goes_on_has_restarted() {
        let mut splice = splice();
        let first = splice.on_peer(ms(0), &header(1, 500, 0), AUDIO).unwrap();
        assert_eq!(splice.on_peer(ms(20), &header(1, 460, SPAN), AUDIO), None, "one alone is a stray");
        let next = splice.on_peer(ms(40), &header(1, 461, 2 * SPAN), AUDIO).unwrap();
        assert_eq!((differs(next, first), next.marker), ((1, 2 * SPAN), true));
    }

    #[test]
    fn a_digit_of_our_own_takes_the_place_of_the_peer() {
        let mut splice = splice();
        let before = audio(&mut splice, 1, 0, ms(0)).unwrap();
        let begun = splice.on_digit(ms(25), true, 160);
        assert_eq!((differs(begun, before), begun.marker), ((1, 200), true));
        for number in 1..5 {
            let place = splice.on_digit(ms(25 + 20 * u64::from(number)), false, 160 * (u32::from(number) + 1));
            assert_eq!((differs(place, begun), place.marker), ((number, 0), false));
        }
        let after = audio(&mut splice, 1, 6, ms(106)).unwrap();
        assert_eq!((differs(after, begun), after.marker), ((5, 800), true), "not before the digit is over");
        assert_eq!(audio(&mut splice, 1, 0, ms(107)), None, "older than the digit");
    }

    #[test]
    fn an_event_keeps_its_timestamp_its_marker_and_its_repeated_end() {
        let mut splice = splice();
        let event = |splice: &mut Splice, sequence, at| {
            let header = Header { marker: sequence == 2, ..header(1, sequence, 1320) };
            splice.on_peer(ms(at), &header, Payload::Event).unwrap()
        };
        splice.on_peer(ms(0), &header(1, 0, 1000), AUDIO).unwrap();
        let before = splice.on_peer(ms(20), &header(1, 1, 1160), AUDIO).unwrap();
        let begun = event(&mut splice, 2, 40);
        assert_eq!((differs(begun, before), begun.marker), ((1, SPAN), true));
        // Audio in between, as some senders do, does not tear the event.
        splice.on_peer(ms(60), &header(1, 3, 1480), AUDIO).unwrap();
        for (sequence, at) in [(4, 80), (5, 100), (6, 100), (7, 100)] {
            let place = event(&mut splice, sequence, at);
            assert_eq!((place.timestamp, place.marker), (begun.timestamp, false));
            assert_eq!(place.sequence_number.wrapping_sub(begun.sequence_number), sequence - 2);
        }
        let after = splice.on_peer(ms(120), &header(1, 8, 1960), AUDIO).unwrap();
        assert_eq!((differs(after, begun), after.marker), ((6, 640), false));
    }

    #[test]
    fn an_omitted_packet_leaves_no_gap() {
        let mut splice = splice();
        let first = audio(&mut splice, 1, 0, ms(0)).unwrap();
        for number in [1, 2, 3] {
            splice.omit(&header(1, u16::wrapping_sub(number, 3), 0));
        }
        let next = audio(&mut splice, 1, 4, ms(80)).unwrap();
        assert_eq!(differs(next, first), (1, 4 * SPAN));
        let lossy = audio(&mut splice, 1, 6, ms(120)).unwrap();
        assert_eq!(differs(lossy, first), (3, 6 * SPAN), "a loss is still a gap");
        splice.omit(&header(2, 0, 0));
        splice.omit(&header(1, 2, 0));
        assert_eq!(audio(&mut splice, 1, 7, ms(140)).map(|place| differs(place, lossy)), Some((1, SPAN)));
    }

    #[test]
    fn no_place_is_given_twice_where_packets_are_omitted_and_reordered() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let mut splice = splice();
            let mut given = std::collections::BTreeMap::new();
            let mut order: Vec<u16> = (0..200).collect();
            for at in 0..order.len() - 4 {
                order.swap(at, at + (random.next_u32() % 4) as usize);
            }
            for number in order {
                if number % 5 == 0 {
                    splice.omit(&header(1, number.wrapping_sub(3), 0));
                } else if let Some(place) = audio(&mut splice, 1, number, ms(u64::from(number) * 20)) {
                    let other = given.insert(place.sequence_number, number);
                    assert_eq!(other, None, "seed {seed}: {number} takes a place that was given");
                }
            }
            assert!(given.len() > 100, "seed {seed}: {}", given.len());
        }
    }

    #[test]
    fn time_is_told_from_the_first_packet_on() {
        let mut splice = splice();
        assert_eq!(splice.timestamp_at(ms(0)), None);
        let place = splice.on_prompt(ms(1000), SPAN);
        assert_eq!(splice.timestamp_at(ms(1500)), Some(place.timestamp.wrapping_add(4000)));
    }

    /// Whatever two sources, prompts and garbage do, the newest packets of the stream are numbered one after the other and
    /// its time runs with the clock.
    #[test]
    fn switches_never_tear_the_stream() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let mut splice = splice();
            let start = splice.on_prompt(ms(0), SPAN);
            let mut newest = start;
            for tick in 1..500_u32 {
                let at = ms(u64::from(tick) * 20);
                let number = tick as u16;
                let place = match (tick / 50 + random.next_u32() % 40 / 39) % 4 {
                    0 => Some(splice.on_prompt(at, SPAN)),
                    1 => audio(&mut splice, 1, number, at),
                    2 => audio(&mut splice, 2, number + 777, at),
                    _ => audio(&mut splice, 1, number + 9000, at),
                };
                let Some(place) = place else { continue };
                let (ahead, samples) = differs(place, newest);
                assert!((1..100).contains(&ahead), "seed {seed} tick {tick}: {ahead} packets ahead");
                assert!(samples >= SPAN, "seed {seed} tick {tick}: {samples} samples ahead");
                let clock = tick * SPAN;
                let drift = place.timestamp.wrapping_sub(start.timestamp).wrapping_sub(clock) as i32;
                assert!(drift.abs() <= 320 * 160, "seed {seed} tick {tick}: off by {drift}");
                newest = place;
            }
        }
    }
}
