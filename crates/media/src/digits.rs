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
//!            │ None │                            │ Held │                │ Told │  whatever else comes of it is
//!            └──────┘                            └──────┘                └──────┘  a repetition
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

/// The digits that a party sends.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    last: Option<Press>,
    /// SSRC and timestamp of the digit before it.
    former: Option<(u32, u32)>,
    /// Digits to tell, with their length in milliseconds, oldest first and then `None`.
    heard: [Option<(Digit, u16)>; MAX_HEARD],
    /// When a digit is to be told or ended: kept here because every packet asks for it.
    due: Option<Duration>,
    /// When the next digit would come at [`PACE`].
    paced: Duration,
    refused: u64,
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
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not told yet; when the last packet of it came.
    Held(Duration),
    /// Told, because it ended.
    Ended,
    /// Told, because nothing more had come of it. When it goes on after all, it is the same digit.
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
    pub(crate) fn new() -> Receiver {
        Receiver { last: None, former: None, heard: [None; MAX_HEARD], due: None, paced: Duration::ZERO, refused: 0 }
    }

    /// Takes an event packet of the party; events that are no digit are passed over.
    pub(crate) fn on_event(&mut self, now: Duration, header: &Header, event: TelephoneEvent) {
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
                self.tell(now);
                self.former = self.last.map(|last| (last.ssrc, last.timestamp));
                self.last = Some(Press {
                    ssrc: header.ssrc,
                    timestamp: header.timestamp,
                    digit,
                    before: 0,
                    duration: event.duration,
                    phase: Phase::Held(now),
                });
            }
        }
        if event.end {
            self.tell(now);
            if let Some(last) = &mut self.last {
                last.phase = Phase::Ended;
            }
        }
        self.due = self.next_due(now);
    }

    /// Ends a digit of which nothing more comes.
    pub(crate) fn on_timeout(&mut self, now: Duration) {
        if self.fades_at().is_some_and(|at| at <= now) {
            self.tell(now);
            self.due = self.next_due(now);
        }
    }

    /// When a digit is to be told or ended; a time that has been when one waits to be told.
    pub(crate) const fn poll_timeout(&self) -> Option<Duration> {
        self.due
    }

    /// The next digit and its length in milliseconds.
    pub(crate) fn poll(&mut self) -> Option<(Digit, u16)> {
        let heard = self.heard[0].take()?;
        self.heard.rotate_left(1);
        self.due = self.next_due(self.due.unwrap_or_default());
        Some(heard)
    }

    /// Digits that came faster than they could be told.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    fn next_due(&self, now: Duration) -> Option<Duration> {
        if self.heard[0].is_some() { Some(now) } else { self.fades_at() }
    }

    fn fades_at(&self) -> Option<Duration> {
        match self.last?.phase {
            Phase::Held(since) => Some(since.saturating_add(RELEASED_AFTER)),
            Phase::Ended | Phase::Faded => None,
        }
    }

    /// Puts the digit among those to be told, unless it has been.
    fn tell(&mut self, now: Duration) {
        let Some(last) = &mut self.last else { return };
        match last.phase {
            Phase::Held(_) => last.phase = Phase::Faded,
            Phase::Ended | Phase::Faded => return,
        }
        let paced = self.paced.max(now);
        let place = self.heard.iter_mut().find(|place| place.is_none());
        match place {
            Some(place) if paced.saturating_sub(now) < PACE * MAX_HEARD as u32 => {
                *place = Some((last.digit, last.ms()));
                self.paced = paced.saturating_add(PACE);
            }
            Some(_) | None => self.refused += 1,
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
