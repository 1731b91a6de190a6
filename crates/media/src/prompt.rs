//! What a side hears, and the playing of a prompt packet by packet.
//!
//! ```text
//!            Hear::Nothing       ┌─────────┐
//!          ┌────────────────────▶│ Nothing │◀──────────────┐ Then::Nothing
//!          │ Hear::Peer          ├─────────┤               │
//!   command├────────────────────▶│  Peer   │◀────────────┐ │ Then::Peer
//!          │ Hear::Prompt        ├─────────┤ once, ended │ │
//!          └────────────────────▶│ Playing │─────────────┴─┘
//!                                └─────────┘──┐
//!                                     ▲───────┘ loop: the last sample is followed by the first; Then::Loop
//! ```

use crate::g711::SILENCE_ALAW;
use crate::{Hear, Prompt, Repeat, Then};
use std::sync::Arc;
use std::time::Duration;

/// What a side hears now.
#[derive(Clone, Debug)]
pub(crate) enum Hearing {
    Nothing,
    Peer,
    Playing(Player),
}

/// A prompt that is being played.
#[derive(Clone, Debug)]
pub(crate) struct Player {
    prompt: Arc<Prompt>,
    /// Next sample.
    position: usize,
    ending: Ending,
    /// When the next packet is due, or, after the last one, when it has been heard.
    due: Duration,
}

#[derive(Clone, Debug)]
enum Ending {
    Never,
    Then(Then),
}

/// What a tick of a player brings.
#[derive(Debug)]
pub(crate) enum Tick {
    /// The samples have been written.
    Packet,
    /// The prompt has been heard whole, and what is heard now.
    Ended(Arc<Prompt>, Hearing),
}

impl Hearing {
    /// What a command asks for, a prompt beginning at `now`.
    pub(crate) fn new(now: Duration, hear: Hear) -> Hearing {
        match hear {
            Hear::Nothing => Hearing::Nothing,
            Hear::Peer => Hearing::Peer,
            Hear::Prompt { prompt, repeat: Repeat::Loop, then: _ } => Hearing::looped(now, prompt),
            Hear::Prompt { prompt, repeat: Repeat::Once, then } => {
                Hearing::Playing(Player { prompt, position: 0, ending: Ending::Then(then), due: now })
            }
        }
    }

    /// A prompt for ever; one without a sample is nothing, or it would be repeated infinitely fast.
    fn looped(now: Duration, prompt: Arc<Prompt>) -> Hearing {
        if prompt.alaw.is_empty() {
            return Hearing::Nothing;
        }
        Hearing::Playing(Player { prompt, position: 0, ending: Ending::Never, due: now })
    }
}

impl Player {
    /// When the next tick is due.
    pub(crate) const fn due(&self) -> Duration {
        self.due
    }

    /// Changes what follows; a loop is followed by nothing.
    pub(crate) fn follow(&mut self, then: Then) {
        match &mut self.ending {
            Ending::Then(before) => *before = then,
            Ending::Never => {}
        }
    }

    /// Moves the next tick to `at`: what was missed is neither sent in a burst nor skipped.
    pub(crate) const fn postpone(&mut self, at: Duration) {
        self.due = at;
    }

    /// Writes the next packet's A-law samples, padded with silence at the end of the prompt, and makes the following tick due
    /// one packet later.
    pub(crate) fn tick(&mut self, samples: &mut [u8]) -> Tick {
        match &self.ending {
            Ending::Never => self.fill_looped(samples),
            Ending::Then(then) => {
                if self.position >= self.prompt.alaw.len() {
                    let next = match then {
                        Then::Nothing => Hearing::Nothing,
                        Then::Peer => Hearing::Peer,
                        Then::Loop(prompt) => Hearing::looped(self.due, Arc::clone(prompt)),
                    };
                    return Tick::Ended(Arc::clone(&self.prompt), next);
                }
                self.fill_once(samples);
            }
        }
        self.due = self.due.saturating_add(Duration::from_micros(samples.len() as u64 * 125));
        Tick::Packet
    }

    fn fill_once(&mut self, samples: &mut [u8]) {
        let rest = self.prompt.alaw.get(self.position..).unwrap_or_default();
        let len = rest.len().min(samples.len());
        let (audio, padding) = samples.split_at_mut(len);
        audio.copy_from_slice(&rest[..len]);
        padding.fill(SILENCE_ALAW);
        self.position += len;
    }

    fn fill_looped(&mut self, samples: &mut [u8]) {
        let mut filled = 0;
        while filled < samples.len() {
            let rest = self.prompt.alaw.get(self.position..).unwrap_or_default();
            let len = rest.len().min(samples.len() - filled);
            samples[filled..filled + len].copy_from_slice(&rest[..len]);
            filled += len;
            self.position += len;
            if self.position >= self.prompt.alaw.len() {
                self.position = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prompt(alaw: impl Into<Arc<[u8]>>) -> Arc<Prompt> {
        Arc::new(Prompt { name: Arc::from("test.wav"), alaw: alaw.into() })
    }

    fn player(alaw: &[u8], repeat: Repeat, then: Then) -> Player {
        match Hearing::new(Duration::ZERO, Hear::Prompt { prompt: prompt(alaw), repeat, then }) {
            Hearing::Playing(player) => player,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_last_packet_is_padded_with_silence_and_its_time_passes_before_the_end() {
        let mut player = player(&[1; 250], Repeat::Once, Then::Peer);
        let mut samples = [0; 160];
        assert!(matches!(player.tick(&mut samples), Tick::Packet));
        assert_eq!(samples, [1; 160]);
        assert_eq!(player.due(), Duration::from_millis(20));
        assert!(matches!(player.tick(&mut samples), Tick::Packet));
        assert_eq!((&samples[..90], &samples[90..]), (&[1; 90][..], &[SILENCE_ALAW; 70][..]));
        assert_eq!(player.due(), Duration::from_millis(40));
        assert!(matches!(player.tick(&mut samples), Tick::Ended(_, Hearing::Peer)));
    }

    #[test]
    fn a_loop_is_seamless_whatever_its_length() {
        for len in [1, 7, 159, 160, 161, 1000] {
            let alaw: Vec<u8> = (0..len).map(|sample| sample as u8).collect();
            let mut player = player(&alaw, Repeat::Loop, Then::Nothing);
            let mut heard = Vec::new();
            for _ in 0..20 {
                let mut samples = [0; 160];
                assert!(matches!(player.tick(&mut samples), Tick::Packet));
                heard.extend(samples);
            }
            let expected: Vec<u8> = alaw.iter().copied().cycle().take(heard.len()).collect();
            assert_eq!(heard, expected, "{len} samples");
        }
    }

    #[test]
    fn an_empty_prompt_ends_at_once_and_an_empty_loop_is_nothing() {
        let mut once = player(&[], Repeat::Once, Then::Loop(prompt([])));
        assert!(matches!(once.tick(&mut [0; 160]), Tick::Ended(_, Hearing::Nothing)));
        let hear = Hear::Prompt { prompt: prompt([]), repeat: Repeat::Loop, then: Then::Peer };
        assert!(matches!(Hearing::new(Duration::ZERO, hear), Hearing::Nothing));
    }

    #[test]
    fn a_loop_follows_a_prompt_without_a_gap() {
        let mut first = player(&[1; 160], Repeat::Once, Then::Loop(prompt([2; 160])));
        first.tick(&mut [0; 160]);
        match first.tick(&mut [0; 160]) {
            Tick::Ended(_, Hearing::Playing(second)) => {
                assert_eq!(second.due(), Duration::from_millis(20))
            }
            other => panic!("{other:?}"),
        }
    }
}
