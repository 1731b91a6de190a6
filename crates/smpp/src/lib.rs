//! A client of SMPP 3.4 (an ESME), sans I/O: texts to and from a short message service centre (SMSC).
//!
//! ```text
//!            submit ─▶ ┌─ Link ──────────────────────────────┐ ─▶ Connect, Transmit, Close
//!   answer ──────────▶ │ bind_transceiver, enquire_link      │
//!   handle_bytes ────▶ │ message: text ⇄ short messages      │ ─▶ Text, Submitted
//!   handle_timeout ──▶ │ assembly: parts ─▶ text             │ ─▶ Event
//!                      └─────────────────────────────────────┘
//! ```
//!
//! It knows no other crate of ours: numbers are what is spelt on the wire, a `+` before one that is international. What PDUs
//! look like is `rusmpp-core`'s; the chapters named are those of the Short Message Peer to Peer Protocol Specification v3.4.

mod alphabet;
mod arrivals;
mod link;
mod message;
mod submits;

use std::fmt;
use std::num::NonZeroU32;
use std::time::Duration;

pub use alphabet::DefaultAlphabet;
pub use arrivals::Reply;
pub use link::Link;

/// Who we are to an SMSC, and how it wants texts.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `system_id` (§5.2.1): at most 15 bytes of ASCII.
    pub system_id: Box<str>,
    /// `password` (§5.2.2): at most 8 bytes of ASCII.
    pub password: Box<str>,
    /// `system_type` (§5.2.3): at most 12 bytes of ASCII.
    pub system_type: Box<str>,
    /// What `data_coding` 0 means there.
    pub alphabet: DefaultAlphabet,
    /// How a text goes that is longer than one short message.
    pub long: Long,
    /// The most `submit_sm` without a response at a time, from 1.
    pub window: u16,
    /// The most `submit_sm` a second; `None`: as many as it takes.
    pub per_second: Option<NonZeroU32>,
    /// After so long without a word from it, it is asked whether it is there (`enquire_link`, §4.11).
    pub enquire_every: Duration,
    /// How long a response is waited for (`response_timer`, §7.2).
    pub response_timeout: Duration,
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("system_id", &self.system_id).finish_non_exhaustive()
    }
}

/// How a text goes that is longer than one short message.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Long {
    /// In parts with a user data header (3GPP TS 23.040 §9.2.3.24.1), which the receiver's phone puts together.
    #[default]
    Udh,
    /// In parts with `sar_msg_ref_num`, `sar_total_segments`, `sar_segment_seqnum` (§5.3.2.22 to 24): the SMSC makes the headers.
    Sar,
    /// In one, as `message_payload` (§5.3.2.32): the SMSC cuts it.
    Payload,
}

/// A text that is to be sent.
#[derive(Clone)]
pub struct Submit<K> {
    /// What names it to the caller: [`Output::Submitted`] says it back, once.
    pub key: K,
    /// Who is shown.
    pub source: String,
    /// Who gets it.
    pub destination: String,
    /// The words.
    pub content: std::sync::Arc<str>,
    /// Until when anybody cares, since the process's epoch: what has not been sent by then is not.
    pub until: Duration,
}

/// A text that has come.
#[derive(Clone)]
pub struct Incoming {
    /// What [`Link::answer`] is to be told.
    pub reply: Reply,
    /// Who sends it; `None` when withheld, or no number.
    pub source: Option<String>,
    /// To whom; `None` when it is no number.
    pub destination: Option<String>,
    /// The words, their parts put together.
    pub content: String,
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Incoming").field("reply", &self.reply).finish_non_exhaustive()
    }
}

/// What becomes of a text that has come: what its SMSC is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// It is taken care of.
    Taken,
    /// Not now: it may be tried again.
    Later,
    /// Never: there is no such number.
    NoSuchNumber,
    /// Never: it is too long.
    TooLong,
    /// Never: it has been tried, in vain.
    Failed,
    /// Never: it is not allowed.
    Rejected,
}

/// Why a text has not been sent, or not the whole of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Failure {
    /// There is no session with the SMSC.
    Unbound,
    /// As many wait as may.
    Full,
    /// A number cannot be said in SMPP, or the text is too long for it.
    Unwritable,
    /// The SMSC does not respond, or is gone: it may have taken it.
    Silent,
    /// The SMSC wanted it later for as long as anybody cared.
    Throttled,
    /// It refused: `command_status` (§5.1.3).
    Refused(u32),
    /// Its time was over before it was its turn.
    Late,
}

/// Why a session is over, or did not begin.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Loss {
    /// The connection could not be made, or was closed.
    Closed,
    /// A response did not come.
    Silent,
    /// The SMSC refused the bind: `command_status`.
    Refused(u32),
    /// The SMSC wanted it to end.
    Unbound,
    /// What came was no PDU.
    Garbage,
}

/// Something to log.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Texts flow.
    Bound,
    /// They do not.
    Lost(Loss),
}

/// What the driver is to do. It has no `Debug`: octets are numbers, words and a password.
pub enum Output<K> {
    /// Open a connection; [`Link::handle_connected`] or [`Link::handle_closed`] follows.
    Connect,
    /// Send these bytes.
    Transmit(bytes::Bytes),
    /// Close the connection once the bytes are sent. Nothing more of it is to be told.
    Close,
    /// A text has come. [`Link::answer`] must follow.
    Text(Incoming),
    /// What became of a text that was submitted: in how many short messages the SMSC has taken it.
    Submitted(K, Result<u16, Failure>),
    /// Something to log.
    Event(Event),
}

/// What has happened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counters {
    /// Short messages that the SMSC took.
    pub submitted: u64,
    /// Short messages that it refused.
    pub refused: u64,
    /// Short messages that it wanted later.
    pub throttled: u64,
    /// Short messages without a response.
    pub unanswered: u64,
    /// Short messages that came, each part counted.
    pub delivered: u64,
    /// Of those: receipts, which were not asked for.
    pub receipts: u64,
    /// Of those: what has come before and was not answered then.
    pub repeated: u64,
    /// Of those: what could not be read.
    pub unreadable: u64,
    /// Of those: too many at a time.
    pub turned_away: u64,
    /// Parts of texts of which the rest did not come in time.
    pub orphaned: u64,
    /// Sessions that were lost.
    pub lost: u64,
}
