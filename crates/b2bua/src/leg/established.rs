//! A leg whose call is up: re-INVITE, UPDATE, INFO, session timer (RFC 3261 §14, RFC 3311, RFC 4028, RFC 6086).
//!
//! ```text
//!   exchange:  Unacked ──ACK──▶ Idle ──re-INVITE──▶ Unacked
//!                               │ ▲
//!              time to refresh  ▼ │ 2xx        491: Idle, again after the back-off
//!                           Refreshing ──408, 481──▶ the leg is lost
//! ```
//!
//! Hold, move and refresh concern this leg alone: the other one has its own media with us, so they are answered here.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use media::{Remote, Side};
use sip::dialog::Dialog;
use sip::message::{HeaderName, Message, Method};
use sip::transaction::{ClientId, Flow, ServerId};

use super::releasing::{ReleaseOnAck, Releasing};
use super::session_timer::{self, Due, LEAST_MIN_SE, SessionTimer, Terms};
use super::wire::{Acked, plain, response, sdp};
use super::{Io, LegEvent, Line, Next, PendingOk, State, answer_plainly, in_order, not_yet, on_info, take_offer};
use crate::observe::Drop;
use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;

/// A confirmed dialog, or one whose 200 still waits for its ACK.
#[derive(Debug)]
pub(super) struct Up {
    dialog: Dialog,
    offer_answer: OfferAnswer,
    /// Our last ACK to a 2xx.
    acked: Option<Acked>,
    exchange: Exchange,
    timer: Option<SessionTimer>,
    /// The peer takes UPDATE (its Allow): refreshing needs no offer then (RFC 4028 §7.4).
    takes_update: bool,
    digits: Digits,
}

/// Digits on their way to the peer as INFO: one at a time, since a request that overtakes another is refused (RFC 3261
/// §12.2.2) and its digit lost.
#[derive(Debug, Default)]
struct Digits {
    under_way: Option<ClientId>,
    waiting: VecDeque<(media::Digit, u16)>,
}

/// Digits that wait; nobody presses so many while one INFO is under way.
const MAX_DIGITS: usize = 16;

/// How often a refresh is said again for a challenge or a longer interval.
const MAX_REPEATS: u8 = 2;

/// The one request of either side that the dialog is busy with.
#[derive(Debug)]
enum Exchange {
    Idle,
    /// Our 200 to an INVITE waits for its ACK; `initial`: to the one that began the call.
    Unacked {
        ok: PendingOk,
        initial: bool,
    },
    /// Our refresh waits for its answer.
    Refreshing {
        client: ClientId,
        method: Method,
        min_se: u32,
        repeats: u8,
    },
}

impl Up {
    /// The caller's leg, just answered.
    pub(super) fn answered(
        dialog: Dialog,
        offer_answer: OfferAnswer,
        ok: PendingOk,
        timer: Option<SessionTimer>,
        invite: &Message,
    ) -> Up {
        let exchange = Exchange::Unacked { ok, initial: true };
        let (takes_update, digits) = (allows_update(invite), Digits::default());
        Up { dialog, offer_answer, acked: None, exchange, timer, takes_update, digits }
    }

    /// The called party's leg, just acknowledged.
    pub(super) fn confirmed(
        dialog: Dialog,
        offer_answer: OfferAnswer,
        acked: Acked,
        timer: Option<SessionTimer>,
        ok: &Message,
    ) -> Up {
        let exchange = Exchange::Idle;
        let (takes_update, digits) = (allows_update(ok), Digits::default());
        Up { dialog, offer_answer, acked: Some(acked), exchange, timer, takes_update, digits }
    }

    pub(super) fn dialog(&self) -> &Dialog {
        &self.dialog
    }

    pub(super) fn media(&self) -> Option<Remote> {
        self.offer_answer.remote()
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        let exchange = match &self.exchange {
            Exchange::Unacked { ok, .. } => Some(ok.repeat.deadline()),
            Exchange::Idle | Exchange::Refreshing { .. } => None,
        };
        [exchange, self.timer.as_ref().map(SessionTimer::deadline)].into_iter().flatten().min()
    }

    // ---- what we say ------------------------------------------------------------------------------------------

    pub(super) fn release(self: Box<Self>, line: &mut Line, io: &mut Io<'_>, cause: Cause) -> Next {
        let Up { dialog, acked, exchange, .. } = *self;
        match exchange {
            // RFC 3261 §15: the answering side may not send BYE before the ACK.
            Exchange::Unacked { ok, initial: true } => {
                (State::ReleaseOnAck(Box::new(ReleaseOnAck { dialog, ok, cause })), None)
            }
            Exchange::Idle | Exchange::Unacked { initial: false, .. } | Exchange::Refreshing { .. } => {
                exchange.abandon(io);
                (Releasing::begin(line, io, dialog, acked, cause), None)
            }
        }
    }

    /// A digit of the other party (RFC 6086, the `dtmf-relay` body that everybody reads).
    pub(super) fn digit(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, digit: media::Digit, ms: u16) -> Next {
        if self.digits.waiting.len() == MAX_DIGITS {
            io.counters.drop(Drop::Digits);
        } else {
            self.digits.waiting.push_back((digit, ms));
        }
        self.send_digit(line, io);
        (State::Up(self), None)
    }

    fn send_digit(&mut self, line: &mut Line, io: &mut Io<'_>) {
        if self.digits.under_way.is_some() {
            return;
        }
        if let Some((digit, ms)) = self.digits.waiting.pop_front() {
            let body = crate::info::write(digit, ms);
            let body = Some(("application/dtmf-relay", &*body));
            self.digits.under_way = Some(line.request(io, &mut self.dialog, Method::Info, &[], body));
        }
    }

    /// The INFO has its answer, or will have none: the next digit may go.
    fn on_digit_over(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, response: Option<&Message>) -> Next {
        match response.map(Message::status) {
            Some(..200) => return (State::Up(self), None),
            // RFC 3261 §12.2.1.2: the peer knows this dialog no more.
            Some(481) => return (State::Up(self), Some(LegEvent::Lost(Cause::SessionExpired))),
            // The digit is lost, the next one will carry the answer to this challenge.
            Some(401 | 407) => {
                if let Some(response) = response {
                    line.learn(io, response);
                }
            }
            Some(_) | None => {}
        }
        self.digits.under_way = None;
        self.send_digit(line, io);
        (State::Up(self), None)
    }

    // ---- what the peer says -----------------------------------------------------------------------------------

    pub(super) fn on_request(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Next {
        if !in_order(io, &mut self.dialog, id, flow, request) {
            return (State::Up(self), None);
        }
        let event = match request.method() {
            Method::Bye => {
                plain(io, id, flow, request, 200, &[]);
                self.exchange.abandon(io);
                return (State::Ended, Some(LegEvent::Released { q850: request.q850() }));
            }
            Method::Invite => self.on_invite(line, io, id, flow, request),
            Method::Update => self.on_update(line, io, id, flow, request),
            Method::Prack if line.awaits(request) => self.on_prack(line, io, id, flow, request),
            Method::Info => on_info(io, id, flow, request),
            _ => {
                answer_plainly(line, io, id, flow, request);
                None
            }
        };
        (State::Up(self), event)
    }

    fn on_invite(
        &mut self,
        line: &Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Option<LegEvent> {
        match &self.exchange {
            Exchange::Idle => {}
            // RFC 3261 §14.2: the answer to an earlier INVITE of theirs is still to be acknowledged …
            Exchange::Unacked { .. } => {
                not_yet(io, id, flow, request);
                return None;
            }
            // … or our own request and theirs have met.
            Exchange::Refreshing { .. } => {
                plain(io, id, flow, request, 491, &[]);
                return None;
            }
        }
        let media = match request.sdp_body() {
            Some(offer) => match self.offer_answer.on_offer(offer, io.settings.trunk(line.trunk)) {
                Ok(media) => Some(media),
                Err(_) => {
                    plain(io, id, flow, request, 488, &[]);
                    return None;
                }
            },
            None => {
                self.offer_answer.offer_again();
                None
            }
        };
        let body = self.offer_answer.local_body();
        let bytes = self.accept(line, io, id, flow, request, &body);
        let ok = PendingOk::new(io, id, bytes, request.cseq().number);
        self.exchange = Exchange::Unacked { ok, initial: false };
        media.map(|media| LegEvent::MediaChanged { media })
    }

    fn on_update(
        &mut self,
        line: &Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Option<LegEvent> {
        let (media, body) = take_offer(line, io, id, flow, request, &mut self.offer_answer)?;
        self.accept(line, io, id, flow, request, &body);
        media.map(|media| LegEvent::MediaChanged { media })
    }

    /// A PRACK that has crossed our 2xx. What it offers is answered in its own (RFC 3262 §5).
    fn on_prack(
        &mut self,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Option<LegEvent> {
        line.unpracked = None;
        let (media, body) = take_offer(line, io, id, flow, request, &mut self.offer_answer)?;
        let bytes = response(io, request, flow, b"", 200, &[], sdp(&body));
        io.layer.respond(io.now, id, 200, bytes);
        media.map(|media| LegEvent::MediaChanged { media })
    }

    /// 200 to a re-INVITE or UPDATE.
    fn accept(
        &mut self,
        line: &Line,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
        body: &[u8],
    ) -> Bytes {
        self.dialog.refresh_target(request);
        let terms = session_timer::answer(request, &io.settings.trunk(line.trunk).session_timers);
        // Whoever says nothing of timers any more wants none (RFC 4028 §9).
        self.timer = terms.map(|terms| SessionTimer::start(io.now, terms));
        let expires = terms.map(Terms::in_response);
        let headers = session_timer::headers(terms, expires.as_deref());
        let bytes = response(io, request, flow, b"", 200, &headers, sdp(body));
        io.layer.respond(io.now, id, 200, bytes.clone());
        bytes
    }

    pub(super) fn on_ack(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, ack: &Message) -> Next {
        let initial = match &self.exchange {
            Exchange::Unacked { ok, initial } if ok.cseq == ack.cseq().number => *initial,
            Exchange::Unacked { .. } | Exchange::Idle | Exchange::Refreshing { .. } => return (State::Up(self), None),
        };
        self.exchange = Exchange::Idle;
        let media = if self.offer_answer.awaits_answer() {
            let trunk = io.settings.trunk(line.trunk);
            match ack.sdp_body().map(|answer| self.offer_answer.on_answer(answer, trunk)) {
                Some(Ok(media)) => Some(media),
                Some(Err(_)) | None => return (State::Up(self), Some(LegEvent::Lost(Cause::BadAnswer))),
            }
        } else {
            None
        };
        let event = match (initial, media) {
            (true, media) => Some(LegEvent::Acknowledged { media }),
            (false, Some(media)) => Some(LegEvent::MediaChanged { media }),
            (false, None) => None,
        };
        (State::Up(self), event)
    }

    // ---- answers to what we say -------------------------------------------------------------------------------

    pub(super) fn on_response(
        self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        id: ClientId,
        response: &Message,
    ) -> Next {
        if let Exchange::Refreshing { client, .. } = &self.exchange
            && *client == id
        {
            return self.on_refreshed(line, io, response);
        }
        if self.digits.under_way == Some(id) {
            return self.on_digit_over(line, io, Some(response));
        }
        // A 2xx to the INVITE again: our ACK was lost; or of another fork.
        if response.method() == Method::Invite && (200..300).contains(&response.status()) {
            if response.to_tag() != &*self.dialog.remote_tag {
                line.end_fork(io, response, &self.dialog.remote_target);
            } else if let Some(acked) = &self.acked {
                if acked.cseq == response.cseq().number {
                    io.layer.send(line.next_flow(io, &self.dialog), acked.bytes.clone());
                } else {
                    // The one before it: a refresh has come in between.
                    line.ack(io, &self.dialog, response.cseq().number);
                }
            }
        }
        (State::Up(self), None)
    }

    /// The answer to our refresh (RFC 4028 §7.3, §10; RFC 3261 §14.1).
    fn on_refreshed(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, response: &Message) -> Next {
        let Exchange::Refreshing { method, min_se, repeats, .. } = self.exchange else {
            return (State::Up(self), None);
        };
        let status = response.status();
        if status < 200 {
            return (State::Up(self), None);
        }
        self.exchange = Exchange::Idle;
        if (200..300).contains(&status) {
            return self.on_refresh_done(line, io, method, response);
        }
        self.offer_answer.withdraw();
        match (status, session_timer::longer(response, min_se)) {
            // RFC 3261 §12.2.1.2: the peer knows this dialog no more.
            (408 | 481, _) => return (State::Up(self), Some(LegEvent::Lost(Cause::SessionExpired))),
            (491, _) => {
                let wait = glare_wait(line.owner.side, io.layer.draw());
                if let Some(timer) = &mut self.timer {
                    timer.again_at(io.now + wait);
                }
            }
            (422, Some(longer)) if repeats < MAX_REPEATS => {
                self.refresh(line, io, longer, repeats + 1);
            }
            (401 | 407, _) if repeats < MAX_REPEATS && line.learn(io, response) => {
                self.refresh(line, io, min_se, repeats + 1);
            }
            (405 | 501, _) if method == Method::Update => {
                self.takes_update = false;
                self.refresh(line, io, min_se, repeats);
            }
            _ => {
                if let Some(timer) = &mut self.timer {
                    timer.again(io.now);
                }
            }
        }
        (State::Up(self), None)
    }

    fn on_refresh_done(
        mut self: Box<Self>,
        line: &mut Line,
        io: &mut Io<'_>,
        method: Method,
        response: &Message,
    ) -> Next {
        self.dialog.refresh_target(response);
        let asked = self.timer.as_ref().map(|timer| timer.terms().seconds);
        let policy = &io.settings.trunk(line.trunk).session_timers;
        self.timer = session_timer::accept(response, asked, policy).map(|terms| SessionTimer::start(io.now, terms));
        let mut event = None;
        if method == Method::Invite {
            self.acked = Some(line.ack(io, &self.dialog, response.cseq().number));
            let trunk = io.settings.trunk(line.trunk);
            match response.sdp_body().map(|answer| self.offer_answer.on_answer(answer, trunk)) {
                Some(Ok(media)) => event = Some(LegEvent::MediaChanged { media }),
                // An answer that fits no offer changes nothing: what was settled before stands.
                Some(Err(_)) | None => self.offer_answer.withdraw(),
            }
        }
        (State::Up(self), event)
    }

    pub(super) fn on_unanswered(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>, id: ClientId) -> Next {
        if self.digits.under_way == Some(id) {
            return self.on_digit_over(line, io, None);
        }
        match &self.exchange {
            Exchange::Refreshing { client, .. } if *client == id => {
                self.exchange = Exchange::Idle;
                self.offer_answer.withdraw();
                (State::Up(self), Some(LegEvent::Lost(Cause::SessionExpired)))
            }
            Exchange::Refreshing { .. } | Exchange::Idle | Exchange::Unacked { .. } => (State::Up(self), None),
        }
    }

    // ---- time -------------------------------------------------------------------------------------------------

    pub(super) fn on_time(mut self: Box<Self>, line: &mut Line, io: &mut Io<'_>) -> Next {
        if let Exchange::Unacked { ok, initial } = &mut self.exchange {
            if ok.repeat.has_given_up(io.now) {
                // RFC 3261 §13.3.1.4: no ACK: the session is to be ended with BYE.
                let initial = *initial;
                self.exchange = Exchange::Idle;
                debug_assert!(!initial || self.acked.is_none(), "only the caller's first INVITE is initial");
                return (State::Up(self), Some(LegEvent::Lost(Cause::NoAck)));
            }
            ok.on_time(io);
        }
        match self.timer.as_ref().map(|timer| timer.due(io.now)) {
            Some(Due::Expired) => return (State::Up(self), Some(LegEvent::Lost(Cause::SessionExpired))),
            Some(Due::Refresh) => match &self.exchange {
                Exchange::Idle => self.refresh(line, io, LEAST_MIN_SE, 0),
                Exchange::Unacked { .. } | Exchange::Refreshing { .. } => {
                    if let Some(timer) = &mut self.timer {
                        timer.again(io.now);
                    }
                }
            },
            Some(Due::Nothing) | None => {}
        }
        (State::Up(self), None)
    }

    /// UPDATE where the peer takes it, else a re-INVITE that says what was said before (RFC 4028 §7.4).
    fn refresh(&mut self, line: &mut Line, io: &mut Io<'_>, min_se: u32, repeats: u8) {
        let Some(timer) = &mut self.timer else { return };
        timer.refreshing();
        let terms = Terms { seconds: timer.terms().seconds.max(min_se), ours: true };
        let (expires, least) = (terms.in_request(), min_se.to_string());
        let headers: [(&'static str, &[u8]); 3] =
            [("Supported", b"timer"), ("Session-Expires", &expires), ("Min-SE", least.as_bytes())];
        let (method, body) = if self.takes_update {
            (Method::Update, Bytes::new())
        } else {
            self.offer_answer.offer_unchanged();
            (Method::Invite, self.offer_answer.local_body())
        };
        let client = line.request(io, &mut self.dialog, method, &headers, sdp(&body));
        self.exchange = Exchange::Refreshing { client, method, min_se, repeats };
    }
}

impl Exchange {
    /// The dialog ends: a re-INVITE of ours that is never answered must not outlive it.
    fn abandon(&self, io: &mut Io<'_>) {
        match self {
            Exchange::Refreshing { client, .. } => io.layer.abandon(io.now, *client),
            Exchange::Idle | Exchange::Unacked { .. } => {}
        }
    }
}

fn allows_update(message: &Message) -> bool {
    message.values(HeaderName::Allow).any(|method| method == b"UPDATE")
}

/// How long to wait after a 491 (RFC 3261 §14.1): whoever chose the Call-ID, we on the called party's leg, waits longer.
fn glare_wait(side: Side, random: u64) -> Duration {
    let tens = match side {
        Side::B => 210 + random % 191,
        Side::A => random % 201,
    };
    Duration::from_millis(10 * tens)
}
