//! Texts on their way to the SMSC: whose turn it is, how fast, and what has become of their parts.
//!
//! ```text
//!   submit ─▶ turn, in the order of their coming ── room, pace ─▶ under way ─▶ taken … all parts: submitted
//!               ▲                                                    │
//!               └──────────── later (ESME_RTHROTTLED), half the window ┘
//! ```
//!
//! An SMSC that wants something later gets nothing for a second, and from then on half of what was under way at a time; each short
//! message that it takes makes room for one more, up to the window. A text is put off for as long as anybody cares for it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rusmpp_core::pdus::owned::SubmitSm;

use crate::message::{Address, Cut};
use crate::{Config, Failure, Submit};

/// The most texts that wait or are under way.
const MAX_TEXTS: usize = 1_000;
/// How long nothing is sent to an SMSC that wants something later.
const PAUSE: Duration = Duration::from_secs(1);

/// A text, by the order of its coming.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TextId(u64);

/// A short message of a text: which part, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Share {
    pub(crate) text: TextId,
    pub(crate) part: u8,
}

pub(crate) struct Submits<K> {
    texts: BTreeMap<TextId, Text<K>>,
    /// What is to leave. All of it is of texts that are there.
    turn: BTreeSet<Share>,
    next: u64,
    /// Two long texts to one receiver at a time have two.
    reference: u16,
    pace: Pace,
}

/// How fast texts leave.
struct Pace {
    /// The most under way, from 1 to the window.
    allowed: u16,
    paused_until: Duration,
    /// Between two short messages; zero where the SMSC has said no rate.
    interval: Duration,
    next_at: Duration,
}

struct Text<K> {
    key: K,
    source: Address,
    destination: Address,
    cut: Cut,
    until: Duration,
    /// Parts that are under way or have been taken, and those of them that have been taken.
    sent: u8,
    taken: u8,
    /// The SMSC has wanted it later.
    is_put_off: bool,
}

impl<K: Copy> Text<K> {
    /// What a failure of the whole is. What is under way or has been taken may arrive.
    fn failed(&self, unsent: Failure) -> (K, Failure) {
        let failure = match self {
            Text { sent: 1.., .. } => Failure::Silent,
            Text { is_put_off: true, .. } => Failure::Throttled,
            _ => unsent,
        };
        (self.key, failure)
    }
}

impl<K: Copy> Submits<K> {
    pub(crate) fn new(config: &Config, reference: u16) -> Submits<K> {
        let interval = config.per_second.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.get());
        let (paused_until, next_at) = (Duration::ZERO, Duration::ZERO);
        Submits {
            texts: BTreeMap::new(),
            turn: BTreeSet::new(),
            next: 0,
            reference,
            pace: Pace { allowed: config.window, paused_until, interval, next_at },
        }
    }

    pub(crate) fn push(&mut self, submit: &Submit<K>, config: &Config) -> Result<(), Failure> {
        if self.texts.len() >= MAX_TEXTS {
            return Err(Failure::Full);
        }
        let Submit { key, source, destination, content, until } = submit;
        let address = |spelling: &str| Address::of(spelling).ok_or(Failure::Unwritable);
        let (source, destination) = (address(source)?, address(destination)?);
        let cut = Cut::new(content, config.alphabet, config.long, self.reference).ok_or(Failure::Unwritable)?;
        self.reference = self.reference.wrapping_add(cut.has_reference().into());
        let text = TextId(self.next);
        self.next += 1;
        self.turn.extend((0..cut.parts()).map(|part| Share { text, part }));
        let (key, until) = (*key, *until);
        let new = Text { key, source, destination, cut, until, sent: 0, taken: 0, is_put_off: false };
        self.texts.insert(text, new);
        Ok(())
    }

    /// What is to be sent next, where so many are under way.
    pub(crate) fn pop(&mut self, now: Duration, under_way: usize) -> Option<(Share, SubmitSm)> {
        let pace = &mut self.pace;
        if now < pace.paused_until.max(pace.next_at) || under_way >= pace.allowed.into() {
            return None;
        }
        let share = self.turn.pop_first()?;
        let text = self.texts.get_mut(&share.text)?;
        text.sent += 1;
        pace.next_at = now + pace.interval;
        let submit = text.cut.submit_sm(share.part, &text.source, &text.destination)?;
        Some((share, submit))
    }

    /// The SMSC has taken a part. Of the last one: of which text, and how many there were.
    pub(crate) fn on_taken(&mut self, text: TextId, config: &Config) -> Option<(K, u16)> {
        self.pace.allowed = (self.pace.allowed + 1).min(config.window);
        let found = self.texts.get_mut(&text)?;
        found.taken += 1;
        let parts = found.cut.parts();
        (found.taken == parts).then_some(())?;
        self.texts.remove(&text).map(|text| (text.key, u16::from(parts)))
    }

    /// The SMSC wants a part later, while so many others are under way.
    pub(crate) fn on_throttled(&mut self, now: Duration, share: Share, under_way: usize) {
        let pace = &mut self.pace;
        // One burst is one lesson.
        if now >= pace.paused_until {
            let half = u16::try_from(under_way.div_ceil(2)).unwrap_or(u16::MAX);
            pace.allowed = half.clamp(1, pace.allowed);
        }
        pace.paused_until = now + PAUSE;
        let Some(text) = self.texts.get_mut(&share.text) else { return };
        text.sent -= 1;
        text.is_put_off = true;
        self.turn.insert(share);
    }

    /// The SMSC has refused a part, or has not answered: the text has failed.
    pub(crate) fn on_failed(&mut self, text: TextId, failure: Failure) -> Option<(K, Failure)> {
        let text = self.remove(text)?;
        let others = text.sent > 1 || text.taken > 0;
        let may_be_tried = matches!(failure, Failure::Refused(status) if is_temporary(status));
        // Whoever tried the whole again would say the other parts twice.
        Some((text.key, if others && may_be_tried { Failure::Silent } else { failure }))
    }

    fn remove(&mut self, text: TextId) -> Option<Text<K>> {
        let found = self.texts.remove(&text)?;
        for part in 0..found.cut.parts() {
            self.turn.remove(&Share { text, part });
        }
        Some(found)
    }

    /// Texts whose time is over, and why they fail.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<(K, Failure)> {
        let is_over = |(text, found): (&TextId, &Text<K>)| (found.until <= now).then_some(*text);
        let over: Vec<TextId> = self.texts.iter().filter_map(is_over).collect();
        over.iter().filter_map(|text| self.remove(*text)).map(|text| text.failed(Failure::Late)).collect()
    }

    /// Texts of which nothing has left, which fail since there is no session, or is none much longer.
    pub(crate) fn drop_unsent(&mut self) -> Vec<(K, Failure)> {
        let is_unsent = |(text, found): (&TextId, &Text<K>)| (found.sent == 0).then_some(*text);
        let unsent: Vec<TextId> = self.texts.iter().filter_map(is_unsent).collect();
        unsent.iter().filter_map(|text| self.remove(*text)).map(|text| text.failed(Failure::Unbound)).collect()
    }

    /// All of them.
    pub(crate) fn drop_all(&mut self) -> Vec<(K, Failure)> {
        self.turn.clear();
        std::mem::take(&mut self.texts).into_values().map(|text| text.failed(Failure::Unbound)).collect()
    }

    /// When something is to be done about them, where so many are under way; `None` for that: nothing can be sent.
    pub(crate) fn poll_timeout(&self, under_way: Option<usize>) -> Option<Duration> {
        let has_room = under_way.is_some_and(|count| count < self.pace.allowed.into());
        let next = self.pace.paused_until.max(self.pace.next_at);
        let next = (has_room && !self.turn.is_empty()).then_some(next);
        self.texts.values().map(|text| text.until).chain(next).min()
    }
}

/// ESME_RSYSERR, ESME_RX_T_APPN, ESME_RDELIVERYFAILURE, ESME_RUNKNOWNERR: it may go well another time.
const fn is_temporary(status: u32) -> bool {
    matches!(status, 0x08 | 0x64 | 0xfe | 0xff)
}
