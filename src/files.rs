//! Files that the operator names, read whole: bounded, and never waited for.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Why a file was not read.
#[derive(Debug)]
pub enum Unread {
    /// The system says so.
    Io(io::Error),
    /// It is a folder, a pipe, a device.
    NoFile,
    /// It has more bytes than it may have.
    TooLarge,
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unread::Io(error) => write!(f, "cannot be read: {error}"),
            Unread::NoFile => f.write_str("is no file"),
            Unread::TooLarge => f.write_str("is too long"),
        }
    }
}

/// All of a file of at most `most` bytes.
///
/// # Errors
///
/// It cannot be read, is no regular file (a pipe would be waited for, with SIGTERM behind it), or is larger.
pub fn read(path: &Path, most: u64) -> Result<Vec<u8>, Unread> {
    // Without this flag opening a pipe waits for somebody who writes into it.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(Unread::Io)?;
    if !file.metadata().map_err(Unread::Io)?.is_file() {
        return Err(Unread::NoFile);
    }
    let mut bytes = Vec::new();
    // Not by its length: it may grow meanwhile.
    let length = file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(Unread::Io)?;
    if length as u64 > most { Err(Unread::TooLarge) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_is_read_up_to_the_limit_and_not_beyond() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read(&path, 5).unwrap(), b"12345");
        assert!(matches!(read(&path, 4), Err(Unread::TooLarge)));
        assert!(matches!(read(&folder.path().join("none"), 4), Err(Unread::Io(_))));
    }

    #[test]
    fn a_pipe_a_folder_and_a_device_are_refused_at_once() {
        let folder = TempDir::new().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&*pipe, folder.path(), Path::new("/dev/zero")] {
            assert!(matches!(read(path, 5), Err(Unread::NoFile)), "{path:?}");
        }
    }
}
