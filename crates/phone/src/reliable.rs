//! Reliable provisional responses (RFC 3262), from both sides, and the offers and answers in them (§5).
//!
//! ```text
//!   called   180|183 (Require: 100rel, RSeq) ─ again after T1, 2·T1, … 64·T1: 504 ─▶ PRACK ─▶ 200 to it, next step
//!   calling  18x in order ─▶ PRACK (RAck) ─▶ its 200        an offer in the 18x is answered in the PRACK
//! ```

use std::time::Duration;

use crate::call::{Call, Carried, Outstanding, What};
use crate::sdp::{Flaw, Offer};
use crate::transaction::Key;
use crate::wire::Received;
use crate::{Failure, Phone, PhoneEvent, Reliability};

/// The option tag.
pub(crate) const OPTION: &str = "100rel";

/// Largest RSeq (§7.1).
const MAX_RSEQ: u32 = 0x7fff_ffff;

/// What a provisional response is to the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Grade {
    Unreliable,
    /// Wants a PRACK with this RSeq.
    Reliable(u32),
    /// Reliable, and seen before or out of order: not looked at (§4).
    Passed,
}

impl Phone {
    /// Whether a called phone sends its provisional responses reliably; `Err` with the status where it refuses the INVITE.
    pub(crate) fn reliability_of(&self, invite: &Received) -> Result<bool, u16> {
        let (supported, required) = (invite.lists("Supported", OPTION), invite.lists("Require", OPTION));
        match self.config.script.reliability {
            Reliability::Absent if required => Err(420),
            Reliability::Absent => Ok(false),
            Reliability::Supported => Ok(required),
            Reliability::Preferred => Ok(required || supported),
            Reliability::Required if required || supported => Ok(true),
            Reliability::Required => Err(421),
        }
    }

    /// Sends a provisional response, reliably where that was settled; `sdp` wants the answer in it.
    pub(crate) fn progress(&mut self, now: Duration, status: u16, sdp: bool, headers: &[(String, String)]) {
        let Call::Ringing(ringing) = &self.call else {
            return;
        };
        let (key, invite) = (ringing.key.clone(), ringing.invite.clone());
        let (reliably, free, late) = (ringing.reliably, ringing.dialog.media.is_free(), invite.sdp.is_none());
        let first = ringing.dialog.reliable.rseq.is_none();
        let mut body = None;
        let mut carried = Carried::Nothing;
        if reliably && late && first {
            // §5: the first reliable response to an INVITE without an offer makes one.
            body = self.offer_of_ours();
            carried = Carried::Offer;
        } else if sdp && !late && !(reliably && free) {
            match self.early_answer(now) {
                Some(answer) => body = answer,
                None => return,
            }
            carried = Carried::Answer;
        }
        let mut headers = headers.to_vec();
        if reliably {
            let first_rseq = 1 + self.random.next_u32() % 100_000;
            let Call::Ringing(ringing) = &mut self.call else {
                return;
            };
            let t1 = self.config.timers.t1;
            let rseq = ringing.dialog.reliable.rseq.map_or(first_rseq, |last| last + 1);
            ringing.dialog.reliable.rseq = Some(rseq);
            let (next, until) = (now + t1, now + t1 * 64);
            ringing.dialog.reliable.outstanding =
                Some(Outstanding { sdp: carried, bytes: Vec::new(), next, interval: t1, until });
            headers.push(("Require".to_owned(), OPTION.to_owned()));
            headers.push(("RSeq".to_owned(), rseq.to_string()));
            if carried == Carried::Answer {
                ringing.dialog.media.settle();
            }
        }
        let bytes = self.respond_with(now, &key, &invite, status, body.as_deref(), &headers);
        if let Call::Ringing(ringing) = &mut self.call
            && let Some(outstanding) = &mut ringing.dialog.reliable.outstanding
        {
            outstanding.bytes = bytes;
        }
        if sdp && !late {
            self.media_settled(now, Some(self.config.early_sound.clone()));
        }
        self.schedule_early(now);
    }

    fn offer_of_ours(&mut self) -> Option<Vec<u8>> {
        let config = self.config.clone();
        self.call.dialog_mut().and_then(|dialog| dialog.media.offer(&config, &Offer::Same))
    }

    /// Time to repeat a reliable provisional response, or to give up.
    pub(crate) fn on_prack_overdue(&mut self, now: Duration) {
        let Call::Ringing(ringing) = &mut self.call else {
            return;
        };
        let Some(outstanding) = &mut ringing.dialog.reliable.outstanding else {
            return;
        };
        let key = ringing.key.clone();
        if now < outstanding.until {
            outstanding.interval *= 2;
            outstanding.next = now + outstanding.interval;
            let bytes = outstanding.bytes.clone();
            self.transactions.repeat(&key, bytes);
            return;
        }
        let invite = ringing.invite.clone();
        self.respond(now, &key, &invite, 504, None);
        self.end(now);
        self.event(PhoneEvent::Failed(Failure::NoPrack));
    }

    /// A PRACK came.
    pub(crate) fn on_prack(&mut self, now: Duration, key: &Key, request: &Received) {
        let config = self.config.clone();
        let Some(rack) = rack_of(request) else {
            self.breach(format!("PRACK: RAck {:?}", request.value("RAck")));
            return self.respond(now, key, request, 400, None);
        };
        let Some(dialog) = self.call.dialog_mut() else {
            return self.respond(now, key, request, 481, None);
        };
        let (rseq, cseq, of_invite) = rack;
        let expected = (dialog.reliable.rseq, dialog.invite_cseq, true);
        if (Some(rseq), cseq, of_invite) != expected {
            // An earlier one may come late; one that never was is invented.
            let invented = dialog.reliable.rseq.is_none_or(|last| rseq > last) || cseq != expected.1 || !of_invite;
            if invented {
                self.breach(format!("PRACK for {rack:?}, sent was {expected:?}"));
            }
            return self.respond(now, key, request, 481, None);
        }
        let Some(outstanding) = dialog.reliable.outstanding.take() else {
            self.breach(format!("a second PRACK for {rseq}"));
            return self.respond(now, key, request, 481, None);
        };
        let mut body = None;
        match (&request.sdp, outstanding.sdp) {
            (Some(answer), Carried::Offer) => {
                if let Err(flaw) = dialog.media.take_answer(answer, true) {
                    self.breach(format!("PRACK: {flaw}"));
                }
            }
            (None, Carried::Offer) => self.breach("PRACK without the answer to our offer".to_owned()),
            (None, Carried::Nothing | Carried::Answer) => {}
            (Some(offer), Carried::Nothing | Carried::Answer) if dialog.media.is_free() => {
                match dialog.media.answer(&config, offer) {
                    Ok(answer) => body = Some(answer),
                    Err(Flaw::NoCodec) => {}
                    Err(Flaw::Breach(flaw)) => self.breach(format!("PRACK: {flaw}")),
                }
            }
            (Some(_), Carried::Nothing | Carried::Answer) => {
                self.breach("PRACK with an offer before the one in the INVITE was answered".to_owned());
            }
        }
        self.respond(now, key, request, 200, body.as_deref());
        if request.sdp.is_some() {
            self.media_changed(now);
        }
        self.event(PhoneEvent::Pracked);
        // What waited for this is due.
        self.handle_timeout(now);
    }

    /// What a provisional response above 100 is to the caller, and whether it may be so.
    pub(crate) fn grade(&mut self, status: u16, received: &Received) -> Grade {
        let reliability = self.config.script.reliability;
        let required = received.lists("Require", OPTION);
        let rseq = received.value("RSeq").map(str::to_owned);
        if status == 100 {
            if required || rseq.is_some() {
                self.breach("100 that wants a PRACK".to_owned());
            }
            return Grade::Unreliable;
        }
        let rseq = match (required, rseq) {
            (false, None) => {
                if reliability == Reliability::Required {
                    self.breach(format!("unreliable {status} to an INVITE that requires 100rel"));
                }
                return Grade::Unreliable;
            }
            (true, Some(rseq)) => rseq,
            (required, rseq) => {
                self.breach(format!("{status} with Require: 100rel: {required}, RSeq: {rseq:?}"));
                return Grade::Unreliable;
            }
        };
        if reliability == Reliability::Absent {
            self.breach(format!("reliable {status} to an INVITE that does not support 100rel"));
            return Grade::Unreliable;
        }
        let Ok(rseq @ 1..=MAX_RSEQ) = rseq.parse() else {
            self.breach(format!("{status} with RSeq {rseq}"));
            return Grade::Unreliable;
        };
        let Some(dialog) = self.call.dialog_mut() else {
            return Grade::Passed;
        };
        match dialog.reliable.rseq {
            Some(last) if rseq != last + 1 => Grade::Passed,
            Some(_) | None => {
                dialog.reliable.rseq = Some(rseq);
                Grade::Reliable(rseq)
            }
        }
    }

    /// Acknowledges a reliable provisional response, with the answer to the offer in it.
    pub(crate) fn send_prack(&mut self, now: Duration, rseq: u32, mut body: Option<Vec<u8>>) {
        let config = self.config.clone();
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        let mut offers = false;
        if let (None, Some(offer), true) = (&body, &config.script.prack_offer, !dialog.reliable.offered)
            && dialog.media.is_free()
            && dialog.media.remote_body().is_some()
        {
            body = dialog.media.offer(&config, offer);
            offers = body.is_some();
            dialog.reliable.offered = true;
        }
        let rack = format!("{rseq} {} INVITE", dialog.invite_cseq);
        self.request(now, "PRACK", &[("RAck".to_owned(), rack)], body.as_deref(), What::Prack { offers });
    }

    /// Our PRACK has its final response.
    pub(crate) fn on_prack_answered(&mut self, now: Duration, status: u16, received: &Received, offers: bool) {
        if status >= 300 {
            // A final refusal may be on its way.
            let forks = self.config.script.takes_forks;
            match (&mut self.call, status) {
                // The branch may have been cancelled since.
                (_, 481) if forks => {}
                (Call::Calling(calling), 481) => calling.dialog.reliable.denied = true,
                // A later request has overtaken it (RFC 3261 §12.2.2).
                (Call::Calling(calling), 500) if calling.dialog.local_cseq > received.cseq => {}
                (Call::Established(up), 500) if up.dialog.local_cseq > received.cseq => {}
                (Call::Calling(_) | Call::Established(_), _) => self.breach(format!("{status} to PRACK")),
                (Call::Idle | Call::Ringing(_) | Call::Answered(_) | Call::Ending(_) | Call::Ended, _) => {}
            }
            return;
        }
        self.event(PhoneEvent::Pracked);
        let Some(dialog) = self.call.dialog_mut() else {
            return;
        };
        match (&received.sdp, offers) {
            (Some(answer), true) => {
                if let Err(flaw) = dialog.media.take_answer(answer, true) {
                    self.breach(format!("{status} to PRACK: {flaw}"));
                }
                self.media_changed(now);
            }
            (None, true) => {
                dialog.media.take_back();
                self.breach(format!("{status} to PRACK without answer"));
            }
            (Some(_), false) => self.breach(format!("{status} to PRACK with SDP that nobody asked for")),
            (None, false) => {}
        }
    }
}

/// RSeq, CSeq number, and whether it is of an INVITE.
fn rack_of(request: &Received) -> Option<(u32, u32, bool)> {
    let mut parts = request.value("RAck")?.split_ascii_whitespace();
    let numbers = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    let method = parts.next()?;
    parts.next().is_none().then_some((numbers.0, numbers.1, method == "INVITE"))
}
