//! Calls in progress, counted for the limits: in all, by trunk, by X, by party; and buckets for what may come in a second: calls,
//! texts, answers to strangers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use numbering::Number;

use crate::cdr::Cdr;
use crate::leg::CallKey;

/// Calls in progress.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pub(crate) calls: u32,
    pub(crate) by_trunk: HashMap<Arc<str>, u32>,
    pub(crate) by_number: HashMap<Number, u32>,
    /// By who calls and who is called.
    by_party: HashMap<Number, u32>,
    pub(crate) by_session: HashMap<Arc<str>, CallKey>,
}

/// A token bucket: as deep as one second of its rate.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    filled: Duration,
}

impl Live {
    pub(crate) fn add(&mut self, cdr: &Cdr, key: CallKey) {
        self.calls += 1;
        self.by_session.insert(Arc::clone(&cdr.session_id), key);
        for trunk in trunks(cdr) {
            *self.by_trunk.entry(Arc::clone(trunk)).or_insert(0) += 1;
        }
        // Refused calls do not make X busy.
        if let (Some(x), Some(_)) = (cdr.x, &cdr.trunk_out) {
            *self.by_number.entry(x).or_insert(0) += 1;
            for party in [cdr.caller, cdr.callee].into_iter().flatten() {
                *self.by_party.entry(party).or_insert(0) += 1;
            }
        }
    }

    pub(crate) fn remove(&mut self, cdr: &Cdr) {
        self.calls -= 1;
        self.by_session.remove(&cdr.session_id);
        for trunk in trunks(cdr) {
            take_one(&mut self.by_trunk, trunk);
        }
        // Refused calls do not make X busy.
        if let (Some(x), Some(_)) = (cdr.x, &cdr.trunk_out) {
            take_one(&mut self.by_number, &x);
            for party in [cdr.caller, cdr.callee].into_iter().flatten() {
                take_one(&mut self.by_party, &party);
            }
        }
    }

    /// Whether somebody is in a call, or is being called.
    pub(crate) fn is_engaged(&self, party: Number) -> bool {
        self.by_party.contains_key(&party)
    }

    pub(crate) fn has_nobody(&self) -> bool {
        self.calls == 0 && self.by_trunk.is_empty() && self.by_number.is_empty() && self.by_party.is_empty()
    }

    pub(crate) fn of_trunk(&self, name: &Arc<str>) -> u32 {
        self.by_trunk.get(name).copied().unwrap_or(0)
    }
}

/// The trunks that a call occupies; once where both legs use the same.
fn trunks(cdr: &Cdr) -> impl Iterator<Item = &Arc<str>> {
    let out = cdr.trunk_out.as_ref().filter(|out| **out != cdr.trunk_in);
    std::iter::once(&cdr.trunk_in).chain(out)
}

fn take_one<K: std::hash::Hash + Eq + Clone>(counts: &mut HashMap<K, u32>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Bucket {
    /// Full, as of `now`.
    pub(crate) fn full(now: Duration, rate: f64) -> Bucket {
        Bucket { tokens: rate, filled: now }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&mut self, now: Duration, rate: f64) -> bool {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.filled = now;
        self.tokens = (self.tokens + since * rate).min(rate.max(1.0));
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }
}
