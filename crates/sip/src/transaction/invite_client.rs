//! INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2), with the CANCEL that belongs to it (§9.1).
//!
//! ```text
//!   Calling ──1xx──▶ Proceeding ──2xx──▶ Accepted ──M──▶ ∅
//!      │  ╲────────────────│───────2xx──────▲
//!      │ B                 │ 300-699
//!      ▼                   ▼
//!    timeout           Completed ──D──▶ ∅
//! ```
//!
//! Timer B lives in Calling only: a phone that rings for minutes is not cut. A CANCEL waits for the first provisional
//! response and has its own retransmissions (timers E and F) inside Proceeding.

use std::time::Duration;

use bytes::Bytes;

use super::Timers;

#[derive(Debug)]
pub(super) enum InviteClient {
    Calling {
        request: Bytes,
        /// `None` on a reliable transport.
        timer_a: Option<Retransmission>,
        timer_b: Duration,
        /// Cancelled before any response: the CANCEL goes out with the first provisional one.
        cancel: Option<Bytes>,
    },
    Proceeding {
        request: Bytes,
        cancel: Option<Cancelling>,
        /// Nobody waits for it any more: it ends then.
        abandoned: Option<Duration>,
    },
    Completed {
        ack: Bytes,
        timer_d: Duration,
    },
    Accepted {
        timer_m: Duration,
    },
}

/// A message on its way again and again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Retransmission {
    pub at: Duration,
    pub interval: Duration,
}

/// The CANCEL has been sent.
#[derive(Debug)]
pub(super) struct Cancelling {
    pub cancel: Bytes,
    /// Timer E; `None` when answered or on a reliable transport.
    pub timer_e: Option<Retransmission>,
    /// The INVITE must have ended by then (RFC 3261 §9.1: 64·T1).
    pub give_up: Duration,
}

/// What time brought.
pub(super) enum Due {
    Nothing,
    Send(Bytes),
    /// Gone without a word.
    Ended,
    /// Gone, and the user must know.
    TimedOut,
}

impl InviteClient {
    pub(super) fn start(now: Duration, timers: &Timers, reliable: bool, request: Bytes) -> Self {
        InviteClient::Calling {
            request,
            timer_a: (!reliable).then(|| Retransmission { at: now + timers.t1, interval: timers.t1 }),
            timer_b: now + timers.give_up(),
            cancel: None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            InviteClient::Calling { timer_a, timer_b, .. } => Some(timer_a.map_or(*timer_b, |a| a.at.min(*timer_b))),
            InviteClient::Proceeding { cancel, abandoned, .. } => {
                let cancelling = cancel.as_ref().map(|c| c.timer_e.map_or(c.give_up, |e| e.at.min(c.give_up)));
                [cancelling, *abandoned].into_iter().flatten().min()
            }
            InviteClient::Completed { timer_d, .. } => Some(*timer_d),
            InviteClient::Accepted { timer_m } => Some(*timer_m),
        }
    }

    pub(super) fn on_time(&mut self, now: Duration, timers: &Timers) -> Due {
        match self {
            InviteClient::Calling { timer_b, .. } if now >= *timer_b => Due::TimedOut,
            InviteClient::Calling { request, timer_a: Some(a), .. } if now >= a.at => {
                a.interval *= 2;
                a.at = now + a.interval;
                Due::Send(request.clone())
            }
            InviteClient::Proceeding { abandoned: Some(at), .. } if now >= *at => Due::Ended,
            InviteClient::Proceeding { cancel: Some(c), .. } if now >= c.give_up => Due::TimedOut,
            InviteClient::Proceeding { cancel: Some(Cancelling { cancel, timer_e: Some(e), .. }), .. }
                if now >= e.at =>
            {
                e.interval = (e.interval * 2).min(timers.t2);
                e.at = now + e.interval;
                Due::Send(cancel.clone())
            }
            InviteClient::Completed { timer_d, .. } if now >= *timer_d => Due::Ended,
            InviteClient::Accepted { timer_m } if now >= *timer_m => Due::Ended,
            InviteClient::Calling { .. }
            | InviteClient::Proceeding { .. }
            | InviteClient::Completed { .. }
            | InviteClient::Accepted { .. } => Due::Nothing,
        }
    }

    /// A provisional response. Returns a CANCEL that has waited for it.
    pub(super) fn on_provisional(&mut self, now: Duration, timers: &Timers, reliable: bool) -> Option<Bytes> {
        match self {
            InviteClient::Calling { request, cancel, .. } => {
                let waiting = cancel.take();
                let request = std::mem::take(request);
                *self = InviteClient::Proceeding {
                    request,
                    cancel: waiting.clone().map(|cancel| Cancelling::start(now, timers, reliable, cancel)),
                    abandoned: None,
                };
                waiting
            }
            InviteClient::Proceeding { .. } | InviteClient::Completed { .. } | InviteClient::Accepted { .. } => None,
        }
    }

    /// The user cancels. Returns the CANCEL if it may go out now.
    pub(super) fn on_cancel(&mut self, now: Duration, timers: &Timers, reliable: bool, bytes: Bytes) -> Option<Bytes> {
        match self {
            InviteClient::Calling { cancel, .. } => {
                *cancel = Some(bytes);
                None
            }
            InviteClient::Proceeding { cancel, .. } => {
                if cancel.is_some() {
                    return None;
                }
                *cancel = Some(Cancelling::start(now, timers, reliable, bytes.clone()));
                Some(bytes)
            }
            InviteClient::Completed { .. } | InviteClient::Accepted { .. } => None,
        }
    }

    /// A final response to our CANCEL: it need not be sent again.
    pub(super) fn on_cancel_response(&mut self) {
        match self {
            InviteClient::Proceeding { cancel: Some(c), .. } => c.timer_e = None,
            InviteClient::Calling { .. }
            | InviteClient::Proceeding { cancel: None, .. }
            | InviteClient::Completed { .. }
            | InviteClient::Accepted { .. } => {}
        }
    }

    /// Nobody waits for the final response any more. (Without any response timer B ends it.)
    pub(super) fn abandon(&mut self, now: Duration, timers: &Timers) {
        match self {
            InviteClient::Proceeding { abandoned, .. } => *abandoned = Some(now + timers.give_up()),
            InviteClient::Calling { .. } | InviteClient::Completed { .. } | InviteClient::Accepted { .. } => {}
        }
    }

    /// No response has come yet.
    pub(super) fn is_calling(&self) -> bool {
        matches!(self, InviteClient::Calling { .. })
    }

    /// The INVITE as it was sent, while it has no final response.
    pub(super) fn request(&self) -> Option<&Bytes> {
        match self {
            InviteClient::Calling { request, .. } | InviteClient::Proceeding { request, .. } => Some(request),
            InviteClient::Completed { .. } | InviteClient::Accepted { .. } => None,
        }
    }
}

impl Cancelling {
    fn start(now: Duration, timers: &Timers, reliable: bool, cancel: Bytes) -> Self {
        Cancelling {
            cancel,
            timer_e: (!reliable).then(|| Retransmission { at: now + timers.t1, interval: timers.t1 }),
            give_up: now + timers.give_up(),
        }
    }
}
