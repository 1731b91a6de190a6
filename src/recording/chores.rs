//! Looks through the folder of recordings, a few files at a time: repairs what a crash left behind, deletes what is too old.
//!
//! ```text
//!   <dir>/*.wav                      names without a date
//!   <dir>/YYYYMMDD/*.wav             a folder that has become empty goes too
//! ```
//!
//! Nothing else is touched: no other names, no deeper folders, nothing through a symbolic link.

use std::collections::{HashSet, VecDeque};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use media::wav::{self, HEADER_LEN};

use super::Counters;
use super::file::make_folder;

/// Files looked at in one step.
const STEP: usize = 32;

/// A date's day begins somewhere on Earth this much before it does in UTC, and a clock may have been wrong; half a day more.
const DATE_MARGIN: Duration = Duration::from_secs(26 * 3600);

/// What is to be looked at.
pub(super) struct Chores {
    dir: PathBuf,
    keep: Duration,
    min: Duration,
    /// Whether files are also repaired: in the first round only, because later every wrong length is one being written.
    repairs: bool,
    folders: VecDeque<PathBuf>,
    files: Vec<PathBuf>,
    /// The folder that `files` lie in.
    folder: PathBuf,
}

impl Chores {
    pub(super) fn new(dir: PathBuf, keep: Duration, min: Duration) -> Chores {
        let (folders, files, folder) = (VecDeque::new(), Vec::new(), PathBuf::new());
        Chores { dir, keep, min, repairs: false, folders, files, folder }
    }

    /// Begins to look at every file, for wrong lengths and for age.
    pub(super) fn begin_repair(&mut self) {
        self.repairs = true;
        self.begin();
    }

    /// Begins to look for files that are too old. One that has begun is carried on instead.
    pub(super) fn begin_sweep(&mut self) {
        if !self.is_waiting() {
            self.repairs = false;
            self.begin();
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        !self.files.is_empty() || !self.folders.is_empty()
    }

    /// Looks at a few files, or lists one folder. Files in `open` are left alone.
    pub(super) fn step(&mut self, now: SystemTime, open: &HashSet<Arc<str>>, counters: &Counters) {
        if self.files.is_empty()
            && let Some(folder) = self.folders.pop_front()
        {
            self.list(folder, now, counters);
        }
        let first = self.files.len().saturating_sub(STEP);
        for path in self.files.split_off(first) {
            let is_open = path.file_name().and_then(OsStr::to_str).is_some_and(|name| open.contains(name));
            if !is_open && let Err(error) = self.look_at(&path, now, counters) {
                counters.on_failure(&error);
            }
        }
        if self.files.is_empty() && self.folder != self.dir && !self.folder.as_os_str().is_empty() {
            // Fails as long as something is in it.
            let _ = std::fs::remove_dir(&self.folder);
            self.folder = PathBuf::new();
        }
    }

    fn begin(&mut self) {
        self.folders.push_back(self.dir.clone());
    }

    /// Lists a folder's recordings, and of the outermost its folders.
    fn list(&mut self, folder: PathBuf, now: SystemTime, counters: &Counters) {
        if self.is_young(&folder, now) {
            return;
        }
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                counters.on_failure(&error);
                return;
            }
        };
        for entry in entries.filter_map(Result::ok) {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            let path = entry.path();
            if kind.is_file() && path.extension() == Some(OsStr::new("wav")) {
                self.files.push(path);
            } else if kind.is_dir() && folder == self.dir && day(&path).is_some() {
                self.folders.push_back(path);
            }
        }
        self.folder = folder;
    }

    /// Whether nothing in a folder can be too old, by its date. A busy day has a hundred thousand files, and they would all
    /// have to be asked for theirs.
    fn is_young(&self, folder: &Path, now: SystemTime) -> bool {
        let Some(begins) = day(folder).filter(|_| !self.repairs && folder != self.dir) else {
            return false;
        };
        begins
            .checked_sub(DATE_MARGIN)
            .and_then(|begins| now.duration_since(begins).ok())
            .is_none_or(|age| age < self.keep)
    }

    fn look_at(&self, path: &Path, now: SystemTime, counters: &Counters) -> io::Result<()> {
        let metadata = match path.symlink_metadata() {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Ok(()),
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // A time in the future is no age.
        if now.duration_since(metadata.modified()?).is_ok_and(|age| age >= self.keep) {
            std::fs::remove_file(path)?;
            Counters::add(&counters.expired, 1);
            return Ok(());
        }
        if self.repairs && repair(path, self.min)? {
            Counters::add(&counters.repaired, 1);
        }
        Ok(())
    }
}

/// The beginning of the day that a folder is named by, in UTC.
fn day(folder: &Path) -> Option<SystemTime> {
    let name = folder.file_name()?.to_str()?;
    if name.len() != 8 || !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let date = jiff::civil::Date::strptime("%Y%m%d", name).ok()?;
    let begins = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(begins).ok()?))
}

/// Gives a recording the lengths that it has, or deletes it when it is too short or nothing but a beginning. Returns whether
/// there was something wrong; files that are not ours are right.
fn repair(path: &Path, min: Duration) -> io::Result<bool> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    let len = file.metadata()?.len();
    let head = read_head(&file)?;
    // A header alone, whole or not, is a call in its first second: what is finished has samples.
    if len <= HEADER_LEN as u64 && wav::header(0).starts_with(&head) {
        std::fs::remove_file(path)?;
        return Ok(true);
    }
    let Some(header) = wav::repair(len, &head) else {
        return Ok(false);
    };
    let samples = u64::from(wav::recorded_len(&header).unwrap_or(0));
    if Duration::from_millis(samples / 8) < min {
        std::fs::remove_file(path)?;
        return Ok(true);
    }
    // Its time has to stay: it says when the call was, and when the recording has to go.
    let modified = file.metadata()?.modified()?;
    file.set_len(HEADER_LEN as u64 + samples)?;
    file.write_all_at(&header, 0)?;
    file.set_modified(modified)?;
    Ok(true)
}

/// The first bytes of a file: a header's worth, or what there is.
fn read_head(file: &File) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEADER_LEN];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    head.truncate(filled);
    Ok(head)
}

/// Makes the folder of recordings, and tries whether a file can be made in it.
pub(super) fn make_writable(dir: &Path) -> io::Result<()> {
    make_folder(dir)?;
    let probe = dir.join(format!(".axbridge-{}", std::process::id()));
    match OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe) {
        Ok(_) => std::fs::remove_file(&probe),
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => Ok(()),
        Err(error) => Err(error),
    }
}
