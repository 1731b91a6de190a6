//! What a phone does by itself, and who it is.
//!
//! ```text
//!   called:   INVITE ─ring_after─▶ 180 ─early_media_after─▶ 183 ─after─▶ 200 | 486 | … ─ACK─▶ ─hang_up_after─▶ BYE
//!   calling:  INVITE ─cancel_after─▶ CANCEL            200 ─ACK─▶ ─hang_up_after─▶ BYE
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::sdp::Codec;
use crate::voice::Sound;

/// A phone's transport to its peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transport {
    /// Datagrams: requests are retransmitted.
    Udp,
    /// A stream: only the 200 to an INVITE is.
    Tcp,
    /// The same, in private.
    Tls,
}

/// What a called phone does in the end. Times count from the INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reply {
    /// 200 with SDP.
    Answer {
        /// How long after the INVITE.
        after: Duration,
    },
    /// A final response other than 2xx.
    Refuse {
        /// How long after the INVITE.
        after: Duration,
        /// 300-699.
        status: u16,
        /// Value of a Reason header (RFC 3326), e.g. `Q.850;cause=17`.
        reason: Option<String>,
    },
    /// Nothing final: rings until it is cancelled.
    Never,
}

/// What a phone does by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Called: 180 this long after the INVITE; `None` leaves it away.
    pub ring_after: Option<Duration>,
    /// Called: 183 with SDP this long after the INVITE, after which the early sound is sent.
    pub early_media_after: Option<Duration>,
    /// Called: how it ends.
    pub reply: Reply,
    /// BYE this long after the call was established.
    pub hang_up_after: Option<Duration>,
    /// Calling: CANCEL this long after the INVITE.
    pub cancel_after: Option<Duration>,
    /// Calling: INVITE without SDP; the answer goes into the ACK.
    pub late_offer: bool,
    /// Calling: the 200 is never acknowledged, as by a phone that has lost its network.
    pub never_acknowledge: bool,
    /// Never a response to anything, as by a phone that is switched off.
    pub dead: bool,
}

impl Default for Script {
    fn default() -> Self {
        Script {
            ring_after: Some(Duration::from_millis(40)),
            early_media_after: None,
            reply: Reply::Never,
            hang_up_after: None,
            cancel_after: None,
            late_offer: false,
            never_acknowledge: false,
            dead: false,
        }
    }
}

impl Script {
    /// Rings after 40 ms and answers.
    #[must_use]
    pub fn answers(after: Duration) -> Script {
        Script { reply: Reply::Answer { after }, ..Script::default() }
    }

    /// Refuses without ringing.
    #[must_use]
    pub fn refuses(after: Duration, status: u16) -> Script {
        Script { ring_after: None, reply: Reply::Refuse { after, status, reason: None }, ..Script::default() }
    }

    /// 486.
    #[must_use]
    pub fn is_busy(after: Duration) -> Script {
        Script::refuses(after, 486)
    }

    /// Rings, then 603.
    #[must_use]
    pub fn declines(after: Duration) -> Script {
        Script { ring_after: Script::default().ring_after, ..Script::refuses(after, 603) }
    }

    /// Rings and never answers.
    #[must_use]
    pub fn rings() -> Script {
        Script::default()
    }

    /// Says nothing at all.
    #[must_use]
    pub fn is_dead() -> Script {
        Script { dead: true, ..Script::default() }
    }

    /// Hangs up this long after the call was established.
    #[must_use]
    pub fn hangs_up(self, after: Duration) -> Script {
        Script { hang_up_after: Some(after), ..self }
    }

    /// Cancels its call this long after the INVITE.
    #[must_use]
    pub fn cancels(self, after: Duration) -> Script {
        Script { cancel_after: Some(after), ..self }
    }

    /// Rings this long after the INVITE.
    #[must_use]
    pub fn rings_after(self, after: Duration) -> Script {
        Script { ring_after: Some(after), ..self }
    }

    /// Sends early media this long after the INVITE.
    #[must_use]
    pub fn early_media(self, after: Duration) -> Script {
        Script { early_media_after: Some(after), ..self }
    }

    /// Gives this Reason (RFC 3326) with its refusal.
    #[must_use]
    pub fn because(mut self, because: &str) -> Script {
        if let Reply::Refuse { reason, .. } = &mut self.reply {
            *reason = Some(because.to_owned());
        }
        self
    }

    /// Calls without an offer.
    #[must_use]
    pub fn offers_late(self) -> Script {
        Script { late_offer: true, ..self }
    }
}

/// Base times (RFC 3261 §17.1.1.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timers {
    /// 500 ms.
    pub t1: Duration,
    /// 4 s.
    pub t2: Duration,
    /// 5 s.
    pub t4: Duration,
}

impl Default for Timers {
    fn default() -> Self {
        Timers { t1: Duration::from_millis(500), t2: Duration::from_secs(4), t4: Duration::from_secs(5) }
    }
}

/// Who a phone is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its name in events and ladders.
    pub name: String,
    /// The user part of its URI, e.g. `+8613800000001`.
    pub number: String,
    /// Display name in its From and To; `None` leaves it away.
    pub display_name: Option<String>,
    /// Its SIP address.
    pub contact: SocketAddr,
    /// The carrier's address, where it is reached through one: requests may name it instead of `contact`.
    pub gateway: Option<SocketAddr>,
    /// Its RTP address; RTCP is one port above.
    pub rtp: SocketAddr,
    /// UDP or TCP.
    pub transport: Transport,
    /// Companding laws in order of preference; never empty.
    pub codecs: Vec<Codec>,
    /// Offers and takes telephone-event (RFC 4733) with this payload type.
    pub telephone_event: Option<u8>,
    /// User-Agent and Server header.
    pub user_agent: Option<String>,
    /// More headers in every INVITE and in every response to one: name, value.
    pub headers: Vec<(String, String)>,
    /// More SDP lines at session level, without line end, e.g. `i=weather`; they stand before `t=`.
    pub sdp_session_lines: Vec<String>,
    /// More SDP attributes at the end of the audio stream, without line end, e.g. `a=label:1`.
    pub sdp_media_lines: Vec<String>,
    /// CNAME of its RTCP reports; `None` sends none.
    pub cname: Option<String>,
    /// What it does by itself.
    pub script: Script,
    /// What it says once the call is answered.
    pub sound: Sound,
    /// What it sends as early media.
    pub early_sound: Sound,
    /// Base times.
    pub timers: Timers,
    /// Randomness of tags, branches, Call-IDs, SSRC.
    pub seed: u64,
}

impl Config {
    /// A phone with A-law and µ-law, no sound, the default script.
    #[must_use]
    pub fn new(name: &str, number: &str, contact: SocketAddr, rtp: SocketAddr, seed: u64) -> Config {
        Config {
            name: name.to_owned(),
            number: number.to_owned(),
            display_name: None,
            contact,
            gateway: None,
            rtp,
            transport: Transport::Udp,
            codecs: vec![Codec::Pcma, Codec::Pcmu],
            telephone_event: Some(101),
            user_agent: None,
            headers: Vec::new(),
            sdp_session_lines: Vec::new(),
            sdp_media_lines: Vec::new(),
            cname: None,
            script: Script::default(),
            sound: Sound::Mute,
            early_sound: Sound::Mute,
            timers: Timers::default(),
            seed,
        }
    }
}
