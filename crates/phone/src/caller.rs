//! The calling half: INVITE, CANCEL, ACK, BYE and their responses (RFC 3261 §8.1, §9.1, §13.2, §15.1.1).

use std::time::Duration;

use rsip::{Method, Uri};

use crate::call::{Call, Calling, Cancel, Dialog, Established, Reliable};
use crate::change::owes_ack;
use crate::reliable::{self, Grade};
use crate::sdp::{Negotiation, Offer};
use crate::transaction::Verdict;
use crate::wire::{Draft, Received, address_of};
use crate::{Ender, Phone, PhoneEvent, Reliability, When};

/// INVITEs sent for one call at most.
const MAX_ATTEMPTS: u8 = 5;

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
        let (local_tag, branch) = (self.token(), format!("z9hG4bK{}", self.token()));
        let display = self.config.display_name.as_ref().map(|name| format!("\"{name}\" ")).unwrap_or_default();
        let canary = self.canary();
        let display = canary.as_ref().map_or(display, |canary| format!("\"{}\" ", canary.text()));
        let parameter = canary.as_ref().map(|canary| format!(";x-canary={}", canary.token())).unwrap_or_default();
        let mut dialog = Dialog {
            call_id: format!("{}@{}", self.token(), self.config.contact.ip()),
            local: format!(
                "{display}<sip:{}@{}{parameter}>;tag={local_tag}{parameter}",
                self.config.number, self.config.contact
            ),
            remote: canary.map_or_else(String::new, |canary| format!("\"{}\" ", canary.text()))
                + &format!("<{target}>"),
            local_tag,
            contact_user: self.config.number.clone(),
            remote_tag: String::new(),
            local_cseq: 1,
            remote_cseq: 0,
            target,
            peer,
            media: Negotiation::new(self.random.next_u64() >> 32, &self.config),
            invite_cseq: 1,
            owner: true,
            barred_until: None,
            held_until: None,
            reliable: Reliable::default(),
            timer: None,
        };
        let offer = if self.config.script.late_offer { Offer::None } else { Offer::Same };
        let body = dialog.media.offer(&self.config, &offer);
        self.call = Call::Idle;
        let mut headers = self.timer_request();
        headers.extend(self.credentials("INVITE", &dialog.target.to_string()));
        let bytes = self.in_dialog(&dialog, &branch, "INVITE", dialog.local_cseq, &headers, body.as_deref());
        self.transactions.request(now, peer, &branch, Method::Invite, bytes);
        let at = self.config.script.cancel_after.map(|after| now + after);
        self.pristine = Some(dialog.clone());
        self.speaks_from = self.config.rtp;
        self.ended.clear();
        self.call = Call::Calling(Box::new(Calling {
            dialog,
            branch,
            cancel: Cancel::Not { at },
            answer: None,
            settled: false,
            attempts: 1,
            extra: Vec::new(),
            early: false,
            others: Vec::new(),
        }));
        self.path = None;
        self.ear.begin();
        self.schedule(now, When::Invited);
        true
    }

    /// The INVITE once more, as a refusal asked for: same Call-ID and tag, the next CSeq, these headers besides.
    fn call_again(&mut self, now: Duration, status: u16, extra: Vec<(String, String)>) {
        let branch = self.branch();
        let timer = self.timer_request();
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        calling.attempts += 1;
        calling.extra.extend(extra);
        calling.branch.clone_from(&branch);
        let cseq = calling.dialog.next_cseq();
        calling.dialog.invite_cseq = cseq;
        calling.dialog.remote_tag.clear();
        self.pristine = Some(calling.dialog.clone());
        let body = calling.dialog.media.written();
        let mut headers = calling.extra.clone();
        let said = |name: &str| headers.iter().any(|(known, _)| known == name);
        let timer: Vec<_> = timer.into_iter().filter(|(name, _)| !said(name)).collect();
        headers.extend(timer);
        let uri = calling.dialog.target.to_string();
        headers.extend(self.credentials("INVITE", &uri));
        let Call::Calling(calling) = &self.call else {
            return;
        };
        let peer = calling.dialog.peer;
        let bytes = self.in_dialog(&calling.dialog, &branch, "INVITE", cseq, &headers, body.as_deref());
        self.transactions.request(now, peer, &branch, Method::Invite, bytes);
        self.event(PhoneEvent::TriedAgain { status });
    }

    /// A request of ours: the INVITE, or one within the dialog.
    pub(crate) fn in_dialog(
        &self,
        dialog: &Dialog,
        branch: &str,
        method: &str,
        cseq: u32,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Vec<u8> {
        let begins = method == "INVITE" && !dialog.exists();
        let hops = if begins { self.config.script.max_forwards } else { 70 };
        let mut draft = Draft::new()
            .canary(self.canary())
            .via(self.config.transport, self.config.contact, branch)
            .max_forwards(hops)
            .dialog(&dialog.local, &dialog.remote, &dialog.call_id, cseq, method);
        if matches!(method, "INVITE" | "UPDATE") {
            draft = draft.header("Contact", &self.contact()).header("Allow", &self.allow());
        }
        if matches!(method, "INVITE" | "UPDATE" | "PRACK") {
            let mut supported = self.supported();
            if method == "INVITE" && !dialog.exists() && self.config.script.reliability == Reliability::Required {
                draft = draft.header("Require", reliable::OPTION);
                supported.retain(|option| *option != reliable::OPTION);
            }
            if !supported.is_empty() {
                draft = draft.header("Supported", &supported.join(", "));
            }
        }
        draft = draft.headers(headers);
        if method == "INVITE" {
            draft = draft.headers(&self.config.headers).isup(self.config.isup.as_ref());
        }
        if begins {
            draft = draft.headers(&self.record_route());
            draft = draft.headers(&self.config.script.invite_headers);
        }
        if method == "BYE"
            && let Some(canary) = self.canary()
        {
            draft = draft.header("Reason", &format!("Q.850;cause=16;text=\"{}\"", canary.text()));
        }
        if let Some(agent) = self.agent() {
            draft = draft.header("User-Agent", &agent);
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
            Verdict::Forked if self.config.script.takes_forks => return self.on_second_answer(now, received),
            Verdict::Forked => {
                self.breach(format!("a second {status} with another To tag"));
                return;
            }
            // Its request was given up before: nothing to hear.
            Verdict::Repeated | Verdict::Stray => return,
        }
        let is_end = received.method == Method::Bye && matches!(self.call, Call::Ending(_));
        if is_end && matches!(status, 401 | 407) && self.on_challenge(status, received) {
            return self.send_bye(now);
        }
        if self.texts.iter().any(|text| text.branch() == received.branch) {
            return self.on_text_response(now, status, received);
        }
        match (received.method, &self.call) {
            (Method::Invite, Call::Calling(calling)) if calling.branch == received.branch => {
                self.on_invite_response(now, status, received);
            }
            (Method::Invite, Call::Established(up))
                if up.modifying.as_ref().is_some_and(|ours| ours.branch == received.branch) =>
            {
                self.on_modified(now, status, received);
            }
            (Method::Bye, Call::Ending(_)) if status >= 200 => {
                self.end(now);
                self.event(PhoneEvent::Released { by: Ender::Us, reason: None });
            }
            (_, Call::Ending(dialog)) if (200..300).contains(&status) && owes_ack(dialog, received) => {
                let peer = dialog.peer;
                let branch = self.branch();
                if let Call::Ending(dialog) = &self.call {
                    let ack = self.in_dialog(dialog, &branch, "ACK", received.cseq, &[], None);
                    self.transactions.acknowledge(&received.branch, peer, ack);
                }
            }
            // To a CANCEL, to another request within the dialog, or to a request of a call that has ended since.
            (
                _,
                Call::Idle
                | Call::Calling(_)
                | Call::Ringing(_)
                | Call::Answered(_)
                | Call::Established(_)
                | Call::Ending(_)
                | Call::Ended,
            ) => self.on_other_response(now, status, received),
        }
    }

    fn on_invite_response(&mut self, now: Duration, status: u16, received: &Received) {
        let Call::Calling(calling) = &self.call else {
            return;
        };
        let (dialog, may_retry) = (&calling.dialog, calling.attempts < MAX_ATTEMPTS && !calling.early);
        if received.from != dialog.local || received.call_id != dialog.call_id {
            self.breach(format!("{status}: From or Call-ID is not that of the request"));
        } else if received.cseq != dialog.invite_cseq {
            self.breach(format!("{status}: CSeq {}", received.cseq));
        }
        match status {
            ..=100 => self.on_provisional(now, status, received),
            101..=299 => {
                self.check_record_route(status, received);
                self.on_early_dialog(received);
                if status < 200 {
                    self.on_provisional(now, status, received);
                } else {
                    self.on_answered(now, status, received);
                }
            }
            401 | 407 if may_retry && self.on_challenge(status, received) => self.call_again(now, status, Vec::new()),
            422 if may_retry => match self.longer_interval(received) {
                Some(headers) => self.call_again(now, status, headers),
                None => self.on_refused(now, status, received),
            },
            _ => self.on_refused(now, status, received),
        }
    }

    fn on_refused(&mut self, now: Duration, status: u16, received: &Received) {
        self.end(now);
        self.event(PhoneEvent::Refused { status, reason: received.reason.clone() });
    }

    /// A response with a To tag makes the dialog, early at first (RFC 3261 §12.1.2).
    fn on_early_dialog(&mut self, received: &Received) {
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        let dialog = &calling.dialog;
        if dialog.exists() && dialog.remote_tag != received.to_tag && !self.change_branch(received) {
            self.breach("a response with another To tag".to_owned());
            return;
        }
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        let dialog = &mut calling.dialog;
        dialog.remote.clone_from(&received.to);
        dialog.remote_tag.clone_from(&received.to_tag);
        dialog.retarget(received.contact.as_ref());
    }

    /// The SDP in a response to an INVITE with an offer.
    fn take_response_sdp(&mut self, status: u16, sdp: &[u8], reliably: bool) {
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        // RFC 3261 §13.2.1: what a provisional response answered, the 200 must say again, unchanged.
        let flaw = match &calling.answer {
            Some(before) if before != sdp => Some("the answer is not that of the provisional response".to_owned()),
            Some(_) if calling.settled => None,
            Some(_) | None => calling.dialog.media.take_answer(sdp, reliably).err(),
        };
        if flaw.is_none() {
            calling.answer = Some(sdp.to_vec());
            calling.settled |= reliably;
        }
        if let Some(flaw) = flaw {
            self.breach(format!("{status}: {flaw}"));
        }
    }

    fn on_provisional(&mut self, now: Duration, status: u16, received: &Received) {
        let config = self.config.clone();
        let grade = self.grade(status, received);
        let Call::Calling(calling) = &mut self.call else {
            return;
        };
        let reliably = matches!(grade, Grade::Reliable(_));
        let late = config.script.late_offer;
        let mut answer = None;
        match (&received.sdp, late) {
            _ if grade == Grade::Passed => return,
            (Some(sdp), false) => self.take_response_sdp(status, sdp, reliably),
            (Some(_), true) if !reliably => {
                self.breach(format!("{status}: an offer in a response that may be lost"));
            }
            (Some(offer), true) if calling.answer.is_none() => match calling.dialog.media.answer(&config, offer) {
                Ok(written) => {
                    calling.answer = Some(offer.clone());
                    calling.settled = true;
                    answer = Some(written);
                }
                Err(flaw) => self.breach(format!("offer in {status}: {flaw:?}")),
            },
            (Some(_), true) => self.breach(format!("{status}: a second offer")),
            (None, true) if reliably && calling.answer.is_none() => {
                self.breach(format!("the first reliable response, {status}, makes no offer (RFC 3262 §5)"));
            }
            (None, _) => {}
        }
        let media = received.sdp.is_some().then(|| self.remote_rtp()).flatten();
        if media.is_some() {
            self.media_settled(now, None);
        }
        if status > 100 {
            self.event(PhoneEvent::Ringing { status, media });
            self.schedule_early(now);
        }
        if let Grade::Reliable(rseq) = grade {
            if !config.script.never_pracks {
                self.send_prack(now, rseq, answer);
            } else if let Some(dialog) = self.call.dialog_mut() {
                dialog.reliable.owes_prack |= received.sdp.is_some();
            }
        }
        if let Call::Calling(calling) = &mut self.call
            && calling.cancel == Cancel::AtFirstResponse
        {
            calling.cancel = Cancel::Sent;
            self.transactions.cancel(now, &calling.branch);
        }
    }

    fn on_answered(&mut self, now: Duration, status: u16, received: &Received) {
        let Call::Calling(calling) = &self.call else {
            return;
        };
        // Offer and answer may stand already, by reliable provisional responses.
        let (settled, denied) = (calling.settled, calling.dialog.reliable.denied);
        if calling.dialog.reliable.owes_prack {
            self.breach(format!("{status} before the PRACK of a response with SDP (RFC 3262 §3)"));
        }
        if denied {
            self.breach(format!("{status} after a 481 to PRACK"));
        }
        match (&received.sdp, self.config.script.late_offer) {
            (Some(sdp), false) => self.take_response_sdp(status, sdp, true),
            (None, false) if !settled => self.breach(format!("{status} without answer")),
            (Some(_), true) if settled => self.breach(format!("{status}: a second offer")),
            (Some(_), true) | (None, _) => {}
        }
        let Call::Calling(calling) = std::mem::replace(&mut self.call, Call::Ended) else {
            return;
        };
        let Calling { mut dialog, branch, cancel, .. } = *calling;
        let answer = if settled { None } else { self.answer_in_ack(&mut dialog, received) };
        let never = self.config.script.never_acknowledge;
        if !never {
            let ack_branch = format!("z9hG4bK{}", self.token());
            let ack = self.in_dialog(&dialog, &ack_branch, "ACK", dialog.invite_cseq, &[], answer.as_deref());
            self.transactions.acknowledge(&branch, dialog.peer, ack);
        }
        let hang_up_at = self.config.script.hang_up_after.map(|after| now + after);
        self.call = Call::Established(Box::new(Established { dialog, hang_up_at, modifying: None, ack: None }));
        self.media_settled(now, Some(self.config.sound.clone()));
        self.event(PhoneEvent::Answered { media: self.remote_rtp() });
        if !never {
            self.event(PhoneEvent::Established);
        }
        self.timer_response(now, received);
        self.schedule(now, When::Up);
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

    pub(crate) fn send_bye(&mut self, now: Duration) {
        let mut dialog = match std::mem::replace(&mut self.call, Call::Ended) {
            Call::Established(up) => up.dialog,
            Call::Answered(answered) => answered.dialog,
            // Once more, with credentials.
            Call::Ending(dialog) if self.answering.is_some() => *dialog,
            other @ (Call::Idle | Call::Calling(_) | Call::Ringing(_) | Call::Ending(_) | Call::Ended) => {
                self.call = other;
                return;
            }
        };
        let cseq = dialog.next_cseq();
        let branch = self.branch();
        let headers = self.credentials("BYE", &dialog.target.to_string());
        let bytes = self.in_dialog(&dialog, &branch, "BYE", cseq, headers.as_slice(), None);
        self.transactions.request(now, dialog.peer, &branch, Method::Bye, bytes);
        self.agenda.clear();
        self.voice.set_path(now, None);
        self.call = Call::Ending(Box::new(dialog));
    }
}
