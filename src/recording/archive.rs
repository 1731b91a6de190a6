//! All recordings that are being written, and the chores on those that are whole.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime};

use b2bua::SessionId;

use super::chores::Chores;
use super::file::Recording;
use super::{Config, Counters};

/// A recording without audio for so long has lost its call: audio comes all the time, silence included.
const ABANDONED_AFTER: Duration = Duration::from_secs(60);

/// How often that is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How often old recordings are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(3600);

/// The longest file name.
const MAX_NAME: usize = 128;

/// Owned by the writer's thread.
pub(super) struct Archive {
    config: Config,
    counters: Arc<Counters>,
    open: HashMap<SessionId, Open>,
    /// The names of the open ones: the chores leave them alone.
    names: HashSet<Arc<str>>,
    chores: Chores,
    look_at: Duration,
    sweep_at: Duration,
}

struct Open {
    recording: Recording,
    name: Arc<str>,
    last_audio: Duration,
}

impl Archive {
    /// An archive that begins with looking through its folder.
    pub(super) fn new(config: Config, counters: Arc<Counters>, now: Duration) -> Archive {
        let mut chores = Chores::new(config.dir.clone(), config.keep, config.min);
        chores.begin_repair();
        Archive {
            config,
            counters,
            open: HashMap::new(),
            names: HashSet::new(),
            chores,
            look_at: now.saturating_add(LOOK_EVERY),
            sweep_at: now.saturating_add(SWEEP_EVERY),
        }
    }

    pub(super) fn on_start(&mut self, now: Duration, session: SessionId, name: Arc<str>) {
        let Some(path) = path_of(&self.config.dir, &name) else {
            Counters::add(&self.counters.refused_name, 1);
            return;
        };
        if self.open.len() >= self.config.max_open || self.open.contains_key(&session) {
            Counters::add(&self.counters.refused_open, 1);
            return;
        }
        let min = u32::try_from(self.config.min.as_millis().saturating_mul(8)).unwrap_or(u32::MAX);
        match Recording::create(path, min) {
            Ok(recording) => {
                self.counters.on_success();
                Counters::add(&self.counters.started, 1);
                self.names.insert(Arc::clone(&name));
                self.open.insert(session, Open { recording, name, last_audio: now });
                self.counters.open.store(self.open.len() as u64, Relaxed);
            }
            Err(error) => self.counters.on_failure(&error),
        }
    }

    /// More audio. Nothing happens when its recording was refused or has failed: that has been counted.
    pub(super) fn on_audio(&mut self, now: Duration, session: SessionId, alaw: &[u8]) {
        let Some(open) = self.open.get_mut(&session) else {
            return;
        };
        open.last_audio = now;
        match open.recording.append(alaw) {
            Ok(0) => {}
            Ok(written) => {
                self.counters.on_success();
                Counters::add(&self.counters.bytes, written);
            }
            Err(error) => {
                self.counters.on_failure(&error);
                if let Some(open) = self.remove(session) {
                    open.recording.give_up();
                }
            }
        }
    }

    pub(super) fn on_finish(&mut self, session: SessionId, length: Duration) {
        let Some(Open { mut recording, .. }) = self.remove(session) else {
            return;
        };
        // Both are looked at: audio may have been lost on the way, and after a fault no length is known.
        let there = Duration::from_millis(recording.samples() / 8);
        if length.max(there) < self.config.min {
            match recording.delete() {
                Ok(()) => Counters::add(&self.counters.dropped_short, 1),
                Err(error) => self.counters.on_failure(&error),
            }
            return;
        }
        match recording.finish() {
            Ok(written) => {
                self.counters.on_success();
                Counters::add(&self.counters.bytes, written);
                Counters::add(&self.counters.finished, 1);
            }
            Err(error) => {
                self.counters.on_failure(&error);
                recording.give_up();
            }
        }
    }

    /// When [`Archive::on_tick`] has something to do.
    pub(super) fn due(&self) -> Duration {
        self.look_at.min(self.sweep_at)
    }

    pub(super) fn on_tick(&mut self, now: Duration) {
        if now >= self.look_at {
            self.look_at = now.saturating_add(LOOK_EVERY);
            let is_abandoned = |open: &Open| now.saturating_sub(open.last_audio) >= ABANDONED_AFTER;
            let abandoned: Vec<SessionId> =
                self.open.iter().filter(|(_, open)| is_abandoned(open)).map(|(session, _)| *session).collect();
            for session in abandoned {
                Counters::add(&self.counters.abandoned, 1);
                self.on_finish(session, Duration::ZERO);
            }
        }
        if now >= self.sweep_at {
            self.sweep_at = now.saturating_add(SWEEP_EVERY);
            self.chores.begin_sweep();
        }
    }

    /// Whether [`Archive::on_chore`] has something to do.
    pub(super) fn has_chores(&self) -> bool {
        self.chores.is_waiting()
    }

    /// Looks at a few files, so that the queue does not fill meanwhile. `unix` is the wall time.
    pub(super) fn on_chore(&mut self, unix: SystemTime) {
        self.chores.step(unix, &self.names, &self.counters);
    }

    /// Finishes everything that is open.
    pub(super) fn close(&mut self) {
        let sessions: Vec<SessionId> = self.open.keys().copied().collect();
        for session in sessions {
            self.on_finish(session, Duration::ZERO);
        }
    }

    /// Puts a recording among the open ones.
    #[cfg(test)]
    pub(super) fn adopt(&mut self, session: SessionId, recording: Recording) {
        let name: Arc<str> = format!("{}.wav", session.0).into();
        self.names.insert(Arc::clone(&name));
        self.open.insert(session, Open { recording, name, last_audio: Duration::ZERO });
    }

    fn remove(&mut self, session: SessionId) -> Option<Open> {
        let open = self.open.remove(&session)?;
        self.names.remove(&open.name);
        self.counters.open.store(self.open.len() as u64, Relaxed);
        Some(open)
    }
}

/// Where the recording of this name lies below `dir`, whether it is there or not; `None` when it is no name that a recording
/// may have.
#[must_use]
pub fn path_of(dir: &Path, name: &str) -> Option<PathBuf> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_name = name.len() <= MAX_NAME
        && name.bytes().all(is_plain)
        && !name.starts_with('.')
        && name.strip_suffix(".wav").is_some_and(|stem| !stem.is_empty());
    if !is_name {
        return None;
    }
    let day = name.get(..8).filter(|day| day.bytes().all(|byte| byte.is_ascii_digit()));
    Some(dir.join(day.unwrap_or_default()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_date_lies_in_the_folder_of_that_date() {
        for (name, path) in [
            ("20261123-3f9c.wav", "20261123/20261123-3f9c.wav"),
            ("20261123.wav", "20261123/20261123.wav"),
            ("call_1.wav", "call_1.wav"),
            ("2026112.wav", "2026112.wav"),
        ] {
            assert_eq!(path_of(Path::new("/dir"), name), Some(Path::new("/dir").join(path)));
        }
    }

    #[test]
    fn a_name_that_could_lead_elsewhere_is_refused() {
        let long = format!("{}.wav", "a".repeat(MAX_NAME));
        for name in [
            "", ".wav", "..", "../x.wav", "a/b.wav", "/x.wav", "a\\b.wav", "a\0.wav", "a\n.wav", "a b.wav", "..wav",
            ".x.wav", "x.WAV", "x", "x.wav/", "名.wav", &long,
        ] {
            assert_eq!(path_of(Path::new("/dir"), name), None, "{name:?}");
        }
    }
}
