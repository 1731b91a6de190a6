//! Recordings: what the media threads hand over becomes WAV files; one thread writes them, and deletes them when their time
//! has come.
//!
//! ```text
//!   relay ──start, audio, finish──▶ bounded queue ──▶ Archive ──▶ <dir>/20261123/20261123-3f9c….wav
//!     ▲                                                  │
//!     └──────────────── emptied buffers ◀────────────────┘
//! ```
//!
//! A call never waits for a disk: what the queue has no room for is lost and counted, as is what the disk does not take. Each
//! file can be played at any moment: samples are appended first, then the lengths in its header follow. What a crash leaves
//! behind is put right when the daemon starts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, UNIX_EPOCH};

use b2bua::SessionId;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TrySendError, after, bounded};

use crate::clock::Clock;

mod archive;
mod chores;
mod counters;
mod file;

use archive::Archive;
pub use archive::path_of;
pub use counters::{Counters, Failure};

/// How long a piece of audio may wait for others.
const LINGER: Duration = Duration::from_millis(50);

/// Emptied buffers that wait to be filled again.
const POOL: usize = 1024;

/// Commands taken in one turn, before files that need it are closed and the folders are looked at.
const BATCH: usize = 256;

/// Where recordings go and how long they stay.
#[derive(Clone, Debug)]
pub struct Config {
    /// The folder; made when it is not there.
    pub dir: PathBuf,
    /// How long a recording is kept, by the time of its last change.
    pub keep: Duration,
    /// A shorter recording leaves no file.
    pub min: Duration,
    /// Commands that may wait for the disk.
    pub max_queue: usize,
    /// Recordings open at a time; further ones are refused.
    pub max_open: usize,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            dir: PathBuf::from("recordings"),
            keep: Duration::from_secs(7 * 24 * 3600),
            min: Duration::from_secs(3),
            max_queue: 65_536,
            max_open: 32_768,
        }
    }
}

/// What the writer is told.
enum Command {
    Start { session: SessionId, name: Arc<str> },
    Audio { session: SessionId, alaw: Vec<u8> },
    Finish { session: SessionId, length: Duration },
    Stop,
}

/// Takes recordings; cheap to clone. Nothing here waits.
#[derive(Clone, Debug)]
pub struct Recordings {
    commands: Sender<Command>,
    pool: Receiver<Vec<u8>>,
    counters: Arc<Counters>,
}

impl Recordings {
    /// A recording begins. `name` is a file name of ASCII letters, digits, `-`, `_` and `.` that ends in `.wav`; when it begins
    /// with a date (YYYYMMDD) the file lies in a folder of that date.
    pub fn start(&self, session: SessionId, name: Arc<str>) {
        self.send(Command::Start { session, name });
    }

    /// More of it: A-law samples.
    pub fn audio(&self, session: SessionId, alaw: Vec<u8>) {
        self.send(Command::Audio { session, alaw });
    }

    /// It is whole, and `ms` milliseconds long. One that is shorter than [`Config::min`] is deleted, unless the file is longer
    /// than is said here.
    pub fn finish(&self, session: SessionId, ms: u64) {
        self.send(Command::Finish { session, length: Duration::from_millis(ms) });
    }

    /// An empty buffer for [`Recordings::audio`], one that has been in use before where there is one.
    #[must_use]
    pub fn buffer(&self) -> Vec<u8> {
        self.pool.try_recv().unwrap_or_default()
    }

    /// What has become of the recordings.
    #[must_use]
    pub fn counters(&self) -> &Arc<Counters> {
        &self.counters
    }

    /// Commands that wait for the disk.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.commands.len()
    }

    fn send(&self, command: Command) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) = self.commands.try_send(command) {
            Counters::add(&self.counters.queue_full, 1);
        }
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    commands: Sender<Command>,
    thread: JoinHandle<()>,
}

impl Writer {
    /// Makes the folder and starts the thread. What a crash has left there is repaired, and what is too old deleted, while it
    /// already takes recordings.
    ///
    /// # Errors
    /// The folder cannot be made or written to. That its disk is full is no error: it may be emptied while we run.
    pub fn spawn(config: Config, clock: Clock) -> io::Result<(Recordings, Writer)> {
        chores::make_writable(&config.dir)?;
        let (commands, inbox) = bounded(config.max_queue);
        let (emptied, pool) = bounded(POOL);
        let counters = Arc::new(Counters::default());
        let archive = Archive::new(config, Arc::clone(&counters), clock.now());
        let thread = std::thread::Builder::new()
            .name("recording".into())
            .spawn(move || run(archive, &inbox, &emptied, clock))?;
        let writer = Writer { commands: commands.clone(), thread };
        Ok((Recordings { commands, pool, counters }, writer))
    }

    /// Writes what is waiting, closes every file and ends the thread. What is handed over later is lost.
    pub fn finish(self) {
        // Waits for room in the queue. An error says that the thread has ended already.
        let _ = self.commands.send(Command::Stop);
        if self.thread.join().is_err() {
            tracing::error!("the recording writer ended in a fault");
        }
    }
}

fn run(mut archive: Archive, inbox: &Receiver<Command>, emptied: &Sender<Vec<u8>>, clock: Clock) {
    'turns: loop {
        let idle = if archive.has_chores() { Duration::ZERO } else { archive.due().saturating_sub(clock.now()) };
        match inbox.recv_timeout(idle) {
            Ok(first) => {
                let now = clock.now();
                for command in std::iter::once(first).chain(inbox.try_iter().take(BATCH - 1)) {
                    match command {
                        Command::Start { session, name } => archive.on_start(now, session, name),
                        Command::Audio { session, mut alaw } => {
                            archive.on_audio(now, session, &alaw);
                            alaw.clear();
                            // A full pool means that there are buffers enough.
                            let _ = emptied.try_send(alaw);
                        }
                        Command::Finish { session, length } => archive.on_finish(session, length),
                        Command::Stop => break 'turns,
                    }
                }
                if inbox.is_empty() {
                    // Waking this thread for each piece costs as much as writing it: pieces come together.
                    let _ = after(LINGER).recv();
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = clock.now();
        archive.on_tick(now);
        archive.on_chore(UNIX_EPOCH + clock.unix(now));
    }
    archive.close();
}

#[cfg(test)]
mod tests;
