//! The called half: what a phone answers, and the script that it rings by (RFC 3261 §8.2, §9.2, §13.3, §15.1.2).

use std::net::SocketAddr;
use std::time::Duration;

use rsip::Method;

use crate::call::{Answered, AwaitedAck, Call, Dialog, Established, Reliable, Ringing, Step};
use crate::reliable;
use crate::script::Reply;
use crate::sdp::{Flaw, Negotiation, Offer};
use crate::transaction::Key;
use crate::wire::{Draft, Received, address_of};
use crate::{Ender, Phone, PhoneEvent, Start, When};

/// How long a phone rings at most, as networks do.
const RING_LIMIT: Duration = Duration::from_secs(180);

impl Phone {
    pub(crate) fn on_request(&mut self, now: Duration, source: SocketAddr, request: Received) {
        let method = match request.method {
            // The ACK of a refusal is part of its INVITE's transaction.
            Method::Ack => Method::Invite,
            other => other,
        };
        let key = Key { branch: request.branch.clone(), sent_by: request.sent_by.clone(), method };
        if request.method == Method::Ack {
            if !self.transactions.on_ack(now, &key) {
                self.check_way(&request);
                self.transactions.acknowledged_more(&request.to_tag);
                match self.branch_of(&request) {
                    Some(place) => self.on_branch_ack(now, place),
                    None => self.on_ack(now, &request),
                }
            }
            return;
        }
        if !self.transactions.on_request(&key, source) {
            return;
        }
        let name = request.name();
        if request.method != Method::Cancel && !self.authenticates(now, &key, &request) {
            self.note_refusal(&request);
            return;
        }
        if self.config.script.lacks.contains(&name) {
            let allow = [("Allow".to_owned(), self.allow())];
            self.respond_with(now, &key, &request, 405, None, &allow);
            return;
        }
        if request.method != Method::Cancel {
            self.check_way(&request);
        }
        match (self.branch_of(&request), request.method) {
            (Some(place), Method::Bye) => self.on_branch_bye(now, place, &key, &request),
            (Some(place), _) if matches!(self.call, Call::Ringing(_)) => {
                self.within_branch(place, |phone| phone.take_request(now, source, key, request));
            }
            (_, _) => self.take_request(now, source, key, request),
        }
    }

    /// A request within the dialog, or of a branch's: it came by the right way.
    fn check_way(&mut self, request: &Received) {
        let of_branch = self.branch_of(request).and_then(|place| self.branches.get(place)).map(|branch| &branch.dialog);
        let dialog = of_branch.or_else(|| self.call.dialog().filter(|dialog| dialog.is_of(request))).cloned();
        if let Some(dialog) = dialog {
            self.check_route(request, &dialog);
        }
    }

    fn take_request(&mut self, now: Duration, source: SocketAddr, key: Key, request: Received) {
        let name = request.name();
        match request.method {
            Method::Invite if request.to_tag.is_empty() => self.on_invite(now, source, key, request),
            Method::Invite => self.on_reinvite(now, &key, &request),
            Method::Cancel => self.on_cancel(now, &key, &request),
            Method::Bye => self.on_bye(now, &key, &request),
            Method::Message if request.to_tag.is_empty() => self.on_text(now, key, request),
            Method::Options if request.to_tag.is_empty() => self.respond(now, &key, &request, 200, None),
            Method::PRack if self.admits(now, &key, &request) => self.on_prack(now, &key, &request),
            Method::Update if self.admits(now, &key, &request) => {
                self.event(PhoneEvent::Requested { method: name });
                self.on_update(now, &key, &request);
            }
            Method::Info | Method::Options if self.admits(now, &key, &request) => {
                self.event(PhoneEvent::Requested { method: name });
                self.on_info(&request);
                self.respond(now, &key, &request, 200, None);
            }
            // Refused by now.
            Method::PRack | Method::Update | Method::Info | Method::Options => {}
            _ => {
                let allow = [("Allow".to_owned(), self.allow())];
                self.respond_with(now, &key, &request, 405, None, &allow);
            }
        }
    }

    fn on_invite(&mut self, now: Duration, source: SocketAddr, key: Key, invite: Received) {
        if !matches!(self.call, Call::Idle | Call::Ended) {
            self.respond(now, &key, &invite, 486, None);
            return;
        }
        if let Start::Request(uri) = &invite.start
            && address_of(uri)
                .is_some_and(|address| address != self.config.contact && Some(address) != self.config.gateway)
        {
            self.breach(format!("INVITE: Request-URI {uri} is not us"));
        }
        let unknown: Vec<&str> = invite.tokens("Require").filter(|option| !self.supported().contains(option)).collect();
        if !unknown.is_empty() {
            let unsupported = [("Unsupported".to_owned(), unknown.join(", "))];
            self.respond_with(now, &key, &invite, 420, None, &unsupported);
            return;
        }
        let reliably = match self.reliability_of(&invite) {
            Ok(reliably) => reliably,
            Err(status) => {
                let require = [("Require".to_owned(), reliable::OPTION.to_owned())];
                self.respond_with(now, &key, &invite, status, None, &require);
                return;
            }
        };
        if self.timer_too_short(&invite).is_some() {
            self.respond_with(now, &key, &invite, 422, None, &self.min_se());
            return;
        }
        let local_tag = self.token();
        let target = invite.contact.clone();
        let mut media = Negotiation::new(self.random.next_u64() >> 32, &self.config);
        if invite.sdp.is_some() {
            media.await_our_answer();
        }
        let dialog = Dialog {
            call_id: invite.call_id.clone(),
            local: format!("{};tag={local_tag}", invite.to),
            remote: invite.from.clone(),
            local_tag,
            contact_user: self.config.number.clone(),
            remote_tag: invite.from_tag.clone(),
            local_cseq: self.random.next_u32() >> 19,
            remote_cseq: invite.cseq,
            peer: target.as_ref().and_then(address_of).unwrap_or(source),
            target: target.unwrap_or_default(),
            media,
            invite_cseq: invite.cseq,
            owner: false,
            barred_until: None,
            held_until: None,
            reliable: Reliable::default(),
            timer: None,
        };
        let script = self.config.script.clone();
        let mut plan = vec![(now + RING_LIMIT, Step::GiveUp)];
        plan.extend(script.ring_after.map(|after| (now + after, Step::Ring)));
        plan.extend(script.early_media_after.map(|after| (now + after, Step::EarlyMedia)));
        let more = script.provisionals.iter().enumerate();
        plan.extend(more.map(|(place, provisional)| (now + provisional.after, Step::Provisional(place))));
        match &script.reply {
            Reply::Answer { after } | Reply::Refuse { after, .. } => plan.push((now + *after, Step::Reply)),
            Reply::Never => {}
        }
        plan.sort_by_key(|(at, _)| *at);
        self.speaks_from = self.config.rtp;
        self.event(PhoneEvent::Invited { caller: invite.caller.clone() });
        if !script.forks.is_empty() {
            self.forked = Some((key.clone(), invite.clone()));
            self.begin_branches(now, &dialog, &invite.to);
        }
        let ringing = Ringing { dialog, key, invite, answer: None, plan, reliably, early: false };
        self.call = Call::Ringing(Box::new(ringing));
        self.path = None;
        self.ear.begin();
        self.schedule(now, When::Invited);
        self.handle_timeout(now);
    }

    pub(crate) fn on_step(&mut self, now: Duration, step: Step) {
        match step {
            Step::Ring => self.progress(now, 180, false, &[]),
            Step::EarlyMedia => self.progress(now, 183, true, &[]),
            Step::Provisional(place) => {
                if let Some(provisional) = self.config.script.provisionals.get(place).cloned() {
                    self.progress(now, provisional.status, provisional.sdp, &provisional.headers);
                }
            }
            Step::GiveUp => self.refuse(now, 480, None),
            Step::Reply => match self.config.script.reply.clone() {
                Reply::Answer { .. } => self.answer(now),
                Reply::Refuse { status, reason, .. } => self.refuse(now, status, reason.as_deref()),
                Reply::Never => {}
            },
        }
    }

    /// Our answer to the INVITE's offer; `Some(None)` where it made none, `None` when the call was refused for it.
    pub(crate) fn early_answer(&mut self, now: Duration) -> Option<Option<Vec<u8>>> {
        let config = self.config.clone();
        let Call::Ringing(ringing) = &mut self.call else {
            return None;
        };
        let Some(offer) = ringing.invite.sdp.clone() else {
            return Some(None);
        };
        if ringing.answer.is_none() {
            match ringing.dialog.media.answer(&config, &offer) {
                Ok(answer) => {
                    ringing.answer = Some(answer);
                    // It is none yet where its message may be lost.
                    ringing.dialog.media.await_our_answer();
                }
                Err(flaw) => {
                    if let Flaw::Breach(sentence) = flaw {
                        self.breach(format!("INVITE: {sentence}"));
                    }
                    self.refuse(now, 488, None);
                    return None;
                }
            }
        }
        Some(ringing_answer(&self.call))
    }

    pub(crate) fn answer(&mut self, now: Duration) {
        let Call::Ringing(ringing) = &self.call else {
            return;
        };
        // A reliable provisional response may have settled offer and answer.
        let settled = ringing.dialog.reliable.rseq.is_some() && ringing.dialog.media.is_free();
        let said = ringing.answer.clone().filter(|_| self.config.script.repeats_sdp);
        let mut body = said;
        if !settled {
            match self.early_answer(now) {
                Some(answer) => body = answer,
                None => return,
            }
        }
        let Call::Ringing(ringing) = std::mem::replace(&mut self.call, Call::Ended) else {
            return;
        };
        let Ringing { mut dialog, key, invite, .. } = *ringing;
        let brings_answer = !settled && body.is_none();
        if brings_answer {
            body = dialog.media.offer(&self.config, &Offer::Same);
        } else {
            dialog.media.settle();
        }
        let ack = AwaitedAck { key: key.clone(), cseq: invite.cseq, brings_answer };
        self.call = Call::Answered(Box::new(Answered { dialog, ack, hang_up: false }));
        let headers = self.timer_answer(now, &invite);
        self.respond_with(now, &key, &invite, 200, body.as_deref(), &headers);
        self.cancel_branches();
        self.media_settled(now, Some(self.config.sound.clone()));
        self.event(PhoneEvent::Answered { media: self.remote_rtp() });
    }

    pub(crate) fn refuse(&mut self, now: Duration, status: u16, reason: Option<&str>) {
        let Call::Ringing(ringing) = &self.call else {
            return;
        };
        let (key, invite) = (ringing.key.clone(), ringing.invite.clone());
        let mut headers = self.config.script.refusal_headers.clone();
        headers.extend(reason.map(|reason| ("Reason".to_owned(), reason.to_owned())));
        self.respond_with(now, &key, &invite, status, None, &headers);
        self.end(now);
        self.event(PhoneEvent::Released { by: Ender::Us, reason: None });
    }

    /// The ACK of a 2xx: that of the answer, or of our 200 to a re-INVITE.
    fn on_ack(&mut self, now: Duration, request: &Received) {
        let awaits = |ack: &AwaitedAck| ack.cseq == request.cseq;
        match &mut self.call {
            Call::Answered(answered) if answered.dialog.is_of(request) && awaits(&answered.ack) => {
                let Call::Answered(answered) = std::mem::replace(&mut self.call, Call::Ended) else {
                    return;
                };
                let Answered { dialog, ack, hang_up } = *answered;
                self.transactions.acknowledged(&ack.key);
                let hang_up_at = self.config.script.hang_up_after.map(|after| now + after);
                self.call = Call::Established(Box::new(Established { dialog, hang_up_at, modifying: None, ack: None }));
                self.take_answer_in_ack(now, &ack, request);
                self.event(PhoneEvent::Established);
                self.schedule(now, When::Up);
                if hang_up {
                    self.send_bye(now);
                }
            }
            Call::Established(up) if up.dialog.is_of(request) && up.ack.as_ref().is_some_and(awaits) => {
                if let Some(ack) = up.ack.take() {
                    self.transactions.acknowledged(&ack.key);
                    self.take_answer_in_ack(now, &ack, request);
                }
            }
            // Repeated, late or of no call.
            Call::Idle
            | Call::Calling(_)
            | Call::Ringing(_)
            | Call::Answered(_)
            | Call::Established(_)
            | Call::Ending(_)
            | Call::Ended => {}
        }
    }

    fn take_answer_in_ack(&mut self, now: Duration, ack: &AwaitedAck, request: &Received) {
        let Call::Established(up) = &mut self.call else {
            return;
        };
        match (&request.sdp, ack.brings_answer) {
            (Some(sdp), true) => {
                if let Err(flaw) = up.dialog.media.take_answer(sdp, true) {
                    self.note_flaw(request, flaw);
                }
                self.media_settled(now, Some(self.config.sound.clone()));
            }
            (None, true) => self.breach("ACK without the answer to our offer".to_owned()),
            (Some(_), false) => self.breach("ACK with SDP that nobody asked for".to_owned()),
            (None, false) => {}
        }
    }

    fn on_cancel(&mut self, now: Duration, key: &Key, request: &Received) {
        let invite_key = Key { method: Method::Invite, ..key.clone() };
        if !self.transactions.knows(&invite_key) {
            return self.respond(now, key, request, 481, None);
        }
        self.respond(now, key, request, 200, None);
        let Call::Ringing(ringing) = &self.call else {
            return;
        };
        if ringing.key != invite_key || !self.transactions.is_proceeding(&invite_key) {
            return;
        }
        let invite = ringing.invite.clone();
        // RFC 3261 §9.1: all but the method is that of the INVITE.
        if (&request.from, &request.to, &request.call_id, request.cseq)
            != (&invite.from, &invite.to, &invite.call_id, invite.cseq)
            || request.start != invite.start
        {
            self.breach("CANCEL differs from its INVITE".to_owned());
        }
        self.respond(now, &invite_key, &invite, 487, None);
        self.end(now);
        self.event(PhoneEvent::Released { by: Ender::Them, reason: request.reason.clone() });
    }

    fn on_bye(&mut self, now: Duration, key: &Key, request: &Received) {
        let Some(dialog) = self.call.dialog().filter(|dialog| dialog.is_of(request)) else {
            return self.respond(now, key, request, 481, None);
        };
        if request.cseq <= dialog.remote_cseq && dialog.remote_cseq != 0 {
            self.breach(format!("BYE: CSeq {} after {}", request.cseq, dialog.remote_cseq));
        }
        self.respond(now, key, request, 200, None);
        if self.goes_on_in_branch(now) {
            let sound = self.config.sound.clone();
            return self.media_settled(now, Some(sound));
        }
        match &self.call {
            Call::Ringing(ringing) => {
                // A caller may end its early dialog by BYE (§15.1.2): the INVITE is then refused.
                let (invite_key, invite) = (ringing.key.clone(), ringing.invite.clone());
                self.respond(now, &invite_key, &invite, 487, None);
            }
            // The two BYEs crossed; ours still gets its response, or expires.
            Call::Ending(_) => return,
            Call::Idle | Call::Calling(_) | Call::Answered(_) | Call::Established(_) | Call::Ended => {}
        }
        self.end(now);
        self.event(PhoneEvent::Released { by: Ender::Them, reason: request.reason.clone() });
    }

    pub(crate) fn respond(&mut self, now: Duration, key: &Key, request: &Received, status: u16, body: Option<&[u8]>) {
        self.respond_with(now, key, request, status, body, &[]);
    }

    /// Answers a request, and returns what was sent.
    pub(crate) fn respond_with(
        &mut self,
        now: Duration,
        key: &Key,
        request: &Received,
        status: u16,
        body: Option<&[u8]>,
        headers: &[(String, String)],
    ) -> Vec<u8> {
        let tag = match self.call.dialog() {
            Some(dialog) if dialog.call_id == request.call_id => dialog.local_tag.clone(),
            _ if request.to_tag.is_empty() => self.token(),
            _ => String::new(),
        };
        let bytes = self.response(request, status, &tag, &self.contact(), headers, body);
        self.transactions.respond(now, key, status, bytes.clone());
        bytes
    }

    /// Writes a response. The tag is only of use where the request has none.
    pub(crate) fn response(
        &self,
        request: &Received,
        status: u16,
        tag: &str,
        contact: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let to = match request.to_tag.is_empty() {
            true => format!("{};tag={tag}", request.to),
            false => request.to.clone(),
        };
        let method = request.name();
        let mut draft = Draft::new().canary(self.canary()).vias(&request.vias).dialog(
            &request.from,
            &to,
            &request.call_id,
            request.cseq,
            &method,
        );
        if matches!(request.method, Method::Invite | Method::Update) && status < 300 {
            draft = draft.header("Contact", contact).header("Allow", &self.allow());
            let supported = self.supported();
            if !supported.is_empty() {
                draft = draft.header("Supported", &supported.join(", "));
            }
        }
        if request.method == Method::Invite && request.to_tag.is_empty() && (101..300).contains(&status) {
            draft = draft.headers(&self.record_route());
        }
        draft = draft.headers(headers);
        if request.method == Method::Invite {
            draft = draft.headers(&self.config.headers).isup(self.config.isup.as_ref());
        }
        if status >= 300
            && let Some(canary) = self.canary()
        {
            draft = draft.header("Reason", &format!("SIP;cause={status};text=\"{}\"", canary.text()));
        }
        if let Some(agent) = self.agent() {
            draft = draft.header("Server", &agent);
        }
        draft.response(status, body)
    }
}

fn ringing_answer(call: &Call) -> Option<Vec<u8>> {
    match call {
        Call::Ringing(ringing) => ringing.answer.clone(),
        Call::Idle | Call::Calling(_) | Call::Answered(_) | Call::Established(_) | Call::Ending(_) | Call::Ended => {
            None
        }
    }
}
