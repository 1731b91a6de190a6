//! What a phone does by itself, and who it is.
//!
//! ```text
//!   called:   INVITE ─ring_after─▶ 180 ─early_media_after─▶ 183 ─after─▶ 200 | 486 | … ─ACK─▶ ─hang_up_after─▶ BYE
//!   calling:  INVITE ─cancel_after─▶ CANCEL            200 ─ACK─▶ ─hang_up_after─▶ BYE
//! ```

use std::net::SocketAddr;
use std::time::Duration;

use crate::digest::{Challenge, Credentials};
use crate::sdp::{Codec, Offer};
use crate::text::TextReply;
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

/// What a phone makes of reliable provisional responses (RFC 3262).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Reliability {
    /// It has never heard of them: an INVITE that requires them is refused with 420.
    #[default]
    Absent,
    /// Calling: `Supported: 100rel`. Called: reliable where the INVITE requires it.
    Supported,
    /// Calling: `Supported: 100rel`. Called: reliable where the INVITE supports or requires it.
    Preferred,
    /// Calling: `Require: 100rel`. Called: an INVITE that does not support it is refused with 421.
    Required,
}

/// Who refreshes a session (RFC 4028 §7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refresher {
    /// This phone.
    Us,
    /// Its peer.
    Them,
}

/// How a session is refreshed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefreshBy {
    /// UPDATE without SDP.
    Update,
    /// re-INVITE with the SDP of before.
    Reinvite,
}

/// A session timer (RFC 4028).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionTimer {
    /// Session-Expires, in seconds; a called phone takes less where the INVITE asks for less.
    pub expires: u32,
    /// Min-SE, in seconds, 90 or more; a called phone refuses less with 422.
    pub min_se: u32,
    /// Who shall refresh; `None` leaves it to the other side, or is the caller.
    pub refresher: Option<Refresher>,
    /// How, where it is us.
    pub by: RefreshBy,
    /// `false`: we never do although we should. The peer must end the call.
    pub refreshes: bool,
}

impl SessionTimer {
    /// So many seconds; at least 90 are taken; who refreshes is left to the other side; by UPDATE.
    #[must_use]
    pub const fn new(expires: u32) -> SessionTimer {
        SessionTimer { expires, min_se: 90, refresher: None, by: RefreshBy::Update, refreshes: true }
    }

    /// This side shall refresh.
    #[must_use]
    pub const fn refresher(self, refresher: Refresher) -> SessionTimer {
        SessionTimer { refresher: Some(refresher), ..self }
    }

    /// Takes no less than so many seconds.
    #[must_use]
    pub const fn at_least(self, min_se: u32) -> SessionTimer {
        SessionTimer { min_se, ..self }
    }

    /// By re-INVITE.
    #[must_use]
    pub const fn by_reinvite(self) -> SessionTimer {
        SessionTimer { by: RefreshBy::Reinvite, ..self }
    }

    /// Does not do it.
    #[must_use]
    pub const fn forgets(self) -> SessionTimer {
        SessionTimer { refreshes: false, ..self }
    }
}

/// A provisional response besides 180 and early media.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Provisional {
    /// How long after the INVITE.
    pub after: Duration,
    /// 101-199.
    pub status: u16,
    /// With the answer, where the INVITE made an offer.
    pub sdp: bool,
    /// More headers: name, value.
    pub headers: Vec<(String, String)>,
}

/// Another phone that the same INVITE reaches, behind a forking proxy. Times count from the INVITE.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fork {
    /// Its RTP address.
    pub rtp: SocketAddr,
    /// 180.
    pub ring_after: Option<Duration>,
    /// 183 with its SDP.
    pub early_media_after: Option<Duration>,
    /// 200: the first of all is the call, a later one is to be acknowledged and ended.
    pub answer_after: Option<Duration>,
    /// 199 (RFC 6228): it has refused.
    pub ends_after: Option<Duration>,
}

impl Fork {
    /// Rings, and nothing more.
    #[must_use]
    pub const fn rings(rtp: SocketAddr, after: Duration) -> Fork {
        Fork { rtp, ring_after: Some(after), early_media_after: None, answer_after: None, ends_after: None }
    }

    /// Sends early media.
    #[must_use]
    pub const fn early_media(self, after: Duration) -> Fork {
        Fork { early_media_after: Some(after), ..self }
    }

    /// Answers.
    #[must_use]
    pub const fn answers(self, after: Duration) -> Fork {
        Fork { answer_after: Some(after), ..self }
    }

    /// 199.
    #[must_use]
    pub const fn ends(self, after: Duration) -> Fork {
        Fork { ends_after: Some(after), ..self }
    }
}

/// From when a time of [`Script::deeds`] counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum When {
    /// The INVITE was sent, or came.
    Invited(Duration),
    /// There is an early dialog: the first provisional response above 100 came, or was sent.
    Early(Duration),
    /// The ACK was sent, or came.
    Up(Duration),
}

/// Something that a phone does within a dialog.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Act {
    /// re-INVITE; after a 491 once more at a time that RFC 3261 §14.1 allows.
    Reinvite(Offer),
    /// UPDATE (RFC 3311), in an early dialog too; after a 491 and 500 once more.
    Update(Offer),
    /// INFO with a digit, as `application/dtmf-relay` or `application/dtmf`.
    InfoDigit {
        /// `0`-`9`, `*`, `#`, `A`-`D`.
        digit: char,
        /// `Signal=` and `Duration=`, not the bare digit.
        relay: bool,
    },
    /// Any other request within the dialog, e.g. REFER, SUBSCRIBE, NOTIFY, MESSAGE or a method that nobody knows.
    Send {
        /// Its method.
        method: String,
        /// Its headers besides those of every request. A Content-Type among them is that of the body.
        headers: Vec<(String, String)>,
        /// Its body.
        body: Option<Vec<u8>>,
    },
    /// A digit in RTP (RFC 4733).
    Press(char, Duration),
    /// A digit's two tones in the voice (in-band DTMF).
    Tones(char, Duration),
    /// BYE; a caller may also send it in an early dialog (RFC 3261 §15).
    Bye,
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
    /// Reliable provisional responses.
    pub reliability: Reliability,
    /// Calling: reliable provisional responses are never acknowledged.
    pub never_pracks: bool,
    /// Calling: the first PRACK brings this new offer, where the response that it acknowledges settled the one before.
    pub prack_offer: Option<Offer>,
    /// Called: SDP that went out in a reliable provisional response is said again, word for word, in the 200.
    pub repeats_sdp: bool,
    /// Called: more provisional responses.
    pub provisionals: Vec<Provisional>,
    /// What it does within the dialog, and when.
    pub deeds: Vec<(When, Act)>,
    /// Session timer; `None` has never heard of them.
    pub session_timer: Option<SessionTimer>,
    /// Methods that it refuses with 405 and leaves out of Allow, e.g. `UPDATE`.
    pub lacks: Vec<String>,
    /// Refuses every new offer within the dialog with this status, e.g. 488.
    pub refuses_offers: Option<u16>,
    /// Called: an INVITE needs credentials.
    pub challenge: Option<Challenge>,
    /// Called: others that the INVITE reaches too.
    pub forks: Vec<Fork>,
    /// Calling: bears with responses of several To tags; without, they are a breach, for X is one user agent.
    pub takes_forks: bool,
    /// Calling: more headers in the INVITE, e.g. an unknown Require or Proxy-Require.
    pub invite_headers: Vec<(String, String)>,
    /// Calling: Max-Forwards of the INVITE.
    pub max_forwards: u8,
    /// Called: more headers in a refusal, e.g. the Contacts of a 302.
    pub refusal_headers: Vec<(String, String)>,
    /// How it answers a text.
    pub text_reply: TextReply,
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
            reliability: Reliability::Absent,
            never_pracks: false,
            prack_offer: None,
            repeats_sdp: false,
            provisionals: Vec::new(),
            deeds: Vec::new(),
            session_timer: None,
            lacks: Vec::new(),
            refuses_offers: None,
            challenge: None,
            forks: Vec::new(),
            takes_forks: false,
            invite_headers: Vec::new(),
            max_forwards: 70,
            refusal_headers: Vec::new(),
            text_reply: TextReply::default(),
        }
    }
}

impl Act {
    /// A request with these headers and no body.
    #[must_use]
    pub fn sends(method: &str, headers: &[(&str, &str)]) -> Act {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Act::Send { method: method.to_owned(), headers, body: None }
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

    /// Redirects to these URIs, with falling q.
    #[must_use]
    pub fn redirects(after: Duration, status: u16, targets: &[&str]) -> Script {
        let contact = |(place, target): (usize, &&str)| {
            let q = 10_usize.saturating_sub(place).max(1);
            ("Contact".to_owned(), format!("<{target}>;q={}.{}", q / 10, q % 10))
        };
        Script { refusal_headers: targets.iter().enumerate().map(contact).collect(), ..Script::refuses(after, status) }
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

    /// What it makes of reliable provisional responses.
    #[must_use]
    pub fn reliably(self, reliability: Reliability) -> Script {
        Script { reliability, ..self }
    }

    /// Sends this provisional response, without SDP, this long after the INVITE.
    #[must_use]
    pub fn provisional(mut self, after: Duration, status: u16) -> Script {
        self.provisionals.push(Provisional { after, status, sdp: false, headers: Vec::new() });
        self
    }

    /// Does this, then.
    #[must_use]
    pub fn does(mut self, when: When, act: Act) -> Script {
        self.deeds.push((when, act));
        self
    }

    /// Wants credentials for an INVITE.
    #[must_use]
    pub fn challenges(self, challenge: Challenge) -> Script {
        Script { challenge: Some(challenge), ..self }
    }

    /// Puts this header into its INVITE.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Script {
        self.invite_headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The INVITE reaches this one too.
    #[must_use]
    pub fn forks(mut self, fork: Fork) -> Script {
        self.forks.push(fork);
        self
    }

    /// Has a session timer.
    #[must_use]
    pub fn timed(self, session_timer: SessionTimer) -> Script {
        Script { session_timer: Some(session_timer), ..self }
    }

    /// Does not know this method.
    #[must_use]
    pub fn lacks(mut self, method: &str) -> Script {
        self.lacks.push(method.to_owned());
        self
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
    /// Another one, for [`Offer::Moved`].
    pub second_rtp: Option<SocketAddr>,
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
    /// Streams before the audio in its offers, line by line, each from its m= line on.
    pub streams_before: Vec<String>,
    /// Streams after it.
    pub streams_after: Vec<String>,
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
    /// Record-Route that proxies between it and X put into its INVITE and its responses, e.g. `<sip:10.0.0.9;lr>`; without `;lr`
    /// the hop is a strict router.
    pub record_route: Vec<String>,
    /// What it answers a 401 or 407 with; `None` gives up.
    pub credentials: Option<Credentials>,
    /// ISUP that travels beside its SDP, in multipart/mixed (RFC 3372).
    pub isup: Option<Vec<u8>>,
    /// A word that it puts, with its number, its display name and its host, into every place of everything that it sends:
    /// headers, tags, parameters, reason phrases, SDP, RTP and RTCP.
    pub canary: Option<String>,
    /// Randomness of tags, branches, Call-IDs, SSRC.
    pub seed: u64,
}

impl Config {
    /// Every RTP address that it may have in a call.
    #[must_use]
    pub fn rtp_addresses(&self) -> Vec<SocketAddr> {
        let forks = self.script.forks.iter().map(|fork| fork.rtp);
        std::iter::once(self.rtp).chain(self.second_rtp).chain(forks).collect()
    }

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
            second_rtp: None,
            transport: Transport::Udp,
            codecs: vec![Codec::Pcma, Codec::Pcmu],
            telephone_event: Some(101),
            user_agent: None,
            headers: Vec::new(),
            sdp_session_lines: Vec::new(),
            sdp_media_lines: Vec::new(),
            streams_before: Vec::new(),
            streams_after: Vec::new(),
            cname: None,
            script: Script::default(),
            sound: Sound::Mute,
            early_sound: Sound::Mute,
            timers: Timers::default(),
            record_route: Vec::new(),
            credentials: None,
            isup: None,
            canary: None,
            seed,
        }
    }
}
