//! Which new calls are served, and when: they wait in lanes by trunk while what belongs to a call goes first, and what is too
//! much is refused before it costs anything.

use std::sync::Arc;
use std::time::Duration;

use sip::message::{Message, Method};
use sip::transaction::Flow;

use super::{Core, tag_of};
use crate::leg::{self, trunk_of};
use crate::live::Bucket;
use crate::observe::Drop;
use crate::overload::Turn;
use crate::settings::{Trunk, TrunkId};

/// New calls that are refused while one may be served: a refusal costs a tenth of a call, or less.
const REFUSALS_A_CALL: usize = 16;

/// An INVITE outside any dialog that waits for its turn.
#[derive(Debug)]
pub(super) struct NewCall {
    flow: Flow,
    invite: Message,
    /// [`Core::mark_of`] it.
    mark: u64,
}

impl NewCall {
    /// Whether a CANCEL from there means it (RFC 3261 §9.1).
    fn is_meant_by(&self, cancel: &Message, flow: Flow) -> bool {
        self.flow.peer.ip() == flow.peer.ip()
            && self.invite.call_id() == cancel.call_id()
            && self.invite.cseq().number == cancel.cseq().number
            && self.invite.top_via().branch == cancel.top_via().branch
    }
}

impl Core {
    /// Handles a request unless it is a new call, which is given back.
    pub(super) fn sort(&mut self, now: Duration, trunk: TrunkId, flow: Flow, request: Message) -> Option<NewCall> {
        let is_new = request.to_tag().is_empty();
        if request.method() == Method::Invite && is_new && !self.layer.knows_invite(&request) {
            let new = NewCall { mark: self.mark_of(&request), flow, invite: request };
            if !self.refused.knows(now, new.mark) {
                return Some(new);
            }
            self.refuse(now, Drop::Overload, &new);
            return None;
        }
        if request.method() == Method::Cancel && !self.layer.knows_invite(&request) {
            // Nobody may cancel what has not been answered yet (§9.1). For one who does the call begins, to be ended at once.
            let meant = self.waiting.take(trunk, |waiting| waiting.is_meant_by(&request, flow));
            if let Some(waiting) = meant {
                self.admit(now, waiting);
            }
        }
        self.on_message(now, trunk, flow, request);
        None
    }

    /// New calls wait: [`Core::handle_waiting`] wants to be called once what has been received is taken in.
    #[must_use]
    pub fn has_waiting(&self) -> bool {
        self.waiting.len() > 0
    }

    /// Gives at most so many new calls their turn, and refuses those that have waited too long: those that it meets, and not so
    /// many that it takes much longer.
    pub fn handle_waiting(&mut self, now: Duration, most: usize) {
        let (mut served, mut refused) = (0, 0);
        while served < most && refused < most.saturating_mul(REFUSALS_A_CALL) {
            match self.waiting.next(now) {
                None => return,
                Some(Turn::Serve(waiting)) => {
                    served += 1;
                    self.admit(now, waiting);
                }
                Some(Turn::Refuse(waiting)) => {
                    refused += 1;
                    self.refuse(now, Drop::Overload, &waiting);
                }
            }
        }
    }

    fn admit(&mut self, now: Duration, new: NewCall) {
        // A reload may have taken its trunk while it waited.
        let Some(trunk) = trunk_of(now, &self.settings, &self.routes, new.flow.peer.ip()) else {
            self.counters.drop(Drop::Stranger);
            return;
        };
        if self.refused.knows(now, new.mark) {
            self.refuse(now, Drop::Overload, &new);
            return;
        }
        let settings = Arc::clone(&self.settings);
        let known = settings.trunk(trunk);
        // A refusal that needs no proof of who calls needs no transaction either.
        if known.challenge.is_none()
            && known.may_call_from(new.flow.peer.ip())
            && let Some(drop) = self.overload(now, known)
        {
            self.refuse(now, drop, &new);
            return;
        }
        self.on_message(now, trunk, new.flow, new.invite);
    }

    /// Refuses a new call without a transaction; every repeat of it gets the same response.
    pub(super) fn refuse(&mut self, now: Duration, drop: Drop, new: &NewCall) {
        self.counters.drop(drop);
        self.refused.remember(now, new.mark);
        let after = self.retry_after(new.mark);
        let headers: [(&str, &[u8]); 1] = [("Retry-After", after.as_bytes())];
        let bytes = leg::bodiless(&self.settings, &new.invite, new.flow, &tag_of(new.mark), 503, &headers);
        self.layer.reply(new.flow, &new.invite, bytes);
    }

    /// Whether a new call must be turned away at once, before it costs anything.
    pub(super) fn overload(&mut self, now: Duration, trunk: &Trunk) -> Option<Drop> {
        if self.draining {
            return Some(Drop::Draining);
        }
        // Calls that have ended but still wait for an ACK or the response to a BYE count half.
        let limit = self.settings.limits.calls;
        if self.live.calls >= limit || self.calls.len() >= 2 * limit as usize {
            return Some(Drop::Calls);
        }
        if self.live.of_trunk(&trunk.name) >= trunk.max_calls {
            return Some(Drop::TrunkCalls);
        }
        let rate = f64::from(trunk.calls_per_second);
        let bucket = self.rates.entry(Arc::clone(&trunk.name)).or_insert_with(|| Bucket::full(now, rate));
        (!bucket.take(now, rate)).then_some(Drop::TrunkRate)
    }

    /// Between the configured seconds and twice as many, so that callers do not come back together; the same for every copy of
    /// a request.
    pub(super) fn retry_after(&self, mark: u64) -> String {
        let base = u64::from(self.settings.limits.retry_after.max(1));
        (base + mark % (base + 1)).to_string()
    }
}
