//! What becomes of the recordings, for the metrics.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Counters since the daemon started, and gauges where it says so.
#[derive(Debug, Default)]
pub struct Counters {
    /// Recordings begun.
    pub started: AtomicU64,
    /// Recordings whole on disk.
    pub finished: AtomicU64,
    /// Recordings deleted because they were too short.
    pub dropped_short: AtomicU64,
    /// Recordings refused because as many as allowed are open, or one of the same call.
    pub refused_open: AtomicU64,
    /// Recordings refused because of their name.
    pub refused_name: AtomicU64,
    /// Recordings closed because nothing came for a minute.
    pub abandoned: AtomicU64,
    /// Bytes of audio written.
    pub bytes: AtomicU64,
    /// Commands lost because the queue was full.
    pub queue_full: AtomicU64,
    /// Files with wrong lengths after a crash, put right.
    pub repaired: AtomicU64,
    /// Recordings deleted because they were too old.
    pub expired: AtomicU64,
    /// Gauge: recordings open.
    pub open: AtomicU64,
    /// Gauge: 1 from a write that the disk had no room for to the next that it took.
    pub disk_full: AtomicU64,
    failed: [AtomicU64; Failure::ALL.len()],
}

/// Why the disk did not take something.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Failure {
    /// No room, or no more of it for this user.
    Full,
    /// Not allowed, or a read-only disk.
    Denied,
    /// A folder is gone, or a file is in its place.
    Missing,
    /// A recording of this name is there already.
    Exists,
    /// No more files may be open in this process or this system.
    TooManyFiles,
    /// Anything else.
    Other,
}

impl Failure {
    /// Every variant.
    pub const ALL: [Failure; 6] =
        [Failure::Full, Failure::Denied, Failure::Missing, Failure::Exists, Failure::TooManyFiles, Failure::Other];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Failure::Full => "full",
            Failure::Denied => "denied",
            Failure::Missing => "missing",
            Failure::Exists => "exists",
            Failure::TooManyFiles => "too_many_files",
            Failure::Other => "other",
        }
    }

    const fn index(self) -> usize {
        self as usize
    }
}

impl From<&io::Error> for Failure {
    fn from(error: &io::Error) -> Failure {
        if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) {
            return Failure::TooManyFiles;
        }
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::Denied,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Failure::Missing,
            io::ErrorKind::AlreadyExists => Failure::Exists,
            _ => Failure::Other,
        }
    }
}

impl Counters {
    /// Recordings, and chores on old ones, that failed on the disk in this way.
    #[must_use]
    pub fn failed_io(&self, failure: Failure) -> u64 {
        self.failed[failure.index()].load(Relaxed)
    }

    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    /// Counts a failure, and says so in the log when it is the first since something succeeded or of its kind.
    pub(super) fn on_failure(&self, error: &io::Error) {
        let failure = Failure::from(error);
        let before = self.failed[failure.index()].fetch_add(1, Relaxed);
        let was_full = failure == Failure::Full && self.disk_full.swap(1, Relaxed) == 1;
        if before == 0 || (failure == Failure::Full && !was_full) {
            tracing::error!(kind = failure.label(), %error, "a recording failed; calls go on without it");
        }
    }

    /// The disk took something.
    pub(super) fn on_success(&self) {
        if self.disk_full.load(Relaxed) == 1 {
            self.disk_full.store(0, Relaxed);
            tracing::info!("the disk takes recordings again");
        }
    }
}
