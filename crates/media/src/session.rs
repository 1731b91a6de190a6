//! One call's media: two legs, what each hears, what is recorded.
//!
//! The daemon's relay worker and the testbed drive it like this:
//!
//! ```
//! use media::{Command, Side, session::{Config, Session}};
//! use std::time::Duration;
//!
//! let (mut now, seed, mut alaw) = (Duration::ZERO, 1, Vec::new());
//! let mut session = Session::new(Config::default(), seed, now);
//! # let (side, source, mut packet) = (Side::A, "192.0.2.1:4000".parse().unwrap(), [0; 172]);
//! if let Some(forward) = session.handle_rtp(now, side, source, &mut packet) {
//!     let _ = (forward.side, forward.destination, &packet[forward.range]); // out of that side's RTP socket
//! }
//! session.handle_rtcp(now, side, source, &packet); // terminated here, nothing is passed on
//! session.handle_command(now, Command::Close); // from the call
//! session.handle_timeout(now, &mut |side, kind, destination, bytes| { /* send; at each deadline, after each command */ });
//! while let Some(output) = session.poll_recording(&mut alaw) { /* to the recording writer; as often */ }
//! while let Some(event) = session.poll_event() { /* to the call */ }
//! let deadline = session.poll_timeout(); // absolute; in the past means now
//! ```
//!
//! ```text
//!                          Close
//!   ┌──────┐ commands, RTP ─────▶ ┌────────┐  Event::Closed, then nothing: every packet is refused,
//!   │ Open │                      │ Closed │  every command ignored, no deadline
//!   └──────┘                      └────────┘
//! ```

use crate::digits::Note;
use crate::leg::{Content, Leg, earliest};
use crate::random::Random;
use crate::recorder::Recorder;
use crate::rtcp;
use crate::{Command, DigitBy, Event, Remote, Side, Totals};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// What a session needs to know from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Config {
    /// Without RTP from either side for so long, [`Event::Dead`]; zero switches the check off.
    pub dead_after: Duration,
    /// UNIX time at `now` = 0, for the NTP timestamps of sender reports.
    pub unix_at_epoch: Duration,
}

/// Which of a leg's two sockets.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// The even port.
    Rtp,
    /// The odd port.
    Rtcp,
}

/// Where [`Session::handle_timeout`] puts packets: leg, socket, destination, bytes.
pub type Sink<'a> = dyn FnMut(Side, Kind, SocketAddr, &[u8]) + 'a;

/// A packet to pass on, rewritten in place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Out of whose RTP socket.
    pub side: Side,
    /// Where to.
    pub destination: SocketAddr,
    /// Which part of the buffer.
    pub range: Range<usize>,
}

/// What [`Session::poll_recording`] gives, in this order: `Started`, any number of `Audio`, `Finished`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RecordingOutput {
    /// A recording begins.
    Started {
        /// File name without directory.
        name: Arc<str>,
    },
    /// A-law samples have been appended to the buffer.
    Audio,
    /// The recording is whole.
    Finished {
        /// Length in milliseconds.
        ms: u64,
    },
}

/// RTCP of one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ControlTotals {
    /// Compound packets read.
    pub received: u64,
    /// BYE packets in them; they have no effect.
    pub byes: u64,
    /// Compound packets turned away: wrong source or malformed.
    pub refused: u64,
    /// The round trip to the party by its last report.
    pub round_trip: Option<Duration>,
}

/// The media of one call.
#[derive(Debug)]
pub struct Session {
    config: Config,
    random: Random,
    phase: Phase,
    legs: [Leg; 2],
    silence: Silence,
    recording: Recording,
    dead_to_tell: bool,
    /// The latest time that has been told.
    now: Duration,
}

#[derive(Debug)]
enum Phase {
    Open,
    /// With the totals until they have been polled.
    Closed(Option<Box<Totals>>),
}

/// Watching for dead media.
#[derive(Debug)]
enum Silence {
    /// Not both legs have a remote party.
    NotExpected,
    /// Media is expected since.
    Watched { since: Duration },
    /// Told once.
    Told,
}

#[derive(Debug)]
enum Recording {
    Off,
    /// Boxed: most of a session's memory, and most sessions have none.
    Running(Box<Running>),
    Flushing(Box<Flushing>),
    Done,
}

struct Running {
    /// Until it has been polled.
    name: Option<Arc<str>>,
    recorder: Recorder,
}

#[derive(Debug)]
struct Flushing {
    name: Option<Arc<str>>,
    rest: Vec<u8>,
    ms: u64,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Session {
    /// An open session: nobody is known, both hear nothing. The same seed gives the same SSRCs, CNAMEs and report times.
    #[must_use]
    pub fn new(config: Config, seed: u64, now: Duration) -> Session {
        let mut random = Random::new(seed);
        let legs = [Leg::new(&mut random), Leg::new(&mut random)];
        Session {
            config,
            random,
            phase: Phase::Open,
            legs,
            silence: Silence::NotExpected,
            recording: Recording::Off,
            dead_to_tell: false,
            now,
        }
    }

    /// Does what the call says. The first packet of a prompt or a digit is due at once: call [`Session::handle_timeout`] after it.
    pub fn handle_command(&mut self, now: Duration, command: Command) {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Open => {}
            Phase::Closed(_) => return,
        }
        match command {
            Command::SetRemote { side, remote } => self.set_remote(now, side, remote),
            Command::Hear { side, hear } => self.legs[side.index()].hear(now, hear),
            Command::Follow { side, then } => self.legs[side.index()].follow(then),
            Command::Digit { side, digit, ms } => self.legs[side.index()].press(digit, ms),
            Command::Collect { side, on } => self.legs[side.index()].collect(now, on),
            Command::Record { name } => self.record(now, name),
            Command::Close => self.close(now),
        }
    }

    /// Takes a packet from a party's RTP socket and says what to send of it; `None` when nothing goes on. The packet is
    /// rewritten in place: SSRC, sequence number, timestamp, payload type, law; CSRCs, header extension and padding are cut.
    /// Allocates nothing.
    #[inline]
    pub fn handle_rtp(&mut self, now: Duration, side: Side, source: SocketAddr, packet: &mut [u8]) -> Option<Forward> {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Open => {}
            Phase::Closed(_) => return None,
        }
        let [a, b] = &mut self.legs;
        let (from, to) = match side {
            Side::A => (a, b),
            Side::B => (b, a),
        };
        let admitted = from.admit(now, source, packet)?;
        match admitted.content {
            Content::Audio(codec) => {
                let payload = packet.get(admitted.payload.clone())?;
                from.on_audio(now, &admitted.header, codec, payload);
                if let Recording::Running(running) = &mut self.recording {
                    running.recorder.on_audio(now, side, &admitted.header, codec, payload);
                }
            }
            Content::Event => from.on_event(now, &admitted, packet, to.takes_events()),
            Content::Nothing => {}
        }
        let (destination, range) = to.forward(now, &admitted, packet)?;
        Some(Forward { side: side.other(), destination, range })
    }

    /// Takes a packet from a party's RTCP socket. Reports are read; nothing is passed on.
    pub fn handle_rtcp(&mut self, now: Duration, side: Side, source: SocketAddr, bytes: &[u8]) {
        self.now = self.now.max(now);
        let ntp = self.ntp(now);
        match self.phase {
            Phase::Open => self.legs[side.index()].on_rtcp(now, ntp, source, bytes),
            Phase::Closed(_) => {}
        }
    }

    /// Sends what is due: packets of prompts and digits, reports; ends digits of which nothing more came; checks for dead
    /// media.
    pub fn handle_timeout(&mut self, now: Duration, sink: &mut Sink<'_>) {
        self.now = self.now.max(now);
        match self.phase {
            Phase::Open => {}
            Phase::Closed(_) => return,
        }
        let ntp = self.ntp(now);
        for side in Side::BOTH {
            let leg = &mut self.legs[side.index()];
            let leg_sink = &mut |kind, destination, bytes: &[u8]| sink(side, kind, destination, bytes);
            leg.on_tick(now, leg_sink);
            leg.on_report(now, ntp, &mut self.random, leg_sink);
        }
        if self.dead_at().is_some_and(|at| at <= now) {
            self.silence = Silence::Told;
            self.dead_to_tell = true;
        }
    }

    /// When [`Session::handle_timeout`], [`Session::poll_event`] and [`Session::poll_recording`] want to be called next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        match self.phase {
            Phase::Open => {}
            Phase::Closed(_) => return None,
        }
        let [a, b] = &self.legs;
        let recorder = match &self.recording {
            Recording::Running(running) => running.recorder.poll_timeout(),
            Recording::Off | Recording::Flushing(_) | Recording::Done => None,
        };
        earliest(earliest(a.poll_timeout(), b.poll_timeout()), earliest(recorder, self.dead_at()))
    }

    /// The next event: prompts' ends, then digits, then [`Event::Dead`], then [`Event::Closed`], which is the last.
    pub fn poll_event(&mut self) -> Option<Event> {
        for side in Side::BOTH {
            if let Some(prompt) = self.legs[side.index()].take_prompt_ended() {
                return Some(Event::PromptEnded { side, prompt });
            }
        }
        for side in Side::BOTH {
            let leg = &mut self.legs[side.index()];
            if let Some(note) = leg.take_event() {
                return Some(event(side, DigitBy::Event, note));
            }
            if let Some(note) = leg.take_tone() {
                return Some(event(side, DigitBy::Tone, note));
            }
        }
        if std::mem::take(&mut self.dead_to_tell) {
            return Some(Event::Dead);
        }
        match &mut self.phase {
            Phase::Open => None,
            Phase::Closed(totals) => totals.take().map(Event::Closed),
        }
    }

    /// The next piece of the recording; audio is appended to `alaw`. To be called until `None` after commands and time-outs.
    pub fn poll_recording(&mut self, alaw: &mut Vec<u8>) -> Option<RecordingOutput> {
        match &mut self.recording {
            Recording::Off | Recording::Done => None,
            Recording::Running(running) => {
                if let Some(name) = running.name.take() {
                    return Some(RecordingOutput::Started { name });
                }
                // Half a second at a time: a write of each packet would cost the recording writer more than the recording.
                running.recorder.poll_timeout().filter(|due| *due <= self.now)?;
                let before = alaw.len();
                running.recorder.drain(self.now, alaw);
                (alaw.len() > before).then_some(RecordingOutput::Audio)
            }
            Recording::Flushing(flushing) => {
                if let Some(name) = flushing.name.take() {
                    return Some(RecordingOutput::Started { name });
                }
                if !flushing.rest.is_empty() {
                    alaw.append(&mut flushing.rest);
                    return Some(RecordingOutput::Audio);
                }
                let ms = flushing.ms;
                self.recording = Recording::Done;
                Some(RecordingOutput::Finished { ms })
            }
        }
    }

    /// What has passed so far. `recorded_ms` is known at the end only.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let [a, b] = &self.legs;
        Totals { legs: [a.totals(), b.totals()], recorded_ms: 0 }
    }

    /// RTCP of one leg so far.
    #[must_use]
    pub fn control_totals(&self, side: Side) -> ControlTotals {
        self.legs[side.index()].control_totals()
    }

    /// Packets meant for this side that it was not sent: events it has not settled on, comfort noise, late packets of a
    /// source that has been replaced, anything during a digit of ours.
    #[must_use]
    pub fn dropped(&self, side: Side) -> u64 {
        self.legs[side.index()].dropped()
    }

    /// The source that the party's media is locked to: its RTP socket may be connected to it.
    #[must_use]
    pub fn locked_source(&self, side: Side) -> Option<SocketAddr> {
        self.legs[side.index()].locked_source()
    }

    fn set_remote(&mut self, now: Duration, side: Side, remote: Remote) {
        let expected_anew = self.legs[side.index()].set_remote(now, remote, &mut self.random);
        let both = self.legs.iter().all(Leg::is_settled);
        match self.silence {
            Silence::NotExpected if !both => {}
            Silence::NotExpected => self.silence = Silence::Watched { since: now },
            Silence::Watched { .. } if expected_anew => self.silence = Silence::Watched { since: now },
            Silence::Watched { .. } | Silence::Told => {}
        }
    }

    fn record(&mut self, now: Duration, name: Arc<str>) {
        match self.recording {
            Recording::Off => {
                self.recording =
                    Recording::Running(Box::new(Running { name: Some(name), recorder: Recorder::new(now) }));
            }
            // One recording a call.
            Recording::Running(_) | Recording::Flushing(_) | Recording::Done => {}
        }
    }

    fn close(&mut self, now: Duration) {
        let mut totals = self.totals();
        if let Recording::Running(running) = &mut self.recording {
            let mut rest = Vec::new();
            let ms = running.recorder.finish(now, &mut rest);
            totals.recorded_ms = ms;
            self.recording = Recording::Flushing(Box::new(Flushing { name: running.name.take(), rest, ms }));
        }
        self.phase = Phase::Closed(Some(Box::new(totals)));
    }

    /// When the media is dead if nothing comes; `None` when that is not watched or nobody is expected to send.
    fn dead_at(&self) -> Option<Duration> {
        let since = match self.silence {
            Silence::Watched { since } if !self.config.dead_after.is_zero() => since,
            Silence::Watched { .. } | Silence::NotExpected | Silence::Told => return None,
        };
        let last = self.legs.iter().filter_map(Leg::expected_since).max()?;
        Some(since.max(last.unwrap_or_default()).saturating_add(self.config.dead_after))
    }

    fn ntp(&self, now: Duration) -> u64 {
        rtcp::ntp(self.config.unix_at_epoch.saturating_add(now))
    }
}

/// What the call is told of a digit.
const fn event(side: Side, by: DigitBy, note: Note) -> Event {
    match note {
        Note::Whole(digit, ms) => Event::Digit { side, digit, ms },
        Note::Pressed(digit) => Event::Pressed { side, digit, by },
        Note::Released => Event::Released { side, by },
    }
}

#[cfg(test)]
mod tests;
