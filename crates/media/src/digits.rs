//! Whole digits as telephone-events: sent where they came by another way, heard where they cannot be passed on (RFC 4733
//! §2.5).
//!
//! ```text
//!   Sender             begin                 duration reached           sent three times
//!            ┌──────┐ ────────▶ ┌─────────┐ ────────────────▶ ┌────────┐ ────────────▶ Idle, the next one 70 ms
//!            │ Idle │           │ Pressed │                   │ Ending │               after the end at the earliest
//!            └──────┘           └─────────┘                   └────────┘
//!                                └─ a packet each packet time, its duration grows
//!
//!   Receiver           first packet of a timestamp     end bit, another timestamp, or 250 ms of nothing
//!            ┌──────┐ ─────────────────────────▶ ┌──────┐ ─────────────▶ ┌──────┐
//!            │ None │                            │ Held │                │ Over │  whatever else comes of it is
//!            └──────┘                            └──────┘                └──────┘  a repetition
//!                       collecting: Pressed                Released
//!                       telling:                           Whole
//! ```

use crate::rtp::Header;
use crate::telephone_event::{Digit, TelephoneEvent};
use std::collections::VecDeque;
use std::time::Duration;

/// Digits that may wait to be sent.
const MAX_WAITING: usize = 16;

/// A digit is sent for so long, in milliseconds: what ITU-T Q.24 has everybody recognise, and what fits one segment.
const LENGTH: std::ops::RangeInclusive<u16> = 40..=5000;

/// From the end of a digit to the beginning of the next (Q.24: up to 70 ms are asked for).
const PAUSE: Duration = Duration::from_millis(70);

/// How often the end of a digit is sent (RFC 4733 §2.5.1.4).
const ENDS: u8 = 3;

/// Power of the digits that we send, in dB below 0 dBm0.
const VOLUME: u8 = 10;

/// A digit of which nothing has come for so long has ended: three reports 60 ms apart (§2.5.2.2), and some jitter.
const RELEASED_AFTER: Duration = Duration::from_millis(250);

/// Digits that may wait to be told.
const MAX_HEARD: usize = 8;

/// What there is to say of them: that each was pressed and released, after the release of the one before.
const MAX_NOTES: usize = 2 * MAX_HEARD + 1;

/// A party is told of at this pace in the long run, and [`MAX_HEARD`] at once after a pause: nobody presses faster, and each
/// one wakes the call.
const PACE: Duration = Duration::from_millis(40);

/// Packets of a digit may come after those of the next: that far behind it, in samples, they are no third digit.
const MAX_AGE: u32 = 65_535 + 8000;

/// The shortest segment of a digit that is longer than its duration field can say (§2.5.1.3); the full 65,535 by the letter.
const MIN_SEGMENT: u32 = 60_000;

/// The digits that a party is sent.
#[derive(Debug)]
pub(crate) struct Sender {
    /// Each with its length in samples; at most [`MAX_WAITING`].
    waiting: VecDeque<(Digit, u16)>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Idle {
        not_before: Duration,
    },
    /// `duration` of `length` samples have been reported.
    Pressed {
        digit: Digit,
        length: u16,
        duration: u16,
        due: Duration,
    },
    /// `left` ends are still to be sent.
    Ending {
        digit: Digit,
        duration: u16,
        left: u8,
        due: Duration,
        not_before: Duration,
    },
}

/// A packet to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    /// When it should go out.
    pub(crate) at: Duration,
    /// The first of its digit.
    pub(crate) begins: bool,
    pub(crate) event: TelephoneEvent,
}

impl Sender {
    pub(crate) const fn new() -> Sender {
        Sender { waiting: VecDeque::new(), state: State::Idle { not_before: Duration::ZERO } }
    }

    /// Takes a digit; false when too many wait.
    pub(crate) fn push(&mut self, digit: Digit, ms: u16) -> bool {
        let has_room = self.waiting.len() < MAX_WAITING;
        if has_room {
            self.waiting.push_back((digit, ms.clamp(*LENGTH.start(), *LENGTH.end()) * 8));
        }
        has_room
    }

    /// Whether a digit is being sent: nothing else may be.
    pub(crate) const fn is_sending(&self) -> bool {
        match self.state {
            State::Idle { .. } => false,
            State::Pressed { .. } | State::Ending { .. } => true,
        }
    }

    /// When the next packet is due. `may_begin` says that a new digit may.
    pub(crate) fn due(&self, may_begin: bool) -> Option<Duration> {
        match self.state {
            State::Idle { not_before } => (may_begin && !self.waiting.is_empty()).then_some(not_before),
            State::Pressed { due, .. } | State::Ending { due, .. } => Some(due),
        }
    }

    /// Moves the next packet of the digit being sent to `at`: what was missed is not sent in a burst.
    pub(crate) const fn postpone(&mut self, at: Duration) {
        match &mut self.state {
            State::Idle { .. } => {}
            State::Pressed { due, .. } | State::Ending { due, .. } => *due = at,
        }
    }

    /// Lets go of the digit being sent: its end is next.
    pub(crate) const fn release(&mut self) {
        match &mut self.state {
            State::Pressed { length, duration, .. } => *length = *duration,
            State::Idle { .. } | State::Ending { .. } => {}
        }
    }

    /// Forgets everything; says how many digits were not sent whole.
    pub(crate) fn abandon(&mut self) -> u64 {
        let count = self.waiting.len() as u64 + u64::from(self.is_sending());
        *self = Sender::new();
        count
    }

    /// The packet that is due, `span` samples after the one before; `None` when there is none. A new digit begins at `now`.
    pub(crate) fn tick(&mut self, now: Duration, span: u16) -> Option<Packet> {
        let (begins, digit, length, before, at) = match self.state {
            State::Idle { .. } => {
                let (digit, length) = self.waiting.pop_front()?;
                (true, digit, length, 0, now)
            }
            State::Pressed { digit, length, duration, due } => (false, digit, length, duration, due),
            State::Ending { digit, duration, left, due: at, not_before } => {
                let due = at.saturating_add(samples(span));
                self.state = match left.checked_sub(1).filter(|left| *left > 0) {
                    Some(left) => State::Ending { digit, duration, left, due, not_before },
                    None => State::Idle { not_before: not_before.max(due) },
                };
                return Some(Packet { at, begins: false, event: event(digit, duration, true) });
            }
        };
        let duration = before.saturating_add(span).min(length);
        let due = at.saturating_add(samples(span));
        let end = duration >= length;
        self.state = if end {
            // The packet stands for the time from now on, as one of audio would.
            let ended = at.saturating_add(samples(duration - before));
            State::Ending { digit, duration, left: ENDS - 1, due, not_before: ended.saturating_add(PAUSE) }
        } else {
            State::Pressed { digit, length, duration, due }
        };
        Some(Packet { at, begins, event: event(digit, duration, end) })
    }
}

const fn event(digit: Digit, duration: u16, end: bool) -> TelephoneEvent {
    TelephoneEvent { event: digit.event(), end, volume: VOLUME, duration }
}

const fn samples(samples: u16) -> Duration {
    Duration::from_micros(samples as u64 * 125)
}

/// What there is to tell of a digit that a party sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Note {
    /// It has been, for so many milliseconds.
    Whole(Digit, u16),
    /// It begins.
    Pressed(Digit),
    /// The one that was pressed last has ended.
    Released,
}

/// What waits to be told, oldest first and then `None`; and how fast it may come.
#[derive(Clone, Debug)]
pub(crate) struct Notes {
    waiting: [Option<Note>; MAX_NOTES],
    /// When the next digit would come at [`PACE`].
    paced: Duration,
    refused: u64,
}

impl Notes {
    pub(crate) const fn new() -> Notes {
        Notes { waiting: [None; MAX_NOTES], paced: Duration::ZERO, refused: 0 }
    }

    /// Takes the first note of a digit; false, and counted, when digits come too fast. Then nothing is to be told of it.
    pub(crate) fn begin(&mut self, now: Duration, note: Note) -> bool {
        let paced = self.paced.max(now);
        let digits = self.waiting.iter().flatten().filter(|note| **note != Note::Released).count();
        let has_room = digits < MAX_HEARD;
        let taken = has_room && paced.saturating_sub(now) < PACE * MAX_HEARD as u32;
        if taken {
            self.put(note);
            self.paced = paced.saturating_add(PACE);
        } else {
            self.refused += 1;
        }
        taken
    }

    /// Takes the release of a digit whose press was taken: there is room.
    pub(crate) fn release(&mut self) {
        self.put(Note::Released);
    }

    fn put(&mut self, note: Note) {
        if let Some(place) = self.waiting.iter_mut().find(|place| place.is_none()) {
            *place = Some(note);
        }
    }

    pub(crate) fn poll(&mut self) -> Option<Note> {
        let note = self.waiting[0].take()?;
        self.waiting.rotate_left(1);
        Some(note)
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.waiting[0].is_none()
    }

    pub(crate) const fn clear(&mut self) {
        self.waiting = [None; MAX_NOTES];
    }

    /// Digits that came faster than they could be told.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }
}

/// What is told of the digits that begin now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Telling {
    /// Nothing: they are passed on. They are known all the same, so that the rest of one is not taken for another.
    Nothing,
    /// Each when it has ended.
    Whole,
    /// Each when it begins and when it ends.
    Presses,
}

/// The digits that a party sends.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    last: Option<Press>,
    /// SSRC and timestamp of the digit before it.
    former: Option<(u32, u32)>,
    notes: Notes,
    /// When a digit is to be told or ended: kept here because every packet asks for it.
    due: Option<Duration>,
}

/// A digit of which something has come.
#[derive(Clone, Copy, Debug)]
struct Press {
    ssrc: u32,
    timestamp: u32,
    digit: Digit,
    /// Of the segments before this one, in samples.
    before: u32,
    /// Of this segment, in samples.
    duration: u16,
    phase: Phase,
    /// What is still to be told of it.
    telling: Telling,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// When the last packet of it came.
    Held(Duration),
    /// Over, because its end came.
    Ended,
    /// Over, because nothing more had come of it. When it goes on after all, it is the same digit.
    Faded,
}

/// How a packet stands to the digit before.
enum Kin {
    /// Another report of it.
    Same,
    /// Its next segment.
    Segment,
    /// Of an earlier digit, come late.
    Earlier,
    Another,
}

impl Receiver {
    pub(crate) const fn new() -> Receiver {
        Receiver { last: None, former: None, notes: Notes::new(), due: None }
    }

    /// Takes an event packet of the party; events that are no digit are passed over.
    pub(crate) fn on_event(&mut self, now: Duration, header: &Header, event: TelephoneEvent, telling: Telling) {
        let Some(digit) = event.digit() else { return };
        let kin = self.last.map_or(Kin::Another, |last| self.kin(&last, header, digit));
        match (kin, &mut self.last) {
            (Kin::Earlier, _) => return,
            (Kin::Same, Some(last)) => {
                last.duration = last.duration.max(event.duration);
                last.touch(now);
            }
            (Kin::Segment, Some(last)) => {
                last.before = last.before.saturating_add(header.timestamp.wrapping_sub(last.timestamp));
                (last.timestamp, last.duration) = (header.timestamp, event.duration);
                last.touch(now);
            }
            (Kin::Another | Kin::Same | Kin::Segment, _) => {
                self.end(now, Phase::Faded);
                self.former = self.last.map(|last| (last.ssrc, last.timestamp));
                let telling = match telling {
                    Telling::Presses if !self.notes.begin(now, Note::Pressed(digit)) => Telling::Nothing,
                    Telling::Nothing | Telling::Whole | Telling::Presses => telling,
                };
                self.last = Some(Press {
                    ssrc: header.ssrc,
                    timestamp: header.timestamp,
                    digit,
                    before: 0,
                    duration: event.duration,
                    phase: Phase::Held(now),
                    telling,
                });
            }
        }
        if event.end {
            self.end(now, Phase::Ended);
        }
        self.due = self.next_due(now);
    }

    /// Ends a digit of which nothing more comes.
    pub(crate) fn on_timeout(&mut self, now: Duration) {
        if self.fades_at().is_some_and(|at| at <= now) {
            self.end(now, Phase::Faded);
            self.due = self.next_due(now);
        }
    }

    /// When a digit is to be told or ended; a time that has been when one waits to be told.
    pub(crate) const fn poll_timeout(&self) -> Option<Duration> {
        self.due
    }

    /// The next note of a digit.
    pub(crate) fn poll(&mut self) -> Option<Note> {
        let note = self.notes.poll()?;
        self.due = self.next_due(self.due.unwrap_or_default());
        Some(note)
    }

    /// Collection begins: of the digit that is held nothing more is told.
    pub(crate) fn hush(&mut self, now: Duration) {
        if let Some(last) = &mut self.last {
            last.telling = Telling::Nothing;
        }
        self.due = self.next_due(now);
    }

    /// Collection ends: nothing more is told of what there has been.
    pub(crate) fn forget(&mut self, now: Duration) {
        self.notes.clear();
        self.hush(now);
    }

    /// Digits that came faster than they could be told.
    pub(crate) const fn refused(&self) -> u64 {
        self.notes.refused()
    }

    fn next_due(&self, now: Duration) -> Option<Duration> {
        if self.notes.is_empty() { self.fades_at() } else { Some(now) }
    }

    fn fades_at(&self) -> Option<Duration> {
        let last = self.last.filter(|last| last.telling != Telling::Nothing)?;
        match last.phase {
            Phase::Held(since) => Some(since.saturating_add(RELEASED_AFTER)),
            Phase::Ended | Phase::Faded => None,
        }
    }

    /// Ends the digit that is held, and tells so where that is to be told.
    fn end(&mut self, now: Duration, phase: Phase) {
        let Some(last) = &mut self.last else { return };
        match (last.phase, phase) {
            (Phase::Held(_), _) | (Phase::Faded, Phase::Ended) => last.phase = phase,
            (Phase::Faded | Phase::Ended, _) => {}
        }
        match std::mem::replace(&mut last.telling, Telling::Nothing) {
            Telling::Nothing => {}
            Telling::Whole => {
                self.notes.begin(now, Note::Whole(last.digit, last.ms()));
            }
            Telling::Presses => self.notes.release(),
        }
    }

    fn kin(&self, last: &Press, header: &Header, digit: Digit) -> Kin {
        if self.former == Some((header.ssrc, header.timestamp)) {
            return Kin::Earlier;
        }
        if header.ssrc != last.ssrc {
            return Kin::Another;
        }
        let ahead = header.timestamp.wrapping_sub(last.timestamp);
        if ahead == 0 {
            // A sender that gives two digits one timestamp is wrong, but they are two.
            return if digit == last.digit { Kin::Same } else { Kin::Another };
        }
        if ahead.wrapping_neg() <= MAX_AGE {
            return Kin::Earlier;
        }
        let goes_on = digit == last.digit && !header.marker && last.phase != Phase::Ended;
        if goes_on && (MIN_SEGMENT..=u32::from(u16::MAX)).contains(&ahead) { Kin::Segment } else { Kin::Another }
    }
}

impl Press {
    /// Something came of it.
    fn touch(&mut self, now: Duration) {
        match &mut self.phase {
            Phase::Held(since) => *since = now,
            Phase::Ended | Phase::Faded => {}
        }
    }

    fn ms(&self) -> u16 {
        u16::try_from(self.before.saturating_add(u32::from(self.duration)) / 8).unwrap_or(u16::MAX)
    }
}
