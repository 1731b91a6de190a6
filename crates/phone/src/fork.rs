//! Forks: a called phone that answers as several, as the phones behind a forking proxy do (RFC 3261 §16.7), and a caller that
//! bears with it (§13.2.2.4).
//!
//! ```text
//!   INVITE ─▶ the phone itself ── 180 tag a ───────────── 200 tag a ─▶ ACK, the call
//!          ─▶ a branch ────────── 183 tag b ─ 199
//!          ─▶ a branch ────────────────────── 200 tag c ─▶ ACK, BYE          whoever is first is the call
//! ```

use std::time::Duration;

use crate::call::{Call, Dialog, Established};
use crate::sdp::{Negotiation, Offer};
use crate::transaction::Key;
use crate::wire::Received;
use crate::{Fork, Phone, PhoneEvent, RETRY};

/// Branches of one call at most.
const MAX_BRANCHES: usize = 16;

/// What a branch does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BranchStep {
    Ring,
    EarlyMedia,
    /// 199 (RFC 6228).
    End,
    Answer,
    /// Its 200 was acknowledged, and no BYE came.
    Forgotten,
}

/// Another phone behind the same proxy.
#[derive(Debug)]
pub(crate) struct Branch {
    pub(crate) dialog: Dialog,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) early: bool,
    pub(crate) plan: Vec<(Duration, BranchStep)>,
    /// Its 200 was sent.
    pub(crate) answered: bool,
}

/// An early dialog of a caller that has gone over to another.
#[derive(Debug)]
pub(crate) struct Other {
    pub(crate) dialog: Dialog,
    pub(crate) answer: Option<Vec<u8>>,
    pub(crate) settled: bool,
}

impl Phone {
    /// The branches of an INVITE, each with its own tag, Contact and RTP address.
    pub(crate) fn begin_branches(&mut self, now: Duration, dialog: &Dialog, to: &str) {
        self.branches.clear();
        for (place, fork) in self.config.script.forks.clone().into_iter().take(MAX_BRANCHES).enumerate() {
            let Fork { rtp, ring_after, early_media_after, answer_after, ends_after } = fork;
            let local_tag = self.token();
            let mut media = Negotiation::new(self.random.next_u64() >> 32, &self.config);
            media.set_local_rtp(rtp);
            if !dialog.media.is_free() {
                media.await_our_answer();
            }
            let dialog = Dialog {
                local: format!("{to};tag={local_tag}"),
                local_tag,
                contact_user: format!("branch-{}", place + 1),
                media,
                ..dialog.clone()
            };
            let steps = [
                (ring_after, BranchStep::Ring),
                (early_media_after, BranchStep::EarlyMedia),
                (ends_after, BranchStep::End),
                (answer_after, BranchStep::Answer),
            ];
            let mut plan: Vec<_> = steps.into_iter().filter_map(|(after, step)| Some((now + after?, step))).collect();
            plan.sort_by_key(|(at, _)| *at);
            self.branches.push(Branch { dialog, answer: None, early: false, plan, answered: false });
        }
    }

    pub(crate) fn branch_timeout(&self) -> Option<Duration> {
        let ringing = matches!(self.call, Call::Ringing(_));
        let step = self.branches.iter().filter_map(|branch| branch.plan.first().map(|(at, _)| *at));
        let outstanding = self.branches.iter().filter_map(|branch| branch.dialog.reliable.outstanding.as_ref());
        let repeat = outstanding.filter(|_| ringing).map(|sent| sent.next.min(sent.until));
        step.chain(repeat).min()
    }

    /// Does what is due in the branches.
    pub(crate) fn on_branches(&mut self, now: Duration) {
        for place in (0..self.branches.len()).rev() {
            let overdue = |sent: &crate::call::Outstanding| sent.next.min(sent.until) <= now;
            let ringing = matches!(self.call, Call::Ringing(_));
            if ringing
                && self.branches.get(place).is_some_and(|b| b.dialog.reliable.outstanding.as_ref().is_some_and(overdue))
            {
                self.within_branch(place, |phone| phone.on_prack_overdue(now));
            }
            while self.branches.get(place).is_some_and(|b| b.plan.first().is_some_and(|(at, _)| *at <= now)) {
                let (_, step) = self.branches[place].plan.remove(0);
                self.on_branch_step(now, place, step);
            }
        }
    }

    fn on_branch_step(&mut self, now: Duration, place: usize, step: BranchStep) {
        let ringing = matches!(self.call, Call::Ringing(_));
        let waits = self.branches[place].dialog.reliable.outstanding.is_some();
        match (step, ringing) {
            (BranchStep::Forgotten, _) => {
                self.breach("a second 200 was acknowledged and got no BYE (RFC 3261 §13.2.2.4)".to_owned());
                self.branches.remove(place);
            }
            (BranchStep::Ring | BranchStep::EarlyMedia | BranchStep::End | BranchStep::Answer, true) if waits => {
                self.branches[place].plan.insert(0, (now + RETRY, step));
            }
            (BranchStep::Ring, true) => self.within_branch(place, |phone| phone.progress(now, 180, false, &[])),
            (BranchStep::EarlyMedia, true) => self.within_branch(place, |phone| phone.progress(now, 183, true, &[])),
            (BranchStep::End, true) => self.within_branch(place, |phone| phone.progress(now, 199, false, &[])),
            (BranchStep::Answer, true) => self.branch_wins(now, place),
            (BranchStep::Answer, false) => self.branch_answers_too(now, place),
            // The proxy has cancelled it.
            (BranchStep::Ring | BranchStep::EarlyMedia | BranchStep::End, false) => {}
        }
    }

    /// Does something as this branch.
    pub(crate) fn within_branch(&mut self, place: usize, act: impl FnOnce(&mut Phone)) {
        self.swap_branch(place);
        act(self);
        self.swap_branch(place);
    }

    fn swap_branch(&mut self, place: usize) {
        if let (Call::Ringing(ringing), Some(branch)) = (&mut self.call, self.branches.get_mut(place)) {
            std::mem::swap(&mut ringing.dialog, &mut branch.dialog);
            std::mem::swap(&mut ringing.answer, &mut branch.answer);
            std::mem::swap(&mut ringing.early, &mut branch.early);
        }
    }

    /// The branch is the first to answer: it is the call, and the phone itself a branch.
    fn branch_wins(&mut self, now: Duration, place: usize) {
        let own = match &self.call {
            Call::Ringing(ringing) => ringing.reply_at().filter(|_| self.answers()),
            Call::Idle
            | Call::Calling(_)
            | Call::Answered(_)
            | Call::Established(_)
            | Call::Ending(_)
            | Call::Ended => None,
        };
        self.swap_branch(place);
        self.branches[place].plan = own.map(|at| (at, BranchStep::Answer)).into_iter().collect();
        self.answer(now);
    }

    /// Another phone has answered: only branches that answer all the same go on.
    pub(crate) fn cancel_branches(&mut self) {
        for branch in &mut self.branches {
            branch.plan.retain(|(_, step)| *step == BranchStep::Answer);
        }
        self.branches.retain(|branch| !branch.plan.is_empty());
    }

    /// One 200 more to an INVITE that has one.
    fn branch_answers_too(&mut self, now: Duration, place: usize) {
        let config = self.config.clone();
        let Some((key, invite)) = self.forked.clone() else {
            return;
        };
        let branch = &mut self.branches[place];
        let body = match (&invite.sdp, &branch.answer) {
            (Some(_), Some(answer)) => Some(answer.clone()),
            (Some(offer), None) => branch.dialog.media.answer(&config, offer).ok(),
            (None, _) => branch.dialog.media.offer(&config, &Offer::Same),
        };
        branch.answered = true;
        let (tag, contact) = (branch.dialog.local_tag.clone(), self.contact_of(&self.branches[place].dialog));
        let bytes = self.response(&invite, 200, &tag, &contact, &[], body.as_deref());
        self.transactions.respond_more(now, &key, &tag, bytes);
    }

    /// The place of the branch that a request belongs to.
    pub(crate) fn branch_of(&self, request: &Received) -> Option<usize> {
        self.branches.iter().position(|branch| branch.dialog.is_of(request))
    }

    /// An ACK of a branch's 200.
    pub(crate) fn on_branch_ack(&mut self, now: Duration, place: usize) {
        let until = now + self.config.timers.t1 * 64;
        let branch = &mut self.branches[place];
        if branch.answered && branch.plan.is_empty() {
            branch.plan.push((until, BranchStep::Forgotten));
            let tag = branch.dialog.local_tag.clone();
            self.transactions.acknowledged_more(&tag);
        }
    }

    /// A branch's BYE: after its 200, or in its early dialog.
    pub(crate) fn on_branch_bye(&mut self, now: Duration, place: usize, key: &Key, request: &Received) {
        self.respond(now, key, request, 200, None);
        let branch = self.branches.remove(place);
        self.transactions.acknowledged_more(&branch.dialog.local_tag);
        self.event(PhoneEvent::BranchReleased);
    }

    /// The peer ends the call, and another branch has answered too: whoever got that 200 first took the branch for the call.
    pub(crate) fn goes_on_in_branch(&mut self, now: Duration) -> bool {
        let Some(place) = self.branches.iter().position(|branch| branch.answered) else {
            return false;
        };
        let hang_up_at = match &self.call {
            Call::Established(up) => up.hang_up_at,
            Call::Answered(answered) => {
                self.transactions.acknowledged(&answered.ack.key);
                self.event(PhoneEvent::Established);
                self.config.script.hang_up_after.map(|after| now + after)
            }
            // We hang up, in what has turned out to be the wrong dialog: in the right one too.
            Call::Ending(_) => Some(now),
            Call::Idle | Call::Calling(_) | Call::Ringing(_) | Call::Ended => return false,
        };
        let branch = self.branches.remove(place);
        let up = Established { dialog: branch.dialog, hang_up_at, modifying: None, ack: None };
        self.call = Call::Established(Box::new(up));
        self.event(PhoneEvent::BranchReleased);
        true
    }

    /// Nobody acknowledged a branch's 200.
    pub(crate) fn on_branch_unacknowledged(&mut self, tag: &str) {
        self.branches.retain(|branch| branch.dialog.local_tag != tag);
        self.breach("a second 200 was never acknowledged (RFC 3261 §13.2.2.4)".to_owned());
    }

    // ---- the caller -------------------------------------------------------------------------------------------

    /// A response with another To tag: goes over to that dialog, a new one where it is the first. `false` where the script
    /// allows no forks.
    pub(crate) fn change_branch(&mut self, received: &Received) -> bool {
        let takes_forks = self.config.script.takes_forks;
        let Some(pristine) = self.pristine.clone() else {
            return false;
        };
        let Call::Calling(calling) = &mut self.call else {
            return false;
        };
        if !takes_forks || calling.others.len() >= MAX_BRANCHES {
            return false;
        }
        let known = calling.others.iter().position(|other| other.dialog.remote_tag == received.to_tag);
        let next = match known {
            Some(place) => calling.others.remove(place),
            None => Other { dialog: pristine, answer: None, settled: false },
        };
        let dialog = std::mem::replace(&mut calling.dialog, next.dialog);
        let answer = std::mem::replace(&mut calling.answer, next.answer);
        let settled = std::mem::replace(&mut calling.settled, next.settled);
        calling.others.push(Other { dialog, answer, settled });
        true
    }

    /// A second 2xx with another To tag: acknowledged, and ended at once.
    pub(crate) fn on_second_answer(&mut self, now: Duration, received: &Received) {
        let Some(mut dialog) = self.pristine.clone() else {
            return;
        };
        dialog.remote.clone_from(&received.to);
        dialog.remote_tag.clone_from(&received.to_tag);
        dialog.retarget(received.contact.as_ref());
        let (ack_branch, bye_branch) = (self.branch(), self.branch());
        let ack = self.in_dialog(&dialog, &ack_branch, "ACK", dialog.invite_cseq, &[], None);
        self.transactions.send(dialog.peer, ack);
        if self.ended.contains(&received.to_tag) || self.ended.len() >= MAX_BRANCHES {
            return;
        }
        self.ended.push(received.to_tag.clone());
        // Its PRACKs had numbers of their own.
        let cseq = dialog.invite_cseq.saturating_add(100);
        let bye = self.in_dialog(&dialog, &bye_branch, "BYE", cseq, &[], None);
        self.transactions.request(now, dialog.peer, &bye_branch, rsip::Method::Bye, bye);
        self.event(PhoneEvent::BranchReleased);
    }
}
