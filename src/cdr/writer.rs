//! The thread that writes records: lines at once, the store a few times a second, and the broom behind both.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, after};

use super::ledger::{Entry, Ledger, SWEEP};
use super::lines::Lines;
use super::record::Record;
use super::{Counters, Kept, Order, QUEUE};
use crate::clock::{Clock, millis};
use crate::notify::Outbox;
use crate::spool::{Leftover, Mark};

/// How long a record may wait for others.
const LINGER: Duration = Duration::from_millis(20);

/// What replaces a record that is not whole comes within moments; one that has not come for so long was lost.
const KEPT: Duration = Duration::from_secs(60);

/// The store is written so often at most: each time waits for the disk.
const PACE: Duration = Duration::from_millis(200);

/// A store that has refused is asked again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// Records that are written into the store at a time.
const BATCH: usize = 4096;

/// How often old records are looked for, and how soon again where there were many.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// How much of the file of lines is read after a crash: more than the spool can hold.
const TAIL: u64 = 64 << 20;

pub(super) struct Writer {
    lines: Lines,
    ledger: Ledger,
    mark: Mark,
    clock: Clock,
    recordings: Kept,
    keep: Duration,
    outbox: Option<Outbox>,
    counters: Arc<Counters>,
    /// What the store does not have yet.
    waiting: VecDeque<Entry>,
    /// Sessions whose record in the spool is not whole, with its number: what replaces it is not here yet.
    kept: HashMap<Arc<str>, (u64, Duration)>,
    commit_at: Duration,
    sweep_at: Duration,
    /// The store refuses; that has been said.
    is_refused: bool,
    /// Records were lost for the store; that has been said.
    is_losing: bool,
}

impl Writer {
    pub(super) fn new(
        lines: Lines,
        ledger: Ledger,
        mark: Mark,
        clock: Clock,
        recordings: Kept,
        keep: Duration,
        counters: Arc<Counters>,
    ) -> Writer {
        let now = clock.now();
        Writer {
            lines,
            ledger,
            mark,
            clock,
            recordings,
            keep,
            outbox: None,
            counters,
            waiting: VecDeque::new(),
            kept: HashMap::new(),
            commit_at: now,
            sweep_at: now,
            is_refused: false,
            is_losing: false,
        }
    }

    /// Apps are told by it of what the store has from now on.
    pub(super) fn tell(&mut self, outbox: Option<Outbox>) {
        self.outbox = outbox;
    }

    /// Brings what the last process could not: lines that are missing, and everything into the store.
    pub(super) fn replay(&mut self, leftover: Leftover) {
        let Leftover { records, torn, last } = leftover;
        if torn > 0 {
            tracing::warn!(torn, "the power took CDRs that were being spooled");
        }
        let told = match (records.is_empty(), self.lines.told(TAIL)) {
            (true, _) => Default::default(),
            (false, Ok(told)) => told,
            (false, Err(error)) => {
                tracing::warn!(%error, "the file of CDRs cannot be read: some may come into it twice");
                Default::default()
            }
        };
        let mut entries = Vec::with_capacity(records.len());
        // Of two of one session the later is whole, so they are looked at from the last on.
        let mut seen = HashSet::new();
        for (number, bytes) in records.into_iter().rev() {
            let record: Record<'_> = match serde_json::from_slice(&bytes) {
                Ok(record) => record,
                Err(error) => {
                    self.counters.lost.fetch_add(1, Relaxed);
                    // Where, not what: it holds numbers.
                    tracing::error!(number, kind = ?error.classify(), "CDR lost: the spool's record cannot be read");
                    continue;
                }
            };
            let entry = Entry::of(record, Some(number), &self.recordings, self.outbox.as_ref());
            if seen.insert(entry.session_id().to_owned()) {
                entries.push(entry);
            }
        }
        let mut lines = Vec::new();
        let mut count = 0;
        for entry in entries.into_iter().rev() {
            // A store that cannot be asked does not have it: the line may stand there twice, but it stands there.
            if !self.ledger.has(entry.session_id()).unwrap_or(false) && !told.contains(entry.session_id()) {
                push(&mut lines, &entry);
                count += 1;
            }
            self.waiting.push_back(entry);
        }
        self.write(&mut lines, count);
        self.counters.replayed.fetch_add(self.waiting.len() as u64, Relaxed);
        match self.waiting.back_mut() {
            Some(entry) => entry.number = Some(last),
            None => self.mark.set(last),
        }
        self.commit();
    }

    pub(super) fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            match inbox.recv_timeout(self.due().saturating_sub(self.clock.now())) {
                Ok(order) => {
                    self.obey(std::iter::once(order));
                    // Waking this thread is dearer than writing a line: what comes within a moment is written together.
                    let _ = after(LINGER).recv();
                    self.obey(inbox.try_iter());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.on_time(self.clock.now());
        }
        while !self.waiting.is_empty() && self.commit() {}
        if !self.waiting.is_empty() {
            tracing::error!(
                count = self.waiting.len(),
                "the store lacks CDRs: those that are spooled come with the next start"
            );
        }
    }

    /// When [`Writer::on_time`] has something to do.
    fn due(&self) -> Duration {
        if self.waiting.is_empty() { self.sweep_at } else { self.sweep_at.min(self.commit_at) }
    }

    fn on_time(&mut self, now: Duration) {
        if now >= self.commit_at && !self.waiting.is_empty() {
            self.commit();
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
    }

    fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        let mut lines = Vec::new();
        let mut count = 0;
        for order in orders {
            match order {
                Order::Keep(session, number) => {
                    self.kept.insert(session, (number, self.clock.now()));
                }
                Order::Write(cdr, number) => {
                    self.kept.remove(&cdr.session_id);
                    let record = Record::of(&cdr, &self.clock);
                    let entry = Entry::of(record, number, &self.recordings, self.outbox.as_ref());
                    push(&mut lines, &entry);
                    count += 1;
                    self.wait(entry);
                }
                Order::Reopen => {
                    self.write(&mut lines, std::mem::take(&mut count));
                    if let Err(error) = self.lines.reopen() {
                        let path = self.lines.path().display();
                        tracing::error!(%path, %error, "CDR file cannot be reopened; the old one stays open");
                    }
                }
            }
        }
        self.write(&mut lines, count);
    }

    fn write(&mut self, lines: &mut Vec<u8>, count: u64) {
        if count == 0 {
            return;
        }
        match self.lines.write(lines) {
            Ok(()) => {
                self.counters.written.fetch_add(count, Relaxed);
            }
            Err(error) => {
                self.counters.lost.fetch_add(count, Relaxed);
                tracing::error!(count, %error, "CDRs lost: the file cannot be written");
            }
        }
    }

    /// Lets a record wait for the store. When as many wait as may, the newest is lost: the oldest are those that are spooled.
    fn wait(&mut self, entry: Entry) {
        if self.waiting.len() < QUEUE {
            self.waiting.push_back(entry);
            return;
        }
        self.counters.lost.fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.is_losing, true) {
            tracing::error!(waiting = QUEUE, "CDRs lost: the store takes none, and no more may wait for it");
        }
    }

    /// Writes what waits into the store, or a good part of it; whether it was taken.
    fn commit(&mut self) -> bool {
        let count = self.waiting.len().min(BATCH);
        let written = self.ledger.insert(self.waiting.iter().take(count));
        let now = self.clock.now();
        match written {
            Ok(()) => {
                // While they still have their place in the spool: should we die here, they are told after the next start.
                if let Some(outbox) = &self.outbox {
                    self.waiting
                        .iter()
                        .take(count)
                        .filter_map(|entry| entry.fee.as_ref())
                        .for_each(|fee| outbox.post_fee(fee));
                }
                if let Some(number) = self.waiting.drain(..count).filter_map(|entry| entry.number).next_back() {
                    // What is not whole stays in the spool until what is has come.
                    self.kept.retain(|_, (_, since)| now.saturating_sub(*since) < KEPT);
                    let kept = self.kept.values().map(|(number, _)| *number).min().map_or(u64::MAX, |first| first - 1);
                    self.mark.set(number.min(kept));
                }
                self.counters.stored.fetch_add(count as u64, Relaxed);
                self.is_losing = false;
                if std::mem::take(&mut self.is_refused) {
                    tracing::warn!("the store takes CDRs again");
                }
                // Where more waits than goes at a time it need not wait longer.
                self.commit_at = if self.waiting.is_empty() { now.saturating_add(PACE) } else { now };
                true
            }
            Err(error) => {
                self.commit_at = now.saturating_add(RETRY);
                if !std::mem::replace(&mut self.is_refused, true) {
                    tracing::error!(%error, waiting = self.waiting.len(), "the store takes no CDRs: they wait");
                }
                false
            }
        }
    }

    /// Deletes some of the records whose time has come.
    fn sweep(&mut self, now: Duration) {
        let unix = self.clock.unix(now).saturating_sub(self.keep);
        let swept = self.ledger.sweep(millis(unix));
        let pause = match swept {
            Ok(SWEEP..) => PACE,
            Ok(_) => SWEEP_EVERY,
            Err(error) => {
                tracing::warn!(%error, "old CDRs cannot be deleted from the store");
                SWEEP_EVERY
            }
        };
        self.sweep_at = now.saturating_add(pause);
    }
}

fn push(lines: &mut Vec<u8>, entry: &Entry) {
    lines.extend_from_slice(entry.json().as_bytes());
    lines.push(b'\n');
}
