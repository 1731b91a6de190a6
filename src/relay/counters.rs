//! What a worker counts. It alone writes (a load and a store, no locked instruction); the metrics read whenever they like.

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it; from the thread that owns it.
    pub(super) fn add(&self, count: u64) {
        // Two writers would lose counts here: each counter belongs to one thread.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Sets it, where it is a gauge; from the thread that owns it.
    pub(super) fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Its value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Counters of one worker; all but `waited` are written by its thread.
#[derive(Debug, Default)]
pub struct Counters {
    /// RTP packets read for a call.
    pub received: Counter,
    /// RTP packets passed on to the other party.
    pub forwarded: Counter,
    /// Packets of our own: prompts and RTCP reports.
    pub originated: Counter,
    /// RTCP packets read for a call.
    pub control: Counter,
    /// Packets that came to a port without a call.
    pub stray: Counter,
    /// Packets of a call that were not passed on: refused by the session, or nobody was to hear them.
    pub swallowed: Counter,
    /// Packets that the kernel had no room for.
    pub send_full: Counter,
    /// Packets that the kernel refused to send.
    pub send_failed: Counter,
    /// Wake-ups.
    pub turns: Counter,
    /// Sessions alive.
    pub sessions: Counter,
    /// Sessions that a fault of ours ended.
    pub faults: Counter,
    /// Times that events had to wait in their session for the signalling thread.
    pub stalled: Counter,
    /// Times that the signalling thread had to wait for this worker; written by that thread.
    pub waited: Counter,
}

/// The sum of all workers' counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "each field is the sum of the counter of the same name")]
pub struct Totals {
    pub received: u64,
    pub forwarded: u64,
    pub originated: u64,
    pub control: u64,
    pub stray: u64,
    pub swallowed: u64,
    pub send_full: u64,
    pub send_failed: u64,
    pub turns: u64,
    pub sessions: u64,
    pub faults: u64,
    pub stalled: u64,
    pub waited: u64,
}

impl Totals {
    /// Sums up.
    pub fn of<'a>(workers: impl IntoIterator<Item = &'a Counters>) -> Totals {
        workers.into_iter().fold(Totals::default(), |sum, worker| Totals {
            received: sum.received + worker.received.get(),
            forwarded: sum.forwarded + worker.forwarded.get(),
            originated: sum.originated + worker.originated.get(),
            control: sum.control + worker.control.get(),
            stray: sum.stray + worker.stray.get(),
            swallowed: sum.swallowed + worker.swallowed.get(),
            send_full: sum.send_full + worker.send_full.get(),
            send_failed: sum.send_failed + worker.send_failed.get(),
            turns: sum.turns + worker.turns.get(),
            sessions: sum.sessions + worker.sessions.get(),
            faults: sum.faults + worker.faults.get(),
            stalled: sum.stalled + worker.stalled.get(),
            waited: sum.waited + worker.waited.get(),
        })
    }
}
