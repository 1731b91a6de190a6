//! One party's side of a call: one SIP dialog with its offer and answer.
//!
//! A leg knows nothing of the other leg. What happens on it leaves as a [`LegEvent`], what shall happen comes as a
//! [`LegCommand`]; both are closed, so nothing else can cross. Every message is written from nothing.
//!
//! ```text
//!  incoming   Invited ──200──▶ Answered ──ACK──▶ Confirmed ──BYE sent──▶ Releasing ──▶ Ended
//!                │ refuse                │release ▶ ReleaseOnAck ──ACK──▲
//!                └──────────────────────────────────────────────────────────────────▶ Ended
//!  outgoing   Calling ──2xx, ACK──▶ Confirmed          re-INVITE: Confirmed ──200──▶ Answered ──ACK──▶ Confirmed
//!                │ cancel
//!                ▼
//!             Cancelling ──2xx, ACK, BYE──▶ Releasing ;  ──487──▶ Ended
//! ```

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use media::{Remote, Side};
use sip::dialog::Dialog;
use sip::message::{Message, Method, write};
use sip::transaction::{ClientId, Flow, Layer, ServerId, Transport};

use crate::offer_answer::OfferAnswer;
use crate::outcome::Cause;
use crate::routes::{RouteId, Routes};
use crate::settings::{Settings, TrunkId};

/// Methods that we take, for `Allow`.
pub(crate) const ALLOW: &[u8] = b"INVITE, ACK, BYE, CANCEL, OPTIONS";

/// A call's place in the core.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub(crate) struct CallKey {
    pub(crate) index: u32,
    pub(crate) generation: u32,
}

/// What a transaction belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// A leg of a call.
    Leg { call: CallKey, side: Side },
    /// A probe of a route.
    Probe(RouteId),
}

/// What a leg reports to its call.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegEvent {
    /// The called party's network gave a provisional response above 100.
    Progressed {
        /// It said 180.
        ringing: bool,
        /// It sends early media, and this is where.
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
    /// A re-INVITE moved or held the party's media; it has been answered.
    MediaChanged {
        /// Its media now.
        media: Remote,
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

/// What a call tells its leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LegCommand {
    /// Provisional response to the caller: 180, or 183 with our SDP where it shall hear something.
    Progress {
        /// Early media follows.
        early_media: bool,
    },
    /// 200 with our SDP to the caller.
    Answer,
    /// The final response of this cause to the caller.
    Refuse(Cause),
    /// End the leg in whatever way its state asks for: final response, CANCEL or BYE.
    Release(Cause),
}

/// What a leg needs from outside while it works.
pub(crate) struct Io<'a> {
    pub(crate) now: Duration,
    pub(crate) layer: &'a mut Layer<Owner>,
    pub(crate) settings: &'a Settings,
    pub(crate) routes: &'a Routes,
}

/// One leg.
#[derive(Debug)]
pub(crate) struct Leg {
    owner: Owner,
    pub(crate) trunk: TrunkId,
    flow: Flow,
    offer_answer: OfferAnswer,
    /// To tags of other forks of the called party that have been ended.
    ended_forks: Vec<Box<[u8]>>,
    state: State,
}

/// Forks of one INVITE that are told apart; copies of a 2xx of any beyond them are left to their own time-out.
const MAX_FORKS: usize = 8;

/// A provisional response is repeated this often, so that no proxy's timer C ends a call that rings (RFC 3261 §13.3.1.1).
const REPEAT_PROVISIONAL: Duration = Duration::from_secs(60);

#[derive(Debug)]
enum State {
    Invited { invite: Message, server: ServerId, dialog: Dialog, told: Told },
    Answered { dialog: Dialog, acked: Bytes, ok: PendingOk, initial: bool },
    ReleaseOnAck { dialog: Dialog, ok: PendingOk, cause: Cause },
    Calling { client: ClientId, target: Box<[u8]>, early: Option<Remote> },
    Cancelling { target: Box<[u8]>, cause: Cause },
    Confirmed { dialog: Dialog, acked: Bytes },
    Releasing { dialog: Dialog, acked: Bytes, bye: ClientId },
    Ended,
}

/// What the caller has been told while it waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Told {
    /// 100 only.
    Trying,
    /// 180, again at this time.
    Ringing(Duration),
    /// 183 with our SDP, again at this time.
    EarlyMedia(Duration),
}

/// A 200 to an INVITE, sent until its ACK comes (RFC 3261 §13.3.1.4).
#[derive(Debug)]
struct PendingOk {
    server: ServerId,
    bytes: Bytes,
    cseq: u32,
    resend: Duration,
    interval: Duration,
    give_up: Duration,
}

/// What the outgoing INVITE says of the parties, spelt as the trunk wants it.
pub(crate) struct Parties<'a> {
    /// User part of X.
    pub(crate) x: &'a [u8],
    /// User part of the callee.
    pub(crate) callee: &'a [u8],
    /// Host part of the callee: the trunk's target as the operator named it.
    pub(crate) host: &'a str,
    pub(crate) assert_identity: bool,
    pub(crate) max_forwards: u8,
}

impl Leg {
    /// The caller's leg. `dialog` was made from `invite`.
    pub(crate) fn incoming(
        owner: Owner,
        trunk: TrunkId,
        flow: Flow,
        invite: Message,
        server: ServerId,
        dialog: Dialog,
        offer_answer: OfferAnswer,
    ) -> Leg {
        let state = State::Invited { invite, server, dialog, told: Told::Trying };
        Leg { owner, trunk, flow, offer_answer, ended_forks: Vec::new(), state }
    }

    /// Sends the INVITE to the called party's trunk.
    pub(crate) fn outgoing(
        io: &mut Io<'_>,
        owner: Owner,
        trunk: TrunkId,
        flow: Flow,
        parties: &Parties<'_>,
        identity: (&[u8], &[u8]),
        offer_answer: OfferAnswer,
    ) -> Leg {
        let (local_tag, call_id) = identity;
        let host = io.layer.advertised(flow.listener).to_owned();
        let product = io.settings.product_name.clone();
        let body = offer_answer.local_body();
        let target = sip_uri(parties.callee, parties.host, flow.transport);
        let client = io.layer.send_request(io.now, flow, Method::Invite, owner, |out, via| {
            let x_at_us = sip_uri(parties.x, &host, Transport::Udp);
            write::request(out, "INVITE", &target);
            write::header(out, "Via", via);
            write::header(out, "Max-Forwards", parties.max_forwards.to_string().as_bytes());
            write::header(out, "From", &[b"<", &*x_at_us, b">;tag=", local_tag].concat());
            write::header(out, "To", &[b"<", &*target, b">"].concat());
            write::header(out, "Call-ID", call_id);
            write::header(out, "CSeq", b"1 INVITE");
            write::header(out, "Contact", &contact(&host, flow.transport));
            if parties.assert_identity {
                write::header(out, "P-Asserted-Identity", &[b"<", &*x_at_us, b">"].concat());
            }
            write::header(out, "Allow", ALLOW);
            if let Some(product) = &product {
                write::header(out, "User-Agent", product.as_bytes());
            }
            write::finish(out, Some(b"application/sdp"), &body);
        });
        let state = State::Calling { client, target: target.into(), early: None };
        Leg { owner, trunk, flow, offer_answer, ended_forks: Vec::new(), state }
    }

    /// Our tag on the caller's leg, while it waits for its final response or its ACK.
    pub(crate) fn local_tag(&self) -> Option<&[u8]> {
        match &self.state {
            State::Invited { dialog, .. }
            | State::Answered { dialog, .. }
            | State::ReleaseOnAck { dialog, .. }
            | State::Confirmed { dialog, .. }
            | State::Releasing { dialog, .. } => Some(&dialog.local_tag),
            State::Calling { .. } | State::Cancelling { .. } | State::Ended => None,
        }
    }

    pub(crate) fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// The party's media, as far as it is settled.
    pub(crate) fn media(&self) -> Option<Remote> {
        self.offer_answer.remote()
    }

    pub(crate) fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Answered { ok, .. } | State::ReleaseOnAck { ok, .. } => Some(ok.resend.min(ok.give_up)),
            State::Invited { told: Told::Ringing(again) | Told::EarlyMedia(again), .. } => Some(*again),
            State::Invited { told: Told::Trying, .. }
            | State::Calling { .. }
            | State::Cancelling { .. }
            | State::Confirmed { .. }
            | State::Releasing { .. }
            | State::Ended => None,
        }
    }

    /// Whether an in-dialog request is this leg's: its dialog, and from the trunk that the leg is on.
    pub(crate) fn owns(&self, request: &Message, settings: &Settings, from: &str) -> bool {
        if &*settings.trunk(self.trunk).name != from {
            return false;
        }
        match &self.state {
            State::Invited { dialog, .. }
            | State::Answered { dialog, .. }
            | State::ReleaseOnAck { dialog, .. }
            | State::Confirmed { dialog, .. }
            | State::Releasing { dialog, .. } => dialog.owns(request),
            State::Calling { .. } | State::Cancelling { .. } | State::Ended => false,
        }
    }

    // ---- commands ---------------------------------------------------------------------------------------------

    pub(crate) fn command(&mut self, io: &mut Io<'_>, command: LegCommand) {
        match command {
            LegCommand::Progress { early_media } => self.progress(io, early_media),
            LegCommand::Answer => self.answer(io),
            LegCommand::Refuse(cause) | LegCommand::Release(cause) => self.release(io, cause),
        }
    }

    fn progress(&mut self, io: &mut Io<'_>, early_media: bool) {
        let State::Invited { invite, server, dialog, told } = &mut self.state else { return };
        // A caller that made no offer cannot be given early media without reliable provisional responses.
        let wanted = early_media || matches!(told, Told::EarlyMedia(_));
        let with_sdp = wanted && self.offer_answer.remote().is_some();
        let again = io.now + REPEAT_PROVISIONAL;
        *told = if with_sdp { Told::EarlyMedia(again) } else { Told::Ringing(again) };
        let status = if with_sdp { 183 } else { 180 };
        let body = if with_sdp { self.offer_answer.local_body() } else { Bytes::new() };
        let bytes = respond_in_dialog(io, invite, self.flow, &dialog.local_tag, status, &body);
        io.layer.respond(io.now, *server, status, bytes);
    }

    fn answer(&mut self, io: &mut Io<'_>) {
        let State::Invited { invite, server, dialog, .. } = &self.state else { return };
        let body = self.offer_answer.local_body();
        let bytes = respond_in_dialog(io, invite, self.flow, &dialog.local_tag, 200, &body);
        io.layer.respond(io.now, *server, 200, bytes.clone());
        let ok = PendingOk::new(io, *server, bytes, invite.cseq().number);
        self.state = State::Answered { dialog: dialog.clone(), acked: Bytes::new(), ok, initial: true };
    }

    fn release(&mut self, io: &mut Io<'_>, cause: Cause) {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Invited { invite, server, dialog, .. } => {
                let status = cause.row().status.max(400);
                let bytes = refusal(io, &invite, self.flow, &dialog.local_tag, status, cause);
                io.layer.respond(io.now, server, status, bytes);
            }
            // RFC 3261 §15: the answering side may not send BYE before the ACK.
            State::Answered { dialog, ok, initial: true, .. } => {
                self.state = State::ReleaseOnAck { dialog, ok, cause };
            }
            State::Answered { dialog, acked, initial: false, .. } | State::Confirmed { dialog, acked } => {
                self.bye(io, dialog, acked, cause);
            }
            State::Calling { client, target, .. } => {
                io.layer.cancel(io.now, client, &reason(cause));
                self.state = State::Cancelling { target, cause };
            }
            kept @ (State::ReleaseOnAck { .. } | State::Cancelling { .. } | State::Releasing { .. } | State::Ended) => {
                self.state = kept;
            }
        }
    }

    fn bye(&mut self, io: &mut Io<'_>, mut dialog: Dialog, acked: Bytes, cause: Cause) {
        let flow = next_flow(io, &dialog, self.flow, self.trunk);
        let bye = io.layer.send_request(io.now, flow, Method::Bye, self.owner, |out, via| {
            dialog.write_request(out, Method::Bye, via);
            write::header(out, "Reason", &reason(cause));
            write::finish(out, None, b"");
        });
        self.state = State::Releasing { dialog, acked, bye };
    }

    // ---- requests of the party --------------------------------------------------------------------------------

    /// CANCEL for the caller's INVITE. The CANCEL itself has been answered.
    pub(crate) fn on_cancel(&mut self, io: &mut Io<'_>, cancel: &Message) -> Option<LegEvent> {
        let State::Invited { invite, server, dialog, .. } = &self.state else { return None };
        let bytes = refusal(io, invite, self.flow, &dialog.local_tag, 487, Cause::CancelledAfterRinging);
        io.layer.respond(io.now, *server, 487, bytes);
        self.state = State::Ended;
        Some(LegEvent::Released { q850: cancel.q850() })
    }

    /// A request in the dialog, neither ACK nor CANCEL.
    pub(crate) fn on_request(
        &mut self,
        io: &mut Io<'_>,
        id: ServerId,
        flow: Flow,
        request: &Message,
    ) -> Option<LegEvent> {
        let dialog = match &mut self.state {
            State::Invited { dialog, .. }
            | State::Answered { dialog, .. }
            | State::ReleaseOnAck { dialog, .. }
            | State::Confirmed { dialog, .. }
            | State::Releasing { dialog, .. } => dialog,
            State::Calling { .. } | State::Cancelling { .. } | State::Ended => return None,
        };
        if !dialog.accept_cseq(request.cseq().number) {
            // RFC 3261 §12.2.2: out of order.
            plain(io, id, flow, request, 500, &[]);
            return None;
        }
        match request.method() {
            Method::Bye => self.on_bye(io, id, flow, request),
            Method::Invite => self.on_reinvite(io, id, flow, request),
            Method::Options => {
                plain(io, id, flow, request, 200, &[("Allow", ALLOW), ("Accept", b"application/sdp")]);
                None
            }
            Method::Ack
            | Method::Cancel
            | Method::Register
            | Method::Prack
            | Method::Update
            | Method::Info
            | Method::Message
            | Method::Refer
            | Method::Notify
            | Method::Subscribe
            | Method::Publish
            | Method::Other => {
                plain(io, id, flow, request, 405, &[("Allow", ALLOW)]);
                None
            }
        }
    }

    fn on_bye(&mut self, io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) -> Option<LegEvent> {
        plain(io, id, flow, request, 200, &[]);
        let released = LegEvent::Released { q850: request.q850() };
        match std::mem::replace(&mut self.state, State::Ended) {
            // RFC 3261 §15.1.2: a BYE on an early dialog also ends the INVITE, with 487.
            State::Invited { invite, server, dialog, .. } => {
                let bytes = refusal(io, &invite, self.flow, &dialog.local_tag, 487, Cause::CancelledAfterRinging);
                io.layer.respond(io.now, server, 487, bytes);
                Some(released)
            }
            State::Answered { .. } | State::Confirmed { .. } => Some(released),
            // Our BYE and theirs crossed: theirs ends the dialog, ours may time out unheard.
            State::ReleaseOnAck { .. } | State::Releasing { .. } => Some(LegEvent::Ended),
            State::Calling { .. } | State::Cancelling { .. } | State::Ended => None,
        }
    }

    /// Answered here: the other leg has its own media with us and need not know (hold, move, refresh).
    fn on_reinvite(&mut self, io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message) -> Option<LegEvent> {
        let State::Confirmed { dialog, acked } = &mut self.state else {
            // RFC 3261 §14.2: the answer to an earlier INVITE of this dialog is still to be acknowledged, or it is ending.
            let after = (io.layer.draw() % 11).to_string();
            plain(io, id, flow, request, 500, &[("Retry-After", after.as_bytes())]);
            return None;
        };
        let trunk = io.settings.trunk(self.trunk);
        let media = match request.sdp_body() {
            Some(offer) => match self.offer_answer.on_offer(offer, trunk) {
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
        dialog.refresh_target(request);
        let bytes = respond_in_dialog(io, request, flow, &dialog.local_tag, 200, &self.offer_answer.local_body());
        io.layer.respond(io.now, id, 200, bytes.clone());
        let ok = PendingOk::new(io, id, bytes, request.cseq().number);
        self.state = State::Answered { dialog: dialog.clone(), acked: acked.clone(), ok, initial: false };
        media.map(|media| LegEvent::MediaChanged { media })
    }

    /// ACK to a 200 of ours.
    pub(crate) fn on_ack(&mut self, io: &mut Io<'_>, ack: &Message) -> Option<LegEvent> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Answered { dialog, acked, ok, initial } if ok.cseq == ack.cseq().number => {
                self.state = State::Confirmed { dialog, acked };
                let media = if self.offer_answer.awaits_answer() {
                    let trunk = io.settings.trunk(self.trunk);
                    match ack.sdp_body().map(|answer| self.offer_answer.on_answer(answer, trunk)) {
                        Some(Ok(media)) => Some(media),
                        Some(Err(_)) | None => return Some(LegEvent::Lost(Cause::BadAnswer)),
                    }
                } else {
                    None
                };
                match (initial, media) {
                    (true, media) => Some(LegEvent::Acknowledged { media }),
                    (false, Some(media)) => Some(LegEvent::MediaChanged { media }),
                    (false, None) => None,
                }
            }
            State::ReleaseOnAck { dialog, ok, cause } if ok.cseq == ack.cseq().number => {
                self.bye(io, dialog, Bytes::new(), cause);
                None
            }
            kept @ (State::Invited { .. }
            | State::Answered { .. }
            | State::ReleaseOnAck { .. }
            | State::Calling { .. }
            | State::Cancelling { .. }
            | State::Confirmed { .. }
            | State::Releasing { .. }
            | State::Ended) => {
                self.state = kept;
                None
            }
        }
    }

    // ---- responses to our requests ----------------------------------------------------------------------------

    /// A response to the INVITE or BYE that we sent.
    pub(crate) fn on_response(&mut self, io: &mut Io<'_>, id: ClientId, response: &Message) -> Option<LegEvent> {
        match (response.method(), response.status()) {
            (Method::Invite, 100) => None,
            (Method::Invite, 101..=199) => self.on_provisional(io, response),
            (Method::Invite, 200..=299) => self.on_ok(io, response),
            (Method::Invite, status) => self.on_refused(status, response),
            (Method::Bye, 200..) => self.on_bye_over(id),
            _ => None,
        }
    }

    fn on_provisional(&mut self, io: &mut Io<'_>, response: &Message) -> Option<LegEvent> {
        let State::Calling { early, .. } = &mut self.state else { return None };
        let trunk = io.settings.trunk(self.trunk);
        if let Some(sdp) = response.sdp_body() {
            // An unreadable early answer costs the early media only; the 200 decides.
            if let Ok(media) = self.offer_answer.early_answer(sdp, trunk) {
                *early = Some(media);
            }
        }
        Some(LegEvent::Progressed { ringing: response.status() == 180, media: *early })
    }

    fn on_ok(&mut self, io: &mut Io<'_>, response: &Message) -> Option<LegEvent> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Calling { target, early, .. } => {
                let Ok(mut dialog) = Dialog::of_response(response, &target) else {
                    // Without From, To and a route nothing can be addressed to it: its own time-out must end it.
                    return Some(LegEvent::Lost(Cause::BadAnswer));
                };
                let acked = self.ack(io, &mut dialog);
                let trunk = io.settings.trunk(self.trunk);
                let media = match response.sdp_body() {
                    Some(answer) => self.offer_answer.on_answer(answer, trunk).ok(),
                    None => early.inspect(|media| self.offer_answer.settle(*media)),
                };
                self.state = State::Confirmed { dialog, acked };
                Some(media.map_or(LegEvent::Lost(Cause::BadAnswer), |media| LegEvent::Answered { media }))
            }
            // The 200 crossed our CANCEL (RFC 3261 §9.1): take the call and end it.
            State::Cancelling { target, cause } => {
                let Ok(mut dialog) = Dialog::of_response(response, &target) else { return Some(LegEvent::Ended) };
                let acked = self.ack(io, &mut dialog);
                self.bye(io, dialog, acked, cause);
                None
            }
            State::Confirmed { dialog, acked } => {
                self.repeat_ack_or_end_fork(io, response, &acked, &dialog);
                self.state = State::Confirmed { dialog, acked };
                None
            }
            State::Answered { dialog, acked, ok, initial } => {
                self.repeat_ack_or_end_fork(io, response, &acked, &dialog);
                self.state = State::Answered { dialog, acked, ok, initial };
                None
            }
            State::Releasing { dialog, acked, bye } => {
                self.repeat_ack_or_end_fork(io, response, &acked, &dialog);
                self.state = State::Releasing { dialog, acked, bye };
                None
            }
            kept @ (State::Invited { .. } | State::ReleaseOnAck { .. } | State::Ended) => {
                self.state = kept;
                None
            }
        }
    }

    /// A 2xx again: our ACK was lost. A 2xx of another fork: acknowledged and ended (RFC 3261 §13.2.2.4).
    fn repeat_ack_or_end_fork(&mut self, io: &mut Io<'_>, response: &Message, acked: &Bytes, ours: &Dialog) {
        if &*ours.remote_tag == response.to_tag() {
            if !acked.is_empty() {
                io.layer.send(next_flow(io, ours, self.flow, self.trunk), acked.clone());
            }
            return;
        }
        let Ok(mut dialog) = Dialog::of_response(response, &ours.remote_target) else { return };
        let is_known = self.ended_forks.contains(&dialog.remote_tag);
        if !is_known && self.ended_forks.len() == MAX_FORKS {
            return;
        }
        self.ack(io, &mut dialog);
        if is_known {
            return;
        }
        self.ended_forks.push(dialog.remote_tag.clone());
        let flow = next_flow(io, &dialog, self.flow, self.trunk);
        io.layer.send_request(io.now, flow, Method::Bye, self.owner, |out, via| {
            dialog.write_request(out, Method::Bye, via);
            write::header(out, "Reason", b"SIP;cause=200;text=\"Call completed elsewhere\"");
            write::finish(out, None, b"");
        });
    }

    fn ack(&self, io: &mut Io<'_>, dialog: &mut Dialog) -> Bytes {
        let flow = next_flow(io, dialog, self.flow, self.trunk);
        io.layer.send_ack(flow, |out, via| {
            dialog.write_request(out, Method::Ack, via);
            write::finish(out, None, b"");
        })
    }

    fn on_refused(&mut self, status: u16, response: &Message) -> Option<LegEvent> {
        match &self.state {
            State::Calling { .. } => {
                self.state = State::Ended;
                Some(LegEvent::Refused { status, q850: response.q850() })
            }
            State::Cancelling { .. } => {
                self.state = State::Ended;
                Some(LegEvent::Ended)
            }
            State::Invited { .. }
            | State::Answered { .. }
            | State::ReleaseOnAck { .. }
            | State::Confirmed { .. }
            | State::Releasing { .. }
            | State::Ended => None,
        }
    }

    /// Our BYE has its response, or will never have one. A fork's BYE ends nothing here.
    fn on_bye_over(&mut self, id: ClientId) -> Option<LegEvent> {
        match &self.state {
            State::Releasing { bye, .. } if *bye == id => {
                self.state = State::Ended;
                Some(LegEvent::Ended)
            }
            State::Invited { .. }
            | State::Answered { .. }
            | State::ReleaseOnAck { .. }
            | State::Calling { .. }
            | State::Cancelling { .. }
            | State::Confirmed { .. }
            | State::Releasing { .. }
            | State::Ended => None,
        }
    }

    /// A request of ours got no final response, or could not be sent.
    pub(crate) fn on_unanswered(&mut self, id: ClientId, method: Method) -> Option<LegEvent> {
        if method == Method::Bye {
            return self.on_bye_over(id);
        }
        match &self.state {
            State::Calling { .. } => {
                self.state = State::Ended;
                Some(LegEvent::Lost(Cause::NoResponse))
            }
            State::Cancelling { .. } => {
                self.state = State::Ended;
                Some(LegEvent::Ended)
            }
            State::Releasing { .. }
            | State::Invited { .. }
            | State::Answered { .. }
            | State::ReleaseOnAck { .. }
            | State::Confirmed { .. }
            | State::Ended => None,
        }
    }

    /// Time: the 18x or the 200 again, or no ACK at all.
    pub(crate) fn on_time(&mut self, io: &mut Io<'_>) -> Option<LegEvent> {
        let t2 = io.layer.timers().t2;
        let (dialog, ok) = match &mut self.state {
            State::Answered { dialog, ok, .. } | State::ReleaseOnAck { dialog, ok, .. } => (dialog, ok),
            State::Invited { told: Told::Ringing(again) | Told::EarlyMedia(again), .. } => {
                if io.now >= *again {
                    self.progress(io, false);
                }
                return None;
            }
            State::Invited { told: Told::Trying, .. }
            | State::Calling { .. }
            | State::Cancelling { .. }
            | State::Confirmed { .. }
            | State::Releasing { .. }
            | State::Ended => return None,
        };
        if io.now >= ok.give_up {
            // RFC 3261 §13.3.1.4: no ACK: the session is to be ended with BYE.
            let dialog = dialog.clone();
            let cause = match &self.state {
                State::ReleaseOnAck { cause, .. } => *cause,
                _ => Cause::NoAck,
            };
            let was_live = matches!(self.state, State::Answered { .. });
            self.bye(io, dialog, Bytes::new(), cause);
            return was_live.then_some(LegEvent::Lost(Cause::NoAck));
        }
        if io.now >= ok.resend {
            ok.interval = (ok.interval * 2).min(t2);
            ok.resend = io.now + ok.interval;
            // Through its transaction, which knows where responses go (§18.2.2); it lets a repeated 2xx pass.
            let (server, bytes) = (ok.server, ok.bytes.clone());
            io.layer.respond(io.now, server, 200, bytes);
        }
        None
    }
}

impl PendingOk {
    fn new(io: &Io<'_>, server: ServerId, bytes: Bytes, cseq: u32) -> PendingOk {
        let timers = io.layer.timers();
        PendingOk {
            server,
            bytes,
            cseq,
            resend: io.now + timers.t1,
            interval: timers.t1,
            give_up: io.now + timers.give_up(),
        }
    }
}

/// The trunk that an address belongs to: by the configuration, or because its names lead there.
pub(crate) fn trunk_of(now: Duration, settings: &Settings, routes: &Routes, ip: IpAddr) -> Option<TrunkId> {
    settings.trunk_of(ip).or_else(|| settings.trunk_named(routes.trunk_of_address(now, ip)?))
}

/// Where an in-dialog request goes: the address that the peer's Contact or route names, if that is an address of the
/// same trunk; else where the peer's messages come from. So no Contact can aim our requests at a stranger.
fn next_flow(io: &Io<'_>, dialog: &Dialog, flow: Flow, trunk: TrunkId) -> Flow {
    let Some(hop) = dialog.next_hop() else { return flow };
    let transport = match hop.transport {
        Some(name) if name.eq_ignore_ascii_case(b"tcp") => Transport::Tcp,
        Some(name) if name.eq_ignore_ascii_case(b"udp") => Transport::Udp,
        Some(_) | None => flow.transport,
    };
    let host = hop.host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(hop.host);
    let Some(ip) = std::str::from_utf8(host).ok().and_then(|host| host.parse::<IpAddr>().ok()) else { return flow };
    if transport == Transport::Tcp && flow.transport == Transport::Tcp && ip == flow.peer.ip() {
        // RFC 5923 §5: the connection that is there serves both ways.
        return flow;
    }
    if trunk_of(io.now, io.settings, io.routes, ip) != Some(trunk) {
        return flow;
    }
    let listener = if transport == flow.transport {
        flow.listener
    } else {
        let place = io.settings.listeners.iter().position(|listener| listener.transport == transport);
        let Some(listener) = place.and_then(|place| u16::try_from(place).ok()) else { return flow };
        listener
    };
    Flow { transport, listener, peer: SocketAddr::new(ip, hop.port.unwrap_or(5060)), connection: 0 }
}

fn sip_uri(user: &[u8], host: &str, transport: Transport) -> Vec<u8> {
    let mut uri = b"sip:".to_vec();
    write::escape_user(&mut uri, user);
    uri.push(b'@');
    uri.extend_from_slice(host.as_bytes());
    if transport == Transport::Tcp {
        uri.extend_from_slice(b";transport=tcp");
    }
    uri
}

fn contact(host: &str, transport: Transport) -> Vec<u8> {
    let parameter = match transport {
        Transport::Udp => "",
        Transport::Tcp => ";transport=tcp",
    };
    format!("<sip:{host}{parameter}>").into_bytes()
}

/// `Reason` of a cause (RFC 3326, ITU-T Q.850).
fn reason(cause: Cause) -> Vec<u8> {
    format!("Q.850;cause={}", cause.row().q850).into_bytes()
}

fn respond_in_dialog(io: &Io<'_>, request: &Message, flow: Flow, local_tag: &[u8], status: u16, body: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(1024);
    write::response_to(&mut out, request, status, write::reason_phrase(status), local_tag, Some(flow.peer));
    write::record_routes(&mut out, request);
    write::header(&mut out, "Contact", &contact(io.layer.advertised(flow.listener), flow.transport));
    write::header(&mut out, "Allow", ALLOW);
    if let Some(product) = &io.settings.product_name {
        write::header(&mut out, "Server", product.as_bytes());
    }
    let content_type: Option<&[u8]> = (!body.is_empty()).then_some(b"application/sdp");
    write::finish(&mut out, content_type, body);
    Bytes::from(out)
}

fn refusal(io: &Io<'_>, request: &Message, flow: Flow, local_tag: &[u8], status: u16, cause: Cause) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write::response_to(&mut out, request, status, write::reason_phrase(status), local_tag, Some(flow.peer));
    write::header(&mut out, "Reason", &reason(cause));
    if let Some(product) = &io.settings.product_name {
        write::header(&mut out, "Server", product.as_bytes());
    }
    write::finish(&mut out, None, b"");
    Bytes::from(out)
}

/// A response to an in-dialog request, with a few headers and no body.
fn plain(io: &mut Io<'_>, id: ServerId, flow: Flow, request: &Message, status: u16, headers: &[(&str, &[u8])]) {
    let bytes = bodiless(io.settings, request, flow, b"", status, headers);
    io.layer.respond(io.now, id, status, bytes);
}

/// A response without a body.
pub(crate) fn bodiless(
    settings: &Settings,
    request: &Message,
    flow: Flow,
    to_tag: &[u8],
    status: u16,
    headers: &[(&str, &[u8])],
) -> Bytes {
    let mut out = Vec::with_capacity(512);
    write::response_to(&mut out, request, status, write::reason_phrase(status), to_tag, Some(flow.peer));
    for (name, value) in headers {
        write::header(&mut out, name, value);
    }
    if let Some(product) = &settings.product_name {
        write::header(&mut out, "Server", product.as_bytes());
    }
    write::finish(&mut out, None, b"");
    Bytes::from(out)
}
