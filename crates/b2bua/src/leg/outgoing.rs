//! The called party's leg before its final response (RFC 3261 §13.2).
//!
//! ```text
//!   INVITE ─▶ 18x (to tag 1) ─▶ 18x (to tag 2) … ─▶ 2xx: that dialog is up, 2xx of others are ended
//!              │ each an early dialog: PRACK where it is reliable (RFC 3262 §4), UPDATE and INFO of the far side
//!          ─▶ 401, 407  once more with the answer to the challenge (§22)
//!          ─▶ 422       once more with a longer session (RFC 4028 §7.3)
//!          ─▶ 3xx       the call decides;  other: refused
//! ```

use media::Remote;
use sip::dialog::Dialog;
use sip::message::{HeaderName, Message, Method, NameAddr, Scheme, Uri, unbracketed, write};
use sip::transaction::{ClientId, Flow, ServerId, Transport};

use super::established::Up;
use super::releasing::Releasing;
use super::session_timer::{self, LEAST_MIN_SE, SessionTimer};
use super::wire::{Head, contact, plain, reason, sip_uri};
use super::{
    ALLOW, Io, LegEvent, Line, MAX_FORKS, Next, Owner, Parties, Place, Progress, State, answer_plainly, answer_update,
    in_order, not_yet, on_info,
};
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::settings::{Reliability, SessionTimerMode};

/// Places of a redirection that are looked at.
const MAX_PLACES: usize = 8;

/// How often one INVITE is said again for a challenge or a longer session, whatever the mixture.
const MAX_REPEATS: u8 = 3;

/// Our INVITE, not finally answered.
#[derive(Debug)]
pub(super) struct Calling {
    client: ClientId,
    parties: Parties,
    /// Its Request-URI.
    target: Box<[u8]>,
    cseq: u32,
    min_se: u32,
    repeats: u8,
    /// Our offer, which no dialog has answered for itself.
    offer_answer: OfferAnswer,
    early: Vec<Early>,
}

/// An early dialog (§12.1), one for each branch of a network that forks; the branch that spoke last stands last.
#[derive(Debug)]
struct Early {
    dialog: Dialog,
    offer_answer: OfferAnswer,
    /// RSeq of its last reliable response.
    rseq: Option<u32>,
    /// PRACKs under way.
    pracks: Vec<Prack>,
    /// Where it sends early media.
    media: Option<Remote>,
}

/// The acknowledgement of a reliable provisional response, under way.
#[derive(Clone, Copy, Debug)]
struct Prack {
    client: ClientId,
    rseq: u32,
    challenged: bool,
}

/// PRACKs of one early dialog that may be under way at once: the far side may send its next response before the answer to
/// the PRACK of the one before (RFC 3262 §3). What comes beyond is not taken, and comes again.
const MAX_PRACKS: usize = 4;

/// Our INVITE was cancelled and has no final response yet.
#[derive(Debug)]
pub(super) struct Cancelling {
    client: ClientId,
    target: Box<[u8]>,
    cause: Cause,
}

impl Calling {
    pub(super) fn begin(line: &mut Line, io: &mut Io<'_>, parties: Parties, offer_answer: OfferAnswer) -> Calling {
        let target = sip_uri(&parties.callee, &parties.host, line.flow.transport).into_boxed_slice();
        let client = invite(line, io, &parties, &target, 1, LEAST_MIN_SE, &offer_answer.local_body());
        let (cseq, min_se, repeats) = (1, LEAST_MIN_SE, 0);
        Calling { client, parties, target, cseq, min_se, repeats, offer_answer, early: Vec::new() }
    }

    pub(super) fn media(&self) -> Option<Remote> {
        self.early.iter().rev().find_map(|early| early.media)
    }

    pub(super) fn owns(&self, request: &Message) -> bool {
        self.early.iter().any(|early| early.dialog.owns(request))
    }

    /// The INVITE again, as a new request of the same call (§22.2: the next CSeq).
    fn invite_again(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>) -> Next {
        self.repeats += 1;
        self.cseq = line.last_cseq + 1;
        self.early.clear();
        let body = self.offer_answer.local_body();
        self.client = invite(line, io, &self.parties, &self.target, self.cseq, self.min_se, &body);
        (State::Calling(self), None)
    }

    pub(super) fn cancel(self: Box<Self>, io: &mut Io<'_>, cause: Cause) -> Next {
        io.layer.cancel(io.now, self.client, &reason(cause));
        let Calling { client, target, .. } = *self;
        (State::Cancelling(Box::new(Cancelling { client, target, cause })), None)
    }

    // ---- answers ----------------------------------------------------------------------------------------------

    pub(super) fn on_response(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ClientId,
        response: &Message,
    ) -> Next {
        if id != self.client {
            self.on_prack_response(line, io, id, response);
            return (State::Calling(self), None);
        }
        match response.status() {
            100 => (State::Calling(self), None),
            101..=199 => self.on_provisional(line, io, response),
            200..=299 => self.on_ok(line, io, response),
            401 | 407 if self.repeats < MAX_REPEATS && line.learn(io, response) => self.invite_again(line, io),
            422 if self.repeats < MAX_REPEATS && self.lengthens(response) => self.invite_again(line, io),
            status @ 300..=399 => {
                let to = self.places(line, io, response);
                (State::Ended, Some(LegEvent::Redirected { status, to }))
            }
            status => (State::Ended, Some(LegEvent::Refused { status, q850: response.q850() })),
        }
    }

    fn on_provisional(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, response: &Message) -> Next {
        let progress = match response.status() {
            180 => Progress::Ringing,
            181 => Progress::Forwarded,
            182 => Progress::Queued,
            _ => Progress::Session,
        };
        let trunk = io.settings.trunk(line.trunk);
        let rseq = response.rseq().filter(|_| response.has_option_tag(HeaderName::Require, "100rel"));
        let is_reliable = rseq.is_some() && trunk.reliability != Reliability::Never;
        let Some(place) = self.branch(response) else {
            // No dialog: what it says is heard, and its media, if any, cannot be told apart from others.
            let media = response.sdp_body().and_then(|sdp| self.offer_answer.early_answer(sdp, trunk).ok());
            return (State::Calling(self), Some(LegEvent::Progressed { progress, media }));
        };
        let early = &mut self.early[place];
        if is_reliable {
            // RFC 3262 §4: in order, each once; a repeated one has its PRACK under way.
            let follows = early.rseq.is_none_or(|last| rseq == Some(last.wrapping_add(1)));
            if !follows || early.pracks.len() == MAX_PRACKS {
                return (State::Calling(self), None);
            }
            early.rseq = rseq;
        }
        if let Some(sdp) = response.sdp_body() {
            // An unreadable early answer costs the early media only; the 200 decides.
            // Once a reliable response has settled it, others only say it again (RFC 3261 §13.2.1).
            let media = match (early.offer_answer.awaits_answer(), is_reliable) {
                (true, true) => early.offer_answer.on_answer(sdp, trunk).ok(),
                (true, false) => early.offer_answer.early_answer(sdp, trunk).ok(),
                (false, _) => None,
            };
            early.media = media.or(early.media);
        }
        if let Some(rseq) = rseq.filter(|_| is_reliable) {
            let client = early.acknowledge(line, io, self.cseq, rseq);
            early.pracks.push(Prack { client, rseq, challenged: false });
        }
        if response.status() == 199 {
            // RFC 6228: this branch is over; another one may still answer. One whose PRACK is under way may say so again.
            early.media = None;
            if !is_reliable {
                self.early.truncate(place);
            }
        }
        let media = self.media();
        (State::Calling(self), Some(LegEvent::Progressed { progress, media }))
    }

    /// The answer to a PRACK; one that is challenged is said again, once.
    fn on_prack_response(&mut self, line: &mut Line, io: &mut Io<'_>, id: ClientId, response: &Message) {
        let cseq = self.cseq;
        for early in &mut self.early {
            let Some(place) = early.pracks.iter().position(|prack| prack.client == id) else { continue };
            let Prack { rseq, challenged, .. } = early.pracks[place];
            match response.status() {
                ..200 => {}
                401 | 407 if !challenged && line.learn(io, response) => {
                    let client = early.acknowledge(line, io, cseq, rseq);
                    early.pracks[place] = Prack { client, rseq, challenged: true };
                }
                _ => drop(early.pracks.remove(place)),
            }
            return;
        }
    }

    /// The early dialog that a response belongs to, made where it is new; moved to the end.
    fn branch(&mut self, response: &Message) -> Option<usize> {
        let tag = response.to_tag();
        if tag.is_empty() {
            return None;
        }
        let early = match self.early.iter().position(|early| &*early.dialog.remote_tag == tag) {
            Some(place) => {
                let mut early = self.early.remove(place);
                early.dialog.refresh_target(response);
                early
            }
            None if self.early.len() < MAX_FORKS => {
                let dialog = Dialog::of_response(response, &self.target).ok()?;
                Early { dialog, offer_answer: self.offer_answer.clone(), rseq: None, pracks: Vec::new(), media: None }
            }
            None => return None,
        };
        self.early.push(early);
        Some(self.early.len() - 1)
    }

    fn on_ok(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, response: &Message) -> Next {
        let Ok(mut dialog) = Dialog::of_response(response, &self.target) else {
            // Without From, To and a route nothing can be addressed to it: its own time-out must end it.
            return (State::Ended, Some(LegEvent::Lost(Cause::BadAnswer)));
        };
        let place = self.early.iter().position(|early| early.dialog.remote_tag == dialog.remote_tag);
        let early = place.map(|place| self.early.swap_remove(place));
        let mut offer_answer = match &early {
            Some(early) => early.offer_answer.clone(),
            None => self.offer_answer.clone(),
        };
        if let Some(early) = &early {
            dialog.remote_cseq = early.dialog.remote_cseq;
        }
        let acked = line.ack(io, &dialog, response.cseq().number);
        let trunk = io.settings.trunk(line.trunk);
        let heard_early = early.as_ref().and_then(|early| early.media);
        let media = match response.sdp_body() {
            // Once settled by a reliable response this is only said again (RFC 3261 §13.2.1).
            Some(answer) if offer_answer.awaits_answer() => offer_answer.on_answer(answer, trunk).ok(),
            Some(_) | None if !offer_answer.awaits_answer() => offer_answer.remote(),
            Some(_) | None => heard_early.inspect(|media| offer_answer.settle(*media)),
        };
        let policy = &trunk.session_timers;
        let asked = (policy.mode == SessionTimerMode::Request).then_some(policy.expires.max(self.min_se));
        let timer = session_timer::accept(response, asked, policy).map(|terms| SessionTimer::start(io.now, terms));
        let up = Up::confirmed(dialog, offer_answer, acked, timer, response);
        let event = media.map_or(LegEvent::Lost(Cause::BadAnswer), |media| LegEvent::Answered { media });
        (State::Up(Box::new(up)), Some(event))
    }

    /// Whether a 422 wants a longer session than we asked for, and one that we follow: then that is what we ask for now.
    fn lengthens(&mut self, response: &Message) -> bool {
        let longer = session_timer::longer(response, self.min_se);
        self.min_se = longer.unwrap_or(self.min_se);
        longer.is_some()
    }

    /// The places that a redirection names for the same number (§8.1.3.4); another number is never called: it would be a
    /// third party whom no binding knows.
    fn places(&self, line: &Line, io: &Io<'_>, response: &Message) -> Vec<Place> {
        let trunk = io.settings.trunk(line.trunk);
        let place = |value: &[u8]| {
            let uri = Uri::parse(NameAddr::parse(value).ok()?.uri).ok()?;
            let same = uri.user.is_empty() || trunk.read.read(uri.user).ok() == Some(self.parties.number);
            if !same || !matches!(uri.scheme, Scheme::Sip | Scheme::Sips) {
                return None;
            }
            let host = std::str::from_utf8(unbracketed(uri.host)).ok()?.to_ascii_lowercase();
            Some(Place { host: host.into(), port: uri.port })
        };
        response.values(HeaderName::Contact).take(MAX_PLACES).filter_map(place).collect()
    }

    /// Nothing came back.
    pub(super) fn on_unanswered(mut self: Box<Self>, id: ClientId) -> Next {
        if id == self.client {
            return (State::Ended, Some(LegEvent::Lost(Cause::NoResponse)));
        }
        // A PRACK: the far side gives up by itself (RFC 3262 §3).
        for early in &mut self.early {
            early.pracks.retain(|prack| prack.client != id);
        }
        (State::Calling(self), None)
    }

    // ---- requests of the far side, in an early dialog ---------------------------------------------------------

    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        let Some(early) = self.early.iter_mut().find(|early| early.dialog.owns(request)) else {
            return (State::Calling(self), None);
        };
        if !in_order(io, &mut early.dialog, id, flow, request) {
            return (State::Calling(self), None);
        }
        let event = match request.method() {
            Method::Update => early.on_update(line, io, id, flow, request),
            Method::Info => on_info(io, id, flow, request),
            // RFC 3261 §15: the called side may not end an early dialog by BYE, nor may it re-INVITE in one (§14.1).
            Method::Bye => {
                plain(io, id, flow, request, 481, &[]);
                None
            }
            Method::Invite => {
                not_yet(io, id, flow, request);
                None
            }
            _ => {
                answer_plainly(line, io, id, flow, request);
                None
            }
        };
        (State::Calling(self), event)
    }
}

impl Early {
    /// PRACK for the response of this RSeq (RFC 3262 §4); `cseq` is the INVITE's number.
    fn acknowledge(&mut self, line: &mut Line, io: &mut Io<'_>, cseq: u32, rseq: u32) -> ClientId {
        let rack = format!("{rseq} {cseq} INVITE");
        line.request(io, &mut self.dialog, Method::Prack, &[("RAck", rack.as_bytes())], None)
    }

    fn on_update(
        &mut self,
        line: &Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        update: &Message,
    ) -> Option<LegEvent> {
        let media = answer_update(line, io, id, flow, update, (&mut self.dialog, &mut self.offer_answer))?;
        self.media = Some(media);
        Some(LegEvent::MediaChanged { media })
    }
}

impl Cancelling {
    pub(super) fn on_response(
        self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ClientId,
        response: &Message,
    ) -> Next {
        match response.status() {
            _ if id != self.client => (State::Cancelling(self), None),
            100..=199 => (State::Cancelling(self), None),
            // The 200 crossed our CANCEL (RFC 3261 §9.1): take the call and end it.
            200..=299 => {
                let Ok(dialog) = Dialog::of_response(response, &self.target) else {
                    return (State::Ended, Some(LegEvent::Ended));
                };
                let acked = line.ack(io, &dialog, response.cseq().number);
                (Releasing::begin(line, io, dialog, Some(acked), self.cause), None)
            }
            _ => (State::Ended, Some(LegEvent::Ended)),
        }
    }

    pub(super) fn on_unanswered(self: Box<Self>, id: ClientId) -> Next {
        if id == self.client { (State::Ended, Some(LegEvent::Ended)) } else { (State::Cancelling(self), None) }
    }
}

/// Sends the INVITE.
fn invite(
    line: &mut Line,
    io: &mut Io<'_>,
    parties: &Parties,
    target: &[u8],
    cseq: u32,
    min_se: u32,
    body: &[u8],
) -> ClientId {
    line.last_cseq = cseq;
    let flow = line.flow;
    let settings = io.settings;
    let trunk = settings.trunk(line.trunk);
    let host = io.layer.advertised(flow.listener).to_owned();
    let authorizations = line.authorizations(Method::Invite, target, body);
    let timers = &trunk.session_timers;
    let supported = match (trunk.reliability, timers.mode) {
        (Reliability::Supported, SessionTimerMode::Never) => "100rel",
        (Reliability::Supported, SessionTimerMode::Accept | SessionTimerMode::Request) => "100rel, timer",
        (Reliability::Never | Reliability::Required, SessionTimerMode::Accept | SessionTimerMode::Request) => "timer",
        (Reliability::Never | Reliability::Required, SessionTimerMode::Never) => "",
    };
    io.layer.send_request(io.now, flow, Method::Invite, Owner::Leg(line.owner), |out, via| {
        let x_at_us = sip_uri(&parties.x, &host, Transport::Udp);
        let head = Head {
            method: Method::Invite,
            target,
            from: &x_at_us,
            tag: &parties.local_tag,
            call_id: &parties.call_id,
            cseq,
            max_forwards: parties.max_forwards,
        };
        head.write(out, via);
        write::header(out, "Contact", &contact(&host, flow.transport));
        if trunk.assert_identity {
            write::header(out, "P-Asserted-Identity", &[b"<", &*x_at_us, b">"].concat());
        }
        for (name, value) in &authorizations {
            write::header(out, name, value);
        }
        write::header(out, "Allow", ALLOW);
        if !supported.is_empty() {
            write::header(out, "Supported", supported.as_bytes());
        }
        if trunk.reliability == Reliability::Required {
            write::header(out, "Require", b"100rel");
        }
        if timers.mode == SessionTimerMode::Request {
            write::header(out, "Session-Expires", timers.expires.max(min_se).to_string().as_bytes());
        }
        // Said also without a Session-Expires: a proxy that adds one must know the least we take (RFC 4028 §7.1).
        if timers.mode == SessionTimerMode::Request || min_se > LEAST_MIN_SE {
            write::header(out, "Min-SE", timers.min_se.max(min_se).to_string().as_bytes());
        }
        if let Some(product) = &settings.product_name {
            write::header(out, "User-Agent", product.as_bytes());
        }
        write::finish(out, Some(b"application/sdp"), body);
        cseq
    })
}
