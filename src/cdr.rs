//! Call detail records: one JSON line a call, in a file of mode 0600 (it holds real numbers).
//!
//! The signalling loop hands a record over and goes on; one thread writes, at the latest 20 ms later: so much `kill -9` may
//! lose. Lines are written whole. SIGHUP opens the file anew, for log rotation.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use b2bua::cdr::Cdr;
use crossbeam_channel::{Receiver, Sender, TrySendError, after, bounded};
use media::{LegTotals, Side};
use numbering::{Number, Party};
use serde::Serialize;

use crate::clock::Clock;
use crate::recording;

/// Records that may wait for the disk.
const QUEUE: usize = 65_536;

/// How long a record may wait for others.
const LINGER: Duration = Duration::from_millis(20);

/// Which recordings leave a file: those that are long enough (product rule C4) and that the disk has taken.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Folder of the recordings.
    pub dir: PathBuf,
    /// The shortest that is kept.
    pub min: Duration,
}

impl Kept {
    fn has(&self, name: &str, recorded_ms: u64) -> bool {
        u128::from(recorded_ms) >= self.min.as_millis()
            && recording::path_of(&self.dir, name).is_some_and(|path| path.is_file())
    }
}

/// What has become of the records.
#[derive(Debug, Default)]
pub struct Counters {
    /// Written.
    pub written: AtomicU64,
    /// Lost because the disk did not take them or the queue was full.
    pub lost: AtomicU64,
}

enum Order {
    Write(Box<Cdr>),
    Reopen,
}

/// Takes records; cheap to clone.
#[derive(Clone, Debug)]
pub struct Cdrs {
    orders: Sender<Order>,
    counters: Arc<Counters>,
}

impl Cdrs {
    /// Opens the file and starts the thread, which ends when the last clone of the handle is gone. A record names
    /// its recording only where `recordings` has it.
    ///
    /// # Errors
    /// The file or its folder cannot be made.
    pub fn open(path: &Path, clock: Clock, recordings: Kept) -> io::Result<(Cdrs, JoinHandle<()>)> {
        let file = append(path)?;
        let (orders, inbox) = bounded(QUEUE);
        let counters = Arc::new(Counters::default());
        let writer =
            Writer { path: path.to_owned(), file, clock, recordings, counters: Arc::clone(&counters), torn: false };
        let thread = std::thread::Builder::new().name("cdr".into()).spawn(move || writer.run(&inbox))?;
        Ok((Cdrs { orders, counters }, thread))
    }

    /// Hands a record over; never blocks.
    pub fn write(&self, cdr: Box<Cdr>) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.orders.try_send(Order::Write(cdr)) {
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

/// stub
#[derive(Clone)]
pub struct Search;
impl Search {
    pub fn recording_owner(&self, _name: &str) -> Result<Option<String>, crate::store::StoreError> {
        Ok(None)
    }
}

struct Writer {
    path: PathBuf,
    file: File,
    clock: Clock,
    recordings: Kept,
    counters: Arc<Counters>,
    /// The last line could not be written whole.
    torn: bool,
}

impl Writer {
    fn run(mut self, inbox: &Receiver<Order>) {
        while let Ok(order) = inbox.recv() {
            self.obey(std::iter::once(order));
            // Waking this thread is dearer than writing a line: what comes within a moment is written together.
            let _ = after(LINGER).recv();
            self.obey(inbox.try_iter());
        }
    }

    fn obey(&mut self, orders: impl Iterator<Item = Order>) {
        let mut lines = Vec::new();
        let mut count = 0;
        for order in orders {
            match order {
                Order::Write(cdr) => {
                    lines.extend_from_slice(json(&cdr, &self.clock, &self.recordings).as_bytes());
                    lines.push(b'\n');
                    count += 1;
                }
                Order::Reopen => {
                    self.write(&mut lines, std::mem::take(&mut count));
                    match append(&self.path) {
                        Ok(file) => self.file = file,
                        Err(error) => {
                            tracing::error!(path = %self.path.display(), %error, "CDR file cannot be reopened; the old one stays open");
                        }
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
        if self.torn {
            // Half a line stands before: these records shall not be glued to it.
            lines.insert(0, b'\n');
        }
        let written = self.file.write_all(lines);
        lines.clear();
        self.torn = written.is_err();
        match written {
            Ok(()) => {
                self.counters.written.fetch_add(count, Relaxed);
            }
            Err(error) => {
                self.counters.lost.fetch_add(count, Relaxed);
                tracing::error!(count, %error, "CDRs lost: the file cannot be written");
            }
        }
    }
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// The record as a JSON object on one line. Times are UTC, RFC 3339 with milliseconds; absent things are left away.
#[must_use]
pub fn json(cdr: &Cdr, clock: &Clock, recordings: &Kept) -> String {
    serde_json::to_string(&Line::of(cdr, clock, recordings)).expect("strings and numbers always serialise")
}

#[derive(Serialize)]
struct Line<'a> {
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_id: Option<String>,
    trunk_in: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trunk_out: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    x: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callee: Option<String>,
    /// Which party of the binding called: `A` or `B`.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_is: Option<&'static str>,
    call_in_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alerting_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    join_time: Option<String>,
    end_time: String,
    /// From the answer to the end.
    duration_ms: u64,
    cause: &'static str,
    state_code: u16,
    state_desc: &'static str,
    /// `caller`, `callee` or `platform`.
    released_by: &'static str,
    sip_status_caller: u16,
    sip_status_callee: u16,
    q850: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    q850_callee: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recording: Option<RecordingLine<'a>>,
    media: [MediaLine; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    user_data: Option<&'a str>,
}

#[derive(Serialize)]
struct RecordingLine<'a> {
    name: &'a str,
    start_time: String,
    duration_ms: u64,
}

#[derive(Serialize)]
struct MediaLine {
    leg: &'static str,
    received: u64,
    sent: u64,
    lost: u64,
    refused: u64,
    jitter_us: u32,
}

impl<'a> Line<'a> {
    fn of(cdr: &'a Cdr, clock: &Clock, recordings: &Kept) -> Line<'a> {
        let row = cdr.cause.row();
        let time = |at: Duration| clock.rfc3339(at);
        let number = |number: Number| number.reveal().to_string();
        let recorded = cdr.media.recorded_ms;
        let recording = cdr.recording.as_ref().filter(|recording| recordings.has(&recording.name, recorded));
        Line {
            session_id: &cdr.session_id,
            app: cdr.app_name.as_deref(),
            subscription_id: cdr.binding.map(|id| id.to_string()),
            trunk_in: &cdr.trunk_in,
            trunk_out: cdr.trunk_out.as_deref(),
            caller: cdr.caller.map(number),
            x: cdr.x.map(number),
            callee: cdr.callee.map(number),
            caller_is: cdr.caller_is.map(|party| match party {
                Party::A => "A",
                Party::B => "B",
            }),
            call_in_time: time(cdr.call_in),
            forward_time: cdr.forwarded.map(time),
            alerting_time: cdr.alerting.map(time),
            answer_time: cdr.answered.map(time),
            join_time: cdr.joined.map(time),
            end_time: time(cdr.ended),
            duration_ms: cdr.answered.map_or(0, |answered| millis(cdr.ended.saturating_sub(answered))),
            cause: row.label,
            state_code: row.state_code,
            state_desc: row.description,
            released_by: match cdr.released_by {
                Some(Side::A) => "caller",
                Some(Side::B) => "callee",
                None => "platform",
            },
            sip_status_caller: cdr.status_a,
            sip_status_callee: cdr.status_b,
            q850: row.q850,
            q850_callee: cdr.q850_b,
            recording: recording.map(|recording| RecordingLine {
                name: &recording.name,
                start_time: time(recording.started),
                duration_ms: recorded,
            }),
            media: Side::BOTH.map(|side| MediaLine::of(side, &cdr.media.legs[side.index()])),
            user_data: cdr.user_text.as_deref(),
        }
    }
}

impl MediaLine {
    fn of(side: Side, totals: &LegTotals) -> MediaLine {
        MediaLine {
            leg: match side {
                Side::A => "caller",
                Side::B => "callee",
            },
            received: totals.received,
            sent: totals.sent,
            lost: totals.lost,
            refused: totals.refused,
            jitter_us: totals.jitter_us,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
