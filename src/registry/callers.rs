//! Who has called A by an extension, on the way from the signalling loop to the registry, so that A can call back.
//!
//! ```text
//!   loop ─ note, note, note ─▶ Callers: the last of each binding ─ hand_over, a few times a second ─▶ the registry's queue
//! ```
//!
//! The loop waits for nobody here and wakes nobody for one call: what it notes goes with a wake-up that it has anyway, as one
//! order, and shares a commit there. So some hundred calls a second cost four commits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crossbeam_channel::{Sender, TrySendError};
use numbering::{LastCaller, Number, SubscriptionId};

use super::{Counters, Order};

/// Bindings whose callers may wait for the registry.
const WAITING: usize = 16_384;

/// Of some bindings: the A that was called, and by whom last.
pub(super) type Called = HashMap<SubscriptionId, (Number, LastCaller)>;

/// Gathers callers for the registry.
pub struct Callers {
    orders: Sender<Order>,
    counters: Arc<Counters>,
    waiting: Called,
}

impl Callers {
    pub(super) fn new(orders: Sender<Order>, counters: Arc<Counters>) -> Callers {
        Callers { orders, counters, waiting: Called::new() }
    }

    /// Somebody has called this A by this binding. Whoever called before is forgotten. One too many is counted, and lost.
    pub fn note(&mut self, binding: SubscriptionId, a: Number, caller: LastCaller) {
        if self.waiting.len() >= WAITING && !self.waiting.contains_key(&binding) {
            self.counters.callers_lost.fetch_add(1, Relaxed);
            return;
        }
        self.waiting.insert(binding, (a, caller));
    }

    /// Hands over what has been noted; where the registry has no room now, it waits for the next time.
    pub fn hand_over(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        match self.orders.try_send(Order::Called(std::mem::take(&mut self.waiting))) {
            Ok(()) => {}
            Err(TrySendError::Full(Order::Called(called))) => self.waiting = called,
            // The registry has ended: it has told so.
            Err(TrySendError::Disconnected(Order::Called(called))) => {
                self.counters.callers_lost.fetch_add(called.len() as u64, Relaxed);
            }
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                unreachable!("what comes back is what was sent")
            }
        }
    }
}
