//! Texts on their way to the SMSC: whose turn it is, and what has become of their parts.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rusmpp_core::pdus::owned::SubmitSm;

use crate::message::{Address, Cut};
use crate::{Config, Failure, Submit};

/// The most texts that wait or are under way.
pub(crate) const MAX_TEXTS: usize = 1_000;
/// How often the SMSC may want a text later (`ESME_RTHROTTLED`, `ESME_RMSGQFUL`).
const MAX_THROTTLED: u8 = 5;
/// How long nothing is sent after that.
const PAUSE: Duration = Duration::from_secs(1);

/// A text, by the order of its coming.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct TextId(u64);

/// A short message of a text: which part, counted from 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Piece {
    pub(crate) text: TextId,
    pub(crate) part: u8,
}

#[derive(Debug)]
pub(crate) struct Submits<K> {
    texts: BTreeMap<TextId, Text<K>>,
    /// Those of texts that are gone are passed over.
    turn: VecDeque<Piece>,
    next: u64,
    /// References of 8 bits: two long texts to one receiver at a time have two.
    next_reference: u8,
    paused_until: Duration,
}

#[derive(Debug)]
struct Text<K> {
    key: K,
    source: Address,
    destination: Address,
    cut: Cut,
    until: Duration,
    /// Parts that have left, and those of them that were taken.
    sent: u8,
    taken: u8,
    throttled: u8,
}

impl<K: Copy> Text<K> {
    /// What is under way may have been taken.
    fn failed(&self, unsent: Failure) -> (K, Failure) {
        (self.key, if self.sent > 0 { Failure::Silent } else { unsent })
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Address")
    }
}

impl<K> Default for Submits<K> {
    fn default() -> Self {
        Submits {
            texts: BTreeMap::new(),
            turn: VecDeque::new(),
            next: 0,
            next_reference: 0,
            paused_until: Duration::ZERO,
        }
    }
}

impl<K: Copy> Submits<K> {
    pub(crate) fn push(&mut self, submit: &Submit<K>, config: &Config) -> Result<(), Failure> {
        if self.texts.len() >= MAX_TEXTS {
            return Err(Failure::Full);
        }
        let Submit { key, source, destination, content, until } = submit;
        let address = |spelling: &str| Address::of(spelling).ok_or(Failure::Unwritable);
        let (source, destination) = (address(source)?, address(destination)?);
        let cut = Cut::new(content, config.alphabet, config.long, self.next_reference).ok_or(Failure::Unwritable)?;
        self.next_reference = self.next_reference.wrapping_add(1);
        let text = TextId(self.next);
        self.next += 1;
        self.turn.extend((0..cut.parts()).map(|part| Piece { text, part }));
        let (sent, taken, throttled) = (0, 0, 0);
        self.texts.insert(text, Text { key: *key, source, destination, cut, until: *until, sent, taken, throttled });
        Ok(())
    }

    /// What is to be sent next.
    pub(crate) fn pop(&mut self, now: Duration) -> Option<(Piece, SubmitSm)> {
        if now < self.paused_until {
            return None;
        }
        while let Some(piece) = self.turn.pop_front() {
            let Some(text) = self.texts.get_mut(&piece.text) else { continue };
            let submit = text.cut.submit_sm(piece.part, &text.source, &text.destination);
            text.sent = text.sent.saturating_add(1);
            return submit.map(|submit| (piece, submit));
        }
        None
    }

    /// The SMSC has taken a part. Of the last one: of which text, and how many there were.
    pub(crate) fn on_taken(&mut self, text: TextId) -> Option<(K, u16)> {
        let found = self.texts.get_mut(&text)?;
        found.taken += 1;
        let parts = found.cut.parts();
        (found.taken == parts).then_some(())?;
        self.texts.remove(&text).map(|text| (text.key, u16::from(parts)))
    }

    /// The SMSC wants a part later. Of a text that it has put off too often: which.
    pub(crate) fn on_throttled(&mut self, now: Duration, piece: Piece) -> Option<K> {
        self.paused_until = now + PAUSE;
        let text = self.texts.get_mut(&piece.text)?;
        text.throttled += 1;
        text.sent -= 1;
        if text.throttled > MAX_THROTTLED {
            return self.fail(piece.text);
        }
        self.turn.push_front(piece);
        None
    }

    pub(crate) fn fail(&mut self, text: TextId) -> Option<K> {
        self.texts.remove(&text).map(|text| text.key)
    }

    /// Texts whose time is over, and why they fail.
    pub(crate) fn expire(&mut self, now: Duration) -> Vec<(K, Failure)> {
        let is_over = |(text, found): (&TextId, &Text<K>)| (found.until <= now).then_some(*text);
        let over: Vec<TextId> = self.texts.iter().filter_map(is_over).collect();
        over.iter().filter_map(|text| self.texts.remove(text)).map(|text| text.failed(Failure::Late)).collect()
    }

    /// All of them, which fail since there is no session.
    pub(crate) fn drain(&mut self) -> Vec<(K, Failure)> {
        self.turn.clear();
        std::mem::take(&mut self.texts).into_values().map(|text| text.failed(Failure::Unbound)).collect()
    }

    /// When something is to be done about them, where the session can send (`sends`) and where it cannot.
    pub(crate) fn poll_timeout(&self, sends: bool) -> Option<Duration> {
        let pause = (sends && !self.turn.is_empty()).then_some(self.paused_until);
        self.texts.values().map(|text| text.until).chain(pause).min()
    }
}
