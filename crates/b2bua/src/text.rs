//! Text messages through X (product rule S): what one is, what may become of it, and what the customer is told.
//!
//! ```text
//!   MESSAGE ─▶ Core ─┐                        ┌─▶ MESSAGE written from nothing (RFC 3428), From X, to the real party
//!                    ├─▶ decide ─▶ (ask) ─────┤
//!   TextIn ──▶ Core ─┘   Table     AskText    └─▶ SendText, for the driver's own protocol
//! ```
//!
//! The words pass untouched, but for two marks of an A–X ([`marks`]): A reads `[From+86…]` behind what somebody wrote to X, and
//! writes `@<number>` behind what somebody shall get.
//!
//! One table says what an outcome means to everybody: [`Outcome::row`].

use std::sync::Arc;
use std::time::Duration;

use numbering::{Mode, Number, Party, SubscriptionId, TextRefusal};

pub(crate) mod body;
pub(crate) mod marks;
pub(crate) mod recent;

/// A text message in progress; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct TextKey(pub(crate) u64);

/// The most characters (Unicode scalar values) of a text message.
pub const MAX_CHARACTERS: usize = 2_000;

/// A text message as it came, and whose it is. Its `Debug` shows no word of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Text {
    /// `smsIdentifier`: 32 hexadecimal digits, never used twice.
    pub id: Arc<str>,
    /// The app's name.
    pub app: Arc<str>,
    /// The customer is asked before it goes on (`notificationMode` Block; else Notify).
    pub is_asked: bool,
    /// Who sends it; `None` when withheld.
    pub calling: Option<Number>,
    /// X.
    pub x: Number,
    /// The binding that it goes by, or that forbids it.
    pub binding: Option<SubscriptionId>,
    /// Its kind.
    pub mode: Option<Mode>,
    /// Which of its parties sends.
    pub sender_is: Option<Party>,
    /// The customer's own words.
    pub user_text: Option<Box<str>>,
    /// What was written, with the marks of the sender.
    pub content: Arc<str>,
    /// When it came, since the process's epoch.
    pub at: Duration,
}

impl std::fmt::Debug for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Text")
            .field("id", &self.id)
            .field("app", &self.app)
            .field("is_asked", &self.is_asked)
            .field("calling", &self.calling)
            .field("x", &self.x)
            .field("binding", &self.binding)
            .field("sender_is", &self.sender_is)
            .field("characters", &self.content.chars().count())
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

/// What became of a text message to an X of an app that wants to know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TextEvent {
    /// It.
    pub text: Arc<Text>,
    /// Who got it: only where it was forwarded, and taken.
    pub called: Option<Number>,
    /// In how many messages it went; 0 where none did.
    pub parts: u16,
    /// What became of it.
    pub outcome: Outcome,
}

/// What the customer says of a text that it was asked about ([`crate::core::Output::AskText`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// `vNumberRoute`: it goes to this number.
    Route {
        /// Who gets it.
        called: Number,
        /// Which number of the app's it shows; X where it names none, or one that is not the app's: nobody's own number is
        /// ever shown.
        calling: Option<Number>,
    },
    /// `DiscardMessage`: it goes nowhere. Its sender is not told.
    Discard,
    /// There is no answer, or none that can be read: what the app says of that is done at once.
    Unanswered,
}

/// A text that came by a protocol of the driver's ([`crate::core::Core::take_in_text`]).
#[derive(Clone, PartialEq, Eq)]
pub struct TextIn {
    /// Who sends it, read by the trunk's rule; `None` when withheld or unreadable.
    pub sender: Option<Number>,
    /// X, read by the trunk's rule; `None` when unreadable.
    pub x: Option<Number>,
    /// The whole text, its parts put together: what it consists of on the wire is the driver's business.
    pub content: Arc<str>,
    /// What names it to the driver: [`crate::core::Output::AnswerText`] says it back, once.
    pub reply: u64,
}

impl std::fmt::Debug for TextIn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TextIn { sender, x, content: _, reply } = self;
        f.debug_struct("TextIn").field("sender", sender).field("x", x).field("reply", reply).finish_non_exhaustive()
    }
}

/// What the driver says of a text that it was to send ([`crate::core::Output::SendText`]).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TextResult {
    /// It is with the receiver, in so many messages.
    Delivered {
        /// At least one.
        parts: u16,
    },
    /// The trunk has taken it and will try, in so many messages.
    Accepted {
        /// At least one.
        parts: u16,
    },
    /// It is not: one of [`Outcome::Refused`], [`Outcome::NoSuchNumber`], [`Outcome::Unreachable`], [`Outcome::NoResponse`],
    /// [`Outcome::FarFailure`], [`Outcome::NotTaken`], [`Outcome::NoRoute`], [`Outcome::Full`].
    Failed(Outcome),
}

/// What became of a text message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Outcome {
    /// The receiver has it.
    Delivered,
    /// The receiver's network has taken it and will try.
    Accepted,
    /// The customer has thrown it away, or the app does where no answer comes.
    Discarded,
    /// X is no number of ours.
    UnknownX,
    /// The number that it was sent to cannot be read.
    UnreadableNumber,
    /// X is suspended or unavailable.
    NumberUnusable,
    /// The sender is not bound to X.
    NotBound,
    /// The customer has switched X off.
    SwitchedOff,
    /// A fixed line may only be called.
    FixedLine,
    /// The binding does not allow this direction.
    WrongDirection,
    /// The binding carries no texts (`privateSms`), or the app takes none.
    Off,
    /// X has extensions, which no text can name.
    Extensions,
    /// A of an A–X named nobody behind `@`.
    NoReceiver,
    /// The receiver is a number of ours, or the sender is.
    Loop,
    /// More than [`MAX_CHARACTERS`].
    TooLong,
    /// No kind of text that we read.
    ContentType,
    /// No text: empty, or not what it says it is.
    Unreadable,
    /// The receiver's network refused.
    Refused,
    /// The receiver's number does not exist.
    NoSuchNumber,
    /// The receiver cannot be reached.
    Unreachable,
    /// The receiver's network does not respond.
    NoResponse,
    /// The receiver's network failed, or has no room now.
    FarFailure,
    /// The receiver's network does not take what it consists of.
    NotTaken,
    /// No trunk takes it.
    NoRoute,
    /// As many texts as may be are in progress, or come in a second.
    Full,
    /// We are shutting down.
    Draining,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// Metric label.
    pub label: &'static str,
    /// SIP status to the sender.
    pub status: u16,
    /// `sendResult`: 0 forwarded, 1 forwarded in vain, 2 not forwarded. The values are inferred: the API's page shows 0 and 2
    /// and does not explain them.
    pub send_result: u8,
}

impl Outcome {
    /// Every one, in the order of their declaration: for metrics and tests.
    pub const ALL: [Outcome; 26] = [
        Outcome::Delivered,
        Outcome::Accepted,
        Outcome::Discarded,
        Outcome::UnknownX,
        Outcome::UnreadableNumber,
        Outcome::NumberUnusable,
        Outcome::NotBound,
        Outcome::SwitchedOff,
        Outcome::FixedLine,
        Outcome::WrongDirection,
        Outcome::Off,
        Outcome::Extensions,
        Outcome::NoReceiver,
        Outcome::Loop,
        Outcome::TooLong,
        Outcome::ContentType,
        Outcome::Unreadable,
        Outcome::Refused,
        Outcome::NoSuchNumber,
        Outcome::Unreachable,
        Outcome::NoResponse,
        Outcome::FarFailure,
        Outcome::NotTaken,
        Outcome::NoRoute,
        Outcome::Full,
        Outcome::Draining,
    ];

    /// What this outcome means everywhere.
    ///
    /// Silence is 504 and not 408: to a request other than INVITE nobody may say 408 (RFC 4320 §4.2), and proxies that obey do
    /// not pass it on.
    #[must_use]
    #[rustfmt::skip]
    pub const fn row(self) -> Row {
        match self {
            Outcome::Delivered        => row("delivered",         200, 0),
            Outcome::Accepted         => row("accepted",          202, 0),
            Outcome::Discarded        => row("discarded",         202, 2),
            Outcome::UnknownX         => row("unknown_x",         404, 2),
            Outcome::UnreadableNumber => row("unreadable_number", 484, 2),
            Outcome::NumberUnusable   => row("number_unusable",   403, 2),
            Outcome::NotBound         => row("not_bound",         403, 2),
            Outcome::SwitchedOff      => row("switched_off",      403, 2),
            Outcome::FixedLine        => row("fixed_line",        403, 2),
            Outcome::WrongDirection   => row("wrong_direction",   403, 2),
            Outcome::Off              => row("off",               403, 2),
            Outcome::Extensions       => row("extensions",        403, 2),
            Outcome::NoReceiver       => row("no_receiver",       484, 2),
            Outcome::Loop             => row("loop",              482, 2),
            Outcome::TooLong          => row("too_long",          413, 2),
            Outcome::ContentType      => row("content_type",      415, 2),
            Outcome::Unreadable       => row("unreadable",        400, 2),
            Outcome::Refused          => row("refused",           403, 1),
            Outcome::NoSuchNumber     => row("no_such_number",    404, 1),
            Outcome::Unreachable      => row("unreachable",       480, 1),
            Outcome::NoResponse       => row("no_response",       504, 1),
            Outcome::FarFailure       => row("far_failure",       502, 1),
            Outcome::NotTaken         => row("not_taken",         488, 1),
            Outcome::NoRoute          => row("no_route",          500, 2),
            Outcome::Full             => row("full",              503, 2),
            Outcome::Draining         => row("draining",          503, 2),
        }
    }

    /// It is with the receiver, or on its way there.
    #[must_use]
    pub const fn is_forwarded(self) -> bool {
        self.row().send_result == 0
    }

    /// What a final response of the receiver's network means.
    #[must_use]
    pub const fn of_status(status: u16) -> Outcome {
        match status {
            202 => Outcome::Accepted,
            200..=299 => Outcome::Delivered,
            404 | 410 | 484 | 485 | 604 => Outcome::NoSuchNumber,
            406 | 413 | 415 | 488 | 513 | 606 => Outcome::NotTaken,
            408 | 504 => Outcome::NoResponse,
            300..=399 | 480 | 486 | 487 | 600 => Outcome::Unreachable,
            482 | 483 => Outcome::Loop,
            500..=599 => Outcome::FarFailure,
            _ => Outcome::Refused,
        }
    }
}

impl From<TextRefusal> for Outcome {
    fn from(refusal: TextRefusal) -> Outcome {
        match refusal {
            TextRefusal::UnknownX => Outcome::UnknownX,
            TextRefusal::NumberUnusable => Outcome::NumberUnusable,
            TextRefusal::NotBound => Outcome::NotBound,
            TextRefusal::SwitchedOff => Outcome::SwitchedOff,
            TextRefusal::FixedLine => Outcome::FixedLine,
            TextRefusal::WrongDirection => Outcome::WrongDirection,
            TextRefusal::Off => Outcome::Off,
            TextRefusal::Extensions => Outcome::Extensions,
        }
    }
}

const fn row(label: &'static str, status: u16, send_result: u8) -> Row {
    Row { label, status, send_result }
}
