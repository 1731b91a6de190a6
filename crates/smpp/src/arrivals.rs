//! Texts that come: parts put together, each text told of once, answered when it is known what became of it.
//!
//! ```text
//!   deliver_sm ─▶ seen before? ─▶ a part? ─▶ its set ── whole ─▶ Text ─▶ answer ─▶ deliver_sm_resp
//!                    │ yes                      └─ not yet ─▶ deliver_sm_resp at once
//!                    └─▶ the answer of then
//! ```
//!
//! Every part but the one that makes a text whole is answered at once: an SMSC may send the next only after that. The response
//! to the last is the answer to the text. Where it is "later", the SMSC says the last part again, and the others are still here.
//!
//! A response may be lost with its connection, and then the SMSC says its `deliver_sm` again: so an answer that had no connection to
//! go by is kept, and so is what the parts of a text were that has been answered.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use rusmpp_core::CommandStatus;

use crate::message::{self, Delivered, Message, Part, Reference, Words};
use crate::{Answer, Counters, DefaultAlphabet, Incoming};

/// The most texts that wait for their answer.
const MAX_ONGOING: usize = 250;
/// The most texts of which not all parts have come, the longest part, and what they may have together, in octets.
const MAX_SETS: usize = 1_000;
const LONGEST_PART: usize = 255;
const MAX_OCTETS: usize = 16 << 20;
/// The most answers that are kept because there was no connection, and the most long texts that are remembered.
const MAX_UNHEARD: usize = 1_000;
const MAX_DONE: usize = 1_000;
/// The most `deliver_sm` of one text that wait for its answer.
const MAX_COPIES: usize = 4;
/// How long an answer is waited for: longer than anybody waits for a receiver.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the rest of a text is waited for after a part of it, and how long what was answered is remembered.
const KEPT: Duration = Duration::from_secs(600);
/// How long a text is kept that the SMSC shall say again.
const KEPT_FOR_LATER: Duration = Duration::from_secs(2 * 3_600);
/// How often what is too old is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// A text that waits for its answer; never used twice by one [`crate::Link`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reply(u64);

impl Reply {
    /// As a number: less than 2^40 in a thousand years of a thousand texts a minute.
    #[must_use]
    pub const fn as_u64(self) -> u64 {
        self.0
    }

    /// Back from a number.
    #[must_use]
    pub const fn from_u64(reply: u64) -> Reply {
        Reply(reply)
    }
}

/// A `deliver_sm`: of which connection, and its `sequence_number`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) connection: u64,
    pub(crate) sequence: u32,
}

#[derive(Default)]
pub(crate) struct Arrivals {
    next: u64,
    ongoing: HashMap<Reply, Arrival>,
    known: HashMap<Message, Known>,
    unheard: usize,
    sets: HashMap<SetKey, Set>,
    octets: usize,
    done: HashMap<SetKey, Done>,
    done_until: VecDeque<(Duration, SetKey)>,
    prints: RandomState,
    sweep_at: Option<Duration>,
}

/// A text without its answer.
struct Arrival {
    requests: Vec<Request>,
    /// It is not answered any more, and has been forgotten where it was.
    until: Duration,
    /// What was said, the part that made it whole.
    message: Message,
}

/// What has been said before.
enum Known {
    Ongoing(Reply),
    Unheard { status: CommandStatus, until: Duration },
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct SetKey {
    source: Option<String>,
    destination: Option<String>,
    reference: Reference,
    total: u8,
}

/// The parts of a text. While it is whole it is ongoing.
struct Set {
    until: Duration,
    parts: Vec<Option<Words>>,
}

/// A long text that has been answered: by `status` to its part `last`.
struct Done {
    until: Duration,
    prints: Box<[u64]>,
    last: u8,
    status: CommandStatus,
}

/// What is to be done about a `deliver_sm`.
pub(crate) enum Next {
    Respond(CommandStatus),
    Tell(Incoming),
    Wait,
}

impl Arrivals {
    pub(crate) fn on_deliver(
        &mut self,
        now: Duration,
        request: Request,
        body: &[u8],
        default: DefaultAlphabet,
        counters: &mut Counters,
    ) -> Next {
        counters.delivered += 1;
        let message = match Delivered::read(body, default) {
            Delivered::Message(message) => message,
            Delivered::Receipt => {
                counters.receipts += 1;
                return Next::Respond(CommandStatus::EsmeRok);
            }
            Delivered::Unreadable => {
                counters.unreadable += 1;
                return Next::Respond(CommandStatus::EsmeRxRAppn);
            }
        };
        match self.known.get(&message) {
            Some(Known::Ongoing(reply)) => {
                counters.repeated += 1;
                let Some(Arrival { requests, .. }) = self.ongoing.get_mut(reply) else { return Next::Wait };
                // What another connection waits for it will say again.
                requests.retain(|known| known.connection == request.connection);
                if requests.len() >= MAX_COPIES {
                    return Next::Respond(CommandStatus::EsmeRxTAppn);
                }
                requests.push(request);
                return Next::Wait;
            }
            Some(Known::Unheard { status, .. }) => {
                counters.repeated += 1;
                let status = *status;
                self.known.remove(&message);
                self.unheard -= 1;
                return Next::Respond(status);
            }
            None => {}
        }
        if self.ongoing.len() >= MAX_ONGOING {
            counters.turned_away += 1;
            return Next::Respond(CommandStatus::EsmeRxTAppn);
        }
        let content = match message.part {
            None => message::join(std::iter::once(&message.words)),
            Some(part) => match self.on_part(now, &message, part, counters) {
                Ok(content) => content,
                Err(status) => return Next::Respond(status),
            },
        };
        let reply = Reply(self.next);
        self.next += 1;
        let (source, destination) = (message.source.clone(), message.destination.clone());
        self.known.insert(message.clone(), Known::Ongoing(reply));
        self.ongoing.insert(reply, Arrival { requests: vec![request], until: now + PATIENCE, message });
        self.sweep_at.get_or_insert(now + SWEEP);
        Next::Tell(Incoming { reply, source, destination, content })
    }

    /// The whole text where this part was the last that was missing; else what the SMSC is told of the part.
    fn on_part(
        &mut self,
        now: Duration,
        message: &Message,
        part: Part,
        counters: &mut Counters,
    ) -> Result<String, CommandStatus> {
        let (key, words, place) = (set_key(message, part), &message.words, usize::from(part.place));
        if words.octets.len() > LONGEST_PART {
            counters.unreadable += 1;
            return Err(CommandStatus::EsmeRxRAppn);
        }
        if let Some(done) = self.done.get(&key) {
            if done.prints.get(place) == Some(&self.prints.hash_one(words)) {
                counters.repeated += 1;
                return Err(if part.place == done.last { done.status } else { CommandStatus::EsmeRok });
            }
            // Another text of the same reference.
            self.done.remove(&key);
        }
        if !self.sets.contains_key(&key) && (self.sets.len() >= MAX_SETS || self.octets >= MAX_OCTETS) {
            counters.turned_away += 1;
            return Err(CommandStatus::EsmeRxTAppn);
        }
        self.sweep_at.get_or_insert(now + SWEEP);
        let set = self.sets.entry(key).or_insert_with(|| Set { until: now, parts: vec![None; part.total.into()] });
        match &set.parts[place] {
            Some(known) if known == words => {
                counters.repeated += 1;
                return Err(CommandStatus::EsmeRok);
            }
            // Another text of the same reference: its turn is when this one has been answered.
            Some(_) if set.is_whole() => {
                counters.turned_away += 1;
                return Err(CommandStatus::EsmeRxTAppn);
            }
            Some(_) => {
                // The rest of the old one will not come any more.
                counters.orphaned += set.count();
                self.octets -= set.octets();
                set.parts.fill(None);
            }
            None => {}
        }
        self.octets += words.octets.len();
        set.parts[place] = Some(words.clone());
        set.until = now + KEPT;
        if set.is_whole() { Ok(message::join(set.parts.iter().flatten())) } else { Err(CommandStatus::EsmeRok) }
    }

    /// What became of a text: which requests of `connection` are responded to, and how. Without a connection the answer is kept.
    pub(crate) fn answer(
        &mut self,
        now: Duration,
        reply: Reply,
        answer: Answer,
        connection: Option<u64>,
    ) -> (CommandStatus, Vec<u32>) {
        let status = status_of(answer);
        let Some(Arrival { requests, message, .. }) = self.ongoing.remove(&reply) else { return (status, Vec::new()) };
        if let Some(part) = message.part {
            match answer {
                Answer::Later => self.wait_for_again(now, &message, part),
                Answer::Taken | Answer::NoSuchNumber | Answer::TooLong | Answer::Failed | Answer::Rejected => {
                    self.finish(now, &message, part, status);
                }
            }
        }
        let heard = requests.iter().filter(|request| Some(request.connection) == connection);
        let heard: Vec<u32> = heard.map(|request| request.sequence).collect();
        if heard.is_empty() && answer != Answer::Later && message.part.is_none() && self.unheard < MAX_UNHEARD {
            self.unheard += 1;
            self.sweep_at.get_or_insert(now + SWEEP);
            self.known.insert(message, Known::Unheard { status, until: now + KEPT });
        } else {
            self.known.remove(&message);
        }
        (status, heard)
    }

    /// The SMSC shall say the last part again.
    fn wait_for_again(&mut self, now: Duration, message: &Message, part: Part) {
        if let Some(set) = self.sets.get_mut(&set_key(message, part)) {
            self.octets -= message.words.octets.len();
            set.parts[usize::from(part.place)] = None;
            set.until = now + KEPT_FOR_LATER;
        }
    }

    /// A long text has been answered; its parts may be said again.
    fn finish(&mut self, now: Duration, message: &Message, part: Part, status: CommandStatus) {
        let key = set_key(message, part);
        let Some(set) = self.sets.remove(&key) else { return };
        self.octets -= set.octets();
        if self.done_until.len() >= MAX_DONE {
            self.forget_oldest();
        }
        let prints =
            set.parts.iter().map(|words| words.as_ref().map_or(0, |words| self.prints.hash_one(words))).collect();
        let until = now + KEPT;
        self.done_until.push_back((until, key.clone()));
        self.done.insert(key, Done { until, prints, last: part.place, status });
    }

    /// Forgets the long text that was answered first.
    fn forget_oldest(&mut self) {
        if let Some((until, key)) = self.done_until.pop_front() {
            // It may have been forgotten already, and another one be there.
            if self.done.get(&key).is_some_and(|done| done.until == until) {
                self.done.remove(&key);
            }
        }
    }

    /// Texts wait for their answers.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.ongoing.is_empty()
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration, counters: &mut Counters) {
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let forgotten: Vec<Arrival> =
            self.ongoing.extract_if(|_, arrival| arrival.until <= now).map(|(_, arrival)| arrival).collect();
        for Arrival { message, .. } in forgotten {
            self.known.remove(&message);
            if let Some(part) = message.part {
                self.wait_for_again(now, &message, part);
            }
        }
        let octets = &mut self.octets;
        self.sets.retain(|_, set| {
            let is_kept = set.until > now;
            if !is_kept {
                counters.orphaned += set.count();
                *octets -= set.octets();
            }
            is_kept
        });
        self.known.retain(|_, known| match known {
            Known::Ongoing(_) => true,
            Known::Unheard { until, .. } => *until > now,
        });
        self.unheard = self.known.values().filter(|known| matches!(known, Known::Unheard { .. })).count();
        while self.done_until.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
        let is_empty = self.sets.is_empty() && self.known.is_empty() && self.done_until.is_empty();
        self.sweep_at = (!is_empty).then_some(now + SWEEP);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.sweep_at
    }
}

impl Set {
    fn is_whole(&self) -> bool {
        self.parts.iter().all(Option::is_some)
    }

    fn count(&self) -> u64 {
        self.parts.iter().flatten().count() as u64
    }

    fn octets(&self) -> usize {
        self.parts.iter().flatten().map(|words| words.octets.len()).sum()
    }
}

fn set_key(message: &Message, part: Part) -> SetKey {
    let (source, destination) = (message.source.clone(), message.destination.clone());
    SetKey { source, destination, reference: part.reference, total: part.total }
}

/// §5.1.3. `ESME_RX_T_APPN` is the one that asks the SMSC to try again.
fn status_of(answer: Answer) -> CommandStatus {
    match answer {
        Answer::Taken => CommandStatus::EsmeRok,
        Answer::Later => CommandStatus::EsmeRxTAppn,
        Answer::NoSuchNumber => CommandStatus::EsmeRinvdstadr,
        Answer::TooLong => CommandStatus::EsmeRinvmsglen,
        Answer::Failed => CommandStatus::EsmeRxPAppn,
        Answer::Rejected => CommandStatus::EsmeRxRAppn,
    }
}
