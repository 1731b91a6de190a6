//! What a phone does within a dialog: re-INVITE (RFC 3261 §14), UPDATE (RFC 3311), and whatever else it is told to send.
//!
//! ```text
//!   deeds ─its time─▶ agenda ─▶ perform ─▶ request ─▶ pending ─final─▶ event
//!                        ▲          └ busy: after 100 ms     │
//!                        └────────── 491, 500 ───────────────┘
//! ```

use std::time::Duration;

use rsip::Method;

use crate::call::{AwaitedAck, Call, Dialog, Modifying, Pending, What};
use crate::sdp::{Direction, Flaw, Offer};
use crate::transaction::Key;
use crate::wire::Received;
use crate::{Act, MAX_AGENDA, Phone, PhoneEvent, RETRY, When};

/// What came of a deed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Outcome {
    Done,
    /// Another change must come to its end first.
    Busy,
    /// There is no dialog for it.
    Impossible,
}

impl Phone {
    /// Does something within the dialog. `false` when there is none that allows it, or another change is under way.
    pub fn act(&mut self, now: Duration, act: &Act) -> bool {
        self.perform(now, act) == Outcome::Done
    }

    /// Changes the direction of the stream by a re-INVITE, e.g. to hold ([`Direction::SendOnly`], [`Direction::Inactive`]) and to
    /// resume. `false` when there is no call or another change is under way.
    pub fn modify(&mut self, now: Duration, direction: Direction) -> bool {
        self.act(now, &Act::Reinvite(Offer::Direction(direction)))
    }

    /// Puts the deeds of this moment on the agenda.
    pub(crate) fn schedule(&mut self, now: Duration, moment: fn(Duration) -> When) {
        let deeds = self.config.script.deeds.clone();
        for (when, act) in deeds {
            let (When::Invited(after) | When::Early(after) | When::Up(after)) = when;
            if moment(after) == when {
                self.plan(now + after, act);
            }
        }
    }

    /// A provisional response above 100 came or was sent; the first one begins the early dialog.
    pub(crate) fn schedule_early(&mut self, now: Duration) {
        let first = match &mut self.call {
            Call::Calling(calling) => !std::mem::replace(&mut calling.early, true),
            Call::Ringing(ringing) => !std::mem::replace(&mut ringing.early, true),
            Call::Idle | Call::Answered(_) | Call::Established(_) | Call::Ending(_) | Call::Ended => false,
        };
        if first {
            self.schedule(now, When::Early);
        }
    }

    pub(crate) fn plan(&mut self, at: Duration, act: Act) {
        if self.agenda.len() < MAX_AGENDA {
            self.agenda.push((at, act));
        }
    }

    pub(crate) fn follow_agenda(&mut self, now: Duration) {
        while let Some(place) = self.agenda.iter().position(|(at, _)| *at <= now) {
            let (_, act) = self.agenda.remove(place);
            if self.perform(now, &act) == Outcome::Busy {
                self.plan(now + RETRY, act);
            }
        }
    }

    fn perform(&mut self, now: Duration, act: &Act) -> Outcome {
        match act {
            Act::Reinvite(offer) => self.reinvite(now, offer),
            Act::Update(offer) => self.update(now, offer),
            Act::InfoDigit { digit, relay } => {
                let canary = self.canary().map(|canary| format!("X-Canary={}\r\n", canary.text())).unwrap_or_default();
                let (kind, body) = match relay {
                    true => ("application/dtmf-relay", format!("Signal={digit}\r\nDuration=160\r\n{canary}")),
                    false => ("application/dtmf", digit.to_string()),
                };
                self.send_request(now, "INFO", &[("Content-Type".to_owned(), kind.to_owned())], Some(body.as_bytes()))
            }
            Act::Send { method, headers, body } => self.send_request(now, method, headers, body.as_deref()),
            Act::Press(digit, length) if self.press(*digit, *length) => Outcome::Done,
            Act::Tones(digit, length) if self.voice.play_tones(*digit, *length) => Outcome::Done,
            Act::Press(..) | Act::Tones(..) => Outcome::Impossible,
            Act::Bye => self.bye_at_any_time(now),
        }
    }

    fn send_request(
        &mut self,
        now: Duration,
        method: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
    ) -> Outcome {
        if self.call.dialog().is_none_or(|dialog| !dialog.exists()) || matches!(self.call, Call::Ending(_)) {
            return Outcome::Impossible;
        }
        self.request(now, method, headers, body, What::Other(method.to_owned()));
        Outcome::Done
    }

    /// An INFO came: what digit it tells.
    pub(crate) fn on_info(&mut self, request: &Received) {
        let Some((content_type, body)) = &request.body else {
            return;
        };
        let text = String::from_utf8_lossy(body);
        let signal = text.lines().find_map(|line| line.trim().strip_prefix("Signal=")).unwrap_or(&text);
        if content_type.starts_with("application/dtmf")
            && let Some(digit) = signal.trim().chars().next()
        {
            let content_type = content_type.clone();
            self.event(PhoneEvent::InfoDigit { digit, content_type });
        }
    }

    fn bye_at_any_time(&mut self, now: Duration) -> Outcome {
        match &self.call {
            Call::Established(_) | Call::Answered(_) => self.send_bye(now),
            Call::Calling(calling) if calling.dialog.exists() => self.send_early_bye(now),
            Call::Ringing(_) => self.send_early_bye(now),
            Call::Idle | Call::Calling(_) | Call::Ending(_) | Call::Ended => return Outcome::Impossible,
        }
        Outcome::Done
    }

    /// BYE in an early dialog; the INVITE gets its final response by itself (RFC 3261 §15.1.2).
    fn send_early_bye(&mut self, now: Duration) {
        self.request(now, "BYE", &[], None, What::Other("BYE".to_owned()));
    }

    fn reinvite(&mut self, now: Duration, offer: &Offer) -> Outcome {
        let config = self.config.clone();
        let branch = self.branch();
        let changing = self.is_changing();
        let Call::Established(up) = &mut self.call else {
            return Outcome::Impossible;
        };
        let early = up.dialog.held_until.is_some_and(|until| now < until);
        if up.modifying.is_some() || up.ack.is_some() || changing || early || !up.dialog.media.is_free() {
            return Outcome::Busy;
        }
        let cseq = up.dialog.next_cseq();
        let body = up.dialog.media.offer(&config, offer);
        up.modifying = Some(Modifying { branch: branch.clone(), offer: offer.clone() });
        let mut headers = self.timer_request();
        let uri = self.call.dialog().map(|dialog| dialog.target.to_string()).unwrap_or_default();
        headers.extend(self.credentials("INVITE", &uri));
        let Some(dialog) = self.call.dialog() else {
            return Outcome::Impossible;
        };
        let peer = dialog.peer;
        let bytes = self.in_dialog(dialog, &branch, "INVITE", cseq, &headers, body.as_deref());
        self.transactions.request(now, peer, &branch, Method::Invite, bytes);
        self.speak_from_here();
        Outcome::Done
    }

    /// Who moves has left its old address when it tells of the new one; who may not move goes back.
    fn speak_from_here(&mut self) {
        if let Some(dialog) = self.call.dialog() {
            self.speaks_from = dialog.media.local_rtp();
        }
    }

    /// An UPDATE waits for its response; or a PRACK does, which would come out of order were it overtaken.
    fn is_changing(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.what, What::Update(_) | What::Prack { .. }))
    }

    fn update(&mut self, now: Duration, offer: &Offer) -> Outcome {
        let config = self.config.clone();
        let changing = self.is_changing();
        let reinviting = match &self.call {
            Call::Established(up) => up.modifying.is_some(),
            Call::Idle | Call::Calling(_) | Call::Ringing(_) | Call::Answered(_) | Call::Ending(_) | Call::Ended => {
                false
            }
        };
        if matches!(self.call, Call::Ending(_)) {
            return Outcome::Impossible;
        }
        let Some(dialog) = self.call.dialog_mut().filter(|dialog| dialog.exists()) else {
            return Outcome::Impossible;
        };
        let early = dialog.held_until.is_some_and(|until| now < until);
        // Until its PRACK the caller may not know of the dialog.
        let unknown = matches!(&dialog.reliable.outstanding, Some(sent) if sent.until > now);
        // RFC 3311 §5.1: no offer before the first one and its answer, whichever side had to make it.
        let settled = dialog.media.is_free() && dialog.media.remote_body().is_some();
        if changing || unknown || (*offer != Offer::None && (reinviting || early || !settled)) {
            return Outcome::Busy;
        }
        let body = dialog.media.offer(&config, offer);
        let headers = self.timer_request();
        self.request(now, "UPDATE", &headers, body.as_deref(), What::Update(offer.clone()));
        self.speak_from_here();
        Outcome::Done
    }

    pub(crate) fn branch(&mut self) -> String {
        format!("z9hG4bK{}", self.token())
    }

    /// Sends a request other than INVITE and ACK within the dialog.
    pub(crate) fn request(
        &mut self,
        now: Duration,
        method: &str,
        headers: &[(String, String)],
        body: Option<&[u8]>,
        what: What,
    ) {
        let branch = self.branch();
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        let (cseq, peer, uri) = (dialog.next_cseq(), dialog.peer, dialog.target.to_string());
        let mut all = headers.to_vec();
        all.extend(self.credentials(method, &uri));
        let Some(dialog) = self.call.dialog() else {
            return;
        };
        let bytes = self.in_dialog(dialog, &branch, method, cseq, &all, body);
        // A method without a name is known by its branch.
        let known = method.parse().unwrap_or(Method::Publish);
        self.transactions.request(now, peer, &branch, known, bytes);
        if self.pending.len() < MAX_AGENDA {
            let (method, headers, body) = (method.to_owned(), headers.to_vec(), body.map(<[u8]>::to_vec));
            self.pending.push(Pending { branch, what, method, headers, body });
        }
    }

    /// A request of ours within the dialog had no response at all.
    pub(crate) fn on_no_response(&mut self, now: Duration, branch: &str) {
        let Some(place) = self.pending.iter().position(|pending| pending.branch == branch) else {
            return;
        };
        let what = self.pending.remove(place).what;
        if let Some(dialog) = self.call.dialog_mut()
            && matches!(what, What::Update(_) | What::Prack { offers: true })
        {
            dialog.media.take_back();
        }
        // RFC 3261 §12.2.1.2: no response to a request within the dialog ends the dialog.
        self.send_bye(now);
    }

    /// A response to a request of ours that is neither INVITE, CANCEL nor the BYE of an established call.
    pub(crate) fn on_other_response(&mut self, now: Duration, status: u16, received: &Received) {
        let is = |pending: &Pending| pending.branch == received.branch;
        if status < 200 {
            return;
        }
        let Some(place) = self.pending.iter().position(is) else {
            return;
        };
        let Pending { what, method, headers, body, .. } = self.pending.remove(place);
        if matches!(status, 401 | 407) && self.on_challenge(status, received) {
            self.request(now, &method, &headers, body.as_deref(), what);
            return self.event(PhoneEvent::TriedAgain { status });
        }
        if status < 300 && headers.iter().any(|(name, _)| name == "Session-Expires") {
            self.timer_response(now, received);
        }
        match &what {
            What::Prack { offers } => self.on_prack_answered(now, status, received, *offers),
            What::Update(offer) => self.on_updated(now, status, received, offer),
            What::Other(_) => {}
        }
        if let What::Prack { .. } = what {
            return;
        }
        self.event(PhoneEvent::RequestAnswered { method, status });
        if matches!(status, 408 | 481) {
            self.send_bye(now);
        }
    }

    fn on_updated(&mut self, now: Duration, status: u16, received: &Received, offer: &Offer) {
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        if status >= 300 {
            dialog.media.take_back();
            return self.on_change_refused(now, status, received, &Act::Update(offer.clone()));
        }
        dialog.retarget(received.contact.as_ref());
        if received.contact.is_none() {
            self.breach(format!("{status} to UPDATE without Contact"));
        }
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        match (&received.sdp, *offer == Offer::None) {
            (Some(answer), false) => {
                if let Err(flaw) = dialog.media.take_answer(answer, true) {
                    self.breach(format!("{status} to UPDATE: {flaw}"));
                }
                self.media_changed(now);
            }
            (None, false) => {
                dialog.media.take_back();
                self.breach(format!("{status} to UPDATE without answer"));
            }
            (Some(_), true) => self.breach(format!("{status} to UPDATE with SDP that nobody asked for")),
            (None, true) => {}
        }
    }

    /// Our re-INVITE or UPDATE was refused; a glare is tried again when its time has come.
    pub(crate) fn on_change_refused(&mut self, now: Duration, status: u16, received: &Received, act: &Act) {
        let retry_after = received.value("Retry-After").and_then(|seconds| seconds.parse::<u64>().ok());
        self.event(PhoneEvent::ModificationRefused { status });
        self.speak_from_here();
        let owner = self.call.dialog().is_some_and(|dialog| dialog.owner);
        match (status, retry_after) {
            (491, _) => {
                // RFC 3261 §14.1: in units of 10 ms, 2.1-4 s for who made the Call-ID, otherwise 0-2 s.
                let units = if owner { 210 + self.random.next_u64() % 191 } else { self.random.next_u64() % 201 };
                let until = now + Duration::from_millis(units * 10);
                if let Some(dialog) = self.call.dialog_mut() {
                    dialog.held_until = Some(until);
                }
                self.plan(until, act.clone());
            }
            (401 | 407, _) if self.on_challenge(status, received) => self.plan(now, act.clone()),
            (500, Some(seconds @ 0..=10)) => self.plan(now + Duration::from_secs(seconds), act.clone()),
            // A later request has overtaken it (RFC 3261 §12.2.2).
            (500, None) if self.call.dialog().is_some_and(|dialog| dialog.local_cseq > received.cseq) => {}
            (500, _) if matches!(act, Act::Update(_)) => {
                self.breach("500 to UPDATE without Retry-After of 0 to 10 s (RFC 3311 §5.2)".to_owned());
            }
            (422, _) => self.on_interval_too_small(now, received, act),
            (_, _) => {}
        }
    }

    pub(crate) fn on_modified(&mut self, now: Duration, status: u16, received: &Received) {
        if status < 200 {
            return;
        }
        let ack_branch = self.branch();
        let config = self.config.clone();
        let Call::Established(up) = &mut self.call else {
            return;
        };
        let Some(Modifying { offer, .. }) = up.modifying.take() else {
            return;
        };
        if status >= 300 {
            up.dialog.media.take_back();
            self.on_change_refused(now, status, received, &Act::Reinvite(offer));
            if matches!(status, 408 | 481) {
                self.send_bye(now);
            }
            return;
        }
        let mut answer = None;
        let taken = match (&received.sdp, offer == Offer::None) {
            (Some(sdp), false) => up.dialog.media.take_answer(sdp, true),
            (Some(sdp), true) => match up.dialog.media.answer(&config, sdp) {
                Ok(written) => {
                    answer = Some(written);
                    Ok(())
                }
                Err(Flaw::NoCodec) => Err("no codec of ours".to_owned()),
                Err(Flaw::Breach(flaw)) => Err(flaw),
            },
            (None, asks) => {
                up.dialog.media.take_back();
                Err(if asks { "no offer" } else { "no answer" }.to_owned())
            }
        };
        up.dialog.retarget(received.contact.as_ref());
        let (cseq, peer) = (received.cseq, up.dialog.peer);
        let Call::Established(up) = &self.call else {
            return;
        };
        let ack = self.in_dialog(&up.dialog, &ack_branch, "ACK", cseq, &[], answer.as_deref());
        self.transactions.acknowledge(&received.branch, peer, ack);
        if let Err(flaw) = taken {
            self.breach(format!("{status} to a re-INVITE: {flaw}"));
        }
        if self.config.script.session_timer.is_some() {
            self.timer_response(now, received);
        }
        self.media_changed(now);
    }

    /// A request within our dialog: it is of it, and in order. `false` when it was refused.
    pub(crate) fn admits(&mut self, now: Duration, key: &Key, request: &Received) -> bool {
        let Some(dialog) = self.call.dialog_mut().filter(|dialog| dialog.is_of(request)) else {
            self.respond(now, key, request, 481, None);
            return false;
        };
        if request.cseq <= dialog.remote_cseq && dialog.remote_cseq != 0 {
            // Overtaken on its way.
            if let Some(offer) = &request.sdp {
                dialog.media.refuse(offer);
            }
            self.respond(now, key, request, 500, None);
            return false;
        }
        dialog.remote_cseq = request.cseq;
        true
    }

    /// The status that a new offer is refused with, if it is.
    fn collides(&mut self, now: Duration, request: &Received) -> Option<u16> {
        request.sdp.as_ref()?;
        let refused = self.config.script.refuses_offers;
        if refused.is_some() {
            self.note_refusal(request);
        }
        let mut early = None;
        let dialog = self.call.dialog_mut()?;
        if dialog.barred_until.is_some_and(|until| now < until) {
            early = dialog.barred_until.take();
        }
        let status = if dialog.media.is_ours() {
            Some(491)
        } else if dialog.media.is_free() {
            refused
        } else {
            Some(500)
        };
        if let Some(until) = early {
            self.breach(format!("{} after 491 {:?} too early (RFC 3261 §14.1)", request.method, until - now));
        }
        status
    }

    fn bar(&mut self, now: Duration) {
        if let Some(dialog) = self.call.dialog_mut()
            && !dialog.owner
        {
            dialog.barred_until = Some(now + Duration::from_millis(2_100));
        }
    }

    fn refuse_change(&mut self, now: Duration, key: &Key, request: &Received, status: u16) {
        let mut headers = Vec::new();
        if let (Some(dialog), Some(offer)) = (self.call.dialog_mut(), &request.sdp) {
            dialog.media.refuse(offer);
        }
        match status {
            491 => self.bar(now),
            500 => headers.push(("Retry-After".to_owned(), (self.random.next_u32() % 11).to_string())),
            _ => {}
        }
        self.respond_with(now, key, request, status, None, &headers);
    }

    pub(crate) fn on_reinvite(&mut self, now: Duration, key: &Key, request: &Received) {
        let config = self.config.clone();
        if !self.admits(now, key, request) {
            return;
        }
        if let Some(status) = self.timer_too_short(request) {
            self.respond_with(now, key, request, status, None, &self.min_se());
            return;
        }
        let collision = self.collides(now, request);
        let Call::Established(up) = &mut self.call else {
            // The first INVITE is not settled: 500 where it is theirs and has no final response yet (§14.2).
            let status = if matches!(self.call, Call::Ringing(_)) { 500 } else { 491 };
            return self.refuse_change(now, key, request, status);
        };
        if up.modifying.is_some() || up.ack.is_some() || up.dialog.media.is_ours() {
            return self.refuse_change(now, key, request, 491);
        }
        if let Some(status) = collision {
            return self.refuse_change(now, key, request, status);
        }
        let body = match &request.sdp {
            Some(offer) => up.dialog.media.answer(&config, offer).map(Some),
            None => Ok(up.dialog.media.offer(&config, &Offer::Direction(Direction::SendRecv))),
        };
        let body = match body {
            Ok(body) => body,
            Err(flaw) => {
                if let Flaw::Breach(sentence) = flaw {
                    self.note_flaw(request, sentence);
                }
                return self.respond(now, key, request, 488, None);
            }
        };
        up.dialog.retarget(request.contact.as_ref());
        up.ack = Some(AwaitedAck { key: key.clone(), cseq: request.cseq, brings_answer: request.sdp.is_none() });
        let headers = self.timer_answer(now, request);
        self.respond_with(now, key, request, 200, body.as_deref(), &headers);
        if request.sdp.is_some() {
            self.media_changed(now);
        }
    }

    /// An UPDATE came (RFC 3311 §5.2).
    pub(crate) fn on_update(&mut self, now: Duration, key: &Key, request: &Received) {
        let config = self.config.clone();
        if request.contact.is_none() {
            self.breach("UPDATE without Contact".to_owned());
        }
        if let Some(status) = self.timer_too_short(request) {
            self.respond_with(now, key, request, status, None, &self.min_se());
            return;
        }
        if let Some(status) = self.collides(now, request) {
            return self.refuse_change(now, key, request, status);
        }
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        let body = match request.sdp.as_ref().map(|offer| dialog.media.answer(&config, offer)) {
            None => None,
            Some(Ok(answer)) => Some(answer),
            Some(Err(flaw)) => {
                if let Flaw::Breach(sentence) = flaw {
                    self.note_flaw(request, sentence);
                }
                return self.respond(now, key, request, 488, None);
            }
        };
        dialog.retarget(request.contact.as_ref());
        let headers = self.timer_answer(now, request);
        self.respond_with(now, key, request, 200, body.as_deref(), &headers);
        if request.sdp.is_some() {
            self.media_changed(now);
        }
    }
}

/// The dialog's re-INVITE that was answered after our BYE: its ACK is owed all the same (RFC 3261 §13.2.2.4).
pub(crate) fn owes_ack(dialog: &Dialog, received: &Received) -> bool {
    received.method == Method::Invite && received.call_id == dialog.call_id && received.to_tag == dialog.remote_tag
}
