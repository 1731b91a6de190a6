//! Media, sans I/O: what an RTP relay with prompts and recording decides, packet by packet.
//!
//! Bytes, commands and `now` (a [`Duration`](std::time::Duration) since the process's epoch) go in by `handle_*`; packets,
//! events, recorded audio and the next deadline come out by `poll_*` or through the sink a method is given. Nothing here
//! opens a socket, reads a clock or allocates per packet.
//!
//! ```text
//!   A's socket ─▶ Latch ─▶ (TelephoneEvent, Tones) ─▶ Recorder ─▶ Splice ─▶ B's socket
//!                                                         ▲
//!   B's socket ─▶ Latch ─▶ (TelephoneEvent, Tones) ───────┴─────▶ Splice ─▶ A's socket      a prompt takes the place of the peer
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

mod digits;
pub mod g711;
mod inband_dtmf;
pub mod latch;
mod leg;
pub mod ports;
mod prompt;
mod random;
mod reception;
pub mod recorder;
pub mod rtcp;
pub mod rtp;
pub mod sdp;
pub mod session;
pub mod splice;
pub mod telephone_event;
pub mod wav;

pub use telephone_event::Digit;

/// One of the two parties of a call. `A` placed it (the incoming leg), `B` is called (the outgoing leg).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Side {
    /// The party that dialled X.
    A,
    /// The party that X stands for.
    B,
}

impl Side {
    /// Both sides, A first.
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    /// The other party.
    #[must_use]
    pub const fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    /// 0 for A, 1 for B: the place in a two-element array.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Side::A => 0,
            Side::B => 1,
        }
    }
}

/// G.711 companding law, 8,000 Hz mono, one byte a sample (RFC 3551 §4.5.14).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Codec {
    /// A-law, static payload type 8.
    Pcma,
    /// µ-law, static payload type 0.
    Pcmu,
}

/// What offer and answer settled for one leg.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LegFormat {
    /// The companding law that this leg sends and receives.
    pub codec: Codec,
    /// RTP payload type of the audio (0-127).
    pub payload_type: u8,
    /// RTP payload type of telephone-event/8000 (RFC 4733), where the leg has it.
    pub telephone_event: Option<u8>,
    /// The payload type that our offer gave telephone-event, where the answer gives it another. The party should send with
    /// this one, and many send with their own (RFC 3264 §5.1, §6.1): both are taken.
    pub telephone_event_offered: Option<u8>,
    /// Packet time in milliseconds that we send prompts with (10-60).
    pub ptime_ms: u8,
}

impl LegFormat {
    /// Whether a payload type that the party sends with is telephone-event.
    #[must_use]
    pub fn takes_event(&self, payload_type: u8) -> bool {
        self.telephone_event == Some(payload_type) || self.telephone_event_offered == Some(payload_type)
    }
}

/// Direction attribute of the media, seen from us (RFC 8866 §6.7): may we send, does the peer send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Direction {
    /// We send to the peer.
    pub send: bool,
    /// The peer sends to us.
    pub receive: bool,
}

/// Whether the address of a leg may be learnt from what arrives (RFC 7362).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SourcePolicy {
    /// Only the address in the SDP sends and is sent to.
    Signalled,
    /// The first source that sends valid RTP is latched and then locked, unless the SDP address sends before the lock; a new SDP reopens it.
    Learn,
}

/// Where one leg's media goes, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Remote {
    /// RTP address from the SDP.
    pub rtp: SocketAddr,
    /// RTCP address from the SDP (`a=rtcp`, else the RTP port + 1; RFC 3605).
    pub rtcp: SocketAddr,
    /// Format settled.
    pub format: LegFormat,
    /// Direction settled.
    pub direction: Direction,
    /// May the source be learnt.
    pub source: SourcePolicy,
}

/// A prompt ready to play: A-law, 8,000 Hz, mono, at most 2 MB (product rule R).
#[derive(PartialEq, Eq)]
pub struct Prompt {
    /// Its file name, shown in ladders and logs.
    pub name: Arc<str>,
    /// A-law samples.
    pub alaw: Arc<[u8]>,
}

impl std::fmt::Debug for Prompt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prompt({}, {} ms)", self.name, self.alaw.len() / 8)
    }
}

/// How often a prompt plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Repeat {
    /// Once, then [`Event::PromptEnded`].
    Once,
    /// Until something else is to be heard (ringback).
    Loop,
}

/// What one side hears.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Hear {
    /// Nothing is sent.
    Nothing,
    /// The other party.
    Peer,
    /// A prompt; when it has played [`Repeat::Once`], the side goes on to hear `then`.
    Prompt {
        /// What to play.
        prompt: Arc<Prompt>,
        /// How often.
        repeat: Repeat,
        /// What follows.
        then: Then,
    },
}

/// What a side hears after a prompt that plays once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Then {
    /// Nothing is sent.
    Nothing,
    /// The other party.
    Peer,
    /// Another prompt for ever (ringback after a personal announcement).
    Loop(Arc<Prompt>),
}

/// What the call tells its media session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Offer/answer of one leg completed or changed. Reopens the latch when the address changed.
    SetRemote {
        /// Whose.
        side: Side,
        /// Where and how.
        remote: Remote,
    },
    /// Change what one side hears, from now on.
    Hear {
        /// Who hears.
        side: Side,
        /// What.
        hear: Hear,
    },
    /// Change what a side hears after the prompt that it is being played [`Repeat::Once`], which goes on without a seam.
    /// Nothing happens where no such prompt plays (any more): its [`Event::PromptEnded`] tells when that was so.
    Follow {
        /// Who hears.
        side: Side,
        /// What follows.
        then: Then,
    },
    /// Send a digit to this side as a telephone-event (RFC 4733 §2.5.1), after those ordered before it and after a prompt that
    /// plays. While it is sent, the side does not hear the other party. Counted in [`LegTotals::digits_refused`] where the
    /// leg has no telephone-event or is on hold, or sixteen wait already.
    Digit {
        /// To whom.
        side: Side,
        /// Which.
        digit: Digit,
        /// How long, in milliseconds; 40-5,000, others become the nearest of these.
        ms: u16,
    },
    /// Begin or cease to collect what this side presses, as telephone-events and as tones (in-band DTMF): each digit is told
    /// as it is pressed ([`Event::Pressed`]), and no [`Event::Digit`] comes of it. What is held when collection begins is no
    /// part of it, and of what is held when it ends nothing more is told. All else goes on: events and audio are passed on,
    /// recorded and watched for as before.
    Collect {
        /// Who presses.
        side: Side,
        /// Begin.
        on: bool,
    },
    /// Begin to record what both say (never the prompts before it). Named by the caller; the same name is in the CDR.
    Record {
        /// File name without directory, e.g. `20261123-3f9c….wav`.
        name: Arc<str>,
    },
    /// The call is over: flush the recording, give the ports back.
    Close,
}

/// How a digit comes with the media.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum DigitBy {
    /// As a telephone-event (RFC 4733).
    Event,
    /// As a pair of tones in the voice (ITU-T Q.23, Q.24).
    Tone,
}

/// What the media session tells its call.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A prompt that plays once has been sent whole to this side.
    PromptEnded {
        /// Who heard it.
        side: Side,
        /// Which: a later prompt may have been ordered in the meantime.
        prompt: Arc<Prompt>,
    },
    /// This side has sent a digit by telephone-event, and the other leg has no telephone-event to pass it on with. Told once
    /// a digit, when it has ended or nothing more has come of it for 250 ms, whatever was lost or repeated on its way.
    Digit {
        /// Who pressed it.
        side: Side,
        /// Which.
        digit: Digit,
        /// How long, in milliseconds, as far as it is known.
        ms: u16,
    },
    /// A side that is collected from ([`Command::Collect`]) begins a digit. A digit that comes in two ways is told twice, once
    /// for each way.
    Pressed {
        /// Who.
        side: Side,
        /// Which.
        digit: Digit,
        /// How it came.
        by: DigitBy,
    },
    /// The digit that was [`Event::Pressed`] last in this way has ended.
    Released {
        /// Who.
        side: Side,
        /// How it came.
        by: DigitBy,
    },
    /// No RTP came from either side for the dead-media time-out (sides on hold do not count).
    Dead,
    /// The session is closed; its last event.
    Closed(Box<Totals>),
}

/// What passed through a session.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Totals {
    /// Per side, A first.
    pub legs: [LegTotals; 2],
    /// Recorded audio in milliseconds; 0 when nothing was recorded.
    pub recorded_ms: u64,
}

/// What passed through one leg.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct LegTotals {
    /// RTP packets admitted from the party.
    pub received: u64,
    /// RTP packets sent to the party, prompts included.
    pub sent: u64,
    /// Lost by the sequence numbers (RFC 3550 §A.3), never negative.
    pub lost: u64,
    /// Packets turned away: wrong source, not RTP, unknown payload type, oversize.
    pub refused: u64,
    /// Digits sent to the party for [`Command::Digit`].
    pub digits_sent: u64,
    /// Digits that could not be sent to it, or that it sent faster than anybody presses.
    pub digits_refused: u64,
    /// Interarrival jitter at the end, in microseconds (RFC 3550 §A.8).
    pub jitter_us: u32,
}
