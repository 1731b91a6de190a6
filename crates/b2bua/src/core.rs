//! The owner of all calls of one signalling loop.
//!
//! ```text
//!   handle_message ─▶ parse ─▶ whose trunk? ─▶ transaction layer ─▶ in a dialog: its call's leg
//!                                                                └▶ INVITE: decide ─▶ dial or refuse
//!   handle_media_event ─▶ its call           handle_timeout ─▶ transactions, then calls, then probes of routes
//!   poll_output ◀─ media opened first, then messages, so that a port listens before a peer learns of it
//! ```

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use media::Side;
use media::ports::Ports;
use numbering::{Extension, Number, SubscriptionId, Table};
use sip::deadlines::Deadlines;
use sip::digest::{Authenticator, Verdict};
use sip::message::{Message, Method, ParseError};
use sip::token::{Tokens, push_hex, read_hex};
use sip::transaction::{Cancelled, ClientId, Event, Flow, Layer, Refusal, ServerId, Transmit};
use slab::Slab;

use self::admission::NewCall;
use self::texts::Texts;
use crate::call::Call;
use crate::cdr::Cdr;
use crate::event::CallEvent;
use crate::intake::{Complaint, check, check_extensions};
use crate::leg::{self, ALLOW, ALLOW_OUTSIDE, CallKey, Io, Leg, LegEvent, LegKey, Owner, trunk_of};
use crate::live::{Bucket, Live};
use crate::observe::{Counters, Drop, Gauges, LogLine};
use crate::outcome::Cause;
use crate::overload::{Change, Refused, Room};
use crate::routes::{Route, Routes};
use crate::settings::{Settings, TextBy, Trunk, TrunkId};
use crate::text::{Outcome, Text, TextEvent, TextKey, body};

mod admission;
pub mod inquiry;
mod new_call;
mod routing;
mod texts;

/// A media session; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct SessionId(pub u64);

/// What the driver shall do.
#[derive(Debug)]
pub enum Output {
    /// Send a SIP message.
    Transmit(Transmit),
    /// Make a media session on two bound ports.
    OpenMedia {
        /// Its name.
        session: SessionId,
        /// A's and B's RTP port; RTCP is the port above.
        ports: [u16; 2],
        /// For SSRCs, sequence numbers, CNAMEs.
        seed: u64,
    },
    /// Tell a media session. [`media::Command::Close`] is the last; [`media::Event::Closed`] must come back for it.
    Media {
        /// Which.
        session: SessionId,
        /// What.
        command: media::Command,
    },
    /// A call has ended, which nobody outside knows yet. What its media adds up to is missing; [`Output::Ended`] follows with the
    /// same session and has it.
    Ending(Box<Cdr>),
    /// A call has ended.
    Ended(Box<Cdr>),
    /// Somebody calls A by this binding with an extension: to be remembered, so that A can call back.
    Reached {
        /// The binding.
        binding: SubscriptionId,
        /// Its A as the call has it: the binding may be another A's before this is remembered.
        a: Number,
        /// Who calls.
        caller: Number,
    },
    /// Something that the customer wants to know. Before anybody outside does: what is put out behind it is not done yet.
    Told(Box<CallEvent>),
    /// The second leg of a call begins.
    Correlated {
        /// Its Call-ID.
        call_id: Box<[u8]>,
        /// The caller's.
        caller: Box<[u8]>,
    },
    /// The customer is to be asked what becomes of a text; [`Core::handle_text_verdict`] brings the answer. One that comes too
    /// late changes nothing.
    AskText {
        /// Which.
        key: TextKey,
        /// It.
        text: Arc<Text>,
    },
    /// Send a text to a trunk that the driver has a protocol for ([`TextBy::Driver`]); [`Core::handle_text_result`] brings what
    /// came of it.
    SendText {
        /// Which.
        key: TextKey,
        /// The trunk's name.
        trunk: Arc<str>,
        /// Who is shown: X.
        from: Number,
        /// Who gets it.
        to: Number,
        /// What, in one piece; the driver cuts it as its protocol needs.
        content: Arc<str>,
        /// What has not left by then is not to leave: 4 s (8 · T1) later the sender is told that nobody answered.
        until: Duration,
    },
    /// What became of a text that the driver has brought ([`Core::take_in_text`]).
    AnswerText {
        /// [`crate::text::TextIn::reply`].
        reply: u64,
        /// For its sender.
        outcome: Outcome,
    },
    /// What became of a text message, for a customer who wants to know.
    Text(Box<TextEvent>),
    /// Something to log.
    Log(LogLine),
}

/// All calls of one signalling loop. Sans I/O.
#[derive(Debug)]
pub struct Core {
    settings: Arc<Settings>,
    table: Table,
    layer: Layer<Owner>,
    tokens: Tokens,
    ports: Ports,
    routes: Routes,
    calls: Slab<Call>,
    sessions: HashMap<SessionId, Session>,
    /// The one to blame for a panic.
    current: Option<AtWork>,
    deadlines: Deadlines<CallKey>,
    out: VecDeque<Output>,
    counters: Counters,
    /// Calls in progress: all, by trunk name (in and out), by X.
    live: Live,
    /// New calls by trunk name.
    rates: HashMap<Arc<str>, Bucket>,
    strangers: Bucket,
    waiting: Room<NewCall>,
    texts: Texts,
    refused: Refused,
    /// The last that answered for calls which were over and gone: each gets one BYE.
    orphans: VecDeque<Orphan>,
    authenticator: Authenticator,
    /// UNIX time when `now` was zero: names of recordings begin with the day.
    unix_at_epoch: Duration,
    /// What tags of responses outside dialogs are made of.
    tag_key: u64,
    next_generation: u32,
    next_session: u64,
    draining: bool,
}

/// Who is at work.
#[derive(Clone, Copy, Debug)]
enum AtWork {
    Call(CallKey),
    Text(TextKey),
}

/// The longest that a hint of a call's deadline lies in the heap.
const FAR: Duration = Duration::from_secs(60);

/// Call-ID and To tag of an answer to a call that is gone.
type Orphan = (Box<[u8]>, Box<[u8]>);

/// Answers to calls that are gone, which are told from their copies.
const MAX_ORPHANS: usize = 64;

/// A media session that is open: whose, and on which ports.
#[derive(Clone, Copy, Debug)]
struct Session {
    call: CallKey,
    ports: [u16; 2],
}

/// What a call needs while it works.
pub(crate) struct Context<'a> {
    pub(crate) now: Duration,
    pub(crate) layer: &'a mut Layer<Owner>,
    pub(crate) routes: &'a Routes,
    pub(crate) counters: &'a mut Counters,
    pub(crate) tokens: &'a mut Tokens,
    pub(crate) out: &'a mut VecDeque<Output>,
    pub(crate) unix_at_epoch: Duration,
    /// The call ended in this step: it is to be taken off the counts.
    pub(crate) has_ended: bool,
    /// An extension was typed in this step: it is to be looked up.
    pub(crate) typed: Option<Extension>,
}

impl<'a> Context<'a> {
    pub(crate) fn io<'b>(&'b mut self, settings: &'b Settings) -> Io<'b> {
        Io { now: self.now, layer: self.layer, settings, routes: self.routes, counters: self.counters }
    }

    /// Today's date in UTC, `20261123`.
    pub(crate) fn date(&self) -> String {
        let seconds = i64::try_from((self.unix_at_epoch + self.now).as_secs()).unwrap_or(i64::MAX);
        let today = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
        today.strftime("%Y%m%d").to_string()
    }

    /// A tag that names its call and leg, so that a request in the dialog finds them without a search; its last 64
    /// bits are unguessable.
    pub(crate) fn local_tag(&mut self, key: CallKey, side: Side) -> Vec<u8> {
        local_tag(self.tokens, key, side)
    }

    pub(crate) fn call_id(&mut self) -> Vec<u8> {
        unique_id(self.tokens)
    }
}

/// The flow to a route of a trunk.
pub(crate) fn flow_to(settings: &Settings, trunk: &Trunk, route: &Route) -> Option<Flow> {
    let listener = settings.listener_to(trunk, route.transport, route.address.ip())?;
    Some(Flow::to(route.transport, listener, route.address))
}

fn local_tag(tokens: &mut Tokens, key: CallKey, side: Side) -> Vec<u8> {
    let mut tag = Vec::with_capacity(33);
    push_hex(&mut tag, u64::from(key.index), 8);
    push_hex(&mut tag, u64::from(key.generation), 8);
    tag.push(match side {
        Side::A => b'a',
        Side::B => b'b',
    });
    push_hex(&mut tag, tokens.draw(), 16);
    tag
}

/// 128 bits that nobody outside can predict, as digits: a Call-ID, a session.
fn unique_id(tokens: &mut Tokens) -> Vec<u8> {
    let mut id = Vec::with_capacity(32);
    push_hex(&mut id, tokens.draw(), 16);
    push_hex(&mut id, tokens.draw(), 16);
    id
}

/// The tag of a message that makes no dialog.
fn tag_of(mark: u64) -> Vec<u8> {
    let mut tag = Vec::with_capacity(16);
    push_hex(&mut tag, mark, 16);
    tag
}

fn read_tag(tag: &[u8]) -> Option<LegKey> {
    if tag.len() != 33 {
        return None;
    }
    let index = u32::try_from(read_hex(&tag[..8])?).ok()?;
    let generation = u32::try_from(read_hex(&tag[8..16])?).ok()?;
    let side = match tag[16] {
        b'a' => Side::A,
        b'b' => Side::B,
        _ => return None,
    };
    Some(LegKey { call: CallKey { index, generation }, side })
}

impl Core {
    /// An empty core. `seed` decides every identifier it will make.
    #[must_use]
    pub fn new(settings: Arc<Settings>, table: Table, seed: u64) -> Core {
        let advertised = settings.listeners.iter().map(|listener| listener.advertised.clone()).collect();
        let mut tokens = Tokens::new(seed);
        let limit = usize::try_from(settings.limits.transactions).unwrap_or(usize::MAX);
        let layer = Layer::new(settings.timers.sip.clone(), advertised, limit, tokens.draw());
        let tag_key = tokens.draw();
        let routes = Routes::new(tokens.draw(), settings.timers.sip.t1 * 8);
        let mut nonce_key = [0; 32];
        for part in nonce_key.chunks_exact_mut(8) {
            part.copy_from_slice(&tokens.draw().to_be_bytes());
        }
        let (first, last) = settings.media.ports;
        let ports = Ports::new(usize::from(last.saturating_sub(first) / 2) + 1, settings.media.quarantine);
        let mut core = Core {
            settings,
            table,
            layer,
            tokens,
            ports,
            routes,
            calls: Slab::new(),
            sessions: HashMap::new(),
            current: None,
            deadlines: Deadlines::default(),
            out: VecDeque::new(),
            counters: Counters::default(),
            live: Live::default(),
            rates: HashMap::new(),
            strangers: Bucket::full(Duration::ZERO, 10.0),
            waiting: Room::default(),
            texts: Texts::default(),
            refused: Refused::default(),
            orphans: VecDeque::new(),
            authenticator: Authenticator::new(&nonce_key, Authenticator::VALID, Authenticator::CAPACITY),
            unix_at_epoch: Duration::ZERO,
            tag_key,
            next_generation: 0,
            next_session: 0,
            draining: false,
        };
        core.renew_routes(Duration::ZERO);
        core
    }

    /// Tells what UNIX time it was when `now` was zero; without it that was 1970.
    pub fn set_unix_at_epoch(&mut self, unix_at_epoch: Duration) {
        self.unix_at_epoch = unix_at_epoch;
    }

    /// Takes new settings for new calls. Listeners, RTP addresses and ports, and SIP timers stay as they were: sockets are
    /// bound to them, and flows name listeners by their place.
    pub fn reload(&mut self, now: Duration, settings: Arc<Settings>) {
        self.settings = self.settings.kept_in(settings);
        self.renew_routes(now);
    }

    /// Ends every call and text in progress.
    pub fn end_all(&mut self, now: Duration) {
        self.end_texts(now);
        let keys: Vec<CallKey> = self.calls.iter().map(|(_, call)| call.key).collect();
        for key in keys {
            self.with_call(now, key, |call, cx| call.end(cx, Cause::Draining, None));
        }
    }

    /// Refuses new calls and texts from now on; those in progress go on.
    pub fn drain(&mut self) {
        self.draining = true;
    }

    /// The driver has bound an RTP port (and the one above for RTCP).
    pub fn add_port(&mut self, rtp: u16) {
        let is_new = self.ports.add(rtp);
        debug_assert!(is_new, "the driver binds each port of the range once");
    }

    /// How many more ports the driver should bind.
    #[must_use]
    pub fn ports_wanted(&self, now: Duration) -> usize {
        self.ports.wanted(now)
    }

    /// What has been counted since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// What is alive.
    #[must_use]
    pub fn gauges(&self) -> Gauges {
        let trunk_calls = self
            .settings
            .trunks
            .iter()
            .map(|trunk| (Arc::clone(&trunk.name), self.live.by_trunk.get(&trunk.name).copied().unwrap_or(0)));
        Gauges {
            routes: self.settings.trunks.iter().flat_map(|trunk| self.routes.gauges(&trunk.name)).collect(),
            calls: self.live.calls as usize,
            texts: self.texts.len(),
            transactions: self.layer.len(),
            ports_in_use: self.ports.in_use(),
            waiting: self.waiting.len(),
            is_overloaded: self.waiting.is_overloaded(),
            trunk_calls: trunk_calls.collect(),
        }
    }

    /// No call, text, transaction or port is in use and nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.sessions.is_empty()
            && self.layer.is_empty()
            && self.waiting.len() == 0
            && self.out.is_empty()
            && self.ports.in_use() == 0
            && self.live.has_nobody()
            && self.texts.is_empty()
    }

    /// No call and no text is in progress (old transactions may still linger).
    #[must_use]
    pub fn has_no_calls(&self) -> bool {
        self.calls.is_empty() && self.texts.is_empty()
    }

    /// When [`Core::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let calls = [self.deadlines.next(), self.waiting.deadline(), self.texts.poll_timeout()];
        calls.into_iter().chain([self.layer.poll_timeout(), self.routes.poll_timeout()]).flatten().min()
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        if let Some(output) = self.out.pop_front() {
            return Some(output);
        }
        if let Some(change) = self.waiting.poll_change() {
            return Some(Output::Log(match change {
                Change::Began => LogLine::OverloadBegan,
                Change::Ended { lasted, refused } => LogLine::OverloadEnded { lasted, refused },
            }));
        }
        if let Some(change) = self.routes.poll_change() {
            return Some(Output::Log(LogLine::Route(change)));
        }
        let transmit = self.layer.poll_transmit()?;
        self.counters.sent += 1;
        Some(Output::Transmit(transmit))
    }

    // ---- input ------------------------------------------------------------------------------------------------

    /// A datagram, or one framed message of a stream, handled at once: [`Core::take_in`] and whoever waits.
    pub fn handle_message(&mut self, now: Duration, flow: Flow, bytes: Bytes) {
        self.take_in(now, Duration::ZERO, flow, bytes);
        while self.has_waiting() {
            self.handle_waiting(now, usize::MAX);
        }
    }

    /// A datagram, or one framed message of a stream. What belongs to a call is handled at once; a new call waits for its turn
    /// ([`Core::handle_waiting`]), so that calls in progress lose nothing when too many new ones come. `age` is how long it has
    /// waited already, before it was read.
    pub fn take_in(&mut self, now: Duration, age: Duration, flow: Flow, bytes: Bytes) {
        let Some(trunk) = trunk_of(now, &self.settings, &self.routes, flow.peer.ip()) else {
            self.on_stranger(now, flow, bytes);
            return;
        };
        let length = bytes.len();
        match Message::parse(bytes, &self.settings.limits.message) {
            Ok(message) if message.is_request() => {
                self.counters.requests[message.method() as usize] += 1;
                if let Some(waiting) = self.sort(now, trunk, flow, message) {
                    let since = now.saturating_sub(age);
                    if let Err(refused) = self.waiting.enter(now, since, trunk, length, waiting) {
                        self.refuse(now, Drop::Overload, &refused);
                    }
                }
            }
            Ok(message) => {
                let class = usize::from(message.status() / 100).clamp(1, 6) - 1;
                self.counters.responses[class] += 1;
                if self.is_foreign(trunk, &message) {
                    self.counters.drop(Drop::ForeignResponse);
                    return;
                }
                self.on_message(now, trunk, flow, message);
            }
            Err(rejected) => {
                self.count_parse_error(rejected.error);
                if let Some(request) = rejected.request.filter(|request| request.method() != Method::Ack) {
                    self.reply(flow, &request, rejected.error.status(), &[]);
                }
            }
        }
    }

    /// Whether what comes from there is read at all: it is an address of a trunk's, or one that a name of its targets leads to.
    #[must_use]
    pub fn is_peer(&self, now: Duration, address: IpAddr) -> bool {
        trunk_of(now, &self.settings, &self.routes, address).is_some()
    }

    fn on_message(&mut self, now: Duration, trunk: TrunkId, flow: Flow, message: Message) {
        if let Some(event) = self.layer.handle_message(now, flow, message) {
            self.on_event(now, Some(trunk), event);
        }
    }

    /// The transport could not deliver to a peer.
    pub fn handle_transport_failure(&mut self, now: Duration, flow: Flow) {
        for event in self.layer.handle_transport_failure(flow) {
            self.on_event(now, None, event);
        }
    }

    /// A media session reports. Events of sessions that are gone are ignored.
    pub fn handle_media_event(&mut self, now: Duration, session: SessionId, event: media::Event) {
        let Some(&Session { call, ports }) = self.sessions.get(&session) else { return };
        if matches!(event, media::Event::Closed(_)) {
            self.sessions.remove(&session);
            for port in ports {
                self.ports.release(now, port);
            }
        }
        self.with_call(now, call, |call, cx| call.on_media_event(cx, event));
    }

    /// After a panic inside the core: ends the call or text that was at work, without a word to its peers, and counts it. A
    /// panic is our bug; it costs one call, not the process.
    pub fn abandon_current(&mut self) {
        self.counters.panics += 1;
        match self.current.take() {
            Some(AtWork::Call(key)) => self.abandon_call(key),
            Some(AtWork::Text(key)) => self.abandon_text(key),
            None => {}
        }
    }

    fn abandon_call(&mut self, key: CallKey) {
        self.layer.forget(|owner| matches!(owner, Owner::Leg(leg) if leg.call == key));
        let sessions = self.sessions.iter().filter(|(_, session)| session.call == key);
        for session in sessions.map(|(session, _)| *session) {
            self.out.push_back(Output::Media { session, command: media::Command::Close });
        }
        // A call that was only beginning is in no table yet.
        let Some(call) = self.calls.get(key.index as usize).filter(|call| call.key == key) else { return };
        if !call.is_over() {
            self.live.remove(&call.cdr);
        }
        let mut cdr = self.calls.remove(key.index as usize).cdr;
        if cdr.ended == Duration::MAX {
            // The last that is known of it: nobody tells the time of a fault.
            cdr.cause = Cause::Internal;
            cdr.ended = [cdr.joined, cdr.answered, cdr.alerting].into_iter().flatten().max().unwrap_or(cdr.call_in);
        }
        self.out.push_back(Output::Ended(cdr));
    }

    /// Time has come.
    pub fn handle_timeout(&mut self, now: Duration) {
        self.waiting.on_time(now);
        while let Some(event) = self.layer.handle_timeout(now) {
            self.on_event(now, None, event);
        }
        while let Some((at, key)) = self.deadlines.pop_due(now) {
            self.with_call(now, key, |call, cx| {
                if call.armed != Some(at) {
                    return;
                }
                call.armed = None;
                if call.deadline().is_some_and(|at| at <= now) {
                    call.on_time(cx);
                }
            });
        }
        self.on_texts_time(now);
        while let Some(probe) = self.routes.poll_probe(now) {
            self.send_probe(now, &probe);
        }
    }

    // ---- transactions' events ---------------------------------------------------------------------------------

    fn on_event(&mut self, now: Duration, trunk: Option<TrunkId>, event: Event<Owner>) {
        match event {
            Event::Request { id, flow, message } => {
                let Some(trunk) = trunk else { return };
                if message.to_tag().is_empty() {
                    self.on_new_request(now, trunk, id, flow, message);
                } else {
                    self.on_dialog_request(now, trunk, id, flow, &message);
                }
            }
            Event::Cancel { id, invite, flow, message } => self.on_cancel(now, id, invite, flow, &message),
            Event::Ack { message, .. } => self.on_ack(now, trunk, &message),
            Event::Response { id, owner, flow, message } => {
                self.on_heard(now, owner, &message);
                let owner = match owner {
                    Owner::Leg(owner) => owner,
                    Owner::Text(key) if message.status() >= 200 => {
                        self.on_text_response(now, key, id, &message);
                        return;
                    }
                    Owner::Text(_) => return,
                    Owner::Probe(_) => return,
                };
                if self.call(owner.call).is_some() {
                    self.with_leg(now, owner, |leg, io| leg.on_response(io, id, &message));
                } else if let Some(trunk) = trunk
                    && message.method() == Method::Invite
                    && (200..300).contains(&message.status())
                    && read_tag(message.from_tag()) == Some(owner)
                {
                    self.on_orphan(now, owner, trunk, flow, &message);
                }
            }
            Event::Timeout { id, owner, method } => self.on_unanswered(now, owner, id, method, false),
            Event::Undelivered { id, owner, method } => self.on_unanswered(now, owner, id, method, true),
            Event::Refused { refusal: Refusal::Merged(owner), flow, message } => {
                self.on_merged(now, owner, flow, &message);
            }
            Event::Refused { refusal: Refusal::Full, flow, message } => {
                self.counters.drop(Drop::Transactions);
                let after = self.retry_after(self.mark_of(&message));
                self.reply(flow, &message, 503, &[("Retry-After", after.as_bytes())]);
            }
        }
    }

    /// A request of ours had no final response, or could not be sent.
    fn on_unanswered(&mut self, now: Duration, owner: Owner, id: ClientId, method: Method, is_undelivered: bool) {
        self.on_unheard(now, owner, method);
        match owner {
            Owner::Leg(LegKey { call, side }) => {
                self.with_call(now, call, |call, cx| call.on_unanswered(cx, side, id));
            }
            Owner::Text(key) => self.on_text_unheard(now, key, id, is_undelivered),
            Owner::Probe(_) => {}
        }
    }

    /// Somebody answers for a call that is over and gone.
    fn on_orphan(&mut self, now: Duration, owner: LegKey, trunk: TrunkId, flow: Flow, ok: &Message) {
        let dialog = (Box::from(ok.call_id()), Box::from(ok.to_tag()));
        let is_first = !self.orphans.contains(&dialog);
        if is_first {
            if self.orphans.len() == MAX_ORPHANS {
                self.orphans.pop_front();
            }
            self.orphans.push_back(dialog);
        }
        let io = &mut Io {
            now,
            layer: &mut self.layer,
            settings: &self.settings,
            routes: &self.routes,
            counters: &mut self.counters,
        };
        leg::end_orphan(io, owner, trunk, flow, ok, is_first);
    }

    fn on_cancel(
        &mut self,
        now: Duration,
        id: ServerId,
        invite: Option<Cancelled<Owner>>,
        flow: Flow,
        cancel: &Message,
    ) {
        let Some(invite) = invite else {
            self.counters.drop(Drop::NoDialog);
            self.respond(now, id, flow, cancel, 481, &[]);
            return;
        };
        // RFC 3261 §9.2: with the tag that the INVITE's responses carry.
        let owner = match invite.owner {
            Some(Owner::Leg(owner)) => Some(owner),
            // Probes are requests of ours, and a text cannot be called back.
            Some(Owner::Probe(_) | Owner::Text(_)) | None => None,
        };
        let call = owner.and_then(|owner| self.call(owner.call));
        let tag = call.and_then(|call| call.a.local_tag()).map_or_else(|| self.reply_tag(cancel), <[u8]>::to_vec);
        let bytes = leg::bodiless(&self.settings, cancel, flow, &tag, 200, &[]);
        self.layer.respond(now, id, 200, bytes);
        let Some(owner) = owner.filter(|_| invite.is_pending) else { return };
        self.with_leg(now, owner, |leg, io| leg.on_cancel(io, cancel));
    }

    fn on_ack(&mut self, now: Duration, trunk: Option<TrunkId>, ack: &Message) {
        let (Some(owner), Some(trunk)) = (read_tag(ack.to_tag()), trunk) else { return };
        let from = Arc::clone(&self.settings.trunk(trunk).name);
        self.with_leg(now, owner, |leg, io| if leg.owns(ack, io.settings, &from) { leg.on_ack(io, ack) } else { None });
    }

    fn on_dialog_request(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, request: &Message) {
        if let Err(complaint) = check_extensions(request, self.settings.trunk(trunk)) {
            self.complain(now, id, flow, request, complaint);
            return;
        }
        let from = Arc::clone(&self.settings.trunk(trunk).name);
        let mut taken = false;
        if let Some(owner) = read_tag(request.to_tag()) {
            self.with_leg(now, owner, |leg, io| {
                taken = leg.owns(request, io.settings, &from);
                if taken { leg.on_request(io, id, flow, request) } else { None }
            });
        }
        if !taken {
            self.counters.drop(Drop::NoDialog);
            self.respond(now, id, flow, request, 481, &[]);
        }
    }

    /// A request outside any dialog.
    fn on_new_request(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, request: Message) {
        if let Err(complaint) = check(&request, self.settings.trunk(trunk)) {
            self.complain(now, id, flow, &request, complaint);
            return;
        }
        let (allow, texts): (&[u8], &[&[u8]]) = match self.settings.trunk(trunk).texts.by {
            TextBy::Sip => (ALLOW_OUTSIDE, &[b", ", body::ACCEPT]),
            TextBy::Driver => (ALLOW, &[]),
        };
        match request.method() {
            Method::Invite => {
                if self.is_authentic(now, trunk, id, flow, &request) {
                    self.on_invite(now, trunk, id, flow, request);
                }
            }
            Method::Message if self.settings.trunk(trunk).texts.by == TextBy::Sip => {
                self.on_message_request(now, trunk, id, flow, request);
            }
            Method::Options => {
                let accept = [b"application/sdp", &*texts.concat()].concat();
                let headers: [(&str, &[u8]); 3] =
                    [("Allow", allow), ("Accept", &accept), ("Accept-Encoding", b"identity")];
                let status = if self.draining { 503 } else { 200 };
                self.respond(now, id, flow, &request, status, &headers);
            }
            // They only mean something in a dialog.
            Method::Bye | Method::Prack | Method::Update | Method::Info => {
                self.counters.drop(Drop::NoDialog);
                self.respond(now, id, flow, &request, 481, &[]);
            }
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Message
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Publish => {
                self.counters.drop(Drop::Method);
                self.respond(now, id, flow, &request, 405, &[("Allow", allow)]);
            }
            // RFC 3261 §21.5.2: a method that we have never heard of.
            Method::Other => {
                self.counters.drop(Drop::Method);
                self.respond(now, id, flow, &request, 501, &[("Allow", allow)]);
            }
        }
    }

    fn complain(&mut self, now: Duration, id: ServerId, flow: Flow, request: &Message, complaint: Complaint) {
        self.counters.drop(complaint.drop);
        let headers: Vec<(&str, &[u8])> = complaint.header.iter().map(|(name, value)| (*name, &**value)).collect();
        self.respond(now, id, flow, request, complaint.status, &headers);
    }

    /// A trunk that must prove who it is has done so (RFC 3261 §22.2); one that has not is challenged.
    fn is_authentic(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, request: &Message) -> bool {
        let Some(account) = self.settings.trunk(trunk).challenge.clone() else { return true };
        let stale = match self.authenticator.verify(now, &account, request) {
            Verdict::Granted => return true,
            Verdict::Malformed => {
                self.counters.drop(Drop::Unauthenticated);
                self.respond(now, id, flow, request, 400, &[]);
                return false;
            }
            Verdict::Missing => false,
            Verdict::Wrong => {
                self.counters.drop(Drop::Unauthenticated);
                false
            }
            Verdict::Stale | Verdict::Replayed => true,
        };
        let challenges = self.authenticator.challenge(now, &account, self.tokens.draw(), stale);
        let headers: Vec<(&str, &[u8])> = challenges.iter().map(|value| ("WWW-Authenticate", &**value)).collect();
        self.respond(now, id, flow, request, 401, &headers);
        false
    }

    // ---- calls ------------------------------------------------------------------------------------------------

    fn call(&self, key: CallKey) -> Option<&Call> {
        self.calls.get(key.index as usize).filter(|call| call.key == key)
    }

    /// A response that comes from elsewhere than the trunk that its request went to. Whoever sends it has seen our request;
    /// answering its challenge would give it our digest, and following it our calls.
    fn is_foreign(&self, trunk: TrunkId, response: &Message) -> bool {
        let Some(owner) = self.layer.owner_of(response) else { return false };
        let from = &self.settings.trunk(trunk).name;
        match owner {
            Owner::Leg(LegKey { call, side }) => self.call(call).is_some_and(|call| call.is_foreign(side, from)),
            Owner::Text(key) => self.is_text_foreign(key, from),
            // All that an answer to a probe can say is that somebody lives.
            Owner::Probe(_) => false,
        }
    }

    /// Lets a call work, then arms its next deadline, or forgets it when nothing is left of it.
    fn with_call(&mut self, now: Duration, key: CallKey, work: impl FnOnce(&mut Call, &mut Context<'_>)) {
        let Some(call) = self.calls.get_mut(key.index as usize).filter(|call| call.key == key) else { return };
        self.current = Some(AtWork::Call(key));
        let mut cx = Context {
            now,
            layer: &mut self.layer,
            routes: &self.routes,
            counters: &mut self.counters,
            tokens: &mut self.tokens,
            out: &mut self.out,
            unix_at_epoch: self.unix_at_epoch,
            has_ended: false,
            typed: None,
        };
        work(call, &mut cx);
        let (has_ended, typed) = (cx.has_ended, cx.typed);
        self.settle(now, key, has_ended);
        if let Some(typed) = typed {
            self.on_typed(now, key, typed);
        }
        self.current = None;
    }

    /// Lets a leg work, and tells its call what came of it.
    fn with_leg(&mut self, now: Duration, owner: LegKey, work: impl FnOnce(&mut Leg, &mut Io<'_>) -> Option<LegEvent>) {
        let LegKey { call, side } = owner;
        self.with_call(now, call, |call, cx| {
            let settings = Arc::clone(call.settings());
            if let Some(event) = call.leg(side).and_then(|leg| work(leg, &mut cx.io(&settings))) {
                call.on_leg_event(cx, side, event);
            }
        });
    }

    fn settle(&mut self, now: Duration, key: CallKey, has_ended: bool) {
        let Some(call) = self.calls.get_mut(key.index as usize) else { return };
        if has_ended {
            self.live.remove(&call.cdr);
        }
        if call.is_gone() {
            self.calls.remove(key.index as usize);
            return;
        }
        if let Some(at) = call.deadline() {
            // A far deadline is looked at once a minute on the way, so that calls which end early leave no hint for hours.
            let at = at.min(now + FAR);
            if call.armed.is_none_or(|armed| at < armed) {
                call.armed = Some(at);
                self.deadlines.push(at, key);
            }
        }
    }

    // ---- answers without a call -------------------------------------------------------------------------------

    fn respond(
        &mut self,
        now: Duration,
        id: ServerId,
        flow: Flow,
        request: &Message,
        status: u16,
        headers: &[(&str, &[u8])],
    ) {
        // A 100 never carries a tag (RFC 3261 §8.2.6.2), every other response does.
        let tag = if status == 100 { Vec::new() } else { self.reply_tag(request) };
        let bytes = leg::bodiless(&self.settings, request, flow, &tag, status, headers);
        self.layer.respond(now, id, status, bytes);
    }

    fn reply(&mut self, flow: Flow, request: &Message, status: u16, headers: &[(&str, &[u8])]) {
        let tag = self.reply_tag(request);
        let bytes = leg::bodiless(&self.settings, request, flow, &tag, status, headers);
        self.layer.reply(flow, request, bytes);
    }

    /// The tag of a response that makes no dialog: the same for every copy of a request (RFC 3261 §8.2.7).
    fn reply_tag(&self, request: &Message) -> Vec<u8> {
        tag_of(self.mark_of(request))
    }

    /// The same for every copy of a request, and nobody outside can tell what it will be.
    fn mark_of(&self, request: &Message) -> u64 {
        let branch = request.top_via().branch;
        branch
            .iter()
            .chain(request.call_id())
            .fold(self.tag_key, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// An address of no trunk: a few refusals a second for the operator who forgot a `sources` line, silence beyond.
    fn on_stranger(&mut self, now: Duration, flow: Flow, bytes: Bytes) {
        self.counters.drop(Drop::Stranger);
        if !self.strangers.take(now, 10.0) {
            return;
        }
        let address: IpAddr = flow.peer.ip();
        self.out.push_back(Output::Log(LogLine::Stranger { address }));
        if let Ok(message) = Message::parse(bytes, &self.settings.limits.message)
            && message.is_request()
            && message.method() != Method::Ack
        {
            self.reply(flow, &message, 403, &[]);
        }
    }

    fn count_parse_error(&mut self, error: ParseError) {
        if let Some(place) = ParseError::ALL.iter().position(|known| *known == error) {
            self.counters.parse_errors[place] += 1;
        }
    }
}
