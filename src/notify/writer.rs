//! The thread that writes `outbox.db`: a few commits a second, and the broom behind.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, after};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::log::Cursor;
use super::queue::{Outcome, Shared};
use super::rows::Rows;
use super::{Channel, Counters, Lane, Notice, Order, QUEUE};
use crate::clock::Clock;
use crate::spool::{Leftover, Mark};
use crate::store::StoreError;

/// How long the first thing that comes waits for others.
const LINGER: Duration = Duration::from_millis(5);

/// The table is written so often at most: each time waits for the disk.
const PACE: Duration = Duration::from_millis(50);

/// A disk that has refused is asked again so much later.
const RETRY: Duration = Duration::from_secs(1);

/// Notices that are put in at a time.
const BATCH: usize = 4096;

/// How often old rows are looked for, and how soon again where there were many.
const SWEEP_EVERY: Duration = Duration::from_secs(30);

/// Replays that may wait, each of much.
const REPLAYS: usize = 64;

/// What stands before the body in the spool, on a line of its own.
#[derive(Serialize, Deserialize)]
struct Head<'a> {
    // What has an escape in it cannot be borrowed when it is read.
    id: Cow<'a, str>,
    app: Cow<'a, str>,
    channel: usize,
    session: Cow<'a, str>,
    created: u64,
}

/// A notice as it lies in the spool.
pub(super) fn frame(notice: &Notice, room: &mut &mut [u8]) -> io::Result<()> {
    let Notice { id, app, channel, session, created, body } = notice;
    let [id, app, session] = [&**id, &**app, &**session].map(Cow::Borrowed);
    serde_json::to_writer(&mut *room, &Head { id, app, channel: channel.index(), session, created: *created })?;
    room.write_all(b"\n")?;
    room.write_all(body.as_bytes())
}

/// Back from [`frame`].
pub(super) fn unframe(bytes: &[u8]) -> Option<Notice> {
    let (head, body) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
    let Head { id, app, channel, session, created } = serde_json::from_str(head).ok()?;
    let channel = *Channel::ALL.get(channel)?;
    let (id, session) = (id.into_owned(), session.into_owned());
    Some(Notice { id, app: app.into(), channel, session, created, body: body.into() })
}

/// Something that was told is to be told once more, all of it since then.
struct Replay {
    now: u64,
    app: Arc<str>,
    channel: Channel,
    since: u64,
    after: Cursor,
    count: u64,
    answer: oneshot::Sender<u64>,
}

pub(super) struct Writer {
    rows: Rows,
    shared: Arc<Shared>,
    marks: [Mark; 2],
    clock: Clock,
    counters: Arc<Counters>,
    /// What the table does not have yet.
    waiting: VecDeque<(Notice, Lane, Option<u64>)>,
    outcomes: Vec<(u64, Outcome)>,
    replays: VecDeque<Replay>,
    commit_at: Duration,
    sweep_at: Duration,
    /// The disk refuses; that has been said.
    is_refused: bool,
    /// Notices were lost; that has been said.
    is_losing: bool,
}

impl Writer {
    pub(super) fn new(rows: Rows, marks: [Mark; 2], clock: Clock, counters: Arc<Counters>) -> Writer {
        let now = clock.now();
        Writer {
            shared: rows.shared(),
            rows,
            marks,
            clock,
            counters,
            waiting: VecDeque::new(),
            outcomes: Vec::new(),
            replays: VecDeque::new(),
            commit_at: now,
            sweep_at: now,
            is_refused: false,
            is_losing: false,
        }
    }

    /// Brings what the last process could not into the table.
    pub(super) fn restore(&mut self, leftovers: [Leftover; 2]) {
        for (lane, Leftover { records, torn, last }) in [Lane::Calls, Lane::Others].into_iter().zip(leftovers) {
            if torn > 0 {
                tracing::warn!(torn, "the power took notices that were being spooled");
            }
            let before = self.waiting.len();
            for (number, bytes) in records {
                match unframe(&bytes) {
                    Some(notice) => self.waiting.push_back((notice, lane, Some(number))),
                    // Where, not what: it holds numbers.
                    None => tracing::error!(number, "notice lost: the spool's record cannot be read"),
                }
            }
            self.counters.restored.fetch_add((self.waiting.len() - before) as u64, Relaxed);
            match self.waiting.back_mut().filter(|(_, of, _)| *of as usize == lane as usize) {
                Some((_, _, number)) => *number = Some(last),
                None => self.marks[lane as usize].set(last),
            }
        }
        while self.has_work() && self.commit() {}
    }

    pub(super) fn run(mut self, inbox: &Receiver<Order>) {
        loop {
            match inbox.recv_timeout(self.due().saturating_sub(self.clock.now())) {
                Ok(order) => {
                    self.obey(std::iter::once(order));
                    // Waking this thread is dearer than writing a row: what comes until the next commit is written together.
                    let pause = self.commit_at.saturating_sub(self.clock.now()).max(LINGER);
                    let _ = after(pause).recv();
                    self.obey(inbox.try_iter().take(QUEUE));
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.on_time(self.clock.now());
        }
        self.outcomes.extend(self.shared.take_outcomes());
        while self.has_work() && self.commit() {}
        if !self.waiting.is_empty() {
            tracing::error!(
                count = self.waiting.len(),
                "the outbox lacks notices: those that are spooled come with the next start"
            );
        }
    }

    fn has_work(&self) -> bool {
        !self.waiting.is_empty() || !self.outcomes.is_empty()
    }

    /// When [`Writer::on_time`] has something to do.
    fn due(&self) -> Duration {
        if self.has_work() || !self.replays.is_empty() { self.sweep_at.min(self.commit_at) } else { self.sweep_at }
    }

    fn on_time(&mut self, now: Duration) {
        self.outcomes.extend(self.shared.take_outcomes());
        if now >= self.commit_at {
            if self.has_work() {
                self.commit();
            }
            self.replay();
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
    }

    fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        for order in orders {
            match order {
                Order::Post(notice, lane, number) => self.wait(*notice, lane, number),
                Order::Replay(now, id, answer) => match self.rows.replay(now, id) {
                    Ok(is_done) => {
                        self.shared.ring();
                        // Whoever asked may have gone.
                        let _ = answer.send(is_done);
                    }
                    // The answer is dropped, which says that it was not done.
                    Err(error) => self.on_no_replay(&error),
                },
                Order::ReplaySince { now, app, channel, since, answer } => {
                    // Beyond the limit the answer is dropped, which says that it was not done.
                    if self.replays.len() < REPLAYS {
                        let after = Cursor { created: 0, id: 0 };
                        self.replays.push_back(Replay { now, app, channel, since, after, count: 0, answer });
                    }
                }
                Order::Wake => {}
            }
        }
    }

    /// Lets a notice wait for the disk. When as many wait as may, the newest is lost: the oldest are those that are spooled.
    fn wait(&mut self, notice: Notice, lane: Lane, number: Option<u64>) {
        if self.waiting.len() < QUEUE {
            self.waiting.push_back((notice, lane, number));
            return;
        }
        self.counters.lost[notice.channel.index()].fetch_add(1, Relaxed);
        if !std::mem::replace(&mut self.is_losing, true) {
            tracing::error!(waiting = QUEUE, "notices lost: the disk takes none, and no more may wait for it");
        }
    }

    /// Writes what waits, or a good part of it; whether it was taken.
    fn commit(&mut self) -> bool {
        let now = self.clock.now();
        let count = self.waiting.len().min(BATCH);
        let notices = self.waiting.iter().take(count).map(|(notice, _, _)| notice);
        match self.rows.write(self.clock.unix_ms(now), notices, &self.outcomes) {
            Ok(()) => {
                let mut done = [None; 2];
                for (_, lane, number) in self.waiting.drain(..count) {
                    done[lane as usize] = number.or(done[lane as usize]);
                }
                for (mark, done) in self.marks.iter_mut().zip(done) {
                    if let Some(done) = done {
                        mark.set(done);
                    }
                }
                self.shared.on_settled(&self.outcomes);
                self.outcomes.clear();
                self.shared.ring();
                self.is_losing = false;
                if std::mem::take(&mut self.is_refused) {
                    tracing::warn!("the outbox takes notices again");
                }
                // Where more waits than goes at a time it need not wait longer.
                self.commit_at = if self.waiting.is_empty() { now.saturating_add(PACE) } else { now };
                true
            }
            Err(error) => {
                self.counters.refused.fetch_add(1, Relaxed);
                self.commit_at = now.saturating_add(RETRY);
                if !std::mem::replace(&mut self.is_refused, true) {
                    let waiting = self.waiting.len();
                    tracing::error!(%error, waiting, "the outbox takes no notices: they wait");
                }
                false
            }
        }
    }

    /// Does a part of the oldest replay.
    fn replay(&mut self) {
        let Some(replay) = self.replays.front_mut() else { return };
        let Replay { now, app, channel, since, after, count, .. } = replay;
        let done = self.rows.replay_since(*now, (app, *channel), *since, *after);
        match done {
            Ok((more, next)) => {
                *count += more;
                self.shared.ring();
                match next {
                    Some(next) => *after = next,
                    None => {
                        if let Some(Replay { answer, count, .. }) = self.replays.pop_front() {
                            let _ = answer.send(count);
                        }
                    }
                }
                // Notices that come meanwhile have their turn in between.
                self.commit_at = self.clock.now();
            }
            Err(error) => {
                self.replays.pop_front();
                self.on_no_replay(&error);
            }
        }
    }

    fn on_no_replay(&self, error: &StoreError) {
        self.counters.refused.fetch_add(1, Relaxed);
        tracing::warn!(%error, "notices cannot be replayed");
    }

    /// Gives up and deletes some of what has stood too long.
    fn sweep(&mut self, now: Duration) {
        let pause = match self.rows.sweep(self.clock.unix_ms(now)) {
            Ok(true) => PACE,
            Ok(false) => SWEEP_EVERY,
            Err(error) => {
                tracing::warn!(%error, "old notices cannot be deleted from the outbox");
                SWEEP_EVERY
            }
        };
        self.shared.ring();
        self.sweep_at = now.saturating_add(pause);
    }
}
