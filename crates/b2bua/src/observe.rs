//! What the core counts and says of itself. Labels are words; numbers of people never stand here.

use std::sync::Arc;
use std::time::Duration;

use media::Side;
use numbering::Number;

use crate::outcome::Cause;
use crate::routes::{Change, RouteGauge};
use crate::text::Outcome;

/// Things that were turned away or cut short because of a limit or a rule.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Drop {
    /// A request from an address of no trunk.
    Stranger,
    /// A request while as many transactions as allowed were alive.
    Transactions,
    /// The same request by another way (482).
    Merged,
    /// A request in a dialog that does not exist (481).
    NoDialog,
    /// A response to a request of ours from somewhere else than the trunk that it went to.
    ForeignResponse,
    /// Max-Forwards was 0 (483).
    TooManyHops,
    /// A Require that we do not fulfil (420).
    BadExtension,
    /// A method that we do not take (405), or do not know (501).
    Method,
    /// A body that we do not take (415), or an INVITE that accepts no session description (406).
    ContentType,
    /// A session timer shorter than our minimum (422).
    SessionInterval,
    /// A Request-URI that we do not take (416), or cannot read (400).
    UriScheme,
    /// A call whose credentials are wrong or cannot be read (401, 400).
    Unauthenticated,
    /// A digit that had to go as INFO while as many as may wait were waiting.
    Digits,
    /// A new call while as many as allowed were up (503).
    Calls,
    /// A new call while the trunk had as many as it may (503).
    TrunkCalls,
    /// A new call faster than the trunk may (503).
    TrunkRate,
    /// A new call while shutting down (503).
    Draining,
    /// A new call while no RTP port was free (503).
    Ports,
    /// A text message while as many as allowed were in progress, or faster than the trunk may (503).
    Texts,
    /// A new call that would have waited too long, or a repeat of one that was refused (503).
    Overload,
}

impl Drop {
    /// Every one, in the order of [`Counters::dropped`].
    pub const ALL: [Drop; 20] = [
        Drop::Stranger,
        Drop::Transactions,
        Drop::Merged,
        Drop::NoDialog,
        Drop::ForeignResponse,
        Drop::TooManyHops,
        Drop::BadExtension,
        Drop::Method,
        Drop::ContentType,
        Drop::SessionInterval,
        Drop::UriScheme,
        Drop::Unauthenticated,
        Drop::Digits,
        Drop::Calls,
        Drop::TrunkCalls,
        Drop::TrunkRate,
        Drop::Draining,
        Drop::Ports,
        Drop::Texts,
        Drop::Overload,
    ];

    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Drop::Stranger => "stranger",
            Drop::Transactions => "transactions",
            Drop::Merged => "merged",
            Drop::NoDialog => "no_dialog",
            Drop::ForeignResponse => "foreign_response",
            Drop::TooManyHops => "too_many_hops",
            Drop::BadExtension => "bad_extension",
            Drop::Method => "method",
            Drop::ContentType => "content_type",
            Drop::SessionInterval => "session_interval",
            Drop::UriScheme => "uri_scheme",
            Drop::Unauthenticated => "unauthenticated",
            Drop::Digits => "digits",
            Drop::Calls => "calls",
            Drop::TrunkCalls => "trunk_calls",
            Drop::TrunkRate => "trunk_rate",
            Drop::Draining => "draining",
            Drop::Ports => "ports",
            Drop::Texts => "texts",
            Drop::Overload => "overload",
        }
    }
}

/// Counts since the start, read by the metrics thread's scrape through the loop that owns the core.
#[derive(Clone, Debug)]
pub struct Counters {
    /// Requests received, by method (place: `Method as usize`).
    pub requests: [u64; sip::message::Method::ALL.len()],
    /// Responses received, by class 1xx..6xx.
    pub responses: [u64; 6],
    /// Messages sent.
    pub sent: u64,
    /// Messages that cannot be read, by [`sip::message::ParseError::ALL`].
    pub parse_errors: Vec<u64>,
    /// Turned away, by [`Drop::ALL`].
    pub dropped: [u64; Drop::ALL.len()],
    /// Panics of ours that were caught; each ended one call.
    pub panics: u64,
    /// Calls begun (an INVITE that got a call of its own, refused or not).
    pub calls_begun: u64,
    /// Text messages, by [`Outcome::ALL`].
    pub texts: [u64; Outcome::ALL.len()],
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            requests: [0; sip::message::Method::ALL.len()],
            responses: [0; 6],
            sent: 0,
            parse_errors: vec![0; sip::message::ParseError::ALL.len()],
            dropped: [0; Drop::ALL.len()],
            panics: 0,
            calls_begun: 0,
            texts: [0; Outcome::ALL.len()],
        }
    }
}

impl Counters {
    pub(crate) fn drop(&mut self, drop: Drop) {
        self.dropped[drop as usize] += 1;
    }
}

/// What is alive now.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Gauges {
    /// Calls in progress.
    pub calls: usize,
    /// Text messages in progress.
    pub texts: usize,
    /// Client and server transactions.
    pub transactions: (usize, usize),
    /// RTP ports in use.
    pub ports_in_use: usize,
    /// New calls that wait for their turn.
    pub waiting: usize,
    /// More new calls come than can be served: some are refused in these seconds.
    pub is_overloaded: bool,
    /// Calls in progress by trunk (in and out), in the order of the configuration.
    pub trunk_calls: Vec<(Arc<str>, u32)>,
    /// Routes by trunk and target.
    pub routes: Vec<RouteGauge>,
}

/// Something that an operator may want to read.
#[derive(Clone, Debug)]
pub enum LogLine {
    /// A call was accepted and goes to B.
    Dialling {
        /// Of the call.
        session_id: Arc<str>,
        /// Printed masked.
        caller: Number,
        /// Printed masked.
        x: Number,
        /// Where from.
        trunk_in: Arc<str>,
        /// Where to.
        trunk_out: Arc<str>,
    },
    /// A caller has typed an extension, or nothing.
    Typed {
        /// Of the call.
        session_id: Arc<str>,
        /// How many digits.
        digits: usize,
    },
    /// B rings (or sends early media).
    Alerting {
        /// Of the call.
        session_id: Arc<str>,
    },
    /// B answered; both hear the hint tone.
    Answered {
        /// Of the call.
        session_id: Arc<str>,
    },
    /// The parties are joined.
    Joined {
        /// Of the call.
        session_id: Arc<str>,
    },
    /// A call ended.
    Ended {
        /// Of the call.
        session_id: Arc<str>,
        /// Printed masked; `None` when withheld or unreadable.
        caller: Option<Number>,
        /// Printed masked; `None` when unreadable.
        x: Option<Number>,
        /// Why.
        cause: Cause,
        /// Who ended it; `None` when we did.
        released_by: Option<Side>,
        /// Of the conversation, from B's answer; `None` when there was none.
        talked: Option<Duration>,
    },
    /// A text message was answered. No word of it stands here.
    Text {
        /// Of the text.
        id: Arc<str>,
        /// Printed masked; `None` when withheld.
        calling: Option<Number>,
        /// Printed masked.
        x: Number,
        /// What became of it.
        outcome: Outcome,
        /// In how many messages it went.
        parts: u16,
    },
    /// A route of a trunk was taken out or has returned.
    Route(Change),
    /// A request from an address of no trunk (said at most ten times a second).
    Stranger {
        /// Its address.
        address: std::net::IpAddr,
    },
    /// More new calls come than can be served; some are refused from now on.
    OverloadBegan,
    /// No new call was refused for some seconds.
    OverloadEnded {
        /// From the first refusal to the last.
        lasted: Duration,
        /// New calls refused.
        refused: u64,
    },
}
