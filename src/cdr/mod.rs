//! Call detail records: in a store that can be searched, and one JSON line a call in a file; both of mode 0600 (they hold real
//! numbers).
//!
//! ```text
//!   signalling ─ write ─┬▶ spool, in memory that survives us ─ after a crash ─┐
//!                       └▶ bounded queue ─▶ the writer ◀──────────────────────┘
//!                                             ├ 20 ms ──▶ JSON lines
//!                                             └ 200 ms ─▶ cdrs.db ─▶ Search
//!                                                          └───▶ outbox: fee          then the spool's place is free again
//! ```
//!
//! The signalling loop puts a record into the spool, hands it over and goes on; from then on `kill -9` does not lose it. Lines
//! are written whole. SIGHUP opens their file anew, for log rotation.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use b2bua::cdr::Cdr;
use crossbeam_channel::{Sender, bounded};

use crate::clock::Clock;
use crate::notify::Outbox;
use crate::recording;
use crate::spool::{self, Spool};
use crate::store::{StoreError, sqlite};

mod ledger;
mod lines;
mod record;
mod search;
#[cfg(test)]
mod tests;
mod writer;

use ledger::Ledger;
use lines::Lines;
use record::Record;
pub use search::{Cursor, Found, PAGE, Query, Search};
use writer::Writer;

/// Records that may wait for the disk.
const QUEUE: usize = 65_536;

/// A segment holds some ten thousand records, a minute and more of what one machine can carry.
const SPOOL: spool::Kind = spool::Kind { file: "cdrs.spool", magic: *b"axcdrs-1", segment: 8 << 20 };

/// Which recordings leave a file: those that are long enough (product rule C4) and that the disk has taken.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Folder of the recordings.
    pub dir: PathBuf,
    /// The shortest that is kept.
    pub min: Duration,
}

impl Kept {
    /// Of a call whose end a crash has cut off nobody has counted the milliseconds: its file tells.
    fn has(&self, name: &str, recorded_ms: u64) -> bool {
        let file = || recording::path_of(&self.dir, name)?.metadata().ok().filter(|file| file.is_file());
        let Some(file) = file() else { return false };
        let of_file = file.len().saturating_sub(media::wav::HEADER_LEN as u64) / 8;
        let ms = if recorded_ms == 0 { of_file } else { recorded_ms };
        u128::from(ms) >= self.min.as_millis()
    }
}

/// What has become of the records.
#[derive(Debug, Default)]
pub struct Counters {
    /// Written as lines.
    pub written: AtomicU64,
    /// Lost for the file or the store, because the disk did not take them or the queue was full.
    pub lost: AtomicU64,
    /// Written into the store.
    pub stored: AtomicU64,
    /// Not spooled, because the spool was full: a crash would have lost them.
    pub unspooled: AtomicU64,
    /// Found in the spool at the start.
    pub replayed: AtomicU64,
}

enum Order {
    /// A record of this session has this number in the spool, and is not whole: another one follows.
    Keep(Arc<str>, u64),
    /// A record, with its number in the spool.
    Write(Box<Cdr>, Option<u64>),
    Reopen,
}

/// Takes records; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cdrs {
    orders: Sender<Order>,
    // The signalling loop has it to itself: nothing ever waits here.
    spool: Arc<Mutex<Spool>>,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Cdrs {
    /// Opens the file of lines and the store in the folder `store`, brings what a crash has left in the spool there, and starts
    /// the thread, which ends when the last clone of the handle is gone. A record stays in the store for `keep`, and names its
    /// recording only where `recordings` has it. Once the store has it, its app is told by `outbox`.
    ///
    /// # Errors
    /// The file or the folder cannot be made, another process has the store, or a newer axbridge has written it.
    pub fn open(
        path: &Path,
        store: &Path,
        keep: Duration,
        clock: Clock,
        recordings: Kept,
        outbox: Option<Outbox>,
    ) -> Result<(Cdrs, JoinHandle<()>), StoreError> {
        let lines = Lines::open(path).map_err(sqlite::at(path))?;
        sqlite::make_folder(store)?;
        let (spool, mark, leftover) = Spool::open(store, &SPOOL)?;
        let ledger = Ledger::open(store)?;
        let counters = Arc::new(Counters::default());
        let mut writer = Writer::new(lines, ledger, mark, clock, recordings, keep, Arc::clone(&counters));
        writer.tell(outbox);
        writer.replay(leftover);
        let (orders, inbox) = bounded(QUEUE);
        let thread = std::thread::Builder::new()
            .name("cdr".into())
            .spawn(move || writer.run(&inbox))
            .map_err(sqlite::at(store))?;
        Ok((Cdrs { orders, spool: Arc::new(Mutex::new(spool)), clock, counters }, thread))
    }

    /// Keeps a record that is not whole yet safe from the death of this process: [`Cdrs::write`] follows with the same session.
    pub fn keep(&self, cdr: &Cdr) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        // Without room in the spool or the queue it is as safe as it would be without us.
        let Some(number) = spool.put(&Record::of(cdr, &self.clock)) else { return };
        let _ = self.orders.try_send(Order::Keep(Arc::clone(&cdr.session_id), number));
    }

    /// Hands a record over; never blocks. When it returns the record survives the death of this process.
    pub fn write(&self, cdr: Box<Cdr>) {
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        let number = spool.put(&Record::of(&cdr, &self.clock));
        if number.is_none() {
            self.counters.unspooled.fetch_add(1, Relaxed);
        }
        // Still in their order: the writer marks the last number as done, and means all before it.
        if self.orders.try_send(Order::Write(cdr, number)).is_err() {
            self.counters.lost.fetch_add(1, Relaxed);
        }
    }

    /// Opens the file anew by its name.
    pub fn reopen(&self) {
        // A full queue means that the disk is stuck: the next SIGHUP will do.
        let _ = self.orders.try_send(Order::Reopen);
    }

    /// What has become of the records.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Records that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.orders.len()
    }
}

/// The record as a JSON object on one line. Times are UTC, RFC 3339 with milliseconds; absent things are left away.
#[must_use]
pub fn json(cdr: &Cdr, clock: &Clock, recordings: &Kept) -> String {
    let mut record = Record::of(cdr, clock);
    record.settle(recordings);
    record.json()
}
