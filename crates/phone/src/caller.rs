//! The calling half: INVITE, CANCEL, ACK, BYE, re-INVITE and their responses (RFC 3261 §8.1, §9.1, §13.2, §14.1, §15.1.1).

use std::time::Duration;

use rsip::{Method, Uri};

use crate::call::{Call, Calling, Cancel, Dialog, Established};
use crate::sdp::{Direction, Negotiation};
use crate::transaction::Verdict;
use crate::wire::{Draft, Received, address_of};
use crate::{Ender, Phone, PhoneEvent};

impl Phone {
    /// Calls a SIP URI whose host is an address, e.g. `sip:+8617000000000@10.0.0.1:5060`. `false` when a call is up or the
    /// URI cannot be called.
    pub fn call(&mut self, now: Duration, target: &str) -> bool {
        if !matches!(self.call, Call::Idle | Call::Ended) {
            return false;
        }
        let Ok(target) = Uri::try_from(target) else {
            return false;
        };
        let Some(peer) = address_of(&target) else {
            return false;
        };
        let (local_tag, branch) = (self.random.token(), format!("z9hG4bK{}", self.random.token()));
        let display = self.config.display_name.as_ref().map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let mut dialog = Dialog {
            call_id: format!("{}@{}", self.random.token(), self.config.contact.ip()),
            local: format!("{display}<sip:{}@{}>;tag={local_tag}", self.config.number, self.config.contact),
            remote: format!("<{target}>"),
            local_tag,
            remote_tag: String::new(),
            local_cseq: 1,
            remote_cseq: 0,
            target,
            peer,
            media: Negotiation::new(self.random.next_u64() >> 32, self.config.rtp),
        };
        let late = self.config.script.late_offer;
        let offer = (!late).then(|| dialog.media.offer(&self.config, Direction::SendRecv));
        let bytes = self.in_dialog(&dialog, &branch, Method::Invite, dialog.local_cseq, offer.as_deref());
        self.transactions.request(now, peer, &branch, Method::Invite, bytes);
        let at = self.config.script.cancel_after.map(|after| now + after);
        self.call = Call::Calling(Box::new(Calling { dialog, branch, cancel: Cancel::Not { at } }));
        self.path = None;
        self.ear.begin();
        true
    }

    /// Changes the direction of the stream by a re-INVITE, e.g. to hold ([`Direction::SendOnly`], [`Direction::Inactive`]) and to
    /// resume. `false` when there is no call or another change is under way.
    pub fn modify(&mut self, now: Duration, direction: Direction) -> bool {
        let branch = format!("z9hG4bK{}", self.random.token());
        let config = self.config.clone();
        let Call::Established(up) = &mut self.call else {
            return false;
        };
        if up.modifying.is_some() || up.ack.is_some() {
            return false;
        }
        up.dialog.local_cseq = up.dialog.local_cseq.wrapping_add(1);
        let offer = up.dialog.media.offer(&config, direction);
        up.modifying = Some(branch.clone());
        let Call::Established(up) = &self.call else {
            return false;
        };
        let bytes = self.in_dialog(&up.dialog, &branch, Method::Invite, up.dialog.local_cseq, Some(&offer));
        self.transactions.request(now, up.dialog.peer, &branch, Method::Invite, bytes);
        true
    }

    fn in_dialog(&self, dialog: &Dialog, branch: &str, method: Method, cseq: u32, body: Option<&[u8]>) -> Vec<u8> {
        let mut draft = Draft::new().via(self.config.transport, self.config.contact, branch).max_forwards().dialog(
            &dialog.local,
            &dialog.remote,
            &dialog.call_id,
            cseq,
            method,
        );
        if method == Method::Invite {
            draft = draft.header("Contact", &self.contact()).header("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS");
            draft = draft.headers(&self.config.headers);
        }
        if let Some(agent) = &self.config.user_agent {
            draft = draft.header("User-Agent", agent);
        }
        draft.request(method, &dialog.target, body)
    }

    pub(crate) fn on_response(&mut self, now: Duration, status: u16, received: &Received) {
        if received.sent_by != self.config.contact.to_string() {
            self.breach(format!("{status}: Via names {}", received.sent_by));
            return;
        }
        let key = (received.branch.as_str(), received.method);
        let verdict = self.transactions.on_response(now, key, status, (&received.to, &received.to_tag));
        match verdict {
            Verdict::New => {}
            Verdict::Forked => {
                self.breach(format!("a second {status} with another To tag"));
                return;
            }
            // Its request was given up before: nothing to hear.
            Verdict::Repeated | Verdict::Stray => return,
        }
        match (received.method, &self.call) {
            (Method::Invite, Call::Calling(calling)) if calling.branch == received.branch => {
                self.on_invite_response(now, status, received);
            }
            (Method::Invite, Call::Established(up)) if up.modifying.as_ref() == Some(&received.branch) => {
                self.on_modified(now, status, received);
            }
            (Method::Bye, Call::Ending(_)) if status >= 200 => {
                self.end(now);
                self.event(PhoneEvent::Released { by: Ender::Us, reason: None });
            }
            // To a CANCEL, or to a request of a call that has ended since.
            (
                _,
                Call::Idle
                | Call::Calling(_)
                | Call::Ringing(_)
                | Call::Answered(_)
                | Call::Established(_)
                | Call::Ending(_)
                | Call::Ended,
            ) => {}
        }
    }

    fn on_invite_response(&mut self, now: Duration, status: u16, received: &Received) {
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        let mut flaws = Vec::new();
        if received.from != calling.dialog.local || received.call_id != calling.dialog.call_id {
            flaws.push(format!("{status}: From or Call-ID is not that of the request"));
        }
        if received.cseq != calling.dialog.local_cseq {
            flaws.push(format!("{status}: CSeq {}", received.cseq));
        }
        let late = self.config.script.late_offer;
        if let Some(sdp) = &received.sdp
            && !late
            && status < 300
        {
            // RFC 3261 §13.2.1: what a provisional response answered, the 200 must say again, unchanged.
            if calling.dialog.media.remote_body().is_some_and(|before| before != &sdp[..]) {
                flaws.push(format!("{status}: the answer is not that of the provisional response"));
            } else if let Err(flaw) = calling.dialog.media.take_answer(sdp) {
                flaws.push(format!("{status}: {flaw}"));
            }
        }
        if received.sdp.is_none() && !late && (200..300).contains(&status) {
            flaws.push(format!("{status} without answer"));
        }
        for flaw in flaws {
            self.breach(flaw);
        }
        match status {
            ..=199 => self.on_provisional(now, status, received),
            200..=299 => self.on_answered(now, received),
            _ => {
                self.end(now);
                self.event(PhoneEvent::Refused { status, reason: received.reason.clone() });
            }
        }
    }

    fn on_provisional(&mut self, now: Duration, status: u16, received: &Received) {
        let media = received.sdp.is_some().then(|| self.remote_rtp()).flatten();
        if media.is_some() {
            self.media_settled(now, None);
        }
        if status > 100 {
            self.event(PhoneEvent::Ringing { status, media });
        }
        if let Call::Calling(calling) = &mut self.call
            && calling.cancel == Cancel::AtFirstResponse
        {
            calling.cancel = Cancel::Sent;
            self.transactions.cancel(now, &calling.branch);
        }
    }

    fn on_answered(&mut self, now: Duration, received: &Received) {
        let Call::Calling(calling) = std::mem::replace(&mut self.call, Call::Ended) else {
            return;
        };
        let Calling { mut dialog, branch, cancel } = *calling;
        dialog.remote.clone_from(&received.to);
        dialog.remote_tag.clone_from(&received.to_tag);
        if let Some(contact) = &received.contact {
            dialog.target = contact.clone();
            dialog.peer = address_of(contact).unwrap_or(dialog.peer);
        }
        let answer = self.answer_in_ack(&mut dialog, received);
        let never = self.config.script.never_acknowledge;
        if !never {
            let ack_branch = format!("z9hG4bK{}", self.random.token());
            let ack = self.in_dialog(&dialog, &ack_branch, Method::Ack, dialog.local_cseq, answer.as_deref());
            self.transactions.acknowledge(&branch, dialog.peer, ack);
        }
        let hang_up_at = self.config.script.hang_up_after.map(|after| now + after);
        self.call = Call::Established(Box::new(Established { dialog, hang_up_at, modifying: None, ack: None }));
        self.media_settled(now, Some(self.config.sound.clone()));
        self.event(PhoneEvent::Answered { media: self.remote_rtp() });
        if !never {
            self.event(PhoneEvent::Established);
        }
        // The 200 and our wish to give up crossed: the call is up and is ended as such.
        if !matches!(cancel, Cancel::Not { .. }) {
            self.send_bye(now);
        }
    }

    /// The answer to an offer that came in the 200.
    fn answer_in_ack(&mut self, dialog: &mut Dialog, received: &Received) -> Option<Vec<u8>> {
        if !self.config.script.late_offer {
            return None;
        }
        let Some(offer) = &received.sdp else {
            self.breach("200 without offer to an INVITE without offer".to_owned());
            return None;
        };
        match dialog.media.answer(&self.config, offer) {
            Ok(answer) => Some(answer),
            Err(flaw) => {
                self.breach(format!("offer in 200: {flaw:?}"));
                None
            }
        }
    }

    fn on_modified(&mut self, now: Duration, status: u16, received: &Received) {
        if status < 200 {
            return;
        }
        let ack_branch = format!("z9hG4bK{}", self.random.token());
        let Call::Established(up) = &mut self.call else {
            return;
        };
        up.modifying = None;
        if status >= 300 {
            self.event(PhoneEvent::ModificationRefused { status });
            if matches!(status, 408 | 481) {
                self.send_bye(now);
            }
            return;
        }
        let taken = received.sdp.as_deref().ok_or_else(|| "no answer".to_owned());
        let taken = taken.and_then(|sdp| up.dialog.media.take_answer(sdp));
        let (cseq, peer) = (received.cseq, up.dialog.peer);
        let Call::Established(up) = &self.call else {
            return;
        };
        let ack = self.in_dialog(&up.dialog, &ack_branch, Method::Ack, cseq, None);
        self.transactions.acknowledge(&received.branch, peer, ack);
        if let Err(flaw) = taken {
            self.breach(format!("{status} to a re-INVITE: {flaw}"));
        }
        self.media_settled(now, Some(self.config.sound.clone()));
        let sends = self.path.is_some_and(|path| path.send);
        self.event(PhoneEvent::MediaChanged { media: self.remote_rtp(), sends });
    }

    pub(crate) fn send_bye(&mut self, now: Duration) {
        let mut dialog = match std::mem::replace(&mut self.call, Call::Ended) {
            Call::Established(up) => up.dialog,
            Call::Answered(answered) => answered.dialog,
            other @ (Call::Idle | Call::Calling(_) | Call::Ringing(_) | Call::Ending(_) | Call::Ended) => {
                self.call = other;
                return;
            }
        };
        dialog.local_cseq = dialog.local_cseq.wrapping_add(1);
        let branch = format!("z9hG4bK{}", self.random.token());
        let bytes = self.in_dialog(&dialog, &branch, Method::Bye, dialog.local_cseq, None);
        self.transactions.request(now, dialog.peer, &branch, Method::Bye, bytes);
        self.voice.set_path(now, None);
        self.call = Call::Ending(Box::new(dialog));
    }
}
