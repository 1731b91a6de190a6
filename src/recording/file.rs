//! One recording that is being written.
//!
//! ```text
//!   header │ ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓ stated │ ▓▓▓▓▓▓▓▓ written │ ░░░░ buffered
//! ```
//!
//! A player that opens it meanwhile hears what is stated, and what is stated is always there. Until a recording is long
//! enough to be kept, nothing is stated: should the daemon die, the next one finds the lengths wrong and deletes it.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use media::wav::{self, HEADER_LEN};

/// Samples that are collected before they are written: a second. One write for every packet would cost the most; the
/// relay hands over pieces of this size, which then need no second buffer.
const FLUSH: usize = 8000;

/// The lengths are at most this many samples behind: 2 s.
const STATE: u32 = 16_000;

/// The longest recording in samples, 149 hours: what a RIFF file can say.
const MAX_SAMPLES: u32 = u32::MAX - HEADER_LEN as u32 - 1;

pub(super) struct Recording {
    path: PathBuf,
    file: File,
    buffer: Vec<u8>,
    written: u32,
    stated: u32,
    /// Fewer samples are not stated.
    min: u32,
}

impl Recording {
    /// Makes the file, and its folder when it is not there. A file that cannot be begun is not left behind.
    pub(super) fn create(path: PathBuf, min: u32) -> io::Result<Recording> {
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
        let recording = Recording { path, file, buffer: Vec::new(), written: 0, stated: 0, min };
        match recording.file.write_all_at(&wav::header(0), 0) {
            Ok(()) => Ok(recording),
            Err(error) => {
                // Nothing to be done when it stays: an empty file of the right name, deleted in time.
                let _ = recording.delete();
                Err(error)
            }
        }
    }

    /// Appends samples; returns how many bytes have been written to the disk by that.
    pub(super) fn append(&mut self, alaw: &[u8]) -> io::Result<u64> {
        let room = (MAX_SAMPLES - self.written) as usize;
        let room = room.saturating_sub(self.buffer.len());
        let alaw = &alaw[..alaw.len().min(room)];
        let written = if self.buffer.is_empty() && alaw.len() >= FLUSH {
            self.write(alaw)?
        } else {
            self.buffer.extend_from_slice(alaw);
            if self.buffer.len() < FLUSH {
                return Ok(0);
            }
            self.flush()?
        };
        if self.written >= self.min && self.written - self.stated >= STATE {
            // An odd number would want a byte of padding, where the next sample has to go.
            self.state(self.written & !1)?;
        }
        Ok(written)
    }

    /// Writes and states everything; returns how many bytes of audio have been written by that.
    pub(super) fn finish(&mut self) -> io::Result<u64> {
        let written = self.flush()?;
        if !self.written.is_multiple_of(2) {
            self.file.write_all_at(&[0], HEADER_LEN as u64 + u64::from(self.written))?;
        }
        self.state(self.written)?;
        Ok(written)
    }

    /// Ends a recording on which the disk has failed: states what is there, if that still works.
    pub(super) fn give_up(mut self) {
        // The failed write may have left a part behind, which the lengths do not cover.
        let whole = self.written & !1;
        let _ = self.file.set_len(HEADER_LEN as u64 + u64::from(whole));
        let _ = self.state(whole);
    }

    /// Deletes the file.
    pub(super) fn delete(self) -> io::Result<()> {
        std::fs::remove_file(&self.path)
    }

    /// A recording in a file that is open already.
    #[cfg(test)]
    pub(super) fn on(path: PathBuf, file: File) -> Recording {
        Recording { path, file, buffer: Vec::new(), written: 0, stated: 0, min: 0 }
    }

    /// Samples so far.
    pub(super) fn samples(&self) -> u64 {
        u64::from(self.written) + self.buffer.len() as u64
    }

    fn flush(&mut self) -> io::Result<u64> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = self.write(&buffer);
        if written.is_ok() {
            buffer.clear();
        }
        self.buffer = buffer;
        written
    }

    fn write(&mut self, alaw: &[u8]) -> io::Result<u64> {
        self.file.write_all_at(alaw, HEADER_LEN as u64 + u64::from(self.written))?;
        // Within u32: `append` takes no more than the room there is.
        self.written = self.written.saturating_add(u32::try_from(alaw.len()).unwrap_or(u32::MAX));
        Ok(alaw.len() as u64)
    }

    fn state(&mut self, samples: u32) -> io::Result<()> {
        self.file.write_all_at(&wav::header(samples), 0)?;
        self.stated = samples;
        Ok(())
    }
}

/// Makes a folder and those above it, for this user alone.
pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
