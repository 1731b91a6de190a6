//! The caller's leg before its final response (RFC 3261 §13.3.1), with reliable provisional responses (RFC 3262 §3).
//!
//! ```text
//!   INVITE ─▶ 100 ─▶ 18x ───────────────────────────▶ 200 | 3xx-6xx       a caller without 100rel, or a trunk that never
//!   INVITE ─▶ 100 ─▶ 18x (RSeq) ◀─ PRACK ─▶ 200 … ──▶ 200 | 3xx-6xx       with it: the next response waits for the PRACK
//! ```
//!
//! A 2xx waits for the PRACK of a response that carried SDP (§3): only then is it sure which description stands.

use std::time::Duration;

use bytes::Bytes;
use media::Remote;
use sip::dialog::Dialog;
use sip::message::{HeaderName, Message, Method, RAck};
use sip::transaction::{Flow, ServerId};

use super::established::Up;
use super::releasing::Refused;
use super::session_timer::{self, SessionTimer};
use super::wire::{plain, refusal, response, sdp};
use super::{
    EarlyMedia, Io, LegEvent, Line, Next, PendingOk, Progress, Repeat, Request, State, answer_plainly, answer_update,
    in_order, not_yet, on_info,
};
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::settings::{Reliability, Trunk};

/// A provisional response is repeated this often, so that no proxy's timer C ends a call that rings (RFC 3261 §13.3.1.1).
const REPEAT_PROVISIONAL: Duration = Duration::from_secs(60);

/// A called network that changes its mind more often than this about what it is doing is not listened to.
const MAX_NEWS: u8 = 16;

/// A caller's INVITE that has no final response.
#[derive(Debug)]
pub(super) struct Invited {
    invite: Message,
    server: ServerId,
    dialog: Dialog,
    offer_answer: OfferAnswer,
    told: Told,
    /// How often something new has been told.
    news: u8,
    reliable: Reliable,
}

/// What the caller has been told while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Told {
    /// `None`: 100 only.
    progress: Option<Progress>,
    /// With our SDP.
    early_media: bool,
    /// Said again then.
    again: Duration,
}

/// Whether provisional responses are acknowledged, and which one is on its way.
#[derive(Debug)]
enum Reliable {
    /// They are not.
    No,
    /// They are; none waits. `settled`: one with SDP has been acknowledged, so that no other needs to carry it.
    Idle { next: u32, settled: bool },
    /// This one waits for its PRACK.
    Waiting { sent: Sent, settled: bool, then: Then },
}

/// A reliable provisional response on its way.
#[derive(Debug)]
struct Sent {
    rseq: u32,
    status: u16,
    bytes: Bytes,
    carries_sdp: bool,
    repeat: Repeat,
}

/// What follows once the PRACK has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Then {
    Nothing,
    Progress { progress: Progress, early_media: bool },
    Answer,
}

impl Invited {
    pub(super) fn new(request: Request, trunk: &Trunk) -> Invited {
        let Request { invite, server, dialog, offer_answer } = request;
        let required = invite.has_option_tag(HeaderName::Require, "100rel");
        let supported = required || invite.has_option_tag(HeaderName::Supported, "100rel");
        let reliable = match trunk.reliability {
            Reliability::Never => required,
            Reliability::Supported | Reliability::Required => supported,
        };
        // RFC 3262 §3: the first RSeq is drawn from 1 to 2^31-1; we need not hide how many there were.
        let reliable = if reliable { Reliable::Idle { next: 1, settled: false } } else { Reliable::No };
        let told = Told { progress: None, early_media: false, again: Duration::MAX };
        Invited { invite, server, dialog, offer_answer, told, news: 0, reliable }
    }

    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    pub(super) fn media(&self) -> Option<Remote> {
        self.offer_answer.remote()
    }

    pub(super) fn early_media(&self) -> EarlyMedia {
        match (self.media(), &self.reliable) {
            (Some(_), _) => EarlyMedia::Ready,
            (None, Reliable::Idle { .. } | Reliable::Waiting { .. }) => EarlyMedia::OnOffer,
            (None, Reliable::No) => EarlyMedia::Never,
        }
    }

    pub(super) fn hears_us(&self) -> bool {
        self.told.early_media
    }

    pub(super) fn deadline(&self) -> Duration {
        match &self.reliable {
            Reliable::Waiting { sent, .. } => sent.repeat.deadline(),
            Reliable::No | Reliable::Idle { .. } => self.told.again,
        }
    }

    // ---- what we say ------------------------------------------------------------------------------------------

    pub(super) fn progress(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        progress: Progress,
        early_media: bool,
    ) -> Next {
        self.say(line, io, progress, early_media);
        (State::Invited(self), None)
    }

    fn say(&mut self, line: &Line, io: &mut Io<'_>, progress: Progress, early_media: bool) {
        let early_media = (early_media || self.told.early_media) && self.early_media() != EarlyMedia::Never;
        if let Reliable::Waiting { then, .. } = &mut self.reliable {
            if *then != Then::Answer {
                *then = Then::Progress { progress, early_media };
            }
            return;
        }
        let told = Told { progress: Some(progress), early_media, again: io.now + REPEAT_PROVISIONAL };
        // What has been said is not said again before its time, however often the far side says it.
        let is_news = (told.progress, told.early_media) != (self.told.progress, self.told.early_media);
        if io.now < self.told.again && (!is_news || self.news == MAX_NEWS) {
            return;
        }
        self.news += u8::from(is_news && self.news < MAX_NEWS);
        self.told = told;
        let status = match progress {
            _ if early_media => 183,
            Progress::Ringing => 180,
            Progress::Forwarded => 181,
            Progress::Queued => 182,
            Progress::Session => 183,
        };
        // Where the caller made no offer, the first reliable response must make ours (RFC 3261 §13.2.1). A plain 180 with SDP
        // silences a phone's own ringback, so one that need not be reliable is not.
        let owes_offer = self.offer_answer.awaits_answer() && !self.is_settled();
        let rseq = match &self.reliable {
            Reliable::Idle { next, .. } if early_media || !owes_offer || self.is_required() => Some(*next),
            Reliable::Idle { .. } | Reliable::No | Reliable::Waiting { .. } => None,
        };
        let carries_sdp = !self.is_settled() && (early_media || (owes_offer && rseq.is_some()));
        let body = if carries_sdp { self.offer_answer.local_body() } else { Bytes::new() };
        let number = rseq.map(|rseq| rseq.to_string());
        let headers: Vec<(&'static str, &[u8])> =
            number.iter().flat_map(|number| [("Require", &b"100rel"[..]), ("RSeq", number.as_bytes())]).collect();
        let bytes = response(io, &self.invite, line.flow, &self.dialog.local_tag, status, &headers, sdp(&body));
        io.layer.respond(io.now, self.server, status, bytes.clone());
        if let (Some(rseq), Reliable::Idle { settled, .. }) = (rseq, &self.reliable) {
            let repeat = Repeat::start(io, Duration::MAX);
            let sent = Sent { rseq, status, bytes, carries_sdp, repeat };
            self.reliable = Reliable::Waiting { sent, settled: *settled, then: Then::Nothing };
        }
    }

    fn is_required(&self) -> bool {
        self.invite.has_option_tag(HeaderName::Require, "100rel")
    }

    /// A description has been acknowledged: no other response needs to carry one.
    fn is_settled(&self) -> bool {
        match &self.reliable {
            Reliable::Idle { settled, .. } | Reliable::Waiting { settled, .. } => *settled,
            Reliable::No => false,
        }
    }

    pub(super) fn answer(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>) -> Next {
        if let Reliable::Waiting { sent, then, .. } = &mut self.reliable
            && sent.carries_sdp
        {
            *then = Then::Answer;
            return (State::Invited(self), None);
        }
        let policy = &io.settings.trunk(line.trunk).session_timers;
        let terms = session_timer::answer(&self.invite, policy);
        let expires = terms.map(session_timer::Terms::in_response);
        let headers = session_timer::headers(terms, expires.as_deref());
        let body = if self.is_settled() { Bytes::new() } else { self.offer_answer.local_body() };
        let bytes = response(io, &self.invite, line.flow, &self.dialog.local_tag, 200, &headers, sdp(&body));
        io.layer.respond(io.now, self.server, 200, bytes.clone());
        line.answered = true;
        line.unpracked = self.unpracked();
        let ok = PendingOk::new(io, self.server, bytes, self.invite.cseq().number);
        let timer = terms.map(|terms| SessionTimer::start(io.now, terms));
        let up = Up::answered(self.dialog, self.offer_answer, ok, timer, &self.invite);
        (State::Up(Box::new(up)), None)
    }

    pub(super) fn refuse(self: Box<Self>, line: &mut Line, io: &mut Io<'_>, cause: Cause) -> Next {
        (self.end(line, io, cause.refusal(), cause), None)
    }

    /// The final response, and what is left to do after it.
    fn end(self: Box<Self>, line: &mut Line, io: &mut Io<'_>, status: u16, cause: Cause) -> State {
        let bytes = refusal(io, &self.invite, line.flow, &self.dialog.local_tag, status, cause);
        io.layer.respond(io.now, self.server, status, bytes);
        line.unpracked = self.unpracked();
        match line.unpracked {
            None => State::Ended,
            Some(_) => {
                let until = io.now + io.layer.timers().give_up();
                State::Refused(Box::new(Refused { dialog: self.dialog, until }))
            }
        }
    }

    fn unpracked(&self) -> Option<RAck> {
        match &self.reliable {
            Reliable::Waiting { sent, .. } => {
                Some(RAck { rseq: sent.rseq, cseq: self.invite.cseq().number, method: Method::Invite })
            }
            Reliable::No | Reliable::Idle { .. } => None,
        }
    }

    // ---- what the caller says ---------------------------------------------------------------------------------

    pub(super) fn on_cancel(self: Box<Self>, line: &mut Line, io: &mut Io<'_>, cancel: &Message) -> Next {
        (self.end(line, io, 487, Cause::CancelledAfterRinging), Some(LegEvent::Released { q850: cancel.q850() }))
    }

    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        if !in_order(io, &mut self.dialog, id, flow, request) {
            return (State::Invited(self), None);
        }
        match request.method() {
            Method::Bye => {
                plain(io, id, flow, request, 200, &[]);
                // RFC 3261 §15.1.2: a BYE on an early dialog also ends the INVITE, with 487.
                let released = LegEvent::Released { q850: request.q850() };
                (self.end(line, io, 487, Cause::CancelledAfterRinging), Some(released))
            }
            Method::Prack => self.on_prack(line, io, id, flow, request),
            Method::Update => {
                let event = self.on_update(line, io, id, flow, request);
                (State::Invited(self), event)
            }
            Method::Info => {
                let event = on_info(io, id, flow, request);
                (State::Invited(self), event)
            }
            Method::Invite => {
                // RFC 3261 §14.2: the first INVITE is not answered yet.
                not_yet(io, id, flow, request);
                (State::Invited(self), None)
            }
            _ => {
                answer_plainly(line, io, id, flow, request);
                (State::Invited(self), None)
            }
        }
    }

    fn on_prack(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        prack: &Message,
    ) -> Next {
        let expected = self.unpracked();
        let (sent, settled, then) = match std::mem::replace(&mut self.reliable, Reliable::No) {
            Reliable::Waiting { sent, settled, then } if prack.rack() == expected => (sent, settled, then),
            kept => {
                self.reliable = kept;
                plain(io, id, flow, prack, 481, &[]);
                return (State::Invited(self), None);
            }
        };
        self.reliable = Reliable::Idle { next: sent.rseq.wrapping_add(1).max(1), settled: settled || sent.carries_sdp };
        let trunk = io.settings.trunk(line.trunk);
        let mut body = Bytes::new();
        let media = if sent.carries_sdp && self.offer_answer.awaits_answer() {
            // Our offer went with the provisional response: its answer is due here (RFC 3262 §5).
            match prack.sdp_body().map(|answer| self.offer_answer.on_answer(answer, trunk)) {
                Some(Ok(media)) => Some(media),
                Some(Err(_)) | None => {
                    plain(io, id, flow, prack, 488, &[]);
                    return (State::Invited(self), Some(LegEvent::Lost(Cause::NoCommonCodec)));
                }
            }
        } else {
            match prack.sdp_body().map(|offer| self.offer_answer.on_offer(offer, trunk)) {
                Some(Ok(media)) => {
                    body = self.offer_answer.local_body();
                    Some(media)
                }
                Some(Err(_)) => {
                    plain(io, id, flow, prack, 488, &[]);
                    None
                }
                None => None,
            }
        };
        if prack.sdp_body().is_none() || media.is_some() {
            let bytes = response(io, prack, flow, b"", 200, &[], sdp(&body));
            io.layer.respond(io.now, id, 200, bytes);
        }
        let event = media.map(|media| LegEvent::MediaChanged { media });
        match then {
            Then::Nothing => (State::Invited(self), event),
            Then::Progress { progress, early_media } => {
                self.say(line, io, progress, early_media);
                (State::Invited(self), event)
            }
            Then::Answer => {
                let (state, _) = self.answer(line, io);
                (state, event)
            }
        }
    }

    /// UPDATE in the early dialog (RFC 3311 §5.2): a new offer is taken once the first one has been answered for good.
    fn on_update(
        &mut self,
        line: &Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        update: &Message,
    ) -> Option<LegEvent> {
        if update.sdp_body().is_some() && !self.offer_answer.awaits_answer() && !self.is_settled() {
            not_yet(io, id, flow, update);
            return None;
        }
        let early = (&mut self.dialog, &mut self.offer_answer);
        answer_update(line, io, id, flow, update, early).map(|media| LegEvent::MediaChanged { media })
    }

    // ---- time -------------------------------------------------------------------------------------------------

    pub(super) fn on_time(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>) -> Next {
        match &mut self.reliable {
            Reliable::Waiting { sent, .. } => {
                if sent.repeat.has_given_up(io.now) {
                    // RFC 3262 §3: a caller that never acknowledges is refused with a 5xx.
                    return (State::Invited(self), Some(LegEvent::Lost(Cause::NoPrack)));
                }
                if sent.repeat.is_due(io.now) {
                    let (status, bytes) = (sent.status, sent.bytes.clone());
                    io.layer.respond(io.now, self.server, status, bytes);
                }
            }
            Reliable::No | Reliable::Idle { .. } => {
                if io.now >= self.told.again {
                    self.say(line, io, self.told.progress.unwrap_or(Progress::Session), self.told.early_media);
                }
            }
        }
        (State::Invited(self), None)
    }
}
