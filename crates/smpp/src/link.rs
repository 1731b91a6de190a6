//! The session with an SMSC (§2.2), from one connection to the next.
//!
//! ```text
//!   Resting ── time ─▶ Connecting ── connected ─▶ Binding ── bind_transceiver_resp ─▶ Bound ── unbind() ─▶ Unbinding ─▶ Ended
//!      ▲                   │ failed                  │ refused, silent                  │ unbind, silent, closed
//!      └───────────────────┴─────────────────────────┴─────────────────────────────────┘
//! ```
//!
//! The rest grows from 1 s to 30 s while the SMSC is not there, and is 30 s at once where it refused the bind: what it does not
//! like will not have changed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use rusmpp_core::command::owned::Command;
use rusmpp_core::decode::owned::DecodeWithLength;
use rusmpp_core::encode::Length;
use rusmpp_core::encode::owned::Encode;
use rusmpp_core::pdus::owned::{BindTransceiver, DeliverSmResp, Pdu};
use rusmpp_core::types::owned::COctetString;
use rusmpp_core::values::InterfaceVersion;
use rusmpp_core::{CommandId, CommandStatus};

use crate::arrivals::{Arrivals, Next, Reply, Request};
use crate::submits::{Piece, Submits};
use crate::{Answer, Config, Counters, Event, Failure, Loss, Output, Submit};

/// The longest PDU that is read, in octets: four times what 2,000 characters of UCS-2 take.
const LONGEST: usize = 16 * 1024;
/// A PDU's header (§3.2).
const HEADER: usize = 16;
/// Of how many octets the word before it, `command_length`, is.
const LENGTH: usize = 4;
/// The largest `sequence_number` (§3.2).
const LAST_SEQUENCE: u32 = 0x7fff_ffff;
/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(10);
/// The first and the longest rest between two connections.
const SHORT_REST: Duration = Duration::from_secs(1);
const LONG_REST: Duration = Duration::from_secs(30);

/// What we have with an SMSC. `K` names texts to the caller.
pub struct Link<K> {
    config: Config,
    state: State,
    /// The connections that there have been: responses to a request of one do not go by another.
    connections: u64,
    /// Connections, or binds, that have failed since one succeeded.
    failures: u32,
    sequence: u32,
    input: BytesMut,
    submits: Submits<K>,
    arrivals: Arrivals,
    counters: Counters,
    out: VecDeque<Output<K>>,
}

enum State {
    Resting { until: Duration },
    Connecting { until: Duration },
    Binding { sequence: u32, until: Duration },
    Bound(Session),
    Unbinding { sequence: u32, until: Duration },
    Ended,
}

struct Session {
    alive: Alive,
    /// `submit_sm` without a response, by `sequence_number`, and until when it is waited for.
    waiting: BTreeMap<u32, (Piece, Duration)>,
}

/// Whether the SMSC is there.
enum Alive {
    /// It has spoken.
    Heard { at: Duration },
    /// It is asked.
    Asked { until: Duration },
}

impl<K: Copy> Link<K> {
    /// A link that connects as soon as time is told.
    #[must_use]
    pub fn new(config: Config) -> Link<K> {
        Link {
            config,
            state: State::Resting { until: Duration::ZERO },
            connections: 0,
            failures: 0,
            sequence: 0,
            input: BytesMut::new(),
            submits: Submits::default(),
            arrivals: Arrivals::default(),
            counters: Counters::default(),
            out: VecDeque::new(),
        }
    }

    /// Texts flow.
    #[must_use]
    pub fn is_bound(&self) -> bool {
        matches!(self.state, State::Bound(_))
    }

    /// It has been unbound; nothing more comes of it.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// What has happened.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What is to be done next; `None`: nothing for now.
    pub fn poll_output(&mut self) -> Option<Output<K>> {
        self.out.pop_front()
    }

    /// When [`Link::handle_timeout`] has something to do.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let state = match &self.state {
            State::Resting { until }
            | State::Connecting { until }
            | State::Binding { until, .. }
            | State::Unbinding { until, .. } => Some(*until),
            State::Bound(session) => {
                let alive = match session.alive {
                    Alive::Heard { at } => at + self.config.enquire_every,
                    Alive::Asked { until } => until,
                };
                session.waiting.values().map(|(_, until)| *until).chain([alive]).min()
            }
            State::Ended => return None,
        };
        [state, self.submits.poll_timeout(self.has_room()), self.arrivals.poll_timeout()].into_iter().flatten().min()
    }

    // ---- in ---------------------------------------------------------------------------------------------------

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Duration) {
        for (key, failure) in self.submits.expire(now) {
            self.out.push_back(Output::Submitted(key, Err(failure)));
        }
        self.arrivals.handle_timeout(now, &mut self.counters);
        match &self.state {
            State::Resting { until } if *until <= now => {
                self.state = State::Connecting { until: now + CONNECT };
                self.out.push_back(Output::Connect);
            }
            State::Connecting { until } | State::Binding { until, .. } if *until <= now => self.lose(now, Loss::Silent),
            State::Unbinding { until, .. } if *until <= now => self.end(),
            State::Bound(_) => self.on_session_time(now),
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } | State::Unbinding { .. } => {}
            State::Ended => {}
        }
        self.pump(now);
    }

    fn on_session_time(&mut self, now: Duration) {
        let State::Bound(session) = &mut self.state else { return };
        let silent: Vec<u32> =
            session.waiting.iter().filter(|(_, (_, until))| *until <= now).map(|(sequence, _)| *sequence).collect();
        for sequence in silent {
            let State::Bound(session) = &mut self.state else { return };
            if let Some((piece, _)) = session.waiting.remove(&sequence) {
                self.counters.unanswered += 1;
                self.fail(piece, Failure::Silent);
            }
        }
        let State::Bound(session) = &mut self.state else { return };
        match session.alive {
            Alive::Heard { at } if at + self.config.enquire_every <= now => {
                session.alive = Alive::Asked { until: now + self.config.response_timeout };
                let sequence = self.draw();
                self.send(CommandStatus::EsmeRok, sequence, Pdu::EnquireLink);
            }
            Alive::Asked { until } if until <= now => self.lose(now, Loss::Silent),
            Alive::Heard { .. } | Alive::Asked { .. } => {}
        }
    }

    /// The connection that [`Output::Connect`] wanted is there.
    pub fn handle_connected(&mut self, now: Duration) {
        let State::Connecting { .. } = self.state else { return };
        self.connections += 1;
        self.input.clear();
        let sequence = self.draw();
        self.state = State::Binding { sequence, until: now + self.config.response_timeout };
        let Config { system_id, password, system_type, .. } = &self.config;
        let bind = BindTransceiver::builder()
            .system_id(c_octets(system_id))
            .password(c_octets(password))
            .system_type(c_octets(system_type))
            .interface_version(InterfaceVersion::Smpp3_4)
            .build();
        self.send(CommandStatus::EsmeRok, sequence, bind.into());
    }

    /// The connection could not be made, or is closed.
    pub fn handle_closed(&mut self, now: Duration) {
        match self.state {
            State::Connecting { .. } | State::Binding { .. } | State::Bound(_) => self.lose(now, Loss::Closed),
            State::Unbinding { .. } => self.end(),
            State::Resting { .. } | State::Ended => {}
        }
    }

    /// Bytes have come.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while let State::Binding { .. } | State::Bound(_) | State::Unbinding { .. } = self.state {
            let Some(word) = self.input.first_chunk::<LENGTH>() else { break };
            let length = usize::try_from(u32::from_be_bytes(*word)).unwrap_or(usize::MAX);
            if !(HEADER..=LONGEST).contains(&length) {
                // Where the next one begins nobody knows.
                self.send(CommandStatus::EsmeRinvcmdlen, 0, Pdu::GenericNack);
                self.lose(now, Loss::Garbage);
                break;
            }
            if self.input.len() < length {
                break;
            }
            let mut frame = self.input.split_to(length);
            frame.advance(LENGTH);
            let (id, sequence) = head(&frame);
            let rest = frame.len();
            match Command::decode(&mut frame, rest) {
                Ok((command, _)) => self.on_command(now, &command),
                Err(_) => self.on_unreadable(now, id, sequence),
            }
        }
        self.pump(now);
    }

    /// A text is to be sent.
    pub fn submit(&mut self, now: Duration, submit: &Submit<K>) {
        let is_hopeful = match self.state {
            State::Bound(_) => true,
            // The first connection, or the next after one that did: it may be a matter of moments.
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => self.failures == 0,
            State::Unbinding { .. } | State::Ended => false,
        };
        let pushed = if is_hopeful { self.submits.push(submit, &self.config) } else { Err(Failure::Unbound) };
        if let Err(failure) = pushed {
            self.out.push_back(Output::Submitted(submit.key, Err(failure)));
        }
        self.pump(now);
    }

    /// What became of a text that came.
    pub fn answer(&mut self, now: Duration, reply: Reply, answer: Answer) {
        let connection = self.is_bound().then_some(self.connections);
        let (status, requests) = self.arrivals.answer(now, reply, answer, connection);
        for sequence in requests {
            self.send(status, sequence, DeliverSmResp::default().into());
        }
    }

    /// The end: nothing more is sent, and the SMSC is told so.
    pub fn unbind(&mut self, now: Duration) {
        match &self.state {
            State::Bound(_) => {
                let sequence = self.draw();
                self.send(CommandStatus::EsmeRok, sequence, Pdu::Unbind);
                self.state = State::Unbinding { sequence, until: now + self.config.response_timeout };
                self.drop_texts();
            }
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => self.end(),
            State::Unbinding { .. } | State::Ended => {}
        }
    }

    // ---- PDUs -------------------------------------------------------------------------------------------------

    fn on_command(&mut self, now: Duration, command: &Command) {
        let (status, sequence) = (command.status(), command.sequence_number());
        if let State::Bound(session) = &mut self.state {
            session.alive = Alive::Heard { at: now };
        }
        match (command.id(), command.pdu()) {
            (CommandId::BindTransceiverResp, _) => self.on_bind_resp(now, sequence, status),
            (CommandId::SubmitSmResp, _) => self.on_submit_resp(now, sequence, status),
            (CommandId::DeliverSm, Some(Pdu::DeliverSm(message))) => {
                let State::Bound(_) = self.state else {
                    self.send(CommandStatus::EsmeRinvbndsts, sequence, DeliverSmResp::default().into());
                    return;
                };
                let request = Request { connection: self.connections, sequence };
                let counters = &mut self.counters;
                match self.arrivals.on_deliver(now, request, message, self.config.alphabet, counters) {
                    Next::Respond(status) => self.send(status, sequence, DeliverSmResp::default().into()),
                    Next::Tell(incoming) => self.out.push_back(Output::Text(incoming)),
                    Next::Wait => {}
                }
            }
            (CommandId::EnquireLink, _) => self.send(CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp),
            (CommandId::Unbind, _) => {
                self.send(CommandStatus::EsmeRok, sequence, Pdu::UnbindResp);
                match self.state {
                    State::Unbinding { .. } => self.end(),
                    State::Binding { .. } | State::Bound(_) => self.lose(now, Loss::Unbound),
                    State::Resting { .. } | State::Connecting { .. } | State::Ended => {}
                }
            }
            (CommandId::UnbindResp, _) => {
                if matches!(self.state, State::Unbinding { sequence: ours, .. } if ours == sequence) {
                    self.end();
                }
            }
            // §4.3.1: the SMSC's answer to a request of ours that it could not read.
            (CommandId::GenericNack, _) => match self.state {
                State::Binding { .. } => self.on_bind_resp(now, sequence, status),
                State::Unbinding { .. } => self.end(),
                State::Bound(_) => self.on_submit_resp(now, sequence, status),
                State::Resting { .. } | State::Connecting { .. } | State::Ended => {}
            },
            (CommandId::EnquireLinkResp | CommandId::AlertNotification | CommandId::Outbind, _) => {}
            // Responses to requests that we do not make, and requests that no SMSC makes of an ESME.
            (id, _) if u32::from(id) & 0x8000_0000 != 0 => {}
            (_, _) => self.send(CommandStatus::EsmeRinvcmdid, sequence, Pdu::GenericNack),
        }
    }

    /// A PDU that is not what its `command_id` says.
    fn on_unreadable(&mut self, now: Duration, id: u32, sequence: u32) {
        self.counters.unreadable += 1;
        match CommandId::from(id) {
            CommandId::DeliverSm => {
                self.send(CommandStatus::EsmeRxPAppn, sequence, DeliverSmResp::default().into());
            }
            // The SMSC has answered something: that it was taken is not to be believed.
            CommandId::SubmitSmResp => self.on_submit_resp(now, sequence, CommandStatus::EsmeRsyserr),
            CommandId::BindTransceiverResp => self.lose(now, Loss::Garbage),
            _ if id & 0x8000_0000 != 0 => {}
            _ => self.send(CommandStatus::EsmeRinvcmdlen, sequence, Pdu::GenericNack),
        }
    }

    fn on_bind_resp(&mut self, now: Duration, sequence: u32, status: CommandStatus) {
        let State::Binding { sequence: ours, .. } = self.state else { return };
        if ours != sequence {
            return;
        }
        match status {
            CommandStatus::EsmeRok => {
                self.failures = 0;
                self.state = State::Bound(Session { alive: Alive::Heard { at: now }, waiting: BTreeMap::new() });
                self.out.push_back(Output::Event(Event::Bound));
            }
            refused => self.lose(now, Loss::Refused(refused.into())),
        }
    }

    fn on_submit_resp(&mut self, now: Duration, sequence: u32, status: CommandStatus) {
        let State::Bound(session) = &mut self.state else { return };
        // One that comes too late has been given up.
        let Some((piece, _)) = session.waiting.remove(&sequence) else { return };
        match status {
            CommandStatus::EsmeRok => {
                self.counters.submitted += 1;
                if let Some((key, parts)) = self.submits.on_taken(piece.text) {
                    self.out.push_back(Output::Submitted(key, Ok(parts)));
                }
            }
            CommandStatus::EsmeRthrottled | CommandStatus::EsmeRmsgqful => {
                self.counters.throttled += 1;
                if let Some(key) = self.submits.on_throttled(now, piece) {
                    self.out.push_back(Output::Submitted(key, Err(Failure::Throttled)));
                }
            }
            refused => {
                self.counters.refused += 1;
                self.fail(piece, Failure::Refused(refused.into()));
            }
        }
    }

    // ---- out --------------------------------------------------------------------------------------------------

    fn has_room(&self) -> bool {
        matches!(&self.state, State::Bound(session) if session.waiting.len() < usize::from(self.config.window))
    }

    /// Sends what there is room for.
    fn pump(&mut self, now: Duration) {
        while self.has_room() {
            let Some((piece, submit)) = self.submits.pop(now) else { return };
            let sequence = self.draw();
            self.send(CommandStatus::EsmeRok, sequence, submit.into());
            if let State::Bound(session) = &mut self.state {
                session.waiting.insert(sequence, (piece, now + self.config.response_timeout));
            }
        }
    }

    fn fail(&mut self, piece: Piece, failure: Failure) {
        if let Some(key) = self.submits.fail(piece.text) {
            self.out.push_back(Output::Submitted(key, Err(failure)));
        }
    }

    fn send(&mut self, status: CommandStatus, sequence: u32, pdu: Pdu) {
        let command = Command::new(status, sequence, pdu);
        let length = LENGTH + command.length();
        let mut out = BytesMut::with_capacity(length);
        out.extend_from_slice(&u32::try_from(length).expect("what we say is short").to_be_bytes());
        command.encode(&mut out);
        self.out.push_back(Output::Transmit(Bytes::from(out)));
    }

    fn draw(&mut self) -> u32 {
        self.sequence = if self.sequence == LAST_SEQUENCE { 1 } else { self.sequence + 1 };
        self.sequence
    }

    // ---- over -------------------------------------------------------------------------------------------------

    /// The connection is given up, and there will be another.
    fn lose(&mut self, now: Duration, loss: Loss) {
        let refused = matches!(loss, Loss::Refused(_));
        let rest = if refused { LONG_REST } else { (SHORT_REST * 2_u32.pow(self.failures.min(5))).min(LONG_REST) };
        let state = std::mem::replace(&mut self.state, State::Resting { until: now + rest });
        match state {
            // What was under way may have been taken; what was not goes by the next connection.
            State::Bound(session) => {
                for (piece, _) in session.waiting.into_values() {
                    self.counters.unanswered += 1;
                    self.fail(piece, Failure::Silent);
                }
            }
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => {
                self.failures = self.failures.saturating_add(1);
                self.drop_texts();
            }
            State::Unbinding { .. } | State::Ended => {}
        }
        self.counters.lost += 1;
        self.out.push_back(Output::Close);
        self.out.push_back(Output::Event(Event::Lost(loss)));
    }

    fn end(&mut self) {
        self.drop_texts();
        self.state = State::Ended;
        self.out.push_back(Output::Close);
    }

    fn drop_texts(&mut self) {
        for (key, failure) in self.submits.drain() {
            self.out.push_back(Output::Submitted(key, Err(failure)));
        }
    }
}

/// `command_id` and `sequence_number` of a PDU without its length.
fn head(frame: &[u8]) -> (u32, u32) {
    let word = |at: usize| frame.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
    (word(0), word(8))
}

/// The configuration has seen to it that it fits; what does not, is nothing.
fn c_octets<const MAX: usize>(text: &str) -> COctetString<1, MAX> {
    let mut octets = text.as_bytes().to_vec();
    octets.push(0);
    COctetString::from_vec(octets).unwrap_or_default()
}
