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
//! A response that had no connection left to go by is kept: the SMSC says its `deliver_sm` again on the next one.

use std::collections::HashMap;
use std::time::Duration;

use rusmpp_core::CommandStatus;
use rusmpp_core::pdus::owned::DeliverSm;

use crate::alphabet::Alphabet;
use crate::message::{self, Delivered, Part, Piece, Said};
use crate::{Answer, Counters, DefaultAlphabet, Incoming};

/// The most texts that wait for their answer.
const MAX_ONGOING: usize = 1_000;
/// The most texts of which not all parts have come, and the longest part, in octets.
const MAX_SETS: usize = 1_000;
const LONGEST_PART: usize = 255;
/// The most answers that are kept because there was no connection.
const MAX_UNHEARD: usize = 1_000;
/// The most `deliver_sm` of one text that wait for its answer.
const MAX_COPIES: usize = 4;
/// How long an answer is waited for: longer than anybody waits for a receiver.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the rest of a text is waited for, and an answer that was not heard is kept.
const KEPT: Duration = Duration::from_secs(600);
/// How often what is too old is looked for.
const SWEEP: Duration = Duration::from_secs(60);

/// A text that waits for its answer; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reply(u64);

impl Reply {
    /// As a number.
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
    sets: HashMap<SetKey, Set>,
    known: HashMap<Piece, Known>,
    unheard: usize,
    sweep_at: Option<Duration>,
}

/// A text without its answer.
struct Arrival {
    requests: Vec<Request>,
    /// It is not answered any more, and has been forgotten where it was.
    until: Duration,
    /// What was said, the part that made it whole.
    piece: Piece,
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
    reference: (Said, u16),
    total: u8,
}

struct Set {
    until: Duration,
    parts: Vec<Option<(Alphabet, bytes::Bytes)>>,
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
        message: &DeliverSm,
        default: DefaultAlphabet,
        counters: &mut Counters,
    ) -> Next {
        counters.delivered += 1;
        let piece = match Delivered::read(message, default) {
            Delivered::Message(piece) => piece,
            Delivered::Receipt => {
                counters.receipts += 1;
                return Next::Respond(CommandStatus::EsmeRok);
            }
            Delivered::Unreadable => {
                counters.unreadable += 1;
                return Next::Respond(CommandStatus::EsmeRxRAppn);
            }
        };
        match self.known.get(&piece) {
            Some(Known::Ongoing(reply)) => {
                counters.repeated += 1;
                let requests = self.ongoing.get_mut(reply).map(|arrival| &mut arrival.requests);
                if let Some(requests) = requests.filter(|requests| requests.len() < MAX_COPIES) {
                    requests.push(request);
                }
                return Next::Wait;
            }
            Some(Known::Unheard { status, .. }) => {
                counters.repeated += 1;
                let status = *status;
                self.known.remove(&piece);
                self.unheard -= 1;
                return Next::Respond(status);
            }
            None => {}
        }
        if self.ongoing.len() >= MAX_ONGOING {
            counters.turned_away += 1;
            return Next::Respond(CommandStatus::EsmeRxTAppn);
        }
        let content = match piece.part {
            None => message::join(std::iter::once((piece.alphabet, &piece.octets))),
            Some(part) => match self.on_part(now, &piece, part) {
                Ok(Some(content)) => content,
                Ok(None) => return Next::Respond(CommandStatus::EsmeRok),
                Err(status) => {
                    counters.turned_away += 1;
                    return Next::Respond(status);
                }
            },
        };
        let reply = Reply(self.next);
        self.next += 1;
        let (source, destination) = (piece.source.clone(), piece.destination.clone());
        self.known.insert(piece.clone(), Known::Ongoing(reply));
        self.ongoing.insert(reply, Arrival { requests: vec![request], until: now + PATIENCE, piece });
        self.sweep_at.get_or_insert(now + SWEEP);
        Next::Tell(Incoming { reply, source, destination, content })
    }

    /// The whole text where this part was the last that was missing.
    fn on_part(&mut self, now: Duration, piece: &Piece, part: Part) -> Result<Option<String>, CommandStatus> {
        let key = set_key(piece, part);
        if piece.octets.len() > LONGEST_PART {
            return Err(CommandStatus::EsmeRxRAppn);
        }
        if !self.sets.contains_key(&key) && self.sets.len() >= MAX_SETS {
            return Err(CommandStatus::EsmeRxTAppn);
        }
        self.sweep_at.get_or_insert(now + SWEEP);
        let set =
            self.sets.entry(key).or_insert_with(|| Set { until: now + KEPT, parts: vec![None; part.total.into()] });
        let was_whole = set.parts.iter().all(Option::is_some);
        set.parts[usize::from(part.place)] = Some((piece.alphabet, piece.octets.clone()));
        if was_whole || !set.parts.iter().all(Option::is_some) {
            return Ok(None);
        }
        let pieces = set.parts.iter().flatten().map(|(alphabet, octets)| (*alphabet, octets));
        Ok(Some(message::join(pieces)))
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
        let Some(Arrival { requests, piece, .. }) = self.ongoing.remove(&reply) else { return (status, Vec::new()) };
        if let Some(part) = piece.part {
            let key = set_key(&piece, part);
            match answer {
                Answer::Later => {
                    if let Some(set) = self.sets.get_mut(&key) {
                        set.parts[usize::from(part.place)] = None;
                    }
                }
                Answer::Taken | Answer::NoSuchNumber | Answer::TooLong | Answer::Failed | Answer::Rejected => {
                    self.sets.remove(&key);
                }
            }
        }
        let heard = requests.iter().filter(|request| Some(request.connection) == connection);
        let heard: Vec<u32> = heard.map(|request| request.sequence).collect();
        if heard.is_empty() && answer != Answer::Later && self.unheard < MAX_UNHEARD {
            self.unheard += 1;
            self.sweep_at.get_or_insert(now + SWEEP);
            self.known.insert(piece, Known::Unheard { status, until: now + KEPT });
        } else {
            self.known.remove(&piece);
        }
        (status, heard)
    }

    pub(crate) fn handle_timeout(&mut self, now: Duration, counters: &mut Counters) {
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        self.sets.retain(|_, set| {
            let is_kept = set.until > now;
            if !is_kept {
                counters.orphaned += set.parts.iter().flatten().count() as u64;
            }
            is_kept
        });
        self.ongoing.retain(|_, arrival| arrival.until > now);
        let ongoing = &self.ongoing;
        self.known.retain(|_, known| match known {
            Known::Ongoing(reply) => ongoing.contains_key(reply),
            Known::Unheard { until, .. } => *until > now,
        });
        self.unheard = self.known.values().filter(|known| matches!(known, Known::Unheard { .. })).count();
        self.sweep_at = (!self.sets.is_empty() || !self.known.is_empty()).then_some(now + SWEEP);
    }

    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        self.sweep_at
    }
}

fn set_key(piece: &Piece, part: Part) -> SetKey {
    let (source, destination) = (piece.source.clone(), piece.destination.clone());
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
