//! Prompts: what stands in the operator's folder, else the default set that is built in (product rule R).
//!
//! A name is a path below the folder, such as `zh/busy.wav`. The operator's file of that name takes the place of ours.

use std::collections::HashMap;
use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use media::Prompt;
use media::wav::WavError;

use crate::files::{self, Unread};

/// The largest file that is read: 2 MB of audio (product rule R) and room for its header.
const MAX_FILE: u64 = 2_000_000 + 4_096;

/// The default set: name and WAV file (A-law, 8,000 Hz, mono).
pub const DEFAULTS: [(&str, &[u8]); 27] = [
    ("ringback.wav", include_bytes!("../etc/prompts/ringback.wav")),
    ("zh/hint_tone.wav", include_bytes!("../etc/prompts/zh/hint_tone.wav")),
    ("zh/busy.wav", include_bytes!("../etc/prompts/zh/busy.wav")),
    ("zh/no_permission.wav", include_bytes!("../etc/prompts/zh/no_permission.wav")),
    ("zh/no_binding.wav", include_bytes!("../etc/prompts/zh/no_binding.wav")),
    ("zh/service_fault.wav", include_bytes!("../etc/prompts/zh/service_fault.wav")),
    ("zh/last_minute.wav", include_bytes!("../etc/prompts/zh/last_minute.wav")),
    ("zh/enter_extension.wav", include_bytes!("../etc/prompts/zh/enter_extension.wav")),
    ("zh/wrong_extension.wav", include_bytes!("../etc/prompts/zh/wrong_extension.wav")),
    ("zh/empty_extension.wav", include_bytes!("../etc/prompts/zh/empty_extension.wav")),
    ("zh/no_callee.wav", include_bytes!("../etc/prompts/zh/no_callee.wav")),
    ("zh/no_call_back.wav", include_bytes!("../etc/prompts/zh/no_call_back.wav")),
    ("zh/announcement.wav", include_bytes!("../etc/prompts/zh/announcement.wav")),
    ("zh/record_hint.wav", include_bytes!("../etc/prompts/zh/record_hint.wav")),
    ("en/hint_tone.wav", include_bytes!("../etc/prompts/en/hint_tone.wav")),
    ("en/busy.wav", include_bytes!("../etc/prompts/en/busy.wav")),
    ("en/no_permission.wav", include_bytes!("../etc/prompts/en/no_permission.wav")),
    ("en/no_binding.wav", include_bytes!("../etc/prompts/en/no_binding.wav")),
    ("en/service_fault.wav", include_bytes!("../etc/prompts/en/service_fault.wav")),
    ("en/last_minute.wav", include_bytes!("../etc/prompts/en/last_minute.wav")),
    ("en/enter_extension.wav", include_bytes!("../etc/prompts/en/enter_extension.wav")),
    ("en/wrong_extension.wav", include_bytes!("../etc/prompts/en/wrong_extension.wav")),
    ("en/empty_extension.wav", include_bytes!("../etc/prompts/en/empty_extension.wav")),
    ("en/no_callee.wav", include_bytes!("../etc/prompts/en/no_callee.wav")),
    ("en/no_call_back.wav", include_bytes!("../etc/prompts/en/no_call_back.wav")),
    ("en/announcement.wav", include_bytes!("../etc/prompts/en/announcement.wav")),
    ("en/record_hint.wav", include_bytes!("../etc/prompts/en/record_hint.wav")),
];

/// The built-in WAV file of a name.
#[must_use]
pub fn default_wav(name: &str) -> Option<&'static [u8]> {
    DEFAULTS.iter().find(|(known, _)| *known == name).map(|(_, wav)| *wav)
}

/// Why a prompt cannot be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PromptError {
    /// The name is empty, absolute, or leads out of the folder.
    BadName,
    /// Neither the folder nor the default set has it.
    Unknown,
    /// The file is there and cannot be read.
    Unreadable(std::io::ErrorKind),
    /// It is a folder, a pipe, a device.
    NoFile,
    /// The file is larger than a prompt may be.
    TooLarge,
    /// The file is not a WAV file that we play.
    Wav(WavError),
}

impl fmt::Display for PromptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PromptError::BadName => f.write_str("is not a path below the folder of prompts"),
            PromptError::Unknown => f.write_str("is neither in the folder of prompts nor in the default set"),
            PromptError::Unreadable(kind) => write!(f, "cannot be read: {kind}"),
            PromptError::NoFile => f.write_str("is no file"),
            PromptError::TooLarge => f.write_str("is larger than 2 MB"),
            PromptError::Wav(error) => write!(f, "is refused: {error}"),
        }
    }
}

/// Prompts by name, each read once and shared.
#[derive(Debug)]
pub struct Library {
    folder: Option<PathBuf>,
    known: HashMap<Box<str>, Result<Arc<Prompt>, PromptError>>,
}

impl Library {
    /// Prompts of this folder and of the default set; without a folder, of the default set alone.
    #[must_use]
    pub fn new(folder: Option<PathBuf>) -> Library {
        Library { folder, known: HashMap::new() }
    }

    /// The prompt of a name.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be played. Asked again, the answer is the same: the file is read once.
    pub fn prompt(&mut self, name: &str) -> Result<Arc<Prompt>, PromptError> {
        if let Some(known) = self.known.get(name) {
            return known.clone();
        }
        let read = self.read(name);
        self.known.insert(name.into(), read.clone());
        read
    }

    fn read(&self, name: &str) -> Result<Arc<Prompt>, PromptError> {
        let below = Path::new(name).components().all(|part| matches!(part, Component::Normal(_)));
        if name.is_empty() || name.contains('\0') || !below {
            return Err(PromptError::BadName);
        }
        let own = match &self.folder {
            Some(folder) => read_file(&folder.join(name))?,
            None => None,
        };
        let alaw = match (&own, default_wav(name)) {
            (Some(wav), _) => media::wav::read_prompt(wav),
            (None, Some(wav)) => media::wav::read_prompt(wav),
            (None, None) => return Err(PromptError::Unknown),
        };
        Ok(Arc::new(Prompt { name: name.into(), alaw: alaw.map_err(PromptError::Wav)?.into() }))
    }
}

/// A whole file; `None` when there is none.
fn read_file(path: &Path) -> Result<Option<Vec<u8>>, PromptError> {
    match files::read(path, MAX_FILE) {
        Ok(wav) => Ok(Some(wav)),
        Err(Unread::Io(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(Unread::Io(error)) => Err(PromptError::Unreadable(error.kind())),
        Err(Unread::NoFile) => Err(PromptError::NoFile),
        Err(Unread::TooLarge) => Err(PromptError::TooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_prompt_of_the_default_set_is_one_that_we_play() {
        let mut library = Library::new(None);
        for (name, _) in DEFAULTS {
            let prompt = library.prompt(name).unwrap_or_else(|error| panic!("{name} {error}"));
            assert_eq!(&*prompt.name, name);
            assert!(prompt.alaw.len() > 2_000, "{name} is shorter than a quarter of a second");
        }
    }

    #[test]
    fn both_languages_have_the_same_prompts() {
        let of = |language: &str| -> Vec<String> {
            DEFAULTS.iter().filter_map(|(name, _)| name.strip_prefix(language)).map(str::to_owned).collect()
        };
        assert_eq!(of("zh/"), of("en/"));
        assert_eq!(of("zh/").len(), 13);
    }

    #[test]
    fn the_default_set_is_all_that_lies_in_the_folder() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/prompts");
        let mut found = 0;
        for below in ["", "zh", "en"] {
            for entry in std::fs::read_dir(folder.join(below)).unwrap() {
                let name = Path::new(below).join(entry.unwrap().file_name());
                if name.extension().is_some_and(|extension| extension == "wav") {
                    found += 1;
                    assert!(default_wav(name.to_str().unwrap()).is_some(), "{name:?} is not built in");
                }
            }
        }
        assert_eq!(found, DEFAULTS.len());
    }

    #[test]
    fn a_prompt_is_read_once_and_shared() {
        let mut library = Library::new(None);
        let first = library.prompt("zh/busy.wav").unwrap();
        let second = library.prompt("zh/busy.wav").unwrap();
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_operators_file_takes_the_place_of_ours() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("zh")).unwrap();
        std::fs::write(folder.path().join("zh/busy.wav"), default_wav("en/announcement.wav").unwrap()).unwrap();
        let mut own = Library::new(Some(folder.path().to_owned()));
        let mut ours = Library::new(None);
        assert_eq!(own.prompt("zh/busy.wav").unwrap().alaw, ours.prompt("en/announcement.wav").unwrap().alaw);
        assert_eq!(own.prompt("zh/hint_tone.wav").unwrap().alaw, ours.prompt("zh/hint_tone.wav").unwrap().alaw);
    }

    #[test]
    fn what_cannot_be_played_is_refused_with_its_reason() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("text.wav"), "not a sound").unwrap();
        std::fs::write(folder.path().join("long.wav"), vec![0; 2_100_000]).unwrap();
        std::fs::create_dir(folder.path().join("folder.wav")).unwrap();
        let mut library = Library::new(Some(folder.path().to_owned()));
        assert!(matches!(library.prompt("text.wav"), Err(PromptError::Wav(_))));
        assert_eq!(library.prompt("long.wav"), Err(PromptError::TooLarge));
        assert!(matches!(library.prompt("folder.wav"), Err(PromptError::NoFile)));
        assert_eq!(library.prompt("none.wav"), Err(PromptError::Unknown));
        for name in ["", ".", "..", "/etc/passwd", "../text.wav", "zh/../text.wav", "a\0b"] {
            assert_eq!(library.prompt(name), Err(PromptError::BadName), "{name:?}");
        }
    }
}
