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
use media::ports::Ports;
use media::{Prompt, Side};
use numbering::{Binding, Decision, Number, Party, Table};
use sip::deadlines::Deadlines;
use sip::dialog::Dialog;
use sip::digest::{Authenticator, Verdict};
use sip::message::{Message, Method, ParseError};
use sip::token::{Tokens, push_hex, read_hex};
use sip::transaction::{Cancelled, Event, Flow, Layer, Refusal, ServerId, Transmit};
use slab::Slab;

use crate::call::{Arrival, Call, MediaPorts, Plan, prompt_of};
use crate::cdr::Cdr;
use crate::intake::{Complaint, check, check_extensions, read_called, read_caller};
use crate::leg::{self, ALLOW, CallKey, Io, Leg, LegEvent, LegKey, Owner, trunk_of};
use crate::live::{Bucket, Live};
use crate::observe::{Counters, Drop, Gauges, LogLine};
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::overload::{Change, Refused, Room, Turn};
use crate::routes::{Route, Routes};
use crate::settings::{Settings, Trunk, TrunkId};

mod routing;

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
    /// A call has ended.
    Ended(Box<Cdr>),
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
    /// The call that is at work: the one to blame for a panic.
    current: Option<CallKey>,
    deadlines: Deadlines<CallKey>,
    out: VecDeque<Output>,
    counters: Counters,
    /// Calls in progress: all, by trunk name (in and out), by X.
    live: Live,
    /// New calls by trunk name.
    rates: HashMap<Arc<str>, Bucket>,
    strangers: Bucket,
    waiting: Room<NewCall>,
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

/// The longest that a hint of a call's deadline lies in the heap.
const FAR: Duration = Duration::from_secs(60);

/// New calls that are refused while one may be served: a refusal costs a tenth of a call, or less.
const REFUSALS_A_CALL: usize = 16;

/// An INVITE outside any dialog that waits for its turn.
#[derive(Debug)]
struct NewCall {
    flow: Flow,
    invite: Message,
    /// [`Core::mark_of`] it.
    mark: u64,
}

impl NewCall {
    /// Whether a CANCEL from there means it (RFC 3261 §9.1).
    fn is_meant_by(&self, cancel: &Message, flow: Flow) -> bool {
        self.flow.peer.ip() == flow.peer.ip()
            && self.invite.call_id() == cancel.call_id()
            && self.invite.cseq().number == cancel.cseq().number
            && self.invite.top_via().branch == cancel.top_via().branch
    }
}

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
        let mut id = Vec::with_capacity(32);
        push_hex(&mut id, self.tokens.draw(), 16);
        push_hex(&mut id, self.tokens.draw(), 16);
        id
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

/// The tag of a response that makes no dialog.
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
        let mut settings = Arc::unwrap_or_clone(settings);
        settings.listeners.clone_from(&self.settings.listeners);
        settings.media.clone_from(&self.settings.media);
        settings.timers.sip.clone_from(&self.settings.timers.sip);
        self.settings = Arc::new(settings);
        self.renew_routes(now);
    }

    /// Ends every call in progress.
    pub fn end_all(&mut self, now: Duration) {
        let keys: Vec<CallKey> = self.calls.iter().map(|(_, call)| call.key).collect();
        for key in keys {
            self.with_call(now, key, |call, cx| call.end(cx, Cause::Draining, None));
        }
    }

    /// Refuses new calls from now on; calls in progress go on.
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
            transactions: self.layer.len(),
            ports_in_use: self.ports.in_use(),
            waiting: self.waiting.len(),
            is_overloaded: self.waiting.is_overloaded(),
            trunk_calls: trunk_calls.collect(),
        }
    }

    /// No call, transaction or port is in use and nothing waits to be sent.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.calls.is_empty()
            && self.sessions.is_empty()
            && self.layer.is_empty()
            && self.waiting.len() == 0
            && self.out.is_empty()
            && self.ports.in_use() == 0
            && self.live.calls == 0
            && self.live.by_trunk.is_empty()
            && self.live.by_number.is_empty()
    }

    /// No call is in progress (old transactions may still linger).
    #[must_use]
    pub fn has_no_calls(&self) -> bool {
        self.calls.is_empty()
    }

    /// When [`Core::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        [self.layer.poll_timeout(), self.deadlines.next(), self.waiting.deadline(), self.routes.poll_timeout()]
            .into_iter()
            .flatten()
            .min()
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

    /// Handles a request unless it is a new call, which is given back.
    fn sort(&mut self, now: Duration, trunk: TrunkId, flow: Flow, request: Message) -> Option<NewCall> {
        let is_new = request.to_tag().is_empty();
        if request.method() == Method::Invite && is_new && !self.layer.knows_invite(&request) {
            let new = NewCall { mark: self.mark_of(&request), flow, invite: request };
            if !self.refused.knows(now, new.mark) {
                return Some(new);
            }
            self.refuse(now, Drop::Overload, &new);
            return None;
        }
        if request.method() == Method::Cancel && !self.layer.knows_invite(&request) {
            // Nobody may cancel what has not been answered yet (§9.1). For one who does the call begins, to be ended at once.
            let meant = self.waiting.take(trunk, |waiting| waiting.is_meant_by(&request, flow));
            if let Some(waiting) = meant {
                self.admit(now, waiting);
            }
        }
        self.on_message(now, trunk, flow, request);
        None
    }

    fn on_message(&mut self, now: Duration, trunk: TrunkId, flow: Flow, message: Message) {
        if let Some(event) = self.layer.handle_message(now, flow, message) {
            self.on_event(now, Some(trunk), event);
        }
    }

    /// New calls wait: [`Core::handle_waiting`] wants to be called once what has been received is taken in.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.waiting.len() > 0
    }

    /// Gives at most so many new calls their turn, and refuses those that have waited too long: those that it meets, and not so
    /// many that it takes much longer.
    pub fn handle_waiting(&mut self, now: Duration, most: usize) {
        let (mut served, mut refused) = (0, 0);
        while served < most && refused < most.saturating_mul(REFUSALS_A_CALL) {
            match self.waiting.next(now) {
                None => return,
                Some(Turn::Serve(waiting)) => {
                    served += 1;
                    self.admit(now, waiting);
                }
                Some(Turn::Refuse(waiting)) => {
                    refused += 1;
                    self.refuse(now, Drop::Overload, &waiting);
                }
            }
        }
    }

    fn admit(&mut self, now: Duration, new: NewCall) {
        // A reload may have taken its trunk while it waited.
        let Some(trunk) = trunk_of(now, &self.settings, &self.routes, new.flow.peer.ip()) else {
            self.counters.drop(Drop::Stranger);
            return;
        };
        if self.refused.knows(now, new.mark) {
            self.refuse(now, Drop::Overload, &new);
            return;
        }
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk(trunk);
        // A refusal that needs no proof of who calls needs no transaction either.
        if known.challenge.is_none()
            && known.may_call_from(new.flow.peer.ip())
            && let Some(drop) = self.overload(now, known)
        {
            self.refuse(now, drop, &new);
            return;
        }
        self.on_message(now, trunk, new.flow, new.invite);
    }

    /// Refuses a new call without a transaction; every repeat of it gets the same response.
    fn refuse(&mut self, now: Duration, drop: Drop, new: &NewCall) {
        self.counters.drop(drop);
        self.refused.remember(now, new.mark);
        let after = self.retry_after(new.mark);
        let headers: [(&str, &[u8]); 1] = [("Retry-After", after.as_bytes())];
        let bytes = leg::bodiless(&self.settings, &new.invite, new.flow, &tag_of(new.mark), 503, &headers);
        self.layer.reply(new.flow, &new.invite, bytes);
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

    /// After a panic inside the core: ends the call that was at work, without a word to its peers, and counts it. A panic is
    /// our bug; it costs one call, not the process.
    pub fn abandon_current(&mut self) {
        self.counters.panics += 1;
        let Some(key) = self.current.take() else { return };
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
        self.calls.remove(key.index as usize);
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
                let Owner::Leg(owner) = owner else { return };
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
            Event::Timeout { id, owner, method } | Event::Undelivered { id, owner, method } => {
                self.on_unheard(now, owner, method);
                let Owner::Leg(LegKey { call, side }) = owner else { return };
                self.with_call(now, call, |call, cx| call.on_unanswered(cx, side, id));
            }
            Event::Refused { refusal: Refusal::Merged, flow, message } => {
                self.counters.drop(Drop::Merged);
                self.reply(flow, &message, 482, &[]);
            }
            Event::Refused { refusal: Refusal::Full, flow, message } => {
                self.counters.drop(Drop::Transactions);
                let after = self.retry_after(self.mark_of(&message));
                self.reply(flow, &message, 503, &[("Retry-After", after.as_bytes())]);
            }
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
            // Probes are requests of ours.
            Some(Owner::Probe(_)) | None => None,
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
        match request.method() {
            Method::Invite => {
                if self.is_authentic(now, trunk, id, flow, &request) {
                    self.on_invite(now, trunk, id, flow, request);
                }
            }
            Method::Options => {
                let headers: [(&str, &[u8]); 3] =
                    [("Allow", ALLOW), ("Accept", b"application/sdp"), ("Accept-Encoding", b"identity")];
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
                self.respond(now, id, flow, &request, 405, &[("Allow", ALLOW)]);
            }
            // RFC 3261 §21.5.2: a method that we have never heard of.
            Method::Other => {
                self.counters.drop(Drop::Method);
                self.respond(now, id, flow, &request, 501, &[("Allow", ALLOW)]);
            }
        }
    }

    fn complain(&mut self, now: Duration, id: ServerId, flow: Flow, request: &Message, complaint: Complaint) {
        self.counters.drop(complaint.drop);
        let headers: Vec<(&str, &[u8])> = complaint.header.iter().map(|(name, value)| (*name, &**value)).collect();
        self.respond(now, id, flow, request, complaint.status, &headers);
    }

    /// A trunk that must prove who it is has done so (RFC 3261 §22.2); one that has not is challenged.
    fn is_authentic(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, invite: &Message) -> bool {
        let Some(account) = self.settings.trunk(trunk).challenge.clone() else { return true };
        let stale = match self.authenticator.verify(now, &account, invite) {
            Verdict::Granted => return true,
            Verdict::Malformed => {
                self.counters.drop(Drop::Unauthenticated);
                self.respond(now, id, flow, invite, 400, &[]);
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
        self.respond(now, id, flow, invite, 401, &headers);
        false
    }

    // ---- a new call -------------------------------------------------------------------------------------------

    fn on_invite(&mut self, now: Duration, trunk: TrunkId, id: ServerId, flow: Flow, invite: Message) {
        let settings = Arc::clone(&self.settings);
        let key = self.next_key();
        let tag = local_tag(&mut self.tokens, key, Side::A);
        let Ok(dialog) = Dialog::of_request(&invite, &tag) else {
            self.count_parse_error(ParseError::MissingContact);
            self.respond(now, id, flow, &invite, 400, &[]);
            return;
        };
        if !settings.trunk(trunk).may_call_from(flow.peer.ip()) {
            // Known as a target only: it is called, it does not call.
            self.counters.drop(Drop::Stranger);
            self.respond(now, id, flow, &invite, 403, &[]);
            return;
        }
        if settings.trunk(trunk).challenge.is_some()
            && let Some(drop) = self.overload(now, settings.trunk(trunk))
        {
            self.counters.drop(drop);
            let after = self.retry_after(self.mark_of(&invite));
            self.respond(now, id, flow, &invite, 503, &[("Retry-After", after.as_bytes())]);
            return;
        }
        self.respond(now, id, flow, &invite, 100, &[]);
        let owner = LegKey { call: key, side: Side::A };
        self.layer.own(id, Owner::Leg(owner));
        self.counters.calls_begun += 1;

        let caller = read_caller(settings.trunk(trunk), &invite);
        let x = read_called(settings.trunk(trunk), &invite);
        let mut cdr = self.new_cdr(now, settings.trunk(trunk), caller, x);
        let verdict = self.decide(&settings, trunk, caller, x, &invite, &mut cdr);
        // Ports are taken only where something will be heard: a call, or a refusal with a prompt to one who offered to hear it.
        let wants_media = match &verdict {
            Ok(_) => true,
            Err(cause) => {
                let app = cdr.app.and_then(|app| settings.app(app));
                invite.sdp_body().is_some() && app.is_some_and(|app| prompt_of(app, *cause).is_some())
            }
        };
        let media = if wants_media { self.take_ports(now) } else { None };
        let (verdict, offer_answer) = self.negotiate(&settings, trunk, &invite, media, verdict);
        let request = leg::Request { invite, server: id, dialog, offer_answer };
        let leg = Leg::incoming(owner, trunk, flow, request, &settings);
        self.begin(now, Arrival { key, settings, leg, media, cdr }, verdict);
    }

    /// Makes the call, dialling or refusing, and counts it.
    fn begin(&mut self, now: Duration, arrival: Arrival, verdict: Result<Plan, Cause>) {
        let key = arrival.key;
        self.current = Some(key);
        if let Some(media) = arrival.media {
            self.sessions.insert(media.session, Session { call: key, ports: media.ports });
        }
        if let (Ok(plan), Some(caller), Some(trunk_out)) = (&verdict, arrival.cdr.caller, &arrival.cdr.trunk_out) {
            self.out.push_back(Output::Log(LogLine::Dialling {
                session_id: Arc::clone(&arrival.cdr.session_id),
                caller,
                x: plan.x,
                trunk_in: Arc::clone(&arrival.cdr.trunk_in),
                trunk_out: Arc::clone(trunk_out),
            }));
        }
        let mut cx = Context {
            now,
            layer: &mut self.layer,
            routes: &self.routes,
            counters: &mut self.counters,
            tokens: &mut self.tokens,
            out: &mut self.out,
            unix_at_epoch: self.unix_at_epoch,
            has_ended: false,
        };
        let call = Call::begin(&mut cx, arrival, verdict);
        let has_ended = cx.has_ended;
        self.current = None;
        self.live.add(&call.cdr);
        let place = self.calls.insert(call);
        debug_assert_eq!(place, key.index as usize, "next_key names the place that insert takes");
        self.settle(now, key, has_ended);
    }

    /// Answers the caller's offer, or makes one where it made none.
    fn negotiate(
        &mut self,
        settings: &Settings,
        trunk: TrunkId,
        invite: &Message,
        media: Option<MediaPorts>,
        verdict: Result<Plan, Cause>,
    ) -> (Result<Plan, Cause>, OfferAnswer) {
        let trunk = settings.trunk(trunk);
        let port = media.map_or(0, |media| media.ports[Side::A.index()]);
        let session_id = self.tokens.draw() >> 2;
        let unanswered = || OfferAnswer::offer(trunk, &settings.media, port, session_id);
        match invite.sdp_body() {
            None => (verdict, unanswered()),
            Some(offer) => match OfferAnswer::answer(offer, trunk, &settings.media, port, session_id) {
                Ok(answered) => (verdict, answered),
                Err(_) => (verdict.and(Err(Cause::NoCommonCodec)), unanswered()),
            },
        }
    }

    /// Who is reached, and how: the binding's word, the app's, the trunks'.
    fn decide(
        &mut self,
        settings: &Settings,
        trunk_in: TrunkId,
        caller: Option<Number>,
        x: Option<Number>,
        invite: &Message,
        cdr: &mut Cdr,
    ) -> Result<Plan, Cause> {
        let x = x.ok_or(Cause::UnreadableNumber)?;
        let virtual_number = self.table.virtual_number(x);
        if let Some(number) = &virtual_number {
            cdr.set_app(settings, number.app);
        }
        let (binding, party, callee) = match self.table.decide(x, caller) {
            Decision::Connect { binding, caller, callee } => (binding, caller, callee),
            Decision::Refuse { refusal, app, binding } => {
                if let Some(app) = app {
                    cdr.set_app(settings, app);
                }
                if let Some(binding) = &binding {
                    cdr.set_binding(binding);
                }
                return Err(refusal.into());
            }
        };
        let Binding::Axb(axb) = &*binding;
        cdr.set_app(settings, axb.app);
        cdr.set_binding(&binding);
        cdr.caller_is = Some(party);
        cdr.callee = Some(callee);
        let app = settings.app(axb.app).ok_or(Cause::Internal)?;
        let named = |name: Option<&Arc<str>>| name.and_then(|name| app.named.get(name)).cloned();
        let voice = axb.voice.as_deref();
        let hint_tone =
            named(voice.and_then(|voice| voice.record_hint_tone.as_ref())).or_else(|| app.hint_tone.clone());
        if hint_tone.is_none() && app.require_hint_tone {
            return Err(Cause::NoHintTone);
        }
        // X bound to X, or a call of ours that a carrier has brought back: its caller is an X then.
        if self.table.virtual_number(callee).is_some() || caller.is_some_and(|n| self.table.virtual_number(n).is_some())
        {
            return Err(Cause::Loop);
        }
        let per_number = settings.limits.calls_per_number;
        if per_number != 0 && self.live.by_number.get(&x).is_some_and(|calls| *calls >= per_number) {
            return Err(Cause::NumberFull);
        }
        let trunk_out = match virtual_number.and_then(|number| number.trunk.clone()) {
            Some(name) => settings.trunk_named(&name).ok_or(Cause::NoRoute)?,
            None => trunk_in,
        };
        let out = settings.trunk(trunk_out);
        let routes = self.routes.order(cdr.call_in, &out.name);
        if routes.is_empty() {
            return Err(Cause::NoRoute);
        }
        if trunk_out != trunk_in && self.live.of_trunk(&out.name) >= out.max_calls {
            return Err(Cause::TrunkFull);
        }
        cdr.trunk_out = Some(Arc::clone(&out.name));
        let announcement: Option<Arc<Prompt>> = named(voice.and_then(|voice| match party {
            Party::A => voice.caller_hint_tone.as_ref(),
            Party::B => voice.callee_hint_tone.as_ref(),
        }));
        let maximum = Duration::from_secs(60 * u64::from(axb.max_minutes));
        let ceiling = settings.timers.safety_ceiling.min(app.safety_ceiling);
        let bounded = axb.max_minutes != 0 && maximum <= ceiling;
        let longest = if bounded { (maximum, Cause::MaxDuration) } else { (ceiling, Cause::SafetyCeiling) };
        let last_minute = named(voice.and_then(|voice| voice.last_minute.as_ref()))
            .or_else(|| app.prompts.last_minute.clone())
            .filter(|_| bounded);
        let max_forwards = match invite.max_forwards() {
            Some(Ok(hops)) => hops.saturating_sub(1),
            Some(Err(_)) | None => 69,
        };
        Ok(Plan {
            app: axb.app,
            x,
            callee,
            trunk_out,
            routes: routes.into(),
            announcement,
            hint_tone,
            last_minute,
            longest,
            record: axb.record && app.recording,
            max_forwards,
        })
    }

    /// Whether a new call must be turned away at once, before it costs anything.
    fn overload(&mut self, now: Duration, trunk: &Trunk) -> Option<Drop> {
        if self.draining {
            return Some(Drop::Draining);
        }
        // Calls that have ended but still wait for an ACK or the response to a BYE count half.
        let limit = self.settings.limits.calls;
        if self.live.calls >= limit || self.calls.len() >= 2 * limit as usize {
            return Some(Drop::Calls);
        }
        if self.live.of_trunk(&trunk.name) >= trunk.max_calls {
            return Some(Drop::TrunkCalls);
        }
        let rate = f64::from(trunk.calls_per_second);
        let bucket = self.rates.entry(Arc::clone(&trunk.name)).or_insert_with(|| Bucket::full(now, rate));
        (!bucket.take(now, rate)).then_some(Drop::TrunkRate)
    }

    fn take_ports(&mut self, now: Duration) -> Option<MediaPorts> {
        let Some(first) = self.ports.take(now) else {
            self.counters.drop(Drop::Ports);
            return None;
        };
        let Some(second) = self.ports.take(now) else {
            self.ports.release(now, first);
            self.counters.drop(Drop::Ports);
            return None;
        };
        self.next_session += 1;
        Some(MediaPorts { session: SessionId(self.next_session), ports: [first, second] })
    }

    fn new_cdr(&mut self, now: Duration, trunk: &Trunk, caller: Option<Number>, x: Option<Number>) -> Box<Cdr> {
        let mut session_id = Vec::with_capacity(32);
        push_hex(&mut session_id, self.tokens.draw(), 16);
        push_hex(&mut session_id, self.tokens.draw(), 16);
        let session_id = String::from_utf8(session_id).expect("hexadecimal digits are UTF-8");
        Box::new(Cdr::begun(now, session_id.into(), Arc::clone(&trunk.name), caller, x))
    }

    fn next_key(&mut self) -> CallKey {
        self.next_generation = self.next_generation.wrapping_add(1);
        let index = u32::try_from(self.calls.vacant_key()).expect("overload() keeps calls below twice a u32's half");
        CallKey { index, generation: self.next_generation }
    }

    // ---- calls ------------------------------------------------------------------------------------------------

    fn call(&self, key: CallKey) -> Option<&Call> {
        self.calls.get(key.index as usize).filter(|call| call.key == key)
    }

    /// A response that comes from elsewhere than the trunk that its request went to. Whoever sends it has seen our request;
    /// answering its challenge would give it our digest, and following it our calls.
    fn is_foreign(&self, trunk: TrunkId, response: &Message) -> bool {
        let Some((owner, _)) = self.layer.owner_of(response) else { return false };
        let from = &self.settings.trunk(trunk).name;
        match owner {
            Owner::Leg(LegKey { call, side }) => self.call(call).is_some_and(|call| call.is_foreign(side, from)),
            // All that an answer to a probe can say is that somebody lives.
            Owner::Probe(_) => false,
        }
    }

    /// Lets a call work, then arms its next deadline, or forgets it when nothing is left of it.
    fn with_call(&mut self, now: Duration, key: CallKey, work: impl FnOnce(&mut Call, &mut Context<'_>)) {
        let Some(call) = self.calls.get_mut(key.index as usize).filter(|call| call.key == key) else { return };
        self.current = Some(key);
        let mut cx = Context {
            now,
            layer: &mut self.layer,
            routes: &self.routes,
            counters: &mut self.counters,
            tokens: &mut self.tokens,
            out: &mut self.out,
            unix_at_epoch: self.unix_at_epoch,
            has_ended: false,
        };
        work(call, &mut cx);
        let has_ended = cx.has_ended;
        self.current = None;
        self.settle(now, key, has_ended);
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

    /// Between the configured seconds and twice as many, so that callers do not come back together; the same for every copy of
    /// a request.
    fn retry_after(&self, mark: u64) -> String {
        let base = u64::from(self.settings.limits.retry_after.max(1));
        (base + mark % (base + 1)).to_string()
    }

    fn count_parse_error(&mut self, error: ParseError) {
        if let Some(place) = ParseError::ALL.iter().position(|known| *known == error) {
            self.counters.parse_errors[place] += 1;
        }
    }
}
