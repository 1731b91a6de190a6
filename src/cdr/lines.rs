//! The file of JSON lines.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Appends lines, whole ones.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    file: File,
    /// The last line could not be written whole.
    torn: bool,
}

impl Lines {
    pub(super) fn open(path: &Path) -> io::Result<Lines> {
        let file = append(path)?;
        let torn = is_torn(path, &file);
        Ok(Lines { path: path.to_owned(), file, torn })
    }

    /// Opens the file anew by its name; the old one stays open where that cannot be.
    pub(super) fn reopen(&mut self) -> io::Result<()> {
        *self = Lines::open(&self.path)?;
        Ok(())
    }

    /// Appends lines, each with its end.
    pub(super) fn write(&mut self, lines: &mut Vec<u8>) -> io::Result<()> {
        if self.torn {
            // Half a line stands before: these records shall not be glued to it.
            lines.insert(0, b'\n');
        }
        let written = self.file.write_all(lines);
        lines.clear();
        self.torn = written.is_err();
        written
    }

    /// The calls that have a whole line among the last `bytes` of the file.
    pub(super) fn told(&self, bytes: u64) -> io::Result<HashSet<String>> {
        if !self.file.metadata()?.is_file() {
            // What a pipe was told is gone.
            return Ok(HashSet::new());
        }
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(bytes)))?;
        let mut lines = BufReader::new(file);
        let mut line = Vec::new();
        let mut told = HashSet::new();
        while lines.read_until(b'\n', &mut line)? > 0 {
            if let Some(session_id) = session_of(&line) {
                told.insert(session_id.to_owned());
            }
            line.clear();
        }
        Ok(told)
    }

    /// Where the lines go.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The call of a whole line; a session's id has nothing that JSON would escape.
fn session_of(line: &[u8]) -> Option<&str> {
    let rest = line.strip_suffix(b"}\n")?.strip_prefix(b"{\"session_id\":\"")?;
    std::str::from_utf8(rest.split(|byte| *byte == b'"').next()?).ok()
}

fn append(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

/// Whether the file ends in the middle of a line: its writer died there. What cannot be read (a pipe) is taken as whole.
fn is_torn(path: &Path, file: &File) -> bool {
    let length = file.metadata().ok().filter(|data| data.is_file()).map_or(0, |data| data.len());
    let mut last = [b'\n'];
    if length > 0
        && let Ok(file) = File::open(path)
    {
        let _ = file.read_exact_at(&mut last, length - 1);
    }
    last != [b'\n']
}
