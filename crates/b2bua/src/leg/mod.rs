//! One party's side of a call: one SIP dialog with its offer and answer.
//!
//! A leg knows nothing of the other leg. What happens on it leaves as a [`LegEvent`], what shall happen comes as a
//! [`LegCommand`]; both are closed, so nothing else can cross. Every message is written from nothing.
//!
//! ```text
//!  incoming   Invited ──200──▶ Up(Unacked) ──ACK──▶ Up(Idle) ──BYE sent──▶ Releasing ──▶ Ended
//!             (18x, PRACK)         │ release ▶ ReleaseOnAck ──ACK──────────▲
//!                │ refuse                                                  │
//!                └─────────────────────────────────────────────────────────┴────────▶ Ended
//!  outgoing   Calling ──2xx, ACK──▶ Up(Idle)            Up: re-INVITE, UPDATE, INFO, session timer
//!             (early dialogs, 401, 422, 3xx)
//!                │ cancel
//!                ▼
//!             Cancelling ──2xx, ACK, BYE──▶ Releasing ;  ──487──▶ Ended
//! ```
//!
//! One file a state: `incoming` (Invited), `outgoing` (Calling, Cancelling), `established` (Up), `releasing` (Refused,
//! ReleaseOnAck, Releasing). A handler takes its state and returns the next one, so that nothing of a state outlives it.

use std::time::Duration;

use bytes::Bytes;
use media::{Remote, Side};
use numbering::Number;
use sip::dialog::Dialog;
use sip::message::{Message, Method, RAck};
use sip::transaction::{ClientId, Flow, Layer, ServerId};

use crate::observe::Counters;
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::routes::{RouteId, Routes};
use crate::settings::{Settings, TrunkId};
use crate::text::TextKey;

mod established;
mod incoming;
mod outgoing;
mod proof;
mod releasing;
mod session_timer;
mod wire;

use established::Up;
use incoming::Invited;
use outgoing::{Calling, Cancelling};
pub(crate) use proof::{Authorizations, Proof};
use releasing::{Refused, ReleaseOnAck, Releasing};
pub(crate) use session_timer::too_small;
pub(crate) use wire::{Head, bodiless, sip_uri, trunk_of};
use wire::{Headers, plain};

/// Methods that we take, for `Allow`.
pub(crate) const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO";

/// The same outside dialogs: a text message is no part of a call.
pub(crate) const ALLOW_OUTSIDE: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS, PRACK, UPDATE, INFO, MESSAGE";

/// Extensions that we know, against `Require` and `Proxy-Require`.
pub(crate) const EXTENSIONS: [&str; 2] = ["100rel", "timer"];

/// A call's place in the core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct CallKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// A leg's place in the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LegKey {
    pub(crate) call: CallKey,
    pub(crate) side: Side,
}

/// What a transaction belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A leg of a call.
    Leg(LegKey),
    /// A probe of a route.
    Probe(RouteId),
    /// A text message.
    Text(TextKey),
}

/// How far the called network says the call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Progress {
    /// 180: the phone rings.
    Ringing,
    /// 181: the call is being forwarded.
    Forwarded,
    /// 182: the call is queued.
    Queued,
    /// 183, or any other.
    Session,
}

/// What a leg reports to its call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LegEvent {
    /// The called party's network gave a provisional response above 100.
    Progressed {
        /// What it said.
        progress: Progress,
        /// It sends early media, and this is where; of a network that forks, the branch that spoke last.
        media: Option<Remote>,
    },
    /// The called party answered, and is acknowledged.
    Answered {
        /// Its media.
        media: Remote,
    },
    /// The caller acknowledged our answer; `media` where it had made no offer.
    Acknowledged {
        /// Its media.
        media: Option<Remote>,
    },
    /// The party's media is settled early, or moved or held by a re-INVITE or UPDATE; it has been answered.
    MediaChanged {
        /// Its media now.
        media: Remote,
    },
    /// The party pressed a digit and said so by INFO.
    Digit {
        /// Which.
        digit: media::Digit,
        /// How long, in milliseconds.
        ms: u16,
    },
    /// The called network names other places for the same number.
    Redirected {
        /// 300-399.
        status: u16,
        /// Them, best first.
        to: Vec<Place>,
    },
    /// A final response other than 2xx.
    Refused {
        /// SIP status.
        status: u16,
        /// Q.850 cause in its Reason.
        q850: Option<u8>,
    },
    /// The party hung up (BYE) or gave up (CANCEL).
    Released {
        /// Q.850 cause in its Reason.
        q850: Option<u8>,
    },
    /// The leg cannot go on.
    Lost(Cause),
    /// A released leg has nothing left to do.
    Ended,
}

/// A place that a redirection names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Host as written, in lower case; an IPv6 address without its brackets.
    pub host: Box<str>,
    /// Port, where one is written.
    pub port: Option<u16>,
}

/// What a call tells its leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegCommand {
    /// Provisional response to the caller: with our SDP where it shall hear something.
    Progress {
        /// Which.
        progress: Progress,
        /// Early media follows.
        early_media: bool,
    },
    /// 200 with our SDP to the caller.
    Answer,
    /// A digit of the other party, by INFO.
    Digit {
        /// Which.
        digit: media::Digit,
        /// How long, in milliseconds.
        ms: u16,
    },
    /// The final response of this cause to the caller.
    Refuse(Cause),
    /// End the leg in whatever way its state asks for: final response, CANCEL or BYE.
    Release(Cause),
}

/// Whether the caller can be let hear something before the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum EarlyMedia {
    /// Its media is known.
    Ready,
    /// It made no offer, but takes ours in a reliable provisional response; its media comes with the PRACK.
    OnOffer,
    /// Not before the answer.
    Never,
}

/// What a leg needs from outside while it works.
pub(crate) struct Io<'a> {
    pub(crate) now: Duration,
    pub(crate) layer: &'a mut Layer<Owner>,
    pub(crate) settings: &'a Settings,
    pub(crate) counters: &'a mut Counters,
    pub(crate) routes: &'a Routes,
}

/// Who the peer of a leg is and how it is reached: what all states have in common.
#[derive(Debug)]
pub(crate) struct Line {
    owner: LegKey,
    trunk: TrunkId,
    flow: Flow,
    /// The caller has been sent our 200.
    answered: bool,
    /// The highest CSeq number of any request of ours on this leg. Dialogs of one INVITE share it: so a dialog that is made
    /// anew from a 2xx never says a number that a PRACK of its early days has said.
    last_cseq: u32,
    /// Other forks of the called party that have answered too and are ended.
    forks: Vec<Fork>,
    /// The provisional response whose PRACK had not come when the final one went out: it must still be taken
    /// (RFC 3262 §3).
    unpracked: Option<RAck>,
    proof: Proof,
    /// What the last INVITE said of it.
    invite_authorizations: Authorizations,
}

/// A branch of the called network that has answered beside the one that is up.
#[derive(Debug)]
struct Fork {
    dialog: Dialog,
    bye: ClientId,
    challenged: bool,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    line: Line,
    state: State,
}

/// Forks of one INVITE that are told apart; copies of a 2xx of any beyond them are left to their own time-out.
const MAX_FORKS: usize = 8;

#[derive(Debug)]
enum State {
    Invited(Box<Invited>),
    Refused(Box<Refused>),
    Calling(Box<Calling>),
    Cancelling(Box<Cancelling>),
    Up(Box<Up>),
    ReleaseOnAck(Box<ReleaseOnAck>),
    Releasing(Box<Releasing>),
    Ended,
}

/// The state that follows, and what the call is told.
type Next = (State, Option<LegEvent>);

/// A 200 to an INVITE, sent until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
struct PendingOk {
    server: ServerId,
    bytes: Bytes,
    cseq: u32,
    repeat: Repeat,
}

/// A message of ours that is sent again at T1, 2·T1, 4·T1 … until it is acknowledged or 64·T1 are over.
#[derive(Clone, Copy, Debug)]
struct Repeat {
    at: Duration,
    interval: Duration,
    /// Intervals grow up to this: T2 for a 2xx, without bound for a reliable provisional response (RFC 3262 §3).
    longest: Duration,
    give_up: Duration,
}

/// The caller's INVITE and what was made of it.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) invite: Message,
    pub(crate) server: ServerId,
    pub(crate) dialog: Dialog,
    pub(crate) offer_answer: OfferAnswer,
}

/// What the outgoing INVITE says of the parties, spelt as the trunk wants it.
#[derive(Clone, Debug)]
pub(crate) struct Parties {
    /// User part of X.
    pub(crate) x: Vec<u8>,
    /// User part of the callee.
    pub(crate) callee: Vec<u8>,
    /// Host part of the callee: the trunk's target as the operator named it.
    pub(crate) host: String,
    /// The callee, to know it again in a redirection.
    pub(crate) number: Number,
    pub(crate) max_forwards: u8,
    pub(crate) local_tag: Vec<u8>,
    pub(crate) call_id: Vec<u8>,
}

impl Leg {
    /// The caller's leg.
    pub(crate) fn incoming(owner: LegKey, trunk: TrunkId, flow: Flow, request: Request, settings: &Settings) -> Leg {
        let invited = Invited::new(request, settings.trunk(trunk));
        Leg { line: Line::new(owner, trunk, flow), state: State::Invited(Box::new(invited)) }
    }

    /// Sends the INVITE to the called party's trunk.
    pub(crate) fn outgoing(
        io: &mut Io<'_>,
        owner: LegKey,
        trunk: TrunkId,
        flow: Flow,
        parties: Parties,
        offer_answer: OfferAnswer,
    ) -> Leg {
        let mut line = Line::new(owner, trunk, flow);
        let calling = Calling::begin(&mut line, io, parties, offer_answer);
        Leg { line, state: State::Calling(Box::new(calling)) }
    }

    /// Our tag, while the leg has one dialog.
    pub(crate) fn local_tag(&self) -> Option<&[u8]> {
        self.dialog().map(|dialog| &*dialog.local_tag)
    }

    /// Its Call-ID, while the leg has one dialog.
    pub(crate) fn call_id(&self) -> Option<&[u8]> {
        self.dialog().map(|dialog| &*dialog.call_id)
    }

    /// The caller has been sent our 200, which the PRACK of a response before it may delay or, where none comes, prevent.
    pub(crate) fn was_answered(&self) -> bool {
        self.line.answered
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The party's media, as far as it is settled.
    pub(crate) fn media(&self) -> Option<Remote> {
        match &self.state {
            State::Invited(state) => state.media(),
            State::Calling(state) => state.media(),
            State::Up(state) => state.media(),
            State::Refused(_) | State::Cancelling(_) | State::ReleaseOnAck(_) | State::Releasing(_) | State::Ended => {
                None
            }
        }
    }

    /// Whether the caller can hear something before the answer.
    pub(crate) fn early_media(&self) -> EarlyMedia {
        match &self.state {
            State::Invited(state) => state.early_media(),
            // Answered to be asked for an extension, while the other one is called.
            State::Up(state) if state.media().is_some() => EarlyMedia::Ready,
            State::Refused(_)
            | State::Calling(_)
            | State::Cancelling(_)
            | State::Up(_)
            | State::ReleaseOnAck(_)
            | State::Releasing(_)
            | State::Ended => EarlyMedia::Never,
        }
    }

    /// The caller hears us already: it has been answered, or told that early media follows.
    pub(crate) fn hears_us(&self) -> bool {
        match &self.state {
            State::Invited(state) => state.hears_us(),
            State::Up(_) => true,
            State::Refused(_)
            | State::Calling(_)
            | State::Cancelling(_)
            | State::ReleaseOnAck(_)
            | State::Releasing(_)
            | State::Ended => false,
        }
    }

    pub(crate) fn trunk(&self) -> TrunkId {
        self.line.trunk
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Invited(state) => Some(state.deadline()),
            State::Up(state) => state.deadline(),
            State::Refused(state) => Some(state.until),
            State::ReleaseOnAck(state) => Some(state.deadline()),
            State::Calling(_) | State::Cancelling(_) | State::Releasing(_) | State::Ended => None,
        }
    }

    /// The trunk of this name is the one that this leg is on.
    pub(crate) fn is_on(&self, trunk: &str, settings: &Settings) -> bool {
        &*settings.trunk(self.line.trunk).name == trunk
    }

    /// Whether an in-dialog request is this leg's: its dialog, and from the trunk that the leg is on.
    pub(crate) fn owns(&self, request: &Message, settings: &Settings, from: &str) -> bool {
        self.is_on(from, settings)
            && match &self.state {
                State::Calling(state) => state.owns(request),
                State::Invited(_)
                | State::Refused(_)
                | State::Up(_)
                | State::ReleaseOnAck(_)
                | State::Releasing(_)
                | State::Cancelling(_)
                | State::Ended => self.dialog().is_some_and(|dialog| dialog.owns(request)),
            }
    }

    fn dialog(&self) -> Option<&Dialog> {
        match &self.state {
            State::Invited(state) => Some(state.dialog()),
            State::Refused(state) => Some(&state.dialog),
            State::Up(state) => Some(state.dialog()),
            State::ReleaseOnAck(state) => Some(state.dialog()),
            State::Releasing(state) => Some(state.dialog()),
            State::Calling(_) | State::Cancelling(_) | State::Ended => None,
        }
    }

    fn step(&mut self, work: impl FnOnce(State, &mut Line) -> Next) -> Option<LegEvent> {
        let state = std::mem::replace(&mut self.state, State::Ended);
        let (next, event) = work(state, &mut self.line);
        self.state = next;
        event
    }

    // ---- commands ---------------------------------------------------------------------------------------------

    pub(crate) fn command(&mut self, io: &mut Io<'_>, command: LegCommand) {
        let event = self.step(|state, line| match (command, state) {
            (LegCommand::Progress { progress, early_media }, State::Invited(state)) => {
                state.progress(line, io, progress, early_media)
            }
            (LegCommand::Answer, State::Invited(state)) => state.answer(line, io),
            (LegCommand::Digit { digit, ms }, State::Up(state)) => state.digit(line, io, digit, ms),
            (LegCommand::Refuse(cause) | LegCommand::Release(cause), state) => state.release(line, io, cause),
            // A command that the leg's own end has overtaken.
            (LegCommand::Progress { .. } | LegCommand::Answer | LegCommand::Digit { .. }, state) => (state, None),
        });
        debug_assert!(event.is_none(), "a command tells nothing back: {event:?}");
    }

    // ---- what the peer sends ----------------------------------------------------------------------------------

    /// CANCEL for the caller's INVITE. The CANCEL itself has been answered.
    pub(crate) fn on_cancel(&mut self, io: &mut Io<'_>, cancel: &Message) -> Option<LegEvent> {
        self.step(|state, line| match state {
            State::Invited(state) => state.on_cancel(line, io, cancel),
            state @ (State::Refused(_)
            | State::Calling(_)
            | State::Cancelling(_)
            | State::Up(_)
            | State::ReleaseOnAck(_)
            | State::Releasing(_)
            | State::Ended) => (state, None),
        })
    }

    /// A request in the dialog, neither ACK nor CANCEL.
    pub(crate) fn on_request(
        &mut self,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Option<LegEvent> {
        self.step(|state, line| match state {
            State::Invited(state) => state.on_request(line, io, id, flow, request),
            State::Calling(state) => state.on_request(line, io, id, flow, request),
            State::Up(state) => state.on_request(line, io, id, flow, request),
            State::Refused(state) => state.on_request(line, io, id, flow, request),
            State::ReleaseOnAck(state) => state.on_request(line, io, id, flow, request),
            State::Releasing(state) => state.on_request(line, io, id, flow, request),
            // `owns` is false for these.
            state @ (State::Cancelling(_) | State::Ended) => (state, None),
        })
    }

    /// ACK to a 200 of ours.
    pub(crate) fn on_ack(&mut self, io: &mut Io<'_>, ack: &Message) -> Option<LegEvent> {
        self.step(|state, line| match state {
            State::Up(state) => state.on_ack(line, io, ack),
            State::ReleaseOnAck(state) => state.on_ack(line, io, ack),
            state @ (State::Invited(_)
            | State::Refused(_)
            | State::Calling(_)
            | State::Cancelling(_)
            | State::Releasing(_)
            | State::Ended) => (state, None),
        })
    }

    /// A response to a request that we sent.
    pub(crate) fn on_response(&mut self, io: &mut Io<'_>, id: ClientId, response: &Message) -> Option<LegEvent> {
        self.line.proof.accepted(response);
        if self.line.on_fork_response(io, id, response) {
            return None;
        }
        self.step(|state, line| match state {
            State::Calling(state) => state.on_response(line, io, id, response),
            State::Cancelling(state) => state.on_response(line, io, id, response),
            State::Up(state) => state.on_response(line, io, id, response),
            State::Releasing(state) => state.on_response(line, io, id, response),
            // The call goes on, on its other leg or to its end; another branch of the called network answers only now.
            State::Ended if response.method() == Method::Invite && (200..300).contains(&response.status()) => {
                let target = format!("sip:{}", line.flow.peer);
                line.end_fork(io, response, target.as_bytes());
                (State::Ended, None)
            }
            state @ (State::Invited(_) | State::Refused(_) | State::ReleaseOnAck(_) | State::Ended) => (state, None),
        })
    }

    /// A request of ours got no final response, or could not be sent.
    pub(crate) fn on_unanswered(&mut self, io: &mut Io<'_>, id: ClientId) -> Option<LegEvent> {
        self.step(|state, line| match state {
            State::Calling(state) => state.on_unanswered(id),
            State::Cancelling(state) => state.on_unanswered(id),
            State::Up(state) => state.on_unanswered(line, io, id),
            State::Releasing(state) => state.on_unanswered(id),
            state @ (State::Invited(_) | State::Refused(_) | State::ReleaseOnAck(_) | State::Ended) => (state, None),
        })
    }

    /// Time has come for something: a response again, a refresh, or the end of patience.
    pub(crate) fn on_time(&mut self, io: &mut Io<'_>) -> Option<LegEvent> {
        self.step(|state, line| match state {
            State::Invited(state) => state.on_time(line, io),
            State::Up(state) => state.on_time(line, io),
            State::Refused(state) => state.on_time(io),
            State::ReleaseOnAck(state) => state.on_time(line, io),
            state @ (State::Calling(_) | State::Cancelling(_) | State::Releasing(_) | State::Ended) => (state, None),
        })
    }
}

impl State {
    fn release(self, line: &mut Line, io: &mut Io<'_>, cause: Cause) -> Next {
        match self {
            State::Invited(state) => state.refuse(line, io, cause),
            State::Calling(state) => state.cancel(io, cause),
            State::Up(state) => state.release(line, io, cause),
            kept @ (State::Refused(_)
            | State::Cancelling(_)
            | State::ReleaseOnAck(_)
            | State::Releasing(_)
            | State::Ended) => (kept, None),
        }
    }
}

impl Line {
    fn new(owner: LegKey, trunk: TrunkId, flow: Flow) -> Line {
        Line {
            owner,
            trunk,
            flow,
            answered: false,
            last_cseq: 0,
            forks: Vec::new(),
            unpracked: None,
            proof: Proof::default(),
            invite_authorizations: Vec::new(),
        }
    }

    /// This PRACK is for a reliable response that was still unacknowledged when the final one left.
    fn awaits(&self, prack: &Message) -> bool {
        self.unpracked.is_some() && prack.rack() == self.unpracked
    }

    /// Headers that answer the challenges of this trunk (RFC 3261 §22), where it has made any.
    fn authorizations(&mut self, method: Method, uri: &[u8], body: &[u8]) -> Authorizations {
        let headers = self.proof.authorizations(method, uri, body);
        if method == Method::Invite {
            // Its ACK says the same again: it cannot be challenged (§22.1).
            self.invite_authorizations.clone_from(&headers);
        }
        headers
    }

    /// Takes the challenge of a 401 or 407. `false`: there is no answer to it, or the one given was wrong.
    fn learn(&mut self, io: &mut Io<'_>, response: &Message) -> bool {
        self.proof.learn(io.settings.trunk(self.trunk), io.layer.draw(), response)
    }

    /// A 2xx of another fork than the one that is up: acknowledged and ended (RFC 3261 §13.2.2.4). `target`: where it is
    /// addressed when it gives no Contact.
    fn end_fork(&mut self, io: &mut Io<'_>, response: &Message, target: &[u8]) {
        let Ok(mut dialog) = Dialog::of_response(response, target) else { return };
        let is_known = self.forks.iter().any(|fork| fork.dialog.remote_tag == dialog.remote_tag);
        if !is_known && self.forks.len() == MAX_FORKS {
            return;
        }
        self.ack(io, &dialog, response.cseq().number);
        if !is_known {
            let bye = self.bye(io, &mut dialog, COMPLETED_ELSEWHERE);
            self.forks.push(Fork { dialog, bye, challenged: false });
        }
    }

    /// The answer to a fork's BYE. `true`: it was one.
    fn on_fork_response(&mut self, io: &mut Io<'_>, id: ClientId, response: &Message) -> bool {
        let Some(place) = self.forks.iter().position(|fork| fork.bye == id) else { return false };
        if matches!(response.status(), 401 | 407) && !self.forks[place].challenged && self.learn(io, response) {
            let mut fork = self.forks.swap_remove(place);
            fork.bye = self.bye(io, &mut fork.dialog, COMPLETED_ELSEWHERE);
            self.forks.push(Fork { challenged: true, ..fork });
        }
        true
    }
}

/// A 2xx for a call that is over and gone: acknowledged and ended, so that no phone stays in a call with nobody
/// (RFC 3261 §13.2.2.4). A copy, which is not the first, is only acknowledged.
pub(crate) fn end_orphan(
    io: &mut Io<'_>,
    owner: LegKey,
    trunk: TrunkId,
    flow: Flow,
    response: &Message,
    is_first: bool,
) {
    let target = format!("sip:{}", flow.peer);
    let Ok(mut dialog) = Dialog::of_response(response, target.as_bytes()) else { return };
    let mut line = Line::new(owner, trunk, flow);
    // What the call has said in this dialog is forgotten; it was less than this.
    line.last_cseq = response.cseq().number.saturating_add(1 << 20);
    line.ack(io, &dialog, response.cseq().number);
    if is_first {
        line.bye(io, &mut dialog, COMPLETED_ELSEWHERE);
    }
}

const COMPLETED_ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

impl Repeat {
    fn start(io: &Io<'_>, longest: Duration) -> Repeat {
        let timers = io.layer.timers();
        Repeat { at: io.now + timers.t1, interval: timers.t1, longest, give_up: io.now + timers.give_up() }
    }

    fn deadline(&self) -> Duration {
        self.at.min(self.give_up)
    }

    fn has_given_up(&self, now: Duration) -> bool {
        now >= self.give_up
    }

    /// It is to be sent again now; the next time is set.
    fn is_due(&mut self, now: Duration) -> bool {
        if now < self.at {
            return false;
        }
        self.interval = (self.interval * 2).min(self.longest);
        self.at = now + self.interval;
        true
    }
}

impl PendingOk {
    fn new(io: &Io<'_>, server: ServerId, bytes: Bytes, cseq: u32) -> PendingOk {
        PendingOk { server, bytes, cseq, repeat: Repeat::start(io, io.layer.timers().t2) }
    }

    /// Sends the 200 again if it is due.
    fn on_time(&mut self, io: &mut Io<'_>) {
        if self.repeat.is_due(io.now) {
            // Through its transaction, which knows where responses go (§18.2.2); it lets a repeated 2xx pass.
            io.layer.respond(io.now, self.server, 200, self.bytes.clone());
        }
    }
}

/// RFC 3261 §12.2.2: a request that comes out of order is answered 500. `false`: it has been.
fn in_order(io: &mut Io<'_>, dialog: &mut Dialog, id: ServerId, flow: Flow, request: &Message) -> bool {
    let fits = dialog.accept_cseq(request.cseq().number);
    if !fits {
        plain(io, id, flow, request, 500, &[]);
    }
    fits
}

/// A request that the dialog's state is not ready for: again within ten seconds (RFC 3261 §14.2, RFC 3311 §5.2).
fn not_yet(io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) {
    let after = (io.layer.draw() % 11).to_string();
    plain(io, id, flow, request, 500, &[("Retry-After", after.as_bytes())]);
}

/// Requests that every state of a dialog answers alike.
fn answer_plainly(line: &mut Line, io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) {
    match request.method() {
        Method::Options => plain(io, id, flow, request, 200, &[("Allow", ALLOW), ("Accept", b"application/sdp")]),
        // An offer would have to be answered here (RFC 3262 §5), where there is nothing left to be agreed on.
        Method::Prack if line.awaits(request) && request.sdp_body().is_none() => {
            line.unpracked = None;
            plain(io, id, flow, request, 200, &[]);
        }
        // RFC 3262 §3: we have sent nothing that this acknowledges.
        Method::Prack => plain(io, id, flow, request, 481, &[]),
        Method::Ack
        | Method::Cancel
        | Method::Invite
        | Method::Bye
        | Method::Update
        | Method::Info
        | Method::Register
        | Method::Message
        | Method::Refer
        | Method::Notify
        | Method::Subscribe
        | Method::Publish => plain(io, id, flow, request, 405, &[("Allow", ALLOW)]),
        // RFC 3261 §21.5.2: a method that we have never heard of.
        Method::Other => plain(io, id, flow, request, 501, &[("Allow", ALLOW)]),
    }
}

/// What an UPDATE or a PRACK offers, if anything, taken: the party's media, and the body of our 200. `None`: it was refused. No offer may meet
/// one of ours that is open (RFC 3311 §5.2).
fn take_offer(
    line: &Line,
    io: &mut Io<'_>,
    id: ServerId,
    flow: Flow,
    update: &Message,
    offer_answer: &mut OfferAnswer,
) -> Option<(Option<Remote>, Bytes)> {
    let Some(offer) = update.sdp_body() else { return Some((None, Bytes::new())) };
    if offer_answer.awaits_answer() {
        plain(io, id, flow, update, 491, &[]);
        return None;
    }
    let Ok(media) = offer_answer.on_offer(offer, io.settings.trunk(line.trunk)) else {
        plain(io, id, flow, update, 488, &[]);
        return None;
    };
    Some((Some(media), offer_answer.local_body()))
}

/// The answer to an UPDATE in an early dialog: the party's media, where it has made an offer that was taken.
fn answer_update(
    line: &Line,
    io: &mut Io<'_>,
    id: ServerId,
    flow: Flow,
    update: &Message,
    (dialog, offer_answer): (&mut Dialog, &mut OfferAnswer),
) -> Option<Remote> {
    let (media, body) = take_offer(line, io, id, flow, update, offer_answer)?;
    dialog.refresh_target(update);
    let bytes = wire::response(io, update, flow, b"", 200, &[], wire::sdp(&body));
    io.layer.respond(io.now, id, 200, bytes);
    media
}

/// The answer to an INFO: 200 and the digit that it carries, or a refusal (RFC 6086 §4.2.2, §5.7).
fn on_info(io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) -> Option<LegEvent> {
    match crate::info::read(request) {
        Ok(digit) => {
            plain(io, id, flow, request, 200, &[]);
            digit.map(|(digit, ms)| LegEvent::Digit { digit, ms })
        }
        Err(refusal) => {
            let headers: Headers<'_> = match refusal {
                crate::info::Refusal::Package => &[("Recv-Info", b"")],
                crate::info::Refusal::Body => &[("Accept", b"application/dtmf-relay, application/dtmf")],
            };
            plain(io, id, flow, request, refusal.status(), headers);
            None
        }
    }
}
