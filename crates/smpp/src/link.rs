//! The session with an SMSC (§2.2), from one connection to the next.
//!
//! ```text
//!   Resting ── time ─▶ Connecting ── connected ─▶ Binding ── bind_transceiver_resp ─▶ Bound ── unbind() ─▶ Parting ─▶ Unbinding ─▶ Ended
//!      ▲                   │ failed                  │ refused, silent                  │ unbind, silent, closed
//!      └───────────────────┴─────────────────────────┴─────────────────────────────────┘
//! ```
//!
//! Parting waits for the responses and the answers that are outstanding, as long as for any response: without them texts would be
//! said twice.
//!
//! The rest grows from 1 s to 30 s while the SMSC is not there, and is 30 s at once where it refused the bind: what it does not
//! like will not have changed.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rusmpp_core::command::owned::Command;
use rusmpp_core::encode::Length;
use rusmpp_core::encode::owned::Encode;
use rusmpp_core::pdus::owned::{BindTransceiver, DeliverSmResp, Pdu};
use rusmpp_core::types::owned::COctetString;
use rusmpp_core::values::InterfaceVersion;
use rusmpp_core::{CommandId, CommandStatus};

use crate::arrivals::{Arrivals, Next, Reply, Request};
use crate::submits::{Share, Submits};
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
/// A session that was shorter counts as one that did not come about.
const LASTING: Duration = Duration::from_secs(30);

/// What we have with an SMSC. `K` names texts to the caller.
pub struct Link<K> {
    config: Config,
    state: State,
    /// The connections that there have been: responses to a request of one do not go by another.
    connections: u64,
    /// Connections, binds and sessions that have failed since one lasted.
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
    Parting { session: Session, until: Duration },
    Unbinding { sequence: u32, until: Duration },
    Ended,
}

struct Session {
    since: Duration,
    alive: Alive,
    /// `submit_sm` without a response, by `sequence_number`, and until when it is waited for.
    waiting: BTreeMap<u32, (Share, Duration)>,
}

/// Whether the SMSC is there.
enum Alive {
    /// It has spoken.
    Heard { at: Duration },
    /// It is asked.
    Asked { until: Duration },
}

impl<K: Copy> Link<K> {
    /// A link that connects as soon as time is told. `reference` is the first of those that the parts of long texts have in
    /// common: one that the last process is not likely to have used a moment ago.
    #[must_use]
    pub fn new(config: Config, reference: u16) -> Link<K> {
        Link {
            submits: Submits::new(&config, reference),
            config,
            state: State::Resting { until: Duration::ZERO },
            connections: 0,
            failures: 0,
            sequence: 0,
            input: BytesMut::new(),
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
        let alive = self.session().map(|session| {
            let alive = match session.alive {
                Alive::Heard { at } => at + self.config.enquire_every,
                Alive::Asked { until } => until,
            };
            session.waiting.values().map(|(_, until)| *until).fold(alive, Duration::min)
        });
        let state = match &self.state {
            State::Resting { until }
            | State::Connecting { until }
            | State::Binding { until, .. }
            | State::Parting { until, .. }
            | State::Unbinding { until, .. } => Some(*until),
            State::Bound(_) => None,
            State::Ended => return None,
        };
        let under_way = self.session().filter(|_| self.is_bound()).map(|session| session.waiting.len());
        let texts = self.submits.poll_timeout(under_way);
        [state, alive, texts, self.arrivals.poll_timeout()].into_iter().flatten().min()
    }

    fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Bound(session) | State::Parting { session, .. } => Some(session),
            State::Resting { .. }
            | State::Connecting { .. }
            | State::Binding { .. }
            | State::Unbinding { .. }
            | State::Ended => None,
        }
    }

    fn session_mut(&mut self) -> Option<&mut Session> {
        match &mut self.state {
            State::Bound(session) | State::Parting { session, .. } => Some(session),
            State::Resting { .. }
            | State::Connecting { .. }
            | State::Binding { .. }
            | State::Unbinding { .. }
            | State::Ended => None,
        }
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
            State::Parting { until, .. } => {
                let is_over = *until <= now;
                self.on_session_time(now);
                // It may have been lost just now.
                if is_over && self.session().is_some() {
                    self.say_unbind(now);
                }
            }
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } | State::Unbinding { .. } => {}
            State::Ended => {}
        }
        self.pump(now);
    }

    fn on_session_time(&mut self, now: Duration) {
        let Some(session) = self.session_mut() else { return };
        let silent: Vec<(u32, Share)> = session
            .waiting
            .iter()
            .filter(|(_, (_, until))| *until <= now)
            .map(|(sequence, (share, _))| (*sequence, *share))
            .collect();
        silent.iter().for_each(|(sequence, _)| _ = session.waiting.remove(sequence));
        for (_, share) in silent {
            self.counters.unanswered += 1;
            self.fail(share, Failure::Silent);
        }
        let (enquire_every, response_timeout) = (self.config.enquire_every, self.config.response_timeout);
        let Some(session) = self.session_mut() else { return };
        match session.alive {
            Alive::Heard { at } if at + enquire_every <= now => {
                session.alive = Alive::Asked { until: now + response_timeout };
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
            State::Parting { .. } | State::Unbinding { .. } => self.end(),
            State::Resting { .. } | State::Ended => {}
        }
    }

    /// Bytes have come.
    pub fn handle_bytes(&mut self, now: Duration, bytes: &[u8]) {
        self.input.extend_from_slice(bytes);
        while self.is_connected() {
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
            let frame = self.input.split_to(length);
            self.on_frame(now, &frame);
        }
        self.pump(now);
    }

    fn is_connected(&self) -> bool {
        match self.state {
            State::Binding { .. } | State::Bound(_) | State::Parting { .. } | State::Unbinding { .. } => true,
            State::Resting { .. } | State::Connecting { .. } | State::Ended => false,
        }
    }

    /// A text is to be sent.
    pub fn submit(&mut self, now: Duration, submit: &Submit<K>) {
        let is_hopeful = match self.state {
            State::Bound(_) => true,
            // The first connection, or the next after one that did: it may be a matter of moments.
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => self.failures == 0,
            State::Parting { .. } | State::Unbinding { .. } | State::Ended => false,
        };
        let pushed = if is_hopeful { self.submits.push(submit, &self.config) } else { Err(Failure::Unbound) };
        if let Err(failure) = pushed {
            self.out.push_back(Output::Submitted(submit.key, Err(failure)));
        }
        self.pump(now);
    }

    /// What became of a text that came.
    pub fn answer(&mut self, now: Duration, reply: Reply, answer: Answer) {
        let connection = self.session().map(|_| self.connections);
        let (status, requests) = self.arrivals.answer(now, reply, answer, connection);
        for sequence in requests {
            self.send(status, sequence, DeliverSmResp::default().into());
        }
        self.pump(now);
    }

    /// The end: nothing new is sent or taken, what is outstanding is waited for a little, and the SMSC is told.
    pub fn unbind(&mut self, now: Duration) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Bound(session) => {
                self.state = State::Parting { session, until: now + self.config.response_timeout };
                for (key, failure) in self.submits.drop_unsent() {
                    self.out.push_back(Output::Submitted(key, Err(failure)));
                }
                self.pump(now);
            }
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => self.end(),
            state @ (State::Parting { .. } | State::Unbinding { .. } | State::Ended) => self.state = state,
        }
    }

    fn say_unbind(&mut self, now: Duration) {
        let sequence = self.draw();
        self.send(CommandStatus::EsmeRok, sequence, Pdu::Unbind);
        self.state = State::Unbinding { sequence, until: now + self.config.response_timeout };
        self.drop_texts();
    }

    // ---- PDUs -------------------------------------------------------------------------------------------------

    /// A whole PDU: its length, its header, its body.
    fn on_frame(&mut self, now: Duration, frame: &[u8]) {
        let word =
            |at: usize| frame.get(at..at + 4).and_then(|word| word.try_into().ok()).map_or(0, u32::from_be_bytes);
        let (id, status, sequence) = (CommandId::from(word(4)), CommandStatus::from(word(8)), word(12));
        if let Some(session) = self.session_mut() {
            session.alive = Alive::Heard { at: now };
        }
        // Of a response the header says all: a body of another shape than it should be is no reason to send anything again.
        match id {
            CommandId::DeliverSm => self.on_deliver_sm(now, sequence, frame.get(HEADER..).unwrap_or_default()),
            CommandId::BindTransceiverResp => self.on_bind_resp(now, sequence, status),
            CommandId::SubmitSmResp => self.on_submit_resp(now, sequence, status),
            CommandId::EnquireLink => self.send(CommandStatus::EsmeRok, sequence, Pdu::EnquireLinkResp),
            CommandId::Unbind => {
                self.send(CommandStatus::EsmeRok, sequence, Pdu::UnbindResp);
                match self.state {
                    State::Parting { .. } | State::Unbinding { .. } => self.end(),
                    State::Binding { .. } | State::Bound(_) => self.lose(now, Loss::Unbound),
                    State::Resting { .. } | State::Connecting { .. } | State::Ended => {}
                }
            }
            CommandId::UnbindResp => {
                if matches!(self.state, State::Unbinding { sequence: ours, .. } if ours == sequence) {
                    self.end();
                }
            }
            CommandId::GenericNack => self.on_nack(now, sequence, status),
            CommandId::EnquireLinkResp | CommandId::AlertNotification | CommandId::Outbind => {}
            // Responses to what we do not ask.
            id if u32::from(id) & 0x8000_0000 != 0 => {}
            // Requests that we do not take, `data_sm` among them.
            _ => self.send(CommandStatus::EsmeRinvcmdid, sequence, Pdu::GenericNack),
        }
    }

    fn on_deliver_sm(&mut self, now: Duration, sequence: u32, body: &[u8]) {
        let next = match self.state {
            State::Bound(_) => {
                let request = Request { connection: self.connections, sequence };
                let counters = &mut self.counters;
                self.arrivals.on_deliver(now, request, body, self.config.alphabet, counters)
            }
            // Not yet, or not any more: there will be another session.
            State::Binding { .. } | State::Parting { .. } | State::Unbinding { .. } => {
                Next::Respond(CommandStatus::EsmeRxTAppn)
            }
            State::Resting { .. } | State::Connecting { .. } | State::Ended => return,
        };
        match next {
            Next::Respond(status) => self.send(status, sequence, DeliverSmResp::default().into()),
            Next::Tell(incoming) => self.out.push_back(Output::Text(incoming)),
            Next::Wait => {}
        }
    }

    /// §4.3.1: the SMSC's answer to a request of ours that it could not read. It never says that all is well.
    fn on_nack(&mut self, now: Duration, sequence: u32, status: CommandStatus) {
        let status = if status == CommandStatus::EsmeRok { CommandStatus::EsmeRunknownerr } else { status };
        match self.state {
            State::Binding { .. } => self.on_bind_resp(now, sequence, status),
            State::Bound(_) | State::Parting { .. } => self.on_submit_resp(now, sequence, status),
            State::Unbinding { .. } => self.end(),
            State::Resting { .. } | State::Connecting { .. } | State::Ended => {}
        }
    }

    fn on_bind_resp(&mut self, now: Duration, sequence: u32, status: CommandStatus) {
        let State::Binding { sequence: ours, .. } = self.state else { return };
        if ours != sequence {
            return;
        }
        match status {
            CommandStatus::EsmeRok => {
                let alive = Alive::Heard { at: now };
                self.state = State::Bound(Session { since: now, alive, waiting: BTreeMap::new() });
                self.out.push_back(Output::Event(Event::Bound));
            }
            refused => self.lose(now, Loss::Refused(refused.into())),
        }
    }

    fn on_submit_resp(&mut self, now: Duration, sequence: u32, status: CommandStatus) {
        let Some(session) = self.session_mut() else { return };
        // One that comes too late has been given up.
        let Some((share, _)) = session.waiting.remove(&sequence) else { return };
        let under_way = session.waiting.len();
        match status {
            CommandStatus::EsmeRok => {
                self.counters.submitted += 1;
                if let Some((key, parts)) = self.submits.on_taken(share.text, &self.config) {
                    self.out.push_back(Output::Submitted(key, Ok(parts)));
                }
            }
            CommandStatus::EsmeRthrottled | CommandStatus::EsmeRmsgqful => {
                self.counters.throttled += 1;
                self.submits.on_throttled(now, share, under_way);
            }
            refused => {
                self.counters.refused += 1;
                self.fail(share, Failure::Refused(refused.into()));
            }
        }
    }

    // ---- out --------------------------------------------------------------------------------------------------

    /// Sends what there is room for, or says good-bye where nothing is outstanding any more.
    fn pump(&mut self, now: Duration) {
        while let State::Bound(session) = &self.state {
            let Some((share, submit)) = self.submits.pop(now, session.waiting.len()) else { return };
            let sequence = self.draw();
            self.send(CommandStatus::EsmeRok, sequence, submit.into());
            if let State::Bound(session) = &mut self.state {
                session.waiting.insert(sequence, (share, now + self.config.response_timeout));
            }
        }
        if let State::Parting { session, .. } = &self.state
            && session.waiting.is_empty()
            && !self.arrivals.is_waiting()
        {
            self.say_unbind(now);
        }
    }

    fn fail(&mut self, share: Share, failure: Failure) {
        if let Some((key, failure)) = self.submits.on_failed(share.text, failure) {
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
        let state = std::mem::replace(&mut self.state, State::Ended);
        match state {
            // What was under way may have been taken; what was not goes by the next connection.
            State::Bound(session) => {
                for (share, _) in session.waiting.into_values() {
                    self.counters.unanswered += 1;
                    self.fail(share, Failure::Silent);
                }
                self.failures = if now.saturating_sub(session.since) < LASTING { self.failures + 1 } else { 0 };
            }
            State::Resting { .. } | State::Connecting { .. } | State::Binding { .. } => {
                self.failures = self.failures.saturating_add(1);
                self.drop_texts();
            }
            State::Parting { .. } | State::Unbinding { .. } | State::Ended => {
                self.end();
                return;
            }
        }
        let rest = SHORT_REST * 2_u32.pow(self.failures.saturating_sub(1).min(5));
        self.state = State::Resting { until: now + if refused { LONG_REST } else { rest.min(LONG_REST) } };
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
        for (key, failure) in self.submits.drop_all() {
            self.out.push_back(Output::Submitted(key, Err(failure)));
        }
    }
}

/// The configuration has seen to it that it fits; what does not, is nothing.
fn c_octets<const MAX: usize>(text: &str) -> COctetString<1, MAX> {
    let mut octets = text.as_bytes().to_vec();
    octets.push(0);
    COctetString::from_vec(octets).unwrap_or_default()
}
